// SPDX-License-Identifier: GPL-2.0-or-later
/* file.c - requests about open files, and about the file system as a whole. A READ's and a WRITE's data
 * go straight between the host's file and the guest's memory. */
#include "share/impl.h"
#include "base/bytes.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* What of the guest's open() flags the host's file gets. Never a wait (a FIFO that somebody put in
 * place of the file), never a terminal, and no O_DIRECT, whose rules are the host's disk's. */
static u32 open_flags(u32 flags)
{
	return (flags & (O_ACCMODE | O_APPEND | O_TRUNC | O_DSYNC | O_SYNC)) | O_NONBLOCK |
		O_NOCTTY | O_CLOEXEC;
}

int reopen(int path_fd, u32 flags)
{
	const struct open_how how = {
		.flags = flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NONBLOCK | O_NOCTTY),
	};
	long fd = syscall(SYS_openat2, AT_FDCWD, fd_path(path_fd).s, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

static void put_open(u8 *b, const struct handle *h)
{
	put_le64(b, handle_number(h));
}

int op_open(struct req *r)
{
	const u8 *a = take(r, 8);
	struct handle *h;
	struct node *n;
	u32 flags;
	int fd, e;
	u8 *b;

	if (!a)
		return -EINVAL;
	e = take_node(r, r->nodeid, &n, &fd);
	if (e < 0)
		return e;
	if (n->type != S_IFREG)
		return n->type == S_IFDIR ? -EISDIR : -ENXIO;
	flags = open_flags(get_le32(a));
	if (r->s->readonly && ((flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC))
		return -EROFS;
	if ((flags & O_ACCMODE) == O_RDONLY)
		flags &= ~(u32)O_TRUNC;
	b = answer(r, FUSE_OPEN_OUT);
	if (!b)
		return -EINVAL;
	fd = reopen(fd, flags);
	if (fd < 0)
		return fd;
	if (flags & O_TRUNC && get_le32(a + 4) & FUSE_OPEN_KILL)
		kill_suid(r->s, fd);
	e = handle_new(r->s, n, fd, flags, false, &h);
	if (e < 0)
		return e;
	put_open(b, h);
	return 0;
}

/* A file is open by @fd (taken), new: its owner, its node, its handle, the answer. */
static int created(struct req *r, struct node *dir, int dfd, const char *name, int fd, u32 flags,
		   u32 mode, bool fresh)
{
	int pfd = reopen(fd, O_PATH), e = pfd < 0 ? pfd : 0;
	struct handle *h;
	struct statx st;
	struct node *n;
	u8 *b;

	if (!e && fresh)
		e = set_owner(r, dfd, pfd, mode, 0);
	if (e < 0 && pfd >= 0)
		close(pfd);
	if (!e)
		e = node_of_fd(r->s, pfd, name ? dir : NULL, name, &n, &st);
	if (e < 0) {
		close(fd);
		if (fresh && name)
			unlinkat(dfd, name, 0);
		return e;
	}
	e = handle_new(r->s, n, fd, flags & ~(u32)(O_TRUNC | O_CREAT | O_EXCL | O_TMPFILE), false, &h);
	b = e < 0 ? NULL : answer(r, FUSE_ENTRY_OUT + FUSE_OPEN_OUT);
	if (!b) {
		if (e == 0)
			handle_free(r->s, h);
		node_forget(r->s, n, 1);
		return e < 0 ? e : -EINVAL;
	}
	put_entry(r->s, n, h->fd, &st, b);
	put_open(b + FUSE_ENTRY_OUT, h);
	return 0;
}

int op_create(struct req *r)
{
	const u8 *a = take(r, 16);
	const char *name;
	struct node *dir, *n;
	struct statx st;
	u32 flags, mode;
	int dfd, fd, e;

	if (!a)
		return -EINVAL;
	flags = open_flags(get_le32(a));
	mode = (get_le32(a + 4) & 07777) | S_IFREG;
	e = take_name(r, &name);
	if (!e)
		e = take_node(r, r->nodeid, &dir, &dfd);
	if (e < 0)
		return e;
	fd = open_below(dfd, name, (flags & ~(u32)O_TRUNC) | O_CREAT | O_EXCL,
			host_mode(r->s, mode, S_IFREG));
	if (fd >= 0)
		return created(r, dir, dfd, name, fd, flags, mode, true);
	if (fd != -EEXIST || get_le32(a) & O_EXCL)
		return fd;
	/* Somebody else made it meanwhile: then it is opened, if it is a file. */
	e = node_lookup(r->s, dir, name, &n, &st);
	if (e < 0)
		return e;
	fd = n->type == S_IFREG ? node_fd(r->s, n) : n->type == S_IFDIR ? -EISDIR : -ENXIO;
	if (fd >= 0)
		fd = reopen(fd, flags);
	node_forget(r->s, n, 1);
	return fd < 0 ? fd : created(r, dir, dfd, name, fd, flags, mode, false);
}

int op_tmpfile(struct req *r)
{
	const u8 *a = take(r, 16);
	struct node *dir;
	u32 flags, mode;
	int dfd, fd, e;

	if (!a)
		return -EINVAL;
	flags = open_flags(get_le32(a)) & ~(u32)O_TRUNC;
	mode = (get_le32(a + 4) & 07777) | S_IFREG;
	e = take_node(r, r->nodeid, &dir, &dfd);
	if (e < 0)
		return e;
	fd = open_below(dfd, ".", flags | O_TMPFILE | (get_le32(a) & O_EXCL),
			host_mode(r->s, mode, S_IFREG));
	return fd < 0 ? fd : created(r, dir, dfd, NULL, fd, flags, mode, true);
}

/* --- data --- */

static struct handle *take_rw(struct req *r, const u8 **a, int *fd)
{
	struct handle *h;

	*a = take(r, FUSE_RW_IN);
	h = *a ? handle_get(r->s, get_le64(*a), false) : NULL;
	*fd = h ? handle_fd(r->s, h) : *a ? -EBADF : -EINVAL;
	return h;
}

/* Move up to @len bytes at @off of file @fd from or to the request's ranges at @at. */
static ssize_t move(struct req *r, bool write, int fd, u64 off, u64 at, u64 len)
{
	u64 done = 0;

	while (done < len) {
		unsigned k = iov_slice(write ? r->in : r->out, write ? r->nin : r->nout, at + done,
				       len - done, r->s->iov, ARRAY_SIZE(r->s->iov));
		u64 asked = 0;
		ssize_t n;

		for (unsigned i = 0; i < k; i++)
			asked += r->s->iov[i].iov_len;
		if (!asked)
			break;
		n = write ? pwritev(fd, r->s->iov, (int)k, (off_t)(off + done)) :
			    preadv(fd, r->s->iov, (int)k, (off_t)(off + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return done ? (ssize_t)done : -errno;
		done += (u64)n;
		if ((u64)n < asked)
			break;
	}
	return (ssize_t)done;
}

int op_read(struct req *r)
{
	const u8 *a;
	ssize_t n;
	u64 len;
	int fd;

	take_rw(r, &a, &fd);
	if (fd < 0)
		return fd;
	len = MIN(get_le32(a + 16), r->room);
	if (len > SHARE_MAX_WRITE || get_le64(a + 8) > INT64_MAX - len)
		return -EINVAL;
	n = move(r, false, fd, get_le64(a + 8), FUSE_OUT_HEADER, len);
	if (n < 0)
		return (int)n;
	r->direct = true;
	r->body = (size_t)n;
	return 0;
}

int op_write(struct req *r)
{
	const u8 *a;
	ssize_t n;
	u64 len;
	int fd;
	u8 *b;

	take_rw(r, &a, &fd);
	if (fd < 0)
		return fd;
	len = get_le32(a + 16);
	if (len > SHARE_MAX_WRITE || len > r->in_len - FUSE_IN_HEADER - FUSE_RW_IN ||
	    get_le64(a + 8) > INT64_MAX - len)
		return -EINVAL;
	b = answer(r, FUSE_WRITE_OUT);
	if (!b)
		return -EINVAL;
	n = move(r, true, fd, get_le64(a + 8), FUSE_IN_HEADER + FUSE_RW_IN, len);
	if (n < 0)
		return (int)n;
	if (get_le32(a + 20) & FUSE_WRITE_KILL)
		kill_suid(r->s, fd);
	put_le32(b, (u32)n);
	return 0;
}

int op_release(struct req *r)
{
	const u8 *a = take(r, 8);
	struct handle *h = a ? handle_get(r->s, get_le64(a), false) : NULL;

	if (!h)
		return -EBADF;
	handle_free(r->s, h);
	return 0;
}

static int sync_handle(struct req *r, bool dir)
{
	const u8 *a = take(r, 16);
	struct handle *h = a ? handle_get(r->s, get_le64(a), dir) : NULL;
	int fd = h ? handle_fd(r->s, h) : -EBADF;

	if (fd < 0)
		return fd;
	return fsync(fd) < 0 ? -errno : 0;
}

int op_fsync(struct req *r)
{
	return sync_handle(r, false);
}

int op_fsyncdir(struct req *r)
{
	return sync_handle(r, true);
}

int op_fallocate(struct req *r)
{
	const u8 *a = take(r, 32);
	struct handle *h = a ? handle_get(r->s, get_le64(a), false) : NULL;
	int fd = h ? handle_fd(r->s, h) : -EBADF;
	u64 off, len;
	u32 mode;

	if (fd < 0)
		return fd;
	off = get_le64(a + 8);
	len = get_le64(a + 16);
	mode = get_le32(a + 24);
	if (mode & ~(u32)(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	if (off > INT64_MAX || len > INT64_MAX - off)
		return -EFBIG;
	return fallocate(fd, (int)mode, (off_t)off, (off_t)len) < 0 ? -errno : 0;
}

int op_lseek(struct req *r)
{
	const u8 *a = take(r, 24);
	struct handle *h = a ? handle_get(r->s, get_le64(a), false) : NULL;
	int fd = h ? handle_fd(r->s, h) : -EBADF;
	u32 whence;
	off_t at;
	u8 *b;

	if (fd < 0)
		return fd;
	whence = get_le32(a + 16);
	if (whence != SEEK_DATA && whence != SEEK_HOLE && whence != SEEK_END && whence != SEEK_SET)
		return -EINVAL;
	at = lseek(fd, (off_t)get_le64(a + 8), (int)whence);
	if (at < 0)
		return -errno;
	b = answer(r, FUSE_LSEEK_OUT);
	if (!b)
		return -EINVAL;
	put_le64(b, (u64)at);
	return 0;
}

/* --- the file system --- */

int op_statfs(struct req *r)
{
	struct statfs sf;
	struct node *n;
	int fd, e = take_node(r, r->nodeid, &n, &fd);
	u8 *b;

	if (e < 0)
		return e;
	if (fstatfs(fd, &sf) < 0)
		return -errno;
	b = answer(r, FUSE_STATFS_OUT);
	if (!b)
		return -EINVAL;
	put_le64(b, sf.f_blocks);
	put_le64(b + 8, sf.f_bfree);
	put_le64(b + 16, sf.f_bavail);
	put_le64(b + 24, sf.f_files);
	put_le64(b + 32, sf.f_ffree);
	put_le32(b + 40, (u32)sf.f_bsize);
	put_le32(b + 44, (u32)MIN(sf.f_namelen, (long)NODE_NAME_MAX));
	put_le32(b + 48, (u32)sf.f_frsize);
	return 0;
}

int op_syncfs(struct req *r)
{
	/* syncfs() takes no O_PATH descriptor. */
	int fd = reopen(r->s->root->fd, O_RDONLY | O_DIRECTORY), e = 0;

	if (fd < 0)
		return fd;
	if (syncfs(fd) < 0)
		e = -errno;
	close(fd);
	return e;
}
