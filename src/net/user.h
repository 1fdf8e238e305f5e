/* SPDX-License-Identifier: GPL-2.0-or-later */
/* user.h - the two files of the user NAT: user.c drives libslirp, user_edge.c stands between it and the
 * guest and does what libslirp does not, or not well enough. */
#ifndef PENTA_NET_USER_H
#define PENTA_NET_USER_H

#include "net/net.h"
#include "net/offload.h"
#include <netinet/in.h>

#define USER_EDGE_ASKERS 256	/* a power of two */

struct user_edge {
	struct in_addr dns, resolver;	/* what the guest asks; who answers. resolver 0: nobody */
	struct in6_addr prefix6, router6;
	bool ip6;
	u16 mtu;			/* the guest's */
	/* Ports of the guest from which it asked @dns: replies from @resolver to them are renamed.
	 * proto << 16 | port, by hash; 0: none. */
	u32 asker[USER_EDGE_ASKERS];
};

enum user_verdict {
	USER_PASS,		/* to libslirp */
	USER_DROP,
	USER_NEW_FLOW,		/* to libslirp, which may open a socket for it */
	USER_FRAGMENT,		/* IPv4: to user_frag_add() */
	USER_ROUTER,		/* the guest asks for routers: answer by user_edge_ra() */
};
/* A frame from the guest, in a buffer of our own; changed in place. @large: the guest takes large
 * segments, and may be told so by the other end. */
enum user_verdict user_edge_out(struct user_edge *x, u8 *p, size_t len, bool large);

/* A frame for the guest. @head gets the @head_len first bytes, changed, the rest of @p goes on as it is;
 * @off says what is left to do to it. */
#define USER_HEAD_MAX OFFLOAD_HEADERS_MAX
size_t user_edge_in(struct user_edge *x, const u8 *p, size_t len, u8 *head, struct net_offload *off);

/* Fragments of the guest's datagrams. user_frag_add(): the whole frame that @p completes, valid until the
 * next call, or NULL. */
struct user_frag;
int user_frag_new(struct user_frag **out);
void user_frag_free(struct user_frag *f);	/* accepts NULL */
u8 *user_frag_add(struct user_frag *f, const u8 *p, size_t len, u64 now_ns, size_t *out_len);

#define USER_RA_LEN (14 + 40 + 16 + 8 + 32)
void user_edge_ra(const struct user_edge *x, u8 p[USER_RA_LEN]);

#endif
