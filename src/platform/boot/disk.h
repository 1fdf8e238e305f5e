/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disk.h - what a firmware's boot loader would do: find the kernel and the initial RAM disk in the
 * file system of a disk, each time anew, so that a kernel which the guest has installed is the one
 * that boots next. */
#ifndef PENTA_PLATFORM_BOOT_DISK_H
#define PENTA_PLATFORM_BOOT_DISK_H

#include "block/gpt.h"
#include "platform/boot/blob.h"

#define BOOT_FILE_MAX (512 * MiB)	/* of a kernel or an initrd in a disk */
#define BOOT_OPTIONS_MAX 1024		/* of /etc/kernel/cmdline */

struct boot_files {
	struct blob kernel, initrd;	/* in memory that is ours; initrd BLOB_NONE: there is none */
	char *cmdline;			/* "root=UUID=... ro console=ttyS0" */
	char what[64];			/* "partition 1", for messages */
	char kernel_name[80], initrd_name[80];
};
#define BOOT_FILES_NONE ((struct boot_files){ .kernel = BLOB_NONE, .initrd = BLOB_NONE })

/* @name: the disk's, for errors; borrowed. Everything on the disk is hostile: reads, memory and time are
 * bounded. -ENOENT: no file system there has a kernel. Only reads. */
int boot_disk_find(const struct gpt_disk *d, const char *name, struct boot_files *out,
		   struct err *e);
void boot_files_free(struct boot_files *f);	/* accepts BOOT_FILES_NONE */

/* ext4.c: one file system, read through libext2fs. */
struct ext4;
/* [off, off+len) of the disk. -ENOEXEC without an error: no ext2, ext3 or ext4 there. */
int ext4_open(struct ext4 **out, const struct gpt_disk *d, u64 off, u64 len, struct err *e);
void ext4_close(struct ext4 *fs);		/* accepts NULL */
/* The whole file, of 1 to @max bytes, to be freed; links are followed. -ENOENT without an error. */
int ext4_read_file(struct ext4 *fs, const char *path, u64 max, u8 **data, u64 *len, struct err *e);
void ext4_uuid(const struct ext4 *fs, char text[37]);

/* jbd2.c: what a journal that was not played back holds, found without writing. */
struct jbd2;
/* Read a block of the journal's inode (logical number). */
typedef int jbd2_read_fn(void *ctx, u64 block, void *buf, struct err *e);
/* @nblocks: of the journal, @bsize bytes each. *@out NULL: nothing is to be played back. */
int jbd2_open(struct jbd2 **out, jbd2_read_fn *read, void *ctx, u64 nblocks, u32 bsize,
	      struct err *e);
/* Is block @fs_block's content in the journal? Then its number there; @escaped: its first four bytes are
 * to become JBD2's magic. */
bool jbd2_find(const struct jbd2 *j, u64 fs_block, u64 *block, bool *escaped);
void jbd2_close(struct jbd2 *j);		/* accepts NULL */

#endif
