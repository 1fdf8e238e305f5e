/* SPDX-License-Identifier: GPL-2.0-or-later */
/* soft.h - between soft.c and run.c. */
#ifndef PENTA_SOFT_SOFT_H
#define PENTA_SOFT_SOFT_H

#include "engine/soft/cpu.h"

struct soft;

/* Also for fallback.c. All accept NULL to free. */
int soft_engine_new(struct soft **out, struct machine *m, struct err *e);
void soft_engine_free(struct soft *s);
int soft_cpu_new(struct cpu **out, struct soft *s, struct vcpu *v, struct err *e);
void soft_cpu_free(struct cpu *c);

/* Between the engine's form of the state and the neutral one. No lock is taken. */
void soft_save(struct cpu *c, struct cpu_state *s);
void soft_load(struct cpu *c, const struct cpu_state *s);
/* c->tsc_offset is new: tell the vCPU's interrupt controller. */
void soft_tsc_publish(struct cpu *c);

enum vcpu_exit run_vcpu(struct cpu *c);
/* One instruction by itself, or the delivery of its fault. For fallback.c. */
void run_one(struct cpu *c);

#endif
