/* SPDX-License-Identifier: GPL-2.0-or-later */
/* linux.h - Linux' setup header and boot_params ("zero page").
 * After: Documentation/arch/x86/boot.rst and zero-page.rst. Offsets are those in boot_params,
 * which for the setup header are also those in a bzImage. */
#ifndef PENTA_PLATFORM_BOOT_LINUX_H
#define PENTA_PLATFORM_BOOT_LINUX_H

#include "platform/boot/boot.h"

enum linux_params {
	BP_EXT_MEM_K = 0x002,		/* KiB above 1 MiB, 16 bits */
	BP_OLD_CL_MAGIC = 0x020,	/* 0xa33f: below 2.02 the command line is told so */
	BP_OLD_CL_OFFSET = 0x022,
	BP_ACPI_RSDP = 0x070,		/* 64 bits, 2.14 */
	BP_EXT_RAMDISK_IMAGE = 0x0c0, BP_EXT_RAMDISK_SIZE = 0x0c4,
	BP_ALT_MEM_K = 0x1e0,
	BP_E820_ENTRIES = 0x1e8,
	BP_SENTINEL = 0x1ef,		/* must be 0: we cleared what we did not fill */
	BP_SETUP_SECTS = 0x1f1,
	BP_SYSSIZE = 0x1f4,		/* of the protected-mode code, in 16 bytes */
	BP_BOOT_FLAG = 0x1fe,		/* 0xaa55 */
	BP_JUMP_LEN = 0x201,		/* the header ends at 0x202 + this */
	BP_HEADER = 0x202,		/* "HdrS" */
	BP_VERSION = 0x206,
	BP_TYPE_OF_LOADER = 0x210,
	BP_LOADFLAGS = 0x211,
	BP_CODE32_START = 0x214,
	BP_RAMDISK_IMAGE = 0x218, BP_RAMDISK_SIZE = 0x21c,
	BP_HEAP_END_PTR = 0x224,	/* 2.01 */
	BP_CMD_LINE_PTR = 0x228,	/* 2.02 */
	BP_INITRD_ADDR_MAX = 0x22c,	/* 2.03 */
	BP_KERNEL_ALIGNMENT = 0x230,	/* 2.05 */
	BP_RELOCATABLE = 0x234,		/* 2.05 */
	BP_XLOADFLAGS = 0x236,		/* 2.12 */
	BP_CMDLINE_SIZE = 0x238,	/* 2.06 */
	BP_PAYLOAD_OFFSET = 0x248, BP_PAYLOAD_LENGTH = 0x24c,	/* 2.08 */
	BP_PREF_ADDRESS = 0x258, BP_INIT_SIZE = 0x260,		/* 2.10 */
	BP_HDR_END = 0x290,		/* what boot_params leaves the header */
	BP_E820 = 0x2d0,		/* 128 x { u64 start, u64 length, u32 type } */
	BP_SIZE = 0x1000,
};
#define BP_HDRS 0x53726448u		/* "HdrS" */
#define BP_LOADER_UNDEFINED 0xff
#define LOADED_HIGH 0x01
#define KASLR_FLAG 0x02			/* set by who has chosen a random address */
#define CAN_USE_HEAP 0x80
#define XLF_KERNEL_64 0x01

struct linux_boot {
	u64 initrd_lo;		/* first byte behind what the kernel wants at its start */
	u64 initrd_max;		/* last byte an initrd may have */
	u64 cmdline_max;
	unsigned version;	/* of the boot protocol */
};

/* Fill @bp, which holds the setup header already, with command line, initrd, memory map and
 * tables, and put it to BOOT_INFO. */
int linux_params_finish(u8 bp[BP_SIZE], const struct linux_boot *lb,
			const struct boot_request *rq, struct ram *ram, struct err *e);
/* Is @word on the kernel's command line, as a word of its own before any "--"? */
bool linux_cmdline_has(const char *cmdline, const char *word);

/* Load a vmlinux at a random address if @rl and the command line allow it, else where it was
 * linked. @align: of physical addresses. Sets KASLR_FLAG in @bp and *@hi, the end of the memory
 * it needs at first. */
int vmlinux_place(const struct blob *file, const struct elf_image *elf, const struct relocs *rl,
		  u64 align, u64 init_size, u8 *bp, const struct boot_request *rq, struct ram *ram,
		  u64 *entry, u64 *hi, struct err *e);

#endif
