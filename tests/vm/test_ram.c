/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest memory: bounds (sums that wrap), the hole, roms, dirty and code flags, sparseness. */
#include "unit.h"
#include "vm/ram.h"
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct ram *make(u64 size)
{
	struct err e = { 0 };
	struct ram *r = NULL;

	assert_int_equal(ram_new(&r, size, &e), 0);
	return r;
}

static void sizes(void **st)
{
	static const u64 bad[] = { 0, 1, 4096, MiB - 4096, MiB + 1, 1024 * GiB + 4096, UINT64_MAX };
	struct ram *r;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err e = { 0 };

		assert_int_equal(ram_new(&r, bad[i], &e), -EINVAL);
		assert_true(e.msg[0] != 0);
	}
	r = make(MiB);
	assert_int_equal(ram_size(r), MiB);
	assert_int_equal(ram_nblocks(r), 1);
	ram_free(r);
	ram_free(NULL);
}

static void bounds(void **st)
{
	struct ram *r = make(2 * MiB);
	u8 b[16] = { 1 };

	assert_true(ram_read(r, 2 * MiB - 16, b, 16));
	assert_false(ram_read(r, 2 * MiB - 15, b, 16));
	assert_false(ram_read(r, 2 * MiB, b, 1));
	assert_false(ram_write(r, UINT64_MAX, b, 1));
	assert_false(ram_write(r, UINT64_MAX - 7, b, 16));	/* wraps to 0, which is RAM */
	assert_false(ram_read(r, 0, b, SIZE_MAX));
	assert_false(ram_read(r, 16, b, SIZE_MAX - 15));
	assert_null(ram_view(r, 2 * MiB - 8, 9));
	assert_null(ram_view(r, 8, SIZE_MAX));
	assert_null(ram_view(r, UINT64_MAX - 3, 8));
	assert_non_null(ram_view(r, 2 * MiB - 8, 8));
	assert_null(ram_find(r, 2 * MiB));
	assert_non_null(ram_find(r, 2 * MiB - 1));
	ram_wrote(r, 2 * MiB - 1, SIZE_MAX);		/* stops at the end */
	ram_free(r);
}

/* Nothing is written when a part lies outside. */
static void all_or_nothing(void **st)
{
	struct ram *r = make(MiB);
	u8 in[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, out[4];

	assert_false(ram_write(r, MiB - 4, in, 8));
	assert_true(ram_read(r, MiB - 4, out, 4));
	assert_memory_equal(out, "\0\0\0\0", 4);
	ram_free(r);
}

static void above_the_hole(void **st)
{
	struct ram *r = make(5 * GiB);
	const struct ram_block *b;
	u64 v = 0x1122334455667788, w = 0;
	struct stat s;

	assert_int_equal(ram_nblocks(r), 2);
	assert_null(ram_find(r, 3 * GiB));
	assert_null(ram_find(r, 4 * GiB - 1));
	b = ram_find(r, 4 * GiB);
	assert_non_null(b);
	assert_int_equal(b->file_off, 3 * GiB);
	assert_int_equal(b->len, 2 * GiB);
	assert_non_null(ram_find(r, 6 * GiB - 1));
	assert_null(ram_find(r, 6 * GiB));
	assert_false(ram_write(r, 3 * GiB - 4, &v, 8));
	assert_true(ram_write(r, 6 * GiB - 8, &v, 8));
	assert_true(ram_read(r, 6 * GiB - 8, &w, 8));
	assert_int_equal(v, w);
	assert_int_equal(fstat(ram_fd(r), &s), 0);
	assert_true(s.st_blocks * 512 <= 64 * 1024);	/* one page touched of five gigabytes */
	assert_int_not_equal(ftruncate(ram_fd(r), 4096), 0);	/* sealed */
	ram_free(r);
}

static void roms(void **st)
{
	struct ram *r = make(MiB);
	struct err e = { 0 };
	u8 fw[5000], b[8192];

	memset(fw, 0xf4, sizeof(fw));
	assert_int_equal(ram_add_rom(r, 0xfffe0000u, fw, sizeof(fw), &e), 0);
	assert_int_equal(ram_add_rom(r, 0xfffe1000u, fw, 16, &e), -EEXIST);
	assert_int_equal(ram_add_rom(r, MiB - 4096, fw, 16, &e), -EEXIST);
	assert_int_equal(ram_add_rom(r, 0x100, fw, 16, &e), -EINVAL);
	assert_int_equal(ram_add_rom(r, UINT64_MAX & PAGE_MASK, fw, 16, &e), -EINVAL);
	assert_int_equal(ram_add_rom(r, 0xf0000000u, fw, 0, &e), -EINVAL);
	assert_true(ram_read(r, 0xfffe0000u, b, sizeof(b)));
	assert_memory_equal(b, fw, sizeof(fw));
	assert_int_equal(b[5000], 0);
	assert_false(ram_write(r, 0xfffe0000u, b, 1));
	/* A rom that begins where RAM ends: reads go across, writes do not. */
	assert_int_equal(ram_add_rom(r, MiB, fw, 4096, &e), 0);
	assert_true(ram_read(r, MiB - 8, b, 16));
	assert_memory_equal(b, "\0\0\0\0\0\0\0\0\xf4\xf4\xf4\xf4\xf4\xf4\xf4\xf4", 16);
	assert_false(ram_write(r, MiB - 8, b, 16));
	for (unsigned i = 0; i < 100; i++)
		if (ram_add_rom(r, 0x10000000u + i * 4096, fw, 1, &e) < 0)
			break;
	assert_int_equal(e.code, ENOSPC);
	ram_free(r);
}

static u64 told_gpa[8];
static size_t told_len[8];
static unsigned told;
static void on_code(void *ctx, u64 gpa, size_t len)
{
	told_gpa[told] = gpa;
	told_len[told++] = len;
}

static void flags(void **st)
{
	struct ram *r = make(MiB);
	const struct ram_block *b = ram_block(r, 0);
	u8 buf[5000] = { 0 };

	told = 0;
	ram_on_code_write(r, on_code, NULL);
	b->pageflags[2] |= RAM_PAGE_CODE;
	assert_true(ram_write(r, 4096 + 100, buf, sizeof(buf)));
	assert_int_equal(b->pageflags[0], 0);
	assert_int_equal(b->pageflags[1], RAM_PAGE_DIRTY);
	assert_int_equal(b->pageflags[2], RAM_PAGE_DIRTY | RAM_PAGE_CODE);
	assert_int_equal(told, 1);
	assert_int_equal(told_gpa[0], 8192);
	assert_int_equal(told_len[0], 4096 + 100 + 5000 - 8192);
	assert_null(ram_block(r, 1));
	ram_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes), cmocka_unit_test(bounds), cmocka_unit_test(all_or_nothing),
		cmocka_unit_test(above_the_hole), cmocka_unit_test(roms), cmocka_unit_test(flags),
	};

	return cmocka_run_group_tests_name("ram", tests, NULL, NULL);
}
