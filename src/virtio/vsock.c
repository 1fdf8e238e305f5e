// SPDX-License-Identifier: GPL-2.0-or-later
/* vsock.c - the socket device: stream connections between guest and host, with credit both ways.
 * After: Virtio 1.2, 5.10. Not offered: SEQPACKET.
 *
 *	           REQUEST from the guest, a listener says yes: RESPONSE
 *	 nothing ---------------------------------------------------> OPEN <--+
 *	    |      vsock_connect(): REQUEST                            |      | RESPONSE
 *	    +-------------------------------> CONNECTING --------------|------+
 *	                                          | RST, time          | vsock_close()
 *	                                          v                    v
 *	                                        gone <--- DYING <-- CLOSING: what is queued, SHUTDOWN
 *	                                              RST sent    guest's RST, SHUTDOWN or time
 *
 * Memory is bounded: each connection holds at most VSOCK_BUF bytes each way, because we tell the
 * guest so (credit) and cut it off when it sends more; there are VSOCK_CONNS_MAX of them. A packet
 * that is to be sent while the guest gives no buffers is a bit in its connection (`owe`); answers to
 * packets of no connection wait in a short list, and while that is full nothing more is read from
 * the guest (5.10.6.1.2 allows to wait for rx buffers then). */
#include "virtio/vsock_impl.h"
#include "base/bytes.h"
#include "base/trace.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

DEFINE_TRACE(vsock_rx, "vsock.to_guest");
DEFINE_TRACE(vsock_tx, "vsock.from_guest");

static void broke(struct vsock *v, const char *why)
{
	v->up = false;
	vconns_end(v);
	virtio_broken(&v->v, why);
}

static void be_broken(void *ctx)
{
	struct vsock *v = ctx;

	v->breaking = false;
	vsock_enter(v);
	broke(v, "malformed receive buffer");
	vsock_leave(v);
}

/* The same where a user of ours may be calling, who does not expect to hear closed() from within
 * vsock_send() or vsock_connect(): the loop says it. Nothing goes out or in meanwhile. */
static void broke_soon(struct vsock *v)
{
	v->up = false;
	if (!v->breaking)
		loop_post(v->v.m->loop, be_broken, v);
	v->breaking = true;
}

/* --- from the guest --- */

void vsock_put_stray(struct vsock *v, const struct hdr *h)
{
	struct stray *s = &v->stray[(v->stray_first + v->nstray) % STRAY_MAX];

	BUG_ON(v->nstray == STRAY_MAX);
	*s = (struct stray){ .host_cid = h->dst_cid, .host_port = h->dst_port,
			     .guest_port = h->src_port, .type = h->type };
	v->nstray++;
}

/* One packet; its payload, if any, lies in v->bounce. */
static void got_packet(struct vsock *v, const struct hdr *h)
{
	struct vsock_conn *c;

	TRACE(vsock_tx, "op=%u host=%u guest=%u len=%u flags=%#x alloc=%u fwd=%u", h->op, h->dst_port,
	      h->src_port, h->len, h->flags, h->buf_alloc, h->fwd_cnt);
	if (h->src_cid != v->cid)	/* 5.10.6.4.1: not the guest's address */
		return;
	if (h->type != TYPE_STREAM || h->dst_cid != VSOCK_CID_HOST) {
		if (h->op != OP_RST)
			vsock_put_stray(v, h);
		return;
	}
	if (h->op == OP_REQUEST) {
		vconn_request(v, h);
		return;
	}
	c = vconn_find(v, h->dst_port, h->src_port);
	if (!c) {
		if (h->op != OP_RST)
			vsock_put_stray(v, h);
		return;
	}
	if (h->op == OP_RST) {
		vconn_rst(c);
		return;
	}
	if (c->state == DYING)		/* its RST is on the way */
		return;
	if (c->peer_alloc != h->buf_alloc || c->peer_fwd != h->fwd_cnt)
		c->asked = false;
	c->peer_alloc = h->buf_alloc;
	c->peer_fwd = h->fwd_cnt;
	switch (h->op) {
	case OP_RESPONSE: vconn_response(c); break;
	case OP_SHUTDOWN: vconn_shutdown(c, h->flags); break;
	case OP_RW: vconn_data(c, v->bounce, h->len); break;
	case OP_CREDIT_UPDATE: break;
	case OP_CREDIT_REQUEST: vconn_owe(c, OWE_CREDIT); break;
	default: vconn_end(c, ECONNRESET, OWE_RST);
	}
	vconn_pend(c);
}

/* False: the driver has broken the rules of the ring. */
static bool tx_chain(struct vsock *v, struct ring_chain *ch)
{
	u8 b[HDR_LEN];
	struct hdr h;

	if (chain_read(ch, 0, b, sizeof(b)) < sizeof(b))
		return false;
	h = (struct hdr){
		.src_cid = get_le64(b), .dst_cid = get_le64(b + 8), .src_port = get_le32(b + 16),
		.dst_port = get_le32(b + 20), .len = get_le32(b + 24), .type = get_le16(b + 28),
		.op = get_le16(b + 30), .flags = get_le32(b + 32), .buf_alloc = get_le32(b + 36),
		.fwd_cnt = get_le32(b + 40),
	};
	if (h.op == OP_RW) {
		if (h.len > ch->read_len - HDR_LEN)
			return false;
		/* No connection has so much credit: vconn_data() will see it by the length. */
		chain_read(ch, HDR_LEN, v->bounce, MIN(h.len, VSOCK_BUF));
	}
	got_packet(v, &h);
	return true;
}
/* --- to the guest --- */

/* Put a packet, with up to the first @max bytes of @f, into @ch. Returns how many of these. */
static u32 put_packet(struct vsock *v, struct ring_chain *ch, const struct hdr *h, struct fifo *f,
		      u32 max)
{
	u8 b[HDR_LEN];
	u32 done = 0;

	max = (u32)MIN((u64)max, ch->write_len - HDR_LEN);
	while (f && f->len && done < max) {
		u32 n;
		const u8 *p = fifo_peek(f, &n);

		n = MIN(n, max - done);
		chain_write(ch, HDR_LEN + done, p, n);
		fifo_drop(f, n);
		done += n;
	}
	put_le64(b, h->src_cid);
	put_le64(b + 8, v->cid);
	put_le32(b + 16, h->src_port);
	put_le32(b + 20, h->dst_port);
	put_le32(b + 24, done);
	put_le16(b + 28, h->type);
	put_le16(b + 30, h->op);
	put_le32(b + 32, h->flags);
	put_le32(b + 36, h->buf_alloc);
	put_le32(b + 40, h->fwd_cnt);
	chain_write(ch, 0, b, sizeof(b));
	ring_push(ch, HDR_LEN + done);
	TRACE(vsock_rx, "op=%u host=%u guest=%u len=%u flags=%#x fwd=%u", h->op, h->src_port,
	      h->dst_port, done, h->flags, h->fwd_cnt);
	return done;
}

static void send_stray(struct vsock *v, struct ring_chain *ch)
{
	const struct stray *s = &v->stray[v->stray_first];
	const struct hdr h = { .src_cid = s->host_cid, .src_port = s->host_port,
			       .dst_port = s->guest_port, .type = s->type, .op = OP_RST };

	v->stray_first = (v->stray_first + 1) % STRAY_MAX;
	v->nstray--;
	put_packet(v, ch, &h, NULL, 0);
}

/* @c has work: send one packet. */
static void send_one(struct vsock_conn *c, struct ring_chain *ch)
{
	/* What goes first when several are owed. */
	static const struct { u8 owe; u16 op; } order[] = {
		{ OWE_RST, OP_RST }, { OWE_REQUEST, OP_REQUEST }, { OWE_RESPONSE, OP_RESPONSE },
		{ OWE_CREDIT, OP_CREDIT_UPDATE }, { OWE_ASK, OP_CREDIT_REQUEST },
	};
	struct hdr h = { .src_cid = VSOCK_CID_HOST, .src_port = c->host_port,
			 .dst_port = c->guest_port, .type = TYPE_STREAM, .op = OP_RW,
			 .buf_alloc = VSOCK_BUF, .fwd_cnt = c->fwd_cnt };

	c->fwd_told = c->fwd_cnt;
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
		if (!(c->owe & order[i].owe))
			continue;
		h.op = order[i].op;
		c->owe &= (u8)~order[i].owe;
		put_packet(c->v, ch, &h, NULL, 0);
		if (vconn_gone(c))
			c->v->reap = true;
		return;
	}
	if (c->out.len) {
		c->owe &= (u8)~OWE_CREDIT;
		c->tx_cnt += put_packet(c->v, ch, &h, &c->out, vconn_credit(c));
		if (c->out.len && !vconn_credit(c) && !c->asked) {
			c->asked = true;
			c->owe |= OWE_ASK;
		}
		if (c->want_room && c->out.len <= VSOCK_BUF / 2) {
			c->want_room = false;
			if (c->h && c->h->can_send)
				c->h->can_send(c->ctx);
		}
		vconn_sent(c);
		return;
	}
	h.op = OP_SHUTDOWN;
	h.flags = c->state == CLOSING ? SHUT_F_BOTH : SHUT_F_SEND;
	c->shut_sent = (u8)h.flags;
	c->owe &= (u8)~OWE_SHUT;
	put_packet(c->v, ch, &h, NULL, 0);
	if (c->state == CLOSING)
		vconn_set_deadline(c);
}

/* Send what there is, as long as the guest gives buffers. */
static void pump(struct vsock *v)
{
	unsigned left = TX_BATCH;
	struct ring_chain *ch;
	struct vsock_conn *c;
	int r = 0;

	while (v->up && (v->nstray || v->pend)) {
		if (!v->nstray && !vconn_has_work(v->pend)) {
			c = v->pend;
			v->pend = c->pnext;
			if (!v->pend)
				v->pend_end = &v->pend;
			c->pending = false;
			continue;
		}
		if (!left--) {
			virtio_kick(&v->v, Q_RX);
			break;
		}
		r = ring_pop(&v->v.queue[Q_RX], &ch);
		if (r <= 0)
			break;
		if (ch->write_len < HDR_LEN) {
			ring_push(ch, 0);
			r = -EPROTO;
			break;
		}
		if (v->nstray) {
			send_stray(v, ch);
			continue;
		}
		c = v->pend;
		v->pend = c->pnext;
		if (!v->pend)
			v->pend_end = &v->pend;
		c->pending = false;
		send_one(c, ch);
		vconn_pend(c);		/* behind the others */
	}
	if (r == -EPROTO)
		broke_soon(v);
	virtio_notify(&v->v, Q_RX);
}

/* Work is done when the outermost call ends: handlers may call us from within. */
void vsock_enter(struct vsock *v)
{
	v->depth++;
}

void vsock_leave(struct vsock *v)
{
	if (v->depth == 1) {
		pump(v);
		while (v->reap)
			vconns_free_gone(v);
	}
	v->depth--;
}

/* --- the queues --- */

static void kick_tx(struct vsock *v)
{
	struct ring *q = &v->v.queue[Q_TX];
	unsigned left = TX_BATCH;
	struct ring_chain *ch;
	int r = 1;

	while (v->up && v->nstray < STRAY_MAX && left && (r = ring_pop(q, &ch)) > 0) {
		bool ok = tx_chain(v, ch);

		ring_push(ch, 0);
		left--;
		if (!ok) {
			r = -EPROTO;
			break;
		}
	}
	if (r == -EPROTO)
		broke(v, "malformed packet");
	else if (v->up && v->nstray < STRAY_MAX && !left)
		virtio_kick(&v->v, Q_TX);
	virtio_notify(&v->v, Q_TX);
}

static void kick_event(struct vsock *v)
{
	struct ring_chain *ch;
	u8 b[EVENT_LEN];
	int r;

	if (!v->reset_owed)
		return;
	r = ring_pop(&v->v.queue[Q_EVENT], &ch);
	if (r > 0) {
		put_le32(b, EVENT_TRANSPORT_RESET);
		ring_push(ch, (u32)chain_write(ch, 0, b, sizeof(b)));
		v->reset_owed = false;
		virtio_notify(&v->v, Q_EVENT);
	} else if (r == -EPROTO) {
		broke(v, "malformed event buffer");
	}
}

static void vsock_kick(void *dev, unsigned q)
{
	struct vsock *v = dev;
	bool was_full = v->nstray == STRAY_MAX;

	if (!v->up)
		return;
	vsock_enter(v);
	if (q == Q_TX)
		kick_tx(v);
	else if (q == Q_EVENT)
		kick_event(v);
	vsock_leave(v);
	if (was_full && v->up && v->nstray < STRAY_MAX)
		virtio_kick(&v->v, Q_TX);
}

static void vsock_start(void *dev)
{
	struct vsock *v = dev;

	v->up = true;
}

static void vsock_stop(void *dev, int q)
{
	struct vsock *v = dev;

	if (q >= 0)
		return;		/* nothing is ever out */
	v->up = false;
	v->reset_owed = false;
	if (v->breaking)
		loop_unpost(v->v.m->loop, be_broken, v);
	v->breaking = false;
	vsock_enter(v);
	vconns_end(v);
	vsock_leave(v);
}

void vsock_on_timer(void *ctx)
{
	struct vsock *v = ctx;
	u64 now = clock_now(v->v.m->clock), next = UINT64_MAX;

	vsock_enter(v);
	for (unsigned i = 0; i < HASH; i++)
		for (struct vsock_conn *c = v->conn[i]; c; c = c->next) {
			if (c->deadline_ns <= now)
				vconn_end(c, ETIMEDOUT, OWE_RST);
			next = MIN(next, c->deadline_ns);
		}
	if (next != UINT64_MAX)
		vm_timer_set(&v->timer, next);
	vsock_leave(v);
}
/* --- the device --- */

static void vsock_config_read(void *dev, unsigned off, u8 *buf, unsigned len)
{
	const struct vsock *v = dev;
	u8 b[8];

	put_le64(b, v->cid);	/* 5.10.4 */
	memcpy(buf, b + off, len);
}

static const struct virtio_class vsock_virtio_class = {
	.name = "virtio-vsock", .type = VIRTIO_VSOCK, .pci_class = 0x078000, .config_len = 8,
	.config_read = vsock_config_read, .start = vsock_start, .stop = vsock_stop,
	.kick = vsock_kick,
};

static void vsock_reset(void *dev)
{
	struct vsock *v = dev;

	virtio_reset(&v->v);
	vsock_stop(v, -1);
}

static void vsock_free(void *dev)
{
	struct vsock *v = dev;

	if (!v)
		return;
	v->up = false;
	if (v->breaking)
		loop_unpost(v->v.m->loop, be_broken, v);
	v->depth++;		/* the last callbacks start nothing */
	vconns_end(v);
	v->depth--;
	vconns_free_gone(v);
	vsock_free_listeners(v);
	vm_timer_del(&v->timer);
	virtio_fini(&v->v);
	free(v);
}

/* Connections are with this process: a machine that comes out of a stream has none. */
static int vsock_post_load(void *dev, struct err *e)
{
	struct vsock *v = dev;
	bool owed = v->reset_owed;
	int r = virtio_post_load(&v->v, e);

	if (r < 0)
		return r;
	vsock_stop(v, -1);
	v->up = virtio_running(&v->v);
	v->reset_owed = owed && v->up;
	return 0;
}

static void vsock_resumed(void *dev, bool restored)
{
	struct vsock *v = dev;

	if (!restored || !v->up)
		return;
	/* 5.10.6.7: the guest drops its connections, and asks for its address again. */
	v->reset_owed = true;
	virtio_kick(&v->v, Q_EVENT);
	virtio_kick(&v->v, Q_TX);
}

static const struct state_field vsock_state[] = {
	STATE_STRUCT(struct vsock, v, virtio_state),
	STATE_BOOL(struct vsock, reset_owed),
	STATE_END
};

const struct device_class vsock_class = {
	.name = "virtio-vsock", .version = 1, .state = vsock_state, .reset = vsock_reset,
	.free = vsock_free, .post_load = vsock_post_load, .resumed = vsock_resumed,
};

int vsock_new(struct vsock **out, struct machine *m, u32 cid, struct err *e)
{
	struct vsock *v;
	int r;

	if (cid < VSOCK_CID_GUEST || cid == UINT32_MAX)
		return err_set(e, EINVAL, "vsock: a guest's address is %u to %u", VSOCK_CID_GUEST,
			       UINT32_MAX - 1);
	v = calloc(1, sizeof(*v));
	if (!v)
		return err_set(e, ENOMEM, "vsock: out of memory");
	v->cid = cid;
	v->pend_end = &v->pend;
	vm_timer_init(&v->timer, m->clock, vsock_on_timer, v);
	r = virtio_init(&v->v, m, &vsock_virtio_class, v, F_STREAM, Q_COUNT, QUEUE_SIZE, e);
	if (r < 0) {
		vsock_free(v);
		return r;
	}
	*out = v;
	return 0;
}

struct virtio *vsock_virtio(struct vsock *v)
{
	return &v->v;
}
