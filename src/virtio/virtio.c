/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio.c - what all virtio devices share: the driver's dialogue (status, features, queues), and
 * the way of its kicks to the loop's thread.
 * After: Virtio 1.2, 2.1 (status), 2.2 (features), 2.6.1 (queue reset), 3.1.1 (initialization).
 *
 *	vCPU: writes a register			loop: work()
 *	status 0 of a started device  --closing-->   stop(-1), everything to power-on, status reads 0
 *	queue_reset 1                 --resetting->  stop(q), that queue to power-on, queue_reset reads 0
 *	status DRIVER_OK              ------------>  start(), kick() of all queues
 *	a notification                --kicked---->  kick(q)
 *
 * The standard lets both kinds of reset take time (4.1.4.3.2: the driver waits for the register), and
 * so a vCPU never waits for a disk, and never makes a back end's system calls. */
#include "virtio/virtio.h"
#include "base/trace.h"
#include <errno.h>
#include <stdlib.h>

DEFINE_TRACE(virtio_status, "virtio.status");
DEFINE_TRACE(virtio_kick, "virtio.kick");
DEFINE_TRACE(virtio_notify, "virtio.notify");

#define STATUS_DRIVER (VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_DRIVER_OK | \
		       VIRTIO_FEATURES_OK | VIRTIO_FAILED)

/* Rings answer as if empty while the device may not touch them. */
static void update_halted(struct virtio *v)
{
	bool halted = !v->started || v->closing || v->no_dma || (v->status & VIRTIO_NEEDS_RESET);

	for (unsigned q = 0; q < v->nqueues; q++)
		v->queue[q].halted = halted || (v->resetting & BIT(q));
}

bool virtio_running(const struct virtio *v)
{
	return v->started && !v->closing && !(v->status & VIRTIO_NEEDS_RESET);
}

static void all_to_power_on(struct virtio *v)
{
	v->status = 0;
	v->features = 0;
	v->kicked = v->resetting = 0;
	v->started = v->closing = false;
	for (unsigned q = 0; q < v->nqueues; q++)
		ring_reset(&v->queue[q]);
	update_halted(v);
	if (v->tops && v->tops->reset)
		v->tops->reset(v->transport);
}

static void stop(struct virtio *v, int q)
{
	if (v->started && v->cls->stop)
		v->cls->stop(v->dev, q);
}

void virtio_reset(struct virtio *v)
{
	stop(v, -1);
	all_to_power_on(v);
}

/* --- on the loop --- */

static void kick_all(struct virtio *v)
{
	for (unsigned q = 0; q < v->nqueues; q++)
		if (v->queue[q].enabled)
			v->kicked |= BIT(q);
}

static void work(void *ctx)
{
	struct virtio *v = ctx;
	u64 kicked;

	v->posted = false;
	if (atomic_load(&v->m->status) == MACHINE_PAUSED)
		return;			/* virtio_resumed() comes back to it */
	if (v->closing) {
		virtio_reset(v);
		return;
	}
	for (unsigned q = 0; q < v->nqueues; q++) {
		if (!(v->resetting & BIT(q)))
			continue;
		stop(v, (int)q);
		ring_reset(&v->queue[q]);
		v->resetting &= ~BIT(q);
		v->kicked &= ~BIT(q);
	}
	if (!v->started && (v->status & VIRTIO_DRIVER_OK)) {
		v->started = true;
		update_halted(v);
		if (v->cls->start)
			v->cls->start(v->dev);
		kick_all(v);
	}
	update_halted(v);
	kicked = v->kicked;
	v->kicked = 0;
	for (unsigned q = 0; kicked && q < v->nqueues; q++) {
		if (!(kicked & BIT(q)) || v->queue[q].halted || !v->queue[q].enabled)
			continue;
		TRACE(virtio_kick, "%s queue=%u", v->cls->name, q);
		v->cls->kick(v->dev, q);
	}
}

static void post(struct virtio *v)
{
	if (v->posted)
		return;
	v->posted = true;
	loop_post(v->m->loop, work, v);
}

void virtio_kick(struct virtio *v, unsigned q)
{
	if (q >= v->nqueues || !virtio_running(v))
		return;			/* start() kicks all */
	v->kicked |= BIT(q);
	post(v);
}

void virtio_resumed(struct virtio *v)
{
	kick_all(v);
	post(v);
}

void virtio_driver_kick(struct virtio *v, unsigned q)
{
	if (q >= v->nqueues || !v->queue[q].enabled)
		return;
	/* Not past what waits for the loop already: a reset of the queue, its start, other kicks. */
	if (v->cls->kick_here && virtio_running(v) && !v->posted && !v->queue[q].halted &&
	    v->cls->kick_here(v->dev, q))
		return;
	virtio_kick(v, q);
}

/* --- for devices --- */

void virtio_notify(struct virtio *v, unsigned q)
{
	if (!ring_wants_notify(&v->queue[q]))
		return;
	TRACE(virtio_notify, "%s queue=%u", v->cls->name, q);
	if (v->tops)
		v->tops->notify_queue(v->transport, q);
}

void virtio_config_changed(struct virtio *v)
{
	v->config_gen++;
	if ((v->status & VIRTIO_DRIVER_OK) && !v->closing && v->tops)
		v->tops->notify_config(v->transport);
}

void virtio_broken(struct virtio *v, const char *why)
{
	if (v->status & VIRTIO_NEEDS_RESET)
		return;
	log_limited(LOG_WARN, "%s: the guest's driver broke the rules: %s; the device waits for a "
		    "reset", v->cls->name, why ? why : "an invalid request");
	v->status |= VIRTIO_NEEDS_RESET;
	update_halted(v);
	virtio_config_changed(v);		/* 2.1.2 */
}

struct ring_chain *virtio_pop(struct virtio *v, unsigned q)
{
	struct ring *r = &v->queue[q];
	struct ring_chain *c;
	int rc = ring_pop(r, &c);

	if (rc < 0)
		virtio_broken(v, rc == -EPROTO ? r->why : "no memory for a request");
	return rc == 1 ? c : NULL;
}

/* --- for transports --- */

void virtio_set_status(struct virtio *v, u8 status)
{
	u8 news = status & (u8)~v->status & STATUS_DRIVER;

	TRACE(virtio_status, "%s %#x -> %#x", v->cls->name, v->status, status);
	if (v->closing)
		return;
	if (status == 0) {
		if (!v->started && !(v->status & VIRTIO_DRIVER_OK)) {
			all_to_power_on(v);
			return;
		}
		v->closing = true;
		update_halted(v);
		post(v);
		return;
	}
	if (news & VIRTIO_FEATURES_OK) {	/* 2.2.2, 3.1.1 step 5: no is said by clearing it */
		bool ok = !(v->features & ~v->offered) && (v->features & VIRTIO_F_VERSION_1) &&
			  (!v->cls->features_ok || v->cls->features_ok(v->dev, v->features));

		if (!ok)
			news &= (u8)~(VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK);
	}
	if (!((v->status | news) & VIRTIO_FEATURES_OK))
		news &= (u8)~VIRTIO_DRIVER_OK;
	v->status |= news;			/* 2.1.1: the driver sets bits, and clears none */
	if (news & VIRTIO_DRIVER_OK)
		post(v);
}

void virtio_set_features(struct virtio *v, unsigned word, u32 bits)
{
	if (word > 1 || v->closing || v->status & VIRTIO_FEATURES_OK)
		return;
	v->features &= ~((u64)UINT32_MAX << (32 * word));
	v->features |= (u64)bits << (32 * word);
}

bool virtio_queue_settable(const struct virtio *v, unsigned q)
{
	return q < v->nqueues && (v->status & VIRTIO_FEATURES_OK) && !v->closing &&
	       !v->queue[q].enabled && !(v->resetting & BIT(q));
}

void virtio_queue_enable(struct virtio *v, unsigned q)
{
	struct ring *r = &v->queue[q];

	if (!virtio_queue_settable(v, q))
		return;
	r->packed = virtio_has(v, VIRTIO_F_RING_PACKED);
	r->event_idx = virtio_has(v, VIRTIO_F_EVENT_IDX);
	r->indirect = virtio_has(v, VIRTIO_F_INDIRECT_DESC);
	if (ring_enable(r) < 0)
		virtio_broken(v, r->why);
	else
		virtio_kick(v, q);		/* enabled again after a queue reset */
}

void virtio_queue_reset(struct virtio *v, unsigned q)
{
	if (q >= v->nqueues || !virtio_has(v, VIRTIO_F_RING_RESET) || !v->queue[q].enabled ||
	    v->closing)
		return;
	v->resetting |= BIT(q);
	update_halted(v);
	post(v);
}

void virtio_set_dma(struct virtio *v, bool on)
{
	if (v->no_dma == !on)
		return;
	v->no_dma = !on;
	update_halted(v);
	if (on && virtio_running(v)) {
		kick_all(v);
		post(v);
	}
}

/* --- life --- */

const struct state_field virtio_state[] = {
	STATE_U64(struct virtio, features),
	STATE_U8(struct virtio, status, 0, STATUS_DRIVER | VIRTIO_NEEDS_RESET),
	STATE_U8(struct virtio, config_gen, 0, UINT8_MAX),
	STATE_U64(struct virtio, resetting),
	STATE_BOOL(struct virtio, started),
	STATE_BOOL(struct virtio, closing),
	STATE_STRUCTS(struct virtio, queue, nqueues, ring_state),
	STATE_END
};

int virtio_init(struct virtio *v, struct machine *m, const struct virtio_class *cls, void *dev,
		u64 features, unsigned nqueues, unsigned qsize, struct err *e)
{
	BUG_ON(nqueues == 0 || nqueues > VIRTIO_QUEUES_MAX);
	*v = (struct virtio){ .cls = cls, .dev = dev, .m = m, .no_dma = true };
	v->offered = features | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |
		     VIRTIO_F_RING_RESET;
	v->queue = calloc(nqueues, sizeof(*v->queue));
	if (!v->queue)
		return err_set(e, ENOMEM, "%s: out of memory", cls->name);
	v->nqueues = nqueues;
	for (unsigned q = 0; q < nqueues; q++) {
		ring_init(&v->queue[q], m->ram, (u16)qsize);
		v->queue[q].m = m;
	}
	update_halted(v);
	return 0;
}

void virtio_offer_packed(struct virtio *v)
{
	BUG_ON(v->transport);
	v->offered |= VIRTIO_F_RING_PACKED;
}

void virtio_fini(struct virtio *v)
{
	for (unsigned q = 0; q < v->nqueues; q++)
		ring_fini(&v->queue[q]);
	free(v->queue);
	v->queue = NULL;
	v->nqueues = 0;
}

int virtio_post_load(struct virtio *v, struct err *e)
{
	bool ok = v->status & VIRTIO_FEATURES_OK;

	if (ok && (v->features & ~v->offered || !(v->features & VIRTIO_F_VERSION_1)))
		return err_set(e, EINVAL, "%s: features %#llx were agreed on; this device offers %#llx",
			       v->cls->name, (unsigned long long)v->features,
			       (unsigned long long)v->offered);
	if (v->started > !!(v->status & VIRTIO_DRIVER_OK) || (v->status & VIRTIO_DRIVER_OK && !ok) ||
	    (v->nqueues < 64 && v->resetting >> v->nqueues))
		return err_set(e, EINVAL, "%s: status %#x cannot be", v->cls->name, v->status);
	for (unsigned q = 0; q < v->nqueues; q++) {
		struct ring *r = &v->queue[q];
		int rc = ring_post_load(r, e);

		if (!rc && r->enabled && (!ok || r->packed != virtio_has(v, VIRTIO_F_RING_PACKED) ||
					  r->event_idx != virtio_has(v, VIRTIO_F_EVENT_IDX) ||
					  r->indirect != virtio_has(v, VIRTIO_F_INDIRECT_DESC)))
			rc = err_set(e, EINVAL, "its layout is not of the features agreed on");
		if (rc)
			return err_set(e, EINVAL, "%s: queue %u: %s", v->cls->name, q,
				       e ? e->msg : "");
	}
	v->kicked = 0;
	if (ok && v->cls->features_ok && !v->cls->features_ok(v->dev, v->features))
		return err_set(e, EINVAL, "%s: features %#llx do not go together", v->cls->name,
			       (unsigned long long)v->features);
	update_halted(v);
	kick_all(v);			/* whatever was on its way comes again */
	post(v);
	return 0;
}
