/* SPDX-License-Identifier: GPL-2.0-or-later */
/* image_build.c - `penta image build debian NAME`: a disk image from Debian's packages. */
#include "base/cleanup.h"
#include "base/words.h"
#include "manage/cli/cli.h"
#include "manage/cli/image.h"
#include "manage/image/build.h"
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

enum opt {
	OPT_RELEASE, OPT_SIZE, OPT_INCLUDE, OPT_MIRROR, OPT_HOSTNAME, OPT_MODE, OPT_FORCE, OPT_VERBOSE,
	OPT_JSON, OPT_N
};

static const struct option options[OPT_N + 1] = {
	[OPT_RELEASE] = OPTION("release", "NAME", IMAGE_RELEASES,
		"bookworm (default) or trixie"),
	[OPT_SIZE] = OPTION("size", "SIZE", "4G 8G 16G",
		"of the disk (default 4G); the file takes what is in use"),
	[OPT_INCLUDE] = OPTION("include", "PACKAGES", "gcc,make openssh-server python3",
		"more packages, separated by commas"),
	[OPT_MIRROR] = OPTION("mirror", "URL", NULL,
		"where packages come from, or a whole line \"deb ...\"\n"
		"(default: the Debian mirror of this host's apt)"),
	[OPT_HOSTNAME] = OPTION("hostname", "NAME", NULL,
		"the guest's name (default: debian)"),
	[OPT_MODE] = OPTION("mode", "HOW", IMAGE_MODES,
		"how files get their owners: root, unshare (user\n"
		"namespaces), fakechroot; auto (default) is the best of\n"
		"them that you may use"),
	[OPT_FORCE] = OPTION("force", NULL, NULL, "replace an existing image"),
	[OPT_VERBOSE] = OPTION("verbose", NULL, NULL, "print what the package tools print"),
	[OPT_JSON] = OPTION("json", NULL, NULL, "print what the image is, as `image info --json`"),
};

static const char text[] =
	"NAME is a path, or, without a slash, the name of an image among yours\n"
	"(~/.local/share/penta/images). The image is raw and sparse, with a GUID partition\n"
	"table: room for boot loaders, and root, which grows with the disk.\n"
	"\nExamples:\n"
	"  penta image build debian mine\n"
	"  penta image build debian --release trixie --size 8G --include gcc,make ./dev.img\n";

/* What becomes part of a command or a file in the image. */
static int check_word(const char *s, const char *what, const char *more, const char *right,
		      struct err *e)
{
	for (const char *p = s; *p; p++)
		if (!(isascii(*p) && islower(*p)) && !isdigit((u8)*p) && !strchr(more, *p))
			return err_set(e, EINVAL, "%s %s: %s", what, s, right);
	if (!s[0] || s[0] == '-')
		return err_set(e, EINVAL, "%s %s: %s", what, s[0] ? s : "\"\"", right);
	return 0;
}

static int check(const struct args *a, struct image_build *b, struct err *e)
{
	const char *size = args_get(a, OPT_SIZE);
	int r = parse_choice(b->release, "--release", IMAGE_RELEASES, e);

	if (r >= 0)
		r = parse_choice(b->mode, "--mode", IMAGE_MODES, e);
	if (r >= 0)
		r = parse_size(size ? size : "4G", "--size", &b->size, e);
	if (r < 0)
		return r;
	if (b->size < IMAGE_SIZE_MIN || b->size > 16ull * 1024 * GiB || b->size % MiB)
		return err_set(e, EINVAL, "--size %s: 1536M to 16384G, in whole MiB, is needed",
			       size);
	r = check_word(b->hostname, "--hostname", "-", "lower-case letters, digits and \"-\"", e);
	if (!r && strlen(b->hostname) > 63)
		r = err_set(e, EINVAL, "--hostname: at most 63 characters");
	if (!r && b->include)
		r = check_word(b->include, "--include", "+-.,:",
			       "names of packages, separated by commas", e);
	for (const char *p = b->mirror; !r && p && *p; p++)
		if ((u8)*p < ' ' || *p == 0x7f)
			r = err_set(e, EINVAL, "--mirror: no control characters are allowed");
	if (!r && b->mirror && !strchr(b->mirror, ':'))
		r = err_set(e, EINVAL, "--mirror %s: http://HOST/debian, file:///FOLDER or a line "
			    "\"deb ...\" is needed", b->mirror);
	return r;
}

static int run(const struct args *a, int npos, char **pos)
{
	struct image_build b = {
		.release = args_get(a, OPT_RELEASE), .include = args_get(a, OPT_INCLUDE),
		.mirror = args_get(a, OPT_MIRROR), .mode = args_get(a, OPT_MODE),
		.hostname = args_get(a, OPT_HOSTNAME), .replace = args_get(a, OPT_FORCE),
		.verbose = args_get(a, OPT_VERBOSE),
	};
	cleanup_free char *path = NULL;
	struct err e = { 0 };
	int sig;

	b.release = b.release ? b.release : "bookworm";
	b.mode = b.mode ? b.mode : "auto";
	b.hostname = b.hostname ? b.hostname : "debian";
	if (npos != 2 || strcmp(pos[0], "debian")) {
		cli_error("image build: what it takes is `penta image build debian [OPTION]... "
			  "NAME`");
		return EXIT_USAGE;
	}
	if (check(a, &b, &e)) {
		cli_error("%s", e.msg);
		return EXIT_USAGE;
	}
	path = strchr(pos[1], '/') ? strdup(pos[1]) : image_default_path(pos[1], &e);
	if (!path || image_build(path, &b, &sig, &e)) {
		if (e.code == EINTR)
			return 128 + sig;
		cli_error("%s", path || e.code ? e.msg : "out of memory");
		return EXIT_FAILED;
	}
	if (!args_get(a, OPT_JSON))
		printf("%s\n", path);
	return image_done(path, args_get(a, OPT_JSON));
}

const struct verb verb_image_build = {
	.name = "image build", .summary = "make a disk image from Debian's packages",
	.usage = "debian [OPTION]... NAME",
	.options = options, .text = text, .positional = "debian", .run = run,
};
