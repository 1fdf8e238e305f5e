/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xsave.c - FXSAVE, FXRSTOR, the XSAVE family, XGETBV and XSETBV, and the extended state's way into
 * and out of struct cpu_state.
 * After: Intel SDM vol. 1, 10.5 and ch. 13; AMD APM vol. 2, 11.4-11.5, vol. 4 for FXSAVE.
 *
 * Components are x87, SSE and AVX; the compacted format has the same offsets then. No component is
 * a supervisor's (IA32_XSS is 0), so XSAVES and XRSTORS differ in privilege only. As on AMD, the
 * x87's last instruction and data pointers are saved only while an exception is pending (0
 * otherwise). FFXSR and misaligned SSE mode are not offered. */
#include "engine/soft/native.h"

#include <string.h>

#define LEGACY_SIZE 512u
#define HEADER_SIZE 64u
#define COMPACT BIT(63)

/* --- what is in its initial state --- */

static bool all_zero(const u8 *p, size_t n)
{
	u64 any = 0;

	for (size_t i = 0; i < n; i += 8)
		any |= get_le64(p + i);
	return !any;
}

/* XINUSE: the components that are not in their initial state. MXCSR is no part of it. */
static u64 in_use(const struct cpu *c)
{
	const u8 *x = c->xsave;
	u64 bv = 0;

	if (get_le16(x + XSAVE_FCW) != FCW_INIT || get_le16(x + XSAVE_FSW) || x[XSAVE_FTW] ||
	    get_le16(x + XSAVE_FOP) || get_le64(x + XSAVE_FIP) || get_le64(x + XSAVE_FDP) ||
	    !all_zero(x + XSAVE_ST, 128))
		bv |= XF_X87;
	if (!all_zero(x + XSAVE_XMM, 256))
		bv |= XF_SSE;
	if (!all_zero(x + XSAVE_YMMH, 256))
		bv |= XF_AVX;
	return bv;
}

static u64 supported(const struct cpu *c)
{
	bool avx = !c->m || !c->m->cpuid || cpuid_has(c->m->cpuid, F_AVX);

	return XF_X87 | XF_SSE | (avx ? XF_AVX : 0);
}

/* --- pieces of the legacy area --- */

static unsigned nregs(const struct cpu *c) { return c->mode == 8 ? 16 : 8; }

/* Bytes 0-23 and the registers, as the guest is to see them. @wide: 64-bit pointers (REX.W). */
static void x87_show(struct cpu *c, u8 *b, bool wide)
{
	const struct x87_ptr *ptr = native_x87_ptr(c);
	bool pending = get_le16(c->xsave + XSAVE_FSW) & FSW_ES;

	memcpy(b, c->xsave, 24);
	b[XSAVE_FTW + 1] = 0;
	if (!pending) {
		memset(b + XSAVE_FOP, 0, 18);
	} else if (!wide) {
		put_le32(b + XSAVE_FIP + 4, ptr->fcs);
		put_le32(b + XSAVE_FDP + 4, ptr->fds);
	}
	memcpy(b + XSAVE_ST, c->xsave + XSAVE_ST, 128);
}

static void x87_take(struct cpu *c, const u8 *b, bool wide)
{
	struct x87_ptr *ptr = native_x87_ptr(c);

	memcpy(c->xsave, b, 24);
	put_le16(c->xsave + XSAVE_FCW, (get_le16(b) & FCW_VALID) | FCW_ONE);
	put_le16(c->xsave + XSAVE_FOP, get_le16(b + XSAVE_FOP) & 0x7ff);
	c->xsave[XSAVE_FTW + 1] = 0;
	*ptr = (struct x87_ptr){ 0, 0 };
	if (!wide) {
		ptr->fcs = get_le16(b + XSAVE_FIP + 4);
		ptr->fds = get_le16(b + XSAVE_FDP + 4);
		put_le32(c->xsave + XSAVE_FIP + 4, 0);
		put_le32(c->xsave + XSAVE_FDP + 4, 0);
	}
	for (unsigned i = 0; i < 8; i++) {
		memcpy(c->xsave + XSAVE_ST + 16 * i, b + XSAVE_ST + 16 * i, 10);
		memset(c->xsave + XSAVE_ST + 16 * i + 10, 0, 6);
	}
	x87_update_es(c);
}

static void x87_reset(struct cpu *c)
{
	x87_init_state(c);
	memset(c->xsave + XSAVE_ST, 0, 128);
}

static void check_mxcsr(struct cpu *c, u32 v)
{
	if (v & ~(u32)MXCSR_VALID)
		raise_gp(c, 0);
}

/* --- FXSAVE and FXRSTOR --- */

/* Misalignment comes first (see check_aligned() of native.c); under alignment check FXSAVE and
 * FXRSTOR raise #AC instead of #GP (as AMD does; SDM leaves the choice). */
static u64 fx_operand(struct cpu *c, const struct insn *in, unsigned align, unsigned len,
		      bool write)
{
	u64 off = insn_ea(c, in), base = c->lma64 && in->seg < SEG_FS ? 0 : c->seg[in->seg].base;

	if ((base + off) & (align - 1)) {
		if (align == 16 && c->tlb_set == TLB_SLOW && ((base + off) & 3))
			cpu_raise_err(c, EXC_AC, 0);
		raise_gp(c, 0);
	}
	seg_linear(c, in->seg, off, len, write);
	return off;
}

static void fx_check(struct cpu *c)
{
	if (c->cr0 & (CR0_EM | CR0_TS))
		cpu_raise(c, EXC_NM);
}

static void exec_fxsave(struct cpu *c, const struct insn *in)
{
	u8 b[LEGACY_SIZE];
	unsigned len = XSAVE_ST + 128;
	u64 off;

	fx_check(c);
	off = fx_operand(c, in, 16, LEGACY_SIZE, true);
	mem_probe(c, in->seg, off, LEGACY_SIZE, true);
	memset(b, 0, sizeof(b));
	x87_show(c, b, in->mode == 8 && (in->rex & 8));
	if (c->cr4 & CR4_OSFXSR) {
		len += 16 * nregs(c);
		put_le32(b + XSAVE_MXCSR, get_le32(c->xsave + XSAVE_MXCSR));
		put_le32(b + XSAVE_MXCSR_MASK, MXCSR_VALID);
		memcpy(b + XSAVE_XMM, c->xsave + XSAVE_XMM, 16 * nregs(c));
		mem_st_bytes(c, in->seg, off, b, len);
	} else {
		mem_st_bytes(c, in->seg, off, b, XSAVE_MXCSR);
		mem_st_bytes(c, in->seg, off + XSAVE_ST, b + XSAVE_ST, 128);
	}
}

static void exec_fxrstor(struct cpu *c, const struct insn *in)
{
	u8 b[LEGACY_SIZE];

	fx_check(c);
	mem_ld_bytes(c, in->seg, fx_operand(c, in, 16, LEGACY_SIZE, false), b, LEGACY_SIZE);
	if (c->cr4 & CR4_OSFXSR) {
		check_mxcsr(c, get_le32(b + XSAVE_MXCSR));
		put_le32(c->xsave + XSAVE_MXCSR, get_le32(b + XSAVE_MXCSR));
		memcpy(c->xsave + XSAVE_XMM, b + XSAVE_XMM, 16 * nregs(c));
	}
	x87_take(c, b, in->mode == 8 && (in->rex & 8));
}

/* --- XSAVE and its kin --- */

static void xsave_check(struct cpu *c)
{
	if (!(c->cr4 & CR4_OSXSAVE))
		raise_ud(c);
	if (c->cr0 & CR0_TS)
		cpu_raise(c, EXC_NM);
}

static u64 wanted(const struct cpu *c)
{
	return c->xcr0 & ((u64)(u32)c->r[RDX] << 32 | (u32)c->r[RAX]);
}

static unsigned area_len(u64 components)
{
	return components & XF_AVX ? XSAVE_END : LEGACY_SIZE + HEADER_SIZE;
}

/* Store the components @what; the whole area was found writable before. */
static void put_components(struct cpu *c, const struct insn *in, u64 off, u64 what, bool mxcsr)
{
	u8 b[LEGACY_SIZE];

	if (what & XF_X87) {
		x87_show(c, b, in->mode == 8 && (in->rex & 8));
		mem_st_bytes(c, in->seg, off, b, XSAVE_MXCSR);
		mem_st_bytes(c, in->seg, off + XSAVE_ST, b + XSAVE_ST, 128);
	}
	if (mxcsr) {
		put_le32(b, get_le32(c->xsave + XSAVE_MXCSR));
		put_le32(b + 4, MXCSR_VALID);
		mem_st_bytes(c, in->seg, off + XSAVE_MXCSR, b, 8);
	}
	if (what & XF_SSE)
		mem_st_bytes(c, in->seg, off + XSAVE_XMM, c->xsave + XSAVE_XMM, 16 * nregs(c));
	if (what & XF_AVX)
		mem_st_bytes(c, in->seg, off + XSAVE_YMMH, c->xsave + XSAVE_YMMH, 16 * nregs(c));
}

/* Standard format: XSAVE, XSAVEOPT. */
static void exec_xsave(struct cpu *c, const struct insn *in)
{
	u64 off, rfbm, bv, used;

	xsave_check(c);
	rfbm = wanted(c);
	off = fx_operand(c, in, 64, area_len(rfbm), true);
	mem_probe(c, in->seg, off, area_len(rfbm), true);
	used = in_use(c);
	bv = mem_ld(c, in->seg, off + XSAVE_XSTATE_BV, 8);
	put_components(c, in, off, in->op == OP_XSAVEOPT ? rfbm & used : rfbm,
		       rfbm & (XF_SSE | XF_AVX));
	mem_st(c, in->seg, off + XSAVE_XSTATE_BV, (bv & ~rfbm) | (used & rfbm), 8);
}

/* Compacted format: XSAVEC, XSAVES. */
static void exec_xsavec(struct cpu *c, const struct insn *in)
{
	u64 off, rfbm, used;

	xsave_check(c);
	if (in->op == OP_XSAVES && c->cpl)
		raise_gp(c, 0);
	rfbm = wanted(c);
	off = fx_operand(c, in, 64, area_len(rfbm), true);
	mem_probe(c, in->seg, off, area_len(rfbm), true);
	used = in_use(c);
	if (get_le32(c->xsave + XSAVE_MXCSR) != MXCSR_RESET)
		used |= XF_SSE;
	used &= rfbm;
	put_components(c, in, off, used, used & XF_SSE);
	mem_st(c, in->seg, off + XSAVE_XSTATE_BV, used, 8);
	mem_st(c, in->seg, off + XSAVE_XCOMP_BV, rfbm | COMPACT, 8);
}

/* The header's rules; SDM vol. 1, 13.8 and 13.12. */
static void check_header(struct cpu *c, const struct insn *in, const u8 *h)
{
	u64 bv = get_le64(h), comp = get_le64(h + 8);
	bool compact = comp & COMPACT;

	if (compact) {
		if (c->m && c->m->cpuid && !cpuid_has(c->m->cpuid, F_XSAVEC) &&
		    !cpuid_has(c->m->cpuid, F_XSAVES))
			raise_gp(c, 0);
		if ((comp & ~COMPACT & ~c->xcr0) || (bv & ~comp) || !all_zero(h + 16, 48))
			raise_gp(c, 0);
	} else {
		if (in->op == OP_XRSTORS || (bv & ~c->xcr0) || comp || get_le64(h + 16))
			raise_gp(c, 0);
	}
}

static void exec_xrstor(struct cpu *c, const struct insn *in)
{
	u8 b[XSAVE_END];
	u64 off, rfbm, bv, comp, load;
	bool compact;

	xsave_check(c);
	if (in->op == OP_XRSTORS && c->cpl)
		raise_gp(c, 0);
	rfbm = wanted(c);
	off = fx_operand(c, in, 64, LEGACY_SIZE + HEADER_SIZE, false);
	mem_ld_bytes(c, in->seg, off, b, LEGACY_SIZE + HEADER_SIZE);
	check_header(c, in, b + LEGACY_SIZE);
	bv = get_le64(b + XSAVE_XSTATE_BV);
	comp = get_le64(b + XSAVE_XCOMP_BV);
	compact = comp & COMPACT;
	load = bv & rfbm;
	if (load & XF_AVX)
		mem_ld_bytes(c, in->seg, off + XSAVE_YMMH, b + XSAVE_YMMH, 16 * nregs(c));
	if (compact ? load & XF_SSE : rfbm & (XF_SSE | XF_AVX)) {
		check_mxcsr(c, get_le32(b + XSAVE_MXCSR));
		put_le32(c->xsave + XSAVE_MXCSR, get_le32(b + XSAVE_MXCSR));
	} else if (rfbm & XF_SSE) {
		put_le32(c->xsave + XSAVE_MXCSR, MXCSR_RESET);
	}
	if (load & XF_X87)
		x87_take(c, b, in->mode == 8 && (in->rex & 8));
	else if (rfbm & XF_X87)
		x87_reset(c);
	if (load & XF_SSE)
		memcpy(c->xsave + XSAVE_XMM, b + XSAVE_XMM, 16 * nregs(c));
	else if (rfbm & XF_SSE)
		memset(c->xsave + XSAVE_XMM, 0, 16 * nregs(c));
	if (load & XF_AVX)
		memcpy(c->xsave + XSAVE_YMMH, b + XSAVE_YMMH, 16 * nregs(c));
	else if (rfbm & XF_AVX)
		memset(c->xsave + XSAVE_YMMH, 0, 16 * nregs(c));
}

/* --- XCR0 --- */

static void exec_xgetbv(struct cpu *c, const struct insn *in)
{
	u64 v = c->xcr0;

	if (!(c->cr4 & CR4_OSXSAVE))
		raise_ud(c);
	if ((u32)c->r[RCX] == 1 && (!c->m || !c->m->cpuid || cpuid_has(c->m->cpuid, F_XGETBV1)))
		v &= in_use(c);
	else if ((u32)c->r[RCX])
		raise_gp(c, 0);
	c->r[RAX] = (u32)v;
	c->r[RDX] = v >> 32;
}

static void exec_xsetbv(struct cpu *c, const struct insn *in)
{
	u64 v = (u64)(u32)c->r[RDX] << 32 | (u32)c->r[RAX];

	if (!(c->cr4 & CR4_OSXSAVE))
		raise_ud(c);
	if (c->cpl || (u32)c->r[RCX] || (v & ~supported(c)) || !(v & XF_X87) ||
	    ((v & XF_AVX) && !(v & XF_SSE)))
		raise_gp(c, 0);
	c->xcr0 = v;
}

/* --- the engine-neutral image --- */

void xsave_get(const struct cpu *c, u8 out[CPU_XSAVE_SIZE])
{
	u64 bv = in_use(c);

	memset(out, 0, CPU_XSAVE_SIZE);
	memcpy(out, c->xsave, XSAVE_END);
	memset(out + XSAVE_XMM + 256, 0, LEGACY_SIZE - XSAVE_XMM - 256);
	memset(out + LEGACY_SIZE, 0, HEADER_SIZE);
	put_le32(out + XSAVE_MXCSR_MASK, MXCSR_VALID);
	if (get_le32(out + XSAVE_MXCSR) != MXCSR_RESET)
		bv |= XF_SSE;
	put_le64(out + XSAVE_XSTATE_BV, bv);
}

void xsave_set(struct cpu *c, const u8 in[CPU_XSAVE_SIZE])
{
	u64 bv = get_le64(in + XSAVE_XSTATE_BV);

	x87_reset(c);
	memset(c->xsave + XSAVE_XMM, 0, 256);
	memset(c->xsave + LEGACY_SIZE, 0, sizeof(c->xsave) - LEGACY_SIZE);
	put_le32(c->xsave + XSAVE_MXCSR, MXCSR_RESET);
	if (bv & XF_X87)
		x87_take(c, in, true);
	if (bv & XF_SSE)
		memcpy(c->xsave + XSAVE_XMM, in + XSAVE_XMM, 256);
	if (bv & XF_AVX)
		memcpy(c->xsave + XSAVE_YMMH, in + XSAVE_YMMH, 256);
	if (bv & (XF_SSE | XF_AVX))
		put_le32(c->xsave + XSAVE_MXCSR, get_le32(in + XSAVE_MXCSR) & MXCSR_VALID);
}

const struct exec_entry exec_simd_table[] = {
	{ OP_FXSAVE, exec_fxsave }, { OP_FXRSTOR, exec_fxrstor },
	{ OP_XSAVE, exec_xsave }, { OP_XSAVEOPT, exec_xsave },
	{ OP_XSAVEC, exec_xsavec }, { OP_XSAVES, exec_xsavec },
	{ OP_XRSTOR, exec_xrstor }, { OP_XRSTORS, exec_xrstor },
	{ OP_XGETBV, exec_xgetbv }, { OP_XSETBV, exec_xsetbv },
	{ 0, NULL }
};
