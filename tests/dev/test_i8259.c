/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8259 pair against its data sheet: initialization, priorities, every way of ending a service,
 * masks, polling, spurious requests, edge and level. */
#include "unit.h"
#include "dev/devtest.h"
#include "dev/i8259.h"

struct ctx {
	struct machine *m;
	struct i8259 *p;
	struct probe intr;
};

/* As a PC's firmware: vectors 08 and 70, cascade, 8086 mode. */
static void init_pics(struct ctx *x, u8 icw4)
{
	outb(x->m, 0x20, 0x11);
	outb(x->m, 0x21, 0x08);
	outb(x->m, 0x21, 0x04);
	outb(x->m, 0x21, icw4);
	outb(x->m, 0xa0, 0x11);
	outb(x->m, 0xa1, 0x70);
	outb(x->m, 0xa1, 0x02);
	outb(x->m, 0xa1, 0x01);
}

static int setup(void **st)
{
	struct ctx *x = calloc(1, sizeof(*x));
	struct err e = { 0 };

	x->m = dt_machine(1);
	assert_int_equal(i8259_new(&x->p, x->m, probe_line(&x->intr), &e), 0);
	assert_int_equal(machine_add_device(x->m, &i8259_class, x->p, "pic", &e), 0);
	assert_int_equal(state_check(i8259_class.state, x->p, "pic", &e), 0);
	init_pics(x, 0x01);
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

static void line(struct ctx *x, unsigned irq, int level) { irq_set(i8259_line(x->p, irq), level); }
static int ack(struct ctx *x) { return i8259_ack(x->p); }
static u8 isr(struct ctx *x, unsigned port) { outb(x->m, port, 0x0b); return inb(x->m, port); }
static u8 irr(struct ctx *x, unsigned port) { outb(x->m, port, 0x0a); return inb(x->m, port); }

static void masks(void **st)
{
	struct ctx *x = *st;

	assert_int_equal(inb(x->m, 0x21), 0);
	outb(x->m, 0x21, 0xfb);
	outb(x->m, 0xa1, 0x55);
	assert_int_equal(inb(x->m, 0x21), 0xfb);
	assert_int_equal(inb(x->m, 0xa1), 0x55);
	line(x, 4, 1);
	assert_false(x->intr.level);
	assert_int_equal(irr(x, 0x20), 0x10);	/* masks hide, they do not forget */
	outb(x->m, 0x21, 0xeb);
	assert_true(x->intr.level);
	assert_int_equal(ack(x), 0x0c);
	assert_false(x->intr.level);
	assert_int_equal(irr(x, 0x20), 0);
	assert_int_equal(isr(x, 0x20), 0x10);
	assert_int_equal(inb(x->m, 0x20), 0x10);	/* the choice of register stays */
}

static void fixed_priority(void **st)
{
	struct ctx *x = *st;

	line(x, 5, 1);
	line(x, 3, 1);
	assert_int_equal(ack(x), 0x0b);
	assert_false(x->intr.level);		/* 5 is below 3, which is in service */
	line(x, 1, 1);
	assert_true(x->intr.level);
	assert_int_equal(ack(x), 0x09);
	assert_int_equal(isr(x, 0x20), 0x0a);
	outb(x->m, 0x20, 0x20);			/* ends the highest: 1 */
	assert_int_equal(isr(x, 0x20), 0x08);
	outb(x->m, 0x20, 0x63);			/* specific EOI of 3 */
	assert_int_equal(isr(x, 0x20), 0);
	assert_true(x->intr.level);
	assert_int_equal(ack(x), 0x0d);
}

static void cascade(void **st)
{
	struct ctx *x = *st;

	line(x, 12, 1);
	assert_true(x->intr.level);
	assert_int_equal(ack(x), 0x74);
	assert_int_equal(isr(x, 0x20), 0x04);
	assert_int_equal(isr(x, 0xa0), 0x10);
	/* A higher one of the slave has to wait: the master's input 2 is in service. */
	line(x, 8, 1);
	assert_false(x->intr.level);
	outb(x->m, 0xa0, 0x20);
	outb(x->m, 0x20, 0x20);
	assert_true(x->intr.level);
	assert_int_equal(ack(x), 0x70);
	outb(x->m, 0xa0, 0x20);
	outb(x->m, 0x20, 0x20);
	assert_int_equal(isr(x, 0x20) | isr(x, 0xa0), 0);
}

/* ICW4 bit 4 on the master: the slave may nest. */
static void special_fully_nested(void **st)
{
	struct ctx *x = *st;

	init_pics(x, 0x11);
	line(x, 12, 1);
	assert_int_equal(ack(x), 0x74);
	line(x, 8, 1);
	assert_true(x->intr.level);
	assert_int_equal(ack(x), 0x70);
	line(x, 14, 1);
	assert_false(x->intr.level);
}

static void rotation(void **st)
{
	struct ctx *x = *st;

	line(x, 1, 1);
	assert_int_equal(ack(x), 0x09);
	outb(x->m, 0x20, 0xa0);			/* rotate on non-specific EOI: 1 is lowest now */
	line(x, 1, 0);
	line(x, 1, 1);
	line(x, 0, 1);
	line(x, 3, 1);
	assert_int_equal(ack(x), 0x0b);		/* 2 3 4 5 6 7 0 1 */
	outb(x->m, 0x20, 0xe3);			/* rotate on specific EOI: 4 5 6 7 0 1 2 3 */
	assert_int_equal(ack(x), 0x08);
	outb(x->m, 0x20, 0x20);
	assert_int_equal(ack(x), 0x09);
	outb(x->m, 0x20, 0x20);
	outb(x->m, 0x20, 0xc5);			/* set priority: 5 lowest, 6 highest */
	line(x, 6, 1);
	line(x, 4, 1);
	assert_int_equal(ack(x), 0x0e);
}

static void auto_eoi(void **st)
{
	struct ctx *x = *st;

	init_pics(x, 0x03);
	line(x, 3, 1);
	line(x, 5, 1);
	assert_int_equal(ack(x), 0x0b);
	assert_int_equal(isr(x, 0x20), 0);
	assert_int_equal(ack(x), 0x0d);
	outb(x->m, 0x20, 0x80);			/* rotate in automatic EOI mode */
	line(x, 3, 0);
	line(x, 3, 1);
	assert_int_equal(ack(x), 0x0b);
	line(x, 3, 0);
	line(x, 3, 1);
	line(x, 6, 1);
	assert_int_equal(ack(x), 0x0e);		/* 3 is lowest */
	outb(x->m, 0x20, 0x00);			/* off again */
	assert_int_equal(ack(x), 0x0b);
}

static void special_mask(void **st)
{
	struct ctx *x = *st;

	line(x, 3, 1);
	assert_int_equal(ack(x), 0x0b);
	line(x, 6, 1);
	assert_false(x->intr.level);
	outb(x->m, 0x21, 0x08);
	assert_false(x->intr.level);
	outb(x->m, 0x20, 0x68);			/* special mask: lower ones come past a masked 3 */
	assert_true(x->intr.level);
	assert_int_equal(ack(x), 0x0e);
	outb(x->m, 0x20, 0x20);			/* not 3, which is masked */
	assert_int_equal(isr(x, 0x20), 0x08);
	outb(x->m, 0x20, 0x20);
	assert_int_equal(isr(x, 0x20), 0x08);
	outb(x->m, 0x20, 0x63);
	assert_int_equal(isr(x, 0x20), 0);
	outb(x->m, 0x20, 0x48);			/* back to normal */
	line(x, 3, 0);
	outb(x->m, 0x21, 0);
	line(x, 3, 1);
	assert_int_equal(ack(x), 0x0b);
	outb(x->m, 0x21, 0x08);
	line(x, 7, 1);
	assert_false(x->intr.level);
}

static void polling(void **st)
{
	struct ctx *x = *st;

	outb(x->m, 0x20, 0x0c);
	assert_int_equal(inb(x->m, 0x20) & 0x80, 0);
	line(x, 4, 1);
	outb(x->m, 0x20, 0x0c);
	assert_int_equal(inb(x->m, 0x20), 0x84);
	assert_int_equal(isr(x, 0x20), 0x10);
	assert_false(x->intr.level);
	outb(x->m, 0x20, 0x20);
	line(x, 11, 1);
	outb(x->m, 0x20, 0x0c);
	assert_int_equal(inb(x->m, 0x20), 0x82);
	outb(x->m, 0xa0, 0x0c);
	assert_int_equal(inb(x->m, 0xa0), 0x83);
}

static void spurious(void **st)
{
	struct ctx *x = *st;

	line(x, 3, 1);
	assert_true(x->intr.level);
	line(x, 3, 0);				/* gone before the acknowledge */
	assert_false(x->intr.level);
	assert_int_equal(ack(x), 0x0f);
	assert_int_equal(isr(x, 0x20), 0);	/* no service: no EOI is due */
	/* The slave's input goes away after the master has passed the request on. */
	outb(x->m, 0x21, 0x04);
	line(x, 10, 1);
	outb(x->m, 0xa1, 0xff);
	assert_int_equal(ack(x), 0x0f);
}

static void level_triggered(void **st)
{
	struct ctx *x = *st;

	outb(x->m, 0x4d0, 0xff);
	outb(x->m, 0x4d1, 0xff);
	assert_int_equal(inb(x->m, 0x4d0), 0xf8);	/* 0, 1, 2 are edges for ever */
	assert_int_equal(inb(x->m, 0x4d1), 0xde);	/* and 8, 13 */
	line(x, 11, 1);
	assert_int_equal(ack(x), 0x73);
	outb(x->m, 0xa0, 0x20);
	outb(x->m, 0x20, 0x20);
	assert_true(x->intr.level);		/* still there */
	assert_int_equal(ack(x), 0x73);
	line(x, 11, 0);
	outb(x->m, 0xa0, 0x20);
	outb(x->m, 0x20, 0x20);
	assert_false(x->intr.level);
	/* An edge counts once, however long it stays high. */
	line(x, 1, 1);
	assert_int_equal(ack(x), 0x09);
	outb(x->m, 0x20, 0x20);
	assert_false(x->intr.level);
	line(x, 1, 0);
	line(x, 1, 1);
	assert_true(x->intr.level);
}

/* ICW1 forgets edges, masks and services, and what ICW4 said when it does not come. */
static void icw1_resets(void **st)
{
	struct ctx *x = *st;

	outb(x->m, 0x21, 0x80);
	line(x, 3, 1);
	assert_int_equal(ack(x), 0x0b);
	line(x, 5, 1);
	outb(x->m, 0x20, 0x12);			/* single, no ICW4 */
	outb(x->m, 0x21, 0x40);
	assert_int_equal(inb(x->m, 0x21), 0);
	assert_int_equal(isr(x, 0x20), 0);
	assert_int_equal(irr(x, 0x20), 0);
	line(x, 5, 0);
	line(x, 5, 1);
	assert_int_equal(ack(x), 0x45);
}

static void saved(void **st)
{
	struct ctx *x = *st, y = { 0 };
	struct err e = { 0 };

	line(x, 12, 1);
	line(x, 3, 1);
	ack(x);
	outb(x->m, 0x20, 0x0c);
	y.m = dt_machine(1);
	assert_int_equal(i8259_new(&y.p, y.m, probe_line(&y.intr), &e), 0);
	dev_copy(&i8259_class, x->p, y.p);
	assert_int_equal(inb(x->m, 0x20), inb(y.m, 0x20));
	outb(x->m, 0x20, 0x20);
	outb(y.m, 0x20, 0x20);
	assert_int_equal(ack(x), ack(&y));
	assert_int_equal(isr(x, 0xa0), isr(&y, 0xa0));
	i8259_class.free(y.p);
	machine_free(y.m);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(masks), T(fixed_priority), T(cascade), T(special_fully_nested), T(rotation),
		T(auto_eoi), T(special_mask), T(polling), T(spurious), T(level_triggered),
		T(icw1_resets), T(saved),
	};

	return cmocka_run_group_tests_name("i8259", tests, NULL, NULL);
}
