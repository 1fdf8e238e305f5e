/* SPDX-License-Identifier: GPL-2.0-or-later */
/* user_edge.c - between the guest and libslirp:
 *
 * - Name service. libslirp would read /etc/resolv.conf while the guest runs, which the sandbox forbids.
 *   Instead the guest's questions to the NAT's own name server are addressed to the host's, which was
 *   read at the start, and the answers named back.
 * - Large segments. libslirp has no segmentation offload, but it takes and makes segments up to its
 *   MTU, 64 KiB. A guest that takes large segments is therefore shown to it as one with a large MSS;
 *   the segments that come of it are marked so that the guest sees them as many of its MTU's size.
 *   What is no TCP is fragmented when it is larger than the guest's MTU.
 * - IPv6 routers. libslirp's advertisements look for a name server in that file, too; ours do not.
 *
 * After: RFC 1624 (changing a checksum), RFC 9293, 3.7.1 (MSS), RFC 4861, 4.2 (router advertisement). */
#include "net/user.h"
#include "base/bytes.h"

enum { ETH_ARP = 0x0806, ETH_IP4 = 0x0800, ETH_IP6 = 0x86dd };
enum { P_ICMP = 1, P_TCP = 6, P_UDP = 17, P_ICMP6 = 58 };
enum { TCP_SYN = 0x02, TCP_ACK = 0x10, OPT_END = 0, OPT_NOP = 1, OPT_MSS = 2 };
enum { ICMP6_RS = 133, ICMP6_RA = 134, PORT_DNS = 53, PORT_DHCP = 67 };
enum { MSS_LARGE = 32768 };	/* libslirp's own limit; two of them fill its window */

/* Replace @n bytes at @at by @with in what @ck, a checksum in memory, covers. RFC 1624. */
static void replace(u8 *at, const void *with, unsigned n, u8 *ck, u8 *ck2, bool udp)
{
	for (unsigned i = 0; i < n; i += 2) {
		u64 diff = (u64)(u16)~get_le16(at + i) + get_le16((const u8 *)with + i);

		if (ck)
			put_le16(ck, offload_fold((u16)~get_le16(ck) + diff));
		if (ck2 && (!udp || get_le16(ck2))) {	/* UDP: 0 says that there is none */
			u16 v = offload_fold((u16)~get_le16(ck2) + diff);

			put_le16(ck2, !v && udp ? 0xffff : v);
		}
	}
	memcpy(at, with, n);
}

/* The checksum of TCP or UDP at h->l4, or NULL when it is not there. */
static u8 *l4_checksum(u8 *p, size_t len, const struct offload_headers *h)
{
	unsigned at = h->l4 + (h->proto == P_TCP ? 16u : 6u);

	return at + 2 <= len ? p + at : NULL;
}

static u32 *asker(struct user_edge *x, u8 proto, u16 port)
{
	return &x->asker[(port ^ port >> 8 ^ proto) & (USER_EDGE_ASKERS - 1)];
}

/* --- from the guest --- */

static bool ask_resolver(struct user_edge *x, u8 *p, size_t len, const struct offload_headers *h)
{
	u8 *ip = p + h->l3, *ck = l4_checksum(p, len, h);

	if (h->l4 + 8u > len || !ck)
		return false;
	if (get_be16(p + h->l4 + 2) != PORT_DNS || !x->resolver.s_addr)
		return false;
	*asker(x, h->proto, get_be16(p + h->l4)) = (u32)h->proto << 16 | get_be16(p + h->l4);
	replace(ip + 16, &x->resolver.s_addr, 4, ip + 10, ck, h->proto == P_UDP);
	return true;
}

/* A guest, or who is behind it, that asks for less than its MTU allows knows why: left alone. */
static void enlarge_mss(const struct user_edge *x, u8 *p, size_t len, const struct offload_headers *h)
{
	unsigned usual = x->mtu - (h->version == 4 ? 40u : 60u);
	u8 *tcp = p + h->l4;
	unsigned end = (tcp[12] >> 4) * 4u;

	if (h->l4 + end > len)
		return;
	for (unsigned at = 20; at + 1 < end && tcp[at] != OPT_END; ) {
		if (tcp[at] == OPT_NOP) {
			at++;
		} else if (tcp[at] == OPT_MSS && tcp[at + 1] == 4 && at + 4 <= end) {
			unsigned val = at + 2, word = val & ~1u;	/* sums are over pairs */
			u8 w[4];

			if (get_be16(tcp + val) < usual)
				return;
			memcpy(w, tcp + word, 4 - 2 * !(val & 1));
			put_be16(w + (val & 1), MSS_LARGE);
			replace(tcp + word, w, val & 1 ? 4 : 2, tcp + 16, NULL, false);
			return;
		} else if (tcp[at + 1] < 2) {
			return;
		} else {
			at += tcp[at + 1];
		}
	}
}

static enum user_verdict tcp_out(const struct user_edge *x, u8 *p, size_t len, const struct offload_headers *h, bool large)
{
	if (h->l4 + 20u > len)
		return USER_DROP;
	if (!(p[h->l4 + 13] & TCP_SYN))
		return USER_PASS;
	if (large)
		enlarge_mss(x, p, len, h);
	return p[h->l4 + 13] & TCP_ACK ? USER_PASS : USER_NEW_FLOW;
}

enum user_verdict user_edge_out(struct user_edge *x, u8 *p, size_t len, bool large)
{
	struct offload_headers h;
	u16 type = get_be16(p + 12);

	if (type == ETH_ARP)
		return USER_PASS;
	if ((type != ETH_IP4 && !(type == ETH_IP6 && x->ip6)) || !offload_parse(p, len, &h))
		return USER_DROP;
	if (h.version == 4 && get_be16(p + h.l3 + 6) & 0xbfff)	/* anything but "don't fragment" */
		return USER_FRAGMENT;
	if (h.fragment)
		return USER_DROP;	/* libslirp has no fragments of IPv6 */
	if (h.version == 4 && !memcmp(p + h.l3 + 16, &x->dns, 4) &&
	    (h.proto == P_TCP || h.proto == P_UDP) && !ask_resolver(x, p, len, &h))
		return USER_DROP;
	switch (h.proto) {
	case P_TCP:
		return tcp_out(x, p, len, &h, large);
	case P_ICMP6:
		return h.l4 < len && p[h.l4] == ICMP6_RS ? USER_ROUTER : USER_NEW_FLOW;
	case P_UDP:	/* libslirp answers DHCP by itself */
		return h.l4 + 4u <= len && get_be16(p + h.l4 + 2) == PORT_DHCP ? USER_PASS
									       : USER_NEW_FLOW;
	default:
		return USER_NEW_FLOW;
	}
}

/* --- to the guest --- */

static void rename_resolver(struct user_edge *x, u8 *head, const struct offload_headers *h)
{
	u16 port = get_be16(head + h->l4 + 2);

	if (get_be16(head + h->l4) != PORT_DNS || memcmp(head + h->l3 + 12, &x->resolver, 4) ||
	    *asker(x, h->proto, port) != ((u32)h->proto << 16 | port))
		return;
	replace(head + h->l3 + 12, &x->dns, 4, head + h->l3 + 10,
		l4_checksum(head, USER_HEAD_MAX, h), h->proto == P_UDP);
}

/* More than fits the guest's MTU: to be cut on the way, or by the guest itself. */
static void mark_large(const struct user_edge *x, u8 *head, size_t len, const struct offload_headers *h,
		       struct net_offload *off)
{
	unsigned l4_hdr = h->proto == P_TCP ? (head[h->l4 + 12] >> 4) * 4u : 0;
	unsigned room = x->mtu - (h->l4 - h->l3) - l4_hdr;
	u64 sum = offload_pseudo(head, h, h->proto, (u32)(len - h->l4));

	off->csum_start = h->l4;
	off->gso_size = (u16)room;
	off->hdr_len = (u16)(h->l4 + l4_hdr);
	if (h->proto == P_TCP) {
		off->gso_type = h->version == 4 ? NET_GSO_TCPV4 : NET_GSO_TCPV6;
		off->csum_offset = 16;
	} else if (h->proto == P_UDP) {
		off->gso_type = NET_GSO_UDP;
		off->csum_offset = 6;
	} else if (h->proto == P_ICMP && h->version == 4) {
		off->gso_type = NET_GSO_UDP;
		off->csum_offset = 2;
		sum = 0;
	} else {
		return;
	}
	off->flags = NET_NEEDS_CSUM;
	put_le16(head + h->l4 + off->csum_offset, sum ? (u16)~offload_fold(sum) : 0);
}

size_t user_edge_in(struct user_edge *x, const u8 *p, size_t len, u8 *head, struct net_offload *off)
{
	size_t n = MIN(len, (size_t)USER_HEAD_MAX);
	struct offload_headers h;

	memset(off, 0, sizeof(*off));
	memcpy(head, p, n);
	if (!offload_parse(head, n, &h) || h.fragment)
		return n;
	if (h.l4 + (h.proto == P_TCP ? 20u : 8u) > n)
		return n;
	if ((h.proto == P_TCP || h.proto == P_UDP) && h.version == 4)
		rename_resolver(x, head, &h);
	off->flags = NET_DATA_VALID;	/* nothing between libslirp and the guest can damage it */
	if (len - h.l3 > x->mtu)
		mark_large(x, head, len, &h, off);
	return n;
}

/* --- router advertisement --- */

void user_edge_ra(const struct user_edge *x, u8 p[USER_RA_LEN])
{
	/* libslirp makes Ethernet addresses of the last four bytes of its IP addresses. */
	const u8 router_eth[6] = { 0x52, 0x56, 0, 0, 0, 2 };
	struct offload_headers h = { .l3 = 14, .l4 = 54, .version = 6, .proto = P_ICMP6 };
	u8 *ip = p + 14, *ra = p + 54, *o = ra + 16;

	memset(p, 0, USER_RA_LEN);
	memcpy(p, (const u8[]){ 0x33, 0x33, 0, 0, 0, 1 }, 6);
	memcpy(p + 6, router_eth, 6);
	put_be16(p + 12, ETH_IP6);
	ip[0] = 0x60;
	put_be16(ip + 4, USER_RA_LEN - 54);
	ip[6] = P_ICMP6;
	ip[7] = 255;
	memcpy(ip + 8, &x->router6, 16);
	memcpy(ip + 24, (const u8[16]){ 0xff, 2, [15] = 1 }, 16);	/* all nodes */
	ra[0] = ICMP6_RA;
	ra[4] = 64;			/* hop limit */
	put_be16(ra + 6, 65535);	/* router lifetime, s */
	o[0] = 1;			/* source link-layer address */
	o[1] = 1;
	memcpy(o + 2, router_eth, 6);
	o += 8;
	o[0] = 3;			/* prefix information */
	o[1] = 4;
	o[2] = 64;
	o[3] = 0xc0;			/* on link, for autoconfiguration */
	put_be32(o + 4, 0xffffffff);	/* valid and preferred for ever */
	put_be32(o + 8, 0xffffffff);
	memcpy(o + 16, &x->prefix6, 16);
	put_le16(ra + 2, offload_fold(offload_sum(ra, USER_RA_LEN - 54,
		 offload_pseudo(p, &h, P_ICMP6, USER_RA_LEN - 54))));
}
