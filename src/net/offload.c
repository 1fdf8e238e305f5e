/* SPDX-License-Identifier: GPL-2.0-or-later */
/* offload.c - checksums and segmentation in software, for receivers that cannot take a frame as it is.
 * After: RFC 1071 (checksum), RFC 9293 (TCP), RFC 768 (UDP), RFC 791 and 815 (IPv4 fragments), RFC 8200
 * (IPv6), Virtio 1.2, 5.1.6 (what the fields of a frame mean).
 *
 * Sums are kept in the byte order of memory: the ones' complement sum does not care (RFC 1071, 2B). */
#include "net/offload.h"
#include "base/bytes.h"

enum { ETH_HLEN_ = 14, ETH_IP4 = 0x0800, ETH_IP6 = 0x86dd, ETH_VLAN = 0x8100, ETH_QINQ = 0x88a8 };
enum { P_HOPOPTS = 0, P_ICMP = 1, P_TCP = 6, P_UDP = 17, P_ROUTING = 43, P_FRAGMENT = 44,
       P_DSTOPTS = 60 };
enum { TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_CWR = 0x80 };
enum { IP4_MF = 0x2000, IP4_OFF = 0x1fff, IP6_MF = 1 };

/* --- sums --- */

static u64 add_carry(u64 a, u64 b)
{
	return a + b + (a + b < b);
}

u64 offload_sum(const void *buf, size_t len, u64 sum)
{
	const u8 *p = buf;
	u64 a = sum, b = 0;

	for (; len >= 32; p += 32, len -= 32) {		/* two chains: carries wait for each other */
		a = add_carry(a, get_le64(p));
		b = add_carry(b, get_le64(p + 8));
		a = add_carry(a, get_le64(p + 16));
		b = add_carry(b, get_le64(p + 24));
	}
	for (; len >= 8; p += 8, len -= 8)
		a = add_carry(a, get_le64(p));
	if (len) {
		u64 last = 0;

		memcpy(&last, p, len);
		b = add_carry(b, last);
	}
	return add_carry(a, b);
}

u16 offload_fold(u64 sum)
{
	sum = (sum >> 32) + (u32)sum;
	sum = (sum >> 32) + (u32)sum;
	sum = (sum >> 16) + (u16)sum;
	sum = (sum >> 16) + (u16)sum;
	sum = (sum >> 16) + (u16)sum;
	return (u16)~sum;
}

u64 offload_pseudo(const u8 *p, const struct offload_headers *h, u8 proto, u32 l4_len)
{
	u8 tail[8] = { 0 };

	put_be32(tail, l4_len);
	tail[7] = proto;
	if (h->version == 4)
		return offload_sum(p + h->l3 + 12, 8, offload_sum(tail, 8, 0));
	return offload_sum(p + h->l3 + 8, 32, offload_sum(tail, 8, 0));
}

/* --- headers --- */

static bool parse_ip4(const u8 *p, size_t len, struct offload_headers *h)
{
	unsigned hl;

	if (h->l3 + 20u > len || p[h->l3] >> 4 != 4)
		return false;
	hl = (p[h->l3] & 15) * 4u;
	if (hl < 20 || h->l3 + hl > len)
		return false;
	h->version = 4;
	h->l4 = (u16)(h->l3 + hl);
	h->proto = p[h->l3 + 9];
	h->fragment = get_be16(p + h->l3 + 6) & IP4_OFF;
	return true;
}

static bool parse_ip6(const u8 *p, size_t len, struct offload_headers *h)
{
	size_t at = h->l3 + 40u, named = h->l3 + 6u;

	if (at > len || p[h->l3] >> 4 != 6)
		return false;
	for (unsigned n = 0; n < 8; n++) {
		u8 type = p[named];

		if (type != P_HOPOPTS && type != P_ROUTING && type != P_DSTOPTS && type != P_FRAGMENT)
			break;
		if (at + 8 > len)
			return false;
		if (type == P_FRAGMENT && get_be16(p + at + 2) & 0xfff8)
			h->fragment = true;
		named = at;
		at += type == P_FRAGMENT ? 8 : (p[at + 1] + 1u) * 8;
		if (at > len)
			return false;
	}
	h->version = 6;
	h->l4 = (u16)at;
	h->last_next = (u16)named;
	h->proto = p[named];
	return true;
}

bool offload_parse(const u8 *p, size_t len, struct offload_headers *h)
{
	size_t at = 12;

	memset(h, 0, sizeof(*h));
	for (unsigned tags = 0; at + 2 <= len; tags++, at += 4) {
		u16 type = get_be16(p + at);

		h->l3 = (u16)(at + 2);
		if (type == ETH_IP4)
			return parse_ip4(p, len, h);
		if (type == ETH_IP6)
			return parse_ip6(p, len, h);
		if ((type != ETH_VLAN && type != ETH_QINQ) || tags == 2)
			break;
	}
	return false;
}

size_t offload_gather(const struct net_frame *f, void *buf, size_t off, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < f->niov && done < len; i++) {
		size_t have = f->iov[i].iov_len, n;

		if (off >= have) {
			off -= have;
			continue;
		}
		n = MIN(have - off, len - done);
		memcpy((u8 *)buf + done, (const u8 *)f->iov[i].iov_base + off, n);
		done += n;
		off = 0;
	}
	return done;
}

/* --- what is believed --- */

/* Where TCP, UDP or ICMP have their checksum. */
static unsigned checksum_at(u8 proto)
{
	return proto == P_TCP ? 16 : proto == P_UDP ? 6 : 2;
}

/* The length of all headers before the data that is cut, or 0. */
static unsigned cut_headers(const u8 *p, size_t len, u8 type, struct offload_headers *h)
{
	unsigned hl = 8;

	if (!offload_parse(p, len, h) || h->fragment)
		return 0;
	if (type == NET_GSO_TCPV4 || type == NET_GSO_TCPV6) {
		if (h->proto != P_TCP || h->version != (type == NET_GSO_TCPV4 ? 4 : 6))
			return 0;
		if (h->l4 + 20u > len)
			return 0;
		hl = (p[h->l4 + 12] >> 4) * 4u;
		if (hl < 20)
			return 0;
	} else if (h->proto != P_UDP && !(type == NET_GSO_UDP && h->proto == P_ICMP)) {
		return 0;	/* a large echo is fragmented like a datagram of UDP */
	}
	return h->l4 + hl <= len && h->l4 + hl <= OFFLOAD_HEADERS_MAX ? h->l4 + hl : 0;
}

bool offload_check(struct net_frame *f)
{
	struct net_offload *o = &f->off;
	u8 type = o->gso_type & (u8)~NET_GSO_ECN, head[OFFLOAD_HEADERS_MAX];
	struct offload_headers h;

	if (f->len < ETH_HLEN_ || f->len > NET_FRAME_MAX)
		return false;
	if (o->flags & NET_NEEDS_CSUM &&
	    ((u32)o->csum_start + o->csum_offset + 2 > f->len || o->csum_start < ETH_HLEN_))
		return false;
	if (type == NET_GSO_NONE) {
		o->gso_type = NET_GSO_NONE;
		o->gso_size = 0;
		o->hdr_len = 0;
		return true;
	}
	if (type != NET_GSO_TCPV4 && type != NET_GSO_TCPV6 && type != NET_GSO_UDP &&
	    type != NET_GSO_UDP_L4)
		return false;
	if (type == NET_GSO_UDP || type == NET_GSO_UDP_L4)
		o->gso_type = type;
	/* 5.1.6.2: a frame to be cut has its checksum to be made; a piece holds eight bytes at least,
	 * so that a frame makes no more pieces than a few thousand. */
	if (!(o->flags & NET_NEEDS_CSUM) || o->gso_size < 8)
		return false;
	o->hdr_len = (u16)cut_headers(head, offload_gather(f, head, 0, sizeof(head)), type, &h);
	return o->hdr_len && o->csum_start == h.l4 && o->csum_offset == checksum_at(h.proto);
}

u32 offload_needs(const struct net_offload *o)
{
	u32 need = o->flags & NET_NEEDS_CSUM ? NET_CAP_CSUM : 0;

	switch (o->gso_type & ~NET_GSO_ECN) {
	case NET_GSO_TCPV4: need |= NET_CAP_TSO4; break;
	case NET_GSO_TCPV6: need |= NET_CAP_TSO6; break;
	case NET_GSO_UDP: need |= NET_CAP_UFO; break;
	case NET_GSO_UDP_L4: need |= NET_CAP_USO; break;
	}
	return need | (o->gso_type & NET_GSO_ECN ? NET_CAP_ECN : 0);
}

void offload_checksum(u8 *p, size_t len, const struct net_offload *o)
{
	struct offload_headers h;
	u16 c;

	if (!(o->flags & NET_NEEDS_CSUM))
		return;
	c = offload_fold(offload_sum(p + o->csum_start, len - o->csum_start, 0));
	/* RFC 768: zero would say that there is none. */
	if (!c && o->csum_offset == 6 && offload_parse(p, len, &h) && h.proto == P_UDP)
		c = 0xffff;
	put_le16(p + o->csum_start + o->csum_offset, c);
}

/* @l4_len bytes at h->l4 get their checksum; of them @n, at @data, may lie elsewhere. */
static void finish_l4(u8 *p, const struct offload_headers *h, const u8 *data, size_t n, size_t l4_len)
{
	u8 *at = p + h->l4 + checksum_at(h->proto);
	u64 sum = offload_pseudo(p, h, h->proto, (u32)l4_len);
	u16 ck;

	put_le16(at, 0);
	/* What is before @data has an even length, so that the data's sum can be taken by itself. */
	ck = offload_fold(offload_sum(data, n, offload_sum(p + h->l4, l4_len - n, sum)));
	put_le16(at, !ck && h->proto == P_UDP ? 0xffff : ck);
}

static void finish_ip4(u8 *p, const struct offload_headers *h, size_t ip_len)
{
	u8 *ip = p + h->l3;

	put_be16(ip + 2, (u16)ip_len);
	put_le16(ip + 10, 0);
	put_le16(ip + 10, offload_fold(offload_sum(ip, h->l4 - h->l3, 0)));
}

bool offload_whole(u8 *p, size_t len, const struct net_offload *o)
{
	struct offload_headers h;

	if (!cut_headers(p, len, o->gso_type & (u8)~NET_GSO_ECN, &h) || h.proto != P_TCP ||
	    len - h.l3 > 0xffff)
		return false;
	if (h.version == 4)
		finish_ip4(p, &h, len - h.l3);
	else
		put_be16(p + h.l3 + 4, (u16)(len - h.l3 - 40));
	finish_l4(p, &h, p + h.l4, len - h.l4, len - h.l4);
	return true;
}

/* --- cutting --- */

bool offload_cut_begin(struct offload_cut *c, const u8 *p, size_t len, const struct net_offload *o)
{
	unsigned hl;

	memset(c, 0, offsetof(struct offload_cut, hdr));
	c->type = o->gso_type & (u8)~NET_GSO_ECN;
	hl = cut_headers(p, len, c->type, &c->h);
	if (!hl || !o->gso_size)
		return false;
	c->p = p;
	c->len = len;
	/* Fragments: what is cut begins behind the IP header, and the UDP header is data of the first. */
	c->hdr_len = (u16)(c->type == NET_GSO_UDP ? c->h.l4 : hl);
	c->size = c->type == NET_GSO_UDP ? o->gso_size & ~7u : o->gso_size;
	c->pos = c->hdr_len;
	return c->size;
}

static void ip_lengths(struct offload_cut *c, size_t data)
{
	u8 *ip = c->hdr + c->h.l3;

	if (c->h.version == 6) {
		put_be16(ip + 4, (u16)(c->out_hdr_len - c->h.l3 - 40u + data));
		return;
	}
	if (c->type != NET_GSO_UDP)
		put_be16(ip + 4, (u16)(get_be16(ip + 4) + c->n));	/* identification */
	finish_ip4(c->hdr, &c->h, c->out_hdr_len - c->h.l3 + data);
}

/* A piece of a TCP or UDP segment: a whole packet with a checksum of its own. */
static void finish_segment(struct offload_cut *c, const u8 *data, size_t n, bool last)
{
	u8 *l4 = c->hdr + c->h.l4;
	size_t l4_hdr = c->hdr_len - c->h.l4;

	ip_lengths(c, n);
	if (c->h.proto == P_TCP) {
		put_be32(l4 + 4, get_be32(l4 + 4) + (u32)(c->pos - c->hdr_len));
		if (!last)
			l4[13] &= (u8)~(TCP_FIN | TCP_PSH);
		if (c->n)
			l4[13] &= (u8)~TCP_CWR;		/* RFC 3168, 6.1.2: once a window */
	} else {
		put_be16(l4 + 4, (u16)(8 + n));
	}
	finish_l4(c->hdr, &c->h, data, n, l4_hdr + n);
}

/* A fragment of an IP datagram. The UDP checksum, which is in the first, was finished before. */
static void finish_fragment(struct offload_cut *c, size_t n, bool last)
{
	u16 off8 = (u16)((c->pos - c->hdr_len) / 8);

	if (c->h.version == 4) {
		u8 *ip = c->hdr + c->h.l3;

		put_be16(ip + 6, (u16)(off8 | (last ? 0 : IP4_MF)));
	} else {
		u8 *fh = c->hdr + c->h.l4;

		c->hdr[c->h.last_next] = P_FRAGMENT;
		fh[0] = c->h.proto;
		fh[1] = 0;
		put_be16(fh + 2, (u16)(off8 << 3 | (last ? 0 : IP6_MF)));
		/* Identification: what differs between datagrams of two ends is at hand. */
		memcpy(fh + 4, c->p + c->h.l4 + 4, 4);
	}
	ip_lengths(c, n);
}

bool offload_cut_next(struct offload_cut *c, struct iovec iov[2])
{
	size_t n = MIN((size_t)c->size, c->len - c->pos);
	bool last = c->pos + n == c->len;

	if (c->n && !n)
		return false;
	memcpy(c->hdr, c->p, c->hdr_len);
	c->out_hdr_len = c->hdr_len;
	if (c->type == NET_GSO_UDP) {
		if (c->h.version == 6)
			c->out_hdr_len += 8;
		finish_fragment(c, n, last);
	} else {
		finish_segment(c, c->p + c->pos, n, last);
	}
	iov[0] = (struct iovec){ c->hdr, c->out_hdr_len };
	iov[1] = (struct iovec){ (u8 *)c->p + c->pos, n };
	c->pos += n;
	c->n++;
	return true;
}
