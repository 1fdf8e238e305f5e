/* SPDX-License-Identifier: GPL-2.0-or-later */
/* move.c - quick moves: MOV, MOVZX, MOVSX, LEA, CMOVcc, SETcc, CBW and its kin, PUSH, POP. */
#include "engine/soft/uop/uop.h"

/* --- MOV --- */
#define MOV_EA_(n, t, ea) \
static const struct uop *mov##n##_rm_##ea(struct cpu *c, const struct uop *u) \
{ \
	uop_reg##n(c, u->dst, uop_ld##n(c, u, ea(c, u))); \
	NEXT(c, u); \
} \
static const struct uop *mov##n##_mr_##ea(struct cpu *c, const struct uop *u) \
{ \
	bool leave = uop_st##n(c, u, ea(c, u), (t)c->r[u->src]); \
	NEXT_OR_LOOK(c, u, leave); \
} \
static const struct uop *mov##n##_mi_##ea(struct cpu *c, const struct uop *u) \
{ \
	bool leave = uop_st##n(c, u, ea(c, u), (t)u->imm); \
	NEXT_OR_LOOK(c, u, leave); \
}
#define MOV_(n, t) \
static const struct uop *mov##n##_rr(struct cpu *c, const struct uop *u) \
{ \
	uop_reg##n(c, u->dst, (t)c->r[u->src]); \
	NEXT(c, u); \
} \
static const struct uop *mov##n##_ri(struct cpu *c, const struct uop *u) \
{ \
	uop_reg##n(c, u->dst, (t)u->imm); \
	NEXT(c, u); \
} \
MOV_EA_(n, t, ea_b) MOV_EA_(n, t, ea_x) MOV_EA_(n, t, ea_s)
MOV_(1, u8)
MOV_(2, u16)
MOV_(4, u32)
MOV_(8, u64)

#define EAS_(x) { x##_ea_b, x##_ea_x, x##_ea_s }
#define MOV_ROW_(n) { { mov##n##_rr, mov##n##_rr, mov##n##_rr }, \
	{ mov##n##_ri, mov##n##_ri, mov##n##_ri }, \
	EAS_(mov##n##_rm), EAS_(mov##n##_mr), EAS_(mov##n##_mi) }

uop_fn *uop_mov(unsigned size, enum uop_form f, enum uop_ea ea)
{
	static uop_fn *const fn[4][FORM_N][EA_N] = {
		MOV_ROW_(1), MOV_ROW_(2), MOV_ROW_(4), MOV_ROW_(8),
	};

	return fn[size_index(size)][f][ea];
}

/* --- MOVZX, MOVSX, MOVSXD: to 32 or 64 bits; 16-bit results are left to the generic form.
 * Zero-extension to 64 is the same as to 32. --- */
#define MOVX_(name, to, tt, from, ft) \
static const struct uop *name##_r(struct cpu *c, const struct uop *u) \
{ \
	c->r[u->dst] = (tt)(ft)c->r[u->src]; \
	NEXT(c, u); \
} \
MOVX_EA_(name, tt, from, ft, ea_b) \
MOVX_EA_(name, tt, from, ft, ea_x) \
MOVX_EA_(name, tt, from, ft, ea_s)
#define MOVX_EA_(name, tt, from, ft, ea) \
static const struct uop *name##_##ea(struct cpu *c, const struct uop *u) \
{ \
	c->r[u->dst] = (tt)(ft)uop_ld##from(c, u, ea(c, u)); \
	NEXT(c, u); \
}
MOVX_(movzx1, 8, u64, 1, u8)
MOVX_(movzx2, 8, u64, 2, u16)
MOVX_(movsx14, 4, u32, 1, s8)
MOVX_(movsx24, 4, u32, 2, s16)
MOVX_(movsx18, 8, u64, 1, s8)
MOVX_(movsx28, 8, u64, 2, s16)
MOVX_(movsx48, 8, u64, 4, s32)

uop_fn *uop_movx(bool sign, unsigned to, unsigned from, bool mem, enum uop_ea ea)
{
#define ALL_(x) { x##_r, x##_ea_b, x##_ea_x, x##_ea_s }
	static uop_fn *const zx[2][1 + EA_N] = { ALL_(movzx1), ALL_(movzx2) };
	static uop_fn *const sx[2][3][1 + EA_N] = {
		{ ALL_(movsx14), ALL_(movsx24), { NULL } },
		{ ALL_(movsx18), ALL_(movsx28), ALL_(movsx48) },
	};
	unsigned m = mem ? 1 + ea : 0, f = size_index(from);

	if (to < 4 || from >= to || (!sign && from > 2))
		return NULL;
	return sign ? sx[to == 8][f][m] : zx[f][m];
}

/* --- LEA --- */
static const struct uop *lea4_b(struct cpu *c, const struct uop *u)
{
	c->r[u->dst] = (u32)(c->r[u->base] + u->disp);
	NEXT(c, u);
}
static const struct uop *lea4_x(struct cpu *c, const struct uop *u)
{
	c->r[u->dst] = (u32)(c->r[u->base] + (c->r[u->index] << u->scale) + u->disp);
	NEXT(c, u);
}
static const struct uop *lea8_b(struct cpu *c, const struct uop *u)
{
	c->r[u->dst] = c->r[u->base] + u->disp;
	NEXT(c, u);
}
static const struct uop *lea8_x(struct cpu *c, const struct uop *u)
{
	c->r[u->dst] = c->r[u->base] + (c->r[u->index] << u->scale) + u->disp;
	NEXT(c, u);
}
uop_fn *uop_lea(unsigned size, bool index)
{
	static uop_fn *const fn[2][2] = { { lea4_b, lea4_x }, { lea8_b, lea8_x } };

	return size < 4 ? NULL : fn[size == 8][index];
}

/* --- by condition --- */
#define CMOV_EA_(cond, n, t, ea) \
static const struct uop *cmov##cond##_##n##_##ea(struct cpu *c, const struct uop *u) \
{ \
	t v = uop_ld##n(c, u, ea(c, u)); \
	c->r[u->dst] = cc_test(c->cc, cond) ? v : (t)c->r[u->dst]; \
	NEXT(c, u); \
}
#define CMOV_N_(cond, n, t) \
static const struct uop *cmov##cond##_##n##_r(struct cpu *c, const struct uop *u) \
{ \
	c->r[u->dst] = cc_test(c->cc, cond) ? (t)c->r[u->src] : (t)c->r[u->dst]; \
	NEXT(c, u); \
} \
CMOV_EA_(cond, n, t, ea_b) CMOV_EA_(cond, n, t, ea_x) CMOV_EA_(cond, n, t, ea_s)
#define SET_EA_(cond, ea) \
static const struct uop *set##cond##_##ea(struct cpu *c, const struct uop *u) \
{ \
	bool leave = uop_st1(c, u, ea(c, u), cc_test(c->cc, cond)); \
	NEXT_OR_LOOK(c, u, leave); \
}
#define COND_(cond) \
	CMOV_N_(cond, 4, u32) CMOV_N_(cond, 8, u64) \
	static const struct uop *set##cond##_r(struct cpu *c, const struct uop *u) \
	{ \
		uop_reg1(c, u->dst, cc_test(c->cc, cond)); \
		NEXT(c, u); \
	} \
	SET_EA_(cond, ea_b) SET_EA_(cond, ea_x) SET_EA_(cond, ea_s)
COND_(0) COND_(1) COND_(2) COND_(3) COND_(4) COND_(5) COND_(6) COND_(7)
COND_(8) COND_(9) COND_(10) COND_(11) COND_(12) COND_(13) COND_(14) COND_(15)

#define CMOV_ROW_(cond) { ALL_(cmov##cond##_4), ALL_(cmov##cond##_8) }
uop_fn *uop_cmov(unsigned cond, unsigned size, bool mem, enum uop_ea ea)
{
	static uop_fn *const fn[16][2][1 + EA_N] = {
		CMOV_ROW_(0), CMOV_ROW_(1), CMOV_ROW_(2), CMOV_ROW_(3), CMOV_ROW_(4), CMOV_ROW_(5),
		CMOV_ROW_(6), CMOV_ROW_(7), CMOV_ROW_(8), CMOV_ROW_(9), CMOV_ROW_(10),
		CMOV_ROW_(11), CMOV_ROW_(12), CMOV_ROW_(13), CMOV_ROW_(14), CMOV_ROW_(15),
	};

	return size < 4 ? NULL : fn[cond][size == 8][mem ? 1 + ea : 0];
}

uop_fn *uop_setcc(unsigned cond, bool mem, enum uop_ea ea)
{
	static uop_fn *const fn[16][1 + EA_N] = {
		ALL_(set0), ALL_(set1), ALL_(set2), ALL_(set3), ALL_(set4), ALL_(set5), ALL_(set6),
		ALL_(set7), ALL_(set8), ALL_(set9), ALL_(set10), ALL_(set11), ALL_(set12),
		ALL_(set13), ALL_(set14), ALL_(set15),
	};

	return fn[cond][mem ? 1 + ea : 0];
}

/* --- CWDE, CDQE, CDQ, CQO --- */
static const struct uop *cwde(struct cpu *c, const struct uop *u)
{
	c->r[RAX] = (u32)(s16)c->r[RAX];
	NEXT(c, u);
}
static const struct uop *cdqe(struct cpu *c, const struct uop *u)
{
	c->r[RAX] = (u64)(s32)c->r[RAX];
	NEXT(c, u);
}
static const struct uop *cdq(struct cpu *c, const struct uop *u)
{
	c->r[RDX] = (u32)((s32)c->r[RAX] >> 31);
	NEXT(c, u);
}
static const struct uop *cqo(struct cpu *c, const struct uop *u)
{
	c->r[RDX] = (u64)((s64)c->r[RAX] >> 63);
	NEXT(c, u);
}
uop_fn *uop_widen(unsigned op, unsigned size)
{
	if (size < 4)
		return NULL;
	return op == OP_CBW ? (size == 8 ? cdqe : cwde) : (size == 8 ? cqo : cdq);
}

/* --- stack: as wide as the mode, which is also the operand size --- */
#define STACK_(n, t) \
static const struct uop *push##n##_r(struct cpu *c, const struct uop *u) \
{ \
	u64 sp = (t)(c->r[RSP] - n); \
	bool leave = uop_st##n(c, u, sp, (t)c->r[u->src]); \
	c->r[RSP] = sp; \
	NEXT_OR_LOOK(c, u, leave); \
} \
static const struct uop *push##n##_i(struct cpu *c, const struct uop *u) \
{ \
	u64 sp = (t)(c->r[RSP] - n); \
	bool leave = uop_st##n(c, u, sp, (t)u->imm); \
	c->r[RSP] = sp; \
	NEXT_OR_LOOK(c, u, leave); \
} \
static const struct uop *pop##n##_r(struct cpu *c, const struct uop *u) \
{ \
	u64 sp = (t)c->r[RSP]; \
	t v = uop_ld##n(c, u, sp); \
	c->r[RSP] = (t)(sp + n); \
	c->r[u->dst] = v; \
	NEXT(c, u); \
}
STACK_(4, u32)
STACK_(8, u64)

uop_fn *uop_push(unsigned mode, bool imm)
{
	return mode == 8 ? (imm ? push8_i : push8_r) : (imm ? push4_i : push4_r);
}
uop_fn *uop_pop(unsigned mode)
{
	return mode == 8 ? pop8_r : pop4_r;
}

const struct uop *uop_leave64(struct cpu *c, const struct uop *u)
{
	u64 sp = c->r[RBP];
	u64 v = uop_ld8(c, u, sp);

	c->r[RSP] = sp + 8;
	c->r[RBP] = v;
	NEXT(c, u);
}
