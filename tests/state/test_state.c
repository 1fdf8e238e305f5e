/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whole machines through the stream: saved here, loaded there, alike; lazily and not; damaged in
 * every way; of the wrong shape. */
#include "unit.h"
#include "state/stream.h"
#include "state/tiny.h"
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

static u8 *slurp(int fd, size_t *len)
{
	struct stat st;
	u8 *p;

	assert_int_equal(fstat(fd, &st), 0);
	*len = (size_t)st.st_size;
	p = malloc(*len + 1);
	assert_int_equal(pread(fd, p, *len, 0), (ssize_t)*len);
	return p;
}

/* Two streams, section by section, but for the first: it has the date. */
static void assert_alike(int fa, int fb)
{
	struct stream_in a, b;
	struct section ha, hb;
	struct err e = { 0 };
	unsigned n = 0;

	assert_int_equal(stream_in_begin(&a, fa, "a", &e), 0);
	assert_int_equal(stream_in_begin(&b, fb, "b", &e), 0);
	do {
		u8 *pa, *pb;

		assert_int_equal(stream_next(&a, &ha, &e), 0);
		assert_int_equal(stream_next(&b, &hb, &e), 0);
		assert_int_equal(ha.kind, hb.kind);
		assert_string_equal(ha.name, hb.name);
		assert_int_equal(ha.bits, hb.bits);
		assert_int_equal(ha.arg, hb.arg);
		assert_int_equal(stream_payload(&a, &ha, 1 << 26, &pa, &e), 0);
		assert_int_equal(stream_payload(&b, &hb, 1 << 26, &pb, &e), 0);
		assert_int_equal(ha.raw, hb.raw);
		if (n++ && ha.kind != SECTION_END && ha.kind != SECTION_INDEX &&
		    memcmp(pa, pb, ha.raw))
			fail_msg("section %u \"%s\" differs", ha.kind, ha.name);
		free(pa);
		free(pb);
	} while (ha.kind != SECTION_END);
	stream_in_free(&a);
	stream_in_free(&b);
}

static void there_and_back(unsigned ncpus, bool lazy, bool live)
{
	struct tiny *a = tiny_start(ncpus), *b;
	struct err e = { 0 };
	u32 count;
	int fa, fb;

	assert_true(tiny_counts(a, 1000));
	machine_pause(a->m);
	count = tiny_count(a);
	assert_true(tiny_right(a));
	fa = tiny_save(a, live);
	b = tiny_load(fa, ncpus, lazy, &e);
	if (!b)
		fail_msg("%s", e.msg);
	assert_int_equal(machine_start_restored(b->m, true, &e), 0);
	fb = tiny_save(b, false);
	assert_alike(fa, fb);
	assert_int_equal(clock_now(a->m->clock), clock_now(b->m->clock));
	tiny_go(b);
	machine_resume(b->m);
	assert_true(tiny_answers(b, 'a'));
	machine_pause(b->m);
	assert_true(tiny_count(b) > count);
	assert_true(tiny_right(b));
	/* And the first goes on, too. */
	assert_int_equal(tiny_count(a), count);
	machine_resume(a->m);
	assert_true(tiny_answers(a, 'x'));
	/* A reset boots anew: the ROM is there. */
	machine_resume(b->m);
	machine_lock(b->m);
	machine_request_reset(b->m);
	while (b->m->pending) {		/* until it has been done: it empties the serial port */
		machine_unlock(b->m);
		tiny_sleep_ms(1);
		machine_lock(b->m);
	}
	machine_unlock(b->m);
	assert_true(tiny_answers(b, 'q'));
	tiny_free(a);
	tiny_free(b);
	close(fa);
	close(fb);
}

static void restores(void **st) { there_and_back(1, false, false); }
static void restores_lazily(void **st) { there_and_back(1, true, false); }
static void restores_smp(void **st) { there_and_back(4, false, false); }
static void restores_live(void **st) { there_and_back(2, true, true); }

/* Through a pipe: no seeking on either side. */
static void *pump(void *arg)
{
	struct tiny *t = ((void **)arg)[0];
	int fd = *(int *)((void **)arg)[1];
	const struct state_capture_options o = { .penta = "test" };
	struct state_image *img;
	struct err e = { 0 };

	if (state_capture(&img, t->m, &o, &e) || state_write(img, fd, true, NULL, NULL, &e))
		tiny_die("save", &e);
	state_image_free(img);
	close(fd);
	return NULL;
}

static void through_a_pipe(void **st)
{
	struct tiny *a = tiny_start(1), *b;
	struct err e = { 0 };
	pthread_t th;
	int p[2];
	void *arg[2] = { a, &p[1] };

	assert_true(tiny_counts(a, 1000));
	machine_pause(a->m);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(pthread_create(&th, NULL, pump, arg), 0);
	b = tiny_restore(p[0], 1, true, &e);
	if (!b)
		fail_msg("%s", e.msg);
	pthread_join(th, NULL);
	assert_true(tiny_answers(b, 'b'));
	close(p[0]);
	tiny_free(a);
	tiny_free(b);
}

/* The stream is written while the guest runs on, and holds the moment of the capture. */
static void live(void **st)
{
	const struct state_capture_options o = { .penta = "test", .live = true };
	struct tiny *a = tiny_start(1), *b;
	struct err e = { 0 };

	for (unsigned round = 0; round < 3; round++) {
		struct state_image *img, *img2;
		int fd = tiny_memfd(), fd2 = tiny_memfd();
		u32 count, count2;

		assert_true(tiny_counts(a, 1000));
		machine_pause(a->m);
		count = tiny_count(a);
		assert_int_equal(state_capture(&img, a->m, &o, &e), 0);
		machine_resume(a->m);
		assert_true(tiny_counts(a, 1000));
		/* Another one meanwhile: of memory that is private already. */
		machine_pause(a->m);
		count2 = tiny_count(a);
		assert_true(count2 >= count + 1000);
		assert_int_equal(state_capture(&img2, a->m, &o, &e), 0);
		machine_resume(a->m);
		assert_true(tiny_counts(a, 1000));
		assert_int_equal(state_write(img, fd, true, NULL, NULL, &e), 0);
		state_image_free(img);
		assert_int_equal(state_write(img2, fd2, true, NULL, NULL, &e), 0);
		state_image_free(img2);
		assert_false(ram_is_private(a->m->ram));
		for (unsigned k = 0; k < 2; k++) {
			b = tiny_load(k ? fd2 : fd, 1, round & 1, &e);
			if (!b)
				fail_msg("%s", e.msg);
			assert_int_equal(tiny_count(b), k ? count2 : count);
			assert_true(tiny_right(b));
			tiny_free(b);
		}
		close(fd);
		close(fd2);
		assert_true(tiny_answers(a, (u8)round));
	}
	tiny_free(a);
}

static int cancel(void *ctx, u64 done, u64 total)
{
	++*(int *)ctx;
	return 1;
}

static void cancelled(void **st)
{
	const struct state_capture_options o = { .penta = "test" };
	struct tiny *a = tiny_new(1);
	struct state_image *img;
	struct err e = { 0 };
	int calls = 0, fd = tiny_memfd();
	u8 page[4096];

	a->cfg.machine.ram_size = 32 * MiB;
	if (tiny_make(a, &e) || lite_load(a->l, &e) || machine_start_paused(a->m, &e))
		tiny_die("tiny", &e);
	memset(page, 7, sizeof(page));
	for (u64 at = 1 * MiB; at < 32 * MiB; at += sizeof(page))
		assert_true(ram_write(a->m->ram, at, page, sizeof(page)));
	assert_int_equal(state_capture(&img, a->m, &o, &e), 0);
	assert_int_equal(state_write(img, fd, true, cancel, &calls, &e), -ECANCELED);
	assert_int_equal(calls, 1);
	state_image_free(img);
	close(fd);
	tiny_free(a);
}

/* --- damage --- */

static int saved(void)
{
	struct tiny *a = tiny_start(1);
	int fd;

	tiny_sleep_ms(2);
	machine_pause(a->m);
	fd = tiny_save(a, false);
	tiny_free(a);
	return fd;
}

static int read_through(int fd, struct err *e)
{
	struct state_stream *s;
	int r = state_open(&s, fd, "stream", e);

	if (r)
		return r;
	r = state_verify(s, NULL, NULL, e);
	state_close(s);
	return r;
}

static void every_bit(void **st)
{
	int fd = saved();
	struct err e = { 0 };
	size_t len;
	u8 *p = slurp(fd, &len);
	u64 step = getenv("ROUNDS") ? 1 : 13;

	assert_int_equal(read_through(fd, &e), 0);
	for (u64 bit = 0; bit < (u64)len * 8; bit += step) {
		u8 was = p[bit / 8], now = (u8)(was ^ 1u << (bit & 7));

		assert_int_equal(pwrite(fd, &now, 1, (off_t)(bit / 8)), 1);
		e.code = 0;
		if (read_through(fd, &e) == 0 || !e.code || !strstr(e.msg, "stream"))
			fail_msg("bit %llu of %zu bytes: %s", (unsigned long long)bit, len, e.msg);
		assert_int_equal(pwrite(fd, &was, 1, (off_t)(bit / 8)), 1);
	}
	free(p);
	close(fd);
}

static void every_length(void **st)
{
	int fd = saved(), part;
	struct err e = { 0 };
	size_t len;
	u8 *p = slurp(fd, &len);
	size_t step = getenv("ROUNDS") ? 1 : 3;

	part = tiny_memfd();
	for (size_t n = 0; n < len; n += n < 200 || len - n < 200 ? 1 : step) {
		struct state_stream *s;

		assert_int_equal(ftruncate(part, 0), 0);
		assert_int_equal(pwrite(part, p, n, 0), (ssize_t)n);
		e.code = 0;
		if (state_open(&s, part, "stream", &e) == 0)
			fail_msg("%zu of %zu bytes open", n, len);
		assert_non_null(strstr(e.msg, "stream"));
		assert_non_null(strstr(e.msg, "truncated"));
	}
	/* Something behind it. */
	assert_int_equal(pwrite(part, p, len, 0), (ssize_t)len);
	assert_int_equal(pwrite(part, "x", 1, (off_t)len), 1);
	assert_true(read_through(part, &e) < 0);
	free(p);
	close(part);
	close(fd);
}

/* By pipe there is no end to look at first. */
static void truncated_pipe(void **st)
{
	int fd = saved();
	struct err e = { 0 };
	size_t len;
	u8 *p = slurp(fd, &len);

	for (size_t n = 0; n < len; n += 1 + len / 37) {
		int s[2];

		assert_int_equal(pipe2(s, O_NONBLOCK), 0);
		fcntl(s[1], F_SETPIPE_SZ, 1 << 20);
		assert_int_equal(write(s[1], p, n), (ssize_t)n);
		close(s[1]);
		e.code = 0;
		assert_null(tiny_load(s[0], 1, true, &e));
		assert_non_null(strstr(e.msg, "truncated"));
		close(s[0]);
	}
	free(p);
	close(fd);
}

/* A damaged page that nobody has looked at yet ends the machine when it is wanted. */
static void damage_found_late(void **st)
{
	int fd = saved();
	struct stream_in in;
	struct section h;
	struct tiny *t;
	struct err e = { 0 };
	u8 b;

	assert_int_equal(stream_in_begin(&in, fd, "stream", &e), 0);
	do {
		assert_int_equal(stream_next(&in, &h, &e), 0);
		if (h.kind == SECTION_RAM)
			break;
		stream_seek(&in, in.off + h.stored);
	} while (h.kind != SECTION_END);
	assert_int_equal(h.kind, SECTION_RAM);
	assert_int_equal(pread(fd, &b, 1, (off_t)in.off + 20), 1);
	b ^= 4;
	assert_int_equal(pwrite(fd, &b, 1, (off_t)in.off + 20), 1);
	stream_in_free(&in);
	assert_null(tiny_load(fd, 1, false, &e));
	assert_non_null(strstr(e.msg, "damaged"));
	t = tiny_restore(fd, 1, true, &e);
	assert_non_null(t);
	for (unsigned i = 0; i < 30000 && atomic_load(&t->m->status) == MACHINE_RUNNING; i++)
		tiny_sleep_ms(1);
	assert_int_equal(atomic_load(&t->m->status), MACHINE_CRASHED);
	assert_non_null(strstr(t->m->fatal.msg, "damaged"));
	tiny_free(t);
	close(fd);
}

/* --- the wrong machine --- */

static void refuse(int fd, struct tiny *t, const char *why)
{
	struct state_stream *s;
	struct err e = { 0 };

	assert_int_equal(state_open(&s, fd, "stream", &e), 0);
	assert_int_equal(tiny_make(t, &e), 0);
	assert_true(lite_restore(t->l, s, false, &e) < 0);
	if (!strstr(e.msg, why))
		fail_msg("\"%s\" where \"%s\" was expected", e.msg, why);
	state_close(s);
	tiny_free(t);
}

static int with_a_rng(struct tiny *t) { struct err e; return lite_add_rng(t->l, "rng7", 7, &e); }

static void wrong_shape(void **st)
{
	int fd = saved();
	struct state_stream *s;
	struct err e = { 0 };
	struct tiny *t;

	refuse(fd, tiny_new(2), "has 1 CPUs, this one has 2");
	t = tiny_new(1);
	t->cfg.machine.ram_size = 4 * MiB;
	refuse(fd, t, "2048 KiB of memory, this one has 4096");
	t = tiny_new(1);
	t->cfg.machine.cpu_model = cpu_model_find("v2");
	refuse(fd, t, "CPU model \"base\", this one has \"v2\"");
	t = tiny_new(1);
	t->rom[100] = 1;
	refuse(fd, t, "ROM");
	t = tiny_new(1);
	assert_int_equal(tiny_make(t, &e), 0);
	assert_int_equal(with_a_rng(t), 0);
	assert_int_equal(state_open(&s, fd, "stream", &e), 0);
	assert_true(lite_restore(t->l, s, false, &e) < 0);
	assert_non_null(strstr(e.msg, "rng7"));
	state_close(s);
	tiny_free(t);
	close(fd);
}

static void says_what_it_is(void **st)
{
	int fd = saved();
	const struct state_info *i;
	struct state_stream *s;
	struct err e = { 0 };

	assert_int_equal(state_open(&s, fd, "stream", &e), 0);
	i = state_info(s);
	assert_string_equal(i->penta, "test");
	assert_string_equal(i->name, "tiny");
	assert_string_equal(i->config, "{}");
	assert_string_equal(i->engine, "soft");
	assert_string_equal(i->cpu_model, "base");
	assert_int_equal(i->ncpus, 1);
	assert_int_equal(i->ram_size, TINY_RAM);
	assert_true(i->has_ram);
	assert_true(i->saved_ns / 1000000000 >= time(NULL) - 100);
	state_close(s);
	close(fd);
}

/* --- forks --- */

static void forks(void **st)
{
	const struct state_capture_options o = { .penta = "test", .live = true };
	struct tiny *gen[4] = { tiny_start(1) };
	struct err e = { 0 };

	for (unsigned g = 1; g < ARRAY_SIZE(gen); g++) {
		struct tiny *parent = gen[g - 1], *twin[2];
		struct state_image *img;
		struct ram_from from;
		int fd = tiny_memfd();
		u32 count;

		assert_true(tiny_counts(parent, 1000));
		machine_pause(parent->m);
		count = tiny_count(parent);
		assert_int_equal(state_capture(&img, parent->m, &o, &e), 0);
		machine_resume(parent->m);
		assert_int_equal(state_write(img, fd, false, NULL, NULL, &e), 0);
		assert_int_equal(state_image_memory(img, &from.base_fd, &from.delta_fd, &e), 0);
		assert_int_equal(from.delta_fd >= 0, g > 1);
		for (unsigned k = 0; k < 2; k++) {
			struct state_stream *s;

			twin[k] = tiny_new(1);
			assert_int_equal(state_open(&s, fd, "stream", &e), 0);
			assert_int_equal(tiny_make(twin[k], &e), 0);
			assert_int_equal(ram_begin_from(twin[k]->m->ram, &from, &e), 0);
			if (lite_restore(twin[k]->l, s, false, &e))
				fail_msg("%s", e.msg);
			state_close(s);
			assert_int_equal(tiny_count(twin[k]), count);
			assert_true(tiny_right(twin[k]));
			assert_int_equal(machine_start_restored(twin[k]->m, false, &e), 0);
			tiny_go(twin[k]);
		}
		state_image_free(img);
		close(fd);
		assert_true(tiny_answers(twin[0], 'a'));
		assert_true(tiny_answers(twin[1], 'b'));
		assert_true(tiny_answers(parent, 'c'));
		tiny_free(twin[1]);
		gen[g] = twin[0];
	}
	for (unsigned g = 0; g < ARRAY_SIZE(gen); g++) {
		machine_pause(gen[g]->m);
		assert_true(tiny_right(gen[g]));
		tiny_free(gen[g]);
	}
}

/* Without its memory a stream is of no use to anybody else. */
static void fork_without_memory(void **st)
{
	const struct state_capture_options o = { .penta = "test", .live = true };
	struct tiny *a = tiny_start(1);
	struct state_image *img;
	struct err e = { 0 };
	int fd = tiny_memfd();

	machine_pause(a->m);
	assert_int_equal(state_capture(&img, a->m, &o, &e), 0);
	assert_int_equal(state_write(img, fd, false, NULL, NULL, &e), 0);
	assert_null(tiny_load(fd, 1, false, &e));
	assert_non_null(strstr(e.msg, "memory is not in there"));
	state_image_free(img);
	close(fd);
	tiny_free(a);
}

/* What an older penta saved loads, and runs on. tests/data/state/NAME.penta: machines of tiny.h. New ones
 * are made by `test_state make FILE` before a version is published; old ones are never changed. */
static void old_streams(void **st)
{
	glob_t g = { 0 };
	struct err e = { 0 };

	assert_int_equal(glob("tests/data/state/*.penta", 0, NULL, &g), 0);
	assert_true(g.gl_pathc >= 1);
	for (size_t i = 0; i < g.gl_pathc; i++)
		for (unsigned lazy = 0; lazy < 2; lazy++) {
			int fd = open(g.gl_pathv[i], O_RDONLY | O_CLOEXEC);
			struct state_stream *s;
			struct tiny *t;
			unsigned ncpus;

			if (state_open(&s, fd, g.gl_pathv[i], &e))
				fail_msg("%s", e.msg);
			ncpus = state_info(s)->ncpus;
			state_close(s);
			t = tiny_restore(fd, ncpus, lazy, &e);
			if (!t)
				fail_msg("%s", e.msg);
			assert_true(tiny_answers(t, 'o'));
			machine_pause(t->m);
			assert_true(tiny_count(t) > 1000);
			assert_true(tiny_right(t));
			tiny_free(t);
			close(fd);
		}
	globfree(&g);
}

static int make(const char *path, unsigned ncpus)
{
	int fd, out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	struct tiny *t = tiny_start(ncpus);
	size_t len;
	u8 *p;

	do {
		machine_resume(t->m);
		tiny_sleep_ms(1);
		machine_pause(t->m);
	} while (tiny_count(t) < 1000);
	fd = tiny_save(t, false);
	tiny_free(t);
	p = slurp(fd, &len);
	return write(out, p, len) == (ssize_t)len ? 0 : 1;
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "make"))
		return make(argv[2], argc > 3 ? 2 : 1);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(restores), cmocka_unit_test(restores_lazily),
		cmocka_unit_test(restores_smp), cmocka_unit_test(restores_live),
		cmocka_unit_test(through_a_pipe), cmocka_unit_test(live), cmocka_unit_test(cancelled),
		cmocka_unit_test(every_bit), cmocka_unit_test(every_length),
		cmocka_unit_test(truncated_pipe), cmocka_unit_test(damage_found_late),
		cmocka_unit_test(wrong_shape), cmocka_unit_test(says_what_it_is),
		cmocka_unit_test(forks), cmocka_unit_test(fork_without_memory), cmocka_unit_test(old_streams),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
