// SPDX-License-Identifier: GPL-2.0-or-later
/* assemble.c - a machine from its configuration. See assemble.h. */
#include "manage/machine/assemble.h"
#include "base/cleanup.h"
#include "base/sandbox.h"
#include <errno.h>
#include <string.h>
#include <sys/random.h>

/* --- what the configuration says in words --- */

static int pick_engine(const struct engine_ops **engine, unsigned choice, struct err *e)
{
	enum { AUTO, SOFT, KVM };	/* VM_ENGINES */

	if (choice == KVM)
		return err_set(e, ENOTSUP, "--engine kvm: this version has no kvm engine yet; use "
			       "--engine soft, which needs no /dev/kvm");
	*engine = &engine_soft;
	return 0;
}

static int open_blob(struct blob *b, const char *path, struct err *e)
{
	return path ? blob_open(b, path, e) : 0;
}

static int fill(struct vm *vm, struct err *e)
{
	const struct vm_config *c = &vm->cfg;
	struct boot_request *boot = &vm->lc.boot;
	struct machine_config *m = &vm->lc.machine;
	int r;

	m->ram_size = c->memory;
	m->ncpus = c->cpus;
	m->cpu_model = cpu_model_find(c->cpu ? c->cpu : "max");
	m->on_crash = (enum on_crash)c->on_crash;
	m->sandbox = vm->sandbox;
	boot->how = (enum boot_how)c->boot;
	boot->cmdline = c->append ? c->append : "";
	if (getrandom(&boot->seed, sizeof(boot->seed), 0) < 0)
		boot->seed = 0;
	r = pick_engine(&m->engine, c->engine, e);
	if (!r)
		r = open_blob(&boot->kernel, c->kernel, e);
	if (!r)
		r = open_blob(&boot->initrd, c->initrd, e);
	if (!r)
		r = open_blob(&boot->firmware, c->firmware, e);
	return r;
}

/* --- what is plugged into the board, in the order in which the guest finds it --- */

static int open_serial(void *ctx, unsigned n, struct loop *loop, struct chardev **be,
		       struct err *e)
{
	struct vm *vm = ctx;

	if (n >= vm->cfg.nserial)
		return 0;
	return serial_open(&vm->serial[n], vm->cfg.serial[n].where, "--serial", loop, vm->filter,
			   be, e);
}

static int not_yet(const char *option, struct err *e)
{
	return err_set(e, ENOTSUP, "%s: this version has no such device yet", option);
}

static int add_disks(struct vm *vm, struct err *e)
{
	return vm->cfg.ndisk ? not_yet("--disk", e) : 0;
}

static int add_nets(struct vm *vm, struct err *e)
{
	return vm->cfg.nnet ? not_yet("--net", e) : 0;
}

static int add_consoles(struct vm *vm, struct err *e)
{
	return vm->cfg.nconsole ? not_yet("--console", e) : 0;
}

static int add_shares(struct vm *vm, struct err *e)
{
	return vm->cfg.nshare ? not_yet("--share", e) : 0;
}

static int add_vsock(struct vm *vm, struct err *e)
{
	return vm->cfg.vsock ? not_yet("--vsock", e) : 0;
}

static int add_rng(struct vm *vm, struct err *e)
{
	return vm->cfg.rng ? not_yet("--rng", e) : 0;
}

static int add_balloon(struct vm *vm, struct err *e)
{
	return vm->cfg.balloon ? not_yet("--balloon", e) : 0;
}

static int plug(struct vm *vm, struct err *e)
{
	static int (*const adders[])(struct vm *vm, struct err *e) = {
		add_disks, add_nets, add_consoles, add_shares, add_vsock, add_rng, add_balloon,
	};

	for (size_t i = 0; i < ARRAY_SIZE(adders); i++) {
		int r = adders[i](vm, e);

		if (r)
			return r;
	}
	return 0;
}

/* --- the whole --- */

int vm_new(struct vm **out, const struct vm_params *p, struct err *e)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	int r;

	if (!vm)
		return err_set(e, ENOMEM, "out of memory");
	vm->lc = (struct lite_config){
		.boot = { .kernel = BLOB_NONE, .initrd = BLOB_NONE, .firmware = BLOB_NONE },
		.open_serial = open_serial, .ctx = vm,
	};
	for (unsigned i = 0; i < VM_SERIALS; i++)
		vm->serial[i] = SERIAL_NONE;
	for (unsigned i = 0; i < VM_CONSOLES; i++)
		vm->console[i] = SERIAL_NONE;
	vm->filter = p->filter;
	r = vm_config_copy(&vm->cfg, p->cfg, e);
	if (!r && p->name && !(vm->name = strdup(p->name)))
		r = err_set(e, ENOMEM, "out of memory");
	if (!r)
		r = fill(vm, e);
	if (!r)
		r = lite_new(&vm->lite, &vm->lc, e);
	if (!r) {
		vm->m = lite_machine(vm->lite);
		r = plug(vm, e);
	}
	if (!r && !p->restore)
		r = lite_load(vm->lite, e);
	if (r) {
		vm_free(vm);
		return r;
	}
	*out = vm;
	return 0;
}

int vm_seal(struct vm *vm, struct err *e)
{
	return 0;
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	lite_free(vm->lite);
	for (unsigned i = 0; i < VM_SERIALS; i++)
		serial_close(&vm->serial[i]);
	for (unsigned i = 0; i < VM_CONSOLES; i++)
		serial_close(&vm->console[i]);
	blob_close(&vm->lc.boot.kernel);
	blob_close(&vm->lc.boot.initrd);
	blob_close(&vm->lc.boot.firmware);
	vm_config_free(&vm->cfg);
	free(vm->name);
	free(vm);
}
