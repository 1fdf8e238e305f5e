/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpu_state.h - the complete architectural state of one vCPU in engine-neutral form. What one
 * engine gets, another can set: save, restore and migration between engines rest on it.
 * Interrupt controller state is not here: the chip (dev/lapic.c) declares its own. */
#ifndef PENTA_VM_CPU_STATE_H
#define PENTA_VM_CPU_STATE_H

#include "vm/state.h"
#include "x86/regs.h"

struct cpu_seg {
	u16 sel;
	u16 attr;	/* enum seg_attr of x86/regs.h: bits 8-15 and 20-23 of a descriptor's high
			 * word, moved to 0-7 and 12-15 (as VMX and SVM's access rights) */
	u32 limit;	/* in bytes, granularity applied */
	u64 base;
};

enum cpu_activity { CPU_RUNNING, CPU_HALTED, CPU_SHUTDOWN, CPU_WAIT_SIPI };

#define CPU_XSAVE_SIZE 4096

struct cpu_state {
	u64 gpr[16];			/* RAX RCX RDX RBX RSP RBP RSI RDI R8.. */
	u64 rip, rflags;
	struct cpu_seg seg[SEG_N];	/* ES CS SS DS FS GS LDTR TR */
	struct { u64 base; u16 limit; } gdtr, idtr;
	u64 cr0, cr2, cr3, cr4, cr8, xcr0;
	u64 dr[8];			/* 4 and 5 unused */
	u64 efer, star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 pat, misc_enable, tsc_aux, xss, spec_ctrl;
	u64 mtrr_def, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
	u64 tsc_offset;			/* guest TSC = clock_tsc() + tsc_offset */
	u64 tsc_adjust;
	u64 kvm_system_time, kvm_wall_clock, kvm_steal_time, kvm_poll_control, kvm_async_pf;
	u64 smbase;
	u64 mcg_ctl, mc[16];		/* machine-check banks: CTL, STATUS, ADDR, MISC of each of 4 */
	u8 xsave[CPU_XSAVE_SIZE];	/* standard (non-compacted) XSAVE format */
	u8 activity;			/* enum cpu_activity */
	bool sti_shadow, movss_shadow;	/* interrupts held off for one instruction */
	bool nmi_blocked;
	u8 nmi_pending;			/* how many wait: 0 to 2 */
	bool pv_kicked;			/* KVM_HC_KICK_CPU came: the next, or present, HLT ends at once */
	u32 db_pending;			/* DR6 bits of a trap that MOV SS holds off */
	/* An event whose delivery through the IDT has begun but not ended (kvm), or a fault that
	 * is to be delivered first of all. */
	bool event_pending, event_has_error, event_soft;
	u8 event_vector;
	u32 event_error;
};

extern const struct state_field cpu_state_fields[];

/* The state after power-on (SDM vol. 3, table 9-1): F000:FFF0, CS base FFFF0000. */
void cpu_state_reset(struct cpu_state *s);

#endif
