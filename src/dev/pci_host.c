// SPDX-License-Identifier: GPL-2.0-or-later
/* pci_host.c - a PCI host bridge that bridges and nothing else.
 * After: PCI Local Bus 3.0, appendix D (class 06, subclass 00). The ids are those that the field
 * gives to a host bridge without a chip set behind it (vendor 1B36, device 0008): no driver binds,
 * and the bus behind it works with every guest. */
#include "dev/pci_host.h"

#include <errno.h>
#include <stdlib.h>

struct pci_host {
	struct pci_func pci;
};

static const struct pci_ids host_ids = {
	.vendor = 0x1b36, .device = 0x0008, .subvendor = 0x1af4, .subdevice = 0x1100,
	.class = 0x060000,
};

static void pci_host_reset(void *dev) { pci_func_reset(&((struct pci_host *)dev)->pci); }

static void pci_host_free(void *dev)
{
	struct pci_host *h = dev;

	if (!h)
		return;
	pci_detach(&h->pci);
	free(h);
}

static int pci_host_post_load(void *dev, struct err *e)
{
	return pci_func_post_load(&((struct pci_host *)dev)->pci, e);
}

int pci_host_new(struct pci_host **out, struct pci_bus *bus, struct err *e)
{
	struct pci_host *h = calloc(1, sizeof(*h));
	int rc;

	if (!h)
		return err_set(e, ENOMEM, "no memory for the PCI host bridge");
	pci_func_init(&h->pci, "pci-host", h, &host_ids);
	rc = pci_attach(&h->pci, bus, PCI_DEVFN(0, 0), e);
	if (rc) {
		pci_host_free(h);
		return rc;
	}
	*out = h;
	return 0;
}

static const struct state_field pci_host_state[] = {
	STATE_STRUCT(struct pci_host, pci, pci_func_state),
	STATE_END
};

const struct device_class pci_host_class = {
	.name = "pci_host",
	.version = 1,
	.state = pci_host_state,
	.reset = pci_host_reset,
	.free = pci_host_free,
	.post_load = pci_host_post_load,
};
