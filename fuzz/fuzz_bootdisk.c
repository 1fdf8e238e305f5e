/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_bootdisk.c - disks that a guest may have written: partition tables, and ext4 with a journal to be
 * played back, with bits turned and fields set to nasty numbers where it hurts: superblock, group
 * descriptors, inodes, directories, extents, the journal. The kernel is found or the disk refused in
 * one line, in bounded time.
 * How long, and from which seed: fuzz.h. Needs mke2fs, debugfs. */
#include "fuzz.h"
#include "base/bytes.h"
#include "platform/boot/disk.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static u64 rng;
static u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	return rng ^= rng << 17;
}

#define CHECK(c) do { \
	if (!(c)) { \
		fprintf(stderr, "fuzz_bootdisk: %s failed\n", #c); \
		abort(); \
	} } while (0)

enum { NDISKS = 4, DISK_LEN = 6 * MiB, ROOT_LBA = 2048 };

static const char script[] =
	"set -e; PATH=$PATH:/usr/sbin:/sbin; cd \"$1\"; mkdir -p t/boot t/etc/kernel\n"
	"ln -s boot/vmlinuz-1 t/vmlinuz; ln -s /boot/initrd.img-1 t/initrd.img\n"
	"head -c 30000 /dev/zero | tr '\\0' k > t/boot/vmlinuz-1; seq 9999 > t/boot/initrd.img-1\n"
	"echo quiet > t/etc/kernel/cmdline; for i in $(seq 90); do : > t/boot/$i; done\n"
	"head -c 1024 /dev/zero | tr '\\0' n > new\n"
	"k=0; for o in '-t ext2' '-t ext3 -J size=1' '-t ext4 -J size=1 -O ^metadata_csum,inline_data' "
	"'-t ext4 -J size=1 -O metadata_csum,64bit'; do\n"
	"	mke2fs -q -F $o -b 1024 -d t d$k 5000k; case $o in *ext2*) ;; *)\n"
	"	b=$(debugfs -R 'blocks /boot/vmlinuz-1' d$k 2>/dev/null | cut -d' ' -f1)\n"
	"	printf 'jo\\njw -b %s new\\njw -r 4000\\njc\\n' $b > cmd; debugfs -w -f cmd d$k >/dev/null 2>&1 ;; esac\n"
	"	k=$((k + 1)); done\n";

static struct { u8 *b; size_t fs_off, fs_len; } good[NDISKS];

static void load(const char *dir, unsigned i)
{
	struct gpt_part p = { .number = 1, .first = ROOT_LBA, .last = ROOT_LBA + 9999 };
	const u8 uuid[16] = { 1 };
	char path[128], disk[128];
	int fd, out;

	memcpy(p.type, gpt_type_linux_root, 16);
	snprintf(path, sizeof(path), "%s/d%u", dir, i);
	snprintf(disk, sizeof(disk), "%s/disk", dir);
	good[i].b = calloc(1, DISK_LEN);
	good[i].fs_off = i ? ROOT_LBA * GPT_SECTOR : 0;
	good[i].fs_len = 5000 * KiB;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	out = open(disk, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(good[i].b && fd >= 0 && out >= 0 && ftruncate(out, DISK_LEN) == 0);
	if (i)
		CHECK(gpt_write(out, DISK_LEN / GPT_SECTOR, uuid, &p, 1, NULL) == 0);
	CHECK(pread(out, good[i].b, DISK_LEN, 0) == DISK_LEN);
	CHECK(read(fd, good[i].b + good[i].fs_off, good[i].fs_len) == (ssize_t)good[i].fs_len);
	close(fd);
	close(out);
}

static int read_mem(void *ctx, u64 off, void *buf, size_t len, struct err *e)
{
	CHECK(off <= DISK_LEN && len <= DISK_LEN - off);
	memcpy(buf, (u8 *)ctx + off, len);
	return 0;
}

/* Metadata are where something is and not all of one kind: pick such blocks more often. */
static size_t place(const u8 *b, unsigned i)
{
	size_t at = good[i].fs_off;

	switch (rnd() % 8) {
	case 0:
		return at + 1024 + rnd() % 264;			/* superblock */
	case 1:
		return at + 2048 + rnd() % 128;			/* group descriptors */
	case 2:
		return rnd() % (34 * GPT_SECTOR);		/* partition table */
	default:
		for (unsigned k = 0; k < 200; k++) {
			size_t blk = at + rnd() % (good[i].fs_len / 1024) * 1024;

			if (b[blk] && (get_be32(b + blk) == 0xc03b3998 || rnd() % 4 == 0))
				return blk + rnd() % (rnd() & 1 ? 64 : 1024);
		}
		return at + rnd() % good[i].fs_len;
	}
}

static void one(u8 *b, unsigned i)
{
	static const u64 nasty[] = { 0, 1, 2, 0x7f, 0xff, 0xffff, 0x8000, 0x7fffffff, 0x80000000,
				     0xffffffff, 0x100000000, INT64_MAX, UINT64_MAX, 0xf30a, 0xc03b3998 };
	struct { size_t at; u8 was[8]; } undo[8];
	struct gpt_disk d = { read_mem, b, DISK_LEN };
	struct boot_files f;
	struct err e = { 0 };
	unsigned n = (unsigned)(1 + rnd() % 8);
	int r;

	for (unsigned k = 0; k < n; k++) {
		size_t at = MIN(place(b, i), (size_t)DISK_LEN - 8);
		u64 v = nasty[rnd() % ARRAY_SIZE(nasty)];

		undo[k].at = at;
		memcpy(undo[k].was, b + at, 8);
		switch (rnd() % 3) {
		case 0:
			b[at] ^= (u8)(1u << rnd() % 8);
			break;
		case 1:
			memcpy(b + at, &v, (size_t)1 << rnd() % 4);
			break;
		default:
			b[at] = (u8)rnd();
		}
	}
	r = boot_disk_find(&d, "disk", &f, &e);
	if (r == 0) {
		CHECK(f.kernel.len && f.kernel.len <= BOOT_FILE_MAX && f.cmdline);
		boot_files_free(&f);
	} else {
		CHECK(r == -e.code && e.msg[0] && !strchr(e.msg, '\n'));
		CHECK(!blob_is(&f.kernel) && !blob_is(&f.initrd) && !f.cmdline);
	}
	while (n--)
		memcpy(b + undo[n].at, undo[n].was, 8);
}

int main(int argc, char **argv)
{
	char dir[] = "/tmp/fuzz_bootdisk-XXXXXX", cmd[4096];
	struct fuzz f;
	int r;

	CHECK(mkdtemp(dir));
	setenv("FUZZ_SCRIPT", script, 1);
	snprintf(cmd, sizeof(cmd), "sh -c \"$FUZZ_SCRIPT\" x %s", dir);
	r = system(cmd);
	for (unsigned i = 0; i < NDISKS && !r; i++)
		load(dir, i);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	if (system(cmd) || r) {
		fprintf(stderr, "fuzz_bootdisk: mke2fs or debugfs does not work\n");
		return 1;
	}
	f = fuzz_begin(argc, argv, "fuzz_bootdisk");
	while (fuzz_more(&f, f.rounds != 0)) {
		unsigned i;

		rng = f.seed * 0x9e3779b97f4a7c15ull | 1;
		i = (unsigned)(rnd() % NDISKS);
		one(good[i].b, i);
	}
	for (unsigned i = 0; i < NDISKS; i++)
		free(good[i].b);
	return fuzz_end(&f);
}
