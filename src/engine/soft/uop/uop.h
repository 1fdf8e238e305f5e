/* SPDX-License-Identifier: GPL-2.0-or-later */
/* uop.h - what the functions of uops share.
 *
 * Quick forms are for 64-bit code and for 32-bit code in flat segments: a linear address is what
 * the operand says plus the base of FS or GS, cut to c->la_mask. Their way out of anything unusual
 * is a call that does not come back fast: c->rip is then made right first, where a fault finds it.
 * What even that call cannot do (a read-modify-write that is no single host access) is decoded
 * anew and executed by the generic function: uop_redo(). */
#ifndef PENTA_SOFT_UOP_H
#define PENTA_SOFT_UOP_H

#include "engine/soft/access.h"
#include "engine/soft/alu.h"
#include "engine/soft/block.h"

#define cold __attribute__((noinline, cold))

static inline bool uop_look(const struct cpu *c)
{
	return atomic_load_explicit(&c->look, memory_order_relaxed);
}

static inline u64 uop_trunc_rip(const struct cpu *c, u64 rip)
{
	return c->mode == 8 ? rip : c->mode == 4 ? (u32)rip : (u16)rip;
}

/* RIP of the instruction that a generic uop is followed by: also of a NOP that has no uop. */
static inline u64 uop_insn_next(const struct cpu *c, const struct uop *u)
{
	return uop_trunc_rip(c, c->blk->rip + u->off + u->in->len);
}

/* Where execution goes on after @u. */
static inline u64 uop_next_rip(const struct cpu *c, const struct uop *u)
{
	return uop_trunc_rip(c, c->blk->rip + u[1].off);
}

/* @u begins something that may fault. */
static inline void uop_at(struct cpu *c, const struct uop *u)
{
	c->rip = c->blk->rip + u->off;
}

/* To a successor by its link. */
static inline const struct uop *uop_follow(struct cpu *c, struct chain *ch)
{
	struct block *b = ch->b;

	if (likely(b && ch->map_gen == c->map_gen[ch->global] && !uop_look(c) && code_fresh(b))) {
		c->blk = b;
		c->stats.insns += b->ninsns;
		return b->u;
	}
	c->rip = ch->rip;
	return code_link(c, ch);
}

/* To the block at @rip, which is checked. */
static inline const struct uop *uop_goto(struct cpu *c, u64 rip)
{
	c->rip = rip;
	return code_next(c);
}

/* Execute @u's instruction by its generic function and leave for the loop. */
const struct uop *uop_redo(struct cpu *c, const struct uop *u);

/* --- addresses --- */
enum uop_ea { EA_B /* base + disp */, EA_X /* base + index + disp */, EA_S /* the same in FS, GS */,
	      EA_N };

static inline u64 ea_b(const struct cpu *c, const struct uop *u)
{
	return (c->r[u->base] + u->disp) & c->la_mask;
}
static inline u64 ea_x(const struct cpu *c, const struct uop *u)
{
	return (c->r[u->base] + (c->r[u->index] << u->scale) + u->disp) & c->la_mask;
}
static inline u64 ea_s(const struct cpu *c, const struct uop *u)
{
	return (c->seg[u->seg].base + c->r[u->base] + (c->r[u->index] << u->scale) + u->disp) &
	       c->la_mask;
}

/* --- loads, stores, read-modify-write by size --- */
u64 uop_ld_slow(struct cpu *c, const struct uop *u, u64 la, unsigned size);
/* True: leave for the loop (code was written, or the like). */
bool uop_st_slow(struct cpu *c, const struct uop *u, u64 la, u64 val, unsigned size);
void *uop_rmw_slow(struct cpu *c, const struct uop *u, u64 la, unsigned size);

#define UOP_MEM_(n, t, gt) \
guest_racy static inline t uop_ld##n(struct cpu *c, const struct uop *u, u64 la) \
{ \
	const struct tlb_entry *e = tlb_at(c, la); \
	if (likely(e->tag_r == ((la + n - 1) & PAGE_MASK))) \
		return *(volatile const gt *)(la + e->addend); \
	return (t)uop_ld_slow(c, u, la, n); \
} \
guest_racy static inline bool uop_st##n(struct cpu *c, const struct uop *u, u64 la, t val) \
{ \
	const struct tlb_entry *e = tlb_at(c, la); \
	if (likely(e->tag_w == ((la + n - 1) & PAGE_MASK))) { \
		*(volatile gt *)(la + e->addend) = val; \
		return false; \
	} \
	return uop_st_slow(c, u, la, val, n); \
} \
guest_racy static inline volatile gt *uop_rmw##n(struct cpu *c, const struct uop *u, u64 la) \
{ \
	const struct tlb_entry *e = tlb_at(c, la); \
	if (likely(e->tag_w == ((la + n - 1) & PAGE_MASK))) \
		return (volatile gt *)(la + e->addend); \
	return uop_rmw_slow(c, u, la, n); \
} \
/* Narrow registers keep their upper part; 32 bits clear it. */ \
static inline void uop_reg##n(struct cpu *c, unsigned reg, t val) \
{ \
	c->r[reg] = n >= 4 ? (u64)val : (c->r[reg] & ~(u64)(t)~(t)0) | val; \
}
UOP_MEM_(1, u8, u8)
UOP_MEM_(2, u16, gu16)
UOP_MEM_(4, u32, gu32)
UOP_MEM_(8, u64, gu64)

/* After the last access: on, or out because the slow way asked for it. */
#define NEXT_OR_LOOK(c, u, leave) do { \
	if (unlikely(leave)) { \
		(c)->rip = uop_next_rip(c, u); \
		return NULL; \
	} \
	NEXT(c, u); \
} while (0)

/* The memory operand into @u, when it has a quick form (fast.c). */
bool uop_set_mem(const struct cpu *c, const struct block *b, struct uop *u, const struct insn *in,
		 enum uop_ea *ea);
/* SSE and AVX (vec.c). */
bool uop_vec(struct cpu *c, const struct block *b, struct uop *u, const struct insn *in);

/* --- selectors: the function for a form, or NULL --- */
enum uop_form { FORM_RR, FORM_RI, FORM_RM, FORM_MR, FORM_MI, FORM_N };
static inline unsigned size_index(unsigned size)	/* 1 2 4 8 -> 0 1 2 3 */
{
	return (unsigned)__builtin_ctz(size);
}
uop_fn *uop_alu(unsigned op, unsigned size, enum uop_form f, enum uop_ea ea);
uop_fn *uop_alu1(unsigned op, unsigned size, bool mem, enum uop_ea ea);
uop_fn *uop_shift(unsigned op, unsigned size, bool by_cl);
uop_fn *uop_imul(unsigned size, bool mem, bool imm, enum uop_ea ea);
uop_fn *uop_mov(unsigned size, enum uop_form f, enum uop_ea ea);
uop_fn *uop_movx(bool sign, unsigned to, unsigned from, bool mem, enum uop_ea ea);
uop_fn *uop_lea(unsigned size, bool index);
uop_fn *uop_cmov(unsigned cond, unsigned size, bool mem, enum uop_ea ea);
uop_fn *uop_setcc(unsigned cond, bool mem, enum uop_ea ea);
uop_fn *uop_widen(unsigned op, unsigned size);	/* CBW, CWD and their kin */
uop_fn *uop_push(unsigned mode, bool imm);
uop_fn *uop_pop(unsigned mode);
uop_fn *uop_jcc(unsigned cond);
uop_fn uop_jmp, uop_jmp_reg, uop_call64, uop_call32, uop_ret64, uop_ret32, uop_leave64;
uop_fn *uop_jmp_mem(unsigned mode, enum uop_ea ea);
uop_fn *uop_call_ind(unsigned mode, bool mem, enum uop_ea ea);

#endif
