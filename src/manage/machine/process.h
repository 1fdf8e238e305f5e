/* SPDX-License-Identifier: GPL-2.0-or-later */
/* process.h - a process whose business is one machine: from a configuration to the machine's end, with
 * its control socket, its debugger, its signals. `penta run` is such a process on a terminal; `start`
 * leaves one behind in the background. */
#ifndef PENTA_MANAGE_MACHINE_PROCESS_H
#define PENTA_MANAGE_MACHINE_PROCESS_H

#include "manage/machine/assemble.h"
#include "manage/machine/folder.h"

/* How it ended, as an exit status; a guest's debug exit has its own, 0 is "powered off". */
enum process_exit { EXIT_CRASHED = 3, EXIT_LEFT = 4, EXIT_SIGNAL = 128 };

struct process_opts {
	const struct vm_config *cfg;	/* checked */
	struct folder *folder;		/* NULL: no name. Its run lock is held; its change lock is let
					 * go when the machine runs. Relative paths start from it */
	const struct serial_filter *filter;	/* of a terminal's input; NULL: there is none */
	bool on_terminal;		/* the machine's console is on standard input and output, too */
	const char *gdb_at;		/* wait for a debugger there; NULL: do not */
	bool stats;			/* print the engine's counters at the end */
	/* Instead of a kernel: what fills the machine, before its threads are there. */
	int (*restore)(struct vm *vm, void *ctx, struct err *e);
	/* Everything that can fail has not; the guest begins to run now. May be NULL. */
	void (*ready)(struct vm *vm, void *ctx);
	void (*resumed)(void *ctx);	/* SIGCONT came; on the loop. May be NULL */
	void *ctx;
};

/* Live one machine, on this thread and some more. Changes the working directory, signals, rights: the
 * process is good for little afterwards. Returns the exit status, or a negative errno. */
int process_live(const struct process_opts *o, struct err *e);

/* Start the machine of @f, whose both locks are held, in the background: returns when it runs, or says
 * why it does not. The locks are the new process's afterwards; close @f. @keep: descriptors that @restore
 * needs, -1 at their end (all others are closed); NULL: none. */
int process_start(struct folder *f, const struct vm_config *cfg,
		  int (*restore)(struct vm *vm, void *ctx, struct err *e), void *ctx,
		  const int *keep, struct err *e);

#endif
