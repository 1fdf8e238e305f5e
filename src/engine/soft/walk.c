// SPDX-License-Identifier: GPL-2.0-or-later
/* walk.c - page walks: 32-bit with PSE and PSE-36, PAE, 4-level.
 * After: Intel SDM vol. 3 ch. 4; AMD APM vol. 2 ch. 5.
 *
 * A walk first reads all levels and decides, then sets accessed and dirty bits from the top down
 * by compare-exchange on the guest's own entries. When an entry changed meanwhile (another vCPU)
 * the walk starts anew: neither a stale bit nor an entry that was just cleared comes back.
 * A walk that ends in a fault sets no bit. Tables outside RAM read as all ones. 5-level paging
 * and protection keys are not modelled (CPUID does not offer them). */
#include "engine/soft/access.h"
#include "engine/soft/mmu.h"
#include <errno.h>

enum pte {		/* SDM vol. 3, tables 4-5 to 4-20 */
	PTE_P = 1 << 0, PTE_W = 1 << 1, PTE_U = 1 << 2, PTE_A = 1 << 5, PTE_D = 1 << 6,
	PTE_PS = 1 << 7, PTE_G = 1 << 8,
};
#define PTE_NX BIT(63)
#define PDPTE_RSVD 0x1e6ull		/* PAE: bits 8:5, 2:1 */
#define PAE_RSVD 0x7ff0000000000000ull	/* PAE: bits 62:52; ignored in 4-level */

struct level {
	u64 gpa;		/* of the entry */
	void *hva;		/* NULL: not in RAM, or read-only */
	u8 *flags;
	u64 e;			/* as read */
};

const struct ram_block *mmu_block(struct cpu *c, u64 gpa)
{
	const struct ram_block *b = c->mmu->blk;

	if (likely(b && gpa - b->gpa < b->len))
		return b;
	b = ram_find(c->m->ram, gpa);
	if (b)
		c->mmu->blk = b;
	return b;
}

guest_racy static void level_read(struct cpu *c, struct level *l, u64 gpa, unsigned size)
{
	const struct ram_block *b;
	void *p;

	gpa &= c->a20_mask;
	l->gpa = gpa;
	l->hva = NULL;
	b = mmu_block(c, gpa);
	if (!b) {
		l->e = size == 8 ? UINT64_MAX : UINT32_MAX;
		return;
	}
	if (unlikely(!ram_ready(c->m->ram, b, gpa))) {
		c->mmu->lost = true;	/* nothing there: a fault, before which mmu_page() looks */
		l->e = 0;
		return;
	}
	p = b->hva + (gpa - b->gpa);
	l->e = size == 8 ? __atomic_load_n((u64 *)p, __ATOMIC_RELAXED)
			 : __atomic_load_n((u32 *)p, __ATOMIC_RELAXED);
	if (!b->readonly) {
		l->hva = p;
		l->flags = &b->pageflags[(gpa - b->gpa) >> PAGE_SHIFT];
	}
}

/* Set @bits in the entry unless it has changed since. False: it has. */
guest_racy static bool level_set(struct cpu *c, struct level *l, u64 bits, unsigned size)
{
	u8 flags;
	bool ok;

	if ((l->e & bits) == bits || !l->hva)
		return true;
	if (size == 8) {
		u64 old = l->e;
		ok = __atomic_compare_exchange_n((u64 *)l->hva, &old, old | bits, false,
						 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	} else {
		u32 old = (u32)l->e;
		ok = __atomic_compare_exchange_n((u32 *)l->hva, &old, old | (u32)bits, false,
						 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
	if (!ok)
		return false;
	flags = __atomic_load_n(l->flags, __ATOMIC_SEQ_CST);
	if (!(flags & RAM_PAGE_DIRTY))
		__atomic_fetch_or(l->flags, RAM_PAGE_DIRTY, __ATOMIC_SEQ_CST);
	if (flags & RAM_PAGE_CODE)
		block_code_written(c, l->gpa, size);
	return true;
}

/* What a walk found: entries from the top, the leaf last. */
struct walk {
	struct level l[4];
	unsigned n, size;	/* levels read; bytes an entry */
	u64 xl;
};
/* Results of a walk's reading part, as bits of the page-fault error code. */
#define WALK_OK 0xffffffffu

/* 32-bit paging, SDM 4.3. */
static u32 walk_32(struct cpu *c, u64 la, struct walk *w)
{
	struct level *l = &w->l[0];
	u64 e, xl;

	w->size = 4;
	w->n = 1;
	level_read(c, l, (c->cr3 & 0xfffff000u) + ((la >> 22) & 0x3ff) * 4, 4);
	e = l->e;
	if (!(e & PTE_P))
		return 0;
	xl = XL_V | XL_X | (e & PTE_W ? XL_W : 0) | (e & PTE_U ? XL_U : 0);
	if ((e & PTE_PS) && (c->cr4 & CR4_PSE)) {
		/* PSE-36: bits 20:13 are 39:32 of the address, as far as it goes. */
		u64 pa = (e & 0xffc00000u) | ((e >> 13) & 0xff) << 32;

		if ((e & BIT(21)) || (pa & c->mmu->rsvd_hi))
			return PF_P | PF_RSVD;
		xl |= (pa + (la & 0x3ff000)) | XL_4M;
	} else {
		l = &w->l[w->n++];
		level_read(c, l, (e & 0xfffff000u) + ((la >> 12) & 0x3ff) * 4, 4);
		e = l->e;
		if (!(e & PTE_P))
			return 0;
		if (!(e & PTE_W))
			xl &= ~(u64)XL_W;
		if (!(e & PTE_U))
			xl &= ~(u64)XL_U;
		xl |= e & 0xfffff000u;
	}
	w->xl = xl | (e & PTE_D ? XL_D : 0) | (e & PTE_G && c->cr4 & CR4_PGE ? XL_G : 0);
	return WALK_OK;
}

/* PAE from the PDPTE registers down, SDM 4.4; 4-level, SDM 4.5. */
static u32 walk_64(struct cpu *c, u64 la, struct walk *w)
{
	const struct mmu *m = c->mmu;
	u64 rsvd = m->rsvd_hi | (c->efer & EFER_NXE ? 0 : PTE_NX);
	u64 xl = XL_V | XL_W | XL_U | XL_X, table = c->cr3, e;
	unsigned level = 4;

	w->size = 8;
	w->n = 0;
	if (!cpu_long(c)) {
		table = c->pdpte[(la >> 30) & 3];
		if (!(table & PTE_P))
			return 0;
		rsvd |= PAE_RSVD;
		level = 2;
	}
	for (;; level--) {
		struct level *l = &w->l[w->n++];
		unsigned shift = 12 + 9 * (level - 1);
		bool leaf;

		level_read(c, l, (table & m->pa_mask) + ((la >> shift) & 511) * 8, 8);
		e = l->e;
		if (!(e & PTE_P))
			return 0;
		leaf = level == 1 || (e & PTE_PS);
		if (e & rsvd)
			return PF_P | PF_RSVD;
		if (leaf && level > 1) {
			if (level == 4 || (level == 3 && !m->has_1g))
				return PF_P | PF_RSVD;
			if (e & (BIT(shift) - 1) & ~0x1fffull)
				return PF_P | PF_RSVD;
			xl |= level == 3 ? XL_1G : XL_2M;
		}
		if (!(e & PTE_W))
			xl &= ~(u64)XL_W;
		if (!(e & PTE_U))
			xl &= ~(u64)XL_U;
		if (e & PTE_NX)
			xl &= ~(u64)XL_X;
		if (leaf) {
			u64 off = BIT(shift) - 1;

			xl |= (e & m->pa_mask & ~off) | (la & off & PAGE_MASK);
			break;
		}
		table = e;
	}
	w->xl = xl | (e & PTE_D ? XL_D : 0) | (e & PTE_G && c->cr4 & CR4_PGE ? XL_G : 0);
	return WALK_OK;
}

static u32 walk_read(struct cpu *c, u64 la, struct walk *w)
{
	if (!(c->cr0 & CR0_PG)) {
		w->n = 0;
		w->xl = (la & 0xfffff000u) | XL_V | XL_W | XL_U | XL_X | XL_D;
		return WALK_OK;
	}
	return c->cr4 & CR4_PAE ? walk_64(c, la, w) : walk_32(c, la, w);
}

int mmu_walk(struct cpu *c, u64 la, enum mmu_acc acc, unsigned set, u64 *xl, u32 *err)
{
	struct walk w;
	unsigned i;
	u32 r;

again:
	r = walk_read(c, la, &w);
	if (r == WALK_OK && !xl_permits(c, w.xl, acc, set))
		r = PF_P;
	if (r != WALK_OK) {
		if (acc == ACC_W)
			r |= PF_W;
		if (set == TLB_USER)
			r |= PF_U;
		if (acc == ACC_X && ((c->efer & EFER_NXE && c->cr4 & CR4_PAE) ||
				     c->cr4 & CR4_SMEP))
			r |= PF_I;
		*err = r;
		return -EFAULT;
	}
	for (i = 0; i < w.n; i++) {
		bool leaf = i == w.n - 1;

		if (!level_set(c, &w.l[i], PTE_A | (leaf && acc == ACC_W ? PTE_D : 0), w.size))
			goto again;
	}
	if (acc == ACC_W)
		w.xl |= XL_D;
	*xl = w.xl;
	return 0;
}

int mmu_peek(struct cpu *c, u64 la, u64 *gpa)
{
	struct walk w;

	if (cpu_long(c) ? !la_canonical(la) : la > UINT32_MAX)
		return -EFAULT;
	if (walk_read(c, la, &w) != WALK_OK)
		return -EFAULT;
	*gpa = ((w.xl & PAGE_MASK) | (la & ~PAGE_MASK)) & c->a20_mask;
	return 0;
}

bool mmu_load_pdptes(struct cpu *c, u64 cr3)
{
	u64 e[4];
	struct level l;
	unsigned i;

	for (i = 0; i < 4; i++) {
		level_read(c, &l, (cr3 & 0xffffffe0u) + i * 8, 8);
		e[i] = l.e;
		if ((l.e & PTE_P) &&
		    (l.e & (c->mmu->rsvd_hi | PAE_RSVD | PTE_NX | PDPTE_RSVD)))
			return false;
	}
	for (i = 0; i < 4; i++)
		c->pdpte[i] = e[i];
	return true;
}
