/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wire.h - a card that is a test: it keeps what it gets, says no when told to, and turns the loop. */
#ifndef PENTA_TESTS_NET_WIRE_H
#define PENTA_TESTS_NET_WIRE_H

#include "net/offload.h"
#include "net/packets.h"
#include "vm/clock.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WIRE_KEEP 4096

struct wire {
	struct net *n;
	unsigned nframes;
	struct { u8 *p; size_t len; struct net_offload off; } frame[WIRE_KEEP];
	int room;		/* frames it takes now; -1: any */
	unsigned refused, can_send, link_changes;
	u8 mac[6];
};

static inline bool wire_recv(void *dev, const struct net_frame *f)
{
	struct wire *w = dev;

	if (w->room == 0 || w->nframes == WIRE_KEEP) {
		w->refused++;
		return false;
	}
	if (w->room > 0)
		w->room--;
	w->frame[w->nframes].p = malloc(f->len);
	w->frame[w->nframes].len = f->len;
	w->frame[w->nframes].off = f->off;
	offload_gather(f, w->frame[w->nframes].p, 0, f->len);
	w->nframes++;
	return true;
}
static inline void wire_can_send(void *dev) { ((struct wire *)dev)->can_send++; }
static inline void wire_link(void *dev, bool up) { ((struct wire *)dev)->link_changes++; }
static const struct net_front wire_front = { wire_recv, wire_can_send, wire_link };

static inline void wire_clear(struct wire *w)
{
	for (unsigned i = 0; i < w->nframes; i++)
		free(w->frame[i].p);
	w->nframes = 0;
}
static inline void wire_attach(struct wire *w, struct net *n, u32 caps)
{
	memset(w, 0, sizeof(*w));
	w->n = n;
	w->room = -1;
	net_attach(n, &wire_front, w);
	net_set_caps(n, caps);
}
static inline bool wire_send(struct wire *w, const void *p, size_t len, const struct net_offload *off)
{
	struct iovec iov = { (void *)p, len };
	struct net_frame f = { .iov = &iov, .niov = 1, .len = len };
	bool ok;

	if (off)
		f.off = *off;
	ok = net_send(w->n, &f);
	net_flush(w->n);
	return ok;
}

/* --- the loop, by hand --- */

static inline void wire_quit(void *ctx) { loop_quit(ctx); }

static inline void wire_turn(struct loop *l)
{
	for (unsigned i = 0; i < 4; i++) {
		loop_post(l, wire_quit, l);
		loop_run(l);
	}
}
/* Turn the loop until @cond holds, at most two seconds. */
#define WIRE_UNTIL(l, cond) \
	for (unsigned wire_i_ = 0; wire_i_ < 2000 && !(cond); wire_i_++) { \
		wire_turn(l); \
		if (!(cond)) \
			poll(NULL, 0, 1); \
	}

#endif
