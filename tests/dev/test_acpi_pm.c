/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ACPI fixed hardware: PM timer and its carry, events and the SCI, GPEs, modes, power-off. */
#include "unit.h"
#include "dev/acpi_pm.h"
#include "dev/devtest.h"

enum { STS = 0x600, EN = 0x602, CNT = 0x604, TMR = 0x608, GPE = 0xafe0 };

struct ctx {
	struct machine *m;
	struct acpi_pm *p;
	struct probe sci;
};

static int make(struct ctx *x, bool acpi_mode)
{
	const struct acpi_pm_config cfg = { 0x600, 0xafe0, acpi_mode };
	struct err e = { 0 };

	x->m = dt_machine(1);
	assert_int_equal(acpi_pm_new(&x->p, x->m, &cfg, probe_line(&x->sci), &e), 0);
	assert_int_equal(machine_add_device(x->m, &acpi_pm_class, x->p, "pm", &e), 0);
	return state_check(acpi_pm_class.state, x->p, "pm", &e);
}

static int setup(void **st)
{
	struct ctx *x = calloc(1, sizeof(*x));

	*st = x;
	return make(x, false);
}

static int teardown(void **st)
{
	struct ctx *x = *st;

	machine_free(x->m);
	free(x);
	return 0;
}

static void timer(void **st)
{
	struct ctx *x = *st;
	u32 a = in(x->m, TMR, 4);

	pass(x->m, SEC);
	assert_in_range((in(x->m, TMR, 4) - a) & 0xffffff, 3579544, 3579546);
	pass(x->m, 10 * SEC);
	a = in(x->m, TMR, 4);
	assert_true(a < 1 << 24);
	/* Byte by byte and unaligned it is the same number. */
	assert_int_equal(inb(x->m, TMR) | inb(x->m, TMR + 1) << 8 | inb(x->m, TMR + 2) << 16, a);
	assert_int_equal(in(x->m, TMR + 1, 2), a >> 8);
	assert_int_equal(inb(x->m, TMR + 3), 0);
	out(x->m, TMR, 0, 4);
	assert_int_equal(in(x->m, TMR, 4), a);
}

/* Bit 23 changes each 2.34 s; either way sets TMR_STS. */
static void carry(void **st)
{
	struct ctx *x = *st;
	const u64 half = (u64)((1u << 23) * 1e9 / ACPI_PM_TIMER_HZ) + 1;

	assert_int_equal(in(x->m, STS, 2), 0);
	pass(x->m, half - 1000);
	assert_int_equal(in(x->m, STS, 2), 0);
	pass(x->m, 1000);
	assert_int_equal(in(x->m, STS, 2), 1);
	out(x->m, STS, 1, 2);
	assert_int_equal(in(x->m, STS, 2), 0);
	outb(x->m, ACPI_SMI_CMD, ACPI_ENABLE);
	out(x->m, EN, 1, 2);
	pass(x->m, half);
	assert_int_equal(x->sci.rises, 1);
	pass(x->m, 10 * half);
	assert_int_equal(x->sci.rises, 1);
	out(x->m, STS, 1, 2);
	assert_false(x->sci.level);
	pass(x->m, half);
	assert_int_equal(x->sci.rises, 2);
}

static void modes(void **st)
{
	struct ctx *x = *st;

	assert_int_equal(in(x->m, CNT, 2), 0);
	out(x->m, CNT, 1, 2);			/* SCI_EN is not software's */
	assert_int_equal(in(x->m, CNT, 2), 0);
	outb(x->m, 0xb3, 0x77);
	outb(x->m, ACPI_SMI_CMD, ACPI_ENABLE);
	assert_int_equal(in(x->m, CNT, 2), 1);
	assert_int_equal(inb(x->m, ACPI_SMI_CMD), ACPI_ENABLE);
	assert_int_equal(inb(x->m, 0xb3), 0x77);
	out(x->m, CNT, 0x1c06, 2);		/* GBL_RLS is write-only */
	assert_int_equal(in(x->m, CNT, 2), 0x1c03);
	outb(x->m, ACPI_SMI_CMD, ACPI_DISABLE);
	assert_int_equal(in(x->m, CNT, 2), 0x1c02);
	assert_int_equal(x->m->pending, 0);
}

static void power_button(void **st)
{
	struct ctx *x = *st;

	outb(x->m, ACPI_SMI_CMD, ACPI_ENABLE);
	out(x->m, EN, 0xffff, 2);
	assert_int_equal(in(x->m, EN, 2), 0x0721);
	out(x->m, EN, 0x0100, 2);
	acpi_pm_power_button(x->p);
	assert_true(x->sci.level);
	assert_int_equal(in(x->m, STS, 2), 0x0100);
	assert_int_equal(in(x->m, STS, 4), 0x01000100);	/* status and enable in one */
	outb(x->m, STS, 0xff);
	assert_true(x->sci.level);
	outb(x->m, STS + 1, 0x01);
	assert_false(x->sci.level);
	/* Not enabled: a status only; the enable then interrupts at once. */
	acpi_pm_sleep_button(x->p);
	assert_false(x->sci.level);
	outb(x->m, EN + 1, 0x02);
	assert_true(x->sci.level);
	outb(x->m, ACPI_SMI_CMD, ACPI_DISABLE);	/* legacy mode: SMI's business */
	assert_false(x->sci.level);
}

static void gpes(void **st)
{
	struct ctx *x = *st;

	outb(x->m, ACPI_SMI_CMD, ACPI_ENABLE);
	acpi_pm_gpe(x->p, 1);
	acpi_pm_gpe(x->p, 9);
	assert_int_equal(in(x->m, GPE, 2), 0x0202);
	assert_false(x->sci.level);
	outb(x->m, GPE + 3, 0x02);
	assert_true(x->sci.level);
	assert_int_equal(in(x->m, GPE, 4), 0x02000202);
	outb(x->m, GPE + 1, 0x02);
	assert_false(x->sci.level);
	assert_int_equal(in(x->m, GPE, 2), 0x0002);
	outb(x->m, GPE + 2, 0xff);
	assert_int_equal(inb(x->m, GPE + 2), 0xff);
	assert_true(x->sci.level);
	acpi_pm_class.reset(x->p);
	assert_false(x->sci.level);
	assert_int_equal(in(x->m, GPE, 4), 0);
}

static void power_off(void **st)
{
	struct ctx *x = *st;

	out(x->m, CNT, 0x1400, 2);		/* a type alone does nothing */
	out(x->m, CNT, 0x2000 | 1 << 10, 2);	/* S1: not here */
	assert_int_equal(x->m->pending, 0);
	assert_int_equal(in(x->m, CNT, 2) & 0x2000, 0);
	out(x->m, CNT, 0x2000 | ACPI_S5_TYP << 10, 2);
	assert_int_not_equal(x->m->pending, 0);
}

static void no_firmware(void **st)
{
	struct ctx x = { 0 };

	assert_int_equal(make(&x, true), 0);
	assert_int_equal(in(x.m, CNT, 2), 1);
	/* Bytes, as some loaders write it. */
	outb(x.m, CNT + 1, 0x20);
	assert_int_not_equal(x.m->pending, 0);
	machine_free(x.m);
}

static void saved(void **st)
{
	struct ctx *x = *st, y = { 0 };

	outb(x->m, ACPI_SMI_CMD, ACPI_ENABLE);
	out(x->m, EN, 0x0101, 2);
	acpi_pm_gpe(x->p, 3);
	pass(x->m, SEC);
	make(&y, false);
	clock_set(y.m->clock, now(x->m));
	dev_copy(&acpi_pm_class, x->p, y.p);
	for (unsigned i = 0; i < 100; i++) {
		pass(x->m, 100 * MS);
		pass(y.m, 100 * MS);
		for (unsigned r = 0; r < 0x40; r += 4)
			assert_int_equal(in(x->m, 0x600 + r, 4), in(y.m, 0x600 + r, 4));
		assert_int_equal(in(x->m, GPE, 4), in(y.m, GPE, 4));
		assert_int_equal(x->sci.level, y.sci.level);
		if (i % 30 == 29) {
			out(x->m, STS, 1, 2);
			out(y.m, STS, 1, 2);
		}
	}
	machine_free(y.m);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(timer), T(carry), T(modes), T(power_button), T(gpes), T(power_off), T(saved),
		cmocka_unit_test(no_firmware),
	};

	return cmocka_run_group_tests_name("acpi_pm", tests, NULL, NULL);
}
