/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The socket device over real rings: a driver of a few lines on one side, handlers and unix sockets on
 * the other. */
#include "unit.h"
#include "base/trace.h"
#include "virtio/drive.h"
#include "virtio/vsock.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { RX, TX, EV };
enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT, ASK };
#define CID 3u

struct pkt {
	u64 src, dst;
	u32 sport, dport, len, flags, alloc, fwd;
	u16 type, op;
	u8 data[4096];
};

struct rig {
	struct machine *m;
	struct vsock *v;
	struct drive d;
	u32 alloc, fwd;		/* what the driver says in each packet */
	/* The user on the host's side. */
	struct vsock_conn *c;
	u8 got[1 << 17];
	size_t ngot, take;	/* how much recv() takes at most */
	int opened, can_send, eof, deaf, closed, err;
	bool refuse;
};

static void on_opened(void *ctx) { ((struct rig *)ctx)->opened++; }
static void on_can_send(void *ctx) { ((struct rig *)ctx)->can_send++; }
static void on_eof(void *ctx) { ((struct rig *)ctx)->eof++; }
static void on_deaf(void *ctx) { ((struct rig *)ctx)->deaf++; }
static void on_closed(void *ctx, int err)
{
	struct rig *r = ctx;

	r->closed++;
	r->err = err;
	r->c = NULL;
}
static size_t on_recv(void *ctx, const u8 *buf, size_t len)
{
	struct rig *r = ctx;
	size_t n = MIN(len, r->take);

	memcpy(r->got + r->ngot, buf, n);
	r->ngot += n;
	r->take -= n;
	return n;
}
static const struct vsock_handlers handlers = { on_opened, on_recv, on_can_send, on_eof, on_deaf,
						on_closed };
static int on_accept(void *ctx, struct vsock_conn *c, u32 port)
{
	struct rig *r = ctx;

	if (r->refuse)
		return -ECONNREFUSED;
	r->c = c;
	vsock_use(c, &handlers, r);
	return 0;
}

static int setup(void **st)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct err e = { 0 };

	r->m = dt_machine(1);
	assert_int_equal(vsock_new(&r->v, r->m, CID, &e), 0);
	assert_int_equal(machine_add_device(r->m, &vsock_class, r->v, "vsock", &e), 0);
	drive_attach(&r->d, r->m, vsock_virtio(r->v));
	drive_start(&r->d, UINT64_MAX & ~(VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED));
	r->alloc = 4096;
	r->take = sizeof(r->got);
	*st = r;
	return 0;
}

static int teardown(void **st)
{
	struct rig *r = *st;

	machine_free(r->m);
	free(r);
	return 0;
}

static void give_rx(struct rig *r, unsigned n, size_t len)
{
	while (n--)
		drive_add(&r->d, RX, NULL, 0, len);
	drive_kick(&r->d, RX);
}

static void put_raw(struct rig *r, const struct pkt *p, u32 claim)
{
	u8 b[44 + sizeof(p->data)];

	put_le64(b, p->src);
	put_le64(b + 8, p->dst);
	put_le32(b + 16, p->sport);
	put_le32(b + 20, p->dport);
	put_le32(b + 24, claim);
	put_le16(b + 28, p->type);
	put_le16(b + 30, p->op);
	put_le32(b + 32, p->flags);
	put_le32(b + 36, r->alloc);
	put_le32(b + 40, r->fwd);
	memcpy(b + 44, p->data, p->len);
	drive_add(&r->d, TX, b, 44 + p->len, 0);
	drive_kick(&r->d, TX);
	assert_int_equal(drive_get(&r->d, TX, NULL, 0), 0);
}

static void put(struct rig *r, u16 op, u32 sport, u32 dport, const void *data, u32 len, u32 flags)
{
	struct pkt p = { .src = CID, .dst = 2, .sport = sport, .dport = dport, .len = len,
			 .type = 1, .op = op, .flags = flags };

	if (len)
		memcpy(p.data, data, len);
	put_raw(r, &p, len);
}

static bool get(struct rig *r, struct pkt *p)
{
	u8 b[44 + sizeof(p->data)];
	long n = drive_get(&r->d, RX, b, sizeof(b));

	if (n < 0)
		return false;
	assert_true(n >= 44);
	p->src = get_le64(b);
	p->dst = get_le64(b + 8);
	p->sport = get_le32(b + 16);
	p->dport = get_le32(b + 20);
	p->len = get_le32(b + 24);
	p->type = get_le16(b + 28);
	p->op = get_le16(b + 30);
	p->flags = get_le32(b + 32);
	p->alloc = get_le32(b + 36);
	p->fwd = get_le32(b + 40);
	assert_int_equal(p->len, n - 44);
	assert_true(p->dst == CID);
	memcpy(p->data, b + 44, p->len);
	return true;
}

static void expect(struct rig *r, u16 op, u32 sport, u32 dport, struct pkt *p)
{
	struct pkt q;

	p = p ? p : &q;
	assert_true(get(r, p));
	assert_int_equal(p->op, op);
	assert_int_equal(p->sport, sport);
	assert_int_equal(p->dport, dport);
}

static void expect_nothing(struct rig *r)
{
	struct pkt p;

	assert_false(get(r, &p));
}

/* A connection from guest port 1000 to the host's port 7. */
static void open_one(struct rig *r)
{
	struct pkt p;

	machine_lock(r->m);
	assert_int_equal(vsock_listen(r->v, 7, on_accept, r, NULL), 0);
	machine_unlock(r->m);
	give_rx(r, 16, 4096);
	put(r, REQUEST, 1000, 7, NULL, 0, 0);
	expect(r, RESPONSE, 7, 1000, &p);
	assert_int_equal(p.alloc, VSOCK_BUF);
	assert_non_null(r->c);
}

static void guest_connects(void **st)
{
	struct rig *r = *st;
	struct err e = { 0 };
	struct pkt p;

	open_one(r);
	assert_int_equal(vsock_listen(r->v, 7, on_accept, r, &e), -EADDRINUSE);
	put(r, RW, 1000, 7, "hello", 5, 0);
	assert_int_equal(r->ngot, 5);
	assert_memory_equal(r->got, "hello", 5);
	machine_lock(r->m);
	assert_int_equal(vsock_send(r->c, "world!", 6), 6);
	machine_unlock(r->m);
	expect(r, RW, 7, 1000, &p);
	assert_int_equal(p.len, 6);
	assert_int_equal(p.fwd, 5);
	assert_memory_equal(p.data, "world!", 6);
	/* It closes: both ways at once, and we answer RST. */
	put(r, SHUTDOWN, 1000, 7, NULL, 0, 3);
	expect(r, RST, 7, 1000, NULL);
	assert_int_equal(r->closed, 1);
	assert_int_equal(r->err, 0);
	assert_int_equal(r->eof, 1);
	assert_int_equal(r->deaf, 1);
	put(r, RW, 1000, 7, "x", 1, 0);		/* no such connection any more */
	expect(r, RST, 7, 1000, NULL);
	expect_nothing(r);
}

static void nobody_there(void **st)
{
	struct rig *r = *st;
	struct pkt p = { .src = CID, .dst = 9, .sport = 5, .dport = 6, .type = 1, .op = REQUEST }, q;

	give_rx(r, 16, 64);
	put(r, REQUEST, 1000, 7, NULL, 0, 0);		/* nobody listens */
	expect(r, RST, 7, 1000, NULL);
	put(r, RST, 1000, 7, NULL, 0, 0);		/* never RST for RST */
	expect_nothing(r);
	put_raw(r, &p, 0);				/* another machine */
	assert_true(get(r, &q));
	assert_int_equal(q.op, RST);
	assert_true(q.src == 9);
	p.dst = 2;
	p.type = 2;					/* SEQPACKET */
	put_raw(r, &p, 0);
	assert_true(get(r, &q));
	assert_int_equal(q.op, RST);
	assert_int_equal(q.type, 2);
	p.src = 77;					/* not its address: dropped */
	put_raw(r, &p, 0);
	expect_nothing(r);
	put(r, 99, 1, 2, NULL, 0, 0);
	expect(r, RST, 2, 1, NULL);
	r->refuse = true;
	machine_lock(r->m);
	assert_int_equal(vsock_listen(r->v, 7, on_accept, r, NULL), 0);
	machine_unlock(r->m);
	put(r, REQUEST, 1000, 7, NULL, 0, 0);
	expect(r, RST, 7, 1000, NULL);
	expect_nothing(r);
}

static void host_connects(void **st)
{
	struct rig *r = *st;
	struct err e = { 0 };
	struct pkt p;
	u32 port;

	give_rx(r, 16, 4096);
	machine_lock(r->m);
	assert_int_equal(vsock_connect(r->v, 22, &handlers, r, &r->c, &e), 0);
	port = vsock_port_host(r->c);
	assert_int_equal(vsock_send(r->c, "x", 1), -ENOTCONN);
	machine_unlock(r->m);
	expect(r, REQUEST, port, 22, NULL);
	assert_int_equal(r->opened, 0);
	put(r, RESPONSE, 22, port, NULL, 0, 0);
	assert_int_equal(r->opened, 1);
	machine_lock(r->m);
	assert_int_equal(vsock_send(r->c, "last words", 10), 10);
	vsock_close(r->c);
	machine_unlock(r->m);
	expect(r, RW, port, 22, &p);
	assert_int_equal(p.len, 10);
	expect(r, SHUTDOWN, port, 22, &p);
	assert_int_equal(p.flags, 3);
	put(r, RST, 22, port, NULL, 0, 0);
	assert_int_equal(r->closed, 0);
	/* Refused, and not answered at all. */
	machine_lock(r->m);
	assert_int_equal(vsock_connect(r->v, 23, &handlers, r, &r->c, &e), 0);
	port = vsock_port_host(r->c);
	machine_unlock(r->m);
	expect(r, REQUEST, port, 23, NULL);
	put(r, RST, 23, port, NULL, 0, 0);
	assert_int_equal(r->closed, 1);
	assert_int_equal(r->err, ECONNREFUSED);
	machine_lock(r->m);
	assert_int_equal(vsock_connect(r->v, 24, &handlers, r, &r->c, &e), 0);
	pass(r->m, 5 * SEC);
	machine_unlock(r->m);
	assert_int_equal(r->closed, 2);
	assert_int_equal(r->err, ETIMEDOUT);
	drive_reset(&r->d);
	machine_lock(r->m);
	assert_int_equal(vsock_connect(r->v, 24, &handlers, r, &r->c, &e), -ENETUNREACH);
	machine_unlock(r->m);
}

/* The host's bytes never exceed what the guest has room for, also when its counters wrap. */
static void credit_to_guest(void **st)
{
	struct rig *r = *st;
	u8 buf[10000];
	struct pkt p;
	size_t sum = 0;

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (u8)(i * 7);
	open_one(r);
	machine_lock(r->m);
	assert_int_equal(vsock_send(r->c, buf, sizeof(buf)), sizeof(buf));
	machine_unlock(r->m);
	while (get(r, &p)) {
		if (p.op == ASK)
			continue;
		assert_int_equal(p.op, RW);
		assert_memory_equal(p.data, buf + sum, p.len);
		sum += p.len;
	}
	assert_int_equal(sum, 4096);
	r->fwd = 1000;					/* the guest has read some */
	put(r, CREDIT, 1000, 7, NULL, 0, 0);
	while (get(r, &p))
		if (p.op == RW) {
			assert_memory_equal(p.data, buf + sum, p.len);
			sum += p.len;
		}
	assert_int_equal(sum, 5096);
	/* Lies: room that shrinks below what is out, a counter from the future. */
	r->alloc = 10;
	put(r, CREDIT, 1000, 7, NULL, 0, 0);
	r->alloc = 4096;
	r->fwd = 0xfffffff0;
	put(r, CREDIT, 1000, 7, NULL, 0, 0);
	expect_nothing(r);
	r->fwd = 5096;
	put(r, CREDIT, 1000, 7, NULL, 0, 0);
	while (get(r, &p))
		if (p.op == RW)
			sum += p.len;
	assert_int_equal(sum, 9192);
}

/* The user is slow: bytes wait with us, within the credit; who sends more is cut off. */
static void credit_to_host(void **st)
{
	struct rig *r = *st;
	u8 data[4096];
	struct pkt p;

	memset(data, 'a', sizeof(data));
	open_one(r);
	r->take = 100;
	for (unsigned i = 0; i < VSOCK_BUF / 4096; i++)
		put(r, RW, 1000, 7, data, 4096, 0);
	assert_int_equal(r->ngot, 100);
	expect_nothing(r);			/* nothing new worth telling */
	put(r, ASK, 1000, 7, NULL, 0, 0);
	expect(r, CREDIT, 7, 1000, &p);
	assert_int_equal(p.fwd, 100);
	r->take = 40000;
	machine_lock(r->m);
	vsock_recv_more(r->c);
	machine_unlock(r->m);
	expect(r, CREDIT, 7, 1000, &p);
	assert_true(p.fwd >= 16384);
	assert_int_equal(r->ngot, 40100);
	put(r, SHUTDOWN, 1000, 7, NULL, 0, 2);	/* it sends no more: told when all is taken */
	assert_int_equal(r->eof, 0);
	r->take = 1 << 16;
	machine_lock(r->m);
	vsock_recv_more(r->c);
	machine_unlock(r->m);
	assert_int_equal(r->ngot, VSOCK_BUF);
	assert_int_equal(r->eof, 1);
	assert_int_equal(r->closed, 0);
	while (get(r, &p))
		assert_int_equal(p.op, CREDIT);
	put(r, RW, 1000, 7, data, 1, 0);	/* after its own end */
	expect(r, RST, 7, 1000, NULL);
	assert_int_equal(r->err, ECONNRESET);

	r->take = 0;
	put(r, REQUEST, 1001, 7, NULL, 0, 0);
	expect(r, RESPONSE, 7, 1001, NULL);
	for (unsigned i = 0; i < VSOCK_BUF / 4096; i++)
		put(r, RW, 1001, 7, data, 4096, 0);
	assert_int_equal(r->closed, 1);
	put(r, RW, 1001, 7, data, 1, 0);	/* a byte too many */
	assert_int_equal(r->closed, 2);
	expect(r, RST, 7, 1001, NULL);
}

/* No rx buffers: what is owed waits, in bounded memory, and the guest's packets with it. */
static void no_buffers(void **st)
{
	struct rig *r = *st;
	struct pkt p;
	unsigned answers = 0, taken = 0;

	for (u32 i = 0; i < 60; i++) {
		put(r, REQUEST, i, 9, NULL, 0, 0);
	}
	for (u32 i = 0; i < 20; i++) {
		u8 b[44] = { 0 };

		put_le64(b, CID);
		put_le64(b + 8, 2);
		put_le32(b + 16, 100 + i);
		put_le16(b + 28, 1);
		put_le16(b + 30, REQUEST);
		drive_add(&r->d, TX, b, sizeof(b), 0);
	}
	drive_kick(&r->d, TX);
	while (drive_get(&r->d, TX, NULL, 0) >= 0)
		taken++;
	assert_int_equal(taken, 4);		/* 64 answers wait; no more is read */
	for (unsigned i = 0; i < 20; i++) {
		give_rx(r, 8, 64);
		while (get(r, &p)) {
			assert_int_equal(p.op, RST);
			answers++;
		}
	}
	assert_int_equal(answers, 80);
	while (drive_get(&r->d, TX, NULL, 0) >= 0)
		taken++;
	assert_int_equal(taken, 20);
}

static void many(void **st)
{
	struct rig *r = *st;
	struct pkt p;
	unsigned yes = 0, no = 0;

	machine_lock(r->m);
	assert_int_equal(vsock_listen(r->v, VSOCK_PORT_ANY, on_accept, r, NULL), 0);
	machine_unlock(r->m);
	for (u32 i = 0; i < VSOCK_CONNS_MAX + 10; i++) {
		give_rx(r, 1, 64);
		put(r, REQUEST, i, i * 3, NULL, 0, 0);
		assert_true(get(r, &p));
		yes += p.op == RESPONSE;
		no += p.op == RST;
	}
	assert_int_equal(yes, VSOCK_CONNS_MAX);
	assert_int_equal(no, 10);
	give_rx(r, 1, 64);
	put(r, RST, 5, 15, NULL, 0, 0);
	put(r, REQUEST, 9999, 1, NULL, 0, 0);
	expect(r, RESPONSE, 1, 9999, NULL);
	drive_reset(&r->d);
	assert_int_equal(r->closed, VSOCK_CONNS_MAX + 1);
}

/* Malformed: NEEDS_RESET, and life after the reset. */
static void malformed(void **st)
{
	struct rig *r = *st;
	struct virtio *v = vsock_virtio(r->v);
	u8 b[44] = { 0 };

	log_set_level(LOG_ERROR);
	drive_add(&r->d, TX, b, 43, 0);
	drive_kick(&r->d, TX);
	assert_true(v->status & VIRTIO_NEEDS_RESET);
	drive_reset(&r->d);
	drive_start(&r->d, 0);
	put_le64(b, CID);
	put_le64(b + 8, 2);
	put_le32(b + 24, 1);			/* a byte that is not there */
	put_le16(b + 28, 1);
	put_le16(b + 30, RW);
	drive_add(&r->d, TX, b, 44, 0);
	drive_kick(&r->d, TX);
	assert_true(v->status & VIRTIO_NEEDS_RESET);
	drive_reset(&r->d);
	drive_start(&r->d, 0);
	give_rx(r, 1, 43);
	put(r, REQUEST, 1, 1, NULL, 0, 0);
	assert_true(v->status & VIRTIO_NEEDS_RESET);
	drive_reset(&r->d);
	drive_start(&r->d, 0);
	open_one(r);
}

/* A receive buffer that cannot be is found when the host connects: it hears of the end, but not before
 * it has heard of the connection. */
static void malformed_for_host(void **st)
{
	struct rig *r = *st;
	struct err e = { 0 };

	log_set_level(LOG_ERROR);
	give_rx(r, 1, 43);
	machine_lock(r->m);
	assert_int_equal(vsock_connect(r->v, 22, &handlers, r, &r->c, &e), 0);
	assert_non_null(r->c);
	assert_int_equal(r->closed, 0);
	assert_int_equal(vsock_send(r->c, "x", 1), -ENOTCONN);
	machine_unlock(r->m);
	drive_loop(r->m);
	assert_int_equal(r->closed, 1);
	assert_null(r->c);
	assert_true(vsock_virtio(r->v)->status & VIRTIO_NEEDS_RESET);
	drive_reset(&r->d);
	drive_start(&r->d, 0);
	open_one(r);
}

static void restored(void **st)
{
	struct rig *r = *st;
	struct pkt p;
	u8 ev[8];

	open_one(r);
	machine_lock(r->m);
	vsock_class.resumed(r->v, false);	/* just a pause: nothing has changed */
	machine_unlock(r->m);
	drive_add(&r->d, EV, NULL, 0, 8);
	drive_kick(&r->d, EV);
	assert_int_equal(drive_get(&r->d, EV, ev, sizeof(ev)), -1);
	assert_int_equal(r->closed, 0);
	machine_lock(r->m);
	assert_int_equal(vsock_class.post_load(r->v, NULL), 0);
	vsock_class.resumed(r->v, true);
	machine_unlock(r->m);
	drive_loop(r->m);
	assert_int_equal(r->err, ECONNRESET);
	assert_int_equal(drive_get(&r->d, EV, ev, sizeof(ev)), 4);
	assert_int_equal(get_le32(ev), 0);
	put(r, RW, 1000, 7, "x", 1, 0);
	expect(r, RST, 7, 1000, &p);
}

/* --- unix sockets --- */

struct uns {
	char dir[64];
	struct sockaddr_un sa;
};

static void unix_setup(struct rig *r, struct uns *u)
{
	struct vsock_unix *x;
	struct err e = { 0 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), dir;

	strcpy(u->dir, "/tmp/penta-vsock-XXXXXX");
	assert_non_null(mkdtemp(u->dir));
	u->sa.sun_family = AF_UNIX;
	snprintf(u->sa.sun_path, sizeof(u->sa.sun_path), "%s/vsock.sock", u->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&u->sa, sizeof(u->sa)), 0);
	assert_int_equal(listen(fd, 8), 0);
	dir = open(u->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	machine_lock(r->m);
	assert_int_equal(vsock_unix_new(&x, r->v, r->m, fd, dir, &e), 0);
	assert_int_equal(machine_add_device(r->m, &vsock_unix_class, x, "vsock.unix", &e), 0);
	machine_unlock(r->m);
}

static void unix_remove(struct uns *u)
{
	char cmd[100];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", u->dir);
	assert_int_equal(system(cmd), 0);
}

static int dial(const struct uns *u)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *)&u->sa, sizeof(u->sa)), 0);
	return fd;
}

static void unix_to_guest(void **st)
{
	struct rig *r = *st;
	struct uns u;
	struct pkt p;
	char line[64], want[64];
	u32 port;
	int fd;

	unix_setup(r, &u);
	give_rx(r, 16, 4096);
	fd = dial(&u);
	assert_int_equal(write(fd, "CONN", 4), 4);
	drive_loop(r->m);
	assert_int_equal(write(fd, "ECT 22\nearly", 12), 12);
	drive_loop(r->m);
	assert_true(get(r, &p));
	assert_int_equal(p.op, REQUEST);
	assert_int_equal(p.dport, 22);
	port = p.sport;
	put(r, RESPONSE, 22, port, NULL, 0, 0);
	expect(r, RW, port, 22, &p);
	assert_int_equal(p.len, 5);
	assert_memory_equal(p.data, "early", 5);
	snprintf(want, sizeof(want), "OK %u\n", port);
	assert_int_equal(read(fd, line, sizeof(line)), strlen(want));
	assert_memory_equal(line, want, strlen(want));
	put(r, RW, 22, port, "answer", 6, 0);
	assert_int_equal(read(fd, line, sizeof(line)), 6);
	assert_memory_equal(line, "answer", 6);
	/* Half-close by the host program, then the guest's good-bye. */
	shutdown(fd, SHUT_WR);
	drive_loop(r->m);
	expect(r, SHUTDOWN, port, 22, &p);
	assert_int_equal(p.flags, 2);
	put(r, RW, 22, port, "more", 4, 0);
	assert_int_equal(read(fd, line, sizeof(line)), 4);
	put(r, SHUTDOWN, 22, port, NULL, 0, 3);
	drive_loop(r->m);
	expect(r, RST, port, 22, NULL);
	assert_int_equal(read(fd, line, sizeof(line)), 0);
	close(fd);

	/* The program goes at once: what it said still arrives, then SHUTDOWN. */
	fd = dial(&u);
	assert_int_equal(write(fd, "CONNECT 23\nbye", 14), 14);
	drive_loop(r->m);
	assert_true(get(r, &p));
	close(fd);
	drive_loop(r->m);
	put(r, RESPONSE, 23, p.sport, NULL, 0, 0);
	port = p.sport;
	drive_loop(r->m);
	expect(r, RW, port, 23, &p);
	assert_memory_equal(p.data, "bye", 3);
	expect(r, SHUTDOWN, port, 23, &p);
	assert_int_equal(p.flags, 3);
	put(r, RST, 23, port, NULL, 0, 0);

	/* Not our words; a guest that refuses. */
	static const char *const bad[] = { "HELLO\n", "CONNECT \n", "CONNECT -1\n", "CONNECT 1x\n",
		"CONNECT 4294967295\n", "CONNECT 99999999999999999999999999999999" };
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		fd = dial(&u);
		assert_int_equal(write(fd, bad[i], strlen(bad[i])), strlen(bad[i]));
		drive_loop(r->m);
		assert_true(read(fd, line, sizeof(line)) <= 0);
		close(fd);
		expect_nothing(r);
	}
	fd = dial(&u);
	assert_int_equal(write(fd, "CONNECT 24\n", 11), 11);
	drive_loop(r->m);
	assert_true(get(r, &p));
	put(r, RST, 24, p.sport, NULL, 0, 0);
	assert_int_equal(read(fd, line, sizeof(line)), 0);
	close(fd);
	/* More that say nothing than there is room for: the oldest goes. */
	int many_fd[70];
	for (unsigned i = 0; i < ARRAY_SIZE(many_fd); i++) {
		many_fd[i] = dial(&u);
		drive_loop(r->m);
	}
	assert_int_equal(read(many_fd[0], line, 1), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(many_fd); i++)
		close(many_fd[i]);
	drive_loop(r->m);
	unix_remove(&u);
}

static void unix_to_host(void **st)
{
	struct rig *r = *st;
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct uns u;
	struct pkt p;
	u8 buf[4096];
	size_t sum = 0;
	int lfd, fd;

	unix_setup(r, &u);
	give_rx(r, 16, 4096);
	put(r, REQUEST, 1000, 52, NULL, 0, 0);
	expect(r, RST, 52, 1000, NULL);		/* no such socket */
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.40s/vsock_52", u.dir);
	lfd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(lfd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(lfd, 1), 0);
	put(r, REQUEST, 1000, 52, NULL, 0, 0);
	expect(r, RESPONSE, 52, 1000, NULL);
	fd = accept(lfd, NULL, NULL);
	assert_true(fd >= 0);
	/* A program that does not read: the guest is told to wait, and nothing is lost. */
	fcntl(fd, F_SETFL, O_NONBLOCK);
	int small = 4096;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	u32 sent = 0, told = 0;
	memset(buf, 'z', sizeof(buf));
	while (sent - told + sizeof(buf) <= VSOCK_BUF) {
		put(r, RW, 1000, 52, buf, sizeof(buf), 0);
		sent += sizeof(buf);
		while (get(r, &p)) {
			told = p.fwd;
			give_rx(r, 1, 4096);
		}
	}
	for (;;) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n > 0)
			sum += (size_t)n;
		else if (sum == sent)
			break;
		drive_loop(r->m);
		while (get(r, &p))
			give_rx(r, 1, 4096);
	}
	assert_int_equal(sum, sent);
	/* The other way, with a guest that is slow; then the program ends. */
	memset(buf, 'q', sizeof(buf));
	sum = 0;
	for (ssize_t n; (n = write(fd, buf, sizeof(buf))) > 0;) {
		sum += (size_t)n;
		drive_loop(r->m);
	}
	close(fd);
	drive_loop(r->m);
	for (unsigned i = 0; i < 4000; i++) {
		give_rx(r, 1, 4096);
		if (!get(r, &p))
			continue;
		if (p.op == SHUTDOWN)
			break;
		if (p.op == RW) {
			assert_true(p.len == 0 || p.data[0] == 'q');
			sum -= p.len;
			r->fwd += p.len;
			put(r, CREDIT, 1000, 52, NULL, 0, 0);
		}
	}
	assert_int_equal(p.op, SHUTDOWN);
	assert_int_equal(p.flags, 3);
	assert_int_equal(sum, 0);
	close(lfd);
	unix_remove(&u);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(guest_connects), T(nobody_there), T(host_connects), T(credit_to_guest),
		T(credit_to_host), T(no_buffers), T(many), T(malformed), T(malformed_for_host), T(restored),
		T(unix_to_guest), T(unix_to_host),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
