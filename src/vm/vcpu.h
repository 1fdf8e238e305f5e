/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vcpu.h - one virtual CPU: a host thread that calls the engine until the machine ends. */
#ifndef PENTA_VM_VCPU_H
#define PENTA_VM_VCPU_H

#include "base/types.h"
#include "vm/cpu_state.h"
#include "vm/irq.h"
#include <pthread.h>
#include <stdatomic.h>

struct machine;

/* Why a running vCPU should look up: bits of vcpu->requests, set by any thread. */
enum vcpu_req {
	VCPU_REQ_IRQ	= 1 << 0,	/* the interrupt controller may have one */
	VCPU_REQ_NMI	= 1 << 1,
	VCPU_REQ_INIT	= 1 << 2,
	VCPU_REQ_SIPI	= 1 << 3,
	VCPU_REQ_SMI	= 1 << 4,
	VCPU_REQ_STOP	= 1 << 5,	/* leave the engine: pause, debugger, end (sticky) */
	VCPU_REQ_RESET	= 1 << 6,	/* power-on state */
	VCPU_REQ_ENGINE	= 1 << 7,	/* engine-private work (TLB shoot-down, ...) */
	VCPU_REQ_NMI2	= 1 << 8,	/* another NMI came before VCPU_REQ_NMI was looked at */
};

struct vcpu {
	struct machine *m;
	unsigned index;			/* 0 is the boot processor */
	u32 apic_id;
	_Atomic u32 requests;		/* enum vcpu_req */
	const struct intc_ops *intc_ops;	/* NULL: none (unit tests) */
	void *intc;
	/* Guest TSC minus clock_tsc(). The engine that keeps the TSC stores it whenever WRMSR TSC,
	 * WRMSR TSC_ADJUST or set_state changes it; the APIC's deadline timer counts with it. */
	_Atomic u64 tsc_offset;
	void *engine;			/* the engine's own, e.g. struct cpu of soft */

	/* Thread and stopping: vcpu.c's. */
	pthread_t thread;
	_Atomic int tid;		/* the host's number of it; 0: not started */
	bool thread_started;
	_Atomic bool halted;		/* waits in HLT, wait-for-SIPI or shutdown */
	_Atomic bool deaf;		/* halted, and no interrupt can wake it */
	pthread_mutex_t park_lock;	/* protects what is below */
	pthread_cond_t park;
	bool parked;			/* outside the engine, at rest */
	bool quit;			/* the thread is to end */
};

int vcpu_new(struct vcpu **out, struct machine *m, unsigned index, struct err *e);
void vcpu_free(struct vcpu *v);
int vcpu_start_thread(struct vcpu *v, struct err *e);
/* Set request bits, wake the vCPU from HLT and make the engine look. Any thread, no lock. */
void vcpu_request(struct vcpu *v, u32 bits);
/* Wait until a vCPU that was told VCPU_REQ_STOP rests outside the engine; then let it go on. Used
 * by machine.c, which counts who wants the vCPUs to stand still. No machine lock. */
void vcpu_wait_parked(struct vcpu *v);
void vcpu_unpark(struct vcpu *v);
void vcpu_join(struct vcpu *v);		/* end the thread, if there is one */
/* For engines: block in HLT until a request other than 0 is there (returns at once then). Must be
 * called without the machine lock. @deaf: no maskable interrupt can end this wait (IF clear, or
 * waiting for a SIPI). When that is so of all vCPUs the machine is dead, and reported as crashed. */
void vcpu_wait(struct vcpu *v, bool deaf);

#endif
