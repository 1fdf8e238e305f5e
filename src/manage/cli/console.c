// SPDX-License-Identifier: GPL-2.0-or-later
/* console.c - `penta console`: this terminal becomes a machine's. */
#include "manage/cli/machines.h"
#include "manage/cli/terminal.h"
#include "base/cleanup.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { QUIET_MS = 1000 };

static const struct option options[] = { { 0 } };

static const char text[] =
	"The last screenful is shown first. Several can look on, and type, at once.\n"
	"When standard input is no terminal, it is sent to the guest; penta ends when it has ended and\n"
	"the guest has been quiet for a second.\n"
	"\nKeys:\n"
	"  Ctrl-A x  leave: the machine goes on          Ctrl-A p  press its power button\n"
	"  Ctrl-A s  pause it, or let it go on           Ctrl-A r  reset it\n"
	"  Ctrl-A h  this list                           Ctrl-A Ctrl-A  send one Ctrl-A\n"
	"\nExamples:\n"
	"  penta console web\n"
	"  echo poweroff | penta console web\n";

struct console {
	const char *name;
	struct folder f;
	int sock, sigfd;
	bool tty, leave, in_ended;
	struct escape escape;
	u8 to_guest[4096];
	size_t waiting;			/* bytes in it */
};

static void command(struct console *c, const char *cmd, const char *done)
{
	struct control *ctl = NULL;
	struct err e = { 0 };
	int r = control_open(&ctl, &c->f, 2000, &e);

	if (!r)
		r = control_call(ctl, cmd, NULL, 2000, NULL, &e);
	control_close(ctl);
	fprintf(stderr, "\npenta: %s\n", r ? e.msg : done);
}

static void toggle_pause(struct console *c)
{
	struct control *ctl = NULL;
	struct err e = { 0 };
	json_t *ret = NULL;
	bool running = false;

	if (!control_open(&ctl, &c->f, 2000, &e) &&
	    !control_call(ctl, "query-status", NULL, 2000, &ret, &e))
		running = json_is_true(json_object_get(ret, "running"));
	json_decref(ret);
	control_close(ctl);
	command(c, running ? "stop" : "cont", running ? "paused; Ctrl-A s lets it go on"
						      : "going on");
}

/* The size of this terminal is the console's, as far as the guest can be told. */
static void tell_size(struct console *c)
{
	struct control *ctl = NULL;
	struct err e = { 0 };
	struct winsize ws;

	if (!c->tty || ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) || !ws.ws_col || !ws.ws_row)
		return;
	if (!control_open(&ctl, &c->f, 2000, &e))
		control_call(ctl, "penta-console-size", json_pack("{s:i, s:i}", "columns",
			     (int)ws.ws_col, "rows", (int)ws.ws_row), 2000, NULL, &e);
	control_close(ctl);
}

static void on_key(void *ctx, char key)
{
	struct console *c = ctx;

	switch (key) {
	case 'x':
	case 'q':
		c->leave = true;
		break;
	case 'p':
		command(c, "system_powerdown", "power button pressed");
		break;
	case 's':
		toggle_pause(c);
		break;
	case 'r':
		command(c, "system_reset", "reset");
		break;
	default:
		fprintf(stderr, "\npenta: after Ctrl-A: x leave (the machine goes on), p power "
			"button, s pause/go on,\npenta: r reset, h this help, Ctrl-A itself: send "
			"one\n");
	}
}

static void from_terminal(struct console *c)
{
	ssize_t n = read(STDIN_FILENO, c->to_guest, sizeof(c->to_guest));

	if (n > 0)
		c->waiting = c->tty ? escape_filter(&c->escape, c->to_guest, (size_t)n) : (size_t)n;
	else if (n == 0 || errno != EINTR)
		c->in_ended = true;
}

/* False: the machine has ended. */
static bool to_guest(struct console *c)
{
	ssize_t n = send(c->sock, c->to_guest, c->waiting, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n > 0) {
		memmove(c->to_guest, c->to_guest + n, c->waiting - (size_t)n);
		c->waiting -= (size_t)n;
	}
	return n >= 0 || errno == EAGAIN || errno == EINTR;
}

static bool from_guest(struct console *c)
{
	char buf[65536];
	ssize_t n = recv(c->sock, buf, sizeof(buf), MSG_DONTWAIT);

	if (n > 0)
		return fwrite(buf, 1, (size_t)n, stdout) == (size_t)n && !fflush(stdout);
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static void on_signal(struct console *c)
{
	struct signalfd_siginfo si;

	if (read(c->sigfd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGWINCH)
		tell_size(c);
	else if (si.ssi_signo == SIGCONT)
		terminal_raw_again();
	else
		c->leave = true;
}

/* Until the user leaves (0), or the machine ends (-ECONNRESET). */
static int pump(struct console *c)
{
	while (!c->leave) {
		struct pollfd p[] = {
			{ .fd = c->sock, .events = (short)(POLLIN | (c->waiting ? POLLOUT : 0)) },
			{ .fd = c->waiting || c->in_ended ? -1 : STDIN_FILENO, .events = POLLIN },
			{ .fd = c->sigfd, .events = POLLIN },
		};
		int n = poll(p, ARRAY_SIZE(p), c->in_ended && !c->waiting ? QUIET_MS : -1);

		if (n == 0)
			return 0;
		if (n < 0)
			continue;
		if (p[2].revents)
			on_signal(c);
		if (p[0].revents & (POLLIN | POLLHUP) && !from_guest(c))
			return -ECONNRESET;
		if (p[0].revents & POLLOUT && !to_guest(c))
			return -ECONNRESET;
		if (p[1].revents)
			from_terminal(c);
	}
	return 0;
}

static int attach(struct console *c, struct err *e)
{
	static const int sigs[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCONT, SIGWINCH };
	sigset_t set;
	int r = folder_open(&c->f, c->name, e);

	if (r)
		return r;
	c->sock = folder_connect(&c->f, "console.sock", e);
	if (c->sock < 0)
		return c->sock;
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaddset(&set, sigs[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	c->sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (c->sigfd < 0)
		return err_errno(e, "signalfd");
	if (isatty(STDIN_FILENO))
		fprintf(stderr, "penta: the console of %s; Ctrl-A x leaves it, Ctrl-A h lists the "
			"keys\n", c->name);
	c->tty = terminal_raw();
	tell_size(c);
	r = pump(c);
	terminal_restore();
	if (r == -ECONNRESET && c->tty)
		fprintf(stderr, "\npenta: machine \"%s\" has ended\n", c->name);
	else if (c->tty)
		fputc('\n', stderr);
	return 0;
}

static int run(const struct args *a, int npos, char **pos)
{
	struct console c = { .f = FOLDER_NONE, .sock = -1, .sigfd = -1,
			     .escape = { .key = on_key, .ctx = &c } };
	struct err e = { 0 };
	int r;

	if (npos != 1) {
		cli_error("console: one machine is needed: penta console NAME");
		return EXIT_USAGE;
	}
	c.name = pos[0];
	r = attach(&c, &e);
	if (r)
		cli_error("%s", e.msg);
	cleanup_closep(&c.sock);
	cleanup_closep(&c.sigfd);
	folder_close(&c.f);
	return r ? EXIT_FAILED : EXIT_DONE;
}

const struct verb verb_console = {
	.name = "console", .summary = "a machine's console on this terminal", .usage = "NAME",
	.options = options, .text = text, .positional = "@machine", .run = run,
};
