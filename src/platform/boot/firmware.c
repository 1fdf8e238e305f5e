/* SPDX-License-Identifier: GPL-2.0-or-later */
/* firmware.c - a ROM image that ends at 4 GiB, where the processor starts at reset (SDM vol. 3,
 * 10.1.4: F000:FFF0 with CS base FFFF0000h), its last 128 KiB also below 1 MiB, as a PC's chip
 * set shows them. The low copy is plain memory: nothing here could make it writable later. */
#include "platform/boot/boot.h"
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define ROM_MAX (16 * MiB)
#define ROM_LOW_MAX (128 * KiB)

/* The image, padded at its front to whole pages; malloc()ed. */
static int read_image(const struct blob *b, u8 **rom, u64 *padded, struct err *e)
{
	int r;

	if (b->len < 16 || b->len > ROM_MAX)
		return err_set(e, EINVAL, "%s: %llu bytes; a ROM image has 16 bytes to 16 MiB",
			       b->name, (unsigned long long)b->len);
	*padded = (b->len + PAGE_SIZE - 1) & PAGE_MASK;
	*rom = calloc(1, *padded);
	if (!*rom)
		return err_set(e, ENOMEM, "%s: out of memory", b->name);
	r = blob_read(b, 0, *rom + (*padded - b->len), b->len, e);
	return r;
}

/* Pieces of memory are fixed once the machine runs: after a reset it is still there. */
static int map_image(struct ram *ram, const u8 *rom, u64 padded, struct err *e)
{
	return ram_find(ram, RAM_HIGH_BASE - 1) ? 0 :
	       ram_add_rom(ram, RAM_HIGH_BASE - padded, rom, padded, e);
}

int firmware_map(const struct boot_request *rq, struct ram *ram, struct err *e)
{
	u8 *rom cleanup_free = NULL;
	u64 padded = 0;
	int r = read_image(&rq->firmware, &rom, &padded, e);

	return r ? r : map_image(ram, rom, padded, e);
}

int firmware_load(const struct boot_request *rq, struct ram *ram, struct boot_entry *out,
		  struct err *e)
{
	const struct blob *b = &rq->firmware;
	u64 padded = 0, low = MIN(b->len, ROM_LOW_MAX);
	u8 *rom cleanup_free = NULL;
	int r = read_image(b, &rom, &padded, e);

	if (!r)
		r = map_image(ram, rom, padded, e);
	if (r)
		return r;
	if (!ram_write(ram, BOOT_HIGH - low, rom + (padded - low), low))
		return err_set(e, ENOMEM, "%s: no memory below 1 MiB for it", b->name);
	*out = (struct boot_entry){ .mode = BOOT_MODE_RESET, .what = "firmware" };
	return 0;
}
