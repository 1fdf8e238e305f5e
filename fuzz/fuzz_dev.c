/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_dev.c - the chips under random register accesses, lines, time and input: nothing breaks, a
 * state that was saved and loaded behaves like the one it was taken from, and a state with bytes
 * changed is refused or harmless. What it does stands in tests/dev/rig.h.
 * How long, and FUZZ_COVERS: fuzz.h, tests/fuzzed. */
#include "fuzz.h"
#include "../tests/dev/rig.h"

#include "base/trace.h"

int main(int argc, char **argv)
{
	struct fuzz z = fuzz_begin(argc, argv, "fuzz_dev");
	u64 last = 0;

	log_set_level(LOG_ERROR);
	if (fuzz_covers()) {
		struct rig *r = rig_new();

		for (unsigned i = 0; i < r->n; i++)
			printf("%s\n", r->d[i].cls->name);
		rig_free(r);
		return 0;
	}
	for (; fuzz_more(&z, last); last = 3000) {
		u64 s = z.seed * 0x9e3779b97f4a7c15ull | 1;

		if (!rig_round(s, 1000)) {
			fprintf(stderr, "fuzz_dev: again with: fuzz_dev %llu 1\n",
				(unsigned long long)z.seed);
			return 1;
		}
		rig_hostile_round(s, 500);
	}
	return fuzz_end(&z);
}
