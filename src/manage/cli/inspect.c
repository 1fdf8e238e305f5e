// SPDX-License-Identifier: GPL-2.0-or-later
/* inspect.c - `penta inspect`: the state of a running machine's devices, field by field. */
#include "manage/cli/machines.h"

enum opt { OPT_JSON, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_JSON] = OPTION("json", NULL, NULL, "as always: the output is JSON"),
};

static const char text[] =
	"Prints what a save would keep, as JSON: each device's declared fields, and each processor's\n"
	"(cpu0, cpu1...). The machine stands still for a moment.\n"
	"\nExamples:\n"
	"  penta inspect web\n"
	"  penta inspect web pit\n"
	"  penta inspect web cpu0 | jq -r .cpus.cpu0.rip\n";

static int run(const struct args *a, int npos, char **pos)
{
	struct control *c = NULL;
	struct err e = { 0 };
	json_t *ret = NULL;
	int r;

	if (npos < 1 || npos > 2) {
		cli_error("inspect: penta inspect NAME [DEVICE]");
		return EXIT_USAGE;
	}
	r = cli_control(&c, pos[0], &e);
	if (!r)
		r = control_call(c, "penta-inspect", json_pack("{s:s*}", "path",
				 npos > 1 ? pos[1] : NULL), CONTROL_MS, &ret, &e);
	control_close(c);
	if (r) {
		cli_error("%s", e.msg);
		return EXIT_FAILED;
	}
	cli_print_json(ret);
	return EXIT_DONE;
}

const struct verb verb_inspect = {
	.name = "inspect", .summary = "the state of a running machine's devices",
	.usage = "NAME [DEVICE]", .options = options, .text = text, .positional = "@machine",
	.run = run,
};
