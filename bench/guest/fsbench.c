// SPDX-License-Identifier: GPL-2.0-or-later
/* fsbench.c - how fast a file system is, from within a guest: sequential throughput through 1 MiB reads
 * and writes, and the rate of small operations. "fsbench DIR" prints lines "NAME VALUE UNIT". Times are
 * CLOCK_MONOTONIC's. Linked statically. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MB 64
#define FILES 500

static char buf[1 << 20];

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

static void drop(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	sync();
	if (fd < 0 || write(fd, "3\n", 2) != 2)
		die("drop_caches");
	close(fd);
}

static double start;
static void rate(const char *name, double count, const char *unit)
{
	printf("FSBENCH %-12s %9.1f %s\n", name, count / (now() - start), unit);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char name[32];
	struct stat st;
	int fd;

	if (argc < 2 || chdir(argv[1]))
		die("chdir");
	memset(buf, 'x', sizeof(buf));
	start = now();
	fd = open("big", O_CREAT | O_RDWR | O_TRUNC, 0600);
	for (int i = 0; i < MB; i++)
		if (write(fd, buf, sizeof(buf)) != sizeof(buf))
			die("write");
	fsync(fd);
	rate("write", MB, "MiB/s");
	close(fd);
	drop();
	start = now();
	fd = open("big", O_RDONLY);
	for (int i = 0; i < MB; i++)
		if (read(fd, buf, sizeof(buf)) != sizeof(buf))
			die("read");
	rate("read", MB, "MiB/s");
	close(fd);
	drop();
	fd = open("big", O_RDONLY);
	start = now();
	for (unsigned i = 0, r = 1; i < 500; i++, r = r * 1103515245 + 12345)
		if (pread(fd, buf, 4096, (off_t)((r >> 8) % (MB * 256)) * 4096) != 4096)
			die("pread");
	rate("read-4k", 500, "/s");
	close(fd);
	unlink("big");
	start = now();
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		fd = open(name, O_CREAT | O_WRONLY, 0600);
		if (fd < 0 || write(fd, buf, 100) != 100)
			die("create");
		close(fd);
	}
	rate("create", FILES, "/s");
	drop();
	start = now();
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		if (stat(name, &st))
			die("stat");
	}
	rate("stat", FILES, "/s");
	drop();
	start = now();
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		fd = open(name, O_RDONLY);
		if (read(fd, buf, 100) != 100)
			die("open");
		close(fd);
	}
	rate("open-read", FILES, "/s");
	start = now();
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		if (unlink(name))
			die("unlink");
	}
	rate("unlink", FILES, "/s");
	return 0;
}
