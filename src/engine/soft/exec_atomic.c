/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exec_atomic.c - XADD, CMPXCHG and its wide forms; and the decimal adjustments, which 64-bit
 * hosts cannot execute. After: Intel SDM vol. 2; vol. 3, 9.1 (locked operations). */
#include "engine/soft/alu.h"
#include "engine/soft/cpu.h"
#include "engine/soft/operand.h"

static void split_begin(struct cpu *c, const struct insn *in)
{
	if (in->lock)
		mem_split_lock(c);
}
static void split_end(struct cpu *c, const struct insn *in)
{
	if (in->lock)
		mem_split_unlock(c);
}

static void exec_xadd(struct cpu *c, const struct insn *in)
{
	const struct operand *d = &in->opd[0], *s = &in->opd[1];
	u64 add = gpr_read(c, s), old, val, ea;
	u32 cc = c->cc;
	void *p;

	if (d->kind == OPD_GPR) {
		old = gpr_read(c, d);
		val = alu_add(old, add, d->size, &cc);
		gpr_write(c, s, old);
		gpr_write(c, d, val);	/* last: it may be the same register */
		c->cc = cc;
		return;
	}
	ea = insn_ea(c, in);
	p = mem_rmw(c, in->seg, ea, d->size);
	if (unlikely(!p)) {
		split_begin(c, in);
		old = mem_ld(c, in->seg, ea, d->size);
		mem_st(c, in->seg, ea, alu_add(old, add, d->size, &cc), d->size);
		split_end(c, in);
	} else if (in->lock) {
		old = host_ld(p, d->size);
		do {
			val = alu_add(old, add, d->size, &cc);
		} while (!host_cas(p, &old, val, d->size));
	} else {
		old = host_ld(p, d->size);
		host_st(p, alu_add(old, add, d->size, &cc), d->size);
	}
	c->cc = cc;
	gpr_write(c, s, old);
}

/* The destination is written in any case (that is why the page must be writable), but only RAM
 * under LOCK could tell. On inequality the accumulator gets what was there. */
static void exec_cmpxchg(struct cpu *c, const struct insn *in)
{
	const struct operand *d = &in->opd[0];
	const struct operand acc = { .kind = OPD_GPR, .size = d->size, .reg = RAX };
	u64 want = gpr_read(c, &acc), val = gpr_read(c, &in->opd[1]), old, ea;
	void *p;

	if (d->kind == OPD_GPR) {
		old = gpr_read(c, d);
		if (old == want)
			gpr_write(c, d, val);
	} else {
		ea = insn_ea(c, in);
		p = mem_rmw(c, in->seg, ea, d->size);
		if (unlikely(!p)) {
			split_begin(c, in);
			old = mem_ld(c, in->seg, ea, d->size);
			mem_st(c, in->seg, ea, old == want ? val : old, d->size);
			split_end(c, in);
		} else if (in->lock) {
			old = want;
			host_cas(p, &old, val, d->size);
		} else {
			old = host_ld(p, d->size);
			host_st(p, old == want ? val : old, d->size);
		}
	}
	alu_cmp(want, old, d->size, &c->cc);
	if (old != want)
		gpr_write(c, &acc, old);
}

static void exec_cmpxchg8b(struct cpu *c, const struct insn *in)
{
	u64 want = (u64)(u32)c->r[RDX] << 32 | (u32)c->r[RAX];
	u64 val = (u64)(u32)c->r[RCX] << 32 | (u32)c->r[RBX], old, ea = insn_ea(c, in);
	void *p = mem_rmw(c, in->seg, ea, 8);

	if (unlikely(!p)) {
		split_begin(c, in);
		old = mem_ld(c, in->seg, ea, 8);
		mem_st(c, in->seg, ea, old == want ? val : old, 8);
		split_end(c, in);
	} else if (in->lock) {
		old = want;
		host_cas(p, &old, val, 8);
	} else {
		old = host_ld(p, 8);
		host_st(p, old == want ? val : old, 8);
	}
	if (old == want) {
		c->cc |= CC_ZF;
		return;
	}
	c->cc &= ~(u32)CC_ZF;
	c->r[RAX] = (u32)old;
	c->r[RDX] = old >> 32;
}

static bool host_cas16(void *p, u64 *lo, u64 *hi, u64 new_lo, u64 new_hi)
{
	bool ok;

	__asm__ volatile("lock cmpxchg16b (%5)"
		: "=@ccz"(ok), "+a"(*lo), "+d"(*hi) : "b"(new_lo), "c"(new_hi), "r"(p) : "memory");
	return ok;
}

static void exec_cmpxchg16b(struct cpu *c, const struct insn *in)
{
	u64 ea = insn_ea(c, in), lo = c->r[RAX], hi = c->r[RDX];
	u64 la = in->seg >= SEG_FS ? c->seg[in->seg].base + ea : ea;
	bool same;
	void *p;

	if (la & 15)
		raise_gp(c, 0);
	p = mem_rmw(c, in->seg, ea, 16);
	if (likely(p)) {
		same = host_cas16(p, &lo, &hi, c->r[RBX], c->r[RCX]);
	} else {
		split_begin(c, in);
		lo = mem_ld(c, in->seg, ea, 8);
		hi = mem_ld(c, in->seg, ea + 8, 8);
		same = lo == c->r[RAX] && hi == c->r[RDX];
		mem_st(c, in->seg, ea, same ? c->r[RBX] : lo, 8);
		mem_st(c, in->seg, ea + 8, same ? c->r[RCX] : hi, 8);
		split_end(c, in);
	}
	if (same) {
		c->cc |= CC_ZF;
		return;
	}
	c->cc &= ~(u32)CC_ZF;
	c->r[RAX] = lo;
	c->r[RDX] = hi;
}

/* --- decimal adjustments: not in 64-bit code ---
 * Undefined flags are those of the addition or subtraction inside (of AL; of AX in AAA and AAS),
 * before the upper nibble is cut off: so on AMD's Zen 5, compared in compatibility mode. */

static u8 get_al(const struct cpu *c) { return (u8)c->r[RAX]; }
static void set_al(struct cpu *c, u8 v) { c->r[RAX] = (c->r[RAX] & ~0xffull) | v; }
static void set_ax(struct cpu *c, u16 v) { c->r[RAX] = (c->r[RAX] & ~0xffffull) | v; }

static u16 adjust(u16 v, u16 by, unsigned size, bool subtract, bool af, bool cf, u32 *cc)
{
	v = (u16)(subtract ? alu_sub : alu_add)(v, by, size, cc);

	*cc = (*cc & ~(u32)(CC_AF | CC_CF)) | (af ? CC_AF : 0) | (cf ? CC_CF : 0);
	return v;
}

static void decimal_adjust(struct cpu *c, bool subtract)
{
	u8 al = get_al(c);
	bool af = (al & 15) > 9 || (c->cc & CC_AF), high = al > 0x99 || (c->cc & CC_CF);

	set_al(c, adjust(al, (af ? 0x06 : 0) + (high ? 0x60 : 0), 1, subtract, af,
			 high || (subtract && af && al < 6), &c->cc));
}
static void exec_daa(struct cpu *c, const struct insn *in) { decimal_adjust(c, false); }
static void exec_das(struct cpu *c, const struct insn *in) { decimal_adjust(c, true); }

static void ascii_adjust(struct cpu *c, bool subtract)
{
	u16 ax = c->r[RAX];
	bool carry = (ax & 15) > 9 || (c->cc & CC_AF);

	set_ax(c, adjust(ax, carry ? 0x106 : 0, 2, subtract, carry, carry, &c->cc) & 0xff0f);
}
static void exec_aaa(struct cpu *c, const struct insn *in) { ascii_adjust(c, false); }
static void exec_aas(struct cpu *c, const struct insn *in) { ascii_adjust(c, true); }

static void exec_aam(struct cpu *c, const struct insn *in)
{
	u8 al = get_al(c), base = (u8)in->imm;

	if (!base)
		cpu_raise(c, EXC_DE);
	set_ax(c, (u16)(al / base << 8 | al % base));
	adjust(al % base, 0, 1, false, false, false, &c->cc);
}

static void exec_aad(struct cpu *c, const struct insn *in)
{
	u16 ax = c->r[RAX];

	set_ax(c, (u8)alu_add((u8)ax, (u8)((ax >> 8) * (u8)in->imm), 1, &c->cc));
}

static void exec_salc(struct cpu *c, const struct insn *in)
{
	set_al(c, c->cc & CC_CF ? 0xff : 0);
}

const struct exec_entry exec_atomic_table[] = {
	{ OP_XADD, exec_xadd }, { OP_CMPXCHG, exec_cmpxchg },
	{ OP_CMPXCHG8B, exec_cmpxchg8b }, { OP_CMPXCHG16B, exec_cmpxchg16b },
	{ OP_DAA, exec_daa }, { OP_DAS, exec_das }, { OP_AAA, exec_aaa }, { OP_AAS, exec_aas },
	{ OP_AAM, exec_aam }, { OP_AAD, exec_aad }, { OP_SALC, exec_salc },
	{ 0, NULL }
};
