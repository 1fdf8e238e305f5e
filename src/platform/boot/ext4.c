/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ext4.c - files out of an ext2, ext3 or ext4 file system, by libext2fs over an I/O manager that only
 * reads, counts what it reads, and sees blocks as the journal has them.
 *
 * The file system is a guest's, and may be made to hurt. libext2fs bounds links, depth of extents and
 * the like; what it takes from the superblock for sizes of its tables is checked before it sees it; and
 * the budget ends walks that go on and on. */
#include "base/bytes.h"
#include "platform/boot/disk.h"
#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <stdio.h>
#include <stdlib.h>

enum super {	/* ext4 disk layout: offsets in the superblock, which lies at byte 1024 */
	SUPER_OFF = 1024, SUPER_LEN = 1024, S_BLOCKS_LO = 0x04, S_LOG_BLOCK = 0x18,
	S_BLOCKS_PER_GROUP = 0x20, S_INODES_PER_GROUP = 0x28, S_MAGIC = 0x38,
	S_INCOMPAT = 0x60, S_DESC_SIZE = 0xfe, S_BLOCKS_HI = 0x150, MAGIC = 0xef53,
	INCOMPAT_64BIT = 0x80,
};
#define GROUPS_MAX (1u << 18)		/* 32 TiB of the usual groups */
#define BUDGET (2 * GiB)		/* bytes read: kernel, initrd and all that leads to them */
#define BUDGET_READS (1u << 20)

struct ext4 {
	const struct gpt_disk *disk;
	u64 off, len;			/* of the file system on it, bytes */
	u64 budget;
	u32 reads;
	ext2_filsys fs;
	struct struct_io_manager manager;
	struct struct_io_channel channel;
	struct jbd2 *journal;
	ext2_ino_t journal_ino;
	blk64_t *journal_map;		/* journal block to file system block */
	u64 journal_len;		/* blocks */
	struct err err;			/* of our own reading; code 0: none */
};

/* --- the I/O manager --- */

static struct ext4 *of(io_channel c)
{
	return c->private_data;
}

static int read_bytes(struct ext4 *x, u64 off, void *buf, u64 len)
{
	if (off > x->len || len > x->len - off)
		return err_set(&x->err, EINVAL, "its file system reaches beyond its end");
	if (len > x->budget || !x->reads)
		return err_set(&x->err, EINVAL, "its file system is damaged: reading it finds no end");
	x->budget -= len;
	x->reads--;
	return x->disk->read(x->disk->ctx, x->off + off, buf, len, &x->err);
}

/* One block, as it would be after the journal was played back. */
static int read_block(struct ext4 *x, u64 block, u8 *buf, u32 bsize)
{
	bool escaped = false;
	u64 j, at = block, off;
	int r;

	if (x->journal && jbd2_find(x->journal, block, &j, &escaped))
		at = x->journal_map[j];
	if (!mul_ok(at, (u64)bsize, &off))
		off = UINT64_MAX;
	r = read_bytes(x, off, buf, bsize);
	if (!r && escaped)
		put_be32(buf, 0xc03b3998);	/* JBD2's magic */
	return r;
}

static errcode_t io_read64(io_channel c, unsigned long long block, int count, void *data)
{
	struct ext4 *x = of(c);
	u64 bsize = (u64)c->block_size, off, n;
	u8 *p = data;
	int r = 0;

	/* A negative count is bytes. */
	if (count < 0) {
		n = (u64)-(long long)count;
		if (!mul_ok((u64)block, bsize, &off))
			off = UINT64_MAX;
		return read_bytes(x, off, data, n) ? EXT2_ET_SHORT_READ : 0;
	}
	if (!x->journal) {
		if (!mul_ok((u64)block, bsize, &off) || !mul_ok((u64)count, bsize, &n))
			off = n = UINT64_MAX;
		return read_bytes(x, off, data, n) ? EXT2_ET_SHORT_READ : 0;
	}
	for (int i = 0; i < count && !r; i++)
		r = read_block(x, block + (u64)i, p + (u64)i * bsize, (u32)bsize);
	return r ? EXT2_ET_SHORT_READ : 0;
}

static errcode_t io_read(io_channel c, unsigned long block, int count, void *data)
{
	return io_read64(c, block, count, data);
}

static errcode_t io_blksize(io_channel c, int size)
{
	c->block_size = size;
	return 0;
}

static errcode_t io_write(io_channel c, unsigned long block, int count, const void *data)
{
	return EXT2_ET_RO_FILSYS;
}

static errcode_t io_write64(io_channel c, unsigned long long block, int count, const void *data)
{
	return EXT2_ET_RO_FILSYS;
}

static errcode_t io_flush(io_channel c)
{
	return 0;
}

static errcode_t io_close(io_channel c)
{
	return 0;			/* the channel lies in struct ext4 */
}

/* libext2fs hands a manager nothing but a file's name: the name is where we are. */
static errcode_t io_open(const char *name, int flags, io_channel *out)
{
	struct ext4 *x;

	if (sscanf(name, "%p", (void **)&x) != 1)
		return EXT2_ET_BAD_DEVICE_NAME;
	*out = &x->channel;
	return 0;
}

/* --- opening --- */

static int fail(struct ext4 *x, errcode_t r, const char *what, struct err *e)
{
	if (x->err.code) {
		int code = x->err.code;

		return err_set(e, code, "%s: %s", what, x->err.msg);
	}
	if (r == EXT2_ET_NO_MEMORY)
		return err_set(e, ENOMEM, "%s: out of memory", what);
	return err_set(e, EINVAL, "%s: its file system is damaged, or newer than libext2fs (%s)", what,
		       error_message(r));
}

/* What libext2fs would take for the size of its tables. */
static int check_super(const u8 *s, u64 len, struct err *e)
{
	u32 log = get_le32(s + S_LOG_BLOCK), per_group = get_le32(s + S_BLOCKS_PER_GROUP);
	u64 blocks = get_le32(s + S_BLOCKS_LO), bytes;
	u16 desc = get_le16(s + S_DESC_SIZE);

	if (get_le32(s + S_INCOMPAT) & INCOMPAT_64BIT)
		blocks |= (u64)get_le32(s + S_BLOCKS_HI) << 32;
	if (log > 6 || per_group < 256 || per_group > 8ull << (10 + log) || !blocks ||
	    !get_le32(s + S_INODES_PER_GROUP) || desc > 1024 ||
	    !mul_ok(blocks, 1024ull << log, &bytes) || bytes > len ||
	    blocks / per_group >= GROUPS_MAX)
		return err_set(e, EINVAL, "its file system's superblock makes no sense");
	return 0;
}

static int read_journal_block(void *ctx, u64 block, void *buf, struct err *e)
{
	struct ext4 *x = ctx;

	if (block >= x->journal_len)
		return err_set(e, EINVAL, "its journal reaches beyond its end");
	return read_block(x, x->journal_map[block], buf, x->fs->blocksize) ?
	       err_set(e, x->err.code, "%s", x->err.msg) : 0;
}

/* The journal of a guest that did not unmount: where its blocks lie, and what is in them. */
static int open_journal(struct ext4 *x, struct err *e)
{
	ext2_ino_t ino = x->fs->super->s_journal_inum;
	u32 bsize = x->fs->blocksize;
	struct ext2_inode inode;
	u64 n;

	if (!ext2fs_has_feature_journal_needs_recovery(x->fs->super))
		return 0;
	if (!ino)
		return err_set(e, ENOTSUP, "its file system was not unmounted, and its journal is on "
			       "another disk");
	if (ext2fs_read_inode(x->fs, ino, &inode))
		return fail(x, EXT2_ET_CORRUPT_JOURNAL_SB, "journal", e);
	n = EXT2_I_SIZE(&inode) / bsize;
	if (n < 2 || n > (1u << 22) || n * bsize > x->len)
		return err_set(e, EINVAL, "its file system's journal makes no sense");
	x->journal_map = calloc(n, sizeof(*x->journal_map));
	if (!x->journal_map)
		return err_set(e, ENOMEM, "out of memory");
	for (u64 i = 0; i < n; i++) {
		errcode_t r = ext2fs_bmap2(x->fs, ino, &inode, NULL, 0, i, NULL,
					   &x->journal_map[i]);

		if (r || !x->journal_map[i])
			return fail(x, r ? r : EXT2_ET_CORRUPT_JOURNAL_SB, "journal", e);
	}
	x->journal_len = n;
	return jbd2_open(&x->journal, read_journal_block, x, n, bsize, e);
}

static errcode_t open_fs(struct ext4 *x)
{
	char name[32];

	x->channel = (struct struct_io_channel){
		.magic = EXT2_ET_MAGIC_IO_CHANNEL, .manager = &x->manager, .name = (char *)"disk",
		.block_size = 1024, .refcount = 1, .private_data = x,
	};
	snprintf(name, sizeof(name), "%p", (void *)x);
	return ext2fs_open2(name, NULL, EXT2_FLAG_64BITS, 0, 0, &x->manager, &x->fs);
}

int ext4_open(struct ext4 **out, const struct gpt_disk *d, u64 off, u64 len, struct err *e)
{
	u8 super[SUPER_LEN];
	struct ext4 *x;
	errcode_t er;
	int r;

	*out = NULL;
	if (off > d->size || len > d->size - off || len < SUPER_OFF + SUPER_LEN)
		return -ENOEXEC;
	r = d->read(d->ctx, off + SUPER_OFF, super, SUPER_LEN, e);
	if (r)
		return r;
	if (get_le16(super + S_MAGIC) != MAGIC)
		return -ENOEXEC;
	r = check_super(super, len, e);
	if (r)
		return r;
	x = calloc(1, sizeof(*x));
	if (!x)
		return err_set(e, ENOMEM, "out of memory");
	x->disk = d;
	x->off = off;
	x->len = len;
	x->budget = BUDGET;
	x->reads = BUDGET_READS;
	x->manager = (struct struct_io_manager){
		.magic = EXT2_ET_MAGIC_IO_MANAGER, .name = "penta", .open = io_open,
		.close = io_close, .set_blksize = io_blksize, .read_blk = io_read,
		.write_blk = io_write, .flush = io_flush, .read_blk64 = io_read64,
		.write_blk64 = io_write64,
	};
	er = open_fs(x);
	r = er ? fail(x, er, "open", e) : open_journal(x, e);
	/* The superblock and the group descriptors are in the journal, too: once more, through it. */
	if (!r && x->journal) {
		ext2fs_free(x->fs);
		x->fs = NULL;
		er = open_fs(x);
		r = er ? fail(x, er, "open", e) : 0;
	}
	if (r) {
		ext4_close(x);
		return r;
	}
	*out = x;
	return 0;
}

void ext4_close(struct ext4 *x)
{
	if (!x)
		return;
	if (x->fs)
		ext2fs_free(x->fs);
	jbd2_close(x->journal);
	free(x->journal_map);
	free(x);
}

/* --- files --- */

int ext4_read_file(struct ext4 *x, const char *path, u64 max, u8 **data, u64 *len, struct err *e)
{
	struct ext2_inode inode;
	ext2_file_t f = NULL;
	ext2_ino_t ino;
	unsigned got;
	errcode_t r;
	u64 size, done = 0;
	u8 *buf;

	*data = NULL;
	r = ext2fs_namei_follow(x->fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, &ino);
	if (r == EXT2_ET_FILE_NOT_FOUND)
		return -ENOENT;
	if (!r)
		r = ext2fs_read_inode(x->fs, ino, &inode);
	if (r)
		return fail(x, r, path, e);
	size = EXT2_I_SIZE(&inode);
	if (!LINUX_S_ISREG(inode.i_mode))
		return err_set(e, EINVAL, "%s is no regular file", path);
	if (!size || size > max)
		return err_set(e, EFBIG, "%s has %llu bytes; up to %llu are expected", path,
			       (unsigned long long)size, (unsigned long long)max);
	buf = malloc(size);
	if (!buf)
		return err_set(e, ENOMEM, "%s: out of memory", path);
	r = ext2fs_file_open2(x->fs, ino, &inode, 0, &f);
	while (!r && done < size) {
		r = ext2fs_file_read(f, buf + done, (unsigned)MIN(size - done, (u64)MiB), &got);
		if (!r && !got)
			r = EXT2_ET_SHORT_READ;
		done += got;
	}
	if (f)
		ext2fs_file_close(f);
	if (r) {
		free(buf);
		return fail(x, r, path, e);
	}
	*data = buf;
	*len = size;
	return 0;
}

void ext4_uuid(const struct ext4 *x, char text[37])
{
	const u8 *u = x->fs->super->s_uuid;

	snprintf(text, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12],
		 u[13], u[14], u[15]);
}
