/* SPDX-License-Identifier: GPL-2.0-or-later */
/* native.c - runs x87, MMX, SSE and AVX instructions on the host's own units, through stubs
 * (stub.c) that are found by the instruction's bytes.
 * After: Intel SDM vol. 1 ch. 8-14, vol. 2 ch. 2.4 (exception classes), vol. 3 ch. 2.5 (CR0, CR4);
 * AMD APM vol. 1 ch. 4-6.
 *
 * Two levels of lookup: a direct-mapped cache by the guest's bytes, and behind it a table by plan,
 * so that instructions which differ only in their address share a stub. Blocks keep their stubs'
 * addresses, so that most instructions need no lookup. All is bounded: when a block is to be built
 * and there is no room for its stubs, blocks and stubs are dropped together (native_room()); a stub
 * for which no room is found in between is made for one use. Everything belongs to one vCPU: no
 * locks.
 *
 * Exceptions. What can be checked beforehand is: availability, pending x87 exceptions, alignment,
 * and the memory operand's pages. A SIMD floating-point exception needs no rule of ours: with an
 * exception unmasked the stub traps on the host as the guest would. */
#include "engine/soft/native.h"
#include "base/trace.h"
#include "engine/soft/stub.h"
#include "engine/soft/uop/uop.h"

#include <string.h>
#include <sys/mman.h>
#include <xmmintrin.h>

/* Untouched pages cost nothing. */
#define CODE_SIZE (2 * MiB)
#define L1_BITS 11
#define L1_SIZE (1u << L1_BITS)
#define STUBS_MAX 8192u
#define HASH_SIZE 16384u
#define SCRATCH_SIZE (1 * KiB)	/* the end of the code buffer is for stubs of one use */

struct native_state {
	struct { u64 lo, hi; u16 stub; u8 mode, len; } l1[L1_SIZE];	/* len 0: free */
	struct stub stubs[STUBS_MAX + 1];	/* the last one is made anew each time, when full */
	unsigned nstubs;
	u16 hash[HASH_SIZE];	/* index + 1 into stubs, open addressing */
	struct codebuf code;
	size_t code_start;	/* behind the landing pad */
	struct stub_trap trap;
	struct x87_ptr x87;
	struct irq_line ferr;
	bool ignne;
	_Alignas(64) u8 bounce[128];
};

/* --- the caches --- */

int native_init(struct cpu *c, struct err *e)
{
	struct native_state *n = mmap(NULL, sizeof(*n), PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int rc;

	if (n == MAP_FAILED)
		return err_errno(e, "memory for native stubs");
	c->native = n;
	rc = codebuf_new(&n->code, CODE_SIZE, e);
	if (rc < 0) {
		native_free(c);
		return rc;
	}
	stub_trap_install();
	n->trap.lo = n->code.rx;
	n->trap.hi = n->code.rx + n->code.size;
	n->trap.landing = stub_emit_landing(&n->code);
	n->code_start = n->code.used;
	x87_init_state(c);
	put_le32(c->xsave + XSAVE_MXCSR, MXCSR_RESET);
	return 0;
}

void native_free(struct cpu *c)
{
	if (!c->native)
		return;
	codebuf_free(&c->native->code);
	munmap(c->native, sizeof(*c->native));
	c->native = NULL;
}

void native_set_ferr(struct cpu *c, struct irq_line ferr) { c->native->ferr = ferr; }
void native_set_ignne(struct cpu *c, bool asserted) { c->native->ignne = asserted; }
struct x87_ptr *native_x87_ptr(struct cpu *c) { return &c->native->x87; }
u8 *native_bounce(struct cpu *c) { return c->native->bounce; }

static bool same_stub(const struct stub *a, const struct stub *b)
{
	return !memcmp(&a->plan, &b->plan, sizeof(a->plan)) && a->special == b->special &&
	       a->need == b->need && a->msize == b->msize && a->load == b->load &&
	       a->store == b->store && a->aligned == b->aligned && a->mmx_state == b->mmx_state &&
	       !memcmp(&a->x87, &b->x87, sizeof(a->x87));
}

static unsigned plan_hash(const struct stub_plan *p)
{
	const u8 *b = (const u8 *)p;
	u32 h = 2166136261u;

	for (size_t i = 0; i < sizeof(*p); i++)
		h = (h ^ b[i]) * 16777619u;
	return (h ^ h >> 15) & (HASH_SIZE - 1);
}

/* Emit @s's code, at the end of the buffer or, when @scratch, over the last that was made there. */
static void emit(struct native_state *n, struct stub *s, bool scratch)
{
	size_t used = n->code.used;

	if (s->special)
		return;
	if (scratch)
		n->code.used = n->code.size - SCRATCH_SIZE;
	s->fn = stub_emit(&n->code, &s->plan);
	BUG_ON(!s->fn);
	if (scratch)
		n->code.used = used;
}

static bool is_full(const struct native_state *n, unsigned more)
{
	return n->nstubs + more > STUBS_MAX ||
	       n->code.size - n->code.used < SCRATCH_SIZE + (more + 1) * STUB_CODE_MAX;
}

bool native_room(struct cpu *c, unsigned n)
{
	return !is_full(c->native, n);
}

void native_flush(struct cpu *c)
{
	struct native_state *n = c->native;

	memset(n->l1, 0, sizeof(n->l1));
	memset(n->hash, 0, sizeof(n->hash));
	n->nstubs = 0;
	n->code.used = n->code_start;
}

/* The stub with @want's plan and properties, made if it is not there. Never NULL; good until the
 * next call. */
static struct stub *stub_get(struct native_state *n, const struct stub *want)
{
	unsigned h = plan_hash(&want->plan);
	struct stub *s;

	for (; n->hash[h]; h = (h + 1) & (HASH_SIZE - 1)) {
		s = &n->stubs[n->hash[h] - 1];
		if (same_stub(s, want))
			return s;
	}
	if (is_full(n, 1)) {
		s = &n->stubs[STUBS_MAX];
		*s = *want;
		emit(n, s, true);
		return s;
	}
	s = &n->stubs[n->nstubs];
	*s = *want;
	emit(n, s, false);
	n->hash[h] = (u16)++n->nstubs;
	return s;
}

static void exec_ud(struct cpu *c, const struct insn *in)
{
	raise_ud(c);
}

static exec_fn *special_of(const struct insn *in)
{
	if (in->desc->cls == CL_X87)
		return x87_exec;
	for (const struct exec_entry *t = exec_sse_table; t->fn; t++)
		if (t->op == in->op)
			return t->fn;
	return NULL;
}

static void describe(struct cpu *c, const struct insn *in, struct stub *s)
{
	bool any_mm = false, any_xmm = false;

	memset(s, 0, sizeof(*s));
	if (in->desc->feature >= 0 && c->m && c->m->cpuid &&
	    !cpuid_has(c->m->cpuid, (enum x86_feature)in->desc->feature)) {
		s->special = exec_ud;
		return;
	}
	if (in->desc->cls == CL_X87 && x87_fast_plan(in, &s->plan, &s->x87))
		return;
	memset(&s->plan, 0, sizeof(s->plan));
	s->special = special_of(in);
	if (s->special)
		return;
	if (!stub_plan_insn(&s->plan, in)) {
		log_limited(LOG_WARN, "native: %s has a form that is not known", in->desc->name);
		s->special = exec_ud;
		return;
	}
	for (unsigned i = 0; i < in->nopd; i++) {
		const struct operand *o = &in->opd[i];

		any_mm |= o->kind == OPD_MM;
		any_xmm |= o->kind == OPD_XMM || o->kind == OPD_YMM;
		if (o->kind == OPD_MEM && o->size) {
			BUG_ON(o->size > sizeof(((struct native_state *)0)->bounce));
			s->msize = o->size;
			s->load = o->read;
			s->store = o->write;
			s->aligned = in->desc->attr & A_ALIGN;
		}
	}
	s->need = (u8)((in->vex ? NEED_AVX : any_xmm ? NEED_SSE : 0) | (any_mm ? NEED_MMX : 0));
	/* CVTPI2PS and CVTPI2PD with a memory operand name no MMX register, and switch nothing. */
	s->mmx_state = any_mm;
}

/* The key: the bytes, those beyond the length cleared. */
static inline void key_of(const struct insn *in, u64 *lo, u64 *hi)
{
	memcpy(lo, in->bytes, 8);
	if (in->len <= 8) {
		*lo &= ~0ull >> (64 - 8 * in->len);
		*hi = 0;
	} else {
		memcpy(hi, in->bytes + 7, 8);
		*hi &= ~0ull >> (64 - 8 * (in->len - 7));
	}
}

static __attribute__((noinline)) struct stub *lookup_slow(struct cpu *c, const struct insn *in,
							   unsigned slot)
{
	struct native_state *n = c->native;
	struct stub want, *s;

	describe(c, in, &want);
	s = stub_get(n, &want);
	if (s == &n->stubs[STUBS_MAX])
		return s;
	key_of(in, &n->l1[slot].lo, &n->l1[slot].hi);
	n->l1[slot].stub = (u16)(s - n->stubs);
	n->l1[slot].mode = in->mode;
	n->l1[slot].len = in->len;
	return s;
}

static inline struct stub *lookup(struct cpu *c, const struct insn *in)
{
	struct native_state *n = c->native;
	u64 lo, hi, h;
	unsigned slot;

	key_of(in, &lo, &hi);
	h = (lo ^ hi << 1) * 0x9e3779b97f4a7c15ull;
	slot = (unsigned)(h >> (64 - L1_BITS));
	if (likely(n->l1[slot].lo == lo && n->l1[slot].hi == hi && n->l1[slot].len == in->len &&
		   n->l1[slot].mode == in->mode))
		return &n->stubs[n->l1[slot].stub];
	return lookup_slow(c, in, slot);
}

/* --- availability --- */

void native_check_sse(struct cpu *c)
{
	if ((c->cr0 & CR0_EM) || !(c->cr4 & CR4_OSFXSR))
		raise_ud(c);
	if (c->cr0 & CR0_TS)
		cpu_raise(c, EXC_NM);
}

void native_check_avx(struct cpu *c)
{
	if (!(c->cr4 & CR4_OSXSAVE) || (c->xcr0 & (XF_SSE | XF_AVX)) != (XF_SSE | XF_AVX) ||
	    !cpu_protected(c) || cpu_v86(c))
		raise_ud(c);
	if (c->cr0 & CR0_TS)
		cpu_raise(c, EXC_NM);
}

bool x87_stalled(struct cpu *c)
{
	struct native_state *n = c->native;

	if (likely(!(get_le16(c->xsave + XSAVE_FSW) & FSW_ES)))
		return false;
	if ((c->cr0 & CR0_NE) || !n->ferr.set)
		cpu_raise(c, EXC_MF);
	if (n->ignne)
		return false;
	machine_lock(c->m);
	irq_set(n->ferr, 1);
	machine_unlock(c->m);
	c->next_rip = c->rip;
	cpu_look(c);
	return true;
}

bool native_check_mmx(struct cpu *c)
{
	if (c->cr0 & CR0_EM)
		raise_ud(c);
	if (c->cr0 & CR0_TS)
		cpu_raise(c, EXC_NM);
	return x87_stalled(c);
}

/* --- execution --- */

static __attribute__((noinline)) void raise_simd(struct cpu *c)
{
	u8 *mx = c->xsave + XSAVE_MXCSR;

	put_le32(mx, (get_le32(mx) & ~(u32)MXCSR_FLAGS) | (c->native->trap.mxcsr & MXCSR_FLAGS));
	cpu_raise(c, c->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
}

void native_run(struct cpu *c, const struct stub *s, void *mem)
{
	u32 mx;

	if (!s->plan.mxcsr) {
		s->fn(c, mem);
		return;
	}
	/* The host's own MXCSR may be left with flags set, but with nothing else changed. */
	mx = get_le32(c->xsave + XSAVE_MXCSR);
	if (likely((mx & MXCSR_MASKS) == MXCSR_MASKS)) {
		s->fn(c, mem);
		if (unlikely((mx & ~(u32)MXCSR_FLAGS) != MXCSR_RESET))
			_mm_setcsr(MXCSR_RESET);
	} else {
		u32 rc = stub_run_trapping(&c->native->trap, s->fn, c, mem);

		_mm_setcsr(MXCSR_RESET);
		if (rc)
			raise_simd(c);
	}
}

/* Misalignment comes before what segment and address are found wanting in: #GP also when the
 * operand lies in SS (as AMD does it; the order is not laid down). */
static __attribute__((noinline)) void check_aligned(struct cpu *c, const struct insn *in, u64 off,
						    const struct stub *s)
{
	u64 base = c->lma64 && in->seg < SEG_FS ? 0 : c->seg[in->seg].base;

	if ((base + off) & (s->msize - 1u))
		raise_gp(c, 0);
}

static inline void exec_stub(struct cpu *c, const struct insn *in, const struct stub *s)
{
	struct tlb_entry *e;
	u64 off, la, last;
	u8 *buf;

	if (s->special) {
		s->special(c, in);
		return;
	}
	if (s->plan.st) {
		x87_fast_exec(c, in, &s->x87, s->fn);
		return;
	}
	if (s->need & NEED_SSE) {
		if (unlikely((c->cr0 & (CR0_EM | CR0_TS)) || !(c->cr4 & CR4_OSFXSR)))
			native_check_sse(c);
	} else if (s->need & NEED_AVX) {
		native_check_avx(c);
	}
	if ((s->need & NEED_MMX) && native_check_mmx(c))
		return;
	if (!s->msize) {
		if (s->mmx_state)
			x87_to_mmx(c);
		native_run(c, s, NULL);
		return;
	}

	off = insn_ea(c, in);
	if (likely(seg_fast(c, in->seg, off, &la))) {
		e = tlb_at(c, la);
		last = (la + s->msize - 1) & PAGE_MASK;
		if (likely((s->store ? e->tag_w : e->tag_r) == last)) {
			if (unlikely(s->aligned && (la & (s->msize - 1u))))
				raise_gp(c, 0);
			if (s->mmx_state)
				x87_to_mmx(c);
			native_run(c, s, (void *)(la + e->addend));
			return;
		}
	}
	if (s->aligned)
		check_aligned(c, in, off, s);
	buf = c->native->bounce;
	if (s->load)
		mem_ld_bytes(c, in->seg, off, buf, s->msize);
	if (s->store)
		mem_probe(c, in->seg, off, s->msize, true);
	if (s->mmx_state)
		x87_to_mmx(c);
	native_run(c, s, buf);
	if (s->store)
		mem_st_bytes(c, in->seg, off, buf, s->msize);
}

void native_exec(struct cpu *c, const struct insn *in)
{
	exec_stub(c, in, lookup(c, in));
}

/* --- in blocks --- */

static const struct uop *uop_native(struct cpu *c, const struct uop *u)
{
	c->rip = c->blk->rip + u->off;
	c->next_rip = uop_insn_next(c, u);
	exec_stub(c, u->in, u->stub);
	if (unlikely(uop_look(c))) {
		c->rip = c->next_rip;
		return NULL;
	}
	NEXT(c, u);
}

const struct stub *native_stub(struct cpu *c, const struct insn *in)
{
	const struct stub *s = lookup(c, in);

	return s == &c->native->stubs[STUBS_MAX] ? NULL : s;
}

void native_uop(struct cpu *c, struct uop *u, const struct insn *in)
{
	const struct stub *s = native_stub(c, in);

	if (s) {
		u->stub = s;
		u->fn = uop_native;
	}
}

/* --- x87: the code is exec_x87.c's --- */

void native_run_x87(struct cpu *c, const u8 *insn, unsigned len, void *mem, bool cc_in,
		    bool cc_out)
{
	struct native_state *n = c->native;
	struct stub want;

	memset(&want, 0, sizeof(want));
	memcpy(want.plan.insn, insn, len);
	want.plan.insn_len = (u8)len;
	want.plan.x87 = true;
	want.plan.cc_in = cc_in;
	want.plan.cc_out = cc_out;
	stub_get(n, &want)->fn(c, mem);
	_mm_setcsr(MXCSR_RESET);
}
