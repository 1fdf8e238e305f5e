/* SPDX-License-Identifier: GPL-2.0-or-later */
/* debug_port.h - ports that only virtual machines have: leave with an exit code (F4), print a
 * character (E9, 402). */
#ifndef PENTA_DEV_DEBUG_PORT_H
#define PENTA_DEV_DEBUG_PORT_H

#include "vm/chardev.h"
#include "vm/device.h"

#define DEBUG_EXIT_PORT 0xf4
#define DEBUG_CON_PORT 0xe9
#define DEBUG_CON_PORT_FW 0x402		/* where SeaBIOS and OVMF print */

struct debug_exit;
extern const struct device_class debug_exit_class;
/* Writing v ends the machine with exit code (v << 1) | 1. Four ports from @port. */
int debug_exit_new(struct debug_exit **out, struct machine *m, u16 port, struct err *e);

struct debug_con;
extern const struct device_class debug_con_class;
/* @be: borrowed, may be NULL (characters go to the trace "debugcon.text"). */
int debug_con_new(struct debug_con **out, struct machine *m, u16 port, struct chardev *be,
		  struct err *e);

#endif
