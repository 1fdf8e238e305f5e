/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fast.c - which instructions have quick forms. */
#include "engine/soft/uop/uop.h"

bool uop_fast(struct cpu *c, struct block *b, struct uop *u, const struct insn *in, bool last)
{
	return false;
}
