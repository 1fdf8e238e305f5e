/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_seg.c - segmentation, tasks and delivery among random tables: tests/engine/chaos.h for as
 * long as one likes (fuzz.h). */
#include "fuzz.h"
#include "../tests/engine/chaos.h"

int main(int argc, char **argv)
{
	struct fuzz z = fuzz_begin(argc, argv, "fuzz_seg");
	struct chaos x;

	for (u64 last = 0; fuzz_more(&z, last); last = 20000) {
		if (chaos_open(&x, z.seed) < 0)
			return 2;
		for (unsigned i = 0; i < 20000; i++)
			if (!chaos_round(&x, 40)) {
				fprintf(stderr, "fuzz_seg: again with: fuzz_seg %llu (round %u)\n",
					(unsigned long long)z.seed, i);
				return 1;
			}
		machine_free(x.m);
	}
	return fuzz_end(&z);
}
