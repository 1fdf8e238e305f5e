/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vcpu.c - a vCPU's thread: in the engine, waiting in HLT, or parked.
 *
 *	         run()                     vcpu_wait()
 *	parked ---------> in the engine <--------------> halted
 *	   ^  unpark           |   any request
 *	   +-------------------+
 *	      VCPU_REQ_STOP
 *
 * No wake-up is lost between vcpu_request() and vcpu_wait(): the one sets a bit and then looks at
 * `halted`, the other sets `halted` and then looks at the bits, both sequentially consistent, so
 * at least one sees the other. The mutex closes the gap between looking and sleeping. */
#include "vm/machine.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int vcpu_new(struct vcpu **out, struct machine *m, unsigned index, struct err *e)
{
	struct vcpu *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return err_set(e, ENOMEM, "vcpu %u: out of memory", index);
	v->m = m;
	v->index = index;
	v->apic_id = index;
	v->parked = true;
	pthread_mutex_init(&v->park_lock, NULL);
	pthread_cond_init(&v->park, NULL);
	if (m->cfg.engine) {
		r = m->cfg.engine->vcpu_init(v, e);
		if (r < 0) {
			vcpu_free(v);
			return r;
		}
	}
	*out = v;
	return 0;
}

void vcpu_free(struct vcpu *v)
{
	if (!v)
		return;
	vcpu_join(v);
	if (v->m->cfg.engine)
		v->m->cfg.engine->vcpu_free(v);
	pthread_cond_destroy(&v->park);
	pthread_mutex_destroy(&v->park_lock);
	free(v);
}

/* Rest while VCPU_REQ_STOP is set. False: the thread is to end. */
static bool park(struct vcpu *v)
{
	bool go;

	pthread_mutex_lock(&v->park_lock);
	while (!v->quit && (atomic_load(&v->requests) & VCPU_REQ_STOP)) {
		if (!v->parked) {
			v->parked = true;
			pthread_cond_broadcast(&v->park);
		}
		pthread_cond_wait(&v->park, &v->park_lock);
	}
	go = !v->quit;
	v->parked = !go;
	pthread_cond_broadcast(&v->park);
	pthread_mutex_unlock(&v->park_lock);
	return go;
}

/* What the machine does about an exit; the vCPU does not run on before that has happened. */
static void report(struct vcpu *v, const char *why)
{
	vcpu_request(v, VCPU_REQ_STOP);
	machine_lock(v->m);
	machine_report_crash(v->m, v, why);
	machine_unlock(v->m);
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;
	struct machine *m = v->m;

	if (m->cfg.engine->thread_start)
		m->cfg.engine->thread_start(v);
	atomic_store(&v->tid, gettid());
	sandbox_enter(m->cfg.sandbox, SANDBOX_VCPU);
	while (park(v)) {
		switch (m->cfg.engine->run(v)) {
		case VCPU_EXIT_STOP:
			break;
		case VCPU_EXIT_SHUTDOWN:
			report(v, "triple fault");
			break;
		case VCPU_EXIT_DEBUG:
			vcpu_request(v, VCPU_REQ_STOP);
			if (m->on_debug)
				m->on_debug(v, m->on_debug_ctx);
			break;
		case VCPU_EXIT_ERROR:
			report(v, NULL);
			break;
		}
	}
	return NULL;
}

int vcpu_start_thread(struct vcpu *v, struct err *e)
{
	char name[16] = "vcpu";
	int r;

	BUG_ON(v->thread_started);
	v->quit = false;
	r = pthread_create(&v->thread, NULL, vcpu_main, v);
	if (r)
		return err_set(e, r, "thread of vcpu %u: %s", v->index, strerror(r));
	v->thread_started = true;
	name[4] = (char)('0' + v->index / 10 % 10);
	name[5] = (char)('0' + v->index % 10);
	pthread_setname_np(v->thread, name);
	return 0;
}

static void wake(struct vcpu *v)
{
	pthread_mutex_lock(&v->park_lock);
	pthread_cond_broadcast(&v->park);
	pthread_mutex_unlock(&v->park_lock);
}

void vcpu_request(struct vcpu *v, u32 bits)
{
	atomic_fetch_or(&v->requests, bits);
	if (atomic_load(&v->halted))
		wake(v);
	if (v->m->cfg.engine)
		v->m->cfg.engine->kick(v);
}

/* Is there any vCPU that runs, or that an interrupt could wake? */
static bool all_deaf(const struct machine *m)
{
	for (unsigned i = 0; i < m->ncpus; i++)
		if (!atomic_load(&m->cpu[i]->deaf) || atomic_load(&m->cpu[i]->requests))
			return false;
	return true;
}

void vcpu_wait(struct vcpu *v, bool deaf)
{
	if (deaf) {
		atomic_store(&v->deaf, true);
		if (all_deaf(v->m))
			report(v, "every vCPU is halted with interrupts off");
	}
	pthread_mutex_lock(&v->park_lock);
	atomic_store(&v->halted, true);
	while (!atomic_load(&v->requests))
		pthread_cond_wait(&v->park, &v->park_lock);
	atomic_store(&v->halted, false);
	pthread_mutex_unlock(&v->park_lock);
	atomic_store(&v->deaf, false);
}

void vcpu_wait_parked(struct vcpu *v)
{
	pthread_mutex_lock(&v->park_lock);
	while (!v->parked)
		pthread_cond_wait(&v->park, &v->park_lock);
	pthread_mutex_unlock(&v->park_lock);
}

void vcpu_unpark(struct vcpu *v)
{
	atomic_fetch_and(&v->requests, ~(u32)VCPU_REQ_STOP);
	/* From here on it counts as running: who stops it next must wait for it to park anew. */
	pthread_mutex_lock(&v->park_lock);
	if (v->thread_started && !v->quit)
		v->parked = false;
	pthread_cond_broadcast(&v->park);
	pthread_mutex_unlock(&v->park_lock);
}

void vcpu_join(struct vcpu *v)
{
	if (!v->thread_started)
		return;
	pthread_mutex_lock(&v->park_lock);
	v->quit = true;
	pthread_mutex_unlock(&v->park_lock);
	vcpu_request(v, VCPU_REQ_STOP);
	wake(v);
	pthread_join(v->thread, NULL);
	v->thread_started = false;
	v->parked = true;
}
