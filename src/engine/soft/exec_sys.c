/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exec_sys.c - port I/O with its permissions, MOV DRn, RSM.
 * After: Intel SDM vol. 1, ch. 18 (I/O); vol. 2, IN, OUT, MOV; vol. 3, 17.2. */
#include "engine/soft/seg.h"

/* The I/O permission bitmap in a 32- or 64-bit TSS: SDM vol. 1, 18.5.2. Two bytes are read for
 * every check, so the byte after the last one must lie inside the limit too. */
#define TSS_IOMAP 0x66
#define TSS_LEGACY_LIMIT 103

bool io_allowed(struct cpu *c, u16 port, unsigned size)
{
	const struct cpu_seg *tr = &c->seg[SEG_TR];
	u32 off, mask = (1u << size) - 1;
	u16 bits;

	if (!cpu_protected(c) || (!cpu_v86(c) && c->cpl <= cpu_iopl(c)))
		return true;
	if (!(tr->attr & 8) || tr->limit < TSS_LEGACY_LIMIT)
		return false;
	off = lin_ld(c, tr->base + TSS_IOMAP, 2, AS_SYSTEM) + port / 8u;
	if (off + 1 > tr->limit)
		return false;
	bits = lin_ld(c, tr->base + off, 2, AS_SYSTEM);
	return !(bits >> port % 8 & mask);
}

u64 io_in(struct cpu *c, u16 port, unsigned size)
{
	u64 val;

	c->stats.io++;
	machine_lock(c->m);
	val = bus_read(c->m->ports, c->v, port, size);
	machine_unlock(c->m);
	if (unlikely(c->dbg_armed & DBG_IO))
		debug_watch_io(c, port, size);
	return val;
}

void io_out(struct cpu *c, u16 port, u64 val, unsigned size)
{
	c->stats.io++;
	machine_lock(c->m);
	bus_write(c->m->ports, c->v, port, val, size);
	machine_unlock(c->m);
	if (unlikely(c->dbg_armed & DBG_IO))
		debug_watch_io(c, port, size);
}

static u16 port_of(const struct cpu *c, const struct insn *in, unsigned i)
{
	return in->opd[i].kind == OPD_IMM ? (u8)in->imm : (u16)c->r[RDX];
}

static void exec_in(struct cpu *c, const struct insn *in)
{
	u16 port = port_of(c, in, 1);
	unsigned size = in->opd[0].size;

	if (!io_allowed(c, port, size))
		raise_gp(c, 0);
	gpr_write(c, &in->opd[0], io_in(c, port, size));
}

static void exec_out(struct cpu *c, const struct insn *in)
{
	u16 port = port_of(c, in, 0);
	unsigned size = in->opd[1].size;

	if (!io_allowed(c, port, size))
		raise_gp(c, 0);
	io_out(c, port, gpr_read(c, &in->opd[1]), size);
}

static void exec_mov_dr(struct cpu *c, const struct insn *in)
{
	struct operand gpr = in->opd[in->opd[0].kind == OPD_DR];

	gpr.size = c->lma64 ? 8 : 4;
	if (in->opd[0].kind == OPD_DR)
		debug_write_dr(c, in->opd[0].reg, gpr_read(c, &gpr));
	else
		gpr_write(c, &gpr, debug_read_dr(c, in->opd[1].reg));
}

/* There is no system management mode to come back from. */
static void exec_rsm(struct cpu *c, const struct insn *in)
{
	raise_ud(c);
}

const struct exec_entry exec_sys_table[] = {
	{ OP_IN, exec_in }, { OP_OUT, exec_out }, { OP_MOV_DR, exec_mov_dr }, { OP_RSM, exec_rsm },
	{ 0, NULL }
};
