// SPDX-License-Identifier: GPL-2.0-or-later
/* clone.c - `penta clone`: another machine like this one.
 *
 * Full: its disks are copied; where the file system can, both share the blocks until one is written.
 * Linked: what the disk holds now becomes the base of two overlays, one for each machine; neither
 * writes to it from then on.
 *
 *	web/disk.qcow2   ->   web/disk.qcow2 (read only) <- web/disk0.5a3fb210.qcow2
 *						         <- new/disk0.qcow2 */
#include "manage/cli/machines.h"
#include "manage/cli/progress.h"
#include "base/cleanup.h"
#include "block/image.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum opt { OPT_LINKED, OPT_JSON, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_LINKED] = OPTION("linked", NULL, NULL,
		"share what the disks hold now, instead of copying it"),
	[OPT_JSON] = OPTION_JSON,
};

static const char text[] =
	"The machine must not run. The clone gets a UUID and network addresses of its own; snapshots\n"
	"are not taken along. A linked clone takes no time and no space, and needs the other machine's\n"
	"folder where it is: that cannot be removed or renamed before the clone is.\n"
	"\nExamples:\n"
	"  penta clone web web2\n"
	"  penta clone --linked web test1\n";

struct clone {
	struct folder *from;
	struct vm_config *from_cfg;	/* linked: is changed, too */
	bool linked;
};

/* --- copying a file --- */

static void on_progress(void *ctx, u64 done, u64 total)
{
	struct progress *p = ctx;

	p->total = total;
	progress_update(p, done);
}

/* The data of [at, end), which may lie anywhere in holes. */
static int copy_range(int in, int out, off_t at, off_t end, struct progress *p)
{
	cleanup_free char *buf = malloc(1 << 20);

	if (!buf)
		return -ENOMEM;
	while (at < end) {
		ssize_t n = pread(in, buf, (size_t)MIN(end - at, (off_t)1 << 20), at), done = 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		while (done < n) {
			ssize_t k = pwrite(out, buf + done, (size_t)(n - done), at + done);

			if (k < 0 && errno != EINTR)
				return -errno;
			done += k > 0 ? k : 0;
		}
		at += n;
		progress_update(p, (u64)at);
	}
	return 0;
}

static int copy_sparse(int in, int out, struct progress *p)
{
	off_t size = lseek(in, 0, SEEK_END), at = 0;
	int r = 0;

	if (size < 0 || ftruncate(out, size))
		return -errno;
	while (at < size && !r) {
		off_t data = lseek(in, at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			break;			/* a hole up to the end */
		if (data < 0)			/* a file system without holes */
			return copy_range(in, out, at, size, p);
		hole = lseek(in, data, SEEK_HOLE);
		if (hole < 0)
			hole = size;
		r = copy_range(in, out, data, hole, p);
		at = hole;
	}
	return r;
}

static int copy_file(const char *from, const struct folder *to, const char *name, struct err *e)
{
	cleanup_close int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
	cleanup_free char *what = NULL;
	struct progress p;
	struct stat st;
	int r = 0;

	if (in < 0 || fstat(in, &st))
		return err_errno(e, "open %s", from);
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "%s is no file; its machine can be cloned with --linked",
			       from);
	out = openat(to->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return err_errno(e, "make %s/%s", to->path, name);
	if (ioctl(out, FICLONE, in)) {
		if (asprintf(&what, "copying %s", name) < 0)
			what = NULL;
		progress_begin(&p, what ? what : "copying", (u64)st.st_size, true);
		r = copy_sparse(in, out, &p);
		progress_end(&p);
	}
	if (!r && fsync(out))
		r = -errno;
	return r ? err_set(e, -r, "copy %s to %s: %s", from, to->path, strerror(-r)) : 0;
}

/* --- disks --- */

static char *absolute(const struct folder *f, const char *path)
{
	char *p;

	if (path[0] == '/')
		return strdup(path);
	return asprintf(&p, "%s/%s", f->path, path) < 0 ? NULL : p;
}

static int look(const char *path, struct image_info *info, struct err *e)
{
	int r = image_info(path, info, e);

	if (r || !info->in_use)
		return r;
	image_info_holder(path, info);
	return err_set(e, EBUSY, "%s is in use%s%s", path, info->holder[0] ? " by " : "",
		       info->holder);
}

static int full(const struct folder *to, struct vm_disk *d, const char *from,
		const struct image_info *info, unsigned n, struct err *e)
{
	char name[32];
	int r;

	snprintf(name, sizeof(name), "disk%u.%s", n, !strcmp(info->format, "qcow2") ? "qcow2" : "img");
	if (info->backing[0]) {		/* what it is built on comes along */
		struct image_spec s = { .format = "qcow2", .size = info->size };
		cleanup_free char *path = absolute(to, name);
		struct progress p;

		progress_begin(&p, name, info->size, true);
		r = path ? image_convert(from, info->format, path, &s, on_progress, &p, e)
			 : err_set(e, ENOMEM, "out of memory");
		progress_end(&p);
	} else {
		r = copy_file(from, to, name, e);
	}
	if (r)
		return r;
	free(d->path);
	d->path = strdup(name);
	return d->path ? 0 : err_set(e, ENOMEM, "out of memory");
}

static int overlay(const struct folder *f, struct vm_disk *d, const char *name, const char *base,
		   const struct image_info *info, struct err *e)
{
	struct image_spec s = { .format = "qcow2", .backing = base,
				.backing_format = info->format, .size = info->size };
	cleanup_free char *path = absolute(f, name);
	char *copy = strdup(name);
	int r = path && copy ? image_create(path, &s, e) : err_set(e, ENOMEM, "out of memory");

	if (r) {
		free(copy);
		return r;
	}
	free(d->path);
	d->path = copy;
	d->format = 0;
	return 0;
}

static int linked(struct clone *c, const struct folder *to, struct vm_disk *d, const char *from,
		  const struct image_info *info, unsigned n, struct err *e)
{
	char name[32], mine[32];
	u32 id = 0;
	int r;

	if (getrandom(&id, sizeof(id), 0) < 0)
		id = (u32)getpid();
	snprintf(name, sizeof(name), "disk%u.qcow2", n);
	/* A name of layers.h: if we are killed before it is used, it is swept away some day. */
	snprintf(mine, sizeof(mine), "disk%u.%08x.qcow2", n, id);
	r = overlay(to, d, name, from, info, e);
	if (!r)
		r = overlay(c->from, &c->from_cfg->disk[n], mine, from, info, e);
	return r;
}

static int clone_disks(struct clone *c, struct folder *to, struct vm_config *cfg, struct err *e)
{
	cleanup_free struct image_info *info = malloc(sizeof(*info));
	int r = info ? 0 : err_set(e, ENOMEM, "out of memory");

	for (unsigned i = 0; i < cfg->ndisk && !r; i++) {
		struct vm_disk *d = &cfg->disk[i];
		cleanup_free char *from = absolute(c->from, d->path);

		if (d->ro && d->path[0] == '/')
			continue;		/* both may read it */
		r = from ? look(from, info, e) : err_set(e, ENOMEM, "out of memory");
		if (!r)
			r = c->linked ? linked(c, to, d, from, info, i, e)
				      : full(to, d, from, info, i, e);
	}
	return r;
}

/* Kernels and their like that lie in the folder. */
static int clone_file(struct clone *c, struct folder *to, char *path, struct err *e)
{
	cleanup_free char *from = NULL;

	if (!path || path[0] == '/' || strchr(path, '/'))
		return 0;
	from = absolute(c->from, path);
	return from ? copy_file(from, to, path, e) : err_set(e, ENOMEM, "out of memory");
}

static int fill(struct folder *to, struct vm_config *cfg, void *ctx, struct err *e)
{
	struct clone *c = ctx;
	int r = clone_file(c, to, cfg->kernel, e);

	if (!r)
		r = clone_file(c, to, cfg->initrd, e);
	if (!r)
		r = clone_file(c, to, cfg->firmware, e);
	if (!r)
		r = clone_disks(c, to, cfg, e);
	/* The clone is not there yet: from now on nobody writes to what it is built on. */
	if (!r && c->linked)
		r = folder_write_config(c->from, c->from_cfg, e);
	return r;
}

/* --- the whole --- */

static int own_identity(struct vm_config *cfg, struct err *e)
{
	char id[37], mac[18];

	cli_new_uuid(id);
	for (unsigned i = 0; i < cfg->nnet; i++) {
		if (!cfg->net[i].mac)
			continue;
		cli_new_mac(mac);
		free(cfg->net[i].mac);
		cfg->net[i].mac = strdup(mac);
	}
	cfg->autostart = false;
	return vm_config_set(cfg, vm_config_find("uuid"), id, "uuid", e);
}

static int clone_to(const char *name, const char *to, bool as_link, struct err *e)
{
	struct folder from, f = FOLDER_NONE;
	struct vm_config cfg, from_cfg;
	struct clone c = { .from = &from, .from_cfg = &from_cfg, .linked = as_link };
	int r = cli_lock(&from, name, true, e);

	if (r)
		return r == -EBUSY ? err_context(e, "clone") : r;
	vm_config_init(&cfg);
	vm_config_init(&from_cfg);
	r = folder_read_config(&from, &from_cfg, e);
	if (!r)
		r = vm_config_copy(&cfg, &from_cfg, e);
	if (!r)
		r = own_identity(&cfg, e);
	if (!r)
		r = folder_create(&f, to, &cfg, fill, &c, e);
	folder_close(&f);
	vm_config_free(&cfg);
	vm_config_free(&from_cfg);
	folder_close(&from);
	return r;
}

static int run(const struct args *a, int npos, char **pos)
{
	struct err e = { 0 };
	int r;

	if (npos != 2) {
		cli_error("clone: two names are needed: penta clone NAME NEW");
		return EXIT_USAGE;
	}
	r = clone_to(pos[0], pos[1], args_get(a, OPT_LINKED), &e);
	if (r)
		cli_error("%s", e.msg);
	if (args_get(a, OPT_JSON))
		cli_print_json(r ? json_pack("{s:s?, s:s?}", "name", pos[1], "error", e.msg)
				 : json_pack("{s:s?, s:s?}", "name", pos[1], "from", pos[0]));
	return r ? EXIT_FAILED : EXIT_DONE;
}

const struct verb verb_clone = {
	.name = "clone", .summary = "make another machine like this one",
	.usage = "[--linked] NAME NEW",
	.options = options, .text = text, .positional = "@machine", .run = run,
};
