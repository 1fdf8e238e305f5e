/* SPDX-License-Identifier: GPL-2.0-or-later */
/* serial.h - where a serial port's bytes go on the host, by its description on the command line. */
#ifndef PENTA_MANAGE_CLI_SERIAL_H
#define PENTA_MANAGE_CLI_SERIAL_H

#include "manage/cli/terminal.h"
#include "vm/chardev.h"

#define SERIAL_FDS 3

struct serial {
	int fd[SERIAL_FDS];	/* ours to close */
	char *unlink;		/* a socket's path */
	struct loop *loop;
	int client;		/* unix: who is connected, or -1 */
};
#define SERIAL_NONE ((struct serial){ .fd = { -1, -1, -1 }, .client = -1 })

/* @spec: "terminal", "none", "pty", "file:PATH", "unix:PATH". @escape: for the terminal's keys;
 * NULL when it has none. *@be stays NULL for "none". */
int serial_open(struct serial *s, const char *spec, struct loop *l, struct escape *escape,
		struct chardev **be, struct err *e);
/* Is @spec of a known form? For checks before a machine is made. */
bool serial_spec_ok(const char *spec, struct err *e);
/* After the machine, and its loop, have gone. Accepts SERIAL_NONE. */
void serial_close(struct serial *s);

#endif
