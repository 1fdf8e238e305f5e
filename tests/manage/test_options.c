/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_options.c - what the command line's parser makes of words and options in any order. */
#include "manage/cli/cli.h"
#include "unit.h"

enum opt { OPT_USER, OPT_ENV, OPT_FORCE, OPT_GDB, OPT_N };
static const struct option options[OPT_N + 1] = {
	[OPT_USER] = OPTION("user", "NAME", NULL, "who"),
	[OPT_ENV] = OPTION("env", "NAME=VALUE", NULL, "several", .repeat = true),
	[OPT_FORCE] = OPTION("force", NULL, NULL, "a switch", .letter = 'f'),
	[OPT_GDB] = OPTION("gdb", "ADDRESS", NULL, "may go without", .optional_arg = true),
};
static const struct verb verb = {
	.name = "test", .options = options, .positional = "@machine", .command_after = 1,
};

/* Parse @words, which are separated by spaces; the words that remain, joined again. */
static const char *left(struct args *a, const char *words)
{
	static char text[256], out[256];
	char *argv[32], *save = NULL;
	int argc = 0, npos;

	snprintf(text, sizeof(text), "%s", words);
	for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	argv[argc] = NULL;
	out[0] = '\0';
	if (args_parse(a, &verb, argc, argv, &npos))
		return "refused";
	assert_null(argv[npos]);	/* or a command would have words that nobody gave it */
	for (char **v = argv; *v; v++) {
		size_t n = strlen(out);

		snprintf(out + n, sizeof(out) - n, "%s%s", n ? " " : "", *v);
	}
	return out;
}

static void test_command(void **state)
{
	struct args a;

	assert_string_equal(left(&a, "web id"), "web id");
	assert_string_equal(left(&a, "--user nobody web id"), "web id");
	assert_string_equal(args_get(&a, OPT_USER), "nobody");
	assert_string_equal(left(&a, "--user=nobody -f web id"), "web id");
	assert_true(a.n[OPT_FORCE]);
	assert_string_equal(left(&a, "--env A=B --env C=D web printenv A"), "web printenv A");
	assert_int_equal(a.n[OPT_ENV], 2);
	assert_string_equal(left(&a, "web --user nobody id"), "web id");
	assert_string_equal(left(&a, "web id --user nobody"), "web id --user nobody");
	assert_int_equal(a.n[OPT_USER], 0);
	assert_string_equal(left(&a, "--user nobody web -- --force"), "web --force");
	assert_string_equal(left(&a, "web ls -- -l"), "web ls -- -l");
	assert_string_equal(left(&a, ""), "");
	assert_string_equal(left(&a, "--gdb -f"), "");
	assert_string_equal(args_get(&a, OPT_GDB), "");
}

static void test_refused(void **state)
{
	struct args a;

	assert_string_equal(left(&a, "--user"), "refused");
	assert_string_equal(left(&a, "--force=1"), "refused");
	assert_string_equal(left(&a, "-f -f"), "refused");
	assert_string_equal(left(&a, "--usr x"), "refused");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_command),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
