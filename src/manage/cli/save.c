// SPDX-License-Identifier: GPL-2.0-or-later
/* save.c - `penta save`: a running machine into a file. */
#include "base/cleanup.h"
#include "block/image.h"
#include "manage/cli/machines.h"
#include "manage/cli/progress.h"
#include "manage/machine/restoring.h"
#include <errno.h>
#include <sys/stat.h>

enum opt { OPT_RUNNING, OPT_JSON, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_RUNNING] = OPTION("running", NULL, NULL,
		"let the machine go on afterwards: only for machines\n"
		"whose disks are read-only, or that have none"),
	[OPT_JSON] = OPTION_JSON,
};

static const char text[] =
	"All that the machine is goes into FILE: memory, processors, devices, and its configuration.\n"
	"Disks stay where they are, so the machine ends when FILE is complete; `penta restore FILE`\n"
	"lets it go on from there, as if nothing had happened. FILE appears whole or not at all.\n"
	"To keep a state and go on, disks included, see `penta snapshot`.\n"
	"\nExamples:\n"
	"  penta save web web.state && penta restore web.state\n";

struct saving {
	struct control *c;
	char *config;
	bool hold;
	struct progress p;
};

static void on_progress(void *ctx, u64 done, u64 total)
{
	struct progress *p = ctx;

	p->total = total;
	progress_update(p, done);
}

static int fill(void *ctx, int fd, struct err *e)
{
	struct saving *s = ctx;
	int r;

	if (fchmod(fd, 0600))	/* a guest's memory has its passwords and keys */
		return err_errno(e, "make it yours alone");
	r = control_pass_fd(s->c, "stream", fd, e);
	if (r)
		return r;
	progress_begin(&s->p, "saving memory", 0, true);
	control_on_progress(s->c, on_progress, &s->p);
	r = control_call(s->c, "penta-save", json_pack("{s:s, s:s, s:b}", "fdname", "stream",
			 "config", s->config, "hold", s->hold), -1, NULL, e);
	progress_end(&s->p);
	return r;
}

static bool writes_disks(const struct vm_config *c)
{
	for (unsigned i = 0; i < c->ndisk; i++)
		if (!c->disk[i].ro)
			return true;
	return false;
}

static int save(const char *name, const char *path, bool running, struct err *e)
{
	struct saving s = { .hold = !running };
	struct folder f = FOLDER_NONE;
	struct vm_config c;
	int r = cli_lock(&f, name, false, e);

	vm_config_init(&c);
	if (!r)
		r = cli_control(&s.c, name, e);
	if (!r)
		r = folder_read_config(&f, &c, e);
	if (!r && running && writes_disks(&c))
		r = err_set(e, EINVAL, "machine \"%s\" has disks that it writes to: what is saved now "
			    "would not fit to them later; take a snapshot, or save without --running",
			    name);
	if (!r && !(s.config = restoring_config_text(&f, &c, e)))
		r = -ENOMEM;
	if (!r) {
		r = image_publish(path, true, fill, &s, e);
		/* The file is durable: only now may the machine go. */
		if (!r && !running)
			r = control_call(s.c, "penta-end", json_pack("{s:s}", "how", "saved"),
					 CONTROL_MS, NULL, e);
		else if (r && !running)
			control_call(s.c, "cont", NULL, CONTROL_MS, NULL, NULL);
		if (!r && !running)
			r = cli_wait_gone(&f, CONTROL_MS, e);
	}
	control_close(s.c);
	free(s.config);
	vm_config_free(&c);
	folder_close(&f);
	return r;
}

static int run(const struct args *a, int npos, char **pos)
{
	struct err e = { 0 };

	if (npos != 2) {
		cli_error("save: a machine and a file are needed: penta save NAME FILE");
		return EXIT_USAGE;
	}
	if (save(pos[0], pos[1], args_get(a, OPT_RUNNING) != NULL, &e)) {
		cli_error("%s", e.msg);
		return EXIT_FAILED;
	}
	if (args_get(a, OPT_JSON))
		cli_print_json(json_pack("{s:s, s:s}", "name", pos[0], "file", pos[1]));
	return EXIT_DONE;
}

const struct verb verb_save = {
	.name = "save", .summary = "put a running machine into a file", .usage = "NAME FILE",
	.options = options, .text = text, .positional = "@machine", .run = run,
};
