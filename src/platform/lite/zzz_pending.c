/* SPDX-License-Identifier: GPL-2.0-or-later */
/* zzz_pending.c - stands in until the chips and the soft engine are there; goes then. */
#include "dev/acpi_pm.h"
#include "dev/debug_port.h"
#include "dev/gsi.h"
#include "dev/i8254.h"
#include "dev/lapic.h"
#include "dev/mc146818.h"
#include "dev/ns16550.h"
#include "dev/reset.h"
#include "vm/engine.h"
#include <errno.h>

#define WEAK __attribute__((weak))
static void nop(void *dev) { }
#define CLASS(x) WEAK const struct device_class x = { .name = "none", .free = nop }
CLASS(i8259_class); CLASS(ioapic_class); CLASS(gsi_class); CLASS(i8254_class);
CLASS(mc146818_class); CLASS(acpi_pm_class); CLASS(reset_ctl_class); CLASS(debug_con_class);
CLASS(debug_exit_class); CLASS(ns16550_class);
#define NONE { return err_set(e, ENOSYS, "the chips are not there yet"); }
WEAK int apic_bus_add(struct machine *m, struct apic_bus **o, struct err *e) NONE
WEAK struct irq_line apic_bus_lint0(struct apic_bus *b) { return (struct irq_line){ 0 }; }
WEAK void apic_bus_set_pic(struct apic_bus *b, int (*ack)(void *), void *c) { }
WEAK int i8259_new(struct i8259 **o, struct machine *m, struct irq_line l, struct err *e) NONE
WEAK int i8259_ack(void *p) { return -1; }
WEAK int ioapic_new(struct ioapic **o, struct machine *m, struct apic_bus *b, u8 id, struct err *e) NONE
WEAK int gsi_new(struct gsi **o, struct i8259 *p, struct ioapic *io, struct err *e) NONE
WEAK struct irq_line gsi_line(struct gsi *g, unsigned n) { return (struct irq_line){ 0 }; }
WEAK int i8254_new(struct i8254 **o, struct machine *m, struct irq_line l, struct err *e) NONE
WEAK int mc146818_new(struct mc146818 **o, struct machine *m, struct irq_line l, struct err *e) NONE
WEAK int acpi_pm_new(struct acpi_pm **o, struct machine *m, const struct acpi_pm_config *c,
		     struct irq_line l, struct err *e) NONE
WEAK void acpi_pm_power_button(struct acpi_pm *p) { }
WEAK int reset_ctl_new(struct reset_ctl **o, struct machine *m, bool k, struct err *e) NONE
WEAK int debug_con_new(struct debug_con **o, struct machine *m, u16 p, struct chardev *c,
		       struct err *e) NONE
WEAK int debug_exit_new(struct debug_exit **o, struct machine *m, u16 p, struct err *e) NONE
WEAK int ns16550_new(struct ns16550 **o, struct machine *m, u16 b, struct irq_line l,
		     struct chardev *c, struct err *e) NONE
WEAK int chardev_fd_new(struct chardev **o, struct loop *l, const struct chardev_fd_opts *p,
			struct err *e) NONE
WEAK void chardev_free(struct chardev *c) { }
WEAK const struct engine_ops engine_soft = { .name = "soft" };
