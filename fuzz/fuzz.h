/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz.h - what fuzzers share: how long, how many, how fast.
 *
 *	struct fuzz f = fuzz_begin(argc, argv, "fuzz_x");
 *	while (fuzz_more(&f, inputs_since_last))
 *		...	f.seed: a new one each time; f.rounds: how many, this one included
 *	return fuzz_end(&f);
 *
 * A fuzzer runs FUZZ_RUNS inputs, but no longer than FUZZ_SECONDS if that is set, too; without FUZZ_RUNS,
 * FUZZ_SECONDS (default 10). It starts at the seed in argv[1] (default 1); "fuzz_x SEED 1" does that one
 * round only. */
#ifndef PENTA_FUZZ_FUZZ_H
#define PENTA_FUZZ_FUZZ_H

#include "base/types.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct fuzz {
	const char *name;
	u64 seed, runs, inputs, rounds, max_rounds;
	double start, end;
};

static inline double fuzz_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static inline struct fuzz fuzz_begin(int argc, char **argv, const char *name)
{
	const char *secs = getenv("FUZZ_SECONDS"), *runs = getenv("FUZZ_RUNS");
	struct fuzz f = {
		.name = name, .seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1,
		.runs = runs ? strtoull(runs, NULL, 0) : 0, .max_rounds = UINT64_MAX,
		.start = fuzz_now(),
	};

	if (argc > 2)
		f.max_rounds = strtoull(argv[2], NULL, 0);
	f.end = f.start + (secs ? atof(secs) : runs ? 1e9 : 10);
	f.seed--;
	return f;
}

/* @inputs: how many the round before has tried. */
static inline bool fuzz_more(struct fuzz *f, u64 inputs)
{
	f->inputs += inputs;
	if (f->rounds == f->max_rounds || (f->runs && f->inputs >= f->runs) || fuzz_now() >= f->end)
		return false;
	f->rounds++;
	f->seed++;
	return true;
}

static inline int fuzz_end(const struct fuzz *f)
{
	double t = fuzz_now() - f->start;

	printf("%s: %llu inputs in %llu rounds, %.0f a second\n", f->name,
	       (unsigned long long)f->inputs, (unsigned long long)f->rounds,
	       (double)f->inputs / (t > 0 ? t : 1));
	return 0;
}

/* What covers which devices, for tests/fuzzed: FUZZ_COVERS set. */
static inline bool fuzz_covers(void) { return getenv("FUZZ_COVERS") != NULL; }

static inline u64 fuzz_rnd(u64 *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	return *s ^= *s << 17;
}

#endif
