/* SPDX-License-Identifier: GPL-2.0-or-later */
/* drive.h - a small driver for tests and fuzzers of virtio devices: it sets a device up as a guest
 * would, puts requests on real split rings in guest memory, and looks at what comes back. */
#ifndef PENTA_TESTS_VIRTIO_DRIVE_H
#define PENTA_TESTS_VIRTIO_DRIVE_H

#include "../dev/devtest.h"
#include "base/bytes.h"
#include "virtio/virtio.h"

#define DRIVE_QUEUES 8
#define DRIVE_SIZE 64u			/* descriptors of each queue */
#define DRIVE_RINGS 0x10000ull		/* where the rings lie: 0x4000 bytes for each */
#define DRIVE_HEAP 0x100000ull		/* ... and buffers */

struct drive {
	struct machine *m;
	struct virtio *v;
	struct drive_queue {
		u64 desc, avail, used;
		u16 next_desc, avail_idx, used_idx;	/* descriptors are used round and round */
		struct { u64 in_gpa; u32 in_len; u16 ndesc; } req[DRIVE_SIZE];
	} q[DRIVE_QUEUES];
	u64 heap;
	unsigned notified[DRIVE_QUEUES], config_changes;
};

static inline void drive_notify_queue(void *t, unsigned q) { ((struct drive *)t)->notified[q]++; }
static inline void drive_notify_config(void *t) { ((struct drive *)t)->config_changes++; }

static inline void drive_quit(void *l) { loop_quit(l); }
/* Let the loop do what has been posted, and what that posts. No lock held. */
static inline void drive_loop(struct machine *m)
{
	for (unsigned i = 0; i < 4; i++) {
		loop_post(m->loop, drive_quit, m->loop);
		loop_run(m->loop);
	}
}

static inline void drive_attach(struct drive *d, struct machine *m, struct virtio *v)
{
	static const struct virtio_transport ops = {
		.notify_queue = drive_notify_queue, .notify_config = drive_notify_config,
	};

	*d = (struct drive){ .m = m, .v = v, .heap = DRIVE_HEAP };
	v->tops = &ops;
	v->transport = d;
}

static inline void drive_setup_queue(struct drive *d, unsigned q)
{
	struct drive_queue *g = &d->q[q];
	struct ring *r = &d->v->queue[q];
	static const u8 zero[0x4000];

	*g = (struct drive_queue){ .desc = DRIVE_RINGS + q * 0x4000ull };
	g->avail = g->desc + 16 * DRIVE_SIZE;
	g->used = g->avail + 0x800;
	if (!ram_write(d->m->ram, g->desc, zero, sizeof(zero)))
		abort();
	r->size = MIN(DRIVE_SIZE, r->size_max);
	r->desc_gpa = g->desc;
	r->driver_gpa = g->avail;
	r->device_gpa = g->used;
	virtio_queue_enable(d->v, q);
}

/* From power-on or a reset to DRIVER_OK, with what is wanted of the features. */
static inline void drive_start(struct drive *d, u64 features)
{
	machine_lock(d->m);
	virtio_set_dma(d->v, true);
	virtio_set_status(d->v, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	features = (features | VIRTIO_F_VERSION_1) & d->v->offered;
	virtio_set_features(d->v, 0, (u32)features);
	virtio_set_features(d->v, 1, (u32)(features >> 32));
	virtio_set_status(d->v, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
	for (unsigned q = 0; q < d->v->nqueues; q++)
		drive_setup_queue(d, q);
	virtio_set_status(d->v, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK |
			  VIRTIO_DRIVER_OK);
	machine_unlock(d->m);
	drive_loop(d->m);
}

static inline void drive_reset(struct drive *d)
{
	machine_lock(d->m);
	virtio_set_status(d->v, 0);
	machine_unlock(d->m);
	drive_loop(d->m);
	d->heap = DRIVE_HEAP;
}

static inline u64 drive_alloc(struct drive *d, size_t len)
{
	u64 at = d->heap;

	if (len > ram_size(d->m->ram) - DRIVE_HEAP)
		abort();
	if (at + len > ram_size(d->m->ram))
		at = DRIVE_HEAP;		/* round and round: tests have few out at once */
	d->heap = (at + len + 15) & ~15ull;
	return at;
}

static inline void drive_desc(struct drive *d, struct drive_queue *g, u16 i, u64 gpa, u32 len,
			      u16 flags, u16 next)
{
	u8 b[16];

	put_le64(b, gpa);
	put_le32(b + 8, len);
	put_le16(b + 12, flags);
	put_le16(b + 14, next);
	if (!ram_write(d->m->ram, g->desc + 16ull * i, b, sizeof(b)))
		abort();
}

/* Offer one request: @olen bytes for the device to read (may be 0), @ilen for it to write (may be 0).
 * Not kicked. Returns the guest address of the writable part. */
static inline u64 drive_add(struct drive *d, unsigned q, const void *out, size_t olen, size_t ilen)
{
	struct drive_queue *g = &d->q[q];
	u16 n = (u16)((olen > 0) + (ilen > 0)), head = g->next_desc;
	u64 in_gpa = 0;
	u8 b[2];

	if (head + n > DRIVE_SIZE)
		head = 0;
	g->next_desc = (u16)(head + n);
	if (olen) {
		u64 gpa = drive_alloc(d, olen);

		if (!ram_write(d->m->ram, gpa, out, olen))
			abort();
		drive_desc(d, g, head, gpa, (u32)olen, ilen ? 1 : 0, (u16)(head + 1));
	}
	if (ilen) {
		in_gpa = drive_alloc(d, ilen);
		drive_desc(d, g, (u16)(head + (olen > 0)), in_gpa, (u32)ilen, 2, 0);
	}
	g->req[head].in_gpa = in_gpa;
	g->req[head].in_len = (u32)ilen;
	put_le16(b, head);
	if (!ram_write(d->m->ram, g->avail + 4 + 2ull * (g->avail_idx % DRIVE_SIZE), b, 2))
		abort();
	put_le16(b, ++g->avail_idx);
	if (!ram_write(d->m->ram, g->avail + 2, b, 2))
		abort();
	return in_gpa;
}

static inline void drive_kick(struct drive *d, unsigned q)
{
	machine_lock(d->m);
	virtio_driver_kick(d->v, q);
	machine_unlock(d->m);
	drive_loop(d->m);
}

/* Has the device given something back? Then its bytes (up to @max) go to @in; returns how many it says
 * that it wrote, or -1: nothing yet. */
static inline long drive_get(struct drive *d, unsigned q, void *in, size_t max)
{
	struct drive_queue *g = &d->q[q];
	u8 b[8];
	u32 id, len;

	if (!ram_read(d->m->ram, g->used + 2, b, 2))
		abort();
	if (get_le16(b) == g->used_idx)
		return -1;
	if (!ram_read(d->m->ram, g->used + 4 + 8ull * (g->used_idx % DRIVE_SIZE), b, 8))
		abort();
	g->used_idx++;
	id = get_le32(b);
	len = get_le32(b + 4);
	if (id >= DRIVE_SIZE || len > g->req[id].in_len)
		abort();
	if (in && len && !ram_read(d->m->ram, g->req[id].in_gpa, in, MIN(len, max)))
		abort();
	return (long)len;
}

#endif
