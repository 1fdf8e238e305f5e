/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event loop: descriptors, posts from many threads, the deadline. */
#include "unit.h"
#include "base/loop.h"
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static u64 mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000000000u + (u64)ts.tv_nsec;
}

struct ctx {
	struct loop *l;
	pthread_mutex_t lock;
	int fd, hits, want;
	u64 at;
	bool locked;
};

static void setup(struct ctx *c)
{
	struct err e = { 0 };

	memset(c, 0, sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
	assert_int_equal(loop_new(&c->l, &c->lock, &e), 0);
}

static void teardown(struct ctx *c)
{
	loop_free(c->l);
	pthread_mutex_destroy(&c->lock);
}

static void on_read(void *p, u32 ev)
{
	struct ctx *c = p;
	char b;

	c->locked = pthread_mutex_trylock(&c->lock) != 0;
	assert_int_equal(read(c->fd, &b, 1), 1);
	if (++c->hits == 3) {
		loop_del_fd(c->l, c->fd);
		loop_quit(c->l);
	}
}

static void descriptors(void **st)
{
	struct ctx c;
	struct err e = { 0 };
	int p[2];

	setup(&c);
	assert_int_equal(pipe(p), 0);
	c.fd = p[0];
	assert_int_equal(loop_add_fd(c.l, p[0], EPOLLIN, on_read, &c, &e), 0);
	assert_true(loop_add_fd(c.l, p[0], EPOLLIN, on_read, &c, &e) < 0);
	assert_true(loop_add_fd(c.l, -1, EPOLLIN, on_read, &c, &e) < 0);
	assert_int_equal(write(p[1], "abcd", 4), 4);
	loop_run(c.l);
	assert_int_equal(c.hits, 3);
	assert_true(c.locked);
	assert_true(loop_mod_fd(c.l, p[0], EPOLLIN) < 0);
	loop_del_fd(c.l, p[0]);		/* once more: nothing happens */
	close(p[0]);
	close(p[1]);
	teardown(&c);
}

static void count(void *p)
{
	struct ctx *c = p;

	if (++c->hits == c->want)
		loop_quit(c->l);
}

static void *poster(void *p)
{
	struct ctx *c = p;

	for (unsigned i = 0; i < 5000; i++)
		loop_post(c->l, count, c);
	return NULL;
}

static void posts(void **st)
{
	struct ctx c;
	pthread_t t[4];

	setup(&c);
	c.want = 4 * 5000;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, poster, &c), 0);
	loop_run(c.l);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(c.hits, c.want);
	loop_post(c.l, count, &c);	/* never run: freed with the loop */
	teardown(&c);
}

static void again(void *p)
{
	struct ctx *c = p;

	if (++c->hits < 5)
		loop_post(c->l, again, c);
	else
		loop_quit(c->l);
}

static void never(void *p)
{
	fail_msg("a call that was taken back");
}

static void take_back(void *p)
{
	struct ctx *c = p;

	loop_unpost(c->l, never, c);
}

static void unpost(void **st)
{
	struct ctx c;

	setup(&c);
	loop_post(c.l, never, &c);
	loop_unpost(c.l, never, &c);
	loop_post(c.l, take_back, &c);	/* in the same round, before and after others */
	loop_post(c.l, never, &c);
	loop_post(c.l, again, &c);
	loop_post(c.l, never, &c);
	loop_run(c.l);
	assert_int_equal(c.hits, 5);
	teardown(&c);
}

static void on_deadline(void *p)
{
	struct ctx *c = p;

	c->at = mono_ns();
	c->hits++;
	loop_quit(c->l);
}

static void deadline(void **st)
{
	struct ctx c;
	u64 start = mono_ns();

	setup(&c);
	loop_on_deadline(c.l, on_deadline, &c);
	loop_set_deadline(c.l, start + 2000000);
	loop_set_deadline(c.l, start + 30000000);	/* later: must not go off at 2 ms */
	loop_run(c.l);
	assert_true(c.at >= start + 30000000);
	assert_true(c.at < start + 2000000000);
	loop_set_deadline(c.l, 0);			/* long past: at once */
	loop_run(c.l);
	assert_int_equal(c.hits, 2);
	loop_set_deadline(c.l, mono_ns() + 1000000);
	loop_set_deadline(c.l, UINT64_MAX);		/* none */
	c.want = 1 + (c.hits = 10);
	usleep(3000);
	loop_post(c.l, count, &c);
	loop_run(c.l);
	assert_int_equal(c.hits, 11);
	teardown(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(descriptors), cmocka_unit_test(posts), cmocka_unit_test(unpost),
		cmocka_unit_test(deadline),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
