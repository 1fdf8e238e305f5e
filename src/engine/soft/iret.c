/* SPDX-License-Identifier: GPL-2.0-or-later */
/* iret.c - return from interrupts in all modes: real, virtual-8086 (with and without VME),
 * protected to the same or an outer level or to virtual-8086 mode, nested tasks, long mode.
 * After: Intel SDM vol. 2, IRET; vol. 3, 20.3 (virtual-8086), 6.7.1 (NMI blocking). */
#include "engine/soft/seg.h"

#define FL_ARITH_ETC (FL_OSZAPC | FL_TF | FL_DF | FL_NT)

static void set_flags(struct cpu *c, u64 val, u64 mask)
{
	cpu_set_rflags(c, (cpu_get_rflags(c) & ~mask) | (val & mask));
}

struct frame { u64 ip, fl; u16 cs; };

static void pop_frame(struct cpu *c, struct stk *s, struct frame *f, unsigned opsize)
{
	f->ip = stk_pop(c, s, opsize);
	f->cs = stk_pop(c, s, opsize);
	f->fl = stk_pop(c, s, opsize);
}

static void iret_real(struct cpu *c, unsigned opsize)
{
	u64 mask = FL_ARITH_ETC | FL_IF | FL_IOPL;
	struct frame f;
	struct stk s;

	stk_current(c, &s);
	pop_frame(c, &s, &f, opsize);
	if (f.ip > c->seg[SEG_CS].limit)
		raise_gp(c, 0);
	if (opsize == 4)
		mask |= FL_RF | FL_AC | FL_ID;
	stk_commit(c, &s);
	seg_load_real(c, SEG_CS, f.cs);
	set_flags(c, f.fl, mask);
	c->rip = c->next_rip = f.ip;
	cpu_mode_changed(c);
}

static void iret_v86(struct cpu *c, unsigned opsize)
{
	u64 mask = FL_ARITH_ETC | FL_IF;
	struct frame f;
	struct stk s;

	if (cpu_iopl(c) < 3 && (!(c->cr4 & CR4_VME) || opsize != 2))
		raise_gp(c, 0);
	stk_current(c, &s);
	pop_frame(c, &s, &f, opsize);
	if (cpu_iopl(c) < 3) {
		/* The virtual interrupt flag stands in for IF. */
		if ((f.fl & FL_TF) || ((f.fl & FL_IF) && (c->rflags & FL_VIP)))
			raise_gp(c, 0);
		f.fl = (f.fl & ~(u64)FL_VIF) | (f.fl & FL_IF ? FL_VIF : 0);
		mask = FL_ARITH_ETC | FL_VIF;
	}
	if (f.ip > 0xffff)
		raise_gp(c, 0);
	if (opsize == 4)
		mask |= FL_RF | FL_AC | FL_ID;
	stk_commit(c, &s);
	seg_load_real(c, SEG_CS, f.cs);
	set_flags(c, f.fl, mask);
	c->rip = c->next_rip = f.ip;
	cpu_mode_changed(c);
}

static void iret_to_v86(struct cpu *c, struct stk *s, const struct frame *f)
{
	static const u8 order[] = { SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS };
	u16 sel[ARRAY_SIZE(order)];
	u32 sp;

	sp = stk_pop(c, s, 4);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		sel[i] = stk_pop(c, s, 4);
	if (f->ip > 0xffff)
		raise_gp(c, 0);
	set_flags(c, f->fl, FL_ARITH_ETC | FL_IF | FL_IOPL | FL_RF | FL_VM | FL_AC | FL_VIF |
		  FL_VIP | FL_ID);
	seg_load_real(c, SEG_CS, f->cs);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		seg_load_real(c, order[i], sel[i]);
	c->r[RSP] = sp;
	c->cpl = 3;
	c->rip = c->next_rip = f->ip;
	cpu_mode_changed(c);
}

static void iret_task(struct cpu *c)
{
	u16 link = lin_ld(c, (u32)c->seg[SEG_TR].base, 2, AS_SYSTEM);

	task_switch(c, link, TASK_IRET, false, 0);
}

static void iret_protected(struct cpu *c, unsigned opsize)
{
	u64 mask = FL_ARITH_ETC, sp = 0;
	struct desc cs, ss;
	struct frame f;
	struct stk s;
	u16 ss_sel = 0;
	bool outer, pops_ss, ss_null = false;

	if (c->rflags & FL_NT) {
		if (cpu_long(c))
			raise_gp(c, 0);
		iret_task(c);
		return;
	}
	stk_current(c, &s);
	pop_frame(c, &s, &f, opsize);
	if ((f.fl & FL_VM) && c->cpl == 0 && opsize == 4 && !cpu_long(c)) {
		iret_to_v86(c, &s, &f);
		return;
	}
	ret_check_cs(c, f.cs, &cs);
	outer = (f.cs & 3) > c->cpl;
	pops_ss = outer || c->lma64;
	if (pops_ss) {
		sp = stk_pop(c, &s, opsize);
		ss_sel = stk_pop(c, &s, opsize);
		ss_null = ret_check_ss(c, ss_sel, &cs, f.cs, &ss);
	}
	code_check_target(c, &cs, f.ip);

	if (opsize != 2)
		mask |= FL_RF | FL_AC | FL_ID;
	if (c->cpl <= cpu_iopl(c))
		mask |= FL_IF;
	if (c->cpl == 0) {
		mask |= FL_IOPL;
		if (opsize != 2)
			mask |= FL_VIF | FL_VIP;
	}
	desc_set_accessed(c, &cs);
	if (pops_ss) {
		if (ss_null) {
			seg_set_null(c, SEG_SS, ss_sel);
		} else {
			desc_set_accessed(c, &ss);
			seg_set(c, SEG_SS, ss_sel, &ss);
		}
		s.mask = desc_is_code64(c, &cs) ? ~0ull :
			 c->seg[SEG_SS].attr & SEG_A_DB ? 0xffffffff : 0xffff;
		s.sp = sp;
	}
	stk_commit(c, &s);
	set_flags(c, f.fl, mask);
	code_commit(c, &cs, f.cs & 3, f.ip);
	if (outer) {
		seg_drop_inner(c, c->cpl);
		cpu_mode_changed(c);
	}
}

void do_iret(struct cpu *c, unsigned opsize)
{
	/* Also when it faults: the handler's own IRET has to come through first otherwise. */
	c->nmi_blocked = false;
	if (!cpu_protected(c))
		iret_real(c, opsize);
	else if (cpu_v86(c))
		iret_v86(c, opsize);
	else
		iret_protected(c, opsize);
	cpu_look(c);
}
