/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_except.c - delivery of exceptions and interrupts against SDM vol. 3, ch. 6 and 20.3. */
#include "engine/bare.h"

/* What a handler finds on its stack: ip, cs, flags, and with a level change sp, ss. */
static u64 at_sp(struct bare *b, unsigned i, unsigned size)
{
	return get(b, b->c->r[RSP] + i * size, size);
}

/* --- real mode --- */

static void real_mode_pushes_16_bit_frame(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_real(b);
	load_seg(c, SEG_CS, 0x1000, 0x10000, 0xffff, 0x92, 0);
	cpu_set_rflags(c, FL_1 | FL_IF | FL_TF | FL_AC | FL_CF);
	c->rip = 0x777;
	put16(b, 0x21 * 4, 0x1234);
	put16(b, 0x21 * 4 + 2, 0x2000);
	deliver(c, 0x21, INT_HW, false, 0);
	assert_int_equal(c->rip, 0x1234);
	assert_int_equal(c->seg[SEG_CS].base, 0x20000);
	assert_int_equal(c->r[RSP], 0x8000 - 6);
	assert_int_equal(at_sp(b, 0, 2), 0x777);
	assert_int_equal(at_sp(b, 1, 2), 0x1000);
	assert_int_equal(at_sp(b, 2, 2), FL_1 | FL_IF | FL_TF | FL_CF);
	assert_int_equal(cpu_get_rflags(c), FL_1 | FL_CF);
}

static void real_mode_pushes_no_error_code(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_real(b);
	put16(b, 13 * 4, 0x1234);
	deliver(c, EXC_GP, INT_EXC, true, 0x55);
	assert_int_equal(c->r[RSP], 0x8000 - 6);
	assert_int_equal(c->activity, CPU_RUNNING);
}

static void real_mode_vector_beyond_the_limit_ends_in_shutdown(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_real(b);
	c->idtr.limit = 0x1f;	/* neither #GP nor #DF */
	deliver(c, 0x21, INT_HW, false, 0);
	assert_int_equal(c->activity, CPU_SHUTDOWN);
}

/* --- protected mode --- */

static void interrupt_gate_at_the_same_level(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_idt(b, 0x30, S_CODE0, 0x12345678, 0x8e);
	cpu_set_rflags(c, FL_1 | FL_IF | FL_TF | FL_NT | FL_RF);
	c->rip = 0x4444;
	deliver(c, 0x30, INT_HW, false, 0);
	assert_int_equal(c->rip, 0x12345678);
	assert_int_equal(c->r[RSP], STACK0 - 12);
	assert_int_equal(at_sp(b, 0, 4), 0x4444);
	assert_int_equal(at_sp(b, 1, 4), S_CODE0);
	assert_int_equal(at_sp(b, 2, 4), FL_1 | FL_IF | FL_TF | FL_NT | FL_RF);
	assert_int_equal(cpu_get_rflags(c), FL_1);
}

static void trap_gate_leaves_if(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_idt(b, 0x30, S_CODE0, 0x100, 0x8f);
	cpu_set_rflags(c, FL_1 | FL_IF);
	deliver(c, 0x30, INT_HW, false, 0);
	assert_int_equal(cpu_get_rflags(c), FL_1 | FL_IF);
}

static void gate_of_16_bits_has_a_16_bit_offset(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_idt(b, 0x30, S_CODE0, 0xabcd1234, 0x86);
	c->rip = 0x12345678;
	deliver(c, 0x30, INT_HW, false, 0);
	assert_int_equal(c->rip, 0x1234);
	assert_int_equal(c->r[RSP], STACK0 - 6);
	assert_int_equal(at_sp(b, 0, 2), 0x5678);
}

static void faults_push_rf_and_the_error_code(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_idt(b, EXC_GP, S_CODE0, 0x100, 0x8e);
	c->rip = 0x4444;
	deliver(c, EXC_GP, INT_EXC, true, 0x55);
	assert_int_equal(at_sp(b, 0, 4), 0x55);
	assert_int_equal(at_sp(b, 1, 4), 0x4444);
	assert_int_equal(at_sp(b, 3, 4), FL_1 | FL_RF);
	assert_int_equal(cpu_get_rflags(c), FL_1);
}

static void traps_and_aborts_push_rf_as_it_is(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_idt(b, EXC_DB, S_CODE0, 0x100, 0x8e);
	deliver(c, EXC_DB, INT_EXC, false, 0);
	assert_int_equal(at_sp(b, 2, 4), FL_1);
}

static void inner_level_takes_the_stack_of_the_tss(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_cpl(b, 3);
	set_idt(b, 0x30, S_CODE0, 0x100, 0x8e);
	c->rip = 0x4444;
	deliver(c, 0x30, INT_HW, false, 0);
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->r[RSP], STACK0 - 20);
	assert_int_equal(at_sp(b, 0, 4), 0x4444);
	assert_int_equal(at_sp(b, 1, 4), S_CODE3);
	assert_int_equal(at_sp(b, 3, 4), STACK3);
	assert_int_equal(at_sp(b, 4, 4), S_DATA3);
}

static void conforming_handler_stays_at_its_level(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_cpl(b, 3);
	set_idt(b, 0x30, S_CONF0, 0x100, 0xee);
	deliver(c, 0x30, INT_HW, false, 0);
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->seg[SEG_CS].sel, S_CONF0 | 3);
	assert_int_equal(c->r[RSP], STACK3 - 12);
}

/* Faults of INT n come as of any instruction; the return address stays at the INT. */
static int int_n(struct cpu *c, u8 vec)
{
	return RUN(c, 0xcd, vec);
}

static void error_code_of_a_fault_on_an_idt_entry(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_cpl(b, 3);
	set_idt(b, 0x30, S_CODE0, 0x100, 0x8e);
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, 0x30 * 8 + 2));		/* DPL */
	set_idt(b, 0x30, S_CODE0, 0x100, 0x6e);
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_NP, 0x30 * 8 + 2));
	set_idt(b, 0x30, S_CODE0, 0x100, 0xec);					/* a call gate */
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, 0x30 * 8 + 2));
	c->idtr.limit = 0x30 * 8 + 6;
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, 0x30 * 8 + 2));
	go_long(b, 3);
	set_idt64(b, 0x30, S_CODE64, 0x100, 0x8e, 0);
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, 0x30 * 8 + 2));
	c->idtr.limit = 0x30 * 16 + 14;
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, 0x30 * 8 + 2));
	assert_int_equal(c->r[RSP], STACK3);
}

static void ext_is_set_unless_by_int_n(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_idt(b, EXC_NP, S_CODE0, 0x100, 0x8e);
	set_idt(b, 0x30, S_CODE0, 0x100, 0x0e);
	deliver(c, 0x30, INT_HW, false, 0);
	assert_int_equal(c->rip, 0x100);
	assert_int_equal(at_sp(b, 0, 4), 0x30 * 8 + 3);
	/* in another selector's fault as well */
	go_cpl(b, 0);
	set_idt(b, 0x30, S_NP, 0x100, 0x8e);
	set_idt(b, EXC_GP, S_CODE0, 0x200, 0x8e);
	deliver(c, 0x30, INT_HW, false, 0);
	assert_int_equal(c->rip, 0x200);
	assert_int_equal(at_sp(b, 0, 4), S_NP | 1);
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, S_NP));
	assert_int_equal(RUN(c, 0xf1), FAULT(EXC_GP, EXC_DB * 8 + 3));	/* INT1 is no INT n */
}

static void handler_code_checks(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_idt(b, 0x30, 0, 0x100, 0xee);
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, 0));
	set_idt(b, 0x30, S_DATA0, 0x100, 0xee);
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, S_DATA0));
	set_idt(b, 0x30, S_CODE3, 0x100, 0xee);			/* outward */
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, S_CODE3 & ~3));
	set_idt(b, 0x30, S_CODE16, 0x10000, 0xee);
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, 0));	/* beyond the limit */
	set_idt(b, 0x30, 0x3f8, 0x100, 0xee);
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, 0x3f8));
}

static void int3_and_into_check_the_gates_dpl(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_cpl(b, 3);
	set_idt(b, EXC_BP, S_CODE0, 0x100, 0x8e);
	set_idt(b, EXC_OF, S_CODE0, 0x100, 0x8e);
	set_idt(b, EXC_DB, S_CODE0, 0x300, 0x8e);
	assert_int_equal(RUN(c, 0xcc), FAULT(EXC_GP, EXC_BP * 8 + 2));
	assert_int_equal(RUN(c, 0xce), NO_FAULT);
	cpu_set_rflags(c, FL_1 | FL_OF);
	assert_int_equal(RUN(c, 0xce), FAULT(EXC_GP, EXC_OF * 8 + 2));
	c->rip = 0x700;
	assert_int_equal(RUN(c, 0xf1), NO_FAULT);		/* INT1 does not */
	assert_int_equal(c->rip, 0x300);
	assert_int_equal(at_sp(b, 0, 4), 0x701);
}

static void int_n_pushes_the_next_instruction(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_idt(b, 0x80, S_CODE0, 0x100, 0x8f);
	c->step_trap = true;
	c->rip = 0x700;
	assert_int_equal(int_n(c, 0x80), NO_FAULT);
	assert_int_equal(at_sp(b, 0, 4), 0x702);
	assert_false(c->step_trap);		/* no single step behind a handler's first */
}

static void no_stack_in_the_tss(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_cpl(b, 3);
	set_idt(b, 0x30, S_CODE0, 0x100, 0xee);
	put32(b, TSS + 8, 0);
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_TS, 0));
	put32(b, TSS + 8, S_NP);
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_SS, S_NP));
	c->seg[SEG_TR].limit = 4;
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_TS, S_TSS));
}

/* --- double and triple faults --- */

static void contributory_twice_is_a_double_fault(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_idt(b, EXC_DF, S_CODE0, 0x800, 0x8e);
	deliver(c, EXC_GP, INT_EXC, true, 0);		/* its gate is not present: #NP */
	assert_int_equal(c->rip, 0x800);
	assert_int_equal(at_sp(b, 0, 4), 0);
	assert_int_equal(c->activity, CPU_RUNNING);
}

static void benign_then_fault_is_that_fault(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_idt(b, EXC_DF, S_CODE0, 0x800, 0x8e);
	set_idt(b, EXC_GP, S_CODE0, 0x200, 0x8e);
	deliver(c, EXC_UD, INT_EXC, false, 0);
	assert_int_equal(c->rip, 0x200);
	assert_int_equal(at_sp(b, 0, 4), EXC_UD * 8 + 3);
}

static void page_fault_while_delivering_a_page_fault_doubles(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 0);
	set_idt64(b, EXC_DF, S_CODE64, 0x800, 0x8e, 0);
	set_idt64(b, EXC_PF, S_CODE64, 0x100, 0x8e, 1);
	put64(b, TSS + 0x24, 0x40000000);		/* IST1 is not mapped */
	deliver(c, EXC_PF, INT_EXC, true, 2);
	assert_int_equal(c->rip, 0x800);
	assert_true(c->cr2 >= 0x3fffff00 && c->cr2 < 0x40000000);
	/* a #GP first lets the page fault through */
	go_long(b, 0);
	set_idt64(b, EXC_GP, S_CODE64, 0x200, 0x8e, 1);
	set_idt64(b, EXC_PF, S_CODE64, 0x100, 0x8e, 0);
	deliver(c, EXC_GP, INT_EXC, true, 0);
	assert_int_equal(c->rip, 0x100);
}

static void third_fault_is_a_shutdown(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	deliver(c, EXC_GP, INT_EXC, true, 0);
	assert_int_equal(c->activity, CPU_SHUTDOWN);
	assert_int_equal(c->delivering, -1);
	assert_int_equal(c->rip, CODE);
}

/* --- long mode --- */

static void long_mode_aligns_and_always_pushes_ss(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 0);
	c->r[RSP] = STACK0 + 5;
	c->rip = 0x4444;
	set_idt64(b, 0x30, S_CODE64, 0xffff800000001000ull, 0x8e, 0);
	deliver(c, 0x30, INT_HW, false, 0);
	assert_true(c->rip == 0xffff800000001000ull);
	assert_int_equal(c->r[RSP], STACK0 - 40);
	assert_int_equal(at_sp(b, 0, 8), 0x4444);
	assert_int_equal(at_sp(b, 1, 8), S_CODE64);
	assert_int_equal(at_sp(b, 3, 8), STACK0 + 5);
	assert_int_equal(at_sp(b, 4, 8), S_DATA0);
	assert_int_equal(c->seg[SEG_SS].sel, S_DATA0);	/* not null: no change of level */
}

static void long_mode_inner_level_has_null_ss(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 3);
	put64(b, TSS + 4, STACK0 + 8);
	set_idt64(b, EXC_GP, S_CODE64, 0x1000, 0x8e, 0);
	deliver(c, EXC_GP, INT_EXC, true, 0x18);
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->seg[SEG_SS].sel, 0);
	assert_int_equal(c->r[RSP], STACK0 - 48);
	assert_int_equal(at_sp(b, 0, 8), 0x18);
	assert_int_equal(at_sp(b, 5, 8), S_DATA3);
}

static void ist_is_taken_at_any_level(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 0);
	put64(b, TSS + 0x24 + 6 * 8, 0xc000);		/* IST7 */
	set_idt64(b, EXC_NMI, S_CODE64, 0x1000, 0x8e, 7);
	deliver(c, EXC_NMI, INT_NMI, false, 0);
	assert_int_equal(c->r[RSP], 0xc000 - 40);
	assert_true(c->nmi_blocked);
	c->seg[SEG_TR].limit = 0x24 + 6 * 8 + 6;
	assert_int_equal(int_n(c, 2), FAULT(EXC_TS, S_TSS64));
}

static void long_mode_handler_checks(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 0);
	set_idt64(b, 0x30, S_CODE0, 0x1000, 0x8e, 0);
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, S_CODE0));
	set_idt64(b, 0x30, S_CODE64, 1ull << 47, 0x8e, 0);
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, 0));
	set_idt64(b, 0x30, S_CODE64, 0x1000, 0x86, 0);		/* no 16-bit gates here */
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, 0x30 * 8 + 2));
	set_idt64(b, 0x30, S_TSS64, 0x1000, 0x85, 0);		/* nor task gates */
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, 0x30 * 8 + 2));
	set_idt64(b, 0x30, S_CODE64, 0x1000, 0x8e, 0);
	c->r[RSP] = 0x900000000000;
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_SS, 0));
}

/* --- virtual-8086 mode --- */

static void v86_interrupt_goes_to_level_0_with_all_segments(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_v86(b, 3);
	set_idt(b, 0x30, S_CODE0, 0x100, 0xee);
	assert_int_equal(int_n(c, 0x30), NO_FAULT);
	assert_false(cpu_v86(c));
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->r[RSP], STACK0 - 36);
	assert_int_equal(at_sp(b, 0, 4), 0x22);
	assert_int_equal(at_sp(b, 1, 4), CODE >> 4);
	assert_int_equal(at_sp(b, 2, 4), FL_1 | FL_VM | FL_IOPL);
	assert_int_equal(at_sp(b, 3, 4), 0x100);
	assert_int_equal(at_sp(b, 4, 4), 0x900);
	assert_int_equal(at_sp(b, 5, 4), 0x100 * SEG_ES);
	assert_int_equal(at_sp(b, 6, 4), 0x100 * SEG_DS);
	assert_int_equal(at_sp(b, 7, 4), 0x100 * SEG_FS);
	assert_int_equal(at_sp(b, 8, 4), 0x100 * SEG_GS);
	assert_int_equal(c->seg[SEG_DS].sel, 0);
	assert_true(c->seg[SEG_GS].attr & SEG_A_UNUSABLE);
}

static void v86_int_n_needs_iopl_3(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_idt(b, 0x30, S_CODE0, 0x100, 0xee);
	set_idt(b, EXC_BP, S_CODE0, 0x100, 0xee);
	go_v86(b, 0);
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, 0));
	assert_int_equal(RUN(c, 0xcc), NO_FAULT);		/* INT3 does not */
	go_v86(b, 3);
	set_idt(b, 0x30, S_CODE1, 0x100, 0xee);			/* level 1: not from here */
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, S_CODE1));
	set_idt(b, 0x30, S_CONF0, 0x100, 0xee);
	assert_int_equal(int_n(c, 0x30), FAULT(EXC_GP, S_CONF0));
}

static void vme_redirects_int_n_to_the_8086_program(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;
	u32 map = TSS + IOMAP_OFF - 32;

	put16(b, 0x21 * 4, 0x1234);
	put16(b, 0x21 * 4 + 2, 0x2000);
	go_v86(b, 0);
	c->cr4 |= CR4_VME;
	cpu_set_rflags(c, cpu_get_rflags(c) | FL_VIF | FL_IF);
	assert_int_equal(int_n(c, 0x21), NO_FAULT);
	assert_int_equal(c->rip, 0x1234);
	assert_int_equal(c->seg[SEG_CS].base, 0x20000);
	assert_int_equal(get(b, 0x9100 - 6, 2), 0x22);
	assert_int_equal(get(b, 0x9100 - 2, 2), FL_1 | FL_IOPL | FL_IF);	/* IF is VIF, IOPL 3 */
	assert_int_equal(cpu_get_rflags(c), FL_1 | FL_VM | FL_IF);
	put8(b, map + 0x21 / 8, 1 << 0x21 % 8);
	go_v86(b, 0);
	assert_int_equal(int_n(c, 0x21), FAULT(EXC_GP, 0));
	set_idt(b, 0x21, S_CODE0, 0x100, 0xee);
	go_v86(b, 3);
	assert_int_equal(int_n(c, 0x21), NO_FAULT);
	assert_int_equal(c->cpl, 0);
}

/* --- ports --- */

static void io_permission_bitmap(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_cpl(b, 3);
	put8(b, TSS + IOMAP_OFF + 0x80 / 8, 0xfe);
	assert_true(io_allowed(c, 0x80, 1));
	assert_false(io_allowed(c, 0x80, 2));
	assert_false(io_allowed(c, 0x81, 1));
	put8(b, TSS + IOMAP_OFF + 0x80 / 8, 0x7f);		/* two bytes are looked at */
	put8(b, TSS + IOMAP_OFF + 0x88 / 8, 0x01);
	assert_true(io_allowed(c, 0x87, 1));
	assert_false(io_allowed(c, 0x87, 2));
	/* the byte behind must lie inside the limit too */
	c->seg[SEG_TR].limit = IOMAP_OFF + 0x80 / 8;
	assert_false(io_allowed(c, 0x87, 1));
	c->seg[SEG_TR].limit++;
	assert_true(io_allowed(c, 0x87, 1));
	cpu_set_rflags(c, FL_1 | FL_IOPL);
	assert_true(io_allowed(c, 0x81, 1));
	go_v86(b, 3);						/* here IOPL does not count */
	assert_false(io_allowed(c, 0x81, 1));
	assert_int_equal(RUN(c, 0xe4, 0x81), FAULT(EXC_GP, 0));
	go_cpl(b, 0);
	cpu_set_rflags(c, FL_1);
	assert_true(io_allowed(c, 0x81, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(real_mode_pushes_16_bit_frame), TEST(real_mode_pushes_no_error_code),
		TEST(real_mode_vector_beyond_the_limit_ends_in_shutdown),
		TEST(interrupt_gate_at_the_same_level), TEST(trap_gate_leaves_if),
		TEST(gate_of_16_bits_has_a_16_bit_offset), TEST(faults_push_rf_and_the_error_code),
		TEST(traps_and_aborts_push_rf_as_it_is), TEST(inner_level_takes_the_stack_of_the_tss),
		TEST(conforming_handler_stays_at_its_level),
		TEST(error_code_of_a_fault_on_an_idt_entry), TEST(ext_is_set_unless_by_int_n),
		TEST(handler_code_checks), TEST(int3_and_into_check_the_gates_dpl),
		TEST(int_n_pushes_the_next_instruction), TEST(no_stack_in_the_tss),
		TEST(contributory_twice_is_a_double_fault), TEST(benign_then_fault_is_that_fault),
		TEST(page_fault_while_delivering_a_page_fault_doubles),
		TEST(third_fault_is_a_shutdown), TEST(long_mode_aligns_and_always_pushes_ss),
		TEST(long_mode_inner_level_has_null_ss), TEST(ist_is_taken_at_any_level),
		TEST(long_mode_handler_checks), TEST(v86_interrupt_goes_to_level_0_with_all_segments),
		TEST(v86_int_n_needs_iopl_3), TEST(vme_redirects_int_n_to_the_8086_program),
		TEST(io_permission_bitmap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
