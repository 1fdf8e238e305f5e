/* SPDX-License-Identifier: GPL-2.0-or-later */
/* except.c - faults on their way, and delivery of exceptions and interrupts through the real-mode
 * vector table, the protected-mode and the long-mode IDT.
 * After: Intel SDM vol. 3, ch. 6, 20.3 (virtual-8086), vol. 2 INT n; AMD APM vol. 2, ch. 8.
 *
 * An exec function that finds a fault calls cpu_raise(): a long jump to whoever set c->catch, as a
 * rule run.c, which then calls deliver(). A fault while delivering is caught here and decides by
 * the double fault rules what is delivered instead; the third is a shutdown. INT n and its kin
 * are instructions: their faults are those of any other instruction.
 *
 * What is pushed as return address is c->next_rip: deliver() makes it c->rip, where faults and
 * interrupts come back to; for INT n it is the following instruction. */
#include "engine/soft/mmu.h"
#include "engine/soft/seg.h"

#include "base/trace.h"

DEFINE_TRACE(exception, "cpu.exception");
DEFINE_TRACE(interrupt, "cpu.interrupt");
DEFINE_TRACE(shutdown, "cpu.shutdown");

/* --- raising --- */

static _Noreturn void raise_it(struct cpu *c, unsigned vector, bool has_error, u32 error)
{
	if (c->mmu)
		mem_split_unlock(c);
	c->exc.vector = vector;
	c->exc.has_error = has_error;
	c->exc.soft = false;
	c->exc.error = error;
	siglongjmp(c->catch, 1);
}

_Noreturn void cpu_raise(struct cpu *c, unsigned vector)
{
	raise_it(c, vector, false, 0);
}

_Noreturn void cpu_raise_err(struct cpu *c, unsigned vector, u32 error)
{
	if (vector >= EXC_TS && vector <= EXC_GP)
		error |= c->ext;
	raise_it(c, vector, true, error);
}

_Noreturn void raise_pf(struct cpu *c, u64 la, u32 error)
{
	c->cr2 = la;
	cpu_raise_err(c, EXC_PF, error);
}

/* --- what an event is --- */

static bool is_fault(unsigned vector, enum int_kind kind)
{
	if (kind != INT_EXC)
		return false;
	switch (vector) {
	case EXC_DB: case EXC_NMI: case EXC_BP: case EXC_OF: case EXC_DF: case EXC_MC:
		return false;
	}
	return true;
}

static bool is_soft(enum int_kind kind)
{
	return kind == INT_SOFT || kind == INT_SOFT3;
}

/* SDM vol. 3, table 6-5. */
enum fault_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };
static enum fault_class class_of(unsigned vector, enum int_kind kind)
{
	if (kind != INT_EXC)
		return BENIGN;
	switch (vector) {
	case EXC_DE: case EXC_TS: case EXC_NP: case EXC_SS: case EXC_GP:
		return CONTRIBUTORY;
	case EXC_PF:
		return PAGE_FAULT;
	case EXC_DF:
		return DOUBLE_FAULT;
	}
	return BENIGN;
}

struct event {
	u8 vector;
	u8 kind;		/* enum int_kind */
	bool has_error;
	u32 error;
};

static u64 pushed_flags(const struct cpu *c, const struct event *ev)
{
	u64 fl = cpu_get_rflags(c);

	return is_fault(ev->vector, ev->kind) ? fl | FL_RF : fl;
}

/* The error code of a fault on this event's IDT entry. */
static u32 idt_err(const struct event *ev)
{
	return ev->vector * 8 + 2;
}

/* The handler starts: what is common to all modes. */
static void enter_handler(struct cpu *c, const struct event *ev, u64 clear)
{
	cpu_set_rflags(c, cpu_get_rflags(c) & ~clear);
	c->step_trap = false;
	c->shadow = 0;
	if (ev->kind == INT_NMI)
		c->nmi_blocked = true;
	cpu_look(c);
}

/* --- real mode --- */

static void through_ivt(struct cpu *c, const struct event *ev, u64 table, u64 flags, u64 clear)
{
	struct stk s;
	u64 off;
	u16 sel;

	off = lin_ld(c, (u32)(table + ev->vector * 4), 2, AS_CURRENT);
	sel = lin_ld(c, (u32)(table + ev->vector * 4 + 2), 2, AS_CURRENT);
	stk_current(c, &s);
	stk_need(c, &s, 6);
	if (!cpu_v86(c) && off > c->seg[SEG_CS].limit)
		raise_gp(c, 0);
	stk_push(c, &s, flags, 2);
	stk_push(c, &s, c->seg[SEG_CS].sel, 2);
	stk_push(c, &s, c->next_rip, 2);
	stk_commit(c, &s);
	seg_load_real(c, SEG_CS, sel);
	c->rip = c->next_rip = off;
	enter_handler(c, ev, clear);
	cpu_mode_changed(c);
}

static void deliver_real(struct cpu *c, const struct event *ev)
{
	if (ev->vector * 4u + 3 > c->idtr.limit)
		raise_gp(c, idt_err(ev));
	through_ivt(c, ev, c->idtr.base, cpu_get_rflags(c), FL_IF | FL_TF | FL_AC | FL_RF);
}

/* --- virtual-8086 mode's INT n (SDM vol. 3, 20.3.3, table 20-2) --- */

/* The redirection bitmap: 32 bytes below the I/O bitmap. True: to the 8086 program's handler. */
static bool vme_redirected(struct cpu *c, unsigned vector)
{
	const struct cpu_seg *tr = &c->seg[SEG_TR];
	u32 off;

	if (!(tr->attr & 8) || tr->limit < 103)
		raise_gp(c, 0);
	off = lin_ld(c, (u32)(tr->base + 0x66), 2, AS_SYSTEM);
	if (off < 32 || off - 32 + vector / 8 > tr->limit)
		raise_gp(c, 0);
	return !(lin_ld(c, (u32)(tr->base + off - 32 + vector / 8), 1, AS_SYSTEM) >> vector % 8 & 1);
}

/* True when it was handled here; false: through the IDT. */
static bool v86_soft_int(struct cpu *c, const struct event *ev)
{
	u64 flags = cpu_get_rflags(c);

	if (c->cr4 & CR4_VME && vme_redirected(c, ev->vector)) {
		if (cpu_iopl(c) == 3) {
			through_ivt(c, ev, 0, flags, FL_IF | FL_TF | FL_RF);
			return true;
		}
		flags = (flags & ~(u64)FL_IF) | FL_IOPL | (flags & FL_VIF ? FL_IF : 0);
		through_ivt(c, ev, 0, flags, FL_VIF | FL_TF | FL_RF);
		return true;
	}
	if (cpu_iopl(c) < 3)
		raise_gp(c, 0);
	return false;
}

/* --- protected mode --- */

static void through_task_gate(struct cpu *c, const struct event *ev, u16 tss_sel)
{
	if (ev->kind == INT_NMI)
		c->nmi_blocked = true;
	c->step_trap = false;
	c->shadow = 0;
	/* A fault's RF belongs into the flags that the old TSS keeps. */
	cpu_set_rflags(c, pushed_flags(c, ev));
	task_switch(c, tss_sel, TASK_INT, ev->has_error, ev->error);
}

/* The handler's code segment, for gates of all sizes. */
static void handler_cs(struct cpu *c, u16 sel, struct desc *cs)
{
	if (SEL_NULL(sel))
		raise_gp(c, 0);
	desc_need(c, sel, cs, EXC_GP);
	if (!desc_is_code(cs) || desc_dpl(cs) > c->cpl)
		raise_gp(c, SEL_ERR(sel));
	if (cpu_long(c) && (cs->attr & (SEG_A_L | SEG_A_DB)) != SEG_A_L)
		raise_gp(c, SEL_ERR(sel));
	if (!desc_present(cs))
		cpu_raise_err(c, EXC_NP, SEL_ERR(sel));
}

static void through_gate32(struct cpu *c, const struct event *ev, const struct desc *gate,
			   unsigned size)
{
	static const u8 v86_segs[] = { SEG_GS, SEG_FS, SEG_DS, SEG_ES };
	u64 clear = FL_TF | FL_VM | FL_RF | FL_NT;
	bool v86 = cpu_v86(c), inner;
	u16 sel = gate->lo >> 16, ss = 0;
	struct desc cs, ssd;
	u32 off, sp = 0;
	unsigned cpl;
	struct stk s;

	off = gate->lo & 0xffff;
	if (size == 4)
		off |= gate->hi & 0xffff0000;
	handler_cs(c, sel, &cs);
	inner = !desc_is_conforming(&cs) && desc_dpl(&cs) < c->cpl;
	if (v86 && (!inner || desc_dpl(&cs) != 0))
		raise_gp(c, SEL_ERR(sel));
	cpl = inner ? desc_dpl(&cs) : c->cpl;
	if (inner) {
		tss_stack(c, cpl, &ss, &sp);
		tss_stack_desc(c, ss, cpl, &ssd);
		stk_new(c, &s, &ssd, sp, cpl);
		stk_need(c, &s, ((v86 ? 9 : 5) + ev->has_error) * size);
	} else {
		stk_current(c, &s);
		stk_need(c, &s, (3 + ev->has_error) * size);
	}
	code_check_target(c, &cs, off);

	if (v86)
		for (unsigned i = 0; i < ARRAY_SIZE(v86_segs); i++)
			stk_push(c, &s, c->seg[v86_segs[i]].sel, size);
	if (inner) {
		stk_push(c, &s, c->seg[SEG_SS].sel, size);
		stk_push(c, &s, c->r[RSP], size);
	}
	stk_push(c, &s, pushed_flags(c, ev), size);
	stk_push(c, &s, c->seg[SEG_CS].sel, size);
	stk_push(c, &s, c->next_rip, size);
	if (ev->has_error)
		stk_push(c, &s, ev->error, size);
	desc_set_accessed(c, &cs);
	if (inner) {
		desc_set_accessed(c, &ssd);
		seg_set(c, SEG_SS, ss, &ssd);
	}
	if (v86)
		for (unsigned i = 0; i < ARRAY_SIZE(v86_segs); i++)
			seg_set_null(c, v86_segs[i], 0);
	stk_commit(c, &s);
	if (!(desc_type(gate) & 1))
		clear |= FL_IF;
	enter_handler(c, ev, clear);
	code_commit(c, &cs, cpl, off);
}

static void deliver_protected(struct cpu *c, const struct event *ev)
{
	struct desc gate = { 0 };
	u64 raw;

	if (ev->vector * 8u + 7 > c->idtr.limit)
		raise_gp(c, idt_err(ev));
	raw = lin_ld(c, (u32)(c->idtr.base + ev->vector * 8), 8, AS_SYSTEM);
	gate.lo = raw;
	gate.hi = raw >> 32;
	gate.attr = (gate.hi >> 8) & 0xff;
	if (!desc_is_system(&gate))
		raise_gp(c, idt_err(ev));
	switch (desc_type(&gate)) {
	case DT_TASK: case DT_INT16: case DT_TRAP16: case DT_INT: case DT_TRAP:
		break;
	default:
		raise_gp(c, idt_err(ev));
	}
	if (is_soft(ev->kind) && desc_dpl(&gate) < c->cpl)
		raise_gp(c, idt_err(ev));
	if (!desc_present(&gate))
		cpu_raise_err(c, EXC_NP, idt_err(ev));
	if (desc_type(&gate) == DT_TASK)
		through_task_gate(c, ev, gate.lo >> 16);
	else
		through_gate32(c, ev, &gate, desc_type(&gate) & 8 ? 4 : 2);
}

/* --- long mode --- */

static void deliver_long(struct cpu *c, const struct event *ev)
{
	u64 clear = FL_TF | FL_VM | FL_RF | FL_NT, off, lo, hi, sp, la;
	struct desc gate = { 0 }, cs;
	unsigned cpl, ist;
	struct stk s;
	bool inner;

	if (ev->vector * 16u + 15 > c->idtr.limit)
		raise_gp(c, idt_err(ev));
	la = c->idtr.base + ev->vector * 16;
	lo = lin_ld(c, la, 8, AS_SYSTEM);
	hi = lin_ld(c, la + 8, 8, AS_SYSTEM);
	gate.hi = lo >> 32;
	gate.attr = (gate.hi >> 8) & 0xff;
	if (!desc_is_system(&gate) ||
	    (desc_type(&gate) != DT_INT && desc_type(&gate) != DT_TRAP))
		raise_gp(c, idt_err(ev));
	if (is_soft(ev->kind) && desc_dpl(&gate) < c->cpl)
		raise_gp(c, idt_err(ev));
	if (!desc_present(&gate))
		cpu_raise_err(c, EXC_NP, idt_err(ev));
	off = (lo & 0xffff) | (lo >> 32 & 0xffff0000) | hi << 32;
	ist = gate.hi & 7;
	handler_cs(c, (u32)lo >> 16, &cs);
	inner = !desc_is_conforming(&cs) && desc_dpl(&cs) < c->cpl;
	cpl = inner ? desc_dpl(&cs) : c->cpl;
	if (ist)
		sp = tss_stack64(c, ist + 3);
	else if (inner)
		sp = tss_stack64(c, cpl);
	else
		sp = c->stack_size == 8 ? c->r[RSP] : (u32)c->r[RSP];
	sp &= ~15ull;
	stk_new64(c, &s, sp, cpl);
	stk_need(c, &s, (5 + ev->has_error) * 8);
	code_check_target(c, &cs, off);

	stk_push(c, &s, c->seg[SEG_SS].sel, 8);
	stk_push(c, &s, c->r[RSP], 8);
	stk_push(c, &s, pushed_flags(c, ev), 8);
	stk_push(c, &s, c->seg[SEG_CS].sel, 8);
	stk_push(c, &s, c->next_rip, 8);
	if (ev->has_error)
		stk_push(c, &s, ev->error, 8);
	desc_set_accessed(c, &cs);
	if (inner)
		seg_set_null(c, SEG_SS, cpl);
	stk_commit(c, &s);
	if (!(desc_type(&gate) & 1))
		clear |= FL_IF;
	enter_handler(c, ev, clear);
	code_commit(c, &cs, cpl, off);
}

/* One attempt; may raise. */
static void deliver_once(struct cpu *c, const struct event *ev)
{
	c->ext = !is_soft(ev->kind);
	if (!cpu_protected(c))
		deliver_real(c, ev);
	else if (cpu_long(c))
		deliver_long(c, ev);
	else if (!(cpu_v86(c) && ev->kind == INT_SOFT && v86_soft_int(c, ev)))
		deliver_protected(c, ev);
	c->ext = false;
	if (ev->vector == EXC_DB && !is_soft(ev->kind))
		c->dr[7] &= ~0x2000ull;		/* GD: the handler may use the registers */
}

void deliver_soft(struct cpu *c, unsigned vector, enum int_kind kind)
{
	struct event ev = { .vector = vector, .kind = kind };

	TRACE(interrupt, "vcpu=%u soft vector=%#x rip=%#llx", c->v ? c->v->index : 0, vector,
	      (unsigned long long)c->rip);
	deliver_once(c, &ev);
}

/* What the second of two faults becomes. False: shutdown. */
static bool combine(const struct event *first, struct event *second)
{
	enum fault_class a = class_of(first->vector, first->kind);
	enum fault_class b = class_of(second->vector, INT_EXC);

	if (a == BENIGN || b == BENIGN)
		return true;
	if (a == DOUBLE_FAULT)
		return false;
	if (a == CONTRIBUTORY && b == PAGE_FAULT)
		return true;
	*second = (struct event){ .vector = EXC_DF, .kind = INT_EXC, .has_error = true };
	return true;
}

void deliver(struct cpu *c, unsigned vector, enum int_kind kind, bool has_error, u32 error)
{
	volatile struct event cur = { .vector = vector, .kind = kind, .has_error = has_error,
				      .error = error };
	sigjmp_buf outer;

	if (kind == INT_EXC)
		TRACE(exception, "vcpu=%u vector=%u error=%#x cs:rip=%04x:%#llx cr2=%#llx",
		      c->v ? c->v->index : 0, vector, error, c->seg[SEG_CS].sel,
		      (unsigned long long)c->rip, (unsigned long long)c->cr2);
	else
		TRACE(interrupt, "vcpu=%u vector=%#x cs:rip=%04x:%#llx", c->v ? c->v->index : 0,
		      vector, c->seg[SEG_CS].sel, (unsigned long long)c->rip);

	c->activity = CPU_RUNNING;
	__builtin_memcpy(&outer, &c->catch, sizeof(outer));
	for (;;) {
		struct event ev, next;

		ev.vector = cur.vector;
		ev.kind = cur.kind;
		ev.has_error = cur.has_error && cpu_protected(c);
		ev.error = cur.error;
		c->delivering = ev.vector;
		c->next_rip = c->rip;
		if (sigsetjmp(c->catch, 0) == 0) {
			deliver_once(c, &ev);
			break;
		}
		if (unlikely(c->mmu->lost)) {	/* no fault of the guest's: out */
			__builtin_memcpy(&c->catch, &outer, sizeof(outer));
			mmu_lost(c);
		}
		c->ext = false;
		next = (struct event){ .vector = c->exc.vector, .kind = INT_EXC,
				       .has_error = c->exc.has_error, .error = c->exc.error };
		ev.vector = cur.vector;
		ev.kind = cur.kind;
		if (!combine(&ev, &next)) {
			TRACE(shutdown, "vcpu=%u cs:rip=%04x:%#llx", c->v ? c->v->index : 0,
			      c->seg[SEG_CS].sel, (unsigned long long)c->rip);
			c->activity = CPU_SHUTDOWN;
			cpu_look(c);
			break;
		}
		TRACE(exception, "vcpu=%u vector=%u error=%#x while delivering %u",
		      c->v ? c->v->index : 0, next.vector, next.error, cur.vector);
		cur.vector = next.vector;
		cur.kind = INT_EXC;
		cur.has_error = next.has_error;
		cur.error = next.error;
	}
	__builtin_memcpy(&c->catch, &outer, sizeof(outer));
	c->delivering = -1;
}
