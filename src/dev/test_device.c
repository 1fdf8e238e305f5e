/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_device.c - the field's test device for guests that test the machine itself.
 * After: docs/specs of QEMU's pc-testdev, as kvm-unit-tests use it.
 *	ports E0-E7		eight bytes that keep what is written, for in/out and ins/outs
 *	ports 2000-2017		write: sets interrupt line n to bit 0
 *	FF000000, 64 KiB	memory that is reached as MMIO */
#include "dev/test_device.h"
#include "vm/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DATA_PORT	0xe0
#define DATA_LEN	8
#define IRQ_PORT	0x2000
#define IOMEM_BASE	0xff000000u
#define IOMEM_LEN	0x10000

struct test_device {
	struct machine *m;
	struct irq_line irq[TEST_DEVICE_IRQS];
	u8 data[DATA_LEN];
	u8 iomem[IOMEM_LEN];
	unsigned nmapped;
};

static const struct state_field test_device_state[] = {
	STATE_BYTES(struct test_device, data),
	STATE_BYTES(struct test_device, iomem),
	STATE_END
};

static u64 data_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	struct test_device *t = dev;
	u64 v = 0;

	memcpy(&v, t->data + off, len);
	return v;
}

static void data_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct test_device *t = dev;

	memcpy(t->data + off, &val, len);
}

static u64 irq_read(void *dev, struct vcpu *by, u64 off, unsigned len) { return 0; }

static void irq_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct test_device *t = dev;

	irq_set(t->irq[off], val & 1);
}

static u64 iomem_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	struct test_device *t = dev;
	u64 v = 0;

	memcpy(&v, t->iomem + off, len);
	return v;
}

static void iomem_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct test_device *t = dev;

	memcpy(t->iomem + off, &val, len);
}

static const struct region_ops data_ops = { .read = data_read, .write = data_write, .impl_max = 4 };
static const struct region_ops irq_ops = {
	.read = irq_read, .write = irq_write, .impl_min = 1, .impl_max = 1,
};
static const struct region_ops iomem_ops = { .read = iomem_read, .write = iomem_write, .impl_max = 8 };

static const struct {
	bool port;
	u32 base, len;
	const struct region_ops *ops;
	const char *name;
} regions[] = {
	{ true, DATA_PORT, DATA_LEN, &data_ops, "test-data" },
	{ true, IRQ_PORT, TEST_DEVICE_IRQS, &irq_ops, "test-irq" },
	{ false, IOMEM_BASE, IOMEM_LEN, &iomem_ops, "test-iomem" },
};

static void test_device_reset(void *dev)
{
	struct test_device *t = dev;

	memset(t->data, 0, sizeof(t->data));
	memset(t->iomem, 0, sizeof(t->iomem));
}

static void test_device_free(void *dev)
{
	struct test_device *t = dev;

	if (!t)
		return;
	while (t->nmapped) {
		t->nmapped--;
		bus_unmap(regions[t->nmapped].port ? t->m->ports : t->m->mmio, regions[t->nmapped].base,
			  regions[t->nmapped].len, t);
	}
	free(t);
}

int test_device_new(struct test_device **out, struct machine *m,
		    const struct irq_line irq[TEST_DEVICE_IRQS], struct err *e)
{
	struct test_device *t = calloc(1, sizeof(*t));

	if (!t)
		return err_set(e, ENOMEM, "test device: out of memory");
	t->m = m;
	memcpy(t->irq, irq, sizeof(t->irq));
	for (; t->nmapped < ARRAY_SIZE(regions); t->nmapped++) {
		int r = bus_map(regions[t->nmapped].port ? m->ports : m->mmio, regions[t->nmapped].base,
				regions[t->nmapped].len, regions[t->nmapped].ops, t, regions[t->nmapped].name, 0, e);
		if (r) {
			test_device_free(t);
			return r;
		}
	}
	*out = t;
	return 0;
}

const struct device_class test_device_class = {
	.name = "test-device", .version = 1, .state = test_device_state,
	.reset = test_device_reset, .free = test_device_free,
};
