/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images and chains of them: made, given a new top while they are written, opened from descriptors,
 * resized, converted, compressed by others; and images that mean harm. */
#include "blocktest.h"
#include "base/bytes.h"
#include "block/qcow2.h"

static bool have(const char *tool)
{
	char cmd[64];

	snprintf(cmd, sizeof(cmd), "command -v %s >/dev/null 2>&1", tool);
	return !system(cmd);
}

static int sh(const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	return system(cmd);
}

static struct block *open_rw(const char *path)
{
	struct block_options o = { 0 };
	struct block *b;

	OK(block_open(&b, NULL, path, &o, E));
	return b;
}

static void put(struct block *b, u64 off, u8 what)
{
	u8 buf[4096];

	memset(buf, what, sizeof(buf));
	assert_int_equal(block_rw(b, BLOCK_WRITE, off, buf, sizeof(buf)), 0);
}

static int at(struct block *b, u64 off)
{
	u8 buf[512];

	assert_int_equal(block_rw(b, BLOCK_READ, off, buf, sizeof(buf)), 0);
	for (unsigned i = 1; i < sizeof(buf); i++)
		if (buf[i] != buf[0])
			return -1;
	return buf[0];
}

static void clean(const char *path)
{
	struct image_check c;

	OK(image_check(path, false, &c, NULL, NULL, E));
	assert_int_equal(c.errors, 0);
	assert_int_equal(c.leaks, 0);
	if (have("qemu-img"))
		assert_int_equal(sh("qemu-img check -q %s >/dev/null", path), 0);
}

static void create(void **st)
{
	struct image_spec s = { .format = "qcow2", .size = 10 * MiB };
	struct image_info i;
	const char *p = test_path("new");

	OK(image_create(p, &s, E));
	FAILS(EEXIST, "exists", image_create(p, &s, E));
	s.replace = true;
	s.size = 20 * MiB;
	OK(image_create(p, &s, E));
	OK(image_info(p, &i, E));
	assert_int_equal(i.size, 20 * MiB);
	assert_string_equal(i.format, "qcow2");
	clean(p);
	s.size = 0;
	FAILS(EINVAL, "size", image_create(p, &s, E));
	s.size = 1000;
	FAILS(EINVAL, "multiple", image_create(p, &s, E));
	s.size = MiB;
	s.format = "vdi";
	FAILS(EINVAL, "raw or qcow2", image_create(p, &s, E));
	s.format = "qcow2";
	s.cluster_bits = 22;
	FAILS(EINVAL, "clusters", image_create(p, &s, E));
	s.cluster_bits = 9;
	s.size = 1ull << 50;
	FAILS(EFBIG, "at most", image_create(p, &s, E));
	/* What failed has left nothing, and taken nothing away. */
	OK(image_info(p, &i, E));
	assert_int_equal(i.size, 20 * MiB);
	FAILS(ENOENT, "nowhere", image_create("/nowhere/x", &s, E));
	/* Sizes at which tables get another cluster. */
	for (unsigned bits = 9; bits <= 21; bits += 3)
		for (u64 size = 512; size < 200 * MiB; size = size * 3 / 512 * 512) {
			s.cluster_bits = bits;
			s.size = size;
			if (!image_create(p, &s, NULL)) {
				struct image_check c;

				OK(image_check(p, false, &c, NULL, NULL, E));
				assert_int_equal(c.errors + c.leaks, 0);
				block_free(open_rw(p));
			}
		}
}

static int overlay(const char *name, const char *backing, const char *format, u64 size)
{
	struct image_spec s = { .format = "qcow2", .size = size, .backing = backing,
				.backing_format = format, .backing_busy = true, .replace = true };
	int fd;

	OK(image_create(test_path(name), &s, E));
	fd = open(test_path(name), O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* A disk is written, gets a new top, is written on: as a live snapshot does. */
static void snapshot(void **st)
{
	struct block_file top = { .path = "top", .format = "qcow2" }, files[8];
	struct block *b, *other;
	struct block_options ro = { .readonly = true }, rw = { 0 };

	test_file("base.raw", NULL, 8 * MiB);
	rw.format = "raw";
	OK(block_open(&b, NULL, test_path("base.raw"), &rw, E));
	rw.format = NULL;
	put(b, 0, 1);
	put(b, MiB, 2);
	top.path = test_path("s1");
	top.fd = overlay("s1", "base.raw", "raw", 8 * MiB);
	OK(block_snapshot_overlay(b, &top, E));
	assert_int_equal(at(b, 0), 1);
	put(b, 0, 3);
	put(b, 2 * MiB, 4);
	/* The old top may be read by others now, and not written. */
	OK(block_open(&other, NULL, test_path("base.raw"), &ro, E));
	assert_int_equal(at(other, 0), 1);
	block_free(other);
	FAILS(EBUSY, "in use", block_open(&other, NULL, test_path("base.raw"), &rw, E));
	FAILS(EBUSY, "in use", block_open(&other, NULL, test_path("s1"), &ro, E));
	top.path = test_path("s2");
	top.fd = overlay("s2", "s1", "qcow2", 8 * MiB);
	OK(block_snapshot_overlay(b, &top, E));
	put(b, MiB, 5);
	assert_int_equal(block_files(b, files, 8), 3);
	assert_string_equal(files[0].path, test_path("s2"));
	assert_string_equal(files[2].format, "raw");
	/* What cannot be a top leaves the disk as it is. */
	top.path = test_path("s3");
	top.fd = overlay("s3", "s2", "qcow2", 9 * MiB);
	FAILS(EINVAL, "bytes", block_snapshot_overlay(b, &top, E));
	top.fd = open(test_path("s1"), O_RDWR | O_CLOEXEC);
	FAILS(ELOOP, "own backing", block_snapshot_overlay(b, &top, E));
	top.fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	FAILS(EINVAL, "", block_snapshot_overlay(b, &top, E));
	assert_int_equal(block_files(b, files, 8), 3);
	put(b, 3 * MiB, 6);
	block_free(b);

	b = open_rw(test_path("s2"));
	assert_int_equal(at(b, 0), 3);
	assert_int_equal(at(b, MiB), 5);
	assert_int_equal(at(b, 2 * MiB), 4);
	assert_int_equal(at(b, 3 * MiB), 6);
	assert_int_equal(at(b, 4 * MiB), 0);
	block_free(b);
	OK(block_open(&b, NULL, test_path("s1"), &ro, E));
	assert_int_equal(at(b, MiB), 2);
	assert_int_equal(at(b, 3 * MiB), 0);
	block_free(b);
	clean(test_path("s1"));
	clean(test_path("s2"));

	/* The same chain from descriptors; two tops over one backing, as forks have it. */
	for (unsigned i = 0; i < 2; i++) {
		struct block_file f[3] = {
			{ overlay(i ? "f1" : "f0", "s2", "qcow2", 8 * MiB), "top", "qcow2" },
			{ open(test_path("s2"), O_RDONLY | O_CLOEXEC), "s2", "qcow2" },
			{ open(test_path("s1"), O_RDONLY | O_CLOEXEC), "s1", "qcow2" },
		};
		struct block_file last = { open(test_path("base.raw"), O_RDONLY | O_CLOEXEC),
					   "base.raw", "raw" };
		struct block_file all[4] = { f[0], f[1], f[2], last };

		OK(block_open_fds(i ? &other : &b, NULL, all, 4, &rw, E));
	}
	put(b, MiB, 7);
	put(other, MiB, 8);
	assert_int_equal(at(b, MiB), 7);
	assert_int_equal(at(other, MiB), 8);
	assert_int_equal(at(other, 0), 3);
	block_free(b);
	block_free(other);
}

static void chains(void **st)
{
	struct image_spec s = { .format = "qcow2", .size = MiB, .backing_busy = true,
				.backing_format = "qcow2", .replace = true };
	struct block_options o = { 0 };
	struct block *b;
	char name[32], below[32];

	/* Two that lie over each other; one over itself; one over nothing. */
	s.backing = "y";
	OK(image_create(test_path("x"), &s, E));
	s.backing = "x";
	OK(image_create(test_path("y"), &s, E));
	FAILS(ELOOP, "own backing", block_open(&b, NULL, test_path("x"), &o, E));
	s.backing = "z";
	OK(image_create(test_path("z"), &s, E));
	FAILS(ELOOP, "own backing", block_open(&b, NULL, test_path("z"), &o, E));
	s.backing = "gone";
	OK(image_create(test_path("z"), &s, E));
	FAILS(ENOENT, "gone", block_open(&b, NULL, test_path("z"), &o, E));
	s.backing = "nbd:host:10809";
	OK(image_create(test_path("z"), &s, E));
	FAILS(ENOTSUP, "files only", block_open(&b, NULL, test_path("z"), &o, E));
	s.backing = "json:{}";
	OK(image_create(test_path("z"), &s, E));
	FAILS(ENOTSUP, "files only", block_open(&b, NULL, test_path("z"), &o, E));
	/* Deep ones: as deep as allowed, and one more. */
	for (unsigned i = 0; i <= BLOCK_CHAIN_MAX; i++) {
		snprintf(name, sizeof(name), "c%u", i);
		snprintf(below, sizeof(below), "c%u", i - 1);
		s.backing = i ? below : NULL;
		OK(image_create(test_path(name), &s, E));
	}
	FAILS(ELOOP, "more than", block_open(&b, NULL, test_path(name), &o, E));
	b = open_rw(test_path(below));
	put(b, 0, 1);
	block_free(b);
}

static void resize(void **st)
{
	struct image_spec s = { .format = "qcow2", .size = MiB, .replace = true };
	const char *p = test_path("grow");

	for (unsigned bits = 9; bits <= 16; bits += 7) {
		struct block *b;

		s.cluster_bits = bits;
		OK(image_create(p, &s, E));
		b = open_rw(p);
		put(b, MiB - 4096, 1);
		for (u64 size = 2 * MiB; size <= 64 * MiB; size *= 2) {
			OK(block_resize(b, size, E));
			put(b, size - 4096, 2);
			assert_int_equal(at(b, MiB - 4096), 1);
			assert_int_equal(at(b, size / 2 + 4096), 0);
		}
		FAILS(ENOTSUP, "smaller", block_resize(b, MiB, E));
		block_free(b);
		clean(p);
		b = open_rw(p);
		assert_int_equal(b->info.size, 64 * MiB);
		assert_int_equal(at(b, 32 * MiB - 4096), 2);
		assert_int_equal(block_rw(b, BLOCK_DISCARD, 0, NULL, 64 * MiB), 0);
		block_free(b);
	}
}

/* What qemu-img compressed is read, written over, and sound afterwards. */
static void compressed(void **st)
{
	static const char *const how[] = { "zlib", "zstd" };
	u8 *data = malloc(4 * MiB), *got = malloc(4 * MiB);
	u64 seed = 42;

	if (!have("qemu-img")) {
		free(data);
		free(got);
		print_message("# qemu-img is not installed\n");
		skip();
	}
	for (u64 i = 0; i < 4 * MiB; i++)
		data[i] = i % 65536 < 30000 ? (u8)rnd(&seed) : (u8)(i >> 12);
	test_file("plain", data, 4 * MiB);
	for (unsigned i = 0; i < 2; i++) {
		struct block *b;

		assert_int_equal(sh("qemu-img convert -q -c -f raw -O qcow2 -o compression_type=%s "
				    "%s %s", how[i], test_path("plain"), test_path("packed")), 0);
		b = open_rw(test_path("packed"));
		assert_int_equal(block_rw(b, BLOCK_READ, 0, got, 4 * MiB), 0);
		assert_memory_equal(got, data, 4 * MiB);
		for (unsigned k = 0; k < 40; k++) {
			u64 off = rnd(&seed) % 1000 * 4096;

			put(b, off, (u8)k);
			memset(data + off, (int)k, 4096);
		}
		assert_int_equal(block_rw(b, BLOCK_READ, 0, got, 4 * MiB), 0);
		assert_memory_equal(got, data, 4 * MiB);
		block_free(b);
		assert_int_equal(sh("qemu-img check -q %s", test_path("packed")), 0);
		clean(test_path("packed"));
		test_file("plain", data, 4 * MiB);
		assert_int_equal(sh("qemu-img compare -q %s -f qcow2 -F raw %s",
				    test_path("packed"), test_path("plain")),
				 0);
	}
	free(data);
	free(got);
}

static void convert(void **st)
{
	struct image_spec s = { .format = "raw", .replace = true };
	u8 buf[4096];
	struct stat a;
	struct block *b;
	int fd;

	test_file("src.raw", NULL, 64 * MiB);
	b = open_rw(test_path("src.raw"));
	put(b, 0, 1);
	put(b, 33 * MiB, 2);
	block_free(b);
	close(overlay("src.q", "src.raw", "raw", 64 * MiB));
	b = open_rw(test_path("src.q"));
	put(b, 0, 3);
	block_free(b);
	OK(image_convert(test_path("src.q"), NULL, test_path("dst.raw"), &s, NULL, NULL, E));
	stat(test_path("dst.raw"), &a);
	assert_int_equal(a.st_size, 64 * MiB);
	assert_true(a.st_blocks * 512 < 4 * (blkcnt_t)MiB);
	fd = open(test_path("dst.raw"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, buf, 4096, 33 * MiB), 4096);
	assert_int_equal(buf[7], 2);
	assert_int_equal(pread(fd, buf, 4096, 0), 4096);
	assert_int_equal(buf[7], 3);
	close(fd);
	s.format = "qcow2";
	OK(image_convert(test_path("dst.raw"), "raw", test_path("dst.q"), &s, NULL, NULL, E));
	clean(test_path("dst.q"));
	s.size = MiB;
	FAILS(EINVAL, "too few", image_convert(test_path("dst.raw"), "raw", test_path("dst2"), &s,
					       NULL, NULL, E));
	assert_true(access(test_path("dst2"), F_OK) < 0);
}

/* What a copy need not read: 8 GiB with three pieces in them, through raw and qcow2. */
static void holes(void **st)
{
	static const u64 at[] = { 512 * MiB, 1 * GiB + 4096, 8 * GiB - 4096 };
	struct image_spec s = { .format = "qcow2" };
	struct block *b;

	test_file("big.raw", NULL, 8 * GiB);
	b = open_rw(test_path("big.raw"));
	for (unsigned i = 0; i < 3; i++)
		put(b, at[i], (u8)(i + 1));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(block_next_data(b, i ? at[i - 1] + 1 * MiB : 0), at[i]);
	assert_int_equal(block_next_data(b, 8 * GiB), 8 * GiB);
	block_free(b);
	OK(image_convert(test_path("big.raw"), "raw", test_path("big.q"), &s, NULL, NULL, E));
	clean(test_path("big.q"));
	b = open_rw(test_path("big.q"));
	assert_int_equal(block_next_data(b, 0), 512 * MiB);
	assert_int_equal(block_next_data(b, 2 * GiB), 8 * GiB - 512 * MiB);
	block_free(b);
	s.format = "raw";
	OK(image_convert(test_path("big.q"), "qcow2", test_path("big.2"), &s, NULL, NULL, E));
	b = open_rw(test_path("big.2"));
	for (unsigned i = 0; i < 3; i++) {
		u8 buf[512];

		OK(block_rw(b, BLOCK_READ, at[i], buf, sizeof(buf)));
		assert_int_equal(buf[7], i + 1);
	}
	block_free(b);
}

/* Fields of the header that mean harm. */
static void headers(void **st)
{
	static const struct { unsigned at, bytes; u64 v; int code; const char *text;
	} bad[] = {
		{ 4, 4, 1, ENOTSUP, "version" },
		{ 4, 4, 4, ENOTSUP, "version" },
		{ 20, 4, 8, EINVAL, "cluster size" },
		{ 20, 4, 22, EINVAL, "cluster size" },
		{ 20, 4, 0xffffffff, EINVAL, "cluster size" },
		{ 24, 8, 0, EINVAL, "disk of 0" },
		{ 24, 8, UINT64_MAX - 511, EINVAL, "disk of" },
		{ 24, 8, 513, EINVAL, "disk of" },
		{ 24, 8, 1ull << 55, EINVAL, "too small" },
		{ 32, 4, 1, ENOTSUP, "encrypted" },
		{ 36, 4, 0xffffffff, EFBIG, "L1" },
		{ 36, 4, 0, EINVAL, "too small" },
		{ 40, 8, 1, EINVAL, "L1" },
		{ 40, 8, 0, EINVAL, "L1" },
		{ 48, 8, 3, EINVAL, "refcount table" },
		{ 56, 4, 0xffffffff, EFBIG, "refcount table" },
		{ 60, 4, 2, ENOTSUP, "internal snapshots" },
		{ 72, 8, 1, EUCLEAN, "--repair" },
		{ 72, 8, 2, EUCLEAN, "damaged" },
		{ 72, 8, 4, ENOTSUP, "another file" },
		{ 72, 8, 16, ENOTSUP, "subclusters" },
		{ 72, 8, BIT(40), ENOTSUP, "unknown" },
		{ 96, 4, 7, EINVAL, "refcounts" },
		{ 100, 4, 0, EINVAL, "header of" },
		{ 100, 4, 0x7fffffff, EINVAL, "header of" },
		{ 8, 8, 1ull << 40, EINVAL, "backing file" },
		{ 16, 4, 2000, EINVAL, "backing file" },
		{ 108, 4, 0x7fffffff, EINVAL, "extension" },
	};
	struct image_spec s = { .format = "qcow2", .size = 64 * MiB, .replace = true,
				.backing = "b", .backing_format = "raw", .backing_busy = true };
	struct block_options o = { .format = "qcow2" };
	u8 field[8];

	test_file("b", NULL, 64 * MiB);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct block *b;
		int fd;

		OK(image_create(test_path("bad"), &s, E));
		fd = open(test_path("bad"), O_RDWR | O_CLOEXEC);
		if (bad[i].bytes == 8)
			put_be64(field, bad[i].v);
		else
			put_be32(field, (u32)bad[i].v);
		assert_int_equal(pwrite(fd, field, bad[i].bytes, bad[i].at), bad[i].bytes);
		close(fd);
		FAILS(bad[i].code, bad[i].text, block_open(&b, NULL, test_path("bad"), &o, E));
	}
}

/* Tables that point at each other: errors, or the guest's own garbage, but no harm and no hang. */
static void tables(void **st)
{
	struct image_spec s = { .format = "qcow2", .size = 64 * MiB, .replace = true };
	struct block_options o = { .format = "qcow2" };
	u8 entry[8], head[512], now[512];

	/* L1 -> header, L1 table, refcount table, refcount block, far away, unaligned */
	static const u64 to[] = { 0, 0x30000, 0x10000, 0x20000, 1ull << 50, 0x40200 };

	for (unsigned i = 0; i < 2 * ARRAY_SIZE(to); i++) {
		u64 e = to[i / 2] | QCOW2_COPIED;
		struct block *b;
		u8 buf[4096] = { 0 };
		int fd;

		OK(image_create(test_path("bad"), &s, E));
		if (i & 1) {		/* an L2 entry instead */
			b = open_rw(test_path("bad"));
			put(b, 0, 1);
			block_free(b);
		}
		fd = open(test_path("bad"), O_RDWR | O_CLOEXEC);
		assert_int_equal(pread(fd, head, 512, 0), 512);
		if (i & 1) {
			assert_int_equal(pread(fd, entry, 8, 0x30000), 8);
			put_be64(buf, e);
			assert_int_equal(
				pwrite(fd, buf, 8, (off_t)(get_be64(entry) & QCOW2_OFFSET)), 8);
		} else {
			put_be64(entry, e);
			assert_int_equal(pwrite(fd, entry, 8, 0x30000), 8);
		}
		OK(block_open(&b, NULL, test_path("bad"), &o, E));
		for (u64 off = 0; off < 4 * MiB; off += MiB / 4) {
			block_rw(b, BLOCK_READ, off, buf, 4096);
			block_rw(b, BLOCK_WRITE, off, buf, 4096);
			block_rw(b, BLOCK_DISCARD, off, NULL, MiB / 4);
		}
		block_free(b);
		/* Whatever happened, the header is as it was: a guest cannot write it. */
		assert_int_equal(pread(fd, now, 512, 0), 512);
		assert_memory_equal(now, head, 512);
		close(fd);
	}
}

static void repair(void **st)
{
	struct image_spec s = { .format = "qcow2", .size = 64 * MiB, .replace = true };
	struct image_check c;
	u8 zero[512] = { 0 }, dirty[8];
	struct block *b;
	int fd;

	OK(image_create(test_path("sick"), &s, E));
	b = open_rw(test_path("sick"));
	for (u64 off = 0; off < 16 * MiB; off += MiB)
		put(b, off, 9);
	block_free(b);
	fd = open(test_path("sick"), O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, zero, 32, 0x20000), 32);	/* the first 16 counts */
	put_be64(dirty, QCOW2_DIRTY);
	assert_int_equal(pwrite(fd, dirty, 8, 72), 8);
	close(fd);
	OK(image_check(test_path("sick"), false, &c, NULL, NULL, E));
	assert_true(c.errors >= 16);
	OK(image_check(test_path("sick"), true, &c, NULL, NULL, E));
	assert_true(c.repaired >= 16);
	clean(test_path("sick"));
	b = open_rw(test_path("sick"));
	assert_int_equal(at(b, 5 * MiB), 9);
	block_free(b);
}

/* A chain of four, of which the two in the middle go: in the file, and in a disk that is open. */
static void merge(void **st)
{
	static u8 want[8 * MiB], got[8 * MiB];
	struct block_file f[BLOCK_CHAIN_MAX], top;
	struct block_options o = { .discard = true };
	static const char *const names[] = { "m0.raw", "m1", "m2", "m3" };
	char path[4][128];
	struct image_info i;
	struct block *b;
	u64 s = 77;

	for (unsigned k = 0; k < 4; k++)
		snprintf(path[k], sizeof(path[k]), "%s", test_path(names[k]));
	test_file(names[0], NULL, 8 * MiB);
	OK(block_open(&b, NULL, path[0], &o, E));
	for (unsigned k = 0; k < 4; k++) {
		for (unsigned w = 0; w < 40; w++) {
			u64 off = rnd(&s) % 2000 * 4096;

			if (w % 8 == 7)
				assert_int_equal(block_rw(b, BLOCK_WRITE_ZEROES, off & ~65535ull, NULL,
							  65536), 0);
			else
				put(b, off, (u8)(1 + rnd(&s) % 255));
		}
		if (k == 3)
			break;
		top = (struct block_file){ .path = path[k + 1], .format = "qcow2" };
		top.fd = overlay(names[k + 1], names[k], k ? "qcow2" : "raw", 8 * MiB);
		OK(block_snapshot_overlay(b, &top, E));
	}
	assert_int_equal(block_rw(b, BLOCK_READ, 0, want, sizeof(want)), 0);
	FAILS(ENOTSUP, "below", image_merge(path[1], 1, NULL, NULL, E));

	/* Under a disk that is open: m2 takes in m1. */
	OK(image_merge(path[2], 1, NULL, NULL, E));
	OK(image_info(path[2], &i, E));
	assert_string_equal(i.backing, names[0]);
	clean(path[2]);
	assert_int_equal(block_rw(b, BLOCK_READ, 0, got, sizeof(got)), 0);
	assert_memory_equal(got, want, sizeof(want));
	f[0] = (struct block_file){ open(path[2], O_RDONLY), path[2], "qcow2" };
	f[1] = (struct block_file){ open(path[0], O_RDONLY), path[0], "raw" };
	OK(block_rebase(b, f, 2, E));
	unlink(path[1]);
	assert_int_equal(block_files(b, f, BLOCK_CHAIN_MAX), 3);
	assert_string_equal(f[1].path, path[2]);
	assert_int_equal(block_rw(b, BLOCK_READ, 0, got, sizeof(got)), 0);
	assert_memory_equal(got, want, sizeof(want));
	put(b, 4096, 99);
	memset(want + 4096, 99, 4096);
	/* What is not of its size, or cannot be opened, leaves it as it was. */
	f[0] = (struct block_file){ open(path[0], O_RDONLY), path[0], "qcow2" };
	FAILS(EINVAL, "", block_rebase(b, f, 1, E));
	assert_int_equal(block_files(b, f, BLOCK_CHAIN_MAX), 3);
	block_free(b);

	/* And the top, nobody having it open. */
	OK(image_merge(path[3], 1, NULL, NULL, E));
	unlink(path[2]);
	clean(path[3]);
	OK(block_open(&b, NULL, path[3], &o, E));
	assert_int_equal(block_files(b, f, BLOCK_CHAIN_MAX), 2);
	assert_int_equal(block_rw(b, BLOCK_READ, 0, got, sizeof(got)), 0);
	assert_memory_equal(got, want, sizeof(want));
	block_free(b);
	FAILS(ENOTSUP, "below", image_merge(path[3], 1, NULL, NULL, E));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create), cmocka_unit_test(merge),
		cmocka_unit_test(snapshot), cmocka_unit_test(chains),
		cmocka_unit_test(resize), cmocka_unit_test(compressed), cmocka_unit_test(convert), cmocka_unit_test(holes),
		cmocka_unit_test(headers), cmocka_unit_test(tables), cmocka_unit_test(repair),
	};

	return cmocka_run_group_tests_name("image", tests, NULL, test_folder_gone);
}
