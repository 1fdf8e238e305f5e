/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gdb.h - a debugger on the machine: GDB's remote serial protocol over TCP or a unix socket. */
#ifndef PENTA_MANAGE_CONTROL_GDB_H
#define PENTA_MANAGE_CONTROL_GDB_H

#include "base/err.h"

struct gdb;
struct janitor;
struct machine;

/* Listen for one debugger at a time on @where: "PORT" or "ADDRESS:PORT" (TCP; the address defaults
 * to 127.0.0.1) or "unix:PATH". Takes m->on_debug. To debug from
 * the first instruction, pause the machine right after machine_start(): the debugger continues it.
 * Runs a thread of its own. @j, which may be NULL, removes a unix socket at the end. Errors: -EINVAL for a bad address, or the socket's. */
int gdb_new(struct gdb **out, struct machine *m, const char *where, struct janitor *j,
	    struct err *e);
/* Begin to serve; the machine has been started (it may be paused). */
int gdb_start(struct gdb *g, struct err *e);
/* Close the connection, end the thread; tells the debugger that the target exited with @status.
 * Accepts NULL. */
void gdb_free(struct gdb *g, int status);
/* Where it listens, for the message to the user. Borrowed. */
const char *gdb_address(const struct gdb *g);

#endif
