/* SPDX-License-Identifier: GPL-2.0-or-later */
/* aio.h - reads and writes of host files that end later: by io_uring, or by a few threads where the
 * kernel has none or forbids it. One for each disk, shared by all files of its chain; made before
 * the sandbox is entered. All calls come with the machine lock held. */
#ifndef PENTA_BLOCK_AIO_H
#define PENTA_BLOCK_AIO_H

#include "base/err.h"
#include "base/loop.h"
#include "base/sandbox.h"
#include <sys/uio.h>

enum aio_kind {
	AIO_READ, AIO_WRITE, AIO_FDATASYNC,
	AIO_PUNCH,		/* fallocate: [off, off+len) reads as zeros and takes no space */
	AIO_ZERO,		/* fallocate: reads as zeros, keeps its space */
	AIO_DEV_DISCARD, AIO_DEV_ZERO,	/* ioctls of block devices */
};

struct aio_op {
	enum aio_kind kind;
	bool dsync;			/* write: on stable storage before it ends */
	int fd;
	u64 off, len;
	const struct iovec *iov;	/* borrowed until done */
	unsigned niov;
	/* On the loop's thread, or inside aio_poll(). @ret: bytes (may be fewer), 0, or -errno. */
	void (*done)(struct aio_op *op, int ret);
	struct aio_op *next;		/* aio's own */
	int ret;
};

struct aio;
struct aio_ops {
	const char *name;
	int (*new)(struct aio **out, struct loop *l, struct sandbox *s, struct err *e);
	void (*submit)(struct aio *a, struct aio_op *op);
	void (*flush)(struct aio *a);	/* what was submitted goes to the kernel now. May be NULL */
	void (*poll)(struct aio *a, bool wait);
	void (*free)(struct aio *a);
};
struct aio {				/* first member of the engine's struct */
	const struct aio_ops *ops;
	unsigned inflight, plugs;
	struct sandbox *sandbox;	/* of its threads; may be NULL */
	struct aio *helper;		/* for what the engine cannot do itself; may be NULL */
};
extern const struct aio_ops aio_uring, aio_threads;

/* @which: "uring", "threads", or NULL: the first that works here. @l may be NULL: only aio_poll().
 */
int aio_new(struct aio **out, struct loop *l, const char *which, struct sandbox *s, struct err *e);
void aio_free(struct aio *a);		/* nothing in flight; accepts NULL */
void aio_submit(struct aio *a, struct aio_op *op);	/* never ends inside */
void aio_plug(struct aio *a);
void aio_unplug(struct aio *a);
/* End what is ready; @wait: sleep for one, if any is in flight. */
void aio_poll(struct aio *a, bool wait);
/* The system call behind @op, on the calling thread. */
int aio_do(const struct aio_op *op);

#endif
