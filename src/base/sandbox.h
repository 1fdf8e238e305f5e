/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sandbox.h - what the threads of a machine process may still ask of the kernel: an allow list of
 * system calls for each class of thread, entered before the first guest instruction.
 * Who starts a thread gives it the sandbox; the thread enters its class first of all. */
#ifndef PENTA_BASE_SANDBOX_H
#define PENTA_BASE_SANDBOX_H

#include "base/err.h"

enum sandbox_class {
	SANDBOX_VCPU,		/* at most 25 calls */
	SANDBOX_IO,		/* the event loop: devices and back ends; helpers of block layers. At most 40 */
	SANDBOX_FILES,		/* serves a shared folder. At most 40 */
	SANDBOX_CONTROL,	/* control socket, save and restore. At most 50 */
	SANDBOX_NCLASSES
};

struct sandbox;
/* Enter class @c for the calling thread, for good. @s NULL: no sandbox (tests, --sandbox off). A kernel
 * that refuses is fatal: BUG. */
void sandbox_enter(struct sandbox *s, enum sandbox_class c);

#endif
