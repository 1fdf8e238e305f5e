/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ring_packed.c - packed virtqueues: one ring of descriptors that both sides write.
 * After: Virtio 1.2, 2.8.
 *
 *	  0      1      2      3
 *	+------+------+------+------+	each: gpa, len, buffer id, flags
 *	| used | used | avail|      |	The driver writes available descriptors in order, the device
 *	+------+------+------+------+	used ones over them in the order in which they end.
 *	          next_used^   ^next_avail
 *
 * Both sides count their laps in a bit, the wrap counter, which begins at 1. AVAIL = the driver's bit
 * and USED = its contrary: available. AVAIL = USED = the device's bit: used. One buffer takes as many
 * slots as it has descriptors (an indirect one: one), and its used descriptor skips them. */
#include "virtio/ring_impl.h"
#include "base/bytes.h"

enum desc_off { DESC_GPA = 0, DESC_SIZE = 8, DESC_ID = 12, DESC_FLAGS = 14 };	/* 2.8.13 */
enum event_off { EVENT_DESC = 0, EVENT_FLAGS = 2, EVENT_LEN = 4 };		/* 2.8.14 */
enum event_flag { EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_AT_DESC = 2 };
#define EVENT_WRAP 0x8000u

static const char *packed_map(struct ring *r)
{
	if (r->desc_gpa % 16 || r->driver_gpa % 4 || r->device_gpa % 4)	/* 2.8.10.1 */
		return "a part of the queue is not aligned";
	r->desc = ring_area(r, r->desc_gpa, (u64)DESC_LEN * r->size, true);
	r->driver = ring_area(r, r->driver_gpa, EVENT_LEN, false);
	r->device = ring_area(r, r->device_gpa, EVENT_LEN, true);
	if (!r->desc || !r->driver || !r->device)
		return "a part of the queue is not in RAM";
	return NULL;
}

static bool is_avail(u16 flags, bool wrap)
{
	return !!(flags & DESC_AVAIL) == wrap && !!(flags & DESC_USED) != wrap;
}

static u16 load_flags(const struct ring *r, u16 i)
{
	return ring_load16(r->desc + (size_t)i * DESC_LEN + DESC_FLAGS);
}

static bool look(const struct ring *r)
{
	return is_avail(load_flags(r, r->next_avail), r->avail_wrap);
}

/* Tell the driver which descriptor is to make it kick: one word, so that it sees no half of it. */
static void set_event(struct ring *r, enum event_flag how)
{
	u32 v = (u32)how << 16;

	if (how == EVENT_AT_DESC)
		v |= r->next_avail | (r->avail_wrap ? EVENT_WRAP : 0);
	ring_store32(r->device, v);
	ram_wrote(r->ram, r->device_gpa, EVENT_LEN);
	ring_fence();
}

static bool packed_more(struct ring *r)
{
	if (look(r))
		return true;
	if (r->deaf || !r->event_idx)
		return false;
	set_event(r, EVENT_AT_DESC);
	return look(r);
}

/* 2.8.7: all entries in order, none goes on. */
static int indirect(struct ring *r, struct ring_chain **c, const u8 *d)
{
	unsigned n = 0;
	const u8 *t = chain_table(r, get_le64(d + DESC_GPA), get_le32(d + DESC_SIZE), &n);
	int rc = t ? 0 : ring_malformed(r, r->why);

	for (unsigned i = 0; i < n && !rc; i++) {
		u8 e[DESC_LEN];
		u16 flags;

		guest_copy(e, t + (size_t)i * DESC_LEN, DESC_LEN);
		flags = get_le16(e + DESC_FLAGS);
		if (flags & DESC_INDIRECT)
			return ring_malformed(r, "an indirect table within an indirect table");
		rc = chain_add(r, c, get_le64(e + DESC_GPA), get_le32(e + DESC_SIZE), flags & DESC_WRITE);
	}
	return rc;
}

static void advance(const struct ring *r, u16 *i, bool *wrap, unsigned n)
{
	unsigned to = *i + n;

	if (to >= r->size) {
		to -= r->size;
		*wrap = !*wrap;
	}
	*i = (u16)to;
}

static int packed_pop(struct ring *r, struct ring_chain **c)
{
	u16 at = r->next_avail, n = 0, id, flags;
	bool wrap = r->avail_wrap;
	int rc;

	do {
		const u8 *p = r->desc + (size_t)at * DESC_LEN;
		u8 d[DESC_LEN];

		if (n == r->size - r->inflight)
			return ring_malformed(r, "more buffers are available than the queue has room for");
		flags = load_flags(r, at);	/* first: it says that the rest is there */
		guest_copy(d, p, DESC_LEN);
		if (!is_avail(flags, wrap))
			return ring_malformed(r, "a chain of descriptors goes on where none is available");
		id = get_le16(d + DESC_ID);
		if (flags & DESC_INDIRECT) {
			if (n > 0 || flags & DESC_NEXT)
				return ring_malformed(r, "an indirect descriptor within a chain");
			rc = indirect(r, c, d);
		} else {
			rc = chain_add(r, c, get_le64(d + DESC_GPA), get_le32(d + DESC_SIZE),
				       flags & DESC_WRITE);
		}
		if (rc < 0)
			return rc;
		advance(r, &at, &wrap, 1);
		n++;
	} while (flags & DESC_NEXT);
	(*c)->id = id;			/* the last one's: 2.8.6 */
	(*c)->ndesc = n;
	r->next_avail = at;
	r->avail_wrap = wrap;
	return 0;
}

static void packed_unpop(struct ring *r, const struct ring_chain *c)
{
	if (r->next_avail < c->ndesc) {
		r->next_avail = (u16)(r->next_avail + r->size);
		r->avail_wrap = !r->avail_wrap;
	}
	r->next_avail = (u16)(r->next_avail - c->ndesc);
}

static void packed_push(struct ring *r, const struct ring_chain *c, u32 written)
{
	u32 off = (u32)r->next_used * DESC_LEN;
	u16 flags = r->used_wrap ? DESC_AVAIL | DESC_USED : 0;

	if (written)
		flags |= DESC_WRITE;
	ring_store32(r->desc + off + DESC_SIZE, written);
	ring_store16(r->desc + off + DESC_ID, c->id);
	if (r->hold && !r->held) {		/* the driver sees nothing behind the first */
		r->held = true;
		r->held_off = off;
		r->held_flags = flags;
	} else {
		ring_store16(r->desc + off + DESC_FLAGS, flags);	/* last: now the slot is its */
	}
	ram_wrote(r->ram, r->desc_gpa + off + DESC_SIZE, DESC_LEN - DESC_SIZE);
	advance(r, &r->next_used, &r->used_wrap, c->ndesc);
}

static void packed_publish(struct ring *r)
{
	r->held = false;
	ring_store16(r->desc + r->held_off + DESC_FLAGS, r->held_flags);
	ram_wrote(r->ram, r->desc_gpa + r->held_off + DESC_FLAGS, 2);
}

static void packed_listen(struct ring *r, bool on)
{
	set_event(r, !on ? EVENT_DISABLE : r->event_idx ? EVENT_AT_DESC : EVENT_ENABLE);
}

/* 2.8.10: the driver names a slot and a lap; slots of our last lap are so far behind us. */
static bool packed_wants_notify(struct ring *r)
{
	u32 v = ring_load32(r->driver);
	u16 event = (u16)(v & (EVENT_WRAP - 1));

	if (v >> 16 == EVENT_DISABLE)
		return false;
	if (v >> 16 != EVENT_AT_DESC || !r->event_idx || r->pushed >= r->size)
		return true;
	if (!!(v & EVENT_WRAP) != r->used_wrap)
		event = (u16)(event - r->size);
	return ring_passed(event, r->next_used, (u16)(r->next_used - r->pushed));
}

static const char *packed_check(const struct ring *r)
{
	if (r->next_avail >= r->size || r->next_used >= r->size)
		return "an index is beyond the queue";
	if (r->next_avail != r->next_used || r->avail_wrap != r->used_wrap)
		return "requests are in flight";
	return NULL;
}

const struct ring_layout ring_packed = {
	.map = packed_map, .more = packed_more, .pop = packed_pop, .unpop = packed_unpop,
	.push = packed_push, .publish = packed_publish, .listen = packed_listen,
	.wants_notify = packed_wants_notify,
	.check = packed_check,
};
