/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ring_impl.h - what ring.c shares with the two layouts, ring_split.c and ring_packed.c. */
#ifndef PENTA_VIRTIO_RING_IMPL_H
#define PENTA_VIRTIO_RING_IMPL_H

#include "virtio/ring.h"

/* 2.7.5 and 2.8.1: a descriptor's flags. */
enum desc_flag {
	DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4,
	DESC_AVAIL = 1 << 7, DESC_USED = 1 << 15,	/* packed rings only */
};
#define DESC_LEN 16

/* A layout. ring.c has looked whether the ring may be touched at all. */
struct ring_layout {
	/* NULL, or what cannot be in size and addresses. Fills in r->desc, driver and device. */
	const char *(*map)(struct ring *r);
	bool (*more)(struct ring *r);		/* anything available? Else asks for a kick */
	int (*pop)(struct ring *r, struct ring_chain **c);	/* fills *c in; it may move */
	void (*unpop)(struct ring *r, const struct ring_chain *c);
	void (*push)(struct ring *r, const struct ring_chain *c, u32 written);
	void (*publish)(struct ring *r);	/* what was pushed while r->hold */
	void (*listen)(struct ring *r, bool on);
	bool (*wants_notify)(struct ring *r);	/* after r->pushed slots */
	const char *(*check)(const struct ring *r);	/* of loaded indices; NULL: fine */
};
extern const struct ring_layout ring_split, ring_packed;

/* -EPROTO; the ring stands still from here on. */
int ring_malformed(struct ring *r, const char *why);
/* Append [gpa, gpa+len) to *@c, which may move. 0, -EPROTO or -ENOMEM. */
int chain_add(struct ring *r, struct ring_chain **c, u64 gpa, u32 len, bool write);
/* The table of an indirect descriptor as seen by us, and how many entries it has; NULL: malformed. */
const u8 *chain_table(struct ring *r, u64 gpa, u32 len, unsigned *n);
/* An area of the ring: host memory, or NULL when it is not wholly in RAM, or not writable. */
u8 *ring_area(const struct ring *r, u64 gpa, u64 len, bool write);

/* Words that both sides look at. The guest's side is the engine's; what orders the two is the same
 * as on silicon: the fence between "I have told" and "I look again" stands in the code. */
#ifdef RING_MODEL	/* tests/virtio/test_ring_model.c has its own memory, with a store buffer */
u16 ring_load16(const u8 *p);
u32 ring_load32(const u8 *p);
void ring_store16(u8 *p, u16 v);
void ring_store32(u8 *p, u32 v);
void ring_fence(void);
#else
static inline u16 ring_load16(const u8 *p)
{
	return __atomic_load_n((const u16 *)(const void *)p, __ATOMIC_ACQUIRE);
}
static inline u32 ring_load32(const u8 *p)
{
	return __atomic_load_n((const u32 *)(const void *)p, __ATOMIC_ACQUIRE);
}
static inline void ring_store16(u8 *p, u16 v)
{
	__atomic_store_n((u16 *)(void *)p, v, __ATOMIC_RELEASE);
}
static inline void ring_store32(u8 *p, u32 v)
{
	__atomic_store_n((u32 *)(void *)p, v, __ATOMIC_RELEASE);
}
static inline void ring_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
#endif

/* 2.7.10.1, 2.8.10: has @event been passed on the way from @old to @new_? Modulo 2^16. */
static inline bool ring_passed(u16 event, u16 new_, u16 old)
{
	return (u16)(new_ - event - 1) < (u16)(new_ - old);
}

#endif
