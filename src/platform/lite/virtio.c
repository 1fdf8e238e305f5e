/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio.c - what is plugged into a lite machine: virtio devices on its PCI bus.
 *
 * Each lite_add_xxx() makes the device, hands it to the machine under its name ("disk0"), and puts
 * it on the bus: the transport is a device of its own, "disk0.pci". */
#include "platform/lite/lite.h"
#include "virtio/balloon.h"
#include "virtio/blk.h"
#include "virtio/console.h"
#include "virtio/fs.h"
#include "virtio/net.h"
#include "virtio/pci.h"
#include "virtio/rng.h"
#include "virtio/vsock.h"
#include "base/cleanup.h"
#include <stdio.h>
#include <string.h>

/* The device @dev of class @cls, made just now: to the machine, and to slot @slot or the next. The
 * machine owns it from here on, also after an error. Lock held. */
static int plug(struct lite *l, const char *name, unsigned slot, const struct device_class *cls,
		void *dev, struct virtio *v, struct err *e)
{
	struct machine *m = lite_machine(l);
	struct virtio_pci *p;
	char path[64];
	int r = machine_add_device(m, cls, dev, name, e);

	if (!r)
		r = virtio_pci_new(&p, v, lite_pci(l), lite_slot(l, slot), e);
	if (r)
		return r;
	snprintf(path, sizeof(path), "%s.pci", name);
	return machine_add_device(m, &virtio_pci_class, p, path, e);
}

#define DISK_QUEUES 8		/* most for a disk that names no number */

int lite_add_disk(struct lite *l, const struct lite_disk *c, struct err *e)
{
	struct machine *m = lite_machine(l);
	struct vblk *d;
	int r;

	machine_lock(m);
	r = vblk_new(&d, m, c->block, c->serial,
		     c->queues ? c->queues : MIN(m->ncpus, DISK_QUEUES), e);
	if (!r && c->packed)
		virtio_offer_packed(vblk_virtio(d));
	if (!r)
		r = plug(l, c->name, c->slot, &vblk_class, d, vblk_virtio(d), e);
	machine_unlock(m);
	return r;
}

int lite_add_rng(struct lite *l, const char *name, unsigned slot, struct err *e)
{
	struct machine *m = lite_machine(l);
	struct vrng *d;
	int r;

	machine_lock(m);
	r = vrng_new(&d, m, e);
	if (!r)
		r = plug(l, name, slot, &vrng_class, d, vrng_virtio(d), e);
	machine_unlock(m);
	return r;
}

int lite_add_vsock(struct lite *l, const struct lite_vsock *c, struct vsock **out, struct err *e)
{
	cleanup_close int listen_fd = c->listen_fd;
	cleanup_close int dir_fd = c->host_dir_fd;
	struct machine *m = lite_machine(l);
	struct vsock_unix *u;
	struct vsock *d;
	char path[64];
	int r;

	machine_lock(m);
	r = vsock_new(&d, m, c->cid, e);
	if (!r)
		r = plug(l, c->name, c->slot, &vsock_class, d, vsock_virtio(d), e);
	if (!r && (listen_fd >= 0 || dir_fd >= 0)) {
		r = vsock_unix_new(&u, d, m, listen_fd, dir_fd, e);
		listen_fd = dir_fd = -1;
		snprintf(path, sizeof(path), "%s.unix", c->name);
		if (!r)
			r = machine_add_device(m, &vsock_unix_class, u, path, e);
	}
	if (!r && out)
		*out = d;
	machine_unlock(m);
	return r;
}

int lite_add_balloon(struct lite *l, const char *name, unsigned slot, struct balloon **out,
		     struct err *e)
{
	struct machine *m = lite_machine(l);
	struct balloon *d;
	int r;

	machine_lock(m);
	r = balloon_new(&d, m, e);
	if (!r)
		r = plug(l, name, slot, &balloon_class, d, balloon_virtio(d), e);
	if (!r && out)
		*out = d;
	machine_unlock(m);
	return r;
}

static void backend_free(void *dev)
{
	chardev_free(dev);
}

/* Freed after the port that uses it, as any device made before another is. */
static const struct device_class backend_class = { .name = "chardev", .free = backend_free };

int lite_add_console(struct lite *l, const struct lite_console *c, struct err *e)
{
	struct vconsole_port port[ARRAY_SIZE(c->port)];
	struct machine *m = lite_machine(l);
	struct vconsole *d;
	char path[64];
	int r = 0;

	BUG_ON(c->nports > ARRAY_SIZE(c->port));
	machine_lock(m);
	for (unsigned i = 0; i < c->nports; i++) {
		int rc = 0;

		port[i].name = c->port[i].name;
		port[i].be = c->port[i].be;
		snprintf(path, sizeof(path), "%s.port%u", c->name, i);
		if (port[i].be)		/* each is the machine's, whatever becomes of the others */
			rc = machine_add_device(m, &backend_class, port[i].be, path, r ? NULL : e);
		r = r ? r : rc;
	}
	if (!r)
		r = vconsole_new(&d, m, c->nports, port, e);
	if (!r)
		r = plug(l, c->name, c->slot, &vconsole_class, d, vconsole_virtio(d), e);
	machine_unlock(m);
	return r;
}

struct resize { const char *name; unsigned port; u16 cols, rows; };

static int resize_one(void *ctx, const char *path, const struct device_class *cls, void *dev)
{
	const struct resize *z = ctx;

	if (cls != &vconsole_class || strcmp(path, z->name))
		return 0;
	vconsole_resize(dev, z->port, z->cols, z->rows);
	return 1;
}

void lite_resize_console(struct lite *l, const char *name, unsigned port, u16 cols, u16 rows)
{
	struct resize z = { .name = name, .port = port, .cols = cols, .rows = rows };

	machine_each_device(lite_machine(l), resize_one, &z);
}

static void net_back_end_free(void *dev)
{
	net_free(dev);
}

static const struct device_class net_back_end_class = { .name = "net", .free = net_back_end_free };

int lite_add_net(struct lite *l, const struct lite_net *c, struct err *e)
{
	struct machine *m = lite_machine(l);
	struct vnet_config vc = { .net = c->net, .queues = c->queues, .mtu = c->mtu };
	struct vnet *d;
	char path[64];
	int r = 0;

	memcpy(vc.mac, c->mac, 6);
	snprintf(path, sizeof(path), "%s.backend", c->name);
	machine_lock(m);
	if (c->net)
		r = machine_add_device(m, &net_back_end_class, c->net, path, e);
	if (!r)
		r = vnet_new(&d, m, &vc, e);
	if (!r && c->packed)
		virtio_offer_packed(vnet_virtio(d));
	if (!r)
		r = plug(l, c->name, c->slot, &vnet_class, d, vnet_virtio(d), e);
	machine_unlock(m);
	return r;
}

int lite_add_share(struct lite *l, const struct lite_share *c, struct err *e)
{
	const struct share_opts o = { .dir_fd = c->dir_fd, .readonly = c->readonly,
				      .mapped = c->mapped };
	struct machine *m = lite_machine(l);
	struct vfs *d;
	int r;

	machine_lock(m);
	r = vfs_new(&d, m, c->tag, &o, e);
	if (!r)
		r = plug(l, c->name, c->slot, &vfs_class, d, vfs_virtio(d), e);
	machine_unlock(m);
	return r;
}
