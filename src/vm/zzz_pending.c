/* SPDX-License-Identifier: GPL-2.0-or-later */
/* zzz_pending.c - stands in until vm/cpuid.c is there; goes then. */
#include "vm/cpuid.h"
#include <errno.h>

__attribute__((weak)) int cpuid_table_new(struct cpuid_table **out, const struct cpu_model *m,
					  unsigned ncpus, u64 tsc_khz, bool hv, struct err *e)
{
	return err_set(e, ENOSYS, "CPU models are not there yet");
}
__attribute__((weak)) void cpuid_table_free(struct cpuid_table *t) { }
__attribute__((weak)) struct cpuid_regs cpuid_query(const struct cpuid_table *t, u32 leaf,
						    u32 subleaf, const struct cpuid_dyn *d)
{
	return (struct cpuid_regs){ 0 };
}
