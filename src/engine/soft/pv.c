// SPDX-License-Identifier: GPL-2.0-or-later
/* pv.c - what a guest that knows KVM reads from memory: clock, wall clock, steal time.
 * After: Linux Documentation/virt/kvm/x86/msr.rst, timekeeping.rst; the pvclock ABI.
 *
 * The guest's TSC is the machine's clock scaled, plus the vCPU's offset: the relation between the
 * two never changes while a vCPU keeps its offset, and both stand while the machine is paused. So
 * every vCPU's structure says "time 0 was at TSC = offset", the flag TSC_STABLE is always true,
 * and the structure is written only when the guest asks, when the offset changes, and after a
 * pause (for GUEST_STOPPED, which keeps the guest's watchdogs quiet). */
#include "base/bytes.h"
#include "engine/soft/mmu.h"
#include "engine/soft/pv.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NSEC_PER_SEC 1000000000ull

/* struct pvclock_vcpu_time_info, 32 bytes. */
enum { PVC_VERSION = 0, PVC_TSC = 8, PVC_SYSTEM = 16, PVC_MUL = 24, PVC_SHIFT = 28, PVC_FLAGS = 29,
	PVC_LEN = 32 };
enum { PVC_TSC_STABLE = 1, PVC_GUEST_STOPPED = 2 };
/* struct pvclock_wall_clock, 12 bytes. */
enum { WC_VERSION = 0, WC_SEC = 4, WC_NSEC = 8, WC_LEN = 12 };
/* struct kvm_steal_time, 64 bytes. */
enum { ST_STEAL = 0, ST_VERSION = 8, ST_FLAGS = 12, ST_PREEMPTED = 16, ST_LEN = 64 };
/* struct kvm_clock_pairing, 64 bytes. */
enum { CP_SEC = 0, CP_NSEC = 8, CP_TSC = 16, CP_FLAGS = 24, CP_LEN = 64 };

#define MSR_ENABLE 1ull
#define STEAL_PERIOD_NS 1000000u	/* the host's figure is not asked more often */

/* A version that is odd while the rest changes. Continues from what the guest has there. */
static bool update_begin(struct cpu *c, u64 gpa, unsigned version_off, u32 *version)
{
	u8 v[4];

	if (!ram_read(c->m->ram, gpa + version_off, v, 4))
		return false;
	*version = (get_le32(v) | 1) + 2;
	put_le32(v, *version);
	if (!ram_write(c->m->ram, gpa + version_off, v, 4))
		return false;
	atomic_thread_fence(memory_order_seq_cst);
	return true;
}

static void update_end(struct cpu *c, u64 gpa, unsigned version_off, u32 version)
{
	u8 v[4];

	atomic_thread_fence(memory_order_seq_cst);
	put_le32(v, version + 1);
	ram_write(c->m->ram, gpa + version_off, v, 4);
}

/* ns = (tsc << shift) * mul >> 32, mul as large as it can be. */
void pv_scale(u64 tsc_khz, u32 *mul, s8 *shift)
{
	u64 hz = tsc_khz * 1000, scaled = NSEC_PER_SEC;
	int s = 0;

	while (hz > scaled * 2 || hz >> 32) {
		hz >>= 1;
		s--;
	}
	while (hz <= scaled || scaled >> 32) {
		if ((scaled >> 32) || (hz >> 31))
			scaled >>= 1;
		else
			hz <<= 1;
		s++;
	}
	*mul = (u32)((scaled << 32) / hz);
	*shift = (s8)s;
}

static void write_clock(struct cpu *c, u8 flags)
{
	u64 gpa = c->kvm_system_time & ~MSR_ENABLE;
	u8 b[PVC_LEN] = { 0 };
	u32 version, mul;
	s8 shift;

	if (!(c->kvm_system_time & MSR_ENABLE) || !update_begin(c, gpa, PVC_VERSION, &version))
		return;
	pv_scale(clock_tsc_khz(c->m->clock), &mul, &shift);
	put_le64(b + PVC_TSC, c->tsc_offset);
	put_le64(b + PVC_SYSTEM, 0);
	put_le32(b + PVC_MUL, mul);
	b[PVC_SHIFT] = (u8)shift;
	b[PVC_FLAGS] = flags | PVC_TSC_STABLE;
	ram_write(c->m->ram, gpa + PVC_TSC, b + PVC_TSC, PVC_LEN - PVC_TSC);
	update_end(c, gpa, PVC_VERSION, version);
}

void pv_tsc_moved(struct cpu *c)
{
	write_clock(c, 0);
}

static void write_wall_clock(struct cpu *c, u64 gpa)
{
	s64 wall = clock_wall_offset(c->m->clock);
	u64 ns = wall > 0 ? (u64)wall : 0;
	u8 b[WC_LEN];
	u32 version;

	if (!update_begin(c, gpa, WC_VERSION, &version))
		return;
	put_le32(b + WC_SEC, (u32)(ns / NSEC_PER_SEC));
	put_le32(b + WC_NSEC, (u32)(ns % NSEC_PER_SEC));
	ram_write(c->m->ram, gpa + WC_SEC, b + WC_SEC, WC_LEN - WC_SEC);
	update_end(c, gpa, WC_VERSION, version);
}

/* How long this thread, runnable, had to wait for a processor of the host. */
static bool run_delay(struct cpu *c, u64 *ns)
{
	char text[96];
	unsigned long long ran, delay;
	ssize_t n;

	if (c->steal_fd < 0)
		return false;
	n = pread(c->steal_fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return false;
	text[n] = 0;
	if (sscanf(text, "%llu %llu", &ran, &delay) != 2)
		return false;
	*ns = delay;
	if (c->steal_seen > delay)
		c->steal_seen = delay;
	return true;
}

void pv_tick(struct cpu *c)
{
	u64 gpa = c->kvm_steal_time & ~(u64)(ST_LEN - 1), delay, now;
	u8 b[8];
	u32 version;

	if (likely(!(c->kvm_steal_time & MSR_ENABLE)))
		return;
	now = clock_now(c->m->clock);
	if (now - c->steal_asked < STEAL_PERIOD_NS)
		return;
	c->steal_asked = now;
	if (!run_delay(c, &delay) || delay <= c->steal_seen)
		return;
	if (!ram_read(c->m->ram, gpa + ST_STEAL, b, 8) ||
	    !update_begin(c, gpa, ST_VERSION, &version))
		return;
	put_le64(b, get_le64(b) + delay - c->steal_seen);
	c->steal_seen = delay;
	ram_write(c->m->ram, gpa + ST_STEAL, b, 8);
	update_end(c, gpa, ST_VERSION, version);
}

int pv_write_msr(struct cpu *c, u32 msr, u64 val)
{
	switch (msr) {
	case MSR_KVM_WALL_CLOCK:
		c->kvm_wall_clock = val;
		write_wall_clock(c, val);
		return 0;
	case MSR_KVM_SYSTEM_TIME:
		c->kvm_system_time = val;
		write_clock(c, 0);
		return 0;
	case MSR_KVM_STEAL_TIME:
		if (val & (ST_LEN - 1) & ~MSR_ENABLE)
			return -EPERM;
		c->kvm_steal_time = val;
		return 0;
	case MSR_KVM_POLL_CONTROL:
		if (val & ~1ull)
			return -EPERM;
		c->kvm_poll_control = val;
		return 0;
	}
	return -EPERM;
}

bool pv_clock_pairing(struct cpu *c, u64 gpa)
{
	u64 tsc = clock_tsc(c->m->clock);
	u64 ns = clock_ns_of_tsc(c->m->clock, tsc) + (u64)clock_wall_offset(c->m->clock);
	u8 b[CP_LEN] = { 0 };

	put_le64(b + CP_SEC, ns / NSEC_PER_SEC);
	put_le64(b + CP_NSEC, ns % NSEC_PER_SEC);
	put_le64(b + CP_TSC, tsc + c->tsc_offset);
	return ram_write(c->m->ram, gpa, b, sizeof(b));
}

void pv_resume(struct cpu *c)
{
	write_clock(c, PVC_GUEST_STOPPED);
}

void pv_init(struct cpu *c)
{
	c->steal_seen = UINT64_MAX;
	c->steal_fd = -1;
}

/* It tells of the thread that opens it: the vCPU's own. */
void pv_thread_start(struct cpu *c)
{
	pv_free(c);
	c->steal_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	c->steal_seen = UINT64_MAX;
}

void pv_free(struct cpu *c)
{
	if (c->steal_fd >= 0)
		close(c->steal_fd);
	c->steal_fd = -1;
}
