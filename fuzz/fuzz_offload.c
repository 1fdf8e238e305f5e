/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_offload.c - what a guest can write into a frame and its header: checked, finished, cut; as it comes,
 * and in the hands of the user network's edge and of its reassembly. Frames lie at the end of their memory,
 * so that a read beyond them is seen by ASan; pieces must be as large as they say, and add up.
 * How long, and from which seed: fuzz.h. */
#include "fuzz.h"
#include "../tests/net/packets.h"
#include "base/trace.h"
#include "net/offload.h"
#include "net/user.h"
#include <stdio.h>
#include <stdlib.h>

static struct pkt k;
static struct user_edge edge;
static struct user_frag *frag;

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_offload: %s\n", what);
	abort();
}

static void make(u64 *s)
{
	static const u8 types[] = { 0, 1, 4, 3, 5, 0x81, 0x84, 2 };
	size_t n = rnd(s) % (rnd(s) % 64 ? 300 : rnd(s) % 8 ? 3000 : 65000);

	pkt_make(&k, s, rnd(s) & 1, rnd(s) % 3 ? 6 : rnd(s) & 1 ? 17 : 1, n,
		 (u16)(rnd(s) % 4 ? rnd(s) % 2000 : rnd(s)), types[rnd(s) % sizeof(types)]);
	for (unsigned i = (unsigned)rnd(s) % 6; i; i--)
		k.p[rnd(s) % MIN(k.len, (size_t)160)] = (u8)rnd(s);
	if (rnd(s) % 4 == 0) {
		u8 *o = (u8 *)&k.off;

		o[rnd(s) % sizeof(k.off)] = (u8)rnd(s);
	}
	if (rnd(s) % 4 == 0)
		k.len = 1 + rnd(s) % k.len;
}

static void cut(u8 *p, size_t len, const struct net_offload *off)
{
	struct offload_cut c;
	struct iovec iov[2];
	size_t total = 0;
	unsigned n = 0;

	if (!offload_cut_begin(&c, p, len, off))
		return;
	while (offload_cut_next(&c, iov)) {
		static u8 piece[NET_FRAME_MAX + 64];

		must(iov[1].iov_len <= off->gso_size, "a piece is larger than asked for");
		must(iov[1].iov_len || len == c.hdr_len, "an empty piece");
		must(iov[0].iov_len + iov[1].iov_len <= sizeof(piece), "a piece is too long");
		memcpy(piece, iov[0].iov_base, iov[0].iov_len);
		memcpy(piece + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
		total += iov[1].iov_len;
		must(++n <= NET_FRAME_MAX / 8 + 1, "too many pieces");
	}
	must(total == len - c.hdr_len, "pieces do not add up");
}

static void one(u64 seed)
{
	u64 s = seed * 0x9e3779b97f4a7c15ull | 1;
	u8 head[USER_HEAD_MAX], *p;
	struct net_offload off;
	struct iovec iov[3];
	struct net_frame f = { .iov = iov };
	struct offload_headers h;
	size_t a, b;

	make(&s);
	p = malloc(k.len);
	memcpy(p, k.p, k.len);
	a = rnd(&s) % (k.len + 1);
	b = a + rnd(&s) % (k.len - a + 1);
	iov[0] = (struct iovec){ p, a };
	iov[1] = (struct iovec){ p + a, b - a };
	iov[2] = (struct iovec){ p + b, k.len - b };
	f.niov = 3;
	f.len = k.len;
	f.off = k.off;
	offload_parse(p, k.len, &h);
	if (offload_check(&f)) {
		if (f.off.gso_type != NET_GSO_NONE) {
			cut(p, k.len, &f.off);
			offload_whole(p, k.len, &f.off);
		} else {
			offload_checksum(p, k.len, &f.off);
		}
	}
	if (k.len >= 14) {
		enum user_verdict v = user_edge_out(&edge, p, k.len, rnd(&s) & 1);

		if (v == USER_FRAGMENT) {
			size_t len = 0;
			u8 *whole = user_frag_add(frag, p, k.len, seed * 1000000, &len);

			if (whole)
				must(user_edge_out(&edge, whole, len, true) != USER_FRAGMENT,
				     "a whole datagram is a fragment");
		}
		must(user_edge_in(&edge, p, k.len, head, &off) <= k.len, "a head larger than its frame");
	}
	free(p);
}

int main(int argc, char **argv)
{
	struct fuzz f = fuzz_begin(argc, argv, "fuzz_offload");

	log_set_level(LOG_ERROR);
	edge = (struct user_edge){ .dns.s_addr = 0x0302000a, .resolver.s_addr = 0x35000001, .ip6 = true,
				   .mtu = 1500 };
	must(user_frag_new(&frag) == 0, "memory");
	while (fuzz_more(&f, f.rounds != 0))
		one(f.seed);
	user_frag_free(frag);
	return fuzz_end(&f);
}
