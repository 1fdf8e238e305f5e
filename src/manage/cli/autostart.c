// SPDX-License-Identifier: GPL-2.0-or-later
/* autostart.c - `penta autostart`: which machines start with the host. There is no daemon: a systemd
 * unit, which the verb prints, runs `penta autostart run` at boot or at login. */
#include "manage/cli/machines.h"
#include "base/cleanup.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum opt { OPT_JSON, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_JSON] = OPTION_JSON,
};

static const char text[] =
	"  penta autostart on NAME...    mark machines       penta autostart ls    list those marked\n"
	"  penta autostart off NAME...   unmark them         penta autostart run   start them all\n"
	"  penta autostart stop          shut them down      penta autostart unit  print a systemd unit\n"
	"\nExamples:\n"
	"  penta autostart on web\n"
	"  penta autostart unit > ~/.config/systemd/user/penta.service\n"
	"  systemctl --user enable --now penta; loginctl enable-linger\n"
	"As root, for the machines in /var/lib/penta:\n"
	"  penta autostart unit > /etc/systemd/system/penta.service && systemctl enable --now penta\n";

static int mark(const char *name, bool on, json_t *out, struct err *e)
{
	struct vm_config c;
	struct folder f;
	int r = cli_lock(&f, name, false, e);

	if (r)
		return r;
	vm_config_init(&c);
	r = folder_read_config(&f, &c, e);
	if (!r && c.autostart != on) {
		c.autostart = on;
		r = folder_write_config(&f, &c, e);
	}
	if (!r)
		json_object_set_new(out, "autostart", json_boolean(on));
	vm_config_free(&c);
	folder_close(&f);
	return r;
}

static int mark_on(const char *name, const struct args *a, json_t *out, struct err *e)
{
	return mark(name, true, out, e);
}

static int mark_off(const char *name, const struct args *a, json_t *out, struct err *e)
{
	return mark(name, false, out, e);
}

/* The marked machines; the rest leaves the list. */
static int marked(char ***names, int *n, struct err *e)
{
	int r = folder_list(names, e);

	*n = 0;
	for (char **p = r ? NULL : *names; p && *p; p++) {
		struct vm_config c;
		struct folder f;
		bool on = false;

		vm_config_init(&c);
		if (!folder_open(&f, *p, NULL)) {
			on = !folder_read_config(&f, &c, NULL) && c.autostart;
			folder_close(&f);
		}
		vm_config_free(&c);
		if (on)
			(*names)[(*n)++] = *p;
		else
			free(*p);
	}
	if (!r)
		(*names)[*n] = NULL;
	return r;
}

/* Where the machines are, if not where penta looks without being told. '%' and '"' mean something there. */
static void print_home(const char *variable)
{
	const char *v = getenv(variable);

	if (!v || v[0] != '/')
		return;
	printf("Environment=\"%s=", variable);
	for (; *v; v++)
		if ((u8)*v >= ' ')
			printf("%s%c", *v == '%' ? "%" : *v == '"' || *v == '\\' ? "\\" : "", *v);
	puts("\"");
}

static int print_unit(void)
{
	bool root = geteuid() == 0;
	char exe[4096] = { 0 };

	if (readlink("/proc/self/exe", exe, sizeof(exe) - 1) <= 0)
		strcpy(exe, "/usr/local/bin/penta");
	/* The machines' processes outlive `run`, and end by `stop`. */
	printf("[Unit]\nDescription=penta machines that start with the %s\n%s\n"
	       "[Service]\n",
	       root ? "host" : "user's session",
	       root ? "After=network-online.target local-fs.target\nWants=network-online.target\n"
		    : "");
	print_home("PENTA_HOME");
	print_home("XDG_DATA_HOME");
	printf("Type=oneshot\nRemainAfterExit=yes\nExecStart=\"%s\" autostart run\n"
	       "ExecStop=\"%s\" autostart stop\nTimeoutStopSec=10min\nKillMode=none\n\n"
	       "[Install]\nWantedBy=%s\n", exe, exe, root ? "multi-user.target" : "default.target");
	return EXIT_DONE;
}

static int list(const struct args *a, char **names)
{
	json_t *all = json_array();

	for (char **p = names; *p; p++) {
		json_array_append_new(all, json_string(*p));
		if (!args_get(a, OPT_JSON))
			puts(*p);
	}
	if (args_get(a, OPT_JSON))
		cli_print_json(json_incref(all));
	json_decref(all);
	return EXIT_DONE;
}

/* Another verb, on all that are marked. One that runs already is no error. */
static int on_all(const struct verb *v, bool start, const struct args *a, char **names, int n)
{
	struct args none;
	int k = 0;

	for (int i = 0; start && i < n; i++) {
		struct folder_status s = { .state = FOLDER_OFF };
		struct folder f;

		if (!folder_open(&f, names[i], NULL)) {
			folder_status(&f, &s);
			folder_close(&f);
		}
		if (s.state == FOLDER_RUNNING) {
			free(names[i]);
			continue;
		}
		names[k++] = names[i];
	}
	if (start) {
		names[k] = NULL;
		n = k;
	}
	memset(&none, 0, sizeof(none));
	return n ? v->run(&none, n, names) : EXIT_DONE;
}

static int run(const struct args *a, int npos, char **pos)
{
	const char *what = npos ? pos[0] : "ls";
	char **names = NULL;
	struct err e = { 0 };
	int n, status = EXIT_DONE;

	n = parse_choice(what, "autostart", "on off ls run stop unit", &e);
	if (n < 0 || (n >= 2 && npos > 1)) {
		cli_error("%s", n < 0 ? e.msg : "autostart: names go with on and off only");
		return EXIT_USAGE;
	}
	if (n < 2)
		return cli_each(&verb_autostart, a, args_get(a, OPT_JSON), npos - 1, pos + 1,
				n == 0 ? mark_on : mark_off);
	if (n == 5)
		return print_unit();
	if (marked(&names, &npos, &e)) {
		cli_error("%s", e.msg);
		return EXIT_FAILED;
	}
	switch (n) {
	case 2:
		status = list(a, names);
		break;
	case 3:
		status = on_all(&verb_start, true, a, names, npos);
		break;
	default:
		status = on_all(&verb_stop, false, a, names, npos);
	}
	folder_list_free(names);
	return status;
}

const struct verb verb_autostart = {
	.name = "autostart", .summary = "which machines start with the host",
	.usage = "on|off NAME... | ls | run | stop | unit",
	.options = options, .text = text, .positional = "on off ls run stop unit @machine",
	.run = run,
};
