/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bug.c - the end of a process that found a mistake of its own: where, how it got there, abort. */
#include "base/types.h"
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void bug_at(const char *file, int line, const char *what)
{
	char text[512];
	void *pc[64];
	int n;

	/* With the system calls that the sandbox leaves us: dprintf() would ask for the file's state. */
	n = snprintf(text, sizeof(text), "penta: BUG at %s:%d: %s\n", file, line, what);
	if (write(STDERR_FILENO, text, MIN((size_t)n, sizeof(text) - 1)) < 0)
		n = 0;		/* nobody listens */
	n = backtrace(pc, ARRAY_SIZE(pc));
	backtrace_symbols_fd(pc, n, STDERR_FILENO);
	abort();
}
