/* SPDX-License-Identifier: GPL-2.0-or-later */
/* generic.c - uops that run an exec function, those that only lead on, and the ways out of the
 * quick ones. */
#include "engine/soft/uop/uop.h"

/* An instruction inside a block. */
const struct uop *uop_generic(struct cpu *c, const struct uop *u)
{
	uop_at(c, u);
	c->next_rip = uop_insn_next(c, u);
	u->exec(c, u->in);
	if (unlikely(uop_look(c))) {
		c->rip = c->next_rip;
		return NULL;
	}
	NEXT(c, u);
}

/* The last one: it may have gone anywhere and changed anything. */
const struct uop *uop_generic_end(struct cpu *c, const struct uop *u)
{
	uop_at(c, u);
	c->next_rip = uop_insn_next(c, u);
	u->exec(c, u->in);
	return uop_goto(c, c->next_rip);
}

/* An instruction that does not exist in this mode, or not for this CPL. */
const struct uop *uop_gate(struct cpu *c, const struct uop *u)
{
	uop_at(c, u);
	c->next_rip = c->rip;
	exec_gate_raise(c, u->vector);
}

/* The block ended for want of room: on to the next one. */
const struct uop *uop_fall(struct cpu *c, const struct uop *u)
{
	u = uop_follow(c, u->chain);
	if (unlikely(!u))
		return NULL;
	GOTO(c, u);
}

/* First of a block whose instruction lies in two pages. */
const struct uop *uop_crossing(struct cpu *c, const struct uop *u)
{
	struct block *b = c->blk;

	if (unlikely(b->map_gen2 != map_gen_both(c) || atomic_load(b->gen2) != b->gen2_seen)) {
		c->rip = b->rip;
		if (!block_second_ok(c, b))
			return code_next(c);
	}
	NEXT(c, u);
}

cold const struct uop *uop_redo(struct cpu *c, const struct uop *u)
{
	struct insn in;

	uop_at(c, u);
	block_fetch_insn(c, &in);
	exec_insn(c, &in);
	c->rip = c->next_rip;
	return NULL;
}

cold u64 uop_ld_slow(struct cpu *c, const struct uop *u, u64 la, unsigned size)
{
	uop_at(c, u);
	return la_ld_slow(c, u->seg, la, size);
}

cold bool uop_st_slow(struct cpu *c, const struct uop *u, u64 la, u64 val, unsigned size)
{
	uop_at(c, u);
	la_st_slow(c, u->seg, la, val, size);
	return uop_look(c);
}

cold void *uop_rmw_slow(struct cpu *c, const struct uop *u, u64 la, unsigned size)
{
	uop_at(c, u);
	return la_rmw_slow(c, u->seg, la, size);
}
