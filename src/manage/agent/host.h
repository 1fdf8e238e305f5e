/* SPDX-License-Identifier: GPL-2.0-or-later */
/* host.h - what a machine's process wants of the agent in its guest: the right time after a pause, the
 * size of its consoles, a shutdown. It connects by itself, again and again: guests boot, reboot, and are
 * restored. All calls come with the machine lock held. */
#ifndef PENTA_MANAGE_AGENT_HOST_H
#define PENTA_MANAGE_AGENT_HOST_H

#include "base/err.h"
#include "base/types.h"
#include "vm/device.h"

struct machine;
struct vsock;
struct agent_host;

/* A machine device of its own, to be added after the vsock, under the path "agent". */
extern const struct device_class agent_host_class;
int agent_host_new(struct agent_host **out, struct machine *m, struct vsock *v, struct err *e);

/* The agent has greeted, and is there. */
bool agent_host_ready(const struct agent_host *a);
/* The terminal that the guest's console is on has this size; told now, and to each agent that comes. */
void agent_host_size(struct agent_host *a, u16 rows, u16 cols);
/* Ask the guest to shut down, or to reboot, from within. -ENOTCONN: no agent is there. */
int agent_host_power(struct agent_host *a, bool reboot, struct err *e);
/* How far the guest's clock was off when it was last looked at, ns, before it was set; and how sure that
 * is: half the round trip. False: never looked. */
bool agent_host_clock(const struct agent_host *a, s64 *off_ns, u64 *sure_ns);

#endif
