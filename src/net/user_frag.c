/* SPDX-License-Identifier: GPL-2.0-or-later */
/* user_frag.c - IPv4 datagrams that the guest sends in fragments, put together before libslirp sees them.
 * After: RFC 791, 3.2; RFC 815; RFC 5722 (no overlaps, for IPv4 as well).
 *
 * libslirp can do this, but not safely: Debian's 4.7.0 writes over its own lists when the last fragment
 * of a datagram comes first (a pointer that it changes under another type is read from a register), which
 * a guest can use against the host. It is therefore given whole datagrams only. */
#include "base/bytes.h"
#include "net/user.h"
#include <stdlib.h>

enum {
	FRAG_DATAGRAMS = 8,		/* under way at once; the oldest makes room */
	FRAG_HEAD = 14 + 60,
	FRAG_DATA = 65536,
	IP_MF = 0x2000, IP_OFF = 0x1fff,
};
#define FRAG_NS (15 * 1000000000ull)

struct frag_datagram {
	bool used, have_head;
	u8 key[11];			/* source, destination, identification, protocol */
	u64 since_ns;
	u32 have, total;		/* bytes of data; total 0: the last one is not there yet */
	u16 head_len;			/* Ethernet and IP header of the first fragment */
	u8 seen[FRAG_DATA / 8 / 8];	/* units of eight bytes */
	u8 buf[FRAG_HEAD + FRAG_DATA];	/* headers end, and data begins, at FRAG_HEAD */
};

struct user_frag {
	struct frag_datagram *d[FRAG_DATAGRAMS];
};

int user_frag_new(struct user_frag **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -1;
}

void user_frag_free(struct user_frag *f)
{
	for (unsigned i = 0; f && i < FRAG_DATAGRAMS; i++)
		free(f->d[i]);
	free(f);
}

static void begin(struct frag_datagram *d, const u8 key[11], u64 now_ns)
{
	d->used = true;
	d->have_head = false;
	d->since_ns = now_ns;
	d->have = d->total = 0;
	memcpy(d->key, key, sizeof(d->key));
	memset(d->seen, 0, sizeof(d->seen));
}

/* The datagram of @key, or a new one: in a free place, else in that of the oldest. */
static struct frag_datagram *find(struct user_frag *f, const u8 key[11], u64 now_ns)
{
	unsigned place = 0;

	for (unsigned i = 0; i < FRAG_DATAGRAMS; i++) {
		struct frag_datagram *d = f->d[i], *best = f->d[place];

		if (d && d->used && now_ns - d->since_ns > FRAG_NS)
			d->used = false;
		if (d && d->used && !memcmp(d->key, key, sizeof(d->key)))
			return d;
		if (best && best->used && (!d || !d->used || d->since_ns < best->since_ns))
			place = i;
	}
	if (!f->d[place])
		f->d[place] = malloc(sizeof(struct frag_datagram));
	if (f->d[place])
		begin(f->d[place], key, now_ns);
	return f->d[place];
}

/* Mark [off, off + len) as there. False: some of it was. */
static bool mark(struct frag_datagram *d, u32 off, u32 len)
{
	u32 end = (off + len + 7) / 8;

	for (u32 i = off / 8; i < end; i++) {
		if (d->seen[i / 8] & 1u << i % 8)
			return false;
		d->seen[i / 8] |= (u8)(1u << i % 8);
	}
	return true;
}

u8 *user_frag_add(struct user_frag *f, const u8 *p, size_t len, u64 now_ns, size_t *out_len)
{
	const u8 *ip = p + 14;
	unsigned hl = (ip[0] & 15) * 4u, flags = get_be16(ip + 6);
	u32 off = (flags & IP_OFF) * 8u, n = get_be16(ip + 2);
	struct frag_datagram *d;
	u8 key[11], *head;

	/* user_edge_out() has parsed the header; the length in it may be anything. */
	if (n < hl || 14 + n > len)
		return NULL;
	n -= hl;
	if (!n || off + n > 65535 - 60 || (flags & IP_MF && n % 8))
		return NULL;
	memcpy(key, ip + 12, 8);
	memcpy(key + 8, ip + 4, 2);
	key[10] = ip[9];
	d = find(f, key, now_ns);
	if (!d)
		return NULL;
	if (!mark(d, off, n) || (!(flags & IP_MF) && d->total) || (d->total && off + n > d->total)) {
		d->used = false;		/* somebody plays with overlaps */
		return NULL;
	}
	memcpy(d->buf + FRAG_HEAD + off, ip + hl, n);
	d->have += n;
	if (!(flags & IP_MF))
		d->total = off + n;
	if (off == 0) {
		d->head_len = (u16)(14 + hl);
		memcpy(d->buf + FRAG_HEAD - d->head_len, p, d->head_len);
		d->have_head = true;
	}
	if (!d->total || d->have < d->total || !d->have_head)
		return NULL;
	d->used = false;
	if (d->have != d->total)
		return NULL;
	head = d->buf + FRAG_HEAD - d->head_len;
	put_be16(head + 16, (u16)(d->head_len - 14 + d->total));
	put_be16(head + 20, 0);
	put_le16(head + 24, 0);
	put_le16(head + 24, offload_fold(offload_sum(head + 14, d->head_len - 14u, 0)));
	*out_len = d->head_len + d->total;
	return head;
}
