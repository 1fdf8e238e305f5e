/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8254 against its data sheet: each mode's count, OUT and gate; latches; BCD; port 61. */
#include "unit.h"
#include "dev/devtest.h"
#include "dev/i8254.h"

struct ctx {
	struct machine *m;
	struct i8254 *p;
	struct probe irq0;
};

static int setup(void **st)
{
	struct ctx *x = calloc(1, sizeof(*x));
	struct err e = { 0 };

	x->m = dt_machine(1);
	assert_int_equal(i8254_new(&x->p, x->m, probe_line(&x->irq0), &e), 0);
	assert_int_equal(machine_add_device(x->m, &i8254_class, x->p, "pit", &e), 0);
	assert_int_equal(state_check(i8254_class.state, x->p, "pit", &e), 0);
	clock_set(x->m->clock, 1234567);
	*st = x;
	return 0;
}

static int teardown(void **st)
{
	struct ctx *x = *st;

	machine_free(x->m);
	free(x);
	return 0;
}

/* Whole ticks of the chip's own clock. */
static u64 tick_of(u64 ns) { return (u128)ns * I8254_HZ / SEC; }
static void ticks(struct ctx *x, u64 n)
{
	u64 t = tick_of(now(x->m)) + n;

	clock_advance(x->m->clock, ((u128)t * SEC + I8254_HZ - 1) / I8254_HZ);
	assert_int_equal(tick_of(now(x->m)), t);
}

static void program(struct ctx *x, unsigned n, unsigned mode, unsigned count)
{
	outb(x->m, 0x43, n << 6 | 0x30 | mode << 1);
	outb(x->m, 0x40 + n, count);
	outb(x->m, 0x40 + n, count >> 8);
	ticks(x, 1);				/* the count is loaded at the next tick */
}

static unsigned count(struct ctx *x, unsigned n)
{
	unsigned lo;

	outb(x->m, 0x43, n << 6);
	lo = inb(x->m, 0x40 + n);
	return lo | inb(x->m, 0x40 + n) << 8;
}

static u8 status(struct ctx *x, unsigned n)
{
	outb(x->m, 0x43, 0xe0 | 2 << n);
	return inb(x->m, 0x40 + n);
}
static bool out_of(struct ctx *x, unsigned n) { return status(x, n) & 0x80; }
static void gate2(struct ctx *x, bool on) { outb(x->m, 0x61, on); }

static void mode0(void **st)
{
	struct ctx *x = *st;

	outb(x->m, 0x43, 0x30);
	assert_int_equal(status(x, 0), 0x70);	/* OUT low, null count, both bytes, mode 0 */
	outb(x->m, 0x40, 100);
	outb(x->m, 0x40, 0);
	assert_int_equal(status(x, 0), 0x70);
	ticks(x, 1);
	assert_int_equal(status(x, 0), 0x30);
	assert_int_equal(count(x, 0), 100);
	ticks(x, 99);
	assert_int_equal(count(x, 0), 1);
	assert_int_equal(x->irq0.rises, 0);
	ticks(x, 1);
	assert_int_equal(count(x, 0), 0);
	assert_true(out_of(x, 0));
	assert_int_equal(x->irq0.rises, 1);
	ticks(x, 1);
	assert_int_equal(count(x, 0), 0xffff);	/* it counts on */
	assert_true(x->irq0.level);
	ticks(x, 200000);
	assert_int_equal(x->irq0.rises, 1);	/* but OUT stays */
	/* The first byte of a new count stops it and lowers OUT. */
	outb(x->m, 0x40, 50);
	assert_false(out_of(x, 0));
	assert_false(x->irq0.level);
	ticks(x, 1000);
	assert_false(out_of(x, 0));
	outb(x->m, 0x40, 0);
	ticks(x, 51);
	assert_int_equal(x->irq0.rises, 2);
	/* Gate low holds the count (only counter 2 has a gate to move). */
	gate2(x, true);
	program(x, 2, 0, 1000);
	ticks(x, 400);
	gate2(x, false);
	ticks(x, 5000);
	assert_int_equal(count(x, 2), 600);
	gate2(x, true);
	ticks(x, 599);
	assert_false(inb(x->m, 0x61) & 0x20);
	ticks(x, 1);
	assert_true(inb(x->m, 0x61) & 0x20);
}

static void mode1(void **st)
{
	struct ctx *x = *st;

	program(x, 2, 1, 200);
	assert_true(out_of(x, 2));
	ticks(x, 500);
	assert_true(out_of(x, 2));		/* no trigger yet */
	assert_int_equal(status(x, 2) & 0x40, 0x40);
	gate2(x, true);
	ticks(x, 1);
	assert_int_equal(status(x, 2) & 0xc0, 0);
	assert_int_equal(count(x, 2), 200);
	ticks(x, 150);
	gate2(x, false);			/* no matter */
	assert_false(out_of(x, 2));
	gate2(x, true);				/* retriggered: the pulse is longer */
	ticks(x, 1 + 199);
	assert_false(out_of(x, 2));
	ticks(x, 1);
	assert_true(out_of(x, 2));
	/* A new count waits for the next trigger. */
	outb(x->m, 0x42, 10);
	outb(x->m, 0x42, 0);
	gate2(x, false);
	gate2(x, true);
	ticks(x, 1 + 9);
	assert_false(out_of(x, 2));
	ticks(x, 1);
	assert_true(out_of(x, 2));
}

static void mode2(void **st)
{
	struct ctx *x = *st;

	program(x, 0, 2, 1000);
	assert_int_equal(x->irq0.rises, 1);	/* OUT went high with the control word */
	assert_int_equal(count(x, 0), 1000);
	ticks(x, 998);
	assert_int_equal(count(x, 0), 2);
	assert_true(out_of(x, 0));
	ticks(x, 1);
	assert_int_equal(count(x, 0), 1);
	assert_false(out_of(x, 0));		/* one tick low */
	ticks(x, 1);
	assert_int_equal(count(x, 0), 1000);
	assert_true(out_of(x, 0));
	assert_int_equal(x->irq0.rises, 2);
	ticks(x, 10 * 1000);
	assert_int_equal(x->irq0.rises, 12);
	/* A count written on the way begins with the next cycle. */
	ticks(x, 300);
	outb(x->m, 0x40, 200);
	outb(x->m, 0x40, 0);
	assert_int_equal(count(x, 0), 700);
	assert_true(status(x, 0) & 0x40);
	ticks(x, 700);
	assert_int_equal(x->irq0.rises, 13);
	assert_int_equal(count(x, 0), 200);
	assert_false(status(x, 0) & 0x40);
	ticks(x, 200);
	assert_int_equal(x->irq0.rises, 14);
	/* A falling gate raises OUT and stops; a rise starts over. */
	gate2(x, true);
	program(x, 2, 2, 100);
	ticks(x, 99);
	assert_false(out_of(x, 2));
	gate2(x, false);
	assert_true(out_of(x, 2));
	ticks(x, 1000);
	gate2(x, true);
	ticks(x, 1 + 50);
	assert_int_equal(count(x, 2), 50);
}

static void mode3(void **st)
{
	struct ctx *x = *st;

	gate2(x, true);
	program(x, 2, 3, 10);
	const unsigned even[] = { 10, 8, 6, 4, 2, 10, 8, 6, 4, 2, 10 };
	for (unsigned i = 0; i < ARRAY_SIZE(even); i++, ticks(x, 1)) {
		assert_int_equal(count(x, 2), even[i]);
		assert_int_equal(out_of(x, 2), i % 10 < 5);
	}
	program(x, 2, 3, 5);
	/* Odd: three high (4, 2, 0), two low (4, 2). */
	const unsigned odd[] = { 4, 2, 0, 4, 2, 4, 2, 0, 4, 2 };
	for (unsigned i = 0; i < ARRAY_SIZE(odd); i++, ticks(x, 1)) {
		assert_int_equal(count(x, 2), odd[i]);
		assert_int_equal(out_of(x, 2), i % 5 < 3);
	}
	/* A new count begins with the next half cycle. */
	program(x, 2, 3, 100);
	ticks(x, 20);
	outb(x->m, 0x42, 20);
	outb(x->m, 0x42, 0);
	assert_int_equal(count(x, 2), 60);
	ticks(x, 30);				/* the high half is over */
	assert_false(out_of(x, 2));
	assert_int_equal(count(x, 2), 20);
	ticks(x, 9);
	assert_false(out_of(x, 2));
	ticks(x, 1);
	assert_true(out_of(x, 2));
	/* Zero is 65536: the PC's 18.2 Hz. */
	program(x, 0, 3, 0);
	x->irq0.rises = 0;
	pass(x->m, 10 * SEC);
	assert_int_equal(x->irq0.rises, 182);
}

static void modes4and5(void **st)
{
	struct ctx *x = *st;

	program(x, 0, 4, 50);
	x->irq0.rises = 0;
	assert_true(out_of(x, 0));
	ticks(x, 49);
	assert_true(out_of(x, 0));
	ticks(x, 1);
	assert_false(out_of(x, 0));
	ticks(x, 1);
	assert_true(out_of(x, 0));
	assert_int_equal(x->irq0.rises, 1);
	ticks(x, 100000);
	assert_int_equal(x->irq0.rises, 1);
	program(x, 2, 5, 50);
	ticks(x, 1000);
	assert_true(out_of(x, 2));
	gate2(x, true);
	ticks(x, 1 + 50);
	assert_false(out_of(x, 2));
	ticks(x, 1);
	assert_true(out_of(x, 2));
}

static void latches(void **st)
{
	struct ctx *x = *st;
	unsigned lo;

	program(x, 0, 2, 50000);
	ticks(x, 1000);
	outb(x->m, 0x43, 0x00);			/* counter latch */
	ticks(x, 5000);
	outb(x->m, 0x43, 0x00);			/* a second one is ignored */
	lo = inb(x->m, 0x40);
	assert_int_equal(lo | inb(x->m, 0x40) << 8, 49000);
	lo = inb(x->m, 0x40);			/* not latched any more */
	assert_int_equal(lo | inb(x->m, 0x40) << 8, 44000);
	/* Read-back of count and status: status comes first. */
	outb(x->m, 0x43, 0xc2);
	ticks(x, 4000);
	assert_int_equal(inb(x->m, 0x40), 0xb4);
	lo = inb(x->m, 0x40);
	assert_int_equal(lo | inb(x->m, 0x40) << 8, 44000);
	/* Several counters at once. */
	gate2(x, true);
	program(x, 2, 0, 0x1234);
	outb(x->m, 0x43, 0xda);			/* counts of 0 and 2 */
	ticks(x, 100);
	lo = inb(x->m, 0x42);
	assert_int_equal(lo | inb(x->m, 0x42) << 8, 0x1234);
	/* One byte only: LSB, MSB. */
	outb(x->m, 0x43, 0x94);
	outb(x->m, 0x42, 77);
	ticks(x, 1 + 7);
	assert_int_equal(inb(x->m, 0x42), 70);
	assert_int_equal(inb(x->m, 0x42), 70);
	outb(x->m, 0x43, 0xa4);
	outb(x->m, 0x42, 0x30);
	ticks(x, 1 + 0x100);
	assert_int_equal(inb(x->m, 0x42), 0x2f);
	assert_int_equal(inb(x->m, 0x43), 0xff);
}

static void bcd(void **st)
{
	struct ctx *x = *st;
	unsigned lo;

	outb(x->m, 0x43, 0x35);
	outb(x->m, 0x40, 0x00);
	outb(x->m, 0x40, 0x10);			/* 1000 */
	ticks(x, 1 + 1);
	lo = inb(x->m, 0x40);
	assert_int_equal(lo | inb(x->m, 0x40) << 8, 0x0999);
	outb(x->m, 0x43, 0x31);			/* mode 0, count 0 = 10000 */
	outb(x->m, 0x40, 0);
	outb(x->m, 0x40, 0);
	x->irq0.rises = 0;
	ticks(x, 1 + 9999);
	assert_int_equal(x->irq0.rises, 0);
	ticks(x, 1);
	assert_int_equal(x->irq0.rises, 1);
	ticks(x, 1);
	assert_int_equal(count(x, 0), 0x9999);
	/* Digits above 9, and as many as there are. */
	outb(x->m, 0x43, 0x35);
	outb(x->m, 0x40, 0xff);
	outb(x->m, 0x40, 0xff);
	ticks(x, 100000);
	outb(x->m, 0x43, 0x35);
	outb(x->m, 0x40, 0x00);
	outb(x->m, 0x40, 0x9a);
	ticks(x, 100000);
}

static void port61(void **st)
{
	struct ctx *x = *st;
	unsigned toggles = 0;
	u8 last = inb(x->m, 0x61) & 0x10;

	outb(x->m, 0x61, 0xff);
	assert_int_equal(inb(x->m, 0x61) & 0xcf, 0x0f);
	for (unsigned i = 0; i < 1000; i++) {
		pass(x->m, 1000);
		if ((inb(x->m, 0x61) & 0x10) != last) {
			toggles++;
			last ^= 0x10;
		}
	}
	assert_in_range(toggles, 65, 67);	/* each 15.085 us */
}

/* A guest asks for a million interrupts a second and gets what the host can bear. */
static void storm(void **st)
{
	struct ctx *x = *st;

	program(x, 0, 2, 2);
	x->irq0.rises = 0;
	pass(x->m, 10 * MS);
	assert_in_range(x->irq0.rises, 300, 501);
}

static void saved(void **st)
{
	struct ctx *x = *st, y = { 0 };
	struct err e = { 0 };

	program(x, 0, 3, 1193);
	program(x, 2, 0, 5000);
	gate2(x, true);
	ticks(x, 777);
	outb(x->m, 0x43, 0xc2);
	inb(x->m, 0x40);
	y.m = dt_machine(1);
	assert_int_equal(i8254_new(&y.p, y.m, probe_line(&y.irq0), &e), 0);
	clock_set(y.m->clock, now(x->m));
	dev_copy(&i8254_class, x->p, y.p);
	x->irq0.rises = y.irq0.rises = 0;
	for (unsigned i = 0; i < 100; i++) {
		ticks(x, 111);
		ticks(&y, 111);
		assert_int_equal(inb(x->m, 0x40), inb(y.m, 0x40));
		assert_int_equal(inb(x->m, 0x42), inb(y.m, 0x42));
		assert_int_equal(inb(x->m, 0x61), inb(y.m, 0x61));
	}
	assert_int_equal(x->irq0.rises, y.irq0.rises);
	assert_int_equal(x->irq0.rises, (777 + 100 * 111) / 1193);
	i8254_class.free(y.p);
	machine_free(y.m);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(mode0), T(mode1), T(mode2), T(mode3), T(modes4and5), T(latches), T(bcd), T(port61),
		T(storm), T(saved),
	};

	return cmocka_run_group_tests_name("i8254", tests, NULL, NULL);
}
