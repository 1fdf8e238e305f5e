/* SPDX-License-Identifier: GPL-2.0-or-later */
/* uop.h - what the functions of uops share. */
#ifndef PENTA_SOFT_UOP_H
#define PENTA_SOFT_UOP_H

#include "engine/soft/access.h"
#include "engine/soft/alu.h"
#include "engine/soft/block.h"

static inline bool uop_look(const struct cpu *c)
{
	return atomic_load_explicit(&c->look, memory_order_relaxed);
}

static inline u64 uop_trunc_rip(const struct cpu *c, u64 rip)
{
	return c->mode == 8 ? rip : c->mode == 4 ? (u32)rip : (u16)rip;
}

/* RIP of the instruction after @u. */
static inline u64 uop_next_rip(const struct cpu *c, const struct uop *u)
{
	return uop_trunc_rip(c, c->blk->rip + u[1].off);
}

/* To the block at @rip by a link. */
static inline const struct uop *uop_follow(struct cpu *c, struct chain *ch, u64 rip)
{
	struct block *b = ch->b;

	if (likely(b && ch->map_gen == c->map_gen && !uop_look(c) && block_fresh(b))) {
		c->blk = b;
		c->stats.insns += b->ninsns;
		return b->u;
	}
	c->rip = rip;
	return block_link(c, ch);
}

#endif
