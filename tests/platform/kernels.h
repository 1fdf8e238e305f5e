/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kernels.h - small kernels to order, with every field known: for the tests and the fuzzer of
 * platform/boot/. */
#ifndef PENTA_TESTS_KERNELS_H
#define PENTA_TESTS_KERNELS_H

#include "base/bytes.h"
#include "platform/boot/linux.h"
#include <bzlib.h>
#include <elf.h>
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define FILE_MAX (4 * MiB)
#define LOAD_PA 0x1000000u
#define TEXT_VA 0xffffffff81000000ull
#define TEXT_LEN 0x3000u

/* A compressor that fails is a broken test. */
#define MUST(x) do { if (!(x)) abort(); } while (0)

struct kernels {
	u8 *file, *vmlinux;		/* FILE_MAX bytes each */
	size_t len, vmlinux_len;
};

static const char *const kernel_packings[] = { "gzip", "xz", "lzma", "lz4", "zstd", "bzip2" };

/* ELF64 with one segment of TEXT_LEN bytes of file and 0x1000 of bss, section headers absent, and
 * behind it a list of relocations: a 64-bit place at +0x100, a 32-bit one at +0x200, one to
 * subtract from at +0x300. */
static void make_vmlinux(struct kernels *x, bool relocs, bool pvh)
{
	u8 *f = x->vmlinux, *ph = f + 64;
	const size_t off = 0x1000;

	memset(f, 0, FILE_MAX);
	memcpy(f, ELFMAG, SELFMAG);
	f[EI_CLASS] = ELFCLASS64;
	f[EI_DATA] = ELFDATA2LSB;
	f[EI_VERSION] = EV_CURRENT;
	put_le16(f + 16, ET_EXEC);
	put_le16(f + 18, EM_X86_64);
	put_le64(f + 24, LOAD_PA + 0x40);
	put_le64(f + 32, 64);
	put_le16(f + 52, 64);
	put_le16(f + 54, sizeof(Elf64_Phdr));
	put_le16(f + 56, pvh ? 2 : 1);
	put_le32(ph, PT_LOAD);
	put_le64(ph + 8, off);
	put_le64(ph + 16, TEXT_VA);
	put_le64(ph + 24, LOAD_PA);
	put_le64(ph + 32, TEXT_LEN);
	put_le64(ph + 40, TEXT_LEN + 0x1000);
	if (pvh) {
		u8 *note = f + 0x800;

		ph += sizeof(Elf64_Phdr);
		put_le32(ph, PT_NOTE);
		put_le64(ph + 8, 0x800);
		put_le64(ph + 32, 20);
		put_le64(ph + 40, 20);
		put_le32(note, 4);
		put_le32(note + 4, 4);
		put_le32(note + 8, 18);
		memcpy(note + 12, "Xen", 4);
		put_le32(note + 16, LOAD_PA + 0x80);
	}
	for (size_t i = 0; i < TEXT_LEN; i++)
		f[off + i] = (u8)(i * 7 + (i >> 8));
	put_le64(f + off + 0x100, TEXT_VA + 0x123);
	put_le32(f + off + 0x200, (u32)(TEXT_VA + 0x456));
	put_le32(f + off + 0x300, 0x789);
	x->vmlinux_len = off + TEXT_LEN;
	if (relocs) {
		const u32 list[] = { 0, (u32)TEXT_VA + 0x100, 0, (u32)TEXT_VA + 0x300,
				     0, (u32)TEXT_VA + 0x200 };

		memcpy(f + x->vmlinux_len, list, sizeof(list));
		x->vmlinux_len += sizeof(list);
	}
}

/* A bzImage of protocol 2.15 around @payload. */
static void make_bzimage(struct kernels *x, const u8 *payload, size_t len)
{
	u8 *f = x->file;

	memset(f, 0, FILE_MAX);
	f[BP_SETUP_SECTS] = 3;
	put_le16(f + BP_BOOT_FLAG, 0xaa55);
	f[0x200] = 0xeb;
	f[BP_JUMP_LEN] = 0x6a;
	put_le32(f + BP_HEADER, BP_HDRS);
	put_le16(f + BP_VERSION, 0x20f);
	f[BP_LOADFLAGS] = LOADED_HIGH;
	put_le32(f + BP_INITRD_ADDR_MAX, 0x7fffffff);
	put_le32(f + BP_KERNEL_ALIGNMENT, 0x200000);
	f[BP_RELOCATABLE] = 1;
	put_le16(f + BP_XLOADFLAGS, XLF_KERNEL_64);
	put_le32(f + BP_CMDLINE_SIZE, 2047);
	put_le32(f + BP_PAYLOAD_OFFSET, 0x400);
	put_le32(f + BP_PAYLOAD_LENGTH, (u32)len);
	put_le64(f + BP_PREF_ADDRESS, LOAD_PA);
	put_le32(f + BP_INIT_SIZE, 0x800000);
	memset(f + 4 * 512, 0xcc, 0x400);
	memcpy(f + 4 * 512 + 0x400, payload, len);
	x->len = 4 * 512 + 0x400 + len + 16;
	put_le32(f + BP_SYSSIZE, (u32)(0x400 + len) / 16);
}

/* Compress x->vmlinux by @kind, as Linux' build does: with the length behind where the format
 * lacks it. */
static size_t pack(struct kernels *x, const char *kind, u8 *out)
{
	const u8 *in = x->vmlinux;
	size_t n = x->vmlinux_len, done = 0;

	if (!strcmp(kind, "gzip")) {
		z_stream z = { .next_in = (u8 *)in, .avail_in = (uInt)n, .next_out = out,
			       .avail_out = FILE_MAX };

		MUST(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, 0) == Z_OK);
		MUST(deflate(&z, Z_FINISH) == Z_STREAM_END);
		done = z.total_out;
		deflateEnd(&z);
		return done;
	}
	if (!strcmp(kind, "xz")) {
		MUST(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, NULL, in, n, out, &done,
					     FILE_MAX) == LZMA_OK);
	} else if (!strcmp(kind, "lzma")) {
		lzma_options_lzma o;
		lzma_stream z = LZMA_STREAM_INIT;

		lzma_lzma_preset(&o, 6);
		MUST(lzma_alone_encoder(&z, &o) == LZMA_OK);
		z.next_in = in;
		z.avail_in = n;
		z.next_out = out;
		z.avail_out = FILE_MAX;
		MUST(lzma_code(&z, LZMA_FINISH) == LZMA_STREAM_END);
		done = z.total_out;
		lzma_end(&z);
	} else if (!strcmp(kind, "zstd")) {
		done = ZSTD_compress(out, FILE_MAX, in, n, 3);
		MUST(!ZSTD_isError(done));
	} else if (!strcmp(kind, "bzip2")) {
		unsigned len = FILE_MAX;

		MUST(BZ2_bzBuffToBuffCompress((char *)out, &len, (char *)in,
					      (unsigned)n, 9, 0, 0) == BZ_OK);
		done = len;
	} else {
		put_le32(out, 0x184c2102);
		done = (size_t)LZ4_compress_default((const char *)in, (char *)out + 8, (int)n,
						    FILE_MAX - 8);
		put_le32(out + 4, (u32)done);
		done += 8;
	}
	put_le32(out + done, (u32)n);
	return done + 4;
}

static void make_packed(struct kernels *x, const char *kind)
{
	u8 *packed = malloc(FILE_MAX);
	size_t n = pack(x, kind, packed);

	make_bzimage(x, packed, n);
	free(packed);
}

/* A multiboot kernel with addresses in its header: 0x3000 bytes at 4 MiB, 4 KiB of bss. */
static void make_multiboot(struct kernels *x)
{
	memset(x->file, 0x90, 0x3000);
	put_le32(x->file + 0x40, 0x1badb002);
	put_le32(x->file + 0x44, 0x10003);
	put_le32(x->file + 0x48, -(0x1badb002u + 0x10003u));
	put_le32(x->file + 0x4c, 0x400040);
	put_le32(x->file + 0x50, 0x400000);
	put_le32(x->file + 0x54, 0x403000);
	put_le32(x->file + 0x58, 0x404000);
	put_le32(x->file + 0x5c, 0x400080);
	x->len = 0x3000;
}

static void use_vmlinux(struct kernels *x)
{
	memcpy(x->file, x->vmlinux, x->vmlinux_len);
	x->len = x->vmlinux_len;
}

#endif
