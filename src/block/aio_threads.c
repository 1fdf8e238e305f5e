/* SPDX-License-Identifier: GPL-2.0-or-later */
/* aio_threads.c - files by ordinary system calls on a few threads, where io_uring is missing or
 * forbidden (containers often forbid it), and for what io_uring cannot do.
 *
 * Lock order: the machine lock before mutex. Threads never take the machine lock. */
#include "block/aio.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define THREADS 4

struct pool {
	struct aio a;
	struct loop *loop;
	int eventfd;
	pthread_t thread[THREADS];
	unsigned nthreads;

	pthread_mutex_t mutex;		/* protects what is below */
	pthread_cond_t work, ended_cond;
	struct aio_op *todo, **todo_end;
	struct aio_op *ended, **ended_end;
	bool quit;
};

static void wake(struct pool *p)
{
	u64 one = 1;

	while (write(p->eventfd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void *thread_main(void *ctx)
{
	struct pool *p = ctx;

	sandbox_enter(p->a.sandbox, SANDBOX_IO);
	pthread_mutex_lock(&p->mutex);
	for (;;) {
		struct aio_op *op = p->todo;
		bool first;

		if (!op) {
			if (p->quit)
				break;
			pthread_cond_wait(&p->work, &p->mutex);
			continue;
		}
		p->todo = op->next;
		if (!p->todo)
			p->todo_end = &p->todo;
		pthread_mutex_unlock(&p->mutex);
		op->ret = aio_do(op);
		pthread_mutex_lock(&p->mutex);
		op->next = NULL;
		first = !p->ended;
		*p->ended_end = op;
		p->ended_end = &op->next;
		if (first) {
			wake(p);
			pthread_cond_signal(&p->ended_cond);
		}
	}
	pthread_mutex_unlock(&p->mutex);
	return NULL;
}

static void pool_poll(struct aio *a, bool wait)
{
	struct pool *p = container_of(a, struct pool, a);
	struct aio_op *op;

	pthread_mutex_lock(&p->mutex);
	while (wait && !p->ended)
		pthread_cond_wait(&p->ended_cond, &p->mutex);
	/* One at a time: done() may submit, and poll. */
	while ((op = p->ended)) {
		p->ended = op->next;
		if (!p->ended)
			p->ended_end = &p->ended;
		pthread_mutex_unlock(&p->mutex);
		a->inflight--;
		op->done(op, op->ret);
		pthread_mutex_lock(&p->mutex);
	}
	pthread_mutex_unlock(&p->mutex);
}

static void on_eventfd(void *ctx, u32 events)
{
	struct pool *p = ctx;
	u64 n;

	if (read(p->eventfd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return;
	aio_plug(&p->a);
	pool_poll(&p->a, false);
	aio_unplug(&p->a);
}

static void pool_submit(struct aio *a, struct aio_op *op)
{
	struct pool *p = container_of(a, struct pool, a);

	op->next = NULL;
	pthread_mutex_lock(&p->mutex);
	*p->todo_end = op;
	p->todo_end = &op->next;
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->mutex);
}

static void pool_free(struct aio *a)
{
	struct pool *p = container_of(a, struct pool, a);

	pthread_mutex_lock(&p->mutex);
	p->quit = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->mutex);
	for (unsigned i = 0; i < p->nthreads; i++)
		pthread_join(p->thread[i], NULL);
	if (p->eventfd >= 0) {
		if (p->loop)
			loop_del_fd(p->loop, p->eventfd);
		close(p->eventfd);
	}
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->ended_cond);
	pthread_mutex_destroy(&p->mutex);
	free(p);
}

static int pool_new(struct aio **out, struct loop *l, struct sandbox *s, struct err *e)
{
	struct pool *p = calloc(1, sizeof(*p));
	int r = 0;

	if (!p)
		return err_set(e, ENOMEM, "disk threads: out of memory");
	p->loop = l;
	p->a.sandbox = s;
	pthread_mutex_init(&p->mutex, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->ended_cond, NULL);
	p->todo_end = &p->todo;
	p->ended_end = &p->ended;
	p->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->eventfd < 0)
		r = err_errno(e, "disk threads");
	if (!r && l)
		r = loop_add_fd(l, p->eventfd, EPOLLIN, on_eventfd, p, e);
	for (unsigned i = 0; !r && i < THREADS; i++) {
		int c = pthread_create(&p->thread[i], NULL, thread_main, p);

		if (!c)
			p->nthreads++;
		else if (!i)		/* one is enough to go on with */
			r = err_set(e, c, "disk threads: %s", strerror(c));
	}
	if (r) {
		pool_free(&p->a);
		return r;
	}
	*out = &p->a;
	return 0;
}

const struct aio_ops aio_threads = {
	.name = "threads",
	.new = pool_new,
	.submit = pool_submit,
	.poll = pool_poll,
	.free = pool_free,
};
