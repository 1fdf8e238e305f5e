/* SPDX-License-Identifier: GPL-2.0-or-later */
/* completion.c - `penta completion`: the bash completion, written from the tables. What it prints
 * is kept in tools/completion.bash; a test compares the two. */
#include "manage/cli/cli.h"
#include "manage/machine/folder.h"
#include <string.h>

/* `penta image create`: the words behind "image", and the options of all of them. */
static void put_subs(const struct verb *v);

/* What may stand there without dashes: words, "@machine" for names of machines. */
static void put_words(const char *words)
{
	while (words && *words) {
		size_t n = strcspn(words, " ");

		if (!strncmp(words, "@machine", n))
			puts("\t\t[[ $cur == -* ]] || words=\"$words $(penta completion --machines"
			     " 2>/dev/null)\"");
		else if (words[0] != '@')
			printf("\t\t[[ $cur == -* ]] || words=\"$words %.*s\"\n", (int)n, words);
		words += n + strspn(words + n, " ");
	}
}

static void put_verb(const struct verb *v)
{
	struct option o;

	if (v->subs) {
		put_subs(v);
		return;
	}
	printf("\t%s)\n\t\tcase $prev in\n", v->name);
	for (unsigned i = 0; cli_option(v, i, &o); i++) {
		if (!o.values)
			continue;
		if (!strcmp(o.values, "@file"))
			printf("\t\t--%s) compopt -o filenames;"
			       " COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", o.name);
		else
			printf("\t\t--%s)"
			       " COMPREPLY=($(compgen -W \"%s\" -- \"$cur\")); return ;;\n",
			       o.name, o.values);
	}
	printf("\t\tesac\n\t\twords=\"");
	for (unsigned i = 0; cli_option(v, i, &o); i++)
		printf("--%s ", o.name);
	puts("--help\"");
	put_words(v->positional);
	puts("\t\t;;");
}

static void put_subs(const struct verb *v)
{
	printf("\t%s)\n\t\tif [ \"$COMP_CWORD\" -eq 2 ]; then\n\t\t\twords=\"", v->name);
	for (const struct verb *const *s = v->subs; *s; s++)
		printf("%s ", (*s)->name + strlen(v->name) + 1);
	puts("--help\"\n\t\telse case ${COMP_WORDS[2]} in");
	for (const struct verb *const *s = v->subs; *s; s++) {
		struct verb sub = **s;

		sub.name += strlen(v->name) + 1;
		put_verb(&sub);
	}
	puts("\t\tesac; fi ;;");
}

enum opt { OPT_MACHINES, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_MACHINES] = OPTION("machines", NULL, NULL, "print the names of all machines"),
};

static int run(const struct args *a, int npos, char **pos)
{
	bool some = false;
	char **names;

	if (args_get(a, OPT_MACHINES)) {
		if (folder_list(&names, NULL))
			return EXIT_FAILED;
		for (char **p = names; *p; p++)
			puts(*p);
		folder_list_free(names);
		return EXIT_DONE;
	}
	puts("# bash completion for penta. Written by `penta completion`; do not edit.\n"
	     "_penta()\n{\n"
	     "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\n"
	     "\tif [ \"$COMP_CWORD\" -eq 1 ]; then");
	printf("\t\twords=\"");
	for (const struct verb *const *v = cli_verbs; *v; v++)
		if (!(*v)->hidden) {
			printf("%s%s", some ? " " : "", (*v)->name);
			some = true;
		}
	puts(" help --help --version\"\n"
	     "\t\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\")); return\n"
	     "\tfi\n"
	     "\tcase ${COMP_WORDS[1]} in");
	for (const struct verb *const *v = cli_verbs; *v; v++)
		if (!(*v)->hidden)
			put_verb(*v);
	puts("\tesac\n"
	     "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	     "}\n"
	     "complete -F _penta penta");
	return EXIT_DONE;
}


const struct verb verb_completion = {
	.name = "completion", .summary = "print the completion for bash", .usage = "",
	.options = options, .run = run, .hidden = true,
};
