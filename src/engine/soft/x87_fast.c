/* SPDX-License-Identifier: GPL-2.0-or-later */
/* x87_fast.c - the usual x87 instructions without FXRSTOR and FXSAVE: the one or two registers that
 * an instruction names are loaded onto the host's empty stack, it runs there, and its results are
 * stored; TOP, tags and pointers are kept in C.
 * After: Intel SDM vol. 1 ch. 8, vol. 2.
 *
 * Taken when all exceptions are masked, none is pending, what is read is not empty and what is
 * pushed onto is: everything else is exec_x87.c's. Then no instruction can leave the host's stack
 * in a state of its own, and the host's exception flags are the guest's as long as none was left
 * over from before. */
#include "engine/soft/access.h"
#include "engine/soft/native.h"
#include "engine/soft/stub.h"

#include <emmintrin.h>
#include <string.h>

#define SLOT(i) ((u8)((i) + 1))
#define C_ALL (FSW_C0 | FSW_C1 | FSW_C2 | FSW_C3)

/* Exception flags that this thread's x87 unit still has set. Nothing else in penta computes
 * with the x87. */
static _Thread_local u16 host_flags;

/* --- plans --- */

static void insn2(struct stub_plan *p, u8 a, u8 b)
{
	p->insn[0] = a;
	p->insn[1] = b;
	p->insn_len = 2;
}

static bool plan_mem(u8 op, u8 reg, struct stub_plan *p, struct x87_fast *f)
{
	f->msize = (u8)x87_mem_size(op, reg, &f->store);
	if (!f->msize || f->msize == 10)
		if (!(op == 3 && (reg == 5 || reg == 7)))	/* FBLD, FBSTP, control */
			return false;
	if (!(op & 1)) {			/* ST(0) and memory: arithmetic, compare */
		p->st_load[0] = SLOT(0);
		f->need = 1;
		if (reg == 2 || reg == 3) {
			insn2(p, 0xd8 | op, 3 << 3 | 6);	/* popping: leaves nothing */
			f->cond = C_ALL;
			f->pop = reg == 3;
		} else {
			insn2(p, 0xd8 | op, (u8)(reg << 3 | 6));
			f->cond = FSW_C1;
			p->st_store[0] = SLOT(0);
		}
		return true;
	}
	f->cond = FSW_C1;
	if (f->store) {
		f->need = 1;
		p->st_load[0] = SLOT(0);
		f->pop = reg != 2;
		insn2(p, 0xd8 | op, (u8)((reg == 2 ? 3 : reg) << 3 | 6));
	} else {
		f->push = true;
		f->fill = 1;
		p->st_store[0] = SLOT(0);
		insn2(p, 0xd8 | op, (u8)(reg << 3 | 6));
	}
	return true;
}

/* ST(0) and ST(i): loads both so that they are the host's ST(0) and ST(1). */
static void load_both(struct stub_plan *p, struct x87_fast *f, unsigned i)
{
	p->st_load[0] = SLOT(i);
	p->st_load[1] = SLOT(0);
	f->need = (u8)(1 | BIT(i));
}

/* D9 E0 - D9 FF */
static bool plan_d9(u8 m, struct stub_plan *p, struct x87_fast *f)
{
	insn2(p, 0xd9, m);
	f->cond = FSW_C1;
	p->st_store[0] = SLOT(0);
	switch (m) {
	case 0xe4: case 0xe5:					/* FTST FXAM */
		f->cond = C_ALL;
		__attribute__((fallthrough));
	case 0xe0: case 0xe1: case 0xf0: case 0xfa: case 0xfc:	/* FCHS FABS F2XM1 FSQRT FRNDINT */
		p->st_load[0] = SLOT(0);
		f->need = 1;
		return true;
	case 0xe8: case 0xe9: case 0xea: case 0xeb: case 0xec:	/* FLD1 ... */
	case 0xed: case 0xee:
		f->push = true;
		f->fill = 1;
		return true;
	case 0xf1: case 0xf3: case 0xf9:			/* FYL2X FPATAN FYL2XP1 */
		load_both(p, f, 1);
		p->st_store[0] = SLOT(1);
		f->pop = 1;
		return true;
	/* Not FPREM and FPREM1: they leave the condition codes as they were when invalid. */
	case 0xfd:						/* FSCALE */
		load_both(p, f, 1);
		p->st_drop = true;
		return true;
	}
	return false;
}

static bool plan_reg(u8 op, u8 m, struct stub_plan *p, struct x87_fast *f)
{
	u8 reg = m >> 3 & 7, i = m & 7;

	if (op == 1 && m >= 0xe0)
		return plan_d9(m, p, f);
	f->cond = FSW_C1;
	if ((op == 0 || op == 4 || op == 6) && reg != 2 && reg != 3) {	/* arithmetic */
		if (op == 0) {
			if (i) {
				load_both(p, f, i);
				p->st_drop = true;
			} else {
				p->st_load[0] = SLOT(0);
				f->need = 1;
			}
			insn2(p, 0xd8, (u8)((m & 0xf8) | (i ? 1 : 0)));
			p->st_store[0] = SLOT(0);
		} else {
			if (!i)
				return false;
			load_both(p, f, i);
			insn2(p, 0xde, (u8)((m & 0xf8) | 1));
			p->st_store[0] = SLOT(i);
			f->pop = op == 6;
		}
		return true;
	}
	switch (op << 8 | (m & 0xf8)) {
	case 0x0d0: case 0x0d8: case 0x5e0: case 0x5e8:	/* FCOM FCOMP FUCOM FUCOMP */
		load_both(p, f, i);
		insn2(p, op ? 0xda : 0xde, op ? 0xe9 : 0xd9);
		f->cond = C_ALL;
		f->pop = reg & 1;
		return true;
	case 0x2e8: case 0x6d8:				/* FUCOMPP FCOMPP */
		if (i != 1)
			return false;
		load_both(p, f, 1);
		insn2(p, 0xd8 | op, m);
		f->cond = C_ALL;
		f->pop = 2;
		return true;
	case 0x3e8: case 0x3f0: case 0x7e8: case 0x7f0:	/* FUCOMI FCOMI FUCOMIP FCOMIP */
		load_both(p, f, i);
		insn2(p, 0xdf, (u8)((m & 0xf8) | 1));
		p->cc_out = true;
		f->cond = 0;				/* as on AMD: C1 stays */
		p->st_drop = true;
		f->pop = op == 7;
		return true;
	case 0x2c0: case 0x2c8: case 0x2d0: case 0x2d8:
	case 0x3c0: case 0x3c8: case 0x3d0: case 0x3d8:	/* FCMOVcc */
		load_both(p, f, i);
		insn2(p, 0xd8 | op, (u8)((m & 0xf8) | 1));
		p->cc_in = true;
		f->cond = 0;
		p->st_store[0] = SLOT(0);
		p->st_drop = true;
		return true;
	case 0x1c0:					/* FLD ST(i): then a slot further */
		f->need = (u8)BIT(i);
		f->push = true;
		f->fill = 1;
		p->st_load[0] = SLOT((i + 1) & 7);
		p->st_store[0] = SLOT(0);
		return true;
	case 0x1c8:					/* FXCH */
		load_both(p, f, i);
		p->st_store[0] = SLOT(i);
		p->st_store[1] = SLOT(0);
		return true;
	case 0x5d0: case 0x5d8:				/* FST FSTP ST(i) */
		f->need = 1;
		f->fill = (u8)BIT(i);
		p->st_load[0] = SLOT(0);
		p->st_store[0] = SLOT(i);
		f->pop = reg & 1;
		return true;
	}
	return false;
}

bool x87_fast_plan(const struct insn *in, struct stub_plan *p, struct x87_fast *f)
{
	u8 op = in->opcode & 7;

	if (in->opcode < 0xd8 || in->opcode > 0xdf)
		return false;
	p->st = true;
	return in->has_mem ? plan_mem(op, in->modrm >> 3 & 7, p, f) : plan_reg(op, in->modrm, p, f);
}

/* --- execution --- */

static inline void rotate_push(u8 *st)
{
	__m128i v[8], *p = (__m128i *)st;

	for (unsigned i = 0; i < 8; i++)
		v[i] = _mm_load_si128(p + i);
	for (unsigned i = 0; i < 8; i++)
		_mm_store_si128(p + ((i + 1) & 7), v[i]);
}
static inline void rotate_pop(u8 *st)
{
	__m128i v[8], *p = (__m128i *)st;

	for (unsigned i = 0; i < 8; i++)
		v[i] = _mm_load_si128(p + i);
	for (unsigned i = 0; i < 8; i++)
		_mm_store_si128(p + ((i + 7) & 7), v[i]);
}

/* Where the operand is: guest memory itself, or the bounce buffer (then with @c's data in it). */
static inline void *operand(struct cpu *c, const struct insn *in, const struct x87_fast *f, u64 off)
{
	u8 *buf;
	u64 la;

	if (likely(seg_fast(c, in->seg, off, &la))) {
		struct tlb_entry *e = tlb_at(c, la);

		if (likely((f->store ? e->tag_w : e->tag_r) == ((la + f->msize - 1u) & PAGE_MASK)))
			return (void *)(la + e->addend);
	}
	buf = native_bounce(c);
	if (f->store)
		mem_probe(c, in->seg, off, f->msize, true);
	else
		mem_ld_bytes(c, in->seg, off, buf, f->msize);
	return buf;
}

void x87_fast_exec(struct cpu *c, const struct insn *in, const struct x87_fast *f, stub_fn *fn)
{
	static const u16 host_cw = FCW_INIT;
	u16 fcw = get_le16(c->xsave + XSAVE_FCW), fsw = get_le16(c->xsave + XSAVE_FSW), sw;
	unsigned top = (fsw & FSW_TOP) >> FSW_TOP_SHIFT, ftw = c->xsave[XSAVE_FTW];
	unsigned tags = (ftw >> top | ftw << (8 - top)) & 0xff;		/* of ST(i), not of Ri */
	void *mem = NULL;
	u64 off = 0;

	if (unlikely((c->cr0 & (CR0_EM | CR0_TS)) || (fsw & FSW_ES) ||
		     (fcw & FCW_MASKS) != FCW_MASKS || (tags & f->need) != f->need ||
		     (f->push && (tags & 0x80)))) {
		x87_exec(c, in);
		return;
	}
	if (f->msize) {
		off = insn_ea(c, in);
		mem = operand(c, in, f, off);
	}
	if (f->push) {
		rotate_push(c->xsave + XSAVE_ST);
		tags = tags << 1 & 0xff;
		top = (top - 1) & 7;
	}
	if (unlikely(host_flags & ~fsw))
		__asm__ volatile("fnclex");
	if (unlikely(fcw != FCW_INIT))
		__asm__ volatile("fldcw %0" :: "m"(fcw));
	sw = (u16)fn(c, mem);
	if (unlikely(fcw != FCW_INIT))
		__asm__ volatile("fldcw %0" :: "m"(host_cw));
	host_flags = sw & FSW_FLAGS;
	if (f->store && mem == native_bounce(c))
		mem_st_bytes(c, in->seg, off, mem, f->msize);

	tags |= f->fill;
	for (unsigned i = f->pop; i--;) {
		rotate_pop(c->xsave + XSAVE_ST);
		tags = tags >> 1;
		top = (top + 1) & 7;
	}
	fsw = (u16)((fsw & ~(f->cond | FSW_TOP)) | (sw & (f->cond | FSW_FLAGS)) |
		    top << FSW_TOP_SHIFT);
	put_le16(c->xsave + XSAVE_FSW, fsw);
	c->xsave[XSAVE_FTW] = (u8)(tags << top | tags >> (8 - top));
	x87_set_pointers(c, in, off);
}
