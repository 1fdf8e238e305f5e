// SPDX-License-Identifier: GPL-2.0-or-later
/* privilege.c - see privilege.h. After: capabilities(7), credentials(7), setresuid(2), user_namespaces(7). */
#include "base/privilege.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/capability.h>

/* Uids that no distribution hands out (systemd's UIDS-GIDS document: unused) plus the process's id,
 * which is below 2^22: no two machines share one, and none owns a file. */
#define UID_BASE 0x70000000u
#define UID_NOBODY 65534u

static int parse_id(const char *s, char **end, u32 *id)
{
	unsigned long n;

	errno = 0;
	n = strtoul(s, end, 10);
	if (*end == s || *s == '-' || *s == '+' || errno || n >= UINT32_MAX)
		return -EINVAL;
	*id = (u32)n;
	return 0;
}

static int find_user(struct privileges_target *t, const char *user, struct err *e)
{
	struct passwd *pw = getpwnam(user);
	char *end;
	u32 uid, gid;

	if (pw) {
		t->uid = pw->pw_uid;
		t->gid = pw->pw_gid;
	} else if (!parse_id(user, &end, &uid) && !*end) {
		t->uid = t->gid = uid;
	} else if (!parse_id(user, &end, &uid) && *end == ':' &&
		   !parse_id(end + 1, &end, &gid) && !*end) {
		t->uid = uid;
		t->gid = gid;
	} else {
		return err_set(e, EINVAL, "user %s: there is none; a name, UID or UID:GID is needed",
			       user);
	}
	return 0;
}

int privileges_find(struct privileges_target *t, const struct privileges *p, struct err *e)
{
	int r = 0;

	*t = (struct privileges_target){ .uid = geteuid(), .gid = getegid() };
	if (p->user) {
		r = find_user(t, p->user, e);
		if (!r && geteuid() && (t->uid != geteuid() || t->gid != getegid()))
			r = err_set(e, EPERM, "user %s: only root can start a machine as another user",
				    p->user);
	} else if (!geteuid()) {
		t->uid = t->gid = UID_BASE + (u32)getpid();
		t->fallback = true;
	}
	t->change = !geteuid() && t->uid != 0;
	return r;
}

/* Nothing can be gained back by execve(), which the sandbox forbids anyway. Needs CAP_SETPCAP: root's. */
static void drop_bounding(void)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

static int drop_capabilities(struct err *e)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[_LINUX_CAPABILITY_U32S_3] = { 0 };

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &h, d) < 0)
		return err_errno(e, "dropping capabilities");
	/* Look, and do not believe. */
	h.pid = 0;
	if (syscall(SYS_capget, &h, d) < 0 || d[0].permitted || d[1].permitted || d[0].effective ||
	    d[1].effective)
		return err_set(e, EPERM, "dropping capabilities: some are left");
	return 0;
}

static int become(u32 uid, u32 gid, struct err *e)
{
	if (syscall(SYS_setgroups, 0, NULL) < 0 && errno != EPERM)	/* a namespace that denies it */
		return err_errno(e, "leaving root's groups");
	if (syscall(SYS_setresgid, gid, gid, gid) < 0 || syscall(SYS_setresuid, uid, uid, uid) < 0)
		return err_errno(e, "becoming uid %u", uid);
	if (syscall(SYS_setresuid, 0, 0, 0) == 0 || getuid() != uid || geteuid() != uid)
		return err_set(e, EPERM, "becoming uid %u: root's rights are still there", uid);
	return 0;
}

int privileges_drop_thread(const struct privileges_target *t, struct err *e)
{
	int r = 0;

	if (!geteuid())
		drop_bounding();
	if (t->change) {
		r = become(t->uid, t->gid, e);
		if (r == -EINVAL && t->fallback)	/* not mapped here */
			r = become(UID_NOBODY, UID_NOBODY, e);
	}
	return r < 0 ? r : drop_capabilities(e);
}

static void limit(int what, rlim_t max)
{
	struct rlimit l;

	if (getrlimit(what, &l) == 0) {
		l.rlim_cur = MIN(l.rlim_cur, max);
		l.rlim_max = MIN(l.rlim_max, max);
		setrlimit(what, &l);
	}
}

int privileges_drop(const struct privileges *p, struct err *e)
{
	struct privileges_target t;
	int r = privileges_find(&t, p, e);

	if (!r)
		r = privileges_drop_thread(&t, e);
	if (r < 0)
		return r;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(e, "no_new_privs");
	if (!p->debug) {
		limit(RLIMIT_CORE, 0);		/* guest memory is nobody's reading */
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	}
	limit(RLIMIT_MSGQUEUE, 0);
	limit(RLIMIT_RTPRIO, 0);
	return 0;
}

void privileges_describe(char *buf, size_t len)
{
	snprintf(buf, len, "uid %u, gid %u, no capabilities", (unsigned)getuid(), (unsigned)getgid());
}
