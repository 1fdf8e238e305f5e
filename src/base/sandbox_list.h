/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sandbox_list.h - between sandbox.c and sandbox_list.c: the lists as a table. */
#ifndef PENTA_BASE_SANDBOX_LIST_H
#define PENTA_BASE_SANDBOX_LIST_H

#include "base/sandbox.h"
#include <seccomp.h>

/* Classes, as bits. */
enum {
	SV = 1 << SANDBOX_VCPU, SI = 1 << SANDBOX_IO, SF = 1 << SANDBOX_FILES,
	SC = 1 << SANDBOX_CONTROL, SALL = SV | SI | SF | SC,
};

/* One way in which a call may be made: all of @arg must hold. A call with several rows may be made
 * in each of these ways. */
struct sandbox_rule {
	int nr;
	u8 classes;
	u8 needs;			/* any of these (enum sandbox_need); 0: always */
	u8 nargs;
	u8 error;			/* not allowed: fails with this, and the process goes on */
	bool own_pid;			/* ... and the first argument is the process's id */
	const char *name, *who;
	struct scmp_arg_cmp arg[2];
};

extern const struct sandbox_rule sandbox_rules[];
extern const unsigned sandbox_nrules;

#endif
