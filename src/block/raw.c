/* SPDX-License-Identifier: GPL-2.0-or-later */
/* raw.c - a regular file or a block device, byte for byte: the lowest layer of every disk.
 *
 * A transfer may end early; what is left is asked for again. A file that has become shorter than it
 * was reads as -EIO there, never as made-up zeros; only the sector in which the file ends is filled
 * up. With O_DIRECT (cache=none) buffers that are not aligned go through a bounce buffer, piece by
 * piece. */
#include "block/layer.h"
#include "base/bytes.h"		// get_be32
#include "base/cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define BOUNCE (256 * KiB)	/* bytes copied at once */
#define ZEROS (64 * KiB) /* written again and again where the file system cannot make zeros */
#define ZERO_IOVS 64
#define GROWS_MAX (1ull << 62)
#define PAGE 4096u		/* what O_DIRECT is content with everywhere */

static const u8 zeros[ZEROS] __attribute__((aligned(PAGE)));

struct raw {
	struct block b;
	struct aio *aio;
	int fd;
	bool device, direct, unsafe, grows, guarded;
	u32 mem_align;			/* of O_DIRECT's buffers */
	u64 eof;			/* length of the file when opened, or as we made it */
	bool no_punch, no_zero;		/* the file system said so */
	char *path;
};

/* A request on its way. */
struct raw_req {
	struct aio_op op;
	struct raw *raw;
	struct block_req *r;
	u64 done;			/* bytes that are over */
	u8 *bounce;			/* or NULL; owned */
	struct iovec *iov;		/* what is left, when not r->iov; owned */
};

static void go(struct raw_req *q);

static void finish(struct raw_req *q, int ret)
{
	struct block_req *r = q->r;
	struct raw *raw = q->raw;

	free(q->bounce);
	free(q->iov);
	free(q);
	block_complete(&raw->b, r, ret);
}

/* Copy between the request's pieces from byte @off on and @buf. */
static void copy(const struct block_req *r, u64 off, u8 *buf, u64 len, bool to_buf)
{
	for (unsigned i = 0; i < r->niov && len; i++) {
		u64 n = r->iov[i].iov_len;

		if (off >= n) {
			off -= n;
			continue;
		}
		n = MIN(n - off, len);
		if (to_buf)
			memcpy(buf, (u8 *)r->iov[i].iov_base + off, n);
		else
			memcpy((u8 *)r->iov[i].iov_base + off, buf, n);
		off = 0;
		buf += n;
		len -= n;
	}
}

/* Zeros from byte @off of a read request to its end. */
static void fill(const struct block_req *r, u64 off)
{
	for (unsigned i = 0; i < r->niov; i++) {
		u64 n = r->iov[i].iov_len;

		if (off < n)
			memset((u8 *)r->iov[i].iov_base + off, 0, n - off);
		off -= MIN(off, n);
	}
}

/* A read came to the end of the file at @at, before the end of the disk. */
static int read_past_end(struct raw_req *q, u64 at)
{
	struct raw *raw = q->raw;

	if (!raw->grows && (at < raw->eof || raw->eof % BLOCK_SECTOR == 0))
		return -EIO;
	fill(q->r, q->done);
	return 0;
}

/* The file system makes no holes, or no zeros: discard is then nothing, zeros are written. */
static bool unsupported(int ret)
{
	return ret == -EOPNOTSUPP || ret == -ENOTTY || ret == -ENOSYS || ret == -EINVAL;
}

static void on_zeroed(struct raw_req *q, int ret)
{
	struct raw *raw = q->raw;
	struct block_req *r = q->r;
	bool punch = q->op.kind == AIO_PUNCH || q->op.kind == AIO_DEV_DISCARD;

	if (q->op.kind == AIO_WRITE) {
		if (ret <= 0) {
			finish(q, ret ? ret : -EIO);
			return;
		}
		q->done += (u64)ret;
	} else if (!ret) {
		q->done = r->len;
	} else if (!unsupported(ret)) {
		finish(q, ret);
		return;
	} else if (r->op == BLOCK_DISCARD) {
		q->done = r->len;
	} else if (punch) {
		raw->no_punch = true;
	} else {
		raw->no_zero = true;
	}
	if (q->done < r->len) {
		go(q);
	} else if (r->fua && q->op.kind != AIO_WRITE && !raw->unsafe) {
		q->op.kind = AIO_FDATASYNC;
		aio_submit(raw->aio, &q->op);
	} else {
		finish(q, 0);
	}
}

static void on_done(struct aio_op *op, int ret)
{
	struct raw_req *q = container_of(op, struct raw_req, op);
	struct block_req *r = q->r;

	if (op->kind == AIO_FDATASYNC) {
		finish(q, ret);
		return;
	}
	if (r->op != BLOCK_READ && r->op != BLOCK_WRITE) {
		on_zeroed(q, ret);
		return;
	}
	if (ret < 0) {
		finish(q, ret);
		return;
	}
	if (q->bounce && r->op == BLOCK_READ)
		copy(r, q->done, q->bounce, MIN((u64)ret, r->len - q->done), false);
	q->done += (u64)ret;
	if (q->done >= r->len) {
		finish(q, 0);
		return;
	}
	if (!ret) {
		finish(q, r->op == BLOCK_READ ? read_past_end(q, r->off + q->done) : -EIO);
		return;
	}
	go(q);
}

static bool aligned(const struct raw *raw, const struct block_req *r)
{
	for (unsigned i = 0; i < r->niov; i++)
		if ((uintptr_t)r->iov[i].iov_base % raw->mem_align ||
		    r->iov[i].iov_len % raw->b.info.logical)
			return false;
	return true;
}

/* A guest that writes another format's header over a disk whose format was guessed would choose, at
 * the next start, which of the host's files it sees. Such a write goes through the bounce buffer, all of
 * it: what was looked at is what is written, whatever the guest does to its memory meanwhile. */
static bool may_forge(const struct raw *raw, const struct block_req *r)
{
	return raw->guarded && r->op == BLOCK_WRITE && r->off == 0;
}

/* Set up the pieces of a transfer from byte q->done on. */
static int pieces(struct raw_req *q)
{
	struct raw *raw = q->raw;
	struct block_req *r = q->r;
	u64 skip = q->done;
	unsigned i = 0;

	if (q->bounce || may_forge(raw, r) || (raw->direct && (q->done || !aligned(raw, r)))) {
		u64 len = MIN(BOUNCE, r->len - q->done);

		if (!q->bounce && posix_memalign((void **)&q->bounce, PAGE, BOUNCE)) {
			q->bounce = NULL;
			return -ENOMEM;
		}
		if (!q->iov && !(q->iov = malloc(sizeof(*q->iov))))
			return -ENOMEM;
		if (r->op == BLOCK_WRITE)
			copy(r, q->done, q->bounce, len, true);
		if (may_forge(raw, r) && (q->done ? q->done < BLOCK_SECTOR :
					  get_be32(q->bounce) == QCOW2_MAGIC))
			return -EPERM;
		*q->iov = (struct iovec){ q->bounce, len };
		q->op.iov = q->iov;
		q->op.niov = 1;
		return 0;
	}
	if (!skip) {
		q->op.iov = r->iov;
		q->op.niov = r->niov;
		return 0;
	}
	while (skip >= r->iov[i].iov_len)
		skip -= r->iov[i++].iov_len;
	if (!q->iov && !(q->iov = malloc(r->niov * sizeof(*q->iov))))
		return -ENOMEM;
	memcpy(q->iov, r->iov + i, (r->niov - i) * sizeof(*q->iov));
	q->iov->iov_base = (u8 *)q->iov->iov_base + skip;
	q->iov->iov_len -= skip;
	q->op.iov = q->iov;
	q->op.niov = r->niov - i;
	return 0;
}

/* Zeros by writing them. */
static int zero_pieces(struct raw_req *q)
{
	u64 left = q->r->len - q->done;
	unsigned n = 0;

	if (!q->iov && !(q->iov = malloc(ZERO_IOVS * sizeof(*q->iov))))
		return -ENOMEM;
	for (; left && n < ZERO_IOVS; n++) {
		q->iov[n] = (struct iovec){ (void *)zeros, MIN(left, ZEROS) };
		left -= q->iov[n].iov_len;
	}
	q->op.iov = q->iov;
	q->op.niov = n;
	return 0;
}

static enum aio_kind kind_of(const struct raw *raw, const struct block_req *r)
{
	switch (r->op) {
	case BLOCK_READ:
		return AIO_READ;
	case BLOCK_WRITE:
		return AIO_WRITE;
	case BLOCK_FLUSH:
		return AIO_FDATASYNC;
	case BLOCK_DISCARD:
		return raw->device ? AIO_DEV_DISCARD : AIO_PUNCH;
	default:
		/* A discarded sector of a device may read as anything. */
		if (r->unmap && raw->b.info.discards && !raw->no_punch && !raw->device)
			return AIO_PUNCH;
		if (raw->no_zero)
			return AIO_WRITE;
		return raw->device ? AIO_DEV_ZERO : AIO_ZERO;
	}
}

/* Ask for what is left of @q. Not from inside submit() when it can fail: see start(). */
static int step(struct raw_req *q)
{
	struct block_req *r = q->r;
	int ret = 0;

	q->op.kind = kind_of(q->raw, r);
	q->op.off = r->off + q->done;
	q->op.len = r->len - q->done;
	if (r->op == BLOCK_READ || r->op == BLOCK_WRITE)
		ret = pieces(q);
	else if (q->op.kind == AIO_WRITE)
		ret = zero_pieces(q);
	q->op.dsync = q->op.kind == AIO_WRITE && r->fua && !q->raw->unsafe;
	if (!ret)
		aio_submit(q->raw->aio, &q->op);
	return ret;
}

static void go(struct raw_req *q)
{
	int ret = step(q);

	if (ret)
		finish(q, ret);
}

static void raw_submit(struct block *b, struct block_req *r)
{
	struct raw *raw = container_of(b, struct raw, b);
	struct raw_req *q;
	int ret;

	if ((r->op == BLOCK_DISCARD && (!b->info.discards || raw->no_punch)) ||
	    (r->op == BLOCK_FLUSH && raw->unsafe)) {
		block_complete_later(b, r, 0);
		return;
	}
	q = calloc(1, sizeof(*q));
	if (!q) {
		block_complete_later(b, r, -ENOMEM);
		return;
	}
	q->raw = raw;
	q->r = r;
	q->op.fd = raw->fd;
	q->op.done = on_done;
	ret = step(q);
	if (ret) {
		free(q->iov);
		free(q->bounce);
		free(q);
		block_complete_later(b, r, ret);
	}
}

/* Reads alone: file systems differ in whether a write to their cache may be asked not to wait. */
static bool raw_now(struct block *b, const struct block_req *r)
{
	struct raw *raw = container_of(b, struct raw, b);

	return r->op == BLOCK_READ && !raw->direct &&
	       preadv2(raw->fd, r->iov, (int)r->niov, (off_t)r->off, RWF_NOWAIT) == (ssize_t)r->len;
}

static void raw_poll(struct block *b, bool wait)
{
	aio_poll(container_of(b, struct raw, b)->aio, wait);
}

static void raw_plug(struct block *b, bool on)
{
	struct raw *raw = container_of(b, struct raw, b);

	if (on)
		aio_plug(raw->aio);
	else
		aio_unplug(raw->aio);
}

static int raw_resize(struct block *b, u64 size, struct err *e)
{
	struct raw *raw = container_of(b, struct raw, b);

	if (raw->device)
		return err_set(e, ENOTSUP, "%s: a block device has the size it has", raw->path);
	if (ftruncate(raw->fd, (off_t)size) < 0)
		return err_errno(e, "%s: cannot be made %llu bytes long", raw->path,
				 (unsigned long long)size);
	raw->eof = size;
	if (!raw->grows)
		b->info.size = size;
	return 0;
}

static int raw_freeze(struct block *b, struct err *e)
{
	struct raw *raw = container_of(b, struct raw, b);

	b->info.readonly = true;
	return raw->device ? 0 : file_lock_share(raw->fd, raw->path, e);
}

static void raw_free(struct block *b)
{
	struct raw *raw = container_of(b, struct raw, b);

	cleanup_closep(&raw->fd);
	free(raw->path);
	free(raw);
}

static u64 raw_next_data(struct block *b, u64 off)
{
	struct raw *r = container_of(b, struct raw, b);
	off_t at;

	if (r->device)
		return off;
	at = lseek(r->fd, (off_t)off, SEEK_DATA);
	if (at < 0)
		return errno == ENXIO ? b->info.size : off;
	return MIN((u64)at / BLOCK_SECTOR * BLOCK_SECTOR, b->info.size);
}

static const struct block_ops raw_ops = {
	.name = "raw",
	.next_data = raw_next_data,
	.submit = raw_submit,
	.now = raw_now,
	.poll = raw_poll,
	.plug = raw_plug,
	.resize = raw_resize,
	.freeze = raw_freeze,
	.free = raw_free,
};

static int device_info(struct raw *raw, struct err *e)
{
	struct block_info *i = &raw->b.info;
	unsigned physical = 0;
	int logical = 0, ro = 0;

	if (ioctl(raw->fd, BLKGETSIZE64, &raw->eof) < 0 || ioctl(raw->fd, BLKSSZGET, &logical) < 0)
		return err_errno(e, "%s: size of the device", raw->path);
	if (ioctl(raw->fd, BLKPBSZGET, &physical) < 0)
		physical = (unsigned)logical;
	if (!i->readonly && !ioctl(raw->fd, BLKROGET, &ro) && ro)
		return err_set(e, EROFS, "%s: the device is read-only; say readonly", raw->path);
	i->logical = (u32)logical;
	i->physical = MAX(physical, (unsigned)logical);
	i->discard_align = i->physical;
	return 0;
}

/* What O_DIRECT asks of offsets and buffers. */
static void direct_info(struct raw *raw, const struct stat *st)
{
	struct statx sx;
	u32 off = MAX(raw->b.info.logical, BLOCK_SECTOR), mem = off;

#ifdef STATX_DIOALIGN
	if (!statx(raw->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) &&
	    sx.stx_mask & STATX_DIOALIGN && sx.stx_dio_offset_align) {
		off = MAX(off, sx.stx_dio_offset_align);
		mem = sx.stx_dio_mem_align;
	} else
#endif
		if (!raw->device) {
		void *buf;

		/* Try a sector; else a page. */
		(void)sx;
		mem = PAGE;
		if (!posix_memalign(&buf, PAGE, PAGE)) {
			if (pread(raw->fd, buf, BLOCK_SECTOR, 0) < 0 && errno == EINVAL)
				off = PAGE;
			free(buf);
		}
	}
	raw->mem_align = mem;
	raw->b.info.logical = off;
	raw->b.info.physical = MAX(raw->b.info.physical, off);
}

int raw_new(struct block **out, struct loop *l, int fd, const char *path,
	    const struct raw_options *o, struct err *e)
{
	struct raw *raw = calloc(1, sizeof(*raw));
	struct stat st;
	int r = 0;

	if (!raw) {
		close(fd);
		return err_set(e, ENOMEM, "%s: out of memory", path);
	}
	block_init(&raw->b, &raw_ops, l);
	raw->fd = fd;
	raw->aio = o->aio;
	raw->direct = o->direct;
	raw->unsafe = o->unsafe;
	raw->grows = o->grows;
	raw->guarded = o->guarded;
	raw->path = strdup(path);
	raw->b.info = (struct block_info){
		.logical = BLOCK_SECTOR, .physical = PAGE, .readonly = o->readonly,
		.discards = o->discard && !o->readonly, .discard_align = PAGE,
	};
	if (!raw->path)
		r = err_set(e, ENOMEM, "%s: out of memory", path);
	else if (fstat(fd, &st) < 0)
		r = err_errno(e, "%s", path);
	else if (S_ISBLK(st.st_mode))
		r = device_info(raw, e);
	else if (!S_ISREG(st.st_mode))
		r = err_set(e, EINVAL, "%s: a disk image is a regular file or a block device",
			    path);
	else
		raw->eof = (u64)st.st_size;
	raw->device = !r && S_ISBLK(st.st_mode);
	if (!r && raw->direct)
		direct_info(raw, &st);
	/* BLKDISCARD and BLKZEROOUT are ioctls, which io_uring has not. */
	if (!r && raw->device && !raw->aio->helper && raw->aio->ops != &aio_threads)
		r = aio_new(&raw->aio->helper, l, "threads", raw->aio->sandbox, e);
	raw->b.info.size =
		raw->grows ? GROWS_MAX : (raw->eof + BLOCK_SECTOR - 1) & ~(u64)(BLOCK_SECTOR - 1);
	raw->b.info.end = raw->eof;
	if (!r && !raw->grows && raw->b.info.size % raw->b.info.logical)
		r = err_set(e, EINVAL,
			    "%s: without the host's cache its length must be a multiple of %u",
			    path, raw->b.info.logical);
	if (r) {
		raw_free(&raw->b);
		return r;
	}
	*out = &raw->b;
	return 0;
}
