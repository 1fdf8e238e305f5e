// SPDX-License-Identifier: GPL-2.0-or-later
/* sandbox_list.c - which system calls each class of thread may make, how, and who needs them.
 *
 * Classes: V vCPU, I the loop and its helpers, F shared folder, C control. An entry that no test uses
 * fails tests/e2e/test_sandbox.sh: a list must not grow by guesses.
 *
 * Arguments are compared as the kernel will use them: an `int` or `unsigned int` parameter is masked to
 * its 32 bits first, or a caller could dodge an exact comparison with bits that the kernel drops (the
 * TIOCSTI hole of CVE-2019-10063). Pointers say nothing: what they point to can change under us. */
#include "base/sandbox_list.h"

#include <asm/termbits.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define INET SANDBOX_NEED_INET
#define UNIX SANDBOX_NEED_UNIX
#define URING SANDBOX_NEED_URING
#define TAP SANDBOX_NEED_TAP
#define BLKDEV SANDBOX_NEED_BLOCKDEV

#define CALL(name_, classes_, who_) \
	{ .nr = SCMP_SYS(name_), .classes = classes_, .name = #name_, .who = who_ }
#define CALL_IF(name_, classes_, needs_, who_) \
	{ .nr = SCMP_SYS(name_), .classes = classes_, .needs = needs_, .name = #name_, .who = who_ }
#define CALL_ARG(name_, classes_, needs_, who_, ...) \
	{ .nr = SCMP_SYS(name_), .classes = classes_, .needs = needs_, .name = #name_, \
	  .who = who_, .nargs = 1, .arg = { __VA_ARGS__ } }
#define CALL_ARG2(name_, classes_, needs_, who_, ...) \
	{ .nr = SCMP_SYS(name_), .classes = classes_, .needs = needs_, .name = #name_, \
	  .who = who_, .nargs = 2, .arg = { __VA_ARGS__ } }
#define CALL_SELF(name_, classes_, who_) \
	{ .nr = SCMP_SYS(name_), .classes = classes_, .name = #name_, .who = who_, .own_pid = true }
/* A 32-bit argument; flags that must be clear. */
#define IS(n, v) SCMP_CMP(n, SCMP_CMP_MASKED_EQ, 0xffffffffu, (u32)(v))
#define CLEAR(n, bits) SCMP_CMP(n, SCMP_CMP_MASKED_EQ, bits, 0)
#define IOCTL(classes_, needs_, cmd, who_) CALL_ARG(ioctl, classes_, needs_, who_, IS(1, cmd))
#define FCNTL(classes_, cmd, who_) CALL_ARG(fcntl, classes_, 0, who_, IS(1, cmd))

const struct sandbox_rule sandbox_rules[] = {
	/* --- what any thread of a C program does --- */
	CALL(futex, SALL, "mutexes and condition variables"),
	CALL(rt_sigprocmask, SALL, "abort(), thread end; SIGPIPE held back while a pipe is written"),
	CALL(rt_sigreturn, SALL, "the end of a signal handler: SIGFPE of guest arithmetic, SIGCONT"),
	CALL(exit, SALL, "the end of a thread"),
	CALL(clock_gettime, SALL, "where the vDSO cannot tell the time itself"),
	CALL(sched_yield, SALL, "spinning a moment for another vCPU"),
	CALL(getpid, SALL, "abort() after BUG()"),
	CALL(gettid, SALL, "abort() after BUG()"),
	CALL_SELF(tgkill, SALL, "abort() after BUG(): signals to the process itself"),
	/* Memory: never anything that can be executed. Code that penta generates lies in mappings made
	 * before: one writable, one executable, of the same pages. */
	CALL_ARG(mmap, SALL, 0, "malloc; no PROT_EXEC", CLEAR(2, PROT_EXEC)),
	CALL_ARG(mprotect, SALL, 0, "malloc; no PROT_EXEC", CLEAR(2, PROT_EXEC)),
	CALL(munmap, SALL, "free"),
	CALL(madvise, SALL, "free; the stack of a thread that ends"),
	CALL(brk, SALL, "malloc, free"),
	CALL(mremap, SI | SF | SC, "realloc"),

	/* --- descriptors that are open --- */
	CALL(read, SALL, "the loop's timer and events; serial input (V: when the guest made room)"),
	CALL(write, SALL, "the log; waking the loop; serial output, tap"),
	CALL(writev, SALL, "BUG()'s trace (backtrace_symbols_fd)"),
	CALL(pread64, SALL, "V: steal time; I: thread pool of block layers"),
	CALL(close, SALL, "connections that end (V: serial input); the machine at its end"),
	CALL(epoll_ctl, SI | SC | SV, "loop_add_fd(): V: serial output that has to wait"),
	CALL(epoll_wait, SI, "the loop"),
	CALL(timerfd_settime, SV | SI | SC, "loop_set_deadline(): timers of the guest"),
	CALL(poll, SI | SC, "output that leaves at the end; gdb; control socket"),
	CALL(rt_sigtimedwait, SV | SI, "SIGPIPE of a serial port on a pipe, taken back"),
	CALL(exit_group, SI | SC, "the end of the process"),

	/* The terminal is given back when a thread dies of a signal, so each may do that. Nothing else:
	 * TIOCSTI would type into the shell that started us. */
	IOCTL(SV | SI, 0, TCSETS, "the terminal given back"),
	IOCTL(SI, 0, TCGETS, "is it a terminal?"),
	IOCTL(SI, 0, TIOCGWINSZ, "console: the terminal's size"),
	IOCTL(SI, INET, FIONREAD, "libslirp: how much a socket has"),
	IOCTL(SI, INET, FIONBIO, "libslirp: sockets that do not block"),
	IOCTL(SI, TAP, TUNSETOFFLOAD, "tap: what the guest's card takes"),
	IOCTL(SI, BLKDEV, BLKDISCARD, "discard on a block device"),
	IOCTL(SI, BLKDEV, BLKZEROOUT, "zeroes on a block device"),

	FCNTL(SI | SC, F_GETFL, "fdopen(), terminals put back as they were"),
	FCNTL(SI | SC, F_SETFL, "sockets that do not block; terminals put back as they were"),

	/* --- sockets --- */
	CALL(sendto, SV | SI | SC, "a serial port that is a socket"),
	CALL(recvfrom, SV | SI | SC, "sockets; V: serial input that is one"),
	CALL(accept4, SI | SC, "a client of a serial port, the control socket, gdb; a switch's member"),
	CALL_IF(accept, SI, INET, "libslirp: a client of a forwarded port"),
	CALL_ARG(socket, SI, INET, "libslirp: the guest's connections", IS(0, AF_INET)),
	CALL_ARG(socket, SI, INET, "libslirp: the guest's connections", IS(0, AF_INET6)),
	CALL_IF(connect, SI, INET, "libslirp: the guest's connections"),
	CALL_IF(setsockopt, SI, INET, "libslirp: no delay, urgent data inline, time to live"),
	CALL_IF(shutdown, SI, INET, "libslirp: one end has sent all"),
	CALL_IF(getpeername, SI, INET, "libslirp: is it connected?"),
	CALL_IF(recvmsg, SI, INET, "libslirp: errors of datagrams (IP_RECVERR)"),
	CALL_IF(getsockopt, SI, INET | UNIX, "libslirp: has it connected? switch: whose is it?"),
	CALL_IF(sendmsg, SI, UNIX, "switch: a frame"),
};

const unsigned sandbox_nrules = ARRAY_SIZE(sandbox_rules);
