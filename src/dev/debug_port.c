// SPDX-License-Identifier: GPL-2.0-or-later
/* debug_port.c - ports that only virtual machines have: end with an exit code, print a character.
 * After: what test guests and firmware expect of isa-debug-exit (exit code (v << 1) | 1, so never
 * 0) and of the debug console (reads return E9 where there is one). */
#include "dev/debug_port.h"

#include "base/trace.h"
#include "vm/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

DEFINE_TRACE(debug_exit_code, "debugexit.code");
DEFINE_TRACE(debug_con_text, "debugcon.text");

/* --- exit --- */

#define EXIT_LEN	4	/* ports; accesses of 1, 2 or 4 bytes at the first */

struct debug_exit {
	struct machine *m;
	u16 port;
	bool mapped;
};

static u64 exit_read(void *dev, struct vcpu *by, u64 off, unsigned len) { return 0; }

static void exit_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct debug_exit *d = dev;

	if (off)
		return;
	TRACE(debug_exit_code, "%#llx", (unsigned long long)val);
	machine_request_exit(d->m, (int)((u32)val << 1 | 1));
}

static const struct region_ops exit_ops = {
	.read = exit_read, .write = exit_write, .impl_min = 1, .impl_max = 4,
};

static void debug_exit_reset(void *dev) { }

static void debug_exit_free(void *dev)
{
	struct debug_exit *d = dev;

	if (!d)
		return;
	if (d->mapped)
		bus_unmap(d->m->ports, d->port, EXIT_LEN, d);
	free(d);
}

int debug_exit_new(struct debug_exit **out, struct machine *m, u16 port, struct err *e)
{
	struct debug_exit *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return err_set(e, ENOMEM, "no memory for the debug exit port");
	d->m = m;
	d->port = port;
	rc = bus_map(m->ports, port, EXIT_LEN, &exit_ops, d, "debug-exit", 0, e);
	if (rc) {
		debug_exit_free(d);
		return rc;
	}
	d->mapped = true;
	*out = d;
	return 0;
}

static const struct state_field no_state[] = { STATE_END };

const struct device_class debug_exit_class = {
	.name = "debug_exit",
	.version = 1,
	.state = no_state,
	.reset = debug_exit_reset,
	.free = debug_exit_free,
};

/* --- console --- */

#define CON_PRESENT	0xe9
#define LINE_MAX_	160

struct debug_con {
	struct machine *m;
	struct chardev *be;
	u16 port;
	bool mapped;
	char line[LINE_MAX_ + 1];	/* for the trace, gathered to lines */
	unsigned n;
};

static u64 con_read(void *dev, struct vcpu *by, u64 off, unsigned len) { return CON_PRESENT; }

static void trace_char(struct debug_con *d, char c)
{
	if (c != '\n' && d->n < LINE_MAX_) {
		d->line[d->n++] = c >= ' ' && c < 127 ? c : '.';
		return;
	}
	d->line[d->n] = 0;
	TRACE(debug_con_text, "%s", d->line);
	d->n = 0;
}

/* Nobody waits on this port: what a stuck back end does not take is lost. */
static void con_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct debug_con *d = dev;
	u8 c = val;

	chardev_send(d->be, &c, 1);
	if (TRACE_ON(debug_con_text))
		trace_char(d, c);
}

static const struct region_ops con_ops = {
	.read = con_read, .write = con_write, .impl_min = 1, .impl_max = 1,
};

static size_t con_room(void *dev) { return 0; }
static void con_recv(void *dev, const u8 *buf, size_t len) { }
static void con_gone(void *dev) { ((struct debug_con *)dev)->be = NULL; }

static const struct chardev_front con_front = {
	.room = con_room, .recv = con_recv, .gone = con_gone,
};

static void debug_con_reset(void *dev) { ((struct debug_con *)dev)->n = 0; }

static void debug_con_free(void *dev)
{
	struct debug_con *d = dev;

	if (!d)
		return;
	if (d->be)
		chardev_detach(d->be);
	if (d->mapped)
		bus_unmap(d->m->ports, d->port, 1, d);
	free(d);
}

int debug_con_new(struct debug_con **out, struct machine *m, u16 port, struct chardev *be,
		  struct err *e)
{
	struct debug_con *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return err_set(e, ENOMEM, "no memory for the debug console");
	d->m = m;
	d->port = port;
	rc = bus_map(m->ports, port, 1, &con_ops, d, "debug-console", 0, e);
	if (rc) {
		debug_con_free(d);
		return rc;
	}
	d->mapped = true;
	if (be) {
		d->be = be;
		chardev_attach(be, &con_front, d);
	}
	*out = d;
	return 0;
}

const struct device_class debug_con_class = {
	.name = "debug_con",
	.version = 1,
	.state = no_state,
	.reset = debug_con_reset,
	.free = debug_con_free,
};
