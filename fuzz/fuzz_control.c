// SPDX-License-Identifier: GPL-2.0-or-later
/* fuzz_control.c - hostile clients of the control socket: messages damaged, cut into odd pieces, with
 * arguments of every kind, descriptors along with them; several at once, some of which read nothing.
 * Whatever they do, another client is answered, and every answer is a JSON object in a line.
 * Runs FUZZ_SECONDS (default 10) from the seed in argv[1] (default: the time). */
#include "fuzz.h"
#include "base/cleanup.h"
#include "base/trace.h"
#include "manage/control/qmp.h"
#include "manage/machine/assemble.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

static u64 rng;
static u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	return rng ^= rng << 17;
}

static struct sockaddr_un addr = { .sun_family = AF_UNIX };

static void fail(const char *why, const char *text)
{
	fprintf(stderr, "%s: %.2000s\n", why, text);
	abort();
}

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		fail("connect", strerror(errno));
	return fd;
}

/* One line; false: the server has cut us off. */
static bool line(int fd, char *buf, size_t room)
{
	for (size_t n = 0; n < room - 1;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (poll(&p, 1, 20000) <= 0)
			fail("no answer", "");
		if (recv(fd, buf + n, 1, 0) != 1)
			return false;
		buf[n + 1] = '\0';
		if (buf[n++] == '\n')
			return true;
	}
	fail("a line without an end", buf);
	return false;
}

static void must_be_json(const char *text)
{
	json_t *j = json_loads(text, 0, NULL);

	if (!json_is_object(j))
		fail("no JSON object", text);
	json_decref(j);
}

/* False: all places were taken; the server has said so, or hung up before we spoke. */
static bool is_served(void)
{
	static const char hello[] = "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"query-status\","
				    "\"id\":\"alive\"}";
	static char buf[1 << 20];
	int fd = dial();
	bool served = false;

	if (send(fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL) > 0)
		while (!served && line(fd, buf, sizeof(buf))) {
			must_be_json(buf);
			served = strstr(buf, "\"alive\"");
		}
	close(fd);
	return served;
}

/* A client that behaves is served, as soon as those who hung up are gone. */
static void check_alive(void)
{
	const struct timespec moment = { .tv_nsec = 5000000 };

	for (unsigned i = 0; !is_served(); i++) {
		if (i == 2000)
			fail("nobody is served", "");
		nanosleep(&moment, NULL);
	}
}

static void value(FILE *f, unsigned depth)
{
	static const char *const v[] = { "1", "-1", "9223372036854775807", "1e400", "0.5", "true", "null",
		"\"\"", "\"pit\"", "\"cpu0\"", "\"cpus\"", "\"on-crash\"", "\"reset\"", "\"fd\"", "\"\\u0000\"",
		"\"\xff\"", "\"disk0\"", "\"../x\"", "536870912", "\"memory\"" };

	switch (depth ? rnd() % 8 : 9) {
	case 0:
		fputc('[', f);
		value(f, depth - 1);
		fputc(']', f);
		break;
	case 1:
		fputs("{\"a\":", f);
		value(f, depth - 1);
		fputc('}', f);
		break;
	default:
		fputs(v[rnd() % ARRAY_SIZE(v)], f);
	}
}

static void message(FILE *f)
{
	static const char *const args[] = { "fdname", "name", "value", "path", "enable", "columns", "rows",
		"device", "size", "file", "x" };
	const struct qmp_command *c = qmp_commands[0];
	unsigned ntables = 0, n = 0;

	while (qmp_commands[ntables])
		ntables++;
	c = qmp_commands[rnd() % ntables];
	while (c[n].name)
		n++;
	c += rnd() % n;
	fprintf(f, "{\"execute\":\"%s\"", rnd() % 20 ? c->name : "no-such");
	if (rnd() % 2 || c->args) {
		bool first = true;

		fputs(",\"arguments\":{", f);
		for (const struct qmp_arg *a = c->args; a && a->name; a++) {
			if (rnd() % 8 == 0)
				continue;
			fprintf(f, "%s\"%s\":", first ? "" : ",", a->name);
			value(f, 3);
			first = false;
		}
		if (rnd() % 4 == 0) {
			fprintf(f, "%s\"%s\":", first ? "" : ",", args[rnd() % ARRAY_SIZE(args)]);
			value(f, 2);
		}
		fputc('}', f);
	}
	if (rnd() % 2) {
		fputs(",\"id\":", f);
		value(f, 3);
	}
	fputs(rnd() % 3 ? "}\r\n" : "}", f);
}

static void send_fd(int sock, const char *p, size_t len)
{
	union { struct cmsghdr align; char buf[CMSG_SPACE(sizeof(int))]; } u = { .buf = { 0 } };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)p, .iov_len = len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf,
			    .msg_controllen = sizeof(u.buf) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	cleanup_close int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &fd, sizeof(fd));
	sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void one_client(void)
{
	int fd = dial();
	char *buf = NULL, drop[65536];
	size_t len = 0;
	FILE *f = open_memstream(&buf, &len);

	if (rnd() % 8)
		fputs("{\"execute\":\"qmp_capabilities\"}", f);
	for (unsigned n = (unsigned)(rnd() % 6); n; n--)
		message(f);
	fclose(f);
	for (unsigned n = rnd() % 3 ? 0 : (unsigned)(rnd() % 4); n && len; n--)
		buf[rnd() % len] ^= (char)(1u << rnd() % 8);
	for (size_t at = 0; at < len;) {
		size_t most = rnd() % 4 ? len : 1 + rnd() % 9, n = MIN(len - at, most);

		if (rnd() % 6 == 0)
			send_fd(fd, buf + at, n);
		else
			send(fd, buf + at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (rnd() % 4 == 0)
			recv(fd, drop, sizeof(drop), MSG_DONTWAIT);
		at += n;
	}
	if (rnd() % 2)
		shutdown(fd, SHUT_WR);
	close(fd);
	free(buf);
}

int main(int argc, char **argv)
{
	struct fuzz z = fuzz_begin(argc, argv, "fuzz_control");
	struct vm_config cfg;
	struct vm_params p = { .cfg = &cfg, .restore = true };
	struct err e = { 0 };
	struct qmp *q;
	struct vm *vm;
	int fd;

	rng = (z.seed + 1) * 2 + 1;
	signal(SIGPIPE, SIG_IGN);
	log_set_level(-1);
	vm_config_init(&cfg);
	cfg.sandbox = false;
	cfg.memory = 2 * MiB;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/fuzz_control.%d", (int)getpid());
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 64))
		fail("socket", strerror(errno));
	if (vm_new(&vm, &p, &e) || qmp_new(&q, vm, fd, &e) || qmp_start(q, &e))
		fail("machine", e.msg);
	for (u64 last = 0; fuzz_more(&z, last); last = 16) {
		for (unsigned i = 0; i < 16; i++)
			one_client();
		check_alive();
	}
	qmp_free(q);
	vm_free(vm);
	vm_config_free(&cfg);
	unlink(addr.sun_path);
	return fuzz_end(&z);
}
