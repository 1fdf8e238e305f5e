/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fallback.c - one instruction at a time for other engines: an interpreter's vCPU beside theirs,
 * filled from the neutral state and emptied into it. It keeps no decoded code and believes no
 * translation from one step to the next. */
#include "engine/soft/fallback.h"
#include "engine/soft/soft.h"
#include <errno.h>
#include <stdlib.h>

struct soft_fallback {
	struct soft *engine;
	struct cpu *cpu;
};

int soft_fallback_new(struct soft_fallback **out, struct vcpu *v, struct err *e)
{
	struct soft_fallback *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return err_set(e, ENOMEM, "fallback interpreter: out of memory");
	r = soft_engine_new(&f->engine, v->m, e);
	if (r == 0)
		r = soft_cpu_new(&f->cpu, f->engine, v, e);
	if (r < 0) {
		soft_fallback_free(f);
		return r;
	}
	*out = f;
	return 0;
}

void soft_fallback_free(struct soft_fallback *f)
{
	if (!f)
		return;
	soft_cpu_free(f->cpu);
	soft_engine_free(f->engine);
	free(f);
}

int soft_fallback_step(struct soft_fallback *f, struct cpu_state *s, struct err *e)
{
	struct cpu *c = f->cpu;

	soft_load(c, s);
	run_one(c);
	soft_save(c, s);
	if (s->activity == CPU_SHUTDOWN)
		return err_set(e, EFAULT, "triple fault");
	return 0;
}
