/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blkbench.c - a disk's speed as a guest sees it: blkbench DEVICE SECONDS. Direct I/O by the kernel's
 * own asynchronous calls (io_submit(2)), so that a number of requests is in flight and no page cache
 * of the guest is between. What it reads and writes again and again is the whole device; it writes!
 * Prints "BLK name figure unit" a line. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH_MAX = 32 };

static const struct job {
	const char *name;
	uint32_t size, depth;
	int write, random;
} jobs[] = {
	{ "seqread", 256 << 10, 8, 0, 0 },
	{ "seqwrite", 256 << 10, 8, 1, 0 },
	{ "randread", 4096, 32, 0, 1 },
	{ "randwrite", 4096, 32, 1, 1 },
	{ "randread1", 4096, 1, 0, 1 },
};

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

static uint64_t state = 88172645463325252u;

static uint64_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t place(const struct job *j, uint64_t bytes, uint64_t *next)
{
	uint64_t n = bytes / j->size;
	return (j->random ? rnd() % n : (*next)++ % n) * j->size;
}

static void run(const struct job *j, int fd, uint64_t bytes, double seconds)
{
	static char *buf[DEPTH_MAX];
	struct iocb cb[DEPTH_MAX], *todo[DEPTH_MAX];
	struct io_event ev[DEPTH_MAX];
	aio_context_t ctx = 0;
	uint64_t next = 0, done = 0;
	uint32_t flying = 0, n = j->depth;
	double start, end;

	if (syscall(SYS_io_setup, j->depth, &ctx) < 0)
		die("io_setup");
	for (uint32_t i = 0; i < j->depth; i++) {
		if (!buf[i] && posix_memalign((void **)&buf[i], 4096, 256 << 10))
			die("memory");
		memset(buf[i], (int)i + 1, j->size);
		memset(&cb[i], 0, sizeof cb[i]);
		cb[i].aio_lio_opcode = j->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
		cb[i].aio_fildes = (uint32_t)fd;
		cb[i].aio_buf = (uintptr_t)buf[i];
		cb[i].aio_nbytes = j->size;
		todo[i] = &cb[i];
	}
	start = now();
	do {
		for (uint32_t i = 0; i < n; i++)
			todo[i]->aio_offset = (int64_t)place(j, bytes, &next);
		for (uint32_t i = 0; i < n;) {
			long k = syscall(SYS_io_submit, ctx, n - i, &todo[i]);
			if (k <= 0)
				die("io_submit");
			i += (uint32_t)k;
		}
		flying += n;
		long k = syscall(SYS_io_getevents, ctx, 1, j->depth, ev, NULL);
		if (k <= 0)
			die("io_getevents");
		n = (uint32_t)k;
		flying -= n;
		for (uint32_t i = 0; i < n; i++) {
			if (ev[i].res != j->size) {
				fprintf(stderr, "%s: %lld\n", j->name, (long long)ev[i].res);
				exit(1);
			}
			todo[i] = (struct iocb *)(uintptr_t)ev[i].obj;
		}
		done += n;
		end = now();
	} while (end - start < seconds);
	while (flying) {
		long k = syscall(SYS_io_getevents, ctx, 1, flying, ev, NULL);
		if (k <= 0)
			die("io_getevents");
		flying -= (uint32_t)k;
	}
	syscall(SYS_io_destroy, ctx);
	if (j->random)
		printf("BLK %s %.0f IOPS\n", j->name, (double)done / (end - start));
	else
		printf("BLK %s %.1f MiB/s\n", j->name,
		       (double)done * j->size / (end - start) / 1048576);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	uint64_t bytes = 0;

	if (argc != 3) {
		fprintf(stderr, "usage: blkbench DEVICE SECONDS\n");
		return 2;
	}
	int fd = open(argv[1], O_RDWR | O_DIRECT);
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes) < 0 || bytes < 1 << 20)
		die(argv[1]);
	for (unsigned i = 0; i < sizeof jobs / sizeof *jobs; i++)
		run(&jobs[i], fd, bytes, atof(argv[2]));
	return 0;
}
