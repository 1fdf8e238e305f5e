/* SPDX-License-Identifier: GPL-2.0-or-later */
/* block.h - a disk as a device sees it: read, write, flush, discard, write zeroes; and the chain of
 * layers (a format over a file) behind it. A device never learns which layers it got.
 *
 * A disk belongs to one loop: requests are submitted with the machine lock held, and completed on
 * the loop's thread with it held, never from inside block_submit(). */
#ifndef PENTA_BLOCK_BLOCK_H
#define PENTA_BLOCK_BLOCK_H

#include "base/err.h"
#include "base/loop.h"
#include "base/types.h"
#include <sys/uio.h>

#define BLOCK_SECTOR 512

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };

struct block_req {
	enum block_op op;
	bool fua;			/* write: on stable storage before it is done */
	bool unmap;			/* write zeroes: space may be given back */
	u64 off, len;			/* bytes, multiples of BLOCK_SECTOR; 0 for flush */
	const struct iovec *iov;	/* read, write: @len bytes in all; borrowed until done */
	unsigned niov;
	/* @ret: 0 or a negative errno (-EIO, -ENOSPC, -EROFS, -EINVAL: beyond the end). Here the
	 * request belongs to its owner again. */
	void (*done)(struct block_req *r, int ret);
	void *ctx;
	struct block_req *next;		/* the layers' own while it is in flight */
	void *layer;
};

struct block_info {
	u64 size;			/* bytes, a multiple of BLOCK_SECTOR */
	u32 logical, physical;		/* sector sizes, bytes; logical is 512 for files */
	bool readonly;
	bool discards;			/* discard gives space back */
	u32 discard_align;		/* bytes */
};

struct block;
struct block_ops {
	const char *name;
	void (*submit)(struct block *b, struct block_req *r);
	/* Write out what the layer itself caches (its metadata), so that the file below is consistent
	 * and whole. No requests are in flight. May be NULL. */
	int (*sync)(struct block *b, struct err *e);
	void (*free)(struct block *b);
};
struct block {				/* first member of a layer's own struct */
	const struct block_ops *ops;
	struct loop *loop;
	struct block_info info;
	unsigned inflight;		/* block.c's */
	bool draining;
};

/* Hand @r over. Offsets and lengths are checked here, for all layers. */
void block_submit(struct block *b, struct block_req *r);
/* Wait, on the calling thread, until no request is in flight: for reset and save. Lock held; done()
 * callbacks run meanwhile. May be called on the loop's thread or, with the machine paused, another. */
void block_drain(struct block *b);
int block_sync(struct block *b, struct err *e);		/* drain, metadata, flush */
void block_free(struct block *b);			/* drains and syncs; accepts NULL */

/* How an image is opened. */
enum block_cache { BLOCK_WRITEBACK, BLOCK_NONE, BLOCK_WRITETHROUGH, BLOCK_UNSAFE };
struct block_options {
	const char *format;		/* "raw", "qcow2"; NULL: look at the file */
	bool readonly;
	enum block_cache cache;		/* NONE: O_DIRECT; UNSAFE: flushes are ignored */
	bool discard;			/* discard and zeroes punch holes; else ignored */
	const char *aio;		/* "uring", "threads"; NULL: the best that works */
	struct sandbox *sandbox;	/* what threads of the layer enter; NULL: nothing */
};
/* Open @path with its backing files. Takes locks that keep another process from opening it for
 * writing (or, readonly, let it read too); -EBUSY names who holds them where known. */
int block_open(struct block **out, struct loop *l, const char *path, const struct block_options *o,
	       struct err *e);

#endif
