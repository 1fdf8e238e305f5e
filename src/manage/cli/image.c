/* SPDX-License-Identifier: GPL-2.0-or-later */
/* image.c - `penta image`: disk images are made, looked at, checked, copied, resized. */
#include "manage/cli/image.h"
#include "base/words.h"
#include "block/image.h"
#include "manage/cli/progress.h"
#include <errno.h>
#include <jansson.h>
#include <string.h>

#define FORMATS "raw qcow2"
#define OPTION_JSON OPTION("json", NULL, NULL, "print what the image is then, as `image info --json`")

/* What `check` says by its status besides EXIT_DONE. */
enum { EXIT_LEAKS = 3, EXIT_DAMAGED = 4 };

static int fail(const struct err *e)
{
	cli_error("%s", e->msg);
	return EXIT_FAILED;
}

static int usage(const struct verb *v)
{
	cli_error("%s: what it takes is `penta %s %s`", v->name, v->name, v->usage);
	return EXIT_USAGE;
}

static int print_json(json_t *j)
{
	int r = json_dumpf(j, stdout, JSON_INDENT(2));

	json_decref(j);
	putchar('\n');
	return r ? EXIT_FAILED : EXIT_DONE;
}

/* "4.0 GiB". */
static const char *human(u64 n, char buf[24])
{
	static const char *const unit[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double d = (double)n;
	unsigned u = 0;

	for (; d >= 1024 && u < ARRAY_SIZE(unit) - 1; u++)
		d /= 1024;
	snprintf(buf, 24, u ? "%.1f %s" : "%.0f %s", d, unit[u]);
	return buf;
}

/* A disk's size, in bytes; without a unit, MiB. */
static int disk_size(const char *s, u64 *size, struct err *e)
{
	int r = parse_size(s, "SIZE", size, e);

	if (!r && (!*size || *size > INT64_MAX / 2))
		r = err_set(e, EINVAL, "SIZE %s: a disk has 1 KiB at least, and less than 4 EiB",
			    s);
	return r;
}

static void on_progress(void *ctx, u64 done, u64 total)
{
	struct progress *p = ctx;

	p->total = total;
	progress_update(p, done);
}

static json_t *info_json(const char *path, const struct image_info *i)
{
	json_t *j = json_pack("{s:s, s:s, s:I, s:I, s:I, s:b}", "file", path, "format", i->format,
			      "size", (json_int_t)i->size, "file_size", (json_int_t)i->file_size,
			      "allocated", (json_int_t)i->allocated, "in_use", i->in_use);

	if (i->version)
		json_object_update_new(j, json_pack("{s:i, s:i, s:i, s:i, s:b, s:b, s:s}",
			"version", (int)i->version, "cluster_size", 1 << i->cluster_bits,
			"refcount_bits", (int)i->refcount_bits, "snapshots", (int)i->nsnapshots,
			"dirty", i->dirty, "corrupt", i->corrupt,
			"compression", i->zstd ? "zstd" : "zlib"));
	if (*i->holder)
		json_object_set_new(j, "holder", json_string(i->holder));
	if (*i->backing) {
		json_object_set_new(j, "backing", json_string(i->backing));
		json_object_set_new(j, "backing_path", json_string(i->backing_path));
		if (*i->backing_format)
			json_object_set_new(j, "backing_format", json_string(i->backing_format));
	}
	return j;
}

/* The end of a verb that made or changed the image @path. */
int image_done(const char *path, bool json)
{
	struct image_info i;
	struct err e = { 0 };

	if (!json)
		return EXIT_DONE;
	if (image_info(path, &i, &e))
		return fail(&e);
	image_info_holder(path, &i);
	return print_json(info_json(path, &i));
}

/* --- create --- */

enum create_opt { C_FORMAT, C_BACKING, C_BACKING_FORMAT, C_CLUSTER, C_FORCE, C_JSON, C_N };
static const struct option create_options[C_N + 1] = {
	[C_FORMAT] = OPTION("format", "NAME", FORMATS,
		"qcow2 (grows as it is written; the default) or raw"),
	[C_BACKING] = OPTION("backing", "FILE", "@file",
		"begin with what is in FILE, which is never written;\n"
		"its path is relative to the new image"),
	[C_BACKING_FORMAT] = OPTION("backing-format", "NAME", FORMATS,
		"of FILE (default: what it looks like)"),
	[C_CLUSTER] = OPTION("cluster", "SIZE", "4K 64K 1M 2M",
		"unit of allocation of qcow2: 512 (bytes) to 2M\n"
		"(default 64K)"),
	[C_FORCE] = OPTION("force", NULL, NULL, "replace an existing file"),
	[C_JSON] = OPTION_JSON,
};

static int cluster_bits(const char *s, unsigned *bits, struct err *e)
{
	u64 n = 0;
	int r = !strcmp(s, "512") ? (n = 512, 0) : parse_size(s, "--cluster", &n, e);

	if (r)
		return r;
	for (*bits = 9; *bits <= 21; ++*bits)
		if (n == 1ull << *bits)
			return 0;
	return err_set(e, EINVAL, "--cluster %s: a power of two from 512 to 2M is needed", s);
}

static int create(const struct args *a, int npos, char **pos)
{
	struct image_spec s = {
		.format = args_get(a, C_FORMAT), .backing = args_get(a, C_BACKING),
		.backing_format = args_get(a, C_BACKING_FORMAT), .replace = args_get(a, C_FORCE),
	};
	struct err e = { 0 };
	int r = 0;

	if (!s.format)
		s.format = "qcow2";
	if (npos < 1 || npos > 2 || (npos == 1 && !s.backing))
		return usage(&verb_image_create);
	r = parse_choice(s.format, "--format", FORMATS, &e);
	if (r >= 0 && s.backing_format)
		r = parse_choice(s.backing_format, "--backing-format", FORMATS, &e);
	if (r >= 0 && npos == 2)
		r = disk_size(pos[1], &s.size, &e);
	if (r >= 0 && args_get(a, C_CLUSTER))
		r = cluster_bits(args_get(a, C_CLUSTER), &s.cluster_bits, &e);
	if (r < 0) {
		cli_error("%s", e.msg);
		return EXIT_USAGE;
	}
	return image_create(pos[0], &s, &e) ? fail(&e) : image_done(pos[0], args_get(a, C_JSON));
}

const struct verb verb_image_create = {
	.name = "image create", .summary = "make an empty image, or one over a backing file",
	.usage = "[OPTION]... FILE [SIZE]", .options = create_options, .positional = "@file",
	.run = create, .text =
	"Examples:\n"
	"  penta image create disk.qcow2 20G\n"
	"  penta image create --backing debian.img --backing-format raw mine.qcow2\n",
};

/* --- info --- */

enum info_opt { I_JSON, I_N };
static const struct option info_options[I_N + 1] = {
	[I_JSON] = OPTION("json", NULL, NULL, "the same for programs"),
};

static void info_text(const char *path, const struct image_info *i)
{
	char a[24], b[24];

	printf("%s\n  format     %s", path, i->format);
	if (i->version)
		printf(" (version %u, clusters of %s, %s)", i->version,
		       human(1ull << i->cluster_bits, a), i->zstd ? "zstd" : "zlib");
	printf("\n  disk       %s (%llu bytes)\n  on host    %s", human(i->size, a),
	       (unsigned long long)i->size, human(i->allocated, b));
	if (i->in_use)
		printf("\n  in use by  %s", *i->holder ? i->holder : "another program");
	if (*i->backing)
		printf("\n  backing    %s%s%s%s", i->backing, *i->backing_format ? " (" : "",
		       i->backing_format, *i->backing_format ? ")" : "");
	if (i->nsnapshots)
		printf("\n  snapshots  %u inside, which penta does not read", i->nsnapshots);
	if (i->dirty || i->corrupt)
		printf("\n  state      %s", i->corrupt ? "damaged" :
		       "not closed: `penta image check --repair` mends it");
	putchar('\n');
}

static int info(const struct args *a, int npos, char **pos)
{
	struct image_info i;
	json_t *chain = json_array();
	struct err e = { 0 };
	char path[sizeof(i.backing_path)];
	bool json = args_get(a, I_JSON);
	int r;

	if (npos != 1) {
		json_decref(chain);
		return usage(&verb_image_info);
	}
	snprintf(path, sizeof(path), "%s", pos[0]);
	for (unsigned n = 0; ; n++) {
		r = n < BLOCK_CHAIN_MAX ? image_info(path, &i, &e) :
			err_set(&e, ELOOP, "%s: more than %u files in a chain", pos[0],
				BLOCK_CHAIN_MAX);
		if (r)
			break;
		image_info_holder(path, &i);
		if (json)
			json_array_append_new(chain, info_json(path, &i));
		else
			info_text(path, &i);
		if (!*i.backing)
			break;
		memcpy(path, i.backing_path, sizeof(path));
	}
	if (r || !json) {
		json_decref(chain);
		return r ? fail(&e) : EXIT_DONE;
	}
	return print_json(chain);
}

const struct verb verb_image_info = {
	.name = "image info", .summary = "what an image is, with its backing files",
	.usage = "[--json] FILE", .options = info_options, .positional = "@file", .run = info,
	.text = "--json prints an array: the image, then its backing files in order.\n",
};

/* --- check --- */

enum check_opt { K_REPAIR, K_JSON, K_N };
static const struct option check_options[K_N + 1] = {
	[K_REPAIR] = OPTION("repair", NULL, NULL, "mend what can be mended: counts of references"),
	[K_JSON] = OPTION("json", NULL, NULL, "the same for programs"),
};

static int check(const struct args *a, int npos, char **pos)
{
	struct image_check c;
	struct progress p;
	struct err e = { 0 };
	int r;

	if (npos != 1)
		return usage(&verb_image_check);
	progress_begin(&p, "checking", 0, false);
	r = image_check(pos[0], args_get(a, K_REPAIR), &c, on_progress, &p, &e);
	progress_end(&p);
	if (r)
		return fail(&e);
	if (args_get(a, K_JSON)) {
		print_json(json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "file", pos[0],
			"clusters", (json_int_t)c.clusters, "allocated", (json_int_t)c.allocated,
			"compressed", (json_int_t)c.compressed, "leaks", (json_int_t)c.leaks,
			"errors", (json_int_t)c.errors, "repaired", (json_int_t)c.repaired,
			"first", c.first));
	} else {
		if (c.errors)
			printf("%s: %llu error%s; the first: %s\n", pos[0],
			       (unsigned long long)c.errors, c.errors == 1 ? "" : "s", c.first);
		if (c.leaks)
			printf("%s: %llu cluster%s lost: room that nothing uses, and no more\n",
			       pos[0], (unsigned long long)c.leaks, c.leaks == 1 ? "" : "s");
		if (c.repaired)
			printf("%s: mended\n", pos[0]);
		if (!c.errors && !c.leaks)
			printf("%s: no errors; %llu of %llu clusters are allocated\n", pos[0],
			       (unsigned long long)c.allocated, (unsigned long long)c.clusters);
	}
	return c.repaired || (!c.errors && !c.leaks) ? EXIT_DONE :
		c.errors ? EXIT_DAMAGED : EXIT_LEAKS;
}

const struct verb verb_image_check = {
	.name = "image check",
	.summary = "does everything in a qcow2 image agree?",
	.usage = "[--repair] [--json] FILE",
	.options = check_options,
	.positional = "@file",
	.run = check,
	.text = "Exit status: 0 no errors, or mended; 3 room is lost, which is harmless (it "
		"happens when a\n"
		"process or its host dies); 4 errors; 1 the image cannot be checked.\n",
};

/* --- convert --- */

enum convert_opt { V_FROM, V_FORMAT, V_CLUSTER, V_SIZE, V_FORCE, V_JSON, V_N };
static const struct option convert_options[V_N + 1] = {
	[V_FROM] =
		OPTION("from", "NAME", FORMATS, "format of SOURCE (default: what it looks like)"),
	[V_FORMAT] = OPTION("format", "NAME", FORMATS, "format of TARGET: qcow2 (default) or raw"),
	[V_CLUSTER] = OPTION("cluster", "SIZE", "4K 64K 1M 2M", "unit of allocation of qcow2"),
	[V_SIZE] = OPTION("size", "SIZE", NULL, "make the disk larger"),
	[V_FORCE] = OPTION("force", NULL, NULL, "replace an existing file"),
	[V_JSON] = OPTION_JSON,
};

static int convert(const struct args *a, int npos, char **pos)
{
	const char *from = args_get(a, V_FROM);
	struct image_spec s = { .format = args_get(a, V_FORMAT), .replace = args_get(a, V_FORCE) };
	struct progress p;
	struct err e = { 0 };
	int r;

	if (npos != 2)
		return usage(&verb_image_convert);
	if (!s.format)
		s.format = "qcow2";
	r = parse_choice(s.format, "--format", FORMATS, &e);
	if (r >= 0 && from)
		r = parse_choice(from, "--from", FORMATS, &e);
	if (r >= 0 && args_get(a, V_CLUSTER))
		r = cluster_bits(args_get(a, V_CLUSTER), &s.cluster_bits, &e);
	if (r >= 0 && args_get(a, V_SIZE))
		r = disk_size(args_get(a, V_SIZE), &s.size, &e);
	if (r < 0) {
		cli_error("%s", e.msg);
		return EXIT_USAGE;
	}
	progress_begin(&p, "copying", 0, true);
	r = image_convert(pos[0], from, pos[1], &s, on_progress, &p, &e);
	progress_end(&p);
	return r ? fail(&e) : image_done(pos[1], args_get(a, V_JSON));
}

const struct verb verb_image_convert = {
	.name = "image convert", .summary = "copy an image and its backing files into a new one",
	.usage = "[OPTION]... SOURCE TARGET", .options = convert_options, .positional = "@file",
	.run = convert, .text =
	"TARGET appears when it is whole. Zeros take no space in it.\n"
	"\nExample:\n"
	"  penta image convert --format raw mine.qcow2 mine.img\n",
};

/* --- resize --- */

enum resize_opt { R_FORMAT, R_SHRINK, R_JSON, R_N };
static const struct option resize_options[R_N + 1] = {
	[R_FORMAT] = OPTION("format", "NAME", FORMATS, "of FILE (default: what it looks like)"),
	[R_SHRINK] = OPTION("shrink", NULL, NULL, "allow a raw image to lose its end"),
	[R_JSON] = OPTION_JSON,
};

static int resize(const struct args *a, int npos, char **pos)
{
	struct block_options o = { .format = args_get(a, R_FORMAT) };
	struct block *b;
	struct err e = { 0 };
	u64 size = 0;
	bool more;
	int r;

	if (npos != 2)
		return usage(&verb_image_resize);
	more = pos[1][0] == '+';
	r = o.format ? parse_choice(o.format, "--format", FORMATS, &e) : 0;
	if (r >= 0)
		r = disk_size(pos[1] + more, &size, &e);
	if (r < 0) {
		cli_error("%s", e.msg);
		return EXIT_USAGE;
	}
	r = block_open(&b, NULL, pos[0], &o, &e);
	if (r)
		return fail(&e);
	size += more ? b->info.size : 0;
	if (size < b->info.size && !args_get(a, R_SHRINK))
		r = err_set(&e, EINVAL, "%s: has %llu bytes; to cut off its end, say --shrink",
			    pos[0], (unsigned long long)b->info.size);
	else
		r = block_resize(b, size, &e);
	if (!r)
		r = block_sync(b, &e);
	block_free(b);
	return r ? fail(&e) : image_done(pos[0], args_get(a, R_JSON));
}

const struct verb verb_image_resize = {
	.name = "image resize", .summary = "make a disk larger (or a raw one smaller)",
	.usage = "[OPTION]... FILE [+]SIZE", .options = resize_options, .positional = "@file",
	.run = resize, .text =
	"Partitions and file systems in it stay as they are; the guest grows them.\n"
	"\nExample:\n"
	"  penta image resize disk.qcow2 +10G\n",
};

/* --- the verb --- */

static const struct verb *const subs[] = {
	&verb_image_create, &verb_image_info, &verb_image_check, &verb_image_convert,
	&verb_image_resize, &verb_image_build, NULL
};
static const struct option no_options[] = { { 0 } };

const struct verb verb_image = {
	.name = "image", .summary = "make, look at, check, copy and resize disk images",
	.usage = "VERB [OPTION]... FILE", .options = no_options, .subs = subs,
};
