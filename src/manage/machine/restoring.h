/* SPDX-License-Identifier: GPL-2.0-or-later */
/* restoring.h - a machine's process that begins with a state instead of a kernel: restore, fork. */
#ifndef PENTA_MANAGE_MACHINE_RESTORING_H
#define PENTA_MANAGE_MACHINE_RESTORING_H

#include "manage/machine/process.h"

struct ram_from;

/* What a stream's configuration section holds: {"config": ..., "folder": "..."}. */
char *restoring_config_text(const struct folder *f, const struct vm_config *c, struct err *e);
/* Back; paths in @c are absolute then. @c: initialized. */
int restoring_config_read(const char *text, const char *name, struct vm_config *c, struct err *e);

/* Start @f's machine (process_start()) as @cfg from the stream @fd. @from: its memory, when that is not in
 * the stream; NULL: it is, and comes in lazily. */
int restoring_start(struct folder *f, const struct vm_config *cfg, int fd, const char *name,
		    const struct ram_from *from, struct err *e);

/* Are the disks as they were when the stream with this text was written? -EEXIST: one is not, or has gone.
 * *@known: the text says so; false for streams of versions that did not, and for block devices. */
int restoring_check_disks(const char *text, bool *known, struct err *e);

#endif
