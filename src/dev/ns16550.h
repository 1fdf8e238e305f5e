/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ns16550.h - a serial port. */
#ifndef PENTA_DEV_NS16550_H
#define PENTA_DEV_NS16550_H

#include "vm/chardev.h"
#include "vm/device.h"
#include "vm/irq.h"

struct ns16550;
extern const struct device_class ns16550_class;

/* @base: 3F8, 2F8, 3E8, 2E8. @be: borrowed, may be NULL (nothing plugged in). */
int ns16550_new(struct ns16550 **out, struct machine *m, u16 base, struct irq_line irq,
		struct chardev *be, struct err *e);

#endif
