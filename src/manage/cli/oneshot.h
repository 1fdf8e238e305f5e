/* SPDX-License-Identifier: GPL-2.0-or-later */
/* oneshot.h - commands in a machine's guest: `penta exec`, and `penta run NAME COMMAND`. */
#ifndef PENTA_MANAGE_CLI_ONESHOT_H
#define PENTA_MANAGE_CLI_ONESHOT_H

#include "manage/agent/exec.h"
#include "manage/cli/machines.h"

struct oneshot {
	struct agent_command cmd;
	enum agent_tty tty;
	unsigned timeout;		/* seconds that the agent may take to be there */
	bool start;			/* the machine, if it does not run */
};

/* Run the command in the machine @name, and stop the machine if it was a one-shot command that started
 * it and this is the last. Returns the status to leave with; errors are printed. */
int oneshot(const char *name, const struct oneshot *o);
/* The machine of @f, whose locks are held, is about to be started for other reasons. */
void oneshot_forget(const struct folder *f);

/* What `penta run NAME` needs: a machine of that name, made if it is one that can be: an image of yours
 * of that name, or Debian, whose image is built first. Options that were given are for a new one.
 * 0, or the status to leave with; errors are printed. */
int named_ensure(const char *name, const struct verb *v, const struct args *a);

#endif
