/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_xsave.c - FXSAVE, XSAVE and their kin beside the host's own, byte for byte; the rules that a
 * user-mode program cannot reach (availability, headers, XSETBV); x87 environments in their four
 * formats; FERR#. */
#include "engine/native_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct guest guest;
static u64 seed = 88172645463325252ull;
static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dull;
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

/* Decode and run one instruction. The vector, or NO_VECTOR. */
static unsigned exec(const char *bytes, unsigned len, unsigned mode)
{
	struct cpu *c = guest.c;
	volatile unsigned vector = NO_VECTOR;
	struct insn in;
	u8 b[15] = { 0 };

	memcpy(b, bytes, len);
	assert_int_equal(insn_decode(&in, b, 15, mode), 0);
	assert_int_equal(in.len, len);
	c->rip = CODE_VA + CODE_SLOT;
	c->next_rip = c->rip + in.len;
	if (!sigsetjmp(c->catch, 0))
		exec_insn(c, &in);
	else
		vector = c->exc.vector;
	return vector;
}
#define EXEC(s) exec(s, sizeof(s) - 1, 8)

static void rnd_state(struct host_state *s)
{
	memset(s, 0, sizeof(*s));
	s->rflags = FL_1;
	for (unsigned i = 0; i < 16; i++)
		s->r[i] = rnd();
	for (unsigned i = 0; i < 256; i += 8) {
		put_le64(s->xs + XSAVE_XMM + i, rnd());
		put_le64(s->xs + XSAVE_YMMH + i, rnd());
	}
	for (unsigned i = 0; i < 8; i++) {
		put_le64(s->xs + XSAVE_ST + 16 * i, rnd());
		put_le16(s->xs + XSAVE_ST + 16 * i + 8, (u16)rnd());
	}
	put_le16(s->xs + XSAVE_FCW, rnd() & 1 ? 0x37f : (rnd() & 0xf3f) | 0x40);
	put_le16(s->xs + XSAVE_FSW, rnd() & 0x7f3f);
	if (get_le16(s->xs + XSAVE_FSW) & ~get_le16(s->xs) & 0x3f)
		put_le16(s->xs + XSAVE_FSW, get_le16(s->xs + XSAVE_FSW) | FSW_ES | FSW_B);
	s->xs[XSAVE_FTW] = (u8)rnd();
	put_le32(s->xs + XSAVE_MXCSR, rnd() & 1 ? 0x1f80 : rnd() & 0xffff);
	switch (rnd() % 4) {			/* some parts in their initial state */
	case 0:
		memset(s->xs + XSAVE_YMMH, 0, 256);
		break;
	case 1:
		memset(s->xs + XSAVE_XMM, 0, 256);
		memset(s->xs + XSAVE_YMMH, 0, 256);
		break;
	}
	put_le64(s->xs + XSAVE_XSTATE_BV, 7);
}

static void load_guest(const struct host_state *s)
{
	struct cpu *c = guest.c;

	memcpy(c->r, s->r, sizeof(s->r));
	memcpy(c->xsave, s->xs, XSAVE_END);
	*native_x87_ptr(c) = (struct x87_ptr){ 0, 0 };
}

static void hide(u8 *a, u8 *b, unsigned at, unsigned n)
{
	memset(a + at, 0, n);
	memset(b + at, 0, n);
}

/* Instructions that store an area, beside the host's. */
static void saves_as_the_host(void **state)
{
	static const struct { const char *name, *bytes; unsigned len; bool fx, opt; } ins[] = {
		{ "fxsave", "\x0f\xae\x03", 3, true, false },
		{ "fxsave64", "\x48\x0f\xae\x03", 4, true, false },
		{ "xsave", "\x0f\xae\x23", 3, false, false },
		{ "xsave64", "\x48\x0f\xae\x23", 4, false, false },
		{ "xsaveopt", "\x0f\xae\x33", 3, false, true },
		{ "xsavec", "\x0f\xc7\x23", 3, false, true },
		{ "xsavec64", "\x48\x0f\xc7\x23", 4, false, true },
	};

	host_catch();
	for (unsigned n = 0; n < 20000; n++) {
		unsigned k = (unsigned)(rnd() % ARRAY_SIZE(ins));
		struct host_state s, h;
		unsigned hv, gv;
		u64 hbv, gbv;
		u8 *hm, *gm;

		rnd_state(&s);
		s.r[RAX] = rnd() & 7;
		s.r[RDX] = 0;
		s.r[RBX] = BUF_VA + 1024 + (rnd() & 15 ? 0 : 16 * (rnd() & 3) + (rnd() & 1));
		for (unsigned i = 0; i < BUF_LEN; i += 8)
			put_le64(host_buf + i, rnd());
		/* An area once saved to the same place might let the host skip what is the same. */
		put_le64(host_buf + (s.r[RBX] - BUF_VA) + XSAVE_XSTATE_BV, rnd() & 7);
		memcpy(guest.mem, host_buf, BUF_LEN);
		h = s;
		hv = host_run(&h, (const u8 *)ins[k].bytes, ins[k].len);
		load_guest(&s);
		gv = exec(ins[k].bytes, ins[k].len, 8);
		if (hv != gv)
			fail_msg("%s at %llx: host %u, engine %u", ins[k].name,
				 (unsigned long long)s.r[RBX], hv, gv);
		if (hv != NO_VECTOR)
			continue;
		hm = host_buf + (s.r[RBX] - BUF_VA);
		gm = guest.mem + (s.r[RBX] - BUF_VA);
		if (ins[k].fx || (s.r[RAX] & 6))
			hide(hm, gm, XSAVE_MXCSR_MASK, 4);	/* host: misaligned SSE mode */
		if (!ins[k].fx) {
			hbv = get_le64(hm + XSAVE_XSTATE_BV);
			gbv = get_le64(gm + XSAVE_XSTATE_BV);
			/* A processor may call a component in use that is not. */
			if (gbv & ~hbv)
				fail_msg("%s: XSTATE_BV %llx, host %llx", ins[k].name,
					 (unsigned long long)gbv, (unsigned long long)hbv);
			hide(hm, gm, XSAVE_XSTATE_BV, 8);
			if (ins[k].opt && (hbv & ~gbv & 1))
				hide(hm, gm, 0, 24), hide(hm, gm, XSAVE_ST, 128);
			if (ins[k].opt && (hbv & ~gbv & 2))
				hide(hm, gm, XSAVE_XMM, 256), hide(hm, gm, XSAVE_MXCSR, 8);
			if (ins[k].opt && (hbv & ~gbv & 4))
				hide(hm, gm, XSAVE_YMMH, 256);
		}
		for (unsigned i = 0; i < 2048; i++)
			if (host_buf[i] != guest.mem[i] && BUF_VA + i - s.r[RBX] < 1024)
				fail_msg("%s: byte %u: host %02x, engine %02x (rfbm %x, fsw %x)",
					 ins[k].name, (unsigned)(BUF_VA + i - s.r[RBX]),
					 host_buf[i], guest.mem[i], (unsigned)s.r[RAX],
					 get_le16(s.xs + 2));
	}
}

/* Instructions that load an area: what one finds in the registers afterwards. */
static void restores_as_the_host(void **state)
{
	static const struct { const char *name, *bytes; unsigned len; bool fx; } ins[] = {
		{ "fxrstor", "\x0f\xae\x0b", 3, true },
		{ "fxrstor64", "\x48\x0f\xae\x0b", 4, true },
		{ "xrstor", "\x0f\xae\x2b", 3, false },
		{ "xrstor64", "\x48\x0f\xae\x2b", 4, false },
	};
	unsigned faults = 0, loads = 0;

	host_catch();
	for (unsigned n = 0; n < 40000; n++) {
		unsigned k = (unsigned)(rnd() % ARRAY_SIZE(ins));
		struct host_state s, h, img;
		unsigned hv, gv;
		u8 *m;

		rnd_state(&s);
		rnd_state(&img);
		s.r[RAX] = rnd() & 7;
		s.r[RDX] = 0;
		s.r[RBX] = BUF_VA + 1024 + (rnd() & 15 ? 0 : 16 * (rnd() & 3) + (rnd() & 1));
		m = host_buf + (s.r[RBX] - BUF_VA);
		memset(host_buf, 0, BUF_LEN);
		memcpy(m, img.xs, XSAVE_END);
		put_le64(m + XSAVE_XSTATE_BV, rnd() & 7);
		if (!(rnd() & 3))
			put_le64(m + XSAVE_XCOMP_BV, BIT(63) | 7);
		if (!(rnd() & 7))
			put_le64(m + XSAVE_XCOMP_BV, (rnd() & 1 ? BIT(63) : 0) | (rnd() & 7));
		if (!(rnd() & 15))
			m[512 + rnd() % 64] ^= (u8)(rnd() & 0x18);	/* not a bit of AVX-512's */
		if (!(rnd() & 15))
			m[XSAVE_MXCSR + 3] |= (u8)BIT(rnd() & 7);
		memcpy(guest.mem, host_buf, BUF_LEN);
		h = s;
		hv = host_run(&h, (const u8 *)ins[k].bytes, ins[k].len);
		load_guest(&s);
		gv = exec(ins[k].bytes, ins[k].len, 8);
		if (hv != gv)
			fail_msg("%s: host %u, engine %u: xstate_bv %llx xcomp_bv %llx mxcsr %x "
				 "rfbm %x", ins[k].name, hv, gv,
				 (unsigned long long)get_le64(m + 512),
				 (unsigned long long)get_le64(m + 520), get_le32(m + 24),
				 (unsigned)s.r[RAX]);
		hv == NO_VECTOR ? loads++ : faults++;
		for (unsigned i = 0; i < XSAVE_END; i++) {
			if ((i >= 6 && i < 24) || (i >= 28 && i < 32) ||
			    (i >= 416 && i < XSAVE_YMMH))
				continue;
			if (h.xs[i] != guest.c->xsave[i])
				fail_msg("%s: byte %u: host %02x, engine %02x: xstate_bv %llx "
					 "xcomp_bv %llx rfbm %x fcw %x fsw %x", ins[k].name, i,
					 h.xs[i], guest.c->xsave[i],
					 (unsigned long long)get_le64(m + 512),
					 (unsigned long long)get_le64(m + 520), (unsigned)s.r[RAX],
					 get_le16(m), get_le16(m + 2));
		}
	}
	print_message("# %u loads, %u faults\n", loads, faults);
	assert_true(loads > 1000 && faults > 1000);
}

/* --- what the host's user mode does not let one try --- */

static void availability(void **state)
{
	struct cpu *c = guest.c;
	u64 cr0 = c->cr0, cr4 = c->cr4, xcr0 = c->xcr0;
	static const struct { const char *b; unsigned len; } kinds[] = {
		{ "\x0f\x58\xca", 3 },			/* addps xmm1, xmm2 */
		{ "\xc5\xf0\x58\xca", 4 },		/* vaddps xmm1, xmm1, xmm2 */
		{ "\x0f\xfe\xca", 3 },			/* paddd mm1, mm2 */
		{ "\xd8\xc1", 2 },			/* fadd st, st1 */
		{ "\x9b", 1 },				/* fwait */
		{ "\x0f\xae\x13", 3 },			/* ldmxcsr [rbx] */
		{ "\x0f\xae\x03", 3 },			/* fxsave [rbx] */
		{ "\x0f\xae\x23", 3 },			/* xsave [rbx] */
		{ "\xc5\xf8\x77", 3 },			/* vzeroupper */
		{ "\x0f\x01\xd0", 3 },			/* xgetbv */
	};
	enum { UD = EXC_UD, NM = EXC_NM, OK = NO_VECTOR };
	static const struct { u64 cr0_set, cr0_clear, cr4_clear, xcr0; u8 want[10]; } t[] = {
		{ 0, 0, 0, 7,		{ OK, OK, OK, OK, OK, OK, OK, OK, OK, OK } },
		{ CR0_EM, 0, 0, 7,	{ UD, OK, UD, NM, OK, UD, NM, OK, OK, OK } },
		{ CR0_TS, 0, 0, 7,	{ NM, NM, NM, NM, NM, NM, NM, NM, NM, OK } },
		{ CR0_TS, CR0_MP, 0, 7,	{ NM, NM, NM, NM, OK, NM, NM, NM, NM, OK } },
		{ 0, 0, CR4_OSFXSR, 7,	{ UD, OK, OK, OK, OK, UD, OK, OK, OK, OK } },
		{ 0, 0, CR4_OSXSAVE, 7,	{ OK, UD, OK, OK, OK, OK, OK, UD, UD, UD } },
		{ 0, 0, 0, 3,		{ OK, UD, OK, OK, OK, OK, OK, OK, UD, OK } },
		{ CR0_TS | CR0_EM, 0, 0, 7, { UD, NM, UD, NM, NM, UD, NM, NM, NM, OK } },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
			unsigned got;

			memset(guest.mem, 0, 2048);
			x87_init_state(c);
			c->xsave[XSAVE_FTW] = 0xff;
			c->r[RBX] = BUF_VA + 64;
			c->r[RCX] = 0;
			c->r[RAX] = 7;
			c->r[RDX] = 0;
			c->cr0 = (cr0 | t[i].cr0_set) & ~t[i].cr0_clear;
			c->cr4 = cr4 & ~t[i].cr4_clear;
			c->xcr0 = t[i].xcr0;
			got = exec(kinds[k].b, kinds[k].len, 8);
			if (got != t[i].want[k])
				fail_msg("row %u, kind %u: vector %u, not %u", i, k, got,
					 t[i].want[k]);
		}
	}
	c->cr0 = cr0;
	c->cr4 = cr4;
	c->xcr0 = xcr0;
	put_le32(c->xsave + XSAVE_MXCSR, MXCSR_RESET);
}

static void xsetbv_rules(void **state)
{
	struct cpu *c = guest.c;
	static const struct { u64 ecx, val; unsigned want; } t[] = {
		{ 0, 7, NO_VECTOR }, { 0, 3, NO_VECTOR }, { 0, 1, NO_VECTOR }, { 0, 0, EXC_GP },
		{ 0, 5, EXC_GP }, { 0, 6, EXC_GP }, { 0, 0xf, EXC_GP }, { 0, 0xe7, EXC_GP },
		{ 0, 7 | BIT(63), EXC_GP }, { 1, 7, EXC_GP },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		c->xcr0 = 7;
		c->r[RCX] = t[i].ecx;
		c->r[RAX] = (u32)t[i].val;
		c->r[RDX] = t[i].val >> 32;
		c->cpl = 0;
		assert_int_equal(EXEC("\x0f\x01\xd1"), t[i].want);
		assert_int_equal(c->xcr0, t[i].want == NO_VECTOR ? t[i].val : 7);
		c->cpl = 3;
		assert_int_equal(EXEC("\x0f\x01\xd1"), EXC_GP);
	}
	c->xcr0 = 7;
	c->r[RCX] = 0;
	assert_int_equal(EXEC("\x0f\x01\xd0"), NO_VECTOR);
	assert_int_equal(c->r[RAX], 7);
	assert_int_equal(c->r[RDX], 0);
	c->r[RCX] = 2;
	assert_int_equal(EXEC("\x0f\x01\xd0"), EXC_GP);
}

static void image_round_trip(void **state)
{
	static u8 img[CPU_XSAVE_SIZE], again[CPU_XSAVE_SIZE];
	struct host_state s;

	host_catch();
	for (unsigned n = 0; n < 1000; n++) {
		rnd_state(&s);
		load_guest(&s);
		xsave_get(guest.c, img);
		for (unsigned i = 0; i < XSAVE_END; i++)
			guest.c->xsave[i] ^= 0x5a;
		xsave_set(guest.c, img);
		xsave_get(guest.c, again);
		assert_memory_equal(img, again, sizeof(img));
		/* Hostile bytes: no register may hold what it cannot. */
		for (unsigned i = 0; i < sizeof(img); i++)
			img[i] = (u8)rnd();
		xsave_set(guest.c, img);
		assert_false(get_le32(guest.c->xsave + XSAVE_MXCSR) & ~(u32)MXCSR_VALID);
		assert_false(get_le16(guest.c->xsave + XSAVE_FCW) & ~(FCW_VALID | FCW_ONE));
		guest.c->r[RBX] = BUF_VA + 64;
		(void)EXEC("\x0f\x58\xca");
		(void)EXEC("\xd8\xc1");
		put_le16(guest.c->xsave + XSAVE_FCW, FCW_INIT);
		x87_update_es(guest.c);
		assert_int_equal(EXEC("\xd9\xf7"), NO_VECTOR);
	}
	x87_init_state(guest.c);
	put_le32(guest.c->xsave + XSAVE_MXCSR, MXCSR_RESET);
}

/* The environment of one FADD at CS:IP 1234:5678 in real, protected, 16- and 32-bit form. */
static void environments(void **state)
{
	struct cpu *c = guest.c;
	u64 cr0 = c->cr0;
	u8 *m = guest.mem + 64;
	u16 cs = c->seg[SEG_CS].sel;

	c->r[RBX] = BUF_VA + 64;
	c->seg[SEG_CS].sel = 0x1234;
	for (unsigned real = 0; real < 2; real++) {
		x87_init_state(c);
		put_le64(c->xsave + XSAVE_FIP, 0x5678);
		put_le64(c->xsave + XSAVE_FDP, 0x9abc);
		put_le16(c->xsave + XSAVE_FOP, 0x405);
		*native_x87_ptr(c) = (struct x87_ptr){ .fcs = 0x1234, .fds = 0x4321 };
		c->xsave[XSAVE_FTW] = 0x81;
		memset(c->xsave + XSAVE_ST, 0, 128);
		put_le64(c->xsave + XSAVE_ST, 1ull << 63);
		put_le16(c->xsave + XSAVE_ST + 8, 0x3fff);
		/* In real mode there is no paging: take RAM at the same place as the mapping's. */
		c->cr0 = real ? cr0 & ~(u64)(CR0_PE | CR0_PG) : cr0;
		tlb_flush_all(c);
		if (real)
			c->r[RBX] = 0x200000 + 64;

		memset(m, 0xcc, 64);
		assert_int_equal(EXEC("\xd9\x33"), NO_VECTOR);			/* fnstenv */
		assert_int_equal(get_le32(m), 0xffff037f);
		assert_int_equal(get_le32(m + 4), 0xffff0000);
		assert_int_equal(get_le32(m + 8), 0xffff7ffc);	/* zero, empty ..., valid */
		if (real) {
			assert_int_equal(get_le32(m + 12), 0xffff79b8);
			assert_int_equal(get_le32(m + 16), 0x00001405);
			assert_int_equal(get_le32(m + 20), 0xffffcccc);
			assert_int_equal(get_le32(m + 24), 0x00004000);
		} else {
			assert_int_equal(get_le32(m + 12), 0x5678);
			assert_int_equal(get_le32(m + 16), 0x04051234);
			assert_int_equal(get_le32(m + 20), 0x9abc);
			assert_int_equal(get_le32(m + 24), 0xffff4321);
		}
		assert_int_equal(m[28], 0xcc);
		assert_int_equal(EXEC("\xd9\x23"), NO_VECTOR);			/* fldenv */
		assert_int_equal(c->xsave[XSAVE_FTW], 0x81);
		memset(m, 0xcc, 64);
		assert_int_equal(EXEC("\x66\xd9\x33"), NO_VECTOR);
		assert_int_equal(get_le16(m), 0x037f);
		assert_int_equal(get_le16(m + 4), 0x7ffc);
		if (real) {
			assert_int_equal(get_le16(m + 6), 0x79b8);
			assert_int_equal(get_le16(m + 8), 0x1405);
			assert_int_equal(get_le16(m + 10), 0xcccc);
			assert_int_equal(get_le16(m + 12), 0x4000);
		} else {
			assert_int_equal(get_le16(m + 6), 0x5678);
			assert_int_equal(get_le16(m + 8), 0x1234);
			assert_int_equal(get_le16(m + 10), 0x9abc);
			assert_int_equal(get_le16(m + 12), 0x4321);
		}
		assert_int_equal(m[14], 0xcc);
	}
	c->cr0 = cr0;
	c->seg[SEG_CS].sel = cs;
	tlb_flush_all(c);
}

static unsigned ferr_level;
static void ferr_set(void *chip, unsigned n, int level)
{
	assert_int_equal(n, 13);
	ferr_level = (unsigned)level;
}

static void ferr(void **state)
{
	struct cpu *c = guest.c;
	u64 cr0 = c->cr0;

	x87_init_state(c);
	put_le16(c->xsave + XSAVE_FCW, 0x37b);
	c->xsave[XSAVE_FTW] = 3;
	memset(c->xsave + XSAVE_ST, 0, 128);
	assert_int_equal(EXEC("\xd8\xf1"), NO_VECTOR);		/* fdiv st, st1: 0/0, masked */
	put_le64(c->xsave + XSAVE_ST, 1ull << 63);
	put_le16(c->xsave + XSAVE_ST + 8, 0x3fff);
	assert_int_equal(EXEC("\xd8\xf1"), NO_VECTOR);		/* 1/0: not masked */
	assert_true(get_le16(c->xsave + XSAVE_FSW) & FSW_ES);
	assert_int_equal(EXEC("\x9b"), EXC_MF);
	assert_int_equal(EXEC("\xdf\xe0"), NO_VECTOR);		/* fnstsw ax does not wait */
	c->cr0 &= ~(u64)CR0_NE;
	native_set_ferr(c, (struct irq_line){ ferr_set, NULL, 13 });
	assert_int_equal(EXEC("\x9b"), NO_VECTOR);
	assert_int_equal(ferr_level, 1);
	assert_int_equal(c->next_rip, c->rip);			/* stands still */
	native_set_ignne(c, true);
	assert_int_equal(EXEC("\x9b"), NO_VECTOR);
	assert_int_equal(c->next_rip, c->rip + 1);
	native_set_ignne(c, false);
	native_set_ferr(c, (struct irq_line){ 0 });
	assert_int_equal(EXEC("\x9b"), EXC_MF);			/* no wire */
	assert_int_equal(EXEC("\xdb\xe2"), NO_VECTOR);		/* fnclex */
	assert_int_equal(EXEC("\x9b"), NO_VECTOR);
	c->cr0 = cr0;
	x87_init_state(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(saves_as_the_host),
		cmocka_unit_test(restores_as_the_host),
		cmocka_unit_test(availability),
		cmocka_unit_test(xsetbv_rules),
		cmocka_unit_test(image_round_trip),
		cmocka_unit_test(environments),
		cmocka_unit_test(ferr),
	};

	return cmocka_run_group_tests_name("xsave", tests, setup, teardown);
}
