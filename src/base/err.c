/* SPDX-License-Identifier: GPL-2.0-or-later */
/* err.c - filling in struct err. See err.h. */
#include "base/err.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Print into @e->msg from @at on; a message that does not fit ends in "...". */
__attribute__((format(printf, 3, 0)))
static size_t put(struct err *e, size_t at, const char *fmt, va_list ap)
{
	size_t room = sizeof(e->msg) - at;
	int n = vsnprintf(e->msg + at, room, fmt, ap);

	if (n < 0)
		n = 0;
	if ((size_t)n < room)
		return at + (size_t)n;
	strcpy(e->msg + sizeof(e->msg) - 4, "...");
	return sizeof(e->msg) - 1;
}

__attribute__((format(printf, 3, 4)))
static size_t putf(struct err *e, size_t at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	at = put(e, at, fmt, ap);
	va_end(ap);
	return at;
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return -code;
	va_start(ap, fmt);
	put(e, 0, fmt, ap);
	va_end(ap);
	e->code = code;
	return -code;
}

int err_errno(struct err *e, const char *fmt, ...)
{
	int code = errno ? errno : EIO;
	char why[128];
	va_list ap;
	size_t at;

	if (!e)
		return -code;
	va_start(ap, fmt);
	at = put(e, 0, fmt, ap);
	va_end(ap);
	putf(e, at, ": %s", strerror_r(code, why, sizeof(why)));
	e->code = code;
	return -code;
}

int err_context(struct err *e, const char *fmt, ...)
{
	char old[sizeof(e->msg)];
	va_list ap;
	size_t at;

	if (!e)
		return -EIO;
	memcpy(old, e->msg, sizeof(old));
	va_start(ap, fmt);
	at = put(e, 0, fmt, ap);
	va_end(ap);
	putf(e, at, ": %s", old);
	return -e->code;
}
