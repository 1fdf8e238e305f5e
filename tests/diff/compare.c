/* SPDX-License-Identifier: GPL-2.0-or-later */
/* compare.c - what of two results must be equal, and how a difference is shown.
 *
 * Not compared: flags that the table calls undefined (differences are counted all the same); the
 * present bit of page faults on kernel addresses, which Linux hides from user mode; the opcode and
 * pointers of the last x87 instruction, unless an exception is pending. */
#include "diff.h"
#include "base/bytes.h"
#include <string.h>

void diff_image(const struct diff_case *c, const u8 *pool, u8 *win)
{
	memcpy(win, pool + c->pool_off, WIN_SIZE);
	for (unsigned i = 0; i < c->npatch; i++)
		memcpy(win + c->patch[i].off, c->patch[i].byte, c->patch[i].len);
}

#define TASK_END 0x7ffffffff000ull	/* from here on Linux says "present" of any page */

static const char *const gpr_name[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };

/* --- normal forms --- */

#define FSW_ES 0x80
struct vec { u8 b[32]; };
struct ext {			/* extended state without what may differ */
	u16 fcw, fsw, fop;
	u64 fip, fdp;
	u8 ftw;
	u32 mxcsr;
	u8 st[8][10];
	struct vec v[16];
};

static void ext_of(const u8 *x, struct ext *e)
{
	u64 bv = get_le64(x + XS_HEADER);

	memset(e, 0, sizeof(*e));
	e->fcw = 0x37f;
	if (bv & 1) {
		e->fcw = get_le16(x);
		e->fsw = get_le16(x + 2);
		e->ftw = x[4];
		if (e->fsw & FSW_ES) {	/* AMD keeps them for the handler alone */
			e->fop = get_le16(x + 6) & 0x7ff;
			e->fip = get_le64(x + 8) << 7 >> 7;	/* as many bits as there are */
			e->fdp = get_le64(x + 16) << 7 >> 7;
		}
		for (unsigned i = 0; i < 8; i++)
			memcpy(e->st[i], x + 32 + 16 * i, 10);
	}
	e->mxcsr = get_le32(x + 24);
	for (unsigned i = 0; i < 16; i++) {
		if (bv & 2)
			memcpy(e->v[i].b, x + 160 + 16 * i, 16);
		if (bv & 4)
			memcpy(e->v[i].b + 16, x + XS_YMM + 16 * i, 16);
	}
}

static bool has_error(unsigned v) { return v == 8 || (v >= 10 && v <= 14) || v == 17; }

/* --- undefined flags --- */

static u64 start_ip(const struct diff_case *c)
{
	return c->at - diff_seg_base(diff_segs[mode_index(c->mode)][c->segs].cs);
}

static bool is_branch(const struct diff_insn *x)
{
	return x->row != UINT16_MAX && insn_table[x->row].cls == CL_BRANCH;
}

/* Flags undefined at the end, taking the instructions in their order up to the one at @rip, which
 * did not end. Branches make the order unknown: then nothing is defined again. *@read: somebody
 * read an undefined one. */
static u32 undefined(const struct diff_case *c, u64 rip, bool *read)
{
	unsigned n = c->n;
	bool branches = false;
	u32 u = 0;

	*read = false;
	for (unsigned i = 0; i < c->n; i++)
		branches |= is_branch(&c->insn[i]);
	for (unsigned i = 0; i < c->n && !branches; i++)
		if (rip == start_ip(c) + c->insn[i].off)
			n = i;
	for (unsigned pass = 0; pass < (branches ? 2 : 1); pass++)
		for (unsigned i = 0; i < n; i++) {
			const struct insn_desc *d;

			if (c->insn[i].row == UINT16_MAX)
				continue;
			d = &insn_table[c->insn[i].row];
			/* A shift by 0 keeps what it "reads": that is no use of the flag. */
			if (d->fl_read & u && !(d->fl_undef && d->cls == CL_SHIFT &&
						!(d->op == OP_RCL || d->op == OP_RCR)))
				*read = true;
			u |= d->fl_undef;
			if (!branches)
				u &= ~(d->fl_write & ~d->fl_undef & ~d->fl_read);
		}
	return u;
}

static bool random_result(const struct diff_case *c, unsigned *reg)
{
	struct insn in;

	if (c->n != 1 || c->insn[0].row == UINT16_MAX)
		return false;
	if (insn_table[c->insn[0].row].op != OP_RDRAND && insn_table[c->insn[0].row].op != OP_RDSEED)
		return false;
	if (insn_decode(&in, c->code, c->code_len, c->mode) < 0)
		return false;
	*reg = in.opd[0].reg;
	return true;
}

/* --- comparison --- */

/* Outside 64-bit code the upper halves do not exist, and nobody keeps RSP's for later. */
static u64 gpr_mask(const struct diff_case *c, const struct diff_result *r, unsigned i)
{
	if (i == RSP && (c->mode != 8 || r->sel[SEG_CS] != SEL_CS64))
		return UINT32_MAX;
	return c->mode == 8 ? UINT64_MAX : i < 8 ? UINT32_MAX : 0;
}

/* Instructions made of several accesses, whose order is the processor's own: of several faults
 * that they may raise either is right. */
static bool any_order(const struct diff_case *c, const struct diff_result *r)
{
	for (unsigned i = 0; i < c->n; i++) {
		if (c->insn[i].row == UINT16_MAX || r->rip != start_ip(c) + c->insn[i].off)
			continue;
		switch (insn_table[c->insn[i].row].op) {
		case OP_FNSAVE: case OP_FRSTOR: case OP_FNSTENV: case OP_FLDENV: case OP_FXRSTOR:
		case OP_FLD: case OP_FSTP: case OP_FBLD: case OP_FBSTP: case OP_CALL:
		case OP_MASKMOVDQU: case OP_VMASKMOVDQU: case OP_MASKMOVQ:
		case OP_CALLF: case OP_JMPF: case OP_RETF: case OP_IRET:
			return true;
		}
	}
	return false;
}

/* Did the instruction that faulted have one of these ops? */
static bool faulted_in(const struct diff_case *c, const struct diff_result *r, unsigned op1,
		       unsigned op2)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->insn[i].row != UINT16_MAX && r->rip == start_ip(c) + c->insn[i].off &&
		    (insn_table[c->insn[i].row].op == op1 || insn_table[c->insn[i].row].op == op2))
			return true;
	return false;
}

/* What a call that faults at its target leaves below the stack pointer is nobody's. */
static bool same_memory(const struct diff_case *c, const struct diff_result *a,
			const struct diff_result *b)
{
	return faulted_in(c, a, OP_CALL, OP_CALLF) || memcmp(a->win, b->win, WIN_SIZE) == 0;
}

static bool memory_fault(unsigned v)
{
	return v == EXC_SS || v == EXC_GP || v == EXC_PF || v == EXC_AC;
}

static bool same_event(const struct diff_case *c, const struct diff_result *a,
		       const struct diff_result *b)
{
	bool order = any_order(c, a);

	if (a->rip != b->rip)
		return false;
	if (order && memory_fault(a->vector) && memory_fault(b->vector))
		return true;
	if (a->vector != b->vector)
		return false;
	if (a->vector == EXC_PF) {
		u32 mask = a->cr2 >= TASK_END ? ~(u32)PF_P : ~0u;

		return a->cr2 == b->cr2 && !((a->error ^ b->error) & mask);
	}
	return !has_error(a->vector) || a->error == b->error;
}

static bool same_gprs(const struct diff_case *c, const struct diff_result *a,
		      const struct diff_result *b)
{
	unsigned random = 16;

	random_result(c, &random);
	if (faulted_in(c, a, OP_POPA, OP_POPA))		/* may have popped some registers */
		return true;
	for (unsigned i = 0; i < 16; i++)
		if (i != random && (a->gpr[i] ^ b->gpr[i]) & gpr_mask(c, a, i))
			return false;
	return true;
}

static bool seg_loads(const struct diff_case *c)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->insn[i].row != UINT16_MAX &&
		    insn_table[c->insn[i].row].cls == CL_SEGMENT)
			return true;
	return false;
}

/* A null selector leaves its base as it was on AMD, and 0 on Intel: nobody can tell. */
static bool same_base(const struct diff_case *c, u16 sel, u64 a, u64 b)
{
	return a == b || (!(sel & ~3) && (c->mode != 8 || seg_loads(c)));
}

static bool same_segs(const struct diff_case *c, const struct diff_result *a,
		      const struct diff_result *b)
{
	for (unsigned i = 0; i < 6; i++)
		if (a->sel[i] != b->sel[i] && (i == SEG_CS || i == SEG_SS || (a->sel[i] | b->sel[i]) & ~3))
			return false;	/* the kernel's IRET makes null selectors 0 */
	return same_base(c, a->sel[SEG_FS], a->fs_base, b->fs_base) &&
	       same_base(c, a->sel[SEG_GS], a->gs_base, b->gs_base);
}

static bool same_ext(const struct diff_result *a, const struct diff_result *b)
{
	struct ext x, y;

	ext_of(a->xs, &x);
	ext_of(b->xs, &y);
	return memcmp(&x, &y, sizeof(x)) == 0;
}

/* Did it end in the code of another case? That one is not made to be run from the middle. */
static bool strayed(const struct diff_case *c, const struct diff_result *r)
{
	u64 la = r->rip + c->at - start_ip(c);

	return la - CODE_BASE < CODE_SIZE && la - (c->at & ~(u64)(SLOT_SIZE - 1)) > SLOT_SIZE;
}

/* A jump into the middle of an instruction has found INT1 (see is_extra() of gen.c). */
static bool found_int1(const struct diff_case *c, const struct diff_result *r)
{
	u64 off = r->rip - start_ip(c);

	return r->vector == EXC_DB && off < c->code_len && c->code[off] == 0xf1;
}

/* A single step in the middle of a gather, or between iterations of a repeated string instruction:
 * Intel pushes RF set, AMD clear. */
static bool stepped_midway(const struct diff_case *c, const struct diff_result *r)
{
	for (unsigned i = 0; i < c->n; i++)
		if (r->vector == EXC_DB && c->insn[i].row != UINT16_MAX &&
		    r->rip == start_ip(c) + c->insn[i].off &&
		    (insn_table[c->insn[i].row].cls == CL_STRING ||
		     strstr(insn_table[c->insn[i].row].name, "gather")))
			return true;
	return false;
}

enum diff_verdict diff_compare(const struct diff_case *c, const struct diff_result *a,
			       const struct diff_result *b)
{
	u32 fl = (u32)(a->flags ^ b->flags), u;
	bool read, rest;

	/* MXCSR.MM: AMD's misaligned SSE mode, which the CPU models do not offer. */
	if (a->status != DIFF_DONE || get_le32(a->xs + 24) >> 16)
		return DIFF_SKIP;
	if (b->status != DIFF_DONE)
		return DIFF_DIFFERS;
	rest = same_event(c, a, b) && same_gprs(c, a, b) && same_ext(a, b) && same_segs(c, a, b) &&
	       same_memory(c, a, b);
	if (rest && !fl)
		return DIFF_SAME;
	u = undefined(c, a->rip, &read) | (stepped_midway(c, a) ? FL_RF : 0);
	if (read)
		return DIFF_UNDEFINED;
	if (rest && !(fl & ~u))
		return DIFF_UNDEFINED;
	return strayed(c, a) || strayed(c, b) || found_int1(c, a) ? DIFF_SKIP : DIFF_DIFFERS;
}

/* --- printing --- */

static void hex(FILE *f, const u8 *p, unsigned n)
{
	for (unsigned i = n; i-- > 0; )
		fprintf(f, "%02x", p[i]);
}

static void row(FILE *f, const char *what, u64 was, u64 a, u64 b)
{
	fprintf(f, "#     %-8s was %016llx host %016llx penta %016llx\n", what,
		(unsigned long long)was, (unsigned long long)a, (unsigned long long)b);
}

static void print_segs(FILE *f, const struct diff_case *c, const struct diff_result *a,
		       const struct diff_result *b)
{
	static const char *const name[6] = { "es", "cs", "ss", "ds", "fs", "gs" };
	const struct diff_segs *s = &diff_segs[mode_index(c->mode)][c->segs];
	const u16 was[6] = { s->es, s->cs, s->ss, s->ds, s->fs, s->gs };

	for (unsigned i = 0; i < 6; i++)
		if (a->sel[i] != b->sel[i])
			row(f, name[i], was[i], a->sel[i], b->sel[i]);
	if (!same_base(c, a->sel[SEG_FS], a->fs_base, b->fs_base))
		row(f, "fsbase", c->fs_base, a->fs_base, b->fs_base);
	if (!same_base(c, a->sel[SEG_GS], a->gs_base, b->gs_base))
		row(f, "gsbase", c->gs_base, a->gs_base, b->gs_base);
}

static void print_ext(FILE *f, const u8 *was, const u8 *a, const u8 *b)
{
	struct ext w, x, y;

	ext_of(was, &w);
	ext_of(a, &x);
	ext_of(b, &y);
	if (x.fcw != y.fcw)
		row(f, "fcw", w.fcw, x.fcw, y.fcw);
	if (x.fsw != y.fsw)
		row(f, "fsw", w.fsw, x.fsw, y.fsw);
	if (x.ftw != y.ftw)
		row(f, "ftw", w.ftw, x.ftw, y.ftw);
	if (x.fop != y.fop)
		row(f, "fop", w.fop, x.fop, y.fop);
	if (x.fip != y.fip)
		row(f, "fip", w.fip, x.fip, y.fip);
	if (x.fdp != y.fdp)
		row(f, "fdp", w.fdp, x.fdp, y.fdp);
	if (x.mxcsr != y.mxcsr)
		row(f, "mxcsr", w.mxcsr, x.mxcsr, y.mxcsr);
	for (unsigned i = 0; i < 24; i++) {
		bool st = i < 8;
		unsigned k = st ? i : i - 8, n = st ? 10 : 32;
		const u8 *pw = st ? w.st[k] : w.v[k].b, *px = st ? x.st[k] : x.v[k].b,
			 *py = st ? y.st[k] : y.v[k].b;

		if (memcmp(px, py, n) == 0)
			continue;
		fprintf(f, "#     %s%u was ", st ? "st" : "ymm", k);
		hex(f, pw, n);
		fprintf(f, "\n#       host  ");
		hex(f, px, n);
		fprintf(f, "\n#       penta ");
		hex(f, py, n);
		fputc('\n', f);
	}
}

static void print_code(FILE *f, const struct diff_case *c)
{
	u64 ip = start_ip(c);

	for (unsigned at = 0; at < c->code_len; ) {
		char text[160] = "(undefined)";
		struct insn in;
		unsigned len = 1;

		if (insn_decode(&in, c->code + at, c->code_len - at, c->mode) == 0) {
			insn_format(&in, ip + at, text, sizeof(text));
			len = in.len;
		} else {
			len = c->code_len - at;
		}
		fprintf(f, "#   %8llx: ", (unsigned long long)(ip + at));
		for (unsigned i = 0; i < 15; i++)
			fprintf(f, i < len ? "%02x" : "  ", c->code[at + MIN(i, len - 1)]);
		fprintf(f, " %s\n", text);
		at += len;
	}
}

static void print_start(FILE *f, const struct diff_case *c)
{
	const struct diff_segs *s = &diff_segs[mode_index(c->mode)][c->segs];
	unsigned n = 0;

	fprintf(f, "#   cs=%x ss=%x ds=%x es=%x fs=%x gs=%x flags=%x fcw=%x fsw=%x mxcsr=%x", s->cs,
		s->ss, s->ds, s->es, s->fs, s->gs, c->flags, get_le16(c->xs), get_le16(c->xs + 2),
		get_le32(c->xs + 24));
	if (c->mode == 8)
		fprintf(f, " fsbase=%llx gsbase=%llx", (unsigned long long)c->fs_base,
			(unsigned long long)c->gs_base);
	for (unsigned i = 0; i < 16; i++)
		if (c->gpr[i])
			fprintf(f, "%s%s=%llx", n++ % 4 ? " " : "\n#   ", gpr_name[i],
				(unsigned long long)c->gpr[i]);
	fputc('\n', f);
}

static void print_memory(FILE *f, const struct diff_case *c, const struct diff_result *a,
			 const struct diff_result *b, const u8 *pool)
{
	u8 was[WIN_SIZE];
	unsigned shown = 0;

	if (!pool)
		return;
	diff_image(c, pool, was);
	for (unsigned i = 0; i < WIN_SIZE && shown < 24; i++)
		if (a->win[i] != b->win[i]) {
			fprintf(f, "#     [%llx] was %02x host %02x penta %02x\n",
				(unsigned long long)WIN_BASE + i, was[i], a->win[i], b->win[i]);
			shown++;
		}
}

void diff_print(FILE *f, const struct diff_case *c, const struct diff_result *a,
		const struct diff_result *b, const u8 *pool)
{
	static const char *const status[] = { "?", "done", "never ends", "system call", "lost" };

	fprintf(f, "# %u-bit code, %u instruction%s:\n", c->mode * 8, c->n, c->n == 1 ? "" : "s");
	print_code(f, c);
	print_start(f, c);
	if (a->status != b->status) {
		fprintf(f, "#     host: %s, penta: %s\n", status[a->status], status[b->status]);
		if (b->status != DIFF_DONE)
			return;
	}
	if (!same_event(c, a, b))
		fprintf(f, "#     host: #%u error %x cr2 %llx rip %llx\n"
			"#     penta: #%u error %x cr2 %llx rip %llx\n", a->vector, a->error,
			(unsigned long long)(a->vector == EXC_PF ? a->cr2 : 0),
			(unsigned long long)a->rip, b->vector, b->error,
			(unsigned long long)(b->vector == EXC_PF ? b->cr2 : 0),
			(unsigned long long)b->rip);
	else
		fprintf(f, "#     both: #%u at rip %llx\n", a->vector, (unsigned long long)a->rip);
	for (unsigned i = 0; i < 16; i++)
		if ((a->gpr[i] ^ b->gpr[i]) & gpr_mask(c, a, i))
			row(f, gpr_name[i], c->gpr[i], a->gpr[i], b->gpr[i]);
	if (a->flags != b->flags)
		row(f, "rflags", c->flags, a->flags, b->flags);
	print_segs(f, c, a, b);
	print_ext(f, c->xs, a->xs, b->xs);
	print_memory(f, c, a, b, pool);
}
