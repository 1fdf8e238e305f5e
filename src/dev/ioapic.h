/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ioapic.h - the I/O APIC: 24 pins at FEC00000. */
#ifndef PENTA_DEV_IOAPIC_H
#define PENTA_DEV_IOAPIC_H

#include "dev/lapic.h"

#define IOAPIC_PINS 24
#define IOAPIC_BASE 0xfec00000u

struct ioapic;
extern const struct device_class ioapic_class;

/* Hears EOIs from @bus. Maps IOAPIC_BASE in @m. */
int ioapic_new(struct ioapic **out, struct machine *m, struct apic_bus *bus, u8 id,
	       struct err *e);
struct irq_line ioapic_line(struct ioapic *io, unsigned pin);

#endif
