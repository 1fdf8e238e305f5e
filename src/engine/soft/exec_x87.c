/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exec_x87.c - the x87 unit. What computes runs on the host's (native.c); what only looks at or
 * changes the control, status and tag words and the pointers is done here.
 * After: Intel SDM vol. 1 ch. 8, vol. 2 (each instruction); AMD APM vol. 5; behaviour that both
 * leave open (which instructions set the pointers) as Zen 5 shows it.
 *
 * Instructions are told apart by opcode and ModRM byte: that is how the x87's map is made. */
#include "engine/soft/native.h"

#include <string.h>

#define X_FCW(c) ((c)->xsave + XSAVE_FCW)
#define X_FSW(c) ((c)->xsave + XSAVE_FSW)

static unsigned top_of(const struct cpu *c)
{
	return (get_le16(X_FSW(c)) & FSW_TOP) >> FSW_TOP_SHIFT;
}

void x87_update_es(struct cpu *c)
{
	u16 sw = get_le16(X_FSW(c)) & ~(u16)(FSW_ES | FSW_B);

	if (sw & ~get_le16(X_FCW(c)) & FSW_FLAGS)
		sw |= FSW_ES | FSW_B;
	put_le16(X_FSW(c), sw);
}

/* Turn the register stack so that its slot 0 holds physical register @top. */
static void set_top_keeping_registers(struct cpu *c, unsigned top)
{
	unsigned by = (top - top_of(c)) & 7;
	u8 tmp[128], *st = c->xsave + XSAVE_ST;

	if (by) {
		memcpy(tmp, st, 128);
		memcpy(st, tmp + 16 * by, 128 - 16 * by);
		memcpy(st + 128 - 16 * by, tmp, 16 * by);
	}
	put_le16(X_FSW(c), (u16)((get_le16(X_FSW(c)) & ~FSW_TOP) | top << FSW_TOP_SHIFT));
}

static void clear_pointers(struct cpu *c)
{
	put_le16(c->xsave + XSAVE_FOP, 0);
	put_le64(c->xsave + XSAVE_FIP, 0);
	put_le64(c->xsave + XSAVE_FDP, 0);
	*native_x87_ptr(c) = (struct x87_ptr){ 0, 0 };
}

void x87_init_state(struct cpu *c)
{
	set_top_keeping_registers(c, 0);
	put_le16(X_FCW(c), FCW_INIT);
	put_le16(X_FSW(c), 0);
	put_le16(c->xsave + XSAVE_FTW, 0);
	clear_pointers(c);
}

void x87_to_mmx(struct cpu *c)
{
	if (get_le16(X_FSW(c)) & FSW_TOP)
		set_top_keeping_registers(c, 0);
	c->xsave[XSAVE_FTW] = 0xff;
}

/* --- environment --- */

/* The tag word in full: two bits for each physical register. */
static u16 full_tags(const struct cpu *c)
{
	unsigned top = top_of(c), tags = 0;

	for (unsigned p = 0; p < 8; p++) {
		const u8 *st = c->xsave + XSAVE_ST + 16 * ((p - top) & 7);
		unsigned exp = get_le16(st + 8) & 0x7fff, tag;
		u64 frac = get_le64(st);

		if (!(c->xsave[XSAVE_FTW] & BIT(p)))
			tag = 3;			/* empty */
		else if (exp == 0)
			tag = frac ? 2 : 1;		/* special, zero */
		else
			tag = exp == 0x7fff || !(frac >> 63) ? 2 : 0;
		tags |= tag << 2 * p;
	}
	return (u16)tags;
}

static void set_full_tags(struct cpu *c, u16 tags)
{
	u8 abridged = 0;

	for (unsigned p = 0; p < 8; p++)
		if ((tags >> 2 * p & 3) != 3)
			abridged |= (u8)BIT(p);
	c->xsave[XSAVE_FTW] = abridged;
}

/* Does the environment have its real-mode form (linear addresses, opcode)? */
static bool env_real(const struct cpu *c)
{
	return !cpu_protected(c) || cpu_v86(c);
}

static unsigned env_make(struct cpu *c, bool is16, u8 *b)
{
	struct x87_ptr *ptr = native_x87_ptr(c);
	u16 fop = get_le16(c->xsave + XSAVE_FOP) & 0x7ff;
	u32 fip = get_le32(c->xsave + XSAVE_FIP), fdp = get_le32(c->xsave + XSAVE_FDP);
	u16 w[3] = { get_le16(X_FCW(c)), get_le16(X_FSW(c)), full_tags(c) };

	if (env_real(c)) {
		fip += (u32)ptr->fcs << 4;
		fdp += (u32)ptr->fds << 4;
	}
	if (is16) {
		for (unsigned i = 0; i < 3; i++)
			put_le16(b + 2 * i, w[i]);
		put_le16(b + 6, (u16)fip);
		put_le16(b + 8, env_real(c) ? (u16)(fip >> 16 << 12 | fop) : ptr->fcs);
		put_le16(b + 10, (u16)fdp);
		put_le16(b + 12, env_real(c) ? (u16)(fdp >> 16 << 12) : ptr->fds);
		return 14;
	}
	for (unsigned i = 0; i < 3; i++)
		put_le32(b + 4 * i, 0xffff0000u | w[i]);
	if (env_real(c)) {
		put_le32(b + 12, 0xffff0000u | (u16)fip);
		put_le32(b + 16, (fip >> 16) << 12 | fop);
		put_le32(b + 20, 0xffff0000u | (u16)fdp);
		put_le32(b + 24, (fdp >> 16) << 12);
	} else {
		put_le32(b + 12, fip);
		put_le32(b + 16, (u32)fop << 16 | ptr->fcs);
		put_le32(b + 20, fdp);
		put_le32(b + 24, 0xffff0000u | ptr->fds);
	}
	return 28;
}

static void env_take(struct cpu *c, bool is16, const u8 *b)
{
	struct x87_ptr *ptr = native_x87_ptr(c);
	unsigned step = is16 ? 2 : 4;
	u16 fop = 0, fcs = 0, fds = 0;
	u32 fip, fdp;

	put_le16(X_FCW(c), (get_le16(b) & FCW_VALID) | FCW_ONE);
	put_le16(X_FSW(c), get_le16(b + step));
	set_full_tags(c, get_le16(b + 2 * step));
	x87_update_es(c);
	if (is16) {
		u16 hi = get_le16(b + 8), dhi = get_le16(b + 12);

		fip = get_le16(b + 6);
		fdp = get_le16(b + 10);
		if (env_real(c)) {
			fip |= (u32)(hi >> 12) << 16;
			fdp |= (u32)(dhi >> 12) << 16;
			fop = hi & 0x7ff;
		} else {
			fcs = hi;
			fds = dhi;
		}
	} else if (env_real(c)) {
		u32 hi = get_le32(b + 16), dhi = get_le32(b + 24);

		fip = get_le16(b + 12) | (hi >> 12 & 0xffff) << 16;
		fdp = get_le16(b + 20) | (dhi >> 12 & 0xffff) << 16;
		fop = hi & 0x7ff;
	} else {
		fip = get_le32(b + 12);
		fcs = get_le16(b + 16);
		fop = get_le16(b + 18) & 0x7ff;
		fdp = get_le32(b + 20);
		fds = get_le16(b + 24);
	}
	put_le64(c->xsave + XSAVE_FIP, fip);
	put_le64(c->xsave + XSAVE_FDP, fdp);
	put_le16(c->xsave + XSAVE_FOP, fop);
	ptr->fcs = fcs;
	ptr->fds = fds;
}

static void exec_fnstenv(struct cpu *c, const struct insn *in)
{
	u8 b[28];

	mem_st_bytes(c, in->seg, insn_ea(c, in), b, env_make(c, in->opsize == 2, b));
	put_le16(X_FCW(c), get_le16(X_FCW(c)) | FCW_MASKS);
	x87_update_es(c);
}

static void exec_fldenv(struct cpu *c, const struct insn *in)
{
	bool is16 = in->opsize == 2;
	unsigned top = top_of(c);
	u8 b[28];
	u16 sw;

	mem_ld_bytes(c, in->seg, insn_ea(c, in), b, is16 ? 14 : 28);
	/* The registers stay where they are physically: turn the stack to the new TOP first. */
	sw = get_le16(b + (is16 ? 2 : 4));
	if (top != (unsigned)(sw & FSW_TOP) >> FSW_TOP_SHIFT)
		set_top_keeping_registers(c, (sw & FSW_TOP) >> FSW_TOP_SHIFT);
	env_take(c, is16, b);
}

static void exec_fnsave(struct cpu *c, const struct insn *in)
{
	u8 b[108];
	unsigned n = env_make(c, in->opsize == 2, b);

	for (unsigned i = 0; i < 8; i++)
		memcpy(b + n + 10 * i, c->xsave + XSAVE_ST + 16 * i, 10);
	mem_st_bytes(c, in->seg, insn_ea(c, in), b, n + 80);
	x87_init_state(c);
}

static void exec_frstor(struct cpu *c, const struct insn *in)
{
	bool is16 = in->opsize == 2;
	unsigned n = is16 ? 14 : 28;
	u8 b[108];

	mem_ld_bytes(c, in->seg, insn_ea(c, in), b, n + 80);
	env_take(c, is16, b);
	for (unsigned i = 0; i < 8; i++) {
		memset(c->xsave + XSAVE_ST + 16 * i, 0, 16);
		memcpy(c->xsave + XSAVE_ST + 16 * i, b + n + 10 * i, 10);
	}
}

/* --- control --- */

static void exec_fldcw(struct cpu *c, const struct insn *in)
{
	u16 v = (u16)mem_ld(c, in->seg, insn_ea(c, in), 2);

	put_le16(X_FCW(c), (v & FCW_VALID) | FCW_ONE);
	x87_update_es(c);
}

/* FNSTCW, FNSTENV, FNSAVE, FNSTSW, FNINIT, FNCLEX and their like do not wait. True: done. */
static bool exec_no_wait(struct cpu *c, const struct insn *in)
{
	u8 op = in->opcode & 7, m = in->modrm, reg = m >> 3 & 7;

	if (m < 0xc0) {
		if (op == 1 && reg == 7)
			mem_st(c, in->seg, insn_ea(c, in), get_le16(X_FCW(c)), 2);
		else if (op == 5 && reg == 7)
			mem_st(c, in->seg, insn_ea(c, in), get_le16(X_FSW(c)), 2);
		else if (op == 1 && reg == 6)
			exec_fnstenv(c, in);
		else if (op == 5 && reg == 6)
			exec_fnsave(c, in);
		else
			return false;
		return true;
	}
	if (op == 7 && m == 0xe0)					/* FNSTSW AX */
		c->r[RAX] = (c->r[RAX] & ~0xffffull) | get_le16(X_FSW(c));
	else if (op == 3 && m == 0xe2)					/* FNCLEX */
		put_le16(X_FSW(c), get_le16(X_FSW(c)) & 0x7f00);
	else if (op == 3 && m == 0xe3)
		x87_init_state(c);
	else
		return op == 3 && (m == 0xe0 || m == 0xe1 || m == 0xe4); /* FENI FDISI FSETPM */
	return true;
}

/* --- what computes --- */

/* The memory operand of the instruction: bytes, and whether it is stored. 0: there is none such. */
unsigned x87_mem_size(u8 op, u8 reg, bool *store)
{
	/* Rows: D8-DF; columns: ModRM.reg. 0x80: stored. FLDCW and its like are not here. */
	static const u8 size[8][8] = {
		{ 4, 4, 4, 4, 4, 4, 4, 4 },
		{ 4, 0, 0x84, 0x84, 0, 0, 0, 0 },
		{ 4, 4, 4, 4, 4, 4, 4, 4 },
		{ 4, 0x84, 0x84, 0x84, 0, 10, 0, 0x8a },
		{ 8, 8, 8, 8, 8, 8, 8, 8 },
		{ 8, 0x88, 0x88, 0x88, 0, 0, 0, 0 },
		{ 2, 2, 2, 2, 2, 2, 2, 2 },
		{ 2, 0x82, 0x82, 0x82, 10, 8, 0x8a, 0x88 },
	};

	*store = size[op][reg] & 0x80;
	return size[op][reg] & 0x7f;
}

void x87_set_pointers(struct cpu *c, const struct insn *in, u64 off)
{
	struct x87_ptr *ptr = native_x87_ptr(c);

	put_le16(c->xsave + XSAVE_FOP, (u16)((in->opcode & 7) << 8 | in->modrm));
	put_le64(c->xsave + XSAVE_FIP, c->rip);
	ptr->fcs = c->seg[SEG_CS].sel;
	if (in->has_mem) {
		put_le64(c->xsave + XSAVE_FDP, off);
		ptr->fds = c->seg[in->seg].sel;
	}
}

static void exec_compute(struct cpu *c, const struct insn *in)
{
	u8 op = in->opcode & 7, insn[2] = { in->opcode, in->modrm }, *buf = native_bounce(c);
	u64 fdp = get_le64(c->xsave + XSAVE_FDP), off = 0;
	bool store = false, trapping;
	unsigned n = 0;

	if (in->has_mem) {
		n = x87_mem_size(op, in->modrm >> 3 & 7, &store);
		if (!n)
			raise_ud(c);
		insn[1] = (in->modrm & 0x38) | 6;			/* [rsi] */
		off = insn_ea(c, in);
		if (store)
			mem_probe(c, in->seg, off, n, true);
		/* An unmasked exception may leave the destination as it is. */
		trapping = store && (get_le16(X_FCW(c)) & FCW_MASKS) != FCW_MASKS;
		if (!store || trapping)
			mem_ld_bytes(c, in->seg, off, buf, n);
	}
	native_run_x87(c, insn, 2, buf, in->desc->fl_read & FL_OSZAPC,
		       in->desc->fl_write & FL_OSZAPC);
	if (store)
		mem_st_bytes(c, in->seg, off, buf, n);
	put_le64(c->xsave + XSAVE_FDP, fdp);
	x87_set_pointers(c, in, off);
}

void x87_exec(struct cpu *c, const struct insn *in)
{
	u8 op = in->opcode & 7, reg = in->modrm >> 3 & 7;

	if (in->opcode == 0x9b) {					/* FWAIT */
		if ((c->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
			cpu_raise(c, EXC_NM);
		x87_stalled(c);
		return;
	}
	if (c->cr0 & (CR0_EM | CR0_TS))
		cpu_raise(c, EXC_NM);
	if (exec_no_wait(c, in) || x87_stalled(c))
		return;
	if (in->has_mem && op == 1 && reg == 5)
		exec_fldcw(c, in);
	else if (in->has_mem && op == 1 && reg == 4)
		exec_fldenv(c, in);
	else if (in->has_mem && op == 5 && reg == 4)
		exec_frstor(c, in);
	else
		exec_compute(c, in);
}
