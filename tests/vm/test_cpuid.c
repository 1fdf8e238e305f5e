/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU models: the psABI's levels are whole, fixed, and what guests read is consistent. */
#include "unit.h"
#include "vm/cpuid.h"
#include <cpuid.h>
#include <errno.h>
#include <stdio.h>

static struct cpuid_table *table(const char *model, unsigned ncpus, bool hv)
{
	struct cpuid_table *t;
	struct err e = { 0 };
	const struct cpu_model *m = cpu_model_find(model);
	int r;

	assert_non_null(m);
	r = cpuid_table_new(&t, m, ncpus, 2600000, hv, &e);
	if (r < 0 && r == -ENOTSUP)
		return NULL;		/* this host lacks what the model needs */
	assert_int_equal(r, 0);
	return t;
}

static struct cpuid_regs q(const struct cpuid_table *t, u32 leaf, u32 sub)
{
	static const struct cpuid_dyn d = { .apic_id = 3, .osxsave = true, .apic_on = true, .xcr0 = 7 };

	return cpuid_query(t, leaf, sub, &d);
}

static void test_names(void **state)
{
	char names[64], *save = NULL;

	snprintf(names, sizeof(names), "%s", cpu_model_names());
	for (char *n = strtok_r(names, ", ", &save); n; n = strtok_r(NULL, ", ", &save))
		assert_string_equal(cpu_model_find(n)->name, n);
	assert_null(cpu_model_find("v4"));
	assert_null(cpu_model_find(""));
}

/* x86-64 psABI, section 3.1.1. */
static void test_levels(void **state)
{
	static const enum x86_feature v1[] = { F_CMOV, F_CX8, F_FPU, F_FXSR, F_MMX, F_SYSCALL, F_SSE,
					       F_SSE2, F_LM, F_NX, F_PAE };
	static const enum x86_feature v2[] = { F_CX16, F_LAHF, F_POPCNT, F_SSE3, F_SSE41, F_SSE42,
					       F_SSSE3 };
	static const enum x86_feature v3[] = { F_AVX, F_AVX2, F_BMI1, F_BMI2, F_F16C, F_FMA, F_LZCNT,
					       F_MOVBE, F_XSAVE };
	struct cpuid_table *b = table("base", 1, true), *t2 = table("v2", 1, true),
			   *t3 = table("v3", 1, true);

	for (size_t i = 0; i < ARRAY_SIZE(v1); i++)
		assert_true(cpuid_has(b, v1[i]));
	for (size_t i = 0; i < ARRAY_SIZE(v2); i++) {
		assert_false(cpuid_has(b, v2[i]));
		if (t2)
			assert_true(cpuid_has(t2, v2[i]));
	}
	for (size_t i = 0; i < ARRAY_SIZE(v3); i++) {
		assert_false(cpuid_has(b, v3[i]));
		if (t2)
			assert_false(cpuid_has(t2, v3[i]));
		if (t3)
			assert_true(cpuid_has(t3, v3[i]));
	}
	assert_true(cpuid_has(b, F_ALWAYS));
	cpuid_table_free(b);
	cpuid_table_free(t2);
	cpuid_table_free(t3);
	cpuid_table_free(NULL);
}

/* A model that asks for what the host lacks names it; max takes what there is. */
static void test_host(void **state)
{
	struct cpu_model m = *cpu_model_find("base");
	struct cpuid_table *t;
	struct err e = { 0 };
	u32 a, b = 0, c, d;
	u32 bmi_host;

	__get_cpuid_count(7, 0, &a, &b, &c, &d);
	bmi_host = b >> (F_BMI1 % 32) & 1;
	m.name = "test";
	m.features[F_BMI1 / 64] |= BIT(F_BMI1 % 64);
	if (!bmi_host) {
		assert_int_equal(cpuid_table_new(&t, &m, 1, 1000000, true, &e), -ENOTSUP);
		assert_non_null(strstr(e.msg, "BMI1"));
		m.host_limited = true;
	}
	assert_int_equal(cpuid_table_new(&t, &m, 1, 1000000, true, &e), 0);
	assert_int_equal(cpuid_has(t, F_BMI1), bmi_host);
	cpuid_table_free(t);
	assert_int_equal(cpuid_table_new(&t, &m, 0, 1000000, true, &e), -EINVAL);
	assert_int_equal(cpuid_table_new(&t, &m, 10000, 1000000, true, &e), -EINVAL);
}

static void test_leaves(void **state)
{
	struct cpuid_table *t = table("max", 6, true);
	struct cpuid_dyn d = { .apic_id = 5 };
	struct cpuid_regs r = q(t, 0, 0), r2;
	char s[13] = { 0 }, brand[49] = { 0 };

	memcpy(s, &r.ebx, 4);
	memcpy(s + 4, &r.edx, 4);
	memcpy(s + 8, &r.ecx, 4);
	assert_string_equal(s, "AuthenticAMD");
	assert_true(r.eax >= 0x16);
	r2 = q(t, 0x80000000, 0);
	assert_memory_equal(&r.ebx, &r2.ebx, 12);
	/* Dynamic bits. */
	assert_true(q(t, 1, 0).ecx & 1 << 27);
	assert_true(q(t, 1, 0).edx & 1 << 9);
	assert_false(cpuid_query(t, 1, 0, &d).ecx & 1 << 27);
	assert_false(cpuid_query(t, 1, 0, &d).edx & 1 << 9);
	assert_false(cpuid_query(t, 0x80000001, 0, &d).edx & 1 << 9);
	assert_int_equal(q(t, 1, 0).ebx >> 24, 3);
	/* Family 19h. */
	r = q(t, 1, 0);
	assert_int_equal((r.eax >> 8 & 15) + (r.eax >> 20 & 0xff), 0x19);
	assert_int_equal(r.eax, q(t, 0x80000001, 0).eax);
	/* TSC: crystal * EBX / EAX. */
	r = q(t, 0x15, 0);
	assert_int_equal((u64)r.ecx * r.ebx / r.eax / 1000, 2600000);
	assert_int_equal(q(t, 0x16, 0).eax, 2600);
	for (u32 i = 0; i < 3; i++) {
		r = q(t, 0x80000002 + i, 0);
		memcpy(brand + 16 * i, &r, 16);
	}
	assert_string_equal(brand, cpu_model_find("max")->brand);
	/* Widths. */
	assert_int_equal(q(t, 0x80000008, 0).eax, 48 << 8 | 48);
	/* Nothing beyond the last leaf, nor between the ranges. */
	for (u32 leaf = 0x17; leaf < 0x30; leaf++) {
		r = q(t, leaf, 0);
		assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
	}
	r = q(t, 0x20000000, 0);
	assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
	r = q(t, 0xffffffff, 0xffffffff);
	assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
	cpuid_table_free(t);
}

static void test_hypervisor(void **state)
{
	struct cpuid_table *t = table("base", 1, true), *n = table("base", 1, false);
	struct cpuid_regs r = q(t, 0x40000000, 0);

	assert_int_equal(r.eax, 0x40000001);
	assert_memory_equal(&r.ebx, "KVMKVMKVM\0\0\0", 12);
	assert_true(q(t, 0x40000001, 0).eax & 1 << 3);
	assert_int_equal(q(n, 0x40000000, 0).eax, 0);
	assert_int_equal(q(n, 0x40000001, 0).eax, 0);
	cpuid_table_free(t);
	cpuid_table_free(n);
}

/* Every way of asking gives the same number of processors, for all counts. */
static void test_topology(void **state)
{
	for (unsigned n = 1; n <= 64; n++) {
		struct cpuid_table *t = table("base", n, true);
		struct cpuid_regs r = q(t, 0xb, 1);

		assert_int_equal(r.ebx, n);
		assert_true(1u << r.eax >= n && (r.eax == 0 || 1u << (r.eax - 1) < n));
		assert_int_equal(r.ecx >> 8, 2);
		assert_int_equal(r.edx, 3);
		assert_int_equal(q(t, 0xb, 0).ebx, 1);
		assert_int_equal(q(t, 0xb, 2).ecx, 2);
		assert_int_equal(q(t, 1, 0).ebx >> 16 & 0xff, n);
		assert_int_equal(q(t, 1, 0).edx >> 28 & 1, n > 1);
		assert_int_equal((q(t, 0x80000008, 0).ecx & 0xff) + 1, n);
		assert_int_equal(q(t, 0x80000008, 0).ecx >> 12, r.eax);
		assert_int_equal(q(t, 0x8000001e, 0).eax, 3);
		assert_int_equal((q(t, 0x8000001d, 3).eax >> 14 & 0xfff) + 1, n);
		cpuid_table_free(t);
	}
}

/* Sizes of caches: sets * ways * line. */
static void test_caches(void **state)
{
	struct cpuid_table *t = table("base", 4, true);
	static const u32 kib[] = { 32, 32, 512, 16384 };

	for (u32 i = 0; i < 4; i++) {
		struct cpuid_regs r = q(t, 0x8000001d, i);

		assert_int_equal((r.ecx + 1) * ((r.ebx >> 22) + 1) * ((r.ebx & 0xfff) + 1), kib[i] * 1024);
	}
	assert_int_equal(q(t, 0x8000001d, 4).eax, 0);
	assert_int_equal(q(t, 0x80000006, 0).ecx >> 16, 512);
	cpuid_table_free(t);
}

static void test_xsave(void **state)
{
	struct cpuid_table *t = table("v3", 1, true), *b = table("base", 1, true);
	struct cpuid_dyn d = { .xcr0 = 3 };

	assert_int_equal(q(b, 0xd, 0).eax, 0);
	if (t) {
		assert_int_equal(q(t, 0xd, 0).eax, 7);
		assert_int_equal(q(t, 0xd, 0).ebx, 832);
		assert_int_equal(cpuid_query(t, 0xd, 0, &d).ebx, 576);
		assert_int_equal(q(t, 0xd, 0).ecx, 832);
		assert_int_equal(q(t, 0xd, 2).eax, 256);
		assert_int_equal(q(t, 0xd, 2).ebx, 576);
		assert_int_equal(q(t, 0xd, 3).eax, 0);
	}
	cpuid_table_free(t);
	cpuid_table_free(b);
}

static void test_enumerate(void **state)
{
	struct cpuid_table *t = table("max", 4, true);
	struct cpuid_dyn d = { .apic_id = 3, .osxsave = true, .apic_on = true, .xcr0 = 7 };
	struct cpuid_entry e[100];
	unsigned n = cpuid_enumerate(t, &d, e, ARRAY_SIZE(e));

	assert_in_range(n, 40, ARRAY_SIZE(e) - 1);
	assert_int_equal(cpuid_enumerate(t, &d, e, 5), 5);
	assert_int_equal(cpuid_enumerate(t, &d, e, ARRAY_SIZE(e)), n);
	for (unsigned i = 0; i < n; i++) {
		struct cpuid_regs r = q(t, e[i].leaf, e[i].subleaf);

		assert_memory_equal(&r, &e[i].r, sizeof(r));
		if (i)
			assert_true(e[i].leaf > e[i - 1].leaf || (e[i].leaf == e[i - 1].leaf &&
				    e[i].has_subleaf && e[i].subleaf > e[i - 1].subleaf));
	}
	cpuid_table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names), cmocka_unit_test(test_levels),
		cmocka_unit_test(test_host), cmocka_unit_test(test_leaves),
		cmocka_unit_test(test_hypervisor), cmocka_unit_test(test_topology),
		cmocka_unit_test(test_caches), cmocka_unit_test(test_xsave),
		cmocka_unit_test(test_enumerate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
