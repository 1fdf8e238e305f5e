/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_switch.c - a switch's socket: members that say anything at any time, come and go, do not read; the
 * switch neither breaks nor stops serving a good one.
 * How long, and from which seed: fuzz.h. */
#include "fuzz.h"
#include "../tests/net/wire.h"
#include "base/trace.h"
#include "net/switch.h"
#include <dirent.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct loop *loop;
static struct clock *clk;
static struct pkt k;
static char dir[] = "/tmp/penta-fuzz-XXXXXX";
static struct sockaddr_un addr = { .sun_family = AF_UNIX };
static u64 messages;

static void find_socket(void)
{
	struct dirent *ent;
	char sub[64];
	DIR *d;

	snprintf(sub, sizeof(sub), "%s/switch/f", dir);
	d = opendir(sub);
	while (d && (ent = readdir(d)) != NULL)
		if (strstr(ent->d_name, ".sock"))
			snprintf(addr.sun_path, sizeof(addr.sun_path), "%.50s/%.40s", sub, ent->d_name);
	if (d)
		closedir(d);
}

static int stranger(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void say(u64 *s, int fd)
{
	static u8 msg[SWITCH_HEADER + NET_FRAME_MAX + 100];
	size_t len;

	messages++;
	if (rnd(s) % 8 == 0) {
		send(fd, (const u8[]){ 1, 0x50, 0x4e, 0x53, 0x57, 1 }, 6, MSG_NOSIGNAL);
		return;
	}
	pkt_make(&k, s, rnd(s) & 1, rnd(s) & 1 ? 6 : 17, rnd(s) % (rnd(s) % 8 ? 3000 : 65000),
		 (u16)(rnd(s) % 3000), (u8[]){ 0, 1, 4, 3, 5, 0x81 }[rnd(s) % 6]);
	switch_put_header(msg, &k.off);
	len = MIN(k.len, (size_t)NET_FRAME_MAX + 80);
	memcpy(msg + SWITCH_HEADER, k.p, len);
	len += SWITCH_HEADER;
	for (unsigned i = (unsigned)rnd(s) % 4; i; i--)
		msg[rnd(s) % 100] = (u8)rnd(s);
	if (rnd(s) % 8 == 0)
		len = rnd(s) % 40;
	send(fd, msg, len, MSG_NOSIGNAL);
}

static void round_(u64 seed)
{
	struct net_env env = { .loop = loop, .clock = clk, .runtime_dir = dir };
	u64 s = seed * 0x9e3779b97f4a7c15ull | 1;
	static struct wire a, b;
	struct net *n[2];
	struct net_card card;
	struct err e = { 0 };
	int fd[8];
	u8 p[60];

	memset(p, 255, sizeof(p));
	memset(fd, -1, sizeof(fd));
	for (unsigned i = 0; i < 2; i++) {
		if (net_open(&n[i], &card, "switch=f", &env, &e)) {
			fprintf(stderr, "fuzz_switch: %s\n", e.msg);
			abort();
		}
		wire_attach(i ? &b : &a, n[i], rnd(&s) & 1 ? ~0u : 0);
		if (!i)
			find_socket();
	}
	for (unsigned i = 0; i < 300; i++) {
		unsigned w = (unsigned)rnd(&s) % 8;

		switch (rnd(&s) % 8) {
		case 0:
			if (fd[w] >= 0)
				close(fd[w]);
			fd[w] = rnd(&s) & 1 ? stranger() : -1;
			break;
		case 1:
			a.room = rnd(&s) & 1 ? -1 : (int)(rnd(&s) % 3);
			net_room_now(n[0]);
			break;
		case 2:
			p[11] = (u8)rnd(&s);
			wire_send(&b, p, sizeof(p), NULL);
			wire_send(&a, p, sizeof(p), NULL);
			break;
		default:
			if (fd[w] >= 0)
				say(&s, fd[w]);
		}
		wire_turn(loop);
		wire_clear(&a);
		wire_clear(&b);
	}
	for (unsigned i = 0; i < 8; i++)
		if (fd[i] >= 0)
			close(fd[i]);
	a.room = b.room = -1;
	net_room_now(n[0]);
	for (unsigned i = 0; i < 50; i++) {
		wire_turn(loop);
		wire_clear(&a);
	}
	put_be32(p + 20, 0xfeedbeef);
	wire_send(&b, p, sizeof(p), NULL);
	WIRE_UNTIL(loop, a.nframes);
	if (!a.nframes || get_be32(a.frame[a.nframes - 1].p + 20) != 0xfeedbeef) {
		fprintf(stderr, "fuzz_switch: seed %llu: a good member is not heard\n",
			(unsigned long long)seed);
		abort();
	}
	wire_clear(&a);
	wire_clear(&b);
	net_free(n[0]);
	net_free(n[1]);
}

int main(int argc, char **argv)
{
	struct fuzz f = fuzz_begin(argc, argv, "fuzz_switch");
	struct err e = { 0 };
	u64 was = 0;
	char cmd[64];

	log_set_level(LOG_ERROR);
	if (!mkdtemp(dir) || loop_new(&loop, NULL, &e))
		return 1;
	clk = clock_new(loop, 1000000);
	clock_start(clk);
	while (fuzz_more(&f, messages - was)) {
		was = messages;
		round_(f.seed);
	}
	clock_free(clk);
	loop_free(loop);
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	return system(cmd) ? 1 : fuzz_end(&f);
}
