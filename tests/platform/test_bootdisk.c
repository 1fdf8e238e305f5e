/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_bootdisk.c - partition tables, and kernels out of file systems that mke2fs makes, debugfs
 * journals into, and e2fsck plays back. */
#include "platform/boot/disk.h"
#include "unit.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISK_SIZE (24 * MiB)
#define ROOT_OFF (2 * MiB)
#define ROOT_LEN (20 * MiB)

static char dir[64];

static bool sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static bool sh(const char *fmt, ...)
{
	char cmd[4096] = "PATH=$PATH:/usr/sbin:/sbin; exec >>log 2>&1; ";
	size_t n = strlen(cmd);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd + n, sizeof(cmd) - n, fmt, ap);
	va_end(ap);
	return system(cmd) == 0;
}

static int read_fd(void *ctx, u64 off, void *buf, size_t len, struct err *e)
{
	ssize_t n = pread(*(int *)ctx, buf, len, (off_t)off);

	return n == (ssize_t)len ? 0 : err_set(e, EIO, "short read");
}

static int fd_of(const char *name)
{
	int fd = open(name, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int find(const char *disk, struct boot_files *f, struct err *e)
{
	int fd = fd_of(disk);
	struct stat st;
	struct gpt_disk d = { read_fd, &fd, 0 };
	int r;

	fstat(fd, &st);
	d.size = (u64)st.st_size;
	*e = (struct err){ 0 };
	r = boot_disk_find(&d, disk, f, e);
	close(fd);
	return r;
}

/* A tree whose kernel says @text, as Debian has it: a link in /. */
static void make_fs(const char *img, u64 off, u64 len, const char *text, const char *more)
{
	assert_true(sh("rm -rf t; mkdir -p t/boot t/etc/kernel; ln -s boot/vmlinuz-1 t/vmlinuz; "
		       "ln -s boot/initrd.img-1 t/initrd.img; "
		       "printf '%%s' '%s' > t/boot/vmlinuz-1; seq 100000 > t/boot/initrd.img-1", text));
	assert_true(sh("mke2fs -q -F -t ext4 -b 1024 -U 01234567-89ab-cdef-0123-456789abcdef "
		       "%s -E offset=%llu -d t %s %lluk", more, (unsigned long long)off, img,
		       (unsigned long long)len / 1024));
}

static int need_tools(void **state)
{
	strcpy(dir, "/tmp/penta-bootdisk-XXXXXX");
	if (!mkdtemp(dir) || chdir(dir))
		return -1;
	return 0;
}

static int remove_dir(void **state)
{
	return chdir("/") || system("rm -rf /tmp/penta-bootdisk-??????") < 0 ? -1 : 0;
}

#define REQUIRE_TOOLS() do { \
	if (!sh("command -v mke2fs && command -v debugfs && command -v e2fsck")) { \
		skip(); \
		return; \
	} } while (0)

static void test_gpt(void **state)
{
	struct gpt_part p[GPT_PARTS_MAX], w[2] = {
		{ .number = 14, .first = 2048, .last = 4095, .name = "BIOS boot" },
		{ .number = 1, .first = 4096, .last = 40959, .name = "root" } };
	u8 uuid[16] = { 1, 2, 3 }, junk[512];
	struct gpt_disk d;
	int fd;

	assert_true(sh("rm -f g; truncate -s 24M g"));
	fd = fd_of("g");
	d = (struct gpt_disk){ read_fd, &fd, DISK_SIZE };
	assert_int_equal(gpt_read(&d, p, NULL), 0);
	memcpy(w[0].type, gpt_type_bios, 16);
	memcpy(w[1].type, gpt_type_linux_root, 16);
	assert_int_equal(gpt_write(fd, DISK_SIZE / 512, uuid, w, 2, NULL), 0);
	assert_int_equal(gpt_read(&d, p, NULL), 2);
	assert_int_equal(p[0].number, 1);
	assert_int_equal(p[0].first, 4096);
	assert_int_equal(p[0].last, 40959);
	assert_memory_equal(p[0].type, gpt_type_linux_root, 16);
	assert_int_equal(p[1].number, 14);
	/* The first header is gone: the backup serves. */
	memset(junk, 0xa5, sizeof(junk));
	assert_int_equal(pwrite(fd, junk, 512, 512), 512);
	assert_int_equal(gpt_read(&d, p, NULL), 2);
	/* Both: the protective MBR alone is no partition. */
	assert_int_equal(pwrite(fd, junk, 512, DISK_SIZE - 512), 512);
	assert_int_equal(gpt_read(&d, p, NULL), 0);
	/* Partitions that do not fit are not written. */
	w[1].last = DISK_SIZE / 512;
	assert_int_equal(gpt_write(fd, DISK_SIZE / 512, uuid, w, 2, NULL), -EINVAL);
	close(fd);
}

static void test_find(void **state)
{
	struct gpt_part root = { .number = 1, .first = ROOT_OFF / 512,
				 .last = (ROOT_OFF + ROOT_LEN) / 512 - 1 };
	struct boot_files f;
	struct err e;
	u8 uuid[16] = { 9 };
	int fd;

	REQUIRE_TOOLS();
	memcpy(root.type, gpt_type_linux_root, 16);
	assert_true(sh("rm -f d; truncate -s 24M d"));
	fd = fd_of("d");
	assert_int_equal(gpt_write(fd, DISK_SIZE / 512, uuid, &root, 1, NULL), 0);
	close(fd);
	assert_int_equal(find("d", &f, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/vmlinuz"));
	make_fs("d", ROOT_OFF, ROOT_LEN, "the kernel", "");
	assert_int_equal(find("d", &f, &e), 0);
	assert_int_equal(f.kernel.len, 10);
	assert_memory_equal(f.kernel.data, "the kernel", 10);
	assert_int_equal(f.initrd.len, 588895);
	assert_string_equal(f.what, "partition 1");
	assert_string_equal(f.cmdline, "root=UUID=01234567-89ab-cdef-0123-456789abcdef ro "
			    "console=ttyS0");
	boot_files_free(&f);
	/* The guest's own options; a kernel and no initrd; the whole disk. */
	assert_true(sh("rm -f w; truncate -s 20M w"));
	make_fs("w", 0, ROOT_LEN, "k", "");
	assert_true(sh("printf 'quiet\\tx=1\\n\\n' > c; debugfs -w -R 'rm /initrd.img' w; "
		       "debugfs -w -R 'write c etc/kernel/cmdline' w"));
	assert_int_equal(find("w", &f, &e), 0);
	assert_false(blob_is(&f.initrd));
	assert_string_equal(f.what, "the whole disk");
	assert_string_equal(f.cmdline, "root=UUID=01234567-89ab-cdef-0123-456789abcdef quiet x=1");
	boot_files_free(&f);
	/* Links that lead to themselves, and kernels that are none. */
	assert_true(sh("debugfs -w -R 'rm /vmlinuz' w; debugfs -w -R 'symlink /vmlinuz vmlinuz' w"));
	assert_true(find("w", &f, &e) < 0);
	assert_true(sh("debugfs -w -R 'rm /vmlinuz' w; debugfs -w -R 'mkdir /vmlinuz' w"));
	assert_int_equal(find("w", &f, &e), -EINVAL);
}

/* A guest that was killed: what the journal has, and the file system not yet, counts. e2fsck is the
 * judge. */
static void test_journal(void **state)
{
	static const char *const features[] = {
		"-O ^64bit,^metadata_csum", "-O 64bit,metadata_csum", "-O ^64bit,metadata_csum",
	};
	struct boot_files f;
	struct err e;

	REQUIRE_TOOLS();
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		assert_true(sh("rm -f j; truncate -s 20M j"));
		make_fs("j", 0, ROOT_LEN, "old kernel", features[i]);
		assert_true(sh("{ printf 'new kernel'; head -c 1014 /dev/zero; } > new; "
			       "{ printf 'bad kernel'; head -c 1014 /dev/zero; } > bad; "
			       "b=$(debugfs -R 'blocks /boot/vmlinuz-1' j 2>/dev/null | tr -d ' \\n'); "
			       "printf 'jo\\njw -b %%s bad\\njw -b %%s new\\njc\\n' $b $b > cmd; "
			       "debugfs -w -f cmd j; dumpe2fs -h j | grep -q needs_recovery"));
		assert_int_equal(find("j", &f, &e), 0);
		assert_memory_equal(f.kernel.data, "new kernel", 10);
		boot_files_free(&f);
		/* A block that was revoked afterwards keeps what it has. */
		assert_true(sh("cp j r; b=$(debugfs -R 'blocks /boot/vmlinuz-1' r 2>/dev/null | "
			       "tr -d ' \\n'); printf 'jo\\njw -r %%s\\njc\\n' $b > cmd; "
			       "debugfs -w -f cmd r"));
		assert_int_equal(find("r", &f, &e), 0);
		assert_memory_equal(f.kernel.data, "old kernel", 10);
		boot_files_free(&f);
		assert_true(sh("e2fsck -fy r; [ $? -le 1 ]"));
		assert_int_equal(find("r", &f, &e), 0);
		assert_memory_equal(f.kernel.data, "old kernel", 10);
		boot_files_free(&f);
		assert_true(sh("e2fsck -fy j; [ $? -le 1 ]"));
		assert_int_equal(find("j", &f, &e), 0);
		assert_memory_equal(f.kernel.data, "new kernel", 10);
		boot_files_free(&f);
	}
}

/* Superblocks that would make tables of gigabytes. */
static void test_hostile(void **state)
{
	static const struct { unsigned off, len; u64 val; } bad[] = {
		{ 0x04, 4, 0xffffffff }, { 0x18, 4, 40 }, { 0x20, 4, 0 }, { 0x20, 4, 8 },
		{ 0x28, 4, 0 }, { 0xfe, 2, 0xffff }, { 0x150, 4, 0xffff }, { 0x04, 4, 0 },
	};
	struct boot_files f;
	struct err e;

	REQUIRE_TOOLS();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int fd;

		assert_true(sh("rm -f h; truncate -s 20M h"));
		make_fs("h", 0, ROOT_LEN, "k", "-O 64bit,^metadata_csum");
		fd = fd_of("h");
		assert_int_equal(pwrite(fd, &bad[i].val, bad[i].len, 1024 + bad[i].off),
				 bad[i].len);
		close(fd);
		assert_true(find("h", &f, &e) < 0);
		assert_true(e.msg[0] && !strchr(e.msg, '\n'));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gpt),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_journal),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, need_tools, remove_dir);
}
