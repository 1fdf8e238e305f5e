/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pci.h - PCI as a bus: functions with 256 bytes of configuration space, base address registers
 * that come and go on the machine's buses, INTx, MSI and MSI-X.
 * After: PCI Local Bus 3.0, chapter 6; PCI-to-PCI bridges are not modelled (bus 0 only).
 *
 * A device embeds a struct pci_func:
 *
 *	pci_func_init(&d->pci, "ide", d, &ide_ids);
 *	pci_bar_set(&d->pci, 4, PCI_BAR_IO, 16, &bmdma_ops);
 *	pci_add_msi(&d->pci, 1);
 *	r = pci_attach(&d->pci, bus, PCI_DEVFN(1, 1), e);
 *
 * puts STATE_STRUCT(struct ide, pci, pci_func_state) into its table, and calls pci_func_reset(),
 * pci_func_post_load() and pci_detach() from its reset, post_load and free.
 * All with the machine lock held. */
#ifndef PENTA_VM_PCI_H
#define PENTA_VM_PCI_H

#include "vm/bus.h"
#include "vm/device.h"
#include "vm/irq.h"

#define PCI_DEVFN(dev, fn) ((u8)((dev) << 3 | (fn)))
#define PCI_CONFIG_SIZE 256
#define PCI_MSIX_MAX 64
#define PCI_PIRQS_MAX 8

enum pci_reg {			/* 6.1: header type 00h */
	PCI_VENDOR = 0x00, PCI_DEVICE = 0x02, PCI_COMMAND = 0x04, PCI_STATUS = 0x06,
	PCI_REVISION = 0x08, PCI_CLASS = 0x09, PCI_CACHE_LINE = 0x0c, PCI_LATENCY = 0x0d,
	PCI_HEADER_TYPE = 0x0e, PCI_BAR0 = 0x10, PCI_SUBVENDOR = 0x2c, PCI_SUBDEVICE = 0x2e,
	PCI_ROM = 0x30, PCI_CAP_PTR = 0x34, PCI_INT_LINE = 0x3c, PCI_INT_PIN = 0x3d,
};
enum pci_command {
	PCI_CMD_IO = 1 << 0, PCI_CMD_MEM = 1 << 1, PCI_CMD_MASTER = 1 << 2, PCI_CMD_PARITY = 1 << 6,
	PCI_CMD_SERR = 1 << 8, PCI_CMD_INTX_OFF = 1 << 10,
};
enum pci_status { PCI_STS_INTX = 1 << 3, PCI_STS_CAPS = 1 << 4 };
enum pci_cap_id {
	PCI_CAP_PM = 0x01, PCI_CAP_MSI = 0x05, PCI_CAP_VENDOR = 0x09, PCI_CAP_MSIX = 0x11,
};
#define PCI_HEADER_MULTI 0x80

struct pci_ids {
	u16 vendor, device, subvendor, subdevice;
	u32 class;			/* 24 bits: class, subclass, programming interface */
	u8 revision;
	u8 int_pin;			/* 1-4: INTA-INTD; 0: none */
};

enum pci_bar_type { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64, PCI_BAR_MEM64_PREFETCH,
		    PCI_BAR_ROM };
#define PCI_BAR_ROM_INDEX 6

struct pci_bar {
	u8 type;			/* enum pci_bar_type */
	u64 size;			/* a power of two */
	const struct region_ops *ops;
	void *dev;			/* what ops get: the function's dev but for MSI-X tables */
	bool mapped;
	u64 at;				/* while mapped */
};

struct pci_msix_entry { u32 addr_lo, addr_hi, data, ctrl; };
#define PCI_MSIX_MASKED 1u		/* ctrl bit 0 */

struct pci_bus;
struct pci_func {
	struct pci_bus *bus;		/* NULL: not attached */
	u8 devfn;
	const char *name;
	void *dev;			/* what ops get */
	/* Called after a guest's write to [off, off+len) took effect. May be NULL. */
	void (*config_written)(void *dev, unsigned off, unsigned len);
	/* Called before a guest's read of [off, off+len): config[] is to be brought up to date. May
	 * be NULL. */
	void (*config_reads)(void *dev, unsigned off, unsigned len);

	u8 config[PCI_CONFIG_SIZE];
	u8 wmask[PCI_CONFIG_SIZE];	/* bits the guest writes */
	u8 w1c[PCI_CONFIG_SIZE];	/* bits the guest clears by writing 1 */
	u8 hwmask[PCI_CONFIG_SIZE];	/* bits the device itself changes (checked on load) */
	u8 init[PCI_CONFIG_SIZE];	/* after reset; taken by pci_attach() */
	struct pci_bar bar[7];
	u8 cap_next;			/* first free byte for capabilities */
	bool intx;			/* the device asserts its pin */
	bool intx_out;			/* ... and it reaches the bus (not state: derived) */

	u8 msi, msix;			/* offset of the capability; 0: none */
	u8 msi_nvec, msix_nvec, msix_bar;
	u32 msi_pending;
	u64 msix_pending;
	struct pci_msix_entry msix_table[PCI_MSIX_MAX];
};
extern const struct state_field pci_func_state[];

/* The host side: configuration mechanism 1 at CF8/CFC, and where the pins go. A device of class
 * pci_bus_class, which the platform hands to the machine. */
struct pci_bus_opts {
	/* Which of the lines below pin 1-4 of device @dev reaches. NULL: (dev + pin - 1) mod npirq. */
	unsigned (*swizzle)(unsigned dev, unsigned pin);
	unsigned npirq;			/* 1 .. PCI_PIRQS_MAX */
	struct irq_line pirq[PCI_PIRQS_MAX];	/* level-triggered, high while any pin asserts */
};
extern const struct device_class pci_bus_class;
int pci_bus_new(struct pci_bus **out, struct machine *m, const struct pci_bus_opts *o,
		struct err *e);
struct pci_func *pci_find(const struct pci_bus *b, u8 devfn);
/* As mechanism 1 and ECAM see it: all ones where nobody is. @len 1, 2 or 4 within a dword. */
u32 pci_config_read(struct pci_bus *b, unsigned bdf, unsigned off, unsigned len);
void pci_config_write(struct pci_bus *b, unsigned bdf, unsigned off, u32 val, unsigned len);

void pci_func_init(struct pci_func *f, const char *name, void *dev, const struct pci_ids *ids);
/* @index 0-5, or PCI_BAR_ROM_INDEX. A 64-bit BAR takes @index and @index + 1. */
void pci_bar_set(struct pci_func *f, unsigned index, enum pci_bar_type type, u64 size,
		 const struct region_ops *ops);
/* Room for a capability of @len bytes, id and link filled in; returns its offset. */
u8 pci_add_cap(struct pci_func *f, enum pci_cap_id id, unsigned len);
/* @nvec: 1, 2, 4, .. 32; 64-bit addresses, per-vector masks. */
void pci_add_msi(struct pci_func *f, unsigned nvec);
/* BAR @bar becomes the table and pending bits of @nvec (1 .. PCI_MSIX_MAX) vectors. */
void pci_add_msix(struct pci_func *f, unsigned nvec, unsigned bar);
/* -EEXIST: the slot is taken. Later changes to config go to f->config and f->init both. */
int pci_attach(struct pci_func *f, struct pci_bus *b, u8 devfn, struct err *e);
void pci_detach(struct pci_func *f);	/* also when not attached */
void pci_func_reset(struct pci_func *f);
/* After f's fields were loaded: -EINVAL when read-only bits differ; else BARs and pins follow. */
int pci_func_post_load(struct pci_func *f, struct err *e);

void pci_set_intx(struct pci_func *f, bool level);
/* May the function read and write memory? Devices ask before each DMA. */
bool pci_is_master(const struct pci_func *f);
bool pci_msi_enabled(const struct pci_func *f);		/* MSI or MSI-X */
/* Send message @vec of whichever of MSI-X and MSI is on; remembered while masked. */
void pci_msi_notify(struct pci_func *f, unsigned vec);

/* pci_msi.c for pci.c: effects of writes to the capabilities. */
void pci_msi_written(struct pci_func *f, unsigned off, unsigned len);
void pci_msi_read(const struct pci_func *f, unsigned off, u8 *byte);
struct machine *pci_machine(const struct pci_bus *b);

#endif
