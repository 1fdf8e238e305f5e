/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fast.c - which instructions have quick forms: 64-bit code, and 32-bit code in flat segments. */
#include "engine/soft/uop/uop.h"

/* The memory operand, when it has a quick form. */
bool uop_set_mem(const struct cpu *c, const struct block *b, struct uop *u, const struct insn *in,
		 enum uop_ea *ea)
{
	u64 disp = (u64)in->disp;

	if (in->adsize != c->mode)
		return false;
	if (c->mode == 4 && in->seg == SEG_CS)
		return false;
	if (c->mode == 4 && in->seg >= SEG_FS &&
	    !(c->mode_key & (in->seg == SEG_FS ? MODE_FS : MODE_GS)))
		return false;
	if (in->rip_rel)
		disp += b->rip + u->off + in->len;
	u->disp = disp;
	u->base = in->base;
	u->index = in->index;
	u->scale = in->scale;
	u->seg = in->seg;
	*ea = in->seg >= SEG_FS ? EA_S : in->index != REG_ZERO ? EA_X : EA_B;
	return true;
}

/* Operands 0 and 1 as a form, and into @u. */
static bool set_two(const struct cpu *c, const struct block *b, struct uop *u,
		    const struct insn *in, enum uop_form *f, enum uop_ea *ea)
{
	const struct operand *d = &in->opd[0], *s = &in->opd[1];

	if (d->high8 || s->high8)
		return false;
	*ea = EA_B;
	u->dst = d->reg;
	u->src = s->reg;
	if (s->kind == OPD_IMM)
		u->imm = in->imm;
	if (d->kind == OPD_GPR) {
		*f = s->kind == OPD_GPR ? FORM_RR : s->kind == OPD_IMM ? FORM_RI : FORM_RM;
		if (s->kind == OPD_MEM)
			return uop_set_mem(c, b, u, in, ea);
		return s->kind == OPD_GPR || s->kind == OPD_IMM;
	}
	if (d->kind != OPD_MEM || !uop_set_mem(c, b, u, in, ea))
		return false;
	*f = s->kind == OPD_GPR ? FORM_MR : FORM_MI;
	return s->kind == OPD_GPR || s->kind == OPD_IMM;
}

/* Operand @i alone: register or memory. */
static bool set_one(const struct cpu *c, const struct block *b, struct uop *u,
		    const struct insn *in, unsigned i, bool *mem, enum uop_ea *ea)
{
	const struct operand *o = &in->opd[i];

	*ea = EA_B;
	*mem = o->kind == OPD_MEM;
	if (*mem)
		return uop_set_mem(c, b, u, in, ea);
	u->src = o->reg;
	return o->kind == OPD_GPR && !o->high8;
}

static bool fast_shift(struct uop *u, const struct insn *in)
{
	const struct operand *d = &in->opd[0], *n = &in->opd[1];

	if (d->kind != OPD_GPR || d->size < 4)
		return false;
	u->dst = d->reg;
	u->imm = in->imm & (d->size * 8u - 1);
	u->fn = uop_shift(in->op, d->size, n->kind == OPD_GPR);
	return u->fn;
}

static bool fast_imul(const struct cpu *c, const struct block *b, struct uop *u,
		      const struct insn *in)
{
	enum uop_ea ea;
	bool mem;

	if (in->nopd < 2 || !set_one(c, b, u, in, 1, &mem, &ea))
		return false;
	u->dst = in->opd[0].reg;
	u->imm = in->imm;
	u->fn = uop_imul(in->opd[0].size, mem, in->nopd == 3, ea);
	return u->fn;
}

/* The target of a direct branch, when it needs no check at run time. */
static bool set_target(struct cpu *c, const struct block *b, struct uop *u,
		       const struct insn *in)
{
	u64 to = b->rip + u->off + in->len + in->imm;

	if (in->opsize != c->mode)
		return false;
	if (c->mode == 4)
		to = (u32)to;
	if ((u64)((s64)(to << 16) >> 16) != to)
		return false;
	if (in->op == OP_CALL)
		u->chain = block_chain2(c, to, uop_trunc_rip(c, b->rip + u->off + in->len));
	else
		u->chain = code_chain(c, to);
	return true;
}

static bool fast_flow(struct cpu *c, struct block *b, struct uop *u, const struct insn *in)
{
	enum uop_ea ea;
	bool mem;

	if (in->opsize != c->mode)
		return false;
	if (in->op == OP_RET) {
		u->imm = in->nopd ? (u16)in->imm : 0;
		u->seg = SEG_SS;
		u->fn = c->mode == 8 ? uop_ret64 : uop_ret32;
		return true;
	}
	if (in->opd[0].kind == OPD_REL) {
		if (!set_target(c, b, u, in))
			return false;
		u->seg = SEG_SS;
		u->fn = in->op == OP_JMP ? uop_jmp :
			in->op == OP_CALL ? (c->mode == 8 ? uop_call64 : uop_call32) :
			uop_jcc(in->opcode & 15);
		return true;
	}
	if (!set_one(c, b, u, in, 0, &mem, &ea))
		return false;
	if (in->op == OP_CALL) {
		u->imm = (uintptr_t)code_chain(c, uop_trunc_rip(c, b->rip + u->off + in->len));
		u->seg = in->seg;
		u->fn = uop_call_ind(c->mode, mem, ea);
	} else
		u->fn = mem ? uop_jmp_mem(c->mode, ea) : uop_jmp_reg;
	return true;
}

static bool fast_stack(const struct cpu *c, struct uop *u, const struct insn *in)
{
	const struct operand *o = &in->opd[0];

	if (in->opsize != c->mode || c->stack_size != c->mode)
		return false;
	u->seg = SEG_SS;
	if (in->op == OP_LEAVE) {
		u->fn = uop_leave64;
		return c->mode == 8;
	}
	if (o->kind != OPD_GPR && !(in->op == OP_PUSH && o->kind == OPD_IMM))
		return false;
	u->src = u->dst = o->reg;
	u->imm = in->imm;
	u->fn = in->op == OP_PUSH ? uop_push(c->mode, o->kind == OPD_IMM) : uop_pop(c->mode);
	return true;
}

bool uop_fast(struct cpu *c, struct block *b, struct uop *u, const struct insn *in, bool last)
{
	enum uop_form f;
	enum uop_ea ea;
	bool mem;

	if (in->lock || in->rep || c->mode == 2 || !c->flat ||
	    (last != (in->desc->cls == CL_BRANCH) && !insn_is_jcc(in)))
		return false;
	if (in->desc->attr & A_NATIVE)
		return uop_vec(c, b, u, in);
	switch (in->op) {
	case OP_ADD: case OP_OR: case OP_ADC: case OP_SBB: case OP_AND: case OP_SUB: case OP_XOR:
	case OP_CMP: case OP_TEST:
		if (!set_two(c, b, u, in, &f, &ea))
			return false;
		u->fn = uop_alu(in->op, in->opd[0].size, f, ea);
		return u->fn;
	case OP_INC: case OP_DEC: case OP_NEG: case OP_NOT:
		if (!set_one(c, b, u, in, 0, &mem, &ea))
			return false;
		u->dst = in->opd[0].reg;
		u->fn = uop_alu1(in->op, in->opd[0].size, mem, ea);
		return u->fn;
	case OP_ROL: case OP_ROR: case OP_SHL: case OP_SHR: case OP_SAR:
		return fast_shift(u, in);
	case OP_IMUL:
		return fast_imul(c, b, u, in);
	case OP_MOV:
		if (!set_two(c, b, u, in, &f, &ea))
			return false;
		u->fn = uop_mov(in->opd[0].size, f, ea);
		return u->fn;
	case OP_MOVZX: case OP_MOVSX: case OP_MOVSXD:
		if (!set_one(c, b, u, in, 1, &mem, &ea))
			return false;
		u->dst = in->opd[0].reg;
		u->fn = uop_movx(in->op != OP_MOVZX, in->opd[0].size, in->opd[1].size, mem, ea);
		return u->fn;
	case OP_LEA:
		if (in->adsize != c->mode || !uop_set_mem(c, b, u, in, &ea))
			return false;
		u->dst = in->opd[0].reg;
		u->fn = uop_lea(in->opd[0].size, in->index != REG_ZERO);
		return u->fn;
	case OP_CBW: case OP_CWD:
		u->fn = uop_widen(in->op, in->opsize);
		return u->fn;
	case OP_PUSH: case OP_POP: case OP_LEAVE:
		return fast_stack(c, u, in);
	case OP_JMP: case OP_CALL: case OP_RET:
		return fast_flow(c, b, u, in);
	}
	if (insn_is_jcc(in))
		return fast_flow(c, b, u, in);
	if (in->op >= OP_CMOVO && in->op <= OP_CMOVNLE) {
		if (!set_one(c, b, u, in, 1, &mem, &ea))
			return false;
		u->dst = in->opd[0].reg;
		u->fn = uop_cmov(in->opcode & 15, in->opd[0].size, mem, ea);
		return u->fn;
	}
	if (in->op >= OP_SETO && in->op <= OP_SETNLE) {
		if (!set_one(c, b, u, in, 0, &mem, &ea))
			return false;
		u->dst = in->opd[0].reg;
		u->fn = uop_setcc(in->opcode & 15, mem, ea);
		return u->fn;
	}
	return false;
}
