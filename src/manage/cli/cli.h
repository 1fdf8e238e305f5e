/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cli.h - verbs and their options as tables: parsing, help and shell completion read the same one.
 *
 * A verb is one file: its options, its examples, its function. main.c lists the verbs. */
#ifndef PENTA_MANAGE_CLI_CLI_H
#define PENTA_MANAGE_CLI_CLI_H

#include "base/err.h"
#include "base/types.h"
#include "base/words.h"
#include "manage/machine/config.h"
#include <stdio.h>

#define PENTA_VERSION "0.1"

/* What penta's exit status says; `penta run` has more (run.c). */
enum cli_exit { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

#define OPTIONS_MAX 64
#define OPTION_REPEAT_MAX 16

struct option {
	const char *name;	/* without the dashes; NULL ends a table */
	const char *arg;	/* what stands for its value in help: "FILE"; NULL: a switch */
	const char *values;	/* completion: words, or "@file"; NULL: nothing known */
	const char *help;	/* '\n' breaks lines */
	bool optional_arg;	/* the value may be left out */
	bool repeat;		/* may be given several times */
	char letter;		/* "-f" means it, too; 0: none */
};
/* A table's entry; the flags follow as designated initializers. */
#define OPTION(nm, ar, vals, text, ...) \
	{ .name = nm, .arg = ar, .values = vals, .help = text, ##__VA_ARGS__ }

/* What was given: for each option of the table its values in order. A switch has the value "".
 * Options of a machine's configuration, for verbs that take them, come behind the verb's own. */
struct args {
	const char *val[OPTIONS_MAX][OPTION_REPEAT_MAX];
	unsigned n[OPTIONS_MAX];
};

struct verb {
	const char *name, *summary;
	const char *usage;		/* behind "penta NAME" */
	const struct option *options;	/* indexed by the verb's own enum */
	const char *text;		/* more for --help: examples, exit status */
	const char *positional;		/* completion of other words; "@machine"; NULL: none are taken */
	int (*run)(const struct args *a, int npos, char **pos);
	bool hidden;
	bool config;			/* takes the options of a machine's configuration, too */
	const struct verb *const *subs;	/* `penta NAME SUB`: these, NULL-terminated; named "NAME SUB" */
	unsigned command_after;		/* behind so many words begins a command, not penta's; 0: never */
};

extern const struct verb verb_run, verb_create, verb_exec, verb_start, verb_stop, verb_reset,
	verb_pause, verb_resume, verb_ls, verb_show, verb_set, verb_rm, verb_console, verb_logs,
	verb_rename, verb_clone, verb_autostart, verb_inspect, verb_image, verb_doctor,
	verb_completion;
extern const struct verb verb_save, verb_restore, verb_snapshot, verb_fork;
extern const struct verb *const cli_verbs[];	/* NULL-terminated; main.c */

/* Parse; options and other words may mix, "--" ends options. Other words are moved to the front
 * of @argv, with NULL behind them (argv[argc] must be there); their number is *@npos. @verb NULL:
 * penta's own options are not here. Prints what is wrong ("did you mean"). */
int args_parse(struct args *a, const struct verb *v, int argc, char **argv, int *npos);
static inline const char *args_get(const struct args *a, unsigned opt)
{
	return a->n[opt] ? a->val[opt][a->n[opt] - 1] : NULL;
}

void cli_help_verb(const struct verb *v, FILE *f);
void cli_help(FILE *f);
/* The @i-th option of @v, its own first; false: there are no more. */
bool cli_option(const struct verb *v, unsigned i, struct option *out);
/* Put the configuration options that were given into @c. -EINVAL: says what is wrong. */
int args_config(const struct args *a, const struct verb *v, struct vm_config *c, struct err *e);
/* Was this option of the configuration given? */
bool args_has_config(const struct args *a, const struct verb *v, const struct config_field *f);

/* "penta: ..." on stderr. */
void cli_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
