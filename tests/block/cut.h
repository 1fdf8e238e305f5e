/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cut.h - a file layer for tests (after the idea of SQLite's test6.c): requests end in random
 * order, and what was written since the last flush is held back. A power cut keeps, drops or
 * trashes each such write, sector by sector. Trashed are only sectors that had nothing yet: that a
 * sector is written whole or not at all is what formats rely on that change tables in place. */
#ifndef PENTA_TESTS_CUT_H
#define PENTA_TESTS_CUT_H

#include "blocktest.h"

#define CUT_MAX (64 * MiB)

struct cut_write { u64 off, len; u8 *data; };	/* data NULL: zeros */
struct cut {
	struct block b;
	u64 seed;
	u8 *now, *safe;			/* as a reader sees it; as it is on the disk for sure */
	u64 len, safe_len;
	u8 *written;			/* by sector: it is, or was, on the disk */
	struct cut_write *log;		/* done, not flushed */
	unsigned nlog, log_room;
	struct { struct block_req *r; unsigned log_at; } busy[256];
	unsigned nbusy;
	unsigned flushes;
	u64 fail_after;			/* requests until everything fails with -EIO; 0: never */
};

static void cut_log(struct cut *c, u64 off, u64 len, const u8 *data)
{
	if (c->nlog == c->log_room) {
		c->log_room = c->log_room ? c->log_room * 2 : 256;
		c->log = realloc(c->log, c->log_room * sizeof(*c->log));
		assert_non_null(c->log);
	}
	c->log[c->nlog] = (struct cut_write){ off, len, NULL };
	if (data) {
		c->log[c->nlog].data = malloc(len);
		memcpy(c->log[c->nlog].data, data, len);
	}
	c->nlog++;
}

/* Put a write into @to; @from..: only that part of it. */
static void cut_apply(u8 *to, u64 *to_len, const struct cut_write *w)
{
	if (w->data) {
		memcpy(to + w->off, w->data, w->len);
		*to_len = MAX(*to_len, w->off + w->len);
	} else {
		memset(to + w->off, 0, w->len);
	}
}

static void cut_one(struct cut *c, unsigned i)
{
	struct block_req *r = c->busy[i].r;
	u64 at = r->off;
	int ret = 0;

	if (c->fail_after && !--c->fail_after)
		c->fail_after = 1, ret = -EIO;
	if (ret) {
	} else if (r->op == BLOCK_READ) {
		for (unsigned k = 0; k < r->niov; k++) {
			if (at + r->iov[k].iov_len <= CUT_MAX)
				memcpy(r->iov[k].iov_base, c->now + at, r->iov[k].iov_len);
			else
				memset(r->iov[k].iov_base, 0, r->iov[k].iov_len);
			at += r->iov[k].iov_len;
		}
	} else if (r->op == BLOCK_FLUSH) {
		unsigned n = c->busy[i].log_at;	/* what was over when it was asked for */

		for (unsigned k = 0; k < n; k++) {
			cut_apply(c->safe, &c->safe_len, &c->log[k]);
			memset(c->written + c->log[k].off / 512, 1, (c->log[k].len + 511) / 512);
			free(c->log[k].data);
		}
		memmove(c->log, c->log + n, (c->nlog - n) * sizeof(*c->log));
		c->nlog -= n;
		for (unsigned k = 0; k < c->nbusy; k++)
			c->busy[k].log_at -= MIN(n, c->busy[k].log_at);
		c->flushes++;
	} else {
		u8 *flat = NULL;

		assert_true(r->off + r->len <= CUT_MAX);
		if (r->op == BLOCK_WRITE) {
			flat = malloc(r->len);
			at = 0;
			for (unsigned k = 0; k < r->niov; k++) {
				memcpy(flat + at, r->iov[k].iov_base, r->iov[k].iov_len);
				at += r->iov[k].iov_len;
			}
			assert_int_equal(at, r->len);
		}
		cut_log(c, r->off, r->len, flat);
		cut_apply(c->now, &c->len, &c->log[c->nlog - 1]);
		free(flat);
	}
	c->busy[i] = c->busy[--c->nbusy];
	block_complete(&c->b, r, ret);
}

static void cut_submit(struct block *b, struct block_req *r)
{
	struct cut *c = container_of(b, struct cut, b);

	assert_true(c->nbusy < ARRAY_SIZE(c->busy));
	c->busy[c->nbusy].log_at = c->nlog;
	c->busy[c->nbusy++].r = r;
}

static void cut_poll(struct block *b, bool wait)
{
	struct cut *c = container_of(b, struct cut, b);

	if (c->nbusy && (wait || rnd(&c->seed) & 1))
		cut_one(c, (unsigned)(rnd(&c->seed) % c->nbusy));
}

static void cut_free(struct block *b)
{
	struct cut *c = container_of(b, struct cut, b);

	for (unsigned k = 0; k < c->nlog; k++)
		free(c->log[k].data);
	free(c->log);
	free(c->now);
	free(c->written);
	free(c->safe);
	free(c);
}

static const struct block_ops cut_ops = {
	.name = "cut", .submit = cut_submit, .poll = cut_poll, .free = cut_free,
};

/* Over what is in the file at @path. */
static struct cut *cut_new(const char *path, u64 seed)
{
	struct cut *c = calloc(1, sizeof(*c));
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	assert_non_null(c);
	block_init(&c->b, &cut_ops, NULL);
	c->b.info = (struct block_info){ .size = CUT_MAX, .logical = 512, .physical = 4096,
					 .discards = true };
	c->seed = seed | 1;
	c->now = calloc(1, CUT_MAX);
	c->safe = calloc(1, CUT_MAX);
	n = pread(fd, c->now, CUT_MAX, 0);
	assert_true(n >= 0);
	close(fd);
	memcpy(c->safe, c->now, (size_t)n);
	c->written = calloc(1, CUT_MAX / 512);
	memset(c->written, 1, ((size_t)n + 511) / 512);
	c->len = c->safe_len = c->b.info.end = (u64)n;
	return c;
}

/* The power fails: what is on the disk goes into the file at @path. */
static void cut_power(struct cut *c, const char *path, bool trash)
{
	u8 *disk = malloc(CUT_MAX);
	u64 len = c->safe_len;
	int fd = open(path, O_RDWR | O_TRUNC | O_CREAT | O_CLOEXEC, 0600);

	/* What was under way may have come through, too. */
	for (unsigned i = 0; i < c->nbusy; i++) {
		struct block_req *r = c->busy[i].r;
		u64 at = r->off;

		if (r->op == BLOCK_WRITE)
			for (unsigned k = 0; k < r->niov; k++) {
				cut_log(c, at, r->iov[k].iov_len, r->iov[k].iov_base);
				at += r->iov[k].iov_len;
			}
	}
	memcpy(disk, c->safe, CUT_MAX);
	for (unsigned k = 0; k < c->nlog; k++) {
		struct cut_write w = c->log[k];
		unsigned fate = (unsigned)(rnd(&c->seed) % (trash ? 4 : 3));

		for (u64 at = 0; at < w.len; at += 512) {
			struct cut_write s = { w.off + at, MIN(w.len - at, 512),
					       w.data ? w.data + at : NULL };

			if (fate == 0 || (fate == 2 && rnd(&c->seed) & 1)) /* all; some of it */
				cut_apply(disk, &len, &s);
			else if (fate == 3 && rnd(&c->seed) & 1 &&
				 !c->written[s.off / 512]) {
				for (u64 i = 0; i < s.len; i++)
					disk[s.off + i] = (u8)rnd(&c->seed);
				len = MAX(len, s.off + s.len);
			}
		}
	}
	assert_int_equal(pwrite(fd, disk, len, 0), len);
	close(fd);
	free(disk);
}

/* Forget everything that is under way: the process has gone. Requests are never answered. */
__attribute__((unused)) static void cut_abandon(struct cut *c)
{
	c->nbusy = 0;
	c->b.inflight = 0;
}

#endif
