/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run.c - `penta run`: boot a kernel on a machine that lives as long as the command. */
#include "base/cleanup.h"
#include "base/loop.h"
#include "base/trace.h"
#include "manage/cli/machines.h"
#include "manage/cli/oneshot.h"
#include "manage/cli/terminal.h"
#include "manage/machine/process.h"
#include <errno.h>
#include <string.h>

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
	"\nWith NAME it is the machine of that name, which is made the first time: of an image\n"
	"of yours (`penta image build`), or, if NAME is debian or debian-trixie, of one that is\n"
	"built then. Options are for the new machine. With COMMAND, this runs in the guest, which\n"
	"is started for it and stopped afterwards unless it ran already; see `penta exec --help`.\n"
	"Without a kernel, the one on the first disk is booted.\n"
	"\nExamples:\n"
	"  penta run debian\n"
	"  penta run debian ls -l /\n"
	"  penta run --disk debian.img --memory 1G --net user\n"
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
	char trace_buf[65536];		/* of --trace-file: in its sandbox, stdio cannot make its own */
	struct vm *vm;			/* while it lives */
	struct machine *m;		/* vm's */
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

static int configure(struct run *r, const struct args *a, bool named, struct err *e)
{
	struct vm_config *c = &r->cfg;
	const struct config_field *serial = vm_config_find("serial");

	r->stats = args_get(a, OPT_STATS) != NULL;
	r->gdb_at = args_get(a, OPT_GDB);
	r->trace = args_get(a, OPT_TRACE);
	r->trace_file = args_get(a, OPT_TRACE_FILE);
	if (named)
		return 0;
	if (args_config(a, &verb_run, c, e))
		return -EINVAL;
	if (!c->nserial && !on_terminal(c) && vm_config_set(c, serial, "terminal", "--serial", e))
		return -EINVAL;
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

	machine_unlock(r->m);
	machine_hold(r->m);
	for (unsigned i = 0; i < r->m->ncpus; i++)
		vcpu_dump(r->m->cpu[i], stderr);
	machine_release(r->m);
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
		vm_quit(r->vm, EXIT_LEFT, "left with Ctrl-A x");
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

static void on_continue(void *ctx)
{
	terminal_raw_again();
}

static void on_ready(struct vm *vm, void *ctx)
{
	struct run *r = ctx;

	r->vm = vm;
	r->m = vm->m;
}

static int set_trace(struct run *r, FILE **f, struct err *e)
{
	if (r->trace_file) {
		*f = fopen(r->trace_file, "we");
		if (!*f)
			return err_errno(e, "--trace-file %s", r->trace_file);
		setvbuf(*f, r->trace_buf, _IOFBF, sizeof(r->trace_buf));
		trace_set_output(*f);
	}
	if (r->trace && trace_enable(r->trace, e))
		return err_context(e, "--trace");
	return 0;
}

/* `penta run NAME COMMAND...` */
static int command(const struct args *a, char **pos)
{
	cleanup_free char *term = NULL;
	char *env[] = { NULL, NULL };
	const struct oneshot o = { .cmd = { .argv = pos + 1, .env = env }, .timeout = 300,
				   .start = true };

	if (getenv("TERM") && asprintf(&term, "TERM=%s", getenv("TERM")) > 0)
		env[0] = term;
	return oneshot(pos[0], &o);
}

/* A machine's process on this terminal. Returns the exit status. */
static int live(struct run *r, struct folder *f, struct err *e)
{
	const struct serial_filter filter = { .fn = escape_filter, .ctx = &r->escape };
	int status;

	cli_warn_memory(f ? f->name : "the machine", &r->cfg);
	r->tty = (f || on_terminal(&r->cfg)) && terminal_raw();
	status = process_live(&(struct process_opts){
		.cfg = &r->cfg, .folder = f, .filter = r->tty ? &filter : NULL, .on_terminal = f,
		.gdb_at = r->gdb_at, .stats = r->stats, .ready = on_ready, .resumed = on_continue,
		.ctx = r }, e);
	terminal_restore();
	if (status >= 0 && r->tty && status == EXIT_LEFT)
		fputs("\n", stderr);
	return status;
}

/* The machine that has the name, here and now. */
static int live_named(struct run *r, const char *name, struct err *e)
{
	struct folder f;
	int status = cli_lock(&f, name, true, e);

	if (status == -EBUSY)
		return err_set(e, EBUSY, "machine \"%s\" runs already; `penta console %s` shows it, "
			       "`penta run %s COMMAND` runs a command in it", name, name, name);
	if (status)
		return status;
	oneshot_forget(&f);
	status = folder_read_config(&f, &r->cfg, e);
	if (!status)
		status = vm_config_check(&r->cfg, e);
	if (!status)
		status = live(r, &f, e);
	folder_close(&f);
	return status;
}

static int run(const struct args *a, int npos, char **pos)
{
	struct run r = { .escape = { .key = on_key, .ctx = &r } };
	struct err e = { 0 };
	FILE *trace = NULL;
	int status;

	if (args_get(a, OPT_TRACE) && !strcmp(args_get(a, OPT_TRACE), "list")) {
		trace_list(stdout);
		return EXIT_DONE;
	}
	vm_config_init(&r.cfg);
	if (npos) {
		status = named_ensure(pos[0], &verb_run, a);
		if (status)
			goto out;
	}
	if (npos > 1) {
		status = command(a, pos);
		goto out;
	}
	if (configure(&r, a, npos, &e) || set_trace(&r, &trace, &e)) {
		cli_error("%s", e.msg);
		status = EXIT_USAGE;
		goto out;
	}
	status = npos ? live_named(&r, pos[0], &e) : live(&r, NULL, &e);
	if (status < 0) {
		cli_error("%s", e.msg);
		status = EXIT_FAILED;
	}
out:
	vm_config_free(&r.cfg);
	if (trace) {
		trace_set_output(stderr);
		fclose(trace);
	}
	return status;
}

const struct verb verb_run = {
	.name = "run", .summary = "a machine on this terminal, or a command in one",
	.usage = "--kernel FILE|--disk FILE [OPTION]...\n"
		 "       penta run [OPTION]... NAME [COMMAND [ARGUMENT]...]",
	.options = options, .text = text, .positional = "@machine", .run = run, .config = true,
	.command_after = 1,
};
