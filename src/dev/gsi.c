// SPDX-License-Identifier: GPL-2.0-or-later
/* gsi.c - the wires of a PC's interrupts: which input of which chip a source reaches.
 * GSI 0-15 are the ISA IRQs and reach both chips; IRQ 0 arrives at pin 2 of the I/O APIC (which
 * the MADT says by an interrupt source override), GSI 2 and 16-23 at the I/O APIC alone. */
#include "dev/gsi.h"

#include <errno.h>
#include <stdlib.h>

#define SOURCES_MAX 32

struct gsi_input {
	u32 sources;			/* levels of the sources that share it */
	u8 nsources;
};

struct gsi {
	struct i8259 *pic;
	struct ioapic *io;
	struct gsi_input in[IOAPIC_PINS];
};

static void gsi_drive(void *chip, unsigned n, int level)
{
	struct gsi *g = chip;

	if (g->pic && n < 16)
		irq_set(i8259_line(g->pic, n), level);
	if (g->io && !(n == 2))
		irq_set(ioapic_line(g->io, n == 0 ? 2 : n), level);
}

struct irq_line gsi_line(struct gsi *g, unsigned n)
{
	BUG_ON(n >= IOAPIC_PINS);
	return (struct irq_line){ gsi_drive, g, n };
}

/* @n: GSI * SOURCES_MAX + source. */
static void shared_set(void *chip, unsigned n, int level)
{
	struct gsi *g = chip;
	struct gsi_input *in = &g->in[n / SOURCES_MAX];
	u32 bit = 1u << (n % SOURCES_MAX);

	in->sources = level ? in->sources | bit : in->sources & ~bit;
	gsi_drive(g, n / SOURCES_MAX, in->sources != 0);
}

int gsi_share(struct gsi *g, unsigned n, struct irq_line *out, struct err *e)
{
	BUG_ON(n >= IOAPIC_PINS);
	if (g->in[n].nsources >= SOURCES_MAX)
		return err_set(e, ENOSPC, "GSI %u has %d sources already", n, SOURCES_MAX);
	*out = (struct irq_line){ shared_set, g, n * SOURCES_MAX + g->in[n].nsources++ };
	return 0;
}

int gsi_new(struct gsi **out, struct i8259 *pic, struct ioapic *io, struct err *e)
{
	struct gsi *g = calloc(1, sizeof(*g));

	if (!g)
		return err_set(e, ENOMEM, "no memory for the interrupt wires");
	g->pic = pic;
	g->io = io;
	*out = g;
	return 0;
}

static void gsi_free(void *dev) { free(dev); }

/* Levels are the sources' own: a reset of a source lowers them. */
static void gsi_reset(void *dev) { }

static const struct state_field gsi_input_state[] = {
	STATE_U32(struct gsi_input, sources, 0, UINT32_MAX),
	STATE_END
};
static const struct state_field gsi_state[] = {
	STATE_STRUCT_ARRAY(struct gsi, in, gsi_input_state),
	STATE_END
};

const struct device_class gsi_class = {
	.name = "gsi",
	.version = 1,
	.state = gsi_state,
	.reset = gsi_reset,
	.free = gsi_free,
};
