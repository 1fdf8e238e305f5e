/* SPDX-License-Identifier: GPL-2.0-or-later */
/* image_convert.c - copy a disk, with all that its backing files hold, into a new image. */
#include "block/image.h"
#include "base/bytes.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK (1 * MiB)
#define GRAIN (64 * KiB)	/* zeros are left out in pieces of this */

struct convert {
	struct block *src;
	const char *dst;
	const struct image_spec *spec;
	image_progress_fn *fn;
	void *ctx;
};

static bool is_zero(const u8 *p, u64 len)
{
	return !*p && !memcmp(p, p + 1, len - 1);
}

static int copy(struct convert *c, struct block *dst, u8 *buf, struct err *e)
{
	u64 size = MIN(c->src->info.size, dst->info.size);

	for (u64 off = 0; (off = block_next_data(c->src, off)) < size; off += CHUNK) {
		u64 len = MIN(CHUNK, size - off), from = 0;
		int r = block_rw(c->src, BLOCK_READ, off, buf, len);

		if (r)
			return err_set(e, -r, "read at %llu: %s", (unsigned long long)off,
				       strerror(-r));
		for (u64 at = 0; at < len; at += MIN(GRAIN, len - at)) {
			u64 n = MIN(GRAIN, len - at);

			if (!is_zero(buf + at, n))
				continue;
			if (from < at)
				r = block_rw(dst, BLOCK_WRITE, off + from, buf + from, at - from);
			if (r)
				break;
			from = at + n;
		}
		if (!r && from < len)
			r = block_rw(dst, BLOCK_WRITE, off + from, buf + from, len - from);
		if (r)
			return err_set(e, -r, "%s: write at %llu: %s", c->dst,
				       (unsigned long long)off, strerror(-r));
		if (c->fn)
			c->fn(c->ctx, off + len, size);
	}
	if (c->fn)
		c->fn(c->ctx, size, size);
	return block_sync(dst, e);
}

static int fill(void *ctx, int fd, struct err *e)
{
	struct convert *c = ctx;
	struct image_spec s = *c->spec;
	struct block_options o = { 0 };
	struct block_file f = { .path = c->dst, .format = s.format };
	struct block *dst;
	u8 *buf;
	int r;

	if (!s.size)
		s.size = c->src->info.size;
	if (s.size < c->src->info.size)
		return err_set(e, EINVAL, "%s: %llu bytes are too few for a disk of %llu", c->dst,
			       (unsigned long long)s.size, (unsigned long long)c->src->info.size);
	r = image_create_fd(fd, c->dst, &s, e);
	if (r)
		return r;
	f.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (f.fd < 0)
		return err_errno(e, "%s", c->dst);
	r = block_open_fds(&dst, NULL, &f, 1, &o, e);
	if (r)
		return r;
	buf = malloc(CHUNK);
	r = buf ? copy(c, dst, buf, e) : err_set(e, ENOMEM, "%s: out of memory", c->dst);
	free(buf);
	block_free(dst);
	return r;
}

int image_convert(const char *src, const char *src_format, const char *dst,
		  const struct image_spec *s, image_progress_fn *fn, void *ctx, struct err *e)
{
	struct block_options o = { .format = src_format, .readonly = true };
	struct convert c = { .dst = dst, .spec = s, .fn = fn, .ctx = ctx };
	int r;

	if (s->backing)
		return err_set(e, EINVAL, "%s: a copy is whole, without a backing file", dst);
	r = block_open(&c.src, NULL, src, &o, e);
	if (r)
		return r;
	r = image_publish(dst, s->replace, fill, &c, e);
	if (r)
		err_context(e, "copy of %s", src);
	block_free(c.src);
	return r;
}
