/* SPDX-License-Identifier: GPL-2.0-or-later */
/* trace.c - trace points and the log. See trace.h.
 *
 * The linker puts a pointer to each point into the section trace_points and names its two ends.
 * The switches are of the process, not of a machine: they are what a person who debugs has set. */
#include "base/trace.h"
#include "base/cleanup.h"
#include <errno.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern struct trace_point *__start_trace_points[] __attribute__((weak));
extern struct trace_point *__stop_trace_points[] __attribute__((weak));

static FILE *trace_file;		/* NULL: stderr */
static _Atomic int log_level = LOG_INFO;

static u64 mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000u + (u64)ts.tv_nsec;
}

void trace_emit(const struct trace_point *t, const char *fmt, ...)
{
	FILE *f = trace_file ? trace_file : stderr;
	u64 now = mono_ns();
	va_list ap;

	flockfile(f);
	fprintf(f, "%llu.%06llu %s ", (unsigned long long)(now / 1000000000u),
		(unsigned long long)(now / 1000 % 1000000), t->name);
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	putc('\n', f);
	funlockfile(f);
}

/* How many points @pattern names; they are switched on. */
static unsigned enable_one(const char *pattern)
{
	unsigned n = 0;

	for (struct trace_point **p = __start_trace_points; p < __stop_trace_points; p++) {
		if (*p && fnmatch(pattern, (*p)->name, 0) == 0) {
			__atomic_store_n(&(*p)->on, true, __ATOMIC_RELAXED);
			n++;
		}
	}
	return n;
}

int trace_enable(const char *patterns, struct err *e)
{
	cleanup_free char *copy = strdup(patterns);
	char *save = NULL;
	bool any = false;

	if (!copy)
		return err_set(e, ENOMEM, "trace patterns: out of memory");
	for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		any = true;
		if (!enable_one(p))
			return err_set(e, EINVAL,
				       "no trace point matches '%s'; --trace list shows them", p);
	}
	if (!any)
		return err_set(e, EINVAL, "empty list of trace points");
	return 0;
}

void trace_set_output(FILE *f)
{
	trace_file = f;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A point that several files define has several entries of one name: list it once. */
void trace_list(FILE *f)
{
	size_t n = (size_t)(__stop_trace_points - __start_trace_points), k = 0;
	cleanup_free const char **names = calloc(n + 1, sizeof(*names));

	if (!names)
		return;
	for (struct trace_point **p = __start_trace_points; p < __stop_trace_points; p++)
		if (*p)
			names[k++] = (*p)->name;
	qsort(names, k, sizeof(*names), by_name);
	for (size_t i = 0; i < k; i++)
		if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
			fprintf(f, "%s\n", names[i]);
}

void log_set_level(enum log_level lvl)
{
	log_level = lvl;
}

void log_msg(enum log_level lvl, const char *fmt, ...)
{
	static const char *const prefix[] = { "", "warning: ", "", "debug: " };
	va_list ap;

	if ((int)lvl > log_level)
		return;
	flockfile(stderr);
	fprintf(stderr, "penta: %s", prefix[lvl]);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	putc('\n', stderr);
	funlockfile(stderr);
}

/* Two threads that start a new window at once may let a line more or less through. */
bool log_rate_ok(struct log_rate *r)
{
	u64 now = mono_ns(), start = __atomic_load_n(&r->window_ns, __ATOMIC_RELAXED);

	if (start == 0 || now - start >= 1000000000u) {
		__atomic_store_n(&r->window_ns, now, __ATOMIC_RELAXED);
		__atomic_store_n(&r->n, 1, __ATOMIC_RELAXED);
		return true;
	}
	return __atomic_add_fetch(&r->n, 1, __ATOMIC_RELAXED) <= 10;
}
