/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exec.c - `penta exec NAME COMMAND...`: a command in a running machine, by the agent in its guest; and
 * what `penta run NAME COMMAND...` shares with it: who starts a machine for a command stops it. */
#include "base/cleanup.h"
#include "base/words.h"
#include "manage/cli/oneshot.h"
#include "manage/machine/process.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>

enum opt { OPT_TTY, OPT_NO_TTY, OPT_USER, OPT_DIR, OPT_ENV, OPT_TIMEOUT, OPT_N };

#define ENV_MAX (OPTION_REPEAT_MAX + 8)

static const struct option options[OPT_N + 1] = {
	[OPT_TTY] = OPTION("tty", NULL, NULL, "give the command a terminal, though this is none"),
	[OPT_NO_TTY] = OPTION("no-tty", NULL, NULL, "give it none (default: as it is here)"),
	[OPT_USER] = OPTION("user", "NAME", NULL, "run it as this user of the guest (default: root)"),
	[OPT_DIR] = OPTION("dir", "PATH", NULL, "in this folder of the guest (default: home)"),
	[OPT_ENV] = OPTION("env", "NAME=VALUE", NULL, "put this into its environment", .repeat = true),
	[OPT_TIMEOUT] = OPTION("timeout", "SECONDS", NULL,
		"how long to wait for the guest to boot (default 120)"),
};

static const char text[] =
	"Input, output, errors, signals and the exit status pass through; with a terminal here,\n"
	"the command has one there. The guest needs penta's agent, as images made by\n"
	"`penta image build` have, and the machine `--vsock auto`.\n"
	"\nExamples:\n"
	"  penta exec web uname -a\n"
	"  penta exec web sh -c 'cat > /etc/motd' < motd\n"
	"  penta exec --user www-data web bash\n"
	"  penta exec web tar c /etc | tar x\n"
	"\nExit status: the command's; 128+N when signal N ended it; 127 when there is no such\n"
	"command, 126 when it cannot be run; 255 when the guest or its agent is not there.\n";

/* --- who stops it ---
 *
 * The file "oneshot" in the machine's folder says, by not being empty, that a command started it. Each
 * command has a shared lock on it; who is through and gets it alone was the last, and stops the machine.
 * Who comes then waits for the lock, and finds it stopped. */

#define FLAG "oneshot"

static int open_flag(const struct folder *f, struct err *e)
{
	int fd = openat(f->fd, FLAG, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 ? err_errno(e, "create %s/%s", f->path, FLAG) : fd;
}

static int lock_flag(int fd, int how)
{
	int r;

	do
		r = flock(fd, how);
	while (r < 0 && errno == EINTR);
	return r;
}

void oneshot_forget(const struct folder *f)
{
	cleanup_close int fd = openat(f->fd, FLAG, O_WRONLY | O_TRUNC | O_CLOEXEC);
}

static int start(const char *name, int flag, struct err *e)
{
	struct folder f;
	struct vm_config c;
	int r = cli_lock(&f, name, true, e);

	if (r)			/* -EBUSY: somebody else was faster */
		return r == -EBUSY ? 0 : r;
	vm_config_init(&c);
	r = folder_read_config(&f, &c, e);
	if (!r)
		r = vm_config_check(&c, e);
	if (!r && pwrite(flag, "1", 1, 0) != 1)
		r = err_errno(e, "write %s/%s", f.path, FLAG);
	if (!r)
		r = process_start(&f, &c, NULL, NULL, NULL, e);
	vm_config_free(&c);
	folder_close(&f);
	return r;
}

static void stop_if_last(const struct folder *f, int flag)
{
	char *names[] = { f->name, NULL };
	struct folder_status s;
	struct args none = { 0 };
	char c;

	if (pread(flag, &c, 1, 0) != 1 || lock_flag(flag, LOCK_EX | LOCK_NB))
		return;
	folder_status(f, &s);
	if (s.state == FOLDER_RUNNING && pread(flag, &c, 1, 0) == 1)
		verb_stop.run(&none, 1, names);
	if (ftruncate(flag, 0))		/* then the next to stop it finds it stopped */
		return;
}

/* --- to the guest --- */

static int dial(void *ctx, struct err *e)
{
	return folder_connect(ctx, "vsock.sock", e);
}

static int ended(void *ctx, struct err *e)
{
	const struct folder *f = ctx;
	struct folder_status s;

	folder_status(f, &s);
	if (s.state == FOLDER_RUNNING)
		return 0;
	return err_set(e, ECONNRESET, "machine \"%s\" has ended%s%s", f->name,
		       s.ended[0] ? ": " : "", s.ended);
}

static int in_guest(struct folder *f, const struct oneshot *o, int flag, struct err *e)
{
	struct agent_dial d = { .dial = dial, .ended = ended, .ctx = f, .timeout = o->timeout,
				.waiting_for = f->name };
	struct folder_status s;
	struct vm_config c;
	bool vsock;
	int r;

	vm_config_init(&c);
	r = folder_read_config(f, &c, e);
	vsock = c.vsock;
	vm_config_free(&c);
	if (r)
		return r;
	if (!vsock)
		return err_set(e, ENOTCONN, "machine \"%s\" has no vsock, which commands go over; "
			       "`penta set %s --vsock auto` gives it one", f->name, f->name);
	folder_status(f, &s);
	if (s.state != FOLDER_RUNNING) {
		if (!o->start)
			return err_set(e, ECONNREFUSED, "machine \"%s\" does not run; `penta start "
				       "%s` starts it", f->name, f->name);
		r = start(f->name, flag, e);
	}
	if (!r)
		r = agent_connect(&d, e);
	return r < 0 ? r : agent_run(r, &o->cmd, o->tty, e);
}

int oneshot(const char *name, const struct oneshot *o)
{
	cleanup_close int flag = -1;
	sigset_t set;
	struct folder f;
	struct err e = { 0 };
	int r = folder_open(&f, name, &e);

	if (r) {
		cli_error("%s", e.msg);
		return AGENT_EXIT_LOST;
	}
	/* A signal while we wait must not leave the machine running that we started. */
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	flag = open_flag(&f, &e);
	r = flag < 0 ? flag : lock_flag(flag, LOCK_SH) ? err_errno(&e, "lock %s", f.path)
						       : in_guest(&f, o, flag, &e);
	if (e.code)
		cli_error("%s", e.msg);
	if (flag >= 0)
		stop_if_last(&f, flag);
	folder_close(&f);
	return r < 0 ? AGENT_EXIT_LOST : r;
}

/* --- the verb --- */

static int run(const struct args *a, int npos, char **pos)
{
	char *env[ENV_MAX];
	struct oneshot o = {
		.cmd = { .argv = pos + 1, .env = env, .user = args_get(a, OPT_USER),
			 .cwd = args_get(a, OPT_DIR) },
		.tty = args_get(a, OPT_TTY) ? AGENT_TTY_ON :
		       args_get(a, OPT_NO_TTY) ? AGENT_TTY_OFF : AGENT_TTY_AUTO,
		.timeout = 120,
	};
	cleanup_free char *term = NULL;
	struct err e = { 0 };
	unsigned n = 0;

	if (npos < 2) {
		cli_error("exec: what it takes is `penta exec [OPTION]... NAME COMMAND...`");
		return EXIT_USAGE;
	}
	if (args_get(a, OPT_TIMEOUT) &&
	    parse_number(args_get(a, OPT_TIMEOUT), "--timeout", 0, 86400, &o.timeout, &e)) {
		cli_error("%s", e.msg);
		return EXIT_USAGE;
	}
	if (getenv("TERM") && asprintf(&term, "TERM=%s", getenv("TERM")) > 0)
		env[n++] = term;
	for (unsigned i = 0; i < a->n[OPT_ENV]; i++) {
		if (!strchr(a->val[OPT_ENV][i], '=') || a->val[OPT_ENV][i][0] == '=') {
			cli_error("--env %s: NAME=VALUE is needed", a->val[OPT_ENV][i]);
			return EXIT_USAGE;
		}
		env[n++] = (char *)a->val[OPT_ENV][i];
	}
	env[n] = NULL;
	return oneshot(pos[0], &o);
}

const struct verb verb_exec = {
	.name = "exec", .summary = "run a command in a running machine",
	.usage = "[OPTION]... NAME COMMAND [ARGUMENT]...",
	.options = options, .text = text, .positional = "@machine", .run = run,
	.command_after = 1,
};
