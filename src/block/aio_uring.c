/* SPDX-License-Identifier: GPL-2.0-or-later */
/* aio_uring.c - files by io_uring(7): requests of a batch reach the kernel in one system call.
 * The ring is set up when the disk is opened; afterwards io_uring_enter() is all that is called.
 *
 * Operations of a ring pass by the seccomp filter of who submits them, and there are some that open
 * files or connect sockets. So the ring starts disabled and is restricted, for good, to what is
 * used. */
#include "block/aio.h"
#include <errno.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES 256		/* of the submission ring; the completion ring has twice as many */
#define INFLIGHT_MAX (2 * ENTRIES)	/* what the completion ring holds for sure */
#define WORKERS_MAX 8		/* kernel threads for what would block */

struct uring {
	struct aio a;
	struct loop *loop;
	struct io_uring ring;
	bool ready, retry;
	unsigned inkernel;		/* handed out as entries, not ended */
	struct aio_op *wait, **wait_end;	/* more than the rings hold */
};

static void prep(struct io_uring_sqe *sqe, struct aio_op *op)
{
	switch (op->kind) {
	case AIO_READ:
		io_uring_prep_readv(sqe, op->fd, op->iov, op->niov, op->off);
		break;
	case AIO_WRITE:
		io_uring_prep_writev2(sqe, op->fd, op->iov, op->niov, op->off,
				      op->dsync ? RWF_DSYNC : 0);
		break;
	case AIO_FDATASYNC:
		io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
		break;
	case AIO_PUNCH:
	case AIO_ZERO:
		io_uring_prep_fallocate(sqe, op->fd, FALLOC_FL_KEEP_SIZE | (op->kind == AIO_PUNCH ?
					FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE),
					(off_t)op->off, (off_t)op->len);
		break;
	default:
		BUG("aio_uring: not for the ring");
	}
	io_uring_sqe_set_data(sqe, op);
}

static void again(void *ctx);

/* Hand what waits to the kernel. What it cannot take now (no memory: -EAGAIN) it is offered again
 * soon. */
static void uring_flush(struct aio *a)
{
	struct uring *u = container_of(a, struct uring, a);

	for (;;) {
		struct io_uring_sqe *sqe;

		while (u->wait && u->inkernel < INFLIGHT_MAX &&
		       (sqe = io_uring_get_sqe(&u->ring))) {
			struct aio_op *op = u->wait;

			u->wait = op->next;
			if (!u->wait)
				u->wait_end = &u->wait;
			prep(sqe, op);
			u->inkernel++;
		}
		if (!io_uring_sq_ready(&u->ring))
			return;
		if (io_uring_submit(&u->ring) <= 0) {
			if (u->loop && !u->retry) {
				u->retry = true;
				loop_post(u->loop, again, u);
			}
			return;
		}
	}
}

static void again(void *ctx)
{
	struct uring *u = ctx;

	u->retry = false;
	uring_flush(&u->a);
}

static void uring_submit(struct aio *a, struct aio_op *op)
{
	struct uring *u = container_of(a, struct uring, a);

	if (op->kind == AIO_DEV_DISCARD || op->kind == AIO_DEV_ZERO) {
		a->inflight--;		/* counted there, and ended there */
		aio_submit(a->helper, op);
		return;
	}
	op->next = NULL;
	*u->wait_end = op;
	u->wait_end = &op->next;
}

/* End what has ended. One at a time: done() may submit and poll. */
static unsigned reap(struct uring *u)
{
	struct io_uring_cqe *cqe;
	unsigned n = 0;

	while (!io_uring_peek_cqe(&u->ring, &cqe) && cqe) {
		struct aio_op *op = io_uring_cqe_get_data(cqe);
		int ret = cqe->res;

		io_uring_cqe_seen(&u->ring, cqe);
		u->inkernel--;
		n++;
		/* Interrupted, or its submitting thread has gone: once more. */
		if (ret == -EINTR || ret == -EAGAIN || ret == -ECANCELED) {
			op->next = NULL;
			*u->wait_end = op;
			u->wait_end = &op->next;
			continue;
		}
		u->a.inflight--;
		op->done(op, ret);
	}
	return n;
}

static void uring_poll(struct aio *a, bool wait)
{
	struct uring *u = container_of(a, struct uring, a);

	aio_plug(a);
	if (!reap(u) && wait) {
		uring_flush(a);
		if (u->inkernel) {
			io_uring_submit_and_wait(&u->ring, 1);
			reap(u);
		} else if (a->helper) {
			aio_poll(a->helper, true);
		}
	}
	if (a->helper)
		aio_poll(a->helper, false);
	aio_unplug(a);
}

static void on_ring(void *ctx, u32 events)
{
	uring_poll(ctx, false);
}

static void uring_free(struct aio *a)
{
	struct uring *u = container_of(a, struct uring, a);

	if (u->ready) {
		if (u->loop) {
			loop_del_fd(u->loop, u->ring.ring_fd);
			loop_unpost(u->loop, again, u);
		}
		io_uring_queue_exit(&u->ring);
	}
	free(u);
}

static const int uring_ops[] = {
	IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE,
};

/* Does this kernel know what is used? */
static bool capable(struct uring *u)
{
	struct io_uring_probe *p = io_uring_get_probe_ring(&u->ring);
	bool ok = p && u->ring.features & IORING_FEAT_NODROP;

	for (unsigned i = 0; ok && i < ARRAY_SIZE(uring_ops); i++)
		ok = io_uring_opcode_supported(p, uring_ops[i]);
	io_uring_free_probe(p);
	return ok;
}

static int restrict_ring(struct uring *u)
{
	struct io_uring_restriction res[ARRAY_SIZE(uring_ops)] = { 0 };
	int r;

	for (unsigned i = 0; i < ARRAY_SIZE(uring_ops); i++) {
		res[i].opcode = IORING_RESTRICTION_SQE_OP;
		res[i].sqe_op = (u8)uring_ops[i];
	}
	/* By hand: some versions of liburing lack these two. */
	r = (int)syscall(SYS_io_uring_register, u->ring.ring_fd, IORING_REGISTER_RESTRICTIONS, res,
			 ARRAY_SIZE(res));
	if (!r)
		r = (int)syscall(SYS_io_uring_register, u->ring.ring_fd,
				 IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	return r < 0 ? -errno : 0;
}

static int uring_new(struct aio **out, struct loop *l, struct sandbox *s, struct err *e)
{
	struct uring *u = calloc(1, sizeof(*u));
	unsigned workers[2] = { WORKERS_MAX, WORKERS_MAX };
	int r;

	if (!u)
		return err_set(e, ENOMEM, "io_uring: out of memory");
	u->wait_end = &u->wait;
	r = io_uring_queue_init(ENTRIES, &u->ring, IORING_SETUP_R_DISABLED);
	if (r < 0) {
		free(u);
		return err_set(e, -r, "io_uring: %s; threads work everywhere", strerror(-r));
	}
	u->ready = true;
	if (!capable(u)) {
		uring_free(&u->a);
		return err_set(e, ENOSYS,
			       "io_uring: this kernel's is too old; threads work everywhere");
	}
	io_uring_ring_dontfork(&u->ring);
	io_uring_register_iowq_max_workers(&u->ring,
					   workers); /* a courtesy; older kernels refuse */
	r = restrict_ring(u);
	if (r < 0) {
		uring_free(&u->a);
		return err_set(e, -r,
			       "io_uring: this kernel cannot restrict it; threads work everywhere");
	}
	if (l) {
		r = loop_add_fd(l, u->ring.ring_fd, EPOLLIN, on_ring, u, e);
		if (r) {
			uring_free(&u->a);
			return r;
		}
		u->loop = l;
	}
	*out = &u->a;
	return 0;
}

const struct aio_ops aio_uring = {
	.name = "uring",
	.new = uring_new,
	.submit = uring_submit,
	.flush = uring_flush,
	.poll = uring_poll,
	.free = uring_free,
};
