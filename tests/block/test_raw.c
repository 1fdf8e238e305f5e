/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Raw files through io_uring and through threads, with the host's cache and without: random
 * requests against a mirror, ends of files, errors, locks, holes. */
#include "blocktest.h"
#include <sys/wait.h>

#define SIZE (4 * MiB)

struct io {
	struct block_req r;
	struct iovec iov[8];
	u8 *buf;
	bool busy, over;
	int ret;
};

static void on_done(struct block_req *r, int ret)
{
	struct io *io = r->ctx;

	io->busy = false;
	io->over = true;
	io->ret = ret;
}

/* Cut @len bytes at @buf into up to 8 pieces of odd lengths. */
static void cut(struct io *io, u8 *buf, u64 len, u64 *seed)
{
	unsigned n = 0;

	while (len && n < 7) {
		u64 k = 1 + rnd(seed) % len;

		io->iov[n++] = (struct iovec){ buf, k };
		buf += k;
		len -= k;
	}
	if (len)
		io->iov[n++] = (struct iovec){ buf, len };
	io->r.iov = io->iov;
	io->r.niov = n;
}

/* @n rounds of up to 8 requests at once that do not overlap. */
static void storm(struct block *b, u8 *mirror, unsigned rounds, u64 seed)
{
	struct io io[8] = { 0 };
	u64 part = SIZE / ARRAY_SIZE(io);

	for (unsigned i = 0; i < ARRAY_SIZE(io); i++)
		assert_non_null(io[i].buf = malloc(part));
	while (rounds--) {
		block_plug(b);
		for (unsigned i = 0; i < ARRAY_SIZE(io); i++) {
			u64 at = rnd(&seed) % (part / 512) * 512;
			u64 want = (1 + rnd(&seed) % 128) * 512, len = MIN(part - at, want);
			struct io *p = &io[i];

			p->r = (struct block_req){
				.op = (enum block_op[]){ BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH,
							 BLOCK_DISCARD, BLOCK_WRITE_ZEROES,
							 BLOCK_WRITE, BLOCK_READ,
							 BLOCK_WRITE }[rnd(&seed) % 8],
				.off = i * part + at,
				.len = len,
				.fua = rnd(&seed) % 16 == 0,
				.unmap = rnd(&seed) & 1,
				.done = on_done,
				.ctx = p,
			};
			cut(p, p->buf, len, &seed);
			if (p->r.op == BLOCK_WRITE) {
				for (u64 k = 0; k < len; k += 8)
					memcpy(p->buf + k, &seed, 8);
				rnd(&seed);
				memcpy(mirror + p->r.off, p->buf, len);
			} else if (p->r.op == BLOCK_DISCARD || p->r.op == BLOCK_WRITE_ZEROES) {
				memset(mirror + p->r.off, 0, len);
			}
			p->busy = true;
			p->over = false;
			block_submit(b, &p->r);
			assert_true(p->busy);		/* never from inside */
		}
		block_unplug(b);
		block_drain(b);
		for (unsigned i = 0; i < ARRAY_SIZE(io); i++) {
			assert_true(io[i].over);
			assert_int_equal(io[i].ret, 0);
			if (io[i].r.op == BLOCK_READ)
				assert_memory_equal(io[i].buf, mirror + io[i].r.off, io[i].r.len);
		}
	}
	for (unsigned i = 0; i < ARRAY_SIZE(io); i++)
		free(io[i].buf);
}

static void mirror_one(const char *aio, enum block_cache cache)
{
	struct block_options o = { .format = "raw", .cache = cache, .discard = true, .aio = aio };
	const char *path = test_file("disk", NULL, SIZE);
	u8 *mirror = calloc(1, SIZE), *all = malloc(SIZE);
	struct block *b;
	struct err e = { 0 };
	int r = block_open(&b, NULL, path, &o, &e);

	if (r && (cache == BLOCK_NONE || !strcmp(aio, "uring"))) {	/* this host has it not */
		print_message("# %s\n", e.msg);
		free(mirror);
		free(all);
		return;
	}
	assert_int_equal(r, 0);
	assert_int_equal(b->info.size, SIZE);
	if (b->info.logical == 512)
		storm(b, mirror, 150, 0x1234567 + cache);
	block_free(b);
	OK(block_open(&b, NULL, path, &o, E));
	assert_int_equal(block_rw(b, BLOCK_READ, 0, all, SIZE), 0);
	assert_memory_equal(all, mirror, SIZE);
	block_free(b);
	free(mirror);
	free(all);
}

static void mirror(void **st)
{
	for (enum block_cache c = BLOCK_WRITEBACK; c <= BLOCK_UNSAFE; c++) {
		mirror_one("uring", c);
		mirror_one("threads", c);
	}
}

/* On a loop, as a machine does it. */
struct looped { struct loop *l; struct block *b; unsigned left; struct io io; };

static void on_loop_done(struct block_req *r, int ret)
{
	struct looped *p = r->ctx;

	assert_int_equal(ret, p->left % 3 == 1 ? -EINVAL : 0);
	if (!--p->left) {
		loop_quit(p->l);
		return;
	}
	r->off = p->left % 3 == 1 ? SIZE : 0;		/* every third lies beyond the end */
	block_submit(p->b, r);
}

static void on_loop(void **st)
{
	static const char *const aio[] = { "uring", "threads" };

	for (unsigned i = 0; i < 2; i++) {
		struct block_options o = { .format = "raw", .aio = aio[i] };
		struct looped p = { .left = 300 };
		u8 buf[512];
		struct err e = { 0 };

		OK(loop_new(&p.l, NULL, E));
		if (block_open(&p.b, p.l, test_file("disk", NULL, SIZE), &o, &e)) {
			loop_free(p.l);
			continue;
		}
		p.io.iov[0] = (struct iovec){ buf, 512 };
		p.io.r = (struct block_req){ .op = BLOCK_READ,
					     .len = 512,
					     .iov = p.io.iov,
					     .niov = 1,
					     .done = on_loop_done,
					     .ctx = &p };
		block_submit(p.b, &p.io.r);
		loop_run(p.l);
		assert_int_equal(p.left, 0);
		block_free(p.b);
		loop_free(p.l);
	}
}

/* A file that ends within a sector; one that has become shorter; one that must not be written. */
static void ends(void **st)
{
	static const char *const aio[] = { "uring", "threads" };

	for (unsigned i = 0; i < 2; i++) {
		struct block_options o = { .format = "raw", .aio = aio[i] };
		const char *path;
		u8 data[1000], buf[1024];
		struct block *b;
		struct err e = { 0 };

		memset(data, 0x5a, sizeof(data));
		path = test_file("odd", data, sizeof(data));
		if (block_open(&b, NULL, path, &o, &e))
			continue;
		assert_int_equal(b->info.size, 1024);
		memset(buf, 1, sizeof(buf));
		assert_int_equal(block_rw(b, BLOCK_READ, 0, buf, 1024), 0);
		assert_memory_equal(buf, data, 1000);
		for (unsigned k = 1000; k < 1024; k++)
			assert_int_equal(buf[k], 0);
		assert_int_equal(block_rw(b, BLOCK_READ, 512, buf, 1024), -EINVAL);
		assert_int_equal(block_rw(b, BLOCK_READ, UINT64_MAX - 511, buf, 512), -EINVAL);
		assert_int_equal(block_rw(b, BLOCK_READ, 1, buf, 512), -EINVAL);
		assert_int_equal(block_rw(b, BLOCK_WRITE, 0, buf, 0), -EINVAL);
		block_free(b);

		path = test_file("short", NULL, 1 * MiB);
		OK(block_open(&b, NULL, path, &o, E));
		assert_int_equal(truncate(path, 512 * 1024), 0);
		assert_int_equal(block_rw(b, BLOCK_READ, 512 * 1024, buf, 512), -EIO);
		assert_int_equal(block_rw(b, BLOCK_READ, 512 * 1024 - 512, buf, 1024), -EIO);
		assert_int_equal(block_rw(b, BLOCK_READ, 512 * 1024 - 512, buf, 512), 0);
		block_free(b);

		o.readonly = true;
		OK(block_open(&b, NULL, path, &o, E));
		assert_true(b->info.readonly);
		assert_int_equal(block_rw(b, BLOCK_WRITE, 0, buf, 512), -EROFS);
		assert_int_equal(block_rw(b, BLOCK_DISCARD, 0, NULL, 512), -EROFS);
		assert_int_equal(block_rw(b, BLOCK_FLUSH, 0, NULL, 0), 0);
		block_free(b);
	}
}

static void holes(void **st)
{
	struct block_options o = { .format = "raw", .discard = true };
	u8 *data = malloc(SIZE);
	const char *path;
	struct stat a, z;
	struct block *b;

	memset(data, 7, SIZE);
	path = test_file("holes", data, SIZE);
	stat(path, &a);
	OK(block_open(&b, NULL, path, &o, E));
	assert_int_equal(block_rw(b, BLOCK_DISCARD, MiB, NULL, 2 * MiB), 0);
	stat(path, &z);
	assert_int_equal(z.st_size, SIZE);
	if (z.st_blocks == a.st_blocks)
		print_message("# this file system makes no holes\n");
	else
		assert_true(z.st_blocks * 512 <= a.st_blocks * 512 - 2 * (blkcnt_t)MiB);
	assert_int_equal(block_rw(b, BLOCK_READ, 0, data, SIZE), 0);
	assert_int_equal(data[MiB - 1], 7);
	assert_int_equal(data[MiB], 0);
	assert_int_equal(data[3 * MiB - 1], 0);
	assert_int_equal(data[3 * MiB], 7);
	OK(block_resize(b, 2 * SIZE, E));
	assert_int_equal(b->info.size, 2 * SIZE);
	assert_int_equal(block_rw(b, BLOCK_READ, 2 * SIZE - 512, data, 512), 0);
	FAILS(EINVAL, "multiple", block_resize(b, 1000, E));
	block_free(b);
	free(data);
}

static void locks(void **st)
{
	struct block_options rw = { .format = "raw" }, ro = { .format = "raw", .readonly = true };
	struct block_options look = { .format = "raw", .readonly = true, .unlocked = true };
	const char *path = test_file("locked", NULL, MiB);
	struct block *b, *c, *d;
	struct image_info info;
	int p[2], status;
	char byte;
	pid_t pid;

	OK(block_open(&b, NULL, path, &rw, E));
	FAILS(EBUSY, "in use", block_open(&c, NULL, path, &rw, E));
	FAILS(EBUSY, "which writes to it", block_open(&c, NULL, path, &ro, E));
	OK(block_open(&c, NULL, path, &look, E));
	block_free(c);
	OK(image_info(path, &info, E));
	assert_true(info.in_use);
	block_free(b);
	OK(image_info(path, &info, E));
	assert_false(info.in_use);
	OK(block_open(&b, NULL, path, &ro, E));
	OK(block_open(&c, NULL, path, &ro, E));
	FAILS(EBUSY, "in use", block_open(&d, NULL, path, &rw, E));
	block_free(b);
	block_free(c);

	/* Another process is named; and when it is killed its lock ends. */
	assert_int_equal(pipe(p), 0);
	pid = fork();
	if (!pid) {
		if (block_open(&b, NULL, path, &rw, NULL))
			_exit(1);
		if (write(p[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	assert_int_equal(read(p[0], &byte, 1), 1);
	FAILS(EBUSY, "test_raw (pid", block_open(&c, NULL, path, &rw, E));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	OK(block_open(&c, NULL, path, &rw, E));
	block_free(c);
	close(p[0]);
	close(p[1]);
}

static void on_turned(struct block_req *r, int ret)
{
	assert_int_equal(ret, 0);
}

static void refusals(void **st)
{
	struct block_options o = { 0 };
	struct block *b;
	u8 head[512] = "QFI\xfb", turn[512];
	struct iovec iov = { turn, sizeof(turn) };
	struct block_req r = { .op = BLOCK_WRITE, .len = sizeof(turn), .iov = &iov, .niov = 1,
			       .done = on_turned };

	FAILS(ENOENT, "nowhere", block_open(&b, NULL, test_path("nowhere"), &o, E));
	FAILS(EINVAL, "regular file", block_open(&b, NULL, "/dev/null", &o, E));
	mkfifo(test_path("fifo"), 0600);
	FAILS(EINVAL, "regular file", block_open(&b, NULL, test_path("fifo"), &o, E));
	o.format = "vmdk";
	FAILS(ENOTSUP, "raw or qcow2", block_open(&b, NULL, test_file("f", NULL, 512), &o, E));
	o.format = "raw";
	o.aio = "magic";
	FAILS(EINVAL, "uring or threads", block_open(&b, NULL, test_path("f"), &o, E));
	/* A guest must not choose the format of a disk whose format is guessed. */
	o = (struct block_options){ 0 };
	OK(block_open(&b, NULL, test_path("f"), &o, E));
	assert_int_equal(block_rw(b, BLOCK_WRITE, 0, head, 512), -EPERM);
	/* Nor by changing its memory once that was looked at. */
	memset(turn, 'x', sizeof(turn));
	block_plug(b);
	block_submit(b, &r);
	memcpy(turn, head, sizeof(turn));
	block_unplug(b);
	block_drain(b);
	assert_int_equal(block_rw(b, BLOCK_READ, 0, turn, sizeof(turn)), 0);
	assert_memory_equal(turn, "xxxx", 4);
	block_free(b);
	o.format = "raw";
	OK(block_open(&b, NULL, test_path("f"), &o, E));
	assert_int_equal(block_rw(b, BLOCK_WRITE, 0, head, 512), 0);
	block_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mirror), cmocka_unit_test(on_loop), cmocka_unit_test(ends),
		cmocka_unit_test(holes), cmocka_unit_test(locks), cmocka_unit_test(refusals),
	};

	return cmocka_run_group_tests_name("raw", tests, NULL, test_folder_gone);
}
