/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disk.c - a disk and the chain of files behind it: opened by name or from descriptors, given a new
 * top while it runs, grown.
 *
 * Names come from images, and images from anywhere: a chain has an end, no file twice, and a
 * backing file is read, never written. */
#include "block/layer.h"
#include "base/bytes.h"		// get_be32
#include "base/cleanup.h"
#include "base/trace.h"		// log_msg
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PROBE 4096		/* bytes looked at to guess a format */

struct part {			/* a file of the chain */
	char *path;
	const char *format;
	int fd;			/* borrowed: the layer owns it */
	dev_t dev;
	ino_t ino;
};

struct disk {
	struct block b;
	struct block *top;
	struct aio *aio;
	struct block_options opt;
	struct part part[BLOCK_CHAIN_MAX];	/* the top first */
	unsigned nparts;
	void (*on_change)(void *ctx);
	void *change_ctx;
};

static struct block *disk_below(struct block *b)
{
	return container_of(b, struct disk, b)->top;
}

static void disk_free(struct block *b)
{
	struct disk *d = container_of(b, struct disk, b);

	block_free(d->top);
	aio_free(d->aio);
	for (unsigned i = 0; i < d->nparts; i++)
		free(d->part[i].path);
	free(d);
}

static const struct block_ops disk_ops = { .name = "disk", .below = disk_below, .free = disk_free };

bool disk_writes_through(const struct block *b)
{
	return container_of(b, struct disk, b)->opt.cache == BLOCK_WRITETHROUGH;
}

static struct disk *disk_of(struct block *b)
{
	BUG_ON(b->ops != &disk_ops);
	return container_of(b, struct disk, b);
}

/* --- one file --- */

/* Open @path as @readonly or not. A device or a pipe that would wait for something does not. */
static int open_file(const char *path, bool readonly, bool direct, struct err *e)
{
	int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (readonly ? O_RDONLY : O_RDWR);
	struct stat st;
	int fd;

	/* A device in use (mounted) says so with O_EXCL; for regular files that means nothing. */
	if (!readonly && !stat(path, &st) && S_ISBLK(st.st_mode))
		flags |= O_EXCL;
	fd = open(path, flags | (direct ? O_DIRECT : 0));
	if (fd < 0 && direct && errno == EINVAL)
		return err_set(e, EINVAL, "%s: its file system cannot do without the host's cache "
			       "(cache=none)", path);
	if (fd < 0 && (errno == EROFS || errno == EACCES) && !readonly && !access(path, R_OK))
		return err_errno(e, "%s cannot be written; say readonly", path);
	if (fd < 0)
		return err_errno(e, "%s", path);
	if (fcntl(fd, F_SETFL, direct ? O_DIRECT : 0) < 0) {
		int r = err_errno(e, "%s", path);

		close(fd);
		return r;
	}
	return fd;
}

static const char *guess(int fd)
{
	const char *format = "raw";
	void *buf;

	if (posix_memalign(&buf, PROBE, PROBE))
		return format;
	if (pread(fd, buf, PROBE, 0) >= 4 && get_be32(buf) == QCOW2_MAGIC)
		format = "qcow2";
	free(buf);
	return format;
}

/* The static name of a format. */
static const char *format_name(const char *format, const char *path, struct err *e)
{
	if (!strcmp(format, "raw"))
		return "raw";
	if (!strcmp(format, "qcow2"))
		return "qcow2";
	err_set(e, ENOTSUP, "%s: format \"%.32s\": raw or qcow2 is needed", path, format);
	return NULL;
}

/* No file twice. */
static int check_part(struct disk *d, int fd, const char *path, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(e, "%s", path);
	for (unsigned i = 0; i < d->nparts; i++)
		if (d->part[i].dev == st.st_dev && d->part[i].ino == st.st_ino)
			return err_set(e, ELOOP, "%s: is its own backing file, by way of %u others",
				       path, d->nparts - i - 1);
	return 0;
}

/* Note a file at the end of the chain. */
static int add_part(struct disk *d, int fd, const char *path, const char *format, struct err *e)
{
	struct part *p = &d->part[d->nparts];
	struct stat st;
	int r = check_part(d, fd, path, e);

	if (r)
		return r;
	if (fstat(fd, &st) < 0)
		return err_errno(e, "%s", path);
	if (d->nparts == BLOCK_CHAIN_MAX)
		return err_set(e, ELOOP, "%s: more than %u files in a chain", path,
			       BLOCK_CHAIN_MAX);
	*p = (struct part){ .path = strdup(path), .format = format, .fd = fd, .dev = st.st_dev,
			    .ino = st.st_ino };
	if (!p->path)
		return err_set(e, ENOMEM, "%s: out of memory", path);
	d->nparts++;
	return 0;
}

/* The lowest layer over @fd, which is taken. */
static int new_file(struct disk *d, struct block **out, int fd, const char *path,
		    const char *format, bool readonly, bool guessed, struct err *e)
{
	bool other = strcmp(format, "raw") != 0;
	int fl = fcntl(fd, F_GETFL), r;
	struct raw_options o = {
		.aio = d->aio, .readonly = readonly, .direct = fl >= 0 && fl & O_DIRECT,
		.unsafe = d->opt.cache == BLOCK_UNSAFE, .discard = d->opt.discard || other,
		.grows = other, .guarded = guessed && !other,
	};

	r = raw_new(out, d->b.loop, fd, path, &o, e);
	if (r || !other || !o.direct || (*out)->info.logical == BLOCK_SECTOR)
		return r;
	/* Tables and compressed clusters are found in smaller units than this device transfers. */
	log_msg(LOG_WARN, "%s: the host's cache is used: its sectors are too large for %s without",
		path, format);
	block_free(*out);
	*out = NULL;
	return -EAGAIN;
}

/* --- the chain, by name --- */

/* Where the image at @path says its backing file is. */
int backing_path(const char *path, const char *name, char *buf, size_t len, struct err *e)
{
	const char *slash = strrchr(path, '/'), *colon;
	int n;

	if (!strncmp(name, "file:", 5))
		name += 5;
	colon = strchr(name, ':');
	if (colon && !memchr(name, '/', (size_t)(colon - name)))
		return err_set(e, ENOTSUP, "%s: backing file \"%.128s\": files only", path, name);
	if (*name == '/' || !slash)
		n = snprintf(buf, len, "%s", name);
	else
		n = snprintf(buf, len, "%.*s/%s", (int)(slash - path), path, name);
	return n < 0 || (size_t)n >= len ?
		err_set(e, ENAMETOOLONG, "%s: backing file \"%.128s...\"", path, name) : 0;
}

static int open_chain(struct disk *d, struct block **out, const char *path, const char *format,
		      bool readonly, struct err *e);

/* The qcow2 image in @file, with what is below. @file is taken. */
static int open_qcow2(struct disk *d, struct block **out, struct block *file, const char *path,
		      bool readonly, struct err *e)
{
	struct qcow2_options o = { .readonly = readonly, .discard = d->opt.discard };
	struct block *backing = NULL;
	struct qcow2_header *h = malloc(sizeof(*h));
	char name[PATH_MAX];
	int r;

	r = h ? qcow2_header_read(file, path, h, e) : err_set(e, ENOMEM, "%s: out of memory", path);
	if (!r && h->backing[0] && !d->opt.no_backing) {
		r = backing_path(path, h->backing, name, sizeof(name), e);
		if (!r)
			r = open_chain(d, &backing, name,
				       h->backing_format[0] ? h->backing_format : NULL, true, e);
		if (r && !strcmp(path, d->part[0].path))	/* said once, not for each file */
			err_context(e, "backing file of %s", path);
	}
	if (!r)
		r = qcow2_new(out, d->b.loop, file, backing, path, &o, e);
	if (r) {
		block_free(file);
		block_free(backing);
	}
	free(h);
	return r;
}

static int open_chain(struct disk *d, struct block **out, const char *path, const char *format,
		      bool readonly, struct err *e)
{
	bool guessed = !format, direct = d->opt.cache == BLOCK_NONE;
	int fd = open_file(path, readonly, direct, e), r;
	struct block *file = NULL;
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)))
		r = err_set(e, EINVAL, "%s: a disk image is a regular file or a block device",
			    path);
	else
		r = check_part(d, fd, path, e);		/* before its own lock is in the way */
	if (!r && !d->opt.unlocked)
		r = file_lock(fd, !readonly, path, e);
	if (!r) {
		if (guessed)
			format = guess(fd);
		format = format_name(format, path, e);
		r = format ? add_part(d, fd, path, format, e) : -ENOTSUP;
	}
	if (r) {
		close(fd);
		return r;
	}
	r = new_file(d, &file, fd, path, format, readonly, guessed, e);
	if (r == -EAGAIN) {		/* once more, through the host's cache */
		d->nparts--;
		free(d->part[d->nparts].path);
		d->opt.cache = BLOCK_WRITEBACK;
		return open_chain(d, out, path, guessed ? NULL : format, readonly, e);
	}
	if (!r && !strcmp(format, "qcow2"))
		return open_qcow2(d, out, file, path, readonly, e);
	*out = file;
	return r;
}

/* --- the disk --- */

static int disk_new(struct disk **out, struct loop *l, const struct block_options *o, struct err *e)
{
	struct disk *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return err_set(e, ENOMEM, "disk: out of memory");
	block_init(&d->b, &disk_ops, l);
	d->opt = *o;
	d->b.info.readonly = true;	/* nothing to sync yet */
	r = aio_new(&d->aio, l, o->aio, o->sandbox, e);
	if (r)
		free(d);
	else
		*out = d;
	return r;
}

/* The chain is there, or not. */
static int disk_ready(struct disk *d, int r, struct block **out)
{
	if (r) {
		disk_free(&d->b);
		return r;
	}
	d->b.info = d->top->info;
	*out = &d->b;
	return 0;
}

int block_open(struct block **out, struct loop *l, const char *path, const struct block_options *o,
	       struct err *e)
{
	struct disk *d;
	int r = disk_new(&d, l, o, e);

	if (r)
		return r;
	if (o->unlocked && !o->readonly)
		r = err_set(e, EINVAL, "%s: without a lock it can be read only", path);
	else
		r = open_chain(d, &d->top, path, o->format, o->readonly, e);
	return disk_ready(d, r, out);
}

/* Put the open file @f on top of *@chain. @f->fd is taken. */
static int stack(struct disk *d, struct block **chain, const struct block_file *f, bool readonly,
		 struct err *e)
{
	const char *format = format_name(f->format, f->path, e);
	struct qcow2_options o = { .readonly = readonly, .discard = d->opt.discard };
	struct block *file = NULL, *layer = NULL;
	int r;

	if (!format || fcntl(f->fd, F_SETFL, 0) < 0) {
		close(f->fd);
		return format ? err_errno(e, "%s", f->path) : -ENOTSUP;
	}
	if (!d->opt.unlocked && (r = file_lock(f->fd, !readonly, f->path, e))) {
		close(f->fd);
		return r;
	}
	r = new_file(d, &file, f->fd, f->path, format, readonly, false, e);
	if (r)
		return r;
	if (!strcmp(format, "raw")) {
		if (*chain) {
			block_free(file);
			return err_set(e, EINVAL, "%s: a raw file has no backing file", f->path);
		}
		*chain = file;
		return 0;
	}
	r = qcow2_new(&layer, d->b.loop, file, *chain, f->path, &o, e);
	if (r)
		block_free(file);
	else
		*chain = layer;
	return r;
}

int block_open_fds(struct block **out, struct loop *l, const struct block_file *files, unsigned n,
		   const struct block_options *o, struct err *e)
{
	struct disk *d = NULL;
	unsigned left = n;
	int r = disk_new(&d, l, o, e);

	for (unsigned i = 0; !r && i < n; i++)
		r = add_part(d, files[i].fd, files[i].path,
			     !strcmp(files[i].format, "qcow2") ? "qcow2" : "raw", e);
	if (!r && !n)
		r = err_set(e, EINVAL, "a disk of no files");
	while (!r && left) {
		left--;
		r = stack(d, &d->top, &files[left], o->readonly || left, e);
	}
	while (left)			/* those that nobody has taken */
		close(files[--left].fd);
	return d ? disk_ready(d, r, out) : r;
}

unsigned block_files(const struct block *b, struct block_file *files, unsigned max)
{
	const struct disk *d = disk_of((struct block *)b);

	for (unsigned i = 0; i < MIN(max, d->nparts); i++)
		files[i] = (struct block_file){ d->part[i].fd, d->part[i].path, d->part[i].format };
	return d->nparts;
}

int block_snapshot_overlay(struct block *b, const struct block_file *top, struct err *e)
{
	struct disk *d = disk_of(b);
	struct block *chain = d->top, *old = d->top;
	struct part p;
	struct err e2;
	int r;

	if (b->info.readonly)
		r = err_set(e, EROFS, "%s: the disk is read-only", top->path);
	else if (strcmp(top->format, "qcow2"))
		r = err_set(e, EINVAL, "%s: only qcow2 can lie over another image", top->path);
	else
		r = block_sync(b, e);
	if (!r)
		r = add_part(d, top->fd, top->path, "qcow2",
			     e); /* refuses the same file, too many */
	if (r) {
		close(top->fd);
		return r;
	}
	r = stack(d, &chain, top, false, e);
	if (!r && chain->info.size != old->info.size) {
		r = err_set(e, EINVAL, "%s: has %llu bytes, the disk %llu", top->path,
			    (unsigned long long)chain->info.size,
			    (unsigned long long)old->info.size);
		qcow2_detach(chain);
		block_free(chain);
	}
	if (r) {
		free(d->part[--d->nparts].path);
		return r;
	}
	p = d->part[d->nparts - 1];	/* to the front */
	memmove(d->part + 1, d->part, (d->nparts - 1) * sizeof(p));
	d->part[0] = p;
	d->top = chain;
	d->b.info = chain->info;
	if (old->ops->freeze(old, &e2))
		log_msg(LOG_WARN, "%s; it stays locked for others", e2.msg);
	return 0;
}

/* The chain of @files, read-only; the parts of @d are noted behind its top. */
static int stack_below(struct disk *d, struct block **chain, const struct block_file *files,
		       unsigned n, struct err *e)
{
	unsigned left = n;
	int r = 0;

	for (unsigned i = 0; i < n && !r; i++)
		r = add_part(d, files[i].fd, files[i].path,
			     !strcmp(files[i].format, "qcow2") ? "qcow2" : "raw", e);
	while (!r && left) {
		left--;
		r = stack(d, chain, &files[left], true, e);
	}
	while (left)			/* those that nobody has taken */
		close(files[--left].fd);
	return r;
}

int block_rebase(struct block *b, const struct block_file *files, unsigned n, struct err *e)
{
	struct disk *d = disk_of(b);
	struct block *old = qcow2_backing(d->top), *chain = NULL;
	unsigned nparts = d->nparts, i;
	struct part *part = malloc(sizeof(d->part));
	int r = part ? 0 : err_set(e, ENOMEM, "out of memory");

	if (!r && (!old || !n))
		r = err_set(e, EINVAL, "%s: has no backing file", d->part[0].path);
	if (!r)
		r = block_sync(b, e);
	if (r) {
		for (i = 0; i < n; i++)
			close(files[i].fd);
		free(part);
		return r;
	}
	memcpy(part, d->part, sizeof(d->part));
	d->nparts = 1;
	r = stack_below(d, &chain, files, n, e);
	if (!r && chain->info.size != old->info.size)
		r = err_set(e, EINVAL, "%s: has %llu bytes, what it replaces %llu", files[0].path,
			    (unsigned long long)chain->info.size,
			    (unsigned long long)old->info.size);
	if (r) {
		block_free(chain);
		for (i = 1; i < d->nparts; i++)
			free(d->part[i].path);
		memcpy(d->part, part, sizeof(d->part));
		d->nparts = nparts;
	} else {
		qcow2_rebase(d->top, chain);
		block_free(old);
		for (i = 1; i < nparts; i++)
			free(part[i].path);
	}
	free(part);
	return r;
}

int block_resize(struct block *b, u64 size, struct err *e)
{
	struct disk *d = disk_of(b);
	int r;

	if (b->info.readonly)
		return err_set(e, EROFS, "%s: the disk is read-only", d->part[0].path);
	if (!size || size % b->info.logical || size > INT64_MAX / 2)
		return err_set(e, EINVAL, "%s: a disk's size is a multiple of %u bytes",
			       d->part[0].path, b->info.logical);
	r = block_sync(b, e);
	if (!r)
		r = d->top->ops->resize(d->top, size, e);
	if (r)
		return r;
	b->info = d->top->info;
	if (d->on_change)
		d->on_change(d->change_ctx);
	return 0;
}

void block_on_change(struct block *b, void (*fn)(void *ctx), void *ctx)
{
	if (b->ops != &disk_ops)	/* a test's own layer */
		return;
	disk_of(b)->on_change = fn;
	disk_of(b)->change_ctx = ctx;
}
