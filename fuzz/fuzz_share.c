/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_share.c - a shared folder under random FUSE requests: most of them nearly right, with numbers and
 * names that earlier answers gave, some broken anywhere. Beside the folder lies a file that symlinks in
 * it point to, and the host moves things about meanwhile. In the end what lies outside must be as it was,
 * nothing outside may have been opened, and what the guest knew must survive a save and a load; a saved
 * state with bytes changed is refused or harmless.
 * Options: fuzz.h. */
#include "fuzz.h"
#include "base/bytes.h"
#include "base/trace.h"
#include "share/fuse.h"
#include "share/share.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SECRET "nobody may read or write this"
#define KNOWN 64

static u64 rng_state;
static u64 rnd(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state;
}
static u64 below(u64 n) { return rnd() % n; }

struct world {
	char dir[64], inside[96];
	struct share *s;
	u64 node[KNOWN], fh[KNOWN], dirfh[KNOWN];
	u8 out[300000], in[300000];
	unsigned long done, ok;
};

static const char *const names[] = {
	"a", "b", "c", "dir", "dir2", "link", "up", "fifo", "x y", "..", ".", "a/b", "../secret", "",
	"/etc/passwd", "sub", "dev", "\xff\xfe", "user.one", "user.two", "user.penta.owner",
	"security.capability", "secret",
};

static void die(struct world *w, const char *what)
{
	fprintf(stderr, "fuzz_share: %s (in %s)\n", what, w->dir);
	abort();
}

static int rm_one(const char *p, const struct stat *st, int flag, struct FTW *f)
{
	chmod(p, 0700);
	return remove(p);
}

static void put_file(const char *dir, const char *name, const char *text)
{
	char p[200];
	int fd;

	snprintf(p, sizeof(p), "%s/%s", dir, name);
	/* The guest may have put a symlink there that leads out: the host is wary of those, too. */
	fd = open(p, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK, 0644);
	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		errno = 0;
	if (fd >= 0)
		close(fd);
}

static int open_dir(struct world *w)
{
	return open(w->inside, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static void world_new(struct world *w)
{
	struct share_opts o = { .readonly = below(8) == 0, .mapped = below(3) == 0,
				.nodes_max = below(4) ? 0 : 20 };
	struct err e = { 0 };

	strcpy(w->dir, "/tmp/fuzz-share-XXXXXX");
	if (!mkdtemp(w->dir))
		abort();
	put_file(w->dir, "secret", SECRET);
	snprintf(w->inside, sizeof(w->inside), "%s/in", w->dir);
	if (mkdir(w->inside, 0755) || chdir(w->inside) || mkdir("dir", 0755) || mkdir("dir/sub", 0755) ||
	    symlink("../secret", "link") || symlink("..", "up") || mkfifo("fifo", 0600))
		abort();
	put_file(w->inside, "a", "aaaa");
	put_file(w->inside, "dir/b", "bbbb");
	o.dir_fd = open_dir(w);
	if (share_new(&w->s, &o, &e) < 0)
		die(w, e.msg);
	for (unsigned i = 0; i < KNOWN; i++)
		w->node[i] = FUSE_ROOT;
}

static void world_free(struct world *w)
{
	struct stat st;
	char b[100] = "", p[100];
	int fd;

	share_free(w->s);
	snprintf(p, sizeof(p), "%s/secret", w->dir);
	fd = open(p, O_RDONLY);
	if (fd < 0 || read(fd, b, sizeof(b) - 1) < 0 || strcmp(b, SECRET) || fstat(fd, &st) ||
	    (st.st_mode & 07777) != 0644 || st.st_nlink != 1 || st.st_uid != geteuid())
		die(w, "what lies outside the folder was changed");
	close(fd);
	if (chdir("/tmp"))
		abort();
	nftw(w->dir, rm_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Is any descriptor of ours on the file outside? */
static void check_outside(struct world *w)
{
	char p[100];
	struct stat out, st;

	snprintf(p, sizeof(p), "%s/secret", w->dir);
	if (stat(p, &out))
		die(w, "the file outside is gone");
	for (int fd = 3; fd < 256; fd++)
		if (!fstat(fd, &st) && st.st_ino == out.st_ino && st.st_dev == out.st_dev)
			die(w, "a descriptor leads outside the folder");
}

static u64 some_node(struct world *w)
{
	switch (below(12)) {
	case 0: return rnd();
	case 1: return below(200);
	case 2: return FUSE_ROOT;
	default: return w->node[below(KNOWN)];
	}
}

static u64 some_fh(struct world *w, bool dir)
{
	return below(20) == 0 ? rnd() : below(20) == 0 ? below(1000) : dir ? w->dirfh[below(KNOWN)] : w->fh[below(KNOWN)];
}

static size_t add_name(struct world *w, size_t at)
{
	const char *n = names[below(ARRAY_SIZE(names))];

	if (below(40) == 0) {		/* long, or without an end */
		size_t len = below(5000);

		memset(w->in + at, 'L', len);
		w->in[at + len] = below(2) ? 0 : 'L';
		return at + len + 1;
	}
	strcpy((char *)w->in + at, n);
	return at + strlen(n) + 1;
}

static u64 some_off(void)
{
	return below(10) == 0 ? rnd() : below(10) == 0 ? (u64)INT64_MAX - below(3) : below(70000);
}

/* A request of operation @op, sensible as far as it goes. Returns its length. */
static size_t request(struct world *w, u32 op)
{
	u8 *a = w->in + FUSE_IN_HEADER;
	size_t at = FUSE_IN_HEADER;
	bool dir = op == FUSE_READDIR || op == FUSE_READDIRPLUS || op == FUSE_RELEASEDIR || op == FUSE_FSYNCDIR;
	static const u32 flags[] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_TRUNC, O_WRONLY | O_APPEND,
				     O_RDWR | O_EXCL, O_RDWR | O_DIRECT | O_NOATIME, O_RDWR | O_PATH,
				     O_RDWR | O_CREAT | O_TMPFILE, 0xffffffff };

	memset(w->in, 0, 256);
	put_le32(w->in + 4, op);
	put_le64(w->in + 8, rnd());
	put_le64(w->in + 16, some_node(w));
	put_le32(w->in + 24, below(4) ? geteuid() : (u32)rnd());
	put_le32(w->in + 28, below(4) ? getegid() : (u32)rnd());
	switch (op) {
	case FUSE_INIT:
		put_le32(a, below(10) ? 7 : (u32)below(10));
		put_le32(a + 4, below(10) ? 38 : (u32)rnd());
		put_le32(a + 12, below(2) ? UINT32_MAX : (u32)rnd());
		at += 16;
		break;
	case FUSE_FORGET:
		put_le64(a, below(4) ? below(4) : rnd());
		at += 8;
		break;
	case FUSE_BATCH_FORGET: {
		u32 n = (u32)below(20);

		put_le32(a, below(5) ? n : (u32)rnd());
		for (u32 i = 0; i < n; i++) {
			put_le64(a + 8 + 16 * i, some_node(w));
			put_le64(a + 16 + 16 * i, below(4) ? below(3) : rnd());
		}
		at += 8 + 16 * n;
		break;
	}
	case FUSE_GETATTR:
		put_le32(a, (u32)below(2));
		put_le64(a + 8, some_fh(w, false));
		at += 16;
		break;
	case FUSE_SETATTR:
		for (unsigned i = 0; i < 88; i++)
			a[i] = below(3) ? 0 : (u8)rnd();
		put_le32(a, (u32)rnd() & (below(2) ? 0xfff : 0x1ff & ~(u32)FATTR_UID & ~(u32)FATTR_GID));
		put_le64(a + 8, some_fh(w, false));
		put_le64(a + 16, below(5) ? below(100000) : rnd() & 0xfffff);
		at += 88;
		break;
	case FUSE_SYMLINK:
		at = add_name(w, at);
		at = add_name(w, at);
		break;
	case FUSE_MKNOD:
		put_le32(a, below(2) ? (u32)rnd() : S_IFREG | 0644);
		put_le32(a + 4, (u32)rnd());
		at = add_name(w, at + 16);
		break;
	case FUSE_MKDIR:
		put_le32(a, (u32)rnd());
		at = add_name(w, at + 8);
		break;
	case FUSE_RENAME: case FUSE_LINK:
		put_le64(a, some_node(w));
		at = add_name(w, at + 8);
		if (op == FUSE_RENAME)
			at = add_name(w, at);
		break;
	case FUSE_RENAME2:
		put_le64(a, some_node(w));
		put_le32(a + 8, below(8) ? (u32)below(4) : (u32)rnd());
		at = add_name(w, at + 16);
		at = add_name(w, at);
		break;
	case FUSE_OPEN: case FUSE_OPENDIR:
		put_le32(a, flags[below(ARRAY_SIZE(flags))]);
		put_le32(a + 4, (u32)below(2));
		at += 8;
		break;
	case FUSE_CREATE: case FUSE_TMPFILE:
		put_le32(a, flags[below(ARRAY_SIZE(flags))]);
		put_le32(a + 4, below(2) ? (u32)rnd() : 0644);
		at = add_name(w, at + 16);
		break;
	case FUSE_READ: case FUSE_WRITE: case FUSE_READDIR: case FUSE_READDIRPLUS:
		put_le64(a, some_fh(w, dir));
		put_le64(a + 8, dir && below(2) ? 0 : op == FUSE_WRITE ? below(70000) : some_off());
		put_le32(a + 16, below(20) ? (u32)below(70000) : (u32)rnd());
		put_le32(a + 20, (u32)below(8));
		at += FUSE_RW_IN;
		if (op == FUSE_WRITE)
			at += below(20) ? get_le32(a + 16) % 70000 : below(100);
		break;
	case FUSE_FALLOCATE:
		put_le64(a, some_fh(w, false));
		put_le64(a + 8, below(20) ? below(100000) : rnd() | 1ull << 62);
		put_le64(a + 16, below(20) ? below(100000) : rnd() | 1ull << 62);
		put_le32(a + 24, below(4) ? (u32)below(4) : (u32)rnd());
		at += 32;
		break;
	case FUSE_LSEEK:
		put_le64(a, some_fh(w, false));
		put_le64(a + 8, some_off());
		put_le32(a + 16, (u32)below(6));
		at += 24;
		break;
	case FUSE_SETXATTR:
		put_le32(a, (u32)below(200));
		put_le32(a + 4, (u32)below(4));
		at = add_name(w, at + 8) + below(250);
		break;
	case FUSE_GETXATTR: case FUSE_LISTXATTR:
		put_le32(a, below(2) ? 0 : (u32)below(300));
		at = op == FUSE_GETXATTR ? add_name(w, at + 8) : at + 8;
		break;
	case FUSE_RELEASE: case FUSE_RELEASEDIR: case FUSE_FSYNC: case FUSE_FSYNCDIR:
		put_le64(a, some_fh(w, dir));
		at += 24;
		break;
	case FUSE_STATFS: case FUSE_READLINK: case FUSE_SYNCFS: case FUSE_DESTROY:
		break;
	default:
		at = add_name(w, at);
	}
	if (below(30) == 0)		/* cut short */
		at = below(at + 1);
	if (below(30) == 0 && at)	/* a byte wrong anywhere */
		w->in[below(at)] ^= (u8)(1u << below(8));
	return at;
}

static void remember(struct world *w, u32 op, size_t n)
{
	const u8 *b = w->out + FUSE_OUT_HEADER;

	n -= FUSE_OUT_HEADER;
	switch (op) {
	case FUSE_LOOKUP: case FUSE_MKDIR: case FUSE_MKNOD: case FUSE_SYMLINK: case FUSE_LINK:
		if (n >= FUSE_ENTRY_OUT)
			w->node[below(KNOWN)] = get_le64(b);
		break;
	case FUSE_CREATE: case FUSE_TMPFILE:
		if (n >= FUSE_ENTRY_OUT + FUSE_OPEN_OUT) {
			w->node[below(KNOWN)] = get_le64(b);
			w->fh[below(KNOWN)] = get_le64(b + FUSE_ENTRY_OUT);
		}
		break;
	case FUSE_OPEN:
		w->fh[below(KNOWN)] = get_le64(b);
		break;
	case FUSE_OPENDIR:
		w->dirfh[below(KNOWN)] = get_le64(b);
		break;
	}
	if (memmem(b, n, SECRET, strlen(SECRET)))
		die(w, "the file outside was read");
}

static void one(struct world *w)
{
	static const u8 often[] = {
		FUSE_LOOKUP, FUSE_LOOKUP, FUSE_LOOKUP, FUSE_OPEN, FUSE_CREATE, FUSE_READ, FUSE_WRITE, FUSE_MKDIR,
		FUSE_OPENDIR, FUSE_READDIR, FUSE_READDIRPLUS, FUSE_RENAME2, FUSE_UNLINK, FUSE_LINK, FUSE_RELEASE,
		FUSE_FORGET, FUSE_SETATTR, FUSE_TMPFILE, FUSE_SYMLINK,
	};
	u32 op = below(2) ? often[below(sizeof(often))] : (u32)below(FUSE_OPS + 3);
	size_t len, room = below(10) ? sizeof(w->out) : below(300), n, cut, cut2;
	struct iovec in[3], out[3];

	if (op == FUSE_SYNCFS || op == FUSE_FSYNC || op == FUSE_FSYNCDIR)
		op = below(50) ? FUSE_LOOKUP : op;	/* the host's disk is slow */
	if (op == FUSE_DESTROY && below(20))
		op = FUSE_LOOKUP;
	len = request(w, op);
	cut = below(len + 1);
	in[0] = (struct iovec){ w->in, cut };
	in[1] = (struct iovec){ w->in + cut, len - cut };
	cut2 = below(room + 1);
	out[0] = (struct iovec){ w->out, cut2 };
	out[1] = (struct iovec){ w->out + cut2, room - cut2 };
	n = share_serve(w->s, in, 2, out, 2);
	w->done++;
	if (n > room)
		die(w, "an answer longer than its room");
	if (n < FUSE_OUT_HEADER)
		return;
	if (get_le32(w->out) != n)
		die(w, "an answer that tells a wrong length");
	if (get_le32(w->out + 4) == 0) {
		w->ok++;
		remember(w, op, n);
	} else if ((s32)get_le32(w->out + 4) > 0 || (s32)get_le32(w->out + 4) < -4095) {
		die(w, "an error that is none");
	}
}

/* The host does things of its own. */
static void host(struct world *w)
{
	switch (below(6)) {
	case 0: rename("dir", "dir2"); break;
	case 1: rename("dir2", "dir"); break;
	case 2: unlink("a"); put_file(w->inside, "a", "new"); break;
	case 3: unlink("b"); if (symlink("../secret", "b")) errno = 0; break;
	case 4: if (rename("dir/sub", "sub")) rename("sub", "dir/sub"); break;
	case 5: if (mkdir("dir", 0755)) errno = 0; break;
	}
}

static void say_init(struct world *w)
{
	size_t n;
	struct iovec in, out = { w->out, sizeof(w->out) };

	memset(w->in, 0, 128);
	put_le32(w->in + 4, FUSE_INIT);
	put_le32(w->in + 40, 7);
	put_le32(w->in + 44, 38);
	in = (struct iovec){ w->in, 56 };
	n = share_serve(w->s, &in, 1, &out, 1);
	if (n != FUSE_OUT_HEADER + FUSE_INIT_OUT)
		die(w, "INIT is not answered");
}

static void save_and_load(struct world *w)
{
	struct err e = { 0 };
	u8 *a, *b;
	size_t na, nb;

	if (share_save(w->s, &a, &na, &e) < 0)
		die(w, e.msg);
	if (below(2)) {			/* damaged */
		u8 *c = malloc(na);

		memcpy(c, a, na);
		for (u64 i = below(4) + 1; i; i--)
			c[below(na)] ^= (u8)(1u << below(8));
		share_load(w->s, c, below(4) ? na : below(na), &e);
		for (unsigned i = 0; i < 50; i++)
			one(w);
		free(c);
		e.code = 0;
	}
	if (share_load(w->s, a, na, &e) < 0)
		die(w, e.msg);
	if (share_save(w->s, &b, &nb, &e) < 0 || na != nb)
		die(w, "loaded state differs from what was saved");
	free(a);
	free(b);
}

static void round_of(u64 seed, unsigned long *done, unsigned long *good)
{
	static struct world w;

	rng_state = seed * 0x9e3779b97f4a7c15ull | 1;
	memset(&w, 0, sizeof(w));
	world_new(&w);
	say_init(&w);
	for (unsigned i = 0; i < 3000; i++) {
		one(&w);
		if (below(100) == 0)
			host(&w);
		if (below(500) == 0)
			save_and_load(&w);
		if (below(300) == 0)
			say_init(&w);
	}
	check_outside(&w);
	*done += w.done;
	*good += w.ok;
	world_free(&w);
}

int main(int argc, char **argv)
{
	struct fuzz f = fuzz_begin(argc, argv, "fuzz_share");
	struct rlimit small = { 512, 512 }, fsize = { 1 << 20, 1 << 20 };
	unsigned long done = 0, good = 0, was = 0;

	log_set_level(LOG_ERROR);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_NOFILE, &small);
	setrlimit(RLIMIT_FSIZE, &fsize);
	share_thread();
	while (fuzz_more(&f, done - was)) {
		was = done;
		round_of(f.seed, &done, &good);
	}
	if (!good && done)
		return 1;		/* it has tested nothing */
	return fuzz_end(&f);
}
