// SPDX-License-Identifier: GPL-2.0-or-later
/* dir.c - directory listings. Positions are the host file system's own cookies, which it keeps stable
 * while names come and go; the guest may hand in any number as one: the host then lists from wherever
 * that leads, and nothing else happens. */
#include "share/impl.h"
#include "base/bytes.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What getdents64() returns, field by field: ino u64, off s64, reclen u16, type u8, name. */
enum { GD_INO = 0, GD_OFF = 8, GD_RECLEN = 16, GD_TYPE = 18, GD_NAME = 19 };

int op_opendir(struct req *r)
{
	struct handle *h;
	struct node *n;
	int fd, e = take_node(r, r->nodeid, &n, &fd);
	u8 *b;

	if (e < 0)
		return e;
	if (n->type != S_IFDIR)
		return -ENOTDIR;
	b = answer(r, FUSE_OPEN_OUT);
	if (!b)
		return -EINVAL;
	fd = reopen(fd, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	e = handle_new(r->s, n, fd, O_RDONLY | O_DIRECTORY, true, &h);
	if (e < 0)
		return e;
	put_le64(b, handle_number(h));
	return 0;
}

int op_releasedir(struct req *r)
{
	const u8 *a = take(r, 8);
	struct handle *h = a ? handle_get(r->s, get_le64(a), true) : NULL;

	if (!h)
		return -EBADF;
	handle_free(r->s, h);
	return 0;
}

/* For READDIRPLUS: the entry with its attributes. An entry that cannot be had (gone meanwhile) has node
 * number 0: the guest looks it up if it needs it. */
static void plus(struct req *r, struct node *dir, const char *name, u8 *b)
{
	unsigned keep = r->s->npinned;
	struct statx st;
	struct node *n;
	int fd;

	memset(b, 0, FUSE_ENTRY_OUT);
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return;
	if (node_lookup(r->s, dir, name, &n, &st) == 0) {
		fd = node_fd(r->s, n);
		if (fd >= 0)
			put_entry(r->s, n, fd, &st, b);
		else
			node_forget(r->s, n, 1);
	}
	nodes_unpin(r->s, keep);
}

static int list(struct req *r, bool with_attr)
{
	const u8 *a = take(r, FUSE_RW_IN);
	struct handle *h = a ? handle_get(r->s, get_le64(a), true) : NULL;
	int fd = h ? handle_fd(r->s, h) : -EBADF;
	size_t room, used = 0, head = (with_attr ? FUSE_ENTRY_OUT : 0) + FUSE_DIRENT, want;
	u8 *buf = r->s->scratch, *b;
	struct node *dir;
	long n = 0, at = 0;
	u64 off;

	if (fd < 0)
		return fd;
	dir = h->n;
	off = get_le64(a + 8);
	room = MIN((u64)get_le32(a + 16), MIN(r->room, (u64)OUT_MAX));
	/* What is read and then does not fit is read again: ask for about as much as fits. */
	want = MAX(MIN(with_attr ? room / 4 : room, sizeof(r->s->scratch)), 2048u);
	b = r->s->out + FUSE_OUT_HEADER;
	room = MIN(room, OUT_MAX - FUSE_OUT_HEADER);
	if (h->pos != off || off == 0) {
		if (lseek(fd, (off_t)off, SEEK_SET) < 0)
			return -errno;
		h->pos = off;
	}
	n = syscall(SYS_getdents64, fd, buf, want);
	if (n < 0)
		return -errno;
	h->pos = UINT64_MAX;		/* the descriptor stands behind what was read */
	while (at < n) {
		const u8 *d = buf + at;
		const char *name = (const char *)d + GD_NAME;
		size_t len = strlen(name), size = (head + len + 7) & ~(size_t)7;
		u64 next = get_le64(d + GD_OFF);

		if (len > NODE_NAME_MAX || size > room - used)
			break;
		memset(b + used, 0, size);
		if (with_attr)
			plus(r, dir, name, b + used);
		u8 *e = b + used + head - FUSE_DIRENT;
		put_le64(e, get_le64(d + GD_INO));
		put_le64(e + 8, next);
		put_le32(e + 16, (u32)len);
		/* Mapped, a file may stand for something else. */
		put_le32(e + 20, r->s->mapped && d[GD_TYPE] == DT_REG ? DT_UNKNOWN : d[GD_TYPE]);
		memcpy(e + FUSE_DIRENT, name, len);
		used += size;
		at += get_le16(d + GD_RECLEN);
		if (at >= n)
			h->pos = next;
	}
	if (n > 0 && !used)
		return -EINVAL;		/* no room for a single one */
	r->body = used;
	return 0;
}

int op_readdir(struct req *r)
{
	return list(r, false);
}

int op_readdirplus(struct req *r)
{
	return list(r, true);
}
