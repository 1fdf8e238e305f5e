/* SPDX-License-Identifier: GPL-2.0-or-later */
/* acpi.h - the tables by which a guest learns what this machine has. */
#ifndef PENTA_PLATFORM_LITE_ACPI_H
#define PENTA_PLATFORM_LITE_ACPI_H

#include "base/err.h"
#include "base/types.h"

struct acpi_config {
	u64 gpa;			/* where the tables will lie; RSDP first */
	unsigned ncpus;
	const u32 *apic_id;		/* of each CPU */
	u8 ioapic_id;
	u32 ioapic_base;
	u32 lapic_base;
	u8 sci;				/* GSI, level, active high */
	u16 pm_base, gpe_base;		/* ports */
	bool com[2];			/* COM1, COM2 are there */
	bool pci;			/* a host bridge with config mechanism #1 */
	u32 pci_mem_first, pci_mem_last;
	u8 pci_gsi;			/* slot s, pin p: GSI pci_gsi + (s + p) % pci_ngsi */
	u8 pci_ngsi;
};

/* Build all tables into @buf of @max bytes. *@rsdp: where the RSDP lies in guest memory.
 * Returns the length, or -ENOSPC. */
int acpi_build(const struct acpi_config *c, u8 *buf, size_t max, u64 *rsdp, struct err *e);

#endif
