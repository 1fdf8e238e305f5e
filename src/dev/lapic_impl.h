/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lapic_impl.h - what lapic.c and apic_bus.c share: register numbers, the structs, the calls
 * between them. Nobody else includes this. After: Intel SDM vol. 3A, tables 11-1 and 11-6. */
#ifndef PENTA_DEV_LAPIC_IMPL_H
#define PENTA_DEV_LAPIC_IMPL_H

#include "dev/lapic.h"
#include "vm/clock.h"
#include "vm/vcpu.h"

#include <errno.h>

/* Register numbers: MMIO offset / 16, MSR - 800h. */
enum lapic_reg {
	REG_ID = 0x02,
	REG_VERSION = 0x03,		/* RO */
	REG_TPR = 0x08,
	REG_APR = 0x09,			/* RO, xAPIC only */
	REG_PPR = 0x0a,			/* RO */
	REG_EOI = 0x0b,			/* WO */
	REG_RRD = 0x0c,			/* RO, xAPIC only: remote read, long gone */
	REG_LDR = 0x0d,			/* RO in x2APIC mode */
	REG_DFR = 0x0e,			/* xAPIC only */
	REG_SVR = 0x0f,
	REG_ISR = 0x10,			/* RO, 8 of them */
	REG_TMR = 0x18,			/* RO, 8 */
	REG_IRR = 0x20,			/* RO, 8 */
	REG_ESR = 0x28,
	REG_ICR_LO = 0x30,		/* 64 bits in x2APIC mode */
	REG_ICR_HI = 0x31,		/* xAPIC only */
	REG_LVT_TIMER = 0x32,
	REG_LVT_THERMAL = 0x33,
	REG_LVT_PERF = 0x34,
	REG_LVT_LINT0 = 0x35,
	REG_LVT_LINT1 = 0x36,
	REG_LVT_ERROR = 0x37,
	REG_TIMER_INITIAL = 0x38,
	REG_TIMER_CURRENT = 0x39,	/* RO */
	REG_TIMER_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f,		/* WO, x2APIC only */
};

#define APIC_VERSION		0x00050014	/* 6 LVT entries, integrated APIC */
#define APIC_DEFAULT_BASE	0xfee00000u
#define APIC_BASE_BSP		(1u << 8)
#define APIC_BASE_X2APIC	(1u << 10)
#define APIC_BASE_ENABLE	(1u << 11)

#define SVR_ENABLE		0x100u
#define SVR_FOCUS		0x200u		/* focus processor checking: kept, no effect */

#define ESR_SEND_ILLEGAL	0x20u
#define ESR_RECV_ILLEGAL	0x40u
#define ESR_ILLEGAL_REG		0x80u

enum lvt_entry { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_N };
#define LVT_VECTOR		0xffu
#define LVT_DM			0x700u
#define LVT_PENDING		(1u << 12)	/* RO; delivery is at once: reads 0 */
#define LVT_POLARITY		(1u << 13)	/* kept; irq_line levels mean "asserted" */
#define LVT_REMOTE_IRR		(1u << 14)	/* RO */
#define LVT_LEVEL		(1u << 15)
#define LVT_MASKED		(1u << 16)
#define LVT_TIMER_MODE		(3u << 17)
#define LVT_ALL			0x7ffffu
#define LVT_MODE(lvt)		((lvt) >> 8 & 7)
enum { TIMER_ONESHOT, TIMER_PERIODIC, TIMER_DEADLINE };

#define ICR_LOGICAL		(1u << 11)
#define ICR_BUSY		(1u << 12)	/* RO; IPIs are sent at once */
#define ICR_ASSERT		(1u << 14)
#define ICR_LEVEL		(1u << 15)
#define ICR_SHORTHAND(icr)	((icr) >> 18 & 3)
#define ICR_WRITABLE		0x000ccfffu	/* vector, DM, logical, assert, trigger, shorthand */

struct lapic {
	struct apic_bus *bus;
	struct vcpu *v;

	u64 base_msr;
	u64 page_gpa;			/* apic_bus.c: where it was mapped; 0: the default place */
	u8 tpr;
	u32 ldr, dfr, svr;
	u32 esr, esr_next;		/* as read; gathered since the last write */
	u64 icr;
	u32 lvt[LVT_N];
	u32 irr[8], isr[8], tmr[8];
	u32 timer_initial, divide;
	u64 timer_start_ns;		/* machine ns when the count was at timer_initial */
	bool timer_expired;		/* the count stands at 0, whatever the mode is now */
	u64 tsc_deadline;		/* guest TSC; 0: not armed */
	struct vm_timer timer;
	bool extint;			/* an ExtINT message waits for its INTA */
	u8 sipi_vector;
	u64 pv_eoi;			/* MSR 4b564d04: address | enabled */
	bool pv_eoi_offered;		/* the flag in guest memory is ours to look at */
};

struct apic_page;			/* a place where some LAPIC's registers show */

struct apic_bus {
	struct machine *m;
	unsigned refs;			/* the machine's and one for each LAPIC */
	unsigned ncpus;
	struct lapic *cpu[64];
	struct apic_page *pages;
	bool msi_page;			/* FEE00000-FEEFFFFF is mapped */
	bool lint[2];			/* levels of the LINT pins, which all LAPICs share */
	u32 next;			/* lowest priority: whom to prefer among equals */
	unsigned phys_bits;
	bool has_x2apic;
	int (*pic_ack)(void *chip);
	void *pic;
	void (*eoi)(void *chip, u8 vector);
	void *eoi_chip;
};

static inline bool lapic_hw_enabled(const struct lapic *l)
{
	return l->base_msr & APIC_BASE_ENABLE;
}
static inline bool lapic_x2apic(const struct lapic *l)
{
	return l->base_msr & APIC_BASE_X2APIC;
}

/* lapic.c */
int lapic_new(struct lapic **out, struct apic_bus *b, struct vcpu *v, struct err *e);
bool lapic_accept_fixed(struct lapic *l, u8 vector, bool level);
bool lapic_accept_mode(struct lapic *l, enum apic_delivery mode, u8 vector);
void lapic_lint_changed(struct lapic *l, unsigned pin, bool level);
void lapic_ipi_error(struct lapic *l, u32 esr);
u8 lapic_ppr(const struct lapic *l);
void lapic_virtual_wire(struct lapic *l);
u64 lapic_mmio_read(struct lapic *l, u64 off);
void lapic_mmio_write(struct lapic *l, u64 off, u32 val);

/* apic_bus.c */
void apic_bus_attach(struct apic_bus *b, struct lapic *l);
void apic_bus_detach(struct apic_bus *b, struct lapic *l);
void apic_bus_moved(struct apic_bus *b, struct lapic *l);	/* base_msr is new */
void apic_bus_send_ipi(struct lapic *from);
unsigned apic_bus_send_to(struct lapic *from, u64 apic_id, u32 icr);	/* PV IPI */
void apic_bus_eoi(struct apic_bus *b, u8 vector);

#endif
