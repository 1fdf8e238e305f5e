/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blob.h - bytes that a loader reads: a file, or memory (tests, fuzzers, unpacked payloads).
 *
 * Files stay open, and are read again when the machine resets: nothing of a kernel or an initial
 * RAM disk is kept in the host's memory once it is in the guest's. They are read, not mapped: a
 * file that somebody truncates meanwhile is then an error and not a SIGBUS. */
#ifndef PENTA_PLATFORM_BOOT_BLOB_H
#define PENTA_PLATFORM_BOOT_BLOB_H

#include "base/err.h"
#include "base/types.h"

struct blob {
	int fd;			/* -1: in memory */
	const u8 *data;		/* in memory; borrowed */
	u64 len;
	const char *name;	/* for messages; borrowed */
};
#define BLOB_NONE ((struct blob){ .fd = -1 })

/* Open a regular file. @path is borrowed as the blob's name. */
int blob_open(struct blob *b, const char *path, struct err *e);
void blob_close(struct blob *b);		/* accepts a BLOB_NONE */
static inline struct blob blob_of(const void *data, u64 len, const char *name)
{
	return (struct blob){ .fd = -1, .data = data, .len = len, .name = name };
}
static inline bool blob_is(const struct blob *b) { return b->fd >= 0 || b->data; }

/* Copy [off, off+len). -EINVAL when that reaches past the end ("truncated"). */
int blob_read(const struct blob *b, u64 off, void *buf, size_t len, struct err *e);
/* Does the blob hold [off, off+len)? The sum may wrap. */
static inline bool blob_has(const struct blob *b, u64 off, u64 len)
{
	return off <= b->len && len <= b->len - off;
}

#endif
