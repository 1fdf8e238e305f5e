// SPDX-License-Identifier: GPL-2.0-or-later
/* sandbox.c - seccomp filters: prepared once, loaded by each thread. See sandbox.h.
 * After: Linux Documentation/userspace-api/seccomp_filter.rst; seccomp(2).
 *
 * The filters' default is SECCOMP_RET_TRAP: the call is not made, and SIGSYS runs on_sigsys(), which
 * writes one line and then makes another forbidden call. That one comes with SIGSYS blocked, and the
 * kernel ends a process whose forced signal is blocked: no code in the process can prevent it. So the
 * handler is a courtesy. A thread under attack that never lets it run (another handler, a blocked
 * SIGSYS) has not got its call through either. Calls of another ABI (i386's int 0x80, x32) end the
 * process without a word. */
#include "base/privilege.h"
#include "base/sandbox_list.h"

#include <errno.h>
#include <execinfo.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

struct sandbox {
	struct sock_fprog prog[SANDBOX_NCLASSES];
	struct privileges_target become;
	bool becomes;
};

static const char *const class_name[SANDBOX_NCLASSES] = { "vcpu", "io", "files", "control" };

const char *sandbox_class_name(enum sandbox_class c)
{
	return class_name[c];
}

/* --- the last words --- */

#define NR_MAX 512
#define NR_NAME 28
#define SI_SECCOMP 1	/* SYS_SECCOMP of the kernel's siginfo.h, which glibc's does not have */

/* A signal handler reaches nothing but globals. The names are filled in once and then constant. */
static char call_name[NR_MAX][NR_NAME];
static _Thread_local u8 entered;	/* enum sandbox_class + 1 */
static struct sigaction chained;	/* who handled SIGSYS before: gives the terminal back */

static char *put_text(char *p, const char *end, const char *s)
{
	while (*s && p < end)
		*p++ = *s++;
	return p;
}

static char *put_hex(char *p, const char *end, u64 v)
{
	char digits[16];
	unsigned n = 0;

	do
		digits[n++] = "0123456789abcdef"[v & 15];
	while (v >>= 4);
	p = put_text(p, end, "0x");
	while (n && p < end)
		*p++ = digits[--n];
	return p;
}

static char *put_number(char *p, const char *end, unsigned v)
{
	char digits[10];
	unsigned n = 0;

	do
		digits[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n && p < end)
		*p++ = digits[--n];
	return p;
}

/* Only what signal-safety(7) allows; nothing that could fail. */
static void on_sigsys(int sig, siginfo_t *si, void *ctx)
{
	const greg_t *g = ((ucontext_t *)ctx)->uc_mcontext.gregs;
	static const int arg[] = { REG_RDI, REG_RSI, REG_RDX, REG_R10 };
	char line[256], *p = line;
	const char *end = line + sizeof(line) - 1;
	unsigned nr = (unsigned)si->si_syscall;

	if (si->si_code != SI_SECCOMP || !entered) {
		if (chained.sa_flags & SA_SIGINFO)
			chained.sa_sigaction(sig, si, ctx);
		else if (chained.sa_handler != SIG_DFL && chained.sa_handler != SIG_IGN)
			chained.sa_handler(sig);
		else
			signal(sig, SIG_DFL);
		return;
	}
	p = put_text(p, end, "penta: sandbox: a thread of class ");
	p = put_text(p, end, class_name[entered - 1]);
	p = put_text(p, end, " may not call ");
	p = put_text(p, end, nr < NR_MAX && call_name[nr][0] ? call_name[nr] : "system call");
	p = put_text(p, end, " (");
	p = put_number(p, end, nr);
	for (size_t i = 0; i < ARRAY_SIZE(arg); i++) {
		p = put_text(p, end, i ? ", " : "; ");
		p = put_hex(p, end, (u64)g[arg[i]]);
	}
	p = put_text(p, end, " at ");
	p = put_hex(p, end, (u64)(uintptr_t)si->si_call_addr);
	p = put_text(p, end, "); the process ends\n");
	if (write(STDERR_FILENO, line, (size_t)(p - line)) < 0)
		p = line;	/* nobody listens */
	if (!(chained.sa_flags & SA_SIGINFO) && chained.sa_handler != SIG_DFL &&
	    chained.sa_handler != SIG_IGN)
		chained.sa_handler(sig);
	for (;;)		/* on no list; SIGSYS is blocked here: the end */
		syscall(SYS_reboot, 0, 0, 0, 0);
}

static void once(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	void *pc[2];

	for (int i = 0; i < NR_MAX; i++) {
		char *s = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, i);

		if (s)
			strncpy(call_name[i], s, NR_NAME - 1);
		free(s);
	}
	/* What libraries open when first used: the time zone, and libgcc for BUG()'s trace. And malloc:
	 * a thread's own heap that shrinks asks /proc/sys/vm/overcommit_memory, some day; the common heap,
	 * by brk(), does not. */
	mallopt(M_ARENA_MAX, 1);
	tzset();
	backtrace(pc, ARRAY_SIZE(pc));
	sigfillset(&sa.sa_mask);
	if (sigaction(SIGSYS, &sa, &chained) < 0)
		BUG("sigaction(SIGSYS)");
}

/* --- preparing --- */

/* Libraries that watch the program need more; their list is apart, so that the real one stays honest. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifdef SANITIZED
/* Thread starts and ends (sigaltstack), reports (files of /proc, symbols), and the leak check at the
 * end, which stops all threads from a process of its own (clone, ptrace, wait4). */
static const int sanitizer_calls[] = {
	SCMP_SYS(sigaltstack), SCMP_SYS(openat), SCMP_SYS(open), SCMP_SYS(readlink), SCMP_SYS(read),
	SCMP_SYS(close), SCMP_SYS(newfstatat), SCMP_SYS(fstat), SCMP_SYS(stat), SCMP_SYS(lseek),
	SCMP_SYS(getdents64), SCMP_SYS(clone), SCMP_SYS(wait4), SCMP_SYS(prctl), SCMP_SYS(ptrace),
	SCMP_SYS(pipe), SCMP_SYS(pipe2), SCMP_SYS(process_vm_readv), SCMP_SYS(exit_group),
	SCMP_SYS(rt_sigaction), SCMP_SYS(getrlimit), SCMP_SYS(prlimit64), SCMP_SYS(mremap),
	SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep), SCMP_SYS(getppid), SCMP_SYS(kill),
	SCMP_SYS(sched_getaffinity), SCMP_SYS(uname), SCMP_SYS(ioctl), SCMP_SYS(membarrier),
	SCMP_SYS(mmap), SCMP_SYS(writev), SCMP_SYS(getrusage), SCMP_SYS(dup), SCMP_SYS(mincore),
	SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(personality),
};

static int add_sanitizer(scmp_filter_ctx f)
{
	int r = 0;

	for (size_t i = 0; !r && i < ARRAY_SIZE(sanitizer_calls); i++)
		r = seccomp_rule_add_array(f, SCMP_ACT_ALLOW, sanitizer_calls[i], 0, NULL);
	return r == -EEXIST ? 0 : r;
}
#else
static int add_sanitizer(scmp_filter_ctx f)
{
	return 0;
}
#endif

static int add_rule(scmp_filter_ctx f, const struct sandbox_rule *r)
{
	struct scmp_arg_cmp arg[3] = { r->arg[0], r->arg[1] };
	unsigned n = r->nargs;

	if (r->own_pid)
		arg[n++] = SCMP_CMP(0, SCMP_CMP_MASKED_EQ, 0xffffffffu, (u32)getpid());
	return seccomp_rule_add_array(f, r->error ? SCMP_ACT_ERRNO(r->error) : SCMP_ACT_ALLOW, r->nr, n,
				      arg);
}

static bool applies(const struct sandbox_rule *r, enum sandbox_class c, u32 needs)
{
	return (r->classes & 1 << c) && (!r->needs || (r->needs & needs));
}

/* The filter as the kernel takes it, into memory of ours. */
static int export(scmp_filter_ctx f, struct sock_fprog *out)
{
	int fd = memfd_create("penta-filter", MFD_CLOEXEC), r;
	struct stat st;

	if (fd < 0)
		return -errno;
	r = seccomp_export_bpf(f, fd);
	if (!r && fstat(fd, &st) < 0)
		r = -errno;
	if (!r) {
		out->filter = malloc((size_t)st.st_size);
		out->len = (unsigned short)((size_t)st.st_size / sizeof(*out->filter));
		if (!out->filter)
			r = -ENOMEM;
		else if (pread(fd, out->filter, (size_t)st.st_size, 0) != st.st_size)
			r = -EIO;
	}
	close(fd);
	return r;
}

static int prepare(struct sock_fprog *out, enum sandbox_class c, u32 needs)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_TRAP);
	int r;

	if (!f)
		return -ENOMEM;
	r = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (!r)		/* a binary tree: the hot calls do not wait for the cold ones */
		r = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (unsigned i = 0; !r && i < sandbox_nrules; i++)
		if (applies(&sandbox_rules[i], c, needs))
			r = add_rule(f, &sandbox_rules[i]);
	if (!r)
		r = add_sanitizer(f);
	if (!r)
		r = export(f, out);
	seccomp_release(f);
	return r;
}

int sandbox_new(struct sandbox **out, u32 needs, struct err *e)
{
	static pthread_once_t one = PTHREAD_ONCE_INIT;
	const u32 kill = SECCOMP_RET_KILL_PROCESS, trap = SECCOMP_RET_TRAP;
	struct sandbox *s;
	int r = 0;

	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &kill) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &trap) < 0)
		return err_errno(e, "sandbox: this kernel has no seccomp filters (`--sandbox off` "
				 "runs without)");
	pthread_once(&one, once);
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(e, ENOMEM, "sandbox: out of memory");
	for (int c = 0; !r && c < SANDBOX_NCLASSES; c++)
		r = prepare(&s->prog[c], (enum sandbox_class)c, needs);
	if (r) {
		sandbox_free(s);
		return err_set(e, -r, "sandbox: preparing the filters: %s", strerror(-r));
	}
	*out = s;
	return 0;
}

void sandbox_free(struct sandbox *s)
{
	if (!s)
		return;
	for (int c = 0; c < SANDBOX_NCLASSES; c++)
		free(s->prog[c].filter);
	free(s);
}

/* --- entering --- */

#define MARK 1000	/* no capability has this number */

/* tests/e2e/test_sandbox.sh compiles this file with PENTA_PLANTED_CALL, to see a machine die of what
 * a captured thread would do. */
static void planted_call(enum sandbox_class c)
{
#ifdef PENTA_PLANTED_CALL
	const char *where = getenv("PENTA_PLANTED");

	if (where && !strcmp(where, class_name[c]))
		execl("/bin/sh", "sh", "-c", "echo planted call went through", NULL);
#endif
}

void sandbox_become(struct sandbox *s, const struct privileges_target *t)
{
	s->become = *t;
	s->becomes = true;
}

void sandbox_enter(struct sandbox *s, enum sandbox_class c)
{
	sigset_t set;

	BUG_ON(s && c >= SANDBOX_NCLASSES);
	if (!s)
		return;
	BUG_ON(entered);
	/* So that a trap has its handler, not the process's end without a word. */
	sigemptyset(&set);
	sigaddset(&set, SIGSYS);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	/* A pipe whose reader has gone is an error of write(), no signal that would have to be caught. */
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	/* A question that has no answer: tests/e2e/test_sandbox.sh sees in strace's output which thread is
	 * of which class. */
	prctl(PR_CAPBSET_READ, MARK + c, 0, 0, 0);
	entered = (u8)(c + 1);
	if (s->becomes && privileges_drop_thread(&s->become, NULL) < 0)
		BUG("a thread cannot give up its rights");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &s->prog[c]) < 0)
		BUG("the kernel refuses a seccomp filter");
	planted_call(c);
}

/* --- for people and tests --- */

static void put_needs(FILE *f, u32 needs)
{
	static const char *const name[] = { "inet", "unix", "uring", "tap", "blockdev" };
	const char *sep = "";

	for (unsigned i = 0; i < ARRAY_SIZE(name); i++)
		if (needs & 1u << i) {
			fprintf(f, "%s%s", sep, name[i]);
			sep = ",";
		}
	if (!*sep)
		putc('-', f);
}

void sandbox_list(FILE *f)
{
	for (int c = 0; c < SANDBOX_NCLASSES; c++)
		for (unsigned i = 0; i < sandbox_nrules; i++) {
			const struct sandbox_rule *r = &sandbox_rules[i];

			if (!(r->classes & 1 << c) || r->error)
				continue;
			fprintf(f, "%s %s ", class_name[c], r->name);
			put_needs(f, r->needs);
			fprintf(f, ": %s\n", r->who);
		}
}

unsigned sandbox_count(enum sandbox_class c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < sandbox_nrules; i++) {
		bool first = true;

		if (!(sandbox_rules[i].classes & 1 << c) || sandbox_rules[i].error)
			continue;
		for (unsigned k = 0; k < i; k++)
			first &= sandbox_rules[k].nr != sandbox_rules[i].nr ||
				 !(sandbox_rules[k].classes & 1 << c);
		n += first;
	}
	return n;
}

int sandbox_probe(struct err *e)
{
	struct sandbox *s;
	int r = sandbox_new(&s, 0, e), status = 0;
	pid_t pid;

	if (r < 0)
		return r;
	pid = fork();
	if (pid < 0) {
		r = err_errno(e, "sandbox: fork");
	} else if (pid == 0) {
		signal(SIGSYS, SIG_DFL);	/* no words for this one */
		sandbox_enter(s, SANDBOX_IO);
		syscall(SYS_gettid);
		syscall(SYS_getppid);
		_exit(0);
	} else {
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			r = err_set(e, EPROTO, "sandbox: a forbidden system call did not end its "
				    "process (status %#x)", (unsigned)status);
	}
	sandbox_free(s);
	return r;
}
