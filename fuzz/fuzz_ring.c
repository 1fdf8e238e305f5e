/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_ring.c - rings and the PCI transport over a device that copies what it reads to where it may
 * write, under bytes: they become ring memory, descriptors, register and configuration writes, in any
 * order, nearly right or not at all. Checked throughout: what is in flight never exceeds the queue,
 * memory that no descriptor may reach stays as it was, a broken device writes nothing until reset, and
 * after each round a driver that keeps the rules is served again. One input is one operation. */
#include "fuzz.h"
#include "../tests/virtio/driver.h"
#include "base/trace.h"

#define QUEUES 3
#define CANARY 0x100000u		/* a page that is never offered */

struct fdev {
	struct virtio v;
	struct ring_chain *held[64];
	unsigned nheld;
	u64 s;
};

static void die(const char *what)
{
	fprintf(stderr, "fuzz_ring: %s\n", what);
	abort();
}

static void done(struct fdev *d, struct ring_chain *c)
{
	u8 buf[8192];
	size_t n = chain_read(c, 0, buf, sizeof(buf));

	ring_push(c, (u32)chain_write(c, 0, buf, n));
}

static void fdev_kick(void *dev, unsigned q)
{
	struct fdev *d = dev;
	struct ring_chain *c;

	for (unsigned n = 0; n < 32 && (c = virtio_pop(&d->v, q)) != NULL; n++) {
		const struct ring *r = &d->v.queue[q];

		if (r->inflight > r->size || r->size > r->size_max)
			die("more in flight than the queue holds");
		if (d->nheld < 64 && fuzz_rnd(&d->s) % 4 == 0)
			d->held[d->nheld++] = c;
		else if (fuzz_rnd(&d->s) % 8 == 0) {
			ring_unpop(c);
			break;
		} else
			done(d, c);
	}
	while (d->nheld && fuzz_rnd(&d->s) % 3) {
		unsigned i = (unsigned)(fuzz_rnd(&d->s) % d->nheld);

		c = d->held[i];
		d->held[i] = d->held[--d->nheld];
		done(d, c);
	}
	if (fuzz_rnd(&d->s) % 16 == 0)
		ring_listen(&d->v.queue[q], fuzz_rnd(&d->s) % 2);
	virtio_notify(&d->v, q);
}

static void fdev_stop(void *dev, int q)
{
	struct fdev *d = dev;
	unsigned kept = 0;

	for (unsigned i = 0; i < d->nheld; i++)
		if (q >= 0 && d->held[i]->ring != &d->v.queue[q])
			d->held[kept++] = d->held[i];
		else
			ring_push(d->held[i], 0);
	d->nheld = kept;
}

static void fdev_config(void *dev, unsigned off, u8 *buf, unsigned len) { memset(buf, (int)off, len); }

static const struct virtio_class fdev_virtio = {
	.name = "fuzz", .type = 62, .pci_class = 0xff0000, .config_len = 13,
	.config_read = fdev_config, .stop = fdev_stop, .kick = fdev_kick,
};

static void fdev_reset(void *dev) { virtio_reset(&((struct fdev *)dev)->v); }
static int fdev_post_load(void *dev, struct err *e)
{
	return virtio_post_load(&((struct fdev *)dev)->v, e);
}
static void fdev_free(void *dev)
{
	struct fdev *d = dev;

	while (d->nheld)
		ring_push(d->held[--d->nheld], 0);
	virtio_fini(&d->v);
	free(d);
}
static const struct state_field fdev_state[] = {
	STATE_STRUCT(struct fdev, v, virtio_state), STATE_END
};
static const struct device_class fdev_class = {
	.name = "fuzz", .version = 1, .state = fdev_state, .reset = fdev_reset, .free = fdev_free,
	.post_load = fdev_post_load,
};

/* An address: mostly memory, at times where it hurts. */
static u64 address(struct drv *d, u64 *s)
{
	switch (fuzz_rnd(s) % 12) {
	case 0: return DRV_BAR + fuzz_rnd(s) % 0x5000;
	case 1: return UINT64_MAX - fuzz_rnd(s) % 64;
	case 2: return ram_size(d->m->ram) - fuzz_rnd(s) % 64;
	case 3: return fuzz_rnd(s);
	case 4: case 5: return d->q[fuzz_rnd(s) % QUEUES].desc + fuzz_rnd(s) % 16 * 16;
	default: return 0x400000 + fuzz_rnd(s) % 0x10000;
	}
}

static u32 length(u64 *s)
{
	static const u32 l[] = { 0, 1, 16, 32, 48, 256, 4096, 16 * 1024, 16 * 1025, UINT32_MAX };

	return l[fuzz_rnd(s) % ARRAY_SIZE(l)];
}

static void hostile_desc(struct drv *d, u64 at, u64 *s)
{
	u16 flags = (u16)(fuzz_rnd(s) % 8 | (fuzz_rnd(s) % 2 ? 0x80 : 0) | (fuzz_rnd(s) % 4 ? 0 : 0x8000));
	u16 next = (u16)(fuzz_rnd(s) % 20);
	bool packed = fuzz_rnd(s) % 2;

	drv_desc(d, at, address(d, s), length(s), packed ? next : flags, packed ? flags : next);
}

static void one(struct drv *d, struct fdev *dev, u64 *s)
{
	struct drvq *k = &d->q[fuzz_rnd(s) % QUEUES];
	unsigned regs[] = { DRV_STATUS, DRV_QSELECT, DRV_QSIZE, DRV_QVECTOR, DRV_QENABLE, DRV_QRESET,
			    DRV_QDESC, DRV_QDRIVER, DRV_QDEVICE, DRV_GF, DRV_GFSELECT, DRV_DEVICE };
	u64 a = 0x400000 + fuzz_rnd(s) % 0xff00;

	switch (fuzz_rnd(s) % 16) {
	case 0: hostile_desc(d, k->desc + 16u * (fuzz_rnd(s) % 16), s); break;
	case 1: hostile_desc(d, 0x400000 + fuzz_rnd(s) % 64 * 16, s); break;
	case 2: drv_put16(d, k->driver + fuzz_rnd(s) % 16 * 2, (u16)(fuzz_rnd(s) % 20)); break;
	case 3: drv_put16(d, k->driver + 2, (u16)(drv_get16(d, k->driver + 2) + fuzz_rnd(s) % 4)); break;
	case 4: drv_put16(d, k->device + fuzz_rnd(s) % 32 * 2, (u16)fuzz_rnd(s)); break;
	case 5:
		drv_write(d, regs[fuzz_rnd(s) % ARRAY_SIZE(regs)], fuzz_rnd(s) >> (fuzz_rnd(s) % 64),
			  1u << fuzz_rnd(s) % 4);
		break;
	case 6: drv_write(d, (unsigned)(fuzz_rnd(s) % 0x4000), fuzz_rnd(s), 1u << fuzz_rnd(s) % 4); break;
	case 7: drv_read(d, (unsigned)(fuzz_rnd(s) % 0x4000), 1u << fuzz_rnd(s) % 4); break;
	case 8:
		if (fuzz_rnd(s) % 8 == 0)
			drv_config(d, (unsigned)(fuzz_rnd(s) % 64) * 4 + 0x40, (u32)fuzz_rnd(s), 4);
		else
			pci_config_read(d->bus, DRV_SLOT, (unsigned)(fuzz_rnd(s) % 64) * 4, 4);
		break;
	case 9: drv_config(d, PCI_COMMAND, PCI_CMD_MEM | (fuzz_rnd(s) % 4 ? PCI_CMD_MASTER : 0), 2); break;
	case 10: if (fuzz_rnd(s) % 8 == 0) virtio_config_changed(&dev->v); break;
	case 11: case 12:	/* a request that keeps the rules, where the ring is not spoilt */
		if (k->nfree > 2)
			drv_add(k, &(struct drv_seg){ a, 64 }, 1, &(struct drv_seg){ a + 64, 64 }, 1);
		break;
	default: drv_kick(d, k->index); break;
	}
	if (fuzz_rnd(s) % 8 == 0)
		drv_pump(d);
}

static void round_(u64 seed, unsigned ops)
{
	u64 s = seed * 0x9e3779b97f4a7c15ull | 1, f;
	struct fdev *dev = calloc(1, sizeof(*dev));
	struct err e = { 0 };
	struct drv d;
	u8 page[4096];
	u32 len;

	drv_machine(&d);
	dev->s = s;
	if (virtio_init(&dev->v, d.m, &fdev_virtio, dev, VIRTIO_F_RING_PACKED, QUEUES, 16, &e) ||
	    machine_add_device(d.m, &fdev_class, dev, "fuzz", &e))
		die(e.msg);
	drv_plug(&d, &dev->v);
	memset(page, 0xa5, sizeof(page));
	drv_put(&d, CANARY, page, sizeof(page));
	for (unsigned n = 0; n < ops; n += 100) {
		f = fuzz_rnd(&s);
		d.heap = DRV_HEAP;
		drv_start_sized(&d, (f & 1 ? VIRTIO_F_RING_PACKED : 0) | (f & 2 ? VIRTIO_F_EVENT_IDX : 0) |
				(f & 4 ? VIRTIO_F_INDIRECT_DESC : 0) | VIRTIO_F_RING_RESET, 16);
		for (unsigned i = 0; i < 100; i++)
			one(&d, dev, &s);
	}
	/* A reset mends all: a driver that keeps the rules is served. */
	d.heap = DRV_HEAP;
	if (!drv_start_sized(&d, s & 1 ? VIRTIO_F_RING_PACKED : 0, 16))
		die("features that were offered are refused");
	if (drv_add(&d.q[0], &(struct drv_seg){ 0x400000, 8 }, 1, NULL, 0) < 0)
		die("a fresh ring is full");
	for (unsigned i = 0; i < 200 && drv_used(&d.q[0], &len) < 0; i++) {
		drv_kick(&d, 0);
		drv_pump(&d);
		if (i == 199)
			die("a driver that keeps the rules is not served after a reset");
	}
	drv_get(&d, CANARY, page, sizeof(page));
	for (unsigned i = 0; i < sizeof(page); i++)
		if (page[i] != 0xa5)
			die("memory was written that no descriptor named");
	drv_end(&d);
}

int main(int argc, char **argv)
{
	struct fuzz f = fuzz_begin(argc, argv, "fuzz_ring");

	if (fuzz_covers())
		return 0;
	log_set_level(LOG_ERROR);
	for (u64 n = 0; fuzz_more(&f, n); n = 2000)
		round_(f.seed, 2000);
	return fuzz_end(&f);
}
