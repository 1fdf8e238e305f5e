/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stream.h - sections on a descriptor: each with a kind, a name, a version and two checksums, so
 * that no bit of a stream can change without notice. The form is in docs/state.md. */
#ifndef PENTA_STATE_STREAM_H
#define PENTA_STATE_STREAM_H

#include "base/err.h"
#include "base/types.h"

enum section_kind {		/* never to be renumbered */
	SECTION_MACHINE = 1,	/* struct shape: what machine this is of */
	SECTION_CONFIG = 2,	/* JSON text of the layers above */
	SECTION_VCPU = 3,	/* arg: index */
	SECTION_DEVICE = 4,	/* name: the device's path; version: its table's */
	SECTION_RAM = 5,	/* arg: first page; bits: which of its 16 pages follow (the others are 0) */
	SECTION_INDEX = 6,	/* of all RAM sections */
	SECTION_END = 7,	/* the last; of fixed length, so that it is found from the end */
};

#define SECTION_NAME_MAX 255
struct section {
	u16 kind, version;
	char name[SECTION_NAME_MAX + 1];
	u64 arg;
	u32 bits;
	bool packed;		/* zstd */
	u64 stored, raw;	/* payload: bytes in the stream; unpacked */
	u32 crc;		/* of the payload as stored */
	u32 header_crc;
	u64 at;			/* where its header stands in the stream */
};

#define STREAM_HEADER_LEN 16
#define SECTION_HEADER_LEN 48	/* and the name */
#define SECTION_END_LEN (SECTION_HEADER_LEN + 32)
#define STREAM_VERSION 1

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

/* Writing: front to back, through a buffer. The first error stays. */
struct stream_out {
	int fd;
	u64 off;		/* of the next byte */
	u8 *buf;
	size_t n;
	u8 *packed;		/* scratch */
	size_t packed_room;
	struct ZSTD_CCtx_s *z;
	u64 nsections, index_at;
	u32 chain;		/* CRC over all section headers' CRCs */
	int failed;		/* negative errno */
};
int stream_out_begin(struct stream_out *o, int fd, struct err *e);
/* @pack: try zstd. Returns where the section begins, through @at, when not NULL. */
int stream_put(struct stream_out *o, const struct section *h, const void *p, u64 len, bool pack,
	       u64 *at, struct err *e);
int stream_out_end(struct stream_out *o, struct err *e);	/* SECTION_END, and flush */
void stream_out_free(struct stream_out *o);

/* Reading. */
struct stream_in {
	int fd;
	const char *name;	/* for messages */
	bool seeks;
	u64 off, size;		/* size: when it seeks */
	u64 nsections;
	u32 chain;
	struct ZSTD_DCtx_s *z;
};
int stream_in_begin(struct stream_in *i, int fd, const char *name, struct err *e);
void stream_in_free(struct stream_in *i);
/* The next section's header; its payload is to be read next. */
int stream_next(struct stream_in *i, struct section *h, struct err *e);
/* Its payload, checked and unpacked: malloc()ed, h->raw bytes and a 0. At most @max of them. */
int stream_payload(struct stream_in *i, const struct section *h, u64 max, u8 **out, struct err *e);
/* The same into @buf of h->raw bytes; @scratch holds h->stored. */
int stream_payload_to(struct stream_in *i, const struct section *h, u8 *buf, u8 *scratch,
		      struct err *e);
/* h is the SECTION_END just read: is it the end of what was read? */
int stream_in_end(struct stream_in *i, const struct section *h, u64 *index_at, struct err *e);
/* Go to @off (it seeks). */
void stream_seek(struct stream_in *i, u64 off);
/* The end, found from behind: where the index is, and that the file is whole. */
int stream_trailer(struct stream_in *i, u64 *index_at, struct err *e);

#endif
