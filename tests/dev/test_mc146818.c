/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The RTC against its data sheet: setting and reading the time in all formats, UIP, the three
 * interrupts, catching up; CMOS bytes. */
#include "unit.h"
#include "dev/devtest.h"
#include "dev/mc146818.h"

struct ctx {
	struct machine *m;
	struct mc146818 *r;
	struct probe irq8;
};

static u8 get(struct ctx *x, u8 reg)
{
	outb(x->m, 0x70, reg);
	return inb(x->m, 0x71);
}
static void set(struct ctx *x, u8 reg, u8 val)
{
	outb(x->m, 0x70, reg);
	outb(x->m, 0x71, val);
}

/* Set the clock, 24-hour BCD, as firmware does; seconds begin now. */
static void set_time(struct ctx *x, unsigned cc, unsigned yy, unsigned mo, unsigned da, unsigned ho,
		     unsigned mi, unsigned se)
{
	set(x, 0x0b, 0x82);
	set(x, 0x0a, 0x76);			/* divider in reset: begins half a second before */
	set(x, 0x32, cc);
	set(x, 9, yy);
	set(x, 8, mo);
	set(x, 7, da);
	set(x, 4, ho);
	set(x, 2, mi);
	set(x, 0, se);
	set(x, 0x0b, 0x02);
	set(x, 0x0a, 0x26);
}

static void check_time(struct ctx *x, unsigned cc, unsigned yy, unsigned mo, unsigned da,
		       unsigned ho, unsigned mi, unsigned se)
{
	assert_int_equal(get(x, 0), se);
	assert_int_equal(get(x, 2), mi);
	assert_int_equal(get(x, 4), ho);
	assert_int_equal(get(x, 7), da);
	assert_int_equal(get(x, 8), mo);
	assert_int_equal(get(x, 9), yy);
	assert_int_equal(get(x, 0x32), cc);
}

static int setup(void **st)
{
	struct ctx *x = calloc(1, sizeof(*x));
	struct err e = { 0 };

	x->m = dt_machine(3);
	assert_int_equal(mc146818_new(&x->r, x->m, probe_line(&x->irq8), &e), 0);
	assert_int_equal(machine_add_device(x->m, &mc146818_class, x->r, "rtc", &e), 0);
	assert_int_equal(state_check(mc146818_class.state, x->r, "rtc", &e), 0);
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

static unsigned bcd(unsigned v) { return v / 10 << 4 | v % 10; }

static void shows_utc(void **st)
{
	struct ctx *x = *st;
	s64 t = (s64)now(x->m) + clock_wall_offset(x->m->clock);
	time_t s = t / (s64)SEC;
	struct tm tm;
	unsigned late;

	gmtime_r(&s, &tm);
	assert_int_equal(get(x, 9), bcd(tm.tm_year % 100));
	assert_int_equal(get(x, 0x32), bcd((tm.tm_year + 1900) / 100));
	/* Second for second, but for the moment between the two looks. */
	late = tm.tm_hour * 3600 + tm.tm_min * 60 + tm.tm_sec;
	late -= (get(x, 4) >> 4) * 36000 + (get(x, 4) & 15) * 3600 + (get(x, 2) >> 4) * 600 +
		(get(x, 2) & 15) * 60 + (get(x, 0) >> 4) * 10 + (get(x, 0) & 15);
	assert_true(late <= 1 || late == 86400 - 1 + 1);
	assert_int_equal(get(x, 0x0d), 0x80);
}

static void counts(void **st)
{
	struct ctx *x = *st;

	set_time(x, 0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x58);
	check_time(x, 0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x58);
	pass(x->m, 499 * MS);
	assert_int_equal(get(x, 0), 0x58);
	pass(x->m, 2 * MS);			/* half a second after the divider was let go */
	assert_int_equal(get(x, 0), 0x59);
	pass(x->m, SEC);
	check_time(x, 0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00);
	pass(x->m, 59 * 86400ull * SEC);	/* 2000 was a leap year */
	check_time(x, 0x20, 0x00, 0x02, 0x29, 0x00, 0x00, 0x00);
	set_time(x, 0x21, 0x00, 0x02, 0x28, 0x23, 0x59, 0x59);
	pass(x->m, SEC);			/* 2100 will not be one */
	assert_int_equal(get(x, 8), 0x03);
	assert_int_equal(get(x, 7), 0x01);
}

static void formats(void **st)
{
	struct ctx *x = *st;

	set_time(x, 0x20, 0x26, 0x11, 0x22, 0x13, 0x45, 0x30);
	set(x, 0x0b, 0x06);			/* binary, 24 hours */
	check_time(x, 20, 26, 11, 22, 13, 45, 30);
	set(x, 0x0b, 0x04);			/* binary, 12 hours */
	assert_int_equal(get(x, 4), 0x81);
	set(x, 0x0b, 0x00);			/* BCD, 12 hours */
	assert_int_equal(get(x, 4), 0x81);
	set(x, 4, 0x12);			/* midnight */
	set(x, 0x0b, 0x02);
	assert_int_equal(get(x, 4), 0x00);
	set(x, 0x0b, 0x00);
	set(x, 4, 0x92);			/* noon */
	set(x, 0x0b, 0x02);
	assert_int_equal(get(x, 4), 0x12);
	assert_int_equal(get(x, 2), 0x45);	/* the rest stayed */
	/* The day of the week is a counter of its own. */
	set(x, 6, 3);
	assert_int_equal(get(x, 6), 3);
	pass(x->m, 5 * 86400ull * SEC);
	assert_int_equal(get(x, 6), 1);
	assert_int_equal(get(x, 7), 0x27);
}

static void set_holds(void **st)
{
	struct ctx *x = *st;

	set_time(x, 0x20, 0x26, 0x11, 0x22, 0x13, 0x45, 0x30);
	set(x, 0x0b, 0x82 | 0x10);
	assert_int_equal(get(x, 0x0b), 0x82);	/* SET clears UIE */
	pass(x->m, 5 * SEC);
	assert_int_equal(get(x, 0), 0x30);
	assert_int_equal(get(x, 0x0a) & 0x80, 0);
	set(x, 0, 0x40);
	set(x, 2, 0x46);
	pass(x->m, SEC);
	assert_int_equal(get(x, 0), 0x40);
	set(x, 0x0b, 0x02);
	assert_int_equal(get(x, 0), 0x40);
	pass(x->m, SEC);
	assert_int_equal(get(x, 0), 0x41);
	assert_int_equal(get(x, 2), 0x46);
}

/* UIP says 244 us ahead that the time will change; while it is clear the time is safe to read. */
static void uip(void **st)
{
	struct ctx *x = *st;
	unsigned seen = 0, changes = 0;
	u8 last, sec;

	set_time(x, 0x20, 0x26, 0x11, 0x22, 0x13, 0x45, 0x30);
	last = get(x, 0);
	for (unsigned i = 0; i < 30000; i++) {		/* 3 s in steps of 100 us */
		u8 u = get(x, 0x0a) & 0x80;

		seen += !!u;
		sec = get(x, 0);
		assert_int_equal(sec, last);
		pass(x->m, 100 * US);
		sec = get(x, 0);
		if (sec != last) {
			assert_int_equal(u, 0x80);	/* it had been announced */
			changes++;
			last = sec;
		}
	}
	assert_int_equal(changes, 3);
	assert_in_range(seen, 3 * 21, 3 * 24);
}

static void update_ended(void **st)
{
	struct ctx *x = *st;

	set_time(x, 0x20, 0x26, 0x11, 0x22, 0x13, 0x45, 0x30);
	get(x, 0x0c);
	assert_int_equal(get(x, 0x0c), 0);
	pass(x->m, SEC);
	assert_int_equal(get(x, 0x0c) & 0x10, 0x10);	/* the flag comes without the enable */
	assert_int_equal(get(x, 0x0c), 0);
	assert_int_equal(x->irq8.rises, 0);
	set(x, 0x0b, 0x12);
	pass(x->m, SEC);
	assert_int_equal(x->irq8.rises, 1);
	pass(x->m, 5 * SEC);
	assert_int_equal(x->irq8.rises, 1);		/* until C is read */
	assert_int_equal(get(x, 0x0c) & 0x90, 0x90);
	assert_false(x->irq8.level);
	for (unsigned i = 0; i < 5; i++) {
		pass(x->m, SEC);
		get(x, 0x0c);
	}
	assert_int_equal(x->irq8.rises, 6);
}

static void alarm_irq(void **st)
{
	struct ctx *x = *st;

	set_time(x, 0x20, 0x26, 0x11, 0x22, 0x13, 0x45, 0x30);
	set(x, 1, 0x10);
	set(x, 3, 0x46);
	set(x, 5, 0x13);
	get(x, 0x0c);
	set(x, 0x0b, 0x22);
	pass(x->m, 39 * SEC);
	assert_int_equal(x->irq8.rises, 0);
	pass(x->m, 600 * MS);
	assert_int_equal(x->irq8.rises, 1);
	assert_int_equal(get(x, 0), 0x10);
	assert_int_equal(get(x, 0x0c) & 0xb0, 0xb0);
	pass(x->m, 86400 * SEC);
	assert_int_equal(x->irq8.rises, 2);
	get(x, 0x0c);
	/* Don't care: each minute at second 10; each second. */
	set(x, 3, 0xff);
	set(x, 5, 0xc0);
	pass(x->m, 60 * SEC);
	assert_int_equal(x->irq8.rises, 3);
	get(x, 0x0c);
	set(x, 1, 0xc0);
	pass(x->m, SEC);
	assert_int_equal(x->irq8.rises, 4);
	/* One that can never match. */
	get(x, 0x0c);
	set(x, 1, 0x77);
	pass(x->m, 3 * 86400 * SEC);
	assert_int_equal(x->irq8.rises, 4);
}

static void periodic(void **st)
{
	struct ctx *x = *st;
	static const struct { u8 rate; unsigned hz; } rates[] = {
		{ 1, 256 }, { 2, 128 }, { 3, 8192 }, { 6, 1024 }, { 15, 2 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
		unsigned n = 0;

		set(x, 0x0a, 0x20 | rates[i].rate);
		set(x, 0x0b, 0x42);
		get(x, 0x0c);
		for (unsigned k = 0; k < 20000; k++) {		/* 2 s; a guest that keeps up */
			pass(x->m, 100 * US);
			if (x->irq8.level) {
				assert_int_equal(get(x, 0x0c) & 0xc0, 0xc0);
				n++;
			}
		}
		assert_in_range(n, 2 * rates[i].hz - 1, 2 * rates[i].hz + 1);
		set(x, 0x0b, 0x02);
		get(x, 0x0c);
	}
	set(x, 0x0a, 0x20);			/* rate 0: none */
	set(x, 0x0b, 0x42);
	pass(x->m, SEC);
	assert_int_equal(get(x, 0x0c) & 0x40, 0);
}

/* Ticks that a late guest missed are made good, but not without end. */
static void catch_up(void **st)
{
	struct ctx *x = *st;
	unsigned n = 0;

	set(x, 0x0a, 0x26);
	set(x, 0x0b, 0x42);
	get(x, 0x0c);
	pass(x->m, 10 * SEC / 1024 + 10 * US);
	while (x->irq8.level) {
		get(x, 0x0c);
		n++;
	}
	assert_int_equal(n, 10);
	pass(x->m, 10 * SEC);
	for (n = 0; x->irq8.level; n++)
		get(x, 0x0c);
	assert_int_equal(n, 65);
}

static void cmos(void **st)
{
	struct ctx *x = *st;
	unsigned sum = 0;

	assert_int_equal(get(x, 0x15) | get(x, 0x16) << 8, 640);
	assert_int_equal(get(x, 0x17) | get(x, 0x18) << 8, 15 * 1024);
	assert_int_equal(get(x, 0x30) | get(x, 0x31) << 8, 15 * 1024);
	assert_int_equal(get(x, 0x34) | get(x, 0x35) << 8, 0);
	assert_int_equal(get(x, 0x5b) | get(x, 0x5c) | get(x, 0x5d), 0);
	assert_int_equal(get(x, 0x5f), 2);
	mc146818_set_cmos(x->r, 0x14, 0x06);
	for (unsigned i = 0x10; i <= 0x2d; i++)
		sum += get(x, i);
	assert_int_equal(get(x, 0x2e) << 8 | get(x, 0x2f), sum);
	set(x, 0x40 | 0x80, 0x5a);		/* bit 7 of the index is the NMI mask */
	assert_int_equal(mc146818_get_cmos(x->r, 0x40), 0x5a);
	set(x, 0x0f, 0x0a);
	mc146818_class.reset(x->r);
	assert_int_equal(get(x, 0x0f), 0x0a);	/* kept by the battery */
	assert_int_equal(get(x, 0x40), 0x5a);
	set(x, 0x0d, 0x00);
	assert_int_equal(get(x, 0x0d), 0x80);
	/* The checksum bytes are the guest's too. */
	assert_int_equal(inb(x->m, 0x70), 0xff);
}

/* Values that no clock shows, in the time registers: nothing breaks. */
static void garbage(void **st)
{
	struct ctx *x = *st;

	for (unsigned round = 0; round < 4; round++) {
		set(x, 0x0b, 0x80 | round << 1);
		for (unsigned r = 0; r < 10; r++)
			set(x, r, 0xff);
		set(x, 0x32, 0xff);
		set(x, 0x0b, round << 1);
		pass(x->m, SEC);
		for (unsigned r = 0; r < 14; r++)
			get(x, r);
		set(x, 0x32, 0x00);
		set(x, 9, 0);
		set(x, 8, 0);
		set(x, 7, 0);
		pass(x->m, SEC);
		get(x, 0);
	}
	set_time(x, 0x20, 0x26, 0x11, 0x22, 0x13, 0x45, 0x30);
	check_time(x, 0x20, 0x26, 0x11, 0x22, 0x13, 0x45, 0x30);
}

static void saved(void **st)
{
	struct ctx *x = *st, y = { 0 };
	struct err e = { 0 };

	set_time(x, 0x20, 0x26, 0x11, 0x22, 0x13, 0x45, 0x30);
	set(x, 0x0b, 0x72);
	set(x, 1, 0xc0);
	set(x, 3, 0xc0);
	set(x, 5, 0xc0);
	pass(x->m, 1234 * MS);
	y.m = dt_machine(3);
	assert_int_equal(mc146818_new(&y.r, y.m, probe_line(&y.irq8), &e), 0);
	clock_set(y.m->clock, now(x->m));
	dev_copy(&mc146818_class, x->r, y.r);
	for (unsigned i = 0; i < 5000; i++) {
		unsigned reg = i % 15 == 14 ? 0x32 : i % 15;

		pass(x->m, 777 * US);
		pass(y.m, 777 * US);
		assert_int_equal(get(x, reg), get(&y, reg));
		assert_int_equal(x->irq8.level, y.irq8.level);
	}
	mc146818_class.free(y.r);
	machine_free(y.m);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(shows_utc), T(counts), T(formats), T(set_holds), T(uip), T(update_ended),
		T(alarm_irq), T(periodic), T(catch_up), T(cmos), T(garbage), T(saved),
	};

	return cmocka_run_group_tests_name("mc146818", tests, NULL, NULL);
}
