/* SPDX-License-Identifier: GPL-2.0-or-later */
/* String instructions, bits, BMI and atomics of the soft engine, each beside the same bytes on this
 * host: registers, all flags (undefined ones, too: it is the same silicon), memory, the exception
 * and what had been done until it. Then what a user process cannot show: segment limits, wrapping
 * offsets, single step, a vCPU that is called away in the middle of a run. */
#include "engine/native_host.h"
#include "engine/soft/block.h"	// struct soft

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#define FLAGS (FL_OSZAPC | FL_DF)

static struct guest g;
static u64 seed = 0x853c49e6748fea9bull;
static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dull;
}

static int setup(void **state)
{
	static struct soft engine = { .split_lock = PTHREAD_MUTEX_INITIALIZER };

	host_init();
	if (guest_init(&g) < 0)
		return -1;
	g.c->soft = &engine;
	return 0;
}
static int teardown(void **state)
{
	guest_free(&g);
	return 0;
}

/* Execute until it is done or faults: NO_VECTOR or the exception. *@turns: how often it began. */
static __attribute__((noinline)) unsigned guest_run(const u8 *bytes, unsigned *turns)
{
	static struct insn in;
	struct cpu *c = g.c;
	int r = insn_decode(&in, bytes, 15, c->mode);

	*turns = 0;
	c->rip = 0x1000;
	c->next_rip = 0x1000 + in.len;
	if (sigsetjmp(c->catch, 0))
		return c->exc.vector;
	if (r)
		cpu_raise(c, EXC_UD);
	do {
		c->next_rip = c->rip + in.len;
		++*turns;
		exec_insn(c, &in);
		atomic_store(&c->look, 0);
	} while (c->next_rip == c->rip);
	return NO_VECTOR;
}

static void show(const char *what, const u8 *bytes, u64 host, u64 guest)
{
	struct insn in;
	char text[120];

	insn_decode(&in, bytes, 15, g.c->mode);
	insn_format(&in, 0, text, sizeof(text));
	fail_msg("%s: %s: host %#lx, guest %#lx", text, what, (unsigned long)host,
		 (unsigned long)guest);
}

/* Both from the same state and memory; what comes out must be the same. */
static void both(struct host_state *s, const u8 *bytes, unsigned len, u32 flags)
{
	static const char *const names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8",
		"r9", "r10", "r11", "r12", "r13", "r14", "r15" };
	unsigned hv, gv, turns;

	memcpy(g.mem, host_buf, BUF_LEN);
	s->rflags = flags | 0x202;
	memcpy(g.c->r, s->r, sizeof(s->r));
	cpu_set_rflags(g.c, flags | FL_1);
	atomic_store(&g.c->look, 0);
	gv = guest_run(bytes, &turns);
	hv = host_run(s, bytes, len);
	if (hv != gv)
		show("exception", bytes, hv, gv);
	for (unsigned i = 0; i < 16; i++)
		if (i != RSP && host_st->r[i] != g.c->r[i])
			show(names[i], bytes, host_st->r[i], g.c->r[i]);
	if ((host_st->rflags ^ cpu_get_rflags(g.c)) & FLAGS)
		show("flags", bytes, host_st->rflags & FLAGS, cpu_get_rflags(g.c) & FLAGS);
	for (unsigned i = 0; i < BUF_LEN; i++)
		if (host_buf[i] != g.mem[i])
			show("memory", bytes, (u64)i << 8 | host_buf[i], (u64)i << 8 | g.mem[i]);
}

static void fill_buf(void)
{
	unsigned kind = rnd() & 3;

	for (unsigned i = 0; i < BUF_LEN; i += 8)
		put_le64(host_buf + i, kind == 0 ? rnd() : kind == 1 ? 0x4141414141414141 :
			 kind == 2 ? rnd() & 0x0101010101010101 : (i & 0x3ff ? 0 : rnd()));
}

/* Near the beginning, in the middle, near the page boundary or the end of what is mapped. */
static u64 buf_ptr(void)
{
	static const int at[] = { 0, 64, 2048, 4096, 8192, 8192 };
	int off = at[rnd() % ARRAY_SIZE(at)] + (int)(rnd() % 128) - 64;

	return BUF_VA + (u64)(s64)off;
}

static void test_strings(void **state)
{
	static const u8 ops[] = { 0xa4, 0xa6, 0xaa, 0xac, 0xae };
	struct host_state s;
	unsigned faults = 0;

	host_catch();
	guest_set_mode(g.c, 8);
	memset(&s, 0, sizeof(s));
	for (unsigned k = 0; k < 60000; k++) {
		u8 b[16] = { 0 };
		unsigned n = 0, width = rnd() & 3, rep = rnd() % 5;

		if (!(k & 7))
			fill_buf();
		if (rep)
			b[n++] = rep & 1 ? 0xf3 : 0xf2;
		if (!(rnd() & 7))
			b[n++] = 0x67;
		if (width == 1)
			b[n++] = 0x66;
		if (width == 3)
			b[n++] = 0x48;
		b[n++] = ops[rnd() % ARRAY_SIZE(ops)] | (width ? 1 : 0);
		for (unsigned i = 0; i < 16; i++)
			s.r[i] = rnd();
		s.r[RSI] = buf_ptr();
		s.r[RDI] = rnd() & 1 ? s.r[RSI] + rnd() % 33 - 16 : buf_ptr();
		s.r[RCX] = rnd() & 1 ? rnd() % 40 : rnd() % 5000;
		if (!(rnd() & 7))
			s.r[RAX] = get_le64(host_buf + rnd() % (BUF_LEN - 8));
		both(&s, b, n, (rnd() & FL_OSZAPC) | (rnd() & 1 ? FL_DF : 0));
		faults += host_vector != NO_VECTOR;
	}
	assert_in_range(faults, 1000, 59000);
}

/* Bits, BMI, atomics: opcode bytes, then a random ModRM. */
static const struct { u8 len, b[3]; bool lock; } scalar[] = {
	{ 2, { 0x0f, 0xa3 }, false }, { 2, { 0x0f, 0xab }, true }, { 2, { 0x0f, 0xb3 }, true },
	{ 2, { 0x0f, 0xbb }, true }, { 2, { 0x0f, 0xba }, true }, { 2, { 0x0f, 0xbc }, false },
	{ 2, { 0x0f, 0xbd }, false }, { 2, { 0x0f, 0xb0 }, true }, { 2, { 0x0f, 0xb1 }, true },
	{ 2, { 0x0f, 0xc0 }, true }, { 2, { 0x0f, 0xc1 }, true }, { 2, { 0x0f, 0xc7 }, true },
	{ 3, { 0x0f, 0x38, 0xf0 }, false }, { 3, { 0x0f, 0x38, 0xf1 }, false },
	{ 3, { 0x0f, 0x38, 0xf6 }, false }, { 2, { 0x0f, 0xb8 }, false },
};

static void scalar_regs(struct host_state *s)
{
	unsigned kind = rnd() & 3;

	for (unsigned i = 0; i < 16; i++)
		s->r[i] = kind == 0 ? rnd() : kind == 1 ? rnd() % 40 : kind == 2 ? (u64)(s64)(s16)rnd() :
			  1ull << (rnd() & 63);
	s->r[RSI] = BUF_VA + 4064 + rnd() % 64;
	if (!(rnd() & 3))
		s->r[RSI] = BUF_VA + BUF_LEN - rnd() % 24;
	if (!(rnd() & 3))	/* CMPXCHG should succeed now and then */
		s->r[RAX] = get_le64(host_buf + ((s->r[RSI] - BUF_VA) & 0x1ff8));
	if (!(rnd() & 7)) {
		s->r[RSI] &= ~15ull;
		s->r[RAX] = get_le64(host_buf + ((s->r[RSI] - BUF_VA) & 0x1ff0));
		s->r[RDX] = get_le64(host_buf + ((s->r[RSI] - BUF_VA) & 0x1ff0) + 8);
	}
}

static bool wanted(const u8 *b)
{
	struct insn in;

	if (insn_decode(&in, b, 15, 8))
		return false;
	switch (in.desc->cls) {
	case CL_BIT: case CL_BMI: case CL_ATOMIC: break;
	case CL_ARITH: case CL_MOVE:
		if (in.op != OP_ADCX && in.op != OP_ADOX && in.op != OP_MOVBE && in.op != OP_BSWAP)
			return false;
		break;
	default:
		return false;
	}
	for (unsigned i = 0; i < in.nopd; i++)	/* RSP is the host's, RSI the pointer */
		if (in.opd[i].kind == OPD_GPR && !in.opd[i].high8 && in.opd[i].reg == RSP)
			return false;
	if (in.has_mem && (in.base != RSI || in.index != REG_ZERO))
		return false;
	return true;
}

static u8 random_modrm(void)
{
	return rnd() & 1 ? 0xc0 | (rnd() & 0x3f) : 0x06 | (rnd() & 0x38);
}

static bool has_bmi(void)
{
	return __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

static void test_scalars(void **state)
{
	static const u8 bmi_ops[] = { 0xf2, 0xf3, 0xf5, 0xf6, 0xf7 };
	struct host_state s;
	unsigned done = 0, tries = 0;

	host_catch();
	guest_set_mode(g.c, 8);
	memset(&s, 0, sizeof(s));
	while (done < 120000) {
		u8 b[16] = { 0 };
		unsigned n = 0, k = rnd() % (ARRAY_SIZE(scalar) + 4);
		struct insn in;

		assert_true(++tries < 4000000);
		if (!(done & 15))
			fill_buf();
		if (k < ARRAY_SIZE(scalar)) {
			if (scalar[k].lock && !(rnd() & 3))
				b[n++] = 0xf0;
			if (!(rnd() & 3))
				b[n++] = 0x66;
			if (!(rnd() & 3))
				b[n++] = rnd() & 1 ? 0xf3 : 0xf2;
			if (rnd() & 1)
				b[n++] = 0x40 | (rnd() & 0xd);
			memcpy(b + n, scalar[k].b, scalar[k].len);
			n += scalar[k].len;
			b[n++] = random_modrm();
			b[n] = rnd();
		} else if (k == ARRAY_SIZE(scalar)) {	/* BSWAP */
			if (!(rnd() & 3))
				b[n++] = 0x66;
			b[n++] = 0x40 | (rnd() & 9);
			b[n++] = 0x0f;
			b[n++] = 0xc8 | (rnd() & 7);
		} else {
			if (!has_bmi())
				continue;
			b[n++] = 0xc4;
			b[n++] = rnd() & 7 ? 0xe2 : 0xe3;
			b[n++] = rnd() & 0xfb;
			b[n++] = b[1] == 0xe3 ? 0xf0 : bmi_ops[rnd() % ARRAY_SIZE(bmi_ops)];
			b[n++] = random_modrm();
			b[n] = rnd();
		}
		if (!wanted(b))
			continue;
		insn_decode(&in, b, 15, 8);
		scalar_regs(&s);
		if (in.has_mem && in.opd[1].kind == OPD_GPR && in.op >= OP_BT && in.op <= OP_BTC) {
			if (in.opd[1].reg == RSI)
				continue;
			/* Bit offsets reach far: stay in the buffer, or just beside it. */
			s.r[in.opd[1].reg] = (u64)(s64)(s16)rnd();
		}
		both(&s, b, in.len, rnd() & FL_OSZAPC);
		done++;
	}
}

/* --- what only the guest can do --- */

static void small_segment(unsigned seg, u32 base, u32 limit)
{
	g.c->seg[seg].base = base;
	g.c->seg[seg].limit = limit;
	g.c->seg[seg].attr = 0x40f3;
	cpu_mode_changed(g.c);
}

static void test_limits(void **state)
{
	static const u8 rep_stosb[16] = { 0xf3, 0xaa }, rep_movsd[16] = { 0xf3, 0xa5 },
			a16_stosw[16] = { 0xf3, 0x66, 0x67, 0xab }, a16_movsb[16] = { 0xf3, 0x67, 0xa4 };
	struct cpu *c = g.c;
	unsigned turns;

	guest_set_mode(c, 4);
	memset(g.mem, 0, BUF_LEN);
	cpu_set_rflags(c, FL_1);
	small_segment(SEG_ES, BUF_VA, 0x1233);
	c->r[RDI] = 0x1000;
	c->r[RCX] = 0x1000;
	c->r[RAX] = 0xcc;
	assert_int_equal(guest_run(rep_stosb, &turns), EXC_GP);
	assert_int_equal(c->r[RDI], 0x1234);
	assert_int_equal(c->r[RCX], 0x1000 - 0x234);
	assert_int_equal(g.mem[0x1233], 0xcc);
	assert_int_equal(g.mem[0x1234], 0);

	/* The last element would reach over the limit; downwards from it. */
	c->r[RSI] = BUF_VA + 0x100;
	c->r[RDI] = 0x1228;
	c->r[RCX] = 10;
	assert_int_equal(guest_run(rep_movsd, &turns), EXC_GP);
	assert_int_equal(c->r[RCX], 7);
	assert_int_equal(c->r[RDI], 0x1234);
	cpu_set_rflags(c, FL_1 | FL_DF);
	c->r[RDI] = 8;
	c->r[RCX] = 10;
	assert_int_equal(guest_run(rep_movsd, &turns), EXC_GP);
	assert_int_equal((u32)c->r[RDI], 0xfffffffc);
	assert_int_equal(c->r[RCX], 7);

	/* Expand-down: from the limit + 1 up. */
	cpu_set_rflags(c, FL_1 | FL_DF);
	c->seg[SEG_ES].attr = 0x40f7;
	c->seg[SEG_ES].limit = 0xfff;
	cpu_mode_changed(c);
	c->r[RDI] = 0x1010;
	c->r[RCX] = 100;
	assert_int_equal(guest_run(rep_stosb, &turns), EXC_GP);
	assert_int_equal(c->r[RDI], 0xfff);
	assert_int_equal(c->r[RCX], 100 - 0x11);

	/* Offsets of 16 bits wrap; upper halves of registers stay. */
	small_segment(SEG_ES, BUF_VA + 0x1000 - 0x10000, UINT32_MAX);
	cpu_set_rflags(c, FL_1);
	c->r[RDI] = 0xabcdfff8;
	c->r[RCX] = 0x77770006;
	assert_int_equal(guest_run(a16_stosw, &turns), EXC_PF);
	assert_int_equal(c->r[RDI], 0xabcd0000);
	assert_int_equal(c->r[RCX], 0x77770002);
	assert_int_equal(c->cr2, BUF_VA + 0x1000 - 0x10000);
	small_segment(SEG_ES, BUF_VA, UINT32_MAX);
	c->r[RSI] = 0x12340000;
	c->r[RDI] = 0x12340000;
	c->r[RCX] = 0x12340000;
	assert_int_equal(guest_run(a16_movsb, &turns), NO_VECTOR);
	assert_int_equal(c->r[RCX], 0x12340000);	/* CX is 0: nothing */

	/* Read-only. */
	c->seg[SEG_ES].attr = 0x40f1;
	cpu_mode_changed(c);
	c->r[RCX] = 1;
	assert_int_equal(guest_run(rep_stosb, &turns), EXC_GP);
	c->seg[SEG_ES] = c->seg[SEG_DS];
	guest_set_mode(c, 8);
}

static void test_left_in_the_middle(void **state)
{
	static const u8 rep_stosb[16] = { 0xf3, 0xaa }, repe_cmpsb[16] = { 0xf3, 0xa6 };
	struct cpu *c = g.c;
	struct insn in;
	unsigned turns;

	guest_set_mode(c, 8);
	cpu_set_rflags(c, FL_1);
	memset(g.mem, 0, BUF_LEN);
	/* Called away: at most a page later RIP is back at the beginning. */
	c->r[RDI] = BUF_VA + 16;
	c->r[RCX] = 8000;
	c->r[RAX] = 7;
	assert_int_equal(insn_decode(&in, rep_stosb, 15, 8), 0);
	c->rip = 0x1000;
	c->next_rip = 0x1002;
	cpu_look(c);
	exec_insn(c, &in);
	assert_int_equal(c->next_rip, 0x1000);
	assert_in_range(c->r[RCX], 8000 - 4096, 7999);
	assert_int_equal(c->r[RDI] - BUF_VA - 16, 8000 - c->r[RCX]);
	atomic_store(&c->look, 0);
	assert_int_equal(guest_run(rep_stosb, &turns), NO_VECTOR);
	assert_int_equal(turns, 1);
	assert_int_equal(c->r[RCX], 0);
	for (unsigned i = 0; i < 8000; i++)
		assert_int_equal(g.mem[16 + i], 7);

	/* Single step: one element at a time, RIP behind it after the last one. */
	c->step_trap = true;
	c->r[RDI] = BUF_VA;
	c->r[RCX] = 5;
	assert_int_equal(guest_run(rep_stosb, &turns), NO_VECTOR);
	assert_int_equal(turns, 5);
	memset(g.mem, 9, BUF_LEN);
	g.mem[3] = 1;
	c->r[RSI] = BUF_VA;
	c->r[RDI] = BUF_VA + 100;
	c->r[RCX] = 50;
	assert_int_equal(guest_run(repe_cmpsb, &turns), NO_VECTOR);
	assert_int_equal(turns, 4);
	assert_int_equal(c->r[RCX], 46);
	c->step_trap = false;
}

struct port { unsigned reads, writes; u8 last; };

static u64 port_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	struct port *p = dev;

	return ++p->reads;
}

static void port_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct port *p = dev;

	p->writes++;
	p->last = (u8)val;
}

static void test_ports(void **state)
{
	static const struct region_ops ops = { .read = port_read, .write = port_write };
	static const u8 rep_insb[16] = { 0xf3, 0x6c }, rep_outsb[16] = { 0xf3, 0x6e };
	struct cpu *c = g.c;
	struct port port = { 0 };
	struct err e = { 0 };
	unsigned turns;

	guest_set_mode(c, 8);
	g.m->ports = bus_new("ports", 0xffff);
	assert_non_null(g.m->ports);
	assert_int_equal(bus_map(g.m->ports, 0x100, 1, &ops, &port, "port", 0, &e), 0);
	c->r[RDX] = 0x100;
	c->r[RDI] = BUF_VA + BUF_LEN - 5;
	c->r[RCX] = 20;

	/* CPL 3: not allowed without IOPL 3 (there is no TSS), whatever the count. */
	cpu_set_rflags(c, FL_1);
	assert_int_equal(guest_run(rep_insb, &turns), EXC_GP);
	assert_int_equal(port.reads, 0);
	cpu_set_rflags(c, FL_1 | FL_IOPL);

	/* The sixth byte has nowhere to go: it is not read from the port. */
	assert_int_equal(guest_run(rep_insb, &turns), EXC_PF);
	assert_int_equal(port.reads, 5);
	assert_int_equal(c->r[RCX], 15);
	assert_int_equal(c->r[RDI], BUF_VA + BUF_LEN);
	assert_int_equal(g.mem[BUF_LEN - 1], 5);

	c->r[RSI] = BUF_VA + BUF_LEN - 1;
	c->r[RCX] = 3;
	cpu_set_rflags(c, FL_1 | FL_IOPL | FL_DF);
	assert_int_equal(guest_run(rep_outsb, &turns), NO_VECTOR);
	assert_int_equal(port.writes, 3);
	assert_int_equal(port.last, 3);
	assert_int_equal(c->r[RSI], BUF_VA + BUF_LEN - 4);
	bus_free(g.m->ports);
	g.m->ports = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_scalars),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_left_in_the_middle),
		cmocka_unit_test(test_ports),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
