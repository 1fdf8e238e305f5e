/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_acpi.c - the lite machine's ACPI tables: sums and links by our own reading, and all of them
 * through ACPICA's disassembler and compiler, if it is installed. */
#include "unit.h"
#include "base/bytes.h"
#include "platform/lite/acpi.h"
#include "platform/lite/aml.h"
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define GPA 0xe0000u
#define MAX_LEN 0x20000u

static struct acpi_config config(unsigned ncpus, u32 *ids, u32 first_id)
{
	for (unsigned i = 0; i < ncpus; i++)
		ids[i] = first_id + i;
	return (struct acpi_config){
		.gpa = GPA, .ncpus = ncpus, .apic_id = ids, .ioapic_base = 0xfec00000,
		.lapic_base = 0xfee00000, .sci = 9, .pm_base = 0x600, .gpe_base = 0xafe0,
		.com = { true, true }, .pci = true, .pci_mem_first = 0xc0000000,
		.pci_mem_last = 0xfebfffff, .pci_gsi = 16, .pci_ngsi = 8,
	};
}

static u8 sum(const u8 *p, size_t n)
{
	u8 s = 0;

	while (n--)
		s = (u8)(s + *p++);
	return s;
}

static const u8 *at(const u8 *buf, int len, u64 gpa)
{
	assert_true(gpa >= GPA && gpa + 36 <= GPA + (u64)len);
	assert_true(gpa + get_le32(buf + (gpa - GPA) + 4) <= GPA + (u64)len);
	return buf + (gpa - GPA);
}

/* Calls @fn for each table that the RSDP leads to, through XSDT and RSDT alike. */
static void walk(const u8 *buf, int len, u64 rsdp, void (*fn)(const u8 *t, void *ctx), void *ctx)
{
	const u8 *r = buf + (rsdp - GPA), *xsdt, *rsdt, *fadt = NULL;
	unsigned n;

	assert_int_equal(rsdp % 16, 0);
	assert_memory_equal(r, "RSD PTR ", 8);
	assert_int_equal(sum(r, 20), 0);
	assert_int_equal(sum(r, get_le32(r + 20)), 0);
	assert_int_equal(r[15], 2);
	xsdt = at(buf, len, get_le64(r + 24));
	rsdt = at(buf, len, get_le32(r + 16));
	assert_memory_equal(xsdt, "XSDT", 4);
	assert_memory_equal(rsdt, "RSDT", 4);
	fn(xsdt, ctx);
	fn(rsdt, ctx);
	n = (get_le32(xsdt + 4) - 36) / 8;
	assert_int_equal(n, (get_le32(rsdt + 4) - 36) / 4);
	for (unsigned i = 0; i < n; i++) {
		const u8 *t = at(buf, len, get_le64(xsdt + 36 + 8 * i));

		assert_int_equal(get_le64(xsdt + 36 + 8 * i), get_le32(rsdt + 36 + 4 * i));
		fn(t, ctx);
		if (!memcmp(t, "FACP", 4))
			fadt = t;
	}
	assert_non_null(fadt);
	assert_int_equal(get_le64(fadt + 140), get_le32(fadt + 40));
	fn(at(buf, len, get_le64(fadt + 140)), ctx);
	assert_memory_equal(at(buf, len, get_le32(fadt + 36)), "FACS", 4);
	assert_int_equal(get_le32(fadt + 36) % 64, 0);
}

static void check_sum(const u8 *t, void *ctx)
{
	unsigned *n = ctx;

	assert_int_equal(sum(t, get_le32(t + 4)), 0);
	++*n;
}

static void test_links_and_sums(void **state)
{
	static const unsigned cpus[] = { 1, 2, 4, 64 };
	u8 *buf = malloc(MAX_LEN);
	struct err e = { 0 };
	u32 ids[64];
	u64 rsdp;

	for (size_t i = 0; i < ARRAY_SIZE(cpus); i++) {
		struct acpi_config c = config(cpus[i], ids, 0);
		int len = acpi_build(&c, buf, MAX_LEN, &rsdp, &e);
		unsigned n = 0;

		assert_true(len > 0);
		walk(buf, len, rsdp, check_sum, &n);
		assert_int_equal(n, 5);		/* XSDT RSDT FADT MADT DSDT */
		/* Every smaller room is refused, and nothing behind it is touched. */
		for (int max = 0; max < len; max += 97) {
			memset(buf + max, 0xa5, MAX_LEN - (size_t)max);
			assert_int_equal(acpi_build(&c, buf, (size_t)max, &rsdp, &e), -ENOSPC);
			assert_int_equal(buf[max], 0xa5);
			assert_int_equal(buf[MAX_LEN - 1], 0xa5);
		}
	}
	free(buf);
}

struct madt_count { unsigned lapic, x2apic, ioapic, override, nmi; u32 irq0_gsi; };

static void count_madt(const u8 *t, void *ctx)
{
	struct madt_count *m = ctx;

	if (memcmp(t, "APIC", 4))
		return;
	for (u32 at_ = 44, len = get_le32(t + 4); at_ < len; at_ += t[at_ + 1]) {
		const u8 *e = t + at_;

		assert_true(e[1] >= 6 && at_ + e[1] <= len);
		m->lapic += e[0] == 0;
		m->ioapic += e[0] == 1;
		m->override += e[0] == 2;
		m->nmi += e[0] == 4;
		m->x2apic += e[0] == 9;
		if (e[0] == 2 && e[3] == 0)
			m->irq0_gsi = get_le32(e + 4);
	}
}

static void test_madt(void **state)
{
	u8 *buf = malloc(MAX_LEN);
	struct madt_count m = { 0 };
	struct acpi_config c;
	struct err e = { 0 };
	u32 ids[64];
	u64 rsdp;
	int len;

	c = config(4, ids, 253);	/* 253, 254 fit into 8 bits; 255 and 256 do not */
	len = acpi_build(&c, buf, MAX_LEN, &rsdp, &e);
	assert_true(len > 0);
	walk(buf, len, rsdp, count_madt, &m);
	assert_int_equal(m.lapic, 2);
	assert_int_equal(m.x2apic, 2);
	assert_int_equal(m.ioapic, 1);
	assert_int_equal(m.override, 2);
	assert_int_equal(m.nmi, 1);
	assert_int_equal(m.irq0_gsi, 2);
	free(buf);
}

/* --- ACPICA --- */

struct dump { char dir[64]; unsigned n; };

static void dump_table(const u8 *t, void *ctx)
{
	struct dump *d = ctx;
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%.4s.dat", d->dir, (const char *)t);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(t, 1, get_le32(t + 4), f), get_le32(t + 4));
	fclose(f);
	d->n++;
}

static void test_acpica(void **state)
{
	u8 *buf = malloc(MAX_LEN);
	struct dump d = { .dir = "/tmp/penta-acpi-XXXXXX" };
	struct acpi_config c;
	struct err e = { 0 };
	char cmd[512];
	u32 ids[64];
	u64 rsdp;
	int len;

	if (system("command -v iasl >/dev/null 2>&1")) {
		free(buf);
		skip();
	}
	c = config(3, ids, 0);
	len = acpi_build(&c, buf, MAX_LEN, &rsdp, &e);
	assert_non_null(mkdtemp(d.dir));
	walk(buf, len, rsdp, dump_table, &d);
	/* Disassemble all, compile the DSDT again: no error and no warning in either. */
	snprintf(cmd, sizeof(cmd), "cd %s && "
		 "for f in *.dat; do iasl -d $f || exit 1; done >log 2>&1 && "
		 "! grep -iE 'error|warning|invalid|checksum' log && "
		 "iasl -we DSDT.dsl >log 2>&1 && grep '0 Errors, 0 Warnings' log >/dev/null",
		 d.dir);
	if (system(cmd)) {
		snprintf(cmd, sizeof(cmd), "cat %s/log >&2", d.dir);
		if (system(cmd))
			fail();
		fail_msg("iasl objects; its words are above, the tables in %s", d.dir);
	}
	snprintf(cmd, sizeof(cmd), "grep -q 'PNP0501' %s/DSDT.dsl && grep -q '_S5' %s/DSDT.dsl && "
		 "[ $(grep -c ACPI0007 %s/DSDT.dsl) = 3 ] && rm -r %s", d.dir, d.dir, d.dir, d.dir);
	assert_int_equal(system(cmd), 0);
	free(buf);
}

/* --- the writer --- */

static void test_aml_lengths(void **state)
{
	static u8 buf[300000];
	struct aml a;

	/* Forms of integers. */
	aml_init(&a, buf, sizeof(buf));
	aml_int(&a, 0);
	aml_int(&a, 1);
	aml_int(&a, 0xff);
	aml_int(&a, 0x100);
	aml_int(&a, 0x10000);
	aml_int(&a, 1ull << 32);
	assert_int_equal(aml_done(&a), 1 + 1 + 2 + 3 + 5 + 9);
	/* A long scope: the length counts itself, 20 bits of it. */
	aml_init(&a, buf, sizeof(buf));
	aml_scope(&a, "_SB_");
	for (int i = 0; i < 20000; i++)
		aml_name_int(&a, "XXXX", 1);
	aml_end(&a);
	assert_int_equal(aml_done(&a), 1 + 3 + 5 + 20000 * 6);
	assert_int_equal((buf[1] & 0xf) | buf[2] << 4 | buf[3] << 12, 3 + 5 + 20000 * 6);
	assert_int_equal(buf[1] >> 6, 2);
	/* Open scopes, ends too many, no room: no length. */
	aml_init(&a, buf, sizeof(buf));
	aml_scope(&a, "_SB_");
	assert_int_equal(aml_done(&a), 0);
	aml_end(&a);
	aml_end(&a);
	assert_int_equal(aml_done(&a), 0);
	aml_init(&a, buf, 8);
	aml_scope(&a, "_SB_");
	aml_end(&a);
	assert_int_equal(aml_done(&a), 0);
	/* PNP0501 as compilers write it. */
	aml_init(&a, buf, sizeof(buf));
	aml_name_eisaid(&a, "_HID", "PNP0501");
	assert_int_equal(get_le32(buf + 6), 0x0105d041);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_links_and_sums), cmocka_unit_test(test_madt),
		cmocka_unit_test(test_acpica), cmocka_unit_test(test_aml_lengths),
	};

	return cmocka_run_group_tests_name("acpi", tests, NULL, NULL);
}
