/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_agent.c - the guest's agent itself, on a unix socket of the host, and the host's side of it:
 * streams, flow control, terminal, signals, exit status, clock; and what a hostile guest would say. */
#include "base/bytes.h"
#include "manage/agent/exec.h"
#include "unit.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AGENT "build/gen/penta-agent"

static char dir[64], path[96];
static pid_t agent;

static int dial(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = -1;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	for (int i = 0; i < 200; i++) {
		struct timespec t = { .tv_nsec = 10000000 };

		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
			break;
		close(fd);
		fd = -1;
		nanosleep(&t, NULL);
	}
	assert_true(fd >= 0);
	return fd;
}

static int start_agent(void **state)
{
	strcpy(dir, "/tmp/penta-agent-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/sock", dir);
	agent = fork();
	if (agent == 0) {
		execl(AGENT, AGENT, "--unix", path, "--run", dir, (char *)NULL);
		_exit(127);
	}
	return agent < 0 ? -1 : 0;
}

static int stop_agent(void **state)
{
	char cmd[128];

	kill(agent, SIGTERM);
	waitpid(agent, NULL, 0);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd) ? -1 : 0;
}

/* Run @script by agent_run() in a child whose files are pipes. Returns its exit status. */
static int run(const char *script, const char *input, enum agent_tty tty, char *out, size_t outlen,
	       char *errs, size_t errlen)
{
	int in[2], o[2], e[2], status;
	size_t n = 0, m = 0;
	pid_t pid;

	assert_int_equal(pipe(in) | pipe(o) | pipe(e), 0);
	pid = fork();
	if (pid == 0) {
		char *argv[] = { "sh", "-c", (char *)script, NULL }, *env[] = { "PENTA_X=yes", NULL };
		struct agent_command c = { .argv = argv, .env = env };
		struct err er = { 0 };
		int r;

		dup2(in[0], 0);
		dup2(o[1], 1);
		dup2(e[1], 2);
		for (int i = 0; i < 2; i++) {
			close(in[i]);
			close(o[i]);
			close(e[i]);
		}
		r = agent_run(dial(), &c, tty, &er);
		_exit(r < 0 ? 250 : r);
	}
	close(in[0]);
	close(o[1]);
	close(e[1]);
	if (input && write(in[1], input, strlen(input)) < 0)
		fail();
	close(in[1]);
	for (;;) {
		ssize_t k = read(o[0], out + n, outlen - 1 - n);

		if (k <= 0)
			break;
		n += (size_t)k;
	}
	for (;;) {
		ssize_t k = read(e[0], errs + m, errlen - 1 - m);

		if (k <= 0)
			break;
		m += (size_t)k;
	}
	out[n] = errs[m] = '\0';
	close(o[0]);
	close(e[0]);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_commands(void **state)
{
	char out[4096], err[4096];

	assert_int_equal(run("echo $PENTA_X; echo two >&2; exit 7", NULL, AGENT_TTY_OFF, out,
			     sizeof(out), err, sizeof(err)), 7);
	assert_string_equal(out, "yes\n");
	assert_string_equal(err, "two\n");
	assert_int_equal(run("tr a-z A-Z", "some text", AGENT_TTY_OFF, out, sizeof(out), err,
			     sizeof(err)), 0);
	assert_string_equal(out, "SOME TEXT");
	assert_int_equal(run("kill -9 $$", NULL, AGENT_TTY_OFF, out, sizeof(out), err, sizeof(err)),
			 128 + 9);
	/* A command that leaves others behind has ended all the same. */
	assert_int_equal(run("sleep 30 & echo done", NULL, AGENT_TTY_OFF, out, sizeof(out), err,
			     sizeof(err)), 0);
	assert_string_equal(out, "done\n");
	/* A terminal: it has one, and end of input is what a person types. */
	assert_int_equal(run("test -t 0 && test -t 2 && cat", "line\n", AGENT_TTY_ON, out, sizeof(out),
			     err, sizeof(err)), 0);
	assert_non_null(strstr(out, "line\r\n"));
}

struct talk {
	struct agent_session *s;
	int fd, hello, status, error;
	size_t bytes[3];
	u64 token, clock;
	bool keep[3];			/* do not grant more of this stream */
	char why[128];			/* with @error */
};

static void on_hello(void *ctx) { ((struct talk *)ctx)->hello++; }
static void on_exited(void *ctx, u32 status, u32 sig) { ((struct talk *)ctx)->status = (int)status; }
static void on_failed(void *ctx, int error, const char *text)
{
	struct talk *t = ctx;

	t->error = error;
	snprintf(t->why, sizeof(t->why), "%s", text);
}
static void on_data(void *ctx, unsigned stream, const u8 *buf, size_t len)
{
	struct talk *t = ctx;

	t->bytes[stream] += len;
	if (!t->keep[stream])
		agent_consumed(t->s, stream, (u32)len);
}
static void on_clock(void *ctx, u64 token, u64 ns)
{
	struct talk *t = ctx;

	t->token = token;
	t->clock = ns;
}
static const struct agent_events events = {
	.hello = on_hello, .data = on_data, .exited = on_exited, .failed = on_failed,
	.clock = on_clock,
};

/* Talk until nothing comes for @ms. */
static int talk(struct talk *t, int ms, struct err *e)
{
	for (;;) {
		struct pollfd p = { .fd = t->fd, .events = POLLIN };
		u8 buf[65536];
		size_t len;
		const u8 *o = agent_output(t->s, &len);
		ssize_t n;

		if (len) {
			n = send(t->fd, o, len, MSG_NOSIGNAL);
			if (n <= 0)
				return -EPIPE;
			agent_sent(t->s, (size_t)n);
			continue;
		}
		if (poll(&p, 1, ms) <= 0)
			return 0;
		n = recv(t->fd, buf, sizeof(buf), 0);
		if (n <= 0)
			return -EPIPE;
		if (agent_recv(t->s, buf, (size_t)n, e))
			return -EPROTO;
	}
}

static void test_window_and_clock(void **state)
{
	char *argv[] = { "sh", "-c", "yes; true", NULL };
	struct agent_command c = { .argv = argv };
	struct talk t = { .fd = dial(), 
			  .keep = { false, true, true }, .status = -1 };
	struct timespec now;
	struct err e = { 0 };

	assert_int_equal(agent_session_new(&t.s, &events, &t, &e), 0);
	assert_int_equal(agent_clock(t.s, 42), 0);
	assert_int_equal(agent_size(t.s, 33, 101), 0);
	assert_int_equal(talk(&t, 200, &e), 0);
	assert_int_equal(t.hello, 1);
	assert_int_equal(t.token, 42);
	clock_gettime(CLOCK_REALTIME, &now);
	assert_true((u64)now.tv_sec - t.clock / 1000000000 <= 5);
	assert_int_equal(agent_exec(t.s, &c, &e), 0);
	assert_int_equal(talk(&t, 300, &e), 0);
	assert_int_equal(t.bytes[1], AGENT_WINDOW);	/* and not one more */
	assert_int_equal(t.status, -1);
	assert_int_equal(agent_signal(t.s, SIGTERM), 0);
	agent_consumed(t.s, 1, AGENT_WINDOW);
	t.keep[1] = false;
	talk(&t, 300, &e);
	assert_int_equal(t.status, 128 + SIGTERM);
	agent_session_free(t.s);
	close(t.fd);
}

/* What cannot be run: the answer names what is not there, be it the command, its user or its folder. */
static void test_refused(void **state)
{
	char *argv[] = { "true", NULL }, *nope[] = { "/nonesuch", NULL };
	const struct {
		struct agent_command c;
		const char *why;
	} cases[] = {
		{ { .argv = nope }, "/nonesuch: No such file" },
		{ { .argv = argv, .user = "nonesuch" }, "the guest's user nonesuch: No such" },
		{ { .argv = argv, .cwd = "/nonesuch" }, "the guest's folder /nonesuch: No such" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct talk t = { .fd = dial(), .status = -1 };
		struct err e = { 0 };

		assert_int_equal(agent_session_new(&t.s, &events, &t, &e), 0);
		assert_int_equal(agent_exec(t.s, &cases[i].c, &e), 0);
		talk(&t, 300, &e);
		assert_int_equal(t.error, ENOENT);
		assert_memory_equal(t.why, cases[i].why, strlen(cases[i].why));
		agent_session_free(t.s);
		close(t.fd);
	}
}

/* Nobody reads the errors, and they fill up: output still comes. And a command that has ended has, though
 * another that it left writes on for ever. */
static void test_flow(void **state)
{
	char *argv[] = { "sh", "-c", "yes >&2 & sleep .1; head -c 3000000 /dev/zero; exit 3", NULL };
	struct agent_command c = { .argv = argv };
	struct talk t = { .fd = dial(), .keep = { false, false, true }, .status = -1 };
	struct err e = { 0 };

	assert_int_equal(agent_session_new(&t.s, &events, &t, &e), 0);
	assert_int_equal(talk(&t, 200, &e), 0);
	assert_int_equal(agent_exec(t.s, &c, &e), 0);
	assert_int_equal(talk(&t, 500, &e), 0);
	assert_int_equal(t.bytes[1], 3000000);
	assert_int_equal(t.bytes[2], AGENT_WINDOW);
	assert_int_equal(t.status, -1);
	t.keep[2] = false;
	agent_consumed(t.s, 2, AGENT_WINDOW);
	talk(&t, 500, &e);
	assert_int_equal(t.status, 3);
	assert_true(t.bytes[2] <= 4 * AGENT_WINDOW);
	agent_session_free(t.s);
	close(t.fd);
}

/* A guest that lies. Each of these ends the session, in one line. */
static void test_lies(void **state)
{
#define F(type, stream, len, ...) { type, stream, 0, 0, (len) & 0xff, (len) >> 8 & 0xff, \
				    (len) >> 16 & 0xff, (len) >> 24 & 0xff, ##__VA_ARGS__ }
#define HELLO 1, 0, 0, 0, 12, 0, 0, 0, 'P', 'E', 'N', 'T', 'A', 'G', 'N', 'T', 1, 0, 0, 0
	static const struct { u8 b[64]; size_t len; } lies[] = {
		{ F(AGENT_DATA, 1, 0), 8 },				/* no greeting */
		{ F(AGENT_HELLO, 0, 4, 1, 2, 3, 4), 12 },
		{ { HELLO, 1, 0, 0, 0, 12, 0, 0, 0, 'P', 'E', 'N', 'T', 'A', 'G', 'N', 'T', 1 }, 40 },
		{ { HELLO, AGENT_DATA, 1, 0, 0, 1, 0, 0, 0, 'x' }, 29 },	/* not started */
		{ { HELLO, AGENT_DATA, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0 }, 29 },
		{ { HELLO, AGENT_CREDIT, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0 }, 32 },	/* over the window */
		{ { HELLO, AGENT_EXIT, 0, 0, 0, 8 }, 36 },
		{ { HELLO, AGENT_ERROR, 0, 0, 0, 4 }, 32 },
		{ { HELLO, AGENT_CLOCK, 0, 0, 0, 1, 0, 0, 0, 1 }, 29 },
		{ { HELLO, AGENT_STARTED, 0, 0, 0, 4 }, 32 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		struct talk t = { .fd = -1 };
		struct err e = { 0 };
		int r = 0;

		assert_int_equal(agent_session_new(&t.s, &events, &t, &e), 0);
		/* Byte by byte, as a slow guest would. */
		for (size_t k = 0; k < lies[i].len && !r; k++)
			r = agent_recv(t.s, lies[i].b + k, 1, &e);
		assert_int_equal(r, -EPROTO);
		assert_non_null(strstr(e.msg, "agent"));
		agent_session_free(t.s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_window_and_clock),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_flow),
		cmocka_unit_test(test_lies),
	};

	return cmocka_run_group_tests(tests, start_agent, stop_agent);
}
