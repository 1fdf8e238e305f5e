/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lapic.h - local APICs and the bus between them: IPIs, MSIs, messages of the I/O APIC, EOIs. */
#ifndef PENTA_DEV_LAPIC_H
#define PENTA_DEV_LAPIC_H

#include "vm/device.h"
#include "vm/irq.h"

struct apic_bus;
struct lapic;
extern const struct device_class apic_bus_class;
extern const struct device_class lapic_class;

/* The bus with a local APIC for every vCPU of @m, added to @m as "apicbus" and "lapic0"...; sets
 * each vCPU's intc and intc_ops, m->msi, and maps FEE00000 in m->mmio. *@out is borrowed. */
int apic_bus_add(struct machine *m, struct apic_bus **out, struct err *e);

/* The 8259's INTR reaches LINT0 of every LAPIC. An ExtINT is acknowledged by @ack(@chip). */
struct irq_line apic_bus_lint0(struct apic_bus *b);
void apic_bus_set_pic(struct apic_bus *b, int (*ack)(void *chip), void *chip);
/* NMI sources (LINT1 of every LAPIC). */
struct irq_line apic_bus_lint1(struct apic_bus *b);

/* Leave the boot processor's APIC as firmware does: enabled, LINT0 ExtINT, LINT1 NMI ("virtual
 * wire", MP specification 3.6.2.2). For platforms without firmware, after each reset. */
void apic_bus_virtual_wire(struct apic_bus *b);

/* One message: what an I/O APIC's redirection entry or an MSI says. */
enum apic_delivery { APIC_DM_FIXED, APIC_DM_LOWPRI, APIC_DM_SMI, APIC_DM_NMI = 4, APIC_DM_INIT,
		     APIC_DM_STARTUP, APIC_DM_EXTINT };
struct apic_msg {
	u32 dest;
	u8 vector;
	u8 mode;		/* enum apic_delivery */
	bool logical, level;	/* level: the EOI is broadcast */
};
/* Returns how many LAPICs accepted it (0: nobody there). */
unsigned apic_bus_deliver(struct apic_bus *b, const struct apic_msg *msg);
/* Who hears EOIs of level-triggered vectors (the I/O APIC). */
void apic_bus_on_eoi(struct apic_bus *b, void (*eoi)(void *chip, u8 vector), void *chip);

#endif
