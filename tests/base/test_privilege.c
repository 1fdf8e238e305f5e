/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Giving up rights, as root and as nobody; and the janitor, which cleans up after a killed process. */
#include "unit.h"
#include "base/janitor.h"
#include "base/privilege.h"
#include "base/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/capability.h>

/* In a child: drop, then look at what is left. Exit status: 0, or what was still there. */
enum left { LEFT_NOTHING, LEFT_FAILED, LEFT_UID, LEFT_CAPS, LEFT_CORE, LEFT_DUMP, LEFT_BACK, LEFT_NNP,
	    LEFT_GROUPS, LEFT_READ };

static int drop(uid_t as, const struct privileges *p, uid_t want, struct err *said)
{
	int status, out[2];
	pid_t pid;

	assert_int_equal(pipe(out), 0);
	pid = fork();
	if (!pid) {
		struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
		struct __user_cap_data_struct d[2] = { 0 };
		struct err e = { 0 };
		struct rlimit l;

		if (as && (setresgid(as, as, as) || setresuid(as, as, as)))
			_exit(LEFT_FAILED);
		if (privileges_drop(p, &e)) {
			if (write(out[1], &e, sizeof(e)) < 0)
				_exit(99);
			_exit(LEFT_FAILED);
		}
		if (want && getuid() != want && !(want == 1 && getuid() >= 65534))
			_exit(LEFT_UID);
		syscall(SYS_capget, &h, d);
		if (d[0].permitted | d[1].permitted | d[0].effective | d[1].effective |
		    d[0].inheritable | d[1].inheritable)
			_exit(LEFT_CAPS);
		if (getuid() && (setuid(0) == 0 || seteuid(0) == 0))
			_exit(LEFT_BACK);
		getrlimit(RLIMIT_CORE, &l);
		if (!p->debug && l.rlim_max)
			_exit(LEFT_CORE);
		if (!p->debug && prctl(PR_GET_DUMPABLE) == 1)
			_exit(LEFT_DUMP);
		if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
			_exit(LEFT_NNP);
		if (!as && getuid() && getgroups(0, NULL) != 0)
			_exit(LEFT_GROUPS);
		if (getuid() && open("/etc/shadow", O_RDONLY) >= 0)
			_exit(LEFT_READ);
		_exit(LEFT_NOTHING);
	}
	close(out[1]);
	*said = (struct err){ 0 };
	if (read(out[0], said, sizeof(*said)) < 0)
		said->code = 0;
	close(out[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_root(void **state)
{
	struct privileges p = { 0 };
	struct err e;

	if (geteuid()) {
		skip();
	}
	assert_int_equal(drop(0, &p, 1, &e), LEFT_NOTHING);	/* a uid of its own, or nobody */
	p.user = "nobody";
	assert_int_equal(drop(0, &p, 65534, &e), LEFT_NOTHING);
	p.user = "4242";
	assert_int_equal(drop(0, &p, 4242, &e), LEFT_NOTHING);
	p.user = "4242:4343";
	assert_int_equal(drop(0, &p, 4242, &e), LEFT_NOTHING);
	p.user = "root";
	assert_int_equal(drop(0, &p, 0, &e), LEFT_NOTHING);	/* root by uid, no capability */
	p.debug = true;
	p.user = NULL;
	assert_int_equal(drop(0, &p, 1, &e), LEFT_NOTHING);
}

static void test_refused(void **state)
{
	static const char *const bad[] = { "no such user", "-1", "4294967295", "12:", ":12", "12:x",
					   "12:4294967296", "" };
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct privileges p = { .user = bad[i] };

		assert_int_equal(drop(0, &p, 0, &e), LEFT_FAILED);
		assert_int_equal(e.code, EINVAL);
	}
	if (!geteuid()) {
		struct privileges p = { .user = "root" };

		assert_int_equal(drop(65534, &p, 0, &e), LEFT_FAILED);
		assert_int_equal(e.code, EPERM);
		assert_non_null(strstr(e.msg, "only root"));
	}
}

static void test_plain(void **state)
{
	struct privileges p = { 0 };
	uid_t me = geteuid() ? geteuid() : 65534;
	struct err e;

	assert_int_equal(drop(geteuid() ? 0 : 65534, &p, me, &e), LEFT_NOTHING);
	p.user = "nobody";
	if (!geteuid())
		assert_int_equal(drop(65534, &p, me, &e), LEFT_NOTHING);
}

/* --- the janitor --- */

static void make_socket(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(a.sun_path, path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)))
		_exit(97);
	close(fd);
}

/* A process that makes two sockets and ends by @how: 0 orderly, inside its sandbox; else by signal. */
static void a_life(const char *dir, int how)
{
	struct janitor *j;
	struct sandbox *s;
	struct err e = { 0 };
	char path[64];

	if (janitor_new(&j, &e) || sandbox_new(&s, 0, &e) || chdir(dir))
		_exit(98);
	make_socket("a");
	make_socket("b");
	snprintf(path, sizeof(path), "%s/b", dir);
	if (janitor_remove(j, "a", &e) || janitor_remove(j, path, &e) ||
	    !janitor_remove(j, "no-such", &e) || mkdir("f", 0700) || mkdir("g", 0700))
		_exit(98);
	make_socket("f/s");
	make_socket("g/s");	/* nobody speaks of it: it stays, and so does g */
	if (janitor_remove(j, "g", &e) || janitor_remove(j, "f/s", &e) || janitor_remove(j, "f", &e))
		_exit(98);
	unlink("b");
	usleep(20000);		/* the new one may have its number, and has another time */
	make_socket("b");	/* another's now: it stays */
	make_socket("c");
	janitor_seal(j);
	make_socket("d");
	janitor_remove(j, "d", &e);	/* too late: what a captured process would try */
	if (how)
		kill(getpid(), how);
	sandbox_enter(s, SANDBOX_IO);
	janitor_free(j);
	syscall(SYS_exit_group, 0);
}

static void test_janitor(void **state)
{
	static const int how[] = { 0, SIGKILL, SIGSEGV };

	for (size_t i = 0; i < ARRAY_SIZE(how); i++) {
		char dir[] = "/tmp/penta-janitor.XXXXXX", path[64];
		int status;
		pid_t pid;

		assert_non_null(mkdtemp(dir));
		pid = fork();
		if (!pid) {
			signal(SIGSEGV, SIG_DFL);
			a_life(dir, how[i]);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), how[i]);
		snprintf(path, sizeof(path), "%s/a", dir);
		for (int k = 0; how[i] && k < 500 && !access(path, F_OK); k++)
			usleep(10000);
		assert_int_equal(access(path, F_OK), -1);
		for (const char *c = "bcd"; *c; c++) {
			snprintf(path, sizeof(path), "%s/%c", dir, *c);
			assert_int_equal(access(path, F_OK), 0);
			unlink(path);
		}
		snprintf(path, sizeof(path), "%s/f", dir);
		for (int k = 0; how[i] && k < 500 && !access(path, F_OK); k++)
			usleep(10000);
		assert_int_equal(access(path, F_OK), -1);
		snprintf(path, sizeof(path), "%s/g/s", dir);
		assert_int_equal(unlink(path), 0);
		snprintf(path, sizeof(path), "%s/g", dir);
		assert_int_equal(rmdir(path), 0);
		assert_int_equal(rmdir(dir), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_root), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_plain), cmocka_unit_test(test_janitor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
