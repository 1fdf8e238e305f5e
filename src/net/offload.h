/* SPDX-License-Identifier: GPL-2.0-or-later */
/* offload.h - what a network card leaves undone, done in software: checksums, and segments larger than
 * the wire takes. The fields that describe it come from a guest, or from another machine: nothing in
 * them is believed before offload_check(). */
#ifndef PENTA_NET_OFFLOAD_H
#define PENTA_NET_OFFLOAD_H

#include "net/net.h"

#define OFFLOAD_HEADERS_MAX 256	/* bytes of Ethernet, IP and TCP header in front of a segment's data */

/* Ones' complement sum of @len bytes added to @sum; offload_fold() makes the checksum of it, in the
 * order of memory. RFC 1071. */
u64 offload_sum(const void *p, size_t len, u64 sum);
u16 offload_fold(u64 sum);

/* Where the headers lie; offsets from the destination address on. */
struct offload_headers {
	u16 l3, l4;		/* IP header, what is after it (and after IPv6 extension headers) */
	u16 last_next;		/* IPv6: offset of the byte that names what is at l4 */
	u8 version, proto;	/* 4 or 6, IP protocol at l4 */
	bool fragment;		/* of an IP datagram, not the first */
};
/* False: no IP, or cut short. At most two VLAN tags and eight IPv6 extension headers are passed over. */
bool offload_parse(const u8 *p, size_t len, struct offload_headers *h);
/* The sum of the pseudo header for @l4_len bytes of @proto. RFC 9293, 3.1; RFC 8200, 8.1. */
u64 offload_pseudo(const u8 *p, const struct offload_headers *h, u8 proto, u32 l4_len);

/* Are length and offload fields of @f such that the rest of this file can work on it? Sets hdr_len to
 * what it really is. */
bool offload_check(struct net_frame *f);
/* Which of enum net_cap a receiver must have to take @off as it is. */
u32 offload_needs(const struct net_offload *off);
size_t offload_gather(const struct net_frame *f, void *buf, size_t off, size_t len);
/* NEEDS_CSUM: finish the checksum in place. The frame was checked. */
void offload_checksum(u8 *p, size_t len, const struct net_offload *off);

/* A large TCP segment for a receiver that takes it in one piece, but wants a checksum: make it, and the
 * length in its IP header, in place. False: longer than an IP packet can be. */
bool offload_whole(u8 *p, size_t len, const struct net_offload *off);

/* Cuts a checked frame, one piece a call. */
struct offload_cut {
	const u8 *p;		/* borrowed: headers and data */
	size_t len, pos;	/* of the data not yet taken */
	struct offload_headers h;
	u16 hdr_len, size;	/* data of a piece */
	u8 type;		/* enum NET_GSO without ECN */
	u32 n;			/* pieces made */
	u8 hdr[OFFLOAD_HEADERS_MAX + 8];
	u16 out_hdr_len;
};
/* False: cannot be cut (after offload_check(): never). */
bool offload_cut_begin(struct offload_cut *c, const u8 *p, size_t len, const struct net_offload *off);
/* The next piece: @iov[0] is its header (in @c, until the next call), @iov[1] its data. Checksums are
 * complete. False: there is none left. */
bool offload_cut_next(struct offload_cut *c, struct iovec iov[2]);

#endif
