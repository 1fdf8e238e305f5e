/* SPDX-License-Identifier: GPL-2.0-or-later */
/* block.c - each vCPU's cache of decoded blocks: finding, making, linking, dropping them.
 *
 * Finding. The jump cache, by linear address, is what returns and indirect jumps probe; behind it a
 * hash table by linear and host address. A block is right when RIP, mode and the page that the
 * code TLB shows for it now are those it was made for, and its page's code was not written since.
 *
 * Linking. Direct branches remember their successor. A link holds while no TLB flush that concerns
 * them came between (cpu->map_gen): without one, the vCPU may go on believing its old translations.
 *
 * Memory is an arena that is only added to; when it is full, all is forgotten. So does a vCPU that
 * has next to nothing to do (code_rest()), and the host has the memory back: what boot decoded is of
 * no use to a guest that idles.
 *
 * Writing code. Every page that holds decoded code has a generation, and bits for the 64-byte lines
 * that something was decoded from. Stores to such a page come here, because mmu_code_page() takes
 * its write tags away; when they hit one of the lines, the generation changes and with it every
 * block of the page is stale. Another vCPU may have looked at its write tag before that was taken
 * and store after. So a page that becomes a code page is not trusted before each other vCPU has
 * been between two instructions since (soft->epoch, cpu->code_epoch) or is outside the block loop;
 * until then its code is executed instruction by instruction, each one fetched anew. Nobody waits
 * for anybody.
 *
 *	decoding:  set line bit; fence; read bytes	 storing:  store; fence; look at line bit */
#include "engine/soft/block.h"
#include "engine/soft/mmu.h"
#include "engine/soft/native.h"	// native_uop
#include "engine/soft/operand.h"
#include "base/trace.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Of a vCPU; of a machine at most ARENA_ALL unless that leaves too little to work with. */
#define ARENA_SIZE (12 * MiB)
#define ARENA_MIN (2 * MiB)
#define ARENA_ALL (64 * MiB)
/* At rest: fewer instructions than these in such a time. So much of the arena is worth no call. */
#define REST_NS 5000000000ull
#define REST_INSNS 50000000ull
#define REST_KEEP (1 * MiB)
#define JC_BITS 15
#define HASH_BITS 15
#define BLOCK_INSNS 64
#define BLOCK_JCCS 4		/* conditional jumps that a block goes on behind */
#define LINE_SHIFT 6

DEFINE_TRACE(block_make, "cpu.block");
DEFINE_TRACE(code_written, "cpu.smc");

struct block_cache {
	struct block *jump[1u << JC_BITS];
	struct block *hash[1u << HASH_BITS];
	u8 *arena;
	size_t size, used;
	size_t touched;			/* of it at most; what is behind has no memory */
	u64 rest_ns, rest_insns;	/* when code_rest() looked last, and at what */
	u32 forgotten;			/* times that the arena started anew */
	_Atomic bool flush;		/* wanted at the next entry */
	/* Scratch for the block being made. */
	struct insn insn[BLOCK_INSNS];
	u8 gate[BLOCK_INSNS];
};

static unsigned jump_hash(u64 lin)
{
	return (unsigned)(lin * 0x9e3779b97f4a7c15ull >> (64 - JC_BITS));
}

static unsigned block_hash(u64 lin, const u8 *hva)
{
	u64 k = (lin ^ (uintptr_t)hva << 7) * 0x9e3779b97f4a7c15ull;

	return (unsigned)(k >> (64 - HASH_BITS));
}

/* --- code pages --- */

static size_t pages_bytes(const struct ram_block *rb)
{
	return (rb->len >> PAGE_SHIFT) * sizeof(struct code_page);
}

int block_engine_init(struct soft *s, struct err *e)
{
	pthread_mutex_init(&s->code_lock, NULL);
	pthread_mutex_init(&s->split_lock, NULL);
	if (block_engine_memory(s) < 0)
		return err_set(e, ENOMEM, "soft engine: out of memory for code pages");
	return 0;
}

/* ROMs are added after the engine was made. Code of blocks beyond the table is not cached. */
int block_engine_memory(struct soft *s)
{
	unsigned n = ram_nblocks(s->m->ram), i;
	int r = 0;

	pthread_mutex_lock(&s->code_lock);
	for (i = s->nblocks; i < MIN(n, SOFT_RAM_BLOCKS); i++) {
		void *t = mmap(NULL, pages_bytes(ram_block(s->m->ram, i)), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (t == MAP_FAILED) {
			r = -ENOMEM;
			break;
		}
		s->pages[i] = t;
		atomic_store(&s->nblocks, i + 1);
	}
	pthread_mutex_unlock(&s->code_lock);
	return r;
}

void block_engine_free(struct soft *s)
{
	for (unsigned i = 0; i < s->nblocks; i++)
		munmap(s->pages[i], pages_bytes(ram_block(s->m->ram, i)));
	pthread_mutex_destroy(&s->split_lock);
	pthread_mutex_destroy(&s->code_lock);
}

static struct code_page *page_of(struct soft *s, u64 gpa, const struct ram_block **rb)
{
	for (unsigned i = 0; i < atomic_load(&s->nblocks); i++) {
		const struct ram_block *b = ram_block(s->m->ram, i);

		if (gpa - b->gpa < b->len) {
			*rb = b;
			return &s->pages[i][(gpa - b->gpa) >> PAGE_SHIFT];
		}
	}
	return NULL;
}

void code_inside(struct cpu *c)
{
	atomic_store(&c->outside, false);
	atomic_store(&c->code_epoch, atomic_load(&c->soft->epoch));
}

void code_outside(struct cpu *c)
{
	atomic_store(&c->outside, true);
}

void code_sync(struct cpu *c)
{
	u32 e = atomic_load(&c->soft->epoch);

	if (e != atomic_load_explicit(&c->code_epoch, memory_order_relaxed))
		atomic_store(&c->code_epoch, e);
}

/* Has every other vCPU been between instructions since @epoch? Those that have not are told to. */
static bool settled(struct cpu *c, u32 epoch)
{
	struct soft *s = c->soft;
	bool ok = true;

	for (unsigned i = 0; i < s->m->ncpus; i++) {
		struct cpu *o = atomic_load(&s->cpu[i]);

		if (!o || o == c || atomic_load(&o->outside) ||
		    (s32)(atomic_load(&o->code_epoch) - epoch) >= 0)
			continue;
		atomic_store(&o->look, 1);
		ok = false;
	}
	return ok;
}

/* Make the page of @gpa a code page. False: not yet; do not cache what is decoded from it. */
static bool page_mark(struct cpu *c, struct code_page *cp, const struct ram_block *rb, u64 gpa)
{
	struct soft *s = c->soft;
	u8 *flags = &rb->pageflags[(gpa - rb->gpa) >> PAGE_SHIFT];

	if (rb->readonly)
		return true;
	if (!(__atomic_load_n(flags, __ATOMIC_ACQUIRE) & RAM_PAGE_CODE)) {
		pthread_mutex_lock(&s->code_lock);
		if (!(__atomic_load_n(flags, __ATOMIC_RELAXED) & RAM_PAGE_CODE)) {
			mmu_code_page(c, gpa);
			atomic_store(&cp->epoch, atomic_fetch_add(&s->epoch, 1) + 1);
		}
		pthread_mutex_unlock(&s->code_lock);
	}
	return s->m->ncpus == 1 || settled(c, atomic_load(&cp->epoch));
}

static u64 line_mask(u64 gpa, unsigned len)
{
	unsigned first = (gpa & ~PAGE_MASK) >> LINE_SHIFT;
	unsigned last = MIN((gpa & ~PAGE_MASK) + len - 1, PAGE_SIZE - 1) >> LINE_SHIFT;

	return (~0ull >> (63 - (last - first))) << first;
}

static bool page_written(struct soft *s, u64 gpa, unsigned len)
{
	const struct ram_block *rb;
	struct code_page *cp = page_of(s, gpa, &rb);
	u64 hit = line_mask(gpa, len);

	if (!cp || !(atomic_load(&cp->lines) & hit))
		return false;
	pthread_mutex_lock(&s->code_lock);
	if (atomic_load(&cp->lines) & hit) {
		/* Twice: before the page is taken for one without code, as blocks are stale by then;
		 * and after, for who meanwhile found it still marked and read the new generation:
		 * what it decodes nobody would look after (page_use()). */
		atomic_fetch_add(&cp->gen, 1);
		atomic_store(&cp->lines, 0);
		__atomic_fetch_and(&rb->pageflags[(gpa - rb->gpa) >> PAGE_SHIFT],
				   (u8)~RAM_PAGE_CODE, __ATOMIC_SEQ_CST);
		atomic_fetch_add(&cp->gen, 1);
	}
	pthread_mutex_unlock(&s->code_lock);
	return true;
}

void block_code_written(struct cpu *c, u64 gpa, unsigned len)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (!len || !page_written(c->soft, gpa, len))
		return;
	TRACE(code_written, "vcpu=%u gpa=%#llx len=%u rip=%#llx", c->v->index,
	      (unsigned long long)gpa, len, (unsigned long long)c->rip);
	cpu_look(c);
}

void block_on_code_write(void *soft, u64 gpa, size_t len)
{
	atomic_thread_fence(memory_order_seq_cst);
	while (len) {
		size_t n = MIN(len, PAGE_SIZE - (gpa & ~PAGE_MASK));

		page_written(soft, gpa, (unsigned)n);
		gpa += n;
		len -= n;
	}
}

/* --- the cache --- */

int code_init(struct cpu *c, struct err *e)
{
	struct block_cache *bc;

	bc = calloc(1, sizeof(*bc));
	if (!bc)
		return err_set(e, ENOMEM, "soft engine: out of memory");
	c->blocks = bc;
	bc->size = MAX(ARENA_MIN, MIN(ARENA_SIZE, ARENA_ALL / c->m->cfg.ncpus));
	bc->arena = mmap(NULL, bc->size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bc->arena == MAP_FAILED) {
		bc->arena = NULL;
		return err_errno(e, "soft engine: %zu bytes for decoded code", bc->size);
	}
	return 0;
}

void code_free(struct cpu *c)
{
	if (!c->blocks)
		return;
	if (c->blocks->arena)
		munmap(c->blocks->arena, c->blocks->size);
	free(c->blocks);
	c->blocks = NULL;
}

void block_flush_all(struct cpu *c)
{
	if (!c->blocks)
		return;
	atomic_store(&c->blocks->flush, true);
	cpu_look(c);
}

static void forget_all(struct cpu *c)
{
	struct block_cache *bc = c->blocks;

	memset(c->ras, 0, sizeof(c->ras));
	memset(bc->jump, 0, sizeof(bc->jump));
	memset(bc->hash, 0, sizeof(bc->hash));
	bc->touched = MAX(bc->touched, bc->used);
	bc->used = 0;
	bc->forgotten++;
}

bool code_rest(struct cpu *c, u64 ns)
{
	struct block_cache *bc = c->blocks;
	bool busy;

	bc->touched = MAX(bc->touched, bc->used);
	if (bc->touched <= REST_KEEP || ns - bc->rest_ns < REST_NS)
		return false;
	busy = !bc->rest_ns || c->stats.insns - bc->rest_insns > REST_INSNS;
	bc->rest_ns = ns;
	bc->rest_insns = c->stats.insns;
	if (busy)
		return false;
	forget_all(c);
	bc->touched = 0;
	return madvise(bc->arena, bc->size, MADV_DONTNEED) == 0;
}

static u64 code_lin(const struct cpu *c, u64 rip)
{
	return c->lma64 ? rip : (u32)(c->seg[SEG_CS].base + rip);
}

/* Bytes of code from RIP up to where CS or the instruction pointer's width ends. */
static u64 code_room(struct cpu *c)
{
	u64 last;

	if (c->lma64)
		return BIT(32);
	last = c->seg[SEG_CS].limit;
	if (c->mode == 2 && c->rip <= 0xffff)
		last = MIN(last, 0xffffull);
	if (c->rip > last)
		raise_gp(c, 0);
	return last - c->rip + 1;
}

static _Noreturn void decode_raise(struct cpu *c, int r)
{
	if (r == -EILSEQ)
		raise_ud(c);
	raise_gp(c, 0);		/* longer than 15 bytes, or beyond the limit of CS */
}

/* Bytes of an instruction from something that is not RAM, or across a page end. */
static unsigned fetch_bytes(struct cpu *c, u64 lin, u8 *buf, unsigned len)
{
	unsigned done = 0;

	while (done < len) {
		u64 gpa, la = lin + done;
		size_t n;
		const u8 *p;

		if (!c->lma64)
			la = (u32)la;
		p = mmu_fetch(c, la, &gpa, &n);
		n = MIN(n, len - done);
		if (p) {
			memcpy(buf + done, p, n);
		} else {
			machine_lock(c->m);
			for (size_t i = 0; i < n; i++)
				buf[done + i] = (u8)bus_read(c->m->mmio, c->v, gpa + i, 1);
			machine_unlock(c->m);
		}
		done += n;
		/* The next page only when the instruction needs it: a fault there would be real. */
		if (done < len) {
			struct insn in;

			if (insn_decode(&in, buf, done, c->mode) != -EAGAIN)
				return done;
		}
	}
	return done;
}

void block_fetch_insn(struct cpu *c, struct insn *in)
{
	u64 room = code_room(c);
	unsigned want = room < 15 ? (unsigned)room : 15, got;
	u8 buf[15];
	int r;

	got = fetch_bytes(c, code_lin(c, c->rip), buf, want);
	r = insn_decode(in, buf, got, c->mode);
	if (r < 0)
		decode_raise(c, r);
	c->next_rip = trunc_to(c->rip + in->len, c->mode);
}

static void *arena_get(struct block_cache *bc, size_t len)
{
	void *p = bc->arena + bc->used;

	bc->used += (len + 15) & ~(size_t)15;
	return p;
}

/* Must nothing that follows @in be in its block, the @n-th? */
static bool ends_block(const struct cpu *c, const struct insn *in, unsigned n, unsigned *njcc)
{
	if (insn_is_jcc(in) && c->flat && c->mode != 2)
		return n > BLOCK_INSNS / 2 || ++*njcc > BLOCK_JCCS;
	if ((in->desc->attr & A_END) || in->rep)
		return true;
	/* Segment loads change what code can rely on (cpu->flat), and MOV SS casts its shadow on the
	 * very next instruction. */
	return in->desc->cls == CL_BRANCH || in->desc->cls == CL_SYSTEM ||
	       in->desc->cls == CL_SEGMENT;
}

struct page_seen {
	struct code_page *cp;
	u32 gen;
};

static bool page_use(struct cpu *c, u64 gpa, struct page_seen *ps)
{
	const struct ram_block *rb;

	ps->cp = page_of(c->soft, gpa, &rb);
	if (!ps->cp)
		return false;
	/* Before looking at the mark: page_written() takes that away before its last change. */
	ps->gen = atomic_load(&ps->cp->gen);
	return page_mark(c, ps->cp, rb, gpa);
}

struct chain *code_chain(struct cpu *c, u64 rip)
{
	struct chain *ch = arena_get(c->blocks, sizeof(*ch));

	memset(ch, 0, sizeof(*ch));
	ch->rip = rip;
	return ch;
}

struct chain *block_chain2(struct cpu *c, u64 rip, u64 next_rip)
{
	struct chain *ch = arena_get(c->blocks, 2 * sizeof(*ch));

	memset(ch, 0, 2 * sizeof(*ch));
	ch[0].rip = rip;
	ch[1].rip = next_rip;
	return ch;
}

static void build_generic(struct cpu *c, struct uop *u, const struct insn *in, bool end)
{
	struct insn *copy = arena_get(c->blocks, sizeof(*copy));

	*copy = *in;
	u->fn = end ? uop_generic_end : uop_generic;
	u->in = copy;
	u->exec = exec_find(in);
	if (u->exec == native_exec && !end)
		native_uop(c, u, copy);
}

/* @jcc right after the uop of @in: in one when there is such a function. Returns the last one. */
static struct uop *fuse(struct uop *prev, struct uop *jcc, const struct insn *in,
			const struct insn *jin)
{
	uop_fn *fn = uop_fused(in, jin);

	if (!fn)
		return jcc;
	prev->fn = fn;
	prev->chain = jcc->chain;
	prev->rest = jcc->rest;
	return prev;
}

static struct block *block_build(struct cpu *c, unsigned n, bool ended, const u8 *hva,
				 const struct page_seen *ps, const struct page_seen *ps2)
{
	struct block_cache *bc = c->blocks;
	size_t need = sizeof(struct block) + (n + 3) * sizeof(struct uop) +
		      n * (sizeof(struct insn) + sizeof(struct chain) + 32) + 256;
	struct uop *u, *prev = NULL;
	struct block *b, **at;
	unsigned off = 0;
	bool closed = false;

	if (bc->used + need > bc->size)
		forget_all(c);
	if (!native_room(c, n)) {		/* uops point to stubs */
		forget_all(c);
		native_flush(c);
	}
	b = arena_get(bc, sizeof(*b) + (n + 3) * sizeof(struct uop));
	memset(b, 0, sizeof(*b));
	b->rip = c->rip;
	b->lin = code_lin(c, c->rip);
	b->mode_key = c->mode_key;
	b->hva = hva;
	b->gen = &ps->cp->gen;
	b->gen_seen = ps->gen;
	u = b->u;
	if (ps2) {
		memset(u, 0, sizeof(*u));
		u->fn = uop_crossing;
		u++;
		b->gen2 = &ps2->cp->gen;
		b->gen2_seen = ps2->gen;
		b->map_gen2 = map_gen_both(c);
	}
	for (unsigned i = 0; i < n; i++) {
		const struct insn *in = &bc->insn[i];
		bool last = i + 1 == n && ended, quick = false;

		memset(u, 0, sizeof(*u));
		u->off = (u16)off;
		off += in->len;
		if (bc->gate[i]) {
			u->fn = uop_gate;
			u->vector = bc->gate[i];
			closed = true;
		} else if (insn_is_nop(in)) {
			continue;
		} else if (!uop_fast(c, b, u, in, last)) {
			build_generic(c, u, in, last || insn_is_jcc(in));
			closed = last;
		} else if (insn_is_jcc(in)) {
			quick = true;
			u->rest = (u8)(n - 1 - i);
			if (prev)
				u = fuse(prev, u, &bc->insn[i - 1], in);
		} else {
			quick = true;
			closed = last;
		}
		/* A CMP or TEST just before Jcc goes with it. */
		prev = quick ? u : NULL;
		u++;
	}
	if (!closed) {
		memset(u, 0, sizeof(*u));
		u->fn = uop_fall;
		u->off = (u16)off;
		u->chain = code_chain(c, trunc_to(c->rip + off, c->mode));
		u++;
	}
	memset(u, 0, sizeof(*u));
	u->off = (u16)off;
	b->ninsns = (u16)n;
	b->len = (u16)off;
	at = &bc->hash[block_hash(b->lin, hva)];
	b->hash_next = *at;
	*at = b;
	c->stats.blocks_made++;
	return b;
}

/* The instruction at RIP goes on in the next page. */
static struct block *make_crossing(struct cpu *c, u64 lin, const u8 *p, size_t n, u64 room,
				   const struct page_seen *ps)
{
	u64 gpa2, la2 = c->lma64 ? lin + n : (u32)(lin + n);
	struct page_seen ps2;
	struct block *b;
	const u8 *p2;
	u8 buf[15];
	unsigned njcc = 0;
	bool ended;
	size_t n2;
	int r;

	p2 = mmu_fetch(c, la2, &gpa2, &n2);
	if (!p2 || !page_use(c, gpa2, &ps2))
		return NULL;
	atomic_fetch_or(&ps2.cp->lines, line_mask(gpa2, 15));
	room = MIN(room, sizeof(buf));
	memcpy(buf, p, n);
	if (room > n)
		memcpy(buf + n, p2, room - n);
	r = insn_decode(&c->blocks->insn[0], buf, room, c->mode);
	if (r < 0)
		decode_raise(c, r);
	c->blocks->gate[0] = (u8)exec_gate(c, &c->blocks->insn[0]);
	ended = c->blocks->gate[0] || ends_block(c, &c->blocks->insn[0], 0, &njcc);
	b = block_build(c, 1, ended, p, ps, &ps2);
	b->hva2 = p2;
	return b;
}

/* Decode a block at c->rip. NULL: not to be cached. Faults as a fetch. */
static struct block *block_make(struct cpu *c, u64 lin, const u8 *p, u64 gpa, size_t page_room)
{
	struct block_cache *bc = c->blocks;
	u64 room = code_room(c);
	size_t avail = MIN(room, page_room);
	bool ended = false, breaks = c->dbg_armed & DBG_EXEC;
	struct page_seen ps;
	unsigned n = 0, off = 0, njcc = 0, got;
	u8 buf[15];
	int r = 0;

	if (!page_use(c, gpa, &ps))
		return NULL;
	while (n < BLOCK_INSNS && off < avail && !ended) {
		struct insn *in = &bc->insn[n];

		if (n && breaks && debug_exec_at(c, lin + off))
			break;
		atomic_fetch_or(&ps.cp->lines, line_mask(gpa + off, 15));
		/* A copy: another vCPU may write while the decoder reads twice. */
		got = MIN(avail - off, sizeof(buf));
		memcpy(buf, p + off, got);
		r = insn_decode(in, buf, got, c->mode);
		if (r < 0)
			break;
		bc->gate[n] = (u8)exec_gate(c, in);
		ended = bc->gate[n] || ends_block(c, in, n, &njcc);
		off += in->len;
		n++;
	}
	if (!n) {
		if (r == -EAGAIN && avail == page_room && room > page_room)
			return make_crossing(c, lin, p, page_room, room, &ps);
		decode_raise(c, r);
	}
	TRACE(block_make, "vcpu=%u rip=%#llx insns=%u bytes=%u", c->v->index,
	      (unsigned long long)c->rip, n, off);
	return block_build(c, n, ended, p, &ps, NULL);
}

/* The block at c->rip with key @lin, @p. */
static struct block *block_find(struct cpu *c, u64 lin, const u8 *p)
{
	struct block **at = &c->blocks->hash[block_hash(lin, p)], *b;

	while ((b = *at)) {
		if (unlikely(!code_fresh(b))) {
			*at = b->hash_next;	/* stale for good; its memory goes with the arena */
			continue;
		}
		if (b->lin == lin && b->hva == p && b->rip == c->rip && b->mode_key == c->mode_key)
			return b;
		at = &b->hash_next;
	}
	return NULL;
}

bool block_second_ok(struct cpu *c, struct block *b)
{
	u64 gpa, la = (b->lin | ~PAGE_MASK) + 1;
	size_t n;

	unsigned seen;

	la = c->lma64 ? la : (u32)la;
	if (mmu_fetch(c, la, &gpa, &n) == b->hva2 && atomic_load(b->gen2) == b->gen2_seen) {
		seen = code_seen_bit(la);
		c->code_seen[seen / 64] |= BIT(seen % 64);
		b->map_gen2 = map_gen_both(c);
		return true;
	}
	b->mode_key = ~0ull;		/* found no more; links may still lead here */
	return false;
}

static struct block *block_get(struct cpu *c)
{
	u64 lin = code_lin(c, c->rip), gpa;
	struct block *b;
	const u8 *p;
	size_t n;

	c->stats.block_lookups++;
	p = mmu_fetch(c, lin, &gpa, &n);
	if (unlikely(!p))
		return NULL;
	b = block_find(c, lin, p);
	if (!b) {
		b = block_make(c, lin, p, gpa, n);
		if (!b)
			return NULL;
	}
	if (!(c->dbg_armed & DBG_EXEC))
		c->blocks->jump[jump_hash(lin)] = b;
	return b;
}

static const struct uop *block_start(struct cpu *c, struct block *b)
{
	c->blk = b;
	c->stats.insns += b->ninsns;
	return b->u;
}

const struct uop *code_enter(struct cpu *c)
{
	struct block *b;

	if (unlikely(atomic_load_explicit(&c->blocks->flush, memory_order_relaxed))) {
		atomic_store(&c->blocks->flush, false);
		forget_all(c);
	}
	b = block_get(c);
	return b ? block_start(c, b) : NULL;
}

const struct uop *code_next(struct cpu *c)
{
	u64 lin = code_lin(c, c->rip);
	struct block *b = c->blocks->jump[jump_hash(lin)];
	const struct tlb_entry *e = &c->tlb_code[(lin >> PAGE_SHIFT) & (TLB_SIZE - 1)];

	if (unlikely(atomic_load_explicit(&c->look, memory_order_relaxed)))
		return NULL;
	if (likely(b && b->lin == lin && b->rip == c->rip && b->mode_key == c->mode_key &&
		   e->tag_x == (lin & PAGE_MASK) &&
		   (uintptr_t)b->hva == lin + e->addend && code_fresh(b)))
		return block_start(c, b);
	if (c->dbg_armed & DBG_EXEC)
		return NULL;
	b = block_get(c);
	return b ? block_start(c, b) : NULL;
}

const struct uop *code_link(struct cpu *c, struct chain *ch)
{
	u32 forgotten = c->blocks->forgotten;
	const struct uop *u;

	if (unlikely(atomic_load_explicit(&c->look, memory_order_relaxed)))
		return NULL;
	u = code_next(c);
	/* No link when the arena started anew meanwhile: the block that @ch is part of is gone. How
	 * much of the arena is used tells nothing: it starts anew for want of stubs, too. */
	if (u && !(c->dbg_armed & DBG_EXEC) && c->blocks->forgotten == forgotten) {
		unsigned seen = code_seen_bit(c->blk->lin);
		u64 i = (c->blk->lin >> PAGE_SHIFT) & (TLB_SIZE - 1);

		ch->b = c->blk;
		ch->global = !!(c->mmu->info[c->tlb_code - c->tlb[0] ? TLB_USER : TLB_SUPER][i] & XL_G);
		ch->map_gen = c->map_gen[ch->global];
		c->code_seen[seen / 64] |= BIT(seen % 64);
	}
	return u;
}
