// SPDX-License-Identifier: GPL-2.0-or-later
/* vsock_conn.c - the connections of the socket device: their life, their credit, their users.
 * After: Virtio 1.2, 5.10.6. What is drawn in vsock.c happens here. */
#include "virtio/vsock_impl.h"
#include <errno.h>

/* --- connections --- */

static unsigned hash(u32 host_port, u32 guest_port)
{
	return (host_port * 31 + guest_port) % HASH;
}

bool vconn_gone(const struct vsock_conn *c)
{
	return c->state == DYING && !c->owe;
}

struct vsock_conn *vconn_find(struct vsock *v, u32 host_port, u32 guest_port)
{
	struct vsock_conn *c = v->conn[hash(host_port, guest_port)];

	while (c && (c->host_port != host_port || c->guest_port != guest_port || vconn_gone(c)))
		c = c->next;
	return c;
}

u32 vconn_credit(const struct vsock_conn *c)
{
	u32 out = c->tx_cnt - c->peer_fwd;

	return out >= c->peer_alloc ? 0 : c->peer_alloc - out;
}

/* Has @c something that can be sent, rx buffers given? */
bool vconn_has_work(const struct vsock_conn *c)
{
	return c->owe || (c->out.len && c->state != CONNECTING && vconn_credit(c));
}

void vconn_pend(struct vsock_conn *c)
{
	struct vsock *v = c->v;

	if (c->pending || !vconn_has_work(c))
		return;
	c->pending = true;
	c->pnext = NULL;
	*v->pend_end = c;
	v->pend_end = &c->pnext;
}

void vconn_owe(struct vsock_conn *c, u8 what)
{
	c->owe |= what;
	vconn_pend(c);
}

void vconn_set_deadline(struct vsock_conn *c)
{
	struct vsock *v = c->v;

	c->deadline_ns = clock_now(v->v.m->clock) + ANSWER_NS;
	if (!vm_timer_armed(&v->timer) || v->timer.deadline_ns > c->deadline_ns)
		vm_timer_set(&v->timer, c->deadline_ns);
}

static struct vsock_conn *vconn_new(struct vsock *v, u32 host_port, u32 guest_port)
{
	struct vsock_conn *c = v->nconns < VSOCK_CONNS_MAX ? calloc(1, sizeof(*c)) : NULL;
	struct vsock_conn **at = &v->conn[hash(host_port, guest_port)];

	if (!c)
		return NULL;
	*c = (struct vsock_conn){ .v = v, .host_port = host_port, .guest_port = guest_port,
				  .deadline_ns = UINT64_MAX, .next = *at };
	*at = c;
	v->nconns++;
	return c;
}

/* The user hears of the end. The connection is freed when nothing is owed and all calls are back. */
void vconn_end(struct vsock_conn *c, int err, u8 last)
{
	const struct vsock_handlers *h = c->h;
	void *ctx = c->ctx;

	if (c->state == DYING)
		return;
	c->state = DYING;
	c->h = NULL;
	c->owe = 0;
	fifo_free(&c->in);
	fifo_free(&c->out);
	c->deadline_ns = UINT64_MAX;
	c->v->reap = true;
	if (last)
		vconn_owe(c, last);
	if (h)
		h->closed(ctx, err);
}

void vconns_free_gone(struct vsock *v)
{
	struct vsock_conn **pp = &v->pend, *c;

	v->reap = false;
	v->pend_end = &v->pend;
	while ((c = *pp)) {		/* first out of the list of pending ones */
		if (vconn_gone(c))
			*pp = c->pnext;
		else
			v->pend_end = pp = &c->pnext;
	}
	for (unsigned i = 0; i < HASH; i++)
		for (struct vsock_conn **at = &v->conn[i]; (c = *at);) {
			if (!vconn_gone(c)) {
				at = &c->next;
				continue;
			}
			*at = c->next;
			fifo_free(&c->in);
			fifo_free(&c->out);
			free(c);
			v->nconns--;
		}
}

/* Everything ends, without a word to the guest. */
void vconns_end(struct vsock *v)
{
	v->nstray = 0;
	for (unsigned i = 0; i < HASH; i++)
		for (struct vsock_conn *c = v->conn[i]; c; c = c->next) {
			vconn_end(c, ECONNRESET, 0);
			c->owe = 0;
		}
}

/* All that was to be sent has been: then our own end, if it has come. */
void vconn_sent(struct vsock_conn *c)
{
	if (c->out.len || (c->owe & OWE_SHUT) || c->state == CONNECTING || c->state == DYING)
		return;
	if (c->state == CLOSING && c->shut_sent != SHUT_F_BOTH)
		vconn_owe(c, OWE_SHUT);
	else if (c->shut && !(c->shut_sent & SHUT_F_SEND))
		vconn_owe(c, OWE_SHUT);
}

/* --- from the guest to the user --- */

/* Bytes that the user took make room; the guest is told when a quarter of it is new. */
static void took(struct vsock_conn *c, u32 n)
{
	c->fwd_cnt += n;
	if (c->fwd_cnt - c->fwd_told >= VSOCK_BUF / 4)
		vconn_owe(c, OWE_CREDIT);
}

/* After bytes were taken, or a SHUTDOWN came: what follows from "all taken". */
static void drained(struct vsock_conn *c)
{
	if (c->in.len || !c->guest_eof || c->state == DYING)
		return;
	if (!c->eof_told) {
		c->eof_told = true;
		if (c->h && c->h->eof)
			c->h->eof(c->ctx);
	}
	/* It neither sends nor receives any more: that is its good-bye, and RST the answer. */
	if (c->guest_deaf)
		vconn_end(c, 0, OWE_RST);
}

static void deliver_kept(struct vsock_conn *c)
{
	while (c->in.len && !c->stalled && c->h && c->state == OPEN) {
		u32 len;
		const u8 *p = fifo_peek(&c->in, &len);
		size_t n;

		c->in_recv = true;
		n = c->h->recv(c->ctx, p, len);
		c->in_recv = false;
		BUG_ON(n > len);
		if (c->state != OPEN)
			return;
		c->stalled = n < len;
		fifo_drop(&c->in, (u32)n);
		took(c, (u32)n);
	}
	drained(c);
}

/* @len bytes of payload, within the credit. */
static void deliver(struct vsock_conn *c, const u8 *p, u32 len)
{
	size_t n = 0;

	c->rx_cnt += len;
	if (!c->h) {			/* CLOSING: nobody listens */
		took(c, len);
		return;
	}
	if (!c->in.len && !c->stalled) {
		c->in_recv = true;
		n = c->h->recv(c->ctx, p, len);
		c->in_recv = false;
		BUG_ON(n > len);
		if (c->state != OPEN) {
			if (c->state == CLOSING)
				took(c, len);
			return;
		}
		took(c, (u32)n);
		c->stalled = n < len;
	}
	if (n < len && !fifo_put(&c->in, p + n, len - (u32)n))
		vconn_end(c, ECONNRESET, OWE_RST);
}

static struct listener *listener_of(struct vsock *v, u32 port)
{
	struct listener *any = NULL;

	for (struct listener *l = v->listeners; l; l = l->next) {
		if (l->port == port)
			return l;
		if (l->port == VSOCK_PORT_ANY)
			any = l;
	}
	return any;
}

void vconn_request(struct vsock *v, const struct hdr *h)
{
	struct listener *l = listener_of(v, h->dst_port);
	struct vsock_conn *c = vconn_find(v, h->dst_port, h->src_port);

	if (c)			/* it has forgotten that one */
		vconn_end(c, ECONNRESET, 0);
	c = l ? vconn_new(v, h->dst_port, h->src_port) : NULL;
	if (!c) {
		vsock_put_stray(v, h);
		return;
	}
	c->state = OPEN;
	c->peer_alloc = h->buf_alloc;
	c->peer_fwd = h->fwd_cnt;
	c->owe = OWE_RESPONSE;	/* before anything that the user sends */
	if (l->fn(l->ctx, c, h->dst_port) < 0 || !c->h) {
		c->h = NULL;
		c->state = OPEN;
		vconn_end(c, 0, OWE_RST);
	}
	vconn_pend(c);
}

void vconn_response(struct vsock_conn *c)
{
	if (c->state != CONNECTING) {
		vconn_end(c, ECONNRESET, OWE_RST);
		return;
	}
	c->state = OPEN;
	c->deadline_ns = UINT64_MAX;
	if (c->h->opened)
		c->h->opened(c->ctx);
}

void vconn_rst(struct vsock_conn *c)
{
	bool polite = c->shut_sent == SHUT_F_BOTH || (c->guest_eof && c->guest_deaf);

	vconn_end(c, c->state == CONNECTING ? ECONNREFUSED : polite ? 0 : ECONNRESET, 0);
	c->owe = 0;
	c->v->reap = true;
}

void vconn_shutdown(struct vsock_conn *c, u32 flags)
{
	if (c->state == CONNECTING) {
		vconn_end(c, ECONNRESET, OWE_RST);
		return;
	}
	if (flags & SHUT_F_RCV && !c->guest_deaf) {
		c->guest_deaf = true;
		fifo_free(&c->out);
		if (c->h && c->h->deaf)
			c->h->deaf(c->ctx);
	}
	if (flags & SHUT_F_SEND)
		c->guest_eof = true;
	drained(c);
	vconn_sent(c);
}

void vconn_data(struct vsock_conn *c, const u8 *p, u32 len)
{
	/* Not asked for, after its end, or more than there is room for: the guest broke the rules. */
	if (c->state == CONNECTING || c->guest_eof || len > VSOCK_BUF - (c->rx_cnt - c->fwd_cnt))
		vconn_end(c, ECONNRESET, OWE_RST);
	else
		deliver(c, p, len);
}

/* --- for the users --- */

int vsock_listen(struct vsock *v, u32 port, vsock_accept_fn *fn, void *ctx, struct err *e)
{
	struct listener **at = &v->listeners, *l;

	while (*at && (*at)->port != port)
		at = &(*at)->next;
	l = *at;
	if (!fn) {
		if (l)
			*at = l->next;
		free(l);
		return 0;
	}
	if (l)
		return err_set(e, EADDRINUSE, "vsock: somebody listens on port %u already", port);
	l = malloc(sizeof(*l));
	if (!l)
		return err_set(e, ENOMEM, "vsock: out of memory");
	*l = (struct listener){ .port = port, .fn = fn, .ctx = ctx };
	*at = l;
	return 0;
}

int vsock_connect(struct vsock *v, u32 port, const struct vsock_handlers *h, void *ctx,
		  struct vsock_conn **out, struct err *e)
{
	struct vsock_conn *c;

	if (!v->up)
		return err_set(e, ENETUNREACH, "vsock: the guest has no driver for it, or not yet");
	do {
		v->next_port = v->next_port < HOST_PORT_FIRST || v->next_port >= UINT32_MAX - 1 ?
			HOST_PORT_FIRST : v->next_port + 1;
	} while (vconn_find(v, v->next_port, port));
	c = vconn_new(v, v->next_port, port);
	if (!c)
		return err_set(e, EMFILE, "vsock: no more than %d connections at once", VSOCK_CONNS_MAX);
	vsock_enter(v);
	c->state = CONNECTING;
	c->h = h;
	c->ctx = ctx;
	vconn_owe(c, OWE_REQUEST);
	vconn_set_deadline(c);
	*out = c;
	vsock_leave(v);
	return 0;
}

void vsock_use(struct vsock_conn *c, const struct vsock_handlers *h, void *ctx)
{
	c->h = h;
	c->ctx = ctx;
}

size_t vsock_send_room(struct vsock_conn *c)
{
	if (c->state != OPEN || c->guest_deaf || c->shut)
		return 0;
	c->want_room = !fifo_room(&c->out);
	return fifo_room(&c->out);
}

ssize_t vsock_send(struct vsock_conn *c, const void *buf, size_t len)
{
	size_t n = MIN(len, fifo_room(&c->out));

	if (c->state == CONNECTING)
		return -ENOTCONN;
	if (c->state != OPEN || c->guest_deaf || c->shut)
		return -EPIPE;
	if (n && !fifo_put(&c->out, buf, (u32)n))
		n = 0;
	if (n < len)
		c->want_room = true;
	vsock_enter(c->v);
	if (!vconn_credit(c) && !c->asked) {
		c->asked = true;
		vconn_owe(c, OWE_ASK);
	}
	vconn_pend(c);
	vsock_leave(c->v);
	return (ssize_t)n;
}

void vsock_shutdown(struct vsock_conn *c)
{
	vsock_enter(c->v);
	c->shut = true;
	vconn_sent(c);
	vsock_leave(c->v);
}

void vsock_recv_more(struct vsock_conn *c)
{
	if (c->in_recv)		/* what recv() answers says it all */
		return;
	vsock_enter(c->v);
	c->stalled = false;
	if (c->state == OPEN)
		deliver_kept(c);
	vsock_leave(c->v);
}

void vsock_close(struct vsock_conn *c)
{
	vsock_enter(c->v);
	c->h = NULL;
	if (c->state == CONNECTING) {
		/* The REQUEST may be on its way: RST takes it back. */
		vconn_end(c, 0, c->owe & OWE_REQUEST ? 0 : OWE_RST);
	} else if (c->state == OPEN) {
		c->state = CLOSING;
		c->shut = true;
		c->stalled = false;
		took(c, c->in.len);
		fifo_free(&c->in);
		if (c->guest_deaf && c->guest_eof)
			vconn_end(c, 0, OWE_RST);
		else
			vconn_sent(c);
	}
	vsock_leave(c->v);
}

u32 vsock_port_host(const struct vsock_conn *c)
{
	return c->host_port;
}

u32 vsock_port_guest(const struct vsock_conn *c)
{
	return c->guest_port;
}

void vsock_free_listeners(struct vsock *v)
{
	while (v->listeners) {
		struct listener *l = v->listeners;

		v->listeners = l->next;
		free(l);
	}
}
