/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disk.c - which file system of a disk has a kernel, and with which options it starts.
 *
 * Looked for, in this order: in the root partition by its GPT type, in the others, on the disk as a
 * whole. The kernel is /vmlinuz or /boot/vmlinuz, with /initrd.img beside it: Debian's links to the
 * newest. Its options are those of /etc/kernel/cmdline, behind root= of the file system found. */
#include "platform/boot/disk.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kernels[] = { "/vmlinuz", "/boot/vmlinuz" };
static const char *const initrds[] = { "/initrd.img", "/boot/initrd.img" };
#define OPTIONS_FILE "/etc/kernel/cmdline"
#define OPTIONS_DEFAULT "ro console=ttyS0"

void boot_files_free(struct boot_files *f)
{
	free((void *)f->kernel.data);
	free((void *)f->initrd.data);
	free(f->cmdline);
	*f = BOOT_FILES_NONE;
}

/* The kernel's options: one line of printable characters. The guest wrote the file, and root= that
 * stands in it wins, being later. */
static int make_cmdline(struct ext4 *fs, struct boot_files *f, struct err *e)
{
	char uuid[37], text[BOOT_OPTIONS_MAX + 1] = OPTIONS_DEFAULT;
	u8 *data = NULL;
	u64 len = 0;
	int r = ext4_read_file(fs, OPTIONS_FILE, BOOT_OPTIONS_MAX, &data, &len, e);

	if (r && r != -ENOENT)
		return r;
	if (!r) {
		while (len && (data[len - 1] == '\n' || data[len - 1] == ' '))
			len--;
		for (u64 i = 0; i < len; i++)
			text[i] = data[i] >= ' ' && data[i] < 0x7f ? (char)data[i] : ' ';
		text[len] = '\0';
		free(data);
	}
	ext4_uuid(fs, uuid);
	if (asprintf(&f->cmdline, "root=UUID=%s %s", uuid, text) < 0) {
		f->cmdline = NULL;
		return err_set(e, ENOMEM, "out of memory");
	}
	return 0;
}

static int take(struct ext4 *fs, const char *const *paths, size_t n, const char *disk,
		struct blob *b, char *name, size_t namelen, struct err *e)
{
	int r = -ENOENT;

	for (size_t i = 0; i < n && r == -ENOENT; i++) {
		u8 *data;
		u64 len;

		r = ext4_read_file(fs, paths[i], BOOT_FILE_MAX, &data, &len, e);
		if (r)
			continue;
		snprintf(name, namelen, "%.50s:%s", disk, paths[i]);
		*b = blob_of(data, len, name);
	}
	return r;
}

/* -ENOENT without an error: nothing to boot here. */
static int try_fs(const struct gpt_disk *d, u64 off, u64 len, const char *disk,
		  struct boot_files *f, struct err *e)
{
	struct ext4 *fs = NULL;
	int r = ext4_open(&fs, d, off, len, e);

	if (r == -ENOEXEC)
		return -ENOENT;
	if (!r)
		r = take(fs, kernels, ARRAY_SIZE(kernels), disk, &f->kernel, f->kernel_name,
			 sizeof(f->kernel_name), e);
	if (!r) {
		r = take(fs, initrds, ARRAY_SIZE(initrds), disk, &f->initrd, f->initrd_name,
			 sizeof(f->initrd_name), e);
		if (r == -ENOENT)
			r = 0;
	}
	if (!r)
		r = make_cmdline(fs, f, e);
	ext4_close(fs);
	if (r)
		boot_files_free(f);
	return r;
}

int boot_disk_find(const struct gpt_disk *d, const char *name, struct boot_files *out,
		   struct err *e)
{
	struct gpt_part *p = calloc(GPT_PARTS_MAX, sizeof(*p));
	int n, r = -ENOENT;

	*out = BOOT_FILES_NONE;
	if (!p)
		return err_set(e, ENOMEM, "out of memory");
	n = gpt_read(d, p, e);
	if (n < 0)
		r = n;
	/* The partition that says of itself that it is root; then any. */
	for (int pass = 0; pass < 2 && r == -ENOENT; pass++)
		for (int i = 0; i < n && r == -ENOENT; i++) {
			bool root = !memcmp(p[i].type, gpt_type_linux_root, 16);

			if (root != (pass == 0))
				continue;
			r = try_fs(d, p[i].first * GPT_SECTOR,
				   (p[i].last - p[i].first + 1) * GPT_SECTOR, name, out, e);
			snprintf(out->what, sizeof(out->what), "partition %u", p[i].number);
		}
	if (r == -ENOENT && n == 0) {
		r = try_fs(d, 0, d->size, name, out, e);
		snprintf(out->what, sizeof(out->what), "the whole disk");
	}
	free(p);
	if (r == -ENOENT)
		return err_set(e, ENOENT, "%s: nothing to boot: no ext4 file system on it has %s; give "
			       "--kernel FILE", name, kernels[0]);
	return r < 0 ? err_context(e, "%s", name) : 0;
}
