/* SPDX-License-Identifier: GPL-2.0-or-later */
/* net.h - the virtio network card. */
#ifndef PENTA_VIRTIO_NET_H
#define PENTA_VIRTIO_NET_H

#include "net/net.h"
#include "virtio/virtio.h"

struct vnet;
struct vnet_config {
	struct net *net;	/* borrowed, freed after the card; NULL: no cable */
	u8 mac[6];
	unsigned queues;	/* pairs, 1 .. NET_QUEUES_MAX */
	u16 mtu;		/* told to the driver; 0: not */
};
extern const struct device_class vnet_class;
int vnet_new(struct vnet **out, struct machine *m, const struct vnet_config *c, struct err *e);
struct virtio *vnet_virtio(struct vnet *d);

#endif
