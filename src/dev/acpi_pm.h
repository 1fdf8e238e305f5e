/* SPDX-License-Identifier: GPL-2.0-or-later */
/* acpi_pm.h - ACPI fixed hardware: PM1 event and control, PM timer, GPE0, SMI command port. */
#ifndef PENTA_DEV_ACPI_PM_H
#define PENTA_DEV_ACPI_PM_H

#include "vm/device.h"
#include "vm/irq.h"

/* Offsets from pm_base, as the FADT gives them. */
#define ACPI_PM1_EVT	0x00	/* 4 bytes: status, enable */
#define ACPI_PM1_CNT	0x04	/* 2 bytes */
#define ACPI_PM_TMR	0x08	/* 4 bytes, 24 bits count */
#define ACPI_PM_LEN	0x40
#define ACPI_GPE0_LEN	4	/* 2 bytes status, 2 bytes enable: GPE 0-15 */
#define ACPI_SMI_CMD	0xb2
#define ACPI_ENABLE	0xf1	/* written to SMI_CMD: SCI_EN = 1 */
#define ACPI_DISABLE	0xf0
#define ACPI_PM_TIMER_HZ 3579545
#define ACPI_S5_TYP	0	/* SLP_TYP of \_S5: as PIIX4 */

struct acpi_pm;
extern const struct device_class acpi_pm_class;

struct acpi_pm_config {
	u16 pm_base;		/* ports; 0x600 on lite */
	u16 gpe_base;		/* ports of GPE0; 0xafe0 as on PIIX4 machines */
	bool acpi_mode;		/* SCI_EN is set from reset on (no firmware would) */
};
int acpi_pm_new(struct acpi_pm **out, struct machine *m, const struct acpi_pm_config *cfg,
		struct irq_line sci, struct err *e);
/* Lock held. */
void acpi_pm_power_button(struct acpi_pm *p);
void acpi_pm_sleep_button(struct acpi_pm *p);
void acpi_pm_gpe(struct acpi_pm *p, unsigned bit);	/* an event on GPE @bit */

#endif
