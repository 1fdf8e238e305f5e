/* SPDX-License-Identifier: GPL-2.0-or-later */
/* engine.h - who executes a machine's instructions. The seam that lets every platform and device
 * run on every engine, and a machine move between engines.
 *
 * The engine handles I/O by calling m->ports and m->mmio under the machine lock, and interrupts
 * through v->intc_ops. It returns from run() only for what the machine must know. */
#ifndef PENTA_VM_ENGINE_H
#define PENTA_VM_ENGINE_H

#include "vm/cpu_state.h"
#include "vm/vcpu.h"

enum vcpu_exit {
	VCPU_EXIT_STOP,		/* VCPU_REQ_STOP was seen */
	VCPU_EXIT_SHUTDOWN,	/* triple fault; see machine->on_crash */
	VCPU_EXIT_DEBUG,	/* breakpoint, watchpoint or step of a host debugger */
	VCPU_EXIT_ERROR,	/* the engine cannot go on: v->m->fatal holds why */
};

/* A host debugger's wishes, invisible to the guest. */
#define DEBUG_POINTS_MAX 64
enum debug_point_type { DEBUG_EXEC, DEBUG_WRITE, DEBUG_READ, DEBUG_ACCESS };
struct debug_point { u64 la; u8 len; u8 type; };	/* linear address; len 1-8 */
struct debug_ctl {
	bool single_step;
	unsigned npoints;
	struct debug_point point[DEBUG_POINTS_MAX];
};
struct debug_hit { bool step; u64 la; u8 type; };	/* what stopped it */

struct engine_ops {
	const char *name;
	/* Make what the engine needs for @m (m->engine), before vCPUs. */
	int (*init)(struct machine *m, struct err *e);
	void (*free)(struct machine *m);		/* accepts half-made */
	int (*vcpu_init)(struct vcpu *v, struct err *e);
	void (*vcpu_free)(struct vcpu *v);
	/* On the vCPU's own thread, before it enters the sandbox: open what only it can. May be NULL. */
	void (*thread_start)(struct vcpu *v);
	/* Run on the vCPU's own thread until there is something for the machine. */
	enum vcpu_exit (*run)(struct vcpu *v);
	/* Any thread: make a running vCPU look at its requests soon. */
	void (*kick)(struct vcpu *v);
	/* Complete state; only while the vCPU is parked. */
	int (*get_state)(struct vcpu *v, struct cpu_state *s, struct err *e);
	int (*set_state)(struct vcpu *v, const struct cpu_state *s, struct err *e);
	/* RAM blocks or A20 changed; all vCPUs are parked or this is one of theirs, lock held. */
	void (*memory_changed)(struct machine *m);
	/* Dirty logging: start it; then fetch-and-clear into RAM_PAGE_DIRTY bits of the blocks. */
	int (*dirty_log)(struct machine *m, bool on, struct err *e);
	void (*dirty_sync)(struct machine *m);
	/* Debugger; only while parked. translate: linear to guest physical by the vCPU's current
	 * tables without side effects, or -EFAULT. */
	int (*set_debug)(struct vcpu *v, const struct debug_ctl *d);
	int (*translate)(struct vcpu *v, u64 la, u64 *gpa);
	struct debug_hit (*debug_hit)(struct vcpu *v);
	/* One line a counter, "name value", for --stats. May be NULL. */
	void (*stats)(struct machine *m, void (*put)(void *ctx, const char *name, u64 val), void *ctx);
};

extern const struct engine_ops engine_soft;	/* engine/soft/soft.c */

#endif
