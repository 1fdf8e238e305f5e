// SPDX-License-Identifier: GPL-2.0-or-later
/* reset.c - ports that reset a PC: CF9 (reset control), 92 (system control port A), and for
 * machines without an 8042 the one thing of it that kernels reboot by: command FE at port 64.
 * After: Intel ICH9 (316972-004), 13.7.2 and 13.7.5; IBM PS/2 Model 50/60 TRM (8042 commands).
 *
 * CF9 and 64 reset the machine. Port 92's fast init is an INIT to the processors: software of the
 * 286's time leaves protected mode by it and must find chips and memory as they were. */
#include "dev/reset.h"

#include "base/trace.h"
#include "vm/machine.h"

#include <errno.h>
#include <stdlib.h>

DEFINE_TRACE(reset_port, "reset.port");

#define PORT_CF9	0xcf9
#define CF9_SYS		0x02	/* RW: hard rather than soft; the same here */
#define CF9_CPU		0x04	/* RW: 0 to 1 resets */
#define CF9_FULL	0x08	/* RW: also cycle power; kept */
#define CF9_BITS	(CF9_SYS | CF9_CPU | CF9_FULL)

#define PORT_92		0x92
#define P92_INIT	0x01	/* W: 0 to 1 initialises the processors */
#define P92_A20		0x02	/* RW */

#define PORT_64		0x64
#define KBD_RESET	0xfe
/* No controller: output always full, so that probes give up soon; input never full, so that who
 * waits to send FE does not wait. */
#define KBD_STATUS	0xfd

struct reset_ctl {
	struct machine *m;
	unsigned nmapped, nports;
	u8 cf9, p92;
};

static u64 cf9_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	return ((struct reset_ctl *)dev)->cf9;
}

static void cf9_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct reset_ctl *r = dev;
	bool fire = (val & CF9_CPU) && !(r->cf9 & CF9_CPU);

	r->cf9 = val & CF9_BITS;
	if (fire) {
		TRACE(reset_port, "cf9 %#x", (unsigned)val);
		machine_request_reset(r->m);
	}
}

static u64 p92_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	struct reset_ctl *r = dev;

	return (r->p92 & ~P92_A20) | (r->m->a20 ? P92_A20 : 0);	/* the 8042 drives the gate too */
}

static void p92_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct reset_ctl *r = dev;
	bool init = (val & P92_INIT) && !(r->p92 & P92_INIT), a20 = val & P92_A20;

	r->p92 = val;
	if (r->m->a20 != a20) {
		r->m->a20 = a20;
		if (r->m->cfg.engine && r->m->cfg.engine->memory_changed)
			r->m->cfg.engine->memory_changed(r->m);
	}
	if (init) {
		TRACE(reset_port, "92 %#x", (unsigned)val);
		for (unsigned i = 0; i < r->m->ncpus; i++)
			vcpu_request(r->m->cpu[i], VCPU_REQ_INIT);
	}
}

static u64 kbd_read(void *dev, struct vcpu *by, u64 off, unsigned len) { return KBD_STATUS; }

static void kbd_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct reset_ctl *r = dev;

	if (val != KBD_RESET)
		return;
	TRACE(reset_port, "64 %#x", (unsigned)val);
	machine_request_reset(r->m);
}

static const struct region_ops cf9_ops = {
	.read = cf9_read, .write = cf9_write, .impl_min = 1, .impl_max = 1,
};
static const struct region_ops p92_ops = {
	.read = p92_read, .write = p92_write, .impl_min = 1, .impl_max = 1,
};
static const struct region_ops kbd_ops = {
	.read = kbd_read, .write = kbd_write, .impl_min = 1, .impl_max = 1,
};

static const struct {
	u16 port;
	const struct region_ops *ops;
	const char *name;
} reset_ports[] = {
	{ PORT_CF9, &cf9_ops, "reset-control" }, { PORT_92, &p92_ops, "port92" },
	{ PORT_64, &kbd_ops, "kbd-reset" },
};

/* The A20 gate is the machine's and open after its reset. */
static void reset_ctl_reset(void *dev)
{
	struct reset_ctl *r = dev;

	r->cf9 = 0;
	r->p92 = P92_A20;
}

static void reset_ctl_free(void *dev)
{
	struct reset_ctl *r = dev;

	if (!r)
		return;
	while (r->nmapped) {
		r->nmapped--;
		bus_unmap(r->m->ports, reset_ports[r->nmapped].port, 1, r);
	}
	free(r);
}

int reset_ctl_new(struct reset_ctl **out, struct machine *m, bool kbd64, struct err *e)
{
	struct reset_ctl *r = calloc(1, sizeof(*r));

	if (!r)
		return err_set(e, ENOMEM, "no memory for the reset ports");
	r->m = m;
	r->nports = kbd64 ? 3 : 2;
	for (; r->nmapped < r->nports; r->nmapped++) {
		int rc = bus_map(m->ports, reset_ports[r->nmapped].port, 1,
				 reset_ports[r->nmapped].ops, r, reset_ports[r->nmapped].name, 0, e);

		if (rc) {
			reset_ctl_free(r);
			return rc;
		}
	}
	reset_ctl_reset(r);
	*out = r;
	return 0;
}

static const struct state_field reset_ctl_state[] = {
	STATE_U8(struct reset_ctl, cf9, 0, CF9_BITS),
	STATE_U8(struct reset_ctl, p92, 0, 0xff),
	STATE_END
};

const struct device_class reset_ctl_class = {
	.name = "reset",
	.version = 1,
	.state = reset_ctl_state,
	.reset = reset_ctl_reset,
	.free = reset_ctl_free,
};
