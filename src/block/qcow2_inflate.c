/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2_inflate.c - one compressed cluster: a raw deflate stream, or a zstd frame. */
#include "block/qcow2_impl.h"
#include <errno.h>
#include <zlib.h>
#include <zstd.h>

/* The end of the input is not exact: it is known in sectors of 512 bytes. */
static int inflate_deflate(const u8 *in, size_t in_len, u8 *out, size_t out_len)
{
	z_stream s = {
		.next_in = (u8 *)in,
		.avail_in = (uInt)in_len,
		.next_out = out,
		.avail_out = (uInt)out_len,
	};
	int r;

	if (inflateInit2(&s, -15) != Z_OK)
		return -ENOMEM;
	r = inflate(&s, Z_FINISH);
	inflateEnd(&s);
	return (r == Z_STREAM_END || r == Z_BUF_ERROR) && !s.avail_out ? 0 : -EIO;
}

static int inflate_zstd(const u8 *in, size_t in_len, u8 *out, size_t out_len)
{
	ZSTD_inBuffer src = { .src = in, .size = in_len };
	ZSTD_outBuffer dst = { .dst = out, .size = out_len };
	ZSTD_DStream *s = ZSTD_createDStream();
	size_t r = 1;

	if (!s)
		return -ENOMEM;
	while (dst.pos < dst.size) {
		size_t before = src.pos + dst.pos;

		r = ZSTD_decompressStream(s, &dst, &src);
		if (ZSTD_isError(r) || src.pos + dst.pos == before)
			break;
	}
	ZSTD_freeDStream(s);
	return !ZSTD_isError(r) && dst.pos == dst.size ? 0 : -EIO;
}

int qcow2_inflate(bool zstd, const u8 *in, size_t in_len, u8 *out, size_t out_len)
{
	return zstd ? inflate_zstd(in, in_len, out, out_len) :
		      inflate_deflate(in, in_len, out, out_len);
}
