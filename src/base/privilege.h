/* SPDX-License-Identifier: GPL-2.0-or-later */
/* privilege.h - a process that runs a machine gives up what it needs no more: root's uid, groups,
 * capabilities, core dumps, being traced by its peers. */
#ifndef PENTA_BASE_PRIVILEGE_H
#define PENTA_BASE_PRIVILEGE_H

#include "base/err.h"

struct privileges {
	/* Whom to become when started as root: a user's name, "UID" or "UID:GID". NULL: a uid that no
	 * other process has (or nobody, in a user namespace without such uids). "root": stay, but
	 * without capabilities. Ignored, unless it is the caller's own, for other users. */
	const char *user;
	bool debug;		/* stays traceable and may dump core: --sandbox off, sanitizers */
};

/* After everything was opened and before the sandbox is entered. Files that the process makes or opens
 * afterwards belong to, and are judged by, the new user. For good; works (and drops what there is) as
 * any user. uid and gid change for all threads; capabilities are lost by the change of uid, so threads
 * that run already lose them too. */
int privileges_drop(const struct privileges *p, struct err *e);
/* What privileges_drop() made of us: "uid 1879063552, no capabilities": for the log. */
void privileges_describe(char *buf, size_t len);

#endif
