/* SPDX-License-Identifier: GPL-2.0-or-later */
/* user.c - a network without any right on the host: libslirp ends the guest's connections here and opens
 * sockets of this process for them (NAT), with DHCP and port forwards from the host.
 * After: libslirp 4.7 (libslirp.h).
 *
 * How its sockets reach our event loop: libslirp tells anew, each time it has done something, which
 * descriptors it waits for (slirp_pollfds_fill). They are kept in an epoll instance of their own, which
 * the loop watches as one descriptor: when it turns ready, all that is ready is handled in one go, and
 * only differences cost system calls. Nothing is polled when nothing happens.
 *
 *	guest --net_send--> user_edge_out --> slirp_input     ... sockets
 *	guest <--net_recv-- user_edge_in <-- send_packet <-- slirp_pollfds_poll <-- ready sockets
 *
 * When the guest has no room, frames wait in a queue and the sockets are left alone until it is empty,
 * so that the other ends are slowed down instead of losing data. */
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/trace.h"		// log_limited
#include "net/spec.h"
#include "net/user.h"
#include "vm/clock.h"
#include <arpa/inet.h>
#include <errno.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum {
	MTU_MAX = 65521,		/* libslirp's */
	MTU_USUAL = 1500,
	QUEUE_BYTES = 4 << 20,		/* for a guest that takes nothing: then frames are lost */
	FLOWS_MAX = 2048,		/* sockets; fewer where the process may not have so many */
	FD_MAX = 1 << 16,
	READY_MAX = 64,
	BACKLOG = 128,			/* of forwards; libslirp asks for 1 */
	RESOLV_CONF_LINES = 1000,
};
#define QUIET_NS (300 * 1000000000ull)	/* after the last socket has gone, TCP has nothing more to say */
#define RA_NS (3600 * 1000000000ull)
#define MS 1000000ull

struct user_fd {
	u32 events;		/* what epoll watches; 0: not in it */
	u32 wanted, round;	/* what libslirp wanted when it was last asked */
	u32 ready;
	bool flow;		/* a connection, not a forward */
	bool listed;		/* in user.active */
};

struct queued {
	struct queued *next;
	struct net_offload off;
	size_t len;
	u8 data[];
};

struct user {
	struct net n;
	struct loop *loop;
	struct clock *clock;
	Slirp *slirp;
	struct user_edge edge;
	struct user_frag *frag;
	u8 *frame;			/* the guest's, in one piece */

	int ep;
	struct user_fd *fd;		/* by descriptor */
	unsigned nfd;
	int *active;			/* those that epoll watches */
	unsigned nactive, active_max;
	u32 round;
	unsigned nflows, flows_max;
	struct vm_timer timer, ra_timer;
	u64 last_flow_ns;

	struct queued *head, **tail;	/* for the guest */
	size_t queued;			/* bytes */
	bool stalled;			/* sockets are left alone until the queue is empty */
};

/* --- sockets ------------------------------------------------------------------------------ */

static struct user_fd *user_fd(struct user *u, int fd)
{
	unsigned n = u->nfd ? u->nfd : 64;
	struct user_fd *more;

	if (fd < 0 || fd >= FD_MAX)
		return NULL;
	if ((unsigned)fd < u->nfd)
		return &u->fd[fd];
	while (n <= (unsigned)fd)
		n *= 2;
	more = realloc(u->fd, n * sizeof(*more));
	if (!more)
		return NULL;
	memset(more + u->nfd, 0, (n - u->nfd) * sizeof(*more));
	u->fd = more;
	u->nfd = n;
	return &u->fd[fd];
}

static void watch(struct user *u, int fd, struct user_fd *w, u32 events)
{
	struct epoll_event ev = { .events = events, .data.fd = fd };
	int op = !events ? EPOLL_CTL_DEL : w->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (events == w->events)
		return;
	if (epoll_ctl(u->ep, op, fd, &ev) < 0 && events) {
		/* The descriptor was closed and opened again behind our back, or the other way round. */
		op = errno == EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
		if (epoll_ctl(u->ep, op, fd, &ev) < 0) {
			log_limited(LOG_WARN, "net: user: descriptor %d cannot be watched: %s", fd,
				    strerror(errno));
			events = 0;
		}
	}
	w->events = events;
}

static void on_register(int fd, void *opaque)
{
	struct user *u = opaque;
	struct user_fd *w = user_fd(u, fd);

	if (w && !w->flow) {
		w->flow = true;
		u->nflows++;
	}
}

/* The descriptor will be closed next. */
static void on_unregister(int fd, void *opaque)
{
	struct user *u = opaque;
	struct user_fd *w = fd >= 0 && (unsigned)fd < u->nfd ? &u->fd[fd] : NULL;

	if (!w)
		return;
	watch(u, fd, w, 0);
	if (w->flow)
		u->nflows--;
	w->flow = false;
	w->ready = 0;
}

static int add_poll(int fd, int events, void *opaque)
{
	struct user *u = opaque;
	struct user_fd *w = user_fd(u, fd);

	if (!w)
		return -1;
	w->wanted = (events & SLIRP_POLL_IN ? EPOLLIN : 0u) | (events & SLIRP_POLL_OUT ? EPOLLOUT : 0u) |
		    (events & SLIRP_POLL_PRI ? EPOLLPRI : 0u) | EPOLLERR | EPOLLHUP;
	w->round = u->round;
	if (!w->listed) {
		if (u->nactive == u->active_max) {
			unsigned n = u->active_max ? 2 * u->active_max : 64;
			int *more = realloc(u->active, n * sizeof(*more));

			if (!more)
				return -1;
			u->active = more;
			u->active_max = n;
		}
		u->active[u->nactive++] = fd;
		w->listed = true;
	}
	watch(u, fd, w, w->wanted);
	return fd;
}

static int get_ready(int fd, void *opaque)
{
	struct user *u = opaque;
	u32 r = fd >= 0 && (unsigned)fd < u->nfd ? u->fd[fd].ready & u->fd[fd].wanted : 0;

	return (r & EPOLLIN ? SLIRP_POLL_IN : 0) | (r & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
	       (r & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (r & EPOLLERR ? SLIRP_POLL_ERR : 0) |
	       (r & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

/* Ask libslirp what it waits for now, and when it wants to be called at the latest. */
static void ask(struct user *u)
{
	u32 timeout = UINT32_MAX;
	u64 now = clock_now(u->clock);
	unsigned kept = 0;

	u->round++;
	slirp_pollfds_fill(u->slirp, &timeout, add_poll, u);
	for (unsigned i = 0; i < u->nactive; i++) {
		int fd = u->active[i];
		struct user_fd *w = &u->fd[fd];

		if (w->events && w->round != u->round)
			watch(u, fd, w, 0);
		w->listed = w->events;
		if (w->listed)
			u->active[kept++] = fd;
	}
	u->nactive = kept;
	if (u->nflows)
		u->last_flow_ns = now;
	/* It asks for a call each second, or half of it with a forward, also when there is nothing to
	 * time: an idle machine shall sleep. */
	if (timeout >= 1000 || (timeout > 100 && now - u->last_flow_ns > QUIET_NS))
		vm_timer_del(&u->timer);
	else
		vm_timer_set(&u->timer, now + timeout * MS);
}

static void tick(struct user *u)
{
	slirp_pollfds_poll(u->slirp, 1, get_ready, u);
	ask(u);
}

static void on_timer(void *ctx)
{
	tick(ctx);
}

static void on_sockets(void *ctx, u32 events)
{
	struct user *u = ctx;
	struct epoll_event ev[READY_MAX];
	int n = epoll_wait(u->ep, ev, READY_MAX, 0);

	if (n <= 0)
		return;
	for (int i = 0; i < n; i++)
		u->fd[ev[i].data.fd].ready = ev[i].events;
	slirp_pollfds_poll(u->slirp, 0, get_ready, u);
	for (int i = 0; i < n; i++)
		u->fd[ev[i].data.fd].ready = 0;
	ask(u);
}

/* --- towards the guest -------------------------------------------------------------------- */

static void stall(struct user *u, bool on)
{
	if (on != u->stalled && loop_mod_fd(u->loop, u->ep, on ? 0 : EPOLLIN) == 0)
		u->stalled = on;
}

static void enqueue(struct user *u, const struct net_frame *f)
{
	struct queued *q = u->queued + f->len > QUEUE_BYTES ? NULL : malloc(sizeof(*q) + f->len);

	stall(u, true);
	if (!q)
		return;		/* lost, as on a wire; TCP sends it again */
	*q = (struct queued){ .off = f->off, .len = f->len };
	offload_gather(f, q->data, 0, f->len);
	*u->tail = q;
	u->tail = &q->next;
	u->queued += q->len;
}

static void deliver(struct user *u, const struct net_frame *f)
{
	if (u->head || !net_recv(&u->n, f))
		enqueue(u, f);
}

static void user_room_now(struct net *n)
{
	struct user *u = (struct user *)n;

	while (u->head) {
		struct queued *q = u->head;
		struct iovec iov = { q->data, q->len };
		struct net_frame f = { .iov = &iov, .niov = 1, .len = q->len, .off = q->off };

		if (!net_recv(n, &f))
			return;
		u->head = q->next;
		if (!u->head)
			u->tail = &u->head;
		u->queued -= q->len;
		free(q);
	}
	stall(u, false);
}

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct user *u = opaque;
	u8 head[USER_HEAD_MAX];
	struct net_frame f = { .len = len };
	size_t n = user_edge_in(&u->edge, buf, len, head, &f.off);
	struct iovec iov[2] = { { head, n }, { (u8 *)buf + n, len - n } };

	f.iov = iov;
	f.niov = len > n ? 2 : 1;
	deliver(u, &f);
	return (ssize_t)len;
}

static void send_ra(struct user *u)
{
	u8 ra[USER_RA_LEN];
	struct iovec iov = { ra, sizeof(ra) };
	struct net_frame f = { .iov = &iov, .niov = 1, .len = sizeof(ra) };

	user_edge_ra(&u->edge, ra);
	deliver(u, &f);
}

static void on_ra_timer(void *ctx)
{
	struct user *u = ctx;

	send_ra(u);
	vm_timer_set(&u->ra_timer, clock_now(u->clock) + RA_NS);
}

/* --- from the guest ----------------------------------------------------------------------- */

static void to_slirp(struct user *u, u8 *p, size_t len)
{
	switch (user_edge_out(&u->edge, p, len, u->n.front_caps & NET_CAP_TSO4)) {
	case USER_DROP:
		return;
	case USER_ROUTER:
		send_ra(u);
		if (!vm_timer_armed(&u->ra_timer))
			vm_timer_set(&u->ra_timer, clock_now(u->clock) + RA_NS);
		return;
	case USER_FRAGMENT:
		p = user_frag_add(u->frag, p, len, clock_now(u->clock), &len);
		if (p)
			to_slirp(u, p, len);
		return;
	case USER_NEW_FLOW:
		if (u->nflows >= u->flows_max) {
			log_limited(LOG_WARN, "net: user: the guest has %u connections open; more are "
				    "refused", u->nflows);
			return;
		}
		break;
	case USER_PASS:
		break;
	}
	slirp_input(u->slirp, p, (int)len);
}

static bool user_send(struct net *n, const struct net_frame *f)
{
	struct user *u = (struct user *)n;

	if (f->len > MTU_MAX + 14)
		return true;
	offload_gather(f, u->frame, 0, f->len);
	to_slirp(u, u->frame, f->len);
	return true;
}

static void user_flush(struct net *n)
{
	tick((struct user *)n);
}

/* --- what libslirp asks for --------------------------------------------------------------- */

static void guest_error(const char *msg, void *opaque)
{
	log_limited(LOG_DEBUG, "net: user: %s", msg);
}

static int64_t now_ns(void *opaque)
{
	return (int64_t)clock_now(((struct user *)opaque)->clock);
}

/* Its one timer is for router advertisements, which user_edge.c makes. */
static void *timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
	return opaque;
}

static void timer_free(void *timer, void *opaque)
{
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
}

/* A buffer has room again. That happens in slirp_input() or slirp_pollfds_poll(), and both are followed
 * by ask(). */
static void notify(void *opaque)
{
}

static const SlirpCb callbacks = {
	.send_packet = send_packet, .guest_error = guest_error, .clock_get_ns = now_ns,
	.timer_new = timer_new, .timer_free = timer_free, .timer_mod = timer_mod,
	.register_poll_fd = on_register, .unregister_poll_fd = on_unregister, .notify = notify,
};

/* --- state -------------------------------------------------------------------------------- */

/* What libslirp writes when no program serves a port inside the NAT: a mark, its IP identification, and
 * sixteen DHCP leases. Nothing else is let through to its parser. Connections are not in it: they end
 * with the sockets, and the guest is told by a reset when it sends on them. */
enum { STATE_LEASES = 16, STATE_LEN = 1 + 2 + STATE_LEASES * (2 + 6), STATE_VERSION = 4 };

struct cursor { u8 *p; size_t len, at; };

static ssize_t put_state(const void *buf, size_t len, void *opaque)
{
	struct cursor *c = opaque;

	if (len > c->len - c->at)
		return -1;
	memcpy(c->p + c->at, buf, len);
	c->at += len;
	return (ssize_t)len;
}

static ssize_t get_state(void *buf, size_t len, void *opaque)
{
	struct cursor *c = opaque;

	memset(buf, 0, len);
	len = MIN(len, c->len - c->at);
	memcpy(buf, c->p + c->at, len);
	c->at += len;
	return (ssize_t)len;
}

static int user_save(struct net *n, u8 **buf, size_t *len, struct err *e)
{
	struct user *u = (struct user *)n;
	struct cursor c = { .p = malloc(STATE_LEN), .len = STATE_LEN };

	if (!c.p)
		return err_set(e, ENOMEM, "net: user: out of memory");
	slirp_state_save(u->slirp, put_state, &c);
	if (c.at != STATE_LEN || slirp_state_version() != STATE_VERSION) {
		free(c.p);
		return err_set(e, ENOTSUP, "net: user: libslirp %s has another state (version %d)",
			       slirp_version_string(), slirp_state_version());
	}
	*buf = c.p;
	*len = STATE_LEN;
	return 0;
}

static int user_load(struct net *n, const u8 *buf, size_t len, struct err *e)
{
	struct user *u = (struct user *)n;
	struct cursor c = { .p = (u8 *)buf, .len = len };

	if (len != STATE_LEN || buf[0] != 0)
		return err_set(e, EINVAL, "net: user: these %zu bytes are no DHCP leases", len);
	if (slirp_state_load(u->slirp, STATE_VERSION, get_state, &c) < 0)
		return err_set(e, EINVAL, "net: user: libslirp refuses its state");
	return 0;
}

/* --- life --------------------------------------------------------------------------------- */

static void user_free(struct net *n)
{
	struct user *u = (struct user *)n;

	if (u->ep >= 0)
		loop_del_fd(u->loop, u->ep);
	if (u->clock) {
		vm_timer_del(&u->timer);
		vm_timer_del(&u->ra_timer);
	}
	if (u->slirp)
		slirp_cleanup(u->slirp);
	for (struct queued *q = u->head, *next; q; q = next) {
		next = q->next;
		free(q);
	}
	cleanup_closep(&u->ep);
	free(u->fd);
	free(u->active);
	user_frag_free(u->frag);
	free(u->frame);
	free(u);
}

static const struct net_ops user_ops = {
	.name = "user", .send = user_send, .flush = user_flush, .room_now = user_room_now,
	.save = user_save, .load = user_load, .free = user_free,
};

/* The first IPv4 name server in resolv.conf(5); without one the resolver asks this host. */
static struct in_addr host_resolver(void)
{
	struct in_addr a = { htonl(INADDR_LOOPBACK) }, found;
	FILE *f = fopen("/etc/resolv.conf", "re");
	char line[512], word[64];

	for (unsigned n = 0; f && n < RESOLV_CONF_LINES && fgets(line, sizeof(line), f); n++) {
		if (sscanf(line, "nameserver %63s", word) == 1 &&
		    inet_pton(AF_INET, word, &found) == 1) {
			a = found;
			break;
		}
	}
	if (f)
		fclose(f);
	return a;
}

static bool is_host_name(const char *s)
{
	size_t n = s ? strlen(s) : 0;

	return n && n < 64 && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
	       == n && s[0] != '-';
}

static struct in_addr in_net(const struct net_spec *s, u32 host)
{
	return (struct in_addr){ htonl(ntohl(s->net.s_addr) + host) };
}

static int start_slirp(struct user *u, const struct net_spec *s, const struct net_env *env, struct err *e)
{
	SlirpConfig c = {
		.version = SLIRP_CONFIG_VERSION_MAX, .restricted = s->restricted,
		.in_enabled = true, .vnetwork = s->net, .vhost = in_net(s, 2),
		.vnameserver = in_net(s, 3), .vdhcp_start = in_net(s, 15),
		.in6_enabled = !s->no_ip6, .vprefix_len = 64,
		.if_mtu = MTU_MAX, .if_mru = MTU_MAX,
		.disable_dns = true,	/* user_edge.c does it */
		.vhostname = s->hostname[0] ? s->hostname : is_host_name(env->machine) ? env->machine
										      : NULL,
		.vdomainname = s->domain[0] ? s->domain : NULL,
	};
	struct user_edge *x = &u->edge;

	c.vnetmask.s_addr = htonl(0xffffffffu << (32 - s->prefix));
	inet_pton(AF_INET6, "fec0::", &c.vprefix_addr6);
	inet_pton(AF_INET6, "fec0::2", &c.vhost6);
	inet_pton(AF_INET6, "fec0::3", &c.vnameserver6);
	x->dns = c.vnameserver;
	x->resolver = s->dns.s_addr ? s->dns : host_resolver();
	x->ip6 = c.in6_enabled;
	x->prefix6 = c.vprefix_addr6;
	inet_pton(AF_INET6, "fe80::2", &x->router6);
	x->mtu = s->card.mtu ? s->card.mtu : MTU_USUAL;
	u->slirp = slirp_new(&c, &callbacks, u);
	return u->slirp ? 0 : err_set(e, EINVAL, "net: user: libslirp refuses its configuration");
}

static int add_forward(struct user *u, const struct net_forward *f, struct err *e)
{
	struct sockaddr_in host = { .sin_family = AF_INET, .sin_addr = f->host,
				    .sin_port = htons(f->host_port) };
	struct sockaddr_in guest = { .sin_family = AF_INET, .sin_addr = f->guest,
				     .sin_port = htons(f->guest_port) };
	char addr[INET_ADDRSTRLEN];
	int r;

	if (slirp_add_hostxfwd(u->slirp, (struct sockaddr *)&host, sizeof(host),
			       (struct sockaddr *)&guest, sizeof(guest),
			       f->udp ? SLIRP_HOSTFWD_UDP : 0) == 0)
		return 0;
	r = errno;
	inet_ntop(AF_INET, &f->host, addr, sizeof(addr));
	if (r == EADDRINUSE)
		return err_set(e, r, "forward=%s: %s port %u of %s is taken by another program; choose "
			       "another", f->text, f->udp ? "UDP" : "TCP", f->host_port, addr);
	if (r == EADDRNOTAVAIL)
		return err_set(e, r, "forward=%s: %s is no address of this host", f->text, addr);
	if (r == EACCES)
		return err_set(e, r, "forward=%s: port %u of the host is for root only; choose one from "
			       "1024 up", f->text, f->host_port);
	return err_set(e, r, "forward=%s: %s", f->text, strerror(r));
}

/* libslirp listens with a backlog of one, too few for a browser. */
static void widen_backlogs(struct user *u)
{
	for (unsigned i = 0; i < u->nactive; i++) {
		int on = 0;
		socklen_t len = sizeof(on);

		if (getsockopt(u->active[i], SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on &&
		    listen(u->active[i], BACKLOG) < 0)
			log_msg(LOG_DEBUG, "net: user: listen: %s", strerror(errno));
	}
}

/* A guest decides how many of them are in use. All networks of a machine, which may have eight, together
 * get a third of the descriptors that this process may have, shared folders half; the rest is for disks,
 * vsock, consoles, and who wants to talk to the control socket. */
static unsigned flows_max(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return 256;
	return (unsigned)MIN(MAX(rl.rlim_cur / 24, 64u), (rlim_t)FLOWS_MAX);
}

int user_open(struct net **out, const struct net_spec *s, const struct net_env *env, struct err *e)
{
	struct user *u = calloc(1, sizeof(*u));
	int r = 0;

	if (!u)
		return err_set(e, ENOMEM, "net: user: out of memory");
	u->n.ops = &user_ops;
	/* Large segments, but with their checksums made: libslirp looks at them. */
	u->n.caps = NET_CAP_TSO4 | NET_CAP_TSO6 | NET_CAP_ECN;
	u->loop = env->loop;
	u->clock = env->clock;
	u->tail = &u->head;
	u->flows_max = flows_max();
	vm_timer_init(&u->timer, u->clock, on_timer, u);
	vm_timer_init(&u->ra_timer, u->clock, on_ra_timer, u);
	u->frame = malloc(NET_FRAME_MAX);
	u->ep = epoll_create1(EPOLL_CLOEXEC);
	if (u->ep < 0)
		r = err_errno(e, "net: user: epoll");
	else if (!u->frame || user_frag_new(&u->frag) < 0)
		r = err_set(e, ENOMEM, "net: user: out of memory");
	if (!r)
		r = start_slirp(u, s, env, e);
	for (unsigned i = 0; i < s->nforward && !r; i++)
		r = add_forward(u, &s->forward[i], e);
	if (!r)
		r = loop_add_fd(u->loop, u->ep, EPOLLIN, on_sockets, u, e);
	if (r) {
		net_free(&u->n);
		return r;
	}
	ask(u);
	widen_backlogs(u);
	*out = &u->n;
	return 0;
}
