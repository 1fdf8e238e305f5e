/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exec_stack.c - PUSH, POP and their kin, ENTER and LEAVE, PUSHF and POPF.
 * After: Intel SDM vol. 1, ch. 6; vol. 2; vol. 3, 20.2.7 and 20.3 (virtual-8086 mode, VME).
 *
 * Every access to the stack is as wide as the operand, every change of the stack pointer as wide
 * as the stack (SS.B). Nothing is changed before the last access that can fault, but for memory
 * below the stack pointer. */
#include "engine/soft/cpu.h"
#include "engine/soft/operand.h"
#include "engine/soft/seg.h"	// cpu_is_amd()

static void exec_push(struct cpu *c, const struct insn *in)
{
	stack_push(c, opd_read(c, in, 0), in->opsize);
}

/* The address of POP's memory operand is computed with the stack pointer after the pop; when the
 * store faults, the stack pointer must be what it was. */
static void exec_pop(struct cpu *c, const struct insn *in)
{
	u64 sp = c->r[RSP], val, ea;

	if (in->opd[0].kind == OPD_GPR) {
		val = stack_pop(c, in->opsize);
		gpr_write(c, &in->opd[0], val);
		return;
	}
	val = mem_ld(c, SEG_SS, stack_trunc(c, sp), in->opsize);
	stack_set(c, RSP, sp + in->opsize);
	ea = insn_ea(c, in);
	c->r[RSP] = sp;
	mem_st(c, in->seg, ea, val, in->opsize);
	stack_set(c, RSP, sp + in->opsize);
}

/* Of a 32-bit stack slot Intel accesses only the selector's 16 bits (the rest stays), AMD all. */
static void exec_push_seg(struct cpu *c, const struct insn *in)
{
	u64 sp = stack_trunc(c, c->r[RSP] - in->opsize);
	bool half = in->opsize == 4 && !cpu_is_amd(c);

	mem_probe(c, SEG_SS, sp, in->opsize, true);
	mem_st(c, SEG_SS, sp, c->seg[in->opd[0].reg].sel, half ? 2 : in->opsize);
	stack_set(c, RSP, sp);
}

static void exec_pop_seg(struct cpu *c, const struct insn *in)
{
	bool half = in->opsize == 4 && !cpu_is_amd(c);
	u64 sp = c->r[RSP];
	u64 sel = mem_ld(c, SEG_SS, stack_trunc(c, sp), half ? 2 : in->opsize);
	unsigned width = c->stack_size;

	seg_load(c, in->opd[0].reg, (u16)sel);
	/* POP SS: the stack pointer moves by the width of the stack that was popped from. */
	sp += in->opsize;
	if (width == 2)
		c->r[RSP] = (c->r[RSP] & ~0xffffull) | (u16)sp;
	else
		c->r[RSP] = trunc_to(sp, width);
	if (in->opd[0].reg == SEG_SS)
		cpu_set_shadow(c, SHADOW_MOVSS);
}

static void exec_pusha(struct cpu *c, const struct insn *in)
{
	unsigned size = in->opsize;
	u64 sp = c->r[RSP];

	for (unsigned i = 0; i < 8; i++) {
		sp = stack_trunc(c, sp - size);
		mem_st(c, SEG_SS, sp, c->r[RAX + i], size);
	}
	stack_set(c, RSP, sp);
}

static void exec_popa(struct cpu *c, const struct insn *in)
{
	unsigned size = in->opsize;
	u64 sp = c->r[RSP], val[8];

	for (unsigned i = 8; i-- > 0;) {
		val[i] = mem_ld(c, SEG_SS, stack_trunc(c, sp), size);
		sp = stack_trunc(c, sp + size);
	}
	for (unsigned i = 0; i < 8; i++) {
		const struct operand o = { .kind = OPD_GPR, .reg = (u8)i, .size = (u8)size };

		if (i != RSP)
			gpr_write(c, &o, val[i]);
	}
	stack_set(c, RSP, sp);
}

/* Push the frame pointer, copy level - 1 older frame pointers and the new one, make room. The last
 * word of the new frame is probed for writing, so that a fault comes here and leaves SP alone. */
static void exec_enter(struct cpu *c, const struct insn *in)
{
	unsigned size = in->opsize, level = in->imm2 & 31;
	u64 sp = stack_trunc(c, c->r[RSP] - size), bp = c->r[RBP], frame;
	const struct operand rbp = { .kind = OPD_GPR, .reg = RBP, .size = (u8)size };

	mem_st(c, SEG_SS, sp, c->r[RBP], size);
	/* On a 16-bit stack a 32-bit frame pointer has ESP's upper half. */
	frame = c->stack_size == 2 ? (c->r[RSP] & ~0xffffull) | sp : sp;
	if (level) {
		for (unsigned i = 1; i < level; i++) {
			u64 val;

			bp = stack_trunc(c, bp - size);
			val = mem_ld(c, SEG_SS, bp, size);
			sp = stack_trunc(c, sp - size);
			mem_st(c, SEG_SS, sp, val, size);
		}
		sp = stack_trunc(c, sp - size);
		mem_st(c, SEG_SS, sp, frame, size);
	}
	sp = stack_trunc(c, sp - (u16)in->imm);
	mem_probe(c, SEG_SS, sp, size, true);
	gpr_write(c, &rbp, frame);
	stack_set(c, RSP, sp);
}

static void exec_leave(struct cpu *c, const struct insn *in)
{
	u64 sp = stack_trunc(c, c->r[RBP]);
	u64 val = mem_ld(c, SEG_SS, sp, in->opsize);
	const struct operand bp = { .kind = OPD_GPR, .reg = RBP, .size = in->opsize };

	stack_set(c, RSP, sp + in->opsize);
	gpr_write(c, &bp, val);
}

/* --- PUSHF, POPF --- */

/* Virtual-8086 mode below IOPL 3: only with VME, and only the 16-bit form; it then works on VIF. */
static bool vme_flags(struct cpu *c, const struct insn *in)
{
	if (!cpu_v86(c) || cpu_iopl(c) == 3)
		return false;
	if (!(c->cr4 & CR4_VME) || in->opsize != 2)
		raise_gp(c, 0);
	return true;
}

static void exec_pushf(struct cpu *c, const struct insn *in)
{
	u64 fl = cpu_get_rflags(c) & ~(u64)(FL_RF | FL_VM);

	if (vme_flags(c, in)) {
		fl |= FL_IOPL;
		fl &= ~(u64)FL_IF;
		if (c->rflags & FL_VIF)
			fl |= FL_IF;
	}
	stack_push(c, fl, in->opsize);
}

static void exec_popf(struct cpu *c, const struct insn *in)
{
	u64 old = cpu_get_rflags(c), mask, fl, sp = c->r[RSP];

	mask = FL_OSZAPC | FL_TF | FL_DF | FL_NT | FL_AC | FL_ID;
	if (vme_flags(c, in)) {
		fl = mem_ld(c, SEG_SS, stack_trunc(c, sp), 2);
		if ((fl & FL_TF) || ((fl & FL_IF) && (old & FL_VIP)))
			raise_gp(c, 0);
		old &= ~(u64)FL_VIF;
		if (fl & FL_IF)
			old |= FL_VIF;
	} else {
		fl = mem_ld(c, SEG_SS, stack_trunc(c, sp), in->opsize);
		if (c->cpl == 0)
			mask |= FL_IF | FL_IOPL;
		else if (c->cpl <= cpu_iopl(c))
			mask |= FL_IF;
	}
	if (in->opsize == 2)
		mask &= 0xffff;
	stack_set(c, RSP, sp + in->opsize);
	cpu_set_rflags(c, ((old & ~mask) | (fl & mask)) & ~(u64)FL_RF);
}

/* CLI and STI: by IOPL; else on VIF (virtual-8086 mode with VME, CPL 3 with PVI); else #GP.
 * True: it is IF that they change. */
static bool if_or_vif(struct cpu *c)
{
	if (!cpu_protected(c) || c->cpl <= cpu_iopl(c))
		return true;
	if (c->cpl == 3 && (c->cr4 & (cpu_v86(c) ? CR4_VME : CR4_PVI)))
		return false;
	raise_gp(c, 0);
}

static void exec_cli(struct cpu *c, const struct insn *in)
{
	if (if_or_vif(c))
		c->rflags &= ~(u32)FL_IF;
	else
		c->rflags &= ~(u32)FL_VIF;
}

/* The instruction after an STI that switches interrupts on is still free of them. */
static void exec_sti(struct cpu *c, const struct insn *in)
{
	if (if_or_vif(c)) {
		if (!(c->rflags & FL_IF)) {
			c->rflags |= FL_IF;
			cpu_set_shadow(c, SHADOW_STI);
		}
	} else {
		if (c->rflags & FL_VIP)
			raise_gp(c, 0);
		c->rflags |= FL_VIF;
	}
}

const struct exec_entry exec_stack_table[] = {
	{ OP_PUSH, exec_push }, { OP_POP, exec_pop },
	{ OP_PUSH_SEG, exec_push_seg }, { OP_POP_SEG, exec_pop_seg },
	{ OP_PUSHA, exec_pusha }, { OP_POPA, exec_popa },
	{ OP_ENTER, exec_enter }, { OP_LEAVE, exec_leave },
	{ OP_PUSHF, exec_pushf }, { OP_POPF, exec_popf },
	{ OP_CLI, exec_cli }, { OP_STI, exec_sti },
	{ 0, NULL }
};
