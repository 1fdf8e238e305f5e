// SPDX-License-Identifier: GPL-2.0-or-later
/* commands.c - the control socket's commands that look at a machine as a whole. Names, arguments and
 * results are those of QEMU's QMP (qapi/machine.json, run-state.json, misc.json); where penta has no
 * such thing, the command is not there. What is penta's own begins with "penta-". */
#include "base/cleanup.h"
#include "manage/agent/host.h"
#include "manage/control/inspect.h"
#include "manage/control/qmp_impl.h"
#include "virtio/balloon.h"
#include "vm/vcpu.h"
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define VERSION "0.1"

/* --- the protocol's own --- */

static int capabilities(struct qmp_call *c, json_t **ret, struct err *e)
{
	json_t *enable = json_object_get(c->args, "enable");

	return json_array_size(enable) ? err_set(e, EINVAL, "no capability can be enabled") : 0;
}

static int query_version(struct qmp_call *c, json_t **ret, struct err *e)
{
	*ret = json_pack("{s:{s:i,s:i,s:i}, s:s}", "qemu", "major", 0, "minor", 1, "micro", 0,
			 "package", "penta " VERSION);
	return 0;
}

static int query_commands(struct qmp_call *c, json_t **ret, struct err *e)
{
	json_t *list = json_array();

	for (const struct qmp_command *const *t = qmp_commands; *t; t++)
		for (const struct qmp_command *cmd = *t; cmd->name; cmd++)
			json_array_append_new(list, json_pack("{s:s}", "name", cmd->name));
	*ret = list;
	return 0;
}

/* Descriptors. */

static int getfd(struct qmp_call *c, json_t **ret, struct err *e)
{
	const char *name = qmp_string(c, "fdname", "");
	int fd;

	if (!name[0] || (name[0] >= '0' && name[0] <= '9') || strlen(name) > 64)
		return err_set(e, EINVAL, "a descriptor's name has 1 to 64 bytes and does not "
			       "begin with a digit");
	fd = qmp_passed_fd(c, e);
	return fd < 0 ? fd : qmp_name_fd(c, name, fd, e);
}

static int closefd(struct qmp_call *c, json_t **ret, struct err *e)
{
	int fd = qmp_take_fd(c, qmp_string(c, "fdname", ""), e);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

/* --- run state --- */

static const char *status_name(struct machine *m)
{
	switch (atomic_load(&m->status)) {
	case MACHINE_NEW:
		return "prelaunch";
	case MACHINE_RUNNING:
		return "running";
	case MACHINE_OFF:
		return "shutdown";
	case MACHINE_CRASHED:
		return "guest-panicked";
	default:
		return "paused";
	}
}

static int query_status(struct qmp_call *c, json_t **ret, struct err *e)
{
	const char *s = status_name(c->vm->m);

	*ret = json_pack("{s:s, s:b}", "status", s, "running", !strcmp(s, "running"));
	return 0;
}

static int stop(struct qmp_call *c, json_t **ret, struct err *e)
{
	machine_pause(c->vm->m);
	return 0;
}

static int cont(struct qmp_call *c, json_t **ret, struct err *e)
{
	machine_resume(c->vm->m);
	if (atomic_load(&c->vm->m->held))
		return err_set(e, EBUSY, "the machine's state is being taken; it stands until that is done");
	return 0;
}

static int powerdown(struct qmp_call *c, json_t **ret, struct err *e)
{
	if (atomic_load(&c->vm->m->status) != MACHINE_RUNNING)
		return err_set(e, EBUSY, "the machine does not run (it is %s); nobody would see the "
			       "button", status_name(c->vm->m));
	qmp_event(c->qmp, "POWERDOWN", NULL);
	lite_power_button(c->vm->lite);
	return 0;
}

static int reset(struct qmp_call *c, json_t **ret, struct err *e)
{
	if (atomic_load(&c->vm->m->held))
		return err_set(e, EBUSY, "the machine's state is being taken; it stands until that is done");
	machine_lock(c->vm->m);
	machine_request_reset(c->vm->m);
	machine_unlock(c->vm->m);
	return 0;
}

static int quit(struct qmp_call *c, json_t **ret, struct err *e)
{
	vm_quit(c->vm, 0, "quit");
	return 0;
}

static int inject_nmi(struct qmp_call *c, json_t **ret, struct err *e)
{
	for (unsigned i = 0; i < c->vm->m->ncpus; i++)
		vcpu_request(c->vm->m->cpu[i], VCPU_REQ_NMI);
	return 0;
}

/* --- what there is --- */

static int query_name(struct qmp_call *c, json_t **ret, struct err *e)
{
	*ret = json_pack("{s:s*}", "name", c->vm->name);
	return 0;
}

static int query_uuid(struct qmp_call *c, json_t **ret, struct err *e)
{
	const char *uuid = c->vm->cfg.uuid;

	*ret = json_pack("{s:s}", "UUID", uuid ? uuid : "00000000-0000-0000-0000-000000000000");
	return 0;
}

static int query_kvm(struct qmp_call *c, json_t **ret, struct err *e)
{
	bool kvm = !strcmp(c->vm->m->cfg.engine->name, "kvm");

	*ret = json_pack("{s:b, s:b}", "enabled", kvm, "present", kvm);
	return 0;
}

static int query_target(struct qmp_call *c, json_t **ret, struct err *e)
{
	*ret = json_pack("{s:s}", "arch", "x86_64");
	return 0;
}

static int query_cpus(struct qmp_call *c, json_t **ret, struct err *e)
{
	struct machine *m = c->vm->m;
	json_t *list = json_array();

	for (unsigned i = 0; i < m->ncpus; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/machine/cpu[%u]", i);
		json_array_append_new(list, json_pack("{s:i, s:s, s:i, s:s, s:{s:i}}",
			"cpu-index", (int)i, "qom-path", path,
			"thread-id", atomic_load(&m->cpu[i]->tid), "target", "x86_64",
			"props", "core-id", (int)i));
	}
	*ret = list;
	return 0;
}

static int query_memory(struct qmp_call *c, json_t **ret, struct err *e)
{
	*ret = json_pack("{s:I}", "base-memory", (json_int_t)c->vm->cfg.memory);
	return 0;
}

static int query_chardev(struct qmp_call *c, json_t **ret, struct err *e)
{
	const struct vm_config *cfg = &c->vm->cfg;
	json_t *list = json_array();

	for (unsigned i = 0; i < cfg->nserial + cfg->nconsole; i++) {
		bool com = i < cfg->nserial;
		const char *where = com ? cfg->serial[i].where
					: cfg->console[i - cfg->nserial].where;
		char label[16];

		snprintf(label, sizeof(label), com ? "com%u" : "console%u",
			 com ? i + 1 : i - cfg->nserial);
		json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "label", label,
			"filename", where, "frontend-open", 1));
	}
	*ret = list;
	return 0;
}

static int query_block(struct qmp_call *c, json_t **ret, struct err *e)
{
	static const char *const format[] = { "auto", "raw", "qcow2" };	/* VM_DISK_FORMATS */
	static const char *const cache[] = { "writeback", "none", "writethrough", "unsafe" };
	const struct vm_config *cfg = &c->vm->cfg;
	json_t *list = json_array();

	for (unsigned i = 0; i < cfg->ndisk; i++) {
		const struct vm_disk *d = &cfg->disk[i];
		char dev[16];

		snprintf(dev, sizeof(dev), "disk%u", i);
		json_array_append_new(list, json_pack(
			"{s:s, s:s, s:b, s:b, s:s, s:{s:s, s:b, s:s, s:{s:b, s:b, s:b}, s:s}}",
			"device", dev, "qdev", dev, "removable", 0, "locked", 0,
			"type", "unknown", "inserted", "file", d->path, "ro", d->ro,
			"drv", format[d->format], "cache", "writeback", d->cache != 2,
			"direct", d->cache == 1, "no-flush", d->cache == 3,
			"penta-cache", cache[d->cache]));
	}
	*ret = list;
	return 0;
}

/* --- the balloon --- */

static int no_balloon(struct err *e)
{
	return err_set(e, ENODEV, "the machine has no balloon (--balloon on)");
}

static int query_balloon(struct qmp_call *c, json_t **ret, struct err *e)
{
	u64 size, back;

	if (!c->vm->balloon)
		return no_balloon(e);
	machine_lock(c->vm->m);
	size = balloon_size(c->vm->balloon);
	back = balloon_reported(c->vm->balloon);
	machine_unlock(c->vm->m);
	*ret = json_pack("{s:I, s:I}", "actual", (json_int_t)size, "penta-reported",
			 (json_int_t)back);
	return 0;
}

static int set_balloon(struct qmp_call *c, json_t **ret, struct err *e)
{
	s64 value = qmp_integer(c, "value", 0);
	int r;

	if (!c->vm->balloon)
		return no_balloon(e);
	if (value < 0)
		return err_set(e, EINVAL, "value: a number of bytes is needed");
	machine_lock(c->vm->m);
	r = balloon_set_size(c->vm->balloon, (u64)value, e);
	machine_unlock(c->vm->m);
	return r == -ENODEV ? 0 : r;	/* the guest is told when its driver comes */
}

/* --- penta's own --- */

static int penta_info(struct qmp_call *c, json_t **ret, struct err *e)
{
	struct vm *vm = c->vm;
	struct timespec now;
	struct rusage ru;

	clock_gettime(CLOCK_MONOTONIC, &now);
	getrusage(RUSAGE_SELF, &ru);
	*ret = json_pack("{s:s*, s:s, s:s, s:i, s:I, s:I, s:f, s:f, s:o}",
		"name", vm->name, "status", status_name(vm->m), "engine", vm->m->cfg.engine->name,
		"cpus", (int)vm->m->ncpus, "memory", (json_int_t)vm->cfg.memory,
		"pid", (json_int_t)getpid(),
		"uptime", (double)(now.tv_sec - vm->started.tv_sec) +
			  (double)(now.tv_nsec - vm->started.tv_nsec) / 1e9,
		"cpu-seconds", (double)ru.ru_utime.tv_sec + (double)ru.ru_utime.tv_usec / 1e6 +
			       (double)ru.ru_stime.tv_sec + (double)ru.ru_stime.tv_usec / 1e6,
		"config", vm_config_json(&vm->cfg));
	return 0;
}

/* Settings that take effect while the machine runs. The file is the CLI's to change. */
static int penta_set(struct qmp_call *c, json_t **ret, struct err *e)
{
	const char *name = qmp_string(c, "name", ""), *value = qmp_string(c, "value", NULL);
	const struct config_field *f = vm_config_find(name);
	int r = 0;

	if (!f || !f->live || f->type == FIELD_LIST)
		return err_set(e, EINVAL, "%.80s cannot be changed while the machine runs", name);
	machine_lock(c->vm->m);
	if (value)
		r = vm_config_set(&c->vm->cfg, f, value, name, e);
	else
		vm_config_unset(&c->vm->cfg, f);
	c->vm->m->cfg.on_crash = (enum on_crash)c->vm->cfg.on_crash;
	machine_unlock(c->vm->m);
	return r;
}

static int penta_inspect(struct qmp_call *c, json_t **ret, struct err *e)
{
	return inspect(c->vm->m, qmp_string(c, "path", NULL), ret, e);
}

/* Of the terminal that shows the machine's console. A serial port has no size to tell: its guest hears of
 * it by the agent. */
static int console_size(struct qmp_call *c, json_t **ret, struct err *e)
{
	const struct vm_config *cfg = &c->vm->cfg;
	s64 columns = qmp_integer(c, "columns", 0), rows = qmp_integer(c, "rows", 0);

	if (columns < 1 || rows < 1 || columns > UINT16_MAX || rows > UINT16_MAX)
		return err_set(e, EINVAL, "a console has 1 to 65535 columns and rows");
	machine_lock(c->vm->m);
	for (unsigned i = 0; i < cfg->nconsole; i++)
		if (!strcmp(cfg->console[i].where, "console"))
			lite_resize_console(c->vm->lite, "console", i, (u16)columns, (u16)rows);
	if (c->vm->agent)
		agent_host_size(c->vm->agent, (u16)rows, (u16)columns);
	machine_unlock(c->vm->m);
	return 0;
}

/* --- tables --- */

static const struct qmp_arg enable_args[] = { { "enable", 'a', true }, { 0 } };
static const struct qmp_arg fdname_args[] = { { "fdname", 's', false }, { 0 } };
static const struct qmp_arg value_args[] = { { "value", 'i', false }, { 0 } };
static const struct qmp_arg set_args[] = { { "name", 's', false }, { "value", 's', true }, { 0 } };
static const struct qmp_arg size_args[] = { { "columns", 'i', false }, { "rows", 'i', false },
					    { 0 } };
static const struct qmp_arg path_args[] = { { "path", 's', true }, { 0 } };

static const struct qmp_command basic_commands[] = {
	{ "qmp_capabilities", capabilities, enable_args, false },
	{ "query-version", query_version, NULL, false },
	{ "query-commands", query_commands, NULL, false },
	{ "getfd", getfd, fdname_args, false },
	{ "closefd", closefd, fdname_args, false },
	{ "query-status", query_status, NULL, false },
	{ "stop", stop, NULL, false },
	{ "cont", cont, NULL, false },
	{ "system_powerdown", powerdown, NULL, false },
	{ "system_reset", reset, NULL, false },
	{ "quit", quit, NULL, false },
	{ "inject-nmi", inject_nmi, NULL, false },
	{ "query-name", query_name, NULL, false },
	{ "query-uuid", query_uuid, NULL, false },
	{ "query-kvm", query_kvm, NULL, false },
	{ "query-target", query_target, NULL, false },
	{ "query-cpus-fast", query_cpus, NULL, false },
	{ "query-memory-size-summary", query_memory, NULL, false },
	{ "query-chardev", query_chardev, NULL, false },
	{ "query-block", query_block, NULL, false },
	{ "query-balloon", query_balloon, NULL, false },
	{ "balloon", set_balloon, value_args, false },
	{ "penta-info", penta_info, NULL, false },
	{ "penta-set", penta_set, set_args, false },
	{ "penta-console-size", console_size, size_args, false },
	{ "penta-inspect", penta_inspect, path_args, true },
	{ 0 }
};

const struct qmp_command *const qmp_commands[] = {
	basic_commands,
	qmp_fdset_commands,
	qmp_state_commands,
	qmp_agent_commands,
	NULL
};

const struct qmp_command *qmp_find(const char *name)
{
	for (const struct qmp_command *const *t = qmp_commands; *t; t++)
		for (const struct qmp_command *c = *t; c->name; c++)
			if (!strcmp(c->name, name))
				return c;
	return NULL;
}

const char *qmp_string(const struct qmp_call *c, const char *name, const char *def)
{
	const json_t *v = json_object_get(c->args, name);

	return json_is_string(v) ? json_string_value(v) : def;
}

s64 qmp_integer(const struct qmp_call *c, const char *name, s64 def)
{
	const json_t *v = json_object_get(c->args, name);

	return json_is_integer(v) ? json_integer_value(v) : def;
}

bool qmp_bool(const struct qmp_call *c, const char *name, bool def)
{
	const json_t *v = json_object_get(c->args, name);

	return json_is_boolean(v) ? json_is_true(v) : def;
}
