/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapshots.h - a machine's snapshots as files of its folder:
 *
 *	snapshots/NAME.json	{"name", "time", "memory": true, "config": {...}}: what the machine was.
 *				Its disks' files are never written to again
 *	snapshots/NAME.state	the stream (state/state.h), when it was running
 *
 * A snapshot is there when its .json is: that appears last and goes first, in one step. */
#ifndef PENTA_MANAGE_MACHINE_SNAPSHOTS_H
#define PENTA_MANAGE_MACHINE_SNAPSHOTS_H

#include "manage/machine/folder.h"

struct snapshot {
	char name[FOLDER_NAME_MAX + 1];
	u64 time;			/* seconds since 1970 */
	bool memory;			/* there is a stream */
	u64 size;			/* bytes of the stream */
	struct vm_config config;	/* paths as in the machine's config.json */
};

/* -ENOENT: "no snapshot NAME". Free by snapshot_free(). */
int snapshot_read(struct snapshot *s, const struct folder *f, const char *name, struct err *e);
void snapshot_free(struct snapshot *s);
/* Publish it. -EEXIST. The stream, if there is one, is in place. The change lock is held. */
int snapshot_write(const struct snapshot *s, const struct folder *f, struct err *e);
int snapshot_remove(const struct folder *f, const char *name, struct err *e);
/* "DIR/snapshots/NAME.state"; to be freed. @make: the folder, too. */
char *snapshot_stream(const struct folder *f, const char *name, bool make, struct err *e);
/* The names, sorted, NULL-terminated; by folder_list_free(). None: an empty list. */
int snapshot_list(const struct folder *f, char ***names, struct err *e);
/* Call @fn for the config of each; stops at what is not 0. Negative errno when one cannot be read. */
int snapshots_each(const struct folder *f, int (*fn)(void *ctx, const char *name,
		   const struct vm_config *c, const char *dir), void *ctx);

#endif
