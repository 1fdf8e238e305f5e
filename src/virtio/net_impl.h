/* SPDX-License-Identifier: GPL-2.0-or-later */
/* net_impl.h - what the files of the network card share: net.c (queues, life) and net_ctrl.c (the
 * control queue, and what it decides: who gets which frame). */
#ifndef PENTA_VIRTIO_NET_IMPL_H
#define PENTA_VIRTIO_NET_IMPL_H

#include "virtio/net.h"
#include "vm/clock.h"

enum {				/* 5.1.3: feature bits */
	VNET_F_CSUM = 0, VNET_F_GUEST_CSUM = 1, VNET_F_CTRL_GUEST_OFFLOADS = 2, VNET_F_MTU = 3,
	VNET_F_MAC = 5, VNET_F_GUEST_TSO4 = 7, VNET_F_GUEST_TSO6 = 8, VNET_F_GUEST_ECN = 9,
	VNET_F_HOST_TSO4 = 11, VNET_F_HOST_TSO6 = 12, VNET_F_HOST_ECN = 13, VNET_F_MRG_RXBUF = 15,
	VNET_F_STATUS = 16, VNET_F_CTRL_VQ = 17, VNET_F_CTRL_RX = 18, VNET_F_CTRL_VLAN = 19,
	VNET_F_CTRL_RX_EXTRA = 20, VNET_F_GUEST_ANNOUNCE = 21, VNET_F_MQ = 22,
	VNET_F_CTRL_MAC_ADDR = 23, VNET_F_HOST_USO = 56,
};
/* What the driver may switch while it runs: 5.1.6.5.6.1 */
#define VNET_OFFLOADS (BIT(VNET_F_GUEST_CSUM) | BIT(VNET_F_GUEST_TSO4) | BIT(VNET_F_GUEST_TSO6) | \
		       BIT(VNET_F_GUEST_ECN))

#define VNET_MACS 64		/* of each kind that are told apart; with more, all are taken */
#define VNET_VLANS 4096
#define VNET_FLOWS 256		/* buckets; a power of two */

struct vnet_macs {
	u8 n, all;		/* all: the driver named more than fit */
	u8 mac[VNET_MACS * 6];
};

struct vnet {
	struct virtio v;
	struct machine *m;
	struct net *net;
	unsigned pairs;		/* that exist */
	u8 perm_mac[6];
	u16 mtu;

	/* What the driver has set. */
	u8 mac[6];
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	struct vnet_macs uni, multi;
	u8 vlan[VNET_VLANS / 8];
	u16 use_pairs;
	u64 offloads;
	bool announce;		/* the guest shall tell the network where it is */
	bool link;
	struct state_blob back_end;

	/* Not state. */
	bool quiet;		/* the machine is being saved: guest memory stays as it is */
	bool rx_full;		/* the back end waits for buffers */
	u8 tx_full;		/* bit pair: its queue waits for the back end */
	bool give_up;		/* no buffers came for the frame that waits: drop it */
	struct vm_timer patience;
	u8 flow[VNET_FLOWS];	/* pair + 1 by which the guest last sent this flow; 0: none */
	struct iovec iov[RING_CHAIN_MAX];
	struct ring_chain *chain[RING_SIZE_MAX];
	u32 written[RING_SIZE_MAX];
};

/* The queue by which the driver controls the card. 5.1.2 */
unsigned vnet_ctrl_queue(const struct vnet *d);
void vnet_ctrl_kick(struct vnet *d);
void vnet_ctrl_reset(struct vnet *d);		/* what the driver has set, as after power-on */
bool vnet_ctrl_check(const struct vnet *d);	/* after loading: can it be? */
/* Does the guest want the frame whose first bytes these are? */
bool vnet_wants(const struct vnet *d, const u8 *head, size_t len);
void vnet_tell_caps(struct vnet *d);		/* offloads have changed */

extern const struct state_field vnet_state[];

#endif
