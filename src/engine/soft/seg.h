/* SPDX-License-Identifier: GPL-2.0-or-later */
/* seg.h - descriptors and stacks, as the files of segmentation share them: seg.c (descriptors,
 * loads), far.c and iret.c (transfers), task.c, except.c, exec_seg.c, exec_sys.c, debug.c. */
#ifndef PENTA_SOFT_SEG_H
#define PENTA_SOFT_SEG_H

#include "engine/soft/cpu.h"
#include "engine/soft/mmu.h"	// la_canonical()

/* System descriptor types (SDM vol. 3, table 3-2). In long mode 2, 9, 11 and 12 are the 64-bit
 * forms, 14 and 15 in the IDT; the others do not exist there. */
enum desc_type {
	DT_TSS16 = 1, DT_LDT = 2, DT_TSS16_BUSY = 3, DT_CALL16 = 4, DT_TASK = 5, DT_INT16 = 6,
	DT_TRAP16 = 7, DT_TSS = 9, DT_TSS_BUSY = 11, DT_CALL = 12, DT_INT = 14, DT_TRAP = 15,
};
#define DT_BUSY 2		/* the bit that makes an available TSS a busy one */
#define SEL_TI 4
#define SEL_NULL(sel) (((sel) & ~3u) == 0)
#define SEL_ERR(sel) ((sel) & 0xfffcu)

struct desc {
	u16 sel;
	u16 attr;	/* as cpu_seg.attr */
	u32 limit;
	u64 base;	/* 64 bits for system descriptors in long mode */
	u32 lo, hi;	/* as read: gates */
	u64 la;		/* linear address of the descriptor */
};
static inline unsigned desc_dpl(const struct desc *d)
{
	return (d->attr & SEG_A_DPL) >> SEG_A_DPL_SHIFT;
}
static inline bool desc_present(const struct desc *d) { return d->attr & SEG_A_P; }
static inline unsigned desc_type(const struct desc *d) { return d->attr & SEG_A_TYPE; }
static inline bool desc_is_system(const struct desc *d) { return !(d->attr & SEG_A_S); }
static inline bool desc_is_code(const struct desc *d)
{
	return (d->attr & (SEG_A_S | SEG_A_CODE)) == (SEG_A_S | SEG_A_CODE);
}
static inline bool desc_is_conforming(const struct desc *d) { return d->attr & SEG_A_EC; }
static inline bool desc_is_wdata(const struct desc *d)
{
	return (d->attr & (SEG_A_S | SEG_A_CODE | SEG_A_RW)) == (SEG_A_S | SEG_A_RW);
}
static inline bool desc_is_readable(const struct desc *d)
{
	return (d->attr & SEG_A_S) && (!(d->attr & SEG_A_CODE) || (d->attr & SEG_A_RW));
}

static inline bool cpu_realish(const struct cpu *c) { return !cpu_protected(c) || cpu_v86(c); }
/* Does this guest follow AMD's manual where the two makers differ? (CPUID leaf 0) */
bool cpu_is_amd(struct cpu *c);

/* --- seg.c --- */
/* Read and take apart the descriptor of @sel; false when it lies outside its table. @d->sel is
 * set either way. Page faults on the table are raised. */
bool desc_fetch(struct cpu *c, u16 sel, struct desc *d);
/* The same, with @vector(@sel) raised when outside. */
void desc_need(struct cpu *c, u16 sel, struct desc *d, unsigned vector);
/* In long mode: add the second half of a 16-byte system descriptor (base, or a gate's offset).
 * False when it lies outside the table or its type field is not 0. */
bool desc_fetch_high(struct cpu *c, struct desc *d, u32 *high);
void desc_set_accessed(struct cpu *c, struct desc *d);
/* Set or clear a TSS descriptor's busy bit. */
void desc_set_busy(struct cpu *c, u64 desc_la, bool busy);
/* The hidden part from @d, with selector @sel. */
void seg_set(struct cpu *c, unsigned seg, u16 sel, const struct desc *d);
void seg_set_null(struct cpu *c, unsigned seg, u16 sel);
/* Loads of LDTR and TR by LLDT and LTR. */
void seg_load_ldt(struct cpu *c, u16 sel);
void seg_load_tr(struct cpu *c, u16 sel);
/* Data segments that the outer level @cpl may not see become null: after RETF and IRET. */
void seg_drop_inner(struct cpu *c, unsigned cpl);
/* The fixed segments of SYSCALL, SYSRET, SYSENTER, SYSEXIT: base 0, limit 4 GiB; sets CPL too. */
void seg_set_flat_code(struct cpu *c, u16 sel, unsigned cpl, bool l);
void seg_set_flat_stack(struct cpu *c, u16 sel, unsigned cpl);
/* CPL and what follows from it. */
void seg_set_cpl(struct cpu *c, unsigned cpl);

/* A stack that is being pushed to or popped from before anything is committed. */
struct stk {
	u64 sp, mask;		/* of SP, ESP, RSP */
	u64 base;
	u32 limit;
	u16 attr;
	bool is64;		/* 64-bit mode's: no base, no limit, canonical */
	u8 as;			/* enum mem_as */
	u32 err;		/* error code of #SS, without EXT */
};
/* The stack in use now. */
void stk_current(struct cpu *c, struct stk *s);
/* One made of @ss, not loaded yet, for level @cpl; #SS(@ss's selector) when it is too small. */
void stk_new(struct cpu *c, struct stk *s, const struct desc *ss, u64 sp, unsigned cpl);
/* A 64-bit mode stack at @sp for level @cpl. */
void stk_new64(struct cpu *c, struct stk *s, u64 sp, unsigned cpl);
/* Is there room for @len more bytes? Raises #SS, #PF. */
void stk_need(struct cpu *c, const struct stk *s, unsigned len);
void stk_push(struct cpu *c, struct stk *s, u64 val, unsigned size);
u64 stk_pop(struct cpu *c, struct stk *s, unsigned size);
/* RSP, ESP or SP = s->sp. */
void stk_commit(struct cpu *c, const struct stk *s);
/* SS:SP of an inner level from the TSS (16, 32 bits); raises #TS(TR). */
void tss_stack(struct cpu *c, unsigned cpl, u16 *ss, u32 *sp);
/* A 64-bit TSS's slot: RSP0-2 (@slot 0-2) or IST1-7 (@slot 4-10). */
u64 tss_stack64(struct cpu *c, unsigned slot);
/* Check what tss_stack() gave as SS for level @cpl, and fetch it: #TS(ss), #SS(ss). */
void tss_stack_desc(struct cpu *c, u16 ss, unsigned cpl, struct desc *d);

/* --- far.c, iret.c --- */
/* Raise #GP(0) unless @off can be executed in code segment @cs. @as64: cs is 64-bit code. */
void code_check_target(struct cpu *c, const struct desc *cs, u64 off);
/* Will code of @d run in 64-bit mode? */
static inline bool desc_is_code64(const struct cpu *c, const struct desc *d)
{
	return cpu_long(c) && (d->attr & SEG_A_L);
}
/* CS = @d at level @cpl, IP = @off; the transfer is done. */
void code_commit(struct cpu *c, struct desc *d, unsigned cpl, u64 off);
/* Check the code segment that RETF or IRET goes back to, and fetch it. */
void ret_check_cs(struct cpu *c, u16 sel, struct desc *d);
/* Likewise the stack segment; true when it is null as 64-bit mode allows. */
bool ret_check_ss(struct cpu *c, u16 sel, const struct desc *cs, u16 cs_sel, struct desc *d);

/* --- except.c --- */
/* INT n and its kin, from exec functions: c->next_rip is pushed. Faults are raised as usual. */
void deliver_soft(struct cpu *c, unsigned vector, enum int_kind kind);

/* --- debug.c --- */
#define DR6_BD	0x2000ull	/* access to a debug register under DR7.GD */
#define DR6_BS	0x4000ull	/* single step */
#define DR6_BT	0x8000ull	/* the T bit of a TSS */
void debug_watch_io(struct cpu *c, u16 port, unsigned size);

#endif
