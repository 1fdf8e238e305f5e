/* SPDX-License-Identifier: GPL-2.0-or-later */
/* main.c - the command line: finds the verb and hands over. */
#include "manage/cli/cli.h"
#include <fcntl.h>
#include <string.h>

const struct verb *const cli_verbs[] = {
	&verb_run,
	&verb_create,
	&verb_exec,
	&verb_start,
	&verb_stop,
	&verb_reset,
	&verb_pause,
	&verb_resume,
	&verb_ls,
	&verb_show,
	&verb_set,
	&verb_rm,
	&verb_console,
	&verb_logs,
	&verb_rename,
	&verb_clone,
	&verb_autostart,
	&verb_inspect,
	&verb_image,
	&verb_save,
	&verb_restore,
	&verb_snapshot,
	&verb_fork,
	&verb_doctor,
	&verb_completion,
	NULL
};

static const struct verb *find(const char *name)
{
	for (const struct verb *const *v = cli_verbs; *v; v++)
		if (!strcmp((*v)->name, name))
			return *v;
	return NULL;
}

/* `penta image create`: the verb behind the verb. */
static const struct verb *find_sub(const struct verb *v, const char *name)
{
	for (const struct verb *const *s = v->subs; *s; s++)
		if (!strcmp((*s)->name + strlen(v->name) + 1, name))
			return *s;
	return NULL;
}

static int unknown_sub(const struct verb *v, const char *name)
{
	const char *names[16], *near;
	unsigned n = 0;

	for (const struct verb *const *s = v->subs; *s; s++)
		names[n++] = (*s)->name + strlen(v->name) + 1;
	names[n] = NULL;
	near = word_near(name, names);
	if (near)
		cli_error("no verb \"%s %s\"; did you mean \"%s %s\"?", v->name, name, v->name,
			  near);
	else
		cli_error("no verb \"%s %s\"; `penta %s --help` lists them", v->name, name,
			  v->name);
	return EXIT_USAGE;
}

static int unknown(const char *name)
{
	const char *names[64], *near;
	unsigned n = 0;

	for (const struct verb *const *v = cli_verbs; *v; v++)
		if (!(*v)->hidden)
			names[n++] = (*v)->name;
	names[n] = NULL;
	near = word_near(name, names);
	if (near)
		cli_error("no verb \"%s\"; did you mean \"%s\"?", name, near);
	else
		cli_error("no verb \"%s\"; `penta --help` lists them", name);
	return EXIT_USAGE;
}

static bool is_help(const char *s)
{
	return !strcmp(s, "--help") || !strcmp(s, "-h") || !strcmp(s, "-help");
}

/* Text that goes to a full disk or a closed pipe is an error like any other. */
static int finish(int status)
{
	if (fflush(stdout) || ferror(stdout)) {
		cli_error("cannot write to standard output");
		return status ? status : EXIT_FAILED;
	}
	return status;
}

/* A caller may have closed standard input, output or error: the next file opened would take its
 * number, and be read as the terminal or written with messages. */
static bool have_standard_fds(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return false;
	return true;
}

int main(int argc, char **argv)
{
	const struct verb *v;
	struct args a;
	int npos;

	if (!have_standard_fds())
		return EXIT_FAILED;
	if (argc < 2) {
		cli_help(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "help") && argc > 2) {	/* penta help VERB */
		v = find(argv[2]);
		if (!v)
			return unknown(argv[2]);
		if (v->subs && argc > 3 && !(v = find_sub(find(argv[2]), argv[3])))
			return unknown_sub(find(argv[2]), argv[3]);
		cli_help_verb(v, stdout);
		return finish(EXIT_DONE);
	}
	if (is_help(argv[1]) || !strcmp(argv[1], "help")) {
		cli_help(stdout);
		return finish(EXIT_DONE);
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		puts("penta " PENTA_VERSION);
		return finish(EXIT_DONE);
	}
	v = find(argv[1]);
	if (!v)
		return unknown(argv[1]);
	if (v->subs && argc > 2 && argv[2][0] != '-') {
		const struct verb *sub = find_sub(v, argv[2]);

		if (!sub)
			return unknown_sub(v, argv[2]);
		v = sub;
		argc--;
		argv++;
	}
	for (int i = 2; i < argc && strcmp(argv[i], "--"); i++)
		if (is_help(argv[i])) {
			cli_help_verb(v, stdout);
			return finish(EXIT_DONE);
		}
	if (v->subs) {
		cli_help_verb(v, stderr);
		return EXIT_USAGE;
	}
	if (args_parse(&a, v, argc - 2, argv + 2, &npos))
		return EXIT_USAGE;
	return finish(v->run(&a, npos, argv + 2));
}
