/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pcap.c - the capture file of a network card.
 * After: draft-ietf-opsawg-pcap (classic libpcap format, version 2.4), LINKTYPE_ETHERNET.
 *
 * Each record is one write, so that the file ends with a whole record whenever the process dies.
 * Frames are written as they cross the cable between card and back end: segments not yet cut and
 * checksums not yet made, like those that tcpdump shows on a sending host. */
#include "net/pcap.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/trace.h"		// log_msg
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	PCAP_MAGIC = 0xa1b2c3d4,	/* microseconds, this byte order */
	PCAP_MAJOR = 2, PCAP_MINOR = 4,
	PCAP_SNAPLEN = 262144, PCAP_ETHERNET = 1,
	PCAP_HEADER = 24, PCAP_RECORD = 16,
	PCAP_IOV = 64,
};

struct pcap {
	int fd;
	bool fifo;
	bool dead;		/* a record was cut short: what follows would be unreadable */
	u64 lost;
	char *path;
};

int pcap_open(struct pcap **out, const char *path, struct err *e)
{
	struct pcap *p = calloc(1, sizeof(*p));
	u8 h[PCAP_HEADER] = { 0 };
	struct stat st;

	if (p)
		p->path = strdup(path);
	if (!p || !p->path) {
		free(p);
		return err_set(e, ENOMEM, "pcap: out of memory");
	}
	/* Non-blocking is for a FIFO: its reader must be there already, and may not hold us up. */
	p->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
	if (p->fd < 0 || fstat(p->fd, &st) < 0) {
		int r = errno == ENXIO
			? err_set(e, ENXIO, "pcap: %s: nobody reads this FIFO yet; start the reader first",
				  path)
			: err_errno(e, "pcap: open %s", path);

		pcap_free(p);
		return r;
	}
	p->fifo = S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode);
	put_le32(h, PCAP_MAGIC);
	put_le16(h + 4, PCAP_MAJOR);
	put_le16(h + 6, PCAP_MINOR);
	put_le32(h + 16, PCAP_SNAPLEN);
	put_le32(h + 20, PCAP_ETHERNET);
	if ((!p->fifo && ftruncate(p->fd, 0) < 0) || write(p->fd, h, sizeof(h)) != sizeof(h)) {
		int r = err_errno(e, "pcap: write %s", path);

		pcap_free(p);
		return r;
	}
	*out = p;
	return 0;
}

void pcap_free(struct pcap *p)
{
	if (!p)
		return;
	cleanup_closep(&p->fd);
	free(p->path);
	free(p);
}

/* A file that is full, or a reader that is slow or gone: the guest shall not notice. */
static void failed(struct pcap *p, ssize_t n)
{
	if (n < 0 && errno == EAGAIN) {
		if (!p->lost++)
			log_msg(LOG_WARN, "pcap: %s: its reader is slow; frames are left out", p->path);
		return;
	}
	log_msg(LOG_WARN, "pcap: %s: %s; the capture ends here", p->path,
		n < 0 ? strerror(errno) : "only a part was written");
	p->dead = true;
}

void pcap_write(struct pcap *p, const struct net_frame *f)
{
	struct iovec iov[PCAP_IOV];
	u8 h[PCAP_RECORD];
	struct timespec ts;
	size_t want = PCAP_RECORD;
	unsigned n = 1;
	ssize_t r;

	if (p->dead)
		return;
	for (unsigned i = 0; i < f->niov && n < PCAP_IOV; i++) {
		iov[n++] = f->iov[i];
		want += f->iov[i].iov_len;
	}
	clock_gettime(CLOCK_REALTIME, &ts);
	put_le32(h, (u32)ts.tv_sec);
	put_le32(h + 4, (u32)(ts.tv_nsec / 1000));
	put_le32(h + 8, (u32)(want - PCAP_RECORD));	/* captured: more pieces than PCAP_IOV are cut off */
	put_le32(h + 12, (u32)f->len);
	iov[0] = (struct iovec){ h, PCAP_RECORD };
	do {
		r = writev(p->fd, iov, (int)n);
	} while (r < 0 && errno == EINTR);
	if (r != (ssize_t)want)
		failed(p, r);
}
