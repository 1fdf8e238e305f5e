/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sandbox.h - what the threads of a machine process may still ask of the kernel: an allow list of
 * system calls for each class of thread, entered before the first guest instruction. Anything else
 * ends the process, with a line on stderr that names the class and the call. docs/sandbox.md.
 *
 * Who starts a thread gives it the sandbox; the thread enters its class first of all. The order in a
 * process that runs a machine:
 *
 *	sandbox_new()			early: it also loads what libraries would open late
 *	open files, sockets, block devices; make the machine; start helper threads
 *	privileges_drop()		base/privilege.h
 *	machine_start_paused()		vCPU threads enter SANDBOX_VCPU and wait
 *	sandbox_enter(s, SANDBOX_IO)	the thread that will run the loop
 *	machine_resume(), machine_run()
 *
 * A thread's filter is inherited by threads that it starts later, and no class may start threads: all
 * of them are there before. After the IO class is entered, nothing is opened by path and nothing is
 * unlinked: base/janitor.h removes sockets when the process has gone. */
#ifndef PENTA_BASE_SANDBOX_H
#define PENTA_BASE_SANDBOX_H

#include "base/err.h"
#include <stdio.h>

enum sandbox_class {
	SANDBOX_VCPU,		/* at most 25 calls */
	SANDBOX_IO,		/* the event loop: devices and back ends; helpers of block layers. At most 40 */
	SANDBOX_FILES,		/* serves a shared folder. At most 40 */
	SANDBOX_CONTROL,	/* control socket, save and restore, gdb. At most 50 */
	SANDBOX_NCLASSES
};

/* Parts of a machine that need calls which other machines go without. */
enum sandbox_need {
	SANDBOX_NEED_INET = 1 << 0,	/* user NAT: makes internet sockets on the loop */
	SANDBOX_NEED_UNIX = 1 << 1,	/* vsock, switch: the loop makes and connects unix sockets */
	SANDBOX_NEED_URING = 1 << 2,	/* block over io_uring, whose rings are made before */
	SANDBOX_NEED_TAP = 1 << 3,
	SANDBOX_NEED_BLOCKDEV = 1 << 4,	/* a disk that is a block device: discard is an ioctl */
	SANDBOX_NEED_ALL = (1 << 5) - 1,
};

struct sandbox;
struct privileges_target;
/* Prepare the filters. @needs: enum sandbox_need. Fails where the kernel has no seccomp filters. */
int sandbox_new(struct sandbox **out, u32 needs, struct err *e);
void sandbox_free(struct sandbox *s);	/* threads that entered stay inside; accepts NULL */
/* Threads that run before privileges_drop() lose their rights when they enter: they become @t. */
void sandbox_become(struct sandbox *s, const struct privileges_target *t);
/* Enter class @c for the calling thread, for good. @s NULL: no sandbox (tests, --sandbox off). A kernel
 * that refuses is fatal: BUG. */
void sandbox_enter(struct sandbox *s, enum sandbox_class c);

/* Does it work here? Tries it in a child: an allowed call goes through, a forbidden one ends it. */
int sandbox_probe(struct err *e);
const char *sandbox_class_name(enum sandbox_class c);
/* The lists, for people and tests: "CLASS CALL NEEDS: who needs it", one a line. */
void sandbox_list(FILE *f);
unsigned sandbox_count(enum sandbox_class c);	/* calls on the list of @c, all needs together */

#endif
