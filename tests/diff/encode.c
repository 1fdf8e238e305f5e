/* SPDX-License-Identifier: GPL-2.0-or-later */
/* encode.c - from a row of the instruction table to bytes: random prefixes (useless and repeated
 * ones too), REX, VEX and ModRM, as far as the row leaves the choice. */
#include "gen.h"
#include "x86/encoding.h"
#include <errno.h>
#include <string.h>

struct enc {
	u8 b[40];
	unsigned n;
	unsigned mode;
};
static void byte(struct enc *e, u8 v) { e->b[e->n++] = v; }

static bool key_fixed(const struct insn_enc *e, unsigned bit, bool *v)
{
	*v = e->value >> bit & 1;
	return e->mask >> bit & 1;
}

static void legacy_prefixes(struct gen *g, struct enc *out, const struct insn_enc *e, u32 attr,
			    bool *w, bool *b)
{
	static const u8 segs[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };
	bool p66, f3, f2, lock, v;
	u8 p[12], rep = 0, rex;
	unsigned n = 0;

	if (!key_fixed(e, K_66, &p66))
		p66 = chance(g, 20);
	/* AMD truncates the target of a near branch under 66 in 64-bit code, Intel ignores the
	 * prefix; the decoder follows Intel (decode.c), the host may not. */
	if (out->mode == 8 && attr & A_F64 && !(e->mask >> K_66 & 1))
		p66 = false;
	if (key_fixed(e, K_F3, &f3) && f3)
		rep = 0xf3;
	else if (key_fixed(e, K_F2, &f2) && f2)
		rep = 0xf2;
	else if (chance(g, attr & A_REP ? 70 : 6)) {
		rep = chance(g, 50) ? 0xf3 : 0xf2;
		if ((rep == 0xf3 && e->mask >> K_F3 & 1) || (rep == 0xf2 && e->mask >> K_F2 & 1))
			rep = 0;
	}
	if (!key_fixed(e, K_LOCK, &lock))
		lock = chance(g, attr & A_LOCK ? 25 : 1);
	if (p66)
		p[n++] = 0x66;
	if (rep)
		p[n++] = rep;
	if (lock)
		p[n++] = 0xf0;
	if (chance(g, 15))
		p[n++] = segs[below(g, 6)];
	if (chance(g, 10))
		p[n++] = 0x67;
	if (n && chance(g, 4))
		{
		p[n] = p[below(g, n)];
		n++;
	}
	if (chance(g, 1))
		p[n++] = segs[below(g, 6)];
	for (unsigned i = n; i > 1; i--) {
		unsigned k = below(g, i);
		u8 t = p[k];

		p[k] = p[i - 1];
		p[i - 1] = t;
	}
	if (out->mode == 8 && chance(g, 1))
		byte(out, (u8)(0x40 | below(g, 16)));	/* REX in the wrong place: no effect */
	for (unsigned i = 0; i < n; i++)
		byte(out, p[i]);
	*w = *b = false;
	if (out->mode != 8)
		return;
	if (!key_fixed(e, K_W, w))
		*w = chance(g, 35);
	rex = (u8)(*w << 3);
	if (chance(g, 50))
		rex |= (u8)below(g, 8);
	if (key_fixed(e, K_B, &v))
		rex = (u8)((rex & ~1) | v);
	if (rex || chance(g, 10))
		byte(out, 0x40 | rex);
}

static void vex_prefix(struct gen *g, struct enc *out, const struct insn_enc *e, unsigned map)
{
	bool w, l, p66, f3, f2, x;
	u8 pp = 0, rxb = (u8)below(g, 8), vvvv = (u8)below(g, 16);

	if (!key_fixed(e, K_W, &w))
		w = chance(g, 50);
	if (!key_fixed(e, K_L, &l))
		l = chance(g, 50);
	if (key_fixed(e, K_66, &p66) && p66)
		pp = 1;
	if (key_fixed(e, K_F3, &f3) && f3)
		pp = 2;
	if (key_fixed(e, K_F2, &f2) && f2)
		pp = 3;
	if (key_fixed(e, K_B, &x))
		rxb = (u8)((rxb & 6) | !x);
	if (!(e->flags & ENC_VVVV) && !chance(g, 1))
		vvvv = 15;
	if (out->mode != 8)
		rxb |= 6;		/* else it is LES or LDS */
	if (map == 4 && !w && (rxb & 3) == 3 && chance(g, 60)) {
		if (out->mode != 8)
			vvvv |= 8;
		byte(out, 0xc5);
		byte(out, (u8)((rxb & 4) << 5 | vvvv << 3 | l << 2 | pp));
		return;
	}
	byte(out, 0xc4);
	byte(out, (u8)(rxb << 5 | (map - 3)));
	byte(out, (u8)(w << 7 | vvvv << 3 | l << 2 | pp));
}

static bool has_vsib(const struct insn_enc *e)
{
	for (unsigned i = 0; i < e->nopd; i++)
		if (e->opd[i].am >= AM_VM32X && e->opd[i].am <= AM_VM64Y)
			return true;
	return false;
}

static void modrm(struct gen *g, struct enc *out, const struct insn_enc *e)
{
	u8 m = (u8)rnd(g);
	bool v;

	if (chance(g, 55) && m >= 0xc0)
		m &= 0xbf;
	for (unsigned i = 0; i < 3; i++) {
		if (key_fixed(e, K_REG + i, &v))
			m = (u8)((m & ~(8u << i)) | (u8)(v << (3 + i)));
		if (key_fixed(e, K_RM + i, &v))
			m = (u8)((m & ~(1u << i)) | (u8)(v << i));
	}
	if (key_fixed(e, K_MOD3, &v)) {
		if (v)
			m |= 0xc0;
		else if (m >= 0xc0)
			m = (u8)((m & 0x3f) | below(g, 3) << 6);
	}
	if (has_vsib(e))
		m = (u8)((m & ~7u) | 4);
	byte(out, m);
}

/* Encodings that a host may have although no model offers them: AVX-512 (EVEX, and what VEX has of
 * its mask registers), MOVDIRI and MOVDIR64B; and AMD's liberties: VPERMQ and VPERMPD ignore VEX.W,
 * VERR and VERW take LOCK. VMCALL is the hypervisor's. */
static bool is_host_only(const u8 *b, unsigned mode)
{
	while (*b == 0x66 || *b == 0x67 || (*b & 0xe7) == 0x26 || (*b & 0xfe) == 0x64 ||
	       *b == 0xf0 || (*b & 0xfe) == 0xf2 || (mode == 8 && (*b & 0xf0) == 0x40))
		b++;
	if (b[0] == 0x0f && (b[1] == 0 || (b[1] == 1 && b[2] == 0xc1)))
		return true;
	if (b[0] == 0x0f && b[1] == 0x38)
		return (b[2] & 0xfe) == 0xf8;
	if (*b == 0xc4 && (b[1] & 0x1f) == 3 && !(b[3] & 0xfe))
		return true;
	if (*b == 0x62)
		return mode == 8 || b[1] >= 0xc0;
	if (*b == 0xc5)
		return (b[2] & 0xf0) == 0x40 || (b[2] & 0xf0) == 0x90;
	return *b == 0xc4 && ((b[1] & 0x1f) == 1 || (b[1] & 0x1f) == 3) &&
	       ((b[3] & 0xf0) == 0x40 || (b[3] & 0xf0) == 0x90 || (b[3] & 0xf0) == 0x30);
}

int encode(struct gen *g, unsigned row, unsigned mode, struct insn *in, u8 *bytes)
{
	const struct rowinfo *ri = &g->row[row];
	const struct insn_enc *e = &insn_encs[row];

	for (unsigned try = 0; try < 40; try++) {
		unsigned k = below(g, ri->nslot), map = ri->slot[k].map;
		struct enc out = { .mode = mode };
		bool w, b;
		int r;

		if (map >= 4) {
			if (chance(g, 6))
				byte(&out, chance(g, 50) ? 0x67 : 0x64);
			vex_prefix(g, &out, e, map);
		} else {
			legacy_prefixes(g, &out, e, insn_table[row].attr, &w, &b);
			if (map > 0)
				byte(&out, 0x0f);
			if (map > 1)
				byte(&out, map == 2 ? 0x38 : 0x3a);
		}
		byte(&out, ri->slot[k].opcode);
		if (insn_slots[map][ri->slot[k].opcode].modrm)
			modrm(g, &out, e);
		while (out.n < sizeof(out.b))
			byte(&out, (u8)rnd(g));
		r = insn_decode(in, out.b, 15, mode);
		memcpy(bytes, out.b, 15);
		if (r == 0 && in->desc == &insn_table[row])
			return 0;
		if (r == -EILSEQ && chance(g, 5) && !is_host_only(bytes, mode)) {
			in->desc = NULL;
			return 0;
		}
	}
	return -EAGAIN;
}

int encode_undefined(struct gen *g, unsigned mode, struct insn *in, u8 *bytes)
{
	static const struct insn_enc any;

	for (unsigned try = 0; try < 100; try++) {
		struct enc out = { .mode = mode };
		unsigned map = below(g, 8);
		bool w, b;

		if (map >= 4) {
			const struct insn_enc e = { .mask = 1 << K_66 | 1 << K_F3 | 1 << K_F2,
						    .value = (u16)(below(g, 4) << K_66) };

			vex_prefix(g, &out, &e, map == 7 ? 3 + below(g, 32) : map);
		} else {
			legacy_prefixes(g, &out, &any, A_F64, &w, &b);
			if (map > 0)
				byte(&out, 0x0f);
			if (map > 1)
				byte(&out, map == 2 ? 0x38 : 0x3a);
		}
		while (out.n < sizeof(out.b))
			byte(&out, (u8)rnd(g));
		if (insn_decode(in, out.b, 15, mode) != -EILSEQ || is_host_only(out.b, mode))
			continue;
		memcpy(bytes, out.b, 15);
		in->len = 15;
		in->desc = NULL;
		return 0;
	}
	return -EAGAIN;
}
