/* SPDX-License-Identifier: GPL-2.0-or-later */
/* block.c - what all layers share: requests checked and counted, ends that are told later,
 * draining.
 *
 *	device  --block_submit-->  disk (disk.c)  -->  qcow2  -->  raw  -->  kernel
 *	        <----- done ------------------------ block_complete <-------
 *
 * A disk is only a place: what is submitted to it goes to the layer that is its top now, and is
 * counted there. */
#include "block/layer.h"
#include <errno.h>
#include <limits.h>		// IOV_MAX
#include <string.h>

void block_init(struct block *b, const struct block_ops *ops, struct loop *l)
{
	b->ops = ops;
	b->loop = l;
	b->ended_end = &b->ended;
}

/* Let the ends be told that were found inside submit(). One at a time: done() may submit and poll.
 */
static void run_ended(void *ctx)
{
	struct block *b = ctx;

	b->posted = false;
	for (struct block_req *r; (r = b->ended); ) {
		b->ended = r->next;
		if (!b->ended)
			b->ended_end = &b->ended;
		block_complete(b, r, r->ret);
	}
}

void block_complete(struct block *b, struct block_req *r, int ret)
{
	BUG_ON(!b->inflight);
	b->inflight--;
	r->done(r, ret);
}

void block_complete_later(struct block *b, struct block_req *r, int ret)
{
	r->ret = ret;
	r->next = NULL;
	*b->ended_end = r;
	b->ended_end = &r->next;
	if (b->loop && !b->posted) {
		b->posted = true;
		loop_post(b->loop, run_ended, b);
	}
}

static int check(const struct block *b, const struct block_req *r)
{
	u64 end;

	if (r->op == BLOCK_FLUSH)
		return 0;
	if (r->op != BLOCK_READ && b->info.readonly)
		return -EROFS;
	if (!r->len || (r->off | r->len) % BLOCK_SECTOR ||
	    __builtin_add_overflow(r->off, r->len, &end) || end > b->info.size)
		return -EINVAL;
	if ((r->op == BLOCK_READ || r->op == BLOCK_WRITE) && (!r->niov || r->niov > IOV_MAX))
		return -EINVAL;
	return 0;
}

void block_submit(struct block *b, struct block_req *r)
{
	int ret;

	if (b->ops->below) {
		if (r->op == BLOCK_WRITE || r->op == BLOCK_WRITE_ZEROES)
			r->fua |= disk_writes_through(b);
		b = b->ops->below(b);
	}
	r->layer = b;
	b->inflight++;
	ret = check(b, r);
	if (ret)
		block_complete_later(b, r, ret);
	else
		b->ops->submit(b, r);
}

bool block_now(struct block *b, const struct block_req *r)
{
	if (b->ops->below)
		b = b->ops->below(b);
	return b->ops->now && !check(b, r) && b->ops->now(b, r);
}

void block_plug(struct block *b)
{
	if (b->ops->below)
		b = b->ops->below(b);
	if (b->ops->plug)
		b->ops->plug(b, true);
}

void block_unplug(struct block *b)
{
	if (b->ops->below)
		b = b->ops->below(b);
	if (b->ops->plug)
		b->ops->plug(b, false);
}

unsigned block_inflight(struct block *b)
{
	return b->ops->below ? b->ops->below(b)->inflight : b->inflight;
}

void block_poll(struct block *b, bool wait)
{
	if (b->ops->below)
		b = b->ops->below(b);
	if (b->ended) {
		run_ended(b);
		wait = false;
	}
	if (b->ops->poll)
		b->ops->poll(b, wait && b->inflight);
}

void block_drain(struct block *b)
{
	if (b->ops->below)
		b = b->ops->below(b);
	while (b->inflight)
		block_poll(b, true);
}

struct wait { bool over; int ret; };

static void on_over(struct block_req *r, int ret)
{
	struct wait *w = r->ctx;

	w->over = true;
	w->ret = ret;
}

int block_rw(struct block *b, enum block_op op, u64 off, void *buf, u64 len)
{
	struct iovec iov = { buf, len };
	struct wait w = { 0 };
	struct block_req r = {
		.op = op,
		.off = off,
		.len = len,
		.iov = &iov,
		.niov = 1,
		.done = on_over,
		.ctx = &w,
	};

	block_submit(b, &r);
	if (b->ops->below)
		b = b->ops->below(b);
	while (!w.over)
		block_poll(b, true);
	return w.ret;
}

int block_sync(struct block *b, struct err *e)
{
	int r;

	block_drain(b);
	r = block_rw(b, BLOCK_FLUSH, 0, NULL, 0);
	return r ? err_set(e, -r, "disk cannot be flushed: %s", strerror(-r)) : 0;
}

void block_fini(struct block *b)
{
	if (b->loop)
		loop_unpost(b->loop, run_ended, b);
}

u64 block_next_data(struct block *b, u64 off)
{
	if (b->ops->below)
		b = b->ops->below(b);
	return b->ops->next_data ? b->ops->next_data(b, off) : off;
}

void block_free(struct block *b)
{
	if (!b)
		return;
	block_drain(b);
	if (!b->info.readonly)
		block_sync(b, NULL);
	block_fini(b);
	b->ops->free(b);
}
