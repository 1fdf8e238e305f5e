// SPDX-License-Identifier: GPL-2.0-or-later
/* tlb.c - translations kept, in two levels.
 *
 *	c->tlb[set][page % 512]   what handlers probe inline: tags for read, write, execute and the
 *	                          distance to the host's address; of the current address space only
 *	mmu->l2[page % 1024][4]   guest physical page and the tables' rights, of many address spaces
 *
 * The first level is emptied (but for global pages) whenever CR3 changes: it is small, and a log of
 * what was filled keeps that cheap. The second survives: its keys hold an address space number,
 * and dropping a PCID, or a CR3 load without PCID, is taking a new number. Entries with the old one
 * can never match again; when numbers run out (4095) all is dropped.
 *
 * Rights are checked against the second level at each refill; what it does not permit is walked
 * anew, so that an entry made too weak by a guest that widened rights without INVLPG is no fault.
 *
 * Large pages are cached in 4 KiB pieces. INVLPG must drop all of them: a Bloom filter by 2 MiB
 * region tells when there may be any, and only then all entries are looked at.
 * After: Intel SDM vol. 3, 4.10; AMD APM vol. 2, 5.5. */
#include "engine/soft/access.h"
#include "engine/soft/mmu.h"
#include "engine/soft/pv.h"
#include "vm/cpuid.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LA_INDEX(la) (((la) >> PAGE_SHIFT) & (TLB_SIZE - 1))
#define ASN_MAX 4095u
#define CPUID_ADDR_SIZES 0x80000008u	/* EAX bits 7:0: physical address bits */

static unsigned bloom_bit(u64 region)
{
	return (unsigned)((region * 0x9e3779b97f4a7c15ull) >> 54) % BLOOM_BITS;
}
static void bloom_add(u64 *bloom, u64 region)
{
	unsigned b = bloom_bit(region);

	bloom[b / 64] |= BIT(b % 64);
}
static bool bloom_has(const u64 *bloom, u64 region)
{
	unsigned b = bloom_bit(region);

	return bloom[b / 64] & BIT(b % 64);
}

static void entry_drop(struct cpu *c, unsigned set, unsigned i)
{
	struct tlb_entry *e = &c->tlb[set][i];

	e->tag_r = e->tag_x = TLB_INVALID;
	atomic_store_explicit(&e->tag_w, TLB_INVALID, memory_order_relaxed);
	c->mmu->info[set][i] = 0;
}

/* The linear page of a fast entry; only of one with info. */
static u64 entry_page(const struct tlb_entry *e)
{
	return e->tag_r != TLB_INVALID ? e->tag_r : e->tag_w != TLB_INVALID ? e->tag_w : e->tag_x;
}

static void fast_flush_all(struct cpu *c)
{
	struct mmu *m = c->mmu;
	unsigned s, i;

	for (s = 0; s < TLB_SLOW; s++) {
		if (m->nfill[s] <= FILL_LOG) {
			for (i = 0; i < m->nfill[s]; i++)
				entry_drop(c, s, m->fill[s][i]);
		} else {
			for (i = 0; i < TLB_SIZE; i++)
				entry_drop(c, s, i);
		}
		m->nfill[s] = 0;
	}
	m->nlog = 0;
}

static void fast_flush_nonglobal(struct cpu *c)
{
	struct mmu *m = c->mmu;
	unsigned s, i;

	if (m->nlog <= FILL_LOG) {
		for (i = 0; i < m->nlog; i++) {
			unsigned at = m->log[i], set = at / TLB_SIZE;

			if (!(m->info[set][at % TLB_SIZE] & XL_G))
				entry_drop(c, set, at % TLB_SIZE);
		}
	} else {
		for (s = 0; s < TLB_SLOW; s++)
			for (i = 0; i < TLB_SIZE; i++)
				if (m->info[s][i] && !(m->info[s][i] & XL_G))
					entry_drop(c, s, i);
	}
	m->nlog = 0;
}

static void l2_flush_all(struct mmu *m)
{
	memset(m->l2, 0, sizeof(m->l2));
	memset(m->asn_of_pcid, 0, sizeof(m->asn_of_pcid));
	memset(m->bloom, 0, sizeof(m->bloom));
	memset(m->bloom_1g, 0, sizeof(m->bloom_1g));
	m->asn_next = 1;
}

/* No link of blocks made so far is to be believed. */
static void code_maps_changed(struct cpu *c)
{
	c->map_gen[0]++;
	c->map_gen[1]++;
	memset(c->code_seen, 0, sizeof(c->code_seen));
}

static unsigned cpu_pcid(const struct cpu *c)
{
	return c->cr4 & CR4_PCIDE ? c->cr3 & 0xfff : 0;
}

/* The number of @pcid's address space; a new one when it has none. */
static u16 asn_get(struct cpu *c, unsigned pcid)
{
	struct mmu *m = c->mmu;

	if (!m->asn_of_pcid[pcid]) {
		if (m->asn_next > ASN_MAX)
			l2_flush_all(m);
		m->asn_of_pcid[pcid] = m->asn_next++;
	}
	return m->asn_of_pcid[pcid];
}

void tlb_switch(struct cpu *c, unsigned pcid, bool keep)
{
	if (!keep)
		c->mmu->asn_of_pcid[pcid] = 0;
	c->mmu->asn = asn_get(c, pcid);
	fast_flush_nonglobal(c);
	c->map_gen[0]++;
}

void tlb_flush_all(struct cpu *c)
{
	l2_flush_all(c->mmu);
	c->mmu->asn = asn_get(c, cpu_pcid(c));
	fast_flush_all(c);
	code_maps_changed(c);
}

void tlb_flush_rights(struct cpu *c)
{
	fast_flush_all(c);
	code_maps_changed(c);
}

void tlb_flush_nonglobal(struct cpu *c)
{
	tlb_switch(c, cpu_pcid(c), false);
}

void tlb_flush_all_pcids(struct cpu *c)
{
	memset(c->mmu->asn_of_pcid, 0, sizeof(c->mmu->asn_of_pcid));
	tlb_flush_nonglobal(c);
}

void tlb_flush_pcid(struct cpu *c, unsigned pcid, bool globals)
{
	if (globals)
		tlb_flush_all(c);
	else if (pcid == cpu_pcid(c))
		tlb_flush_nonglobal(c);
	else
		c->mmu->asn_of_pcid[pcid] = 0;
}

/* Is @page a piece of the large page (of @xl's size) that @la lies in? */
static bool same_large(u64 page, u64 la, u64 xl)
{
	u64 size = xl & XL_1G ? GiB : xl & XL_4M ? 4 * MiB : 2 * MiB;

	return ((page ^ la) & ~(size - 1)) == 0;
}

/* Drop what is cached for the page of @la in address space @asn; with @globals, global ones too.
 * The fast level is touched only when @asn is the current one (or for globals). */
static void flush_page(struct cpu *c, u64 la, u16 asn, bool globals)
{
	struct mmu *m = c->mmu;
	bool large = bloom_has(m->bloom, la >> 21) || bloom_has(m->bloom_1g, la >> 30);
	u64 page = la & PAGE_MASK;
	unsigned s, i, w, seen = code_seen_bit(la);

	for (i = large ? 0 : (la >> PAGE_SHIFT) % L2_SETS; i < L2_SETS; i++) {
		for (w = 0; w < L2_WAYS; w++) {
			struct l2_way *e = &m->l2[i][w];
			u64 p = e->key & PAGE_MASK;

			if (!e->xl || !(p == page ||
					((e->xl & XL_LARGE) && same_large(p, la, e->xl))))
				continue;
			if (e->xl & XL_G ? globals : (e->key & 0xfff) == asn)
				e->xl = 0;
		}
		if (!large)
			break;
	}
	for (s = 0; s < TLB_SLOW; s++) {
		for (i = large ? 0 : LA_INDEX(la); i < TLB_SIZE; i++) {
			u64 xl = m->info[s][i], p;

			if (xl) {
				p = entry_page(&c->tlb[s][i]);
				if ((p == page || ((xl & XL_LARGE) && same_large(p, la, xl))) &&
				    (xl & XL_G ? globals : asn == m->asn))
					entry_drop(c, s, i);
			}
			if (!large)
				break;
		}
	}
	/* Links to code may rest on translations that are in neither level any more. */
	if (large || (c->code_seen[seen / 64] & BIT(seen % 64)))
		code_maps_changed(c);
}

void tlb_flush_page(struct cpu *c, u64 la)
{
	flush_page(c, la, c->mmu->asn, true);
}

void tlb_flush_pcid_page(struct cpu *c, unsigned pcid, u64 la)
{
	u16 asn = c->mmu->asn_of_pcid[pcid];

	if (asn)
		flush_page(c, la, asn, false);
}

static struct l2_way *l2_find(struct mmu *m, u64 la)
{
	struct l2_way *e = m->l2[(la >> PAGE_SHIFT) % L2_SETS];
	u64 key = (la & PAGE_MASK) | m->asn;
	unsigned w;

	for (w = 0; w < L2_WAYS; w++, e++)
		if (e->xl && (e->key == key ||
			      ((e->xl & XL_G) && !((e->key ^ key) & PAGE_MASK))))
			return e;
	return NULL;
}

static void l2_put(struct mmu *m, u64 la, u64 xl)
{
	struct l2_way *e = l2_find(m, la), *set = m->l2[(la >> PAGE_SHIFT) % L2_SETS];
	unsigned w;

	if (!e) {
		for (w = 0; w < L2_WAYS && set[w].xl; w++)
			;
		e = &set[w < L2_WAYS ? w : m->victim++ % L2_WAYS];
	}
	e->key = (la & PAGE_MASK) | m->asn;
	e->xl = xl;
	if (xl & XL_1G)
		bloom_add(m->bloom_1g, la >> 30);
	if (xl & (XL_2M | XL_4M))
		bloom_add(m->bloom, la >> 21);
	if (xl & XL_4M)
		bloom_add(m->bloom, (la >> 21) ^ 1);
}

/* Put the page into the fast level with all tags that need not be seen first. */
static void fast_fill(struct cpu *c, u64 la, unsigned set, u64 xl, const struct page *pg, bool ro)
{
	struct mmu *m = c->mmu;
	u64 page = la & PAGE_MASK;
	unsigned i = LA_INDEX(la);
	struct tlb_entry *e = &c->tlb[set][i];
	bool w = !ro && (xl & XL_D) && xl_permits(c, xl, ACC_W, set);

	entry_drop(c, set, i);
	__atomic_store_n(&e->addend, (uintptr_t)pg->hva - la, __ATOMIC_RELAXED);
	if (xl_permits(c, xl, ACC_X, set))
		e->tag_x = page;
	if (!((c->dbg_armed & DBG_DATA) && debug_watch_page(c, page))) {
		if (xl_permits(c, xl, ACC_R, set))
			e->tag_r = page;
		if (w && (__atomic_load_n(pg->flags, __ATOMIC_RELAXED) &
			  (RAM_PAGE_DIRTY | RAM_PAGE_CODE)) == RAM_PAGE_DIRTY) {
			/* mmu_code_page() on another thread sets the flag, then looks for tags: one
			 * of the two sees the other. */
			atomic_store(&e->tag_w, page);
			if ((__atomic_load_n(pg->flags, __ATOMIC_SEQ_CST) &
			     (RAM_PAGE_DIRTY | RAM_PAGE_CODE)) != RAM_PAGE_DIRTY)
				atomic_store(&e->tag_w, TLB_INVALID);
		}
	}
	if (e->tag_r == TLB_INVALID && e->tag_w == TLB_INVALID && e->tag_x == TLB_INVALID)
		return;
	/* A write tag alone could be taken away by mmu_code_page(): flush_page() must still find
	 * what the entry is of, and reading always goes with writing but for watched pages. */
	m->info[set][i] = xl;
	c->stats.tlb_fills++;
	if (m->nfill[set] < FILL_LOG)
		m->fill[set][m->nfill[set]] = (u16)i;
	if (m->nfill[set] <= FILL_LOG)
		m->nfill[set]++;
	if (!(xl & XL_G)) {
		if (m->nlog < FILL_LOG)
			m->log[m->nlog] = (u16)(set * TLB_SIZE + i);
		if (m->nlog <= FILL_LOG)
			m->nlog++;
	}
}

void mmu_lost(struct cpu *c)
{
	c->mmu->lost = true;
	siglongjmp(c->catch, 1);	/* whoever catches looks at lost */
}

void mmu_page(struct cpu *c, u64 la, enum mmu_acc acc, unsigned set, struct page *pg)
{
	struct mmu *m = c->mmu;
	const struct ram_block *b;
	struct l2_way *l2;
	u64 xl;
	u32 err;

	/* Descriptor tables and the like can lie anywhere; plain accesses were checked before. */
	if (unlikely(cpu_long(c) && !la_canonical(la)))
		raise_gp(c, 0);
	l2 = l2_find(m, la);
	if (l2 && xl_permits(c, l2->xl, acc, set) && (acc != ACC_W || (l2->xl & XL_D))) {
		xl = l2->xl;
	} else {
		if (mmu_walk(c, la, acc, set, &xl, &err) < 0) {
			if (unlikely(m->lost))
				mmu_lost(c);
			/* A page fault drops what is cached for its address. */
			flush_page(c, la, m->asn, true);
			raise_pf(c, la, err);
		}
		if (c->cr0 & CR0_PG)
			l2_put(m, la, xl);
	}
	pg->gpa = ((xl & PAGE_MASK) | (la & ~PAGE_MASK)) & c->a20_mask;
	b = mmu_block(c, pg->gpa);
	if (!b) {
		pg->hva = pg->flags = NULL;
		return;
	}
	if (unlikely(!ram_ready(c->m->ram, b, pg->gpa)))
		mmu_lost(c);
	pg->hva = b->hva + (pg->gpa - b->gpa);
	pg->flags = &b->pageflags[(pg->gpa - b->gpa) >> PAGE_SHIFT];
	if (acc == ACC_W) {
		if (b->readonly) {
			pg->hva = pg->flags = NULL;	/* to the bus, where a flash chip may be */
			return;
		}
		if (!(__atomic_load_n(pg->flags, __ATOMIC_RELAXED) & RAM_PAGE_DIRTY))
			__atomic_fetch_or(pg->flags, RAM_PAGE_DIRTY, __ATOMIC_SEQ_CST);
	}
	fast_fill(c, la, set, xl, pg, b->readonly);
}

static void drop_write_tags(struct cpu *c, const u8 *page_hva)
{
	unsigned s, i;

	for (s = 0; s < TLB_SLOW; s++) {
		for (i = 0; i < TLB_SIZE; i++) {
			struct tlb_entry *e = &c->tlb[s][i];
			u64 tag = atomic_load_explicit(&e->tag_w, memory_order_relaxed);

			if (tag != TLB_INVALID &&
			    tag + __atomic_load_n(&e->addend, __ATOMIC_RELAXED) == (uintptr_t)page_hva)
				atomic_store(&e->tag_w, TLB_INVALID);
		}
	}
}

void mmu_code_page(struct cpu *c, u64 gpa)
{
	const struct ram_block *b = ram_find(c->m->ram, gpa);
	u64 off;
	unsigned i;

	if (!b)
		return;
	off = (gpa - b->gpa) & PAGE_MASK;
	__atomic_fetch_or(&b->pageflags[off >> PAGE_SHIFT], RAM_PAGE_CODE, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	drop_write_tags(c, b->hva + off);
	for (i = 0; i < c->m->ncpus; i++) {
		struct vcpu *v = c->m->cpu[i];

		if (v && v->engine && v->engine != c)
			drop_write_tags(cpu_of(v), b->hva + off);
	}
}

void mmu_state_set(struct cpu *c)
{
	if ((c->cr0 & CR0_PG) && (c->cr4 & CR4_PAE) && !cpu_long(c) && !mmu_load_pdptes(c, c->cr3))
		memset(c->pdpte, 0, sizeof(c->pdpte));
	c->mmu->blk = NULL;
	tlb_flush_all(c);
}

int mmu_init(struct cpu *c)
{
	const struct cpuid_table *t = c->m->cpuid;
	struct cpuid_dyn d = { .apic_id = 0 };
	struct mmu *m;

	if (posix_memalign((void **)&m, 64, sizeof(*m)))
		return -ENOMEM;
	memset(m, 0, sizeof(*m));
	m->phys_bits = 36;
	if (t) {
		u32 eax = cpuid_query(t, CPUID_ADDR_SIZES, 0, &d).eax & 0xff;

		if (eax >= 32 && eax <= 52)
			m->phys_bits = (u8)eax;
		m->has_1g = cpuid_has(t, F_PDPE1GB);
	}
	m->pa_mask = (BIT(m->phys_bits) - 1) & PAGE_MASK;
	m->rsvd_hi = (BIT(52) - 1) & ~(BIT(m->phys_bits) - 1);
	m->asn_next = 1;
	if (!c->a20_mask)
		c->a20_mask = UINT64_MAX;
	c->mmu = m;
	pv_init(c);
	for (unsigned s = 0; s < TLB_SETS; s++) {
		for (unsigned i = 0; i < TLB_SIZE; i++) {
			c->tlb[s][i].tag_r = c->tlb[s][i].tag_x = TLB_INVALID;
			atomic_store_explicit(&c->tlb[s][i].tag_w, TLB_INVALID, memory_order_relaxed);
		}
	}
	tlb_flush_all(c);
	return 0;
}

void mmu_free(struct cpu *c)
{
	if (!c->mmu)
		return;
	pv_free(c);
	free(c->mmu);
	c->mmu = NULL;
}
