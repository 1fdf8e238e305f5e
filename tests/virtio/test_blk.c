/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk device as a driver sees it: every kind of request, wrong ones, neighbours, the write cache,
 * errors of the back end, a reset with requests in flight, another size. */
#include "unit.h"
#include "driver.h"
#include "block/mem.h"
#include "virtio/blk.h"

#define SIZE (1 * MiB)
enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };
#define F_RO BIT(5)
#define F_FLUSH BIT(9)
#define F_CONFIG_WCE BIT(11)
#define F_MQ BIT(12)
#define ALL ~0ull

struct rig { struct drv d; struct vblk *blk; struct mem *mem; u64 head, data, status; };

static void rig_new(struct rig *r, u64 features, bool ro, unsigned queues)
{
	struct err e = { 0 };

	drv_machine(&r->d);
	r->mem = mem_new(r->d.m->loop, SIZE);
	r->mem->b.info.readonly = ro;
	machine_lock(r->d.m);
	assert_int_equal(vblk_new(&r->blk, r->d.m, &r->mem->b, "SERIAL-0123456789abcdef", queues, &e), 0);
	assert_int_equal(machine_add_device(r->d.m, &vblk_class, r->blk, "disk", &e), 0);
	drv_plug(&r->d, vblk_virtio(r->blk));
	machine_unlock(r->d.m);
	assert_true(drv_start(&r->d, features));
	r->head = drv_alloc(&r->d, 64);
	r->data = drv_alloc(&r->d, 64 * 1024);
	r->status = drv_alloc(&r->d, 64);
}

static int add(struct rig *r, unsigned q, u32 type, u64 sector, u64 data, u32 len, u64 head, u64 status)
{
	bool out = type == OUT || type >= DISCARD;
	struct drv_seg o[3] = { { head, 16 } }, i[3];
	unsigned no = 1, ni = 0;
	u8 h[16] = { 0 };

	put_le32(h, type);
	put_le64(h + 8, sector);
	drv_put(&r->d, head, h, 16);
	drv_put(&r->d, status, "\xff", 1);
	if (len && out && len > 700) {		/* in pieces of odd lengths */
		o[no++] = (struct drv_seg){ data, 700 };
		o[no++] = (struct drv_seg){ data + 700, len - 700 };
	} else if (len && out) {
		o[no++] = (struct drv_seg){ data, len };
	} else if (len) {
		i[ni++] = (struct drv_seg){ data, len };
	}
	i[ni++] = (struct drv_seg){ status, 1 };
	return drv_add(&r->d.q[q], o, no, i, ni);
}

/* One request from start to end: its status. */
static int ask(struct rig *r, u32 type, u64 sector, u32 len)
{
	u8 s;
	u32 written;

	assert_true(add(r, 0, type, sector, r->data, len, r->head, r->status) >= 0);
	drv_kick(&r->d, 0);
	drv_pump(&r->d);
	assert_true(drv_used(&r->d.q[0], &written) >= 0);
	assert_true(written >= 1);
	drv_get(&r->d, r->status, &s, 1);
	return s;
}

static u64 config(struct rig *r, unsigned off, unsigned len)
{
	return drv_read(&r->d, DRV_DEVICE + off, len);
}

static void requests(void **st)
{
	static const u64 rings[] = { 0, VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX, ALL };

	for (unsigned k = 0; k < 3; k++) {
		u64 f = rings[k] | (ALL & ~(VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |
					    VIRTIO_F_RING_PACKED));
		struct rig r;
		u8 buf[2048], range[16] = { 0 };

		rig_new(&r, f, false, 1);
		assert_int_equal(config(&r, 0, 8), SIZE / 512);
		assert_int_equal(config(&r, 20, 4), 512);
		assert_int_equal(config(&r, 24, 1), 3);
		for (unsigned i = 0; i < sizeof(buf); i++)
			buf[i] = (u8)(i * 7);
		drv_put(&r.d, r.data, buf, sizeof(buf));
		assert_int_equal(ask(&r, OUT, 8, 2048), 0);
		assert_memory_equal(r.mem->data + 4096, buf, sizeof(buf));
		assert_false(r.mem->fua);
		memset(buf, 0, sizeof(buf));
		drv_put(&r.d, r.data, buf, sizeof(buf));
		assert_int_equal(ask(&r, IN, 8, 2048), 0);
		drv_get(&r.d, r.data, buf, sizeof(buf));
		assert_memory_equal(r.mem->data + 4096, buf, sizeof(buf));
		assert_int_equal(ask(&r, FLUSH, 0, 0), 0);
		assert_int_equal(r.mem->n[BLOCK_FLUSH], 1);
		assert_int_equal(ask(&r, GET_ID, 0, 20), 0);
		drv_get(&r.d, r.data, buf, 20);
		assert_memory_equal(buf, "SERIAL-0123456789abc", 20);
		/* A range: discarded, zeroed; flags that do not belong there. */
		put_le64(range, 8);
		put_le32(range + 8, 2);
		drv_put(&r.d, r.data, range, 16);
		assert_int_equal(ask(&r, DISCARD, 0, 16), 0);
		assert_int_equal(r.mem->data[4096 + 1], 0);
		assert_int_not_equal(r.mem->data[4096 + 1025], 0);
		put_le64(range, 10);
		put_le32(range + 12, 1);
		drv_put(&r.d, r.data, range, 16);
		assert_int_equal(ask(&r, DISCARD, 0, 16), 2);
		assert_int_equal(ask(&r, ZEROES, 0, 16), 0);
		assert_int_equal(r.mem->data[4096 + 1025], 0);
		put_le32(range + 12, 2);
		drv_put(&r.d, r.data, range, 16);
		assert_int_equal(ask(&r, ZEROES, 0, 16), 2);
		put_le32(range + 12, 0);
		put_le32(range + 8, UINT32_MAX);
		drv_put(&r.d, r.data, range, 16);
		assert_int_equal(ask(&r, ZEROES, 0, 16), 1);
		assert_int_equal(ask(&r, ZEROES, 0, 15), 1);
		assert_int_equal(ask(&r, ZEROES, 0, 32), 1);
		/* Wrong ones. */
		assert_int_equal(ask(&r, 77, 0, 512), 2);
		assert_int_equal(ask(&r, IN, SIZE / 512, 512), 1);
		assert_int_equal(ask(&r, IN, UINT64_MAX, 512), 1);
		assert_int_equal(ask(&r, IN, SIZE / 512 - 1, 1024), 1);
		assert_int_equal(ask(&r, IN, 0, 511), 1);
		assert_int_equal(ask(&r, IN, 0, 0), 1);
		assert_int_equal(ask(&r, OUT, 0, 0), 1);
		assert_int_equal(ask(&r, IN, SIZE / 512 - 1, 512), 0);
		r.mem->fail = -ENOSPC;
		assert_int_equal(ask(&r, OUT, 0, 512), 1);
		r.mem->fail = 0;
		assert_int_equal(drv_status(&r.d) & VIRTIO_NEEDS_RESET, 0);
		/* No header: the device wants a reset, and works after it. */
		drv_add(&r.d.q[0], &(struct drv_seg){ r.head, 15 }, 1,
			&(struct drv_seg){ r.status, 1 }, 1);
		drv_kick(&r.d, 0);
		drv_pump(&r.d);
		assert_true(drv_status(&r.d) & VIRTIO_NEEDS_RESET);
		assert_true(drv_start(&r.d, f));
		assert_int_equal(ask(&r, IN, 0, 512), 0);
		drv_end(&r.d);
	}
}

/* Neighbours become one request; each is answered. */
static void neighbours(void **st)
{
	struct rig r;

	rig_new(&r, ALL, false, 1);
	for (unsigned i = 0; i < 32; i++) {
		u64 data = drv_alloc(&r.d, 1024), head = drv_alloc(&r.d, 16);
		u8 b[1024];

		memset(b, (int)i + 1, sizeof(b));
		drv_put(&r.d, data, b, sizeof(b));
		/* two rows of neighbours, and one in between that is none */
		add(&r, 0, OUT, i < 16 ? i * 2 : 100 + i * 2, data, 1024, head, r.status + i);
	}
	drv_kick(&r.d, 0);
	drv_pump(&r.d);
	assert_int_equal(r.mem->n[BLOCK_WRITE], 2);
	for (unsigned i = 0; i < 32; i++) {
		assert_true(drv_used(&r.d.q[0], NULL) >= 0);
		assert_int_equal(r.mem->data[(i < 16 ? i * 2 : 100 + i * 2) * 512 + 1000], i + 1);
	}
	assert_int_equal(drv_used(&r.d.q[0], NULL), -1);
	drv_end(&r.d);
}

static void cache(void **st)
{
	struct rig r;

	/* Who cannot flush writes through. */
	rig_new(&r, ALL & ~F_FLUSH, false, 1);
	assert_int_equal(ask(&r, OUT, 0, 512), 0);
	assert_true(r.mem->fua);
	drv_end(&r.d);
	rig_new(&r, ALL, false, 1);
	assert_int_equal(config(&r, 32, 1), 1);
	assert_int_equal(ask(&r, OUT, 0, 512), 0);
	assert_false(r.mem->fua);
	drv_write(&r.d, DRV_DEVICE + 32, 0, 1);
	assert_int_equal(config(&r, 32, 1), 0);
	assert_int_equal(ask(&r, OUT, 0, 512), 0);
	assert_true(r.mem->fua);
	drv_end(&r.d);
	rig_new(&r, ALL & ~F_CONFIG_WCE, false, 1);
	drv_write(&r.d, DRV_DEVICE + 32, 0, 1);
	assert_int_equal(config(&r, 32, 1), 1);
	drv_end(&r.d);
}

static void readonly(void **st)
{
	struct rig r;
	u8 range[16] = { 0 };

	rig_new(&r, ALL, true, 1);
	assert_true(drv_offered(&r.d) & F_RO);
	assert_int_equal(ask(&r, OUT, 0, 512), 1);
	put_le32(range + 8, 2);
	drv_put(&r.d, r.data, range, 16);
	assert_int_not_equal(ask(&r, ZEROES, 0, 16), 0);
	assert_int_equal(ask(&r, IN, 0, 512), 0);
	assert_int_equal(r.mem->n[BLOCK_WRITE] + r.mem->n[BLOCK_WRITE_ZEROES], 0);
	drv_end(&r.d);
}

static void queues(void **st)
{
	struct rig r;

	rig_new(&r, ALL, false, 4);
	assert_true(drv_offered(&r.d) & F_MQ);
	assert_int_equal(config(&r, 34, 2), 4);
	for (unsigned q = 0; q < 4; q++) {
		add(&r, q, IN, q, r.data, 512, r.head, r.status);
		drv_kick(&r.d, q);
		drv_pump(&r.d);
		assert_true(drv_used(&r.d.q[q], NULL) >= 0);
		assert_int_equal(r.d.q[q].interrupts, 1);
	}
	drv_end(&r.d);
}

/* A reset waits for the back end, and nothing is written into guest memory after it. */
/* Requests of many bytes wait for each other: else whoever resets the device waits for terabytes. */
static void large(void **st)
{
	const u32 len = 1 * MiB;
	struct rig r;
	unsigned n = 0;
	struct ring *q;

	rig_new(&r, ALL, false, 1);
	q = &vblk_virtio(r.blk)->queue[0];
	r.mem->hold = true;
	while (n < 100) {
		assert_true(add(&r, 0, IN, 0, 8 * MiB, len, r.head, r.status) >= 0);
		n++;
	}
	drv_kick(&r.d, 0);
	drv_pump(&r.d);
	assert_int_equal(q->inflight, 64);
	for (unsigned i = 0; i < 4; i++) {
		machine_lock(r.d.m);
		block_drain(&r.mem->b);
		machine_unlock(r.d.m);
		drv_pump(&r.d);
	}
	while (drv_used(&r.d.q[0], NULL) >= 0)
		n--;
	assert_int_equal(n, 0);
	drv_end(&r.d);
}

static void reset(void **st)
{
	struct rig r;
	u8 was[512], is[512];

	rig_new(&r, ALL, false, 1);
	memset(r.mem->data, 0x77, SIZE);
	r.mem->hold = true;
	add(&r, 0, IN, 0, r.data, 512, r.head, r.status);
	drv_kick(&r.d, 0);
	drv_pump(&r.d);
	assert_non_null(r.mem->held);
	drv_write(&r.d, DRV_STATUS, 0, 1);
	drv_pump(&r.d);
	assert_int_equal(drv_status(&r.d), 0);
	assert_null(r.mem->held);
	memset(was, 0x11, sizeof(was));
	drv_put(&r.d, r.data, was, 512);
	drv_pump(&r.d);
	drv_get(&r.d, r.data, is, 512);
	assert_memory_equal(is, was, 512);
	r.mem->hold = false;
	assert_true(drv_start(&r.d, ALL));
	assert_int_equal(ask(&r, IN, 0, 512), 0);

	/* quiesce: what is in flight ends, and the driver finds it. */
	r.mem->hold = true;
	add(&r, 0, IN, 0, r.data, 512, r.head, r.status);
	drv_kick(&r.d, 0);
	drv_pump(&r.d);
	machine_lock(r.d.m);
	vblk_class.quiesce(r.blk);
	machine_unlock(r.d.m);
	assert_true(drv_used(&r.d.q[0], NULL) >= 0);
	drv_end(&r.d);
}

/* What needs no waiting is there when the notification has been written; what does is not passed by. */
static void on_the_spot(void **st)
{
	struct rig r;
	u8 s, byte;

	rig_new(&r, ALL, false, 1);
	memset(r.mem->data, 0x5a, SIZE);
	r.mem->now = true;
	assert_true(add(&r, 0, IN, 3, r.data, 512, r.head, r.status) >= 0);
	drv_kick(&r.d, 0);
	assert_true(drv_used(&r.d.q[0], NULL) >= 0);
	drv_get(&r.d, r.status, &s, 1);
	drv_get(&r.d, r.data + 511, &byte, 1);
	assert_int_equal(s, 0);
	assert_int_equal(byte, 0x5a);

	/* A write and the read behind it: both wait for the loop, which takes them in turn. */
	assert_true(add(&r, 0, OUT, 0, r.data, 512, r.head, r.status) >= 0);
	assert_true(add(&r, 0, IN, 0, r.data + 4096, 512, r.head + 16, r.status + 1) >= 0);
	drv_kick(&r.d, 0);
	assert_true(drv_used(&r.d.q[0], NULL) < 0);
	drv_pump(&r.d);
	assert_true(drv_used(&r.d.q[0], NULL) >= 0);
	assert_true(drv_used(&r.d.q[0], NULL) >= 0);

	/* An error is told by the loop, too; beyond the end is one. */
	r.mem->fail = -EIO;
	assert_int_equal(ask(&r, IN, 0, 512), 1);
	r.mem->fail = 0;
	assert_int_equal(ask(&r, IN, SIZE / 512, 512), 1);
	for (unsigned i = 0; i < 2000; i++)
		assert_int_equal(ask(&r, IN, 0, 512), 0);
	drv_end(&r.d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests), cmocka_unit_test(neighbours), cmocka_unit_test(cache),
		cmocka_unit_test(readonly), cmocka_unit_test(queues), cmocka_unit_test(large),
		cmocka_unit_test(reset), cmocka_unit_test(on_the_spot),
	};

	return cmocka_run_group_tests_name("virtio-blk", tests, NULL, NULL);
}
