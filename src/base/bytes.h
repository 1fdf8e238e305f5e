/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bytes.h - unaligned little- and big-endian fields of guest and file formats. */
#ifndef PENTA_BASE_BYTES_H
#define PENTA_BASE_BYTES_H

#include "base/types.h"
#include <string.h>

static inline u16 get_le16(const void *p) { u16 v; memcpy(&v, p, 2); return v; }
static inline u32 get_le32(const void *p) { u32 v; memcpy(&v, p, 4); return v; }
static inline u64 get_le64(const void *p) { u64 v; memcpy(&v, p, 8); return v; }
static inline u16 get_be16(const void *p) { return __builtin_bswap16(get_le16(p)); }
static inline u32 get_be32(const void *p) { return __builtin_bswap32(get_le32(p)); }
static inline u64 get_be64(const void *p) { return __builtin_bswap64(get_le64(p)); }
static inline void put_le16(void *p, u16 v) { memcpy(p, &v, 2); }
static inline void put_le32(void *p, u32 v) { memcpy(p, &v, 4); }
static inline void put_le64(void *p, u64 v) { memcpy(p, &v, 8); }
static inline void put_be16(void *p, u16 v) { put_le16(p, __builtin_bswap16(v)); }
static inline void put_be32(void *p, u32 v) { put_le32(p, __builtin_bswap32(v)); }
static inline void put_be64(void *p, u64 v) { put_le64(p, __builtin_bswap64(v)); }

/* Checked arithmetic for sizes from outside: true when the result fits. */
#define add_ok(a, b, res) (!__builtin_add_overflow(a, b, res))
#define mul_ok(a, b, res) (!__builtin_mul_overflow(a, b, res))

#endif
