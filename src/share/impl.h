/* SPDX-License-Identifier: GPL-2.0-or-later */
/* impl.h - between the files of src/share: nodes, handles and requests.
 *
 * A node is a file that the guest knows by number. It has a path (its parent's node and one name), an
 * identity (device, inode, time of birth), and sometimes an O_PATH descriptor: these are a cache, as
 * large as the process's limit allows. A node without one is found again by its path, and must then
 * have its identity; else the guest gets ESTALE, never another file. A machine that is restored has
 * nodes without descriptors: the same case.
 *
 * A node whose name was removed through us keeps its descriptor (orphan), as a process would. */
#ifndef PENTA_SHARE_IMPL_H
#define PENTA_SHARE_IMPL_H

#include "share/fuse.h"
#include "share/share.h"
#include <sys/stat.h>

#define NODE_NAME_MAX 255u
#define DEPTH_MAX 4096u
#define PINS_MAX 8u
#define IN_MAX (128 * 1024u)		/* of a request but a WRITE's data: 64 KiB of attribute, and more */
#define OUT_MAX (128 * 1024u)		/* of an answer but a READ's data */
#define MAPPED_XATTR "user.penta.owner"

struct node {
	struct node *id_next, *ino_next;	/* hash chains */
	u64 id, nlookup;
	u64 dev, ino, btime_ns;			/* identity */
	u32 type;				/* S_IFMT of its mode */
	bool hashed;				/* found by identity; no more once another has its inode */
	bool orphan;				/* its name is gone */
	bool mark;				/* share_load()'s */
	u32 refs;				/* children and handles */
	u32 pins;				/* its descriptor is in use now */
	int fd;					/* O_PATH, or -1 */
	struct node *newer, *older;		/* those with descriptors, by last use */
	struct node *parent;			/* NULL: the root, or no path */
	struct node *walk;			/* node_fd()'s */
	struct handle *handles;
	char *name;
};

struct handle {
	struct handle *next;			/* of the same node */
	struct node *n;
	int fd;					/* -1: to be opened again (after a restore) */
	u32 index, gen;
	u32 flags;				/* of open() */
	bool dir;
	u64 pos;				/* dir: where the descriptor stands */
};

struct share {
	bool readonly, mapped, inited;
	bool cannot_chown;			/* the host said so */
	u32 uid, gid;				/* who serves */
	u64 next_id;
	struct node *root;
	struct node **by_id, **by_ino;
	unsigned nhash;				/* of both; a power of two */
	unsigned nnodes, nodes_max;
	struct node *newest, *oldest;
	unsigned nfds, fds_max, norphans;
	struct handle **handle;			/* handles_max of them */
	unsigned nhandles, handles_max, handle_next;
	u32 gen;
	struct node *pinned[PINS_MAX];
	unsigned npinned;
	struct iovec iov[512];
	u8 in[IN_MAX], out[OUT_MAX], scratch[64 * 1024];
};

struct req {
	struct share *s;
	u32 op, uid, gid;
	u64 nodeid;
	const u8 *arg;				/* after the header, copied; */
	size_t len;				/* ... so many bytes */
	const struct iovec *in, *out;
	unsigned nin, nout;
	u64 in_len;				/* of the whole request */
	u64 room;				/* for the answer's body */
	size_t body;				/* bytes of it: in s->out, or at their place already */
	bool direct;				/* ... at their place already */
	bool silent;				/* no answer is due */
};

/* --- node.c --- */

/* The node of the guest's number, or NULL. */
struct node *node_get(struct share *s, u64 id);
/* Its descriptor, to be used until the request ends; -ESTALE when it is not to be found any more. */
int node_fd(struct share *s, struct node *n);
/* The file @name of directory @dir: *@out counts one lookup more, @st is its state. */
int node_lookup(struct share *s, struct node *dir, const char *name, struct node **out,
		struct statx *st);
/* The same for a file that is open: @fd, O_PATH, is taken. @dir NULL: it has no name. */
int node_of_fd(struct share *s, int fd, struct node *dir, const char *name, struct node **out,
	       struct statx *st);
void node_forget(struct share *s, struct node *n, u64 nlookup);
/* The one known under this very path, or NULL; what is not known there stays so. */
struct node *node_at(struct share *s, struct node *dir, const char *name);
void node_unlinked(struct share *s, struct node *n);	/* its name is gone */
void node_moved(struct share *s, struct node *n, struct node *dir, const char *name);
/* Only the first @keep descriptors are needed still; 0: the request is over. */
void nodes_unpin(struct share *s, unsigned keep);
void node_unref(struct share *s, struct node *n);
struct node *node_add(struct share *s, u64 id);		/* for share_load() */
void node_hash_ino(struct share *s, struct node *n);
void nodes_free(struct share *s, bool keep_root);
/* One component below @dir_fd: never "..", a symlink or a mount's magic, whatever the name says. */
int open_below(int dir_fd, const char *name, u64 flags, u64 mode);
int stat_fd(int fd, struct statx *st);
u64 stat_dev(const struct statx *st);

int handle_new(struct share *s, struct node *n, int fd, u32 flags, bool dir, struct handle **out);
struct handle *handle_get(struct share *s, u64 fh, bool dir);
int handle_fd(struct share *s, struct handle *h);	/* opens it again if need be */
u64 handle_number(const struct handle *h);
void handle_free(struct share *s, struct handle *h);

/* --- attr.c --- */

struct mapped {			/* what a file's attribute says in place of the host's */
	u32 uid, gid, mode, rdev_major, rdev_minor;
};
/* "/proc/self/fd/N", for calls that take no O_PATH descriptor. */
struct fd_path { char s[32]; };
struct fd_path fd_path(int fd);
bool mapped_get(struct share *s, int fd, u32 type, struct mapped *m);
int mapped_set(int fd, const struct mapped *m);
void put_attr(struct share *s, int fd, const struct statx *st, u8 *b);
/* A file was made for the request's user: give it to them. @mode: with its type. */
int set_owner(const struct req *r, int dir_fd, int fd, u32 mode, u32 rdev);
/* What of a mode the host's file gets; @type: S_IFMT bits. */
u32 host_mode(const struct share *s, u32 mode, u32 type);
void kill_suid(struct share *s, int fd);
int op_getattr(struct req *r);
int op_setattr(struct req *r);
int op_setxattr(struct req *r);
int op_getxattr(struct req *r);
int op_listxattr(struct req *r);
int op_removexattr(struct req *r);

/* --- share.c: requests --- */

/* Where the request's @len bytes of arguments lie, the rest coming next; NULL: too short. */
const u8 *take(struct req *r, size_t len);
/* The next argument that ends in NUL: one component of a path. */
int take_name(struct req *r, const char **name);
int take_node(struct req *r, u64 id, struct node **n, int *fd);	/* ... and its descriptor */
u8 *answer(struct req *r, size_t len);	/* @len zero bytes of body; NULL: no room for them */
void put_entry(struct share *s, const struct node *n, int fd, const struct statx *st, u8 *b);
int answer_entry(struct req *r, struct node *n, const struct statx *st);
unsigned iov_slice(const struct iovec *iov, unsigned niov, u64 off, u64 len, struct iovec *to,
		   unsigned max);

/* --- names.c, file.c, dir.c --- */

int op_lookup(struct req *r);
int op_readlink(struct req *r);
int op_symlink(struct req *r);
int op_mknod(struct req *r);
int op_mkdir(struct req *r);
int op_unlink(struct req *r);
int op_rmdir(struct req *r);
int op_rename(struct req *r);
int op_rename2(struct req *r);
int op_link(struct req *r);
int op_open(struct req *r);
int op_create(struct req *r);
int op_tmpfile(struct req *r);
int op_read(struct req *r);
int op_write(struct req *r);
int op_release(struct req *r);
int op_fsync(struct req *r);
int op_fallocate(struct req *r);
int op_lseek(struct req *r);
int op_statfs(struct req *r);
int op_syncfs(struct req *r);
int op_opendir(struct req *r);
int op_readdir(struct req *r);
int op_readdirplus(struct req *r);
int op_releasedir(struct req *r);
int op_fsyncdir(struct req *r);
int reopen(int path_fd, u32 flags);	/* the file of an O_PATH descriptor, opened */

#endif
