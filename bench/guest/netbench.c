/* SPDX-License-Identifier: GPL-2.0-or-later */
/* netbench.c - a network's speed over TCP: `netbench serve` on the host prints its port and answers
 * for ever; `netbench ADDRESS PORT SECONDS` in a guest sends, receives and plays ping-pong with one
 * byte. Prints "NET name figure unit" a line. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char block[128 << 10];

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void nodelay(int fd)
{
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* What a connection is for is its first byte. */
static void answer(int fd)
{
	uint64_t sum = 0;
	ssize_t n;
	char what, c;

	if (read(fd, &what, 1) != 1)
		return;
	switch (what) {
	case 's':	/* the guest sends: count, tell */
		while ((n = read(fd, block, sizeof block)) > 0)
			sum += (uint64_t)n;
		if (write(fd, &sum, sizeof sum) < 0)
			return;
		break;
	case 'r':	/* it receives, till it has enough */
		while (write(fd, block, sizeof block) > 0)
			;
		break;
	case 'p':
		while (read(fd, &c, 1) == 1 && write(fd, &c, 1) == 1)
			;
		break;
	}
}

static int serve(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof a;
	int s = socket(AF_INET, SOCK_STREAM, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (s < 0 || bind(s, (struct sockaddr *)&a, sizeof a) || listen(s, 8) ||
	    getsockname(s, (struct sockaddr *)&a, &len))
		die("serve");
	printf("%d\n", ntohs(a.sin_port));
	fflush(stdout);
	for (;;) {
		int fd = accept(s, NULL, NULL);
		if (fd < 0)
			die("accept");
		nodelay(fd);
		answer(fd);
		close(fd);
	}
}

static int dial(const char *address, const char *port, char what)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	int s = socket(AF_INET, SOCK_STREAM, 0);

	if (inet_pton(AF_INET, address, &a.sin_addr) != 1 || s < 0 ||
	    connect(s, (struct sockaddr *)&a, sizeof a) || write(s, &what, 1) != 1)
		die("connect");
	nodelay(s);
	return s;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && !strcmp(argv[1], "serve"))
		return serve();
	if (argc != 4) {
		fprintf(stderr, "usage: netbench serve | netbench ADDRESS PORT SECONDS\n");
		return 2;
	}
	double seconds = atof(argv[3]), start, t;
	uint64_t sum = 0;
	ssize_t n;

	int s = dial(argv[1], argv[2], 's');
	for (start = now(); (t = now() - start) < seconds;)
		if (write(s, block, sizeof block) <= 0)
			die("send");
	shutdown(s, SHUT_WR);
	if (read(s, &sum, sizeof sum) != sizeof sum)
		die("send");
	printf("NET send %.1f Mbit/s\n", (double)sum * 8 / (now() - start) / 1e6);
	fflush(stdout);
	close(s);

	s = dial(argv[1], argv[2], 'r');
	for (sum = 0, start = now(); (t = now() - start) < seconds; sum += (uint64_t)n)
		if ((n = read(s, block, sizeof block)) <= 0)
			die("receive");
	printf("NET receive %.1f Mbit/s\n", (double)sum * 8 / t / 1e6);
	fflush(stdout);
	close(s);

	s = dial(argv[1], argv[2], 'p');
	for (sum = 0, start = now(); (t = now() - start) < seconds; sum++)
		if (write(s, block, 1) != 1 || read(s, block, 1) != 1)
			die("ping-pong");
	printf("NET pingpong %.0f /s\n", (double)sum / t);
	close(s);
	return 0;
}
