/* SPDX-License-Identifier: GPL-2.0-or-later */
/* balloon.h - a balloon in the guest's memory: what it holds, and what the guest reports as free, the
 * host has back. All calls come with the machine lock held. */
#ifndef PENTA_VIRTIO_BALLOON_H
#define PENTA_VIRTIO_BALLOON_H

#include "virtio/virtio.h"

struct balloon;

/* 5.5.6.3: what a guest says about its memory; bytes or counts since its boot. */
enum balloon_stat {
	BALLOON_SWAP_IN, BALLOON_SWAP_OUT, BALLOON_MAJOR_FAULTS, BALLOON_MINOR_FAULTS,
	BALLOON_FREE, BALLOON_TOTAL, BALLOON_AVAILABLE, BALLOON_DISK_CACHES,
	BALLOON_HUGETLB_ALLOC, BALLOON_HUGETLB_FAIL, BALLOON_NSTATS
};
#define BALLOON_STAT_NONE UINT64_MAX		/* not told */

/* Ask the guest to hold so much memory that it has @bytes left (it may take its time, or not do it);
 * up to the machine's memory. -EINVAL: less than 16 MiB or more than there is. -ENODEV: the guest's
 * driver is not there; it will be told when it comes. */
int balloon_set_size(struct balloon *b, u64 bytes, struct err *e);
u64 balloon_size(const struct balloon *b);	/* what the guest has left now */
u64 balloon_reported(const struct balloon *b);	/* bytes that free-page reporting gave back, ever */
/* The guest's driver is there. */
bool balloon_running(const struct balloon *b);
/* @fn is called when balloon_size() has changed. */
void balloon_on_change(struct balloon *b, void (*fn)(void *ctx), void *ctx);
/* What the guest told last, and ask it again: the next answer comes soon. */
void balloon_stats(struct balloon *b, u64 stat[BALLOON_NSTATS]);

extern const struct device_class balloon_class;
int balloon_new(struct balloon **out, struct machine *m, struct err *e);
struct virtio *balloon_virtio(struct balloon *b);

#endif
