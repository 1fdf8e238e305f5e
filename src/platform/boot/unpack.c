/* SPDX-License-Identifier: GPL-2.0-or-later */
/* unpack.c - unpack a kernel's payload on the host: native code does in a moment what an
 * interpreted guest would do for a long while. One small function for each library; the output's
 * size is fixed beforehand, so a damaged or malicious stream costs at most that much memory. */
#include "base/bytes.h"
#include "platform/boot/unpack.h"
#include <bzlib.h>
#include <errno.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#define LZ4_LEGACY_MAGIC 0x184c2102u
#define LZ4_LEGACY_BLOCK (8 * MiB)
#define LZMA_MEMLIMIT (192 * MiB)	/* kernels use dictionaries of up to 128 MiB */

typedef bool unpack_fn(const u8 *in, size_t len, u8 *out, size_t out_len);

/* zlib and bzip2 count in unsigned int: both lengths are below 4 GiB (unpack() sees to that). */
static bool unpack_gzip(const u8 *in, size_t len, u8 *out, size_t out_len)
{
	z_stream z = { .next_in = (u8 *)in, .avail_in = (uInt)len, .next_out = out,
		       .avail_out = (uInt)out_len };
	int r;

	if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
		return false;
	r = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	return r == Z_STREAM_END && !z.avail_out;
}

static bool unpack_bzip2(const u8 *in, size_t len, u8 *out, size_t out_len)
{
	bz_stream z = { .next_in = (char *)in, .avail_in = (unsigned)len, .next_out = (char *)out,
			.avail_out = (unsigned)out_len };
	int r;

	if (BZ2_bzDecompressInit(&z, 0, 0) != BZ_OK)
		return false;
	do
		r = BZ2_bzDecompress(&z);
	while (r == BZ_OK && z.avail_in && z.avail_out);
	if (r == BZ_OK)		/* the end mark may be all that is left */
		r = BZ2_bzDecompress(&z);
	BZ2_bzDecompressEnd(&z);
	return r == BZ_STREAM_END && !z.avail_out;
}

static bool run_lzma(lzma_stream *z, const u8 *in, size_t len, u8 *out, size_t out_len)
{
	lzma_ret r;
	u8 beyond;
	bool done;

	z->next_in = in;
	z->avail_in = len;
	z->next_out = out;
	z->avail_out = out_len;
	do
		r = lzma_code(z, LZMA_RUN);
	while (r == LZMA_OK && z->avail_in && z->avail_out);
	if (r == LZMA_OK)
		r = lzma_code(z, LZMA_FINISH);
	done = z->avail_out == 0;
	/* An lzma stream's end mark may still be ahead; one more byte of output may not. */
	z->next_out = &beyond;
	z->avail_out = 1;
	if (r == LZMA_OK || r == LZMA_BUF_ERROR)
		r = lzma_code(z, LZMA_FINISH);
	done = done && z->avail_out == 1 && r == LZMA_STREAM_END;
	lzma_end(z);
	return done;
}

static bool unpack_xz(const u8 *in, size_t len, u8 *out, size_t out_len)
{
	lzma_stream z = LZMA_STREAM_INIT;

	return lzma_stream_decoder(&z, LZMA_MEMLIMIT, 0) == LZMA_OK &&
	       run_lzma(&z, in, len, out, out_len);
}

static bool unpack_lzma(const u8 *in, size_t len, u8 *out, size_t out_len)
{
	lzma_stream z = LZMA_STREAM_INIT;

	return lzma_alone_decoder(&z, LZMA_MEMLIMIT) == LZMA_OK &&
	       run_lzma(&z, in, len, out, out_len);
}

/* Blocks of {u32 length, data}, each of 8 MiB when unpacked but the last. */
static bool unpack_lz4(const u8 *in, size_t len, u8 *out, size_t out_len)
{
	size_t at = 4, done = 0;

	while (done < out_len) {
		u32 n;
		int got;

		if (len - at < 4)
			return false;
		n = get_le32(in + at);
		at += 4;
		if (n == LZ4_LEGACY_MAGIC)	/* a concatenated stream */
			continue;
		if (n > len - at || n > LZ4_COMPRESSBOUND(LZ4_LEGACY_BLOCK))
			return false;
		got = LZ4_decompress_safe((const char *)in + at, (char *)out + done, (int)n,
					  (int)MIN(out_len - done, LZ4_LEGACY_BLOCK));
		if (got <= 0)
			return false;
		at += n;
		done += (size_t)got;
	}
	return true;
}

static bool unpack_zstd(const u8 *in, size_t len, u8 *out, size_t out_len)
{
	ZSTD_DStream *z = ZSTD_createDStream();
	ZSTD_inBuffer src = { in, len, 0 };
	ZSTD_outBuffer dst = { out, out_len, 0 };
	size_t r = 1;

	if (!z)
		return false;
	ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, 27);
	while (r && !ZSTD_isError(r) && src.pos < src.size) {
		size_t before = src.pos + dst.pos;

		r = ZSTD_decompressStream(z, &dst, &src);
		if (src.pos + dst.pos == before)	/* output full before the frame's end */
			break;
	}
	ZSTD_freeDStream(z);
	return r == 0 && dst.pos == out_len;
}

static const struct format {
	const char *name, *magic;
	u8 magic_len;
	unpack_fn *fn;
} formats[] = {
	{ "gzip", "\x1f\x8b", 2, unpack_gzip },
	{ "xz", "\xfd" "7zXZ\0", 6, unpack_xz },
	{ "lz4", "\x02\x21\x4c\x18", 4, unpack_lz4 },
	{ "zstd", "\x28\xb5\x2f\xfd", 4, unpack_zstd },
	{ "bzip2", "BZh", 3, unpack_bzip2 },
	{ "lzma", "\x5d\0\0", 3, unpack_lzma },
};

static const struct format *find(const u8 *in, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (len >= formats[i].magic_len &&
		    !memcmp(in, formats[i].magic, formats[i].magic_len))
			return &formats[i];
	return NULL;
}

const char *unpack_kind(const u8 *in, size_t len)
{
	const struct format *f = find(in, len);

	return f ? f->name : NULL;
}

int unpack(const u8 *in, size_t len, u8 *out, size_t out_len, const char *name, struct err *e)
{
	const struct format *f = find(in, len);

	if (!f)
		return err_set(e, ENOTSUP, "%s: its payload has a compression that I do not know",
			       name);
	if (len > UINT32_MAX || out_len > UINT32_MAX || !f->fn(in, len, out, out_len))
		return err_set(e, EINVAL, "%s is damaged: its %s payload does not unpack to the "
			       "%zu bytes it promises", name, f->name, out_len);
	return 0;
}
