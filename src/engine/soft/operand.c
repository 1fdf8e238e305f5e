/* SPDX-License-Identifier: GPL-2.0-or-later */
/* operand.c - integer operands of any kind, and the stack. After: Intel SDM vol. 1, 3.7 and 6.2. */
#include "engine/soft/cpu.h"
#include "engine/soft/operand.h"

u64 opd_read(struct cpu *c, const struct insn *in, unsigned i)
{
	const struct operand *o = &in->opd[i];

	switch (o->kind) {
	case OPD_GPR:
		return gpr_read(c, o);
	case OPD_MEM:
		return mem_ld(c, in->seg, insn_ea(c, in), o->size);
	case OPD_IMM:
	case OPD_REL:
	case OPD_FAR:
		return in->imm;
	case OPD_SEG:
		return c->seg[o->reg].sel;
	default:
		BUG("operand is no integer");
	}
}

void opd_write(struct cpu *c, const struct insn *in, unsigned i, u64 val)
{
	const struct operand *o = &in->opd[i];

	if (o->kind == OPD_GPR)
		gpr_write(c, o, val);
	else if (o->kind == OPD_MEM)
		mem_st(c, in->seg, insn_ea(c, in), val, o->size);
	else
		BUG("operand cannot be written");
}

/* A push changes SP only after the store: a fault finds it as it was. */
void stack_push(struct cpu *c, u64 val, unsigned size)
{
	u64 sp = stack_trunc(c, c->r[RSP] - size);

	mem_st(c, SEG_SS, sp, val, size);
	stack_set(c, RSP, sp);
}

u64 stack_pop(struct cpu *c, unsigned size)
{
	u64 sp = stack_trunc(c, c->r[RSP]);
	u64 val = mem_ld(c, SEG_SS, sp, size);

	stack_set(c, RSP, sp + size);
	return val;
}
