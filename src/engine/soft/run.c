/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run.c - the vCPU's loop: between instructions it looks at requests, interrupts and traps, then
 * runs blocks until something wants it to look again.
 * After: Intel SDM vol. 3, table 6-2 (priorities), 6.8.3 (shadows), 10.6 (INIT, SIPI), 18.3.1.4
 * (single step).
 *
 * c->look is the one flag that says "come back here": set by other threads through the kick, by
 * instructions that change IF, TF, the mode or code, and read at each block entry and after each
 * instruction that runs through an exec function. */
#include "base/trace.h"
#include "engine/soft/block.h"
#include "engine/soft/mmu.h"
#include "engine/soft/operand.h"
#include "engine/soft/seg.h"	// cpu_is_amd()
#include "engine/soft/soft.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AP_VECTOR_SHIFT 12	/* SIPI vector to address */

DEFINE_TRACE(cpu_insn, "cpu.insn");
DEFINE_TRACE(cpu_request, "cpu.request");

void cpu_look(struct cpu *c)
{
	atomic_store_explicit(&c->look, 1, memory_order_relaxed);
}

/* Base 0, nothing in the way up to 4 GiB, and for data: readable and writable. */
static bool seg_open(const struct cpu_seg *s, bool code)
{
	if (s->base || s->limit != UINT32_MAX || (s->attr & SEG_A_UNUSABLE))
		return false;
	if (code)
		return true;
	return (s->attr & (SEG_A_CODE | SEG_A_EC | SEG_A_RW)) == SEG_A_RW;
}

/* As seg_open(), with any base. */
static bool seg_unlimited(const struct cpu_seg *s)
{
	return s->limit == UINT32_MAX && !(s->attr & SEG_A_UNUSABLE) &&
	       (s->attr & (SEG_A_CODE | SEG_A_EC | SEG_A_RW)) == SEG_A_RW;
}

void cpu_mode_changed(struct cpu *c)
{
	const struct cpu_seg *cs = &c->seg[SEG_CS], *ss = &c->seg[SEG_SS];
	u64 key;

	c->lma64 = cpu_long(c) && (cs->attr & SEG_A_L);
	c->mode = c->lma64 ? 8 : cs->attr & SEG_A_DB ? 4 : 2;
	c->stack_size = c->lma64 ? 8 : ss->attr & SEG_A_DB ? 4 : 2;
	if (!cpu_protected(c))
		c->cpl = 0;
	else if (cpu_v86(c))
		c->cpl = 3;
	else
		c->cpl = (ss->attr & SEG_A_DPL) >> SEG_A_DPL_SHIFT;
	c->flat = c->lma64 || (seg_open(cs, true) && seg_open(ss, false) &&
			       seg_open(&c->seg[SEG_DS], false) &&
			       seg_open(&c->seg[SEG_ES], false));
	cpu_set_tlb(c);
	c->la_mask = c->lma64 ? ~0ull : UINT32_MAX;
	c->tlb_code = c->tlb[c->cpl == 3 ? TLB_USER : TLB_SUPER];

	key = c->mode | c->cpl << MODE_CPL_SHIFT | c->stack_size << MODE_STACK_SHIFT;
	if (cpu_protected(c))
		key |= MODE_PE;
	if (cpu_v86(c))
		key |= MODE_VM;
	if (c->flat)
		key |= MODE_FLAT;
	if (cpu_long(c))
		key |= MODE_LONG;
	if (!c->lma64) {
		if (seg_unlimited(&c->seg[SEG_FS]))
			key |= MODE_FS;
		if (seg_unlimited(&c->seg[SEG_GS]))
			key |= MODE_GS;
		key |= (u64)cs->limit << 32;
	}
	c->mode_key = key;
	cpu_look(c);
}

void cpu_set_rflags(struct cpu *c, u64 fl)
{
	u32 old = c->rflags;

	c->cc = flags_to_cc(fl);
	c->rflags = ((u32)fl & ~(u32)FL_OSZAPC) | FL_1;
	if ((old ^ c->rflags) & FL_VM)
		cpu_mode_changed(c);
	if ((old ^ c->rflags) & FL_AC)
		cpu_set_tlb(c);
	if ((old ^ c->rflags) & (FL_TF | FL_IF | FL_RF))
		cpu_look(c);
}

/* --- requests --- */

/* INIT: as reset, but for FPU, caches, TSC and most MSRs (SDM vol. 3, table 10-1). The boot
 * processor starts anew at the reset vector, the others wait for a SIPI. */
static void do_init(struct cpu *c)
{
	struct cpu_state *old = malloc(2 * sizeof(*old)), *s = old + 1;

	if (!old)
		return;
	soft_save(c, old);
	*s = *old;
	cpu_state_reset(s);
	s->cr0 = (old->cr0 & (CR0_CD | CR0_NW)) | CR0_ET;
	s->xcr0 = old->xcr0;
	memcpy(s->xsave, old->xsave, sizeof(s->xsave));
	memcpy(&s->star, &old->star, offsetof(struct cpu_state, activity) -
	       offsetof(struct cpu_state, star) - sizeof(s->xsave));
	if (c->m->cpuid) {
		const struct cpuid_dyn d = { .apic_id = c->v->apic_id, .xcr0 = 1 };

		s->gpr[RDX] = cpuid_query(c->m->cpuid, 1, 0, &d).eax;
	}
	s->activity = c->v->index == 0 ? CPU_RUNNING : CPU_WAIT_SIPI;
	soft_load(c, s);
	free(old);
	if (c->v->intc_ops && c->v->intc_ops->init) {
		machine_lock(c->m);
		c->v->intc_ops->init(c->v->intc);
		machine_unlock(c->m);
	}
}

/* The machine itself resets by set_state() with all vCPUs parked; this is one CPU alone. */
static void do_reset(struct cpu *c)
{
	struct cpu_state *s = malloc(sizeof(*s));

	if (!s)
		return;
	cpu_state_reset(s);
	soft_load(c, s);
	free(s);
}

static void do_sipi(struct cpu *c)
{
	u8 vector = 0;

	if (c->activity != CPU_WAIT_SIPI)
		return;
	if (c->v->intc_ops && c->v->intc_ops->sipi_vector) {
		machine_lock(c->m);
		vector = c->v->intc_ops->sipi_vector(c->v->intc);
		machine_unlock(c->m);
	}
	c->seg[SEG_CS].sel = (u16)(vector << 8);
	c->seg[SEG_CS].base = (u64)vector << AP_VECTOR_SHIFT;
	c->rip = 0;
	c->activity = CPU_RUNNING;
	cpu_mode_changed(c);
}

/* True: leave the engine (VCPU_REQ_STOP). */
static bool take_requests(struct cpu *c)
{
	u32 req;

	atomic_store_explicit(&c->look, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	code_sync(c);
	mmu_code_settle(c);
	if (atomic_exchange(&c->memory_changed, false)) {
		tlb_flush_all(c);
		block_flush_all(c);
	}
	req = atomic_load(&c->v->requests);
	if (!req)
		return false;
	TRACE(cpu_request, "vcpu=%u requests=%#x", c->v->index, req);
	if (req & VCPU_REQ_STOP) {
		cpu_look(c);		/* the others are looked at when it runs again */
		return true;
	}
	atomic_fetch_and(&c->v->requests, ~req);
	if (req & VCPU_REQ_RESET)
		do_reset(c);
	if (req & VCPU_REQ_INIT)
		do_init(c);
	if (req & VCPU_REQ_SIPI)
		do_sipi(c);
	if (req & (VCPU_REQ_NMI | VCPU_REQ_NMI2)) {
		/* One more may wait while one is being handled; two while none is. */
		unsigned n = c->nmi_pending + !!(req & VCPU_REQ_NMI) + !!(req & VCPU_REQ_NMI2);

		c->nmi_pending = (u8)MIN(n, c->nmi_blocked ? 1u : 2u);
	}
	if (req & VCPU_REQ_IRQ)
		c->irq_maybe = true;
	return false;
}

/* --- events between instructions --- */

static bool nmi_ready(const struct cpu *c)
{
	return c->nmi_pending && !c->nmi_blocked && c->shadow == SHADOW_NONE;
}

static bool irq_ready(const struct cpu *c)
{
	return c->irq_maybe && (c->rflags & FL_IF) && c->shadow == SHADOW_NONE;
}

/* What another engine, or this one before a save, had begun to deliver. Vectors above 31 are
 * interrupts, unless an instruction asked for them. */
static void take_begun_event(struct cpu *c)
{
	enum int_kind kind = c->event.soft ? INT_SOFT : c->event.vector == EXC_NMI ? INT_NMI :
			     c->event.vector < 32 ? INT_EXC : INT_HW;

	c->event.pending = false;
	deliver(c, c->event.vector, kind, c->event.has_error, c->event.error);
}

/* Deliver an NMI or an interrupt when there is one and it is allowed. */
static void take_event(struct cpu *c)
{
	int vector = -1;

	if (unlikely(c->event.pending)) {
		take_begun_event(c);
		return;
	}
	if (nmi_ready(c)) {
		c->nmi_pending--;
		c->nmi_blocked = true;
		deliver(c, EXC_NMI, INT_NMI, false, 0);
		return;
	}
	if (!irq_ready(c))
		return;
	machine_lock(c->m);
	if (c->v->intc_ops && c->v->intc_ops->pending(c->v->intc))
		vector = c->v->intc_ops->ack(c->v->intc);
	c->irq_maybe = vector >= 0;	/* look again after this one */
	machine_unlock(c->m);
	if (vector < 0)
		return;
	c->stats.irqs++;
	deliver(c, (unsigned)vector, INT_HW, false, 0);
}

/* HLT, wait-for-SIPI: without the lock, until a request comes. */
static void wait_idle(struct cpu *c)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	code_rest(c, (u64)t.tv_sec * 1000000000ull + (u64)t.tv_nsec);
	code_outside(c);
	vcpu_wait(c->v, c->activity != CPU_HALTED || !(c->rflags & FL_IF));
	code_inside(c);
	cpu_look(c);
}

/* --- execution --- */

static void trace_insn(struct cpu *c, const struct insn *in)
{
	char text[128];

	insn_format(in, c->rip, text, sizeof(text));
	trace_emit(&trace_cpu_insn, "vcpu=%u %04x:%llx %s", c->v->index, c->seg[SEG_CS].sel,
		   (unsigned long long)c->rip, text);
}

/* Exactly one instruction, with whatever goes with it: the shadow ends after it, and TF traps when
 * it was set before it. */
static void step(struct cpu *c)
{
	u8 shadow = c->shadow;
	struct insn in;

	c->shadow = SHADOW_NONE;
	c->step_trap = c->rflags & FL_TF;
	block_fetch_insn(c, &in);
	c->rflags &= ~(u32)FL_RF;
	if (TRACE_ON(cpu_insn))
		trace_insn(c, &in);
	exec_insn(c, &in);
	c->rip = c->next_rip;
	c->stats.insns++;
	mmu_code_settle(c);
	/* MOV SS under the shadow of MOV SS casts none: interrupts come at last. */
	if (shadow == SHADOW_MOVSS && c->shadow == SHADOW_MOVSS)
		c->shadow = SHADOW_NONE;
	/* MOV SS traps for no single step: it is not held off, as data breakpoints are, but lost. */
	if (c->step_trap && c->shadow != SHADOW_MOVSS)
		c->db_pending |= DR6_BS;
	c->step_trap = false;
}

static void run_blocks(struct cpu *c)
{
	const struct uop *u = code_enter(c);

	if (unlikely(!u)) {
		step(c);
		return;
	}
	c->rflags &= ~(u32)FL_RF;
	while (u)
		u = u->fn(c, u);
}

static bool must_step(const struct cpu *c)
{
	return (c->rflags & FL_TF) || c->shadow != SHADOW_NONE || (c->dbg_armed & DBG_STEP) ||
	       TRACE_ON(cpu_insn);
}

/* Traps of the instruction before, unless MOV SS holds them off. True: the debugger wants it. */
static bool traps(struct cpu *c)
{
	if (c->shadow == SHADOW_MOVSS || !(c->db_pending || c->dbg_armed))
		return false;
	return debug_after(c);
}

static enum vcpu_exit loop(struct cpu *c)
{
	for (;;) {
		if (unlikely(atomic_load_explicit(&c->look, memory_order_relaxed)) &&
		    take_requests(c))
			return VCPU_EXIT_STOP;
		if (unlikely(c->activity == CPU_SHUTDOWN))
			return VCPU_EXIT_SHUTDOWN;
		if (c->activity == CPU_WAIT_SIPI) {
			wait_idle(c);
			continue;
		}
		take_event(c);
		/* A paravirtual kick ends HLT without an interrupt, also one that comes later. */
		if (c->activity == CPU_HALTED && atomic_exchange(&c->pv_kicked, false))
			c->activity = CPU_RUNNING;
		if (c->activity != CPU_RUNNING) {
			/* A lock's waiter halts with IF off, and is kicked when it has the lock. */
			if (atomic_exchange(&c->pv_kicked, false))
				c->activity = CPU_RUNNING;
			else if (c->activity == CPU_HALTED && !atomic_load(&c->look))
				wait_idle(c);
			continue;
		}
		/* MOV SS holds instruction breakpoints off on Intel, not on AMD. */
		if (unlikely(c->dbg_armed & DBG_EXEC) &&
		    (c->shadow != SHADOW_MOVSS || cpu_is_amd(c)) && debug_entry(c))
			return VCPU_EXIT_DEBUG;
		if (unlikely(must_step(c)))
			step(c);
		else
			run_blocks(c);
		if (unlikely(c->db_pending || c->dbg_armed) && traps(c))
			return VCPU_EXIT_DEBUG;
	}
}

/* An instruction raised c->exc; c->rip is its own. */
static void deliver_fault(struct cpu *c)
{
	c->stats.faults++;
	mem_split_unlock(c);
	c->step_trap = false;
	c->db_pending = 0;
	c->shadow = SHADOW_NONE;
	mmu_code_settle(c);
	deliver(c, c->exc.vector, INT_EXC, c->exc.has_error, c->exc.error);
}

void run_one(struct cpu *c)
{
	if (sigsetjmp(c->catch, 0)) {
		deliver_fault(c);
		return;
	}
	step(c);
	if (c->db_pending && c->shadow != SHADOW_MOVSS)
		debug_after(c);
}

enum vcpu_exit run_vcpu(struct cpu *c)
{
	enum vcpu_exit why;

	code_inside(c);
	cpu_look(c);
	if (sigsetjmp(c->catch, 0)) {
		if (unlikely(c->mmu->lost)) {
			mem_split_unlock(c);
			code_outside(c);
			machine_lock(c->m);
			if (!c->m->fatal.code)
				ram_lost(c->m->ram, &c->m->fatal);
			machine_unlock(c->m);
			return VCPU_EXIT_ERROR;
		}
		deliver_fault(c);
	}
	why = loop(c);
	code_outside(c);
	return why;
}
