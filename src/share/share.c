// SPDX-License-Identifier: GPL-2.0-or-later
/* share.c - requests in, answers out: the table of operations, the first greeting, and what outlives a
 * save. See share.h and impl.h. */
#include "share/impl.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/trace.h"
#include "vm/ram.h"		// guest_copy
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>

DEFINE_TRACE(share_request, "share.request");

/* --- ranges --- */

unsigned iov_slice(const struct iovec *iov, unsigned niov, u64 off, u64 len, struct iovec *to,
		   unsigned max)
{
	unsigned k = 0;

	for (unsigned i = 0; i < niov && len && k < max; i++) {
		u64 n = iov[i].iov_len;

		if (off >= n) {
			off -= n;
			continue;
		}
		n = MIN(n - off, len);
		to[k++] = (struct iovec){ (u8 *)iov[i].iov_base + off, n };
		len -= n;
		off = 0;
	}
	return k;
}

static u64 iov_len(const struct iovec *iov, unsigned niov)
{
	u64 n = 0;

	for (unsigned i = 0; i < niov; i++)
		n += iov[i].iov_len;
	return n;
}

static size_t iov_get(const struct iovec *iov, unsigned niov, u8 *buf, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < niov && done < len; i++) {
		size_t n = MIN(iov[i].iov_len, len - done);

		guest_copy(buf + done, iov[i].iov_base, n);
		done += n;
	}
	return done;
}

static void iov_put(const struct iovec *iov, unsigned niov, const u8 *buf, size_t len)
{
	for (unsigned i = 0; i < niov && len; i++) {
		size_t n = MIN(iov[i].iov_len, len);

		guest_copy(iov[i].iov_base, buf, n);
		buf += n;
		len -= n;
	}
}

/* --- arguments and answers --- */

const u8 *take(struct req *r, size_t len)
{
	const u8 *p = r->arg;

	if (r->len < len)
		return NULL;
	r->arg += len;
	r->len -= len;
	return p;
}

int take_name(struct req *r, const char **name)
{
	const char *p = (const char *)r->arg, *end = memchr(p, '\0', r->len);

	if (!end || end == p || memchr(p, '/', (size_t)(end - p)) || strcmp(p, ".") == 0 ||
	    strcmp(p, "..") == 0)
		return -EINVAL;
	if (end - p > (long)NODE_NAME_MAX)
		return -ENAMETOOLONG;
	take(r, (size_t)(end - p) + 1);
	*name = p;
	return 0;
}

int take_node(struct req *r, u64 id, struct node **n, int *fd)
{
	*n = node_get(r->s, id);
	*fd = *n ? node_fd(r->s, *n) : -ESTALE;
	return *fd < 0 ? *fd : 0;
}

u8 *answer(struct req *r, size_t len)
{
	if (len > r->room || len > OUT_MAX - FUSE_OUT_HEADER)
		return NULL;
	memset(r->s->out + FUSE_OUT_HEADER, 0, len);
	r->body = len;
	return r->s->out + FUSE_OUT_HEADER;
}

/* Names and attributes are good for a second: what changes on the host is seen by then. */
void put_entry(struct share *s, const struct node *n, int fd, const struct statx *st, u8 *b)
{
	put_le64(b, n->id);
	put_le64(b + 8, 0);		/* generation: numbers are never used again */
	put_le64(b + 16, 1);
	put_le64(b + 24, 1);
	put_le32(b + 32, 0);
	put_le32(b + 36, 0);
	put_attr(s, fd, st, b + 40);
}

int answer_entry(struct req *r, struct node *n, const struct statx *st)
{
	u8 *b = answer(r, FUSE_ENTRY_OUT);
	int fd = node_fd(r->s, n);

	if (!b || fd < 0) {
		r->body = 0;
		node_forget(r->s, n, 1);
		return b ? fd : -EINVAL;
	}
	put_entry(r->s, n, fd, st, b);
	return 0;
}

/* --- the session --- */

static int op_init(struct req *r)
{
	const u32 want = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES |
			 FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |
			 FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_KILLPRIV_V2;
	const u8 *a = take(r, FUSE_INIT_IN);
	u8 *b = answer(r, FUSE_INIT_OUT);
	u32 flags;

	if (!a || !b)
		return -EINVAL;
	put_le32(b, FUSE_MAJOR);
	put_le32(b + 4, FUSE_MINOR);
	if (get_le32(a) > FUSE_MAJOR)
		return 0;		/* it asks again, in our version */
	if (get_le32(a) < FUSE_MAJOR || get_le32(a + 4) < FUSE_MINOR_MIN)
		return -EPROTO;
	flags = get_le32(a + 12) & want;
	put_le32(b + 8, get_le32(a + 8));	/* read-ahead: as it likes */
	put_le32(b + 12, flags);
	put_le16(b + 16, 64);			/* in the background at once; congested from */
	put_le16(b + 18, 48);
	put_le32(b + 20, SHARE_MAX_WRITE);
	put_le32(b + 24, 1);			/* times are exact to the nanosecond */
	put_le16(b + 28, (u16)(flags & FUSE_MAX_PAGES ? SHARE_MAX_WRITE / 4096 : 0));
	r->s->inited = true;
	return 0;
}

static int op_destroy(struct req *r)
{
	share_reset(r->s);
	return 0;
}

static int op_forget(struct req *r)
{
	const u8 *a = take(r, 8);
	struct node *n = node_get(r->s, r->nodeid);

	r->silent = true;
	if (a && n && n != r->s->root)
		node_forget(r->s, n, get_le64(a));
	return 0;
}

static int op_batch_forget(struct req *r)
{
	const u8 *a = take(r, 8);

	r->silent = true;
	for (u32 i = a ? get_le32(a) : 0; i && (a = take(r, 16)); i--) {
		struct node *n = node_get(r->s, get_le64(a));

		if (n && n != r->s->root)
			node_forget(r->s, n, get_le64(a + 8));
	}
	return 0;
}

/* Requests are short: by the time it is read, the one it means is done. */
static int op_interrupt(struct req *r)
{
	r->silent = true;
	return 0;
}

enum { OP_CHANGES = 1, OP_FIRST = 2 };	/* refused when read-only; allowed before INIT */

static const struct { int (*fn)(struct req *r); u8 flags; } ops[FUSE_OPS] = {
	[FUSE_LOOKUP] = { op_lookup, 0 },
	[FUSE_FORGET] = { op_forget, OP_FIRST },
	[FUSE_GETATTR] = { op_getattr, 0 },
	[FUSE_SETATTR] = { op_setattr, OP_CHANGES },
	[FUSE_READLINK] = { op_readlink, 0 },
	[FUSE_SYMLINK] = { op_symlink, OP_CHANGES },
	[FUSE_MKNOD] = { op_mknod, OP_CHANGES },
	[FUSE_MKDIR] = { op_mkdir, OP_CHANGES },
	[FUSE_UNLINK] = { op_unlink, OP_CHANGES },
	[FUSE_RMDIR] = { op_rmdir, OP_CHANGES },
	[FUSE_RENAME] = { op_rename, OP_CHANGES },
	[FUSE_LINK] = { op_link, OP_CHANGES },
	[FUSE_OPEN] = { op_open, 0 },
	[FUSE_READ] = { op_read, 0 },
	[FUSE_WRITE] = { op_write, OP_CHANGES },
	[FUSE_STATFS] = { op_statfs, 0 },
	[FUSE_RELEASE] = { op_release, 0 },
	[FUSE_FSYNC] = { op_fsync, 0 },
	[FUSE_SETXATTR] = { op_setxattr, OP_CHANGES },
	[FUSE_GETXATTR] = { op_getxattr, 0 },
	[FUSE_LISTXATTR] = { op_listxattr, 0 },
	[FUSE_REMOVEXATTR] = { op_removexattr, OP_CHANGES },
	[FUSE_INIT] = { op_init, OP_FIRST },
	[FUSE_OPENDIR] = { op_opendir, 0 },
	[FUSE_READDIR] = { op_readdir, 0 },
	[FUSE_RELEASEDIR] = { op_releasedir, 0 },
	[FUSE_FSYNCDIR] = { op_fsyncdir, 0 },
	[FUSE_CREATE] = { op_create, OP_CHANGES },
	[FUSE_INTERRUPT] = { op_interrupt, OP_FIRST },
	[FUSE_DESTROY] = { op_destroy, OP_FIRST },
	[FUSE_BATCH_FORGET] = { op_batch_forget, OP_FIRST },
	[FUSE_FALLOCATE] = { op_fallocate, OP_CHANGES },
	[FUSE_READDIRPLUS] = { op_readdirplus, 0 },
	[FUSE_RENAME2] = { op_rename2, OP_CHANGES },
	[FUSE_LSEEK] = { op_lseek, 0 },
	[FUSE_SYNCFS] = { op_syncfs, 0 },
	[FUSE_TMPFILE] = { op_tmpfile, OP_CHANGES },
	/* FLUSH: nothing waits here, so the guest need not ask. Locks: the guest keeps its own.
	 * What is not in this table gets ENOSYS, after which Linux does without. */
};

static int serve(struct req *r)
{
	if (r->op >= FUSE_OPS || !ops[r->op].fn)
		return -ENOSYS;
	if (!r->s->inited && !(ops[r->op].flags & OP_FIRST))
		return -EPROTO;
	if (r->s->readonly && ops[r->op].flags & OP_CHANGES)
		return -EROFS;
	return ops[r->op].fn(r);
}

size_t share_serve(struct share *s, const struct iovec *in, unsigned nin, const struct iovec *out,
		   unsigned nout)
{
	struct req r = { .s = s, .in = in, .nin = nin, .out = out, .nout = nout };
	u64 room = iov_len(out, nout);
	size_t got, want = sizeof(s->in);
	u8 *h = s->out;
	int e;

	r.in_len = iov_len(in, nin);
	got = iov_get(in, nin, s->in, FUSE_IN_HEADER);
	if (got < FUSE_IN_HEADER)
		return 0;
	r.op = get_le32(s->in + 4);
	if (r.op == FUSE_WRITE)		/* its data stays where it is */
		want = FUSE_IN_HEADER + FUSE_RW_IN;
	/* The header is copied again with the rest: what is used from here on is this one copy. */
	got = iov_get(in, nin, s->in, MIN(want, r.in_len));
	if (get_le32(s->in + 4) != r.op)
		return 0;
	r.nodeid = get_le64(s->in + 16);
	r.uid = get_le32(s->in + 24);
	r.gid = get_le32(s->in + 28);
	r.arg = s->in + FUSE_IN_HEADER;
	r.len = got - FUSE_IN_HEADER;
	r.room = room > FUSE_OUT_HEADER ? room - FUSE_OUT_HEADER : 0;
	e = r.in_len > sizeof(s->in) && r.op != FUSE_WRITE ? -E2BIG : serve(&r);
	nodes_unpin(s, 0);
	TRACE(share_request, "op=%u node=%llu len=%llu: %d, %zu bytes", r.op,
	      (unsigned long long)r.nodeid, (unsigned long long)r.in_len, e, r.body);
	if (r.silent || room < FUSE_OUT_HEADER)
		return 0;
	if (e < 0)
		r.body = 0;
	put_le32(h, (u32)(FUSE_OUT_HEADER + r.body));
	put_le32(h + 4, (u32)e);
	memcpy(h + 8, s->in + 8, 8);
	iov_put(out, nout, h, r.direct ? FUSE_OUT_HEADER : FUSE_OUT_HEADER + r.body);
	return FUSE_OUT_HEADER + r.body;
}

/* --- life --- */

/* The root from its descriptor @fd, taken. */
static int add_root(struct share *s, int fd, struct err *e)
{
	struct statx st;
	struct node *n;

	if (stat_fd(fd, &st) < 0 || !S_ISDIR(st.stx_mode)) {
		close(fd);
		return err_set(e, ENOTDIR, "shared folder: not a directory");
	}
	n = node_add(s, FUSE_ROOT);
	if (!n) {
		close(fd);
		return err_set(e, ENOMEM, "shared folder: out of memory");
	}
	n->type = S_IFDIR;
	n->dev = stat_dev(&st);
	n->ino = st.stx_ino;
	n->btime_ns = st.stx_mask & STATX_BTIME ?
		(u64)st.stx_btime.tv_sec * 1000000000u + st.stx_btime.tv_nsec : 0;
	n->nlookup = 1;
	n->fd = fd;
	n->refs = 1;
	s->nfds = 1;
	s->newest = s->oldest = n;
	s->root = n;
	s->next_id = FUSE_ROOT + 1;
	node_hash_ino(s, n);
	return 0;
}

int share_new(struct share **out, const struct share_opts *o, struct err *e)
{
	cleanup_close int dir_fd = o->dir_fd;
	struct share *s = calloc(1, sizeof(*s));
	struct rlimit rl = { 1024, 1024 };
	unsigned fds;
	int fd, r;

	if (!s)
		return err_set(e, ENOMEM, "shared folder: out of memory");
	s->readonly = o->readonly;
	s->mapped = o->mapped;
	s->nodes_max = o->nodes_max ? o->nodes_max : 65536;
	s->uid = geteuid();
	s->gid = getegid();
	/* A guest decides how many of them are in use, and a machine may have eight folders: all of them
	 * together get half of the descriptors that the process may have, for files known and open. */
	getrlimit(RLIMIT_NOFILE, &rl);
	fds = (unsigned)MIN(MAX(rl.rlim_cur / 32, 64u), 16384u);
	s->fds_max = s->handles_max = fds;
	s->handle = calloc(s->handles_max, sizeof(*s->handle));
	for (s->nhash = 1024; s->nhash < s->nodes_max / 2; s->nhash *= 2)
		;
	s->by_id = calloc(s->nhash, sizeof(*s->by_id));
	s->by_ino = calloc(s->nhash, sizeof(*s->by_ino));
	if (!s->handle || !s->by_id || !s->by_ino) {
		share_free(s);
		return err_set(e, ENOMEM, "shared folder: out of memory");
	}
	fd = openat(dir_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		r = err_errno(e, "shared folder");
	else
		r = add_root(s, fd, e);
	if (r < 0) {
		share_free(s);
		return r;
	}
	*out = s;
	return 0;
}

static void close_handles(struct share *s)
{
	for (unsigned i = 0; i < s->handles_max && s->nhandles; i++)
		if (s->handle[i])
			handle_free(s, s->handle[i]);
}

void share_free(struct share *s)
{
	if (!s)
		return;
	if (s->handle)
		close_handles(s);
	if (s->by_id && s->by_ino)
		nodes_free(s, false);
	free(s->handle);
	free(s->by_id);
	free(s->by_ino);
	free(s);
}

void share_reset(struct share *s)
{
	nodes_unpin(s, 0);
	close_handles(s);
	nodes_free(s, true);
	s->inited = false;
}

void share_thread(void)
{
	if (unshare(CLONE_FS) < 0)
		log_msg(LOG_WARN, "share: this thread keeps the process's umask: %s", strerror(errno));
	else
		umask(0);
}
