/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cli.h - verbs and their options as tables: parsing, help and shell completion read the same one.
 *
 * A verb is one file: its options, its examples, its function. main.c lists the verbs. */
#ifndef PENTA_MANAGE_CLI_CLI_H
#define PENTA_MANAGE_CLI_CLI_H

#include "base/err.h"
#include "base/types.h"
#include <stdio.h>

#define PENTA_VERSION "0.1"

/* What penta's exit status says; `penta run` has more (run.c). */
enum cli_exit { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

#define OPTIONS_MAX 40
#define OPTION_REPEAT_MAX 8

struct option {
	const char *name;	/* without the dashes; NULL ends a table */
	const char *arg;	/* what stands for its value in help: "FILE"; NULL: a switch */
	const char *values;	/* completion: words, or "@file"; NULL: nothing known */
	const char *help;	/* '\n' breaks lines */
	bool optional_arg;	/* the value may be left out */
	bool repeat;		/* may be given several times */
};
/* A table's entry; the flags follow as designated initializers. */
#define OPTION(nm, ar, vals, text, ...) \
	{ .name = nm, .arg = ar, .values = vals, .help = text, ##__VA_ARGS__ }

/* What was given: for each option of the table its values in order. A switch has the value "". */
struct args {
	const char *val[OPTIONS_MAX][OPTION_REPEAT_MAX];
	unsigned n[OPTIONS_MAX];
};

struct verb {
	const char *name, *summary;
	const char *usage;		/* behind "penta NAME" */
	const struct option *options;	/* indexed by the verb's own enum */
	const char *text;		/* more for --help: examples, exit status */
	const char *positional;		/* completion of other words; NULL: none are taken */
	int (*run)(const struct args *a, int npos, char **pos);
	bool hidden;
};

extern const struct verb verb_run, verb_doctor, verb_completion;
extern const struct verb *const cli_verbs[];	/* NULL-terminated; main.c */

/* Parse; options and other words may mix, "--" ends options. Other words are moved to the front
 * of @argv, their number is *@npos. @verb NULL: penta's own options are not here. Prints what is
 * wrong ("did you mean"). */
int args_parse(struct args *a, const struct verb *v, int argc, char **argv, int *npos);
static inline const char *args_get(const struct args *a, unsigned opt)
{
	return a->n[opt] ? a->val[opt][a->n[opt] - 1] : NULL;
}

void cli_help_verb(const struct verb *v, FILE *f);
void cli_help(FILE *f);
/* The known word that @word was probably meant to be, or NULL. @words: NULL-terminated. */
const char *cli_near(const char *word, const char *const *words);

/* "penta: ..." on stderr. */
void cli_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "512M", "2G", "65536K"; a bare number means MiB. @what names the option in errors. */
int cli_size(const char *s, const char *what, u64 *bytes, struct err *e);
/* A number in @min..@max. */
int cli_number(const char *s, const char *what, unsigned min, unsigned max, unsigned *out,
	       struct err *e);
/* The index of @s in @words (space-separated), or an error that lists them. */
int cli_choice(const char *s, const char *what, const char *words, struct err *e);

#endif
