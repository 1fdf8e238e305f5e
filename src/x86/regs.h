/* SPDX-License-Identifier: GPL-2.0-or-later */
/* regs.h - registers and their bits. After: Intel SDM vol. 1 ch. 3, vol. 3 ch. 2, 4, 6; vol. 4. */
#ifndef PENTA_X86_REGS_H
#define PENTA_X86_REGS_H

#include "base/types.h"

enum gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15,
	   REG_ZERO /* "no register": reads 0 */, REG_N };
enum seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_N };

enum rflags {
	FL_CF = 1 << 0, FL_1 = 1 << 1, FL_PF = 1 << 2, FL_AF = 1 << 4, FL_ZF = 1 << 6, FL_SF = 1 << 7,
	FL_TF = 1 << 8, FL_IF = 1 << 9, FL_DF = 1 << 10, FL_OF = 1 << 11, FL_IOPL = 3 << 12,
	FL_NT = 1 << 14, FL_RF = 1 << 16, FL_VM = 1 << 17, FL_AC = 1 << 18, FL_VIF = 1 << 19,
	FL_VIP = 1 << 20, FL_ID = 1 << 21,
};
#define FL_OSZAPC (FL_OF | FL_SF | FL_ZF | FL_AF | FL_PF | FL_CF)
#define FL_IOPL_SHIFT 12

enum cr0 { CR0_PE = 1 << 0, CR0_MP = 1 << 1, CR0_EM = 1 << 2, CR0_TS = 1 << 3, CR0_ET = 1 << 4,
	   CR0_NE = 1 << 5, CR0_WP = 1 << 16, CR0_AM = 1 << 18, CR0_NW = 1 << 29, CR0_CD = 1 << 30 };
#define CR0_PG (1u << 31)
enum cr4 { CR4_VME = 1 << 0, CR4_PVI = 1 << 1, CR4_TSD = 1 << 2, CR4_DE = 1 << 3, CR4_PSE = 1 << 4,
	   CR4_PAE = 1 << 5, CR4_MCE = 1 << 6, CR4_PGE = 1 << 7, CR4_PCE = 1 << 8,
	   CR4_OSFXSR = 1 << 9, CR4_OSXMMEXCPT = 1 << 10, CR4_UMIP = 1 << 11, CR4_LA57 = 1 << 12,
	   CR4_VMXE = 1 << 13, CR4_SMXE = 1 << 14, CR4_FSGSBASE = 1 << 16, CR4_PCIDE = 1 << 17,
	   CR4_OSXSAVE = 1 << 18, CR4_SMEP = 1 << 20, CR4_SMAP = 1 << 21, CR4_PKE = 1 << 22 };
enum efer { EFER_SCE = 1 << 0, EFER_LME = 1 << 8, EFER_LMA = 1 << 10, EFER_NXE = 1 << 11,
	    EFER_SVME = 1 << 12, EFER_FFXSR = 1 << 14 };

enum vector { EXC_DE = 0, EXC_DB = 1, EXC_NMI = 2, EXC_BP = 3, EXC_OF = 4, EXC_BR = 5, EXC_UD = 6,
	      EXC_NM = 7, EXC_DF = 8, EXC_TS = 10, EXC_NP = 11, EXC_SS = 12, EXC_GP = 13, EXC_PF = 14,
	      EXC_MF = 16, EXC_AC = 17, EXC_MC = 18, EXC_XM = 19 };

enum pf_err { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };

/* struct cpu_seg.attr: a descriptor's access rights, high word bits 8-15 and 20-23 >> 8. */
enum seg_attr {
	SEG_A_TYPE = 0xf, SEG_A_ACCESSED = 1, SEG_A_RW = 2 /* data: writable; code: readable */,
	SEG_A_EC = 4 /* data: expand-down; code: conforming */, SEG_A_CODE = 8,
	SEG_A_S = 0x10, SEG_A_DPL = 0x60, SEG_A_P = 0x80,
	SEG_A_AVL = 0x1000, SEG_A_L = 0x2000, SEG_A_DB = 0x4000, SEG_A_G = 0x8000,
	SEG_A_UNUSABLE = 0x100, /* null selector loaded (not a descriptor bit) */
};
#define SEG_A_DPL_SHIFT 5

enum msr {
	MSR_TSC = 0x10, MSR_APIC_BASE = 0x1b, MSR_FEATURE_CONTROL = 0x3a, MSR_TSC_ADJUST = 0x3b,
	MSR_SPEC_CTRL = 0x48, MSR_PRED_CMD = 0x49, MSR_UCODE_REV = 0x8b, MSR_MTRRCAP = 0xfe,
	MSR_ARCH_CAPABILITIES = 0x10a,
	MSR_SYSENTER_CS = 0x174, MSR_SYSENTER_ESP = 0x175, MSR_SYSENTER_EIP = 0x176,
	MSR_MCG_CAP = 0x179, MSR_MCG_STATUS = 0x17a, MSR_MCG_CTL = 0x17b, MSR_MISC_ENABLE = 0x1a0,
	MSR_DEBUGCTL = 0x1d9, MSR_LBR_FROM = 0x1db, MSR_LER_TO = 0x1de, MSR_MC0_CTL = 0x400,
	MSR_MTRR_PHYSBASE0 = 0x200, MSR_MTRR_FIX64K = 0x250, MSR_MTRR_FIX16K_80000 = 0x258,
	MSR_MTRR_FIX16K_A0000 = 0x259, MSR_MTRR_FIX4K_C0000 = 0x268, MSR_PAT = 0x277,
	MSR_MTRR_DEFTYPE = 0x2ff, MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC = 0x800, MSR_XSS = 0xda0,
	MSR_EFER = 0xc0000080u, MSR_STAR = 0xc0000081u, MSR_LSTAR = 0xc0000082u,
	MSR_CSTAR = 0xc0000083u, MSR_SFMASK = 0xc0000084u, MSR_FS_BASE = 0xc0000100u,
	MSR_GS_BASE = 0xc0000101u, MSR_KERNEL_GS_BASE = 0xc0000102u, MSR_TSC_AUX = 0xc0000103u,
	MSR_SYSCFG = 0xc0010010u, MSR_HWCR = 0xc0010015u, MSR_TOP_MEM = 0xc001001au,
	MSR_TOP_MEM2 = 0xc001001du, MSR_NB_CFG = 0xc001001fu, MSR_INT_PENDING = 0xc0010055u,
	MSR_MMIO_CONF_BASE = 0xc0010058u, MSR_DC_CFG = 0xc0011022u, MSR_DE_CFG = 0xc0011029u,
	MSR_BU_CFG2 = 0xc001102au,
	MSR_KVM_WALL_CLOCK_OLD = 0x11, MSR_KVM_SYSTEM_TIME_OLD = 0x12,
	MSR_KVM_WALL_CLOCK = 0x4b564d00, MSR_KVM_SYSTEM_TIME = 0x4b564d01,
	MSR_KVM_ASYNC_PF = 0x4b564d02, MSR_KVM_STEAL_TIME = 0x4b564d03, MSR_KVM_PV_EOI = 0x4b564d04,
	MSR_KVM_POLL_CONTROL = 0x4b564d05,
};

#endif
