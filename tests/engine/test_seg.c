/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_seg.c - segment loads and far transfers against the rules of SDM vol. 2 and 3. */
#include "engine/bare.h"

/* --- loads of data segments --- */

static void ds_load_sets_accessed_and_hidden_part(void **state)
{
	struct bare *b = *state;

	assert_int_equal(TRY(b->c, seg_load(b->c, SEG_DS, S_SMALL)), NO_FAULT);
	assert_int_equal(b->c->seg[SEG_DS].sel, S_SMALL);
	assert_int_equal(b->c->seg[SEG_DS].limit, 0xfff);
	assert_int_equal(get(b, GDT + S_SMALL + 5, 1), A_DATA0 | 1);
}

static void null_loads(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	assert_int_equal(TRY(c, seg_load(c, SEG_ES, 3)), NO_FAULT);
	assert_true(c->seg[SEG_ES].attr & SEG_A_UNUSABLE);
	assert_int_equal(TRY(c, mem_ld(c, SEG_ES, 0, 1)), FAULT(EXC_GP, 0));
	assert_int_equal(TRY(c, seg_load(c, SEG_SS, 0)), FAULT(EXC_GP, 0));
}

static void null_ss_in_64bit_mode_needs_rpl_equal_cpl_below_3(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 0);
	assert_int_equal(TRY(c, seg_load(c, SEG_SS, 1)), FAULT(EXC_GP, 0));
	assert_int_equal(TRY(c, seg_load(c, SEG_SS, 0)), NO_FAULT);
	assert_int_equal(c->cpl, 0);
	go_long(b, 3);
	assert_int_equal(TRY(c, seg_load(c, SEG_SS, 3)), FAULT(EXC_GP, 0));
}

static void mov_ss_checks_rpl_dpl_type_present(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	assert_int_equal(TRY(c, seg_load(c, SEG_SS, S_DATA0 | 3)), FAULT(EXC_GP, S_DATA0));
	assert_int_equal(TRY(c, seg_load(c, SEG_SS, S_DATA3 & ~3)), FAULT(EXC_GP, S_DATA3 & ~3));
	assert_int_equal(TRY(c, seg_load(c, SEG_SS, S_RO)), FAULT(EXC_GP, S_RO));
	assert_int_equal(TRY(c, seg_load(c, SEG_SS, S_CODE0)), FAULT(EXC_GP, S_CODE0));
	assert_int_equal(TRY(c, seg_load(c, SEG_SS, S_NP)), FAULT(EXC_SS, S_NP));
	assert_int_equal(TRY(c, seg_load(c, SEG_SS, S_SMALL)), NO_FAULT);
}

static void data_loads_check_dpl_against_cpl_and_rpl(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	assert_int_equal(TRY(c, seg_load(c, SEG_DS, S_DATA0 | 1)), FAULT(EXC_GP, S_DATA0));
	go_cpl(b, 3);
	assert_int_equal(TRY(c, seg_load(c, SEG_DS, S_DATA0)), FAULT(EXC_GP, S_DATA0));
	assert_int_equal(TRY(c, seg_load(c, SEG_DS, S_CONF0 | 3)), NO_FAULT);
	assert_int_equal(TRY(c, seg_load(c, SEG_DS, S_XONLY | 3)), FAULT(EXC_GP, S_XONLY));
	assert_int_equal(TRY(c, seg_load(c, SEG_FS, S_TSS)), FAULT(EXC_GP, S_TSS));
}

static void not_present_and_beyond_the_table(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	assert_int_equal(TRY(c, seg_load(c, SEG_DS, S_NP)), FAULT(EXC_NP, S_NP));
	c->gdtr.limit = S_DATA3 | 6;
	assert_int_equal(TRY(c, seg_load(c, SEG_DS, S_DATA3)), NO_FAULT);
	c->gdtr.limit = (S_DATA3 & ~7) + 6;
	assert_int_equal(TRY(c, seg_load(c, SEG_DS, S_DATA3)), FAULT(EXC_GP, S_DATA3 & ~3));
	set_desc(b, LDT, 0x08, 0x1234, 0xff, A_DATA0, F_BYTE32);
	assert_int_equal(TRY(c, seg_load(c, SEG_DS, 0x0c)), NO_FAULT);
	assert_int_equal(c->seg[SEG_DS].base, 0x1234);
	c->seg[SEG_LDTR].attr = SEG_A_UNUSABLE;
	assert_int_equal(TRY(c, seg_load(c, SEG_DS, 0x0c)), FAULT(EXC_GP, 0x0c));
}

static void unreal_mode_keeps_limits(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_real(b);
	c->seg[SEG_DS].limit = 0xffffffff;
	c->seg[SEG_DS].attr |= SEG_A_G;
	assert_int_equal(TRY(c, seg_load(c, SEG_DS, 0x1234)), NO_FAULT);
	assert_int_equal(c->seg[SEG_DS].base, 0x12340);
	assert_int_equal(c->seg[SEG_DS].limit, 0xffffffff);
}

static void v86_loads_fix_everything(void **state)
{
	struct bare *b = *state;

	go_v86(b, 3);
	b->c->seg[SEG_DS].limit = 0xffffffff;
	assert_int_equal(TRY(b->c, seg_load(b->c, SEG_DS, 0xffff)), NO_FAULT);
	assert_int_equal(b->c->seg[SEG_DS].base, 0xffff0);
	assert_int_equal(b->c->seg[SEG_DS].limit, 0xffff);
}

static void writes_through_readonly_and_beyond_limits_fault(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	assert_int_equal(TRY(c, seg_load(c, SEG_ES, S_RO)), NO_FAULT);
	assert_int_equal(TRY(c, mem_st(c, SEG_ES, 0x100, 1, 1)), FAULT(EXC_GP, 0));
	assert_int_equal(TRY(c, mem_ld(c, SEG_ES, 0x100, 1)), NO_FAULT);
	assert_int_equal(TRY(c, seg_load(c, SEG_ES, S_SMALL)), NO_FAULT);
	assert_int_equal(TRY(c, mem_st(c, SEG_ES, 0xffc, 1, 4)), NO_FAULT);
	assert_int_equal(TRY(c, mem_st(c, SEG_ES, 0xffd, 1, 4)), FAULT(EXC_GP, 0));
	assert_int_equal(TRY(c, seg_load(c, SEG_ES, S_DOWN)), NO_FAULT);
	assert_int_equal(TRY(c, mem_st(c, SEG_ES, 0xfff, 1, 1)), FAULT(EXC_GP, 0));
	assert_int_equal(TRY(c, mem_st(c, SEG_ES, 0x1000, 1, 1)), NO_FAULT);
	assert_int_equal(TRY(c, seg_load(c, SEG_SS, S_SMALL)), NO_FAULT);
	assert_int_equal(TRY(c, mem_st(c, SEG_SS, 0x1000, 1, 1)), FAULT(EXC_SS, 0));
}

/* --- LLDT, LTR --- */

static void lldt_rules(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	c->r[RAX] = S_TSS2;
	assert_int_equal(RUN(c, 0x0f, 0x00, 0xd0), FAULT(EXC_GP, S_TSS2));
	c->r[RAX] = 0x0c;
	assert_int_equal(RUN(c, 0x0f, 0x00, 0xd0), FAULT(EXC_GP, 0x0c));
	c->r[RAX] = 3;
	assert_int_equal(RUN(c, 0x0f, 0x00, 0xd0), NO_FAULT);
	assert_true(c->seg[SEG_LDTR].attr & SEG_A_UNUSABLE);
	c->r[RAX] = S_LDT;
	assert_int_equal(RUN(c, 0x0f, 0x00, 0xd0), NO_FAULT);
	assert_int_equal(c->seg[SEG_LDTR].base, LDT);
	set_desc(b, GDT, S_LDT, LDT, 0xff, A_LDT_ & ~0x80, 0);
	assert_int_equal(RUN(c, 0x0f, 0x00, 0xd0), FAULT(EXC_NP, S_LDT));
}

static void ltr_marks_busy_and_refuses_busy(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	c->r[RAX] = S_TSS2;
	assert_int_equal(RUN(c, 0x0f, 0x00, 0xd8), NO_FAULT);
	assert_int_equal(get(b, GDT + S_TSS2 + 5, 1), 0x8b);
	assert_int_equal(RUN(c, 0x0f, 0x00, 0xd8), FAULT(EXC_GP, S_TSS2));
	c->r[RAX] = 0;
	assert_int_equal(RUN(c, 0x0f, 0x00, 0xd8), FAULT(EXC_GP, 0));
}

static void long_mode_system_descriptors_have_16_bytes(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 0);
	put64(b, GDT + S_LDT64 + 8, 0xffff8000);
	c->r[RAX] = S_LDT64;
	assert_int_equal(RUN(c, 0x0f, 0x00, 0xd0), NO_FAULT);
	assert_true(c->seg[SEG_LDTR].base == (0xffff800000000000ull | LDT));
	put64(b, GDT + S_LDT64 + 8, 0x00008000);	/* not canonical */
	assert_int_equal(RUN(c, 0x0f, 0x00, 0xd0), FAULT(EXC_GP, S_LDT64));
	put64(b, GDT + S_LDT64 + 8, 0x1f00ull << 32);	/* type of the second half */
	assert_int_equal(RUN(c, 0x0f, 0x00, 0xd0), FAULT(EXC_GP, S_LDT64));
	put64(b, GDT + S_TSS64 + 8, 0x00018000);
	c->r[RAX] = S_TSS64;
	assert_int_equal(RUN(c, 0x0f, 0x00, 0xd8), FAULT(EXC_GP, S_TSS64));
	assert_int_equal(get(b, GDT + S_TSS64 + 5, 1), A_TSS32);
}

static void lgdt_lidt_in_64bit_mode_need_canonical_bases(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 0);
	c->r[RAX] = 0x8000;
	put16(b, 0x8000, 0x1234);
	put64(b, 0x8002, 0x0000800000000000ull);
	assert_int_equal(RUN(c, 0x0f, 0x01, 0x10), FAULT(EXC_GP, 0));
	assert_int_equal(RUN(c, 0x0f, 0x01, 0x18), FAULT(EXC_GP, 0));
	put64(b, 0x8002, 0xffff800000000000ull);
	assert_int_equal(RUN(c, 0x0f, 0x01, 0x18), NO_FAULT);
	assert_true(c->idtr.base == 0xffff800000000000ull && c->idtr.limit == 0x1234);
}

static void lgdt_with_16_bit_operands_takes_24_bits(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	c->r[RAX] = 0x8000;
	put16(b, 0x8000, 0x77);
	put32(b, 0x8002, 0x89abcdef);
	assert_int_equal(RUN(c, 0x66, 0x0f, 0x01, 0x10), NO_FAULT);
	assert_int_equal(c->gdtr.base, 0xabcdef);
	assert_int_equal(RUN(c, 0x0f, 0x01, 0x10), NO_FAULT);
	assert_true(c->gdtr.base == 0x89abcdef);
}

static void umip_hides_the_tables_from_users(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_cpl(b, 3);
	c->r[RAX] = 0x8000;
	assert_int_equal(RUN(c, 0x0f, 0x01, 0x00), NO_FAULT);
	c->cr4 |= CR4_UMIP;
	assert_int_equal(RUN(c, 0x0f, 0x01, 0x00), FAULT(EXC_GP, 0));
	assert_int_equal(RUN(c, 0x0f, 0x00, 0xc8), FAULT(EXC_GP, 0));
	go_cpl(b, 0);
	assert_int_equal(RUN(c, 0x0f, 0x00, 0xc8), NO_FAULT);
	assert_int_equal(c->r[RAX], S_TSS);
}

/* --- LAR, LSL, VERR, VERW, ARPL --- */

static bool zf(struct cpu *c) { return cpu_get_rflags(c) & FL_ZF; }

static void lar_and_lsl(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	c->r[RCX] = S_SMALL;
	assert_int_equal(RUN(c, 0x0f, 0x02, 0xc1), NO_FAULT);
	assert_true(zf(c));
	assert_int_equal(c->r[RAX], 0x00409200);
	assert_int_equal(RUN(c, 0x0f, 0x03, 0xc1), NO_FAULT);
	assert_int_equal(c->r[RAX], 0xfff);
	c->r[RCX] = S_DATA0;
	assert_int_equal(RUN(c, 0x0f, 0x03, 0xc1), NO_FAULT);
	assert_true(c->r[RAX] == 0xffffffff);
	set_gate(b, GDT + S_GATE, S_CODE0, CODE, 0x8c, 0);
	c->r[RCX] = S_GATE;
	assert_int_equal(RUN(c, 0x0f, 0x02, 0xc1), NO_FAULT);
	assert_true(zf(c));
	assert_int_equal(RUN(c, 0x0f, 0x03, 0xc1), NO_FAULT);
	assert_false(zf(c));
	set_gate(b, GDT + S_GATE, S_CODE0, CODE, 0x8e, 0);	/* an interrupt gate is none of its */
	assert_int_equal(RUN(c, 0x0f, 0x02, 0xc1), NO_FAULT);
	assert_false(zf(c));
	go_cpl(b, 3);
	c->r[RCX] = S_DATA0;
	c->r[RAX] = 7;
	assert_int_equal(RUN(c, 0x0f, 0x02, 0xc1), NO_FAULT);
	assert_false(zf(c));
	assert_int_equal(c->r[RAX], 7);
	c->r[RCX] = S_CONF0;
	assert_int_equal(RUN(c, 0x0f, 0x02, 0xc1), NO_FAULT);
	assert_true(zf(c));
}

static void verr_and_verw(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;
	static const struct { u16 sel; bool r, w; } want[] = {
		{ 0, false, false }, { S_DATA0, true, true }, { S_RO, true, false },
		{ S_XONLY, false, false }, { S_CODE0, true, false }, { S_TSS, false, false },
		{ S_DATA0 | 3, false, false }, { S_CONF0 | 3, true, false }, { 0x3f8, false, false },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
		c->r[RAX] = want[i].sel;
		assert_int_equal(RUN(c, 0x0f, 0x00, 0xe0), NO_FAULT);
		assert_int_equal(zf(c), want[i].r);
		assert_int_equal(RUN(c, 0x0f, 0x00, 0xe8), NO_FAULT);
		assert_int_equal(zf(c), want[i].w);
	}
}

static void arpl_raises_rpl(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	c->r[RAX] = 0x11;
	c->r[RCX] = 0x03;
	assert_int_equal(RUN(c, 0x63, 0xc8), NO_FAULT);
	assert_int_equal(c->r[RAX], 0x13);
	assert_true(zf(c));
	assert_int_equal(RUN(c, 0x63, 0xc8), NO_FAULT);
	assert_false(zf(c));
	/* no store when there is nothing to raise */
	assert_int_equal(TRY(c, seg_load(c, SEG_DS, S_RO)), NO_FAULT);
	c->r[RDX] = 0x8000;
	put16(b, 0x8000, 0x13);
	assert_int_equal(RUN(c, 0x63, 0x0a), NO_FAULT);
	put16(b, 0x8000, 0x11);
	assert_int_equal(RUN(c, 0x63, 0x0a), FAULT(EXC_GP, 0));
}

/* --- far JMP --- */

static void jmp_to_code_checks(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	assert_int_equal(TRY(c, far_jump(c, 0, 0, 4)), FAULT(EXC_GP, 0));
	assert_int_equal(TRY(c, far_jump(c, S_DATA0, 0, 4)), FAULT(EXC_GP, S_DATA0));
	assert_int_equal(TRY(c, far_jump(c, S_CODE3 & ~3, 0, 4)), FAULT(EXC_GP, S_CODE3 & ~3));
	assert_int_equal(TRY(c, far_jump(c, S_CODE0 | 1, 0, 4)), FAULT(EXC_GP, S_CODE0));
	assert_int_equal(TRY(c, far_jump(c, S_CODE16, 0x10000, 4)), FAULT(EXC_GP, 0));
	assert_int_equal(c->seg[SEG_CS].sel, S_CODE0);
	assert_int_equal(TRY(c, far_jump(c, S_CODE16, 0x1234, 4)), NO_FAULT);
	assert_int_equal(c->mode, 2);
	assert_int_equal(c->next_rip, 0x1234);
	assert_int_equal(get(b, GDT + S_CODE16 + 5, 1), A_CODE0 | 1);
}

static void jmp_to_conforming_code_keeps_cpl(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_cpl(b, 3);
	assert_int_equal(TRY(c, far_jump(c, S_CONF0, 0x55, 4)), NO_FAULT);
	assert_int_equal(c->seg[SEG_CS].sel, S_CONF0 | 3);
	assert_int_equal(c->cpl, 3);
}

static void long_mode_code_with_d_and_l_is_refused(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 0);
	set_desc(b, GDT, S_FREE, 0, 0xfffff, A_CODE0, F_64 | 4);
	assert_int_equal(TRY(c, far_jump(c, S_FREE, 0, 8)), FAULT(EXC_GP, S_FREE));
	assert_int_equal(TRY(c, far_jump(c, S_CODE64, 0x800000000000ull, 8)), FAULT(EXC_GP, 0));
	assert_int_equal(TRY(c, far_jump(c, S_CODE0, 0x100, 4)), NO_FAULT);
	assert_int_equal(c->mode, 4);
	assert_int_equal(TRY(c, far_jump(c, S_CODE64, 0x100, 4)), NO_FAULT);
	assert_int_equal(c->mode, 8);
}

static void real_mode_jmp_checks_the_limit(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_real(b);
	assert_int_equal(TRY(c, far_jump(c, 0x1000, 0x10000, 4)), FAULT(EXC_GP, 0));
	assert_int_equal(TRY(c, far_jump(c, 0x1000, 0x123, 2)), NO_FAULT);
	assert_int_equal(c->seg[SEG_CS].base, 0x10000);
	assert_int_equal(c->next_rip, 0x123);
}

/* --- call gates --- */

static void gate_of_16_bits_has_a_16_bit_offset(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_gate(b, GDT + S_GATE, S_CODE0, 0xabcd1234, 0x84, 0);
	assert_int_equal(TRY(c, far_jump(c, S_GATE, 0x9999, 4)), NO_FAULT);
	assert_int_equal(c->next_rip, 0x1234);
}

static void gate_checks(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_gate(b, GDT + S_GATE, S_CODE0, CODE, 0x8c, 0);
	assert_int_equal(TRY(c, far_call(c, S_GATE | 3, 0, 4)), FAULT(EXC_GP, S_GATE));
	go_cpl(b, 3);
	assert_int_equal(TRY(c, far_call(c, S_GATE, 0, 4)), FAULT(EXC_GP, S_GATE));
	set_gate(b, GDT + S_GATE, S_CODE0, CODE, 0x6c, 0);
	assert_int_equal(TRY(c, far_call(c, S_GATE, 0, 4)), FAULT(EXC_NP, S_GATE));
	set_gate(b, GDT + S_GATE, 0, CODE, 0xec, 0);
	assert_int_equal(TRY(c, far_call(c, S_GATE, 0, 4)), FAULT(EXC_GP, 0));
	set_gate(b, GDT + S_GATE, S_DATA0, CODE, 0xec, 0);
	assert_int_equal(TRY(c, far_call(c, S_GATE, 0, 4)), FAULT(EXC_GP, S_DATA0));
	/* JMP may not go inside */
	set_gate(b, GDT + S_GATE, S_CODE0, CODE, 0xec, 0);
	assert_int_equal(TRY(c, far_jump(c, S_GATE, 0, 4)), FAULT(EXC_GP, S_CODE0));
}

static void call_gate_switches_stack_and_copies_parameters(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_cpl(b, 3);
	set_gate(b, GDT + S_GATE, S_CODE0, 0x4321, 0xec, 2);
	put32(b, STACK3, 0x11111111);
	put32(b, STACK3 + 4, 0x22222222);
	c->next_rip = 0x777;
	assert_int_equal(TRY(c, far_call(c, S_GATE | 3, 0, 4)), NO_FAULT);
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->next_rip, 0x4321);
	assert_int_equal(c->seg[SEG_SS].sel, S_DATA0);
	assert_int_equal(c->r[RSP], STACK0 - 24);
	assert_int_equal(get(b, STACK0 - 4, 4), S_DATA3);
	assert_int_equal(get(b, STACK0 - 8, 4), STACK3);
	assert_int_equal(get(b, STACK0 - 12, 4), 0x22222222);
	assert_int_equal(get(b, STACK0 - 16, 4), 0x11111111);
	assert_int_equal(get(b, STACK0 - 20, 4), S_CODE3);
	assert_int_equal(get(b, STACK0 - 24, 4), 0x777);
	/* and back, with RETF 8 */
	c->seg[SEG_DS] = c->seg[SEG_SS];
	assert_int_equal(TRY(c, far_ret(c, 4, 8)), NO_FAULT);
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->next_rip, 0x777);
	assert_int_equal(c->r[RSP], STACK3 + 8);
	assert_int_equal(c->seg[SEG_DS].sel, 0);		/* DPL 0: not for level 3 */
	assert_true(c->seg[SEG_DS].attr & SEG_A_UNUSABLE);
}

static void call_gate_stack_faults(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_cpl(b, 3);
	set_gate(b, GDT + S_GATE, S_CODE0, CODE, 0xec, 0);
	put32(b, TSS + 8, 0);
	assert_int_equal(TRY(c, far_call(c, S_GATE, 0, 4)), FAULT(EXC_TS, 0));
	put32(b, TSS + 8, S_DATA3);
	assert_int_equal(TRY(c, far_call(c, S_GATE, 0, 4)), FAULT(EXC_TS, S_DATA3 & ~3));
	put32(b, TSS + 8, S_RO);
	assert_int_equal(TRY(c, far_call(c, S_GATE, 0, 4)), FAULT(EXC_TS, S_RO));
	put32(b, TSS + 8, S_NP);
	assert_int_equal(TRY(c, far_call(c, S_GATE, 0, 4)), FAULT(EXC_SS, S_NP));
	put32(b, TSS + 8, S_SMALL);
	put32(b, TSS + 4, 0x1004);			/* room for one only below the limit */
	assert_int_equal(TRY(c, far_call(c, S_GATE, 0, 4)), FAULT(EXC_SS, S_SMALL));
	c->seg[SEG_TR].limit = 8;
	assert_int_equal(TRY(c, far_call(c, S_GATE, 0, 4)), FAULT(EXC_TS, S_TSS));
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->r[RSP], STACK3);
}

static void call_gate_of_64_bits(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 3);
	set_gate64(b, GDT + S_GATE, S_CODE64, 0xffff800000001234ull, 0xec, 5);
	put64(b, TSS + 4, 0x9008);
	c->next_rip = 0x12345678;
	assert_int_equal(TRY(c, far_call(c, S_GATE, 0, 8)), NO_FAULT);
	assert_true(c->next_rip == 0xffff800000001234ull);
	assert_int_equal(c->seg[SEG_SS].sel, 0);
	assert_int_equal(c->r[RSP], 0x9008 - 32);	/* no alignment, no parameters */
	assert_int_equal(get(b, 0x9000, 8), S_DATA3);
	assert_int_equal(get(b, 0x8ff8, 8), STACK3);
	assert_int_equal(get(b, 0x8ff0, 8), S_CODE64_3);
	assert_int_equal(get(b, 0x8fe8, 8), 0x12345678);
	go_long(b, 3);
	set_gate64(b, GDT + S_GATE, S_CODE0, 0x1234, 0xec, 0);	/* must be 64-bit code */
	assert_int_equal(TRY(c, far_call(c, S_GATE, 0, 8)), FAULT(EXC_GP, S_CODE0));
	set_gate64(b, GDT + S_GATE, S_CODE64, 1ull << 47, 0xec, 0);
	assert_int_equal(TRY(c, far_call(c, S_GATE, 0, 8)), FAULT(EXC_GP, 0));
	set_gate64(b, GDT + S_GATE, S_CODE64, 0x1234, 0xec, 0);
	put64(b, TSS + 4, 0x900000000000);
	assert_int_equal(TRY(c, far_call(c, S_GATE, 0, 8)), FAULT(EXC_SS, 0));
}

static void retf_checks(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_cpl(b, 1);
	put32(b, STACK1, 0x100);
	put32(b, STACK1 + 4, S_CODE0);			/* inward */
	assert_int_equal(TRY(c, far_ret(c, 4, 0)), FAULT(EXC_GP, S_CODE0));
	put32(b, STACK1 + 4, S_CODE3);
	put32(b, STACK1 + 8, STACK3);
	put32(b, STACK1 + 12, S_DATA1 | 3);
	assert_int_equal(TRY(c, far_ret(c, 4, 0)), FAULT(EXC_GP, S_DATA1));
	put32(b, STACK1 + 12, 0);
	assert_int_equal(TRY(c, far_ret(c, 4, 0)), FAULT(EXC_GP, 0));
	assert_int_equal(c->r[RSP], STACK1);
	put32(b, STACK1 + 12, S_DATA3);
	assert_int_equal(TRY(c, far_ret(c, 4, 0)), NO_FAULT);
	assert_int_equal(c->cpl, 3);
}

/* --- IRET --- */

static void frame32(struct bare *b, u64 at, u32 ip, u32 cs, u32 fl, u32 sp, u32 ss)
{
	put32(b, at, ip);
	put32(b, at + 4, cs);
	put32(b, at + 8, fl);
	put32(b, at + 12, sp);
	put32(b, at + 16, ss);
}

static void iret_to_outer_level(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	c->nmi_blocked = true;
	frame32(b, STACK0, 0x500, S_CODE3, FL_1 | FL_IF | FL_ZF, STACK3, S_DATA3);
	assert_int_equal(TRY(c, do_iret(c, 4)), NO_FAULT);
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->next_rip, 0x500);
	assert_int_equal(c->r[RSP], STACK3);
	assert_int_equal(cpu_get_rflags(c), FL_1 | FL_IF | FL_ZF);
	assert_false(c->nmi_blocked);
}

static void iret_changes_if_and_iopl_by_privilege_only(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_cpl(b, 3);
	cpu_set_rflags(c, FL_1 | 1 << FL_IOPL_SHIFT);
	frame32(b, STACK3, 0x500, S_CODE3, FL_IF | FL_IOPL | FL_CF | FL_VIP | FL_AC, 0, 0);
	assert_int_equal(TRY(c, do_iret(c, 4)), NO_FAULT);
	assert_int_equal(cpu_get_rflags(c), FL_1 | FL_CF | FL_AC | 1 << FL_IOPL_SHIFT);
	assert_int_equal(c->r[RSP], STACK3 + 12);
}

static void iret_to_virtual_8086_mode(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	frame32(b, STACK0, 0x20, 0x1000, FL_1 | FL_VM | FL_IOPL, 0x100, 0x900);
	put32(b, STACK0 + 20, 0x111);
	put32(b, STACK0 + 24, 0x222);
	put32(b, STACK0 + 28, 0x333);
	put32(b, STACK0 + 32, 0x444);
	assert_int_equal(TRY(c, do_iret(c, 4)), NO_FAULT);
	assert_true(cpu_v86(c));
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->mode, 2);
	assert_int_equal(c->seg[SEG_CS].base, 0x10000);
	assert_int_equal(c->seg[SEG_SS].base, 0x9000);
	assert_int_equal(c->seg[SEG_ES].sel, 0x111);
	assert_int_equal(c->seg[SEG_GS].base, 0x4440);
}

static void iret_in_virtual_8086_mode_needs_iopl_3(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_v86(b, 0);
	assert_int_equal(TRY(c, do_iret(c, 2)), FAULT(EXC_GP, 0));
	go_v86(b, 3);
	put16(b, 0x9100, 0x42);
	put16(b, 0x9102, 0x2000);
	put16(b, 0x9104, FL_CF);
	assert_int_equal(TRY(c, do_iret(c, 2)), NO_FAULT);
	assert_int_equal(c->next_rip, 0x42);
	assert_int_equal(c->seg[SEG_CS].base, 0x20000);
	assert_int_equal(cpu_get_rflags(c), FL_1 | FL_VM | FL_IOPL | FL_CF);
}

static void vme_iret_works_on_vif(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_v86(b, 0);
	c->cr4 |= CR4_VME;
	put16(b, 0x9100, 0x42);
	put16(b, 0x9102, 0x1000);
	put16(b, 0x9104, FL_IF);
	assert_int_equal(TRY(c, do_iret(c, 2)), NO_FAULT);
	assert_int_equal(cpu_get_rflags(c), FL_1 | FL_VM | FL_VIF);
	go_v86(b, 0);
	cpu_set_rflags(c, cpu_get_rflags(c) | FL_VIP);
	assert_int_equal(TRY(c, do_iret(c, 2)), FAULT(EXC_GP, 0));
	go_v86(b, 0);
	put16(b, 0x9104, FL_TF);
	assert_int_equal(TRY(c, do_iret(c, 2)), FAULT(EXC_GP, 0));
	assert_int_equal(TRY(c, do_iret(c, 4)), FAULT(EXC_GP, 0));
}

static void iret_in_64bit_mode_always_pops_ss_rsp(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 0);
	put64(b, STACK0, 0x1234);
	put64(b, STACK0 + 8, S_CODE64);
	put64(b, STACK0 + 16, FL_1);
	put64(b, STACK0 + 24, 0xffff800000000008ull);
	put64(b, STACK0 + 32, 0);
	assert_int_equal(TRY(c, do_iret(c, 8)), NO_FAULT);
	assert_true(c->r[RSP] == 0xffff800000000008ull);
	assert_int_equal(c->seg[SEG_SS].sel, 0);
	go_long(b, 0);
	put64(b, STACK0, 0x800000000000ull);
	assert_int_equal(TRY(c, do_iret(c, 8)), FAULT(EXC_GP, 0));
	put64(b, STACK0, 0x1234);
	put64(b, STACK0 + 8, S_CODE64_3);		/* null SS not for level 3 */
	put64(b, STACK0 + 32, 3);
	assert_int_equal(TRY(c, do_iret(c, 8)), FAULT(EXC_GP, 0));
	put64(b, STACK0 + 8, S_CODE0);			/* nor for compatibility mode */
	put64(b, STACK0 + 32, 0);
	assert_int_equal(TRY(c, do_iret(c, 8)), FAULT(EXC_GP, 0));
	cpu_set_rflags(c, FL_1 | FL_NT);
	assert_int_equal(TRY(c, do_iret(c, 8)), FAULT(EXC_GP, 0));
}

static void iret_to_a_16_bit_stack_leaves_the_upper_half(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	set_desc(b, GDT, S_FREE, 0, 0xffff, A_DATA3, F_16);
	frame32(b, STACK0, 0x500, S_CODE3, FL_1, 0x12345678, S_FREE | 3);
	c->r[RSP] = STACK0;
	assert_int_equal(TRY(c, do_iret(c, 4)), NO_FAULT);
	assert_int_equal(c->r[RSP], 0x5678);
}

static void stack_accesses_need_canonical_addresses(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 0);
	c->r[RSP] = 1ull << 47;
	assert_int_equal(TRY(c, do_iret(c, 8)), FAULT(EXC_SS, 0));
	assert_int_equal(TRY(c, far_ret(c, 8, 0)), FAULT(EXC_SS, 0));
	assert_int_equal(RUN(c, 0x58), FAULT(EXC_SS, 0));
}

/* --- the fast system calls --- */

static void syscall_and_sysret(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 3);
	c->star = (u64)(S_DATA3 - 8) << 48 | (u64)S_CODE0 << 32;
	c->lstar = 0xffff800000001000ull;
	c->sfmask = FL_IF;
	cpu_set_rflags(c, FL_1 | FL_IF | FL_CF);
	c->rip = 0x5000;
	assert_int_equal(RUN(c, 0x0f, 0x05), NO_FAULT);
	assert_true(c->rip == 0xffff800000001000ull);
	assert_int_equal(c->r[RCX], 0x5002);
	assert_int_equal(c->r[R11], FL_1 | FL_IF | FL_CF);
	assert_int_equal(cpu_get_rflags(c), FL_1 | FL_CF);
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->seg[SEG_CS].sel, S_CODE0);
	assert_int_equal(c->seg[SEG_SS].sel, S_CODE0 + 8);
	assert_int_equal(RUN(c, 0x48, 0x0f, 0x07), NO_FAULT);
	assert_int_equal(c->rip, 0x5002);
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->mode, 8);
	assert_int_equal(cpu_get_rflags(c), FL_1 | FL_IF | FL_CF);
	c->efer &= ~(u64)EFER_SCE;
	assert_int_equal(RUN(c, 0x0f, 0x05), FAULT(EXC_UD, 0));
	/* AMD has no SYSENTER in long mode, and leaves it to CPL 3 to fault on a bad RCX. */
	assert_int_equal(RUN(c, 0x0f, 0x34), FAULT(EXC_UD, 0));
	go_long(b, 0);
	c->r[RCX] = 1ull << 47;
	assert_int_equal(RUN(c, 0x48, 0x0f, 0x07), NO_FAULT);
	assert_int_equal(c->cpl, 3);
}

static void tf_counts_as_syscall_and_sysret_leave_it(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 3);
	c->star = (u64)(S_DATA3 - 8) << 48 | (u64)S_CODE0 << 32;
	c->lstar = 0x1000;
	c->sfmask = FL_TF;
	cpu_set_rflags(c, FL_1 | FL_TF);
	c->step_trap = true;
	assert_int_equal(RUN(c, 0x0f, 0x05), NO_FAULT);
	assert_false(c->step_trap);
	assert_int_equal(c->db_pending, 0);
	assert_int_equal(RUN(c, 0x48, 0x0f, 0x07), NO_FAULT);
	assert_int_equal(c->db_pending, 0x4000);
}

static void gs_base_survives_a_return_to_level_3(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 0);
	load_seg(c, SEG_GS, S_DATA0, 0, 0xffffffff, A_DATA0, F_32);
	c->seg[SEG_GS].base = 0xffff800000001000ull;
	put64(b, STACK0, 0x1234);
	put64(b, STACK0 + 8, S_CODE64_3);
	put64(b, STACK0 + 16, FL_1);
	put64(b, STACK0 + 24, STACK3);
	put64(b, STACK0 + 32, S_DATA3);
	assert_int_equal(TRY(c, do_iret(c, 8)), NO_FAULT);
	assert_int_equal(c->seg[SEG_GS].sel, 0);
	assert_true(c->seg[SEG_GS].attr & SEG_A_UNUSABLE);
	assert_true(c->seg[SEG_GS].base == 0xffff800000001000ull);
}

static void sysenter_and_sysexit(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_cpl(b, 3);
	assert_int_equal(RUN(c, 0x0f, 0x34), FAULT(EXC_GP, 0));
	assert_int_equal(RUN(c, 0x0f, 0x35), FAULT(EXC_GP, 0));
	assert_int_equal(RUN(c, 0x0f, 0x07), FAULT(EXC_UD, 0));	/* EFER.SCE is 0 */
	go_real(b);
	c->sysenter_cs = S_CODE0;
	assert_int_equal(RUN(c, 0x0f, 0x34), FAULT(EXC_GP, 0));
	c->cr0 |= CR0_PE;
	go_cpl(b, 3);
	c->sysenter_esp = 0x8888;
	c->sysenter_eip = 0x9999;
	cpu_set_rflags(c, FL_1 | FL_IF);
	assert_int_equal(RUN(c, 0x0f, 0x34), NO_FAULT);
	assert_int_equal(c->cpl, 0);
	assert_int_equal(c->rip, 0x9999);
	assert_int_equal(c->r[RSP], 0x8888);
	assert_int_equal(cpu_get_rflags(c), FL_1);
	c->r[RCX] = 0x1111;
	c->r[RDX] = 0x2222;
	assert_int_equal(RUN(c, 0x0f, 0x35), NO_FAULT);
	assert_int_equal(c->cpl, 3);
	assert_int_equal(c->seg[SEG_CS].sel, (S_CODE0 + 16) | 3);
	assert_int_equal(c->seg[SEG_SS].sel, (S_CODE0 + 24) | 3);
	assert_int_equal(c->rip, 0x2222);
	assert_int_equal(c->r[RSP], 0x1111);
}

static void swapgs_exchanges_bases(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	go_long(b, 0);
	c->kernel_gs_base = 0xffff800000000000ull;
	c->seg[SEG_GS].base = 0x1234;
	assert_int_equal(RUN(c, 0x0f, 0x01, 0xf8), NO_FAULT);
	assert_true(c->seg[SEG_GS].base == 0xffff800000000000ull);
	assert_int_equal(c->kernel_gs_base, 0x1234);
}

static void les_loads_pointer_and_faults_first(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	put32(b, 0x8000, 0xdeadbeef);
	put16(b, 0x8004, S_NP);
	c->r[RAX] = 0x8000;
	c->r[RBX] = 7;
	assert_int_equal(RUN(c, 0xc4, 0x18), FAULT(EXC_NP, S_NP));
	assert_int_equal(c->r[RBX], 7);
	put16(b, 0x8004, S_SMALL);
	assert_int_equal(RUN(c, 0xc4, 0x18), NO_FAULT);
	assert_true(c->r[RBX] == 0xdeadbeef);
	assert_int_equal(c->seg[SEG_ES].sel, S_SMALL);
}

/* As test386 expects it of a 386. */
static void enter_on_a_16_bit_stack_keeps_esps_upper_half(void **state)
{
	struct bare *b = *state;
	struct cpu *c = b->c;

	assert_int_equal(TRY(c, seg_load(c, SEG_SS, S_DATA16)), NO_FAULT);
	c->r[RSP] = 0x12349000;
	c->r[RBP] = 0x5678a000;
	put32(b, 0x9ffc, 0xabcd);
	assert_int_equal(RUN(c, 0xc8, 8, 0, 2), NO_FAULT);
	assert_int_equal(get(b, 0x8ffc, 4), 0x5678a000);
	assert_int_equal(get(b, 0x8ff8, 4), 0xabcd);
	assert_int_equal(get(b, 0x8ff4, 4), 0x12348ffc);
	assert_int_equal(c->r[RBP], 0x12348ffc);
	assert_int_equal(c->r[RSP], 0x12348fec);
}

static void mov_to_cs_is_undefined(void **state)
{
	struct cpu *c = ((struct bare *)*state)->c;

	assert_int_equal(RUN(c, 0x8e, 0xc8), FAULT(EXC_UD, 0));
	c->r[RAX] = ~0ull;
	assert_int_equal(RUN(c, 0x8c, 0xc8), NO_FAULT);
	assert_int_equal(c->r[RAX], S_CODE0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(ds_load_sets_accessed_and_hidden_part), TEST(null_loads),
		TEST(null_ss_in_64bit_mode_needs_rpl_equal_cpl_below_3),
		TEST(mov_ss_checks_rpl_dpl_type_present),
		TEST(data_loads_check_dpl_against_cpl_and_rpl),
		TEST(not_present_and_beyond_the_table), TEST(unreal_mode_keeps_limits),
		TEST(v86_loads_fix_everything), TEST(writes_through_readonly_and_beyond_limits_fault),
		TEST(lldt_rules), TEST(ltr_marks_busy_and_refuses_busy),
		TEST(long_mode_system_descriptors_have_16_bytes),
		TEST(lgdt_lidt_in_64bit_mode_need_canonical_bases),
		TEST(lgdt_with_16_bit_operands_takes_24_bits), TEST(umip_hides_the_tables_from_users),
		TEST(lar_and_lsl), TEST(verr_and_verw), TEST(arpl_raises_rpl),
		TEST(jmp_to_code_checks), TEST(jmp_to_conforming_code_keeps_cpl),
		TEST(long_mode_code_with_d_and_l_is_refused), TEST(real_mode_jmp_checks_the_limit),
		TEST(gate_of_16_bits_has_a_16_bit_offset), TEST(gate_checks),
		TEST(call_gate_switches_stack_and_copies_parameters), TEST(call_gate_stack_faults),
		TEST(call_gate_of_64_bits), TEST(retf_checks), TEST(iret_to_outer_level),
		TEST(iret_changes_if_and_iopl_by_privilege_only), TEST(iret_to_virtual_8086_mode),
		TEST(iret_in_virtual_8086_mode_needs_iopl_3), TEST(vme_iret_works_on_vif),
		TEST(iret_in_64bit_mode_always_pops_ss_rsp),
		TEST(iret_to_a_16_bit_stack_leaves_the_upper_half),
		TEST(stack_accesses_need_canonical_addresses), TEST(syscall_and_sysret),
		TEST(tf_counts_as_syscall_and_sysret_leave_it), TEST(gs_base_survives_a_return_to_level_3),
		TEST(sysenter_and_sysexit), TEST(swapgs_exchanges_bases),
		TEST(les_loads_pointer_and_faults_first), TEST(mov_to_cs_is_undefined),
		TEST(enter_on_a_16_bit_stack_keeps_esps_upper_half),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
