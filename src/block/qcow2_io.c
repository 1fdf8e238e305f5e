/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2_io.c - a request is taken apart into pieces that lie in a row in the file, in the backing
 * file, or nowhere; clusters are allocated, and what of them is not written is copied.
 *
 * A piece under way is an operation. Two writes to a cluster may overlap in time only when both
 * write in place; else the later one is parked until the earlier is over. Reads wait for nobody:
 * what they read is either the old or the new. */
#include "block/qcow2_impl.h"
#include "base/bytes.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COW_BYTES_MAX (16 * MiB)	/* in buffers at once */
#define RUN_MAX (2 * MiB)		/* bytes allocated in one operation */
/* Operations at once. One request may be millions of clusters that lie in no order. */
#define OPS_MAX 1024u

struct qreq {				/* a request from above */
	struct parked parked;
	struct qcow2 *q;
	struct block_req *r;
	u64 pos;			/* bytes from its start that have been handed out */
	unsigned pending;		/* operations, and 1 until all is handed out */
	int ret;
};

struct op {				/* a piece of it */
	struct op *next, *prev;
	struct qreq *qr;
	enum op_kind kind;
	u64 seq;
	u64 first, last;		/* clusters of the disk, for writes */
	struct parked *waiters;

	struct block_req req;
	struct iovec *iov;		/* owned, or NULL */
	u64 off, len;			/* of the disk */

	/* OP_ALLOC */
	struct table *l2;		/* pinned */
	u64 host, nclusters;
	bool fresh;			/* the clusters were allocated now, not before */
	u64 old_off, old_n;		/* what the (one) cluster had before, to be let go */
	u8 *cow; /* @head bytes before the data, @tail behind it; or data too */
	u64 head, tail, cow_len;
	struct block_req part[2];	/* reading them */
	struct iovec part_iov[2];
	unsigned reading;
	/* a compressed cluster */
	u8 *packed;
	u64 entry;
};

/* What a cluster of the disk is. */
enum where { NOWHERE, ZERO, DATA, PACKED };

struct inflated {
	u64 entry;			/* of the L2 table: where it came from */
	u8 data[];
};

static void step(struct qreq *qr);

static void qreq_put(struct qreq *qr)
{
	struct qcow2 *q = qr->q;
	struct block_req *r = qr->r;
	int ret = qr->ret;

	if (--qr->pending)
		return;
	free(qr);
	if (!ret && r->fua)
		flush_request(q, r);
	else
		qcow2_end(q, r, ret);
}

static void op_link(struct op **list, struct op *op)
{
	op->next = *list;
	op->prev = NULL;
	if (op->next)
		op->next->prev = op;
	*list = op;
}

static void on_part(struct block_req *r, int ret);

/* May @qr begin another operation? -EAGAIN: it is parked until some have ended. What an operation
 * itself reads never waits, or they would all wait for each other. */
static int op_room(struct qreq *qr)
{
	struct qcow2 *q = qr->q;

	if (q->nops < OPS_MAX || qr->r->done == on_part)
		return 0;
	park(&q->room, &qr->parked);
	return -EAGAIN;
}

static struct op *op_new(struct qreq *qr, enum op_kind kind, u64 off, u64 len)
{
	struct qcow2 *q = qr->q;
	struct op *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	q->nops++;
	op->qr = qr;
	op->kind = kind;
	op->off = off;
	op->len = len;
	op->first = off >> q->bits;
	op->last = (off + len - 1) >> q->bits;
	op->seq = ++q->seq;
	if (kind == OP_READ) {		/* at the end: the oldest comes first */
		op->prev = q->reads_end;
		*(op->prev ? &op->prev->next : &q->reads) = op;
		q->reads_end = op;
	} else {
		op_link(&q->writes, op);
	}
	qr->pending++;
	return op;
}

static void op_end(struct op *op, int ret)
{
	struct qreq *qr = op->qr;
	struct qcow2 *q = qr->q;
	struct parked *waiters = op->waiters, *room = NULL;

	if (op->kind == OP_READ) {
		*(op->prev ? &op->prev->next : &q->reads) = op->next;
		*(op->next ? &op->next->prev : &q->reads_end) = op->prev;
		cluster_release(q);
	} else {
		*(op->prev ? &op->prev->next : &q->writes) = op->next;
		if (op->next)
			op->next->prev = op->prev;
	}
	if (op->l2)
		op->l2->pins--;
	q->nops--;
	q->cow_bytes -= op->cow_len;
	if (op->cow_len || q->nops < OPS_MAX) {
		room = q->room;
		q->room = NULL;
	}
	if (ret && !qr->ret)
		qr->ret = ret;
	free(op->iov);
	free(op->cow);
	free(op->packed);
	free(op);
	qreq_put(qr);
	unpark(&waiters);
	unpark(&room);
}

bool io_reads_newer(struct qcow2 *q, u64 seq)
{
	return !q->reads || q->reads->seq > seq;
}

/* A write under way that a new one of @kind to these clusters must wait for. */
static struct op *conflict(struct qcow2 *q, enum op_kind kind, u64 first, u64 last)
{
	for (struct op *op = q->writes; op; op = op->next)
		if (op->first <= last && first <= op->last &&
		    (kind != OP_INPLACE || op->kind != OP_INPLACE))
			return op;
	return NULL;
}

/* --- pieces of memory --- */

/* As many as slice() finds. */
static unsigned slices(const struct block_req *r, u64 pos, u64 len)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->niov && len; i++) {
		u64 k = r->iov[i].iov_len;

		if (pos >= k) {
			pos -= k;
			continue;
		}
		len -= MIN(k - pos, len);
		pos = 0;
		n++;
	}
	return n;
}

/* Bytes [pos, pos+len) of @r's memory as at most r->niov pieces at @out. */
static unsigned slice(const struct block_req *r, u64 pos, u64 len, struct iovec *out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->niov && len; i++) {
		u64 k = r->iov[i].iov_len;

		if (pos >= k) {
			pos -= k;
			continue;
		}
		k = MIN(k - pos, len);
		out[n++] = (struct iovec){ (u8 *)r->iov[i].iov_base + pos, k };
		pos = 0;
		len -= k;
	}
	return n;
}

static void fill(const struct block_req *r, u64 pos, u64 len, const u8 *from)
{
	for (unsigned i = 0; i < r->niov && len; i++) {
		u64 k = r->iov[i].iov_len;

		if (pos >= k) {
			pos -= k;
			continue;
		}
		k = MIN(k - pos, len);
		if (from)
			memcpy((u8 *)r->iov[i].iov_base + pos, from, k);
		else
			memset((u8 *)r->iov[i].iov_base + pos, 0, k);
		from += from ? k : 0;
		pos = 0;
		len -= k;
	}
}

/* --- maps --- */

static u64 l1_index(struct qcow2 *q, u64 off)
{
	return (off >> q->bits) / q->per_l2;
}

int l2_get(struct qcow2 *q, u64 off, struct parked *p, struct table **out)
{
	u64 e = q->l1[l1_index(q, off)], at = e & QCOW2_OFFSET;
	int r;

	if (!at)
		return 0;
	if (at & (q->cs - 1))
		return qcow2_damaged(q, "L2 table", at);
	r = table_get(q, at, p, out);
	return r ? r : 1;
}

static u64 l2_entry(struct qcow2 *q, const struct table *t, u64 off)
{
	return get_be64(t->data + (off >> q->bits) % q->per_l2 * 8);
}

static enum where where_is(struct qcow2 *q, u64 e)
{
	if (e & QCOW2_COMPRESSED)
		return PACKED;
	if (q->h.version >= 3 && e & QCOW2_ZERO)
		return ZERO;
	return e & QCOW2_OFFSET ? DATA : NOWHERE;
}

/* Does the backing file say anything about @off? */
static bool backed(struct qcow2 *q, u64 off)
{
	return q->backing && off < q->backing->info.size;
}

/* Bytes from @off to the end of its L2 table's part of the disk. */
static u64 to_l2_end(struct qcow2 *q, u64 off)
{
	u64 span = q->per_l2 << q->bits;

	return span - off % span;
}

/* Where a compressed cluster is: byte offset, and the length of the sectors that hold it. */
static void packed_place(struct qcow2 *q, u64 e, u64 *off, u64 *len)
{
	unsigned x = 62 - (q->bits - 8);

	*off = e & (BIT(x) - 1);
	*len = ((e >> x & (BIT(62 - x) - 1)) + 1) * 512 - (*off & 511);
}

/* --- reads --- */

static void on_read(struct block_req *r, int ret)
{
	op_end(r->ctx, ret);
}

/* Read @op from byte @at of @from, straight into the request's memory. */
static int read_into(struct op *op, struct block *from, u64 at)
{
	struct qreq *qr = op->qr;
	struct block_req *r = qr->r;

	op->req = (struct block_req){
		.op = BLOCK_READ, .off = at, .len = op->len, .iov = r->iov, .niov = r->niov,
		.done = on_read, .ctx = op,
	};
	if (op->len != r->len) {
		op->iov = malloc(slices(r, op->off - r->off, op->len) * sizeof(*op->iov));
		if (!op->iov)
			return -ENOMEM;
		op->req.iov = op->iov;
		op->req.niov = slice(r, op->off - r->off, op->len, op->iov);
	}
	block_submit(from, &op->req);
	return 0;
}

static void on_packed(struct block_req *r, int ret)
{
	struct op *op = r->ctx;
	struct qcow2 *q = op->qr->q;
	struct block_req *top = op->qr->r;
	struct inflated **slot = &q->inflated[q->inflated_next++ % ARRAY_SIZE(q->inflated)];
	struct inflated *c = *slot;
	u64 off, len;

	if (!ret && !c) {
		c = *slot = malloc(sizeof(*c) + q->cs);
		ret = c ? 0 : -ENOMEM;
	}
	if (!ret) {
		packed_place(q, op->entry, &off, &len);
		c->entry = 0;
		ret = qcow2_inflate(q->h.zstd, op->packed + (off & 511), len, c->data, q->cs);
		if (ret)
			qcow2_damaged(q, "compressed cluster", off);
	}
	if (!ret) {
		c->entry = op->entry;
		fill(top, op->off - top->off, op->len, c->data + (op->off & (q->cs - 1)));
	}
	op_end(op, ret);
}

static int read_packed(struct qreq *qr, u64 off, u64 len, u64 e)
{
	struct qcow2 *q = qr->q;
	struct op *op;
	u64 at, n;

	for (unsigned i = 0; i < ARRAY_SIZE(q->inflated); i++)
		if (q->inflated[i] && q->inflated[i]->entry == e) {
			fill(qr->r, off - qr->r->off, len,
			     q->inflated[i]->data + (off & (q->cs - 1)));
			return 0;
		}
	packed_place(q, e, &at, &n);
	op = op_new(qr, OP_READ, off, len);
	if (!op)
		return -ENOMEM;
	op->entry = e;
	n += at & 511;
	op->packed = malloc(n);
	if (!op->packed) {
		op_end(op, -ENOMEM);
		return 0;
	}
	op->part_iov[0] = (struct iovec){ op->packed, n };
	op->req = (struct block_req){
		.op = BLOCK_READ, .off = at & ~511ull, .len = n, .iov = op->part_iov, .niov = 1,
		.done = on_packed, .ctx = op,
	};
	block_submit(q->file, &op->req);
	return 0;
}

/* Read what can be read as one piece from @off, at most *@len bytes; *@len says how much it was. */
static int read_piece(struct qreq *qr, u64 off, u64 *len)
{
	struct qcow2 *q = qr->q;
	struct table *t;
	enum where w = NOWHERE;
	u64 e = 0, host = 0, n = MIN(*len, to_l2_end(q, off)), run;
	struct op *op;
	int r = op_room(qr);

	if (!r)
		r = l2_get(q, off, &qr->parked, &t);
	if (r < 0)
		return r;
	if (r) {
		e = l2_entry(q, t, off);
		w = where_is(q, e);
		host = w == DATA ? e & QCOW2_OFFSET : 0;
		if (host & (q->cs - 1))
			return qcow2_damaged(q, "cluster", host);
		run = q->cs - (off & (q->cs - 1));
		while (w != PACKED && run < n) {
			u64 e2 = l2_entry(q, t, off + run);

			if (where_is(q, e2) != w ||
			    (w == DATA &&
			     (e2 & QCOW2_OFFSET) != host + ((off & (q->cs - 1)) + run)))
				break;
			run += q->cs;
		}
		n = MIN(n, run);
	}
	if (w == NOWHERE && backed(q, off))
		n = MIN(n, q->backing->info.size - off);
	*len = n;
	if (w == PACKED)
		return read_packed(qr, off, n, e);
	if (w == ZERO || (w == NOWHERE && !backed(q, off))) {
		fill(qr->r, off - qr->r->off, n, NULL);
		return 0;
	}
	op = op_new(qr, OP_READ, off, n);
	if (!op)
		return -ENOMEM;
	r = w == DATA ? read_into(op, q->file, host + (off & (q->cs - 1))) :
		read_into(op, q->backing, off);
	if (r)
		op_end(op, r);
	return 0;
}

/* --- writes --- */

/* The data of [off, off+len): the request's own, or zeros for a request to write zeroes. @out has
 * room for r->niov + 1 pieces. */
static unsigned source(const struct block_req *r, u64 off, u64 len, u8 *zeros, struct iovec *out)
{
	if (r->op == BLOCK_WRITE)
		return slice(r, off - r->off, len, out);
	out[0] = (struct iovec){ zeros, len };
	return 1;
}

static int write_inplace(struct qreq *qr, u64 off, u64 len, u64 host)
{
	struct qcow2 *q = qr->q;
	struct block_req *r = qr->r;
	struct op *op = op_new(qr, OP_INPLACE, off, len);

	if (!op)
		return -ENOMEM;
	op->req = (struct block_req){
		.op = BLOCK_WRITE, .off = host, .len = len, .iov = r->iov, .niov = r->niov,
		.done = on_read, .ctx = op,
	};
	if (r->op == BLOCK_WRITE_ZEROES) {
		op->req.op = BLOCK_WRITE_ZEROES;
	} else if (len != r->len) {
		op->iov = malloc(slices(r, off - r->off, len) * sizeof(*op->iov));
		if (!op->iov) {
			op_end(op, -ENOMEM);
			return 0;
		}
		op->req.iov = op->iov;
		op->req.niov = slice(r, off - r->off, len, op->iov);
	}
	block_submit(q->file, &op->req);
	return 0;
}

/* Data is in its clusters: the disk is told. */
static void on_allocated(struct block_req *r, int ret)
{
	struct op *op = r->ctx;
	struct qcow2 *q = op->qr->q;
	u64 i = op->first % q->per_l2;

	if (ret) {
		if (op->fresh)
			cluster_unalloc(q, op->host, op->nclusters);
		op_end(op, ret);
		return;
	}
	for (u64 k = 0; k < op->nclusters; k++)
		put_be64(op->l2->data + (i + k) * 8, (op->host + (k << q->bits)) | QCOW2_COPIED);
	table_dirty(op->l2, i * 8, (i + op->nclusters) * 8);
	if (op->old_n)
		cluster_let_go(q, op->old_off, op->old_n);
	op_end(op, 0);
}

static void write_allocated(struct op *op)
{
	struct qcow2 *q = op->qr->q;
	struct block_req *r = op->qr->r;
	unsigned n = 0;

	op->iov = malloc((slices(r, op->off - r->off, op->len) + 3) * sizeof(*op->iov));
	if (!op->iov) {
		on_allocated(&op->req, -ENOMEM);
		return;
	}
	if (op->head)
		op->iov[n++] = (struct iovec){ op->cow, op->head };
	n += source(r, op->off, op->len, op->cow + op->head + op->tail, op->iov + n);
	if (op->tail)
		op->iov[n++] = (struct iovec){ op->cow + op->head, op->tail };
	op->req.off = op->host + (op->off & (q->cs - 1)) - op->head;
	op->req.len = op->head + op->len + op->tail;
	op->req.iov = op->iov;
	op->req.niov = n;
	block_submit(q->file, &op->req);
}

static void on_part(struct block_req *r, int ret)
{
	struct op *op = r->ctx;

	if (ret)
		op->req.ret = ret;
	if (--op->reading)
		return;
	if (op->req.ret)
		on_allocated(&op->req, op->req.ret);
	else
		write_allocated(op);
}

/* Read what of the first and the last cluster is kept, through this layer as it is now. */
static void read_parts(struct op *op)
{
	struct qcow2 *q = op->qr->q;
	u64 at[2] = { op->off - op->head, op->off + op->len };
	u64 len[2] = { op->head, op->tail };
	u8 *buf[2] = { op->cow, op->cow + op->head };

	op->reading = 1;
	for (unsigned i = 0; i < 2; i++) {
		/* The last cluster may reach beyond the disk: zeros there. */
		u64 n = MIN(len[i], q->b.info.size - MIN(at[i], q->b.info.size));

		if (!n)
			continue;
		op->part_iov[i] = (struct iovec){ buf[i], n };
		op->part[i] = (struct block_req){
			.op = BLOCK_READ,
			.off = at[i],
			.len = n,
			.iov = &op->part_iov[i],
			.niov = 1,
			.done = on_part,
			.ctx = op,
		};
		op->reading++;
		block_submit(&q->b, &op->part[i]);
	}
	if (!--op->reading)
		write_allocated(op);
}

/* An L2 table that may be written, made if need be. */
static int l2_for_write(struct qcow2 *q, u64 off, struct parked *p, struct table **out)
{
	u64 i = l1_index(q, off), at, got;
	bool clean;
	int r = l2_get(q, off, p, out);

	if (r < 0)
		return r;
	if (r)
		return q->l1[i] & QCOW2_COPIED ? 0 : qcow2_damaged(q, "shared L2 table", q->l1[i]);
	r = table_room(q, p);		/* before the cluster is taken */
	if (!r)
		r = cluster_alloc(q, 1, p, &at, &got, &clean);
	if (r)
		return r;
	r = table_new(q, at, p, out);
	if (r) {			/* the search may have taken the room: once more later */
		cluster_unalloc(q, at, 1);
		return r;
	}
	q->l1[i] = at | QCOW2_COPIED;
	if (q->l1_from == q->l1_to)
		q->l1_from = i, q->l1_to = i + 1;
	else
		q->l1_from = MIN(q->l1_from, i), q->l1_to = MAX(q->l1_to, i + 1);
	return 0;
}

/* Does the cluster read as zeros as it is? */
static bool is_zero(struct qcow2 *q, u64 e, u64 off)
{
	enum where w = where_is(q, e);

	return w == ZERO || (w == NOWHERE && !backed(q, off & ~(q->cs - 1)));
}

/* What cluster @e of the disk has in the file, to be let go. */
static void holding(struct qcow2 *q, u64 e, u64 *off, u64 *n)
{
	u64 len;

	*n = 0;
	if (e & QCOW2_COMPRESSED) {
		packed_place(q, e, off, &len);
		*n = ((*off + len - 1) >> q->bits) - (*off >> q->bits) + 1;
		*off &= ~(q->cs - 1);
	} else if (e & QCOW2_OFFSET) {
		*off = e & QCOW2_OFFSET;
		*n = 1;
	}
}

static bool in_place(struct qcow2 *q, u64 e)
{
	return where_is(q, e) == DATA && e & QCOW2_COPIED;
}

/* Allocate for [off, off+len), the first cluster of which is @e now. */
static int write_alloc(struct qreq *qr, struct table *t, u64 e, u64 off, u64 *len)
{
	struct qcow2 *q = qr->q;
	u64 first = off >> q->bits, end = MIN(*len, RUN_MAX) + off, n = 1, host, got, last_e = e;
	bool clean, fresh = true, zero, pure, kept = where_is(q, e) == ZERO && e & QCOW2_COPIED &&
		e & QCOW2_OFFSET;	/* zeros over a cluster that is still ours */
	struct op *op;
	int r;

	/* Clusters that hold something, to be let go or used again, go one at a time. */
	if (!kept && !(e & (QCOW2_OFFSET | QCOW2_COMPRESSED)))
		while ((first + n) << q->bits < end &&
		       !((last_e = l2_entry(q, t, (first + n) << q->bits)) &
			 (QCOW2_OFFSET | QCOW2_COMPRESSED)))
			n++;
	else if (e & QCOW2_OFFSET & (q->cs - 1) && !(e & QCOW2_COMPRESSED))
		return qcow2_damaged(q, "cluster", e & QCOW2_OFFSET);
	if (q->cow_bytes && q->cow_bytes + 2 * q->cs > COW_BYTES_MAX) {
		park(&q->room, &qr->parked);
		return -EAGAIN;
	}
	t->pins++;			/* while clusters are looked for */
	if (kept) {
		host = e & QCOW2_OFFSET;
		got = 1;
		clean = fresh = false;
		r = cluster_is_meta(q, host) ? qcow2_damaged(q, "cluster", host) : 0;
	} else {
		r = cluster_alloc(q, n, &qr->parked, &host, &got, &clean);
	}
	t->pins--;
	if (r)
		return r;
	end = MIN(end, (first + got) << q->bits);
	*len = end - off;
	op = op_new(qr, OP_ALLOC, off, *len);
	if (!op) {
		if (fresh)
			cluster_unalloc(q, host, got);
		return -ENOMEM;
	}
	op->l2 = t;
	t->pins++;
	op->host = host;
	op->nclusters = got;
	op->fresh = fresh;
	op->req = (struct block_req){ .op = BLOCK_WRITE, .done = on_allocated, .ctx = op };
	if (!kept)
		holding(q, e, &op->old_off, &op->old_n);
	op->head = off & (q->cs - 1);
	op->tail = -end & (q->cs - 1);
	/* The last cluster's entry: of the clusters that were got. */
	last_e = l2_entry(q, t, end - 1);
	zero = (!op->head || is_zero(q, e, off)) && (!op->tail || is_zero(q, last_e, end - 1));
	pure = zero && clean;
	if (pure)			/* never written: what is not written reads as zeros */
		op->head = op->tail = 0;
	op->cow_len = op->head + op->tail + (qr->r->op == BLOCK_WRITE_ZEROES ? *len : 0);
	if (op->cow_len) {
		q->cow_bytes += op->cow_len;
		op->cow = calloc(1, op->cow_len);
		if (!op->cow) {
			op->req.ret = -ENOMEM;
			on_allocated(&op->req, -ENOMEM);
			return 0;
		}
	}
	if (zero)
		write_allocated(op);
	else
		read_parts(op);
	return 0;
}

static int write_piece(struct qreq *qr, u64 off, u64 *len)
{
	struct qcow2 *q = qr->q;
	u64 n = MIN(*len, to_l2_end(q, off)), e, host, run;
	struct table *t;
	struct op *op;
	int r = op_room(qr);

	if (!r)
		r = l2_for_write(q, off, &qr->parked, &t);
	if (r)
		return r;
	e = l2_entry(q, t, off);
	run = q->cs - (off & (q->cs - 1));
	if (in_place(q, e)) {
		host = e & QCOW2_OFFSET;
		while (run < n && in_place(q, l2_entry(q, t, off + run)) &&
		       (l2_entry(q, t, off + run) & QCOW2_OFFSET) ==
		       host + (off & (q->cs - 1)) + run)
			run += q->cs;
		n = MIN(n, run);
		if (host & (q->cs - 1) || cluster_is_meta(q, host))
			return qcow2_damaged(q, "cluster", host);
		op = conflict(q, OP_INPLACE, off >> q->bits, (off + n - 1) >> q->bits);
		if (op) {
			park(&op->waiters, &qr->parked);
			return -EAGAIN;
		}
		*len = n;
		return write_inplace(qr, off, n, host + (off & (q->cs - 1)));
	}
	/* Whatever is going on in the first cluster; the others are looked at when they are taken.
	 */
	op = conflict(q, OP_ALLOC, off >> q->bits, off >> q->bits);
	if (op) {
		park(&op->waiters, &qr->parked);
		return -EAGAIN;
	}
	for (u64 k = run; k < n; k += q->cs)	/* no further than another one's */
		if (conflict(q, OP_ALLOC, (off + k) >> q->bits, (off + k) >> q->bits)) {
			n = k;
			break;
		}
	*len = n;
	return write_alloc(qr, t, e, off, len);
}

/* --- discard, write zeroes --- */

/* What a whole cluster becomes. */
static u64 emptied(struct qcow2 *q, u64 off, u64 e, bool give_back)
{
	if (where_is(q, e) == ZERO && !give_back)
		return e;
	if (!give_back && in_place(q, e) && q->h.version >= 3)
		return e | QCOW2_ZERO;
	return backed(q, off) ? QCOW2_ZERO : 0;
}

/* As much as one L2 table says about. */
static int empty_piece(struct qreq *qr, u64 off, u64 *len)
{
	struct qcow2 *q = qr->q;
	struct block_req *r = qr->r;
	bool discard = r->op == BLOCK_DISCARD, give_back = discard || (r->unmap && q->discard);
	u64 end = off + MIN(*len, to_l2_end(q, off)), at;
	struct table *t;
	struct op *op;
	int k;

	/* A part of a cluster, unless it is all that the disk has of it. */
	if (off & (q->cs - 1) || (end - off < q->cs && end != q->b.info.size)) {
		*len = MIN(end - off, q->cs - (off & (q->cs - 1)));
		if (discard)
			return 0;
		k = l2_get(q, off, &qr->parked, &t);
		if (k < 0)
			return k;
		op = conflict(q, OP_ALLOC, off >> q->bits, off >> q->bits);
		if (op) {
			park(&op->waiters, &qr->parked);
			return -EAGAIN;
		}
		return is_zero(q, k ? l2_entry(q, t, off) : 0, off) ? 0 : write_piece(qr, off, len);
	}
	if (end != q->b.info.size)
		end &= ~(q->cs - 1);
	/* Version 2 cannot say "zeros" where a backing file says otherwise. */
	if (q->h.version < 3 && backed(q, off)) {
		*len = discard ? end - off : q->cs;
		return discard ? 0 : write_piece(qr, off, len);
	}
	op = conflict(q, OP_ALLOC, off >> q->bits, (end - 1) >> q->bits);
	if (op) {
		park(&op->waiters, &qr->parked);
		return -EAGAIN;
	}
	*len = end - off;
	if (!(q->l1[l1_index(q, off)] & QCOW2_OFFSET) && !backed(q, off))
		return 0;
	k = l2_for_write(q, off, &qr->parked, &t);
	if (k)
		return k;
	q->seq++;
	for (at = off; at < end; at += q->cs) {
		u64 i = (at >> q->bits) % q->per_l2, e = get_be64(t->data + i * 8), old, n;
		u64 new = emptied(q, at, e, give_back);

		if (e == new)
			continue;
		holding(q, e, &old, &n);
		put_be64(t->data + i * 8, new);
		table_dirty(t, i * 8, i * 8 + 8);
		if (n && !(new & QCOW2_OFFSET))
			cluster_let_go(q, old, n);
	}
	return 0;
}

/* --- requests --- */

static void step(struct qreq *qr)
{
	struct block_req *r = qr->r;

	while (qr->pos < r->len && !qr->ret) {
		u64 len = r->len - qr->pos, off = r->off + qr->pos;
		int k;

		if (r->op == BLOCK_READ)
			k = read_piece(qr, off, &len);
		else if (r->op == BLOCK_WRITE)
			k = write_piece(qr, off, &len);
		else
			k = empty_piece(qr, off, &len);
		if (k == -EAGAIN)
			return;		/* parked: comes again */
		if (k)
			qr->ret = k;
		qr->pos += len;
	}
	qreq_put(qr);
}

static void run(struct parked *p)
{
	step(container_of(p, struct qreq, parked));
}

void io_submit(struct qcow2 *q, struct block_req *r)
{
	struct qreq *qr = calloc(1, sizeof(*qr));

	if (!qr) {
		qcow2_end(q, r, -ENOMEM);
		return;
	}
	*qr = (struct qreq){ .parked.run = run, .q = q, .r = r, .pending = 1 };
	step(qr);
}
