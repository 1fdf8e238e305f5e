/* SPDX-License-Identifier: GPL-2.0-or-later */
/* serial.h - where the bytes of a serial port or console go on the host, by a description in words:
 * "terminal", "none", "pty", "file:PATH", "unix:PATH". ("console" is manage/machine/console.h's.) */
#ifndef PENTA_MANAGE_MACHINE_SERIAL_H
#define PENTA_MANAGE_MACHINE_SERIAL_H

#include "base/loop.h"
#include "vm/chardev.h"

#define SERIAL_FDS 3

struct janitor;
struct serial {
	int fd[SERIAL_FDS];	/* ours to close */
	struct janitor *janitor;	/* told of a socket's path; borrowed, may be NULL */
	struct loop *loop;
	int client;		/* unix: who is connected, or -1 */
};
#define SERIAL_NONE ((struct serial){ .fd = { -1, -1, -1 }, .client = -1 })

/* What a terminal's input goes through first: the escape keys. fn NULL: nothing. */
struct serial_filter { size_t (*fn)(void *ctx, u8 *buf, size_t len); void *ctx; };

/* @what names the option in errors: "--serial". *@be stays NULL for "none". */
int serial_open(struct serial *s, const char *spec, const char *what, struct loop *l,
		const struct serial_filter *filter, struct chardev **be, struct err *e);
/* The same for a channel between programs: on a unix socket nothing is lost, and the guest is told
 * when somebody connects. */
int serial_open_channel(struct serial *s, const char *spec, const char *what, struct loop *l,
			struct chardev **be, struct err *e);
/* Is @spec of a known form, "console" included? For checks before a machine is made. */
bool serial_spec_ok(const char *spec, const char *what, struct err *e);
/* After the machine, and its loop, have gone. Accepts SERIAL_NONE. */
void serial_close(struct serial *s);

#endif
