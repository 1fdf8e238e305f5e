/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2_header.c - the first cluster of a qcow2 image: read, checked field by field, and made.
 * After: QEMU docs/interop/qcow2.txt. All fields are big-endian.
 * Not done: encryption, external data files, extended L2 entries, bitmaps (dropped when written
 * to). */
#include "block/qcow2.h"
#include "base/bytes.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Offsets in the header. Version 2 ends at 72; what is missing of version 3 has its default. */
enum {
	H_MAGIC = 0,
	H_VERSION = 4,
	H_BACKING_OFF = 8,
	H_BACKING_LEN = 16,
	H_CLUSTER_BITS = 20,
	H_SIZE = 24,
	H_CRYPT = 32,
	H_L1_SIZE = 36,
	H_L1_OFF = 40,
	H_RT_OFF = 48,
	H_RT_CLUSTERS = 56,
	H_NSNAPSHOTS = 60,
	H_SNAPSHOTS_OFF = 64,
	V2_LENGTH = 72,
	H_INCOMPATIBLE = 72,
	H_COMPATIBLE = 80,
	H_AUTOCLEAR = 88,
	H_REFCOUNT_ORDER = 96,
	H_LENGTH = 100,
	V3_LENGTH = 104,
	H_COMPRESSION = 104,
};
enum { EXT_END = 0, EXT_BACKING_FORMAT = 0xe2792aca };	/* header extensions */
#define EXTERNAL_DATA BIT(2)
#define COMPRESSION BIT(3)
#define EXTENDED_L2 BIT(4)
#define KNOWN (QCOW2_DIRTY | QCOW2_CORRUPT | COMPRESSION)

static int read_extensions(const u8 *p, u32 at, u32 end, const char *path, struct qcow2_header *h,
			   struct err *e)
{
	while (end - at >= 8) {
		u32 type = get_be32(p + at), len = get_be32(p + at + 4);

		at += 8;
		if (type == EXT_END)
			return 0;
		if (len > end - at)
			return err_set(e, EINVAL,
				       "%s: header extension %#x of %u bytes does not fit", path,
				       type, len);
		if (type == EXT_BACKING_FORMAT) {
			if (len >= sizeof(h->backing_format) || memchr(p + at, 0, len))
				return err_set(e, EINVAL,
					       "%s: format of the backing file has %u bytes", path,
					       len);
			memcpy(h->backing_format, p + at, len);
		}
		at += MIN((len + 7) & ~7u, end - at);
	}
	return 0;
}

/* A table of @n entries of 8 bytes at @off. */
static int check_table(const struct qcow2_header *h, const char *path, const char *what, u64 off,
		       u64 n, struct err *e)
{
	if (n * 8 > QCOW2_TABLE_MAX)
		return err_set(e, EFBIG, "%s: %s of %llu entries; at most %llu", path, what,
			       (unsigned long long)n, QCOW2_TABLE_MAX / 8);
	if (n && (!off || off >> 56 || off & ((1ull << h->cluster_bits) - 1)))
		return err_set(e, EINVAL, "%s: %s at %#llx", path, what, (unsigned long long)off);
	return 0;
}

static int check_features(const struct qcow2_header *h, const char *path, u32 crypt, struct err *e)
{
	if (crypt)
		return err_set(e, ENOTSUP, "%s: encrypted images are not supported", path);
	if (h->incompatible & EXTERNAL_DATA)
		return err_set(e, ENOTSUP,
			       "%s: its data is in another file, which is not supported", path);
	if (h->incompatible & EXTENDED_L2)
		return err_set(e, ENOTSUP, "%s: subclusters (extended_l2) are not supported", path);
	if (h->incompatible & ~KNOWN)
		return err_set(e, ENOTSUP, "%s: unknown incompatible features %#llx", path,
			       (unsigned long long)(h->incompatible & ~KNOWN));
	return 0;
}

int qcow2_header_parse(const u8 *p, size_t len, const char *path, struct qcow2_header *h,
		       struct err *e)
{
	u64 back_off, max, l2_bytes;
	u32 back_len, crypt;
	int r;

	memset(h, 0, sizeof(*h));
	if (len < V2_LENGTH || get_be32(p) != QCOW2_MAGIC)
		return err_set(e, EINVAL, "%s: no qcow2 image", path);
	h->version = get_be32(p + H_VERSION);
	h->cluster_bits = get_be32(p + H_CLUSTER_BITS);
	h->size = get_be64(p + H_SIZE);
	h->l1_size = get_be32(p + H_L1_SIZE);
	h->l1_off = get_be64(p + H_L1_OFF);
	h->rt_off = get_be64(p + H_RT_OFF);
	h->rt_clusters = get_be32(p + H_RT_CLUSTERS);
	h->nsnapshots = get_be32(p + H_NSNAPSHOTS);
	h->snapshots_off = get_be64(p + H_SNAPSHOTS_OFF);
	crypt = get_be32(p + H_CRYPT);
	back_off = get_be64(p + H_BACKING_OFF);
	back_len = get_be32(p + H_BACKING_LEN);
	h->refcount_order = 4;
	h->header_length = V2_LENGTH;
	if (h->version != 2 && h->version != 3)
		return err_set(e, ENOTSUP, "%s: qcow2 version %u; 2 and 3 are supported", path,
			       h->version);
	if (h->cluster_bits < QCOW2_CLUSTER_BITS_MIN || h->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
		return err_set(e, EINVAL, "%s: cluster size 2^%u; qcow2 allows 2^9 to 2^21", path,
			       h->cluster_bits);
	max = MIN(len, 1ull << h->cluster_bits);
	if (h->version == 3) {
		if (len < V3_LENGTH)
			return err_set(e, EINVAL, "%s: the header is cut off", path);
		h->incompatible = get_be64(p + H_INCOMPATIBLE);
		h->compatible = get_be64(p + H_COMPATIBLE);
		h->autoclear = get_be64(p + H_AUTOCLEAR);
		h->refcount_order = get_be32(p + H_REFCOUNT_ORDER);
		h->header_length = get_be32(p + H_LENGTH);
		if (h->header_length < V3_LENGTH || h->header_length > max)
			return err_set(e, EINVAL, "%s: header of %u bytes", path, h->header_length);
		if (h->refcount_order > 6)
			return err_set(e, EINVAL,
				       "%s: refcounts of 2^%u bits; qcow2 allows 2^0 to 2^6", path,
				       h->refcount_order);
	}
	r = check_features(h, path, crypt, e);
	if (r)
		return r;
	if (h->incompatible & COMPRESSION) {
		u8 type = h->header_length > H_COMPRESSION ? p[H_COMPRESSION] : 0;

		if (type > 1)
			return err_set(e, ENOTSUP, "%s: compression type %u", path, type);
		h->zstd = type == 1;
	}
	if (!h->size || h->size % BLOCK_SECTOR || h->size > INT64_MAX / 2)
		return err_set(e, EINVAL, "%s: a disk of %llu bytes", path,
			       (unsigned long long)h->size);
	r = check_table(h, path, "L1 table", h->l1_off, h->l1_size, e);
	if (!r)
		r = check_table(h, path, "refcount table", h->rt_off,
				h->rt_clusters << (h->cluster_bits - 3), e);
	if (r)
		return r;
	l2_bytes = 1ull << (2 * h->cluster_bits - 3);
	if ((h->size + l2_bytes - 1) / l2_bytes > h->l1_size)
		return err_set(e, EINVAL, "%s: L1 table of %u entries is too small for %llu bytes",
			       path, h->l1_size, (unsigned long long)h->size);
	r = read_extensions(p, h->header_length, (u32)(back_off && back_off < max ? back_off : max),
			    path, h, e);
	if (r || !back_off)
		return r;
	if (back_len >= QCOW2_NAME_MAX || back_off > max || back_len > max - back_off ||
	    memchr(p + back_off, 0, back_len))
		return err_set(e, EINVAL, "%s: name of the backing file: %u bytes at %#llx", path,
			       back_len, (unsigned long long)back_off);
	memcpy(h->backing, p + back_off, back_len);
	return 0;
}

int qcow2_header_read(struct block *file, const char *path, struct qcow2_header *h, struct err *e)
{
	u8 *buf = malloc(QCOW2_HEAD);
	int r = buf ? block_rw(file, BLOCK_READ, 0, buf, QCOW2_HEAD) : -ENOMEM;

	if (r)
		err_set(e, -r, "%s: header: %s", path, strerror(-r));
	else
		r = qcow2_header_parse(buf, QCOW2_HEAD, path, h, e);
	free(buf);
	return r;
}

int qcow2_header_make(u8 *p, size_t len, const struct qcow2_header *h, const char *path,
		      struct err *e)
{
	size_t flen = strlen(h->backing_format), blen = strlen(h->backing), at;
	size_t max = MIN(len, 1ull << h->cluster_bits);

	memset(p, 0, len);
	at = h->version == 3 ? V3_LENGTH : V2_LENGTH;
	if (at + 8 + flen + 8 + 8 + blen > max)
		return err_set(e, ENAMETOOLONG,
			       "%s: the name of the backing file does not fit into a cluster",
			       path);
	put_be32(p + H_MAGIC, QCOW2_MAGIC);
	put_be32(p + H_VERSION, h->version);
	put_be32(p + H_CLUSTER_BITS, h->cluster_bits);
	put_be64(p + H_SIZE, h->size);
	put_be32(p + H_L1_SIZE, h->l1_size);
	put_be64(p + H_L1_OFF, h->l1_off);
	put_be64(p + H_RT_OFF, h->rt_off);
	put_be32(p + H_RT_CLUSTERS, (u32)h->rt_clusters);
	if (h->version == 3) {
		put_be32(p + H_REFCOUNT_ORDER, h->refcount_order);
		put_be32(p + H_LENGTH, V3_LENGTH);
	}
	if (flen) {
		put_be32(p + at, EXT_BACKING_FORMAT);
		put_be32(p + at + 4, (u32)flen);
		memcpy(p + at + 8, h->backing_format, flen);
		at += 8 + ((flen + 7) & ~7ull);
	}
	at += 8;			/* EXT_END */
	if (blen) {
		put_be64(p + H_BACKING_OFF, at);
		put_be32(p + H_BACKING_LEN, (u32)blen);
		memcpy(p + at, h->backing, blen);
	}
	return 0;
}

void qcow2_header_patch(u8 *sector, const struct qcow2_header *h)
{
	put_be64(sector + H_SIZE, h->size);
	put_be32(sector + H_L1_SIZE, h->l1_size);
	put_be64(sector + H_L1_OFF, h->l1_off);
	put_be64(sector + H_RT_OFF, h->rt_off);
	put_be32(sector + H_RT_CLUSTERS, (u32)h->rt_clusters);
	if (h->version == 3) {
		put_be64(sector + H_INCOMPATIBLE, h->incompatible);
		put_be64(sector + H_AUTOCLEAR, h->autoclear);
	}
}
