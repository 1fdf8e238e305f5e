/* SPDX-License-Identifier: GPL-2.0-or-later */
/* boot.c - what all direct boots share: which loader takes the file, the memory map, the places
 * of the initrd and the command line. */
#include "platform/boot/boot.h"
#include "base/bytes.h"
#include <errno.h>
#include <string.h>

const char *const boot_how_names[BOOT_HOW_N] = {
	"auto", "direct", "bzimage64", "bzimage32", "elf", "pvh", "multiboot",
};

u64 boot_low_top(const struct ram *ram)
{
	return MIN(ram_size(ram), RAM_LOW_MAX);
}

unsigned boot_memory_map(const struct ram *ram, struct boot_range map[BOOT_RANGES_MAX])
{
	unsigned n = 0;
	u64 low = boot_low_top(ram);

	map[n++] = (struct boot_range){ 0, BOOT_BASE_END, BOOT_RAM };
	/* The rest of the first MiB: extended BIOS data by custom, VGA, ACPI tables. */
	map[n++] = (struct boot_range){ BOOT_BASE_END, 0xa0000 - BOOT_BASE_END, BOOT_RESERVED };
	map[n++] = (struct boot_range){ BOOT_ACPI, BOOT_ACPI_END - BOOT_ACPI, BOOT_RESERVED };
	if (low > BOOT_HIGH)
		map[n++] = (struct boot_range){ BOOT_HIGH, low - BOOT_HIGH, BOOT_RAM };
	if (ram_size(ram) > RAM_LOW_MAX)
		map[n++] = (struct boot_range){ RAM_HIGH_BASE, ram_size(ram) - RAM_LOW_MAX,
						BOOT_RAM };
	return n;
}

static bool overlaps(u64 a, u64 alen, u64 lo, u64 hi)
{
	return a < hi && lo < a + alen;
}

u8 *boot_place(struct ram *ram, const struct boot_request *rq, u64 gpa, u64 len, struct err *e)
{
	u64 end;
	u8 *p;

	if (!add_ok(gpa, len, &end) || end > boot_low_top(ram)) {
		err_set(e, ENOMEM, "%s wants memory at %#llx-%#llx, and the machine's low memory "
			"ends at %#llx; give it more with --memory", rq->kernel.name,
			(unsigned long long)gpa, (unsigned long long)gpa + len,
			(unsigned long long)boot_low_top(ram));
		return NULL;
	}
	if (overlaps(gpa, len, BOOT_LOW_START, BOOT_HIGH)) {
		err_set(e, EINVAL, "%s wants memory at %#llx-%#llx; %#x-%#x is not free while "
			"booting", rq->kernel.name, (unsigned long long)gpa,
			(unsigned long long)end, BOOT_LOW_START, BOOT_HIGH);
		return NULL;
	}
	p = ram_view(ram, gpa, len);
	if (!p)
		err_set(e, EINVAL, "%s: no memory at %#llx-%#llx", rq->kernel.name,
			(unsigned long long)gpa, (unsigned long long)end);
	return p;
}

int boot_copy(struct ram *ram, const struct boot_request *rq, const struct blob *b, u64 off,
	      u64 gpa, u64 len, struct err *e)
{
	u8 *p;
	int r;

	if (!len)
		return 0;
	p = boot_place(ram, rq, gpa, len, e);
	if (!p)
		return e ? -e->code : -EINVAL;
	r = blob_read(b, off, p, len, e);
	ram_wrote(ram, gpa, len);
	return r;
}

int boot_zero(struct ram *ram, const struct boot_request *rq, u64 gpa, u64 len, struct err *e)
{
	u8 *p;

	if (!len)
		return 0;
	p = boot_place(ram, rq, gpa, len, e);
	if (!p)
		return e ? -e->code : -EINVAL;
	if (!rq->ram_is_zero) {
		memset(p, 0, len);
		ram_wrote(ram, gpa, len);
	}
	return 0;
}

int boot_initrd(struct ram *ram, const struct boot_request *rq, u64 lo, u64 hi, bool low, u64 *gpa,
		struct err *e)
{
	const struct blob *b = &rq->initrd;
	u64 at;
	u8 *p;
	int r;

	lo = (lo + PAGE_SIZE - 1) & PAGE_MASK;
	hi = MIN(hi, boot_low_top(ram)) & PAGE_MASK;
	if (hi < lo || b->len > hi - lo)
		return err_set(e, ENOMEM, "%s: %llu MiB do not fit into the %llu MiB that the "
			       "kernel leaves; give the machine more with --memory", b->name,
			       (unsigned long long)(b->len >> 20),
			       (unsigned long long)(hi < lo ? 0 : (hi - lo) >> 20));
	at = low ? lo : (hi - b->len) & PAGE_MASK;
	if (at < lo)
		return err_set(e, ENOMEM, "%s does not fit beside the kernel; give the machine "
			       "more memory with --memory", b->name);
	p = ram_view(ram, at, b->len);
	if (!p)
		return err_set(e, ENOMEM, "%s: no memory at %#llx", b->name,
			       (unsigned long long)at);
	r = blob_read(b, 0, p, b->len, e);
	ram_wrote(ram, at, b->len);
	*gpa = at;
	return r;
}

int boot_cmdline(struct ram *ram, const struct boot_request *rq, u64 max, struct err *e)
{
	return boot_cmdline_at(ram, rq->cmdline, BOOT_CMDLINE, max, e);
}

int boot_cmdline_at(struct ram *ram, const char *text, u64 gpa, u64 max, struct err *e)
{
	size_t len = strlen(text);

	max = MIN(max, (u64)BOOT_CMDLINE_MAX - 1);
	if (len > max)
		return err_set(e, E2BIG, "--append: %zu characters; this kernel takes at most %llu",
			       len, (unsigned long long)max);
	if (!ram_write(ram, gpa, text, len + 1))
		return err_set(e, ENOMEM, "no memory for the command line");
	return 0;
}

static int load_elf(const struct boot_request *rq, struct ram *ram, struct boot_entry *out,
		    struct err *e)
{
	struct elf_image elf;
	int r = elf_parse(&rq->kernel, &elf, e);

	if (r)
		return r;
	if (!elf.is_x86)
		return err_set(e, EINVAL, "%s is an ELF file for another processor; this machine "
			       "is x86", rq->kernel.name);
	switch (rq->how) {
	case BOOT_PVH:
		return pvh_load(rq, &elf, ram, out, e);
	case BOOT_ELF:
		return vmlinux_load(rq, &elf, ram, out, e);
	default:
		return elf.pvh_entry ? pvh_load(rq, &elf, ram, out, e)
				     : vmlinux_load(rq, &elf, ram, out, e);
	}
}

int boot_load(const struct boot_request *rq, struct ram *ram, struct boot_entry *out,
	      struct err *e)
{
	static int (*const loaders[])(const struct boot_request *, struct ram *,
				      struct boot_entry *, struct err *) = {
		[BOOT_DIRECT] = bzimage_load, [BOOT_BZIMAGE64] = bzimage_load,
		[BOOT_BZIMAGE32] = bzimage_load, [BOOT_ELF] = load_elf, [BOOT_PVH] = load_elf,
		[BOOT_MULTIBOOT] = multiboot_load,
	};
	/* What we look for, in order: a multiboot kernel is an ELF file, too. */
	static const enum boot_how order[] = { BOOT_DIRECT, BOOT_MULTIBOOT, BOOT_ELF };

	*out = (struct boot_entry){ .mode = BOOT_MODE_RESET };
	if (blob_is(&rq->firmware))
		return firmware_load(rq, ram, out, e);
	if (!blob_is(&rq->kernel))
		return err_set(e, EINVAL, "nothing to boot: give --kernel or --firmware");
	if (rq->how != BOOT_AUTO) {
		int r = loaders[rq->how](rq, ram, out, e);

		if (r == -ENOEXEC)
			return err_set(e, EINVAL, "%s is nothing that --boot %s can start",
				       rq->kernel.name, boot_how_names[rq->how]);
		return r;
	}
	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		int r = loaders[order[i]](rq, ram, out, e);

		if (r != -ENOEXEC)
			return r;
	}
	return err_set(e, EINVAL, "%s is no kernel that I know: neither bzImage, multiboot nor ELF",
		       rq->kernel.name);
}
