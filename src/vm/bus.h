/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bus.h - port and memory-mapped I/O: an address space of regions, each with its reader and
 * writer and the access sizes that it declares. Calls come with the machine lock held. */
#ifndef PENTA_VM_BUS_H
#define PENTA_VM_BUS_H

#include "base/err.h"
#include "base/types.h"

struct bus;
struct vcpu;

/* @off: bytes from the region's base. @len: 1, 2, 4 or 8. @by: the vCPU that accesses, NULL for
 * DMA and debuggers. A read's result is cut to @len. */
struct region_ops {
	u64 (*read)(void *dev, struct vcpu *by, u64 off, unsigned len);
	void (*write)(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len);
	/* Sizes the device's functions take: the bus splits wider accesses into several of
	 * impl_max (ascending addresses); narrower than impl_min reads the aligned impl_min and
	 * shifts, narrower writes are dropped. 0 means 1 and 8. */
	u8 impl_min, impl_max;
	/* Not 0: answers only accesses of exactly this size at its base, and lies over all else; any
	 * other access goes past it to whoever is below (PCI's CF8). */
	u8 only_size;
	const char *const *reg_names;	/* optional, for traces: name by offset/impl_min */
};

struct bus *bus_new(const char *name, u64 limit);	/* addresses 0 .. limit inclusive */
void bus_free(struct bus *b);
/* -EEXIST when it overlaps another region of the same @prio; a higher one wins. */
int bus_map(struct bus *b, u64 base, u64 len, const struct region_ops *ops, void *dev,
	    const char *name, int prio, struct err *e);
void bus_unmap(struct bus *b, u64 base, u64 len, void *dev);
/* Nobody there: reads give all ones, writes vanish (bus.unassigned trace). */
u64 bus_read(struct bus *b, struct vcpu *by, u64 addr, unsigned len);
void bus_write(struct bus *b, struct vcpu *by, u64 addr, u64 val, unsigned len);

#endif
