/* SPDX-License-Identifier: GPL-2.0-or-later */
/* multiboot.c - kernels with a multiboot (version 1) header: GRUB's protocol, used by
 * kvm-unit-tests, hobby systems and Xen. After: Multiboot Specification 0.6.96. */
#include "base/bytes.h"
#include "base/cleanup.h"
#include "platform/boot/boot.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MB_SEARCH 8192			/* the header lies whole within these bytes */
#define MB_MAGIC 0x1badb002u
#define MB_EAX 0x2badb002u
#define MB_WANT_MASK 0xffff		/* flags a loader must understand */
#define MB_KNOWN 0x3			/* page-aligned modules, memory information */
#define MB_HAS_ADDRS 0x10000		/* load addresses stand in the header */

/* The header's fields, and those of the information handed over (section 3.3). */
enum mb_header { MBH_FLAGS = 4, MBH_CHECKSUM = 8, MBH_HEADER_ADDR = 12, MBH_LOAD_ADDR = 16,
		 MBH_LOAD_END = 20, MBH_BSS_END = 24, MBH_ENTRY = 28, MBH_SIZE = 32 };
enum mb_info { MBI_FLAGS = 0, MBI_MEM_LOWER = 4, MBI_MEM_UPPER = 8, MBI_CMDLINE = 16,
	       MBI_MODS_COUNT = 20, MBI_MODS_ADDR = 24, MBI_MMAP_LEN = 44, MBI_MMAP_ADDR = 48,
	       MBI_LOADER = 64, MBI_SIZE = 120 };
#define MBI_F_MEM 0x001
#define MBI_F_CMDLINE 0x004
#define MBI_F_MODS 0x008
#define MBI_F_MMAP 0x040
#define MBI_F_LOADER 0x200
/* In the page at BOOT_INFO. */
#define MODS_OFF 0x80
#define NAME_OFF 0xa0
#define MMAP_OFF 0x100
#define MMAP_ENTRY 24			/* a size field of 20, then base, length, type */

static int find_header(const struct blob *b, u8 hdr[MBH_SIZE], u64 *at, struct err *e)
{
	u8 buf[MB_SEARCH] = { 0 };
	size_t len = MIN(b->len, sizeof(buf));

	if (blob_read(b, 0, buf, len, e))
		return -ENOEXEC;
	for (size_t i = 0; i + 12 <= len; i += 4) {
		u32 flags = get_le32(buf + i + MBH_FLAGS);

		if (get_le32(buf + i) != MB_MAGIC ||
		    MB_MAGIC + flags + get_le32(buf + i + MBH_CHECKSUM) != 0)
			continue;
		if ((flags & MB_HAS_ADDRS) && i + MBH_SIZE > len)
			continue;
		memset(hdr, 0, MBH_SIZE);
		memcpy(hdr, buf + i, MIN((size_t)MBH_SIZE, len - i));
		*at = i;
		return 0;
	}
	return -ENOEXEC;
}

/* Load by the addresses in the header ("a.out kludge"). */
static int load_by_header(const struct boot_request *rq, const u8 *hdr, u64 at, struct ram *ram,
			  u64 *entry, u64 *hi, struct err *e)
{
	const struct blob *b = &rq->kernel;
	u64 header = get_le32(hdr + MBH_HEADER_ADDR), load = get_le32(hdr + MBH_LOAD_ADDR);
	u64 end = get_le32(hdr + MBH_LOAD_END), bss = get_le32(hdr + MBH_BSS_END), off;
	int r;

	if (load > header || header - load > at)
		return err_set(e, EINVAL, "%s: its multiboot header names impossible addresses",
			       b->name);
	off = at - (header - load);
	if (!end)
		end = load + (b->len - off);
	if (!bss)
		bss = end;
	if (end < load || bss < end)
		return err_set(e, EINVAL, "%s: its multiboot header names impossible addresses",
			       b->name);
	r = boot_copy(ram, rq, b, off, load, end - load, e);
	if (!r)
		r = boot_zero(ram, rq, end, bss - end, e);
	*entry = get_le32(hdr + MBH_ENTRY);
	*hi = bss;
	return r;
}

static int load_by_elf(const struct boot_request *rq, struct ram *ram, u64 *entry, u64 *hi,
		       struct err *e)
{
	struct elf_image elf;
	int r = elf_parse(&rq->kernel, &elf, e);

	if (r == -ENOEXEC || (!r && !elf.is_x86))
		return err_set(e, EINVAL, "%s: a multiboot header without addresses in what is no "
			       "x86 ELF file", rq->kernel.name);
	if (r)
		return r;
	*entry = elf.entry_pa;
	*hi = elf.hi;
	return elf_load(&rq->kernel, &elf, 0, ram, rq, e);
}

/* A multiboot image finds its own name first on its command line, as from a boot loader's menu. */
static int put_cmdline(const struct boot_request *rq, struct ram *ram, struct err *e)
{
	const char *slash = strrchr(rq->kernel.name, '/');
	const char *name = slash ? slash + 1 : rq->kernel.name;
	cleanup_free char *text = NULL;

	if (asprintf(&text, "%s%s%s", name, *rq->cmdline ? " " : "", rq->cmdline) < 0)
		return err_set(e, ENOMEM, "no memory for the command line");
	return boot_cmdline_at(ram, text, BOOT_CMDLINE, BOOT_CMDLINE_MAX, e);
}

int multiboot_load(const struct boot_request *rq, struct ram *ram, struct boot_entry *out,
		   struct err *e)
{
	u8 hdr[MBH_SIZE], page[MMAP_OFF + BOOT_RANGES_MAX * MMAP_ENTRY] = { 0 };
	struct boot_range map[BOOT_RANGES_MAX];
	unsigned n = boot_memory_map(ram, map);
	u64 at = 0, entry = 0, hi = 0, initrd = 0;
	u32 flags, info = MBI_F_MEM | MBI_F_CMDLINE | MBI_F_MMAP | MBI_F_LOADER;
	int r = find_header(&rq->kernel, hdr, &at, e);

	if (r)
		return r;
	flags = get_le32(hdr + MBH_FLAGS);
	if (flags & MB_WANT_MASK & ~MB_KNOWN)
		return err_set(e, ENOTSUP, "%s: its multiboot header demands what this machine has "
			       "not (flags %#x)", rq->kernel.name, flags & MB_WANT_MASK);
	r = flags & MB_HAS_ADDRS ? load_by_header(rq, hdr, at, ram, &entry, &hi, e)
				 : load_by_elf(rq, ram, &entry, &hi, e);
	if (!r)
		r = put_cmdline(rq, ram, e);
	/* Modules right behind the kernel: that is where other loaders put them. */
	if (!r && blob_is(&rq->initrd))
		r = boot_initrd(ram, rq, MAX(hi, (u64)BOOT_HIGH), 4 * GiB, true, &initrd, e);
	if (r)
		return r;
	if (initrd) {
		info |= MBI_F_MODS;
		put_le32(page + MBI_MODS_COUNT, 1);
		put_le32(page + MBI_MODS_ADDR, BOOT_INFO + MODS_OFF);
		put_le32(page + MODS_OFF, (u32)initrd);
		put_le32(page + MODS_OFF + 4, (u32)(initrd + rq->initrd.len));
		put_le32(page + MODS_OFF + 8, BOOT_INFO + MODS_OFF + 12);	/* "": a zero */
	}
	put_le32(page + MBI_FLAGS, info);
	put_le32(page + MBI_MEM_LOWER, BOOT_BASE_END >> 10);
	put_le32(page + MBI_MEM_UPPER, boot_low_top(ram) > BOOT_HIGH ?
		 (u32)((boot_low_top(ram) - BOOT_HIGH) >> 10) : 0);
	put_le32(page + MBI_CMDLINE, BOOT_CMDLINE);
	put_le32(page + MBI_MMAP_LEN, n * MMAP_ENTRY);
	put_le32(page + MBI_MMAP_ADDR, BOOT_INFO + MMAP_OFF);
	put_le32(page + MBI_LOADER, BOOT_INFO + NAME_OFF);
	memcpy(page + NAME_OFF, "penta", 6);
	for (unsigned i = 0; i < n; i++) {
		u8 *p = page + MMAP_OFF + MMAP_ENTRY * i;

		put_le32(p, MMAP_ENTRY - 4);
		put_le64(p + 4, map[i].start);
		put_le64(p + 12, map[i].len);
		put_le32(p + 20, map[i].type);
	}
	if (!ram_write(ram, BOOT_INFO, page, sizeof(page)))
		return err_set(e, ENOMEM, "%s: no memory below 1 MiB to boot it", rq->kernel.name);
	*out = (struct boot_entry){ .mode = BOOT_MODE_FLAT32, .rip = entry, .rax = MB_EAX,
				    .rbx = BOOT_INFO, .what = "multiboot" };
	return boot_tables(ram, rq, false, e);
}
