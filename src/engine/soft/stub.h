/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stub.h - small pieces of host code, each of which runs one guest instruction on the host's own
 * x87, MMX, SSE or AVX unit. A stub takes the guest registers that the instruction reads from
 * cpu->xsave and cpu->r, executes the instruction with its memory operand rewritten to a pointer
 * that the caller gives, and puts back what the instruction writes. */
#ifndef PENTA_SOFT_STUB_H
#define PENTA_SOFT_STUB_H

#include "base/err.h"
#include "engine/soft/native.h"

/* A code buffer, mapped twice from one memfd: one view is writable, the other executable. */
struct codebuf {
	u8 *rw;
	const u8 *rx;
	size_t size, used;
};
int codebuf_new(struct codebuf *b, size_t size, struct err *e);
void codebuf_free(struct codebuf *b);		/* accepts a zeroed one */

/* What a stub has to do. Two instructions with equal plans share a stub (displacements, base
 * registers and segments are no part of it). Zero it before filling: it is compared by bytes. */
struct stub_plan {
	u8 insn[16];		/* the instruction as the host is to run it */
	u8 insn_len;
	u16 xmm_in, xmm_out;	/* registers to load, to store */
	u16 ymm_in;		/* of xmm_in: those whose upper half is loaded too */
	u8 mm_in, mm_out;
	u8 gpr_in, gpr_out;	/* guest register + 1 that stands behind the host's RAX; 0: none */
	bool vex;		/* what is stored is stored with its upper half */
	bool cc_in, cc_out;	/* arithmetic flags */
	bool estr;		/* PCMPESTRx: EAX and EDX are read */
	bool istr;		/* PCMPxSTRI: ECX is written */
	bool mxcsr;
	bool x87;		/* with all of the x87 state, by FXRSTOR64 and FXSAVE64 */
	/* x87 with the few registers that are needed, on an otherwise empty stack. Slots of the
	 * guest's stack + 1; 0: none. The stub returns FSW. */
	bool st;
	u8 st_load[2];		/* in this order: the second becomes ST(0) */
	u8 st_store[2];		/* ST(0) to the first, then ... */
	bool st_drop;		/* one more is left over */
};


/* Put @in into @p as the host is to execute it; registers and flags too. False: it has a form that
 * no stub can express. */
#define STUB_CODE_MAX 512u		/* no stub's code is longer */
bool stub_plan_insn(struct stub_plan *p, const struct insn *in);
/* Emit the code at the end of @b. NULL when it is full. */
stub_fn *stub_emit(struct codebuf *b, const struct stub_plan *p);

/* --- stubs as they are kept --- */
enum need { NEED_SSE = 1, NEED_AVX = 2, NEED_MMX = 4 };
/* One for each plan and use; good as long as the blocks are (native_room()). */
struct stub {
	struct stub_plan plan;
	stub_fn *fn;
	exec_fn *special;	/* does all instead */
	u8 need;		/* enum need */
	u8 msize;		/* bytes of the memory operand; 0: none */
	bool load, store;
	bool aligned;		/* to its size, else #GP */
	bool mmx_state;		/* switches the x87 registers to MMX */
	struct x87_fast x87;	/* when plan.st */
};

/* The stub of an A_NATIVE instruction; NULL when there is no room for one that lasts. */
const struct stub *native_stub(struct cpu *c, const struct insn *in);
/* Run it, all checks done; MXCSR and #XM are seen to. */
void native_run(struct cpu *c, const struct stub *s, void *mem);

/* SIMD floating-point exceptions inside a stub. The process's SIGFPE handler is installed once, and
 * passes on what does not come from a stub. */
struct stub_trap {
	const u8 *lo, *hi;	/* executable code that may trap */
	const u8 *landing;	/* where to go on: returns 1 */
	u32 mxcsr;		/* as the host's was when it trapped */
};
void stub_trap_install(void);
/* Emit the landing pad. */
const u8 *stub_emit_landing(struct codebuf *b);
/* Run @fn with @t armed for this thread. */
u32 stub_run_trapping(struct stub_trap *t, stub_fn *fn, struct cpu *c, void *mem);

#endif
