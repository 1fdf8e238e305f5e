// SPDX-License-Identifier: GPL-2.0-or-later
/* i8259.c - two 8259A interrupt controllers, the second one on input 2 of the first.
 * After: Intel 8259A data sheet (231468-003); edge/level control registers as in 82371SB (290550).
 *
 * Inputs. Edge mode: a rising edge is latched in the IRR; the request is withdrawn when the input
 * falls before the acknowledge, which then finds nothing and answers with the spurious vector of
 * input 7. Level mode (ELCR): the IRR follows the input. Input 2 of the master is the slave's
 * output and behaves like a level, so that two slave requests in a row need no edge between.
 *
 * Left out: MCS-80/85 mode (ICW4 bit 0 clear is kept but changes nothing), buffered mode's pins,
 * and LTIM of ICW1, which PC chip sets ignore in favour of the ELCR. */
#include "dev/i8259.h"

#include "base/trace.h"
#include "vm/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

DEFINE_TRACE(pic_line, "pic.line");
DEFINE_TRACE(pic_ack, "pic.ack");
DEFINE_TRACE(pic_write, "pic.write");

#define ICW1		0x10	/* A0 = 0: this bit set */
#define ICW1_IC4	0x01
#define ICW1_SNGL	0x02
#define ICW4_AEOI	0x02
#define ICW4_SFNM	0x10
#define OCW3		0x08	/* A0 = 0, bit 4 clear: this bit set */
#define OCW3_RIS	0x01
#define OCW3_RR		0x02
#define OCW3_POLL	0x04
#define OCW3_SMM	0x20
#define OCW3_ESMM	0x40
#define POLL_PENDING	0x80

#define CASCADE		2
#define SPURIOUS	7

enum { MASTER, SLAVE };

struct chip {
	u8 irr, imr, isr;
	u8 lines;		/* levels of the inputs */
	u8 elcr;		/* 1: level */
	u8 base;		/* ICW2: vector bits 7-3 */
	u8 icw3, icw4;
	u8 lowest;		/* input of lowest priority: 7 after ICW1 */
	u8 expect;		/* next ICW wanted at A0 = 1: 2, 3, 4, or 0 */
	bool want_icw4, single;
	bool rotate_aeoi;
	bool special_mask;
	bool read_isr;		/* A0 = 0 reads the ISR, else the IRR */
	bool poll;		/* the next read acknowledges */
};

struct i8259 {
	struct machine *m;
	struct irq_line intr;
	unsigned nmapped;
	struct chip c[2];
	bool out;		/* level of the master's INT */
};

/* --- priorities --- */

/* Rank of input @n: 0 is served first. */
static unsigned rank(const struct chip *c, unsigned n) { return (n - c->lowest - 1) & 7; }

static int best(const struct chip *c, u8 set)
{
	for (unsigned i = 1; i <= 8; i++) {
		unsigned n = (c->lowest + i) & 7;

		if (set >> n & 1)
			return n;
	}
	return -1;
}

/* The input that asks for service now, or -1. */
static int request(const struct chip *c, bool master)
{
	int n = best(c, c->irr & ~c->imr), serving;
	u8 isr = c->isr;

	if (n < 0)
		return -1;
	if (c->special_mask)
		isr &= ~c->imr;
	/* Specially fully nested: the cascade input may ask again while in service. */
	if (master && (c->icw4 & ICW4_SFNM) && n == CASCADE)
		isr &= ~(1 << CASCADE);
	serving = best(c, isr);
	return serving < 0 || rank(c, n) < rank(c, serving) ? n : -1;
}

static void update(struct i8259 *p)
{
	struct chip *m = &p->c[MASTER];
	bool out;

	if (request(&p->c[SLAVE], false) >= 0)
		m->irr |= 1 << CASCADE;
	else
		m->irr &= ~(1 << CASCADE);
	out = request(m, true) >= 0;
	if (out != p->out) {
		p->out = out;
		irq_set(p->intr, out);
	}
}

static void line_set(void *chip, unsigned n, int level)
{
	struct i8259 *p = chip;
	struct chip *c = &p->c[n >> 3];
	u8 bit = 1 << (n & 7);

	if (!!(c->lines & bit) == !!level)
		return;
	TRACE(pic_line, "irq=%u level=%d", n, level);
	c->lines ^= bit;
	if (level)
		c->irr |= bit;		/* an edge, or a level: both ask */
	else
		c->irr &= ~bit;
	update(p);
}

/* --- acknowledge --- */

/* One chip's part of an INTA: the input served, or 7 when there is none (spurious). */
static unsigned ack_chip(struct chip *c, bool master)
{
	int n = request(c, master);

	if (n < 0)
		return SPURIOUS;
	if (!(c->elcr >> n & 1) && !(master && n == CASCADE))
		c->irr &= ~(1 << n);
	if (c->icw4 & ICW4_AEOI) {
		if (c->rotate_aeoi)
			c->lowest = n;
	} else {
		c->isr |= 1 << n;
	}
	return n;
}

int i8259_ack(void *dev)
{
	struct i8259 *p = dev;
	bool any = request(&p->c[MASTER], true) >= 0;
	unsigned n = ack_chip(&p->c[MASTER], true);
	u8 vector;

	if (any && n == CASCADE && !p->c[MASTER].single)
		vector = p->c[SLAVE].base + ack_chip(&p->c[SLAVE], false);
	else
		vector = p->c[MASTER].base + n;
	TRACE(pic_ack, "vector=%#x%s", vector, any ? "" : " spurious");
	update(p);
	return vector;
}

/* --- command words --- */

/* Data sheet, "Initialization Command Words": what ICW1 resets. */
static void write_icw1(struct chip *c, u8 val)
{
	c->irr &= c->elcr & c->lines;	/* edges must come anew */
	c->imr = 0;
	c->isr = 0;
	c->lowest = 7;
	c->special_mask = false;
	c->read_isr = false;
	c->poll = false;
	c->rotate_aeoi = false;
	c->want_icw4 = val & ICW1_IC4;
	c->single = val & ICW1_SNGL;
	if (!c->want_icw4)
		c->icw4 = 0;
	c->expect = 2;
}

static void end_of_interrupt(struct chip *c, int n, bool rotate)
{
	if (n < 0)
		return;
	c->isr &= ~(1 << n);
	if (rotate)
		c->lowest = n;
}

static void write_ocw2(struct chip *c, u8 val)
{
	unsigned level = val & 7;
	/* In special mask mode a masked input's service does not end unspecifically. */
	u8 ends = c->special_mask ? c->isr & ~c->imr : c->isr;

	switch (val >> 5) {		/* R, SL, EOI */
	case 0: c->rotate_aeoi = false; break;
	case 1: end_of_interrupt(c, best(c, ends), false); break;
	case 2: break;
	case 3: end_of_interrupt(c, level, false); break;
	case 4: c->rotate_aeoi = true; break;
	case 5: end_of_interrupt(c, best(c, ends), true); break;
	case 6: c->lowest = level; break;
	case 7: end_of_interrupt(c, level, true); break;
	}
}

static void write_ocw3(struct chip *c, u8 val)
{
	if (val & OCW3_POLL)
		c->poll = true;
	else if (val & OCW3_RR)
		c->read_isr = val & OCW3_RIS;
	if (val & OCW3_ESMM)
		c->special_mask = val & OCW3_SMM;
}

static void write_data(struct chip *c, u8 val)
{
	switch (c->expect) {
	case 2:
		c->base = val & 0xf8;
		c->expect = c->single ? (c->want_icw4 ? 4 : 0) : 3;
		break;
	case 3:
		c->icw3 = val;
		c->expect = c->want_icw4 ? 4 : 0;
		break;
	case 4:
		c->icw4 = val & 0x1f;
		c->expect = 0;
		break;
	default:
		c->imr = val;
	}
}

static void chip_write(struct i8259 *p, unsigned which, unsigned a0, u8 val)
{
	struct chip *c = &p->c[which];

	TRACE(pic_write, "chip=%u a0=%u val=%#x", which, a0, val);
	if (a0)
		write_data(c, val);
	else if (val & ICW1)
		write_icw1(c, val);
	else if (val & OCW3)
		write_ocw3(c, val);
	else
		write_ocw2(c, val);
	update(p);
}

static u8 chip_read(struct i8259 *p, unsigned which, unsigned a0)
{
	struct chip *c = &p->c[which];

	if (c->poll) {			/* the read is the acknowledge */
		int n = request(c, which == MASTER);

		c->poll = false;
		if (n < 0)
			return SPURIOUS;
		ack_chip(c, which == MASTER);
		update(p);
		return POLL_PENDING | n;
	}
	if (a0)
		return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

/* --- ports --- */

static u64 master_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	return chip_read(dev, MASTER, off);
}
static void master_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	chip_write(dev, MASTER, off, val);
}
static u64 slave_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	return chip_read(dev, SLAVE, off);
}
static void slave_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	chip_write(dev, SLAVE, off, val);
}

static u64 elcr_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	return ((struct i8259 *)dev)->c[off].elcr;
}

/* Inputs 0, 1, 2, 8 and 13 are always edges. */
static const u8 elcr_writable[2] = { 0xf8, 0xde };

static void elcr_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct i8259 *p = dev;
	struct chip *c = &p->c[off];

	c->elcr = val & elcr_writable[off];
	c->irr = (c->irr & ~c->elcr) | (c->lines & c->elcr);
	update(p);
}

static const struct region_ops master_ops = {
	.read = master_read, .write = master_write, .impl_min = 1, .impl_max = 1,
};
static const struct region_ops slave_ops = {
	.read = slave_read, .write = slave_write, .impl_min = 1, .impl_max = 1,
};
static const struct region_ops elcr_ops = {
	.read = elcr_read, .write = elcr_write, .impl_min = 1, .impl_max = 1,
};

static const struct {
	u16 port;
	const struct region_ops *ops;
	const char *name;
} pic_ports[] = {
	{ 0x20, &master_ops, "pic0" }, { 0xa0, &slave_ops, "pic1" }, { 0x4d0, &elcr_ops, "elcr" },
};

/* --- life and state --- */

static void i8259_reset(void *dev)
{
	struct i8259 *p = dev;

	for (unsigned i = 0; i < 2; i++) {
		struct chip *c = &p->c[i];

		*c = (struct chip){ .lines = c->lines, .lowest = 7 };
	}
	update(p);
}

static void i8259_free(void *dev)
{
	struct i8259 *p = dev;

	if (!p)
		return;
	while (p->nmapped) {
		p->nmapped--;
		bus_unmap(p->m->ports, pic_ports[p->nmapped].port, 2, p);
	}
	free(p);
}

int i8259_new(struct i8259 **out, struct machine *m, struct irq_line intr, struct err *e)
{
	struct i8259 *p = calloc(1, sizeof(*p));

	if (!p)
		return err_set(e, ENOMEM, "no memory for the 8259s");
	p->m = m;
	p->intr = intr;
	for (; p->nmapped < ARRAY_SIZE(pic_ports); p->nmapped++) {
		int rc = bus_map(m->ports, pic_ports[p->nmapped].port, 2,
				 pic_ports[p->nmapped].ops, p, pic_ports[p->nmapped].name, 0, e);

		if (rc) {
			i8259_free(p);
			return rc;
		}
	}
	i8259_reset(p);
	*out = p;
	return 0;
}

struct irq_line i8259_line(struct i8259 *p, unsigned irq)
{
	BUG_ON(irq > 15);
	if (irq == CASCADE)
		return (struct irq_line){ 0 };
	return (struct irq_line){ line_set, p, irq };
}

static const struct state_field chip_state[] = {
	STATE_U8(struct chip, irr, 0, 0xff),
	STATE_U8(struct chip, imr, 0, 0xff),
	STATE_U8(struct chip, isr, 0, 0xff),
	STATE_U8(struct chip, lines, 0, 0xff),
	STATE_U8(struct chip, elcr, 0, 0xfe),
	STATE_U8(struct chip, base, 0, 0xf8),
	STATE_U8(struct chip, icw3, 0, 0xff),
	STATE_U8(struct chip, icw4, 0, 0x1f),
	STATE_U8(struct chip, lowest, 0, 7),
	STATE_U8(struct chip, expect, 0, 4),
	STATE_BOOL(struct chip, want_icw4),
	STATE_BOOL(struct chip, single),
	STATE_BOOL(struct chip, rotate_aeoi),
	STATE_BOOL(struct chip, special_mask),
	STATE_BOOL(struct chip, read_isr),
	STATE_BOOL(struct chip, poll),
	STATE_END
};

static const struct state_field i8259_state[] = {
	STATE_STRUCT_ARRAY(struct i8259, c, chip_state),
	STATE_BOOL(struct i8259, out),
	STATE_END
};

static int i8259_post_load(void *dev, struct err *e)
{
	struct i8259 *p = dev;

	for (unsigned i = 0; i < 2; i++)
		if (p->c[i].elcr & ~elcr_writable[i] || p->c[i].base & 7)
			return err_set(e, EINVAL, "8259 %u: ELCR %#x, vector base %#x", i,
				       p->c[i].elcr, p->c[i].base);
	update(p);
	return 0;
}

const struct device_class i8259_class = {
	.name = "i8259",
	.version = 1,
	.state = i8259_state,
	.reset = i8259_reset,
	.free = i8259_free,
	.post_load = i8259_post_load,
};
