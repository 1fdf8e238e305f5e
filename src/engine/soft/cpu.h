/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpu.h - the soft engine's vCPU, as the files of engine/soft see it.
 *
 * The parts, each in its file:
 *   soft.c      the engine interface: make, run, kick, get and set state
 *   block.c     decoded blocks: cache, lookup, invalidation when code is written
 *   run.c       the loop: requests, interrupts, blocks, faults caught
 *   mmu.c       page walks, software TLB, loads and stores
 *   seg.c       segment loads, far transfers, gates; task.c hardware task switch
 *   except.c    delivery of exceptions and interrupts through the IVT/IDT
 *   exec_*.c    what instructions do;  fast.c their quick variants
 *   sys.c       control registers; msr.c; cpuid, time; debug.c: DR0-7 and the host debugger
 *   native.c    x87/MMX/SSE/AVX on the host's units; xsave.c
 *
 * How an instruction is executed. An exec function gets the cpu and the decoded instruction;
 * c->rip is the instruction's own RIP (offset in CS), c->next_rip the following one's (already
 * truncated to the code size). It may cpu_raise() (does not return) as long as it has changed
 * nothing that the architecture says is unchanged on that fault. Branches set c->next_rip.
 * Whoever changes what code fetch or address translation rests on (CPL, CS, CR0/3/4, EFER, ...)
 * calls cpu_mode_changed() and has A_END in the table. */
#ifndef PENTA_SOFT_CPU_H
#define PENTA_SOFT_CPU_H

#include "vm/machine.h"
#include "x86/insn.h"
#include <setjmp.h>

struct block;
struct uop;

/* Arithmetic flags as the host's LAHF and SETO leave them in AX: AH = SF ZF 0 AF 0 PF 1 CF,
 * AL = OF (0 or 1). Exec functions run the host's own ALU and keep the result as it is, so that
 * undefined flags come out as silicon's. All other flags are in cpu->rflags (arithmetic bits 0). */
enum cc { CC_OF = 1, CC_CF = 1 << 8, CC_PF = 1 << 10, CC_AF = 1 << 12, CC_ZF = 1 << 14, CC_SF = 1 << 15 };

/* Software TLB. One set of entries for each way of looking at memory; direct-mapped by page. A tag
 * is the linear page address, or TLB_INVALID (no page has bit 0 set). An entry whose page is MMIO,
 * or must be seen first (not dirty yet, holds code, watched), has an invalid tag for that access
 * and takes the slow path each time. */
#define TLB_BITS 10
#define TLB_SIZE (1u << TLB_BITS)
#define TLB_INVALID 1ull
struct tlb_entry {
	u64 tag_r;
	_Atomic u64 tag_w;	/* other threads take it away: mmu_code_page() */
	u64 tag_x;
	uintptr_t addend;	/* host address = linear + addend */
};
enum tlb_set {
	TLB_SUPER,	/* supervisor: fetches, implicit accesses, data while SMAP holds */
	TLB_USER,
	TLB_SUPER_AC,	/* supervisor data while RFLAGS.AC lifts SMAP: STAC and CLAC flush nothing */
	TLB_SLOW,	/* always empty: user data under alignment check (CR0.AM and RFLAGS.AC) */
	TLB_SETS
};

#define MC_BANKS 4

/* Interrupts held off for one instruction. Who sets it calls cpu_look(). */
enum shadow { SHADOW_NONE, SHADOW_STI, SHADOW_MOVSS /* #DB too */ };

#define CODE_SEEN_BITS 8192u

struct cpu {
	u64 r[REG_N];			/* r[REG_ZERO] stays 0 */
	u64 rip, next_rip;
	u32 cc;				/* enum cc */
	u32 rflags;			/* FL_* without OSZAPC; bit 1 set */
	/* Links of blocks rest on these: [0] changes whenever translations that are not global are
	 * dropped, [1] when global ones are. INVLPG changes them only when code_seen, a Bloom filter
	 * of pages that links lead to, says that it may matter. tlb.c */
	u32 map_gen[2];
	u64 code_seen[CODE_SEEN_BITS / 64];
	u8 tlb_set;			/* enum tlb_set of normal data accesses: tlb_data_set() */
	u8 cpl;
	u8 mode;			/* code size 2, 4, 8 */
	u8 stack_size;			/* 2, 4, 8: width of SP */
	bool lma64;			/* 64-bit mode (CS.L in long mode) */
	bool flat;			/* DS ES SS CS: base 0, no limit in the way: only FS GS add */
	_Atomic u32 look;		/* not 0: leave the block loop and look at v->requests etc. */
	struct block *blk;		/* being executed; block.c */
	struct { u64 rip; struct chain *chain; } ras[16];	/* calls under way; uop/flow.c */
	u32 ras_top;
	u32 pauses;			/* PAUSE instructions, exec_int.c */
	struct tlb_entry *tlb_data;	/* tlb[tlb_set]: set together with it */
	u64 la_mask;			/* linear addresses: 64 or 32 bits */
	struct tlb_entry *tlb_code;	/* tlb[...] for fetches; cpu_mode_changed() */
	u64 mode_key;			/* what decoded code depends on; cpu_mode_changed() */
	struct vcpu *v;
	struct machine *m;

	struct cpu_seg seg[SEG_N];
	struct { u64 base; u16 limit; } gdtr, idtr;
	u64 cr0, cr2, cr3, cr4, xcr0, efer;	/* cr8 is the interrupt controller's */
	u64 dr[8];
	u64 star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 pat, misc_enable, tsc_aux, xss, spec_ctrl;
	u64 mtrr_def, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
	u64 tsc_offset, tsc_adjust, smbase;
	u64 kvm_system_time, kvm_wall_clock, kvm_steal_time, kvm_poll_control, kvm_async_pf;
	u64 pdpte[4];			/* PAE: loaded with CR3 */
	u64 a20_mask;			/* physical addresses are and-ed with it */

	/* Between instructions. */
	u8 activity;			/* enum cpu_activity */
	u8 shadow;			/* enum shadow: run.c ends it after the next instruction */
	bool nmi_blocked;
	u8 nmi_pending;			/* how many wait: 0, 1, or 2 while none is being handled */
	bool irq_maybe;			/* the interrupt controller may have one (run.c) */
	_Atomic bool memory_changed;	/* RAM blocks or A20: flush before the next instruction */
	bool step_trap;			/* TF was set when the instruction began */
	_Atomic bool outside;		/* not in the block loop: no store is under way (block.c) */
	_Atomic u32 code_epoch;		/* new code pages seen here, between instructions: block.c */
	u64 db_pending;			/* DR6 bits of a #DB to raise after this instruction */

	/* An event that is to be delivered first of all (set_state). */
	struct { bool pending, has_error, soft; u8 vector; u32 error; } event;

	/* A fault on its way (cpu_raise) and the events being delivered (double fault rules). */
	sigjmp_buf catch;
	struct { u8 vector; bool has_error, soft; u32 error; } exc;
	int delivering;			/* vector being delivered, -1 none */
	bool ext;			/* not by INT n: error codes of faults get EXT (except.c) */
	u8 dbg_armed;			/* enum debug_armed; 0: nothing to look for (debug.c) */

	/* Extended state in standard XSAVE format: legacy area, header, AVX at 576. */
	_Alignas(64) u8 xsave[1024];

	struct tlb_entry tlb[TLB_SETS][TLB_SIZE];

	/* Owned by the file named. */
	struct mmu *mmu;		/* tlb.c */
	u64 mcg_ctl, mc[4 * MC_BANKS];	/* msr.c: machine checks never happen */
	int steal_fd;			/* pv.c */
	u64 steal_seen, steal_asked;	/* ns */
	_Atomic bool pv_kicked;		/* the next (or present) HLT ends at once: KVM_HC_KICK_CPU */
	u64 code_wrote_gpa;		/* see mmu_code_settle() */
	u32 code_wrote_len;
	struct block_cache *blocks;	/* block.c */
	struct soft *soft;		/* the engine: code pages of all vCPUs (block.h) */
	struct debug_state *debug;	/* debug.c */
	struct native_state *native;	/* native.c: stubs by encoding */
	struct soft_stats { u64 insns, blocks_made, block_lookups, tlb_fills, faults, irqs, io; } stats;
};

static inline struct cpu *cpu_of(struct vcpu *v) { return v->engine; }

/* --- faults (except.c): none of these returns; c->rip must be the instruction's --- */
_Noreturn void cpu_raise(struct cpu *c, unsigned vector);		/* no error code */
_Noreturn void cpu_raise_err(struct cpu *c, unsigned vector, u32 error);
static inline _Noreturn void raise_ud(struct cpu *c) { cpu_raise(c, EXC_UD); }
static inline _Noreturn void raise_gp(struct cpu *c, u32 error) { cpu_raise_err(c, EXC_GP, error); }
_Noreturn void raise_pf(struct cpu *c, u64 la, u32 error);

/* --- flags (cpu_set_rflags: run.c) --- */
static inline u32 cc_to_flags(u32 cc)
{
	return ((cc >> 8) & (FL_SF | FL_ZF | FL_AF | FL_PF | FL_CF)) | (cc & 1) << 11;
}
static inline u32 flags_to_cc(u64 fl)
{
	return (fl & (FL_SF | FL_ZF | FL_AF | FL_PF | FL_CF)) << 8 | 0x200 | ((fl >> 11) & 1);
}
static inline u64 cpu_get_rflags(const struct cpu *c)
{
	return c->rflags | FL_1 | cc_to_flags(c->cc);
}
/* All of @fl; callers mask by privilege first. Ends the block when TF or IF may have changed. */
void cpu_set_rflags(struct cpu *c, u64 fl);
static inline unsigned cpu_iopl(const struct cpu *c) { return (c->rflags >> FL_IOPL_SHIFT) & 3; }
static inline bool cpu_protected(const struct cpu *c) { return c->cr0 & CR0_PE; }
static inline bool cpu_v86(const struct cpu *c) { return c->rflags & FL_VM; }
static inline bool cpu_long(const struct cpu *c) { return c->efer & EFER_LMA; }

/* What c->tlb_set must be; to be set again whenever CPL, CR0.AM, CR4.SMAP or RFLAGS.AC change
 * (cpu_mode_changed(), cpu_set_rflags()). */
static inline u8 tlb_data_set(const struct cpu *c)
{
	bool ac = c->rflags & FL_AC;

	if (c->cpl == 3)
		return ac && (c->cr0 & CR0_AM) ? TLB_SLOW : TLB_USER;
	return ac && (c->cr4 & CR4_SMAP) ? TLB_SUPER_AC : TLB_SUPER;
}

static inline void cpu_set_tlb(struct cpu *c)
{
	c->tlb_set = tlb_data_set(c);
	c->tlb_data = c->tlb[c->tlb_set];
}

/* --- run.c --- */
/* Recompute mode, cpl, tlb_set, flat, stack_size from cr0/efer/seg/rflags; leave the block. */
void cpu_mode_changed(struct cpu *c);
void cpu_look(struct cpu *c);		/* own thread: make the loop look at requests, IF, TF, ... */
/* Execute one instruction that is already decoded (the kvm engine's fallback, the tests). */
void exec_insn(struct cpu *c, const struct insn *in);

/* --- walk.c, tlb.c, access.c (inline fast paths: access.h): loads and stores.
 * @seg: enum seg; @off: effective address (offset). Little-endian
 * values of @size 1 2 4 8; unaligned and page-crossing as the architecture says: both pages are
 * checked before anything is written. MMIO goes to the bus. Alignment check (#AC) inside. --- */
u64 mem_ld(struct cpu *c, unsigned seg, u64 off, unsigned size);
void mem_st(struct cpu *c, unsigned seg, u64 off, u64 val, unsigned size);
/* Host pointer for an atomic or read-modify-write access of @size bytes when it lies in one page
 * of RAM; NULL when it does not (MMIO or page-crossing): the caller then loads and stores under
 * mem_split_lock(). Write permission is checked; dirty and code rules are done. */
void *mem_rmw(struct cpu *c, unsigned seg, u64 off, unsigned size);
void mem_split_lock(struct cpu *c);	/* stops other vCPUs' split accesses; cpu_raise() lets go */
void mem_split_unlock(struct cpu *c);
/* Any length up to 4096 (SSE, FXSAVE, XSAVE, tasks). */
void mem_ld_bytes(struct cpu *c, unsigned seg, u64 off, void *buf, unsigned len);
void mem_st_bytes(struct cpu *c, unsigned seg, u64 off, const void *buf, unsigned len);
/* A part of a larger operand: no alignment check. */
void mem_ld_part(struct cpu *c, unsigned seg, u64 off, void *buf, unsigned len);
void mem_st_part(struct cpu *c, unsigned seg, u64 off, const void *buf, unsigned len);
/* Fault now if [off, off+len) cannot be accessed so; changes only A (and D when @write) bits. */
void mem_probe(struct cpu *c, unsigned seg, u64 off, unsigned len, bool write);

/* The same by linear address: after segmentation. @as: whose rights. */
enum mem_as { AS_CURRENT, AS_SYSTEM /* descriptor tables, TSS, IDT stack pushes at CPL 0 */, AS_USER };
u64 lin_ld(struct cpu *c, u64 la, unsigned size, enum mem_as as);
void lin_st(struct cpu *c, u64 la, u64 val, unsigned size, enum mem_as as);
void lin_probe(struct cpu *c, u64 la, unsigned len, bool write, enum mem_as as);
/* mem_rmw() by linear address: accessed and busy bits of descriptors are set by locked ORs. */
void *lin_rmw(struct cpu *c, u64 la, unsigned size, enum mem_as as);

/* seg:off to linear with limit, type, canonical checks: #GP(0) or #SS(0) when @seg is SS. */
u64 seg_linear(struct cpu *c, unsigned seg, u64 off, unsigned len, bool write);

/* Longest run of bytes from @la in one page as host memory, for string instructions: NULL when
 * not plain RAM. *@n: in: wanted, out: what is there. Faults as an access would. */
void *lin_span(struct cpu *c, u64 la, bool write, size_t *n);

/* Code: host pointer to the byte at linear @la, the number of bytes up to the page end in *@n and
 * the physical address in *@gpa. Faults as an instruction fetch. NULL: not RAM (executing MMIO). */
const u8 *mmu_fetch(struct cpu *c, u64 la, u64 *gpa, size_t *n);

int mmu_init(struct cpu *c);			/* at vcpu_init; -ENOMEM */
void mmu_free(struct cpu *c);			/* accepts half-made */
void tlb_flush_all(struct cpu *c);		/* also global */
void tlb_flush_nonglobal(struct cpu *c);	/* CR3 load */
void tlb_flush_page(struct cpu *c, u64 la);	/* INVLPG */
void tlb_flush_pcid(struct cpu *c, unsigned pcid, bool globals);
/* Before code of the page at @gpa is decoded: sets RAM_PAGE_CODE and takes the page's write tags
 * from every vCPU of the machine, so that stores from now on reach block_code_written(). */
void mmu_code_page(struct cpu *c, u64 gpa);
/* Locked and split accesses to pages with code, after the instruction: run.c calls it when it
 * looks up (cpu_look() was called) and c->code_wrote_len is not 0. */
void mmu_code_settle(struct cpu *c);
/* Translate without side effects (debugger). -EFAULT. */
int mmu_peek(struct cpu *c, u64 la, u64 *gpa);

/* Hold off interrupts (and #DB after MOV SS) until after the next instruction. */
static inline void cpu_set_shadow(struct cpu *c, enum shadow s)
{
	c->shadow = s;
	cpu_look(c);
}

static inline unsigned code_seen_bit(u64 la)
{
	return (unsigned)((la >> PAGE_SHIFT) * 0x9e3779b97f4a7c15ull >> 51);
}

/* --- block.c ---
 * Flushes (tlb_flush_*) change c->map_gen. A page with RAM_PAGE_CODE gets no write tag. */
/* A store hit a page with RAM_PAGE_CODE: drop what was decoded there. After the store.
 * May be called from any thread with c NULL through ram_on_code_write(). */
void block_code_written(struct cpu *c, u64 gpa, unsigned len);
void block_flush_all(struct cpu *c);

/* --- seg.c, task.c, except.c --- */
void seg_load(struct cpu *c, unsigned seg, u16 sel);		/* MOV/POP/Lxs semantics, not CS */
void seg_load_real(struct cpu *c, unsigned seg, u16 sel);	/* real and v86: base = sel << 4 */
void far_jump(struct cpu *c, u16 sel, u64 off, unsigned opsize);
void far_call(struct cpu *c, u16 sel, u64 off, unsigned opsize);
void far_ret(struct cpu *c, unsigned opsize, unsigned pop_bytes);
void do_iret(struct cpu *c, unsigned opsize);
/* Read a descriptor; faults (vector, sel & 0xfffc) when beyond the table. */
u64 desc_read(struct cpu *c, u16 sel, unsigned fault_vector);
enum task_reason { TASK_JMP, TASK_CALL, TASK_IRET, TASK_INT };
void task_switch(struct cpu *c, u16 tss_sel, enum task_reason why, bool has_error, u32 error);
enum int_kind { INT_HW, INT_EXC, INT_SOFT /* INT n */, INT_SOFT3 /* INT3, INTO */, INT_ICEBP, INT_NMI };
/* Deliver through IVT/IDT. c->rip is what is pushed. Faults inside become double/triple faults. */
void deliver(struct cpu *c, unsigned vector, enum int_kind kind, bool has_error, u32 error);

/* --- debug.c: DR0-7 and the host debugger's points ---
 * Nothing is looked for while c->dbg_armed is 0. DBG_EXEC: block.c ends a block before an
 * instruction for which debug_exec_at() is true, so that it comes first in its own, and run.c calls
 * debug_entry() when it enters a block. DBG_DATA: mmu.c makes no fast TLB entry for a page for
 * which debug_watch_page() is true, and calls debug_watch() for each access that takes the slow
 * path, once it can no longer fault. Whoever arms or disarms points flushes TLB and blocks
 * himself (debug.c does). */
enum debug_armed { DBG_EXEC = 1, DBG_DATA = 2, DBG_IO = 4, DBG_STEP = 8 /* host debugger's step */ };
int debug_init(struct cpu *c);
void debug_free(struct cpu *c);			/* accepts half-made */
int debug_set_ctl(struct cpu *c, const struct debug_ctl *d);	/* host debugger; while parked */
struct debug_hit debug_get_hit(const struct cpu *c);
void debug_rearm(struct cpu *c);		/* dr[] changed from outside: set_state, reset */
bool debug_exec_at(const struct cpu *c, u64 la);
/* At c->rip, between instructions. True: stop for the host debugger, nothing was executed. The
 * guest's own breakpoint raises #DB (does not return) unless RF. */
bool debug_entry(struct cpu *c);
bool debug_watch_page(const struct cpu *c, u64 la);
void debug_watch(struct cpu *c, u64 la, unsigned len, bool write);
/* After an instruction, c->rip the next one's: raise what c->db_pending holds as the #DB trap
 * (delivers it), and say whether the host debugger wants to stop (step, watchpoint). */
bool debug_after(struct cpu *c);
u64 debug_read_dr(struct cpu *c, unsigned n);	/* MOV from and to DRn; may raise #UD #GP #DB */
void debug_write_dr(struct cpu *c, unsigned n, u64 val);

/* --- sys.c, msr.c --- */
void cpu_write_cr(struct cpu *c, unsigned n, u64 val);	/* checks and side effects; may #GP */
u64 cpu_read_cr(struct cpu *c, unsigned n);
int msr_read(struct cpu *c, u32 msr, u64 *val);		/* 0 or -EPERM (#GP) */
int msr_write(struct cpu *c, u32 msr, u64 val);
/* RDMSR's and WRMSR's table, CPUID, time: also for set_state. */
void cpuid_exec(struct cpu *c, u32 leaf, u32 subleaf, struct cpuid_regs *out);
u64 cpu_tsc(struct cpu *c);				/* what RDTSC reads */
/* State was set, or the machine runs again after a pause: own thread; PV clock, steal time. */
void pv_resume(struct cpu *c);
bool io_allowed(struct cpu *c, u16 port, unsigned size);	/* IOPL and the TSS bitmap */
u64 io_in(struct cpu *c, u16 port, unsigned size);		/* takes the machine lock */
void io_out(struct cpu *c, u16 port, u64 val, unsigned size);

/* --- native.c: instructions with A_NATIVE --- */
void native_exec(struct cpu *c, const struct insn *in);

/* --- exec dispatch: each exec_*.c exports a table of { op, function }, closed by { 0, NULL };
 * exec_table.c lists the tables and builds the index. An op in none of them: #UD, logged once. --- */
typedef void exec_fn(struct cpu *c, const struct insn *in);
struct exec_entry { u16 op; exec_fn *fn; };
extern const struct exec_entry exec_int_table[], exec_stack_table[], exec_branch_table[];
extern const struct exec_entry exec_string_table[], exec_bit_table[], exec_atomic_table[];
extern const struct exec_entry exec_seg_table[], exec_sys_table[];
extern const struct exec_entry exec_simd_table[];	/* XSAVE, FXSAVE, LDMXCSR ... */
exec_fn *exec_of(unsigned op);
extern const struct exec_entry exec_ctl_table[];	/* sys.c: control registers, MSRs, CPUID, time */

/* --- operands (operand.h has the inline helpers) --- */
/* Offset of the memory operand, truncated to the address size. */
static inline u64 insn_ea(const struct cpu *c, const struct insn *in)
{
	u64 ea = c->r[in->base] + (c->r[in->index] << in->scale) + (u64)in->disp;
	if (in->rip_rel)
		ea += c->next_rip;
	return in->adsize == 8 ? ea : in->adsize == 4 ? (u32)ea : (u16)ea;
}
static inline u64 gpr_read(const struct cpu *c, const struct operand *o)
{
	u64 v = c->r[o->reg];
	if (o->high8)
		return (u8)(v >> 8);
	return o->size == 8 ? v : o->size == 4 ? (u32)v : o->size == 2 ? (u16)v : (u8)v;
}
static inline void gpr_write(struct cpu *c, const struct operand *o, u64 v)
{
	u64 *r = &c->r[o->reg];
	switch (o->size) {
	case 8: *r = v; break;
	case 4: *r = (u32)v; break;
	case 2: *r = (*r & ~0xffffull) | (u16)v; break;
	default:
		if (o->high8) *r = (*r & ~0xff00ull) | (u64)(u8)v << 8;
		else *r = (*r & ~0xffull) | (u8)v;
	}
}
/* Read operand @i of any integer kind (register, memory, immediate, segment selector). */
u64 opd_read(struct cpu *c, const struct insn *in, unsigned i);
void opd_write(struct cpu *c, const struct insn *in, unsigned i, u64 val);

/* Push and pop with the stack's width and segment checks; @size of the item. Pop changes SP only. */
void stack_push(struct cpu *c, u64 val, unsigned size);
u64 stack_pop(struct cpu *c, unsigned size);

#endif
