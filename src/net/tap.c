/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tap.c - an Ethernet interface of the host's kernel whose other end is the guest's card; alone, or a port
 * of a bridge. For root, or on an interface that root has made for this user.
 * After: Linux Documentation/networking/tuntap.rst, linux/if_tun.h, linux/virtio_net.h.
 *
 * Frames carry a virtio_net_hdr both ways, so that the kernel's large segments and unfinished checksums
 * reach the guest as they are, and the guest's the kernel. Each pair of queues of the card has a queue
 * of the interface: the kernel answers a flow on the queue that it came by. */
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/trace.h"		// log_limited
#include "net/offload.h"
#include "net/spec.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef TUN_F_USO4		/* Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

enum {
	TAP_HEADER = 10,	/* struct virtio_net_hdr */
	TAP_IOV = 1024,		/* IOV_MAX */
	TAP_BATCH = 64,		/* frames an event, per queue */
};

struct tap_queue {
	struct tap *tap;
	int fd;
	u32 events;		/* that the loop watches */
	u8 *buf;		/* header and frame; holds one that the guest had no room for */
	size_t held;
};

struct tap {
	struct net n;
	struct loop *loop;
	unsigned nqueues;
	struct tap_queue queue[NET_QUEUES_MAX];
	char ifname[IFNAMSIZ];
	struct iovec iov[TAP_IOV];
	u8 *flat;		/* a frame of more pieces */
};

static void watch(struct tap_queue *q, u32 events)
{
	if (q->events != events && loop_mod_fd(q->tap->loop, q->fd, events) == 0)
		q->events = events;
}

/* --- to the guest --- */

/* False: the guest has no room; the frame stays in q->buf. */
static bool deliver(struct tap_queue *q, size_t len)
{
	const u8 *h = q->buf;
	struct iovec iov = { q->buf + TAP_HEADER, len - TAP_HEADER };
	struct net_frame f = {
		.iov = &iov, .niov = 1, .len = iov.iov_len,
		.off = { .flags = h[0], .gso_type = h[1], .hdr_len = get_le16(h + 2),
			 .gso_size = get_le16(h + 4), .csum_start = get_le16(h + 6),
			 .csum_offset = get_le16(h + 8) },
	};

	return net_recv(&q->tap->n, &f);
}

static void on_queue(void *ctx, u32 events)
{
	struct tap_queue *q = ctx;

	if (events & EPOLLOUT) {
		watch(q, q->events & ~(u32)EPOLLOUT);
		net_can_send(&q->tap->n);
	}
	if (!(events & EPOLLIN) || q->held)
		return;
	for (unsigned i = 0; i < TAP_BATCH; i++) {
		ssize_t n = read(q->fd, q->buf, TAP_HEADER + NET_FRAME_MAX);

		if (n <= TAP_HEADER) {
			if (n < 0 && errno == EBADFD) {	/* somebody deleted the interface */
				log_msg(LOG_WARN, "net: tap %s has gone", q->tap->ifname);
				loop_del_fd(q->tap->loop, q->fd);
				net_set_link(&q->tap->n, false);
			}
			return;
		}
		if (!deliver(q, (size_t)n)) {
			q->held = (size_t)n;
			watch(q, q->events & ~(u32)EPOLLIN);
			return;
		}
	}
}

static void tap_room_now(struct net *n)
{
	struct tap *t = (struct tap *)n;

	for (unsigned i = 0; i < t->nqueues; i++) {
		struct tap_queue *q = &t->queue[i];

		if (!q->held)
			continue;
		if (!deliver(q, q->held))
			return;
		q->held = 0;
		watch(q, q->events | EPOLLIN);
	}
}

/* --- from the guest --- */

static bool tap_send(struct net *n, const struct net_frame *f)
{
	struct tap *t = (struct tap *)n;
	struct tap_queue *q = &t->queue[f->queue % t->nqueues];
	u8 h[TAP_HEADER] = { f->off.flags, f->off.gso_type };
	unsigned niov = 1;
	ssize_t r;

	put_le16(h + 2, f->off.hdr_len);
	put_le16(h + 4, f->off.gso_size);
	put_le16(h + 6, f->off.csum_start);
	put_le16(h + 8, f->off.csum_offset);
	t->iov[0] = (struct iovec){ h, TAP_HEADER };
	if (f->niov < TAP_IOV) {
		for (unsigned i = 0; i < f->niov; i++)
			t->iov[niov++] = f->iov[i];
	} else {
		t->iov[niov++] = (struct iovec){ t->flat, offload_gather(f, t->flat, 0, f->len) };
	}
	do {
		r = writev(q->fd, t->iov, (int)niov);
	} while (r < 0 && errno == EINTR);
	if (r < 0 && errno == EAGAIN) {
		watch(q, q->events | EPOLLOUT);
		return false;
	}
	if (r < 0)	/* the interface is down, or the kernel finds the frame malformed */
		log_limited(LOG_DEBUG, "net: tap %s: %s", t->ifname, strerror(errno));
	return true;
}

static void tap_caps_changed(struct net *n)
{
	struct tap *t = (struct tap *)n;
	u32 c = n->front_caps;
	unsigned f = 0;

	if (c & NET_CAP_CSUM) {
		f = TUN_F_CSUM | (c & NET_CAP_TSO4 ? TUN_F_TSO4 : 0u) |
		    (c & NET_CAP_TSO6 ? TUN_F_TSO6 : 0u);
		if (f != TUN_F_CSUM && c & NET_CAP_ECN)
			f |= TUN_F_TSO_ECN;
	}
	/* One setting for the interface: any of its queues will do. */
	if (ioctl(t->queue[0].fd, TUNSETOFFLOAD, (unsigned long)f) < 0)
		log_msg(LOG_WARN, "net: tap %s: offload %#x: %s", t->ifname, f, strerror(errno));
}

/* --- life --- */

static void tap_free(struct net *n)
{
	struct tap *t = (struct tap *)n;

	for (unsigned i = 0; i < NET_QUEUES_MAX; i++) {
		struct tap_queue *q = &t->queue[i];

		if (q->events)
			loop_del_fd(t->loop, q->fd);
		cleanup_closep(&q->fd);
		free(q->buf);
	}
	free(t->flat);
	free(t);
}

static const struct net_ops tap_ops = {
	.name = "tap", .send = tap_send, .room_now = tap_room_now,
	.caps_changed = tap_caps_changed, .free = tap_free,
};

static int not_allowed(const char *what, struct err *e)
{
	return err_set(e, EPERM, "%s: this takes root; or let root make an interface for you: ip tuntap "
		       "add NAME mode tap user YOU, and say tap,ifname=NAME", what);
}

static int attach(struct tap *t, int fd, bool many, struct err *e)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int r;

	memcpy(ifr.ifr_name, t->ifname, IFNAMSIZ);
	if (many)
		ifr.ifr_flags |= IFF_MULTI_QUEUE;
	r = ioctl(fd, TUNSETIFF, &ifr);
	if (r < 0 && errno == EINVAL) {		/* one that is there may be of the other kind */
		ifr.ifr_flags ^= IFF_MULTI_QUEUE;
		if (!many)
			r = ioctl(fd, TUNSETIFF, &ifr);
	}
	if (r < 0 && errno == EPERM)
		return not_allowed("tap", e);
	if (r < 0 && errno == EBUSY)
		return err_set(e, EBUSY, "ifname=%s: another program has this interface", t->ifname);
	if (r < 0 && errno == EINVAL)
		return err_set(e, EINVAL, "ifname=%s: this interface is no tap, or has one queue only "
			       "(queues=1)", t->ifname);
	if (r < 0)
		return err_errno(e, "tap%s%s", t->ifname[0] ? " " : "", t->ifname);
	memcpy(t->ifname, ifr.ifr_name, IFNAMSIZ);
	return 0;
}

static int open_queue(struct tap *t, unsigned i, bool many, struct err *e)
{
	struct tap_queue *q = &t->queue[i];
	int size = TAP_HEADER, r;

	q->tap = t;
	q->buf = malloc(TAP_HEADER + NET_FRAME_MAX);
	if (!q->buf)
		return err_set(e, ENOMEM, "tap: out of memory");
	q->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (q->fd < 0)
		return errno == EACCES || errno == EPERM ? not_allowed("tap: /dev/net/tun", e)
			: err_errno(e, "tap: /dev/net/tun");
	r = attach(t, q->fd, many, e);
	if (!r && ioctl(q->fd, TUNSETVNETHDRSZ, &size) < 0)
		r = err_errno(e, "tap %s: TUNSETVNETHDRSZ", t->ifname);
	if (!r)
		r = loop_add_fd(t->loop, q->fd, EPOLLIN, on_queue, q, e);
	if (!r)
		q->events = EPOLLIN;
	return r;
}

/* The bridge takes the lowest address of its ports for its own: ours must not be that. */
static void set_address(int s, const char *ifname, const u8 mac[6])
{
	struct ifreq ifr = { 0 };

	strcpy(ifr.ifr_name, ifname);
	if (ioctl(s, SIOCGIFHWADDR, &ifr) < 0)
		return;
	memcpy(ifr.ifr_hwaddr.sa_data, mac, 6);
	ifr.ifr_hwaddr.sa_data[0] = (char)0xfe;
	if (ioctl(s, SIOCSIFHWADDR, &ifr) < 0)
		log_msg(LOG_DEBUG, "net: tap %s: address: %s", ifname, strerror(errno));
}

static int join_bridge(int s, const char *ifname, const char *bridge, struct err *e)
{
	struct ifreq ifr = { .ifr_ifindex = (int)if_nametoindex(ifname) };

	strcpy(ifr.ifr_name, bridge);
	if (ioctl(s, SIOCBRADDIF, &ifr) == 0)
		return 0;
	if (errno == ENODEV)
		return err_set(e, ENODEV, "bridge=%s: there is no such bridge; make one: ip link add %s "
			       "type bridge", bridge, bridge);
	if (errno == EOPNOTSUPP || errno == EINVAL)
		return err_set(e, EINVAL, "bridge=%s: this interface is no bridge", bridge);
	if (errno == EPERM)
		return not_allowed("bridge", e);
	return err_errno(e, "bridge=%s: adding %s", bridge, ifname);
}

static int bring_up(int s, const char *ifname, u16 mtu, struct err *e)
{
	struct ifreq ifr = { 0 };

	strcpy(ifr.ifr_name, ifname);
	ifr.ifr_mtu = mtu;
	if (mtu && ioctl(s, SIOCSIFMTU, &ifr) < 0 && errno != EPERM)
		return err_errno(e, "tap %s: mtu %u", ifname, mtu);
	if (ioctl(s, SIOCGIFFLAGS, &ifr) < 0)
		return err_errno(e, "tap %s", ifname);
	if (ifr.ifr_flags & IFF_UP)
		return 0;
	ifr.ifr_flags |= IFF_UP;
	if (ioctl(s, SIOCSIFFLAGS, &ifr) == 0)
		return 0;
	if (errno == EPERM)
		return err_set(e, EPERM, "ifname=%s: this interface is down; let root do: ip link set %s "
			       "up", ifname, ifname);
	return err_errno(e, "tap %s: up", ifname);
}

int tap_open(struct net **out, const struct net_spec *s, const struct net_env *env, struct err *e)
{
	struct tap *t = calloc(1, sizeof(*t));
	int cleanup_close sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r = 0;

	if (!t)
		return err_set(e, ENOMEM, "tap: out of memory");
	for (unsigned i = 0; i < NET_QUEUES_MAX; i++)
		t->queue[i].fd = -1;
	t->n.ops = &tap_ops;
	t->n.caps = NET_CAP_CSUM | NET_CAP_TSO4 | NET_CAP_TSO6 | NET_CAP_ECN;
	t->loop = env->loop;
	t->nqueues = s->card.queues;
	strcpy(t->ifname, s->ifname);
	t->flat = malloc(NET_FRAME_MAX);
	if (!t->flat)
		r = err_set(e, ENOMEM, "tap: out of memory");
	else if (sock < 0)
		r = err_errno(e, "tap: socket");
	for (unsigned i = 0; i < t->nqueues && !r; i++)
		r = open_queue(t, i, t->nqueues > 1, e);
	if (!r && ioctl(t->queue[0].fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6) == 0)
		t->n.caps |= NET_CAP_USO;
	if (!r)
		tap_caps_changed(&t->n);
	if (!r && s->bridge[0]) {
		set_address(sock, t->ifname, s->card.mac);
		r = join_bridge(sock, t->ifname, s->bridge, e);
	}
	if (!r)
		r = bring_up(sock, t->ifname, s->card.mtu, e);
	if (r) {
		net_free(&t->n);
		return r;
	}
	*out = &t->n;
	return 0;
}
