/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2_flush.c - all that was written becomes durable, in an order that a power cut may end
 * anywhere.
 *
 *	counts:	refcount blocks			(data is on its way already: its writes are over)
 *		------ barrier ------
 *	index:	entries of the refcount table	only when blocks are new
 *		------ barrier ------
 *	maps:	L2 tables			they refer to data and to each other's clusters
 *		------ barrier ------
 *	roots:	entries of the L1 table		only when L2 tables are new
 *		------ barrier ------
 *
 * A barrier that has nothing behind it is left out, so that a flush after plain overwriting costs
 * one, and one after allocation two. What is written are copies, all taken when the flush begins:
 * what changes meanwhile belongs to the next. Requests that come during a flush share the next one.
*/
#include "block/qcow2_impl.h"
#include "base/bytes.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum stage { COUNTS, INDEX, MAPS, ROOTS, STAGES };

struct copy {				/* one write */
	struct copy *next;
	struct flush *f;
	enum stage stage;
	struct table *t;		/* pinned; NULL: of a root table */
	u64 from, to;			/* bytes of the table */
	struct block_req req;
	struct iovec iov;
	u8 data[];
};

struct flush {
	struct qcow2 *q;
	struct block_req *reqs;		/* whose flush it is */
	struct copy *copies;
	struct ranges let_go;
	unsigned count[STAGES], pending;
	enum stage stage;
	int ret;
	struct block_req barrier;
};

static void flush_start(struct qcow2 *q);
static void go_on(struct flush *f);

static struct copy *copy_new(struct flush *f, enum stage s, u64 off, u64 len)
{
	struct copy *c = malloc(sizeof(*c) + len);

	if (!c)
		return NULL;
	*c = (struct copy){ .next = f->copies, .f = f, .stage = s };
	c->iov = (struct iovec){ c->data, len };
	c->req = (struct block_req){
		.op = BLOCK_WRITE, .off = off, .len = len, .iov = &c->iov, .niov = 1, .ctx = c,
	};
	f->copies = c;
	f->count[s]++;
	return c;
}

static bool copy_table(struct flush *f, struct table *t, enum stage s)
{
	u32 from = t->dirty_from, to = t->dirty_to;
	struct copy *c = copy_new(f, s, t->off + from, to - from);

	if (!c)
		return false;
	memcpy(c->data, t->data + from, to - from);
	c->t = t;
	c->from = from;
	c->to = to;
	t->pins++;
	t->dirty_from = t->dirty_to = 0;
	return true;
}

/* Entries [*from, *to) of a table that is in memory as a whole. */
static bool copy_root(struct flush *f, const u64 *v, u64 n, u64 off, u64 *from, u64 *to,
		      enum stage s)
{
	u64 lo = *from & ~63ull, hi = (*to + 63) & ~63ull;	/* whole sectors */
	struct copy *c;

	if (*from == *to)
		return true;
	c = copy_new(f, s, off + lo * 8, (hi - lo) * 8);
	if (!c)
		return false;
	for (u64 i = lo; i < hi; i++)
		put_be64(c->data + (i - lo) * 8, i < n ? v[i] : 0);
	c->from = *from;
	c->to = *to;
	*from = *to = 0;
	return true;
}

static bool take_copies(struct flush *f)
{
	struct qcow2 *q = f->q;
	bool ok = true;

	for (struct table *t = q->oldest; ok && t; t = t->newer)
		if (t->dirty_from != t->dirty_to)
			ok = copy_table(f, t, t->counts ? COUNTS : MAPS);
	ok = ok && copy_root(f, q->rt, q->rt_n, q->h.rt_off, &q->rt_from, &q->rt_to, INDEX);
	ok = ok && copy_root(f, q->l1, q->h.l1_size, q->h.l1_off, &q->l1_from, &q->l1_to, ROOTS);
	return ok;
}

static void widen(u64 *from, u64 *to, u64 lo, u64 hi)
{
	if (*from == *to)
		*from = lo, *to = hi;
	else
		*from = MIN(*from, lo), *to = MAX(*to, hi);
}

/* Copies are done with; what did not get to the disk stays to be written. */
static void drop_copies(struct flush *f, bool written)
{
	struct qcow2 *q = f->q;

	for (struct copy *c = f->copies, *next; c; c = next) {
		next = c->next;
		if (c->t)
			c->t->pins--;
		if (!written && c->t)
			table_dirty(c->t, c->from, c->to);
		else if (!written && c->stage == INDEX)
			widen(&q->rt_from, &q->rt_to, c->from, c->to);
		else if (!written)
			widen(&q->l1_from, &q->l1_to, c->from, c->to);
		free(c);
	}
	f->copies = NULL;
}

static void finish(struct flush *f)
{
	struct qcow2 *q = f->q;
	struct block_req *r = f->reqs, *next;
	int ret = f->ret;

	drop_copies(f, !ret);
	if (ret)		/* once more with the next flush */
		for (size_t i = 0; i < f->let_go.n; i++)
			cluster_let_go(q, f->let_go.v[i].off, f->let_go.v[i].n);
	else
		cluster_on_disk(q, &f->let_go);
	free(f->let_go.v);
	free(f);
	q->flush = NULL;
	cluster_release(q);
	if (q->flush_next)
		flush_start(q);
	for (; r; r = next) {
		next = r->next;
		qcow2_end(q, r, ret);
	}
	q->room_error = ret;		/* no room will come of it: tell them, not try for ever */
	unpark(&q->flushed);
	q->room_error = 0;
	qcow2_unhold(q);
}

static void on_barrier(struct block_req *r, int ret)
{
	struct flush *f = r->ctx;

	if (ret)
		f->ret = ret;
	go_on(f);
}

static void on_written(struct block_req *r, int ret)
{
	struct copy *c = r->ctx;
	struct flush *f = c->f;

	if (ret)
		f->ret = ret;
	if (!--f->pending)
		go_on(f);
}

static void barrier(struct flush *f)
{
	f->barrier = (struct block_req){ .op = BLOCK_FLUSH, .done = on_barrier, .ctx = f };
	block_submit(f->q->file, &f->barrier);
}

/* A stage's writes, or a barrier, are over. Stages without writes are passed by; the barrier behind
 * the first is needed before anything refers to the data. */
static void go_on(struct flush *f)
{
	enum stage s = f->stage;

	if (f->ret || s == STAGES) {
		finish(f);
		return;
	}
	if (f->count[s]) {
		struct copy *c, *next;

		f->pending = f->count[s];
		f->count[s] = 0;
		block_plug(f->q->file);
		for (c = f->copies; c; c = next) {
			next = c->next;
			if (c->stage == s) {
				c->req.done = on_written;
				block_submit(f->q->file, &c->req);
			}
		}
		block_unplug(f->q->file);
		return;
	}
	/* Written, or nothing to write. Without a barrier what follows could overtake it. */
	f->stage = s + 1;
	while (f->stage < STAGES && !f->count[f->stage])
		f->stage++;
	barrier(f);
}

static void flush_start(struct qcow2 *q)
{
	struct flush *f = calloc(1, sizeof(*f));
	struct block_req *r = q->flush_next, *next;

	q->flush_next = NULL;
	q->flush_next_end = &q->flush_next;
	qcow2_hold(q);
	if (!f) {
		for (; r; r = next) {
			next = r->next;
			qcow2_end(q, r, -ENOMEM);
		}
		qcow2_unhold(q);
		return;
	}
	f->q = q;
	f->reqs = r;
	f->let_go = q->let_go;
	q->let_go = (struct ranges){ 0 };
	q->flush = f;
	if (!take_copies(f))
		f->ret = -ENOMEM;
	go_on(f);
}

void flush_request(struct qcow2 *q, struct block_req *r)
{
	if (r) {
		r->next = NULL;
		*q->flush_next_end = r;
		q->flush_next_end = &r->next;
	}
	if (!q->flush)
		flush_start(q);
}
