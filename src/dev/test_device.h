/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_device.h - what test guests use to make the machine do things to them. */
#ifndef PENTA_DEV_TEST_DEVICE_H
#define PENTA_DEV_TEST_DEVICE_H

#include "vm/device.h"
#include "vm/irq.h"

#define TEST_DEVICE_IRQS 24

struct test_device;
extern const struct device_class test_device_class;
/* @irq: the lines that ports 2000-2017 drive; copied. */
int test_device_new(struct test_device **out, struct machine *m,
		    const struct irq_line irq[TEST_DEVICE_IRQS], struct err *e);

#endif
