/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_dev.c - the chips under random register accesses, lines, time and input: nothing breaks, a
 * state that was saved and loaded behaves like the one it was taken from, and a state with bytes
 * changed is refused or harmless. What it does stands in tests/dev/rig.h.
 * Runs FUZZ_SECONDS (default 10) from the seed in argv[1] (default: 1); "fuzz_dev SEED 1" does that
 * one round only. */
#include "../tests/dev/rig.h"

#include "base/trace.h"

int main(int argc, char **argv)
{
	const char *secs = getenv("FUZZ_SECONDS");
	u64 seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	u64 rounds = argc > 2 ? strtoull(argv[2], NULL, 0) : UINT64_MAX, done = 0;
	time_t end = time(NULL) + (secs ? atoi(secs) : 10);

	log_set_level(LOG_ERROR);
	for (; done < rounds && time(NULL) < end; done++, seed++) {
		u64 s = seed * 0x9e3779b97f4a7c15ull | 1;

		if (!rig_round(s, 1000)) {
			fprintf(stderr, "fuzz_dev: again with: fuzz_dev %llu 1\n", (unsigned long long)seed);
			return 1;
		}
		rig_hostile_round(s, 500);
	}
	printf("fuzz_dev: %llu rounds of 3000 operations\n", (unsigned long long)done);
	return 0;
}
