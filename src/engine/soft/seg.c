/* SPDX-License-Identifier: GPL-2.0-or-later */
/* seg.c - descriptors and segment registers: reading the tables, loading with every check,
 * and the stacks that transfers between privilege levels push to.
 * After: Intel SDM vol. 3, ch. 3 and 5; vol. 2, MOV, LLDT, LTR; AMD APM vol. 2, ch. 4.
 *
 * CPL is SS.DPL: each path that changes it sets SS's attributes, also of a null SS (whose
 * attributes are SEG_A_UNUSABLE and the DPL), and in real mode SS.DPL is 0. */
#include "engine/soft/seg.h"

#include <string.h>

bool cpu_is_amd(struct cpu *c)
{
	struct cpuid_dyn dyn = { 0 };

	/* "AuthenticAMD", "HygonGenuine": EBX of leaf 0 tells. */
	u32 ebx = c->m && c->m->cpuid ? cpuid_query(c->m->cpuid, 0, 0, &dyn).ebx : 0;
	return ebx == 0x68747541 || ebx == 0x6f677948;
}

/* --- descriptors --- */

static bool table_slot(struct cpu *c, u16 sel, unsigned last, u64 *la)
{
	u64 base;
	u32 limit;

	if (sel & SEL_TI) {
		if (c->seg[SEG_LDTR].attr & SEG_A_UNUSABLE)
			return false;
		base = c->seg[SEG_LDTR].base;
		limit = c->seg[SEG_LDTR].limit;
	} else {
		base = c->gdtr.base;
		limit = c->gdtr.limit;
	}
	if ((sel & ~7u) + last > limit)
		return false;
	base += sel & ~7u;
	*la = cpu_long(c) ? base : (u32)base;
	return true;
}

static void desc_unpack(struct desc *d, u64 raw)
{
	d->lo = raw;
	d->hi = raw >> 32;
	d->attr = (d->hi >> 8) & 0xf0ff;
	d->base = (d->lo >> 16) | (d->hi & 0xff) << 16 | (d->hi & 0xff000000);
	d->limit = (d->lo & 0xffff) | (d->hi & 0xf0000);
	if (d->attr & SEG_A_G)
		d->limit = d->limit << 12 | 0xfff;
}

bool desc_fetch(struct cpu *c, u16 sel, struct desc *d)
{
	d->sel = sel;
	if (!table_slot(c, sel, 7, &d->la))
		return false;
	desc_unpack(d, lin_ld(c, d->la, 8, AS_SYSTEM));
	return true;
}

void desc_need(struct cpu *c, u16 sel, struct desc *d, unsigned vector)
{
	if (!desc_fetch(c, sel, d))
		cpu_raise_err(c, vector, SEL_ERR(sel));
}

bool desc_fetch_high(struct cpu *c, struct desc *d, u32 *high)
{
	u64 la, raw;

	if (!table_slot(c, d->sel, 15, &la))
		return false;
	raw = lin_ld(c, la + 8, 8, AS_SYSTEM);
	*high = raw;
	return !((raw >> 40) & 0x1f);
}

u64 desc_read(struct cpu *c, u16 sel, unsigned fault_vector)
{
	struct desc d;

	desc_need(c, sel, &d, fault_vector);
	return (u64)d.hi << 32 | d.lo;
}

/* The byte with the type lies at +5. Other processors may look at the descriptor at the same
 * time: only the one bit changes. */
static void desc_or_type(struct cpu *c, u64 desc_la, u8 bits)
{
	u8 *p = lin_rmw(c, desc_la + 5, 1, AS_SYSTEM);

	if (p)
		__atomic_fetch_or(p, bits, __ATOMIC_SEQ_CST);
	else
		lin_st(c, desc_la + 5, lin_ld(c, desc_la + 5, 1, AS_SYSTEM) | bits, 1, AS_SYSTEM);
}

void desc_set_accessed(struct cpu *c, struct desc *d)
{
	if (d->attr & SEG_A_ACCESSED)
		return;
	desc_or_type(c, d->la, SEG_A_ACCESSED);
	d->attr |= SEG_A_ACCESSED;
}

void desc_set_busy(struct cpu *c, u64 desc_la, bool busy)
{
	u8 *p;

	if (busy) {
		desc_or_type(c, desc_la, DT_BUSY);
		return;
	}
	p = lin_rmw(c, desc_la + 5, 1, AS_SYSTEM);
	if (p)
		__atomic_fetch_and(p, (u8)~DT_BUSY, __ATOMIC_SEQ_CST);
	else
		lin_st(c, desc_la + 5, lin_ld(c, desc_la + 5, 1, AS_SYSTEM) & ~(u64)DT_BUSY, 1,
		       AS_SYSTEM);
}

/* --- registers --- */

void seg_set(struct cpu *c, unsigned seg, u16 sel, const struct desc *d)
{
	struct cpu_seg *s = &c->seg[seg];

	s->sel = sel;
	s->attr = d->attr;
	s->limit = d->limit;
	s->base = d->base;
}

void seg_set_null(struct cpu *c, unsigned seg, u16 sel)
{
	struct cpu_seg *s = &c->seg[seg];

	s->sel = sel;
	s->attr = SEG_A_UNUSABLE;
	if (seg == SEG_SS)
		s->attr |= (sel & 3) << SEG_A_DPL_SHIFT;
	s->limit = 0;
	s->base = 0;
}

void seg_set_cpl(struct cpu *c, unsigned cpl)
{
	c->seg[SEG_SS].attr = (c->seg[SEG_SS].attr & ~SEG_A_DPL) | cpl << SEG_A_DPL_SHIFT;
	c->cpl = cpl;
}

/* Real mode leaves limit and size as they are ("unreal mode"); only what a null selector took
 * away comes back. Virtual-8086 mode fixes everything. */
void seg_load_real(struct cpu *c, unsigned seg, u16 sel)
{
	struct cpu_seg *s = &c->seg[seg];
	const u16 rwdata = SEG_A_P | SEG_A_S | SEG_A_RW | SEG_A_ACCESSED;

	if (cpu_v86(c)) {
		s->limit = 0xffff;
		s->attr = rwdata | SEG_A_DPL;
	} else {
		if (s->attr & SEG_A_UNUSABLE) {
			s->limit = 0xffff;
			s->attr = 0;
		}
		s->attr = rwdata | (s->attr & (SEG_A_DB | SEG_A_G | SEG_A_AVL));
	}
	s->sel = sel;
	s->base = (u32)sel << 4;
}

static void load_ss(struct cpu *c, u16 sel)
{
	struct desc d;

	if (SEL_NULL(sel)) {
		if (!c->lma64 || c->cpl == 3 || (sel & 3) != c->cpl)
			raise_gp(c, 0);
		seg_set_null(c, SEG_SS, sel);
		return;
	}
	desc_need(c, sel, &d, EXC_GP);
	if ((sel & 3) != c->cpl || !desc_is_wdata(&d) || desc_dpl(&d) != c->cpl)
		raise_gp(c, SEL_ERR(sel));
	if (!desc_present(&d))
		cpu_raise_err(c, EXC_SS, SEL_ERR(sel));
	desc_set_accessed(c, &d);
	seg_set(c, SEG_SS, sel, &d);
}

static void load_data(struct cpu *c, unsigned seg, u16 sel)
{
	struct desc d;

	if (SEL_NULL(sel)) {
		seg_set_null(c, seg, sel);
		return;
	}
	desc_need(c, sel, &d, EXC_GP);
	if (!desc_is_readable(&d))
		raise_gp(c, SEL_ERR(sel));
	if (!(desc_is_code(&d) && desc_is_conforming(&d)) &&
	    ((sel & 3) > desc_dpl(&d) || c->cpl > desc_dpl(&d)))
		raise_gp(c, SEL_ERR(sel));
	if (!desc_present(&d))
		cpu_raise_err(c, EXC_NP, SEL_ERR(sel));
	desc_set_accessed(c, &d);
	seg_set(c, seg, sel, &d);
}

void seg_load(struct cpu *c, unsigned seg, u16 sel)
{
	if (cpu_realish(c))
		seg_load_real(c, seg, sel);
	else if (seg == SEG_SS)
		load_ss(c, sel);
	else
		load_data(c, seg, sel);
	cpu_mode_changed(c);
}

void seg_load_ldt(struct cpu *c, u16 sel)
{
	struct desc d;
	u32 high;

	if (SEL_NULL(sel)) {
		seg_set_null(c, SEG_LDTR, sel);
		return;
	}
	if (sel & SEL_TI)
		raise_gp(c, SEL_ERR(sel));
	desc_need(c, sel, &d, EXC_GP);
	if (!desc_is_system(&d) || desc_type(&d) != DT_LDT)
		raise_gp(c, SEL_ERR(sel));
	if (cpu_long(c)) {
		if (!desc_fetch_high(c, &d, &high))
			raise_gp(c, SEL_ERR(sel));
		d.base |= (u64)high << 32;
	}
	if (!desc_present(&d))
		cpu_raise_err(c, EXC_NP, SEL_ERR(sel));
	if (!la_canonical(d.base))
		raise_gp(c, SEL_ERR(sel));
	seg_set(c, SEG_LDTR, sel, &d);
}

void seg_load_tr(struct cpu *c, u16 sel)
{
	struct desc d;
	u32 high;

	if (SEL_NULL(sel))
		raise_gp(c, 0);
	if (sel & SEL_TI)
		raise_gp(c, SEL_ERR(sel));
	desc_need(c, sel, &d, EXC_GP);
	if (!desc_is_system(&d) ||
	    (desc_type(&d) != DT_TSS && (desc_type(&d) != DT_TSS16 || cpu_long(c))))
		raise_gp(c, SEL_ERR(sel));
	if (cpu_long(c)) {
		if (!desc_fetch_high(c, &d, &high))
			raise_gp(c, SEL_ERR(sel));
		d.base |= (u64)high << 32;
	}
	if (!desc_present(&d))
		cpu_raise_err(c, EXC_NP, SEL_ERR(sel));
	if (!la_canonical(d.base))
		raise_gp(c, SEL_ERR(sel));
	desc_set_busy(c, d.la, true);
	d.attr |= DT_BUSY;
	seg_set(c, SEG_TR, sel, &d);
}

/* Only the selector goes and the segment can no longer be used: base and limit stay, so that GS.base
 * survives an IRET to level 3 in 64-bit mode. What is null already is not looked at. */
void seg_drop_inner(struct cpu *c, unsigned cpl)
{
	static const u8 data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		struct cpu_seg *s = &c->seg[data[i]];
		unsigned dpl = (s->attr & SEG_A_DPL) >> SEG_A_DPL_SHIFT;
		bool conforming = (s->attr & (SEG_A_CODE | SEG_A_EC)) == (SEG_A_CODE | SEG_A_EC);

		if (!(s->attr & SEG_A_UNUSABLE) && !SEL_NULL(s->sel) && !conforming && dpl < cpl) {
			s->sel = 0;
			s->attr = SEG_A_UNUSABLE;
		}
	}
}

void seg_set_flat_code(struct cpu *c, u16 sel, unsigned cpl, bool l)
{
	c->seg[SEG_CS] = (struct cpu_seg){
		.sel = sel, .limit = 0xffffffff,
		.attr = SEG_A_P | SEG_A_S | SEG_A_CODE | SEG_A_RW | SEG_A_ACCESSED | SEG_A_G |
			cpl << SEG_A_DPL_SHIFT | (l ? SEG_A_L : SEG_A_DB),
	};
	c->cpl = cpl;
}

void seg_set_flat_stack(struct cpu *c, u16 sel, unsigned cpl)
{
	c->seg[SEG_SS] = (struct cpu_seg){
		.sel = sel, .limit = 0xffffffff,
		.attr = SEG_A_P | SEG_A_S | SEG_A_RW | SEG_A_ACCESSED | SEG_A_G | SEG_A_DB |
			cpl << SEG_A_DPL_SHIFT,
	};
}

/* --- stacks --- */

static enum mem_as level_as(unsigned cpl)
{
	return cpl == 3 ? AS_USER : AS_SYSTEM;
}

void stk_current(struct cpu *c, struct stk *s)
{
	const struct cpu_seg *ss = &c->seg[SEG_SS];

	s->mask = c->stack_size == 8 ? ~0ull : c->stack_size == 4 ? 0xffffffff : 0xffff;
	s->sp = c->r[RSP];
	s->base = ss->base;
	s->limit = ss->limit;
	s->attr = ss->attr;
	s->is64 = c->lma64;
	s->as = AS_CURRENT;
	s->err = 0;
}

void stk_new(struct cpu *c, struct stk *s, const struct desc *ss, u64 sp, unsigned cpl)
{
	s->mask = ss->attr & SEG_A_DB ? 0xffffffff : 0xffff;
	s->sp = sp;
	s->base = ss->base;
	s->limit = ss->limit;
	s->attr = ss->attr;
	s->is64 = false;
	s->as = level_as(cpl);
	s->err = SEL_ERR(ss->sel);
}

void stk_new64(struct cpu *c, struct stk *s, u64 sp, unsigned cpl)
{
	memset(s, 0, sizeof(*s));
	s->mask = ~0ull;
	s->sp = sp;
	s->is64 = true;
	s->as = level_as(cpl);
}

static u64 stk_linear(struct cpu *c, const struct stk *s, u64 off, unsigned len)
{
	if (s->is64) {
		if (!la_canonical(off) || !la_canonical(off + len - 1))
			cpu_raise_err(c, EXC_SS, s->err);
		return off;
	}
	if (s->attr & SEG_A_UNUSABLE)
		cpu_raise_err(c, EXC_SS, s->err);
	if (cpu_protected(c) && (s->attr & (SEG_A_CODE | SEG_A_EC)) == SEG_A_EC) {
		u64 top = s->attr & SEG_A_DB ? 0xffffffff : 0xffff;

		if (off <= s->limit || off + len - 1 > top)
			cpu_raise_err(c, EXC_SS, s->err);
	} else if (off + len - 1 > s->limit) {
		cpu_raise_err(c, EXC_SS, s->err);
	}
	return (u32)(s->base + off);
}

void stk_need(struct cpu *c, const struct stk *s, unsigned len)
{
	/* Item by item, as the stack pointer may wrap between two of them. */
	u64 sp = s->sp;

	for (; len; len -= 2) {
		sp = (sp - 2) & s->mask;
		stk_linear(c, s, sp, 2);
	}
	lin_probe(c, stk_linear(c, s, sp, 2), 2, true, s->as);
}

static u64 stk_item(struct cpu *c, const struct stk *s, u64 off, unsigned size)
{
	u64 la = stk_linear(c, s, off, size);

	if (unlikely(s->as == AS_CURRENT && c->tlb_set == TLB_SLOW && (la & (size - 1))))
		cpu_raise_err(c, EXC_AC, 0);
	return la;
}

void stk_push(struct cpu *c, struct stk *s, u64 val, unsigned size)
{
	u64 sp = (s->sp - size) & s->mask;
	u64 la = stk_item(c, s, sp, size);

	lin_st(c, la, val, size, s->as);
	s->sp = (s->sp & ~s->mask) | sp;
}

u64 stk_pop(struct cpu *c, struct stk *s, unsigned size)
{
	u64 val = lin_ld(c, stk_item(c, s, s->sp & s->mask, size), size, s->as);

	s->sp = (s->sp & ~s->mask) | ((s->sp + size) & s->mask);
	return val;
}

void stk_commit(struct cpu *c, const struct stk *s)
{
	/* In 32-bit code a 32-bit stack pointer's upper half is gone; a 16-bit one's stays. */
	if (s->mask == 0xffff)
		c->r[RSP] = (c->r[RSP] & ~0xffffull) | (s->sp & 0xffff);
	else
		c->r[RSP] = s->sp & s->mask;
}

void tss_stack(struct cpu *c, unsigned cpl, u16 *ss, u32 *sp)
{
	const struct cpu_seg *tr = &c->seg[SEG_TR];
	u32 err = SEL_ERR(tr->sel);

	if (tr->attr & 8) {
		if (cpl * 8 + 4 + 5 > tr->limit)
			cpu_raise_err(c, EXC_TS, err);
		*sp = lin_ld(c, (u32)(tr->base + cpl * 8 + 4), 4, AS_SYSTEM);
		*ss = lin_ld(c, (u32)(tr->base + cpl * 8 + 8), 2, AS_SYSTEM);
	} else {
		if (cpl * 4 + 2 + 3 > tr->limit)
			cpu_raise_err(c, EXC_TS, err);
		*sp = lin_ld(c, (u32)(tr->base + cpl * 4 + 2), 2, AS_SYSTEM);
		*ss = lin_ld(c, (u32)(tr->base + cpl * 4 + 4), 2, AS_SYSTEM);
	}
}

u64 tss_stack64(struct cpu *c, unsigned slot)
{
	const struct cpu_seg *tr = &c->seg[SEG_TR];

	if (slot * 8 + 4 + 7 > tr->limit)
		cpu_raise_err(c, EXC_TS, SEL_ERR(tr->sel));
	return lin_ld(c, tr->base + slot * 8 + 4, 8, AS_SYSTEM);
}

void tss_stack_desc(struct cpu *c, u16 ss, unsigned cpl, struct desc *d)
{
	if (SEL_NULL(ss))
		cpu_raise_err(c, EXC_TS, 0);
	desc_need(c, ss, d, EXC_TS);
	if ((ss & 3) != cpl || desc_dpl(d) != cpl || !desc_is_wdata(d))
		cpu_raise_err(c, EXC_TS, SEL_ERR(ss));
	if (!desc_present(d))
		cpu_raise_err(c, EXC_SS, SEL_ERR(ss));
}
