/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ring_split.c - split virtqueues: a table of descriptors, a ring of heads that the driver makes
 * available, and a ring of those that the device has used.
 * After: Virtio 1.2, 2.7.
 *
 *	descriptors (16 bytes each)	avail: written by the driver	used: written by the device
 *	+------+-----+-------+------+	+-------+-----+-----------+	+-------+-----+------------+
 *	| gpa  | len | flags | next |	| flags | idx | head ...  |	| flags | idx | id,len ... |
 *	+------+-----+-------+------+	+-------+-----+--+--------+	+-------+-----+---+--------+
 *						used_event (EVENT_IDX) ^	avail_event here ^
 *
 * idx counts entries since the beginning, modulo 2^16; entry i lies at slot i mod size. */
#include "virtio/ring_impl.h"
#include "base/bytes.h"

enum avail_off { AVAIL_FLAGS = 0, AVAIL_IDX = 2, AVAIL_RING = 4 };	/* 2.7.6 */
enum used_off { USED_FLAGS = 0, USED_IDX = 2, USED_RING = 4 };		/* 2.7.8 */
#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY 1
#define AVAIL_ENTRY 2
#define USED_ENTRY 8
enum desc_off { DESC_GPA = 0, DESC_SIZE = 8, DESC_FLAGS = 12, DESC_NEXT_OFF = 14 };

static u32 used_event_off(const struct ring *r)
{
	return AVAIL_RING + AVAIL_ENTRY * r->size;
}

static u32 avail_event_off(const struct ring *r)
{
	return USED_RING + USED_ENTRY * r->size;
}

static const char *split_map(struct ring *r)
{
	u32 event = r->event_idx ? 2 : 0;

	if (r->size & (r->size - 1))
		return "the size of a split queue is not a power of two";
	if (r->desc_gpa % 16 || r->driver_gpa % 2 || r->device_gpa % 4)	/* 2.7: alignments */
		return "a part of the queue is not aligned";
	r->desc = ring_area(r, r->desc_gpa, (u64)DESC_LEN * r->size, false);
	r->driver = ring_area(r, r->driver_gpa, used_event_off(r) + event, false);
	r->device = ring_area(r, r->device_gpa, avail_event_off(r) + event, true);
	if (!r->desc || !r->driver || !r->device)
		return "a part of the queue is not in RAM";
	return NULL;
}

/* Look at avail.idx. Its distance from what was used is all that the driver has handed out. */
static bool look(struct ring *r)
{
	u16 idx = ring_load16(r->driver + AVAIL_IDX);

	if ((u16)(idx - r->next_used) > r->size) {
		ring_malformed(r, "more buffers are available than the queue has room for");
		return false;
	}
	if ((u16)(idx - r->next_used) < r->inflight) {
		ring_malformed(r, "the available index went backwards");
		return false;
	}
	r->seen_avail = idx;
	return idx != r->next_avail;
}

static void wrote_device(struct ring *r, u32 off, u32 len)
{
	ram_wrote(r->ram, r->device_gpa + off, len);
}

static bool split_more(struct ring *r)
{
	if (r->seen_avail != r->next_avail)
		return true;
	if (look(r))
		return true;
	/* Without EVENT_IDX the driver kicks each time, unless ring_listen(false). */
	if (r->broken || r->deaf || !r->event_idx)
		return false;
	ring_store16(r->device + avail_event_off(r), r->next_avail);
	wrote_device(r, avail_event_off(r), 2);
	ring_fence();
	return look(r);
}

/* Follow a chain through @table of @n descriptors from entry @i on. */
static int walk(struct ring *r, struct ring_chain **c, const u8 *table, unsigned n, u16 i, bool inner)
{
	for (unsigned steps = 0; steps < n; steps++) {
		u8 d[DESC_LEN];
		u16 flags;
		int rc;

		if (i >= n)
			return ring_malformed(r, "a descriptor's index is beyond the table");
		guest_copy(d, table + (size_t)i * DESC_LEN, DESC_LEN);
		flags = get_le16(d + DESC_FLAGS);
		if (flags & DESC_INDIRECT) {	/* 2.7.5.3 */
			unsigned inner_n;
			const u8 *t;

			if (inner)
				return ring_malformed(r, "an indirect table within an indirect table");
			if (flags & DESC_NEXT)
				return ring_malformed(r, "an indirect descriptor that goes on");
			t = chain_table(r, get_le64(d + DESC_GPA), get_le32(d + DESC_SIZE), &inner_n);
			if (!t)
				return ring_malformed(r, r->why);
			return walk(r, c, t, inner_n, 0, true);
		}
		rc = chain_add(r, c, get_le64(d + DESC_GPA), get_le32(d + DESC_SIZE), flags & DESC_WRITE);
		if (rc < 0 || !(flags & DESC_NEXT))
			return rc;
		i = get_le16(d + DESC_NEXT_OFF);
	}
	return ring_malformed(r, "a chain of descriptors is a loop");
}

static int split_pop(struct ring *r, struct ring_chain **c)
{
	u32 slot = r->next_avail & (r->size - 1u);
	u16 head = ring_load16(r->driver + AVAIL_RING + AVAIL_ENTRY * slot);
	int rc = walk(r, c, r->desc, r->size, head, false);

	if (rc < 0)
		return rc;
	(*c)->id = head;
	r->next_avail++;
	return 0;
}

static void split_unpop(struct ring *r, const struct ring_chain *c)
{
	r->next_avail--;
}

static void split_publish(struct ring *r)
{
	r->held = false;
	ring_store16(r->device + USED_IDX, r->next_used);
	wrote_device(r, USED_IDX, 2);
}

static void split_push(struct ring *r, const struct ring_chain *c, u32 written)
{
	u32 off = USED_RING + USED_ENTRY * (r->next_used & (r->size - 1u));

	ring_store32(r->device + off, c->id);
	ring_store32(r->device + off + 4, written);
	wrote_device(r, off, USED_ENTRY);
	r->next_used++;
	r->held = true;
	if (!r->hold)
		split_publish(r);
}

static void split_listen(struct ring *r, bool on)
{
	if (!r->event_idx) {
		ring_store16(r->device + USED_FLAGS, on ? 0 : USED_NO_NOTIFY);
		wrote_device(r, USED_FLAGS, 2);
	} else if (on) {
		ring_store16(r->device + avail_event_off(r), r->next_avail);
		wrote_device(r, avail_event_off(r), 2);
	}
	ring_fence();
}

static bool split_wants_notify(struct ring *r)
{
	if (!r->event_idx)
		return !(ring_load16(r->driver + AVAIL_FLAGS) & AVAIL_NO_INTERRUPT);
	return r->pushed > UINT16_MAX ||
	       ring_passed(ring_load16(r->driver + used_event_off(r)), r->next_used,
			   (u16)(r->next_used - r->pushed));
}

static const char *split_check(const struct ring *r)
{
	if (r->next_avail != r->next_used)
		return "requests are in flight";
	return NULL;
}

const struct ring_layout ring_split = {
	.map = split_map, .more = split_more, .pop = split_pop, .unpop = split_unpop,
	.push = split_push, .publish = split_publish, .listen = split_listen,
	.wants_notify = split_wants_notify,
	.check = split_check,
};
