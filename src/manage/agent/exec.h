/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exec.h - run one command in a guest by its agent, as if it were here: input, output, terminal,
 * signals and exit status pass through. */
#ifndef PENTA_MANAGE_AGENT_EXEC_H
#define PENTA_MANAGE_AGENT_EXEC_H

#include "manage/agent/session.h"

/* Connect to the agent by a machine's vsock socket. @dial makes a new connection to that socket (a
 * descriptor, or -errno with @e set). Tries again until the agent has greeted, up to @timeout seconds;
 * -ETIMEDOUT then; -EINTR: SIGINT, SIGTERM or SIGHUP came, which the caller has blocked. @ended, called now and then, may end the waiting: its negative result is returned.
 * Returns a descriptor; what the agent said already is not lost, as it is not read. */
struct agent_dial {
	int (*dial)(void *ctx, struct err *e);
	int (*ended)(void *ctx, struct err *e);		/* may be NULL */
	void *ctx;
	unsigned timeout;
	const char *waiting_for;			/* told on a terminal when it takes long; or NULL */
};
int agent_connect(const struct agent_dial *d, struct err *e);

/* How the command's terminal is. */
enum agent_tty { AGENT_TTY_AUTO, AGENT_TTY_ON, AGENT_TTY_OFF };
/* Exit statuses that the command itself did not choose, as of env(1) and ssh(1). */
enum agent_exit { AGENT_EXIT_NOT_EXECUTABLE = 126, AGENT_EXIT_NOT_FOUND = 127, AGENT_EXIT_LOST = 255 };

/* Run @argv over @fd, which is taken, with this process' standard files. Returns the exit status to
 * leave with, or a negative errno with @e set. Signals are handled meanwhile; one thread. */
int agent_run(int fd, const struct agent_command *c, enum agent_tty tty, struct err *e);

#endif
