// SPDX-License-Identifier: GPL-2.0-or-later
/* iobench.c - how fast a disk and a network are, from within a guest.
 *
 *	iobench disk DEVICE SECONDS [PART]	the disk's contents are lost
 *	iobench net ADDRESS PORT SECONDS	whoever connects there gets bytes; one port higher they
 *						are swallowed, two higher they come back
 *
 * Prints lines "IOBENCH NAME VALUE UNIT" when a part has begun (-) and when it has ended. Disks are
 * opened with O_DIRECT: the guest's cache is not what is measured. Linked statically. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 16
#define BLOCK (1 << 20)

static double seconds;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double begin(const char *name)
{
	printf("IOBENCH %s -\n", name);
	fflush(stdout);
	return now();
}

static void end(const char *name, double since, double count, const char *unit)
{
	printf("IOBENCH %s %.1f %s\n", name, count / (now() - since), unit);
	fflush(stdout);
}

/* --- disks --- */

struct part {
	const char *name;
	int write, random, sync;
	size_t len;
	unsigned threads;
};
static const struct part parts[] = {
	{ "seq-read-1M", 0, 0, 0, BLOCK, 1 },
	{ "seq-write-1M", 1, 0, 0, BLOCK, 1 },
	{ "seq-read-64k", 0, 0, 0, 65536, 1 },
	{ "rand-read-4k-qd1", 0, 1, 0, 4096, 1 },
	{ "rand-read-4k-qd8", 0, 1, 0, 4096, 8 },
	{ "rand-write-4k-qd1", 1, 1, 0, 4096, 1 },
	{ "rand-write-4k-qd8", 1, 1, 0, 4096, 8 },
	{ "write-fsync-4k", 1, 1, 1, 4096, 1 },
};

static const char *device;
static off_t size;
struct worker {
	pthread_t thread;
	const struct part *p;
	unsigned id;
	unsigned long n;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	const struct part *p = w->p;
	int fd = open(device, O_RDWR | O_DIRECT);
	unsigned long long seed = w->id * 7919ull + 1;
	double until = now() + seconds;
	off_t off = 0;
	void *buf;

	if (fd < 0 || posix_memalign(&buf, 4096, p->len))
		die(device);
	memset(buf, (int)w->id + 1, p->len);
	while (now() < until) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		if (p->random)
			off = (off_t)(seed % (unsigned long long)(size / (off_t)p->len)) * (off_t)p->len;
		if ((p->write ? pwrite(fd, buf, p->len, off) : pread(fd, buf, p->len, off)) != (ssize_t)p->len)
			die(p->name);
		if (p->sync && fdatasync(fd))
			die(p->name);
		w->n++;
		off += (off_t)p->len;
		if (off + (off_t)p->len > size)
			off = 0;
	}
	close(fd);
	free(buf);
	return NULL;
}

static void disk(const char *only)
{
	int fd = open(device, O_RDWR);

	size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	if (size < BLOCK)
		die(device);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		const struct part *p = &parts[i];
		struct worker w[THREADS_MAX] = { 0 };
		double start, n = 0;

		if (only && strcmp(only, p->name))
			continue;
		start = begin(p->name);
		for (unsigned t = 0; t < p->threads; t++) {
			w[t].p = p;
			w[t].id = t;
			if (pthread_create(&w[t].thread, NULL, work, &w[t]))
				die("thread");
		}
		for (unsigned t = 0; t < p->threads; t++) {
			pthread_join(w[t].thread, NULL);
			n += (double)w[t].n;
		}
		if (p->random)
			end(p->name, start, n, "IO/s");
		else
			end(p->name, start, n * (double)p->len / 1e6, "MB/s");
	}
	close(fd);
}

/* --- networks --- */

static int dial(const char *addr, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (inet_pton(AF_INET, addr, &to.sin_addr) != 1 || fd < 0 ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die(addr);
	return fd;
}

static void net(const char *addr, int port)
{
	static char buf[256 << 10];
	double start, n = 0;
	char one;
	int fd;

	fd = dial(addr, port);
	start = begin("net-download");
	while (now() < start + seconds) {
		ssize_t r = read(fd, buf, sizeof(buf));

		if (r <= 0)
			die("download");
		n += (double)r;
	}
	end("net-download", start, n * 8 / 1e6, "Mbit/s");
	close(fd);

	n = 0;
	fd = dial(addr, port + 1);
	start = begin("net-upload");
	while (now() < start + seconds) {
		ssize_t r = write(fd, buf, sizeof(buf));

		if (r <= 0)
			die("upload");
		n += (double)r;
	}
	shutdown(fd, SHUT_WR);		/* what is still on its way counts in the time, too */
	if (read(fd, &one, 1) < 0)
		die("upload");
	end("net-upload", start, n * 8 / 1e6, "Mbit/s");
	close(fd);

	n = 0;
	fd = dial(addr, port + 2);	/* an echo */
	start = begin("net-round-trips");
	while (now() < start + seconds) {
		if (write(fd, buf, 1) != 1 || read(fd, buf, 1) != 1)
			die("echo");
		n++;
	}
	end("net-round-trips", start, n, "/s");
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc >= 4 && !strcmp(argv[1], "disk")) {
		device = argv[2];
		seconds = atof(argv[3]);
		disk(argv[4]);
	} else if (argc == 5 && !strcmp(argv[1], "net")) {
		seconds = atof(argv[4]);
		net(argv[2], atoi(argv[3]));
	} else {
		fprintf(stderr, "usage: iobench disk DEVICE SECONDS [PART] | net ADDRESS PORT SECONDS\n");
		return 2;
	}
	return 0;
}
