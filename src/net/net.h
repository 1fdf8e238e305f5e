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
	NET_CAP_USO = 32,
};
/* As struct virtio_net_hdr (Virtio 1.2, 5.1.6), in host order. */
enum { NET_NEEDS_CSUM = 1, NET_DATA_VALID = 2 };
enum { NET_GSO_NONE = 0, NET_GSO_TCPV4 = 1, NET_GSO_UDP = 3, NET_GSO_TCPV6 = 4,
       NET_GSO_UDP_L4 = 5, NET_GSO_ECN = 0x80 };
struct net_offload {
	u8 flags, gso_type;
	u16 hdr_len, gso_size, csum_start, csum_offset;
};
struct net_frame {
	const struct iovec *iov;	/* borrowed for the call */
	unsigned niov;
	size_t len;			/* bytes in all, from the destination address on; no FCS */
	unsigned queue;			/* which pair of the card's queues; back ends take it modulo theirs */
	struct net_offload off;
};

struct clock;
struct janitor;
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
	void (*flush)(struct net *n);		/* a batch of send() has ended; may be NULL */
	void (*room_now)(struct net *n);	/* the front end has room again; may be NULL */
	void (*caps_changed)(struct net *n);	/* front_caps is new; may be NULL */
	/* What outlives a save: opaque bytes (libslirp's connections). May be NULL. */
	int (*save)(struct net *n, u8 **buf, size_t *len, struct err *e);	/* *buf: malloc'ed */
	int (*load)(struct net *n, const u8 *buf, size_t len, struct err *e);	/* hostile bytes */
	void (*free)(struct net *n);
};
struct pcap;
struct net_way;
struct net {				/* first member of a back end's own struct */
	const struct net_ops *ops;
	u32 caps;			/* enum net_cap that send() takes as they are */
	u32 front_caps;			/* ... and that the front end takes */
	bool up;			/* the cable is in; net_set_link() */
	const struct net_front *front;
	void *dev;
	struct pcap *pcap;		/* writes down what passes; NULL: nothing */
	struct net_way *rx, *tx;	/* net.c's own: a frame that is being cut, each way */
};

/* What a user asked for, in one string: "user,forward=2222:22", "tap,ifname=tap0", "bridge=br0",
 * "switch=lan", "none", each with ",mac=", ",queues=", ",mtu=", ",pcap=FILE" (docs/net.md). */
struct net_env {
	struct loop *loop;		/* borrowed; delivers frames */
	struct clock *clock;		/* the machine's (vm/clock.h): timers of user.c stand while it stands */
	const char *runtime_dir;	/* where this user's switches meet; made if missing. NULL: no switch */
	const char *machine;		/* name for messages, and the DHCP host name unless told; may be NULL */
	struct janitor *janitor;	/* removes sockets when the process has gone (base/janitor.h) */
	const char *pcap;		/* capture file, as by ",pcap="; NULL: none. The spec's own goes first */
};
struct net_card {			/* what the spec says about the front end */
	u8 mac[6];			/* as told, else a random one (52:54:00:...); keep it with the machine */
	bool mac_told;
	unsigned queues;		/* pairs, 1 .. NET_QUEUES_MAX */
	u16 mtu;			/* 0: not told */
};
#define NET_QUEUES_MAX 8
/* Open all that @spec needs: descriptors, forwards (-EADDRINUSE names the port), files; nothing is opened
 * later. *@out stays NULL, and 0 is returned, for "none": no card. Errors name the part that is wrong.
 * On the thread that will be the loop's or before it runs. Free before the loop and the clock. */
int net_open(struct net **out, struct net_card *card, const char *spec, const struct net_env *env,
	     struct err *e);
/* Is @spec well formed? Opens nothing. For who stores specs. @card (may be NULL) is filled. */
int net_check(const char *spec, struct net_card *card, struct err *e);
void net_random_mac(u8 mac[6]);
/* "52:54:00:12:34:56"; multicast and zero addresses are refused. */
int net_parse_mac(const char *s, u8 mac[6], struct err *e);

void net_attach(struct net *n, const struct net_front *f, void *dev);
void net_detach(struct net *n);
void net_free(struct net *n);			/* accepts NULL */

/* For front ends; accept n == NULL (no cable: frames vanish). net_send() checks the frame's offload
 * fields, which are the guest's, and drops what cannot be; it computes checksums and cuts segments that
 * the back end does not (net/offload.c). */
bool net_send(struct net *n, const struct net_frame *f);
void net_flush(struct net *n);			/* after a batch of net_send() */
void net_room_now(struct net *n);
void net_set_caps(struct net *n, u32 caps);	/* what the front end takes */
/* Pull the cable or put it back. While it is out frames vanish in both directions. */
void net_set_link(struct net *n, bool up);
/* For back ends: deliver; completes what the front end does not take. False: keep the frame until
 * room_now(). True without a front end or a cable: it is gone. */
bool net_recv(struct net *n, const struct net_frame *f);
void net_can_send(struct net *n);		/* send() said false before; now it takes frames */

#endif
