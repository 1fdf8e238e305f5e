/* SPDX-License-Identifier: GPL-2.0-or-later */
/* acpi.c - ACPI tables of the lite machine. After: ACPI 6.4, chapter 5 (tables) and the
 * wiring of a PC: SCI on GSI 9, level and active high; IRQ 0 at I/O APIC pin 2.
 *
 *	RSDP --> XSDT --> FADT --> DSDT	 what devices there are, in AML
 *	     \-> RSDT        \---> FACS	 waking vector, global lock
 *			 MADT		 CPUs and interrupt controllers
 *
 * The machine has no firmware, so it is in ACPI mode from the start: SMI_CMD is 0, which tells the
 * guest that there is nothing to switch. */
#include "platform/lite/acpi.h"
#include "base/bytes.h"
#include "dev/acpi_pm.h"	// ACPI_PM1_EVT and kin, ACPI_S5_TYP
#include "platform/lite/aml.h"
#include <errno.h>
#include <string.h>

/* 5.2.6: the header of every table but RSDP and FACS. */
enum sdt { SDT_SIG = 0, SDT_LENGTH = 4, SDT_REV = 8, SDT_SUM = 9, SDT_OEM = 10, SDT_OEM_TABLE = 16,
	   SDT_OEM_REV = 24, SDT_CREATOR = 28, SDT_CREATOR_REV = 32, SDT_SIZE = 36 };
/* 5.2.5.3 */
enum rsdp { RSDP_SIG = 0, RSDP_SUM = 8, RSDP_OEM = 9, RSDP_REV = 15, RSDP_RSDT = 16,
	    RSDP_LENGTH = 20, RSDP_XSDT = 24, RSDP_XSUM = 32, RSDP_SIZE = 36, RSDP_SIZE_1 = 20 };
/* 5.2.9 */
enum fadt {
	FADT_FACS = 36, FADT_DSDT = 40, FADT_PROFILE = 45, FADT_SCI = 46, FADT_SMI_CMD = 48,
	FADT_PM1A_EVT = 56, FADT_PM1A_CNT = 64, FADT_PM_TMR = 76, FADT_GPE0 = 80,
	FADT_PM1_EVT_LEN = 88, FADT_PM1_CNT_LEN = 89, FADT_PM_TMR_LEN = 91, FADT_GPE0_LEN = 92,
	FADT_C2_LAT = 96, FADT_C3_LAT = 98, FADT_CENTURY = 108, FADT_BOOT_ARCH = 109,
	FADT_FLAGS = 112, FADT_RESET_REG = 116, FADT_RESET_VALUE = 128, FADT_MINOR = 131,
	FADT_X_FACS = 132, FADT_X_DSDT = 140, FADT_X_PM1A_EVT = 148, FADT_X_PM1A_CNT = 172,
	FADT_X_PM_TMR = 208, FADT_X_GPE0 = 220, FADT_SIZE = 276,
};
#define PROFILE_ENTERPRISE_SERVER 4
#define BOOT_ARCH_LEGACY 0x01		/* COM ports and the like are there */
#define BOOT_ARCH_NO_VGA 0x04
#define FADT_F_WBINVD 0x001
#define FADT_F_C1 0x004
#define FADT_F_NO_SLEEP_BUTTON 0x020	/* no fixed one; the power button is a fixed one */
#define FADT_F_RESET_REG 0x400
#define CMOS_CENTURY 0x32
#define RESET_PORT 0xcf9
#define RESET_VALUE 0x06
#define FACS_SIZE 64
/* 5.2.12 */
enum madt { MADT_LAPIC_BASE = 36, MADT_FLAGS = 40, MADT_SIZE = 44 };
enum madt_entry { ME_LAPIC = 0, ME_IOAPIC = 1, ME_OVERRIDE = 2, ME_LAPIC_NMI = 4, ME_X2APIC = 9 };
#define MADT_F_PCAT 1			/* an 8259 pair, too */
#define INTI_CONFORM 0x0000
#define INTI_LEVEL_HIGH 0x000d

struct builder {
	const struct acpi_config *c;
	u8 *buf;
	size_t len, max;
	bool overflow;
};

/* Room for @n zeroed bytes at a multiple of @align, or NULL. */
static u8 *take(struct builder *b, size_t n, size_t align)
{
	size_t at = (b->len + align - 1) & ~(align - 1);

	if (b->overflow || at > b->max || n > b->max - at) {
		b->overflow = true;
		return NULL;
	}
	memset(b->buf + b->len, 0, at + n - b->len);
	b->len = at + n;
	return b->buf + at;
}

static u64 gpa_of(const struct builder *b, const u8 *p)
{
	return b->c->gpa + (u64)(p - b->buf);
}

static void checksum(u8 *p, size_t n, size_t at)
{
	u8 sum = 0;

	p[at] = 0;
	for (size_t i = 0; i < n; i++)
		sum = (u8)(sum + p[i]);
	p[at] = (u8)-sum;
}

static void header(u8 *p, const char *sig, u8 rev, size_t len)
{
	memcpy(p + SDT_SIG, sig, 4);
	put_le32(p + SDT_LENGTH, (u32)len);
	p[SDT_REV] = rev;
	memcpy(p + SDT_OEM, "PENTA ", 6);
	memcpy(p + SDT_OEM_TABLE, "LITE    ", 8);
	put_le32(p + SDT_OEM_REV, 1);
	memcpy(p + SDT_CREATOR, "PNTA", 4);
	put_le32(p + SDT_CREATOR_REV, 1);
	checksum(p, len, SDT_SUM);
}

/* 5.2.3.2: a generic address of an I/O port. */
static void gas_io(u8 *p, u8 bits, u64 port)
{
	p[0] = 1;
	p[1] = bits;
	p[3] = bits == 8 ? 1 : bits == 16 ? 2 : 3;
	put_le64(p + 4, port);
}

/* --- DSDT --- */

static void put_cpus(struct aml *a, unsigned ncpus)
{
	char name[5] = "C000";
	static const char digit[] = "0123456789ABCDEF";

	for (unsigned i = 0; i < ncpus; i++) {
		name[2] = digit[i >> 4 & 15];
		name[3] = digit[i & 15];
		aml_device(a, name);
			aml_name_string(a, "_HID", "ACPI0007");
			aml_name_int(a, "_UID", i);	/* as in the MADT */
		aml_end(a);
	}
}

static void put_isa_device(struct aml *a, const char *name, const char *hid, unsigned uid,
			   u16 port, u8 len, int irq)
{
	aml_device(a, name);
		aml_name_eisaid(a, "_HID", hid);
		aml_name_int(a, "_UID", uid);
		aml_name_int(a, "_STA", 0xf);
		aml_crs(a);
			aml_res_io(a, port, len);
			if (irq >= 0)
				aml_res_irq(a, (u8)irq);
		aml_end(a);
	aml_end(a);
}

/* The host bridge: what addresses lie behind it, and which GSI a slot's pin reaches. */
static void put_pci(struct aml *a, const struct acpi_config *c)
{
	aml_device(a, "PCI0");
		aml_name_eisaid(a, "_HID", "PNP0A03");
		aml_name_int(a, "_UID", 0);
		aml_name_int(a, "_BBN", 0);
		aml_crs(a);
			aml_res_bus_range(a, 0, 0xff);
			aml_res_io(a, 0xcf8, 8);
			aml_res_io_range(a, 0, 0xcf7);
			aml_res_io_range(a, 0xd00, 0xffff);
			aml_res_memory_range(a, c->pci_mem_first, c->pci_mem_last);
		aml_end(a);
		aml_name_package(a, "_PRT", 32 * 4);
		for (u32 slot = 0; slot < 32; slot++)
			for (u32 pin = 0; pin < 4; pin++) {
				aml_package(a, 4);
					aml_int(a, slot << 16 | 0xffff);	/* any function */
					aml_int(a, pin);
					aml_int(a, 0);		/* a GSI, no link device */
					aml_int(a, c->pci_gsi + (slot + pin) % c->pci_ngsi);
				aml_end(a);
			}
		aml_end(a);
	aml_end(a);
}

static size_t put_dsdt_body(const struct acpi_config *c, u8 *buf, size_t max)
{
	struct aml a;

	aml_init(&a, buf, max);
	aml_scope(&a, "_SB_");
		put_cpus(&a, c->ncpus);
		if (c->pci)
			put_pci(&a, c);
		if (c->com[0])
			put_isa_device(&a, "COM1", "PNP0501", 1, 0x3f8, 8, 4);
		if (c->com[1])
			put_isa_device(&a, "COM2", "PNP0501", 2, 0x2f8, 8, 3);
		put_isa_device(&a, "RTC_", "PNP0B00", 0, 0x70, 2, 8);
		put_isa_device(&a, "PIT_", "PNP0100", 0, 0x40, 4, 0);
		put_isa_device(&a, "SPKR", "PNP0800", 0, 0x61, 1, -1);
	aml_end(&a);
	aml_name_package(&a, "_S5_", 4);	/* power off: SLP_TYP for PM1a, PM1b, reserved */
		aml_int(&a, ACPI_S5_TYP);
		aml_int(&a, ACPI_S5_TYP);
		aml_int(&a, 0);
		aml_int(&a, 0);
	aml_end(&a);
	return aml_done(&a);
}

static u8 *put_dsdt(struct builder *b)
{
	u8 *p = take(b, SDT_SIZE, 16);
	size_t n;

	if (!p)
		return NULL;
	n = put_dsdt_body(b->c, p + SDT_SIZE, b->max - b->len);
	if (!n) {
		b->overflow = true;
		return NULL;
	}
	b->len += n;
	header(p, "DSDT", 2, SDT_SIZE + n);
	return p;
}

/* --- FADT, FACS --- */

static u8 *put_facs(struct builder *b)
{
	u8 *p = take(b, FACS_SIZE, 64);

	if (p) {
		memcpy(p, "FACS", 4);
		put_le32(p + 4, FACS_SIZE);
		p[32] = 2;	/* version */
	}
	return p;
}

static u8 *put_fadt(struct builder *b, u64 facs, u64 dsdt)
{
	const struct acpi_config *c = b->c;
	u8 *p = take(b, FADT_SIZE, 16);

	if (!p)
		return NULL;
	put_le32(p + FADT_FACS, (u32)facs);
	put_le32(p + FADT_DSDT, (u32)dsdt);
	p[FADT_PROFILE] = PROFILE_ENTERPRISE_SERVER;
	put_le16(p + FADT_SCI, c->sci);
	put_le32(p + FADT_PM1A_EVT, c->pm_base + ACPI_PM1_EVT);
	put_le32(p + FADT_PM1A_CNT, c->pm_base + ACPI_PM1_CNT);
	put_le32(p + FADT_PM_TMR, c->pm_base + ACPI_PM_TMR);
	put_le32(p + FADT_GPE0, c->gpe_base);
	p[FADT_PM1_EVT_LEN] = 4;
	p[FADT_PM1_CNT_LEN] = 2;
	p[FADT_PM_TMR_LEN] = 4;
	p[FADT_GPE0_LEN] = ACPI_GPE0_LEN;
	put_le16(p + FADT_C2_LAT, 0xfff);	/* more than 100, 1000: no C2, no C3 */
	put_le16(p + FADT_C3_LAT, 0xfff);
	p[FADT_CENTURY] = CMOS_CENTURY;
	put_le16(p + FADT_BOOT_ARCH, BOOT_ARCH_LEGACY | BOOT_ARCH_NO_VGA);
	put_le32(p + FADT_FLAGS, FADT_F_WBINVD | FADT_F_C1 | FADT_F_NO_SLEEP_BUTTON |
		 FADT_F_RESET_REG);
	gas_io(p + FADT_RESET_REG, 8, RESET_PORT);
	p[FADT_RESET_VALUE] = RESET_VALUE;
	p[FADT_MINOR] = 3;
	/* 5.2.9, table 5.9: X_DSDT is used when it is not 0; of FACS and X_FACS only one may. */
	put_le64(p + FADT_X_DSDT, dsdt);
	gas_io(p + FADT_X_PM1A_EVT, 32, c->pm_base + ACPI_PM1_EVT);
	gas_io(p + FADT_X_PM1A_CNT, 16, c->pm_base + ACPI_PM1_CNT);
	gas_io(p + FADT_X_PM_TMR, 32, c->pm_base + ACPI_PM_TMR);
	gas_io(p + FADT_X_GPE0, 8 * ACPI_GPE0_LEN, c->gpe_base);
	header(p, "FACP", 6, FADT_SIZE);
	return p;
}

/* --- MADT --- */

static u8 *entry(struct builder *b, u8 type, u8 len)
{
	u8 *p = take(b, len, 1);

	if (p) {
		p[0] = type;
		p[1] = len;
	}
	return p;
}

static void put_override(struct builder *b, u8 isa_irq, u32 gsi, u16 flags)
{
	u8 *p = entry(b, ME_OVERRIDE, 10);

	if (p) {
		p[3] = isa_irq;		/* p[2]: bus 0, ISA */
		put_le32(p + 4, gsi);
		put_le16(p + 8, flags);
	}
}

static void put_cpu_entry(struct builder *b, unsigned uid, u32 id)
{
	u8 *p;

	if (id < 255) {
		p = entry(b, ME_LAPIC, 8);
		if (p) {
			p[2] = (u8)uid;
			p[3] = (u8)id;
			put_le32(p + 4, 1);	/* enabled */
		}
	} else {		/* does not fit into 8 bits */
		p = entry(b, ME_X2APIC, 16);
		if (p) {
			put_le32(p + 4, id);
			put_le32(p + 8, 1);
			put_le32(p + 12, uid);
		}
	}
}

static u8 *put_madt(struct builder *b)
{
	const struct acpi_config *c = b->c;
	u8 *p = take(b, MADT_SIZE, 16), *q;

	if (!p)
		return NULL;
	put_le32(p + MADT_LAPIC_BASE, c->lapic_base);
	put_le32(p + MADT_FLAGS, MADT_F_PCAT);
	for (unsigned i = 0; i < c->ncpus; i++)
		put_cpu_entry(b, i, c->apic_id[i]);
	q = entry(b, ME_IOAPIC, 12);
	if (q) {
		q[2] = c->ioapic_id;
		put_le32(q + 4, c->ioapic_base);
		put_le32(q + 8, 0);	/* its first GSI */
	}
	put_override(b, 0, 2, INTI_CONFORM);
	put_override(b, c->sci, c->sci, INTI_LEVEL_HIGH);
	q = entry(b, ME_LAPIC_NMI, 6);
	if (q) {
		q[2] = 0xff;		/* every CPU */
		q[5] = 1;		/* LINT1 */
	}
	if (b->overflow)
		return NULL;
	header(p, "APIC", 5, (size_t)(b->buf + b->len - p));
	return p;
}

/* --- XSDT, RSDT, RSDP --- */

static u8 *put_root(struct builder *b, const char *sig, unsigned width, const u64 *tables, size_t n)
{
	u8 *p = take(b, SDT_SIZE + n * width, 16);

	if (!p)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (width == 8)
			put_le64(p + SDT_SIZE + 8 * i, tables[i]);
		else
			put_le32(p + SDT_SIZE + 4 * i, (u32)tables[i]);
	header(p, sig, 1, SDT_SIZE + n * width);
	return p;
}

static void put_rsdp(u8 *p, u64 rsdt, u64 xsdt)
{
	memcpy(p + RSDP_SIG, "RSD PTR ", 8);
	memcpy(p + RSDP_OEM, "PENTA ", 6);
	p[RSDP_REV] = 2;
	put_le32(p + RSDP_RSDT, (u32)rsdt);
	put_le32(p + RSDP_LENGTH, RSDP_SIZE);
	put_le64(p + RSDP_XSDT, xsdt);
	checksum(p, RSDP_SIZE_1, RSDP_SUM);
	checksum(p, RSDP_SIZE, RSDP_XSUM);
}

int acpi_build(const struct acpi_config *c, u8 *buf, size_t max, u64 *rsdp, struct err *e)
{
	struct builder b = { .c = c, .buf = buf, .max = max };
	u8 *root = take(&b, RSDP_SIZE, 16), *facs = put_facs(&b), *dsdt = put_dsdt(&b);
	u8 *fadt, *madt, *xsdt, *rsdt;
	u64 tables[2];

	if (b.overflow)
		goto full;
	fadt = put_fadt(&b, gpa_of(&b, facs), gpa_of(&b, dsdt));
	madt = put_madt(&b);
	if (b.overflow)
		goto full;
	tables[0] = gpa_of(&b, fadt);
	tables[1] = gpa_of(&b, madt);
	xsdt = put_root(&b, "XSDT", 8, tables, ARRAY_SIZE(tables));
	rsdt = put_root(&b, "RSDT", 4, tables, ARRAY_SIZE(tables));
	if (b.overflow)
		goto full;
	put_rsdp(root, gpa_of(&b, rsdt), gpa_of(&b, xsdt));
	*rsdp = gpa_of(&b, root);
	return (int)b.len;
full:
	return err_set(e, ENOSPC, "ACPI tables for %u CPUs need more than %zu bytes", c->ncpus,
		       max);
}
