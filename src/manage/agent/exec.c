/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exec.c - one command in a guest, with the standard files of this process. See exec.h. */
#include "manage/agent/exec.h"
#include "base/cleanup.h"
#include "manage/cli/terminal.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>

enum { RETRY_MS = 150, ANSWER_MS = 3000, SAY_AFTER_MS = 1500 };

/* --- to the agent --- */

static u64 now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000 + (u64)t.tv_nsec / 1000000;
}

/* vsock_unix.c's greeting. 0: connected; -EAGAIN: nobody is there yet. */
static int greet(int fd)
{
	char line[64];
	size_t n = 0;
	int len = snprintf(line, sizeof(line), "CONNECT %u\n", AGENT_PORT);

	if (send(fd, line, (size_t)len, MSG_NOSIGNAL) != len)
		return -EAGAIN;
	while (n < sizeof(line) - 1) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		/* Byte by byte: what follows is the agent's. */
		if (poll(&p, 1, ANSWER_MS) <= 0 || recv(fd, line + n, 1, 0) != 1)
			return -EAGAIN;
		if (line[n++] == '\n')
			return n > 3 && !memcmp(line, "OK ", 3) ? 0 : -EAGAIN;
	}
	return -EAGAIN;
}

int agent_connect(const struct agent_dial *d, struct err *e)
{
	u64 begin = now_ms(), end = begin + (u64)d->timeout * 1000;
	bool said = false;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	for (;;) {
		const struct timespec pause = { .tv_nsec = RETRY_MS * 1000000l };
		int fd = d->dial(d->ctx, e), r;

		if (fd < 0)
			return fd;
		if (greet(fd) == 0) {
			if (said)
				fprintf(stderr, "\r\033[K");
			return fd;
		}
		close(fd);
		r = d->ended ? d->ended(d->ctx, e) : 0;
		if (r)
			return r;
		if (now_ms() >= end)
			return err_set(e, ETIMEDOUT, "no agent answers in the guest after %u s; images made by "
				       "`penta image build` have one", d->timeout);
		if (!said && d->waiting_for && now_ms() > begin + SAY_AFTER_MS && isatty(2)) {
			fprintf(stderr, "penta: waiting for %s to boot", d->waiting_for);
			said = true;
		}
		if (sigtimedwait(&set, NULL, &pause) > 0)
			return err_set(e, EINTR, "interrupted");
	}
}

/* --- the command --- */

struct out {
	int fd;
	u8 buf[AGENT_WINDOW];
	size_t have;
	bool broken;			/* nobody reads it: what comes is dropped */
};

struct exec {
	struct agent_session *s;
	const struct agent_command *cmd;
	int fd, sigfd, status;		/* status: -1 until it is known */
	bool greeted, tty, in_eof;
	struct out out[3];		/* 1, 2 */
	struct err err;			/* code 0: none */
};

static void on_hello(void *ctx)
{
	struct exec *x = ctx;

	x->greeted = true;
	if (agent_exec(x->s, x->cmd, &x->err))
		x->status = AGENT_EXIT_LOST;
}

static void on_data(void *ctx, unsigned stream, const u8 *buf, size_t len)
{
	struct exec *x = ctx;
	struct out *o = &x->out[stream];

	if (o->broken) {
		agent_consumed(x->s, stream, (u32)len);
		return;
	}
	/* The session lets no more come than has room. */
	memcpy(o->buf + o->have, buf, len);
	o->have += len;
}

static void on_exited(void *ctx, u32 status, u32 sig)
{
	struct exec *x = ctx;

	x->status = (int)status;
}

static void on_failed(void *ctx, int error, const char *text)
{
	struct exec *x = ctx;

	x->status = error == ENOENT ? AGENT_EXIT_NOT_FOUND : AGENT_EXIT_NOT_EXECUTABLE;
	err_set(&x->err, error, "%s", text);
}

static const struct agent_events events = {
	.hello = on_hello, .data = on_data, .exited = on_exited, .failed = on_failed,
};

/* The descriptors are the user's, and shared with others: they stay as they are, blocking or not. */
static void write_out(struct exec *x, unsigned stream)
{
	struct out *o = &x->out[stream];
	ssize_t n = write(o->fd, o->buf, MIN(o->have, (size_t)PIPE_BUF));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n < 0) {			/* as a pipe without reader: the command hears of it */
		o->broken = true;
		n = (ssize_t)o->have;
		if (errno == EPIPE)
			agent_signal(x->s, SIGPIPE);
	}
	o->have -= (size_t)n;
	memmove(o->buf, o->buf + n, o->have);
	agent_consumed(x->s, stream, (u32)n);
}

static void read_in(struct exec *x)
{
	u8 buf[AGENT_DATA_MAX];
	ssize_t n = read(0, buf, MIN(sizeof(buf), agent_stdin_room(x->s)));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n > 0) {
		agent_stdin(x->s, buf, (size_t)n);
	} else {
		x->in_eof = true;
		agent_stdin_eof(x->s);
	}
}

static bool window(u16 *rows, u16 *cols)
{
	struct winsize w;

	if (ioctl(1, TIOCGWINSZ, &w) || !w.ws_row || !w.ws_col)
		return false;
	*rows = w.ws_row;
	*cols = w.ws_col;
	return true;
}

static void on_signal(struct exec *x)
{
	struct signalfd_siginfo si;
	u16 rows, cols;

	if (read(x->sigfd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGWINCH) {
		if (x->tty && window(&rows, &cols))
			agent_size(x->s, rows, cols);
	} else if (si.ssi_signo == SIGCONT) {
		if (x->tty)
			terminal_raw_again();
	} else {
		agent_signal(x->s, si.ssi_signo);
	}
}

/* 0: the socket goes on; else it is over. */
static int from_guest(struct exec *x)
{
	u8 buf[32768];
	ssize_t n = recv(x->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0)
		return err_set(&x->err, ECONNRESET, "the connection to the guest's agent was lost");
	return agent_recv(x->s, buf, (size_t)n, &x->err);
}

static int to_guest(struct exec *x)
{
	size_t len;
	const u8 *p = agent_output(x->s, &len);
	ssize_t n = send(x->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n < 0)
		return err_set(&x->err, ECONNRESET, "the connection to the guest's agent was lost");
	agent_sent(x->s, (size_t)n);
	return 0;
}

static int live(struct exec *x)
{
	bool over = false;

	/* Until the status is known, and all output is written. */
	while (!over || x->out[1].have || x->out[2].have) {
		size_t queued;
		struct pollfd p[5] = {
			{ .fd = over ? -1 : x->fd, .events = POLLIN },
			{ .fd = x->sigfd, .events = POLLIN },
			{ .fd = !x->in_eof && agent_stdin_room(x->s) ? 0 : -1, .events = POLLIN },
			{ .fd = x->out[1].have ? 1 : -1, .events = POLLOUT },
			{ .fd = x->out[2].have ? 2 : -1, .events = POLLOUT },
		};

		agent_output(x->s, &queued);
		if (queued)
			p[0].events |= POLLOUT;
		if (poll(p, 5, -1) < 0) {
			if (errno == EINTR)
				continue;
			return err_errno(&x->err, "poll");
		}
		if (p[1].revents)
			on_signal(x);
		if (p[2].revents)
			read_in(x);
		if (p[3].revents)
			write_out(x, 1);
		if (p[4].revents)
			write_out(x, 2);
		if (!over && (p[0].revents & ~POLLOUT) && from_guest(x) && x->status < 0)
			return -x->err.code;
		over = over || x->status >= 0;
		if (!over && queued && to_guest(x))
			return -x->err.code;
	}
	return 0;
}

int agent_run(int fd, const struct agent_command *c, enum agent_tty tty, struct err *e)
{
	static const int sigs[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH,
				    SIGCONT };
	struct agent_command cmd = *c;
	struct exec *x = calloc(1, sizeof(*x));
	sigset_t set, old;
	int r;

	if (!x) {
		close(fd);
		return err_set(e, ENOMEM, "out of memory");
	}
	x->fd = fd;
	x->cmd = &cmd;
	x->status = -1;
	x->out[1].fd = 1;
	x->out[2].fd = 2;
	x->tty = tty == AGENT_TTY_ON || (tty == AGENT_TTY_AUTO && isatty(0) && isatty(1));
	cmd.tty = x->tty;
	if (x->tty)
		window(&cmd.rows, &cmd.cols);
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaddset(&set, sigs[i]);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, &old);
	x->sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	r = x->sigfd < 0 ? err_errno(e, "signalfd") : agent_session_new(&x->s, &events, x, e);
	if (!r) {
		bool raw = x->tty && terminal_raw();

		r = live(x);
		if (raw)
			terminal_restore();
		if (x->err.code)
			err_set(e, x->err.code, "%s", x->err.msg);
		if (!r)
			r = x->status;
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	agent_session_free(x->s);
	cleanup_closep(&x->sigfd);
	close(fd);
	free(x);
	return r;
}
