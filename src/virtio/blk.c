/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blk.c - a disk for the guest: one or more queues of requests over a block layer.
 * After: Virtio 1.2, 5.2.
 *
 * A request is a header, data, and a status byte:
 *
 *	| type, sector | data to write ... |	readable by the device
 *	| data read ... | status |		writable
 *
 * What one kick brings is handed down together, and neighbours on the disk as one request. The back
 * end reads and writes the guest's memory itself. Not modelled: zones, secure erase, lifetime; a
 * geometry, which only the legacy interface has a use for. */
#include "virtio/blk.h"
#include "base/bytes.h"
#include "base/trace.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

DEFINE_TRACE(blk_request, "blk.request");
DEFINE_TRACE(blk_done, "blk.done");

enum blk_feature {			/* 5.2.3 */
	F_SEG_MAX = BIT(2), F_RO = BIT(5), F_BLK_SIZE = BIT(6), F_FLUSH = BIT(9),
	F_TOPOLOGY = BIT(10), F_CONFIG_WCE = BIT(11), F_MQ = BIT(12), F_DISCARD = BIT(13),
	F_WRITE_ZEROES = BIT(14),
};
enum blk_config {			/* 5.2.4: offsets */
	C_CAPACITY = 0,			/* le64, sectors of 512 bytes */
	C_SEG_MAX = 12,			/* le32 */
	C_BLK_SIZE = 20,		/* le32, bytes */
	C_PHYSICAL_EXP = 24,		/* u8: log2 of logical blocks in a physical one */
	C_MIN_IO = 26,			/* le16, logical blocks */
	C_OPT_IO = 28,			/* le32, logical blocks */
	C_WRITEBACK = 32,		/* u8, writable with F_CONFIG_WCE */
	C_QUEUES = 34,			/* le16 */
	C_DISCARD_MAX = 36,		/* le32, sectors */
	C_DISCARD_SEGS = 40,		/* le32 */
	C_DISCARD_ALIGN = 44,		/* le32, sectors */
	C_ZEROES_MAX = 48,		/* le32, sectors */
	C_ZEROES_SEGS = 52,		/* le32 */
	C_ZEROES_UNMAP = 56,		/* u8 */
	CONFIG_LEN = 60,
};
enum blk_type {				/* 5.2.6: what is asked for */
	T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13,
};
enum blk_status { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
enum { HEADER = 16, RANGE = 16, RANGE_UNMAP = 1 };

#define QUEUE_SIZE 256
#define SEG_MAX (QUEUE_SIZE - 2)	/* with a header and a status in the ring's own table */
#define BLK_PCI_CLASS 0x010000		/* SCSI storage, as drivers expect of virtio disks */
#define RANGE_MAX (2 * GiB / BLOCK_SECTOR)	/* sectors of a discard or of zeroes */
/* In flight at once: enough for every queue of a busy guest, and a bound for a hostile one. */
#define REQUESTS_MAX 1024
#define IOVS_MAX 65536u
#define BYTES_MAX (64 * MiB)		/* a reset or a save waits for all of it */
#define BATCH 512			/* requests taken before the loop turns to others */
#define HERE_BYTES (1 * MiB)	/* read by a kick on a vCPU's thread */
#define SKIP_MAX 1024		/* kicks that do not try it after it was in vain */
#define MERGE_BYTES (1 * MiB)		/* no larger request is made of several */

struct vblk {
	struct virtio v;
	struct machine *m;
	struct block *b;
	u8 serial[VBLK_SERIAL];
	bool writeback;			/* the cache is on: C_WRITEBACK */
	u64 capacity;			/* sectors, as the guest knows it */
	unsigned requests, iovs;	/* in flight */
	u64 bytes;			/* likewise */
	u32 starved;			/* bit q: left requests behind for want of room */
	u32 skip, misses;		/* of vblk_kick_here() */
};

struct vreq {
	struct block_req r;
	struct vblk *d;
	struct ring_chain *c;
	unsigned q, niov;
	u64 data;			/* bytes to transfer */
	u64 bytes;			/* or to be zeroed or discarded */
	struct vreq *merged;		/* neighbours that go along */
	struct iovec *all;		/* their pieces in a row; NULL: iov */
	struct iovec iov[];
};

/* --- ends --- */

static void push(struct vblk *d, struct ring_chain *c, u8 status)
{
	chain_write(c, c->write_len - 1, &status, 1);
	ring_push(c, (u32)MIN(c->write_len, UINT32_MAX));
}

static void end_one(struct vreq *q, int ret)
{
	u8 status = !ret ? S_OK : ret == -EOPNOTSUPP ? S_UNSUPP : S_IOERR;

	TRACE(blk_done, "queue=%u sector=%llu ret=%d", q->q,
	      (unsigned long long)(q->r.off / BLOCK_SECTOR), ret);
	if (q->r.op == BLOCK_READ)
		chain_wrote(q->c, 0, q->data);
	push(q->d, q->c, status);
	q->d->requests--;
	q->d->iovs -= q->niov;
	q->d->bytes -= q->bytes;
	free(q->all);
	free(q);
}

static void on_done(struct block_req *r, int ret)
{
	struct vreq *q = container_of(r, struct vreq, r), *next;
	struct vblk *d = q->d;
	u32 queues = 0;

	if (ret)
		log_limited(LOG_WARN, "disk: %s at sector %llu: error %d",
			    r->op == BLOCK_READ	   ? "read"
			    : r->op == BLOCK_WRITE ? "write"
						   : "request",
			    (unsigned long long)(r->off / BLOCK_SECTOR), -ret);
	for (; q; q = next) {
		next = q->merged;
		queues |= 1u << q->q;
		end_one(q, ret);
	}
	for (unsigned i = 0; queues >> i; i++)
		if (queues >> i & 1)
			virtio_notify(&d->v, i);
	for (unsigned i = 0; d->starved >> i; i++)
		if (d->starved >> i & 1)
			virtio_kick(&d->v, i);
	d->starved = 0;
}

/* --- what is gathered during a kick --- */

struct batch { struct vreq *head, *tail; unsigned niov; u64 len; };

static void batch_go(struct vblk *d, struct batch *b)
{
	struct vreq *h = b->head;

	if (!h)
		return;
	b->head = NULL;
	if (h->merged) {
		unsigned n = 0;

		h->all = malloc(b->niov * sizeof(*h->all));
		if (!h->all) {		/* one by one then */
			for (struct vreq *q = h, *next; q; q = next) {
				next = q->merged;
				q->merged = NULL;
				block_submit(d->b, &q->r);
			}
			return;
		}
		for (struct vreq *q = h; q; q = q->merged) {
			memcpy(h->all + n, q->iov, q->niov * sizeof(*q->iov));
			n += q->niov;
		}
		h->r.iov = h->all;
		h->r.niov = n;
		h->r.len = b->len;
	}
	block_submit(d->b, &h->r);
}

static void batch_add(struct vblk *d, struct batch *b, struct vreq *q)
{
	struct vreq *h = b->head;

	if (h && h->r.op == q->r.op && q->r.niov && h->r.off + b->len == q->r.off &&
	    b->niov + q->niov <= BLOCK_IOV_MAX && b->len + q->r.len <= MERGE_BYTES) {
		b->tail->merged = q;
	} else {
		batch_go(d, b);
		b->head = q;
		b->niov = 0;
		b->len = 0;
	}
	b->tail = q;
	b->niov += q->niov;
	b->len += q->r.len;
}

/* --- requests --- */

/* Without F_FLUSH a driver cannot ask for durability: every write must have it (5.2.6.2). */
static bool writes_through(const struct vblk *d)
{
	return !virtio_has(&d->v, F_FLUSH) || !d->writeback;
}

/* A transfer of @data bytes at @sector. Returns the request, or NULL and a status. */
static struct vreq *transfer(struct vblk *d, struct ring_chain *c, bool write, u64 sector, u64 data,
			     u8 *status)
{
	unsigned max = (write ? c->nread : c->nwrite) + 1;
	struct vreq *q;
	int n;

	*status = S_IOERR;
	if (!data || data % BLOCK_SECTOR || sector > d->capacity ||
	    data / BLOCK_SECTOR > d->capacity - sector || (write && d->b->info.readonly))
		return NULL;
	q = calloc(1, sizeof(*q) + max * sizeof(q->iov[0]));
	if (!q)
		return NULL;
	n = write ? chain_iov_read(c, HEADER, data, q->iov, max) :
		    chain_iov_write(c, 0, data, q->iov, max);
	if (n <= 0) {
		free(q);
		return NULL;
	}
	q->niov = (unsigned)n;
	q->data = data;
	q->r = (struct block_req){
		.op = write ? BLOCK_WRITE : BLOCK_READ, .fua = write && writes_through(d),
		.off = sector * BLOCK_SECTOR, .len = data, .iov = q->iov, .niov = q->niov,
	};
	return q;
}

/* 5.2.6: discard and write zeroes carry ranges; C_DISCARD_SEGS allows one. */
static struct vreq *range(struct vblk *d, struct ring_chain *c, bool zeroes, u8 *status)
{
	u8 buf[RANGE];
	u64 sector;
	u32 n, flags;
	struct vreq *q;

	*status = S_UNSUPP;
	if (!virtio_has(&d->v, zeroes ? F_WRITE_ZEROES : F_DISCARD))
		return NULL;
	*status = S_IOERR;
	if (c->read_len != HEADER + RANGE || chain_read(c, HEADER, buf, RANGE) != RANGE)
		return NULL;
	sector = get_le64(buf);
	n = get_le32(buf + 8);
	flags = get_le32(buf + 12);
	if (flags & ~(u32)(zeroes ? RANGE_UNMAP : 0)) {
		*status = S_UNSUPP;
		return NULL;
	}
	if (!n || n > RANGE_MAX || sector > d->capacity || n > d->capacity - sector ||
	    d->b->info.readonly)
		return NULL;
	q = calloc(1, sizeof(*q));
	if (!q)
		return NULL;
	q->r = (struct block_req){
		.op = zeroes ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD, .unmap = flags & RANGE_UNMAP,
		.fua = zeroes && writes_through(d),
		.off = sector * BLOCK_SECTOR, .len = (u64)n * BLOCK_SECTOR,
	};
	return q;
}

/* Take the chain @c of queue @n. False: the driver broke the rules. */
static bool request(struct vblk *d, unsigned n, struct ring_chain *c, struct batch *b)
{
	struct vreq *q = NULL;
	u8 h[HEADER], status = S_UNSUPP;
	u32 type;
	u64 sector;

	if (chain_read(c, 0, h, HEADER) != HEADER || !c->write_len) {
		ring_push(c, 0);
		virtio_broken(&d->v, "a disk request without a header or a status byte");
		return false;
	}
	type = get_le32(h);
	sector = get_le64(h + 8);
	TRACE(blk_request, "queue=%u type=%u sector=%llu out=%llu in=%llu", n, type,
	      (unsigned long long)sector, (unsigned long long)c->read_len - HEADER,
	      (unsigned long long)c->write_len - 1);
	switch (type) {
	case T_IN:
		q = transfer(d, c, false, sector, c->write_len - 1, &status);
		break;
	case T_OUT:
		q = transfer(d, c, true, sector, c->read_len - HEADER, &status);
		break;
	case T_FLUSH:
		status = S_IOERR;
		q = calloc(1, sizeof(*q));
		if (q)
			q->r.op = BLOCK_FLUSH;
		break;
	case T_GET_ID:
		status = S_OK;
		chain_write(c, 0, d->serial, (size_t)MIN(c->write_len - 1, VBLK_SERIAL));
		break;
	case T_DISCARD:
	case T_WRITE_ZEROES:
		q = range(d, c, type == T_WRITE_ZEROES, &status);
		break;
	}
	if (!q) {
		push(d, c, status);
		return true;
	}
	q->d = d;
	q->c = c;
	q->q = n;
	q->bytes = q->r.len;
	q->r.done = on_done;
	d->requests++;
	d->iovs += q->niov;
	d->bytes += q->bytes;
	batch_add(d, b, q);
	return true;
}

static bool full(const struct vblk *d)
{
	return d->requests >= REQUESTS_MAX || d->iovs >= IOVS_MAX || d->bytes >= BYTES_MAX;
}

/* Read @c on the spot if it asks for bytes that take no waiting, of which *@left may be had. False: it is
 * back in its queue. */
static bool here(struct vblk *d, struct ring_chain *c, u64 *left)
{
	u8 h[HEADER], status = S_IOERR;
	struct vreq *q = NULL;

	if (c->write_len > 1 && c->write_len - 1 <= *left && c->read_len == HEADER &&
	    chain_read(c, 0, h, HEADER) == HEADER && get_le32(h) == T_IN)
		q = transfer(d, c, false, get_le64(h + 8), c->write_len - 1, &status);
	if (!q) {
		ring_unpop(c);
		return false;
	}
	if (!block_now(d->b, &q->r)) {
		d->misses = MIN(2 * d->misses + 1, SKIP_MAX);
		d->skip = d->misses;
		ring_unpop(c);
		free(q);
		return false;
	}
	d->misses /= 2;
	*left -= q->data;
	q->d = d;
	q->c = c;
	d->requests++;
	d->iovs += q->niov;
	end_one(q, 0);
	return true;
}

/* What the host has in its cache is read by the vCPU that asks, within its notification: it then has
 * the answer before its guest has gone to sleep over it, which costs a guest, and two threads of ours,
 * far more than the reading. Few bytes, because other vCPUs may want the machine lock; and when the
 * bytes were not there, the next kicks do not even try, more and more of them. */
static bool vblk_kick_here(void *dev, unsigned n)
{
	struct vblk *d = dev;
	struct ring *r = &d->v.queue[n];
	bool all = false, some = false;
	u64 left = HERE_BYTES;

	if (d->skip) {
		d->skip--;
		return false;
	}
	while (!all && virtio_running(&d->v)) {
		struct ring_chain *c = virtio_pop(&d->v, n);

		if (!c)
			all = !ring_has(r);
		else if (!here(d, c, &left))
			break;
		else
			some = true;
	}
	if (some)
		virtio_notify(&d->v, n);
	return all;
}

static void vblk_kick(void *dev, unsigned n)
{
	struct vblk *d = dev;
	struct ring_chain *c;
	struct batch b = { 0 };
	unsigned left = BATCH;

	block_plug(d->b);
	ring_listen(&d->v.queue[n], false);
	do {
		while (left && !full(d) && (c = virtio_pop(&d->v, n)) && request(d, n, c, &b))
			left--;
		if (!left) {			/* others, too, want the loop */
			virtio_kick(&d->v, n);
			break;
		}
		if (full(d)) {
			d->starved |= 1u << n;
			break;
		}
		ring_listen(&d->v.queue[n], true);
	} while (ring_has(&d->v.queue[n]));
	batch_go(d, &b);
	block_unplug(d->b);
	virtio_notify(&d->v, n);		/* for those that ended at once */
}

/* --- configuration --- */

static void config_read(void *dev, unsigned off, u8 *buf, unsigned len)
{
	struct vblk *d = dev;
	const struct block_info *i = &d->b->info;
	u8 c[CONFIG_LEN] = { 0 };

	put_le64(c + C_CAPACITY, d->capacity);
	put_le32(c + C_SEG_MAX, SEG_MAX);
	put_le32(c + C_BLK_SIZE, i->logical);
	for (u32 n = i->physical / i->logical; n > 1; n >>= 1)
		c[C_PHYSICAL_EXP]++;
	put_le16(c + C_MIN_IO, (u16)MAX(i->physical / i->logical, 1));
	c[C_WRITEBACK] = d->writeback;
	put_le16(c + C_QUEUES, (u16)d->v.nqueues);
	if (i->discards) {
		put_le32(c + C_DISCARD_MAX, RANGE_MAX);
		put_le32(c + C_DISCARD_SEGS, 1);
		put_le32(c + C_DISCARD_ALIGN, MAX(i->discard_align, i->logical) / BLOCK_SECTOR);
	}
	if (!i->readonly) {
		put_le32(c + C_ZEROES_MAX, RANGE_MAX);
		put_le32(c + C_ZEROES_SEGS, 1);
		c[C_ZEROES_UNMAP] = i->discards;
	}
	memcpy(buf, c + off, len);
}

static void config_write(void *dev, unsigned off, const u8 *buf, unsigned len)
{
	struct vblk *d = dev;

	if (virtio_has(&d->v, F_CONFIG_WCE) && off <= C_WRITEBACK && off + len > C_WRITEBACK)
		d->writeback = buf[C_WRITEBACK - off] & 1;
}

static void vblk_stop(void *dev, int q)
{
	struct vblk *d = dev;

	block_drain(d->b);
	d->starved = 0;
}

static const struct virtio_class blk_virtio = {
	.name = "virtio-blk", .type = VIRTIO_BLOCK, .pci_class = BLK_PCI_CLASS,
	.config_len = CONFIG_LEN, .config_read = config_read, .config_write = config_write,
	.stop = vblk_stop, .kick = vblk_kick, .kick_here = vblk_kick_here,
};

/* The disk has another size now. */
static void on_change(void *ctx)
{
	struct vblk *d = ctx;

	d->capacity = d->b->info.size / BLOCK_SECTOR;
	virtio_config_changed(&d->v);
}

/* --- the device --- */

static void vblk_reset(void *dev)
{
	struct vblk *d = dev;

	virtio_reset(&d->v);
	d->writeback = true;
	d->capacity = d->b->info.size / BLOCK_SECTOR;
}

static void vblk_quiesce(void *dev)
{
	struct vblk *d = dev;

	block_drain(d->b);
}

static int vblk_post_load(void *dev, struct err *e)
{
	struct vblk *d = dev;

	if (d->capacity != d->b->info.size / BLOCK_SECTOR)
		return err_set(e, EINVAL,
			       "the disk had %llu sectors when it was saved, and has %llu",
			       (unsigned long long)d->capacity,
			       (unsigned long long)(d->b->info.size / BLOCK_SECTOR));
	return virtio_post_load(&d->v, e);
}

static void vblk_free(void *dev)
{
	struct vblk *d = dev;

	if (!d)
		return;
	block_on_change(d->b, NULL, NULL);
	block_drain(d->b);
	virtio_fini(&d->v);
	block_free(d->b);
	free(d);
}

struct virtio *vblk_virtio(struct vblk *d)
{
	return &d->v;
}

int vblk_new(struct vblk **out, struct machine *m, struct block *b, const char *serial,
	     unsigned queues, struct err *e)
{
	u64 features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | F_CONFIG_WCE;
	struct vblk *d = calloc(1, sizeof(*d));
	int r;

	if (!d) {
		block_free(b);
		return err_set(e, ENOMEM, "virtio-blk: out of memory");
	}
	d->m = m;
	d->b = b;
	d->writeback = true;
	d->capacity = b->info.size / BLOCK_SECTOR;
	if (serial)
		memcpy(d->serial, serial, strnlen(serial, VBLK_SERIAL));
	queues = MIN(MAX(queues, 1u), VBLK_QUEUES_MAX);
	features |= b->info.readonly ? F_RO : F_WRITE_ZEROES;
	features |= b->info.discards ? F_DISCARD : 0;
	features |= queues > 1 ? F_MQ : 0;
	r = virtio_init(&d->v, m, &blk_virtio, d, features, queues, QUEUE_SIZE, e);
	if (r) {
		vblk_free(d);
		return r;
	}
	block_on_change(b, on_change, d);
	*out = d;
	return 0;
}

static const struct state_field vblk_state[] = {
	STATE_STRUCT(struct vblk, v, virtio_state),
	STATE_BOOL(struct vblk, writeback),
	STATE_U64(struct vblk, capacity),
	STATE_END
};

const struct device_class vblk_class = {
	.name = "virtio-blk", .version = 1, .state = vblk_state, .reset = vblk_reset,
	.free = vblk_free, .post_load = vblk_post_load, .quiesce = vblk_quiesce,
};
