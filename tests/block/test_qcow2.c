/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2 against a mirror: random requests, many at once, ending in any order, on images of every
 * kind; power cuts at random moments; what qemu-img says of the result, where it is installed. */
#include "cut.h"
#include "mem.h"
#include "block/layer.h"
#include "base/bytes.h"
#include <sys/wait.h>

#define SLOTS 8
#define DISK_MAX (6 * MiB)

static bool have_qemu_img(void)
{
	return !system("command -v qemu-img >/dev/null 2>&1");
}

/* 0 as the shell says. */
static int sh(const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	return WEXITSTATUS(system(cmd));
}

/* Both checkers: leaks are allowed after a crash only. */
static void checked(const char *path, bool leaks)
{
	struct image_check c;

	OK(image_check(path, false, &c, NULL, NULL, E));
	if (c.errors || (c.leaks && !leaks))
		fail_msg("%s: %llu errors, %llu leaks: %s", path, (unsigned long long)c.errors,
			 (unsigned long long)c.leaks, c.first);
	if (have_qemu_img()) {
		int r = sh("qemu-img check -q %s >/dev/null 2>%s", path, test_path("said"));

		if (r && !(leaks && r == 3)) {
			sh("qemu-img check %s 2>&1 | head -5 | sed 's/^/# /'", path);
			fail_msg("qemu-img check: %d", r);
		}
	}
}

/* What the disk ought to hold: each sector is filled with a number. */
struct model {
	u64 size, nsect;
	u64 *is;			/* by sector */
	u64 *open; /* requests under way that touch it, and those not flushed */
	u64 counter, seed;
};

static void model_init(struct model *m, u64 size, u64 seed)
{
	*m = (struct model){ .size = size, .nsect = size / 512, .seed = seed | 1 };
	m->is = calloc(m->nsect, 8);
	m->open = calloc(m->nsect, 8);
}

static void model_free(struct model *m)
{
	free(m->is);
	free(m->open);
}

static void sector_fill(u8 *p, u64 n)
{
	for (unsigned i = 0; i < 512; i += 8)
		put_le64(p + i, n ? n + i : 0);
}

static bool sector_is(const u8 *p, u64 n)
{
	u8 want[512];

	sector_fill(want, n);
	return !memcmp(p, want, 512);
}

struct slot {
	struct block_req r;
	struct iovec iov[3];
	u8 *buf;
	bool busy;
	u64 started;			/* the model's counter */
	struct model *m;
	u64 *flush_open;		/* flush: what was over when it began */
	bool failing;
};

static void on_slot(struct block_req *r, int ret)
{
	struct slot *s = r->ctx;
	struct model *m = s->m;

	s->busy = false;
	if (ret && s->failing)
		return;
	assert_int_equal(ret, 0);
	if (r->op == BLOCK_READ) {
		for (u64 i = 0; i < r->len / 512; i++)
			if (!sector_is(s->buf + i * 512, m->is[r->off / 512 + i]))
				fail_msg("sector %llu: not %llu but %llu",
					 (unsigned long long)(r->off / 512 + i),
					 (unsigned long long)m->is[r->off / 512 + i],
					 (unsigned long long)get_le64(s->buf + i * 512));
	} else if (r->op == BLOCK_FLUSH) {
		/* Safe: what was written, and over, before the flush was asked for. */
		for (u64 i = 0; i < m->nsect; i++)
			if (m->open[i] && m->open[i] <= s->flush_open[i])
				m->open[i] = 0;
		free(s->flush_open);
		s->flush_open = NULL;
	}
}

/* Slot @i works on stripes of its own, so that requests do not overlap but share clusters. */
static void slot_go(struct block *b, struct slot *s, unsigned i, struct model *m, bool discards)
{
	u64 stripe = 8, nstripes = m->nsect / (stripe * SLOTS);
	u64 at = (rnd(&m->seed) % nstripes * SLOTS + i) * stripe, len = 1 + rnd(&m->seed) % stripe;
	unsigned what = (unsigned)(rnd(&m->seed) % 16);

	at += rnd(&m->seed) % (stripe - len + 1);
	s->r = (struct block_req){
		.op = what < 6 ? BLOCK_READ : what < 12 ? BLOCK_WRITE : what < 13 ? BLOCK_FLUSH :
			BLOCK_WRITE_ZEROES,
		.off = at * 512, .len = len * 512, .unmap = what & 1, .iov = s->iov, .niov = 1,
		.done = on_slot, .ctx = s,
	};
	s->m = m;
	s->iov[0] = (struct iovec){ s->buf, s->r.len };
	if (len > 2) {
		s->iov[0].iov_len = 700;
		s->iov[1] = (struct iovec){ s->buf + 700, s->r.len - 700 };
		s->r.niov = 2;
	}
	if (s->r.op == BLOCK_FLUSH) {
		s->flush_open = malloc(m->nsect * 8);
		memcpy(s->flush_open, m->open, m->nsect * 8);
		for (unsigned k = 0; k < SLOTS; k++)	/* still under way: not promised */
			if (s[(int)k - (int)i].busy && s[(int)k - (int)i].r.op != BLOCK_FLUSH)
				for (u64 x = 0; x < s[(int)k - (int)i].r.len / 512; x++)
					s->flush_open[s[(int)k - (int)i].r.off / 512 + x] = 0;
	} else if (s->r.op != BLOCK_READ) {
		m->counter += 1000;
		for (u64 k = 0; k < len; k++) {
			u64 n = s->r.op == BLOCK_WRITE ? m->counter + k : 0;

			m->is[at + k] = n;
			m->open[at + k] = m->counter;
			sector_fill(s->buf + k * 512, n);
		}
	}
	s->busy = true;
	block_submit(b, &s->r);
}

/* A large discard or zeroes, or a flush, with nothing else under way. */
static void big_one(struct block *b, struct model *m)
{
	u64 at = rnd(&m->seed) % m->nsect, len = 1 + rnd(&m->seed) % (m->nsect - at);
	enum block_op op = rnd(&m->seed) & 1 ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES;
	u8 *buf;

	len = MIN(len, 4096);
	block_drain(b);
	assert_int_equal(block_rw(b, op, at * 512, NULL, len * 512), 0);
	m->counter += 1000;
	buf = malloc(len * 512);
	assert_int_equal(block_rw(b, BLOCK_READ, at * 512, buf, len * 512), 0);
	for (u64 i = 0; i < len; i++) {
		/* What is discarded may keep what it had. */
		if (op == BLOCK_WRITE_ZEROES || sector_is(buf + i * 512, 0))
			m->is[at + i] = 0;
		m->open[at + i] = m->counter;
		assert_true(sector_is(buf + i * 512, m->is[at + i]));
	}
	free(buf);
}

static void storm(struct block *b, struct model *m, unsigned rounds, struct slot *s)
{
	while (rounds--) {
		unsigned i = (unsigned)(rnd(&m->seed) % SLOTS);

		if (rnd(&m->seed) % 200 == 0)
			big_one(b, m);
		if (!s[i].busy)
			slot_go(b, &s[i], i, m, true);
		if (rnd(&m->seed) % 3 == 0)
			block_poll(b, true);
	}
}

static void slots_init(struct slot *s)
{
	memset(s, 0, SLOTS * sizeof(*s));
	for (unsigned i = 0; i < SLOTS; i++)
		s[i].buf = malloc(8 * 512);
}

static void slots_free(struct slot *s)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		free(s[i].buf);
		free(s[i].flush_open);
	}
}

static void compare_all(struct block *b, struct model *m, bool flushed_only)
{
	u8 *all = malloc(m->size);

	assert_int_equal(block_rw(b, BLOCK_READ, 0, all, m->size), 0);
	for (u64 i = 0; i < m->nsect; i++)
		if (!(flushed_only && m->open[i]) && !sector_is(all + i * 512, m->is[i]))
			fail_msg("sector %llu: not %llu but %llu", (unsigned long long)i,
				 (unsigned long long)m->is[i],
				 (unsigned long long)get_le64(all + i * 512));
	free(all);
}

/* A base image of raw zeros-and-numbers; the model knows it. */
static const char *make_base(struct model *m, u64 size)
{
	u8 *data = calloc(1, size);
	const char *p;

	for (u64 i = 0; i < MIN(size / 512, m->nsect); i++)
		if (i % 3) {
			m->is[i] = 7777 + i;
			sector_fill(data + i * 512, m->is[i]);
		}
	p = test_file("base", data, size);
	free(data);
	return p;
}

static struct block *over(struct cut *c, const char *base, bool discard)
{
	struct block_options ro = { .format = "raw", .readonly = true };
	struct qcow2_options o = { .discard = discard };
	struct block *b, *backing = NULL;

	if (base)
		OK(block_open(&backing, NULL, base, &ro, E));
	OK(qcow2_new(&b, NULL, &c->b, backing, "test", &o, E));
	return b;
}

struct kind { unsigned version, bits; bool backing; };
static const struct kind kinds[] = {
	{ 3, 16, false }, { 3, 16, true }, { 3, 12, true },  { 3, 9, false },
	{ 3, 9, true },	  { 2, 16, true }, { 2, 10, false }, { 3, 21, true },
};

static void make(const struct kind *k, struct model *m, const char **base)
{
	struct image_spec s = { .format = "qcow2", .size = m->size, .cluster_bits = k->bits,
				.version = k->version, .replace = true };

	*base = NULL;
	if (k->backing) {
		*base = make_base(m, m->size - 512 * 100);
		s.backing = "base";
		s.backing_format = "raw";
	}
	OK(image_create(test_path("img"), &s, E));
}

static void mirror(void **st)
{
	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct block_options o = { .format = "qcow2", .discard = k % 2 == 0 };
		struct slot s[SLOTS];
		struct model m;
		const char *base;
		struct block *b;

		model_init(&m, kinds[k].bits == 9 ? MiB : DISK_MAX, 0x1357 + k);
		make(&kinds[k], &m, &base);
		checked(test_path("img"), false);
		slots_init(s);
		for (unsigned round = 0; round < 3; round++) {
			OK(block_open(&b, NULL, test_path("img"), &o, E));
			assert_int_equal(b->info.size, m.size);
			storm(b, &m, 1500, s);
			block_drain(b);
			compare_all(b, &m, false);
			block_free(b);
			checked(test_path("img"), false);
		}
		o.readonly = true;
		OK(block_open(&b, NULL, test_path("img"), &o, E));
		compare_all(b, &m, false);
		if (have_qemu_img()) {
			u8 *all = malloc(m.size);

			block_rw(b, BLOCK_READ, 0, all, m.size);
			test_file("flat", all, m.size);
			free(all);
			assert_int_equal(sh("qemu-img compare -q -f qcow2 -F raw -U %s %s",
					    test_path("img"), test_path("flat")), 0);
		}
		block_free(b);
		slots_free(s);
		model_free(&m);
	}
}

/* As above over the layer that holds writes back, which then loses power. */
static void power(void **st)
{
	const char *env = getenv("ROUNDS");
	unsigned rounds = env ? (unsigned)atoi(env) : 64;

	for (unsigned k = 0; k < rounds; k++) {
		const struct kind *kind = &kinds[k % ARRAY_SIZE(kinds)];
		u64 seed = 0x24680 + k * 7919;
		struct block_options o = { .format = "qcow2" };
		struct slot s[SLOTS];
		struct model m;
		const char *base;
		struct block *b;
		struct cut *c;

		model_init(&m, kind->bits == 9 ? MiB / 2 : 2 * MiB, seed);
		make(kind, &m, &base);
		slots_init(s);
		c = cut_new(test_path("img"), seed);
		b = over(c, base, k & 1);
		storm(b, &m, (unsigned)(rnd(&seed) % 1200), s);
		cut_power(c, test_path("img"), k % 3 == 0);
		/* The process has gone: drop everything without a word. */
		for (unsigned i = 0; i < SLOTS; i++)
			s[i].failing = true;
		c->fail_after = 1;
		block_drain(b);
		block_free(b);
		checked(test_path("img"), true);
		OK(block_open(&b, NULL, test_path("img"), &o, E));
		compare_all(b, &m, true);
		/* And it goes on from there. */
		slots_free(s);
		slots_init(s);
		for (u64 i = 0; i < m.nsect; i++)
			if (m.open[i]) {
				u8 sector[512];

				m.is[i] = m.counter + i;
				sector_fill(sector, m.is[i]);
				assert_int_equal(block_rw(b, BLOCK_WRITE, i * 512, sector, 512), 0);
			}
		storm(b, &m, 200, s);
		block_drain(b);
		compare_all(b, &m, false);
		block_free(b);
		checked(test_path("img"), true);
		slots_free(s);
		model_free(&m);
	}
}

/* The file fails for good at some moment: every request is answered, with an error. */
static void errors(void **st)
{
	for (unsigned k = 0; k < 24; k++) {
		struct slot s[SLOTS];
		struct model m;
		const char *base;
		struct block *b;
		struct cut *c;

		model_init(&m, MiB, 99 + k);
		make(&kinds[k % 6], &m, &base);
		slots_init(s);
		c = cut_new(test_path("img"), 5 + k);
		b = over(c, base, true);
		for (unsigned i = 0; i < SLOTS; i++)
			s[i].failing = true;
		c->fail_after = 20 + k * 3;
		for (unsigned n = 0; n < 300; n++) {
			unsigned i = n % SLOTS;

			if (!s[i].busy) {
				free(s[i].flush_open);
				s[i].flush_open = NULL;
				slot_go(b, &s[i], i, &m, true);
			}
			if (n % 3 == 0)
				block_poll(b, true);
			if (c->fail_after == 1)		/* what is read does not matter any more */
				memset(m.is, 0, m.nsect * 8);
			if (c->fail_after == 1)
				break;
		}
		block_drain(b);
		for (unsigned i = 0; i < SLOTS; i++)
			assert_false(s[i].busy);
		block_free(b);
		slots_free(s);
		model_free(&m);
	}
}

struct slot_end { bool over; int ret; };
static void on_slot_end(struct block_req *r, int ret)
{
	*(struct slot_end *)r->ctx = (struct slot_end){ true, ret };
}

/* A disk whose clusters lie in no order: one request for all of it is done a bounded number of pieces
 * at a time. */
static void scattered(void **st)
{
	enum { LEN = 2 * MiB, N = LEN / 512, ROOM = 8 * MiB };
	struct image_spec s = { .format = "qcow2", .size = LEN, .cluster_bits = 9, .replace = true };
	struct mem *file = mem_new(NULL, ROOM);
	struct qcow2_options o = { 0 };
	u8 *buf = malloc(LEN), was[512];
	struct iovec iov = { buf, LEN };
	struct slot_end end = { 0 };
	struct block_req r = { .op = BLOCK_READ, .len = LEN, .iov = &iov, .niov = 1,
			       .done = on_slot_end, .ctx = &end };
	unsigned held = 0;
	struct block *b;
	int fd;

	OK(image_create(test_path("img"), &s, E));
	fd = open(test_path("img"), O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	file->b.info.end = (u64)pread(fd, file->data, ROOM, 0);
	file->b.info.size = 1ull << 62;
	close(fd);
	OK(qcow2_new(&b, NULL, &file->b, NULL, "test", &o, E));
	for (unsigned i = N; i-- > 0; ) {
		memset(was, (int)(i % 251), 512);
		assert_int_equal(block_rw(b, BLOCK_WRITE, i * 512, was, 512), 0);
	}
	assert_int_equal(block_rw(b, BLOCK_READ, 0, buf, LEN), 0);	/* tables are in memory */
	memset(buf, 0xff, LEN);
	file->hold = true;
	block_submit(b, &r);
	for (struct block_req *h = file->held; h; h = h->next)
		held++;
	assert_in_range(held, 64, 1024);
	block_drain(b);
	file->hold = false;
	assert_true(end.over);
	assert_int_equal(end.ret, 0);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(buf[i * 512 + 100], i % 251);
	block_free(b);
	free(buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mirror), cmocka_unit_test(power), cmocka_unit_test(errors),
		cmocka_unit_test(scattered),
	};

	return cmocka_run_group_tests_name("qcow2", tests, NULL, test_folder_gone);
}
