// SPDX-License-Identifier: GPL-2.0-or-later
/* process_start.c - a machine's process in the background. The parent waits at a pipe for one byte:
 * READY, or FAILED with the error's text behind it; the pipe's end alone says that the process died. */
#include "base/cleanup.h"
#include "base/trace.h"		// log_msg
#include "manage/machine/process.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { KEEP_MAX = 4, READY = 'R', FAILED = 'F', LOG_MAX = 1 << 20 };

struct child {
	int pipe;
	int (*restore)(struct vm *vm, void *ctx, struct err *e);
	void *ctx;
	const int *keep;
};

static void say(int fd, char what, const char *text)
{
	char buf[600];
	int n = snprintf(buf, sizeof(buf), "%c%s", what, text);

	if (write(fd, buf, (size_t)MIN(n, (int)sizeof(buf) - 1)) < 0)
		return;		/* who asked has gone: the machine lives on */
}

static void on_ready(struct vm *vm, void *ctx)
{
	struct child *c = ctx;

	say(c->pipe, READY, "");
	close(c->pipe);
	c->pipe = -1;
}

static int do_restore(struct vm *vm, void *ctx, struct err *e)
{
	struct child *c = ctx;

	return c->restore(vm, c->ctx, e);
}

/* Standard input, output and error of a process that has no terminal; what it says is kept. */
static int redirect(const struct folder *f, struct err *e)
{
	cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC), log = -1;
	struct stat st;

	if (!fstatat(f->fd, "penta.log", &st, AT_SYMLINK_NOFOLLOW) && st.st_size > LOG_MAX)
		renameat(f->fd, "penta.log", f->fd, "penta.log.old");
	log = openat(f->fd, "penta.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (log < 0 || null < 0)
		return err_errno(e, log < 0 ? "open %s/penta.log" : "%s: open /dev/null", f->path);
	if (dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
		return err_errno(e, "standard output");
	return 0;
}

/* Descriptors that whoever called us left open are not the machine's. */
static void close_others(const struct folder *f, int pipe, const int *more)
{
	int keep[3 + KEEP_MAX] = { f->fd, f->lock_fd, pipe, -1, -1, -1, -1 };
	unsigned from = 3;

	for (unsigned i = 0; more && more[i] >= 0; i++) {
		BUG_ON(i == KEEP_MAX);
		keep[3 + i] = more[i];
	}

	for (;;) {
		unsigned next = UINT32_MAX;

		for (size_t i = 0; i < ARRAY_SIZE(keep); i++)
			if (keep[i] >= 0 && (unsigned)keep[i] >= from && (unsigned)keep[i] < next)
				next = (unsigned)keep[i];
		if (next > from && close_range(from, next - 1, 0) && next != UINT32_MAX)
			for (unsigned fd = from; fd < next; fd++)
				close((int)fd);		/* Linux before 5.9 */
		if (next == UINT32_MAX)
			return;
		from = next + 1;
	}
}

static void log_start(const struct folder *f)
{
	time_t now = time(NULL);
	char when[64];
	struct tm tm;

	if (strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S %z", localtime_r(&now, &tm)))
		log_msg(LOG_INFO, "%s: machine %s, process %d", when, f->name, (int)getpid());
}

static _Noreturn void child(struct folder *f, const struct vm_config *cfg, struct child *c)
{
	const struct process_opts o = {
		.cfg = cfg, .folder = f, .restore = c->restore ? do_restore : NULL,
		.ready = on_ready, .ctx = c,
	};
	struct err e = { 0 };
	int r;

	setsid();
	prctl(PR_SET_NAME, f->name);
	umask(0077);
	r = redirect(f, &e);
	if (!r)
		close_others(f, c->pipe, c->keep);
	if (!r) {
		log_start(f);
		r = process_live(&o, &e);
	}
	if (r < 0) {
		log_msg(LOG_ERROR, "%s", e.msg);
		if (c->pipe >= 0)
			say(c->pipe, FAILED, e.msg);
		r = 1;
	}
	_exit(r);
}

int process_start(struct folder *f, const struct vm_config *cfg,
		  int (*restore)(struct vm *vm, void *ctx, struct err *e), void *ctx,
		  const int *keep, struct err *e)
{
	struct child c = { .restore = restore, .ctx = ctx, .keep = keep };
	char buf[600] = { 0 };
	size_t n = 0;
	ssize_t k;
	int pipes[2];
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC))
		return err_errno(e, "pipe");
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		close(pipes[0]);
		c.pipe = pipes[1];
		child(f, cfg, &c);
	}
	close(pipes[1]);
	if (pid < 0) {
		close(pipes[0]);
		return err_errno(e, "fork");
	}
	folder_leave_locks(f);
	while (n < sizeof(buf) - 1 && (k = read(pipes[0], buf + n, sizeof(buf) - 1 - n)) != 0) {
		if (k < 0 && errno != EINTR)
			break;
		n += k > 0 ? (size_t)k : 0;
	}
	close(pipes[0]);
	if (buf[0] == READY)
		return 0;
	waitpid(pid, NULL, 0);
	if (buf[0] == FAILED)
		return err_set(e, EIO, "%s", buf + 1);
	return err_set(e, ECHILD, "machine \"%s\": its process died while it started; `penta logs %s` "
		       "may tell why", f->name, f->name);
}
