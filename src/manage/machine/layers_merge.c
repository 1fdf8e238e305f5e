// SPDX-License-Identifier: GPL-2.0-or-later
/* layers_merge.c - chains of disks do not grow for ever: layers that only one other file needs go into
 * that one. See layers.h.
 *
 * A file is needed as it is when a configuration or a snapshot names it, or when two lie on it. All others
 * of a chain are there only because a snapshot or a copy was, once. */
#include "manage/machine/layers.h"
#include "block/image.h"
#include "manage/machine/snapshots.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHAIN_MAX 64

struct node {			/* a file */
	dev_t dev;
	ino_t ino, above;	/* what lies on it */
	bool named, shared;	/* by a configuration; by two above it */
};
struct graph { struct node *v; size_t n; bool failed; };
struct chain { char *path[CHAIN_MAX]; unsigned n; };

static void chain_free(struct chain *c)
{
	for (unsigned i = 0; i < c->n; i++)
		free(c->path[i]);
	c->n = 0;
}

/* The files of the image at @path, from the top. False: not to its end. */
static bool chain_read(struct chain *c, const char *path)
{
	struct image_info *info = malloc(sizeof(*info));
	char *at = strdup(path);
	bool whole = false;

	c->n = 0;
	while (info && at && !whole && c->n < CHAIN_MAX && !image_info(at, info, NULL)) {
		c->path[c->n++] = at;
		whole = !info->backing[0];
		at = whole ? NULL : strdup(info->backing_path);
	}
	free(at);
	free(info);
	return whole;
}

static struct node *find(struct graph *g, const char *path, bool make)
{
	struct node *v;
	struct stat st;

	if (stat(path, &st))
		return NULL;
	for (size_t i = 0; i < g->n; i++)
		if (g->v[i].dev == st.st_dev && g->v[i].ino == st.st_ino)
			return &g->v[i];
	v = make ? realloc(g->v, (g->n + 1) * sizeof(*v)) : NULL;
	if (!v)
		return NULL;
	g->v = v;
	v[g->n] = (struct node){ .dev = st.st_dev, .ino = st.st_ino };
	return &v[g->n++];
}

static int note_config(void *ctx, const char *name, const struct vm_config *c, const char *dir)
{
	struct graph *g = ctx;

	for (unsigned i = 0; i < c->ndisk; i++) {
		char *path = layers_path(dir, c->disk[i].path);
		struct chain ch = { .n = 0 };
		ino_t above = 0;

		if (!path || !chain_read(&ch, path))
			g->failed = true;
		for (unsigned k = 0; k < ch.n; k++) {
			struct node *v = find(g, ch.path[k], true);

			if (!v) {
				g->failed = true;
				break;
			}
			v->named |= k == 0;
			v->shared |= k && v->above && v->above != above;
			v->above = k ? above : v->above;
			above = v->ino;
		}
		chain_free(&ch);
		free(path);
	}
	return 0;
}

/* One that layers_add() made in @f. */
static bool is_ours(const struct folder *f, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	struct stat here, there;

	return layers_is_name(name) && !stat(path, &there) &&
	       !fstatat(f->fd, name, &here, AT_SYMLINK_NOFOLLOW) && S_ISREG(here.st_mode) &&
	       here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

struct merging {
	const struct folder *f;
	struct graph g;
	unsigned longer;
	struct err *e;
	int ret;
};

/* From the top of @c, which nobody writes to but for the first @busy. Returns whether one went. */
static bool merge_chain(struct merging *m, struct chain *c, unsigned busy)
{
	bool any = false;

	for (unsigned i = busy; i + 2 < c->n && !m->ret; i++) {
		unsigned n = 0;

		/* The last one stays: others' files end there. */
		while (i + n + 2 < c->n) {
			struct node *v = find(&m->g, c->path[i + n + 1], false);

			if (!v || v->named || v->shared || !is_ours(m->f, c->path[i + n + 1]))
				break;
			n++;
		}
		if (!n || !is_ours(m->f, c->path[i]))
			continue;
		m->ret = image_merge(c->path[i], n, NULL, NULL, m->e);
		if (m->ret)
			break;
		any = true;
		for (unsigned k = i + 1; k <= i + n; k++)
			free(c->path[k]);
		memmove(&c->path[i + 1], &c->path[i + n + 1], (c->n - i - n - 1) * sizeof(*c->path));
		c->n -= n;
		/* It is another file now; who it is is not asked again for what lies above. */
	}
	return any;
}

static u64 merge_config(struct merging *m, const struct vm_config *c, const char *dir, bool running)
{
	u64 moved = 0;

	for (unsigned i = 0; i < c->ndisk && !m->ret; i++) {
		char *path = layers_path(dir, c->disk[i].path);
		struct chain ch = { .n = 0 };

		if (path && chain_read(&ch, path) && ch.n > m->longer && merge_chain(m, &ch, running))
			moved |= 1ull << i;
		chain_free(&ch);
		free(path);
	}
	return moved;
}

/* A snapshot's disks are written to by nobody. */
static int merge_snapshot(void *ctx, const char *name, const struct vm_config *c, const char *dir)
{
	merge_config(ctx, c, dir, false);
	return 0;
}

int layers_merge(const struct folder *f, unsigned longer, bool running, u64 *moved, struct err *e)
{
	struct merging m = { .f = f, .longer = longer, .e = e };
	struct vm_config c;

	*moved = 0;
	vm_config_init(&c);
	if (!layers_each_config(note_config, &m.g) || m.g.failed)
		m.ret = 0;		/* something that cannot be read may need them all */
	else if (!(m.ret = folder_read_config(f, &c, e)))
		*moved = merge_config(&m, &c, f->path, running);
	if (!m.ret && !m.g.failed)
		m.ret = snapshots_each(f, merge_snapshot, &m);
	vm_config_free(&c);
	free(m.g.v);
	layers_sweep(f);
	return m.ret;
}

int layers_open_below(const char *path, struct block_file *files, unsigned *n, struct err *e)
{
	struct image_info *info = malloc(sizeof(*info));
	struct chain c;
	int r = 0;

	*n = 0;
	if (!info || !chain_read(&c, path))
		r = err_set(e, info ? EIO : ENOMEM, "%s: its files cannot be read", path);
	for (unsigned i = 1; !r && i < c.n; i++) {
		struct block_file *f = &files[*n];

		r = image_info(c.path[i], info, e);
		f->fd = r ? -1 : open(c.path[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (!r && f->fd < 0)
			r = err_errno(e, "%s", c.path[i]);
		if (r)
			break;
		/* What lies on it says what it is: a raw file may look like anything. */
		f->format = !strcmp(info->format, "qcow2") && i + 1 < c.n ? "qcow2" : NULL;
		f->path = c.path[i];
		c.path[i] = NULL;
		++*n;
	}
	for (unsigned i = 0; !r && i < *n; i++)
		if (!files[i].format) {
			r = image_info(i ? files[i - 1].path : path, info, e);
			files[i].format = !strcmp(info->backing_format, "raw") ? "raw" : "qcow2";
		}
	if (info)
		chain_free(&c);
	free(info);
	if (r)
		layers_close_below(files, n);
	return r;
}

void layers_close_below(struct block_file *files, unsigned *n)
{
	for (unsigned i = 0; i < *n; i++) {
		close(files[i].fd);
		free((char *)files[i].path);
	}
	*n = 0;
}
