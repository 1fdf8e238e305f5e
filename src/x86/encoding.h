/* SPDX-License-Identifier: GPL-2.0-or-later */
/* encoding.h - how a byte sequence is matched with a row of insn_table: the other half of what
 * tools/geninsn.awk makes of insns.tab. For decode.c, and for tests that make encodings.
 *
 * The opcode map and byte give a slot: a short list of rows, in the table's order. What else tells
 * rows apart (prefixes, ModRM, REX.W, mode) is gathered in one word, the key; a row fits when
 * (key & mask) == value. The first one counts. */
#ifndef PENTA_X86_ENCODING_H
#define PENTA_X86_ENCODING_H

#include "x86/insn.h"

/* Bits of the key. geninsn.awk has the same numbers. */
enum key_bit {
	K_MOD3 = 0,	/* ModRM.mod is 3 */
	K_REG = 1,	/* ModRM.reg, 3 bits */
	K_RM = 4,	/* ModRM.rm, 3 bits */
	K_W = 7, K_L = 8,
	K_64 = 9,	/* 64-bit code */
	K_B = 10,	/* REX.B */
	K_66 = 11, K_F3 = 12, K_F2 = 13, K_LOCK = 14,
};

/* Codes of SDM vol. 2 app. A.2.1 (see insns.tab). */
enum opd_am {
	AM_A, AM_B, AM_C, AM_D, AM_E, AM_G, AM_H, AM_I, AM_J, AM_L, AM_M, AM_N, AM_O, AM_P, AM_Q,
	AM_R, AM_S, AM_U, AM_V, AM_W, AM_X, AM_Y, AM_Z,
	AM_VM32X, AM_VM32Y, AM_VM64X, AM_VM64Y,
	AM_REG,		/* the GPR in .reg */
	AM_SEGREG,	/* the segment register in .reg */
	AM_ONE,		/* an immediate 1 that is not in the encoding */
	AM_XMM0, AM_ST, AM_STI,
};
enum opd_sz {		/* A.2.2 */
	SZ_0, SZ_B, SZ_W, SZ_D, SZ_Q, SZ_T, SZ_DQ, SZ_QQ, SZ_X, SZ_PS, SZ_PD, SZ_SS, SZ_SD, SZ_V,
	SZ_Z, SZ_Y, SZ_F, SZ_P, SZ_A, SZ_S, SZ_ENV, SZ_SAVE, SZ_BS, SZ_VW, SZ_DW, SZ_DB, SZ_N,
};
enum opd_access { ACC_R = 1, ACC_W = 2, ACC_RW = 3 };
enum enc_flags {
	ENC_VVVV = 1,	/* VEX.vvvv is an operand */
	ENC_MOD3 = 2,	/* ModRM.mod is taken as 3 */
	ENC_LOCK = 4,	/* the LOCK prefix is part of the opcode */
	ENC_66 = 8,	/* so is 66 */
	ENC_REP = 16,	/* so is F2 or F3 */
};

struct insn_enc {	/* parallel to insn_table[] */
	u16 mask, value;
	u8 flags;
	u8 nopd;
	struct { u8 am, sz, reg, access; } opd[4];
};
struct insn_slot { u16 first; u8 n; bool modrm; };

extern const struct insn_enc insn_encs[];
extern const u16 insn_cands[];
/* Maps: one-byte, 0f, 0f 38, 0f 3a; VEX 0f, 0f 38, 0f 3a. */
extern const struct insn_slot insn_slots[7][256];

#endif
