/* SPDX-License-Identifier: GPL-2.0-or-later */
/* crc32c.h - Castagnoli's CRC (polynomial 0x1EDC6F41, reflected), as iSCSI has it (RFC 3720, B.4):
 * finds every single-bit change and every burst of up to 32 bits. */
#ifndef PENTA_BASE_CRC32C_H
#define PENTA_BASE_CRC32C_H

#include "base/types.h"

/* Continue @crc (0 to begin) over @len bytes. */
u32 crc32c(u32 crc, const void *p, size_t len);

#endif
