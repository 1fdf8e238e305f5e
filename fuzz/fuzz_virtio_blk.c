/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_virtio_blk.c - the disk device under a driver that means harm: registers, rings and requests at
 * random, sound ones among them so that it gets far, over a disk in memory whose requests end early,
 * late or with errors. The address sanitizer and the BUG()s watch; at the end the device must still
 * work after a reset.
 * See fuzz.h for how long. */
#define DRV_LOST() ((void)0)
#include "../tests/virtio/driver.h"
#include "../tests/block/mem.h"

#include "base/trace.h"
#include "fuzz.h"
#include "virtio/blk.h"

#define DISK (256 * KiB)

static u64 state;

static u64 rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static u64 odd(void)
{
	static const u64 v[] = { 0, 1, 15, 16, 17, 511, 512, 513, 4096, 0xffff, 0x10000, 0xffffffff,
				 DISK / 512, DISK / 512 - 1, UINT64_MAX, 0xfee00000, DRV_BAR, DRV_MSIX };

	return rnd() % 3 ? rnd() >> rnd() % 64 : v[rnd() % ARRAY_SIZE(v)];
}

/* A request that could be a real one, most of the time. */
static void request(struct drv *d, unsigned q)
{
	static const u32 types[] = { 0, 1, 4, 8, 11, 13, 0, 1 };
	struct drv_seg out[6], in[6];
	unsigned no = 1, ni = 0, n = (unsigned)(rnd() % 4);
	u32 type = rnd() % 16 ? types[rnd() % ARRAY_SIZE(types)] : (u32)odd();
	u64 buf = DRV_HEAP + rnd() % 0x80000;
	u8 h[32];

	put_le32(h, type);
	put_le32(h + 4, 0);
	put_le64(h + 8, rnd() % 8 ? rnd() % (DISK / 512) : odd());
	put_le64(h + 16, rnd() % 8 ? rnd() % (DISK / 512) : odd());
	put_le32(h + 24, rnd() % 8 ? (u32)(rnd() % 8) : (u32)odd());
	put_le32(h + 28, rnd() % 8 ? (u32)(rnd() & 1) : (u32)odd());
	drv_put(d, buf, h, sizeof(h));
	out[0] = (struct drv_seg){ buf, rnd() % 32 ? 16 : (u32)(rnd() % 40) };
	for (unsigned i = 0; i < n; i++) {
		struct drv_seg s = { DRV_HEAP + rnd() % 0x80000, rnd() % 8 ? 512 * (u32)(rnd() % 9) :
				     (u32)odd() };

		if (rnd() % 64 == 0)
			s.gpa = odd();
		if (!s.len)
			s.len = 512;
		if (type == 1)
			out[no++] = s;
		else if (type != 11 && type != 13)
			in[ni++] = s;
	}
	if (type == 11 || type == 13)
		out[no++] = (struct drv_seg){ buf + 16, rnd() % 16 ? 16 : (u32)odd() | 1 };
	if (rnd() % 64)
		in[ni++] = (struct drv_seg){ DRV_HEAP + rnd() % 0x80000, 1 };
	if (d->heap > 0x700000)		/* indirect tables go round */
		d->heap = 0x600000;
	drv_add(&d->q[q], out, no, in, ni);
}

static void scribble(struct drv *d)
{
	struct drvq *k = &d->q[rnd() % d->nqueues];
	u64 base = rnd() % 3 == 0 ? k->desc : rnd() & 1 ? k->driver : k->device;
	u64 v = odd();

	drv_put(d, base + rnd() % 256, &v, 1 + rnd() % 8);
}

__attribute__((noinline)) static void one_round(u64 seed)
{
	struct err e = { 0 };
	struct vblk *blk;
	struct mem *mem;
	struct drv d;
	u64 head, status;
	u8 s = 0xff, h[16] = { 0 };

	state = seed * 0x9e3779b97f4a7c15ull | 1;
	drv_machine(&d);
	mem = mem_new(d.m->loop, DISK);
	mem->b.info.readonly = rnd() % 8 == 0;
	machine_lock(d.m);
	if (vblk_new(&blk, d.m, &mem->b, "fuzz", 1 + (unsigned)(rnd() % 4), &e) ||
	    machine_add_device(d.m, &vblk_class, blk, "disk", &e))
		abort();
	drv_plug(&d, vblk_virtio(blk));
	machine_unlock(d.m);
	drv_start_sized(&d, rnd() % 4 ? ~0ull : rnd(), 16);
	for (unsigned i = 0; i < 400; i++) {
		unsigned what = (unsigned)(rnd() % 64), q = (unsigned)(rnd() % d.nqueues);

		mem->hold = rnd() % 4 == 0;
		mem->now = rnd() & 1;
		mem->fail = rnd() % 16 ? 0 : rnd() & 1 ? -EIO : -ENOSPC;
		if (!d.q[q].size) {		/* features that do not go together */
			drv_start_sized(&d, ~0ull, 16);
		} else if (what < 40) {
			request(&d, q);
		} else if (what < 56) {
			drv_kick(&d, q);
			drv_pump(&d);
			while (drv_used(&d.q[q], NULL) >= 0 && rnd() % 64)
				;
		} else if (what < 58) {
			scribble(&d);
		} else if (what < 60) {
			drv_write(&d, (unsigned)(rnd() % 0x3800), odd(), 1u << rnd() % 4);
		} else if (what == 60) {
			drv_read(&d, (unsigned)(rnd() % 0x3800), 1u << rnd() % 4);
		} else if (what == 61) {
			machine_lock(d.m);
			block_poll(&mem->b, true);
			if (rnd() & 1)
				vblk_class.quiesce(blk);
			machine_unlock(d.m);
		} else if (what == 62) {
			drv_write(&d, DRV_QSELECT, q, 2);
			drv_write(&d, DRV_QRESET, 1, 2);
			drv_pump(&d);
		} else if (d.heap < 0x600000) {
			drv_start_sized(&d, rnd() % 4 ? ~0ull : rnd(), 16);
		}
	}
	/* After all that, a reset makes it whole. */
	mem->hold = false;
	mem->fail = 0;
	drv_pump(&d);
	d.heap = 0x600000;
	if (!drv_start_sized(&d, ~0ull, 16)) {
		fprintf(stderr, "fuzz_virtio_blk: it does not start any more: again with: "
			"fuzz_virtio_blk %llu 1\n", (unsigned long long)seed);
		abort();
	}
	head = drv_alloc(&d, 16);
	status = drv_alloc(&d, 1024);
	drv_put(&d, head, h, 16);
	drv_put(&d, status, &s, 1);
	drv_add(&d.q[0], &(struct drv_seg){ head, 16 }, 1,
		(struct drv_seg[]){ { status + 1, 512 }, { status, 1 } }, 2);
	drv_kick(&d, 0);
	drv_pump(&d);
	drv_get(&d, status, &s, 1);
	if (drv_used(&d.q[0], NULL) < 0) {
		fprintf(stderr, "fuzz_virtio_blk: no answer: again with: fuzz_virtio_blk %llu 1\n",
			(unsigned long long)seed);
		abort();
	}
	drv_end(&d);
}

int main(int argc, char **argv)
{
	struct fuzz f = fuzz_begin(argc, argv, "fuzz_virtio_blk");

	log_set_level((enum log_level)-1);
	for (u64 n = 0; fuzz_more(&f, n); n = 400)
		one_round(f.seed);
	return fuzz_end(&f);
}
