/* SPDX-License-Identifier: GPL-2.0-or-later */
/* entry.c - in which state the boot processor enters the kernel.
 *
 * FLAT32: boot.rst "32-bit Boot Protocol", Multiboot 0.6.96 section 3.2, the PVH start-of-day
 * state: protected mode without paging, flat segments of 4 GiB, CS 10h and the data segments 18h,
 * interrupts off. LONG64: boot.rst "64-bit Boot Protocol": 64-bit mode over an identity map that
 * covers the kernel, the command line and boot_params; same selectors. */
#include "base/bytes.h"
#include "platform/boot/boot.h"
#include <errno.h>
#include <string.h>

#define SEL_CODE 0x10
#define SEL_DATA 0x18
#define SEL_TSS 0x20

/* The descriptor that a segment register was loaded from. SDM vol. 3, figure 3-8. */
static u64 descriptor(u32 base, u32 limit, u16 attr)
{
	return (u64)(limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)(attr & 0xff) << 40 |
	       (u64)(limit >> 16 & 0xf) << 48 | (u64)(attr >> 12 & 0xf) << 52 |
	       (u64)(base >> 24) << 56;
}

#define ATTR_CODE (SEG_A_P | SEG_A_S | SEG_A_CODE | SEG_A_RW | SEG_A_ACCESSED | SEG_A_G)
#define ATTR_CODE32 (ATTR_CODE | SEG_A_DB)
#define ATTR_CODE64 (ATTR_CODE | SEG_A_L)
#define ATTR_DATA (SEG_A_P | SEG_A_S | SEG_A_RW | SEG_A_ACCESSED | SEG_A_DB | SEG_A_G)
#define ATTR_TSS (SEG_A_P | 0xb)	/* busy 32-bit (or 64-bit) TSS */

/* SDM vol. 3, 4.5: present, writable; and a large page. */
#define PTE_TABLE 0x3
#define PDE_LARGE 0x83
#define IDENTITY_GIB 4

static bool put_table(struct ram *ram, u64 gpa, const u64 *entries, size_t n)
{
	u8 page[PAGE_SIZE] = { 0 };

	for (size_t i = 0; i < n; i++)
		put_le64(page + 8 * i, entries[i]);
	return ram_write(ram, gpa, page, sizeof(page));
}

/* PML4, one PDPT, a page directory of 2 MiB pages for each GiB: not every CPU model has 1 GiB
 * pages. */
static bool put_identity_map(struct ram *ram)
{
	u64 pdpt = BOOT_PAGES + PAGE_SIZE, pd = pdpt + PAGE_SIZE, e[512];

	for (unsigned g = 0; g < IDENTITY_GIB; g++) {
		for (unsigned i = 0; i < 512; i++)
			e[i] = ((u64)g << 30 | (u64)i << 21) | PDE_LARGE;
		if (!put_table(ram, pd + g * PAGE_SIZE, e, 512))
			return false;
	}
	for (unsigned g = 0; g < IDENTITY_GIB; g++)
		e[g] = (pd + g * PAGE_SIZE) | PTE_TABLE;
	if (!put_table(ram, pdpt, e, IDENTITY_GIB))
		return false;
	e[0] = pdpt | PTE_TABLE;
	return put_table(ram, BOOT_PAGES, e, 1);
}

int boot_tables(struct ram *ram, const struct boot_request *rq, bool long64, struct err *e)
{
	const u64 gdt[] = {
		[SEL_CODE / 8] = descriptor(0, 0xfffff, long64 ? ATTR_CODE64 : ATTR_CODE32),
		[SEL_DATA / 8] = descriptor(0, 0xfffff, ATTR_DATA),
		[SEL_TSS / 8] = descriptor(0, 0x67, ATTR_TSS),
	};

	if (!put_table(ram, BOOT_GDT, gdt, ARRAY_SIZE(gdt)) || (long64 && !put_identity_map(ram)))
		return err_set(e, ENOMEM, "%s: no memory below 1 MiB to boot it", rq->kernel.name);
	return 0;
}

void boot_enter(const struct boot_entry *b, struct cpu_state *s)
{
	static const u8 data_segs[] = { SEG_ES, SEG_SS, SEG_DS, SEG_FS, SEG_GS };
	bool l = b->mode == BOOT_MODE_LONG64;

	if (b->mode == BOOT_MODE_RESET)
		return;
	s->rip = b->rip;
	s->rflags = FL_1;
	memset(s->gpr, 0, sizeof(s->gpr));
	s->gpr[RAX] = b->rax;
	s->gpr[RBX] = b->rbx;
	s->gpr[RSI] = b->rsi;
	s->seg[SEG_CS] = (struct cpu_seg){ SEL_CODE, l ? ATTR_CODE64 : ATTR_CODE32, ~0u, 0 };
	for (size_t i = 0; i < sizeof(data_segs); i++)
		s->seg[data_segs[i]] = (struct cpu_seg){ SEL_DATA, ATTR_DATA, ~0u, 0 };
	s->seg[SEG_TR] = (struct cpu_seg){ SEL_TSS, ATTR_TSS, 0x67, 0 };
	s->gdtr.base = BOOT_GDT;
	s->gdtr.limit = SEL_TSS + 7;
	s->idtr.base = 0;
	s->idtr.limit = 0;
	s->cr0 = CR0_PE | CR0_ET;
	s->cr4 = 0;
	s->efer = 0;
	if (l) {
		s->cr0 |= CR0_PG;
		s->cr3 = BOOT_PAGES;
		s->cr4 = CR4_PAE;
		s->efer = EFER_LME | EFER_LMA;
	}
}
