/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pci.h - the PCI transport of virtio (modern, 4.1): one function per device, MSI-X or INTx. */
#ifndef PENTA_VIRTIO_PCI_H
#define PENTA_VIRTIO_PCI_H

#include "virtio/virtio.h"
#include "vm/pci.h"

struct virtio_pci;
extern const struct device_class virtio_pci_class;
/* @v is borrowed and must be freed after the transport: add @v's device to the machine first. */
int virtio_pci_new(struct virtio_pci **out, struct virtio *v, struct pci_bus *bus, u8 devfn,
		   struct err *e);

#endif
