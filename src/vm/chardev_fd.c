// SPDX-License-Identifier: GPL-2.0-or-later
/* chardev_fd.c - a character back end over file descriptors. See chardev.h.
 *
 * Output goes through a ring that the event loop empties whenever the descriptor takes something,
 * so a chip's register write never waits. When the ring is full the chip is told (the guest then
 * sees a busy transmitter), or, for a lossy one, the oldest bytes go.
 *
 * Descriptors are not made non-blocking where that can be avoided: the flag belongs to the open
 * file, which a terminal shares with the user's shell. A second opening through /proc has its
 * own. Sockets have MSG_DONTWAIT; regular files never block for long and are written at once,
 * since epoll does not know them. */
#include "base/cleanup.h"
#include "base/loop.h"
#include "vm/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#define OUT_MAX		65536
#define IN_MAX		4096
#define LINGER_MS	1000	/* how long a freed back end's output may take to leave */

struct chardev_fd {
	struct chardev c;
	struct loop *loop;
	struct chardev_fd_opts o;

	int in, out;			/* -1: none or ended; watched unless plain */
	bool in_ours, out_ours;		/* to be closed by us */
	int in_ended;			/* @in when its end has come (on a vCPU, which closes nothing) */
	bool in_plain, out_plain;	/* a regular file: always ready */
	bool in_sock, out_sock, out_pipe;
	int restore_in, restore_out;	/* file status flags to put back, or -1 */

	u8 *obuf;			/* ring */
	size_t ohead, on;
	bool refused;			/* send() took less than it was given */
	bool out_watched;

	u8 ibuf[IN_MAX];		/* past the filter, waits for room */
	size_t in_n;
	bool in_watched, delivering;
};

static void on_in(void *ctx, u32 events);
static void on_out(void *ctx, u32 events);

/* --- output --- */

/* Like write() that never blocks and never raises SIGPIPE. */
static ssize_t write_some(struct chardev_fd *f, const u8 *buf, size_t len)
{
	sigset_t pipe, old;
	ssize_t n;

	if (f->out_sock)
		return send(f->out, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (!f->out_pipe)
		return write(f->out, buf, len);
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, &old);
	n = write(f->out, buf, len);
	if (n < 0 && errno == EPIPE && !sigismember(&old, SIGPIPE)) {
		const struct timespec none = { 0 };

		sigtimedwait(&pipe, NULL, &none);
		errno = EPIPE;
	}
	int saved = errno;

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = saved;
	return n;
}

static void watch_out(struct chardev_fd *f, bool on)
{
	if (f->out_plain || f->out_watched == on)
		return;
	f->out_watched = on;
	if (on)
		loop_add_fd(f->loop, f->out, EPOLLOUT, on_out, f, NULL);
	else
		loop_del_fd(f->loop, f->out);
}

/* The peer has gone: what waits has nowhere to go. */
static void close_out(struct chardev_fd *f)
{
	watch_out(f, false);
	f->on = 0;
	chardev_event(&f->c, CHARDEV_CLOSED);
}

/* Write what the descriptor takes. False when it is gone. */
static bool flush(struct chardev_fd *f)
{
	while (f->on) {
		size_t n = MIN(f->on, OUT_MAX - f->ohead);
		ssize_t k = write_some(f, f->obuf + f->ohead, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0 && errno == EAGAIN)
			return true;
		if (k <= 0)
			return false;
		f->ohead = (f->ohead + k) % OUT_MAX;
		f->on -= k;
	}
	return true;
}

static void on_out(void *ctx, u32 events)
{
	struct chardev_fd *f = ctx;

	if (!flush(f)) {
		close_out(f);
		return;
	}
	if (!f->on)
		watch_out(f, false);
	if (f->refused && f->on < OUT_MAX / 2) {
		f->refused = false;
		chardev_can_send(&f->c);
	}
}

static size_t fd_send(struct chardev *c, const u8 *buf, size_t len)
{
	struct chardev_fd *f = (struct chardev_fd *)c;
	size_t n = len, done;

	if (f->out < 0)
		return len;
	if (f->o.lossy && n > OUT_MAX) {
		buf += n - OUT_MAX;
		n = OUT_MAX;
	}
	if (n > OUT_MAX - f->on) {
		if (f->o.lossy) {
			size_t drop = n - (OUT_MAX - f->on);

			f->ohead = (f->ohead + drop) % OUT_MAX;
			f->on -= drop;
		} else {
			n = OUT_MAX - f->on;
			f->refused = true;
		}
	}
	for (done = 0; done < n;) {
		size_t at = (f->ohead + f->on) % OUT_MAX, k = MIN(n - done, OUT_MAX - at);

		memcpy(f->obuf + at, buf + done, k);
		f->on += k;
		done += k;
	}
	if (f->out_plain && !flush(f))		/* disk full: the guest does not care */
		f->on = 0;
	if (f->on)
		watch_out(f, true);
	return f->o.lossy ? len : n;
}

/* --- input --- */

static void watch_in(struct chardev_fd *f, bool on)
{
	if (f->in < 0 || f->in_plain || f->in_watched == on)
		return;
	f->in_watched = on;
	if (on)
		loop_add_fd(f->loop, f->in, EPOLLIN, on_in, f, NULL);
	else
		loop_del_fd(f->loop, f->in);
}

/* Pass on what has room. recv() may make more room and come back here: the outer call goes on. */
static void deliver(struct chardev_fd *f)
{
	size_t n;

	if (f->delivering)
		return;
	f->delivering = true;
	while ((n = MIN(f->in_n, chardev_room(&f->c))) > 0) {
		u8 buf[IN_MAX];

		n = MIN(n, sizeof(buf));
		memcpy(buf, f->ibuf, n);
		f->in_n -= n;
		memmove(f->ibuf, f->ibuf + n, f->in_n);
		chardev_recv(&f->c, buf, n);
	}
	f->delivering = false;
}

/* The other side of the input has ended; output may go on unless both are one. */
static void end_in(struct chardev_fd *f)
{
	watch_in(f, false);
	f->in_ended = f->in;
	f->in = -1;
	if (f->o.in == f->o.out)
		close_out(f);
}

/* Read once. False: nothing there now, or the end. */
static bool fill(struct chardev_fd *f)
{
	size_t room = IN_MAX - f->in_n;
	ssize_t k;

	if (f->in < 0 || !room)
		return false;
	do
		k = f->in_sock ? recv(f->in, f->ibuf + f->in_n, room, MSG_DONTWAIT) :
				 read(f->in, f->ibuf + f->in_n, room);
	while (k < 0 && errno == EINTR);
	if (k < 0 && errno == EAGAIN)
		return false;
	if (k <= 0) {
		end_in(f);
		return false;
	}
	if (f->o.filter)
		k = f->o.filter(f->o.ctx, f->ibuf + f->in_n, k);
	f->in_n += k;
	return true;
}

static void on_in(void *ctx, u32 events)
{
	struct chardev_fd *f = ctx;

	fill(f);
	deliver(f);
	/* A full buffer stops the reading; with a filter it takes that much typing ahead until
	 * the escape keys are not seen any more. */
	if (f->in_n == IN_MAX)
		watch_in(f, false);
}

static void fd_room_now(struct chardev *c)
{
	struct chardev_fd *f = (struct chardev_fd *)c;

	if (f->delivering)
		return;
	deliver(f);
	while (f->in_plain && f->in_n == 0 && chardev_room(c) && fill(f))
		deliver(f);
	if (f->in_n < IN_MAX / 2)
		watch_in(f, true);
}

/* --- making --- */

/* A descriptor that can be used without blocking: a second opening of @fd, or @fd itself. */
static int private_fd(int fd, int access, bool *ours, int *restore)
{
	char path[32];
	int own, flags;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (own >= 0) {
		*ours = true;
		return own;
	}
	flags = fcntl(fd, F_GETFL);
	if (flags >= 0 && !(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0)
		*restore = flags;
	return fd;
}

/* A pseudo-terminal's master opened again would be another terminal. */
static bool is_ptmx(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == (5 << 8 | 2);
}

static int open_side(struct chardev_fd *f, bool input, struct err *e)
{
	int fd = input ? f->o.in : f->o.out;
	bool sock, plain, *ours = input ? &f->in_ours : &f->out_ours;
	struct stat st = { .st_mode = S_IFSOCK };

	if (fd < 0)
		return 0;
	if (!f->o.socket && fstat(fd, &st) < 0)
		return err_errno(e, "character device: descriptor %d", fd);
	sock = S_ISSOCK(st.st_mode);
	plain = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode);
	if (input) {
		f->in_sock = sock;
		f->in_plain = plain;
	} else {
		f->out_sock = sock;
		f->out_plain = plain;
		f->out_pipe = S_ISFIFO(st.st_mode);
	}
	if (!sock && !plain && !is_ptmx(&st)) {
		fd = private_fd(fd, input ? O_RDONLY : O_WRONLY, ours,
				input ? &f->restore_in : &f->restore_out);
	} else if (f->o.in == f->o.out && !input) {	/* one watch each */
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			return err_errno(e, "character device: descriptor %d", f->o.out);
		*ours = true;
	}
	if (is_ptmx(&st)) {
		int flags = fcntl(fd, F_GETFL), *restore = input ? &f->restore_in : &f->restore_out;

		if (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0)
			*restore = flags;
	}
	if (input)
		f->in = fd;
	else
		f->out = fd;
	/* /dev/null and its like cannot be watched, and need not be. */
	if (!plain) {
		struct err none = { 0 };
		int rc = loop_add_fd(f->loop, fd, 0, input ? on_in : on_out, f, &none);

		if (rc == -EPERM)
			*(input ? &f->in_plain : &f->out_plain) = true;
		else if (rc < 0)
			return err_set(e, -rc, "%s", none.msg);
		else
			loop_del_fd(f->loop, fd);
	}
	return 0;
}

static u64 mono_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The last words of a guest are worth waiting for, not for ever. */
static void linger(struct chardev_fd *f)
{
	u64 end = mono_ms() + LINGER_MS, now;

	while (f->out >= 0 && f->on && flush(f) && f->on && (now = mono_ms()) < end) {
		struct pollfd p = { .fd = f->out, .events = POLLOUT };

		poll(&p, 1, end - now);
	}
}

static void fd_free(struct chardev *c)
{
	struct chardev_fd *f = (struct chardev_fd *)c;

	linger(f);
	watch_in(f, false);
	watch_out(f, false);
	if (f->restore_in >= 0)
		fcntl(f->o.in, F_SETFL, f->restore_in);
	if (f->restore_out >= 0)
		fcntl(f->o.out, F_SETFL, f->restore_out);
	if (f->in_ours && (f->in >= 0 || f->in_ended >= 0))
		close(f->in >= 0 ? f->in : f->in_ended);
	if (f->out_ours && f->out >= 0)
		close(f->out);
	free(f->obuf);
	free(f);
}

static const struct chardev_ops fd_ops = {
	.send = fd_send, .room_now = fd_room_now, .free = fd_free,
};

int chardev_fd_new(struct chardev **out, struct loop *l, const struct chardev_fd_opts *o,
		   struct err *e)
{
	struct chardev_fd *f = calloc(1, sizeof(*f));
	int rc;

	if (!f)
		return err_set(e, ENOMEM, "no memory for a character device");
	f->c.ops = &fd_ops;
	f->c.connected = true;
	f->loop = l;
	f->o = *o;
	f->in = f->in_ended = f->out = f->restore_in = f->restore_out = -1;
	f->obuf = malloc(OUT_MAX);
	rc = f->obuf ? open_side(f, true, e) : err_set(e, ENOMEM, "no memory for a character device");
	if (!rc)
		rc = open_side(f, false, e);
	if (rc) {
		fd_free(&f->c);
		return rc;
	}
	watch_in(f, true);
	*out = &f->c;
	return 0;
}
