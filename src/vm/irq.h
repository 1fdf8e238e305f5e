/* SPDX-License-Identifier: GPL-2.0-or-later */
/* irq.h - interrupt lines as values, and the per-vCPU interrupt controller as engines see it. */
#ifndef PENTA_VM_IRQ_H
#define PENTA_VM_IRQ_H

#include "base/types.h"

struct vcpu;

/* Ticks of the local APICs' timers before the divider: CPUID leaf 0x15's crystal, if shown. */
#define APIC_TIMER_HZ 1000000000ull

/* One wire into some chip's input. A zeroed line is unconnected. Machine lock held. */
struct irq_line {
	void (*set)(void *chip, unsigned n, int level);
	void *chip;
	unsigned n;
};
static inline void irq_set(struct irq_line l, int level)
{
	if (l.set)
		l.set(l.chip, l.n, level);
}
static inline void irq_pulse(struct irq_line l) { irq_set(l, 1); irq_set(l, 0); }

/* What a message-signalled interrupt is: a 32-bit store to @gpa (0xfeexxxxx). */
struct msi_sink {
	void (*send)(void *chip, u64 gpa, u32 data);
	void *chip;
};

/* The local interrupt controller of one vCPU, implemented by dev/lapic.c. All with the machine
 * lock held. The chip calls vcpu_request(v, VCPU_REQ_IRQ) whenever an interrupt may have become
 * deliverable, VCPU_REQ_NMI/INIT/SIPI for those. */
struct intc_ops {
	/* Is there an interrupt that the vCPU would take now if IF were set? */
	bool (*pending)(void *intc);
	/* Acknowledge it: the vector, or -1 when there is none after all. */
	int (*ack)(void *intc);
	u8 (*get_tpr)(void *intc);		/* CR8: bits 7:4 of the TPR, in 3:0 */
	void (*set_tpr)(void *intc, u8 cr8);
	/* MSRs the chip owns: APIC_BASE 0x1b, TSC_DEADLINE 0x6e0, x2APIC 0x800-0x8ff, KVM PV EOI.
	 * 0 done; -ENOENT not its own; -EPERM means #GP. */
	int (*rdmsr)(void *intc, u32 msr, u64 *val);
	int (*wrmsr)(void *intc, u32 msr, u64 val);
	u8 (*sipi_vector)(void *intc);		/* of the SIPI last requested */
	void (*init)(void *intc);		/* INIT received: reset all but the APIC id */
	/* KVM's "send IPI" hypercall: @icr to the APIC ids min + n for each bit n of the bitmap (low
	 * @bits bits of @lo, then of @hi). How many got it, or negative. May be NULL. */
	int (*pv_ipi)(void *intc, u64 lo, u64 hi, unsigned bits, u32 min, u32 icr);
	void (*tsc_changed)(void *intc);	/* v->tsc_offset is new: the deadline moves. May be NULL */
};

#endif
