/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clock.h - the machine's clock: nanoseconds of guest time. It starts at 0, stops while the
 * machine is paused, and every timer chip, the TSC and the PV clock are views of it, so that
 * they can never disagree.
 *
 * Timers fire on the machine's event loop thread with the machine lock held. */
#ifndef PENTA_VM_CLOCK_H
#define PENTA_VM_CLOCK_H

#include "base/types.h"

struct clock;
struct loop;

typedef void vm_timer_fn(void *ctx);
struct vm_timer {			/* embedded in a device; fields are clock.c's own */
	struct clock *clock;
	vm_timer_fn *fn;
	void *ctx;
	u64 deadline_ns;		/* machine ns; UINT64_MAX: not armed */
	int heap_index;			/* -1: not armed */
};

struct clock *clock_new(struct loop *l, u64 tsc_khz);	/* starts stopped at 0 */
void clock_free(struct clock *c);
u64 clock_now(const struct clock *c);			/* machine ns; any thread, no lock */
void clock_stop(struct clock *c);			/* lock held; idempotent */
void clock_start(struct clock *c);			/* lock held; idempotent */
void clock_set(struct clock *c, u64 ns);		/* while stopped: restore */
bool clock_running(const struct clock *c);
/* While stopped, for who drives time by hand (tests, replay): go forward to @ns and fire the timers
 * on the way, each at its own deadline. */
void clock_advance(struct clock *c, u64 ns);

/* CLOCK_REALTIME minus machine time, ns: what the RTC and kvmclock's wall clock add. */
s64 clock_wall_offset(const struct clock *c);

/* The TSC every vCPU starts from: machine ns scaled to tsc_khz. A vCPU adds its own offset. */
u64 clock_tsc(const struct clock *c);
u64 clock_tsc_khz(const struct clock *c);
u64 clock_ns_of_tsc(const struct clock *c, u64 tsc);	/* saturates */
u64 clock_tsc_of_ns(const struct clock *c, u64 ns);

void vm_timer_init(struct vm_timer *t, struct clock *c, vm_timer_fn *fn, void *ctx);
void vm_timer_set(struct vm_timer *t, u64 deadline_ns);	/* lock held; past: as soon as possible */
void vm_timer_del(struct vm_timer *t);			/* lock held; also when not armed */
static inline bool vm_timer_armed(const struct vm_timer *t) { return t->heap_index >= 0; }

#endif
