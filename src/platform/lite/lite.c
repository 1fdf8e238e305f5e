/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lite.c - the lite machine, from power-on to the kernel's first instruction.
 *
 * This is the place to begin reading penta. A machine here is made in plain calls, read top to
 * bottom, and each call stands for a chip that a PC's board carries:
 *
 *	            +--------+    +--------+
 *	            | vCPU 0 |    | vCPU 1 |  ...		who executes: an engine
 *	            | LAPIC  |    | LAPIC  |
 *	            +---+----+    +---+----+
 *	   INTR (LINT0) |             |
 *	       +--------+----- APIC bus -----+
 *	   +---+---+                    +----+----+
 *	   | 8259  | <--- IRQ 0-15 ---> | I/O APIC|		gsi.c: one wire, both chips
 *	   +-------+         |          +---------+
 *	    0 8254   3,4 COM2,1   8 RTC   9 ACPI (SCI)   16-23 PCI slots
 *
 * What is not here: a keyboard controller, a display, DMA, firmware. A kernel that is loaded by
 * platform/boot/ and reads platform/lite/acpi.c's tables misses none of them.
 *
 * Why these and no fewer: Linux calibrates its clocks against the 8254 (through port 61) or the
 * ACPI timer, and hangs without either; it asks the RTC for the date; it finds CPUs and the I/O
 * APIC in ACPI tables only, powers off through ACPI, and resets through CF9. */
#include "platform/lite/lite.h"
#include "base/trace.h"		// log_msg
#include "block/block.h"
#include "dev/acpi_pm.h"
#include "dev/debug_port.h"
#include "dev/fw_cfg.h"
#include "dev/gsi.h"
#include "dev/i8254.h"
#include "dev/lapic.h"
#include "dev/mc146818.h"
#include "dev/ns16550.h"
#include "dev/pci_host.h"
#include "dev/reset.h"
#include "dev/test_device.h"
#include "platform/boot/disk.h"
#include "platform/lite/acpi.h"
#include "state/state.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum lite_wiring {
	LITE_IOAPIC_ID = 0,
	LITE_IRQ_PIT = 0, LITE_IRQ_COM1 = 4, LITE_IRQ_COM2 = 3, LITE_IRQ_RTC = 8, LITE_IRQ_SCI = 9,
	LITE_PM_BASE = 0x600, LITE_GPE_BASE = 0xafe0,
	/* Pin p of slot s: GSI 16 + (s + p) % 8, p from 0. */
	LITE_PCI_GSI = 16, LITE_PCI_GSIS = 8,
	LITE_SLOT_RNG = 31,	/* out of the way of what users plug in */
};
#define LITE_LAPIC_BASE 0xfee00000u
/* Where the guest may put PCI functions' memory: from the end of low RAM to the I/O APIC. */
#define LITE_PCI_MEM_FIRST ((u32)RAM_LOW_MAX)
#define LITE_PCI_MEM_LAST (IOAPIC_BASE - 1)

struct lite {
	struct machine *m;
	struct pci_bus *pci;
	struct lite_config cfg;
	struct boot_entry entry;
	bool loaded;		/* what is in RAM has not run yet */
	struct acpi_pm *pm;
	struct apic_bus *apics;
	struct err reset_err;	/* why the kernel could not be loaded again */
	struct block *disk;	/* where the kernel is, when it is not a file of its own; borrowed */
	char *disk_name;
	char what[160];		/* lite_boot_what(), for a disk */
};

/* --- 1. The chips ------------------------------------------------------------------------- */

/* A back end is the machine's like any device, so that it is freed after the chip that uses it
 * and before the event loop that serves it. */
static void backend_free(void *dev)
{
	chardev_free(dev);
}

static const struct device_class backend_class = { .name = "chardev", .free = backend_free };

static int add_serial(struct lite *l, unsigned n, u16 port, struct irq_line irq, struct err *e)
{
	static const char *const names[][2] = { { "com1", "com1.backend" },
						{ "com2", "com2.backend" } };
	struct machine *m = l->m;
	struct chardev *be = NULL;
	struct ns16550 *uart;
	int r = 0;

	if (l->cfg.open_serial)
		r = l->cfg.open_serial(l->cfg.ctx, n, m->loop, &be, e);
	if (!r && be)
		r = machine_add_device(m, &backend_class, be, names[n][1], e);
	if (!r)
		r = ns16550_new(&uart, m, port, irq, be, e);
	if (!r)
		r = machine_add_device(m, &ns16550_class, uart, names[n][0], e);
	return r;
}

/* PCI: the bus with its configuration ports, and a host bridge on it. What else a machine has
 * (disks, networks) will be functions of this bus. */
static int add_pci(struct lite *l, struct gsi *gsi, struct err *e)
{
	struct pci_bus_opts o = { .npirq = LITE_PCI_GSIS };
	struct machine *m = l->m;
	struct pci_bus *bus;
	struct pci_host *host;
	int r;

	for (unsigned i = 0; i < LITE_PCI_GSIS; i++)
		o.pirq[i] = gsi_line(gsi, LITE_PCI_GSI + i);
	r = pci_bus_new(&bus, m, &o, e);
	if (!r)
		r = machine_add_device(m, &pci_bus_class, bus, "pci", e);
	l->pci = bus;
	if (!r)
		r = pci_host_new(&host, bus, e);
	if (!r)
		r = machine_add_device(m, &pci_host_class, host, "pci.host", e);
	return r;
}

/* What only virtual machines have: a guest that knows where it runs can print, leave with a code,
 * ask for the number of CPUs, and pull its own interrupt lines. */
static int add_virtual(struct lite *l, struct gsi *gsi, struct err *e)
{
	struct irq_line irq[TEST_DEVICE_IRQS];
	struct machine *m = l->m;
	struct debug_con *con;
	struct debug_exit *leave;
	struct fw_cfg *fw;
	struct test_device *test;
	int r;

	for (unsigned i = 0; i < TEST_DEVICE_IRQS; i++)
		irq[i] = gsi_line(gsi, i);
	r = debug_con_new(&con, m, DEBUG_CON_PORT, NULL, e);
	if (!r)
		r = machine_add_device(m, &debug_con_class, con, "debugcon", e);
	if (!r)
		r = debug_exit_new(&leave, m, DEBUG_EXIT_PORT, e);
	if (!r)
		r = machine_add_device(m, &debug_exit_class, leave, "debugexit", e);
	if (!r)
		r = fw_cfg_new(&fw, m, e);
	if (!r)
		r = machine_add_device(m, &fw_cfg_class, fw, "fwcfg", e);
	if (!r)
		r = test_device_new(&test, m, irq, e);
	if (!r)
		r = machine_add_device(m, &test_device_class, test, "testdev", e);
	return r;
}

/* Each step is "make it, hand it to the machine"; the first that fails ends the building. */
static int add_chips(struct lite *l, struct err *e)
{
	const struct acpi_pm_config pm_cfg = { .pm_base = LITE_PM_BASE, .gpe_base = LITE_GPE_BASE,
					       .acpi_mode = true };
	struct machine *m = l->m;
	struct i8259 *pic;
	struct ioapic *ioapic;
	struct gsi *gsi;
	struct i8254 *pit;
	struct mc146818 *rtc;
	struct reset_ctl *reset;
	int r;

	/* Interrupts: from the CPUs outwards. The 8259's INTR reaches every LAPIC's LINT0, where
	 * it lies until the kernel masks it. */
	r = apic_bus_add(m, &l->apics, e);
	if (!r)
		r = i8259_new(&pic, m, apic_bus_lint0(l->apics), e);
	if (!r)
		r = machine_add_device(m, &i8259_class, pic, "pic", e);
	if (!r)
		apic_bus_set_pic(l->apics, i8259_ack, pic);
	if (!r)
		r = ioapic_new(&ioapic, m, l->apics, LITE_IOAPIC_ID, e);
	if (!r)
		r = machine_add_device(m, &ioapic_class, ioapic, "ioapic", e);
	if (!r)
		r = gsi_new(&gsi, pic, ioapic, e);
	if (!r)
		r = machine_add_device(m, &gsi_class, gsi, "gsi", e);

	/* Time. */
	if (!r)
		r = i8254_new(&pit, m, gsi_line(gsi, LITE_IRQ_PIT), e);
	if (!r)
		r = machine_add_device(m, &i8254_class, pit, "pit", e);
	if (!r)
		r = mc146818_new(&rtc, m, gsi_line(gsi, LITE_IRQ_RTC), e);
	if (!r)
		r = machine_add_device(m, &mc146818_class, rtc, "rtc", e);

	/* Power: timer, button, sleep; reset. */
	if (!r)
		r = acpi_pm_new(&l->pm, m, &pm_cfg, gsi_line(gsi, LITE_IRQ_SCI), e);
	if (!r)
		r = machine_add_device(m, &acpi_pm_class, l->pm, "pm", e);
	if (!r)
		r = reset_ctl_new(&reset, m, true, e);
	if (!r)
		r = machine_add_device(m, &reset_ctl_class, reset, "reset", e);

	/* The bus, and serial ports. */
	if (!r)
		r = add_pci(l, gsi, e);
	if (!r)
		r = add_serial(l, 0, 0x3f8, gsi_line(gsi, LITE_IRQ_COM1), e);
	if (!r)
		r = add_serial(l, 1, 0x2f8, gsi_line(gsi, LITE_IRQ_COM2), e);

	if (!r)
		r = add_virtual(l, gsi, e);
	return r;
}

/* --- 2. What the guest is told: ACPI ------------------------------------------------------ */

static int put_acpi(struct lite *l, u64 *rsdp, struct err *e)
{
	static const size_t max = BOOT_ACPI_END - BOOT_ACPI;
	u32 ids[MACHINE_CPUS_MAX];
	struct acpi_config c = {
		.gpa = BOOT_ACPI, .ncpus = l->m->ncpus, .apic_id = ids,
		.ioapic_id = LITE_IOAPIC_ID, .ioapic_base = IOAPIC_BASE,
		.lapic_base = LITE_LAPIC_BASE, .sci = LITE_IRQ_SCI, .pm_base = LITE_PM_BASE,
		.gpe_base = LITE_GPE_BASE, .com = { true, true }, .pci = true,
		.pci_mem_first = LITE_PCI_MEM_FIRST, .pci_mem_last = LITE_PCI_MEM_LAST,
		.pci_gsi = LITE_PCI_GSI, .pci_ngsi = LITE_PCI_GSIS,
	};
	u8 *buf = malloc(max);
	int n;

	for (unsigned i = 0; i < l->m->ncpus; i++)
		ids[i] = l->m->cpu[i]->apic_id;
	n = buf ? acpi_build(&c, buf, max, rsdp, e) : err_set(e, ENOMEM, "ACPI: out of memory");
	if (n > 0 && !ram_write(l->m->ram, BOOT_ACPI, buf, (size_t)n))
		n = err_set(e, ENOMEM, "no memory below 1 MiB for the ACPI tables");
	free(buf);
	return n < 0 ? n : 0;
}

/* --- 3. What runs: the kernel, by platform/boot/ ------------------------------------------ */

/* Disks read whole sectors only. */
static int read_disk(void *ctx, u64 off, void *buf, size_t len, struct err *e)
{
	struct lite *l = ctx;
	u32 sector = MAX(l->disk->info.logical, (u32)BLOCK_SECTOR);
	u64 from = off - off % sector, to = (off + len + sector - 1) / sector * sector;
	u8 *bounce = NULL, *p = buf;
	int r;

	if (from != off || to != off + len || (uintptr_t)buf % sector) {
		bounce = aligned_alloc(PAGE_SIZE, (to - from + PAGE_SIZE - 1) & PAGE_MASK);
		if (!bounce)
			return err_set(e, ENOMEM, "out of memory");
		p = bounce;
	}
	r = block_rw(l->disk, BLOCK_READ, from, p, to - from);
	if (r)
		err_set(e, -r, "read %s: %s", l->disk_name, strerror(-r));
	else if (bounce)
		memcpy(buf, bounce + (off - from), len);
	free(bounce);
	return r;
}

/* What firmware would do: look for the kernel on the disk, each time. Its copy here is gone again when
 * it is in guest memory. The machine lock is held: the disk is a running machine's. */
static int load_from_disk(struct lite *l, struct boot_request *rq, struct err *e)
{
	const struct gpt_disk d = { read_disk, l, l->disk->info.size };
	struct boot_files f;
	char *cmdline = NULL;
	int r = boot_disk_find(&d, l->disk_name, &f, e);

	if (r)
		return r;
	/* What the user adds comes last, and wins. */
	if (asprintf(&cmdline, "%s%s%s", f.cmdline, rq->cmdline[0] ? " " : "", rq->cmdline) < 0) {
		cmdline = NULL;
		r = err_set(e, ENOMEM, "out of memory");
	}
	rq->kernel = f.kernel;
	if (!blob_is(&rq->initrd))
		rq->initrd = f.initrd;
	rq->cmdline = cmdline;
	if (!r)
		r = boot_load(rq, l->m->ram, &l->entry, e);
	if (!r) {
		snprintf(l->what, sizeof(l->what), "%s, from %s of %.60s", l->entry.what, f.what,
			 l->disk_name);
		l->entry.what = l->what;
	}
	free(cmdline);
	boot_files_free(&f);
	return r;
}

static int load(struct lite *l, bool fresh, struct err *e)
{
	struct boot_request rq = l->cfg.boot;
	int r = 0;

	rq.ram_is_zero = fresh;
	/* A ROM brings its own tables, or none. */
	if (!blob_is(&rq.firmware))
		r = put_acpi(l, &rq.rsdp, e);
	if (!r && l->disk && !blob_is(&rq.kernel) && !blob_is(&rq.firmware))
		r = load_from_disk(l, &rq, e);
	else if (!r)
		r = boot_load(&rq, l->m->ram, &l->entry, e);
	l->loaded = r == 0;
	return r;
}

/* --- 4. Reset, which power-on is, too ----------------------------------------------------- */

/* On the loop, when a reset found the kernel gone. */
static void report_reload(void *ctx)
{
	struct lite *l = ctx;

	l->m->fatal = l->reset_err;
	machine_report_crash(l->m, NULL, NULL);
}

/* All vCPUs are parked, in the state that their reset leaves; the machine lock is held. There is
 * no firmware to run: the kernel and all that was prepared for it are put into memory again, and
 * the boot processor is set to its entry. The others wait for it to send them a start-up IPI. */
static void on_reset(struct machine *m, void *ctx)
{
	struct lite *l = ctx;
	struct cpu_state *s = malloc(sizeof(*s));
	int r = s ? 0 : err_set(&l->reset_err, ENOMEM, "reset: out of memory");

	if (!r && !l->loaded)
		r = load(l, false, &l->reset_err);
	l->loaded = false;
	for (unsigned i = 0; i < m->ncpus && !r && l->entry.mode != BOOT_MODE_RESET; i++) {
		r = m->cfg.engine->get_state(m->cpu[i], s, &l->reset_err);
		if (r)
			break;
		/* Firmware would have made memory cacheable; Linux refuses to use the page
		 * attribute table when it finds the MTRRs off. */
		s->mtrr_def = 0xc06;	/* SDM vol. 3, 12.11.2.1: on, fixed ranges on, write-back */
		memset(s->mtrr_fixed, 0x06, sizeof(s->mtrr_fixed));
		s->mtrr_fixed[2] = 0;	/* A0000-BFFFF: a display's window, uncached */
		if (i == 0)
			boot_enter(&l->entry, s);
		r = m->cfg.engine->set_state(m->cpu[i], s, &l->reset_err);
	}
	/* Firmware also leaves the 8259 connected to the boot processor, for kernels that use no
	 * APIC or not yet. */
	if (l->entry.mode != BOOT_MODE_RESET)
		apic_bus_virtual_wire(l->apics);
	free(s);
	if (r)
		loop_post(m->loop, report_reload, l);
}

/* --- 5. The machine as a whole ------------------------------------------------------------ */

int lite_new(struct lite **out, const struct lite_config *cfg, struct err *e)
{
	struct lite *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_set(e, ENOMEM, "out of memory");
	l->cfg = *cfg;
	r = machine_new(&l->m, &cfg->machine, e);
	if (!r) {
		machine_lock(l->m);
		r = add_chips(l, e);
		machine_unlock(l->m);
	}
	/* A guest without entropy waits for it at boot: every machine has some. */
	if (!r)
		r = lite_add_rng(l, "rng", LITE_SLOT_RNG, e);
	if (r) {
		lite_free(l);
		return r;
	}
	l->m->platform = "lite";
	l->m->board = LITE_BOARD;
	l->m->on_reset = on_reset;
	l->m->on_reset_ctx = l;
	*out = l;
	return 0;
}

int lite_load(struct lite *l, struct err *e)
{
	int r;

	machine_lock(l->m);
	r = load(l, true, e);
	machine_unlock(l->m);
	return r;
}

int lite_boot_from(struct lite *l, struct block *b, const char *name, struct err *e)
{
	l->disk = b;
	free(l->disk_name);
	l->disk_name = strdup(name);
	return l->disk_name ? 0 : err_set(e, ENOMEM, "out of memory");
}

int lite_restore(struct lite *l, struct state_stream *s, bool lazy, struct err *e)
{
	const struct boot_request *rq = &l->cfg.boot;
	int r = blob_is(&rq->firmware) ? firmware_map(rq, l->m->ram, e) : 0;

	return r ? r : state_load(s, l->m, lazy, e);
}

void lite_free(struct lite *l)
{
	if (!l)
		return;
	machine_free(l->m);
	free(l->disk_name);
	free(l);
}

struct machine *lite_machine(struct lite *l)
{
	return l->m;
}

struct pci_bus *lite_pci(struct lite *l)
{
	return l->pci;
}

u8 lite_slot(struct lite *l, unsigned want)
{
	unsigned dev = 1;		/* 0 is the host bridge */

	while (!want && dev < 31 && pci_find(l->pci, PCI_DEVFN(dev, 0)))
		dev++;
	return PCI_DEVFN(want ? want : dev, 0);
}

const char *lite_boot_what(const struct lite *l)
{
	return l->entry.what;
}

void lite_power_button(struct lite *l)
{
	machine_lock(l->m);
	acpi_pm_power_button(l->pm);
	machine_unlock(l->m);
}
