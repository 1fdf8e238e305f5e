/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The balloon over real rings: memory leaves and comes back as zeros, and numbers that a guest makes up
 * do no harm. */
#include "unit.h"
#include "base/trace.h"
#include "virtio/balloon.h"
#include "virtio/drive.h"
#include <errno.h>
#include <sys/stat.h>

enum { INFLATE, DEFLATE, STATS, HINT, REPORT };
#define F_HINT BIT(3)
#define F_POISON BIT(4)
#define F_ALL 0x3full

struct rig {
	struct machine *m;
	struct balloon *b;
	struct drive d;
	unsigned changes;
};

static void on_change(void *ctx) { ((struct rig *)ctx)->changes++; }

static int setup(void **st)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct err e = { 0 };

	r->m = dt_machine(1);
	assert_int_equal(balloon_new(&r->b, r->m, &e), 0);
	assert_int_equal(machine_add_device(r->m, &balloon_class, r->b, "balloon", &e), 0);
	balloon_on_change(r->b, on_change, r);
	drive_attach(&r->d, r->m, balloon_virtio(r->b));
	*st = r;
	return 0;
}

static int teardown(void **st)
{
	struct rig *r = *st;

	machine_free(r->m);
	free(r);
	return 0;
}

static u64 host_bytes(struct rig *r)
{
	struct stat sb;

	assert_int_equal(fstat(ram_fd(r->m->ram), &sb), 0);
	return (u64)sb.st_blocks * 512;
}

static void fill(struct rig *r, u64 gpa, u64 len)
{
	memset(ram_view(r->m->ram, gpa, len), 0x5a, len);
}

static bool all_zero(struct rig *r, u64 gpa, u64 len)
{
	const u8 *p = ram_view(r->m->ram, gpa, len);

	for (u64 i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

static void cfg_write(struct rig *r, unsigned off, u32 val)
{
	u8 b[4];

	put_le32(b, val);
	machine_lock(r->m);
	r->d.v->cls->config_write(r->b, off, b, 4);
	machine_unlock(r->m);
	drive_loop(r->m);
}

static u32 cfg_read(struct rig *r, unsigned off)
{
	u8 b[4];

	r->d.v->cls->config_read(r->b, off, b, 4);
	return get_le32(b);
}

static void inflates(void **st)
{
	struct rig *r = *st;
	struct err e = { 0 };
	u8 pfn[4 * 300];
	u64 before;

	assert_int_equal(balloon_set_size(r->b, 1 * MiB, &e), -EINVAL);
	assert_int_equal(balloon_set_size(r->b, 17 * MiB, &e), -EINVAL);
	assert_int_equal(balloon_set_size(r->b, 16 * MiB, &e), -ENODEV);
	drive_start(&r->d, F_ALL);
	assert_int_equal(balloon_set_size(r->b, 16 * MiB, &e), 0);
	assert_true(r->d.config_changes > 0);
	fill(r, 8 * MiB, 4 * MiB);
	before = host_bytes(r);
	for (u32 i = 0; i < 256; i++)		/* downwards, as Linux does, and one to and fro */
		put_le32(pfn + 4 * i, (10 * MiB >> 12) - 1 - i);
	/* Not RAM, in ROM's place, far away; then a good one again. */
	put_le32(pfn + 4 * 256, 0xffffffff);
	put_le32(pfn + 4 * 257, 0xfee00);
	put_le32(pfn + 4 * 258, 16 * MiB >> 12);
	put_le32(pfn + 4 * 259, 11 * MiB >> 12);
	drive_add(&r->d, INFLATE, pfn, 4 * 260, 0);
	drive_kick(&r->d, INFLATE);
	assert_int_equal(drive_get(&r->d, INFLATE, NULL, 0), 0);
	/* (Looking at a page brings one in again.) */
	assert_true(host_bytes(r) + 1 * MiB <= before);
	assert_true(all_zero(r, 9 * MiB, 1 * MiB));
	assert_true(all_zero(r, 11 * MiB, 4096));
	assert_false(all_zero(r, 9 * MiB - 4096, 4096));
	assert_false(all_zero(r, 11 * MiB + 4096, 4096));
	cfg_write(r, 4, 257);
	assert_int_equal(r->changes, 1);
	assert_int_equal(balloon_size(r->b), 16 * MiB - 257 * 4096);
	cfg_write(r, 4, UINT32_MAX);		/* lent more than there is */
	assert_int_equal(balloon_size(r->b), 0);
	cfg_write(r, 0, 99);			/* read-only */
	assert_int_equal(cfg_read(r, 0), 0);
	drive_add(&r->d, DEFLATE, pfn, 4 * 260, 0);
	drive_kick(&r->d, DEFLATE);
	assert_int_equal(drive_get(&r->d, DEFLATE, NULL, 0), 0);
	drive_reset(&r->d);
	assert_int_equal(balloon_size(r->b), 16 * MiB);
}

/* Reports: whole pages inside the buffers, nothing beside them. */
static void reports_on(struct rig *r, unsigned q, bool given)
{
	u64 at = drive_alloc(&r->d, 1 * MiB), gpa;
	u64 before, was = balloon_reported(r->b);

	r->d.heap = at + 8;			/* not at a page's start */
	fill(r, at, 1 * MiB);
	before = host_bytes(r);
	gpa = drive_add(&r->d, q, NULL, 0, 512 * KiB);
	drive_kick(&r->d, q);
	assert_int_equal(drive_get(&r->d, q, NULL, 0), 0);
	if (given) {
		u64 from = (gpa + 4095) & ~4095ull, to = (gpa + 512 * KiB) & ~4095ull;

		assert_true(host_bytes(r) + 500 * KiB <= before);
		assert_true(all_zero(r, from, to - from));
		assert_false(all_zero(r, gpa, from - gpa));
		assert_false(all_zero(r, to, 16));
		assert_int_equal(balloon_reported(r->b) - was, to - from);
	} else {
		assert_false(all_zero(r, gpa, 512 * KiB));
		assert_int_equal(((u8 *)ram_view(r->m->ram, gpa + 4096, 1))[0], 0x5a);
		assert_int_equal(balloon_reported(r->b), was);
	}
}

static void reports(void **st)
{
	struct rig *r = *st;

	drive_start(&r->d, F_ALL);
	reports_on(r, REPORT, true);
	cfg_write(r, 12, 0xaaaaaaaa);		/* its free pages hold poison: leave them */
	reports_on(r, REPORT, false);
	cfg_write(r, 12, 0);
	reports_on(r, REPORT, true);
	reports_on(r, HINT, false);		/* that is hinting, which was not begun */
	drive_reset(&r->d);
	drive_start(&r->d, F_ALL & ~F_HINT);	/* numbered by what was agreed on */
	reports_on(r, HINT, true);
	drive_reset(&r->d);
	drive_start(&r->d, F_ALL & ~F_POISON);
	reports_on(r, REPORT, true);
}

static void stats(void **st)
{
	struct rig *r = *st;
	u64 v[BALLOON_NSTATS];
	u8 s[35];

	balloon_stats(r->b, v);
	assert_true(v[BALLOON_FREE] == BALLOON_STAT_NONE);
	drive_start(&r->d, F_ALL);
	put_le16(s, BALLOON_FREE);
	put_le64(s + 2, 123456);
	put_le16(s + 10, 777);			/* a figure of the future */
	put_le64(s + 12, 1);
	put_le16(s + 20, BALLOON_TOTAL);
	put_le64(s + 22, 1 << 20);
	memset(s + 30, 0xff, 5);
	drive_add(&r->d, STATS, s, sizeof(s), 0);
	drive_kick(&r->d, STATS);
	assert_int_equal(drive_get(&r->d, STATS, NULL, 0), -1);		/* kept until asked for */
	machine_lock(r->m);
	balloon_stats(r->b, v);
	machine_unlock(r->m);
	assert_int_equal(v[BALLOON_FREE], 123456);
	assert_int_equal(v[BALLOON_TOTAL], 1 << 20);
	assert_true(v[BALLOON_SWAP_IN] == BALLOON_STAT_NONE);
	assert_int_equal(drive_get(&r->d, STATS, NULL, 0), 0);
	put_le64(s + 2, 99);
	drive_add(&r->d, STATS, s, sizeof(s), 0);
	drive_kick(&r->d, STATS);
	machine_lock(r->m);
	balloon_stats(r->b, v);
	machine_unlock(r->m);
	assert_int_equal(v[BALLOON_FREE], 99);
}

/* Figures that the guest changes without end, faster than the loop comes by, are told once. */
static void flood(void **st)
{
	struct rig *r = *st;
	unsigned changes;
	u8 b[4];

	machine_lock(r->m);
	changes = r->changes;
	for (u32 i = 1; i <= 1000; i++) {
		put_le32(b, i);
		r->d.v->cls->config_write(r->b, 4, b, 4);
	}
	machine_unlock(r->m);
	drive_loop(r->m);
	assert_int_equal(r->changes, changes + 1);
	assert_int_equal(balloon_size(r->b), ram_size(r->m->ram) - 1000 * PAGE_SIZE);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = { T(inflates), T(reports), T(stats), T(flood) };

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
