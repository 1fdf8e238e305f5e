// SPDX-License-Identifier: GPL-2.0-or-later
/* rename.c - `penta rename`. */
#include "manage/cli/machines.h"
#include "base/cleanup.h"
#include <errno.h>

enum opt { OPT_JSON, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_JSON] = OPTION_JSON,
};

static int rename_to(const char *name, const char *to, struct err *e)
{
	cleanup_free char *user = NULL;
	struct folder f;
	int r = cli_lock(&f, name, true, e);

	if (r)
		return r;
	user = cli_dependent(&f);
	r = user ? err_set(e, EBUSY, "machine \"%s\": the disks of \"%s\" are built on its disks, "
			   "and name their place", name, user) : folder_rename(&f, to, e);
	folder_close(&f);
	return r;
}

static int run(const struct args *a, int npos, char **pos)
{
	struct err e = { 0 };
	int r;

	if (npos != 2) {
		cli_error("rename: two names are needed: penta rename OLD NEW");
		return EXIT_USAGE;
	}
	r = rename_to(pos[0], pos[1], &e);
	if (r)
		cli_error("%s", e.msg);
	if (args_get(a, OPT_JSON))
		cli_print_json(r ? json_pack("{s:s?, s:s?}", "name", pos[0], "error", e.msg)
				 : json_pack("{s:s?, s:s?}", "name", pos[1], "was", pos[0]));
	return r ? EXIT_FAILED : EXIT_DONE;
}

const struct verb verb_rename = {
	.name = "rename", .summary = "give a machine another name", .usage = "OLD NEW",
	.options = options, .positional = "@machine", .run = run,
	.text = "It must not run.\n\nExamples:\n  penta rename web web-old\n",
};
