/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ram.h - guest physical memory: a memfd, mapped once, seen by the guest below the PCI hole
 * and from 4 GiB up. The one door to it is checked: address *and* length. */
#ifndef PENTA_VM_RAM_H
#define PENTA_VM_RAM_H

#include "base/err.h"
#include "base/types.h"
#include <string.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ull
#define PAGE_MASK (~(PAGE_SIZE - 1))
#define RAM_LOW_MAX (3 * GiB)		/* what of RAM lies below the hole */
#define RAM_HIGH_BASE (4 * GiB)

/* Per-page flags, one byte a page, changed and read with atomics. */
enum ram_page_flag {
	RAM_PAGE_DIRTY = 1,	/* written since the log was last taken */
	RAM_PAGE_CODE = 2,	/* an engine holds decoded code of this page: writes must be told */
	RAM_PAGE_ABSENT = 4,	/* its bytes are still elsewhere (ram_set_source()): ram_ready() first */
};

struct ram;
/* One contiguous piece as the guest sees it; roms (firmware) are read-only pieces. */
struct ram_block {
	u64 gpa, len;		/* multiples of PAGE_SIZE */
	u8 *hva;
	u8 *pageflags;		/* len / PAGE_SIZE bytes */
	bool readonly;
	u64 file_off;		/* of hva in ram_fd() */
};
/* Where a copy of a machine has its memory from: @base_fd, a frozen memory's file, mapped
 * copy-on-write, and over it what @delta_fd (-1: nothing) holds. Both borrowed. */
struct ram_from { int base_fd, delta_fd; };

/* @size bytes, a multiple of PAGE_SIZE, 1 MiB .. 1 TiB; not touched, hence sparse. */
int ram_new(struct ram **out, u64 size, struct err *e);
void ram_free(struct ram *r);
u64 ram_size(const struct ram *r);
int ram_fd(const struct ram *r);
/* Add a read-only block filled with @data (copied), e.g. firmware below 4 GiB. */
int ram_add_rom(struct ram *r, u64 gpa, const void *data, size_t len, struct err *e);
/* Blocks, for engines that map them. Fixed once the machine runs. */
unsigned ram_nblocks(const struct ram *r);
const struct ram_block *ram_block(const struct ram *r, unsigned i);
/* The block that holds @gpa, or NULL. Any thread; no lock. */
const struct ram_block *ram_find(const struct ram *r, u64 gpa);

/* Checked access; false when any byte lies outside RAM (nothing is done then, or for
 * ram_write when any byte is read-only). ram_write marks dirty and tells engines. */
bool ram_read(const struct ram *r, u64 gpa, void *buf, size_t len);
bool ram_write(struct ram *r, u64 gpa, const void *buf, size_t len);
/* A view of [gpa, gpa+len) in one block, or NULL. Valid for the machine's life. For writing,
 * call ram_wrote() after the bytes are in place. */
void *ram_view(const struct ram *r, u64 gpa, size_t len);
void ram_wrote(struct ram *r, u64 gpa, size_t len);

/* Give the host pages of [gpa, gpa+len) back: they read as zeros afterwards. Whole pages inside RAM
 * (not ROM) only; -EINVAL else. The caller knows that the guest has no use for them. Any thread. */
int ram_discard(struct ram *r, u64 gpa, u64 len);

/* --- memory that comes in late (lazy restore), and copies of it (fork, live snapshot): ram_state.c.
 * "Page" is a page of RAM in the order of the file: what lies above the hole follows what lies below. */

/* @fill: make page @page present, and its neighbours as it likes: write their bytes, then
 * ram_page_arrived(). Negative errno: it cannot be had, and whoever wanted it is told "no such
 * memory". One call at a time; any thread. @free: with the RAM. */
struct ram_source {
	int (*fill)(void *ctx, u64 page, struct err *e);
	void (*free)(void *ctx);
	void *ctx;
};
/* All pages for which @absent[page] is not 0 come from @s from now on. Before the machine runs. */
void ram_set_source(struct ram *r, const struct ram_source *s, const u8 *absent);
bool ram_page_is_absent(const struct ram *r, u64 page);
void ram_page_arrived(struct ram *r, u64 page);
/* Bring them in now. False: some cannot be had. ram_view(), ram_read() and ram_write() do so by
 * themselves; who goes by ram_block's hva asks ram_ready(). */
bool ram_fill(const struct ram *r, u64 first, u64 npages);
/* Why the first that could not be had could not. False: none such yet. */
bool ram_lost(const struct ram *r, struct err *e);
static inline bool ram_ready(const struct ram *r, const struct ram_block *b, u64 gpa)
{
	u64 off = gpa - b->gpa;

	return likely(!(__atomic_load_n(&b->pageflags[off >> PAGE_SHIFT], __ATOMIC_ACQUIRE) &
			RAM_PAGE_ABSENT)) || ram_fill(r, (b->file_off + off) >> PAGE_SHIFT, 1);
}

u8 *ram_bytes(const struct ram *r);		/* all of RAM, by page */
/* One byte a page, malloc()ed: not 0 where a page may hold something but zeros. */
int ram_used_pages(const struct ram *r, u8 **used, struct err *e);

/* Freeze what memory holds now: ram_fd() keeps it, and the guest goes on with a private copy that grows
 * page by page as it writes. All views stay where they are. When memory was private already, what differs
 * from ram_fd() is copied to *@delta_fd (the caller's), else that is -1. All is present, vCPUs are
 * parked, nothing is in flight; the caller then calls the engine's dirty_sync(), because private
 * memory needs RAM_PAGE_DIRTY to tell what differs: it must not be cleared but here. */
int ram_freeze(struct ram *r, int *delta_fd, struct err *e);
/* Once for each ram_freeze(), same conditions: when it was the last, and nobody else has got ram_fd(),
 * what differs is written back and memory is shared again. */
int ram_thaw(struct ram *r, struct err *e);
/* ram_fd() is going to others: it will never change again. */
int ram_seal(struct ram *r, struct err *e);
bool ram_is_private(const struct ram *r);
/* Before the machine runs: have memory from there, copy-on-write. */
int ram_begin_from(struct ram *r, const struct ram_from *from, struct err *e);

/* Copy to or from guest memory that vCPUs may be changing: what arrives then is some mixture, as on
 * a real bus. TSan would report the guest's races in memcpy() as ours, so it is not told. */
static inline void guest_copy(void *to, const void *from, size_t len)
{
#ifdef __SANITIZE_THREAD__
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(len) : : "memory");
#else
	memcpy(to, from, len);
#endif
}

/* Called (any thread) after bytes of a page with RAM_PAGE_CODE were written by other than the
 * engine itself. One engine a machine. */
typedef void ram_code_fn(void *ctx, u64 gpa, size_t len);
void ram_on_code_write(struct ram *r, ram_code_fn *fn, void *ctx);

#endif
