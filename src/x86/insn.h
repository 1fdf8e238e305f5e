/* SPDX-License-Identifier: GPL-2.0-or-later */
/* insn.h - a decoded instruction, and the table that describes each instruction once: encoding,
 * operands, flags read and written, privilege, class. The table drives decoder, interpreter,
 * translator, disassembler and the differential tests' generator.
 * After: Intel SDM vol. 2, ch. 2 and app. A; AMD APM vol. 3 where they differ (see decode.c). */
#ifndef PENTA_X86_INSN_H
#define PENTA_X86_INSN_H

#include "x86/cpuid.h"
#include "x86/regs.h"

/* One value for each mnemonic: OP_ADD, OP_MOVAPS, ... Generated from the table (ops.h). */
#include "x86/ops.h"

enum opd_kind {
	OPD_NONE,
	OPD_GPR,	/* reg; size 1/2/4/8; .high8: AH CH DH BH are reg 0-3 with high8 set */
	OPD_MEM,	/* the instruction's memory operand; size in bytes (0: none, as LEA, INVLPG) */
	OPD_IMM,	/* insn.imm (reg 1: insn.imm2), already extended to size */
	OPD_REL,	/* insn.imm: signed displacement from the next instruction */
	OPD_FAR,	/* insn.imm: offset, insn.imm2: selector */
	OPD_SEG, OPD_CR, OPD_DR,
	OPD_ST,		/* reg = ST(i) */
	OPD_MM, OPD_XMM, OPD_YMM,
};
struct operand {
	u8 kind;	/* enum opd_kind */
	u8 size;	/* bytes accessed: 1 2 4 8 10 16 32 ... */
	u8 reg;
	u8 high8 : 1, read : 1, write : 1;
};

enum insn_attr {		/* struct insn_desc.attr */
	A_LOCK	= 1 << 0,	/* LOCK allowed when operand 0 is memory */
	A_CPL0	= 1 << 1,	/* privileged: #GP when CPL > 0 */
	A_NO64	= 1 << 2,	/* #UD in 64-bit mode */
	A_ONLY64 = 1 << 3,	/* #UD outside it */
	A_D64	= 1 << 4,	/* operand size 64 by default in 64-bit mode (PUSH ...) */
	A_F64	= 1 << 5,	/* operand size 64 always there (MOV CRn, LGDT) */
	A_END	= 1 << 6,	/* ends a block: branches, system state changes, HLT ... */
	A_REP	= 1 << 7,	/* string instruction: F2/F3 repeat */
	A_PROT	= 1 << 8,	/* #UD in real and virtual-8086 mode (LAR, SLDT, VEX ...) */
	A_ALIGN	= 1 << 9,	/* memory operand must be aligned to its size: else #GP */
	A_USER	= 1 << 10,	/* plain user-mode instruction: the differential tests run it */
	A_NATIVE = 1 << 11,	/* x87/MMX/SSE/AVX data instruction: run on the host through a stub */
	A_WAIT	= 1 << 12,	/* x87: checks for pending unmasked exceptions first */
	A_MXCSR	= 1 << 13,	/* SSE/AVX floating point: reads rounding, sets status bits, may #XM */
	A_IOPL	= 1 << 14,	/* checks IOPL (CLI, STI, IN, OUT, PUSHF in v86 ...) */
	A_F32ZX = 1 << 15,	/* not used */
};
enum insn_class {		/* for statistics and for the tests' case counts */
	CL_ARITH, CL_LOGIC, CL_SHIFT, CL_MULDIV, CL_MOVE, CL_STACK, CL_BRANCH, CL_STRING, CL_BIT, CL_BMI,
	CL_BCD, CL_FLAGS, CL_ATOMIC, CL_SEGMENT, CL_IO, CL_SYSTEM, CL_X87, CL_MMX, CL_SSE_INT, CL_SSE_FP,
	CL_AVX_INT, CL_AVX_FP, CL_FMA, CL_CRYPTO, CL_XSAVE, CL_MISC, CL_N
};

struct insn_desc {
	const char *name;	/* mnemonic in lower case, Intel syntax */
	u16 op;			/* enum x86_op */
	u8 cls;			/* enum insn_class */
	s16 feature;		/* enum x86_feature; F_ALWAYS */
	u32 attr;		/* enum insn_attr */
	u32 fl_read, fl_write, fl_undef;	/* FL_* masks of arithmetic flags (and DF, IF ...) */
	const char *encoding;	/* as in the manual: "0f 38 f0 /r", "vex.128.66.0f.w0 fe /r" */
	const char *operands;	/* "Ev,Gv": codes of SDM vol. 2 app. A.2 */
};

struct insn {
	const struct insn_desc *desc;
	u16 op;			/* desc->op */
	u8 len;			/* bytes, 1-15 */
	u8 mode;		/* code size: 2, 4, 8 bytes (16-, 32-, 64-bit code) */
	u8 opsize, adsize;	/* 2, 4, 8 (effective, after prefixes and REX.W) */
	u8 rep;			/* 0, 0xf2, 0xf3: as prefix, not as part of the opcode */
	bool lock;
	u8 nopd;
	struct operand opd[5];	/* explicit operands, destination first (Intel order) */
	/* Memory operand: seg:[base + index << scale + disp], truncated to adsize. base and index are
	 * enum gpr, REG_ZERO when absent. RIP-relative: rip_rel set, base REG_ZERO; the next
	 * instruction's address is to be added. */
	bool has_mem, rip_rel;
	u8 seg, base, index, scale;	/* seg: after override and default rules (enum seg) */
	s64 disp;
	/* Gathers: 16 or 32, the size of the index register @vsib_reg (XMM or YMM); index is REG_ZERO. */
	u8 vsib, vsib_reg;
	u64 imm, imm2;		/* imm2: ENTER's level, far selector, EXTRQ's second */
	u8 modrm, opcode, map;	/* map: 0 one-byte, 1 0f, 2 0f38, 3 0f3a, 4 3dnow, 8+: XOP */
	bool vex;
	u8 vex_l, vex_w, vvvv, pp;	/* pp: 0 none, 1 66, 2 f3, 3 f2 (legacy: mandatory prefix in use) */
	u8 rex;			/* 0, or 0x40-0x4f */
	u8 modrm_off, imm_len;	/* offset of the ModRM byte (0: none); bytes of immediate at the end */
	u8 bytes[15];
};

/* Decode one instruction at @p of which @avail bytes can be read.
 * @mode: 2, 4 or 8, from CS.D and CS.L.
 * Returns 0; -EAGAIN: the instruction goes beyond @avail (< 15): fetch more, a fault there is the
 * guest's; -EILSEQ: no such instruction (#UD; in->len still holds the bytes looked at);
 * -E2BIG: more than 15 bytes (#GP). Looks at no CPU state: features and CPL are the caller's. */
int insn_decode(struct insn *in, const u8 *p, size_t avail, unsigned mode);

/* Intel syntax, into @buf. @rip: of the instruction, for branch targets. Returns the length. */
int insn_format(const struct insn *in, u64 rip, char *buf, size_t len);

extern const struct insn_desc insn_table[];
extern const unsigned insn_table_size;
const char *insn_class_name(enum insn_class c);

#endif
