/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blob.c - files and memory as loaders read them. */
#include "platform/boot/blob.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

int blob_open(struct blob *b, const char *path, struct err *e)
{
	struct stat st;

	*b = BLOB_NONE;
	b->name = path;
	/* O_NONBLOCK: opening a FIFO must not wait for its writer. */
	b->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (b->fd < 0)
		return err_errno(e, "open %s", path);
	if (fstat(b->fd, &st) < 0) {
		int r = err_errno(e, "stat %s", path);

		blob_close(b);
		return r;
	}
	if (!S_ISREG(st.st_mode)) {
		blob_close(b);
		return err_set(e, EINVAL, "%s is %s; a regular file is needed", path,
			       S_ISDIR(st.st_mode) ? "a directory" : "no regular file");
	}
	b->len = (u64)st.st_size;
	if (!b->len) {
		blob_close(b);
		return err_set(e, EINVAL, "%s is empty", path);
	}
	return 0;
}

void blob_close(struct blob *b)
{
	if (b->fd >= 0)
		close(b->fd);
	*b = BLOB_NONE;
}

int blob_read(const struct blob *b, u64 off, void *buf, size_t len, struct err *e)
{
	u8 *p = buf;

	if (!blob_has(b, off, len))
		return err_set(e, EINVAL, "%s is truncated: %llu bytes long, but %llu needed at "
			       "offset %llu", b->name, (unsigned long long)b->len,
			       (unsigned long long)len, (unsigned long long)off);
	if (b->data) {
		memcpy(p, b->data + off, len);
		return 0;
	}
	while (len) {
		/* At a reset this is the loop's thread, which may not call pread(). */
		struct iovec v = { .iov_base = p, .iov_len = len };
		ssize_t n = preadv(b->fd, &v, 1, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, "read %s", b->name);
		if (n == 0)
			return err_set(e, EINVAL, "%s became shorter while it was being read",
				       b->name);
		p += n;
		off += (u64)n;
		len -= (size_t)n;
	}
	return 0;
}
