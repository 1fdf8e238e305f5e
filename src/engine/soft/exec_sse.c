/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exec_sse.c - the MMX, SSE and AVX instructions that no stub can run: those that touch memory
 * element by element (masked moves, gathers), and those that are about the state itself (MXCSR,
 * EMMS, VZEROUPPER).
 * After: Intel SDM vol. 2: MASKMOVDQU, VMASKMOV, VPMASKMOV, VGATHER*, VPGATHER*, LDMXCSR,
 * VZEROALL. */
#include "engine/soft/native.h"

#include <emmintrin.h>
#include <string.h>

static u8 *xmm(struct cpu *c, unsigned n) { return c->xsave + XSAVE_XMM + 16 * n; }
static u8 *ymmh(struct cpu *c, unsigned n) { return c->xsave + XSAVE_YMMH + 16 * n; }

static void vec_read(struct cpu *c, unsigned n, u8 out[32])
{
	memcpy(out, xmm(c, n), 16);
	memcpy(out + 16, ymmh(c, n), 16);
}
static void vec_write(struct cpu *c, unsigned n, const u8 v[32])
{
	memcpy(xmm(c, n), v, 16);
	memcpy(ymmh(c, n), v + 16, 16);
}

/* --- the state itself --- */

static void check_simd(struct cpu *c, const struct insn *in)
{
	if (in->vex)
		native_check_avx(c);
	else
		native_check_sse(c);
}

static void exec_ldmxcsr(struct cpu *c, const struct insn *in)
{
	u32 v;

	check_simd(c, in);
	v = (u32)mem_ld(c, in->seg, insn_ea(c, in), 4);
	if (v & ~(u32)MXCSR_VALID)
		raise_gp(c, 0);
	put_le32(c->xsave + XSAVE_MXCSR, v);
}

static void exec_stmxcsr(struct cpu *c, const struct insn *in)
{
	check_simd(c, in);
	mem_st(c, in->seg, insn_ea(c, in), get_le32(c->xsave + XSAVE_MXCSR), 4);
}

static void exec_emms(struct cpu *c, const struct insn *in)
{
	if (native_check_mmx(c))
		return;
	x87_to_mmx(c);
	c->xsave[XSAVE_FTW] = 0;
}

/* memset() of this size, or a loop that is recognized as one, would become REP STOS. */
static inline void zero(u8 *p, unsigned n)
{
	const __m128i z = _mm_setzero_si128();

	for (unsigned i = 0; i < n; i++)
		__asm__("movaps %1, %0" : "=m"(((__m128i *)p)[i]) : "x"(z));
}

static void exec_vzero(struct cpu *c, const struct insn *in)
{
	unsigned n = c->mode == 8 ? 16 : 8;	/* outside 64-bit mode 8-15 are left alone */

	native_check_avx(c);
	zero(ymmh(c, 0), n);
	if (in->op == OP_VZEROALL)
		zero(xmm(c, 0), n);
}

/* --- bytes under a mask, to [rDI] --- */

/* As on AMD, faults are those of a store of all @n bytes, whatever the mask; it need be aligned to 8
 * under alignment check, which comes first. */
static void maskmov_bytes(struct cpu *c, const struct insn *in, const u8 *src, const u8 *mask,
			  unsigned n)
{
	u64 di = c->r[RDI], amask = in->adsize == 8 ? ~0ull : in->adsize == 4 ? 0xffffffff : 0xffff;
	u64 base = c->lma64 && in->seg < SEG_FS ? 0 : c->seg[in->seg].base;
	unsigned i, run;

	di &= amask;
	if (c->tlb_set == TLB_SLOW && ((base + di) & 7))
		cpu_raise_err(c, EXC_AC, 0);
	lin_probe(c, seg_linear(c, in->seg, di, n, true), n, true, AS_CURRENT);
	for (i = 0; i < n; i += run + 1) {
		for (run = 0; i + run < n && (mask[i + run] & 0x80); run++)
			continue;
		if (run)
			mem_st_part(c, in->seg, di + i, src + i, run);
	}
}

static void exec_maskmovdqu(struct cpu *c, const struct insn *in)
{
	check_simd(c, in);
	maskmov_bytes(c, in, xmm(c, in->opd[0].reg), xmm(c, in->opd[1].reg), 16);
}

static void exec_maskmovq(struct cpu *c, const struct insn *in)
{
	u8 src[8], mask[8];

	if (native_check_mmx(c))
		return;
	x87_to_mmx(c);		/* stays so even if the store faults */
	memcpy(src, c->xsave + XSAVE_ST + 16 * (in->opd[0].reg & 7), 8);
	memcpy(mask, c->xsave + XSAVE_ST + 16 * (in->opd[1].reg & 7), 8);
	maskmov_bytes(c, in, src, mask, 8);
}

/* --- elements under a mask --- */

static unsigned masked_elem(const struct insn *in)
{
	return in->op == OP_VMASKMOVPD || in->op == OP_VPMASKMOVQ ? 8 : 4;
}

/* Addresses within the operand wrap as the address size says. */
static u64 ea_plus(const struct insn *in, u64 ea, u64 off)
{
	ea += off;
	return in->adsize == 8 ? ea : in->adsize == 4 ? (u32)ea : (u16)ea;
}

/* Only elements that the mask names are accessed, and checked. Their addresses do not wrap at the
 * address size: behind its end lies what is beyond the segment. There is no alignment check. */
static void exec_maskmov(struct cpu *c, const struct insn *in)
{
	unsigned size = masked_elem(in), len = in->vex_l ? 32 : 16;
	bool store = in->opd[0].kind == OPD_MEM;
	u8 mask[32], val[32];
	u64 ea;

	native_check_avx(c);
	vec_read(c, in->opd[1].reg, mask);
	ea = insn_ea(c, in);
	if (!store) {
		memset(val, 0, sizeof(val));
		for (unsigned i = 0; i < len; i += size)
			if (mask[i + size - 1] & 0x80)
				mem_ld_part(c, in->seg, ea + i, val + i, size);
		vec_write(c, in->opd[0].reg, val);
		return;
	}
	vec_read(c, in->opd[2].reg, val);
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < len; i += size) {
			if (!(mask[i + size - 1] & 0x80))
				continue;
			if (!pass)
				lin_probe(c, seg_linear(c, in->seg, ea + i, size, true), size, true,
					  AS_CURRENT);
			else
				mem_st_part(c, in->seg, ea + i, val + i, size);
		}
}

/* --- gathers --- */

static bool gather_index64(const struct insn *in)
{
	return in->op == OP_VGATHERQPS || in->op == OP_VGATHERQPD || in->op == OP_VPGATHERQD ||
	       in->op == OP_VPGATHERQQ;
}
static bool gather_data64(const struct insn *in)
{
	return in->op == OP_VGATHERDPD || in->op == OP_VGATHERQPD || in->op == OP_VPGATHERDQ ||
	       in->op == OP_VPGATHERQQ;
}

/* Load an element while single-stepping, @done having been loaded before it: once the instruction
 * has got somewhere, the trap comes instead of the fault. True: so it is; the trap is to find the
 * instruction again. */
static bool load_or_trap(struct cpu *c, const struct insn *in, u64 ea, u8 *d, unsigned size,
			 unsigned done)
{
	u64 cr2 = c->cr2;
	sigjmp_buf up;

	memcpy(&up, &c->catch, sizeof(up));
	if (!sigsetjmp(c->catch, 0)) {
		mem_ld_part(c, in->seg, ea, d, size);
		memcpy(&c->catch, &up, sizeof(up));
		return false;
	}
	memcpy(&c->catch, &up, sizeof(up));
	if (!done)
		siglongjmp(c->catch, 1);
	c->cr2 = cr2;
	c->next_rip = c->rip;
	c->rflags |= FL_RF;
	return true;
}

/* Elements are loaded in order. A fault finds those before it in the destination, their mask
 * elements cleared: the instruction then goes on from there. There is no alignment check. */
static void exec_gather(struct cpu *c, const struct insn *in)
{
	unsigned dst = in->opd[0].reg, mreg = in->opd[2].reg, ireg = in->vsib_reg;
	unsigned size = gather_data64(in) ? 8 : 4, isize = gather_index64(in) ? 8 : 4;
	unsigned n = (in->vex_l ? 32 : 16) / MAX(size, isize);
	u8 mask[32], idx[32], zero[32] = { 0 };
	unsigned done = 0;
	u64 base;

	native_check_avx(c);
	if (dst == mreg || dst == ireg || mreg == ireg)
		raise_ud(c);
	base = c->r[in->base] + (u64)in->disp;
	vec_read(c, mreg, mask);
	vec_read(c, ireg, idx);
	for (unsigned i = 0; i < n; i++) {
		u8 *m = i * size < 16 ? xmm(c, mreg) + i * size : ymmh(c, mreg) + i * size - 16;
		u8 *d = i * size < 16 ? xmm(c, dst) + i * size : ymmh(c, dst) + i * size - 16;
		u64 x = isize == 8 ? get_le64(idx + 8 * i) : (u64)(s64)(s32)get_le32(idx + 4 * i);

		if (mask[i * size + size - 1] & 0x80) {
			u64 ea = ea_plus(in, base, x << in->scale);

			if (likely(!c->step_trap))
				mem_ld_part(c, in->seg, ea, d, size);
			else if (load_or_trap(c, in, ea, d, size, done++))
				return;
		}
		memset(m, 0, size);
	}
	vec_write(c, mreg, zero);
	if (n * size <= 16)
		memset(ymmh(c, dst), 0, 16);
	if (n * size < 16)
		memset(xmm(c, dst) + n * size, 0, 16 - n * size);
}

const struct exec_entry exec_sse_table[] = {
	{ OP_LDMXCSR, exec_ldmxcsr }, { OP_VLDMXCSR, exec_ldmxcsr },
	{ OP_STMXCSR, exec_stmxcsr }, { OP_VSTMXCSR, exec_stmxcsr },
	{ OP_EMMS, exec_emms }, { OP_VZEROUPPER, exec_vzero }, { OP_VZEROALL, exec_vzero },
	{ OP_MASKMOVQ, exec_maskmovq }, { OP_MASKMOVDQU, exec_maskmovdqu },
	{ OP_VMASKMOVDQU, exec_maskmovdqu },
	{ OP_VMASKMOVPS, exec_maskmov }, { OP_VMASKMOVPD, exec_maskmov },
	{ OP_VPMASKMOVD, exec_maskmov }, { OP_VPMASKMOVQ, exec_maskmov },
	{ OP_VGATHERDPS, exec_gather }, { OP_VGATHERDPD, exec_gather },
	{ OP_VGATHERQPS, exec_gather }, { OP_VGATHERQPD, exec_gather },
	{ OP_VPGATHERDD, exec_gather }, { OP_VPGATHERDQ, exec_gather },
	{ OP_VPGATHERQD, exec_gather }, { OP_VPGATHERQQ, exec_gather },
	{ 0, NULL }
};
