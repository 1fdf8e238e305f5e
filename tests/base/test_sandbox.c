/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sandbox: what is on no list ends the process and says so, for each class; argument checks
 * cannot be dodged; other ABIs are dead; the lists keep to their limits. Each case is a child. */
#include "unit.h"
#include "base/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct sandbox *box;
static char said[4096];		/* what the last child wrote to stderr */

typedef void act_fn(void);

/* Run @act in a child, inside class @c. Returns waitpid's status. */
static int in_class(enum sandbox_class c, act_fn *act)
{
	struct rlimit none = { 0, 0 };
	int p[2], status;
	size_t n = 0;
	ssize_t k;
	pid_t pid;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		setrlimit(RLIMIT_CORE, &none);
		signal(SIGABRT, SIG_DFL);	/* cmocka's would go on */
		signal(SIGSYS, SIG_DFL);
		dup2(p[1], STDERR_FILENO);
		/* tgkill is allowed to the process whose filter it is: prepare it here. */
		struct err e = { 0 };

		if (sandbox_new(&box, SANDBOX_NEED_ALL, &e))
			_exit(99);
		sandbox_enter(box, c);
		act();
		syscall(SYS_exit, 7);	/* on every list */
	}
	close(p[1]);
	while (n < sizeof(said) - 1 && (k = read(p[0], said + n, sizeof(said) - 1 - n)) > 0)
		n += (size_t)k;
	said[n] = 0;
	close(p[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void assert_dies(enum sandbox_class c, act_fn *act, const char *call)
{
	char want[64];
	int status = in_class(c, act);

	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
		fail_msg("class %s, %s: status %#x: %s", sandbox_class_name(c), call, (unsigned)status,
			 said);
	snprintf(want, sizeof(want), "class %s may not call %s (", sandbox_class_name(c), call);
	if (!strstr(said, want))
		fail_msg("wanted \"%s\" in: %s", want, said);
	assert_true(strchr(said, '\n') == said + strlen(said) - 1);	/* one line */
}

static void assert_lives(enum sandbox_class c, act_fn *act)
{
	int status = in_class(c, act);

	if (!WIFEXITED(status) || WEXITSTATUS(status) != 7)
		fail_msg("class %s: status %#x: %s", sandbox_class_name(c), (unsigned)status, said);
}

/* --- what no class may do --- */

static void do_execve(void) { char *a[] = { NULL }; syscall(SYS_execve, "/bin/true", a, a); }
static void do_execveat(void) { syscall(SYS_execveat, 0, "", NULL, NULL, 0); }
static void do_ptrace(void) { syscall(SYS_ptrace, 0, 0, 0, 0); }
static void do_fork(void) { syscall(SYS_fork); }
static void do_clone(void) { syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }
static void do_clone3(void) { syscall(SYS_clone3, NULL, 0); }
static void do_kill(void) { syscall(SYS_kill, 1, 0); }
static void do_init(void) { syscall(SYS_tgkill, 1, 1, 0); }
static void do_unshare(void) { syscall(SYS_unshare, 0x10000000); }
static void do_setuid(void) { syscall(SYS_setresuid, 0, 0, 0); }
static void do_bpf(void) { syscall(SYS_bpf, 0, 0, 0); }
static void do_uring(void) { syscall(SYS_io_uring_setup, 1, NULL); }
static void do_uring_reg(void) { syscall(SYS_io_uring_register, 0, 0, NULL, 0); }
static void do_uffd(void) { syscall(SYS_userfaultfd, 0); }
static void do_vmwrite(void) { syscall(SYS_process_vm_writev, 1, 0, 0, 0, 0, 0); }
static void do_memfd(void) { syscall(SYS_memfd_create, "x", 0); }
static void do_seccomp(void) { syscall(SYS_seccomp, 1, 0, NULL); }
static void do_sigaction(void) { syscall(SYS_rt_sigaction, SIGSYS, NULL, NULL, 8); }
static void do_mmap_x(void)
{
	syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
static void do_mmap_wx(void)
{
	syscall(SYS_mmap, NULL, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
static void do_mprotect_x(void)
{
	syscall(SYS_mprotect, (long)&do_mmap_x & -4096, 4096, PROT_READ | PROT_EXEC);
}
static void do_shm(void) { syscall(SYS_shmat, 0, NULL, 0x8000); }
static void do_tiocsti(void) { syscall(SYS_ioctl, 0, (long)TIOCSTI, "x"); }
/* The kernel drops the high half, a careless comparison does not. */
static void do_tiocsti_high(void) { syscall(SYS_ioctl, 0, (long)TIOCSTI | 1l << 32, "x"); }

static const struct { act_fn *act; const char *call; } never[] = {
#ifndef __SANITIZE_THREAD__
#ifndef __SANITIZE_ADDRESS__	/* their libraries' list has these */
	{ do_ptrace, "ptrace" }, { do_clone, "clone" }, { do_kill, "kill" },
	{ do_sigaction, "rt_sigaction" }, { do_mmap_x, "mmap" }, { do_mmap_wx, "mmap" },
	{ do_tiocsti, "ioctl" }, { do_tiocsti_high, "ioctl" },
#endif
#endif
	{ do_execve, "execve" }, { do_execveat, "execveat" }, { do_fork, "fork" },
	{ do_clone3, "clone3" }, { do_init, "tgkill" }, { do_unshare, "unshare" },
	{ do_setuid, "setresuid" }, { do_bpf, "bpf" }, { do_uring, "io_uring_setup" },
	{ do_uring_reg, "io_uring_register" }, { do_uffd, "userfaultfd" },
	{ do_vmwrite, "process_vm_writev" },
	{ do_seccomp, "seccomp" }, { do_mprotect_x, "mprotect" }, { do_shm, "shmat" },
};

static void test_never(void **state)
{
	for (int c = 0; c < SANDBOX_NCLASSES; c++)
		for (size_t i = 0; i < ARRAY_SIZE(never); i++)
			assert_dies((enum sandbox_class)c, never[i].act, never[i].call);
}

static void do_openat(void) { syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY); }
static void do_open(void) { syscall(SYS_open, "/etc/passwd", O_RDONLY); }
static void do_unlink(void) { syscall(SYS_unlink, "/tmp/no-such-file"); }
static void do_socket(void) { syscall(SYS_socket, AF_INET, SOCK_STREAM, 0); }
static void do_packet(void) { syscall(SYS_socket, AF_PACKET, SOCK_RAW, 0); }
static void do_netlink(void) { syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0); }

static void test_by_class(void **state)
{
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
	assert_dies(SANDBOX_VCPU, do_openat, "openat");
	assert_dies(SANDBOX_IO, do_openat, "openat");
	assert_dies(SANDBOX_VCPU, do_open, "open");
	assert_dies(SANDBOX_IO, do_open, "open");
#endif
	assert_dies(SANDBOX_VCPU, do_memfd, "memfd_create");
	assert_dies(SANDBOX_IO, do_memfd, "memfd_create");
	assert_dies(SANDBOX_VCPU, do_unlink, "unlink");
	assert_dies(SANDBOX_IO, do_unlink, "unlink");
	assert_dies(SANDBOX_VCPU, do_socket, "socket");
	for (int c = 0; c < SANDBOX_NCLASSES; c++) {
		assert_dies((enum sandbox_class)c, do_packet, "socket");
		assert_dies((enum sandbox_class)c, do_netlink, "socket");
	}
}

/* --- what cannot be dodged --- */

static void call_i386(void)
{
	int r;

	__asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory");	/* getpid */
}
static void call_x32(void) { syscall(0x40000000 | SYS_getpid); }
static void blocked_sigsys(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	syscall(SYS_getppid);
}

static void test_dodges(void **state)
{
	for (int c = 0; c < SANDBOX_NCLASSES; c++) {
		act_fn *const how[] = { call_i386, call_x32, blocked_sigsys };

		for (size_t i = 0; i < ARRAY_SIZE(how); i++) {
			int status = in_class((enum sandbox_class)c, how[i]);

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
			if (how[i] == blocked_sigsys)
				continue;	/* getppid is on their list */
#endif
			assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
		}
	}
}

/* A thread that frees so much that malloc gives memory back. */
static void *much(void *arg)
{
	static void *p[200];

	sandbox_enter(box, SANDBOX_IO);
	for (unsigned i = 0; i < ARRAY_SIZE(p); i++)
		memset(p[i] = malloc(60000), 1, 60000);
	for (unsigned i = ARRAY_SIZE(p); i--; )
		free(p[i]);
	return NULL;
}

static void do_much(void)
{
	pthread_t t;

	if (!pthread_create(&t, NULL, much, NULL))
		pthread_join(t, NULL);
}

static void test_heap(void **state)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		struct err e = { 0 };

		if (sandbox_new(&box, SANDBOX_NEED_ALL, &e))
			_exit(99);
		do_much();
		_exit(7);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static pthread_barrier_t bar;

static void *thread_main(void *arg)
{
	sandbox_enter(box, SANDBOX_VCPU);
	pthread_barrier_wait(&bar);
	syscall(SYS_getppid);
	return NULL;
}

/* One thread's forbidden call ends the process, not the thread alone; others stay outside. */
static void test_threads(void **state)
{
	struct err e = { 0 };
	int status;
	pid_t pid = fork();

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	if (pid)
		waitpid(pid, &status, 0);
	else
		_exit(0);
	skip();
#endif
	if (!pid) {
		pthread_t t;

		close(STDERR_FILENO);
		signal(SIGSYS, SIG_DFL);
		if (sandbox_new(&box, 0, &e))
			_exit(1);
		pthread_barrier_init(&bar, NULL, 2);
		if (pthread_create(&t, NULL, thread_main, NULL) || open("/dev/null", O_RDONLY) < 0)
			_exit(1);
		pthread_barrier_wait(&bar);
		pthread_join(t, NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

/* --- what must go on working --- */

static volatile sig_atomic_t handled;
static void on_usr1(int sig) { handled = 1; }

/* malloc in all its ways, and what some hosts cannot tell without a call. */
static void use_memory(void)
{
	char *small[64], *big = malloc(1 << 20);
	struct timespec ts;

	for (size_t i = 0; i < ARRAY_SIZE(small); i++)
		small[i] = malloc(100000);
	for (size_t i = ARRAY_SIZE(small); i-- > 0;)
		free(small[i]);
	if (syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts) < 0)
		_exit(1);
	free(big);
	for (size_t n = 1; n < 64u << 20; n *= 3) {
		char *p = malloc(n);

		if (!p)
			_exit(1);
		memset(p, 1, n);
		free(p);
	}
}

static void use_realloc(void)
{
	char *p = malloc(1 << 20);

	for (size_t n = 2u << 20; p && n < 64u << 20; n *= 2)
		p = realloc(p, n);
	if (!p)
		syscall(SYS_exit, 1);
	free(p);
}

/* As SIGFPE of a guest's arithmetic comes and is mended. */
static void use_signal(void)
{
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
	syscall(SYS_exit, handled ? 7 : 1);
}

static void do_bug(void) { BUG("planted"); }

static void test_lives(void **state)
{
	signal(SIGUSR1, on_usr1);
	assert_lives(SANDBOX_VCPU, use_signal);
	for (int c = 0; c < SANDBOX_NCLASSES; c++) {
		int status;

		if (c != SANDBOX_VCPU)
			assert_lives((enum sandbox_class)c, use_realloc);
		assert_lives((enum sandbox_class)c, use_memory);
		status = in_class((enum sandbox_class)c, do_bug);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		assert_non_null(strstr(said, "BUG at tests/base/test_sandbox.c"));
		assert_non_null(strstr(said, "test_sandbox("));		/* the backtrace */
	}
}

static void test_limits(void **state)
{
	static const unsigned max[SANDBOX_NCLASSES] = { 25, 40, 40, 50 };

	for (int c = 0; c < SANDBOX_NCLASSES; c++) {
		unsigned n = sandbox_count((enum sandbox_class)c);

		printf("# class %s: %u calls\n", sandbox_class_name((enum sandbox_class)c), n);
		assert_in_range(n, 5, max[c]);
	}
}

/* Without its part, a machine has not the part's calls. */
static void test_needs(void **state)
{
	struct err e = { 0 };
	int status;
	pid_t pid = fork();

	if (!pid) {
		close(STDERR_FILENO);
		signal(SIGSYS, SIG_DFL);
		if (sandbox_new(&box, 0, &e))
			_exit(1);
		sandbox_enter(box, SANDBOX_IO);
		do_socket();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static void test_probe(void **state)
{
	struct err e = { 0 };

	if (sandbox_probe(&e))
		fail_msg("%s", e.msg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never), cmocka_unit_test(test_by_class),
		cmocka_unit_test(test_heap), cmocka_unit_test(test_dodges), cmocka_unit_test(test_threads),
		cmocka_unit_test(test_lives), cmocka_unit_test(test_limits),
		cmocka_unit_test(test_needs), cmocka_unit_test(test_probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
