// SPDX-License-Identifier: GPL-2.0-or-later
/* lapic.c - the local APIC of each vCPU: registers, acceptance, priorities, timer.
 * After: Intel SDM vol. 3A (325462-079), chapter 11 "APIC"; KVM's paravirtual EOI as described in
 * the kernel's Documentation/virt/kvm/x86/msr.rst.
 * How messages find their targets stands in apic_bus.c.
 * Not modelled: the performance-counter and thermal LVTs have no source; the arbitration register
 * is the processor priority; directed EOI (SVR bit 12) is not offered.
 *
 * One rule about threads. All runs under the machine lock, but the PV EOI flag lies in guest
 * memory and the guest clears it by an unlocked BTR: it may only be taken back by the vCPU's own
 * thread, between two of its instructions. So only own-thread entries (pending, ack, register
 * accesses) call pv_eoi_sync(); whoever else makes an interrupt pending just asks the vCPU to
 * look. */
#include "dev/lapic_impl.h"

#include "base/trace.h"
#include "vm/clock.h"
#include "vm/machine.h"
#include "x86/regs.h"

#include <stdlib.h>
#include <string.h>

DEFINE_TRACE(apic_accept, "apic.accept");
DEFINE_TRACE(apic_ack, "apic.ack");
DEFINE_TRACE(apic_eoi, "apic.eoi");
DEFINE_TRACE(apic_read, "apic.read");
DEFINE_TRACE(apic_write, "apic.write");
DEFINE_TRACE(apic_base, "apic.base");
DEFINE_TRACE(apic_error, "apic.error");
DEFINE_TRACE(apic_timer, "apic.timer");

_Static_assert(APIC_TIMER_HZ == 1000000000ull, "a timer tick is a machine nanosecond");

/* A periodic timer never fires faster than this; ticks in between are lost, as they would be on
 * a processor that cannot take them. */
#define TIMER_MIN_PERIOD_NS 20000

/* --- bit sets of 256 vectors --- */

static inline void vec_set(u32 *s, u8 v) { s[v >> 5] |= 1u << (v & 31); }
static inline void vec_clear(u32 *s, u8 v) { s[v >> 5] &= ~(1u << (v & 31)); }
static inline bool vec_test(const u32 *s, u8 v) { return s[v >> 5] >> (v & 31) & 1; }

static inline int vec_highest(const u32 *s)
{
	for (int i = 7; i >= 0; i--)
		if (s[i])
			return i * 32 + 31 - __builtin_clz(s[i]);
	return -1;
}

static void look(struct lapic *l) { vcpu_request(l->v, VCPU_REQ_IRQ); }

static bool sw_enabled(const struct lapic *l) { return l->svr & SVR_ENABLE; }

/* --- priorities --- */

static u8 ppr_of(const struct lapic *l)
{
	int isrv = vec_highest(l->isr);
	u8 in_service = isrv < 0 ? 0 : isrv & 0xf0;

	return (l->tpr & 0xf0) >= in_service ? l->tpr : in_service;
}

u8 lapic_ppr(const struct lapic *l) { return ppr_of(l); }

/* The vector that may be delivered now, or -1. */
static int deliverable(const struct lapic *l)
{
	int irrv = vec_highest(l->irr);

	if (irrv < 0 || (irrv & 0xf0) <= (ppr_of(l) & 0xf0))
		return -1;
	return irrv;
}

/* --- errors --- */

static void lapic_error(struct lapic *l, u32 bit)
{
	TRACE(apic_error, "vcpu=%u esr|=%#x", l->v->index, bit);
	l->esr_next |= bit;
	if (!(l->lvt[LVT_ERROR] & LVT_MASKED)) {
		u8 vec = l->lvt[LVT_ERROR];

		if (vec >= 16) {		/* an illegal one would only repeat the error */
			vec_clear(l->tmr, vec);
			vec_set(l->irr, vec);
			look(l);
		}
	}
}

/* --- acceptance --- */

bool lapic_accept_fixed(struct lapic *l, u8 vector, bool level)
{
	if (!lapic_hw_enabled(l) || !sw_enabled(l))
		return false;
	if (vector < 16) {
		lapic_error(l, ESR_RECV_ILLEGAL);
		return true;
	}
	TRACE(apic_accept, "vcpu=%u vector=%#x level=%d", l->v->index, vector, level);
	if (level)
		vec_set(l->tmr, vector);
	else
		vec_clear(l->tmr, vector);
	vec_set(l->irr, vector);
	look(l);
	return true;
}

bool lapic_accept_mode(struct lapic *l, enum apic_delivery mode, u8 vector)
{
	switch (mode) {
	case APIC_DM_NMI:
		/* Two in a row are two: one to be taken at once, one to wait behind it. */
		vcpu_request(l->v, atomic_load(&l->v->requests) & VCPU_REQ_NMI ? VCPU_REQ_NMI2 :
			     VCPU_REQ_NMI);
		return true;
	case APIC_DM_SMI:
		vcpu_request(l->v, VCPU_REQ_SMI);
		return true;
	case APIC_DM_INIT:
		vcpu_request(l->v, VCPU_REQ_INIT);
		return true;
	case APIC_DM_STARTUP:
		l->sipi_vector = vector;
		vcpu_request(l->v, VCPU_REQ_SIPI);
		return true;
	case APIC_DM_EXTINT:
		l->extint = true;
		look(l);
		return true;
	default:
		return false;
	}
}

/* A local source (timer, LINT pins, ...) raises its LVT entry. */
static void lvt_raise(struct lapic *l, enum lvt_entry n)
{
	u32 lvt = l->lvt[n];
	unsigned mode = n == LVT_TIMER || n == LVT_ERROR ? APIC_DM_FIXED : LVT_MODE(lvt);

	if (lvt & LVT_MASKED || !lapic_hw_enabled(l))
		return;
	if (mode == APIC_DM_FIXED) {
		bool level = (n == LVT_LINT0 || n == LVT_LINT1) && (lvt & LVT_LEVEL);

		if (level && (lvt & LVT_REMOTE_IRR))
			return;
		if (lapic_accept_fixed(l, (u8)lvt, level) && level)
			l->lvt[n] |= LVT_REMOTE_IRR;
	} else if (mode == APIC_DM_EXTINT) {
		look(l);		/* pending() looks at the pin itself */
	} else {
		lapic_accept_mode(l, mode, 0);
	}
}

void lapic_lint_changed(struct lapic *l, unsigned pin, bool level)
{
	if (!level)
		return;
	if (!lapic_hw_enabled(l)) {		/* the pins are INTR and NMI of the processor */
		if (l->v->index == 0)
			vcpu_request(l->v, pin ? VCPU_REQ_NMI : VCPU_REQ_IRQ);
		return;
	}
	lvt_raise(l, pin ? LVT_LINT1 : LVT_LINT0);
}

/* --- paravirtual EOI --- */

#define PV_EOI_ENABLED	1u
#define PV_EOI_RESERVED	2u

/* The guest's flag: one bit of a 32-bit word. NULL when it is not in RAM; ROM is not the guest's
 * to change. */
static _Atomic u32 *pv_eoi_flag(struct lapic *l)
{
	u64 gpa = l->pv_eoi & ~3ull;
	const struct ram_block *b = ram_find(l->v->m->ram, gpa);

	return b && !b->readonly ? ram_view(l->v->m->ram, gpa, 4) : NULL;
}

static void pv_eoi_offer(struct lapic *l)
{
	u64 gpa = l->pv_eoi & ~3ull;
	_Atomic u32 *flag = pv_eoi_flag(l);

	if (!flag)
		return;
	atomic_fetch_or(flag, 1);
	ram_wrote(l->v->m->ram, gpa, 4);
	l->pv_eoi_offered = true;
}

static void do_eoi(struct lapic *l);

/* Own thread only (see above). Did the guest say EOI by clearing the flag? */
static void pv_eoi_sync(struct lapic *l)
{
	_Atomic u32 *flag;

	if (likely(!l->pv_eoi_offered))
		return;
	l->pv_eoi_offered = false;
	flag = pv_eoi_flag(l);
	if (!flag)
		return;
	if (atomic_fetch_and(flag, ~1u) & 1)
		ram_wrote(l->v->m->ram, l->pv_eoi & ~3ull, 4);	/* taken back: a real EOI will come */
	else
		do_eoi(l);
}

/* --- end of interrupt --- */

static void do_eoi(struct lapic *l)
{
	int v = vec_highest(l->isr);

	if (v < 0)
		return;
	TRACE(apic_eoi, "vcpu=%u vector=%#x", l->v->index, v);
	vec_clear(l->isr, v);
	if (vec_test(l->tmr, v)) {
		for (unsigned n = LVT_LINT0; n <= LVT_LINT1; n++) {
			if ((u8)l->lvt[n] != v || !(l->lvt[n] & LVT_REMOTE_IRR))
				continue;
			l->lvt[n] &= ~LVT_REMOTE_IRR;
			if (l->bus->lint[n - LVT_LINT0])
				lvt_raise(l, n);
		}
		apic_bus_eoi(l->bus, v);
	}
	if (deliverable(l) >= 0)
		look(l);
}

/* --- what the engine asks --- */

static bool extint_pending(const struct lapic *l)
{
	if (l->extint)
		return true;
	if (!l->bus->lint[0])
		return false;
	if (!lapic_hw_enabled(l))
		return l->v->index == 0;
	return !(l->lvt[LVT_LINT0] & LVT_MASKED) && LVT_MODE(l->lvt[LVT_LINT0]) == APIC_DM_EXTINT;
}

static bool lapic_pending(void *intc)
{
	struct lapic *l = intc;

	pv_eoi_sync(l);
	return extint_pending(l) || (lapic_hw_enabled(l) && deliverable(l) >= 0);
}

static int lapic_ack(void *intc)
{
	struct lapic *l = intc;
	int v;

	pv_eoi_sync(l);
	if (extint_pending(l)) {
		l->extint = false;
		v = l->bus->pic_ack ? l->bus->pic_ack(l->bus->pic) : -1;
		TRACE(apic_ack, "vcpu=%u extint vector=%#x", l->v->index, v);
		return v;
	}
	v = lapic_hw_enabled(l) ? deliverable(l) : -1;
	if (v < 0)
		return -1;
	TRACE(apic_ack, "vcpu=%u vector=%#x", l->v->index, v);
	vec_clear(l->irr, v);
	/* PV EOI only where an EOI would do nothing else: nothing nested, nothing waits, no
	 * level-triggered source wants to hear of it. */
	bool alone = (l->pv_eoi & PV_EOI_ENABLED) && vec_highest(l->isr) < 0 &&
		     vec_highest(l->irr) < 0 && !vec_test(l->tmr, v);
	vec_set(l->isr, v);
	if (alone)
		pv_eoi_offer(l);
	return v;
}

static u8 lapic_get_tpr(void *intc) { return ((struct lapic *)intc)->tpr >> 4; }

static void write_tpr(struct lapic *l, u8 tpr)
{
	bool lower = tpr < l->tpr;

	l->tpr = tpr;
	if (lower) {
		pv_eoi_sync(l);
		if (deliverable(l) >= 0)
			look(l);
	}
}

static void lapic_set_tpr(void *intc, u8 cr8) { write_tpr(intc, (cr8 & 0xf) << 4); }

static u8 lapic_sipi_vector(void *intc) { return ((struct lapic *)intc)->sipi_vector; }

/* --- timer --- */

static unsigned timer_shift(const struct lapic *l)
{
	return ((((l->divide & 8) >> 1) | (l->divide & 3)) + 1) & 7;
}

static unsigned timer_mode(const struct lapic *l) { return l->lvt[LVT_TIMER] >> 17 & 3; }

static u64 timer_period_ns(const struct lapic *l)
{
	return (u64)l->timer_initial << timer_shift(l);
}

static u32 timer_current(const struct lapic *l)
{
	u64 elapsed, period = timer_period_ns(l);

	if (!period || l->timer_expired || timer_mode(l) >= TIMER_DEADLINE)
		return 0;
	elapsed = clock_now(l->v->m->clock) - l->timer_start_ns;
	if (timer_mode(l) == TIMER_PERIODIC)
		elapsed %= period;
	else if (elapsed >= period)
		return 0;
	return l->timer_initial - (u32)(elapsed >> timer_shift(l));
}

static void timer_fire(void *ctx);

static void timer_arm(struct lapic *l)
{
	u64 now = clock_now(l->v->m->clock), period = timer_period_ns(l), due;

	if (timer_mode(l) == TIMER_DEADLINE) {
		u64 tsc = clock_tsc(l->v->m->clock) + l->v->tsc_offset;

		if (!l->tsc_deadline) {
			vm_timer_del(&l->timer);
			return;
		}
		/* A deadline in the past fires by the WRMSR itself, not when the loop gets to it. */
		if (l->tsc_deadline <= tsc) {
			vm_timer_del(&l->timer);
			timer_fire(l);
			return;
		}
		/* One ns more: the guest must not find its TSC before the deadline. */
		due = now + 1 + clock_ns_of_tsc(l->v->m->clock, l->tsc_deadline - tsc);
		if (due < now)
			due = UINT64_MAX - 1;
		vm_timer_set(&l->timer, due);
		return;
	}
	if (!period || l->timer_expired || timer_mode(l) > TIMER_DEADLINE) {
		vm_timer_del(&l->timer);
		return;
	}
	due = l->timer_start_ns + period;
	if (timer_mode(l) == TIMER_PERIODIC) {
		if (due <= now)
			due += (now - due) / period * period + period;
		if (period < TIMER_MIN_PERIOD_NS)
			due = MAX(due, now + TIMER_MIN_PERIOD_NS);
	} else if (due <= now) {
		vm_timer_del(&l->timer);	/* expired before: it has fired */
		return;
	}
	vm_timer_set(&l->timer, due);
}

static void timer_fire(void *ctx)
{
	struct lapic *l = ctx;

	TRACE(apic_timer, "vcpu=%u mode=%u", l->v->index, timer_mode(l));
	if (timer_mode(l) == TIMER_DEADLINE)
		l->tsc_deadline = 0;
	lvt_raise(l, LVT_TIMER);
	if (timer_mode(l) == TIMER_PERIODIC)
		timer_arm(l);
}

static void write_initial_count(struct lapic *l, u32 val)
{
	if (timer_mode(l) == TIMER_DEADLINE)
		return;
	l->timer_initial = val;
	l->timer_start_ns = clock_now(l->v->m->clock);
	l->timer_expired = false;
	timer_arm(l);
}

/* Let the count go on from @left, in whatever mode and at whatever rate there is now. */
static void timer_continue(struct lapic *l, u32 left)
{
	l->timer_expired = l->timer_initial && !left;
	l->timer_start_ns = clock_now(l->v->m->clock) -
			    ((u64)(l->timer_initial - left) << timer_shift(l));
}

static void write_divide(struct lapic *l, u32 val)
{
	u32 left = timer_current(l);
	bool running = vm_timer_armed(&l->timer);

	l->divide = val & 0xb;
	timer_continue(l, left);
	if (running)
		timer_arm(l);
}

static void write_deadline(struct lapic *l, u64 tsc)
{
	if (timer_mode(l) != TIMER_DEADLINE)
		return;
	l->tsc_deadline = tsc;
	timer_arm(l);
}

static void lapic_tsc_changed(void *intc)
{
	struct lapic *l = intc;

	if (timer_mode(l) == TIMER_DEADLINE)
		timer_arm(l);
}

/* --- local vector table --- */

static const u32 lvt_writable[LVT_N] = {
	[LVT_TIMER] = LVT_VECTOR | LVT_MASKED | LVT_TIMER_MODE,
	[LVT_THERMAL] = LVT_VECTOR | LVT_DM | LVT_MASKED,
	[LVT_PERF] = LVT_VECTOR | LVT_DM | LVT_MASKED,
	[LVT_LINT0] = LVT_VECTOR | LVT_DM | LVT_POLARITY | LVT_LEVEL | LVT_MASKED,
	[LVT_LINT1] = LVT_VECTOR | LVT_DM | LVT_POLARITY | LVT_LEVEL | LVT_MASKED,
	[LVT_ERROR] = LVT_VECTOR | LVT_MASKED,
};

static void write_lvt(struct lapic *l, enum lvt_entry n, u32 val)
{
	u32 old = l->lvt[n];

	val &= lvt_writable[n];
	if (!sw_enabled(l))
		val |= LVT_MASKED;
	if (n == LVT_TIMER) {
		unsigned was = timer_mode(l);
		u32 left = timer_current(l);

		l->lvt[n] = val;
		if (timer_mode(l) == was)
			return;
		/* Between deadline mode and the others the timer is disarmed; between one-shot
		 * and periodic the count goes on, or stays at 0 if it was there. */
		if (was == TIMER_DEADLINE || timer_mode(l) >= TIMER_DEADLINE) {
			l->timer_initial = 0;
			l->tsc_deadline = 0;
		}
		timer_continue(l, MIN(left, l->timer_initial));
		timer_arm(l);
		return;
	}
	if (n == LVT_LINT0 || n == LVT_LINT1) {
		unsigned pin = n - LVT_LINT0;

		if (val & LVT_LEVEL)
			val |= old & LVT_REMOTE_IRR;
		l->lvt[n] = val;
		/* Unmasking a pin that is active: a level or ExtINT counts, an edge has gone by. */
		if (l->bus->lint[pin] && ((val & LVT_LEVEL) || LVT_MODE(val) == APIC_DM_EXTINT))
			lvt_raise(l, n);
		return;
	}
	l->lvt[n] = val;
}

static void write_svr(struct lapic *l, u32 val)
{
	l->svr = val & (SVR_ENABLE | SVR_FOCUS | 0xff);
	if (!sw_enabled(l))
		for (unsigned i = 0; i < LVT_N; i++)
			l->lvt[i] |= LVT_MASKED;
	else if (deliverable(l) >= 0)
		look(l);
}

/* --- reset --- */

static u32 x2apic_ldr(u32 id) { return (id >> 4) << 16 | 1u << (id & 0xf); }

/* What INIT leaves: SDM 11.4.7.3: as power-on but for the APIC id and APIC_BASE. */
static void lapic_clear(struct lapic *l)
{
	memset(l->irr, 0, sizeof(l->irr));
	memset(l->isr, 0, sizeof(l->isr));
	memset(l->tmr, 0, sizeof(l->tmr));
	l->tpr = 0;
	l->ldr = lapic_x2apic(l) ? x2apic_ldr(l->v->apic_id) : 0;
	l->dfr = ~0u;
	l->svr = 0xff;
	l->esr = l->esr_next = 0;
	l->icr = 0;
	for (unsigned i = 0; i < LVT_N; i++)
		l->lvt[i] = LVT_MASKED;
	l->timer_initial = 0;
	l->divide = 0;
	l->timer_start_ns = 0;
	l->timer_expired = false;
	l->tsc_deadline = 0;
	l->extint = false;
	l->pv_eoi = 0;
	l->pv_eoi_offered = false;
	vm_timer_del(&l->timer);
}

static void lapic_init(void *intc)
{
	struct lapic *l = intc;

	pv_eoi_sync(l);
	lapic_clear(l);
}

static void lapic_reset(void *dev)
{
	struct lapic *l = dev;
	l->base_msr = APIC_DEFAULT_BASE | APIC_BASE_ENABLE | (l->v->index == 0 ? APIC_BASE_BSP : 0);
	apic_bus_moved(l->bus, l);
	l->sipi_vector = 0;
	lapic_clear(l);
}

void lapic_virtual_wire(struct lapic *l)
{
	write_svr(l, SVR_ENABLE | 0xff);
	write_lvt(l, LVT_LINT0, APIC_DM_EXTINT << 8);
	write_lvt(l, LVT_LINT1, APIC_DM_NMI << 8);
}

/* --- registers, by MSR number within 800-83F, which is the MMIO offset / 16 --- */

static const struct { u8 reg; enum lvt_entry n; } lvt_regs[] = {
	{ REG_LVT_TIMER, LVT_TIMER }, { REG_LVT_THERMAL, LVT_THERMAL }, { REG_LVT_PERF, LVT_PERF },
	{ REG_LVT_LINT0, LVT_LINT0 }, { REG_LVT_LINT1, LVT_LINT1 }, { REG_LVT_ERROR, LVT_ERROR },
};

static int lvt_of_reg(unsigned reg)
{
	for (unsigned i = 0; i < ARRAY_SIZE(lvt_regs); i++)
		if (lvt_regs[i].reg == reg)
			return lvt_regs[i].n;
	return -1;
}

/* False when there is no such register to read. */
static bool reg_read(struct lapic *l, unsigned reg, u32 *val)
{
	int n;

	switch (reg) {
	case REG_ID:
		*val = lapic_x2apic(l) ? l->v->apic_id : l->v->apic_id << 24;
		return true;
	case REG_VERSION: *val = APIC_VERSION; return true;
	case REG_TPR: *val = l->tpr; return true;
	case REG_APR:
		if (lapic_x2apic(l))
			return false;
		__attribute__((fallthrough));
	case REG_PPR:
		pv_eoi_sync(l);
		*val = ppr_of(l);
		return true;
	case REG_RRD:
		*val = 0;
		return !lapic_x2apic(l);
	case REG_LDR: *val = l->ldr; return true;
	case REG_DFR:
		*val = l->dfr;
		return !lapic_x2apic(l);
	case REG_SVR: *val = l->svr; return true;
	case REG_ISR ... REG_ISR + 7:
		pv_eoi_sync(l);
		*val = l->isr[reg - REG_ISR];
		return true;
	case REG_TMR ... REG_TMR + 7: *val = l->tmr[reg - REG_TMR]; return true;
	case REG_IRR ... REG_IRR + 7: *val = l->irr[reg - REG_IRR]; return true;
	case REG_ESR: *val = l->esr; return true;
	case REG_ICR_LO: *val = (u32)l->icr; return true;
	case REG_ICR_HI:
		*val = l->icr >> 32;
		return !lapic_x2apic(l);
	case REG_TIMER_INITIAL: *val = l->timer_initial; return true;
	case REG_TIMER_CURRENT: *val = timer_current(l); return true;
	case REG_TIMER_DIVIDE: *val = l->divide; return true;
	case REG_EOI:			/* write-only; reads as 0 in xAPIC mode */
		*val = 0;
		return !lapic_x2apic(l);
	default:
		n = lvt_of_reg(reg);
		if (n < 0)
			return false;
		*val = l->lvt[n];
		return true;
	}
}

/* False when there is no such register to write. What may be written is up to the caller. */
static bool reg_write(struct lapic *l, unsigned reg, u32 val)
{
	int n;

	switch (reg) {
	case REG_TPR: write_tpr(l, val); return true;
	case REG_EOI:
		if (l->pv_eoi_offered)
			pv_eoi_sync(l);		/* takes the offer back: the flag was set */
		do_eoi(l);
		return true;
	case REG_LDR: l->ldr = val & 0xff000000; return true;
	case REG_DFR: l->dfr = val | 0x0fffffff; return true;
	case REG_SVR: write_svr(l, val); return true;
	case REG_ESR:
		l->esr = l->esr_next;
		l->esr_next = 0;
		return true;
	case REG_ICR_LO:
		l->icr = (l->icr & ~0xffffffffull) | (val & ICR_WRITABLE);
		apic_bus_send_ipi(l);
		return true;
	case REG_ICR_HI: l->icr = (u32)l->icr | (u64)(val & 0xff000000) << 32; return true;
	case REG_TIMER_INITIAL: write_initial_count(l, val); return true;
	case REG_TIMER_DIVIDE: write_divide(l, val); return true;
	case REG_ID: case REG_VERSION: case REG_APR: case REG_PPR: case REG_RRD:
	case REG_TIMER_CURRENT:
	case REG_ISR ... REG_ISR + 7: case REG_TMR ... REG_TMR + 7: case REG_IRR ... REG_IRR + 7:
		return true;			/* read-only: nothing happens */
	default:
		n = lvt_of_reg(reg);
		if (n < 0)
			return false;
		write_lvt(l, n, val);
		return true;
	}
}

void lapic_ipi_error(struct lapic *l, u32 esr) { lapic_error(l, esr); }

u64 lapic_mmio_read(struct lapic *l, u64 off)
{
	u32 val = 0;

	if (off & 0xf)			/* registers stand 16 bytes apart; between them is nothing */
		return 0;
	if (!reg_read(l, off >> 4, &val))
		lapic_error(l, ESR_ILLEGAL_REG);
	TRACE(apic_read, "vcpu=%u off=%#x val=%#x", l->v->index, (unsigned)off, val);
	return val;
}

void lapic_mmio_write(struct lapic *l, u64 off, u32 val)
{
	TRACE(apic_write, "vcpu=%u off=%#x val=%#x", l->v->index, (unsigned)off, val);
	if (!(off & 0xf) && !reg_write(l, off >> 4, val))
		lapic_error(l, ESR_ILLEGAL_REG);
}

/* --- MSRs --- */

static int x2apic_rdmsr(struct lapic *l, unsigned reg, u64 *val)
{
	u32 v;

	if (!lapic_x2apic(l))
		return -EPERM;
	if (reg == REG_ICR_LO) {
		*val = l->icr;
		return 0;
	}
	if (!reg_read(l, reg, &v))
		return -EPERM;
	*val = v;
	return 0;
}

static int x2apic_wrmsr(struct lapic *l, unsigned reg, u64 val)
{
	int n = lvt_of_reg(reg);

	if (!lapic_x2apic(l))
		return -EPERM;
	if (reg == REG_ICR_LO) {
		if ((u32)val & ~(ICR_WRITABLE | ICR_BUSY))
			return -EPERM;
		l->icr = val & ~(u64)ICR_BUSY;
		apic_bus_send_ipi(l);
		return 0;
	}
	if (val >> 32)
		return -EPERM;
	if (n >= 0) {
		if (val & ~(u64)(lvt_writable[n] | LVT_PENDING | LVT_REMOTE_IRR))
			return -EPERM;
		write_lvt(l, n, val);
		return 0;
	}
	switch (reg) {
	case REG_TPR:
		if (val & ~0xffull)
			return -EPERM;
		break;
	case REG_EOI: case REG_ESR:
		if (val)
			return -EPERM;
		break;
	case REG_SVR:
		if (val & ~(u64)(SVR_ENABLE | SVR_FOCUS | 0xff))
			return -EPERM;
		break;
	case REG_TIMER_DIVIDE:
		if (val & ~0xbull)
			return -EPERM;
		break;
	case REG_TIMER_INITIAL:
		break;
	case REG_SELF_IPI:
		if (val & ~0xffull)
			return -EPERM;
		if (val < 16)
			lapic_error(l, ESR_SEND_ILLEGAL);
		else
			lapic_accept_fixed(l, val, false);
		return 0;
	default:
		return -EPERM;			/* read-only or not there */
	}
	reg_write(l, reg, val);
	return 0;
}

static int write_base(struct lapic *l, u64 val)
{
	u64 old = l->base_msr;
	u64 was = old & (APIC_BASE_ENABLE | APIC_BASE_X2APIC);
	u64 now = val & (APIC_BASE_ENABLE | APIC_BASE_X2APIC);

	if (val & (0x2ffull | ~(BIT(l->bus->phys_bits) - 1)))
		return -EPERM;
	if ((val & APIC_BASE_X2APIC) && !l->bus->has_x2apic)
		return -EPERM;
	/* SDM figure 11-28: which mode may follow which. */
	if (now == APIC_BASE_X2APIC ||
	    (was == 0 && now == (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) ||
	    (was == (APIC_BASE_ENABLE | APIC_BASE_X2APIC) && now == APIC_BASE_ENABLE))
		return -EPERM;
	TRACE(apic_base, "vcpu=%u %#llx -> %#llx", l->v->index, (unsigned long long)old,
	      (unsigned long long)val);
	pv_eoi_sync(l);
	l->base_msr = val;
	apic_bus_moved(l->bus, l);
	if (was != now) {
		if (!now) {
			lapic_clear(l);
		} else if (lapic_x2apic(l)) {
			l->ldr = x2apic_ldr(l->v->apic_id);
			l->icr = (u32)l->icr;
		}
		look(l);
	}
	return 0;
}

static int write_pv_eoi(struct lapic *l, u64 val)
{
	if (val & PV_EOI_RESERVED)
		return -EPERM;
	if ((val & PV_EOI_ENABLED) && !ram_view(l->v->m->ram, val & ~3ull, 4))
		return -EPERM;
	pv_eoi_sync(l);
	l->pv_eoi = val;
	return 0;
}

static int lapic_rdmsr(void *intc, u32 msr, u64 *val)
{
	struct lapic *l = intc;

	switch (msr) {
	case MSR_APIC_BASE: *val = l->base_msr; return 0;
	case MSR_TSC_DEADLINE:
		*val = timer_mode(l) == TIMER_DEADLINE ? l->tsc_deadline : 0;
		return 0;
	case MSR_KVM_PV_EOI: *val = l->pv_eoi; return 0;
	case MSR_X2APIC ... MSR_X2APIC + 0xff: return x2apic_rdmsr(l, msr - MSR_X2APIC, val);
	default: return -ENOENT;
	}
}

static int lapic_wrmsr(void *intc, u32 msr, u64 val)
{
	struct lapic *l = intc;

	switch (msr) {
	case MSR_APIC_BASE: return write_base(l, val);
	case MSR_TSC_DEADLINE: write_deadline(l, val); return 0;
	case MSR_KVM_PV_EOI: return write_pv_eoi(l, val);
	case MSR_X2APIC ... MSR_X2APIC + 0xff: return x2apic_wrmsr(l, msr - MSR_X2APIC, val);
	default: return -ENOENT;
	}
}

static int lapic_pv_ipi(void *intc, u64 lo, u64 hi, unsigned bits, u32 min, u32 icr)
{
	struct lapic *l = intc;
	unsigned n = 0;

	if (icr & ~(LVT_VECTOR | LVT_DM))	/* who is meant stands in the bitmap */
		return -EINVAL;
	for (unsigned i = 0; i < 2 * bits; i++)
		if ((i < bits ? lo >> i : hi >> (i - bits)) & 1)
			n += apic_bus_send_to(l, (u64)min + i, icr);
	return n;
}

static const struct intc_ops lapic_ops = {
	.pending = lapic_pending,
	.ack = lapic_ack,
	.get_tpr = lapic_get_tpr,
	.set_tpr = lapic_set_tpr,
	.rdmsr = lapic_rdmsr,
	.wrmsr = lapic_wrmsr,
	.sipi_vector = lapic_sipi_vector,
	.init = lapic_init,
	.tsc_changed = lapic_tsc_changed,
	.pv_ipi = lapic_pv_ipi,
};

/* --- life and state --- */

int lapic_new(struct lapic **out, struct apic_bus *b, struct vcpu *v, struct err *e)
{
	struct lapic *l = calloc(1, sizeof(*l));

	if (!l)
		return err_set(e, ENOMEM, "no memory for the APIC of vCPU %u", v->index);
	l->bus = b;
	l->v = v;
	l->base_msr = APIC_DEFAULT_BASE;
	vm_timer_init(&l->timer, v->m->clock, timer_fire, l);
	apic_bus_attach(b, l);
	v->intc = l;
	v->intc_ops = &lapic_ops;
	lapic_reset(l);
	*out = l;
	return 0;
}

static void lapic_free(void *dev)
{
	struct lapic *l = dev;

	if (!l)
		return;
	vm_timer_del(&l->timer);
	apic_bus_detach(l->bus, l);
	free(l);
}

static void lapic_pre_save(void *dev)
{
	pv_eoi_sync(dev);		/* the vCPU is parked: as good as its own thread */
}

static int lapic_post_load(void *dev, struct err *e)
{
	struct lapic *l = dev;
	u64 mode = l->base_msr & (APIC_BASE_ENABLE | APIC_BASE_X2APIC);

	if (mode == APIC_BASE_X2APIC || (l->base_msr & 0x2ff) || l->base_msr >> l->bus->phys_bits ||
	    ((l->base_msr & APIC_BASE_X2APIC) && !l->bus->has_x2apic))
		return err_set(e, EINVAL, "APIC_BASE %#llx is none that the guest could have set",
			       (unsigned long long)l->base_msr);
	if ((l->irr[0] | l->isr[0] | l->tmr[0]) & 0xffff)
		return err_set(e, EINVAL, "a vector below 16 is pending");
	for (unsigned i = 0; i < LVT_N; i++)
		if (l->lvt[i] & ~(lvt_writable[i] | LVT_REMOTE_IRR))
			return err_set(e, EINVAL, "LVT %u has reserved bits (%#x)", i, l->lvt[i]);
	if (l->pv_eoi & PV_EOI_RESERVED)
		return err_set(e, EINVAL, "PV EOI address %#llx", (unsigned long long)l->pv_eoi);
	l->pv_eoi_offered = false;
	apic_bus_moved(l->bus, l);
	if (timer_mode(l) == TIMER_DEADLINE)	/* a TSC of another rate moves it */
		timer_arm(l);
	look(l);
	return 0;
}

static const struct state_field lapic_state[] = {
	STATE_U64(struct lapic, base_msr),
	STATE_U8(struct lapic, tpr, 0, 0xff),
	STATE_U32(struct lapic, ldr, 0, UINT32_MAX),
	STATE_U32(struct lapic, dfr, 0x0fffffff, UINT32_MAX),
	STATE_U32(struct lapic, svr, 0, SVR_ENABLE | SVR_FOCUS | 0xff),
	STATE_U32(struct lapic, esr, 0, 0xff),
	STATE_U32(struct lapic, esr_next, 0, 0xff),
	STATE_U64(struct lapic, icr),
	STATE_U32_ARRAY(struct lapic, lvt, 0, LVT_ALL),
	STATE_U32_ARRAY(struct lapic, irr, 0, UINT32_MAX),
	STATE_U32_ARRAY(struct lapic, isr, 0, UINT32_MAX),
	STATE_U32_ARRAY(struct lapic, tmr, 0, UINT32_MAX),
	STATE_U32(struct lapic, timer_initial, 0, UINT32_MAX),
	STATE_U32(struct lapic, divide, 0, 0xb),
	STATE_U64(struct lapic, timer_start_ns),
	STATE_BOOL(struct lapic, timer_expired),
	STATE_U64(struct lapic, tsc_deadline),
	STATE_TIMER(struct lapic, timer),
	STATE_BOOL(struct lapic, extint),
	STATE_U8(struct lapic, sipi_vector, 0, 0xff),
	STATE_U64(struct lapic, pv_eoi),
	STATE_END
};

const struct device_class lapic_class = {
	.name = "lapic",
	.version = 1,
	.state = lapic_state,
	.reset = lapic_reset,
	.free = lapic_free,
	.post_load = lapic_post_load,
	.pre_save = lapic_pre_save,
};
