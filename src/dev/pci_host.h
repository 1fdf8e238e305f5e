/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pci_host.h - the host bridge as a function of its own bus: class 0600, and nothing else. For
 * platforms that model no particular chip set. */
#ifndef PENTA_DEV_PCI_HOST_H
#define PENTA_DEV_PCI_HOST_H

#include "vm/pci.h"

struct pci_host;
extern const struct device_class pci_host_class;

/* At device 0, function 0 of @bus. */
int pci_host_new(struct pci_host **out, struct pci_bus *bus, struct err *e);

#endif
