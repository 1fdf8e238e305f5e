/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio.h - what all virtio devices share: status, features, queues, configuration space; and the
 * seam to the transport (virtio/pci.c) that shows it to the guest.
 * After: Virtio 1.2, chapters 2 and 3. Modern devices only (VIRTIO_F_VERSION_1).
 *
 * A device embeds a struct virtio as its first member:
 *
 *	virtio_init(&d->v, m, &blk_class, d, features, nqueues, queue_size);
 *
 * puts STATE_STRUCT(struct vblk, v, virtio_state) into its table, calls virtio_reset() and
 * virtio_post_load() from its device_class's reset and post_load, virtio_fini() from free. The
 * platform then gives it a place in the guest: virtio_pci_new(&p, &d->v, bus, devfn, e), which is a
 * machine device of its own (path "NAME.pci").
 *
 * All calls come with the machine lock held. Kicks are delivered on the loop's thread, never on a
 * vCPU's: a vCPU that writes a notification goes on at once, and system calls of devices and back
 * ends stay on the I/O thread; kick_here() is the one exception. While the machine is paused none
 * are delivered and no ring gives anything (ring.h), so that what was quiesced stays so until the
 * machine runs again. */
#ifndef PENTA_VIRTIO_VIRTIO_H
#define PENTA_VIRTIO_VIRTIO_H

#include "virtio/ring.h"
#include "vm/device.h"
#include "vm/machine.h"

#define VIRTIO_QUEUES_MAX 64

enum virtio_type {		/* 5: device types */
	VIRTIO_NET = 1, VIRTIO_BLOCK = 2, VIRTIO_CONSOLE = 3, VIRTIO_RNG = 4, VIRTIO_BALLOON = 5,
	VIRTIO_SCSI = 8, VIRTIO_9P = 9, VIRTIO_GPU = 16, VIRTIO_INPUT = 18, VIRTIO_VSOCK = 19,
	VIRTIO_FS = 26,
};
enum virtio_status {		/* 2.1 */
	VIRTIO_ACKNOWLEDGE = 1, VIRTIO_DRIVER = 2, VIRTIO_DRIVER_OK = 4, VIRTIO_FEATURES_OK = 8,
	VIRTIO_NEEDS_RESET = 64, VIRTIO_FAILED = 128,
};
/* 6: features that the ring and the transport answer for; every device offers them. */
#define VIRTIO_F_INDIRECT_DESC	BIT(28)
#define VIRTIO_F_EVENT_IDX	BIT(29)
#define VIRTIO_F_VERSION_1	BIT(32)
#define VIRTIO_F_RING_PACKED	BIT(34)
#define VIRTIO_F_RING_RESET	BIT(40)

struct virtio;

struct virtio_class {
	const char *name;	/* "virtio-blk": in messages and traces */
	u16 type;		/* enum virtio_type */
	u32 pci_class;		/* 24 bits */
	unsigned config_len;	/* bytes of device configuration space */
	/* [off, off+len) lies within config_len. NULL write: read-only. */
	void (*config_read)(void *dev, unsigned off, u8 *buf, unsigned len);
	void (*config_write)(void *dev, unsigned off, const u8 *buf, unsigned len);
	/* The driver has chosen (a subset of what is offered). May be NULL; false: refuse them. */
	bool (*features_ok)(void *dev, u64 features);
	/* The following are called on the loop's thread only. */
	void (*start)(void *dev);	/* DRIVER_OK: queues are set up. May be NULL */
	/* A reset by the driver or the machine of a device that was started, or, @q >= 0, of one
	 * queue: nothing may be written to guest memory after it returns, so requests at back ends
	 * are waited for or cancelled. May be NULL. */
	void (*stop)(void *dev, int q);
	void (*kick)(void *dev, unsigned q);	/* there may be new buffers; also once after start */
	/* The same on the thread of the vCPU that tells, before kick(): do what takes no waiting and
	 * no system call that a vCPU's thread may not make. True: kick() is not needed. May be NULL. */
	bool (*kick_here)(void *dev, unsigned q);
};

struct virtio_transport {
	void (*notify_queue)(void *t, unsigned q);	/* interrupt: used buffers */
	void (*notify_config)(void *t);			/* interrupt: configuration change */
	void (*reset)(void *t);				/* the device was reset: registers, too */
};

struct virtio {
	const struct virtio_class *cls;
	void *dev;
	struct machine *m;
	const struct virtio_transport *tops;
	void *transport;
	u64 offered, features;		/* offered: constant after init */
	u8 status, config_gen;
	unsigned nqueues;
	struct ring *queue;		/* nqueues of them */
	u64 kicked;			/* bit q: kick() is to be called on the loop */
	u64 resetting;			/* bit q: queue reset is under way */
	bool started;			/* start() was called, stop() not yet */
	bool closing;			/* the driver wrote status 0; status reads so when it is done */
	bool no_dma;			/* the transport may not reach memory now (not state) */
	bool posted;			/* the loop will come by (not state) */
};
extern const struct state_field virtio_state[];

/* @features: of the device type; those of the ring are added. @qsize: of each queue, a power of two up
 * to RING_SIZE_MAX; a device may then lower v->queue[i].size_max. */
int virtio_init(struct virtio *v, struct machine *m, const struct virtio_class *cls, void *dev,
		u64 features, unsigned nqueues, unsigned qsize, struct err *e);
void virtio_fini(struct virtio *v);		/* also after a failed init */
/* Offer packed rings, too, before the transport is made. Linux takes them whenever they are offered, and
 * they gain nothing here, so devices do not unless the user says so. */
void virtio_offer_packed(struct virtio *v);
void virtio_reset(struct virtio *v);
int virtio_post_load(struct virtio *v, struct err *e);

/* For devices. */
static inline bool virtio_has(const struct virtio *v, u64 feature) { return v->features & feature; }
bool virtio_running(const struct virtio *v);	/* started, and not broken */
/* ring_pop(), with the errors dealt with: NULL when there is nothing to be had now. */
struct ring_chain *virtio_pop(struct virtio *v, unsigned q);
/* Interrupt for queue @q if the driver wants one for what was pushed. */
void virtio_notify(struct virtio *v, unsigned q);
void virtio_config_changed(struct virtio *v);
/* The driver broke the rules: NEEDS_RESET, the queues stand still; one limited log line "name: why". */
void virtio_broken(struct virtio *v, const char *why);
/* Call kick(q) soon, on the loop: after a batch limit, or when a back end has room again. */
void virtio_kick(struct virtio *v, unsigned q);

/* For transports: what registers do. 4.1.4.3's semantics, checks included. A reset, of the device or
 * of a queue, ends on the loop: until then the old status, and queue_reset 1, are read. */
void virtio_set_status(struct virtio *v, u8 status);
void virtio_set_features(struct virtio *v, unsigned word, u32 bits);	/* while not FEATURES_OK */
bool virtio_queue_settable(const struct virtio *v, unsigned q);	/* may size and addresses change? */
void virtio_queue_enable(struct virtio *v, unsigned q);
void virtio_queue_reset(struct virtio *v, unsigned q);
void virtio_set_dma(struct virtio *v, bool on);		/* the function's bus master bit */
void virtio_driver_kick(struct virtio *v, unsigned q);	/* the driver's notification */
/* The machine runs again: what the driver asked for before the pause, and what back ends had for it
 * meanwhile, is done now. */
void virtio_resumed(struct virtio *v);

#endif
