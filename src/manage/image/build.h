/* SPDX-License-Identifier: GPL-2.0-or-later */
/* build.h - make a bootable disk image from a distribution's packages. docs/debian.md. */
#ifndef PENTA_MANAGE_IMAGE_BUILD_H
#define PENTA_MANAGE_IMAGE_BUILD_H

#include "base/err.h"
#include "base/types.h"

struct image_build {
	const char *release;		/* "bookworm", "trixie" */
	u64 size;			/* bytes of the disk */
	const char *include;		/* "gcc,make", or NULL */
	const char *mirror;		/* URL or a line of sources.list; NULL: the host's */
	const char *mode;		/* "auto", "root", "unshare", "fakechroot" */
	const char *hostname;
	bool replace;			/* an existing file; else -EEXIST */
	bool verbose;			/* what the package tools print, too */
};
#define IMAGE_RELEASES "bookworm trixie"
#define IMAGE_MODES "auto root unshare fakechroot"
#define IMAGE_SIZE_MIN (1536 * MiB)

/* Make @path, which appears whole or not at all, and durable. Progress goes to stderr. -EINTR: a signal
 * (SIGINT, SIGTERM, SIGHUP) ended it, which is told in *@sig. Another build into the same folder is
 * waited for. The process has no other threads. */
int image_build(const char *path, const struct image_build *b, int *sig, struct err *e);
/* Where the image of that name lies, in the user's folder of images, which is made. To be freed. */
char *image_default_path(const char *name, struct err *e);

#endif
