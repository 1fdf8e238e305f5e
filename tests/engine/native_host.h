/* SPDX-License-Identifier: GPL-2.0-or-later */
/* native_host.h - runs one instruction on this host with all registers as given, and makes a
 * soft vCPU whose linear addresses are those of the host's buffer. */
#ifndef PENTA_TEST_NATIVE_HOST_H
#define PENTA_TEST_NATIVE_HOST_H

#include "engine/soft/block.h"
#include "engine/soft/mmu.h"
#include "engine/soft/native.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

/* Low addresses, so that they can stand in a disp32 and in 32-bit code. */
#define BUF_VA 0x10000000ull	/* two pages, then nothing */
#define BUF_LEN 8192u
#define CODE_VA 0x11000000ull
#define CODE_SLOT 0x800u	/* where the instruction goes */
#define STATE_VA 0x12000000ull
#define NO_VECTOR 99u

struct host_state {
	_Alignas(64) u8 xs[4096];	/* XSAVE, standard format */
	u8 env[32];			/* FNSTENV afterwards */
	u64 r[16], rflags, host_rsp;
};

static u8 *const host_buf = (u8 *)BUF_VA;
static u8 *const host_code = (u8 *)CODE_VA;
static struct host_state *const host_st = (struct host_state *)STATE_VA;
static volatile sig_atomic_t host_vector;
static struct sigaction host_sigfpe;	/* the engine's, chained to ours */
static size_t host_end;		/* offset of the code that saves the state */

static inline void host_signal(int sig, siginfo_t *si, void *ctx)
{
	ucontext_t *uc = ctx;
	u64 rip = (u64)uc->uc_mcontext.gregs[REG_RIP];

	if (rip < CODE_VA || rip >= CODE_VA + 4096) {
		signal(sig, SIG_DFL);
		return;
	}
	host_vector = (int)uc->uc_mcontext.gregs[REG_TRAPNO];
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(CODE_VA + host_end);
}

static inline u8 *host_put(u8 *p, const void *b, size_t n) { memcpy(p, b, n); return p + n; }
/* @op with ModRM [disp32] of a field of the state. */
static inline u8 *host_abs(u8 *p, const char *op, size_t n, unsigned reg, size_t field)
{
	p = host_put(p, op, n);
	*p++ = (u8)((reg & 7) << 3 | 4);
	*p++ = 0x25;
	put_le32(p, (u32)(STATE_VA + field));
	return p + 4;
}
#define HF(f) offsetof(struct host_state, f)

static inline void *host_map(u64 va, size_t len, int prot)
{
	void *p = mmap((void *)va, len, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		       -1, 0);

	if (p != (void *)va) {
		perror("mmap");
		exit(1);
	}
	return p;
}

/* cmocka catches some signals itself around each test: call it in the test. */
static inline void host_catch(void)
{
	static const int sigs[] = { SIGSEGV, SIGILL, SIGBUS, SIGTRAP };
	static u8 stack[65536];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction sa = { .sa_sigaction = host_signal,
				.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	sigaltstack(&ss, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaction(sigs[i], &sa, NULL);
	if (host_sigfpe.sa_sigaction)
		sigaction(SIGFPE, &host_sigfpe, NULL);
	else
		sigaction(SIGFPE, &sa, NULL);
}

static inline void host_init(void)
{
	static const u8 push[] = { 0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57 };
	static const u8 pop[] = { 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b };
	u8 *p;

	host_map(BUF_VA, BUF_LEN, PROT_READ | PROT_WRITE);
	host_map(CODE_VA, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
	host_map(STATE_VA, (sizeof(struct host_state) + 4095) & ~4095ull, PROT_READ | PROT_WRITE);

	host_catch();
	p = host_put(host_code, push, sizeof(push));
	p = host_abs(p, "\x48\x89", 2, RSP, HF(host_rsp));
	p = host_put(p, "\xb8\x07\0\0\0\x31\xd2", 7);		/* mov eax, 7; xor edx, edx */
	p = host_abs(p, "\x48\x0f\xae", 3, 5, HF(xs));			/* xrstor64 */
	p = host_abs(p, "\xff", 1, 6, HF(rflags));			/* push; popf */
	*p++ = 0x9d;
	for (unsigned i = 0; i < 16; i++)
		if (i != RSP)
			p = host_abs(p, i & 8 ? "\x4c\x8b" : "\x48\x8b", 2, i, HF(r) + 8 * i);
	*p++ = 0xe9;							/* jmp slot */
	put_le32(p, (u32)(CODE_VA + CODE_SLOT - (u64)(p + 4)));
	p += 4;
	host_end = (size_t)(p - host_code);
	for (unsigned i = 0; i < 16; i++)
		if (i != RSP)
			p = host_abs(p, i & 8 ? "\x4c\x89" : "\x48\x89", 2, i, HF(r) + 8 * i);
	p = host_abs(p, "\x48\x8b", 2, RSP, HF(host_rsp));
	*p++ = 0x9c;							/* pushf; pop */
	p = host_abs(p, "\x8f", 1, 0, HF(rflags));
	p = host_put(p, "\xfc\xb8\x07\0\0\0\x31\xd2", 8);
	p = host_abs(p, "\x48\x0f\xae", 3, 4, HF(xs));			/* xsave64 */
	p = host_abs(p, "\xd9", 1, 6, HF(env));				/* fnstenv */
	p = host_put(p, "\xdb\xe3\xc5\xf8\x77", 5);			/* fninit; vzeroupper */
	p = host_put(p, pop, sizeof(pop));
	*p++ = 0xc3;
}

/* Run @bytes with the state @s, and leave there what comes out. The exception, or NO_VECTOR. */
static inline unsigned host_run(struct host_state *s, const u8 *bytes, unsigned len)
{
	u8 *slot = host_code + CODE_SLOT;
	void (*fn)(void);
	u32 mxcsr = 0x1f80;
	u8 *entry = host_code;

	*host_st = *s;
	memcpy(slot, bytes, len);
	slot[len] = 0xe9;
	put_le32(slot + len + 1, (u32)(host_end - (CODE_SLOT + len + 5)));
	host_vector = NO_VECTOR;
	memcpy(&fn, &entry, sizeof(fn));
	fn();
	__asm__ volatile("ldmxcsr %0" :: "m"(mxcsr));
	/* XSAVE left out what is in its initial state. */
	for (unsigned i = 0; i < 3; i++) {
		if (host_st->xs[XSAVE_XSTATE_BV] & BIT(i))
			continue;
		if (i == 0) {
			memset(host_st->xs, 0, 24);
			put_le16(host_st->xs, 0x37f);
			memset(host_st->xs + XSAVE_ST, 0, 128);
		}
		memset(host_st->xs + (i == 2 ? XSAVE_YMMH : XSAVE_XMM), 0, i ? 256 : 0);
	}
	*s = *host_st;
	return (unsigned)host_vector;
}

/* --- the guest --- */

struct guest {
	struct machine *m;
	struct vcpu v;
	struct cpu *c;
	u8 *mem, *code;		/* what is at BUF_VA and CODE_VA */
};

static inline void guest_free(struct guest *g)
{
	if (g->c) {
		native_free(g->c);
		mmu_free(g->c);
	}
	free(g->c);
	if (g->m) {
		ram_free(g->m->ram);
		pthread_mutex_destroy(&g->m->lock);
	}
	free(g->m);
	memset(g, 0, sizeof(*g));
}

/* Code size 8 or 4, within long mode. */
static inline void guest_set_mode(struct cpu *c, unsigned mode)
{
	c->seg[SEG_CS].attr = mode == 8 ? 0x20fb : 0xc0fb;
	cpu_mode_changed(c);
}

/* 64-bit mode, CPL 3, everything enabled. BUF_VA's two pages are mapped, the next is not. */
static inline int guest_init(struct guest *g)
{
	struct machine_config cfg = { .ram_size = 16 * MiB };
	struct err e = { 0 };
	struct cpu *c;
	u8 *ram;

	memset(g, 0, sizeof(*g));
	g->m = calloc(1, sizeof(*g->m));
	g->m->cfg = cfg;
	g->m->a20 = true;
	pthread_mutex_init(&g->m->lock, NULL);
	if (ram_new(&g->m->ram, cfg.ram_size, &e) < 0)
		return -1;
	g->m->ncpus = 1;
	g->m->cpu[0] = &g->v;
	c = g->c = aligned_alloc(64, (sizeof(*c) + 63) & ~63ull);
	memset(c, 0, sizeof(*c));
	g->v.m = g->m;
	g->v.engine = c;
	c->v = &g->v;
	c->m = g->m;
	c->a20_mask = ~0ull;
	c->cr0 = CR0_PG | CR0_PE | CR0_MP | CR0_NE | CR0_WP | CR0_ET;
	c->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	c->efer = EFER_LMA | EFER_LME | EFER_NXE | EFER_SCE;
	c->xcr0 = 7;
	c->cr3 = 0x1000;
	c->rflags = FL_1;
	for (unsigned i = 0; i < SEG_LDTR; i++)
		c->seg[i] = (struct cpu_seg){ .limit = 0xffffffff, .attr = 0xc0f3 };
	c->seg[SEG_CS].sel = 0x33;
	c->delivering = -1;
	guest_set_mode(c, 8);
	ram = ram_view(g->m->ram, 0, 4 * MiB);
	put_le64(ram + 0x1000, 0x2007);
	put_le64(ram + 0x2000, 0x3007);
	put_le64(ram + 0x3000 + 8 * (BUF_VA >> 21), 0x4007);
	put_le64(ram + 0x4000, 0x200007);
	put_le64(ram + 0x4008, 0x201007);
	put_le64(ram + 0x3000 + 8 * (CODE_VA >> 21), 0x5007);
	put_le64(ram + 0x5000, 0x210007);
	g->mem = ram + 0x200000;
	g->code = ram + 0x210000;
	if (mmu_init(c) < 0)
		return -1;
	mmu_state_set(c);
	if (native_init(c, &e) < 0)
		return -1;
	return sigaction(SIGFPE, NULL, &host_sigfpe);
}

#endif
