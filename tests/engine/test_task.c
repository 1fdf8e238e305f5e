/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_task.c - hardware task switches against SDM vol. 3, ch. 8. */
#include "engine/bare.h"

/* A new task in TSS2: level 0, flat, stack at STACK1, with the registers numbered. */
static void tss32(struct bare *b, u32 cs, u32 ss, u32 eflags)
{
	put32(b, TSS2 + 0x20, 0x12340);
	put32(b, TSS2 + 0x24, eflags);
	for (unsigned i = 0; i < 8; i++)
		put32(b, TSS2 + 0x28 + 4 * i, 0x100 + i);
	put32(b, TSS2 + 0x38, STACK1);
	put32(b, TSS2 + 0x48, S_DATA0);
	put32(b, TSS2 + 0x4c, cs);
	put32(b, TSS2 + 0x50, ss);
	put32(b, TSS2 + 0x54, S_DATA0);
	put32(b, TSS2 + 0x58, 0);
	put32(b, TSS2 + 0x5c, S_SMALL);
	put32(b, TSS2 + 0x60, S_LDT);
	put16(b, TSS2 + 0x64, 0);
}

static u8 busy(struct bare *b, u16 sel) { return get(b, GDT + sel + 5, 1) >> 1 & 1; }

static void jmp_switches_and_moves_busy(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	tss32(b, S_CODE0, S_DATA0, FL_1 | FL_CF);
	c->r[RAX] = 0xaaaa;
	c->next_rip = 0x7777;
	cpu_set_rflags(c, FL_1 | FL_ZF);
	assert_int_equal(TRY(c, far_jump(c, S_TSS2, 0, 4)), NO_FAULT);
	assert_int_equal(c->next_rip, 0x12340);
	assert_int_equal(c->r[RAX], 0x100);
	assert_int_equal(c->r[RDI], 0x107);
	assert_int_equal(c->r[RSP], STACK1);
	assert_int_equal(c->seg[SEG_GS].limit, 0xfff);
	assert_int_equal(c->seg[SEG_TR].sel, S_TSS2);
	assert_int_equal(cpu_get_rflags(c), FL_1 | FL_CF);
	assert_true(c->cr0 & CR0_TS);
	assert_false(busy(b, S_TSS));
	assert_true(busy(b, S_TSS2));
	assert_int_equal(get(b, TSS + 0x20, 4), 0x7777);
	assert_int_equal(get(b, TSS + 0x24, 4), FL_1 | FL_ZF);
	assert_int_equal(get(b, TSS + 0x28, 4), 0xaaaa);
	assert_int_equal(get(b, TSS + 0x4c, 4), S_CODE0);
}

static void call_links_and_iret_returns(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	tss32(b, S_CODE0, S_DATA0, FL_1);
	c->next_rip = 0x7777;
	assert_int_equal(TRY(c, far_call(c, S_TSS2, 0, 4)), NO_FAULT);
	assert_true(busy(b, S_TSS) && busy(b, S_TSS2));
	assert_int_equal(get(b, TSS2, 2), S_TSS);
	assert_int_equal(cpu_get_rflags(c), FL_1 | FL_NT);
	c->next_rip = 0x9999;
	assert_int_equal(TRY(c, do_iret(c, 4)), NO_FAULT);
	assert_int_equal(c->seg[SEG_TR].sel, S_TSS);
	assert_int_equal(c->next_rip, 0x7777);
	assert_int_equal(cpu_get_rflags(c), FL_1);
	assert_true(busy(b, S_TSS));
	assert_false(busy(b, S_TSS2));
	assert_int_equal(get(b, TSS2 + 0x24, 4), FL_1);		/* NT is gone from the left task */
	assert_int_equal(get(b, TSS2 + 0x20, 4), 0x9999);
}

static void interrupt_through_a_task_gate_pushes_its_error_code(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	tss32(b, S_CODE0, S_DATA0, FL_1);
	set_idt(b, EXC_NP, S_TSS2, 0, 0x85);
	c->rip = 0x5555;
	deliver(c, EXC_NP, INT_EXC, true, 0x98);
	assert_int_equal(c->seg[SEG_TR].sel, S_TSS2);
	assert_int_equal(c->rip, 0x12340);
	assert_int_equal(c->r[RSP], STACK1 - 4);
	assert_int_equal(get(b, STACK1 - 4, 4), 0x98);
	assert_int_equal(get(b, TSS + 0x20, 4), 0x5555);
	assert_int_equal(get(b, TSS + 0x24, 4), FL_1 | FL_RF);
	assert_int_equal(cpu_get_rflags(c), FL_1 | FL_NT);
}

static void task_gate_checks(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	tss32(b, S_CODE0, S_DATA0, FL_1);
	set_gate(b, GDT + S_GATE, S_TSS2, 0, 0x85, 0);
	go_cpl(b, 3);
	assert_int_equal(TRY(c, far_jump(c, S_GATE, 0, 4)), FAULT(EXC_GP, S_GATE));
	assert_int_equal(TRY(c, far_jump(c, S_TSS2, 0, 4)), FAULT(EXC_GP, S_TSS2));
	set_gate(b, GDT + S_GATE, S_TSS2, 0, 0x65, 0);
	assert_int_equal(TRY(c, far_jump(c, S_GATE, 0, 4)), FAULT(EXC_NP, S_GATE));
	set_gate(b, GDT + S_GATE, S_TSS2 | 4, 0, 0xe5, 0);
	assert_int_equal(TRY(c, far_jump(c, S_GATE, 0, 4)), FAULT(EXC_GP, S_TSS2 | 4));
	set_gate(b, GDT + S_GATE, S_TSS2, 0, 0xe5, 0);	/* the gate's DPL counts, not the TSS's */
	assert_int_equal(TRY(c, far_jump(c, S_GATE | 3, 0, 4)), NO_FAULT);
	assert_int_equal(c->cpl, 0);
}

static void tss_descriptor_checks(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	assert_int_equal(TRY(c, far_jump(c, S_TSS, 0, 4)), FAULT(EXC_GP, S_TSS));	/* busy */
	set_desc(b, GDT, S_TSS2, TSS2, 0x67, 0x09, 0);
	assert_int_equal(TRY(c, far_jump(c, S_TSS2, 0, 4)), FAULT(EXC_NP, S_TSS2));
	set_desc(b, GDT, S_TSS2, TSS2, 0x66, A_TSS32, 0);
	assert_int_equal(TRY(c, far_jump(c, S_TSS2, 0, 4)), FAULT(EXC_TS, S_TSS2));
	set_desc(b, GDT, S_TSS2, TSS2, 0x2a, A_TSS16, 0);
	assert_int_equal(TRY(c, far_jump(c, S_TSS2, 0, 4)), FAULT(EXC_TS, S_TSS2));
	/* IRET: the linked task must be busy */
	set_desc(b, GDT, S_TSS2, TSS2, 0x67, A_TSS32, 0);
	put16(b, TSS, S_TSS2);
	cpu_set_rflags(c, FL_1 | FL_NT);
	assert_int_equal(TRY(c, do_iret(c, 4)), FAULT(EXC_TS, S_TSS2));
	assert_int_equal(c->seg[SEG_TR].sel, S_TSS);
	assert_true(busy(b, S_TSS));
}

/* A fault from the new task's segments is the new task's: TR, registers and EIP are its own. */
static void faults_after_the_commit_point(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;
	static const struct { u16 cs, ss, ds, ldt; int want; } tab[] = {
		{ 0, S_DATA0, 0, 0, FAULT(EXC_TS, 0) },
		{ S_DATA0, S_DATA0, 0, 0, FAULT(EXC_TS, S_DATA0) },
		{ S_CODE3 & ~3, S_DATA0, 0, 0, FAULT(EXC_TS, S_CODE3 & ~3) },
		{ S_CODE0, 0, 0, 0, FAULT(EXC_TS, 0) },
		{ S_CODE0, S_RO, 0, 0, FAULT(EXC_TS, S_RO) },
		{ S_CODE0, S_DATA3, 0, 0, FAULT(EXC_TS, S_DATA3 & ~3) },
		{ S_CODE0, S_NP, 0, 0, FAULT(EXC_SS, S_NP) },
		{ S_CODE0, S_DATA0, S_NP, 0, FAULT(EXC_NP, S_NP) },
		{ S_CODE0, S_DATA0, S_XONLY, 0, FAULT(EXC_TS, S_XONLY) },
		{ S_CODE0, S_DATA0, 0, S_DATA0, FAULT(EXC_TS, S_DATA0) },
		{ S_CODE0, S_DATA0, 0, 4 | S_LDT, FAULT(EXC_TS, 4 | S_LDT) },
		{ S_CODE16, S_DATA0, 0, 0, FAULT(EXC_GP, 0) },		/* EIP beyond the limit */
	};

	for (volatile unsigned i = 0; i < ARRAY_SIZE(tab); i++) {
		set_desc(b, GDT, S_TSS2, TSS2, 0x67, A_TSS32, 0);
		set_desc(b, GDT, S_TSS, TSS, 0x2067, 0x8b, 0);
		load_seg(c, SEG_TR, S_TSS, TSS, 0x2067, 0x8b, 0);
		go_cpl(b, 0);
		tss32(b, tab[i].cs, tab[i].ss, FL_1);
		put32(b, TSS2 + 0x54, tab[i].ds);
		put32(b, TSS2 + 0x60, tab[i].ldt);
		assert_int_equal(TRY(c, far_jump(c, S_TSS2, 0, 4)), tab[i].want);
		assert_int_equal(c->seg[SEG_TR].sel, S_TSS2);
		assert_int_equal(c->rip, 0x12340);
		assert_int_equal(c->r[RDI], 0x107);
		assert_int_equal(c->seg[SEG_SS].sel, tab[i].ss);
		if (tab[i].ds)			/* the handler finds the new stack whole */
			assert_int_equal(c->stack_size, 4);
	}
}

static void switch_to_a_16_bit_tss(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_desc(b, GDT, S_TSS2, TSS2, 0x2b, A_TSS16, 0);
	put16(b, TSS2 + 0x0e, 0x4321);
	put16(b, TSS2 + 0x10, FL_1 | FL_DF);
	for (unsigned i = 0; i < 8; i++)
		put16(b, TSS2 + 0x12 + 2 * i, 0x200 + i);
	put16(b, TSS2 + 0x22, S_DATA16);
	put16(b, TSS2 + 0x24, S_CODE16);
	put16(b, TSS2 + 0x26, S_DATA16);
	put16(b, TSS2 + 0x28, S_DATA16);
	assert_int_equal(TRY(c, far_call(c, S_TSS2, 0, 4)), NO_FAULT);
	assert_int_equal(c->next_rip, 0x4321);
	assert_int_equal((u16)c->r[RBX], 0x203);
	assert_int_equal(c->mode, 2);
	assert_int_equal(c->seg[SEG_FS].sel, 0);
	assert_int_equal(get(b, TSS2, 2), S_TSS);
	c->next_rip = 0x4323;
	c->r[RAX] = 0x12345678;
	assert_int_equal(TRY(c, do_iret(c, 2)), NO_FAULT);
	assert_int_equal(get(b, TSS2 + 0x0e, 2), 0x4323);
	assert_int_equal(get(b, TSS2 + 0x12, 2), 0x5678);
	assert_int_equal(get(b, TSS2 + 0x14, 2), 0x201);
	assert_int_equal(c->seg[SEG_TR].sel, S_TSS);
}

static void switch_to_virtual_8086_mode(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	tss32(b, 0x1000, 0x900, FL_1 | FL_VM | FL_IOPL);
	put32(b, TSS2 + 0x20, 0x40);
	assert_int_equal(TRY(c, far_jump(c, S_TSS2, 0, 4)), NO_FAULT);
	assert_true(cpu_v86(c));
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->seg[SEG_CS].base, 0x10000);
	assert_int_equal(c->mode, 2);
}

static void trap_bit_and_local_breakpoints(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	tss32(b, S_CODE0, S_DATA0, FL_1);
	put16(b, TSS2 + 0x64, 1);
	c->dr[7] = 0x4ff;
	assert_int_equal(TRY(c, far_jump(c, S_TSS2, 0, 4)), NO_FAULT);
	assert_int_equal(c->db_pending, 0x8000);
	assert_int_equal(c->dr[7] & 0xff, 0xaa);
}

static void cr3_comes_with_the_task_when_paging(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	/* 4 MiB pages, the same in both directories but for the second entry. */
	c->cr4 |= CR4_PSE;
	for (u32 dir = PML4; dir <= PML4 + 0x1000; dir += 0x1000)
		put32(b, dir, 0x83);
	put32(b, PML4 + 4, 0x83);
	put32(b, PML4 + 0x1004, 0x83 | 0x400000);
	c->cr3 = PML4;
	c->cr0 |= CR0_PG;
	tlb_flush_all(c);
	cpu_mode_changed(c);
	put32(b, 0x8000, 0x11);
	put32(b, 0x408000, 0x22);
	assert_int_equal(lin_ld(c, 0x408000, 4, AS_SYSTEM), 0x11);
	tss32(b, S_CODE0, S_DATA0, FL_1);
	put32(b, TSS2 + 0x1c, PML4 + 0x1000);
	assert_int_equal(TRY(c, far_jump(c, S_TSS2, 0, 4)), NO_FAULT);
	assert_int_equal(c->cr3, PML4 + 0x1000);
	assert_int_equal(lin_ld(c, 0x408000, 4, AS_SYSTEM), 0x22);
}

static void long_mode_has_no_task_switches(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 0);
	assert_int_equal(TRY(c, far_jump(c, S_TSS64, 0, 8)), FAULT(EXC_GP, S_TSS64));
	set_gate(b, GDT + S_GATE, S_TSS64, 0, 0x85, 0);
	assert_int_equal(TRY(c, far_jump(c, S_GATE, 0, 8)), FAULT(EXC_GP, S_GATE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(jmp_switches_and_moves_busy), TEST(call_links_and_iret_returns),
		TEST(interrupt_through_a_task_gate_pushes_its_error_code), TEST(task_gate_checks),
		TEST(tss_descriptor_checks), TEST(faults_after_the_commit_point),
		TEST(switch_to_a_16_bit_tss), TEST(switch_to_virtual_8086_mode),
		TEST(trap_bit_and_local_breakpoints), TEST(cr3_comes_with_the_task_when_paging),
		TEST(long_mode_has_no_task_switches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
