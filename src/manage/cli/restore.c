// SPDX-License-Identifier: GPL-2.0-or-later
/* restore.c - `penta restore`: a machine out of a file, running again. */
#include "base/cleanup.h"
#include "manage/cli/machines.h"
#include "manage/machine/restoring.h"
#include "state/state.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum opt { OPT_NAME, OPT_FORCE, OPT_INFO, OPT_JSON, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_NAME] = OPTION("name", "NAME", "@machine",
		"the machine's name, if it is not to be that\n"
		"which it had; made if there is none such"),
	[OPT_FORCE] = OPTION("force", NULL, NULL,
		"even if the machine has run since it was saved, so\n"
		"that its disks are not what its memory thinks"),
	[OPT_INFO] = OPTION("info", NULL, NULL,
		"only check FILE, and say what is in it"),
	[OPT_JSON] = OPTION_JSON,
};

static const char text[] =
	"The guest runs at once, while its memory still comes in: leave FILE alone for some seconds. The\n"
	"time of day is right again when the guest asks for it.\n"
	"\nExamples:\n"
	"  penta restore web.state && penta console web\n"
	"  penta restore web.state --info\n";

/* A machine that was saved may only go on from where its disks were left. */
static int check_disks(const char *name, const struct folder_status *s, const struct vm_config *c,
		       const struct state_info *i, struct err *e)
{
	bool writes = false;

	for (unsigned k = 0; k < c->ndisk; k++)
		writes |= !c->disk[k].ro;
	if (!writes || (!strcmp(s->ended, "saved") && s->since + 5 >= (u64)i->saved_ns / 1000000000))
		return 0;
	return err_set(e, EEXIST, "machine \"%s\" has run since it was saved (%s): its disks are not what "
		       "its memory thinks; --force restores it all the same", name,
		       s->ended[0] ? s->ended : "how it ended is not known");
}

static int restore(const char *path, const struct args *a, const char **name, struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct state_stream *s = NULL;
	struct folder f = FOLDER_NONE;
	const struct state_info *i;
	struct folder_status st;
	struct vm_config c;
	bool known = false;
	int r;

	if (fd < 0)
		return err_errno(e, "open %s", path);
	vm_config_init(&c);
	r = state_open(&s, fd, path, e);
	if (r)
		goto out;
	i = state_info(s);
	if (!args_get(a, OPT_FORCE)) {
		r = restoring_check_disks(i->config, &known, e);
		if (r)
			goto out;
	}
	*name = args_get(a, OPT_NAME) ? args_get(a, OPT_NAME) : i->name;
	if (!**name) {
		r = err_set(e, EINVAL, "%s is of a machine without a name; give it one: --name NAME",
			    path);
		goto out;
	}
	*name = strdup(*name);
	r = restoring_config_read(i->config, path, &c, e);
	if (!r)
		r = vm_config_check(&c, e);
	if (r)
		goto out;
	r = folder_open(&f, *name, e);
	if (!r) {
		folder_status(&f, &st);		/* before we hold the lock that says "running" */
		folder_close(&f);
		r = cli_lock(&f, *name, true, e);
		if (!r && !known && !args_get(a, OPT_FORCE))
			r = check_disks(*name, &st, &c, i, e);
	} else if (r == -ENOENT) {
		e->code = 0;
		r = folder_create(&f, *name, &c, NULL, NULL, e);
		if (!r)
			r = folder_run(&f, e);
	}
	if (!r)
		r = restoring_start(&f, &c, fd, path, NULL, e);
out:
	state_close(s);
	vm_config_free(&c);
	folder_close(&f);
	return r;
}

static int info(const char *path, bool json, struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	const struct state_info *i;
	struct state_stream *s;
	char size[16], when[64];
	time_t t;
	struct tm tm;
	int r;

	if (fd < 0)
		return err_errno(e, "open %s", path);
	r = state_open(&s, fd, path, e);
	if (r)
		return r;
	i = state_info(s);
	t = (time_t)(i->saved_ns / 1000000000);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", localtime_r(&t, &tm));
	r = state_verify(s, NULL, NULL, e);
	if (!r && json)
		cli_print_json(json_pack("{s:s, s:I, s:s, s:i, s:I, s:s, s:s, s:b}", "name", i->name,
			"time", (json_int_t)t, "penta", i->penta, "cpus", (int)i->ncpus, "memory",
			(json_int_t)i->ram_size, "platform", i->platform, "cpu", i->cpu_model,
			"paused", i->paused));
	else if (!r)
		printf("machine %s, saved %s by penta %s: %s board %u, %u CPUs (%s), %s of memory%s\n",
		       i->name[0] ? i->name : "without a name", when, i->penta, i->platform, i->board,
		       i->ncpus, i->cpu_model, cli_bytes(size, (double)i->ram_size),
		       i->paused ? ", paused" : "");
	state_close(s);
	return r;
}

static int run(const struct args *a, int npos, char **pos)
{
	const char *name = NULL;
	struct err e = { 0 };
	int r;

	if (npos != 1) {
		cli_error("restore: one file is needed: penta restore FILE");
		return EXIT_USAGE;
	}
	r = args_get(a, OPT_INFO) ? info(pos[0], args_get(a, OPT_JSON) != NULL, &e)
				  : restore(pos[0], a, &name, &e);
	if (r) {
		cli_error("%s", e.msg);
		return EXIT_FAILED;
	}
	if (args_get(a, OPT_JSON) && name)
		cli_print_json(json_pack("{s:s, s:s}", "name", name, "status", "running"));
	return EXIT_DONE;
}

const struct verb verb_restore = {
	.name = "restore", .summary = "let a saved machine go on", .usage = "FILE [--name NAME]",
	.options = options, .text = text, .positional = "@file", .run = run,
};
