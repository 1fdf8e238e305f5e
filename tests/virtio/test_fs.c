/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file system device: FUSE requests over real rings, its thread, and what is left of open files after
 * a save and a load: those that are the same are open still, those that are not say so. */
#include "unit.h"
#include "base/trace.h"
#include "share/fuse.h"
#include "virtio/drive.h"
#include "virtio/fs.h"
#include <errno.h>
#include <sys/resource.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HIPRIO, REQUEST };

struct rig {
	struct machine *m;
	struct vfs *f;
	struct drive d;
	char dir[40];
	u8 out[8192];
	size_t n;
};

static void device(struct rig *r)
{
	struct share_opts o = { .dir_fd = open(r->dir, O_PATH | O_DIRECTORY | O_CLOEXEC) };
	struct err e = { 0 };

	r->m = dt_machine(1);
	assert_int_equal(vfs_new(&r->f, r->m, "tag", &o, &e), 0);
	assert_int_equal(machine_add_device(r->m, &vfs_class, r->f, "share0", &e), 0);
	drive_attach(&r->d, r->m, vfs_virtio(r->f));
	machine_lock(r->m);
	vfs_class.reset(r->f);
	machine_unlock(r->m);
}

static int setup(void **st)
{
	struct rig *r = calloc(1, sizeof(*r));

	strcpy(r->dir, "/tmp/penta-fs-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	device(r);
	drive_start(&r->d, 0);
	*st = r;
	return 0;
}

static int teardown(void **st)
{
	struct rig *r = *st;
	char cmd[80];

	machine_free(r->m);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", r->dir);
	assert_int_equal(system(cmd), 0);
	free(r);
	return 0;
}

/* A request with arguments @a; its error, 0 when it was done. The answer's body is in r->out. */
static int ask(struct rig *r, u32 op, u64 node, const void *a, size_t len)
{
	u8 b[4096] = { 0 };
	long n = -1;

	put_le32(b, (u32)(FUSE_IN_HEADER + len));
	put_le32(b + 4, op);
	put_le64(b + 8, 77);
	put_le64(b + 16, node);
	put_le32(b + 24, geteuid());
	put_le32(b + 28, getegid());
	memcpy(b + FUSE_IN_HEADER, a, len);
	drive_add(&r->d, REQUEST, b, FUSE_IN_HEADER + len, sizeof(r->out));
	drive_kick(&r->d, REQUEST);
	for (unsigned i = 0; i < 5000 && n < 0; i++) {
		n = drive_get(&r->d, REQUEST, r->out, sizeof(r->out));
		if (n < 0)
			usleep(1000);
	}
	assert_true(n >= FUSE_OUT_HEADER);
	assert_int_equal(get_le32(r->out), n);
	assert_int_equal(get_le64(r->out + 8), 77);
	r->n = (size_t)n - FUSE_OUT_HEADER;
	memmove(r->out, r->out + 4, 4);			/* the error, before the body moves over it */
	int err = (s32)get_le32(r->out);
	memmove(r->out, r->out + FUSE_OUT_HEADER, r->n);
	return -err;
}

static void init(struct rig *r)
{
	u8 a[16] = { 0 };

	put_le32(a, 7);
	put_le32(a + 4, 37);
	put_le32(a + 12, UINT32_MAX);
	assert_int_equal(ask(r, FUSE_INIT, 0, a, sizeof(a)), 0);
	assert_int_equal(get_le32(r->out), 7);
	assert_int_equal(get_le32(r->out + 20), SHARE_MAX_WRITE);
}

/* A new file @name in @dir; returns its node, *fh its handle. */
static u64 create(struct rig *r, u64 dir, const char *name, u64 *fh)
{
	u8 a[64] = { 0 };

	put_le32(a, O_RDWR);
	put_le32(a + 4, 0644);
	strcpy((char *)a + 16, name);
	assert_int_equal(ask(r, FUSE_CREATE, dir, a, 16 + strlen(name) + 1), 0);
	*fh = get_le64(r->out + FUSE_ENTRY_OUT);
	return get_le64(r->out);
}

static int lookup(struct rig *r, u64 dir, const char *name, u64 *node)
{
	int e = ask(r, FUSE_LOOKUP, dir, name, strlen(name) + 1);

	*node = e ? 0 : get_le64(r->out);
	return e;
}

static int rw(struct rig *r, bool write, u64 node, u64 fh, u64 off, const char *text)
{
	u8 a[FUSE_RW_IN + 100] = { 0 };
	size_t len = strlen(text);
	int e;

	put_le64(a, fh);
	put_le64(a + 8, off);
	put_le32(a + 16, (u32)len);
	if (write)
		memcpy(a + FUSE_RW_IN, text, len);
	e = ask(r, write ? FUSE_WRITE : FUSE_READ, node, a, FUSE_RW_IN + (write ? len : 0));
	if (!e && write)
		assert_int_equal(get_le32(r->out), len);
	if (!e && !write) {
		assert_int_equal(r->n, len);
		assert_memory_equal(r->out, text, len);
	}
	return e;
}

static void serves(void **st)
{
	struct rig *r = *st;
	u8 cfg[40], a[16] = { 0 };
	u64 n, n2, fh;

	r->d.v->cls->config_read(r->f, 0, cfg, 40);
	assert_string_equal((char *)cfg, "tag");
	assert_int_equal(get_le32(cfg + 36), 1);
	assert_int_equal(lookup(r, 1, "x", &n), EPROTO);	/* not greeted yet */
	init(r);
	assert_int_equal(lookup(r, 1, "x", &n), ENOENT);
	assert_int_equal(lookup(r, 99, "x", &n), ESTALE);
	assert_int_equal(lookup(r, 1, "..", &n), EINVAL);
	assert_int_equal(lookup(r, 1, "a/b", &n), EINVAL);
	n = create(r, 1, "x", &fh);
	assert_int_equal(rw(r, true, n, fh, 0, "hello"), 0);
	assert_int_equal(rw(r, false, n, fh, 1, "ello"), 0);
	assert_int_equal(lookup(r, 1, "x", &n2), 0);
	assert_true(n == n2);
	assert_int_equal(ask(r, 9999, 1, a, 16), ENOSYS);
	assert_int_equal(ask(r, FUSE_OPEN, 1, a, 8), EISDIR);
	put_le64(a, fh + (1ull << 32));				/* an old number */
	assert_int_equal(ask(r, FUSE_RELEASE, n, a, 16), EBADF);
	put_le64(a, fh);
	assert_int_equal(ask(r, FUSE_RELEASE, n, a, 16), 0);
	assert_int_equal(ask(r, FUSE_RELEASE, n, a, 16), EBADF);
	/* FORGET on the other queue has no answer, and the number is gone then. */
	u8 b[48] = { 0 };
	put_le32(b + 4, FUSE_FORGET);
	put_le64(b + 16, n);
	put_le64(b + 40, 2);
	drive_add(&r->d, HIPRIO, b, sizeof(b), 0);
	drive_kick(&r->d, HIPRIO);
	for (unsigned i = 0; i < 5000 && drive_get(&r->d, HIPRIO, NULL, 0) < 0; i++)
		usleep(1000);
	memset(a, 0, sizeof(a));
	assert_int_equal(ask(r, FUSE_GETATTR, n, a, 16), ESTALE);
	drive_reset(&r->d);
	drive_start(&r->d, 0);
	assert_int_equal(lookup(r, 1, "x", &n), EPROTO);	/* a new guest, perhaps */
	init(r);
	assert_int_equal(lookup(r, 1, "x", &n), 0);
}

static void host_path(struct rig *r, char *p, size_t len, const char *name)
{
	snprintf(p, len, "%s/%s", r->dir, name);
}

static void survives(void **st)
{
	struct rig *r = *st;
	u64 kept, kept_fh, moved, moved_fh, changed, changed_fh, sub, deep, deep_fh, gone, gone_fh;
	u8 a[64] = { 0 };
	char p[100], q[100];
	struct state_blob saved, bad;
	struct err e = { 0 };
	struct machine *old = r->m;

	init(r);
	strcpy((char *)a + 8, "sub");
	put_le32(a, 0755);
	assert_int_equal(ask(r, FUSE_MKDIR, 1, a, 12), 0);
	sub = get_le64(r->out);
	kept = create(r, 1, "kept", &kept_fh);
	moved = create(r, 1, "moved", &moved_fh);
	changed = create(r, 1, "changed", &changed_fh);
	deep = create(r, sub, "deep", &deep_fh);
	gone = create(r, 1, "gone", &gone_fh);
	assert_int_equal(rw(r, true, kept, kept_fh, 0, "kept"), 0);
	assert_int_equal(rw(r, true, deep, deep_fh, 0, "deep"), 0);
	assert_int_equal(ask(r, FUSE_UNLINK, 1, "gone", 5), 0);
	assert_int_equal(rw(r, true, gone, gone_fh, 0, "ghost"), 0);	/* as long as it is open */

	machine_lock(r->m);
	vfs_class.quiesce(r->f);
	vfs_class.pre_save(r->f);
	assert_int_equal(vfs_virtio(r->f)->queue[REQUEST].inflight, 0);
	const struct state_field *f = vfs_class.state;
	while (f->type != ST_BLOB)
		f++;
	memcpy(&saved, (u8 *)r->f + f->offset, sizeof(saved));
	bad = (struct state_blob){ malloc(saved.len), saved.len };
	memcpy(bad.p, saved.p, saved.len);
	saved.p = memcpy(malloc(saved.len), saved.p, saved.len);
	machine_unlock(r->m);
	machine_free(old);

	/* Meanwhile, on the host... */
	host_path(r, p, sizeof(p), "moved");
	host_path(r, q, sizeof(q), "elsewhere");
	assert_int_equal(rename(p, q), 0);
	host_path(r, p, sizeof(p), "changed");
	host_path(r, q, sizeof(q), "another");
	int fd = open(q, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(rename(q, p), 0);

	device(r);
	drive_start(&r->d, 0);
	/* A damaged state is refused, and leaves nothing half loaded. */
	for (u32 i = 0; i < bad.len; i += 3) {
		struct state_blob b = { memcpy(malloc(bad.len), bad.p, bad.len), bad.len };

		b.p[i] ^= 0x80;
		memcpy((u8 *)r->f + f->offset, &b, sizeof(b));
		machine_lock(r->m);
		vfs_class.post_load(r->f, &e);		/* either way: no crash, no leak */
		machine_unlock(r->m);
	}
	for (u32 len = 1; len < bad.len; len++) {
		struct state_blob b = { memcpy(malloc(len), bad.p, len), len };

		memcpy((u8 *)r->f + f->offset, &b, sizeof(b));
		machine_lock(r->m);
		assert_int_equal(vfs_class.post_load(r->f, &e), -EINVAL);
		machine_unlock(r->m);
	}
	free(bad.p);
	memcpy((u8 *)r->f + f->offset, &saved, sizeof(saved));
	machine_lock(r->m);
	assert_int_equal(vfs_class.post_load(r->f, &e), 0);
	machine_unlock(r->m);

	assert_int_equal(rw(r, false, kept, kept_fh, 0, "kept"), 0);
	assert_int_equal(rw(r, true, kept, kept_fh, 4, "on"), 0);
	assert_int_equal(rw(r, false, deep, deep_fh, 0, "deep"), 0);
	assert_int_equal(rw(r, false, moved, moved_fh, 0, "x"), EIO);
	assert_int_equal(rw(r, true, changed, changed_fh, 0, "x"), EIO);	/* another file by that name */
	assert_int_equal(rw(r, true, gone, gone_fh, 0, "x"), EIO);
	assert_int_equal(lookup(r, sub, "deep", &deep), 0);
	u64 again;
	assert_int_equal(lookup(r, 1, "changed", &again), 0);
	assert_true(again != changed);
	memset(a, 0, sizeof(a));
	assert_int_equal(ask(r, FUSE_GETATTR, changed, a, 16), ESTALE);
	host_path(r, p, sizeof(p), "changed");
	struct stat sb;
	assert_int_equal(stat(p, &sb), 0);
	assert_int_equal(sb.st_size, 0);
}

/* Many requests at once, and a reset, a save in the middle of them. */
static void in_flight(void **st)
{
	struct rig *r = *st;
	u8 b[FUSE_IN_HEADER + 16] = { 0 };
	unsigned back;

	init(r);
	put_le32(b + 4, FUSE_GETATTR);
	put_le64(b + 16, 1);
	for (unsigned i = 0; i < 30; i++) {
		for (unsigned k = 0; k < 20; k++)
			drive_add(&r->d, REQUEST, b, sizeof(b), 200);
		machine_lock(r->m);
		virtio_driver_kick(r->d.v, REQUEST);
		machine_unlock(r->m);
		loop_post(r->m->loop, drive_quit, r->m->loop);
		loop_run(r->m->loop);
		if (i % 3 == 0) {
			machine_lock(r->m);
			vfs_class.quiesce(r->f);
			assert_int_equal(r->d.v->queue[REQUEST].inflight, 0);
			machine_unlock(r->m);
			for (back = 0; drive_get(&r->d, REQUEST, NULL, 0) >= 0;)
				back++;
			assert_int_equal(back, 20);
		} else {
			drive_reset(&r->d);
			drive_start(&r->d, 0);
			init(r);
		}
	}
}

/* A guest that opens all that it can leaves descriptors to seven other folders, and to the rest. */
static int setup_few(void **st)
{
	struct rlimit l;

	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_cur = MIN(l.rlim_max, (rlim_t)4096);
	setrlimit(RLIMIT_NOFILE, &l);
	return setup(st);
}

static void greedy(void **st)
{
	struct rig *r = *st;
	unsigned n = 0;
	u8 a[8] = { 0 };
	int e;

	init(r);
	while ((e = ask(r, FUSE_OPENDIR, FUSE_ROOT, a, sizeof(a))) == 0 && n < 4096)
		n++;
	assert_int_equal(e, ENFILE);
	assert_in_range(n, 64, 4096 / 16 / 2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = { T(serves), T(survives), T(in_flight),
		cmocka_unit_test_setup_teardown(greedy, setup_few, teardown) };

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
