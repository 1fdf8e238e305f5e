/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe.h - what stands behind /dev/kvm, by how it behaves and not by what it says. */
#ifndef PENTA_ENGINE_KVM_PROBE_H
#define PENTA_ENGINE_KVM_PROBE_H

#include "base/types.h"

enum kvm_kind {
	KVM_ABSENT,		/* no device */
	KVM_FORBIDDEN,		/* it may not be opened */
	KVM_UNFIT,		/* something else, or too old: .error says where it failed */
	KVM_EMULATED,		/* the host interprets the guest's kernel: soft is faster */
	KVM_USABLE,
	KVM_KINDS
};

struct kvm_probe {
	enum kvm_kind kind;
	int error;		/* errno of what failed, or 0 */
	u64 rate;		/* ring-0 instructions a second */
	bool syscall_ok;	/* SYSCALL leaves ring 3 */
};
/* Nearer to hardware than any emulator comes. */
#define KVM_RATE_USABLE 100000000ull

/* Runs 200,000 instructions in ring 0 and one SYSCALL, in a child process that is given two
 * seconds: 0.1 s even where the host emulates. Not thread-safe with respect to signals: SIGCHLD
 * must not be ignored. */
void kvm_probe(struct kvm_probe *out);

#endif
