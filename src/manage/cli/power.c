// SPDX-License-Identifier: GPL-2.0-or-later
/* power.c - `penta reset`, `pause`, `resume`: verbs that are one command of the control socket. */
#include "manage/cli/machines.h"

enum opt { OPT_JSON, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_JSON] = OPTION_JSON,
};

static int command(const char *name, const char *cmd, json_t *out, struct err *e)
{
	struct control *c = NULL;
	json_t *ret = NULL;
	int r = cli_control(&c, name, e);

	if (!r)
		r = control_call(c, cmd, NULL, CONTROL_MS, NULL, e);
	if (!r)
		r = control_call(c, "query-status", NULL, CONTROL_MS, &ret, e);
	if (!r)
		json_object_set(out, "status", json_object_get(ret, "status"));
	json_decref(ret);
	control_close(c);
	return r;
}

static int reset(const char *name, const struct args *a, json_t *out, struct err *e)
{
	return command(name, "system_reset", out, e);
}

static int pause_one(const char *name, const struct args *a, json_t *out, struct err *e)
{
	return command(name, "stop", out, e);
}

static int resume(const char *name, const struct args *a, json_t *out, struct err *e)
{
	return command(name, "cont", out, e);
}

static int run_reset(const struct args *a, int npos, char **pos)
{
	return cli_each(&verb_reset, a, args_get(a, OPT_JSON), npos, pos, reset);
}

static int run_pause(const struct args *a, int npos, char **pos)
{
	return cli_each(&verb_pause, a, args_get(a, OPT_JSON), npos, pos, pause_one);
}

static int run_resume(const struct args *a, int npos, char **pos)
{
	return cli_each(&verb_resume, a, args_get(a, OPT_JSON), npos, pos, resume);
}

const struct verb verb_reset = {
	.name = "reset", .summary = "reset machines, as their reset button would",
	.usage = "NAME...", .options = options, .positional = "@machine", .run = run_reset,
	.text = "The guest has no time to prepare; `penta stop` and `start` are kinder.\n"
		"\nExamples:\n  penta reset web\n",
};

const struct verb verb_pause = {
	.name = "pause", .summary = "let machines stand still", .usage = "NAME...",
	.options = options, .positional = "@machine", .run = run_pause,
	.text = "Their clocks stand, too. `penta resume` lets them go on.\n"
		"\nExamples:\n  penta pause web\n",
};

const struct verb verb_resume = {
	.name = "resume", .summary = "let paused machines go on", .usage = "NAME...",
	.options = options, .positional = "@machine", .run = run_resume,
	.text = "\nExamples:\n  penta resume web\n",
};
