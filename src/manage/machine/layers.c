// SPDX-License-Identifier: GPL-2.0-or-later
/* layers.c - disks of snapshots and forks. See layers.h. */
#include "manage/machine/layers.h"
#include "base/cleanup.h"
#include "block/image.h"
#include "manage/machine/snapshots.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define QCOW2_FORMAT 2			/* in VM_DISK_FORMATS */
#define CHAIN_MAX 64

char *layers_path(const char *dir, const char *path)
{
	char *p = NULL;

	if (path[0] == '/')
		return strdup(path);
	return asprintf(&p, "%s/%s", dir, path) < 0 ? NULL : p;
}

static int out_of_memory(struct err *e)
{
	return err_set(e, ENOMEM, "out of memory");
}

static int add(struct layers *ls, const struct folder *f, struct vm_disk *d, unsigned n,
	       const struct vm_disk *base, const char *base_dir, struct err *e)
{
	cleanup_free char *below = layers_path(base_dir, base->path), *top = NULL;
	struct image_spec spec = { .format = "qcow2", .backing_busy = true };
	struct layer *l = &ls->l[ls->n];
	struct image_info *info = malloc(sizeof(*info));
	char name[32];
	u32 rnd;
	int r = info && below ? 0 : out_of_memory(e);

	if (!r)
		r = image_info(below, info, e);
	if (!r && getrandom(&rnd, sizeof(rnd), 0) != sizeof(rnd))
		r = err_errno(e, "getrandom");
	if (r) {
		free(info);
		return r;
	}
	snprintf(name, sizeof(name), "disk%u.%08x.qcow2", n, rnd);
	spec.size = info->size;
	spec.backing_format = info->format;
	/* In one folder they may move together; else the name must hold wherever one looks from. */
	spec.backing = base->path[0] != '/' && !strcmp(base_dir, f->path) ? base->path : below;
	*l = (struct layer){ .disk = n, .path = strdup(name), .old = strdup(d->path),
			     .old_format = d->format, .fd = -1 };
	ls->n++;
	top = layers_path(f->path, name);
	if (!l->path || !l->old || !top)
		r = out_of_memory(e);
	if (!r)
		r = image_create(top, &spec, e);
	free(info);
	if (r)
		return r;
	l->fd = open(top, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (l->fd < 0)
		return err_errno(e, "open %s", top);
	free(d->path);
	d->path = strdup(name);
	d->format = QCOW2_FORMAT;
	return d->path ? 0 : out_of_memory(e);
}

int layers_add(struct layers *ls, const struct folder *f, struct vm_config *c,
	       const struct vm_config *base, const char *base_dir, struct err *e)
{
	int r = 0;

	*ls = LAYERS_NONE;
	for (unsigned i = 0; i < c->ndisk && !r; i++)
		if (!c->disk[i].ro)
			r = add(ls, f, &c->disk[i], i, &base->disk[i], base_dir, e);
	if (r)
		layers_undo(ls, f, c);
	return r;
}

void layers_undo(struct layers *ls, const struct folder *f, struct vm_config *c)
{
	for (unsigned i = 0; i < ls->n; i++) {
		struct layer *l = &ls->l[i];
		struct vm_disk *d = &c->disk[l->disk];

		if (l->path)
			unlinkat(f->fd, l->path, 0);
		if (!l->old)
			continue;
		free(d->path);
		d->path = l->old;
		d->format = l->old_format;
		l->old = NULL;
	}
	layers_free(ls);
}

void layers_free(struct layers *ls)
{
	for (unsigned i = 0; i < ls->n; i++) {
		cleanup_closep(&ls->l[i].fd);
		free(ls->l[i].path);
		free(ls->l[i].old);
	}
	*ls = LAYERS_NONE;
}

/* --- sweeping --- */

bool layers_is_name(const char *name)
{
	unsigned disk, rnd;
	int end = 0;

	return sscanf(name, "disk%2u.%8x.qcow2%n", &disk, &rnd, &end) == 2 && end > 0 && !name[end] &&
	       strlen(name) >= 20;
}

struct inode { dev_t dev; ino_t ino; };
struct used { struct inode *in; size_t n; bool failed; };

static void use(struct used *u, const struct stat *st)
{
	struct inode *in = realloc(u->in, (u->n + 1) * sizeof(*in));

	if (!in) {
		u->failed = true;
		return;
	}
	u->in = in;
	u->in[u->n++] = (struct inode){ st->st_dev, st->st_ino };
}

/* The file at @path, and what it is built on. One that cannot be looked at keeps everything. */
static void use_chain(struct used *u, const char *path)
{
	struct image_info *info = malloc(sizeof(*info));
	char *at = strdup(path);
	struct stat st;

	for (unsigned depth = 0; info && at && depth < CHAIN_MAX; depth++) {
		if (stat(at, &st) || image_info(at, info, NULL))
			break;
		use(u, &st);
		free(at);
		at = info->backing[0] ? strdup(info->backing_path) : NULL;
		if (!info->backing[0]) {
			free(info);
			return;
		}
	}
	u->failed = true;
	free(at);
	free(info);
}

static int use_config(void *ctx, const char *name, const struct vm_config *c, const char *dir)
{
	for (unsigned i = 0; i < c->ndisk; i++) {
		char *p = layers_path(dir, c->disk[i].path);

		if (p)
			use_chain(ctx, p);
		else
			((struct used *)ctx)->failed = true;
		free(p);
	}
	return 0;
}

bool layers_each_config(layers_config_fn *fn, void *ctx)
{
	char **names = NULL;
	bool good = !folder_list(&names, NULL);

	for (char **n = names; n && *n; n++) {
		struct folder other = FOLDER_NONE;
		struct vm_config c;

		vm_config_init(&c);
		if (folder_open(&other, *n, NULL) || folder_read_config(&other, &c, NULL))
			good = false;
		else
			fn(ctx, *n, &c, other.path);
		if (other.fd >= 0 && snapshots_each(&other, fn, ctx))
			good = false;
		vm_config_free(&c);
		folder_close(&other);
	}
	folder_list_free(names);
	return good;
}

void layers_sweep(const struct folder *f)
{
	struct used u = { 0 };
	struct dirent *d;
	DIR *dir;
	int fd;

	if (!layers_each_config(use_config, &u))
		u.failed = true;
	fd = u.failed ? -1 : openat(f->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (fd >= 0 && !dir)
		close(fd);
	while (dir && (d = readdir(dir))) {
		struct stat st;
		bool used = false;

		if (!layers_is_name(d->d_name) || fstatat(f->fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		for (size_t i = 0; i < u.n; i++)
			used |= u.in[i].dev == st.st_dev && u.in[i].ino == st.st_ino;
		if (!used)
			unlinkat(f->fd, d->d_name, 0);
	}
	if (dir)
		closedir(dir);
	free(u.in);
}
