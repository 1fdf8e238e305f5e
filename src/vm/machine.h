/* SPDX-License-Identifier: GPL-2.0-or-later */
/* machine.h - the skeleton that a platform fills: RAM, buses, clock, vCPUs, devices, one lock.
 * Nothing here is global: a unit test runs two machines in one process. */
#ifndef PENTA_VM_MACHINE_H
#define PENTA_VM_MACHINE_H

#include "base/err.h"
#include "base/loop.h"
#include "base/sandbox.h"
#include "vm/bus.h"
#include "vm/clock.h"
#include "vm/cpuid.h"
#include "vm/device.h"
#include "vm/engine.h"
#include "vm/ram.h"
#include "vm/vcpu.h"
#include <stdio.h>

#define MACHINE_CPUS_MAX 64

enum machine_status {
	MACHINE_NEW, MACHINE_RUNNING, MACHINE_PAUSED,
	MACHINE_OFF,		/* the guest powered off */
	MACHINE_CRASHED,	/* triple fault with on_crash=exit, or a fatal engine error */
};
enum on_crash { ON_CRASH_EXIT, ON_CRASH_RESET, ON_CRASH_PAUSE };

struct machine_config {
	u64 ram_size;			/* bytes */
	unsigned ncpus;			/* 1 .. MACHINE_CPUS_MAX */
	const struct engine_ops *engine;
	const struct cpu_model *cpu_model;	/* borrowed, constant */
	enum on_crash on_crash;
	struct sandbox *sandbox;	/* what the machine's threads enter; borrowed; may be NULL */
};

struct machine {
	struct machine_config cfg;
	pthread_mutex_t lock;		/* the machine lock: devices, buses, timers, interrupt chips */
	struct loop *loop;		/* callbacks run with the lock held */
	struct clock *clock;
	struct ram *ram;
	struct bus *ports, *mmio;
	unsigned ncpus;
	struct vcpu *cpu[MACHINE_CPUS_MAX];
	void *engine;			/* the engine's own */
	bool a20;			/* address line 20 open */
	struct cpuid_table *cpuid;	/* what every vCPU's CPUID shows (vm/cpuid.h) */
	struct device_entry *devices;	/* in order of creation; machine.c */
	struct msi_sink msi;

	/* What the platform is, told by it: a saved machine's must be the same. @board grows when what every
	 * machine of the platform has changes; older boards can still be made. */
	const char *platform;
	u32 board;

	/* machine.c's own: who may stop and start vCPUs (taken before lock), and what was asked for. */
	pthread_mutex_t life;
	u32 pending;			/* lock: enum machine_want */
	struct vcpu *crash_vcpu;
	char crash_why[512];

	_Atomic bool held;		/* written under life: machine_still() */
	bool restored;			/* life: came from loaded state, and has not run yet */
	_Atomic int status;		/* enum machine_status */
	int exit_code;			/* for debug-exit devices; 0 otherwise */
	struct err fatal;
	void (*on_status)(struct machine *m, void *ctx);	/* lock held; may be NULL */
	void *on_status_ctx;
	/* A host debugger (gdb stub): called on the vCPU's thread, no lock, vCPU outside the engine */
	void (*on_debug)(struct vcpu *v, void *ctx);
	void *on_debug_ctx;
	/* The platform's boot state: applied to every vCPU after each reset. May be NULL. */
	void (*on_reset)(struct machine *m, void *ctx);
	void *on_reset_ctx;
};

int machine_new(struct machine **out, const struct machine_config *cfg, struct err *e);
void machine_free(struct machine *m);		/* stops and joins; accepts NULL and half-made */
static inline void machine_lock(struct machine *m) { pthread_mutex_lock(&m->lock); }
static inline void machine_unlock(struct machine *m) { pthread_mutex_unlock(&m->lock); }

/* Reset the machine, start the clock and all vCPU threads. The caller then runs machine_run() on
 * the thread that is to be the event loop; it returns when the status is OFF or CRASHED or
 * machine_quit() was called. */
int machine_start(struct machine *m, struct err *e);
/* The same, but before the first instruction: machine_resume() begins. For debuggers. */
int machine_start_paused(struct machine *m, struct err *e);
/* For a machine whose state was loaded (state/state.h): no reset; @paused: wait for machine_resume(). */
int machine_start_restored(struct machine *m, bool paused, struct err *e);
enum machine_status machine_run(struct machine *m);
void machine_quit(struct machine *m);		/* any thread */

/* Pause: on return all vCPUs are parked and the clock stands. Not from a vCPU thread; no lock (a
 * loop callback lets go of it meanwhile). Nothing happens unless the machine runs.
 * A vCPU that reports to on_debug stays parked from then on until machine_resume(). */
void machine_pause(struct machine *m);
void machine_resume(struct machine *m);
/* Pause, and stay paused whatever machine_resume() others call, until machine_unstill(): while state is
 * being taken. One at a time. */
void machine_still(struct machine *m);
void machine_unstill(struct machine *m, bool resume);
/* For a look at what stands still: all vCPUs are parked and the machine lock is held in between, in
 * whatever status the machine is. Neither the guest, whose clock goes on, nor anybody else is told. Not
 * from a vCPU thread, nor with the lock held. */
void machine_hold(struct machine *m);
void machine_release(struct machine *m);
/* Before a save, the machine being paused, no lock: what was asked for (reset, power off) is done, and
 * devices end what is in flight. -ESHUTDOWN: it is not paused (any more). */
int machine_quiesce(struct machine *m, struct err *e);

/* For devices and engines (lock held, also from vCPU threads): done soon after, on the loop. */
void machine_request_reset(struct machine *m);
void machine_request_poweroff(struct machine *m);
void machine_request_exit(struct machine *m, int exit_code);	/* debug-exit */
void machine_report_crash(struct machine *m, struct vcpu *v, const char *why);

/* Print registers and some code of a vCPU, as on a crash. Only while parked. */
void vcpu_dump(struct vcpu *v, FILE *f);

#endif
