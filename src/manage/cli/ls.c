// SPDX-License-Identifier: GPL-2.0-or-later
/* ls.c - `penta ls`: the machines, and how they are. */
#include "manage/cli/machines.h"
#include "base/cleanup.h"
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum opt { OPT_JSON, OPT_N };
enum { ANSWER_MS = 1000, SAMPLE_MS = 100 };

static const struct option options[OPT_N + 1] = {
	[OPT_JSON] = OPTION_JSON,
};

static const char text[] =
	"STATE is off, running, paused, died (its process was killed), busy (it does not answer), or\n"
	"broken (config.json cannot be read). CPU is what its process uses now, of one processor.\n"
	"\nExamples:\n"
	"  penta ls\n"
	"  penta ls --json | jq -r '.[] | select(.status == \"running\") | .name'\n";

struct row {
	char *name;
	char state[24], engine[16];
	unsigned cpus;			/* 0: unknown, and so are memory and engine */
	u64 memory;
	double uptime, cpu;		/* cpu: percent of one; < 0: unknown */
	pid_t pid;
	u64 ticks;
};

/* Processor time of a process in clock ticks (proc(5): fields 14 and 15); 0 when it has gone. */
static u64 cpu_ticks(pid_t pid)
{
	unsigned long long user = 0, sys = 0;
	char path[40], buf[1024] = { 0 }, *p;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (!fread(buf, 1, sizeof(buf) - 1, f))
		buf[0] = '\0';
	fclose(f);
	p = strrchr(buf, ')');		/* the name before may hold anything */
	if (!p || sscanf(p + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu %llu", &user,
			 &sys) != 2)
		return 0;
	return user + sys;
}

static void ask(struct row *w, const struct folder *f)
{
	struct control *c = NULL;
	json_t *info = NULL;
	struct err e = { 0 };

	if (control_open(&c, f, ANSWER_MS, &e) ||
	    control_call(c, "penta-info", NULL, ANSWER_MS, &info, &e)) {
		snprintf(w->state, sizeof(w->state), "busy");
	} else {
		const char *status = json_string_value(json_object_get(info, "status"));
		const char *engine = json_string_value(json_object_get(info, "engine"));

		snprintf(w->state, sizeof(w->state), "%.20s", status ? status : "busy");
		snprintf(w->engine, sizeof(w->engine), "%.12s", engine ? engine : "?");
		w->cpus = (unsigned)json_integer_value(json_object_get(info, "cpus"));
		w->memory = (u64)json_integer_value(json_object_get(info, "memory"));
		w->uptime = json_number_value(json_object_get(info, "uptime"));
	}
	json_decref(info);
	control_close(c);
}

static int look(struct row *w, const char *name, struct err *e)
{
	static const char *const engines[] = { "auto", "soft", "kvm" };	/* VM_ENGINES */
	struct folder_status s;
	struct vm_config c;
	struct folder f;
	int r = folder_open(&f, name, e);

	if (r)
		return r;
	w->name = strdup(name);
	w->cpu = -1;
	folder_status(&f, &s);
	vm_config_init(&c);
	if (folder_read_config(&f, &c, NULL)) {
		snprintf(w->state, sizeof(w->state), "broken");
	} else {
		snprintf(w->state, sizeof(w->state), s.state == FOLDER_DIED ? "died" : "off");
		w->cpus = c.cpus;
		w->memory = c.memory;
		snprintf(w->engine, sizeof(w->engine), "%s", engines[c.engine]);
	}
	vm_config_free(&c);
	if (s.state == FOLDER_RUNNING) {
		w->pid = s.pid;
		w->ticks = s.pid ? cpu_ticks(s.pid) : 0;
		ask(w, &f);
	}
	folder_close(&f);
	return 0;
}

static u64 mono_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000 + (u64)ts.tv_nsec / 1000000;
}

/* What each process has used since the first look. */
static void sample(struct row *w, size_t n, u64 began_ms)
{
	long hz = sysconf(_SC_CLK_TCK);
	bool some = false;
	u64 ms;

	for (size_t i = 0; i < n; i++)
		some |= w[i].pid != 0;
	if (!some)
		return;
	ms = mono_ms() - began_ms;
	if (ms < SAMPLE_MS)
		usleep((useconds_t)(SAMPLE_MS - ms) * 1000);
	ms = MAX(mono_ms() - began_ms, 1u);
	for (size_t i = 0; i < n; i++)
		if (w[i].pid) {
			u64 now = cpu_ticks(w[i].pid);

			if (now >= w[i].ticks)
				w[i].cpu = (double)(now - w[i].ticks) * 1000 / (double)hz /
					   (double)ms * 100;
		}
}

static void print_table(const struct row *w, size_t n)
{
	int width = 4;

	for (size_t i = 0; i < n; i++)
		width = MAX(width, (int)strlen(w[i].name));
	printf("%-*s  %-14s %4s %9s  %-6s %9s %6s\n", width, "NAME", "STATE", "CPUS", "MEMORY",
	       "ENGINE", "UPTIME", "CPU");
	for (size_t i = 0; i < n; i++) {
		char cpus[16] = "-", mem[16] = "-", up[16] = "-", cpu[16] = "-";

		if (w[i].cpus) {
			snprintf(cpus, sizeof(cpus), "%u", w[i].cpus);
			cli_bytes(mem, (double)w[i].memory);
		}
		if (w[i].uptime > 0)
			cli_duration(up, w[i].uptime);
		if (w[i].cpu >= 0)
			snprintf(cpu, sizeof(cpu), "%.0f%%", w[i].cpu);
		printf("%-*s  %-14s %4s %9s  %-6s %9s %6s\n", width, w[i].name, w[i].state, cpus,
		       mem, w[i].cpus ? w[i].engine : "-", up, cpu);
	}
}

static json_t *to_json(const struct row *w, size_t n)
{
	json_t *all = json_array();

	for (size_t i = 0; i < n; i++) {
		json_t *j = json_pack("{s:s, s:s}", "name", w[i].name, "status", w[i].state);

		if (w[i].cpus)
			json_object_update_new(j, json_pack("{s:i, s:I, s:s}", "cpus",
				(int)w[i].cpus, "memory", (json_int_t)w[i].memory, "engine",
				w[i].engine));
		if (w[i].pid)
			json_object_set_new(j, "pid", json_integer(w[i].pid));
		if (w[i].uptime > 0)
			json_object_set_new(j, "uptime", json_real(w[i].uptime));
		if (w[i].cpu >= 0)
			json_object_set_new(j, "cpu", json_real(w[i].cpu));
		json_array_append_new(all, j);
	}
	return all;
}

static int run(const struct args *a, int npos, char **pos)
{
	u64 began = mono_ms();
	struct err e = { 0 };
	char **names = NULL;
	struct row *w;
	size_t n = 0, rows = 0;
	int status = EXIT_DONE;

	if (!npos && folder_list(&names, &e)) {
		cli_error("%s", e.msg);
		return EXIT_FAILED;
	}
	for (n = (size_t)npos; names && names[n]; n++)
		;
	w = calloc(n + 1, sizeof(*w));
	for (size_t i = 0; w && i < n; i++) {
		int r = look(&w[rows], npos ? pos[i] : names[i], &e);

		if (!r) {
			rows++;
		} else if (npos || r != -ENOENT) {	/* else it went while we looked */
			cli_error("%s", e.msg);
			status = EXIT_FAILED;
		}
	}
	if (w) {
		sample(w, rows, began);
		if (args_get(a, OPT_JSON))
			cli_print_json(to_json(w, rows));
		else if (rows)
			print_table(w, rows);
		else if (!npos)
			fputs("penta: there are no machines; `penta create --help` tells how to "
			      "make one\n", stderr);
	}
	for (size_t i = 0; w && i < rows; i++)
		free(w[i].name);
	free(w);
	folder_list_free(names);
	return status;
}

const struct verb verb_ls = {
	.name = "ls", .summary = "list the machines, and how they are", .usage = "[NAME]...",
	.options = options, .text = text, .positional = "@machine", .run = run,
};
