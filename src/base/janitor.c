// SPDX-License-Identifier: GPL-2.0-or-later
/* janitor.c - see janitor.h. The child needs nothing but what it has: read, unlink, exit. */
#include "base/janitor.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define PATHS_MAX 32

struct janitor {
	int tell, done;		/* our end of its pipe; end-of-file here: it has gone */
	unsigned n;
};

/* Below PIPE_BUF, so that one write is one record. */
struct record {
	dev_t dev;
	ino_t ino;
	struct timespec changed;	/* numbers are given out again; not of a folder */
	char path[PATH_MAX - 4 * sizeof(u64)];	/* empty: the seal */
};
_Static_assert(sizeof(struct record) <= PIPE_BUF, "a record is written in one piece");

/* --- the child --- */

static bool read_record(int fd, struct record *r)
{
	size_t got = 0;

	while (got < sizeof(*r)) {
		ssize_t n = read(fd, (char *)r + got, sizeof(*r) - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	r->path[sizeof(r->path) - 1] = 0;
	return true;
}

static void await_end(int fd)
{
	char c[64];
	ssize_t n;

	do
		n = read(fd, c, sizeof(c));
	while (n > 0 || (n < 0 && errno == EINTR));
}

static _Noreturn void janitor_main(int fd, int done)
{
	static struct record rec[PATHS_MAX];
	unsigned n = 0;

	prctl(PR_SET_NAME, "penta-janitor", 0, 0, 0);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_IGN);	/* a terminal's Ctrl-C is for the machine */
	/* Hold nothing that anybody waits for the end of. */
	if (dup2(fd, 0) < 0 || dup2(done, 1) < 0)
		_exit(1);
	syscall(SYS_close_range, 2, ~0u, 0);
	while (n < PATHS_MAX && read_record(0, &rec[n]) && rec[n].path[0])
		n++;
	await_end(0);
	for (unsigned i = 0; i < n; i++) {
		struct stat st;

		if (lstat(rec[i].path, &st) < 0 || st.st_dev != rec[i].dev ||
		    st.st_ino != rec[i].ino)
			continue;
		if (S_ISDIR(st.st_mode))
			rmdir(rec[i].path);	/* if nobody put anything into it */
		else if (st.st_ctim.tv_sec == rec[i].changed.tv_sec &&
			 st.st_ctim.tv_nsec == rec[i].changed.tv_nsec)
			unlink(rec[i].path);
	}
	_exit(0);
}

/* --- ours --- */

int janitor_new(struct janitor **out, struct err *e)
{
	int tell[2] = { -1, -1 }, done[2] = { -1, -1 }, r;
	struct janitor *j = calloc(1, sizeof(*j));
	pid_t pid = -1;

	if (!j)
		return err_set(e, ENOMEM, "janitor: out of memory");
	fflush(NULL);
	if (pipe2(tell, O_CLOEXEC) == 0 && pipe2(done, O_CLOEXEC) == 0)
		pid = fork();
	if (pid == 0) {
		close(tell[1]);
		close(done[0]);
		janitor_main(tell[0], done[1]);
	}
	r = pid < 0 ? err_errno(e, "janitor") : 0;
	cleanup_closep(&tell[0]);
	cleanup_closep(&done[1]);
	j->tell = tell[1];
	j->done = done[0];
	if (r < 0) {
		cleanup_closep(&j->tell);
		cleanup_closep(&j->done);
		free(j);
		return r;
	}
	*out = j;
	return 0;
}

static int send_record(struct janitor *j, const struct record *r)
{
	ssize_t n;

	do
		n = write(j->tell, r, sizeof(*r));
	while (n < 0 && errno == EINTR);
	return n == sizeof(*r) ? 0 : -EPIPE;
}

int janitor_remove(struct janitor *j, const char *path, struct err *e)
{
	struct record r = { 0 };
	char *full cleanup_free = NULL;
	struct stat st;

	if (!j)
		return 0;
	full = realpath(path, NULL);	/* whatever the working directory will be */
	if (!full || lstat(full, &st) < 0)
		return err_errno(e, "%s", path);
	if (strlen(full) >= sizeof(r.path))
		return err_set(e, ENAMETOOLONG, "%s: too long a path", path);
	if (j->n == PATHS_MAX)
		return err_set(e, ENOSPC, "more than %d sockets", PATHS_MAX);
	j->n++;
	r.dev = st.st_dev;
	r.ino = st.st_ino;
	r.changed = st.st_ctim;
	strcpy(r.path, full);
	return send_record(j, &r) < 0 ? err_set(e, EPIPE, "%s: the janitor has gone", path) : 0;
}

void janitor_seal(struct janitor *j)
{
	static const struct record seal;

	if (j)
		send_record(j, &seal);	/* gone: nothing to seal */
}

void janitor_free(struct janitor *j)
{
	char c;

	if (!j)
		return;
	cleanup_closep(&j->tell);
	while (read(j->done, &c, 1) < 0 && errno == EINTR)
		;
	cleanup_closep(&j->done);
	free(j);
}
