/* SPDX-License-Identifier: GPL-2.0-or-later */
/* jbd2.c - read ext4's journal, as its recovery would, but write nothing: which blocks of the file
 * system have a newer content in the journal, and where.
 * After: the ext4 disk layout (Linux: Documentation/filesystems/ext4/journal.rst), "Journal (jbd2)".
 *
 *	superblock | descriptor data data ... [revoke] commit | descriptor data ... commit | ...
 *	            `------------ transaction n ------------'    n + 1, and round at the end
 *
 * Checksums of blocks are not looked at: a commit block is written behind a flush, which our disks
 * honour. Fast commits are not played back; what they hold is in no block. */
#include "base/bytes.h"
#include "platform/boot/disk.h"
#include <errno.h>
#include <stdlib.h>

#define JBD2_MAGIC 0xc03b3998u
#define REVOKED_MAX (1u << 20)

enum jbd2_type { DESCRIPTOR = 1, COMMIT = 2, SUPER_V1 = 3, SUPER_V2 = 4, REVOKE = 5 };
enum jbd2_layout {	/* big-endian offsets */
	H_MAGIC = 0, H_TYPE = 4, H_SEQUENCE = 8, H_LEN = 12,
	S_BLOCKSIZE = 12, S_MAXLEN = 16, S_FIRST = 20, S_SEQUENCE = 24, S_START = 28,
	S_INCOMPAT = 40, S_NUM_FC = 84,
	R_COUNT = 12, R_ENTRIES = 16,
};
enum jbd2_incompat {
	F_REVOKE = 1, F_64BIT = 2, F_ASYNC_COMMIT = 4, F_CSUM_V2 = 8, F_CSUM_V3 = 0x10,
	F_FAST_COMMIT = 0x20,
	F_KNOWN = F_REVOKE | F_64BIT | F_ASYNC_COMMIT | F_CSUM_V2 | F_CSUM_V3 | F_FAST_COMMIT,
};
enum tag_flag { TAG_ESCAPE = 1, TAG_SAME_UUID = 2, TAG_DELETED = 4, TAG_LAST = 8 };

struct entry { u64 fs_block, block; u32 seq; bool escaped; };
struct revoked { u64 fs_block; u32 seq; };

struct jbd2 {
	jbd2_read_fn *read;
	void *ctx;
	u32 bsize, first, end;		/* the log is [first, end) */
	u32 incompat;
	struct entry *entry;		/* sorted, one for each block, when open */
	size_t n, cap;
	struct revoked *rev;
	size_t nrev, caprev;
};

static int grow(void **p, size_t *cap, size_t n, size_t size, struct err *e)
{
	size_t want = *cap ? *cap * 2 : 256;
	void *q;

	if (n < *cap)
		return 0;
	q = realloc(*p, want * size);
	if (!q)
		return err_set(e, ENOMEM, "out of memory");
	*p = q;
	*cap = want;
	return 0;
}

static u32 next(const struct jbd2 *j, u32 block)
{
	return block + 1 >= j->end ? j->first : block + 1;
}

static size_t tag_len(const struct jbd2 *j)
{
	if (j->incompat & F_CSUM_V3)
		return 16;
	return 8 + (j->incompat & F_64BIT ? 4 : 0) + (j->incompat & F_CSUM_V2 ? 2 : 0);
}

/* The data blocks that follow a descriptor at *@at; moves *@at to the last of them. */
static int take_tags(struct jbd2 *j, const u8 *b, u32 seq, u32 *at, u64 *left, struct err *e)
{
	size_t len = tag_len(j), off = H_LEN, end = j->bsize;
	u32 flags = 0;

	if (j->incompat & (F_CSUM_V2 | F_CSUM_V3))
		end -= 4;		/* the descriptor's checksum */
	while (!(flags & TAG_LAST) && off + len <= end && *left) {
		const u8 *t = b + off;
		u64 block = get_be32(t);
		int r;

		if (j->incompat & F_CSUM_V3) {
			flags = get_be32(t + 4);
			block |= j->incompat & F_64BIT ? (u64)get_be32(t + 8) << 32 : 0;
		} else {
			flags = get_be16(t + 6);
			block |= j->incompat & F_64BIT ? (u64)get_be32(t + 8) << 32 : 0;
		}
		off += len + (flags & TAG_SAME_UUID ? 0 : 16);
		*at = next(j, *at);
		--*left;
		r = grow((void **)&j->entry, &j->cap, j->n, sizeof(*j->entry), e);
		if (r)
			return r;
		if (!(flags & TAG_DELETED))
			j->entry[j->n++] = (struct entry){ block, *at, seq, flags & TAG_ESCAPE };
	}
	return 0;
}

static int take_revoked(struct jbd2 *j, const u8 *b, u32 seq, struct err *e)
{
	size_t len = j->incompat & F_64BIT ? 8 : 4;
	u32 end = MIN(get_be32(b + R_COUNT), j->bsize);

	for (size_t off = R_ENTRIES; off + len <= end; off += len) {
		int r = grow((void **)&j->rev, &j->caprev, j->nrev, sizeof(*j->rev), e);

		if (r)
			return r;
		if (j->nrev >= REVOKED_MAX)
			return err_set(e, EINVAL, "its journal revokes too many blocks");
		j->rev[j->nrev++] = (struct revoked){
			len == 8 ? get_be64(b + off) : get_be32(b + off), seq };
	}
	return 0;
}

/* All transactions that have a commit block. */
static int scan(struct jbd2 *j, u32 at, u32 seq, u8 *b, struct err *e)
{
	u64 left = j->end - j->first;	/* blocks that can still be the log's */
	size_t whole = 0, whole_rev = 0;

	for (; left; left--, at = next(j, at)) {
		int r = j->read(j->ctx, at, b, e);

		if (r)
			return r;
		if (get_be32(b + H_MAGIC) != JBD2_MAGIC || get_be32(b + H_SEQUENCE) != seq)
			break;
		switch (get_be32(b + H_TYPE)) {
		case DESCRIPTOR:
			r = take_tags(j, b, seq, &at, &left, e);
			break;
		case REVOKE:
			r = take_revoked(j, b, seq, e);
			break;
		case COMMIT:
			whole = j->n;
			whole_rev = j->nrev;
			seq++;
			break;
		default:
			left = 1;
		}
		if (r)
			return r;
		if (!left)
			break;
	}
	j->n = whole;
	j->nrev = whole_rev;
	return 0;
}

/* By block, then age; numbers of transactions wrap. */
static int cmp_entry(const void *pa, const void *pb)
{
	const struct entry *a = pa, *b = pb;

	if (a->fs_block != b->fs_block)
		return a->fs_block < b->fs_block ? -1 : 1;
	if (a->seq != b->seq)
		return (s32)(a->seq - b->seq) < 0 ? -1 : 1;
	return 0;
}

static int cmp_revoked(const void *pa, const void *pb)
{
	const struct revoked *a = pa, *b = pb;

	if (a->fs_block != b->fs_block)
		return a->fs_block < b->fs_block ? -1 : 1;
	return a->seq == b->seq ? 0 : (s32)(a->seq - b->seq) < 0 ? -1 : 1;
}

static bool is_revoked(const struct jbd2 *j, const struct entry *en)
{
	size_t lo = 0, hi = j->nrev;

	/* The newest that revokes this block is the last of its run. */
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (j->rev[mid].fs_block <= en->fs_block)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && j->rev[lo - 1].fs_block == en->fs_block &&
	       (s32)(j->rev[lo - 1].seq - en->seq) >= 0;
}

/* Leave the newest content of each block, unless it was revoked later. */
static void settle(struct jbd2 *j)
{
	size_t n = 0;

	if (j->n)
		qsort(j->entry, j->n, sizeof(*j->entry), cmp_entry);
	if (j->nrev)
		qsort(j->rev, j->nrev, sizeof(*j->rev), cmp_revoked);
	for (size_t i = 0; i < j->n; i++)
		if ((i + 1 == j->n || j->entry[i + 1].fs_block != j->entry[i].fs_block) &&
		    !is_revoked(j, &j->entry[i]))
			j->entry[n++] = j->entry[i];
	j->n = n;
}

static int open_it(struct jbd2 *j, u64 nblocks, u8 *b, u32 *start, struct err *e)
{
	u32 type, seq, fc;
	int r = j->read(j->ctx, 0, b, e);

	if (r)
		return r;
	type = get_be32(b + H_TYPE);
	if (get_be32(b + H_MAGIC) != JBD2_MAGIC || (type != SUPER_V1 && type != SUPER_V2) ||
	    get_be32(b + S_BLOCKSIZE) != j->bsize)
		return err_set(e, EINVAL, "its file system's journal has no superblock");
	j->incompat = type == SUPER_V2 ? get_be32(b + S_INCOMPAT) : 0;
	if (j->incompat & ~(u32)F_KNOWN)
		return err_set(e, ENOTSUP, "its file system was not unmounted, and its journal is "
			       "of a kind that I cannot read (%#x)", j->incompat);
	j->first = get_be32(b + S_FIRST);
	j->end = get_be32(b + S_MAXLEN);
	fc = j->incompat & F_FAST_COMMIT ? get_be32(b + S_NUM_FC) : 0;
	if (j->incompat & F_FAST_COMMIT)
		fc = fc ? fc : 256;	/* the kernel's usual number */
	*start = get_be32(b + S_START);
	seq = get_be32(b + S_SEQUENCE);
	if (j->end > nblocks || fc >= j->end || !j->first || j->first >= j->end - fc ||
	    (*start && (*start < j->first || *start >= j->end - fc)))
		return err_set(e, EINVAL, "its file system's journal makes no sense");
	j->end -= fc;
	if (!*start)
		return 0;
	r = scan(j, *start, seq, b, e);
	if (!r)
		settle(j);
	return r;
}

int jbd2_open(struct jbd2 **out, jbd2_read_fn *read, void *ctx, u64 nblocks, u32 bsize,
	      struct err *e)
{
	struct jbd2 *j = calloc(1, sizeof(*j));
	u8 *b = malloc(bsize);
	u32 start = 0;
	int r;

	*out = NULL;
	if (!j || !b) {
		r = err_set(e, ENOMEM, "out of memory");
	} else {
		*j = (struct jbd2){ .read = read, .ctx = ctx, .bsize = bsize };
		r = open_it(j, nblocks, b, &start, e);
	}
	free(b);
	if (r || !j->n) {
		jbd2_close(j);
		return r;
	}
	*out = j;
	return 0;
}

bool jbd2_find(const struct jbd2 *j, u64 fs_block, u64 *block, bool *escaped)
{
	size_t lo = 0, hi = j->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (j->entry[mid].fs_block == fs_block) {
			*block = j->entry[mid].block;
			*escaped = j->entry[mid].escaped;
			return true;
		}
		if (j->entry[mid].fs_block < fs_block)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

void jbd2_close(struct jbd2 *j)
{
	if (!j)
		return;
	free(j->entry);
	free(j->rev);
	free(j);
}
