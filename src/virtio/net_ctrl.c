/* SPDX-License-Identifier: GPL-2.0-or-later */
/* net_ctrl.c - the network card's control queue: filters, addresses, queues in use, offloads.
 * After: Virtio 1.2, 5.1.6.5.
 *
 * A request is two bytes, class and command, and the command's data; the answer is one byte. */
#include "base/bytes.h"
#include "virtio/net_impl.h"

enum ctrl_class { CTRL_RX = 0, CTRL_MAC = 1, CTRL_VLAN = 2, CTRL_ANNOUNCE = 3, CTRL_MQ = 4,
		  CTRL_OFFLOADS = 5 };
enum { RX_PROMISC = 0, RX_ALLMULTI, RX_ALLUNI, RX_NOMULTI, RX_NOUNI, RX_NOBCAST };
enum { MAC_TABLE_SET = 0, MAC_ADDR_SET = 1, VLAN_ADD = 0, VLAN_DEL = 1, ANNOUNCE_ACK = 0,
       MQ_PAIRS_SET = 0, OFFLOADS_SET = 0 };
enum { CTRL_OK = 0, CTRL_ERR = 1 };
enum { CTRL_HEADER = 2, CTRL_BATCH = 64 };

/* --- commands: true when done --- */

static bool set_rx(struct vnet *d, u8 cmd, const u8 *data, size_t len)
{
	bool *const mode[] = {
		[RX_PROMISC] = &d->promisc, [RX_ALLMULTI] = &d->allmulti, [RX_ALLUNI] = &d->alluni,
		[RX_NOMULTI] = &d->nomulti, [RX_NOUNI] = &d->nouni, [RX_NOBCAST] = &d->nobcast,
	};

	if (cmd >= ARRAY_SIZE(mode) || len != 1)
		return false;
	*mode[cmd] = data[0];
	return true;
}

/* A count and that many addresses, at @*at of the request. The list may be long: it is not copied. */
static bool read_macs(const struct ring_chain *c, u64 *at, struct vnet_macs *t)
{
	u8 b[4];
	u32 n;

	memset(t, 0, sizeof(*t));
	if (chain_read(c, *at, b, 4) != 4)
		return false;
	n = get_le32(b);
	if ((u64)n * 6 > c->read_len - *at - 4)
		return false;
	if (n > VNET_MACS) {
		t->all = 1;
	} else {
		t->n = (u8)n;
		chain_read(c, *at + 4, t->mac, n * 6);
	}
	*at += 4 + (u64)n * 6;
	return true;
}

static bool set_mac(struct vnet *d, const struct ring_chain *c, u8 cmd, const u8 *data, size_t len)
{
	struct vnet_macs uni, multi;
	u64 at = CTRL_HEADER;

	if (cmd == MAC_ADDR_SET) {
		if (len != 6)
			return false;
		memcpy(d->mac, data, 6);
		return true;
	}
	if (cmd != MAC_TABLE_SET || !read_macs(c, &at, &uni) || !read_macs(c, &at, &multi))
		return false;
	d->uni = uni;
	d->multi = multi;
	return true;
}

static bool set_vlan(struct vnet *d, u8 cmd, const u8 *data, size_t len)
{
	u16 id = len == 2 ? get_le16(data) : VNET_VLANS;

	if (id >= VNET_VLANS || cmd > VLAN_DEL)
		return false;
	if (cmd == VLAN_ADD)
		d->vlan[id / 8] |= (u8)(1u << id % 8);
	else
		d->vlan[id / 8] &= (u8)~(1u << id % 8);
	return true;
}

static bool set_pairs(struct vnet *d, const u8 *data, size_t len)
{
	u16 n = len == 2 ? get_le16(data) : 0;

	if (n < 1 || n > d->pairs)
		return false;
	d->use_pairs = n;
	return true;
}

static bool set_offloads(struct vnet *d, const u8 *data, size_t len)
{
	u64 bits = len == 8 ? get_le64(data) : ~0ull;

	if (bits & ~(d->v.features & VNET_OFFLOADS))
		return false;
	d->offloads = bits;
	vnet_tell_caps(d);
	return true;
}

static bool command(struct vnet *d, const struct ring_chain *c)
{
	u8 b[CTRL_HEADER + 8];
	size_t len = chain_read(c, 0, b, sizeof(b));
	const u8 *data = b + CTRL_HEADER;
	struct virtio *v = &d->v;

	if (len < CTRL_HEADER || c->write_len < 1)
		return false;
	len = (size_t)MIN(c->read_len - CTRL_HEADER, 9u);	/* 9: more than any command has */
	switch (b[0]) {
	case CTRL_RX:
		return virtio_has(v, BIT(b[1] <= RX_ALLMULTI ? VNET_F_CTRL_RX : VNET_F_CTRL_RX_EXTRA)) &&
		       set_rx(d, b[1], data, len);
	case CTRL_MAC:
		return virtio_has(v, BIT(b[1] == MAC_ADDR_SET ? VNET_F_CTRL_MAC_ADDR : VNET_F_CTRL_RX)) &&
		       set_mac(d, c, b[1], data, len);
	case CTRL_VLAN:
		return virtio_has(v, BIT(VNET_F_CTRL_VLAN)) && set_vlan(d, b[1], data, len);
	case CTRL_ANNOUNCE:
		if (!virtio_has(v, BIT(VNET_F_GUEST_ANNOUNCE)) || b[1] != ANNOUNCE_ACK || !d->announce)
			return false;
		d->announce = false;
		return true;
	case CTRL_MQ:
		return virtio_has(v, BIT(VNET_F_MQ)) && b[1] == MQ_PAIRS_SET && set_pairs(d, data, len);
	case CTRL_OFFLOADS:
		return virtio_has(v, BIT(VNET_F_CTRL_GUEST_OFFLOADS)) && b[1] == OFFLOADS_SET &&
		       set_offloads(d, data, len);
	}
	return false;
}

unsigned vnet_ctrl_queue(const struct vnet *d)
{
	return virtio_has(&d->v, BIT(VNET_F_MQ)) ? 2 * d->pairs : 2;
}

void vnet_ctrl_kick(struct vnet *d)
{
	unsigned q = vnet_ctrl_queue(d), n = 0;
	struct ring_chain *c;

	while (n++ < CTRL_BATCH && (c = virtio_pop(&d->v, q)) != NULL) {
		u8 ack = command(d, c) ? CTRL_OK : CTRL_ERR;

		ring_push(c, (u32)chain_write(c, 0, &ack, 1));
	}
	virtio_notify(&d->v, q);
	if (n > CTRL_BATCH)
		virtio_kick(&d->v, q);
}

/* --- what it decides --- */

static bool in_table(const struct vnet_macs *t, const u8 *mac)
{
	for (unsigned i = 0; i < t->n; i++)
		if (!memcmp(t->mac + i * 6, mac, 6))
			return true;
	return t->all;
}

bool vnet_wants(const struct vnet *d, const u8 *head, size_t len)
{
	static const u8 broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	if (len < 14)
		return false;
	if (virtio_has(&d->v, BIT(VNET_F_CTRL_VLAN)) && len >= 16 && get_be16(head + 12) == 0x8100) {
		unsigned id = get_be16(head + 14) & (VNET_VLANS - 1);

		if (!(d->vlan[id / 8] & 1u << id % 8))
			return false;
	}
	if (d->promisc || !virtio_has(&d->v, BIT(VNET_F_CTRL_RX)))
		return true;
	if (!memcmp(head, broadcast, 6))
		return !d->nobcast;
	if (head[0] & 1)
		return !d->nomulti && (d->allmulti || in_table(&d->multi, head));
	return !d->nouni && (d->alluni || !memcmp(head, d->mac, 6) || in_table(&d->uni, head));
}

void vnet_ctrl_reset(struct vnet *d)
{
	memcpy(d->mac, d->perm_mac, 6);
	/* A driver that knows filters sets them before it counts on them. */
	d->promisc = true;
	d->allmulti = d->alluni = d->nomulti = d->nouni = d->nobcast = false;
	memset(&d->uni, 0, sizeof(d->uni));
	memset(&d->multi, 0, sizeof(d->multi));
	memset(d->vlan, 0, sizeof(d->vlan));
	d->use_pairs = 1;
	d->announce = false;
	d->offloads = d->v.features & VNET_OFFLOADS;
}

bool vnet_ctrl_check(const struct vnet *d)
{
	return d->use_pairs >= 1 && d->use_pairs <= d->pairs &&
	       !(d->offloads & ~VNET_OFFLOADS);
}
