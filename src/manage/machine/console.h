/* SPDX-License-Identifier: GPL-2.0-or-later */
/* console.h - the console of a machine that has a name: one port of the guest, which is written to
 * console.log and shown to whoever connects to console.sock, several at once. Who comes sees the last
 * screenful first. What any of them types goes to the guest. */
#ifndef PENTA_MANAGE_MACHINE_CONSOLE_H
#define PENTA_MANAGE_MACHINE_CONSOLE_H

#include "base/loop.h"
#include "manage/machine/serial.h"
#include "vm/chardev.h"

struct vm_console;

/* console.log grows no further. At a start, one that has a quarter of it is put aside. */
#define CONSOLE_LOG_MAX (16 << 20)

/* @listen_fd, @log_fd (for appending): taken, also on failure; -1: none. The
 * chardev is the machine's to free, and ends the console. */
int vm_console_new(struct vm_console **out, struct loop *l, int listen_fd, int log_fd,
		   struct err *e);
struct chardev *vm_console_chardev(struct vm_console *c);
/* Show it on a terminal of this process, too. */
int vm_console_view(struct vm_console *c, int in, int out, const struct serial_filter *filter,
		    struct err *e);

#endif
