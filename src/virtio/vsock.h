/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vsock.h - sockets between guest and host without a network (AF_VSOCK in the guest).
 *
 * Who talks to the guest here does so by connections: penta's own services through the calls below,
 * other programs through unix sockets, which vsock_unix.c carries with the same calls.
 * All calls and handlers come with the machine lock held, handlers on the loop's thread. */
#ifndef PENTA_VIRTIO_VSOCK_H
#define PENTA_VIRTIO_VSOCK_H

#include "virtio/virtio.h"

#define VSOCK_CID_HOST 2u
#define VSOCK_CID_GUEST 3u		/* the first that a guest may have, and the default */
#define VSOCK_PORT_ANY UINT32_MAX
#define VSOCK_CONNS_MAX 256		/* at once, in a machine */
#define VSOCK_BUF (64 * 1024u)		/* bytes a connection may have waiting, each way */

struct vsock;
struct vsock_conn;			/* one connection; valid until closed() was called or vsock_close() */

/* What the user of a connection hears. It may call anything below from within. */
struct vsock_handlers {
	/* The guest has accepted what vsock_connect() began; vsock_send() works from now on. May be NULL. */
	void (*opened)(void *ctx);
	/* Bytes from the guest: take some and say how many. The rest is kept, and comes again after
	 * vsock_recv_more(). */
	size_t (*recv)(void *ctx, const u8 *buf, size_t len);
	/* vsock_send() took less than it was given, and takes more now. May be NULL. */
	void (*can_send)(void *ctx);
	/* The guest will send nothing more: all that it sent has been taken. May be NULL. */
	void (*eof)(void *ctx);
	/* The guest receives nothing more: vsock_send() answers -EPIPE. May be NULL. */
	void (*deaf)(void *ctx);
	/* It is over and the connection is gone: 0 the guest closed in good order, ECONNREFUSED nobody
	 * listens in the guest, ETIMEDOUT it did not answer, ECONNRESET cut by it, by a reset or a
	 * restore. Not called after vsock_close(). */
	void (*closed)(void *ctx, int err);
};

/* A guest program connects to @port: say yes by vsock_use(c, ...) and 0, or no by a negative errno. */
typedef int vsock_accept_fn(void *ctx, struct vsock_conn *c, u32 port);

/* Be there for guest programs that connect to the host's @port; VSOCK_PORT_ANY: to any that nobody
 * else listens on. -EADDRINUSE. @fn NULL: be there no more. Survives resets. */
int vsock_listen(struct vsock *v, u32 port, vsock_accept_fn *fn, void *ctx, struct err *e);
/* Connect to the guest's @port; opened() or closed() follows, neither from within this call. *@out is
 * set on success. -ENETUNREACH: the guest's driver is not there (yet); -EMFILE: too many connections. */
int vsock_connect(struct vsock *v, u32 port, const struct vsock_handlers *h, void *ctx,
		  struct vsock_conn **out, struct err *e);
void vsock_use(struct vsock_conn *c, const struct vsock_handlers *h, void *ctx);

/* Send up to @len bytes; returns how many were taken (the guest may be slow), -EPIPE when it does not
 * receive any more, -ENOTCONN before opened(). */
ssize_t vsock_send(struct vsock_conn *c, const void *buf, size_t len);
size_t vsock_send_room(struct vsock_conn *c);	/* what vsock_send() takes; 0: can_send() will tell */
void vsock_shutdown(struct vsock_conn *c);	/* nothing more will be sent; what was taken still goes */
void vsock_recv_more(struct vsock_conn *c);	/* recv() takes bytes again */
/* Done: what was taken is still sent, then the guest is told. @c is gone for the caller. */
void vsock_close(struct vsock_conn *c);
u32 vsock_port_host(const struct vsock_conn *c);
u32 vsock_port_guest(const struct vsock_conn *c);

/* @cid: the guest's address, VSOCK_CID_GUEST .. 2^32 - 2. Only inside this machine: several may have
 * the same. */
extern const struct device_class vsock_class;
int vsock_new(struct vsock **out, struct machine *m, u32 cid, struct err *e);
struct virtio *vsock_virtio(struct vsock *v);

/* For other programs of the host. @listen_fd: a listening unix stream socket: who connects says
 * "CONNECT port\n", reads "OK hostport\n" and is connected to the guest's port. @dir_fd, or -1: a folder;
 * the guest's connections to port P go to the unix socket "vsock_P" in it. Both are taken. A machine
 * device of its own, to be added after the vsock. */
struct vsock_unix;
extern const struct device_class vsock_unix_class;
int vsock_unix_new(struct vsock_unix **out, struct vsock *v, struct machine *m, int listen_fd,
		   int dir_fd, struct err *e);

#endif
