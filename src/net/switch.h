/* SPDX-License-Identifier: GPL-2.0-or-later */
/* switch.h - the messages that members of a switch send to each other; for switch.c and its tests. */
#ifndef PENTA_NET_SWITCH_H
#define PENTA_NET_SWITCH_H

#include "net/net.h"

enum switch_kind { SWITCH_HELLO = 1, SWITCH_FRAME = 2 };
#define SWITCH_MAGIC 0x57534e50u	/* "PNSW" */
#define SWITCH_VERSION 1
#define SWITCH_HELLO_LEN 6
#define SWITCH_HEADER 12

void switch_put_header(u8 h[SWITCH_HEADER], const struct net_offload *o);
/* False: it is no frame. @f borrows @iov and @msg. Its offload fields are not checked yet. */
bool switch_get_frame(const u8 *msg, size_t len, struct iovec *iov, struct net_frame *f);
bool switch_is_hello(const u8 *msg, size_t len);

#endif
