/* SPDX-License-Identifier: GPL-2.0-or-later */
/* janitor.h - removes the sockets (and folders for them) that a process made when it ends, however it
 * ends.
 *
 * A machine in its sandbox may not unlink anything, and a machine that was killed cannot. So a small
 * child, forked early, is told the paths; the end of a pipe's other end is the machine's. It listens
 * no more once it was sealed, which is before the guest runs, and removes a path only if the same
 * inode still lies there, unchanged. */
#ifndef PENTA_BASE_JANITOR_H
#define PENTA_BASE_JANITOR_H

#include "base/err.h"

struct janitor;
/* Fork the janitor: before there are threads, memory or descriptors to inherit, and with the rights
 * that removing takes. */
int janitor_new(struct janitor **out, struct err *e);
/* Remove @path, a socket or folder that exists, at the end; in the order of these calls. It is
 * complete: a chmod() would make another of it. Before the seal. @j NULL: nobody will. */
int janitor_remove(struct janitor *j, const char *path, struct err *e);
void janitor_seal(struct janitor *j);		/* accepts NULL */
/* Everything is removed now; returns when that is done. Works inside the IO class. Accepts NULL. */
void janitor_free(struct janitor *j);

#endif
