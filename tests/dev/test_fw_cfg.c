/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The firmware configuration device and the test device, by their ports. */
#include "unit.h"
#include "base/bytes.h"
#include "dev/devtest.h"
#include "dev/fw_cfg.h"
#include "dev/test_device.h"

#include <errno.h>

static struct fw_cfg *add_fw(struct machine *m)
{
	struct fw_cfg *f;
	struct err e = { 0 };

	assert_int_equal(fw_cfg_new(&f, m, &e), 0);
	assert_int_equal(machine_add_device(m, &fw_cfg_class, f, "fwcfg", &e), 0);
	return f;
}

/* Start a DMA: the descriptor at 0x1000, the data at @to. Returns the control word afterwards. */
static u32 dma(struct machine *m, u32 ctl, u32 len, u64 to)
{
	u8 d[16];

	put_be32(d, ctl);
	put_be32(d + 4, len);
	put_be64(d + 8, to);
	assert_true(ram_write(m->ram, 0x1000, d, sizeof(d)));
	out(m, 0x514, 0, 4);
	out(m, 0x518, __builtin_bswap32(0x1000), 4);
	assert_true(ram_read(m->ram, 0x1000, d, sizeof(d)));
	return get_be32(d);
}

static void items(void **st)
{
	struct machine *m = dt_machine(3);
	struct fw_cfg *f = add_fw(m);
	struct err e = { 0 };

	out(m, 0x510, FW_CFG_SIGNATURE, 2);
	assert_int_equal(inb(m, 0x511), 'Q');
	assert_int_equal(inb(m, 0x511), 'E');
	assert_int_equal(inb(m, 0x511), 'M');
	assert_int_equal(inb(m, 0x511), 'U');
	assert_int_equal(inb(m, 0x511), 0);		/* past the end */
	out(m, 0x510, FW_CFG_NB_CPUS, 2);
	assert_int_equal(inb(m, 0x511), 3);
	assert_int_equal(inb(m, 0x511), 0);
	out(m, 0x510, 0x7777, 2);			/* no such item */
	assert_int_equal(inb(m, 0x511), 0);
	assert_int_equal(fw_cfg_add(f, FW_CFG_ID, "x", 1, &e), -EEXIST);
	assert_int_equal(fw_cfg_add_file(f, "a name that is far too long for a directory's entry of 56 bytes",
					 "x", 1, &e), -EINVAL);
	machine_free(m);
}

static void transfers(void **st)
{
	struct machine *m = dt_machine(1);
	struct fw_cfg *f = add_fw(m);
	struct err e = { 0 };
	u8 b[80];

	assert_int_equal(fw_cfg_add_file(f, "etc/one", "abcdef", 6, &e), 0);
	assert_int_equal(fw_cfg_add_file(f, "etc/two", "XY", 2, &e), 0);
	assert_int_equal(dma(m, FW_CFG_FILE_DIR << 16 | 8 | 2, 4 + 64, 0x2000), 0);
	assert_true(ram_read(m->ram, 0x2000, b, 68));
	assert_int_equal(get_be32(b), 2);
	assert_int_equal(get_be32(b + 4), 6);
	assert_int_equal(get_be16(b + 8), FW_CFG_FILE_FIRST);
	assert_string_equal((char *)b + 12, "etc/one");
	/* Select and skip, then read on: past the end come zeros. */
	assert_int_equal(dma(m, FW_CFG_FILE_FIRST << 16 | 8 | 4, 4, 0), 0);
	memset(b, 0xff, 4);
	assert_true(ram_write(m->ram, 0x2000, b, 4));
	assert_int_equal(dma(m, 2, 4, 0x2000), 0);
	assert_true(ram_read(m->ram, 0x2000, b, 4));
	assert_memory_equal(b, "ef\0", 4);
	/* Writing to items, memory that is none, and a length made to hold the lock. */
	assert_int_equal(dma(m, FW_CFG_FILE_FIRST << 16 | 8 | 16, 4, 0x2000), 1);
	assert_int_equal(dma(m, 2, 4, UINT64_MAX - 1), 1);
	memset(b, 0xff, 4);
	assert_true(ram_write(m->ram, 0x2000, b, 4));
	assert_int_equal(dma(m, 2, UINT32_MAX, 0x2000), 1);
	assert_true(ram_read(m->ram, 0x2000, b, 4));
	assert_memory_equal(b, "\xff\xff\xff\xff", 4);	/* refused whole */
	/* A descriptor outside memory is not followed. */
	out(m, 0x514, UINT32_MAX, 4);
	out(m, 0x518, UINT32_MAX, 4);
	machine_free(m);
}

static int level[TEST_DEVICE_IRQS];
static void set_level(void *chip, unsigned n, int l) { level[n] = l; }

static void test_ports(void **st)
{
	struct machine *m = dt_machine(1);
	struct irq_line irq[TEST_DEVICE_IRQS];
	struct test_device *t;
	struct err e = { 0 };

	for (unsigned i = 0; i < TEST_DEVICE_IRQS; i++)
		irq[i] = (struct irq_line){ set_level, NULL, i };
	assert_int_equal(test_device_new(&t, m, irq, &e), 0);
	assert_int_equal(machine_add_device(m, &test_device_class, t, "testdev", &e), 0);
	outb(m, 0x2000 + 23, 1);
	assert_int_equal(level[23], 1);
	outb(m, 0x2000 + 23, 0);
	assert_int_equal(level[23], 0);
	out(m, 0xe4, 0x12345678, 4);
	assert_int_equal(in(m, 0xe4, 4), 0x12345678);
	assert_int_equal(inb(m, 0xe7), 0x12);
	bus_write(m->mmio, NULL, 0xff00fff8, 0x1122334455667788, 8);
	assert_true(bus_read(m->mmio, NULL, 0xff00fff8, 8) == 0x1122334455667788);
	machine_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(items), cmocka_unit_test(transfers), cmocka_unit_test(test_ports),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
