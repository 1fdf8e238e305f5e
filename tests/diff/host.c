/* SPDX-License-Identifier: GPL-2.0-or-later */
/* host.c - runs cases on the host's CPU.
 *
 * A child process lives in one signal handler. Each case ends in a trap; the kernel then hands the
 * handler all registers, which it writes down, and takes all registers of the next case back when
 * the handler returns: one signal is the whole cost of a case. What a signal frame does not hold
 * (DS ES FS GS, their bases, NT) the assembly around the handler loads and resets. CS and SS in
 * the frame also switch to 32-bit code and, through an LDT, to 16-bit code.
 *
 * Code under test lives below 4 GiB; a seccomp filter turns system calls from there (a jump into
 * the middle of an instruction finds many) into a result of their own. The parent prods the child
 * by SIGUSR1 when it makes no headway. */
#include "diff.h"
#include <asm/ldt.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

const struct diff_desc diff_ldt[LDT_N] = {
	[LDT_CODE16] = { CODE_BASE, 0xffff, .code = true },
	[LDT_CODE32] = { CODE_BASE - 0x1000, 0x1ffff, .code = true, .big = true },
	[LDT_DATA16] = { WIN_BASE, 0xffff, .writable = true },
	[LDT_DATA_WIN] = { WIN_BASE, WIN_SIZE - 1, .big = true, .writable = true },
	[LDT_DATA_RO] = { WIN_BASE, 0xffff, .big = true },
	[LDT_DATA_DOWN] = { WIN_BASE, 0xfff, .big = true, .writable = true, .down = true },
	[LDT_DATA_SMALL] = { WIN_BASE + 64, 0xfff, .writable = true },
};

#define L(x) LDT_SEL(LDT_##x)
const struct diff_segs diff_segs[3][SEGS_N] = {
	{	/* 16-bit code: cs ss ds es fs gs */
		{ L(CODE16), L(DATA16), L(DATA16), L(DATA16), L(DATA16), L(DATA_WIN) },
		{ L(CODE16), L(DATA16), L(DATA16), L(DATA16), L(DATA_RO), SEL_DS },
		{ L(CODE16), L(DATA_WIN), L(DATA_WIN), L(DATA16), L(DATA_SMALL), L(DATA_DOWN) },
		{ L(CODE16), L(DATA_SMALL), L(DATA16), L(DATA_SMALL), 0, L(CODE32) },
		{ L(CODE16), SEL_DS, SEL_DS, SEL_DS, L(DATA16), L(DATA16) },
		{ L(CODE16), L(DATA16), L(DATA_RO), L(DATA_DOWN), L(DATA16), L(DATA16) },
	},
	{	/* 32-bit code */
		{ SEL_CS32, SEL_DS, SEL_DS, SEL_DS, L(DATA16), L(DATA_WIN) },
		{ SEL_CS32, SEL_DS, SEL_DS, SEL_DS, L(DATA_RO), 0 },
		{ SEL_CS32, L(DATA_WIN), L(DATA_WIN), L(DATA_WIN), L(DATA_SMALL), L(DATA_DOWN) },
		{ L(CODE32), L(DATA16), L(DATA16), L(DATA_WIN), L(CODE32), SEL_DS },
		{ SEL_CS32, L(DATA_DOWN), SEL_DS, L(DATA_DOWN), SEL_DS, L(DATA16) },
		{ L(CODE32), SEL_DS, L(DATA_RO), SEL_DS, SEL_DS, SEL_DS },
	},
	{	/* 64-bit code: DS and ES may hold anything, SS too */
		{ SEL_CS64, SEL_DS, 0, 0, 0, 0 },
		{ SEL_CS64, SEL_DS, 0, 0, 0, 0 },
		{ SEL_CS64, SEL_DS, SEL_DS, SEL_DS, 0, 0 },
		{ SEL_CS64, SEL_DS, L(DATA_RO), L(DATA_SMALL), 0, 0 },
		{ SEL_CS64, SEL_DS, 0, SEL_DS, 0, 0 },
		{ SEL_CS64, SEL_DS, SEL_DS, 0, 0, 0 },
	},
};
#undef L

#define QUIET __attribute__((no_sanitize("address", "thread", "undefined")))

QUIET u64 diff_seg_base(u16 sel)
{
	return sel & 4 && sel >> 3 < LDT_N ? diff_ldt[sel >> 3].base : 0;
}

/* --- what parent and child share --- */

struct batch {
	_Atomic u32 state;		/* enum batch_state; a futex */
	u32 n;
	struct diff_case cases[BATCH];
	struct diff_result results[BATCH];
};
enum batch_state { IDLE, READY, FINISHED };

struct shared {
	_Atomic u64 progress;		/* cases begun */
	struct batch batch[2];
};

struct host {
	struct shared *sh;
	const u8 *pool;
	pid_t pid;
	u8 *code[2];			/* the parent's view of each batch's code pages */
	int code_fd;
	unsigned restarts;
};

/* --- the child --- */

/* Loaded by the assembly before sigreturn, and the C library's FS base for the way back. */
struct child_segs { u64 fs_base, gs_base, flags; u16 ds, es, fs, gs; bool bases; };
struct child_segs diff_child_segs, diff_child_seen;	/* to be loaded; found after the trap */
u64 diff_child_libc_fs;

static struct {
	struct shared *sh;
	const u8 *pool;
	struct batch *b;
	u32 i;				/* case that runs */
	unsigned which;
	bool running;
	int code_fd;
} child;

void diff_child_trap(int sig, siginfo_t *info, ucontext_t *uc);
void diff_child_entry(void);
/* %rsp is at the frame's first word, the return address; sigreturn wants it one further on. */
__asm__(
	".text\n"
	".globl diff_child_entry\n"
	"diff_child_entry:\n"
	"	rdfsbase %rax\n"
	"	mov %rax, diff_child_seen(%rip)\n"
	"	rdgsbase %rax\n"
	"	mov %rax, 8+diff_child_seen(%rip)\n"
	"	mov %ds, 24+diff_child_seen(%rip)\n"
	"	mov %es, 26+diff_child_seen(%rip)\n"
	"	mov %fs, 28+diff_child_seen(%rip)\n"
	"	mov %gs, 30+diff_child_seen(%rip)\n"
	"	mov diff_child_libc_fs(%rip), %rax\n"
	"	wrfsbase %rax\n"
	"	mov %rsp, %rbx\n"
	"	and $-16, %rsp\n"
	"	pushq $0x202\n"
	"	popfq\n"
	"	call diff_child_trap\n"
	"	mov 24+diff_child_segs(%rip), %ds\n"
	"	mov 26+diff_child_segs(%rip), %es\n"
	"	mov 28+diff_child_segs(%rip), %fs\n"
	"	mov 30+diff_child_segs(%rip), %gs\n"
	"	cmpb $0, 32+diff_child_segs(%rip)\n"
	"	je 1f\n"
	"	mov diff_child_segs(%rip), %rax\n"
	"	wrfsbase %rax\n"
	"	mov 8+diff_child_segs(%rip), %rax\n"
	"	wrgsbase %rax\n"
	"1:	pushq 16+diff_child_segs(%rip)\n"
	"	popfq\n"
	"	lea 8(%rbx), %rsp\n"
	"	mov $15, %eax\n"		/* rt_sigreturn */
	"	syscall\n"
	"	ud2\n");

/* Copies that no sanitizer looks into: the handler is no place for their bookkeeping. */
static inline QUIET void copy(void *to, const void *from, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static QUIET long futex(_Atomic u32 *f, int op, u32 val)
{
	long r;
	register void *timeout __asm__("r10") = NULL;

	__asm__ volatile("syscall" : "=a"(r) : "a"(SYS_futex), "D"(f), "S"(op), "d"(val),
			 "r"(timeout) : "rcx", "r11", "memory");
	return r;
}

static const u8 reg_of[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI,
	REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

static QUIET void take_result(int sig, const siginfo_t *info, const ucontext_t *uc)
{
	struct diff_result *r = &child.b->results[child.i];
	const greg_t *g = uc->uc_mcontext.gregs;

	for (unsigned i = 0; i < 16; i++)
		r->gpr[i] = (u64)g[reg_of[i]];
	r->rip = (u64)g[REG_RIP];
	r->flags = (u64)g[REG_EFL];
	r->vector = (u8)g[REG_TRAPNO];
	r->error = (u32)g[REG_ERR];
	r->cr2 = (u64)g[REG_CR2];
	r->sel[SEG_CS] = (u16)g[REG_CSGSFS];
	r->sel[SEG_SS] = (u16)((u64)g[REG_CSGSFS] >> 48);
	r->sel[SEG_DS] = diff_child_seen.ds;
	r->sel[SEG_ES] = diff_child_seen.es;
	r->sel[SEG_FS] = diff_child_seen.fs;
	r->sel[SEG_GS] = diff_child_seen.gs;
	r->fs_base = diff_child_seen.fs_base;
	r->gs_base = diff_child_seen.gs_base;
	copy(r->xs, uc->uc_mcontext.fpregs, XS_SIZE);
	copy(r->win, (const void *)WIN_BASE, WIN_SIZE);
	r->status = sig == SIGUSR1 ? DIFF_TIMEOUT : sig == SIGSYS ? DIFF_SYSCALL : DIFF_DONE;
}

/* The code pages of batch @which, at CODE_BASE. */
static QUIET void map_code(unsigned which)
{
	register long r10 __asm__("r10") = MAP_SHARED | MAP_FIXED | MAP_POPULATE;
	register long r8 __asm__("r8") = child.code_fd;
	register long r9 __asm__("r9") = which * CODE_SIZE;
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "a"(SYS_mmap), "D"(CODE_BASE), "S"(CODE_SIZE),
			 "d"(PROT_READ | PROT_EXEC), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	if (r != (long)CODE_BASE)
		__builtin_trap();
}

static QUIET void next_batch(void)
{
	for (;;) {
		struct batch *b = &child.sh->batch[child.which];
		u32 s = atomic_load(&b->state);

		if (s == READY) {
			child.b = b;
			child.i = 0;	/* in a second child: where the first one died */
			while (child.i < b->n && b->results[child.i].status != DIFF_NONE)
				child.i++;
			map_code(child.which);
			return;
		}
		futex(&b->state, FUTEX_WAIT, s);
	}
}

static QUIET void put_case(const struct diff_case *c, ucontext_t *uc)
{
	const struct diff_segs *s = &diff_segs[mode_index(c->mode)][c->segs];
	greg_t *g = uc->uc_mcontext.gregs;
	u8 *fp = (u8 *)uc->uc_mcontext.fpregs;

	copy((void *)WIN_BASE, child.pool + c->pool_off, WIN_SIZE);
	for (unsigned i = 0; i < c->npatch; i++)
		copy((u8 *)WIN_BASE + c->patch[i].off, c->patch[i].byte, c->patch[i].len);
	for (unsigned i = 0; i < 16; i++)
		g[reg_of[i]] = (greg_t)c->gpr[i];
	g[REG_RIP] = (greg_t)(c->at - diff_seg_base(s->cs));
	g[REG_EFL] = (greg_t)c->flags;
	g[REG_CSGSFS] = (greg_t)((u64)s->ss << 48 | s->cs);
	uc->uc_flags |= 6;		/* UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS */
	copy(fp, c->xs, 464);		/* then 48 bytes of the kernel's own */
	copy(fp + XS_HEADER, c->xs + XS_HEADER, XS_SIZE - XS_HEADER);
	diff_child_segs.ds = s->ds;
	diff_child_segs.es = s->es;
	diff_child_segs.fs = s->fs;
	diff_child_segs.gs = s->gs;
	diff_child_segs.bases = c->mode == 8;
	diff_child_segs.fs_base = c->fs_base;
	diff_child_segs.gs_base = c->gs_base;
	diff_child_segs.flags = 0x202 | (c->flags & (FL_NT | FL_ID));
}

QUIET void diff_child_trap(int sig, siginfo_t *info, ucontext_t *uc)
{
	if (child.running) {
		take_result(sig, info, uc);
		child.i++;
	}
	while (!child.running || child.i == child.b->n) {
		if (child.running) {
			atomic_store(&child.b->state, FINISHED);
			futex(&child.b->state, FUTEX_WAKE, 1);
			child.which ^= 1;
		}
		child.running = true;
		next_batch();
	}
	atomic_fetch_add(&child.sh->progress, 1);
	put_case(&child.b->cases[child.i], uc);
}

static void must(bool ok, const char *what)
{
	if (!ok) {
		dprintf(2, "host child: %s: %s\n", what, strerror(errno));
		_exit(99);
	}
}

/* Raw, so that no sanitizer's wrapper stands between the kernel and the frame. */
static void on_signal(int sig)
{
	struct { void *handler; unsigned long flags; void *restorer; u64 mask; } sa = {
		(void *)diff_child_entry, SA_SIGINFO | SA_ONSTACK | 0x04000000 /* SA_RESTORER */,
		(void *)diff_child_entry, ~0ull };

	must(syscall(SYS_rt_sigaction, sig, &sa, NULL, 8) == 0, "sigaction");
}

static void filter_syscalls(void)
{
	struct sock_filter f[] = {
		/* high half of the instruction pointer: 0 is code under test */
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, instruction_pointer) + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { .len = ARRAY_SIZE(f), .filter = f };

	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
	must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p) == 0, "seccomp");
}

static bool load_ldt(void)
{
	for (unsigned i = 0; i < LDT_N; i++) {
		const struct diff_desc *d = &diff_ldt[i];
		struct user_desc u = { .entry_number = i, .base_addr = (u32)d->base,
			.limit = d->limit, .seg_32bit = d->big,
			.contents = d->code ? 2 : d->down ? 1 : 0,
			.read_exec_only = !d->code && !d->writable };

		if (syscall(SYS_modify_ldt, 0x11, &u, sizeof(u)) != 0)
			return false;
	}
	return true;
}

/* A sanitizer's shadow memory would be there to be read where the guest has nothing. The child
 * needs it no longer once it only handles signals: its large mappings go. */
static struct { u64 from, len; } large[64];
static unsigned nlarge;

static void find_large_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned long long from, to;
	char line[512];

	must(f, "/proc/self/maps");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx-%llx", &from, &to) != 2 || to - from < 64 * MiB)
			continue;
		must(nlarge < ARRAY_SIZE(large), "many large mappings");
		large[nlarge].from = from;
		large[nlarge++].len = to - from;
	}
	fclose(f);
}

static QUIET _Noreturn void child_begin(void)
{
	for (unsigned i = 0; i < nlarge; i++) {
		long r;

		__asm__ volatile("syscall" : "=a"(r) : "a"(SYS_munmap), "D"(large[i].from),
				 "S"(large[i].len) : "rcx", "r11", "memory");
	}
	__asm__ volatile("int3");
	__builtin_trap();		/* never: the handler goes from case to case */
}

static _Noreturn void child_main(struct shared *sh, const u8 *pool, int code_fd)
{
	static const int sigs[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGUSR1 };
	stack_t ss = { .ss_size = 65536 };
	void *p;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	child.sh = sh;
	child.pool = pool;
	child.code_fd = code_fd;
	p = mmap((void *)WIN_BASE, WIN_ALL, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1, 0);
	must(p == (void *)WIN_BASE, "window");
	memcpy((void *)WIN_RO, pool, 4096);
	must(mprotect((void *)WIN_RO, 4096, PROT_READ) == 0, "read-only page");
	load_ldt();
	ss.ss_sp = mmap(NULL, ss.ss_size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	must(ss.ss_sp != MAP_FAILED && sigaltstack(&ss, NULL) == 0, "sigaltstack");
	__asm__("rdfsbase %0" : "=r"(diff_child_libc_fs));
	for (unsigned i = 0; i < ARRAY_SIZE(sigs); i++)
		on_signal(sigs[i]);
	find_large_mappings();
	filter_syscalls();
	child_begin();
}

/* --- the parent --- */

static int spawn(struct host *n, struct err *e)
{
	fflush(NULL);
	n->pid = fork();
	if (n->pid < 0)
		return err_errno(e, "fork");
	if (n->pid == 0)
		child_main(n->sh, n->pool, n->code_fd);
	return 0;
}

/* May code segments of 16 bits be made here? Asked in a process of its own: an LDT stays. */
bool host_has_ldt(void)
{
	pid_t pid = fork();
	int st = 1;

	if (pid == 0)
		_exit(load_ldt() ? 0 : 1);
	return pid > 0 && waitpid(pid, &st, 0) == pid && WIFEXITED(st) && WEXITSTATUS(st) == 0;
}

int host_new(struct host **out, const u8 *pool, struct err *e)
{
	struct host *n = calloc(1, sizeof(*n));
	int r;

	n->pool = pool;
	n->sh = mmap(NULL, sizeof(*n->sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	n->code_fd = memfd_create("diff-code", MFD_CLOEXEC);
	if (n->sh == MAP_FAILED || n->code_fd < 0 || ftruncate(n->code_fd, 2 * CODE_SIZE) < 0)
		return err_errno(e, "differential test");
	for (unsigned i = 0; i < 2; i++) {
		n->code[i] = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, n->code_fd,
				  i * CODE_SIZE);
		if (n->code[i] == MAP_FAILED)
			return err_errno(e, "differential test");
	}
	r = spawn(n, e);
	if (r < 0)
		return r;
	*out = n;
	return 0;
}

void host_free(struct host *n)
{
	if (!n)
		return;
	kill(n->pid, SIGKILL);
	waitpid(n->pid, NULL, 0);
	munmap(n->sh, sizeof(*n->sh));
	for (unsigned i = 0; i < 2; i++)
		munmap(n->code[i], CODE_SIZE);
	close(n->code_fd);
	free(n);
}

struct diff_case *host_cases(struct host *n, unsigned which) { return n->sh->batch[which].cases; }
const struct diff_result *host_results(const struct host *n, unsigned which)
{
	return n->sh->batch[which].results;
}

void host_start(struct host *n, unsigned which, unsigned ncases)
{
	struct batch *b = &n->sh->batch[which];

	memset(n->code[which], 0xcc, CODE_SIZE);
	for (unsigned i = 0; i < ncases; i++) {
		const struct diff_case *c = &b->cases[i];

		memcpy(n->code[which] + (c->at - CODE_BASE), c->code, c->code_len);
		b->results[i].status = DIFF_NONE;
	}
	b->n = ncases;
	atomic_store(&b->state, READY);
	futex(&b->state, FUTEX_WAKE, 1);
}

/* The child is dead (a frame the kernel refused): the case it ran is lost, the others go on in a
 * new one. */
static void respawn(struct host *n, unsigned which)
{
	struct batch *b = &n->sh->batch[which];
	struct err e = { 0 };
	u32 i = 0;

	while (i < b->n && b->results[i].status != DIFF_NONE)
		i++;
	BUG_ON(i == b->n || ++n->restarts > 1000);
	b->results[i].status = DIFF_LOST;
	child.which = which;	/* inherited: the new child begins there */
	BUG_ON(spawn(n, &e) < 0);
}

void host_wait(struct host *n, unsigned which)
{
	const struct timespec patience = { .tv_nsec = 10000000 };
	struct batch *b = &n->sh->batch[which];
	u64 seen = atomic_load(&n->sh->progress);

	while (atomic_load(&b->state) != FINISHED) {
		syscall(SYS_futex, &b->state, FUTEX_WAIT, READY, &patience, NULL, 0);
		if (atomic_load(&b->state) == FINISHED)
			break;
		if (waitpid(n->pid, NULL, WNOHANG) == n->pid)
			respawn(n, which);
		else if (atomic_load(&n->sh->progress) == seen)
			kill(n->pid, SIGUSR1);
		seen = atomic_load(&n->sh->progress);
	}
	atomic_store(&b->state, IDLE);
}
