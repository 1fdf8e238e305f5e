/* SPDX-License-Identifier: GPL-2.0-or-later */
/* assemble.h - from a configuration to a machine that can be started.
 *
 * The order is that of the privileges: vm_new() opens all that the configuration names (disks, nets,
 * folders, sockets, kernels) and builds the machine on it; vm_seal() gives up rights and enters the
 * sandbox; then machine_start(). After vm_seal() the process opens nothing any more: what it needs
 * later comes as descriptors over the control socket. */
#ifndef PENTA_MANAGE_MACHINE_ASSEMBLE_H
#define PENTA_MANAGE_MACHINE_ASSEMBLE_H

#include "manage/machine/config.h"
#include "manage/machine/serial.h"
#include "platform/lite/lite.h"

struct balloon;
struct sandbox;
struct vm_console;

struct vm {
	char *name;			/* NULL: `penta run` without a name */
	struct vm_config cfg;
	struct lite *lite;
	struct machine *m;		/* lite's */
	struct sandbox *sandbox;	/* NULL: off */
	struct balloon *balloon;	/* the machine's; NULL: none */

	/* assemble.c's */
	struct lite_config lc;
	struct serial serial[VM_SERIALS], console[VM_CONSOLES];
	const struct serial_filter *filter;
};

struct vm_params {
	const struct vm_config *cfg;	/* checked; copied */
	const char *name;		/* NULL: none. With a name the working directory is the
					 * machine's folder, which relative paths start from */
	const struct serial_filter *filter;	/* of a terminal's input; borrowed; may be NULL */
	bool restore;			/* load no kernel: RAM and CPUs will come from a stream */
};

int vm_new(struct vm **out, const struct vm_params *p, struct err *e);
int vm_seal(struct vm *vm, struct err *e);
void vm_free(struct vm *vm);		/* stops the machine; accepts NULL */

#endif
