/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_interp.c - the soft engine's loop and blocks on a bare machine: small guests in real and in
 * long mode (identity tables of 2 MiB pages). A guest ends by writing to port 0xf4. */
#include "base/bytes.h"
#include "engine/soft/stub.h"
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#define RAM_SIZE (16 * MiB)
#define CODE 0x10000
#define STACK 0x80000
#define TABLES 0x1000
#define IDT 0x8000
#define GDT 0x9000
#define HANDLERS 0xa000
#define RESULT 0x20000
#define END_PORT 0xf4

struct guest {
	struct machine *m;
	struct vcpu *v;
	struct cpu_state s;
	u64 value;		/* last write to END_PORT */
};

static void end_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct guest *g = dev;

	g->value = val;
	vcpu_request(by, VCPU_REQ_STOP);
}
static const struct region_ops end_ops = { .write = end_write };

static void guest_new(struct guest *g, const void *code, size_t len)
{
	struct machine_config cfg = { .ram_size = RAM_SIZE, .ncpus = 1, .engine = &engine_soft,
				      .cpu_model = cpu_model_find("base") };
	struct err e = { 0 };

	memset(g, 0, sizeof(*g));
	if (machine_new(&g->m, &cfg, &e) < 0)
		fail_msg("machine: %s", e.msg);
	g->v = g->m->cpu[0];
	assert_int_equal(bus_map(g->m->ports, END_PORT, 4, &end_ops, g, "end", 0, &e), 0);
	assert_true(ram_write(g->m->ram, CODE, code, len));
	cpu_state_reset(&g->s);
	g->s.gpr[RSP] = STACK & 0xffff;
}

/* Real mode, CS = CODE >> 4, DS = ES = SS = 0. */
static void guest_real(struct guest *g, const void *code, size_t len)
{
	guest_new(g, code, len);
	g->s.seg[SEG_CS].sel = CODE >> 4;
	g->s.seg[SEG_CS].base = CODE;
	g->s.rip = 0;
	g->s.gpr[RSP] = 0xf000;
}

static void put64(struct guest *g, u64 gpa, u64 val)
{
	assert_true(ram_write(g->m->ram, gpa, &val, 8));
}

static void gate64(struct guest *g, unsigned vector, u64 to)
{
	put64(g, IDT + vector * 16, (to & 0xffff) | 0x08ull << 16 | 0x8e00ull << 32 |
	      (to >> 16 & 0xffff) << 48);
	put64(g, IDT + vector * 16 + 8, to >> 32);
}

static void seg64(struct cpu_seg *s, u16 sel, u16 attr)
{
	*s = (struct cpu_seg){ .sel = sel, .attr = attr, .limit = UINT32_MAX };
}

/* 64-bit, CPL 0, first 16 MiB mapped one to one. */
static void guest_long(struct guest *g, const void *code, size_t len)
{
	guest_new(g, code, len);
	put64(g, TABLES, (TABLES + 0x1000) | 7);
	put64(g, TABLES + 0x1000, (TABLES + 0x2000) | 7);
	for (unsigned i = 0; i < 8; i++)
		put64(g, TABLES + 0x2000 + i * 8, i * 2 * MiB | 0x87);
	put64(g, GDT + 8, 0x00af9b000000ffff);
	put64(g, GDT + 16, 0x00cf93000000ffff);
	g->s.cr0 = CR0_PE | CR0_ET | CR0_WP | CR0_PG;
	g->s.cr3 = TABLES;
	g->s.cr4 = CR4_PAE;
	g->s.efer = EFER_LME | EFER_LMA;
	seg64(&g->s.seg[SEG_CS], 8, 0xa09b);
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		if (i != SEG_CS)
			seg64(&g->s.seg[i], 16, 0xc093);
	g->s.gdtr.base = GDT;
	g->s.gdtr.limit = 23;
	g->s.idtr.base = IDT;
	g->s.idtr.limit = 0xfff;
	g->s.rip = CODE;
	g->s.gpr[RSP] = STACK;
}

static void guest_run(struct guest *g)
{
	struct err e = { 0 };

	assert_int_equal(engine_soft.set_state(g->v, &g->s, &e), 0);
	atomic_store(&g->v->requests, 0);
	assert_int_equal(engine_soft.run(g->v), VCPU_EXIT_STOP);
	assert_int_equal(engine_soft.get_state(g->v, &g->s, &e), 0);
}

static u64 result(struct guest *g, unsigned n)
{
	u64 v = 0;

	assert_true(ram_read(g->m->ram, RESULT + n * 8, &v, 8));
	return v;
}

/* Guest code: CODE_(name) "instructions" CODE_END_(name). */
#define GUEST(name, bits, text) \
	__asm__(".pushsection .rodata\n.code" #bits "\n.globl g_" #name "\ng_" #name ":\n" \
		text "\n.globl g_" #name "_end\ng_" #name "_end:\n.code64\n.popsection\n"); \
	extern const u8 g_##name[], g_##name##_end[];
#define LEN(name) (size_t)(g_##name##_end - g_##name)

GUEST(real, 16,
	"movw $1, %ax\n movw $100, %cx\n xorw %bx, %bx\n"
	"1: addw %ax, %bx\n incw %ax\n loop 1b\n"
	"movw %bx, %ax\n outw %ax, $0xf4\n")
static void test_real(void **state)
{
	struct guest g;

	guest_real(&g, g_real, LEN(real));
	guest_run(&g);
	assert_int_equal(g.value, 5050);
	assert_int_equal(g.s.rip, LEN(real));
	machine_free(g.m);
}

GUEST(calls, 64,
	"movl $20, %edi\n call fib\n movl %eax, %eax\n movq %rax, 0x20000\n outl %eax, $0xf4\n"
	"fib: cmpl $2, %edi\n jb 2f\n push %rbx\n push %rdi\n decl %edi\n call fib\n"
	"movl %eax, %ebx\n pop %rdi\n subl $2, %edi\n call fib\n addl %ebx, %eax\n pop %rbx\n ret\n"
	"2: movl %edi, %eax\n ret\n")
static void test_calls(void **state)
{
	struct guest g;

	guest_long(&g, g_calls, LEN(calls));
	guest_run(&g);
	assert_int_equal(result(&g, 0), 6765);
	assert_int_equal(g.s.gpr[RSP], STACK);
	machine_free(g.m);
}

/* The program overwrites the immediate of an instruction ahead of it in its own block, then of one
 * that ran before. */
GUEST(smc, 64,
	"lea 1f+1(%rip), %rbx\n movl $7, (%rbx)\n nop\n"
	"1: movl $5, %eax\n movq %rax, 0x20000\n"
	"movl $3, %ecx\n xorl %edx, %edx\n"
	"lea 3f+2(%rip), %rbx\n"
	"2: \n"
	"3: addl $0x11111111, %edx\n"
	"movl $1, (%rbx)\n"
	"loop 2b\n movq %rdx, 0x20008\n outl %eax, $0xf4\n")
static void test_smc(void **state)
{
	struct guest g;

	guest_long(&g, g_smc, LEN(smc));
	guest_run(&g);
	assert_int_equal(result(&g, 0), 7);
	assert_int_equal(result(&g, 1), 0x11111113);
	machine_free(g.m);
}

/* #DE, #UD, #PF come back to the instruction after, RIP, error code and CR2 as they must be. */
GUEST(faults, 64,
	"xorl %ecx, %ecx\n xorl %edx, %edx\n movl $1, %eax\n"
	"1: divl %ecx\n"
	"2: ud2\n"
	"3: movb 0x40000000, %al\n"
	"outl %eax, $0xf4\n"
	/* handlers, 32 bytes each */
	".org g_faults + 0x100\n"
	"addq $2, (%rsp)\n incq 0x20000\n iretq\n"
	".org g_faults + 0x120\n"
	"addq $2, (%rsp)\n incq 0x20008\n iretq\n"
	".org g_faults + 0x140\n"
	"pop 0x20018\n pop 0x20020\n movq %cr2, %rbx\n movq %rbx, 0x20010\n"
	"addq $7, 0x20020\n push 0x20020\n iretq\n")
static void test_faults(void **state)
{
	struct guest g;

	guest_long(&g, g_faults, LEN(faults));
	gate64(&g, EXC_DE, CODE + 0x100);
	gate64(&g, EXC_UD, CODE + 0x120);
	gate64(&g, EXC_PF, CODE + 0x140);
	guest_run(&g);
	assert_int_equal(result(&g, 0), 1);
	assert_int_equal(result(&g, 1), 1);
	assert_int_equal(result(&g, 2), 0x40000000);
	assert_int_equal(result(&g, 3), 0);
	assert_int_equal(g.s.gpr[RSP], STACK);
	machine_free(g.m);
}

/* TF: a #DB after each instruction from the one after POPF on, none after the last one. The count
 * says how many; the return addresses must rise. */
GUEST(step, 64,
	"pushfq\n orl $0x100, (%rsp)\n popfq\n"
	"nop\n movl $1, %eax\n pushfq\n andl $~0x100, (%rsp)\n popfq\n"
	"nop\n nop\n outl %eax, $0xf4\n"
	".org g_step + 0x100\n"
	"incq 0x20000\n movq (%rsp), %rbx\n cmpq 0x20008, %rbx\n ja 1f\n incq 0x20010\n"
	"1: movq %rbx, 0x20008\n movq %dr6, %rbx\n orq %rbx, 0x20018\n iretq\n")
static void test_step(void **state)
{
	struct guest g;

	guest_long(&g, g_step, LEN(step));
	gate64(&g, EXC_DB, CODE + 0x100);
	guest_run(&g);
	assert_int_equal(result(&g, 0), 5);
	assert_int_equal(result(&g, 2), 0);
	assert_true(result(&g, 3) & 0x4000);
	machine_free(g.m);
}

/* An instruction that lies in two pages; the second half is changed between two executions. */
GUEST(crossing, 64,
	"movl $2, %ecx\n lea cross+4(%rip), %rbx\n jmp 1f\n"
	".org g_crossing + 0xffd\n"
	"1: nop\n"			/* 0xffd */
	"cross: movl $0x01020304, %eax\n"	/* b8 at 0xffe, its immediate at 0xfff .. 0x1002 */
	"addq %rax, 0x20000\n"
	"movb $0x55, (%rbx)\n"
	"loop 1b\n outl %eax, $0xf4\n")
static void test_crossing(void **state)
{
	struct guest g;

	guest_long(&g, g_crossing, LEN(crossing));
	guest_run(&g);
	assert_int_equal(result(&g, 0), 0x01020304 + 0x55020304);
	machine_free(g.m);
}

/* More code than the arena for blocks holds, called piece by piece: everything is forgotten several
 * times while calls are under way. 768,000 pieces of 16 bytes: MOV EAX, 1; RET. */
GUEST(flood, 64,
	"movabsq $0x9090c300000001b8, %rax\n movabsq $0x9090909090909090, %rdx\n"
	"movl $0x200000, %edi\n movl $768000, %ecx\n"
	"1: movq %rax, (%rdi)\n movq %rdx, 8(%rdi)\n addl $16, %edi\n decl %ecx\n jnz 1b\n"
	"movl $0x200000, %ebx\n movl $768000, %ecx\n xorl %esi, %esi\n"
	"2: call 3f\n addl %eax, %esi\n addl $16, %ebx\n decl %ecx\n jnz 2b\n"
	"movq %rsi, 0x20000\n outl %eax, $0xf4\n"
	"3: call *%rbx\n ret\n")
static void test_flood(void **state)
{
	struct guest g;

	guest_long(&g, g_flood, LEN(flood));
	guest_run(&g);
	assert_int_equal(result(&g, 0), 768000);
	machine_free(g.m);
}

/* Returns that do not go where a call came from, and more calls than are remembered. */
GUEST(returns, 64,
	"movl $1000, %ecx\n xorl %eax, %eax\n"
	"1: call 2f\n"			/* does not come back here, */
	"ud2\n"
	"5: addl $2, %eax\n decl %ecx\n jnz 1b\n"
	"movl $100, %ecx\n call 7f\n movq %rax, 0x20000\n outl %eax, $0xf4\n"
	"2: call 3f\n incl %eax\n lea 5b(%rip), %rdx\n movq %rdx, (%rsp)\n ret\n"	/* but there */
	"3: ret\n"
	"7: decl %ecx\n jz 8f\n call 7b\n incl %eax\n 8: ret\n")
static void test_returns(void **state)
{
	struct guest g;

	guest_long(&g, g_returns, LEN(returns));
	guest_run(&g);
	assert_int_equal(result(&g, 0), 3099);
	assert_int_equal(g.s.gpr[RSP], STACK);
	machine_free(g.m);
}

/* A device writes into code that ran: the next run sees it. The port takes the immediate's value. */
#define DMA_PORT 0xf8
static void dma_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct guest *g = dev;
	u32 imm = (u32)val;

	assert_true(ram_write(g->m->ram, CODE + 0x801, &imm, 4));
}
static const struct region_ops dma_ops = { .write = dma_write };

GUEST(dma, 64,
	"movl $1000, %ecx\n xorl %ebx, %ebx\n"
	"1: movl %ecx, %eax\n outl %eax, $0xf8\n call g_dma+0x800\n cmpl %ecx, %eax\n jne 2f\n"
	"incl %ebx\n 2: decl %ecx\n jnz 1b\n movq %rbx, 0x20000\n outl %eax, $0xf4\n"
	".org g_dma + 0x800\n movl $0, %eax\n ret\n")
static void test_dma(void **state)
{
	struct guest g;
	struct err e = { 0 };

	guest_long(&g, g_dma, LEN(dma));
	assert_int_equal(bus_map(g.m->ports, DMA_PORT, 4, &dma_ops, &g, "dma", 0, &e), 0);
	guest_run(&g);
	assert_int_equal(result(&g, 0), 1000);
	machine_free(g.m);
}

/* One vCPU changes an instruction, tells the other by a flag, and waits; the other serializes and
 * executes it. RDI tells them apart. */
GUEST(cross, 64,
	"cmpl $0, %edi\n jne 5f\n"
	"movl $1, %r8d\n"
	"1: movl %r8d, 0x10801\n mfence\n movl %r8d, 0x20010\n"
	"2: pause\n cmpl %r8d, 0x20018\n jne 2b\n"
	"incl %r8d\n cmpl $2000, %r8d\n jbe 1b\n outl %eax, $0xf4\n"
	"5: movl $1, %r8d\n xorl %r9d, %r9d\n"
	"6: pause\n cmpl %r8d, 0x20010\n jne 6b\n"
	"xorl %eax, %eax\n cpuid\n call g_cross+0x800\n cmpl %r8d, %eax\n je 7f\n incl %r9d\n"
	"7: movl %r8d, 0x20018\n incl %r8d\n cmpl $2000, %r8d\n jbe 6b\n"
	"movq %r9, 0x20000\n movq $1, 0x20008\n outl %eax, $0xf4\n"
	".org g_cross + 0x800\n movl $0, %eax\n ret\n")
static void *run_thread(void *v)
{
	return (void *)(uintptr_t)engine_soft.run(v);
}
static void test_cross(void **state)
{
	struct machine_config cfg = { .ram_size = RAM_SIZE, .ncpus = 2, .engine = &engine_soft,
				      .cpu_model = cpu_model_find("base") };
	struct guest g, one;
	struct err e = { 0 };
	pthread_t t;

	guest_long(&one, g_cross, LEN(cross));
	g = one;
	assert_int_equal(machine_new(&g.m, &cfg, &e), 0);
	assert_int_equal(bus_map(g.m->ports, END_PORT, 4, &end_ops, &g, "end", 0, &e), 0);
	/* Code and tables as in the machine with one vCPU. */
	memcpy(ram_view(g.m->ram, 0, RAM_SIZE), ram_view(one.m->ram, 0, RAM_SIZE), CODE + 0x1000);
	for (unsigned i = 0; i < 2; i++) {
		g.s.gpr[RDI] = i;
		g.s.gpr[RSP] = STACK + i * 0x1000;
		assert_int_equal(engine_soft.set_state(g.m->cpu[i], &g.s, &e), 0);
		atomic_store(&g.m->cpu[i]->requests, 0);
	}
	assert_int_equal(pthread_create(&t, NULL, run_thread, g.m->cpu[1]), 0);
	engine_soft.run(g.m->cpu[0]);
	pthread_join(t, NULL);
	assert_int_equal(result(&g, 0), 0);
	assert_int_equal(result(&g, 1), 1);
	machine_free(g.m);
	machine_free(one.m);
}

/* A loop long enough to be worth a measurement. */
GUEST(spin, 64,
	"movl $20000000, %ecx\n xorl %eax, %eax\n movl $1, %ebx\n"
	"1: addl %ebx, %eax\n xorl %eax, %edx\n leal 3(%rbx,%rdx), %ebx\n shrl $1, %ebx\n"
	"decl %ecx\n jnz 1b\n outl %eax, $0xf4\n")
static void test_spin(void **state)
{
	struct guest g;
	struct timespec a, b;
	double s;

	guest_long(&g, g_spin, LEN(spin));
	clock_gettime(CLOCK_MONOTONIC, &a);
	guest_run(&g);
	clock_gettime(CLOCK_MONOTONIC, &b);
	s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	print_message("# %.0f million guest instructions a second\n", 120 / s);
	assert_int_equal(g.s.gpr[RCX], 0);
	machine_free(g.m);
}

/* Stubs until a block of one instruction finds room for its own, and one of @n does not. */
static void fill_stubs(struct cpu *c, unsigned n)
{
	static const u8 prefixes[] = { 0x90, 0x66, 0xf3, 0xf2 };
	static const u8 ops[] = { 0x58, 0x59, 0x5c, 0x5d, 0x5e, 0x5f, 0x51, 0x54, 0x55, 0x56, 0x57 };

	for (unsigned i = 0; i < 4 * ARRAY_SIZE(ops) * 256 && native_room(c, n); i++) {
		u8 b[15] = { prefixes[i & 3], (u8)(0x40 | (i >> 8 & 1) | (i >> 7 & 4)), 0x0f,
			     ops[(i >> 10) % ARRAY_SIZE(ops)], (u8)(0xc0 | (i >> 2 & 0x3f)) };
		unsigned skip = b[0] == 0x90;
		struct insn in;

		if (insn_decode(&in, b + skip, sizeof(b) - skip, 8) == 0)
			native_stub(c, &in);
	}
	assert_false(native_room(c, n));
	assert_true(native_room(c, 1));
}

/* All blocks are dropped for want of stubs while one is being linked to the next: the link's place
 * is in the middle of that one by then, and must stay as it is. */
GUEST(forget, 64,
	"jmp 1f\n .org g_forget + 0x100\n"
	"1: .rept 50\n incl %eax\n .endr\n"
	"outl %eax, $0xf4\n")
static void test_forget(void **state)
{
	struct guest g;

	guest_long(&g, g_forget, LEN(forget));
	fill_stubs(cpu_of(g.v), 50);
	g.s.gpr[RAX] = 0;
	guest_run(&g);
	assert_int_equal(g.value, 50);
	machine_free(g.m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_real),
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_smc),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_step),
		cmocka_unit_test(test_crossing),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_returns),
		cmocka_unit_test(test_dma),
		cmocka_unit_test(test_cross),
		cmocka_unit_test(test_spin),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
