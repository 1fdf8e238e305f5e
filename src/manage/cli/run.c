/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run.c - `penta run`: boot a kernel on a machine that lives as long as the command. */
#include "base/cleanup.h"
#include "base/loop.h"
#include "base/trace.h"
#include "manage/cli/cli.h"
#include "manage/cli/serial.h"
#include "manage/control/gdb.h"
#include "platform/lite/lite.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/signalfd.h>

/* How the guest ended. A debug exit has the guest's own status. */
enum run_exit { EXIT_CRASHED = 3, EXIT_LEFT = 4, EXIT_SIGNAL = 128 };

enum opt {
	OPT_KERNEL, OPT_INITRD, OPT_APPEND, OPT_FIRMWARE, OPT_BOOT, OPT_MEMORY, OPT_CPUS,
	OPT_ENGINE, OPT_MACHINE, OPT_CPU, OPT_SERIAL, OPT_ON_CRASH, OPT_GDB, OPT_TRACE,
	OPT_TRACE_FILE, OPT_STATS, OPT_N
};

#define ENGINES "auto soft kvm"
#define MACHINES "lite"
#define ON_CRASH "exit reset pause"		/* as enum on_crash */
#define BOOTS "auto direct bzimage64 bzimage32 elf pvh multiboot"	/* as enum boot_how */

static const struct option options[OPT_N + 1] = {
	[OPT_KERNEL] = OPTION("kernel", "FILE", "@file",
		"what to boot: bzImage, vmlinux, or an ELF file with a PVH\n"
		"or multiboot entry"),
	[OPT_INITRD] = OPTION("initrd", "FILE", "@file",
		"initial RAM disk, or a multiboot module"),
	[OPT_APPEND] = OPTION("append", "TEXT", NULL,
		"the kernel's command line"),
	[OPT_FIRMWARE] = OPTION("firmware", "FILE", "@file",
		"a ROM that ends at 4 GiB, in place of a kernel"),
	[OPT_BOOT] = OPTION("boot", "HOW", BOOTS,
		"how to enter the kernel: auto (default), direct\n"
		"(unpack the vmlinux here), bzimage64 or bzimage32\n"
		"(it unpacks itself), elf, pvh, multiboot"),
	[OPT_MEMORY] = OPTION("memory", "SIZE", "256M 512M 1G 2G 4G",
		"RAM, 2M to 1T (default 512M); a bare number is MiB"),
	[OPT_CPUS] = OPTION("cpus", "N", "1 2 4",
		"processors, 1 to 64 (default 1)"),
	[OPT_ENGINE] = OPTION("engine", "NAME", ENGINES,
		"who executes the guest: auto (default: the best this\n"
		"host has), soft (needs nothing), kvm (/dev/kvm)"),
	[OPT_MACHINE] = OPTION("machine", "NAME", MACHINES,
		"what the guest sees: lite (default)"),
	[OPT_CPU] = OPTION("cpu", "MODEL", "base v2 v3 max",
		"processor model: base, v2, v3 (the x86-64 levels), max\n"
		"(all that this host has and the engine knows; default)"),
	[OPT_SERIAL] = OPTION("serial", "WHERE", "terminal none pty file: unix:",
		"the serial port: terminal (default), none, pty,\n"
		"file:PATH, unix:PATH (a socket); a second one is COM2", .repeat = true),
	[OPT_ON_CRASH] = OPTION("on-crash", "ACTION", ON_CRASH,
		"after a triple fault: exit (default), reset, pause"),
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
	struct lite_config cfg;
	const char *serial_spec[LITE_SERIALS], *gdb_at, *trace, *trace_file;
	bool stats;

	struct serial serial[LITE_SERIALS];
	struct escape escape;
	bool tty;			/* the escape keys work */
	struct lite *lite;
	struct machine *m;
	int exit_status;		/* when somebody other than the guest ended it; else -1 */
	int sigfd;
};

/* --- from options to a configuration --- */

static int pick_engine(struct run *r, const char *name, struct err *e)
{
	switch (cli_choice(name, "--engine", ENGINES, e)) {
	case 0:
	case 1:
		r->cfg.machine.engine = &engine_soft;
		return 0;
	case 2:
		return err_set(e, ENOTSUP, "--engine kvm: this version has no kvm engine yet; "
			       "use --engine soft, which needs no /dev/kvm");
	default:
		return -EINVAL;
	}
}

static int configure(struct run *r, const struct args *a, struct err *e)
{
	struct machine_config *m = &r->cfg.machine;
	const char *memory = args_get(a, OPT_MEMORY), *cpus = args_get(a, OPT_CPUS);
	const char *engine = args_get(a, OPT_ENGINE), *crash = args_get(a, OPT_ON_CRASH);
	const char *boot = args_get(a, OPT_BOOT), *machine = args_get(a, OPT_MACHINE);
	const char *model = args_get(a, OPT_CPU), *append = args_get(a, OPT_APPEND);
	int n;

	if (!args_get(a, OPT_KERNEL) == !args_get(a, OPT_FIRMWARE))
		return err_set(e, EINVAL, args_get(a, OPT_KERNEL) ?
			       "run: --kernel and --firmware exclude each other" :
			       "run: nothing to boot; give --kernel FILE (`penta run --help` has "
			       "examples)");
	if (args_get(a, OPT_FIRMWARE) && (args_get(a, OPT_INITRD) || append || boot))
		return err_set(e, EINVAL, "run: --initrd, --append and --boot go with --kernel, "
			       "not with --firmware");
	if (cli_size(memory ? memory : "512M", "--memory", &m->ram_size, e))
		return -EINVAL;
	if (m->ram_size < 2 * MiB || m->ram_size > 1024 * GiB)
		return err_set(e, EINVAL, "--memory %s: a machine has 2M to 1T", memory);
	if (m->ram_size % PAGE_SIZE)
		return err_set(e, EINVAL, "--memory %s: a multiple of 4K is needed", memory);
	if (cli_number(cpus ? cpus : "1", "--cpus", 1, MACHINE_CPUS_MAX, &m->ncpus, e) ||
	    pick_engine(r, engine ? engine : "auto", e))
		return -EINVAL;
	if (machine && cli_choice(machine, "--machine", MACHINES, e) < 0)
		return -EINVAL;
	n = crash ? cli_choice(crash, "--on-crash", ON_CRASH, e) : ON_CRASH_EXIT;
	if (n < 0)
		return n;
	m->on_crash = (enum on_crash)n;
	n = boot ? cli_choice(boot, "--boot", BOOTS, e) : BOOT_AUTO;
	if (n < 0)
		return n;
	r->cfg.boot.how = (enum boot_how)n;
	m->cpu_model = cpu_model_find(model ? model : "max");
	if (!m->cpu_model)
		return err_set(e, EINVAL, "--cpu %s: one of these is needed: %s", model,
			       cpu_model_names());
	r->cfg.boot.cmdline = append ? append : "";
	r->stats = args_get(a, OPT_STATS) != NULL;
	r->gdb_at = args_get(a, OPT_GDB);
	r->trace = args_get(a, OPT_TRACE);
	r->trace_file = args_get(a, OPT_TRACE_FILE);
	if (a->n[OPT_SERIAL] > LITE_SERIALS)
		return err_set(e, EINVAL, "--serial: the machine has %d serial ports",
			       LITE_SERIALS);
	for (unsigned i = 0; i < LITE_SERIALS; i++) {
		r->serial_spec[i] = i < a->n[OPT_SERIAL] ? a->val[OPT_SERIAL][i]
							 : i == 0 ? "terminal" : "none";
		if (!serial_spec_ok(r->serial_spec[i], e))
			return -EINVAL;
	}
	if (!strcmp(r->serial_spec[0], "terminal") && !strcmp(r->serial_spec[1], "terminal"))
		return err_set(e, EINVAL, "--serial: only one port can be on the terminal");
	return 0;
}

static int open_blob(struct blob *b, const struct args *a, enum opt o, struct err *e)
{
	return args_get(a, o) ? blob_open(b, args_get(a, o), e) : 0;
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
	lite_power_button(r->lite);
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

static int open_serial(void *ctx, unsigned n, struct loop *loop, struct chardev **be,
		       struct err *e)
{
	struct run *r = ctx;

	return serial_open(&r->serial[n], r->serial_spec[n], loop, r->tty ? &r->escape : NULL, be,
			   e);
}

static void put_stat(void *ctx, const char *name, u64 val)
{
	fprintf(stderr, "stats: %-32s %llu\n", name, (unsigned long long)val);
}

/* Returns the exit status, or a negative errno with @e set. */
static int live(struct run *r, struct err *e)
{
	struct gdb *gdb = NULL;
	enum machine_status st;
	int status, n;

	n = lite_new(&r->lite, &r->cfg, e);
	if (!n)
		n = lite_load(r->lite, e);
	if (n)
		return n;
	r->m = lite_machine(r->lite);
	r->m->on_status = on_status;
	n = loop_add_fd(r->m->loop, r->sigfd, EPOLLIN, on_signal, r, e);
	if (!n && r->gdb_at)
		n = gdb_new(&gdb, r->m, r->gdb_at[0] ? r->gdb_at : "1234", e);
	if (!n)
		n = gdb ? machine_start_paused(r->m, e) : machine_start(r->m, e);
	if (!n && gdb) {
		n = gdb_start(gdb, e);
		fprintf(stderr, "penta: waiting for gdb at %s\n", gdb_address(gdb));
	}
	if (n) {
		gdb_free(gdb, EXIT_FAILED);
		return n;
	}
	st = machine_run(r->m);
	if (r->exit_status >= 0)
		status = r->exit_status;
	else if (st == MACHINE_CRASHED)
		status = EXIT_CRASHED;
	else
		status = r->m->exit_code;
	gdb_free(gdb, status);
	if (r->stats && r->cfg.machine.engine->stats) {
		machine_pause(r->m);
		r->cfg.machine.engine->stats(r->m, put_stat, NULL);
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
		.serial = { SERIAL_NONE, SERIAL_NONE }, .exit_status = -1, .sigfd = -1,
		.cfg = { .boot = { .kernel = BLOB_NONE, .initrd = BLOB_NONE,
				   .firmware = BLOB_NONE },
			 .open_serial = open_serial, .ctx = &r },
		.escape = { .key = on_key, .ctx = &r },
	};
	struct boot_request *boot = &r.cfg.boot;
	struct err e = { 0 };
	FILE *trace = NULL;
	int status;

	if (args_get(a, OPT_TRACE) && !strcmp(args_get(a, OPT_TRACE), "list")) {
		trace_list(stdout);
		return EXIT_DONE;
	}
	if (configure(&r, a, &e)) {
		cli_error("%s", e.msg);
		return EXIT_USAGE;
	}
	status = set_trace(&r, &trace, &e);
	if (status) {
		cli_error("%s", e.msg);
		return EXIT_USAGE;
	}
	if (getrandom(&boot->seed, sizeof(boot->seed), 0) < 0)
		boot->seed = 0;
	if (!open_blob(&boot->kernel, a, OPT_KERNEL, &e) &&
	    !open_blob(&boot->initrd, a, OPT_INITRD, &e) &&
	    !open_blob(&boot->firmware, a, OPT_FIRMWARE, &e) && !block_signals(&r, &e)) {
		if (!strcmp(r.serial_spec[0], "terminal") || !strcmp(r.serial_spec[1], "terminal"))
			r.tty = terminal_raw();
		status = live(&r, &e);
	} else {
		status = -e.code;
	}
	lite_free(r.lite);
	terminal_restore();
	if (status < 0) {
		cli_error("%s", e.msg);
		status = EXIT_FAILED;
	} else if (r.tty && r.exit_status == EXIT_LEFT) {
		fputs("\n", stderr);
	}
	for (unsigned i = 0; i < LITE_SERIALS; i++)
		serial_close(&r.serial[i]);
	cleanup_closep(&r.sigfd);
	blob_close(&boot->kernel);
	blob_close(&boot->initrd);
	blob_close(&boot->firmware);
	if (trace) {
		trace_set_output(stderr);
		fclose(trace);
	}
	return status;
}

const struct verb verb_run = {
	.name = "run", .summary = "boot a kernel on this terminal",
	.usage = "--kernel FILE [OPTION]...",
	.options = options, .text = text, .run = run,
};
