/* SPDX-License-Identifier: GPL-2.0-or-later */
/* spec.c - the one place that reads what a user writes after --net, and opens what it names.
 *
 *	KIND[=VALUE][,KEY=VALUE]...		docs/net.md lists kinds and keys
 *
 * Each message names the part that is wrong, and says what would be right. */
#include "net/spec.h"
#include "base/cleanup.h"
#include "net/pcap.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { FOR_USER = 1 << NET_USER, FOR_TAP = 1 << NET_TAP, FOR_SWITCH = 1 << NET_SWITCH,
       FOR_ALL = FOR_USER | FOR_TAP | FOR_SWITCH };

/* --- words --- */

static bool parse_uint(const char *s, unsigned min, unsigned max, unsigned *out)
{
	char *end;
	unsigned long v;

	if (!isdigit((unsigned char)*s) || strlen(s) > 9)
		return false;
	v = strtoul(s, &end, 10);
	if (*end || v < min || v > max)
		return false;
	*out = (unsigned)v;
	return true;
}

/* A name that can be part of a path, an interface name, a host name. */
static int copy_name(char *to, size_t max, const char *key, const char *v, const char *also,
		     struct err *e)
{
	size_t n = strlen(v);

	if (!n || n >= max)
		return err_set(e, EINVAL, "%s=%s: 1 to %zu characters are allowed", key, v, max - 1);
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)v[i]) && !strchr(also, v[i]))
			return err_set(e, EINVAL, "%s=%s: only letters, digits and %s are allowed", key,
				       v, also);
	if (v[0] == '.' || v[0] == '-')
		return err_set(e, EINVAL, "%s=%s: begin with a letter or digit", key, v);
	memcpy(to, v, n + 1);
	return 0;
}

int net_parse_mac(const char *s, u8 mac[6], struct err *e)
{
	u8 m[6], any = 0;
	unsigned n = 0;

	for (const char *p = s; n < 6; n++, p += 3) {
		int hi = isxdigit((unsigned char)p[0]), lo = hi && isxdigit((unsigned char)p[1]);

		if (!lo || p[2] != (n == 5 ? '\0' : ':'))
			break;
		m[n] = (u8)strtoul((char[]){ p[0], p[1], 0 }, NULL, 16);
		any |= m[n];
	}
	if (n < 6)
		return err_set(e, EINVAL, "mac=%s: write six bytes, as in 52:54:00:12:34:56", s);
	if (m[0] & 1 || !any)
		return err_set(e, EINVAL, "mac=%s: this is no address of one card (the first byte is "
			       "even, and not all are zero)", s);
	memcpy(mac, m, 6);
	return 0;
}

void net_random_mac(u8 mac[6])
{
	static const u8 oui[3] = { 0x52, 0x54, 0x00 };	/* locally administered */

	memcpy(mac, oui, 3);
	while (getrandom(mac + 3, 3, 0) != 3)
		;
}

/* --- the keys --- */

static int set_mac(struct net_spec *s, const char *v, struct err *e)
{
	s->card.mac_told = true;
	return net_parse_mac(v, s->card.mac, e);
}

static int set_queues(struct net_spec *s, const char *v, struct err *e)
{
	if (!parse_uint(v, 1, NET_QUEUES_MAX, &s->card.queues))
		return err_set(e, EINVAL, "queues=%s: 1 to %u are allowed", v, NET_QUEUES_MAX);
	return 0;
}

static int set_mtu(struct net_spec *s, const char *v, struct err *e)
{
	unsigned mtu;

	if (!parse_uint(v, 68, 65520, &mtu))
		return err_set(e, EINVAL, "mtu=%s: 68 to 65520 are allowed", v);
	s->card.mtu = (u16)mtu;
	return 0;
}

static int set_pcap(struct net_spec *s, const char *v, struct err *e)
{
	free(s->pcap);
	s->pcap = strdup(v);
	if (!*v)
		return err_set(e, EINVAL, "pcap=: name a file");
	return s->pcap ? 0 : err_set(e, ENOMEM, "out of memory");
}

static int parse_port(const char *s, u16 *port)
{
	unsigned v;

	if (!parse_uint(s, 1, 65535, &v))
		return -EINVAL;
	*port = (u16)v;
	return 0;
}

/* [tcp:|udp:][ADDR:]HOSTPORT:[GUESTADDR:]GUESTPORT */
static int parse_forward(struct net_forward *f, const char *v, struct err *e)
{
	static const char *const form = "[udp:][ADDRESS:]HOSTPORT:[GUESTADDRESS:]GUESTPORT";
	char buf[sizeof(f->text)], *part[4], *save = NULL;
	unsigned n = 0, i = 0;

	memset(f, 0, sizeof(*f));
	if (strlen(v) >= sizeof(buf))
		return err_set(e, EINVAL, "forward=%s: too long; write %s", v, form);
	strcpy(f->text, v);
	strcpy(buf, v);
	f->host.s_addr = htonl(INADDR_LOOPBACK);
	f->udp = !strncmp(buf, "udp:", 4);
	for (char *p = strtok_r(buf + (f->udp || !strncmp(buf, "tcp:", 4) ? 4 : 0), ":", &save); p;
	     p = strtok_r(NULL, ":", &save)) {
		if (n == 4)
			return err_set(e, EINVAL, "forward=%s: too many parts; write %s", v, form);
		part[n++] = p;
	}
	if (n < 2)
		return err_set(e, EINVAL, "forward=%s: write %s", v, form);
	if (strchr(part[0], '.') && inet_pton(AF_INET, part[i++], &f->host) != 1)
		return err_set(e, EINVAL, "forward=%s: \"%s\" is no IPv4 address of this host", v,
			       part[0]);
	if (i < n && parse_port(part[i], &f->host_port) < 0)
		return err_set(e, EINVAL, "forward=%s: \"%s\" is no port of this host; 1 to 65535 are "
			       "allowed", v, part[i]);
	i++;
	if (i < n && strchr(part[i], '.') && inet_pton(AF_INET, part[i++], &f->guest) != 1)
		return err_set(e, EINVAL, "forward=%s: \"%s\" is no IPv4 address of the guest", v,
			       part[i - 1]);
	if (i + 1 != n)
		return err_set(e, EINVAL, "forward=%s: write %s", v, form);
	if (parse_port(part[i], &f->guest_port) < 0)
		return err_set(e, EINVAL, "forward=%s: \"%s\" is no port of the guest; 1 to 65535 are "
			       "allowed", v, part[i]);
	return 0;
}

static int set_forward(struct net_spec *s, const char *v, struct err *e)
{
	struct net_forward *more;

	if (s->nforward == NET_FORWARDS_MAX)
		return err_set(e, EINVAL, "forward=%s: at most %u forwards are allowed", v,
			       NET_FORWARDS_MAX);
	more = realloc(s->forward, (s->nforward + 1) * sizeof(*more));
	if (!more)
		return err_set(e, ENOMEM, "out of memory");
	s->forward = more;
	return parse_forward(&more[s->nforward++], v, e);
}

static int set_net(struct net_spec *s, const char *v, struct err *e)
{
	char buf[32];
	char *slash;
	unsigned prefix = 24;

	if (strlen(v) < sizeof(buf)) {
		strcpy(buf, v);
		slash = strchr(buf, '/');
		if (slash)
			*slash = 0;
		/* 27: host, DNS and sixteen leases from .15 on must fit. */
		if (inet_pton(AF_INET, buf, &s->net) == 1 &&
		    (!slash || parse_uint(slash + 1, 8, 27, &prefix)) &&
		    !(ntohl(s->net.s_addr) & (0xffffffffu >> prefix)) &&
		    ntohl(s->net.s_addr) >> 24 != 127 && ntohl(s->net.s_addr) >> 24 != 0 &&
		    ntohl(s->net.s_addr) >> 28 < 14) {
			s->prefix = (u8)prefix;
			return 0;
		}
	}
	return err_set(e, EINVAL, "net=%s: write a network and its length (8 to 27), as in 10.0.2.0/24", v);
}

static int set_dns(struct net_spec *s, const char *v, struct err *e)
{
	if (inet_pton(AF_INET, v, &s->dns) != 1 || !s->dns.s_addr)
		return err_set(e, EINVAL, "dns=%s: write the IPv4 address of a name server", v);
	return 0;
}

static int parse_switch(const char *key, const char *v, bool *on, struct err *e)
{
	*on = !strcmp(v, "on");
	if (!*on && strcmp(v, "off"))
		return err_set(e, EINVAL, "%s=%s: on and off are allowed", key, v);
	return 0;
}

static int set_restrict(struct net_spec *s, const char *v, struct err *e)
{
	return parse_switch("restrict", v, &s->restricted, e);
}

static int set_ipv6(struct net_spec *s, const char *v, struct err *e)
{
	bool on = true;
	int r = parse_switch("ipv6", v, &on, e);

	s->no_ip6 = !on;
	return r;
}

static int set_hostname(struct net_spec *s, const char *v, struct err *e)
{
	return copy_name(s->hostname, sizeof(s->hostname), "hostname", v, "-.", e);
}

static int set_domain(struct net_spec *s, const char *v, struct err *e)
{
	return copy_name(s->domain, sizeof(s->domain), "domain", v, "-.", e);
}

static int set_ifname(struct net_spec *s, const char *v, struct err *e)
{
	return copy_name(s->ifname, sizeof(s->ifname), "ifname", v, "-_.@", e);
}

static int set_bridge(struct net_spec *s, const char *v, struct err *e)
{
	return copy_name(s->bridge, sizeof(s->bridge), "bridge", v, "-_.@", e);
}

static int set_name(struct net_spec *s, const char *v, struct err *e)
{
	return copy_name(s->name, sizeof(s->name), "switch", v, "-_.", e);
}

static const struct {
	const char *key;
	unsigned kinds;
	int (*set)(struct net_spec *s, const char *v, struct err *e);
} keys[] = {
	{ "mac", FOR_ALL, set_mac },
	{ "queues", FOR_ALL, set_queues },
	{ "mtu", FOR_ALL, set_mtu },
	{ "pcap", FOR_ALL, set_pcap },
	{ "forward", FOR_USER, set_forward },
	{ "net", FOR_USER, set_net },
	{ "dns", FOR_USER, set_dns },
	{ "hostname", FOR_USER, set_hostname },
	{ "domain", FOR_USER, set_domain },
	{ "restrict", FOR_USER, set_restrict },
	{ "ipv6", FOR_USER, set_ipv6 },
	{ "ifname", FOR_TAP, set_ifname },
	{ "bridge", FOR_TAP, set_bridge },
};

static const struct {
	const char *word;
	enum net_kind kind;
	/* What "word=VALUE" sets; NULL: no value. */
	int (*set)(struct net_spec *s, const char *v, struct err *e);
	const char *value;		/* when none is given; NULL: it must be */
} kinds[] = {
	{ "user", NET_USER, NULL, "" },
	{ "tap", NET_TAP, NULL, "" },
	{ "bridge", NET_TAP, set_bridge, NULL },
	{ "switch", NET_SWITCH, set_name, "default" },
	{ "none", NET_NONE, NULL, "" },
};

static int parse_kind(struct net_spec *s, char *word, struct err *e)
{
	char *value = strchr(word, '=');

	if (value)
		*value++ = 0;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(word, kinds[i].word))
			continue;
		s->kind = kinds[i].kind;
		if (!value && !kinds[i].value)
			return err_set(e, EINVAL, "%s: name it: %s=NAME", word, word);
		if (!kinds[i].set && value)
			return err_set(e, EINVAL, "%s=%s: %s takes no value", word, value, word);
		return kinds[i].set ? kinds[i].set(s, value ? value : kinds[i].value, e) : 0;
	}
	return err_set(e, EINVAL, "\"%s\": no such network; there are user, tap, bridge=NAME, "
		       "switch[=NAME] and none", word);
}

static int parse_key(struct net_spec *s, const char *kind, char *word, struct err *e)
{
	char *value = strchr(word, '='), list[256] = "";
	size_t at = 0;

	if (value)
		*value++ = 0;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		bool fits = keys[i].kinds & 1u << s->kind;

		if (!strcmp(word, keys[i].key) && fits)
			return value ? keys[i].set(s, value, e)
				     : err_set(e, EINVAL, "%s: give it a value: %s=...", word, word);
		if (fits)
			at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", at ? ", " : "",
					       keys[i].key);
	}
	if (s->kind == NET_NONE)
		return err_set(e, EINVAL, "none takes no options (\"%s\")", word);
	return err_set(e, EINVAL, "%s has no option \"%s\"; there are %s", kind, word, list);
}

int net_spec_parse(struct net_spec *s, const char *text, struct err *e)
{
	cleanup_free char *copy = NULL;
	char *save = NULL, *word;
	int r;

	memset(s, 0, sizeof(*s));
	s->card.queues = 1;
	s->net.s_addr = htonl(0x0a000200);
	s->prefix = 24;
	if (strlen(text) > NET_SPEC_MAX)
		return err_set(e, EINVAL, "network: longer than %u characters", NET_SPEC_MAX);
	copy = strdup(text);
	if (!copy)
		return err_set(e, ENOMEM, "out of memory");
	word = strtok_r(copy, ",", &save);
	if (!word)
		return err_set(e, EINVAL, "network: name one: user, tap, bridge=NAME, switch[=NAME] or "
			       "none");
	r = parse_kind(s, word, e);
	for (const char *kind = word; !r && (word = strtok_r(NULL, ",", &save)); )
		r = parse_key(s, kind, word, e);
	if (!r && s->kind == NET_USER && s->dns.s_addr && s->dns.s_addr ==
	    htonl(ntohl(s->net.s_addr) + 3))
		r = err_set(e, EINVAL, "dns=: this is the address that the guest asks; name the server "
			    "behind it");
	if (!r && s->kind != NET_NONE && !s->card.mac_told)
		net_random_mac(s->card.mac);
	return r;
}

void net_spec_free(struct net_spec *s)
{
	free(s->pcap);
	free(s->forward);
	s->pcap = NULL;
	s->forward = NULL;
}

/* --- for all others --- */

int net_check(const char *text, struct net_card *card, struct err *e)
{
	struct net_spec s;
	int r = net_spec_parse(&s, text, e);

	if (!r && card)
		*card = s.card;
	net_spec_free(&s);
	return r;
}

static int open_spec(struct net **out, const struct net_spec *s, const struct net_env *env,
		     struct err *e)
{
	const char *file = s->pcap ? s->pcap : env->pcap;
	struct net *n = NULL;
	int r = 0;

	switch (s->kind) {
	case NET_NONE: return 0;
	case NET_USER: r = user_open(&n, s, env, e); break;
	case NET_TAP: r = tap_open(&n, s, env, e); break;
	case NET_SWITCH: r = switch_open(&n, s, env, e); break;
	}
	if (!r && file)
		r = pcap_open(&n->pcap, file, e);
	if (r) {
		net_free(n);
		return r;
	}
	n->up = true;
	*out = n;
	return 0;
}

int net_open(struct net **out, struct net_card *card, const char *text, const struct net_env *env,
	     struct err *e)
{
	struct net_spec s;
	int r = net_spec_parse(&s, text, e);

	*out = NULL;
	if (!r)
		*card = s.card;
	if (!r)
		r = open_spec(out, &s, env, e);
	net_spec_free(&s);
	return r;
}
