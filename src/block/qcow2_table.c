/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2_table.c - L2 tables and refcount blocks in memory: as many as fit, the least recently used
 * clean one goes first. When all are dirty a flush is started, and whoever needs room waits for it.
 */
#include "block/qcow2_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void park(struct parked **list, struct parked *p)
{
	while (*list)
		list = &(*list)->next;
	p->next = NULL;
	*list = p;
}

void unpark(struct parked **list)
{
	struct parked *p = *list, *next;

	*list = NULL;
	for (; p; p = next) {
		next = p->next;
		p->run(p);
	}
}

static struct table **bucket(struct qcow2 *q, u64 off)
{
	return &q->hash[(off >> q->bits) * 0x9e3779b97f4a7c15ull >> 32 & (q->hash_size - 1)];
}

struct table *table_cached(struct qcow2 *q, u64 off)
{
	struct table *t = *bucket(q, off);

	while (t && t->off != off)
		t = t->hash_next;
	return t;
}

static void unlink_age(struct qcow2 *q, struct table *t)
{
	*(t->older ? &t->older->newer : &q->oldest) = t->newer;
	*(t->newer ? &t->newer->older : &q->newest) = t->older;
}

static void link_newest(struct qcow2 *q, struct table *t)
{
	t->newer = NULL;
	t->older = q->newest;
	*(q->newest ? &q->newest->newer : &q->oldest) = t;
	q->newest = t;
}

static void drop(struct qcow2 *q, struct table *t)
{
	struct table **p = bucket(q, t->off);

	while (*p != t)
		p = &(*p)->hash_next;
	*p = t->hash_next;
	unlink_age(q, t);
	q->ntables--;
	free(t->data);
	free(t);
}

void tables_free(struct qcow2 *q)
{
	while (q->oldest)
		drop(q, q->oldest);
	free(q->hash);
}

int table_room(struct qcow2 *q, struct parked *p)
{
	if (q->ntables < q->tables_max)
		return 0;
	for (struct table *t = q->oldest; t; t = t->newer)
		if (!t->pins && !t->loading && t->dirty_from == t->dirty_to) {
			drop(q, t);
			return 0;
		}
	if (q->room_error)
		return q->room_error;
	park(&q->flushed, p);
	if (!q->flush)
		flush_request(q, NULL);
	return -EAGAIN;
}

static int insert(struct qcow2 *q, u64 off, struct parked *p, struct table **out)
{
	struct table *t, **b;
	int r = table_room(q, p);

	if (r)
		return r;
	t = calloc(1, sizeof(*t));
	if (!t || !(t->data = calloc(1, q->cs))) {
		free(t);
		return -ENOMEM;
	}
	t->off = off;
	t->q = q;
	b = bucket(q, off);
	t->hash_next = *b;
	*b = t;
	link_newest(q, t);
	q->ntables++;
	*out = t;
	return 0;
}

static void on_loaded(struct block_req *r, int ret)
{
	struct table *t = container_of(r, struct table, req);
	struct qcow2 *q = t->q;

	t->loading = false;
	t->error = ret;
	t->pins++;
	unpark(&t->waiters);
	t->pins--;
	if (ret)		/* the next one who asks tries again */
		drop(q, t);
	qcow2_unhold(q);
}

int table_get(struct qcow2 *q, u64 off, struct parked *p, struct table **out)
{
	struct table *t = table_cached(q, off);
	int r;

	if (t && !t->loading) {
		if (q->newest != t) {
			unlink_age(q, t);
			link_newest(q, t);
		}
		*out = t;
		return t->error;
	}
	if (!t) {
		r = insert(q, off, p, &t);
		if (r)
			return r;
		t->loading = true;
		t->iov = (struct iovec){ t->data, q->cs };
		t->req = (struct block_req){
			.op = BLOCK_READ, .off = off, .len = q->cs, .iov = &t->iov, .niov = 1,
			.done = on_loaded,
		};
		qcow2_hold(q);
		block_submit(q->file, &t->req);
	}
	park(&t->waiters, p);
	return -EAGAIN;
}

int table_new(struct qcow2 *q, u64 off, struct parked *p, struct table **out)
{
	struct table *t = table_cached(q, off);
	int r;

	if (t)			/* a cluster that is no table any more, or never was a sound one */
		return qcow2_damaged(q, "a new table lies over another", off);
	r = insert(q, off, p, &t);
	if (r)
		return r;
	table_dirty(t, 0, q->cs);
	*out = t;
	return 0;
}

void table_dirty(struct table *t, u64 from, u64 to)
{
	/* In sectors, and at best pages: that is how it will be written. */
	u64 unit = MIN(t->q->cs, 4096u);

	from &= ~(unit - 1);
	to = (to + unit - 1) & ~(unit - 1);
	if (t->dirty_from == t->dirty_to) {
		t->dirty_from = (u32)from;
		t->dirty_to = (u32)to;
	} else {
		t->dirty_from = (u32)MIN(t->dirty_from, from);
		t->dirty_to = (u32)MAX(t->dirty_to, to);
	}
}
