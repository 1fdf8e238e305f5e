/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blocktest.h - what the tests of block/ share: files in a temporary folder, random numbers. */
#ifndef PENTA_TESTS_BLOCKTEST_H
#define PENTA_TESTS_BLOCKTEST_H

#include "unit.h"
#include "block/block.h"
#include "block/image.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static inline u64 rnd(u64 *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s * 0x2545f4914f6cdd1dull;
}

/* A name in a folder of this process's own, which test_folder_gone() removes. */
static inline const char *test_path(const char *name)
{
	static char path[8][128];
	static unsigned n;
	char *p = path[n++ % 8];

	snprintf(p, 128, "/tmp/penta-block.%d", (int)getpid());
	mkdir(p, 0700);
	snprintf(p, 128, "/tmp/penta-block.%d/%s", (int)getpid(), name);
	return p;
}

static inline int test_folder_gone(void **st)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf /tmp/penta-block.%d", (int)getpid());
	return system(cmd);
}

/* A file of @len bytes. */
static inline const char *test_file(const char *name, const void *data, size_t len)
{
	const char *p = test_path(name);
	int fd = open(p, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	if (data)
		assert_int_equal(pwrite(fd, data, len, 0), len);
	else
		assert_int_equal(ftruncate(fd, (off_t)len), 0);
	close(fd);
	return p;
}

/* @call names its error object "E". */
#define OK(call) do { struct err e_ = { 0 }; int r_ = (call); \
	if (r_) fail_msg("%s: %s", #call, e_.msg); } while (0)
#define FAILS(code_, text, call) do { struct err e_ = { 0 }; int r_ = (call); \
	if (r_ != -(code_) || !strstr(e_.msg, text)) \
		fail_msg("%s: %d \"%s\"", #call, r_, e_.msg); } while (0)
#define E (&e_)

#endif
