/* SPDX-License-Identifier: GPL-2.0-or-later */
/* alu.h - integer arithmetic on the host's own ALU. Each function runs the host instruction with
 * the guest's arithmetic flags loaded before and taken after, so that flags which the manual calls
 * undefined come out as this host's silicon leaves them.
 *
 * Flags travel as enum cc: AH and AL as LAHF and SETO leave them. Loading them back is ADD AL, 7fh
 * (1 + 127 overflows, 0 + 127 does not) and SAHF. */
#ifndef PENTA_SOFT_ALU_H
#define PENTA_SOFT_ALU_H

#include "engine/soft/access.h"	// guest_racy
#include "base/types.h"

#define CC_LOAD "addb $0x7f, %%al\n\tsahf\n\t"
#define CC_SAVE "\n\tlahf\n\tseto %%al"

typedef u64 alu1_fn(u64 a, unsigned size, u32 *cc);
typedef u64 alu2_fn(u64 a, u64 b, unsigned size, u32 *cc);

/* One case of a two-operand instruction: @t the host type, @sfx its suffix, @ka/@kb constraints. */
#define ALU2_CASE_(n, t, insn, sfx, ka, kb) \
	case n: { \
		t x_ = (t)a; \
		__asm__(CC_LOAD insn sfx " %2, %0" CC_SAVE \
			: "+" ka(x_), "+a"(f_) : kb((t)b) : "cc"); \
		a = x_; \
		break; \
	}
#define ALU2_(name, insn) \
static inline u64 name(u64 a, u64 b, unsigned size, u32 *cc) \
{ \
	u32 f_ = *cc; \
	switch (size) { \
	ALU2_CASE_(1, u8, insn, "b", "q", "q") \
	ALU2_CASE_(2, u16, insn, "w", "r", "r") \
	ALU2_CASE_(4, u32, insn, "l", "r", "r") \
	ALU2_CASE_(8, u64, insn, "q", "r", "r") \
	} \
	*cc = f_; \
	return a; \
}
ALU2_(alu_add, "add")
ALU2_(alu_or, "or")
ALU2_(alu_adc, "adc")
ALU2_(alu_sbb, "sbb")
ALU2_(alu_and, "and")
ALU2_(alu_sub, "sub")
ALU2_(alu_xor, "xor")
ALU2_(alu_cmp, "cmp")		/* returns a */
ALU2_(alu_test, "test")

#define ALU1_CASE_(n, t, insn, sfx, ka) \
	case n: { \
		t x_ = (t)a; \
		__asm__(CC_LOAD insn sfx " %0" CC_SAVE : "+" ka(x_), "+a"(f_) : : "cc"); \
		a = x_; \
		break; \
	}
#define ALU1_(name, insn) \
static inline u64 name(u64 a, unsigned size, u32 *cc) \
{ \
	u32 f_ = *cc; \
	switch (size) { \
	ALU1_CASE_(1, u8, insn, "b", "q") \
	ALU1_CASE_(2, u16, insn, "w", "r") \
	ALU1_CASE_(4, u32, insn, "l", "r") \
	ALU1_CASE_(8, u64, insn, "q", "r") \
	} \
	*cc = f_; \
	return a; \
}
ALU1_(alu_inc, "inc")
ALU1_(alu_dec, "dec")
ALU1_(alu_neg, "neg")
ALU1_(alu_not, "not")

/* Shifts and rotates by CL. The host masks the count as the guest's instruction would, and leaves
 * the flags alone when it comes out as 0. */
#define SHIFT_CASE_(n, t, insn, sfx, ka) \
	case n: { \
		t x_ = (t)a; \
		__asm__(CC_LOAD insn sfx " %%cl, %0" CC_SAVE \
			: "+" ka(x_), "+a"(f_) : "c"((u8)b) : "cc"); \
		a = x_; \
		break; \
	}
#define SHIFT_(name, insn) \
static inline u64 name(u64 a, u64 b, unsigned size, u32 *cc) \
{ \
	u32 f_ = *cc; \
	switch (size) { \
	SHIFT_CASE_(1, u8, insn, "b", "q") \
	SHIFT_CASE_(2, u16, insn, "w", "r") \
	SHIFT_CASE_(4, u32, insn, "l", "r") \
	SHIFT_CASE_(8, u64, insn, "q", "r") \
	} \
	*cc = f_; \
	return a; \
}
SHIFT_(alu_rol, "rol")
SHIFT_(alu_ror, "ror")
SHIFT_(alu_rcl, "rcl")
SHIFT_(alu_rcr, "rcr")
SHIFT_(alu_shl, "shl")
SHIFT_(alu_shr, "shr")
SHIFT_(alu_sar, "sar")

#define SHIFT2_CASE_(n, t, insn, sfx) \
	case n: { \
		t x_ = (t)a; \
		__asm__(CC_LOAD insn sfx " %%cl, %2, %0" CC_SAVE \
			: "+r"(x_), "+a"(f_) : "r"((t)b), "c"(count) : "cc"); \
		a = x_; \
		break; \
	}
#define SHIFT2_(name, insn) \
static inline u64 name(u64 a, u64 b, u8 count, unsigned size, u32 *cc) \
{ \
	u32 f_ = *cc; \
	switch (size) { \
	SHIFT2_CASE_(2, u16, insn, "w") \
	SHIFT2_CASE_(4, u32, insn, "l") \
	SHIFT2_CASE_(8, u64, insn, "q") \
	} \
	*cc = f_; \
	return a; \
}
SHIFT2_(alu_shld, "shld")
SHIFT2_(alu_shrd, "shrd")

/* A condition of Jcc, SETcc, CMOVcc: the low four bits of the opcode. */
static inline bool cc_test(u32 cc, unsigned cond)
{
	bool r = false;

	switch (cond >> 1 & 7) {
	case 0: r = cc & 1; break;				/* O */
	case 1: r = cc & 0x0100; break;				/* B */
	case 2: r = cc & 0x4000; break;				/* Z */
	case 3: r = cc & 0x4100; break;				/* BE */
	case 4: r = cc & 0x8000; break;				/* S */
	case 5: r = cc & 0x0400; break;				/* P */
	case 6: r = (cc >> 15 ^ cc) & 1; break;			/* L */
	case 7: r = ((cc >> 15 ^ cc) & 1) | (cc & 0x4000); break; /* LE */
	}
	return r ^ (cond & 1);
}

/* Host memory of guest integers: one access of the right width, any alignment. */
guest_racy static inline u64 host_ld(const void *p, unsigned size)
{
	switch (size) {
	case 1: return *(const u8 *)p;
	case 2: { u16 v; __builtin_memcpy(&v, p, 2); return v; }
	case 4: { u32 v; __builtin_memcpy(&v, p, 4); return v; }
	default: { u64 v; __builtin_memcpy(&v, p, 8); return v; }
	}
}
guest_racy static inline void host_st(void *p, u64 val, unsigned size)
{
	switch (size) {
	case 1: *(u8 *)p = (u8)val; break;
	case 2: { u16 v = (u16)val; __builtin_memcpy(p, &v, 2); break; }
	case 4: { u32 v = (u32)val; __builtin_memcpy(p, &v, 4); break; }
	default: __builtin_memcpy(p, &val, 8); break;
	}
}
/* LOCK CMPXCHG at any alignment. On failure *@old is what was there. */
static inline bool host_cas(void *p, u64 *old, u64 val, unsigned size)
{
	bool ok;
	u64 was = *old;

	switch (size) {
	case 1:
		__asm__ volatile("lock cmpxchgb %b2, (%3)"
			: "=@ccz"(ok), "+a"(was) : "q"(val), "r"(p) : "memory");
		was = (u8)was;
		break;
	case 2:
		__asm__ volatile("lock cmpxchgw %w2, (%3)"
			: "=@ccz"(ok), "+a"(was) : "r"(val), "r"(p) : "memory");
		was = (u16)was;
		break;
	case 4:
		__asm__ volatile("lock cmpxchgl %k2, (%3)"
			: "=@ccz"(ok), "+a"(was) : "r"(val), "r"(p) : "memory");
		was = (u32)was;
		break;
	default:
		__asm__ volatile("lock cmpxchgq %2, (%3)"
			: "=@ccz"(ok), "+a"(was) : "r"(val), "r"(p) : "memory");
		break;
	}
	*old = was;
	return ok;
}

#endif
