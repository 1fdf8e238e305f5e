// SPDX-License-Identifier: GPL-2.0-or-later
/* stop.c - `penta stop`: press the power button, wait for the guest, and end it if it takes too long. */
#include "manage/cli/machines.h"
#include <errno.h>
#include <time.h>

enum opt { OPT_TIMEOUT, OPT_FORCE, OPT_JSON, OPT_N };

/* A guest that was still booting did not see the button. */
enum { PRESS_AGAIN_S = 10 };

static const struct option options[OPT_N + 1] = {
	[OPT_TIMEOUT] = OPTION("timeout", "SECONDS", NULL,
		"how long the guest may take before it is ended by force\n"
		"(default: the machine's stop-timeout)"),
	[OPT_FORCE] = OPTION("force", NULL, NULL,
		"end it at once, as if its power had failed", .letter = 'f'),
	[OPT_JSON] = OPTION_JSON,
};

static const char text[] =
	"A machine that does not run is no error.\n"
	"\nExamples:\n"
	"  penta stop web\n"
	"  penta stop --timeout 300 db\n"
	"  penta stop --force web\n";

/* 0: it has gone; -ETIMEDOUT. */
static int press_and_wait(const struct folder *f, unsigned seconds, struct err *e)
{
	time_t end = time(NULL) + (time_t)seconds, press = 0;
	struct control *c = NULL;
	int r = control_open(&c, f, CONTROL_MS, e);

	if (!r)			/* who is paused sees no button */
		r = control_call(c, "cont", NULL, CONTROL_MS, NULL, e);
	while (!r) {
		time_t now = time(NULL);

		if (now >= end) {
			r = err_set(e, ETIMEDOUT, "machine \"%s\" did not power off within %u "
				    "seconds", f->name, seconds);
			break;
		}
		if (now >= press) {
			press = now + PRESS_AGAIN_S;
			r = control_call(c, "system_powerdown", NULL, CONTROL_MS, NULL, e);
			if (r == -EIO)		/* it crashed, or is off already */
				r = 0;
			if (r)
				break;
		}
		r = control_wait(c, "SHUTDOWN", (int)(MIN(end, press) - now) * 1000, NULL, e);
		if (r == -ETIMEDOUT)
			r = 0;
		else if (!r)
			r = -ECONNRESET;
	}
	control_close(c);
	return r == -ECONNRESET || r == -ECONNREFUSED ? cli_wait_gone(f, 30000, e) : r;
}

static int stop(const char *name, const struct args *a, json_t *out, struct err *e)
{
	unsigned seconds = 60;
	struct folder_status s;
	struct vm_config c;
	struct folder f;
	bool forced = args_get(a, OPT_FORCE) != NULL;
	int r = folder_open(&f, name, e);

	if (r)
		return r;
	vm_config_init(&c);
	if (!folder_read_config(&f, &c, NULL))
		seconds = c.stop_timeout;
	vm_config_free(&c);
	if (args_get(a, OPT_TIMEOUT))
		r = parse_number(args_get(a, OPT_TIMEOUT), "--timeout", 0, 86400, &seconds, e);
	folder_status(&f, &s);
	if (!r && s.state == FOLDER_RUNNING) {
		if (!forced && seconds) {
			r = press_and_wait(&f, seconds, e);
			if (r == -ETIMEDOUT) {
				fprintf(stderr, "penta: %s; it is ended by force\n", e->msg);
				forced = true;
			}
		} else {
			forced = true;
		}
		if (forced)
			r = cli_kill(&f, e);
	}
	if (!r) {
		json_object_set_new(out, "status", json_string("off"));
		json_object_set_new(out, "forced", json_boolean(forced));
	}
	folder_close(&f);
	return r;
}

static int run(const struct args *a, int npos, char **pos)
{
	return cli_each(&verb_stop, a, args_get(a, OPT_JSON), npos, pos, stop);
}

const struct verb verb_stop = {
	.name = "stop", .summary = "shut machines down",
	.usage = "[--timeout SECONDS] [--force] NAME...",
	.options = options, .text = text, .positional = "@machine", .run = run,
};
