/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The network card over real rings: both directions, all buffer shapes, control queue, queue pairs. */
#include "unit.h"
#include "net/packets.h"
#include "virtio/netcard.h"

#define ALL (~0ull)
static struct card c;
static struct pkt k;

static void tx(unsigned q, const u8 *hdr, const void *p, u32 len, unsigned pieces)
{
	struct drv_seg s[8];
	u64 buf = drv_alloc(&c.d, 12 + len);
	u32 done = 0;

	drv_put(&c.d, buf, hdr, 12);
	drv_put(&c.d, buf + 12, p, len);
	len += 12;
	for (unsigned i = 0; i < pieces; i++) {
		u32 n = i == pieces - 1 ? len - done : len / pieces;

		s[i] = (struct drv_seg){ buf + done, n };
		done += n;
	}
	assert_true(drv_add(&c.d.q[q], s, pieces, NULL, 0) >= 0);
	drv_kick(&c.d, q);
	drv_pump(&c.d);
}

static void rx_add(unsigned q, u32 len)
{
	struct drv_seg s = { drv_alloc(&c.d, len), len };
	int id = drv_add(&c.d.q[q], NULL, 0, &s, 1);

	assert_true(id >= 0);
}

static u8 ctrl(u8 cls, u8 cmd, const void *data, u32 len)
{
	u64 b = drv_alloc(&c.d, 2 + len + 1);
	u8 head[2] = { cls, cmd }, ack = 0xee;

	drv_put(&c.d, b, head, 2);
	drv_put(&c.d, b + 2, data, len);
	drv_put(&c.d, b + 2 + len, &ack, 1);
	assert_true(drv_add(&c.d.q[c.ctrl], (struct drv_seg[]){ { b, 2 }, { b + 2, len } }, len ? 2 : 1,
			    (struct drv_seg[]){ { b + 2 + len, 1 } }, 1) >= 0);
	drv_kick(&c.d, c.ctrl);
	drv_pump(&c.d);
	assert_true(drv_used(&c.d.q[c.ctrl], NULL) >= 0);
	drv_get(&c.d, b + 2 + len, &ack, 1);
	return ack;
}

static void sending(void **st)
{
	u64 s = 1;
	u8 h[12] = { 0 };

	for (unsigned i = 0; i < 40; i++) {
		size_t n = 14 + rnd(&s) % 1500;

		if (i % 10 == 0) {
			card_new(&c, 1);
			assert_true(drv_start(&c.d, i & 16 ? ALL : ALL & ~VIRTIO_F_RING_PACKED));
		}
		for (size_t j = 0; j < n; j++)
			k.p[j] = (u8)rnd(&s);
		tx(1, h, k.p, (u32)n, 1 + (unsigned)rnd(&s) % 8);
		assert_int_equal(c.far.nframes, 1);
		assert_int_equal(c.far.frame[0].len, n);
		assert_memory_equal(c.far.frame[0].p, k.p, n);
		assert_true(c.far.flushes);
		assert_true(drv_used(&c.d.q[1], NULL) >= 0);
		far_clear(&c.far);
		if (i % 10 != 9)
			continue;
		/* Short, huge, impossible: dropped, and the buffers come back. */
		tx(1, h, k.p, 0, 1);
		tx(1, h, k.p, 13, 1);
		tx(1, h, k.p, NET_FRAME_MAX + 1, 1);
		h[0] = 1;
		put_le16(h + 6, 1000);
		put_le16(h + 8, 1000);
		tx(1, h, k.p, 100, 2);
		memset(h, 0, 12);
		assert_int_equal(c.far.nframes, 0);
		for (unsigned j = 0; j < 4; j++)
			assert_true(drv_used(&c.d.q[1], NULL) >= 0);
		card_end(&c);
	}
}

static void back_end_full(void **st)
{
	u8 h[12] = { 0 };
	u8 p[60] = { 0 };

	card_new(&c, 1);
	assert_true(drv_start(&c.d, ALL));
	c.far.room = 2;
	for (u8 i = 0; i < 10; i++) {
		p[20] = i;
		tx(1, h, p, sizeof(p), 1);
	}
	assert_int_equal(c.far.nframes, 2);
	c.far.room = -1;
	net_can_send(&c.far.n);
	drv_pump(&c.d);
	assert_int_equal(c.far.nframes, 10);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(c.far.frame[i].p[20], i);
	card_end(&c);
}

/* One packet over buffers of any size. */
static void receiving(void **st)
{
	static u8 p[65000], got[65000];
	u64 s = 2;

	for (unsigned round = 0; round < 120; round++) {
		size_t n = 14 + rnd(&s) % (round & 1 ? 3000 : sizeof(p) - 14), have = 0;
		unsigned nbuf = 0;
		u64 gpa[DRV_IDS], room = 0;
		u32 len[DRV_IDS], w;
		u8 h[12];
		int id;

		card_new(&c, 1);
		assert_true(drv_start(&c.d, round & 2 ? ALL : ALL & ~VIRTIO_F_RING_PACKED));
		for (size_t j = 0; j < n; j++)
			p[j] = (u8)rnd(&s);
		while (room < n + 12) {
			u32 l = (u32)(12 + rnd(&s) % (n > 10000 ? 4000 : 300));
			struct drv_seg b[2];
			u64 at = drv_alloc(&c.d, l);

			b[0] = (struct drv_seg){ at, l / 2 };
			b[1] = (struct drv_seg){ at + l / 2, l - l / 2 };
			/* Not there yet: the back end keeps it. */
			if (nbuf < 3)
				assert_false(card_recv(&c, p, n, NULL));
			id = drv_add(&c.d.q[0], NULL, 0, b, 2);
			if (id < 0)
				break;
			gpa[id] = at;
			len[id] = l;
			room += l;
			nbuf++;
		}
		if (room < n + 12) {
			card_end(&c);
			continue;
		}
		drv_kick(&c.d, 0);
		drv_pump(&c.d);
		assert_true(c.far.rooms >= 1);
		assert_true(card_recv(&c, p, n, NULL));
		for (unsigned i = 0; (id = drv_used(&c.d.q[0], &w)) >= 0; i++) {
			u32 off = i ? 0 : 12;

			assert_true(w <= len[id] && w > 0);
			if (!i)
				drv_get(&c.d, gpa[id], h, 12);
			drv_get(&c.d, gpa[id] + off, got + have, w - off);
			have += w - off;
			nbuf--;
			if (have < n)
				assert_int_equal(w, len[id]);
		}
		assert_int_equal(have, n);
		assert_memory_equal(got, p, n);
		assert_int_equal(nbuf, 0);
		assert_true(get_le16(h + 10) >= 1);
		assert_true(c.d.q[0].interrupts >= 1);
		card_end(&c);
	}
}

static void not_mergeable(void **st)
{
	u8 p[3000] = { 0 };
	u32 w = 0;

	card_new(&c, 1);
	assert_true(drv_start(&c.d, ALL & ~BIT(VNET_F_MRG_RXBUF)));
	for (unsigned i = 0; i < 4; i++)
		rx_add(0, 1526);
	assert_true(card_recv(&c, p, 2000, NULL));	/* never fits: gone */
	assert_true(card_recv(&c, p, 1514, NULL));
	assert_true(drv_used(&c.d.q[0], &w) >= 0);
	assert_int_equal(w, 1526);
	assert_int_equal(drv_used(&c.d.q[0], &w), -1);
	card_end(&c);
}

/* What waits for ever would be a dead card: after half a second of guest time the frame is dropped. */
static void patience(void **st)
{
	u8 p[3000] = { 0 };
	u32 w = 0;

	card_new(&c, 1);
	assert_true(drv_start(&c.d, ALL));
	rx_add(0, 100);
	assert_false(card_recv(&c, p, 3000, NULL));
	c.dev->give_up = true;				/* as the timer does */
	assert_true(card_recv(&c, p, 3000, NULL));
	c.dev->give_up = false;
	assert_int_equal(drv_used(&c.d.q[0], &w), -1);
	assert_true(vm_timer_armed(&c.dev->patience));
	assert_true(card_recv(&c, p, 60, NULL));
	assert_true(drv_used(&c.d.q[0], &w) >= 0);
	card_end(&c);
}

static void offload(void **st)
{
	u64 s = 5;
	u8 h[12];
	u32 w;
	u64 buf;

	card_new(&c, 1);
	assert_true(drv_start(&c.d, ALL & ~BIT(VNET_F_CTRL_VLAN)));
	assert_int_equal(c.far.n.front_caps, NET_CAP_CSUM | NET_CAP_TSO4 | NET_CAP_TSO6 | NET_CAP_ECN);
	pkt_make(&k, &s, false, 6, 20000, 1448, NET_GSO_TCPV4);
	buf = drv_alloc(&c.d, 40000);
	drv_add(&c.d.q[0], NULL, 0, &(struct drv_seg){ buf, 40000 }, 1);
	assert_true(card_recv(&c, k.p, k.len, &k.off));
	assert_true(drv_used(&c.d.q[0], &w) >= 0);
	assert_int_equal(w, k.len + 12);
	drv_get(&c.d, buf, h, 12);
	assert_int_equal(h[0], 1);
	assert_int_equal(h[1], NET_GSO_TCPV4);
	assert_int_equal(get_le16(h + 2), k.data);
	assert_int_equal(get_le16(h + 4), 1448);
	assert_int_equal(get_le16(h + 6), k.l4);
	assert_int_equal(get_le16(h + 8), 16);
	assert_int_equal(get_le16(h + 10), 1);
	/* The guest turns it off. */
	assert_int_equal(ctrl(5, 0, (u8[8]){ 0 }, 8), 0);
	assert_int_equal(c.far.n.front_caps, 0);
	assert_int_equal(ctrl(5, 0, (u8[8]){ 0, 0x80, 0, 0, 0, 0, 0, 0 }, 8), 1);
	for (unsigned i = 0; i < 20; i++)
		rx_add(0, 1600);
	assert_true(card_recv(&c, k.p, k.len, &k.off));
	for (unsigned i = 0; i < 14; i++)
		assert_true(drv_used(&c.d.q[0], &w) >= 0);
	assert_int_equal(drv_used(&c.d.q[0], &w), -1);
	card_end(&c);

	/* Features that make no sense alone are refused. */
	card_new(&c, 1);
	drv_map(&c.d, true);
	assert_false(drv_negotiate(&c.d, VIRTIO_F_VERSION_1 | BIT(VNET_F_GUEST_TSO4)));
	assert_false(drv_negotiate(&c.d, VIRTIO_F_VERSION_1 | BIT(VNET_F_CTRL_RX)));
	assert_true(drv_negotiate(&c.d, VIRTIO_F_VERSION_1 | BIT(VNET_F_GUEST_TSO4) |
				  BIT(VNET_F_GUEST_CSUM)));
	card_end(&c);
}

static bool wants(const u8 *mac, int vlan)
{
	u8 p[60] = { 0 };
	u32 w;

	memcpy(p, mac, 6);
	if (vlan >= 0) {
		put_be16(p + 12, 0x8100);
		put_be16(p + 14, (u16)vlan);
	}
	assert_true(card_recv(&c, p, sizeof(p), NULL));
	return drv_used(&c.d.q[0], &w) >= 0;
}

static void filters(void **st)
{
	static const u8 other[6] = { 2, 1, 1, 1, 1, 1 }, multi[6] = { 1, 0, 0x5e, 0, 0, 1 },
		bcast[6] = { 255, 255, 255, 255, 255, 255 };
	u8 table[4 + 6 + 4 + 6] = { 1 }, many[4 + 100 * 6 + 4] = { 100 }, off = 0, on = 1;

	card_new(&c, 1);
	assert_true(drv_start(&c.d, ALL));
	for (unsigned i = 0; i < 60; i++)
		rx_add(0, 200);
	assert_true(wants(other, -1));			/* until it is told otherwise */
	assert_int_equal(ctrl(0, 0, &off, 1), 0);
	assert_true(wants(card_mac, -1));
	assert_true(wants(bcast, -1));
	assert_false(wants(other, -1));
	assert_false(wants(multi, -1));
	assert_int_equal(ctrl(0, 1, &on, 1), 0);
	assert_true(wants(multi, -1));
	assert_int_equal(ctrl(0, 1, &off, 1), 0);
	memcpy(table + 4, other, 6);
	table[10] = 1;
	memcpy(table + 14, multi, 6);
	assert_int_equal(ctrl(1, 0, table, sizeof(table)), 0);
	assert_true(wants(other, -1));
	assert_true(wants(multi, -1));
	assert_int_equal(ctrl(1, 0, table, sizeof(table) - 1), 1);
	table[0] = 200;
	assert_int_equal(ctrl(1, 0, table, sizeof(table)), 1);
	memset(table, 0, sizeof(table));
	assert_int_equal(ctrl(1, 0, table, 8), 0);
	assert_false(wants(other, -1));
	assert_int_equal(ctrl(1, 0, many, sizeof(many)), 0);
	assert_true(wants(other, -1));			/* more than are kept: all */
	assert_int_equal(ctrl(1, 1, other, 6), 0);	/* a new address */
	assert_int_equal(ctrl(1, 0, table, 8), 0);
	assert_true(wants(other, -1));
	assert_false(wants(card_mac, -1));
	assert_int_equal(drv_read(&c.d, DRV_DEVICE, 1), 2);
	assert_int_equal(ctrl(0, 5, &on, 1), 0);
	assert_false(wants(bcast, -1));
	assert_false(wants(other, 7));
	assert_int_equal(ctrl(2, 0, (u8[]){ 7, 0 }, 2), 0);
	assert_true(wants(other, 7));
	assert_int_equal(ctrl(2, 1, (u8[]){ 7, 0 }, 2), 0);
	assert_false(wants(other, 7));
	assert_int_equal(ctrl(2, 0, (u8[]){ 0, 0x10 }, 2), 1);
	assert_int_equal(ctrl(0, 6, &on, 1), 1);
	assert_int_equal(ctrl(9, 9, &on, 1), 1);
	assert_int_equal(ctrl(0, 0, "", 0), 1);
	card_end(&c);
}

static void pairs(void **st)
{
	u64 s = 8;
	u8 h[12] = { 0 };
	u32 w;

	card_new(&c, 4);
	assert_true(drv_start(&c.d, ALL & ~BIT(VNET_F_CTRL_VLAN)));
	assert_int_equal(drv_read(&c.d, DRV_DEVICE + 8, 2), 4);
	for (unsigned q = 0; q < 4; q++)
		for (unsigned i = 0; i < 10; i++)
			rx_add(2 * q, 1600);
	pkt_make(&k, &s, false, 17, 100, 0, 0);
	k.off.flags = 0;
	assert_true(card_recv(&c, k.p, k.len, NULL));
	assert_true(drv_used(&c.d.q[0], &w) >= 0);	/* one pair until it says more */
	assert_int_equal(ctrl(4, 0, (u8[]){ 0, 0 }, 2), 1);
	assert_int_equal(ctrl(4, 0, (u8[]){ 5, 0 }, 2), 1);
	assert_int_equal(ctrl(4, 0, (u8[]){ 4, 0 }, 2), 0);
	for (unsigned q = 0; q < 4; q++) {
		u8 a[4], b[2];

		tx(2 * q + 1, h, k.p, (u32)k.len, 1);
		assert_int_equal(c.far.frame[q].queue, q);
		/* The answer: ends exchanged, on the same pair. */
		memcpy(a, k.p + k.l3 + 12, 4);
		memcpy(k.p + k.l3 + 12, k.p + k.l3 + 16, 4);
		memcpy(k.p + k.l3 + 16, a, 4);
		memcpy(b, k.p + k.l4, 2);
		memcpy(k.p + k.l4, k.p + k.l4 + 2, 2);
		memcpy(k.p + k.l4 + 2, b, 2);
		assert_true(card_recv(&c, k.p, k.len, NULL));
		assert_true(drv_used(&c.d.q[2 * q], &w) >= 0);
	}
	card_end(&c);
}

static void link_and_announce(void **st)
{
	unsigned before;

	card_new(&c, 1);
	assert_true(drv_start(&c.d, ALL));
	assert_int_equal(drv_read(&c.d, DRV_DEVICE + 6, 2), 1);
	assert_int_equal(drv_read(&c.d, DRV_DEVICE + 10, 2), 1500);
	before = c.d.config_interrupts;
	net_set_link(&c.far.n, false);
	assert_int_equal(c.d.config_interrupts, before + 1);
	assert_int_equal(drv_read(&c.d, DRV_DEVICE + 6, 2), 0);
	net_set_link(&c.far.n, true);
	/* Saved: nothing touches memory; restored: it shall tell where it is. */
	rx_add(0, 100);
	vnet_class.quiesce(c.dev);
	assert_false(card_recv(&c, k.p, 60, NULL));
	vnet_class.resumed(c.dev, false);
	drv_pump(&c.d);
	assert_true(card_recv(&c, k.p, 60, NULL));
	assert_int_equal(drv_read(&c.d, DRV_DEVICE + 6, 2), 1);
	vnet_class.resumed(c.dev, true);
	assert_int_equal(drv_read(&c.d, DRV_DEVICE + 6, 2), 3);
	assert_int_equal(ctrl(3, 0, "", 0), 0);
	assert_int_equal(drv_read(&c.d, DRV_DEVICE + 6, 2), 1);
	assert_int_equal(ctrl(3, 0, "", 0), 1);
	card_end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sending), cmocka_unit_test(back_end_full), cmocka_unit_test(receiving),
		cmocka_unit_test(not_mergeable), cmocka_unit_test(patience), cmocka_unit_test(offload),
		cmocka_unit_test(filters), cmocka_unit_test(pairs), cmocka_unit_test(link_and_announce),
	};

	return cmocka_run_group_tests_name("virtio-net", tests, NULL, NULL);
}
