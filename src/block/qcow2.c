/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2.c - images that grow as they are written, over a backing file: opened, resized, closed.
 * After: QEMU docs/interop/qcow2.txt, versions 2 and 3. qcow2_impl.h says how the parts fit
 * together.
 *
 * Compressed clusters are read, and written anew as plain ones. Internal snapshots are left alone:
 * an image that has some is opened for reading only. */
#include "block/qcow2_impl.h"
#include "base/bytes.h"
#include "base/trace.h"		// log_msg
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TABLES_BYTES                                                                               \
	(32 * MiB) /* tables in memory: L2 tables for 256 GiB of disk, or 16 at least */
#define TABLES_MIN 16
#define TABLES_MOST 16384

static const struct block_ops qcow2_ops;

void qcow2_hold(struct qcow2 *q)
{
	q->b.inflight++;
}

void qcow2_unhold(struct qcow2 *q)
{
	q->b.inflight--;
}

void qcow2_end(struct qcow2 *q, struct block_req *r, int ret)
{
	if (q->submitting)
		block_complete_later(&q->b, r, ret);
	else
		block_complete(&q->b, r, ret);
}

int qcow2_damaged(struct qcow2 *q, const char *what, u64 off)
{
	if (!q->corrupt)
		log_msg(LOG_ERROR,
			"%s: the image is damaged: %s at %#llx; `penta image check` tells "
			"more",
			q->path, what, (unsigned long long)off);
	q->corrupt = true;
	return -EIO;
}

static struct qcow2 *qcow2_of(struct block *b)
{
	return container_of(b, struct qcow2, b);
}

static void qcow2_submit(struct block *b, struct block_req *r)
{
	struct qcow2 *q = qcow2_of(b);

	q->submitting++;
	if (r->op == BLOCK_FLUSH && b->info.readonly)
		qcow2_end(q, r, 0);
	else if (r->op == BLOCK_FLUSH)
		flush_request(q, r);
	else if (r->op == BLOCK_DISCARD && !q->discard)
		qcow2_end(q, r, 0);
	else
		io_submit(q, r);
	q->submitting--;
}

static unsigned below(struct qcow2 *q)
{
	return block_inflight(q->file) + (q->backing ? block_inflight(q->backing) : 0);
}

static void qcow2_poll(struct block *b, bool wait)
{
	struct qcow2 *q = qcow2_of(b);
	unsigned before = below(q);

	block_poll(q->file, false);
	if (q->backing)
		block_poll(q->backing, false);
	if (wait && !b->ended && below(q) == before)
		block_poll(block_inflight(q->file) || !q->backing ? q->file : q->backing, true);
}

static void qcow2_plug(struct block *b, bool on)
{
	struct qcow2 *q = qcow2_of(b);

	if (on)
		block_plug(q->file);
	else
		block_unplug(q->file);
}

static int qcow2_freeze(struct block *b, struct err *e)
{
	struct qcow2 *q = qcow2_of(b);

	b->info.readonly = true;
	q->file->info.readonly = true;
	return q->file->ops->freeze ? q->file->ops->freeze(q->file, e) : 0;
}

static void qcow2_free(struct block *b)
{
	struct qcow2 *q = qcow2_of(b);

	tables_free(q);
	for (unsigned i = 0; i < ARRAY_SIZE(q->inflated); i++)
		free(q->inflated[i]);
	free(q->let_go.v);
	free(q->durable.v);
	free(q->l1);
	free(q->rt);
	free(q->path);
	block_free(q->file);
	block_free(q->backing);
	free(q);
}

void qcow2_detach(struct block *b)
{
	qcow2_of(b)->backing = NULL;
}

struct block *qcow2_backing(const struct block *b)
{
	return b->ops == &qcow2_ops ? container_of(b, const struct qcow2, b)->backing : NULL;
}

void qcow2_rebase(struct block *b, struct block *backing)
{
	qcow2_of(b)->backing = backing;
}

/* --- without anything else under way --- */

/* An allocation that is waited for. It is asked for again from inside unpark(), where an error of
 * loading is still known. */
struct wanted {
	struct parked p;
	struct qcow2 *q;
	u64 n, off, got;
	int ret;
};

static void ask(struct parked *p)
{
	struct wanted *w = container_of(p, struct wanted, p);
	bool clean;

	w->ret = cluster_alloc(w->q, w->n, p, &w->off, &w->got, &clean);
}

/* @n clusters in a row, behind everything in the file. */
static int alloc_at_end(struct qcow2 *q, u64 n, u64 *off)
{
	struct wanted w = { .p.run = ask, .q = q };
	u64 have = 0;

	q->hint = MAX(q->hint, (q->virgin + q->cs - 1) >> q->bits);
	while (have < n) {
		w.n = n - have;
		ask(&w.p);
		while (w.ret == -EAGAIN)
			block_poll(&q->b, true);
		if (w.ret)
			return w.ret;
		/* A refcount block may have come between: then the first ones leak. */
		if (!have || w.off != *off + (have << q->bits)) {
			have = 0;
			*off = w.off;
		}
		have += w.got;
	}
	return 0;
}

/* Big-endian copy of @n entries, written at @off. */
static int write_entries(struct qcow2 *q, const u64 *v, u64 n, u64 off)
{
	u64 len = (n * 8 + q->cs - 1) & ~(q->cs - 1);
	u8 *buf = calloc(1, len);
	int r;

	if (!buf)
		return -ENOMEM;
	for (u64 i = 0; i < n; i++)
		put_be64(buf + i * 8, v[i]);
	r = block_rw(q->file, BLOCK_WRITE, off, buf, len);
	free(buf);
	return r;
}

/* Put the header's changed fields on the disk, behind what they refer to. */
static int write_header(struct qcow2 *q, const struct qcow2_header *h)
{
	u8 sector[BLOCK_SECTOR];
	int r = block_rw(&q->b, BLOCK_FLUSH, 0, NULL, 0);

	if (!r)
		r = block_rw(q->file, BLOCK_READ, 0, sector, sizeof(sector));
	if (r)
		return r;
	qcow2_header_patch(sector, h);
	r = block_rw(q->file, BLOCK_WRITE, 0, sector, sizeof(sector));
	return r ? r : block_rw(q->file, BLOCK_FLUSH, 0, NULL, 0);
}

static u64 div_up(u64 a, u64 b)
{
	return a / b + (a % b != 0);
}

/* The refcount table never grows under way: it is made large enough, when the image is opened or
 * resized, for a disk of @size that is full. */
static int grow_refcount_table(struct qcow2 *q, u64 size, struct err *e)
{
	u64 data = div_up(size, q->cs), most, n, clusters, off, old_off = q->h.rt_off;
	u64 old_clusters = q->h.rt_clusters, *rt;
	struct qcow2_header h = q->h;
	int r;

	most = (q->virgin >> q->bits) + data + div_up(data, q->per_l2) +
	       2 * div_up(div_up(data, q->per_l2) * 8, q->cs) + 64;
	n = div_up(most + most / (q->per_block - 1) + 1, q->per_block);
	n += n * 8 / q->cs / q->per_block + 1;	/* the new table's own */
	if (n <= q->rt_n || n * 8 > QCOW2_TABLE_MAX)
		return 0;		/* enough; or as large as it may be: -ENOSPC some day */
	clusters = div_up(n * 8, q->cs);
	rt = realloc(q->rt, (clusters << q->bits));
	if (!rt)
		return err_set(e, ENOMEM, "%s: out of memory", q->path);
	memset(rt + q->rt_n, 0, (clusters << q->bits) - q->rt_n * 8);
	q->rt = rt;
	n = q->rt_n;
	q->rt_n = clusters << (q->bits - 3);
	r = alloc_at_end(q, clusters, &off);
	/* Blocks that this made are referred to by the new table alone. */
	q->rt_from = q->rt_to = 0;
	if (!r)
		r = block_rw(&q->b, BLOCK_FLUSH, 0, NULL, 0);
	if (!r)
		r = write_entries(q, q->rt, q->rt_n, off);
	if (!r) {
		h.rt_off = off;
		h.rt_clusters = clusters;
		r = write_header(q, &h);
	}
	if (r) {
		q->rt_n = n;
		return err_set(e, -r, "%s: the refcount table cannot be made larger: %s", q->path,
			       strerror(-r));
	}
	q->h = h;
	cluster_let_go(q, old_off, old_clusters);
	return 0;
}

static int qcow2_resize(struct block *b, u64 size, struct err *e)
{
	struct qcow2 *q = qcow2_of(b);
	u64 n = div_up(div_up(size, q->cs), q->per_l2), old_off = q->h.l1_off, off, *l1;
	u64 old_clusters = div_up(q->h.l1_size * 8ull, q->cs);
	struct qcow2_header h = q->h;
	int r;

	if (size < b->info.size)
		return err_set(e, ENOTSUP,
			       "%s: a qcow2 image cannot be made smaller; copy what is in it "
			       "into a smaller one",
			       q->path);
	if (n * 8 > QCOW2_TABLE_MAX)
		return err_set(e, EFBIG, "%s: a disk of this size needs larger clusters", q->path);
	r = grow_refcount_table(q, size, e);
	if (r)
		return r;
	h = q->h;
	h.size = size;
	if (n > q->h.l1_size) {
		l1 = realloc(q->l1, n * 8);
		if (!l1)
			return err_set(e, ENOMEM, "%s: out of memory", q->path);
		memset(l1 + q->h.l1_size, 0, (n - q->h.l1_size) * 8);
		q->l1 = l1;
		r = alloc_at_end(q, div_up(n * 8, q->cs), &off);
		if (!r)
			r = block_rw(&q->b, BLOCK_FLUSH, 0, NULL, 0);
		if (!r)
			r = write_entries(q, q->l1, n, off);
		h.l1_off = off;
		h.l1_size = (u32)n;
	}
	if (!r)
		r = write_header(q, &h);
	if (r)
		return err_set(e, -r, "%s: resize: %s", q->path, strerror(-r));
	q->h = h;
	if (h.l1_off != old_off)
		cluster_let_go(q, old_off, old_clusters);
	b->info.size = size;
	return 0;
}

/* What the first table alone tells: without a backing file, where it has no entry there is nothing. */
static u64 qcow2_next_data(struct block *b, u64 off)
{
	struct qcow2 *q = container_of(b, struct qcow2, b);
	u64 per_l1 = q->per_l2 * q->cs, i = off / per_l1;

	if (q->backing || i >= q->h.l1_size || q->l1[i])
		return off;
	while (i < q->h.l1_size && !q->l1[i])
		i++;
	return i == q->h.l1_size ? b->info.size : MIN(i * per_l1, b->info.size);
}

/* --- opening --- */

static const struct block_ops qcow2_ops = {
	.name = "qcow2", .submit = qcow2_submit, .poll = qcow2_poll, .plug = qcow2_plug,
	.resize = qcow2_resize, .freeze = qcow2_freeze, .next_data = qcow2_next_data,
	.free = qcow2_free,
};

/* A table of @n entries at @off, in host order. */
static int read_entries(struct qcow2 *q, u64 off, u64 n, u64 **out, struct err *e)
{
	u64 len = (n * 8 + BLOCK_SECTOR - 1) & ~(u64)(BLOCK_SECTOR - 1);
	u64 *v = calloc(1, MAX(len, 8));
	int r = v ? 0 : -ENOMEM;

	if (!r && n)
		r = block_rw(q->file, BLOCK_READ, off, v, len);
	if (r) {
		free(v);
		return err_set(e, -r, "%s: table at %#llx: %s", q->path, (unsigned long long)off,
			       strerror(-r));
	}
	for (u64 i = 0; i < n; i++)
		v[i] = get_be64(v + i);
	*out = v;
	return 0;
}

static int may_write(const struct qcow2 *q, struct err *e)
{
	if (q->h.nsnapshots)
		return err_set(e, ENOTSUP,
			       "%s: has %u internal snapshots, which are not supported; "
			       "it can be read (ro), or copied with `penta image convert`",
			       q->path, q->h.nsnapshots);
	if (q->h.incompatible & QCOW2_CORRUPT)
		return err_set(e, EUCLEAN, "%s: is marked as damaged; it can be read (ro)",
			       q->path);
	if (q->h.incompatible & QCOW2_DIRTY)
		return err_set(e, EUCLEAN, "%s: was not closed, and its refcounts are out of date; "
			       "`penta image check --repair` mends that", q->path);
	return 0;
}

static int prepare(struct qcow2 *q, struct err *e)
{
	int r = qcow2_header_read(q->file, q->path, &q->h, e);

	if (r)
		return r;
	q->bits = q->h.cluster_bits;
	q->cs = 1ull << q->bits;
	q->per_l2 = q->cs / 8;
	q->per_block = q->cs * 8 >> q->h.refcount_order;
	q->b.info.size = q->h.size;
	q->b.info.discard_align = (u32)q->cs;
	q->rt_n = q->h.rt_clusters << (q->bits - 3);
	q->tables_max = (unsigned)MIN(MAX(TABLES_BYTES >> q->bits, TABLES_MIN), TABLES_MOST);
	for (q->hash_size = 64; q->hash_size < q->tables_max; )
		q->hash_size *= 2;
	q->hash = calloc(q->hash_size, sizeof(struct table *));
	if (!q->hash)
		return err_set(e, ENOMEM, "%s: out of memory", q->path);
	r = read_entries(q, q->h.l1_off, q->h.l1_size, &q->l1, e);
	if (r || q->b.info.readonly)
		return r;
	r = may_write(q, e);
	if (!r)
		r = read_entries(q, q->h.rt_off, q->rt_n, &q->rt, e);
	if (!r)
		r = grow_refcount_table(q, q->h.size, e);
	if (!r && q->h.autoclear) { /* what others keep in the file will not be kept up to date */
		q->h.autoclear = 0;
		r = write_header(q, &q->h);
		if (r)
			r = err_set(e, -r, "%s: header: %s", q->path, strerror(-r));
	}
	return r;
}

int qcow2_new(struct block **out, struct loop *l, struct block *file, struct block *backing,
	      const char *path, const struct qcow2_options *o, struct err *e)
{
	struct qcow2 *q = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return err_set(e, ENOMEM, "%s: out of memory", path);
	block_init(&q->b, &qcow2_ops, l);
	q->file = file;
	q->flush_next_end = &q->flush_next;
	q->path = strdup(path);
	q->b.info = (struct block_info){
		.logical = BLOCK_SECTOR, .physical = 4096, .readonly = o->readonly,
		.discards = o->discard && !o->readonly,
	};
	q->discard = o->discard;
	q->virgin = file->info.end;
	r = q->path ? prepare(q, e) : err_set(e, ENOMEM, "%s: out of memory", path);
	if (r) {			/* what was not written does not matter */
		block_drain(&q->b);
		block_fini(&q->b);
		q->file = NULL;
		qcow2_free(&q->b);
		return r;
	}
	q->backing = backing;
	*out = &q->b;
	return 0;
}
