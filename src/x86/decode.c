/* SPDX-License-Identifier: GPL-2.0-or-later */
/* decode.c - bytes to struct insn, driven by the table.
 * After: Intel SDM vol. 2, ch. 2 and app. A; AMD APM vol. 3, ch. 1 and app. A.
 *
 * An instruction is: legacy prefixes in any order and number; REX, which counts only when it is
 * last before the opcode; opcode or VEX prefix and opcode; ModRM, SIB, displacement, immediates.
 * The prefixes, the ModRM byte and the mode together make the key by which a row of the opcode's
 * slot is chosen (encoding.h); the row's operand codes then say what follows.
 *
 * Where Intel and AMD differ, this decoder follows AMD, as penta's CPU models do (vm/cpuid.c); each
 * rule was tried on silicon (Zen 5):
 *   - near branches in 64-bit code heed 66: RIP is cut to 16 bits, displacement and stack slot have
 *     16 bits, unless REX.W is there, too (Intel ignores 66);
 *   - far pointers in memory have offsets of at most 32 bits, also under REX.W (Intel: 64);
 *   - LOCK MOV CR0 is MOV CR8; the reader checks F_CR8LEGACY;
 *   - 0f 0d has no register form.
 * Features are the caller's matter: TZCNT, LZCNT, ENDBR, WBNOINVD and the like are decoded as such,
 * and whoever executes them does what a CPU without the feature does. */
#include "x86/encoding.h"
#include <errno.h>
#include <string.h>

#define INSN_MAX 15

struct dec {
	struct insn *in;
	const u8 *p;
	size_t avail;
	unsigned pos;
	u8 rex_w, rex_r, rex_x, rex_b;	/* 0 or 1 (w), 0 or 8 (r x b); from REX or VEX */
	u8 seg;				/* override, SEG_N: none */
	u8 rep;				/* last of F2 F3 */
	bool p66, p67;
};

/* Are @n more bytes there? A byte that cannot be read faults before the length does. */
static inline int need(struct dec *d, unsigned n)
{
	if (likely(d->pos + n <= d->avail && d->pos + n <= INSN_MAX))
		return 0;
	return d->avail < INSN_MAX && d->pos + n > d->avail ? -EAGAIN : -E2BIG;
}

static int get_s(struct dec *d, unsigned n, s64 *v)
{
	int r = need(d, n);
	const u8 *p = d->p + d->pos;

	if (r)
		return r;
	switch (n) {
	case 1: *v = (s8)*p; break;
	case 2: { s16 t; memcpy(&t, p, 2); *v = t; break; }
	case 4: { s32 t; memcpy(&t, p, 4); *v = t; break; }
	default: memcpy(v, p, 8); break;
	}
	d->pos += n;
	return 0;
}

/* Legacy prefixes and REX up to the first byte that is none, which stays in *@b (consumed). */
static int prefixes(struct dec *d, unsigned mode, u8 *b)
{
	struct insn *in = d->in;
	u8 rex = 0;
	int r;

	for (;; d->pos++) {
		if ((r = need(d, 1)))
			return r;
		*b = d->p[d->pos];
		switch (*b) {
		case 0x26: case 0x2e: case 0x36: case 0x3e:
			/* In 64-bit code ES CS SS DS overrides do nothing, also not to FS or GS. */
			if (mode != 8)
				d->seg = SEG_ES + ((*b >> 3) & 3);
			break;
		case 0x64: d->seg = SEG_FS; break;
		case 0x65: d->seg = SEG_GS; break;
		case 0x66: d->p66 = true; break;
		case 0x67: d->p67 = true; break;
		case 0xf0: in->lock = true; break;
		case 0xf2: case 0xf3: d->rep = *b; break;
		default:
			if (mode == 8 && (*b & 0xf0) == 0x40) {
				rex = *b;
				continue;
			}
			d->pos++;
			in->rex = rex;
			d->rex_w = (rex >> 3) & 1;
			d->rex_r = (rex & 4) << 1;
			d->rex_x = (rex & 2) << 2;
			d->rex_b = (rex & 1) << 3;
			return 0;
		}
		rex = 0;
	}
}

/* C4 or C5 was seen and is no LES or LDS. Leaves the opcode byte to be read. */
static int vex_prefix(struct dec *d, u8 first, unsigned *map)
{
	struct insn *in = d->in;
	unsigned n = first == 0xc4 ? 2 : 1, m = 1;
	u8 b, last;
	int r;

	if (d->p66 || d->rep || in->lock || in->rex)
		return -EILSEQ;
	if ((r = need(d, n)))
		return r;
	b = d->p[d->pos];
	last = d->p[d->pos + n - 1];
	d->pos += n;
	d->rex_r = b & 0x80 ? 0 : 8;
	if (n == 2) {
		d->rex_x = b & 0x40 ? 0 : 8;
		d->rex_b = b & 0x20 ? 0 : 8;
		d->rex_w = last >> 7;
		m = b & 0x1f;
	}
	in->vex = true;
	in->vex_w = d->rex_w;
	in->vex_l = (last >> 2) & 1;
	in->vvvv = (~last >> 3) & 15;
	in->pp = last & 3;
	if (in->mode != 8)
		d->rex_r = d->rex_x = d->rex_b = 0;
	if (m < 1 || m > 3)
		return -EILSEQ;
	*map = m;
	return 0;
}

/* 16-bit addressing: SDM vol. 2, table 2-1. */
static int modrm_mem16(struct dec *d, unsigned mod, unsigned rm)
{
	static const u8 bases[8] = { RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX };
	static const u8 indexes[4] = { RSI, RDI, RSI, RDI };
	struct insn *in = d->in;

	if (mod == 0 && rm == 6)
		return get_s(d, 2, &in->disp);
	in->base = bases[rm];
	if (rm < 4)
		in->index = indexes[rm];
	return mod ? get_s(d, mod, &in->disp) : 0;
}

/* 32- and 64-bit addressing: tables 2-2 and 2-3, 2.2.1.6 (RIP-relative), 2.3.12 (VSIB). */
static int modrm_mem(struct dec *d, unsigned mod, unsigned rm, unsigned vsib)
{
	struct insn *in = d->in;
	u8 sib;
	int r;

	if (rm == 4) {
		if ((r = need(d, 1)))
			return r;
		sib = d->p[d->pos++];
		rm = sib & 7;
		in->scale = sib >> 6;
		if (vsib) {
			in->vsib = vsib;
			in->vsib_reg = ((sib >> 3) & 7) | d->rex_x;
		} else {
			in->index = ((sib >> 3) & 7) | d->rex_x;
			if (in->index == RSP) {
				in->index = REG_ZERO;
				in->scale = 0;
			}
		}
		if (mod == 0 && rm == 5)
			return get_s(d, 4, &in->disp);
		in->base = rm | d->rex_b;
	} else if (vsib) {
		return -EILSEQ;
	} else if (mod == 0 && rm == 5) {
		in->rip_rel = in->mode == 8;
		return get_s(d, 4, &in->disp);
	} else {
		in->base = rm | d->rex_b;
	}
	return mod == 1 ? get_s(d, 1, &in->disp) : mod == 2 ? get_s(d, 4, &in->disp) : 0;
}

static unsigned operand_size(const struct dec *d, const struct insn_enc *e)
{
	u32 attr = d->in->desc->attr;
	bool p66 = d->p66 && !(e->flags & ENC_66);

	if (d->in->mode != 8)
		return p66 ? 6 - d->in->mode : d->in->mode;
	if (attr & A_F64)
		return 8;
	if (d->rex_w)
		return 8;
	if (p66)
		return 2;
	return attr & A_D64 ? 8 : 4;
}

/* Bytes of a size code, for a register or for memory where that differs. */
static unsigned size_of(const struct insn *in, bool rex_w, unsigned sz, bool mem)
{
	switch (sz) {
	case SZ_B: case SZ_BS: return 1;
	case SZ_W: return 2;
	case SZ_D: case SZ_SS: return 4;
	case SZ_Q: case SZ_SD: return 8;
	case SZ_T: return 10;
	case SZ_DQ: return 16;
	case SZ_QQ: return 32;
	case SZ_X: case SZ_PS: case SZ_PD: return in->vex_l ? 32 : 16;
	case SZ_V: return in->opsize;
	case SZ_Z: return MIN(in->opsize, 4);
	case SZ_Y: return in->mode == 8 && rex_w ? 8 : 4;
	case SZ_F: return in->mode == 8 ? 8 : 4;
	case SZ_P: return MIN(in->opsize, 4) + 2;
	case SZ_A: return in->opsize * 2;
	case SZ_S: return in->mode == 8 ? 10 : 6;
	case SZ_ENV: return in->opsize == 2 ? 14 : 28;
	case SZ_SAVE: return in->opsize == 2 ? 94 : 108;
	case SZ_VW: return mem ? 2 : in->opsize;
	case SZ_DW: return mem ? 2 : 4;
	case SZ_DB: return mem ? 1 : 4;
	default: return 0;
	}
}

static void set_gpr(struct dec *d, struct operand *o, unsigned reg)
{
	o->kind = OPD_GPR;
	o->reg = reg;
	if (o->size == 1 && !d->in->rex && !d->in->vex && reg >= 4 && reg < 8) {
		o->reg = reg - 4;
		o->high8 = 1;
	}
}

static void set_vec(struct operand *o, unsigned reg)
{
	o->kind = o->size == 32 ? OPD_YMM : OPD_XMM;
	o->reg = reg;
}

static u64 truncate(s64 v, unsigned size)
{
	return size == 8 ? (u64)v : (u64)v & (BIT(size * 8) - 1);
}

static int immediate(struct dec *d, struct operand *o, unsigned sz)
{
	struct insn *in = d->in;
	unsigned n = o->size;
	s64 v;
	int r;

	if (sz == SZ_BS) {
		n = 1;
		o->size = in->opsize;
	} else if (sz == SZ_Z) {
		o->size = in->opsize;
	}
	if ((r = get_s(d, n, &v)))
		return r;
	o->kind = OPD_IMM;
	if (in->imm_len) {	/* ENTER, EXTRQ, INSERTQ */
		o->reg = 1;
		in->imm2 = truncate(v, o->size);
	} else {
		in->imm = truncate(v, o->size);
	}
	in->imm_len += n;
	return 0;
}

/* The operand that @am and @o->size say. May read immediates: in their order. */
static int operand(struct dec *d, const struct insn_enc *e, unsigned i, struct operand *o)
{
	struct insn *in = d->in;
	unsigned am = e->opd[i].am, sz = e->opd[i].sz, mod, reg, rm;
	bool mem;
	s64 v;
	int r;

	mod = e->flags & ENC_MOD3 ? 3 : in->modrm >> 6;
	reg = (in->modrm >> 3) & 7;
	rm = in->modrm & 7;
	mem = mod != 3;
	o->read = !!(e->opd[i].access & ACC_R);
	o->write = !!(e->opd[i].access & ACC_W);
	o->size = size_of(in, d->rex_w, sz, mem);
	switch (am) {
	case AM_E: case AM_M: case AM_R:
		if (mem)
			o->kind = OPD_MEM;
		else
			set_gpr(d, o, rm | d->rex_b);
		return 0;
	case AM_VM32X: case AM_VM32Y: case AM_VM64X: case AM_VM64Y:
		o->kind = OPD_MEM;
		return 0;
	case AM_G:
		set_gpr(d, o, reg | d->rex_r);
		return 0;
	case AM_B:
		o->kind = OPD_GPR;
		o->reg = in->vvvv & (in->mode == 8 ? 15 : 7);
		return 0;
	case AM_Z:
		set_gpr(d, o, (in->opcode & 7) | d->rex_b);
		return 0;
	case AM_REG:
		o->kind = OPD_GPR;
		o->reg = e->opd[i].reg;
		return 0;
	case AM_P:
		o->kind = OPD_MM;
		o->reg = reg;
		return 0;
	case AM_Q: case AM_N:
		o->kind = mem ? OPD_MEM : OPD_MM;
		o->reg = mem ? 0 : rm;
		return 0;
	case AM_V:
		set_vec(o, reg | d->rex_r);
		return 0;
	case AM_W: case AM_U:
		if (mem)
			o->kind = OPD_MEM;
		else
			set_vec(o, rm | d->rex_b);
		return 0;
	case AM_H:
		set_vec(o, in->vvvv & (in->mode == 8 ? 15 : 7));
		return 0;
	case AM_L:
		if ((r = get_s(d, 1, &v)))
			return r;
		in->imm = (u8)v;
		in->imm_len = 1;
		set_vec(o, ((u8)v >> 4) & (in->mode == 8 ? 15 : 7));
		return 0;
	case AM_XMM0:
		o->kind = OPD_XMM;
		return 0;
	case AM_ST: case AM_STI:
		o->kind = OPD_ST;
		o->reg = am == AM_STI ? rm : 0;
		return 0;
	case AM_I:
		return immediate(d, o, sz);
	case AM_ONE:
		o->kind = OPD_IMM;
		in->imm = 1;
		return 0;
	case AM_J:
		if ((r = get_s(d, o->size, &v)))
			return r;
		in->imm = v;
		in->imm_len = o->size;
		o->kind = OPD_REL;
		o->size = in->opsize;
		return 0;
	case AM_A:
		if ((r = get_s(d, in->opsize, &v)))
			return r;
		in->imm = truncate(v, in->opsize);
		if ((r = get_s(d, 2, &v)))
			return r;
		in->imm2 = (u16)v;
		in->imm_len = in->opsize + 2;
		o->kind = OPD_FAR;
		return 0;
	case AM_O:
		if ((r = get_s(d, in->adsize, &in->disp)))
			return r;
		in->disp = truncate(in->disp, in->adsize);
		in->has_mem = true;
		o->kind = OPD_MEM;
		return 0;
	case AM_SEGREG:
		o->kind = OPD_SEG;
		o->reg = e->opd[i].reg;
		return 0;
	case AM_S:
		o->kind = OPD_SEG;
		o->reg = reg;
		return reg > SEG_GS || (o->write && reg == SEG_CS) ? -EILSEQ : 0;
	case AM_C:
		o->kind = OPD_CR;
		if (e->flags & ENC_LOCK && d->rex_r)
			return -EILSEQ;
		o->reg = (e->flags & ENC_LOCK ? 8 : reg) | d->rex_r;
		return BIT(o->reg) & (BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(8)) ? 0 : -EILSEQ;
	case AM_D:
		o->kind = OPD_DR;
		o->reg = reg | d->rex_r;
		return o->reg > 7 ? -EILSEQ : 0;
	default:
		return -EILSEQ;
	}
}

static unsigned vsib_size(const struct insn_enc *e)
{
	for (unsigned i = 0; i < e->nopd; i++) {
		if (e->opd[i].am == AM_VM32X || e->opd[i].am == AM_VM64X)
			return 16;
		if (e->opd[i].am == AM_VM32Y || e->opd[i].am == AM_VM64Y)
			return 32;
	}
	return 0;
}

static int lookup(struct dec *d, unsigned map)
{
	struct insn *in = d->in;
	unsigned slot_map = in->vex ? map + 3 : map;
	const struct insn_slot *s = &insn_slots[slot_map][in->opcode];
	u32 key;
	int r;

	if (!s->n)
		return -EILSEQ;
	key = d->rex_w << K_W | in->vex_l << K_L | (in->mode == 8) << K_64 |
	      (d->rex_b != 0) << K_B | in->lock << K_LOCK;
	if (in->vex)
		key |= (in->pp == 1) << K_66 | (in->pp == 2) << K_F3 | (in->pp == 3) << K_F2;
	else
		key |= d->p66 << K_66 | (d->rep == 0xf3) << K_F3 | (d->rep == 0xf2) << K_F2;
	if (s->modrm) {
		if ((r = need(d, 1)))
			return r;
		in->modrm_off = d->pos;
		in->modrm = d->p[d->pos++];
		key |= (in->modrm >= 0xc0) << K_MOD3 | ((in->modrm >> 3) & 7) << K_REG |
		       (in->modrm & 7) << K_RM;
	}
	for (unsigned i = 0; i < s->n; i++) {
		unsigned row = insn_cands[s->first + i];

		if ((key & insn_encs[row].mask) == insn_encs[row].value)
			return row;
	}
	return -EILSEQ;
}

/* The rows where prefixes were part of the opcode, or repeat. */
static void note_prefixes(struct dec *d, const struct insn_enc *e)
{
	struct insn *in = d->in;

	if (in->vex)
		return;
	if (e->flags & ENC_REP)
		in->pp = d->rep == 0xf3 ? 2 : 3;
	else if (e->flags & ENC_66)
		in->pp = 1;
	if (!(e->flags & ENC_REP))
		in->rep = d->rep;
}

/* INS, OUTS and their like: no explicit operands, but the operand size is the element's. */
static void string_size(struct insn *in, const struct insn_enc *e)
{
	for (unsigned i = 0; i < e->nopd; i++) {
		if (e->opd[i].am != AM_X && e->opd[i].am != AM_Y)
			continue;
		if (e->opd[i].sz == SZ_B)
			in->opsize = 1;
		else if (e->opd[i].sz == SZ_Z)
			in->opsize = MIN(in->opsize, 4);
	}
}

static int gather_distinct(const struct insn *in)
{
	return in->vsib_reg == in->opd[0].reg || in->vsib_reg == in->opd[2].reg ||
	       in->opd[0].reg == in->opd[2].reg ? -EILSEQ : 0;
}

/* What follows prefixes and opcode, by @row. */
static int by_row(struct dec *d, unsigned row)
{
	struct insn *in = d->in;
	const struct insn_enc *e = &insn_encs[row];
	unsigned vsib;
	int r;

	in->desc = &insn_table[row];
	in->op = in->desc->op;
	in->opsize = operand_size(d, e);
	note_prefixes(d, e);
	if (in->vex && !(e->flags & ENC_VVVV) && in->vvvv)
		return -EILSEQ;
	if (in->modrm_off && in->modrm < 0xc0 && !(e->flags & ENC_MOD3)) {
		in->has_mem = true;
		vsib = vsib_size(e);
		if (in->adsize == 2)
			r = vsib ? -EILSEQ : modrm_mem16(d, in->modrm >> 6, in->modrm & 7);
		else
			r = modrm_mem(d, in->modrm >> 6, in->modrm & 7, vsib);
		if (r)
			return r;
	}
	if (d->seg != SEG_N)
		in->seg = d->seg;
	else
		in->seg = in->base == RSP || in->base == RBP ? SEG_SS : SEG_DS;
	if (in->desc->attr & A_REP) {
		string_size(in, e);
	} else {
		for (unsigned i = 0; i < e->nopd; i++)
			if ((r = operand(d, e, i, &in->opd[i])))
				return r;
		in->nopd = e->nopd;
	}
	if (in->lock && !(e->flags & ENC_LOCK) &&
	    (!(in->desc->attr & A_LOCK) || in->opd[0].kind != OPD_MEM))
		return -EILSEQ;
	return in->vsib ? gather_distinct(in) : 0;
}

int insn_decode(struct insn *in, const u8 *p, size_t avail, unsigned mode)
{
	struct dec d = { .in = in, .p = p, .avail = avail, .seg = SEG_N };
	unsigned map = 0;
	u8 b;
	int r;

	memset(in, 0, sizeof(*in));
	in->mode = mode;
	in->base = in->index = REG_ZERO;
	in->seg = SEG_DS;
	if ((r = prefixes(&d, mode, &b)))
		goto out;
	if (d.seg != SEG_N)
		in->seg = d.seg;
	in->adsize = d.p67 ? (mode == 4 ? 2 : 4) : mode;
	if (b == 0xc4 || b == 0xc5) {
		if ((r = need(&d, 1)))
			goto out;
		if (mode == 8 || p[d.pos] >= 0xc0) {
			if ((r = vex_prefix(&d, b, &map)) || (r = need(&d, 1)))
				goto out;
			b = p[d.pos++];
		}
	}
	if (b == 0x0f && !in->vex) {
		if ((r = need(&d, 1)))
			goto out;
		b = p[d.pos++];
		map = b == 0x38 ? 2 : b == 0x3a ? 3 : 1;
		if (map > 1) {
			if ((r = need(&d, 1)))
				goto out;
			b = p[d.pos++];
		}
	}
	in->opcode = b;
	in->map = map;
	r = lookup(&d, map);
	if (r >= 0)
		r = by_row(&d, r);
out:
	in->len = d.pos;
	if (r) {
		in->desc = NULL;
		in->op = OP_INVALID;
	}
	memcpy(in->bytes, p, d.pos);
	return r;
}
