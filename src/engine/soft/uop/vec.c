/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vec.c - quick forms of SSE and AVX instructions: plain moves in C, all others through their stubs
 * with the memory operand found by one TLB probe. What is not available, not aligned or not in one
 * page of RAM is executed anew by native.c (uop_redo()). */
#include "engine/soft/stub.h"
#include "engine/soft/uop/uop.h"

#include <emmintrin.h>

static inline bool sse_ok(const struct cpu *c)
{
	return likely(!(c->cr0 & (CR0_EM | CR0_TS)) && (c->cr4 & CR4_OSFXSR));
}
static inline bool avx_ok(const struct cpu *c)
{
	return likely((c->cr0 & (CR0_PE | CR0_TS)) == CR0_PE && (c->cr4 & CR4_OSXSAVE) &&
		      (c->xcr0 & (XF_SSE | XF_AVX)) == (XF_SSE | XF_AVX));
}

static inline __m128i *lo(struct cpu *c, unsigned n)
{
	return (__m128i *)(c->xsave + XSAVE_XMM) + n;
}
static inline __m128i *hi(struct cpu *c, unsigned n)
{
	return (__m128i *)(c->xsave + XSAVE_YMMH) + n;
}

/* --- through stubs --- */

#define VEC_REG_(isa) \
static const struct uop *isa##_reg(struct cpu *c, const struct uop *u) \
{ \
	if (!isa##_ok(c)) \
		return uop_redo(c, u); \
	u->stub->fn(c, NULL); \
	NEXT(c, u); \
} \
static const struct uop *isa##_reg_fp(struct cpu *c, const struct uop *u) \
{ \
	if (!isa##_ok(c)) \
		return uop_redo(c, u); \
	uop_at(c, u); \
	native_run(c, u->stub, NULL); \
	NEXT(c, u); \
}
VEC_REG_(sse) VEC_REG_(avx)

/* Host address of the operand in *@p; false: not the quick way. */
static inline bool vec_mem(struct cpu *c, u64 la, unsigned size, bool store, bool aligned, void **p)
{
	const struct tlb_entry *e = tlb_at(c, la);

	if (unlikely((store ? e->tag_w : e->tag_r) != ((la + size - 1) & PAGE_MASK)) ||
	    unlikely(aligned && (la & (size - 1))))
		return false;
	*p = (void *)(la + e->addend);
	return true;
}

#define VEC_MEM_(isa, ea) \
static const struct uop *isa##_mem_##ea(struct cpu *c, const struct uop *u) \
{ \
	const struct stub *s = u->stub; \
	void *p; \
	if (!isa##_ok(c) || !vec_mem(c, ea(c, u), s->msize, s->store, s->aligned, &p)) \
		return uop_redo(c, u); \
	s->fn(c, p); \
	NEXT(c, u); \
} \
static const struct uop *isa##_mem_fp_##ea(struct cpu *c, const struct uop *u) \
{ \
	const struct stub *s = u->stub; \
	void *p; \
	if (!isa##_ok(c) || !vec_mem(c, ea(c, u), s->msize, s->store, s->aligned, &p)) \
		return uop_redo(c, u); \
	uop_at(c, u); \
	native_run(c, s, p); \
	NEXT(c, u); \
}
#define EACH_EA_(M, ...) M(__VA_ARGS__, ea_b) M(__VA_ARGS__, ea_x) M(__VA_ARGS__, ea_s)
EACH_EA_(VEC_MEM_, sse) EACH_EA_(VEC_MEM_, avx)
#define EAS_(f) { f##_ea_b, f##_ea_x, f##_ea_s }

static bool use_stub(struct cpu *c, struct uop *u, const struct insn *in, bool mem, enum uop_ea ea)
{
	static uop_fn *const regs[2][2] = { { sse_reg, sse_reg_fp }, { avx_reg, avx_reg_fp } };
	static uop_fn *const mems[2][2][EA_N] = {
		{ EAS_(sse_mem), EAS_(sse_mem_fp) }, { EAS_(avx_mem), EAS_(avx_mem_fp) },
	};
	const struct stub *s = native_stub(c, in);
	bool avx, fp;

	if (!s || s->special || s->plan.st || (s->need & NEED_MMX) || !s->need || !mem != !s->msize)
		return false;
	avx = s->need == NEED_AVX;
	fp = s->plan.mxcsr;
	u->stub = s;
	u->fn = mem ? mems[avx][fp][ea] : regs[avx][fp];
	return true;
}

/* --- moves --- */

/* The 16 bytes in an SSE register; VEX forms of 16 bytes also clear the upper half. */
static const struct uop *mov16_rr(struct cpu *c, const struct uop *u)
{
	if (!sse_ok(c))
		return uop_redo(c, u);
	*lo(c, u->dst) = *lo(c, u->src);
	NEXT(c, u);
}
static const struct uop *zero16(struct cpu *c, const struct uop *u)
{
	if (!sse_ok(c))
		return uop_redo(c, u);
	*lo(c, u->dst) = _mm_setzero_si128();
	NEXT(c, u);
}
static const struct uop *vzero16(struct cpu *c, const struct uop *u)
{
	if (!avx_ok(c))
		return uop_redo(c, u);
	*lo(c, u->dst) = *hi(c, u->dst) = _mm_setzero_si128();
	NEXT(c, u);
}

#define MOV_EA_(isa, pfx, align, ea) \
guest_racy static const struct uop *pfx##_load_##ea(struct cpu *c, const struct uop *u) \
{ \
	void *p; \
	if (!isa##_ok(c) || !vec_mem(c, ea(c, u), 16, false, align, &p)) \
		return uop_redo(c, u); \
	*lo(c, u->dst) = _mm_loadu_si128(p); \
	if (isa##_is_avx) \
		*hi(c, u->dst) = _mm_setzero_si128(); \
	NEXT(c, u); \
} \
guest_racy static const struct uop *pfx##_store_##ea(struct cpu *c, const struct uop *u) \
{ \
	void *p; \
	if (!isa##_ok(c) || !vec_mem(c, ea(c, u), 16, true, align, &p)) \
		return uop_redo(c, u); \
	_mm_storeu_si128(p, *lo(c, u->src)); \
	NEXT(c, u); \
}
enum { sse_is_avx = 0, avx_is_avx = 1 };
EACH_EA_(MOV_EA_, sse, movu, false) EACH_EA_(MOV_EA_, sse, mova, true)
EACH_EA_(MOV_EA_, avx, vmovu, false) EACH_EA_(MOV_EA_, avx, vmova, true)

#define MOV32_EA_(pfx, align, ea) \
guest_racy static const struct uop *pfx##_load_##ea(struct cpu *c, const struct uop *u) \
{ \
	void *p; \
	if (!avx_ok(c) || !vec_mem(c, ea(c, u), 32, false, align, &p)) \
		return uop_redo(c, u); \
	*lo(c, u->dst) = _mm_loadu_si128((const __m128i_u *)p); \
	*hi(c, u->dst) = _mm_loadu_si128((const __m128i_u *)p + 1); \
	NEXT(c, u); \
} \
guest_racy static const struct uop *pfx##_store_##ea(struct cpu *c, const struct uop *u) \
{ \
	void *p; \
	if (!avx_ok(c) || !vec_mem(c, ea(c, u), 32, true, align, &p)) \
		return uop_redo(c, u); \
	_mm_storeu_si128((__m128i_u *)p, *lo(c, u->src)); \
	_mm_storeu_si128((__m128i_u *)p + 1, *hi(c, u->src)); \
	NEXT(c, u); \
}
EACH_EA_(MOV32_EA_, vmovu32, false) EACH_EA_(MOV32_EA_, vmova32, true)

/* MOVQ and the scalar moves from memory clear the rest of the register. */
#define SCALAR_EA_(n, t, ea) \
guest_racy static const struct uop *scalar##n##_load_##ea(struct cpu *c, const struct uop *u) \
{ \
	u64 *x = (u64 *)lo(c, u->dst); \
	void *p; \
	if (!sse_ok(c) || !vec_mem(c, ea(c, u), n, false, false, &p)) \
		return uop_redo(c, u); \
	x[0] = *(const t *)p; \
	x[1] = 0; \
	NEXT(c, u); \
} \
guest_racy static const struct uop *scalar##n##_store_##ea(struct cpu *c, const struct uop *u) \
{ \
	void *p; \
	if (!sse_ok(c) || !vec_mem(c, ea(c, u), n, true, false, &p)) \
		return uop_redo(c, u); \
	*(t *)p = *(const t *)lo(c, u->src); \
	NEXT(c, u); \
}
EACH_EA_(SCALAR_EA_, 4, gu32) EACH_EA_(SCALAR_EA_, 8, gu64)

enum move_kind { MOVE_NONE, MOVE_U, MOVE_A, MOVE_S4, MOVE_S8, MOVE_VU, MOVE_VA };
static enum move_kind move_kind(const struct insn *in)
{
	switch (in->op) {
	case OP_MOVUPS: case OP_MOVUPD: case OP_MOVDQU: case OP_LDDQU:
		return MOVE_U;
	case OP_MOVAPS: case OP_MOVAPD: case OP_MOVDQA: case OP_MOVNTDQA:
	case OP_MOVNTPS: case OP_MOVNTPD: case OP_MOVNTDQ:
		return MOVE_A;
	case OP_MOVSS:
		return MOVE_S4;
	case OP_MOVSD_SSE: case OP_MOVQ:
		return MOVE_S8;
	case OP_VMOVUPS: case OP_VMOVUPD: case OP_VMOVDQU: case OP_VLDDQU:
		return MOVE_VU;
	case OP_VMOVAPS: case OP_VMOVAPD: case OP_VMOVDQA: case OP_VMOVNTDQA:
	case OP_VMOVNTPS: case OP_VMOVNTPD: case OP_VMOVNTDQ:
		return MOVE_VA;
	}
	return MOVE_NONE;
}

/* Between memory and a register. */
static bool move_mem(struct uop *u, const struct insn *in, enum move_kind k, enum uop_ea ea)
{
	static uop_fn *const load[][EA_N] = {
		[MOVE_U] = EAS_(movu_load), [MOVE_A] = EAS_(mova_load),
		[MOVE_S4] = EAS_(scalar4_load), [MOVE_S8] = EAS_(scalar8_load),
		[MOVE_VU] = EAS_(vmovu_load), [MOVE_VA] = EAS_(vmova_load),
	}, *const load32[2][EA_N] = { EAS_(vmovu32_load), EAS_(vmova32_load) };
	static uop_fn *const store[][EA_N] = {
		[MOVE_U] = EAS_(movu_store), [MOVE_A] = EAS_(mova_store),
		[MOVE_S4] = EAS_(scalar4_store), [MOVE_S8] = EAS_(scalar8_store),
		[MOVE_VU] = EAS_(vmovu_store), [MOVE_VA] = EAS_(vmova_store),
	}, *const store32[2][EA_N] = { EAS_(vmovu32_store), EAS_(vmova32_store) };
	bool is_store = in->opd[0].kind == OPD_MEM;
	const struct operand *r = &in->opd[is_store ? 0 : 1], *x = &in->opd[is_store ? 1 : 0];
	unsigned size = k == MOVE_S4 ? 4 : k == MOVE_S8 ? 8 : x->kind == OPD_YMM ? 32 : 16;

	if (in->nopd != 2 || r->size != size || (x->kind != OPD_XMM && x->kind != OPD_YMM))
		return false;
	u->dst = u->src = x->reg;
	if (size == 32)
		u->fn = (is_store ? store32 : load32)[k == MOVE_VA][ea];
	else
		u->fn = (is_store ? store : load)[k][ea];
	return true;
}

/* A register with itself by one of the exclusive ors: zero. */
static bool zeroing(const struct insn *in)
{
	switch (in->op) {
	case OP_PXOR: case OP_XORPS: case OP_XORPD:
		return in->opd[0].kind == OPD_XMM && in->opd[1].kind == OPD_XMM &&
		       in->opd[0].reg == in->opd[1].reg;
	case OP_VPXOR: case OP_VXORPS: case OP_VXORPD:
		return in->opd[1].kind == OPD_XMM && in->opd[2].kind == OPD_XMM &&
		       in->opd[1].reg == in->opd[2].reg;
	}
	return false;
}

bool uop_vec(struct cpu *c, const struct block *b, struct uop *u, const struct insn *in)
{
	enum move_kind k = move_kind(in);
	enum uop_ea ea = EA_B;

	if (in->has_mem && !uop_set_mem(c, b, u, in, &ea))
		return false;
	if (in->has_mem && k && move_mem(u, in, k, ea))
		return true;
	if (!in->has_mem && (k == MOVE_U || k == MOVE_A)) {
		u->dst = in->opd[0].reg;
		u->src = in->opd[1].reg;
		u->fn = mov16_rr;
		return true;
	}
	if (zeroing(in)) {
		u->dst = in->opd[0].reg;
		u->fn = in->vex ? vzero16 : zero16;
		return true;
	}
	return use_stub(c, u, in, in->has_mem, ea);
}
