/* SPDX-License-Identifier: GPL-2.0-or-later */
/* net.h - a wire: frames both ways between a network card (front end) and where they go on the host
 * (back end: user.c, tap.c, switch.c). All calls come with the machine lock held; a back end delivers
 * frames on the loop's thread. */
#ifndef PENTA_NET_NET_H
#define PENTA_NET_NET_H

#include "base/err.h"
#include "base/loop.h"
#include "base/types.h"
#include <sys/uio.h>

#define NET_FRAME_MAX (65536 + 64)	/* bytes, with offload; Ethernet header included */

/* What a receiver can leave to be done later: an unfinished checksum, a segment larger than the MTU. */
enum net_cap {
	NET_CAP_CSUM = 1, NET_CAP_TSO4 = 2, NET_CAP_TSO6 = 4, NET_CAP_ECN = 8, NET_CAP_UFO = 16,
};
/* As struct virtio_net_hdr (Virtio 1.2, 5.1.6), in host order. */
enum { NET_NEEDS_CSUM = 1, NET_DATA_VALID = 2 };
enum { NET_GSO_NONE = 0, NET_GSO_TCPV4 = 1, NET_GSO_UDP = 3, NET_GSO_TCPV6 = 4, NET_GSO_ECN = 0x80 };
struct net_offload {
	u8 flags, gso_type;
	u16 hdr_len, gso_size, csum_start, csum_offset;
};
struct net_frame {
	const struct iovec *iov;	/* borrowed for the call */
	unsigned niov;
	size_t len;			/* bytes in all, from the destination address on; no FCS */
	struct net_offload off;
};

struct net;
struct net_front {
	/* False: no room now; the back end keeps the frame, and tries again after room_now(). */
	bool (*recv)(void *dev, const struct net_frame *f);
	void (*can_send)(void *dev);	/* send() said false before; now it takes frames. May be NULL */
	void (*link)(void *dev, bool up);	/* May be NULL */
};
struct net_ops {
	const char *name;
	/* Take @f, of which it copies what it keeps. False: full; can_send() is called later. Frames
	 * that use more than n->caps are cut and completed by net_send() before. */
	bool (*send)(struct net *n, const struct net_frame *f);
	void (*room_now)(struct net *n);	/* the front end has room again; may be NULL */
	void (*caps_changed)(struct net *n);	/* front_caps is new; may be NULL */
	/* What outlives a save: opaque bytes (libslirp's connections). May be NULL. */
	int (*save)(struct net *n, u8 **buf, size_t *len, struct err *e);	/* *buf: malloc'ed */
	int (*load)(struct net *n, const u8 *buf, size_t len, struct err *e);	/* hostile bytes */
	void (*free)(struct net *n);
};
struct net {				/* first member of a back end's own struct */
	const struct net_ops *ops;
	u32 caps;			/* enum net_cap that send() takes as they are */
	u32 front_caps;			/* ... and that the front end takes */
	bool up;
	const struct net_front *front;
	void *dev;
};

void net_attach(struct net *n, const struct net_front *f, void *dev);
void net_detach(struct net *n);
void net_free(struct net *n);			/* accepts NULL */

/* For front ends; accept n == NULL (no cable: frames vanish). net_send() checks the frame's offload
 * fields, which are the guest's, and drops what cannot be; it computes checksums and cuts segments that
 * the back end does not (net/offload.c). */
bool net_send(struct net *n, const struct net_frame *f);
void net_room_now(struct net *n);
void net_set_caps(struct net *n, u32 caps);	/* what the front end takes */
/* For back ends: deliver; completes what the front end does not take. */
bool net_recv(struct net *n, const struct net_frame *f);

#endif
