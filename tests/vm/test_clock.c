/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest time: it stands while stopped, never runs backwards; timers in order; TSC arithmetic. */
#include "unit.h"
#include "base/loop.h"
#include "vm/clock.h"
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000ull
#define NTIMERS 300

struct ctx {
	struct loop *l;
	struct clock *c;
	pthread_mutex_t lock;
	struct vm_timer t[NTIMERS];
	u64 last, fired[NTIMERS];
	int n, want;
	_Atomic bool stop;
};

static int setup(void **st)
{
	struct ctx *x = calloc(1, sizeof(*x));
	struct err e = { 0 };

	pthread_mutex_init(&x->lock, NULL);
	if (loop_new(&x->l, &x->lock, &e) < 0)
		return -1;
	x->c = clock_new(x->l, 1000000);
	*st = x;
	return 0;
}

static int teardown(void **st)
{
	struct ctx *x = *st;

	clock_free(x->c);
	loop_free(x->l);
	pthread_mutex_destroy(&x->lock);
	free(x);
	return 0;
}

static void stands(void **st)
{
	struct ctx *x = *st;
	u64 a;

	assert_int_equal(clock_now(x->c), 0);
	usleep(2000);
	assert_int_equal(clock_now(x->c), 0);
	clock_set(x->c, 500);
	assert_int_equal(clock_now(x->c), 500);
	clock_start(x->c);
	clock_start(x->c);
	usleep(2000);
	clock_stop(x->c);
	a = clock_now(x->c);
	assert_true(a >= 500 + 2 * MS);
	usleep(2000);
	assert_int_equal(clock_now(x->c), a);
	clock_stop(x->c);
	assert_int_equal(clock_now(x->c), a);
	clock_start(x->c);
	assert_true(clock_now(x->c) - a < 1000 * MS);
}

static struct shot { struct ctx *x; unsigned i; } shots[NTIMERS];
static void on_shot(void *p)
{
	struct shot *s = p;
	u64 now = clock_now(s->x->c);

	assert_false(vm_timer_armed(&s->x->t[s->i]));
	s->x->fired[s->x->n++] = s->i;
	s->x->last = now;
	if (s->x->n == s->x->want)
		loop_quit(s->x->l);
}

/* Random deadlines, some moved, some deleted: the rest goes off in order and never early. */
static void in_order(void **st)
{
	struct ctx *x = *st;
	u64 at[NTIMERS];
	unsigned gone = 0;

	srand(1);
	for (unsigned i = 0; i < NTIMERS; i++) {
		shots[i] = (struct shot){ x, i };
		vm_timer_init(&x->t[i], x->c, on_shot, &shots[i]);
		vm_timer_set(&x->t[i], (u64)rand() % (20 * MS));
	}
	for (unsigned i = 0; i < NTIMERS; i++) {
		at[i] = (u64)rand() % (20 * MS);
		vm_timer_set(&x->t[i], at[i]);
		if (i % 7 == 0) {
			vm_timer_del(&x->t[i]);
			vm_timer_del(&x->t[i]);
			gone++;
		}
	}
	x->want = (int)(NTIMERS - gone);
	clock_start(x->c);
	loop_run(x->l);
	assert_true(x->last >= at[x->fired[x->n - 1]]);
	for (int i = 1; i < x->n; i++)
		assert_true(at[x->fired[i - 1]] <= at[x->fired[i]]);
	for (int i = 0; i < x->n; i++)
		assert_int_not_equal(x->fired[i] % 7, 0);
}

/* A stopped clock holds its timers; what is in the past when it goes on fires at once. */
static void pausing(void **st)
{
	struct ctx *x = *st;

	shots[0] = (struct shot){ x, 0 };
	vm_timer_init(&x->t[0], x->c, on_shot, &shots[0]);
	vm_timer_set(&x->t[0], 5 * MS);
	x->want = 1;
	clock_start(x->c);
	clock_stop(x->c);
	usleep(10000);
	assert_true(clock_now(x->c) < 5 * MS);
	clock_start(x->c);
	loop_run(x->l);
	assert_int_equal(x->n, 1);
	assert_true(x->last >= 5 * MS);
	vm_timer_set(&x->t[0], 1);	/* long past */
	x->want = 2;
	loop_run(x->l);
	assert_int_equal(x->n, 2);
	vm_timer_set(&x->t[0], UINT64_MAX);
	assert_false(vm_timer_armed(&x->t[0]));
}

static void quit(void *p) { loop_quit(((struct ctx *)p)->l); }
static void again(void *p)
{
	struct ctx *x = p;

	if (++x->n == 100)
		loop_post(x->l, quit, x);
	vm_timer_set(&x->t[0], 0);
}

/* A timer that is always in the past does not starve the loop. */
static void starving(void **st)
{
	struct ctx *x = *st;

	vm_timer_init(&x->t[0], x->c, again, x);
	vm_timer_set(&x->t[0], 0);
	clock_start(x->c);
	loop_run(x->l);
	assert_in_range(x->n, 100, 1000);
}

static void *reader(void *p)
{
	struct ctx *x = p;
	u64 last = 0, bad = 0;

	while (!x->stop) {
		u64 now = clock_now(x->c);

		bad += now < last;
		last = now;
	}
	return (void *)bad;
}

static void monotonic(void **st)
{
	struct ctx *x = *st;
	pthread_t t[2];
	void *bad;

	for (unsigned i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, reader, x);
	for (unsigned i = 0; i < 20000; i++) {
		clock_start(x->c);
		if (i % 64 == 0)
			usleep(1);
		clock_stop(x->c);
	}
	x->stop = true;
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
}

static void tsc(void **st)
{
	static const u64 khz[] = { 1, 999, 1000000, 2794748, 5000000 };

	for (unsigned k = 0; k < ARRAY_SIZE(khz); k++) {
		struct clock *c = clock_new(NULL, khz[k]);

		for (u64 v = 0; v < 70; v++) {
			u64 t = v < 64 ? BIT(v) - (v & 1) : UINT64_MAX - v;
			u64 ns = clock_ns_of_tsc(c, t);

			if (ns == UINT64_MAX)
				continue;
			/* The first nanosecond at which the count is there: not one earlier. The
			 * count itself is exact (it may pass 2^64 where ns is rounded up). */
			assert_true((u128)ns * khz[k] / 1000000 >= t);
			if (ns)
				assert_true((u128)(ns - 1) * khz[k] / 1000000 < t);
			assert_int_equal(clock_tsc_of_ns(c, ns),
					 (u64)((u128)ns * khz[k] / 1000000));
		}
		assert_int_equal(clock_tsc_khz(c), khz[k]);
		clock_free(c);
	}
	struct clock *slow = clock_new(NULL, 1);

	assert_int_equal(clock_ns_of_tsc(slow, UINT64_MAX), UINT64_MAX);
	clock_free(slow);
}

static void wall(void **st)
{
	struct ctx *x = *st;
	struct timespec ts;
	s64 d;

	clock_set(x->c, 7000);
	clock_gettime(CLOCK_REALTIME, &ts);
	d = clock_wall_offset(x->c) + 7000 - (s64)ts.tv_sec * 1000000000 - ts.tv_nsec;
	assert_in_range(d, 0, 1000 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(stands, setup, teardown),
		cmocka_unit_test_setup_teardown(in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(pausing, setup, teardown),
		cmocka_unit_test_setup_teardown(starving, setup, teardown),
		cmocka_unit_test_setup_teardown(monotonic, setup, teardown),
		cmocka_unit_test(tsc),
		cmocka_unit_test_setup_teardown(wall, setup, teardown),
	};

	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
