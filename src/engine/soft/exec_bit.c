/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exec_bit.c - single bits, bit scans and counts, BMI1/2, ADX, MOVBE, BSWAP, CRC32, RDRAND.
 * After: Intel SDM vol. 2; AMD APM vol. 3.
 *
 * As everywhere, the host's own instruction does the work and its flags are kept. What a CPU model
 * lacks never gets here (exec_gate()), except TZCNT and LZCNT, which are BSF and BSR there. */
#include "engine/soft/alu.h"
#include "engine/soft/cpu.h"
#include "engine/soft/operand.h"

/* As ALU2_ of alu.h, for instructions without a byte form. */
#define BIT2_(name, insn) \
static u64 name(u64 a, u64 b, unsigned size, u32 *cc) \
{ \
	u32 f_ = *cc; \
	switch (size) { \
	ALU2_CASE_(2, u16, insn, "w", "r", "r") \
	ALU2_CASE_(4, u32, insn, "l", "r", "r") \
	default: \
	ALU2_CASE_(8, u64, insn, "q", "r", "r") \
	} \
	*cc = f_; \
	return a; \
}
BIT2_(bit_bt, "bt")
BIT2_(bit_bts, "bts")
BIT2_(bit_btr, "btr")
BIT2_(bit_btc, "btc")

/* BT and its kin with memory and a register: the offset is signed and may reach anywhere. */
static u64 bit_ea(const struct cpu *c, const struct insn *in, u64 *bit)
{
	unsigned size = in->opd[0].size, shift = size == 8 ? 6 : size == 4 ? 5 : 4;
	s64 off = (s64)sext_from(*bit, size);
	u64 ea = insn_ea(c, in);

	if (in->opd[1].kind == OPD_GPR)
		ea += (u64)(off >> shift) * size;
	*bit &= size * 8 - 1;
	return trunc_to(ea, in->adsize);
}

static inline void bit_test(struct cpu *c, const struct insn *in)
{
	const struct operand *o = &in->opd[0];
	u64 bit = opd_read(c, in, 1), ea, v;

	if (o->kind == OPD_GPR) {
		v = gpr_read(c, o);
	} else {
		ea = bit_ea(c, in, &bit);
		v = mem_ld(c, in->seg, ea, o->size);
	}
	bit_bt(v, bit, o->size, &c->cc);
}

static inline void bit_change(struct cpu *c, const struct insn *in, alu2_fn *fn)
{
	const struct operand *o = &in->opd[0];
	u64 bit = opd_read(c, in, 1), ea, old, val;
	u32 cc = c->cc;
	void *p;

	if (o->kind == OPD_GPR) {
		val = fn(gpr_read(c, o), bit, o->size, &cc);
		gpr_write(c, o, val);
		c->cc = cc;
		return;
	}
	ea = bit_ea(c, in, &bit);
	p = mem_rmw(c, in->seg, ea, o->size);
	if (unlikely(!p)) {
		if (in->lock)
			mem_split_lock(c);
		old = mem_ld(c, in->seg, ea, o->size);
		mem_st(c, in->seg, ea, fn(old, bit, o->size, &cc), o->size);
		if (in->lock)
			mem_split_unlock(c);
	} else if (in->lock) {
		old = host_ld(p, o->size);
		do {
			cc = c->cc;
			val = fn(old, bit, o->size, &cc);
		} while (!host_cas(p, &old, val, o->size));
	} else {
		host_st(p, fn(host_ld(p, o->size), bit, o->size, &cc), o->size);
	}
	c->cc = cc;
}

static void exec_bt(struct cpu *c, const struct insn *in) { bit_test(c, in); }
static void exec_bts(struct cpu *c, const struct insn *in) { bit_change(c, in, bit_bts); }
static void exec_btr(struct cpu *c, const struct insn *in) { bit_change(c, in, bit_btr); }
static void exec_btc(struct cpu *c, const struct insn *in) { bit_change(c, in, bit_btc); }

/* Scans and counts, on the whole destination register: what the host leaves of it (BSF of 0, upper
 * parts of 16-bit results) is what the guest's CPU would. */
#define SCAN_(name, op_) \
static void name(struct cpu *c, u64 v, unsigned size, u64 *dst) \
{ \
	u64 d = *dst; \
	u32 f = c->cc; \
	switch (size) { \
	case 2: \
		__asm__(CC_LOAD op_ "w %w2, %w0" CC_SAVE : "+r"(d), "+a"(f) : "r"(v) : "cc"); \
		break; \
	case 4: \
		__asm__(CC_LOAD op_ "l %k2, %k0" CC_SAVE : "+r"(d), "+a"(f) : "r"(v) : "cc"); \
		break; \
	default: \
		__asm__(CC_LOAD op_ "q %2, %0" CC_SAVE : "+r"(d), "+a"(f) : "r"(v) : "cc"); \
	} \
	c->cc = f; \
	*dst = d; \
} \
static void exec_##name(struct cpu *c, const struct insn *in) \
{ \
	name(c, opd_read(c, in, 1), in->opd[0].size, &c->r[in->opd[0].reg]); \
}
SCAN_(bsf, "bsf")
SCAN_(bsr, "bsr")
SCAN_(popcnt, "popcnt")
SCAN_(tzcnt, "tzcnt")
SCAN_(lzcnt, "lzcnt")

static bool has(const struct cpu *c, enum x86_feature f)
{
	return !c->m->cpuid || cpuid_has(c->m->cpuid, f);
}
static void exec_tzcnt_or_bsf(struct cpu *c, const struct insn *in)
{
	(has(c, F_BMI1) ? exec_tzcnt : exec_bsf)(c, in);
}
static void exec_lzcnt_or_bsr(struct cpu *c, const struct insn *in)
{
	(has(c, F_LZCNT) ? exec_lzcnt : exec_bsr)(c, in);
}

/* Three operands: "insn op2, op1, op0" in the assembler's order. */
#define BMI3_(name, op_) \
static void name(struct cpu *c, const struct insn *in) \
{ \
	u64 a = opd_read(c, in, 1), b = opd_read(c, in, 2), d; \
	u32 f = c->cc; \
	if (in->opd[0].size == 8) \
		__asm__(CC_LOAD op_ "q %3, %2, %0" CC_SAVE \
			: "=&r"(d), "+a"(f) : "r"(a), "r"(b) : "cc"); \
	else \
		__asm__(CC_LOAD op_ "l %k3, %k2, %k0" CC_SAVE \
			: "=&r"(d), "+a"(f) : "r"(a), "r"(b) : "cc"); \
	c->cc = f; \
	gpr_write(c, &in->opd[0], d); \
}
BMI3_(exec_andn, "andn")
BMI3_(exec_bextr, "bextr")
BMI3_(exec_bzhi, "bzhi")
BMI3_(exec_pdep, "pdep")
BMI3_(exec_pext, "pext")
BMI3_(exec_sarx, "sarx")
BMI3_(exec_shlx, "shlx")
BMI3_(exec_shrx, "shrx")

/* Two operands; ADCX and ADOX read and write the first, too. */
#define BMI2_(name, op_) \
static void name(struct cpu *c, const struct insn *in) \
{ \
	u64 a = opd_read(c, in, 1), d = gpr_read(c, &in->opd[0]); \
	u32 f = c->cc; \
	if (in->opd[0].size == 8) \
		__asm__(CC_LOAD op_ "q %2, %0" CC_SAVE : "+&r"(d), "+a"(f) : "r"(a) : "cc"); \
	else \
		__asm__(CC_LOAD op_ "l %k2, %k0" CC_SAVE : "+&r"(d), "+a"(f) : "r"(a) : "cc"); \
	c->cc = f; \
	gpr_write(c, &in->opd[0], d); \
}
BMI2_(exec_blsr, "blsr")
BMI2_(exec_blsi, "blsi")
BMI2_(exec_blsmsk, "blsmsk")
BMI2_(exec_adcx, "adcx")
BMI2_(exec_adox, "adox")

static void exec_rorx(struct cpu *c, const struct insn *in)
{
	unsigned bits = in->opd[0].size * 8, n = in->imm & (bits - 1);
	u64 v = opd_read(c, in, 1);

	if (n)
		v = bits == 64 ? v >> n | v << (64 - n) : (u32)v >> n | (u32)v << (32 - n);
	gpr_write(c, &in->opd[0], v);
}

/* Both destinations may be one register: the upper half stays. */
static void exec_mulx(struct cpu *c, const struct insn *in)
{
	unsigned size = in->opd[0].size;
	u128 v = (u128)trunc_to(c->r[RDX], size) * opd_read(c, in, 2);

	gpr_write(c, &in->opd[1], (u64)v);
	gpr_write(c, &in->opd[0], (u64)(v >> (size * 8)));
}

static u64 swap_bytes(u64 v, unsigned size)
{
	return size == 8 ? __builtin_bswap64(v) : size == 4 ? __builtin_bswap32((u32)v) :
	       __builtin_bswap16((u16)v);
}

static void exec_movbe(struct cpu *c, const struct insn *in)
{
	opd_write(c, in, 0, swap_bytes(opd_read(c, in, 1), in->opd[0].size));
}

/* BSWAP of 16 bits is undefined: as the host does it. */
static void exec_bswap(struct cpu *c, const struct insn *in)
{
	const struct operand *o = &in->opd[0];
	u64 v = c->r[o->reg];

	if (o->size == 2)
		__asm__(".byte 0x66, 0x0f, 0xc8" : "+a"(v));
	else
		v = swap_bytes(v, o->size);
	c->r[o->reg] = v;
}

static void exec_crc32(struct cpu *c, const struct insn *in)
{
	u64 v = opd_read(c, in, 1), crc = (u32)gpr_read(c, &in->opd[0]);

	switch (in->opd[1].size) {
	case 1: __asm__("crc32b %b1, %k0" : "+r"(crc) : "q"(v)); break;
	case 2: __asm__("crc32w %w1, %k0" : "+r"(crc) : "r"(v)); break;
	case 4: __asm__("crc32l %k1, %k0" : "+r"(crc) : "r"(v)); break;
	default: __asm__("crc32q %1, %0" : "+r"(crc) : "r"(v)); break;
	}
	gpr_write(c, &in->opd[0], crc);
}

#define RANDOM_(name, op_) \
static void name(struct cpu *c, const struct insn *in) \
{ \
	u64 v = 0; \
	u32 f = c->cc; \
	switch (in->opd[0].size) { \
	case 2: \
		__asm__ volatile(CC_LOAD op_ " %w0" CC_SAVE : "+r"(v), "+a"(f) : : "cc"); \
		break; \
	case 4: \
		__asm__ volatile(CC_LOAD op_ " %k0" CC_SAVE : "+r"(v), "+a"(f) : : "cc"); \
		break; \
	default: \
		__asm__ volatile(CC_LOAD op_ " %0" CC_SAVE : "+r"(v), "+a"(f) : : "cc"); \
	} \
	c->cc = f; \
	gpr_write(c, &in->opd[0], v); \
}
RANDOM_(exec_rdrand, "rdrand")
RANDOM_(exec_rdseed, "rdseed")

const struct exec_entry exec_bit_table[] = {
	{ OP_BT, exec_bt }, { OP_BTS, exec_bts }, { OP_BTR, exec_btr }, { OP_BTC, exec_btc },
	{ OP_BSF, exec_bsf }, { OP_BSR, exec_bsr }, { OP_POPCNT, exec_popcnt },
	{ OP_TZCNT, exec_tzcnt_or_bsf }, { OP_LZCNT, exec_lzcnt_or_bsr },
	{ OP_ANDN, exec_andn }, { OP_BEXTR, exec_bextr }, { OP_BZHI, exec_bzhi },
	{ OP_BLSR, exec_blsr }, { OP_BLSI, exec_blsi }, { OP_BLSMSK, exec_blsmsk },
	{ OP_PDEP, exec_pdep }, { OP_PEXT, exec_pext }, { OP_RORX, exec_rorx },
	{ OP_SARX, exec_sarx }, { OP_SHLX, exec_shlx }, { OP_SHRX, exec_shrx },
	{ OP_MULX, exec_mulx }, { OP_ADCX, exec_adcx }, { OP_ADOX, exec_adox },
	{ OP_MOVBE, exec_movbe }, { OP_BSWAP, exec_bswap }, { OP_CRC32, exec_crc32 },
	{ OP_RDRAND, exec_rdrand }, { OP_RDSEED, exec_rdseed },
	{ 0, NULL }
};
