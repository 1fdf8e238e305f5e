/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run.c - `penta run`: boot a kernel on a machine that lives as long as the command. */
#include "base/cleanup.h"
#include "base/loop.h"
#include "base/trace.h"
#include "manage/cli/cli.h"
#include "manage/cli/terminal.h"
#include "manage/control/gdb.h"
#include "manage/machine/assemble.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

/* How the guest ended. A debug exit has the guest's own status. */
enum run_exit { EXIT_CRASHED = 3, EXIT_LEFT = 4, EXIT_SIGNAL = 128 };

enum opt { OPT_GDB, OPT_TRACE, OPT_TRACE_FILE, OPT_STATS, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_GDB] = OPTION("gdb", "ADDRESS", NULL,
		"wait for gdb at [ADDRESS:]PORT or unix:PATH (default\n"
		"127.0.0.1:1234); it starts the guest", .optional_arg = true),
	[OPT_TRACE] = OPTION("trace", "PATTERNS", "list",
		"print these events: 'cpu.*,apic.eoi'; `list` lists"),
	[OPT_TRACE_FILE] = OPTION("trace-file", "FILE", "@file",
		"where traces go (default: standard error)"),
	[OPT_STATS] = OPTION("stats", NULL, NULL,
		"print the engine's counters at the end"),
};

static const char text[] =
	"Keys, when the serial port is on a terminal:\n"
	"  Ctrl-A x  leave: the guest is gone at once    Ctrl-A p  press its power button\n"
	"  Ctrl-A s  stop it, or let it go on            Ctrl-A r  reset it\n"
	"  Ctrl-A d  print its registers                 Ctrl-A h  this list\n"
	"  Ctrl-A Ctrl-A  send one Ctrl-A\n"
	"\nExamples:\n"
	"  penta run --kernel vmlinuz --initrd initrd.img --append console=ttyS0\n"
	"  penta run --kernel vmlinuz --initrd i --cpus 4 --memory 2G --append 'console=ttyS0'\n"
	"  penta run --kernel vmlinux --gdb 9000 &  gdb vmlinux -ex 'target remote :9000'\n"
	"  penta run --kernel test.flat --serial file:log    a kvm-unit-tests guest\n"
	"  penta run --firmware rom.bin --serial none --trace 'debugcon.*'\n"
	"\nExit status:\n"
	"  0  the guest powered off           3  it crashed (triple fault), or the engine gave up\n"
	"  1  the machine could not be made   4  you left with Ctrl-A x\n"
	"  2  wrong usage                     128+N  signal N ended penta\n"
	"  when the guest writes v to port 0xf4: 2v+1\n";

/* What the command line asks for, checked. */
struct run {
	struct vm_config cfg;
	const char *gdb_at, *trace, *trace_file;
	bool stats;

	struct escape escape;
	bool tty;			/* the escape keys work */
	struct vm *vm;
	struct machine *m;		/* vm's */
	int exit_status;		/* when somebody other than the guest ended it; else -1 */
	int sigfd;
};

/* --- from options to a configuration --- */

static bool on_terminal(const struct vm_config *c)
{
	for (unsigned i = 0; i < c->nserial; i++)
		if (!strcmp(c->serial[i].where, "terminal"))
			return true;
	for (unsigned i = 0; i < c->nconsole; i++)
		if (!strcmp(c->console[i].where, "terminal"))
			return true;
	return false;
}

static int configure(struct run *r, const struct args *a, struct err *e)
{
	struct vm_config *c = &r->cfg;
	const struct config_field *serial = vm_config_find("serial");

	if (args_config(a, &verb_run, c, e))
		return -EINVAL;
	if (!c->nserial && !on_terminal(c) && vm_config_set(c, serial, "terminal", "--serial", e))
		return -EINVAL;
	r->stats = args_get(a, OPT_STATS) != NULL;
	r->gdb_at = args_get(a, OPT_GDB);
	r->trace = args_get(a, OPT_TRACE);
	r->trace_file = args_get(a, OPT_TRACE_FILE);
	return vm_config_check(c, e);
}

/* --- keys and signals; all on the loop's thread --- */

/* These wait for vCPUs, for which nobody may wait with the machine lock held. */
static void toggle_pause(void *ctx)
{
	struct run *r = ctx;
	bool paused = atomic_load(&r->m->status) == MACHINE_PAUSED;

	machine_unlock(r->m);
	if (paused)
		machine_resume(r->m);
	else
		machine_pause(r->m);
	machine_lock(r->m);
	fprintf(stderr, "penta: %s\n", paused ? "going on" : "stopped; Ctrl-A s lets it go on");
}

static void dump_registers(void *ctx)
{
	struct run *r = ctx;
	bool running = atomic_load(&r->m->status) == MACHINE_RUNNING;

	machine_unlock(r->m);
	if (running)
		machine_pause(r->m);
	for (unsigned i = 0; i < r->m->ncpus; i++)
		vcpu_dump(r->m->cpu[i], stderr);
	if (running)
		machine_resume(r->m);
	machine_lock(r->m);
}

static void press_power(void *ctx)
{
	struct run *r = ctx;

	machine_unlock(r->m);
	lite_power_button(r->vm->lite);
	machine_lock(r->m);
}

static void on_key(void *ctx, char key)
{
	struct run *r = ctx;

	switch (key) {
	case 'x':
		r->exit_status = EXIT_LEFT;
		machine_quit(r->m);
		break;
	case 'p':
		loop_post(r->m->loop, press_power, r);
		break;
	case 's':
		loop_post(r->m->loop, toggle_pause, r);
		break;
	case 'd':
		loop_post(r->m->loop, dump_registers, r);
		break;
	case 'r':
		machine_request_reset(r->m);
		break;
	case 'h':
	case '?':
		fprintf(stderr, "\npenta: after Ctrl-A: x leave, p power button, s stop/go on, "
			"r reset,\npenta: d registers, h this help, Ctrl-A itself: send one\n");
		break;
	default:
		fprintf(stderr, "\npenta: Ctrl-A h lists what can follow Ctrl-A\n");
	}
}

static void on_signal(void *ctx, u32 events)
{
	struct run *r = ctx;
	struct signalfd_siginfo si;

	if (read(r->sigfd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGCONT) {
		terminal_raw_again();
		return;
	}
	r->exit_status = EXIT_SIGNAL + (int)si.ssi_signo;
	machine_quit(r->m);
}

/* Before any thread is made: they inherit the mask, and only the loop sees these. */
static int block_signals(struct run *r, struct err *e)
{
	static const int sigs[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCONT };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaddset(&set, sigs[i]);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* `ulimit -f` holds for guest memory too: EFBIG */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	r->sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return r->sigfd < 0 ? err_errno(e, "signalfd") : 0;
}

static void on_status(struct machine *m, void *ctx)
{
	if (atomic_load(&m->status) == MACHINE_PAUSED && m->crash_vcpu)
		fprintf(stderr, "penta: the guest crashed and stays as it is; look at it with "
			"--gdb, leave with Ctrl-A x\n");
}

/* --- the machine's life --- */

static void put_stat(void *ctx, const char *name, u64 val)
{
	fprintf(stderr, "stats: %-32s %llu\n", name, (unsigned long long)val);
}

/* Returns the exit status, or a negative errno with @e set. */
static int live(struct run *r, struct err *e)
{
	const struct serial_filter filter = { .fn = escape_filter, .ctx = &r->escape };
	const struct vm_params p = {
		.cfg = &r->cfg, .filter = r->tty ? &filter : NULL,
		.sockets = r->gdb_at && !strncmp(r->gdb_at, "unix:", 5),
	};
	struct gdb *gdb = NULL;
	enum machine_status st;
	int status, n;

	n = vm_new(&r->vm, &p, e);
	if (n)
		return n;
	r->m = r->vm->m;
	r->m->on_status = on_status;
	n = loop_add_fd(r->m->loop, r->sigfd, EPOLLIN, on_signal, r, e);
	if (!n && r->gdb_at)
		n = gdb_new(&gdb, r->m, r->gdb_at[0] ? r->gdb_at : "1234", r->vm->janitor, e);
	if (!n)
		n = vm_seal(r->vm, e);
	if (!n)
		n = machine_start_paused(r->m, e);
	if (!n && gdb) {
		n = gdb_start(gdb, e);
		fprintf(stderr, "penta: waiting for gdb at %s\n", gdb_address(gdb));
	}
	if (n) {
		gdb_free(gdb, EXIT_FAILED);
		return n;
	}
	vm_enter(r->vm);
	if (!gdb)
		machine_resume(r->m);
	st = machine_run(r->m);
	if (r->exit_status >= 0)
		status = r->exit_status;
	else if (st == MACHINE_CRASHED)
		status = EXIT_CRASHED;
	else
		status = r->m->exit_code;
	gdb_free(gdb, status);
	if (r->stats && r->m->cfg.engine->stats) {
		machine_pause(r->m);
		r->m->cfg.engine->stats(r->m, put_stat, NULL);
	}
	return status;
}

static int set_trace(struct run *r, FILE **f, struct err *e)
{
	if (r->trace_file) {
		*f = fopen(r->trace_file, "we");
		if (!*f)
			return err_errno(e, "--trace-file %s", r->trace_file);
		trace_set_output(*f);
	}
	if (r->trace && trace_enable(r->trace, e))
		return err_context(e, "--trace");
	return 0;
}

static int run(const struct args *a, int npos, char **pos)
{
	struct run r = {
		.exit_status = -1, .sigfd = -1,
		.escape = { .key = on_key, .ctx = &r },
	};
	struct err e = { 0 };
	FILE *trace = NULL;
	int status;

	if (args_get(a, OPT_TRACE) && !strcmp(args_get(a, OPT_TRACE), "list")) {
		trace_list(stdout);
		return EXIT_DONE;
	}
	vm_config_init(&r.cfg);
	if (configure(&r, a, &e) || set_trace(&r, &trace, &e)) {
		cli_error("%s", e.msg);
		status = EXIT_USAGE;
		goto out;
	}
	status = block_signals(&r, &e);
	if (!status) {
		r.tty = on_terminal(&r.cfg) && terminal_raw();
		status = live(&r, &e);
	}
	vm_free(r.vm);
	terminal_restore();
	if (status < 0) {
		cli_error("%s", e.msg);
		status = EXIT_FAILED;
	} else if (r.tty && r.exit_status == EXIT_LEFT) {
		fputs("\n", stderr);
	}
out:
	vm_config_free(&r.cfg);
	cleanup_closep(&r.sigfd);
	if (trace) {
		trace_set_output(stderr);
		fclose(trace);
	}
	return status;
}

const struct verb verb_run = {
	.name = "run", .summary = "boot a kernel on this terminal",
	.usage = "--kernel FILE [OPTION]...",
	.options = options, .text = text, .run = run, .config = true,
};
