/* SPDX-License-Identifier: GPL-2.0-or-later */
/* help.c - help texts from the tables of verbs and options. */
#include "manage/cli/cli.h"
#include <string.h>

#define COLUMN 24

static void put_entry(FILE *f, const char *left, const char *text)
{
	int n = fprintf(f, "  %s", left);

	if (n > COLUMN - 2) {
		fputc('\n', f);
		n = 0;
	}
	for (;;) {
		size_t len = strcspn(text, "\n");

		fprintf(f, "%*s%.*s\n", COLUMN - n, "", (int)len, text);
		if (!text[len])
			break;
		text += len + 1;
		n = 0;
	}
}

void cli_help_verb(const struct verb *v, FILE *f)
{
	struct option o;

	fprintf(f, "penta %s - %s\n\nUsage: penta %s %s\n", v->name, v->summary, v->name, v->usage);
	for (unsigned i = 0; cli_option(v, i, &o); i++) {
		char left[64];

		if (i == 0)
			fputs("\nOptions:\n", f);
		snprintf(left, sizeof(left), o.letter ? "-f, --%s" : o.optional_arg ? "--%s [%s]" :
			 o.arg ? "--%s %s" : "--%s", o.name, o.arg);
		if (o.letter)
			left[1] = o.letter;
		put_entry(f, left, o.help);
	}
	for (const struct verb *const *s = v->subs; s && *s; s++) {
		if (s == v->subs)
			fputs("\nVerbs:\n", f);
		put_entry(f, (*s)->name, (*s)->summary);
	}
	if (v->text)
		fprintf(f, "\n%s", v->text);
}

void cli_help(FILE *f)
{
	fputs("penta - runs whole machines, with hardware virtualization or without\n\n"
	      "Usage: penta VERB [OPTION]...\n\nVerbs:\n", f);
	for (const struct verb *const *v = cli_verbs; *v; v++)
		if (!(*v)->hidden)
			put_entry(f, (*v)->name, (*v)->summary);
	fputs("\nExamples:\n"
	      "  penta doctor                          what this host offers to machines\n"
	      "  penta run --kernel vmlinuz --initrd initrd.img --append console=ttyS0\n"
	      "                                        boot a kernel; Ctrl-A x leaves\n"
	      "  penta run --help                      all that `run` can do\n"
	      "\n`penta VERB --help` explains a verb; `penta --version` tells the version.\n", f);
}
