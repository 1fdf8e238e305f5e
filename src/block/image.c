/* SPDX-License-Identifier: GPL-2.0-or-later */
/* image.c - image files are made and looked at.
 *
 * A new file has no name until it is whole and on stable storage: whoever is killed on the way
 * leaves nothing behind that looks like an image. */
#include "block/image.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "block/qcow2.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>		// BLKGETSIZE64
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- looking --- */

int image_info(const char *path, struct image_info *out, struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	cleanup_free u8 *buf = malloc(QCOW2_HEAD);
	cleanup_free struct qcow2_header *h = malloc(sizeof(*h));
	struct stat st;
	ssize_t n;
	int r;

	memset(out, 0, sizeof(*out));
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, "%s", path);
	if (!buf || !h)
		return err_set(e, ENOMEM, "%s: out of memory", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, EINVAL, "%s: a disk image is a regular file or a block device",
			       path);
	out->file_size = (u64)st.st_size;
	out->allocated = (u64)st.st_blocks * 512;
	if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &out->file_size) < 0)
		return err_errno(e, "%s: size of the device", path);
	out->in_use = file_written(fd);
	n = pread(fd, buf, QCOW2_HEAD, 0);
	if (n < 0)
		return err_errno(e, "%s", path);
	if (n < 4 || get_be32(buf) != QCOW2_MAGIC) {
		strcpy(out->format, "raw");
		out->size = (out->file_size + BLOCK_SECTOR - 1) & ~(u64)(BLOCK_SECTOR - 1);
		return 0;
	}
	strcpy(out->format, "qcow2");
	r = qcow2_header_parse(buf, (size_t)n, path, h, e);
	if (r)
		return r;
	out->size = h->size;
	out->version = h->version;
	out->cluster_bits = h->cluster_bits;
	out->refcount_bits = 1u << h->refcount_order;
	out->nsnapshots = h->nsnapshots;
	out->dirty = h->incompatible & QCOW2_DIRTY;
	out->corrupt = h->incompatible & QCOW2_CORRUPT;
	out->zstd = h->zstd;
	snprintf(out->backing, sizeof(out->backing), "%s", h->backing);
	snprintf(out->backing_format, sizeof(out->backing_format), "%s", h->backing_format);
	return *h->backing ? backing_path(path, h->backing, out->backing_path,
					  sizeof(out->backing_path), e)
			   : 0;
}

void image_info_holder(const char *path, struct image_info *i)
{
	cleanup_close int fd = i->in_use ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
					 : -1;

	if (fd >= 0)
		image_holder(fd, i->holder, sizeof(i->holder));
}

/* --- making --- */

static int write_at(int fd, const void *buf, u64 len, u64 off, const char *path, struct err *e)
{
	const u8 *p = buf;

	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_errno(e, "%s: write", path);
		p += n;
		off += (u64)n;
		len -= (u64)n;
	}
	return 0;
}

static u64 div_up(u64 a, u64 b)
{
	return a / b + (a % b != 0);
}

/* Header, refcount table, refcount blocks, L1 table: one after the other. The refcount table is
 * large enough for the disk when it is full. */
static int make_qcow2(int fd, const char *path, struct qcow2_header *h, struct err *e)
{
	unsigned bits = h->cluster_bits;
	u64 cs = 1ull << bits, per_block = cs * 8 >> h->refcount_order;
	u64 data = div_up(h->size, cs), l2s = div_up(data, cs / 8),
	    l1_clusters = div_up(l2s * 8, cs);
	u64 most, blocks, meta, now;
	cleanup_free u8 *head = calloc(1, cs), *block = NULL, *table = NULL;
	int r;

	if (!head)
		return err_set(e, ENOMEM, "%s: out of memory", path);
	if (l2s * 8 > QCOW2_TABLE_MAX)
		return err_set(e, EFBIG,
			       "%s: with clusters of %llu bytes a disk has at most %llu GiB", path,
			       (unsigned long long)cs,
			       (unsigned long long)(QCOW2_TABLE_MAX / 8 * (cs / 8) * cs / GiB));
	most = 1 + l1_clusters + l2s + data;
	blocks = div_up(most + most / (per_block - 1) + most / per_block / (cs / 8) + 8, per_block);
	h->rt_clusters = MIN(div_up(blocks * 8, cs), QCOW2_TABLE_MAX / cs);
	meta = 1 + h->rt_clusters + l1_clusters;
	now = 1;			/* refcount blocks that count these, and themselves */
	while (now * per_block < meta + now)
		now++;
	meta += now;
	if (now * 8 > h->rt_clusters * cs)
		return err_set(e, EFBIG, "%s: clusters of %llu bytes are too small for this disk",
			       path, (unsigned long long)cs);
	h->rt_off = cs;
	h->l1_off = (1 + h->rt_clusters + now) * cs;
	h->l1_size = (u32)l2s;
	r = qcow2_header_make(head, cs, h, path, e);
	if (r)
		return r;
	block = malloc(cs);
	table = calloc(now, 8);
	if (!block || !table)
		return err_set(e, ENOMEM, "%s: out of memory", path);
	for (u64 i = 0; !r && i < now; i++) {
		memset(block, 0, cs);
		for (u64 k = 0; k < per_block && i * per_block + k < meta; k++)
			qcow2_refcount_set(block, h->refcount_order, k, 1);
		put_be64(table + i * 8, (1 + h->rt_clusters + i) * cs);
		r = write_at(fd, block, cs, (1 + h->rt_clusters + i) * cs, path, e);
	}
	if (!r)
		r = write_at(fd, table, now * 8, h->rt_off, path, e);
	if (!r && ftruncate(fd, (off_t)(meta * cs)) < 0)
		r = err_errno(e, "%s", path);
	if (!r)
		r = write_at(fd, head, cs, 0, path, e);
	return r;
}

/* What the backing file says about size and format. */
static int ask_backing(const char *path, const struct image_spec *s, struct qcow2_header *h,
		       struct err *e)
{
	char where[PATH_MAX];
	struct image_info *i;
	int r;

	if (snprintf(h->backing, sizeof(h->backing), "%s", s->backing) >= (int)sizeof(h->backing))
		return err_set(e, ENAMETOOLONG, "%s: the name of its backing file is too long",
			       path);
	if (s->backing_format)
		snprintf(h->backing_format, sizeof(h->backing_format), "%s", s->backing_format);
	if (s->backing_busy)
		return s->size && s->backing_format ? 0
						    : err_set(e, EINVAL,
							      "%s: size and format of the "
							      "backing file are needed",
							      path);
	r = backing_path(path, s->backing, where, sizeof(where), e);
	if (r)
		return r;
	i = malloc(sizeof(*i));
	r = i ? image_info(where, i, e) : err_set(e, ENOMEM, "%s: out of memory", path);
	if (r) {
		err_context(e, "backing file of %s", path);
	} else if (s->backing_format && !strcmp(s->backing_format, "qcow2") &&
		   strcmp(i->format, "qcow2")) {
		r = err_set(e, EINVAL, "%s: is no qcow2 image", where);
	} else {
		/* A raw file may begin like a qcow2 image; a guess is written down as what it is.
		 */
		if (!s->backing_format)
			strcpy(h->backing_format, i->format);
		if (!h->size)
			h->size = strcmp(h->backing_format, "raw") ? i->size :
				(i->file_size + BLOCK_SECTOR - 1) & ~(u64)(BLOCK_SECTOR - 1);
	}
	free(i);
	return r;
}

int image_create_fd(int fd, const char *path, const struct image_spec *s, struct err *e)
{
	struct qcow2_header *h;
	int r = 0;

	if (s->size % BLOCK_SECTOR || s->size > INT64_MAX / 2)
		return err_set(e, EINVAL, "%s: a disk's size is a multiple of %u bytes", path,
			       BLOCK_SECTOR);
	if (!s->size && !s->backing)
		return err_set(e, EINVAL, "%s: a size is needed", path);
	if (!strcmp(s->format, "raw")) {
		if (s->backing)
			return err_set(e, EINVAL, "%s: a raw image has no backing file; qcow2 can",
				       path);
		return ftruncate(fd, (off_t)s->size) < 0 ? err_errno(e, "%s", path) : 0;
	}
	if (strcmp(s->format, "qcow2"))
		return err_set(e, EINVAL, "%s: format \"%.32s\": raw or qcow2 is needed", path,
			       s->format);
	h = calloc(1, sizeof(*h));
	if (!h)
		return err_set(e, ENOMEM, "%s: out of memory", path);
	h->version = s->version ? s->version : 3;
	h->cluster_bits = s->cluster_bits ? s->cluster_bits : 16;
	h->refcount_order = 4;
	h->size = s->size;
	if ((h->version != 2 && h->version != 3) || h->cluster_bits < QCOW2_CLUSTER_BITS_MIN ||
	    h->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
		r = err_set(e, EINVAL,
			    "%s: qcow2 has versions 2 and 3, and clusters of 512 bytes to 2 MiB",
			    path);
	if (!r && s->backing)
		r = ask_backing(path, s, h, e);
	if (!r)
		r = make_qcow2(fd, path, h, e);
	free(h);
	return r;
}

/* Give the nameless or temporarily named file its name. */
static int give_name(int fd, const char *temp, const char *path, bool replace, struct err *e)
{
	char self[64], other[PATH_MAX];

	if (temp) {
		if (replace ? rename(temp, path) : renameat2(AT_FDCWD, temp, AT_FDCWD, path,
							     RENAME_NOREPLACE))
			return err_errno(e, "%s", path);
		return 0;
	}
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (!linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW))
		return 0;
	if (errno != EEXIST || !replace)
		return err_errno(e, "%s", path);
	if (snprintf(other, sizeof(other), "%s.%d.tmp", path, (int)getpid()) >= (int)sizeof(other))
		return err_set(e, ENAMETOOLONG, "%s", path);
	if (linkat(AT_FDCWD, self, AT_FDCWD, other, AT_SYMLINK_FOLLOW) || rename(other, path)) {
		int r = err_errno(e, "%s", path);

		unlink(other);
		return r;
	}
	return 0;
}

int image_publish(const char *path, bool replace, image_fill_fn *fill, void *ctx, struct err *e)
{
	const char *slash = strrchr(path, '/');
	char temp[PATH_MAX], dir[PATH_MAX];
	cleanup_close int fd = -1, dirfd = -1;
	struct stat st;
	bool named;
	int r;

	if (snprintf(dir, sizeof(dir), "%.*s", slash ? (int)MAX(slash - path, 1) : 1,
		     slash ? path : ".") >= (int)sizeof(dir) ||
	    snprintf(temp, sizeof(temp), "%s.%d.tmp", path, (int)getpid()) >= (int)sizeof(temp))
		return err_set(e, ENAMETOOLONG, "%s", path);
	if (!lstat(path, &st) && (!replace || !S_ISREG(st.st_mode)))
		return err_set(e, EEXIST, "%s: exists already", path);
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
	named = fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT);
	if (named)
		fd = open(temp, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
	if (fd < 0)
		return err_errno(e, "%s", path);
	r = fill(ctx, fd, e);
	if (!r && fsync(fd) < 0)
		r = err_errno(e, "%s", path);
	if (!r)
		r = give_name(fd, named ? temp : NULL, path, replace, e);
	if (r && named)
		unlink(temp);
	if (r)
		return r;
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd >= 0 && fsync(dirfd) < 0 && errno != EINVAL)
		return err_errno(e, "%s", dir);
	return 0;
}

struct create { const char *path; const struct image_spec *s; };

static int fill_new(void *ctx, int fd, struct err *e)
{
	struct create *c = ctx;

	return image_create_fd(fd, c->path, c->s, e);
}

int image_create(const char *path, const struct image_spec *s, struct err *e)
{
	struct create c = { path, s };

	return image_publish(path, s->replace, fill_new, &c, e);
}
