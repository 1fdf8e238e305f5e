// SPDX-License-Identifier: GPL-2.0-or-later
/* names.c - requests about names in directories. Each name is one component (take_name()), each
 * directory a descriptor. */
#include "share/impl.h"
#include "base/bytes.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int op_lookup(struct req *r)
{
	struct node *dir, *n;
	const char *name;
	struct statx st;
	int dfd, e = take_name(r, &name);

	if (!e)
		e = take_node(r, r->nodeid, &dir, &dfd);
	if (!e)
		e = node_lookup(r->s, dir, name, &n, &st);
	return e < 0 ? e : answer_entry(r, n, &st);
}

int op_readlink(struct req *r)
{
	struct node *n;
	int fd, e = take_node(r, r->nodeid, &n, &fd);
	ssize_t len;
	u8 *b;

	if (e < 0)
		return e;
	if (n->type != S_IFLNK)
		return -EINVAL;
	len = readlinkat(fd, "", (char *)r->s->scratch, 4096);
	if (len < 0)
		return -errno;
	b = answer(r, (size_t)len);
	if (!b)
		return -EINVAL;
	memcpy(b, r->s->scratch, (size_t)len);
	return 0;
}

/* What was made just now under @name: its owner, and the guest's entry. If that fails it goes again:
 * no file of the wrong owner stays. */
static int made(struct req *r, struct node *dir, int dfd, const char *name, u32 mode, u32 rdev)
{
	struct statx st;
	struct node *n;
	int fd, e = node_lookup(r->s, dir, name, &n, &st);

	if (e < 0)
		return e;
	fd = node_fd(r->s, n);
	e = fd < 0 ? fd : set_owner(r, dfd, fd, mode, rdev);
	if (!e)
		e = stat_fd(fd, &st);
	if (e < 0) {
		unlinkat(dfd, name, S_ISDIR(mode) ? AT_REMOVEDIR : 0);
		node_unlinked(r->s, n);
		node_forget(r->s, n, 1);
		return e;
	}
	return answer_entry(r, n, &st);
}

int op_symlink(struct req *r)
{
	const char *name, *target;
	struct node *dir;
	int dfd, e = take_name(r, &name);

	if (e < 0)
		return e;
	/* The target is text that only the guest will follow. */
	target = (const char *)r->arg;
	if (!memchr(target, '\0', r->len) || !*target)
		return -EINVAL;
	if (strlen(target) >= 4096)
		return -ENAMETOOLONG;
	e = take_node(r, r->nodeid, &dir, &dfd);
	if (e < 0)
		return e;
	if (symlinkat(target, dfd, name) < 0)
		return -errno;
	return made(r, dir, dfd, name, S_IFLNK | 0777, 0);
}

/* Linux's "new" encoding of device numbers. */
static u32 rdev_of(u32 v)
{
	return (u32)makedev((v >> 8) & 0xfff, (v & 0xff) | ((v >> 12) & ~0xffu));
}

int op_mknod(struct req *r)
{
	const u8 *a = take(r, 16);
	struct node *dir;
	const char *name;
	u32 mode, type;
	int dfd, e;

	if (!a)
		return -EINVAL;
	mode = get_le32(a);
	type = mode & S_IFMT;
	e = take_name(r, &name);
	if (!e)
		e = take_node(r, r->nodeid, &dir, &dfd);
	if (e < 0)
		return e;
	switch (type) {
	case 0: case S_IFREG:
		mode = (mode & 07777) | S_IFREG;
		type = S_IFREG;
		break;
	case S_IFIFO: case S_IFSOCK:
		break;
	case S_IFCHR: case S_IFBLK:
		/* Never on the host. Mapped: a file with a note that the guest takes for one. */
		if (!r->s->mapped)
			return -EPERM;
		type = S_IFREG;
		break;
	default:
		return -EINVAL;
	}
	if (r->s->mapped && type != S_IFREG)
		type = S_IFREG;		/* the note says what it is */
	if (mknodat(dfd, name, type | host_mode(r->s, mode, type), 0) < 0)
		return -errno;
	return made(r, dir, dfd, name, mode, rdev_of(get_le32(a + 4)));
}

int op_mkdir(struct req *r)
{
	const u8 *a = take(r, 8);
	struct node *dir;
	const char *name;
	u32 mode;
	int dfd, e;

	if (!a)
		return -EINVAL;
	mode = (get_le32(a) & 07777) | S_IFDIR;
	e = take_name(r, &name);
	if (!e)
		e = take_node(r, r->nodeid, &dir, &dfd);
	if (e < 0)
		return e;
	if (mkdirat(dfd, name, host_mode(r->s, mode, S_IFDIR)) < 0)
		return -errno;
	return made(r, dir, dfd, name, mode, 0);
}

static int remove_name(struct req *r, int flags)
{
	struct node *dir, *n;
	const char *name;
	int dfd, e = take_name(r, &name);

	if (!e)
		e = take_node(r, r->nodeid, &dir, &dfd);
	if (e < 0)
		return e;
	n = node_at(r->s, dir, name);
	if (n)
		node_fd(r->s, n);	/* it may be in use: then this leads to it */
	if (unlinkat(dfd, name, flags) < 0)
		return -errno;
	if (n)
		node_unlinked(r->s, n);
	return 0;
}

int op_unlink(struct req *r)
{
	return remove_name(r, 0);
}

int op_rmdir(struct req *r)
{
	return remove_name(r, AT_REMOVEDIR);
}

static int rename_names(struct req *r, u64 to_id, u32 flags)
{
	struct node *from_dir, *to_dir, *n, *there;
	const char *from, *to;
	int from_fd, to_fd, e = take_name(r, &from);

	if (!e)
		e = take_name(r, &to);
	if (!e)
		e = take_node(r, r->nodeid, &from_dir, &from_fd);
	if (!e)
		e = take_node(r, to_id, &to_dir, &to_fd);
	if (e < 0)
		return e;
	/* WHITEOUT makes a device node. */
	if (flags & ~(u32)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	n = node_at(r->s, from_dir, from);
	there = node_at(r->s, to_dir, to);
	if (there)
		node_fd(r->s, there);
	if (syscall(SYS_renameat2, from_fd, from, to_fd, to, flags) < 0)
		return -errno;
	if (n == there)			/* two names of one file: nothing happens (rename(2)) */
		return 0;
	if (there && flags & RENAME_EXCHANGE)
		node_moved(r->s, there, from_dir, from);
	else if (there)
		node_unlinked(r->s, there);
	if (n)
		node_moved(r->s, n, to_dir, to);
	return 0;
}

int op_rename(struct req *r)
{
	const u8 *a = take(r, 8);

	return a ? rename_names(r, get_le64(a), 0) : -EINVAL;
}

int op_rename2(struct req *r)
{
	const u8 *a = take(r, 16);

	return a ? rename_names(r, get_le64(a), get_le32(a + 8)) : -EINVAL;
}

int op_link(struct req *r)
{
	const u8 *a = take(r, 8);
	struct node *dir, *n, *made_n;
	const char *name;
	struct statx st;
	int dfd, fd, e;

	if (!a)
		return -EINVAL;
	e = take_name(r, &name);
	if (!e)
		e = take_node(r, get_le64(a), &n, &fd);
	if (!e)
		e = take_node(r, r->nodeid, &dir, &dfd);
	if (e < 0)
		return e;
	if (linkat(AT_FDCWD, fd_path(fd).s, dfd, name, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	e = node_lookup(r->s, dir, name, &made_n, &st);
	return e < 0 ? e : answer_entry(r, made_n, &st);
}
