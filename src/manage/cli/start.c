// SPDX-License-Identifier: GPL-2.0-or-later
/* start.c - `penta start`: run machines in the background. */
#include "manage/cli/machines.h"
#include "manage/cli/oneshot.h"
#include "manage/machine/process.h"

enum opt { OPT_JSON, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_JSON] = OPTION_JSON,
};

static const char text[] =
	"Returns when the machine runs, or says why it does not. What penta says later is shown by\n"
	"`penta logs --penta NAME`.\n"
	"\nExamples:\n"
	"  penta start web db\n"
	"  penta start web && penta console web\n";

static int start(const char *name, const struct args *a, json_t *out, struct err *e)
{
	struct folder_status s;
	struct vm_config c;
	struct folder f;
	int r = cli_lock(&f, name, true, e);

	if (r)
		return r;
	vm_config_init(&c);
	r = folder_read_config(&f, &c, e);
	if (!r)
		r = vm_config_check(&c, e);
	if (!r) {
		cli_warn_memory(name, &c);
		oneshot_forget(&f);	/* no command stops it */
		r = process_start(&f, &c, NULL, NULL, NULL, e);
	}
	if (!r) {
		folder_status(&f, &s);
		json_object_set_new(out, "status", json_string("running"));
		json_object_set_new(out, "pid", json_integer(s.pid));
	}
	vm_config_free(&c);
	folder_close(&f);
	return r;
}

static int run(const struct args *a, int npos, char **pos)
{
	return cli_each(&verb_start, a, args_get(a, OPT_JSON), npos, pos, start);
}

const struct verb verb_start = {
	.name = "start", .summary = "run machines in the background", .usage = "NAME...",
	.options = options, .text = text, .positional = "@machine", .run = run,
};
