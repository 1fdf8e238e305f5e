// SPDX-License-Identifier: GPL-2.0-or-later
/* ns16550.c - the PC16550D UART.
 * After: National PC16550D data sheet (1995), section 8; IBM AT: OUT2 connects INTR to the bus.
 *
 * Sending: bytes go to the back end as fast as it takes them; what it does not take waits in the
 * FIFO, THRE stays clear, and the guest waits like for a slow line. So nothing is lost while the
 * peer keeps up, and nobody blocks. Receiving: the back end brings only what has room, so an
 * overrun happens in loopback mode alone.
 * Not modelled: the time that a character takes on the wire (but for the time-out interrupt),
 * parity and framing errors, DMA pins (FCR bit 3). */
#include "dev/ns16550.h"

#include "base/trace.h"
#include "vm/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

DEFINE_TRACE(uart_read, "uart.read");
DEFINE_TRACE(uart_write, "uart.write");
DEFINE_TRACE(uart_irq, "uart.irq");

#define UART_LEN	8
#define UART_CLOCK_HZ	1843200
#define FIFO_LEN	16

enum uart_reg {
	UART_RBR = 0,	/* R,  DLAB=0: next received byte */
	UART_THR = 0,	/* W,  DLAB=0: byte to send */
	UART_DLL = 0,	/* RW, DLAB=1: divisor, low byte */
	UART_IER = 1,	/* RW, DLAB=0: interrupt enables; bits 7-4 read 0 */
	UART_DLM = 1,	/* RW, DLAB=1: divisor, high byte */
	UART_IIR = 2,	/* R:  what interrupts */
	UART_FCR = 2,	/* W:  FIFO control */
	UART_LCR = 3,	/* RW: line control */
	UART_MCR = 4,	/* RW: modem control; bits 7-5 read 0 */
	UART_LSR = 5,	/* R:  line status */
	UART_MSR = 6,	/* R:  modem status */
	UART_SCR = 7,	/* RW: scratch */
};
#define IER_RX		0x01
#define IER_THRE	0x02
#define IER_LINE	0x04
#define IER_MODEM	0x08
#define IIR_NONE	0x01	/* table 6: identification, by priority */
#define IIR_LINE	0x06
#define IIR_RX		0x04
#define IIR_TIMEOUT	0x0c
#define IIR_THRE	0x02
#define IIR_MODEM	0x00
#define IIR_FIFOS	0xc0
#define FCR_ENABLE	0x01
#define FCR_CLEAR_RX	0x02
#define FCR_CLEAR_TX	0x04
#define FCR_TRIGGER(v)	((v) >> 6)
#define LCR_BITS(v)	(5 + ((v) & 3))
#define LCR_STOP2	0x04
#define LCR_PARITY	0x08
#define LCR_BREAK	0x40
#define LCR_DLAB	0x80
#define MCR_DTR		0x01
#define MCR_RTS		0x02
#define MCR_OUT1	0x04
#define MCR_OUT2	0x08
#define MCR_LOOP	0x10
#define LSR_DR		0x01
#define LSR_OE		0x02
#define LSR_BI		0x10
#define LSR_THRE	0x20
#define LSR_TEMT	0x40
#define LSR_FIFO_ERR	0x80
#define LSR_ERRORS	0x1e
#define MSR_DCTS	0x01
#define MSR_DDSR	0x02
#define MSR_TERI	0x04
#define MSR_DDCD	0x08
#define MSR_CTS		0x10
#define MSR_DSR		0x20
#define MSR_RI		0x40
#define MSR_DCD		0x80

struct fifo {
	u8 byte[FIFO_LEN];
	u8 flags[FIFO_LEN];	/* LSR error bits that come with the byte */
	u8 head, n;
};

struct ns16550 {
	struct machine *m;
	struct irq_line irq;
	struct chardev *be;
	u16 base;
	bool mapped;

	u8 ier, fcr, lcr, mcr, msr, scr;
	u16 divisor;
	u8 lsr_errors;		/* OE and those of the byte on top, until LSR is read */
	struct fifo rx, tx;
	bool thre_pending;	/* the transmitter ran empty and IIR has not told yet */
	bool timeout_pending;
	struct vm_timer timeout;
};

/* --- FIFOs: one byte deep when they are off --- */

static unsigned depth(const struct ns16550 *u) { return u->fcr & FCR_ENABLE ? FIFO_LEN : 1; }

static void push(struct fifo *f, u8 byte, u8 flags)
{
	unsigned at = (f->head + f->n++) % FIFO_LEN;

	f->byte[at] = byte;
	f->flags[at] = flags;
}

static u8 pop(struct fifo *f)
{
	u8 b = f->byte[f->head];

	f->head = (f->head + 1) % FIFO_LEN;
	f->n--;
	return b;
}

static unsigned trigger(const struct ns16550 *u)
{
	static const u8 level[4] = { 1, 4, 8, 14 };

	return u->fcr & FCR_ENABLE ? level[FCR_TRIGGER(u->fcr)] : 1;
}

/* --- interrupts --- */

static u8 lsr(const struct ns16550 *u)
{
	u8 v = u->lsr_errors;

	if (u->rx.n)
		v |= LSR_DR;
	if (u->tx.n == 0)
		v |= LSR_THRE | LSR_TEMT;
	if (u->fcr & FCR_ENABLE) {
		if (u->lsr_errors & LSR_BI)
			v |= LSR_FIFO_ERR;
		for (unsigned i = 0; i < u->rx.n; i++)
			if (u->rx.flags[(u->rx.head + i) % FIFO_LEN])
				v |= LSR_FIFO_ERR;
	}
	return v;
}

/* Table 6 of the data sheet: the highest source that is enabled. */
static u8 identify(const struct ns16550 *u)
{
	if ((u->ier & IER_LINE) && (u->lsr_errors & LSR_ERRORS))
		return IIR_LINE;
	if ((u->ier & IER_RX) && u->rx.n >= trigger(u))
		return IIR_RX;
	if ((u->ier & IER_RX) && u->timeout_pending)
		return IIR_TIMEOUT;
	if ((u->ier & IER_THRE) && u->thre_pending)
		return IIR_THRE;
	if ((u->ier & IER_MODEM) && (u->msr & (MSR_DCTS | MSR_DDSR | MSR_TERI | MSR_DDCD)))
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_irq(struct ns16550 *u)
{
	bool on = identify(u) != IIR_NONE && (u->mcr & MCR_OUT2);

	TRACE(uart_irq, "base=%#x level=%d iir=%#x", u->base, on, identify(u));
	irq_set(u->irq, on);
}

/* --- receiving --- */

/* Time of four characters, after which a FIFO that is below its trigger level interrupts too. */
static u64 timeout_ns(const struct ns16550 *u)
{
	unsigned bits = 1 + LCR_BITS(u->lcr) + !!(u->lcr & LCR_PARITY) + 1 + !!(u->lcr & LCR_STOP2);
	u64 divisor = u->divisor ? u->divisor : 65536;

	return 4ull * bits * 16 * divisor * 1000000000ull / UART_CLOCK_HZ;
}

static void restart_timeout(struct ns16550 *u)
{
	u->timeout_pending = false;
	if ((u->fcr & FCR_ENABLE) && u->rx.n)
		vm_timer_set(&u->timeout, clock_now(u->m->clock) + timeout_ns(u));
	else
		vm_timer_del(&u->timeout);
}

static void timed_out(void *ctx)
{
	struct ns16550 *u = ctx;

	if (u->rx.n) {
		u->timeout_pending = true;
		update_irq(u);
	}
}

/* The errors of the byte on top of the FIFO show in LSR. */
static void reveal(struct ns16550 *u)
{
	if (u->rx.n) {
		u->lsr_errors |= u->rx.flags[u->rx.head];
		u->rx.flags[u->rx.head] = 0;
	}
}

static void receive(struct ns16550 *u, u8 byte, u8 flags)
{
	if (u->rx.n >= depth(u)) {
		u->lsr_errors |= LSR_OE;
		if (!(u->fcr & FCR_ENABLE)) {	/* without FIFO the new byte overwrites */
			u->rx.byte[u->rx.head] = byte;
			u->lsr_errors |= flags;
		}
		return;
	}
	push(&u->rx, byte, flags);
	reveal(u);
	restart_timeout(u);
}

static size_t front_room(void *dev)
{
	struct ns16550 *u = dev;

	return u->mcr & MCR_LOOP || u->rx.n >= depth(u) ? 0 : depth(u) - u->rx.n;
}

static void front_recv(void *dev, const u8 *buf, size_t len)
{
	struct ns16550 *u = dev;

	for (size_t i = 0; i < len; i++)
		receive(u, buf[i], 0);
	update_irq(u);
}

/* --- sending --- */

static void transmit(struct ns16550 *u)
{
	if (u->tx.n == 0)
		return;
	if (u->mcr & MCR_LOOP) {
		while (u->tx.n)
			receive(u, pop(&u->tx) & (0xff >> (8 - LCR_BITS(u->lcr))), 0);
	} else {
		u8 buf[FIFO_LEN];
		size_t sent;

		for (unsigned i = 0; i < u->tx.n; i++)
			buf[i] = u->tx.byte[(u->tx.head + i) % FIFO_LEN];
		sent = chardev_send(u->be, buf, u->tx.n);
		u->tx.head = (u->tx.head + sent) % FIFO_LEN;
		u->tx.n -= sent;
	}
	if (u->tx.n == 0)
		u->thre_pending = true;
}

static void front_can_send(void *dev)
{
	transmit(dev);
	update_irq(dev);
}

static void write_thr(struct ns16550 *u, u8 val)
{
	if (u->tx.n >= depth(u))		/* software did not look at THRE: the last one goes */
		u->tx.n--;
	push(&u->tx, val, 0);
	u->thre_pending = false;
	update_irq(u);				/* low in between: the edge is seen */
	transmit(u);
	update_irq(u);
}

/* --- modem lines --- */

/* Loopback ties the outputs to the inputs: RTS-CTS, DTR-DSR, OUT1-RI, OUT2-DCD. */
static void update_msr(struct ns16550 *u)
{
	u8 lines = 0, old = u->msr & 0xf0, delta;

	if (u->mcr & MCR_LOOP)
		lines = (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
			(u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
	else if (u->be && u->be->connected)
		lines = MSR_CTS | MSR_DSR | MSR_DCD;
	delta = (lines ^ old) >> 4 & (MSR_DCTS | MSR_DDSR | MSR_DDCD);
	if ((old & MSR_RI) && !(lines & MSR_RI))
		delta |= MSR_TERI;		/* only the trailing edge of a ring */
	u->msr = lines | (u->msr & 0x0f) | delta;
}

static void front_event(void *dev, enum chardev_event ev)
{
	struct ns16550 *u = dev;

	if (ev == CHARDEV_BREAK) {
		if (!(u->mcr & MCR_LOOP))
			receive(u, 0, LSR_BI);
	} else {
		update_msr(u);
	}
	update_irq(u);
}

static void front_gone(void *dev)
{
	struct ns16550 *u = dev;

	u->be = NULL;
	transmit(u);
	update_msr(u);
	update_irq(u);
}

static const struct chardev_front front = {
	.room = front_room, .recv = front_recv, .can_send = front_can_send, .event = front_event,
	.gone = front_gone,
};

/* --- registers --- */

static void clear_rx(struct ns16550 *u)
{
	u->rx.n = 0;
	u->lsr_errors &= ~LSR_BI;
	restart_timeout(u);
}

static void clear_tx(struct ns16550 *u)
{
	if (u->tx.n)
		u->thre_pending = true;
	u->tx.n = 0;
}

static void write_fcr(struct ns16550 *u, u8 val)
{
	bool change = (u->fcr ^ val) & FCR_ENABLE;

	u->fcr = val & FCR_ENABLE ? val & 0xc9 : 0;
	if (change || (val & FCR_ENABLE && val & FCR_CLEAR_RX))
		clear_rx(u);
	if (change || (val & FCR_ENABLE && val & FCR_CLEAR_TX))
		clear_tx(u);
	chardev_room_now(u->be);
}

static void write_ier(struct ns16550 *u, u8 val)
{
	/* Enabling THRE while the transmitter is empty interrupts at once. */
	if ((val & IER_THRE) && !(u->ier & IER_THRE) && u->tx.n == 0)
		u->thre_pending = true;
	u->ier = val & 0x0f;
}

static void write_lcr(struct ns16550 *u, u8 val)
{
	bool begins = (val & LCR_BREAK) && !(u->lcr & LCR_BREAK);

	u->lcr = val;
	if (begins && (u->mcr & MCR_LOOP))
		receive(u, 0, LSR_BI);
	else if (begins)
		chardev_send_break(u->be);
}

static void write_mcr(struct ns16550 *u, u8 val)
{
	bool left = (u->mcr & MCR_LOOP) && !(val & MCR_LOOP);

	u->mcr = val & 0x1f;
	update_msr(u);
	if (left)
		chardev_room_now(u->be);
	transmit(u);				/* what waited for the other way out */
}

static void uart_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct ns16550 *u = dev;

	TRACE(uart_write, "base=%#x reg=%u val=%#x", u->base, (unsigned)off, (unsigned)val);
	if (off <= UART_IER && (u->lcr & LCR_DLAB)) {
		if (off == UART_DLL)
			u->divisor = (u->divisor & 0xff00) | val;
		else
			u->divisor = (u->divisor & 0xff) | val << 8;
		return;
	}
	switch (off) {
	case UART_THR:
		write_thr(u, val);
		return;
	case UART_IER: write_ier(u, val); break;
	case UART_FCR: write_fcr(u, val); break;
	case UART_LCR: write_lcr(u, val); break;
	case UART_MCR: write_mcr(u, val); break;
	case UART_SCR: u->scr = val; return;
	default: return;			/* LSR and MSR: read-only (factory test) */
	}
	update_irq(u);
}

static u8 read_rbr(struct ns16550 *u)
{
	u8 v;

	if (!u->rx.n)
		return 0;
	v = pop(&u->rx);
	reveal(u);
	restart_timeout(u);
	chardev_room_now(u->be);		/* may bring more right now */
	update_irq(u);
	return v;
}

static u8 read_iir(struct ns16550 *u)
{
	u8 v = identify(u);

	if (v == IIR_THRE) {			/* reading it is the answer to it */
		u->thre_pending = false;
		update_irq(u);
	}
	return v | (u->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static u64 uart_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	struct ns16550 *u = dev;
	u8 v;

	if (off == UART_LSR) {			/* by far the most frequent */
		v = lsr(u);
		if (u->lsr_errors) {
			u->lsr_errors = 0;
			update_irq(u);
		}
		return v;
	}
	if (off <= UART_IER && (u->lcr & LCR_DLAB))
		return off == UART_DLL ? u->divisor & 0xff : u->divisor >> 8;
	switch (off) {
	case UART_RBR: v = read_rbr(u); break;
	case UART_IER: v = u->ier; break;
	case UART_IIR: v = read_iir(u); break;
	case UART_LCR: v = u->lcr; break;
	case UART_MCR: v = u->mcr; break;
	case UART_MSR:
		v = u->msr;
		u->msr &= 0xf0;
		update_irq(u);
		break;
	default: v = u->scr; break;
	}
	TRACE(uart_read, "base=%#x reg=%u val=%#x", u->base, (unsigned)off, v);
	return v;
}

static const struct region_ops uart_ops = {
	.read = uart_read, .write = uart_write, .impl_min = 1, .impl_max = 1,
};

/* --- life and state --- */

static void ns16550_reset(void *dev)
{
	struct ns16550 *u = dev;

	u->ier = u->fcr = u->lcr = u->mcr = 0;
	u->scr = 0;
	u->divisor = 0;
	u->lsr_errors = 0;
	u->rx = u->tx = (struct fifo){ 0 };
	u->thre_pending = u->timeout_pending = false;
	vm_timer_del(&u->timeout);
	u->msr = 0;
	update_msr(u);
	u->msr &= 0xf0;
	irq_set(u->irq, 0);
	chardev_room_now(u->be);
}

static void ns16550_free(void *dev)
{
	struct ns16550 *u = dev;

	if (!u)
		return;
	vm_timer_del(&u->timeout);
	if (u->be)
		chardev_detach(u->be);
	if (u->mapped)
		bus_unmap(u->m->ports, u->base, UART_LEN, u);
	free(u);
}

int ns16550_new(struct ns16550 **out, struct machine *m, u16 base, struct irq_line irq,
		struct chardev *be, struct err *e)
{
	struct ns16550 *u = calloc(1, sizeof(*u));
	char name[16];
	int rc;

	if (!u)
		return err_set(e, ENOMEM, "no memory for the UART at %#x", base);
	u->m = m;
	u->base = base;
	u->irq = irq;
	vm_timer_init(&u->timeout, m->clock, timed_out, u);
	snprintf(name, sizeof(name), "uart-%x", base);
	rc = bus_map(m->ports, base, UART_LEN, &uart_ops, u, name, 0, e);
	if (rc) {
		ns16550_free(u);
		return rc;
	}
	u->mapped = true;
	if (be) {
		u->be = be;
		chardev_attach(be, &front, u);
	}
	ns16550_reset(u);
	*out = u;
	return 0;
}

static const struct state_field fifo_state[] = {
	STATE_BYTES(struct fifo, byte),
	STATE_U8_ARRAY(struct fifo, flags, 0, LSR_ERRORS),
	STATE_U8(struct fifo, head, 0, FIFO_LEN - 1),
	STATE_U8(struct fifo, n, 0, FIFO_LEN),
	STATE_END
};

static const struct state_field ns16550_state[] = {
	STATE_U8(struct ns16550, ier, 0, 0x0f),
	STATE_U8(struct ns16550, fcr, 0, 0xc9),
	STATE_U8(struct ns16550, lcr, 0, 0xff),
	STATE_U8(struct ns16550, mcr, 0, 0x1f),
	STATE_U8(struct ns16550, msr, 0, 0xff),
	STATE_U8(struct ns16550, scr, 0, 0xff),
	STATE_U16(struct ns16550, divisor, 0, 0xffff),
	STATE_U8(struct ns16550, lsr_errors, 0, LSR_ERRORS),
	STATE_STRUCT(struct ns16550, rx, fifo_state),
	STATE_STRUCT(struct ns16550, tx, fifo_state),
	STATE_BOOL(struct ns16550, thre_pending),
	STATE_BOOL(struct ns16550, timeout_pending),
	STATE_TIMER(struct ns16550, timeout),
	STATE_END
};

static int ns16550_post_load(void *dev, struct err *e)
{
	struct ns16550 *u = dev;

	if (u->rx.n > depth(u) || u->tx.n > depth(u))
		return err_set(e, EINVAL, "UART at %#x: %u and %u bytes wait in FIFOs of %u", u->base,
			       u->rx.n, u->tx.n, depth(u));
	transmit(u);
	update_msr(u);
	update_irq(u);
	chardev_room_now(u->be);
	return 0;
}

const struct device_class ns16550_class = {
	.name = "ns16550",
	.version = 1,
	.state = ns16550_state,
	.reset = ns16550_reset,
	.free = ns16550_free,
	.post_load = ns16550_post_load,
};
