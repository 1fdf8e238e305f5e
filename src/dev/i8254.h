/* SPDX-License-Identifier: GPL-2.0-or-later */
/* i8254.h - the interval timer at 40-43 and port 61. */
#ifndef PENTA_DEV_I8254_H
#define PENTA_DEV_I8254_H

#include "vm/device.h"
#include "vm/irq.h"

#define I8254_HZ 1193182

struct i8254;
extern const struct device_class i8254_class;

/* @irq0: OUT of counter 0. Maps 40-43 and 61 in @m. */
int i8254_new(struct i8254 **out, struct machine *m, struct irq_line irq0, struct err *e);
/* The HPET's legacy replacement takes IRQ 0 away. */
void i8254_enable_irq0(struct i8254 *p, bool on);

#endif
