/* SPDX-License-Identifier: GPL-2.0-or-later */
/* access.h - inline fast paths of loads and stores for handlers that know their operand's size.
 *
 * They take a linear address: seg_fast() says when that is base + offset without further checks.
 * One compare decides: the tag of the page in which the *last* byte lies, looked for in the entry
 * of the page of the first. Where the two differ (page-crossing) the tag found belongs to another
 * index and never matches; a non-canonical address has no tag; what must be seen first (MMIO,
 * a page with code or a watchpoint, not dirty, misaligned under #AC) has none either.
 * The slow calls do everything that the architecture asks, canonical checks included. */
#ifndef PENTA_SOFT_ACCESS_H
#define PENTA_SOFT_ACCESS_H

#include "engine/soft/cpu.h"

/* Guest RAM is shared with other vCPUs by nature: TSan would report the guest's own races. */
#define guest_racy __attribute__((no_sanitize("thread")))

typedef u16 __attribute__((may_alias, aligned(1))) gu16;
typedef u32 __attribute__((may_alias, aligned(1))) gu32;
typedef u64 __attribute__((may_alias, aligned(1))) gu64;

/* After segmentation, with the current privilege. @seg: only whether #SS or #GP is raised for a
 * non-canonical address. */
u64 la_ld_slow(struct cpu *c, unsigned seg, u64 la, unsigned size);
void la_st_slow(struct cpu *c, unsigned seg, u64 la, u64 val, unsigned size);
void *la_rmw_slow(struct cpu *c, unsigned seg, u64 la, unsigned size);

static inline struct tlb_entry *tlb_at(struct cpu *c, u64 la)
{
	return &c->tlb_data[(la >> PAGE_SHIFT) & (TLB_SIZE - 1)];
}

/* May @seg:@off be taken as linear *@la without limit and type checks? */
static inline bool seg_fast(const struct cpu *c, unsigned seg, u64 off, u64 *la)
{
	if (c->lma64) {
		*la = seg >= SEG_FS ? c->seg[seg].base + off : off;
		return true;
	}
	if (c->flat && seg != SEG_CS && seg < SEG_FS) {
		*la = (u32)off;
		return true;
	}
	return false;
}

guest_racy static inline u64 fast_ld8(struct cpu *c, unsigned seg, u64 la)
{
	const struct tlb_entry *e = tlb_at(c, la);

	if (likely(e->tag_r == (la & PAGE_MASK)))
		return *(volatile const u8 *)(la + e->addend);
	return la_ld_slow(c, seg, la, 1);
}

guest_racy static inline u64 fast_ld16(struct cpu *c, unsigned seg, u64 la)
{
	const struct tlb_entry *e = tlb_at(c, la);

	if (likely(e->tag_r == ((la + 1) & PAGE_MASK)))
		return *(volatile const gu16 *)(la + e->addend);
	return la_ld_slow(c, seg, la, 2);
}

guest_racy static inline u64 fast_ld32(struct cpu *c, unsigned seg, u64 la)
{
	const struct tlb_entry *e = tlb_at(c, la);

	if (likely(e->tag_r == ((la + 3) & PAGE_MASK)))
		return *(volatile const gu32 *)(la + e->addend);
	return la_ld_slow(c, seg, la, 4);
}

guest_racy static inline u64 fast_ld64(struct cpu *c, unsigned seg, u64 la)
{
	const struct tlb_entry *e = tlb_at(c, la);

	if (likely(e->tag_r == ((la + 7) & PAGE_MASK)))
		return *(volatile const gu64 *)(la + e->addend);
	return la_ld_slow(c, seg, la, 8);
}

guest_racy static inline void fast_st8(struct cpu *c, unsigned seg, u64 la, u64 val)
{
	const struct tlb_entry *e = tlb_at(c, la);

	if (likely(e->tag_w == (la & PAGE_MASK)))
		*(volatile u8 *)(la + e->addend) = (u8)val;
	else
		la_st_slow(c, seg, la, val, 1);
}

guest_racy static inline void fast_st16(struct cpu *c, unsigned seg, u64 la, u64 val)
{
	const struct tlb_entry *e = tlb_at(c, la);

	if (likely(e->tag_w == ((la + 1) & PAGE_MASK)))
		*(volatile gu16 *)(la + e->addend) = (u16)val;
	else
		la_st_slow(c, seg, la, val, 2);
}

guest_racy static inline void fast_st32(struct cpu *c, unsigned seg, u64 la, u64 val)
{
	const struct tlb_entry *e = tlb_at(c, la);

	if (likely(e->tag_w == ((la + 3) & PAGE_MASK)))
		*(volatile gu32 *)(la + e->addend) = (u32)val;
	else
		la_st_slow(c, seg, la, val, 4);
}

guest_racy static inline void fast_st64(struct cpu *c, unsigned seg, u64 la, u64 val)
{
	const struct tlb_entry *e = tlb_at(c, la);

	if (likely(e->tag_w == ((la + 7) & PAGE_MASK)))
		*(volatile gu64 *)(la + e->addend) = val;
	else
		la_st_slow(c, seg, la, val, 8);
}

/* As mem_rmw(), by linear address. @size 1 2 4 8 16. A page that can be written can be read. */
static inline void *fast_rmw(struct cpu *c, unsigned seg, u64 la, unsigned size)
{
	const struct tlb_entry *e = tlb_at(c, la);

	if (likely(e->tag_w == ((la + size - 1) & PAGE_MASK)))
		return (void *)(la + e->addend);
	return la_rmw_slow(c, seg, la, size);
}

/* Any size 1 2 4 8 by a constant or a variable. */
static inline u64 fast_ld(struct cpu *c, unsigned seg, u64 la, unsigned size)
{
	return size == 8 ? fast_ld64(c, seg, la) : size == 4 ? fast_ld32(c, seg, la) :
	       size == 2 ? fast_ld16(c, seg, la) : fast_ld8(c, seg, la);
}
static inline void fast_st(struct cpu *c, unsigned seg, u64 la, u64 val, unsigned size)
{
	switch (size) {
	case 8: fast_st64(c, seg, la, val); break;
	case 4: fast_st32(c, seg, la, val); break;
	case 2: fast_st16(c, seg, la, val); break;
	default: fast_st8(c, seg, la, val);
	}
}

#endif
