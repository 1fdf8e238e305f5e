/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_boot.c - kernels in all formats, whole and damaged, as platform/boot/ loads them. The
 * kernels are made to order by kernels.h. */
#include "unit.h"
#include "platform/kernels.h"
#include "platform/boot/unpack.h"
#include <errno.h>

#define RAM_SIZE (64 * MiB)

struct fix {
	struct kernels k;
	struct ram *ram;
	struct boot_request rq;
	struct boot_entry entry;
	struct err e;
};

static void fix_new(struct fix *x)
{
	memset(x, 0, sizeof(*x));
	assert_int_equal(ram_new(&x->ram, RAM_SIZE, NULL), 0);
	x->k.file = calloc(1, FILE_MAX);
	x->k.vmlinux = calloc(1, FILE_MAX);
	x->rq = (struct boot_request){ .kernel = BLOB_NONE, .initrd = BLOB_NONE,
				       .firmware = BLOB_NONE, .cmdline = "console=ttyS0",
				       .rsdp = 0xe0000, .ram_is_zero = true };
}

static void fix_free(struct fix *x)
{
	ram_free(x->ram);
	free(x->k.file);
	free(x->k.vmlinux);
}

static int load(struct fix *x)
{
	x->e = (struct err){ 0 };
	x->rq.kernel = blob_of(x->k.file, x->k.len, "kernel");
	return boot_load(&x->rq, x->ram, &x->entry, &x->e);
}

static u64 peek(struct fix *x, u64 gpa, unsigned n)
{
	u8 b[8] = { 0 };

	assert_true(ram_read(x->ram, gpa, b, n));
	return get_le64(b);
}

/* --- bzImage --- */

static void check_params(struct fix *x)
{
	assert_int_equal(peek(x, BOOT_INFO + BP_CMD_LINE_PTR, 4), BOOT_CMDLINE);
	assert_string_equal(ram_view(x->ram, BOOT_CMDLINE, 64), "console=ttyS0");
	assert_int_equal(peek(x, BOOT_INFO + BP_ACPI_RSDP, 8), 0xe0000);
	assert_int_equal(peek(x, BOOT_INFO + BP_SENTINEL, 1), 0);
	assert_int_equal(peek(x, BOOT_INFO + BP_HEADER, 4), BP_HDRS);
	assert_int_equal(peek(x, BOOT_INFO + BP_TYPE_OF_LOADER, 1), 0xff);
	assert_int_equal(peek(x, BOOT_INFO + BP_E820_ENTRIES, 1), 4);
	assert_int_equal(peek(x, BOOT_INFO + BP_E820 + 3 * 20, 8), 0x100000);
	assert_int_equal(peek(x, BOOT_INFO + BP_E820 + 3 * 20 + 8, 8), RAM_SIZE - MiB);
}

static void check_text(struct fix *x, u64 delta)
{
	assert_int_equal(peek(x, LOAD_PA + 0x1000, 4), get_le32(x->k.vmlinux + 0x2000));
	assert_int_equal(peek(x, LOAD_PA + 0x100, 8), TEXT_VA + 0x123 + delta);
	assert_int_equal(peek(x, LOAD_PA + 0x200, 4), (u32)(TEXT_VA + 0x456 + delta));
	assert_int_equal(peek(x, LOAD_PA + 0x300, 4), (u32)(0x789 - delta));
}

static void test_compressions(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(kernel_packings); i++) {
		struct fix x;

		fix_new(&x);
		make_vmlinux(&x.k, true, false);
		make_packed(&x.k, kernel_packings[i]);
		if (load(&x))
			fail_msg("%s: %s", kernel_packings[i], x.e.msg);
		assert_int_equal(x.entry.mode, BOOT_MODE_LONG64);
		assert_int_equal(x.entry.rip, LOAD_PA + 0x40);
		assert_int_equal(x.entry.rsi, BOOT_INFO);
		check_text(&x, 0);	/* no seed: not moved */
		check_params(&x);
		assert_int_equal(peek(&x, BOOT_INFO + BP_LOADFLAGS, 1) & KASLR_FLAG, 0);
		fix_free(&x);
	}
}

/* A compressed stream cut short, or with bits turned, is refused and never overruns. */
static void test_damaged_payloads(void **state)
{
	u8 *packed = malloc(FILE_MAX), *out = malloc(FILE_MAX);
	unsigned refused = 0;
	struct err e;
	struct fix x;

	fix_new(&x);
	make_vmlinux(&x.k, true, false);
	for (size_t i = 0; i < ARRAY_SIZE(kernel_packings); i++) {
		size_t n = pack(&x.k, kernel_packings[i], packed);

		assert_string_equal(unpack_kind(packed, n), kernel_packings[i]);
		for (size_t cut = 16; cut < n - 64; cut += n / 23 + 1)
			assert_int_equal(unpack(packed, cut, out, x.k.vmlinux_len, "k", &e),
					 -EINVAL);
		assert_int_equal(unpack(packed, n, out, x.k.vmlinux_len + 1, "k", &e), -EINVAL);
		assert_int_equal(unpack(packed, n, out, x.k.vmlinux_len / 2, "k", &e) == 0, false);
		for (size_t at = 8; at < n; at += n / 41 + 1) {
			packed[at] ^= 0x55;
			refused += unpack(packed, n, out, x.k.vmlinux_len, "k", &e) != 0;
			packed[at] ^= 0x55;
		}
		assert_int_equal(unpack(packed, n, out, x.k.vmlinux_len, "k", &e), 0);
		assert_memory_equal(out, x.k.vmlinux, x.k.vmlinux_len);
	}
	assert_true(refused > 100);
	assert_null(unpack_kind((const u8 *)"nonsense", 8));
	fix_free(&x);
	free(packed);
	free(out);
}

static void test_kaslr(void **state)
{
	u64 delta, seen = 0;
	struct fix x;

	fix_new(&x);
	make_vmlinux(&x.k, true, false);
	make_packed(&x.k, "gzip");
	for (x.rq.seed = 1; x.rq.seed < 40; x.rq.seed++) {
		assert_int_equal(load(&x), 0);
		delta = peek(&x, LOAD_PA + 0x100, 8) - TEXT_VA - 0x123;
		check_text(&x, delta);
		assert_int_equal(delta % 0x200000, 0);
		assert_true(delta < GiB - LOAD_PA);
		assert_int_equal(x.entry.rip, LOAD_PA + 0x40);
		assert_int_equal(peek(&x, BOOT_INFO + BP_LOADFLAGS, 1) & KASLR_FLAG, KASLR_FLAG);
		seen |= delta;
	}
	assert_true(seen != 0);
	x.rq.cmdline = "quiet nokaslr -- x";
	assert_int_equal(load(&x), 0);
	check_text(&x, 0);
	assert_int_equal(peek(&x, BOOT_INFO + BP_LOADFLAGS, 1) & KASLR_FLAG, 0);
	x.rq.cmdline = "quiet nokaslrx xnokaslr -- nokaslr";
	assert_int_equal(load(&x), 0);
	assert_int_equal(peek(&x, BOOT_INFO + BP_LOADFLAGS, 1) & KASLR_FLAG, KASLR_FLAG);
	fix_free(&x);
}

/* No relocations: nothing may move. A list that is none: the kernel's own stub must start it. */
static void test_no_relocs(void **state)
{
	struct fix x;

	fix_new(&x);
	x.rq.seed = 12345;
	make_vmlinux(&x.k, false, false);
	make_packed(&x.k, "gzip");
	assert_int_equal(load(&x), 0);
	check_text(&x, 0);
	memset(x.k.vmlinux + x.k.vmlinux_len, 0x11, 256);
	x.k.vmlinux_len += 256;
	make_packed(&x.k, "gzip");
	assert_int_equal(load(&x), 0);
	assert_int_equal(x.entry.rip, LOAD_PA + 0x200);
	x.rq.how = BOOT_DIRECT;
	assert_int_equal(load(&x), -ENOTSUP);
	fix_free(&x);
}

static void test_stub_entries(void **state)
{
	struct fix x;

	fix_new(&x);
	make_vmlinux(&x.k, true, false);
	make_packed(&x.k, "gzip");
	x.rq.how = BOOT_BZIMAGE64;
	assert_int_equal(load(&x), 0);
	assert_int_equal(x.entry.mode, BOOT_MODE_LONG64);
	assert_int_equal(x.entry.rip, LOAD_PA + 0x200);
	assert_int_equal(peek(&x, LOAD_PA + 0x3fc, 4), 0xcccccccc);
	assert_int_equal(peek(&x, LOAD_PA + 0x400, 4), get_le32(x.k.file + 4 * 512 + 0x400));
	assert_int_equal(peek(&x, BOOT_INFO + BP_CODE32_START, 4), LOAD_PA);
	check_params(&x);
	x.rq.how = BOOT_BZIMAGE32;
	assert_int_equal(load(&x), 0);
	assert_int_equal(x.entry.mode, BOOT_MODE_FLAT32);
	assert_int_equal(x.entry.rip, LOAD_PA);
	/* Protocol 2.04: below 1 MiB told by nothing, loaded at 1 MiB. */
	put_le16(x.k.file + BP_VERSION, 0x204);
	x.rq.how = BOOT_AUTO;
	assert_int_equal(load(&x), 0);
	assert_int_equal(x.entry.rip, 0x100000);
	assert_int_equal(x.entry.mode, BOOT_MODE_FLAT32);
	x.rq.how = BOOT_BZIMAGE64;
	assert_int_equal(load(&x), -EINVAL);
	assert_non_null(strstr(x.e.msg, "64-bit"));
	/* A zImage of protocol 2.00: low code, the old way to tell the command line. */
	x.rq.how = BOOT_AUTO;
	put_le16(x.k.file + BP_VERSION, 0x200);
	x.k.file[BP_LOADFLAGS] = 0;
	assert_int_equal(load(&x), 0);
	assert_int_equal(x.entry.rip, 0x1000);
	assert_int_equal(peek(&x, BOOT_INFO + BP_OLD_CL_MAGIC, 2), 0xa33f);
	assert_int_equal(peek(&x, BOOT_INFO + BP_OLD_CL_OFFSET, 2) + BOOT_INFO, BOOT_CMDLINE);
	fix_free(&x);
}

static void test_long_cmdline(void **state)
{
	char *line = malloc(5000);
	struct fix x;

	fix_new(&x);
	make_vmlinux(&x.k, true, false);
	make_packed(&x.k, "gzip");
	memset(line, 'a', 4999);
	line[2047] = 0;
	x.rq.cmdline = line;
	assert_int_equal(load(&x), 0);
	line[2047] = 'a';
	line[2048] = 0;
	assert_int_equal(load(&x), -E2BIG);
	assert_non_null(strstr(x.e.msg, "2047"));
	fix_free(&x);
	free(line);
}

static void test_initrd(void **state)
{
	u8 *rd = malloc(8 * MiB);
	struct fix x;
	u64 at;

	fix_new(&x);
	make_vmlinux(&x.k, true, false);
	make_packed(&x.k, "gzip");
	for (size_t i = 0; i < 8 * MiB; i++)
		rd[i] = (u8)(i * 31 + (i >> 12));
	x.rq.initrd = blob_of(rd, 5 * MiB + 123, "initrd");
	assert_int_equal(load(&x), 0);
	at = peek(&x, BOOT_INFO + BP_RAMDISK_IMAGE, 4);
	assert_int_equal(peek(&x, BOOT_INFO + BP_RAMDISK_SIZE, 4), 5 * MiB + 123);
	assert_int_equal(at % PAGE_SIZE, 0);
	assert_true(at >= LOAD_PA + 0x800000 && at + 5 * MiB + 123 <= RAM_SIZE);
	assert_memory_equal(ram_view(x.ram, at, 5 * MiB + 123), rd, 5 * MiB + 123);
	/* The kernel's highest address for it is the last byte's. */
	put_le32(x.k.file + BP_INITRD_ADDR_MAX, 0x2ffffff);
	assert_int_equal(load(&x), 0);
	at = peek(&x, BOOT_INFO + BP_RAMDISK_IMAGE, 4);
	assert_true(at + 5 * MiB + 123 <= 0x3000000);
	/* Too big for what is left: by a lot, and by a page. */
	x.rq.initrd.len = UINT64_MAX;
	assert_int_equal(load(&x), -ENOMEM);
	assert_non_null(strstr(x.e.msg, "--memory"));
	put_le32(x.k.file + BP_INITRD_ADDR_MAX, LOAD_PA + 0x800000 + 5 * MiB);
	x.rq.initrd.len = 5 * MiB + 123;
	assert_int_equal(load(&x), -ENOMEM);
	fix_free(&x);
	free(rd);
}

static void test_too_little_memory(void **state)
{
	struct fix x;

	fix_new(&x);
	make_vmlinux(&x.k, true, false);
	make_packed(&x.k, "gzip");
	put_le32(x.k.file + BP_INIT_SIZE, 0x7000000);
	assert_int_equal(load(&x), -ENOMEM);
	assert_non_null(strstr(x.e.msg, "128 MiB"));
	assert_non_null(strstr(x.e.msg, "--memory"));
	put_le64(x.k.file + BP_PREF_ADDRESS, UINT64_MAX - 0x1000);
	x.rq.how = BOOT_BZIMAGE64;
	assert_int_not_equal(load(&x), 0);
	fix_free(&x);
}

/* Every file that ends too early is refused with one line that says so, or (when only what
 * nobody needs is missing) starts. */
static void test_truncated(void **state)
{
	unsigned refused = 0;
	struct fix x;
	size_t whole;

	fix_new(&x);
	make_vmlinux(&x.k, true, false);
	make_packed(&x.k, "xz");
	whole = x.k.len;
	for (x.k.len = 1; x.k.len < whole - 16; x.k.len += x.k.len < 4096 ? 1 : 61) {
		if (load(&x)) {
			refused++;
			assert_true(x.e.code != 0 && x.e.msg[0] && !strchr(x.e.msg, '\n'));
			assert_non_null(strstr(x.e.msg, "kernel"));
		}
	}
	assert_true(refused > 1000);
	fix_free(&x);
}

/* --- ELF --- */

static void test_vmlinux(void **state)
{
	struct fix x;

	fix_new(&x);
	make_vmlinux(&x.k, false, false);
	use_vmlinux(&x.k);
	assert_int_equal(load(&x), 0);
	assert_int_equal(x.entry.mode, BOOT_MODE_LONG64);
	assert_int_equal(x.entry.rip, LOAD_PA + 0x40);
	check_text(&x, 0);
	check_params(&x);
	/* An entry point written as a virtual address means the same place. */
	put_le64(x.k.file + 24, TEXT_VA + 0x40);
	assert_int_equal(load(&x), 0);
	assert_int_equal(x.entry.rip, LOAD_PA + 0x40);
	put_le64(x.k.file + 24, 0x5000);
	assert_int_equal(load(&x), -EINVAL);
	fix_free(&x);
}

static void test_bss_is_zeroed_again(void **state)
{
	struct fix x;

	fix_new(&x);
	make_vmlinux(&x.k, false, false);
	use_vmlinux(&x.k);
	assert_int_equal(load(&x), 0);
	assert_true(ram_write(x.ram, LOAD_PA + TEXT_LEN + 8, "dirt", 4));
	x.rq.ram_is_zero = false;
	assert_int_equal(load(&x), 0);
	assert_int_equal(peek(&x, LOAD_PA + TEXT_LEN + 8, 4), 0);
	fix_free(&x);
}

static void test_pvh(void **state)
{
	u8 rd[5000];
	struct fix x;
	u64 mods, map;

	fix_new(&x);
	make_vmlinux(&x.k, false, true);
	use_vmlinux(&x.k);
	memset(rd, 0x5a, sizeof(rd));
	x.rq.initrd = blob_of(rd, sizeof(rd), "initrd");
	assert_int_equal(load(&x), 0);
	assert_int_equal(x.entry.mode, BOOT_MODE_FLAT32);
	assert_int_equal(x.entry.rip, LOAD_PA + 0x80);
	assert_int_equal(x.entry.rbx, BOOT_INFO);
	assert_int_equal(peek(&x, BOOT_INFO, 4), 0x336ec578);
	assert_int_equal(peek(&x, BOOT_INFO + 4, 4), 1);
	assert_int_equal(peek(&x, BOOT_INFO + 12, 4), 1);
	mods = peek(&x, BOOT_INFO + 16, 8);
	assert_int_equal(peek(&x, peek(&x, mods, 8), 1), 0x5a);
	assert_int_equal(peek(&x, mods + 8, 8), sizeof(rd));
	assert_int_equal(peek(&x, BOOT_INFO + 24, 8), BOOT_CMDLINE);
	assert_int_equal(peek(&x, BOOT_INFO + 32, 8), 0xe0000);
	map = peek(&x, BOOT_INFO + 40, 8);
	assert_int_equal(peek(&x, BOOT_INFO + 48, 4), 4);
	assert_int_equal(peek(&x, map + 3 * 24, 8), 0x100000);
	assert_int_equal(peek(&x, map + 3 * 24 + 16, 4), BOOT_RAM);
	/* The same file can be asked for by its other entry. */
	x.rq.how = BOOT_ELF;
	assert_int_equal(load(&x), 0);
	assert_int_equal(x.entry.mode, BOOT_MODE_LONG64);
	/* A note that names a place which is not loaded. */
	x.rq.how = BOOT_PVH;
	put_le32(x.k.file + 0x810, 0x7000);
	assert_int_equal(load(&x), -EINVAL);
	fix_free(&x);
}

static void test_bad_elf(void **state)
{
	static const struct { size_t off; u64 val; } bad[] = {
		{ 56, 0 }, { 56, 0xffff }, { 54, 8 }, { 32, 0xfffffffffffffff0 },
		{ 64 + 8, 0xffffffffffffff00 }, { 64 + 32, 0x7fffffffffffffff },
		{ 64 + 24, 0xfffffffffffff000 }, { 64 + 40, 0xffffffffffffffff },
		{ 64 + 40, 16 }, { 64 + 24, 0x90000 }, { 64 + 24, 0xbffff000 }, { 18, 40 },
		{ EI_DATA, ELFDATA2MSB }, { EI_CLASS, 7 },
	};
	struct fix x;

	fix_new(&x);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		make_vmlinux(&x.k, false, false);
		use_vmlinux(&x.k);
		if (bad[i].off < 16)
			x.k.file[bad[i].off] = (u8)bad[i].val;
		else if (bad[i].off < 64 && bad[i].off != 32)
			put_le16(x.k.file + bad[i].off, (u16)bad[i].val);
		else
			put_le64(x.k.file + bad[i].off, bad[i].val);
		if (!load(&x))
			fail_msg("case %zu was taken", i);
		assert_true(x.e.msg[0]);
	}
	for (size_t len = 1; len < 200; len++) {
		make_vmlinux(&x.k, false, false);
		use_vmlinux(&x.k);
		x.k.len = len;
		assert_int_not_equal(load(&x), 0);
	}
	fix_free(&x);
}

/* --- multiboot --- */

static void test_multiboot(void **state)
{
	u8 rd[100] = "module";
	struct fix x;
	u64 mods;

	fix_new(&x);
	make_multiboot(&x.k);
	x.rq.initrd = blob_of(rd, sizeof(rd), "module");
	assert_int_equal(load(&x), 0);
	assert_int_equal(x.entry.mode, BOOT_MODE_FLAT32);
	assert_int_equal(x.entry.rip, 0x400080);
	assert_int_equal(x.entry.rax, 0x2badb002);
	assert_int_equal(x.entry.rbx, BOOT_INFO);
	assert_int_equal(peek(&x, 0x400080, 4), 0x90909090);
	assert_int_equal(peek(&x, BOOT_INFO, 4), 0x24d);
	assert_int_equal(peek(&x, BOOT_INFO + 8, 4), (RAM_SIZE - MiB) >> 10);
	assert_int_equal(peek(&x, BOOT_INFO + 20, 4), 1);
	mods = peek(&x, BOOT_INFO + 24, 4);
	assert_int_equal(peek(&x, mods, 4), 0x404000);
	assert_int_equal(peek(&x, mods + 4, 4), 0x404000 + sizeof(rd));
	assert_string_equal(ram_view(x.ram, 0x404000, 8), "module");
	/* Addresses that the file or memory does not have. */
	put_le32(x.k.file + 0x54, 0x500000);
	assert_int_equal(load(&x), -EINVAL);
	put_le32(x.k.file + 0x54, 0x3000);
	assert_int_equal(load(&x), -EINVAL);
	put_le32(x.k.file + 0x54, 0x403000);
	put_le32(x.k.file + 0x58, 0xfffff000);
	assert_int_equal(load(&x), -ENOMEM);
	put_le32(x.k.file + 0x50, 0x500000);
	assert_int_equal(load(&x), -EINVAL);
	/* A flag that a loader must understand, and we do not: a video mode. */
	put_le32(x.k.file + 0x44, 0x10007);
	put_le32(x.k.file + 0x48, -(0x1badb002u + 0x10007u));
	assert_int_equal(load(&x), -ENOTSUP);
	fix_free(&x);
}

/* --- the rest --- */

static void test_firmware(void **state)
{
	u8 *rom = malloc(256 * KiB);
	struct cpu_state s;
	struct fix x;

	fix_new(&x);
	for (size_t i = 0; i < 256 * KiB; i++)
		rom[i] = (u8)(i >> 10 ^ i);
	x.rq.firmware = blob_of(rom, 256 * KiB, "rom");
	assert_int_equal(boot_load(&x.rq, x.ram, &x.entry, &x.e), 0);
	assert_int_equal(x.entry.mode, BOOT_MODE_RESET);
	assert_memory_equal(ram_view(x.ram, 4 * GiB - 256 * KiB, 256 * KiB), rom, 256 * KiB);
	assert_memory_equal(ram_view(x.ram, MiB - 128 * KiB, 128 * KiB), rom + 128 * KiB,
			    128 * KiB);
	/* Again, as after a reset: the low copy is fresh, the ROM has not gone. */
	assert_true(ram_write(x.ram, 0xfff00, "dirt", 4));
	assert_int_equal(boot_load(&x.rq, x.ram, &x.entry, &x.e), 0);
	assert_memory_equal(ram_view(x.ram, MiB - 128 * KiB, 128 * KiB), rom + 128 * KiB,
			    128 * KiB);
	cpu_state_reset(&s);
	boot_enter(&x.entry, &s);
	assert_int_equal(s.rip, 0xfff0);
	assert_int_equal(s.seg[SEG_CS].base, 0xffff0000);
	fix_free(&x);
	/* An odd length ends where it must. */
	fix_new(&x);
	x.rq.firmware = blob_of(rom, 65536 + 16, "rom");
	assert_int_equal(boot_load(&x.rq, x.ram, &x.entry, &x.e), 0);
	assert_memory_equal(ram_view(x.ram, 4 * GiB - 65536, 65536), rom + 16, 65536);
	x.rq.firmware.len = 8;
	assert_int_equal(boot_load(&x.rq, x.ram, &x.entry, &x.e), -EINVAL);
	fix_free(&x);
	free(rom);
}

/* Walk the tables that a 64-bit entry gets: they map all of the first 4 GiB to itself. */
static void test_entry_state(void **state)
{
	struct cpu_state s;
	struct fix x;

	fix_new(&x);
	make_vmlinux(&x.k, false, false);
	use_vmlinux(&x.k);
	assert_int_equal(load(&x), 0);
	cpu_state_reset(&s);
	boot_enter(&x.entry, &s);
	assert_int_equal(s.rip, LOAD_PA + 0x40);
	assert_int_equal(s.gpr[RSI], BOOT_INFO);
	assert_int_equal(s.rflags, FL_1);
	assert_true(s.cr0 & CR0_PG && s.cr0 & CR0_PE && !(s.cr0 & CR0_CD));
	assert_true(s.efer & EFER_LMA && s.cr4 & CR4_PAE);
	assert_int_equal(s.seg[SEG_CS].sel, 0x10);
	assert_true(s.seg[SEG_CS].attr & SEG_A_L);
	assert_int_equal(peek(&x, s.gdtr.base + 0x10, 8), 0x00af9b000000ffff);
	assert_int_equal(peek(&x, s.gdtr.base + 0x18, 8), 0x00cf93000000ffff);
	for (u64 la = 0; la < 4 * GiB; la += 0x1fe00000 / 7 * 2 + 0x1000) {
		u64 pml4e = peek(&x, s.cr3 + 8 * (la >> 39), 8);
		u64 pdpte = peek(&x, (pml4e & PAGE_MASK) + 8 * (la >> 30 & 511), 8);
		u64 pde = peek(&x, (pdpte & PAGE_MASK) + 8 * (la >> 21 & 511), 8);

		assert_true(pml4e & 1 && pdpte & 1 && pde & 1 && pde & 0x80);
		assert_int_equal(pde & 0xffffffe00000, la & 0xffffffe00000);
	}
	x.entry.mode = BOOT_MODE_FLAT32;
	cpu_state_reset(&s);
	boot_enter(&x.entry, &s);
	assert_int_equal(s.cr0, CR0_PE | CR0_ET);
	assert_int_equal(s.seg[SEG_CS].attr, 0xc09b);
	assert_int_equal(s.seg[SEG_SS].attr, 0xc093);
	assert_int_equal(s.seg[SEG_DS].limit, ~0u);
	fix_free(&x);
}

/* Nonsense of all lengths: one line, never more. */
static void test_noise(void **state)
{
	struct fix x;
	u32 seed = 1;

	fix_new(&x);
	for (unsigned round = 0; round < 300; round++) {
		x.k.len = 1 + round * 37;
		for (size_t i = 0; i < x.k.len; i++) {
			seed = seed * 1664525 + 1013904223;
			x.k.file[i] = (u8)(seed >> 24);
		}
		if (round & 1 && x.k.len > 0x210) {
			put_le16(x.k.file + BP_BOOT_FLAG, 0xaa55);
			put_le32(x.k.file + BP_HEADER, BP_HDRS);
		}
		if (round % 3 == 0)
			memcpy(x.k.file, ELFMAG "\2\1\1", 7);
		x.rq.how = (enum boot_how)(round % BOOT_HOW_N);
		if (load(&x)) {
			assert_true(x.e.code > 0 && x.e.msg[0]);
			assert_null(strchr(x.e.msg, '\n'));
		}
	}
	fix_free(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compressions), cmocka_unit_test(test_damaged_payloads),
		cmocka_unit_test(test_kaslr), cmocka_unit_test(test_no_relocs),
		cmocka_unit_test(test_stub_entries), cmocka_unit_test(test_long_cmdline),
		cmocka_unit_test(test_initrd), cmocka_unit_test(test_too_little_memory),
		cmocka_unit_test(test_truncated), cmocka_unit_test(test_vmlinux),
		cmocka_unit_test(test_bss_is_zeroed_again), cmocka_unit_test(test_pvh),
		cmocka_unit_test(test_bad_elf), cmocka_unit_test(test_multiboot),
		cmocka_unit_test(test_firmware), cmocka_unit_test(test_entry_state),
		cmocka_unit_test(test_noise),
	};

	return cmocka_run_group_tests_name("boot", tests, NULL, NULL);
}
