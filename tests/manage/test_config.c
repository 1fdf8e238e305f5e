// SPDX-License-Identifier: GPL-2.0-or-later
/* A machine's configuration: options and config.json say the same; what is wrong is named. */
#include "unit.h"
#include "base/cleanup.h"
#include "manage/machine/config.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static int set(struct vm_config *c, const char *name, const char *val, struct err *e)
{
	char what[64];

	snprintf(what, sizeof(what), "--%s", name);
	return vm_config_set(c, vm_config_find(name), val, what, e);
}

static const char *const good[][2] = {
	{ "memory", "1G" }, { "cpus", "3" }, { "engine", "soft" }, { "cpu", "v2" },
	{ "kernel", "/boot/vmlinuz" }, { "append", "console=ttyS0 \"quoted\" \\ \xc3\xa4" },
	{ "disk", "a,,b.img,ro,serial=root-1,cache=none,queues=4,discard=off" },
	{ "disk", "plain.img" }, { "disk", "x.qcow2,format=qcow2,ro=off" },
	{ "net", "user,forward=2222:22,mac=52:54:00:12:34:56,forward=80:80" }, { "net", "none" },
	{ "pcap", "f,g.pcap" }, { "serial", "file:log,txt" }, { "serial", "console" },
	{ "console", "unix:/tmp/s" }, { "share", "/home/x,tag=home,ro" }, { "vsock", "auto" },
	{ "balloon", "off" }, { "sandbox", "off" }, { "autostart", "on" },
	{ "stop-timeout", "5" }, { "on-crash", "pause" },
};

static void fill(struct vm_config *c)
{
	struct err e = { 0 };

	vm_config_init(c);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		if (set(c, good[i][0], good[i][1], &e))
			fail_msg("%s %s: %s", good[i][0], good[i][1], e.msg);
	}
}

static void test_options(void **state)
{
	struct vm_config c;

	fill(&c);
	assert_int_equal(c.memory, GiB);
	assert_int_equal(c.ndisk, 3);
	assert_string_equal(c.disk[0].path, "a,b.img");
	assert_true(c.disk[0].ro && !c.disk[0].discard && c.disk[1].discard && !c.disk[2].ro);
	assert_int_equal(c.disk[0].queues, 4);
	assert_int_equal(c.disk[0].cache, 1);
	assert_string_equal(c.net[0].spec, "user,forward=2222:22,forward=80:80");
	assert_string_equal(c.net[0].mac, "52:54:00:12:34:56");
	assert_string_equal(c.serial[0].where, "file:log,txt");
	assert_string_equal(c.pcap[0].path, "f,g.pcap");
	assert_int_equal(c.vsock, VM_CID_AUTO);
	vm_config_free(&c);
}

static void test_round_trip(void **state)
{
	struct vm_config c, d, f;
	struct err e = { 0 };
	char *text, *again;

	fill(&c);
	text = vm_config_print(&c);
	assert_non_null(text);
	vm_config_init(&d);
	if (vm_config_parse(&d, text, strlen(text), "config.json", &e))
		fail_msg("%s\n%s", e.msg, text);
	assert_int_equal(vm_config_copy(&f, &d, &e), 0);
	for (const struct config_field *k = vm_config_fields; k->name; k++)
		assert_true(vm_config_same(&c, &d, k) && vm_config_same(&c, &f, k));
	again = vm_config_print(&f);
	assert_string_equal(text, again);
	free(text);
	free(again);
	vm_config_free(&c);
	vm_config_free(&d);
	vm_config_free(&f);
}

/* Every field's default survives being written and read. */
static void test_defaults(void **state)
{
	struct vm_config c, d;
	cleanup_free char *text = NULL;

	vm_config_init(&c);
	text = vm_config_print(&c);
	vm_config_init(&d);
	assert_int_equal(vm_config_parse(&d, text, strlen(text), "x", NULL), 0);
	for (const struct config_field *k = vm_config_fields; k->name; k++)
		assert_true(vm_config_same(&c, &d, k));
	vm_config_free(&c);
	vm_config_free(&d);
}

static void test_bad_options(void **state)
{
	static const char *const bad[][3] = {
		{ "disk", "", "empty" }, { "disk", ",ro", "empty" },
		{ "disk", "a,cache=sometimes", "writeback none" },
		{ "disk", "a,cach=none", "did you mean \"cache\"" },
		{ "disk", "a,queues", "needs a value" }, { "disk", "a,queues=65", "from 0 to 64" },
		{ "disk", "a,serial=123456789012345678901", "1 to 20" },
		{ "disk", "a,path=b", "unknown key" },
		{ "net", "user,mac=01:00:00:00:00:00", "52:54:00" }, { "net", "", "empty" },
		{ "share", "/x,tag=a/b", "a tag has" }, { "vsock", "2", "from 3" },
		{ "memory", "1M", "2M to 1T" }, { "memory", "", "a size is" },
		{ "balloon", "maybe", "off on" }, { "cpu", "z80", "base, v2" },
		{ "stop-timeout", "-1", "from 0" },
	};
	static char huge[VM_STRING_MAX + 1];
	struct vm_config c;
	struct err e;

	vm_config_init(&c);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(&e, 0, sizeof(e));
		assert_true(set(&c, bad[i][0], bad[i][1], &e) < 0);
		if (!strstr(e.msg, bad[i][2]) || !strstr(e.msg, bad[i][0]))
			fail_msg("%s \"%s\": %s", bad[i][0], bad[i][1], e.msg);
	}
	memset(huge, 'x', VM_STRING_MAX);
	assert_true(set(&c, "append", huge, &e) < 0);
	for (unsigned i = 0; i < VM_DISKS; i++)
		assert_int_equal(set(&c, "disk", "x", &e), 0);
	assert_int_equal(set(&c, "disk", "x", &e), -E2BIG);
	assert_int_equal(c.ndisk, VM_DISKS);
	vm_config_free(&c);
}

static void test_bad_json(void **state)
{
	static const char *const bad[][2] = {
		{ "", "c.json: line 1" }, { "[]", "an object" }, { "{\"version\":1", "line 1" },
		{ "{}", "no \"version\"" }, { "{\"version\":2}", "newer penta" },
		{ "{\"version\":1,\"memmory\":\"1G\"}", "\"memmory\"; did you mean \"memory\"" },
		{ "{\"version\":1,\"memory\":true}", "c.json: memory: a size" },
		{ "{\"version\":1,\"memory\":\"9P\"}", "c.json: memory 9P" },
		{ "{\"version\":1,\"cpus\":\"1\"}", "cpus: a number" },
		{ "{\"version\":1,\"cpus\":1.5}", "cpus: a number" },
		{ "{\"version\":1,\"cpus\":-1}", "from 1 to 64" },
		{ "{\"version\":1,\"cpus\":1,\"cpus\":2}", "duplicate" },
		{ "{\"version\":1,\"disk\":{}}", "disk: a list" },
		{ "{\"version\":1,\"disk\":[{}]}", "disk[0]: \"path\" is missing" },
		{ "{\"version\":1,\"disk\":[{\"path\":\"x\"},{\"path\":\"y\",\"cach\":1}]}",
		  "disk[1]: unknown key \"cach\"; did you mean \"cache\"" },
		{ "{\"version\":1,\"disk\":[3]}", "an object or a text" },
		{ "{\"version\":1,\"append\":\"a\\u0000b\"}", "\\u0000" },
		{ "{\"version\":1,\"balloon\":\"on\"}", "true or false" },
		{ "{\"version\":1,\"serial\":[\"none\",\"none\",\"none\"]}", "at most 2" },
		{ "{\"version\":1,\"uuid\":\"zz\"}", "UUID" },
	};
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vm_config c;

		memset(&e, 0, sizeof(e));
		vm_config_init(&c);
		assert_true(vm_config_parse(&c, bad[i][0], strlen(bad[i][0]), "c.json", &e) < 0);
		if (!strstr(e.msg, bad[i][1]) || strncmp(e.msg, "c.json", 6))
			fail_msg("%s: %s", bad[i][0], e.msg);
		vm_config_free(&c);
	}
}

/* Nesting beyond reason is refused by the parser, not by the stack. */
static void test_deep(void **state)
{
	size_t n = 500000;
	char *text = malloc(n + 1);
	struct vm_config c;
	struct err e = { 0 };

	memset(text, '[', n);
	text[n] = '\0';
	vm_config_init(&c);
	assert_true(vm_config_parse(&c, text, n, "deep", &e) < 0);
	vm_config_free(&c);
	free(text);
}

static void test_check(void **state)
{
	static const struct { const char *opt[6], *why; } bad[] = {
		{ { 0 }, "nothing to boot" },
		{ { "kernel", "k", "firmware", "f" }, "exclude each other" },
		{ { "firmware", "f", "append", "x" }, "go with --kernel" },
		{ { "kernel", "k", "serial", "terminal", "console", "terminal" }, "only one port" },
		{ { "kernel", "k", "serial", "console", "console", "console" }, "once" },
		{ { "kernel", "k", "pcap", "f" }, "--pcap" },
		{ { "kernel", "k", "share", "a,tag=t", "share", "b,tag=t" }, "tag t" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vm_config c;
		struct err e = { 0 };

		vm_config_init(&c);
		for (unsigned k = 0; k < 6 && bad[i].opt[k]; k += 2)
			assert_int_equal(set(&c, bad[i].opt[k], bad[i].opt[k + 1], &e), 0);
		assert_true(vm_config_check(&c, &e) < 0);
		if (!strstr(e.msg, bad[i].why))
			fail_msg("%s: %s", bad[i].why, e.msg);
		vm_config_free(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_bad_json),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
