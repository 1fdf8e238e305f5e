/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Trace points: found by pattern, silent when off; the limited log. */
#include "unit.h"
#include "base/trace.h"
#include <errno.h>

DEFINE_TRACE(one, "testpoint.one");
DEFINE_TRACE(two, "testpoint.two");

static void patterns(void **st)
{
	struct err e = { 0 };
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	trace_set_output(f);
	TRACE(one, "x=%d", 1);
	fflush(f);
	assert_int_equal(len, 0);
	assert_int_equal(trace_enable("testpoint.o*", &e), 0);
	TRACE(one, "x=%d", 2);
	TRACE(two, "x=%d", 3);
	fflush(f);
	assert_non_null(strstr(text, "testpoint.one x=2\n"));
	assert_null(strstr(text, "testpoint.two"));
	assert_int_equal(trace_enable("testpoint.two,nosuch.*", &e), -EINVAL);
	assert_non_null(strstr(e.msg, "nosuch.*"));
	assert_int_equal(trace_enable("", &e), -EINVAL);
	trace_set_output(NULL);
	fclose(f);
	free(text);
}

static void listing(void **st)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	trace_list(f);
	fclose(f);
	assert_non_null(strstr(text, "testpoint.one\ntestpoint.two\n"));
	free(text);
}

static void rate(void **st)
{
	struct log_rate r = { 0 };
	unsigned n = 0;

	for (unsigned i = 0; i < 1000; i++)
		n += log_rate_ok(&r);
	assert_in_range(n, 10, 20);	/* one window, or two when the second turned */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(patterns), cmocka_unit_test(listing), cmocka_unit_test(rate),
	};

	return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
