/* SPDX-License-Identifier: GPL-2.0-or-later */
/* assemble.h - from a configuration to a machine that can be started.
 *
 * The order is that of the privileges:
 *
 *	vm_new()	opens all that the configuration names (disks, nets, folders, sockets, kernels)
 *			and builds the machine on it
 *	vm_seal()	gives up rights: what the process opens from here on, it opens as nobody
 *	machine_start_paused() and whatever else starts threads
 *	vm_enter()	the sandbox, for this thread, which then runs the loop; nothing is opened after
 *	machine_resume(), machine_run()
 *
 * What is needed later comes as descriptors over the control socket. */
#ifndef PENTA_MANAGE_MACHINE_ASSEMBLE_H
#define PENTA_MANAGE_MACHINE_ASSEMBLE_H

#include "manage/machine/config.h"
#include "manage/machine/serial.h"
#include "platform/lite/lite.h"
#include <time.h>

struct balloon;
struct block;
struct folder;
struct vsock;
struct agent_host;
struct janitor;
struct sandbox;
struct vm_console;
struct vsock;

struct vm {
	char *name;			/* NULL: `penta run` without a name */
	struct vm_config cfg;
	struct lite *lite;
	struct machine *m;		/* lite's */
	struct block *disk[VM_DISKS];	/* the machine's */
	struct sandbox *sandbox;	/* NULL: off */
	struct janitor *janitor;	/* removes sockets at the end; NULL: there are none */
	struct balloon *balloon;	/* the machine's; NULL: none */
	struct vsock *vsock;		/* ditto */
	struct agent_host *agent;	/* ditto: NULL without vsock */
	bool hold;			/* restored as it was saved: paused by its user */
	struct timespec started;	/* CLOCK_MONOTONIC */
	_Atomic int exit_status;	/* of who ended the machine by vm_quit(); -1: the guest ends it */
	const char *_Atomic ended;	/* ... and how: "quit"; constant */

	/* assemble.c's */
	struct lite_config lc;
	struct serial serial[VM_SERIALS], console[VM_CONSOLES];
	const struct vm_params *params;	/* while vm_new() runs */
};

struct vm_params {
	const struct vm_config *cfg;	/* checked; copied */
	const struct folder *folder;	/* NULL: no name. Else it is the working directory, too, which
					 * relative paths start from */
	const struct serial_filter *filter;	/* of a terminal's input; borrowed; may be NULL */
	bool on_terminal;		/* show the console on standard input and output, too */
	bool sockets;			/* the caller will make some: there is to be a janitor */
	bool restore;			/* load no kernel: RAM and CPUs will come from a stream */
};

int vm_new(struct vm **out, const struct vm_params *p, struct err *e);
int vm_seal(struct vm *vm, struct err *e);
void vm_enter(struct vm *vm);
/* End the machine: its loop returns. The first that asks has its way. @why: constant. Any thread. */
void vm_quit(struct vm *vm, int exit_status, const char *why);
void vm_free(struct vm *vm);		/* stops the machine; accepts NULL */

#endif
