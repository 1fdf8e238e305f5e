/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ring.c - what split and packed virtqueues have in common: chains and their bytes, and the rules
 * by which a ring is safe to read although the guest writes it meanwhile.
 * After: Virtio 1.2, 2.6.
 *
 *  1. A word of the guest's is read once into a local, checked, and then used.
 *  2. Every walk is bounded by a number of ours: the ring's size, RING_CHAIN_MAX.
 *  3. A buffer is [gpa, gpa+len) within one piece of RAM, or the chain is malformed. A device's own
 *     registers are no RAM: a guest cannot aim a device at itself.
 *  4. What is available and what is in flight together never exceed the ring's size, so a guest
 *     bounds what its requests cost us by the size that we offered.
 *  5. A chain that comes back after its ring was reset is dropped: gen tells.
 *  6. While the machine is paused nothing new is taken, whoever asks: the loop goes on meanwhile, and
 *     a frame from the network or a key pressed must not change memory that is being saved. */
#include "virtio/ring_impl.h"
#include "vm/machine.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHAIN_CAP 16u		/* segments of a new chain */
#define POOL_CAP 80u		/* longer ones do not go to the pool */
#define POOL_MAX 256u

static const struct ring_layout *layout(const struct ring *r)
{
	return r->packed ? &ring_packed : &ring_split;
}

static bool usable(const struct ring *r)
{
	return r->enabled && !r->broken && !r->halted && r->desc;
}

static bool paused(const struct ring *r)
{
	return r->m && atomic_load(&r->m->status) == MACHINE_PAUSED;
}

/* --- chains --- */

static struct ring_chain *chain_take(struct ring *r)
{
	struct ring_chain *c = r->pool;

	if (c) {
		r->pool = c->next;
		r->npool--;
	} else {
		c = malloc(sizeof(*c) + CHAIN_CAP * sizeof(c->seg[0]));
		if (!c)
			return NULL;
		c->cap = CHAIN_CAP;
	}
	c->ring = r;
	c->gen = r->gen;
	c->id = 0;
	c->ndesc = 1;
	c->nread = c->nwrite = 0;
	c->read_len = c->write_len = 0;
	c->priv = NULL;
	c->next = NULL;
	return c;
}

static void chain_give(struct ring_chain *c)
{
	struct ring *r = c->ring;

	if (r->npool >= POOL_MAX || c->cap > POOL_CAP) {
		free(c);
		return;
	}
	c->next = r->pool;
	r->pool = c;
	r->npool++;
}

static int chain_grow(struct ring_chain **cp)
{
	unsigned cap = MIN((*cp)->cap * 5u, RING_CHAIN_MAX);
	struct ring_chain *c = realloc(*cp, sizeof(*c) + cap * sizeof(c->seg[0]));

	if (!c)
		return -ENOMEM;
	c->cap = (u16)cap;
	*cp = c;
	return 0;
}

int chain_add(struct ring *r, struct ring_chain **cp, u64 gpa, u32 len, bool write)
{
	struct ring_chain *c = *cp;
	unsigned n = c->nread + c->nwrite;
	u8 *hva;

	if (!write && c->nwrite)	/* 2.7.4.2 */
		return ring_malformed(r, "a buffer to be read follows one to be written");
	if (len == 0)
		return 0;
	if (n == c->cap) {
		if (n == RING_CHAIN_MAX)
			return ring_malformed(r, "a chain is too long");
		if (chain_grow(cp))
			return -ENOMEM;
		c = *cp;
	}
	hva = ram_view(r->ram, gpa, len);
	if (!hva)
		return ring_malformed(r, "a buffer is not in RAM");
	if (write && ram_find(r->ram, gpa)->readonly)
		return ring_malformed(r, "a buffer to be written is in ROM");
	c->seg[n] = (struct ring_seg){ .hva = hva, .gpa = gpa, .len = len };
	if (write) {
		c->nwrite++;
		c->write_len += len;
	} else {
		c->nread++;
		c->read_len += len;
	}
	if (c->read_len + c->write_len > UINT32_MAX)	/* 2.7.5 */
		return ring_malformed(r, "a chain has more than 4 GiB");
	return 0;
}

const u8 *chain_table(struct ring *r, u64 gpa, u32 len, unsigned *n)
{
	const u8 *p;

	if (!r->indirect)
		ring_malformed(r, "an indirect descriptor, which was not negotiated");
	else if (len == 0 || len % DESC_LEN || len / DESC_LEN > RING_CHAIN_MAX)
		ring_malformed(r, "an indirect table of a wrong length");
	else if ((p = ram_view(r->ram, gpa, len)) == NULL)
		ring_malformed(r, "an indirect table is not in RAM");
	else
		return *n = len / DESC_LEN, p;
	return NULL;
}

/* --- the ring --- */

void ring_init(struct ring *r, struct ram *ram, u16 size_max)
{
	BUG_ON(size_max == 0 || size_max > RING_SIZE_MAX || size_max & (size_max - 1));
	*r = (struct ring){ .ram = ram, .size_max = size_max };
	ring_reset(r);
}

void ring_fini(struct ring *r)
{
	while (r->pool) {
		struct ring_chain *c = r->pool;

		r->pool = c->next;
		free(c);
	}
	r->npool = 0;
}

void ring_reset(struct ring *r)
{
	r->size = r->size_max;
	r->desc_gpa = r->driver_gpa = r->device_gpa = 0;
	r->enabled = r->packed = r->event_idx = r->indirect = false;
	r->broken = false;
	r->why = NULL;
	r->gen++;
	r->next_avail = r->next_used = r->seen_avail = 0;
	r->avail_wrap = r->used_wrap = true;
	r->pushed = 0;
	r->deaf = false;
	r->inflight = 0;
	r->desc = r->driver = r->device = NULL;
}

void ring_break(struct ring *r, const char *why)
{
	if (!r->broken)
		r->why = why;
	r->broken = true;
}

int ring_malformed(struct ring *r, const char *why)
{
	ring_break(r, why);
	return -EPROTO;
}

u8 *ring_area(const struct ring *r, u64 gpa, u64 len, bool write)
{
	u8 *hva = ram_view(r->ram, gpa, len);	/* which brings in what a lazy restore left out */

	return hva && write && ram_find(r->ram, gpa)->readonly ? NULL : hva;
}

int ring_enable(struct ring *r)
{
	const char *why = layout(r)->map(r);

	r->enabled = true;
	if (!why)
		return 0;
	r->desc = NULL;
	return ring_malformed(r, why);
}

int ring_pop(struct ring *r, struct ring_chain **out)
{
	struct ring_chain *c;
	int rc;

	if (!usable(r) || paused(r))
		return 0;
	if (!layout(r)->more(r))
		return r->broken ? -EPROTO : 0;
	c = chain_take(r);
	if (!c)
		return -ENOMEM;
	rc = layout(r)->pop(r, &c);
	if (rc < 0) {
		chain_give(c);
		return rc;
	}
	r->inflight = (u16)(r->inflight + c->ndesc);
	*out = c;
	return 1;
}

bool ring_has(struct ring *r)
{
	return usable(r) && !paused(r) && layout(r)->more(r);
}

/* Is the chain of this life of the ring? Then it is in flight no more. */
static bool come_back(struct ring_chain *c)
{
	struct ring *r = c->ring;

	if (c->gen != r->gen)
		return false;
	BUG_ON(r->inflight < c->ndesc);
	r->inflight = (u16)(r->inflight - c->ndesc);
	return true;
}

void ring_push(struct ring_chain *c, u32 written)
{
	struct ring *r = c->ring;

	if (come_back(c) && usable(r)) {
		layout(r)->push(r, c, written);
		r->pushed += c->ndesc;
		if (r->pushed > 0x10000)	/* from here on the answer is the same */
			r->pushed = 0x10000;
	}
	chain_give(c);
}

void ring_push_all(struct ring_chain **c, const u32 *written, unsigned n)
{
	struct ring *r;

	if (!n)
		return;
	r = c[0]->ring;
	r->hold = true;
	for (unsigned i = 0; i < n; i++)
		ring_push(c[i], written[i]);
	r->hold = false;
	if (r->held && usable(r))
		layout(r)->publish(r);
	r->held = false;
}

void ring_unpop(struct ring_chain *c)
{
	if (come_back(c))
		layout(c->ring)->unpop(c->ring, c);
	chain_give(c);
}

void ring_listen(struct ring *r, bool on)
{
	r->deaf = !on;
	if (usable(r))
		layout(r)->listen(r, on);
}

bool ring_wants_notify(struct ring *r)
{
	bool wants;

	if (!r->pushed || !usable(r))
		return false;
	ring_fence();			/* what was pushed is seen before we look who cares */
	wants = layout(r)->wants_notify(r);
	r->pushed = 0;
	return wants;
}

/* --- bytes of chains --- */

/* Walk the segments of [first, first + n), from byte @off on, at most @len bytes in all. */
struct cursor {
	const struct ring_seg *s, *end;
	u64 off, left;
};

static struct cursor cursor(const struct ring_chain *c, bool write, u64 off, u64 len)
{
	const struct ring_seg *s = c->seg + (write ? c->nread : 0);
	struct cursor k = { .s = s, .end = s + (write ? c->nwrite : c->nread), .left = len };

	while (k.s < k.end && off >= k.s->len) {
		off -= k.s->len;
		k.s++;
	}
	k.off = off;
	return k;
}

static bool cursor_next(struct cursor *k, struct ring_seg *piece)
{
	if (k->s == k->end || k->left == 0)
		return false;
	piece->hva = k->s->hva + k->off;
	piece->gpa = k->s->gpa + k->off;
	piece->len = (u32)MIN(k->s->len - k->off, k->left);
	k->left -= piece->len;
	k->off = 0;
	k->s++;
	return true;
}

size_t chain_read(const struct ring_chain *c, u64 off, void *buf, size_t len)
{
	struct cursor k = cursor(c, false, off, len);
	struct ring_seg p;
	u8 *to = buf;

	while (cursor_next(&k, &p)) {
		guest_copy(to, p.hva, p.len);
		to += p.len;
	}
	return (size_t)(to - (u8 *)buf);
}

/* Not when the driver has its memory back, or does not let us reach it. */
static bool writable(const struct ring_chain *c)
{
	return c->gen == c->ring->gen && !c->ring->halted;
}

size_t chain_write(struct ring_chain *c, u64 off, const void *buf, size_t len)
{
	struct cursor k = cursor(c, true, off, len);
	const u8 *from = buf;
	struct ring_seg p;

	if (!writable(c))
		return 0;
	while (cursor_next(&k, &p)) {
		guest_copy(p.hva, from, p.len);
		ram_wrote(c->ring->ram, p.gpa, p.len);
		from += p.len;
	}
	return (size_t)(from - (const u8 *)buf);
}

size_t chain_fill(struct ring_chain *c, u64 off, u8 byte, size_t len)
{
	struct cursor k = cursor(c, true, off, len);
	struct ring_seg p;
	size_t n = 0;

	if (!writable(c))
		return 0;
	while (cursor_next(&k, &p)) {
		memset(p.hva, byte, p.len);
		ram_wrote(c->ring->ram, p.gpa, p.len);
		n += p.len;
	}
	return n;
}

static int chain_iov(struct cursor k, struct iovec *iov, unsigned max)
{
	struct ring_seg p;
	unsigned n = 0;

	while (cursor_next(&k, &p)) {
		if (n == max)
			return -E2BIG;
		iov[n++] = (struct iovec){ .iov_base = p.hva, .iov_len = p.len };
	}
	return (int)n;
}

int chain_iov_read(const struct ring_chain *c, u64 off, u64 len, struct iovec *iov, unsigned max)
{
	return chain_iov(cursor(c, false, off, len), iov, max);
}

int chain_iov_write(const struct ring_chain *c, u64 off, u64 len, struct iovec *iov, unsigned max)
{
	return chain_iov(cursor(c, true, off, len), iov, max);
}

void chain_wrote(struct ring_chain *c, u64 off, u64 len)
{
	struct cursor k = cursor(c, true, off, len);
	struct ring_seg p;

	while (cursor_next(&k, &p))
		ram_wrote(c->ring->ram, p.gpa, p.len);
}

/* --- state --- */

const struct state_field ring_state[] = {
	STATE_U16(struct ring, size, 1, RING_SIZE_MAX),
	STATE_U64(struct ring, desc_gpa),
	STATE_U64(struct ring, driver_gpa),
	STATE_U64(struct ring, device_gpa),
	STATE_BOOL(struct ring, enabled),
	STATE_BOOL(struct ring, packed),
	STATE_BOOL(struct ring, event_idx),
	STATE_BOOL(struct ring, indirect),
	STATE_BOOL(struct ring, broken),
	STATE_U16(struct ring, next_avail, 0, UINT16_MAX),
	STATE_U16(struct ring, next_used, 0, UINT16_MAX),
	STATE_BOOL(struct ring, avail_wrap),
	STATE_BOOL(struct ring, used_wrap),
	STATE_U32(struct ring, pushed, 0, 0x10000),
	STATE_BOOL(struct ring, deaf),
	STATE_END
};

int ring_post_load(struct ring *r, struct err *e)
{
	const char *why = NULL;

	r->gen++;		/* chains from before the load are nobody's */
	r->inflight = 0;
	r->desc = r->driver = r->device = NULL;
	r->seen_avail = r->next_avail;
	if (!r->enabled) {
		r->next_avail = r->next_used = r->seen_avail = 0;
		r->avail_wrap = r->used_wrap = true;
	}
	if (r->size > r->size_max)
		why = "the queue is larger than this device offers";
	else if (r->enabled && !r->broken) {
		why = layout(r)->check(r);
		if (!why)
			why = layout(r)->map(r);
	}
	return why ? err_set(e, EINVAL, "virtqueue: %s", why) : 0;
}
