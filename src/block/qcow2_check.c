/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2_check.c - does everything in a qcow2 image agree? Each reference is followed and counted,
 * then the counts are compared with those that the image keeps. Counts that are too high are leaks:
 * room is lost, nothing else. Whatever else is wrong is an error.
 *
 * Repairing means to write the counts as they should be, and the flags that depend on them; entries
 * that point nowhere cannot be mended. */
#include "base/bytes.h"
#include "base/cleanup.h"
#include "block/image.h"
#include "block/qcow2.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLUSTERS_MAX (1ull << 30)	/* of a file: 4 bytes of memory each */

struct check {
	int fd;
	const char *path;
	struct qcow2_header h;
	struct image_check *out;
	u64 cs, nclusters, room;	/* @room: entries of @count */
	u32 *count;			/* references found, by cluster of the file */
	u64 *l1, *rt, rt_n, per_block;
	bool bad;			/* an error that new counts do not mend */
	bool repair, missing;
	image_progress_fn *fn;
	void *ctx;
};

static void wrong(struct check *c, bool mendable, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void wrong(struct check *c, bool mendable, const char *fmt, ...)
{
	va_list ap;

	if (!c->out->errors++) {
		va_start(ap, fmt);
		vsnprintf(c->out->first, sizeof(c->out->first), fmt, ap);
		va_end(ap);
	}
	c->bad |= !mendable;
}

/* What lies beyond the end of the file reads as zeros. */
static int read_at(struct check *c, void *buf, u64 len, u64 off, struct err *e)
{
	u8 *p = buf;

	while (len) {
		ssize_t n = pread(c->fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, "%s: read at %#llx", c->path, (unsigned long long)off);
		if (!n) {
			memset(p, 0, len);
			return 0;
		}
		p += n;
		off += (u64)n;
		len -= (u64)n;
	}
	return 0;
}

static int write_at(struct check *c, const void *buf, u64 len, u64 off, struct err *e)
{
	const u8 *p = buf;

	while (len) {
		ssize_t n = pwrite(c->fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_errno(e, "%s: write at %#llx", c->path, (unsigned long long)off);
		p += n;
		off += (u64)n;
		len -= (u64)n;
	}
	return 0;
}

static u64 *read_table(struct check *c, u64 off, u64 n, struct err *e)
{
	u64 *v = malloc(MAX(n * 8, 8));

	if (!v) {
		err_set(e, ENOMEM, "%s: out of memory", c->path);
		return NULL;
	}
	if (read_at(c, v, n * 8, off, e)) {
		free(v);
		return NULL;
	}
	for (u64 i = 0; i < n; i++)
		v[i] = get_be64(v + i);
	return v;
}

/* Count the clusters of [off, off+len). False: outside the file. */
static bool refer(struct check *c, u64 off, u64 len, const char *what)
{
	u64 k = off / c->cs, end;

	if (!add_ok(off, len, &end) || (end = (end + c->cs - 1) / c->cs) > c->nclusters) {
		wrong(c, false, "%s at %#llx lies beyond the end of the file", what,
		      (unsigned long long)off);
		return false;
	}
	for (; k < end; k++)
		if (c->count[k] < UINT32_MAX)
			c->count[k]++;
	return true;
}

static bool aligned(struct check *c, u64 off, const char *what)
{
	if (!(off & (c->cs - 1)))
		return true;
	wrong(c, false, "%s at %#llx is not aligned to a cluster", what, (unsigned long long)off);
	return false;
}

static void count_data(struct check *c, u64 e)
{
	unsigned x = 62 - (c->h.cluster_bits - 8);
	u64 off = e & QCOW2_OFFSET, n;

	if (e & QCOW2_COMPRESSED) {
		off = e & (BIT(x) - 1);
		n = ((e >> x & (BIT(62 - x) - 1)) + 1) * 512 - (off & 511);
		if (e & QCOW2_COPIED)
			wrong(c, false, "compressed cluster at %#llx is marked as not shared",
			      (unsigned long long)off);
		c->out->compressed++;
		c->out->allocated++;
		/* The last one may end before its last sector does. */
		refer(c, off, MIN(n, MAX(c->nclusters * c->cs, off + 1) - off),
		      "compressed cluster");
	} else if (off) {
		if (aligned(c, off, "cluster"))
			refer(c, off, c->cs, "cluster");
		c->out->allocated += !(c->h.version >= 3 && e & QCOW2_ZERO);
	}
}

/* Do the flags of table @v at @off, entries of which cover clusters, agree with the counts? */
static int check_copied(struct check *c, u64 off, u64 *v, u64 n, const char *what, struct err *e)
{
	bool changed = false;
	int r = 0;

	for (u64 i = 0; i < n; i++) {
		u64 k = (v[i] & QCOW2_OFFSET) / c->cs;
		bool once;

		if (!(v[i] & QCOW2_OFFSET) || v[i] & QCOW2_COMPRESSED || k >= c->nclusters)
			continue;
		once = c->count[k] == 1;
		if (once == !!(v[i] & QCOW2_COPIED))
			continue;
		wrong(c, true, "%s %#llx has %u references and says otherwise", what,
		      (unsigned long long)(k * c->cs), c->count[k]);
		v[i] = (v[i] & ~QCOW2_COPIED) | (once ? QCOW2_COPIED : 0);
		changed = true;
	}
	if (c->repair && changed && !c->bad) {
		for (u64 i = 0; i < n; i++)
			put_be64(v + i, v[i]);
		r = write_at(c, v, n * 8, off, e);
		for (u64 i = 0; i < n; i++)
			v[i] = get_be64(v + i);
		c->out->repaired++;
	}
	return r;
}

/* Every L2 table: count what it refers to, or, @flags, compare the flags. */
static int each_l2(struct check *c, bool flags, struct err *e)
{
	for (u64 i = 0; i < c->h.l1_size; i++) {
		u64 off = c->l1[i] & QCOW2_OFFSET, *l2;
		int r = 0;

		if (c->fn && !flags)
			c->fn(c->ctx, i, c->h.l1_size);
		if (!off)
			continue;
		if (!flags && (!aligned(c, off, "L2 table") || !refer(c, off, c->cs, "L2 table")))
			continue;
		if (off & (c->cs - 1) || off / c->cs >= c->nclusters)
			continue;
		l2 = read_table(c, off, c->cs / 8, e);
		if (!l2)
			return -EIO;
		for (u64 k = 0; !flags && k < c->cs / 8; k++)
			count_data(c, l2[k]);
		if (flags)
			r = check_copied(c, off, l2, c->cs / 8, "cluster", e);
		free(l2);
		if (r)
			return r;
	}
	return 0;
}

/* --- refcounts --- */

static int count_metadata(struct check *c)
{
	refer(c, 0, c->cs, "header");
	refer(c, c->h.l1_off, c->h.l1_size * 8ull, "L1 table");
	refer(c, c->h.rt_off, c->h.rt_clusters * c->cs, "refcount table");
	for (u64 i = 0; i < c->rt_n; i++)
		if (c->rt[i] && aligned(c, c->rt[i], "refcount block") &&
		    refer(c, c->rt[i], c->cs, "refcount block") && c->count[c->rt[i] / c->cs] > 1)
			wrong(c, false, "refcount block at %#llx is something else, too",
			      (unsigned long long)c->rt[i]);
	return 0;
}

/* Compare the counts of block @i; put them right when that is asked for. */
static int check_block(struct check *c, u64 i, u8 *block, struct err *e)
{
	u64 first = i * c->per_block, max = c->h.refcount_order == 6 ? UINT64_MAX :
		(1ull << (1u << c->h.refcount_order)) - 1;
	bool changed = false;
	int r;

	if (!c->rt[i] || c->rt[i] & (c->cs - 1)) {
		for (u64 k = first; k < first + c->per_block && k < c->nclusters; k++)
			if (c->count[k]) {
				wrong(c, true, "cluster %#llx is in use and not counted",
				      (unsigned long long)(k * c->cs));
				c->missing = true;
			}
		return 0;
	}
	r = read_at(c, block, c->cs, c->rt[i], e);
	if (r)
		return r;
	for (u64 k = 0; k < c->per_block; k++) {
		u64 has = qcow2_refcount_get(block, c->h.refcount_order, k);
		u64 want = first + k < c->nclusters ? c->count[first + k] : 0;

		if (has == want)
			continue;
		if (has > want)
			c->out->leaks++;
		else
			wrong(c, want <= max, "cluster %#llx has %llu references and counts %llu",
			      (unsigned long long)((first + k) * c->cs), (unsigned long long)want,
			      (unsigned long long)has);
		qcow2_refcount_set(block, c->h.refcount_order, k, MIN(want, max));
		changed = true;
		c->out->repaired += c->repair;
	}
	return c->repair && changed && !c->bad ? write_at(c, block, c->cs, c->rt[i], e) : 0;
}

/* Blocks for clusters that no block counts, at the end of the file. */
static int add_blocks(struct check *c, struct err *e)
{
	bool again = true;
	u8 *zeros = calloc(1, c->cs);
	int r = zeros ? 0 : err_set(e, ENOMEM, "%s: out of memory", c->path);

	while (!r && again) {
		again = false;
		for (u64 k = 0; !r && k < c->nclusters; k++) {
			u64 i = k / c->per_block, off = c->nclusters * c->cs;
			u8 entry[8];

			if (!c->count[k] || (i < c->rt_n && c->rt[i]))
				continue;
			if (i >= c->rt_n || c->nclusters == c->room) {
				r = err_set(e, EFBIG, "%s: the refcount table is too small to mend",
					    c->path);
				break;
			}
			c->count[c->nclusters++] = 1;
			c->rt[i] = off;
			put_be64(entry, off);
			r = write_at(c, zeros, c->cs, off, e);
			if (!r)
				r = write_at(c, entry, 8, c->h.rt_off + i * 8, e);
			again = true;
		}
	}
	free(zeros);
	return r;
}

static int check_counts(struct check *c, struct err *e)
{
	u8 *block = malloc(c->cs);
	int r = block ? 0 : err_set(e, ENOMEM, "%s: out of memory", c->path);

	for (u64 k = c->rt_n * c->per_block; k < c->nclusters; k++)
		if (c->count[k]) {
			wrong(c, true, "the refcount table is too small");
			break;
		}
	for (u64 i = 0; !r && i < c->rt_n; i++)
		r = check_block(c, i, block, e);
	free(block);
	return r;
}

/* --- the whole --- */

static int clear_dirty(struct check *c, struct err *e)
{
	u8 sector[BLOCK_SECTOR];
	int r = 0;

	if (fsync(c->fd) < 0)
		r = err_errno(e, "%s", c->path);
	if (!r && c->h.incompatible & (QCOW2_DIRTY | QCOW2_CORRUPT)) {
		r = read_at(c, sector, sizeof(sector), 0, e);
		c->h.incompatible &= ~(QCOW2_DIRTY | QCOW2_CORRUPT);
		qcow2_header_patch(sector, &c->h);
		if (!r)
			r = write_at(c, sector, sizeof(sector), 0, e);
		if (!r && fsync(c->fd) < 0)
			r = err_errno(e, "%s", c->path);
	}
	return r;
}

static int run_check(struct check *c, struct err *e)
{
	struct stat st;
	u8 *head = malloc(QCOW2_HEAD);
	int r = head ? read_at(c, head, QCOW2_HEAD, 0, e) :
		       err_set(e, ENOMEM, "%s: out of memory", c->path);

	if (!r && get_be32(head) != QCOW2_MAGIC)
		r = err_set(e, ENOTSUP, "%s: only qcow2 images have something to check", c->path);
	if (!r)
		r = qcow2_header_parse(head, QCOW2_HEAD, c->path, &c->h, e);
	free(head);
	if (!r && c->h.nsnapshots)
		r = err_set(e, ENOTSUP, "%s: has internal snapshots, which are not supported",
			    c->path);
	if (!r && fstat(c->fd, &st) < 0)
		r = err_errno(e, "%s", c->path);
	if (r)
		return r;
	c->cs = 1ull << c->h.cluster_bits;
	c->per_block = c->cs * 8 >> c->h.refcount_order;
	c->nclusters = ((u64)st.st_size + c->cs - 1) / c->cs;
	if (c->nclusters > CLUSTERS_MAX)
		return err_set(e, EFBIG, "%s: a file of %llu clusters is too large to check",
			       c->path, (unsigned long long)c->nclusters);
	c->room = c->nclusters + c->nclusters / 64 + 64;
	c->count = calloc(c->room, sizeof(*c->count));
	c->rt_n = c->h.rt_clusters << (c->h.cluster_bits - 3);
	c->l1 = read_table(c, c->h.l1_off, c->h.l1_size, e);
	c->rt = c->l1 ? read_table(c, c->h.rt_off, c->rt_n, e) : NULL;
	if (!c->count)
		return err_set(e, ENOMEM, "%s: out of memory", c->path);
	if (!c->l1 || !c->rt)
		return -EIO;
	c->out->clusters = (c->h.size + c->cs - 1) / c->cs;
	count_metadata(c);
	r = each_l2(c, false, e);
	if (!r)
		r = check_counts(c, e);
	if (!r && c->repair && c->missing && !c->bad) {
		struct image_check again = { .errors = 1 };	/* said already */
		struct image_check *out = c->out;

		r = add_blocks(c, e);
		c->out = &again;
		if (!r)
			r = check_counts(c, e);
		c->out = out;
		out->repaired += again.repaired;
	}
	if (!r)
		r = check_copied(c, c->h.l1_off, c->l1, c->h.l1_size, "L2 table", e);
	if (!r)
		r = each_l2(c, true, e);
	if (!r && c->repair && !c->bad)
		r = clear_dirty(c, e);
	return r;
}

int image_check(const char *path, bool repair, struct image_check *out, image_progress_fn *fn,
		void *ctx, struct err *e)
{
	struct check *c = calloc(1, sizeof(*c));
	int r;

	memset(out, 0, sizeof(*out));
	if (!c)
		return err_set(e, ENOMEM, "%s: out of memory", path);
	c->path = path;
	c->out = out;
	c->repair = repair;
	c->fn = fn;
	c->ctx = ctx;
	c->fd = open(path, (repair ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (c->fd < 0)
		r = err_errno(e, "%s", path);
	else
		r = file_lock(c->fd, repair, path, e);
	if (!r)
		r = run_check(c, e);
	/* What could be mended was; what could not is left as it was found. */
	if (c->bad)
		out->repaired = 0;
	cleanup_closep(&c->fd);
	free(c->count);
	free(c->l1);
	free(c->rt);
	free(c);
	return r;
}
