/* SPDX-License-Identifier: GPL-2.0-or-later */
/* aio.c - which engine, and the system calls themselves. */
#include "block/aio.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>		// BLKDISCARD
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int aio_new(struct aio **out, struct loop *l, const char *which, struct sandbox *s, struct err *e)
{
	static const struct aio_ops *const engines[] = { &aio_uring, &aio_threads };

	for (unsigned i = 0; i < ARRAY_SIZE(engines); i++) {
		bool last = i == ARRAY_SIZE(engines) - 1;
		int r;

		if (which && strcmp(which, engines[i]->name))
			continue;
		r = engines[i]->new(out, l, s, e);
		if (!r) {
			(*out)->ops = engines[i];
			(*out)->sandbox = s;
		}
		if (!r || which || last)
			return r;
	}
	return err_set(e, EINVAL, "aio \"%s\": uring or threads is needed", which);
}

void aio_free(struct aio *a)
{
	if (!a)
		return;
	aio_free(a->helper);
	a->ops->free(a);
}

void aio_submit(struct aio *a, struct aio_op *op)
{
	a->inflight++;
	a->ops->submit(a, op);
	if (!a->plugs && a->ops->flush)
		a->ops->flush(a);
}

void aio_plug(struct aio *a)
{
	a->plugs++;
}

void aio_unplug(struct aio *a)
{
	BUG_ON(!a->plugs);
	if (!--a->plugs && a->ops->flush)
		a->ops->flush(a);
}

void aio_poll(struct aio *a, bool wait)
{
	a->ops->poll(a, wait && (a->inflight || (a->helper && a->helper->inflight)));
}

static int dev_ioctl(const struct aio_op *op, unsigned long what)
{
	u64 range[2] = { op->off, op->len };

	return ioctl(op->fd, what, range);
}

int aio_do(const struct aio_op *op)
{
	ssize_t n;

	do {
		switch (op->kind) {
		case AIO_READ:
			n = preadv(op->fd, op->iov, (int)op->niov, (off_t)op->off);
			break;
		case AIO_WRITE:
			n = pwritev2(op->fd, op->iov, (int)op->niov, (off_t)op->off,
				     op->dsync ? RWF_DSYNC : 0);
			break;
		case AIO_FDATASYNC:
			n = fdatasync(op->fd);
			break;
		case AIO_PUNCH:
			n = fallocate(op->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				      (off_t)op->off, (off_t)op->len);
			break;
		case AIO_ZERO:
			n = fallocate(op->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
				      (off_t)op->off, (off_t)op->len);
			break;
		case AIO_DEV_DISCARD:
			n = dev_ioctl(op, BLKDISCARD);
			break;
		case AIO_DEV_ZERO:
			n = dev_ioctl(op, BLKZEROOUT);
			break;
		default:
			BUG("aio_do");
		}
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}
