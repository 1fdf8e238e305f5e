/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hostcheck.h - what a host offers to machines and environments: one finding a line. */
#ifndef PENTA_MANAGE_CLI_HOSTCHECK_H
#define PENTA_MANAGE_CLI_HOSTCHECK_H

#include "base/types.h"
#include "engine/kvm/probe.h"

enum finding_state { FOUND_OK, FOUND_PARTLY, FOUND_NO };
#define FINDINGS_MAX 24

struct finding {
	const char *id;			/* "kvm", "userns": stable names for scripts */
	enum finding_state state;
	char text[256];			/* what is there */
	const char *mend;		/* what would help, or NULL */
};

struct findings {
	struct finding f[FINDINGS_MAX];
	unsigned n;
};

/* The verdict on /dev/kvm, from the cache if it was found since the host booted. */
void host_kvm(struct kvm_probe *p, bool *cached);
void host_check(struct findings *fs, const struct kvm_probe *kvm);

#endif
