// SPDX-License-Identifier: GPL-2.0-or-later
/* cpuid.c - what guests are told of their processor.
 * After: AMD APM vol. 3 app. E; Intel SDM vol. 2, CPUID; the x86-64 psABI's micro-architecture
 * levels; Linux Documentation/virt/kvm/x86/cpuid.rst for 0x40000000.
 *
 * All models call themselves AuthenticAMD, family 19h (a third-generation EPYC):
 *  - Data instructions run on the host's own units; the rules in which vendors differ (SYSENTER not
 *    in long mode, SYSCALL in compatibility mode, operand size of near branches, null selectors
 *    clear the base) are AMD's in the decoder and in the engine.
 *  - Kernels know by the name alone that no page-table isolation, L1TF, MDS or TSX work-arounds
 *    are due; those double the price of every system call under an interpreter.
 *  - Guests that read leaf 15h only on Intel get the TSC's frequency from kvmclock.
 *
 * Speculation: no guest branch is ever predicted as such. What the host's predictors learn are
 * the branches of the interpreter, which checks each guest access in software before it makes
 * it: there is no predictor state that guest user code could train for guest kernel code, and no
 * fault is deferred. So the tables say "not affected" (SRSO_NO, BTC_NO, SSB_NO, TSA_*_NO, and
 * ARCH_CAPABILITIES of the same sense with enhanced IBRS), and kernels leave out retpolines,
 * untrained returns and fences. An engine that executes guest branches as host branches, user
 * and kernel in one address space, has to look at this again. */
#include "vm/cpuid.h"
#include "base/bytes.h"
#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PHYS_BITS 48
#define LINEAR_BITS 48
#define CRYSTAL_KHZ 1000000u	/* leaf 15h: what the local APIC's timer counts with */
#define XSTATE_LEGACY 576	/* bytes: legacy area and header; AVX follows */
#define XSTATE_AVX_LEN 256
#define XCR0_BASE 3u		/* x87, SSE */
#define XCR0_AVX 4u

/* Bit of feature @f, which must lie in word @w of cpu_model.features. */
#define W(w, f) (sizeof(char[(f) / 64 == (w) ? 1 : -1]) * BIT((f) % 64))

/* What is this engine's own doing, whatever the host has: all that 64-bit operating systems want.
 * ERMS, FSRM and their kin tell guests that REP MOVS and STOS are the quick way to copy: here
 * they become the host's memcpy. */
#define BASE_0 (W(0, F_FPU) | W(0, F_VME) | W(0, F_DE) | W(0, F_PSE) | W(0, F_TSC) | W(0, F_MSR) | \
	W(0, F_PAE) | W(0, F_MCE) | W(0, F_CX8) | W(0, F_APIC) | W(0, F_SEP) | W(0, F_MTRR) | \
	W(0, F_PGE) | W(0, F_MCA) | W(0, F_CMOV) | W(0, F_PAT) | W(0, F_PSE36) | W(0, F_CLFSH) | \
	W(0, F_MMX) | W(0, F_FXSR) | W(0, F_SSE) | W(0, F_SSE2) | W(0, F_PCID) | W(0, F_X2APIC) | \
	W(0, F_TSC_DEADLINE))
#define BASE_1 (W(1, F_FSGSBASE) | W(1, F_TSC_ADJUST) | W(1, F_SMEP) | W(1, F_ERMS) | \
	W(1, F_INVPCID) | W(1, F_SMAP) | W(1, F_UMIP) | W(1, F_RDPID))
#define BASE_2 (W(2, F_FSRM) | W(2, F_ARCH_CAPS) | W(2, F_SYSCALL) | W(2, F_NX) | W(2, F_MMXEXT) | \
	W(2, F_PDPE1GB) | W(2, F_RDTSCP) | W(2, F_LM))
#define BASE_3 (W(3, F_CR8LEGACY) | W(3, F_PREFETCHW) | W(3, F_TOPOEXT))
#define BASE_4 (W(4, F_INVTSC) | W(4, F_AMD_IBRS) | W(4, F_AMD_SSB_NO) | W(4, F_BTC_NO))
#define BASE_5 (W(5, F_FZRM) | W(5, F_FSRS) | W(5, F_LFENCE_SERIAL) | W(5, F_NULL_CLEARS_BASE) | \
	W(5, F_SRSO_NO))
#define BASE_6 (W(6, F_TSA_SQ_NO) | W(6, F_TSA_L1_NO))

#define V2_0 (BASE_0 | W(0, F_SSE3) | W(0, F_SSSE3) | W(0, F_CX16) | W(0, F_SSE41) | \
	W(0, F_SSE42) | W(0, F_POPCNT))
#define V2_3 (BASE_3 | W(3, F_LAHF))

/* v3 proper, and what every processor that has AVX2 has besides. */
#define V3_0 (V2_0 | W(0, F_PCLMUL) | W(0, F_FMA) | W(0, F_MOVBE) | W(0, F_AES) | W(0, F_XSAVE) | \
	W(0, F_AVX) | W(0, F_F16C) | W(0, F_RDRAND))
#define V3_1 (BASE_1 | W(1, F_BMI1) | W(1, F_AVX2) | W(1, F_BMI2))
#define V3_3 (V2_3 | W(3, F_LZCNT) | W(3, F_XSAVEOPT))

#define MAX_1 (V3_1 | W(1, F_RDSEED) | W(1, F_ADX) | W(1, F_CLFLUSHOPT) | W(1, F_CLWB) | \
	W(1, F_SHA) | W(1, F_GFNI) | W(1, F_VAES) | W(1, F_VPCLMUL))
#define MAX_3 (V3_3 | W(3, F_XSAVEC) | W(3, F_XGETBV1) | W(3, F_SSE4A) | W(3, F_MISALIGNSSE))
#define MAX_5 (BASE_5 | W(5, F_AVXVNNI))

static const struct cpu_model models[] = {
	{ .name = "base", .brand = "penta x86-64 (base)", .family = 0x19, .model = 1, .stepping = 1,
	  .features = { BASE_0, BASE_1, BASE_2, BASE_3, BASE_4, BASE_5, BASE_6 } },
	{ .name = "v2", .brand = "penta x86-64-v2", .family = 0x19, .model = 1, .stepping = 1,
	  .features = { V2_0, BASE_1, BASE_2, V2_3, BASE_4, BASE_5, BASE_6 } },
	{ .name = "v3", .brand = "penta x86-64-v3", .family = 0x19, .model = 1, .stepping = 1,
	  .features = { V3_0, V3_1, BASE_2, V3_3, BASE_4, BASE_5, BASE_6 } },
	{ .name = "max", .brand = "penta x86-64 (max)", .family = 0x19, .model = 1, .stepping = 1,
	  .host_limited = true,
	  .features = { V3_0, MAX_1, BASE_2, MAX_3, BASE_4, MAX_5, BASE_6 } },
};

/* What guest code can use only where the host can, by the names of /proc/cpuinfo. */
static const struct { s16 f; const char *name; } host_features[] = {
	{ F_SSE3, "SSE3" }, { F_PCLMUL, "PCLMULQDQ" }, { F_SSSE3, "SSSE3" }, { F_FMA, "FMA" },
	{ F_CX16, "CMPXCHG16B" }, { F_SSE41, "SSE4.1" }, { F_SSE42, "SSE4.2" }, { F_MOVBE, "MOVBE" },
	{ F_POPCNT, "POPCNT" }, { F_AES, "AES" }, { F_XSAVE, "XSAVE" }, { F_AVX, "AVX" },
	{ F_F16C, "F16C" }, { F_RDRAND, "RDRAND" }, { F_BMI1, "BMI1" }, { F_AVX2, "AVX2" },
	{ F_BMI2, "BMI2" }, { F_RDSEED, "RDSEED" }, { F_ADX, "ADX" },
	{ F_CLFLUSHOPT, "CLFLUSHOPT" }, { F_CLWB, "CLWB" }, { F_SHA, "SHA" }, { F_GFNI, "GFNI" },
	{ F_VAES, "VAES" }, { F_VPCLMUL, "VPCLMULQDQ" }, { F_AVXVNNI, "AVX-VNNI" },
	{ F_LZCNT, "LZCNT" }, { F_SSE4A, "SSE4A" }, { F_MISALIGNSSE, "MISALIGNSSE" },
	{ F_XSAVEOPT, "XSAVEOPT" }, { F_XSAVEC, "XSAVEC" }, { F_XGETBV1, "XGETBV1" },
};

struct cpuid_table {
	u64 features[X86_FEATURE_WORDS];
	const struct cpu_model *model;
	unsigned ncpus, core_bits;
	u64 tsc_khz;
	bool hv;
};

const struct cpu_model *cpu_model_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(models); i++)
		if (!strcmp(models[i].name, name))
			return &models[i];
	return NULL;
}

const char *cpu_model_names(void)
{
	return "base, v2, v3, max";
}

/* --- the host --- */

static u32 host_xcr0(void)
{
	u32 a, d;

	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	return a;
}

/* The host's feature words; those with AVX only where the host's kernel lets it be used. */
static void host_words(u32 w[FW_N])
{
	u32 a, b, c, d;

	memset(w, 0, FW_N * sizeof(w[0]));
	if (__get_cpuid(1, &a, &b, &c, &d)) {
		w[FW_1_ECX] = c;
		w[FW_1_EDX] = d;
	}
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
		w[FW_7_EBX] = b;
		w[FW_7_ECX] = c;
		w[FW_7_EDX] = d;
		if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
			w[FW_71_EAX] = a;
	}
	if (__get_cpuid_count(0xd, 1, &a, &b, &c, &d))
		w[FW_D1_EAX] = a;
	if (__get_cpuid(0x80000001, &a, &b, &c, &d)) {
		w[FW_81_ECX] = c;
		w[FW_81_EDX] = d;
	}
	if (!(w[FW_1_ECX] & BIT(F_OSXSAVE % 32)) ||
	    (host_xcr0() & (XCR0_BASE | XCR0_AVX)) != (XCR0_BASE | XCR0_AVX)) {
		w[FW_1_ECX] &= ~(u32)(BIT(F_AVX % 32) | BIT(F_FMA % 32) | BIT(F_F16C % 32) |
				      BIT(F_XSAVE % 32));
		w[FW_7_EBX] &= ~(u32)BIT(F_AVX2 % 32);
		w[FW_7_ECX] &= ~(u32)(BIT(F_VAES % 32) | BIT(F_VPCLMUL % 32));
		w[FW_71_EAX] &= ~(u32)BIT(F_AVXVNNI % 32);
	}
}

static u32 word_of(const u64 *features, unsigned w)
{
	return (u32)(features[w / 2] >> (w % 2 * 32));
}

bool cpuid_has(const struct cpuid_table *t, enum x86_feature f)
{
	return f == F_ALWAYS || (t->features[f / 64] >> (f % 64) & 1);
}

int cpuid_table_new(struct cpuid_table **out, const struct cpu_model *m, unsigned ncpus,
		    u64 tsc_khz, bool hv, struct err *e)
{
	struct cpuid_table *t;
	u32 host[FW_N];

	*out = NULL;
	if (ncpus < 1 || ncpus > 255)
		return err_set(e, EINVAL, "%u CPUs; a processor model takes 1 to 255", ncpus);
	t = calloc(1, sizeof(*t));
	if (!t)
		return err_set(e, ENOMEM, "no memory for the CPUID table");
	t->model = m;
	t->ncpus = ncpus;
	t->tsc_khz = tsc_khz;
	t->hv = hv;
	while ((1u << t->core_bits) < ncpus)
		t->core_bits++;
	memcpy(t->features, m->features, sizeof(t->features));
	host_words(host);
	for (size_t i = 0; i < ARRAY_SIZE(host_features); i++) {
		s16 f = host_features[i].f;

		if (!cpuid_has(t, f) || (host[f / 32] >> (f % 32) & 1))
			continue;
		if (!m->host_limited) {
			free(t);
			return err_set(e, ENOTSUP, "CPU model %s needs %s, which this host lacks; "
				       "use --cpu max or a lower model", m->name,
				       host_features[i].name);
		}
		t->features[f / 64] &= ~BIT(f % 64);
	}
	if (ncpus > 1) {
		t->features[0] |= W(0, F_HTT);
		t->features[3] |= W(3, F_CMP_LEGACY);
	}
	t->features[0] |= W(0, F_HYPERVISOR);
	*out = t;
	return 0;
}

void cpuid_get_features(const struct cpuid_table *t, u32 words[FW_N])
{
	for (unsigned w = 0; w < FW_N; w++)
		words[w] = word_of(t->features, w);
}

static const char *feature_name(unsigned f)
{
	for (size_t i = 0; i < ARRAY_SIZE(host_features); i++)
		if ((unsigned)host_features[i].f == f)
			return host_features[i].name;
	return NULL;
}

int cpuid_set_features(struct cpuid_table *t, const u32 words[FW_N], struct err *e)
{
	for (unsigned w = 0; w < FW_N; w++) {
		u32 lacks = words[w] & ~word_of(t->features, w);
		unsigned f = w * 32 + (unsigned)__builtin_ctz(lacks | 1u << 31);
		const char *name = lacks ? feature_name(f) : NULL;

		if (lacks)
			return err_set(e, ENOTSUP, "its processor has feature %u%s%s%s, which is not "
				       "to be had here", f, name ? " (" : "", name ? name : "",
				       name ? ")" : "");
	}
	memset(t->features, 0, sizeof(t->features));
	for (unsigned w = 0; w < FW_N; w++)
		t->features[w / 2] |= (u64)words[w] << (w % 2 * 32);
	return 0;
}

void cpuid_table_free(struct cpuid_table *t)
{
	free(t);
}

/* --- the leaves --- */

static struct cpuid_regs vendor(u32 max)
{
	/* "AuthenticAMD" in EBX, EDX, ECX. */
	return (struct cpuid_regs){ .eax = max, .ebx = 0x68747541, .edx = 0x69746e65,
				    .ecx = 0x444d4163 };
}

static u32 signature(const struct cpu_model *m)
{
	u32 base = MIN(m->family, 0xf), ext = m->family - base;

	return ext << 20 | (u32)(m->model >> 4) << 16 | base << 8 | (u32)(m->model & 15) << 4 |
	       m->stepping;
}

/* One cache for leaf 0x8000001d: SDM's leaf 4 has the same layout. */
static struct cpuid_regs cache(unsigned type, unsigned level, u32 kib, u32 ways, unsigned sharing)
{
	u32 sets = kib * 1024 / 64 / ways;

	return (struct cpuid_regs){ .eax = type | level << 5 | 1 << 8 | (sharing - 1) << 14,
				    .ebx = 63 | (ways - 1) << 22, .ecx = sets - 1 };
}

#define L1_KIB 32
#define L2_KIB 512
#define L3_KIB 16384
enum cache_type { CACHE_DATA = 1, CACHE_CODE, CACHE_UNIFIED };

static struct cpuid_regs leaf_caches(const struct cpuid_table *t, u32 sub)
{
	switch (sub) {
	case 0: return cache(CACHE_DATA, 1, L1_KIB, 8, 1);
	case 1: return cache(CACHE_CODE, 1, L1_KIB, 8, 1);
	case 2: return cache(CACHE_UNIFIED, 2, L2_KIB, 8, 1);
	case 3: return cache(CACHE_UNIFIED, 3, L3_KIB, 16, t->ncpus);
	}
	return (struct cpuid_regs){ 0 };
}

static struct cpuid_regs leaf_topology(const struct cpuid_table *t, u32 sub, u32 apic_id)
{
	struct cpuid_regs r = { .ecx = sub & 0xff, .edx = apic_id };

	if (sub == 0) {			/* one thread a core */
		r.ebx = 1;
		r.ecx |= 1 << 8;
	} else if (sub == 1) {
		r.eax = t->core_bits;
		r.ebx = t->ncpus;
		r.ecx |= 2 << 8;
	}
	return r;
}

static struct cpuid_regs leaf_xsave(const struct cpuid_table *t, u32 sub,
				    const struct cpuid_dyn *d)
{
	struct cpuid_regs r = { 0 };
	u32 mask = XCR0_BASE | (cpuid_has(t, F_AVX) ? XCR0_AVX : 0);
	u32 avx = XSTATE_LEGACY + XSTATE_AVX_LEN;

	if (!cpuid_has(t, F_XSAVE))
		return r;
	if (sub == 0) {
		r.eax = mask;
		r.ebx = d->xcr0 & XCR0_AVX ? avx : XSTATE_LEGACY;
		r.ecx = mask & XCR0_AVX ? avx : XSTATE_LEGACY;
	} else if (sub == 1) {
		r.eax = word_of(t->features, FW_D1_EAX);
		if (r.eax & (BIT(F_XSAVEC % 32) | BIT(F_XSAVES % 32)))
			r.ebx = (d->xcr0 | d->xss) & XCR0_AVX ? avx : XSTATE_LEGACY;
	} else if (sub == 2 && (mask & XCR0_AVX)) {
		r.eax = XSTATE_AVX_LEN;
		r.ebx = XSTATE_LEGACY;
	}
	return r;
}

static struct cpuid_regs leaf_standard(const struct cpuid_table *t, u32 leaf, u32 sub,
				       const struct cpuid_dyn *d)
{
	struct cpuid_regs r = { 0 };

	switch (leaf) {
	case 0:
		return vendor(0x16);
	case 1:
		r.eax = signature(t->model);
		r.ebx = d->apic_id << 24 | (t->ncpus & 0xff) << 16 | 64 / 8 << 8;
		r.ecx = word_of(t->features, FW_1_ECX);
		r.edx = word_of(t->features, FW_1_EDX);
		if (d->osxsave)
			r.ecx |= (u32)BIT(F_OSXSAVE % 32);
		if (!d->apic_on)
			r.edx &= ~(u32)BIT(F_APIC % 32);
		return r;
	case 6:
		r.eax = 1 << 2;			/* ARAT: the APIC's timer never stops */
		return r;
	case 7:
		if (sub == 0) {
			r.eax = 1;
			r.ebx = word_of(t->features, FW_7_EBX);
			r.ecx = word_of(t->features, FW_7_ECX);
			r.edx = word_of(t->features, FW_7_EDX);
		} else if (sub == 1) {
			r.eax = word_of(t->features, FW_71_EAX);
		}
		return r;
	case 0xb:
		return leaf_topology(t, sub, d->apic_id);
	case 0xd:
		return leaf_xsave(t, sub, d);
	case 0x15:			/* TSC = crystal * EBX / EAX */
		r.eax = CRYSTAL_KHZ;
		r.ebx = (u32)t->tsc_khz;
		r.ecx = CRYSTAL_KHZ * 1000u;
		return r;
	case 0x16:
		r.eax = r.ebx = (u32)(t->tsc_khz / 1000);
		r.ecx = 100;
		return r;
	}
	return r;
}

/* KVM's paravirtual features, of those in Documentation/virt/kvm/x86/cpuid.rst that are here:
 * clock (old and new MSRs), no port-0x80 delays, steal time, EOI in memory (dev/lapic.c), lock
 * waiters kicked out of HLT, IPIs by hypercall, halt polling control, yielding to a vCPU, stable
 * clock. */
#define KVM_FEATURES (BIT(0) | BIT(1) | BIT(3) | BIT(5) | BIT(6) | BIT(7) | BIT(11) | BIT(12) | \
	BIT(13) | BIT(24))

static struct cpuid_regs leaf_hypervisor(const struct cpuid_table *t, u32 leaf)
{
	struct cpuid_regs r = { 0 };

	if (!t->hv)
		return r;
	if (leaf == 0x40000000) {		/* "KVMKVMKVM\0\0\0" */
		r.eax = 0x40000001;
		r.ebx = 0x4b4d564b;
		r.ecx = 0x564b4d56;
		r.edx = 0x4d;
	} else if (leaf == 0x40000001) {
		r.eax = KVM_FEATURES;
	}
	return r;
}

static struct cpuid_regs leaf_brand(const struct cpuid_table *t, u32 n)
{
	char s[48] = { 0 };

	snprintf(s, sizeof(s), "%s", t->model->brand);
	return (struct cpuid_regs){ get_le32(s + 16 * n), get_le32(s + 16 * n + 4),
				    get_le32(s + 16 * n + 8), get_le32(s + 16 * n + 12) };
}

/* Bits of leaf 1 EDX that AMD repeats in 0x80000001 EDX. */
#define EDX_REPEATED 0x0183f3ffu

static struct cpuid_regs leaf_extended(const struct cpuid_table *t, u32 leaf, u32 sub,
				       const struct cpuid_dyn *d)
{
	struct cpuid_regs r = { 0 };

	switch (leaf) {
	case 0x80000000:
		return vendor(0x80000021);
	case 0x80000001:
		r.eax = signature(t->model);
		r.ecx = word_of(t->features, FW_81_ECX);
		r.edx = word_of(t->features, FW_81_EDX) |
			(word_of(t->features, FW_1_EDX) & EDX_REPEATED);
		if (!d->apic_on)
			r.edx &= ~(u32)BIT(F_APIC % 32);
		return r;
	case 0x80000002: case 0x80000003: case 0x80000004:
		return leaf_brand(t, leaf - 0x80000002);
	case 0x80000005:	/* L1: TLBs of 64 entries, fully associative; 8-way caches */
		r.eax = 0xff40ff40;
		r.ebx = 0xff40ff40;
		r.ecx = (u32)L1_KIB << 24 | 8 << 16 | 1 << 8 | 64;
		r.edx = r.ecx;
		return r;
	case 0x80000006:	/* L2: 8-way is code 6, 16-way 8; L3 in units of 512 KiB */
		r.eax = 0x48006400;	/* TLBs: 2048 data, 1024 code for 2M; */
		r.ebx = 0x68006400;	/* for 4K */
		r.ecx = (u32)L2_KIB << 16 | 6 << 12 | 1 << 8 | 64;
		r.edx = (u32)(L3_KIB / 512) << 18 | 8 << 12 | 1 << 8 | 64;
		return r;
	case 0x80000007:
		r.edx = word_of(t->features, FW_87_EDX);
		return r;
	case 0x80000008:
		r.eax = LINEAR_BITS << 8 | PHYS_BITS;
		r.ebx = word_of(t->features, FW_88_EBX);
		r.ecx = (t->ncpus - 1) | t->core_bits << 12;
		return r;
	case 0x8000001d:
		return leaf_caches(t, sub);
	case 0x8000001e:
		r.eax = d->apic_id;
		r.ebx = d->apic_id & 0xff;	/* core; one thread each */
		return r;
	case 0x80000021:
		r.eax = word_of(t->features, FW_821_EAX);
		r.ecx = word_of(t->features, FW_821_ECX);
		return r;
	}
	return r;
}

struct cpuid_regs cpuid_query(const struct cpuid_table *t, u32 leaf, u32 subleaf,
			      const struct cpuid_dyn *d)
{
	if (leaf >= 0x80000000)
		return leaf_extended(t, leaf, subleaf, d);
	if (leaf >= 0x40000000 && leaf < 0x40000100)
		return leaf_hypervisor(t, leaf);
	return leaf_standard(t, leaf, subleaf, d);
}

unsigned cpuid_enumerate(const struct cpuid_table *t, const struct cpuid_dyn *d,
			 struct cpuid_entry *out, unsigned max)
{
	static const struct { u32 first, last; } ranges[] = {
		{ 0, 0x16 }, { 0x40000000, 0x40000001 }, { 0x80000000, 0x80000021 },
	};
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		if (ranges[i].first == 0x40000000 && !t->hv)
			continue;
		for (u32 leaf = ranges[i].first; leaf <= ranges[i].last; leaf++) {
			u32 subs = leaf == 7 ? 2 : leaf == 0xb || leaf == 0xd ? 3 :
				   leaf == 0x8000001d ? 5 : 1;

			for (u32 sub = 0; sub < subs; sub++) {
				if (n == max)
					return n;
				out[n].leaf = leaf;
				out[n].subleaf = sub;
				out[n].has_subleaf = subs > 1;
				out[n].r = cpuid_query(t, leaf, sub, d);
				n++;
			}
		}
	}
	return n;
}
