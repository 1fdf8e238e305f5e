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
#include <errno.h>
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
	CALL(rt_sigreturn, SV, "the end of the SIGFPE handler: guest arithmetic"),
	CALL(exit, SALL, "the end of a thread"),
	CALL(clock_gettime, SALL, "where the vDSO cannot tell the time itself"),
	CALL(sched_yield, SV, "spinning a moment for another vCPU"),
	CALL(getpid, SALL, "abort() after BUG()"),
	CALL(gettid, SALL, "abort() after BUG()"),
	CALL_SELF(tgkill, SALL, "abort() after BUG(): signals to the process itself"),
	/* Memory: never anything that can be executed. Code that penta generates lies in mappings made
	 * before: one writable, one executable, of the same pages. */
	CALL_ARG(mmap, SALL, 0, "malloc; no PROT_EXEC", CLEAR(2, PROT_EXEC)),
	CALL_ARG(mprotect, SALL, 0, "malloc; no PROT_EXEC", CLEAR(2, PROT_EXEC)),
	CALL(munmap, SALL, "free"),
	CALL(madvise, SALL, "free; the stack of a thread that ends; the balloon"),
	CALL(brk, SALL, "malloc, free"),
	/* Not allowed, but no crime: realloc() copies when it fails. */
	{ .nr = SCMP_SYS(mremap), .classes = SALL, .error = ENOMEM, .name = "mremap", .who = "realloc" },

	/* --- descriptors that are open --- */
	CALL(read, SV | SI | SC, "the loop's timer and events; serial input (V: when the guest made room)"),
	CALL(write, SALL, "the log; waking the loop; serial output; a saved stream"),
	CALL(writev, SI, "frames to a tap, to a pcap file"),
	CALL(pread64, SV, "steal time"),
	CALL(close, SI | SF | SC, "connections that end; the machine at its end"),
	CALL(epoll_ctl, SI | SC | SV, "loop_add_fd(): V: serial output that has to wait"),
	CALL(epoll_wait, SI, "the loop"),
	CALL(timerfd_settime, SV | SI | SC, "loop_set_deadline(): timers of the guest"),
	CALL(poll, SI | SC, "output that leaves at the end; gdb; control socket"),
	CALL(exit_group, SI, "the end of the process"),
	CALL(getrandom, SI, "virtio-rng"),

	/* Disks and files that are open: the thread pool's, or the drain before a save. */
	CALL_ARG(preadv2, SV, 0, "disks: bytes that the host has in its cache", IS(5, RWF_NOWAIT)),
	CALL(pwrite64, SC, "memory copied for a fork"),
	CALL(preadv, SV | SI | SC, "disks; a page of a lazy restore, whoever wants it"),
	CALL(pwritev2, SI, "disks: a write that is on stable storage when it ends"),
	CALL(fdatasync, SI, "disks: flush"),
	CALL(fallocate, SI, "disks: discard, zeroes; memory given back by the balloon"),
	CALL(ftruncate, SC, "a disk that is resized; a memfd's size"),
	CALL_IF(io_uring_enter, SI | SC, URING, "disks: the rings are made, and restricted, before"),
	CALL(lseek, SI | SC, "C: which pages a stream need not hold; I: folder_note(), holes of memory"),
	CALL_ARG(newfstatat, SC, 0, "fstat()", IS(3, AT_EMPTY_PATH)),
	CALL(memfd_create, SC, "a live save, a fork: the pages that change meanwhile"),

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

	FCNTL(SI | SC, F_GETFL, "terminals put back as they were; what kind of descriptor came"),
	FCNTL(SI | SC, F_SETFL, "sockets that do not block; terminals put back as they were"),
	FCNTL(SI | SC, F_SETFD, "libslirp: close on exec"),
	FCNTL(SI | SC, F_DUPFD_CLOEXEC, "a descriptor for two owners; a console's viewer"),
	FCNTL(SC, F_OFD_SETLK, "snapshots, forks: a disk's new top file, and the old one"),
	FCNTL(SC, F_OFD_GETLK, "... does somebody else write to it?"),
	FCNTL(SC, F_ADD_SEALS, "memory that nobody may cut off"),
	FCNTL(SC, F_GET_SEALS, "... also when it came from somebody else"),

	/* --- a shared folder: share/. The thread blocks there, and does nothing else --- */
	CALL(openat2, SF, "one name below a descriptor; a file known, opened"),
	CALL(statx, SF, "attributes"),
	CALL(preadv, SF, "READ"),
	CALL(pwritev, SF, "WRITE"),
	CALL(readlinkat, SF, "READLINK"),
	CALL(symlinkat, SF, "SYMLINK"),
	CALL(mknodat, SF, "MKNOD: files, FIFOs, sockets"),
	CALL(mkdirat, SF, "MKDIR"),
	CALL(unlinkat, SF, "UNLINK, RMDIR"),
	CALL(renameat2, SF, "RENAME"),
	CALL(linkat, SF, "LINK"),
	CALL(fchmodat, SF, "chmod()"),
	CALL(fchownat, SF, "chown()"),
	CALL(utimensat, SF, "times"),
	CALL(ftruncate, SF, "truncate()"),
	CALL(fsync, SF, "FSYNC"),
	CALL(syncfs, SF, "SYNCFS"),
	CALL(fstatfs, SF, "STATFS"),
	CALL(getdents64, SF, "READDIR"),
	CALL(lseek, SI | SF, "READDIR, SEEK_DATA, SEEK_HOLE; I: the balloon of a fork"),
	CALL(fallocate, SF, "FALLOCATE"),
	CALL(getxattr, SF, "extended attributes"),
	CALL(setxattr, SF, "extended attributes"),
	CALL(listxattr, SF, "extended attributes"),
	CALL(removexattr, SF, "extended attributes"),

	/* --- sockets --- */
	CALL(sendto, SI | SC, "a serial port that is a socket; control socket; libslirp"),
	CALL(recvfrom, SI | SC, "sockets"),
	CALL(accept4, SI | SC, "a client of a serial port, vsock, the control socket, gdb; a switch's member"),
	CALL(getrusage, SC, "control socket: processor time used"),
	CALL(recvmsg, SC, "control socket: descriptors that come with a command"),
	CALL_IF(recvmsg, SI, INET, "libslirp: errors of datagrams (IP_RECVERR)"),
	CALL(sendmsg, SC, "descriptors for a fork"),
	CALL_IF(accept, SI, INET, "libslirp: a client of a forwarded port"),
	CALL_ARG(socket, SI, INET, "libslirp: the guest's connections", IS(0, AF_INET)),
	CALL_ARG(socket, SI, INET, "libslirp: the guest's connections", IS(0, AF_INET6)),
	CALL_ARG(socket, SI, UNIX, "vsock: the guest calls a service of the host", IS(0, AF_UNIX)),
	CALL_IF(connect, SI, INET | UNIX, "libslirp, vsock: the guest calls out"),
	CALL_IF(setsockopt, SI, INET | UNIX, "libslirp: no delay, time to live; switch: its buffer"),
	CALL_IF(shutdown, SI, INET | UNIX, "libslirp, vsock: one end has sent all"),
	CALL_IF(getsockopt, SI, INET | UNIX, "libslirp: has it connected? switch: whose is it?"),
	/* libslirp asks at the end of a connection whether there was one; "cannot tell" closes it. */
	{ .nr = SCMP_SYS(getpeername), .classes = SI, .needs = INET, .error = ENOSYS,
	  .name = "getpeername", .who = "libslirp" },
};

const unsigned sandbox_nrules = ARRAY_SIZE(sandbox_rules);
