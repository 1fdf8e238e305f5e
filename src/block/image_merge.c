/* SPDX-License-Identifier: GPL-2.0-or-later */
/* image_merge.c - images of a chain become one, so that chains do not grow for ever.
 *
 *	base <- a <- b <- top    ->    base <- top
 *
 * Nothing is changed in place: the new file is whole and durable before it takes the top's name. */
#include "block/image.h"
#include "base/bytes.h"
#include "block/layer.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (1 * MiB)

struct merge {
	struct block *src;			/* the chain as it is */
	struct block *layer[BLOCK_CHAIN_MAX];	/* those that become one, the top first */
	unsigned n;
	struct block_file below[BLOCK_CHAIN_MAX]; /* what stays below; borrowed */
	unsigned nbelow;
	const char *path, *name;		/* @name: of what stays, as it is to stand in the file */
	image_progress_fn *fn;
	void *ctx;
};

/* Has any of them what is at @off? As above, for *@len bytes. */
static int extent(struct merge *m, u64 off, bool *here, u64 *len)
{
	*here = false;
	*len = m->src->info.size - off;
	for (unsigned i = 0; i < m->n && !*here; i++) {
		bool h = false;
		u64 n;
		int r;

		if (off >= m->layer[i]->info.size)
			continue;
		r = qcow2_extent(m->layer[i], off, &h, &n);
		if (r)
			return r;
		*here = h;
		*len = MIN(*len, n);
	}
	return 0;
}

static bool is_zero(const u8 *p, u64 len)
{
	return !*p && !memcmp(p, p + 1, len - 1);
}

static int copy_range(struct merge *m, struct block *dst, u8 *buf, u64 off, u64 len)
{
	while (len) {
		u64 n = MIN(len, CHUNK - off % CHUNK);
		int r = block_rw(m->src, BLOCK_READ, off, buf, n);

		if (!r && is_zero(buf, n))
			r = block_rw(dst, BLOCK_WRITE_ZEROES, off, NULL, n);
		else if (!r)
			r = block_rw(dst, BLOCK_WRITE, off, buf, n);
		if (r)
			return r;
		off += n;
		len -= n;
	}
	return 0;
}

static int copy(struct merge *m, struct block *dst, struct err *e)
{
	u64 size = m->src->info.size, len;
	u8 *buf = malloc(CHUNK);
	int r = buf ? 0 : -ENOMEM;
	bool here;

	for (u64 off = 0; off < size && !r; off += len) {
		r = extent(m, off, &here, &len);
		if (!r && here)
			r = copy_range(m, dst, buf, off, len);
		if (m->fn)
			m->fn(m->ctx, off, size);
	}
	free(buf);
	return r ? err_set(e, -r, "%s: %s", m->path, strerror(-r)) : block_sync(dst, e);
}

static int fill(void *ctx, int fd, struct err *e)
{
	struct merge *m = ctx;
	struct image_spec s = {
		.format = "qcow2", .size = m->src->info.size, .backing = m->name,
		.backing_format = m->below[0].format, .backing_busy = true,
	};
	struct block_file files[BLOCK_CHAIN_MAX + 1] = { { .path = m->path, .format = "qcow2" } };
	struct block_options o = { .discard = true };
	struct block *dst;
	struct stat st;
	int r = image_create_fd(fd, m->path, &s, e);

	if (r)
		return r;
	files[0].fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	for (unsigned i = 0; i < m->nbelow; i++) {
		files[i + 1] = m->below[i];
		files[i + 1].fd = fcntl(m->below[i].fd, F_DUPFD_CLOEXEC, 3);
	}
	for (unsigned i = 0; i <= m->nbelow; i++)
		if (files[i].fd < 0)
			r = err_errno(e, "%s", files[i].path);
	if (!r)
		r = block_open_fds(&dst, NULL, files, m->nbelow + 1, &o, e);
	else
		for (unsigned i = 0; i <= m->nbelow; i++)
			if (files[i].fd >= 0)
				close(files[i].fd);
	if (r)
		return r;
	r = copy(m, dst, e);
	block_free(dst);
	/* What is on the disk was written when it was. */
	if (!r && !stat(m->path, &st)) {
		struct timespec t[2] = { st.st_atim, st.st_mtim };

		futimens(fd, t);
	}
	return r;
}

/* A place beyond the end of a merged image read as zeros; it must not show what is below. */
static int check(struct merge *m, struct block *below, struct err *e)
{
	for (unsigned i = 1; i < m->n; i++)
		if (m->layer[i]->info.size < MIN(below->info.size, m->src->info.size))
			return err_set(e, ENOTSUP, "%s: images of it are smaller than what they lie on",
				       m->path);
	return 0;
}

int image_merge(const char *path, unsigned n, image_progress_fn *fn, void *ctx, struct err *e)
{
	struct block_options o = { .format = "qcow2", .readonly = true };
	struct merge *m = calloc(1, sizeof(*m));
	struct block_file all[BLOCK_CHAIN_MAX];
	struct block *b;
	struct image_info *info = malloc(sizeof(*info));
	int r = m && info ? block_open(&b, NULL, path, &o, e)
				  : err_set(e, ENOMEM, "%s: out of memory", path);
	unsigned files;

	if (r)
		goto out;
	m->src = b;
	m->path = path;
	m->fn = fn;
	m->ctx = ctx;
	b = b->ops->below(b);
	for (m->n = 0; b && qcow2_backing(b) && m->n < n + 1; b = qcow2_backing(b))
		m->layer[m->n++] = b;
	files = block_files(m->src, all, BLOCK_CHAIN_MAX);
	if (m->n < n + 1 || !n || files <= n + 1)
		r = err_set(e, ENOTSUP, "%s: has no %u images below it, and one below those", path, n);
	else
		r = check(m, b, e);
	/* Its name as the last of them knows it; from another folder, in full. */
	if (!r)
		r = image_info(all[n].path, info, e);
	if (!r) {
		const char *a = strrchr(path, '/'), *z = strrchr(all[n].path, '/');
		bool same = (a ? a - path : 0) == (z ? z - all[n].path : 0) &&
			    !strncmp(path, all[n].path, a ? (size_t)(a - path) : 0);

		m->name = same || info->backing[0] == '/' ? info->backing : info->backing_path;
		m->nbelow = files - (n + 1);
		memcpy(m->below, all + n + 1, m->nbelow * sizeof(*all));
		r = image_publish(path, true, fill, m, e);
	}
	block_free(m->src);
out:
	free(info);
	free(m);
	return r;
}
