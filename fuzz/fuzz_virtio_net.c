/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_virtio_net.c - the network card with a driver that lies: rings, headers, control requests, frames
 * from the other side, saves and restores of mangled state, resets in between. Nothing breaks, and after a
 * reset the card works.
 * How long, and from which seed: fuzz.h. */
#include "fuzz.h"
#include "../tests/net/packets.h"
#include "../tests/virtio/netcard.h"
#include "base/trace.h"

static struct card c;
static struct pkt k;
static u64 ops;

static u64 gpa_any(u64 *s, u64 ram)
{
	switch (rnd(s) % 8) {
	case 0: return rnd(s);
	case 1: return ram - rnd(s) % 4096;
	case 2: return DRV_BAR + rnd(s) % 0x4000;	/* its own registers */
	case 3: return c.d.q[rnd(s) % c.d.nqueues].desc + rnd(s) % 4096;
	default: return DRV_HEAP + rnd(s) % (ram - DRV_HEAP);
	}
}

static void scribble(u64 *s, u64 gpa, u64 len)
{
	for (u64 i = 0; i < len; i++) {
		u8 b = (u8)rnd(s);

		ram_write(c.d.m->ram, gpa + i, &b, 1);
	}
}

/* As drv_add(), but without a word of what is in guest memory, which is scribbled on. */
static void put_buffer(struct drvq *q, const struct drv_seg *seg, unsigned nout, unsigned nin)
{
	u16 at = (u16)(q->avail * 8u % q->size);

	if (q->packed) {
		if (q->nfree >= 8)
			drv_add(q, seg, nout, seg + nout, nin);
		return;
	}
	for (unsigned i = 0; i < nout + nin; i++)
		drv_desc(&c.d, q->desc + 16u * ((at + i) % q->size), seg[i].gpa, seg[i].len,
			 (u16)((i >= nout ? 2 : 0) | (i + 1 < nout + nin ? 1 : 0)),
			 (u16)((at + i + 1) % q->size));
	drv_put16(&c.d, q->driver + 4 + 2u * (q->avail % q->size), at);
	drv_put16(&c.d, q->driver + 2, ++q->avail);
}

static void add_buffer(u64 *s, unsigned q)
{
	struct drv_seg seg[6];
	unsigned n = 1 + (unsigned)rnd(s) % 6, out = (unsigned)rnd(s) % (n + 1);
	u64 ram = ram_size(c.d.m->ram);
	bool odd = rnd(s) % 16 == 0;

	if (rnd(s) % 4)
		out = q == c.ctrl ? n - 1 : q & 1 ? n : 0;
	for (unsigned i = 0; i < n; i++) {
		seg[i].len = (u32)(rnd(s) % (rnd(s) % 4 ? 300 : 70000));
		seg[i].gpa = odd ? gpa_any(s, ram) : DRV_HEAP + 0x100000 + rnd(s) % 0x80000;
		if (odd && rnd(s) % 4 == 0)
			seg[i].len = (u32)rnd(s);
	}
	if (!odd && q & 1 && q != c.ctrl && out) {	/* a frame whose header may even be right */
		u8 h[12] = { 0 };
		size_t n1 = rnd(s) % 3000;

		pkt_make(&k, s, rnd(s) & 1, rnd(s) & 1 ? 6 : 17, n1, (u16)(rnd(s) % 2000),
			 (u8[]){ 0, 1, 4, 3, 5, 0x81 }[rnd(s) % 6]);
		h[0] = k.off.flags;
		h[1] = k.off.gso_type;
		put_le16(h + 4, k.off.gso_size);
		put_le16(h + 6, k.off.csum_start);
		put_le16(h + 8, k.off.csum_offset);
		if (rnd(s) % 3 == 0)
			h[rnd(s) % 12] = (u8)rnd(s);
		seg[0] = (struct drv_seg){ DRV_HEAP + 0x180000, 12 };
		ram_write(c.d.m->ram, seg[0].gpa, h, 12);
		if (out > 1) {
			seg[1] = (struct drv_seg){ DRV_HEAP + 0x181000, (u32)k.len };
			ram_write(c.d.m->ram, seg[1].gpa, k.p, MIN(k.len, (size_t)0x20000));
		}
	}
	if (q == c.ctrl && out) {
		u8 b[8] = { (u8)(rnd(s) % 6), (u8)(rnd(s) % 3), (u8)rnd(s), 0, 0, 0, 0, 0 };

		ram_write(c.d.m->ram, seg[0].gpa, b, 8);
	}
	if (c.d.heap < ram - 65536)
		put_buffer(&c.d.q[q], seg, out, n - out);
}

static void op(u64 *s)
{
	unsigned q = (unsigned)rnd(s) % c.d.nqueues;

	ops++;
	switch (rnd(s) % 16) {
	case 0: case 1: case 2: case 3: case 4:
		add_buffer(s, q);
		break;
	case 5: case 6: case 7:
		drv_kick(&c.d, q);
		drv_pump(&c.d);
		break;
	case 8: case 9: case 10: {
		size_t n = rnd(s) % (rnd(s) % 4 ? 2000 : 60000);

		pkt_make(&k, s, rnd(s) & 1, rnd(s) & 1 ? 6 : 17, n, (u16)(rnd(s) % 3000),
			 (u8[]){ 0, 1, 4, 3, 5 }[rnd(s) % 5]);
		if (rnd(s) & 1)
			memcpy(k.p, card_mac, 6);
		card_recv(&c, k.p, k.len, &k.off);
		break;
	}
	case 11:		/* the ring's memory changes under it */
		scribble(s, c.d.q[q].desc + rnd(s) % 4096, rnd(s) % 32);
		break;
	case 12:
		scribble(s, c.d.q[q].driver, rnd(s) % 16);
		break;
	case 13:
		drv_write(&c.d, (unsigned)rnd(s) % 0x40, rnd(s), 1u << rnd(s) % 3);
		drv_pump(&c.d);
		break;
	case 14:
		c.far.room = rnd(s) & 1 ? -1 : (int)(rnd(s) % 3);
		if (rnd(s) & 1)
			net_can_send(&c.far.n);
		net_set_link(&c.far.n, rnd(s) % 4);
		break;
	case 15:
		if (rnd(s) & 1) {
			vnet_class.quiesce(c.dev);
			vnet_class.pre_save(c.dev);
			state_blob_free(&c.dev->back_end);
			vnet_class.resumed(c.dev, rnd(s) & 1);
		}
		drv_pump(&c.d);
		break;
	}
}

/* A state of which some bytes lie: refused, or harmless. */
static void lie(u64 *s)
{
	struct err e = { 0 };

	for (unsigned i = 0; i < 4; i++) {
		switch (rnd(s) % 5) {
		case 0: c.dev->use_pairs = (u16)rnd(s); break;
		case 1: c.dev->offloads = rnd(s); break;
		case 2: c.dev->uni.n = (u8)rnd(s); break;
		case 3: c.dev->v.queue[rnd(s) % c.d.nqueues].next_used = (u16)rnd(s); break;
		case 4: c.dev->v.status = (u8)rnd(s); break;
		}
	}
	if (state_check(vnet_state, c.dev, "net0", &e) < 0 || vnet_class.post_load(c.dev, &e) < 0) {
		vnet_class.reset(c.dev);
		return;
	}
	vnet_class.resumed(c.dev, true);
	drv_pump(&c.d);
}

static void round_(u64 seed)
{
	u64 s = seed * 0x9e3779b97f4a7c15ull | 1, features;
	u8 h[12] = { 0 }, p[60] = { 0 };
	u64 buf;

	card_new(&c, 1 + (unsigned)(seed % 3));
	c.far.deaf = true;
	features = rnd(&s) & 1 ? ~0ull : ~(rnd(&s) & 0xfffffff);
	if (!drv_start(&c.d, features) && !drv_start(&c.d, ~0ull))
		abort();
	for (unsigned i = 0; i < 300; i++)
		op(&s);
	lie(&s);
	for (unsigned i = 0; i < 50; i++)
		op(&s);
	/* After a reset it works. */
	c.far.room = -1;
	c.far.deaf = false;
	net_set_link(&c.far.n, true);
	c.d.heap = DRV_HEAP;
	vnet_class.reset(c.dev);
	if (!drv_start(&c.d, ~0ull))
		abort();
	buf = drv_alloc(&c.d, 100);
	drv_put(&c.d, buf, h, 12);
	drv_put(&c.d, buf + 12, p, 60);
	drv_add(&c.d.q[1], &(struct drv_seg){ buf, 72 }, 1, NULL, 0);
	drv_kick(&c.d, 1);
	drv_pump(&c.d);
	if (c.far.nframes != 1 || drv_used(&c.d.q[1], NULL) < 0) {
		fprintf(stderr, "fuzz_virtio_net: the card is dead after a reset\n");
		abort();
	}
	card_end(&c);
}

int main(int argc, char **argv)
{
	struct fuzz f = fuzz_begin(argc, argv, "fuzz_virtio_net");
	u64 was = 0;

	log_set_level(LOG_ERROR);
	while (fuzz_more(&f, ops - was)) {
		was = ops;
		round_(f.seed);
	}
	return fuzz_end(&f);
}
