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
