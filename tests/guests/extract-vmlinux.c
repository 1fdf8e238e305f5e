/* SPDX-License-Identifier: GPL-2.0-or-later */
/* extract-vmlinux BZIMAGE OUT: the vmlinux in a bzImage, for boots of it as a file of its own. */
#include "base/bytes.h"
#include "platform/boot/linux.h"
#include "platform/boot/unpack.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	struct err e = { 0 };
	struct blob b;
	u8 *file, *out, *packed;
	u32 len, out_len;
	FILE *f;

	if (argc != 3 || blob_open(&b, argv[1], &e))
		return 1;
	file = malloc(b.len);
	if (!file || blob_read(&b, 0, file, b.len, &e))
		return 1;
	packed = file + (file[BP_SETUP_SECTS] + 1) * 512 + get_le32(file + BP_PAYLOAD_OFFSET);
	len = get_le32(file + BP_PAYLOAD_LENGTH);
	out_len = get_le32(packed + len - 4);
	out = malloc(out_len);
	f = fopen(argv[2], "w");
	if (!out || !f || unpack(packed, len, out, out_len, argv[1], &e) ||
	    fwrite(out, 1, out_len, f) != out_len || fclose(f)) {
		fprintf(stderr, "%s\n", e.msg);
		return 1;
	}
	return 0;
}
