/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fw_cfg.c - a selector, a byte stream, and a DMA door into named blobs that the machine offers its
 * firmware. After: the fw_cfg document of the QEMU documentation (docs/specs/fw_cfg).
 * Not modelled: writing to items (none of ours is writable; a DMA write reports an error). */
#include "dev/fw_cfg.h"
#include "base/bytes.h"
#include "base/trace.h"
#include "vm/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

DEFINE_TRACE(fw_cfg_select, "fwcfg.select");
DEFINE_TRACE(fw_cfg_dma, "fwcfg.dma");

enum fw_cfg_reg {		/* offsets from port 510 */
	FW_SELECT = 0,		/* W, 16 bits */
	FW_DATA = 1,		/* R, the next byte */
	FW_DMA_HIGH = 4,	/* W, 32 bits big-endian: address of the descriptor, high half */
	FW_DMA_LOW = 8,		/* W, likewise the low half; starts the transfer */
	FW_LEN = 12,
};
#define FW_PORT 0x510

enum fw_dma_ctl { DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16 };
#define FW_ID_DMA 3		/* traditional interface and DMA */
#define FW_DMA_SIGNATURE 0x51454d5520434647ull	/* "QEMU CFG", what reading the DMA register shows */

#define FW_ITEMS_MAX 64
/* One transfer holds the machine lock: a longer one is refused with the error bit. */
#define FW_DMA_MAX (16u << 20)
#define FW_NAME_MAX 56		/* of a directory entry, with its terminator */

struct fw_item { u16 key; u32 len; u8 *data; };

struct fw_cfg {
	struct machine *m;
	bool mapped;
	unsigned nitems, nfiles;
	struct fw_item item[FW_ITEMS_MAX];
	char name[FW_ITEMS_MAX][FW_NAME_MAX];

	u16 selected;
	u32 at;			/* offset of the next byte */
	u64 dma_addr;
};

static const struct state_field fw_cfg_state[] = {
	STATE_U16(struct fw_cfg, selected, 0, 0xffff),
	STATE_U32(struct fw_cfg, at, 0, UINT32_MAX),
	STATE_U64(struct fw_cfg, dma_addr),
	STATE_END
};

static struct fw_item *find(struct fw_cfg *f, u16 key)
{
	for (unsigned i = 0; i < f->nitems; i++)
		if (f->item[i].key == key)
			return &f->item[i];
	return NULL;
}

/* Up to @len bytes from where the stream is; past the end, or of no item, they are 0. */
static void take(struct fw_cfg *f, u8 *buf, u32 len)
{
	const struct fw_item *it = find(f, f->selected);
	u32 have = it && f->at < it->len ? MIN(len, it->len - f->at) : 0;

	if (buf) {
		memcpy(buf, have ? it->data + f->at : buf, have);
		memset(buf + have, 0, len - have);
	}
	f->at = f->at > UINT32_MAX - len ? UINT32_MAX : f->at + len;
}

static void dma(struct fw_cfg *f)
{
	u8 desc[16], buf[4096];
	u64 gpa = f->dma_addr, to;
	u32 ctl, len;

	f->dma_addr = 0;
	if (!ram_read(f->m->ram, gpa, desc, sizeof(desc)))
		return;
	ctl = get_be32(desc);
	len = get_be32(desc + 4);
	to = get_be64(desc + 8);
	TRACE(fw_cfg_dma, "control=%#x len=%u to=%#llx", ctl, len, (unsigned long long)to);
	if (ctl & DMA_SELECT) {
		f->selected = ctl >> 16;
		f->at = 0;
	}
	u32 result = 0;
	if ((ctl & DMA_WRITE) || ((ctl & DMA_READ) && len > FW_DMA_MAX)) {
		result = DMA_ERROR;
	} else if (ctl & DMA_READ) {
		/* The guest names the length: what lies beyond its RAM ends the copy. */
		while (len && !result) {
			u32 n = MIN(len, (u32)sizeof(buf));
			take(f, buf, n);
			if (!ram_write(f->m->ram, to, buf, n))
				result = DMA_ERROR;
			to += n;
			len -= n;
		}
	} else if (ctl & DMA_SKIP) {
		take(f, NULL, len);
	}
	put_be32(desc, result);
	ram_write(f->m->ram, gpa, desc, 4);
}

static u64 fw_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	struct fw_cfg *f = dev;
	u8 b;

	if (off == FW_DATA && len == 1) {
		take(f, &b, 1);
		return b;
	}
	if (off >= FW_DMA_HIGH && off + len <= FW_LEN) {	/* big-endian, as the register is */
		u8 sig[8];
		u64 v = 0;
		put_be64(sig, FW_DMA_SIGNATURE);
		memcpy(&v, sig + (off - FW_DMA_HIGH), len);
		return v;
	}
	return ~0ull;
}

static void fw_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct fw_cfg *f = dev;

	if (off == FW_SELECT && len == 2) {
		f->selected = (u16)val;
		f->at = 0;
		TRACE(fw_cfg_select, "key=%#x", f->selected);
	} else if (off == FW_DMA_HIGH && len == 4) {
		f->dma_addr = (u64)__builtin_bswap32((u32)val) << 32;
	} else if (off == FW_DMA_LOW && len == 4) {
		f->dma_addr |= __builtin_bswap32((u32)val);
		dma(f);
	}
}

static const struct region_ops fw_ops = {
	.read = fw_read, .write = fw_write, .impl_min = 1, .impl_max = 4,
};

static void fw_cfg_reset(void *dev)
{
	struct fw_cfg *f = dev;
	f->selected = 0;
	f->at = 0;
	f->dma_addr = 0;
}

static void fw_cfg_free(void *dev)
{
	struct fw_cfg *f = dev;

	if (!f)
		return;
	if (f->mapped)
		bus_unmap(f->m->ports, FW_PORT, FW_LEN, f);
	for (unsigned i = 0; i < f->nitems; i++)
		free(f->item[i].data);
	free(f);
}

int fw_cfg_add(struct fw_cfg *f, u16 key, const void *data, u32 len, struct err *e)
{
	if (find(f, key))
		return err_set(e, EEXIST, "fw_cfg: item %#x is there already", key);
	if (f->nitems == FW_ITEMS_MAX)
		return err_set(e, ENOSPC, "fw_cfg: more than %d items", FW_ITEMS_MAX);
	u8 *copy = malloc(len ? len : 1);
	if (!copy)
		return err_set(e, ENOMEM, "fw_cfg: out of memory");
	if (len)
		memcpy(copy, data, len);
	f->item[f->nitems++] = (struct fw_item){ .key = key, .len = len, .data = copy };
	return 0;
}

/* Directory: be32 count, then for each be32 size, be16 key, be16 0, char[56]. */
static int update_dir(struct fw_cfg *f, struct err *e)
{
	struct fw_item *dir = find(f, FW_CFG_FILE_DIR);
	u32 len = 4 + f->nfiles * 64;
	u8 *d = calloc(1, len);

	if (!d)
		return err_set(e, ENOMEM, "fw_cfg: out of memory");
	put_be32(d, f->nfiles);
	for (unsigned i = 0; i < f->nfiles; i++) {
		const struct fw_item *it = find(f, FW_CFG_FILE_FIRST + i);
		put_be32(d + 4 + 64 * i, it ? it->len : 0);
		put_be16(d + 8 + 64 * i, FW_CFG_FILE_FIRST + i);
		memcpy(d + 12 + 64 * i, f->name[i], FW_NAME_MAX);
	}
	free(dir->data);
	dir->data = d;
	dir->len = len;
	return 0;
}

int fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, u32 len, struct err *e)
{
	if (strlen(name) >= FW_NAME_MAX)
		return err_set(e, EINVAL, "fw_cfg: %s: a name has at most %d characters", name, FW_NAME_MAX - 1);
	int r = fw_cfg_add(f, FW_CFG_FILE_FIRST + f->nfiles, data, len, e);
	if (r)
		return r;
	memset(f->name[f->nfiles], 0, FW_NAME_MAX);
	memcpy(f->name[f->nfiles++], name, strlen(name));
	return update_dir(f, e);
}

int fw_cfg_new(struct fw_cfg **out, struct machine *m, struct err *e)
{
	u8 id[4], ram[8], cpus[2];
	static const u8 none[4];
	struct fw_cfg *f = calloc(1, sizeof(*f));

	if (!f)
		return err_set(e, ENOMEM, "fw_cfg: out of memory");
	f->m = m;
	put_le32(id, FW_ID_DMA);
	put_le64(ram, ram_size(m->ram));
	put_le16(cpus, (u16)m->cfg.ncpus);
	int r = fw_cfg_add(f, FW_CFG_SIGNATURE, "QEMU", 4, e);
	if (!r)
		r = fw_cfg_add(f, FW_CFG_ID, id, sizeof(id), e);
	if (!r)
		r = fw_cfg_add(f, FW_CFG_RAM_SIZE, ram, sizeof(ram), e);
	if (!r)
		r = fw_cfg_add(f, FW_CFG_NB_CPUS, cpus, sizeof(cpus), e);
	if (!r)
		r = fw_cfg_add(f, FW_CFG_MAX_CPUS, cpus, sizeof(cpus), e);
	if (!r)
		r = fw_cfg_add(f, FW_CFG_FILE_DIR, none, sizeof(none), e);
	if (!r) {
		r = bus_map(m->ports, FW_PORT, FW_LEN, &fw_ops, f, "fw_cfg", 0, e);
		f->mapped = !r;
	}
	if (r) {
		fw_cfg_free(f);
		return r;
	}
	*out = f;
	return 0;
}

const struct device_class fw_cfg_class = {
	.name = "fw_cfg", .version = 1, .state = fw_cfg_state,
	.reset = fw_cfg_reset, .free = fw_cfg_free,
};
