/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exec_seg.c - instructions on segments, descriptor tables, far transfers, and the fast system
 * calls.
 * After: Intel SDM vol. 2; AMD APM vol. 2, 6.1 (SYSCALL, SYSRET) and vol. 3.
 *
 * Where the makers differ, the guest's CPUID vendor decides (cpu_is_amd()):
 *   SYSCALL, SYSRET outside 64-bit mode: #UD on Intel; work on AMD (STAR.EIP, CSTAR)
 *   SYSENTER, SYSEXIT in long mode: work on Intel; #UD on AMD
 *   SYSRET to a non-canonical RCX: #GP(0) at CPL 0 on Intel; at CPL 3 on AMD, after the return
 *   far pointers with REX.W: 64-bit offset on Intel; on AMD REX.W is ignored (32 bits)
 * SYSRET's SS has fixed attributes on both (AMD leaves stale ones, which no guest can rely on). */
#include "engine/soft/seg.h"

#include "base/bytes.h"

static void set_zf(struct cpu *c, bool zf)
{
	c->cc = zf ? c->cc | CC_ZF : c->cc & ~(u32)CC_ZF;
}

/* --- segment registers --- */

static void exec_mov_seg(struct cpu *c, const struct insn *in)
{
	if (in->opd[0].kind != OPD_SEG) {
		if (in->opd[1].reg > SEG_GS)
			raise_ud(c);
		opd_write(c, in, 0, c->seg[in->opd[1].reg].sel);
		return;
	}
	if (in->opd[0].reg == SEG_CS || in->opd[0].reg > SEG_GS)
		raise_ud(c);
	seg_load(c, in->opd[0].reg, (u16)opd_read(c, in, 1));
	if (in->opd[0].reg == SEG_SS)
		cpu_set_shadow(c, SHADOW_MOVSS);
}

/* The size of a far pointer's offset. */
static unsigned far_size(struct cpu *c, const struct insn *in)
{
	return in->opsize == 8 && cpu_is_amd(c) ? 4 : in->opsize;
}

static u64 far_ptr(struct cpu *c, const struct insn *in, unsigned size, u16 *sel)
{
	u64 ea = insn_ea(c, in), off;
	u64 mask = in->adsize == 8 ? ~0ull : in->adsize == 4 ? 0xffffffff : 0xffff;

	off = mem_ld(c, in->seg, ea, size);
	*sel = mem_ld(c, in->seg, (ea + size) & mask, 2);
	return off;
}

static void exec_lxs(struct cpu *c, const struct insn *in)
{
	unsigned seg = in->op == OP_LDS ? SEG_DS : in->op == OP_LES ? SEG_ES :
		       in->op == OP_LSS ? SEG_SS : in->op == OP_LFS ? SEG_FS : SEG_GS;
	struct operand dst = in->opd[0];
	u64 off;
	u16 sel;

	if (!in->has_mem)
		raise_ud(c);
	off = far_ptr(c, in, far_size(c, in), &sel);
	seg_load(c, seg, sel);
	dst.size = in->opsize;
	gpr_write(c, &dst, off);
}

static void exec_far(struct cpu *c, const struct insn *in)
{
	unsigned size = in->opsize;
	u64 off;
	u16 sel;

	if (in->opd[0].kind == OPD_FAR) {
		off = in->imm;
		sel = in->imm2;
	} else {
		if (!in->has_mem)
			raise_ud(c);
		/* The offset may be shorter than the stack's slots (REX.W on AMD). */
		off = far_ptr(c, in, far_size(c, in), &sel);
	}
	if (in->op == OP_JMPF)
		far_jump(c, sel, off, size);
	else
		far_call(c, sel, off, size);
}

static void exec_retf(struct cpu *c, const struct insn *in)
{
	far_ret(c, in->opsize, in->nopd ? (u16)in->imm : 0);
}

static void exec_iret(struct cpu *c, const struct insn *in)
{
	do_iret(c, in->opsize);
}

/* --- software interrupts --- */

static void exec_int(struct cpu *c, const struct insn *in)
{
	deliver_soft(c, (u8)in->imm, INT_SOFT);
}

static void exec_int3(struct cpu *c, const struct insn *in)
{
	deliver_soft(c, EXC_BP, INT_SOFT3);
}

static void exec_into(struct cpu *c, const struct insn *in)
{
	if (c->cc & CC_OF)
		deliver_soft(c, EXC_OF, INT_SOFT3);
}

static void exec_int1(struct cpu *c, const struct insn *in)
{
	/* What MOV SS had held off comes with it as one #DB. */
	c->dr[6] |= c->db_pending;
	c->db_pending = 0;
	deliver_soft(c, EXC_DB, INT_ICEBP);
}

/* --- looking at descriptors --- */

/* May CPL and @sel's RPL see the segment? Conforming code always. */
static bool visible(const struct cpu *c, const struct desc *d)
{
	if (desc_is_code(d) && desc_is_conforming(d))
		return true;
	return c->cpl <= desc_dpl(d) && (d->sel & 3) <= desc_dpl(d);
}

static void exec_lar(struct cpu *c, const struct insn *in)
{
	/* Types of system descriptors that LAR knows: in legacy and in long mode. */
	const u32 legacy = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9 | 1 << 11 | 1 << 12;
	const u32 lmode = 1 << 2 | 1 << 9 | 1 << 11 | 1 << 12;
	u16 sel = opd_read(c, in, 1);
	struct desc d;

	if (SEL_NULL(sel) || !desc_fetch(c, sel, &d) || !visible(c, &d) ||
	    (desc_is_system(&d) && !((cpu_long(c) ? lmode : legacy) >> desc_type(&d) & 1))) {
		set_zf(c, false);
		return;
	}
	/* Bits 19-16, the limit's highest, are undefined on Intel. */
	opd_write(c, in, 0, d.hi & (cpu_is_amd(c) ? 0x00ffff00 : 0x00f0ff00));
	set_zf(c, true);
}

static void exec_lsl(struct cpu *c, const struct insn *in)
{
	const u32 legacy = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 11;
	const u32 lmode = 1 << 2 | 1 << 9 | 1 << 11;
	u16 sel = opd_read(c, in, 1);
	struct desc d;

	if (SEL_NULL(sel) || !desc_fetch(c, sel, &d) || !visible(c, &d) ||
	    (desc_is_system(&d) && !((cpu_long(c) ? lmode : legacy) >> desc_type(&d) & 1))) {
		set_zf(c, false);
		return;
	}
	opd_write(c, in, 0, d.limit);
	set_zf(c, true);
}

static void exec_verr(struct cpu *c, const struct insn *in)
{
	u16 sel = opd_read(c, in, 0);
	struct desc d;

	set_zf(c, !SEL_NULL(sel) && desc_fetch(c, sel, &d) && visible(c, &d) &&
	       desc_is_readable(&d));
}

static void exec_verw(struct cpu *c, const struct insn *in)
{
	u16 sel = opd_read(c, in, 0);
	struct desc d;

	set_zf(c, !SEL_NULL(sel) && desc_fetch(c, sel, &d) && visible(c, &d) &&
	       desc_is_wdata(&d));
}

static void exec_arpl(struct cpu *c, const struct insn *in)
{
	u16 dst = opd_read(c, in, 0), src = opd_read(c, in, 1);
	bool less = (dst & 3) < (src & 3);

	/* Left alone, also when it could not be written, if its RPL is high enough. */
	if (less)
		opd_write(c, in, 0, (dst & ~3u) | (src & 3));
	set_zf(c, less);
}

/* --- system segments and tables --- */

static void umip_check(struct cpu *c)
{
	if ((c->cr4 & CR4_UMIP) && c->cpl > 0)
		raise_gp(c, 0);
}

static void exec_sldt(struct cpu *c, const struct insn *in)
{
	umip_check(c);
	opd_write(c, in, 0, c->seg[SEG_LDTR].sel);
}

static void exec_str(struct cpu *c, const struct insn *in)
{
	umip_check(c);
	opd_write(c, in, 0, c->seg[SEG_TR].sel);
}

static void exec_lldt(struct cpu *c, const struct insn *in)
{
	seg_load_ldt(c, (u16)opd_read(c, in, 0));
}

static void exec_ltr(struct cpu *c, const struct insn *in)
{
	seg_load_tr(c, (u16)opd_read(c, in, 0));
}

static void exec_sgdt(struct cpu *c, const struct insn *in)
{
	bool idt = in->op == OP_SIDT;
	u64 base = idt ? c->idtr.base : c->gdtr.base;
	u16 limit = idt ? c->idtr.limit : c->gdtr.limit;
	u8 buf[10];

	if (!in->has_mem)
		raise_ud(c);
	umip_check(c);
	put_le16(buf, limit);
	put_le64(buf + 2, base);
	mem_st_bytes(c, in->seg, insn_ea(c, in), buf, c->lma64 ? 10 : 6);
}

static void exec_lgdt(struct cpu *c, const struct insn *in)
{
	u8 buf[10] = { 0 };
	u64 base;
	u16 limit;

	if (!in->has_mem)
		raise_ud(c);
	mem_ld_bytes(c, in->seg, insn_ea(c, in), buf, c->lma64 ? 10 : 6);
	limit = get_le16(buf);
	base = get_le64(buf + 2);
	if (!c->lma64)
		base &= in->opsize == 2 ? 0xffffff : 0xffffffff;
	if (!la_canonical(base) && c->lma64)
		raise_gp(c, 0);
	if (in->op == OP_LIDT) {
		c->idtr.base = base;
		c->idtr.limit = limit;
	} else {
		c->gdtr.base = base;
		c->gdtr.limit = limit;
	}
}

/* --- SWAPGS and the fast system calls --- */

static void exec_swapgs(struct cpu *c, const struct insn *in)
{
	u64 base = c->seg[SEG_GS].base;

	c->seg[SEG_GS].base = c->kernel_gs_base;
	c->kernel_gs_base = base;
}

static void jump_to(struct cpu *c, u64 ip)
{
	c->rip = c->next_rip = ip;
	cpu_mode_changed(c);
	cpu_look(c);
}

/* TF as SYSCALL and SYSRET leave it counts, not as they found it: no trap on entry when SFMASK clears
 * TF, and one right behind a SYSRET that sets it, as if SYSCALL had just ended. */
static void step_by_new_tf(struct cpu *c)
{
	c->step_trap = false;
	if (c->rflags & FL_TF)
		c->db_pending |= DR6_BS;
}

static void exec_syscall(struct cpu *c, const struct insn *in)
{
	u16 cs = (c->star >> 32) & 0xfffc;
	u64 flags = cpu_get_rflags(c) & ~(u64)FL_RF, target;

	if (!(c->efer & EFER_SCE) || (!c->lma64 && !cpu_is_amd(c)))
		raise_ud(c);
	if (cpu_long(c)) {
		target = c->lma64 ? c->lstar : c->cstar;
		c->r[RCX] = c->next_rip;
		c->r[R11] = flags;
		flags &= ~(c->sfmask & 0xffffffff);
	} else {
		if (!cpu_protected(c))
			raise_ud(c);
		target = (u32)c->star;
		c->r[RCX] = (u32)c->next_rip;
		flags &= ~(u64)(FL_IF | FL_VM);
	}
	seg_set_flat_code(c, cs, 0, cpu_long(c));
	seg_set_flat_stack(c, cs + 8, 0);
	cpu_set_rflags(c, flags);
	step_by_new_tf(c);
	jump_to(c, target);
}

static void exec_sysret(struct cpu *c, const struct insn *in)
{
	u16 cs = c->star >> 48;
	bool to64 = in->opsize == 8;
	u64 target = to64 ? c->r[RCX] : (u32)c->r[RCX], flags;

	if (!(c->efer & EFER_SCE) || (!c->lma64 && !cpu_is_amd(c)))
		raise_ud(c);
	if (!cpu_protected(c) || c->cpl != 0)
		raise_gp(c, 0);
	if (to64 && !la_canonical(target) && !cpu_is_amd(c))
		raise_gp(c, 0);
	if (cpu_long(c)) {
		const u64 mask = FL_OSZAPC | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_AC |
				 FL_VIF | FL_VIP | FL_ID;

		flags = c->r[R11] & mask;
	} else {
		flags = cpu_get_rflags(c) | FL_IF;
	}
	seg_set_flat_code(c, (to64 ? cs + 16 : cs) | 3, 3, to64);
	seg_set_flat_stack(c, (cs + 8) | 3, 3);
	cpu_set_rflags(c, flags);
	step_by_new_tf(c);
	jump_to(c, target);
}

static void exec_sysenter(struct cpu *c, const struct insn *in)
{
	u16 cs = c->sysenter_cs & 0xfffc;
	bool l = cpu_long(c);

	if (l && cpu_is_amd(c))
		raise_ud(c);
	if (!cpu_protected(c) || !cs)
		raise_gp(c, 0);
	cpu_set_rflags(c, cpu_get_rflags(c) & ~(u64)(FL_VM | FL_IF | FL_RF));
	seg_set_flat_code(c, cs, 0, l);
	seg_set_flat_stack(c, cs + 8, 0);
	c->r[RSP] = l ? c->sysenter_esp : (u32)c->sysenter_esp;
	jump_to(c, l ? c->sysenter_eip : (u32)c->sysenter_eip);
}

static void exec_sysexit(struct cpu *c, const struct insn *in)
{
	u16 cs = c->sysenter_cs & 0xfffc;
	bool to64 = in->opsize == 8;

	if (cpu_long(c) && cpu_is_amd(c))
		raise_ud(c);
	if (!cpu_protected(c) || !cs || c->cpl != 0)
		raise_gp(c, 0);
	if (to64 && (!la_canonical(c->r[RCX]) || !la_canonical(c->r[RDX])))
		raise_gp(c, 0);
	seg_set_flat_code(c, (cs + (to64 ? 32 : 16)) | 3, 3, to64);
	seg_set_flat_stack(c, (cs + (to64 ? 40 : 24)) | 3, 3);
	c->r[RSP] = to64 ? c->r[RCX] : (u32)c->r[RCX];
	jump_to(c, to64 ? c->r[RDX] : (u32)c->r[RDX]);
}

const struct exec_entry exec_seg_table[] = {
	{ OP_MOV_SEG, exec_mov_seg },
	{ OP_LDS, exec_lxs }, { OP_LES, exec_lxs }, { OP_LSS, exec_lxs }, { OP_LFS, exec_lxs },
	{ OP_LGS, exec_lxs },
	{ OP_JMPF, exec_far }, { OP_CALLF, exec_far }, { OP_RETF, exec_retf }, { OP_IRET, exec_iret },
	{ OP_INT, exec_int }, { OP_INT3, exec_int3 }, { OP_INTO, exec_into }, { OP_INT1, exec_int1 },
	{ OP_LAR, exec_lar }, { OP_LSL, exec_lsl }, { OP_VERR, exec_verr }, { OP_VERW, exec_verw },
	{ OP_ARPL, exec_arpl },
	{ OP_SLDT, exec_sldt }, { OP_STR, exec_str }, { OP_LLDT, exec_lldt }, { OP_LTR, exec_ltr },
	{ OP_SGDT, exec_sgdt }, { OP_SIDT, exec_sgdt }, { OP_LGDT, exec_lgdt }, { OP_LIDT, exec_lgdt },
	{ OP_SWAPGS, exec_swapgs }, { OP_SYSCALL, exec_syscall }, { OP_SYSRET, exec_sysret },
	{ OP_SYSENTER, exec_sysenter }, { OP_SYSEXIT, exec_sysexit },
	{ 0, NULL }
};
