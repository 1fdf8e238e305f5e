// SPDX-License-Identifier: GPL-2.0-or-later
/* rm.c - `penta rm`: a machine goes, with the disks that lie in its folder. */
#include "manage/cli/machines.h"
#include "base/cleanup.h"
#include <errno.h>

enum opt { OPT_FORCE, OPT_JSON, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_FORCE] = OPTION("force", NULL, NULL, "end it first, if it runs", .letter = 'f'),
	[OPT_JSON] = OPTION_JSON,
};

static const char text[] =
	"What lies elsewhere (disks, kernels) stays. A machine that linked clones are built on is kept\n"
	"until they are gone.\n"
	"\nExamples:\n"
	"  penta rm web\n"
	"  penta rm --force web db\n";

static int rm(const char *name, const struct args *a, json_t *out, struct err *e)
{
	cleanup_free char *user = NULL;
	struct folder_status s;
	struct folder f;
	int r = cli_lock(&f, name, false, e);

	if (r)
		return r;
	user = cli_dependent(&f);
	folder_status(&f, &s);
	if (user)
		r = err_set(e, EBUSY, "machine \"%s\": the disks of \"%s\" are built on its disks",
			    name, user);
	else if (s.state == FOLDER_RUNNING && !args_get(a, OPT_FORCE))
		r = err_set(e, EBUSY, "machine \"%s\" is running; stop it first, or say --force",
			    name);
	else if (s.state == FOLDER_RUNNING)
		r = cli_kill(&f, e);
	if (!r)
		r = folder_run(&f, e);
	if (!r)
		r = folder_remove(&f, e);
	if (!r)
		json_object_set_new(out, "status", json_string("removed"));
	folder_close(&f);
	return r;
}

static int run(const struct args *a, int npos, char **pos)
{
	return cli_each(&verb_rm, a, args_get(a, OPT_JSON), npos, pos, rm);
}

const struct verb verb_rm = {
	.name = "rm", .summary = "remove machines", .usage = "[--force] NAME...",
	.options = options, .text = text, .positional = "@machine", .run = run,
};
