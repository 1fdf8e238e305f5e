/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rounds.c - the workload of tests/e2e/test_rounds.sh's guests: checksums on each CPU, disks that are
 * written, flushed and read back, a TCP connection whose echo is compared, all for ever; and a service on
 * a vsock port that tells how far they are and what time it is.
 *
 * What each block of a disk must hold is in memory alone: memory and disks that are not of one moment
 * are found out. usage: rounds HOST-PORT DISK... */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <linux/vm_sockets.h>	// wants struct sockaddr before it

#define PORT 5000
#define MEM (192 * 1024)
#define BLOCK 4096
#define BLOCKS 2048		/* 8 MiB of each disk */
#define RUN 8			/* blocks in one write */
#define MESSAGE 20000

struct shared {
	uint64_t cpu[64], disk[8], net, cut;
	unsigned ncpu, ndisk;
	char wrong[256];
};
static struct shared *sh;

__attribute__((format(printf, 1, 2)))
static void wrong(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sh->wrong, sizeof(sh->wrong), fmt, ap);
	va_end(ap);
	for (;;)
		pause();
}

static uint64_t mix(uint64_t *s)		/* splitmix64 */
{
	uint64_t z = *s += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void fill(void *buf, size_t len, uint64_t seed)
{
	uint64_t *p = buf;

	for (size_t i = 0; i < len / 8; i++)
		p[i] = mix(&seed);
}

static uint64_t sum(const void *buf, size_t len)
{
	const uint64_t *p = buf;
	uint64_t a = 0, b = 0;

	for (size_t i = 0; i < len / 8; i++)
		b += a += p[i];
	return a ^ b;
}

static void compute(unsigned n)
{
	char *data = malloc(MEM), *copy = malloc(MEM);
	uint64_t want;
	double x = 0;

	fill(data, MEM, n);
	want = sum(data, MEM);
	for (;;) {
		memcpy(copy, data, MEM);
		x = x * 0.5 + 1;	/* 2, soon */
		if (sum(copy, MEM) != want || sum(data, MEM) != want || x > 2)
			wrong("CPU %u, checksum %llu", n, (unsigned long long)sh->cpu[n]);
		sh->cpu[n]++;
	}
}

static void check(unsigned n, int fd, void *buf, const uint64_t *version, unsigned block)
{
	char want[BLOCK];

	if (pread(fd, buf, BLOCK, (off_t)block * BLOCK) != BLOCK)
		wrong("disk %u, block %u: read: %s", n, block, strerror(errno));
	memset(want, 0, sizeof(want));
	if (version[block])
		fill(want, BLOCK, version[block]);
	if (memcmp(buf, want, BLOCK))
		wrong("disk %u, block %u is not what was written", n, block);
}

static void disk(unsigned n, const char *path)
{
	static uint64_t version[BLOCKS];
	uint64_t rnd = n, seq = (uint64_t)(n + 1) << 32;
	int fd = open(path, O_RDWR | O_DIRECT);
	char *buf;

	if (fd < 0 || posix_memalign((void **)&buf, BLOCK, BLOCK * RUN))
		wrong("disk %u: %s: %s", n, path, strerror(errno));
	for (;;) {
		unsigned run = 1 + mix(&rnd) % RUN, at = mix(&rnd) % (BLOCKS - RUN);

		for (unsigned i = 0; i < run; i++)
			fill(buf + i * BLOCK, BLOCK, seq + i + 1);
		if (pwrite(fd, buf, run * BLOCK, (off_t)at * BLOCK) != (ssize_t)(run * BLOCK))
			wrong("disk %u, block %u: write: %s", n, at, strerror(errno));
		for (unsigned i = 0; i < run; i++)
			version[at + i] = ++seq;
		if (fsync(fd))
			wrong("disk %u: fsync: %s", n, strerror(errno));
		check(n, fd, buf, version, at);
		for (unsigned i = 0; i < 3; i++)
			check(n, fd, buf, version, mix(&rnd) % BLOCKS);
		sh->disk[n]++;
	}
}

/* All of it, or false: the connection is over. */
static int all(int fd, char *buf, size_t len, int out)
{
	while (len) {
		ssize_t n = out ? send(fd, buf, len, MSG_NOSIGNAL) : recv(fd, buf, len, 0);

		if (n <= 0)
			return 0;
		buf += n;
		len -= (size_t)n;
	}
	return 1;
}

static void net(unsigned port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port),
				 .sin_addr = { htonl(0x0a000202) } };	/* 10.0.2.2 */
	struct timeval wait = { .tv_sec = 2 };
	static char out[MESSAGE], in[MESSAGE];
	uint64_t rnd = 1;

	for (;; sh->cut++, usleep(20000)) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
		if (connect(fd, (struct sockaddr *)&a, sizeof(a))) {
			close(fd);
			continue;
		}
		for (;;) {
			size_t len = 8 + mix(&rnd) % (MESSAGE / 8 - 1) * 8;

			fill(out, len, mix(&rnd));
			if (!all(fd, out, len, 1) || !all(fd, in, len, 0))
				break;
			if (memcmp(in, out, len))
				wrong("network: the echo of %zu bytes is another", len);
			sh->net++;
		}
		close(fd);
	}
}

static void tell(int fd)
{
	struct timespec t;
	char text[1024], c;
	int n;

	while (recv(fd, &c, 1, 0) == 1) {
		if (c == 't') {
			clock_gettime(CLOCK_REALTIME, &t);
			n = snprintf(text, sizeof(text), "%lld\n", t.tv_sec * 1000000000ll + t.tv_nsec);
		} else {
			n = snprintf(text, sizeof(text), "cut=%llu net=%llu",
				     (unsigned long long)sh->cut, (unsigned long long)sh->net);
			for (unsigned i = 0; i < sh->ncpu; i++)
				n += snprintf(text + n, sizeof(text) - n, " cpu%u=%llu", i,
					      (unsigned long long)sh->cpu[i]);
			for (unsigned i = 0; i < sh->ndisk; i++)
				n += snprintf(text + n, sizeof(text) - n, " disk%u=%llu", i,
					      (unsigned long long)sh->disk[i]);
			n += snprintf(text + n, sizeof(text) - n, " wrong=%s\n", sh->wrong);
		}
		if (send(fd, text, (size_t)n, MSG_NOSIGNAL) != n)
			break;
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = PORT };
	int l = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (argc < 2)
		return 2;
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	sh->ncpu = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	sh->ndisk = (unsigned)argc - 2;
	signal(SIGCHLD, SIG_IGN);
	for (unsigned i = 0; i < sh->ncpu; i++)
		if (!fork())
			compute(i);
	for (unsigned i = 0; i < sh->ndisk; i++)
		if (!fork())
			disk(i, argv[2 + i]);
	if (!fork())
		net((unsigned)atoi(argv[1]));
	if (l < 0 || bind(l, (struct sockaddr *)&a, sizeof(a)) || listen(l, 16)) {
		perror("vsock");
		return 1;
	}
	puts("READY");
	fflush(stdout);
	for (;;) {
		int fd = accept(l, NULL, NULL);

		if (fd >= 0 && !fork())
			tell(fd);
		if (fd >= 0)
			close(fd);
	}
}
