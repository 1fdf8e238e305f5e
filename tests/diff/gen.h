/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gen.h - what gen.c and encode.c share: the generator's state and its random numbers. */
#ifndef PENTA_TESTS_GEN_H
#define PENTA_TESTS_GEN_H

#include "diff.h"

#define XS_POOL 512
#define SLOTS_MAX 8

struct rowinfo {
	u8 nslot;
	struct { u8 map, opcode; } slot[SLOTS_MAX];
	bool wanted, offered;
};

struct gen {
	struct gen_opts o;
	u64 s[2];			/* xorshift128+ */
	u8 *pool;
	u8 (*xs)[XS_SIZE];
	struct rowinfo *row;
	u16 *list[3];			/* rows by mode */
	unsigned nlist[3];
};

static inline u64 rnd(struct gen *g)
{
	u64 a = g->s[0], b = g->s[1];

	g->s[0] = b;
	a ^= a << 23;
	g->s[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
	return g->s[1] + b;
}
static inline unsigned below(struct gen *g, unsigned n)
{
	return (unsigned)((rnd(g) >> 32) * n >> 32);
}
static inline bool chance(struct gen *g, unsigned percent) { return below(g, 100) < percent; }

/* Bytes that decode as row @row of the table in @mode, or (rarely, on purpose) as nothing at all:
 * then in->desc is NULL. 0, or -EAGAIN: not in this mode. @bytes: 15. */
int encode(struct gen *g, unsigned row, unsigned mode, struct insn *in, u8 *bytes);
/* Bytes that the table knows nothing of: any prefixes, map and opcode. The host must raise #UD. */
int encode_undefined(struct gen *g, unsigned mode, struct insn *in, u8 *bytes);

#endif
