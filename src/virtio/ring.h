/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ring.h - virtqueues: the rings in guest memory by which a driver hands buffers to a device.
 * After: Virtio 1.2, 2.6 (virtqueues), 2.7 (split), 2.8 (packed).
 *
 * Everything in a ring is the guest's and may change at any moment: each word is read once, checked
 * and then used; each walk is bounded by the ring's size. What is malformed makes ring_pop() say
 * -EPROTO, after which the device calls virtio_broken() and the ring stands still until reset.
 * All calls come with the machine lock held. */
#ifndef PENTA_VIRTIO_RING_H
#define PENTA_VIRTIO_RING_H

#include "base/err.h"
#include "vm/ram.h"
#include "vm/state.h"
#include <sys/uio.h>

#define RING_SIZE_MAX 1024		/* descriptors; for split rings a power of two */
#define RING_CHAIN_MAX 1024		/* segments of one chain, indirect ones counted */

struct ring_chain;

struct ring {
	struct ram *ram;		/* borrowed */
	struct machine *m;		/* nothing is popped while it is paused; NULL: it never is */

	/* Set by the driver through the transport while the queue is off. */
	u16 size_max;			/* what the device offers; constant */
	u16 size;
	u64 desc_gpa, driver_gpa, device_gpa;	/* descriptors; avail or driver area; used or device area */
	bool enabled;
	bool packed, event_idx, indirect;	/* of the negotiated features */

	bool broken;			/* malformed: nothing is popped until reset */
	const char *why;		/* what was malformed; a constant string */
	u32 gen;			/* counts resets: chains from before are dropped by ring_push() */

	/* Where the device stands. Split: free-running indices. Packed: index and wrap counter. */
	u16 next_avail, next_used;
	bool avail_wrap, used_wrap;
	u32 pushed;			/* slots given back since ring_wants_notify() was last asked */
	bool deaf;			/* ring_listen(false): do not ask for kicks */
	u16 inflight;			/* slots popped, not pushed; 0 whenever state is saved */

	/* Derived: not state. */
	bool halted;			/* no bus mastering, or the device is not running: as if empty */
	u16 seen_avail;			/* split: avail.idx when last read */
	u8 *desc, *driver, *device;	/* the areas in host memory while enabled; NULL: not in RAM */
	bool hold, held;		/* ring_push_all(): pushed, but not yet to be seen */
	u16 held_flags;			/* packed: what publishes the first of them */
	u32 held_off;
	struct ring_chain *pool;	/* chains to be used again */
	unsigned npool;
};
extern const struct state_field ring_state[];

struct ring_seg {
	u8 *hva;			/* [hva, hva+len) is guest memory, valid for the machine's life */
	u64 gpa;
	u32 len;
};

/* One request of the driver: a descriptor chain, checked, in one piece. */
struct ring_chain {
	struct ring *ring;
	u32 gen;
	u16 id;				/* head descriptor, or buffer id (packed) */
	u16 ndesc;			/* ring slots it takes (packed) */
	unsigned nread, nwrite;		/* segments to read come first, then those to write */
	u64 read_len, write_len;	/* bytes */
	void *priv;			/* the device's */
	struct ring_chain *next;	/* in the pool; the device's own while it has the chain */
	u16 cap;			/* room in seg[] */
	struct ring_seg seg[];
};

/* @size_max: a power of two up to RING_SIZE_MAX. */
void ring_init(struct ring *r, struct ram *ram, u16 size_max);
void ring_fini(struct ring *r);
/* The driver has set size, addresses and features: begin. -EPROTO (and broken): they cannot be. */
int ring_enable(struct ring *r);

/* Take the next request. 1: *@out is set, to be given back by ring_push(), ring_unpop() or, after a
 * reset, either of them all the same; 0: nothing there (the driver will kick when there is, unless
 * ring_listen(false) was said), or the queue is off, or the machine is paused (virtio_resumed() then
 * kicks); -EPROTO: malformed (loop, range, order, not in
 * RAM, ROM to be written), r->why tells; -ENOMEM. Devices call virtio_pop(), which deals with errors.
 * 2.7.5 to 2.7.7, 2.8.5 to 2.8.8. */
int ring_pop(struct ring *r, struct ring_chain **out);
/* Done with it: @written bytes of its writable part are filled. Frees @c. The caller has told
 * chain_wrote() or used chain_write(). Interrupt the driver by virtio_notify() after a batch. */
void ring_push(struct ring_chain *c, u32 written);
/* The same for @n of one ring that the driver must see at once: the pieces of one packet (5.1.6.4). */
void ring_push_all(struct ring_chain **c, const u32 *written, unsigned n);
/* The last one popped was not needed now: it is as if it had not been popped. Frees @c. */
void ring_unpop(struct ring_chain *c);
/* Would ring_pop() find something? If not, the driver will kick, as after ring_pop(). */
bool ring_has(struct ring *r);
/* Ask the driver to kick when it adds buffers (that is so from the start), or not to (a hint, for a
 * device that polls). ring_listen(true) followed by !ring_has() loses none. */
void ring_listen(struct ring *r, bool on);
/* Since the last call, have buffers been pushed that the driver wants an interrupt for? 2.7.7.2, 2.8.10 */
bool ring_wants_notify(struct ring *r);
/* To power-on state; chains still out are dropped when they come back. */
void ring_reset(struct ring *r);
void ring_break(struct ring *r, const char *why);
/* After loading ring_state: -EINVAL when indices, size or addresses cannot be. */
int ring_post_load(struct ring *r, struct err *e);

/* Copy to and from a chain: [off, off+len) of its readable or writable bytes; returns how many were
 * there. chain_write() marks pages dirty. */
size_t chain_read(const struct ring_chain *c, u64 off, void *buf, size_t len);
size_t chain_write(struct ring_chain *c, u64 off, const void *buf, size_t len);
size_t chain_fill(struct ring_chain *c, u64 off, u8 byte, size_t len);
/* Host ranges of [off, off+len) for preadv() and the like; returns their number, or -E2BIG when
 * @max are too few. A len beyond the end is cut. */
int chain_iov_read(const struct ring_chain *c, u64 off, u64 len, struct iovec *iov, unsigned max);
int chain_iov_write(const struct ring_chain *c, u64 off, u64 len, struct iovec *iov, unsigned max);
/* Bytes [off, off+len) of the writable part were filled through such ranges: mark them dirty. */
void chain_wrote(struct ring_chain *c, u64 off, u64 len);

#endif
