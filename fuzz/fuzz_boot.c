/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_boot.c - the loaders of platform/boot/ on damaged kernels: good ones of each format with
 * bits turned, fields set to nasty numbers, pieces cut out or doubled, or cut short. They must
 * take the file or refuse it in one line; build with CONFIG=asan to see what they touch.
 * How long: fuzz.h. */
#include "fuzz.h"
#include "../tests/platform/kernels.h"
#include <stdio.h>
#include <time.h>

static u64 rng;
static u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	return rng ^= rng << 17;
}

static void make_one(struct kernels *k, unsigned which)
{
	make_vmlinux(k, which & 1, which & 2);
	switch (which >> 2 & 3) {
	case 0:
	case 1:
		make_packed(k, kernel_packings[rnd() % ARRAY_SIZE(kernel_packings)]);
		break;
	case 2:
		use_vmlinux(k);
		break;
	default:
		make_multiboot(k);
	}
}

/* Most of what a loader decides on stands in the first pages. */
static size_t place(size_t len)
{
	size_t hot = rnd() & 1 ? 0x300 : rnd() & 1 ? 0x1000 : len;

	return rnd() % MIN(hot, len);
}

static void damage(struct kernels *k)
{
	static const u64 nasty[] = { 0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x10000, 0x7fffffff,
				     0x80000000, 0xfffff000, 0xffffffff, 0x100000000, INT64_MAX, UINT64_MAX,
				     UINT64_MAX - 0xfff, 0x90000, 0x9f000, 0xfffff, 64 * MiB };

	for (unsigned n = (unsigned)(rnd() % 6); n; n--) {
		size_t at = place(k->len), left = k->len - at;
		u64 v = nasty[rnd() % ARRAY_SIZE(nasty)] + (rnd() & 3 ? 0 : rnd() % 9 - 4);

		switch (rnd() % 6) {
		case 0:
			k->file[at] ^= (u8)(1u << rnd() % 8);
			break;
		case 1:
			memcpy(k->file + at, &v, MIN(left, (size_t)1 << rnd() % 4));
			break;
		case 2:
			at &= ~7ull;
			memcpy(k->file + at, &v, MIN(k->len - at, (size_t)(rnd() & 1 ? 4 : 8)));
			break;
		case 3:
			k->len = 1 + rnd() % k->len;
			break;
		case 4:
			memmove(k->file + at, k->file + rnd() % k->len, MIN(left, rnd() % 64));
			break;
		default:
			k->file[at] = (u8)rnd();
		}
	}
}

static void one(struct kernels *k, struct ram *ram, const u8 *initrd)
{
	static const char *const lines[] = { "", "console=ttyS0", "nokaslr", "-- x" };
	struct boot_request rq = {
		.kernel = blob_of(k->file, k->len, "kernel"), .initrd = BLOB_NONE,
		.firmware = BLOB_NONE, .cmdline = lines[rnd() % ARRAY_SIZE(lines)],
		.how = (enum boot_how)(rnd() % 3 ? 0 : rnd() % BOOT_HOW_N), .rsdp = 0xe0000,
		.ram_is_zero = rnd() & 1, .seed = rnd() & 1 ? rnd() : 0,
	};
	struct boot_entry entry;
	struct cpu_state s;
	struct err e = { 0 };
	int r;

	if (rnd() & 1)
		rq.initrd = blob_of(initrd, 1 + rnd() % (64 * KiB), "initrd");
	if (rnd() % 64 == 0)
		rq.firmware = blob_of(k->file, k->len, "rom");
	r = boot_load(&rq, ram, &entry, &e);
	if (r == 0) {
		cpu_state_reset(&s);
		boot_enter(&entry, &s);
		return;
	}
	if (r != -e.code || !e.msg[0] || strchr(e.msg, '\n')) {
		fprintf(stderr, "fuzz_boot: result %d, error %d \"%s\"\n", r, e.code, e.msg);
		abort();
	}
}

int main(int argc, char **argv)
{
	struct fuzz z = fuzz_begin(argc, argv, "fuzz_boot");
	struct kernels k = { .file = calloc(1, FILE_MAX), .vmlinux = calloc(1, FILE_MAX) };
	u8 *initrd = calloc(1, 64 * KiB);
	struct ram *ram;

	rng = (z.seed + 1) * 2 + 1;
	MUST(k.file && k.vmlinux && initrd && ram_new(&ram, 64 * MiB, NULL) == 0);
	for (u64 last = 0; fuzz_more(&z, last); last = 20) {
		make_one(&k, (unsigned)rnd() & 15);
		for (unsigned i = 0; i < 20; i++) {
			damage(&k);
			one(&k, ram, initrd);
		}
	}
	ram_free(ram);
	free(k.file);
	free(k.vmlinux);
	free(initrd);
	return fuzz_end(&z);
}
