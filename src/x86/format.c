/* SPDX-License-Identifier: GPL-2.0-or-later */
/* format.c - a decoded instruction as text, in Intel's syntax, for traces and tests.
 * Mnemonics and their size suffixes are those of SDM vol. 2. */
#include "x86/insn.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

struct text { char *buf; size_t len, n; };

static void put(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = vsnprintf(t->n < t->len ? t->buf + t->n : NULL, t->n < t->len ? t->len - t->n : 0, fmt, ap);
	va_end(ap);
	if (r > 0)
		t->n += r;
}

static const char *const gpr64[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
static const char *const low8[8] = { "al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil" };
static const char *const high8[4] = { "ah", "ch", "dh", "bh" };
static const char *const segs[] = { "es", "cs", "ss", "ds", "fs", "gs" };

static void put_gpr(struct text *t, unsigned reg, unsigned size, bool high)
{
	if (high)
		put(t, "%s", high8[reg & 3]);
	else if (reg >= 8)
		put(t, "%s%s", gpr64[reg & 15], size == 8 ? "" : size == 4 ? "d" : size == 2 ? "w" : "b");
	else if (size == 1)
		put(t, "%s", low8[reg]);
	else if (size == 2)
		put(t, "%s", gpr64[reg] + 1);
	else
		put(t, "%c%s", size == 4 ? 'e' : 'r', gpr64[reg] + 1);
}

/* Mnemonics that tell the operand's or address' size. */
static void put_mnemonic(struct text *t, const struct insn *in)
{
	static const struct { u16 op; const char *by_size[4]; } sized[] = {
		{ OP_CBW, { NULL, "cbw", "cwde", "cdqe" } },
		{ OP_CWD, { NULL, "cwd", "cdq", "cqo" } },
		{ OP_PUSHA, { NULL, "pusha", "pushad" } },
		{ OP_POPA, { NULL, "popa", "popad" } },
		{ OP_PUSHF, { NULL, "pushf", "pushfd", "pushfq" } },
		{ OP_POPF, { NULL, "popf", "popfd", "popfq" } },
		{ OP_IRET, { NULL, "iret", "iretd", "iretq" } },
		{ OP_MOVS, { "movsb", "movsw", "movsd", "movsq" } },
		{ OP_CMPS, { "cmpsb", "cmpsw", "cmpsd", "cmpsq" } },
		{ OP_STOS, { "stosb", "stosw", "stosd", "stosq" } },
		{ OP_LODS, { "lodsb", "lodsw", "lodsd", "lodsq" } },
		{ OP_SCAS, { "scasb", "scasw", "scasd", "scasq" } },
		{ OP_INS, { "insb", "insw", "insd" } },
		{ OP_OUTS, { "outsb", "outsw", "outsd" } },
		{ OP_JMPF, { NULL, "jmp far", "jmp far", "jmp far" } },
		{ OP_CALLF, { NULL, "call far", "call far", "call far" } },
	};
	static const u8 log2[9] = { [2] = 1, [4] = 2, [8] = 3 };

	if (in->op == OP_JCXZ) {
		put(t, "%s", in->adsize == 2 ? "jcxz" : in->adsize == 4 ? "jecxz" : "jrcxz");
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(sized); i++) {
		const char *s = sized[i].op == in->op ? sized[i].by_size[log2[in->opsize & 15]] : NULL;

		if (s) {
			put(t, "%s", s);
			return;
		}
	}
	put(t, "%s", in->desc->name);
}

static const char *ptr_name(unsigned size)
{
	switch (size) {
	case 1: return "byte ptr ";
	case 2: return "word ptr ";
	case 4: return "dword ptr ";
	case 6: return "fword ptr ";
	case 8: return "qword ptr ";
	case 10: return "tbyte ptr ";
	case 16: return "xmmword ptr ";
	case 32: return "ymmword ptr ";
	default: return "";
	}
}

static void put_mem(struct text *t, const struct insn *in, const struct operand *o, u64 rip)
{
	unsigned dflt = in->base == RSP || in->base == RBP ? SEG_SS : SEG_DS;
	const char *plus = "";

	put(t, "%s", ptr_name(o->size));
	if (in->seg != dflt && in->seg < ARRAY_SIZE(segs))
		put(t, "%s:", segs[in->seg]);
	put(t, "[");
	if (in->rip_rel) {
		u64 ea = rip + in->len + (u64)in->disp;

		put(t, "rip%c0x%" PRIx64 "]", in->disp < 0 ? '-' : '+',
		    in->disp < 0 ? -(u64)in->disp : (u64)in->disp);
		put(t, " {0x%" PRIx64 "}", in->adsize == 4 ? (u32)ea : ea);
		return;
	}
	if (in->base != REG_ZERO) {
		put_gpr(t, in->base, in->adsize, false);
		plus = "+";
	}
	if (in->vsib) {
		put(t, "%s%cmm%u*%u", plus, in->vsib == 32 ? 'y' : 'x', in->vsib_reg, 1u << in->scale);
		plus = "+";
	} else if (in->index != REG_ZERO) {
		put(t, "%s", plus);
		put_gpr(t, in->index, in->adsize, false);
		if (in->scale)
			put(t, "*%u", 1u << in->scale);
		plus = "+";
	}
	if (!*plus)
		put(t, "0x%" PRIx64, in->adsize == 8 ? (u64)in->disp :
		    in->adsize == 4 ? (u32)in->disp : (u16)in->disp);
	else if (in->disp)
		put(t, "%c0x%" PRIx64, in->disp < 0 ? '-' : '+',
		    in->disp < 0 ? -(u64)in->disp : (u64)in->disp);
	put(t, "]");
}

static void put_operand(struct text *t, const struct insn *in, const struct operand *o, u64 rip)
{
	switch (o->kind) {
	case OPD_GPR:
		put_gpr(t, o->reg, o->size, o->high8);
		break;
	case OPD_MEM:
		put_mem(t, in, o, rip);
		break;
	case OPD_IMM:
		put(t, "0x%" PRIx64, o->reg ? in->imm2 : in->imm);
		break;
	case OPD_REL: {
		u64 to = rip + in->len + in->imm;

		put(t, "0x%" PRIx64, o->size == 2 ? (u16)to : o->size == 4 ? (u32)to : to);
		break;
	}
	case OPD_FAR:
		put(t, "0x%" PRIx64 ":0x%" PRIx64, in->imm2, in->imm);
		break;
	case OPD_SEG: put(t, "%s", o->reg < ARRAY_SIZE(segs) ? segs[o->reg] : "?"); break;
	case OPD_CR: put(t, "cr%u", o->reg); break;
	case OPD_DR: put(t, "dr%u", o->reg); break;
	case OPD_ST: put(t, "st(%u)", o->reg); break;
	case OPD_MM: put(t, "mm%u", o->reg); break;
	case OPD_XMM: put(t, "xmm%u", o->reg); break;
	case OPD_YMM: put(t, "ymm%u", o->reg); break;
	default: break;
	}
}

int insn_format(const struct insn *in, u64 rip, char *buf, size_t len)
{
	struct text t = { buf, len, 0 };

	if (len)
		buf[0] = 0;
	if (!in->desc) {
		put(&t, "(bad)");
		for (unsigned i = 0; i < in->len && i < sizeof(in->bytes); i++)
			put(&t, " %02x", in->bytes[i]);
		return t.n;
	}
	if (in->lock)
		put(&t, "lock ");
	if (in->rep && in->desc->attr & A_REP)
		put(&t, in->op == OP_CMPS || in->op == OP_SCAS ?
		    (in->rep == 0xf3 ? "repe " : "repne ") : "rep ");
	put_mnemonic(&t, in);
	for (unsigned i = 0; i < in->nopd; i++) {
		put(&t, "%s", i ? ", " : " ");
		put_operand(&t, in, &in->opd[i], rip);
	}
	return t.n;
}
