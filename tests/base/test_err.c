/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors as values: codes, context, and messages that are too long. */
#include "unit.h"
#include "base/err.h"
#include <errno.h>

static void set_and_context(void **st)
{
	struct err e = { 0 };

	assert_int_equal(err_set(&e, EINVAL, "cluster size 2^%u", 3u), -EINVAL);
	assert_int_equal(e.code, EINVAL);
	assert_string_equal(e.msg, "cluster size 2^3");
	assert_int_equal(err_context(&e, "disk %s", "a.img"), -EINVAL);
	assert_string_equal(e.msg, "disk a.img: cluster size 2^3");
}

static void from_errno(void **st)
{
	struct err e = { 0 };

	errno = ENOENT;
	assert_int_equal(err_errno(&e, "open %s", "x"), -ENOENT);
	assert_string_equal(e.msg, "open x: No such file or directory");
	errno = ENOENT;
	assert_int_equal(err_errno(NULL, "open"), -ENOENT);
	assert_int_equal(err_set(NULL, EPERM, "no"), -EPERM);
}

static void too_long(void **st)
{
	struct err e = { 0 };
	char big[2000];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	err_set(&e, EIO, "%s", big);
	assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
	assert_string_equal(e.msg + sizeof(e.msg) - 4, "...");
	err_context(&e, "%s", big);
	assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
	assert_string_equal(e.msg + sizeof(e.msg) - 4, "...");
	errno = EIO;
	err_errno(&e, "%s", big);
	assert_string_equal(e.msg + sizeof(e.msg) - 4, "...");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_and_context), cmocka_unit_test(from_errno),
		cmocka_unit_test(too_long),
	};

	return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
