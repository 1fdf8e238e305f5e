/* SPDX-License-Identifier: GPL-2.0-or-later */
/* chaos.h - segmentation, gates, tasks and delivery among random descriptors, gates, TSSs and
 * stacks, in all modes. Whatever the tables say: nothing breaks, privilege levels agree, and an
 * operation that faults has changed no register (a task switch past its commit point aside). */
#ifndef PENTA_TESTS_CHAOS_H
#define PENTA_TESTS_CHAOS_H

#include "base/bytes.h"
#include "engine/soft/seg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHAOS_RAM	(4 * MiB)
#define CHAOS_TABLES	0x1000		/* GDT; LDT, IDT, TSSs, stacks follow, a page each */
#define CHAOS_PAGES	12
#define CHAOS_PT	0x20000

struct chaos {
	struct machine *m;
	struct cpu *c;
	u64 rnd;
	u64 done, faults, shutdowns;
};

static inline u64 chaos_rnd(struct chaos *x)
{
	x->rnd ^= x->rnd << 13;
	x->rnd ^= x->rnd >> 7;
	x->rnd ^= x->rnd << 17;
	return x->rnd * 0x2545f4914f6cdd1dull;
}
static inline u32 chaos_below(struct chaos *x, u32 n) { return (chaos_rnd(x) >> 32) % n; }
static inline bool chaos_one_in(struct chaos *x, u32 n) { return !chaos_below(x, n); }

static inline void chaos_put(struct chaos *x, u64 gpa, u64 val)
{
	u8 t[8];

	put_le64(t, val);
	ram_write(x->m->ram, gpa, t, 8);
}

static inline u16 chaos_sel(struct chaos *x)
{
	return chaos_one_in(x, 12) ? chaos_rnd(x) : (u16)(chaos_below(x, 40) * 8 | chaos_below(x, 4) |
						       (chaos_one_in(x, 8) ? 4 : 0));
}

/* A descriptor or gate: mostly one that could be meant. */
static inline u64 chaos_desc(struct chaos *x)
{
	static const u8 access[] = { 0x9a, 0x9b, 0x92, 0x93, 0xfa, 0xfb, 0xf2, 0xf3, 0x9e, 0xfe, 0xba, 0xb2,
		0x96, 0x90, 0x98, 0x89, 0x8b, 0x81, 0x83, 0x82, 0x84, 0x85, 0x86, 0x87, 0x8c, 0x8e, 0x8f,
		0xe4, 0xe5, 0xec, 0xee, 0xef, 0xe6, 0xe7, 0x12, 0x1a, 0x8d };
	u64 a = access[chaos_below(x, ARRAY_SIZE(access))], v;

	if (chaos_one_in(x, 16))
		return chaos_rnd(x);
	if (!(a & 0x10) && (a & 4)) {		/* a gate */
		v = (u64)chaos_sel(x) << 16 | (chaos_rnd(x) & 0xffff) | a << 40 | (u64)chaos_below(x, 8) << 32;
		return chaos_one_in(x, 4) ? v | chaos_rnd(x) << 48 : v;
	}
	v = (chaos_one_in(x, 4) ? chaos_rnd(x) & 0xfff : 0xffff) | a << 40;
	if (chaos_one_in(x, 3))
		v |= (u64)(CHAOS_TABLES + chaos_below(x, CHAOS_PAGES) * 0x1000) << 16 & 0xffffff0000ull;
	return v | (u64)(chaos_below(x, 16) << 4 | 0xf * chaos_one_in(x, 2)) << 48;
}

static inline u64 chaos_word(struct chaos *x)
{
	switch (chaos_below(x, 6)) {
	case 0: return chaos_rnd(x);
	case 1: return chaos_sel(x) | (u64)chaos_sel(x) << 32;
	case 2: return (chaos_rnd(x) & 0xffff) | (u64)chaos_sel(x) << 32;
	case 3: return CHAOS_TABLES + chaos_below(x, CHAOS_PAGES << 12);
	case 4: return (u64)(chaos_rnd(x) & 0x3f7fd7) << 32 | chaos_sel(x);
	default: return chaos_sel(x);
	}
}

static inline void chaos_tables(struct chaos *x)
{
	for (unsigned i = 0; i < 512; i++) {
		chaos_put(x, CHAOS_TABLES + i * 8, chaos_desc(x));
		chaos_put(x, CHAOS_TABLES + 0x1000 + i * 8, chaos_desc(x));
		chaos_put(x, CHAOS_TABLES + 0x2000 + i * 8, chaos_desc(x));
	}
	for (unsigned i = 0; i < (CHAOS_PAGES - 3) * 512; i++)
		chaos_put(x, CHAOS_TABLES + 0x3000 + i * 8, chaos_word(x));
}

static inline void chaos_seg(struct chaos *x, unsigned seg, unsigned cpl, bool code, bool l)
{
	struct cpu_seg *s = &x->c->seg[seg];

	s->sel = (u16)((chaos_sel(x) & ~7u) | cpl);
	s->base = chaos_one_in(x, 3) ? CHAOS_TABLES : 0;
	s->limit = chaos_one_in(x, 4) ? 0xffff : 0xffffffff;
	s->attr = (code ? 0x9b : 0x93) | cpl << 5 | (l ? SEG_A_L : chaos_one_in(x, 3) ? 0 : SEG_A_DB);
}

/* A consistent processor in some mode. */
static inline void chaos_cpu(struct chaos *x)
{
	struct cpu *c = x->c;
	unsigned mode = chaos_below(x, 5), cpl = chaos_below(x, 4);	/* real v86 prot compat 64 */

	if (mode == 0)
		cpl = 0;
	if (mode == 1)
		cpl = 3;
	c->cr0 = CR0_ET | CR0_NE | (mode ? CR0_PE : 0);
	c->cr4 = chaos_one_in(x, 2) ? CR4_VME | CR4_DE : 0;
	c->efer = EFER_SCE;
	c->rflags = FL_1 | chaos_below(x, 4) << FL_IOPL_SHIFT | (chaos_rnd(x) & (FL_IF | FL_TF | FL_VIF));
	if (mode >= 2 && chaos_one_in(x, 6))
		c->rflags |= FL_NT;
	if (mode >= 3) {
		c->efer |= EFER_LME | EFER_LMA;
		c->cr4 |= CR4_PAE;
		c->cr0 |= CR0_PG;
		c->cr3 = CHAOS_PT;
		chaos_put(x, CHAOS_PT, (CHAOS_PT + 0x1000) | 7);
		chaos_put(x, CHAOS_PT + 0x1000, (CHAOS_PT + 0x2000) | 7);
		chaos_put(x, CHAOS_PT + 0x2000, 0x83 | chaos_below(x, 2) << 2);
		chaos_put(x, CHAOS_PT + 0x2008, 0x200083);
	}
	for (unsigned i = 0; i < 6; i++)
		chaos_seg(x, i, cpl, i == SEG_CS, i == SEG_CS && mode == 4);
	c->seg[SEG_TR] = (struct cpu_seg){ .sel = 0x78, .base = CHAOS_TABLES + 0x3000,
		.limit = chaos_one_in(x, 6) ? chaos_below(x, 200) : 0x2fff,
		.attr = mode < 3 && chaos_one_in(x, 4) ? 0x83 : 0x8b };
	c->seg[SEG_LDTR] = (struct cpu_seg){ .sel = 0x70, .base = CHAOS_TABLES + 0x1000,
		.limit = 0xfff, .attr = chaos_one_in(x, 8) ? SEG_A_UNUSABLE : 0x82 };
	c->gdtr.base = CHAOS_TABLES;
	c->gdtr.limit = chaos_one_in(x, 8) ? chaos_below(x, 400) : 0xfff;
	c->idtr.base = mode ? CHAOS_TABLES + 0x2000 : 0;
	c->idtr.limit = 0xfff;
	for (unsigned i = 0; i < 16; i++)
		c->r[i] = chaos_word(x);
	c->r[RSP] = CHAOS_TABLES + 0x4000 + (chaos_rnd(x) & 0x3fff);
	if (chaos_one_in(x, 10))
		c->r[RSP] = chaos_rnd(x);
	c->rip = chaos_rnd(x) & 0x7fff;
	c->next_rip = c->rip + 2;
	c->star = chaos_rnd(x);
	c->lstar = c->cstar = 0x1234;
	c->sysenter_cs = chaos_sel(x);
	c->activity = CPU_RUNNING;
	c->shadow = 0;
	c->db_pending = 0;
	c->step_trap = false;
	c->ext = false;
	c->dr[7] = 0x400;
	if (mode == 1) {
		c->rflags |= FL_VM;
		for (unsigned i = 0; i < 6; i++)
			seg_load_real(c, i, chaos_below(x, 0x900));
	}
	c->cpl = cpl;
	debug_rearm(c);
	tlb_flush_all(c);
	cpu_mode_changed(c);
}

static inline unsigned chaos_size(struct chaos *x)
{
	return x->c->lma64 ? 2u << chaos_below(x, 3) : 2u << chaos_below(x, 2);
}

/* An instruction given by its bytes, with a random register operand where it has one. */
static inline void chaos_insn(struct chaos *x)
{
	static const u8 code[][3] = {
		{ 0x0f, 0x02, 0xc1 }, { 0x0f, 0x03, 0xc1 }, { 0x0f, 0x00, 0xe0 }, { 0x0f, 0x00, 0xe8 },
		{ 0x0f, 0x00, 0xd0 }, { 0x0f, 0x00, 0xd8 }, { 0x63, 0xc8 }, { 0x0f, 0x05 }, { 0x0f, 0x07 },
		{ 0x0f, 0x34 }, { 0x0f, 0x35 }, { 0x0f, 0x01, 0x10 }, { 0x0f, 0x01, 0x18 }, { 0x8e, 0xd0 },
		{ 0x8e, 0xd8 }, { 0x8e, 0xe8 }, { 0xe4, 0x80 }, { 0xe7, 0x80 }, { 0xcc }, { 0xce },
		{ 0x0f, 0x23, 0xf8 }, { 0x0f, 0x23, 0xc0 }, { 0xc5, 0x10 }, { 0x0f, 0xb2, 0x10 }, { 0xff, 0x28 },
		{ 0xff, 0x18 }, { 0x1f }, { 0x17 }, { 0x9d }, { 0xfb }, { 0xfa },
	};
	u8 buf[15] = { 0 };
	struct insn in;

	memcpy(buf, code[chaos_below(x, ARRAY_SIZE(code))], 3);
	x->c->r[RAX] = chaos_word(x);
	x->c->r[RCX] = chaos_sel(x);
	if (insn_decode(&in, buf, sizeof(buf), x->c->mode) == 0)
		exec_insn(x->c, &in);
}

static inline void chaos_op(struct chaos *x, unsigned op)
{
	struct cpu *c = x->c;

	switch (op) {
	case 0: far_jump(c, chaos_sel(x), chaos_rnd(x) & 0xffff, chaos_size(x)); break;
	case 1: far_call(c, chaos_sel(x), chaos_rnd(x) & 0xffff, chaos_size(x)); break;
	case 2: far_ret(c, chaos_size(x), chaos_below(x, 16)); break;
	case 3: do_iret(c, chaos_size(x)); break;
	case 4: deliver_soft(c, chaos_below(x, 256), INT_SOFT); break;
	case 5: seg_load(c, (const u8[]){ SEG_ES, SEG_SS, SEG_DS, SEG_FS, SEG_GS }[chaos_below(x, 5)],
			 chaos_sel(x)); break;
	case 6: io_allowed(c, chaos_rnd(x), 1u << chaos_below(x, 3)); break;
	default: chaos_insn(x);
	}
}

static inline bool chaos_fail(struct chaos *x, const char *what)
{
	const struct cpu *c = x->c;

	fprintf(stderr, "chaos: %s: cpl %u cs %04x attr %x ss %04x attr %x cr0 %llx rip %llx\n", what,
		c->cpl, c->seg[SEG_CS].sel, c->seg[SEG_CS].attr, c->seg[SEG_SS].sel, c->seg[SEG_SS].attr,
		(unsigned long long)c->cr0, (unsigned long long)c->rip);
	return false;
}

/* What holds between any two instructions. */
static inline bool chaos_consistent(struct chaos *x)
{
	struct cpu *c = x->c;
	unsigned cpl = c->cpl;

	cpu_mode_changed(c);
	if (c->cpl != cpl)
		return chaos_fail(x, "CPL is not SS.DPL");
	if (cpu_protected(c) && !cpu_v86(c)) {
		if ((c->seg[SEG_CS].sel & 3) != cpl)
			return chaos_fail(x, "CS.RPL is not CPL");
		if (!(c->seg[SEG_CS].attr & SEG_A_CODE) && c->activity != CPU_SHUTDOWN &&
		    !(c->seg[SEG_CS].attr & SEG_A_UNUSABLE))
			return chaos_fail(x, "CS is no code");
	}
	if (c->delivering != -1 || c->ext)
		return chaos_fail(x, "still delivering");
	if (cpu_long(c) && c->lma64 && !la_canonical(c->rip))
		return chaos_fail(x, "RIP is not canonical");
	if (cpu_v86(c) && cpl != 3)
		return chaos_fail(x, "virtual-8086 mode outside level 3");
	return true;
}

/* One processor, @nops operations. False when a rule was broken; it was printed. */
static inline bool chaos_round(struct chaos *x, unsigned nops)
{
	struct cpu *c = x->c;
	struct cpu_seg seg[SEG_N];
	u64 r[16], rip;
	u32 rflags;

	if (chaos_one_in(x, 8))
		chaos_tables(x);
	chaos_cpu(x);
	for (volatile unsigned i = 0; i < nops && c->activity == CPU_RUNNING; i++) {
		chaos_put(x, CHAOS_TABLES + chaos_below(x, 0x600) * 8, chaos_desc(x));
		memcpy(r, c->r, sizeof(r));
		memcpy(seg, c->seg, sizeof(seg));
		rip = c->rip;
		rflags = c->rflags;
		c->next_rip = c->rip + 1;
		if (sigsetjmp(c->catch, 0) == 0) {
			if (chaos_one_in(x, 5)) {
				deliver(c, chaos_below(x, 256), INT_HW, false, 0);
			} else {
				chaos_op(x, chaos_below(x, 9));
				c->rip = c->next_rip;
			}
			x->done++;
		} else {
			x->faults++;
			if (c->seg[SEG_TR].sel == seg[SEG_TR].sel &&
			    c->seg[SEG_TR].base == seg[SEG_TR].base && c->rip == rip) {
				/* RAX and RCX are operands that chaos_insn() sets. */
				if (memcmp(r + RDX, c->r + RDX, sizeof(r) - RDX * sizeof(r[0])))
					return chaos_fail(x, "a fault has changed registers");
				if (memcmp(seg, c->seg, sizeof(seg)))
					return chaos_fail(x, "a fault has changed segments");
				if ((rflags ^ c->rflags) & ~(u32)FL_RF)
					return chaos_fail(x, "a fault has changed flags");
			}
			deliver(c, c->exc.vector, INT_EXC, c->exc.has_error, c->exc.error);
		}
		if (!chaos_consistent(x))
			return false;
		if (!c->lma64)
			c->rip = (u32)c->rip;
	}
	x->shutdowns += c->activity == CPU_SHUTDOWN;
	return true;
}

static inline int chaos_open(struct chaos *x, u64 seed)
{
	const struct machine_config cfg = {
		.ram_size = CHAOS_RAM, .ncpus = 1, .engine = &engine_soft,
		.cpu_model = cpu_model_find("v3"),
	};
	struct err e = { 0 };
	int r = machine_new(&x->m, &cfg, &e);

	if (r < 0) {
		fprintf(stderr, "chaos: %s\n", e.msg);
		return r;
	}
	x->c = cpu_of(x->m->cpu[0]);
	x->rnd = seed * 0x9e3779b97f4a7c15ull | 1;
	x->done = x->faults = x->shutdowns = 0;
	x->c->delivering = -1;
	chaos_tables(x);
	return 0;
}

#endif
