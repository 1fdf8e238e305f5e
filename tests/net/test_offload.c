/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checksums and segments: known sums, and random frames whose pieces are checked by another's rules. */
#include "unit.h"
#include "net/offload.h"
#include "net/packets.h"

static struct pkt k;
static u8 all[NET_FRAME_MAX];

static void known_sums(void **st)
{
	/* RFC 1071, section 3 */
	static const u8 rfc[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
	/* An IPv4 header as seen on a wire, its checksum 0xb861. */
	static const u8 ip[] = { 0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61,
				 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7 };
	u16 c = offload_fold(offload_sum(rfc, sizeof(rfc), 0));

	assert_int_equal(get_be16(&c), (u16)~0xddf2);
	assert_int_equal(offload_fold(offload_sum(ip, sizeof(ip), 0)), 0);
}

static void random_sums(void **st)
{
	u64 s = 1;
	u8 b[300];

	for (unsigned i = 0; i < 20000; i++) {
		size_t off = rnd(&s) % 40, len = rnd(&s) % 256;
		bool ones = rnd(&s) % 8 == 0;
		u16 c;

		for (size_t j = 0; j < sizeof(b); j++)
			b[j] = ones ? 0xff : (u8)rnd(&s);
		c = offload_fold(offload_sum(b + off, len, 0));
		/* 0 and ffff are the same number */
		assert_int_equal(get_be16(&c) % 0xffff, (u16)~naive_sum(b + off, len, 0) % 0xffff);
	}
}

/* Cut @k, check each piece, and put the data together again in @all. Returns how many. */
static unsigned cut(size_t *total)
{
	struct iovec whole = { k.p, k.len }, iov[2];
	struct net_frame f = { .iov = &whole, .niov = 1, .len = k.len, .off = k.off };
	u8 type = k.off.gso_type & 0x7f, piece[NET_FRAME_MAX];
	struct offload_cut c;
	unsigned n = 0, hdr = k.data;
	bool last = false;

	*total = 0;
	assert_true(offload_check(&f));
	if (type == NET_GSO_UDP)
		hdr = k.l4;
	else
		assert_int_equal(f.off.hdr_len, hdr);
	if (type == NET_GSO_UDP)
		offload_checksum(k.p, k.len, &f.off);
	assert_true(offload_cut_begin(&c, k.p, k.len, &f.off));
	while (offload_cut_next(&c, iov)) {
		unsigned extra = type == NET_GSO_UDP && k.v6 ? 8 : 0;
		size_t len = iov[0].iov_len + iov[1].iov_len;
		const u8 *ip = piece + k.l3;

		assert_false(last);
		assert_int_equal(iov[0].iov_len, hdr + extra);
		assert_true(iov[1].iov_len <= k.off.gso_size);
		memcpy(piece, iov[0].iov_base, iov[0].iov_len);
		memcpy(piece + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
		memcpy(all + *total, iov[1].iov_base, iov[1].iov_len);
		if (k.v6) {
			assert_int_equal(get_be16(ip + 4), len - k.l3 - 40);
		} else {
			assert_int_equal(get_be16(ip + 2), len - k.l3);
			assert_int_equal(naive_sum(ip, k.l4 - k.l3, 0), 0xffff);
		}
		last = *total + iov[1].iov_len == k.len - hdr;
		if (type == NET_GSO_UDP) {
			unsigned off = k.v6 ? get_be16(piece + hdr + 2) & 0xfff8
					    : (get_be16(ip + 6) & 0x1fff) * 8u;
			bool more = k.v6 ? piece[hdr + 3] & 1 : ip[6] & 0x20;

			assert_int_equal(off, *total);
			assert_int_equal(more, !last);
			if (k.v6)
				assert_int_equal(piece[hdr], 17);
		} else {
			const u8 *l4 = piece + k.l4;

			assert_int_equal(naive_l4(piece, k.l3, k.l4, k.v6, k.proto, len), 0xffff);
			if (k.proto == 6) {
				assert_int_equal(get_be32(l4 + 4),
						 (u32)(get_be32(k.p + k.l4 + 4) + *total));
				assert_int_equal(l4[13] & 0x09, last ? k.p[k.l4 + 13] & 0x09 : 0);
				assert_int_equal(l4[13] & 0x80, n ? 0 : k.p[k.l4 + 13] & 0x80);
			} else {
				assert_int_equal(get_be16(l4 + 4), 8 + iov[1].iov_len);
			}
			if (!k.v6)
				assert_int_equal(get_be16(ip + 4),
						 (u16)(get_be16(k.p + k.l3 + 4) + n));
		}
		*total += iov[1].iov_len;
		n++;
	}
	assert_true(last);
	assert_memory_equal(all, k.p + hdr, *total);
	assert_int_equal(*total, k.len - hdr);
	return n;
}

static void segments(void **st)
{
	u64 s = 2;
	size_t total;

	for (unsigned i = 0; i < 3000; i++) {
		bool v6 = rnd(&s) & 1;
		size_t n = 1 + rnd(&s) % (rnd(&s) % 8 ? 4000 : 65000);
		u16 size = (u16)(8 + rnd(&s) % (rnd(&s) & 1 ? 200 : 9000));
		u8 type = (u8)(rnd(&s) % 3);

		if (type == 0) {
			u8 ecn = rnd(&s) & 1 ? NET_GSO_ECN : 0;

			pkt_make(&k, &s, v6, 6, n, size, (u8)((v6 ? NET_GSO_TCPV6 : NET_GSO_TCPV4) | ecn));
			assert_int_equal(cut(&total), (n + size - 1) / size);
		} else {
			pkt_make(&k, &s, v6, 17, n, size, type == 1 ? NET_GSO_UDP_L4 : NET_GSO_UDP);
			cut(&total);
		}
	}
}

static void one_piece(void **st)	/* checksum only, and large segments for who takes them whole */
{
	u64 s = 3;

	for (unsigned i = 0; i < 3000; i++) {
		bool v6 = rnd(&s) & 1, tcp = rnd(&s) & 1;
		size_t n = rnd(&s) % 3000;

		pkt_make(&k, &s, v6, tcp ? 6 : 17, n, 0, 0);
		offload_checksum(k.p, k.len, &k.off);
		assert_int_equal(naive_l4(k.p, k.l3, k.l4, v6, k.proto, k.len), 0xffff);

		pkt_make(&k, &s, v6, 6, n + 1, 100, v6 ? NET_GSO_TCPV6 : NET_GSO_TCPV4);
		put_be16(k.p + k.l4 + 16, (u16)rnd(&s));	/* what some drivers leave there */
		if (!v6)
			put_be16(k.p + k.l3 + 2, 0);
		assert_true(offload_whole(k.p, k.len, &k.off));
		assert_int_equal(naive_l4(k.p, k.l3, k.l4, v6, 6, k.len), 0xffff);
		if (!v6) {
			assert_int_equal(get_be16(k.p + k.l3 + 2), k.len - k.l3);
			assert_int_equal(naive_sum(k.p + k.l3, k.l4 - k.l3, 0), 0xffff);
		}
	}
}

static bool check(struct net_offload off, size_t len)
{
	struct iovec iov = { k.p, len };
	struct net_frame f = { .iov = &iov, .niov = 1, .len = len, .off = off };

	return offload_check(&f);
}

static void refused(void **st)
{
	u64 s = 4;
	struct net_offload o;

	pkt_make(&k, &s, false, 6, 3000, 1000, NET_GSO_TCPV4);
	o = k.off;
	assert_true(check(o, k.len));
	assert_false(check(o, 13));
	assert_false(check(o, NET_FRAME_MAX + 1));
	assert_false(check(o, k.l4 + 10));		/* its TCP header is cut off */
	o.gso_size = 0;
	assert_false(check(o, k.len));
	o.gso_size = 7;
	assert_false(check(o, k.len));
	o = k.off;
	o.flags = 0;
	assert_false(check(o, k.len));
	o = k.off;
	o.csum_start++;
	assert_false(check(o, k.len));
	o = k.off;
	o.csum_offset = 6;
	assert_false(check(o, k.len));
	o = k.off;
	o.gso_type = NET_GSO_TCPV6;
	assert_false(check(o, k.len));
	o.gso_type = NET_GSO_UDP_L4;
	assert_false(check(o, k.len));
	o.gso_type = 2;
	assert_false(check(o, k.len));
	o = (struct net_offload){ .flags = NET_NEEDS_CSUM, .csum_start = (u16)(k.len - 1) };
	assert_false(check(o, k.len));
	o.csum_start = (u16)(k.len - 2);
	assert_true(check(o, k.len));
	o.csum_start = 65535;
	o.csum_offset = 65535;
	assert_false(check(o, k.len));
	o = k.off;
	k.p[k.l3 + 6] = 0x00;
	k.p[k.l3 + 7] = 0x10;		/* a fragment has no TCP header */
	assert_false(check(o, k.len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_sums), cmocka_unit_test(random_sums), cmocka_unit_test(segments),
		cmocka_unit_test(one_piece), cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests_name("offload", tests, NULL, NULL);
}
