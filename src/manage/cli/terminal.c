/* SPDX-License-Identifier: GPL-2.0-or-later */
/* terminal.c - raw mode and its undoing; the escape key. */
#include "manage/cli/terminal.h"
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* The process has one terminal, and signal handlers reach nothing but globals: the one place
 * where penta has some. */
static struct termios saved, raw;
static atomic_bool is_raw;

void terminal_restore(void)
{
	/* tcsetattr() may be called from signal handlers (signal-safety(7)). */
	if (atomic_exchange(&is_raw, false))
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

/* Raw output is the guest's to format; our own lines on the same terminal get the carriage return
 * that it does not add any more. */
static ssize_t put_lines(void *cookie, const char *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		const char *nl = memchr(buf + done, '\n', len - done);
		size_t n = nl ? (size_t)(nl - buf) - done : len - done;

		if ((n && write(STDERR_FILENO, buf + done, n) < 0) ||
		    (nl && write(STDERR_FILENO, atomic_load(&is_raw) ? "\r\n" : "\n",
				 atomic_load(&is_raw) ? 2 : 1) < 0))
			break;
		done += n + (nl != NULL);
	}
	return (ssize_t)len;
}

static void wrap_stderr(void)
{
	FILE *f;

	if (!isatty(STDERR_FILENO))
		return;
	f = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = put_lines });
	if (f) {
		setvbuf(f, NULL, _IOLBF, 0);
		stderr = f;
	}
}

/* Signals that end the process whatever we do: give the terminal back, then die of it. The default is
 * back already (SA_RESETHAND, since a sandbox has no sigaction()), and works when we return. */
static void on_fatal(int sig)
{
	terminal_restore();
	raise(sig);
}

bool terminal_raw(void)
{
	static const int fatal[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGPIPE,
				     SIGALRM, SIGXCPU, SIGXFSZ };

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &saved))
		return false;
	raw = saved;
	cfmakeraw(&raw);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(fatal); i++) {
		struct sigaction old, sa = { .sa_handler = on_fatal, .sa_flags = SA_RESETHAND };

		if (sigaction(fatal[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			sigaction(fatal[i], &sa, NULL);
	}
	atexit(terminal_restore);
	wrap_stderr();
	atomic_store(&is_raw, true);
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	return true;
}

void terminal_raw_again(void)
{
	if (atomic_load(&is_raw))
		tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

size_t escape_filter(void *escape, u8 *buf, size_t len)
{
	struct escape *x = escape;
	size_t out = 0;

	for (size_t i = 0; i < len; i++) {
		u8 c = buf[i];

		if (!x->seen && c == ESCAPE_KEY) {
			x->seen = true;
			continue;
		}
		if (x->seen) {
			x->seen = false;
			if (c != ESCAPE_KEY) {
				x->key(x->ctx, (char)c);
				continue;
			}
		}
		buf[out++] = c;
	}
	return out;
}
