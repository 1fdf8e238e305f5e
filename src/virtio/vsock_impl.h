/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vsock_impl.h - between vsock.c (packets and queues) and vsock_conn.c (connections and their users). */
#ifndef PENTA_VIRTIO_VSOCK_IMPL_H
#define PENTA_VIRTIO_VSOCK_IMPL_H

#include "virtio/vsock.h"
#include <stdlib.h>
#include <string.h>

enum vsock_queue { Q_RX, Q_TX, Q_EVENT, Q_COUNT };	/* 5.10.2 */
enum { F_STREAM = 1 };				/* 5.10.3, bit 0 */
enum { TYPE_STREAM = 1 };			/* 5.10.6 */
enum vsock_op {
	OP_REQUEST = 1, OP_RESPONSE, OP_RST, OP_SHUTDOWN, OP_RW, OP_CREDIT_UPDATE, OP_CREDIT_REQUEST,
};
enum { SHUT_F_RCV = 1, SHUT_F_SEND = 2, SHUT_F_BOTH = 3 };	/* 5.10.6.5: will not receive, send */
enum { EVENT_TRANSPORT_RESET = 0, EVENT_LEN = 4 };
#define HDR_LEN 44u
#define QUEUE_SIZE 256u
#define TX_BATCH 256u			/* packets before others get the lock */
#define STRAY_MAX 64u
#define HOST_PORT_FIRST 0x40000000u	/* of connections that begin on the host */
#define ANSWER_NS 4000000000ull		/* a guest that is asked has so long */
#define HASH 64u

struct hdr {				/* struct virtio_vsock_hdr */
	u64 src_cid, dst_cid;
	u32 src_port, dst_port, len;
	u16 type, op;
	u32 flags, buf_alloc, fwd_cnt;
};

struct fifo {
	u8 *p;				/* NULL, or VSOCK_BUF bytes */
	u32 head, len;
};

enum conn_state { CONNECTING, OPEN, CLOSING, DYING };
enum { OWE_REQUEST = 1, OWE_RESPONSE = 2, OWE_CREDIT = 4, OWE_ASK = 8, OWE_SHUT = 16, OWE_RST = 32 };

struct vsock_conn {
	struct vsock_conn *next;	/* in its hash chain */
	struct vsock_conn *pnext;	/* in the list of those that have something to send */
	bool pending;
	struct vsock *v;
	u32 host_port, guest_port;
	enum conn_state state;
	const struct vsock_handlers *h;	/* NULL once closed by the user */
	void *ctx;
	u64 deadline_ns;		/* machine time; UINT64_MAX: none */

	/* From the guest. Counters wrap, as the protocol's. */
	struct fifo in;			/* what the user did not take at once */
	bool stalled;			/* ... and it will say when it does */
	bool in_recv;
	u32 rx_cnt, fwd_cnt, fwd_told;
	bool guest_eof, eof_told;	/* SHUTDOWN: it sends no more */
	bool guest_deaf;		/* ... receives no more */

	/* To the guest. */
	struct fifo out;
	u32 tx_cnt, peer_alloc, peer_fwd;
	bool asked;			/* for credit, since it ran out */
	bool want_room;			/* vsock_send() took less */
	bool shut;			/* nothing comes after what is in out */
	u8 shut_sent;
	u8 owe;
};

struct stray {				/* an RST that belongs to no connection */
	u64 host_cid;
	u32 host_port, guest_port;
	u16 type;
};

struct listener {
	struct listener *next;
	u32 port;
	vsock_accept_fn *fn;
	void *ctx;
};

struct vsock {
	struct virtio v;
	u32 cid;
	bool up;			/* the driver is there */
	bool reset_owed;		/* TRANSPORT_RESET waits for a buffer */
	unsigned nconns;
	struct vsock_conn *conn[HASH];
	struct vsock_conn *pend, **pend_end;
	struct stray stray[STRAY_MAX];
	unsigned stray_first, nstray;
	struct listener *listeners;
	u32 next_port;
	unsigned depth;			/* of calls: work is done, and connections are freed, at the end */
	bool breaking;			/* be_broken() is posted */
	bool reap;			/* a connection is gone (h NULL, state DYING, nothing owed) */
	struct vm_timer timer;		/* the next look at deadlines */
	u8 bounce[VSOCK_BUF];
};

/* --- queues of bytes --- */

static inline u32 fifo_room(const struct fifo *f)
{
	return VSOCK_BUF - f->len;
}

/* @len <= fifo_room(). False: no memory. */
static inline bool fifo_put(struct fifo *f, const u8 *buf, u32 len)
{
	u32 at = (f->head + f->len) % VSOCK_BUF, n = MIN(len, VSOCK_BUF - at);

	if (!f->p && !(f->p = malloc(VSOCK_BUF)))
		return false;
	memcpy(f->p + at, buf, n);
	memcpy(f->p, buf + n, len - n);
	f->len += len;
	return true;
}

/* The first bytes that lie in one piece. */
static inline const u8 *fifo_peek(const struct fifo *f, u32 *len)
{
	*len = MIN(f->len, VSOCK_BUF - f->head);
	return f->p + f->head;
}

static inline void fifo_drop(struct fifo *f, u32 len)
{
	f->head = (f->head + len) % VSOCK_BUF;
	f->len -= len;
}

static inline void fifo_free(struct fifo *f)
{
	free(f->p);
	*f = (struct fifo){ 0 };
}

/* --- vsock_conn.c --- */

bool vconn_gone(const struct vsock_conn *c);
struct vsock_conn *vconn_find(struct vsock *v, u32 host_port, u32 guest_port);
u32 vconn_credit(const struct vsock_conn *c);
/* Has @c something that can be sent, rx buffers given? */
bool vconn_has_work(const struct vsock_conn *c);
void vconn_pend(struct vsock_conn *c);
void vconn_owe(struct vsock_conn *c, u8 what);
void vconn_set_deadline(struct vsock_conn *c);
/* The user hears of the end; @last: OWE_RST or 0. Freed when nothing is owed and all calls are back. */
void vconn_end(struct vsock_conn *c, int err, u8 last);
void vconn_sent(struct vsock_conn *c);
void vconns_free_gone(struct vsock *v);
void vconns_end(struct vsock *v);
/* What packets do. */
void vconn_request(struct vsock *v, const struct hdr *h);
void vconn_response(struct vsock_conn *c);
void vconn_rst(struct vsock_conn *c);
void vconn_shutdown(struct vsock_conn *c, u32 flags);
void vconn_data(struct vsock_conn *c, const u8 *p, u32 len);
void vsock_on_timer(void *v);
void vsock_free_listeners(struct vsock *v);

/* --- vsock.c --- */

void vsock_put_stray(struct vsock *v, const struct hdr *h);	/* there is room */
/* Around every call: work is done when the outermost ends; handlers may call us from within. */
void vsock_enter(struct vsock *v);
void vsock_leave(struct vsock *v);

#endif
