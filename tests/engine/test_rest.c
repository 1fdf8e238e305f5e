/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_rest.c - decoded code of a vCPU that has next to nothing to do: it goes, after the time that it
 * is to take and only then, and the same code runs on from what is decoded anew. */
#include "softcpu.h"
#include "engine/soft/block.h"

#define SLED 0x1000
#define NS_S 1000000000ull

/* Decode from 2000 places in a field of NOPs: much more than is worth keeping. */
static void decode_much(struct softcpu *s)
{
	for (u64 i = 0; i < 2000; i++) {
		s->c->rip = SLED + 7 * i;
		assert_non_null(code_enter(s->c));
	}
}

static void test_rest(void **state)
{
	struct softcpu s;
	u8 nops[0x4000];

	softcpu_open(&s, 1);
	memset(nops, 0x90, sizeof(nops));
	assert_true(ram_write(s.m->ram, SLED, nops, sizeof(nops)));
	s.c->seg[SEG_CS].base = 0;
	cpu_mode_changed(s.c);

	assert_false(code_rest(s.c, 1 * NS_S));		/* there is nothing */
	decode_much(&s);
	assert_false(code_rest(s.c, 10 * NS_S));	/* the first look: busy or not? */
	assert_false(code_rest(s.c, 14 * NS_S));
	assert_true(code_rest(s.c, 16 * NS_S));

	s.c->rip = SLED;
	assert_non_null(code_enter(s.c));
	assert_false(code_rest(s.c, 30 * NS_S));	/* so little may stay */
	decode_much(&s);
	s.c->stats.insns += 100000000;
	assert_false(code_rest(s.c, 40 * NS_S));	/* it was busy */
	assert_true(code_rest(s.c, 50 * NS_S));
	decode_much(&s);
	block_flush_all(s.c);
	s.c->rip = SLED;
	assert_non_null(code_enter(s.c));
	assert_true(code_rest(s.c, 60 * NS_S));		/* forgotten, but it has its memory still */
	softcpu_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rest) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
