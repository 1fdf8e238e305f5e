/* SPDX-License-Identifier: GPL-2.0-or-later */
/* console.h - the console device: consoles (hvc0...) and named channels for programs. */
#ifndef PENTA_VIRTIO_CONSOLE_H
#define PENTA_VIRTIO_CONSOLE_H

#include "virtio/virtio.h"
#include "vm/chardev.h"

#define VCONSOLE_PORTS_MAX 16
#define VCONSOLE_NAME_MAX 64

/* @name: of the channel, in the guest /dev/virtio-ports/NAME; copied. NULL: a console.
 * @be: borrowed; NULL: nobody there. It may go before the device, or after it. */
struct vconsole_port { const char *name; struct chardev *be; };

struct vconsole;
extern const struct device_class vconsole_class;
int vconsole_new(struct vconsole **out, struct machine *m, unsigned nports,
		 const struct vconsole_port *port, struct err *e);
struct virtio *vconsole_virtio(struct vconsole *d);
/* The terminal at console @port has this size now. Lock held. */
void vconsole_resize(struct vconsole *d, unsigned port, u16 cols, u16 rows);

#endif
