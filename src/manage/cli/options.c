/* SPDX-License-Identifier: GPL-2.0-or-later */
/* options.c - parse options by a verb's table; values; guesses at what was meant. */
#include "manage/cli/cli.h"
#include "base/bytes.h"		// mul_ok
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

/* --- near misses --- */

#define WORD_MAX 40

/* Edit distance with neighbouring letters swapped counted once. */
static unsigned distance(const char *a, const char *b)
{
	unsigned d[WORD_MAX + 1][WORD_MAX + 1];
	size_t n = strnlen(a, WORD_MAX), m = strnlen(b, WORD_MAX);

	for (size_t i = 0; i <= n; i++)
		for (size_t j = 0; j <= m; j++) {
			unsigned best;

			if (!i || !j) {
				d[i][j] = (unsigned)(i + j);
				continue;
			}
			best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
			best = MIN(best, d[i - 1][j] + 1);
			best = MIN(best, d[i][j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN(best, d[i - 2][j - 2] + 1);
			d[i][j] = best;
		}
	return d[n][m];
}

const char *cli_near(const char *word, const char *const *words)
{
	const char *best = NULL;
	unsigned best_d = 0;

	for (; *words; words++) {
		unsigned d = distance(word, *words);
		size_t len = strlen(word);

		/* What begins like it, as one would abbreviate. */
		if (len >= 2 && !strncmp(word, *words, len))
			d = 1;
		if (d <= 1 + len / 4 && (!best || d < best_d)) {
			best = *words;
			best_d = d;
		}
	}
	return best;
}

/* --- parsing --- */

static int find(const struct verb *v, const char *name, size_t len)
{
	for (int i = 0; v->options[i].name; i++)
		if (strlen(v->options[i].name) == len && !memcmp(v->options[i].name, name, len))
			return i;
	return -1;
}

static void say_unknown(const struct verb *v, const char *name, size_t len)
{
	const char *names[OPTIONS_MAX + 1], *near;
	char word[WORD_MAX + 1];
	unsigned n = 0;

	for (; v->options[n].name; n++)
		names[n] = v->options[n].name;
	names[n] = NULL;
	snprintf(word, sizeof(word), "%.*s", (int)MIN(len, (size_t)WORD_MAX), name);
	near = cli_near(word, names);
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
		const struct option *o;
		size_t len;
		int k;

		if (options && !strcmp(s, "--")) {
			options = false;
			continue;
		}
		if (!options || s[0] != '-' || !s[1]) {
			argv[(*npos)++] = argv[i];
			continue;
		}
		s += s[1] == '-' ? 2 : 1;
		eq = strchr(s, '=');
		len = eq ? (size_t)(eq - s) : strlen(s);
		k = find(v, s, len);
		if (k < 0) {
			say_unknown(v, s, len);
			return -EINVAL;
		}
		o = &v->options[k];
		if (!o->arg && eq) {
			cli_error("%s: --%s takes no value", v->name, o->name);
			return -EINVAL;
		}
		if (eq)
			val = eq + 1;
		else if (!o->arg)
			val = "";
		else if (i + 1 < argc && !(o->optional_arg && argv[i + 1][0] == '-'))
			val = argv[++i];
		else if (o->optional_arg)
			val = "";
		if (!val) {
			cli_error("%s: --%s needs a value: --%s %s", v->name, o->name, o->name,
				  o->arg);
			return -EINVAL;
		}
		if (a->n[k] == (o->repeat ? OPTION_REPEAT_MAX : 1)) {
			cli_error("%s: --%s is given %s", v->name, o->name,
				  o->repeat ? "too often" : "twice");
			return -EINVAL;
		}
		a->val[k][a->n[k]++] = val;
	}
	if (*npos && !v->positional) {
		cli_error("%s: \"%s\" is no option; options begin with --", v->name, argv[0]);
		return -EINVAL;
	}
	return 0;
}

/* --- values --- */

int cli_size(const char *s, const char *what, u64 *bytes, struct err *e)
{
	static const char units[] = "KMGT";
	unsigned long long n;
	const char *u;
	char *end;
	u64 unit = MiB;

	errno = 0;
	n = strtoull(s, &end, 10);
	if (end == s || *s == '-' || *s == '+' || errno)
		return err_set(e, EINVAL, "%s %s: a size is a number and K, M, G or T: 512M", what,
			       s);
	if (*end) {
		u = strchr(units, *end & ~0x20);
		if (!u || !*u || (end[1] && strcasecmp(end + 1, "b") && strcasecmp(end + 1, "ib")))
			return err_set(e, EINVAL, "%s %s: a size is a number and K, M, G or T: "
				       "512M", what, s);
		unit = KiB << (10 * (u - units));
	}
	if (!mul_ok(n, unit, bytes))
		*bytes = UINT64_MAX;	/* the caller's limit says it better */
	return 0;
}

int cli_number(const char *s, const char *what, unsigned min, unsigned max, unsigned *out,
	       struct err *e)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(s, &end, 10);
	if (end == s || *end || *s == '-' || errno || n < min || n > max)
		return err_set(e, EINVAL, "%s %s: a number from %u to %u is needed", what, s, min,
			       max);
	*out = (unsigned)n;
	return 0;
}

int cli_choice(const char *s, const char *what, const char *words, struct err *e)
{
	size_t len = strlen(s);
	const char *p = words;

	for (int i = 0; *p; i++) {
		size_t n = strcspn(p, " ");

		if (n == len && !memcmp(p, s, n))
			return i;
		p += n;
		p += *p == ' ';
	}
	return err_set(e, EINVAL, "%s %s: one of these is needed: %s", what, s, words);
}
