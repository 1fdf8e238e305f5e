/* SPDX-License-Identifier: GPL-2.0-or-later */
/* soft.h - between soft.c and run.c. */
#ifndef PENTA_SOFT_SOFT_H
#define PENTA_SOFT_SOFT_H

#include "engine/soft/cpu.h"

/* Between the engine's form of the state and the neutral one. No lock is taken. */
void soft_save(struct cpu *c, struct cpu_state *s);
void soft_load(struct cpu *c, const struct cpu_state *s);

enum vcpu_exit run_vcpu(struct cpu *c);
/* One instruction, its faults delivered. -EAGAIN: HLT or the like; 0. For fallback.h. */
int run_one(struct cpu *c);

#endif
