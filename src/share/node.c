// SPDX-License-Identifier: GPL-2.0-or-later
/* node.c - the files that a guest knows, and those that it has open. See impl.h. */
#include "share/impl.h"
#include "base/cleanup.h"
#include "base/trace.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

int open_below(int dir_fd, const char *name, u64 flags, u64 mode)
{
	const struct open_how how = {
		.flags = flags | O_CLOEXEC | O_NOFOLLOW, .mode = mode,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int stat_fd(int fd, struct statx *st)
{
	return statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME,
		     st) < 0 ? -errno : 0;
}

u64 stat_dev(const struct statx *st)
{
	return (u64)st->stx_dev_major << 32 | st->stx_dev_minor;
}

static u64 stat_btime(const struct statx *st)
{
	return st->stx_mask & STATX_BTIME ?
		(u64)st->stx_btime.tv_sec * 1000000000u + st->stx_btime.tv_nsec : 0;
}

static bool is(const struct node *n, const struct statx *st)
{
	return n->dev == stat_dev(st) && n->ino == st->stx_ino && n->btime_ns == stat_btime(st) &&
	       n->type == (st->stx_mode & S_IFMT);
}

/* --- tables --- */

static unsigned ino_slot(const struct share *s, u64 dev, u64 ino)
{
	u64 h = (ino ^ dev * 31) * 0x9e3779b97f4a7c15ull;

	return (unsigned)(h >> 32) & (s->nhash - 1);
}

static struct node **id_slot(struct share *s, u64 id)
{
	return &s->by_id[id & (s->nhash - 1)];
}

struct node *node_get(struct share *s, u64 id)
{
	struct node *n = *id_slot(s, id);

	while (n && n->id != id)
		n = n->id_next;
	return n;
}

static struct node *find_ino(struct share *s, u64 dev, u64 ino)
{
	struct node *n = s->by_ino[ino_slot(s, dev, ino)];

	while (n && (n->dev != dev || n->ino != ino))
		n = n->ino_next;
	return n;
}

void node_hash_ino(struct share *s, struct node *n)
{
	struct node **at = &s->by_ino[ino_slot(s, n->dev, n->ino)];

	n->ino_next = *at;
	*at = n;
	n->hashed = true;
}

static void unhash_ino(struct share *s, struct node *n)
{
	struct node **at = &s->by_ino[ino_slot(s, n->dev, n->ino)];

	if (!n->hashed)
		return;
	while (*at != n)
		at = &(*at)->ino_next;
	*at = n->ino_next;
	n->hashed = false;
}

struct node *node_add(struct share *s, u64 id)
{
	struct node *n = s->nnodes < s->nodes_max ? calloc(1, sizeof(*n)) : NULL;

	if (!n)
		return NULL;
	n->id = id;
	n->fd = -1;
	n->id_next = *id_slot(s, id);
	*id_slot(s, id) = n;
	s->nnodes++;
	return n;
}

/* --- descriptors: a list by last use --- */

static void unlist(struct share *s, struct node *n)
{
	*(n->newer ? &n->newer->older : &s->newest) = n->older;
	*(n->older ? &n->older->newer : &s->oldest) = n->newer;
}

static void list_newest(struct share *s, struct node *n)
{
	n->newer = NULL;
	n->older = s->newest;
	*(s->newest ? &s->newest->newer : &s->oldest) = n;
	s->newest = n;
}

static void drop_fd(struct share *s, struct node *n)
{
	if (n->fd < 0)
		return;
	unlist(s, n);
	close(n->fd);
	n->fd = -1;
	s->nfds--;
	if (n->orphan)
		s->norphans--;
}

static void set_fd(struct share *s, struct node *n, int fd)
{
	/* Orphans are kept as long as they are not too many: nothing else leads to them. */
	bool spare = s->norphans < s->fds_max / 2;

	for (struct node *o = s->oldest, *next; o && s->nfds >= s->fds_max; o = next) {
		next = o->newer;
		if (!o->pins && o != s->root && !(spare && o->orphan))
			drop_fd(s, o);
	}
	n->fd = fd;
	s->nfds++;
	if (n->orphan)
		s->norphans++;
	list_newest(s, n);
}

static void pin(struct share *s, struct node *n)
{
	if (n->fd >= 0 && n != s->newest) {
		unlist(s, n);
		list_newest(s, n);
	}
	if (n->pins)
		return;
	BUG_ON(s->npinned == PINS_MAX);
	n->pins++;
	n->refs++;
	s->pinned[s->npinned++] = n;
}

void nodes_unpin(struct share *s, unsigned keep)
{
	while (s->npinned > keep) {
		struct node *n = s->pinned[--s->npinned];

		n->pins--;
		node_unref(s, n);
	}
}

/* Find @n again below its parent, which has a descriptor. */
static int refind(struct share *s, struct node *n)
{
	int fd = open_below(n->parent->fd, n->name, O_PATH, 0);
	struct statx st;
	int r;

	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP || fd == -EXDEV ? -ESTALE : fd;
	r = stat_fd(fd, &st);
	if (r == 0 && !is(n, &st))
		r = -ESTALE;
	if (r < 0) {
		close(fd);
		return r;
	}
	set_fd(s, n, fd);
	return 0;
}

/* No way leads to it, but perhaps it is open. */
static int open_fd(const struct node *n, int err)
{
	for (const struct handle *h = n->handles; h; h = h->next)
		if (h->fd >= 0)
			return h->fd;
	return err;
}

int node_fd(struct share *s, struct node *n)
{
	unsigned depth = 0;
	struct node *p = n;

	while (p->fd < 0) {
		if (!p->parent || ++depth > DEPTH_MAX)
			return open_fd(n, -ESTALE);
		p->parent->walk = p;
		p = p->parent;
	}
	while (p != n) {
		int r;

		/* The parent must stay while the child is opened. */
		p->pins++;
		r = refind(s, p->walk);
		p->pins--;
		if (r < 0)
			return open_fd(n, r);
		p = p->walk;
	}
	pin(s, n);
	return n->fd;
}

/* --- life --- */

static void set_parent(struct share *s, struct node *n, struct node *dir)
{
	struct node *old = n->parent;

	if (dir)
		dir->refs++;
	n->parent = dir;
	if (old)
		node_unref(s, old);
}

static void free_node(struct share *s, struct node *n)
{
	struct node **at = id_slot(s, n->id);

	while (*at != n)
		at = &(*at)->id_next;
	*at = n->id_next;
	unhash_ino(s, n);
	drop_fd(s, n);
	free(n->name);
	free(n);
	s->nnodes--;
}

/* Nobody needs it any more? Then its parents, perhaps, neither. */
static void check(struct share *s, struct node *n)
{
	while (n && n != s->root && !n->refs && !n->nlookup) {
		struct node *up = n->parent;

		free_node(s, n);
		if (up)
			up->refs--;
		n = up;
	}
}

void node_unref(struct share *s, struct node *n)
{
	n->refs--;
	check(s, n);
}

void node_forget(struct share *s, struct node *n, u64 nlookup)
{
	n->nlookup -= MIN(n->nlookup, nlookup);
	check(s, n);
}

void nodes_free(struct share *s, bool keep_root)
{
	struct node *root = keep_root ? s->root : NULL;

	for (unsigned i = 0; i < s->nhash; i++)
		while (s->by_id[i]) {
			struct node *n = s->by_id[i];

			s->by_id[i] = n->id_next;
			if (n == root)
				continue;
			if (n->fd >= 0)
				close(n->fd);
			free(n->name);
			free(n);
		}
	memset(s->by_ino, 0, s->nhash * sizeof(*s->by_ino));
	s->nnodes = s->nfds = s->norphans = 0;
	s->newest = s->oldest = s->root = root;
	s->npinned = 0;
	if (!root)
		return;
	root->id_next = root->ino_next = root->newer = root->older = NULL;
	root->refs = 1;
	root->pins = 0;
	*id_slot(s, root->id) = root;
	node_hash_ino(s, root);
	s->nnodes = s->nfds = 1;
}

/* --- paths --- */

static bool is_below(const struct node *n, const struct node *top)
{
	for (unsigned i = 0; n && i < DEPTH_MAX; i++, n = n->parent)
		if (n == top)
			return true;
	return n != NULL;
}

/* @n is found at this path now. */
static int set_path(struct share *s, struct node *n, struct node *dir, const char *name)
{
	char *copy;

	if (n == s->root || (n->parent == dir && n->name && strcmp(n->name, name) == 0))
		return 0;
	/* The host has moved directories, and what we know of those above is old: better no news
	 * than a circle. */
	if (n->type == S_IFDIR && is_below(dir, n))
		return 0;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	free(n->name);
	n->name = copy;
	if (n->orphan) {
		n->orphan = false;
		if (n->fd >= 0)
			s->norphans--;
	}
	set_parent(s, n, dir);
	return 0;
}

int node_of_fd(struct share *s, int fd, struct node *dir, const char *name, struct node **out,
	       struct statx *st)
{
	struct node *n;
	int r = stat_fd(fd, st);

	if (r < 0) {
		close(fd);
		return r;
	}
	n = find_ino(s, stat_dev(st), st->stx_ino);
	if (n && !is(n, st)) {		/* its inode was used again: that one is another's now */
		unhash_ino(s, n);
		if (!n->orphan)
			drop_fd(s, n);
		n = NULL;
	}
	if (!n) {
		n = node_add(s, s->next_id);
		if (!n) {
			close(fd);
			return s->nnodes >= s->nodes_max ? -ENFILE : -ENOMEM;
		}
		s->next_id++;
		n->dev = stat_dev(st);
		n->ino = st->stx_ino;
		n->btime_ns = stat_btime(st);
		n->type = st->stx_mode & S_IFMT;
		node_hash_ino(s, n);
	}
	if (n->fd < 0)
		set_fd(s, n, fd);
	else
		close(fd);
	pin(s, n);
	r = dir ? set_path(s, n, dir, name) : 0;
	if (r < 0) {
		check(s, n);
		return r;
	}
	if (!dir && !n->parent && !n->orphan) {
		n->orphan = true;
		s->norphans++;
	}
	n->nlookup++;
	*out = n;
	return 0;
}

int node_lookup(struct share *s, struct node *dir, const char *name, struct node **out,
		struct statx *st)
{
	int dfd = node_fd(s, dir);
	int fd = dfd < 0 ? dfd : open_below(dfd, name, O_PATH, 0);

	return fd < 0 ? fd : node_of_fd(s, fd, dir, name, out, st);
}

struct node *node_at(struct share *s, struct node *dir, const char *name)
{
	int dfd = node_fd(s, dir);
	struct statx st;
	struct node *n;

	if (dfd < 0 || statx(dfd, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
		return NULL;
	n = find_ino(s, stat_dev(&st), st.stx_ino);
	if (!n || n == s->root || n->parent != dir || !n->name || strcmp(n->name, name) != 0)
		return NULL;
	return n;
}

void node_unlinked(struct share *s, struct node *n)
{
	struct node *old = n->parent;

	free(n->name);
	n->name = NULL;
	n->parent = NULL;
	if (!n->orphan) {
		n->orphan = true;
		if (n->fd >= 0)
			s->norphans++;
	}
	if (old)
		node_unref(s, old);
	check(s, n);
}

void node_moved(struct share *s, struct node *n, struct node *dir, const char *name)
{
	if (set_path(s, n, dir, name) < 0)
		node_unlinked(s, n);
}

/* --- handles --- */

int handle_new(struct share *s, struct node *n, int fd, u32 flags, bool dir, struct handle **out)
{
	struct handle *h = s->nhandles < s->handles_max ? calloc(1, sizeof(*h)) : NULL;

	if (!h) {
		close(fd);
		return -ENFILE;
	}
	while (s->handle[s->handle_next])
		s->handle_next = (s->handle_next + 1) % s->handles_max;
	*h = (struct handle){ .n = n, .fd = fd, .flags = flags, .dir = dir, .next = n->handles,
			      .index = s->handle_next, .gen = ++s->gen };
	s->handle[h->index] = h;
	s->nhandles++;
	s->handle_next = (s->handle_next + 1) % s->handles_max;
	n->handles = h;
	n->refs++;
	*out = h;
	return 0;
}

u64 handle_number(const struct handle *h)
{
	return (u64)h->gen << 32 | h->index;
}

struct handle *handle_get(struct share *s, u64 fh, bool dir)
{
	struct handle *h = (u32)fh < s->handles_max ? s->handle[(u32)fh] : NULL;

	return h && h->gen == fh >> 32 && h->dir == dir ? h : NULL;
}

int handle_fd(struct share *s, struct handle *h)
{
	int fd;

	if (h->fd >= 0)
		return h->fd;
	fd = node_fd(s, h->n);
	if (fd >= 0)
		fd = reopen(fd, h->flags & ~(u32)O_TRUNC);
	if (fd < 0) {
		log_limited(LOG_WARN, "share: a file that the guest had open when it was saved is gone "
			    "or changed: %s", strerror(-fd));
		return fd == -ESTALE ? -EIO : fd;
	}
	h->fd = fd;
	h->pos = 0;
	return fd;
}

void handle_free(struct share *s, struct handle *h)
{
	struct handle **at = &h->n->handles;

	while (*at != h)
		at = &(*at)->next;
	*at = h->next;
	s->handle[h->index] = NULL;
	s->nhandles--;
	if (h->fd >= 0)
		close(h->fd);
	node_unref(s, h->n);
	free(h);
}
