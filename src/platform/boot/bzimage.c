/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bzimage.c - Linux' kernel image: boot sector, setup code, then a stub that unpacks the kernel.
 *
 *	0     1f1                     (setup_sects + 1) * 512
 *	+------+--------------+------+-------+-----------------------------+------
 *	| boot | setup header | setup| stub  | payload: packed vmlinux     | stub
 *	+------+--------------+------+-------+-----------------------------+------
 *	                              ^+0 32-bit entry, ^+200h 64-bit entry
 *
 * Two ways in. DIRECT, the usual one: unpack the payload here and enter the vmlinux, as the stub
 * would at its end: at the address it prefers, with the relocations for a random virtual address
 * applied (relocs.c). Or load the stub and let it do all that inside the guest.
 * After: Documentation/arch/x86/boot.rst. */
#include "base/bytes.h"
#include "platform/boot/linux.h"
#include "platform/boot/unpack.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define SECTOR 512
#define PAYLOAD_MAX (512 * MiB)		/* unpacked; kernels have 30 to 100 */
#define ZIMAGE_PLACE 0x1000		/* where a zImage's 32-bit code runs */

struct bzimage {
	u8 bp[BP_SIZE];			/* boot_params with the file's setup header */
	unsigned version;
	u64 code_off, code_len;		/* protected-mode code in the file */
	u64 payload_off, payload_len;	/* in the file; length 0: not told */
	u64 align, pref, init_size;
	bool relocatable, entry64, high;
	struct linux_boot lb;
};

static int parse(const struct blob *b, struct bzimage *z, struct err *e)
{
	u8 head[BP_HDR_END] = { 0 };
	unsigned hdr_end, sects;

	memset(z, 0, sizeof(*z));
	if (b->len < BP_HDR_END || blob_read(b, 0, head, sizeof(head), e) ||
	    get_le16(head + BP_BOOT_FLAG) != 0xaa55 || get_le32(head + BP_HEADER) != BP_HDRS)
		return -ENOEXEC;
	hdr_end = MIN(0x202u + head[BP_JUMP_LEN], (unsigned)BP_HDR_END);
	memcpy(z->bp + BP_SETUP_SECTS, head + BP_SETUP_SECTS, hdr_end - BP_SETUP_SECTS);
	z->version = get_le16(head + BP_VERSION);
	sects = head[BP_SETUP_SECTS] ? head[BP_SETUP_SECTS] : 4;
	z->code_off = (sects + 1) * SECTOR;
	if (z->version < 0x200 || z->code_off >= b->len)
		return err_set(e, EINVAL, "%s is truncated or damaged: a Linux image with %u "
			       "sectors of setup code in %llu bytes", b->name, sects,
			       (unsigned long long)b->len);
	z->code_len = b->len - z->code_off;
	z->high = z->bp[BP_LOADFLAGS] & LOADED_HIGH;
	/* syssize counts 16 bytes (2.04 on: 32 bits); distributions append signatures behind. */
	if (z->version >= 0x204 && (u64)get_le32(z->bp + BP_SYSSIZE) * 16 > z->code_len + 15)
		return err_set(e, EINVAL, "%s is truncated: %llu bytes of kernel are there, its "
			       "header promises %llu", b->name, (unsigned long long)z->code_len,
			       (unsigned long long)get_le32(z->bp + BP_SYSSIZE) * 16);
	z->pref = BOOT_HIGH;
	z->align = 1;
	if (z->version >= 0x205) {
		z->relocatable = z->bp[BP_RELOCATABLE];
		z->align = get_le32(z->bp + BP_KERNEL_ALIGNMENT);
		if (!z->align || (z->align & (z->align - 1)))
			return err_set(e, EINVAL, "%s: a damaged header: alignment %#llx is no "
				       "power of two", b->name, (unsigned long long)z->align);
	}
	if (z->version >= 0x208 && get_le32(z->bp + BP_PAYLOAD_LENGTH)) {
		z->payload_off = z->code_off + get_le32(z->bp + BP_PAYLOAD_OFFSET);
		z->payload_len = get_le32(z->bp + BP_PAYLOAD_LENGTH);
		if (!blob_has(b, z->payload_off, z->payload_len))
			return err_set(e, EINVAL, "%s is truncated: its payload reaches past its "
				       "end", b->name);
	}
	if (z->version >= 0x20a) {
		z->pref = get_le64(z->bp + BP_PREF_ADDRESS);
		z->init_size = get_le32(z->bp + BP_INIT_SIZE);
	}
	z->entry64 = z->version >= 0x20c && (get_le16(z->bp + BP_XLOADFLAGS) & XLF_KERNEL_64);
	z->lb.version = z->version;
	z->lb.initrd_max = z->version >= 0x203 ? get_le32(z->bp + BP_INITRD_ADDR_MAX) : 0x37ffffff;
	z->lb.cmdline_max = z->version >= 0x206 ? get_le32(z->bp + BP_CMDLINE_SIZE) : 255;
	return 0;
}

/* Unpack the payload and load the vmlinux in it. -ENOTSUP, with the reason in @e: this image is
 * one that only its own stub can start. */
static int load_direct(struct bzimage *z, const struct boot_request *rq, struct ram *ram,
		       struct boot_entry *out, struct err *e)
{
	const char *name = rq->kernel.name;
	u8 *packed cleanup_free = NULL, *vmlinux cleanup_free = NULL;
	struct elf_image elf;
	struct relocs rl;
	struct blob file;
	bool have_rl;
	u64 len;
	int r;

	if (z->payload_len < 16)
		return err_set(e, ENOTSUP, "%s has no payload that its header tells of", name);
	packed = malloc(z->payload_len);
	if (!packed)
		return err_set(e, ENOMEM, "%s: out of memory", name);
	r = blob_read(&rq->kernel, z->payload_off, packed, z->payload_len, e);
	if (r)
		return r;
	len = get_le32(packed + z->payload_len - 4);
	if (!unpack_kind(packed, z->payload_len))
		return err_set(e, ENOTSUP, "%s has a payload in a compression I do not know", name);
	if (len < 4096 || len > PAYLOAD_MAX)
		return err_set(e, EINVAL, "%s is damaged: its payload unpacks to %llu bytes, it "
			       "says", name, (unsigned long long)len);
	vmlinux = malloc(len);
	if (!vmlinux)
		return err_set(e, ENOMEM, "%s: out of memory", name);
	r = unpack(packed, z->payload_len, vmlinux, len, name, e);
	if (r)
		return r;
	file = blob_of(vmlinux, len, name);
	r = elf_parse(&file, &elf, e);
	if (r == -ENOEXEC)
		return err_set(e, ENOTSUP, "%s has a payload that is no ELF file", name);
	if (r)
		return r;
	if (!elf.is_x86)
		return err_set(e, EINVAL, "%s: a kernel for another processor", name);
	have_rl = relocs_find(&file, &elf, &rl);
	if (!have_rl && elf.end_off + 64 < len)
		return err_set(e, ENOTSUP, "%s has behind its vmlinux what I do not know", name);
	r = vmlinux_place(&file, &elf, have_rl ? &rl : NULL, z->align, z->init_size, z->bp, rq, ram,
			  &out->rip, &z->lb.initrd_lo, e);
	out->mode = elf.is64 ? BOOT_MODE_LONG64 : BOOT_MODE_FLAT32;
	out->what = "vmlinux from bzImage";
	return r;
}

/* Load the image as it is. */
static int load_stub(struct bzimage *z, const struct boot_request *rq, struct ram *ram,
		     bool want64, struct boot_entry *out, struct err *e)
{
	u64 at = BOOT_HIGH, need = MAX(z->code_len, z->init_size);

	if (want64 && !z->entry64)
		return err_set(e, EINVAL, "%s has no 64-bit entry (boot protocol %u.%02u); use "
			       "--boot bzimage32", rq->kernel.name, z->version >> 8,
			       z->version & 0xff);
	if (!z->high)
		at = ZIMAGE_PLACE;
	else if (z->relocatable && z->version >= 0x20a && z->pref >= BOOT_HIGH)
		at = (z->pref + z->align - 1) & ~(z->align - 1);
	if (!add_ok(at, need, &z->lb.initrd_lo) || z->lb.initrd_lo > boot_low_top(ram))
		return err_set(e, ENOMEM, "%s needs %llu MiB of memory to start; give it more with "
			       "--memory", rq->kernel.name,
			       (unsigned long long)((z->lb.initrd_lo + MiB - 1) >> 20));
	z->lb.initrd_lo = MAX(z->lb.initrd_lo, (u64)BOOT_HIGH);
	put_le32(z->bp + BP_CODE32_START, (u32)at);
	out->mode = want64 ? BOOT_MODE_LONG64 : BOOT_MODE_FLAT32;
	out->rip = at + (want64 ? 0x200 : 0);
	out->what = want64 ? "bzImage, 64-bit entry" : "bzImage, 32-bit entry";
	return boot_copy(ram, rq, &rq->kernel, z->code_off, at, z->code_len, e);
}

int bzimage_load(const struct boot_request *rq, struct ram *ram, struct boot_entry *out,
		 struct err *e)
{
	struct bzimage *z cleanup_free = malloc(sizeof(*z));
	int r;

	if (!z)
		return err_set(e, ENOMEM, "out of memory");
	r = parse(&rq->kernel, z, e);
	if (r)
		return r;
	switch (rq->how) {
	case BOOT_BZIMAGE64:
		r = load_stub(z, rq, ram, true, out, e);
		break;
	case BOOT_BZIMAGE32:
		r = load_stub(z, rq, ram, false, out, e);
		break;
	case BOOT_DIRECT:
		r = load_direct(z, rq, ram, out, e);
		break;
	default:
		r = load_direct(z, rq, ram, out, e);
		if (r == -ENOTSUP)
			r = load_stub(z, rq, ram, z->entry64, out, e);
	}
	if (!r)
		r = linux_params_finish(z->bp, &z->lb, rq, ram, e);
	if (!r)
		r = boot_tables(ram, rq, out->mode == BOOT_MODE_LONG64, e);
	out->rsi = BOOT_INFO;
	return r;
}
