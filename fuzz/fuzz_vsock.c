/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_vsock.c - the socket device under a driver that sends nearly right packets at random, and users
 * on the host that connect, send, stall, shut down and close at random. Checked throughout: the bytes of a
 * connection arrive in order and whole, never more than the guest's credit is out, what the guest may send
 * is bounded, each user hears of its end just once, and nothing is left when all is over. Options: fuzz.h. */
#include "fuzz.h"
#include "../tests/virtio/drive.h"
#include "base/trace.h"
#include "virtio/vsock.h"

enum { RX, TX, EV };
enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT, ASK };
#define CID 3u
#define PORTS 6
#define USERS 600

static u64 rng_state;
static u64 rnd(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state;
}
static u64 below(u64 n) { return rnd() % n; }

struct user {
	struct vsock_conn *c;		/* NULL: over */
	u32 sent, got;			/* bytes: their pattern is their place */
	bool used, ended;
};

/* The guest's view of a connection. */
struct peer { bool there; u32 host, guest, got, alloc, fwd, sent, seen_fwd; bool shut; };

struct world {
	struct machine *m;
	struct vsock *v;
	struct drive d;
	struct user user[USERS];
	unsigned nusers, live;
	struct peer peer[64];
	unsigned long packets, data;
	bool wild;			/* packets that break the rules: patterns are not kept then */
};

static void die(const char *what)
{
	fprintf(stderr, "fuzz_vsock: %s\n", what);
	abort();
}

static struct world *W;

static size_t on_recv(void *ctx, const u8 *buf, size_t len)
{
	struct user *u = ctx;
	size_t n = below(3) ? len : below(len + 1);

	if (u->ended || !u->c)
		die("bytes after the end");
	for (size_t i = 0; !W->wild && i < n; i++)
		if (buf[i] != (u8)(u->got + i))
			die("the guest's bytes arrive changed");
	u->got += (u32)n;
	if (below(60) == 0) {
		vsock_close(u->c);
		u->c = NULL;
		W->live--;
	}
	return n;
}

static void try_send(struct user *u)
{
	u8 b[5000];
	size_t len = below(sizeof(b));
	ssize_t n;

	if (!u->c)
		return;
	for (size_t i = 0; i < len; i++)
		b[i] = (u8)(u->sent + i);
	n = vsock_send(u->c, b, len);
	if (n > (ssize_t)len)
		die("took more than it was given");
	if (n > 0)
		u->sent += (u32)n;
}

static void on_can_send(void *ctx) { try_send(ctx); }
static void on_opened(void *ctx) { if (below(2)) try_send(ctx); }
static void on_eof(void *ctx)
{
	struct user *u = ctx;

	if (below(2))
		vsock_shutdown(u->c);
}
static void on_closed(void *ctx, int err)
{
	struct user *u = ctx;

	if (u->ended || !u->c)
		die("told twice of one end");
	u->ended = true;
	u->c = NULL;
	W->live--;
}
static const struct vsock_handlers handlers = {
	.opened = on_opened, .recv = on_recv, .can_send = on_can_send, .eof = on_eof, .closed = on_closed,
};

static struct user *new_user(void)
{
	struct user *u = W->nusers < USERS ? &W->user[W->nusers++] : NULL;

	if (u)
		*u = (struct user){ .used = true };
	return u;
}

static int on_accept(void *ctx, struct vsock_conn *c, u32 port)
{
	struct user *u = below(8) ? new_user() : NULL;

	if (!u)
		return -1;
	u->c = c;
	W->live++;
	vsock_use(c, &handlers, u);
	if (below(3) == 0)
		try_send(u);
	return 0;
}

static struct peer *peer_of(u32 host, u32 guest, bool make)
{
	struct peer *empty = NULL;

	for (unsigned i = 0; i < ARRAY_SIZE(W->peer); i++) {
		struct peer *p = &W->peer[i];

		if (p->there && p->host == host && p->guest == guest)
			return p;
		if (!p->there)
			empty = p;
	}
	if (!make || !empty)
		return NULL;
	*empty = (struct peer){ .there = true, .host = host, .guest = guest, .alloc = 4096 };
	return empty;
}

static void put(u16 op, struct peer *p, u32 host, u32 guest, u32 flags, u32 len)
{
	static u8 b[44 + 70000];

	put_le64(b, W->wild && below(30) == 0 ? rnd() : CID);
	put_le64(b + 8, W->wild && below(30) == 0 ? rnd() : 2);
	put_le32(b + 16, guest);
	put_le32(b + 20, host);
	put_le32(b + 24, len);
	put_le16(b + 28, W->wild && below(30) == 0 ? (u16)rnd() : 1);
	put_le16(b + 30, op);
	put_le32(b + 32, flags);
	put_le32(b + 36, W->wild && below(9) == 0 ? (u32)rnd() : p ? p->alloc : 4096);
	put_le32(b + 40, W->wild && below(9) == 0 ? (u32)rnd() : p ? p->fwd : 0);
	for (u32 i = 0; i < len; i++)
		b[44 + i] = (u8)((p ? p->sent : 0) + i);
	if (p)
		p->sent += len;
	if (W->wild && below(300) == 0)
		len = (u32)below(44 + len + 1);		/* cut short */
	else
		len += 44;
	if (len)
		drive_add(&W->d, TX, b, len, 0);
	drive_kick(&W->d, TX);
	while (drive_get(&W->d, TX, NULL, 0) >= 0)
		;
	W->packets++;
}

static void take(void)
{
	static u8 b[44 + 8192];
	long n;

	while ((n = drive_get(&W->d, RX, b, sizeof(b))) >= 0) {
		u32 host = get_le32(b + 16), guest = get_le32(b + 20), len = get_le32(b + 24);
		u16 op = get_le16(b + 30);
		struct peer *p = peer_of(host, guest, op == REQUEST || op == RESPONSE);

		W->packets++;
		if (n < 44 || len != n - 44)
			die("a packet of a wrong length");
		if (op < REQUEST || op > ASK)
			die("a packet that is none");
		if (p)
			p->seen_fwd = get_le32(b + 40);
		if (op == RST && p)
			p->there = false;
		if (op == REQUEST && p) {
			*p = (struct peer){ .there = true, .host = host, .guest = guest, .alloc = 4096 };
			put(below(5) ? RESPONSE : RST, p, host, guest, 0, 0);
			if (below(50) == 0)
				p->there = false;
		} else if (op == SHUTDOWN && p && get_le32(b + 32) == 3 && below(4)) {
			put(RST, p, host, guest, 0, 0);
			p->there = false;
		}
		if (op != RW || !p || W->wild)
			continue;
		for (u32 i = 0; i < len; i++)
			if (b[44 + i] != (u8)(p->got + i))
				die("the host's bytes arrive changed");
		p->got += len;
		W->data += len;
		if (p->got - p->fwd > p->alloc)
			die("more bytes than the guest has room for");
		if (below(2))
			p->fwd = p->got;		/* read; told with the next packet */
	}
}

static void guest_acts(void)
{
	u32 host = (u32)below(PORTS), guest = 100 + (u32)below(PORTS);
	struct peer *p = &W->peer[below(ARRAY_SIZE(W->peer))];

	switch (below(8)) {
	case 0: case 1:
		p = peer_of(host, guest, false);
		if (p && !W->wild)
			return;
		p = peer_of(host, guest, true);
		if (p)
			put(REQUEST, p, host, guest, 0, 0);
		return;
	case 2:
		for (unsigned i = (unsigned)below(8); i; i--)
			drive_add(&W->d, RX, NULL, 0, W->wild && below(200) == 0 ? 44 : 64 + below(4000));
		drive_kick(&W->d, RX);
		return;
	}
	if (W->wild && below(4) == 0) {
		put((u16)below(12), p->there ? p : NULL, (u32)rnd(), (u32)rnd(), (u32)rnd(), (u32)below(3000));
		return;
	}
	if (!p->there)
		return;
	switch (below(6)) {
	case 0: put(CREDIT, p, p->host, p->guest, 0, 0); break;
	case 1: put(ASK, p, p->host, p->guest, 0, 0); break;
	case 2:
		if (below(6))
			break;
		put(SHUTDOWN, p, p->host, p->guest, (u32)below(4), 0);
		p->shut = true;		/* says no more */
		break;
	default: {
		u32 room = VSOCK_BUF - (p->sent - p->seen_fwd), len = (u32)below(6000);

		if (p->shut && !W->wild)
			break;
		if (!W->wild)
			len = MIN(len, room);
		put(RW, p, p->host, p->guest, 0, len);
	}
	}
}

static void host_acts(void)
{
	struct user *u = W->nusers ? &W->user[below(W->nusers)] : NULL;

	machine_lock(W->m);
	switch (below(7)) {
	case 0:
		u = new_user();
		if (u && vsock_connect(W->v, 100 + (u32)below(PORTS), &handlers, u, &u->c, NULL) == 0)
			W->live++;
		break;
	case 1:
		if (u && u->c && below(8) == 0) {
			vsock_close(u->c);
			u->c = NULL;
			W->live--;
		}
		break;
	case 2:
		if (u && u->c && below(8) == 0)
			vsock_shutdown(u->c);
		break;
	case 3:
		if (u && u->c)
			vsock_recv_more(u->c);
		break;
	case 4:
		if (below(10) == 0)
			pass(W->m, below(3 * SEC));
		break;
	default:
		if (u)
			try_send(u);
	}
	machine_unlock(W->m);
}

static u64 round_of(u64 seed)
{
	static struct world w;
	struct err e = { 0 };

	rng_state = seed * 0x9e3779b97f4a7c15ull | 1;
	memset(&w, 0, sizeof(w));
	W = &w;
	w.wild = below(2);
	w.m = dt_machine(1);
	if (vsock_new(&w.v, w.m, CID, &e) || machine_add_device(w.m, &vsock_class, w.v, "vsock", &e))
		die(e.msg);
	drive_attach(&w.d, w.m, vsock_virtio(w.v));
	drive_start(&w.d, UINT64_MAX & ~(VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED));
	machine_lock(w.m);
	vsock_listen(w.v, VSOCK_PORT_ANY, on_accept, NULL, NULL);
	machine_unlock(w.m);
	for (unsigned i = 0; i < 2000; i++) {
		if (below(2))
			guest_acts();
		else
			host_acts();
		take();
		if (below(500) == 0 || vsock_virtio(w.v)->status & VIRTIO_NEEDS_RESET) {
			if (below(2)) {
				machine_lock(w.m);
				vsock_class.post_load(w.v, &e);
				vsock_class.resumed(w.v, true);
				machine_unlock(w.m);
				drive_loop(w.m);
			}
			drive_reset(&w.d);
			drive_start(&w.d, UINT64_MAX & ~(VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED));
			memset(w.peer, 0, sizeof(w.peer));
			if (w.live)
				die("users that have not heard of a reset");
		}
	}
	machine_free(w.m);
	if (w.live)
		die("users that have not heard of the end");
	return w.packets;
}

int main(int argc, char **argv)
{
	struct fuzz f = fuzz_begin(argc, argv, "fuzz_vsock");
	u64 n = 0;

	log_set_level(LOG_ERROR);
	while (fuzz_more(&f, n))
		n = round_of(f.seed);
	return fuzz_end(&f);
}
