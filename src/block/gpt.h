/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gpt.h - partition tables: write a GUID partition table for a new disk, and find partitions on a
 * disk that a guest may have written anything to.
 * After: UEFI 2.10, chapter 5 (GPT and its protective MBR); the PC's MBR for disks without. */
#ifndef PENTA_BLOCK_GPT_H
#define PENTA_BLOCK_GPT_H

#include "base/err.h"
#include "base/types.h"

#define GPT_SECTOR 512u
#define GPT_PARTS_MAX 128u
#define GPT_FIRST_LBA 34u		/* behind header and table */

/* The types that we write; in the mixed byte order of the disk. */
extern const u8 gpt_type_bios[16];	/* GRUB's second part, on PC BIOSes */
extern const u8 gpt_type_esp[16];	/* EFI system partition */
extern const u8 gpt_type_linux_root[16];	/* root, x86-64 */

#define GPT_NO_AUTO BIT(63)		/* systemd: not to be mounted by its type */

struct gpt_part {
	u8 type[16], uuid[16];
	u64 first, last;		/* sectors, inclusive */
	u64 attributes;			/* GPT_xxx */
	unsigned number;		/* from 1: the n of vdaN */
	const char *name;		/* up to 36 ASCII characters; NULL when read */
};

/* A disk as far as reading goes. @read: [off, off+len) lies within @size. */
struct gpt_disk {
	int (*read)(void *ctx, u64 off, void *buf, size_t len, struct err *e);
	void *ctx;
	u64 size;			/* bytes */
};

/* Both tables of a disk of @nsect sectors, into an open file. */
int gpt_write(int fd, u64 nsect, const u8 disk_uuid[16], const struct gpt_part *p, unsigned n,
	      struct err *e);
/* The partitions of a GPT or MBR, those only that lie within the disk; returns their number, 0 when
 * there is no table. The backup is looked at when the first GPT is damaged. Extended partitions of
 * an MBR are left out. */
int gpt_read(const struct gpt_disk *d, struct gpt_part p[GPT_PARTS_MAX], struct err *e);

#endif
