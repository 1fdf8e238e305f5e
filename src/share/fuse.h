/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse.h - the FUSE protocol as facts: opcodes, flags, and where fields lie. All little-endian here.
 * After: Linux include/uapi/linux/fuse.h. */
#ifndef PENTA_SHARE_FUSE_H
#define PENTA_SHARE_FUSE_H

enum { FUSE_MAJOR = 7, FUSE_MINOR = 36, FUSE_MINOR_MIN = 27, FUSE_ROOT = 1 };

enum fuse_op {
	FUSE_LOOKUP = 1, FUSE_FORGET = 2, FUSE_GETATTR = 3, FUSE_SETATTR = 4, FUSE_READLINK = 5,
	FUSE_SYMLINK = 6, FUSE_MKNOD = 8, FUSE_MKDIR = 9, FUSE_UNLINK = 10, FUSE_RMDIR = 11,
	FUSE_RENAME = 12, FUSE_LINK = 13, FUSE_OPEN = 14, FUSE_READ = 15, FUSE_WRITE = 16,
	FUSE_STATFS = 17, FUSE_RELEASE = 18, FUSE_FSYNC = 20, FUSE_SETXATTR = 21,
	FUSE_GETXATTR = 22, FUSE_LISTXATTR = 23, FUSE_REMOVEXATTR = 24, FUSE_FLUSH = 25,
	FUSE_INIT = 26, FUSE_OPENDIR = 27, FUSE_READDIR = 28, FUSE_RELEASEDIR = 29,
	FUSE_FSYNCDIR = 30, FUSE_CREATE = 35, FUSE_INTERRUPT = 36, FUSE_DESTROY = 38,
	FUSE_BATCH_FORGET = 42, FUSE_FALLOCATE = 43, FUSE_READDIRPLUS = 44, FUSE_RENAME2 = 45,
	FUSE_LSEEK = 46, FUSE_SYNCFS = 50, FUSE_TMPFILE = 51, FUSE_OPS
};

/* INIT flags that are of use here. */
#define FUSE_ASYNC_READ		(1u << 0)
#define FUSE_ATOMIC_O_TRUNC	(1u << 3)
#define FUSE_BIG_WRITES		(1u << 5)
#define FUSE_AUTO_INVAL_DATA	(1u << 12)
#define FUSE_DO_READDIRPLUS	(1u << 13)
#define FUSE_READDIRPLUS_AUTO	(1u << 14)
#define FUSE_ASYNC_DIO		(1u << 15)
#define FUSE_PARALLEL_DIROPS	(1u << 18)
#define FUSE_MAX_PAGES		(1u << 22)
#define FUSE_KILLPRIV_V2	(1u << 28)

enum {
	FUSE_IN_HEADER = 40,	/* len, opcode: u32; unique, nodeid: u64; uid, gid, pid, pad: u32 */
	FUSE_OUT_HEADER = 16,	/* len: u32; error: s32; unique: u64 */
	FUSE_ATTR = 88, FUSE_ATTR_OUT = 16 + FUSE_ATTR, FUSE_ENTRY_OUT = 40 + FUSE_ATTR,
	FUSE_OPEN_OUT = 16, FUSE_WRITE_OUT = 8, FUSE_STATFS_OUT = 80, FUSE_XATTR_OUT = 8,
	FUSE_LSEEK_OUT = 8, FUSE_INIT_IN = 16, FUSE_INIT_OUT = 64,
	FUSE_RW_IN = 40,	/* fh, offset: u64; size, flags: u32; lock owner: u64; flags, pad: u32 */
	FUSE_DIRENT = 24,	/* ino, off: u64; namelen, type: u32 */
};

/* SETATTR: which fields are meant. */
enum {
	FATTR_MODE = 1, FATTR_UID = 2, FATTR_GID = 4, FATTR_SIZE = 8, FATTR_ATIME = 16,
	FATTR_MTIME = 32, FATTR_FH = 64, FATTR_ATIME_NOW = 128, FATTR_MTIME_NOW = 256,
	FATTR_KILL_SUIDGID = 2048,
};
enum { FUSE_GETATTR_FH = 1, FUSE_WRITE_KILL = 4, FUSE_OPEN_KILL = 1, FUSE_FSYNC_DATA = 1 };

#endif
