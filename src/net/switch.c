/* SPDX-License-Identifier: GPL-2.0-or-later */
/* switch.c - an Ethernet switch between the machines of one user, without root and without a process of
 * its own.
 *
 * Each machine on a switch listens on a socket in the switch's folder, and who joins connects to all that
 * are there: every two members share one connection, a SOCK_SEQPACKET socket, whose messages are frames.
 *
 *	RUNTIME/switch/NAME/	lock	held while one joins, so that nobody is missed
 *				*.sock	one for each member; the next who joins removes dead ones
 *
 * A member therefore sees each frame on the connection of the one who sent it, learns where addresses
 * live, and sends to that connection, or to all when it does not know. Nothing is passed on, so there are
 * no loops. When a member dies, at whatever moment, its connections end, and that is all; the others do
 * not depend on it. Nothing is opened after the join.
 *
 * A member that does not keep up makes the senders wait (their frames stay in their guests' queues); one
 * that takes nothing at all for a while, because it is paused, say, loses frames instead.
 *
 * A message: one byte of kind. HELLO: four bytes of magic, version. FRAME: the frame's offload fields
 * (MSG_HEADER bytes in all), then the frame. What comes in is checked as if it were hostile. */
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/janitor.h"
#include "base/trace.h"		// log_limited
#include "net/offload.h"
#include "net/spec.h"
#include "net/switch.h"
#include "vm/clock.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	MEMBERS_MAX = 64,
	QUEUE_BYTES = 2 << 20,		/* for one member; more waits, or is lost */
	SOCKET_BYTES = 1 << 20,		/* asked of the kernel; it has its own limit */
	MACS = 1024,			/* a power of two */
	READ_BATCH = 32,		/* frames an event, per member */
	LOCK_TRIES = 50,		/* of 100 ms */
	IOV_MAX_ = 1024,
};
#define SLOW_NS 200000000ull

struct queued {
	struct queued *next;
	size_t len;
	u8 data[];
};

struct member {
	struct sw *sw;
	int fd;			/* -1: none */
	u32 events;
	bool greeted;		/* it said HELLO */
	bool slow;		/* took nothing for SLOW_NS: its frames are dropped when it is full */
	bool progress;		/* took something since the timer was set */
	struct queued *head, **tail;
	size_t queued;
};

struct sw {
	struct net n;
	struct loop *loop;
	int listen_fd;
	uid_t uid;
	struct member member[MEMBERS_MAX];
	struct { u8 mac[6]; u8 member; } mac[MACS];	/* member + 1; 0: none */
	struct vm_timer timer;
	bool blocked;		/* send() said false */

	u8 *buf;		/* the message that is read; holds one for which the guest has no room */
	size_t held;
	u8 *flat;
	struct iovec iov[IOV_MAX_];
};

/* --- addresses --- */

static unsigned mac_slot(const u8 *mac)
{
	u32 x = get_le32(mac + 2) * 0x9e3779b1u;

	return (x >> 20) & (MACS - 1);
}

static void learn(struct sw *s, const u8 *mac, unsigned member)
{
	unsigned i = mac_slot(mac);

	if (mac[0] & 1)
		return;
	memcpy(s->mac[i].mac, mac, 6);
	s->mac[i].member = (u8)(member + 1);
}

/* The member behind @mac, or -1. */
static int find(const struct sw *s, const u8 *mac)
{
	unsigned i = mac_slot(mac);

	return !(mac[0] & 1) && s->mac[i].member && !memcmp(s->mac[i].mac, mac, 6)
		       ? s->mac[i].member - 1 : -1;
}

/* --- members --- */

static void watch(struct member *m, u32 events)
{
	if (m->fd >= 0 && m->events != events && loop_mod_fd(m->sw->loop, m->fd, events) == 0)
		m->events = events;
}

static void member_gone(struct member *m)
{
	unsigned me = (unsigned)(m - m->sw->member);

	if (m->fd < 0)
		return;
	loop_del_fd(m->sw->loop, m->fd);
	close(m->fd);
	m->fd = -1;
	while (m->head) {
		struct queued *q = m->head;

		m->head = q->next;
		free(q);
	}
	m->queued = 0;
	for (unsigned i = 0; i < MACS; i++)
		if (m->sw->mac[i].member == me + 1)
			m->sw->mac[i].member = 0;
}

static void go_on(struct sw *s)
{
	if (!s->blocked)
		return;
	s->blocked = false;
	net_can_send(&s->n);
}

/* --- sending --- */

static bool full(const struct member *m)
{
	return m->queued >= QUEUE_BYTES;
}

static void enqueue(struct member *m, const struct iovec *iov, unsigned niov, size_t len)
{
	struct queued *q = full(m) ? NULL : malloc(sizeof(*q) + len);
	struct net_frame f = { .iov = iov, .niov = niov, .len = len };

	if (!q)
		return;
	q->next = NULL;
	q->len = len;
	offload_gather(&f, q->data, 0, len);
	*m->tail = q;
	m->tail = &q->next;
	m->queued += len;
	watch(m, m->events | EPOLLOUT);
}

/* One message, by a call that the sandbox has anyway: the socket does not block, and SIGPIPE is
 * ignored. False: not now. */
static bool transmit(struct member *m, const struct iovec *iov, unsigned niov)
{
	ssize_t r;

	do {
		r = writev(m->fd, iov, (int)niov);
	} while (r < 0 && errno == EINTR);
	if (r < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM))
		return false;
	if (r < 0 && errno != EMSGSIZE) {
		member_gone(m);
		return true;
	}
	m->progress = true;
	m->slow = false;
	return true;
}

static void send_to(struct member *m, const struct iovec *iov, unsigned niov, size_t len)
{
	if (m->fd < 0)
		return;
	if (m->head || !transmit(m, iov, niov))
		enqueue(m, iov, niov, len);
}

static void drain(struct member *m)
{
	bool was_full = full(m);

	while (m->head) {
		struct queued *q = m->head;
		struct iovec iov = { q->data, q->len };

		if (!transmit(m, &iov, 1))
			break;
		if (m->fd < 0)
			break;
		m->head = q->next;
		m->queued -= q->len;
		free(q);
	}
	if (m->fd >= 0 && !m->head) {
		m->tail = &m->head;
		watch(m, m->events & ~(u32)EPOLLOUT);
	}
	if (m->fd < 0 || (was_full && !full(m)))
		go_on(m->sw);
}

/* Must the sender wait for @m? */
static bool waits_for(struct sw *s, struct member *m)
{
	if (m->fd < 0 || !full(m) || m->slow)
		return false;
	m->progress = false;
	s->blocked = true;
	if (!vm_timer_armed(&s->timer))
		vm_timer_set(&s->timer, clock_now(s->timer.clock) + SLOW_NS);
	return true;
}

static void on_timer(void *ctx)
{
	struct sw *s = ctx;

	for (unsigned i = 0; i < MEMBERS_MAX; i++) {
		struct member *m = &s->member[i];

		if (m->fd >= 0 && full(m) && !m->progress)
			m->slow = true;
	}
	go_on(s);
}

static bool switch_send(struct net *n, const struct net_frame *f)
{
	struct sw *s = (struct sw *)n;
	u8 h[SWITCH_HEADER], dst[6];
	unsigned niov = 1;
	int to;

	offload_gather(f, dst, 0, 6);
	to = find(s, dst);
	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		if ((to < 0 || (unsigned)to == i) && waits_for(s, &s->member[i]))
			return false;
	switch_put_header(h, &f->off);
	s->iov[0] = (struct iovec){ h, sizeof(h) };
	if (f->niov < IOV_MAX_) {
		for (unsigned i = 0; i < f->niov; i++)
			s->iov[niov++] = f->iov[i];
	} else {
		s->iov[niov++] = (struct iovec){ s->flat, offload_gather(f, s->flat, 0, f->len) };
	}
	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		if (to < 0 || (unsigned)to == i)
			send_to(&s->member[i], s->iov, niov, sizeof(h) + f->len);
	return true;
}

/* --- receiving --- */

void switch_put_header(u8 h[SWITCH_HEADER], const struct net_offload *o)
{
	memset(h, 0, SWITCH_HEADER);
	h[0] = SWITCH_FRAME;
	h[1] = o->flags;
	h[2] = o->gso_type;
	put_le16(h + 4, o->hdr_len);
	put_le16(h + 6, o->gso_size);
	put_le16(h + 8, o->csum_start);
	put_le16(h + 10, o->csum_offset);
}

bool switch_get_frame(const u8 *msg, size_t len, struct iovec *iov, struct net_frame *f)
{
	if (len < SWITCH_HEADER + 14 || len > SWITCH_HEADER + NET_FRAME_MAX || msg[0] != SWITCH_FRAME)
		return false;
	*iov = (struct iovec){ (u8 *)msg + SWITCH_HEADER, len - SWITCH_HEADER };
	*f = (struct net_frame){
		.iov = iov, .niov = 1, .len = iov->iov_len,
		.off = { .flags = msg[1], .gso_type = msg[2], .hdr_len = get_le16(msg + 4),
			 .gso_size = get_le16(msg + 6), .csum_start = get_le16(msg + 8),
			 .csum_offset = get_le16(msg + 10) },
	};
	return true;
}

bool switch_is_hello(const u8 *msg, size_t len)
{
	return len == SWITCH_HELLO_LEN && msg[0] == SWITCH_HELLO && get_le32(msg + 1) == SWITCH_MAGIC &&
	       msg[5] == SWITCH_VERSION;
}

static void say_hello(struct member *m)
{
	u8 h[SWITCH_HELLO_LEN] = { SWITCH_HELLO };
	struct iovec iov = { h, sizeof(h) };

	put_le32(h + 1, SWITCH_MAGIC);
	h[5] = SWITCH_VERSION;
	transmit(m, &iov, 1);
}

static void stall(struct sw *s, bool on)
{
	for (unsigned i = 0; i < MEMBERS_MAX; i++) {
		struct member *m = &s->member[i];

		watch(m, on ? m->events & ~(u32)EPOLLIN : m->events | EPOLLIN);
	}
}

/* A message of @m in s->buf. False: it stays there, for the guest has no room. */
static bool take(struct sw *s, struct member *m, size_t len)
{
	struct iovec iov;
	struct net_frame f;

	if (!m->greeted) {
		m->greeted = switch_is_hello(s->buf, len);
		if (!m->greeted) {
			log_limited(LOG_WARN, "net: switch: a member speaks another protocol; it is cut off");
			member_gone(m);
		}
		return true;
	}
	if (!switch_get_frame(s->buf, len, &iov, &f))
		return true;		/* of a later version, perhaps */
	learn(s, s->buf + SWITCH_HEADER + 6, (unsigned)(m - s->member));
	return net_recv(&s->n, &f);
}

static void on_member(void *ctx, u32 events)
{
	struct member *m = ctx;
	struct sw *s = m->sw;

	if (events & EPOLLOUT)
		drain(m);
	for (unsigned i = 0; i < READ_BATCH && m->fd >= 0 && !s->held; i++) {
		ssize_t n = recv(m->fd, s->buf, SWITCH_HEADER + NET_FRAME_MAX, MSG_DONTWAIT | MSG_TRUNC);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			member_gone(m);
			go_on(s);	/* perhaps it was the one that we waited for */
			return;
		}
		if (n > SWITCH_HEADER + NET_FRAME_MAX)
			continue;
		if (!take(s, m, (size_t)n)) {
			s->held = (size_t)n;
			stall(s, true);
		}
	}
	if (s->held && events & (EPOLLHUP | EPOLLERR)) {	/* else the loop would spin on it */
		member_gone(m);
		go_on(s);
	}
}

static void switch_room_now(struct net *n)
{
	struct sw *s = (struct sw *)n;
	struct iovec iov;
	struct net_frame f;

	if (!s->held)
		return;
	if (switch_get_frame(s->buf, s->held, &iov, &f) && !net_recv(n, &f))
		return;
	s->held = 0;
	stall(s, false);
}

/* --- joining --- */

/* Takes @fd. */
static void add_member(struct sw *s, int fd)
{
	struct ucred cred = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(cred);
	int size = SOCKET_BYTES;
	struct err e = { 0 };

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.uid != s->uid) {
		log_limited(LOG_WARN, "net: switch: user %u may not join the switch of user %u",
			    (unsigned)cred.uid, (unsigned)s->uid);
		close(fd);
		return;
	}
	for (unsigned i = 0; i < MEMBERS_MAX; i++) {
		struct member *m = &s->member[i];

		if (m->fd >= 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		*m = (struct member){ .sw = s, .fd = fd };
		m->tail = &m->head;
		m->events = s->held ? 0 : EPOLLIN;
		if (loop_add_fd(s->loop, fd, m->events, on_member, m, &e) < 0) {
			log_msg(LOG_WARN, "net: switch: %s", e.msg);
			close(fd);
			m->fd = -1;
			return;
		}
		say_hello(m);
		return;
	}
	log_limited(LOG_WARN, "net: switch: more than %u machines; one is left out", MEMBERS_MAX);
	close(fd);
}

static void on_listen(void *ctx, u32 events)
{
	struct sw *s = ctx;
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		add_member(s, fd);
}

/* A folder that is ours alone: who can write it can listen in. */
static int own_dir(int at, const char *name, const char *path, struct err *e)
{
	struct stat st;
	int fd;

	if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
		return err_errno(e, "switch: mkdir %s", path);
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_errno(e, "switch: open %s", path);
	if (fstat(fd, &st) < 0 || st.st_uid != geteuid() || st.st_mode & 022) {
		close(fd);
		return err_set(e, EPERM, "switch: %s must belong to you alone (owner, mode 0700)", path);
	}
	return fd;
}

static int open_dir(const char *runtime, const char *name, struct err *e)
{
	char path[PATH_MAX];
	int cleanup_close top = -1;
	int cleanup_close mid = -1;

	top = own_dir(AT_FDCWD, runtime, runtime, e);
	if (top < 0)
		return top;
	snprintf(path, sizeof(path), "%s/switch", runtime);
	mid = own_dir(top, "switch", path, e);
	if (mid < 0)
		return mid;
	snprintf(path, sizeof(path), "%s/switch/%s", runtime, name);
	return own_dir(mid, name, path, e);
}

static int take_lock(int dir, const char *name, struct err *e)
{
	int fd = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return err_errno(e, "switch=%s: lock", name);
	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		if (errno != EWOULDBLOCK && errno != EINTR)
			break;
		usleep(100000);
	}
	close(fd);
	return err_set(e, EBUSY, "switch=%s: another machine has been joining for five seconds; is it "
		       "stopped?", name);
}

/* Paths of sockets are short: this way they lie below any folder. */
static void member_path(struct sockaddr_un *a, int dir, const char *name)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/%.80s", dir, name);
}

static int connect_one(struct sw *s, int dir, const char *name, struct err *e)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a;

	if (fd < 0)
		return err_errno(e, "switch: socket");
	member_path(&a, dir, name);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0) {
		add_member(s, fd);
		return 0;
	}
	if (errno == ECONNREFUSED)		/* it died */
		unlinkat(dir, name, 0);
	else if (errno != ENOENT)
		log_msg(LOG_WARN, "net: switch: %s does not answer (%s); it is left out", name,
			strerror(errno));
	close(fd);
	return 0;
}

static int connect_all(struct sw *s, int dir, struct err *e)
{
	int copy = fcntl(dir, F_DUPFD_CLOEXEC, 0), r = 0;
	DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *ent;
	unsigned n = 0;

	if (!d) {
		cleanup_closep(&copy);
		return err_errno(e, "switch: folder");
	}
	rewinddir(d);
	while (!r && (ent = readdir(d)) != NULL && n < 4 * MEMBERS_MAX) {
		size_t len = strlen(ent->d_name);

		if (len < 6 || len > 40 || strcmp(ent->d_name + len - 5, ".sock"))
			continue;
		n++;
		r = connect_one(s, dir, ent->d_name, e);
	}
	closedir(d);
	return r;
}

static int join(struct sw *s, const struct net_spec *spec, const struct net_env *env, struct err *e)
{
	int cleanup_close dir = open_dir(env->runtime_dir, spec->name, e);
	int cleanup_close lock = -1;
	struct sockaddr_un a;
	char name[40], path[PATH_MAX];
	u8 r[6];
	int rc;

	if (dir < 0)
		return dir;
	lock = take_lock(dir, spec->name, e);
	if (lock < 0)
		return lock;
	rc = connect_all(s, dir, e);
	if (rc)
		return rc;
	net_random_mac(r);
	snprintf(name, sizeof(name), "%d-%02x%02x%02x.sock", (int)getpid(), r[3], r[4], r[5]);
	member_path(&a, dir, name);
	s->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listen_fd < 0 || bind(s->listen_fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(s->listen_fd, MEMBERS_MAX) < 0)
		return err_errno(e, "switch=%s: listen", spec->name);
	rc = loop_add_fd(s->loop, s->listen_fd, EPOLLIN, on_listen, s, e);
	if (!rc && env->janitor) {
		snprintf(path, sizeof(path), "%s/switch/%s/%s", env->runtime_dir, spec->name, name);
		rc = janitor_remove(env->janitor, path, e);
	}
	return rc;
}

static void switch_free(struct net *n)
{
	struct sw *s = (struct sw *)n;

	for (unsigned i = 0; i < MEMBERS_MAX; i++)
		member_gone(&s->member[i]);
	if (s->listen_fd >= 0)
		loop_del_fd(s->loop, s->listen_fd);
	cleanup_closep(&s->listen_fd);
	if (s->timer.clock)
		vm_timer_del(&s->timer);
	free(s->buf);
	free(s->flat);
	free(s);
}

static const struct net_ops switch_ops = {
	.name = "switch", .send = switch_send, .room_now = switch_room_now, .free = switch_free,
};

int switch_open(struct net **out, const struct net_spec *spec, const struct net_env *env, struct err *e)
{
	struct sw *s;
	int r = 0;

	if (!env->runtime_dir)
		return err_set(e, EINVAL, "switch: there is no folder for sockets; set XDG_RUNTIME_DIR");
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(e, ENOMEM, "switch: out of memory");
	s->n.ops = &switch_ops;
	s->n.caps = NET_CAP_CSUM | NET_CAP_TSO4 | NET_CAP_TSO6 | NET_CAP_ECN | NET_CAP_UFO | NET_CAP_USO;
	s->loop = env->loop;
	s->uid = geteuid();
	s->listen_fd = -1;
	signal(SIGPIPE, SIG_IGN);	/* transmit() */
	for (unsigned i = 0; i < MEMBERS_MAX; i++) {
		s->member[i].sw = s;
		s->member[i].fd = -1;
	}
	vm_timer_init(&s->timer, env->clock, on_timer, s);
	s->buf = malloc(SWITCH_HEADER + NET_FRAME_MAX);
	s->flat = malloc(NET_FRAME_MAX);
	if (!s->buf || !s->flat)
		r = err_set(e, ENOMEM, "switch: out of memory");
	if (!r)
		r = join(s, spec, env, e);
	if (r) {
		net_free(&s->n);
		return r;
	}
	*out = &s->n;
	return 0;
}
