// SPDX-License-Identifier: GPL-2.0-or-later
/* vsockcheck.c - the guest's end of tests/e2e/test_vsock.sh. "vsockcheck call PORT" connects to the
 * host, sends 4 MiB of a known pattern, half-closes, and checks that as much of another comes back;
 * "vsockcheck echo PORT COUNT" serves so many connections, each in a process of its own, by echoing;
 * "vsockcheck refused PORT" expects that nobody is there; "vsockcheck cid" prints our address. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOTAL (4u << 20)

static unsigned char pattern(size_t i, unsigned salt)
{
	return (unsigned char)((i * 2654435761u >> 13) + salt);
}

static int dial(unsigned port)
{
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -1;
	return fd;
}

static int call(unsigned port)
{
	static unsigned char out[TOTAL], in[65536];
	size_t got = 0, bad = 0;
	int fd = dial(port);
	ssize_t n;

	if (fd < 0)
		return perror("connect"), 1;
	for (size_t i = 0; i < TOTAL; i++)
		out[i] = pattern(i, 1);
	for (size_t at = 0; at < TOTAL; at += (size_t)n)
		if ((n = write(fd, out + at, TOTAL - at)) <= 0)
			return perror("write"), 1;
	shutdown(fd, SHUT_WR);
	while ((n = read(fd, in, sizeof(in))) > 0)
		for (ssize_t i = 0; i < n; i++)
			bad += in[i] != pattern(got++, 2);
	printf("PENTA-CALL got=%zu bad=%zu end=%zd\n", got, bad, n);
	return got != TOTAL || bad || n;
}

static int echo(unsigned port, int count)
{
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port };
	static char b[65536];
	int lfd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (bind(lfd, (struct sockaddr *)&a, sizeof(a)) || listen(lfd, 64))
		return perror("listen"), 1;
	puts("PENTA-LISTENING");
	fflush(stdout);
	for (int i = 0; i < count; i++) {
		int fd = accept(lfd, NULL, NULL);
		ssize_t n, k;

		if (fork()) {
			close(fd);
			continue;
		}
		while ((n = read(fd, b, sizeof(b))) > 0)
			for (ssize_t at = 0; at < n; at += k)
				if ((k = write(fd, b + at, (size_t)(n - at))) <= 0)
					_exit(1);
		_exit(0);
	}
	for (int status, bad = 0;;)
		if (wait(&status) < 0) {
			printf("PENTA-ECHO bad=%d\n", bad);
			return bad;
		} else {
			bad += status != 0;
		}
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "call"))
		return call((unsigned)atoi(argv[2]));
	if (argc > 3 && !strcmp(argv[1], "echo"))
		return echo((unsigned)atoi(argv[2]), atoi(argv[3]));
	if (argc > 2 && !strcmp(argv[1], "refused")) {
		int fd = dial((unsigned)atoi(argv[2]));

		printf("PENTA-REFUSED %s\n", fd < 0 ? strerror(errno) : "no");
		return fd >= 0 || errno != ECONNRESET;
	}
	if (argc > 1 && !strcmp(argv[1], "cid")) {
		unsigned cid = 0;
		int fd = open("/dev/vsock", O_RDONLY);

		if (fd < 0 || ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid))
			return perror("/dev/vsock"), 1;
		printf("PENTA-CID %u\n", cid);
		return 0;
	}
	return 2;
}
