/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mmu.h - what walk.c, tlb.c, access.c and sys.c share: translations as one word, and the state
 * behind the fast TLB. */
#ifndef PENTA_SOFT_MMU_H
#define PENTA_SOFT_MMU_H

#include "engine/soft/cpu.h"

/* A translation: the guest physical page, and in the low 12 bits what may be done with it. Rights
 * are the tables' own; CR0.WP, CR4.SMEP and SMAP, CPL and RFLAGS.AC are applied by xl_permits(). */
enum xl {
	XL_W = 1 << 0, XL_U = 1 << 1, XL_X = 1 << 2,
	XL_D = 1 << 3,		/* the leaf's dirty bit is set: writes need no walk */
	XL_G = 1 << 4,		/* global: survives CR3 loads */
	XL_V = 1 << 5,
	XL_4M = 1 << 6,		/* cut from a 4 MiB page; */
	XL_2M = 1 << 7,		/* 2 MiB; */
	XL_1G = 1 << 8,		/* 1 GiB: INVLPG of any of its addresses drops all of it */
	XL_LARGE = XL_4M | XL_2M | XL_1G,
};

enum mmu_acc { ACC_R, ACC_W, ACC_X };

/* May @xl be used for @acc through @set? */
static inline bool xl_permits(const struct cpu *c, u64 xl, enum mmu_acc acc, unsigned set)
{
	if (!(c->cr0 & CR0_PG))
		return true;
	if (set == TLB_USER) {
		if (!(xl & XL_U))
			return false;
		return acc == ACC_R || (xl & (acc == ACC_W ? XL_W : XL_X));
	}
	if (acc == ACC_X)
		return (xl & XL_X) && !((xl & XL_U) && (c->cr4 & CR4_SMEP));
	if ((xl & XL_U) && set != TLB_SUPER_AC && (c->cr4 & CR4_SMAP))
		return false;
	return acc == ACC_R || (xl & XL_W) || !(c->cr0 & CR0_WP);
}

/* --- walk.c --- */
/* Walk the tables for @la and set A (and for ACC_W D) bits. 0 with *@xl, or -EFAULT with the #PF
 * error code in *@err: then nothing was changed. */
int mmu_walk(struct cpu *c, u64 la, enum mmu_acc acc, unsigned set, u64 *xl, u32 *err);
/* Load the four PDPTEs as a CR3 load in PAE mode does; false (nothing changed) when a present one
 * has reserved bits: #GP. */
bool mmu_load_pdptes(struct cpu *c, u64 cr3);
/* The RAM block that holds @gpa (A20 applied by the caller); NULL: MMIO or nothing. */
const struct ram_block *mmu_block(struct cpu *c, u64 gpa);

/* --- tlb.c --- */
/* A page of a machine that is still being restored cannot be had (vm/ram.h): leave the engine. */
_Noreturn void mmu_lost(struct cpu *c);
#define L2_SETS 1024u
#define L2_WAYS 4u
struct l2_way {
	u64 key;	/* linear page | address space number */
	u64 xl;		/* 0: free */
};

#define FILL_LOG 256u
#define BLOOM_BITS 1024u

struct mmu {
	u64 info[TLB_SLOW][TLB_SIZE];	/* enum xl word behind each fast entry; 0: free */
	/* The second level: four ways, tagged with address space numbers, so that a change of CR3
	 * empties only the fast level. A number is never reused before all are dropped. */
	_Alignas(64) struct l2_way l2[L2_SETS][L2_WAYS];
	u16 asn_of_pcid[4096];		/* 0: none yet */
	u16 asn, asn_next;
	u8 victim;
	u8 phys_bits;
	bool has_1g;
	u64 pa_mask;			/* bits 12 .. phys_bits-1 */
	u64 rsvd_hi;			/* bits phys_bits .. 51 */
	/* Which fast entries hold something, by set, and which of all hold non-global translations:
	 * logs of what was filled since the last such flush. Above FILL_LOG: look at all. */
	u32 nfill[TLB_SLOW];
	u16 fill[TLB_SLOW][FILL_LOG];
	u32 nlog;
	u16 log[FILL_LOG];
	/* 2 MiB regions that may have pieces of large pages cached, by hash; and of 1 GiB pages. */
	u64 bloom[BLOOM_BITS / 64], bloom_1g[BLOOM_BITS / 64];
	const struct ram_block *blk;	/* last found */
	bool split_held;		/* the engine's split lock, by this vCPU */
	bool lost;			/* memory that was to come in cannot be had: the vCPU ends */
};

/* Where one page's part of an access goes. */
struct page {
	u64 gpa;			/* of the byte itself, A20 applied */
	u8 *hva;			/* of the byte; NULL: MMIO, ROM written, nothing */
	u8 *flags;			/* RAM_PAGE_*; NULL with hva */
};
/* Translate @la, raising #PF; fill the fast TLB; for ACC_W mark the page dirty. */
void mmu_page(struct cpu *c, u64 la, enum mmu_acc acc, unsigned set, struct page *pg);
/* MOV to CR3: address space of @pcid, which keeps its translations when @keep. */
void tlb_switch(struct cpu *c, unsigned pcid, bool keep);
void tlb_flush_pcid_page(struct cpu *c, unsigned pcid, u64 la);	/* INVPCID type 0 */
/* CR0.WP, CR4.SMEP or SMAP changed: what they derive from the tables' rights is in the fast level
 * only. */
void tlb_flush_rights(struct cpu *c);
/* All but globals, of every PCID: INVPCID type 3. */
void tlb_flush_all_pcids(struct cpu *c);
/* After CR0, CR3, CR4, EFER were set from outside (reset, restore): PDPTEs, address space, flush. */
void mmu_state_set(struct cpu *c);

static inline bool la_canonical(u64 la) { return (u64)((s64)(la << 16) >> 16) == la; }

#endif
