/* SPDX-License-Identifier: GPL-2.0-or-later */
/* device.h - what all devices have in common: a struct, a class of operations, one table of state.
 * A device sees its bus regions, interrupt lines, timers, guest memory and a back end: no engine,
 * no file, no global. The platform makes it by its own xxx_new(...) and hands it to
 * machine_add_device(); the machine then owns it. */
#ifndef PENTA_VM_DEVICE_H
#define PENTA_VM_DEVICE_H

#include "vm/state.h"

struct machine;

struct device_class {
	const char *name;			/* "i8254" */
	u16 version;				/* of the state table, from 1 */
	const struct state_field *state;	/* offsets from the device's struct */
	void (*reset)(void *dev);		/* to the state after power-on, and nothing else */
	void (*free)(void *dev);		/* accepts NULL and half-built */
	int (*post_load)(void *dev, struct err *e);	/* checks the whole, re-arms; may be NULL */
	void (*pre_save)(void *dev);		/* bring fields up to date; may be NULL */
	/* Before pre_save, the machine being paused: wait until nothing is in flight at back ends (lock
	 * held; loop callbacks may run meanwhile). May be NULL. */
	void (*quiesce)(void *dev);
	/* The machine runs again, after a pause or, @restored, from loaded state (then what the world
	 * has forgotten is told to the guest: connections, disconnected peers). May be NULL. */
	void (*resumed)(void *dev, bool restored);
};

/* @path names the instance in streams and messages ("pit", "uart0"); copied. Takes ownership. */
int machine_add_device(struct machine *m, const struct device_class *cls, void *dev,
		       const char *path, struct err *e);

/* Call @fn for each device in order of creation, which is that of save, load and reset. Stops at the
 * first result that is not 0, and returns it. Lock held. */
int machine_each_device(struct machine *m, int (*fn)(void *ctx, const char *path,
			const struct device_class *cls, void *dev), void *ctx);

#endif
