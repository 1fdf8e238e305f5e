/* SPDX-License-Identifier: GPL-2.0-or-later */
/* boot.h - start a guest without firmware: put the kernel and what it wants to be told into guest
 * memory, and say in which state the boot processor enters it.
 *
 *	bzImage		the vmlinux inside, unpacked here and entered at its own entry;
 *			or the image as it is, at its 64-bit or 32-bit entry	bzimage.c
 *	ELF		Linux' 64-bit entry (vmlinux)				elf.c linux.c
 *			PVH entry (note 18); multiboot				pvh.c multiboot.c
 *	firmware	a ROM that ends at 4 GiB				firmware.c
 *
 * Guest-physical memory while booting (LINUX: Documentation/arch/x86/boot.rst leaves the choice):
 *
 *	90000	boot_params, or multiboot/PVH information	BOOT_INFO
 *	91000	GDT						BOOT_GDT
 *	92000	page tables: identity map of the first 4 GiB	BOOT_PAGES
 *	98000	command line, up to 28 KiB			BOOT_CMDLINE
 *	9fc00	end of base memory
 *	e0000	ACPI tables, RSDP first				BOOT_ACPI
 *	100000	kernels, then free; the initrd lies at the top of low memory
 *
 * All files are hostile: every size and address is checked before it is used, sums may wrap, and
 * each refusal is one line that names the file, what is wrong and what would be right. */
#ifndef PENTA_PLATFORM_BOOT_BOOT_H
#define PENTA_PLATFORM_BOOT_BOOT_H

#include "platform/boot/blob.h"
#include "vm/cpu_state.h"
#include "vm/ram.h"

enum boot_layout {
	BOOT_LOW_START = 0x90000, BOOT_INFO = 0x90000, BOOT_GDT = 0x91000, BOOT_PAGES = 0x92000,
	BOOT_CMDLINE = 0x98000, BOOT_CMDLINE_MAX = 0x7000, BOOT_LOW_END = 0x9f000,
	BOOT_BASE_END = 0x9fc00, BOOT_ACPI = 0xe0000, BOOT_ACPI_END = 0x100000,
	BOOT_HIGH = 0x100000,
};

enum boot_how {
	BOOT_AUTO,		/* what the file is best at */
	BOOT_DIRECT,		/* bzImage: unpack here, enter the vmlinux */
	BOOT_BZIMAGE64,		/* bzImage: 64-bit entry, it unpacks itself */
	BOOT_BZIMAGE32,		/* bzImage: 32-bit entry, likewise */
	BOOT_ELF,		/* ELF: Linux protocol at e_entry */
	BOOT_PVH, BOOT_MULTIBOOT,
	BOOT_HOW_N
};
extern const char *const boot_how_names[BOOT_HOW_N];

struct boot_request {
	struct blob kernel, initrd, firmware;	/* absent ones: BLOB_NONE */
	const char *cmdline;			/* borrowed; never NULL */
	enum boot_how how;
	u64 rsdp;		/* guest-physical, 0: none */
	bool ram_is_zero;	/* fresh memory: zero bytes need not be written */
	u64 seed;		/* for address randomization; 0: none */
};

/* How the boot processor starts. */
enum boot_mode { BOOT_MODE_RESET, BOOT_MODE_FLAT32, BOOT_MODE_LONG64 };
struct boot_entry {
	enum boot_mode mode;
	u64 rip;
	u64 rax, rbx, rsi;
	const char *what;	/* "vmlinux in bzImage", for the log */
};

/* Load everything into @ram and fill @out. */
int boot_load(const struct boot_request *rq, struct ram *ram, struct boot_entry *out,
	      struct err *e);
/* Change @s, the state after reset, to the entry's. Only for the boot processor. */
void boot_enter(const struct boot_entry *entry, struct cpu_state *s);

/* -- between the loaders -- */

/* The guest-physical ranges of usable memory, as e820 and its kin tell them. */
struct boot_range { u64 start, len; u32 type; };
enum { BOOT_RAM = 1, BOOT_RESERVED = 2 };
#define BOOT_RANGES_MAX 8
unsigned boot_memory_map(const struct ram *ram, struct boot_range map[BOOT_RANGES_MAX]);
u64 boot_low_top(const struct ram *ram);	/* end of RAM below the hole */

/* A writable view of [gpa, gpa+len) for a kernel's segment, or NULL with the error set when it
 * lies outside RAM, or in what this file's map reserves. */
u8 *boot_place(struct ram *ram, const struct boot_request *rq, u64 gpa, u64 len, struct err *e);
/* Read a part of a blob into guest memory. */
int boot_copy(struct ram *ram, const struct boot_request *rq, const struct blob *b, u64 off,
	      u64 gpa, u64 len, struct err *e);
/* Zero [gpa, gpa+len), unless it is known to be zero. */
int boot_zero(struct ram *ram, const struct boot_request *rq, u64 gpa, u64 len, struct err *e);
/* Put the initrd on whole pages into [lo, hi): at the top, or (@low) at the bottom. */
int boot_initrd(struct ram *ram, const struct boot_request *rq, u64 lo, u64 hi, bool low, u64 *gpa,
		struct err *e);
/* Put the command line, with its NUL, to BOOT_CMDLINE. @max: the kernel's own limit without NUL. */
int boot_cmdline(struct ram *ram, const struct boot_request *rq, u64 max, struct err *e);
int boot_cmdline_at(struct ram *ram, const char *text, u64 gpa, u64 max, struct err *e);

/* ELF. */
struct elf_image {
	bool is64, is_x86;
	u64 entry;		/* e_entry */
	u64 entry_pa;		/* the same, physical */
	u64 lo, hi;		/* of the PT_LOAD segments, physical */
	u64 pa_of_va;		/* what to add to a virtual address of the lowest one */
	u64 end_off;		/* of all that headers name, in the file */
	u64 pvh_entry;		/* 0: no note */
};
/* 0, -ENOEXEC: no ELF (error not set), or another error. */
int elf_parse(const struct blob *b, struct elf_image *elf, struct err *e);
int elf_load(const struct blob *b, const struct elf_image *elf, u64 delta, struct ram *ram,
	     const struct boot_request *rq, struct err *e);

/* Add @delta where Linux' relocation list behind the ELF asks for it. @pa_of_va: what to add to a
 * virtual address of the list to get its place in guest memory. */
struct relocs { u64 abs64_off, abs64_n, inv32_off, inv32_n, abs32_off, abs32_n; };
/* false: behind the ELF is no list that we know. */
bool relocs_find(const struct blob *b, const struct elf_image *elf, struct relocs *out);
int relocs_apply(const struct blob *b, const struct relocs *rl, bool is64, u64 pa_of_va, u64 delta,
		 struct ram *ram, const struct boot_request *rq, struct err *e);

/* The formats. Each returns -ENOEXEC without an error when the file is none of its kind. */
int bzimage_load(const struct boot_request *rq, struct ram *ram, struct boot_entry *out,
		 struct err *e);
int vmlinux_load(const struct boot_request *rq, const struct elf_image *elf, struct ram *ram,
		 struct boot_entry *out, struct err *e);
int pvh_load(const struct boot_request *rq, const struct elf_image *elf, struct ram *ram,
	     struct boot_entry *out, struct err *e);
int multiboot_load(const struct boot_request *rq, struct ram *ram, struct boot_entry *out,
		   struct err *e);
/* Only the ROM itself, for a machine whose memory comes from elsewhere. */
int firmware_map(const struct boot_request *rq, struct ram *ram, struct err *e);
int firmware_load(const struct boot_request *rq, struct ram *ram, struct boot_entry *out,
		  struct err *e);

/* Page tables and GDT for BOOT_MODE_LONG64, GDT for FLAT32. */
int boot_tables(struct ram *ram, const struct boot_request *rq, bool long64, struct err *e);

#endif
