/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vsock_place.h - where on the host a machine's vsock ends. */
#ifndef PENTA_MANAGE_MACHINE_VSOCK_PLACE_H
#define PENTA_MANAGE_MACHINE_VSOCK_PLACE_H

#include "manage/machine/assemble.h"

/* "vsock.sock", which listens, and the folder that it lies in: the machine's; without a name, a new one
 * of its own, which is told and goes with the machine. On failure what was opened is the caller's to
 * close. */
int vsock_place(struct vm *vm, int *listen_fd, int *dir_fd, struct err *e);

#endif
