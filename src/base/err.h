/* SPDX-License-Identifier: GPL-2.0-or-later */
/* err.h - errors as values: what can fail takes a struct err, returns a negative errno
 * and leaves one line that names the thing, what is wrong and what would be right.
 * Callers add context; the top prints once after "penta: ". */
#ifndef PENTA_BASE_ERR_H
#define PENTA_BASE_ERR_H

#include "base/types.h"

struct err {
	int code;		/* positive errno; 0 while nothing went wrong */
	char msg[512];		/* always terminated; cut with "..." when too long */
};

/* All return -code (-errno for err_errno), so that `return err_set(...)` reads well.
 * @e may be NULL: then only the code is returned. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Like err_set() with errno's code, and ": strerror(errno)" appended. */
int err_errno(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Put "text: " before the message that is there. Returns -e->code. */
int err_context(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
