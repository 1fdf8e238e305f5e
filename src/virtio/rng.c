/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rng.c - entropy device: each buffer is filled with the host kernel's random bytes.
 * After: Virtio 1.2, 5.4.
 *
 * A request gets at most RNG_MAX bytes: the driver is told how many, and asks again. A guest that
 * asks without end gets a batch each time the loop comes by, and the loop serves others between. */
#include "virtio/rng.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define RNG_QUEUE_SIZE 64
#define RNG_MAX 4096u		/* bytes a request */
#define RNG_BATCH 16		/* requests at a time */
#define RNG_PCI_CLASS 0x00ff00	/* does not fit any other class */

struct vrng {
	struct virtio v;
};

/* At most 256 bytes: such a getrandom() is whole (getrandom(2)). */
static size_t fill(struct ring_chain *c)
{
	size_t want = (size_t)MIN(c->write_len, RNG_MAX), done = 0;
	u8 buf[256];

	while (done < want) {
		size_t n = MIN(want - done, sizeof(buf));

		if (getrandom(buf, n, 0) != (ssize_t)n)
			break;
		if (chain_write(c, done, buf, n) != n)
			break;
		done += n;
	}
	return done;
}

static void rng_kick(void *dev, unsigned q)
{
	struct vrng *d = dev;
	struct ring_chain *c;
	int n = 0;

	while (n++ < RNG_BATCH && (c = virtio_pop(&d->v, q)) != NULL)
		ring_push(c, (u32)fill(c));
	virtio_notify(&d->v, q);
	if (n > RNG_BATCH)
		virtio_kick(&d->v, q);
}

static const struct virtio_class rng_virtio = {
	.name = "virtio-rng", .type = VIRTIO_RNG, .pci_class = RNG_PCI_CLASS, .kick = rng_kick,
};

static void vrng_reset(void *dev)
{
	struct vrng *d = dev;

	virtio_reset(&d->v);
}

static int vrng_post_load(void *dev, struct err *e)
{
	struct vrng *d = dev;

	return virtio_post_load(&d->v, e);
}

static void vrng_free(void *dev)
{
	struct vrng *d = dev;

	if (!d)
		return;
	virtio_fini(&d->v);
	free(d);
}

struct virtio *vrng_virtio(struct vrng *d)
{
	return &d->v;
}

int vrng_new(struct vrng **out, struct machine *m, struct err *e)
{
	struct vrng *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return err_set(e, ENOMEM, "virtio-rng: out of memory");
	r = virtio_init(&d->v, m, &rng_virtio, d, 0, 1, RNG_QUEUE_SIZE, e);
	if (r) {
		vrng_free(d);
		return r;
	}
	*out = d;
	return 0;
}

static const struct state_field vrng_state[] = {
	STATE_STRUCT(struct vrng, v, virtio_state),
	STATE_END
};

const struct device_class vrng_class = {
	.name = "virtio-rng", .version = 1, .state = vrng_state, .reset = vrng_reset,
	.free = vrng_free, .post_load = vrng_post_load,
};
