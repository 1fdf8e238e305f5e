/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Model-specific and control registers: which there are, what they keep, what faults; the PV clock. */
#include "engine/softcpu.h"
#include "engine/soft/pv.h"
#include "engine/soft/soft.h"
#include <errno.h>

static int rd(struct cpu *c, u32 msr)
{
	u64 v;

	return msr_read(c, msr, &v);
}
static u64 get(struct cpu *c, u32 msr)
{
	u64 v;

	assert_int_equal(msr_read(c, msr, &v), 0);
	return v;
}

#define NONCANON 0x0000800000000000ull
#define CANON 0xffff800000000000ull

/* Absent registers fault; what stock kernels read without rdmsr_safe is there. */
static void test_presence(void **state)
{
	static const u32 absent[] = { 0x17, 0x3a, 0x49, 0xc1, 0xce, 0x186, 0x38f, 0x480, 0x4ff, 0x570,
				      0xda0, 0x1000, 0xc0000104, 0xc0010008, 0xc0010112, 0xc0010114,
				      0xc0010117, 0xc0010140, 0x4b564d02, 0x4b564d06, 0xffffffff };
	static const u32 there[] = { 0x10, 0x3b, 0x48, 0x8b, 0xfe, 0x10a, 0x174, 0x175, 0x176, 0x179,
				     0x17a, 0x17b, 0x1a0, 0x1d9, 0x200, 0x20f, 0x250, 0x258, 0x259, 0x268,
				     0x26f, 0x277, 0x2ff, 0x400, 0x40f, 0xc0000080, 0xc0000081,
				     0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101,
				     0xc0000102, 0xc0000103, 0xc0010000, 0xc0010007, 0xc0010010, 0xc0010015, 0xc001001a,
				     0xc001001d, 0xc0011029, 0x4b564d00, 0x4b564d01, 0x4b564d03,
				     0x4b564d05, 0x11, 0x12 };
	struct softcpu s;

	softcpu_open(&s, 1);
	for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
		assert_int_equal(rd(s.c, absent[i]), -EPERM);
		assert_int_equal(msr_write(s.c, absent[i], 0), -EPERM);
	}
	for (size_t i = 0; i < ARRAY_SIZE(there); i++)
		if (rd(s.c, there[i]) != 0)
			fail_msg("MSR %x faults", there[i]);
	softcpu_close(&s);
}

/* Every number once: nothing crashes, and what is readable takes its own value back or says no. */
static void test_sweep(void **state)
{
	static const u32 ranges[][2] = { { 0, 0x2000 }, { 0x4b564d00, 0x4b564e00 },
					 { 0xc0000000, 0xc0000400 }, { 0xc0010000, 0xc0012000 } };
	struct softcpu s;
	unsigned n = 0;

	softcpu_open(&s, 1);
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		for (u32 msr = ranges[i][0]; msr < ranges[i][1]; msr++) {
			u64 v, w;

			if (msr_read(s.c, msr, &v) < 0) {
				assert_int_equal(msr_write(s.c, msr, 0), -EPERM);
				continue;
			}
			n++;
			if (msr != MSR_TSC && msr_write(s.c, msr, v) == 0) {
				assert_int_equal(msr_read(s.c, msr, &w), 0);
				assert_int_equal(v, w);
			}
			msr_write(s.c, msr, ~0ull);
			msr_write(s.c, msr, 0x8000000000000000ull);
		}
	}
	assert_in_range(n, 60, 400);
	softcpu_close(&s);
}

static void test_canonical(void **state)
{
	static const u32 msrs[] = { MSR_LSTAR, MSR_CSTAR, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP, MSR_FS_BASE,
				    MSR_GS_BASE, MSR_KERNEL_GS_BASE };
	struct softcpu s;

	softcpu_open(&s, 1);
	for (size_t i = 0; i < ARRAY_SIZE(msrs); i++) {
		assert_int_equal(msr_write(s.c, msrs[i], CANON + i), 0);
		assert_int_equal(msr_write(s.c, msrs[i], NONCANON), -EPERM);
		assert_int_equal(get(s.c, msrs[i]), CANON + i);
	}
	assert_int_equal(s.c->seg[SEG_FS].base, get(s.c, MSR_FS_BASE));
	assert_int_equal(msr_write(s.c, MSR_TSC_AUX, 0x100000002ull), 0);
	assert_int_equal(get(s.c, MSR_TSC_AUX), 2);
	softcpu_close(&s);
}

static void test_efer(void **state)
{
	struct softcpu s;

	softcpu_open(&s, 1);
	assert_int_equal(msr_write(s.c, MSR_EFER, EFER_SVME), -EPERM);
	assert_int_equal(msr_write(s.c, MSR_EFER, BIT(21)), -EPERM);
	assert_int_equal(msr_write(s.c, MSR_EFER, EFER_LME | EFER_SCE | EFER_NXE), 0);
	/* LMA cannot be written. */
	assert_int_equal(msr_write(s.c, MSR_EFER, EFER_LME | EFER_LMA), 0);
	assert_int_equal(get(s.c, MSR_EFER), EFER_LME);
	softcpu_long(s.c, 0x10000);
	assert_int_equal(msr_write(s.c, MSR_EFER, EFER_LMA | EFER_NXE), -EPERM);	/* paging is on */
	assert_int_equal(msr_write(s.c, MSR_EFER, EFER_LME | EFER_SCE), 0);
	assert_int_equal(get(s.c, MSR_EFER), EFER_LME | EFER_SCE | EFER_LMA);
	softcpu_close(&s);
}

static void test_memory_types(void **state)
{
	struct softcpu s;

	softcpu_open(&s, 1);
	for (unsigned t = 0; t < 256; t++) {
		bool mtrr = t == 0 || t == 1 || t == 4 || t == 5 || t == 6;

		for (unsigned i = 0; i < 8; i++) {
			u64 v = 0x0606060606060606ull & ~(0xffull << 8 * i);

			v |= (u64)t << 8 * i;
			assert_int_equal(msr_write(s.c, MSR_PAT, v), mtrr || t == 7 ? 0 : -EPERM);
			assert_int_equal(msr_write(s.c, MSR_MTRR_FIX64K, v), mtrr ? 0 : -EPERM);
			assert_int_equal(msr_write(s.c, MSR_MTRR_FIX4K_C0000 + i, v), mtrr ? 0 : -EPERM);
		}
		assert_int_equal(msr_write(s.c, MSR_MTRR_PHYSBASE0 + 4, 0x80000000u | t),
				 mtrr ? 0 : -EPERM);
		assert_int_equal(msr_write(s.c, MSR_MTRR_DEFTYPE, 0xc00 | t), mtrr ? 0 : -EPERM);
	}
	assert_int_equal(msr_write(s.c, MSR_MTRR_PHYSBASE0 + 1, 0xffff80000800ull), 0);
	assert_int_equal(msr_write(s.c, MSR_MTRR_PHYSBASE0 + 1, BIT(48) | 0x800), -EPERM);
	assert_int_equal(msr_write(s.c, MSR_MTRR_PHYSBASE0 + 1, 0x801), -EPERM);
	assert_int_equal(msr_write(s.c, MSR_MTRRCAP, 0x508), -EPERM);
	assert_int_equal(get(s.c, MSR_MTRRCAP) & 0xff, 8);
	/* Fixed ranges are distinct registers. */
	for (u32 i = 0; i < 8; i++)
		assert_int_equal(msr_write(s.c, MSR_MTRR_FIX4K_C0000 + i, i == 3 ? 1 : 6), 0);
	assert_int_equal(get(s.c, MSR_MTRR_FIX4K_C0000 + 3), 1);
	assert_int_equal(get(s.c, MSR_MTRR_FIX4K_C0000 + 4), 6);
	softcpu_close(&s);
}

/* TSC_ADJUST follows writes to the TSC, and moves it. */
static void test_tsc(void **state)
{
	struct softcpu s;
	u64 t;

	softcpu_open(&s, 1);		/* the clock stands: the TSC does too */
	t = get(s.c, MSR_TSC);
	assert_int_equal(get(s.c, MSR_TSC_ADJUST), 0);
	assert_int_equal(msr_write(s.c, MSR_TSC_ADJUST, 1000), 0);
	assert_int_equal(get(s.c, MSR_TSC), t + 1000);
	assert_int_equal(msr_write(s.c, MSR_TSC, t + 5000), 0);
	assert_int_equal(get(s.c, MSR_TSC_ADJUST), 5000);
	assert_int_equal(msr_write(s.c, MSR_TSC_ADJUST, 0), 0);
	assert_int_equal(get(s.c, MSR_TSC), t);
	assert_int_equal(msr_write(s.c, MSR_TSC, 0), 0);
	assert_int_equal(get(s.c, MSR_TSC), 0);
	/* The deadline timer's view of it, also after another state was set (reset does that). */
	assert_int_equal(clock_tsc(s.c->m->clock) + s.c->v->tsc_offset, 0);
	assert_int_equal(msr_write(s.c, MSR_TSC_ADJUST, 12345), 0);
	assert_int_equal(clock_tsc(s.c->m->clock) + s.c->v->tsc_offset, get(s.c, MSR_TSC));
	struct cpu_state *st = malloc(sizeof(*st));
	soft_save(s.c, st);
	st->tsc_offset -= 777;
	soft_load(s.c, st);
	assert_int_equal(clock_tsc(s.c->m->clock) + s.c->v->tsc_offset, get(s.c, MSR_TSC));
	free(st);
	softcpu_close(&s);
}

static void test_machine_check(void **state)
{
	struct softcpu s;
	u32 banks;

	softcpu_open(&s, 1);
	banks = get(s.c, MSR_MCG_CAP) & 0xff;
	for (u32 i = 0; i < banks; i++) {
		assert_int_equal(msr_write(s.c, MSR_MC0_CTL + 4 * i, ~0ull), 0);
		assert_int_equal(get(s.c, MSR_MC0_CTL + 4 * i), ~0ull);
		assert_int_equal(msr_write(s.c, MSR_MC0_CTL + 4 * i + 1, 0), 0);
		assert_int_equal(msr_write(s.c, MSR_MC0_CTL + 4 * i + 1, 1), -EPERM);
	}
	assert_int_equal(rd(s.c, MSR_MC0_CTL + 4 * banks), -EPERM);
	softcpu_close(&s);
}

static u64 pv_ns(struct softcpu *s, u64 gpa, u64 tsc)
{
	u64 delta = tsc - peek64(s, gpa + 8);
	u32 mul = peek32(s, gpa + 24);
	s8 shift = (s8)peek32(s, gpa + 28);

	delta = shift < 0 ? delta >> -shift : delta << shift;
	return peek64(s, gpa + 16) + (u64)((u128)delta * mul >> 32);
}

static void test_kvmclock(void **state)
{
	struct softcpu s;
	u32 version;
	u64 tsc, ns, got;

	softcpu_open(&s, 1);
	poke32(&s, 0x3000, 6);
	assert_int_equal(msr_write(s.c, MSR_KVM_SYSTEM_TIME, 0x3001), 0);
	version = peek32(&s, 0x3000);
	assert_true(version > 6 && version % 2 == 0);
	assert_true(peek32(&s, 0x301c) >> 8 & 1);	/* TSC_STABLE */
	/* It agrees with the machine's clock, whatever the offset, for years. */
	for (u64 years = 0; years < 4; years++) {
		for (u64 off = 0; off < 3; off++) {
			assert_int_equal(msr_write(s.c, MSR_TSC_ADJUST, off * 0x123456789ull), 0);
			ns = years * 31536000000000000ull + 123456789;
			tsc = clock_tsc_of_ns(s.m->clock, ns) + s.c->tsc_offset;
			got = pv_ns(&s, 0x3000, tsc);
			/* mul has 32 bits: 2^-31 of a year is 15 ms. */
			if (got > ns ? got - ns > ns >> 30 : ns - got > (ns >> 30) + 2)
				fail_msg("%llu ns instead of %llu", (unsigned long long)got,
					 (unsigned long long)ns);
		}
	}
	version = peek32(&s, 0x3000);
	pv_resume(s.c);
	assert_true(peek32(&s, 0x3000) != version);
	assert_true(peek32(&s, 0x301c) >> 8 & 2);	/* GUEST_STOPPED */
	/* Nowhere: nothing happens. */
	assert_int_equal(msr_write(s.c, MSR_KVM_SYSTEM_TIME, 0xfffffffffffff001ull), 0);
	assert_int_equal(msr_write(s.c, MSR_KVM_WALL_CLOCK, 0x4000), 0);
	assert_true(peek32(&s, 0x4004) > 1600000000u);
	assert_true(peek32(&s, 0x4008) < 1000000000u);
	assert_int_equal(msr_write(s.c, MSR_KVM_STEAL_TIME, 0x5003), -EPERM);
	assert_int_equal(msr_write(s.c, MSR_KVM_STEAL_TIME, 0x5001), 0);
	assert_int_equal(msr_write(s.c, MSR_KVM_POLL_CONTROL, 2), -EPERM);
	assert_true(pv_clock_pairing(s.c, 0x6000));
	assert_false(pv_clock_pairing(s.c, 0xfffffffff000ull));
	softcpu_close(&s);
}

static void test_scale(void **state)
{
	for (u64 khz = 1000; khz < 6000000; khz = khz * 5 / 4 + 1) {
		u32 mul;
		s8 shift;
		u64 tsc = khz * 1000, ns;	/* one second */

		pv_scale(khz, &mul, &shift);
		ns = (u64)((u128)(shift < 0 ? tsc >> -shift : tsc << shift) * mul >> 32);
		assert_in_range(ns, 999999990, 1000000010);
	}
}

/* MOV to CRn: what may and may not be. */
static void test_control_registers(void **state)
{
	struct softcpu s;
	struct cpu *c;

	softcpu_open(&s, 1);
	c = s.c;
	softcpu_long(c, 0x10000);
	c->cr0 = CR0_PE | CR0_ET;
	c->efer = 0;
	c->cr4 = 0;
	c->seg[SEG_CS].attr &= ~SEG_A_L;
	cpu_mode_changed(c);
	assert_int_equal(cr_raises(c, 0, CR0_PG), EXC_GP);			/* PG without PE */
	assert_int_equal(cr_raises(c, 0, CR0_PE | CR0_NW), EXC_GP);		/* NW without CD */
	assert_int_equal(cr_raises(c, 0, CR0_PE | CR0_NW | CR0_CD), -1);
	assert_int_equal(cr_raises(c, 0, BIT(32) | CR0_PE), EXC_GP);
	assert_int_equal(cr_raises(c, 0, CR0_PE | 0x8000), -1);			/* ignored */
	assert_int_equal(c->cr0, CR0_PE | CR0_ET);
	assert_int_equal(msr_write(c, MSR_EFER, EFER_LME), 0);
	assert_int_equal(cr_raises(c, 0, CR0_PE | CR0_PG), EXC_GP);		/* LME without PAE */
	assert_int_equal(cr_raises(c, 4, CR4_PAE), -1);
	assert_int_equal(cr_raises(c, 4, CR4_PAE | CR4_PCIDE), EXC_GP);		/* not in long mode */
	c->seg[SEG_CS].attr |= SEG_A_L;
	assert_int_equal(cr_raises(c, 0, CR0_PE | CR0_PG), EXC_GP);		/* CS.L */
	c->seg[SEG_CS].attr &= ~SEG_A_L;
	assert_int_equal(cr_raises(c, 0, CR0_PE | CR0_PG), -1);
	assert_true(c->efer & EFER_LMA);
	assert_int_equal(cr_raises(c, 4, 0), EXC_GP);				/* PAE in long mode */
	assert_int_equal(cr_raises(c, 3, 0x10000 | BIT(48)), EXC_GP);		/* beyond 48 bits */
	assert_int_equal(cr_raises(c, 3, 0x10001), -1);
	assert_int_equal(cr_raises(c, 4, CR4_PAE | CR4_PCIDE), EXC_GP);		/* CR3[11:0] */
	assert_int_equal(cr_raises(c, 3, 0x10000), -1);
	assert_int_equal(cr_raises(c, 4, CR4_PAE | CR4_PCIDE), -1);
	assert_int_equal(cr_raises(c, 0, CR0_PE), EXC_GP);			/* PCIDE without paging */
	assert_int_equal(cr_raises(c, 4, CR4_PAE), -1);
	assert_int_equal(cr_raises(c, 0, CR0_PE), -1);
	assert_false(c->efer & EFER_LMA);
	for (unsigned bit = 0; bit < 64; bit++) {
		u64 known = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE |
			    CR4_PGE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE |
			    CR4_SMEP | CR4_SMAP;	/* no OSXSAVE: the base model has no XSAVE */

		assert_int_equal(cr_raises(c, 4, BIT(bit)), known & BIT(bit) ? -1 : EXC_GP);
	}
	assert_int_equal(cr_raises(c, 8, 16), EXC_GP);
	assert_int_equal(cr_raises(c, 1, 0), EXC_UD);
	assert_int_equal(cr_raises(c, 5, 0), EXC_UD);
	assert_int_equal(cr_raises(c, 2, ~0ull), -1);
	assert_int_equal(cpu_read_cr(c, 2), ~0ull);
	softcpu_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_presence), cmocka_unit_test(test_sweep),
		cmocka_unit_test(test_canonical), cmocka_unit_test(test_efer),
		cmocka_unit_test(test_memory_types), cmocka_unit_test(test_tsc),
		cmocka_unit_test(test_machine_check), cmocka_unit_test(test_kvmclock),
		cmocka_unit_test(test_scale), cmocka_unit_test(test_control_registers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
