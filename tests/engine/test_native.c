/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_native.c - every A_NATIVE instruction of the table, run through native.c's stubs and, with
 * its own bytes and addresses, directly on this host; all registers, flags, memory and the
 * exception are compared. Then what has rules of its own: alignment, availability, #XM, #MF,
 * masked moves and gathers at a page that is not there. */
#include "engine/native_host.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

static u64 seed = 0x9e3779b97f4a7c15ull;
static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dull;
}

/* --- states --- */

static u32 rnd_f32(void)
{
	static const u32 odd[] = { 0, 0x80000000, 0x3f800000, 0x7f800000, 0xff800000, 0x7fc00000,
		0x7f800001, 1, 0x007fffff, 0x7f7fffff, 0x4f000000, 0xcf000000, 0x40490fdb };
	return rnd() & 1 ? odd[rnd() % ARRAY_SIZE(odd)] : (u32)rnd();
}
static u64 rnd_f64(void)
{
	static const u64 odd[] = { 0, 1ull << 63, 0x3ff0000000000000, 0x7ff0000000000000,
		0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001, 1, 0x000fffffffffffff,
		0x7fefffffffffffff, 0x43e0000000000000, 0x41e0000000000000, 0x400921fb54442d18 };
	return rnd() & 1 ? odd[rnd() % ARRAY_SIZE(odd)] : rnd();
}
static void rnd_vec(u8 *p, unsigned n)
{
	unsigned kind = rnd() % 4;

	for (unsigned i = 0; i < n; i += 8)
		if (kind == 0)
			put_le64(p + i, rnd());
		else if (kind == 1)
			put_le64(p + i, rnd_f64());
		else if (kind == 2)
			put_le64(p + i, (u64)rnd_f32() << 32 | rnd_f32());
		else
			put_le64(p + i, rnd() & rnd() & rnd() & 0x80ff7f0180ff7f01ull);
}
static void rnd_st(u8 *p)
{
	static const u16 exps[] = { 0, 0x7fff, 0x3fff, 0xbfff, 0x4000, 0x403e, 0x3fbe, 1, 0x7ffe,
		0x8000, 0xffff, 0xc000, 0x4005 };
	u64 frac = rnd() & 1 ? 1ull << 63 : rnd() | (rnd() & 7 ? 1ull << 63 : 0);

	if (!(rnd() & 15))
		frac = rnd() & 1 ? 0 : 1ull << 62;
	put_le64(p, frac);
	put_le64(p + 8, rnd() & 3 ? (u16)(0x3fff + (rnd() % 80) - 40) | (rnd() & 0x8000) :
				      exps[rnd() % ARRAY_SIZE(exps)]);
}

/* All exceptions masked, or any; with these, also pending x87 exceptions. */
static bool unmasked;

static void rnd_state(struct host_state *s)
{
	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < 16; i++)
		s->r[i] = rnd() & 1 ? rnd() : (u64)(s64)(s8)rnd();
	s->rflags = (rnd() & FL_OSZAPC) | FL_1;
	for (unsigned i = 0; i < 16; i++) {
		rnd_vec(s->xs + XSAVE_XMM + 16 * i, 16);
		rnd_vec(s->xs + XSAVE_YMMH + 16 * i, 16);
	}
	for (unsigned i = 0; i < 8; i++)
		rnd_st(s->xs + XSAVE_ST + 16 * i);
	put_le16(s->xs + XSAVE_FCW, rnd() & 3 ? 0x37f : 0x7f | (rnd() & 0xf00));
	put_le16(s->xs + XSAVE_FSW, (rnd() & 7) << 11 | (rnd() & 0x4700) | (rnd() & 0x3f & rnd()));
	s->xs[XSAVE_FTW] = rnd() & 1 ? 0xff : rnd() & 1 ? 0 : (u8)rnd();
	put_le32(s->xs + XSAVE_MXCSR, rnd() & 3 ? 0x1f80 : 0x1f80 | (rnd() & 0xe07f));
	put_le64(s->xs + XSAVE_XSTATE_BV, 7);
	if (unmasked) {
		u16 cw = rnd() & 0xf3f, sw = (rnd() & 7) << 11 | (rnd() & 0x4700);

		if (!(rnd() & 7))
			sw |= rnd() & rnd() & 0x3f;
		if (sw & ~cw & 0x3f)
			sw |= FSW_ES | FSW_B;
		put_le16(s->xs + XSAVE_FCW, cw | 0x40);
		put_le16(s->xs + XSAVE_FSW, sw);
		put_le32(s->xs + XSAVE_MXCSR, (rnd() & 0xffbf & ~(rnd() & rnd() & 0x1f80)) |
					      (rnd() & 1 ? 0x40 : 0));
	}
}

/* --- running both, comparing --- */

static struct guest guest;
static _Alignas(16) u8 fake_block[sizeof(struct block) + 2 * sizeof(struct uop)];
static unsigned guest_mode = 8;	/* 4: the same bytes as 32-bit code */
static u8 mem_before[BUF_LEN];

static bool in_block;		/* run what uop_fast() makes of the instruction, if it does */
static unsigned quick_forms;

static const struct uop *uop_stop(struct cpu *c, const struct uop *u)
{
	return NULL;
}

static void run_one(struct cpu *c, const struct insn *in)
{
	struct block *b = (struct block *)fake_block;
	const struct uop *u = b->u;

	if (in_block) {
		memset(fake_block, 0, sizeof(fake_block));
		b->rip = c->rip;
		b->u[1].off = in->len;
		b->u[1].fn = uop_stop;
		c->blk = b;
		if (!native_room(c, 1))
			native_flush(c);
		if (uop_fast(c, b, &b->u[0], in, false)) {
			memcpy(guest.code + CODE_SLOT, in->bytes, in->len);
			quick_forms++;
			while (u)
				u = u->fn(c, u);
			return;
		}
	}
	native_exec(c, in);
}

static unsigned run_guest(struct host_state *s, const struct insn *in)
{
	struct cpu *c = guest.c;
	volatile unsigned vector = NO_VECTOR;

	memcpy(c->r, s->r, sizeof(s->r));
	memcpy(c->xsave, s->xs, XSAVE_END);
	*native_x87_ptr(c) = (struct x87_ptr){ 0, 0 };
	c->cc = flags_to_cc(s->rflags);
	c->rip = CODE_VA + CODE_SLOT;
	c->next_rip = c->rip + in->len;
	if (c->mode != guest_mode)
		guest_set_mode(c, guest_mode);
	if (!sigsetjmp(c->catch, 0))
		run_one(c, in);
	else
		vector = c->exc.vector;
	memcpy(s->r, c->r, sizeof(s->r));
	memcpy(s->xs, c->xsave, XSAVE_END);
	s->rflags = cc_to_flags(c->cc) | FL_1;
	put_le32(s->env + 12, (u32)get_le64(c->xsave + XSAVE_FIP));
	put_le16(s->env + 16, native_x87_ptr(c)->fcs);
	put_le16(s->env + 18, get_le16(c->xsave + XSAVE_FOP));
	put_le32(s->env + 20, (u32)get_le64(c->xsave + XSAVE_FDP));
	return vector;
}

static char why[256];
static bool differ(const char *what, unsigned n, const u8 *a, const u8 *b, unsigned len)
{
	int at;

	if (!memcmp(a, b, len))
		return false;
	at = snprintf(why, sizeof(why), "%s%u: host ", what, n);
	for (unsigned i = len; i--;)
		at += snprintf(why + at, sizeof(why) - (size_t)at, "%02x", a[i]);
	at += snprintf(why + at, sizeof(why) - (size_t)at, " stub ");
	for (unsigned i = len; i--;)
		at += snprintf(why + at, sizeof(why) - (size_t)at, "%02x", b[i]);
	return true;
}

static bool same(const struct insn *in, const struct host_state *h, const struct host_state *g,
		 const u8 *hmem)
{
	u32 fl = FL_OSZAPC & ~in->desc->fl_undef;
	u64 hf = h->rflags & fl, gf = g->rflags & fl;

	for (unsigned i = 0; i < 16; i++)
		if (i != RSP && differ("r", i, (const u8 *)&h->r[i], (const u8 *)&g->r[i], 8))
			return false;
	for (unsigned i = 0; i < 16; i++)
		if (differ("xmm", i, h->xs + XSAVE_XMM + 16 * i, g->xs + XSAVE_XMM + 16 * i, 16) ||
		    differ("ymmh", i, h->xs + XSAVE_YMMH + 16 * i, g->xs + XSAVE_YMMH + 16 * i, 16))
			return false;
	for (unsigned i = 0; i < 8; i++)
		if (differ("st", i, h->xs + XSAVE_ST + 16 * i, g->xs + XSAVE_ST + 16 * i, 10))
			return false;
	return !(differ("fcw", 0, h->xs, g->xs, 2) || differ("fsw", 0, h->xs + 2, g->xs + 2, 2) ||
		 differ("ftw", 0, h->xs + 4, g->xs + 4, 1) ||
		 differ("mxcsr", 0, h->xs + XSAVE_MXCSR, g->xs + XSAVE_MXCSR, 4) ||
		 differ("flags", 0, (u8 *)&hf, (u8 *)&gf, 4) ||
		 differ("fip", 0, h->env + 12, g->env + 12, 4) ||
		 differ("fcs", 0, h->env + 16, g->env + 16, 2) ||
		 differ("fop", 0, h->env + 18, g->env + 18, 2) ||
		 differ("fdp", 0, h->env + 20, g->env + 20, 4) ||
		 (memcmp(hmem, guest.mem, BUF_LEN) && snprintf(why, sizeof(why), "memory")));
}

static unsigned failures, runs;
static unsigned cases_of[4096], vectors[256];

static void start(void)
{
	host_catch();
	failures = runs = 0;
	memset(vectors, 0, sizeof(vectors));
}

static void show(const struct insn *in, const struct host_state *s0, unsigned hv, unsigned gv)
{
	char text[128];

	insn_format(in, CODE_VA + CODE_SLOT, text, sizeof(text));
	print_message("# %-40s", text);
	for (unsigned i = 0; i < in->len; i++)
		print_message(" %02x", in->bytes[i]);
	print_message(" [%s] host vector %d, stub %d: %s (mxcsr %x fcw %x fsw %x ftw %x)\n",
		      in->desc->encoding, (int)hv, (int)gv, why, get_le32(s0->xs + XSAVE_MXCSR),
		      get_le16(s0->xs), get_le16(s0->xs + 2), s0->xs[4]);
}

/* One case: both from @s0. */
static void one_case(const struct insn *in, const struct host_state *s0)
{
	struct host_state h, g = *s0;
	unsigned hv, gv;
	bool ok;

	memcpy(mem_before, host_buf, BUF_LEN);
	memcpy(guest.mem, host_buf, BUF_LEN);
	/* When the host's kernel switches threads, an AMD processor forgets the x87's pointers, or,
	 * with an exception pending, their selectors. */
	for (unsigned tries = 0; tries < 4; tries++) {
		memcpy(host_buf, mem_before, BUF_LEN);
		h = *s0;
		hv = host_run(&h, in->bytes, in->len);
		if (in->desc->cls != CL_X87 || get_le16(h.env + 16))
			break;
	}
	if (hv == EXC_UD && in->desc->feature >= 0)
		return;			/* this host has no such unit */
	gv = run_guest(&g, in);
	vectors[hv]++;
	strcpy(why, "vector");
	ok = hv == gv && same(in, &h, &g, host_buf);
	runs++;
	if (!ok && failures++ < 60)
		show(in, s0, hv, gv);
}

static bool is_vsib(const struct insn *in)
{
	return in->vex && in->map == 2 && in->opcode >= 0x90 && in->opcode <= 0x93;
}

/* Do @bytes mean the same in 32-bit code? The GPR forms then have 32 bits. */
static bool same_in_32bit(const u8 *bytes, unsigned len)
{
	struct insn in;
	bool gpr = false;

	if (insn_decode(&in, bytes, len, 8) != 0 || in.rex & 0xf || in.op == OP_VZEROALL ||
	    in.op == OP_VZEROUPPER)
		return false;
	if (in.vex && ((in.bytes[0] == 0xc4 && (in.bytes[1] & 0xe0) != 0xe0) ||
		       (in.bytes[0] == 0xc5 && !(in.bytes[1] & 0x80)) || in.vvvv > 7))
		return false;
	for (unsigned i = 0; i < in.nopd; i++)
		if (in.opd[i].kind == OPD_GPR)
			gpr = true;
		else if (in.opd[i].kind != OPD_IMM && in.opd[i].kind != OPD_MEM &&
			 in.opd[i].reg > 7)
			return false;
	/* VEX.W makes integers wide, also in memory, and the lengths of PCMPESTRx. */
	gpr |= strchr(in.desc->operands, 'E') || in.op == OP_VPCMPESTRI || in.op == OP_VPCMPESTRM;
	return !(gpr && in.vex && in.vex_w);
}

/* @where: offset of the operand in the buffer. */
static void try_insn(const u8 *bytes, unsigned len, u32 where)
{
	struct host_state s;
	struct insn in;
	unsigned row;

	if (guest_mode == 4 && !same_in_32bit(bytes, len))
		return;
	if (insn_decode(&in, bytes, len, guest_mode) != 0 || !(in.desc->attr & A_NATIVE) || in.lock)
		return;
	if (in.has_mem && ((in.base != RBX && in.base != R11 && in.base != RDI) ||
			   in.index != REG_ZERO || in.disp))
		return;
	for (unsigned i = 0; i < in.nopd; i++)
		if (in.opd[i].kind == OPD_GPR && in.opd[i].reg == RSP)
			return;
	rnd_state(&s);
	for (unsigned i = 0; i < BUF_LEN; i += 8)
		if (i < 256 || (i >= 4096 - 128 && i < 4096 + 128))
			rnd_vec(host_buf + i, 8);
	s.r[RBX] = s.r[R11] = s.r[RDI] = BUF_VA + where;
	if (is_vsib(&in)) {
		unsigned isz = in.opcode & 1 ? 8 : 4;

		for (unsigned i = 0; i < 32; i += isz) {
			u8 *p = i < 16 ? s.xs + XSAVE_XMM + 16 * in.vsib_reg + i :
					 s.xs + XSAVE_YMMH + 16 * in.vsib_reg + i - 16;
			s64 v = (s64)(rnd() % 64) - 16;

			memcpy(p, &v, isz);
		}
	}
	row = (unsigned)(in.desc - insn_table);
	if (row < ARRAY_SIZE(cases_of))
		cases_of[row]++;
	one_case(&in, &s);
}

/* All encodings: prefixes, maps, opcodes, ModRM.reg; register and memory forms. */
static void each_encoding(unsigned rounds, u32 (*where)(void))
{
	static const u8 pfx[4] = { 0, 0x66, 0xf3, 0xf2 };
	u8 b[15];

	for (unsigned round = 0; round < rounds; round++)
	for (unsigned v = 0; v < 2; v++)
	for (unsigned pp = 0; pp < 4; pp++)
	for (unsigned map = 1; map <= 3; map++)
	for (unsigned op = 0; op < 256; op++)
	for (unsigned wl = 0; wl < 4; wl++)
	for (unsigned reg = 0; reg < 8; reg++)
	for (unsigned mem = 0; mem < 2; mem++) {
		unsigned n = 0, ext = rnd() & 7;
		bool vsib = v && map == 2 && op >= 0x90 && op <= 0x93;
		u8 vvvv = (u8)(rnd() & 15);

		if (!v && (wl & 2))
			continue;
		if (v && ((wl ^ reg) & 1) && !(rnd() & 3))
			vvvv = 0;
		if (v) {
			if (map > 1 ? false : rnd() & 1 && !(wl & 1) && !(ext & 3)) {
				b[n++] = 0xc5;
				b[n++] = (u8)((ext & 4 ? 0 : 0x80) | (~vvvv & 15) << 3 |
					      (wl & 2 ? 4 : 0) | pp);
			} else {
				b[n++] = 0xc4;
				b[n++] = (u8)((~ext & 7) << 5 | map);
				b[n++] = (u8)((wl & 1 ? 0x80 : 0) | (~vvvv & 15) << 3 |
					      (wl & 2 ? 4 : 0) | pp);
			}
		} else {
			if (pfx[pp])
				b[n++] = pfx[pp];
			if (wl & 1 || ext & 5)
				b[n++] = (u8)(0x40 | (wl & 1 ? 8 : 0) | (ext & 5));
			b[n++] = 0x0f;
			if (map > 1)
				b[n++] = map == 2 ? 0x38 : 0x3a;
		}
		b[n++] = (u8)op;
		if (!v && map == 1 && op == 0x77)
			n += 0;
		else if (vsib && mem) {
			b[n++] = (u8)(reg << 3 | 4);
			b[n++] = (u8)((rnd() & 3) << 6 | (rnd() & 7) << 3 | RBX);
		} else {
			b[n++] = (u8)((mem ? 0 : 0xc0) | reg << 3 | (mem ? RBX : rnd() & 7));
		}
		for (unsigned i = 0; n < 15; i++)
			b[n++] = (u8)rnd();
		try_insn(b, 15, where());
	}
}

static void each_x87(unsigned rounds, u32 (*where)(void))
{
	u8 b[15];

	static const u8 fwait[15] = { 0x9b };

	try_insn(fwait, sizeof(fwait), where());
	for (unsigned round = 0; round < rounds; round++)
	for (unsigned op = 0xd8; op <= 0xdf; op++)
	for (unsigned m = 0; m < 256; m++) {
		if (m < 0xc0 && (m & 0xc7) != RBX)
			continue;
		memset(b, 0x90, sizeof(b));
		b[0] = (u8)op;
		b[1] = (u8)m;
		try_insn(b, sizeof(b), where());
	}
}

static u32 aligned_place(void) { return 64; }
static u32 crossing_place(void) { return 4096 - (u32)(rnd() % 40); }
static u32 edge_place(void) { return BUF_LEN - (u32)(rnd() % 40); }

static void each_row(void **state)
{
	unsigned native = 0, seen = 0;

	start();
	each_encoding(2, aligned_place);
	each_x87(40, aligned_place);
	for (unsigned i = 0; i < insn_table_size; i++) {
		const struct insn_desc *d = &insn_table[i];

		if (!(d->attr & A_NATIVE))
			continue;
		native++;
		if (cases_of[i])
			seen++;
		else
			print_message("# no case of %s %s\n", d->name, d->encoding);
	}
	print_message("# %u cases, %u of %u rows\n", runs, seen, native);
	assert_int_equal(failures, 0);
	assert_true(native > 600);
	assert_int_equal(seen, native);
}

/* Operands that lie across two pages, misaligned ones, and such as reach into a page that is not
 * there: the data, or #GP, or #PF with nothing changed. */
static void page_edges(void **state)
{
	start();
	each_encoding(1, crossing_place);
	each_x87(8, crossing_place);
	each_encoding(1, edge_place);
	each_x87(8, edge_place);
	print_message("# %u cases\n", runs);
	assert_int_equal(failures, 0);
}

/* Unmasked exceptions: #XM with the flags that the host sets, x87 results and pending #MF. */
static void unmasked_exceptions(void **state)
{
	start();
	unmasked = true;
	each_encoding(2, aligned_place);
	each_x87(60, aligned_place);
	each_x87(10, edge_place);
	unmasked = false;
	print_message("# %u cases, %u ended in #XM, %u in #MF\n", runs, vectors[EXC_XM],
		      vectors[EXC_MF]);
	assert_int_equal(failures, 0);
	assert_true(vectors[EXC_XM] > 500 && vectors[EXC_MF] > 500);
}

static int setup(void **state);
static int teardown(void **state);

/* A gather that is single-stepped traps at itself once it has loaded something, and faults only
 * when it gets nowhere (SDM vol. 2, VPGATHERDD). */
static void gather_steps(void **state)
{
	static const u8 bytes[15] = { 0xc4, 0xe2, 0x69, 0x90, 0x04, 0x8b };
	static const u32 index[4] = { 0, BUF_LEN, 0, 0 };	/* xmm1: the second is not there */
	struct cpu *c = guest.c;
	struct host_state s;
	struct insn in;

	assert_int_equal(insn_decode(&in, bytes, 15, 8), 0);
	rnd_state(&s);
	s.r[RBX] = BUF_VA;
	memcpy(s.xs + XSAVE_XMM + 16, index, 16);
	memset(s.xs + XSAVE_XMM + 32, 0xff, 16);
	memcpy(guest.mem, "abcd", 4);
	c->step_trap = true;
	assert_int_equal(run_guest(&s, &in), NO_VECTOR);
	assert_int_equal(c->next_rip, c->rip);
	assert_memory_equal(s.xs + XSAVE_XMM, "abcd", 4);
	assert_int_equal(get_le32(s.xs + XSAVE_XMM + 32), 0);
	assert_int_equal(get_le32(s.xs + XSAVE_XMM + 36), 0xffffffff);
	assert_int_equal(run_guest(&s, &in), EXC_PF);
	assert_int_equal(c->cr2, BUF_VA + 4 * BUF_LEN);
	c->step_trap = false;
	c->rflags &= ~(u32)FL_RF;
}

static void in_32bit_code(void **state)
{
	start();
	guest_mode = 4;
	each_encoding(3, aligned_place);
	each_x87(8, aligned_place);
	guest_mode = 8;
	print_message("# %u cases\n", runs);
	assert_int_equal(failures, 0);
	assert_true(runs > 5000);
}

static void in_blocks(void **state)
{
	start();
	in_block = true;
	quick_forms = 0;
	each_encoding(2, aligned_place);
	each_encoding(1, crossing_place);
	each_encoding(1, edge_place);
	unmasked = true;
	each_encoding(1, aligned_place);
	unmasked = false;
	guest_mode = 4;
	each_encoding(1, aligned_place);
	guest_mode = 8;
	in_block = false;
	print_message("# %u cases, %u by quick forms\n", runs, quick_forms);
	assert_int_equal(failures, 0);
	assert_true(quick_forms > runs / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_row),
		cmocka_unit_test(page_edges),
		cmocka_unit_test(unmasked_exceptions),
		cmocka_unit_test(in_32bit_code),
		cmocka_unit_test(gather_steps),
		cmocka_unit_test(in_blocks),
	};

	return cmocka_run_group_tests_name("native", tests, setup, teardown);
}

static int setup(void **state)
{
	host_init();
	return guest_init(&guest);
}
static int teardown(void **state)
{
	guest_free(&guest);
	return 0;
}
