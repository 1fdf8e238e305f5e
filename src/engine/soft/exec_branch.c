/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exec_branch.c - near jumps, calls and returns, loops, HLT. After: Intel SDM vol. 1, 6.4; vol. 2.
 * A target beyond CS's limit or not canonical is #GP(0) in the branch itself, before a push takes
 * effect or a counter changes. */
#include "engine/soft/alu.h"
#include "engine/soft/cpu.h"
#include "engine/soft/operand.h"

/* Where a branch goes: cut to the operand size, checked. */
static u64 branch_target(struct cpu *c, u64 rip, unsigned opsize)
{
	rip = trunc_to(rip, opsize);
	if (c->mode == 8 ? (u64)((s64)(rip << 16) >> 16) != rip : rip > c->seg[SEG_CS].limit)
		raise_gp(c, 0);
	return rip;
}

static u64 rel_target(struct cpu *c, const struct insn *in)
{
	return branch_target(c, c->next_rip + in->imm, in->opsize);
}

static void exec_jcc(struct cpu *c, const struct insn *in)
{
	if (cc_test(c->cc, in->opcode & 15))
		c->next_rip = rel_target(c, in);
}

static void exec_jmp(struct cpu *c, const struct insn *in)
{
	if (in->opd[0].kind == OPD_REL)
		c->next_rip = rel_target(c, in);
	else
		c->next_rip = branch_target(c, opd_read(c, in, 0), in->opsize);
}

static void exec_call(struct cpu *c, const struct insn *in)
{
	u64 to = in->opd[0].kind == OPD_REL ? rel_target(c, in) :
		 branch_target(c, opd_read(c, in, 0), in->opsize);

	stack_push(c, c->next_rip, in->opsize);
	c->next_rip = to;
}

static void exec_ret(struct cpu *c, const struct insn *in)
{
	u64 sp = c->r[RSP];
	u64 to = mem_ld(c, SEG_SS, stack_trunc(c, sp), in->opsize);

	c->next_rip = branch_target(c, to, in->opsize);
	stack_set(c, RSP, sp + in->opsize + (in->nopd ? (u16)in->imm : 0));
}

static void set_count(struct cpu *c, unsigned adsize, u64 count)
{
	const struct operand cx = { .kind = OPD_GPR, .reg = RCX, .size = (u8)adsize };

	gpr_write(c, &cx, count);
}

static void exec_loop(struct cpu *c, const struct insn *in)
{
	u64 count = trunc_to(c->r[RCX] - 1, in->adsize), to = c->next_rip;
	bool zf = c->cc & CC_ZF;

	if (count && (in->op == OP_LOOP || zf == (in->op == OP_LOOPE)))
		to = rel_target(c, in);
	set_count(c, in->adsize, count);
	c->next_rip = to;
}

static void exec_jcxz(struct cpu *c, const struct insn *in)
{
	if (trunc_to(c->r[RCX], in->adsize) == 0)
		c->next_rip = rel_target(c, in);
}

static void exec_hlt(struct cpu *c, const struct insn *in)
{
	c->activity = CPU_HALTED;
	cpu_look(c);
}

#define JCC(n) { OP_J##n, exec_jcc }
const struct exec_entry exec_branch_table[] = {
	JCC(O), JCC(NO), JCC(B), JCC(NB), JCC(Z), JCC(NZ), JCC(BE), JCC(NBE),
	JCC(S), JCC(NS), JCC(P), JCC(NP), JCC(L), JCC(NL), JCC(LE), JCC(NLE),
	{ OP_JMP, exec_jmp }, { OP_CALL, exec_call }, { OP_RET, exec_ret },
	{ OP_LOOP, exec_loop }, { OP_LOOPE, exec_loop }, { OP_LOOPNE, exec_loop },
	{ OP_JCXZ, exec_jcxz }, { OP_HLT, exec_hlt },
	{ 0, NULL }
};
