/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe.c - find out what /dev/kvm is worth. There are hosts (virtual ones themselves) whose
 * /dev/kvm has no hardware behind it: all capabilities are claimed, the guest's kernel runs in an
 * instruction emulator a thousand times slower than promised, and SYSCALL does not change the
 * privilege level. No flag tells; so a tiny guest is timed. After: Linux'
 * Documentation/virt/kvm/api.rst; Intel SDM vol. 3, 4.5 and 5.8.8.
 *
 * The guest: 64-bit mode, everything in its first 64 KiB.
 *
 *	ring 0: count down from 100,000 (two instructions each), OUT; SYSRET to ring 3
 *	ring 3: SYSCALL
 *	LSTAR:  OUT the CS selector: its low bits are the privilege level */
#include "engine/kvm/probe.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "x86/regs.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GUEST_RAM 0x10000
enum guest_map { G_GDT = 0x1000, G_PML4 = 0x2000, G_PDPT = 0x3000, G_PD = 0x4000, G_PT = 0x5000,
		 G_CODE = 0x8000, G_USER = 0x8100, G_LSTAR = 0x8200, G_STACK = 0xf000 };
/* Selectors as SYSCALL and SYSRET compute them from STAR. */
enum guest_sel { SEL_CODE = 0x08, SEL_DATA = 0x10, SEL_USER32 = 0x18, SEL_USER_DATA = 0x20,
		 SEL_USER_CODE = 0x28, SEL_TSS = 0x30 };
#define LOOPS 100000u
#define PORT_TIMED 0x10
#define PORT_CS 0x11
#define TIMEOUT_MS 2000

static const u8 guest_code[] = {
	0xb9, 0xa0, 0x86, 0x01, 0x00,		/* mov ecx, LOOPS */
	0xff, 0xc9,				/* 1: dec ecx */
	0x75, 0xfc,				/* jnz 1b */
	0xe6, PORT_TIMED,			/* out PORT_TIMED, al */
	0xb9, 0x00, 0x81, 0x00, 0x00,		/* mov ecx, G_USER */
	0x41, 0xbb, 0x02, 0x00, 0x00, 0x00,	/* mov r11d, 2 */
	0x48, 0x0f, 0x07,			/* sysretq */
};
static const u8 guest_user[] = { 0x0f, 0x05 /* syscall */, 0xeb, 0xfe };
static const u8 guest_lstar[] = { 0x8c, 0xc8 /* mov eax, cs */, 0xe6, PORT_CS, 0xf4 };

struct vm {
	int kvm, vm, cpu;
	u8 *ram;
	struct kvm_run *run;
	size_t run_len;
};

static void put_guest(u8 *ram)
{
	static const struct { u16 sel; u64 desc; } gdt[] = {
		{ SEL_CODE, 0x00af9b000000ffff }, { SEL_DATA, 0x00cf93000000ffff },
		{ SEL_USER32, 0x00cffb000000ffff }, { SEL_USER_DATA, 0x00cff3000000ffff },
		{ SEL_USER_CODE, 0x00affb000000ffff },
	};

	for (size_t i = 0; i < ARRAY_SIZE(gdt); i++)
		put_le64(ram + G_GDT + gdt[i].sel, gdt[i].desc);
	/* Present, writable, user. */
	put_le64(ram + G_PML4, G_PDPT | 7);
	put_le64(ram + G_PDPT, G_PD | 7);
	put_le64(ram + G_PD, G_PT | 7);
	for (u64 i = 0; i < GUEST_RAM / 0x1000; i++)
		put_le64(ram + G_PT + 8 * i, i << 12 | 7);
	memcpy(ram + G_CODE, guest_code, sizeof(guest_code));
	memcpy(ram + G_USER, guest_user, sizeof(guest_user));
	memcpy(ram + G_LSTAR, guest_lstar, sizeof(guest_lstar));
}

static int set_registers(struct vm *v)
{
	const struct kvm_segment code = { .base = 0, .limit = ~0u, .selector = SEL_CODE, .type = 11,
					  .present = 1, .s = 1, .l = 1, .g = 1 };
	const struct kvm_segment data = { .base = 0, .limit = ~0u, .selector = SEL_DATA, .type = 3,
					  .present = 1, .s = 1, .db = 1, .g = 1 };
	const struct kvm_msr_entry entries[] = {
		{ .index = MSR_STAR, .data = (u64)SEL_CODE << 32 | (u64)SEL_USER32 << 48 },
		{ .index = MSR_LSTAR, .data = G_LSTAR },
		{ .index = MSR_SFMASK, .data = FL_IF },
	};
	struct kvm_msrs *msrs cleanup_free = calloc(1, sizeof(*msrs) + sizeof(entries));
	struct kvm_regs regs = { .rip = G_CODE, .rsp = G_STACK, .rflags = FL_1 };
	struct kvm_sregs s;

	if (!msrs || ioctl(v->cpu, KVM_GET_SREGS, &s))
		return -errno;
	msrs->nmsrs = ARRAY_SIZE(entries);
	memcpy(msrs->entries, entries, sizeof(entries));
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.tr = (struct kvm_segment){ .limit = 0x67, .selector = SEL_TSS, .type = 11, .present = 1 };
	s.gdt.base = G_GDT;
	s.gdt.limit = SEL_TSS + 15;
	s.idt.base = s.idt.limit = 0;		/* any exception ends in SHUTDOWN */
	s.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	s.cr3 = G_PML4;
	s.cr4 = CR4_PAE;
	s.efer = EFER_LME | EFER_LMA | EFER_SCE;
	if (ioctl(v->cpu, KVM_SET_SREGS, &s) || ioctl(v->cpu, KVM_SET_REGS, &regs) ||
	    ioctl(v->cpu, KVM_SET_MSRS, msrs) != (int)ARRAY_SIZE(entries))
		return errno ? -errno : -EINVAL;
	return 0;
}

/* Long mode must be in the guest's CPUID for KVM to take EFER. */
static int set_cpuid(struct vm *v)
{
	enum { MAX = 256 };
	struct kvm_cpuid2 *c cleanup_free = calloc(1, sizeof(*c) + MAX * sizeof(c->entries[0]));

	if (!c)
		return -ENOMEM;
	c->nent = MAX;
	if (ioctl(v->kvm, KVM_GET_SUPPORTED_CPUID, c) || ioctl(v->cpu, KVM_SET_CPUID2, c))
		return -errno;
	return 0;
}

static int make(struct vm *v)
{
	struct kvm_userspace_memory_region mem = { .memory_size = GUEST_RAM };
	int r;

	v->ram = mmap(NULL, GUEST_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (v->ram == MAP_FAILED)
		return -errno;
	put_guest(v->ram);
	v->vm = ioctl(v->kvm, KVM_CREATE_VM, 0);
	if (v->vm < 0)
		return -errno;
	mem.userspace_addr = (uintptr_t)v->ram;
	if (ioctl(v->vm, KVM_SET_USER_MEMORY_REGION, &mem))
		return -errno;
	v->cpu = ioctl(v->vm, KVM_CREATE_VCPU, 0);
	r = ioctl(v->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (v->cpu < 0 || r < (int)sizeof(*v->run))
		return errno ? -errno : -EINVAL;
	v->run_len = (size_t)r;
	v->run = mmap(NULL, v->run_len, PROT_READ | PROT_WRITE, MAP_SHARED, v->cpu, 0);
	if (v->run == MAP_FAILED)
		return -errno;
	r = set_cpuid(v);
	return r ? r : set_registers(v);
}

/* Run to an OUT at @port: the byte, or -1 for any other end. */
static int run_to(struct vm *v, u16 port)
{
	int r;

	do
		r = ioctl(v->cpu, KVM_RUN, 0);
	while (r < 0 && (errno == EINTR || errno == EAGAIN));
	if (r < 0 || v->run->exit_reason != KVM_EXIT_IO || v->run->io.port != port ||
	    v->run->io.direction != KVM_EXIT_IO_OUT || v->run->io.data_offset >= v->run_len)
		return -1;
	return *((u8 *)v->run + v->run->io.data_offset);
}

static u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000u + (u64)ts.tv_nsec;
}

/* In the child, which is thrown away: nothing is cleaned up. */
static void probe(struct kvm_probe *p, int kvm)
{
	struct vm v = { .kvm = kvm };
	u64 start;
	int r;

	p->kind = KVM_UNFIT;
	if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
		p->error = ENOTTY;
		return;
	}
	r = make(&v);
	if (r) {
		p->error = -r;
		return;
	}
	start = now_ns();
	if (run_to(&v, PORT_TIMED) < 0) {
		p->error = EIO;
		return;
	}
	p->rate = 2ull * LOOPS * 1000000000u / MAX(now_ns() - start, 1u);
	p->syscall_ok = run_to(&v, PORT_CS) == SEL_CODE;
	p->kind = p->rate > KVM_RATE_USABLE && p->syscall_ok ? KVM_USABLE : KVM_EMULATED;
}

void kvm_probe(struct kvm_probe *out)
{
	int kvm cleanup_close = open("/dev/kvm", O_RDWR | O_CLOEXEC), fd[2];
	struct pollfd pfd;
	pid_t pid;

	*out = (struct kvm_probe){ .kind = KVM_UNFIT };
	if (kvm < 0) {
		out->error = errno;
		out->kind = errno == EACCES || errno == EPERM ? KVM_FORBIDDEN : KVM_ABSENT;
		return;
	}
	if (pipe2(fd, O_CLOEXEC)) {
		out->error = errno;
		return;
	}
	pid = fork();
	if (pid == 0) {
		struct kvm_probe p = { 0 };

		probe(&p, kvm);
		_exit(write(fd[1], &p, sizeof(p)) != sizeof(p));
	}
	close(fd[1]);
	pfd = (struct pollfd){ .fd = fd[0], .events = POLLIN };
	if (pid < 0)
		out->error = errno;
	else if (poll(&pfd, 1, TIMEOUT_MS) != 1 || read(fd[0], out, sizeof(*out)) != sizeof(*out))
		*out = (struct kvm_probe){ .kind = KVM_UNFIT, .error = ETIMEDOUT };
	close(fd[0]);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}
