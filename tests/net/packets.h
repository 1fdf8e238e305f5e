/* SPDX-License-Identifier: GPL-2.0-or-later */
/* packets.h - frames for tests, and checks of frames that share no code with src/net/. */
#ifndef PENTA_TESTS_NET_PACKETS_H
#define PENTA_TESTS_NET_PACKETS_H

#include "base/bytes.h"
#include "base/types.h"
#include "net/net.h"
#include <string.h>

static inline u64 rnd(u64 *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* RFC 1071 as the book has it: 16 bits at a time, big-endian. Not complemented. */
static inline u32 naive_sum(const u8 *p, size_t len, u32 sum)
{
	for (size_t i = 0; i < len; i++) {
		sum += i & 1 ? p[i] : (u32)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

struct pkt {
	u8 p[NET_FRAME_MAX + 64];
	size_t len;
	unsigned l3, l4, data;		/* offsets */
	bool v6;
	u8 proto;
	struct net_offload off;
};

static inline u32 naive_l4(const u8 *p, unsigned l3, unsigned l4, bool v6, u8 proto, size_t len)
{
	u32 sum = v6 ? naive_sum(p + l3 + 8, 32, 0) : naive_sum(p + l3 + 12, 8, 0);
	u8 tail[4] = { 0, proto, (u8)((len - l4) >> 8), (u8)(len - l4) };

	return naive_sum(p + l4, len - l4, naive_sum(tail, 4, sum));
}

/* A frame of TCP (6) or UDP (17) with @n bytes of data, its checksum left to be done, and headers that
 * vary with @s. */
static inline void pkt_make(struct pkt *k, u64 *s, bool v6, u8 proto, size_t n, u16 gso_size, u8 gso_type)
{
	unsigned at = 12, opt;
	u32 sum;

	memset(k, 0, sizeof(*k));
	k->v6 = v6;
	k->proto = proto;
	for (unsigned i = 0; i < 12; i++)
		k->p[i] = (u8)rnd(s);
	if (rnd(s) % 4 == 0) {
		put_be16(k->p + at, 0x8100);
		put_be16(k->p + at + 2, (u16)(rnd(s) & 0xfff));
		at += 4;
	}
	put_be16(k->p + at, v6 ? 0x86dd : 0x0800);
	k->l3 = at += 2;
	if (v6) {
		bool ext = rnd(s) % 4 == 0;

		k->p[at] = 0x60;
		k->p[at + 6] = ext ? 60 : proto;
		k->p[at + 7] = 64;
		for (unsigned i = 8; i < 40; i++)
			k->p[at + i] = (u8)rnd(s);
		at += 40;
		if (ext) {
			k->p[at] = proto;
			k->p[at + 1] = 1;	/* 16 bytes */
			at += 16;
		}
	} else {
		opt = (unsigned)(rnd(s) % 11);
		k->p[at] = (u8)(0x45 + opt);
		put_be16(k->p + at + 4, (u16)rnd(s));
		k->p[at + 6] = 0x40;
		k->p[at + 8] = 64;
		k->p[at + 9] = proto;
		for (unsigned i = 12; i < 20; i++)
			k->p[at + i] = (u8)rnd(s);
		for (unsigned i = 0; i < opt * 4; i++)
			k->p[at + 20 + i] = 1;
		at += 20 + opt * 4;
	}
	k->l4 = at;
	for (unsigned i = 0; i < 8; i++)
		k->p[at + i] = (u8)rnd(s);
	if (proto == 6) {
		opt = (unsigned)(rnd(s) % 11);
		put_be32(k->p + at + 8, (u32)rnd(s));
		k->p[at + 12] = (u8)((5 + opt) << 4);
		k->p[at + 13] = (u8)(0x10 | (rnd(s) & 0x89));	/* ACK, perhaps CWR, PSH, FIN */
		at += 20 + opt * 4;
	} else {
		put_be16(k->p + at + 4, (u16)(8 + n));
		at += 8;
	}
	k->data = at;
	for (size_t i = 0; i < n; i++)
		k->p[at + i] = (u8)rnd(s);
	k->len = at + n;
	if (v6)
		put_be16(k->p + k->l3 + 4, (u16)(k->len - k->l3 - 40));
	else
		put_be16(k->p + k->l3 + 2, (u16)(k->len - k->l3));
	if (!v6)
		put_be16(k->p + k->l3 + 10, (u16)~naive_sum(k->p + k->l3, k->l4 - k->l3, 0));
	/* What a driver leaves in the field: the pseudo header's sum. */
	k->off = (struct net_offload){ .flags = NET_NEEDS_CSUM, .gso_type = gso_type,
		.gso_size = gso_size, .csum_start = (u16)k->l4, .csum_offset = proto == 6 ? 16 : 6,
		.hdr_len = (u16)rnd(s) };
	put_be16(k->p + k->l4 + k->off.csum_offset, 0);
	sum = naive_l4(k->p, k->l3, k->l4, v6, proto, k->len);
	/* That minus what is not the pseudo header. */
	sum += 0xffff - naive_sum(k->p + k->l4, k->len - k->l4, 0);
	put_be16(k->p + k->l4 + k->off.csum_offset, (u16)((sum & 0xffff) + (sum >> 16)));
}

#endif
