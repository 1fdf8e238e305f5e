/* SPDX-License-Identifier: GPL-2.0-or-later */
/* netcard.h - a network card with a driver that is a test on one side, and a wire that is a test on the
 * other; for test_net.c and fuzz_virtio_net.c. */
#ifndef PENTA_TESTS_VIRTIO_NETCARD_H
#define PENTA_TESTS_VIRTIO_NETCARD_H

#include "net/offload.h"
#include "virtio/driver.h"
#include "virtio/net.h"
#include "virtio/net_impl.h"

#define FAR_KEEP 512
struct far {
	struct net n;
	unsigned nframes, rooms, flushes;
	struct { u8 *p; size_t len; struct net_offload off; unsigned queue; } frame[FAR_KEEP];
	int room;			/* frames it takes; -1: any */
	bool deaf;			/* count what comes, and forget it */
};
static inline bool far_send(struct net *n, const struct net_frame *f)
{
	struct far *b = (struct far *)n;
	u8 *p;

	if (!b->room || (!b->deaf && b->nframes == FAR_KEEP))
		return false;
	if (b->room > 0)
		b->room--;
	p = malloc(f->len);
	offload_gather(f, p, 0, f->len);
	if (b->deaf) {
		free(p);
		return true;
	}
	b->frame[b->nframes].p = p;
	b->frame[b->nframes].len = f->len;
	b->frame[b->nframes].off = f->off;
	b->frame[b->nframes++].queue = f->queue;
	return true;
}
static inline void far_room(struct net *n) { ((struct far *)n)->rooms++; }
static inline void far_flush(struct net *n) { ((struct far *)n)->flushes++; }
static inline void far_free(struct net *n) { }
static const struct net_ops far_ops = {
	.name = "far", .send = far_send, .room_now = far_room, .flush = far_flush, .free = far_free,
};
static inline void far_clear(struct far *b)
{
	for (unsigned i = 0; i < b->nframes; i++)
		free(b->frame[i].p);
	b->nframes = 0;
}

struct card {
	struct drv d;
	struct far far;
	struct vnet *dev;
	unsigned ctrl;
};
static const u8 card_mac[6] = { 0x52, 0x54, 0, 9, 9, 9 };

static inline void card_new(struct card *c, unsigned pairs)
{
	struct vnet_config vc = { .queues = pairs, .mtu = 1500 };
	struct err e = { 0 };

	memset(c, 0, sizeof(*c));
	c->far.n.ops = &far_ops;
	c->far.n.caps = ~0u;
	c->far.n.up = true;
	c->far.room = -1;
	vc.net = &c->far.n;
	memcpy(vc.mac, card_mac, 6);
	drv_machine(&c->d);
	if (vnet_new(&c->dev, c->d.m, &vc, &e) ||
	    machine_add_device(c->d.m, &vnet_class, c->dev, "net0", &e)) {
		fprintf(stderr, "card_new: %s\n", e.msg);
		abort();
	}
	drv_plug(&c->d, vnet_virtio(c->dev));
	vnet_class.reset(c->dev);
	c->ctrl = pairs > 1 ? 2 * pairs : 2;
}
static inline void card_end(struct card *c)
{
	far_clear(&c->far);
	drv_end(&c->d);
	net_free(&c->far.n);
}

static inline bool card_recv(struct card *c, const void *p, size_t len, const struct net_offload *off)
{
	struct iovec iov[2] = { { (u8 *)p, len / 2 }, { (u8 *)p + len / 2, len - len / 2 } };
	struct net_frame f = { .iov = iov, .niov = 2, .len = len };

	if (off)
		f.off = *off;
	return net_recv(&c->far.n, &f);
}

#endif
