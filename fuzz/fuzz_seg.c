/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_seg.c - segmentation, tasks and delivery among random tables: tests/engine/chaos.h for as
 * long as one likes. Runs FUZZ_SECONDS (default 10) from the seed in argv[1] (default: 1). */
#include "../tests/engine/chaos.h"

#include <time.h>

int main(int argc, char **argv)
{
	const char *secs = getenv("FUZZ_SECONDS");
	u64 seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	time_t end = time(NULL) + (secs ? atoi(secs) : 10);
	struct chaos x;

	while (time(NULL) < end) {
		if (chaos_open(&x, seed) < 0)
			return 2;
		for (unsigned i = 0; i < 20000; i++)
			if (!chaos_round(&x, 40)) {
				fprintf(stderr, "fuzz_seg: again with: fuzz_seg %llu (round %u)\n",
					(unsigned long long)seed, i);
				return 1;
			}
		machine_free(x.m);
		seed++;
	}
	printf("fuzz_seg: up to seed %llu, 20000 rounds each\n", (unsigned long long)seed);
	return 0;
}
