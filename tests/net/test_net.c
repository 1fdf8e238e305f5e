/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The wire between card and back end; specifications; capture files. */
#include "unit.h"
#include "net/pcap.h"
#include "net/spec.h"
#include "net/wire.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

/* --- a back end that is a test --- */

struct far {
	struct net n;
	struct wire w;		/* what it got, and whether it takes more */
	unsigned flushes, rooms;
	u32 caps_told;
	bool freed;
};
static bool far_send(struct net *n, const struct net_frame *f) { return wire_recv(&((struct far *)n)->w, f); }
static void far_flush(struct net *n) { ((struct far *)n)->flushes++; }
static void far_room(struct net *n) { ((struct far *)n)->rooms++; }
static void far_caps(struct net *n) { ((struct far *)n)->caps_told = n->front_caps; }
static void far_free(struct net *n) { ((struct far *)n)->freed = true; }
static const struct net_ops far_ops = {
	.name = "far", .send = far_send, .flush = far_flush, .room_now = far_room,
	.caps_changed = far_caps, .free = far_free,
};
static void far_init(struct far *b, u32 caps)
{
	memset(b, 0, sizeof(*b));
	b->n.ops = &far_ops;
	b->n.caps = caps;
	b->n.up = true;
	b->w.room = -1;
}

static struct pkt k;
static struct far b;
static struct wire w;

static void passes_through(void **st)
{
	u64 s = 5;

	far_init(&b, ~0u);
	wire_attach(&w, &b.n, ~0u);
	assert_int_equal(b.caps_told, ~0u);
	pkt_make(&k, &s, false, 6, 30000, 1460, NET_GSO_TCPV4);
	k.off.flags |= NET_DATA_VALID;		/* not the guest's to say */
	assert_true(wire_send(&w, k.p, k.len, &k.off));
	assert_int_equal(b.w.nframes, 1);
	assert_memory_equal(b.w.frame[0].p, k.p, k.len);
	assert_int_equal(b.w.frame[0].off.flags, NET_NEEDS_CSUM);
	assert_int_equal(b.w.frame[0].off.hdr_len, k.data);
	assert_int_equal(b.flushes, 1);
	k.off.gso_size = 0;			/* impossible: gone, and said once */
	assert_true(wire_send(&w, k.p, k.len, &k.off));
	assert_int_equal(b.w.nframes, 1);
	wire_clear(&b.w);
	net_free(&b.n);
	assert_true(b.freed);
	assert_true(net_send(NULL, &(struct net_frame){ 0 }));
	net_room_now(NULL);
	net_flush(NULL);
	net_set_caps(NULL, 1);
	net_free(NULL);
}

/* A receiver that says no at random: every piece arrives once and in order, both ways. */
static void pieces_wait(void **st)
{
	u64 s = 6;
	bool back = false;

	for (unsigned round = 0; round < 200; round++, back = !back) {
		struct wire *to = back ? &w : &b.w;
		size_t sent = 0, got = 0, n = 1 + rnd(&s) % 20000;
		struct iovec iov;
		struct net_frame f;
		u32 seq;

		far_init(&b, back ? ~0u : 0);
		wire_attach(&w, &b.n, back ? 0 : ~0u);
		pkt_make(&k, &s, round & 2, 6, n, 1000, round & 2 ? NET_GSO_TCPV6 : NET_GSO_TCPV4);
		seq = get_be32(k.p + k.l4 + 4);
		iov = (struct iovec){ k.p, k.len };
		f = (struct net_frame){ .iov = &iov, .niov = 1, .len = k.len, .off = k.off };
		for (unsigned frames = 0; frames < 3; ) {
			to->room = (int)(rnd(&s) % 8);
			if (back ? net_recv(&b.n, &f) : net_send(&b.n, &f)) {
				frames++;
				sent += n;
				continue;
			}
			to->room = (int)(rnd(&s) % 8);
			if (back)
				net_room_now(&b.n);
			else
				net_can_send(&b.n);
		}
		to->room = -1;
		if (back)
			net_room_now(&b.n);
		else
			net_can_send(&b.n);
		for (unsigned i = 0; i < to->nframes; i++) {
			assert_int_equal(get_be32(to->frame[i].p + k.l4 + 4), (u32)(seq + got % n));
			assert_int_equal(naive_l4(to->frame[i].p, k.l3, k.l4, k.v6, 6, to->frame[i].len),
					 0xffff);
			assert_int_equal(to->frame[i].off.flags, 0);
			got += to->frame[i].len - k.data;
		}
		assert_int_equal(got, sent);
		wire_clear(to);
		net_free(&b.n);
	}
}

static void link_and_caps(void **st)
{
	u64 s = 7;
	struct iovec iov;
	struct net_frame f;

	far_init(&b, 0);
	wire_attach(&w, &b.n, 0);
	pkt_make(&k, &s, false, 17, 100, 0, 0);
	iov = (struct iovec){ k.p, k.len };
	f = (struct net_frame){ .iov = &iov, .niov = 1, .len = k.len, .off = { .flags = NET_DATA_VALID } };
	assert_true(net_recv(&b.n, &f));
	assert_int_equal(w.frame[0].off.flags, 0);	/* it did not ask for that */
	net_set_caps(&b.n, NET_CAP_CSUM);
	assert_true(net_recv(&b.n, &f));
	assert_int_equal(w.frame[1].off.flags, NET_DATA_VALID);
	f.off = k.off;
	assert_true(net_recv(&b.n, &f));
	assert_int_equal(w.frame[2].off.flags, NET_NEEDS_CSUM);
	net_set_link(&b.n, false);
	net_set_link(&b.n, false);
	assert_int_equal(w.link_changes, 1);
	w.room = 0;
	assert_true(net_recv(&b.n, &f));
	assert_true(wire_send(&w, k.p, k.len, &k.off));
	assert_int_equal(w.nframes, 3);
	assert_int_equal(b.w.nframes, 0);
	net_set_link(&b.n, true);
	assert_int_equal(w.can_send, 2);
	assert_false(net_recv(&b.n, &f));
	net_detach(&b.n);
	assert_int_equal(b.n.front_caps, 0);
	assert_true(net_recv(&b.n, &f));
	wire_clear(&w);
	net_free(&b.n);
}

/* --- specifications --- */

static void specs(void **st)
{
	static const char *const good[] = {
		"user", "user,forward=2222:22", "user,forward=udp:53:5353,forward=0.0.0.0:80:8080",
		"user,forward=127.0.0.1:1:10.0.2.15:2", "user,forward=tcp:8080:10.0.2.16:80",
		"user,net=192.168.7.0/24,hostname=a-b.c,domain=x.org,dns=9.9.9.9,restrict=on,ipv6=off",
		"tap", "tap,ifname=tap-7,queues=4", "tap,bridge=br0", "bridge=br0", "switch", "switch=lan",
		"none", "user,mac=52:54:00:12:34:56,mtu=9000,pcap=/tmp/x y",
	};
	static const struct { const char *spec, *says; } bad[] = {
		{ "", "name one" }, { "users", "no such network" }, { "user=3", "takes no value" },
		{ "user,forwards=1:2", "\"forwards\"" }, { "user,forward", "give it a value" },
		{ "user,forward=22", "write" }, { "user,forward=0:22", "\"0\"" },
		{ "user,forward=22:65536", "\"65536\"" }, { "user,forward=1.2.3.400:1:2", "\"1.2.3.400\"" },
		{ "user,forward=1.2.3.4:1:2:3:4", "too many" }, { "user,forward=1:1.2.3:4", "\"1.2.3\"" },
		{ "user,forward=x:1", "\"x\"" }, { "user,forward=1:2:3", "write" },
		{ "user,forward=1.2.3.4:5", "write" }, { "user,net=10.0.2.1/24", "net=" },
		{ "user,net=10.0.2.0/28", "net=" }, { "user,net=127.0.0.0/8", "net=" },
		{ "user,dns=10.0.2.3", "the server behind it" }, { "user,dns=x", "dns=x" },
		{ "user,restrict=yes", "on and off" }, { "user,hostname=a_b", "hostname" },
		{ "user,hostname=", "hostname" }, { "user,hostname=-x", "begin with" },
		{ "user,mac=1:2:3:4:5:6", "six bytes" }, { "user,mac=01:00:00:00:00:00", "one card" },
		{ "user,mac=00:00:00:00:00:00", "one card" }, { "user,mac=52:54:00:12:34:567", "six" },
		{ "user,queues=0", "1 to 8" }, { "user,queues=9", "1 to 8" }, { "user,queues=1x", "1 to 8" },
		{ "user,mtu=67", "68" }, { "user,pcap=", "name a file" }, { "user,ifname=x", "forward" },
		{ "tap,forward=1:2", "ifname" }, { "tap,ifname=0123456789abcdef", "1 to 15" },
		{ "tap,ifname=../x", "letters" }, { "bridge", "name it" }, { "switch=a/b", "letters" },
		{ "switch=..", "begin with" }, { "none,mac=52:54:00:12:34:56", "no options" },
	};
	struct net_card c;
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		e = (struct err){ 0 };
		if (net_check(good[i], &c, &e))
			fail_msg("%s: %s", good[i], e.msg);
	}
	assert_true(c.mac_told);
	assert_int_equal(c.mac[5], 0x56);
	assert_int_equal(c.mtu, 9000);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		e = (struct err){ 0 };
		if (net_check(bad[i].spec, &c, &e) != -EINVAL || !strstr(e.msg, bad[i].says))
			fail_msg("%s: \"%s\" does not say \"%s\"", bad[i].spec, e.msg, bad[i].says);
	}
}

static void spec_values(void **st)
{
	struct net_spec s;
	struct err e = { 0 };
	char *many = calloc(1, 70 * 20);

	assert_int_equal(net_spec_parse(&s, "user,forward=udp:10.1.1.1:5:10.0.2.16:6,net=10.9.0.0/16", &e), 0);
	assert_true(s.forward[0].udp);
	assert_int_equal(ntohl(s.forward[0].host.s_addr), 0x0a010101);
	assert_int_equal(ntohl(s.forward[0].guest.s_addr), 0x0a000210);
	assert_int_equal(s.forward[0].host_port, 5);
	assert_int_equal(s.forward[0].guest_port, 6);
	assert_int_equal(s.prefix, 16);
	net_spec_free(&s);
	assert_int_equal(net_spec_parse(&s, "user,forward=2222:22", &e), 0);
	assert_int_equal(ntohl(s.forward[0].host.s_addr), 0x7f000001);	/* not for the whole world */
	net_spec_free(&s);
	strcpy(many, "user");
	for (unsigned i = 0; i < 65; i++)
		sprintf(many + strlen(many), ",forward=%u:1", i + 1);
	assert_int_equal(net_spec_parse(&s, many, &e), -EINVAL);
	net_spec_free(&s);
	free(many);
	many = malloc(10000);
	memset(many, 'x', 9999);
	many[9999] = 0;
	assert_int_equal(net_spec_parse(&s, many, &e), -EINVAL);
	net_spec_free(&s);
	free(many);
}

/* --- captures --- */

static void captures(void **st)
{
	char path[] = "/tmp/penta-pcap-XXXXXX";
	int fd = mkstemp(path);
	u64 s = 8;
	u8 file[4096];
	struct err e = { 0 };
	ssize_t n;

	far_init(&b, ~0u);
	wire_attach(&w, &b.n, ~0u);
	assert_int_equal(pcap_open(&b.n.pcap, path, &e), 0);
	pkt_make(&k, &s, false, 17, 100, 0, 0);
	b.w.room = 0;
	assert_false(wire_send(&w, k.p, k.len, &k.off));	/* not passed: not written */
	b.w.room = -1;
	assert_true(wire_send(&w, k.p, k.len, &k.off));
	assert_true(net_recv(&b.n, &(struct net_frame){ .iov = (struct iovec[]){ { k.p, 20 },
		{ k.p + 20, k.len - 20 } }, .niov = 2, .len = k.len, .off = k.off }));
	n = pread(fd, file, sizeof(file), 0);			/* there at once */
	assert_int_equal(n, 24 + 2 * (16 + k.len));
	assert_int_equal(get_le32(file), 0xa1b2c3d4);
	assert_int_equal(get_le32(file + 20), 1);
	for (unsigned i = 0; i < 2; i++) {
		u8 *r = file + 24 + i * (16 + k.len);

		assert_true(get_le32(r + 4) < 1000000);
		assert_int_equal(get_le32(r + 8), k.len);
		assert_int_equal(get_le32(r + 12), k.len);
		assert_memory_equal(r + 16, k.p, k.len);
	}
	/* A full disk: the card does not notice. */
	wire_clear(&b.w);
	wire_clear(&w);
	net_free(&b.n);
	if (access("/dev/full", W_OK) == 0) {
		struct pcap *p = NULL;

		assert_int_equal(pcap_open(&p, "/dev/full", &e), -ENOSPC);
	}
	assert_int_equal(pcap_open(&b.n.pcap, "/nowhere/x", &e), -ENOENT);
	close(fd);
	unlink(path);
}

static void capture_to_a_slow_reader(void **st)
{
	char dir[] = "/tmp/penta-fifo-XXXXXX", path[64];
	struct err e = { 0 };
	u64 s = 9;
	int r;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/f", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	far_init(&b, ~0u);
	wire_attach(&w, &b.n, ~0u);
	assert_int_equal(pcap_open(&b.n.pcap, path, &e), -ENXIO);
	assert_non_null(strstr(e.msg, "reader"));
	r = open(path, O_RDONLY | O_NONBLOCK);
	assert_int_equal(pcap_open(&b.n.pcap, path, &e), 0);
	signal(SIGPIPE, SIG_IGN);
	pkt_make(&k, &s, false, 17, 1400, 0, 0);
	for (unsigned i = 0; i < 200; i++)
		assert_true(wire_send(&w, k.p, k.len, &k.off));
	close(r);
	for (unsigned i = 0; i < 10; i++)
		assert_true(wire_send(&w, k.p, k.len, &k.off));
	assert_int_equal(b.w.nframes, 210);
	wire_clear(&b.w);
	net_free(&b.n);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passes_through), cmocka_unit_test(pieces_wait),
		cmocka_unit_test(link_and_caps), cmocka_unit_test(specs), cmocka_unit_test(spec_values),
		cmocka_unit_test(captures), cmocka_unit_test(capture_to_a_slow_reader),
	};

	return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
