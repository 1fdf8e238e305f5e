/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_debug.c - debug registers and the host debugger's points: SDM vol. 3, ch. 17. */
#include "engine/bare.h"

static void dr4_and_5_are_aliases_without_de(void **state)
{
	struct cpu *c = ((struct bare *)*state)->c;

	assert_int_equal(TRY(c, debug_write_dr(c, 5, 0x400)), NO_FAULT);
	assert_int_equal(debug_read_dr(c, 5), 0x400);
	assert_int_equal(debug_read_dr(c, 4), 0xffff0ff0);
	c->cr4 |= CR4_DE;
	assert_int_equal(TRY(c, debug_read_dr(c, 4)), FAULT(EXC_UD, 0));
	assert_int_equal(TRY(c, debug_write_dr(c, 5, 0)), FAULT(EXC_UD, 0));
}

static void fixed_bits(void **state)
{
	struct cpu *c = ((struct bare *)*state)->c;

	assert_int_equal(TRY(c, debug_write_dr(c, 6, 0)), NO_FAULT);
	assert_true(debug_read_dr(c, 6) == 0xffff0ff0);
	assert_int_equal(TRY(c, debug_write_dr(c, 6, 0xffffffff)), NO_FAULT);
	assert_true(debug_read_dr(c, 6) == 0xffffefff);
	assert_int_equal(TRY(c, debug_write_dr(c, 7, 0xffff0000)), NO_FAULT);
	assert_true(debug_read_dr(c, 7) == 0xffff0400);
	assert_int_equal(TRY(c, debug_write_dr(c, 7, 1ull << 32)), FAULT(EXC_GP, 0));
	assert_int_equal(TRY(c, debug_write_dr(c, 6, 1ull << 63)), FAULT(EXC_GP, 0));
}

static void general_detect(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	assert_int_equal(RUN(c, 0x0f, 0x23, 0xf8), NO_FAULT);		/* mov dr7, eax */
	c->r[RAX] = 0x2000;
	assert_int_equal(RUN(c, 0x0f, 0x23, 0xf8), NO_FAULT);
	assert_int_equal(RUN(c, 0x0f, 0x21, 0xc0), FAULT(EXC_DB, 0));	/* mov eax, dr0 */
	assert_int_equal(c->dr[6] & 0xe00f, 0x2000);
	set_idt(b, EXC_DB, S_CODE0, 0x100, 0x8e);
	deliver(c, EXC_DB, INT_EXC, false, 0);
	assert_int_equal(c->dr[7] & 0x2000, 0);
	assert_true(get(b, c->r[RSP] + 8, 4) & FL_RF);
	assert_int_equal(RUN(c, 0x0f, 0x21, 0xc0), NO_FAULT);
}

static void mov_dr_is_privileged(void **state)
{
	struct bare *b = *state;

	go_cpl(b, 3);
	assert_int_equal(RUN(b->c, 0x0f, 0x21, 0xc0), FAULT(EXC_GP, 0));
}

static void nothing_armed_costs_nothing(void **state)
{
	struct cpu *c = ((struct bare *)*state)->c;

	assert_int_equal(c->dbg_armed, 0);
	debug_write_dr(c, 0, 0x1234);
	assert_int_equal(c->dbg_armed, 0);
	debug_write_dr(c, 7, 1);
	assert_int_equal(c->dbg_armed, DBG_EXEC);
	debug_write_dr(c, 7, 1 | 1 << 16);
	assert_int_equal(c->dbg_armed, DBG_DATA);
	debug_write_dr(c, 7, 0);
	assert_int_equal(c->dbg_armed, 0);
}

static void instruction_breakpoint_unless_rf(void **state)
{
	struct cpu *c = ((struct bare *)*state)->c;

	debug_write_dr(c, 1, CODE);
	debug_write_dr(c, 2, CODE);			/* matches, not enabled: reported all the same */
	debug_write_dr(c, 7, 1 << 2);
	assert_true(debug_exec_at(c, CODE));
	assert_false(debug_exec_at(c, CODE + 1));
	assert_int_equal(TRY(c, debug_entry(c)), FAULT(EXC_DB, 0));
	assert_int_equal(c->dr[6] & 0xf, 6);
	c->rflags |= FL_RF;
	assert_int_equal(TRY(c, debug_entry(c)), NO_FAULT);
}

static void data_breakpoints_are_traps(void **state)
{
	struct cpu *c = ((struct bare *)*state)->c;

	debug_write_dr(c, 0, 0x8006);			/* len 4: 0x8004-0x8007 */
	debug_write_dr(c, 7, 2 | 0xd0000);
	assert_true(debug_watch_page(c, 0x8fff));
	assert_false(debug_watch_page(c, 0x9000));
	assert_int_equal(TRY(c, mem_ld(c, SEG_DS, 0x8004, 4)), NO_FAULT);
	assert_int_equal(c->db_pending, 0);		/* writes only */
	assert_int_equal(TRY(c, mem_st(c, SEG_DS, 0x8003, 0, 1)), NO_FAULT);
	assert_int_equal(c->db_pending, 0);
	assert_int_equal(TRY(c, mem_st(c, SEG_DS, 0x8003, 0, 2)), NO_FAULT);
	assert_int_equal(c->db_pending, 1);
	c->db_pending = 0;
	debug_write_dr(c, 7, 2 | 0xf0000);
	assert_int_equal(TRY(c, mem_ld(c, SEG_DS, 0x8007, 1)), NO_FAULT);
	assert_int_equal(c->db_pending, 1);
}

static void a_repeated_string_that_is_interrupted_has_rf(void **state)
{
	struct cpu *c = ((struct bare *)*state)->c;

	c->r[RCX] = 2;
	c->r[RDI] = 0x8000;
	c->step_trap = true;
	assert_int_equal(RUN(c, 0xf3, 0xaa), NO_FAULT);
	assert_int_equal(c->rip, CODE);
	assert_true(c->rflags & FL_RF);
	c->rflags &= ~(u32)FL_RF;
	assert_int_equal(RUN(c, 0xf3, 0xaa), NO_FAULT);
	assert_int_equal(c->rip, CODE + 2);
	assert_false(c->rflags & FL_RF);
}

static void io_breakpoints_need_de(void **state)
{
	struct cpu *c = ((struct bare *)*state)->c;

	debug_write_dr(c, 0, 0x80);
	debug_write_dr(c, 7, 2 | 2 << 16);
	assert_int_equal(RUN(c, 0xe4, 0x80), NO_FAULT);
	assert_int_equal(c->db_pending, 0);
	cpu_write_cr(c, 4, c->cr4 | CR4_DE);
	assert_int_equal(RUN(c, 0xe4, 0x80), NO_FAULT);
	assert_int_equal(c->db_pending, 1);
}

static void traps_update_dr6_and_are_delivered(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_idt(b, EXC_DB, S_CODE0, 0x100, 0x8e);
	c->dr[6] = 0xffff0ff0 | 0x8 | 0x8000;
	c->db_pending = 0x4001;
	c->rip = 0x4444;
	assert_false(debug_after(c));
	assert_int_equal(c->dr[6] & 0xe00f, 0xc001);	/* BT stays until software clears it */
	assert_int_equal(c->rip, 0x100);
	assert_int_equal(get(b, c->r[RSP], 4), 0x4444);
	/* a single step alone leaves B0-B3 */
	c->db_pending = 0x4000;
	debug_after(c);
	assert_int_equal(c->dr[6] & 0xf, 1);
}

static void int1_takes_what_mov_ss_held_off_along(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_idt(b, EXC_DB, S_CODE0, 0x100, 0x8e);
	c->dr[6] = 0xffff0ff0;
	c->db_pending = 4;
	assert_int_equal(RUN(c, 0xf1), NO_FAULT);
	assert_int_equal(c->rip, 0x100);
	assert_int_equal(c->dr[6] & 0xf, 4);
	assert_int_equal(c->db_pending, 0);
}

static void host_points_are_invisible_to_the_guest(void **state)
{
	struct cpu *c = ((struct bare *)*state)->c;
	struct debug_ctl d = { .npoints = 2, .point = {
		{ .la = CODE, .len = 1, .type = DEBUG_EXEC },
		{ .la = 0x8000, .len = 8, .type = DEBUG_WRITE } } };

	assert_int_equal(debug_set_ctl(c, &d), 0);
	assert_int_equal(c->dbg_armed, DBG_EXEC | DBG_DATA);
	assert_true(debug_entry(c));
	assert_int_equal(debug_get_hit(c).la, CODE);
	assert_false(debug_entry(c));			/* going on from it */
	assert_true(debug_entry(c));			/* and back there again */
	assert_int_equal(TRY(c, mem_st(c, SEG_DS, 0x8007, 1, 1)), NO_FAULT);
	assert_int_equal(c->db_pending, 0);
	assert_true(debug_after(c));
	assert_int_equal(debug_get_hit(c).la, 0x8000);
	assert_int_equal(debug_get_hit(c).type, DEBUG_WRITE);
	assert_false(debug_after(c));
	d = (struct debug_ctl){ .single_step = true };
	assert_int_equal(debug_set_ctl(c, &d), 0);
	assert_int_equal(c->dbg_armed, DBG_STEP);
	assert_true(debug_after(c));
	assert_true(debug_get_hit(c).step);
	d = (struct debug_ctl){ .npoints = 1, .point = { { .la = 1, .len = 9 } } };
	assert_int_equal(debug_set_ctl(c, &d), -22);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(dr4_and_5_are_aliases_without_de), TEST(fixed_bits), TEST(general_detect),
		TEST(mov_dr_is_privileged), TEST(nothing_armed_costs_nothing),
		TEST(instruction_breakpoint_unless_rf), TEST(data_breakpoints_are_traps),
		TEST(a_repeated_string_that_is_interrupted_has_rf),
		TEST(io_breakpoints_need_de), TEST(traps_update_dr6_and_are_delivered),
		TEST(int1_takes_what_mov_ss_held_off_along),
		TEST(host_points_are_invisible_to_the_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
