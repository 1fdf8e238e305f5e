/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gdb_regs.c - the registers that a debugger sees: one table gives order, width, the target
 * description and where each lies in struct cpu_state.
 * After: GDB manual, appendix G.5.16 (i386 features): core, sse and segments first and in GDB's own
 * order; what an operating-system developer wants beyond that follows in a feature of our own. */
#include "manage/control/gdb_regs.h"
#include "base/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum feature { CORE, SSE, SEGMENTS, SYSTEM, FEATURES };
static const char *const feature_name[FEATURES] = {
	"org.gnu.gdb.i386.core", "org.gnu.gdb.i386.sse", "org.gnu.gdb.i386.segments",
	"org.penta.i386.system",
};

/* What kind of place a register lies in, when it is not a plain field. */
enum place { FIELD, FLAGS, ST, FPU_WORD, FPU_TAG, XMM };

struct reg {
	char name[8];
	u8 feature, place;
	u8 bytes;		/* on the wire */
	u16 off;		/* FIELD: in struct cpu_state; else in the XSAVE area */
	u8 width;		/* FIELD: bytes in the struct */
	const char *type;
};

#define R64(n, f, ty) { n, CORE, FIELD, 8, offsetof(struct cpu_state, f), 8, ty }
#define RSEG(n, i) { n, CORE, FIELD, 4, offsetof(struct cpu_state, seg[i].sel), 2, "int32" }
#define RST(n, i) { n, CORE, ST, 10, 32 + 16 * (i), 10, "i387_ext" }
#define RFPU(n, o, w) { n, CORE, FPU_WORD, 4, o, w, "int" }
#define RXMM(n, i) { n, SSE, XMM, 16, 160 + 16 * (i), 16, "vec128" }
#define RBASE(n, i) { n, SEGMENTS, FIELD, 8, offsetof(struct cpu_state, seg[i].base), 8, "int" }
#define RSYS(n, f) { n, SYSTEM, FIELD, 8, offsetof(struct cpu_state, f), 8, "int" }
#define RSYS2(n, f) { n, SYSTEM, FIELD, 8, offsetof(struct cpu_state, f), 2, "int" }

static const struct reg regs[] = {
	R64("rax", gpr[RAX], "int64"), R64("rbx", gpr[RBX], "int64"), R64("rcx", gpr[RCX], "int64"),
	R64("rdx", gpr[RDX], "int64"), R64("rsi", gpr[RSI], "int64"), R64("rdi", gpr[RDI], "int64"),
	R64("rbp", gpr[RBP], "data_ptr"), R64("rsp", gpr[RSP], "data_ptr"), R64("r8", gpr[R8], "int64"),
	R64("r9", gpr[R9], "int64"), R64("r10", gpr[R10], "int64"), R64("r11", gpr[R11], "int64"),
	R64("r12", gpr[R12], "int64"), R64("r13", gpr[R13], "int64"), R64("r14", gpr[R14], "int64"),
	R64("r15", gpr[R15], "int64"), R64("rip", rip, "code_ptr"),
	{ "eflags", CORE, FLAGS, 4, offsetof(struct cpu_state, rflags), 4, "i386_eflags" },
	RSEG("cs", SEG_CS), RSEG("ss", SEG_SS), RSEG("ds", SEG_DS), RSEG("es", SEG_ES), RSEG("fs", SEG_FS),
	RSEG("gs", SEG_GS),
	RST("st0", 0), RST("st1", 1), RST("st2", 2), RST("st3", 3), RST("st4", 4), RST("st5", 5),
	RST("st6", 6), RST("st7", 7),
	RFPU("fctrl", 0, 2), RFPU("fstat", 2, 2), { "ftag", CORE, FPU_TAG, 4, 4, 1, "int" },
	RFPU("fiseg", 12, 2), RFPU("fioff", 8, 4), RFPU("foseg", 20, 2), RFPU("fooff", 16, 4),
	RFPU("fop", 6, 2),
	RXMM("xmm0", 0), RXMM("xmm1", 1), RXMM("xmm2", 2), RXMM("xmm3", 3), RXMM("xmm4", 4), RXMM("xmm5", 5),
	RXMM("xmm6", 6), RXMM("xmm7", 7), RXMM("xmm8", 8), RXMM("xmm9", 9), RXMM("xmm10", 10),
	RXMM("xmm11", 11), RXMM("xmm12", 12), RXMM("xmm13", 13), RXMM("xmm14", 14), RXMM("xmm15", 15),
	{ "mxcsr", SSE, FPU_WORD, 4, 24, 4, "i386_mxcsr" },
	RBASE("fs_base", SEG_FS), RBASE("gs_base", SEG_GS),
	RSYS("cr0", cr0), RSYS("cr2", cr2), RSYS("cr3", cr3), RSYS("cr4", cr4), RSYS("cr8", cr8),
	RSYS("efer", efer), RSYS("xcr0", xcr0), RSYS("k_gs", kernel_gs_base), RSYS("cs_base", seg[SEG_CS].base),
	RSYS("tr_base", seg[SEG_TR].base), RSYS2("tr", seg[SEG_TR].sel), RSYS2("ldtr", seg[SEG_LDTR].sel),
	RSYS("gdt", gdtr.base), RSYS2("gdt_lim", gdtr.limit), RSYS("idt", idtr.base), RSYS2("idt_lim", idtr.limit),
	RSYS("dr0", dr[0]), RSYS("dr1", dr[1]), RSYS("dr2", dr[2]), RSYS("dr3", dr[3]), RSYS("dr6", dr[6]),
	RSYS("dr7", dr[7]),
};

unsigned gdb_regs_count(void) { return ARRAY_SIZE(regs); }
unsigned gdb_reg_bytes(unsigned n) { return n < ARRAY_SIZE(regs) ? regs[n].bytes : 0; }

/* The abridged tag byte of FXSAVE as the two-bit tags that FSTENV shows. */
static u16 full_tags(const u8 *fx)
{
	unsigned top = get_le16(fx + 2) >> 11 & 7;
	u16 tags = 0;
	for (unsigned phys = 0; phys < 8; phys++) {
		const u8 *st = fx + 32 + 16 * ((phys - top) & 7);
		u64 mant = get_le64(st);
		u16 exp = get_le16(st + 8) & 0x7fff;
		unsigned tag = 3;	/* empty */
		if (fx[4] >> phys & 1)
			tag = exp == 0 ? (mant ? 2 : 1) : exp == 0x7fff || !(mant >> 63) ? 2 : 0;
		tags |= tag << (2 * phys);
	}
	return tags;
}

void gdb_reg_get(const struct cpu_state *s, unsigned n, u8 *out)
{
	const struct reg *r = &regs[n];
	memset(out, 0, r->bytes);
	switch ((enum place)r->place) {
	case FIELD: case FLAGS:
		memcpy(out, (const u8 *)s + r->off, MIN(r->width, r->bytes));
		break;
	case FPU_TAG:
		put_le16(out, full_tags(s->xsave));
		break;
	case ST: case FPU_WORD: case XMM:
		memcpy(out, s->xsave + r->off, r->width);
		break;
	}
}

int gdb_reg_set(struct cpu_state *s, unsigned n, const u8 *in)
{
	const struct reg *r = &regs[n];
	switch ((enum place)r->place) {
	case FIELD:
		/* A selector alone would not be what loading it means: the hidden part is not ours to
		 * invent. Everything else may be poked. */
		if (r->off >= offsetof(struct cpu_state, seg) && r->width == 2 &&
		    r->off < offsetof(struct cpu_state, seg) + sizeof(s->seg)) {
			u16 now;
			memcpy(&now, (u8 *)s + r->off, 2);
			return now == get_le16(in) ? 0 : -EPERM;
		}
		memcpy((u8 *)s + r->off, in, r->width);
		return 0;
	case FLAGS:
		s->rflags = (get_le32(in) & 0x3f7fd5) | FL_1;
		return 0;
	case FPU_TAG:
		s->xsave[4] = 0;
		for (unsigned phys = 0; phys < 8; phys++)
			if ((get_le16(in) >> (2 * phys) & 3) != 3)
				s->xsave[4] |= 1 << phys;
		break;
	case ST: case XMM:
		memcpy(s->xsave + r->off, in, r->width);
		break;
	case FPU_WORD:
		memcpy(s->xsave + r->off, in, r->width);
		if (r->off == 24)	/* MXCSR: reserved bits would fault when it is loaded */
			put_le32(s->xsave + 24, get_le32(in) & 0xffff);
		break;
	}
	s->xsave[512] |= 3;	/* XSTATE_BV: x87 and SSE are not in their initial state */
	return 0;
}

size_t gdb_target_xml(char *buf, size_t len)
{
	size_t at = 0;
	int feature = -1;
#define PUT(...) do { \
	int k_ = snprintf(at < len ? buf + at : NULL, at < len ? len - at : 0, __VA_ARGS__); \
	at += k_ > 0 ? (size_t)k_ : 0; } while (0)
	PUT("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target version=\"1.0\">"
	    "<architecture>i386:x86-64</architecture>");
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		if (regs[i].feature != feature) {
			if (feature >= 0)
				PUT("</feature>");
			feature = regs[i].feature;
			PUT("<feature name=\"%s\">", feature_name[feature]);
			if (feature == CORE)
				PUT("<flags id=\"i386_eflags\" size=\"4\">"
				    "<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"PF\" start=\"2\" end=\"2\"/>"
				    "<field name=\"AF\" start=\"4\" end=\"4\"/><field name=\"ZF\" start=\"6\" end=\"6\"/>"
				    "<field name=\"SF\" start=\"7\" end=\"7\"/><field name=\"TF\" start=\"8\" end=\"8\"/>"
				    "<field name=\"IF\" start=\"9\" end=\"9\"/><field name=\"DF\" start=\"10\" end=\"10\"/>"
				    "<field name=\"OF\" start=\"11\" end=\"11\"/><field name=\"NT\" start=\"14\" end=\"14\"/>"
				    "<field name=\"RF\" start=\"16\" end=\"16\"/><field name=\"VM\" start=\"17\" end=\"17\"/>"
				    "<field name=\"AC\" start=\"18\" end=\"18\"/><field name=\"ID\" start=\"21\" end=\"21\"/>"
				    "</flags>");
			if (feature == SSE)
				PUT("<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
				    "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
				    "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
				    "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
				    "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
				    "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
				    "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>"
				    "<field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>"
				    "<field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>"
				    "<field name=\"v2_int64\" type=\"v2i64\"/><field name=\"uint128\" type=\"uint128\"/></union>"
				    "<flags id=\"i386_mxcsr\" size=\"4\"><field name=\"IE\" start=\"0\" end=\"0\"/>"
				    "<field name=\"DE\" start=\"1\" end=\"1\"/><field name=\"ZE\" start=\"2\" end=\"2\"/>"
				    "<field name=\"OE\" start=\"3\" end=\"3\"/><field name=\"UE\" start=\"4\" end=\"4\"/>"
				    "<field name=\"PE\" start=\"5\" end=\"5\"/></flags>");
		}
		PUT("<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"/>", regs[i].name, regs[i].bytes * 8u, regs[i].type);
	}
	PUT("</feature></target>");
#undef PUT
	return at;
}
