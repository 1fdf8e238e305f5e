/* SPDX-License-Identifier: GPL-2.0-or-later */
/* generic.c - uops that run an exec function, and those that only lead on. */
#include "engine/soft/uop/uop.h"

/* An instruction inside a block. */
const struct uop *uop_generic(struct cpu *c, const struct uop *u)
{
	c->rip = c->blk->rip + u->off;
	c->next_rip = uop_next_rip(c, u);
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
	c->rip = c->blk->rip + u->off;
	c->next_rip = uop_next_rip(c, u);
	u->exec(c, u->in);
	c->rip = c->next_rip;
	return block_next(c);
}

/* An instruction that does not exist in this mode, or not for this CPL. */
const struct uop *uop_gate(struct cpu *c, const struct uop *u)
{
	c->rip = c->blk->rip + u->off;
	c->next_rip = c->rip;
	exec_gate_raise(c, u->vector);
}

/* The block ended for want of room: on to the next one. */
const struct uop *uop_fall(struct cpu *c, const struct uop *u)
{
	return uop_follow(c, u->chain, uop_trunc_rip(c, c->blk->rip + u->off));
}
