/* SPDX-License-Identifier: GPL-2.0-or-later */
/* spec.h - what --net says, taken apart; and the back ends' makers. For src/net/ only. */
#ifndef PENTA_NET_SPEC_H
#define PENTA_NET_SPEC_H

#include "net/net.h"
#include <netinet/in.h>

#define NET_SPEC_MAX 8192	/* characters */
#define NET_FORWARDS_MAX 64

enum net_kind { NET_NONE, NET_USER, NET_TAP, NET_SWITCH };

struct net_forward {		/* a port of the host that leads to one of the guest */
	bool udp;
	struct in_addr host, guest;	/* guest 0: the address that DHCP gives */
	u16 host_port, guest_port;
	char text[64];		/* as it was written, for messages */
};

struct net_spec {
	enum net_kind kind;
	struct net_card card;
	char *pcap;

	/* user */
	struct net_forward *forward;
	unsigned nforward;
	struct in_addr net, dns;	/* dns 0: the host's */
	u8 prefix;
	bool restricted, no_ip6;
	char hostname[64], domain[128];

	/* tap */
	char ifname[16], bridge[16];	/* "": the kernel names it; no bridge */

	/* switch */
	char name[33];
};

/* @s is to be given to net_spec_free(), also after an error. */
int net_spec_parse(struct net_spec *s, const char *text, struct err *e);
void net_spec_free(struct net_spec *s);

int user_open(struct net **out, const struct net_spec *s, const struct net_env *env, struct err *e);
int tap_open(struct net **out, const struct net_spec *s, const struct net_env *env, struct err *e);
int switch_open(struct net **out, const struct net_spec *s, const struct net_env *env, struct err *e);

#endif
