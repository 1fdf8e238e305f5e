/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Local APICs against the SDM: registers of both modes, mode changes and their faults,
 * priorities, destinations, IPIs, the timer in its three modes, errors, EOI, MSIs, PV EOI. */
#include "unit.h"
#include "dev/devtest.h"
#include "dev/lapic.h"
#include "x86/regs.h"
#include <errno.h>

#define BASE 0xfee00000u
enum { ID = 0x20, VER = 0x30, TPR = 0x80, APR = 0x90, PPR = 0xa0, EOI = 0xb0, LDR = 0xd0,
       DFR = 0xe0, SVR = 0xf0, ISR = 0x100, TMR = 0x180, IRR = 0x200, ESR = 0x280, ICR = 0x300, ICR2 = 0x310,
       LVTT = 0x320, LVTPC = 0x340, LINT0 = 0x350, LINT1 = 0x360, LVTERR = 0x370, TMICT = 0x380,
       TMCCT = 0x390, TDCR = 0x3e0 };
#define NCPUS 4

struct ctx {
	struct machine *m;
	struct apic_bus *b;
	int pic_vector;		/* what the fake 8259 answers */
	unsigned acks;
	u8 eoi[16];
	unsigned neoi;
};

static u32 rd(struct ctx *x, unsigned cpu, unsigned reg)
{
	return bus_read(x->m->mmio, x->m->cpu[cpu], BASE + reg, 4);
}
static void wr(struct ctx *x, unsigned cpu, unsigned reg, u32 val)
{
	bus_write(x->m->mmio, x->m->cpu[cpu], BASE + reg, val, 4);
}
static int rdmsr(struct ctx *x, unsigned cpu, u32 msr, u64 *val)
{
	struct vcpu *v = x->m->cpu[cpu];

	return v->intc_ops->rdmsr(v->intc, msr, val);
}
static int wrmsr(struct ctx *x, unsigned cpu, u32 msr, u64 val)
{
	struct vcpu *v = x->m->cpu[cpu];

	return v->intc_ops->wrmsr(v->intc, msr, val);
}
static u64 msr(struct ctx *x, unsigned cpu, u32 n)
{
	u64 v = 0;

	assert_int_equal(rdmsr(x, cpu, n, &v), 0);
	return v;
}
static bool pending(struct ctx *x, unsigned cpu)
{
	struct vcpu *v = x->m->cpu[cpu];

	return v->intc_ops->pending(v->intc);
}
static int ack(struct ctx *x, unsigned cpu)
{
	struct vcpu *v = x->m->cpu[cpu];

	return v->intc_ops->ack(v->intc);
}
static u32 asked(struct ctx *x, unsigned cpu) { return take_requests(x->m->cpu[cpu]); }
static bool in_irr(struct ctx *x, unsigned cpu, u8 v)
{
	return rd(x, cpu, IRR + v / 32 * 16) >> (v % 32) & 1;
}

static int pic_ack(void *chip)
{
	struct ctx *x = chip;

	x->acks++;
	return x->pic_vector;
}
static void on_eoi(void *chip, u8 vector)
{
	struct ctx *x = chip;

	x->eoi[x->neoi++ % 16] = vector;
}

static int setup(void **st)
{
	struct ctx *x = calloc(1, sizeof(*x));
	struct err e = { 0 };

	x->m = dt_machine(NCPUS);
	assert_int_equal(apic_bus_add(x->m, &x->b, &e), 0);
	apic_bus_set_pic(x->b, pic_ack, x);
	apic_bus_on_eoi(x->b, on_eoi, x);
	x->pic_vector = 0x30;
	for (unsigned i = 0; i < NCPUS; i++) {
		assert_int_equal(state_check(lapic_class.state, x->m->cpu[i]->intc, "lapic", &e), 0);
		wr(x, i, SVR, 0x1ff);
		asked(x, i);
	}
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

static void power_on(void **st)
{
	struct ctx *x = *st;

	for (unsigned i = 0; i < NCPUS; i++) {
		struct vcpu *v = x->m->cpu[i];

		lapic_class.reset(v->intc);
		assert_int_equal(msr(x, i, MSR_APIC_BASE), BASE | 0x800 | (i == 0 ? 0x100 : 0));
		assert_int_equal(rd(x, i, ID), i << 24);
		assert_int_equal(rd(x, i, VER) & 0xff, 0x14);
		assert_int_equal(rd(x, i, VER) >> 16 & 0xff, 5);
		assert_int_equal(rd(x, i, TPR), 0);
		assert_int_equal(rd(x, i, LDR), 0);
		assert_int_equal(rd(x, i, DFR), 0xffffffff);
		assert_int_equal(rd(x, i, SVR), 0xff);
		for (unsigned r = LVTT; r <= LVTERR; r += 16)
			assert_int_equal(rd(x, i, r), 0x10000);
		for (unsigned r = ISR; r < ESR; r += 16)
			assert_int_equal(rd(x, i, r), 0);
		assert_int_equal(rd(x, i, TMICT) | rd(x, i, TMCCT) | rd(x, i, TDCR), 0);
	}
}

static void registers(void **st)
{
	struct ctx *x = *st;

	/* Read-only ones. */
	wr(x, 1, ID, 0xff000000);
	assert_int_equal(rd(x, 1, ID), 1u << 24);
	wr(x, 1, VER, 0);
	assert_int_equal(rd(x, 1, VER) & 0xff, 0x14);
	wr(x, 1, IRR, ~0u);
	wr(x, 1, ISR, ~0u);
	assert_int_equal(rd(x, 1, IRR) | rd(x, 1, ISR), 0);
	/* Reserved bits read 0. */
	wr(x, 1, LDR, ~0u);
	assert_int_equal(rd(x, 1, LDR), 0xff000000);
	wr(x, 1, DFR, 0);
	assert_int_equal(rd(x, 1, DFR), 0x0fffffff);
	wr(x, 1, LVTT, ~0u);
	assert_int_equal(rd(x, 1, LVTT), 0x000700ff);
	wr(x, 1, LINT0, ~0u);
	assert_int_equal(rd(x, 1, LINT0), 0x0001a7ff);
	wr(x, 1, LVTERR, ~0u);
	assert_int_equal(rd(x, 1, LVTERR), 0x000100ff);
	wr(x, 1, TDCR, ~0u);
	assert_int_equal(rd(x, 1, TDCR), 0xb);
	wr(x, 1, SVR, ~0u);
	assert_int_equal(rd(x, 1, SVR), 0x3ff);
	/* Software disable masks the LVT, and keeps it masked. */
	wr(x, 1, LINT1, 0x400);
	wr(x, 1, SVR, 0xff);
	assert_int_equal(rd(x, 1, LINT1), 0x10400);
	wr(x, 1, LINT1, 0x400);
	assert_int_equal(rd(x, 1, LINT1), 0x10400);
	wr(x, 1, SVR, 0x1ff);
	assert_int_equal(rd(x, 1, LINT1), 0x10400);
	wr(x, 1, LINT1, 0x400);
	assert_int_equal(rd(x, 1, LINT1), 0x400);
	/* Between the registers is nothing; narrow reads see parts. */
	assert_int_equal(rd(x, 1, ID + 4), 0);
	assert_int_equal(bus_read(x->m->mmio, x->m->cpu[1], BASE + ID + 3, 1), 1);
	/* Each vCPU has its own; nobody's DMA reads any. */
	wr(x, 2, TPR, 0x20);
	assert_int_equal(rd(x, 3, TPR), 0);
	assert_int_equal(bus_read(x->m->mmio, NULL, BASE + ID, 4), 0xffffffff);
}

static void priorities(void **st)
{
	struct ctx *x = *st;
	struct apic_msg msg = { .dest = 0 };

	msg.vector = 0x41;
	assert_int_equal(apic_bus_deliver(x->b, &msg), 1);
	assert_int_equal(asked(x, 0), VCPU_REQ_IRQ);
	assert_int_equal(asked(x, 1), 0);
	msg.vector = 0x52;
	apic_bus_deliver(x->b, &msg);
	assert_true(pending(x, 0));
	assert_true(in_irr(x, 0, 0x41) && in_irr(x, 0, 0x52));
	assert_int_equal(ack(x, 0), 0x52);
	assert_false(in_irr(x, 0, 0x52));
	assert_int_equal(rd(x, 0, ISR + 0x20), 1u << 18);
	assert_int_equal(rd(x, 0, PPR), 0x50);
	assert_false(pending(x, 0));		/* 41 waits for the EOI */
	msg.vector = 0x5f;			/* the same class: waits too */
	apic_bus_deliver(x->b, &msg);
	assert_false(pending(x, 0));
	msg.vector = 0x60;
	apic_bus_deliver(x->b, &msg);
	assert_true(pending(x, 0));
	assert_int_equal(ack(x, 0), 0x60);
	asked(x, 0);
	wr(x, 0, EOI, 0);			/* ends 60, the highest */
	assert_int_equal(rd(x, 0, PPR), 0x50);
	wr(x, 0, EOI, 0);
	assert_int_equal(asked(x, 0), VCPU_REQ_IRQ);
	assert_int_equal(ack(x, 0), 0x5f);
	wr(x, 0, EOI, 0);
	wr(x, 0, TPR, 0x40);			/* the task is as important as 41 */
	assert_false(pending(x, 0));
	assert_int_equal(ack(x, 0), -1);
	assert_int_equal(rd(x, 0, PPR), 0x40);
	assert_int_equal(rd(x, 0, APR), 0x40);
	asked(x, 0);
	x->m->cpu[0]->intc_ops->set_tpr(x->m->cpu[0]->intc, 3);
	assert_int_equal(rd(x, 0, TPR), 0x30);
	assert_int_equal(asked(x, 0), VCPU_REQ_IRQ);
	assert_int_equal(x->m->cpu[0]->intc_ops->get_tpr(x->m->cpu[0]->intc), 3);
	assert_int_equal(ack(x, 0), 0x41);
	wr(x, 0, EOI, 0);
	wr(x, 0, EOI, 0);			/* with nothing in service: nothing */
	assert_int_equal(rd(x, 0, PPR), 0x30);
	assert_int_equal(x->neoi, 0);		/* edges are not broadcast */
}

static void level_eoi(void **st)
{
	struct ctx *x = *st;
	struct apic_msg msg = { .dest = 2, .vector = 0x77, .level = true };

	apic_bus_deliver(x->b, &msg);
	assert_int_equal(rd(x, 2, TMR + 0x30), 1u << 23);
	assert_int_equal(ack(x, 2), 0x77);
	wr(x, 2, EOI, 0);
	assert_int_equal(x->neoi, 1);
	assert_int_equal(x->eoi[0], 0x77);
	msg.level = false;			/* the next of that vector is an edge */
	apic_bus_deliver(x->b, &msg);
	assert_int_equal(rd(x, 2, TMR + 0x30), 0);
	ack(x, 2);
	wr(x, 2, EOI, 0);
	assert_int_equal(x->neoi, 1);
}

/* Who takes it, as a bit mask; takes it away again. */
static unsigned who(struct ctx *x, const struct apic_msg *msg)
{
	unsigned n = apic_bus_deliver(x->b, msg), set = 0;

	for (unsigned i = 0; i < NCPUS; i++)
		if (in_irr(x, i, msg->vector)) {
			set |= 1 << i;
			assert_int_equal(ack(x, i), msg->vector);
			wr(x, i, EOI, 0);
		}
	assert_int_equal(__builtin_popcount(set), n);
	return set;
}

static void destinations(void **st)
{
	struct ctx *x = *st;
	struct apic_msg msg = { .vector = 0x55 };

	for (unsigned i = 0; i < NCPUS; i++) {
		msg.dest = i;
		assert_int_equal(who(x, &msg), 1 << i);
	}
	msg.dest = 9;
	assert_int_equal(who(x, &msg), 0);
	msg.dest = 0xff;
	assert_int_equal(who(x, &msg), 0xf);
	/* Flat. */
	msg.logical = true;
	for (unsigned i = 0; i < NCPUS; i++)
		wr(x, i, LDR, 1u << (24 + i));
	msg.dest = 0x05;
	assert_int_equal(who(x, &msg), 0x5);
	msg.dest = 0xf0;
	assert_int_equal(who(x, &msg), 0);
	msg.dest = 0xff;
	assert_int_equal(who(x, &msg), 0xf);
	/* Cluster: 0,1 in cluster 2; 2,3 in cluster 3. */
	for (unsigned i = 0; i < NCPUS; i++) {
		wr(x, i, DFR, 0);
		wr(x, i, LDR, (2 + i / 2) << 28 | 1u << (24 + i % 2));
	}
	msg.dest = 0x22;
	assert_int_equal(who(x, &msg), 0x2);
	msg.dest = 0x33;
	assert_int_equal(who(x, &msg), 0xc);
	msg.dest = 0xf1;
	assert_int_equal(who(x, &msg), 0x5);
	msg.dest = 0xff;
	assert_int_equal(who(x, &msg), 0xf);
	msg.dest = 0x43;
	assert_int_equal(who(x, &msg), 0);
	/* Software-disabled ones take no vector. */
	msg = (struct apic_msg){ .vector = 0x55, .dest = 1 };
	wr(x, 1, SVR, 0xff);
	assert_int_equal(who(x, &msg), 0);
	msg.mode = APIC_DM_NMI;
	asked(x, 1);
	assert_int_equal(apic_bus_deliver(x->b, &msg), 1);
	assert_int_equal(asked(x, 1), VCPU_REQ_NMI);
}

static void lowest_priority(void **st)
{
	struct ctx *x = *st;
	struct apic_msg msg = { .vector = 0x55, .mode = APIC_DM_LOWPRI, .dest = 0xff };
	unsigned seen = 0;

	for (unsigned i = 0; i < NCPUS; i++) {
		unsigned w = who(x, &msg);

		assert_int_equal(__builtin_popcount(w), 1);
		seen |= w;
	}
	assert_int_equal(seen, 0xf);		/* equals take turns */
	for (unsigned i = 0; i < NCPUS; i++)
		wr(x, i, TPR, i == 2 ? 0x10 : 0x20);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(who(x, &msg), 1 << 2);
	wr(x, 2, SVR, 0xff);
	assert_int_not_equal(who(x, &msg), 0);
}

static void ipi(struct ctx *x, unsigned from, u32 dest, u32 lo)
{
	wr(x, from, ICR2, dest << 24);
	wr(x, from, ICR, lo);
}

static void ipis(void **st)
{
	struct ctx *x = *st;

	ipi(x, 0, 2, 0x4041);
	assert_int_equal(rd(x, 0, ICR), 0x4041);	/* not busy */
	assert_int_equal(rd(x, 0, ICR2), 2u << 24);
	assert_int_equal(ack(x, 2), 0x41);
	wr(x, 2, EOI, 0);
	ipi(x, 1, 0, 0x44042);				/* self */
	assert_int_equal(ack(x, 1), 0x42);
	wr(x, 1, EOI, 0);
	assert_int_equal(ack(x, 0), -1);
	ipi(x, 1, 0, 0x84043);				/* all */
	for (unsigned i = 0; i < NCPUS; i++) {
		assert_int_equal(ack(x, i), 0x43);
		wr(x, i, EOI, 0);
	}
	ipi(x, 1, 0, 0xc4044);				/* all but self */
	for (unsigned i = 0; i < NCPUS; i++) {
		assert_int_equal(ack(x, i), i == 1 ? -1 : 0x44);
		wr(x, i, EOI, 0);
		asked(x, i);
	}
	ipi(x, 0, 3, 0x4400);				/* NMI */
	assert_int_equal(asked(x, 3), VCPU_REQ_NMI);
	ipi(x, 0, 3, 0x4400);				/* two before it looked are two */
	ipi(x, 1, 3, 0x4400);
	assert_int_equal(asked(x, 3), VCPU_REQ_NMI | VCPU_REQ_NMI2);
	ipi(x, 0, 3, 0x4200);				/* SMI */
	assert_int_equal(asked(x, 3), VCPU_REQ_SMI);
	ipi(x, 0, 3, 0xc500);				/* INIT, level assert */
	assert_int_equal(asked(x, 3), VCPU_REQ_INIT);
	ipi(x, 0, 3, 0x8500);				/* INIT level de-assert: nothing */
	assert_int_equal(asked(x, 3), 0);
	ipi(x, 0, 3, 0x4699);				/* STARTUP */
	assert_int_equal(asked(x, 3), VCPU_REQ_SIPI);
	assert_int_equal(x->m->cpu[3]->intc_ops->sipi_vector(x->m->cpu[3]->intc), 0x99);
	ipi(x, 0, 3, 0x4700);				/* ExtINT is none */
	ipi(x, 0, 3, 0x4300);				/* reserved */
	assert_int_equal(asked(x, 3), 0);
	/* One bit of IRR: two of a kind are one. */
	ipi(x, 0, 3, 0x4050);
	ipi(x, 1, 3, 0x4050);
	assert_int_equal(ack(x, 3), 0x50);
	wr(x, 3, EOI, 0);
	assert_int_equal(ack(x, 3), -1);
}

/* KVM's hypercall: a bitmap of APIC ids. */
static void pv_ipis(void **st)
{
	struct ctx *x = *st;
	struct vcpu *v = x->m->cpu[0];

	assert_int_equal(v->intc_ops->pv_ipi(v->intc, 0xff, 0, 64, 1, 0x41), 3);
	assert_int_equal(ack(x, 0), -1);
	for (unsigned i = 1; i < NCPUS; i++)
		assert_int_equal(ack(x, i), 0x41);
	assert_int_equal(v->intc_ops->pv_ipi(v->intc, 1, 2, 32, 0, 0x42), 1);
	assert_int_equal(ack(x, 0), 0x42);
	assert_int_equal(v->intc_ops->pv_ipi(v->intc, ~0ull, ~0ull, 64, 0xffffffff, 0), 0);
	assert_int_equal(v->intc_ops->pv_ipi(v->intc, ~0ull, 0, 64, 0, 5), 0);
	asked(x, 2);
	assert_int_equal(v->intc_ops->pv_ipi(v->intc, 1, 0, 64, 2, 0x400), 1);
	assert_int_equal(asked(x, 2), VCPU_REQ_NMI);
	assert_int_equal(v->intc_ops->pv_ipi(v->intc, 1, 0, 64, 2, 0x80041), -EINVAL);
}

static void init_keeps_base(void **st)
{
	struct ctx *x = *st;

	wr(x, 1, TPR, 0x30);
	wr(x, 1, LDR, 0x0f000000);
	wr(x, 1, LVTT, 0x20040);
	wr(x, 1, TMICT, 1000);
	ipi(x, 0, 1, 0x4060);
	x->m->cpu[1]->intc_ops->init(x->m->cpu[1]->intc);
	assert_int_equal(rd(x, 1, TPR) | rd(x, 1, LDR) | rd(x, 1, TMICT), 0);
	assert_int_equal(rd(x, 1, LVTT), 0x10000);
	assert_int_equal(rd(x, 1, SVR), 0xff);
	assert_int_equal(rd(x, 1, ID), 1u << 24);
	assert_false(pending(x, 1));
	pass(x->m, SEC);
	assert_false(in_irr(x, 1, 0x40));
	/* In x2APIC mode it stays in that mode. */
	wrmsr(x, 1, MSR_APIC_BASE, BASE | 0xc00);
	x->m->cpu[1]->intc_ops->init(x->m->cpu[1]->intc);
	assert_int_equal(msr(x, 1, MSR_APIC_BASE), BASE | 0xc00);
	assert_int_equal(msr(x, 1, 0x80d), 1u << 1);
}

static void errors(void **st)
{
	struct ctx *x = *st;

	wr(x, 0, LVTERR, 0xee);
	ipi(x, 0, 1, 0x4005);				/* send illegal vector */
	assert_int_equal(rd(x, 0, ESR), 0);		/* shows after a write */
	wr(x, 0, ESR, 0);
	assert_int_equal(rd(x, 0, ESR), 0x20);
	assert_int_equal(rd(x, 0, ESR), 0x20);
	wr(x, 0, ESR, 0);
	assert_int_equal(rd(x, 0, ESR), 0);
	assert_int_equal(ack(x, 0), 0xee);
	wr(x, 0, EOI, 0);
	assert_int_equal(rd(x, 1, IRR), 0);
	struct apic_msg msg = { .dest = 0, .vector = 3 };
	apic_bus_deliver(x->b, &msg);			/* receive illegal vector */
	wr(x, 0, ESR, 0);
	assert_int_equal(rd(x, 0, ESR), 0x40);
	rd(x, 0, 0x40);					/* illegal register address */
	wr(x, 0, 0x3f0, 0);
	wr(x, 0, ESR, 0);
	assert_int_equal(rd(x, 0, ESR), 0x80);
}

static void timer_oneshot(void **st)
{
	struct ctx *x = *st;

	wr(x, 0, TDCR, 0xb);				/* by 1 */
	wr(x, 0, LVTT, 0x41);
	wr(x, 0, TMICT, 1000000);
	assert_int_equal(rd(x, 0, TMCCT), 1000000);
	pass(x->m, 400000);
	assert_int_equal(rd(x, 0, TMCCT), 600000);
	wr(x, 0, TDCR, 0x0);				/* by 2, from here on */
	assert_int_equal(rd(x, 0, TMCCT), 600000);
	pass(x->m, 400000);
	assert_int_equal(rd(x, 0, TMCCT), 400000);
	assert_false(in_irr(x, 0, 0x41));
	pass(x->m, 799999);
	assert_false(in_irr(x, 0, 0x41));
	pass(x->m, 2);
	assert_int_equal(rd(x, 0, TMCCT), 0);
	assert_int_equal(ack(x, 0), 0x41);
	wr(x, 0, EOI, 0);
	pass(x->m, 100 * MS);
	assert_false(in_irr(x, 0, 0x41));
	/* Masked: counts, does not interrupt. Zero stops. */
	static const struct { u32 dcr; unsigned div; } divs[] = {
		{ 0, 2 }, { 1, 4 }, { 2, 8 }, { 3, 16 }, { 8, 32 }, { 9, 64 }, { 10, 128 }, { 11, 1 },
	};
	wr(x, 0, LVTT, 0x10041);
	for (unsigned i = 0; i < ARRAY_SIZE(divs); i++) {
		wr(x, 0, TDCR, divs[i].dcr);
		wr(x, 0, TMICT, 1000);
		pass(x->m, 100 * divs[i].div);
		assert_int_equal(rd(x, 0, TMCCT), 900);
	}
	pass(x->m, SEC);
	assert_false(in_irr(x, 0, 0x41));
	wr(x, 0, LVTT, 0x41);
	wr(x, 0, TMICT, 1000);
	wr(x, 0, TMICT, 0);
	pass(x->m, SEC);
	assert_false(in_irr(x, 0, 0x41));
}

/* Changing the mode does not touch the count: it goes on, or stays at zero. */
static void timer_mode_change(void **st)
{
	struct ctx *x = *st;

	wr(x, 0, TDCR, 0xb);
	wr(x, 0, LVTT, 0x10041);
	wr(x, 0, TMICT, 1000000);
	pass(x->m, 600000);
	wr(x, 0, LVTT, 0x30041);
	assert_int_equal(rd(x, 0, TMCCT), 400000);
	pass(x->m, 500000);
	assert_int_equal(rd(x, 0, TMCCT), 900000);
	wr(x, 0, LVTT, 0x10041);
	assert_int_equal(rd(x, 0, TMCCT), 900000);
	pass(x->m, 950000);
	assert_int_equal(rd(x, 0, TMCCT), 0);
	wr(x, 0, LVTT, 0x20041);
	assert_int_equal(rd(x, 0, TMICT), 1000000);
	pass(x->m, 300000);
	assert_int_equal(rd(x, 0, TMCCT), 0);
	pass(x->m, SEC);
	assert_false(in_irr(x, 0, 0x41));
	wr(x, 0, TMICT, 1000000);
	pass(x->m, 300000);
	assert_int_equal(rd(x, 0, TMCCT), 700000);
}

static void timer_periodic(void **st)
{
	struct ctx *x = *st;
	unsigned n = 0;

	wr(x, 0, TDCR, 0xb);
	wr(x, 0, LVTT, 0x20041);
	wr(x, 0, TMICT, 1000000);
	for (unsigned i = 0; i < 1000; i++) {
		pass(x->m, 100 * US);
		if (ack(x, 0) == 0x41) {
			wr(x, 0, EOI, 0);
			n++;
		}
	}
	assert_int_equal(n, 100);
	pass(x->m, 250 * US);
	assert_int_equal(rd(x, 0, TMCCT), 750000);
	/* A thousand times faster than anybody could serve: bounded. */
	wr(x, 0, TMICT, 10);
	pass(x->m, 100 * MS);
	assert_true(in_irr(x, 0, 0x41));
	/* The clock stands: so does the timer. */
	wr(x, 0, TMICT, 0);
	ack(x, 0);
	wr(x, 0, EOI, 0);
	wr(x, 0, LVTT, 0x41);
	wr(x, 0, TMICT, 5000);
	assert_int_equal(rd(x, 0, TMCCT), 5000);
	assert_int_equal(rd(x, 0, TMCCT), 5000);
}

static void timer_deadline(void **st)
{
	struct ctx *x = *st;
	u64 tsc = clock_tsc(x->m->clock);

	assert_int_equal(wrmsr(x, 0, MSR_TSC_DEADLINE, tsc + 1000), 0);
	assert_int_equal(msr(x, 0, MSR_TSC_DEADLINE), 0);	/* not in this mode: ignored */
	wr(x, 0, LVTT, 0x40041);
	wr(x, 0, TMICT, 1000);
	assert_int_equal(rd(x, 0, TMICT) | rd(x, 0, TMCCT), 0);
	wrmsr(x, 0, MSR_TSC_DEADLINE, tsc + clock_tsc_khz(x->m->clock));	/* 1 ms */
	assert_int_equal(msr(x, 0, MSR_TSC_DEADLINE), tsc + clock_tsc_khz(x->m->clock));
	pass(x->m, MS - 1);
	assert_false(in_irr(x, 0, 0x41));
	pass(x->m, 2);
	assert_int_equal(ack(x, 0), 0x41);
	wr(x, 0, EOI, 0);
	assert_int_equal(msr(x, 0, MSR_TSC_DEADLINE), 0);
	/* In the past: at once. Zero: disarmed. */
	wrmsr(x, 0, MSR_TSC_DEADLINE, 1);
	pass(x->m, 1);
	assert_int_equal(ack(x, 0), 0x41);
	wr(x, 0, EOI, 0);
	wrmsr(x, 0, MSR_TSC_DEADLINE, clock_tsc(x->m->clock) + 1000);
	wrmsr(x, 0, MSR_TSC_DEADLINE, 0);
	pass(x->m, SEC);
	assert_false(in_irr(x, 0, 0x41));
	/* Centuries ahead, also beyond half the counter's range: not now. */
	wrmsr(x, 0, MSR_TSC_DEADLINE, UINT64_MAX / 2);
	wrmsr(x, 0, MSR_TSC_DEADLINE, UINT64_MAX);
	pass(x->m, SEC);
	assert_false(in_irr(x, 0, 0x41));
	/* The guest's TSC has an offset, and moves. */
	x->m->cpu[0]->tsc_offset = (u64)-1000000000000ll;
	wrmsr(x, 0, MSR_TSC_DEADLINE, clock_tsc(x->m->clock) - 1000000000000ll +
		    10 * clock_tsc_khz(x->m->clock));
	pass(x->m, 9 * MS);
	assert_false(in_irr(x, 0, 0x41));
	x->m->cpu[0]->tsc_offset += 5 * clock_tsc_khz(x->m->clock);
	x->m->cpu[0]->intc_ops->tsc_changed(x->m->cpu[0]->intc);
	pass(x->m, 2);
	assert_int_equal(ack(x, 0), 0x41);
	wr(x, 0, EOI, 0);
	/* Leaving the mode disarms. */
	wrmsr(x, 0, MSR_TSC_DEADLINE, clock_tsc(x->m->clock) + x->m->cpu[0]->tsc_offset + 1000);
	wr(x, 0, LVTT, 0x41);
	wr(x, 0, LVTT, 0x40041);
	pass(x->m, SEC);
	assert_false(in_irr(x, 0, 0x41));
}

static void modes(void **st)
{
	struct ctx *x = *st;
	u64 v;
	static const struct { u64 from, to; int rc; } change[] = {
		{ 0x800, 0x800, 0 }, { 0x800, 0xc00, 0 }, { 0xc00, 0xc00, 0 },
		{ 0xc00, 0x800, -EPERM }, { 0xc00, 0x400, -EPERM }, { 0xc00, 0x000, 0 },
		{ 0x000, 0xc00, -EPERM }, { 0x000, 0x400, -EPERM }, { 0x000, 0x800, 0 },
		{ 0x800, 0x400, -EPERM }, { 0x800, 0x000, 0 }, { 0x000, 0x000, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(change); i++) {
		assert_int_equal(msr(x, 1, MSR_APIC_BASE) & 0xc00, change[i].from);
		assert_int_equal(wrmsr(x, 1, MSR_APIC_BASE, BASE | change[i].to), change[i].rc);
		if (!change[i].rc && (i + 1 == ARRAY_SIZE(change) || change[i + 1].from == change[i].to))
			continue;
		if (change[i].rc)
			assert_int_equal(msr(x, 1, MSR_APIC_BASE) & 0xc00, change[i].from);
	}
	/* Reserved bits. */
	for (unsigned bit = 0; bit < 8; bit++)
		assert_int_equal(wrmsr(x, 0, MSR_APIC_BASE, BASE | 0x800 | 1 << bit), -EPERM);
	assert_int_equal(wrmsr(x, 0, MSR_APIC_BASE, BASE | 0xa00), -EPERM);
	assert_int_equal(wrmsr(x, 0, MSR_APIC_BASE, BASE | 0x800 | 1ull << 52), -EPERM);
	assert_int_equal(wrmsr(x, 0, MSR_APIC_BASE, BASE | 0x800 | 1ull << 63), -EPERM);
	/* Disabled: no registers, no vectors; what was there is lost. */
	wr(x, 2, TPR, 0x40);
	wrmsr(x, 2, MSR_APIC_BASE, BASE);
	assert_int_equal(rd(x, 2, ID), 0xffffffff);
	wr(x, 2, SVR, 0x1ff);
	struct apic_msg msg = { .dest = 2, .vector = 0x44 };
	assert_int_equal(apic_bus_deliver(x->b, &msg), 0);
	wrmsr(x, 2, MSR_APIC_BASE, BASE | 0x800);
	assert_int_equal(rd(x, 2, SVR), 0xff);
	assert_int_equal(rd(x, 2, TPR), 0);
	assert_int_equal(rdmsr(x, 2, 0x802, &v), -EPERM);
	assert_int_equal(rdmsr(x, 2, 0x10, &v), -ENOENT);
	assert_int_equal(wrmsr(x, 2, 0xc0000080, 0), -ENOENT);
}

static void relocation(void **st)
{
	struct ctx *x = *st;
	u64 there = 0xfed40000;

	assert_int_equal(wrmsr(x, 0, MSR_APIC_BASE, there | 0x900), 0);
	assert_int_equal(rd(x, 0, ID), 0xffffffff);
	assert_int_equal(bus_read(x->m->mmio, x->m->cpu[0], there + VER, 4) & 0xff, 0x14);
	/* The others have not moved. */
	assert_int_equal(bus_read(x->m->mmio, x->m->cpu[1], there + VER, 4), 0xffffffff);
	assert_int_equal(rd(x, 1, ID), 1u << 24);
	wrmsr(x, 1, MSR_APIC_BASE, there | 0x800);
	bus_write(x->m->mmio, x->m->cpu[1], there + TPR, 0x50, 4);
	assert_int_equal(bus_read(x->m->mmio, x->m->cpu[1], there + TPR, 4), 0x50);
	assert_int_equal(bus_read(x->m->mmio, x->m->cpu[0], there + TPR, 4), 0);
	wrmsr(x, 0, MSR_APIC_BASE, BASE | 0x900);
	assert_int_equal(rd(x, 0, ID), 0);
	assert_int_equal(bus_read(x->m->mmio, x->m->cpu[1], there + TPR, 4), 0x50);
	lapic_class.reset(x->m->cpu[1]->intc);
	assert_int_equal(bus_read(x->m->mmio, x->m->cpu[1], there + TPR, 4), 0xffffffff);
	assert_int_equal(rd(x, 1, ID), 1u << 24);
}

static void x2apic(void **st)
{
	struct ctx *x = *st;
	u64 v;

	wr(x, 0, TPR, 0x20);
	assert_int_equal(wrmsr(x, 0, MSR_APIC_BASE, BASE | 0xd00), 0);
	assert_int_equal(wrmsr(x, 2, MSR_APIC_BASE, BASE | 0xc00), 0);
	assert_int_equal(rd(x, 0, ID), 0xffffffff);	/* no MMIO any more */
	assert_int_equal(msr(x, 0, 0x802), 0);
	assert_int_equal(msr(x, 2, 0x802), 2);
	assert_int_equal(msr(x, 0, 0x808), 0x20);	/* state survives the change */
	assert_int_equal(msr(x, 2, 0x80d), 1u << 2);	/* LDR from the id */
	assert_int_equal(msr(x, 0, 0x803) & 0xff, 0x14);
	/* What is not there, or not for that direction, faults. */
	static const u16 no_read[] = { 0x800, 0x801, 0x804, 0x807, 0x809, 0x80b, 0x80c, 0x80e, 0x829,
				       0x82e, 0x831, 0x83a, 0x83d, 0x83f, 0x840, 0x8ff };
	static const u16 no_write[] = { 0x802, 0x803, 0x809, 0x80a, 0x80c, 0x80d, 0x80e, 0x810, 0x818,
					0x820, 0x831, 0x839, 0x83a, 0x840, 0x8ff };
	for (unsigned i = 0; i < ARRAY_SIZE(no_read); i++)
		assert_int_equal(rdmsr(x, 0, no_read[i], &v), -EPERM);
	for (unsigned i = 0; i < ARRAY_SIZE(no_write); i++)
		assert_int_equal(wrmsr(x, 0, no_write[i], 0), -EPERM);
	/* Reserved bits fault. */
	static const struct { u16 msr; u64 val; } bad[] = {
		{ 0x808, 0x100 }, { 0x80b, 1 }, { 0x80f, 0x400 }, { 0x828, 1 }, { 0x830, 1 << 13 },
		{ 0x830, 1 << 16 }, { 0x830, 1 << 20 }, { 0x832, 1 << 19 }, { 0x832, 1 << 8 },
		{ 0x835, 1 << 11 }, { 0x837, 0x100 }, { 0x838, 1ull << 32 }, { 0x83e, 4 },
		{ 0x83f, 0x100 }, { 0x808, 1ull << 32 },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(wrmsr(x, 0, bad[i].msr, bad[i].val), -EPERM);
	/* IPIs: 32-bit destinations, one write. */
	wrmsr(x, 0, 0x808, 0);
	assert_int_equal(wrmsr(x, 0, 0x830, 2ull << 32 | 0x4041), 0);
	assert_int_equal(msr(x, 0, 0x830), 2ull << 32 | 0x4041);
	assert_int_equal(ack(x, 2), 0x41);
	assert_int_equal(wrmsr(x, 2, 0x80b, 0), 0);
	wrmsr(x, 0, 0x830, (u64)(1 << 2 | 1 << 0) << 32 | 0x4842);	/* logical, cluster 0 */
	assert_int_equal(ack(x, 0), 0x42);
	assert_int_equal(ack(x, 2), 0x42);
	wrmsr(x, 0, 0x80b, 0);
	wrmsr(x, 2, 0x80b, 0);
	wrmsr(x, 0, 0x830, 0x1ull << 48 | 0x1ull << 32 | 0x4842);	/* cluster 1: nobody */
	assert_int_equal(ack(x, 0), -1);
	wrmsr(x, 0, 0x830, 0xffffffffull << 32 | 0x4043);
	for (unsigned i = 0; i < NCPUS; i++)
		assert_int_equal(ack(x, i), 0x43);
	wrmsr(x, 0, 0x80b, 0);
	wrmsr(x, 0, 0x830, 0xffull << 32 | 0x4045);	/* FF is an id like others here */
	assert_int_equal(ack(x, 0), -1);
	wrmsr(x, 0, 0x83f, 0x61);			/* self IPI */
	assert_int_equal(ack(x, 0), 0x61);
	assert_int_equal(msr(x, 0, 0x813), 1u << 1);
	wrmsr(x, 0, 0x80b, 0);
	/* An 8-bit broadcast from an I/O APIC still means all. */
	struct apic_msg msg = { .dest = 0xff, .vector = 0x70 };
	assert_int_equal(apic_bus_deliver(x->b, &msg), NCPUS);
}

static void extint(void **st)
{
	struct ctx *x = *st;
	struct irq_line lint0 = apic_bus_lint0(x->b);

	wr(x, 0, LINT0, 0x700);
	irq_set(lint0, 1);
	assert_true(pending(x, 0));
	assert_false(pending(x, 1));		/* masked there */
	assert_int_equal(asked(x, 0) & VCPU_REQ_IRQ, VCPU_REQ_IRQ);
	assert_int_equal(ack(x, 0), 0x30);
	assert_int_equal(x->acks, 1);
	assert_int_equal(rd(x, 0, ISR + 0x10), 0);	/* the 8259's affair, not the APIC's */
	irq_set(lint0, 0);
	assert_false(pending(x, 0));
	/* Unmasking with the line up. */
	wr(x, 0, LINT0, 0x10700);
	irq_set(lint0, 1);
	assert_false(pending(x, 0));
	asked(x, 0);
	wr(x, 0, LINT0, 0x700);
	assert_true(pending(x, 0));
	assert_int_equal(asked(x, 0), VCPU_REQ_IRQ);
	/* As a message, through an I/O APIC pin. */
	irq_set(lint0, 0);
	struct apic_msg msg = { .dest = 1, .mode = APIC_DM_EXTINT };
	apic_bus_deliver(x->b, &msg);
	assert_int_equal(ack(x, 1), 0x30);
	assert_int_equal(ack(x, 1), -1);
	/* Globally disabled: the pins are the boot processor's INTR and NMI. */
	wr(x, 0, LINT0, 0x10000);
	wrmsr(x, 0, MSR_APIC_BASE, BASE | 0x100);
	irq_set(lint0, 1);
	assert_true(pending(x, 0));
	assert_int_equal(ack(x, 0), 0x30);
	irq_set(lint0, 0);
	asked(x, 0);
	irq_pulse(apic_bus_lint1(x->b));
	assert_int_equal(asked(x, 0), VCPU_REQ_NMI);
	/* As firmware leaves it. */
	wrmsr(x, 0, MSR_APIC_BASE, BASE | 0x900);
	apic_bus_virtual_wire(x->b);
	irq_set(lint0, 1);
	assert_int_equal(ack(x, 0), 0x30);
	irq_pulse(apic_bus_lint1(x->b));
	assert_int_equal(asked(x, 0) & VCPU_REQ_NMI, VCPU_REQ_NMI);
	assert_int_equal(asked(x, 1) & VCPU_REQ_NMI, 0);
}

/* A LINT pin as a plain level-triggered interrupt. */
static void lint_level(void **st)
{
	struct ctx *x = *st;
	struct irq_line lint1 = apic_bus_lint1(x->b);

	wr(x, 3, LINT1, 0x8045);
	irq_set(lint1, 1);
	assert_int_equal(rd(x, 3, LINT1), 0xc045);	/* remote IRR */
	assert_int_equal(ack(x, 3), 0x45);
	wr(x, 3, EOI, 0);
	assert_int_equal(ack(x, 3), 0x45);		/* still up */
	irq_set(lint1, 0);
	wr(x, 3, EOI, 0);
	assert_int_equal(ack(x, 3), -1);
	assert_int_equal(rd(x, 3, LINT1), 0x8045);
}

static void msis(void **st)
{
	struct ctx *x = *st;

	x->m->msi.send(x->m->msi.chip, BASE | 2 << 12, 0x4041);
	assert_int_equal(ack(x, 2), 0x41);
	wr(x, 2, EOI, 0);
	wr(x, 1, LDR, 0x02000000);
	x->m->msi.send(x->m->msi.chip, BASE | 2 << 12 | 4, 0x4042);	/* logical */
	assert_int_equal(ack(x, 1), 0x42);
	wr(x, 1, EOI, 0);
	assert_int_equal(ack(x, 2), -1);
	x->m->msi.send(x->m->msi.chip, BASE | 0xff << 12 | 8 | 4, 0x143);	/* redirected: one */
	unsigned n = 0;
	wr(x, 0, LDR, 0x01000000);
	for (unsigned i = 0; i < NCPUS; i++)
		n += ack(x, i) == 0x43;
	assert_int_equal(n, 1);
	asked(x, 3);
	x->m->msi.send(x->m->msi.chip, BASE | 3 << 12, 0x400);		/* NMI */
	assert_int_equal(asked(x, 3), VCPU_REQ_NMI);
	x->m->msi.send(x->m->msi.chip, BASE | 3 << 12, 0x8044);		/* level, de-assert */
	assert_int_equal(ack(x, 3), -1);
	x->m->msi.send(x->m->msi.chip, 0x12345678, 0x44);		/* not there */
	assert_int_equal(ack(x, 0), -1);
	/* A device's write through memory is one too; a vCPU's is not. */
	bus_write(x->m->mmio, NULL, BASE | 3 << 12, 0x4046, 4);
	assert_int_equal(ack(x, 3), 0x46);
	wr(x, 3, EOI, 0);
	bus_write(x->m->mmio, x->m->cpu[0], BASE | 3 << 12, 0x4046, 4);
	assert_int_equal(ack(x, 3), -1);
}

static u32 flag(struct ctx *x, u64 gpa)
{
	u32 v;

	assert_true(ram_read(x->m->ram, gpa, &v, 4));
	return v;
}
static void clear_flag(struct ctx *x, u64 gpa)
{
	u32 v = flag(x, gpa) & ~1u;

	assert_true(ram_write(x->m->ram, gpa, &v, 4));
}

static void pv_eoi(void **st)
{
	struct ctx *x = *st;
	const u64 gpa = 0x5004, rom_gpa = 0xffff0000;
	const u8 rom[4096] = { 0 };
	struct apic_msg msg = { .dest = 0, .vector = 0x41 };
	struct err e = { 0 };

	assert_int_equal(wrmsr(x, 0, MSR_KVM_PV_EOI, gpa | 3), -EPERM);
	assert_int_equal(wrmsr(x, 0, MSR_KVM_PV_EOI, (1ull << 40) | 1), -EPERM);
	assert_int_equal(wrmsr(x, 0, MSR_KVM_PV_EOI, gpa | 1), 0);
	assert_int_equal(msr(x, 0, MSR_KVM_PV_EOI), gpa | 1);
	/* Alone: the guest may clear the flag instead of writing EOI. */
	apic_bus_deliver(x->b, &msg);
	assert_int_equal(ack(x, 0), 0x41);
	assert_int_equal(flag(x, gpa), 1);
	clear_flag(x, gpa);
	assert_false(pending(x, 0));
	assert_int_equal(rd(x, 0, ISR + 0x20), 0);
	/* Another one comes meanwhile: the offer is taken back, a real EOI is needed. */
	apic_bus_deliver(x->b, &msg);
	ack(x, 0);
	assert_int_equal(flag(x, gpa), 1);
	msg.vector = 0x42;
	apic_bus_deliver(x->b, &msg);
	assert_int_equal(flag(x, gpa), 1);	/* not by another thread... */
	assert_false(pending(x, 0));		/* ... but when the vCPU looks */
	assert_int_equal(flag(x, gpa), 0);
	asked(x, 0);
	wr(x, 0, EOI, 0);
	assert_int_equal(asked(x, 0), VCPU_REQ_IRQ);
	assert_int_equal(ack(x, 0), 0x42);
	/* The guest cleared it just before: that was the EOI, and the next is delivered. */
	assert_int_equal(flag(x, gpa), 1);
	msg.vector = 0x43;
	apic_bus_deliver(x->b, &msg);
	clear_flag(x, gpa);
	assert_true(pending(x, 0));
	assert_int_equal(ack(x, 0), 0x43);
	assert_int_equal(rd(x, 0, ISR + 0x20), 1u << 3);	/* 42 is done */
	/* A write to EOI although the flag stood: one EOI, not two. */
	assert_int_equal(flag(x, gpa), 0);	/* the read took it back */
	wr(x, 0, EOI, 0);
	/* Level-triggered ones must be broadcast: no offer. Nor when others wait. */
	msg.level = true;
	apic_bus_deliver(x->b, &msg);
	ack(x, 0);
	assert_int_equal(flag(x, gpa), 0);
	wr(x, 0, EOI, 0);
	assert_int_equal(x->neoi, 1);
	msg.level = false;
	apic_bus_deliver(x->b, &msg);
	msg.vector = 0x20;
	apic_bus_deliver(x->b, &msg);
	ack(x, 0);
	assert_int_equal(flag(x, gpa), 0);
	wr(x, 0, EOI, 0);
	ack(x, 0);
	assert_int_equal(flag(x, gpa), 1);
	assert_int_equal(wrmsr(x, 0, MSR_KVM_PV_EOI, 0), 0);
	assert_int_equal(flag(x, gpa), 0);
	wr(x, 0, EOI, 0);
	/* A flag in ROM: there is none. */
	assert_int_equal(ram_add_rom(x->m->ram, rom_gpa, rom, sizeof(rom), &e), 0);
	wrmsr(x, 0, MSR_KVM_PV_EOI, rom_gpa | 1);
	ack(x, 0);
	apic_bus_deliver(x->b, &msg);
	assert_int_equal(ack(x, 0), msg.vector);
	assert_int_equal(flag(x, rom_gpa), 0);
	wrmsr(x, 0, MSR_KVM_PV_EOI, 0);
	wr(x, 0, EOI, 0);
	wr(x, 0, EOI, 0);
	assert_int_equal(rd(x, 0, PPR), 0);
}

static void saved(void **st)
{
	struct ctx *x = *st, y = { 0 };
	struct err e = { 0 };
	struct apic_msg msg = { .dest = 0xff, .vector = 0x41 };

	apic_bus_deliver(x->b, &msg);
	msg.vector = 0x81;
	apic_bus_deliver(x->b, &msg);
	ack(x, 1);
	wr(x, 0, LVTT, 0x20099);
	wr(x, 0, TMICT, 123456);
	wrmsr(x, 2, MSR_APIC_BASE, BASE | 0xc00);
	wr(x, 3, LVTT, 0x4009a);
	wrmsr(x, 3, MSR_TSC_DEADLINE, clock_tsc(x->m->clock) + 500000);
	wrmsr(x, 1, MSR_APIC_BASE, 0xfed40000 | 0x800);
	pass(x->m, 100 * US);
	y.m = dt_machine(NCPUS);
	assert_int_equal(apic_bus_add(y.m, &y.b, &e), 0);
	clock_set(y.m->clock, now(x->m));
	for (unsigned i = 0; i < NCPUS; i++)
		dev_copy(&lapic_class, x->m->cpu[i]->intc, y.m->cpu[i]->intc);
	for (unsigned k = 0; k < 50; k++) {
		pass(x->m, 100 * US);
		pass(y.m, 100 * US);
		for (unsigned i = 0; i < NCPUS; i++) {
			assert_int_equal(pending(x, i), pending(&y, i));
			assert_int_equal(ack(x, i), ack(&y, i));
			for (unsigned r = 0; r < 0x400; r += 16)
				assert_int_equal(rd(x, i, r), rd(&y, i, r));
			if (k % 3 == 0) {
				wr(x, i, EOI, 0);
				wr(&y, i, EOI, 0);
			}
		}
	}
	assert_int_equal(bus_read(y.m->mmio, y.m->cpu[1], 0xfed40000 + ID, 4), 1u << 24);
	/* What no guest could have made is refused. */
	struct stream s = { 0 };
	u64 wrong[] = { BASE | 0x400, BASE | 0x801, 1ull << 60 };
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		dev_save(&lapic_class, y.m->cpu[0]->intc, &s);
		memcpy(stream_field(&s, "base_msr"), &wrong[i], 8);
		assert_true(dev_load(&lapic_class, y.m->cpu[0]->intc, &s, &e) < 0);
		free(s.p);
	}
	machine_free(y.m);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(power_on), T(registers), T(priorities), T(level_eoi), T(destinations),
		T(lowest_priority), T(ipis), T(pv_ipis), T(init_keeps_base), T(errors),
		T(timer_oneshot), T(timer_mode_change),
		T(timer_periodic), T(timer_deadline), T(modes), T(relocation), T(x2apic), T(extint),
		T(lint_level), T(msis), T(pv_eoi), T(saved),
	};

	return cmocka_run_group_tests_name("lapic", tests, NULL, NULL);
}
