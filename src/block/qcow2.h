/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2.h - the qcow2 format as facts; for the files that read and write it.
 * After: QEMU docs/interop/qcow2.txt. All words are big-endian.
 *
 *	guest offset:	| L1 index | L2 index | offset in the cluster |
 *	L1 entry --> L2 table (one cluster) --> L2 entry --> cluster of data
 *	cluster number --> refcount table --> refcount block (one cluster) --> its count */
#ifndef PENTA_BLOCK_QCOW2_H
#define PENTA_BLOCK_QCOW2_H

#include "block/layer.h"

#define QCOW2_CLUSTER_BITS_MIN 9
#define QCOW2_CLUSTER_BITS_MAX 21
#define QCOW2_TABLE_MAX (32 * MiB)	/* of an L1 or refcount table; larger ones are refused */
#define QCOW2_HEAD (64 * KiB) /* read at the start of a file: header, extensions, backing name */

/* An L1 or L2 entry. */
#define QCOW2_OFFSET 0x00fffffffffffe00ull	/* where it is in the file; 0: nowhere */
#define QCOW2_COPIED BIT(63) /* nobody else refers to it: may be written in place */
#define QCOW2_COMPRESSED BIT(62) /* L2: the offset and length of a compressed cluster */
#define QCOW2_ZERO BIT(0)			/* L2, version 3: reads as zeros */
#define QCOW2_RT_OFFSET 0xfffffffffffffe00ull	/* of a refcount table's entry */

/* The first @len bytes of a file. */
int qcow2_header_parse(const u8 *p, size_t len, const char *path, struct qcow2_header *h,
		       struct err *e);
/* A header for a new image. */
int qcow2_header_make(u8 *p, size_t len, const struct qcow2_header *h, const char *path,
		      struct err *e);
/* Bring the fields that change up to date in the first sector of a file. */
void qcow2_header_patch(u8 *sector, const struct qcow2_header *h);

/* A refcount, the @i-th of a block. Order 0..6: 1 to 64 bits; below a byte the low bits come first.
 */
u64 qcow2_refcount_get(const u8 *block, unsigned order, u64 i);
void qcow2_refcount_set(u8 *block, unsigned order, u64 i, u64 n);

#endif
