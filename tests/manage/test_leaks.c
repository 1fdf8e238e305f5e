/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Machines with all devices, made, started, stopped and freed in one process, CYCLES times (50; 1000 for
 * the long run): no descriptor, thread, mapping, or socket stays, and memory does not grow. */
#include "unit.h"
#include "base/trace.h"
#include "block/image.h"
#include "manage/machine/assemble.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/test_leaks-XXXXXX";

static unsigned entries(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* A thread that was joined is in /proc for another moment. */
static unsigned threads_in_the_end(unsigned want)
{
	unsigned n = entries("/proc/self/task");

	for (unsigned i = 0; n > want && i < 5000; i++) {
		usleep(1000);
		n = entries("/proc/self/task");
	}
	return n;
}

static unsigned mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned n = 0;
	int c;

	assert_non_null(f);
	while ((c = getc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

static unsigned rss_kib(void)
{
	unsigned long size, rss = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu %lu", &size, &rss), 2);
	fclose(f);
	return (unsigned)(rss * 4);
}

static void set(struct vm_config *c, const char *name, const char *fmt)
{
	const struct config_field *f = vm_config_find(name);
	struct err e = { 0 };
	char val[256];

	snprintf(val, sizeof(val), fmt, dir);
	if (!f || vm_config_set(c, f, val, name, &e))
		fail_msg("%s %s: %s", name, val, e.msg);
}

/* A file of @len bytes; they say "hlt" until, at the end, a jump begins to the loop before it. */
static void make_file(const char *name, size_t len)
{
	static const u8 end[16] = { 0xeb, 0xfe };
	char path[256];
	u8 *p = malloc(len);
	int fd;

	assert_non_null(p);
	memset(p, 0xf4, len);
	memcpy(p + len - sizeof(end), end, sizeof(end));
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, len), len);
	close(fd);
	free(p);
}

static void configure(struct vm_config *c)
{
	vm_config_init(c);
	set(c, "firmware", "%s/rom");
	set(c, "memory", "32M");
	set(c, "cpus", "2");
	set(c, "engine", "soft");
	set(c, "disk", "%s/raw.img,format=raw");
	set(c, "disk", "%s/q.qcow2,format=qcow2");
	set(c, "net", "user");
	set(c, "net", "switch=leaks");
	set(c, "pcap", "%s/pcap");
	set(c, "share", "%s/share");
	set(c, "vsock", "7");
	set(c, "balloon", "on");
	set(c, "serial", "unix:%s/com1");
	set(c, "console", "unix:%s/hvc0");
	set(c, "console", "file:%s/log,name=org.penta.test");
	set(c, "sandbox", "off");	/* it is for good: a process cannot leave it */
}

static void quit(void *m) { machine_quit(m); }

static void cycle(const struct vm_config *c)
{
	const struct vm_params p = { .cfg = c };
	struct err e = { 0 };
	struct vm *vm;

	if (vm_new(&vm, &p, &e))
		fail_msg("%s", e.msg);
	if (machine_start_paused(vm->m, &e))
		fail_msg("%s", e.msg);
	machine_resume(vm->m);
	loop_post(vm->m->loop, quit, vm->m);
	machine_run(vm->m);
	vm_free(vm);
}

static void cycles(void **st)
{
	const char *s = getenv("CYCLES");
	unsigned n = s ? (unsigned)atoi(s) : 50, warm = 10, fds, maps, rss;
	struct vm_config c;

	configure(&c);
	/* Libraries and malloc keep what they once had. */
	for (unsigned i = 0; i < warm; i++)
		cycle(&c);
	fds = entries("/proc/self/fd");
	assert_int_equal(threads_in_the_end(2 + 1), 2 + 1);
	maps = mappings();
	rss = rss_kib();
	for (unsigned i = 0; i < n; i++) {
		cycle(&c);
		assert_int_equal(entries("/proc/self/fd"), fds);
		assert_int_equal(threads_in_the_end(2 + 1), 2 + 1);	/* ".", "..", this one */
	}
	print_message("# %u machines: %u descriptors; mappings %u, then %u; %u KiB, then %u\n", n,
		      fds - 3, maps, mappings(), rss, rss_kib());
	/* 64 bytes a machine would be lost in noise; a forgotten ring, page or stack is not. */
	assert_in_range(mappings(), 0, maps + 8);
	assert_in_range(rss_kib(), 0, rss + 1024 + n * 2);
	vm_config_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(cycles) };
	struct err e = { 0 };
	char path[256];
	int r;

	log_set_level(LOG_ERROR);
	if (!mkdtemp(dir))
		return 1;
	setenv("XDG_RUNTIME_DIR", dir, 1);	/* for the switch's socket */
	setenv("PENTA_HOME", dir, 1);
	if (chdir(dir))
		return 1;
	make_file("rom", 65536);
	make_file("raw.img", MiB);
	snprintf(path, sizeof(path), "%s/share", dir);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/q.qcow2", dir);
	r = image_create(path, &(struct image_spec){ .format = "qcow2", .size = 4 * MiB }, &e);
	if (!r)
		r = cmocka_run_group_tests_name("leaks", tests, NULL, NULL);
	else
		fprintf(stderr, "%s\n", e.msg);
	snprintf(path, sizeof(path), "rm -rf %s", dir);
	return system(path) || r;
}
