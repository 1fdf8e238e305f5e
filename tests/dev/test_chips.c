/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All chips together under random operations: what is saved and loaded goes on like what was not;
 * states that were tampered with do no harm. fuzz/fuzz_dev does the same for longer. */
#include "unit.h"
#include "base/trace.h"
#include "rig.h"

static void copies_behave_alike(void **st)
{
	for (u64 seed = 1; seed <= 60; seed++)
		assert_true(rig_round(seed * 0x9e3779b97f4a7c15ull, 1500));
}

static void tampered_states(void **st)
{
	for (u64 seed = 1; seed <= 60; seed++)
		rig_hostile_round(seed * 0x9e3779b97f4a7c15ull, 600);
}

/* As a platform's reset finds and leaves them. */
static void reset_is_a_state(void **st)
{
	struct rig *r = rig_new(), *fresh = rig_new();
	struct err e = { 0 };
	u64 s = 4711;

	for (unsigned i = 0; i < 3000; i++) {
		struct rig_op op = rig_random(&s);

		rig_do(r, &op);
	}
	for (unsigned i = 0; i < r->n; i++)
		r->d[i].cls->reset(r->d[i].dev);
	for (unsigned i = 0; i < r->n; i++)
		assert_int_equal(state_check(r->d[i].cls->state, r->d[i].dev, r->d[i].cls->name, &e), 0);
	for (unsigned c = 0; c < RIG_CPUS; c++)
		for (unsigned reg = 0; reg < 0x400; reg += 16) {
			if (reg >= 0x200 && reg < 0x280)
				continue;	/* lines that are up may ask at once */
			assert_int_equal(bus_read(r->m->mmio, r->m->cpu[c], 0xfee00000 + reg, 4),
					 bus_read(fresh->m->mmio, fresh->m->cpu[c], 0xfee00000 + reg, 4));
		}
	rig_free(r);
	rig_free(fresh);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies_behave_alike), cmocka_unit_test(tampered_states),
		cmocka_unit_test(reset_is_a_state),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests_name("chips", tests, NULL, NULL);
}
