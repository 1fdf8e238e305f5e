/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reset ports, debug ports and the bare host bridge. */
#include "unit.h"
#include "dev/debug_port.h"
#include "dev/devtest.h"
#include "dev/pci_host.h"
#include "dev/reset.h"

static unsigned changes;
static void count_change(struct machine *m) { changes++; }
static int no_init(struct machine *m, struct err *e) { return 0; }
static void no_free(struct machine *m) { }
static int no_vcpu_init(struct vcpu *v, struct err *e) { return 0; }
static void no_vcpu(struct vcpu *v) { }

static const struct engine_ops counting_engine = {
	.name = "counts", .init = no_init, .free = no_free, .vcpu_init = no_vcpu_init,
	.vcpu_free = no_vcpu, .kick = no_vcpu, .memory_changed = count_change,
};

static struct machine *with_engine(void)
{
	const struct machine_config cfg = { .ram_size = MiB, .ncpus = 2,
					    .engine = &counting_engine };
	struct machine *m;
	struct err e = { 0 };

	assert_int_equal(machine_new(&m, &cfg, &e), 0);
	return m;
}

static struct reset_ctl *add_reset(struct machine *m, bool kbd64)
{
	struct reset_ctl *r;
	struct err e = { 0 };

	assert_int_equal(reset_ctl_new(&r, m, kbd64, &e), 0);
	assert_int_equal(machine_add_device(m, &reset_ctl_class, r, "reset", &e), 0);
	assert_int_equal(state_check(reset_ctl_class.state, r, "reset", &e), 0);
	return r;
}

static void reset_control(void **st)
{
	struct machine *m = dt_machine(1);
	struct pci_bus *bus;
	struct pci_bus_opts o = { .npirq = 4 };
	struct err e = { 0 };

	/* CF9 lies inside PCI's CF8, which is a register only when written as a dword. */
	assert_int_equal(pci_bus_new(&bus, m, &o, &e), 0);
	assert_int_equal(machine_add_device(m, &pci_bus_class, bus, "pci", &e), 0);
	add_reset(m, false);
	outb(m, 0xcf9, 0x02);
	assert_int_equal(m->pending, 0);
	out(m, 0xcf8, 0x80000604, 4);		/* not a write of 06 to CF9 */
	assert_int_equal(in(m, 0xcf8, 4), 0x80000604);
	assert_int_equal(inb(m, 0xcf9), 0x02);
	assert_int_equal(m->pending, 0);
	outb(m, 0xcf9, 0x06);
	assert_int_not_equal(m->pending, 0);
	assert_int_equal(inb(m, 0x64), 0xff);	/* no 8042 here */
	machine_free(m);
	/* The bit must rise. */
	m = dt_machine(1);
	add_reset(m, false);
	outb(m, 0xcf9, 0x04);
	assert_int_not_equal(m->pending, 0);
	machine_free(m);
}

static void port_92(void **st)
{
	struct machine *m = with_engine();

	add_reset(m, false);
	changes = 0;
	assert_int_equal(inb(m, 0x92), 0x02);
	assert_true(m->a20);
	outb(m, 0x92, 0x00);
	assert_false(m->a20);
	outb(m, 0x92, 0x00);
	assert_int_equal(inb(m, 0x92), 0x00);
	outb(m, 0x92, 0x02);
	assert_true(m->a20);
	assert_int_equal(changes, 2);
	take_requests(m->cpu[0]);
	take_requests(m->cpu[1]);
	outb(m, 0x92, 0x03);			/* fast init: processors, not chips */
	assert_int_equal(take_requests(m->cpu[0]), VCPU_REQ_INIT);
	assert_int_equal(take_requests(m->cpu[1]), VCPU_REQ_INIT);
	outb(m, 0x92, 0x03);
	assert_int_equal(take_requests(m->cpu[0]), 0);
	assert_int_equal(m->pending, 0);
	machine_free(m);
}

static void kbd_reset(void **st)
{
	struct machine *m = dt_machine(1);

	add_reset(m, true);
	assert_int_equal(inb(m, 0x64) & 0x02, 0);	/* input buffer empty: write away */
	assert_int_equal(inb(m, 0x60), 0xff);
	outb(m, 0x64, 0xd1);
	assert_int_equal(m->pending, 0);
	outb(m, 0x64, 0xfe);
	assert_int_not_equal(m->pending, 0);
	machine_free(m);
}

static void debug_exits(void **st)
{
	struct debug_exit *d;
	struct err e = { 0 };

	for (unsigned len = 1; len <= 4; len *= 2) {
		struct machine *m = dt_machine(1);

		assert_int_equal(debug_exit_new(&d, m, DEBUG_EXIT_PORT, &e), 0);
		assert_int_equal(machine_add_device(m, &debug_exit_class, d, "exit", &e), 0);
		assert_int_equal(in(m, DEBUG_EXIT_PORT, 1), 0);
		out(m, DEBUG_EXIT_PORT, 0x10, len);
		assert_int_not_equal(m->pending, 0);
		assert_int_equal(m->exit_code, 0x21);
		machine_free(m);
	}
}

static void debug_console(void **st)
{
	struct machine *m = dt_machine(1);
	struct debug_con *d;
	struct chardev *be;
	struct err e = { 0 };

	assert_int_equal(chardev_mem_new(&be, 8, &e), 0);
	assert_int_equal(debug_con_new(&d, m, DEBUG_CON_PORT, be, &e), 0);
	assert_int_equal(machine_add_device(m, &debug_con_class, d, "con", &e), 0);
	assert_int_equal(inb(m, DEBUG_CON_PORT), 0xe9);
	for (const char *s = "SeaBIOS says hello"; *s; s++)
		outb(m, DEBUG_CON_PORT, *s);
	assert_string_equal(chardev_mem_output(be, NULL), "ys hello");
	chardev_free(be);
	outb(m, DEBUG_CON_PORT, 'x');
	machine_free(m);
}

static void host_bridge(void **st)
{
	struct machine *m = dt_machine(1);
	struct pci_bus *bus;
	struct pci_bus_opts o = { .npirq = 4 };
	struct pci_host *h;
	struct err e = { 0 };

	assert_int_equal(pci_bus_new(&bus, m, &o, &e), 0);
	assert_int_equal(machine_add_device(m, &pci_bus_class, bus, "pci", &e), 0);
	assert_int_equal(pci_host_new(&h, bus, &e), 0);
	assert_int_equal(machine_add_device(m, &pci_host_class, h, "host", &e), 0);
	out(m, 0xcf8, 0x80000008, 4);
	assert_int_equal(in(m, 0xcfc, 4) >> 16, 0x0600);
	out(m, 0xcf8, 0x80000000, 4);
	assert_int_equal(in(m, 0xcfc, 4), 0x00081b36);
	out(m, 0xcf8, 0x80000800, 4);
	assert_int_equal(in(m, 0xcfc, 4), 0xffffffff);
	machine_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reset_control), cmocka_unit_test(port_92), cmocka_unit_test(kbd_reset),
		cmocka_unit_test(debug_exits), cmocka_unit_test(debug_console),
		cmocka_unit_test(host_bridge),
	};

	return cmocka_run_group_tests_name("ports", tests, NULL, NULL);
}
