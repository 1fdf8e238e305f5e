/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mc146818.h - real-time clock and CMOS memory at 70/71. */
#ifndef PENTA_DEV_MC146818_H
#define PENTA_DEV_MC146818_H

#include "vm/device.h"
#include "vm/irq.h"

struct mc146818;
extern const struct device_class mc146818_class;

/* The clock shows the host's UTC at machine time (clock_wall_offset). Fills the memory size and
 * CPU count bytes from @m. Maps 70/71. */
int mc146818_new(struct mc146818 **out, struct machine *m, struct irq_line irq8, struct err *e);
/* A battery-backed byte (0x0e-0x7f) as the platform sets it up; survives reset. The checksum at
 * 2E/2F follows. */
void mc146818_set_cmos(struct mc146818 *r, unsigned index, u8 val);
u8 mc146818_get_cmos(struct mc146818 *r, unsigned index);

#endif
