/* SPDX-License-Identifier: GPL-2.0-or-later */
/* progress.h - one line on the terminal that says how far a long work has come. Nothing is printed
 * when standard error is no terminal, nor for work that takes less than half a second. */
#ifndef PENTA_MANAGE_CLI_PROGRESS_H
#define PENTA_MANAGE_CLI_PROGRESS_H

#include "base/types.h"

struct progress {
	const char *what;	/* borrowed: "copying disk.qcow2" */
	u64 total;		/* in units of the caller; 0: not known */
	bool bytes;		/* the units are bytes: sizes and a rate are shown */
	bool tty, shown;
	u64 begin_ns, last_ns;
};

void progress_begin(struct progress *p, const char *what, u64 total, bool bytes);
/* As often as one likes: prints ten times a second at most. */
void progress_update(struct progress *p, u64 done);
/* Clears the line. */
void progress_end(struct progress *p);

#endif
