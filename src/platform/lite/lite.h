/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lite.h - the smallest machine that stock kernels boot on, without firmware. */
#ifndef PENTA_PLATFORM_LITE_LITE_H
#define PENTA_PLATFORM_LITE_LITE_H

#include "platform/boot/boot.h"
#include "vm/chardev.h"
#include "vm/machine.h"

#define LITE_SERIALS 2

struct block;
struct net;

#define LITE_BOARD 1		/* the newest; older ones are made for machines that were saved with them */

struct lite_config {
	struct machine_config machine;
	struct boot_request boot;	/* blobs are borrowed and must stay open */
	/* What serial port @n (0: COM1) is plugged into; @loop is the machine's. *@be, which the
	 * machine then owns, may stay NULL: nothing. */
	int (*open_serial)(void *ctx, unsigned n, struct loop *loop, struct chardev **be,
			   struct err *e);
	void *ctx;
};

struct lite;

/* A machine comes together in three steps:
 *	lite_new()		the board: CPUs, memory, chips; from here on there is a loop for back ends
 *	lite_add_xxx()		what is plugged into it, in the order in which the guest finds it
 *	lite_load()		what it boots (not for a machine whose state will be restored)
 * Nothing runs yet: machine_start() does that. */
int lite_new(struct lite **out, const struct lite_config *cfg, struct err *e);
int lite_load(struct lite *l, struct err *e);
/* Without a kernel or firmware in the configuration: boot what is on this disk (platform/boot/disk.h), at
 * each reset anew. @b, whose loop is the machine's, is borrowed and lives as long as the machine; @name,
 * for messages, is copied. Before lite_load(). */
int lite_boot_from(struct lite *l, struct block *b, const char *name, struct err *e);
/* In place of lite_load(): the state of a machine that was built alike (state/state.h). Then
 * machine_start_restored(). A later reset boots what cfg->boot says. */
struct state_stream;
int lite_restore(struct lite *l, struct state_stream *s, bool lazy, struct err *e);

/* Virtio devices on the PCI bus (platform/lite/virtio.c). @name: the device's path in state and
 * messages, unique in the machine ("disk0"). The back end is the machine's from the call on, also when
 * it fails. The slot is the next free one, or told by @slot when that is not 0. No lock held. */
struct lite_disk { const char *name; struct block *block; const char *serial; unsigned queues, slot;
		   bool packed; };	/* packed: offer packed rings, too */
int lite_add_disk(struct lite *l, const struct lite_disk *d, struct err *e);
struct lite_net { const char *name; struct net *net; u8 mac[6]; unsigned queues, slot; u16 mtu;
		  bool packed; };
int lite_add_net(struct lite *l, const struct lite_net *n, struct err *e);
/* @ports: console ports; the first is hvc0. name "org.penta..." for channels of programs, NULL: console */
struct lite_console { const char *name; unsigned nports, slot;
		      struct { const char *name; struct chardev *be; } port[8]; };
int lite_add_console(struct lite *l, const struct lite_console *c, struct err *e);
/* The terminal at this console port has that size (the machine's lock is held). */
void lite_resize_console(struct lite *l, const char *name, unsigned port, u16 cols, u16 rows);
int lite_add_rng(struct lite *l, const char *name, unsigned slot, struct err *e);
struct balloon;
int lite_add_balloon(struct lite *l, const char *name, unsigned slot, struct balloon **out,
		     struct err *e);
/* @dir_fd: of the shared folder, taken. @tag: what the guest mounts. @mapped: owners, modes and device
 * nodes that the guest sets are kept in user.penta.* attributes instead of being set on the host. */
struct lite_share { const char *name, *tag; int dir_fd; bool readonly, mapped; unsigned slot; };
int lite_add_share(struct lite *l, const struct lite_share *s, struct err *e);
/* @listen_fd: a listening unix socket by which host programs reach the guest's ports, taken;
 * @host_dir_fd: where sockets of host services lie that the guest may reach, taken, or -1. */
struct lite_vsock { const char *name; u32 cid; int listen_fd, host_dir_fd; unsigned slot; };
struct vsock;
/* @out, for services of penta's own (virtio/vsock.h); may be NULL. */
int lite_add_vsock(struct lite *l, const struct lite_vsock *v, struct vsock **out, struct err *e);
/* For virtio.c: the bus, and a device's slot on it: @want, or the next that is free. */
struct pci_bus *lite_pci(struct lite *l);
u8 lite_slot(struct lite *l, unsigned want);
/* The parts above need: start, run, pause... Borrowed. */
struct machine *lite_machine(struct lite *l);
void lite_free(struct lite *l);		/* accepts NULL */
/* What entry was taken, for people: "vmlinux from bzImage". Borrowed. */
const char *lite_boot_what(const struct lite *l);
/* As if somebody pressed it. Any thread. */
void lite_power_button(struct lite *l);

#endif
