/* SPDX-License-Identifier: GPL-2.0-or-later */
/* task.c - the hardware task switch: by JMP, CALL, IRET and through task gates of the IDT, with
 * 16- and 32-bit TSSs.
 * After: Intel SDM vol. 3, 8.2 and 8.3 (7.2 and 7.3 in older editions), table 8-1; 17.2.4 (DR7).
 *
 * Up to the commit point all is checked and both segments are probed: faults belong to the old
 * task. Then the old state is written, TR is loaded, and every selector of the new task stands in
 * its register; faults from loading what is behind them belong to the new task's first
 * instruction (c->rip is its EIP). */
#include "engine/soft/seg.h"

/* Offsets in a 32-bit TSS (SDM vol. 3, figure 8-2) and a 16-bit one (figure 8-10). */
enum tss32 {
	T32_LINK = 0, T32_CR3 = 0x1c, T32_EIP = 0x20, T32_EFLAGS = 0x24, T32_EAX = 0x28,
	T32_ES = 0x48, T32_LDT = 0x60, T32_TRAP = 0x64, T32_SIZE = 0x68,
};
enum tss16 {
	T16_LINK = 0, T16_IP = 0x0e, T16_FLAGS = 0x10, T16_AX = 0x12, T16_ES = 0x22, T16_LDT = 0x2a,
	T16_SIZE = 0x2c,
};
/* The order of segment registers in the TSS is that of enum seg. */
#define NSEG32 6
#define NSEG16 4

struct task {
	u64 cr3;
	u32 eip, eflags, gpr[8];
	u16 sel[NSEG32], ldt;
	bool trap;
};

static u64 tss_ld(struct cpu *c, u64 base, unsigned off, unsigned size)
{
	return lin_ld(c, (u32)(base + off), size, AS_SYSTEM);
}

static void tss_st(struct cpu *c, u64 base, unsigned off, u64 val, unsigned size)
{
	lin_st(c, (u32)(base + off), val, size, AS_SYSTEM);
}

/* Both pages of a TSS that lies on two; a TSS may wrap at 4 GiB. */
static void tss_probe(struct cpu *c, u64 base, unsigned first, unsigned len, bool write)
{
	lin_probe(c, (u32)(base + first), 1, write, AS_SYSTEM);
	lin_probe(c, (u32)(base + first + len - 1), 1, write, AS_SYSTEM);
}

static void task_read(struct cpu *c, u64 base, bool is32, struct task *t)
{
	*t = (struct task){ 0 };
	if (is32) {
		t->cr3 = tss_ld(c, base, T32_CR3, 4);
		t->eip = tss_ld(c, base, T32_EIP, 4);
		t->eflags = tss_ld(c, base, T32_EFLAGS, 4);
		for (unsigned i = 0; i < 8; i++)
			t->gpr[i] = tss_ld(c, base, T32_EAX + 4 * i, 4);
		for (unsigned i = 0; i < NSEG32; i++)
			t->sel[i] = tss_ld(c, base, T32_ES + 4 * i, 2);
		t->ldt = tss_ld(c, base, T32_LDT, 2);
		t->trap = tss_ld(c, base, T32_TRAP, 1) & 1;
	} else {
		t->eip = tss_ld(c, base, T16_IP, 2);
		t->eflags = tss_ld(c, base, T16_FLAGS, 2);
		for (unsigned i = 0; i < 8; i++)
			t->gpr[i] = 0xffff0000 | tss_ld(c, base, T16_AX + 2 * i, 2);
		for (unsigned i = 0; i < NSEG16; i++)
			t->sel[i] = tss_ld(c, base, T16_ES + 2 * i, 2);
		t->ldt = tss_ld(c, base, T16_LDT, 2);
	}
}

static void task_save(struct cpu *c, u64 base, bool is32, u64 eflags)
{
	if (is32) {
		tss_st(c, base, T32_EIP, (u32)c->next_rip, 4);
		tss_st(c, base, T32_EFLAGS, eflags, 4);
		for (unsigned i = 0; i < 8; i++)
			tss_st(c, base, T32_EAX + 4 * i, (u32)c->r[i], 4);
		for (unsigned i = 0; i < NSEG32; i++)
			tss_st(c, base, T32_ES + 4 * i, c->seg[i].sel, 2);
	} else {
		tss_st(c, base, T16_IP, (u16)c->next_rip, 2);
		tss_st(c, base, T16_FLAGS, (u16)eflags, 2);
		for (unsigned i = 0; i < 8; i++)
			tss_st(c, base, T16_AX + 2 * i, (u16)c->r[i], 2);
		for (unsigned i = 0; i < NSEG16; i++)
			tss_st(c, base, T16_ES + 2 * i, c->seg[i].sel, 2);
	}
}

/* --- loading what the new task's selectors name; faults in its context --- */

static _Noreturn void raise_ts(struct cpu *c, u16 sel)
{
	cpu_raise_err(c, EXC_TS, SEL_ERR(sel));
}

static void load_ldt(struct cpu *c, u16 sel)
{
	struct desc d;

	if (SEL_NULL(sel))
		return;
	if (sel & SEL_TI)
		raise_ts(c, sel);
	desc_need(c, sel, &d, EXC_TS);
	if (!desc_is_system(&d) || desc_type(&d) != DT_LDT || !desc_present(&d))
		raise_ts(c, sel);
	seg_set(c, SEG_LDTR, sel, &d);
}

static void load_cs(struct cpu *c, u16 sel)
{
	unsigned rpl = sel & 3;
	struct desc d;

	if (SEL_NULL(sel))
		raise_ts(c, sel);
	desc_need(c, sel, &d, EXC_TS);
	if (!desc_is_code(&d) ||
	    (desc_is_conforming(&d) ? desc_dpl(&d) > rpl : desc_dpl(&d) != rpl))
		raise_ts(c, sel);
	if (!desc_present(&d))
		cpu_raise_err(c, EXC_NP, SEL_ERR(sel));
	desc_set_accessed(c, &d);
	seg_set(c, SEG_CS, sel, &d);
}

static void load_ss(struct cpu *c, u16 sel)
{
	struct desc d;

	if (SEL_NULL(sel))
		raise_ts(c, sel);
	desc_need(c, sel, &d, EXC_TS);
	if (!desc_is_wdata(&d) || (sel & 3) != c->cpl || desc_dpl(&d) != c->cpl)
		raise_ts(c, sel);
	if (!desc_present(&d))
		cpu_raise_err(c, EXC_SS, SEL_ERR(sel));
	desc_set_accessed(c, &d);
	seg_set(c, SEG_SS, sel, &d);
}

static void load_data(struct cpu *c, unsigned seg, u16 sel)
{
	struct desc d;

	if (SEL_NULL(sel))
		return;
	desc_need(c, sel, &d, EXC_TS);
	if (!desc_is_readable(&d))
		raise_ts(c, sel);
	if (!(desc_is_code(&d) && desc_is_conforming(&d)) &&
	    (desc_dpl(&d) < c->cpl || desc_dpl(&d) < (sel & 3)))
		raise_ts(c, sel);
	if (!desc_present(&d))
		cpu_raise_err(c, EXC_NP, SEL_ERR(sel));
	desc_set_accessed(c, &d);
	seg_set(c, seg, sel, &d);
}

/* Registers of the new task, without anything that can fault. */
static void task_enter(struct cpu *c, const struct task *t)
{
	bool v86 = t->eflags & FL_VM;

	for (unsigned i = 0; i < 8; i++)
		c->r[i] = t->gpr[i];
	for (unsigned i = 0; i < NSEG32; i++)
		seg_set_null(c, i, t->sel[i]);
	seg_set_null(c, SEG_LDTR, t->ldt);
	cpu_set_rflags(c, (t->eflags & (FL_OSZAPC | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF |
					FL_VM | FL_AC | FL_VIF | FL_VIP | FL_ID)) | FL_1);
	seg_set_cpl(c, v86 ? 3 : t->sel[SEG_CS] & 3);
	if (v86)
		for (unsigned i = 0; i < NSEG32; i++)
			seg_load_real(c, i, t->sel[i]);
	c->rip = c->next_rip = t->eip;
	c->cr0 |= CR0_TS;
	c->dr[7] &= ~0x155ull;		/* L0-L3 and LE are the old task's */
	debug_rearm(c);
	cpu_mode_changed(c);
}

static void task_load_segs(struct cpu *c, const struct task *t)
{
	static const u8 data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	load_ldt(c, t->ldt);
	if (!cpu_v86(c)) {
		load_cs(c, t->sel[SEG_CS]);
		cpu_mode_changed(c);
		load_ss(c, t->sel[SEG_SS]);
		cpu_mode_changed(c);		/* a fault from here on uses this stack */
		for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
			load_data(c, data[i], t->sel[data[i]]);
		cpu_mode_changed(c);
	}
	if (t->eip > (cpu_v86(c) ? 0xffff : c->seg[SEG_CS].limit))
		raise_gp(c, 0);
}

/* The new TSS's descriptor, checked. */
static void tss_desc(struct cpu *c, u16 sel, enum task_reason why, struct desc *d)
{
	unsigned bad = why == TASK_IRET ? EXC_TS : EXC_GP;
	bool busy;

	if (sel & SEL_TI || SEL_NULL(sel))
		cpu_raise_err(c, bad, SEL_ERR(sel));
	desc_need(c, sel, d, bad);
	busy = desc_type(d) & DT_BUSY;
	if (!desc_is_system(d) || (desc_type(d) & ~(DT_BUSY | 8u)) != DT_TSS16 ||
	    busy != (why == TASK_IRET))
		cpu_raise_err(c, bad, SEL_ERR(sel));
	if (!desc_present(d))
		cpu_raise_err(c, EXC_NP, SEL_ERR(sel));
	if (d->limit < (desc_type(d) & 8 ? T32_SIZE : T16_SIZE) - 1u)
		raise_ts(c, sel);
}

void task_switch(struct cpu *c, u16 tss_sel, enum task_reason why, bool has_error, u32 error)
{
	struct cpu_seg old = c->seg[SEG_TR];
	bool old32 = old.attr & 8, new32;
	u64 eflags = cpu_get_rflags(c);
	struct desc d, od;
	struct task t;

	tss_desc(c, tss_sel, why, &d);
	new32 = desc_type(&d) & 8;

	/* Anything that can still fault in the old task. */
	if (old32)
		tss_probe(c, old.base, T32_EIP, T32_LDT - T32_EIP, true);
	else
		tss_probe(c, old.base, T16_IP, T16_LDT - T16_IP, true);
	tss_probe(c, d.base, 0, new32 ? T32_SIZE : T16_SIZE, false);
	if (why == TASK_CALL || why == TASK_INT)
		tss_probe(c, d.base, 0, 2, true);
	lin_probe(c, d.la + 5, 1, true, AS_SYSTEM);
	if (why == TASK_JMP || why == TASK_IRET) {
		desc_need(c, old.sel, &od, EXC_TS);
		lin_probe(c, od.la + 5, 1, true, AS_SYSTEM);
		desc_set_busy(c, od.la, false);
	}
	if (why == TASK_IRET)
		eflags &= ~(u64)FL_NT;
	task_save(c, old.base, old32, eflags);
	task_read(c, d.base, new32, &t);
	if (why == TASK_CALL || why == TASK_INT) {
		tss_st(c, d.base, new32 ? T32_LINK : T16_LINK, old.sel, 2);
		t.eflags |= FL_NT;
	}
	if (why != TASK_IRET)
		desc_set_busy(c, d.la, true);

	/* The commit point. */
	d.attr |= DT_BUSY;
	seg_set(c, SEG_TR, tss_sel, &d);
	task_enter(c, &t);
	if (new32 && (c->cr0 & CR0_PG))
		cpu_write_cr(c, 3, t.cr3);
	task_load_segs(c, &t);
	if (has_error) {
		struct stk s;

		stk_current(c, &s);
		stk_push(c, &s, error, new32 ? 4 : 2);
		stk_commit(c, &s);
	}
	if (t.trap)
		c->db_pending |= DR6_BT;
	c->step_trap = false;
	c->shadow = 0;
	cpu_look(c);
}
