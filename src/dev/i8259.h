/* SPDX-License-Identifier: GPL-2.0-or-later */
/* i8259.h - the pair of interrupt controllers at 20/21 and A0/A1, ELCR at 4D0/4D1. */
#ifndef PENTA_DEV_I8259_H
#define PENTA_DEV_I8259_H

#include "vm/device.h"
#include "vm/irq.h"

struct i8259;
extern const struct device_class i8259_class;

/* @intr: the master's INT output: the boot processor's LINT0 and, if wanted, I/O APIC pin 0
 * (lapic_lint0_all() drives every LAPIC). Maps its ports in @m. */
int i8259_new(struct i8259 **out, struct machine *m, struct irq_line intr, struct err *e);
/* IRQ 0-15 but 2: the slave sits there, its line goes nowhere. */
struct irq_line i8259_line(struct i8259 *p, unsigned irq);
/* The CPU's INTA cycles: the vector; a spurious one when the request has gone. */
int i8259_ack(void *p);

#endif
