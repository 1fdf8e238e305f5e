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
#define BLOCK_IOV_MAX 1000		/* pieces of one request; layers add a few up to IOV_MAX */

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };

struct block_req {
	enum block_op op;
	bool fua;			/* write, zeroes: on stable storage before it is done */
	bool unmap;			/* write zeroes: space may be given back */
	u64 off, len;			/* bytes, multiples of BLOCK_SECTOR; 0 for flush */
	const struct iovec *iov;	/* read, write: @len bytes in all; borrowed until done */
	unsigned niov;
	/* @ret: 0 or a negative errno (-EIO, -ENOSPC, -EROFS, -EINVAL: beyond the end). Here the
	 * request belongs to its owner again. */
	void (*done)(struct block_req *r, int ret);
	void *ctx;
	struct block_req *next;		/* the layers' own while it is in flight */
	struct block *layer;
	int ret;
};

struct block_info {
	u64 size;			/* bytes, a multiple of BLOCK_SECTOR */
	u32 logical, physical;		/* sector sizes, bytes; logical is 512 for files */
	bool readonly;
	bool discards;			/* discard gives space back */
	u32 discard_align;		/* bytes */
	u64 end; /* a file that grows: nothing was ever written from here on */
};

struct block;
struct block_ops {
	const char *name;
	/* Ends, now or later but never before it returns, in block_complete() or
	 * block_complete_later(). */
	void (*submit)(struct block *b, struct block_req *r);
	/* Transfer all of @r now if nothing has to be waited for: its bytes are in the host's cache.
	 * False: nothing was done. Any thread with the machine lock; the only system call is
	 * preadv2() with RWF_NOWAIT. May be NULL. */
	bool (*now)(struct block *b, const struct block_req *r);
	/* Bring requests forward on the calling thread: complete what is ready, and, @wait, sleep
	 * for at least one of those in flight. */
	void (*poll)(struct block *b, bool wait);
	/* More requests follow at once (@on), or no more do: submit them together. May be NULL. */
	void (*plug)(struct block *b, bool on);
	/* Grow, or shrink; nothing is in flight. May be NULL. */
	int (*resize)(struct block *b, u64 size, struct err *e);
	/* From now on nothing is written: it has become somebody's backing file. Synced. May be
	 * NULL. */
	int (*freeze)(struct block *b, struct err *e);
	/* See block_next_data(). NULL: anything may be data. */
	u64 (*next_data)(struct block *b, u64 off);
	void (*free)(struct block *b);	/* nothing is in flight, and synced */
	struct block *(*below)(struct block *b); /* a disk's: the top of its chain; else NULL */
};
struct block {				/* first member of a layer's own struct */
	const struct block_ops *ops;
	struct loop *loop; /* NULL (tools): things move in block_drain() and block_rw() only */
	struct block_info info;

	/* block.c's */
	unsigned inflight;
	struct block_req *ended, **ended_end;	/* block_complete_later() */
	bool posted;
};

/* Hand @r over. Offsets and lengths are checked here, for all layers. */
void block_submit(struct block *b, struct block_req *r);
/* Do @r on the spot, on whatever thread this is, if it takes no waiting at all. done() is not called.
 * False: submit it instead. */
bool block_now(struct block *b, const struct block_req *r);
/* Between the two, requests may be gathered and handed to the kernel together. They nest. */
void block_plug(struct block *b);
void block_unplug(struct block *b);
/* Wait, on the calling thread, until no request is in flight: for reset and save. Lock held; done()
 * callbacks run meanwhile. May be called on the loop's thread or, with the machine paused, another.
 */
void block_drain(struct block *b);
/* Drain, then put everything, metadata too, on stable storage: the files are consistent and whole.
 */
int block_sync(struct block *b, struct err *e);
/* One request from start to end on the calling thread, other requests' done() running meanwhile. 0
 * or a negative errno. For tools, and for layers while they open. */
int block_rw(struct block *b, enum block_op op, u64 off, void *buf, u64 len);
/* From @off on, all reads as zeros up to the returned byte (a multiple of BLOCK_SECTOR, @off itself
 * when that is not known, at most info.size). Nothing is in flight. For tools that copy. */
u64 block_next_data(struct block *b, u64 off);
void block_free(struct block *b);			/* drains and syncs; accepts NULL */

/* How an image is opened. */
enum block_cache { BLOCK_WRITEBACK, BLOCK_NONE, BLOCK_WRITETHROUGH, BLOCK_UNSAFE };
struct block_options {
	const char *format;		/* "raw", "qcow2"; NULL: look at the file */
	bool readonly;
	enum block_cache cache;		/* NONE: O_DIRECT; UNSAFE: flushes are ignored */
	bool discard; /* discard and zeroes punch holes; else discard is ignored */
	bool unlocked;			/* readonly: look at it even if somebody writes it */
	bool no_backing;		/* the top file alone: what is not in it reads as zeros */
	const char *aio;		/* "uring", "threads"; NULL: the best that works */
	struct sandbox *sandbox;	/* what threads of the layer enter; NULL: nothing */
};
/* Open @path with its backing files. Takes locks that keep another process from opening it for
 * writing (or, readonly, let it read too); -EBUSY names who holds them where known. What comes out
 * is a disk: a place in which the chain below may change while devices hold it. */
int block_open(struct block **out, struct loop *l, const char *path, const struct block_options *o,
	       struct err *e);

/* A file of a chain that is open already. */
struct block_file {
	int fd;
	const char *path;		/* for messages and for block_files(); copied */
	const char *format;		/* "raw", "qcow2" */
};
/* The same from descriptors, the top first; nothing is opened by name. They are taken, also on
 * failure. Only the top is written to. Locks that the descriptors hold are kept, others are taken.
 */
int block_open_fds(struct block **out, struct loop *l, const struct block_file *files, unsigned n,
		   const struct block_options *o, struct err *e);
/* What the disk @b consists of, top first; borrowed until the chain changes. Returns their number.
 */
#define BLOCK_CHAIN_MAX 64
unsigned block_files(const struct block *b, struct block_file *files, unsigned max);

/* Put a new top on the disk @b: @top->fd is an empty qcow2 image (image_create() with this chain as
 * its backing file) open for reading and writing; the old top becomes its read-only backing. Drains
 * and syncs first. The descriptor is taken, also on failure; then the chain is as it was. On the
 * loop's thread, or another one with the machine paused; opens no file. */
int block_snapshot_overlay(struct block *b, const struct block_file *top, struct err *e);
/* What lies below the disk's top consists of @files from now on, the first one next to the top; they hold
 * the same. Drains and syncs first; the descriptors are taken, also on failure; then the chain is as it
 * was. Where block_snapshot_overlay() may be called. */
int block_rebase(struct block *b, const struct block_file *files, unsigned n, struct err *e);
/* Change the disk's size; devices hear of it by block_on_change(). Drains first. */
int block_resize(struct block *b, u64 size, struct err *e);
void block_on_change(struct block *b, void (*fn)(void *ctx), void *ctx);

/* --- for layers --- */

/* The request is over; only outside of submit(). */
void block_complete(struct block *b, struct block_req *r, int ret);
/* The same from inside submit(): soon. */
void block_complete_later(struct block *b, struct block_req *r, int ret);
void block_init(struct block *b, const struct block_ops *ops, struct loop *l);
void block_fini(struct block *b);	/* undoes it; block_free() does so itself */
unsigned block_inflight(struct block *b);
/* One step of a drain. */
void block_poll(struct block *b, bool wait);

#endif
