// SPDX-License-Identifier: GPL-2.0-or-later
/* msr.c - one table of the model-specific registers that there are; all others are #GP.
 * After: Intel SDM vol. 4, vol. 3 ch. 11 (MTRR, PAT), 15 (machine check); AMD APM vol. 2 app. A
 * and the processor programming references of family 19h; Linux
 * Documentation/virt/kvm/x86/msr.rst.
 *
 * Machine checks never happen: the banks hold nothing. MTRRs and PAT are kept and checked, memory
 * types change nothing. AMD's configuration registers read as their harmless values, and stores to
 * them vanish, as far as stock kernels touch them without expecting a fault. */
#include "base/trace.h"
#include "engine/soft/mmu.h"
#include "engine/soft/pv.h"
#include "engine/soft/soft.h"	// soft_tsc_publish
#include "vm/cpuid.h"
#include <errno.h>

DEFINE_TRACE(msr_rdmsr, "cpu.rdmsr");
DEFINE_TRACE(msr_wrmsr, "cpu.wrmsr");

typedef int msr_read_fn(struct cpu *c, u32 msr, u64 *val);
typedef int msr_write_fn(struct cpu *c, u32 msr, u64 val);

struct msr_desc {
	u32 first, last;
	const char *name;
	s16 feature;		/* F_ALWAYS, or what CPUID must have */
	msr_read_fn *read;	/* NULL: the field, or 0 without one */
	msr_write_fn *write;	/* NULL: the field, after the mask */
	u32 field;		/* offset of a u64 in struct cpu; 0: none */
	u64 mask;		/* bits that may be 1 in a write without a function: else #GP */
};

/* --- writes with rules --- */

static int write_canonical(struct cpu *c, u64 *field, u64 val)
{
	if (!la_canonical(val))
		return -EPERM;
	*field = val;
	return 0;
}

static int wr_canonical(struct cpu *c, u32 msr, u64 val)
{
	switch (msr) {
	case MSR_SYSENTER_ESP: return write_canonical(c, &c->sysenter_esp, val);
	case MSR_SYSENTER_EIP: return write_canonical(c, &c->sysenter_eip, val);
	case MSR_LSTAR: return write_canonical(c, &c->lstar, val);
	case MSR_CSTAR: return write_canonical(c, &c->cstar, val);
	case MSR_FS_BASE: return write_canonical(c, &c->seg[SEG_FS].base, val);
	case MSR_GS_BASE: return write_canonical(c, &c->seg[SEG_GS].base, val);
	default: return write_canonical(c, &c->kernel_gs_base, val);
	}
}

static int rd_base(struct cpu *c, u32 msr, u64 *val)
{
	*val = c->seg[msr == MSR_FS_BASE ? SEG_FS : SEG_GS].base;
	return 0;
}

static int wr_efer(struct cpu *c, u32 msr, u64 val)
{
	u64 known = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE, changed;

	if (val & ~known)
		return -EPERM;		/* SVME, LMSLE, FFXSR, AUTOIBRS ... are not in any model */
	val = (val & ~(u64)EFER_LMA) | (c->efer & EFER_LMA);
	changed = c->efer ^ val;
	if ((changed & EFER_LME) && (c->cr0 & CR0_PG))
		return -EPERM;
	c->efer = val;
	if (changed & (EFER_NXE | EFER_LME))
		tlb_flush_all(c);
	if (changed)
		cpu_mode_changed(c);
	return 0;
}

static int wr_u32(struct cpu *c, u32 msr, u64 val)
{
	if (msr == MSR_TSC_AUX)
		c->tsc_aux = (u32)val;	/* AMD ignores the upper half */
	else
		c->sysenter_cs = (u32)val;
	return 0;
}

/* Not AMD's, but guests of KVM find it whatever the vendor: switches that do nothing here (fast
 * strings, thermal control, SpeedStep, MONITOR, CPUID limit, xTPR, XD off), and what is absent. */
#define MISC_SWITCHES (BIT(0) | BIT(3) | BIT(16) | BIT(18) | BIT(22) | BIT(23) | BIT(34))
#define MISC_READ_ONLY (BIT(7) /* no counters */ | BIT(11) /* no BTS */ | BIT(12) /* no PEBS */)

static int wr_misc_enable(struct cpu *c, u32 msr, u64 val)
{
	if (val & ~(MISC_SWITCHES | MISC_READ_ONLY))
		return -EPERM;
	c->misc_enable = (val & MISC_SWITCHES) | (c->misc_enable & MISC_READ_ONLY);
	return 0;
}

/* --- time --- */

static int rd_tsc(struct cpu *c, u32 msr, u64 *val)
{
	*val = cpu_tsc(c);
	return 0;
}

/* Adding to the TSC adds to TSC_ADJUST, and the other way round (SDM vol. 3, 17.17.3). */
static void tsc_move(struct cpu *c, u64 delta)
{
	c->tsc_offset += delta;
	c->tsc_adjust += delta;
	machine_lock(c->m);
	soft_tsc_publish(c);
	machine_unlock(c->m);
	pv_tsc_moved(c);
}

static int wr_tsc(struct cpu *c, u32 msr, u64 val)
{
	tsc_move(c, val - cpu_tsc(c));
	return 0;
}

static int wr_tsc_adjust(struct cpu *c, u32 msr, u64 val)
{
	tsc_move(c, val - c->tsc_adjust);
	return 0;
}

/* --- memory types --- */

enum mem_type { MT_UC = 0, MT_WC = 1, MT_WT = 4, MT_WP = 5, MT_WB = 6, MT_UC_MINUS = 7 };
#define MTRR_VAR 8u
#define MTRR_CAP (MTRR_VAR | BIT(8) /* fixed */ | BIT(10) /* WC */)
#define MTRR_MASK_VALID BIT(11)
#define MTRR_DEF_KNOWN (0xffull | BIT(10) /* fixed on */ | BIT(11) /* on */)

static bool type_ok(u8 t, bool pat)
{
	return t == MT_UC || t == MT_WC || (t >= MT_WT && t <= MT_WB) || (pat && t == MT_UC_MINUS);
}

static bool types_ok(u64 val, bool pat)
{
	for (unsigned i = 0; i < 64; i += 8)
		if (!type_ok((u8)(val >> i), pat))
			return false;
	return true;
}

static int wr_pat(struct cpu *c, u32 msr, u64 val)
{
	if (!types_ok(val, true))
		return -EPERM;
	c->pat = val;
	return 0;
}

static int rd_mtrrcap(struct cpu *c, u32 msr, u64 *val)
{
	*val = MTRR_CAP;
	return 0;
}

static int wr_mtrr_def(struct cpu *c, u32 msr, u64 val)
{
	if ((val & ~MTRR_DEF_KNOWN) || !type_ok((u8)val, false))
		return -EPERM;
	c->mtrr_def = val;
	return 0;
}

static u64 *mtrr_fixed(struct cpu *c, u32 msr)
{
	switch (msr) {
	case MSR_MTRR_FIX64K: return &c->mtrr_fixed[0];
	case MSR_MTRR_FIX16K_80000: case MSR_MTRR_FIX16K_A0000:
		return &c->mtrr_fixed[1 + msr - MSR_MTRR_FIX16K_80000];
	default: return &c->mtrr_fixed[3 + msr - MSR_MTRR_FIX4K_C0000];
	}
}

static int rd_mtrr_fixed(struct cpu *c, u32 msr, u64 *val)
{
	*val = *mtrr_fixed(c, msr);
	return 0;
}

static int wr_mtrr_fixed(struct cpu *c, u32 msr, u64 val)
{
	if (!types_ok(val, false))
		return -EPERM;
	*mtrr_fixed(c, msr) = val;
	return 0;
}

static u64 *mtrr_var(struct cpu *c, u32 msr)
{
	unsigned i = (msr - MSR_MTRR_PHYSBASE0) / 2;

	return msr & 1 ? &c->mtrr_mask[i] : &c->mtrr_base[i];
}

static int rd_mtrr_var(struct cpu *c, u32 msr, u64 *val)
{
	*val = *mtrr_var(c, msr);
	return 0;
}

static int wr_mtrr_var(struct cpu *c, u32 msr, u64 val)
{
	u64 known = c->mmu->pa_mask | (msr & 1 ? MTRR_MASK_VALID : 0xff);

	if ((val & ~known) || (!(msr & 1) && !type_ok((u8)val, false)))
		return -EPERM;
	*mtrr_var(c, msr) = val;
	return 0;
}

/* --- machine check --- */

#define MCG_CAP (MC_BANKS | BIT(8) /* MCG_CTL is there */)
enum { MC_CTL, MC_STATUS, MC_ADDR, MC_MISC };

static int rd_mcg_cap(struct cpu *c, u32 msr, u64 *val)
{
	*val = MCG_CAP;
	return 0;
}

static int rd_mc(struct cpu *c, u32 msr, u64 *val)
{
	*val = c->mc[msr - MSR_MC0_CTL];
	return 0;
}

/* Control takes all zeroes or all ones, status can only be cleared. */
static int wr_mc(struct cpu *c, u32 msr, u64 val)
{
	unsigned kind = (msr - MSR_MC0_CTL) & 3;

	if ((kind == MC_CTL && val && ~val) || (kind == MC_STATUS && val))
		return -EPERM;
	c->mc[msr - MSR_MC0_CTL] = val;
	return 0;
}

/* --- what is fixed --- */

/* Not affected, as vm/cpuid.c explains: RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO,
 * PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO,
 * ITS_NO. */
#define ARCH_CAPS (BIT(0) | BIT(1) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(13) | \
		   BIT(14) | BIT(15) | BIT(20) | BIT(24) | BIT(26) | BIT(27) | BIT(62))
#define UCODE_REV 0x0a0011deull		/* of family 19h, model 1, newer than any fix asked for */
#define HWCR_TSC_FREQ_SEL BIT(24)	/* the TSC counts at its nominal frequency */
/* FFDIS, IGNNE emulation, McStatusWrEn: taken and forgotten, as SMM lock and such. */
#define HWCR_KNOWN (BIT(3) | BIT(4) | BIT(6) | BIT(8) | BIT(18) | HWCR_TSC_FREQ_SEL)
#define DE_CFG_LFENCE_SERIALIZE BIT(1)

static int rd_fixed(struct cpu *c, u32 msr, u64 *val)
{
	u64 size = ram_size(c->m->ram);

	switch (msr) {
	case MSR_ARCH_CAPABILITIES: *val = ARCH_CAPS; break;
	case MSR_UCODE_REV: *val = UCODE_REV; break;
	case MSR_HWCR: *val = HWCR_TSC_FREQ_SEL; break;
	case MSR_DE_CFG: *val = DE_CFG_LFENCE_SERIALIZE; break;
	case MSR_TOP_MEM: *val = MIN(size, RAM_LOW_MAX); break;
	case MSR_TOP_MEM2:
		*val = size > RAM_LOW_MAX ? RAM_HIGH_BASE + size - RAM_LOW_MAX : 0;
		break;
	default: *val = 0;
	}
	return 0;
}

static int wr_ignore(struct cpu *c, u32 msr, u64 val)
{
	return 0;
}

static int wr_refuse(struct cpu *c, u32 msr, u64 val)
{
	return -EPERM;
}

static int wr_hwcr(struct cpu *c, u32 msr, u64 val)
{
	return val & ~HWCR_KNOWN ? -EPERM : 0;
}

/* --- chips and KVM --- */

static int rd_intc(struct cpu *c, u32 msr, u64 *val)
{
	int r = -ENOENT;

	if (c->v->intc_ops && c->v->intc_ops->rdmsr) {
		machine_lock(c->m);
		r = c->v->intc_ops->rdmsr(c->v->intc, msr, val);
		machine_unlock(c->m);
	}
	return r < 0 ? -EPERM : 0;
}

static int wr_intc(struct cpu *c, u32 msr, u64 val)
{
	int r = -ENOENT;

	if (c->v->intc_ops && c->v->intc_ops->wrmsr) {
		machine_lock(c->m);
		r = c->v->intc_ops->wrmsr(c->v->intc, msr, val);
		machine_unlock(c->m);
	}
	if (msr == MSR_TSC_DEADLINE)
		pv_tick(c);
	return r < 0 ? -EPERM : 0;
}

static bool has_hv(struct cpu *c)
{
	struct cpuid_dyn d = { .apic_id = 0 };

	return c->m->cpuid && cpuid_query(c->m->cpuid, 0x40000000, 0, &d).eax;
}

static int rd_kvm(struct cpu *c, u32 msr, u64 *val)
{
	if (!has_hv(c))
		return -EPERM;
	switch (msr) {
	case MSR_KVM_WALL_CLOCK_OLD: case MSR_KVM_WALL_CLOCK: *val = c->kvm_wall_clock; break;
	case MSR_KVM_SYSTEM_TIME_OLD: case MSR_KVM_SYSTEM_TIME: *val = c->kvm_system_time; break;
	case MSR_KVM_STEAL_TIME: *val = c->kvm_steal_time; break;
	case MSR_KVM_POLL_CONTROL: *val = c->kvm_poll_control; break;
	default: return -EPERM;
	}
	return 0;
}

static int wr_kvm(struct cpu *c, u32 msr, u64 val)
{
	if (!has_hv(c))
		return -EPERM;
	if (msr == MSR_KVM_WALL_CLOCK_OLD)
		msr = MSR_KVM_WALL_CLOCK;
	else if (msr == MSR_KVM_SYSTEM_TIME_OLD)
		msr = MSR_KVM_SYSTEM_TIME;
	return pv_write_msr(c, msr, val);
}

#define FIELD(f) .field = offsetof(struct cpu, f)
#define ALL UINT64_MAX

/* In ascending order: looked up by bisection. */
static const struct msr_desc table[] = {
	{ 0, 1, "P5_MC", F_ALWAYS, rd_fixed, wr_ignore, 0, 0 },
	{ MSR_TSC, MSR_TSC, "TSC", F_TSC, rd_tsc, wr_tsc, 0, 0 },
	{ MSR_KVM_WALL_CLOCK_OLD, MSR_KVM_SYSTEM_TIME_OLD, "KVM_CLOCK_OLD", F_ALWAYS, rd_kvm,
	  wr_kvm, 0, 0 },
	{ MSR_APIC_BASE, MSR_APIC_BASE, "APIC_BASE", F_APIC, rd_intc, wr_intc, 0, 0 },
	{ MSR_TSC_ADJUST, MSR_TSC_ADJUST, "TSC_ADJUST", F_TSC_ADJUST, NULL, wr_tsc_adjust,
	  FIELD(tsc_adjust), 0 },
	{ MSR_SPEC_CTRL, MSR_SPEC_CTRL, "SPEC_CTRL", F_AMD_IBRS, NULL, NULL, FIELD(spec_ctrl),
	  BIT(0) /* IBRS */ },
	{ MSR_UCODE_REV, MSR_UCODE_REV, "UCODE_REV", F_ALWAYS, rd_fixed, wr_ignore, 0, 0 },
	{ MSR_MTRRCAP, MSR_MTRRCAP, "MTRRCAP", F_MTRR, rd_mtrrcap, wr_refuse, 0, 0 },
	{ MSR_ARCH_CAPABILITIES, MSR_ARCH_CAPABILITIES, "ARCH_CAPABILITIES", F_ARCH_CAPS, rd_fixed,
	  wr_refuse, 0, 0 },
	{ MSR_SYSENTER_CS, MSR_SYSENTER_CS, "SYSENTER_CS", F_SEP, NULL, wr_u32,
	  FIELD(sysenter_cs), 0 },
	{ MSR_SYSENTER_ESP, MSR_SYSENTER_ESP, "SYSENTER_ESP", F_SEP, NULL, wr_canonical,
	  FIELD(sysenter_esp), 0 },
	{ MSR_SYSENTER_EIP, MSR_SYSENTER_EIP, "SYSENTER_EIP", F_SEP, NULL, wr_canonical,
	  FIELD(sysenter_eip), 0 },
	{ MSR_MCG_CAP, MSR_MCG_CAP, "MCG_CAP", F_MCA, rd_mcg_cap, wr_refuse, 0, 0 },
	{ MSR_MCG_STATUS, MSR_MCG_STATUS, "MCG_STATUS", F_MCA, NULL, NULL, 0, 0 },
	{ MSR_MCG_CTL, MSR_MCG_CTL, "MCG_CTL", F_MCA, NULL, NULL, FIELD(mcg_ctl), ALL },
	{ MSR_MISC_ENABLE, MSR_MISC_ENABLE, "MISC_ENABLE", F_ALWAYS, NULL, wr_misc_enable,
	  FIELD(misc_enable), 0 },
	/* Branch stepping and recording are not modelled. */
	{ MSR_DEBUGCTL, MSR_DEBUGCTL, "DEBUGCTL", F_ALWAYS, NULL, NULL, 0, 0 },
	{ MSR_LBR_FROM, MSR_LER_TO, "LASTBRANCH", F_ALWAYS, NULL, wr_refuse, 0, 0 },
	{ MSR_MTRR_PHYSBASE0, MSR_MTRR_PHYSBASE0 + 2 * MTRR_VAR - 1, "MTRR_VAR", F_MTRR,
	  rd_mtrr_var, wr_mtrr_var, 0, 0 },
	{ MSR_MTRR_FIX64K, MSR_MTRR_FIX64K, "MTRR_FIX64K", F_MTRR, rd_mtrr_fixed, wr_mtrr_fixed,
	  0, 0 },
	{ MSR_MTRR_FIX16K_80000, MSR_MTRR_FIX16K_A0000, "MTRR_FIX16K", F_MTRR, rd_mtrr_fixed,
	  wr_mtrr_fixed, 0, 0 },
	{ MSR_MTRR_FIX4K_C0000, MSR_MTRR_FIX4K_C0000 + 7, "MTRR_FIX4K", F_MTRR, rd_mtrr_fixed,
	  wr_mtrr_fixed, 0, 0 },
	{ MSR_PAT, MSR_PAT, "PAT", F_PAT, NULL, wr_pat, FIELD(pat), 0 },
	{ MSR_MTRR_DEFTYPE, MSR_MTRR_DEFTYPE, "MTRR_DEFTYPE", F_MTRR, NULL, wr_mtrr_def,
	  FIELD(mtrr_def), 0 },
	{ MSR_MC0_CTL, MSR_MC0_CTL + 4 * MC_BANKS - 1, "MC", F_MCA, rd_mc, wr_mc, 0, 0 },
	{ MSR_TSC_DEADLINE, MSR_TSC_DEADLINE, "TSC_DEADLINE", F_TSC_DEADLINE, rd_intc, wr_intc,
	  0, 0 },
	{ MSR_X2APIC, MSR_X2APIC + 0xff, "X2APIC", F_X2APIC, rd_intc, wr_intc, 0, 0 },
	/* No supervisor state component is offered. */
	{ MSR_XSS, MSR_XSS, "XSS", F_XSAVES, NULL, NULL, FIELD(xss), 0 },
	{ MSR_KVM_WALL_CLOCK, MSR_KVM_STEAL_TIME, "KVM", F_ALWAYS, rd_kvm, wr_kvm, 0, 0 },
	{ MSR_KVM_PV_EOI, MSR_KVM_PV_EOI, "KVM_PV_EOI", F_ALWAYS, rd_intc, wr_intc, 0, 0 },
	{ MSR_KVM_POLL_CONTROL, MSR_KVM_POLL_CONTROL, "KVM_POLL_CONTROL", F_ALWAYS, rd_kvm, wr_kvm,
	  0, 0 },
	{ MSR_EFER, MSR_EFER, "EFER", F_ALWAYS, NULL, wr_efer, FIELD(efer), 0 },
	{ MSR_STAR, MSR_STAR, "STAR", F_SYSCALL, NULL, NULL, FIELD(star), ALL },
	{ MSR_LSTAR, MSR_LSTAR, "LSTAR", F_LM, NULL, wr_canonical, FIELD(lstar), 0 },
	{ MSR_CSTAR, MSR_CSTAR, "CSTAR", F_LM, NULL, wr_canonical, FIELD(cstar), 0 },
	{ MSR_SFMASK, MSR_SFMASK, "SFMASK", F_LM, NULL, NULL, FIELD(sfmask), ALL },
	{ MSR_FS_BASE, MSR_GS_BASE, "FSGS_BASE", F_LM, rd_base, wr_canonical, 0, 0 },
	{ MSR_KERNEL_GS_BASE, MSR_KERNEL_GS_BASE, "KERNEL_GS_BASE", F_LM, NULL, wr_canonical,
	  FIELD(kernel_gs_base), 0 },
	{ MSR_TSC_AUX, MSR_TSC_AUX, "TSC_AUX", F_RDTSCP, NULL, wr_u32, FIELD(tsc_aux), 0 },
	/* Four event selects and four counters, which count nothing: reading back 0 after a store
	 * tells a kernel that there is no performance monitoring here. */
	{ 0xc0010000u, 0xc0010007u, "K7_PERF", F_ALWAYS, rd_fixed, wr_ignore, 0, 0 },
	{ MSR_SYSCFG, MSR_SYSCFG, "SYSCFG", F_ALWAYS, rd_fixed, wr_ignore, 0, 0 },
	{ MSR_HWCR, MSR_HWCR, "HWCR", F_ALWAYS, rd_fixed, wr_hwcr, 0, 0 },
	{ MSR_TOP_MEM, MSR_TOP_MEM, "TOP_MEM", F_ALWAYS, rd_fixed, wr_refuse, 0, 0 },
	{ MSR_TOP_MEM2, MSR_TOP_MEM2, "TOP_MEM2", F_ALWAYS, rd_fixed, wr_refuse, 0, 0 },
	{ MSR_NB_CFG, MSR_NB_CFG, "NB_CFG", F_ALWAYS, rd_fixed, wr_ignore, 0, 0 },
	{ MSR_INT_PENDING, MSR_INT_PENDING, "INT_PENDING", F_ALWAYS, rd_fixed, wr_ignore, 0, 0 },
	{ MSR_MMIO_CONF_BASE, MSR_MMIO_CONF_BASE, "MMIO_CONF_BASE", F_ALWAYS, rd_fixed, wr_refuse,
	  0, 0 },
	{ MSR_DC_CFG, MSR_DC_CFG, "DC_CFG", F_ALWAYS, rd_fixed, wr_ignore, 0, 0 },
	{ MSR_DE_CFG, MSR_DE_CFG, "DE_CFG", F_ALWAYS, rd_fixed, wr_ignore, 0, 0 },
	{ MSR_BU_CFG2, MSR_BU_CFG2, "BU_CFG2", F_ALWAYS, rd_fixed, wr_ignore, 0, 0 },
};

static const struct msr_desc *find(struct cpu *c, u32 msr)
{
	size_t lo = 0, hi = ARRAY_SIZE(table);

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (msr > table[mid].last)
			lo = mid + 1;
		else if (msr < table[mid].first)
			hi = mid;
		else if (c->m->cpuid && !cpuid_has(c->m->cpuid, table[mid].feature))
			return NULL;
		else
			return &table[mid];
	}
	return NULL;
}

static u64 *field_of(struct cpu *c, const struct msr_desc *d)
{
	return (u64 *)((char *)c + d->field);
}

int msr_read(struct cpu *c, u32 msr, u64 *val)
{
	const struct msr_desc *d = find(c, msr);
	int r = 0;

	*val = 0;
	if (!d)
		r = -EPERM;
	else if (d->read)
		r = d->read(c, msr, val);
	else if (d->field)
		*val = *field_of(c, d);
	TRACE(msr_rdmsr, "vcpu=%u msr=%x %s val=%llx%s", c->v->index, msr, d ? d->name : "absent",
	      (unsigned long long)*val, r < 0 ? " #GP" : "");
	return r < 0 ? -EPERM : 0;
}

int msr_write(struct cpu *c, u32 msr, u64 val)
{
	const struct msr_desc *d = find(c, msr);
	int r = 0;

	if (!d)
		r = -EPERM;
	else if (d->write)
		r = d->write(c, msr, val);
	else if (val & ~d->mask)
		r = -EPERM;
	else if (d->field)
		*field_of(c, d) = val;
	TRACE(msr_wrmsr, "vcpu=%u msr=%x %s val=%llx%s", c->v->index, msr, d ? d->name : "absent",
	      (unsigned long long)val, r < 0 ? " #GP" : "");
	return r < 0 ? -EPERM : 0;
}
