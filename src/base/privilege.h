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

/* Whom a thread becomes: found out early, since it takes the files of /etc. */
struct privileges_target {
	u32 uid, gid;
	bool change;		/* we are root, and shall not be */
	bool fallback;		/* nobody, when the uid does not exist in this user namespace */
};
int privileges_find(struct privileges_target *t, const struct privileges *p, struct err *e);
/* The calling thread, and those that it starts later: uid, gid, groups, capabilities. For good; works
 * (and drops what there is) as any user. Not glibc's setuid(): that would have threads which are in
 * their sandbox make the call. */
int privileges_drop_thread(const struct privileges_target *t, struct err *e);

/* The calling thread, as above, and what is of the process: core dumps, being traced. After everything
 * was opened and before the sandbox is entered. Files that are opened afterwards belong to, and are
 * judged by, the new user. */
int privileges_drop(const struct privileges *p, struct err *e);
/* What privileges_drop() made of us: "uid 1879063552, no capabilities": for the log. */
void privileges_describe(char *buf, size_t len);

#endif
