/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gdb_regs.h - registers by GDB's numbers. */
#ifndef PENTA_MANAGE_CONTROL_GDB_REGS_H
#define PENTA_MANAGE_CONTROL_GDB_REGS_H

#include "vm/cpu_state.h"

#define GDB_REG_MAX_BYTES 16
unsigned gdb_regs_count(void);
unsigned gdb_reg_bytes(unsigned n);		/* 0: no such register */
/* @n < gdb_regs_count(); little-endian, gdb_reg_bytes(n) bytes. */
void gdb_reg_get(const struct cpu_state *s, unsigned n, u8 *out);
/* -EPERM: cannot be written (segment selectors, whose hidden parts a debugger does not know). */
int gdb_reg_set(struct cpu_state *s, unsigned n, const u8 *in);
/* The target description. Returns its length; cut (not terminated) when beyond @len. */
size_t gdb_target_xml(char *buf, size_t len);

#endif
