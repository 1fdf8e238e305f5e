/* SPDX-License-Identifier: GPL-2.0-or-later */
/* native.h - the vCPU's x87, MMX, SSE and AVX: what native.c, exec_x87.c, exec_sse.c and xsave.c
 * share, and what the rest of the soft engine calls.
 *
 * The state lies in cpu->xsave, always complete: whether a component is in its initial state (what
 * XSTATE_BV tells) is computed when asked for. ST(i) are in stack order, the tag word abridged, as
 * FXSAVE64 has them. The x87 instruction and data pointers are always current there, although what
 * FXSAVE and XSAVE show of them depends on the processor (see xsave.c). */
#ifndef PENTA_SOFT_NATIVE_H
#define PENTA_SOFT_NATIVE_H

#include "base/bytes.h"
#include "base/err.h"
#include "engine/soft/cpu.h"
#include "vm/irq.h"

/* Offsets in the XSAVE area; SDM vol. 1, 10.5.1 and 13.4. */
enum xsave_off {
	XSAVE_FCW = 0, XSAVE_FSW = 2, XSAVE_FTW = 4, XSAVE_FOP = 6, XSAVE_FIP = 8, XSAVE_FDP = 16,
	XSAVE_MXCSR = 24, XSAVE_MXCSR_MASK = 28, XSAVE_ST = 32, XSAVE_XMM = 160,
	XSAVE_XSTATE_BV = 512, XSAVE_XCOMP_BV = 520, XSAVE_YMMH = 576, XSAVE_END = 832,
};
enum xfeature { XF_X87 = 1, XF_SSE = 2, XF_AVX = 4 };

enum mxcsr { MXCSR_FLAGS = 0x3f, MXCSR_MASKS = 0x1f80, MXCSR_RESET = 0x1f80, MXCSR_VALID = 0xffff };
enum fsw {
	FSW_FLAGS = 0x3f, FSW_SF = 0x40, FSW_ES = 0x80, FSW_C0 = 0x100, FSW_C1 = 0x200,
	FSW_C2 = 0x400, FSW_TOP = 0x3800, FSW_C3 = 0x4000, FSW_B = 0x8000,
};
#define FSW_TOP_SHIFT 11
enum fcw { FCW_MASKS = 0x3f, FCW_INIT = 0x37f, FCW_ONE = 0x40, FCW_VALID = 0x1f7f };

/* --- for the engine --- */
int native_init(struct cpu *c, struct err *e);	/* at vcpu_init: allocates c->native, resets */
void native_free(struct cpu *c);		/* accepts half-made */
/* Between c->xsave and the engine-neutral image (standard format). Setting takes any bytes: what
 * no register can hold is dropped. */
void xsave_get(const struct cpu *c, u8 out[CPU_XSAVE_SIZE]);
void xsave_set(struct cpu *c, const u8 in[CPU_XSAVE_SIZE]);
/* CR0.NE = 0: FERR# is wired to IRQ 13; IGNNE# is asserted by the board (port 0xf0). Without a
 * wire #MF is raised instead. */
void native_set_ferr(struct cpu *c, struct irq_line ferr);
void native_set_ignne(struct cpu *c, bool asserted);

/* When a block is built: is there room for the stubs of @n more instructions? If not, all blocks
 * are to be dropped, then all stubs. native_uop() gives a generic uop, whose u->in is set, its
 * quick form for an A_NATIVE instruction. */
bool native_room(struct cpu *c, unsigned n);
void native_flush(struct cpu *c);
struct uop;
void native_uop(struct cpu *c, struct uop *u, const struct insn *in);

/* --- availability: raise #UD, #NM or #MF --- */
void native_check_sse(struct cpu *c);
void native_check_avx(struct cpu *c);
bool native_check_mmx(struct cpu *c);		/* true: stalled, as x87_stalled() */
/* Before a waiting x87 or MMX instruction: raises #MF when an unmasked exception is pending. With
 * CR0.NE = 0 it asserts FERR# instead, and says true: the processor stands still at this
 * instruction until the interrupt comes (c->next_rip is set), and it must not be executed. */
bool x87_stalled(struct cpu *c);

/* --- x87 (exec_x87.c) --- */
void x87_exec(struct cpu *c, const struct insn *in);	/* any instruction of D8-DF and 9B */
void x87_init_state(struct cpu *c);			/* FNINIT */
void x87_to_mmx(struct cpu *c);		/* TOP = 0, all tags valid; MMi then at XSAVE_ST + 16 * i */
void x87_update_es(struct cpu *c);	/* FSW.ES and B after flags or masks were loaded */
struct x87_ptr { u16 fcs, fds; };	/* what the XSAVE image has no room for */

/* --- what native.c does for the x87 --- */
/* Run one x87 instruction, its memory operand being [RSI] = @mem, with the guest's whole x87 state;
 * instruction and data pointers are left to the caller. */
void native_run_x87(struct cpu *c, const u8 *insn, unsigned len, void *mem, bool cc_in,
		    bool cc_out);
struct x87_ptr *native_x87_ptr(struct cpu *c);
u8 *native_bounce(struct cpu *c);		/* 128 bytes, aligned to 64 */

/* --- x87_fast.c: the usual instructions, while all exceptions are masked and no stack fault --- */
struct stub_plan;
/* A stub's code. RDI: cpu, RSI: the memory operand. Returns 0, or 1 after a SIMD floating-point
 * exception (the guest's state is then as before the instruction); x87: FSW. */
typedef u32 stub_fn(struct cpu *c, void *mem);
struct x87_fast {
	u8 msize;		/* memory operand */
	bool store;
	bool push;		/* before the stub runs: slots of the plan are those after it */
	u8 pop;			/* afterwards: 0-2 */
	u8 need;		/* slots that must not be empty, by bit (before the push) */
	u8 fill;		/* slots that are not empty afterwards */
	u16 cond;		/* condition codes that change */
};
/* False: there is no fast form. */
bool x87_fast_plan(const struct insn *in, struct stub_plan *p, struct x87_fast *f);
void x87_fast_exec(struct cpu *c, const struct insn *in, const struct x87_fast *f, stub_fn *fn);
void x87_set_pointers(struct cpu *c, const struct insn *in, u64 off);
/* Size of an x87 instruction's memory operand, and whether it is stored; 0: control instruction. */
unsigned x87_mem_size(u8 op, u8 reg, bool *store);

/* Instructions that no stub can run (exec_sse.c): found by op before a stub is made. */
extern const struct exec_entry exec_sse_table[];

#endif
