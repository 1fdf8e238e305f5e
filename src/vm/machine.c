/* SPDX-License-Identifier: GPL-2.0-or-later */
/* machine.c - a machine's life.
 *
 *	NEW --start--> RUNNING <--pause/resume--> PAUSED
 *	                  |                          ^
 *	     power off    |  triple fault, fatal     | on_crash=pause
 *	        OFF <-----+-----> CRASHED or reset --+
 *
 * Devices and vCPUs only ask for a reset, a power-off, ... (machine_request_x): what was asked is
 * done on the event loop with all vCPUs parked, because nobody else may wait for a vCPU: one that
 * holds the machine lock would wait for itself.
 *
 * Locks: life before lock. vCPUs stop and start, and the status changes, only under life. */
#include "vm/machine.h"
#include "base/trace.h"	// log_msg
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The soft engine's TSC: what it counts in is an arbitrary choice, and 1 GHz makes TSC and
 * nanoseconds the same number. */
#define TSC_KHZ 1000000

enum machine_want { WANT_RESET = 1, WANT_OFF = 2, WANT_EXIT = 4, WANT_CRASH = 8 };

struct device_entry {
	struct device_entry *next;
	const struct device_class *cls;
	void *dev;
	char path[];
};

int machine_new(struct machine **out, const struct machine_config *cfg, struct err *e)
{
	struct machine *m;
	int r;

	if (cfg->ncpus < 1 || cfg->ncpus > MACHINE_CPUS_MAX)
		return err_set(e, EINVAL, "%u CPUs; a machine has 1 to %u", cfg->ncpus,
			       MACHINE_CPUS_MAX);
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_set(e, ENOMEM, "machine: out of memory");
	m->cfg = *cfg;
	m->a20 = true;
	pthread_mutex_init(&m->lock, NULL);
	pthread_mutex_init(&m->life, NULL);
	r = loop_new(&m->loop, &m->lock, e);
	if (r < 0)
		goto fail;
	r = ram_new(&m->ram, cfg->ram_size, e);
	if (r < 0)
		goto fail;
	m->clock = clock_new(m->loop, TSC_KHZ);
	m->ports = bus_new("port", 0xffff);
	m->mmio = bus_new("mmio", UINT64_MAX);
	if (!m->clock || !m->ports || !m->mmio) {
		r = err_set(e, ENOMEM, "machine: out of memory");
		goto fail;
	}
	if (cfg->cpu_model) {
		r = cpuid_table_new(&m->cpuid, cfg->cpu_model, cfg->ncpus, TSC_KHZ, true, e);
		if (r < 0)
			goto fail;
	}
	if (cfg->engine) {
		r = cfg->engine->init(m, e);
		if (r < 0)
			goto fail;
	}
	for (; m->ncpus < cfg->ncpus; m->ncpus++) {
		r = vcpu_new(&m->cpu[m->ncpus], m, m->ncpus, e);
		if (r < 0)
			goto fail;
	}
	*out = m;
	return 0;
fail:
	machine_free(m);
	return r;
}

/* Later devices may lean on earlier ones: go backwards. */
static void free_devices(struct device_entry *d)
{
	if (!d)
		return;
	free_devices(d->next);
	d->cls->free(d->dev);
	free(d);
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	for (unsigned i = 0; i < m->ncpus; i++)
		vcpu_join(m->cpu[i]);
	if (m->clock)
		clock_stop(m->clock);
	free_devices(m->devices);
	for (unsigned i = 0; i < m->ncpus; i++)
		vcpu_free(m->cpu[i]);
	if (m->cfg.engine)
		m->cfg.engine->free(m);
	cpuid_table_free(m->cpuid);
	bus_free(m->mmio);
	bus_free(m->ports);
	clock_free(m->clock);
	ram_free(m->ram);
	loop_free(m->loop);
	pthread_mutex_destroy(&m->life);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

int machine_add_device(struct machine *m, const struct device_class *cls, void *dev,
		       const char *path, struct err *e)
{
	struct device_entry **at = &m->devices, *d;

	for (; *at; at = &(*at)->next)
		if (strcmp((*at)->path, path) == 0) {
			cls->free(dev);
			return err_set(e, EEXIST, "two devices named %s", path);
		}
	d = malloc(sizeof(*d) + strlen(path) + 1);
	if (!d) {
		cls->free(dev);
		return err_set(e, ENOMEM, "device %s: out of memory", path);
	}
	d->next = NULL;
	d->cls = cls;
	d->dev = dev;
	strcpy(d->path, path);
	*at = d;
	return 0;
}

int machine_each_device(struct machine *m, int (*fn)(void *ctx, const char *path,
			const struct device_class *cls, void *dev), void *ctx)
{
	for (struct device_entry *d = m->devices; d; d = d->next) {
		int r = fn(ctx, d->path, d->cls, d->dev);

		if (r)
			return r;
	}
	return 0;
}

static void set_status(struct machine *m, enum machine_status s)
{
	if (atomic_exchange(&m->status, (int)s) != (int)s && m->on_status)
		m->on_status(m, m->on_status_ctx);
}

/* --- stopping and starting vCPUs; life held, lock not --- */

static void park_all(struct machine *m)
{
	for (unsigned i = 0; i < m->ncpus; i++)
		vcpu_request(m->cpu[i], VCPU_REQ_STOP);
	for (unsigned i = 0; i < m->ncpus; i++)
		vcpu_wait_parked(m->cpu[i]);
}

static void unpark_all(struct machine *m)
{
	for (unsigned i = 0; i < m->ncpus; i++)
		vcpu_unpark(m->cpu[i]);
}

/* --- reset; life and lock held, all vCPUs parked --- */

static int reset_vcpu(struct vcpu *v, struct err *e)
{
	struct machine *m = v->m;
	struct cpu_state *s;
	int r;

	atomic_fetch_and(&v->requests, VCPU_REQ_STOP);
	if (!m->cfg.engine)
		return 0;
	s = malloc(sizeof(*s));
	if (!s)
		return err_set(e, ENOMEM, "reset: out of memory");
	cpu_state_reset(s);
	s->tsc_offset = -clock_tsc(m->clock);
	if (m->cpuid) {
		const struct cpuid_dyn d = { .apic_id = v->apic_id, .xcr0 = 1 };

		s->gpr[RDX] = cpuid_query(m->cpuid, 1, 0, &d).eax;
	}
	if (v->index != 0)
		s->activity = CPU_WAIT_SIPI;
	r = m->cfg.engine->set_state(v, s, e);
	free(s);
	return r;
}

static int reset_all(struct machine *m, struct err *e)
{
	m->a20 = true;
	for (struct device_entry *d = m->devices; d; d = d->next)
		if (d->cls->reset)
			d->cls->reset(d->dev);
	for (unsigned i = 0; i < m->ncpus; i++) {
		int r = reset_vcpu(m->cpu[i], e);

		if (r < 0)
			return r;
	}
	if (m->on_reset)
		m->on_reset(m, m->on_reset_ctx);
	return 0;
}

/* --- what was asked for, done on the loop --- */

static void end(struct machine *m, enum machine_status s)
{
	clock_stop(m->clock);
	set_status(m, s);
	loop_quit(m->loop);
}

/* A triple fault or an engine that cannot go on: say so, show where, do as on_crash says. */
static void crashed(struct machine *m, bool *run)
{
	struct vcpu *v = m->crash_vcpu;

	if (v)
		log_msg(LOG_ERROR, "vcpu %u: %s", v->index, m->crash_why);
	else
		log_msg(LOG_ERROR, "machine: %s", m->crash_why);
	if (v && m->cfg.engine)
		vcpu_dump(v, stderr);
	*run = false;
	if (m->fatal.code || m->cfg.on_crash == ON_CRASH_EXIT) {
		if (!m->fatal.code)
			err_set(&m->fatal, EFAULT, "%s", m->crash_why);
		end(m, MACHINE_CRASHED);
	} else if (m->cfg.on_crash == ON_CRASH_PAUSE) {
		clock_stop(m->clock);
		set_status(m, MACHINE_PAUSED);
	} else {
		m->pending |= WANT_RESET;
		*run = true;
	}
}

static void do_reset(struct machine *m, bool *run)
{
	struct err e = { 0 };

	if (reset_all(m, &e) < 0) {
		m->fatal = e;
		log_msg(LOG_ERROR, "reset: %s", e.msg);
		*run = false;
		end(m, MACHINE_CRASHED);
	}
}

/* Comes and goes with the lock held, as all callbacks of the loop. */
static void machine_act(void *ctx)
{
	struct machine *m = ctx;
	u32 want;
	bool run;

	machine_unlock(m);
	pthread_mutex_lock(&m->life);
	park_all(m);
	machine_lock(m);
	want = m->pending;
	m->pending = 0;
	run = m->status == MACHINE_RUNNING;
	if (m->status == MACHINE_RUNNING || m->status == MACHINE_PAUSED) {
		if (want & (WANT_OFF | WANT_EXIT)) {
			run = false;
			end(m, MACHINE_OFF);
		} else {
			if (want & WANT_CRASH)
				crashed(m, &run);
			if ((want | m->pending) & WANT_RESET && m->status != MACHINE_CRASHED)
				do_reset(m, &run);
			m->pending = 0;
		}
	}
	m->crash_vcpu = NULL;
	if (run)
		unpark_all(m);
	pthread_mutex_unlock(&m->life);	/* with lock held: unlocking has no order */
}

/* The vCPUs are told to stop at once, so that the one that asks executes nothing more. */
static void want(struct machine *m, u32 what)
{
	u32 old = m->pending;

	m->pending |= what;
	if (old)
		return;
	for (unsigned i = 0; i < m->ncpus; i++)
		vcpu_request(m->cpu[i], VCPU_REQ_STOP);
	loop_post(m->loop, machine_act, m);
}

void machine_request_reset(struct machine *m)
{
	want(m, WANT_RESET);
}

void machine_request_poweroff(struct machine *m)
{
	want(m, WANT_OFF);
}

void machine_request_exit(struct machine *m, int exit_code)
{
	if (!(m->pending & WANT_EXIT))
		m->exit_code = exit_code;
	want(m, WANT_EXIT);
}

void machine_report_crash(struct machine *m, struct vcpu *v, const char *why)
{
	if (!(m->pending & WANT_CRASH)) {
		m->crash_vcpu = v;
		snprintf(m->crash_why, sizeof(m->crash_why), "%s",
			 why ? why : m->fatal.code ? m->fatal.msg : "the engine cannot go on");
		if (!why && !m->fatal.code)
			err_set(&m->fatal, EIO, "%s", m->crash_why);
	}
	want(m, WANT_CRASH);
}

/* --- start, run, pause --- */

/* Lock held, the clock running. */
static void tell_resumed(struct machine *m)
{
	for (struct device_entry *d = m->devices; d; d = d->next)
		if (d->cls->resumed)
			d->cls->resumed(d->dev, m->restored);
	m->restored = false;
}

static int start(struct machine *m, bool paused, bool restored, struct err *e)
{
	int r = 0;

	pthread_mutex_lock(&m->life);
	machine_lock(m);
	BUG_ON(m->status != MACHINE_NEW);
	m->restored = restored;
	if (!restored)
		r = reset_all(m, e);
	for (unsigned i = 0; r == 0 && paused && i < m->ncpus; i++)
		vcpu_request(m->cpu[i], VCPU_REQ_STOP);
	if (r == 0) {
		if (!paused)
			clock_start(m->clock);
		if (!paused && restored)
			tell_resumed(m);
		set_status(m, paused ? MACHINE_PAUSED : MACHINE_RUNNING);
	}
	machine_unlock(m);
	for (unsigned i = 0; r == 0 && m->cfg.engine && i < m->ncpus; i++)
		r = vcpu_start_thread(m->cpu[i], e);
	pthread_mutex_unlock(&m->life);
	return r;
}

int machine_start(struct machine *m, struct err *e)
{
	return start(m, false, false, e);
}

int machine_start_paused(struct machine *m, struct err *e)
{
	return start(m, true, false, e);
}

int machine_start_restored(struct machine *m, bool paused, struct err *e)
{
	return start(m, paused, true, e);
}

enum machine_status machine_run(struct machine *m)
{
	if (m->status != MACHINE_OFF && m->status != MACHINE_CRASHED)
		loop_run(m->loop);
	return (enum machine_status)atomic_load(&m->status);
}

void machine_quit(struct machine *m)
{
	loop_quit(m->loop);
}

/* life held */
static void pause_now(struct machine *m)
{
	if (m->status == MACHINE_RUNNING) {
		park_all(m);
		machine_lock(m);
		clock_stop(m->clock);
		set_status(m, MACHINE_PAUSED);
		machine_unlock(m);
	}
}

void machine_pause(struct machine *m)
{
	pthread_mutex_lock(&m->life);
	pause_now(m);
	pthread_mutex_unlock(&m->life);
}

void machine_still(struct machine *m)
{
	pthread_mutex_lock(&m->life);
	atomic_store(&m->held, true);
	pause_now(m);
	pthread_mutex_unlock(&m->life);
}

void machine_unstill(struct machine *m, bool resume)
{
	pthread_mutex_lock(&m->life);
	atomic_store(&m->held, false);
	pthread_mutex_unlock(&m->life);
	if (resume)
		machine_resume(m);
}

void machine_resume(struct machine *m)
{
	pthread_mutex_lock(&m->life);
	if (m->status == MACHINE_PAUSED && !m->held) {
		machine_lock(m);
		set_status(m, MACHINE_RUNNING);
		clock_start(m->clock);
		tell_resumed(m);
		unpark_all(m);	/* under lock: a stop that want() asks for now must stay */
		machine_unlock(m);
	}
	pthread_mutex_unlock(&m->life);
}

void machine_hold(struct machine *m)
{
	pthread_mutex_lock(&m->life);
	park_all(m);
	machine_lock(m);
}

void machine_release(struct machine *m)
{
	if (m->status == MACHINE_RUNNING && !m->pending)	/* else machine_act() comes, and decides */
		unpark_all(m);
	machine_unlock(m);
	pthread_mutex_unlock(&m->life);
}

int machine_quiesce(struct machine *m, struct err *e)
{
	int r = 0;

	machine_lock(m);
	if (m->pending)
		machine_act(m);
	if (m->status != MACHINE_PAUSED)
		r = err_set(e, ESHUTDOWN, "the machine is not paused");
	for (struct device_entry *d = m->devices; d && !r; d = d->next)
		if (d->cls->quiesce)
			d->cls->quiesce(d->dev);
	machine_unlock(m);
	return r;
}
