/* SPDX-License-Identifier: GPL-2.0-or-later */
/* driver.h - a virtio driver for tests of devices: it finds the function on the PCI bus, talks to it
 * through its registers as a guest would, keeps split or packed rings in guest memory, and drives
 * the loop by hand.
 *
 *	struct drv d;
 *	drv_machine(&d);			a machine with a PCI bus, nothing else
 *	machine_add_device(d.m, ...); virtio_pci_new(&p, v, d.bus, DRV_SLOT, &e); machine_add_device...
 *	drv_start(&d, wanted_features);		negotiated, queues set up, DRIVER_OK
 *	u64 buf = drv_alloc(&d, 4096);
 *	int id = drv_add(&d.q[0], (struct drv_seg[]){ { buf, 16 } }, 1, (struct drv_seg[]){ ... }, 1);
 *	drv_kick(&d, 0); drv_pump(&d);
 *	id2 = drv_used(&d.q[0], &len);		-1: none
 *	drv_end(&d); */
#ifndef PENTA_TESTS_VIRTIO_DRIVER_H
#define PENTA_TESTS_VIRTIO_DRIVER_H

#include "base/bytes.h"
#include "dev/devtest.h"
#include "virtio/pci.h"

#define DRV_SLOT PCI_DEVFN(1, 0)
#define DRV_BAR 0xe0000000u		/* where its BAR 4 is put */
#define DRV_MSIX 0xe0010000u		/* and BAR 1 */
#define DRV_HEAP 0x200000u
#define DRV_QUEUES 64
#define DRV_IDS 256			/* buffers that a queue can have out */

/* An address of the driver's own lies outside RAM: a mistake of the test, unless it is a fuzzer that
 * lets its rings be written over. */
#ifndef DRV_LOST
#define DRV_LOST() abort()
#endif

enum { DRV_COMMON = 0x0000, DRV_ISR = 0x1000, DRV_DEVICE = 0x2000, DRV_NOTIFY = 0x3000 };
enum {				/* 4.1.4.3 */
	DRV_DFSELECT = 0x00, DRV_DF = 0x04, DRV_GFSELECT = 0x08, DRV_GF = 0x0c, DRV_MSIX_CONFIG = 0x10,
	DRV_NUM_QUEUES = 0x12, DRV_STATUS = 0x14, DRV_GENERATION = 0x15, DRV_QSELECT = 0x16,
	DRV_QSIZE = 0x18, DRV_QVECTOR = 0x1a, DRV_QENABLE = 0x1c, DRV_QNOTIFY_OFF = 0x1e,
	DRV_QDESC = 0x20, DRV_QDRIVER = 0x28, DRV_QDEVICE = 0x30, DRV_QRESET = 0x3a,
};

struct drv_seg { u64 gpa; u32 len; };

struct drvq {
	struct drv *d;
	unsigned index;
	u16 size, notify_off;
	u64 desc, driver, device;	/* gpa */
	bool packed, event_idx, indirect;
	u16 avail, used;		/* split: indices; packed: slots */
	bool avail_wrap, used_wrap;
	u16 nfree;
	u16 ndesc[DRV_IDS];		/* by id: 0: not out */
	u64 table[DRV_IDS];		/* by id: where its indirect table lies */
	u16 next_free;			/* split: list through the descriptors */
	unsigned interrupts;		/* by this queue's vector */
};

struct drv {
	struct machine *m;
	struct pci_bus *bus;
	struct probe pin[4];
	u64 heap, features;
	unsigned nqueues, config_interrupts;
	struct drvq q[DRV_QUEUES];
};

/* --- memory --- */

static inline u64 drv_alloc_at(struct drv *d, u64 len, u64 align)
{
	u64 at = (d->heap + align - 1) & ~(align - 1);

	d->heap = at + len;
	if (d->heap > ram_size(d->m->ram))
		abort();
	return at;
}
static inline u64 drv_alloc(struct drv *d, u64 len) { return drv_alloc_at(d, len, 64); }
static inline void drv_put(struct drv *d, u64 gpa, const void *p, size_t n)
{
	if (!ram_write(d->m->ram, gpa, p, n))
		DRV_LOST();
}
static inline void drv_get(struct drv *d, u64 gpa, void *p, size_t n)
{
	if (!ram_read(d->m->ram, gpa, p, n)) {
		memset(p, 0, n);
		DRV_LOST();
	}
}
static inline void drv_put16(struct drv *d, u64 gpa, u16 v) { drv_put(d, gpa, &v, 2); }
static inline u16 drv_get16(struct drv *d, u64 gpa) { u16 v; drv_get(d, gpa, &v, 2); return v; }
static inline u32 drv_get32(struct drv *d, u64 gpa) { u32 v; drv_get(d, gpa, &v, 4); return v; }

/* --- registers --- */

static inline u64 drv_read(struct drv *d, unsigned off, unsigned len)
{
	return bus_read(d->m->mmio, d->m->cpu[0], DRV_BAR + off, len);
}
static inline void drv_write(struct drv *d, unsigned off, u64 val, unsigned len)
{
	bus_write(d->m->mmio, d->m->cpu[0], DRV_BAR + off, val, len);
}
static inline u8 drv_status(struct drv *d) { return (u8)drv_read(d, DRV_STATUS, 1); }

static inline u64 drv_offered(struct drv *d)
{
	u64 f;

	drv_write(d, DRV_DFSELECT, 0, 4);
	f = drv_read(d, DRV_DF, 4);
	drv_write(d, DRV_DFSELECT, 1, 4);
	return f | drv_read(d, DRV_DF, 4) << 32;
}

static inline void drv_accept(struct drv *d, u64 features)
{
	d->features = features;
	for (unsigned i = 0; i < 2; i++) {
		drv_write(d, DRV_GFSELECT, i, 4);
		drv_write(d, DRV_GF, (u32)(features >> (32 * i)), 4);
	}
}

/* --- the loop --- */

static inline void drv_quit(void *ctx) { loop_quit(ctx); }

/* Let the loop do what was posted, and what that posts, a few times over. */
static inline void drv_pump(struct drv *d)
{
	for (unsigned i = 0; i < 4; i++) {
		loop_post(d->m->loop, drv_quit, d->m->loop);
		loop_run(d->m->loop);
	}
}

/* --- the machine, and the function on its bus --- */

static inline void drv_msi(void *chip, u64 gpa, u32 data)
{
	struct drv *d = chip;

	if (data == 0x1000)
		d->config_interrupts++;
	else if (data < DRV_QUEUES)
		d->q[data].interrupts++;
}

static inline void drv_machine(struct drv *d)
{
	struct pci_bus_opts po = { .npirq = 4 };
	struct err e = { 0 };

	memset(d, 0, sizeof(*d));
	d->m = dt_machine(1);
	d->heap = DRV_HEAP;
	d->m->msi = (struct msi_sink){ drv_msi, d };
	for (unsigned i = 0; i < 4; i++)
		po.pirq[i] = probe_line(&d->pin[i]);
	if (pci_bus_new(&d->bus, d->m, &po, &e) ||
	    machine_add_device(d->m, &pci_bus_class, d->bus, "pci", &e)) {
		fprintf(stderr, "drv_machine: %s\n", e.msg);
		abort();
	}
}
static inline void drv_end(struct drv *d) { machine_free(d->m); }

/* Give @v a place on the bus; the machine owns the transport. */
static inline void drv_plug(struct drv *d, struct virtio *v)
{
	struct virtio_pci *p;
	struct err e = { 0 };

	if (virtio_pci_new(&p, v, d->bus, DRV_SLOT, &e) ||
	    machine_add_device(d->m, &virtio_pci_class, p, "test.pci", &e)) {
		fprintf(stderr, "drv_plug: %s\n", e.msg);
		abort();
	}
}

static inline void drv_config(struct drv *d, unsigned off, u32 val, unsigned len)
{
	pci_config_write(d->bus, DRV_SLOT, off, val, len);
}

/* BARs, bus mastering, and with @msix a vector for each queue and for the configuration (the last). */
static inline void drv_map(struct drv *d, bool msix)
{
	drv_config(d, PCI_BAR0 + 16, DRV_BAR, 4);
	drv_config(d, PCI_BAR0 + 4, DRV_MSIX, 4);
	drv_config(d, PCI_COMMAND, PCI_CMD_MEM | PCI_CMD_MASTER, 2);
	d->nqueues = (unsigned)drv_read(d, DRV_NUM_QUEUES, 2);
	if (!msix)
		return;
	for (u8 c = (u8)pci_config_read(d->bus, DRV_SLOT, PCI_CAP_PTR, 1); c;
	     c = (u8)pci_config_read(d->bus, DRV_SLOT, c + 1u, 1))
		if (pci_config_read(d->bus, DRV_SLOT, c, 1) == PCI_CAP_MSIX)
			drv_config(d, c + 2u, 0x8000, 2);
	for (unsigned i = 0; i <= d->nqueues; i++) {
		u32 e[4] = { 0xfee00000, 0, i == d->nqueues ? 0x1000 : i, 0 };

		for (unsigned k = 0; k < 4; k++)
			bus_write(d->m->mmio, NULL, DRV_MSIX + 16 * i + 4 * k, e[k], 4);
	}
}

static inline void drv_queue_init(struct drv *d, unsigned q, u16 size)
{
	struct drvq *k = &d->q[q];
	unsigned interrupts = k->interrupts;
	u64 areas;

	*k = (struct drvq){ .d = d, .index = q, .size = size, .avail_wrap = true, .used_wrap = true,
			    .interrupts = interrupts, .nfree = size };
	k->packed = d->features & VIRTIO_F_RING_PACKED;
	k->event_idx = d->features & VIRTIO_F_EVENT_IDX;
	k->indirect = d->features & VIRTIO_F_INDIRECT_DESC;
	k->desc = drv_alloc_at(d, 16u * size, 16);
	k->driver = drv_alloc_at(d, 6 + 2u * size, 4);
	k->device = drv_alloc_at(d, 6 + 8u * size, 4);
	areas = d->heap - k->desc;
	for (u64 i = 0; i < areas; i++)
		drv_put(d, k->desc + i, "", 1);
	for (u16 i = 0; !k->packed && i < size; i++)
		drv_put16(d, k->desc + 16u * i + 14, (u16)(i + 1));
}

/* Queue @q: its registers as of @k, and on. */
static inline void drv_queue_on(struct drv *d, unsigned q)
{
	struct drvq *k = &d->q[q];

	drv_write(d, DRV_QSELECT, q, 2);
	drv_write(d, DRV_QSIZE, k->size, 2);
	drv_write(d, DRV_QVECTOR, q, 2);
	drv_write(d, DRV_QDESC, k->desc, 8);
	drv_write(d, DRV_QDRIVER, (u32)k->driver, 4);
	drv_write(d, DRV_QDRIVER + 4, k->driver >> 32, 4);
	drv_write(d, DRV_QDEVICE, k->device, 8);
	k->notify_off = (u16)drv_read(d, DRV_QNOTIFY_OFF, 2);
	drv_write(d, DRV_QENABLE, 1, 2);
}

/* To FEATURES_OK: false when the device does not want @features. */
static inline bool drv_negotiate(struct drv *d, u64 features)
{
	drv_write(d, DRV_STATUS, 0, 1);
	drv_pump(d);
	drv_write(d, DRV_STATUS, VIRTIO_ACKNOWLEDGE, 1);
	drv_write(d, DRV_STATUS, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER, 1);
	drv_accept(d, features);
	drv_write(d, DRV_STATUS, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK, 1);
	return drv_status(d) & VIRTIO_FEATURES_OK;
}

static inline void drv_ok(struct drv *d)
{
	drv_write(d, DRV_STATUS, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK |
		  VIRTIO_DRIVER_OK, 1);
	drv_pump(d);
}

/* All of it, with MSI-X; @features of what is offered, VERSION_1 added; queues of at most @max. */
static inline bool drv_start_sized(struct drv *d, u64 features, u16 max)
{
	drv_map(d, true);
	if (!drv_negotiate(d, (features | VIRTIO_F_VERSION_1) & drv_offered(d)))
		return false;
	drv_write(d, DRV_MSIX_CONFIG, d->nqueues, 2);
	for (unsigned q = 0; q < d->nqueues; q++) {
		u16 size;

		drv_write(d, DRV_QSELECT, q, 2);
		size = (u16)drv_read(d, DRV_QSIZE, 2);
		drv_queue_init(d, q, MIN(size, max));
		drv_queue_on(d, q);
	}
	drv_ok(d);
	return true;
}
static inline bool drv_start(struct drv *d, u64 features)
{
	return drv_start_sized(d, features, DRV_IDS);
}

/* --- buffers --- */

static inline void drv_desc(struct drv *d, u64 at, u64 gpa, u32 len, u16 a, u16 b)
{
	u8 p[16];

	put_le64(p, gpa);
	put_le32(p + 8, len);
	put_le16(p + 12, a);
	put_le16(p + 14, b);
	drv_put(d, at, p, 16);
}

/* Make a buffer of @nout segments to be read and @nin to be written available; its id, or -1: full. */
static inline int drv_add(struct drvq *k, const struct drv_seg *out, unsigned nout,
			  const struct drv_seg *in, unsigned nin)
{
	struct drv *d = k->d;
	unsigned n = nout + nin, slots = k->indirect && n > 1 ? 1 : n;
	u64 table = 0;
	u16 id = 0, at, head_flags = 0;

	if (slots > k->nfree || n == 0)
		return -1;
	if (k->packed)
		while (k->ndesc[id])
			id++;
	else
		id = k->next_free;
	if (id >= DRV_IDS)		/* a fuzzer has written over the list */
		return -1;
	if (slots < n)
		table = drv_alloc_at(d, 16 * n, 16);
	at = k->packed ? k->avail : k->next_free;
	for (unsigned i = 0; i < (table ? n + 1 : n); i++) {
		bool last = i == n - 1, self = i == n;
		const struct drv_seg *s = i < nout ? &out[i] : &in[i - nout];
		u16 flags = i >= nout ? 2 : 0, bits;

		if (table && !self) {
			if (k->packed)
				drv_desc(d, table + 16 * i, s->gpa, s->len, 0, flags);
			else
				drv_desc(d, table + 16 * i, s->gpa, s->len,
					 (u16)(flags | (last ? 0 : 1)), (u16)(i + 1));
			continue;
		}
		if (!self)
			flags |= last ? 0 : 1;
		else
			flags = 4;
		if (k->packed) {
			bits = k->avail_wrap ? 0x80 : 0x8000;
			drv_desc(d, k->desc + 16u * at, self ? table : s->gpa, self ? 16 * n : s->len, id,
				 (u16)(at == k->avail && (self || i == 0) ? 0 : flags | bits));
			if (self || i == 0)
				head_flags = flags | bits;
			if (++at == k->size) {
				at = 0;
				k->avail_wrap = !k->avail_wrap;
			}
		} else {
			u16 next = drv_get16(d, k->desc + 16u * at + 14);

			drv_desc(d, k->desc + 16u * at, self ? table : s->gpa, self ? 16 * n : s->len,
				 flags, next);
			at = next % k->size;	/* a fuzzer may have been there */
		}
	}
	k->ndesc[id] = (u16)slots;
	k->table[id] = table;
	k->nfree = (u16)(k->nfree - slots);
	if (k->packed) {
		drv_put16(d, k->desc + 16u * k->avail + 14, head_flags);
		k->avail = at;
	} else {
		k->next_free = at;
		drv_put16(d, k->driver + 4 + 2u * (k->avail % k->size), id);
		drv_put16(d, k->driver + 2, ++k->avail);
	}
	return id;
}

static inline void drv_kick(struct drv *d, unsigned q)
{
	drv_write(d, DRV_NOTIFY + 4u * d->q[q].notify_off, q, 2);
}

/* The next used buffer's id and written length, or -1. */
static inline int drv_used(struct drvq *k, u32 *len)
{
	struct drv *d = k->d;
	u16 id;

	if (k->packed) {
		u64 at = k->desc + 16u * k->used;
		u16 flags = drv_get16(d, at + 14);

		if (!!(flags & 0x80) != k->used_wrap || !!(flags & 0x8000) != k->used_wrap)
			return -1;
		id = drv_get16(d, at + 12);
		if (id >= DRV_IDS)
			return -1;
		if (len)
			*len = drv_get32(d, at + 8);
		k->used = (u16)(k->used + k->ndesc[id]);
		if (k->used >= k->size) {
			k->used = (u16)(k->used - k->size);
			k->used_wrap = !k->used_wrap;
		}
	} else {
		u64 at = k->device + 4 + 8u * (k->used % k->size);
		u16 i;

		if (drv_get16(d, k->device + 2) == k->used)
			return -1;
		id = (u16)drv_get32(d, at);
		if (id >= DRV_IDS)
			return -1;
		if (len)
			*len = drv_get32(d, at + 4);
		k->used++;
		if (k->event_idx)
			drv_put16(d, k->driver + 4 + 2u * k->size, k->used);
		i = id;
		for (u16 n = 1; n < k->ndesc[id]; n++)
			i = drv_get16(d, k->desc + 16u * i + 14);
		drv_put16(d, k->desc + 16u * i + 14, k->next_free);
		k->next_free = id;
	}
	if (!k->ndesc[id])
		DRV_LOST();		/* nobody has that one */
	k->nfree = (u16)(k->nfree + k->ndesc[id]);
	k->ndesc[id] = 0;
	return id;
}

#endif
