/* SPDX-License-Identifier: GPL-2.0-or-later */
/* share.h - a folder of the host served to a guest: FUSE requests in, answers out.
 * After: Linux include/uapi/linux/fuse.h (protocol 7.31 and later), Documentation/filesystems/fuse.rst.
 *
 * It knows no device and no machine. One request is served at a time, by one thread, which blocks as
 * the host's file system does; nothing outside the folder is reachable from it (docs/share.md). */
#ifndef PENTA_SHARE_SHARE_H
#define PENTA_SHARE_SHARE_H

#include "base/err.h"
#include <sys/uio.h>

struct share_opts {
	int dir_fd;		/* of the folder: taken, also after an error */
	bool readonly;
	bool mapped;		/* owners and modes in attributes (share.md) */
	unsigned nodes_max;	/* files that the guest may know at once; 0: 65536 */
};

#define SHARE_REQUEST_MIN 40u	/* fuse_in_header */
#define SHARE_MAX_WRITE (1024 * 1024u)
#define SHARE_STATE_MAX (256u << 20)

struct share;
int share_new(struct share **out, const struct share_opts *o, struct err *e);
void share_free(struct share *s);
/* Once, on the thread that will serve, before its sandbox closes: files get the modes that the guest
 * asks for, whatever the process's umask is. */
void share_thread(void);
/* Serve one request of @nin ranges into @nout ranges of room; they may be guest memory that changes
 * meanwhile. Returns how many bytes the answer has; 0: none is due. */
size_t share_serve(struct share *s, const struct iovec *in, unsigned nin, const struct iovec *out,
		   unsigned nout);
/* The guest has forgotten everything: close all. */
void share_reset(struct share *s);
/* What the guest knows: files by path and identity. They are opened again when used first; what is not
 * the same file any more answers ESTALE. *@buf: malloc'ed. */
int share_save(const struct share *s, u8 **buf, size_t *len, struct err *e);
int share_load(struct share *s, const u8 *buf, size_t len, struct err *e);	/* hostile bytes */

#endif
