/* SPDX-License-Identifier: GPL-2.0-or-later */
/* zzz_pending.c - stands in until decode.c and format.c are there; goes then. */
#include "x86/insn.h"
#include <errno.h>

__attribute__((weak)) int insn_decode(struct insn *in, const u8 *p, size_t avail, unsigned mode)
{
	return -EILSEQ;
}
__attribute__((weak)) int insn_format(const struct insn *in, u64 rip, char *buf, size_t len)
{
	if (len)
		*buf = 0;
	return 0;
}
