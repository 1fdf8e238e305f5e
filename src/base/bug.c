/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bug.c - the end of a process that found a mistake of its own: where, how it got there, abort. */
#include "base/types.h"
#include <dlfcn.h>
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* write() alone: backtrace_symbols_fd() calls writev(), which most threads may not. */
static void say(const char *text, int n, size_t max)
{
	if (write(STDERR_FILENO, text, MIN((size_t)n, max - 1)) < 0)
		return;		/* nobody listens */
}

void bug_at(const char *file, int line, const char *what)
{
	char text[512];
	void *pc[64];
	int n;

	/* With the system calls that the sandbox leaves us: dprintf() would ask for the file's state. */
	n = snprintf(text, sizeof(text), "penta: BUG at %s:%d: %s\n", file, line, what);
	say(text, n, sizeof(text));
	n = backtrace(pc, ARRAY_SIZE(pc));
	for (int i = 0; i < n; i++) {
		Dl_info d = { 0 };
		bool known = dladdr(pc[i], &d) && d.dli_fname;
		int k = snprintf(text, sizeof(text), "%s(%s+0x%zx)[%p]\n", known ? d.dli_fname : "?",
				 known && d.dli_sname ? d.dli_sname : "",
				 !known ? 0 : (size_t)((char *)pc[i] - (char *)(d.dli_sname ?
				 d.dli_saddr : d.dli_fbase)), pc[i]);

		say(text, k, sizeof(text));
	}
	abort();
}
