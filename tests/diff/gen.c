/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gen.c - makes cases from the instruction table.
 *
 * A row of the table is an encoding; the decoder's index (x86/encoding.h) says what prefixes,
 * opcode bytes and ModRM lead to it. All else is random: registers, addressing, useless and
 * repeated prefixes, immediates with a liking for boundaries. The result is decoded; where it
 * accesses memory, registers are then set such that it hits a chosen place: aligned or not, at a
 * page's end, read-only, unmapped, not canonical. */
#include "gen.h"
#include "base/bytes.h"
#include "x86/encoding.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- values --- */

static u64 boundary(struct gen *g)
{
	u64 v = BIT(below(g, 64)) + (u64)(s64)(below(g, 3) - 1);

	return chance(g, 30) ? ~v : v;
}

static u64 value(struct gen *g)
{
	switch (below(g, 8)) {
	case 0: return below(g, 8);
	case 1: return (u64)-(s64)below(g, 70);
	case 2: case 3: return boundary(g);
	case 4: return (u32)rnd(g);
	case 5: return (u64)(s64)(s8)rnd(g);
	default: return rnd(g);
	}
}

/* Bytes that are interesting as integers of all widths, as floating point of three formats, as BCD
 * and as pointers into the window. */
static void fill_pool(struct gen *g)
{
	static const u64 d[] = { 0, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000,
		0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001,
		0x0010000000000000, 0x000fffffffffffff, 1, 0x7fefffffffffffff, 0x4340000000000000,
		0x41dfffffffc00000, 0xc1e0000000000000, 0x43e0000000000000, 0x3fe0000000000000,
		0x400921fb54442d18 };
	static const u32 f[] = { 0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000,
		0x7fc00000, 0x7f800001, 0x00800000, 0x007fffff, 1, 0x7f7fffff, 0x4b800000,
		0x4effffff, 0xcf000000, 0x4f000000, 0x3f000000, 0x40490fdb };
	static const u16 ex[] = { 0x3fff, 0xbfff, 0x7fff, 0xffff, 0, 0x8000, 0x3ffe, 0x403e, 0x7ffe };

	for (unsigned i = 0; i < POOL_SIZE; ) {
		u8 *p = g->pool + i;
		unsigned n = 8;

		switch (below(g, 10)) {
		case 0: put_le64(p, d[below(g, ARRAY_SIZE(d))]); break;
		case 1:
			put_le32(p, f[below(g, ARRAY_SIZE(f))]);
			put_le32(p + 4, f[below(g, ARRAY_SIZE(f))]);
			break;
		case 2: put_le64(p, value(g)); break;
		case 3:
			n = 16;
			put_le64(p, chance(g, 70) ? rnd(g) | BIT(63) : value(g));
			put_le64(p + 8, ex[below(g, ARRAY_SIZE(ex))] | (rnd(g) << 16));
			break;
		case 4:
			for (unsigned k = 0; k < 8; k++)
				p[k] = (u8)(below(g, 10) << 4 | below(g, 10));
			break;
		case 5: put_le64(p, WIN_BASE + below(g, WIN_SIZE)); break;
		case 6: put_le64(p, chance(g, 50) ? 0 : (u64)(s64)(s8)rnd(g)); break;
		default: put_le64(p, rnd(g)); break;
		}
		i += n;
	}
}

/* Extended states: register contents from the pool, control words of all kinds. */
static void fill_xs(struct gen *g, u8 *x)
{
	u16 fcw = 0x37f, fsw = 0;

	memset(x, 0, XS_SIZE);
	if (chance(g, 40))
		fcw = (u16)(0x40 | below(g, 64) | below(g, 16) << 8);
	if (chance(g, 30))
		fsw = (u16)(rnd(g) & 0x7f7f);
	if (fsw & ~fcw & 0x3f)
		fsw |= 0x8080;		/* ES and B follow from the rest */
	else
		fsw &= 0x7f7f;
	if (chance(g, 50))
		fsw &= 0xc7ff;		/* top 0 */
	put_le16(x, fcw);
	put_le16(x + 2, fsw);
	x[4] = chance(g, 50) ? 0xff : chance(g, 50) ? 0 : (u8)rnd(g);
	put_le32(x + 24, chance(g, 50) ? 0x1f80 :
		 chance(g, 50) ? (u32)(rnd(g) & 0xffff) : (u32)(rnd(g) & 0xe07f) | 0x1f80);
	for (unsigned i = 0; i < 8; i++) {
		memcpy(x + 32 + 16 * i, g->pool + 16 * below(g, POOL_SIZE / 16), 10);
		if (chance(g, 30)) {	/* a sane number */
			put_le64(x + 32 + 16 * i, rnd(g) | BIT(63));
			put_le16(x + 40 + 16 * i, (u16)((0x3ff0 + below(g, 32)) |
							(rnd(g) & 0x8000)));
		}
	}
	memcpy(x + 160, g->pool + 64 * below(g, POOL_SIZE / 64 - 8), 256);
	memcpy(x + XS_YMM, g->pool + 64 * below(g, POOL_SIZE / 64 - 8), 256);
	put_le64(x + XS_HEADER, 7);
}

/* --- rows --- */

/* Beyond A_USER: what user mode can try, and what it gets for it. Left out is what Linux answers
 * itself (system calls; SGDT and its kin, which it emulates), what shows the host (CPUID, RDTSC,
 * XGETBV, FXSAVE's MXCSR_MASK), and INT1: a hypervisor that intercepts #DB may report the
 * instruction itself. */
static bool is_extra(const struct insn_desc *d)
{
	static const u16 ops[] = { OP_INT3, OP_INTO, OP_INT, OP_UD0, OP_UD1, OP_UD2, OP_CLI, OP_STI,
		OP_LDMXCSR, OP_STMXCSR, OP_VLDMXCSR, OP_VSTMXCSR, OP_FXRSTOR, OP_RDFSBASE,
		OP_RDGSBASE, OP_WRGSBASE, OP_WRFSBASE, OP_JMPF, OP_CALLF, OP_RETF, OP_IRET,
		OP_CLAC, OP_STAC, OP_LAR, OP_LSL, OP_VERR, OP_VERW, OP_ARPL, OP_RSM };

	if (d->cls == CL_SEGMENT || d->cls == CL_IO || (d->attr & A_CPL0))
		return true;
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
		if (d->op == ops[i])
			return true;
	return false;
}

static void index_rows(struct gen *g)
{
	for (unsigned map = 0; map < 7; map++)
		for (unsigned op = 0; op < 256; op++) {
			const struct insn_slot *s = &insn_slots[map][op];

			for (unsigned i = 0; i < s->n; i++) {
				struct rowinfo *r = &g->row[insn_cands[s->first + i]];

				if (r->nslot < SLOTS_MAX) {
					r->slot[r->nslot].map = (u8)map;
					r->slot[r->nslot++].opcode = (u8)op;
				}
			}
		}
	for (unsigned i = 0; i < insn_table_size; i++) {
		const struct insn_desc *d = &insn_table[i];
		struct rowinfo *r = &g->row[i];

		if (!(d->attr & A_USER) && !is_extra(d))
			continue;
		r->offered = d->feature == F_ALWAYS || g->o.offered((enum x86_feature)d->feature);
		if ((g->o.op && strcmp(g->o.op, d->name) != 0) ||
		    (g->o.cls >= 0 && d->cls != g->o.cls))
			continue;
		if (!r->nslot || !r->offered)
			continue;
		for (unsigned m = 0; m < 3; m++) {
			unsigned mode = 2u << m;

			if (mode == 8 ? d->attr & A_NO64 : d->attr & A_ONLY64)
				continue;
			if (g->o.mode && g->o.mode != mode)
				continue;
			r->wanted = true;
			g->list[m][g->nlist[m]++] = (u16)i;
		}
	}
}

bool gen_row_wanted(const struct gen *g, unsigned row) { return g->row[row].wanted; }
bool gen_row_offered(const struct gen *g, unsigned row)
{
	return g->row[row].offered || !(insn_table[row].attr & A_USER);
}
const u8 *gen_pool(const struct gen *g) { return g->pool; }

/* --- a case --- */

struct making {
	struct gen *g;
	struct diff_case *c;
	u32 claimed;			/* registers that an instruction's address rests on */
	bool single;
};

static u64 mask_of(unsigned size) { return size >= 8 ? UINT64_MAX : BIT(8 * size) - 1; }

static void set_reg(struct making *m, unsigned reg, u64 v)
{
	m->c->gpr[reg] = v;
	m->claimed |= 1u << reg;
}

/* A linear address for an access of @size bytes. */
static u64 target(struct making *m, unsigned size)
{
	struct gen *g = m->g;
	unsigned kind = below(g, m->single ? 100 : 60), sz = size ? size : 1;

	if (kind < 35)
		return WIN_BASE + (below(g, WIN_SIZE - 64) & ~(u64)(sz & (sz - 1) ? 15 : sz - 1));
	if (kind < 60)
		return WIN_BASE + below(g, WIN_SIZE - 64);
	if (kind < 75)
		return WIN_BASE + 4096 - below(g, sz + 1);		/* across the pages */
	if (kind < 82)
		return WIN_RO - below(g, sz + 1);			/* into the read-only page */
	if (kind < 87)
		return WIN_RO + below(g, 4096 - 64);
	if (kind < 91)
		return WIN_RO + 4096 - below(g, sz + 1);		/* into nothing */
	if (kind < 94)
		return WIN_BASE - below(g, sz + 1);
	if (kind < 96)
		return BIT(47) - below(g, sz + 1);			/* the canonical edge */
	if (kind < 98)
		return 0xffff900000000000ull + below(g, 1 << 20);	/* the kernel's */
	return rnd(g);
}

static u16 sel_of(const struct diff_segs *s, unsigned seg)
{
	switch (seg) {
	case SEG_CS: return s->cs;
	case SEG_SS: return s->ss;
	case SEG_ES: return s->es;
	case SEG_FS: return s->fs;
	case SEG_GS: return s->gs;
	default: return s->ds;
	}
}

static u64 seg_base(const struct diff_case *c, unsigned seg)
{
	if (c->mode == 8)
		return seg == SEG_FS ? c->fs_base : seg == SEG_GS ? c->gs_base : 0;
	return diff_seg_base(sel_of(&diff_segs[mode_index(c->mode)][c->segs], seg));
}

/* How many bytes the displacement has, which end where the immediates begin. */
static unsigned disp_len(const struct insn *in)
{
	unsigned mod = in->modrm >> 6, rm = in->modrm & 7;

	if (!in->has_mem)
		return 0;
	if (!in->modrm_off)
		return in->adsize;		/* moffs */
	if (in->adsize == 2)
		return mod == 0 ? (rm == 6 ? 2 : 0) : mod;
	if (mod == 1)
		return 1;
	if (mod == 2)
		return 4;
	if (rm == 5)
		return 4;
	return rm == 4 && (in->bytes[in->modrm_off + 1] & 7) == 5 ? 4 : 0;
}

static void put_bytes(u8 *p, u64 v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (u8)(v >> (8 * i));
}

static unsigned mem_size(const struct insn *in)
{
	for (unsigned i = 0; i < in->nopd; i++)
		if (in->opd[i].kind == OPD_MEM && in->opd[i].size)
			return in->opd[i].size;
	return 8;
}

/* Make the memory operand of @in, whose code is @code at linear @la, mean a chosen place. */
static u64 aim(struct making *m, struct insn *in, u8 *code, u64 la)
{
	struct gen *g = m->g;
	struct diff_case *c = m->c;
	u64 t = target(m, mem_size(in)), off = t - seg_base(c, in->seg), idx;
	unsigned dl = disp_len(in), at = in->len - in->imm_len - dl;

	if (c->mode != 8 && chance(g, 95))
		off = (u32)off;
	if (in->rip_rel) {
		put_bytes(code + at, off - (la + in->len), 4);
		return t;
	}
	if (in->vsib) {		/* small indexes; some lanes anywhere. Steps may come in between */
		c->flags &= ~(u32)FL_TF;
		u8 *lo = c->xs + 160 + 16 * in->vsib_reg, *hi = c->xs + XS_YMM + 16 * in->vsib_reg;

		for (unsigned i = 0; i < 4; i++) {
			if (chance(g, 97))
				put_le32(lo + 4 * i, i & 1 && chance(g, 60) ? 0 : below(g, 64));
			if (chance(g, 97))
				put_le32(hi + 4 * i, i & 1 && chance(g, 60) ? 0 : below(g, 64));
		}
	}
	if (in->index != REG_ZERO && !(m->claimed >> in->index & 1) && in->index != in->base)
		set_reg(m, in->index, chance(g, 70) ? below(g, 16) : value(g));
	idx = in->index == REG_ZERO ? 0 : c->gpr[in->index] << in->scale;
	if (in->base != REG_ZERO && !(m->claimed >> in->base & 1)) {
		u64 v = off - (in->index == in->base ? 0 : idx) - (u64)in->disp;

		if (in->index == in->base) {	/* base + base << scale */
			v /= 1 + (1u << in->scale);
		}
		if (in->adsize == 2)
			v = (v & 0xffff) | (rnd(g) & ~0xffffull);
		else if (in->adsize == 4 && chance(g, 50))
			v = (v & 0xffffffff) | (rnd(g) & ~0xffffffffull);
		set_reg(m, in->base, v);
	} else if (dl >= 2 && chance(g, 95)) {
		u64 b = in->base == REG_ZERO ? 0 : c->gpr[in->base];

		put_bytes(code + at, off - b - idx, dl);
	}
	return t;
}

/* Immediates near what matters: shift counts, signs, small sizes for ENTER. */
static void immediates(struct making *m, struct insn *in, u8 *code)
{
	struct gen *g = m->g;
	unsigned n = in->imm_len;

	if (!n)
		return;
	if (in->op == OP_ENTER) {
		put_bytes(code + in->len - 3, chance(g, 90) ? below(g, 80) : rnd(g), 2);
		code[in->len - 1] = (u8)(chance(g, 80) ? below(g, 4) : rnd(g));
		return;
	}
	if (in->op == OP_RET) {
		put_bytes(code + in->len - 2, chance(g, 90) ? below(g, 64) : rnd(g), 2);
		return;
	}
	for (unsigned i = 0; i < in->nopd; i++)
		if (in->opd[i].kind == OPD_REL)
			return;
	if (chance(g, 70))
		put_bytes(code + in->len - n, value(g), n);
	if (in->desc->cls == CL_SHIFT && chance(g, 70))
		code[in->len - 1] = (u8)below(g, 68);
}

static void patch(struct making *m, u64 la, u64 v, unsigned len)
{
	struct diff_case *c = m->c;
	struct diff_patch *p = &c->patch[c->npatch];

	if (c->npatch == PATCH_MAX || la < WIN_BASE || la + len > WIN_BASE + WIN_SIZE)
		return;
	p->off = (u16)(la - WIN_BASE);
	p->len = (u8)len;
	put_le64(p->byte, v);
	c->npatch++;
}

/* A selector: the good ones, their neighbours with other RPLs, system segments, beyond tables. */
static u16 selector(struct gen *g)
{
	static const u16 gdt[] = { 0, 3, 0x23, 0x2b, 0x33, 0x23, 0x2b, 0x33, 0x20, 0x29, 0x32, 0x0b,
				   0x10, 0x13, 0x18, 0x1b, 0x40, 0x43, 0x53, 0x48, 0x63, 0x80, 0x83 };

	switch (below(g, 8)) {
	case 0: return (u16)rnd(g);
	case 1: return (u16)(below(g, LDT_N + 2) << 3 | 4 | below(g, 4));
	case 2: case 3: return LDT_SEL(below(g, LDT_N));
	default: return gdt[below(g, ARRAY_SIZE(gdt))];
	}
}

static u16 code_selector(struct gen *g)
{
	static const u16 code[] = { SEL_CS64, SEL_CS32, LDT_SEL(LDT_CODE16), LDT_SEL(LDT_CODE32) };

	return chance(g, 70) ? code[below(g, 4)] : selector(g);
}

/* Operand @i, a selector: in a register or in memory at @mem. */
static void put_selector(struct making *m, const struct insn *in, unsigned i, u64 mem)
{
	u16 sel = selector(m->g);

	if (in->opd[i].kind == OPD_MEM)
		patch(m, mem, sel, 2);
	else if (in->opd[i].kind == OPD_GPR && !(m->claimed >> in->opd[i].reg & 1))
		m->c->gpr[in->opd[i].reg] = (m->c->gpr[in->opd[i].reg] & ~0xffffull) | sel;
}

/* A far pointer to the INT3 behind the code, at @la in the window. */
static void put_far(struct making *m, u64 la, unsigned size, u16 sel, unsigned len)
{
	struct diff_case *c = m->c;
	u64 ip = c->at + c->code_len + len - diff_seg_base(sel);

	patch(m, la, chance(m->g, 92) ? ip : value(m->g), size);
	patch(m, la + size, sel, 2);
}

/* Segment loads and far transfers. Far transfers change the mode: they are cases of their own. */
static void far_operands(struct making *m, const struct insn *in, u8 *code, u64 mem)
{
	struct gen *g = m->g;
	struct diff_case *c = m->c;
	u64 sp = c->gpr[RSP] + seg_base(c, SEG_SS);
	unsigned size = in->opsize, i;
	u16 sel;

	switch (in->op) {
	case OP_MOV_SEG:
		if (in->opd[0].kind == OPD_SEG)
			put_selector(m, in, 1, mem);
		return;
	case OP_POP_SEG:
		patch(m, sp, selector(g), 2);
		return;
	case OP_LES: case OP_LDS: case OP_LSS: case OP_LFS: case OP_LGS:
		patch(m, mem + size, selector(g), 2);
		return;
	case OP_LAR: case OP_LSL:
		put_selector(m, in, 1, mem);
		return;
	case OP_ARPL:
		put_selector(m, in, 1, mem);
		put_selector(m, in, 0, mem);
		return;
	case OP_VERR: case OP_VERW:
		put_selector(m, in, 0, mem);
		return;
	case OP_JMPF: case OP_CALLF:
		sel = code_selector(g);
		if (in->opd[0].kind == OPD_MEM) {
			put_far(m, mem, size, sel, in->len);
			return;
		}
		i = in->len - in->imm_len;
		put_bytes(code + i, c->at + c->code_len + in->len - diff_seg_base(sel), size);
		put_bytes(code + i + size, sel, 2);
		return;
	case OP_RETF:
		put_far(m, sp, size, code_selector(g), in->len);
		return;
	case OP_IRET:
		sel = code_selector(g);
		put_far(m, sp, size, sel, in->len);
		patch(m, sp + 2 * size, (rnd(g) & ~(u64)(chance(g, 90) ? FL_TF : 0)) | FL_IF, size);
		if (c->mode == 8) {
			patch(m, sp + 3 * size, chance(g, 80) ? sp + below(g, 64) : value(g), size);
			patch(m, sp + 4 * size, chance(g, 60) ? SEL_DS : selector(g), 2);
		}
		return;
	default:
		return;
	}
}

static bool is_far(const struct insn *in)
{
	return in->op == OP_JMPF || in->op == OP_CALLF || in->op == OP_RETF || in->op == OP_IRET;
}

/* Registers that instructions use without naming them in the encoding. */
static void implied(struct making *m, const struct insn *in, u64 mem)
{
	struct gen *g = m->g;
	struct diff_case *c = m->c;
	unsigned ad = in->adsize == 8 ? 8 : in->adsize;
	u64 t;

	switch (in->op) {
	case OP_MOVS: case OP_CMPS: case OP_STOS: case OP_LODS: case OP_SCAS:
		if (!(m->claimed >> RSI & 1)) {
			t = target(m, in->opsize) - seg_base(c, in->seg);
			set_reg(m, RSI, ad == 2 ? (t & 0xffff) | (rnd(g) << 16) : t);
		}
		if (!(m->claimed >> RDI & 1)) {
			t = target(m, in->opsize) - seg_base(c, SEG_ES);
			if (chance(g, 10))	/* overlapping source and destination */
				t = c->gpr[RSI] + below(g, 32) - 16;
			set_reg(m, RDI, ad == 2 ? (t & 0xffff) | (rnd(g) << 16) : t);
		}
		if (in->rep && !(m->claimed >> RCX & 1)) {
			t = chance(g, 60) ? below(g, 20) : chance(g, 90) ? below(g, 700) : 0;
			set_reg(m, RCX, t | (ad < 8 && chance(g, 50) ? rnd(g) & ~mask_of(ad) : 0));
		}
		return;
	case OP_XLAT:
		set_reg(m, RBX, target(m, 1) - seg_base(c, in->seg));
		return;
	case OP_MASKMOVQ: case OP_MASKMOVDQU: case OP_VMASKMOVDQU:
		set_reg(m, RDI, target(m, 16) - seg_base(c, in->seg));
		return;
	case OP_DIV: case OP_IDIV:
		if (chance(g, 70)) {
			set_reg(m, RDX, in->op == OP_IDIV && chance(g, 40) ? UINT64_MAX : below(g, 2));
			if (chance(g, 50))
				c->gpr[RAX] = value(g);
		}
		return;
	case OP_CMPXCHG:
		if (in->opd[0].kind == OPD_GPR && chance(g, 50))
			c->gpr[RAX] = c->gpr[in->opd[0].reg];
		else if (chance(g, 50))
			patch(m, mem, c->gpr[RAX], 8);
		return;
	case OP_CMPXCHG8B: case OP_CMPXCHG16B:
		if (chance(g, 60)) {
			unsigned half = in->op == OP_CMPXCHG8B ? 4 : 8;

			patch(m, mem, c->gpr[RAX], half);
			patch(m, mem + half, c->gpr[RDX], half);
		}
		return;
	case OP_BT: case OP_BTS: case OP_BTR: case OP_BTC:
		if (in->has_mem && in->opd[1].kind == OPD_GPR && in->opd[1].reg != in->base &&
		    in->opd[1].reg != in->index && chance(g, 80))
			c->gpr[in->opd[1].reg] = (u64)(s64)(s16)(rnd(g) & 0x8fff) ;
		return;
	case OP_LOOP: case OP_LOOPE: case OP_LOOPNE: case OP_JCXZ:
		if (!(m->claimed >> RCX & 1))
			set_reg(m, RCX, below(g, 12) | (chance(g, 30) ? rnd(g) & ~0xffffull : 0));
		return;
	case OP_XGETBV:
		set_reg(m, RCX, chance(g, 70) ? 0 : value(g));
		return;
	case OP_BOUND:
		if (chance(g, 50))
			c->gpr[in->opd[0].reg] = below(g, 100);
		return;
	default:
		return;
	}
}

/* Where processors do as they like, and the decoder had to choose:
 *   - VPINSRD and VPEXTRD with VEX.W outside 64-bit mode: Intel ignores W, AMD raises #UD;
 *   - MOVSXD with a 16-bit operand: Intel loads 16 bits from memory, AMD 32;
 *   - F2 and F3 before LOOPE and LOOPNE: AMD lets them turn the condition. */
static bool vendors_differ(const struct insn *in)
{
	if ((in->op == OP_VPINSRD || in->op == OP_VPEXTRD) && in->mode != 8)
		return in->vex_w;
	if (in->op == OP_MOVSXD && in->opsize == 2)
		return true;
	if (in->op == OP_INT && in->imm == 0x80)	/* Linux' own */
		return true;
	return (in->op == OP_LOOPE || in->op == OP_LOOPNE) && in->rep;
}

/* Comes out differently each time: fit for a case of its own, where the result is left out. */
static bool is_random(const struct insn *in)
{
	return in->op == OP_RDRAND || in->op == OP_RDSEED;
}

/* Where may the branch at @i go? Backwards only LOOPs, and only when nothing between touches RCX:
 * no case may run for ever. */
static s8 pick_target(struct making *m, const struct insn *ins, unsigned i, unsigned n)
{
	struct gen *g = m->g;
	unsigned op = ins[i].op;

	if (i > 0 && chance(g, 60) && (op == OP_LOOP || op == OP_LOOPE || op == OP_LOOPNE)) {
		unsigned to = below(g, i);

		for (unsigned k = to; k < i; k++) {
			const struct insn *x = &ins[k];

			if (!x->desc || x->desc->cls == CL_BRANCH || x->desc->cls == CL_STRING ||
			    x->desc->cls == CL_STACK || x->desc->cls == CL_ATOMIC)
				return (s8)(i + 1 + below(g, n - i));
			for (unsigned o = 0; o < x->nopd; o++)
				if (x->opd[o].kind == OPD_GPR && x->opd[o].write &&
				    x->opd[o].reg <= RBX)
					return (s8)(i + 1 + below(g, n - i));
		}
		return (s8)to;
	}
	return (s8)(i + 1 + below(g, n - i));
}

void gen_layout(struct diff_case *c)
{
	u8 old[SLOT_SIZE];
	unsigned at = 0;

	memcpy(old, c->code, sizeof(old));
	for (unsigned i = 0; i < c->n; i++) {
		memmove(c->code + at, old + c->insn[i].off, c->insn[i].len);
		c->insn[i].off = (u8)at;
		at += c->insn[i].len;
	}
	c->code_len = (u8)at;
	for (unsigned i = 0; i < c->n; i++) {
		struct diff_insn *x = &c->insn[i];
		unsigned to;

		if (!x->rel_len)
			continue;
		to = x->target < 0 || x->target >= c->n ? at : c->insn[x->target].off;
		put_bytes(c->code + x->off + x->rel_off, (u64)to - (x->off + x->len), x->rel_len);
	}
	if (c->edge)
		c->at = CODE_BASE + CODE_SIZE - at;
}

static void registers(struct making *m)
{
	struct gen *g = m->g;
	struct diff_case *c = m->c;
	u64 sp = WIN_BASE + 1024 + below(g, WIN_SIZE - 2048);

	for (unsigned i = 0; i < 16; i++)
		c->gpr[i] = value(g);
	if (chance(g, 80))
		sp &= ~7ull;
	if (chance(g, m->single ? 6 : 1))
		sp = target(m, 8);
	sp -= seg_base(c, SEG_SS);
	c->gpr[RSP] = sp;
	if (chance(g, 70))
		c->gpr[RBP] = sp + below(g, 256);
	m->claimed = 1u << RSP;
	c->flags = 0x202 | (u32)(rnd(g) & FL_OSZAPC);
	if (chance(g, 20))
		c->flags |= FL_DF;
	if (chance(g, 2))
		c->flags |= FL_AC;
	if (chance(g, 1))
		c->flags |= FL_TF;
	if (chance(g, 2))
		c->flags |= FL_NT;
	if (chance(g, 2))
		c->flags |= FL_ID;
	/* Not far from 0: AMD finds an offset not canonical also where base and offset together are. */
	c->fs_base = chance(g, 80) ? WIN_BASE + below(g, 512) : (u32)rnd(g);
	c->gs_base = chance(g, 80) ? WIN_BASE - below(g, 512) : (u32)rnd(g);
}

/* Half of a sequence's instructions should find their pointers in order. */
static void extended(struct making *m)
{
	struct gen *g = m->g;

	memcpy(m->c->xs, g->xs[below(g, XS_POOL)], XS_SIZE);
	if (chance(g, 30)) {
		unsigned r = below(g, 16);

		memcpy(m->c->xs + 160 + 16 * r, g->pool + 16 * below(g, POOL_SIZE / 16), 16);
		memcpy(m->c->xs + XS_YMM + 16 * r, g->pool + 16 * below(g, POOL_SIZE / 16), 16);
	}
}

/* Near indirect branches and RET get somewhere to go. */
static void indirect(struct making *m, const struct insn *in, u64 mem)
{
	struct gen *g = m->g;
	struct diff_case *c = m->c;
	const struct diff_segs *s = &diff_segs[mode_index(c->mode)][c->segs];
	u64 ip = c->at - diff_seg_base(s->cs) + c->code_len;

	if (chance(g, 25))
		return;
	if (in->op == OP_RET)
		patch(m, c->gpr[RSP] + seg_base(c, SEG_SS), ip, in->opsize);
	else if (in->opd[0].kind == OPD_GPR)
		c->gpr[in->opd[0].reg] = ip;
	else if (in->opd[0].kind == OPD_MEM)
		patch(m, mem, ip, in->opsize);
}

static unsigned pick_mode(struct gen *g)
{
	unsigned k;

	if (g->o.mode)
		return g->o.mode;
	do {
		k = below(g, 100);
		k = k < 60 ? 2 : k < 85 ? 1 : 0;
	} while (!g->nlist[k]);
	return 2u << k;
}

void gen_case(struct gen *g, struct diff_case *c, unsigned slot)
{
	struct making m = { .g = g, .c = c };
	struct insn ins[INSNS_MAX];
	u64 mem[INSNS_MAX];
	unsigned want, mi;
	bool undef;

	memset(c, 0, offsetof(struct diff_case, xs));
	c->mode = (u8)pick_mode(g);
	mi = mode_index(c->mode);
	c->segs = (u8)(chance(g, 50) ? 0 : below(g, SEGS_N));
	c->at = CODE_BASE + slot * SLOT_SIZE;
	c->edge = slot == BATCH - 1;
	want = chance(g, 60) || g->o.cls == DIFF_CLASS_UNDEFINED ? 1 : 2 + below(g, INSNS_MAX - 1);
	m.single = want == 1;
	undef = g->o.cls == DIFF_CLASS_UNDEFINED || (!g->o.op && g->o.cls < 0 && chance(g, 3));
	c->pool_off = 64 * below(g, (POOL_SIZE - WIN_SIZE) / 64);
	registers(&m);
	extended(&m);
	while (c->n < want) {
		unsigned row = g->list[mi][below(g, g->nlist[mi])];
		struct diff_insn *x = &c->insn[c->n];
		struct insn *in = &ins[c->n];
		u8 bytes[16];

		if (m.single && !c->edge && undef ? encode_undefined(g, c->mode, in, bytes) < 0 :
						    encode(g, row, c->mode, in, bytes) < 0) {
			if (!c->n)	/* not in this mode: another row */
				continue;
			break;
		}
		if (!in->desc && (!m.single || c->edge))
			continue;
		if (in->desc && (((is_random(in) || is_far(in)) && !m.single) || vendors_differ(in)))
			continue;
		if (c->code_len + in->len + 1u > SLOT_SIZE)
			break;
		x->row = in->desc ? (u16)row : UINT16_MAX;
		x->off = c->code_len;
		x->len = in->len ? in->len : 1;
		mem[c->n] = 0;
		if (in->desc) {
			if (in->has_mem)
				mem[c->n] = aim(&m, in, bytes, c->at + x->off);
			immediates(&m, in, bytes);
			implied(&m, in, mem[c->n]);
			far_operands(&m, in, bytes, mem[c->n]);
			for (unsigned i = 0; i < in->nopd; i++)
				if (in->opd[i].kind == OPD_REL &&
				    (!m.single || in->imm_len < 4 || chance(g, 85))) {
					x->rel_len = in->imm_len;
					x->rel_off = (u8)(in->len - in->imm_len);
				}
		}
		memcpy(c->code + x->off, bytes, x->len);
		c->code_len = (u8)(c->code_len + x->len);
		c->n++;
	}
	for (unsigned i = 0; i < c->n; i++)
		if (c->insn[i].rel_len)
			c->insn[i].target = pick_target(&m, ins, i, c->n);
	gen_layout(c);
	for (unsigned i = 0; i < c->n; i++)
		if (ins[i].desc && (ins[i].op == OP_RET || ins[i].op == OP_JMP ||
				    ins[i].op == OP_CALL) && !c->insn[i].rel_len)
			indirect(&m, &ins[i], mem[i]);
	if (c->mode != 8)		/* what 32-bit code cannot see is zero */
		for (unsigned i = 0; i < 16; i++)
			c->gpr[i] = i < 8 ? (u32)c->gpr[i] : 0;
}

struct gen *gen_new(const struct gen_opts *o, struct err *e)
{
	struct gen *g = calloc(1, sizeof(*g));

	g->o = *o;
	g->s[0] = o->seed * 0x9e3779b97f4a7c15ull + 1;
	g->s[1] = ~o->seed ^ 0xbf58476d1ce4e5b9ull;
	for (unsigned i = 0; i < 16; i++)
		rnd(g);
	g->pool = malloc(POOL_SIZE + 64);
	g->xs = malloc(XS_POOL * sizeof(*g->xs));
	g->row = calloc(insn_table_size, sizeof(*g->row));
	for (unsigned i = 0; i < 3; i++)
		g->list[i] = malloc(insn_table_size * sizeof(u16));
	fill_pool(g);
	for (unsigned i = 0; i < XS_POOL; i++)
		fill_xs(g, g->xs[i]);
	index_rows(g);
	if (g->nlist[0] + g->nlist[1] + g->nlist[2] == 0) {
		gen_free(g);
		err_set(e, EINVAL, "no instruction of that name, class and mode");
		return NULL;
	}
	return g;
}

void gen_free(struct gen *g)
{
	if (!g)
		return;
	for (unsigned i = 0; i < 3; i++)
		free(g->list[i]);
	free(g->row);
	free(g->xs);
	free(g->pool);
	free(g);
}
