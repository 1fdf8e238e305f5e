// SPDX-License-Identifier: GPL-2.0-or-later
/* sys.c - control registers, translation control, time, CPUID, MSR and hypercall instructions.
 * After: Intel SDM vol. 2 and vol. 3 ch. 2, 4.10; AMD APM vol. 2 ch. 3; Linux
 * Documentation/virt/kvm/x86/hypercalls.rst.
 *
 * MONITOR, MWAIT, SMX, VMX, SVM and 5-level paging are not in any model: #UD and #GP. INVD and
 * WBINVD have no caches to write back. */
#include "base/bytes.h"
#include "base/trace.h"
#include "engine/soft/mmu.h"
#include "engine/soft/pv.h"
#include "engine/soft/seg.h"
#include "vm/cpuid.h"
#include <sched.h>

DEFINE_TRACE(cpu_cr, "cpu.cr");
DEFINE_TRACE(cpu_hypercall, "cpu.hypercall");

#define CR0_KNOWN ((u64)(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM) | \
		   (1u << 29) | (1u << 30) | CR0_PG)
#define CR3_NOFLUSH BIT(63)
#define CR3_PCID 0xfffull
#define CR8_TPR 15u

static bool pae_paging(const struct cpu *c, u64 cr0, u64 cr4)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(c->efer & EFER_LME);
}

static void write_cr0(struct cpu *c, u64 val)
{
	u64 changed;

	if (val >> 32)
		raise_gp(c, 0);
	val = (val & CR0_KNOWN) | CR0_ET;
	changed = c->cr0 ^ val;
	if ((val & CR0_PG) && !(val & CR0_PE))
		raise_gp(c, 0);
	if ((val & CR0_NW) && !(val & CR0_CD))
		raise_gp(c, 0);
	if (changed & CR0_PG) {
		if (val & CR0_PG) {
			if ((c->efer & EFER_LME) &&
			    (!(c->cr4 & CR4_PAE) || (c->seg[SEG_CS].attr & SEG_A_L)))
				raise_gp(c, 0);
		} else if (c->lma64 || (c->cr4 & CR4_PCIDE)) {
			raise_gp(c, 0);
		}
	}
	if (pae_paging(c, val, c->cr4) && (changed & (CR0_PG | CR0_CD | CR0_NW)) &&
	    !mmu_load_pdptes(c, c->cr3))
		raise_gp(c, 0);
	c->cr0 = val;
	if (changed & CR0_PG) {
		if ((val & CR0_PG) && (c->efer & EFER_LME))
			c->efer |= EFER_LMA;
		else
			c->efer &= ~(u64)EFER_LMA;
	}
	if (changed & (CR0_PG | CR0_PE))
		tlb_flush_all(c);
	else if (changed & CR0_WP)
		tlb_flush_rights(c);
	if (changed)
		cpu_mode_changed(c);
}

static void write_cr3(struct cpu *c, u64 val)
{
	bool keep = false;

	if (cpu_long(c)) {
		if (c->cr4 & CR4_PCIDE) {
			keep = val & CR3_NOFLUSH;
			val &= ~CR3_NOFLUSH;
		}
		if (val & ~(c->mmu->pa_mask | 0xfff))
			raise_gp(c, 0);
	} else {
		val = (u32)val;
		if (pae_paging(c, c->cr0, c->cr4) && !mmu_load_pdptes(c, val))
			raise_gp(c, 0);
	}
	c->cr3 = val;
	tlb_switch(c, c->cr4 & CR4_PCIDE ? val & CR3_PCID : 0, keep);
}

/* The bits of CR4 that this CPU model has. */
static u64 cr4_known(const struct cpu *c)
{
	static const struct { s16 f; u32 bits; } map[] = {
		{ F_VME, CR4_VME | CR4_PVI }, { F_TSC, CR4_TSD }, { F_DE, CR4_DE },
		{ F_PSE, CR4_PSE }, { F_PAE, CR4_PAE }, { F_MCE, CR4_MCE }, { F_PGE, CR4_PGE },
		{ F_ALWAYS, CR4_PCE }, { F_FXSR, CR4_OSFXSR }, { F_SSE, CR4_OSXMMEXCPT },
		{ F_UMIP, CR4_UMIP }, { F_FSGSBASE, CR4_FSGSBASE }, { F_PCID, CR4_PCIDE },
		{ F_XSAVE, CR4_OSXSAVE }, { F_SMEP, CR4_SMEP }, { F_SMAP, CR4_SMAP },
	};
	u64 known = 0;

	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (!c->m->cpuid || cpuid_has(c->m->cpuid, map[i].f))
			known |= map[i].bits;
	return known;
}

static void write_cr4(struct cpu *c, u64 val)
{
	u64 changed = c->cr4 ^ val;

	if (val & ~cr4_known(c))
		raise_gp(c, 0);
	if (cpu_long(c) && !(val & CR4_PAE))
		raise_gp(c, 0);
	if ((changed & val & CR4_PCIDE) && (!cpu_long(c) || (c->cr3 & CR3_PCID)))
		raise_gp(c, 0);
	if (pae_paging(c, c->cr0, val) && (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) &&
	    !mmu_load_pdptes(c, c->cr3))
		raise_gp(c, 0);
	c->cr4 = val;
	/* SDM vol. 3, 4.10.4.1: SMEP being set is among what drops translations too. */
	if (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_PCIDE | CR4_SMEP))
		tlb_flush_all(c);
	else if (changed & CR4_SMAP)
		tlb_flush_rights(c);
	if (changed & CR4_DE)
		debug_rearm(c);		/* I/O breakpoints */
	if (changed)
		cpu_mode_changed(c);
}

static void write_cr8(struct cpu *c, u64 val)
{
	if (val & ~(u64)CR8_TPR)
		raise_gp(c, 0);
	if (!c->v->intc_ops)
		return;
	machine_lock(c->m);
	c->v->intc_ops->set_tpr(c->v->intc, (u8)val);
	machine_unlock(c->m);
	cpu_look(c);
}

void cpu_write_cr(struct cpu *c, unsigned n, u64 val)
{
	TRACE(cpu_cr, "vcpu=%u cr%u=%llx", c->v->index, n, (unsigned long long)val);
	switch (n) {
	case 0: write_cr0(c, val); break;
	case 2: c->cr2 = val; break;
	case 3: write_cr3(c, val); break;
	case 4: write_cr4(c, val); break;
	case 8: write_cr8(c, val); break;
	default: raise_ud(c);
	}
}

u64 cpu_read_cr(struct cpu *c, unsigned n)
{
	u64 val = 0;

	switch (n) {
	case 0: return c->cr0;
	case 2: return c->cr2;
	case 3: return c->cr3;
	case 4: return c->cr4;
	case 8:
		if (c->v->intc_ops) {
			machine_lock(c->m);
			val = c->v->intc_ops->get_tpr(c->v->intc);
			machine_unlock(c->m);
		}
		return val;
	default: raise_ud(c);
	}
}

static void exec_mov_cr(struct cpu *c, const struct insn *in)
{
	bool to_cr = in->opd[0].kind == OPD_CR;
	const struct operand *cr = &in->opd[!to_cr];
	struct operand gpr = in->opd[to_cr];
	unsigned n = cr->reg;

	if (in->lock && n == 0)
		n = 8;			/* AMD: LOCK MOV CR0 is MOV CR8 in any mode */
	gpr.size = c->lma64 ? 8 : 4;
	if (to_cr)
		cpu_write_cr(c, n, gpr_read(c, &gpr));
	else
		gpr_write(c, &gpr, cpu_read_cr(c, n));
}

static void exec_lmsw(struct cpu *c, const struct insn *in)
{
	u64 low = CR0_MP | CR0_EM | CR0_TS, val = opd_read(c, in, 0);

	/* PE can be set, never cleared. */
	cpu_write_cr(c, 0, (c->cr0 & ~low) | (val & (low | CR0_PE)));
}

/* SMSW, as SGDT and its kin, is for the kernel under CR4.UMIP. */
static void exec_smsw(struct cpu *c, const struct insn *in)
{
	if ((c->cr4 & CR4_UMIP) && c->cpl > 0 && cpu_protected(c))
		raise_gp(c, 0);
	opd_write(c, in, 0, c->cr0);
}

static void exec_clts(struct cpu *c, const struct insn *in)
{
	c->cr0 &= ~(u64)CR0_TS;
	cpu_mode_changed(c);
}

/* The linear address of the operand, without any check: INVLPG and INVPCID never fault on it. */
static u64 operand_la(const struct cpu *c, const struct insn *in)
{
	u64 ea = insn_ea(c, in);

	if (c->lma64)
		return in->seg >= SEG_FS ? c->seg[in->seg].base + ea : ea;
	return (u32)(c->seg[in->seg].base + ea);
}

static void exec_invlpg(struct cpu *c, const struct insn *in)
{
	u64 la = operand_la(c, in);

	if (!c->lma64 || la_canonical(la))
		tlb_flush_page(c, la);
}

enum invpcid { INVPCID_PAGE, INVPCID_SINGLE, INVPCID_ALL_GLOBAL, INVPCID_ALL };

static void exec_invpcid(struct cpu *c, const struct insn *in)
{
	u64 ea = insn_ea(c, in), type = gpr_read(c, &in->opd[0]), d[2];

	mem_ld_bytes(c, in->seg, ea, d, sizeof(d));
	if (type > INVPCID_ALL || d[0] >> 12)
		raise_gp(c, 0);
	if (type <= INVPCID_SINGLE && d[0] && !(c->cr4 & CR4_PCIDE))
		raise_gp(c, 0);
	if (type == INVPCID_PAGE && !la_canonical(d[1]))
		raise_gp(c, 0);
	switch (type) {
	case INVPCID_PAGE: tlb_flush_pcid_page(c, (unsigned)d[0], d[1]); break;
	case INVPCID_SINGLE: tlb_flush_pcid(c, (unsigned)d[0], false); break;
	case INVPCID_ALL_GLOBAL: tlb_flush_all(c); break;
	default: tlb_flush_all_pcids(c);
	}
}

static void exec_nothing(struct cpu *c, const struct insn *in)
{
}

/* CLFLUSH and its kin are checked as a load of one byte. */
static void exec_clflush(struct cpu *c, const struct insn *in)
{
	mem_probe(c, in->seg, insn_ea(c, in), 1, false);
}

/* The guest's loads and stores are the host's, also through stubs with non-temporal hints. */
static void exec_mfence(struct cpu *c, const struct insn *in)
{
	__asm__ volatile("mfence" ::: "memory");
}

static void exec_lfence(struct cpu *c, const struct insn *in)
{
	__asm__ volatile("" ::: "memory");	/* program order is kept anyway */
}

static void exec_sfence(struct cpu *c, const struct insn *in)
{
	__asm__ volatile("sfence" ::: "memory");
}

static void set_ac(struct cpu *c, bool on)
{
	if (on)
		c->rflags |= FL_AC;
	else
		c->rflags &= ~(u32)FL_AC;
	cpu_set_tlb(c);
}

static void exec_stac(struct cpu *c, const struct insn *in)
{
	if (c->cpl)
		raise_ud(c);
	set_ac(c, true);
}

static void exec_clac(struct cpu *c, const struct insn *in)
{
	if (c->cpl)
		raise_ud(c);
	set_ac(c, false);
}

/* --- time --- */

u64 cpu_tsc(struct cpu *c)
{
	return clock_tsc(c->m->clock) + c->tsc_offset;
}

static void put_edx_eax(struct cpu *c, u64 val)
{
	c->r[RAX] = (u32)val;
	c->r[RDX] = val >> 32;
}

static void tsc_check(struct cpu *c)
{
	if ((c->cr4 & CR4_TSD) && c->cpl > 0 && cpu_protected(c))
		raise_gp(c, 0);
}

static void exec_rdtsc(struct cpu *c, const struct insn *in)
{
	tsc_check(c);
	put_edx_eax(c, cpu_tsc(c));
}

static void exec_rdtscp(struct cpu *c, const struct insn *in)
{
	tsc_check(c);
	put_edx_eax(c, cpu_tsc(c));
	c->r[RCX] = (u32)c->tsc_aux;
}

static void exec_rdpid(struct cpu *c, const struct insn *in)
{
	gpr_write(c, &in->opd[0], (u32)c->tsc_aux);
}

/* No counters are offered. */
static void exec_rdpmc(struct cpu *c, const struct insn *in)
{
	raise_gp(c, 0);
}

/* --- CPUID, MSRs --- */

void cpuid_exec(struct cpu *c, u32 leaf, u32 subleaf, struct cpuid_regs *out)
{
	struct cpuid_dyn d = { .apic_id = c->v->apic_id, .osxsave = c->cr4 & CR4_OSXSAVE,
			       .apic_on = true, .xcr0 = c->xcr0, .xss = c->xss };
	u64 base;

	if (c->v->intc_ops && c->v->intc_ops->rdmsr) {
		machine_lock(c->m);
		if (!c->v->intc_ops->rdmsr(c->v->intc, MSR_APIC_BASE, &base))
			d.apic_on = base & BIT(11);
		machine_unlock(c->m);
	}
	*out = cpuid_query(c->m->cpuid, leaf, subleaf, &d);
}

static void exec_cpuid(struct cpu *c, const struct insn *in)
{
	struct cpuid_regs r;

	cpuid_exec(c, (u32)c->r[RAX], (u32)c->r[RCX], &r);
	c->r[RAX] = r.eax;
	c->r[RBX] = r.ebx;
	c->r[RCX] = r.ecx;
	c->r[RDX] = r.edx;
}

static void exec_rdmsr(struct cpu *c, const struct insn *in)
{
	u64 val;

	if (msr_read(c, (u32)c->r[RCX], &val) < 0)
		raise_gp(c, 0);
	put_edx_eax(c, val);
}

static void exec_wrmsr(struct cpu *c, const struct insn *in)
{
	if (msr_write(c, (u32)c->r[RCX], c->r[RDX] << 32 | (u32)c->r[RAX]) < 0)
		raise_gp(c, 0);
}

/* --- FS and GS base --- */

static void fsgs_check(struct cpu *c)
{
	if (!(c->cr4 & CR4_FSGSBASE))
		raise_ud(c);
}

static void exec_rdfsbase(struct cpu *c, const struct insn *in)
{
	fsgs_check(c);
	gpr_write(c, &in->opd[0], c->seg[SEG_FS].base);
}

static void exec_rdgsbase(struct cpu *c, const struct insn *in)
{
	fsgs_check(c);
	gpr_write(c, &in->opd[0], c->seg[SEG_GS].base);
}

static void write_base(struct cpu *c, const struct insn *in, unsigned seg)
{
	u64 val = gpr_read(c, &in->opd[0]);

	fsgs_check(c);
	if (!la_canonical(val))
		raise_gp(c, 0);
	c->seg[seg].base = val;
}

static void exec_wrfsbase(struct cpu *c, const struct insn *in)
{
	write_base(c, in, SEG_FS);
}

static void exec_wrgsbase(struct cpu *c, const struct insn *in)
{
	write_base(c, in, SEG_GS);
}

/* --- hypercalls --- */

enum kvm_hc { KVM_HC_VAPIC_POLL_IRQ = 1, KVM_HC_KICK_CPU = 5, KVM_HC_CLOCK_PAIRING = 9,
	      KVM_HC_SEND_IPI = 10, KVM_HC_SCHED_YIELD = 11 };
#define KVM_ENOSYS 1000
#define KVM_EPERM 1
#define KVM_EFAULT 14
#define KVM_EOPNOTSUPP 95
#define HV_LEAF 0x40000000u

static void kick_cpu(struct cpu *c, u32 apic_id)
{
	for (unsigned i = 0; i < c->m->ncpus; i++) {
		struct vcpu *v = c->m->cpu[i];

		if (v && v->apic_id == apic_id && v->engine) {
			atomic_store(&cpu_of(v)->pv_kicked, true);
			vcpu_request(v, VCPU_REQ_ENGINE);
		}
	}
}

static s64 send_ipi(struct cpu *c, u64 lo, u64 hi, u32 min, u32 icr)
{
	int n = -KVM_ENOSYS;

	machine_lock(c->m);
	if (c->v->intc_ops && c->v->intc_ops->pv_ipi)
		n = c->v->intc_ops->pv_ipi(c->v->intc, lo, hi, c->lma64 ? 64 : 32, min, icr);
	machine_unlock(c->m);
	return n;
}

static s64 hypercall(struct cpu *c, u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
	switch (nr) {
	case KVM_HC_VAPIC_POLL_IRQ:
		cpu_look(c);
		return 0;
	case KVM_HC_KICK_CPU:
		kick_cpu(c, (u32)a1);
		return 0;
	case KVM_HC_CLOCK_PAIRING:
		if (a1 != 0)
			return -KVM_EOPNOTSUPP;
		return pv_clock_pairing(c, a0) ? 0 : -KVM_EFAULT;
	case KVM_HC_SEND_IPI:
		return send_ipi(c, a0, a1, (u32)a2, (u32)a3);
	case KVM_HC_SCHED_YIELD:
		sched_yield();
		return 0;
	}
	return -KVM_ENOSYS;
}

static void exec_vmcall(struct cpu *c, const struct insn *in)
{
	u64 mask = c->lma64 ? ~0ull : 0xffffffff, nr = c->r[RAX] & mask;
	struct cpuid_regs hv;
	s64 ret;

	cpuid_exec(c, HV_LEAF, 0, &hv);
	if (!hv.eax)
		raise_ud(c);
	ret = c->cpl ? -KVM_EPERM : hypercall(c, nr, c->r[RBX] & mask, c->r[RCX] & mask,
					      c->r[RDX] & mask, c->r[RSI] & mask);
	TRACE(cpu_hypercall, "vcpu=%u nr=%llu ret=%lld", c->v->index, (unsigned long long)nr,
	      (long long)ret);
	c->r[RAX] = (u64)ret & mask;
}

const struct exec_entry exec_ctl_table[] = {
	{ OP_MOV_CR, exec_mov_cr }, { OP_LMSW, exec_lmsw }, { OP_SMSW, exec_smsw },
	{ OP_CLTS, exec_clts }, { OP_INVLPG, exec_invlpg }, { OP_INVPCID, exec_invpcid },
	{ OP_INVD, exec_nothing }, { OP_WBINVD, exec_nothing }, { OP_WBNOINVD, exec_nothing },
	{ OP_CLFLUSH, exec_clflush }, { OP_CLFLUSHOPT, exec_clflush }, { OP_CLWB, exec_clflush },
	{ OP_MFENCE, exec_mfence }, { OP_LFENCE, exec_lfence }, { OP_SFENCE, exec_sfence },
	{ OP_STAC, exec_stac }, { OP_CLAC, exec_clac },
	{ OP_RDTSC, exec_rdtsc }, { OP_RDTSCP, exec_rdtscp }, { OP_RDPID, exec_rdpid },
	{ OP_RDPMC, exec_rdpmc }, { OP_CPUID, exec_cpuid },
	{ OP_RDMSR, exec_rdmsr }, { OP_WRMSR, exec_wrmsr },
	{ OP_RDFSBASE, exec_rdfsbase }, { OP_RDGSBASE, exec_rdgsbase },
	{ OP_WRFSBASE, exec_wrfsbase }, { OP_WRGSBASE, exec_wrgsbase },
	{ OP_VMCALL, exec_vmcall }, { OP_VMMCALL, exec_vmcall },
	{ 0, NULL }
};
