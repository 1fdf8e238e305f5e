// SPDX-License-Identifier: GPL-2.0-or-later
/* ioapic.c - the I/O APIC: 24 interrupt pins, each with a redirection entry that says which message
 * goes to which local APICs.
 * After: Intel 82093AA data sheet (290566-001); the EOI register as in ICH9 (316972-004), 13.5.
 * irq_line levels mean "asserted": the polarity bit is kept, and the wiring agrees with it.
 *
 * A pin's life. Edge-triggered: a rising edge sends one message; while masked it is lost.
 * Level-triggered: an asserted pin that is not masked sends a message and sets remote IRR, which
 * holds further ones back until an EOI of its vector comes; if the pin is then still asserted,
 * the message is sent again. */
#include "dev/ioapic.h"

#include "base/trace.h"
#include "vm/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

DEFINE_TRACE(ioapic_pin, "ioapic.pin");
DEFINE_TRACE(ioapic_send, "ioapic.send");
DEFINE_TRACE(ioapic_eoi, "ioapic.eoi");
DEFINE_TRACE(ioapic_write, "ioapic.write");

#define IOAPIC_LEN	0x1000

enum ioapic_mmio {
	IOREGSEL = 0x00,	/* RW, bits 7-0 */
	IOWIN = 0x10,		/* RW, 32 bits */
	IOEOI = 0x40,		/* W, bits 7-0: vector */
};

enum ioapic_reg {
	IOAPICID = 0x00,	/* bits 27-24 */
	IOAPICVER = 0x01,	/* RO */
	IOAPICARB = 0x02,	/* RO, bits 27-24; loaded with the id */
	IOREDTBL = 0x10,	/* two for each pin */
};
#define IOAPIC_VERSION		0x20		/* has the EOI register */
#define IOAPIC_ID_MASK		0x0f000000u

#define RTE_VECTOR		0xffull
#define RTE_DM(e)		((e) >> 8 & 7)
#define RTE_LOGICAL		BIT(11)
#define RTE_SEND_PENDING	BIT(12)		/* RO; messages go at once: 0 */
#define RTE_POLARITY		BIT(13)
#define RTE_REMOTE_IRR		BIT(14)		/* RO */
#define RTE_LEVEL		BIT(15)
#define RTE_MASKED		BIT(16)
#define RTE_DEST(e)		((u32)((e) >> 56))
#define RTE_WRITABLE		(0xff00000000000000ull | RTE_MASKED | RTE_LEVEL | RTE_POLARITY | 0xfff)

struct ioapic {
	struct machine *m;
	struct apic_bus *bus;
	bool mapped;
	u8 initial_id;

	u8 select;
	u32 id;				/* as the register shows it */
	u64 rte[IOAPIC_PINS];
	u32 lines;			/* asserted pins */
};

static void send(struct ioapic *io, unsigned pin)
{
	u64 e = io->rte[pin];
	bool fixed = RTE_DM(e) == APIC_DM_FIXED || RTE_DM(e) == APIC_DM_LOWPRI;
	bool level = (e & RTE_LEVEL) && fixed;	/* the others are edges whatever the entry says */
	struct apic_msg msg = {
		.dest = RTE_DEST(e),
		.vector = e & RTE_VECTOR,
		.mode = RTE_DM(e),
		.logical = e & RTE_LOGICAL,
		.level = level,
	};

	TRACE(ioapic_send, "pin=%u rte=%#llx", pin, (unsigned long long)e);
	/* Remote IRR says that somebody took it: else nobody would ever send the EOI. Before the
	 * message, because its target may answer at once. */
	if (level)
		io->rte[pin] |= RTE_REMOTE_IRR;
	if (!apic_bus_deliver(io->bus, &msg) && level)
		io->rte[pin] &= ~RTE_REMOTE_IRR;
}

/* An asserted level-triggered pin sends unless masked or already under way. */
static void service(struct ioapic *io, unsigned pin)
{
	u64 e = io->rte[pin];

	if ((io->lines >> pin & 1) && (e & RTE_LEVEL) && !(e & (RTE_MASKED | RTE_REMOTE_IRR)))
		send(io, pin);
}

static void pin_set(void *chip, unsigned pin, int level)
{
	struct ioapic *io = chip;
	bool was = io->lines >> pin & 1;

	if (!!level == was)
		return;
	TRACE(ioapic_pin, "pin=%u level=%d", pin, level);
	io->lines ^= 1u << pin;
	if (!level)
		return;
	if (io->rte[pin] & RTE_LEVEL)
		service(io, pin);
	else if (!(io->rte[pin] & RTE_MASKED))
		send(io, pin);
}

static void ioapic_eoi(void *chip, u8 vector)
{
	struct ioapic *io = chip;

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		u64 *e = &io->rte[pin];

		if ((*e & RTE_VECTOR) != vector || !(*e & RTE_LEVEL))
			continue;
		TRACE(ioapic_eoi, "pin=%u vector=%#x", pin, vector);
		*e &= ~RTE_REMOTE_IRR;
		service(io, pin);
	}
}

/* --- registers --- */

static u32 reg_read(struct ioapic *io)
{
	unsigned pin = (io->select - IOREDTBL) / 2;

	switch (io->select) {
	case IOAPICID: return io->id;
	case IOAPICVER: return (IOAPIC_PINS - 1) << 16 | IOAPIC_VERSION;
	case IOAPICARB: return io->id;
	default:
		if (io->select < IOREDTBL || pin >= IOAPIC_PINS)
			return 0;
		return io->select & 1 ? io->rte[pin] >> 32 : (u32)io->rte[pin];
	}
}

static void write_rte(struct ioapic *io, unsigned pin, unsigned high, u32 val)
{
	u64 old = io->rte[pin], e;

	e = high ? (u64)val << 32 | (u32)old : (old & ~0xffffffffull) | val;
	e &= RTE_WRITABLE;
	/* Software clears remote IRR by making the pin edge-triggered for a moment. */
	if (e & RTE_LEVEL)
		e |= old & RTE_REMOTE_IRR;
	io->rte[pin] = e;
	service(io, pin);
}

static void reg_write(struct ioapic *io, u32 val)
{
	unsigned pin = (io->select - IOREDTBL) / 2;

	TRACE(ioapic_write, "reg=%#x val=%#x", io->select, val);
	if (io->select == IOAPICID)
		io->id = val & IOAPIC_ID_MASK;
	else if (io->select >= IOREDTBL && pin < IOAPIC_PINS)
		write_rte(io, pin, io->select & 1, val);
}

static u64 ioapic_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	struct ioapic *io = dev;

	switch (off) {
	case IOREGSEL: return io->select;
	case IOWIN: return reg_read(io);
	default: return 0;
	}
}

static void ioapic_write_mmio(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct ioapic *io = dev;

	switch (off) {
	case IOREGSEL:
		io->select = val;
		break;
	case IOWIN:
		if (len == 4)
			reg_write(io, val);
		break;
	case IOEOI:
		ioapic_eoi(io, val);
		break;
	}
}

static const struct region_ops ioapic_ops = {
	.read = ioapic_read, .write = ioapic_write_mmio, .impl_min = 1, .impl_max = 4,
};

/* --- life and state --- */

static void ioapic_reset(void *dev)
{
	struct ioapic *io = dev;

	io->select = 0;
	io->id = (u32)io->initial_id << 24 & IOAPIC_ID_MASK;
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		io->rte[i] = RTE_MASKED;
	/* The pins are driven by others: their levels stay. */
}

static void ioapic_free(void *dev)
{
	struct ioapic *io = dev;

	if (!io)
		return;
	if (io->mapped)
		bus_unmap(io->m->mmio, IOAPIC_BASE, IOAPIC_LEN, io);
	if (io->bus)
		apic_bus_on_eoi(io->bus, NULL, NULL);
	free(io);
}

static int ioapic_post_load(void *dev, struct err *e)
{
	struct ioapic *io = dev;

	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		if (io->rte[i] & ~(RTE_WRITABLE | RTE_REMOTE_IRR) ||
		    (io->rte[i] & (RTE_LEVEL | RTE_REMOTE_IRR)) == RTE_REMOTE_IRR)
			return err_set(e, EINVAL, "redirection entry %u is %#llx, which none can be",
				       i, (unsigned long long)io->rte[i]);
	if (io->id & ~IOAPIC_ID_MASK)
		return err_set(e, EINVAL, "I/O APIC id register %#x has reserved bits", io->id);
	return 0;
}

int ioapic_new(struct ioapic **out, struct machine *m, struct apic_bus *bus, u8 id, struct err *e)
{
	struct ioapic *io = calloc(1, sizeof(*io));
	int rc;

	if (!io)
		return err_set(e, ENOMEM, "no memory for the I/O APIC");
	io->m = m;
	io->bus = bus;
	io->initial_id = id;
	rc = bus_map(m->mmio, IOAPIC_BASE, IOAPIC_LEN, &ioapic_ops, io, "ioapic", 0, e);
	if (rc) {
		ioapic_free(io);
		return rc;
	}
	io->mapped = true;
	apic_bus_on_eoi(bus, ioapic_eoi, io);
	ioapic_reset(io);
	*out = io;
	return 0;
}

struct irq_line ioapic_line(struct ioapic *io, unsigned pin)
{
	BUG_ON(pin >= IOAPIC_PINS);
	return (struct irq_line){ pin_set, io, pin };
}

static const struct state_field ioapic_state[] = {
	STATE_U8(struct ioapic, select, 0, 0xff),
	STATE_U32(struct ioapic, id, 0, IOAPIC_ID_MASK),
	STATE_U64_ARRAY(struct ioapic, rte),
	STATE_U32(struct ioapic, lines, 0, (1u << IOAPIC_PINS) - 1),
	STATE_END
};

const struct device_class ioapic_class = {
	.name = "ioapic",
	.version = 1,
	.state = ioapic_state,
	.reset = ioapic_reset,
	.free = ioapic_free,
	.post_load = ioapic_post_load,
};
