/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dump.c - what a person wants to see of a vCPU that has crashed: registers, segments, system
 * registers, and the code it was executing. */
#include "vm/machine.h"
#include "x86/insn.h"
#include <stdlib.h>

#define CODE_INSNS 8

static void dump_gprs(const struct cpu_state *s, FILE *f)
{
	static const char name[16][4] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					  "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };

	for (unsigned i = 0; i < 16; i++)
		fprintf(f, "%3s %016llx%s", name[i], (unsigned long long)s->gpr[i],
			i % 4 == 3 ? "\n" : "  ");
}

static void dump_flags(const struct cpu_state *s, FILE *f)
{
	static const struct { u32 bit; const char *name; } flag[] = {
		{ FL_CF, "CF" }, { FL_PF, "PF" }, { FL_AF, "AF" }, { FL_ZF, "ZF" }, { FL_SF, "SF" },
		{ FL_TF, "TF" }, { FL_IF, "IF" }, { FL_DF, "DF" }, { FL_OF, "OF" }, { FL_NT, "NT" },
		{ FL_RF, "RF" }, { FL_VM, "VM" }, { FL_AC, "AC" }, { FL_ID, "ID" },
	};

	fprintf(f, "rip %016llx  rflags %08llx iopl=%u", (unsigned long long)s->rip,
		(unsigned long long)s->rflags,
		(unsigned)(s->rflags >> FL_IOPL_SHIFT) & 3);
	for (unsigned i = 0; i < ARRAY_SIZE(flag); i++)
		if (s->rflags & flag[i].bit)
			fprintf(f, " %s", flag[i].name);
	fputc('\n', f);
}

static void dump_segs(const struct cpu_state *s, FILE *f)
{
	static const char name[SEG_N][4] = { "es", "cs", "ss", "ds", "fs", "gs", "ldt", "tr" };

	for (unsigned i = 0; i < SEG_N; i++)
		fprintf(f, "%3s %04x base %016llx limit %08x attr %04x%s\n", name[i], s->seg[i].sel,
			(unsigned long long)s->seg[i].base, s->seg[i].limit, s->seg[i].attr,
			s->seg[i].attr & SEG_A_UNUSABLE ? " (null)" : "");
	fprintf(f, "gdt %016llx limit %04x  idt %016llx limit %04x\n",
		(unsigned long long)s->gdtr.base, s->gdtr.limit,
		(unsigned long long)s->idtr.base, s->idtr.limit);
}

static void dump_system(const struct cpu_state *s, FILE *f)
{
	static const char *const activity[] = { "running", "halted", "shutdown", "wait for SIPI" };

	fprintf(f, "cr0 %08llx  cr2 %016llx  cr3 %016llx  cr4 %08llx  cr8 %llx\n",
		(unsigned long long)s->cr0, (unsigned long long)s->cr2,
		(unsigned long long)s->cr3, (unsigned long long)s->cr4,
		(unsigned long long)s->cr8);
	fprintf(f, "efer %08llx  xcr0 %llx  dr6 %08llx  dr7 %08llx  %s\n",
		(unsigned long long)s->efer, (unsigned long long)s->xcr0,
		(unsigned long long)s->dr[6], (unsigned long long)s->dr[7],
		s->activity < ARRAY_SIZE(activity) ? activity[s->activity] : "?");
}

/* Copy up to @len bytes of guest memory at linear @la; returns how many are there. */
static size_t peek(struct vcpu *v, u64 la, u8 *buf, size_t len)
{
	size_t n = 0;

	while (n < len) {
		size_t k = MIN(len - n, (size_t)(PAGE_SIZE - (la + n) % PAGE_SIZE));
		u64 gpa;

		if (v->m->cfg.engine->translate(v, la + n, &gpa) < 0 ||
		    !ram_read(v->m->ram, gpa, buf + n, k))
			break;
		n += k;
	}
	return n;
}

static void dump_code(struct vcpu *v, const struct cpu_state *s, FILE *f)
{
	const struct cpu_seg *cs = &s->seg[SEG_CS];
	bool lm = (s->efer & EFER_LMA) && (cs->attr & SEG_A_L);
	unsigned mode = lm ? 8 : cs->attr & SEG_A_DB ? 4 : 2;
	u64 base = lm ? 0 : cs->base, la = base + s->rip, at = 0;
	u8 code[CODE_INSNS * 15];
	size_t n;

	if (!lm)
		la = (u32)la;
	n = peek(v, la, code, sizeof(code));
	if (n == 0) {
		fprintf(f, "no code can be read at %#llx\n", (unsigned long long)la);
		return;
	}
	for (unsigned i = 0; i < CODE_INSNS && at < n; i++) {
		char text[128] = "(bad)";
		struct insn in;
		unsigned len = 1;

		if (insn_decode(&in, code + at, n - at, mode) == 0) {
			insn_format(&in, s->rip + at, text, sizeof(text));
			len = in.len;
		}
		fprintf(f, "%s%012llx ", i ? "   " : "-> ", (unsigned long long)(s->rip + at));
		for (unsigned k = 0; k < 15; k++)
			fprintf(f, k < len ? "%02x" : "  ", code[MIN(at + k, n - 1)]);
		fprintf(f, " %s\n", text);
		at += len;
	}
}

void vcpu_dump(struct vcpu *v, FILE *f)
{
	const struct engine_ops *eng = v->m->cfg.engine;
	struct cpu_state *s = malloc(sizeof(*s));
	struct err e = { 0 };

	if (!s || !eng || eng->get_state(v, s, &e) < 0) {
		fprintf(f, "vcpu %u: its state cannot be had: %s\n", v->index,
			e.code ? e.msg : "no engine");
		free(s);
		return;
	}
	fprintf(f, "--- vcpu %u ---\n", v->index);
	dump_gprs(s, f);
	dump_flags(s, f);
	dump_segs(s, f);
	dump_system(s, f);
	dump_code(v, s, f);
	fflush(f);
	free(s);
}
