// SPDX-License-Identifier: GPL-2.0-or-later
/* vsock_unix.c - the socket device for other programs of the host: unix sockets.
 * The words are Firecracker's, so that what speaks to its machines speaks to ours.
 *
 *	host program to guest: connect to the machine's socket, write "CONNECT 22\n", read
 *	"OK 1073741824\n" (the port that the guest sees); from then on the bytes are the guest's port 22's.
 *	If nobody listens there, the socket closes without a word.
 *	guest program to host: a connection to host port P becomes one to the unix socket "vsock_P" in
 *	the folder that was given; nobody there: the guest hears "connection reset".
 *
 * The folder was opened before the sandbox closed. connect() knows no directory descriptors: the
 * path goes through /proc/self/fd. */
#include "virtio/vsock.h"
#include "base/cleanup.h"
#include "base/trace.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#define LINE_LEN_MAX 32u		/* "CONNECT 4294967295\n" and some blanks */
#define HANDSHAKES_MAX 64u		/* that have not said their port yet; the oldest goes */
#define PIECE 16384u
#define PIECES 16u			/* before others have a turn */

struct peer {
	struct peer *next, **back;	/* in vsock_unix.peers, newest first */
	struct vsock_unix *u;
	struct vsock_conn *c;		/* NULL: its line is awaited, or the guest is through with it */
	int fd;
	bool handshake;			/* its line is awaited */
	bool greet;			/* "OK port" is to be said when the guest accepts */
	bool want_out;			/* the guest's bytes wait for room */
	bool eof;			/* it sends no more */
	bool deaf;			/* it receives no more: what the guest sends is dropped */
	bool hup;			/* both */
};

struct vsock_unix {
	struct vsock *v;
	struct loop *loop;
	int listen_fd, dir_fd;
	bool listening;			/* listen_fd is watched */
	bool closing;
	struct peer *peers;
	unsigned npeers, nhandshakes;
};

static void on_listen(void *ctx, u32 events);
static void on_peer(void *ctx, u32 events);

/* New peers are welcome as long as there is room for them; else they wait in the socket's queue. */
static void listen_again(struct vsock_unix *u)
{
	bool want = u->listen_fd >= 0 && !u->closing &&
		    u->npeers < VSOCK_CONNS_MAX + HANDSHAKES_MAX;

	if (want && !u->listening)
		u->listening = loop_add_fd(u->loop, u->listen_fd, EPOLLIN, on_listen, u, NULL) == 0;
	else if (!want && u->listening) {
		loop_del_fd(u->loop, u->listen_fd);
		u->listening = false;
	}
}

static struct peer *peer_new(struct vsock_unix *u, int fd)
{
	struct peer *p = calloc(1, sizeof(*p));

	/* Edge-triggered: EPOLLHUP cannot be masked, and a peer that has gone while the guest is slow
	 * would wake us for ever. Watching anew (loop_mod_fd) tells again what is the case. */
	if (!p || loop_add_fd(u->loop, fd, EPOLLIN | EPOLLET, on_peer, p, NULL) < 0) {
		free(p);
		close(fd);
		return NULL;
	}
	*p = (struct peer){ .u = u, .fd = fd, .next = u->peers, .back = &u->peers };
	if (p->next)
		p->next->back = &p->next;
	u->peers = p;
	u->npeers++;
	return p;
}

static void peer_free(struct peer *p)
{
	struct vsock_unix *u = p->u;

	if (p->c)
		vsock_close(p->c);
	loop_del_fd(u->loop, p->fd);
	close(p->fd);
	*p->back = p->next;
	if (p->next)
		p->next->back = p->back;
	u->npeers--;
	u->nhandshakes -= p->handshake;
	free(p);
	listen_again(u);
}

static void watch_again(struct peer *p)
{
	loop_mod_fd(p->u->loop, p->fd, (p->eof ? 0 : (u32)EPOLLIN) |
		    (p->want_out ? (u32)EPOLLOUT : 0) | EPOLLET);
}

/* --- from the socket to the guest --- */

/* May free @p. */
static void pull(struct peer *p)
{
	u8 buf[PIECE];

	for (unsigned i = 0; i < PIECES && !p->eof; i++) {
		size_t room = vsock_send_room(p->c);
		ssize_t n;

		if (room == 0)		/* can_send() or opened() will come */
			return;
		n = recv(p->fd, buf, MIN(room, sizeof(buf)), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			p->eof = true;
			break;
		}
		vsock_send(p->c, buf, (size_t)n);	/* there is room */
	}
	if (!p->eof) {
		watch_again(p);		/* there may be more: let others have a turn */
	} else if (p->hup) {
		peer_free(p);
	} else {
		watch_again(p);
		vsock_shutdown(p->c);
	}
}

/* --- from the guest to the socket: handlers --- */

static size_t unix_recv(void *ctx, const u8 *buf, size_t len)
{
	struct peer *p = ctx;
	ssize_t n;

	if (p->deaf)
		return len;
	n = send(p->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		p->deaf = true;		/* what it has sent before is still read; then EPOLLHUP comes */
		return len;
	}
	n = MAX(n, 0);
	if ((size_t)n < len) {
		p->want_out = true;
		watch_again(p);
	}
	return (size_t)n;
}

static void unix_opened(void *ctx)
{
	struct peer *p = ctx;
	char line[32];
	int n = snprintf(line, sizeof(line), "OK %u\n", vsock_port_host(p->c));

	/* The first bytes that this socket gets: there is room for them. */
	if (p->greet && send(p->fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n)
		p->deaf = true;
	p->greet = false;
	pull(p);
}

static void unix_can_send(void *ctx)
{
	pull(ctx);
}

static void unix_eof(void *ctx)
{
	struct peer *p = ctx;

	shutdown(p->fd, SHUT_WR);
}

static void unix_deaf(void *ctx)
{
	struct peer *p = ctx;

	p->eof = true;
	shutdown(p->fd, SHUT_RD);	/* its writes fail from now on */
}

static void unix_closed(void *ctx, int err)
{
	struct peer *p = ctx;

	p->c = NULL;
	peer_free(p);
}

static const struct vsock_handlers unix_handlers = {
	.opened = unix_opened, .recv = unix_recv, .can_send = unix_can_send, .eof = unix_eof,
	.deaf = unix_deaf, .closed = unix_closed,
};

/* A guest program connects to a port of the host. */
static int unix_accept(void *ctx, struct vsock_conn *c, u32 port)
{
	struct vsock_unix *u = ctx;
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct peer *p;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/vsock_%u", u->dir_fd, port);
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0) {
		int err = errno;

		close(fd);
		return -err;
	}
	p = peer_new(u, fd);
	if (!p)
		return -ENOMEM;
	p->c = c;
	vsock_use(c, &unix_handlers, p);
	return 0;
}

/* --- those who come --- */

static bool still_there(const struct vsock_unix *u, const struct peer *p)
{
	const struct peer *q = u->peers;

	while (q && q != p)
		q = q->next;
	return q != NULL;
}

/* "CONNECT port\n", of which just that is read. False: not a word of ours, or gone. */
static bool read_line(struct peer *p, u32 *port, bool *have)
{
	char b[LINE_LEN_MAX + 1], *end, *nl;
	ssize_t n = recv(p->fd, b, LINE_LEN_MAX, MSG_PEEK | MSG_DONTWAIT);
	unsigned long long v;

	*have = false;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	b[n] = '\0';
	nl = memchr(b, '\n', (size_t)n);
	if (!nl)
		return n > 0 && n < (ssize_t)LINE_LEN_MAX && !p->hup;
	if (strncmp(b, "CONNECT ", 8) != 0 || b[8] < '0' || b[8] > '9')
		return false;
	v = strtoull(b + 8, &end, 10);
	if (end[0] == '\r')
		end++;
	if (end != nl || v >= UINT32_MAX)
		return false;
	*port = (u32)v;
	*have = true;
	return recv(p->fd, b, (size_t)(nl - b + 1), MSG_DONTWAIT) == nl - b + 1;
}

static void shake_hands(struct peer *p)
{
	bool have;
	u32 port;

	if (!read_line(p, &port, &have)) {
		peer_free(p);
		return;
	}
	if (!have)
		return;
	p->handshake = false;
	p->greet = true;
	p->u->nhandshakes--;
	if (vsock_connect(p->u->v, port, &unix_handlers, p, &p->c, NULL) < 0)
		peer_free(p);
}

static void on_peer(void *ctx, u32 events)
{
	struct peer *p = ctx;
	struct vsock_unix *u = p->u;

	if (events & (EPOLLHUP | EPOLLERR))
		p->hup = p->deaf = true;
	if (p->handshake) {
		shake_hands(p);
		return;
	}
	if (p->want_out && (events & EPOLLOUT || p->deaf)) {
		p->want_out = false;
		vsock_recv_more(p->c);	/* at the end of which closed() may be called */
		if (!still_there(u, p))
			return;
	}
	if (p->hup && p->eof)
		peer_free(p);
	else
		pull(p);
}

static void on_listen(void *ctx, u32 events)
{
	struct vsock_unix *u = ctx;

	for (unsigned i = 0; i < 16 && u->listening; i++) {
		int fd = accept4(u->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		struct peer *p;

		if (fd < 0) {
			if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS)
				return;
			/* Try again when one has gone. */
			log_limited(LOG_WARN, "vsock: a host program must wait: %s", strerror(errno));
			if (u->npeers) {
				loop_del_fd(u->loop, u->listen_fd);
				u->listening = false;
			}
			return;
		}
		if (u->nhandshakes == HANDSHAKES_MAX) {
			struct peer *oldest = NULL;

			for (struct peer *o = u->peers; o; o = o->next)
				if (o->handshake)
					oldest = o;
			peer_free(oldest);
		}
		p = peer_new(u, fd);
		if (!p)
			return;
		p->handshake = true;
		u->nhandshakes++;
		listen_again(u);
	}
}

static void unix_free(void *dev)
{
	struct vsock_unix *u = dev;

	if (!u)
		return;
	u->closing = true;
	if (u->listening)
		loop_del_fd(u->loop, u->listen_fd);
	u->listening = false;
	if (u->dir_fd >= 0)
		vsock_listen(u->v, VSOCK_PORT_ANY, NULL, NULL, NULL);
	while (u->peers)
		peer_free(u->peers);
	cleanup_closep(&u->listen_fd);
	cleanup_closep(&u->dir_fd);
	free(u);
}

/* Nothing of it is state: connections end with the process. */
const struct device_class vsock_unix_class = { .name = "vsock-unix", .free = unix_free };

int vsock_unix_new(struct vsock_unix **out, struct vsock *v, struct machine *m, int listen_fd,
		   int dir_fd, struct err *e)
{
	struct vsock_unix *u = calloc(1, sizeof(*u));
	int r = 0;

	if (!u) {
		cleanup_closep(&listen_fd);
		cleanup_closep(&dir_fd);
		return err_set(e, ENOMEM, "vsock: out of memory");
	}
	*u = (struct vsock_unix){ .v = v, .loop = m->loop, .listen_fd = listen_fd, .dir_fd = -1 };
	if (listen_fd >= 0 && fcntl(listen_fd, F_SETFL, O_NONBLOCK) < 0)
		r = err_errno(e, "vsock: the listening socket");
	if (!r && listen_fd >= 0) {
		r = loop_add_fd(u->loop, listen_fd, EPOLLIN, on_listen, u, e);
		u->listening = r == 0;
	}
	if (!r && dir_fd >= 0)
		r = vsock_listen(v, VSOCK_PORT_ANY, unix_accept, u, e);
	if (r < 0) {
		cleanup_closep(&dir_fd);
		unix_free(u);
		return r;
	}
	u->dir_fd = dir_fd;
	*out = u;
	return 0;
}
