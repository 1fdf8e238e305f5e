/* SPDX-License-Identifier: GPL-2.0-or-later */
/* linux.c - what a Linux kernel is told at its entry, by whichever way it was loaded; and a bare
 * vmlinux, entered at its own entry point. */
#include "platform/boot/linux.h"
#include "base/bytes.h"
#include <errno.h>
#include <string.h>

bool linux_cmdline_has(const char *s, const char *word)
{
	size_t n = strlen(word);

	while (*s) {
		size_t len;

		s += strspn(s, " \t\n");
		len = strcspn(s, " \t\n");
		if (len == 2 && !memcmp(s, "--", 2))
			return false;
		if (len == n && !memcmp(s, word, n))
			return true;
		s += len;
	}
	return false;
}

int linux_params_finish(u8 bp[BP_SIZE], const struct linux_boot *lb,
			const struct boot_request *rq, struct ram *ram, struct err *e)
{
	struct boot_range map[BOOT_RANGES_MAX];
	unsigned n = boot_memory_map(ram, map);
	u64 above = boot_low_top(ram) > BOOT_HIGH ? (boot_low_top(ram) - BOOT_HIGH) >> 10 : 0;
	u64 initrd = 0;
	int r;

	r = boot_cmdline(ram, rq, lb->cmdline_max, e);
	if (!r && blob_is(&rq->initrd))
		r = boot_initrd(ram, rq, lb->initrd_lo, lb->initrd_max + 1, false, &initrd, e);
	if (r)
		return r;
	bp[BP_TYPE_OF_LOADER] = BP_LOADER_UNDEFINED;
	put_le32(bp + BP_CMD_LINE_PTR, BOOT_CMDLINE);
	if (lb->version < 0x202) {
		put_le16(bp + BP_OLD_CL_MAGIC, 0xa33f);
		put_le16(bp + BP_OLD_CL_OFFSET, BOOT_CMDLINE - BOOT_INFO);
	}
	if (lb->version >= 0x201) {
		bp[BP_LOADFLAGS] |= CAN_USE_HEAP;
		put_le16(bp + BP_HEAP_END_PTR, 0xfe00);
	}
	if (initrd) {
		put_le32(bp + BP_RAMDISK_IMAGE, (u32)initrd);
		put_le32(bp + BP_RAMDISK_SIZE, (u32)rq->initrd.len);
	}
	if (lb->version >= 0x20e)
		put_le64(bp + BP_ACPI_RSDP, rq->rsdp);
	put_le16(bp + BP_EXT_MEM_K, (u16)MIN(above, 0xfc00ull));
	put_le32(bp + BP_ALT_MEM_K, (u32)above);
	bp[BP_E820_ENTRIES] = (u8)n;
	for (unsigned i = 0; i < n; i++) {
		put_le64(bp + BP_E820 + 20 * i, map[i].start);
		put_le64(bp + BP_E820 + 20 * i + 8, map[i].len);
		put_le32(bp + BP_E820 + 20 * i + 16, map[i].type);
	}
	if (!ram_write(ram, BOOT_INFO, bp, BP_SIZE))
		return err_set(e, ENOMEM, "%s: no memory below 1 MiB to boot it", rq->kernel.name);
	return 0;
}

/* x86-64: the kernel's text may be mapped anywhere in its 1 GiB; we keep the physical address and
 * move the virtual one, as its own stub does with `nokaslr` absent. i386: the two move together,
 * within the 512 MiB that the kernel's early page tables cover. */
#define KASLR_SPAN_64 (1 * GiB)
#define KASLR_SPAN_32 (512 * MiB)
#define KASLR_ALIGN_64 (2 * MiB)
#define KERNEL_MAP_64 0xffffffff80000000ull	/* __START_KERNEL_map */

int vmlinux_place(const struct blob *file, const struct elf_image *elf, const struct relocs *rl,
		  u64 align, u64 init_size, u8 *bp, const struct boot_request *rq, struct ram *ram,
		  u64 *entry, u64 *hi, struct err *e)
{
	u64 need = MAX(elf->hi - elf->lo, init_size), span, step, delta = 0, pa_delta = 0;
	u64 top = boot_low_top(ram);
	int r;

	if (!add_ok(elf->lo, need, hi) || *hi > top)
		return err_set(e, ENOMEM, "%s needs %llu MiB of memory to start; give it more with "
			       "--memory", rq->kernel.name,
			       (unsigned long long)((*hi + MiB - 1) >> 20));
	if (elf->is64) {
		span = KASLR_SPAN_64;
		step = MAX(align, KASLR_ALIGN_64);
	} else {
		/* Leave the upper half of a small machine to the initrd. */
		span = MIN(KASLR_SPAN_32, top / 2);
		step = align;
	}
	if (rl && rq->seed && !linux_cmdline_has(rq->cmdline, "nokaslr") && step && *hi <= span) {
		delta = rq->seed % ((span - *hi) / step + 1) * step;
		bp[BP_LOADFLAGS] |= KASLR_FLAG;
	}
	if (!elf->is64)
		pa_delta = delta;
	r = elf_load(file, elf, pa_delta, ram, rq, e);
	if (!r && delta) {
		/* Where a linked virtual address lies in guest memory now. */
		u64 pa_of_va = elf->is64 ? -KERNEL_MAP_64 : elf->pa_of_va + pa_delta;

		r = relocs_apply(file, rl, elf->is64, pa_of_va, delta, ram, rq, e);
	}
	*entry = elf->entry_pa + pa_delta;
	*hi += pa_delta;
	return r;
}

/* A vmlinux as a file has no setup header: make the one that a 2.12 bzImage would have. */
int vmlinux_load(const struct boot_request *rq, const struct elf_image *elf, struct ram *ram,
		 struct boot_entry *out, struct err *e)
{
	struct linux_boot lb = { .initrd_max = 0x7fffffff, .cmdline_max = 2047, .version = 0x20f };
	u8 bp[BP_SIZE] = { 0 };
	int r;

	put_le16(bp + BP_BOOT_FLAG, 0xaa55);
	put_le32(bp + BP_HEADER, BP_HDRS);
	put_le16(bp + BP_VERSION, (u16)lb.version);
	bp[BP_LOADFLAGS] = LOADED_HIGH;
	put_le32(bp + BP_KERNEL_ALIGNMENT, 0x200000);
	put_le32(bp + BP_CMDLINE_SIZE, (u32)lb.cmdline_max);
	put_le32(bp + BP_INITRD_ADDR_MAX, (u32)lb.initrd_max);
	r = vmlinux_place(&rq->kernel, elf, NULL, 0, 0, bp, rq, ram, &out->rip, &lb.initrd_lo, e);
	if (!r)
		r = linux_params_finish(bp, &lb, rq, ram, e);
	if (!r)
		r = boot_tables(ram, rq, elf->is64, e);
	out->mode = elf->is64 ? BOOT_MODE_LONG64 : BOOT_MODE_FLAT32;
	out->rsi = BOOT_INFO;
	out->what = "vmlinux";
	return r;
}
