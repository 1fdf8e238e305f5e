/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_chardev_listen.c - the back end behind a listening socket: bytes both ways, peers that come and
 * go, one that has gone while the guest reads nothing. */
#include "unit.h"
#include "base/loop.h"
#include "vm/chardev.h"
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct front {
	struct chardev *c;
	size_t room;
	char got[64];
	size_t n;
	unsigned opened, closed;
};

static size_t room(void *dev) { return ((struct front *)dev)->room; }
static void recv_bytes(void *dev, const u8 *buf, size_t len)
{
	struct front *f = dev;

	assert_true(len <= f->room && f->n + len < sizeof(f->got));
	memcpy(f->got + f->n, buf, len);
	f->n += len;
	f->room -= len;
}
static void can_send(void *dev) { }
static void event(void *dev, enum chardev_event ev)
{
	struct front *f = dev;

	f->opened += ev == CHARDEV_OPENED;
	f->closed += ev == CHARDEV_CLOSED;
}
static const struct chardev_front ops = {
	.room = room, .recv = recv_bytes, .can_send = can_send, .event = event,
};

static void quit(void *ctx) { loop_quit(ctx); }
static void pump(struct loop *l)
{
	for (unsigned i = 0; i < 4; i++) {
		loop_post(l, quit, l);
		loop_run(l);
	}
}

/* A listening socket without a name in any folder. */
static int listener(struct sockaddr_un *a, socklen_t *len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	*len = sizeof(sa_family_t);
	assert_int_equal(bind(fd, (struct sockaddr *)a, *len), 0);	/* the kernel picks one */
	*len = sizeof(*a);
	assert_int_equal(getsockname(fd, (struct sockaddr *)a, len), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static int dial(const struct sockaddr_un *a, socklen_t len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *)a, len), 0);
	return fd;
}

static void peers(void **state)
{
	struct front f = { .room = 64 };
	struct sockaddr_un a;
	struct err e = { 0 };
	struct loop *l;
	socklen_t len;
	char buf[8];
	int p, next;

	assert_int_equal(loop_new(&l, NULL, &e), 0);
	assert_int_equal(chardev_listen_new(&f.c, l, listener(&a, &len), &e), 0);
	chardev_attach(f.c, &ops, &f);
	assert_int_equal(chardev_send(f.c, (const u8 *)"lost", 4), 4);
	p = dial(&a, len);
	pump(l);
	assert_int_equal(f.opened, 1);
	assert_int_equal(chardev_send(f.c, (const u8 *)"out", 3), 3);
	assert_int_equal(read(p, buf, sizeof(buf)), 3);
	assert_memory_equal(buf, "out", 3);
	assert_int_equal(write(p, "in", 2), 2);
	close(p);
	pump(l);
	assert_int_equal(f.n, 2);
	assert_int_equal(f.closed, 1);

	f.room = 0;			/* the guest hangs, and somebody types */
	p = dial(&a, len);
	pump(l);
	assert_int_equal(write(p, "hello?", 6), 6);
	pump(l);
	close(p);
	pump(l);
	assert_int_equal(f.opened, 2);
	f.room = 3;			/* it takes a little of it */
	chardev_room_now(f.c);
	assert_memory_equal(f.got, "inhel", 5);
	next = dial(&a, len);		/* the next is let in all the same */
	pump(l);
	assert_int_equal(f.opened, 3);
	assert_int_equal(f.closed, 2);
	f.room = 64;
	assert_int_equal(write(next, "you", 3), 3);
	pump(l);
	assert_int_equal(f.n, 8);
	assert_memory_equal(f.got, "inhelyou", 8);
	close(next);
	chardev_free(f.c);
	loop_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(peers) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
