/* SPDX-License-Identifier: GPL-2.0-or-later */
/* reset.h - the ways a PC is reset by a port: CF9, 92, and command FE of port 64. */
#ifndef PENTA_DEV_RESET_H
#define PENTA_DEV_RESET_H

#include "vm/device.h"

struct reset_ctl;
extern const struct device_class reset_ctl_class;

/* CF9 (reset control) and 92 (A20, fast init). @kbd64: also port 64 as far as it resets: for
 * machines without an 8042; its status then says that no controller is there. */
int reset_ctl_new(struct reset_ctl **out, struct machine *m, bool kbd64, struct err *e);

#endif
