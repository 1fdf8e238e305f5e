/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stream.c - sections on a descriptor. See stream.h and docs/state.md:
 *
 *	stream header:	magic (8), version (u32), CRC of these 12 bytes
 *	section:	header (48 bytes), name, payload		... the last is SECTION_END
 *
 * A section's header has a CRC over itself and the name, and one over the payload. SECTION_END has
 * a CRC over all headers' CRCs, so that sections cannot go missing or change places. */
#include "state/stream.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <zstd.h>

static const u8 stream_magic[8] = { 'p', 'e', 'n', 't', 'a', 0x1a, '\r', '\n' };
#define SECTION_MAGIC 0x54434553u	/* "SECT" */
#define FLAG_PACKED 1u
#define OUT_BUF (1u << 20)
#define PACK_LEVEL 1
#define PACK_MIN 256u			/* shorter ones are stored as they are */

enum header_off {
	H_MAGIC = 0, H_KIND = 4, H_VERSION = 6, H_NAME_LEN = 8, H_FLAGS = 10, H_BITS = 12,
	H_ARG = 16, H_STORED = 24, H_RAW = 32, H_CRC = 40, H_HEADER_CRC = 44,
};
enum end_off { END_NSECTIONS = 0, END_INDEX = 8, END_LEN = 16, END_CHAIN = 24, END_ZERO = 28 };

/* --- writing --- */

static int out_error(struct stream_out *o, int code, struct err *e)
{
	o->failed = -code;
	errno = code;
	return err_errno(e, "cannot write the machine's state");
}

static int flush(struct stream_out *o, struct err *e)
{
	size_t done = 0;

	while (done < o->n) {
		ssize_t w = write(o->fd, o->buf + done, o->n - done);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return out_error(o, w < 0 ? errno : EIO, e);
		done += (size_t)w;
	}
	o->n = 0;
	return 0;
}

static int out(struct stream_out *o, const void *p, u64 len, struct err *e)
{
	const u8 *in = p;

	while (len) {
		size_t n = MIN(len, (u64)(OUT_BUF - o->n));

		memcpy(o->buf + o->n, in, n);
		o->n += n;
		o->off += n;
		in += n;
		len -= n;
		if (o->n == OUT_BUF) {
			int r = flush(o, e);

			if (r)
				return r;
		}
	}
	return 0;
}

int stream_out_begin(struct stream_out *o, int fd, struct err *e)
{
	u8 h[STREAM_HEADER_LEN];

	*o = (struct stream_out){ .fd = fd };
	o->buf = malloc(OUT_BUF);
	o->z = ZSTD_createCCtx();
	if (!o->buf || !o->z)
		return out_error(o, ENOMEM, e);
	memcpy(h, stream_magic, sizeof(stream_magic));
	put_le32(h + 8, STREAM_VERSION);
	put_le32(h + 12, crc32c(0, h, 12));
	return out(o, h, sizeof(h), e);
}

void stream_out_free(struct stream_out *o)
{
	free(o->buf);
	free(o->packed);
	ZSTD_freeCCtx(o->z);
	o->buf = o->packed = NULL;
	o->z = NULL;
}

/* Pack @p; the packed length, or 0 when it is better left alone. */
static u64 pack(struct stream_out *o, const void *p, u64 len)
{
	size_t bound = ZSTD_compressBound(len), n;

	if (len < PACK_MIN)
		return 0;
	if (o->packed_room < bound) {
		u8 *room = realloc(o->packed, bound);

		if (!room)
			return 0;
		o->packed = room;
		o->packed_room = bound;
	}
	n = ZSTD_compressCCtx(o->z, o->packed, o->packed_room, p, len, PACK_LEVEL);
	return ZSTD_isError(n) || n >= len ? 0 : n;
}

int stream_put(struct stream_out *o, const struct section *s, const void *p, u64 len, bool try_pack,
	       u64 *at, struct err *e)
{
	size_t namelen = strlen(s->name);
	u8 h[SECTION_HEADER_LEN] = { 0 };
	u64 stored = try_pack ? pack(o, p, len) : 0;
	const void *payload = stored ? o->packed : p;
	int r;
	u32 crc;

	if (o->failed)
		return err_set(e, -o->failed, "the stream had failed before");
	if (at)
		*at = o->off;
	put_le32(h + H_MAGIC, SECTION_MAGIC);
	put_le16(h + H_KIND, s->kind);
	put_le16(h + H_VERSION, s->version);
	put_le16(h + H_NAME_LEN, (u16)namelen);
	put_le16(h + H_FLAGS, stored ? FLAG_PACKED : 0);
	put_le32(h + H_BITS, s->bits);
	put_le64(h + H_ARG, s->arg);
	put_le64(h + H_STORED, stored ? stored : len);
	put_le64(h + H_RAW, len);
	put_le32(h + H_CRC, crc32c(0, payload, stored ? stored : len));
	crc = crc32c(crc32c(0, h, H_HEADER_CRC), s->name, namelen);
	put_le32(h + H_HEADER_CRC, crc);
	o->chain = crc32c(o->chain, h + H_HEADER_CRC, 4);
	o->nsections++;
	r = out(o, h, sizeof(h), e);
	if (!r)
		r = out(o, s->name, namelen, e);
	if (!r)
		r = out(o, payload, stored ? stored : len, e);
	return r;
}

int stream_out_end(struct stream_out *o, struct err *e)
{
	const struct section s = { .kind = SECTION_END, .version = 1 };
	u8 p[SECTION_END_LEN - SECTION_HEADER_LEN] = { 0 };
	int r;

	put_le64(p + END_NSECTIONS, o->nsections);
	put_le64(p + END_INDEX, o->index_at);
	put_le64(p + END_LEN, o->off);
	put_le32(p + END_CHAIN, o->chain);
	r = stream_put(o, &s, p, sizeof(p), false, NULL, e);
	return r ? r : flush(o, e);
}

/* --- reading --- */

static int truncated(const struct stream_in *i, struct err *e)
{
	return err_set(e, EBADMSG, "%s: truncated: it ends within what has to be there at byte %llu",
		       i->name, (unsigned long long)i->off);
}

static int in(struct stream_in *i, void *p, u64 len, struct err *e)
{
	u8 *to = p;

	while (len) {
		size_t want = MIN(len, (u64)1 << 30);
		const struct iovec iov = { to, want };	/* the one call that all threads may make */
		ssize_t n = i->seeks ? preadv(i->fd, &iov, 1, (off_t)i->off) : read(i->fd, to, want);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, "read %s", i->name);
		if (n == 0)
			return truncated(i, e);
		i->off += (u64)n;
		to += n;
		len -= (u64)n;
	}
	return 0;
}

int stream_in_begin(struct stream_in *i, int fd, const char *name, struct err *e)
{
	u8 h[STREAM_HEADER_LEN];
	struct stat st;
	int r;

	*i = (struct stream_in){ .fd = fd, .name = name };
	if (fstat(fd, &st) < 0)
		return err_errno(e, "%s", name);
	i->seeks = S_ISREG(st.st_mode);
	i->size = i->seeks ? (u64)st.st_size : UINT64_MAX;
	i->z = ZSTD_createDCtx();
	if (!i->z)
		return err_set(e, ENOMEM, "%s: out of memory", name);
	r = in(i, h, sizeof(h), e);
	if (r)
		return r;
	if (memcmp(h, stream_magic, sizeof(stream_magic)))
		return err_set(e, EBADMSG, "%s is no saved machine", name);
	if (get_le32(h + 12) != crc32c(0, h, 12))
		return err_set(e, EBADMSG, "%s: damaged: its header's checksum is wrong", name);
	if (get_le32(h + 8) != STREAM_VERSION)
		return err_set(e, ENOTSUP, "%s is of format %u; this penta reads format %u", name,
			       get_le32(h + 8), STREAM_VERSION);
	return 0;
}

void stream_in_free(struct stream_in *i)
{
	ZSTD_freeDCtx(i->z);
	i->z = NULL;
}

void stream_seek(struct stream_in *i, u64 off)
{
	BUG_ON(!i->seeks);
	i->off = off;
}

/* Names come from the stream: only what prints well gets into a message. */
static bool printable(const char *s, size_t len)
{
	for (size_t k = 0; k < len; k++)
		if (s[k] <= ' ' || s[k] > '~')
			return false;
	return true;
}

int stream_next(struct stream_in *i, struct section *s, struct err *e)
{
	u8 h[SECTION_HEADER_LEN];
	u16 namelen, flags;
	u64 at = i->off;
	int r = in(i, h, sizeof(h), e);

	if (r)
		return r;
	*s = (struct section){ .kind = get_le16(h + H_KIND), .version = get_le16(h + H_VERSION),
			       .arg = get_le64(h + H_ARG), .bits = get_le32(h + H_BITS),
			       .stored = get_le64(h + H_STORED), .raw = get_le64(h + H_RAW),
			       .crc = get_le32(h + H_CRC), .at = at,
			       .header_crc = get_le32(h + H_HEADER_CRC) };
	namelen = get_le16(h + H_NAME_LEN);
	flags = get_le16(h + H_FLAGS);
	if (get_le32(h + H_MAGIC) != SECTION_MAGIC || namelen > SECTION_NAME_MAX)
		return err_set(e, EBADMSG, "%s: damaged: no section begins at byte %llu", i->name,
			       (unsigned long long)at);
	r = in(i, s->name, namelen, e);
	if (r)
		return r;
	if (s->header_crc != crc32c(crc32c(0, h, H_HEADER_CRC), s->name, namelen))
		return err_set(e, EBADMSG, "%s: damaged: the checksum of the section header at byte "
			       "%llu is wrong", i->name, (unsigned long long)at);
	s->packed = flags & FLAG_PACKED;
	if (flags & ~FLAG_PACKED || !printable(s->name, namelen) ||
	    (!s->packed && s->stored != s->raw))
		return err_set(e, EBADMSG, "%s: the section at byte %llu is none that penta writes",
			       i->name, (unsigned long long)at);
	if (s->kind != SECTION_END) {
		u8 raw[4];

		put_le32(raw, s->header_crc);
		i->chain = crc32c(i->chain, raw, 4);
		i->nsections++;
	}
	return 0;
}

static int damaged(const struct stream_in *i, const struct section *s, const char *what, struct err *e)
{
	static const char *const kinds[] = {
		[SECTION_MACHINE] = "machine", [SECTION_CONFIG] = "configuration",
		[SECTION_VCPU] = "vCPU", [SECTION_DEVICE] = "device", [SECTION_RAM] = "memory",
		[SECTION_INDEX] = "index", [SECTION_END] = "end",
	};

	return err_set(e, EBADMSG, "%s: damaged: %s of section \"%s%s%s\" at byte %llu", i->name, what,
		       s->kind < ARRAY_SIZE(kinds) && kinds[s->kind] ? kinds[s->kind] : "?",
		       s->name[0] ? " " : "", s->name, (unsigned long long)s->at);
}

int stream_payload_to(struct stream_in *i, const struct section *s, u8 *buf, u8 *scratch,
		      struct err *e)
{
	u8 *stored = s->packed ? scratch : buf;
	size_t n;
	int r = in(i, stored, s->stored, e);

	if (r)
		return r;
	if (crc32c(0, stored, s->stored) != s->crc)
		return damaged(i, s, "wrong checksum", e);
	if (!s->packed)
		return 0;
	n = ZSTD_decompressDCtx(i->z, buf, s->raw, stored, s->stored);
	if (ZSTD_isError(n) || n != s->raw)
		return damaged(i, s, "zstd cannot unpack the contents", e);
	return 0;
}

int stream_payload(struct stream_in *i, const struct section *s, u64 max, u8 **out_p, struct err *e)
{
	u8 *buf, *scratch = NULL;
	int r;

	*out_p = NULL;
	if (s->raw > max || s->stored > max)
		return err_set(e, EBADMSG, "%s: section \"%s\" at byte %llu has %llu bytes; at most "
			       "%llu are sensible", i->name, s->name, (unsigned long long)s->at,
			       (unsigned long long)MAX(s->raw, s->stored), (unsigned long long)max);
	if (i->seeks && s->stored > i->size - i->off)
		return truncated(i, e);
	buf = calloc(1, s->raw + 1);
	if (s->packed)
		scratch = malloc(s->stored + 1);
	if (!buf || (s->packed && !scratch)) {
		free(buf);
		free(scratch);
		return err_set(e, ENOMEM, "%s: out of memory", i->name);
	}
	r = stream_payload_to(i, s, buf, scratch, e);
	free(scratch);
	if (r)
		free(buf);
	else
		*out_p = buf;
	return r;
}

static int read_end(struct stream_in *i, const struct section *s, u8 p[32], struct err *e)
{
	if (s->kind != SECTION_END || s->packed || s->version != 1 || s->name[0] ||
	    s->raw != SECTION_END_LEN - SECTION_HEADER_LEN)
		return damaged(i, s, "no end of a stream", e);
	return stream_payload_to(i, s, p, NULL, e);
}

int stream_in_end(struct stream_in *i, const struct section *s, u64 *index_at, struct err *e)
{
	u8 p[SECTION_END_LEN - SECTION_HEADER_LEN];
	int r = read_end(i, s, p, e);

	if (r)
		return r;
	if (get_le64(p + END_NSECTIONS) != i->nsections || get_le64(p + END_LEN) != s->at ||
	    get_le32(p + END_CHAIN) != i->chain)
		return damaged(i, s, "sections are missing or misplaced, says the checksum", e);
	if (i->seeks && i->off != i->size)
		return err_set(e, EBADMSG, "%s: %llu bytes follow its end", i->name,
			       (unsigned long long)(i->size - i->off));
	*index_at = get_le64(p + END_INDEX);
	return 0;
}

int stream_trailer(struct stream_in *i, u64 *index_at, struct err *e)
{
	u8 p[SECTION_END_LEN - SECTION_HEADER_LEN];
	struct section s;
	u64 end;
	int r;

	if (i->size < STREAM_HEADER_LEN + SECTION_END_LEN)
		return truncated(i, e);
	end = i->size - SECTION_END_LEN;
	i->off = end;
	r = stream_next(i, &s, e);
	if (!r)
		r = read_end(i, &s, p, e);
	if (r)
		return err_context(e, "%s is truncated, or its end is damaged", i->name);
	if (get_le64(p + END_LEN) != end || get_le64(p + END_INDEX) >= end)
		return damaged(i, &s, "wrong length", e);
	*index_at = get_le64(p + END_INDEX);
	return 0;
}
