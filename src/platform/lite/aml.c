/* SPDX-License-Identifier: GPL-2.0-or-later */
/* aml.c - see aml.h. */
#include "platform/lite/aml.h"
#include "base/bytes.h"
#include <string.h>

/* ACPI 6.4, 20.2: opcodes. */
enum aml_op {
	OP_ZERO = 0x00, OP_ONE = 0x01, OP_NAME = 0x08, OP_BYTE = 0x0a, OP_WORD = 0x0b,
	OP_DWORD = 0x0c, OP_STRING = 0x0d, OP_QWORD = 0x0e, OP_SCOPE = 0x10, OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12, OP_EXT = 0x5b, OP_EXT_DEVICE = 0x82,
};
/* 6.4.2, 6.4.3: resource descriptors, small ones with their length. */
enum aml_res {
	RES_IRQ = 0x22, RES_IO = 0x47, RES_END = 0x79, RES_MEMORY32 = 0x86, RES_DWORD = 0x87,
	RES_WORD = 0x88,
};
enum { KIND_PLAIN, KIND_BUFFER };

/* A package length of four bytes at most (20.2.4); we write scopes that are under 1 MiB and keep
 * three bytes for each, whatever it needs: a reader does not mind. */
#define PKGLEN_BYTES 3
#define PKGLEN_MAX 0xfffffu

void aml_init(struct aml *a, u8 *buf, size_t max)
{
	*a = (struct aml){ .buf = buf, .max = max };
}

size_t aml_done(const struct aml *a)
{
	return a->overflow || a->depth ? 0 : a->len;
}

static void put(struct aml *a, const void *p, size_t n)
{
	if (n > a->max - a->len) {
		a->overflow = true;
		return;
	}
	memcpy(a->buf + a->len, p, n);
	a->len += n;
}

static void put8(struct aml *a, u8 v) { put(a, &v, 1); }
static void put16(struct aml *a, u16 v) { u8 b[2]; put_le16(b, v); put(a, b, 2); }
static void put32(struct aml *a, u32 v) { u8 b[4]; put_le32(b, v); put(a, b, 4); }
static void put64(struct aml *a, u64 v) { u8 b[8]; put_le64(b, v); put(a, b, 8); }

/* Open something that a package length leads. */
static void open_len(struct aml *a, u8 kind)
{
	if (a->depth == AML_DEPTH_MAX) {
		a->overflow = true;
		return;
	}
	a->open[a->depth].at = a->len;
	a->open[a->depth++].kind = kind;
	put(a, "\0\0\0", PKGLEN_BYTES);
}

/* A buffer's length: a word integer, filled in when it ends. */
static void open_buffer(struct aml *a)
{
	put8(a, OP_BUFFER);
	open_len(a, KIND_BUFFER);
	put8(a, OP_WORD);
	put16(a, 0);
}

void aml_end(struct aml *a)
{
	size_t at, n;

	if (!a->depth) {
		a->overflow = true;
		return;
	}
	if (a->open[a->depth - 1].kind == KIND_BUFFER) {
		put8(a, RES_END);
		put8(a, 0);		/* checksum: "treat as if it were right" */
	}
	at = a->open[--a->depth].at;
	n = a->len - at;		/* counts itself */
	if (a->overflow || n > PKGLEN_MAX) {
		a->overflow = true;
		return;
	}
	a->buf[at] = (u8)((PKGLEN_BYTES - 1) << 6 | (n & 0xf));
	a->buf[at + 1] = (u8)(n >> 4);
	a->buf[at + 2] = (u8)(n >> 12);
	if (a->open[a->depth].kind == KIND_BUFFER)
		put_le16(a->buf + at + PKGLEN_BYTES + 1, (u16)(n - PKGLEN_BYTES - 3));
}

void aml_scope(struct aml *a, const char *path)
{
	put8(a, OP_SCOPE);
	open_len(a, KIND_PLAIN);
	put8(a, '\\');
	put(a, path, 4);
}

void aml_device(struct aml *a, const char *name)
{
	put8(a, OP_EXT);
	put8(a, OP_EXT_DEVICE);
	open_len(a, KIND_PLAIN);
	put(a, name, 4);
}

static void name(struct aml *a, const char *nm)
{
	put8(a, OP_NAME);
	put(a, nm, 4);
}

void aml_int(struct aml *a, u64 val)
{
	if (val <= 1) {
		put8(a, val ? OP_ONE : OP_ZERO);
	} else if (val <= 0xff) {
		put8(a, OP_BYTE);
		put8(a, (u8)val);
	} else if (val <= 0xffff) {
		put8(a, OP_WORD);
		put16(a, (u16)val);
	} else if (val <= 0xffffffff) {
		put8(a, OP_DWORD);
		put32(a, (u32)val);
	} else {
		put8(a, OP_QWORD);
		put64(a, val);
	}
}

void aml_name_int(struct aml *a, const char *nm, u64 val)
{
	name(a, nm);
	aml_int(a, val);
}

void aml_name_string(struct aml *a, const char *nm, const char *s)
{
	name(a, nm);
	put8(a, OP_STRING);
	put(a, s, strlen(s) + 1);
}

static unsigned hex(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A' + 10);
}

/* 19.3.4: three letters of 5 bits, four hex digits, bytes swapped. */
void aml_name_eisaid(struct aml *a, const char *nm, const char *id)
{
	u32 v = (u32)((id[0] - 0x40) << 26 | (id[1] - 0x40) << 21 | (id[2] - 0x40) << 16) |
		hex(id[3]) << 12 | hex(id[4]) << 8 | hex(id[5]) << 4 | hex(id[6]);

	name(a, nm);
	put8(a, OP_DWORD);
	put32(a, __builtin_bswap32(v));
}

void aml_package(struct aml *a, u8 n)
{
	put8(a, OP_PACKAGE);
	open_len(a, KIND_PLAIN);
	put8(a, n);
}

void aml_name_package(struct aml *a, const char *nm, u8 n)
{
	name(a, nm);
	aml_package(a, n);
}

void aml_crs(struct aml *a)
{
	name(a, "_CRS");
	open_buffer(a);
}

void aml_res_io(struct aml *a, u16 port, u8 len)
{
	put8(a, RES_IO);
	put8(a, 1);		/* decodes 16 bits */
	put16(a, port);		/* lowest and highest base: fixed */
	put16(a, port);
	put8(a, 1);		/* alignment */
	put8(a, len);
}

void aml_res_irq(struct aml *a, u8 irq)
{
	put8(a, RES_IRQ);
	put16(a, (u16)(1u << irq));
}

void aml_res_memory32(struct aml *a, u32 base, u32 len)
{
	put8(a, RES_MEMORY32);
	put16(a, 9);
	put8(a, 1);		/* writable */
	put32(a, base);
	put32(a, len);
}

/* 6.4.3.5: type, general flags (fixed minimum and maximum), type-specific flags, then
 * granularity, minimum, maximum, translation, length. */
static void word_range(struct aml *a, u8 type, u8 flags, u16 first, u16 last)
{
	put8(a, RES_WORD);
	put16(a, 13);
	put8(a, type);
	put8(a, 0x0c);
	put8(a, flags);
	put16(a, 0);
	put16(a, first);
	put16(a, last);
	put16(a, 0);
	put16(a, (u16)(last - first + 1));
}

void aml_res_bus_range(struct aml *a, u16 first, u16 last)
{
	word_range(a, 2, 0, first, last);
}

void aml_res_io_range(struct aml *a, u16 first, u16 last)
{
	word_range(a, 1, 3, first, last);
}

void aml_res_memory_range(struct aml *a, u32 first, u32 last)
{
	put8(a, RES_DWORD);
	put16(a, 23);
	put8(a, 0);
	put8(a, 0x0c);
	put8(a, 1);		/* writable, not cacheable */
	put32(a, 0);
	put32(a, first);
	put32(a, last);
	put32(a, 0);
	put32(a, last - first + 1);
}
