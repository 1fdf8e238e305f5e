/* SPDX-License-Identifier: GPL-2.0-or-later */
/* crc32c.c - see crc32c.h. By the processor's own instruction (SSE4.2) where there is one, else a
 * nibble at a time from a table of 16 words, which the compiler is told rather than computed. */
#include "base/crc32c.h"
#include <string.h>

/* The CRC of each value of four bits: i, four times (i & 1 ? i >> 1 ^ 0x82f63b78 : i >> 1). */
static const u32 nibble[16] = {
	0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
	0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

static u32 crc_plain(u32 crc, const u8 *p, size_t len)
{
	for (; len; len--) {
		crc ^= *p++;
		crc = crc >> 4 ^ nibble[crc & 15];
		crc = crc >> 4 ^ nibble[crc & 15];
	}
	return crc;
}

__attribute__((target("sse4.2"))) static u32 crc_sse42(u32 crc, const u8 *p, size_t len)
{
	u64 c = crc, v;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&v, p, 8);
		c = __builtin_ia32_crc32di(c, v);
	}
	crc = (u32)c;
	for (; len; len--)
		crc = __builtin_ia32_crc32qi(crc, *p++);
	return crc;
}

u32 crc32c(u32 crc, const void *p, size_t len)
{
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc_sse42(~crc, p, len);
	return ~crc_plain(~crc, p, len);
}
