/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2_map.c - what of a disk is in this file, and what below it. */
#include "block/qcow2_impl.h"
#include "base/bytes.h"
#include <errno.h>

struct look {
	struct parked p;
	struct qcow2 *q;
	u64 off;
	struct table *t;
	int ret;
};

static void ask(struct parked *p)
{
	struct look *l = container_of(p, struct look, p);

	l->ret = l2_get(l->q, l->off, p, &l->t);
}

/* Zeros are something, too: they hide what is below. */
static bool has(const struct qcow2 *q, u64 e)
{
	return e & (QCOW2_OFFSET | QCOW2_COMPRESSED) || (q->h.version >= 3 && e & QCOW2_ZERO);
}

int qcow2_extent(struct block *b, u64 off, bool *here, u64 *len)
{
	struct qcow2 *q = container_of(b, struct qcow2, b);
	struct look l = { .p.run = ask, .q = q, .off = off };
	u64 span = q->per_l2 << q->bits, end = MIN(off - off % span + span, b->info.size), at;

	ask(&l.p);
	while (l.ret == -EAGAIN)
		block_poll(b, true);
	if (l.ret < 0)
		return l.ret;
	*here = false;
	at = (off & ~(q->cs - 1)) + q->cs;
	if (!l.ret) {
		at = end;
	} else {
		const u8 *v = l.t->data;

		*here = has(q, get_be64(v + (off >> q->bits) % q->per_l2 * 8));
		while (at < end && has(q, get_be64(v + (at >> q->bits) % q->per_l2 * 8)) == *here)
			at += q->cs;
	}
	*len = MIN(at, end) - off;
	return 0;
}
