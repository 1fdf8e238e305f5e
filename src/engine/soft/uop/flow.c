/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flow.c - quick near jumps, calls and returns. Direct targets were checked when the block was made
 * (canonical, inside CS); indirect ones that look odd go to the generic function. */
#include "engine/soft/uop/uop.h"

#define FOLLOW(c, ch) do { \
	const struct uop *to_ = uop_follow(c, ch); \
	if (unlikely(!to_)) \
		return NULL; \
	GOTO(c, to_); \
} while (0)
#define BRANCH(c, rip) do { \
	const struct uop *to_ = uop_goto(c, rip); \
	if (unlikely(!to_)) \
		return NULL; \
	GOTO(c, to_); \
} while (0)

/* Calls remember the link to what follows them: RET then takes it when that is where it goes, in
 * the mode that the link was made in. */
static inline void ras_push(struct cpu *c, struct chain *ch)
{
	unsigned i = c->ras_top++ % RAS_SIZE;

	c->ras[i].rip = ch->rip;
	c->ras[i].chain = ch;
}
#define RETURN(c, to) do { \
	unsigned i_ = --(c)->ras_top % RAS_SIZE; \
	struct chain *ch_ = (c)->ras[i_].chain; \
	if (likely((c)->ras[i_].rip == (to) && ch_ && ch_->b && \
		   ch_->b->mode_key == (c)->mode_key)) \
		FOLLOW(c, ch_); \
	(c)->rip = (to); \
	{ \
		const struct uop *to_ = ch_ && ch_->rip == (to) ? code_link(c, ch_) : code_next(c); \
		if (unlikely(!to_)) \
			return NULL; \
		GOTO(c, to_); \
	} \
} while (0)

static inline bool canonical(u64 rip)
{
	return (u64)((s64)(rip << 16) >> 16) == rip;
}

const struct uop *uop_jmp(struct cpu *c, const struct uop *u)
{
	FOLLOW(c, u->chain);
}

#define JCC_(cond) \
static const struct uop *jcc##cond(struct cpu *c, const struct uop *u) \
{ \
	if (cc_test(c->cc, cond)) { \
		c->stats.insns -= u->rest; \
		FOLLOW(c, u->chain); \
	} \
	NEXT(c, u); \
}
JCC_(0) JCC_(1) JCC_(2) JCC_(3) JCC_(4) JCC_(5) JCC_(6) JCC_(7)
JCC_(8) JCC_(9) JCC_(10) JCC_(11) JCC_(12) JCC_(13) JCC_(14) JCC_(15)

uop_fn *uop_jcc(unsigned cond)
{
	static uop_fn *const fn[16] = { jcc0, jcc1, jcc2, jcc3, jcc4, jcc5, jcc6, jcc7, jcc8, jcc9,
					jcc10, jcc11, jcc12, jcc13, jcc14, jcc15 };

	return fn[cond];
}

/* --- by mode: operand, stack and code are equally wide --- */
#define CHECK8_(rip) canonical(rip)
#define CHECK4_(rip) true	/* flat: CS reaches up to 4 GiB */
#define FLOW_(n, t, name) \
const struct uop *uop_call##name(struct cpu *c, const struct uop *u) \
{ \
	u64 sp = (t)(c->r[RSP] - n); \
	bool leave = uop_st##n(c, u, sp, (t)uop_next_rip(c, u)); \
	c->r[RSP] = sp; \
	if (unlikely(leave)) { \
		c->rip = u->chain->rip; \
		return NULL; \
	} \
	ras_push(c, u->chain + 1); \
	FOLLOW(c, u->chain); \
} \
const struct uop *uop_ret##name(struct cpu *c, const struct uop *u) \
{ \
	u64 sp = (t)c->r[RSP]; \
	t to = uop_ld##n(c, u, sp); \
	if (unlikely(!CHECK##n##_(to))) \
		return uop_redo(c, u); \
	c->r[RSP] = (t)(sp + n + u->imm); \
	RETURN(c, to); \
} \
static inline const struct uop *call_to##n(struct cpu *c, const struct uop *u, t to) \
{ \
	u64 sp = (t)(c->r[RSP] - n); \
	bool leave; \
	if (unlikely(!CHECK##n##_(to))) \
		return uop_redo(c, u); \
	leave = uop_st##n(c, u, sp, (t)uop_next_rip(c, u)); \
	c->r[RSP] = sp; \
	c->rip = to; \
	ras_push(c, (struct chain *)u->imm); \
	return leave ? NULL : code_next(c); \
} \
static const struct uop *call##n##_r(struct cpu *c, const struct uop *u) \
{ \
	const struct uop *to = call_to##n(c, u, (t)c->r[u->src]); \
	if (unlikely(!to)) \
		return NULL; \
	GOTO(c, to); \
} \
FLOW_EA_(n, t, ea_b) FLOW_EA_(n, t, ea_x) FLOW_EA_(n, t, ea_s)
#define FLOW_EA_(n, t, ea) \
static const struct uop *call##n##_##ea(struct cpu *c, const struct uop *u) \
{ \
	const struct uop *to = call_to##n(c, u, uop_ld##n(c, u, ea(c, u))); \
	if (unlikely(!to)) \
		return NULL; \
	GOTO(c, to); \
} \
static const struct uop *jmp##n##_##ea(struct cpu *c, const struct uop *u) \
{ \
	t to = uop_ld##n(c, u, ea(c, u)); \
	if (unlikely(!CHECK##n##_(to))) \
		return uop_redo(c, u); \
	BRANCH(c, to); \
}
FLOW_(8, u64, 64)
FLOW_(4, u32, 32)

const struct uop *uop_jmp_reg(struct cpu *c, const struct uop *u)
{
	u64 to = c->r[u->src] & c->la_mask;

	if (unlikely(!canonical(to)))
		return uop_redo(c, u);
	BRANCH(c, to);
}

uop_fn *uop_jmp_mem(unsigned mode, enum uop_ea ea)
{
	static uop_fn *const fn[2][EA_N] = {
		{ jmp4_ea_b, jmp4_ea_x, jmp4_ea_s }, { jmp8_ea_b, jmp8_ea_x, jmp8_ea_s },
	};

	return fn[mode == 8][ea];
}

uop_fn *uop_call_ind(unsigned mode, bool mem, enum uop_ea ea)
{
	static uop_fn *const fn[2][1 + EA_N] = {
		{ call4_r, call4_ea_b, call4_ea_x, call4_ea_s },
		{ call8_r, call8_ea_b, call8_ea_x, call8_ea_s },
	};

	return fn[mode == 8][mem ? 1 + ea : 0];
}
