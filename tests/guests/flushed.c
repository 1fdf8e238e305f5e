/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flushed.c - what was flushed is there: the workload of tests/e2e/test_kill.sh's guests, and, on the
 * host, its check.
 *
 * flushed PORT DISK...: on each disk, write some blocks, fsync, and only then tell the host (by TCP, a line
 *	"number block blocks"), for ever; the host says first with which number to begin.
 * flushed check LOG IMAGE FROM TO: each block holds what line FROM says of it, or something newer, up to
 *	line TO and one write that was not told of any more. FROM 0: all of them. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK 4096
#define BLOCKS 2048
#define RUN 8

static uint64_t mix(uint64_t *s)		/* splitmix64 */
{
	uint64_t z = *s += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* The content of a block says its number, so that the check finds it. */
static void fill(void *buf, uint64_t number)
{
	uint64_t *p = buf, s = number;

	p[0] = number;
	for (size_t i = 1; i < BLOCK / 8; i++)
		p[i] = mix(&s);
}

static int work(unsigned n, const char *path, unsigned port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
				 .sin_addr = { htonl(0x0a000202) } };	/* 10.0.2.2 */
	int fd = open(path, O_RDWR | O_DIRECT), s = socket(AF_INET, SOCK_STREAM, 0);
	uint64_t number = 0, rnd;
	char text[64] = "", *buf;

	if (fd < 0 || posix_memalign((void **)&buf, BLOCK, BLOCK * RUN))
		return 1;
	for (unsigned i = 0; connect(s, (struct sockaddr *)&a, sizeof(a)); i++) {
		if (i == 100)
			return 1;
		close(s);
		usleep(100000);
		s = socket(AF_INET, SOCK_STREAM, 0);
	}
	snprintf(text, sizeof(text), "%u\n", n);
	if (send(s, text, strlen(text), 0) < 0 || recv(s, text, sizeof(text) - 1, 0) <= 0)
		return 1;
	rnd = number = strtoull(text, NULL, 10);
	for (;;) {
		unsigned run = 1 + mix(&rnd) % RUN, at = mix(&rnd) % (BLOCKS - RUN);

		for (unsigned i = 0; i < run; i++)
			fill(buf + i * BLOCK, number);
		if (pwrite(fd, buf, run * BLOCK, (off_t)at * BLOCK) != (ssize_t)(run * BLOCK) || fsync(fd))
			return 1;
		snprintf(text, sizeof(text), "%llu %u %u\n", (unsigned long long)number, at, run);
		if (send(s, text, strlen(text), MSG_NOSIGNAL) < 0)
			return 1;
		number++;
	}
}

static int check(const char *log, const char *image, uint64_t from, uint64_t to)
{
	static uint64_t least[BLOCKS];
	unsigned long long number;
	unsigned at, run, bad = 0, told = 0;
	FILE *f = fopen(log, "r");
	int fd = open(image, O_RDONLY);
	char buf[BLOCK], want[BLOCK];

	if (!f || fd < 0)
		return 1;
	while (fscanf(f, "%llu %u %u", &number, &at, &run) == 3)
		for (unsigned i = 0; i < run && at + i < BLOCKS; i++)
			if (!from || number <= from) {
				least[at + i] = number;
				told++;
			}
	for (unsigned b = 0; b < BLOCKS; b++) {
		uint64_t *p = (uint64_t *)buf;

		if (!least[b] || pread(fd, buf, BLOCK, (off_t)b * BLOCK) != BLOCK) {
			bad += least[b] != 0;
			continue;
		}
		fill(want, p[0]);
		if (p[0] < least[b] || p[0] > to + 1 || memcmp(buf, want, BLOCK)) {
			if (!bad++)
				printf("block %u has %llu%s, must have %llu to %llu\n", b,
				       (unsigned long long)p[0], memcmp(buf, want, BLOCK) ? " in part" : "",
				       (unsigned long long)least[b], (unsigned long long)to + 1);
		}
	}
	printf("%u blocks wrong of %u that were flushed\n", bad, told);
	return bad != 0;
}

int main(int argc, char **argv)
{
	if (argc == 6 && !strcmp(argv[1], "check"))
		return check(argv[2], argv[3], strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10));
	for (int i = 2; i < argc; i++)
		if (!fork())
			return work((unsigned)i - 2, argv[i], (unsigned)atoi(argv[1]));
	puts("READY");
	fflush(stdout);
	for (;;)
		pause();
}
