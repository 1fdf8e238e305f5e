// SPDX-License-Identifier: GPL-2.0-or-later
/* console.c - see console.h. To the guest's port this is a back end; to each viewer, a back end over
 * its descriptor, it is the front end. The guest never waits for a viewer: one that does not read
 * loses its oldest bytes. Machine lock held in all calls. */
#include "manage/machine/console.h"
#include "base/cleanup.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	VIEWERS = 8,
	REPLAY = 16384,			/* bytes kept */
	SCREEN_LINES = 60,		/* shown to who comes */
};

struct viewer {
	struct vm_console *console;
	struct chardev *be;		/* NULL: free */
	int fd;				/* ours to close, or -1 */
	bool gone;
};

struct vm_console {
	struct chardev c;
	struct loop *loop;
	int listen_fd, log_fd;
	u64 log_len;
	struct viewer viewer[VIEWERS];
	u8 replay[REPLAY];
	size_t replay_at, replay_n;	/* ring: where the next byte goes; how many there are */
};

/* --- viewers --- */

static size_t viewer_room(void *dev)
{
	struct viewer *v = dev;

	return chardev_room(&v->console->c);
}

static void viewer_recv(void *dev, const u8 *buf, size_t len)
{
	struct viewer *v = dev;

	chardev_recv(&v->console->c, buf, len);
}

static void reap(void *ctx)
{
	struct vm_console *c = ctx;

	for (unsigned i = 0; i < VIEWERS; i++) {
		struct viewer *v = &c->viewer[i];

		if (!v->be || !v->gone)
			continue;
		chardev_free(v->be);
		cleanup_closep(&v->fd);
		*v = (struct viewer){ .fd = -1 };
	}
}

/* From within the viewer's own callback: it is freed later. */
static void viewer_event(void *dev, enum chardev_event ev)
{
	struct viewer *v = dev;

	if (ev == CHARDEV_BREAK)
		chardev_event(&v->console->c, ev);
	if (ev != CHARDEV_CLOSED || v->gone || v->fd < 0)
		return;
	v->gone = true;
	loop_post(v->console->loop, reap, v->console);
}

static const struct chardev_front viewer_front = {
	.room = viewer_room, .recv = viewer_recv, .event = viewer_event,
};

/* The last lines of the replay, from the start of a line on. */
static void send_screen(struct vm_console *c, struct chardev *be)
{
	static u8 none;
	u8 *text = c->replay_n ? malloc(c->replay_n) : &none;
	size_t from = (c->replay_at + REPLAY - c->replay_n) % REPLAY, begin = 0;
	unsigned lines = 0;

	if (!text || text == &none)
		return;
	for (size_t i = 0; i < c->replay_n; i++)
		text[i] = c->replay[(from + i) % REPLAY];
	for (size_t i = c->replay_n; i-- > 0 && lines < SCREEN_LINES;)
		if (text[i] == '\n') {
			begin = i + 1;
			lines++;
		}
	/* With fewer lines than that: all, unless the ring has cut the first one. */
	if (lines < SCREEN_LINES && c->replay_n < REPLAY)
		begin = 0;
	chardev_send(be, text + begin, c->replay_n - begin);
	free(text);
}

static int add_viewer(struct vm_console *c, int in, int out, int own, bool screen,
		      const struct serial_filter *filter, struct err *e)
{
	struct chardev_fd_opts o = { .in = in, .out = out, .lossy = true, .socket = own >= 0 };
	struct viewer *v = c->viewer;
	int r;

	while (v < c->viewer + VIEWERS && v->be)
		v++;
	if (v == c->viewer + VIEWERS)
		return err_set(e, EUSERS, "the console has %d viewers already", VIEWERS);
	if (filter) {
		o.filter = filter->fn;
		o.ctx = filter->ctx;
	}
	r = chardev_fd_new(&v->be, c->loop, &o, e);
	if (r)
		return r;
	v->console = c;
	v->fd = own;
	v->gone = false;
	if (screen)
		send_screen(c, v->be);
	chardev_attach(v->be, &viewer_front, v);
	return 0;
}

static void on_listener(void *ctx, u32 events)
{
	struct vm_console *c = ctx;
	int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	struct err e = { 0 };

	if (fd < 0)
		return;
	if (add_viewer(c, fd, fd, fd, true, NULL, &e)) {
		char line[600];
		int n = snprintf(line, sizeof(line), "penta: %s\r\n", e.msg);

		send(fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
		close(fd);
	}
}

int vm_console_view(struct vm_console *c, int in, int out, const struct serial_filter *filter,
		    struct err *e)
{
	return add_viewer(c, in, out, -1, false, filter, e);
}

/* --- the log --- */

/* In the sandbox nothing can be renamed, so a log that is full stays so until the next start. */
static void log_bytes(struct vm_console *c, const u8 *buf, size_t len)
{
	static const char full[] = "\r\n[penta: console.log is full; it begins anew with the "
				   "machine's next start]\r\n";
	ssize_t n;

	if (c->log_len >= CONSOLE_LOG_MAX)
		return;
	n = write(c->log_fd, buf, len);
	if (n > 0)			/* a full disk: the guest does not care */
		c->log_len += (u64)n;
	if (c->log_len >= CONSOLE_LOG_MAX && write(c->log_fd, full, sizeof(full) - 1) < 0)
		return;
}

/* --- the back end --- */

static size_t console_send(struct chardev *be, const u8 *buf, size_t len)
{
	struct vm_console *c = (struct vm_console *)be;

	if (c->log_fd >= 0)
		log_bytes(c, buf, len);
	for (size_t i = len > REPLAY ? len - REPLAY : 0; i < len; i++) {
		c->replay[c->replay_at] = buf[i];
		c->replay_at = (c->replay_at + 1) % REPLAY;
		c->replay_n = MIN(c->replay_n + 1, (size_t)REPLAY);
	}
	for (unsigned i = 0; i < VIEWERS; i++)
		if (c->viewer[i].be && !c->viewer[i].gone)
			chardev_send(c->viewer[i].be, buf, len);
	return len;
}

static void console_room_now(struct chardev *be)
{
	struct vm_console *c = (struct vm_console *)be;

	for (unsigned i = 0; i < VIEWERS; i++)
		if (c->viewer[i].be && !c->viewer[i].gone)
			chardev_room_now(c->viewer[i].be);
}

static void console_free(struct chardev *be)
{
	struct vm_console *c = (struct vm_console *)be;

	for (unsigned i = 0; i < VIEWERS; i++) {
		chardev_free(c->viewer[i].be);
		cleanup_closep(&c->viewer[i].fd);
	}
	if (c->listen_fd >= 0)
		loop_del_fd(c->loop, c->listen_fd);
	cleanup_closep(&c->listen_fd);
	cleanup_closep(&c->log_fd);
	free(c);
}

static const struct chardev_ops console_ops = {
	.send = console_send, .room_now = console_room_now, .free = console_free,
};

int vm_console_new(struct vm_console **out, struct loop *l, int listen_fd, int log_fd,
		   struct err *e)
{
	struct vm_console *c = calloc(1, sizeof(*c));
	off_t end;
	int r = 0;

	if (!c) {
		cleanup_closep(&listen_fd);
		cleanup_closep(&log_fd);
		return err_set(e, ENOMEM, "console: out of memory");
	}
	c->c.ops = &console_ops;
	c->c.connected = true;
	c->loop = l;
	c->listen_fd = listen_fd;
	c->log_fd = log_fd;
	for (unsigned i = 0; i < VIEWERS; i++)
		c->viewer[i].fd = -1;
	end = log_fd >= 0 ? lseek(log_fd, 0, SEEK_END) : 0;
	c->log_len = end > 0 ? (u64)end : 0;
	if (listen_fd >= 0)
		r = loop_add_fd(l, listen_fd, EPOLLIN, on_listener, c, e);
	if (r) {
		c->listen_fd = -1;
		cleanup_closep(&listen_fd);
		chardev_free(&c->c);
		return r;
	}
	*out = c;
	return 0;
}

struct chardev *vm_console_chardev(struct vm_console *c)
{
	return &c->c;
}
