// SPDX-License-Identifier: GPL-2.0-or-later
/* access.c - loads and stores: segmentation, alignment, pages, and what is not RAM.
 * After: Intel SDM vol. 3, 3.3.7 (canonical), 5.3 (limits), 5.5 (types), 6.15 (#AC).
 *
 * An access is cut into at most two parts, one a page. Both are translated before any byte moves,
 * so that a store that faults on its second page has changed nothing. A part that lies in RAM is
 * one host access when its size is 1, 2, 4 or 8: as atomic as the guest's was. The rest goes to
 * the bus under the machine lock, in naturally aligned pieces.
 *
 * Locked operations that cross a page, or touch what is not RAM, are a load and a store between
 * mem_split_lock() and mem_split_unlock(): one lock for the machine. That makes them atomic against
 * each other; a plain or locked access by another vCPU to the same bytes can come between. */
#include "engine/soft/access.h"
#include "engine/soft/block.h"
#include "engine/soft/mmu.h"
#include <string.h>

struct parts {
	struct page pg[2];
	unsigned len[2];	/* len[1] is 0 when the access lies in one page */
};

static _Noreturn void raise_seg(struct cpu *c, unsigned seg)
{
	cpu_raise_err(c, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
}

static u64 la_wrap(const struct cpu *c, u64 la)
{
	return cpu_long(c) ? la : (u32)la;
}

static void parts_get(struct cpu *c, u64 la, unsigned len, enum mmu_acc acc, unsigned set,
		      struct parts *p)
{
	unsigned room = PAGE_SIZE - (la & ~PAGE_MASK);

	p->len[0] = MIN(len, room);
	p->len[1] = len - p->len[0];
	mmu_page(c, la, acc, set, &p->pg[0]);
	if (p->len[1])
		mmu_page(c, la_wrap(c, la + room), acc, set, &p->pg[1]);
	if (unlikely(c->dbg_armed & DBG_DATA))
		debug_watch(c, la, len, acc == ACC_W);
}

/* The largest piece that the bus takes at @gpa. */
static unsigned piece(u64 gpa, unsigned len)
{
	unsigned n = 8;

	while (n > len || (gpa & (n - 1)))
		n /= 2;
	return n;
}

static void mmio_read(struct cpu *c, u64 gpa, u8 *buf, unsigned len)
{
	machine_lock(c->m);
	while (len) {
		unsigned n = piece(gpa, len);
		u64 v = bus_read(c->m->mmio, c->v, gpa, n);

		memcpy(buf, &v, n);
		buf += n;
		gpa += n;
		len -= n;
	}
	machine_unlock(c->m);
	c->stats.io++;
}

static void mmio_write(struct cpu *c, u64 gpa, const u8 *buf, unsigned len)
{
	machine_lock(c->m);
	while (len) {
		unsigned n = piece(gpa, len);
		u64 v = 0;

		memcpy(&v, buf, n);
		bus_write(c->m->mmio, c->v, gpa, v, n);
		buf += n;
		gpa += n;
		len -= n;
	}
	machine_unlock(c->m);
	c->stats.io++;
}

guest_racy static void ram_copy(u8 *to, const u8 *from, unsigned len)
{
	switch (len) {
	case 1: *(volatile u8 *)to = *(volatile const u8 *)from; break;
	case 2: *(volatile gu16 *)to = *(volatile const gu16 *)from; break;
	case 4: *(volatile gu32 *)to = *(volatile const gu32 *)from; break;
	case 8: *(volatile gu64 *)to = *(volatile const gu64 *)from; break;
	default: guest_copy(to, from, len);
	}
}

static void part_read(struct cpu *c, const struct page *pg, u8 *buf, unsigned len)
{
	if (pg->hva)
		ram_copy(buf, pg->hva, len);
	else
		mmio_read(c, pg->gpa, buf, len);
}

static void part_write(struct cpu *c, const struct page *pg, const u8 *buf, unsigned len)
{
	if (!pg->hva) {
		mmio_write(c, pg->gpa, buf, len);
		return;
	}
	ram_copy(pg->hva, buf, len);
	if (unlikely(__atomic_load_n(pg->flags, __ATOMIC_RELAXED) & RAM_PAGE_CODE))
		block_code_written(c, pg->gpa, len);
}

static void read_bytes(struct cpu *c, u64 la, u8 *buf, unsigned len, unsigned set)
{
	struct parts p;

	parts_get(c, la, len, ACC_R, set, &p);
	part_read(c, &p.pg[0], buf, p.len[0]);
	if (p.len[1])
		part_read(c, &p.pg[1], buf + p.len[0], p.len[1]);
}

static void write_bytes(struct cpu *c, u64 la, const u8 *buf, unsigned len, unsigned set)
{
	struct parts p;

	parts_get(c, la, len, ACC_W, set, &p);
	part_write(c, &p.pg[0], buf, p.len[0]);
	if (p.len[1])
		part_write(c, &p.pg[1], buf + p.len[0], p.len[1]);
}

/* The set whose translations an access really uses: TLB_SLOW only says "look each time". */
static unsigned data_set(const struct cpu *c)
{
	return c->tlb_set == TLB_SLOW ? TLB_USER : c->tlb_set;
}

static unsigned set_of(const struct cpu *c, enum mem_as as)
{
	return as == AS_SYSTEM ? TLB_SUPER : as == AS_USER ? TLB_USER : data_set(c);
}

static void *rmw(struct cpu *c, u64 la, unsigned size, unsigned set)
{
	struct parts p;

	if (unlikely(c->dbg_armed & DBG_DATA)) {
		/* The write's translation comes first: no watchpoint hits when it faults. */
		mmu_page(c, la, ACC_W, set, &p.pg[0]);
		debug_watch(c, la, size, false);
	}
	parts_get(c, la, size, ACC_W, set, &p);
	if (p.len[1] || !p.pg[0].hva)
		return NULL;
	if (unlikely(__atomic_load_n(p.pg[0].flags, __ATOMIC_RELAXED) & RAM_PAGE_CODE)) {
		/* The bytes change after we return: drop the code now, for this vCPU, and once
		 * more after the instruction, for one that decoded it in between. */
		mmu_code_settle(c);
		block_code_written(c, p.pg[0].gpa, size);
		c->code_wrote_gpa = p.pg[0].gpa;
		c->code_wrote_len = size;
		cpu_look(c);
	}
	return p.pg[0].hva;
}

void mmu_code_settle(struct cpu *c)
{
	u32 len = c->code_wrote_len;

	if (!len)
		return;
	c->code_wrote_len = 0;
	block_code_written(c, c->code_wrote_gpa, len);
}

/* --- by linear address --- */

/* What segmentation has left to check when its checks were skipped: canonical form (64-bit mode),
 * and alignment. */
static u64 la_check(struct cpu *c, unsigned seg, u64 la, unsigned size)
{
	if (!c->lma64) {
		la = (u32)la;
		if (unlikely((u32)(la - c->seg[seg].base) > UINT32_MAX - (size - 1)))
			raise_seg(c, seg);	/* the offset wraps: beyond any limit */
	} else if (unlikely(!la_canonical(la) || !la_canonical(la + size - 1))) {
		raise_seg(c, seg);
	}
	if (unlikely(c->tlb_set == TLB_SLOW) && (la & (size - 1)))
		cpu_raise_err(c, EXC_AC, 0);
	return la;
}

u64 la_ld_slow(struct cpu *c, unsigned seg, u64 la, unsigned size)
{
	u64 v = 0;

	la = la_check(c, seg, la, size);
	read_bytes(c, la, (u8 *)&v, size, data_set(c));
	return v;
}

void la_st_slow(struct cpu *c, unsigned seg, u64 la, u64 val, unsigned size)
{
	la = la_check(c, seg, la, size);
	write_bytes(c, la, (const u8 *)&val, size, data_set(c));
}

void *la_rmw_slow(struct cpu *c, unsigned seg, u64 la, unsigned size)
{
	la = la_check(c, seg, la, size);
	return rmw(c, la, size, data_set(c));
}

static struct tlb_entry *entry_of(struct cpu *c, u64 la, unsigned set)
{
	return &c->tlb[set][(la >> PAGE_SHIFT) & (TLB_SIZE - 1)];
}

u64 lin_ld(struct cpu *c, u64 la, unsigned size, enum mem_as as)
{
	unsigned set = set_of(c, as);
	const struct tlb_entry *e;
	u64 v = 0;

	la = la_wrap(c, la);
	e = entry_of(c, la, set);
	if (likely(e->tag_r == ((la + size - 1) & PAGE_MASK)))
		ram_copy((u8 *)&v, (const u8 *)(la + e->addend), size);
	else
		read_bytes(c, la, (u8 *)&v, size, set);
	return v;
}

void lin_st(struct cpu *c, u64 la, u64 val, unsigned size, enum mem_as as)
{
	unsigned set = set_of(c, as);
	const struct tlb_entry *e;

	la = la_wrap(c, la);
	e = entry_of(c, la, set);
	if (likely(e->tag_w == ((la + size - 1) & PAGE_MASK)))
		ram_copy((u8 *)(la + e->addend), (const u8 *)&val, size);
	else
		write_bytes(c, la, (const u8 *)&val, size, set);
}

void *lin_rmw(struct cpu *c, u64 la, unsigned size, enum mem_as as)
{
	unsigned set = set_of(c, as);
	const struct tlb_entry *e;

	la = la_wrap(c, la);
	e = entry_of(c, la, set);
	if (likely(e->tag_w == ((la + size - 1) & PAGE_MASK)))
		return (void *)(la + e->addend);
	return rmw(c, la, size, set);
}

void lin_probe(struct cpu *c, u64 la, unsigned len, bool write, enum mem_as as)
{
	enum mmu_acc acc = write ? ACC_W : ACC_R;
	unsigned set = set_of(c, as);
	const struct tlb_entry *e;
	struct page pg;
	u64 last;

	if (!len)
		return;
	la = la_wrap(c, la);
	last = la_wrap(c, la + len - 1);
	e = entry_of(c, la, set);
	if (likely((write ? e->tag_w : e->tag_r) == (last & PAGE_MASK)))
		return;
	mmu_page(c, la, acc, set, &pg);
	while ((la ^ last) & PAGE_MASK) {
		la = la_wrap(c, (la & PAGE_MASK) + PAGE_SIZE);
		mmu_page(c, la, acc, set, &pg);
	}
}

void *lin_span(struct cpu *c, u64 la, bool write, size_t *n)
{
	size_t room = PAGE_SIZE - (la & ~PAGE_MASK);
	unsigned set = data_set(c);
	const struct tlb_entry *e;
	struct page pg;

	if (unlikely(c->tlb_set == TLB_SLOW))
		return NULL;		/* each element's alignment is to be checked */
	if (*n > room)
		*n = room;
	e = tlb_at(c, la);
	if (likely((write ? e->tag_w : e->tag_r) == (la & PAGE_MASK)))
		return (void *)(la + e->addend);
	if (c->lma64 ? !la_canonical(la) : la > UINT32_MAX)
		return NULL;		/* the element access raises the right fault */
	mmu_page(c, la, write ? ACC_W : ACC_R, set, &pg);
	if (!pg.hva || ((c->dbg_armed & DBG_DATA) && debug_watch_page(c, la & PAGE_MASK)))
		return NULL;
	if (write && (__atomic_load_n(pg.flags, __ATOMIC_RELAXED) & RAM_PAGE_CODE))
		return NULL;
	return pg.hva;
}

const u8 *mmu_fetch(struct cpu *c, u64 la, u64 *gpa, size_t *n)
{
	unsigned set = c->cpl == 3 ? TLB_USER : TLB_SUPER, i;
	const struct tlb_entry *e;
	struct page pg;

	if (!c->lma64)
		la = (u32)la;
	else if (unlikely(!la_canonical(la)))
		raise_gp(c, 0);
	*n = PAGE_SIZE - (la & ~PAGE_MASK);
	i = (la >> PAGE_SHIFT) & (TLB_SIZE - 1);
	e = &c->tlb[set][i];
	if (likely(e->tag_x == (la & PAGE_MASK))) {
		*gpa = ((c->mmu->info[set][i] & PAGE_MASK) | (la & ~PAGE_MASK)) & c->a20_mask;
		return (const u8 *)(la + e->addend);
	}
	mmu_page(c, la, ACC_X, set, &pg);
	*gpa = pg.gpa;
	return pg.hva;
}

/* --- by segment and offset --- */

u64 seg_linear(struct cpu *c, unsigned seg, u64 off, unsigned len, bool write)
{
	const struct cpu_seg *s = &c->seg[seg];
	u64 la, last;

	if (c->lma64) {
		la = seg >= SEG_FS ? s->base + off : off;
		if (unlikely(!la_canonical(la) || !la_canonical(la + len - 1)))
			raise_seg(c, seg);
		return la;
	}
	if (cpu_protected(c) && !cpu_v86(c)) {
		if (s->attr & SEG_A_UNUSABLE)
			raise_seg(c, seg);
		if (s->attr & SEG_A_CODE) {
			if (write || !(s->attr & SEG_A_RW))
				raise_seg(c, seg);
		} else if (write && !(s->attr & SEG_A_RW)) {
			raise_seg(c, seg);
		}
	}
	last = off + len - 1;
	if ((s->attr & (SEG_A_CODE | SEG_A_EC)) == SEG_A_EC) {
		/* Expand-down: valid from limit + 1 up to what the stack's width reaches. */
		if (off <= s->limit || last > (s->attr & SEG_A_DB ? UINT32_MAX : 0xffff))
			raise_seg(c, seg);
	} else if (last > s->limit) {
		/* Also past 4 GiB under the largest limit, where SDM vol. 3, 5.3 leaves the choice. */
		raise_seg(c, seg);
	}
	return (u32)(s->base + off);
}

u64 mem_ld(struct cpu *c, unsigned seg, u64 off, unsigned size)
{
	u64 la;

	if (!seg_fast(c, seg, off, &la))
		la = seg_linear(c, seg, off, size, false);
	return fast_ld(c, seg, la, size);
}

void mem_st(struct cpu *c, unsigned seg, u64 off, u64 val, unsigned size)
{
	u64 la;

	if (!seg_fast(c, seg, off, &la))
		la = seg_linear(c, seg, off, size, true);
	fast_st(c, seg, la, val, size);
}

void *mem_rmw(struct cpu *c, unsigned seg, u64 off, unsigned size)
{
	u64 la;

	if (!seg_fast(c, seg, off, &la))
		la = seg_linear(c, seg, off, size, true);
	return fast_rmw(c, seg, la, size);
}

/* Alignment check of the operands of x87, MMX, SSE and AVX. */
static void bytes_align(struct cpu *c, u64 la, unsigned len)
{
	unsigned align = len == 10 ? 8 : len == 14 || len == 94 ? 2 : len & (len - 1) ? 4 : MIN(len, 16);

	if (unlikely(c->tlb_set == TLB_SLOW) && (la & (align - 1)))
		cpu_raise_err(c, EXC_AC, 0);
}

guest_racy void mem_ld_bytes(struct cpu *c, unsigned seg, u64 off, void *buf, unsigned len)
{
	u64 la = seg_linear(c, seg, off, len, false);
	const struct tlb_entry *e = tlb_at(c, la);

	bytes_align(c, la, len);
	if (likely(e->tag_r == ((la + len - 1) & PAGE_MASK)))
		guest_copy(buf, (const void *)(la + e->addend), len);
	else
		read_bytes(c, la, buf, len, data_set(c));
}

void mem_ld_part(struct cpu *c, unsigned seg, u64 off, void *buf, unsigned len)
{
	read_bytes(c, seg_linear(c, seg, off, len, false), buf, len, data_set(c));
}

void mem_st_part(struct cpu *c, unsigned seg, u64 off, const void *buf, unsigned len)
{
	write_bytes(c, seg_linear(c, seg, off, len, true), buf, len, data_set(c));
}

guest_racy void mem_st_bytes(struct cpu *c, unsigned seg, u64 off, const void *buf, unsigned len)
{
	u64 la = seg_linear(c, seg, off, len, true);
	const struct tlb_entry *e = tlb_at(c, la);

	bytes_align(c, la, len);
	if (likely(e->tag_w == ((la + len - 1) & PAGE_MASK)))
		guest_copy((void *)(la + e->addend), buf, len);
	else
		write_bytes(c, la, buf, len, data_set(c));
}

void mem_probe(struct cpu *c, unsigned seg, u64 off, unsigned len, bool write)
{
	u64 la = seg_linear(c, seg, off, len, write);

	bytes_align(c, la, len);
	lin_probe(c, la, len, write, AS_CURRENT);
}

/* --- split locks --- */

void mem_split_lock(struct cpu *c)
{
	pthread_mutex_lock(&c->soft->split_lock);
	c->mmu->split_held = true;
}

void mem_split_unlock(struct cpu *c)
{
	if (!c->mmu->split_held)
		return;
	c->mmu->split_held = false;
	pthread_mutex_unlock(&c->soft->split_lock);
}
