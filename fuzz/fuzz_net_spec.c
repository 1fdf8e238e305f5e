/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_net_spec.c - what can stand after --net: good specifications with bytes changed, words exchanged,
 * and noise. Each is taken, or refused with a message.
 * Runs FUZZ_SECONDS (default 10) from the seed in argv[1] (default: 1); "fuzz_net_spec SEED 1" does that one
 * input only. */
#include "../tests/net/packets.h"
#include "net/spec.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

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
	const char *secs = getenv("FUZZ_SECONDS");
	u64 seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	u64 rounds = argc > 2 ? strtoull(argv[2], NULL, 0) : UINT64_MAX, done = 0;
	time_t end = time(NULL) + (secs ? atoi(secs) : 10);

	for (; done < rounds && (done % 64 || time(NULL) < end); done++, seed++)
		one(seed);
	printf("fuzz_net_spec: %llu inputs, up to seed %llu\n", (unsigned long long)done,
	       (unsigned long long)seed - 1);
	return 0;
}
