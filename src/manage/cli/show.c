// SPDX-License-Identifier: GPL-2.0-or-later
/* show.c - `penta show`: what a machine is made of, and how it is. */
#include "manage/cli/machines.h"
#include "base/cleanup.h"
#include <string.h>
#include <time.h>

enum opt { OPT_JSON, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_JSON] = OPTION_JSON,
};

static const char text[] =
	"Prints the options that `penta set` changes, with their values.\n"
	"\nExamples:\n"
	"  penta show web\n"
	"  penta show --json web | jq .config.memory\n";

static void put_when(const char *what, u64 since)
{
	time_t t = (time_t)since;
	char buf[64];
	struct tm tm;

	if (since && strftime(buf, sizeof(buf), "%Y-%m-%d %H:%M:%S", localtime_r(&t, &tm)))
		printf("%-14s %s\n", what, buf);
}

static void put_status(const struct folder *f, const struct folder_status *s, const char *status)
{
	printf("%-14s %s\n%-14s %s\n", "name", f->name, "status", status);
	if (s->state == FOLDER_RUNNING) {
		printf("%-14s %d\n", "process", (int)s->pid);
		put_when("started", s->since);
	} else if (s->ended[0]) {
		printf("%-14s %s\n", "last end", s->ended);
		put_when("ended", s->since);
	} else if (s->state == FOLDER_DIED) {
		printf("%-14s %s\n", "last end", "its process was killed");
	}
	printf("%-14s %s\n", "folder", f->path);
}

static void put_config(const struct vm_config *c)
{
	for (const struct config_field *k = vm_config_fields; k->name; k++)
		for (unsigned i = 0; ; i++) {
			cleanup_free char *val = vm_config_get(c, k, i);

			if (!val || (i && k->type != FIELD_LIST))
				break;
			printf("%-14s %s\n", k->name, val);
		}
}

/* Its own word for how it is, while it runs; *@memory: what its balloon leaves to the guest; 0: it has
 * no balloon. */
static void running_status(const struct folder *f, char *buf, size_t len, u64 *memory)
{
	struct control *c = NULL;
	json_t *ret = NULL;
	struct err e = { 0 };
	const char *word = NULL;

	if (!control_open(&c, f, CONTROL_MS, &e) &&
	    !control_call(c, "query-status", NULL, CONTROL_MS, &ret, &e))
		word = json_string_value(json_object_get(ret, "status"));
	snprintf(buf, len, "%.40s", word ? word : "busy");
	json_decref(ret);
	ret = NULL;
	if (word && !control_call(c, "query-balloon", NULL, CONTROL_MS, &ret, &(struct err){ 0 }))
		*memory = (u64)json_integer_value(json_object_get(ret, "actual"));
	json_decref(ret);
	control_close(c);
}

static int show(const char *name, const struct args *a, json_t *out, struct err *e)
{
	struct folder_status s;
	struct vm_config c;
	char status[48], buf[16];
	u64 memory = 0;
	struct folder f;
	int r = folder_open(&f, name, e);

	if (r)
		return r;
	vm_config_init(&c);
	folder_status(&f, &s);
	snprintf(status, sizeof(status), s.state == FOLDER_DIED ? "died" : "off");
	r = folder_read_config(&f, &c, e);
	if (s.state == FOLDER_RUNNING)
		running_status(&f, status, sizeof(status), &memory);
	else if (r)
		snprintf(status, sizeof(status), "broken");
	if (args_get(a, OPT_JSON)) {
		json_object_set_new(out, "status", json_string(status));
		json_object_set_new(out, "path", json_string(f.path));
		if (s.pid)
			json_object_set_new(out, "pid", json_integer(s.pid));
		if (memory)
			json_object_set_new(out, "memory-now", json_integer((json_int_t)memory));
		if (s.ended[0])
			json_object_set_new(out, "last-end", json_string(s.ended));
		if (!r)
			json_object_set_new(out, "config", vm_config_json(&c));
	} else {
		put_status(&f, &s, status);
		if (memory)
			printf("%-14s %s\n", "memory now", cli_bytes(buf, (double)memory));
		if (!r)
			put_config(&c);
	}
	vm_config_free(&c);
	folder_close(&f);
	return r;
}

static int run(const struct args *a, int npos, char **pos)
{
	return cli_each(&verb_show, a, args_get(a, OPT_JSON), npos, pos, show);
}

const struct verb verb_show = {
	.name = "show", .summary = "what machines are made of, and how they are",
	.usage = "NAME...", .options = options, .text = text, .positional = "@machine", .run = run,
};
