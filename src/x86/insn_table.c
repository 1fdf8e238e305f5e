/* SPDX-License-Identifier: GPL-2.0-or-later */
/* insn_table.c - the table of instructions as data: generated from insns.tab. */
#include "x86/encoding.h"

#include "x86/insn_table.c.inc"

static const char *const class_names[CL_N] = {
	[CL_ARITH] = "arith", [CL_LOGIC] = "logic", [CL_SHIFT] = "shift", [CL_MULDIV] = "muldiv",
	[CL_MOVE] = "move", [CL_STACK] = "stack", [CL_BRANCH] = "branch", [CL_STRING] = "string",
	[CL_BIT] = "bit", [CL_BMI] = "bmi", [CL_BCD] = "bcd", [CL_FLAGS] = "flags",
	[CL_ATOMIC] = "atomic", [CL_SEGMENT] = "segment", [CL_IO] = "io", [CL_SYSTEM] = "system",
	[CL_X87] = "x87", [CL_MMX] = "mmx", [CL_SSE_INT] = "sse-int", [CL_SSE_FP] = "sse-fp",
	[CL_AVX_INT] = "avx-int", [CL_AVX_FP] = "avx-fp", [CL_FMA] = "fma", [CL_CRYPTO] = "crypto",
	[CL_XSAVE] = "xsave", [CL_MISC] = "misc",
};

const char *insn_class_name(enum insn_class c)
{
	return c < CL_N ? class_names[c] : "?";
}
