/* SPDX-License-Identifier: GPL-2.0-or-later */
/* relocs.c - the relocation list that Linux' build appends to a relocatable vmlinux before it
 * compresses both (arch/x86/tools/relocs). Whoever unpacks the kernel in place of its own stub
 * must apply it when the kernel is to run at other addresses than it was linked for: that is how
 * kernel address space layout randomization survives our short cut.
 *
 * Behind the ELF lie lists of signed 32-bit virtual addresses, each opened by a zero:
 *
 *	0 | 64-bit places | 0 | 32-bit ones to subtract from | 0 | 32-bit places	x86-64
 *	0 | 64-bit places | 0 | 32-bit places					x86-64, 6.15 on
 *	0 | 32-bit places							i386
 */
#include "base/bytes.h"
#include "platform/boot/boot.h"
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define RELOCS_MAX (64 * MiB)

bool relocs_find(const struct blob *b, const struct elf_image *elf, struct relocs *out)
{
	u64 start = elf->end_off, len, n, zero[3], nzero = 0;
	u8 *buf cleanup_free = NULL;

	*out = (struct relocs){ 0 };
	if (start >= b->len)
		return false;
	len = b->len - start;
	/* The build pads the ELF to nothing; but an ELF may end unaligned. */
	if (len % 4 || len > RELOCS_MAX || len < 8)
		return false;
	buf = malloc(len);
	if (!buf || blob_read(b, start, buf, len, NULL))
		return false;
	n = len / 4;
	for (u64 i = 0; i < n; i++)
		if (!get_le32(buf + 4 * i)) {
			if (nzero == 3)
				return false;
			zero[nzero++] = i;
		}
	if (!nzero || zero[0] != 0)
		return false;
	if (!elf->is64) {
		if (nzero != 1)
			return false;
		out->abs32_off = start + 4;
		out->abs32_n = n - 1;
		return true;
	}
	if (nzero < 2)
		return false;
	out->abs64_off = start + 4;
	out->abs64_n = zero[1] - 1;
	if (nzero == 3) {
		out->inv32_off = start + 4 * (zero[1] + 1);
		out->inv32_n = zero[2] - zero[1] - 1;
	}
	out->abs32_off = start + 4 * (zero[nzero - 1] + 1);
	out->abs32_n = n - zero[nzero - 1] - 1;
	return true;
}

/* @mask: of physical addresses; i386's virtual ones wrap at 4 GiB. */
static int apply(const struct blob *b, u64 off, u64 n, u64 pa_of_va, u64 mask, u64 add,
		 unsigned width, struct ram *ram, const struct boot_request *rq, struct err *e)
{
	u8 *buf cleanup_free = NULL;
	int r;

	if (!n)
		return 0;
	buf = malloc(n * 4);
	if (!buf)
		return err_set(e, ENOMEM, "%s: out of memory", rq->kernel.name);
	r = blob_read(b, off, buf, n * 4, e);
	if (r)
		return r;
	for (u64 i = 0; i < n; i++) {
		u64 pa = ((u64)(s64)(s32)get_le32(buf + 4 * i) + pa_of_va) & mask;
		u8 *p = boot_place(ram, rq, pa, width, e);

		if (!p)
			return err_context(e, "relocation %llu", (unsigned long long)i);
		if (width == 8)
			put_le64(p, get_le64(p) + add);
		else
			put_le32(p, get_le32(p) + (u32)add);
	}
	return 0;
}

int relocs_apply(const struct blob *b, const struct relocs *rl, bool is64, u64 pa_of_va, u64 delta,
		 struct ram *ram, const struct boot_request *rq, struct err *e)
{
	const u64 m = is64 ? UINT64_MAX : UINT32_MAX;
	int r = apply(b, rl->abs64_off, rl->abs64_n, pa_of_va, m, delta, 8, ram, rq, e);

	if (!r)
		r = apply(b, rl->inv32_off, rl->inv32_n, pa_of_va, m, -delta, 4, ram, rq, e);
	if (!r)
		r = apply(b, rl->abs32_off, rl->abs32_n, pa_of_va, m, delta, 4, ram, rq, e);
	return r;
}
