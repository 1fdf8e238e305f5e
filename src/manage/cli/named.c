/* SPDX-License-Identifier: GPL-2.0-or-later */
/* named.c - the machine behind `penta run NAME`: the first time, it is made of an image of that name, and
 * Debian's image is built before. The image stays what it was: the machine has its own copy. */
#include "base/cleanup.h"
#include "base/words.h"
#include "block/image.h"
#include "manage/cli/oneshot.h"
#include "manage/cli/progress.h"
#include "manage/image/build.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* What `penta run` builds by itself. */
static const struct { const char *name, *release; } known[] = {
	{ "debian", "bookworm" }, { "debian-bookworm", "bookworm" }, { "debian-trixie", "trixie" },
};
#define BUILT_SIZE (8 * GiB)		/* sparse: what is not used takes no room */
#define DISK "disk.img"

/* What a machine of an image has, unless it is told otherwise. */
static const char *const defaults[][2] = {
	{ "memory", "1G" }, { "net", "user" }, { "vsock", "auto" }, { "balloon", "on" },
};

static const char *release_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (!strcmp(known[i].name, name))
			return known[i].release;
	return NULL;
}

/* 0; -EINTR and *@sig. */
static int build(const char *name, const char *path, int *sig, struct err *e)
{
	const struct image_build b = {
		.release = release_of(name), .size = BUILT_SIZE, .mode = "auto", .hostname = name,
	};

	fprintf(stderr, "penta: there is no machine \"%s\" yet: it gets a new Debian (%s),\n"
		"penta: whose packages are fetched and put together now; that takes a minute or two\n",
		name, b.release);
	return image_build(path, &b, sig, e);
}

static void on_progress(void *ctx, u64 done, u64 total)
{
	struct progress *p = ctx;

	p->total = total;
	progress_update(p, done);
}

static int fill(struct folder *f, struct vm_config *c, void *ctx, struct err *e)
{
	const struct image_spec spec = { .format = "raw" };
	cleanup_free char *dst = NULL;
	struct progress p;
	int r;

	if (asprintf(&dst, "%s/" DISK, f->path) < 0)
		return err_set(e, ENOMEM, "out of memory");
	progress_begin(&p, "copying the image", 0, true);
	r = image_convert(ctx, "raw", dst, &spec, on_progress, &p, e);
	progress_end(&p);
	if (!r)
		r = vm_config_each_path(c, folder_own_path, f, e);
	return r;
}

static int configure(const struct verb *v, const struct args *a, struct vm_config *c,
		     struct err *e)
{
	const struct config_field *disk = vm_config_find("disk");
	int r;

	if (args_has_config(a, v, disk) || args_has_config(a, v, vm_config_find("kernel")) ||
	    args_has_config(a, v, vm_config_find("firmware")))
		return err_set(e, EINVAL, "run: a machine that is made of an image has its disk and "
			       "its kernel; `penta create` makes others");
	/* The first disk is the one that is booted. A name alone lies in the machine's folder. */
	r = vm_config_set(c, disk, DISK, "disk", e);
	for (size_t i = 0; i < ARRAY_SIZE(defaults) && !r; i++) {
		const struct config_field *f = vm_config_find(defaults[i][0]);

		if (!args_has_config(a, v, f))
			r = vm_config_set(c, f, defaults[i][1], defaults[i][0], e);
	}
	return r ? r : create_config(v, a, c, e);
}

static int make(const char *name, const char *image, const struct verb *v, const struct args *a,
		struct err *e)
{
	struct folder f = FOLDER_NONE;
	struct vm_config c;
	int r;

	vm_config_init(&c);
	r = configure(v, a, &c, e);
	if (!r)
		r = folder_create(&f, name, &c, fill, (void *)image, e);
	folder_close(&f);
	vm_config_free(&c);
	return r;
}

/* 0: it is there; -ENOENT: it is not. */
static int exists(const char *name, struct err *e)
{
	struct folder f;
	int r = folder_open(&f, name, e);

	if (!r)
		folder_close(&f);
	return r;
}

int named_ensure(const char *name, const struct verb *v, const struct args *a)
{
	cleanup_free char *image = NULL;
	struct err e = { 0 };
	int r = exists(name, &e), sig = 0;

	if (!r) {
		for (const struct config_field *f = vm_config_fields; f->name; f++)
			if (f->arg && args_has_config(a, v, f)) {
				cli_error("run: machine \"%s\" is there already; `penta set %s "
					  "--%s ...` changes it", name, name, f->name);
				return EXIT_USAGE;
			}
		return 0;
	}
	if (r == -ENOENT) {
		struct err none = { 0 };

		image = image_default_path(name, &none);
		if (image && (release_of(name) || access(image, F_OK) == 0)) {
			e = none;
			r = access(image, F_OK) ? build(name, image, &sig, &e) : 0;
			if (r == -EEXIST)	/* another was faster */
				r = 0;
			if (!r)
				r = make(name, image, v, a, &e);
			if (r == -EEXIST)
				r = 0;
		}
	}
	if (r == -EINTR && sig)
		return 128 + sig;
	if (r)
		cli_error("%s", e.msg);
	return r == -EINVAL ? EXIT_USAGE : r ? EXIT_FAILED : 0;
}
