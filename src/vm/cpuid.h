/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpuid.h - named, fixed guest CPU models and the CPUID table that both engines show.
 * base = x86-64-v1 (plus what any 64-bit OS wants), v2, v3 = the psABI levels, max = all that the
 * host has and the engine was tested with. A model never depends on the host except max; asking
 * for what the host lacks is an error that names the feature. */
#ifndef PENTA_VM_CPUID_H
#define PENTA_VM_CPUID_H

#include "base/err.h"
#include "x86/cpuid.h"

struct cpu_model {
	const char *name, *brand;
	u8 family, model, stepping;
	bool host_limited;		/* "max": cut to what the host has */
	u64 features[X86_FEATURE_WORDS];	/* bits by enum x86_feature */
};
const struct cpu_model *cpu_model_find(const char *name);	/* NULL: none such */
const char *cpu_model_names(void);				/* "base, v2, v3, max" */

struct cpuid_regs { u32 eax, ebx, ecx, edx; };
struct cpuid_table;
/* @hv: also the KVM paravirtual leaves 0x40000000/1. Checks the model against the host. */
int cpuid_table_new(struct cpuid_table **out, const struct cpu_model *m, unsigned ncpus,
		    u64 tsc_khz, bool hv, struct err *e);
void cpuid_table_free(struct cpuid_table *t);
bool cpuid_has(const struct cpuid_table *t, enum x86_feature f);
/* The feature bits, as words by enum x86_feature_word: what a saved machine takes along. */
void cpuid_get_features(const struct cpuid_table *t, u32 words[FW_N]);
/* Show these instead: a machine saved on another host, or by an older penta, goes on with what its
 * guest has seen. -ENOTSUP names a feature that is not to be had here; nothing is changed then. */
int cpuid_set_features(struct cpuid_table *t, const u32 words[FW_N], struct err *e);
/* @apic_id and the dynamic bits (OSXSAVE, OSPKE, APIC, XSAVE size) come from the vCPU. */
struct cpuid_dyn { u32 apic_id; bool osxsave, apic_on; u64 xcr0, xss; };
struct cpuid_regs cpuid_query(const struct cpuid_table *t, u32 leaf, u32 subleaf,
			      const struct cpuid_dyn *d);
/* Entry by entry, for KVM_SET_CPUID2. Returns the number of entries filled, at most @max. */
struct cpuid_entry { u32 leaf, subleaf; bool has_subleaf; struct cpuid_regs r; };
unsigned cpuid_enumerate(const struct cpuid_table *t, const struct cpuid_dyn *d,
			 struct cpuid_entry *out, unsigned max);

#endif
