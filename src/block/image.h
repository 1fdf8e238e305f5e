/* SPDX-License-Identifier: GPL-2.0-or-later */
/* image.h - image files as things to make and to ask: create, look at, check, convert. For programs
 * that open files; a running machine uses block.h alone. */
#ifndef PENTA_BLOCK_IMAGE_H
#define PENTA_BLOCK_IMAGE_H

#include "block/block.h"

struct image_spec {
	const char *format;		/* "raw", "qcow2" */
	u64 size;			/* bytes; 0 with @backing: its size */
	const char *backing; /* qcow2; as it is to stand in the file: relative to its folder */
	const char *backing_format;	/* NULL: look at it */
	unsigned cluster_bits;		/* qcow2: 9 .. 21; 0: 16 */
	unsigned version;		/* qcow2: 2 or 3; 0: 3 */
	bool replace;			/* an existing file; else -EEXIST */
	/* A @backing that a running machine has open for writing: it is not looked at, @size and
	 * @backing_format are needed. */
	bool backing_busy;
};
/* Make the file. It appears under its name whole or not at all, and durable. */
int image_create(const char *path, const struct image_spec *s, struct err *e);
/* The same in a file that is open and empty. */
int image_create_fd(int fd, const char *path, const struct image_spec *s, struct err *e);

/* Make a file by @fill, atomically and durably as above, for what is made in other ways. */
typedef int image_fill_fn(void *ctx, int fd, struct err *e);
int image_publish(const char *path, bool replace, image_fill_fn *fill, void *ctx, struct err *e);

struct image_info {
	char format[16];
	u64 size;			/* of the disk, bytes */
	u64 allocated, file_size;	/* on the host, bytes */
	bool in_use;			/* somebody has it open for writing */
	char holder[128];		/* who: see image_info_holder() */
	/* qcow2; else zero */
	unsigned version, cluster_bits, refcount_bits, nsnapshots;
	bool dirty, corrupt, zstd;
	char backing[1024], backing_format[16];	/* as in the file; "" none */
	char backing_path[4096];	/* where that is from here */
};
/* Look at one file (not at its backing). Takes no lock. */
int image_info(const char *path, struct image_info *out, struct err *e);
/* Fill in who has it open, where known: "penta (pid 7, penta run ...)". Looks at every process. */
void image_info_holder(const char *path, struct image_info *i);

/* Who has @fd's file locked, for messages: "penta (pid 7: penta run web)"; "" when unknown. */
void image_holder(int fd, char *buf, size_t len);

struct image_check {
	u64 clusters, allocated, compressed;	/* of the disk's, all and those in the file */
	u64 leaks, errors;		/* clusters counted but not used; anything worse */
	u64 repaired;
	char first[256];		/* the first error, for people */
};
/* Check a qcow2 image's tables; @repair: rewrite refcounts that are wrong. Progress: bytes of how
 * many. -ENOTSUP for formats without metadata. */
typedef void image_progress_fn(void *ctx, u64 done, u64 total);
int image_check(const char *path, bool repair, struct image_check *out, image_progress_fn *fn,
		void *ctx, struct err *e);

/* Make the image @path new, in one step: with what it has itself and what the @n images below it have, it
 * lies on the one below those. It reads as before, and those @n are not needed for it any more. Who has the
 * old file open keeps that. -ENOTSUP: there are no @n qcow2 images below it with a file below them. */
int image_merge(const char *path, unsigned n, image_progress_fn *fn, void *ctx, struct err *e);

/* Copy @src (with its backing files) into a new image @dst, leaving out zeros. */
int image_convert(const char *src, const char *src_format, const char *dst,
		  const struct image_spec *s, image_progress_fn *fn, void *ctx, struct err *e);

#endif
