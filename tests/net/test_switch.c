/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The switch: several members in one process, deaths, slow ones, strangers on the socket. */
#include "unit.h"
#include "net/switch.h"
#include "net/wire.h"
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define N 4
static struct loop *loop;
static struct clock *clk;
static struct wire w[N];
static struct net *n[N];
static char dir[] = "/tmp/penta-switch-XXXXXX", path[64];

static void join(unsigned i, const char *spec)
{
	struct net_env env = { .loop = loop, .clock = clk, .runtime_dir = path };
	struct net_card card;
	struct err e = { 0 };

	if (net_open(&n[i], &card, spec, &env, &e))
		fail_msg("%s", e.msg);
	wire_attach(&w[i], n[i], ~0u);
	memcpy(w[i].mac, card.mac, 6);
}
static void leave(unsigned i)
{
	wire_clear(&w[i]);
	net_free(n[i]);
	n[i] = NULL;
}
static bool say(unsigned from, const u8 *to, unsigned num, size_t len)
{
	static u8 p[NET_FRAME_MAX];

	memcpy(p, to, 6);
	memcpy(p + 6, w[from].mac, 6);
	put_be16(p + 12, 0x88b5);
	put_be32(p + 14, num);
	return wire_send(&w[from], p, len, NULL);
}
static const u8 all[6] = { 255, 255, 255, 255, 255, 255 };

static int setup(void **st)
{
	struct err e = { 0 };

	if (!mkdtemp(dir) || loop_new(&loop, NULL, &e))
		return -1;
	snprintf(path, sizeof(path), "%s/penta", dir);
	clk = clock_new(loop, 1000000);
	clock_start(clk);
	return 0;
}
static int teardown(void **st)
{
	char cmd[80];

	clock_free(clk);
	loop_free(loop);
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	return system(cmd);
}

static void talk(void **st)
{
	for (unsigned i = 0; i < N; i++)
		join(i, "switch=lan");
	wire_turn(loop);
	assert_true(say(0, all, 1, 60));		/* to all but itself */
	WIRE_UNTIL(loop, w[1].nframes && w[2].nframes && w[3].nframes);
	assert_int_equal(w[0].nframes, 0);
	assert_int_equal(w[1].nframes + w[2].nframes + w[3].nframes, 3);
	assert_true(say(2, w[0].mac, 2, 60));		/* known by now: to one */
	WIRE_UNTIL(loop, w[0].nframes);
	wire_turn(loop);
	assert_int_equal(w[0].nframes, 1);
	assert_int_equal(w[1].nframes + w[3].nframes, 2);
	assert_int_equal(get_be32(w[0].frame[0].p + 14), 2);
	/* A machine's death is nobody else's business. */
	leave(0);
	wire_turn(loop);
	assert_true(say(2, w[0].mac, 3, 60));
	assert_true(say(2, all, 4, 60));
	WIRE_UNTIL(loop, w[1].nframes >= 3 && w[3].nframes >= 3);
	assert_int_equal(w[1].nframes, 3);		/* 3 went to all: its place is forgotten */
	join(0, "switch=lan");
	wire_turn(loop);
	assert_true(say(0, w[1].mac, 5, 60));
	WIRE_UNTIL(loop, w[1].nframes >= 4);
	assert_int_equal(get_be32(w[1].frame[3].p + 14), 5);
	for (unsigned i = 0; i < N; i++)
		leave(i);
}

static void apart(void **st)
{
	join(0, "switch=one");
	join(1, "switch=two");
	join(2, "switch");
	wire_turn(loop);
	assert_true(say(0, all, 1, 60));
	wire_turn(loop);
	assert_int_equal(w[1].nframes + w[2].nframes, 0);
	for (unsigned i = 0; i < 3; i++)
		leave(i);
}

/* Offload fields travel along, and who does not take them gets finished frames. */
static void offloads(void **st)
{
	static struct pkt k;
	u64 s = 3;

	join(0, "switch=o");
	join(1, "switch=o");
	join(2, "switch=o");
	net_set_caps(n[2], 0);
	wire_turn(loop);
	pkt_make(&k, &s, false, 6, 60000, 1448, NET_GSO_TCPV4);
	memset(k.p, 255, 6);
	k.p[6] = 2;
	assert_true(wire_send(&w[0], k.p, k.len, &k.off));
	WIRE_UNTIL(loop, w[1].nframes == 1 && w[2].nframes == 42);
	assert_int_equal(w[1].nframes, 1);
	assert_int_equal(w[1].frame[0].len, k.len);
	assert_int_equal(w[1].frame[0].off.gso_size, 1448);
	assert_int_equal(w[2].nframes, 42);
	for (unsigned i = 0; i < 42; i++)
		assert_int_equal(naive_l4(w[2].frame[i].p, k.l3, k.l4, false, 6, w[2].frame[i].len), 0xffff);
	for (unsigned i = 0; i < 3; i++)
		leave(i);
}

/* A receiver without room makes the sender wait, and nothing is lost; one that takes nothing for long
 * does not hold up the others. */
static void slow(void **st)
{
	unsigned sent = 0, got = 0;

	for (unsigned i = 0; i < 3; i++)
		join(i, "switch=slow");
	wire_turn(loop);
	assert_true(say(1, all, 0, 60));
	assert_true(say(2, all, 0, 60));
	WIRE_UNTIL(loop, w[0].nframes == 2);
	wire_clear(&w[1]);
	w[1].room = 0;
	while (sent < 5000 && say(0, w[1].mac, sent, 9000))
		sent++;
	assert_true(sent > 50 && sent < 5000);
	w[1].room = -1;
	net_room_now(n[1]);
	for (unsigned i = 0; i < 2000 && got < sent; i++) {
		wire_turn(loop);
		for (unsigned j = 0; j < w[1].nframes; j++)
			if (w[1].frame[j].len == 9000)
				assert_int_equal(get_be32(w[1].frame[j].p + 14), got++);
		wire_clear(&w[1]);
	}
	assert_int_equal(got, sent);
	assert_true(w[0].can_send >= 1);

	w[1].room = 0;
	for (sent = 0; sent < 5000 && say(0, w[1].mac, sent, 9000); sent++)
		;
	w[0].can_send = 0;
	wire_clear(&w[2]);
	assert_false(say(0, all, 1, 60));
	WIRE_UNTIL(loop, w[0].can_send);	/* after 200 ms of nothing */
	assert_true(w[0].can_send);
	assert_true(say(0, all, 1, 60));
	assert_true(say(0, w[1].mac, 1, 60));
	WIRE_UNTIL(loop, w[2].nframes);
	assert_true(w[2].nframes >= 1);
	for (unsigned i = 0; i < 3; i++)
		leave(i);
}

/* A member that is killed: the next one sweeps up, and everybody goes on. */
static void killed(void **st)
{
	pid_t pid;
	char b;
	int p[2];
	unsigned socks = 0;
	struct dirent *ent;
	char sub[96];
	DIR *d;

	join(0, "switch=k");
	assert_int_equal(pipe(p), 0);
	pid = fork();
	if (pid == 0) {
		struct net_env env = { .clock = clk, .runtime_dir = path };
		struct net_card card;
		struct err e = { 0 };

		if (loop_new(&loop, NULL, &e))
			_exit(1);
		env.loop = loop;
		if (net_open(&n[1], &card, "switch=k", &env, &e))
			_exit(1);
		wire_attach(&w[1], n[1], ~0u);
		memcpy(w[1].mac, card.mac, 6);
		say(1, all, 9, 60);
		if (write(p[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			wire_turn(loop);
	}
	assert_int_equal(read(p[0], &b, 1), 1);
	WIRE_UNTIL(loop, w[0].nframes);
	assert_int_equal(w[0].nframes, 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (unsigned i = 0; i < 100; i++)
		assert_true(say(0, all, i, 60000));
	wire_turn(loop);
	join(1, "switch=k");
	wire_turn(loop);
	assert_true(say(1, all, 10, 60));
	WIRE_UNTIL(loop, w[0].nframes == 2);
	assert_int_equal(w[0].nframes, 2);
	snprintf(sub, sizeof(sub), "%s/switch/k", path);
	d = opendir(sub);
	while ((ent = readdir(d)) != NULL)
		socks += strstr(ent->d_name, ".sock") != NULL;
	closedir(d);
	assert_int_equal(socks, 2);
	close(p[0]);
	close(p[1]);
	leave(0);
	leave(1);
}

/* Who connects and talks nonsense. */
static void strangers(void **st)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	u8 junk[400];
	struct dirent *ent;
	char sub[96];
	u64 s = 12;
	DIR *d;

	join(0, "switch=s");
	join(1, "switch=s");
	wire_turn(loop);
	snprintf(sub, sizeof(sub), "%s/switch/s", path);
	d = opendir(sub);
	while ((ent = readdir(d)) != NULL && !strstr(ent->d_name, ".sock"))
		;
	snprintf(a.sun_path, sizeof(a.sun_path), "%.60s/%.40s", sub, ent->d_name);
	closedir(d);
	for (unsigned i = 0; i < 300; i++) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
			fail_msg("connect: %d", errno);
		if (i & 1)
			send(fd, (const u8[]){ 1, 0x50, 0x4e, 0x53, 0x57, 1 }, 6, MSG_NOSIGNAL);
		for (unsigned j = 0; j < 20; j++) {
			size_t len = 1 + rnd(&s) % sizeof(junk);

			for (size_t b = 0; b < len; b++)
				junk[b] = (u8)rnd(&s);
			if (rnd(&s) & 1)
				junk[0] = 2;
			send(fd, junk, len, MSG_NOSIGNAL);
		}
		wire_turn(loop);
		wire_clear(&w[0]);
		wire_clear(&w[1]);
		close(fd);
		wire_turn(loop);
	}
	assert_true(say(0, all, 7, 60));
	WIRE_UNTIL(loop, w[1].nframes);
	assert_int_equal(w[1].nframes, 1);
	leave(0);
	leave(1);
}

static void folders(void **st)
{
	struct net_env env = { .loop = loop, .clock = clk };
	struct net_card card;
	struct err e = { 0 };
	struct net *x;
	char sub[96];

	assert_int_equal(net_open(&x, &card, "switch=lan", &env, &e), -EINVAL);
	env.runtime_dir = path;
	snprintf(sub, sizeof(sub), "%s/switch/open", path);
	mkdir(sub, 0700);
	chmod(sub, 0777);
	assert_int_equal(net_open(&x, &card, "switch=open", &env, &e), -EPERM);
	assert_non_null(strstr(e.msg, "alone"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(talk), cmocka_unit_test(apart), cmocka_unit_test(offloads),
		cmocka_unit_test(slow), cmocka_unit_test(killed), cmocka_unit_test(strangers),
		cmocka_unit_test(folders),
	};

	return cmocka_run_group_tests_name("switch", tests, setup, teardown);
}
