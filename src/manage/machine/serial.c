/* SPDX-License-Identifier: GPL-2.0-or-later */
/* serial.c - back ends of serial ports: terminal, file, pseudo-terminal, unix socket.
 *
 * A socket's peer comes and goes while the chip's back end stays the same: the chip talks to one
 * end of a socket pair, and relay() copies between the other end and whoever is connected. What
 * the guest sends while nobody is there is dropped, as on an open cable. */
#include "manage/machine/serial.h"
#include "base/cleanup.h"
#include "base/janitor.h"
#include "base/loop.h"
#include "base/trace.h"		// log_msg
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PAIR_CHIP, PAIR_RELAY, LISTENER };	/* of serial.fd for unix sockets */

bool serial_spec_ok(const char *spec, const char *what, struct err *e)
{
	if (!strcmp(spec, "terminal") || !strcmp(spec, "none") || !strcmp(spec, "pty") ||
	    !strcmp(spec, "console") || (!strncmp(spec, "file:", 5) && spec[5]) || (!strncmp(spec, "unix:", 5) && spec[5]))
		return true;
	err_set(e, EINVAL, "%s %s: one of these is needed: terminal none pty file:PATH unix:PATH "
		"console", what, spec);
	return false;
}

static int open_fd(struct chardev **be, struct loop *l, int in, int out, bool lossy,
		   const struct serial_filter *x, struct err *e)
{
	struct chardev_fd_opts o = { .in = in, .out = out, .lossy = lossy };

	if (x) {
		o.filter = x->fn;
		o.ctx = x->ctx;
	}
	return chardev_fd_new(be, l, &o, e);
}

static int open_file(struct serial *s, const char *path, const char *what, struct loop *l,
		     struct chardev **be, struct err *e)
{
	s->fd[0] = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (s->fd[0] < 0)
		return err_errno(e, "%s: open %s", what, path);
	return open_fd(be, l, -1, s->fd[0], false, NULL, e);
}

static int open_pty(struct serial *s, const char *what, struct loop *l, struct chardev **be,
		    struct err *e)
{
	char name[128];

	/* The slave stays open: reading the master fails while nobody has it open. */
	if (openpty(&s->fd[0], &s->fd[1], NULL, NULL, NULL))
		return err_errno(e, "%s pty", what);
	fcntl(s->fd[0], F_SETFD, FD_CLOEXEC);
	fcntl(s->fd[1], F_SETFD, FD_CLOEXEC);
	if (ttyname_r(s->fd[1], name, sizeof(name)))
		return err_errno(e, "%s pty", what);
	log_msg(LOG_INFO, "%s at %s", what[0] == '-' && what[2] == 'c' ? "console" : "serial port",
		name);
	return open_fd(be, l, s->fd[0], s->fd[0], true, NULL, e);
}

/* --- unix sockets; on the loop's thread --- */

static void drop_client(struct serial *s)
{
	if (s->client < 0)
		return;
	loop_del_fd(s->loop, s->client);
	close(s->client);
	s->client = -1;
}

/* Copy what @from has to @to, or drop it when that is -1. -EAGAIN: @to takes nothing now; -EPIPE:
 * one side has gone. Looks first and takes then, so that nothing is lost between. */
static int copy(int from, int to)
{
	char buf[4096];
	ssize_t n = recv(from, buf, sizeof(buf), MSG_DONTWAIT | MSG_PEEK), m;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
	if (n == 0)
		return -EPIPE;
	m = to < 0 ? n : send(to, buf, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (m < 0)
		return errno == EAGAIN ? -EAGAIN : errno == EINTR ? 0 : -EPIPE;
	if (m > 0 && recv(from, buf, (size_t)m, MSG_DONTWAIT) < 0)
		return -EPIPE;
	return 0;
}

/* From the peer to the guest. A guest that does not read stops us, until there is room again. */
static void on_client(void *ctx, u32 events)
{
	struct serial *s = ctx;
	int r = copy(s->client, s->fd[PAIR_RELAY]);

	if (r == -EPIPE || (!r && (events & EPOLLERR))) {
		drop_client(s);
	} else if (r == -EAGAIN) {
		loop_mod_fd(s->loop, s->client, 0);
		loop_mod_fd(s->loop, s->fd[PAIR_RELAY], EPOLLIN | EPOLLOUT);
	}
}

/* From the guest to the peer. A peer that does not read loses what is sent meanwhile. */
static void on_pair(void *ctx, u32 events)
{
	struct serial *s = ctx;
	int r;

	if (events & EPOLLOUT) {
		if (s->client >= 0)
			loop_mod_fd(s->loop, s->client, EPOLLIN);
		loop_mod_fd(s->loop, s->fd[PAIR_RELAY], EPOLLIN);
	}
	if (!(events & EPOLLIN))
		return;
	r = copy(s->fd[PAIR_RELAY], s->client);
	if (r == -EPIPE)
		drop_client(s);
	else if (r == -EAGAIN)
		copy(s->fd[PAIR_RELAY], -1);
}

static void on_listener(void *ctx, u32 events)
{
	struct serial *s = ctx;
	int fd = accept4(s->fd[LISTENER], NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	drop_client(s);		/* the newest wins: the old one may be half dead */
	s->client = fd;
	if (loop_add_fd(s->loop, fd, EPOLLIN, on_client, s, NULL)) {
		close(fd);
		s->client = -1;
	}
}

static int listen_unix(struct serial *s, const char *path, const char *what, struct err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(a.sun_path))
		return err_set(e, ENAMETOOLONG, "%s unix:%s: a socket's path has at most %zu "
			       "characters", what, path, sizeof(a.sun_path) - 1);
	strcpy(a.sun_path, path);
	s->fd[LISTENER] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd[LISTENER] < 0 || bind(s->fd[LISTENER], (struct sockaddr *)&a, sizeof(a)))
		return errno == EADDRINUSE ?
		       err_set(e, EADDRINUSE, "%s unix:%s: the path is there already; remove it "
			       "if nothing listens on it, or name another", what, path) :
		       err_errno(e, "%s unix:%s", what, path);
	if (janitor_remove(s->janitor, path, e))
		return err_context(e, "%s unix", what);
	return listen(s->fd[LISTENER], 1) ? err_errno(e, "%s unix:%s", what, path) : 0;
}

static int open_unix(struct serial *s, const char *path, const char *what, struct loop *l,
		     struct chardev **be, struct err *e)
{
	int r = listen_unix(s, path, what, e);

	if (r)
		return r;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s->fd))
		return err_errno(e, "%s unix:%s", what, path);
	r = loop_add_fd(l, s->fd[LISTENER], EPOLLIN, on_listener, s, e);
	if (!r)
		r = loop_add_fd(l, s->fd[PAIR_RELAY], EPOLLIN, on_pair, s, e);
	return r ? r : open_fd(be, l, s->fd[PAIR_CHIP], s->fd[PAIR_CHIP], true, NULL, e);
}

int serial_open(struct serial *s, const char *spec, const char *what, struct loop *l,
		const struct serial_filter *filter, struct chardev **be, struct err *e)
{
	s->loop = l;
	*be = NULL;
	if (!strcmp(spec, "terminal"))
		return open_fd(be, l, STDIN_FILENO, STDOUT_FILENO, false, filter, e);
	if (!strcmp(spec, "pty"))
		return open_pty(s, what, l, be, e);
	if (!strncmp(spec, "file:", 5))
		return open_file(s, spec + 5, what, l, be, e);
	if (!strncmp(spec, "unix:", 5))
		return open_unix(s, spec + 5, what, l, be, e);
	return 0;
}

int serial_open_channel(struct serial *s, const char *spec, const char *what, struct loop *l,
			struct chardev **be, struct err *e)
{
	int r, fd;

	if (strncmp(spec, "unix:", 5))
		return serial_open(s, spec, what, l, NULL, be, e);
	s->loop = l;
	*be = NULL;
	r = listen_unix(s, spec + 5, what, e);
	if (r)
		return r;
	fd = s->fd[LISTENER];
	s->fd[LISTENER] = -1;
	return chardev_listen_new(be, l, fd, e);
}

void serial_close(struct serial *s)
{
	for (int i = 0; i < SERIAL_FDS; i++)
		cleanup_closep(&s->fd[i]);
	cleanup_closep(&s->client);
	*s = SERIAL_NONE;
}
