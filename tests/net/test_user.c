/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The user network, from a guest that is this test: DHCP, ARP, UDP, TCP, names, forwards, IPv6. */
#include "unit.h"
#include "net/wire.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

static struct loop *loop;
static struct clock *clk;
static struct wire w;
static struct net *n;
static const u8 my_mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };
static u8 gw_mac[6];
static u16 ip_id;

static int start(const char *spec, u32 caps)
{
	struct net_env env = { .loop = loop, .clock = clk, .machine = "testvm" };
	struct net_card card;
	struct err e = { 0 };
	int r = net_open(&n, &card, spec, &env, &e);

	if (r) {
		print_message("# %s\n", e.msg);
		return r;
	}
	wire_attach(&w, n, caps);
	return 0;
}
static void stop(void)
{
	wire_clear(&w);
	net_free(n);
	n = NULL;
}

/* An IPv4 packet of @proto with @len bytes after the IP header; TCP and UDP have their checksum at @ck. */
static void send_ip(u8 proto, u32 dst, const u8 *l4, size_t len, int ck)
{
	u8 p[2000] = { 0 };
	u8 *ip = p + 14;
	u32 src = dst == 0xffffffff ? 0 : 0x0a00020f;

	memset(p, 0xff, 6);
	if (dst != 0xffffffff)
		memcpy(p, gw_mac, 6);
	memcpy(p + 6, my_mac, 6);
	put_be16(p + 12, 0x0800);
	ip[0] = 0x45;
	put_be16(ip + 2, (u16)(20 + len));
	put_be16(ip + 4, ++ip_id);
	ip[8] = 64;
	ip[9] = proto;
	put_be32(ip + 12, src);
	put_be32(ip + 16, dst);
	put_be16(ip + 10, (u16)~naive_sum(ip, 20, 0));
	memcpy(ip + 20, l4, len);
	if (ck >= 0)
		put_be16(ip + 20 + ck, (u16)~naive_l4(p, 14, 34, false, proto, 34 + len));
	else if (proto == 1)
		put_be16(ip + 22, (u16)~naive_sum(ip + 20, len, 0));
	assert_true(wire_send(&w, p, 34 + len, NULL));
}
static void send_udp(u16 sport, u32 dst, u16 dport, const void *data, size_t len)
{
	u8 u[1600] = { 0 };

	put_be16(u, sport);
	put_be16(u + 2, dport);
	put_be16(u + 4, (u16)(8 + len));
	memcpy(u + 8, data, len);
	send_ip(17, dst, u, 8 + len, 6);
}
static void send_tcp(u16 sport, u32 dst, u16 dport, u32 seq, u32 ack, u8 flags, const void *data, size_t len)
{
	u8 t[1600] = { 0 };
	unsigned hl = flags & 2 ? 24 : 20;

	put_be16(t, sport);
	put_be16(t + 2, dport);
	put_be32(t + 4, seq);
	put_be32(t + 8, ack);
	t[12] = (u8)(hl / 4 << 4);
	t[13] = flags;
	put_be16(t + 14, 65535);
	if (flags & 2)
		memcpy(t + 20, (const u8[]){ 2, 4, 0x05, 0xb4 }, 4);
	memcpy(t + hl, data, len);
	send_ip(6, dst, t, hl + len, 16);
}
/* The next frame since @from of this IP protocol and destination port, or -1. */
static int find(unsigned from, u8 proto, u16 dport)
{
	for (unsigned i = from; i < w.nframes; i++) {
		const u8 *p = w.frame[i].p;

		if (w.frame[i].len >= 38 && get_be16(p + 12) == 0x0800 && p[14 + 9] == proto &&
		    (get_be16(p + 14 + 6) & 0x1fff || get_be16(p + 36) == dport))
			return (int)i;
	}
	return -1;
}

static void learn_gateway(void)
{
	u8 a[60] = { 0 };

	memset(gw_mac, 0, 6);
	memset(a, 0xff, 6);
	memcpy(a + 6, my_mac, 6);
	put_be16(a + 12, 0x0806);
	memcpy(a + 14, (const u8[]){ 0, 1, 8, 0, 6, 4, 0, 1 }, 8);
	memcpy(a + 22, my_mac, 6);
	put_be32(a + 28, 0x0a00020f);
	put_be32(a + 38, 0x0a000202);
	assert_true(wire_send(&w, a, sizeof(a), NULL));
	for (unsigned i = 0; i < w.nframes && !gw_mac[0]; i++)
		if (get_be16(w.frame[i].p + 12) == 0x0806 && get_be16(w.frame[i].p + 20) == 2)
			memcpy(gw_mac, w.frame[i].p + 22, 6);
	assert_int_equal(gw_mac[0], 0x52);
}

static int setup(void **st)
{
	struct err e = { 0 };

	if (loop_new(&loop, NULL, &e))
		return -1;
	clk = clock_new(loop, 1000000);
	clock_start(clk);
	return 0;
}
static int teardown(void **st)
{
	clock_free(clk);
	loop_free(loop);
	return 0;
}

static int host_socket(int type, struct sockaddr_in *a)
{
	socklen_t len = sizeof(*a);
	int s = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(bind(s, (struct sockaddr *)a, sizeof(*a)), 0);
	getsockname(s, (struct sockaddr *)a, &len);
	if (type == SOCK_STREAM)
		listen(s, 5);
	return s;
}

static const u8 *option(const u8 *p, size_t len, u8 want)
{
	for (size_t i = 14 + 20 + 8 + 240; i + 1 < len && p[i] != 255; i += p[i] ? p[i + 1] + 2u : 1)
		if (p[i] == want)
			return p + i + 2;
	return NULL;
}

static void dhcp(u8 type, u32 *address)
{
	u8 b[300] = { 1, 1, 6, 0, 0xaa, 0xbb, 0xcc, 0xdd };
	int i;

	memcpy(b + 28, my_mac, 6);
	put_be32(b + 236, 0x63825363);
	memcpy(b + 240, (const u8[]){ 53, 1, type, 255 }, 4);
	if (type == 3) {
		b[243] = 50;
		b[244] = 4;
		put_be32(b + 245, *address);
		b[249] = 255;
	}
	send_udp(68, 0xffffffff, 67, b, sizeof(b));
	i = find(0, 17, 68);
	assert_true(i >= 0);
	*address = get_be32(w.frame[i].p + 42 + 16);
	assert_int_equal(option(w.frame[i].p, w.frame[i].len, 53)[0], type == 1 ? 2 : 5);
	assert_int_equal(get_be32(option(w.frame[i].p, w.frame[i].len, 6)), 0x0a000203);
	assert_int_equal(get_be32(option(w.frame[i].p, w.frame[i].len, 3)), 0x0a000202);
	assert_memory_equal(option(w.frame[i].p, w.frame[i].len, 12), "testvm", 6);
	wire_clear(&w);
}

static void leases(void **st)
{
	u32 a = 0;
	u8 *buf = NULL;
	size_t len = 0;
	struct err e = { 0 };

	assert_int_equal(start("user", ~0u), 0);
	dhcp(1, &a);
	dhcp(3, &a);
	assert_int_equal(a, 0x0a00020f);
	assert_int_equal(n->ops->save(n, &buf, &len, &e), 0);
	stop();
	assert_int_equal(start("user", ~0u), 0);
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(n->ops->load(n, buf, cut, &e), -EINVAL);
	buf[0] = 42;
	assert_int_equal(n->ops->load(n, buf, len, &e), -EINVAL);
	buf[0] = 0;
	assert_int_equal(n->ops->load(n, buf, len, &e), 0);
	dhcp(3, &a);
	assert_int_equal(a, 0x0a00020f);
	free(buf);
	stop();
}

static void datagrams(void **st)
{
	struct sockaddr_in a, from;
	socklen_t flen = sizeof(from);
	int s = host_socket(SOCK_DGRAM, &a), i;
	u8 buf[6000], back[6000];
	size_t got = 0;

	for (size_t j = 0; j < sizeof(back); j++)
		back[j] = (u8)(j * 7);
	assert_int_equal(start("user", NET_CAP_CSUM), 0);
	learn_gateway();
	send_udp(1234, 0x0a000202, ntohs(a.sin_port), "hello", 5);
	assert_int_equal(recvfrom(s, buf, sizeof(buf), 0, (struct sockaddr *)&from, &flen), 5);
	sendto(s, "world", 5, 0, (struct sockaddr *)&from, flen);
	WIRE_UNTIL(loop, find(0, 17, 1234) >= 0);
	i = find(0, 17, 1234);
	assert_true(i >= 0);
	assert_memory_equal(w.frame[i].p + 42, "world", 5);
	assert_int_equal(get_be32(w.frame[i].p + 26), 0x0a000202);
	assert_int_equal(naive_l4(w.frame[i].p, 14, 34, false, 17, w.frame[i].len), 0xffff);
	wire_clear(&w);
	/* Larger than the guest's MTU: fragments that make the datagram. */
	sendto(s, back, sizeof(back), 0, (struct sockaddr *)&from, flen);
	WIRE_UNTIL(loop, w.nframes >= 5);
	assert_int_equal(w.nframes, 5);
	for (unsigned j = 0; j < w.nframes; j++) {
		const u8 *p = w.frame[j].p;

		assert_true(w.frame[j].len <= 1514);
		assert_int_equal((get_be16(p + 20) & 0x1fff) * 8, got);
		assert_int_equal(naive_sum(p + 14, 20, 0), 0xffff);
		memcpy(buf, p + 34, 0);
		for (size_t b = 34 + (j ? 0 : 8); b < w.frame[j].len; b++)
			assert_int_equal(p[b], (u8)((got + b - 34 - 8) * 7));
		got += w.frame[j].len - 34;
	}
	assert_int_equal(got, 8 + sizeof(back));
	stop();
	close(s);
}

/* The guest's fragments, in any order; overlaps and what is too long lead to nothing. */
static void fragments(void **st)
{
	struct sockaddr_in a;
	int s = host_socket(SOCK_DGRAM, &a);
	static u8 dg[8 + 40000], got[50000];
	u64 seed = 11;

	assert_int_equal(start("user", NET_CAP_CSUM), 0);
	learn_gateway();
	for (unsigned round = 0; round < 60; round++) {
		size_t len = 8 + 1 + rnd(&seed) % 20000, done = 0, step = 8 * (1 + rnd(&seed) % 180);
		unsigned nf = (unsigned)((len + step - 1) / step), first = (unsigned)rnd(&seed) % nf;
		bool spoil = round % 4 == 3 && nf > 1;

		for (size_t i = 8; i < len; i++)
			dg[i] = (u8)rnd(&seed);
		put_be16(dg, 999);
		put_be16(dg + 2, ntohs(a.sin_port));
		put_be16(dg + 4, (u16)len);
		put_be16(dg + 6, 0);
		for (unsigned j = 0; j < nf; j++) {
			u8 p[2000];
			unsigned f = (first + j * (round & 1 ? nf - 1 : 1)) % nf;
			size_t off = f * step, len1 = MIN(step, len - off);

			memset(p, 0, 34);
			memcpy(p, gw_mac, 6);
			memcpy(p + 6, my_mac, 6);
			put_be16(p + 12, 0x0800);
			p[14] = 0x45;
			put_be16(p + 16, (u16)(20 + len1));
			put_be16(p + 18, (u16)(7000 + round));
			put_be16(p + 20, (u16)(off / 8 | (f + 1 < nf ? 0x2000 : 0)));
			p[22] = 64;
			p[23] = 17;
			put_be32(p + 26, 0x0a00020f);
			put_be32(p + 30, 0x0a000202);
			put_be16(p + 24, (u16)~naive_sum(p + 14, 20, 0));
			memcpy(p + 34, dg + off, len1);
			assert_true(wire_send(&w, p, 34 + len1, NULL));
			if (spoil && !j)
				assert_true(wire_send(&w, p, 34 + len1, NULL));
			done += len1;
		}
		assert_int_equal(done, len);
		if (spoil && nf > 1) {
			assert_int_equal(recv(s, got, sizeof(got), MSG_DONTWAIT), -1);
			continue;
		}
		assert_int_equal(recv(s, got, sizeof(got), MSG_DONTWAIT), len - 8);
		assert_memory_equal(got, dg + 8, len - 8);
	}
	stop();
	close(s);
}

/* A TCP connection to the host, and 100 kB from there, to a guest that takes large segments or not. */
static void stream(u32 caps)
{
	struct sockaddr_in a;
	int s = host_socket(SOCK_STREAM, &a), c, i;
	static u8 data[100000], got[100000];
	u32 seq = 1000, ack, base;
	size_t have = 0, largest = 0;
	u16 port = ntohs(a.sin_port);

	for (size_t j = 0; j < sizeof(data); j++)
		data[j] = (u8)(j ^ j >> 8);
	assert_int_equal(start("user", caps), 0);
	learn_gateway();
	send_tcp(5000, 0x0a000202, port, seq++, 0, 2, "", 0);
	WIRE_UNTIL(loop, find(0, 6, 5000) >= 0);
	i = find(0, 6, 5000);
	assert_true(i >= 0);
	assert_int_equal(w.frame[i].p[34 + 13], 0x12);
	base = ack = get_be32(w.frame[i].p + 38) + 1;
	wire_clear(&w);
	send_tcp(5000, 0x0a000202, port, seq, ack, 0x10, "", 0);
	send_tcp(5000, 0x0a000202, port, seq, ack, 0x18, "request", 7);
	seq += 7;
	c = accept(s, NULL, NULL);
	assert_true(c >= 0);
	assert_int_equal(recv(c, got, sizeof(got), 0), 7);
	assert_memory_equal(got, "request", 7);
	assert_int_equal(send(c, data, sizeof(data), 0), sizeof(data));
	close(c);
	for (unsigned turn = 0; turn < 3000 && have < sizeof(data); turn++) {
		wire_turn(loop);
		for (unsigned j = 0; j < w.nframes; j++) {
			const u8 *p = w.frame[j].p;
			unsigned hl = 34 + (p[34 + 12] >> 4) * 4u;
			size_t len = w.frame[j].len - hl;

			if (w.frame[j].off.gso_type) {
				assert_int_equal(w.frame[j].off.gso_type, NET_GSO_TCPV4);
				assert_int_equal(w.frame[j].off.gso_size, 1500 - 40);
				assert_int_equal(w.frame[j].off.flags, NET_NEEDS_CSUM);
				offload_checksum(w.frame[j].p, w.frame[j].len, &w.frame[j].off);
			}
			assert_int_equal(naive_l4(p, 14, 34, false, 6, w.frame[j].len), 0xffff);
			if (get_be32(p + 38) != ack || !len)
				continue;
			assert_true(have + len <= sizeof(got));
			memcpy(got + have, p + hl, len);
			have += len;
			ack += (u32)len;
			largest = MAX(largest, w.frame[j].len);
		}
		if (w.nframes) {
			wire_clear(&w);
			send_tcp(5000, 0x0a000202, port, seq, ack, 0x10, "", 0);
		} else {
			poll(NULL, 0, 1);
		}
	}
	assert_int_equal(have, sizeof(data));
	assert_memory_equal(got, data, sizeof(data));
	assert_int_equal(ack - base, sizeof(data));
	if (caps & NET_CAP_TSO4)
		assert_true(largest > 20000);
	else
		assert_true(largest <= 1514);
	stop();
	close(s);
}
static void stream_large(void **st) { stream(NET_CAP_CSUM | NET_CAP_TSO4 | NET_CAP_TSO6); }
static void stream_small(void **st) { stream(0); }

/* Without room in the guest nothing is lost, and the host's side is not read on and on. */
static void no_room(void **st)
{
	struct sockaddr_in a, from;
	socklen_t flen = sizeof(from);
	int s = host_socket(SOCK_DGRAM, &a);
	char b[64];

	assert_int_equal(start("user", NET_CAP_CSUM), 0);
	learn_gateway();
	wire_clear(&w);
	send_udp(1234, 0x0a000202, ntohs(a.sin_port), "x", 1);
	assert_int_equal(recvfrom(s, b, sizeof(b), 0, (struct sockaddr *)&from, &flen), 1);
	w.room = 0;
	for (unsigned i = 0; i < 50; i++) {
		snprintf(b, sizeof(b), "%u", i);
		sendto(s, b, sizeof(b), 0, (struct sockaddr *)&from, flen);
		wire_turn(loop);
	}
	assert_int_equal(w.nframes, 0);
	assert_true(w.refused < 5);
	w.room = -1;
	net_room_now(n);
	WIRE_UNTIL(loop, w.nframes == 50);
	assert_int_equal(w.nframes, 50);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(atoi((char *)w.frame[i].p + 42), i);
	stop();
	close(s);
}

/* dns=: questions to 10.0.2.3 come to that server, and its answers from 10.0.2.3. */
static void names(void **st)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(53) }, from;
	socklen_t flen = sizeof(from);
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), i;
	char b[64];

	a.sin_addr.s_addr = htonl(0x7f000035);
	if (bind(s, (struct sockaddr *)&a, sizeof(a)) < 0) {
		close(s);
		skip();		/* port 53 takes root */
	}
	assert_int_equal(start("user,dns=127.0.0.53", NET_CAP_CSUM), 0);
	learn_gateway();
	send_udp(4321, 0x0a000203, 53, "who?", 4);
	send_udp(4322, 0x0a000203, 54, "no", 2);		/* that is no name server's port */
	assert_int_equal(recvfrom(s, b, sizeof(b), MSG_DONTWAIT, (struct sockaddr *)&from, &flen), 4);
	assert_int_equal(recv(s, b, sizeof(b), MSG_DONTWAIT), -1);
	sendto(s, "me", 2, 0, (struct sockaddr *)&from, flen);
	WIRE_UNTIL(loop, find(0, 17, 4321) >= 0);
	i = find(0, 17, 4321);
	assert_true(i >= 0);
	assert_int_equal(get_be32(w.frame[i].p + 26), 0x0a000203);
	assert_int_equal(get_be16(w.frame[i].p + 34), 53);
	assert_int_equal(naive_l4(w.frame[i].p, 14, 34, false, 17, w.frame[i].len), 0xffff);
	assert_int_equal(naive_sum(w.frame[i].p + 14, 20, 0), 0xffff);
	stop();
	close(s);
}

static void forwards(void **st)
{
	struct sockaddr_in a, b;
	int s = host_socket(SOCK_STREAM, &a), c, u = host_socket(SOCK_DGRAM, &b), i;
	struct net_env env = { .loop = loop, .clock = clk };
	struct net_card card;
	char spec[128], buf[16];
	struct err e = { 0 };

	snprintf(spec, sizeof(spec), "user,forward=%u:22", ntohs(a.sin_port));
	assert_int_equal(net_open(&n, &card, spec, &env, &e), -EADDRINUSE);
	assert_non_null(strstr(e.msg, "is taken"));
	assert_null(n);
	assert_int_equal(net_open(&n, &card, "user,forward=203.0.113.7:2200:22", &env, &e), -EADDRNOTAVAIL);
	close(s);
	close(u);
	snprintf(spec, sizeof(spec), "user,forward=%u:22,forward=udp:%u:23", ntohs(a.sin_port),
		 ntohs(b.sin_port));
	assert_int_equal(start(spec, NET_CAP_CSUM), 0);
	/* Before the guest is up: it connects, and waits. */
	c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(c, (struct sockaddr *)&a, sizeof(a)), 0);
	wire_turn(loop);
	wire_clear(&w);
	learn_gateway();
	WIRE_UNTIL(loop, find(0, 6, 22) >= 0);
	i = find(0, 6, 22);
	assert_true(i >= 0);
	assert_int_equal(w.frame[i].p[34 + 13], 2);
	assert_int_equal(get_be32(w.frame[i].p + 30), 0x0a00020f);
	send_tcp(22, 0x0a000202, get_be16(w.frame[i].p + 34), 500, get_be32(w.frame[i].p + 38) + 1, 0x12,
		 "", 0);
	send_tcp(22, 0x0a000202, get_be16(w.frame[i].p + 34), 501, get_be32(w.frame[i].p + 38) + 1, 0x18,
		 "SSH-2.0", 7);
	WIRE_UNTIL(loop, recv(c, buf, sizeof(buf), MSG_DONTWAIT | MSG_PEEK) == 7);
	assert_int_equal(recv(c, buf, sizeof(buf), MSG_DONTWAIT), 7);
	close(c);
	c = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	sendto(c, "dgram", 5, 0, (struct sockaddr *)&b, sizeof(b));
	WIRE_UNTIL(loop, find(0, 17, 23) >= 0);
	assert_true(find(0, 17, 23) >= 0);
	close(c);
	stop();
}

static void routers(void **st)
{
	u8 p[70] = { 0x33, 0x33, 0, 0, 0, 2 };
	unsigned i;

	memcpy(p + 6, my_mac, 6);
	put_be16(p + 12, 0x86dd);
	p[14] = 0x60;
	put_be16(p + 18, 8);
	p[20] = 58;
	p[21] = 255;
	p[22] = 0xfe;
	p[23] = 0x80;
	p[37] = 9;
	p[38] = 0xff;
	p[39] = 2;
	p[53] = 2;
	p[54] = 133;
	put_be16(p + 56, (u16)~naive_l4(p, 14, 54, true, 58, 62));
	for (unsigned v6 = 0; v6 < 2; v6++) {
		assert_int_equal(start(v6 ? "user" : "user,ipv6=off", NET_CAP_CSUM), 0);
		assert_true(wire_send(&w, p, 62, NULL));
		for (i = 0; i < w.nframes; i++)
			if (get_be16(w.frame[i].p + 12) == 0x86dd && w.frame[i].p[54] == 134)
				break;
		assert_int_equal(i < w.nframes, v6);
		if (v6) {
			assert_int_equal(naive_l4(w.frame[i].p, 14, 54, true, 58, w.frame[i].len), 0xffff);
			assert_int_equal(get_be16(w.frame[i].p + 18), w.frame[i].len - 54);
		}
		stop();
	}
}

/* Anything at all from the guest: nothing breaks. */
static void noise(void **st)
{
	u64 s = 77;
	u8 p[600];

	assert_int_equal(start("user,restrict=on", NET_CAP_CSUM), 0);
	learn_gateway();
	for (unsigned i = 0; i < 30000; i++) {
		size_t len = 14 + rnd(&s) % 500;

		for (size_t j = 0; j < len; j++)
			p[j] = (u8)rnd(&s);
		if (rnd(&s) % 8) {
			put_be16(p + 12, rnd(&s) & 1 ? 0x0800 : rnd(&s) & 1 ? 0x86dd : 0x0806);
			p[14] = p[12] == 8 ? 0x45 : 0x60;
			if (rnd(&s) & 1)
				p[23] = rnd(&s) & 1 ? 6 : rnd(&s) & 1 ? 17 : 1;
			put_be16(p + 16, (u16)(len - 14));
			if (rnd(&s) & 1)
				put_be16(p + 20, 0);
			put_be16(p + 24, 0);
			put_be16(p + 24, (u16)~naive_sum(p + 14, 20, 0));
		}
		assert_true(wire_send(&w, p, len, NULL));
		if (i % 100 == 0)
			wire_clear(&w);
	}
	wire_clear(&w);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leases), cmocka_unit_test(datagrams), cmocka_unit_test(fragments),
		cmocka_unit_test(stream_large),
		cmocka_unit_test(stream_small), cmocka_unit_test(no_room), cmocka_unit_test(names),
		cmocka_unit_test(forwards), cmocka_unit_test(routers), cmocka_unit_test(noise),
	};

	return cmocka_run_group_tests_name("user", tests, setup, teardown);
}
