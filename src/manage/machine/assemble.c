// SPDX-License-Identifier: GPL-2.0-or-later
/* assemble.c - a machine from its configuration. See assemble.h. */
#include "manage/machine/assemble.h"
#include "manage/agent/host.h"
#include "base/cleanup.h"
#include "base/janitor.h"
#include "base/privilege.h"
#include "base/sandbox.h"
#include "block/block.h"
#include "manage/machine/console.h"
#include "manage/machine/folder.h"
#include "manage/machine/vsock_place.h"
#include "net/net.h"
#include "virtio/vsock.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <stdatomic.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

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

static int open_console(struct vm *vm, const char *what, struct loop *loop, struct chardev **be,
			struct err *e)
{
	const struct vm_params *p = vm->params;
	struct vm_console *c;
	struct stat st;
	int sock, log, r;

	if (!p->folder)
		return err_set(e, EINVAL, "%s console: only a machine with a name has one; try %s "
			       "terminal", what, what);
	if (!fstatat(p->folder->fd, "console.log", &st, 0) && st.st_size > CONSOLE_LOG_MAX / 4)
		renameat(p->folder->fd, "console.log", p->folder->fd, "console.log.old");
	log = openat(p->folder->fd, "console.log",
		     O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (log < 0)
		return err_errno(e, "open %s/console.log", p->folder->path);
	sock = folder_listen(p->folder, "console.sock", e);
	r = sock < 0 ? sock : janitor_remove(vm->janitor, "console.sock", e);
	if (r) {
		close(log);
		cleanup_closep(&sock);
		return r;
	}
	r = vm_console_new(&c, loop, sock, log, e);
	if (r)
		return r;
	*be = vm_console_chardev(c);
	if (p->on_terminal)
		r = vm_console_view(c, STDIN_FILENO, STDOUT_FILENO, p->filter, e);
	if (r) {
		chardev_free(*be);
		*be = NULL;
	}
	return r;
}

static int open_where(struct vm *vm, struct serial *s, const char *where, const char *what,
		      struct loop *loop, struct chardev **be, struct err *e)
{
	if (!strcmp(where, "console"))
		return open_console(vm, what, loop, be, e);
	s->janitor = vm->janitor;
	return serial_open(s, where, what, loop, vm->params->filter, be, e);
}

static int open_serial(void *ctx, unsigned n, struct loop *loop, struct chardev **be,
		       struct err *e)
{
	struct vm *vm = ctx;

	return n < vm->cfg.nserial ? open_where(vm, &vm->serial[n], vm->cfg.serial[n].where,
						"--serial", loop, be, e) : 0;
}

static int add_disks(struct vm *vm, struct err *e)
{
	static const char *const formats[] = { NULL, "raw", "qcow2" };	/* VM_DISK_FORMATS */
	int r = 0;

	for (unsigned i = 0; !r && i < vm->cfg.ndisk; i++) {
		const struct vm_disk *c = &vm->cfg.disk[i];
		struct block_options o = {
			.format = formats[c->format], .readonly = c->ro,
			.cache = (enum block_cache)c->cache, .discard = c->discard,
			.sandbox = vm->sandbox,
		};
		struct lite_disk d = { .serial = c->serial, .queues = c->queues,
					.packed = c->packed };
		char name[24];

		r = block_open(&d.block, vm->m->loop, c->path, &o, e);
		if (r)
			break;
		vm->disk[i] = d.block;
		snprintf(name, sizeof(name), "disk%u", i);
		d.name = name;
		r = lite_add_disk(vm->lite, &d, e);
		if (!r && i == 0)
			r = lite_boot_from(vm->lite, d.block, c->path, e);
	}
	return r;
}

/* Where this user's switches meet, as the XDG base directory specification has it. */
static void runtime_dir(char *buf, size_t len)
{
	const char *dir = getenv("XDG_RUNTIME_DIR");

	if (dir && dir[0] == '/')
		snprintf(buf, len, "%s/penta", dir);
	else if (geteuid() == 0)
		snprintf(buf, len, "/run/penta");
	else
		snprintf(buf, len, "/tmp/penta-%u", (unsigned)geteuid());
}

static int add_net(struct vm *vm, unsigned i, struct err *e)
{
	const struct vm_net *n = &vm->cfg.net[i];
	struct lite_net ln = { 0 };
	char name[24], dir[PATH_MAX], more[64] = "";
	struct net_env env = {
		.loop = lite_machine(vm->lite)->loop, .clock = lite_machine(vm->lite)->clock,
		.runtime_dir = dir, .machine = vm->name,
		.janitor = vm->janitor,
		.pcap = i < vm->cfg.npcap ? vm->cfg.pcap[i].path : NULL,
	};
	cleanup_free char *spec = NULL;
	struct net_card card;
	size_t at = 0;
	int r;

	runtime_dir(dir, sizeof(dir));
	if (n->mac)
		at += (size_t)snprintf(more + at, sizeof(more) - at, ",mac=%s", n->mac);
	if (n->queues)
		at += (size_t)snprintf(more + at, sizeof(more) - at, ",queues=%u", n->queues);
	if (n->mtu)
		snprintf(more + at, sizeof(more) - at, ",mtu=%u", n->mtu);
	if (asprintf(&spec, "%s%s", n->spec, more) < 0)
		return err_set(e, ENOMEM, "out of memory");
	snprintf(name, sizeof(name), "net%u", i);
	r = net_open(&ln.net, &card, spec, &env, e);
	if (r)
		return err_context(e, "--net");
	if (!ln.net)
		return 0;
	ln.name = name;
	memcpy(ln.mac, card.mac, 6);
	ln.queues = card.queues;
	ln.mtu = card.mtu;
	ln.packed = n->packed;
	return lite_add_net(vm->lite, &ln, e);
}

static int add_nets(struct vm *vm, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < vm->cfg.nnet && !r; i++)
		r = add_net(vm, i, e);
	return r;
}

/* A console is a device of its own; all named channels share one. */
static int add_consoles(struct vm *vm, struct err *e)
{
	struct lite_console named = { .name = "ports" };
	int r = 0;

	for (unsigned i = 0; !r && i < vm->cfg.nconsole; i++) {
		const struct vm_port *c = &vm->cfg.console[i];
		struct lite_console one = { .nports = 1 };
		struct chardev *be = NULL;
		char name[24];

		vm->console[i].janitor = vm->janitor;
		if (c->name)
			r = serial_open_channel(&vm->console[i], c->where, "--console", vm->m->loop, &be, e);
		else
			r = open_where(vm, &vm->console[i], c->where, "--console", vm->m->loop, &be, e);
		if (!r && c->name) {
			named.port[named.nports].name = c->name;
			named.port[named.nports++].be = be;
		} else if (!r) {
			snprintf(name, sizeof(name), "console%u", i);
			one.name = name;
			one.port[0].be = be;
			r = lite_add_console(vm->lite, &one, e);
		}
	}
	if (r) {
		for (unsigned i = 0; i < named.nports; i++)
			chardev_free(named.port[i].be);
		return r;
	}
	return named.nports ? lite_add_console(vm->lite, &named, e) : 0;
}

static int add_shares(struct vm *vm, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; !r && i < vm->cfg.nshare; i++) {
		const struct vm_share *c = &vm->cfg.share[i];
		char name[24];
		struct lite_share s = { .name = name, .tag = c->tag ? c->tag : name,
					.readonly = c->ro, .mapped = c->mapped };

		snprintf(name, sizeof(name), "share%u", i);
		s.dir_fd = open(c->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (s.dir_fd < 0)
			return err_errno(e, "--share %s", c->dir);
		r = lite_add_share(vm->lite, &s, e);
	}
	return r;
}

/* Our end of the agent in the guest, if there will be one; it needs the vsock, whose adding gave @r. */
static int add_agent(struct vm *vm, int r, struct err *e)
{
	if (r)
		return r;
	machine_lock(vm->m);
	r = agent_host_new(&vm->agent, vm->m, vm->vsock, e);
	if (!r)
		r = machine_add_device(vm->m, &agent_host_class, vm->agent, "agent", e);
	machine_unlock(vm->m);
	return r;
}

static int add_vsock(struct vm *vm, struct err *e)
{
	struct lite_vsock v = {
		.name = "vsock", .listen_fd = -1, .host_dir_fd = -1,
		.cid = vm->cfg.vsock == VM_CID_AUTO ? VSOCK_CID_GUEST : vm->cfg.vsock,
	};
	int r;

	if (!vm->cfg.vsock)
		return 0;
	r = vsock_place(vm, &v.listen_fd, &v.host_dir_fd, e);
	if (!r)
		return add_agent(vm, lite_add_vsock(vm->lite, &v, &vm->vsock, e), e);
	cleanup_closep(&v.listen_fd);
	cleanup_closep(&v.host_dir_fd);
	return r;
}

static int add_balloon(struct vm *vm, struct err *e)
{
	return vm->cfg.balloon ? lite_add_balloon(vm->lite, "balloon", 0, &vm->balloon, e) : 0;
}

static int plug(struct vm *vm, struct err *e)
{
	static int (*const adders[])(struct vm *vm, struct err *e) = {
		add_disks, add_nets, add_consoles, add_shares, add_vsock, add_balloon,
	};

	for (size_t i = 0; i < ARRAY_SIZE(adders); i++) {
		int r = adders[i](vm, e);

		if (r)
			return r;
	}
	return 0;
}

/* --- rights --- */

static bool has_sockets(const struct vm_config *c)
{
	if (c->vsock)
		return true;
	for (unsigned i = 0; i < c->nserial; i++)
		if (!strncmp(c->serial[i].where, "unix:", 5))
			return true;
	for (unsigned i = 0; i < c->nconsole; i++)
		if (!strncmp(c->console[i].where, "unix:", 5))
			return true;
	return false;
}

/* Which parts the machine has that need calls of their own. */
static u32 needs(const struct vm_config *c)
{
	u32 n = 0;
	struct stat st;

	for (unsigned i = 0; i < c->nnet; i++) {
		if (!strncmp(c->net[i].spec, "user", 4))
			n |= SANDBOX_NEED_INET;
		else if (!strncmp(c->net[i].spec, "switch", 6))
			n |= SANDBOX_NEED_UNIX;
		else if (strcmp(c->net[i].spec, "none"))
			n |= SANDBOX_NEED_TAP;
	}
	if (c->vsock)
		n |= SANDBOX_NEED_UNIX;
	if (c->ndisk)
		n |= SANDBOX_NEED_URING;
	for (unsigned i = 0; i < c->ndisk; i++)
		if (!stat(c->disk[i].path, &st) && S_ISBLK(st.st_mode))
			n |= SANDBOX_NEED_BLOCKDEV;
	return n;
}

static int prepare_rights(struct vm *vm, bool sockets, struct err *e)
{
	const struct privileges p = { .user = vm->cfg.user };
	struct privileges_target t;
	int r = 0;

	if (sockets || vm->name || has_sockets(&vm->cfg))
		r = janitor_new(&vm->janitor, e);
	if (!r && vm->cfg.sandbox)
		r = sandbox_new(&vm->sandbox, needs(&vm->cfg), e);
	if (!r && vm->sandbox)
		r = privileges_find(&t, &p, e);
	if (!r && vm->sandbox)
		sandbox_become(vm->sandbox, &t);
	return r;
}

int vm_seal(struct vm *vm, struct err *e)
{
	const struct privileges p = { .user = vm->cfg.user };

	janitor_seal(vm->janitor);
	return vm->sandbox ? privileges_drop(&p, e) : 0;
}

void vm_enter(struct vm *vm)
{
	sandbox_enter(vm->sandbox, SANDBOX_IO);
}

/* --- the whole --- */

/* What guests may have open is a part of what the process may: as many as it gets, which is 1024 by
 * habit. Beyond FDS_WANTED nothing gains. */
static void raise_fd_limit(void)
{
	enum { FDS_WANTED = 65536 };
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < MIN(l.rlim_max, (rlim_t)FDS_WANTED)) {
		l.rlim_cur = MIN(l.rlim_max, (rlim_t)FDS_WANTED);
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

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
	vm->params = p;
	vm->exit_status = -1;
	raise_fd_limit();
	r = vm_config_copy(&vm->cfg, p->cfg, e);
	if (!r && p->folder && !(vm->name = strdup(p->folder->name)))
		r = err_set(e, ENOMEM, "out of memory");
	if (!r)
		r = prepare_rights(vm, p->sockets, e);
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
	vm->params = NULL;
	*out = vm;
	return 0;
}

void vm_quit(struct vm *vm, int exit_status, const char *why)
{
	int none = -1;

	if (atomic_compare_exchange_strong(&vm->exit_status, &none, exit_status))
		atomic_store(&vm->ended, why);
	machine_quit(vm->m);
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
	janitor_free(vm->janitor);
	sandbox_free(vm->sandbox);
	vm_config_free(&vm->cfg);
	free(vm->name);
	free(vm);
}
