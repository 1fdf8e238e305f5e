/* SPDX-License-Identifier: GPL-2.0-or-later */
/* net.c - the network card: frames from the guest's queues to a back end, and back.
 * After: Virtio 1.2, 5.1.
 *
 *	driver -> transmitq -> tx_kick -> net_send ->	back end
 *	driver <- receiveq  <- vnet_recv <- net_recv <-	back end
 *
 * Neither side loses frames for want of room: a full back end leaves the guest's buffers in their queue
 * (tx_full), a guest without buffers makes the back end keep its frame (rx_full) until it adds some. Only
 * a frame for which no buffers come at all is dropped in the end, or a card with few and small ones would
 * be dead for ever (patience).
 *
 * With several pairs of queues, the frames of a flow come by the pair on which the guest last sent it
 * (5.1.6.5.5), so that one CPU of the guest has all of a connection. */
#include "base/bytes.h"
#include "base/trace.h"
#include "net/offload.h"
#include "virtio/net_impl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

DEFINE_TRACE(vnet_tx, "net.tx");
DEFINE_TRACE(vnet_rx, "net.rx");

enum {
	VNET_QUEUE_SIZE = 256,
	VNET_PCI_CLASS = 0x020000,	/* Ethernet */
	VNET_HEADER = 12,		/* 5.1.6: struct virtio_net_hdr with num_buffers */
	VNET_CONFIG = 12,		/* 5.1.4: mac, status, max_virtqueue_pairs, mtu */
	STATUS_LINK_UP = 1, STATUS_ANNOUNCE = 2,
	TX_BATCH = 128,			/* frames a kick, and bytes: the loop has others to serve, and */
	TX_BATCH_BYTES = 1 << 20,	/* vCPUs wait for the machine lock */
	BLOB_MAX = 1 << 20,
};
#define PATIENCE_NS 500000000ull

static bool is_tx(unsigned q) { return q & 1; }

/* --- offloads --- */

void vnet_tell_caps(struct vnet *d)
{
	u64 on = virtio_running(&d->v) ? d->offloads : 0;
	u32 caps = 0;

	if (on & BIT(VNET_F_GUEST_CSUM)) {
		caps |= NET_CAP_CSUM;
		caps |= on & BIT(VNET_F_GUEST_TSO4) ? NET_CAP_TSO4 : 0u;
		caps |= on & BIT(VNET_F_GUEST_TSO6) ? NET_CAP_TSO6 : 0u;
		caps |= on & BIT(VNET_F_GUEST_ECN) ? NET_CAP_ECN : 0u;
	}
	net_set_caps(d->net, caps);
}

static void get_header(const u8 *h, struct net_offload *o)
{
	*o = (struct net_offload){
		.flags = h[0], .gso_type = h[1], .hdr_len = get_le16(h + 2), .gso_size = get_le16(h + 4),
		.csum_start = get_le16(h + 6), .csum_offset = get_le16(h + 8),
	};
}

static void put_header(u8 *h, const struct net_offload *o, u16 nbuffers)
{
	h[0] = o->flags;
	h[1] = o->gso_type;
	put_le16(h + 2, o->hdr_len);
	put_le16(h + 4, o->gso_size);
	put_le16(h + 6, o->csum_start);
	put_le16(h + 8, o->csum_offset);
	put_le16(h + 10, nbuffers);
}

/* --- flows --- */

/* The same number for both directions of a connection. */
static unsigned flow_hash(const struct net_frame *f)
{
	struct offload_headers h;
	u8 head[128];
	size_t n = offload_gather(f, head, 0, sizeof(head));
	u32 x = 0;

	if (!offload_parse(head, n, &h))
		return 0;
	if (h.version == 4)
		x = get_le32(head + h.l3 + 12) ^ get_le32(head + h.l3 + 16);
	else
		for (unsigned i = 0; i < 32; i += 4)
			x ^= get_le32(head + h.l3 + 8 + i);
	if ((h.proto == 6 || h.proto == 17) && !h.fragment && h.l4 + 4u <= n)
		x ^= (u32)(get_le16(head + h.l4) ^ get_le16(head + h.l4 + 2));
	x *= 0x9e3779b1u;
	return (x >> 24) & (VNET_FLOWS - 1);
}

static unsigned rx_pair(const struct vnet *d, const struct net_frame *f)
{
	unsigned bucket;

	if (d->use_pairs == 1)
		return 0;
	bucket = flow_hash(f);
	return d->flow[bucket] && d->flow[bucket] <= d->use_pairs ? d->flow[bucket] - 1u
								   : bucket % d->use_pairs;
}

/* --- from the guest --- */

/* False: the back end is full. */
static bool tx_one(struct vnet *d, unsigned pair, struct ring_chain *c, size_t *bytes)
{
	struct net_frame f = { .iov = d->iov, .queue = pair };
	u8 h[VNET_HEADER];
	int n;

	if (chain_read(c, 0, h, sizeof(h)) != sizeof(h) || c->read_len > NET_FRAME_MAX + VNET_HEADER) {
		log_limited(LOG_WARN, "virtio-net: the guest sent a frame of %llu bytes; it is dropped",
			    (unsigned long long)c->read_len);
		return true;
	}
	n = chain_iov_read(c, VNET_HEADER, c->read_len, d->iov, ARRAY_SIZE(d->iov));
	if (n <= 0)
		return true;
	f.niov = (unsigned)n;
	f.len = (size_t)c->read_len - VNET_HEADER;
	get_header(h, &f.off);
	TRACE(vnet_tx, "pair=%u len=%zu flags=%#x gso=%u/%u", pair, f.len, f.off.flags, f.off.gso_type,
	      f.off.gso_size);
	if (d->use_pairs > 1)
		d->flow[flow_hash(&f)] = (u8)(pair + 1);
	*bytes += f.len;
	return net_send(d->net, &f);
}

static void tx_kick(struct vnet *d, unsigned q)
{
	struct ring *r = &d->v.queue[q];
	unsigned pair = q / 2, n = 0;
	struct ring_chain *c;
	size_t bytes = 0;
	bool more = true;

	if (d->quiet || pair >= d->use_pairs || d->tx_full & 1u << pair)
		return;
	ring_listen(r, false);
	while (n < TX_BATCH && bytes < TX_BATCH_BYTES && (c = virtio_pop(&d->v, q)) != NULL) {
		if (!tx_one(d, pair, c, &bytes)) {
			ring_unpop(c);
			d->tx_full |= (u8)(1u << pair);
			more = false;
			break;
		}
		ring_push(c, 0);
		n++;
	}
	net_flush(d->net);
	virtio_notify(&d->v, q);
	if (!more)
		return;		/* can_send() goes on; kicks would be for nothing */
	ring_listen(r, true);
	if (ring_has(r))
		virtio_kick(&d->v, q);
}

static void vnet_can_send(void *dev)
{
	struct vnet *d = dev;

	for (unsigned pair = 0; pair < d->pairs; pair++) {
		if (!(d->tx_full & 1u << pair))
			continue;
		d->tx_full &= (u8)~(1u << pair);
		virtio_kick(&d->v, 2 * pair + 1);
	}
}

/* --- to the guest --- */

/* Spread @f over the chains taken, behind the header in the first. */
static unsigned rx_fill(struct vnet *d, const struct net_frame *f, unsigned nchains)
{
	unsigned used = 0, i = 0;
	u64 at = VNET_HEADER;
	size_t done = 0;
	u8 h[VNET_HEADER];

	while (i < f->niov && used < nchains) {
		const struct iovec *v = &f->iov[i];
		struct ring_chain *c = d->chain[used];
		size_t n = (size_t)MIN(v->iov_len - done, c->write_len - at);

		if (n && chain_write(c, at, (const u8 *)v->iov_base + done, n) != n)
			break;
		at += n;
		done += n;
		d->written[used] = (u32)at;
		if (done == v->iov_len) {
			i++;
			done = 0;
		} else {
			used++;
			at = 0;
		}
	}
	put_header(h, &f->off, (u16)nchains);
	chain_write(d->chain[0], 0, h, VNET_HEADER);
	return nchains;
}

static void rx_wait(struct vnet *d)
{
	d->rx_full = true;
	if (!vm_timer_armed(&d->patience))
		vm_timer_set(&d->patience, clock_now(d->m->clock) + PATIENCE_NS);
}

/* The frame that waits will not fit in what the driver has put there, and it adds nothing. */
static void rx_lost_patience(void *dev)
{
	struct vnet *d = dev;

	if (!d->rx_full)
		return;
	d->give_up = true;
	net_room_now(d->net);
	d->give_up = false;
}

static bool vnet_recv(void *dev, const struct net_frame *f)
{
	struct vnet *d = dev;
	unsigned pair, q, n = 0;
	u8 head[18];
	u64 room = 0;
	bool merge = virtio_has(&d->v, BIT(VNET_F_MRG_RXBUF)), fits;

	if (d->quiet)
		return d->rx_full = true, false;
	if (!virtio_running(&d->v) || !vnet_wants(d, head, offload_gather(f, head, 0, sizeof(head))))
		return true;
	pair = rx_pair(d, f);
	q = 2 * pair;
	if (!d->v.queue[q].enabled)
		return true;
	while (room < VNET_HEADER + f->len && n < ARRAY_SIZE(d->chain)) {
		struct ring_chain *c = virtio_pop(&d->v, q);

		if (!c)
			break;
		d->chain[n++] = c;
		room += c->write_len;
		if (c->write_len < VNET_HEADER || !merge)
			break;
	}
	fits = n && room >= VNET_HEADER + f->len && d->chain[0]->write_len >= VNET_HEADER;
	if (!fits) {
		bool never = n && (!merge || d->chain[n - 1]->write_len < VNET_HEADER ||
				   d->v.queue[q].inflight >= d->v.queue[q].size);

		while (n)
			ring_unpop(d->chain[--n]);
		if (!virtio_running(&d->v) || never || (d->give_up && ring_has(&d->v.queue[q])))
			return true;
		return rx_wait(d), false;
	}
	TRACE(vnet_rx, "pair=%u len=%zu buffers=%u flags=%#x gso=%u/%u", pair, f->len, n, f->off.flags,
	      f->off.gso_type, f->off.gso_size);
	rx_fill(d, f, n);
	ring_push_all(d->chain, d->written, n);
	virtio_notify(&d->v, q);
	return true;
}

static void rx_kick(struct vnet *d)
{
	if (!d->rx_full || d->quiet)
		return;
	d->rx_full = false;
	net_room_now(d->net);
	if (!d->rx_full)
		vm_timer_del(&d->patience);
}

static void vnet_link(void *dev, bool up)
{
	struct vnet *d = dev;

	if (d->link == up)
		return;
	d->link = up;
	virtio_config_changed(&d->v);
}

static const struct net_front vnet_front = {
	.recv = vnet_recv, .can_send = vnet_can_send, .link = vnet_link,
};

/* --- the virtio device --- */

static void vnet_config_read(void *dev, unsigned off, u8 *buf, unsigned len)
{
	struct vnet *d = dev;
	u8 c[VNET_CONFIG];

	memcpy(c, d->mac, 6);
	put_le16(c + 6, (u16)((d->link ? STATUS_LINK_UP : 0) | (d->announce ? STATUS_ANNOUNCE : 0)));
	put_le16(c + 8, (u16)d->pairs);
	put_le16(c + 10, d->mtu);
	memcpy(buf, c + off, len);
}

/* 5.1.3.1: what a feature is of no use without. */
static bool vnet_features_ok(void *dev, u64 f)
{
	static const struct { u8 bit, any[2]; } needs[] = {
		{ VNET_F_GUEST_TSO4, { VNET_F_GUEST_CSUM, VNET_F_GUEST_CSUM } },
		{ VNET_F_GUEST_TSO6, { VNET_F_GUEST_CSUM, VNET_F_GUEST_CSUM } },
		{ VNET_F_GUEST_ECN, { VNET_F_GUEST_TSO4, VNET_F_GUEST_TSO6 } },
		{ VNET_F_HOST_TSO4, { VNET_F_CSUM, VNET_F_CSUM } },
		{ VNET_F_HOST_TSO6, { VNET_F_CSUM, VNET_F_CSUM } },
		{ VNET_F_HOST_USO, { VNET_F_CSUM, VNET_F_CSUM } },
		{ VNET_F_HOST_ECN, { VNET_F_HOST_TSO4, VNET_F_HOST_TSO6 } },
		{ VNET_F_CTRL_RX, { VNET_F_CTRL_VQ, VNET_F_CTRL_VQ } },
		{ VNET_F_CTRL_VLAN, { VNET_F_CTRL_VQ, VNET_F_CTRL_VQ } },
		{ VNET_F_GUEST_ANNOUNCE, { VNET_F_CTRL_VQ, VNET_F_CTRL_VQ } },
		{ VNET_F_MQ, { VNET_F_CTRL_VQ, VNET_F_CTRL_VQ } },
		{ VNET_F_CTRL_MAC_ADDR, { VNET_F_CTRL_VQ, VNET_F_CTRL_VQ } },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(needs); i++)
		if (f & BIT(needs[i].bit) && !(f & (BIT(needs[i].any[0]) | BIT(needs[i].any[1]))))
			return false;
	return true;
}

static void vnet_start(void *dev)
{
	struct vnet *d = dev;

	vnet_ctrl_reset(d);
	memset(d->flow, 0, sizeof(d->flow));
	d->tx_full = 0;
	vnet_tell_caps(d);
	/* Frames that came before there was a driver are old news; the back end may have kept some. */
	d->rx_full = true;
	rx_kick(d);
}

static void vnet_stop(void *dev, int q)
{
	struct vnet *d = dev;

	if (q >= 0) {
		if (is_tx((unsigned)q))
			d->tx_full &= (u8)~(1u << q / 2);
		return;
	}
	d->tx_full = 0;
	net_set_caps(d->net, 0);
	vm_timer_del(&d->patience);
}

static void vnet_kick(void *dev, unsigned q)
{
	struct vnet *d = dev;

	if (q == vnet_ctrl_queue(d))
		vnet_ctrl_kick(d);
	else if (is_tx(q))
		tx_kick(d, q);
	else
		rx_kick(d);
}

static const struct virtio_class vnet_virtio_class = {
	.name = "virtio-net", .type = VIRTIO_NET, .pci_class = VNET_PCI_CLASS,
	.config_len = VNET_CONFIG, .config_read = vnet_config_read, .features_ok = vnet_features_ok,
	.start = vnet_start, .stop = vnet_stop, .kick = vnet_kick,
};

/* --- the machine's device --- */

static void vnet_reset(void *dev)
{
	struct vnet *d = dev;

	virtio_reset(&d->v);
	vnet_ctrl_reset(d);
	d->rx_full = d->quiet = false;
	d->link = d->net && d->net->up;
}

static void vnet_quiesce(void *dev)
{
	struct vnet *d = dev;

	d->quiet = true;
}

/* The back end's own state goes into the stream behind its name: another kind of network may be there
 * when it is loaded, and then has no use for it. */
static void vnet_pre_save(void *dev)
{
	struct vnet *d = dev;
	const char *name = d->net ? d->net->ops->name : "";
	size_t len = 0, nlen = strlen(name) + 1;
	struct err e = { 0 };
	u8 *buf = NULL;

	d->back_end = (struct state_blob){ 0 };
	if (!d->net || !d->net->ops->save)
		return;
	if (d->net->ops->save(d->net, &buf, &len, &e) < 0) {
		log_msg(LOG_WARN, "%s; it is left out of the saved machine", e.msg);
		return;
	}
	d->back_end.p = nlen + len <= BLOB_MAX ? malloc(nlen + len) : NULL;
	if (d->back_end.p) {
		memcpy(d->back_end.p, name, nlen);
		memcpy(d->back_end.p + nlen, buf, len);
		d->back_end.len = (u32)(nlen + len);
	}
	free(buf);
}

static int load_back_end(struct vnet *d, struct err *e)
{
	const char *name = d->net ? d->net->ops->name : "";
	size_t nlen = strlen(name) + 1;

	if (d->back_end.len < nlen || memcmp(d->back_end.p, name, nlen) || !d->net || !d->net->ops->load)
		return 0;
	return d->net->ops->load(d->net, d->back_end.p + nlen, d->back_end.len - nlen, e);
}

static int vnet_post_load(void *dev, struct err *e)
{
	struct vnet *d = dev;
	int r = virtio_post_load(&d->v, e);

	if (!r && !vnet_ctrl_check(d))
		r = err_set(e, EINVAL, "virtio-net: %u queue pairs of %u are in use, offloads %#llx",
			    d->use_pairs, d->pairs, (unsigned long long)d->offloads);
	if (!r)
		r = load_back_end(d, e);
	state_blob_free(&d->back_end);
	if (r)
		return r;
	d->quiet = true;	/* until the machine runs */
	d->rx_full = true;
	d->tx_full = 0;
	vnet_tell_caps(d);
	return 0;
}

static void vnet_resumed(void *dev, bool restored)
{
	struct vnet *d = dev;
	bool link = d->net && d->net->up, changed = link != d->link;

	d->quiet = false;
	d->link = link;
	if (restored && virtio_running(&d->v) && virtio_has(&d->v, BIT(VNET_F_GUEST_ANNOUNCE)) && link) {
		d->announce = true;	/* 5.1.4.2: switches learn where it lives now */
		changed = true;
	}
	if (changed)
		virtio_config_changed(&d->v);
	for (unsigned q = 0; q < d->v.nqueues; q++)
		virtio_kick(&d->v, q);
}

static void vnet_free(void *dev)
{
	struct vnet *d = dev;

	if (!d)
		return;
	net_detach(d->net);
	if (d->patience.clock)
		vm_timer_del(&d->patience);
	state_blob_free(&d->back_end);
	virtio_fini(&d->v);
	free(d);
}

struct virtio *vnet_virtio(struct vnet *d)
{
	return &d->v;
}

int vnet_new(struct vnet **out, struct machine *m, const struct vnet_config *c, struct err *e)
{
	u64 features = BIT(VNET_F_CSUM) | BIT(VNET_F_GUEST_CSUM) | BIT(VNET_F_CTRL_GUEST_OFFLOADS) |
		BIT(VNET_F_MAC) | BIT(VNET_F_GUEST_TSO4) | BIT(VNET_F_GUEST_TSO6) |
		BIT(VNET_F_GUEST_ECN) | BIT(VNET_F_HOST_TSO4) | BIT(VNET_F_HOST_TSO6) |
		BIT(VNET_F_HOST_ECN) | BIT(VNET_F_HOST_USO) | BIT(VNET_F_MRG_RXBUF) |
		BIT(VNET_F_STATUS) | BIT(VNET_F_CTRL_VQ) | BIT(VNET_F_CTRL_RX) |
		BIT(VNET_F_CTRL_VLAN) | BIT(VNET_F_CTRL_RX_EXTRA) | BIT(VNET_F_GUEST_ANNOUNCE) |
		BIT(VNET_F_CTRL_MAC_ADDR);
	struct vnet *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return err_set(e, ENOMEM, "virtio-net: out of memory");
	d->m = m;
	d->pairs = MIN(MAX(c->queues, 1u), (unsigned)NET_QUEUES_MAX);
	d->use_pairs = 1;
	memcpy(d->perm_mac, c->mac, 6);
	d->mtu = c->mtu;
	features |= (d->pairs > 1 ? BIT(VNET_F_MQ) : 0) | (c->mtu ? BIT(VNET_F_MTU) : 0);
	vm_timer_init(&d->patience, m->clock, rx_lost_patience, d);
	r = virtio_init(&d->v, m, &vnet_virtio_class, d, features, 2 * d->pairs + 1, VNET_QUEUE_SIZE, e);
	if (r) {
		vnet_free(d);
		return r;
	}
	vnet_ctrl_reset(d);
	d->net = c->net;
	d->link = c->net && c->net->up;
	net_attach(c->net, &vnet_front, d);
	*out = d;
	return 0;
}

static const struct state_field macs_state[] = {
	STATE_U8(struct vnet_macs, n, 0, VNET_MACS),
	STATE_U8(struct vnet_macs, all, 0, 1),
	STATE_BYTES(struct vnet_macs, mac),
	STATE_END
};

const struct state_field vnet_state[] = {
	STATE_STRUCT(struct vnet, v, virtio_state),
	STATE_BYTES(struct vnet, mac),
	STATE_BOOL(struct vnet, promisc),
	STATE_BOOL(struct vnet, allmulti),
	STATE_BOOL(struct vnet, alluni),
	STATE_BOOL(struct vnet, nomulti),
	STATE_BOOL(struct vnet, nouni),
	STATE_BOOL(struct vnet, nobcast),
	STATE_STRUCT(struct vnet, uni, macs_state),
	STATE_STRUCT(struct vnet, multi, macs_state),
	STATE_BYTES(struct vnet, vlan),
	STATE_U16(struct vnet, use_pairs, 1, NET_QUEUES_MAX),
	STATE_U64(struct vnet, offloads),
	STATE_BOOL(struct vnet, announce),
	STATE_BOOL(struct vnet, link),
	STATE_BLOB(struct vnet, back_end, BLOB_MAX),
	STATE_END
};

const struct device_class vnet_class = {
	.name = "virtio-net", .version = 1, .state = vnet_state, .reset = vnet_reset,
	.free = vnet_free, .post_load = vnet_post_load, .pre_save = vnet_pre_save,
	.quiesce = vnet_quiesce, .resumed = vnet_resumed,
};
