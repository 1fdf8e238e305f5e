/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_chaos.c - segmentation and delivery among random tables (chaos.h), with fixed seeds. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "engine/chaos.h"

#define ROUNDS 60000

static void random_tables_break_nothing(void **state)
{
	struct chaos x;

	assert_int_equal(chaos_open(&x, 1), 0);
	for (unsigned i = 0; i < ROUNDS; i++)
		if (!chaos_round(&x, 40))
			fail_msg("in round %u", i);
	print_message("# %llu operations done, %llu faulted, %llu shutdowns\n",
		      (unsigned long long)x.done, (unsigned long long)x.faults,
		      (unsigned long long)x.shutdowns);
	assert_true(x.done > ROUNDS && x.faults > ROUNDS);
	machine_free(x.m);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(random_tables_break_nothing) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
