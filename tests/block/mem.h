/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mem.h - a disk in memory, for tests and fuzzers of what lies above block.h. */
#ifndef PENTA_TESTS_MEM_H
#define PENTA_TESTS_MEM_H

#include "block/block.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct mem {
	struct block b;
	u8 *data;
	u64 room;			/* bytes of it */
	bool now;			/* reads are done on the spot */
	bool hold;			/* requests stay in flight until somebody polls */
	int fail;			/* the next requests end with this */
	struct block_req *held;
	unsigned n[BLOCK_WRITE_ZEROES + 1];	/* requests, by kind */
	bool fua;			/* the last write was */
};

static inline int mem_zeros(struct block_req *r)
{
	for (unsigned i = 0; i < r->niov; i++)
		memset(r->iov[i].iov_base, 0, r->iov[i].iov_len);
	return 0;
}

static inline int mem_do(struct mem *m, struct block_req *r)
{
	u64 at = r->off;

	m->n[r->op]++;
	if (m->fail)
		return m->fail;
	if (r->op != BLOCK_FLUSH && r->off + r->len > m->room)	/* holds another format: cut short */
		return r->op == BLOCK_READ ? mem_zeros(r) : -ENOSPC;
	if (r->op == BLOCK_WRITE)
		m->fua = r->fua;
	if (r->op == BLOCK_DISCARD || r->op == BLOCK_WRITE_ZEROES)
		memset(m->data + at, 0, r->len);
	for (unsigned i = 0; (r->op == BLOCK_READ || r->op == BLOCK_WRITE) && i < r->niov; i++) {
		if (r->op == BLOCK_READ)
			memcpy(r->iov[i].iov_base, m->data + at, r->iov[i].iov_len);
		else
			memcpy(m->data + at, r->iov[i].iov_base, r->iov[i].iov_len);
		at += r->iov[i].iov_len;
	}
	BUG_ON((r->op == BLOCK_READ || r->op == BLOCK_WRITE) && at != r->off + r->len);
	return 0;
}

static inline void mem_submit(struct block *b, struct block_req *r)
{
	struct mem *m = container_of(b, struct mem, b);

	if (!m->hold) {
		block_complete_later(b, r, mem_do(m, r));
		return;
	}
	r->next = m->held;
	m->held = r;
}

static inline bool mem_now(struct block *b, const struct block_req *r)
{
	struct mem *m = container_of(b, struct mem, b);

	return m->now && r->op == BLOCK_READ && !m->fail && !mem_do(m, (struct block_req *)r);
}

static inline void mem_poll(struct block *b, bool wait)
{
	struct mem *m = container_of(b, struct mem, b);
	struct block_req *r = m->held;

	if (r) {
		m->held = r->next;
		block_complete(b, r, mem_do(m, r));
	}
}

static inline void mem_free(struct block *b)
{
	struct mem *m = container_of(b, struct mem, b);

	free(m->data);
	free(m);
}

static const struct block_ops mem_ops = {
	.name = "mem", .submit = mem_submit, .now = mem_now, .poll = mem_poll, .free = mem_free,
};

static inline struct mem *mem_new(struct loop *l, u64 size)
{
	struct mem *m = calloc(1, sizeof(*m));

	if (!m || !(m->data = calloc(1, size)))
		abort();
	m->room = size;
	block_init(&m->b, &mem_ops, l);
	m->b.info = (struct block_info){ .size = size, .logical = 512, .physical = 4096,
					 .discards = true, .discard_align = 4096 };
	return m;
}

#endif
