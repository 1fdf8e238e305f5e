// SPDX-License-Identifier: GPL-2.0-or-later
/* process.c - a machine's process. See process.h. */
#include "manage/machine/process.h"
#include "base/cleanup.h"
#include "base/janitor.h"
#include "base/trace.h"		// log_msg
#include "manage/agent/host.h"
#include "manage/control/gdb.h"
#include "manage/control/qmp.h"
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct process {
	const struct process_opts *o;
	struct vm *vm;
	struct gdb *gdb;
	struct qmp *qmp;		/* NULL: no control socket */
	int sigfd;
	/* The platform's, behind ours. */
	void (*platform_reset)(struct machine *m, void *ctx);
	void *platform_ctx;
};

/* --- signals --- */

/* Before any thread is made: they inherit the mask, and only the loop sees these. */
static int block_signals(int *fd, struct err *e)
{
	static const int sigs[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCONT, SIGWINCH };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaddset(&set, sigs[i]);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* `ulimit -f` holds for guest memory too: EFBIG */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	*fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return *fd < 0 ? err_errno(e, "signalfd") : 0;
}

/* A serial line has no size: the guest's agent hears of the terminal's. Lock held. */
static void tell_size(struct process *p)
{
	struct winsize w;

	if (p->vm->agent && (p->o->filter || p->o->on_terminal) && !ioctl(0, TIOCGWINSZ, &w) &&
	    w.ws_row && w.ws_col)
		agent_host_size(p->vm->agent, w.ws_row, w.ws_col);
}

static void on_signal(void *ctx, u32 events)
{
	struct process *p = ctx;
	struct signalfd_siginfo si;

	if (read(p->sigfd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGWINCH) {
		tell_size(p);
		return;
	}
	if (si.ssi_signo == SIGCONT) {
		if (p->o->resumed)
			p->o->resumed(p->o->ctx);
		return;
	}
	vm_quit(p->vm, EXIT_SIGNAL + (int)si.ssi_signo, "ended by a signal");
}

/* --- what clients of the control socket are told; lock held --- */

static void tell(struct process *p, const char *event, json_t *data)
{
	if (p->qmp)
		qmp_event(p->qmp, event, data);
	else
		json_decref(data);
}

static void tell_panic(struct process *p, const char *action)
{
	tell(p, "GUEST_PANICKED", json_pack("{s:s}", "action", action));
}

static void on_status(struct machine *m, void *ctx)
{
	struct process *p = ctx;

	switch (atomic_load(&m->status)) {
	case MACHINE_PAUSED:
		if (m->crash_vcpu) {
			tell_panic(p, "pause");
			log_msg(LOG_ERROR, "the guest crashed and stays as it is; look at it with "
				"--gdb or `penta inspect`, leave with Ctrl-A x or `penta stop`");
		}
		tell(p, "STOP", NULL);
		break;
	case MACHINE_RUNNING:
		tell(p, "RESUME", NULL);
		break;
	case MACHINE_CRASHED:
		tell_panic(p, "poweroff");
		tell(p, "SHUTDOWN", json_pack("{s:b, s:s}", "guest", 1, "reason", "guest-panic"));
		break;
	case MACHINE_OFF:
		tell(p, "SHUTDOWN", json_pack("{s:b, s:s}", "guest", 1, "reason",
					      "guest-shutdown"));
		break;
	}
}

static void on_reset(struct machine *m, void *ctx)
{
	struct process *p = ctx;

	if (atomic_load(&m->status) != MACHINE_NEW)
		tell(p, "RESET", json_pack("{s:b, s:s}", "guest", 1, "reason", "guest-reset"));
	p->platform_reset(m, p->platform_ctx);
}

/* --- from nothing to a machine that runs --- */

static int open_all(struct process *p, struct err *e)
{
	const struct process_opts *o = p->o;
	const struct vm_params params = {
		.cfg = o->cfg, .folder = o->folder, .filter = o->filter,
		.on_terminal = o->on_terminal, .restore = o->restore != NULL,
		.sockets = o->gdb_at && !strncmp(o->gdb_at, "unix:", 5),
	};
	struct machine *m;
	int fd, r;

	if (o->folder && fchdir(o->folder->fd))
		return err_errno(e, "change to folder %s", o->folder->path);
	r = block_signals(&p->sigfd, e);
	if (!r)
		r = vm_new(&p->vm, &params, e);
	if (r)
		return r;
	m = p->vm->m;
	m->on_status = on_status;
	m->on_status_ctx = p;
	p->platform_reset = m->on_reset;
	p->platform_ctx = m->on_reset_ctx;
	m->on_reset = on_reset;
	m->on_reset_ctx = p;
	r = loop_add_fd(m->loop, p->sigfd, EPOLLIN, on_signal, p, e);
	if (!r && o->gdb_at)
		r = gdb_new(&p->gdb, m, o->gdb_at[0] ? o->gdb_at : "1234", p->vm->janitor, e);
	if (!r && o->folder) {
		fd = folder_listen(o->folder, "control.sock", e);
		r = fd < 0 ? fd : janitor_remove(p->vm->janitor, "control.sock", e);
		if (r)
			cleanup_closep(&fd);
		else
			r = qmp_new(&p->qmp, p->vm, fd, e);
	}
	return r;
}

static int start(struct process *p, struct err *e)
{
	struct vm *vm = p->vm;
	int r = vm_seal(vm, e);

	if (!r && p->o->restore)
		r = p->o->restore(vm, p->o->ctx, e);
	if (!r)
		r = p->o->restore ? machine_start_restored(vm->m, true, e)
				  : machine_start_paused(vm->m, e);
	if (!r && p->gdb) {
		r = gdb_start(p->gdb, e);
		log_msg(LOG_INFO, "waiting for gdb at %s", gdb_address(p->gdb));
	}
	if (!r && p->qmp)
		r = qmp_start(p->qmp, e);
	if (r)
		return r;
	clock_gettime(CLOCK_MONOTONIC, &vm->started);
	if (p->o->folder) {
		folder_note(p->o->folder, NULL);
		folder_change_done(p->o->folder);
	}
	machine_lock(vm->m);
	tell_size(p);
	machine_unlock(vm->m);
	if (p->o->ready)
		p->o->ready(vm, p->o->ctx);
	vm_enter(vm);
	if (!p->gdb && !vm->hold)
		machine_resume(vm->m);
	return 0;
}

static void put_stat(void *ctx, const char *name, u64 val)
{
	fprintf(stderr, "stats: %-32s %llu\n", name, (unsigned long long)val);
}

/* Until the machine ends: the exit status, and how it ended in words. */
static int run(struct process *p, char *ended, size_t len)
{
	struct machine *m = p->vm->m;
	enum machine_status st = machine_run(m);
	int status = atomic_load(&p->vm->exit_status);

	if (status >= 0) {
		snprintf(ended, len, "%s", atomic_load(&p->vm->ended));
		if (status > EXIT_SIGNAL)
			snprintf(ended, len, "ended by signal %d", status - EXIT_SIGNAL);
		tell(p, "SHUTDOWN", json_pack("{s:b, s:s}", "guest", 0, "reason", status ?
					      "host-signal" : "host-qmp-quit"));
	} else if (st == MACHINE_CRASHED) {
		status = EXIT_CRASHED;
		snprintf(ended, len, "crashed: %.180s", m->fatal.msg);
	} else {
		status = m->exit_code;
		if (status)
			snprintf(ended, len, "left with status %d", status);
		else
			snprintf(ended, len, "powered off");
	}
	return status;
}

int process_live(const struct process_opts *o, struct err *e)
{
	struct process p = { .o = o, .sigfd = -1 };
	char ended[200] = "could not start";
	int status;

	json_object_seed(0);	/* opens /dev/urandom, once: not in the sandbox */
	status = open_all(&p, e);
	if (!status)
		status = start(&p, e);
	if (!status)
		status = run(&p, ended, sizeof(ended));
	gdb_free(p.gdb, status < 0 ? 1 : status);
	qmp_free(p.qmp);
	if (status >= 0 && o->stats && p.vm->m->cfg.engine->stats) {
		machine_pause(p.vm->m);
		p.vm->m->cfg.engine->stats(p.vm->m, put_stat, NULL);
	}
	if (p.vm) {
		p.vm->m->on_status = NULL;	/* nobody is there to be told */
		p.vm->m->on_reset = p.platform_reset ? p.platform_reset : p.vm->m->on_reset;
		vm_free(p.vm);
	}
	if (o->folder && status >= 0)
		folder_note(o->folder, ended);
	cleanup_closep(&p.sigfd);
	return status;
}
