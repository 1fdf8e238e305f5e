/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2_refcount.c - one count among those of a refcount block, 1 to 64 bits wide. */
#include "block/qcow2.h"
#include "base/bytes.h"

u64 qcow2_refcount_get(const u8 *block, unsigned order, u64 i)
{
	switch (order) {
	case 6:
		return get_be64(block + i * 8);
	case 5:
		return get_be32(block + i * 4);
	case 4:
		return get_be16(block + i * 2);
	case 3:
		return block[i];
	default:
		return block[i >> (3 - order)] >> ((i << order) & 7) & ((1u << (1u << order)) - 1);
	}
}

void qcow2_refcount_set(u8 *block, unsigned order, u64 i, u64 n)
{
	unsigned shift, mask;

	switch (order) {
	case 6:
		put_be64(block + i * 8, n);
		break;
	case 5:
		put_be32(block + i * 4, (u32)n);
		break;
	case 4:
		put_be16(block + i * 2, (u16)n);
		break;
	case 3:
		block[i] = (u8)n;
		break;
	default:
		shift = (i << order) & 7;
		mask = ((1u << (1u << order)) - 1) << shift;
		block += i >> (3 - order);
		*block = (u8)((*block & ~mask) | ((n << shift) & mask));
	}
}
