/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent_commands.c - the control socket's commands that go to the agent in the guest. */
#include "manage/agent/host.h"
#include "manage/control/qmp_impl.h"
#include <errno.h>

static int need_agent(struct qmp_call *c, struct err *e)
{
	return c->vm->agent ? 0 : err_set(e, ENOTSUP, "the machine has no vsock, and no agent");
}

static int query_agent(struct qmp_call *c, json_t **ret, struct err *e)
{
	s64 off = 0;
	u64 sure = 0;
	bool ready = false, known = false;

	if (c->vm->agent) {
		machine_lock(c->vm->m);
		ready = agent_host_ready(c->vm->agent);
		known = agent_host_clock(c->vm->agent, &off, &sure);
		machine_unlock(c->vm->m);
	}
	*ret = json_pack("{s:b}", "ready", ready);
	if (known)
		json_object_update_new(*ret, json_pack("{s:I, s:I}", "clock-was-off-ns",
			(json_int_t)off, "clock-sure-ns", (json_int_t)sure));
	return 0;
}

static int agent_power_off(struct qmp_call *c, json_t **ret, struct err *e)
{
	int r = need_agent(c, e);

	if (r)
		return r;
	machine_lock(c->vm->m);
	r = agent_host_power(c->vm->agent, qmp_bool(c, "reboot", false), e);
	machine_unlock(c->vm->m);
	return r;
}

static const struct qmp_arg power_args[] = { { "reboot", 'b', true }, { NULL, 0, false } };

const struct qmp_command qmp_agent_commands[] = {
	{ .name = "penta-agent-shutdown", .run = agent_power_off, .args = power_args },
	{ .name = "query-penta-agent", .run = query_agent },
	{ .name = NULL },
};
