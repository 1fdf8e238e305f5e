/* SPDX-License-Identifier: GPL-2.0-or-later */
/* zydis_compare.h - insn_decode() against Zydis 4 for one byte string: what differs, as text. */
#ifndef PENTA_TESTS_ZYDIS_COMPARE_H
#define PENTA_TESTS_ZYDIS_COMPARE_H

#include "x86/insn.h"
#include <Zydis/Zydis.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct zydis { ZydisDecoder dec[9]; };

static void zydis_init(struct zydis *z)
{
	ZydisDecoderInit(&z->dec[2], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
	ZydisDecoderInit(&z->dec[4], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	ZydisDecoderInit(&z->dec[8], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (unsigned m = 2; m <= 8; m *= 2) {
		ZydisDecoderEnableMode(&z->dec[m], ZYDIS_DECODER_MODE_MPX, false);
		ZydisDecoderEnableMode(&z->dec[m], ZYDIS_DECODER_MODE_CET, true);	/* ENDBR */
		ZydisDecoderEnableMode(&z->dec[m], ZYDIS_DECODER_MODE_AMD_BRANCHES, true);
	}
}

/* The mnemonic as format.c prints it, without prefixes. */
static void mnemonic(const struct insn *in, char *buf, size_t len)
{
	char text[160], *p = text;

	insn_format(in, 0, text, sizeof(text));
	while (!strncmp(p, "lock ", 5) || !strncmp(p, "rep ", 4) || !strncmp(p, "repe ", 5) ||
	       !strncmp(p, "repne ", 6))
		p = strchr(p, ' ') + 1;
	p[strcspn(p, " ")] = 0;
	snprintf(buf, len, "%.31s", p);
}

static int gpr_number(ZydisRegister r, unsigned *size, bool *high)
{
	*high = false;
	if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_R15B) {
		int n = r - ZYDIS_REGISTER_AL;

		*size = 1;
		*high = n >= 4 && n < 8;
		return n < 4 ? n : n < 8 ? n - 4 : n - 4;
	}
	if (r >= ZYDIS_REGISTER_AX && r <= ZYDIS_REGISTER_R15W)
		return *size = 2, r - ZYDIS_REGISTER_AX;
	if (r >= ZYDIS_REGISTER_EAX && r <= ZYDIS_REGISTER_R15D)
		return *size = 4, r - ZYDIS_REGISTER_EAX;
	if (r >= ZYDIS_REGISTER_RAX && r <= ZYDIS_REGISTER_R15)
		return *size = 8, r - ZYDIS_REGISTER_RAX;
	return -1;
}

static const char *cmp_address(const struct insn *in, const ZydisDecodedOperandMem *m)
{
	unsigned size;
	bool high;
	int base = m->base == ZYDIS_REGISTER_NONE || m->base == ZYDIS_REGISTER_RIP ||
		   m->base == ZYDIS_REGISTER_EIP ? REG_ZERO : gpr_number(m->base, &size, &high);

	if (m->segment - ZYDIS_REGISTER_ES != in->seg)
		return "segment";
	if (base != in->base || in->rip_rel !=
	    (m->base == ZYDIS_REGISTER_RIP || m->base == ZYDIS_REGISTER_EIP))
		return "base";
	if (m->type == ZYDIS_MEMOP_TYPE_VSIB) {
		int x = m->index - (in->vsib == 32 ? ZYDIS_REGISTER_YMM0 : ZYDIS_REGISTER_XMM0);

		if (!in->vsib || x != in->vsib_reg || m->scale != 1 << in->scale)
			return "vsib";
	} else {
		int index = m->index == ZYDIS_REGISTER_NONE ? REG_ZERO :
			    gpr_number(m->index, &size, &high);

		if (index != in->index || in->vsib ||
		    (index != REG_ZERO && m->scale != 1 << in->scale))
			return "index";
	}
	if (in->adsize == 8 ? m->disp.value != in->disp : in->adsize == 4 ?
	    (u32)m->disp.value != (u32)in->disp : (u16)m->disp.value != (u16)in->disp)
		return "displacement";
	return NULL;
}

static u64 cut(u64 v, unsigned size)
{
	return size >= 8 ? v : v & (BIT(size * 8) - 1);
}

static const char *cmp_operand(const struct insn *in, const struct operand *o,
			       const ZydisDecodedOperand *z)
{
	unsigned size = 0;
	bool high;
	u8 zr = !!(z->actions & (ZYDIS_OPERAND_ACTION_READ | ZYDIS_OPERAND_ACTION_CONDREAD));
	u8 zw = !!(z->actions & (ZYDIS_OPERAND_ACTION_WRITE | ZYDIS_OPERAND_ACTION_CONDWRITE));
	const char *s;

	switch (o->kind) {
	case OPD_GPR:
		if (z->type != ZYDIS_OPERAND_TYPE_REGISTER)
			return "kind";
		if (gpr_number(z->reg.value, &size, &high) != o->reg || high != o->high8)
			return "register";
		if (size != o->size)
			return "size";
		break;
	case OPD_MEM:
		if (z->type != ZYDIS_OPERAND_TYPE_MEMORY)
			return "kind";
		if ((s = cmp_address(in, &z->mem)))
			return s;
		if (o->size && z->size / 8 != o->size)
			return "size";
		if (z->mem.type == ZYDIS_MEMOP_TYPE_AGEN || !o->size)
			return NULL;
		break;
	case OPD_IMM:
		if (z->type != ZYDIS_OPERAND_TYPE_IMMEDIATE || z->imm.is_relative)
			return "kind";
		if (cut(z->imm.value.u, o->size) != (o->reg ? in->imm2 : in->imm))
			return "immediate";
		return NULL;
	case OPD_REL:
		if (z->type != ZYDIS_OPERAND_TYPE_IMMEDIATE || !z->imm.is_relative)
			return "kind";
		return z->imm.value.u != in->imm ? "target" : NULL;
	case OPD_FAR:
		if (z->type != ZYDIS_OPERAND_TYPE_POINTER)
			return "kind";
		return z->ptr.offset != in->imm || z->ptr.segment != in->imm2 ? "far pointer" : NULL;
	default: {
		static const int first[] = { [OPD_SEG] = ZYDIS_REGISTER_ES, [OPD_CR] = ZYDIS_REGISTER_CR0,
			[OPD_DR] = ZYDIS_REGISTER_DR0, [OPD_ST] = ZYDIS_REGISTER_ST0,
			[OPD_MM] = ZYDIS_REGISTER_MM0, [OPD_XMM] = ZYDIS_REGISTER_XMM0,
			[OPD_YMM] = ZYDIS_REGISTER_YMM0 };

		if (z->type != ZYDIS_OPERAND_TYPE_REGISTER)
			return "kind";
		if ((int)z->reg.value - first[o->kind] != o->reg)
			return "register";
	}
	}
	if (zr != o->read || zw != o->write)
		return "access";
	return NULL;
}

/* NULL when alike; else what differs. @why gets a line for the reader. */
static const char *zydis_compare(const struct zydis *z, const u8 *p, unsigned n, unsigned mode,
				 struct insn *in, ZydisDecodedInstruction *zi)
{
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT], *zo = ops;
	ZyanStatus zs;
	char name[32];
	unsigned nz;
	int r;

	memset(zi, 0, sizeof(*zi));
	r = insn_decode(in, p, n, mode);
	zs = ZydisDecoderDecodeFull(&z->dec[mode], p, n, zi, ops);
	if (!ZYAN_SUCCESS(zs))
		zi->mnemonic = ZYDIS_MNEMONIC_INVALID;
	if (r || !ZYAN_SUCCESS(zs)) {
		if (r && !ZYAN_SUCCESS(zs))
			return NULL;
		return r ? "only Zydis knows it" : "Zydis does not know it";
	}
	mnemonic(in, name, sizeof(name));
	if (strcmp(name, ZydisMnemonicGetString(zi->mnemonic)))
		return "mnemonic";
	if (zi->length != in->len)
		return "length";
	nz = zi->operand_count_visible;
	if (in->desc->attr & A_REP)
		return NULL;
	if (in->desc->cls == CL_X87 && nz == in->nopd + 1u && ops[0].type == ZYDIS_OPERAND_TYPE_REGISTER) {
		zo++;
		nz--;
	}
	if (nz != in->nopd)
		return "operand count";
	for (unsigned i = 0; i < nz; i++) {
		const char *s = cmp_operand(in, &in->opd[i], &zo[i]);

		if (s)
			return s;
	}
	return NULL;
}

#endif
