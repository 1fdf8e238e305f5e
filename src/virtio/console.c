/* SPDX-License-Identifier: GPL-2.0-or-later */
/* console.c - the console device: bytes both ways, several ports.
 * After: Virtio 1.2, 5.3.
 *
 *	queue 0, 1	port 0: to the guest, from the guest
 *	queue 2, 3	control messages likewise (MULTIPORT)
 *	queue 2n+2, +3	port n, n >= 1
 *
 * A device with one console and nothing else does not offer MULTIPORT: then the size of the terminal
 * stands in the configuration space, where all drivers understand it. In the control message RESIZE
 * Linux read rows before columns until 6.15, against 5.3.6.2.
 *
 * Flow control. To the guest: a port has as much room as the next buffer of its driver; none while a
 * channel is closed there. From the guest: what the back end does not take stays in the buffer, which
 * the driver gets back when all of it has gone.
 *
 * Control messages to the guest are no queue, which a guest could let grow, but bits that say what
 * it has still to be told about each port; they leave in the order of enum told, when it has buffers. */
#include "virtio/console.h"
#include "base/bytes.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define F_SIZE		BIT(0)		/* 5.3.3 */
#define F_MULTIPORT	BIT(1)
#define F_EMERG_WRITE	BIT(2)

enum config_off { CFG_COLS = 0, CFG_ROWS = 2, CFG_NPORTS = 4, CFG_EMERG = 8, CFG_LEN = 12 };

enum control_event {			/* 5.3.6.2 */
	EV_DEVICE_READY = 0, EV_PORT_ADD = 1, EV_PORT_REMOVE = 2, EV_PORT_READY = 3,
	EV_CONSOLE_PORT = 4, EV_RESIZE = 5, EV_PORT_OPEN = 6, EV_PORT_NAME = 7,
};
enum control_off { CTL_ID = 0, CTL_EVENT = 4, CTL_VALUE = 6, CTL_LEN = 8 };

/* What a port's driver has still to be told; in this order. */
enum told { TELL_ADD = 1, TELL_CONSOLE = 2, TELL_NAME = 4, TELL_OPEN = 8, TELL_RESIZE = 16,
	    TELL_ALL = 31 };

enum { Q_CONTROL_RX = 2, Q_CONTROL_TX = 3, QUEUE_SIZE = 128 };
#define CONSOLE_PCI_CLASS 0x078000	/* communication controller, other */
#define TX_BATCH 64			/* buffers at a time, */
#define TX_BATCH_BYTES (256 * KiB)	/* and bytes: one buffer may have 4 GiB */

struct port {
	struct vconsole *d;
	unsigned index;
	char name[VCONSOLE_NAME_MAX];	/* "": a console */
	struct chardev *be;		/* NULL: nobody */
	struct ring_chain *rx, *tx;	/* begun; not state: given back before a save */

	bool guest_open;		/* a program has it open there */
	bool ready;			/* the driver knows the port */
	bool host_open;			/* what the driver was told */
	u8 tell;
	u16 cols, rows;			/* of a console; 0: not known */
	u32 tx_done;			/* bytes of the first buffer that have left */
};

struct vconsole {
	struct virtio v;
	unsigned nports;
	struct port port[VCONSOLE_PORTS_MAX];
};

static unsigned rx_queue(const struct port *p) { return p->index ? 2 * p->index + 2 : 0; }
static unsigned tx_queue(const struct port *p) { return rx_queue(p) + 1; }
static bool is_console(const struct port *p) { return !p->name[0]; }

static bool multiport(const struct vconsole *d)
{
	return virtio_has(&d->v, F_MULTIPORT);
}

/* A console takes input from the start, as a serial port does; a channel while it is open. */
static bool takes_input(const struct port *p)
{
	return p->guest_open || !multiport(p->d);
}

/* --- control messages to the guest --- */

/* The message for the lowest bit of @tell; its length. */
static unsigned message(const struct port *p, enum told what, u8 *buf)
{
	static const struct { enum told what; u16 event; } events[] = {
		{ TELL_ADD, EV_PORT_ADD }, { TELL_CONSOLE, EV_CONSOLE_PORT }, { TELL_NAME, EV_PORT_NAME },
		{ TELL_OPEN, EV_PORT_OPEN }, { TELL_RESIZE, EV_RESIZE },
	};
	unsigned len = CTL_LEN;

	put_le32(buf + CTL_ID, p->index);
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++)
		if (events[i].what == what)
			put_le16(buf + CTL_EVENT, events[i].event);
	put_le16(buf + CTL_VALUE, what == TELL_OPEN ? p->host_open : 1);
	if (what == TELL_NAME) {
		memcpy(buf + len, p->name, strlen(p->name));
		len += (unsigned)strlen(p->name);
	} else if (what == TELL_RESIZE) {
		put_le16(buf + len, p->cols);
		put_le16(buf + len + 2, p->rows);
		len += 4;
	}
	return len;
}

static void tell_driver(struct vconsole *d)
{
	if (!multiport(d))
		return;
	for (unsigned i = 0; i < d->nports; i++) {
		struct port *p = &d->port[i];

		while (p->tell) {
			enum told what = p->tell & -p->tell;
			u8 buf[CTL_LEN + VCONSOLE_NAME_MAX];
			unsigned len = message(p, what, buf);
			struct ring_chain *c = virtio_pop(&d->v, Q_CONTROL_RX);

			if (!c)
				goto out;
			if (c->write_len < len) {
				ring_push(c, 0);
				virtio_broken(&d->v, "a buffer for control messages is too small");
				return;
			}
			ring_push(c, (u32)chain_write(c, 0, buf, len));
			p->tell &= (u8)~what;
		}
	}
out:
	virtio_notify(&d->v, Q_CONTROL_RX);
}

static void tell(struct port *p, u8 what)
{
	if (!p->ready && what != TELL_ADD)
		return;		/* PORT_READY will ask for all of it */
	p->tell |= what;
	if (virtio_running(&p->d->v))
		tell_driver(p->d);
}

/* --- control messages from the guest --- */

static bool be_connected(const struct port *p)
{
	return is_console(p) || (p->be && p->be->connected);
}

static void on_control(struct vconsole *d, const struct ring_chain *c)
{
	u8 buf[CTL_LEN] = { 0 };
	struct port *p;
	u32 id;
	bool value;

	if (chain_read(c, 0, buf, CTL_LEN) < CTL_LEN)
		return;
	id = get_le32(buf + CTL_ID);
	value = get_le16(buf + CTL_VALUE) == 1;
	if (get_le16(buf + CTL_EVENT) == EV_DEVICE_READY) {
		for (unsigned i = 0; i < d->nports && value; i++)
			d->port[i].tell = TELL_ADD;
		return;
	}
	if (id >= d->nports)
		return;
	p = &d->port[id];
	switch (get_le16(buf + CTL_EVENT)) {
	case EV_PORT_READY:
		p->ready = value;
		if (!value)
			break;
		p->host_open = be_connected(p);
		p->tell |= is_console(p) ? TELL_CONSOLE : TELL_NAME;
		p->tell |= (p->host_open ? TELL_OPEN : 0) | (is_console(p) && p->cols ? TELL_RESIZE : 0);
		break;
	case EV_PORT_OPEN:
		p->guest_open = value;
		if (value)
			chardev_room_now(p->be);
		break;
	default:
		break;
	}
}

static void control_kick(struct vconsole *d)
{
	struct ring_chain *c;
	int n = 0;

	while (n++ < TX_BATCH && (c = virtio_pop(&d->v, Q_CONTROL_TX)) != NULL) {
		on_control(d, c);
		ring_push(c, 0);
	}
	virtio_notify(&d->v, Q_CONTROL_TX);
	if (n > TX_BATCH)
		virtio_kick(&d->v, Q_CONTROL_TX);
	tell_driver(d);
}

/* --- bytes from the guest --- */

/* Send what is left of p->tx, at most *@left bytes. False: the back end takes no more now, or it was
 * that many. */
static bool drain(struct port *p, size_t *left)
{
	struct ring_chain *c = p->tx;

	while (p->tx_done < c->read_len) {
		u8 buf[4096];
		size_t n = chain_read(c, p->tx_done, buf, MIN(sizeof(buf), *left)), took;

		if (!n)
			return false;
		took = chardev_send(p->be, buf, n);
		p->tx_done += (u32)took;
		*left -= took;
		if (took < n)
			return false;
	}
	ring_push(c, 0);
	p->tx = NULL;
	p->tx_done = 0;
	return true;
}

static void tx(struct port *p)
{
	struct vconsole *d = p->d;
	unsigned q = tx_queue(p), n = 0;
	size_t left = TX_BATCH_BYTES;

	for (; n < TX_BATCH; n++) {
		if (!p->tx)
			p->tx = virtio_pop(&d->v, q);
		if (!p->tx || !drain(p, &left))
			break;
	}
	virtio_notify(&d->v, q);
	if (n == TX_BATCH || !left)
		virtio_kick(&d->v, q);
}

static void port_can_send(void *dev)
{
	struct port *p = dev;

	if (virtio_running(&p->d->v))
		tx(p);
}

/* --- bytes to the guest --- */

static size_t port_room(void *dev)
{
	struct port *p = dev;
	struct vconsole *d = p->d;

	if (!virtio_running(&d->v) || !takes_input(p))
		return 0;
	/* A buffer without a writable byte would never be filled: it goes back as it came. */
	for (unsigned n = 0; !p->rx && n < RING_SIZE_MAX; n++) {
		p->rx = virtio_pop(&d->v, rx_queue(p));
		if (!p->rx)
			return 0;
		if (p->rx->write_len == 0) {
			ring_push(p->rx, 0);
			p->rx = NULL;
		}
	}
	return p->rx ? (size_t)p->rx->write_len : 0;
}

static void port_recv(void *dev, const u8 *buf, size_t len)
{
	struct port *p = dev;

	if (!p->rx)
		return;
	ring_push(p->rx, (u32)chain_write(p->rx, 0, buf, len));
	p->rx = NULL;
	virtio_notify(&p->d->v, rx_queue(p));
}

/* --- the back end comes and goes --- */

static void port_event(void *dev, enum chardev_event ev)
{
	struct port *p = dev;

	if (ev == CHARDEV_BREAK || is_console(p) || p->host_open == be_connected(p))
		return;
	p->host_open = be_connected(p);
	tell(p, TELL_OPEN);
}

static void port_gone(void *dev)
{
	struct port *p = dev;

	p->be = NULL;
	port_event(p, CHARDEV_CLOSED);
}

static const struct chardev_front front = {
	.room = port_room, .recv = port_recv, .can_send = port_can_send, .event = port_event,
	.gone = port_gone,
};

void vconsole_resize(struct vconsole *d, unsigned port, u16 cols, u16 rows)
{
	struct port *p = &d->port[port];

	BUG_ON(port >= d->nports);
	if (p->cols == cols && p->rows == rows)
		return;
	p->cols = cols;
	p->rows = rows;
	if (port == 0)
		virtio_config_changed(&d->v);
	if (is_console(p))
		tell(p, TELL_RESIZE);
}

/* --- as a virtio device --- */

static void console_kick(void *dev, unsigned q)
{
	struct vconsole *d = dev;
	struct port *p;

	if (q == Q_CONTROL_RX || q == Q_CONTROL_TX) {
		control_kick(d);
		return;
	}
	p = &d->port[q < 2 ? 0 : q / 2 - 1];
	if (q & 1)
		tx(p);
	else
		chardev_room_now(p->be);
}

/* A chain that comes back while its queue is being reset is dropped by the ring. */
static void give_back(struct ring_chain **c)
{
	if (*c)
		ring_unpop(*c);
	*c = NULL;
}

static void console_stop(void *dev, int q)
{
	struct vconsole *d = dev;

	for (unsigned i = 0; i < d->nports; i++) {
		struct port *p = &d->port[i];

		if (q < 0 || (unsigned)q == rx_queue(p))
			give_back(&p->rx);
		if (q < 0 || (unsigned)q == tx_queue(p)) {
			give_back(&p->tx);
			p->tx_done = 0;
		}
		if (q < 0) {
			p->guest_open = p->ready = p->host_open = false;
			p->tell = 0;
		}
	}
}

static void console_config_read(void *dev, unsigned off, u8 *buf, unsigned len)
{
	const struct vconsole *d = dev;
	u8 cfg[CFG_LEN] = { 0 };

	put_le16(cfg + CFG_COLS, d->port[0].cols);
	put_le16(cfg + CFG_ROWS, d->port[0].rows);
	put_le32(cfg + CFG_NPORTS, d->nports);
	memcpy(buf, cfg + off, len);
}

/* 5.3.4: a character before, or in place of, all else; what the back end does not take is lost. */
static void console_config_write(void *dev, unsigned off, const u8 *buf, unsigned len)
{
	struct vconsole *d = dev;

	if (off == CFG_EMERG)
		chardev_send(d->port[0].be, buf, 1);
}

static const struct virtio_class console_virtio = {
	.name = "virtio-console", .type = VIRTIO_CONSOLE, .pci_class = CONSOLE_PCI_CLASS,
	.config_len = CFG_LEN, .config_read = console_config_read,
	.config_write = console_config_write, .stop = console_stop, .kick = console_kick,
};

/* --- life --- */

static void vconsole_reset(void *dev)
{
	struct vconsole *d = dev;

	virtio_reset(&d->v);
}

static void vconsole_pre_save(void *dev)
{
	struct vconsole *d = dev;

	for (unsigned i = 0; i < d->nports; i++) {
		struct port *p = &d->port[i];

		if (p->rx)
			virtio_kick(&d->v, rx_queue(p));
		if (p->tx)
			virtio_kick(&d->v, tx_queue(p));
		give_back(&p->rx);
		give_back(&p->tx);
	}
}

static int vconsole_post_load(void *dev, struct err *e)
{
	struct vconsole *d = dev;

	for (unsigned i = 0; i < d->nports; i++) {
		struct port *p = &d->port[i];

		p->rx = p->tx = NULL;
		/* The world may have changed: a peer that has gone, or come. */
		if (p->ready && p->host_open != be_connected(p)) {
			p->host_open = be_connected(p);
			p->tell |= TELL_OPEN;
		}
	}
	return virtio_post_load(&d->v, e);
}

static void vconsole_free(void *dev)
{
	struct vconsole *d = dev;

	if (!d)
		return;
	for (unsigned i = 0; i < d->nports; i++) {
		struct port *p = &d->port[i];

		if (p->be)
			chardev_detach(p->be);
		give_back(&p->rx);
		give_back(&p->tx);
	}
	virtio_fini(&d->v);
	free(d);
}

struct virtio *vconsole_virtio(struct vconsole *d)
{
	return &d->v;
}

int vconsole_new(struct vconsole **out, struct machine *m, unsigned nports,
		 const struct vconsole_port *port, struct err *e)
{
	bool plain = nports == 1 && !port[0].name;
	u64 features = F_SIZE | F_EMERG_WRITE | (plain ? 0 : F_MULTIPORT);
	struct vconsole *d;
	int r;

	if (nports < 1 || nports > VCONSOLE_PORTS_MAX)
		return err_set(e, EINVAL, "a console device has 1 to %u ports, not %u",
			       VCONSOLE_PORTS_MAX, nports);
	for (unsigned i = 0; i < nports; i++)
		if (port[i].name && (!port[i].name[0] || strlen(port[i].name) >= VCONSOLE_NAME_MAX))
			return err_set(e, EINVAL, "console port '%s': a name has 1 to %u characters",
				       port[i].name, VCONSOLE_NAME_MAX - 1);
	d = calloc(1, sizeof(*d));
	if (!d)
		return err_set(e, ENOMEM, "virtio-console: out of memory");
	d->nports = nports;
	for (unsigned i = 0; i < nports; i++) {
		struct port *p = &d->port[i];

		p->d = d;
		p->index = i;
		if (port[i].name)
			strcpy(p->name, port[i].name);
	}
	r = virtio_init(&d->v, m, &console_virtio, d, features, plain ? 2 : 2 * nports + 2, QUEUE_SIZE, e);
	if (r) {
		vconsole_free(d);
		return r;
	}
	for (unsigned i = 0; i < nports; i++) {
		d->port[i].be = port[i].be;
		if (port[i].be)
			chardev_attach(port[i].be, &front, &d->port[i]);
	}
	*out = d;
	return 0;
}

static const struct state_field port_state[] = {
	STATE_BOOL(struct port, guest_open),
	STATE_BOOL(struct port, ready),
	STATE_BOOL(struct port, host_open),
	STATE_U8(struct port, tell, 0, TELL_ALL),
	STATE_U16(struct port, cols, 0, UINT16_MAX),
	STATE_U16(struct port, rows, 0, UINT16_MAX),
	STATE_U32(struct port, tx_done, 0, UINT32_MAX),
	STATE_END
};

static const struct state_field vconsole_state[] = {
	STATE_STRUCT(struct vconsole, v, virtio_state),
	STATE_STRUCT_ARRAY(struct vconsole, port, port_state),
	STATE_END
};

const struct device_class vconsole_class = {
	.name = "virtio-console", .version = 1, .state = vconsole_state, .reset = vconsole_reset,
	.free = vconsole_free, .post_load = vconsole_post_load, .pre_save = vconsole_pre_save,
};
