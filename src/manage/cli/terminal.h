/* SPDX-License-Identifier: GPL-2.0-or-later */
/* terminal.h - the user's terminal while it is a guest's: raw, with an escape key, and always
 * given back as it was. */
#ifndef PENTA_MANAGE_CLI_TERMINAL_H
#define PENTA_MANAGE_CLI_TERMINAL_H

#include "base/err.h"
#include "base/types.h"

/* Make standard input raw if it is a terminal (true then). It is restored by terminal_restore(),
 * at exit(), and when a signal ends the process. Once a process. */
bool terminal_raw(void);
void terminal_restore(void);
void terminal_raw_again(void);		/* after SIGCONT */

/* Ctrl-A and a key. Feed input to escape_filter(): it takes the escapes out of @buf, returns how
 * many bytes are left, and calls @key for each escape (Ctrl-A Ctrl-A leaves one Ctrl-A). */
#define ESCAPE_KEY 1
struct escape {
	bool seen;		/* the last byte was Ctrl-A */
	void (*key)(void *ctx, char key);
	void *ctx;
};
size_t escape_filter(void *escape, u8 *buf, size_t len);

#endif
