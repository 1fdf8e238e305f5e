/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine's life with an engine that executes nothing: it spins or halts and counts what it is
 * asked. Parking and waking in storms, reset, power-off, crashes, two machines at once. */
#include "unit.h"
#include "vm/machine.h"
#include <errno.h>
#include <unistd.h>

struct fake {			/* vcpu->engine */
	_Atomic u64 runs, irqs, kicks;
	_Atomic bool inside;
	_Atomic int next_exit;	/* enum vcpu_exit to return once; -1: none */
	struct cpu_state state;
};
struct fake_machine { _Atomic bool spin; _Atomic unsigned memory_changed; };

static int fk_init(struct machine *m, struct err *e)
{
	m->engine = calloc(1, sizeof(struct fake_machine));
	return 0;
}
static void fk_free(struct machine *m) { free(m->engine); }
static int fk_vcpu_init(struct vcpu *v, struct err *e)
{
	struct fake *f = calloc(1, sizeof(*f));

	f->next_exit = -1;
	v->engine = f;
	return 0;
}
static void fk_vcpu_free(struct vcpu *v) { free(v->engine); }
static void fk_kick(struct vcpu *v)
{
	struct fake *f = v->engine;

	f->kicks++;
}
static enum vcpu_exit fk_run(struct vcpu *v)
{
	struct fake *f = v->engine;
	struct fake_machine *fm = v->m->engine;

	f->runs++;
	f->inside = true;
	for (;;) {
		u32 req = atomic_load(&v->requests);
		int x;

		if (req & VCPU_REQ_STOP)
			break;
		x = atomic_exchange(&f->next_exit, -1);
		if (x >= 0) {
			f->inside = false;
			return (enum vcpu_exit)x;
		}
		if (req & VCPU_REQ_IRQ) {
			atomic_fetch_and(&v->requests, ~(u32)VCPU_REQ_IRQ);
			f->irqs++;
		} else if (req) {
			atomic_fetch_and(&v->requests, ~(req & ~(u32)VCPU_REQ_STOP));
		} else if (!fm->spin) {
			vcpu_wait(v, false);
		}
	}
	f->inside = false;
	return VCPU_EXIT_STOP;
}
static int fk_get(struct vcpu *v, struct cpu_state *s, struct err *e)
{
	assert_false(((struct fake *)v->engine)->inside);
	*s = ((struct fake *)v->engine)->state;
	return 0;
}
static int fk_set(struct vcpu *v, const struct cpu_state *s, struct err *e)
{
	assert_false(((struct fake *)v->engine)->inside);
	((struct fake *)v->engine)->state = *s;
	return 0;
}
static int fk_translate(struct vcpu *v, u64 la, u64 *gpa)
{
	*gpa = la & 0xfffff;
	return 0;
}
static const struct engine_ops fake_engine = {
	.name = "fake", .init = fk_init, .free = fk_free, .vcpu_init = fk_vcpu_init,
	.vcpu_free = fk_vcpu_free, .run = fk_run, .kick = fk_kick, .get_state = fk_get,
	.set_state = fk_set, .translate = fk_translate,
};

static struct fake *fake_of(struct machine *m, unsigned i) { return m->cpu[i]->engine; }

static struct machine *make(unsigned ncpus, const struct engine_ops *eng, enum on_crash how)
{
	const struct machine_config cfg = { .ram_size = MiB, .ncpus = ncpus, .engine = eng,
					    .on_crash = how };
	struct machine *m = NULL;
	struct err e = { 0 };

	assert_int_equal(machine_new(&m, &cfg, &e), 0);
	return m;
}

static void start(struct machine *m)
{
	struct err e = { 0 };

	assert_int_equal(machine_start(m, &e), 0);
}

static void bad_config(void **st)
{
	struct machine_config cfg = { .ram_size = MiB };
	struct machine *m = NULL;
	struct err e = { 0 };

	assert_int_equal(machine_new(&m, &cfg, &e), -EINVAL);
	cfg.ncpus = 10000;
	assert_int_equal(machine_new(&m, &cfg, &e), -EINVAL);
	cfg.ncpus = 1;
	cfg.ram_size = 10240 * GiB;
	assert_int_equal(machine_new(&m, &cfg, &e), -EINVAL);
	assert_null(m);
	machine_free(NULL);
}

/* --- devices --- */

struct dev { _Atomic u64 resets; unsigned *frees; };
static void dev_reset(void *d) { ((struct dev *)d)->resets++; }
static void dev_free(void *d)
{
	if (d)
		++*((struct dev *)d)->frees;
	free(d);
}
static const struct state_field dev_state[] = { STATE_END };
static const struct device_class dev_class = { .name = "dev", .version = 1, .state = dev_state,
					       .reset = dev_reset, .free = dev_free };

static struct dev *add_dev(struct machine *m, const char *path, unsigned *frees, int want)
{
	struct dev *d = calloc(1, sizeof(*d));
	struct err e = { 0 };

	d->frees = frees;
	assert_int_equal(machine_add_device(m, &dev_class, d, path, &e), want);
	return d;
}

static void no_engine(void **st)
{
	struct machine *m = make(2, NULL, ON_CRASH_EXIT);
	unsigned frees = 0;
	struct dev *d = add_dev(m, "a", &frees, 0);

	add_dev(m, "a", &frees, -EEXIST);
	assert_int_equal(frees, 1);
	add_dev(m, "b", &frees, 0);
	vcpu_request(m->cpu[1], VCPU_REQ_IRQ);
	assert_int_equal(m->cpu[1]->requests, VCPU_REQ_IRQ);
	start(m);
	assert_int_equal(d->resets, 1);
	assert_true(clock_running(m->clock));
	machine_lock(m);
	machine_request_reset(m);
	machine_request_exit(m, 33);
	machine_request_exit(m, 44);
	machine_unlock(m);
	assert_int_equal(machine_run(m), MACHINE_OFF);
	assert_int_equal(m->exit_code, 33);
	assert_false(clock_running(m->clock));
	machine_free(m);
	assert_int_equal(frees, 3);
}

static void never_started(void **st)
{
	machine_free(make(4, &fake_engine, ON_CRASH_EXIT));
}

/* --- storms --- */

static void wait_for(_Atomic u64 *n, u64 want)
{
	for (unsigned i = 0; *n < want; i++) {
		if (i >= 20000)
			fail_msg("still %llu of %llu", (unsigned long long)*n,
				 (unsigned long long)want);
		usleep(500);
	}
}

static void *irq_storm(void *p)
{
	struct machine *m = p;

	for (unsigned i = 0; i < 20000; i++)
		vcpu_request(m->cpu[i % m->ncpus], VCPU_REQ_IRQ);
	return NULL;
}

/* Each request that finds the vCPU asleep wakes it: one at a time, waiting for the answer. */
static void no_lost_wakeups(void **st)
{
	struct machine *m = make(1, &fake_engine, ON_CRASH_EXIT);
	struct fake *f = fake_of(m, 0);

	start(m);
	for (u64 i = 1; i <= 5000; i++) {
		vcpu_request(m->cpu[0], VCPU_REQ_IRQ);
		for (unsigned k = 0; f->irqs < i; k++)
			if (k > 200)
				wait_for(&f->irqs, i);
	}
	assert_int_equal(f->irqs, 5000);
	machine_free(m);
}

static void pause_storm(void **st)
{
	struct machine *m = make(4, &fake_engine, ON_CRASH_EXIT);
	pthread_t t[2];

	start(m);
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, irq_storm, m);
	for (unsigned i = 0; i < 500; i++) {
		u64 now;

		machine_pause(m);
		for (unsigned k = 0; k < 4; k++)
			assert_false(fake_of(m, k)->inside);
		now = clock_now(m->clock);
		assert_int_equal(m->status, MACHINE_PAUSED);
		assert_int_equal(clock_now(m->clock), now);
		machine_resume(m);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	machine_free(m);
}

static void *pauser(void *p)
{
	struct machine *m = p;

	for (unsigned i = 0; i < 300; i++) {
		machine_pause(m);
		machine_resume(m);
		machine_hold(m);
		for (unsigned k = 0; k < m->ncpus; k++)
			assert_false(fake_of(m, k)->inside);
		machine_release(m);
	}
	return NULL;
}

struct resetter { struct machine *m; struct dev *d; };

static void *resetter(void *p)
{
	struct resetter *r = p;
	struct machine *m = r->m;

	for (unsigned i = 0; i < 300; i++) {
		machine_lock(m);
		machine_request_reset(m);
		machine_unlock(m);
		if (i % 8 == 0)
			usleep(200);
	}
	/* Requests merge until the loop comes to them: on a busy host, all of these. But none is lost. */
	wait_for(&r->d->resets, 2);
	machine_lock(m);
	machine_request_poweroff(m);
	machine_unlock(m);
	return NULL;
}

/* Pauses, resets, interrupts and at last the power button, all at once. */
static void everything_at_once(void **st)
{
	struct machine *m = make(3, &fake_engine, ON_CRASH_EXIT);
	struct fake_machine *fm = m->engine;
	unsigned frees = 0;
	struct dev *d = add_dev(m, "a", &frees, 0);
	struct resetter r = { m, d };
	pthread_t t[3];

	fm->spin = true;
	start(m);
	pthread_create(&t[0], NULL, pauser, m);
	pthread_create(&t[1], NULL, resetter, &r);
	pthread_create(&t[2], NULL, irq_storm, m);
	assert_int_equal(machine_run(m), MACHINE_OFF);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	assert_in_range(d->resets, 2, 301);
	assert_int_equal(m->status, MACHINE_OFF);
	for (unsigned i = 0; i < 3; i++)
		assert_false(fake_of(m, i)->inside);
	machine_free(m);
}

/* --- reset and crash --- */

static void on_reset(struct machine *m, void *ctx)
{
	struct cpu_state *s = malloc(sizeof(*s));
	struct err e = { 0 };

	m->cfg.engine->get_state(m->cpu[0], s, &e);
	assert_int_equal(s->rip, 0xfff0);
	s->rip = 0x7c00;
	m->cfg.engine->set_state(m->cpu[0], s, &e);
	free(s);
	if (++*(unsigned *)ctx == 2)
		machine_quit(m);
}

static void reset_state(void **st)
{
	struct machine *m = make(2, &fake_engine, ON_CRASH_EXIT);
	unsigned n = 0;

	m->on_reset = on_reset;
	m->on_reset_ctx = &n;
	start(m);
	assert_int_equal(n, 1);
	usleep(1000);
	machine_lock(m);
	machine_request_reset(m);
	machine_unlock(m);
	assert_int_equal(machine_run(m), MACHINE_RUNNING);
	machine_pause(m);
	assert_int_equal(fake_of(m, 0)->state.rip, 0x7c00);
	assert_int_equal(fake_of(m, 0)->state.activity, CPU_RUNNING);
	assert_int_equal(fake_of(m, 1)->state.activity, CPU_WAIT_SIPI);
	/* The TSC counts from the reset: 0 then. */
	assert_true(clock_tsc(m->clock) + fake_of(m, 1)->state.tsc_offset < 1000000000);
	machine_free(m);
}

static FILE *quiet(void)
{
	FILE *old = stderr;

	stderr = fopen("/dev/null", "w");
	return old;
}
static void loud(FILE *old)
{
	fclose(stderr);
	stderr = old;
}

static void crash(void **st)
{
	struct machine *m = make(2, &fake_engine, ON_CRASH_EXIT);
	FILE *old = quiet();

	fake_of(m, 1)->next_exit = VCPU_EXIT_SHUTDOWN;
	start(m);
	assert_int_equal(machine_run(m), MACHINE_CRASHED);
	assert_non_null(strstr(m->fatal.msg, "triple fault"));
	machine_free(m);

	m = make(1, &fake_engine, ON_CRASH_RESET);
	unsigned n = 0;

	m->on_reset = on_reset;
	m->on_reset_ctx = &n;
	fake_of(m, 0)->next_exit = VCPU_EXIT_SHUTDOWN;
	start(m);
	assert_int_equal(machine_run(m), MACHINE_RUNNING);
	assert_int_equal(n, 2);
	machine_free(m);

	m = make(1, &fake_engine, ON_CRASH_RESET);	/* a fatal error is no guest's crash */
	fake_of(m, 0)->next_exit = VCPU_EXIT_ERROR;
	start(m);
	assert_int_equal(machine_run(m), MACHINE_CRASHED);
	machine_free(m);
	loud(old);
}

static void on_status(struct machine *m, void *ctx)
{
	if (m->status == MACHINE_PAUSED)
		machine_quit(m);
}

static void crash_pauses(void **st)
{
	struct machine *m = make(2, &fake_engine, ON_CRASH_PAUSE);
	FILE *old = quiet();

	m->on_status = on_status;
	fake_of(m, 0)->next_exit = VCPU_EXIT_SHUTDOWN;
	start(m);
	assert_int_equal(machine_run(m), MACHINE_PAUSED);
	loud(old);
	assert_false(clock_running(m->clock));
	for (unsigned i = 0; i < 2; i++)
		assert_false(fake_of(m, i)->inside);
	machine_resume(m);
	machine_pause(m);
	machine_free(m);
}

static void on_debug(struct vcpu *v, void *ctx)
{
	++*(_Atomic u64 *)ctx;
}

/* After a debug exit the vCPU stays out of the engine until the machine is resumed. */
static void debug_exit(void **st)
{
	struct machine *m = make(1, &fake_engine, ON_CRASH_EXIT);
	struct fake *f = fake_of(m, 0);
	_Atomic u64 n = 0;

	m->on_debug = on_debug;
	m->on_debug_ctx = &n;
	f->next_exit = VCPU_EXIT_DEBUG;
	start(m);
	wait_for(&n, 1);
	machine_pause(m);
	assert_int_equal(f->runs, 1);
	machine_resume(m);
	wait_for(&f->runs, 2);
	machine_free(m);
}

static void dump(void **st)
{
	struct machine *m = make(1, &fake_engine, ON_CRASH_EXIT);
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	start(m);
	machine_pause(m);
	vcpu_dump(m->cpu[0], f);
	fclose(f);
	assert_non_null(strstr(text, "rip 000000000000fff0"));
	assert_non_null(strstr(text, "cs f000 base 00000000ffff0000"));
	free(text);
	machine_free(m);
}

/* Two machines in one process, each with its own time, memory, lock. */
static void *run(void *p)
{
	return (void *)(uintptr_t)machine_run(p);
}

static void two_machines(void **st)
{
	struct machine *a = make(2, &fake_engine, ON_CRASH_EXIT);
	struct machine *b = make(2, &fake_engine, ON_CRASH_EXIT);
	u32 v = 0x12345678, w = 0;
	pthread_t t[2];

	start(a);
	start(b);
	pthread_create(&t[0], NULL, run, a);
	pthread_create(&t[1], NULL, run, b);
	machine_pause(a);
	u64 ta = clock_now(a->clock), tb = clock_now(b->clock);

	usleep(1000);
	assert_int_equal(clock_now(a->clock), ta);
	assert_true(clock_now(b->clock) > tb);
	assert_true(ram_write(a->ram, 0, &v, 4));
	assert_true(ram_read(b->ram, 0, &w, 4));
	assert_int_equal(w, 0);
	vcpu_request(b->cpu[1], VCPU_REQ_IRQ);
	wait_for(&fake_of(b, 1)->irqs, 1);
	machine_lock(b);
	machine_request_poweroff(b);
	machine_unlock(b);
	pthread_join(t[1], NULL);
	assert_int_equal(b->status, MACHINE_OFF);
	assert_int_equal(a->status, MACHINE_PAUSED);
	machine_free(b);
	machine_resume(a);
	assert_int_equal(a->status, MACHINE_RUNNING);
	machine_quit(a);
	pthread_join(t[0], NULL);
	machine_free(a);
}

/* While state is taken nobody else lets the machine go on. */
static void held(void **state)
{
	const struct machine_config cfg = { .ram_size = 2 * MiB, .ncpus = 1 };
	struct machine *m;
	struct err e = { 0 };

	assert_int_equal(machine_new(&m, &cfg, &e), 0);
	assert_int_equal(machine_start(m, &e), 0);
	machine_still(m);
	assert_int_equal(m->status, MACHINE_PAUSED);
	machine_resume(m);
	assert_int_equal(m->status, MACHINE_PAUSED);
	machine_unstill(m, false);
	assert_int_equal(m->status, MACHINE_PAUSED);
	machine_resume(m);
	assert_int_equal(m->status, MACHINE_RUNNING);
	machine_still(m);
	machine_unstill(m, true);
	assert_int_equal(m->status, MACHINE_RUNNING);
	machine_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_config), cmocka_unit_test(no_engine),
		cmocka_unit_test(never_started), cmocka_unit_test(held), cmocka_unit_test(no_lost_wakeups),
		cmocka_unit_test(pause_storm), cmocka_unit_test(everything_at_once),
		cmocka_unit_test(reset_state), cmocka_unit_test(crash),
		cmocka_unit_test(crash_pauses), cmocka_unit_test(debug_exit), cmocka_unit_test(dump),
		cmocka_unit_test(two_machines),
	};

	return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
