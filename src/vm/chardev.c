// SPDX-License-Identifier: GPL-2.0-or-later
/* chardev.c - character back ends: the calls between chip and back end, and the one in memory.
 * The one over file descriptors is chardev_fd.c. */
#include "vm/chardev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void chardev_attach(struct chardev *c, const struct chardev_front *f, void *dev)
{
	BUG_ON(c->front);
	c->front = f;
	c->dev = dev;
	chardev_room_now(c);
}

void chardev_detach(struct chardev *c)
{
	c->front = NULL;
	c->dev = NULL;
}

void chardev_free(struct chardev *c)
{
	if (!c)
		return;
	if (c->front && c->front->gone)
		c->front->gone(c->dev);
	c->ops->free(c);
}

size_t chardev_send(struct chardev *c, const u8 *buf, size_t len)
{
	if (!c || !c->connected)
		return len;
	return c->ops->send(c, buf, len);
}

void chardev_room_now(struct chardev *c)
{
	if (c && c->ops->room_now)
		c->ops->room_now(c);
}

void chardev_send_break(struct chardev *c)
{
	if (c && c->connected && c->ops->send_break)
		c->ops->send_break(c);
}

size_t chardev_room(struct chardev *c)
{
	return c->front ? c->front->room(c->dev) : 0;
}

void chardev_recv(struct chardev *c, const u8 *buf, size_t len)
{
	if (c->front && len)
		c->front->recv(c->dev, buf, len);
}

void chardev_can_send(struct chardev *c)
{
	if (c->front && c->front->can_send)
		c->front->can_send(c->dev);
}

void chardev_event(struct chardev *c, enum chardev_event ev)
{
	if (ev != CHARDEV_BREAK)
		c->connected = ev == CHARDEV_OPENED;
	if (c->front && c->front->event)
		c->front->event(c->dev, ev);
	if (ev == CHARDEV_CLOSED)
		chardev_can_send(c);		/* what waits is dropped now, not kept for ever */
}

/* --- in memory --- */

struct chardev_mem {
	struct chardev c;
	char *out;
	size_t nout, limit;
	u8 *in;
	size_t nin;
	bool stuck, delivering;
};

static size_t mem_send(struct chardev *c, const u8 *buf, size_t len)
{
	struct chardev_mem *m = (struct chardev_mem *)c;
	size_t n = len;

	if (m->stuck)
		return 0;
	if (n > m->limit) {			/* of more than fits, the end */
		buf += n - m->limit;
		n = m->limit;
	}
	if (m->nout + n > m->limit) {
		size_t drop = m->nout + n - m->limit;

		memmove(m->out, m->out + drop, m->nout - drop);
		m->nout -= drop;
	}
	memcpy(m->out + m->nout, buf, n);
	m->nout += n;
	m->out[m->nout] = 0;
	return len;
}

/* recv() may make room again and come back here: the outer call goes on then. */
static void mem_deliver(struct chardev *c)
{
	struct chardev_mem *m = (struct chardev_mem *)c;
	size_t n;

	if (m->delivering)
		return;
	m->delivering = true;
	while ((n = MIN(m->nin, chardev_room(c))) > 0) {
		u8 buf[256];

		n = MIN(n, sizeof(buf));
		memcpy(buf, m->in, n);
		m->nin -= n;
		memmove(m->in, m->in + n, m->nin);
		chardev_recv(c, buf, n);
	}
	m->delivering = false;
}

static void mem_free(struct chardev *c)
{
	struct chardev_mem *m = (struct chardev_mem *)c;

	free(m->out);
	free(m->in);
	free(m);
}

static const struct chardev_ops mem_ops = {
	.send = mem_send, .room_now = mem_deliver, .free = mem_free,
};

int chardev_mem_new(struct chardev **out, size_t limit, struct err *e)
{
	struct chardev_mem *m = calloc(1, sizeof(*m));

	if (m)
		m->out = calloc(1, limit + 1);
	if (!m || !m->out) {
		free(m);
		return err_set(e, ENOMEM, "no memory for a character buffer of %zu bytes", limit);
	}
	m->c.ops = &mem_ops;
	m->c.connected = true;
	m->limit = limit;
	*out = &m->c;
	return 0;
}

const char *chardev_mem_output(struct chardev *c, size_t *len)
{
	struct chardev_mem *m = (struct chardev_mem *)c;

	if (len)
		*len = m->nout;
	return m->out;
}

void chardev_mem_clear(struct chardev *c)
{
	struct chardev_mem *m = (struct chardev_mem *)c;

	m->nout = 0;
	m->out[0] = 0;
}

int chardev_mem_input(struct chardev *c, const void *buf, size_t len, struct err *e)
{
	struct chardev_mem *m = (struct chardev_mem *)c;
	u8 *in = realloc(m->in, m->nin + len + 1);

	if (!in)
		return err_set(e, ENOMEM, "no memory for %zu bytes of input", len);
	m->in = in;
	memcpy(m->in + m->nin, buf, len);
	m->nin += len;
	mem_deliver(c);
	return 0;
}

void chardev_mem_stall(struct chardev *c, bool stuck)
{
	((struct chardev_mem *)c)->stuck = stuck;
	if (!stuck)
		chardev_can_send(c);
}
