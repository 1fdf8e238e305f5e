/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lite.h - the smallest machine that stock kernels boot on, without firmware. */
#ifndef PENTA_PLATFORM_LITE_LITE_H
#define PENTA_PLATFORM_LITE_LITE_H

#include "platform/boot/boot.h"
#include "vm/chardev.h"
#include "vm/machine.h"

#define LITE_SERIALS 2

struct lite_config {
	struct machine_config machine;
	struct boot_request boot;	/* blobs are borrowed and must stay open */
	/* What serial port @n (0: COM1) is plugged into; @loop is the machine's. *@be, which the
	 * machine then owns, may stay NULL: nothing. */
	int (*open_serial)(void *ctx, unsigned n, struct loop *loop, struct chardev **be,
			   struct err *e);
	void *ctx;
};

struct lite;

/* Make the machine and load what it boots. Nothing runs yet: machine_start() does that. */
int lite_new(struct lite **out, const struct lite_config *cfg, struct err *e);
/* The parts above need: start, run, pause... Borrowed. */
struct machine *lite_machine(struct lite *l);
void lite_free(struct lite *l);		/* accepts NULL */
/* What entry was taken, for people: "vmlinux from bzImage". Borrowed. */
const char *lite_boot_what(const struct lite *l);
/* As if somebody pressed it. Any thread. */
void lite_power_button(struct lite *l);

#endif
