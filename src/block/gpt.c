/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gpt.c - GUID partition tables, and the four entries of an MBR.
 * After: UEFI 2.10, 5.2.3 (protective MBR), 5.3.2 (header), 5.3.3 (entries).
 *
 *	LBA 0		protective MBR
 *	1		header				n-1	backup header
 *	2 .. 33		128 entries of 128 bytes	n-33 .. n-2	backup entries
 *	34 .. n-34	partitions */
#include "block/gpt.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include <errno.h>
#include <zlib.h>

#define GPT_SIG 0x5452415020494645ull	/* "EFI PART" */
#define GPT_REVISION 0x00010000u
#define GPT_ENTRY_LEN 128u
#define GPT_TABLE_LEN (GPT_PARTS_MAX * GPT_ENTRY_LEN)
#define GPT_TABLE_LEN_MAX (1024u * 1024)	/* of a foreign disk: more is no table */

enum gpt_header {	/* 5.3.2, table 5.5: offsets */
	H_SIG = 0, H_REVISION = 8, H_LEN = 12, H_CRC = 16, H_THIS = 24, H_OTHER = 32,
	H_FIRST = 40, H_LAST = 48, H_UUID = 56, H_TABLE = 72, H_COUNT = 80, H_ENTRY_LEN = 84,
	H_TABLE_CRC = 88, H_END = 92,
};
enum gpt_entry {	/* 5.3.3, table 5.6 */
	E_TYPE = 0, E_UUID = 16, E_FIRST = 32, E_LAST = 40, E_ATTRIBUTES = 48, E_NAME = 56, E_NAME_CHARS = 36,
};
enum mbr {		/* 5.2.1, tables 5.1 and 5.2 */
	MBR_PARTS = 446, MBR_PART_LEN = 16, MBR_NPARTS = 4, MBR_SIG = 510, MBR_SIGNATURE = 0xaa55,
	P_TYPE = 4, P_FIRST = 8, P_COUNT = 12,
	TYPE_GPT = 0xee, TYPE_EXT = 0x05, TYPE_EXT_LBA = 0x0f, TYPE_EXT_LINUX = 0x85,
};

const u8 gpt_type_bios[16] = { 0x48, 0x61, 0x68, 0x21, 0x49, 0x64, 0x6f, 0x6e,
			       0x74, 0x4e, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49 };
const u8 gpt_type_esp[16] = { 0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
			      0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b };
const u8 gpt_type_linux_root[16] = { 0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d,
				     0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09 };

static int put(int fd, u64 lba, const void *buf, size_t len, struct err *e)
{
	ssize_t n = pwrite(fd, buf, len, (off_t)(lba * GPT_SECTOR));

	if (n < 0)
		return err_errno(e, "write the partition table");
	return n == (ssize_t)len ? 0 : err_set(e, EIO, "write the partition table: cut short");
}

int gpt_write(int fd, u64 nsect, const u8 disk_uuid[16], const struct gpt_part *p, unsigned n,
	      struct err *e)
{
	const u64 last = nsect - 1, last_usable = nsect - GPT_FIRST_LBA;
	cleanup_free u8 *table = calloc(1, GPT_TABLE_LEN);
	u8 sector[GPT_SECTOR] = { 0 }, *h = sector;
	int r;

	if (!table)
		return err_set(e, ENOMEM, "out of memory");
	if (n > GPT_PARTS_MAX || nsect < 3 * GPT_FIRST_LBA)
		return err_set(e, EINVAL, "no room for a partition table");
	for (unsigned i = 0; i < n; i++) {
		u8 *t;

		if (!p[i].number || p[i].number > GPT_PARTS_MAX || p[i].first < GPT_FIRST_LBA ||
		    p[i].last < p[i].first || p[i].last > last_usable)
			return err_set(e, EINVAL, "partition %u does not fit on the disk",
				       p[i].number);
		t = table + (p[i].number - 1) * GPT_ENTRY_LEN;
		memcpy(t + E_TYPE, p[i].type, 16);
		memcpy(t + E_UUID, p[i].uuid, 16);
		put_le64(t + E_FIRST, p[i].first);
		put_le64(t + E_LAST, p[i].last);
		put_le64(t + E_ATTRIBUTES, p[i].attributes);
		for (unsigned k = 0; p[i].name && k < E_NAME_CHARS && p[i].name[k]; k++)
			put_le16(t + E_NAME + 2 * k, (u8)p[i].name[k]);
	}
	/* The protective MBR: one partition over all of it, for programs that know no GPT. */
	h[MBR_PARTS + 2] = 2;
	h[MBR_PARTS + P_TYPE] = TYPE_GPT;
	memset(h + MBR_PARTS + 5, 0xff, 3);
	put_le32(h + MBR_PARTS + P_FIRST, 1);
	put_le32(h + MBR_PARTS + P_COUNT, (u32)MIN(last, (u64)UINT32_MAX));
	put_le16(h + MBR_SIG, MBR_SIGNATURE);
	r = put(fd, 0, h, GPT_SECTOR, e);
	for (int backup = 0; backup < 2 && !r; backup++) {
		u64 where = backup ? last_usable + 1 : 2;

		memset(h, 0, GPT_SECTOR);
		put_le64(h + H_SIG, GPT_SIG);
		put_le32(h + H_REVISION, GPT_REVISION);
		put_le32(h + H_LEN, H_END);
		put_le64(h + H_THIS, backup ? last : 1);
		put_le64(h + H_OTHER, backup ? 1 : last);
		put_le64(h + H_FIRST, GPT_FIRST_LBA);
		put_le64(h + H_LAST, last_usable);
		memcpy(h + H_UUID, disk_uuid, 16);
		put_le64(h + H_TABLE, where);
		put_le32(h + H_COUNT, GPT_PARTS_MAX);
		put_le32(h + H_ENTRY_LEN, GPT_ENTRY_LEN);
		put_le32(h + H_TABLE_CRC, (u32)crc32(0, table, GPT_TABLE_LEN));
		put_le32(h + H_CRC, (u32)crc32(0, h, H_END));
		r = put(fd, where, table, GPT_TABLE_LEN, e);
		if (!r)
			r = put(fd, backup ? last : 1, h, GPT_SECTOR, e);
	}
	return r;
}

static bool is_zero(const u8 *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* The table whose header stands at @lba. 0: none there, or damaged. */
static int read_gpt(const struct gpt_disk *d, u64 lba, struct gpt_part *p, struct err *e)
{
	u64 nsect = d->size / GPT_SECTOR, where, bytes;
	cleanup_free u8 *table = NULL;
	u8 h[GPT_SECTOR];
	u32 crc, len, count, entry;
	unsigned n = 0;
	int r;

	if (lba >= nsect)
		return 0;
	r = d->read(d->ctx, lba * GPT_SECTOR, h, sizeof(h), e);
	if (r)
		return r;
	len = get_le32(h + H_LEN);
	crc = get_le32(h + H_CRC);
	put_le32(h + H_CRC, 0);
	if (get_le64(h + H_SIG) != GPT_SIG || len < H_END || len > GPT_SECTOR ||
	    crc32(0, h, len) != crc || get_le64(h + H_THIS) != lba)
		return 0;
	where = get_le64(h + H_TABLE);
	count = get_le32(h + H_COUNT);
	entry = get_le32(h + H_ENTRY_LEN);
	if (entry < GPT_ENTRY_LEN || entry > 4096 || !mul_ok((u64)count, (u64)entry, &bytes) ||
	    !bytes || bytes > GPT_TABLE_LEN_MAX || where >= nsect ||
	    bytes > d->size - where * GPT_SECTOR)
		return 0;
	table = malloc(bytes);
	if (!table)
		return err_set(e, ENOMEM, "out of memory");
	r = d->read(d->ctx, where * GPT_SECTOR, table, bytes, e);
	if (r)
		return r;
	if (crc32(0, table, (uInt)bytes) != get_le32(h + H_TABLE_CRC))
		return 0;
	for (u32 i = 0; i < count && n < GPT_PARTS_MAX; i++) {
		const u8 *t = table + (size_t)i * entry;
		u64 first = get_le64(t + E_FIRST), last = get_le64(t + E_LAST);

		if (is_zero(t + E_TYPE, 16) || first > last || last >= nsect)
			continue;
		p[n] = (struct gpt_part){ .first = first, .last = last, .number = i + 1,
					  .attributes = get_le64(t + E_ATTRIBUTES) };
		memcpy(p[n].type, t + E_TYPE, 16);
		memcpy(p[n].uuid, t + E_UUID, 16);
		n++;
	}
	return (int)n;
}

int gpt_read(const struct gpt_disk *d, struct gpt_part p[GPT_PARTS_MAX], struct err *e)
{
	u64 nsect = d->size / GPT_SECTOR;
	u8 mbr[GPT_SECTOR];
	unsigned n = 0;
	int r;

	if (nsect < 2)
		return 0;
	r = read_gpt(d, 1, p, e);
	if (!r)
		r = read_gpt(d, nsect - 1, p, e);
	if (r)
		return r;
	r = d->read(d->ctx, 0, mbr, sizeof(mbr), e);
	if (r)
		return r;
	if (get_le16(mbr + MBR_SIG) != MBR_SIGNATURE)
		return 0;
	for (unsigned i = 0; i < MBR_NPARTS; i++) {
		const u8 *t = mbr + MBR_PARTS + i * MBR_PART_LEN;
		u64 first = get_le32(t + P_FIRST), count = get_le32(t + P_COUNT);

		if (!t[P_TYPE] || t[P_TYPE] == TYPE_GPT || t[P_TYPE] == TYPE_EXT ||
		    t[P_TYPE] == TYPE_EXT_LBA || t[P_TYPE] == TYPE_EXT_LINUX || !first || !count ||
		    first + count > nsect)
			continue;
		p[n++] = (struct gpt_part){ .first = first, .last = first + count - 1,
					    .number = i + 1 };
	}
	return (int)n;
}
