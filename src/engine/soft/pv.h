/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pv.h - KVM's paravirtual clock and steal time, between pv.c, msr.c, sys.c and tlb.c. */
#ifndef PENTA_SOFT_PV_H
#define PENTA_SOFT_PV_H

#include "engine/soft/cpu.h"

void pv_init(struct cpu *c);
void pv_thread_start(struct cpu *c);
void pv_free(struct cpu *c);
/* MSR_KVM_*: 0, or -EPERM for #GP. */
int pv_write_msr(struct cpu *c, u32 msr, u64 val);
/* tsc_offset changed. */
void pv_tsc_moved(struct cpu *c);
/* About once a guest timer tick: bring steal time up to date. */
void pv_tick(struct cpu *c);
/* KVM_HC_CLOCK_PAIRING; false when @gpa is not RAM. */
bool pv_clock_pairing(struct cpu *c, u64 gpa);
void pv_scale(u64 tsc_khz, u32 *mul, s8 *shift);

#endif
