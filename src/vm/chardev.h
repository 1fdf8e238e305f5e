/* SPDX-License-Identifier: GPL-2.0-or-later */
/* chardev.h - bytes both ways with flow control: the seam between a serial chip (the front end)
 * and whatever reads and writes its bytes on the host (the back end: terminal, pty, socket, file,
 * a test's buffer). Neither ever blocks: each tells the other how much it takes now, and calls
 * back when it takes more. All calls come with the machine lock held. */
#ifndef PENTA_VM_CHARDEV_H
#define PENTA_VM_CHARDEV_H

#include "base/err.h"
#include "base/types.h"

struct loop;
struct chardev;

enum chardev_event {
	CHARDEV_OPENED,		/* a peer is there: carrier */
	CHARDEV_CLOSED,		/* it has gone; bytes sent now are dropped */
	CHARDEV_BREAK,		/* the peer sent a break */
};

/* What the chip offers to its back end. Any function may be NULL except room and recv. */
struct chardev_front {
	size_t (*room)(void *dev);		/* bytes that recv() takes now */
	void (*recv)(void *dev, const u8 *buf, size_t len);	/* len <= room() */
	void (*can_send)(void *dev);		/* send() took less than asked; now it takes more */
	void (*event)(void *dev, enum chardev_event ev);
	void (*gone)(void *dev);		/* the back end is being freed: forget it */
};

/* What a back end offers to the chip. */
struct chardev_ops {
	/* Take up to @len bytes at once; returns how many. Less than @len: full, can_send() of
	 * the front end is called when that has changed. Never blocks. */
	size_t (*send)(struct chardev *c, const u8 *buf, size_t len);
	void (*room_now)(struct chardev *c);	/* the front end's room() has grown; may be NULL */
	void (*send_break)(struct chardev *c);	/* may be NULL */
	void (*free)(struct chardev *c);	/* gives what is queued a short while to leave */
};

struct chardev {		/* first member of a back end's own struct */
	const struct chardev_ops *ops;
	const struct chardev_front *front;	/* NULL: no chip attached; input waits */
	void *dev;
	bool connected;
};

/* Tie a chip to a back end. Either may be freed first: the chip detaches in its free function, the
 * back end tells the chip. */
void chardev_attach(struct chardev *c, const struct chardev_front *f, void *dev);
void chardev_detach(struct chardev *c);
void chardev_free(struct chardev *c);	/* accepts NULL */

/* For front ends: all accept c == NULL (nobody there: bytes are taken and dropped). */
size_t chardev_send(struct chardev *c, const u8 *buf, size_t len);
void chardev_room_now(struct chardev *c);
void chardev_send_break(struct chardev *c);

/* For back ends: accept no chip attached (room 0). */
size_t chardev_room(struct chardev *c);
void chardev_recv(struct chardev *c, const u8 *buf, size_t len);
void chardev_can_send(struct chardev *c);
void chardev_event(struct chardev *c, enum chardev_event ev);

/* A back end over file descriptors: terminal, pty, pipe, socket or file. @in and @out are
 * borrowed, may be equal, and either may be -1; their blocking mode is left alone where the host
 * allows a second opening of the same file. @filter (may be NULL) sees input first and returns
 * how many bytes of @buf are left for the guest: escape keys of a terminal.
 * @lossy: drop the oldest output when the peer does not read (logs); else the guest waits. */
struct chardev_fd_opts {
	int in, out;
	bool lossy;
	bool socket;		/* both are one, for sure: nothing is asked of the host, which a sandbox
				 * may not allow any more */
	size_t (*filter)(void *ctx, u8 *buf, size_t len);
	void *ctx;
};
/* To be freed before @l (that is: before the machine whose loop it is), machine lock held. */
int chardev_fd_new(struct chardev **out, struct loop *l, const struct chardev_fd_opts *o,
		   struct err *e);

/* A back end for programs, behind the listening socket @listener (taken): one peer at a time, nothing
 * is lost while it is there, and the chip hears OPENED and CLOSED. To be freed as the one above. */
int chardev_listen_new(struct chardev **out, struct loop *l, int listener, struct err *e);

/* A back end in memory, for tests and boot logs: output collects up to @limit bytes (older ones
 * go first), input comes by chardev_mem_input(). */
int chardev_mem_new(struct chardev **out, size_t limit, struct err *e);
const char *chardev_mem_output(struct chardev *c, size_t *len);	/* NUL-terminated; borrowed */
void chardev_mem_clear(struct chardev *c);
/* Queue bytes for the guest, delivered as it makes room. */
int chardev_mem_input(struct chardev *c, const void *buf, size_t len, struct err *e);
/* Pretend that the peer is stuck: send() takes nothing while @stuck. */
void chardev_mem_stall(struct chardev *c, bool stuck);

#endif
