/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fallback.h - the soft engine's interpreter for engines that cannot execute something: one
 * instruction of a vCPU of theirs, from the neutral state and back. */
#ifndef PENTA_SOFT_FALLBACK_H
#define PENTA_SOFT_FALLBACK_H

#include "vm/machine.h"

struct soft_fallback;
/* One a vCPU; owned by the caller, who frees it. It sees @v's machine: RAM, buses, CPUID. */
int soft_fallback_new(struct soft_fallback **out, struct vcpu *v, struct err *e);
void soft_fallback_free(struct soft_fallback *f);	/* accepts NULL */
/* Execute the instruction at @s's CS:RIP, or deliver the fault that it raises, and change @s
 * accordingly. Takes the machine lock for I/O: call without it. 0; -EFAULT: triple fault. */
int soft_fallback_step(struct soft_fallback *f, struct cpu_state *s, struct err *e);

#endif
