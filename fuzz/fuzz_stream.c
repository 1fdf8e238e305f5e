/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_stream.c - hostile saved machines. Three kinds of input: bytes of a stream changed as they are
 * (the checksums must notice all of them); payloads changed and given right checksums, read into
 * nothing; and the same loaded into a machine, which refuses them, or runs, resets and can be saved.
 * How long, and from which seed: fuzz.h. A round is 64 of the first kind, 16 of the second, one of the
 * third. */
#include "fuzz.h"
#include "../tests/state/tiny.h"

#include "base/trace.h"
#include "state/image.h"
#include "state/stream.h"
#include <sys/stat.h>

#define SECTIONS 128

struct part { struct section h; u8 *p; };
static struct part part[SECTIONS];
static unsigned nparts;
static u8 *whole;
static size_t whole_len;
static u64 state;

static u64 rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static u64 value(void)
{
	static const u64 odd[] = { 0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff,
				   INT64_MAX, UINT64_MAX, 4096, 0xfee00000 };

	return rnd() % 3 ? rnd() >> rnd() % 64 : odd[rnd() % ARRAY_SIZE(odd)];
}

/* Take a stream apart. */
static void take_apart(int fd)
{
	struct stream_in in;
	struct section h;
	struct err e = { 0 };
	struct stat st;

	if (fstat(fd, &st) || !(whole = malloc((size_t)st.st_size)) ||
	    pread(fd, whole, (size_t)st.st_size, 0) != st.st_size ||
	    stream_in_begin(&in, fd, "seed", &e))
		tiny_die("seed", &e);
	whole_len = (size_t)st.st_size;
	do {
		if (stream_next(&in, &h, &e) || nparts == SECTIONS)
			tiny_die("seed", &e);
		part[nparts].h = h;
		if (stream_payload(&in, &h, 1 << 26, &part[nparts].p, &e))
			tiny_die("seed", &e);
		nparts++;
	} while (h.kind != SECTION_END);
	nparts--;			/* the end is made anew */
	stream_in_free(&in);
}

/* The stream again, with right checksums, of which some sections are changed. */
static void put_together(int fd, unsigned changes)
{
	struct stream_out o;
	struct err e = { 0 };
	unsigned victim = (unsigned)(rnd() % nparts);

	if (ftruncate(fd, 0) || lseek(fd, 0, SEEK_SET) || stream_out_begin(&o, fd, &e))
		tiny_die("put", &e);
	for (unsigned i = 0; i < nparts; i++) {
		struct section h = part[i].h;
		u64 len = h.raw, at;
		u8 *p = malloc(len + 64);

		memcpy(p, part[i].p, len);
		for (unsigned k = 0; i == victim && len && k < changes; k++) {
			u64 off = rnd() % len, v = value();
			u64 n = 1ull << rnd() % 4;

			n = MIN(n, len - off);
			switch (rnd() % 12) {
			case 0: len = off; break;			/* cut */
			case 1: memmove(p + off, p + off + n, len - off - n); len -= n; break;
			case 2: p[off] ^= (u8)(1u << rnd() % 8); break;
			default: memcpy(p + off, &v, n);
			}
		}
		if (i == victim && rnd() % 16 == 0) {
			u64 v = value();

			switch (rnd() % 5) {
			case 0: h.kind = (u16)v; break;
			case 1: h.version = (u16)v; break;
			case 2: h.arg = v; break;
			case 3: h.bits = (u32)v; break;
			default: h.name[rnd() % 4] = (char)v;
			}
			if (h.kind == SECTION_END)
				h.kind = 0;
		}
		for (unsigned twice = i == victim && rnd() % 64 == 0; ; twice--) {
			if (h.kind == SECTION_INDEX)
				o.index_at = o.off;
			if (stream_put(&o, &h, p, len, rnd() % 2, &at, &e))
				tiny_die("put", &e);
			if (!twice)
				break;
		}
		free(p);
	}
	if (stream_out_end(&o, &e))
		tiny_die("put", &e);
	stream_out_free(&o);
}

/* Bytes as they are: never accepted, unless they are what they were. */
static void raw_input(int fd)
{
	size_t off = rnd() % whole_len, n = 1u << rnd() % 4;
	u64 v = value();
	struct state_stream *s;
	struct err e = { 0 };

	n = MIN(n, whole_len - off);
	if (pwrite(fd, whole, whole_len, 0) != (ssize_t)whole_len || ftruncate(fd, (off_t)whole_len))
		tiny_die("memfd", NULL);
	if (!memcmp(whole + off, &v, n))
		return;
	if (pwrite(fd, &v, n, (off_t)off) != (ssize_t)n)
		tiny_die("memfd", NULL);
	if (state_open(&s, fd, "fuzz", &e) == 0) {
		if (state_verify(s, NULL, NULL, &e) == 0) {
			fprintf(stderr, "fuzz_stream: byte %zu to %#llx goes unnoticed\n", off,
				(unsigned long long)v);
			abort();
		}
		state_close(s);
	}
	if (!e.code)
		abort();
}

static void read_input(int fd)
{
	struct state_stream *s;
	struct err e = { 0 };

	put_together(fd, 1 + (unsigned)(rnd() % 4));
	if (state_open(&s, fd, "fuzz", &e) == 0) {
		state_verify(s, NULL, NULL, &e);
		state_close(s);
	}
}

static bool load_input(int fd)
{
	struct tiny *t;
	struct err e = { 0 };

	put_together(fd, 1 + (unsigned)(rnd() % 3));
	t = tiny_load(fd, 1, rnd() % 2, &e);
	if (!t)
		return false;
	if (machine_start_restored(t->m, rnd() % 4 == 0, &e))
		tiny_die("start", &e);
	tiny_go(t);
	if (rnd() % 2)
		sched_yield();
	else
		tiny_sleep_ms(1);
	machine_pause(t->m);
	if (atomic_load(&t->m->status) == MACHINE_PAUSED) {
		const struct state_capture_options o = { .penta = "fuzz" };
		struct state_image *img = NULL;

		state_capture(&img, t->m, &o, &e);
		state_image_free(img);
	}
	tiny_free(t);
	return true;
}

int main(int argc, char **argv)
{
	enum { RAW = 64, READ = 16 };
	struct fuzz f = fuzz_begin(argc, argv, "fuzz_stream");
	struct tiny *t = tiny_start(1);
	u64 lives = 0;
	int fd;

	if (!getenv("FUZZ_LOUD") && !freopen("/dev/null", "w", stderr))
		return 1;
	log_set_level(LOG_ERROR);
	tiny_sleep_ms(2);
	machine_pause(t->m);
	fd = tiny_save(t, false);
	tiny_free(t);
	take_apart(fd);
	while (fuzz_more(&f, f.rounds ? RAW + READ + 1 : 0)) {
		state = f.seed * 0x9e3779b97f4a7c15ull | 1;
		for (unsigned i = 0; i < RAW; i++)
			raw_input(fd);
		for (unsigned i = 0; i < READ; i++)
			read_input(fd);
		lives += load_input(fd);
	}
	printf("fuzz_stream: %llu of %llu loaded machines lived\n", (unsigned long long)lives,
	       (unsigned long long)f.rounds);
	return fuzz_end(&f);
}
