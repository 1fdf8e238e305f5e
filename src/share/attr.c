// SPDX-License-Identifier: GPL-2.0-or-later
/* attr.c - what a file is besides its bytes: mode, owner, times, extended attributes; and the mapping
 * that keeps owners and modes of the guest in an attribute instead of the host's inode. */
#include "share/impl.h"
#include "base/bytes.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define OWN_PREFIX "user.penta."

struct fd_path fd_path(int fd)
{
	struct fd_path p;

	snprintf(p.s, sizeof(p.s), "/proc/self/fd/%d", fd);
	return p;
}

/* --- mapping --- */

/* "uid:gid:mode:major:minor", the mode with its type in octal: a person can read it. */
bool mapped_get(struct share *s, int fd, u32 type, struct mapped *m)
{
	struct mapped v;
	char b[80];
	ssize_t n;

	if (!s->mapped || (type != S_IFREG && type != S_IFDIR))
		return false;
	n = getxattr(fd_path(fd).s, MAPPED_XATTR, b, sizeof(b) - 1);
	if (n <= 0)
		return false;
	b[n] = '\0';
	if (sscanf(b, "%u:%u:%o:%u:%u", &v.uid, &v.gid, &v.mode, &v.rdev_major, &v.rdev_minor) != 5 ||
	    v.mode > 0177777)
		return false;
	*m = v;
	return true;
}

int mapped_set(int fd, const struct mapped *m)
{
	char b[80];
	int n = snprintf(b, sizeof(b), "%u:%u:%o:%u:%u", m->uid, m->gid, m->mode, m->rdev_major,
			 m->rdev_minor);

	return setxattr(fd_path(fd).s, MAPPED_XATTR, b, (size_t)n, 0) < 0 ? -errno : 0;
}

/* The file's mapping, or what the host's inode says in its place. */
static void mapped_or_host(struct share *s, int fd, const struct statx *st, struct mapped *m)
{
	if (!mapped_get(s, fd, st->stx_mode & S_IFMT, m))
		*m = (struct mapped){ .uid = st->stx_uid, .gid = st->stx_gid, .mode = st->stx_mode,
				      .rdev_major = st->stx_rdev_major,
				      .rdev_minor = st->stx_rdev_minor };
}

u32 host_mode(const struct share *s, u32 mode, u32 type)
{
	if (s->mapped)			/* the guest's is kept elsewhere: here the server must get by */
		return type == S_IFDIR ? 0700 : 0600;
	/* A guest never puts a set-id bit on a file of the host (share.md). */
	return mode & 07777 & (type == S_IFDIR ? ~0u : ~(u32)(S_ISUID | S_ISGID));
}

int set_owner(const struct req *r, int dir_fd, int fd, u32 mode, u32 rdev)
{
	struct share *s = r->s;
	u32 type = mode & S_IFMT, gid = r->gid;
	struct statx st;

	if (s->mapped) {
		struct mapped m = { .uid = r->uid, .gid = gid, .mode = mode,
				    .rdev_major = major(rdev), .rdev_minor = minor(rdev) }, up;

		if (type == S_IFLNK)
			return 0;	/* Linux gives symlinks no such attributes */
		if (mapped_get(s, dir_fd, S_IFDIR, &up) && up.mode & S_ISGID) {
			m.gid = up.gid;
			m.mode |= type == S_IFDIR ? S_ISGID : 0;
		}
		return mapped_set(fd, &m);
	}
	if (s->cannot_chown || (r->uid == s->uid && gid == s->gid))
		return 0;
	/* In a set-group-ID directory the host has chosen the group. */
	if (stat_fd(dir_fd, &st) == 0 && st.stx_mode & S_ISGID)
		gid = UINT32_MAX;
	if (fchownat(fd, "", r->uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != EPERM && errno != EINVAL)
			return -errno;
		/* Not root, or not in such a namespace: all belongs to who serves. */
		s->cannot_chown = s->cannot_chown || errno == EPERM;
	}
	return 0;
}

void kill_suid(struct share *s, int fd)
{
	struct statx st;
	struct mapped m;
	u32 bits;

	if (stat_fd(fd, &st) < 0 || !S_ISREG(st.stx_mode))
		return;
	mapped_or_host(s, fd, &st, &m);
	bits = m.mode & S_ISUID;
	if ((m.mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		bits |= S_ISGID;
	if (!bits)
		return;
	m.mode &= ~bits;
	if (s->mapped)
		mapped_set(fd, &m);
	else
		fchmodat(AT_FDCWD, fd_path(fd).s, m.mode & 07777, 0);
}

/* --- stat --- */

/* Inode numbers of several file systems below one folder must not meet. */
static u64 guest_ino(const struct share *s, const struct statx *st)
{
	u64 dev = stat_dev(st);

	return dev == s->root->dev ? st->stx_ino :
		st->stx_ino ^ (dev * 0x9e3779b97f4a7c15ull & 0xffffff0000000000ull);
}

void put_attr(struct share *s, int fd, const struct statx *st, u8 *b)
{
	struct mapped m;

	mapped_or_host(s, fd, st, &m);
	put_le64(b, guest_ino(s, st));
	put_le64(b + 8, st->stx_size);
	put_le64(b + 16, st->stx_blocks);
	put_le64(b + 24, (u64)st->stx_atime.tv_sec);
	put_le64(b + 32, (u64)st->stx_mtime.tv_sec);
	put_le64(b + 40, (u64)st->stx_ctime.tv_sec);
	put_le32(b + 48, st->stx_atime.tv_nsec);
	put_le32(b + 52, st->stx_mtime.tv_nsec);
	put_le32(b + 56, st->stx_ctime.tv_nsec);
	put_le32(b + 60, m.mode);
	put_le32(b + 64, st->stx_nlink);
	put_le32(b + 68, m.uid);
	put_le32(b + 72, m.gid);
	/* Linux's "new" encoding of device numbers. */
	put_le32(b + 76, (m.rdev_minor & 0xff) | (m.rdev_major & 0xfff) << 8 |
		 (m.rdev_minor & ~0xffu) << 12);
	put_le32(b + 80, st->stx_blksize);
	put_le32(b + 84, 0);
}

static int answer_attr(struct req *r, int fd)
{
	struct statx st;
	u8 *b;
	int e = stat_fd(fd, &st);

	if (e < 0)
		return e;
	b = answer(r, FUSE_ATTR_OUT);
	if (!b)
		return -EINVAL;
	put_le64(b, 1);			/* good for a second */
	put_attr(r->s, fd, &st, b + 16);
	return 0;
}

int op_getattr(struct req *r)
{
	const u8 *a = take(r, 16);
	struct handle *h;
	struct node *n;
	int fd;

	if (!a)
		return -EINVAL;
	if (get_le32(a) & FUSE_GETATTR_FH) {
		h = handle_get(r->s, get_le64(a + 8), false);
		fd = h ? handle_fd(r->s, h) : -EBADF;
		if (fd >= 0)
			return answer_attr(r, fd);
	}
	fd = take_node(r, r->nodeid, &n, &fd) < 0 ? -ESTALE : fd;
	return fd < 0 ? fd : answer_attr(r, fd);
}

/* --- SETATTR --- */

static int set_mode(struct share *s, int fd, u32 mode, u32 type)
{
	struct statx st;
	struct mapped m;
	int r;

	if (type == S_IFLNK)
		return -EOPNOTSUPP;
	if (s->mapped && (type == S_IFREG || type == S_IFDIR)) {
		r = stat_fd(fd, &st);
		if (r < 0)
			return r;
		mapped_or_host(s, fd, &st, &m);
		m.mode = (m.mode & S_IFMT) | (mode & 07777);
		return mapped_set(fd, &m);
	}
	return fchmodat(AT_FDCWD, fd_path(fd).s, host_mode(s, mode, type), 0) < 0 ? -errno : 0;
}

static int set_ids(struct share *s, int fd, u32 uid, u32 gid, u32 type)
{
	struct statx st;
	struct mapped m;
	int r;

	if (s->mapped && (type == S_IFREG || type == S_IFDIR)) {
		r = stat_fd(fd, &st);
		if (r < 0)
			return r;
		mapped_or_host(s, fd, &st, &m);
		m.uid = uid == UINT32_MAX ? m.uid : uid;
		m.gid = gid == UINT32_MAX ? m.gid : gid;
		return mapped_set(fd, &m);
	}
	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int set_size(struct req *r, int fd, struct handle *h, u64 size, u32 type)
{
	int wfd = h ? handle_fd(r->s, h) : -1, e = 0;

	if (type == S_IFDIR)
		return -EISDIR;
	if (type != S_IFREG || size > INT64_MAX)
		return -EINVAL;
	if (h && wfd >= 0 && (h->flags & O_ACCMODE) != O_RDONLY)
		return ftruncate(wfd, (off_t)size) < 0 ? -errno : 0;
	wfd = reopen(fd, O_WRONLY);
	if (wfd < 0)
		return wfd;
	if (ftruncate(wfd, (off_t)size) < 0)
		e = -errno;
	close(wfd);
	return e;
}

static int set_times(int fd, u32 valid, const u8 *a)
{
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };

	for (unsigned i = 0; i < 2; i++) {
		u32 nsec = get_le32(a + 56 + 4 * i);

		if (valid & (FATTR_ATIME_NOW << i))
			ts[i].tv_nsec = UTIME_NOW;
		else if (valid & (FATTR_ATIME << i) && nsec < 1000000000u)
			ts[i] = (struct timespec){ (time_t)get_le64(a + 32 + 8 * i), nsec };
		else if (valid & (FATTR_ATIME << i))
			return -EINVAL;
	}
	return utimensat(fd, "", ts, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

int op_setattr(struct req *r)
{
	const u8 *a = take(r, 88);
	struct handle *h = NULL;
	struct node *n;
	u32 valid;
	int fd, e;

	if (!a)
		return -EINVAL;
	valid = get_le32(a);
	if (valid & FATTR_FH)
		h = handle_get(r->s, get_le64(a + 8), false);
	e = take_node(r, r->nodeid, &n, &fd);
	if (e < 0)
		return e;
	if (h && h->n != n)
		h = NULL;
	if (valid & FATTR_MODE)
		e = set_mode(r->s, fd, get_le32(a + 68), n->type);
	if (!e && valid & (FATTR_UID | FATTR_GID)) {
		e = set_ids(r->s, fd, valid & FATTR_UID ? get_le32(a + 76) : UINT32_MAX,
			    valid & FATTR_GID ? get_le32(a + 80) : UINT32_MAX, n->type);
		if (!e && !(valid & FATTR_MODE))
			kill_suid(r->s, fd);
	}
	if (!e && valid & FATTR_SIZE) {
		e = set_size(r, fd, h, get_le64(a + 16), n->type);
		if (!e && valid & FATTR_KILL_SUIDGID)
			kill_suid(r->s, fd);
	}
	if (!e && valid & (FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW))
		e = set_times(fd, valid, a);
	return e < 0 ? e : answer_attr(r, fd);
}

/* --- extended attributes --- */

/* The namespace of users, less our own. security.* would be capabilities on host files, trusted.* and
 * system.* (ACLs, of which the guest's kernel would have to know) the host administrator's. */
static bool xattr_allowed(const char *name)
{
	return strncmp(name, "user.", 5) == 0 && strncmp(name, OWN_PREFIX, strlen(OWN_PREFIX)) != 0;
}

static int take_xattr_name(struct req *r, const char **name)
{
	const char *p = (const char *)r->arg, *end = memchr(p, '\0', r->len);

	if (!end || end == p)
		return -EINVAL;
	if (end - p > 255)
		return -ERANGE;
	take(r, (size_t)(end - p) + 1);
	*name = p;
	return xattr_allowed(p) ? 0 : -EOPNOTSUPP;
}

int op_setxattr(struct req *r)
{
	const u8 *a = take(r, 8);
	const char *name;
	struct node *n;
	int fd, e;
	u32 size;

	if (!a)
		return -EINVAL;
	e = take_xattr_name(r, &name);
	if (e < 0)
		return e;
	size = get_le32(a);
	if (size > r->len || size > 65536 || get_le32(a + 4) & ~(u32)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	e = take_node(r, r->nodeid, &n, &fd);
	if (e < 0)
		return e;
	return setxattr(fd_path(fd).s, name, r->arg, size, (int)get_le32(a + 4)) < 0 ? -errno : 0;
}

/* @have bytes in s->scratch are the answer; @size is what the guest has room for, 0: it asks. */
static int answer_xattr(struct req *r, u32 size, size_t have)
{
	u8 *b;

	if (size && size < have)
		return -ERANGE;
	b = answer(r, size ? have : FUSE_XATTR_OUT);
	if (!b)
		return -EINVAL;
	if (size)
		memcpy(b, r->s->scratch, have);
	else
		put_le32(b, (u32)have);
	return 0;
}

int op_getxattr(struct req *r)
{
	const u8 *a = take(r, 8);
	const char *name;
	struct node *n;
	ssize_t have;
	int fd, e;

	if (!a)
		return -EINVAL;
	e = take_xattr_name(r, &name);
	if (!e)
		e = take_node(r, r->nodeid, &n, &fd);
	if (e < 0)
		return e;
	have = getxattr(fd_path(fd).s, name, r->s->scratch, sizeof(r->s->scratch));
	return have < 0 ? -errno : answer_xattr(r, get_le32(a), (size_t)have);
}

int op_listxattr(struct req *r)
{
	const u8 *a = take(r, 8);
	char *list = (char *)r->s->scratch;
	size_t kept = 0;
	struct node *n;
	ssize_t have;
	int fd, e;

	if (!a)
		return -EINVAL;
	e = take_node(r, r->nodeid, &n, &fd);
	if (e < 0)
		return e;
	have = listxattr(fd_path(fd).s, list, sizeof(r->s->scratch));
	if (have < 0)
		return -errno;
	for (size_t at = 0, len; at < (size_t)have; at += len) {
		len = strlen(list + at) + 1;	/* each ends in NUL */
		if (!xattr_allowed(list + at))
			continue;
		memmove(list + kept, list + at, len);
		kept += len;
	}
	return answer_xattr(r, get_le32(a), kept);
}

int op_removexattr(struct req *r)
{
	const char *name;
	struct node *n;
	int fd, e = take_xattr_name(r, &name);

	if (!e)
		e = take_node(r, r->nodeid, &n, &fd);
	if (e < 0)
		return e;
	return removexattr(fd_path(fd).s, name) < 0 ? -errno : 0;
}
