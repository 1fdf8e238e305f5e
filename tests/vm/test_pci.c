/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCI: mechanism 1, BAR sizing and moving, INTx, MSI, MSI-X, state that lies. */
#include "unit.h"
#include "vm/machine.h"
#include "vm/pci.h"
#include <errno.h>

struct card {
	struct pci_func pci;
	u8 tag;
	unsigned written;
};
static u64 card_read(void *p, struct vcpu *by, u64 off, unsigned len)
{
	return ((struct card *)p)->tag;
}
static void card_write(void *p, struct vcpu *by, u64 off, u64 v, unsigned len) { }
static const struct region_ops card_ops = { .read = card_read, .write = card_write };
static void card_written(void *p, unsigned off, unsigned len) { ((struct card *)p)->written++; }

struct ctx {
	struct machine *m;
	struct pci_bus *bus;
	int level[4];
	unsigned sent;
	u64 gpa[64];
	u32 data[64];
};
static void set_line(void *p, unsigned n, int level) { ((struct ctx *)p)->level[n] = level; }
static void send(void *p, u64 gpa, u32 data)
{
	struct ctx *x = p;

	x->gpa[x->sent % 64] = gpa;
	x->data[x->sent++ % 64] = data;
}

static int setup(void **st)
{
	const struct machine_config cfg = { .ram_size = MiB, .ncpus = 1 };
	struct ctx *x = calloc(1, sizeof(*x));
	struct pci_bus_opts o = { .npirq = 4 };
	struct err e = { 0 };

	if (machine_new(&x->m, &cfg, &e) < 0)
		return -1;
	x->m->msi = (struct msi_sink){ send, x };
	for (unsigned i = 0; i < 4; i++)
		o.pirq[i] = (struct irq_line){ set_line, x, i };
	if (pci_bus_new(&x->bus, x->m, &o, &e) < 0)
		return -1;
	*st = x;
	return machine_add_device(x->m, &pci_bus_class, x->bus, "pci", &e);
}
static int teardown(void **st)
{
	struct ctx *x = *st;

	machine_free(x->m);
	free(x);
	return 0;
}

static void card_init(struct card *c, u8 tag)
{
	static const struct pci_ids ids = { .vendor = 0x1af4, .device = 0x1234, .subvendor = 0x1af4,
		.subdevice = 0x1100, .class = 0x010180, .revision = 3, .int_pin = 1 };

	memset(c, 0, sizeof(*c));
	pci_func_init(&c->pci, "card", c, &ids);
	c->pci.config_written = card_written;
	c->tag = tag;
}
static void attach(struct ctx *x, struct card *c, u8 devfn)
{
	struct err e = { 0 };

	assert_int_equal(pci_attach(&c->pci, x->bus, devfn, &e), 0);
}
static u32 rd(struct ctx *x, u8 devfn, unsigned off, unsigned len)
{
	bus_write(x->m->ports, NULL, 0xcf8, 0x80000000u | (u32)devfn << 8 | (off & 0xfc), 4);
	return (u32)bus_read(x->m->ports, NULL, 0xcfc + (off & 3), len);
}
static void wr(struct ctx *x, u8 devfn, unsigned off, u32 val, unsigned len)
{
	bus_write(x->m->ports, NULL, 0xcf8, 0x80000000u | (u32)devfn << 8 | (off & 0xfc), 4);
	bus_write(x->m->ports, NULL, 0xcfc + (off & 3), val, len);
}

static void mechanism1(void **st)
{
	struct ctx *x = *st;
	struct bus *p = x->m->ports;
	struct card c;

	card_init(&c, 1);
	attach(x, &c, PCI_DEVFN(3, 0));
	bus_write(p, NULL, 0xcf8, 0xffffffff, 4);
	assert_int_equal(bus_read(p, NULL, 0xcf8, 4), 0x80fffffc);
	bus_write(p, NULL, 0xcf8, 0x80000000, 4);
	assert_int_equal(bus_read(p, NULL, 0xcf8, 4), 0x80000000);
	bus_write(p, NULL, 0xcfb, 1, 1);	/* Linux' probe: no index write */
	bus_write(p, NULL, 0xcf9, 0, 1);
	bus_write(p, NULL, 0xcf8, 0x1234, 2);
	assert_int_equal(bus_read(p, NULL, 0xcf8, 4), 0x80000000);
	assert_int_equal(rd(x, PCI_DEVFN(3, 0), 0, 4), 0x12341af4);
	assert_int_equal(rd(x, PCI_DEVFN(3, 0), 2, 2), 0x1234);
	assert_int_equal(rd(x, PCI_DEVFN(3, 0), 1, 1), 0x1a);
	assert_int_equal(rd(x, PCI_DEVFN(3, 0), 8, 4), 0x01018003);
	assert_int_equal(rd(x, PCI_DEVFN(3, 0), 0x2c, 4), 0x11001af4);
	assert_int_equal(rd(x, PCI_DEVFN(4, 0), 0, 4), 0xffffffff);
	wr(x, PCI_DEVFN(4, 0), 0, 0, 4);
	wr(x, PCI_DEVFN(3, 0), 0, 0, 4);	/* read-only */
	assert_int_equal(rd(x, PCI_DEVFN(3, 0), 0, 4), 0x12341af4);
	bus_write(p, NULL, 0xcf8, 0x00001800, 4);	/* not enabled */
	assert_int_equal(bus_read(p, NULL, 0xcfc, 4), 0xffffffff);
	bus_write(p, NULL, 0xcf8, 0x80011800, 4);	/* bus 1 */
	assert_int_equal(bus_read(p, NULL, 0xcfc, 4), 0xffffffff);
	wr(x, PCI_DEVFN(3, 0), PCI_INT_LINE, 11, 1);
	assert_int_equal(rd(x, PCI_DEVFN(3, 0), PCI_INT_LINE, 2), 0x010b);
	assert_true(c.written > 0);
	pci_detach(&c.pci);
	assert_int_equal(rd(x, PCI_DEVFN(3, 0), 0, 4), 0xffffffff);
}

static void multi_function(void **st)
{
	struct ctx *x = *st;
	struct card a, b, c;
	struct err e = { 0 };

	card_init(&a, 1);
	card_init(&b, 2);
	card_init(&c, 3);
	attach(x, &a, PCI_DEVFN(1, 0));
	assert_int_equal(rd(x, PCI_DEVFN(1, 0), PCI_HEADER_TYPE, 1), 0);
	attach(x, &b, PCI_DEVFN(1, 3));
	assert_int_equal(rd(x, PCI_DEVFN(1, 0), PCI_HEADER_TYPE, 1), 0x80);
	assert_int_equal(pci_attach(&c.pci, x->bus, PCI_DEVFN(1, 3), &e), -EEXIST);
	pci_func_reset(&a.pci);
	assert_int_equal(rd(x, PCI_DEVFN(1, 0), PCI_HEADER_TYPE, 1), 0x80);
	pci_detach(&b.pci);
	pci_detach(&b.pci);
	assert_int_equal(rd(x, PCI_DEVFN(1, 0), PCI_HEADER_TYPE, 1), 0);
	pci_detach(&a.pci);
}

static void bars(void **st)
{
	struct ctx *x = *st;
	struct bus *io = x->m->ports, *mem = x->m->mmio;
	u8 fn = PCI_DEVFN(2, 0);
	struct card c, d;

	card_init(&c, 0x11);
	pci_bar_set(&c.pci, 0, PCI_BAR_MEM32, 4096, &card_ops);
	pci_bar_set(&c.pci, 1, PCI_BAR_IO, 32, &card_ops);
	pci_bar_set(&c.pci, 2, PCI_BAR_MEM64_PREFETCH, 8 * GiB, &card_ops);
	pci_bar_set(&c.pci, PCI_BAR_ROM_INDEX, PCI_BAR_ROM, 65536, &card_ops);
	attach(x, &c, fn);
	/* sizing */
	wr(x, fn, PCI_BAR0, 0xffffffff, 4);
	assert_int_equal(rd(x, fn, PCI_BAR0, 4), 0xfffff000);
	wr(x, fn, PCI_BAR0 + 4, 0xffffffff, 4);
	assert_int_equal(rd(x, fn, PCI_BAR0 + 4, 4), 0xffffffe1);
	wr(x, fn, PCI_BAR0 + 8, 0xffffffff, 4);
	wr(x, fn, PCI_BAR0 + 12, 0xffffffff, 4);
	assert_int_equal(rd(x, fn, PCI_BAR0 + 8, 4), 0x0000000c);
	assert_int_equal(rd(x, fn, PCI_BAR0 + 12, 4), 0xfffffffe);
	wr(x, fn, PCI_ROM, 0xfffffffe, 4);
	assert_int_equal(rd(x, fn, PCI_ROM, 4), 0xffff0000);
	assert_int_equal(rd(x, fn, PCI_BAR0 + 16, 4), 0);
	/* placed, but not decoded */
	wr(x, fn, PCI_BAR0, 0xfebf0000, 4);
	wr(x, fn, PCI_BAR0 + 4, 0xc000, 4);
	wr(x, fn, PCI_BAR0 + 8, 0, 4);
	wr(x, fn, PCI_BAR0 + 12, 0x10, 4);
	assert_int_equal(bus_read(mem, NULL, 0xfebf0000, 1), 0xff);
	wr(x, fn, PCI_COMMAND, PCI_CMD_IO | PCI_CMD_MEM, 2);
	assert_int_equal(bus_read(mem, NULL, 0xfebf0ffc, 1), 0x11);
	assert_int_equal(bus_read(io, NULL, 0xc01f, 1), 0x11);
	assert_int_equal(bus_read(mem, NULL, 0x11ffffffffull, 1), 0x11);
	/* sizing with decode on, then moved */
	wr(x, fn, PCI_BAR0, 0xffffffff, 4);
	assert_int_equal(bus_read(mem, NULL, 0xfebf0000, 1), 0xff);
	wr(x, fn, PCI_BAR0 + 4, 0xffffffff, 4);
	assert_int_equal(bus_read(io, NULL, 0xc000, 1), 0xff);
	wr(x, fn, PCI_BAR0, 0xe0000000, 4);
	wr(x, fn, PCI_BAR0 + 4, 0xd000, 4);
	assert_int_equal(bus_read(mem, NULL, 0xe0000000, 1), 0x11);
	assert_int_equal(bus_read(io, NULL, 0xd000, 1), 0x11);
	wr(x, fn, PCI_ROM, 0xe8000001, 4);
	assert_int_equal(bus_read(mem, NULL, 0xe8000000, 1), 0x11);
	wr(x, fn, PCI_ROM, 0xe8000000, 4);
	assert_int_equal(bus_read(mem, NULL, 0xe8000000, 1), 0xff);
	/* another card at the same place: one of them answers, and the other when that has gone */
	card_init(&d, 0x22);
	pci_bar_set(&d.pci, 0, PCI_BAR_MEM32, 4096, &card_ops);
	attach(x, &d, PCI_DEVFN(1, 0));
	wr(x, PCI_DEVFN(1, 0), PCI_BAR0, 0xe0000000, 4);
	wr(x, PCI_DEVFN(1, 0), PCI_COMMAND, PCI_CMD_MEM, 2);
	assert_int_equal(bus_read(mem, NULL, 0xe0000000, 1), 0x22);
	wr(x, PCI_DEVFN(1, 0), PCI_COMMAND, 0, 2);
	assert_int_equal(bus_read(mem, NULL, 0xe0000000, 1), 0x11);
	pci_func_reset(&c.pci);
	assert_int_equal(bus_read(mem, NULL, 0xe0000000, 1), 0xff);
	assert_int_equal(rd(x, fn, PCI_BAR0, 4), 0);
	pci_detach(&c.pci);
	pci_detach(&d.pci);
}

static void intx(void **st)
{
	struct ctx *x = *st;
	struct card a, b;
	u8 fa = PCI_DEVFN(1, 0), fb = PCI_DEVFN(5, 0);

	card_init(&a, 1);
	card_init(&b, 2);
	attach(x, &a, fa);
	attach(x, &b, fb);
	pci_set_intx(&a.pci, true);
	assert_int_equal(x->level[1], 1);
	assert_int_equal(rd(x, fa, PCI_STATUS, 1) & PCI_STS_INTX, PCI_STS_INTX);
	pci_set_intx(&b.pci, true);	/* the same line: wired or */
	pci_set_intx(&a.pci, false);
	assert_int_equal(x->level[1], 1);
	wr(x, fb, PCI_COMMAND, PCI_CMD_INTX_OFF, 2);
	assert_int_equal(x->level[1], 0);
	assert_int_equal(rd(x, fb, PCI_STATUS, 1) & PCI_STS_INTX, PCI_STS_INTX);
	wr(x, fb, PCI_COMMAND, 0, 2);
	assert_int_equal(x->level[1], 1);
	pci_func_reset(&b.pci);
	assert_int_equal(x->level[1], 0);
	pci_set_intx(&b.pci, true);
	pci_detach(&b.pci);
	assert_int_equal(x->level[1], 0);
	pci_detach(&a.pci);
}

static void msi(void **st)
{
	struct ctx *x = *st;
	u8 fn = PCI_DEVFN(2, 0), c;
	struct card k;

	card_init(&k, 1);
	pci_add_msi(&k.pci, 4);
	attach(x, &k, fn);
	c = (u8)rd(x, fn, PCI_CAP_PTR, 1);
	assert_int_equal(rd(x, fn, c, 1), PCI_CAP_MSI);
	assert_int_equal(rd(x, fn, PCI_STATUS, 2) & PCI_STS_CAPS, PCI_STS_CAPS);
	wr(x, fn, c + 4, 0xfee00003, 4);
	assert_int_equal(rd(x, fn, c + 4, 4), 0xfee00000);
	wr(x, fn, c + 12, 0x4143, 2);
	pci_msi_notify(&k.pci, 0);
	assert_int_equal(x->sent, 0);		/* not enabled */
	wr(x, fn, c + 2, 1 | 2 << 4, 2);	/* enabled, four vectors */
	assert_true(pci_msi_enabled(&k.pci));
	pci_msi_notify(&k.pci, 1);
	assert_int_equal(x->sent, 0);		/* not a bus master: the write goes nowhere */
	wr(x, fn, PCI_COMMAND, PCI_CMD_MASTER, 2);
	pci_msi_notify(&k.pci, 2);
	assert_int_equal(x->sent, 1);
	assert_int_equal(x->gpa[0], 0xfee00000);
	assert_int_equal(x->data[0], 0x4142);
	wr(x, fn, c + 16, 0xffffffff, 4);	/* mask all */
	assert_int_equal(rd(x, fn, c + 16, 4), 0xf);
	pci_msi_notify(&k.pci, 3);
	assert_int_equal(x->sent, 1);
	assert_int_equal(rd(x, fn, c + 20, 4), 8);
	wr(x, fn, c + 16, 0, 4);
	assert_int_equal(x->sent, 2);
	assert_int_equal(x->data[1], 0x4143);
	assert_int_equal(rd(x, fn, c + 20, 4), 0);
	pci_detach(&k.pci);
}

static void msix(void **st)
{
	struct ctx *x = *st;
	struct bus *mem = x->m->mmio;
	const u64 at = 0xe0000000;
	u8 fn = PCI_DEVFN(2, 0), c;
	struct card k;

	card_init(&k, 1);
	pci_add_cap(&k.pci, PCI_CAP_VENDOR, 17);
	pci_add_msix(&k.pci, 64, 1);
	attach(x, &k, fn);
	c = (u8)rd(x, fn, PCI_CAP_PTR, 1);
	assert_int_equal(rd(x, fn, c, 1), PCI_CAP_MSIX);
	assert_int_equal(rd(x, fn, rd(x, fn, c + 1, 1), 1), PCI_CAP_VENDOR);
	assert_int_equal(rd(x, fn, c + 2, 2), 63);
	assert_int_equal(rd(x, fn, c + 4, 4), 1);
	wr(x, fn, PCI_BAR0 + 4, (u32)at, 4);
	wr(x, fn, PCI_COMMAND, PCI_CMD_MEM | PCI_CMD_MASTER, 2);
	wr(x, fn, c + 2, 0x8000, 2);
	assert_int_equal(bus_read(mem, NULL, at + 63 * 16 + 12, 4), 1);	/* masked after reset */
	bus_write(mem, NULL, at + 63 * 16, 0x12fee00000, 8);
	bus_write(mem, NULL, at + 63 * 16 + 8, 0x55, 4);
	pci_msi_notify(&k.pci, 63);
	pci_msi_notify(&k.pci, 64);	/* there is none */
	assert_int_equal(x->sent, 0);
	assert_true(bus_read(mem, NULL, at + 2048, 8) == BIT(63));
	bus_write(mem, NULL, at + 2048, 0, 8);			/* read-only */
	wr(x, fn, c + 2, 0xc000, 2);				/* function mask */
	bus_write(mem, NULL, at + 63 * 16 + 12, 0, 4);
	assert_int_equal(x->sent, 0);
	wr(x, fn, c + 2, 0x8000, 2);
	assert_int_equal(x->sent, 1);
	assert_true(x->gpa[0] == 0x12fee00000);
	assert_int_equal(x->data[0], 0x55);
	assert_int_equal(bus_read(mem, NULL, at + 2048, 8), 0);
	assert_int_equal(bus_read(mem, NULL, at + 4092, 4), 0);
	bus_write(mem, NULL, at + 4092, ~0u, 4);
	pci_detach(&k.pci);
}

static void hostile_state(void **st)
{
	struct ctx *x = *st;
	struct card k, copy;
	struct err e = { 0 };

	card_init(&k, 0x77);
	pci_bar_set(&k.pci, 0, PCI_BAR_MEM32, 4096, &card_ops);
	attach(x, &k, PCI_DEVFN(2, 0));
	copy = k;
	k.pci.config[PCI_BAR0 + 3] = 0xe0;
	k.pci.config[PCI_COMMAND] = PCI_CMD_MEM;
	k.pci.intx = true;
	assert_int_equal(pci_func_post_load(&k.pci, &e), 0);
	assert_int_equal(bus_read(x->m->mmio, NULL, 0xe0000000, 1), 0x77);
	assert_int_equal(x->level[2], 1);
	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++) {
		u8 was = k.pci.config[i];

		if (k.pci.wmask[i] == 0xff)
			continue;
		k.pci.config[i] ^= (u8)~k.pci.wmask[i];
		assert_int_equal(pci_func_post_load(&k.pci, &e), -EINVAL);
		k.pci.config[i] = was;
	}
	assert_int_equal(state_check(pci_func_state, &copy.pci, "card", &e), 0);
	pci_detach(&k.pci);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(mechanism1), T(multi_function), T(bars), T(intx), T(msi), T(msix), T(hostile_state),
	};

	return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
