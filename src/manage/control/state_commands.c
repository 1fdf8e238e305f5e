// SPDX-License-Identifier: GPL-2.0-or-later
/* state_commands.c - the control socket's commands that take a machine's state: penta-save,
 * penta-snapshot, penta-fork; and penta-rebase. Files are opened, named and made durable by who asks (manage/cli/): here
 * come descriptors. docs/state.md. */
#include "base/cleanup.h"
#include "block/block.h"
#include "manage/control/qmp.h"
#include "state/state.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION "0.1"

/* One file to go on top of a disk. */
struct overlay { struct block *disk; struct block_file top; };

struct taking {
	struct qmp_call *c;
	struct overlay over[VM_DISKS];
	unsigned nover;
	int fd;				/* for the stream */
	bool was_paused;
	struct state_image *img;
};

static void taking_end(struct taking *t)
{
	for (unsigned i = 0; i < t->nover; i++)
		cleanup_closep(&t->over[i].top.fd);
	cleanup_closep(&t->fd);
	state_image_free(t->img);
}

/* --- arguments --- */

/* "disks": [{"device": "disk0", "fdname": "x", "path": "for messages"}] */
static int take_overlay(struct taking *t, json_t *j, struct err *e)
{
	struct vm *vm = t->c->vm;
	const char *device = json_string_value(json_object_get(j, "device"));
	const char *fdname = json_string_value(json_object_get(j, "fdname"));
	const char *path = json_string_value(json_object_get(j, "path"));
	struct overlay *o = &t->over[t->nover];
	unsigned i;
	int fd;

	if (!device || !fdname || !path || t->nover == VM_DISKS)
		return err_set(e, EINVAL, "disks: elements have \"device\", \"fdname\" and \"path\"");
	for (i = 0; i < vm->cfg.ndisk; i++) {
		char name[16];

		snprintf(name, sizeof(name), "disk%u", i);
		if (!strcmp(name, device))
			break;
	}
	if (i == vm->cfg.ndisk)
		return err_set(e, ENODEV, "the machine has no disk %.40s", device);
	fd = qmp_take_fd(t->c, fdname, e);
	if (fd < 0)
		return fd;
	*o = (struct overlay){ .disk = vm->disk[i],
			       .top = { .fd = fd, .path = path, .format = "qcow2" } };
	t->nover++;
	return 0;
}

static int take_args(struct taking *t, struct qmp_call *c, struct err *e)
{
	json_t *disks = json_object_get(c->args, "disks"), *j;
	size_t i;
	int r = 0;

	*t = (struct taking){ .c = c, .fd = -1 };
	t->fd = qmp_take_fd(c, qmp_string(c, "fdname", ""), e);
	if (t->fd < 0)
		return t->fd;
	json_array_foreach(disks, i, j) {
		r = take_overlay(t, j, e);
		if (r)
			break;
	}
	return r;
}

/* --- the moment that is taken --- */

/* Everything that the guest has flushed is on the disk's files before they are left alone. */
static int sync_disks(struct vm *vm, struct err *e)
{
	int r = 0;

	machine_lock(vm->m);
	for (unsigned i = 0; i < vm->cfg.ndisk && !r; i++)
		if (!vm->cfg.disk[i].ro)
			r = block_sync(vm->disk[i], e);
	machine_unlock(vm->m);
	return r;
}

static int put_overlays(struct taking *t, struct err *e)
{
	struct machine *m = t->c->vm->m;
	int r = 0;

	machine_lock(m);
	for (unsigned i = 0; i < t->nover && !r; i++) {
		struct block_file top = t->over[i].top;

		t->over[i].top.fd = -1;		/* taken, also on failure */
		r = block_snapshot_overlay(t->over[i].disk, &top, e);
	}
	machine_unlock(m);
	return r;
}

/* The configuration with what its disks' files are now: "disks": [{"path", "mtime" in ns}]. So a
 * restore finds out that somebody has written to them since. To be freed. */
static char *stamped(struct vm *vm, const char *config)
{
	json_t *j = json_loads(config, 0, NULL), *disks = json_array();
	json_t *list = json_object_get(json_object_get(j, "config"), "disk");
	struct block_file f;
	struct stat st;
	char *text = NULL;

	for (unsigned i = 0; i < vm->cfg.ndisk; i++) {
		json_t *path = json_object_get(json_array_get(list, i), "path");

		if (vm->cfg.disk[i].ro || !path || !block_files(vm->disk[i], &f, 1) || fstat(f.fd, &st) ||
		    !S_ISREG(st.st_mode))
			continue;
		json_array_append_new(disks, json_pack("{s:O, s:I}", "path", path, "mtime",
			(json_int_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec));
	}
	if (json_is_object(j) && !json_object_set_new(j, "disks", disks))
		text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	return text;
}

static void go_on(struct taking *t)
{
	machine_unstill(t->c->vm->m, !t->was_paused);
}

/* Stop, take all but memory, and, @live, freeze that; then the guest may go on. On failure it does. */
static int take(struct taking *t, bool live, struct err *e)
{
	struct vm *vm = t->c->vm;
	cleanup_free char *config = NULL;
	struct state_capture_options o = {
		.penta = VERSION, .name = vm->name, .config = qmp_string(t->c, "config", NULL),
		.live = live,
		.paused = atomic_load(&vm->m->status) == MACHINE_PAUSED,
	};
	int r;

	t->was_paused = o.paused;
	/* What is still on its way into memory comes in while the guest runs. */
	r = state_complete(vm->m, e);
	if (r)
		return r;
	machine_still(vm->m);		/* another client's cont must wait */
	r = sync_disks(vm, e);
	if (!r && !live && o.config && (config = stamped(vm, o.config)))
		o.config = config;
	if (!r)
		r = state_capture(&t->img, vm->m, &o, e);
	if (!r)
		r = sync_disks(vm, e);
	if (!r)
		r = put_overlays(t, e);
	if (r)
		go_on(t);
	return r;
}

static int on_progress(void *ctx, u64 done, u64 total)
{
	struct qmp_call *c = ctx;

	qmp_progress(c, done, total);
	return qmp_cancelled(c);
}

/* --- commands --- */

/* "hold": the machine stays paused after it was saved well, so that whoever asked can make the file
 * durable, and then end the machine (quit), or let it go on (cont). */

static int save(struct qmp_call *c, json_t **ret, struct err *e)
{
	bool hold = qmp_bool(c, "hold", false);
	struct taking t;
	int r = take_args(&t, c, e);

	if (!r && t.nover)
		r = err_set(e, EINVAL, "penta-save takes no disks");
	if (!r)
		r = take(&t, !hold, e);
	if (!r) {
		if (!hold)
			go_on(&t);
		r = state_write(t.img, t.fd, true, on_progress, c, e);
		if (hold)
			machine_unstill(t.c->vm->m, r && !t.was_paused);
	}
	taking_end(&t);
	return r;
}

static int snapshot(struct qmp_call *c, json_t **ret, struct err *e)
{
	struct taking t;
	int r = take_args(&t, c, e);

	if (!r)
		r = take(&t, true, e);
	if (!r) {
		go_on(&t);
		r = state_write(t.img, t.fd, true, on_progress, c, e);
	}
	taking_end(&t);
	return r;
}

/* Memory's descriptors go through a socket that came with the command. */
static int send_memory(int sock, const int *fd, unsigned n, struct err *e)
{
	union { char buf[CMSG_SPACE(2 * sizeof(int))]; struct cmsghdr align; } u = { 0 };
	char what = (char)('0' + n);
	struct iovec iov = { &what, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf,
			    .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(h), fd, n * sizeof(int));
	if (sendmsg(sock, &m, MSG_NOSIGNAL) != 1)
		return err_errno(e, "memory cannot be passed on");
	return 0;
}

static int do_fork(struct qmp_call *c, json_t **ret, struct err *e)
{
	cleanup_close int sock = qmp_take_fd(c, qmp_string(c, "socket", ""), e);
	struct taking t = { .fd = -1 };
	int fd[2], r = sock < 0 ? sock : take_args(&t, c, e);

	if (!r)
		r = take(&t, true, e);
	if (!r) {
		go_on(&t);
		r = state_write(t.img, t.fd, false, NULL, NULL, e);
		if (!r)
			r = state_image_memory(t.img, &fd[0], &fd[1], e);
		if (!r)
			r = send_memory(sock, fd, fd[1] < 0 ? 1 : 2, e);
	}
	taking_end(&t);
	return r;
}

/* End the machine's process, and say how: "saved". */
static int end(struct qmp_call *c, json_t **ret, struct err *e)
{
	if (strcmp(qmp_string(c, "how", ""), "saved"))
		return err_set(e, EINVAL, "how: \"saved\" is what there is");
	vm_quit(c->vm, 0, "saved");
	return 0;
}

/* "files": [{"fdname", "path", "format"}], next to the disk's top first. They take the place of what is
 * below it, and hold the same: layers have been merged. */
static int rebase(struct qmp_call *c, json_t **ret, struct err *e)
{
	struct vm *vm = c->vm;
	struct block_file f[BLOCK_CHAIN_MAX];
	json_t *files = json_object_get(c->args, "files"), *j;
	unsigned n = 0, disk;
	bool was_paused;
	size_t i;
	int r = 0, end = 0;

	if (sscanf(qmp_string(c, "device", ""), "disk%2u%n", &disk, &end) != 1 || !end ||
	    qmp_string(c, "device", "")[end] || disk >= vm->cfg.ndisk)
		return err_set(e, ENODEV, "the machine has no such disk");
	json_array_foreach(files, i, j) {
		const char *fdname = json_string_value(json_object_get(j, "fdname"));
		const char *path = json_string_value(json_object_get(j, "path"));
		const char *format = json_string_value(json_object_get(j, "format"));

		if (!fdname || !path || !format || n == BLOCK_CHAIN_MAX)
			r = err_set(e, EINVAL, "files: elements have \"fdname\", \"path\", \"format\"");
		else
			r = qmp_take_fd(c, fdname, e);
		if (r < 0)
			break;
		f[n++] = (struct block_file){ r, path, format };
		r = 0;
	}
	if (r) {
		while (n)
			close(f[--n].fd);
		return r;
	}
	was_paused = atomic_load(&vm->m->status) == MACHINE_PAUSED;
	machine_pause(vm->m);
	machine_lock(vm->m);
	r = block_rebase(vm->disk[disk], f, n, e);
	machine_unlock(vm->m);
	if (!was_paused)
		machine_resume(vm->m);
	return r;
}

static const struct qmp_arg end_args[] = { { "how", 's', false }, { 0 } };
static const struct qmp_arg rebase_args[] = { { "device", 's', false }, { "files", 'a', false }, { 0 } };
static const struct qmp_arg save_args[] = {
	{ "fdname", 's', false }, { "config", 's', true }, { "hold", 'b', true }, { 0 } };
static const struct qmp_arg snapshot_args[] = {
	{ "fdname", 's', false }, { "config", 's', true }, { "disks", 'a', true }, { 0 } };
static const struct qmp_arg fork_args[] = {
	{ "fdname", 's', false }, { "socket", 's', false }, { "config", 's', true },
	{ "disks", 'a', true }, { 0 } };

const struct qmp_command qmp_state_commands[] = {
	{ "penta-rebase", rebase, rebase_args, true },
	{ "penta-end", end, end_args, false },
	{ "penta-save", save, save_args, true },
	{ "penta-snapshot", snapshot, snapshot_args, true },
	{ "penta-fork", do_fork, fork_args, true },
	{ 0 }
};
