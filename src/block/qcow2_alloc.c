/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2_alloc.c - which clusters of the file are free: refcounts 0 and 1.
 *
 * A refcount block that is missing is made where the search has come to, and counts itself. */
#include "block/qcow2_impl.h"
#include "base/bytes.h"		// mul_ok
#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool cluster_is_meta(struct qcow2 *q, u64 off)
{
	return off < q->cs ||
	       (off >= q->h.l1_off && off - q->h.l1_off < q->h.l1_size * 8ull) ||
	       (off >= q->h.rt_off && off - q->h.rt_off < q->h.rt_clusters << q->bits) ||
	       table_cached(q, off);
}

static u64 count_get(struct qcow2 *q, const struct table *t, u64 i)
{
	return qcow2_refcount_get(t->data, q->h.refcount_order, i);
}

static void count_set(struct qcow2 *q, struct table *t, u64 i, u64 n)
{
	u64 at = (i << q->h.refcount_order) >> 3;

	qcow2_refcount_set(t->data, q->h.refcount_order, i, n);
	table_dirty(t, at, at + (q->h.refcount_order > 3 ? 1u << (q->h.refcount_order - 3) : 1));
}

/* The refcount block for cluster @k, made if need be: then cluster @k is the block itself. */
static int block_for(struct qcow2 *q, u64 k, struct parked *p, struct table **out)
{
	u64 i = k / q->per_block, off;
	int r;

	if (i >= q->rt_n)
		return -ENOSPC;
	off = q->rt[i] & QCOW2_RT_OFFSET;
	if (off & (q->cs - 1))
		return qcow2_damaged(q, "refcount block", off);
	if (off) {
		r = table_get(q, off, p, out);
		if (!r)
			(*out)->counts = true;
		return r;
	}
	if (cluster_is_meta(q, k << q->bits))
		return qcow2_damaged(q, "a table is not counted", k << q->bits);
	r = table_new(q, k << q->bits, p, out);
	if (r)
		return r;
	(*out)->counts = true;
	q->virgin = MAX(q->virgin, (k + 1) << q->bits);
	count_set(q, *out, k % q->per_block, 1);
	q->rt[i] = k << q->bits;
	if (q->rt_from == q->rt_to)
		q->rt_from = i, q->rt_to = i + 1;
	else
		q->rt_from = MIN(q->rt_from, i), q->rt_to = MAX(q->rt_to, i + 1);
	return 0;
}

int cluster_alloc(struct qcow2 *q, u64 n, struct parked *p, u64 *off, u64 *got, bool *clean)
{
	if (q->corrupt)
		return -EIO;
	for (;;) {
		u64 first, i, end;
		struct table *t;
		int r = block_for(q, q->hint, p, &t);

		if (r)
			return r;
		i = q->hint % q->per_block;
		while (i < q->per_block && count_get(q, t, i))
			i++;
		first = q->hint / q->per_block * q->per_block + i;
		q->hint = first;
		if (i == q->per_block)
			continue;
		for (end = i; end < q->per_block && end - i < n && !count_get(q, t, end); end++)
			if (cluster_is_meta(q, (first + end - i) << q->bits))
				return qcow2_damaged(q, "a table is not counted",
						     (first + end - i) << q->bits);
		for (u64 k = i; k < end; k++)
			count_set(q, t, k, 1);
		*got = end - i;
		*off = first << q->bits;
		*clean = *off >= q->virgin;
		q->hint = first + *got;
		q->virgin = MAX(q->virgin, q->hint << q->bits);
		return 0;
	}
}

/* Count one cluster down. */
static void count_down(struct qcow2 *q, struct table *t, u64 k)
{
	u64 n = count_get(q, t, k % q->per_block);

	if (!n) {
		qcow2_damaged(q, "a cluster in use is not counted", k << q->bits);
		return;
	}
	count_set(q, t, k % q->per_block, n - 1);
	if (n == 1)
		q->hint = MIN(q->hint, k);
}

void cluster_unalloc(struct qcow2 *q, u64 off, u64 n)
{
	/* Counted just now: the block is almost always in memory; if not, the clusters leak. */
	for (u64 k = off >> q->bits; n--; k++) {
		struct table *t = table_cached(q, q->rt[k / q->per_block] & QCOW2_RT_OFFSET);

		if (t && !t->loading && !t->error)
			count_down(q, t, k);
	}
}

/* --- letting go --- */

static bool ranges_add(struct ranges *l, u64 off, u64 n, u64 seq, unsigned bits)
{
	struct range *last = l->n ? &l->v[l->n - 1] : NULL;

	if (last && last->off + (last->n << bits) == off) {
		last->n += n;
		last->seq = seq;
		return true;
	}
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		struct range *v = realloc(l->v, room * sizeof(*v));

		if (!v)
			return false;
		l->v = v;
		l->room = room;
	}
	l->v[l->n++] = (struct range){ off, n, seq };
	return true;
}

void cluster_let_go(struct qcow2 *q, u64 off, u64 n)
{
	off &= ~(q->cs - 1);
	/* Out of memory: they leak. */
	ranges_add(&q->let_go, off, n, q->seq, q->bits);
	if (q->let_go.n > 65536 && !q->flush)
		flush_request(q, NULL);
}

static void on_punched(struct block_req *r, int ret)
{
	struct qcow2 *q = r->ctx;

	q->punched = true;
	q->release.run(&q->release);
}

/* Count the first cluster of q->now down. */
static int release_one(struct qcow2 *q)
{
	u64 k = q->now.off >> q->bits, i = k / q->per_block;
	u64 off = i < q->rt_n ? q->rt[i] & QCOW2_RT_OFFSET : 0;
	struct table *t;
	int r = -EIO;

	if (off && !(off & (q->cs - 1)))
		r = table_get(q, off, &q->release, &t);
	if (r == -EAGAIN)
		return r;
	if (r)
		qcow2_damaged(q, "a cluster in use is not counted", q->now.off);
	else
		t->counts = true, count_down(q, t, k);
	q->now.off += q->cs;
	q->now.n--;
	return 0;
}

static void release_run(struct parked *p)
{
	struct qcow2 *q = container_of(p, struct qcow2, release);
	u64 len;

	for (;;) {
		if (!q->now.n) {
			if (!q->durable.n ||
			    !io_reads_newer(q, q->durable.v[q->durable.n - 1].seq))
				break;
			q->now = q->durable.v[--q->durable.n];
			q->punched = !q->discard;
		}
		if (!q->punched && mul_ok(q->now.n, q->cs, &len)) {
			q->punch = (struct block_req){
				.op = BLOCK_DISCARD, .off = q->now.off, .len = len,
				.done = on_punched, .ctx = q,
			};
			block_submit(q->file, &q->punch);
			return;
		}
		if (release_one(q))
			return;
	}
	q->releasing = false;
	qcow2_unhold(q);
}

void cluster_release(struct qcow2 *q)
{
	if (q->releasing || !q->durable.n)
		return;
	q->releasing = true;
	q->release.run = release_run;
	qcow2_hold(q);
	release_run(&q->release);
}

void cluster_on_disk(struct qcow2 *q, struct ranges *l)
{
	for (size_t i = 0; i < l->n; i++)
		ranges_add(&q->durable, l->v[i].off, l->v[i].n, l->v[i].seq, q->bits);
	free(l->v);
	*l = (struct ranges){ 0 };
}
