/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exec_int.c - moves, arithmetic, logic, shifts, multiplication and division, with and without
 * LOCK. After: Intel SDM vol. 2; vol. 3, 9.1 (locked operations). */
#include "engine/soft/alu.h"
#include "engine/soft/cpu.h"
#include "engine/soft/operand.h"
#include <sched.h>

#define PAUSES_TO_YIELD 32

/* How a destination is changed: b is the second source, n a shift count (SHLD, SHRD). */
struct rmw {
	alu2_fn *fn2;
	alu1_fn *fn1;
	u64 (*fn3)(u64 a, u64 b, u8 n, unsigned size, u32 *cc);
	u64 b;
	u8 n;
};

static inline __attribute__((always_inline)) u64 rmw_apply(const struct rmw *w, u64 a,
							   unsigned size, u32 *cc)
{
	if (w->fn2)
		return w->fn2(a, w->b, size, cc);
	if (w->fn1)
		return w->fn1(a, size, cc);
	return w->fn3(a, w->b, w->n, size, cc);
}

/* MMIO or two pages: load and store, under the lock of all split accesses when LOCK is there.
 * mem_rmw() has seen to it that the store is allowed. */
static __attribute__((noinline)) void rmw_split(struct cpu *c, const struct insn *in,
						const struct rmw *w, u64 ea)
{
	unsigned size = in->opd[0].size;
	u32 cc = c->cc;
	u64 v;

	if (in->lock)
		mem_split_lock(c);
	v = mem_ld(c, in->seg, ea, size);
	v = rmw_apply(w, v, size, &cc);
	mem_st(c, in->seg, ea, v, size);
	if (in->lock)
		mem_split_unlock(c);
	c->cc = cc;
}

/* Operand 0 is read, changed and written. */
static inline __attribute__((always_inline)) void do_rmw(struct cpu *c, const struct insn *in,
							 struct rmw w)
{
	const struct operand *o = &in->opd[0];
	u32 cc = c->cc;
	u64 ea, old, val;
	void *p;

	if (o->kind == OPD_GPR) {
		val = rmw_apply(&w, gpr_read(c, o), o->size, &cc);
		gpr_write(c, o, val);
		c->cc = cc;
		return;
	}
	ea = insn_ea(c, in);
	p = mem_rmw(c, in->seg, ea, o->size);
	if (unlikely(!p)) {
		rmw_split(c, in, &w, ea);
		return;
	}
	old = host_ld(p, o->size);
	if (in->lock) {
		do {
			cc = c->cc;
			val = rmw_apply(&w, old, o->size, &cc);
		} while (!host_cas(p, &old, val, o->size));
	} else {
		val = rmw_apply(&w, old, o->size, &cc);
		host_st(p, val, o->size);
	}
	c->cc = cc;
}

#define RMW2(name) \
static void exec_##name(struct cpu *c, const struct insn *in) \
{ \
	do_rmw(c, in, (struct rmw){ .fn2 = alu_##name, .b = opd_read(c, in, 1) }); \
}
RMW2(add)
RMW2(or)
RMW2(adc)
RMW2(sbb)
RMW2(and)
RMW2(sub)
RMW2(xor)
RMW2(rol)
RMW2(ror)
RMW2(rcl)
RMW2(rcr)
RMW2(shl)
RMW2(shr)
RMW2(sar)

#define RMW1(name) \
static void exec_##name(struct cpu *c, const struct insn *in) \
{ \
	do_rmw(c, in, (struct rmw){ .fn1 = alu_##name }); \
}
RMW1(inc)
RMW1(dec)
RMW1(neg)
RMW1(not)

#define RMW3(name) \
static void exec_##name(struct cpu *c, const struct insn *in) \
{ \
	do_rmw(c, in, (struct rmw){ .fn3 = alu_##name, .b = opd_read(c, in, 1), \
				    .n = (u8)opd_read(c, in, 2) }); \
}
RMW3(shld)
RMW3(shrd)

static void exec_cmp(struct cpu *c, const struct insn *in)
{
	u64 a = opd_read(c, in, 0), b = opd_read(c, in, 1);

	alu_cmp(a, b, in->opd[0].size, &c->cc);
}

static void exec_test(struct cpu *c, const struct insn *in)
{
	u64 a = opd_read(c, in, 0), b = opd_read(c, in, 1);

	alu_test(a, b, in->opd[0].size, &c->cc);
}

/* --- moves --- */
static void exec_mov(struct cpu *c, const struct insn *in)
{
	opd_write(c, in, 0, opd_read(c, in, 1));
}

static void exec_movsx(struct cpu *c, const struct insn *in)
{
	gpr_write(c, &in->opd[0], sext_from(opd_read(c, in, 1), in->opd[1].size));
}

static void exec_lea(struct cpu *c, const struct insn *in)
{
	gpr_write(c, &in->opd[0], insn_ea(c, in));
}

/* XCHG with memory is locked, with or without the prefix. */
static void exec_xchg(struct cpu *c, const struct insn *in)
{
	unsigned m = in->opd[0].kind == OPD_MEM ? 0 : 1, size = in->opd[m].size;
	const struct operand *reg = &in->opd[!m];
	u64 ea, val, old;
	void *p;

	val = gpr_read(c, reg);
	if (in->opd[m].kind == OPD_GPR) {
		old = gpr_read(c, &in->opd[m]);
		gpr_write(c, &in->opd[m], val);
		gpr_write(c, reg, old);
		return;
	}
	ea = insn_ea(c, in);
	p = mem_rmw(c, in->seg, ea, size);
	if (p) {
		old = host_ld(p, size);
		while (!host_cas(p, &old, val, size))
			;
	} else {
		mem_split_lock(c);
		old = mem_ld(c, in->seg, ea, size);
		mem_st(c, in->seg, ea, val, size);
		mem_split_unlock(c);
	}
	gpr_write(c, reg, old);
}

/* The source is read (and may fault) whether or not the condition holds; a 32-bit destination is
 * zero-extended in both cases. */
static void exec_cmovcc(struct cpu *c, const struct insn *in)
{
	u64 val = opd_read(c, in, 1);

	if (!cc_test(c->cc, in->opcode & 15))
		val = gpr_read(c, &in->opd[0]);
	gpr_write(c, &in->opd[0], val);
}

static void exec_setcc(struct cpu *c, const struct insn *in)
{
	opd_write(c, in, 0, cc_test(c->cc, in->opcode & 15));
}

/* AL, AX, EAX extended into AX, EAX, RAX. */
static void exec_cbw(struct cpu *c, const struct insn *in)
{
	const struct operand ax = { .kind = OPD_GPR, .reg = RAX, .size = in->opsize };

	gpr_write(c, &ax, sext_from(c->r[RAX], in->opsize / 2));
}

/* The sign of AX, EAX, RAX into DX, EDX, RDX. */
static void exec_cwd(struct cpu *c, const struct insn *in)
{
	const struct operand dx = { .kind = OPD_GPR, .reg = RDX, .size = in->opsize };

	gpr_write(c, &dx, (u64)((s64)sext_from(c->r[RAX], in->opsize) >> 63));
}

static void exec_xlat(struct cpu *c, const struct insn *in)
{
	u64 off = trunc_to(c->r[RBX] + (u8)c->r[RAX], in->adsize);

	c->r[RAX] = (c->r[RAX] & ~0xffull) | mem_ld(c, in->seg, off, 1);
}

/* --- multiplication and division --- */

/* The double-width result or dividend: AX for bytes, else DX:AX, EDX:EAX, RDX:RAX. */
static void set_acc(struct cpu *c, unsigned size, u64 lo, u64 hi)
{
	const struct operand ax = { .kind = OPD_GPR, .reg = RAX, .size = (u8)size };
	const struct operand dx = { .kind = OPD_GPR, .reg = RDX, .size = (u8)size };

	gpr_write(c, &ax, lo);
	gpr_write(c, &dx, hi);
}

/* The flags go through AX, which the product needs too: MOV leaves them alone. */
static void mul_acc(struct cpu *c, unsigned size, u64 b)
{
	u64 lo = c->r[RAX], hi;
	u32 f = c->cc;

	switch (size) {
	case 1:
		__asm__(CC_LOAD "movb %b1, %%al\n\tmulb %b2\n\tmovw %%ax, %w1" CC_SAVE
			: "+&a"(f), "+&r"(lo) : "r"(b) : "cc");
		c->r[RAX] = (c->r[RAX] & ~0xffffull) | (u16)lo;
		break;
	case 2:
		__asm__(CC_LOAD "movw %w2, %%ax\n\tmulw %w3\n\tmovw %%ax, %w2" CC_SAVE
			: "+&a"(f), "=&d"(hi), "+&r"(lo) : "r"(b) : "cc");
		set_acc(c, 2, lo, hi);
		break;
	case 4:
		__asm__(CC_LOAD "movl %k2, %%eax\n\tmull %k3\n\tmovl %%eax, %k2" CC_SAVE
			: "+&a"(f), "=&d"(hi), "+&r"(lo) : "r"(b) : "cc");
		set_acc(c, 4, lo, hi);
		break;
	default:
		__asm__(CC_LOAD "movq %2, %%rax\n\tmulq %3\n\tmovq %%rax, %2" CC_SAVE
			: "+&a"(f), "=&d"(hi), "+&r"(lo) : "r"(b) : "cc");
		set_acc(c, 8, lo, hi);
		break;
	}
	c->cc = (u16)f;
}

static void imul_acc(struct cpu *c, unsigned size, u64 b)
{
	u64 lo = c->r[RAX], hi;
	u32 f = c->cc;

	switch (size) {
	case 1:
		__asm__(CC_LOAD "movb %b1, %%al\n\timulb %b2\n\tmovw %%ax, %w1" CC_SAVE
			: "+&a"(f), "+&r"(lo) : "r"(b) : "cc");
		c->r[RAX] = (c->r[RAX] & ~0xffffull) | (u16)lo;
		break;
	case 2:
		__asm__(CC_LOAD "movw %w2, %%ax\n\timulw %w3\n\tmovw %%ax, %w2" CC_SAVE
			: "+&a"(f), "=&d"(hi), "+&r"(lo) : "r"(b) : "cc");
		set_acc(c, 2, lo, hi);
		break;
	case 4:
		__asm__(CC_LOAD "movl %k2, %%eax\n\timull %k3\n\tmovl %%eax, %k2" CC_SAVE
			: "+&a"(f), "=&d"(hi), "+&r"(lo) : "r"(b) : "cc");
		set_acc(c, 4, lo, hi);
		break;
	default:
		__asm__(CC_LOAD "movq %2, %%rax\n\timulq %3\n\tmovq %%rax, %2" CC_SAVE
			: "+&a"(f), "=&d"(hi), "+&r"(lo) : "r"(b) : "cc");
		set_acc(c, 8, lo, hi);
		break;
	}
	c->cc = (u16)f;
}

static void exec_mul(struct cpu *c, const struct insn *in)
{
	mul_acc(c, in->opd[0].size, opd_read(c, in, 0));
}

static u64 alu_imul(u64 a, u64 b, unsigned size, u32 *cc)
{
	u32 f_ = *cc;

	switch (size) {
	ALU2_CASE_(2, u16, "imul", "w", "r", "r")
	ALU2_CASE_(4, u32, "imul", "l", "r", "r")
	ALU2_CASE_(8, u64, "imul", "q", "r", "r")
	}
	*cc = f_;
	return a;
}

static void exec_imul(struct cpu *c, const struct insn *in)
{
	u64 a, b;

	if (in->nopd == 1) {
		imul_acc(c, in->opd[0].size, opd_read(c, in, 0));
		return;
	}
	a = opd_read(c, in, in->nopd == 3);
	b = opd_read(c, in, in->nopd - 1);
	a = alu_imul(a, b, in->opd[0].size, &c->cc);
	gpr_write(c, &in->opd[0], a);
}

/* A quotient that does not fit raises #DE before anything changes. The flags are undefined: the
 * host divides once more to say what silicon makes of them. */
static void exec_div(struct cpu *c, const struct insn *in)
{
	unsigned size = in->opd[0].size;
	u64 b = trunc_to(opd_read(c, in, 0), size), q, r;
	u64 a = size == 1 ? (u16)c->r[RAX] : trunc_to(c->r[RAX], size);
	u64 hi = size == 1 ? 0 : trunc_to(c->r[RDX], size);
	u32 f = c->cc;

	if (!b || (size == 1 ? a >> 8 : hi) >= b)
		cpu_raise(c, EXC_DE);
	switch (size) {
	case 1:
		__asm__(CC_LOAD "movw %w1, %%ax\n\tdivb %b2\n\tmovw %%ax, %w1" CC_SAVE
			: "+&a"(f), "+&r"(a) : "r"(b) : "cc");
		c->r[RAX] = (c->r[RAX] & ~0xffffull) | (u16)a;
		break;
	case 2:
		__asm__(CC_LOAD "movw %w1, %%ax\n\tdivw %w3\n\tmovw %%ax, %w1" CC_SAVE
			: "+&a"(f), "+&r"(a), "+&d"(hi) : "r"(b) : "cc");
		set_acc(c, 2, a, hi);
		break;
	case 4:
		__asm__(CC_LOAD "movl %k1, %%eax\n\tdivl %k3\n\tmovl %%eax, %k1" CC_SAVE
			: "+&a"(f), "+&r"(a), "+&d"(hi) : "r"(b) : "cc");
		set_acc(c, 4, a, hi);
		break;
	default:
		q = a;
		r = hi;
		__asm__(CC_LOAD "movq %1, %%rax\n\tdivq %3\n\tmovq %%rax, %1" CC_SAVE
			: "+&a"(f), "+&r"(q), "+&d"(r) : "r"(b) : "cc");
		set_acc(c, 8, q, r);
		break;
	}
	c->cc = (u16)f;
}

/* Does the quotient of @n / @d fit in @size bytes? */
static bool idiv_ok(s128 n, s64 d, unsigned size)
{
	s64 max = (s64)(~0ull >> (65 - 8 * size));
	s128 q;

	if (d == 0 || (d == -1 && n == (s128)((u128)1 << 127)))
		return false;
	q = n / d;
	return q <= max && q >= -(s128)max - 1;
}

static void exec_idiv(struct cpu *c, const struct insn *in)
{
	unsigned size = in->opd[0].size;
	u64 b = sext_from(opd_read(c, in, 0), size), a = c->r[RAX], hi = c->r[RDX];
	u32 f = c->cc;
	s128 n;

	switch (size) {
	case 1: n = (s16)a; break;
	case 2: n = (s32)((u32)(u16)hi << 16 | (u16)a); break;
	case 4: n = (s64)(hi << 32 | (u32)a); break;
	default: n = (s128)((u128)hi << 64 | a); break;
	}
	if (!idiv_ok(n, (s64)b, size))
		cpu_raise(c, EXC_DE);
	switch (size) {
	case 1:
		__asm__(CC_LOAD "movw %w1, %%ax\n\tidivb %b2\n\tmovw %%ax, %w1" CC_SAVE
			: "+&a"(f), "+&r"(a) : "r"(b) : "cc");
		c->r[RAX] = (c->r[RAX] & ~0xffffull) | (u16)a;
		break;
	case 2:
		__asm__(CC_LOAD "movw %w1, %%ax\n\tidivw %w3\n\tmovw %%ax, %w1" CC_SAVE
			: "+&a"(f), "+&r"(a), "+&d"(hi) : "r"(b) : "cc");
		set_acc(c, 2, a, hi);
		break;
	case 4:
		__asm__(CC_LOAD "movl %k1, %%eax\n\tidivl %k3\n\tmovl %%eax, %k1" CC_SAVE
			: "+&a"(f), "+&r"(a), "+&d"(hi) : "r"(b) : "cc");
		set_acc(c, 4, a, hi);
		break;
	default:
		__asm__(CC_LOAD "movq %1, %%rax\n\tidivq %3\n\tmovq %%rax, %1" CC_SAVE
			: "+&a"(f), "+&r"(a), "+&d"(hi) : "r"(b) : "cc");
		set_acc(c, 8, a, hi);
		break;
	}
	c->cc = (u16)f;
}

/* --- flags --- */
static void exec_lahf(struct cpu *c, const struct insn *in)
{
	c->r[RAX] = (c->r[RAX] & ~0xff00ull) | (c->cc & 0xff00);
}

static void exec_sahf(struct cpu *c, const struct insn *in)
{
	c->cc = ((u32)c->r[RAX] & 0xd500) | 0x200 | (c->cc & 0xff);
}

static void exec_clc(struct cpu *c, const struct insn *in)
{
	c->cc &= ~(u32)CC_CF;
}

static void exec_stc(struct cpu *c, const struct insn *in)
{
	c->cc |= CC_CF;
}

static void exec_cmc(struct cpu *c, const struct insn *in)
{
	c->cc ^= CC_CF;
}

static void exec_cld(struct cpu *c, const struct insn *in)
{
	c->rflags &= ~(u32)FL_DF;
}

static void exec_std(struct cpu *c, const struct insn *in)
{
	c->rflags |= FL_DF;
}

/* --- nothing, and less --- */
/* The guest's memory is the host's, and so is its order: the host's own fence does it. */
static void exec_fence(struct cpu *c, const struct insn *in)
{
	(void)c;
	(void)in;
	__asm__ volatile("mfence" : : : "memory");
}

static void exec_nop(struct cpu *c, const struct insn *in)
{
}

/* Somebody waits for another vCPU, which may have no host CPU just now: lend it this one. */
static void exec_pause(struct cpu *c, const struct insn *in)
{
	if (c->m->ncpus > 1 && ++c->pauses % PAUSES_TO_YIELD == 0)
		sched_yield();
	else
		__builtin_ia32_pause();
}

static void exec_ud(struct cpu *c, const struct insn *in)
{
	raise_ud(c);
}

/* Both bounds are read before the comparison; the index is signed. */
static void exec_bound(struct cpu *c, const struct insn *in)
{
	unsigned size = in->opsize;
	u64 ea = insn_ea(c, in);
	s64 idx = (s64)sext_from(c->r[in->opd[0].reg], size);
	s64 lo = (s64)sext_from(mem_ld(c, in->seg, ea, size), size);
	s64 hi = (s64)sext_from(mem_ld(c, in->seg, trunc_to(ea + size, in->adsize), size), size);

	if (idx < lo || idx > hi)
		cpu_raise(c, EXC_BR);
}

#define CC16(I, f) \
	{ OP_##I##O, f }, { OP_##I##NO, f }, { OP_##I##B, f }, { OP_##I##NB, f }, \
	{ OP_##I##Z, f }, { OP_##I##NZ, f }, { OP_##I##BE, f }, { OP_##I##NBE, f }, \
	{ OP_##I##S, f }, { OP_##I##NS, f }, { OP_##I##P, f }, { OP_##I##NP, f }, \
	{ OP_##I##L, f }, { OP_##I##NL, f }, { OP_##I##LE, f }, { OP_##I##NLE, f }

const struct exec_entry exec_int_table[] = {
	{ OP_ADD, exec_add }, { OP_OR, exec_or }, { OP_ADC, exec_adc }, { OP_SBB, exec_sbb },
	{ OP_AND, exec_and }, { OP_SUB, exec_sub }, { OP_XOR, exec_xor }, { OP_CMP, exec_cmp },
	{ OP_TEST, exec_test },
	{ OP_INC, exec_inc }, { OP_DEC, exec_dec }, { OP_NEG, exec_neg }, { OP_NOT, exec_not },
	{ OP_ROL, exec_rol }, { OP_ROR, exec_ror }, { OP_RCL, exec_rcl }, { OP_RCR, exec_rcr },
	{ OP_SHL, exec_shl }, { OP_SHR, exec_shr }, { OP_SAR, exec_sar },
	{ OP_SHLD, exec_shld }, { OP_SHRD, exec_shrd },
	{ OP_MUL, exec_mul }, { OP_IMUL, exec_imul }, { OP_DIV, exec_div }, { OP_IDIV, exec_idiv },
	{ OP_MOV, exec_mov }, { OP_MOVZX, exec_mov }, { OP_MOVSX, exec_movsx },
	{ OP_MOVSXD, exec_movsx }, { OP_MOVNTI, exec_mov }, { OP_LEA, exec_lea },
	{ OP_XCHG, exec_xchg }, { OP_CBW, exec_cbw }, { OP_CWD, exec_cwd }, { OP_XLAT, exec_xlat },
	CC16(CMOV, exec_cmovcc), CC16(SET, exec_setcc),
	{ OP_LAHF, exec_lahf }, { OP_SAHF, exec_sahf }, { OP_CLC, exec_clc }, { OP_STC, exec_stc },
	{ OP_CMC, exec_cmc }, { OP_CLD, exec_cld }, { OP_STD, exec_std },
	{ OP_NOP, exec_nop }, { OP_PAUSE, exec_pause },
	{ OP_LFENCE, exec_fence }, { OP_MFENCE, exec_fence }, { OP_SFENCE, exec_fence },
	{ OP_ENDBR32, exec_nop }, { OP_ENDBR64, exec_nop },
	{ OP_PREFETCHNTA, exec_nop }, { OP_PREFETCHT0, exec_nop }, { OP_PREFETCHT1, exec_nop },
	{ OP_PREFETCHT2, exec_nop }, { OP_PREFETCH, exec_nop }, { OP_PREFETCHW, exec_nop },
	{ OP_PREFETCHWT1, exec_nop }, { OP_CLDEMOTE, exec_nop },
	{ OP_UD0, exec_ud }, { OP_UD1, exec_ud }, { OP_UD2, exec_ud }, { OP_BOUND, exec_bound },
	{ 0, NULL }
};
