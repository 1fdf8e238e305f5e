/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bug.c - the end of a process that found a mistake of its own: where, how it got there, abort. */
#include "base/types.h"
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void bug_at(const char *file, int line, const char *what)
{
	void *pc[64];
	int n;

	fflush(stdout);
	dprintf(STDERR_FILENO, "penta: BUG at %s:%d: %s\n", file, line, what);
	n = backtrace(pc, ARRAY_SIZE(pc));
	backtrace_symbols_fd(pc, n, STDERR_FILENO);
	abort();
}
