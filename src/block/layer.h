/* SPDX-License-Identifier: GPL-2.0-or-later */
/* layer.h - how the layers of a disk know each other: below block.h, for block/ alone. */
#ifndef PENTA_BLOCK_LAYER_H
#define PENTA_BLOCK_LAYER_H

#include "block/aio.h"
#include "block/block.h"

/* --- disk.c --- */
bool disk_writes_through(const struct block *disk);
/* Where the image at @path says that its backing file @name is. */
int backing_path(const char *path, const char *name, char *buf, size_t len, struct err *e);

/* --- raw.c: a regular file or a block device --- */
struct raw_options {
	struct aio *aio;		/* borrowed */
	bool readonly;
	bool direct;			/* @fd has O_DIRECT */
	bool unsafe;			/* flushes are ignored */
	bool discard;
	bool grows;			/* holds another format: as long as it needs to be */
	bool guarded; /* the format was guessed: no header of another may be written */
};
/* @fd is taken, also on failure. */
int raw_new(struct block **out, struct loop *l, int fd, const char *path,
	    const struct raw_options *o, struct err *e);

/* --- lock.c: who may use a file --- */
/* Keep others from using @fd's file: @exclusive, at all; else, from writing. The lock lives as long
 * as the open file description. -EBUSY names the holder. */
int file_lock(int fd, bool exclusive, const char *path, struct err *e);
/* Does somebody else have it open for writing? */
bool file_written(int fd);
/* A writer becomes a reader. */
int file_lock_share(int fd, const char *path, struct err *e);

/* --- qcow2.c --- */
struct qcow2_options {
	bool readonly, discard;
};
/* @file and @backing (NULL: zeros) are taken on success only. */
int qcow2_new(struct block **out, struct loop *l, struct block *file, struct block *backing,
	      const char *path, const struct qcow2_options *o, struct err *e);
/* Let go of the backing file, which is not freed with it then. */
void qcow2_detach(struct block *b);
/* @b is a qcow2 layer: what it lies on, or NULL; and another one in its place, nothing being in flight. */
struct block *qcow2_backing(const struct block *b);
void qcow2_rebase(struct block *b, struct block *backing);
/* Is what @b, a qcow2 layer, has at @off in its own file, and not below? The answer holds for *@len bytes.
 * Waits; for tools. */
int qcow2_extent(struct block *b, u64 off, bool *here, u64 *len);

/* --- qcow2_header.c --- */
#define QCOW2_MAGIC 0x514649fbu		/* "QFI\xfb", big-endian */
#define QCOW2_NAME_MAX 1024

struct qcow2_header {			/* of the file, in host order, checked */
	u32 version, cluster_bits, refcount_order, l1_size, nsnapshots, header_length;
	u64 size, l1_off, rt_off, rt_clusters, snapshots_off;
	u64 incompatible, compatible, autoclear;
	bool zstd;
	char backing[QCOW2_NAME_MAX], backing_format[16];
};
/* Read and check the header of @file. -ENOTSUP names what this version does not do. */
int qcow2_header_read(struct block *file, const char *path, struct qcow2_header *h, struct err *e);
#define QCOW2_DIRTY BIT(0)
#define QCOW2_CORRUPT BIT(1)

#endif
