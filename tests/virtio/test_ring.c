/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_ring.c - virtqueues of both layouts through the whole transport, over a device that hands
 * each request back with its readable bytes copied to its writable ones; and every malformed ring
 * that a driver could make. */
#include "unit.h"

#include "base/trace.h"
#include <errno.h>
#include "virtio/driver.h"

struct echo {
	struct virtio v;
	unsigned kicks, starts, stops, chains;
	int stopped;			/* argument of the last stop() */
	bool hold;			/* keep chains in held */
	struct ring_chain *held[64];
	unsigned nheld;
	u8 config[12];
	bool refuse;
};

static void echo_done(struct echo *d, struct ring_chain *c)
{
	u8 buf[4096];
	size_t n = chain_read(c, 0, buf, sizeof(buf));

	d->chains++;
	ring_push(c, (u32)chain_write(c, 0, buf, n));
}

static void echo_kick(void *dev, unsigned q)
{
	struct echo *d = dev;
	struct ring_chain *c;

	d->kicks++;
	while ((c = virtio_pop(&d->v, q)) != NULL) {
		if (d->hold && d->nheld < 64)
			d->held[d->nheld++] = c;
		else
			echo_done(d, c);
	}
	virtio_notify(&d->v, q);
}

static void echo_start(void *dev) { ((struct echo *)dev)->starts++; }
static void echo_stop(void *dev, int q)
{
	struct echo *d = dev;
	unsigned kept = 0;

	d->stops++;
	d->stopped = q;
	for (unsigned i = 0; i < d->nheld; i++) {
		if (q >= 0 && d->held[i]->ring != &d->v.queue[q])
			d->held[kept++] = d->held[i];
		else
			ring_push(d->held[i], 0);	/* too late: must not reach the driver */
	}
	d->nheld = kept;
}
static void echo_config_read(void *dev, unsigned off, u8 *buf, unsigned len)
{
	memcpy(buf, ((struct echo *)dev)->config + off, len);
}
static void echo_config_write(void *dev, unsigned off, const u8 *buf, unsigned len)
{
	memcpy(((struct echo *)dev)->config + off, buf, len);
}
static bool echo_features_ok(void *dev, u64 f) { return !((struct echo *)dev)->refuse; }

static const struct virtio_class echo_virtio = {
	.name = "echo", .type = 63, .pci_class = 0xff0000, .config_len = 12,
	.config_read = echo_config_read, .config_write = echo_config_write,
	.features_ok = echo_features_ok, .start = echo_start, .stop = echo_stop, .kick = echo_kick,
};

static void echo_reset(void *dev) { virtio_reset(&((struct echo *)dev)->v); }
static int echo_post_load(void *dev, struct err *e)
{
	return virtio_post_load(&((struct echo *)dev)->v, e);
}
static void echo_free(void *dev)
{
	struct echo *d = dev;

	for (unsigned i = 0; i < d->nheld; i++)
		ring_unpop(d->held[i]);
	virtio_fini(&d->v);
	free(d);
}
static const struct state_field echo_state[] = {
	STATE_STRUCT(struct echo, v, virtio_state), STATE_END
};
static const struct device_class echo_class = {
	.name = "echo", .version = 1, .state = echo_state, .reset = echo_reset, .free = echo_free,
	.post_load = echo_post_load,
};

#define FEATURE_X BIT(3)
#define ALL (VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_RING_RESET | VIRTIO_F_VERSION_1)
#define ROM 0xfffff000u

static struct echo *rig(struct drv *d, unsigned nqueues, unsigned qsize)
{
	struct echo *dev = calloc(1, sizeof(*dev));
	struct err e = { 0 };
	u8 rom[4096] = { 0 };

	drv_machine(d);
	assert_int_equal(ram_add_rom(d->m->ram, ROM, rom, sizeof(rom), &e), 0);
	assert_int_equal(virtio_init(&dev->v, d->m, &echo_virtio, dev, FEATURE_X | VIRTIO_F_RING_PACKED,
				     nqueues, qsize, &e), 0);
	assert_int_equal(machine_add_device(d->m, &echo_class, dev, "echo", &e), 0);
	drv_plug(d, &dev->v);
	return dev;
}

static u64 word(struct drv *d, const char *text, size_t n)
{
	u64 at = drv_alloc(d, n);

	drv_put(d, at, text, n);
	return at;
}

/* --- it works: both layouts, all features, many laps --- */

static void laps(u64 features, u16 size)
{
	struct drv d;
	struct echo *dev = rig(&d, 2, 64);
	u64 in[4], out[4];

	assert_true(drv_start_sized(&d, features, size));
	assert_int_equal(dev->starts, 1);
	for (unsigned i = 0; i < 4; i++) {
		in[i] = drv_alloc(&d, 64);
		out[i] = drv_alloc(&d, 64);
	}
	for (unsigned lap = 0; lap < 5u * size; lap++) {
		unsigned n = 1 + lap % 2;
		char text[16], got[16];
		int id;
		u32 len;
		u64 heap = d.heap;

		snprintf(text, sizeof(text), "lap %09u", lap);
		drv_put(&d, out[0], text, 8);
		drv_put(&d, out[1], text + 8, 8);
		if (size < 4)
			id = drv_add(&d.q[1], &(struct drv_seg){ out[0], 8 }, 1, NULL, 0);
		else
			id = drv_add(&d.q[1], (struct drv_seg[]){ { out[0], 8 }, { out[1], 8 } }, 2,
				     (struct drv_seg[]){ { in[0], n == 1 ? 16 : 5 }, { in[1], 11 } }, n);
		assert_true(id >= 0);
		drv_kick(&d, 1);
		drv_pump(&d);
		assert_int_equal(drv_used(&d.q[1], &len), id);
		assert_int_equal(len, size < 4 ? 0 : 16);
		if (size >= 4) {
			drv_get(&d, in[0], got, n == 1 ? 16 : 5);
			if (n == 2)
				drv_get(&d, in[1], got + 5, 11);
			assert_string_equal(got, text);
		}
		assert_int_equal(drv_used(&d.q[1], &len), -1);
		assert_int_equal(d.q[1].interrupts, lap + 1);
		d.heap = heap;
	}
	assert_int_equal(dev->chains, 5 * size);
	assert_false(drv_status(&d) & VIRTIO_NEEDS_RESET);
	drv_end(&d);
}

static void test_laps(void **state)
{
	static const u16 sizes[] = { 1, 2, 4, 64 };

	for (unsigned f = 0; f < 8; f++)
		for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
			laps((f & 1 ? VIRTIO_F_RING_PACKED : 0) | (f & 2 ? VIRTIO_F_EVENT_IDX : 0) |
			     (f & 4 ? VIRTIO_F_INDIRECT_DESC : 0), sizes[i]);
	laps(VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX, 7);	/* no power of two */
}

static void test_long_indirect(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		struct drv_seg seg[200];
		struct drv d;
		struct echo *dev = rig(&d, 1, 64);
		u64 to;
		u32 len;
		u8 got[101];

		assert_true(drv_start(&d, ALL | (packed ? VIRTIO_F_RING_PACKED : 0)));
		to = drv_alloc(&d, 100);
		for (unsigned i = 0; i < 100; i++) {
			u8 b = (u8)(i * 7);

			seg[i] = (struct drv_seg){ drv_alloc(&d, 1), 1 };
			drv_put(&d, seg[i].gpa, &b, 1);
			seg[100 + i] = (struct drv_seg){ to + i, 1 };
		}
		for (unsigned lap = 0; lap < 300; lap++) {
			u64 heap = d.heap;

			assert_true(drv_add(&d.q[0], seg, 100, seg + 100, 100) >= 0);
			drv_kick(&d, 0);
			drv_pump(&d);
			assert_true(drv_used(&d.q[0], &len) >= 0);
			assert_int_equal(len, 100);
			d.heap = heap;
		}
		drv_get(&d, to, got, 100);
		for (unsigned i = 0; i < 100; i++)
			assert_int_equal(got[i], (u8)(i * 7));
		assert_int_equal(dev->chains, 300);
		drv_end(&d);
	}
}

/* --- order, unpop, resets with chains out --- */

static void hold_and(struct echo *dev, struct drv *d, unsigned n)
{
	u64 at = word(d, "abcd", 4);

	dev->hold = true;
	for (unsigned i = 0; i < n; i++)
		assert_true(drv_add(&d->q[0], &(struct drv_seg){ at, 4 }, 1,
				    &(struct drv_seg){ at + 64, 4 }, 1) >= 0);
	drv_kick(d, 0);
	drv_pump(d);
	assert_int_equal(dev->nheld, n);
}

static void test_out_of_order(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		struct drv d;
		struct echo *dev = rig(&d, 1, 8);

		assert_true(drv_start(&d, packed ? VIRTIO_F_RING_PACKED : 0));
		for (unsigned lap = 0; lap < 20; lap++) {
			u16 ids[4];
			u32 len;

			hold_and(dev, &d, 4);
			for (unsigned i = 0; i < 4; i++)
				ids[i] = dev->held[i]->id;
			ring_unpop(dev->held[3]);	/* and again: the same one comes */
			ring_unpop(dev->held[2]);
			dev->nheld = 2;
			echo_kick(dev, 0);
			assert_int_equal(dev->nheld, 4);
			assert_int_equal(dev->held[3]->id, ids[3]);
			for (unsigned i = 0; i < 4; i++)
				ring_push(dev->held[(lap + i * 3) % 4], lap + i);
			dev->nheld = 0;
			for (unsigned i = 0; i < 4; i++) {
				assert_int_equal(drv_used(&d.q[0], &len), ids[(lap + i * 3) % 4]);
				assert_int_equal(len, lap + i);
			}
			assert_int_equal(drv_used(&d.q[0], &len), -1);
			assert_int_equal(dev->v.queue[0].inflight, 0);
		}
		drv_end(&d);
	}
}

static void test_reset_with_chains_out(void **state)
{
	struct drv d;
	struct echo *dev = rig(&d, 2, 8);
	u64 used;

	assert_true(drv_start(&d, ALL));
	used = d.q[0].device;
	hold_and(dev, &d, 3);
	drv_write(&d, DRV_STATUS, 0, 1);
	assert_int_not_equal(drv_status(&d), 0);	/* until the loop has been there */
	assert_false(virtio_running(&dev->v));
	drv_pump(&d);
	assert_int_equal(drv_status(&d), 0);
	assert_int_equal(dev->stops, 1);
	assert_int_equal(dev->stopped, -1);
	assert_int_equal(dev->nheld, 0);
	assert_int_equal(drv_get16(&d, used + 2), 0);	/* nothing was written after the reset */
	assert_int_equal(d.q[0].interrupts, 0);
	dev->hold = false;
	assert_true(drv_start(&d, ALL));		/* and it begins anew */
	assert_int_equal(dev->starts, 2);
	hold_and(dev, &d, 2);
	drv_end(&d);
}

/* A machine that is paused may be being saved: neither a kick that was on its way nor a back end that
 * has something for the driver takes a buffer until it runs again. */
static void test_paused(void **state)
{
	struct drv d;
	struct echo *dev = rig(&d, 2, 8);
	struct drv_seg s[2];
	struct err e = { 0 };
	unsigned kicks;

	assert_int_equal(machine_start(d.m, &e), 0);
	assert_true(drv_start(&d, ALL));
	s[0] = (struct drv_seg){ word(&d, "abcd", 4), 4 };
	s[1] = (struct drv_seg){ drv_alloc(&d, 4), 4 };
	kicks = dev->kicks;
	assert_true(drv_add(&d.q[0], s, 1, s + 1, 1) >= 0);
	drv_kick(&d, 0);
	machine_pause(d.m);
	drv_pump(&d);
	assert_int_equal(dev->kicks, kicks);
	assert_false(ring_has(&dev->v.queue[0]));
	assert_null(virtio_pop(&dev->v, 0));		/* as a frame from a network would */
	assert_int_equal(drv_used(&d.q[0], NULL), -1);
	drv_write(&d, DRV_STATUS, 0, 1);		/* a debugger's write: done when it runs */
	drv_pump(&d);
	assert_int_not_equal(drv_status(&d), 0);
	machine_resume(d.m);
	drv_pump(&d);
	assert_int_equal(drv_status(&d), 0);

	assert_true(drv_start(&d, ALL));		/* and without such a write */
	assert_true(drv_add(&d.q[0], s, 1, s + 1, 1) >= 0);
	drv_kick(&d, 0);
	machine_pause(d.m);
	drv_pump(&d);
	assert_int_equal(drv_used(&d.q[0], NULL), -1);
	machine_resume(d.m);
	drv_pump(&d);
	assert_true(drv_used(&d.q[0], NULL) >= 0);
	drv_end(&d);
}

static void test_queue_reset(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		struct drv d;
		struct echo *dev = rig(&d, 2, 8);
		u32 len;

		assert_true(drv_start(&d, ALL | (packed ? VIRTIO_F_RING_PACKED : 0)));
		hold_and(dev, &d, 3);
		drv_write(&d, DRV_QSELECT, 0, 2);
		drv_write(&d, DRV_QRESET, 1, 2);
		assert_int_equal(drv_read(&d, DRV_QRESET, 2), 1);
		drv_pump(&d);
		assert_int_equal(drv_read(&d, DRV_QRESET, 2), 0);
		assert_int_equal(drv_read(&d, DRV_QENABLE, 2), 0);
		assert_int_equal(dev->stopped, 0);
		assert_int_equal(dev->nheld, 0);
		dev->hold = false;
		drv_queue_init(&d, 0, 4);		/* another size, without another DRIVER_OK */
		drv_queue_on(&d, 0);
		assert_int_equal(drv_read(&d, DRV_QENABLE, 2), 1);
		assert_int_equal(drv_read(&d, DRV_QSIZE, 2), 4);
		assert_true(drv_add(&d.q[0], &(struct drv_seg){ 0x1000, 4 }, 1, NULL, 0) >= 0);
		drv_kick(&d, 0);
		drv_pump(&d);
		assert_true(drv_used(&d.q[0], &len) >= 0);
		drv_end(&d);
	}
}

/* --- interrupts --- */

static void test_event_idx(void **state)
{
	struct drv d;
	struct echo *dev = rig(&d, 1, 8);

	assert_true(drv_start(&d, VIRTIO_F_EVENT_IDX));
	hold_and(dev, &d, 4);
	drv_put16(&d, d.q[0].driver + 4 + 2 * 8, 2);	/* interrupt me after the third */
	for (unsigned i = 0; i < 4; i++) {
		ring_push(dev->held[i], 0);
		virtio_notify(&dev->v, 0);
		assert_int_equal(d.q[0].interrupts, i >= 2);
	}
	dev->nheld = 0;
	virtio_notify(&dev->v, 0);
	assert_int_equal(d.q[0].interrupts, 1);
	/* The device said which buffer makes it look again. */
	assert_int_equal(drv_get16(&d, d.q[0].device + 4 + 8 * 8), 4);
	drv_end(&d);

	dev = rig(&d, 1, 8);
	assert_true(drv_start(&d, VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED));
	hold_and(dev, &d, 4);				/* two descriptors each */
	drv_put16(&d, d.q[0].driver, 0x8000 | 4);	/* slot 4 of the first lap */
	drv_put16(&d, d.q[0].driver + 2, 2);
	for (unsigned i = 0; i < 4; i++) {
		ring_push(dev->held[i], 0);
		virtio_notify(&dev->v, 0);
		assert_int_equal(d.q[0].interrupts, i >= 2);
	}
	dev->nheld = 0;
	assert_int_equal(drv_get32(&d, d.q[0].device), 2 << 16 | 0);	/* slot 0, second lap */
	drv_end(&d);
}

static void test_no_interrupt(void **state)
{
	struct drv d;
	struct echo *dev = rig(&d, 1, 8);

	assert_true(drv_start(&d, 0));
	hold_and(dev, &d, 2);
	drv_put16(&d, d.q[0].driver, 1);
	ring_push(dev->held[0], 0);
	virtio_notify(&dev->v, 0);
	assert_int_equal(d.q[0].interrupts, 0);
	drv_put16(&d, d.q[0].driver, 0);
	ring_push(dev->held[1], 0);
	virtio_notify(&dev->v, 0);
	assert_int_equal(d.q[0].interrupts, 1);
	dev->nheld = 0;
	ring_listen(&dev->v.queue[0], false);
	assert_int_equal(drv_get16(&d, d.q[0].device), 1);
	ring_listen(&dev->v.queue[0], true);
	assert_int_equal(drv_get16(&d, d.q[0].device), 0);
	drv_end(&d);
}

/* --- malformed --- */

/* What is written into ring or descriptors; each must end in NEEDS_RESET and harm nobody. */
struct bad {
	const char *what, *why;
	bool packed;
	void (*make)(struct drv *d, struct drvq *k);
};

static u64 desc(const struct drvq *k, unsigned i) { return k->desc + 16u * i; }
static void avail(struct drvq *k, u16 head, u16 idx)
{
	drv_put16(k->d, k->driver + 4, head);
	drv_put16(k->d, k->driver + 2, idx);
}
static u64 table(struct drv *d, unsigned n) { return drv_alloc_at(d, 16 * n, 16); }

static void s_loop(struct drv *d, struct drvq *k)
{
	drv_desc(d, desc(k, 0), 0x1000, 4, 1, 1);
	drv_desc(d, desc(k, 1), 0x1000, 4, 1, 0);
	avail(k, 0, 1);
}
static void s_self(struct drv *d, struct drvq *k)
{
	drv_desc(d, desc(k, 0), 0x1000, 4, 1, 0);
	avail(k, 0, 1);
}
static void s_head(struct drv *d, struct drvq *k) { avail(k, 8, 1); }
static void s_next(struct drv *d, struct drvq *k)
{
	drv_desc(d, desc(k, 0), 0x1000, 4, 1, 0xffff);
	avail(k, 0, 1);
}
static void s_jump(struct drv *d, struct drvq *k) { avail(k, 0, 9); }
static void s_back(struct drv *d, struct drvq *k) { avail(k, 0, 0xffff); }
static void s_far(struct drv *d, struct drvq *k)
{
	drv_desc(d, desc(k, 0), UINT64_MAX - 3, 8, 0, 0);
	avail(k, 0, 1);
}
static void s_end_of_ram(struct drv *d, struct drvq *k)
{
	drv_desc(d, desc(k, 0), ram_size(d->m->ram) - 4, 8, 0, 0);
	avail(k, 0, 1);
}
static void s_huge(struct drv *d, struct drvq *k)
{
	drv_desc(d, desc(k, 0), 0x1000, UINT32_MAX, 0, 0);
	avail(k, 0, 1);
}
static void s_rom(struct drv *d, struct drvq *k)
{
	drv_desc(d, desc(k, 0), ROM, 8, 2, 0);
	avail(k, 0, 1);
}
static void s_own_bar(struct drv *d, struct drvq *k)
{
	drv_desc(d, desc(k, 0), DRV_BAR + DRV_NOTIFY, 4, 2, 0);
	avail(k, 0, 1);
}
static void s_order(struct drv *d, struct drvq *k)
{
	drv_desc(d, desc(k, 0), 0x1000, 4, 2 | 1, 1);
	drv_desc(d, desc(k, 1), 0x2000, 4, 0, 0);
	avail(k, 0, 1);
}
static void indirect_to(struct drvq *k, u64 t, u32 len, u16 flags)
{
	drv_desc(k->d, desc(k, 0), t, len, (u16)(4 | flags), 0);
	avail(k, 0, 1);
}
static void s_inner(struct drv *d, struct drvq *k)
{
	u64 t = table(d, 1);

	drv_desc(d, t, t, 16, 4, 0);
	indirect_to(k, t, 16, 0);
}
static void s_indirect_next(struct drv *d, struct drvq *k) { indirect_to(k, table(d, 1), 16, 1); }
static void s_table_len(struct drv *d, struct drvq *k) { indirect_to(k, table(d, 2), 24, 0); }
static void s_table_empty(struct drv *d, struct drvq *k) { indirect_to(k, table(d, 1), 0, 0); }
static void s_table_huge(struct drv *d, struct drvq *k)
{
	indirect_to(k, table(d, 2), 1025 * 16, 0);
}
static void s_table_away(struct drv *d, struct drvq *k) { indirect_to(k, DRV_BAR, 16, 0); }
static void s_table_loop(struct drv *d, struct drvq *k)
{
	u64 t = table(d, 2);

	drv_desc(d, t, 0x1000, 4, 1, 1);
	drv_desc(d, t + 16, 0x1000, 4, 1, 0);
	indirect_to(k, t, 32, 0);
}
static void s_table_next(struct drv *d, struct drvq *k)
{
	u64 t = table(d, 2);

	drv_desc(d, t, 0x1000, 4, 1, 2);
	indirect_to(k, t, 32, 0);
}
static void s_4g(struct drv *d, struct drvq *k)
{
	u64 t = table(d, 513);

	for (unsigned i = 0; i < 513; i++)
		drv_desc(d, t + 16 * i, 0, 8 << 20, i < 512, (u16)(i + 1));
	indirect_to(k, t, 513 * 16, 0);
}

#define AVAIL 0x80
static void p_put(struct drvq *k, unsigned i, u64 gpa, u32 len, u16 flags)
{
	drv_desc(k->d, desc(k, i), gpa, len, 5, flags);
}
static void p_wrap(struct drv *d, struct drvq *k)	/* all eight go on: the ninth is not there */
{
	for (unsigned i = 8; i-- > 0; )
		p_put(k, i, 0x1000, 4, AVAIL | 1);
}
static void p_gap(struct drv *d, struct drvq *k) { p_put(k, 0, 0x1000, 4, AVAIL | 1); }
static void p_rom(struct drv *d, struct drvq *k) { p_put(k, 0, ROM, 4, AVAIL | 2); }
static void p_far(struct drv *d, struct drvq *k) { p_put(k, 0, UINT64_MAX, 4, AVAIL); }
static void p_own_bar(struct drv *d, struct drvq *k) { p_put(k, 0, DRV_BAR, 4, AVAIL | 2); }
static void p_order(struct drv *d, struct drvq *k)
{
	p_put(k, 1, 0x1000, 4, AVAIL);
	p_put(k, 0, 0x1000, 4, AVAIL | 2 | 1);
}
static void p_inner(struct drv *d, struct drvq *k)
{
	u64 t = table(d, 1);

	drv_desc(d, t, t, 16, 0, 4);
	p_put(k, 0, t, 16, AVAIL | 4);
}
static void p_late_indirect(struct drv *d, struct drvq *k)
{
	p_put(k, 1, table(d, 1), 16, AVAIL | 4);
	p_put(k, 0, 0x1000, 4, AVAIL | 1);
}
static void p_indirect_next(struct drv *d, struct drvq *k)
{
	p_put(k, 0, table(d, 1), 16, AVAIL | 4 | 1);
}
static void p_table_len(struct drv *d, struct drvq *k) { p_put(k, 0, table(d, 2), 31, AVAIL | 4); }

static const struct bad bads[] = {
	{ "a chain that is a loop", "loop", false, s_loop },
	{ "a descriptor that follows itself", "loop", false, s_self },
	{ "a head beyond the table", "beyond", false, s_head },
	{ "a next beyond the table", "beyond", false, s_next },
	{ "an index that jumps", "room", false, s_jump },
	{ "an index that goes backwards", "room", false, s_back },
	{ "a buffer at the end of the address space", "not in RAM", false, s_far },
	{ "a buffer across the end of RAM", "not in RAM", false, s_end_of_ram },
	{ "a buffer larger than RAM", "not in RAM", false, s_huge },
	{ "a buffer in ROM", "ROM", false, s_rom },
	{ "a buffer in the device's own registers", "not in RAM", false, s_own_bar },
	{ "write before read", "follows", false, s_order },
	{ "indirect within indirect", "within", false, s_inner },
	{ "indirect that goes on", "goes on", false, s_indirect_next },
	{ "an indirect table of 24 bytes", "length", false, s_table_len },
	{ "an indirect table of 0 bytes", "length", false, s_table_empty },
	{ "an indirect table of 1025 entries", "length", false, s_table_huge },
	{ "an indirect table in registers", "not in RAM", false, s_table_away },
	{ "an indirect table that is a loop", "loop", false, s_table_loop },
	{ "a next beyond an indirect table", "beyond", false, s_table_next },
	{ "a chain of more than 4 GiB", "4 GiB", false, s_4g },
	{ "packed: a chain longer than the ring", "room", true, p_wrap },
	{ "packed: a chain into nothing", "none is available", true, p_gap },
	{ "packed: a buffer in ROM", "ROM", true, p_rom },
	{ "packed: a buffer at the end", "not in RAM", true, p_far },
	{ "packed: a buffer in registers", "not in RAM", true, p_own_bar },
	{ "packed: write before read", "follows", true, p_order },
	{ "packed: indirect within indirect", "within", true, p_inner },
	{ "packed: indirect within a chain", "within a chain", true, p_late_indirect },
	{ "packed: indirect that goes on", "within a chain", true, p_indirect_next },
	{ "packed: an indirect table of 31 bytes", "length", true, p_table_len },
};

static void test_malformed(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(bads); i++) {
		struct drv d;
		struct echo *dev = rig(&d, 2, 8);
		const struct bad *b = &bads[i];

		assert_true(drv_start(&d, ALL | (b->packed ? VIRTIO_F_RING_PACKED : 0)));
		b->make(&d, &d.q[0]);
		drv_kick(&d, 0);
		drv_pump(&d);
		if (!(drv_status(&d) & VIRTIO_NEEDS_RESET) || !dev->v.queue[0].why ||
		    !strstr(dev->v.queue[0].why, b->why) || dev->chains || d.config_interrupts != 1 ||
		    dev->v.queue[0].inflight)
			fail_msg("%s: status %#x, why: %s, %u chains, %u interrupts", b->what,
				 drv_status(&d), dev->v.queue[0].why, dev->chains, d.config_interrupts);
		/* The other queue stands still too, until a reset: then all is well again. */
		assert_true(drv_add(&d.q[1], &(struct drv_seg){ 0x1000, 4 }, 1, NULL, 0) >= 0);
		drv_kick(&d, 1);
		drv_pump(&d);
		assert_int_equal(dev->chains, 0);
		assert_true(drv_start(&d, ALL));
		assert_true(drv_add(&d.q[0], &(struct drv_seg){ 0x1000, 4 }, 1, NULL, 0) >= 0);
		drv_kick(&d, 0);
		drv_pump(&d);
		assert_int_equal(dev->chains, 1);
		drv_end(&d);
	}
}

static void test_not_negotiated(void **state)
{
	struct drv d;
	struct echo *dev = rig(&d, 1, 8);

	assert_true(drv_start(&d, 0));
	indirect_to(&d.q[0], table(&d, 1), 16, 0);
	drv_kick(&d, 0);
	drv_pump(&d);
	assert_true(drv_status(&d) & VIRTIO_NEEDS_RESET);
	assert_non_null(strstr(dev->v.queue[0].why, "not negotiated"));
	drv_end(&d);
}

/* Places that a queue cannot have. */
static void test_bad_areas(void **state)
{
	static const struct { u64 desc, driver, device; u16 size; bool packed; } t[] = {
		{ 0x1008, 0x2000, 0x3000, 8, false },		/* not aligned */
		{ 0x1000, 0x2001, 0x3000, 8, false },
		{ 0x1000, 0x2000, 0x3002, 8, false },
		{ 0x1000, 0x2000, 0x3000, 6, false },		/* not a power of two */
		{ 16 * MiB - 64, 0x2000, 0x3000, 8, false },	/* over the end of RAM */
		{ 0x1000, 16 * MiB - 16, 0x3000, 8, false },
		{ 0x1000, 0x2000, 16 * MiB - 64, 8, false },
		{ 0x1000, 0x2000, ROM, 8, false },		/* the device writes there */
		{ 0x1000, DRV_BAR, 0x3000, 8, false },
		{ UINT64_MAX - 15, 0x2000, 0x3000, 8, false },
		{ 0x1000, UINT64_MAX - 1, 0x3000, 8, false },
		{ ROM, 0x2000, 0x3000, 8, true },
		{ 0x1000, 0x2002, 0x3000, 8, true },
		{ 0x1000, 0x2000, 0x3001, 8, true },
		{ 0x1000, 0x2000, ROM, 8, true },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		struct drv d;
		struct echo *dev = rig(&d, 1, 8);

		drv_map(&d, true);
		assert_true(drv_negotiate(&d, ALL | (t[i].packed ? VIRTIO_F_RING_PACKED : 0)));
		d.q[0] = (struct drvq){ .d = &d, .desc = t[i].desc, .driver = t[i].driver,
					.device = t[i].device, .size = t[i].size };
		drv_queue_on(&d, 0);
		drv_ok(&d);
		drv_kick(&d, 0);
		drv_pump(&d);
		if (!(drv_status(&d) & VIRTIO_NEEDS_RESET) || dev->chains)
			fail_msg("areas %u are taken", i);
		drv_end(&d);
	}
}

static void test_zero_length(void **state)
{
	struct drv d;
	struct echo *dev = rig(&d, 1, 8);
	u32 len;

	assert_true(drv_start(&d, 0));
	assert_true(drv_add(&d.q[0], (struct drv_seg[]){ { 0x1000, 0 }, { 0x1000, 4 } }, 2,
			    (struct drv_seg[]){ { UINT64_MAX, 0 }, { 0x2000, 8 } }, 2) >= 0);
	drv_kick(&d, 0);
	drv_pump(&d);
	assert_int_equal(dev->chains, 1);
	assert_true(drv_used(&d.q[0], &len) >= 0);
	assert_int_equal(len, 4);
	drv_end(&d);
}

/* --- state --- */

static void test_state(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		struct buf s = { 0 };
		struct drv d;
		struct echo *dev = rig(&d, 2, 8);
		struct err e = { 0 };
		u32 len;

		assert_true(drv_start(&d, ALL | (packed ? VIRTIO_F_RING_PACKED : 0)));
		for (unsigned i = 0; i < 5; i++) {
			assert_true(drv_add(&d.q[0], &(struct drv_seg){ 0x1000, 4 }, 1, NULL, 0) >= 0);
			drv_kick(&d, 0);
			drv_pump(&d);
			assert_true(drv_used(&d.q[0], &len) >= 0);
		}
		/* A buffer is there, its kick too, and nobody has looked when the machine is saved. */
		assert_true(drv_add(&d.q[0], &(struct drv_seg){ 0x1000, 4 }, 1, NULL, 0) >= 0);
		drv_kick(&d, 0);
		fields_save(virtio_state, &dev->v, &s);
		drv_pump(&d);
		assert_true(drv_used(&d.q[0], &len) >= 0);	/* time goes on in the old one */
		drv_put16(&d, d.q[0].device + 2, 5);		/* and its memory is as before */

		virtio_reset(&dev->v);
		assert_int_equal(fields_check(virtio_state, 1, &dev->v, s.p, s.len, "echo", &e), 0);
		assert_int_equal(fields_load(virtio_state, &dev->v, s.p, s.len, &e), 0);
		virtio_set_dma(&dev->v, true);
		if (!packed) {
			assert_int_equal(virtio_post_load(&dev->v, &e), 0);
			dev->chains = 0;
			drv_pump(&d);
			assert_int_equal(dev->chains, 1);
		}
		/* What cannot be is refused. */
		dev->v.queue[0].next_used++;
		assert_int_equal(virtio_post_load(&dev->v, &e), -EINVAL);
		dev->v.queue[0].next_used--;
		dev->v.queue[0].next_avail = dev->v.queue[0].next_used = 8;
		if (packed)
			assert_int_equal(virtio_post_load(&dev->v, &e), -EINVAL);
		dev->v.queue[0].next_avail = dev->v.queue[0].next_used = 5;
		dev->v.queue[0].size = 16;
		assert_int_equal(virtio_post_load(&dev->v, &e), -EINVAL);
		dev->v.queue[0].size = 8;
		dev->v.queue[0].desc_gpa = 16 * MiB;
		assert_int_equal(virtio_post_load(&dev->v, &e), -EINVAL);
		dev->v.queue[0].desc_gpa = d.q[0].desc;
		dev->v.queue[0].packed = !packed;
		assert_int_equal(virtio_post_load(&dev->v, &e), -EINVAL);
		dev->v.queue[0].packed = packed;
		assert_int_equal(virtio_post_load(&dev->v, &e), 0);
		dev->v.features |= BIT(60);
		assert_int_equal(virtio_post_load(&dev->v, &e), -EINVAL);
		dev->v.features &= ~BIT(60);
		dev->v.status = VIRTIO_DRIVER_OK;
		assert_int_equal(virtio_post_load(&dev->v, &e), -EINVAL);
		buf_free(&s);
		drv_end(&d);
	}
}

/* --- the transport --- */

static void test_registers(void **state)
{
	struct drv d;
	struct echo *dev = rig(&d, 2, 16);

	drv_map(&d, false);
	assert_int_equal(d.nqueues, 2);
	assert_int_equal(pci_config_read(d.bus, DRV_SLOT, PCI_VENDOR, 4), (0x1040 + 63) << 16 | 0x1af4);
	assert_int_equal(pci_config_read(d.bus, DRV_SLOT, PCI_REVISION, 1), 1);
	assert_int_equal(drv_offered(&d), ALL | VIRTIO_F_RING_PACKED | FEATURE_X);
	drv_write(&d, DRV_DFSELECT, 2, 4);
	assert_int_equal(drv_read(&d, DRV_DF, 4), 0);

	/* 3.1.1: no FEATURES_OK for what was not offered, without VERSION_1, or what the device hates. */
	assert_false(drv_negotiate(&d, ALL | BIT(50)));
	assert_false(drv_negotiate(&d, 0));
	dev->refuse = true;
	assert_false(drv_negotiate(&d, ALL));
	drv_ok(&d);
	assert_int_equal(drv_status(&d) & VIRTIO_DRIVER_OK, 0);
	assert_int_equal(dev->starts, 0);
	dev->refuse = false;
	assert_true(drv_negotiate(&d, ALL));
	drv_accept(&d, ALL | FEATURE_X);		/* too late */
	assert_int_equal(dev->v.features, ALL);

	drv_write(&d, DRV_QSELECT, 2, 2);		/* there is none */
	assert_int_equal(drv_read(&d, DRV_QSIZE, 2), 0);
	drv_write(&d, DRV_QENABLE, 1, 2);
	drv_write(&d, DRV_QDESC, 0x1000, 8);
	assert_int_equal(drv_read(&d, DRV_QDESC, 8), 0);
	drv_write(&d, DRV_QSELECT, 1, 2);
	assert_int_equal(drv_read(&d, DRV_QSIZE, 2), 16);
	drv_write(&d, DRV_QSIZE, 32, 2);		/* more than offered */
	assert_int_equal(drv_read(&d, DRV_QSIZE, 2), 16);
	drv_write(&d, DRV_QSIZE, 0, 2);
	assert_int_equal(drv_read(&d, DRV_QSIZE, 2), 16);
	assert_int_equal(drv_read(&d, DRV_QNOTIFY_OFF, 2), 1);
	drv_write(&d, DRV_QVECTOR, 77, 2);
	assert_int_equal(drv_read(&d, DRV_QVECTOR, 2), 0xffff);
	drv_write(&d, DRV_QVECTOR, 2, 2);
	assert_int_equal(drv_read(&d, DRV_QVECTOR, 2), 2);
	drv_write(&d, DRV_QDESC + 4, 1, 4);		/* by halves */
	drv_write(&d, DRV_QDESC, 0x5000, 4);
	assert_int_equal(drv_read(&d, DRV_QDESC, 8), 0x100005000);
	drv_write(&d, DRV_QDESC, 0xff, 1);		/* not by bytes */
	assert_int_equal(drv_read(&d, DRV_QDESC, 8), 0x100005000);

	drv_write(&d, DRV_DEVICE + 8, 0x11223344, 4);
	assert_int_equal(drv_read(&d, DRV_DEVICE + 10, 2), 0x1122);
	assert_int_equal(drv_read(&d, DRV_DEVICE + 12, 4), 0);
	drv_write(&d, DRV_DEVICE + 11, UINT32_MAX, 2);	/* over the end */
	assert_int_equal(drv_read(&d, DRV_DEVICE + 8, 4), 0x11223344);

	drv_write(&d, DRV_STATUS, VIRTIO_NEEDS_RESET | 0x30, 1);	/* not the driver's to set */
	assert_int_equal(drv_status(&d), 0xb);
	drv_end(&d);
}

static void test_intx(void **state)
{
	struct drv d;
	struct echo *dev = rig(&d, 1, 8);
	struct probe *pin = &d.pin[1];	/* INTA of slot 1 */
	u8 gen;

	drv_map(&d, false);
	assert_true(drv_negotiate(&d, ALL));
	drv_queue_init(&d, 0, 8);
	drv_queue_on(&d, 0);
	drv_ok(&d);
	assert_int_equal(pin->level, 0);
	assert_true(drv_add(&d.q[0], &(struct drv_seg){ 0x1000, 4 }, 1, NULL, 0) >= 0);
	drv_kick(&d, 0);
	drv_pump(&d);
	assert_int_equal(pin->level, 1);
	assert_int_equal(drv_read(&d, DRV_ISR, 1), 1);
	assert_int_equal(pin->level, 0);
	assert_int_equal(drv_read(&d, DRV_ISR, 1), 0);
	gen = (u8)drv_read(&d, DRV_GENERATION, 1);
	virtio_config_changed(&dev->v);
	assert_int_equal(pin->level, 1);
	assert_int_equal(drv_read(&d, DRV_GENERATION, 1), (u8)(gen + 1));
	assert_int_equal(drv_read(&d, DRV_ISR, 1), 2);
	assert_int_equal(pin->level, 0);
	drv_end(&d);
}

/* Without the bus master bit the device reaches no memory; with it, it goes on. */
static void test_bus_master(void **state)
{
	struct drv d;
	struct echo *dev = rig(&d, 1, 8);
	u32 len;

	assert_true(drv_start(&d, ALL));
	drv_config(&d, PCI_COMMAND, PCI_CMD_MEM, 2);
	assert_true(drv_add(&d.q[0], &(struct drv_seg){ 0x1000, 4 }, 1, NULL, 0) >= 0);
	drv_kick(&d, 0);
	drv_pump(&d);
	assert_int_equal(dev->chains, 0);
	drv_config(&d, PCI_COMMAND, PCI_CMD_MEM | PCI_CMD_MASTER, 2);
	drv_pump(&d);
	assert_int_equal(dev->chains, 1);
	assert_true(drv_used(&d.q[0], &len) >= 0);
	drv_end(&d);
}

/* 4.1.4.9: the same registers through configuration space. */
static void test_window(void **state)
{
	struct drv d;
	struct echo *dev = rig(&d, 1, 8);
	u8 c, types = 0;

	drv_map(&d, false);
	for (c = (u8)pci_config_read(d.bus, DRV_SLOT, PCI_CAP_PTR, 1); c;
	     c = (u8)pci_config_read(d.bus, DRV_SLOT, c + 1u, 1)) {
		u8 type = (u8)pci_config_read(d.bus, DRV_SLOT, c + 3u, 1);

		if (pci_config_read(d.bus, DRV_SLOT, c, 1) != PCI_CAP_VENDOR)
			continue;
		types |= (u8)(1 << type);
		if (type == 5)
			break;
		assert_int_equal(pci_config_read(d.bus, DRV_SLOT, c + 4u, 1), 4);
		assert_int_equal(pci_config_read(d.bus, DRV_SLOT, c + 8u, 4),
				 type == 1 ? 0 : type == 2 ? 0x3000 : type == 3 ? 0x1000 : 0x2000);
		drv_config(&d, c + 8u, 0x1234, 4);	/* read-only */
		assert_int_not_equal(pci_config_read(d.bus, DRV_SLOT, c + 8u, 4), 0x1234);
	}
	assert_int_equal(types, 0x3e);
	memcpy(dev->config, "config space", 12);
	drv_config(&d, c + 4u, 4, 1);
	drv_config(&d, c + 8u, DRV_DEVICE + 4, 4);
	drv_config(&d, c + 12u, 4, 4);
	assert_int_equal(pci_config_read(d.bus, DRV_SLOT, c + 16u, 4), get_le32("ig s"));
	drv_config(&d, c + 16u, get_le32("IG S"), 4);
	assert_memory_equal(dev->config, "confIG Space", 12);
	drv_config(&d, c + 12u, 1, 4);
	drv_config(&d, c + 8u, DRV_STATUS, 4);
	drv_config(&d, c + 16u, 0xffffff03, 4);
	assert_int_equal(drv_status(&d), 3);
	/* Nowhere, not aligned, too long: nothing happens. */
	drv_config(&d, c + 8u, 0x4000, 4);
	drv_config(&d, c + 16u, 0, 4);
	drv_config(&d, c + 8u, UINT32_MAX, 4);
	drv_config(&d, c + 16u, 0, 4);
	drv_config(&d, c + 8u, DRV_STATUS, 4);
	drv_config(&d, c + 12u, 3, 4);
	drv_config(&d, c + 16u, 0, 4);
	drv_config(&d, c + 12u, 1, 4);
	drv_config(&d, c + 4u, 1, 1);
	drv_config(&d, c + 16u, 0, 4);
	assert_int_equal(drv_status(&d), 3);
	drv_end(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_laps),
		cmocka_unit_test(test_long_indirect),
		cmocka_unit_test(test_out_of_order),
		cmocka_unit_test(test_reset_with_chains_out),
		cmocka_unit_test(test_paused),
		cmocka_unit_test(test_queue_reset),
		cmocka_unit_test(test_event_idx),
		cmocka_unit_test(test_no_interrupt),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_not_negotiated),
		cmocka_unit_test(test_bad_areas),
		cmocka_unit_test(test_zero_length),
		cmocka_unit_test(test_state),
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_intx),
		cmocka_unit_test(test_bus_master),
		cmocka_unit_test(test_window),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
