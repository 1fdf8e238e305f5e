/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pvh.c - ELF kernels that name a PVH entry: 32-bit, EBX points to hvm_start_info.
 * After: Xen's public/arch-x86/hvm/start_info.h and docs/misc/pvh. Linux, the BSDs and Xen's own
 * test guests have one. */
#include "base/bytes.h"
#include "platform/boot/boot.h"
#include <errno.h>
#include <string.h>

/* struct hvm_start_info, version 1. */
enum start_info {
	SI_MAGIC = 0, SI_VERSION = 4, SI_FLAGS = 8, SI_NR_MODULES = 12, SI_MODLIST = 16,
	SI_CMDLINE = 24, SI_RSDP = 32, SI_MEMMAP = 40, SI_MEMMAP_ENTRIES = 48, SI_SIZE = 56,
};
#define SI_MAGIC_VALUE 0x336ec578u
/* hvm_modlist_entry: paddr, size, cmdline, reserved. hvm_memmap_table_entry: addr, size, type,
 * reserved; types are those of e820. */
#define MODLIST_OFF 0x80
#define MEMMAP_OFF 0x100
#define MEMMAP_ENTRY 24

int pvh_load(const struct boot_request *rq, const struct elf_image *elf, struct ram *ram,
	     struct boot_entry *out, struct err *e)
{
	u8 page[MEMMAP_OFF + BOOT_RANGES_MAX * MEMMAP_ENTRY] = { 0 };
	struct boot_range map[BOOT_RANGES_MAX];
	unsigned n = boot_memory_map(ram, map);
	u64 initrd = 0;
	int r;

	if (!elf->pvh_entry)
		return err_set(e, EINVAL, "%s has no PVH entry (ELF note 18 of Xen)",
			       rq->kernel.name);
	if (elf->pvh_entry < elf->lo || elf->pvh_entry >= elf->hi)
		return err_set(e, EINVAL, "%s: its PVH entry %#llx lies outside what it loads",
			       rq->kernel.name, (unsigned long long)elf->pvh_entry);
	r = elf_load(&rq->kernel, elf, 0, ram, rq, e);
	if (!r)
		r = boot_cmdline(ram, rq, BOOT_CMDLINE_MAX, e);
	if (!r && blob_is(&rq->initrd))
		r = boot_initrd(ram, rq, elf->hi, 2 * GiB, false, &initrd, e);
	if (r)
		return r;
	put_le32(page + SI_MAGIC, SI_MAGIC_VALUE);
	put_le32(page + SI_VERSION, 1);
	put_le64(page + SI_CMDLINE, BOOT_CMDLINE);
	put_le64(page + SI_RSDP, rq->rsdp);
	if (initrd) {
		put_le32(page + SI_NR_MODULES, 1);
		put_le64(page + SI_MODLIST, BOOT_INFO + MODLIST_OFF);
		put_le64(page + MODLIST_OFF, initrd);
		put_le64(page + MODLIST_OFF + 8, rq->initrd.len);
	}
	put_le64(page + SI_MEMMAP, BOOT_INFO + MEMMAP_OFF);
	put_le32(page + SI_MEMMAP_ENTRIES, n);
	for (unsigned i = 0; i < n; i++) {
		u8 *p = page + MEMMAP_OFF + MEMMAP_ENTRY * i;

		put_le64(p, map[i].start);
		put_le64(p + 8, map[i].len);
		put_le32(p + 16, map[i].type);
	}
	if (!ram_write(ram, BOOT_INFO, page, sizeof(page)))
		return err_set(e, ENOMEM, "%s: no memory below 1 MiB to boot it", rq->kernel.name);
	*out = (struct boot_entry){ .mode = BOOT_MODE_FLAT32, .rip = elf->pvh_entry,
				    .rbx = BOOT_INFO, .what = "PVH" };
	return boot_tables(ram, rq, false, e);
}
