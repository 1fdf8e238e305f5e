/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse.c - CMP and TEST of registers or immediates with the Jcc behind them. The flags are kept all
 * the same: somebody may look at them on either way. */
#include "engine/soft/uop/uop.h"

#define FUSED_(name, t, kr, insn, val, cc_) \
static const struct uop *name##_##cc_(struct cpu *c, const struct uop *u) \
{ \
	const struct uop *to; \
	bool taken; \
	u32 f; \
	__asm__(insn " %[b], %[a]" CC_SAVE : "=&a"(f), "=@cc" #cc_(taken) \
		: [a] kr((t)c->r[u->dst]), [b] kr((t)(val))); \
	c->cc = (u16)f; \
	if (!taken) \
		NEXT(c, u); \
	c->stats.insns -= u->rest; \
	to = uop_follow(c, u->chain); \
	if (unlikely(!to)) \
		return NULL; \
	GOTO(c, to); \
}
#define ALL_CC_(F, name, t, kr, insn, val) \
	F(name, t, kr, insn, val, o) F(name, t, kr, insn, val, no) \
	F(name, t, kr, insn, val, b) F(name, t, kr, insn, val, ae) \
	F(name, t, kr, insn, val, e) F(name, t, kr, insn, val, ne) \
	F(name, t, kr, insn, val, be) F(name, t, kr, insn, val, a) \
	F(name, t, kr, insn, val, s) F(name, t, kr, insn, val, ns) \
	F(name, t, kr, insn, val, p) F(name, t, kr, insn, val, np) \
	F(name, t, kr, insn, val, l) F(name, t, kr, insn, val, ge) \
	F(name, t, kr, insn, val, le) F(name, t, kr, insn, val, g)
#define SIZES_(op) \
	ALL_CC_(FUSED_, op##1_rr, u8, "q", #op "b", c->r[u->src]) \
	ALL_CC_(FUSED_, op##1_ri, u8, "q", #op "b", u->imm) \
	ALL_CC_(FUSED_, op##4_rr, u32, "r", #op "l", c->r[u->src]) \
	ALL_CC_(FUSED_, op##4_ri, u32, "r", #op "l", u->imm) \
	ALL_CC_(FUSED_, op##8_rr, u64, "r", #op "q", c->r[u->src]) \
	ALL_CC_(FUSED_, op##8_ri, u64, "r", #op "q", u->imm)
SIZES_(cmp)
SIZES_(test)

#define ROW_(n) { n##_o, n##_no, n##_b, n##_ae, n##_e, n##_ne, n##_be, n##_a, n##_s, n##_ns, \
		  n##_p, n##_np, n##_l, n##_ge, n##_le, n##_g }
#define ROWS_(op) { { ROW_(op##1_rr), ROW_(op##1_ri) }, { ROW_(op##4_rr), ROW_(op##4_ri) }, \
		    { ROW_(op##8_rr), ROW_(op##8_ri) } }

uop_fn *uop_fused(const struct insn *in, const struct insn *jcc)
{
	static uop_fn *const fn[2][3][2][16] = { ROWS_(cmp), ROWS_(test) };
	const struct operand *a = &in->opd[0], *b = &in->opd[1];

	if ((in->op != OP_CMP && in->op != OP_TEST) || a->kind != OPD_GPR || a->high8 ||
	    a->size == 2 || b->high8 || (b->kind != OPD_GPR && b->kind != OPD_IMM))
		return NULL;
	return fn[in->op == OP_TEST][a->size == 1 ? 0 : a->size == 4 ? 1 : 2][b->kind == OPD_IMM]
		 [jcc->opcode & 15];
}
