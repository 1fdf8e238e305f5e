/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gsi.h - the wires of a PC: each global system interrupt reaches the 8259 pair (ISA ones) and
 * the I/O APIC, IRQ 0 at pin 2. */
#ifndef PENTA_DEV_GSI_H
#define PENTA_DEV_GSI_H

#include "dev/i8259.h"
#include "dev/ioapic.h"

struct gsi;
extern const struct device_class gsi_class;

/* Either chip may be NULL; both are borrowed and must outlive this one. */
int gsi_new(struct gsi **out, struct i8259 *pic, struct ioapic *io, struct err *e);
/* GSI 0-23, which for 0-15 is the ISA IRQ. Several sources on one line are or-ed by gsi_share(). */
struct irq_line gsi_line(struct gsi *g, unsigned n);
/* One more source on a shared line: the GSI is high while any of them is. Up to 32 sources. */
int gsi_share(struct gsi *g, unsigned n, struct irq_line *out, struct err *e);

#endif
