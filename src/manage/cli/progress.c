// SPDX-License-Identifier: GPL-2.0-or-later
/* progress.c - see progress.h. */
#include "manage/cli/progress.h"
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { BAR = 24, QUIET_MS = 500, EVERY_MS = 100 };

static u64 mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000u + (u64)ts.tv_nsec;
}

void progress_begin(struct progress *p, const char *what, u64 total, bool bytes)
{
	*p = (struct progress){ .what = what, .total = total, .bytes = bytes,
				.tty = isatty(STDERR_FILENO), .begin_ns = mono_ns() };
	p->last_ns = p->begin_ns + (QUIET_MS - EVERY_MS) * 1000000ull;
}

static const char *human(char buf[16], double n)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	unsigned u = 0;

	for (; n >= 1000 && u < ARRAY_SIZE(unit) - 1; u++)
		n /= 1024;
	snprintf(buf, 16, u ? "%.1f %s" : "%.0f %s", n, unit[u]);
	return buf;
}

static void show(struct progress *p, u64 done, u64 now)
{
	double secs = (double)(now - p->begin_ns) / 1e9, part;
	char line[200], a[16], b[16];
	struct winsize ws;
	size_t n, width = 79;

	if (!ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) && ws.ws_col > 10)
		width = ws.ws_col - 1u;
	n = (size_t)snprintf(line, sizeof(line), "%.80s ", p->what);
	if (p->total) {
		char bar[BAR + 1];
		unsigned full;

		part = MIN((double)done / (double)p->total, 1.0);
		full = (unsigned)(part * BAR);
		memset(bar, '.', BAR);
		memset(bar, '#', full);
		bar[BAR] = '\0';
		n += (size_t)snprintf(line + n, sizeof(line) - n, "[%s] %3.0f%%", bar, part * 100);
		if (part > 0.01 && part < 1 && n < sizeof(line)) {
			unsigned left = (unsigned)MIN(secs / part * (1 - part), 359999.0);

			n += (size_t)snprintf(line + n, sizeof(line) - n, "  %u:%02u left",
					      left / 60, left % 60);
		}
	}
	if (p->bytes && n < sizeof(line))
		snprintf(line + n, sizeof(line) - n, "  %s  %s/s", human(a, (double)done),
			 human(b, (double)done / secs));
	fprintf(stderr, "\r\033[K%.*s", (int)MIN(width, sizeof(line)), line);
	fflush(stderr);
	p->shown = true;
}

void progress_update(struct progress *p, u64 done)
{
	u64 now;

	if (!p->tty)
		return;
	now = mono_ns();
	if (now < p->last_ns + EVERY_MS * 1000000ull)
		return;
	p->last_ns = now;
	show(p, done, now);
}

void progress_end(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}
