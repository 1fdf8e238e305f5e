/* SPDX-License-Identifier: GPL-2.0-or-later */
/* unpack.h - the compressions of Linux kernel payloads. */
#ifndef PENTA_PLATFORM_BOOT_UNPACK_H
#define PENTA_PLATFORM_BOOT_UNPACK_H

#include "base/err.h"
#include "base/types.h"

/* Which compression does this start with? Its name, or NULL: none that unpack() knows. */
const char *unpack_kind(const u8 *in, size_t len);

/* Unpack @in, hostile, into exactly @out_len bytes at @out. What follows the compressed stream is
 * ignored (Linux appends the unpacked length). -EINVAL: damaged, or of another length. */
int unpack(const u8 *in, size_t len, u8 *out, size_t out_len, const char *name, struct err *e);

#endif
