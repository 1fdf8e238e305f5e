/* SPDX-License-Identifier: GPL-2.0-or-later */
/* soft.c - the soft engine as the machine sees it: make and free, run, kick, state in and out. */
#include "engine/soft/block.h"
#include "engine/soft/cpu.h"
#include "engine/soft/pv.h"
#include "engine/soft/mmu.h"
#include "engine/soft/native.h"
#include "engine/soft/soft.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DR6_FIXED 0xffff0ff0u
#define DR7_FIXED 0x400u

/* --- life --- */

void soft_engine_free(struct soft *s)
{
	if (!s)
		return;
	block_engine_free(s);
	free(s);
}

static void soft_free(struct machine *m)
{
	if (!m->engine)
		return;
	ram_on_code_write(m->ram, NULL, NULL);
	soft_engine_free(m->engine);
	m->engine = NULL;
}

int soft_engine_new(struct soft **out, struct machine *m, struct err *e)
{
	struct soft *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(e, ENOMEM, "soft engine: out of memory");
	s->m = m;
	r = block_engine_init(s, e);
	if (r < 0) {
		soft_engine_free(s);
		return r;
	}
	*out = s;
	return 0;
}

static int soft_init(struct machine *m, struct err *e)
{
	struct soft *s = NULL;
	int r = soft_engine_new(&s, m, e);

	if (r < 0)
		return r;
	m->engine = s;
	ram_on_code_write(m->ram, block_on_code_write, s);
	return 0;
}

void soft_cpu_free(struct cpu *c)
{
	if (!c)
		return;
	if (c->soft)
		atomic_store(&c->soft->cpu[c->v->index], NULL);
	native_free(c);
	debug_free(c);
	code_free(c);
	mmu_free(c);
	free(c);
}

int soft_cpu_new(struct cpu **out, struct soft *s, struct vcpu *v, struct err *e)
{
	struct cpu_state *st;
	struct cpu *c;
	int r;

	if (posix_memalign((void **)&c, 64, sizeof(*c)))
		return err_set(e, ENOMEM, "soft engine: out of memory for vCPU %u", v->index);
	memset(c, 0, sizeof(*c));
	c->v = v;
	c->m = v->m;
	c->soft = s;
	c->delivering = -1;
	c->a20_mask = UINT64_MAX;
	atomic_store(&c->outside, true);
	r = mmu_init(c);
	if (r == 0)
		r = debug_init(c);
	if (r < 0) {
		err_set(e, -r, "soft engine: vCPU %u: %s", v->index, strerror(-r));
		goto fail;
	}
	r = native_init(c, e);
	if (r == 0)
		r = code_init(c, e);
	if (r < 0)
		goto fail;
	st = malloc(sizeof(*st));
	if (!st) {
		r = err_set(e, ENOMEM, "soft engine: out of memory for vCPU %u", v->index);
		goto fail;
	}
	cpu_state_reset(st);
	soft_load(c, st);
	free(st);
	atomic_store(&s->cpu[v->index], c);
	*out = c;
	return 0;
fail:
	soft_cpu_free(c);
	return r;
}

static int soft_vcpu_init(struct vcpu *v, struct err *e)
{
	struct cpu *c = NULL;
	int r = soft_cpu_new(&c, v->m->engine, v, e);

	if (r == 0)
		v->engine = c;
	return r;
}

static void soft_vcpu_free(struct vcpu *v)
{
	soft_cpu_free(v->engine);
	v->engine = NULL;
}

static enum vcpu_exit soft_run(struct vcpu *v)
{
	struct cpu *c = cpu_of(v);

	if (block_engine_memory(c->soft) < 0) {
		err_set(&v->m->fatal, ENOMEM, "soft engine: out of memory for code pages");
		return VCPU_EXIT_ERROR;
	}
	pv_resume(c);
	return run_vcpu(c);
}

static void soft_kick(struct vcpu *v)
{
	struct cpu *c = cpu_of(v);

	if (c)
		atomic_store(&c->look, 1);
}

/* --- state --- */

/* The members that both structs call the same. */
#define COPY_SAME(to, from) do { \
	(to)->gdtr.base = (from)->gdtr.base; (to)->gdtr.limit = (from)->gdtr.limit; \
	(to)->idtr.base = (from)->idtr.base; (to)->idtr.limit = (from)->idtr.limit; \
	memcpy((to)->seg, (from)->seg, sizeof((to)->seg)); \
	memcpy((to)->dr, (from)->dr, sizeof((to)->dr)); \
	(to)->rip = (from)->rip; \
	(to)->cr0 = (from)->cr0; (to)->cr2 = (from)->cr2; (to)->cr3 = (from)->cr3; \
	(to)->cr4 = (from)->cr4; (to)->xcr0 = (from)->xcr0; (to)->efer = (from)->efer; \
	(to)->star = (from)->star; (to)->lstar = (from)->lstar; (to)->cstar = (from)->cstar; \
	(to)->sfmask = (from)->sfmask; (to)->kernel_gs_base = (from)->kernel_gs_base; \
	(to)->sysenter_cs = (from)->sysenter_cs; (to)->sysenter_esp = (from)->sysenter_esp; \
	(to)->sysenter_eip = (from)->sysenter_eip; \
	(to)->pat = (from)->pat; (to)->misc_enable = (from)->misc_enable; \
	(to)->tsc_aux = (from)->tsc_aux; (to)->xss = (from)->xss; \
	(to)->spec_ctrl = (from)->spec_ctrl; \
	(to)->mtrr_def = (from)->mtrr_def; \
	memcpy((to)->mtrr_fixed, (from)->mtrr_fixed, sizeof((to)->mtrr_fixed)); \
	memcpy((to)->mtrr_base, (from)->mtrr_base, sizeof((to)->mtrr_base)); \
	memcpy((to)->mtrr_mask, (from)->mtrr_mask, sizeof((to)->mtrr_mask)); \
	(to)->tsc_offset = (from)->tsc_offset; (to)->tsc_adjust = (from)->tsc_adjust; \
	(to)->kvm_system_time = (from)->kvm_system_time; \
	(to)->kvm_wall_clock = (from)->kvm_wall_clock; \
	(to)->kvm_steal_time = (from)->kvm_steal_time; \
	(to)->kvm_poll_control = (from)->kvm_poll_control; \
	(to)->kvm_async_pf = (from)->kvm_async_pf; \
	(to)->mcg_ctl = (from)->mcg_ctl; \
	_Static_assert(sizeof((to)->mc) == sizeof((from)->mc), "machine-check banks"); \
	memcpy((to)->mc, (from)->mc, sizeof((to)->mc)); \
	(to)->activity = (from)->activity; \
	(to)->nmi_blocked = (from)->nmi_blocked; (to)->nmi_pending = (from)->nmi_pending; \
} while (0)

/* The interrupt controller's CR8 is read and written without the lock: the vCPU is parked, and
 * callers hold it already (reset) or own the paused machine. */
void soft_save(struct cpu *c, struct cpu_state *s)
{
	struct vcpu *v = c->v;

	memset(s, 0, sizeof(*s));
	memcpy(s->gpr, c->r, sizeof(s->gpr));
	s->rflags = cpu_get_rflags(c);
	COPY_SAME(s, c);
	s->cr8 = v->intc_ops && v->intc_ops->get_tpr ? v->intc_ops->get_tpr(v->intc) : 0;
	s->smbase = c->smbase;
	xsave_get(c, s->xsave);
	s->sti_shadow = c->shadow == SHADOW_STI;
	s->movss_shadow = c->shadow == SHADOW_MOVSS;
	s->pv_kicked = atomic_load(&c->pv_kicked);
	s->db_pending = (u32)c->db_pending;
	s->event_pending = c->event.pending;
	s->event_has_error = c->event.has_error;
	s->event_soft = c->event.soft;
	s->event_vector = c->event.vector;
	s->event_error = c->event.error;
}

/* The APIC's deadline timer counts in the guest's TSC. Lock held, or the vCPU's state is being set
 * (see above). */
void soft_tsc_publish(struct cpu *c)
{
	struct vcpu *v = c->v;

	if (atomic_exchange(&v->tsc_offset, c->tsc_offset) != c->tsc_offset &&
	    v->intc_ops && v->intc_ops->tsc_changed)
		v->intc_ops->tsc_changed(v->intc);
}

void soft_load(struct cpu *c, const struct cpu_state *s)
{
	struct vcpu *v = c->v;

	memcpy(c->r, s->gpr, sizeof(s->gpr));
	c->r[REG_ZERO] = 0;
	COPY_SAME(c, s);
	c->cc = flags_to_cc(s->rflags);
	c->rflags = ((u32)s->rflags & ~(u32)FL_OSZAPC) | FL_1;
	c->smbase = s->smbase;
	c->dr[6] |= DR6_FIXED;
	c->dr[7] |= DR7_FIXED;
	c->shadow = s->movss_shadow ? SHADOW_MOVSS : s->sti_shadow ? SHADOW_STI : SHADOW_NONE;
	c->db_pending = s->movss_shadow ? s->db_pending : 0;
	atomic_store(&c->pv_kicked, s->pv_kicked);
	c->step_trap = false;
	c->delivering = -1;
	c->irq_maybe = true;
	if (v->intc_ops && v->intc_ops->set_tpr)
		v->intc_ops->set_tpr(v->intc, s->cr8 & 15);
	soft_tsc_publish(c);

	xsave_set(c, s->xsave);
	c->a20_mask = c->m->a20 ? UINT64_MAX : ~BIT(20);
	cpu_mode_changed(c);
	debug_rearm(c);
	mmu_state_set(c);
	block_flush_all(c);
	c->event.pending = s->event_pending;
	c->event.has_error = s->event_has_error;
	c->event.soft = s->event_soft;
	c->event.vector = s->event_vector;
	c->event.error = s->event_error;
}

static int soft_get_state(struct vcpu *v, struct cpu_state *s, struct err *e)
{
	soft_save(cpu_of(v), s);
	return 0;
}

static int soft_set_state(struct vcpu *v, const struct cpu_state *s, struct err *e)
{
	bool paging = s->cr0 & CR0_PG, lma = s->efer & EFER_LMA;

	if (paging && !(s->cr0 & CR0_PE))
		return err_set(e, EINVAL, "vCPU %u: CR0 %#llx has PG without PE", v->index,
			       (unsigned long long)s->cr0);
	if (lma != ((s->efer & EFER_LME) && paging))
		return err_set(e, EINVAL, "vCPU %u: EFER %#llx and CR0 %#llx contradict each other",
			       v->index, (unsigned long long)s->efer, (unsigned long long)s->cr0);
	if (lma && !(s->cr4 & CR4_PAE))
		return err_set(e, EINVAL, "vCPU %u: long mode without CR4.PAE", v->index);
	if (s->activity > CPU_WAIT_SIPI)
		return err_set(e, EINVAL, "vCPU %u: activity %u; at most %u", v->index, s->activity,
			       CPU_WAIT_SIPI);
	soft_load(cpu_of(v), s);
	return 0;
}

static void soft_memory_changed(struct machine *m)
{
	struct soft *s = m->engine;

	block_engine_memory(s);
	for (unsigned i = 0; i < m->ncpus; i++) {
		struct cpu *c = atomic_load(&s->cpu[i]);

		if (!c)
			continue;
		__atomic_store_n(&c->a20_mask, m->a20 ? UINT64_MAX : ~BIT(20), __ATOMIC_RELAXED);
		atomic_store(&c->memory_changed, true);
		atomic_store(&c->look, 1);
	}
}

/* --- dirty pages: a page has a write tag only while it is marked --- */

static int soft_dirty_log(struct machine *m, bool on, struct err *e)
{
	return 0;
}

/* Who takes the log clears the marks, calls this, and then reads the pages. */
static void soft_dirty_sync(struct machine *m)
{
	struct soft *s = m->engine;

	for (unsigned i = 0; i < m->ncpus; i++) {
		struct cpu *c = atomic_load(&s->cpu[i]);

		for (unsigned set = 0; c && set < TLB_SLOW; set++)
			for (unsigned n = 0; n < TLB_SIZE; n++)
				atomic_store(&c->tlb[set][n].tag_w, TLB_INVALID);
	}
}

/* --- debugger, statistics --- */

static int soft_set_debug(struct vcpu *v, const struct debug_ctl *d)
{
	return debug_set_ctl(cpu_of(v), d);
}

static int soft_translate(struct vcpu *v, u64 la, u64 *gpa)
{
	return mmu_peek(cpu_of(v), la, gpa);
}

static struct debug_hit soft_debug_hit(struct vcpu *v)
{
	return debug_get_hit(cpu_of(v));
}

static void soft_put_stats(struct machine *m, void (*put)(void *ctx, const char *name, u64 val),
			   void *ctx)
{
	struct soft *s = m->engine;
	struct soft_stats t = { 0 };

	for (unsigned i = 0; i < m->ncpus; i++) {
		const struct cpu *c = atomic_load(&s->cpu[i]);

		if (!c)
			continue;
		t.insns += c->stats.insns;
		t.blocks_made += c->stats.blocks_made;
		t.block_lookups += c->stats.block_lookups;
		t.tlb_fills += c->stats.tlb_fills;
		t.faults += c->stats.faults;
		t.irqs += c->stats.irqs;
		t.io += c->stats.io;
	}
	put(ctx, "insns", t.insns);
	put(ctx, "blocks_made", t.blocks_made);
	put(ctx, "block_lookups", t.block_lookups);
	put(ctx, "tlb_fills", t.tlb_fills);
	put(ctx, "faults", t.faults);
	put(ctx, "irqs", t.irqs);
	put(ctx, "io", t.io);
}

static void soft_thread_start(struct vcpu *v)
{
	pv_thread_start(v->engine);
}

const struct engine_ops engine_soft = {
	.name = "soft",
	.init = soft_init,
	.free = soft_free,
	.vcpu_init = soft_vcpu_init,
	.vcpu_free = soft_vcpu_free,
	.thread_start = soft_thread_start,
	.run = soft_run,
	.kick = soft_kick,
	.get_state = soft_get_state,
	.set_state = soft_set_state,
	.memory_changed = soft_memory_changed,
	.dirty_log = soft_dirty_log,
	.dirty_sync = soft_dirty_sync,
	.set_debug = soft_set_debug,
	.translate = soft_translate,
	.debug_hit = soft_debug_hit,
	.stats = soft_put_stats,
};
