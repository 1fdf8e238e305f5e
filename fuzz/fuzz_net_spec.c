/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_net_spec.c - what can stand after --net: good specifications with bytes changed, words exchanged,
 * and noise. Each is taken, or refused with a message.
 * How long, and from which seed: fuzz.h. */
#include "fuzz.h"
#include "../tests/net/packets.h"
#include "net/spec.h"
#include <stdio.h>
#include <stdlib.h>

static void one(u64 seed)
{
	static const char *const words[] = {
		"user", "tap", "bridge=br0", "switch", "switch=lan", "none", "forward=2222:22",
		"forward=udp:127.0.0.1:53:10.0.2.15:53", "forward=tcp:1:2", "net=10.0.2.0/24",
		"net=192.168.0.0/16", "hostname=x", "domain=example.org", "dns=9.9.9.9", "restrict=on",
		"ipv6=off", "mac=52:54:00:12:34:56", "queues=4", "mtu=9000", "pcap=/tmp/x", "ifname=tap0",
		"bridge=b", "=", ":", "", "forward=", "net=/", "mac=",
	};
	u64 s = seed * 0x9e3779b97f4a7c15ull | 1;
	struct err e = { 0 };
	struct net_spec sp;
	char text[600] = "";
	size_t len = 0;
	int r;

	for (unsigned i = (unsigned)rnd(&s) % 7; i; i--) {
		const char *w = words[rnd(&s) % ARRAY_SIZE(words)];

		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len ? "," : "", w);
	}
	for (unsigned i = (unsigned)rnd(&s) % 4; i && len; i--)
		text[rnd(&s) % len] = rnd(&s) & 1 ? "0123456789:,=./-"[rnd(&s) % 16] : (char)(1 + rnd(&s) % 255);
	r = net_spec_parse(&sp, text, &e);
	if ((r < 0) != (e.msg[0] != 0) || r > 0 || sp.card.queues > NET_QUEUES_MAX ||
	    (!r && sp.nforward > NET_FORWARDS_MAX)) {
		fprintf(stderr, "fuzz_net_spec: \"%s\": %d \"%s\"\n", text, r, e.msg);
		abort();
	}
	net_spec_free(&sp);
}

int main(int argc, char **argv)
{
	struct fuzz f = fuzz_begin(argc, argv, "fuzz_net_spec");

	while (fuzz_more(&f, f.rounds != 0))
		one(f.seed);
	return fuzz_end(&f);
}
