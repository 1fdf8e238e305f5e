// SPDX-License-Identifier: GPL-2.0-or-later
/* chardev_listen.c - a character back end behind a listening socket, for programs: nothing is lost
 * and nothing kept while somebody is connected, and the chip learns who comes and goes.
 *
 * One peer at a time; the next waits in the listener's queue. Bytes that neither side takes stay in
 * the sockets, so that each end's writer waits for the other's reader. What a peer that has gone left
 * behind is kept for the guest until the next one comes: a guest that reads nothing keeps nobody out. */
#include "base/loop.h"
#include "base/cleanup.h"
#include "vm/chardev.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define IN_MAX 4096

struct chardev_listen {
	struct chardev c;
	struct loop *loop;
	int listener, peer;		/* peer -1: nobody */
	bool refused;			/* send() took less than it was given */
	bool hup;			/* the peer has gone, what it sent has not all been read */
	bool pumping;
	u8 in[IN_MAX];			/* read, and waiting for room */
	size_t at, n;
};

static void on_peer(void *ctx, u32 events);
static void on_listener(void *ctx, u32 events);

static void drop_peer(struct chardev_listen *s)
{
	if (!s->hup)
		loop_del_fd(s->loop, s->peer);
	cleanup_closep(&s->peer);
	s->peer = -1;
	s->refused = s->hup = false;
	s->at = s->n = 0;
	chardev_event(&s->c, CHARDEV_CLOSED);
	loop_mod_fd(s->loop, s->listener, EPOLLIN);
}

/* More is looked for when the last has been passed on; room, when the peer was full. */
static void watch(struct chardev_listen *s)
{
	if (s->peer >= 0 && !s->hup)
		loop_mod_fd(s->loop, s->peer, (s->n ? 0 : (u32)EPOLLIN) | (s->refused ? (u32)EPOLLOUT : 0));
}

/* Pass on what there is to read, as far as there is room. False: the peer has gone. */
static bool pump(struct chardev_listen *s)
{
	bool here = true;

	if (s->pumping || s->peer < 0)
		return true;
	s->pumping = true;
	for (unsigned rounds = 0; s->n || rounds < 64; rounds++) {	/* others have a turn, too */
		size_t n;

		if (s->n == 0) {
			ssize_t k = recv(s->peer, s->in, IN_MAX, MSG_DONTWAIT);

			if (k < 0 && (errno == EAGAIN || errno == EINTR))
				break;
			if (k <= 0) {
				here = false;
				break;
			}
			s->at = 0;
			s->n = (size_t)k;
		}
		n = MIN(s->n, chardev_room(&s->c));
		if (n == 0)
			break;
		s->at += n;
		s->n -= n;
		chardev_recv(&s->c, s->in + s->at - n, n);
	}
	s->pumping = false;
	return here;
}

static void on_peer(void *ctx, u32 events)
{
	struct chardev_listen *s = ctx;

	if (events & EPOLLOUT) {
		s->refused = false;
		chardev_can_send(&s->c);
	}
	if (!pump(s)) {
		drop_peer(s);
		return;
	}
	if (events & (EPOLLHUP | EPOLLERR) && s->n) {	/* would be told again and again */
		loop_del_fd(s->loop, s->peer);
		s->hup = true;
		loop_mod_fd(s->loop, s->listener, EPOLLIN);
	}
	watch(s);
}

static void on_listener(void *ctx, u32 events)
{
	struct chardev_listen *s = ctx;
	int fd;

	if (s->peer >= 0 && !s->hup)
		return;
	fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	if (s->peer >= 0)
		drop_peer(s);
	if (loop_add_fd(s->loop, fd, EPOLLIN, on_peer, s, NULL)) {
		close(fd);
		return;
	}
	s->peer = fd;
	loop_mod_fd(s->loop, s->listener, 0);
	chardev_event(&s->c, CHARDEV_OPENED);
}

static size_t listen_send(struct chardev *c, const u8 *buf, size_t len)
{
	struct chardev_listen *s = (struct chardev_listen *)c;
	ssize_t k;

	if (s->peer < 0 || s->hup)
		return len;
	do
		k = send(s->peer, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (k < 0 && errno == EINTR);
	if (k < 0 && errno != EAGAIN)
		return len;		/* on_peer() will hear of it */
	if (k < 0)
		k = 0;
	if ((size_t)k < len) {
		s->refused = true;
		watch(s);
	}
	return (size_t)k;
}

static void listen_room_now(struct chardev *c)
{
	struct chardev_listen *s = (struct chardev_listen *)c;

	if (s->pumping || s->peer < 0)
		return;
	if (pump(s))
		watch(s);
	else
		drop_peer(s);
}

static void listen_free(struct chardev *c)
{
	struct chardev_listen *s = (struct chardev_listen *)c;

	if (s->peer >= 0 && !s->hup)
		loop_del_fd(s->loop, s->peer);
	loop_del_fd(s->loop, s->listener);
	cleanup_closep(&s->peer);
	cleanup_closep(&s->listener);
	free(s);
}

static const struct chardev_ops listen_ops = {
	.send = listen_send, .room_now = listen_room_now, .free = listen_free,
};

int chardev_listen_new(struct chardev **out, struct loop *l, int listener, struct err *e)
{
	struct chardev_listen *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		close(listener);
		return err_set(e, ENOMEM, "character device: out of memory");
	}
	s->c.ops = &listen_ops;
	s->loop = l;
	s->listener = listener;
	s->peer = -1;
	r = loop_add_fd(l, listener, EPOLLIN, on_listener, s, e);
	if (r) {
		close(listener);
		free(s);
		return r;
	}
	*out = &s->c;
	return 0;
}
