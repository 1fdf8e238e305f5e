/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_fast.c - the quick forms beside the generic ones: random instruction sequences run through
 * decoded blocks, and again one by one through the exec functions (the fallback interpreter).
 * Registers, flags, memory and the place where a fault ends them must be the same. 64-bit code and
 * 32-bit code in flat segments. PENTA_FAST_CASES and PENTA_SEED change how many and which. */
#include "base/bytes.h"
#include "engine/soft/fallback.h"
#include "x86/insn.h"
#include <stdarg.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>

#define RAM_SIZE (2 * MiB)
#define CODE 0x10000
#define DATA 0x20000
#define DATA_LEN 0x4000
#define STACK 0x28000
#define TABLES 0x1000
#define END_PORT 0xf4
#define SEQ 12

static u64 rnd_state;
static u64 rnd(void)
{
	u64 z = rnd_state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}
static u64 rnd_value(void)
{
	switch (rnd() % 5) {
	case 0: return rnd() % 4;
	case 1: return (u64)-(s64)(rnd() % 4);
	case 2: return (rnd() % 3 - 1) + (1ull << rnd() % 64);
	case 3: return (u32)rnd();
	default: return rnd();
	}
}

static void end_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	vcpu_request(by, VCPU_REQ_STOP);
}
static const struct region_ops end_ops = { .write = end_write };

struct pair {
	struct machine *fast, *slow;
	struct soft_fallback *fb;
	unsigned ran, faulted, by_form[2];
};

static struct machine *machine_make(const struct engine_ops *ops)
{
	struct machine_config cfg = { .ram_size = RAM_SIZE, .ncpus = 1, .engine = ops,
				      .cpu_model = cpu_model_find("base") };
	struct machine *m;
	struct err e = { 0 };

	if (machine_new(&m, &cfg, &e) < 0)
		fail_msg("machine: %s", e.msg);
	assert_int_equal(bus_map(m->ports, END_PORT, 4, &end_ops, NULL, "end", 0, &e), 0);
	return m;
}

/* Opcodes whose forms have quick versions. Low bit variants, ModRM, immediate bytes (z: 4 or 2). */
struct shape { const char *op; char imm; bool modrm; };
static const struct shape shapes[] = {
	{ "\x00", 0, 1 }, { "\x08", 0, 1 }, { "\x10", 0, 1 }, { "\x18", 0, 1 }, { "\x20", 0, 1 },
	{ "\x28", 0, 1 }, { "\x30", 0, 1 }, { "\x38", 0, 1 },	/* + 0..3 added */
	{ "\x80", 'b', 1 }, { "\x81", 'z', 1 }, { "\x83", 'b', 1 },
	{ "\x84", 0, 1 }, { "\x85", 0, 1 }, { "\x88", 0, 1 }, { "\x89", 0, 1 }, { "\x8a", 0, 1 },
	{ "\x8b", 0, 1 }, { "\x8d", 0, 1 }, { "\xc6", 'b', 1 }, { "\xc7", 'z', 1 },
	{ "\xc0", 'b', 1 }, { "\xc1", 'b', 1 }, { "\xd1", 0, 1 }, { "\xd3", 0, 1 },
	{ "\xf6", 'f', 1 }, { "\xf7", 'g', 1 }, { "\xfe", 0, 1 }, { "\xff", 0, 1 },
	{ "\x69", 'z', 1 }, { "\x6b", 'b', 1 }, { "\x0f\xaf", 0, 1 },
	{ "\x0f\xb6", 0, 1 }, { "\x0f\xb7", 0, 1 }, { "\x0f\xbe", 0, 1 }, { "\x0f\xbf", 0, 1 },
	{ "\x63", 0, 1 }, { "\x0f\x40", 0, 1 }, { "\x0f\x90", 0, 1 },	/* + cond */
	{ "\x50", 0, 0 }, { "\x58", 0, 0 }, { "\xb8", 'v', 0 }, { "\x98", 0, 0 }, { "\x99", 0, 0 },
	{ "\x68", 'z', 0 }, { "\x6a", 'b', 0 }, { "\xc9", 0, 0 }, { "\x04", 'b', 0 }, { "\x05", 'z', 0 },
	{ "\x70", 'b', 0 },
};

static bool pointer_reg(unsigned r)
{
	return r == RBX || r == RSP || r == RBP || r == RSI || r == R12;
}

/* One random instruction at @p; its length, 0 when it came out unfit. */
static unsigned one(u8 *p, unsigned mode)
{
	const struct shape *s = &shapes[rnd() % ARRAY_SIZE(shapes)];
	static const u8 bases[] = { RBX, RBP, RSI };
	unsigned n = 0, len, cond = rnd() % 16;
	struct insn in;

	if (rnd() % 8 == 0)
		p[n++] = 0x66;
	if (rnd() % 12 == 0)
		p[n++] = rnd() & 1 ? 0x64 : 0x65;
	if (mode == 8 && rnd() % 2)
		p[n++] = 0x40 | (rnd() & 15);
	for (const char *o = s->op; *o || o == s->op; o++)
		p[n++] = (u8)*o;
	if ((u8)s->op[0] < 0x40 && !s->imm && s->op[0] != 0x0f)
		p[n - 1] += rnd() % 4;
	if (s->op[0] == 0x70 || (s->op[0] == 0x0f && ((u8)s->op[1] == 0x40 || (u8)s->op[1] == 0x90)))
		p[n - 1] += cond;
	if ((u8)s->op[0] == 0x50 || (u8)s->op[0] == 0x58 || (u8)s->op[0] == 0xb8)
		p[n - 1] += rnd() % 8;
	if (s->modrm) {
		unsigned mod = rnd() % 4, reg = rnd() % 8, rm = bases[rnd() % 3];

		if (mod == 3)
			rm = rnd() % 8;
		else if (rnd() % 3 == 0)
			rm = 4;
		p[n++] = (u8)(mod << 6 | reg << 3 | rm);
		if (mod != 3 && rm == 4)
			p[n++] = (u8)((rnd() % 4) << 6 | (rnd() % 2 ? 4 : RDI) << 3 | bases[rnd() % 3]);
		if (mod == 0 && (rm == 5 || (rm == 4 && (p[n - 1] & 7) == 5)))
			n += 4, put_le32(p + n - 4, mode == 4 || rm == 4 ? DATA + rnd() % DATA_LEN :
					 DATA - CODE + rnd() % DATA_LEN);
		else if (mod == 1)
			p[n++] = (u8)rnd();
		else if (mod == 2)
			n += 4, put_le32(p + n - 4, (u32)(rnd() % 0x2000) - 0x1000);
	}
	for (unsigned i = 0; i < 8; i++)
		p[n + i] = (u8)(rnd() % 3 ? rnd() : rnd() % 2 ? 0 : 0xff);
	if (insn_decode(&in, p, 15, mode) < 0)
		return 0;
	len = in.len;
	if (in.desc->cls == CL_BRANCH) {
		if (in.op < OP_JO || in.op > OP_JNLE)
			return 0;
		p[len - 1] = 0;		/* to the next instruction, either way */
		if (in.opsize == 2)
			return 0;
	}
	for (unsigned i = 0; i < in.nopd; i++)
		if (in.opd[i].kind == OPD_GPR && in.opd[i].write && pointer_reg(in.opd[i].reg) &&
		    !in.opd[i].high8)
			return 0;
	if (in.desc->cls == CL_SEGMENT || in.desc->cls == CL_SYSTEM || in.desc->cls == CL_IO)
		return 0;
	return len;
}

static void seg_flat(struct cpu_seg *s, u16 sel, u16 attr)
{
	*s = (struct cpu_seg){ .sel = sel, .attr = attr, .limit = UINT32_MAX };
}

static void state_make(struct cpu_state *s, unsigned mode)
{
	cpu_state_reset(s);
	s->cr0 = CR0_PE | CR0_ET | CR0_NE;
	if (mode == 8) {
		s->cr0 |= CR0_PG | CR0_WP;
		s->cr3 = TABLES;
		s->cr4 = CR4_PAE;
		s->efer = EFER_LME | EFER_LMA;
	}
	seg_flat(&s->seg[SEG_CS], 8, mode == 8 ? 0xa09b : 0xc09b);
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		if (i != SEG_CS)
			seg_flat(&s->seg[i], 16, 0xc093);
	s->seg[SEG_FS].base = 0x100;
	s->seg[SEG_GS].base = rnd() % 2 ? 0x200 : 0;
	s->idtr.limit = 0;		/* the first fault is the end */
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = mode == 8 ? rnd_value() : i < 8 ? (u32)rnd_value() : 0;
	s->gpr[RBX] = DATA + rnd() % DATA_LEN;
	s->gpr[RBP] = DATA + 0x1000 + rnd() % 8;
	s->gpr[RSI] = rnd() % 64 ? DATA + 0x1ff8 + rnd() % 16 : mode == 8 ? rnd() : (u32)rnd();
	s->gpr[RSP] = STACK + rnd() % 16;
	s->gpr[R12] = mode == 8 ? DATA + rnd() % 0x1000 : 0;
	s->gpr[RDI] = rnd() % 0x200;
	s->rip = CODE;
	s->rflags = FL_1 | (rnd() & FL_OSZAPC);
}

static void tables(struct machine *m)
{
	u64 v;

	v = (TABLES + 0x1000) | 7;
	assert_true(ram_write(m->ram, TABLES, &v, 8));
	v = (TABLES + 0x2000) | 7;
	assert_true(ram_write(m->ram, TABLES + 0x1000, &v, 8));
	v = 0x87;
	assert_true(ram_write(m->ram, TABLES + 0x2000, &v, 8));
}

static void show(const u8 *code, unsigned len, unsigned mode)
{
	struct insn in;
	char text[128];

	for (unsigned off = 0; off < len; off += in.len) {
		if (insn_decode(&in, code + off, 15, mode) < 0)
			return;
		insn_format(&in, CODE + off, text, sizeof(text));
		print_message("#   %x: %s\n", CODE + off, text);
	}
}

static void compare(const struct cpu_state *a, const struct cpu_state *b, const u8 *code,
		    unsigned len, unsigned mode, const struct pair *p)
{
	const u8 *ma = ram_view(p->fast->ram, DATA, STACK + 0x1000 - DATA);
	const u8 *mb = ram_view(p->slow->ram, DATA, STACK + 0x1000 - DATA);
	bool bad = false;

	for (unsigned i = 0; i < 16; i++)
		if (a->gpr[i] != b->gpr[i]) {
			print_message("# r%u: %llx, generic %llx\n", i, (unsigned long long)a->gpr[i],
				      (unsigned long long)b->gpr[i]);
			bad = true;
		}
	if (a->rip != b->rip || a->rflags != b->rflags || a->activity != b->activity) {
		print_message("# rip %llx flags %llx activity %u, generic %llx %llx %u\n",
			      (unsigned long long)a->rip, (unsigned long long)a->rflags, a->activity,
			      (unsigned long long)b->rip, (unsigned long long)b->rflags, b->activity);
		bad = true;
	}
	for (unsigned i = 0; i < STACK + 0x1000 - DATA && !bad; i++)
		if (ma[i] != mb[i]) {
			print_message("# memory at %x: %02x, generic %02x\n", DATA + i, ma[i], mb[i]);
			bad = true;
		}
	if (bad) {
		show(code, len, mode);
		fail_msg("blocks and exec functions differ");
	}
}

static void run_case(struct pair *p, unsigned mode)
{
	struct cpu_state *s = test_malloc(sizeof(*s)), *t = test_malloc(sizeof(*t));
	u8 code[SEQ * 15 + 32] = { 0 }, mem[STACK + 0x1000 - DATA];
	struct vcpu *v = p->fast->cpu[0];
	unsigned len = 0, end, skip = 0;
	struct err e = { 0 };

	for (unsigned i = 0; i < SEQ; i++) {
		u8 one_insn[32] = { 0 };
		unsigned n = one(one_insn, mode);

		memcpy(code + len, one_insn, n);
		len += n;
		/* Every other jump leaves out what comes next. */
		if (skip)
			code[skip] = (u8)n;
		skip = n >= 2 && (one_insn[n - 2] & 0xf0) == 0x70 && !one_insn[n - 1] && rnd() % 2 ?
		       len - 1 : 0;
	}
	if (skip)
		code[skip] = 0;
	end = len;
	memcpy(code + len, "\xe6\xf4", 2);
	len += 2;
	for (unsigned i = 0; i < sizeof(mem); i++)
		mem[i] = (u8)(rnd() >> 13);
	state_make(s, mode);
	*t = *s;
	assert_true(ram_write(p->fast->ram, CODE, code, sizeof(code)));
	assert_true(ram_write(p->slow->ram, CODE, code, sizeof(code)));
	assert_true(ram_write(p->fast->ram, DATA, mem, sizeof(mem)));
	assert_true(ram_write(p->slow->ram, DATA, mem, sizeof(mem)));

	if (engine_soft.set_state(v, s, &e) < 0)
		fail_msg("%s", e.msg);
	atomic_store(&v->requests, 0);
	engine_soft.run(v);
	assert_int_equal(engine_soft.get_state(v, s, &e), 0);
	for (unsigned i = 0; i < 2 * SEQ && t->rip != CODE + end && t->activity == CPU_RUNNING; i++)
		soft_fallback_step(p->fb, t, &e);
	if (t->rip == CODE + end && t->activity == CPU_RUNNING)
		t->rip += 2;
	else
		p->faulted++;
	p->ran++;
	compare(s, t, code, end, mode, p);
	test_free(s);
	test_free(t);
}

static void test_forms(void **state)
{
	const char *n = getenv("PENTA_FAST_CASES"), *seed = getenv("PENTA_SEED");
	unsigned cases = n ? (unsigned)strtoul(n, NULL, 0) : 20000;
	struct pair p = { 0 };
	struct err e = { 0 };

	rnd_state = seed ? strtoull(seed, NULL, 0) : 1;
	p.fast = machine_make(&engine_soft);
	p.slow = machine_make(NULL);
	assert_int_equal(soft_fallback_new(&p.fb, p.slow->cpu[0], &e), 0);
	tables(p.fast);
	tables(p.slow);
	for (unsigned i = 0; i < cases; i++)
		run_case(&p, i % 2 ? 8 : 4);
	print_message("# %u sequences, %u of them ended by a fault\n", p.ran, p.faulted);
	soft_fallback_free(p.fb);
	machine_free(p.fast);
	machine_free(p.slow);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_forms) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
