/* SPDX-License-Identifier: GPL-2.0-or-later */
/* options.c - parse options by a verb's table, and by that of a machine's configuration. */
#include "manage/cli/cli.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void cli_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("penta: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

/* --- parsing --- */

static unsigned own_options(const struct verb *v)
{
	unsigned n = 0;

	while (v->options[n].name)
		n++;
	return n;
}

/* The @i-th field of the configuration that has an option. */
static const struct config_field *config_option(unsigned i)
{
	for (const struct config_field *f = vm_config_fields; f->name; f++)
		if (f->arg && !i--)
			return f;
	return NULL;
}

bool cli_option(const struct verb *v, unsigned i, struct option *out)
{
	unsigned n = own_options(v);
	const struct config_field *f;

	if (i < n) {
		*out = v->options[i];
		return true;
	}
	f = v->config ? config_option(i - n) : NULL;
	if (!f)
		return false;
	*out = (struct option)OPTION(f->name, f->arg, f->values, f->help,
				     .repeat = f->type == FIELD_LIST);
	return true;
}

static int find(const struct verb *v, const char *name, size_t len, struct option *o)
{
	for (unsigned i = 0; cli_option(v, i, o); i++)
		if ((strlen(o->name) == len && !memcmp(o->name, name, len)) ||
		    (len == 1 && o->letter && name[0] == o->letter))
			return (int)i;
	return -1;
}

static void say_unknown(const struct verb *v, const char *name, size_t len)
{
	const char *names[OPTIONS_MAX + 1], *near;
	struct option o;
	char word[41];
	unsigned n = 0;

	while (n < OPTIONS_MAX && cli_option(v, n, &o))
		names[n++] = o.name;
	names[n] = NULL;
	snprintf(word, sizeof(word), "%.*s", (int)MIN(len, sizeof(word) - 1), name);
	near = word_near(word, names);
	if (near)
		cli_error("%s: no option --%s; did you mean --%s?", v->name, word, near);
	else
		cli_error("%s: no option --%s; `penta %s --help` lists them", v->name, word,
			  v->name);
}

int args_parse(struct args *a, const struct verb *v, int argc, char **argv, int *npos)
{
	bool options = true;

	memset(a, 0, sizeof(*a));
	*npos = 0;
	for (int i = 0; i < argc; i++) {
		const char *s = argv[i], *eq, *val = NULL;
		struct option o;
		size_t len;
		int k;

		if (options && !strcmp(s, "--")) {
			options = false;
			continue;
		}
		if (!options || s[0] != '-' || !s[1]) {
			argv[(*npos)++] = argv[i];
			if (v->command_after && *npos > (int)v->command_after)
				options = false;
			continue;
		}
		s += s[1] == '-' ? 2 : 1;
		eq = strchr(s, '=');
		len = eq ? (size_t)(eq - s) : strlen(s);
		k = find(v, s, len, &o);
		if (k < 0) {
			say_unknown(v, s, len);
			return -EINVAL;
		}
		if (!o.arg && eq) {
			cli_error("%s: --%s takes no value", v->name, o.name);
			return -EINVAL;
		}
		if (eq)
			val = eq + 1;
		else if (!o.arg)
			val = "";
		else if (i + 1 < argc && !(o.optional_arg && argv[i + 1][0] == '-'))
			val = argv[++i];
		else if (o.optional_arg)
			val = "";
		if (!val) {
			cli_error("%s: --%s needs a value: --%s %s", v->name, o.name, o.name,
				  o.arg);
			return -EINVAL;
		}
		if (a->n[k] == (o.repeat ? OPTION_REPEAT_MAX : 1)) {
			cli_error("%s: --%s is given %s", v->name, o.name,
				  o.repeat ? "too often" : "twice");
			return -EINVAL;
		}
		a->val[k][a->n[k]++] = val;
	}
	argv[*npos] = NULL;		/* a command is handed on as it stands here */
	if (*npos && !v->positional) {
		cli_error("%s: \"%s\" is no option; options begin with --", v->name, argv[0]);
		return -EINVAL;
	}
	return 0;
}

int args_config(const struct args *a, const struct verb *v, struct vm_config *c, struct err *e)
{
	unsigned n = own_options(v);
	const struct config_field *f;

	for (unsigned i = 0; (f = config_option(i)); i++)
		for (unsigned k = 0; k < a->n[n + i]; k++) {
			char what[64];
			int r;

			snprintf(what, sizeof(what), "--%s", f->name);
			r = vm_config_set(c, f, a->val[n + i][k], what, e);
			if (r)
				return r;
		}
	return 0;
}

bool args_has_config(const struct args *a, const struct verb *v, const struct config_field *f)
{
	unsigned n = own_options(v);
	const struct config_field *o;

	for (unsigned i = 0; (o = config_option(i)); i++)
		if (o == f)
			return a->n[n + i] > 0;
	return false;
}
