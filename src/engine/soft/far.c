/* SPDX-License-Identifier: GPL-2.0-or-later */
/* far.c - far JMP, CALL and RET: through code segments, call gates (16, 32 and 64 bits, with
 * parameters and stack switch), task gates and TSS descriptors, and back to outer levels.
 * After: Intel SDM vol. 2, JMP, CALL, RET; vol. 3, 5.8; AMD APM vol. 2, 4.11.
 *
 * Nothing of the processor's state changes before all checks are done and all pushes written;
 * then *_commit() changes it. */
#include "engine/soft/seg.h"

static u64 ip_mask(unsigned opsize)
{
	return opsize == 8 ? ~0ull : opsize == 4 ? 0xffffffff : 0xffff;
}

void code_check_target(struct cpu *c, const struct desc *cs, u64 off)
{
	if (desc_is_code64(c, cs)) {
		if (!la_canonical(off))
			raise_gp(c, 0);
	} else if (off > cs->limit) {
		raise_gp(c, 0);
	}
}

/* 64-bit code with a 32-bit default size does not exist. */
static bool bad_code_size(const struct cpu *c, const struct desc *d)
{
	return cpu_long(c) && (d->attr & (SEG_A_L | SEG_A_DB)) == (SEG_A_L | SEG_A_DB);
}

void code_commit(struct cpu *c, struct desc *d, unsigned cpl, u64 off)
{
	desc_set_accessed(c, d);
	seg_set(c, SEG_CS, (d->sel & ~3u) | cpl, d);
	seg_set_cpl(c, cpl);
	c->rip = c->next_rip = off;
	cpu_mode_changed(c);
}

/* Between 64-bit and compatibility mode the stack is used as the new mode uses
 * it: for what CALL pushes, and for what RET adds. */
static void stk_of_mode(struct cpu *c, struct stk *s, bool to64)
{
	s->is64 = to64;
	s->mask = to64 ? ~0ull : c->seg[SEG_SS].attr & SEG_A_DB ? 0xffffffff : 0xffff;
}

static void real_target(struct cpu *c, u16 sel, u64 off)
{
	if (off > (cpu_v86(c) ? 0xffff : c->seg[SEG_CS].limit))
		raise_gp(c, 0);
	seg_load_real(c, SEG_CS, sel);
	c->rip = c->next_rip = off;
	cpu_mode_changed(c);
}

/* Push the return address (CS and the next instruction) as @size-byte items. */
static void push_return(struct cpu *c, struct stk *s, unsigned size)
{
	stk_push(c, s, c->seg[SEG_CS].sel, size);
	stk_push(c, s, c->next_rip, size);
}

static void real_call(struct cpu *c, u16 sel, u64 off, unsigned opsize)
{
	struct stk s;

	stk_current(c, &s);
	stk_need(c, &s, 2 * opsize);
	if (off > (cpu_v86(c) ? 0xffff : c->seg[SEG_CS].limit))
		raise_gp(c, 0);
	push_return(c, &s, opsize);
	stk_commit(c, &s);
	real_target(c, sel, off);
}

/* A far transfer straight to code segment @d: no change of level. */
static void to_code(struct cpu *c, struct desc *d, u64 off, unsigned opsize, bool call)
{
	struct stk s;

	if (desc_is_conforming(d) ? desc_dpl(d) > c->cpl :
	    (d->sel & 3) > c->cpl || desc_dpl(d) != c->cpl)
		raise_gp(c, SEL_ERR(d->sel));
	if (bad_code_size(c, d))
		raise_gp(c, SEL_ERR(d->sel));
	if (!desc_present(d))
		cpu_raise_err(c, EXC_NP, SEL_ERR(d->sel));
	off &= ip_mask(opsize);
	if (call) {
		stk_current(c, &s);
		if (cpu_long(c))
			stk_of_mode(c, &s, desc_is_code64(c, d));
		stk_need(c, &s, 2 * opsize);
	}
	code_check_target(c, d, off);
	if (call) {
		push_return(c, &s, opsize);
		desc_set_accessed(c, d);
		stk_commit(c, &s);
	}
	code_commit(c, d, c->cpl, off);
}

/* What a call gate says. */
struct gate {
	struct desc cs;
	u64 off;
	unsigned size;		/* of what is pushed */
	unsigned nparam;
};

static void gate_read(struct cpu *c, struct desc *d, struct gate *g, bool call)
{
	u32 high = 0;
	u16 sel = d->lo >> 16;

	if (desc_dpl(d) < c->cpl || desc_dpl(d) < (d->sel & 3))
		raise_gp(c, SEL_ERR(d->sel));
	if (cpu_long(c) && !desc_fetch_high(c, d, &high))
		raise_gp(c, SEL_ERR(d->sel));
	if (!desc_present(d))
		cpu_raise_err(c, EXC_NP, SEL_ERR(d->sel));
	/* The offset of a 16-bit gate is 16 bits: what stands in its last two bytes is ignored. */
	g->off = d->lo & 0xffff;
	if (desc_type(d) == DT_CALL)
		g->off |= (u64)high << 32 | (d->hi & 0xffff0000);
	g->size = cpu_long(c) ? 8 : desc_type(d) == DT_CALL ? 4 : 2;
	g->nparam = cpu_long(c) ? 0 : d->hi & 31;

	if (SEL_NULL(sel))
		raise_gp(c, 0);
	desc_need(c, sel, &g->cs, EXC_GP);
	if (!desc_is_code(&g->cs) || desc_dpl(&g->cs) > c->cpl)
		raise_gp(c, SEL_ERR(sel));
	if (!call && !desc_is_conforming(&g->cs) && desc_dpl(&g->cs) != c->cpl)
		raise_gp(c, SEL_ERR(sel));
	if (cpu_long(c) && (g->cs.attr & (SEG_A_L | SEG_A_DB)) != SEG_A_L)
		raise_gp(c, SEL_ERR(sel));
	if (!desc_present(&g->cs))
		cpu_raise_err(c, EXC_NP, SEL_ERR(sel));
}

/* CALL through a gate to an inner level: the stack comes from the TSS, parameters move along. */
static void gate_call_inner(struct cpu *c, struct gate *g)
{
	unsigned cpl = desc_dpl(&g->cs);
	struct stk old, new;
	struct desc ssd;
	u32 param[31];
	u32 sp32 = 0;
	u16 ss = 0;

	stk_current(c, &old);
	if (g->size == 8) {
		stk_new64(c, &new, tss_stack64(c, cpl), cpl);
		stk_need(c, &new, 32);
	} else {
		tss_stack(c, cpl, &ss, &sp32);
		tss_stack_desc(c, ss, cpl, &ssd);
		stk_new(c, &new, &ssd, sp32, cpl);
		stk_need(c, &new, (4 + g->nparam) * g->size);
	}
	code_check_target(c, &g->cs, g->off);
	for (unsigned i = 0; i < g->nparam; i++)
		param[i] = stk_pop(c, &old, g->size);

	stk_push(c, &new, c->seg[SEG_SS].sel, g->size);
	stk_push(c, &new, c->r[RSP], g->size);
	for (unsigned i = g->nparam; i-- > 0; )
		stk_push(c, &new, param[i], g->size);
	push_return(c, &new, g->size);

	desc_set_accessed(c, &g->cs);
	if (g->size == 8) {
		seg_set_null(c, SEG_SS, cpl);
	} else {
		desc_set_accessed(c, &ssd);
		seg_set(c, SEG_SS, ss, &ssd);
	}
	stk_commit(c, &new);
	code_commit(c, &g->cs, cpl, g->off);
}

static void through_gate(struct cpu *c, struct desc *d, bool call)
{
	struct gate g;
	struct stk s;

	gate_read(c, d, &g, call);
	if (call && !desc_is_conforming(&g.cs) && desc_dpl(&g.cs) < c->cpl) {
		gate_call_inner(c, &g);
		return;
	}
	if (call) {
		stk_current(c, &s);
		if (g.size == 8 && !s.is64)
			stk_new64(c, &s, c->r[RSP] & s.mask, c->cpl);
		stk_need(c, &s, 2 * g.size);
	}
	code_check_target(c, &g.cs, g.off);
	if (call) {
		push_return(c, &s, g.size);
		desc_set_accessed(c, &g.cs);
		stk_commit(c, &s);
	}
	code_commit(c, &g.cs, c->cpl, g.off);
}

static void to_task(struct cpu *c, struct desc *d, bool call)
{
	u16 tss = d->sel;

	if (desc_dpl(d) < c->cpl || desc_dpl(d) < (d->sel & 3))
		raise_gp(c, SEL_ERR(d->sel));
	if (desc_type(d) == DT_TASK) {
		if (!desc_present(d))
			cpu_raise_err(c, EXC_NP, SEL_ERR(d->sel));
		tss = d->lo >> 16;
	}
	task_switch(c, tss, call ? TASK_CALL : TASK_JMP, false, 0);
}

static void far_transfer(struct cpu *c, u16 sel, u64 off, unsigned opsize, bool call)
{
	struct desc d;

	if (SEL_NULL(sel))
		raise_gp(c, 0);
	desc_need(c, sel, &d, EXC_GP);
	if (desc_is_code(&d)) {
		to_code(c, &d, off, opsize, call);
		return;
	}
	if (!desc_is_system(&d))
		raise_gp(c, SEL_ERR(sel));
	switch (desc_type(&d)) {
	case DT_CALL:
		through_gate(c, &d, call);
		return;
	case DT_CALL16:
		if (cpu_long(c))
			break;
		through_gate(c, &d, call);
		return;
	case DT_TSS16: case DT_TSS: case DT_TASK:
		if (cpu_long(c))
			break;
		to_task(c, &d, call);
		return;
	}
	raise_gp(c, SEL_ERR(sel));
}

void far_jump(struct cpu *c, u16 sel, u64 off, unsigned opsize)
{
	if (cpu_realish(c))
		real_target(c, sel, off & ip_mask(opsize));
	else
		far_transfer(c, sel, off, opsize, false);
}

void far_call(struct cpu *c, u16 sel, u64 off, unsigned opsize)
{
	if (cpu_realish(c))
		real_call(c, sel, off & ip_mask(opsize), opsize);
	else
		far_transfer(c, sel, off, opsize, true);
}

/* --- back --- */

void ret_check_cs(struct cpu *c, u16 sel, struct desc *d)
{
	unsigned rpl = sel & 3;

	if (SEL_NULL(sel))
		raise_gp(c, 0);
	desc_need(c, sel, d, EXC_GP);
	if (!desc_is_code(d) || rpl < c->cpl || bad_code_size(c, d) ||
	    (desc_is_conforming(d) ? desc_dpl(d) > rpl : desc_dpl(d) != rpl))
		raise_gp(c, SEL_ERR(sel));
	if (!desc_present(d))
		cpu_raise_err(c, EXC_NP, SEL_ERR(sel));
}

bool ret_check_ss(struct cpu *c, u16 sel, const struct desc *cs, u16 cs_sel, struct desc *d)
{
	unsigned rpl = cs_sel & 3;

	if (SEL_NULL(sel)) {
		if (!desc_is_code64(c, cs) || rpl == 3 || (sel & 3) != rpl)
			raise_gp(c, 0);
		return true;
	}
	desc_need(c, sel, d, EXC_GP);
	if ((sel & 3) != rpl || !desc_is_wdata(d) || desc_dpl(d) != rpl)
		raise_gp(c, SEL_ERR(sel));
	if (!desc_present(d))
		cpu_raise_err(c, EXC_SS, SEL_ERR(sel));
	return false;
}

void far_ret(struct cpu *c, unsigned opsize, unsigned pop_bytes)
{
	struct desc cs, ss;
	struct stk s;
	u64 ip, sp = 0;
	u16 sel, ss_sel = 0;
	bool outer, ss_null = false;

	stk_current(c, &s);
	ip = stk_pop(c, &s, opsize);
	sel = stk_pop(c, &s, opsize);
	if (cpu_realish(c)) {
		if (ip > (cpu_v86(c) ? 0xffff : c->seg[SEG_CS].limit))
			raise_gp(c, 0);
		s.sp += pop_bytes;
		stk_commit(c, &s);
		real_target(c, sel, ip);
		return;
	}
	ret_check_cs(c, sel, &cs);
	outer = (sel & 3) > c->cpl;
	if (!outer && cpu_long(c))
		stk_of_mode(c, &s, desc_is_code64(c, &cs));
	s.sp += pop_bytes;
	if (outer) {
		sp = stk_pop(c, &s, opsize);
		ss_sel = stk_pop(c, &s, opsize);
		ss_null = ret_check_ss(c, ss_sel, &cs, sel, &ss);
	}
	code_check_target(c, &cs, ip);
	if (!outer) {
		stk_commit(c, &s);
		code_commit(c, &cs, c->cpl, ip);
		return;
	}
	desc_set_accessed(c, &cs);
	if (ss_null) {
		seg_set_null(c, SEG_SS, ss_sel);
	} else {
		desc_set_accessed(c, &ss);
		seg_set(c, SEG_SS, ss_sel, &ss);
	}
	s.mask = desc_is_code64(c, &cs) ? ~0ull : c->seg[SEG_SS].attr & SEG_A_DB ? 0xffffffff : 0xffff;
	s.sp = sp + pop_bytes;
	stk_commit(c, &s);
	code_commit(c, &cs, sel & 3, ip);
	seg_drop_inner(c, c->cpl);
	cpu_mode_changed(c);
}
