/* SPDX-License-Identifier: GPL-2.0-or-later */
/* alu.c - quick arithmetic, logic and shifts. The host's instruction makes the flags; those that it
 * reads (carry) or keeps are loaded first. */
#include "engine/soft/uop/uop.h"

#define CARRY_IN "btl $8, %k[cc]\n\t"

/* @in: assembly before the instruction; flags come out in AX. */
#define OP2_(name, n, t, kr, pre, insn, sfx) \
static inline t name##n##_op(struct cpu *c, t a, t b) \
{ \
	u32 f; \
	__asm__(pre insn sfx " %[b], %[a]" CC_SAVE \
		: [a] "+" kr(a), "=&a"(f) : [b] kr "i"(b), [cc] "r"(c->cc) : "cc"); \
	c->cc = (u16)f; \
	return a; \
}

#define LA_(ea, c, u) ea(c, u)

/* All forms of one operation and size. @w: the result is written. */
#define FORMS_RR_(name, n, t, w) \
static const struct uop *name##n##_rr(struct cpu *c, const struct uop *u) \
{ \
	t r = name##n##_op(c, (t)c->r[u->dst], (t)c->r[u->src]); \
	if (w) \
		uop_reg##n(c, u->dst, r); \
	NEXT(c, u); \
} \
static const struct uop *name##n##_ri(struct cpu *c, const struct uop *u) \
{ \
	t r = name##n##_op(c, (t)c->r[u->dst], (t)u->imm); \
	if (w) \
		uop_reg##n(c, u->dst, r); \
	NEXT(c, u); \
}
#define FORM_RM_(name, n, t, w, ea) \
static const struct uop *name##n##_rm_##ea(struct cpu *c, const struct uop *u) \
{ \
	t b = uop_ld##n(c, u, ea(c, u)); \
	t r = name##n##_op(c, (t)c->r[u->dst], b); \
	if (w) \
		uop_reg##n(c, u->dst, r); \
	NEXT(c, u); \
}
#define FORM_MX_(name, n, t, w, ea, form, val) \
guest_racy static const struct uop *name##n##_##form##_##ea(struct cpu *c, const struct uop *u) \
{ \
	u64 la = ea(c, u); \
	if (w) { \
		volatile t *p = (volatile t *)uop_rmw##n(c, u, la); \
		if (unlikely(!p)) \
			return uop_redo(c, u); \
		*p = name##n##_op(c, *p, (t)(val)); \
		NEXT_OR_LOOK(c, u, uop_look(c)); \
	} else { \
		name##n##_op(c, uop_ld##n(c, u, la), (t)(val)); \
		NEXT(c, u); \
	} \
}
#define FORMS_EA_(name, n, t, w, ea) \
	FORM_RM_(name, n, t, w, ea) \
	FORM_MX_(name, n, t, w, ea, mr, c->r[u->src]) \
	FORM_MX_(name, n, t, w, ea, mi, u->imm)
#define SIZE_(name, n, t, gt, kr, w, pre, insn, sfx) \
	OP2_(name, n, t, kr, pre, insn, sfx) \
	FORMS_RR_(name, n, t, w) \
	FORMS_EA_(name, n, gt, w, ea_b) \
	FORMS_EA_(name, n, gt, w, ea_x) \
	FORMS_EA_(name, n, gt, w, ea_s)
#define ALU_(name, w, pre, insn) \
	SIZE_(name, 1, u8, u8, "q", w, pre, insn, "b") \
	SIZE_(name, 2, u16, gu16, "r", w, pre, insn, "w") \
	SIZE_(name, 4, u32, gu32, "r", w, pre, insn, "l") \
	SIZE_(name, 8, u64, gu64, "r", w, pre, insn, "q")

ALU_(add, 1, "", "add")
ALU_(or, 1, "", "or")
ALU_(adc, 1, CARRY_IN, "adc")
ALU_(sbb, 1, CARRY_IN, "sbb")
ALU_(and, 1, "", "and")
ALU_(sub, 1, "", "sub")
ALU_(xor, 1, "", "xor")
ALU_(cmp, 0, "", "cmp")
ALU_(test, 0, "", "test")

struct alu_row {
	u16 op;
	uop_fn *reg[4][2];		/* by size; RR, RI */
	uop_fn *mem[4][3][EA_N];	/* RM, MR, MI */
};
#define EAS_(x) { x##_ea_b, x##_ea_x, x##_ea_s }
#define MEMS_(x) { EAS_(x##_rm), EAS_(x##_mr), EAS_(x##_mi) }
#define ROW_(OP, name) { OP, \
	{ { name##1_rr, name##1_ri }, { name##2_rr, name##2_ri }, { name##4_rr, name##4_ri }, \
	  { name##8_rr, name##8_ri } }, \
	{ MEMS_(name##1), MEMS_(name##2), MEMS_(name##4), MEMS_(name##8) } }

static const struct alu_row alu_rows[] = {
	ROW_(OP_ADD, add), ROW_(OP_OR, or), ROW_(OP_ADC, adc), ROW_(OP_SBB, sbb),
	ROW_(OP_AND, and), ROW_(OP_SUB, sub), ROW_(OP_XOR, xor), ROW_(OP_CMP, cmp),
	ROW_(OP_TEST, test),
};

uop_fn *uop_alu(unsigned op, unsigned size, enum uop_form f, enum uop_ea ea)
{
	for (size_t i = 0; i < ARRAY_SIZE(alu_rows); i++) {
		const struct alu_row *r = &alu_rows[i];

		if (r->op == op)
			return f <= FORM_RI ? r->reg[size_index(size)][f] :
			       r->mem[size_index(size)][f - FORM_RM][ea];
	}
	return NULL;
}

/* --- one operand: INC and DEC keep CF, NOT all flags --- */
#define OP1_(name, n, t, kr, pre, insn, sfx) \
static inline t name##n##_op(struct cpu *c, t a) \
{ \
	u32 f; \
	__asm__(pre insn sfx " %[a]" CC_SAVE : [a] "+" kr(a), "=&a"(f) : [cc] "r"(c->cc) : "cc"); \
	c->cc = (u16)f; \
	return a; \
}
#define NOT_(n, t) \
static inline t not##n##_op(struct cpu *c, t a) \
{ \
	return (t)~a; \
}
#define FORMS1_EA_(name, n, gt, ea) \
guest_racy static const struct uop *name##n##_##ea(struct cpu *c, const struct uop *u) \
{ \
	volatile gt *p = (volatile gt *)uop_rmw##n(c, u, ea(c, u)); \
	if (unlikely(!p)) \
		return uop_redo(c, u); \
	*p = name##n##_op(c, *p); \
	NEXT_OR_LOOK(c, u, uop_look(c)); \
}
#define FORMS1_(name, n, t, gt) \
static const struct uop *name##n##_r(struct cpu *c, const struct uop *u) \
{ \
	uop_reg##n(c, u->dst, name##n##_op(c, (t)c->r[u->dst])); \
	NEXT(c, u); \
} \
FORMS1_EA_(name, n, gt, ea_b) \
FORMS1_EA_(name, n, gt, ea_x) \
FORMS1_EA_(name, n, gt, ea_s)
#define ALU1S_(name, pre, insn) \
	OP1_(name, 1, u8, "q", pre, insn, "b") FORMS1_(name, 1, u8, u8) \
	OP1_(name, 2, u16, "r", pre, insn, "w") FORMS1_(name, 2, u16, gu16) \
	OP1_(name, 4, u32, "r", pre, insn, "l") FORMS1_(name, 4, u32, gu32) \
	OP1_(name, 8, u64, "r", pre, insn, "q") FORMS1_(name, 8, u64, gu64)

ALU1S_(inc, CARRY_IN, "inc")
ALU1S_(dec, CARRY_IN, "dec")
ALU1S_(neg, "", "neg")
NOT_(1, u8) NOT_(2, u16) NOT_(4, u32) NOT_(8, u64)
FORMS1_(not, 1, u8, u8) FORMS1_(not, 2, u16, gu16) FORMS1_(not, 4, u32, gu32)
FORMS1_(not, 8, u64, gu64)

#define ONE_(x) { x##_r, x##_ea_b, x##_ea_x, x##_ea_s }
#define ROW1_(OP, x) { OP, { ONE_(x##1), ONE_(x##2), ONE_(x##4), ONE_(x##8) } }
static const struct { u16 op; uop_fn *fn[4][1 + EA_N]; } alu1_rows[] = {
	ROW1_(OP_INC, inc), ROW1_(OP_DEC, dec), ROW1_(OP_NEG, neg), ROW1_(OP_NOT, not),
};

uop_fn *uop_alu1(unsigned op, unsigned size, bool mem, enum uop_ea ea)
{
	for (size_t i = 0; i < ARRAY_SIZE(alu1_rows); i++)
		if (alu1_rows[i].op == op)
			return alu1_rows[i].fn[size_index(size)][mem ? 1 + ea : 0];
	return NULL;
}

/* --- shifts and rotates of registers. By an immediate that is not 0: shifts write all flags (AF
 * and, beyond one place, OF as the host leaves them), rotates only CF and OF. --- */
#define SHIFT_OP_(name, n, t, insn, sfx) \
static const struct uop *name##n##_i(struct cpu *c, const struct uop *u) \
{ \
	t a = (t)c->r[u->dst]; \
	u32 f = c->cc; \
	__asm__(CC_LOAD insn sfx " %%cl, %0" CC_SAVE : "+r"(a), "+a"(f) : "c"((u8)u->imm) : "cc"); \
	c->cc = (u16)f; \
	c->r[u->dst] = a; \
	NEXT(c, u); \
} \
static const struct uop *name##n##_c(struct cpu *c, const struct uop *u) \
{ \
	t a = (t)c->r[u->dst]; \
	u32 f = c->cc; \
	__asm__(CC_LOAD insn sfx " %%cl, %0" CC_SAVE : "+r"(a), "+a"(f) : "c"((u8)c->r[RCX]) : "cc"); \
	c->cc = (u16)f; \
	c->r[u->dst] = a; \
	NEXT(c, u); \
}
#define SHIFTS_(name, insn) \
	SHIFT_OP_(name, 4, u32, insn, "l") \
	SHIFT_OP_(name, 8, u64, insn, "q")
SHIFTS_(rol, "rol")
SHIFTS_(ror, "ror")
SHIFTS_(shl, "shl")
SHIFTS_(shr, "shr")
SHIFTS_(sar, "sar")

#define SROW_(OP, x) { OP, { { x##4_i, x##4_c }, { x##8_i, x##8_c } } }
static const struct { u16 op; uop_fn *fn[2][2]; } shift_rows[] = {
	SROW_(OP_ROL, rol), SROW_(OP_ROR, ror), SROW_(OP_SHL, shl), SROW_(OP_SHR, shr),
	SROW_(OP_SAR, sar),
};

uop_fn *uop_shift(unsigned op, unsigned size, bool by_cl)
{
	if (size < 4)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(shift_rows); i++)
		if (shift_rows[i].op == op)
			return shift_rows[i].fn[size == 8][by_cl];
	return NULL;
}

/* --- IMUL: dst = dst * src, or dst = src * imm --- */
#define IMUL_OP_(n, t, sfx) \
static inline void imul##n##_op(struct cpu *c, unsigned dst, t a, t b) \
{ \
	u32 f = c->cc; \
	__asm__(CC_LOAD "imul" sfx " %2, %0" CC_SAVE : "+r"(a), "+a"(f) : "r"(b) : "cc"); \
	c->cc = (u16)f; \
	c->r[dst] = a; \
} \
static const struct uop *imul##n##_rr(struct cpu *c, const struct uop *u) \
{ \
	imul##n##_op(c, u->dst, (t)c->r[u->dst], (t)c->r[u->src]); \
	NEXT(c, u); \
} \
static const struct uop *imul##n##_rri(struct cpu *c, const struct uop *u) \
{ \
	imul##n##_op(c, u->dst, (t)c->r[u->src], (t)u->imm); \
	NEXT(c, u); \
}
#define IMUL_EA_(n, t, ea) \
static const struct uop *imul##n##_rm_##ea(struct cpu *c, const struct uop *u) \
{ \
	t b = uop_ld##n(c, u, ea(c, u)); \
	imul##n##_op(c, u->dst, (t)c->r[u->dst], b); \
	NEXT(c, u); \
} \
static const struct uop *imul##n##_rmi_##ea(struct cpu *c, const struct uop *u) \
{ \
	t b = uop_ld##n(c, u, ea(c, u)); \
	imul##n##_op(c, u->dst, b, (t)u->imm); \
	NEXT(c, u); \
}
#define IMULS_(n, t, sfx) IMUL_OP_(n, t, sfx) \
	IMUL_EA_(n, t, ea_b) IMUL_EA_(n, t, ea_x) IMUL_EA_(n, t, ea_s)
IMULS_(4, u32, "l")
IMULS_(8, u64, "q")

uop_fn *uop_imul(unsigned size, bool mem, bool imm, enum uop_ea ea)
{
	static uop_fn *const fn[2][2][1 + EA_N] = {
		{ { imul4_rr, imul4_rm_ea_b, imul4_rm_ea_x, imul4_rm_ea_s },
		  { imul4_rri, imul4_rmi_ea_b, imul4_rmi_ea_x, imul4_rmi_ea_s } },
		{ { imul8_rr, imul8_rm_ea_b, imul8_rm_ea_x, imul8_rm_ea_s },
		  { imul8_rri, imul8_rmi_ea_b, imul8_rmi_ea_x, imul8_rmi_ea_s } },
	};

	return size < 4 ? NULL : fn[size == 8][imm][mem ? 1 + ea : 0];
}
