// SPDX-License-Identifier: GPL-2.0-or-later
/* state.c - what the guest knows of a shared folder, as bytes in a saved machine's stream, and back.
 * Files are paths and identities there; nothing is opened by loading.
 *
 *	u32 version; u8 inited; u64 next_id, root's device; u32 nodes, handles
 *	node:	u64 id, parent (0: none), nlookup, dev, ino, btime; u32 type; u8 orphan; u8 len; name
 *	handle:	u32 index, gen; u64 node; u32 flags; u8 dir */
#include "share/impl.h"
#include "base/bytes.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_VERSION = 1, HEAD_LEN = 29, NODE_LEN = 54, HANDLE_LEN = 21 };

int share_save(const struct share *s, u8 **buf, size_t *len, struct err *e)
{
	size_t room = HEAD_LEN + (size_t)s->nnodes * (NODE_LEN + NODE_NAME_MAX) +
		      (size_t)s->nhandles * HANDLE_LEN;
	u8 *b, *p;

	room = MIN(room, (size_t)SHARE_STATE_MAX);
	b = p = malloc(room);
	if (!b)
		return err_set(e, ENOMEM, "shared folder: out of memory");
	put_le32(p, STATE_VERSION);
	p[4] = s->inited;
	put_le64(p + 5, s->next_id);
	put_le64(p + 13, s->root->dev);
	put_le32(p + 21, s->nnodes - 1);
	put_le32(p + 25, s->nhandles);
	p += HEAD_LEN;
	for (unsigned i = 0; i < s->nhash; i++)
		for (const struct node *n = s->by_id[i]; n; n = n->id_next) {
			size_t l = n->name ? strlen(n->name) : 0;

			if (n == s->root)
				continue;
			if (room - (size_t)(p - b) < NODE_LEN + l) {
				free(b);
				return err_set(e, EFBIG, "shared folder: the guest knows too many files");
			}
			put_le64(p, n->id);
			put_le64(p + 8, n->parent ? n->parent->id : 0);
			put_le64(p + 16, n->nlookup);
			put_le64(p + 24, n->dev);
			put_le64(p + 32, n->ino);
			put_le64(p + 40, n->btime_ns);
			put_le32(p + 48, n->type);
			p[52] = n->orphan;
			p[53] = (u8)l;
			if (l)
				memcpy(p + NODE_LEN, n->name, l);
			p += NODE_LEN + l;
		}
	for (unsigned i = 0; i < s->handles_max; i++) {
		const struct handle *h = s->handle[i];

		if (!h)
			continue;
		if (room - (size_t)(p - b) < HANDLE_LEN) {
			free(b);
			return err_set(e, EFBIG, "shared folder: the guest has too many files open");
		}
		put_le32(p, h->index);
		put_le32(p + 4, h->gen);
		put_le64(p + 8, h->n->id);
		put_le32(p + 16, h->flags);
		p[20] = h->dir;
		p += HANDLE_LEN;
	}
	*buf = b;
	*len = (size_t)(p - b);
	return 0;
}

static int bad(struct err *e, const char *what)
{
	return err_set(e, EINVAL, "shared folder: its saved state is damaged: %s", what);
}

/* First all nodes, with the number of the parent in `walk`'s place... which the second round follows. */
static int load_nodes(struct share *s, const u8 **pp, const u8 *end, u32 count, u64 old_dev,
		      struct err *e)
{
	const u8 *p = *pp;

	for (u32 i = 0; i < count; i++) {
		struct node *n;
		u64 id;
		size_t l;

		if ((size_t)(end - p) < NODE_LEN || (size_t)(end - p) < NODE_LEN + (l = p[53]))
			return bad(e, "it ends within a file");
		id = get_le64(p);
		if (id <= FUSE_ROOT || id >= s->next_id || node_get(s, id))
			return bad(e, "a file's number");
		n = node_add(s, id);
		if (!n)
			return err_set(e, ENOMEM, "shared folder: the guest knows more files than this "
				       "machine may");
		n->nlookup = get_le64(p + 16);
		/* Device numbers are the host's mood of the day: the folder's own is known. */
		n->dev = get_le64(p + 24) == old_dev ? s->root->dev : get_le64(p + 24);
		n->ino = get_le64(p + 32);
		n->btime_ns = get_le64(p + 40);
		n->type = get_le32(p + 48) & S_IFMT;
		n->orphan = p[52] & 1;
		if (l) {
			n->name = malloc(l + 1);
			if (!n->name)
				return err_set(e, ENOMEM, "shared folder: out of memory");
			memcpy(n->name, p + NODE_LEN, l);
			n->name[l] = '\0';
			if (strlen(n->name) != l || strchr(n->name, '/') ||
			    strcmp(n->name, ".") == 0 || strcmp(n->name, "..") == 0)
				return bad(e, "a file's name");
		}
		node_hash_ino(s, n);
		p += NODE_LEN + l;
	}
	*pp = p;
	return 0;
}

static int load_parents(struct share *s, const u8 *p, u32 count, struct err *e)
{
	for (u32 i = 0; i < count; i++, p += NODE_LEN + p[53]) {
		struct node *n = node_get(s, get_le64(p)), *up;
		u64 id = get_le64(p + 8);

		if (!id != !n->name || (id && n->orphan))
			return bad(e, "a file has a name and no folder, or the other way round");
		if (!id)
			continue;
		up = node_get(s, id);
		if (!up || up->type != S_IFDIR)
			return bad(e, "a file's folder");
		n->parent = up;
		up->refs++;
	}
	return 0;
}

/* Follow each path up to what is known to end, marking the way: a second visit is a circle. */
static int check_circles(struct share *s, struct err *e)
{
	for (unsigned i = 0; i < s->nhash; i++)
		for (struct node *n = s->by_id[i]; n; n = n->id_next) {
			struct node *p = n, *q;

			while (p && !p->mark && p->walk != n) {
				p->walk = n;
				p = p->parent;
			}
			if (p && !p->mark)
				return bad(e, "folders in a circle");
			for (q = n; q && !q->mark; q = q->parent)
				q->mark = true;
		}
	return 0;
}

static int load_handles(struct share *s, const u8 *p, const u8 *end, u32 count, struct err *e)
{
	if ((u64)(end - p) != (u64)count * HANDLE_LEN)
		return bad(e, "its length");
	for (u32 i = 0; i < count; i++, p += HANDLE_LEN) {
		u32 index = get_le32(p), flags = get_le32(p + 16);
		struct node *n = node_get(s, get_le64(p + 8));
		struct handle *h;

		if (index >= s->handles_max)
			return err_set(e, EMFILE, "shared folder: the guest has more files open than this "
				       "process may have; raise `ulimit -n`");
		if (!n || s->handle[index] || p[20] > 1 || (p[20] != 0) != (n->type == S_IFDIR))
			return bad(e, "an open file");
		h = calloc(1, sizeof(*h));
		if (!h)
			return err_set(e, ENOMEM, "shared folder: out of memory");
		*h = (struct handle){ .n = n, .fd = -1, .index = index, .gen = get_le32(p + 4),
				      .dir = p[20], .next = n->handles };
		h->flags = h->dir ? O_RDONLY | O_DIRECTORY :
			   (flags & (O_ACCMODE | O_APPEND | O_DSYNC | O_SYNC)) | O_NONBLOCK | O_NOCTTY;
		if (s->readonly && (h->flags & O_ACCMODE) != O_RDONLY) {
			free(h);
			return err_set(e, EROFS, "shared folder: the guest has files open for writing");
		}
		n->handles = h;
		n->refs++;
		s->handle[index] = h;
		s->nhandles++;
		s->gen = MAX(s->gen, h->gen);
	}
	return 0;
}

int share_load(struct share *s, const u8 *buf, size_t len, struct err *e)
{
	const u8 *p = buf + HEAD_LEN, *end = buf + len, *nodes = p;
	u32 count, nhandles;
	int r;

	share_reset(s);
	if (len < HEAD_LEN || get_le32(buf) != STATE_VERSION || buf[4] > 1)
		return bad(e, "its head");
	s->inited = buf[4];
	s->next_id = get_le64(buf + 5);
	count = get_le32(buf + 21);
	nhandles = get_le32(buf + 25);
	r = s->next_id > FUSE_ROOT ? 0 : bad(e, "its numbers");
	if (!r)
		r = load_nodes(s, &p, end, count, get_le64(buf + 13), e);
	if (!r)
		r = load_parents(s, nodes, count, e);
	if (!r)
		r = check_circles(s, e);
	if (!r)
		r = load_handles(s, p, end, nhandles, e);
	if (r < 0)
		share_reset(s);
	return r;
}
