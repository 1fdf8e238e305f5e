/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The I/O APIC against its data sheet, with real local APICs behind it; the wires in front. */
#include "unit.h"
#include "dev/devtest.h"
#include "dev/gsi.h"
#include "dev/ioapic.h"

#define LAPIC 0xfee00000u

struct ctx {
	struct machine *m;
	struct apic_bus *b;
	struct ioapic *io;
};

static u32 rd(struct ctx *x, unsigned reg)
{
	bus_write(x->m->mmio, x->m->cpu[0], IOAPIC_BASE, reg, 4);
	return bus_read(x->m->mmio, x->m->cpu[0], IOAPIC_BASE + 0x10, 4);
}
static void wr(struct ctx *x, unsigned reg, u32 val)
{
	bus_write(x->m->mmio, x->m->cpu[0], IOAPIC_BASE, reg, 4);
	bus_write(x->m->mmio, x->m->cpu[0], IOAPIC_BASE + 0x10, val, 4);
}
static void route(struct ctx *x, unsigned pin, unsigned dest, u32 lo)
{
	wr(x, 0x11 + 2 * pin, dest << 24);
	wr(x, 0x10 + 2 * pin, lo);
}
static void line(struct ctx *x, unsigned pin, int level)
{
	irq_set(ioapic_line(x->io, pin), level);
}
static int ack(struct ctx *x, unsigned cpu)
{
	return x->m->cpu[cpu]->intc_ops->ack(x->m->cpu[cpu]->intc);
}
static void eoi(struct ctx *x, unsigned cpu)
{
	bus_write(x->m->mmio, x->m->cpu[cpu], LAPIC + 0xb0, 0, 4);
}

static int setup(void **st)
{
	struct ctx *x = calloc(1, sizeof(*x));
	struct err e = { 0 };

	x->m = dt_machine(2);
	assert_int_equal(apic_bus_add(x->m, &x->b, &e), 0);
	assert_int_equal(ioapic_new(&x->io, x->m, x->b, 5, &e), 0);
	assert_int_equal(machine_add_device(x->m, &ioapic_class, x->io, "ioapic", &e), 0);
	assert_int_equal(state_check(ioapic_class.state, x->io, "ioapic", &e), 0);
	for (unsigned i = 0; i < 2; i++)
		bus_write(x->m->mmio, x->m->cpu[i], LAPIC + 0xf0, 0x1ff, 4);
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

static void registers(void **st)
{
	struct ctx *x = *st;

	assert_int_equal(rd(x, 0), 5u << 24);
	assert_int_equal(rd(x, 1), 0x00170020);
	wr(x, 0, 0xffffffff);
	assert_int_equal(rd(x, 0), 0x0f000000);
	assert_int_equal(rd(x, 2), 0x0f000000);
	wr(x, 1, 0);
	wr(x, 2, 0);
	assert_int_equal(rd(x, 1), 0x00170020);
	assert_int_equal(rd(x, 2), 0x0f000000);
	for (unsigned i = 0; i < 24; i++) {
		assert_int_equal(rd(x, 0x10 + 2 * i), 0x10000);
		assert_int_equal(rd(x, 0x11 + 2 * i), 0);
	}
	wr(x, 0x12, 0xffffffff);
	wr(x, 0x13, 0xffffffff);
	assert_int_equal(rd(x, 0x12), 0x1afff);		/* bits 12 and 14 are read-only */
	assert_int_equal(rd(x, 0x13), 0xff000000);
	assert_int_equal(rd(x, 0x40), 0);
	assert_int_equal(rd(x, 0xff), 0);
	assert_int_equal(bus_read(x->m->mmio, x->m->cpu[0], IOAPIC_BASE, 4), 0xff);
	assert_int_equal(bus_read(x->m->mmio, x->m->cpu[0], IOAPIC_BASE + 0x20, 4), 0);
}

static void edges(void **st)
{
	struct ctx *x = *st;

	route(x, 4, 1, 0x44);
	line(x, 4, 1);
	assert_int_equal(ack(x, 1), 0x44);
	eoi(x, 1);
	assert_int_equal(ack(x, 1), -1);		/* once, however long it stays */
	line(x, 4, 1);
	assert_int_equal(ack(x, 1), -1);
	line(x, 4, 0);
	line(x, 4, 1);
	assert_int_equal(ack(x, 1), 0x44);
	eoi(x, 1);
	line(x, 4, 0);
	/* While masked an edge is lost. */
	wr(x, 0x18, 0x10044);
	line(x, 4, 1);
	wr(x, 0x18, 0x44);
	assert_int_equal(ack(x, 1), -1);
	line(x, 4, 0);
	line(x, 4, 1);
	assert_int_equal(ack(x, 1), 0x44);
	eoi(x, 1);
}

static void levels(void **st)
{
	struct ctx *x = *st;

	route(x, 10, 0, 0x8055);
	line(x, 10, 1);
	assert_int_equal(rd(x, 0x24), 0xc055);		/* remote IRR */
	assert_int_equal(ack(x, 0), 0x55);
	line(x, 10, 0);
	line(x, 10, 1);					/* no second message before the EOI */
	assert_int_equal(ack(x, 0), -1);
	eoi(x, 0);
	assert_int_equal(ack(x, 0), 0x55);		/* still asserted */
	line(x, 10, 0);
	eoi(x, 0);
	assert_int_equal(rd(x, 0x24), 0x8055);
	assert_int_equal(ack(x, 0), -1);
	/* A level that comes while masked waits. */
	wr(x, 0x24, 0x18055);
	line(x, 10, 1);
	assert_int_equal(ack(x, 0), -1);
	wr(x, 0x24, 0x8055);
	assert_int_equal(ack(x, 0), 0x55);
	/* Masked while in service: quiet after the EOI; back on unmask. */
	wr(x, 0x24, 0x18055);
	eoi(x, 0);
	assert_int_equal(ack(x, 0), -1);
	assert_int_equal(rd(x, 0x24), 0x18055);
	wr(x, 0x24, 0x8055);
	assert_int_equal(ack(x, 0), 0x55);
	/* The EOI register does the same without the local APIC's broadcast. */
	line(x, 10, 0);
	bus_write(x->m->mmio, x->m->cpu[0], IOAPIC_BASE + 0x40, 0x55, 4);
	assert_int_equal(rd(x, 0x24), 0x8055);
	eoi(x, 0);
	/* Edge for a moment clears remote IRR, as kernels do for lost EOIs. */
	line(x, 10, 1);
	assert_int_equal(rd(x, 0x24), 0xc055);
	wr(x, 0x24, 0x10055);
	wr(x, 0x24, 0x18055);
	assert_int_equal(rd(x, 0x24), 0x18055);
	/* Nobody there: no remote IRR, so that it can be sent again. */
	line(x, 10, 0);
	route(x, 10, 7, 0x8055);
	line(x, 10, 1);
	assert_int_equal(rd(x, 0x24), 0x8055);
	ack(x, 0);
	eoi(x, 0);
	wr(x, 0x25, 1u << 24);
	assert_int_equal(ack(x, 1), 0x55);
}

/* Two level-triggered pins with one vector: both hear the EOI. */
static void shared_vector(void **st)
{
	struct ctx *x = *st;

	route(x, 16, 0, 0x8066);
	route(x, 17, 0, 0x8066);
	line(x, 16, 1);
	line(x, 17, 1);
	assert_int_equal(ack(x, 0), 0x66);
	line(x, 16, 0);
	eoi(x, 0);
	assert_int_equal(rd(x, 0x30), 0x8066);
	assert_int_equal(rd(x, 0x32), 0xc066);
	assert_int_equal(ack(x, 0), 0x66);
}

static void modes(void **st)
{
	struct ctx *x = *st;

	for (unsigned i = 0; i < 2; i++)
		bus_write(x->m->mmio, x->m->cpu[i], LAPIC + 0xd0, 1u << (24 + i), 4);
	route(x, 3, 3, 0x943);				/* lowest priority, logical */
	line(x, 3, 1);
	assert_int_equal((ack(x, 0) == 0x43) + (ack(x, 1) == 0x43), 1);
	take_requests(x->m->cpu[1]);
	route(x, 5, 1, 0x400);				/* NMI; a level bit changes nothing */
	line(x, 5, 1);
	assert_int_equal(take_requests(x->m->cpu[1]), VCPU_REQ_NMI);
	route(x, 6, 1, 0x200);
	line(x, 6, 1);
	assert_int_equal(take_requests(x->m->cpu[1]), VCPU_REQ_SMI);
	route(x, 7, 1, 0x500);
	line(x, 7, 1);
	assert_int_equal(take_requests(x->m->cpu[1]), VCPU_REQ_INIT);
}

/* ISA IRQs reach both chips, IRQ 0 pin 2; sources share a line. */
static void wires(void **st)
{
	struct ctx *x = *st;
	struct err e = { 0 };
	struct probe intr = { 0 };
	struct i8259 *pic;
	struct gsi *g;
	struct irq_line a, b;

	assert_int_equal(i8259_new(&pic, x->m, probe_line(&intr), &e), 0);
	assert_int_equal(gsi_new(&g, pic, x->io, &e), 0);
	outb(x->m, 0x20, 0x11);
	outb(x->m, 0x21, 0x08);
	outb(x->m, 0x21, 0x04);
	outb(x->m, 0x21, 0x01);
	route(x, 2, 0, 0x40);
	irq_set(gsi_line(g, 0), 1);
	assert_true(intr.level);
	assert_int_equal(i8259_ack(pic), 0x08);
	assert_int_equal(ack(x, 0), 0x40);
	eoi(x, 0);
	outb(x->m, 0x20, 0x20);
	route(x, 20, 0, 0x8050);
	assert_int_equal(gsi_share(g, 20, &a, &e), 0);
	assert_int_equal(gsi_share(g, 20, &b, &e), 0);
	irq_set(a, 1);
	irq_set(b, 1);
	assert_int_equal(ack(x, 0), 0x50);
	irq_set(a, 0);
	eoi(x, 0);
	assert_int_equal(ack(x, 0), 0x50);		/* b still holds it */
	irq_set(b, 0);
	eoi(x, 0);
	assert_int_equal(ack(x, 0), -1);
	assert_false(intr.level);
	for (unsigned i = 2; i < 32; i++)
		assert_int_equal(gsi_share(g, 20, &b, &e), 0);
	assert_true(gsi_share(g, 20, &b, &e) < 0);
	gsi_class.free(g);
	i8259_class.free(pic);
}

static void saved(void **st)
{
	struct ctx *x = *st, y = { 0 };
	struct err e = { 0 };
	struct stream s = { 0 };

	route(x, 10, 0, 0x8055);
	line(x, 10, 1);
	line(x, 11, 1);
	wr(x, 0, 0x07000000);
	y.m = dt_machine(2);
	assert_int_equal(apic_bus_add(y.m, &y.b, &e), 0);
	assert_int_equal(ioapic_new(&y.io, y.m, y.b, 5, &e), 0);
	for (unsigned i = 0; i < 2; i++)
		dev_copy(&lapic_class, x->m->cpu[i]->intc, y.m->cpu[i]->intc);
	dev_copy(&ioapic_class, x->io, y.io);
	for (unsigned r = 0; r < 0x40; r++)
		assert_int_equal(rd(x, r), rd(&y, r));
	assert_int_equal(ack(x, 0), ack(&y, 0));
	eoi(x, 0);
	eoi(&y, 0);
	assert_int_equal(ack(x, 0), 0x55);
	assert_int_equal(ack(&y, 0), 0x55);
	/* Remote IRR on an edge-triggered pin cannot be. */
	dev_save(&ioapic_class, y.io, &s);
	u64 rte = 0x4044;
	memcpy(stream_field(&s, "rte"), &rte, 8);
	assert_true(dev_load(&ioapic_class, y.io, &s, &e) < 0);
	free(s.p);
	ioapic_class.free(y.io);
	machine_free(y.m);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(registers), T(edges), T(levels), T(shared_vector), T(modes), T(wires), T(saved),
	};

	return cmocka_run_group_tests_name("ioapic", tests, NULL, NULL);
}
