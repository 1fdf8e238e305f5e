/* SPDX-License-Identifier: GPL-2.0-or-later */
/* net.c - the wire between a network card and its back end: what one side leaves undone and the other
 * cannot take is done here (offload.c), in both directions by the same code.
 *
 * A frame that is cut into pieces may stop half way, when the receiver is full. It then waits in its
 * direction's buffer, and nothing else passes before it: pieces are neither lost nor overtaken. */
#include "net/net.h"
#include "base/trace.h"		// log_limited
#include "net/offload.h"
#include "net/pcap.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct net_way {		/* one direction's frame that is being finished */
	u8 *buf;		/* NET_FRAME_MAX bytes */
	struct offload_cut cut;
	struct iovec piece[2];	/* refused once, to be tried again */
	unsigned queue;
	bool pending;
};

static struct net_way *way_get(struct net_way **w)
{
	if (!*w) {
		*w = calloc(1, sizeof(**w));
		if (*w && !((*w)->buf = malloc(NET_FRAME_MAX))) {
			free(*w);
			*w = NULL;
		}
	}
	return *w;
}

static void way_free(struct net_way **w)
{
	if (*w)
		free((*w)->buf);
	free(*w);
	*w = NULL;
}

typedef bool give_fn(struct net *n, const struct net_frame *f);

static bool give_back_end(struct net *n, const struct net_frame *f)
{
	return n->ops->send(n, f);
}

static bool give_front_end(struct net *n, const struct net_frame *f)
{
	return n->front->recv(n->dev, f);
}

/* Go on with the frame that is being cut. False: full again. */
static bool way_go_on(struct net *n, struct net_way *w, give_fn *give)
{
	while (w->pending) {
		struct net_frame f = { .iov = w->piece, .niov = 2, .queue = w->queue,
				       .len = w->piece[0].iov_len + w->piece[1].iov_len };

		if (!give(n, &f))
			return false;
		w->pending = offload_cut_next(&w->cut, w->piece);
	}
	return true;
}

/* Hand a checked frame to a receiver that takes @caps, finishing what is not among them. */
static bool pass(struct net *n, const struct net_frame *f, u32 caps, struct net_way **wp, give_fn *give)
{
	u32 lacks = offload_needs(&f->off) & ~caps;
	struct net_frame done = { .niov = 1, .len = f->len, .queue = f->queue };
	struct net_way *w;
	struct iovec iov;

	if (*wp && !way_go_on(n, *wp, give))
		return false;
	if (!lacks)
		return give(n, f);
	w = way_get(wp);
	if (!w) {
		log_limited(LOG_WARN, "net: out of memory; a frame is lost");
		return true;
	}
	offload_gather(f, w->buf, 0, f->len);
	iov = (struct iovec){ w->buf, f->len };
	done.iov = &iov;
	done.off = f->off;
	/* The memory it came from may be changing: what was checked was another copy. */
	if (!offload_check(&done))
		return true;
	if (done.off.gso_type == NET_GSO_NONE) {
		offload_checksum(w->buf, f->len, &done.off);
		done.off.flags &= (u8)~NET_NEEDS_CSUM;
		return give(n, &done);
	}
	if (lacks == NET_CAP_CSUM && offload_whole(w->buf, f->len, &done.off)) {
		done.off.flags = 0;
		return give(n, &done);
	}
	/* A fragmented datagram has one checksum; segments get theirs when they are cut. */
	if (done.off.gso_type == NET_GSO_UDP)
		offload_checksum(w->buf, f->len, &done.off);
	if (!offload_cut_begin(&w->cut, w->buf, f->len, &done.off))
		return true;
	w->queue = f->queue;
	w->pending = offload_cut_next(&w->cut, w->piece);
	way_go_on(n, w, give);
	return true;
}

/* Is the frame's length what its pieces say, and its offload something that can be done? */
static bool sane(const struct net_frame *f, struct net_frame *copy)
{
	size_t len = 0;

	for (unsigned i = 0; i < f->niov; i++)
		len += f->iov[i].iov_len;
	*copy = *f;
	return len == f->len && offload_check(copy);
}

/* --- for front ends --- */

bool net_send(struct net *n, const struct net_frame *f)
{
	struct net_frame g;
	bool ok;

	if (!n || !n->up)
		return true;
	if (!sane(f, &g)) {
		log_limited(LOG_WARN, "net: the guest sent a frame with impossible offload fields (length "
			    "%zu, flags %#x, gso %#x/%u); it is dropped", f->len, f->off.flags,
			    f->off.gso_type, f->off.gso_size);
		return true;
	}
	g.off.flags &= NET_NEEDS_CSUM;
	ok = pass(n, &g, n->caps, &n->tx, give_back_end);
	if (ok && n->pcap)
		pcap_write(n->pcap, &g);
	return ok;
}

void net_flush(struct net *n)
{
	if (n && n->ops->flush)
		n->ops->flush(n);
}

void net_room_now(struct net *n)
{
	if (!n || !n->front)
		return;
	if (n->rx && !way_go_on(n, n->rx, give_front_end))
		return;
	if (n->ops->room_now)
		n->ops->room_now(n);
}

void net_set_caps(struct net *n, u32 caps)
{
	if (!n || n->front_caps == caps)
		return;
	n->front_caps = caps;
	if (n->ops->caps_changed)
		n->ops->caps_changed(n);
}

void net_set_link(struct net *n, bool up)
{
	if (!n || n->up == up)
		return;
	n->up = up;
	if (!up && n->rx)
		n->rx->pending = false;
	if (!up && n->tx)
		n->tx->pending = false;
	if (n->front && n->front->link)
		n->front->link(n->dev, up);
	/* Whoever waits for room finds it: frames now vanish, or pass again. */
	net_can_send(n);
	if (n->ops->room_now)
		n->ops->room_now(n);
}

/* --- for back ends --- */

bool net_recv(struct net *n, const struct net_frame *f)
{
	struct net_frame g;
	bool ok;

	if (!n->front || !n->up)
		return true;
	if (!sane(f, &g)) {
		log_limited(LOG_WARN, "net: %s delivered a frame with impossible offload fields; it is "
			    "dropped", n->ops->name);
		return true;
	}
	if (!(n->front_caps & NET_CAP_CSUM))
		g.off.flags &= NET_NEEDS_CSUM;
	ok = pass(n, &g, n->front_caps, &n->rx, give_front_end);
	if (ok && n->pcap)
		pcap_write(n->pcap, &g);
	return ok;
}

void net_can_send(struct net *n)
{
	if (n->tx && !way_go_on(n, n->tx, give_back_end))
		return;
	if (n->front && n->front->can_send)
		n->front->can_send(n->dev);
}

/* --- life --- */

void net_attach(struct net *n, const struct net_front *f, void *dev)
{
	if (!n)
		return;
	n->front = f;
	n->dev = dev;
}

void net_detach(struct net *n)
{
	if (!n)
		return;
	n->front = NULL;
	n->dev = NULL;
	if (n->rx)
		n->rx->pending = false;
	net_set_caps(n, 0);
}

void net_free(struct net *n)
{
	struct pcap *pcap;
	struct net_way *rx, *tx;

	if (!n)
		return;
	pcap = n->pcap;
	rx = n->rx;
	tx = n->tx;
	n->ops->free(n);
	pcap_free(pcap);
	way_free(&rx);
	way_free(&tx);
}
