/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clock.c - guest time and the timers that hang on it. See clock.h.
 *
 * Machine time is base_ns while the clock stands and base_ns + (CLOCK_MONOTONIC - base_mono) while
 * it runs. Readers take no lock: the three fields change under a sequence count, which is odd
 * while they do. clock_stop() makes it odd *before* it reads the time at which the clock stops, so
 * no reader can have seen a later time than the one at which the clock then stands.
 *
 * Timers are a binary heap by deadline, under the machine lock; its first sets the loop's
 * deadline while the clock runs. */
#include "vm/clock.h"
#include "base/loop.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct clock {
	struct loop *loop;		/* NULL: timers fire never (a test drives the clock) */
	u64 tsc_khz;

	_Atomic u32 seq;
	_Atomic u64 base_ns, base_mono;
	_Atomic bool running;

	struct vm_timer **heap;
	int n, room;
};

#define NS_PER_S 1000000000ull

static u64 host_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (u64)ts.tv_sec * NS_PER_S + (u64)ts.tv_nsec;
}

u64 clock_now(const struct clock *c)
{
	for (;;) {
		u32 seq = atomic_load_explicit(&c->seq, memory_order_acquire);
		u64 base = atomic_load_explicit(&c->base_ns, memory_order_acquire);
		u64 mono = atomic_load_explicit(&c->base_mono, memory_order_acquire);
		bool running = atomic_load_explicit(&c->running, memory_order_acquire);

		if (running)
			base += host_ns(CLOCK_MONOTONIC) - mono;
		if (!(seq & 1) && atomic_load(&c->seq) == seq)
			return base;
	}
}

static void heap_remove(struct vm_timer *t);

/* One writer: the machine lock is held. */
static void clock_change(struct clock *c, bool run, const u64 *set_ns)
{
	u64 base = atomic_load(&c->base_ns), now;

	atomic_fetch_add(&c->seq, 1);	/* a full barrier on x86: the time is read after it */
	now = host_ns(CLOCK_MONOTONIC);
	if (atomic_load(&c->running))
		base += now - atomic_load(&c->base_mono);
	atomic_store(&c->base_ns, set_ns ? *set_ns : base);
	atomic_store(&c->base_mono, now);
	atomic_store(&c->running, run);
	atomic_fetch_add(&c->seq, 1);
}

bool clock_running(const struct clock *c)
{
	return atomic_load(&c->running);
}

/* CLOCK_MONOTONIC at machine time @ns, while the clock runs. Saturates. */
static u64 mono_of(const struct clock *c, u64 ns)
{
	u64 base = atomic_load(&c->base_ns), mono = atomic_load(&c->base_mono);

	if (ns <= base)
		return mono > base - ns ? mono - (base - ns) : 0;
	return __builtin_add_overflow(mono, ns - base, &mono) ? UINT64_MAX : mono;
}

static void program(struct clock *c)
{
	if (c->loop)
		loop_set_deadline(c->loop, c->n && clock_running(c) ?
				  mono_of(c, c->heap[0]->deadline_ns) : UINT64_MAX);
}

void clock_stop(struct clock *c)
{
	if (!clock_running(c))
		return;
	clock_change(c, false, NULL);
	program(c);
}

void clock_start(struct clock *c)
{
	if (clock_running(c))
		return;
	clock_change(c, true, NULL);
	program(c);
}

void clock_set(struct clock *c, u64 ns)
{
	BUG_ON(clock_running(c));
	clock_change(c, false, &ns);
}

void clock_advance(struct clock *c, u64 ns)
{
	BUG_ON(clock_running(c));
	while (c->n && c->heap[0]->deadline_ns <= ns) {
		struct vm_timer *t = c->heap[0];
		u64 at = MAX(t->deadline_ns, clock_now(c));

		clock_set(c, at);
		heap_remove(t);
		t->deadline_ns = UINT64_MAX;
		t->fn(t->ctx);
	}
	if (ns > clock_now(c))
		clock_set(c, ns);
}

s64 clock_wall_offset(const struct clock *c)
{
	return (s64)(host_ns(CLOCK_REALTIME) - clock_now(c));
}

/* --- the TSC --- */

u64 clock_tsc_khz(const struct clock *c)
{
	return c->tsc_khz;
}

/* floor(ns * khz / 10^6): exact, monotonic, wraps at 2^64 as the register does. */
u64 clock_tsc_of_ns(const struct clock *c, u64 ns)
{
	return (u64)((u128)ns * c->tsc_khz / 1000000u);
}

/* The first nanosecond at which the TSC has reached @tsc, so that a deadline is never early. */
u64 clock_ns_of_tsc(const struct clock *c, u64 tsc)
{
	u128 ns = ((u128)tsc * 1000000u + c->tsc_khz - 1) / c->tsc_khz;

	return ns > UINT64_MAX ? UINT64_MAX : (u64)ns;
}

u64 clock_tsc(const struct clock *c)
{
	return clock_tsc_of_ns(c, clock_now(c));
}

/* --- timers --- */

static void heap_put(struct clock *c, int i, struct vm_timer *t)
{
	c->heap[i] = t;
	t->heap_index = i;
}

static void sift_up(struct clock *c, int i, struct vm_timer *t)
{
	while (i > 0 && c->heap[(i - 1) / 2]->deadline_ns > t->deadline_ns) {
		heap_put(c, i, c->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_put(c, i, t);
}

static void sift_down(struct clock *c, int i, struct vm_timer *t)
{
	for (;;) {
		int kid = 2 * i + 1;

		if (kid + 1 < c->n && c->heap[kid + 1]->deadline_ns < c->heap[kid]->deadline_ns)
			kid++;
		if (kid >= c->n || c->heap[kid]->deadline_ns >= t->deadline_ns)
			break;
		heap_put(c, i, c->heap[kid]);
		i = kid;
	}
	heap_put(c, i, t);
}

/* Put @t where it belongs, given that slot @i is free. */
static void heap_place(struct clock *c, int i, struct vm_timer *t)
{
	if (i > 0 && c->heap[(i - 1) / 2]->deadline_ns > t->deadline_ns)
		sift_up(c, i, t);
	else
		sift_down(c, i, t);
}

static void heap_remove(struct vm_timer *t)
{
	struct clock *c = t->clock;
	int i = t->heap_index;
	struct vm_timer *last = c->heap[--c->n];

	t->heap_index = -1;
	if (last != t)
		heap_place(c, i, last);
}

void vm_timer_init(struct vm_timer *t, struct clock *c, vm_timer_fn *fn, void *ctx)
{
	*t = (struct vm_timer){ .clock = c, .fn = fn, .ctx = ctx, .deadline_ns = UINT64_MAX,
				.heap_index = -1 };
}

void vm_timer_set(struct vm_timer *t, u64 deadline_ns)
{
	struct clock *c = t->clock;
	const struct vm_timer *first = c->n ? c->heap[0] : NULL;
	u64 was = first ? first->deadline_ns : UINT64_MAX;

	if (deadline_ns == UINT64_MAX) {	/* never */
		vm_timer_del(t);
		return;
	}
	t->deadline_ns = deadline_ns;
	if (t->heap_index >= 0) {
		heap_place(c, t->heap_index, t);
	} else {
		if (c->n == c->room) {
			int room = c->room ? c->room * 2 : 16;

			c->heap = realloc(c->heap, (size_t)room * sizeof(struct vm_timer *));
			BUG_ON(!c->heap);
			c->room = room;
		}
		sift_up(c, c->n++, t);
	}
	if (c->heap[0]->deadline_ns != was)
		program(c);
}

void vm_timer_del(struct vm_timer *t)
{
	bool first = t->heap_index == 0;

	t->deadline_ns = UINT64_MAX;
	if (t->heap_index < 0)
		return;
	heap_remove(t);
	if (first)
		program(t->clock);
}

/* The loop's deadline has come. A callback may arm its timer in the past again: the round is
 * bounded, and what is left makes the loop come back after it has looked at its other events. */
static void clock_expire(void *ctx)
{
	struct clock *c = ctx;
	int bound = c->n + 8;

	if (!clock_running(c))
		return;
	u64 now = clock_now(c);
	while (c->n && c->heap[0]->deadline_ns <= now && bound-- > 0) {
		struct vm_timer *t = c->heap[0];

		heap_remove(t);
		t->deadline_ns = UINT64_MAX;
		t->fn(t->ctx);
	}
	program(c);
}

struct clock *clock_new(struct loop *l, u64 tsc_khz)
{
	struct clock *c = calloc(1, sizeof(*c));

	BUG_ON(tsc_khz == 0);
	if (!c)
		return NULL;
	c->loop = l;
	c->tsc_khz = tsc_khz;
	if (l)
		loop_on_deadline(l, clock_expire, c);
	return c;
}

void clock_free(struct clock *c)
{
	if (!c)
		return;
	if (c->loop) {
		loop_set_deadline(c->loop, UINT64_MAX);
		loop_on_deadline(c->loop, NULL, NULL);
	}
	free(c->heap);
	free(c);
}
