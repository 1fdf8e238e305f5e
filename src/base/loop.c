/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loop.c - the event loop: epoll for descriptors, a timerfd for the deadline, an eventfd to wake.
 *
 * Lock order: the caller's lock (loop_new's @lock) before loop->mutex. A callback runs with the
 * former and never with the latter. Whoever holds @lock when it calls loop_del_fd() knows that
 * the callback does not run any more: the watch is looked up again after @lock was taken. */
#include "base/loop.h"
#include "base/cleanup.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>

struct watch {
	loop_fd_fn *fn;			/* NULL: none */
	void *ctx;
	u32 gen;			/* tells an event of an earlier watch of the same fd */
};

struct call {
	struct call *next;
	u64 seq;
	loop_call_fn *fn;
	void *ctx;
};

struct loop {
	int epfd, timerfd, eventfd;
	pthread_mutex_t *lock;		/* around callbacks; may be NULL */
	_Atomic bool quit;

	pthread_mutex_t mutex;		/* protects what is below */
	struct watch *watch;		/* by fd */
	unsigned nwatch;
	u32 gen;
	struct call *calls, **calls_end;
	u64 seq;			/* of the last call posted */
	u64 deadline, armed;		/* wanted; what the timerfd has (earlier or equal) */
	loop_call_fn *deadline_fn;
	void *deadline_ctx;
};

/* epoll_data of our own two descriptors; a watch's has its generation (from 1) in the high half. */
enum { TAG_EVENT = 0, TAG_TIMER = 1 };

static u64 mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000u + (u64)ts.tv_nsec;
}

static void wake(struct loop *l)
{
	u64 one = 1;

	while (write(l->eventfd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static int own_fd(struct loop *l, int fd, u64 tag)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = tag };

	return epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev);
}

int loop_new(struct loop **out, pthread_mutex_t *lock, struct err *e)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (!l)
		return err_set(e, ENOMEM, "event loop: out of memory");
	l->lock = lock;
	pthread_mutex_init(&l->mutex, NULL);
	l->calls_end = &l->calls;
	l->deadline = l->armed = UINT64_MAX;
	l->timerfd = l->eventfd = -1;
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd >= 0)
		l->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (l->timerfd >= 0)
		l->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->eventfd < 0 || own_fd(l, l->eventfd, TAG_EVENT) < 0 ||
	    own_fd(l, l->timerfd, TAG_TIMER) < 0) {
		int r = err_errno(e, "event loop");

		loop_free(l);
		return r;
	}
	*out = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	for (struct call *c = l->calls, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	cleanup_closep(&l->eventfd);
	cleanup_closep(&l->timerfd);
	cleanup_closep(&l->epfd);
	pthread_mutex_destroy(&l->mutex);
	free(l->watch);
	free(l);
}

/* Room for @fd in the table. mutex held. */
static int watch_grow(struct loop *l, int fd)
{
	unsigned n = l->nwatch ? l->nwatch : 16;
	struct watch *w;

	if ((unsigned)fd < l->nwatch)
		return 0;
	while (n <= (unsigned)fd)
		n *= 2;
	w = realloc(l->watch, n * sizeof(*w));
	if (!w)
		return -ENOMEM;
	memset(w + l->nwatch, 0, (n - l->nwatch) * sizeof(*w));
	l->watch = w;
	l->nwatch = n;
	return 0;
}

static u64 watch_tag(int fd, u32 gen)
{
	return (u64)gen << 32 | (u32)fd;
}

int loop_add_fd(struct loop *l, int fd, u32 events, loop_fd_fn *fn, void *ctx, struct err *e)
{
	struct epoll_event ev = { .events = events };
	int r = 0;

	if (fd < 0)
		return err_set(e, EBADF, "watch of descriptor %d", fd);
	pthread_mutex_lock(&l->mutex);
	if (watch_grow(l, fd) < 0) {
		r = err_set(e, ENOMEM, "watch of descriptor %d: out of memory", fd);
	} else {
		u32 gen = ++l->gen ? l->gen : ++l->gen;

		ev.data.u64 = watch_tag(fd, gen);
		if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
			r = err_errno(e, "watch of descriptor %d", fd);
		else
			l->watch[fd] = (struct watch){ .fn = fn, .ctx = ctx, .gen = gen };
	}
	pthread_mutex_unlock(&l->mutex);
	return r;
}

int loop_mod_fd(struct loop *l, int fd, u32 events)
{
	struct epoll_event ev = { .events = events };
	int r = -ENOENT;

	pthread_mutex_lock(&l->mutex);
	if (fd >= 0 && (unsigned)fd < l->nwatch && l->watch[fd].fn) {
		ev.data.u64 = watch_tag(fd, l->watch[fd].gen);
		r = epoll_ctl(l->epfd, EPOLL_CTL_MOD, fd, &ev) < 0 ? -errno : 0;
	}
	pthread_mutex_unlock(&l->mutex);
	return r;
}

void loop_del_fd(struct loop *l, int fd)
{
	pthread_mutex_lock(&l->mutex);
	if (fd >= 0 && (unsigned)fd < l->nwatch && l->watch[fd].fn) {
		epoll_ctl(l->epfd, EPOLL_CTL_DEL, fd, NULL);
		l->watch[fd] = (struct watch){ 0 };
	}
	pthread_mutex_unlock(&l->mutex);
}

void loop_post(struct loop *l, loop_call_fn *fn, void *ctx)
{
	struct call *c = malloc(sizeof(*c));
	bool first;

	BUG_ON(!c);
	*c = (struct call){ .fn = fn, .ctx = ctx };
	pthread_mutex_lock(&l->mutex);
	first = !l->calls;
	c->seq = ++l->seq;
	*l->calls_end = c;
	l->calls_end = &c->next;
	pthread_mutex_unlock(&l->mutex);
	if (first)
		wake(l);
}

void loop_unpost(struct loop *l, loop_call_fn *fn, void *ctx)
{
	pthread_mutex_lock(&l->mutex);
	for (struct call **p = &l->calls, *c; (c = *p); ) {
		if (c->fn != fn || c->ctx != ctx) {
			p = &c->next;
			continue;
		}
		*p = c->next;
		free(c);
	}
	l->calls_end = &l->calls;
	while (*l->calls_end)
		l->calls_end = &(*l->calls_end)->next;
	pthread_mutex_unlock(&l->mutex);
}

/* Program the timerfd for @ns. mutex held. */
static void arm(struct loop *l, u64 ns)
{
	u64 at = ns == UINT64_MAX ? 0 : MAX(ns, 1u);
	struct itimerspec it = {
		.it_value = { (time_t)(at / 1000000000u), (long)(at % 1000000000u) },
	};

	l->armed = ns;
	if (timerfd_settime(l->timerfd, TFD_TIMER_ABSTIME, &it, NULL) < 0)
		BUG("timerfd_settime");
}

/* A deadline that moves away costs nothing: the timerfd then goes off once for nothing and is
 * programmed anew. Guests move their timers far more often than these expire. */
void loop_set_deadline(struct loop *l, u64 ns)
{
	pthread_mutex_lock(&l->mutex);
	l->deadline = ns;
	if (ns < l->armed)
		arm(l, ns);
	pthread_mutex_unlock(&l->mutex);
}

void loop_on_deadline(struct loop *l, loop_call_fn *fn, void *ctx)
{
	pthread_mutex_lock(&l->mutex);
	l->deadline_fn = fn;
	l->deadline_ctx = ctx;
	pthread_mutex_unlock(&l->mutex);
}

static void enter(struct loop *l)
{
	if (l->lock)
		pthread_mutex_lock(l->lock);
}

static void leave(struct loop *l)
{
	if (l->lock)
		pthread_mutex_unlock(l->lock);
}

static void on_timer(struct loop *l)
{
	loop_call_fn *fn = NULL;
	void *ctx = NULL;
	u64 n;

	if (read(l->timerfd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return;
	enter(l);
	pthread_mutex_lock(&l->mutex);
	l->armed = UINT64_MAX;
	if (l->deadline <= mono_ns()) {
		l->deadline = UINT64_MAX;
		fn = l->deadline_fn;
		ctx = l->deadline_ctx;
	} else if (l->deadline != UINT64_MAX) {
		arm(l, l->deadline);
	}
	pthread_mutex_unlock(&l->mutex);
	if (fn)
		fn(ctx);
	leave(l);
}

/* The first call, if it was posted no later than number @last. */
static struct call *take_call(struct loop *l, u64 last)
{
	struct call *c;

	pthread_mutex_lock(&l->mutex);
	c = l->calls;
	if (c && c->seq > last) {
		c = NULL;
		wake(l);	/* nobody else will: the list has not been empty */
	} else if (c) {
		l->calls = c->next;
		if (!l->calls)
			l->calls_end = &l->calls;
	}
	pthread_mutex_unlock(&l->mutex);
	return c;
}

/* Run what was posted up to now; what these calls post waits for the next round. A call is taken
 * with @lock held, so that whoever holds it can still take it back. */
static void on_event(struct loop *l)
{
	bool more = true;
	u64 n, last;

	if (read(l->eventfd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return;
	pthread_mutex_lock(&l->mutex);
	last = l->seq;
	pthread_mutex_unlock(&l->mutex);
	while (more) {
		struct call *c;

		enter(l);
		c = take_call(l, last);
		more = c;
		if (c)
			c->fn(c->ctx);
		leave(l);
		free(c);
	}
}

static void on_watch(struct loop *l, u64 tag, u32 events)
{
	unsigned fd = (u32)tag;
	loop_fd_fn *fn = NULL;
	void *ctx = NULL;

	enter(l);
	pthread_mutex_lock(&l->mutex);
	if (fd < l->nwatch && l->watch[fd].fn && l->watch[fd].gen == tag >> 32) {
		fn = l->watch[fd].fn;
		ctx = l->watch[fd].ctx;
	}
	pthread_mutex_unlock(&l->mutex);
	if (fn)
		fn(ctx, events);
	leave(l);
}

void loop_run(struct loop *l)
{
	struct epoll_event ev[32];

	while (!atomic_exchange(&l->quit, false)) {
		int n = epoll_wait(l->epfd, ev, ARRAY_SIZE(ev), -1);

		BUG_ON(n < 0 && errno != EINTR);
		for (int i = 0; i < n; i++) {
			if (ev[i].data.u64 == TAG_EVENT)
				on_event(l);
			else if (ev[i].data.u64 == TAG_TIMER)
				on_timer(l);
			else
				on_watch(l, ev[i].data.u64, ev[i].events);
		}
	}
}

void loop_quit(struct loop *l)
{
	atomic_store(&l->quit, true);
	wake(l);
}
