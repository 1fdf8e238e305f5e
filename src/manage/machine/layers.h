/* SPDX-License-Identifier: GPL-2.0-or-later */
/* layers.h - disks of snapshots and forks: what is on a disk now stays as it is in its file, and a new
 * qcow2 file on top of it takes what is written from now on.
 *
 * Order is everything, because a machine may be killed at any moment. The new file is made first, and it
 * is empty: reading through it is reading the old one. Then config.json names it. Only then does a
 * running machine begin to write to it. Whenever one looks, config.json names a file that has all that
 * was flushed. */
#ifndef PENTA_MANAGE_MACHINE_LAYERS_H
#define PENTA_MANAGE_MACHINE_LAYERS_H

#include "block/block.h"
#include "manage/machine/folder.h"

#define LAYERS_MANY 12		/* files of a chain that may wait for a better moment to be merged */

struct layer {
	unsigned disk;
	char *path;		/* of the new file, as config.json has it */
	char *old;		/* what the disk was until now, ditto */
	unsigned old_format;
	int fd;			/* of the new file */
};
struct layers { unsigned n; struct layer l[VM_DISKS]; };
#define LAYERS_NONE ((struct layers){ .n = 0 })

/* A new file in @f for each disk of @c that can be written to, on top of what that disk of @base (whose
 * paths are @base_dir's, absolute, or absolute) is. @c is changed accordingly, and not written. */
int layers_add(struct layers *ls, const struct folder *f, struct vm_config *c,
	       const struct vm_config *base, const char *base_dir, struct err *e);
/* As @c was before; the files go. */
void layers_undo(struct layers *ls, const struct folder *f, struct vm_config *c);
void layers_free(struct layers *ls);	/* the files stay */

/* Remove files of @f that were made here and that nothing that is known is built on any more. What cannot
 * be read keeps them all. */
void layers_sweep(const struct folder *f);

/* Layers of @f in the middle of a chain that only the one above them needs go into that one, where a chain is
 * longer than @longer files; then sweep. @running: its process has the disks open; the top is left alone,
 * and @moved, a mask of disks, says which the process has to be given anew. The change lock is held. */
int layers_merge(const struct folder *f, unsigned longer, bool running, u64 *moved, struct err *e);

/* The files below the image @path, open for reading; up to BLOCK_CHAIN_MAX. */
int layers_open_below(const char *path, struct block_file *files, unsigned *n, struct err *e);
void layers_close_below(struct block_file *files, unsigned *n);

/* What is known to be built on files: the configuration and the snapshots of each machine. False: some of it
 * cannot be read. */
typedef int layers_config_fn(void *ctx, const char *name, const struct vm_config *c, const char *dir);
bool layers_each_config(layers_config_fn *fn, void *ctx);
/* "disk0.1234abcd.qcow2": made by layers_add(). */
bool layers_is_name(const char *name);

/* @path as seen from folder @dir (absolute): @path itself when it is absolute. To be freed. */
char *layers_path(const char *dir, const char *path);

#endif
