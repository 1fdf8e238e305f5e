/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pcap.h - frames written down as they pass, in a file that tcpdump and Wireshark read. */
#ifndef PENTA_NET_PCAP_H
#define PENTA_NET_PCAP_H

#include "net/net.h"

/* Makes @path anew, or writes to the FIFO that is there. */
int pcap_open(struct pcap **out, const char *path, struct err *e);
void pcap_free(struct pcap *p);		/* accepts NULL */
/* One frame, now. What cannot be written is left out, and said once in the log. */
void pcap_write(struct pcap *p, const struct net_frame *f);

#endif
