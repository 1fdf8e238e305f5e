/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_decode.c - the decoder and the disassembler on random and mutated bytes: never a byte read
 * beyond what is there (the next page is not readable), each cut-off asks for more, what is decoded
 * is within bounds, and it is the same whatever follows the instruction.
 * How long: fuzz.h. */
#include "fuzz.h"
#include "x86/insn.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static u64 rng;
static u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	return rng ^= rng << 17;
}

static void dead(const u8 *b, unsigned mode, const char *why)
{
	fprintf(stderr, "fuzz_decode: %s: mode %u:", why, mode);
	for (unsigned i = 0; i < 15; i++)
		fprintf(stderr, " %02x", b[i]);
	fprintf(stderr, "\n");
	abort();
}

static void check_operands(const struct insn *in, const u8 *b, unsigned mode)
{
	if (in->op == OP_INVALID || in->op >= OP_N || in->nopd > ARRAY_SIZE(in->opd))
		dead(b, mode, "operation");
	if (in->base > REG_ZERO || in->index > REG_ZERO || in->scale > 3 || in->seg > SEG_GS ||
	    in->vsib_reg > 15 || (mode != 8 && in->vsib_reg > 7))
		dead(b, mode, "address");
	for (unsigned i = 0; i < in->nopd; i++) {
		const struct operand *o = &in->opd[i];
		unsigned max = o->kind == OPD_SEG ? 5 : o->kind == OPD_ST || o->kind == OPD_MM ||
			       o->kind == OPD_DR ? 7 : o->kind == OPD_CR ? 8 : mode == 8 ? 15 : 7;

		if (o->kind == OPD_NONE || o->reg > max || (o->high8 && o->reg > 3))
			dead(b, mode, "register");
		if (o->kind == OPD_MEM && !in->has_mem)
			dead(b, mode, "no address");
	}
}

static void one(u8 *page_end, const u8 *b, unsigned mode)
{
	struct insn in, cut;
	char text[200];
	int r = insn_decode(&in, b, 15, mode);

	if (insn_format(&in, rnd(), text, sizeof(text)) >= (int)sizeof(text))
		dead(b, mode, "long text");
	if (in.len > 15)
		dead(b, mode, "long instruction");
	if (!r)
		check_operands(&in, b, mode);
	else if (r != -EILSEQ && r != -E2BIG)
		dead(b, mode, "result");
	for (unsigned n = 0; n <= in.len; n++) {
		u8 *at = page_end - n;
		int c;

		memcpy(at, b, n);
		c = insn_decode(&cut, at, n, mode);
		if (cut.len > n)
			dead(b, mode, "beyond the end");
		if (c && c != -EAGAIN && c != r)
			dead(b, mode, "another error when cut");
		if (!r && c != (n < in.len ? -EAGAIN : 0))
			dead(b, mode, "cut");
	}
	if (!r && memcmp(in.opd, cut.opd, sizeof(in.opd)))
		dead(b, mode, "not the same");
}

int main(int argc, char **argv)
{
	struct fuzz z = fuzz_begin(argc, argv, "fuzz_decode");
	u8 *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	u8 b[16], corpus[256][16];
	unsigned long n = 0;

	if (page == MAP_FAILED || mprotect(page + 4096, 4096, PROT_NONE))
		return 1;
	rng = (z.seed + 1) * 2 + 1;
	memset(corpus, 0x0f, sizeof(corpus));
	while ((n & 0xfff) || fuzz_more(&z, n ? 0x1000 : 0)) {
		unsigned mode = 2u << (rnd() % 3);
		struct insn in;

		if (rnd() & 1) {
			for (unsigned i = 0; i < 16; i++)
				b[i] = rnd() >> 24;
		} else {
			memcpy(b, corpus[rnd() & 255], 16);
			for (unsigned k = rnd() & 3; k < 4; k++) {
				unsigned at = rnd() & 15;

				switch (rnd() & 3) {
				case 0: b[at] ^= 1 << (rnd() & 7); break;
				case 1: b[at] = rnd() >> 30; break;
				case 2: memmove(b + at, b, 16 - at); b[0] = 0x60 + (rnd() & 7); break;
				default: memmove(b, b + at, 16 - at); break;
				}
			}
		}
		one(page + 4096, b, mode);
		if (!insn_decode(&in, b, 15, mode))
			memcpy(corpus[rnd() & 255], b, 16);
		n++;
	}
	return fuzz_end(&z);
}
