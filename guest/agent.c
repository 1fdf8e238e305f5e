/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent.c - the program in a guest that does what its host asks: run commands, set the clock, tell
 * consoles their size, shut down. Linked statically: it runs on whatever Linux is there.
 *
 * It listens on a vsock port, to which only the host is let in, and serves each connection by a process
 * of its own. What is said stands in src/manage/agent/proto.h.
 * Options, for tests: --unix PATH, listen on a unix socket; --run DIR, in place of /run/penta. */
#include "manage/agent/proto.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/vm_sockets.h>	// wants struct sockaddr before it

#define SESSIONS_MAX 64
#define HELLO_TIMEOUT_MS 10000
#define OUT_MAX (2 * AGENT_WINDOW + 4 * AGENT_FRAME_MAX)
#define GROUPS_MAX 64
#define TTY_DRAIN_MAX (1 << 20)	/* bytes after a command's end */
#define MIN(a, b) ((a) < (b) ? (a) : (b))

struct stream {
	int fd;				/* -1: closed, or none */
	bool eof;			/* 0: EOF came; 1, 2: EOF was sent */
	uint32_t credit;		/* 0: granted and not used by the host; 1, 2: what we may send */
	uint8_t buf[AGENT_WINDOW];	/* 0: came and is not written yet */
	size_t have;
	int left;			/* 1, 2: bytes that were there when the command ended */
	bool waited;
};

struct session {
	int sock, sigfd;
	bool hello, dead;		/* their HELLO came; the connection is over */
	uint8_t in[AGENT_HEADER + AGENT_FRAME_MAX];
	size_t have;
	uint8_t out[OUT_MAX];
	size_t queued;

	pid_t child;			/* of the command; 0: none */
	bool started, tty, exited, last;	/* last: after what is queued, we go */
	int status;
	struct stream s[3];
};

static const char *run_dir = "/run/penta";

/* --- frames --- */

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, 4);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return le32toh(v);
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint64_t get64(const uint8_t *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

static void put64(uint8_t *p, uint64_t v)
{
	put32(p, (uint32_t)v);
	put32(p + 4, (uint32_t)(v >> 32));
}

static void send_frame(struct session *s, unsigned type, unsigned stream, const void *data, size_t len)
{
	uint8_t *h = s->out + s->queued;

	if (s->dead || s->queued + AGENT_HEADER + len > sizeof(s->out)) {
		s->dead = true;		/* somebody asks and never reads */
		return;
	}
	h[0] = (uint8_t)type;
	h[1] = (uint8_t)stream;
	h[2] = h[3] = 0;
	put32(h + 4, (uint32_t)len);
	if (len)
		memcpy(h + AGENT_HEADER, data, len);
	s->queued += AGENT_HEADER + len;
}

static void flush_out(struct session *s)
{
	while (s->queued && !s->dead) {
		ssize_t n = send(s->sock, s->out, s->queued, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			s->dead = true;
		if (n <= 0)
			return;
		s->queued -= (size_t)n;
		memmove(s->out, s->out + n, s->queued);
	}
}

static void send_error(struct session *s, int err, const char *what)
{
	uint8_t b[256];
	int n;

	put32(b, (uint32_t)err);
	n = snprintf((char *)b + 4, sizeof(b) - 4, "%s: %s", what, strerror(err));
	send_frame(s, AGENT_ERROR, 0, b, 4 + MIN((size_t)n, sizeof(b) - 5));
	s->last = true;
}

static void send_u32(struct session *s, unsigned type, unsigned stream, uint32_t v)
{
	uint8_t b[4];

	put32(b, v);
	send_frame(s, type, stream, b, 4);
}

static void send_hello(struct session *s)
{
	uint8_t b[12];

	memcpy(b, AGENT_MAGIC, 8);
	put32(b + 8, AGENT_VERSION);
	send_frame(s, AGENT_HELLO, 0, b, sizeof(b));
}

/* --- the command: what becomes of the child --- */

struct user {
	uid_t uid;
	gid_t gid, groups[GROUPS_MAX];
	size_t ngroups;
	char home[256], shell[256];
};

/* By hand: a static program has no name services. */
static int find_user(const char *name, struct user *u)
{
	FILE *f = fopen("/etc/passwd", "re");
	struct passwd *p = NULL;
	struct group *g;

	if (f) {
		while ((p = fgetpwent(f)) && strcmp(p->pw_name, name))
			;
		if (p) {
			u->uid = p->pw_uid;
			u->gid = p->pw_gid;
			snprintf(u->home, sizeof(u->home), "%s", p->pw_dir);
			snprintf(u->shell, sizeof(u->shell), "%s", p->pw_shell);
		}
		fclose(f);
	}
	if (!p)
		return -1;
	u->groups[u->ngroups++] = u->gid;
	f = fopen("/etc/group", "re");
	while (f && (g = fgetgrent(f)))
		for (char **m = g->gr_mem; *m && u->ngroups < GROUPS_MAX; m++)
			if (!strcmp(*m, name)) {
				u->groups[u->ngroups++] = g->gr_gid;
				break;
			}
	if (f)
		fclose(f);
	return 0;
}

struct command {
	uint32_t flags;
	uint16_t rows, cols;
	const char *cwd, *user;
	char **argv, **env;
};

static int be_user(const struct command *c, const struct user *u)
{
	if (!c->user[0])
		return 0;
	return setgroups(u->ngroups, u->groups) || setgid(u->gid) || setuid(u->uid) ? -1 : 0;
}

/* Why no command came of it: an errno, and what it is about. */
struct failure {
	int error;
	enum { FAIL_COMMAND, FAIL_USER, FAIL_FOLDER } of;
};

/* Until execve(), or a struct failure, which goes to @report. Does not return. */
static void become(const struct command *c, int in, int out, int err, int report)
{
	const char *name = c->user[0] ? c->user : "root";
	struct user u = { .home = "/root", .shell = "/bin/sh" };
	struct failure why = { .of = FAIL_COMMAND };
	sigset_t none;

	setsid();
	if (c->flags & AGENT_TTY)
		ioctl(in, TIOCSCTTY, 0);
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		goto fail;
	if (find_user(name, &u) && c->user[0]) {
		errno = ENOENT;
		why.of = FAIL_USER;
		goto fail;
	}
	clearenv();
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", u.home, 1);
	setenv("SHELL", u.shell, 1);
	setenv("USER", name, 1);
	setenv("LOGNAME", name, 1);
	for (char **v = c->env; *v; v++)
		if (strchr(*v, '=') && **v != '=')
			putenv(*v);
	if (be_user(c, &u)) {
		why.of = FAIL_USER;
		goto fail;
	}
	if (chdir(c->cwd[0] ? c->cwd : u.home) && (c->cwd[0] || chdir("/"))) {
		why.of = FAIL_FOLDER;
		goto fail;
	}
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(022);
	execvp(c->argv[0], c->argv);
fail:
	why.error = errno;
	if (write(report, &why, sizeof(why)) < 0)
		_exit(126);
	_exit(127);
}

static void set_size(int fd, uint16_t rows, uint16_t cols)
{
	struct winsize w = { .ws_row = rows, .ws_col = cols };

	ioctl(fd, TIOCSWINSZ, &w);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* 0 or an errno. */
static int open_tty(const struct command *c, int ours[3], int theirs[3])
{
	char name[64];

	ours[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (ours[0] < 0 || grantpt(ours[0]) || unlockpt(ours[0]) ||
	    ptsname_r(ours[0], name, sizeof(name)))
		return errno;
	if (c->rows && c->cols)
		set_size(ours[0], c->rows, c->cols);
	theirs[0] = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (theirs[0] < 0)
		return errno;
	theirs[1] = fcntl(theirs[0], F_DUPFD_CLOEXEC, 3);
	theirs[2] = fcntl(theirs[0], F_DUPFD_CLOEXEC, 3);
	ours[1] = fcntl(ours[0], F_DUPFD_CLOEXEC, 3);
	return theirs[1] < 0 || theirs[2] < 0 || ours[1] < 0 ? errno : 0;
}

static int open_pipes(int ours[3], int theirs[3])
{
	for (int i = 0; i < 3; i++) {
		int p[2];

		if (pipe2(p, O_CLOEXEC))
			return errno;
		ours[i] = p[i == 0];
		theirs[i] = p[i != 0];
	}
	return 0;
}

static void start(struct session *s, const struct command *c)
{
	int ours[3] = { -1, -1, -1 }, theirs[3] = { -1, -1, -1 }, report[2] = { -1, -1 };
	struct failure why = { .of = FAIL_COMMAND };
	char what[256];
	int e;

	s->tty = c->flags & AGENT_TTY;
	e = s->tty ? open_tty(c, ours, theirs) : open_pipes(ours, theirs);
	if (!e && pipe2(report, O_CLOEXEC))
		e = errno;
	if (!e) {
		s->child = fork();
		if (s->child == 0)
			become(c, theirs[0], theirs[1], theirs[2], report[1]);
		if (s->child < 0)
			e = errno;
	}
	for (int i = 0; i < 3; i++)
		close_fd(&theirs[i]);
	close_fd(&report[1]);
	/* The pipe closes by execve(), or brings why that failed. */
	if (!e && read(report[0], &why, sizeof(why)) == sizeof(why))
		e = why.error;
	close_fd(&report[0]);
	if (e) {
		for (int i = 0; i < 3; i++)
			close_fd(&ours[i]);
		if (s->child > 0)
			waitpid(s->child, NULL, 0);
		s->child = 0;
		if (why.of == FAIL_COMMAND)
			snprintf(what, sizeof(what), "%s", c->argv[0]);
		else
			snprintf(what, sizeof(what), "the guest's %s %s",
				 why.of == FAIL_USER ? "user" : "folder",
				 why.of == FAIL_USER ? c->user : c->cwd);
		send_error(s, e, what);
		return;
	}
	for (int i = 0; i < 3; i++) {
		s->s[i].fd = ours[i];
		if (ours[i] >= 0)
			fcntl(ours[i], F_SETFL, fcntl(ours[i], F_GETFL) | O_NONBLOCK);
	}
	send_u32(s, AGENT_STARTED, 0, (uint32_t)s->child);
}

/* flags, rows, cols, nargs, nenv; then the strings. */
static void do_exec(struct session *s, uint8_t *b, size_t len)
{
	uint32_t nargs, nenv, n, i = 0;
	uint8_t *p = b + 16, *end = b + len;
	struct command c;
	char **str;

	if (s->started || len < 16) {
		s->dead = true;
		return;
	}
	s->started = true;
	c.flags = get32(b);
	c.rows = get16(b + 4);
	c.cols = get16(b + 6);
	nargs = get32(b + 8);
	nenv = get32(b + 12);
	if (!nargs || nargs > AGENT_ARGS_MAX || nenv > AGENT_ARGS_MAX) {
		send_error(s, E2BIG, "arguments");
		return;
	}
	n = 2 + nargs + nenv;
	str = calloc(n + 2, sizeof(*str));
	if (!str) {
		send_error(s, ENOMEM, "arguments");
		return;
	}
	/* Arguments and environment are each followed by a NULL. */
	while (i < n && p < end) {
		uint8_t *z = memchr(p, 0, (size_t)(end - p));

		if (!z)
			break;
		str[i < 2 + nargs ? i : i + 1] = (char *)p;
		p = z + 1;
		i++;
	}
	if (i < n) {
		send_error(s, EPROTO, "arguments");
	} else {
		c.cwd = str[0];
		c.user = str[1];
		c.argv = str + 2;
		c.env = str + 2 + nargs + 1;
		start(s, &c);
	}
	free(str);
}

/* --- the machine's requests --- */

static void do_console_size(uint16_t rows, uint16_t cols)
{
	static const char *const ttys[] = { "/dev/ttyS0", "/dev/hvc0" };
	char path[128], tmp[140];
	FILE *f;

	mkdir(run_dir, 0755);
	snprintf(path, sizeof(path), "%s/size", run_dir);
	snprintf(tmp, sizeof(tmp), "%s.new", path);
	f = fopen(tmp, "we");
	if (f) {
		fprintf(f, "rows %u cols %u\n", rows, cols);
		if (!fclose(f))
			rename(tmp, path);
	}
	for (size_t i = 0; i < sizeof(ttys) / sizeof(ttys[0]); i++) {
		int fd = open(ttys[i], O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

		if (fd >= 0) {
			set_size(fd, rows, cols);
			close(fd);
		}
	}
}

static int adjust_clock(int64_t delta)
{
	struct timespec t;
	int64_t ns;

	clock_gettime(CLOCK_REALTIME, &t);
	if (__builtin_add_overflow((int64_t)t.tv_sec * 1000000000 + t.tv_nsec, delta, &ns) || ns < 0)
		return EINVAL;
	t.tv_sec = ns / 1000000000;
	t.tv_nsec = ns % 1000000000;
	return clock_settime(CLOCK_REALTIME, &t) ? errno : 0;
}

static int power(uint32_t how)
{
	const char *path = how == AGENT_REBOOT ? "/sbin/reboot" : "/sbin/poweroff";
	pid_t pid;

	if (access(path, X_OK))
		return errno;
	pid = fork();
	if (pid == 0) {
		if (fork() == 0) {	/* not our child: nobody has to wait for it */
			setsid();
			execl(path, path + sizeof("/sbin"), (char *)NULL);
		}
		_exit(0);
	}
	if (pid < 0)
		return errno;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

static void send_clock(struct session *s, const uint8_t *token)
{
	struct timespec t;
	uint8_t b[16];

	memcpy(b, token, 8);
	clock_gettime(CLOCK_REALTIME, &t);
	put64(b + 8, (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec);
	send_frame(s, AGENT_CLOCK, 0, b, sizeof(b));
}

/* --- what comes --- */

static void take_data(struct session *s, unsigned stream, const uint8_t *b, size_t len)
{
	struct stream *in = &s->s[0];

	if (stream || !s->started || len > in->credit || in->eof) {
		s->dead = true;		/* more than was granted */
		return;
	}
	if (in->fd < 0) {		/* the command reads no more */
		send_u32(s, AGENT_CREDIT, 0, (uint32_t)len);
		return;
	}
	in->credit -= (uint32_t)len;
	memcpy(in->buf + in->have, b, len);
	in->have += len;
}

static void take_frame(struct session *s, unsigned type, unsigned stream, uint8_t *b, size_t len)
{
	if (!s->hello) {
		if (type == AGENT_HELLO && len >= 12 && !memcmp(b, AGENT_MAGIC, 8) && get32(b + 8))
			s->hello = true;
		else
			s->dead = true;
		return;
	}
	switch (type) {
	case AGENT_EXEC:
		do_exec(s, b, len);
		break;
	case AGENT_DATA:
		take_data(s, stream, b, len);
		break;
	case AGENT_EOF:
		s->s[0].eof = true;
		break;
	case AGENT_CREDIT:
		if (len >= 4 && (stream == 1 || stream == 2) &&
		    get32(b) <= AGENT_WINDOW - s->s[stream].credit)
			s->s[stream].credit += get32(b);
		else
			s->dead = true;
		break;
	case AGENT_SIGNAL:
		if (len >= 4 && s->child > 0 && !s->exited && get32(b) < (uint32_t)NSIG)
			kill(-s->child, (int)get32(b));
		break;
	case AGENT_SIZE:
		if (len >= 4 && s->started && s->tty && s->s[0].fd >= 0)
			set_size(s->s[0].fd, get16(b), get16(b + 2));
		else if (len >= 4 && !s->started)
			do_console_size(get16(b), get16(b + 2));
		break;
	case AGENT_CLOCK:
		if (len >= 8)
			send_clock(s, b);
		break;
	case AGENT_ADJUST:
		if (len >= 8)
			send_u32(s, AGENT_ADJUST, 0, (uint32_t)adjust_clock((int64_t)get64(b)));
		break;
	case AGENT_POWER:
		if (len >= 4)
			send_u32(s, AGENT_POWER, 0, (uint32_t)power(get32(b)));
		break;
	default:			/* of a later version */
		break;
	}
}

static void take_input(struct session *s)
{
	ssize_t n = recv(s->sock, s->in + s->have, sizeof(s->in) - s->have, 0);
	size_t off = 0;

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		s->dead = true;
		return;
	}
	if (n < 0)
		return;
	s->have += (size_t)n;
	while (!s->dead && s->have - off >= AGENT_HEADER) {
		uint8_t *h = s->in + off;
		uint32_t len = get32(h + 4);

		if (len > AGENT_FRAME_MAX) {
			s->dead = true;
			return;
		}
		if (s->have - off < AGENT_HEADER + len)
			break;
		take_frame(s, h[0], h[1], h + AGENT_HEADER, len);
		off += AGENT_HEADER + len;
	}
	s->have -= off;
	memmove(s->in, s->in + off, s->have);
}

/* --- the command's streams --- */

static void write_stdin(struct session *s)
{
	struct stream *in = &s->s[0];

	while (in->have && in->fd >= 0) {
		ssize_t n = write(in->fd, in->buf, in->have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {		/* it does not read any more */
			n = (ssize_t)in->have;
			if (!s->tty)
				close_fd(&in->fd);
		}
		in->have -= (size_t)n;
		memmove(in->buf, in->buf + n, in->have);
		in->credit += (uint32_t)n;
		send_u32(s, AGENT_CREDIT, 0, (uint32_t)n);
	}
	if (!in->eof || in->have || in->fd < 0)
		return;
	if (!s->tty) {
		close_fd(&in->fd);
	} else {			/* what a person types for it */
		char ctrl_d = 4;

		if (write(in->fd, &ctrl_d, 1) == 1 || errno != EAGAIN)
			in->eof = false;
	}
}

/* A command that has ended may have left others that keep its output open, and write on: what was there
 * when it ended is still sent, and nobody waits for more. */
static bool is_drained(struct session *s, struct stream *o)
{
	struct timespec t = { .tv_nsec = 20000000 };

	if (!s->exited)
		return false;
	if (!s->tty || o->waited)
		return true;
	/* A terminal's last bytes take a moment to come round. */
	o->waited = true;
	nanosleep(&t, NULL);
	return false;
}

static void read_stream(struct session *s, unsigned i)
{
	struct stream *o = &s->s[i];
	uint8_t buf[AGENT_DATA_MAX];

	while (o->fd >= 0 && o->credit) {
		size_t max = MIN(sizeof(buf), (size_t)o->credit);
		ssize_t n;

		if (s->exited && !s->tty)
			max = MIN(max, (size_t)o->left);
		n = max ? read(o->fd, buf, max) : 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN && !s->exited)
			return;
		if (n < 0 && errno == EAGAIN && !is_drained(s, o))
			continue;
		if (n <= 0) {
			close_fd(&o->fd);
			break;
		}
		o->left -= s->exited ? (int)n : 0;
		o->credit -= (uint32_t)n;
		send_frame(s, AGENT_DATA, i, buf, (size_t)n);
		if (s->tty && s->exited && o->left < -(int)TTY_DRAIN_MAX)
			close_fd(&o->fd);
	}
	if (o->fd < 0 && !o->eof) {
		o->eof = true;
		send_frame(s, AGENT_EOF, i, NULL, 0);
	}
}

static void reap(struct session *s)
{
	struct signalfd_siginfo si;
	int status;

	while (read(s->sigfd, &si, sizeof(si)) == sizeof(si))
		;
	if (s->child > 0 && !s->exited && waitpid(s->child, &status, WNOHANG) == s->child) {
		s->exited = true;
		s->status = status;
		for (int i = 1; i < 3; i++)
			if (s->s[i].fd < 0 || ioctl(s->s[i].fd, FIONREAD, &s->s[i].left))
				s->s[i].left = 0;
	}
}

static void maybe_end(struct session *s)
{
	uint8_t b[8];
	int sig;

	if (!s->exited || s->last || s->s[1].fd >= 0 || s->s[2].fd >= 0)
		return;
	sig = WIFSIGNALED(s->status) ? WTERMSIG(s->status) : 0;
	put32(b, sig ? 128u + (uint32_t)sig : (uint32_t)WEXITSTATUS(s->status));
	put32(b + 4, (uint32_t)sig);
	send_frame(s, AGENT_EXIT, 0, b, sizeof(b));
	s->last = true;
}

/* What is queued is sent; wait for the host to have it before the connection goes. */
static void linger(struct session *s)
{
	struct pollfd p = { .fd = s->sock, .events = POLLIN };
	char c[256];

	shutdown(s->sock, SHUT_WR);
	while (poll(&p, 1, 5000) > 0 && recv(s->sock, c, sizeof(c), 0) > 0)
		;
}

static void serve(struct session *s)
{
	send_hello(s);
	flush_out(s);
	while (!s->dead && !(s->last && !s->queued)) {
		struct stream *in = &s->s[0], *out = &s->s[1], *err = &s->s[2];
		struct pollfd p[] = {
			{ s->sock, (short)(POLLIN | (s->queued ? POLLOUT : 0)), 0 },
			{ s->sigfd, POLLIN, 0 },
			{ in->have || in->eof ? in->fd : -1, POLLOUT, 0 },
			{ out->credit ? out->fd : -1, POLLIN, 0 },
			{ err->credit ? err->fd : -1, POLLIN, 0 },
		};
		int r = poll(p, 5, s->hello ? -1 : HELLO_TIMEOUT_MS);

		if (r == 0 || (r < 0 && errno != EINTR))
			break;
		if (r < 0)
			continue;
		if (p[0].revents & ~POLLOUT)
			take_input(s);
		if (p[1].revents)
			reap(s);
		if (s->child > 0) {
			write_stdin(s);
			read_stream(s, 1);
			if (!s->tty)
				read_stream(s, 2);
			maybe_end(s);
		}
		flush_out(s);
	}
	/* The host has gone, and nobody will read what the command says. */
	if (s->child > 0 && !s->exited) {
		kill(-s->child, SIGHUP);
		kill(-s->child, SIGCONT);
		kill(-s->child, SIGTERM);
	}
	if (!s->dead)
		linger(s);
}

static void session(int sock)
{
	struct session *s = calloc(1, sizeof(*s));
	sigset_t set;

	if (!s)
		_exit(1);
	s->sock = sock;
	fcntl(sock, F_SETFL, fcntl(sock, F_GETFL) | O_NONBLOCK);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	s->sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	for (int i = 0; i < 3; i++) {
		s->s[i].fd = -1;
		s->s[i].credit = AGENT_WINDOW;
	}
	if (s->sigfd >= 0)
		serve(s);
	_exit(0);
}

/* --- who may come in --- */

static int listen_at(int domain, const void *addr, socklen_t len)
{
	int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && (bind(fd, addr, len) || listen(fd, 16)))
		close_fd(&fd);
	return fd;
}

static int listen_vsock(void)
{
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY,
				 .svm_port = AGENT_PORT };

	return listen_at(AF_VSOCK, &a, sizeof(a));
}

static int listen_unix(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	unlink(path);
	return listen_at(AF_UNIX, &a, sizeof(a));
}

/* Programs of the guest itself reach this port as well, and must not become root by it. */
static bool is_host(int fd)
{
	struct sockaddr_vm a;
	socklen_t len = sizeof(a);

	return getpeername(fd, (struct sockaddr *)&a, &len) == 0 && a.svm_family == AF_VSOCK &&
	       a.svm_cid == VMADDR_CID_HOST;
}

int main(int argc, char **argv)
{
	const char *path = NULL;
	int fd, n = 0;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--unix"))
			path = argv[i + 1];
		else if (!strcmp(argv[i], "--run"))
			run_dir = argv[i + 1];
	}
	/* Without the driver there is no host to talk to; it may come. */
	while ((fd = path ? listen_unix(path) : listen_vsock()) < 0) {
		if (path)
			return 1;
		sleep(5);
	}
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		pid_t pid;
		int c;

		poll(&p, 1, n ? 1000 : -1);
		while (n && waitpid(-1, NULL, WNOHANG) > 0)
			n--;
		if (!(p.revents & POLLIN))
			continue;
		c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		if (c < 0)
			continue;
		if ((!path && !is_host(c)) || n >= SESSIONS_MAX) {
			close(c);
			continue;
		}
		pid = fork();
		if (pid == 0) {
			close(fd);
			session(c);
		}
		n += pid > 0;
		close(c);
	}
}
