/* SPDX-License-Identifier: GPL-2.0-or-later */
/* elf.c - ELF kernels, 32 and 64 bits: headers, loadable segments, the PVH note.
 * After: System V ABI, chapters 4 and 5; Xen's public/elfnote.h. */
#include "base/bytes.h"
#include "platform/boot/boot.h"
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define PHDRS_MAX 128		/* kernels have under ten */
#define NOTES_MAX 65536		/* bytes of one PT_NOTE */
#define NOTE_PVH 18		/* XEN_ELFNOTE_PHYS32_ENTRY */

/* One program header, from either class. */
struct phdr { u32 type; u64 off, vaddr, paddr, filesz, memsz; };

static void phdr_get(const u8 *p, bool is64, struct phdr *h)
{
	h->type = get_le32(p);
	if (is64) {
		h->off = get_le64(p + offsetof(Elf64_Phdr, p_offset));
		h->vaddr = get_le64(p + offsetof(Elf64_Phdr, p_vaddr));
		h->paddr = get_le64(p + offsetof(Elf64_Phdr, p_paddr));
		h->filesz = get_le64(p + offsetof(Elf64_Phdr, p_filesz));
		h->memsz = get_le64(p + offsetof(Elf64_Phdr, p_memsz));
	} else {
		h->off = get_le32(p + offsetof(Elf32_Phdr, p_offset));
		h->vaddr = get_le32(p + offsetof(Elf32_Phdr, p_vaddr));
		h->paddr = get_le32(p + offsetof(Elf32_Phdr, p_paddr));
		h->filesz = get_le32(p + offsetof(Elf32_Phdr, p_filesz));
		h->memsz = get_le32(p + offsetof(Elf32_Phdr, p_memsz));
	}
}

/* Read all program headers; each is checked against the file. */
static int read_phdrs(const struct blob *b, const u8 *eh, bool is64, struct phdr **out, unsigned *n,
		      struct elf_image *elf, struct err *e)
{
	u64 off = is64 ? get_le64(eh + offsetof(Elf64_Ehdr, e_phoff))
		       : get_le32(eh + offsetof(Elf32_Ehdr, e_phoff));
	unsigned want = is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
	unsigned entsize = get_le16(eh + (is64 ? offsetof(Elf64_Ehdr, e_phentsize)
					       : offsetof(Elf32_Ehdr, e_phentsize)));
	u8 raw[PHDRS_MAX * sizeof(Elf64_Phdr)];
	int r;

	*n = get_le16(eh + (is64 ? offsetof(Elf64_Ehdr, e_phnum) : offsetof(Elf32_Ehdr, e_phnum)));
	if (*n == 0 || *n > PHDRS_MAX || entsize != want)
		return err_set(e, EINVAL, "%s: %u program headers of %u bytes; an ELF kernel has "
			       "1-%u of %u", b->name, *n, entsize, PHDRS_MAX, want);
	r = blob_read(b, off, raw, (size_t)*n * entsize, e);
	if (r)
		return r;
	elf->end_off = off + (u64)*n * entsize;		/* within the file: no wrap */
	*out = calloc(*n, sizeof(**out));
	if (!*out)
		return err_set(e, ENOMEM, "%s: out of memory", b->name);
	for (unsigned i = 0; i < *n; i++) {
		struct phdr *h = &(*out)[i];

		phdr_get(raw + (size_t)i * entsize, is64, h);
		if (h->type != PT_LOAD && h->type != PT_NOTE)
			continue;
		if (!blob_has(b, h->off, h->filesz))
			return err_set(e, EINVAL, "%s is truncated: program header %u reaches past "
				       "its end", b->name, i);
		elf->end_off = MAX(elf->end_off, h->off + h->filesz);
	}
	return 0;
}

/* Notes: namesz, descsz, type, name padded to 4, desc padded to 4. */
static int find_pvh_note(const struct blob *b, const struct phdr *h, struct elf_image *elf,
			 struct err *e)
{
	size_t len = (size_t)MIN(h->filesz, (u64)NOTES_MAX), at = 0;
	u8 *buf cleanup_free = malloc(len ? len : 1);
	int r;

	if (!buf)
		return err_set(e, ENOMEM, "%s: out of memory", b->name);
	r = blob_read(b, h->off, buf, len, e);
	while (!r && len - at >= 12) {
		u64 namesz = get_le32(buf + at), descsz = get_le32(buf + at + 4);
		u64 name = at + 12, desc = name + ((namesz + 3) & ~3ull);
		u64 next = desc + ((descsz + 3) & ~3ull);

		if (next > len)
			break;
		if (namesz == 4 && !memcmp(buf + name, "Xen", 4) &&
		    get_le32(buf + at + 8) == NOTE_PVH && (descsz == 4 || descsz == 8))
			elf->pvh_entry = descsz == 8 ? get_le64(buf + desc) : get_le32(buf + desc);
		at = next;
	}
	return r;
}

/* The end of the section headers and of what they name: what lies behind is not the ELF's. */
static int sections_end(const struct blob *b, const u8 *eh, struct elf_image *elf, struct err *e)
{
	u64 off = elf->is64 ? get_le64(eh + offsetof(Elf64_Ehdr, e_shoff))
			    : get_le32(eh + offsetof(Elf32_Ehdr, e_shoff));
	unsigned size = elf->is64 ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr);
	unsigned n = get_le16(eh + (elf->is64 ? offsetof(Elf64_Ehdr, e_shnum)
					      : offsetof(Elf32_Ehdr, e_shnum)));
	u8 sh[sizeof(Elf64_Shdr)];

	if (!off || !n || !blob_has(b, off, (u64)n * size))
		return 0;	/* stripped of them, or nonsense that nobody needs */
	elf->end_off = MAX(elf->end_off, off + (u64)n * size);
	for (unsigned i = 0; i < n; i++) {
		int r = blob_read(b, off + (u64)i * size, sh, size, e);
		u64 soff, slen;

		if (r)
			return r;
		if (get_le32(sh + 4) == SHT_NOBITS || get_le32(sh + 4) == SHT_NULL)
			continue;
		soff = elf->is64 ? get_le64(sh + offsetof(Elf64_Shdr, sh_offset))
				 : get_le32(sh + offsetof(Elf32_Shdr, sh_offset));
		slen = elf->is64 ? get_le64(sh + offsetof(Elf64_Shdr, sh_size))
				 : get_le32(sh + offsetof(Elf32_Shdr, sh_size));
		if (blob_has(b, soff, slen))
			elf->end_off = MAX(elf->end_off, soff + slen);
	}
	return 0;
}

/* Physical addresses: of segments, and of the entry point, which some tools write as a virtual
 * address. */
static int place_segments(const struct blob *b, const struct phdr *ph, unsigned n,
			  struct elf_image *elf, struct err *e)
{
	elf->lo = UINT64_MAX;
	elf->entry_pa = elf->entry;
	for (unsigned i = 0; i < n; i++) {
		const struct phdr *h = &ph[i];
		u64 end;

		if (h->type != PT_LOAD || !h->memsz)
			continue;
		if (h->filesz > h->memsz || !add_ok(h->paddr, h->memsz, &end))
			return err_set(e, EINVAL, "%s: program header %u is nonsense (%#llx bytes "
				       "of file for %#llx of memory at %#llx)", b->name, i,
				       (unsigned long long)h->filesz, (unsigned long long)h->memsz,
				       (unsigned long long)h->paddr);
		if (h->paddr < elf->lo) {
			elf->lo = h->paddr;
			elf->pa_of_va = h->paddr - h->vaddr;
		}
		elf->hi = MAX(elf->hi, end);
		if (elf->entry >= h->vaddr && elf->entry - h->vaddr < h->memsz &&
		    h->vaddr != h->paddr)
			elf->entry_pa = elf->entry - h->vaddr + h->paddr;
	}
	if (elf->lo == UINT64_MAX)
		return err_set(e, EINVAL, "%s: an ELF file with nothing to load; is it a kernel?",
			       b->name);
	if (elf->entry_pa < elf->lo || elf->entry_pa >= elf->hi)
		return err_set(e, EINVAL, "%s: its entry point %#llx lies outside what it loads",
			       b->name, (unsigned long long)elf->entry);
	return 0;
}

int elf_parse(const struct blob *b, struct elf_image *elf, struct err *e)
{
	struct phdr *ph cleanup_free = NULL;
	u8 eh[sizeof(Elf64_Ehdr)];
	unsigned n, machine;
	int r;

	*elf = (struct elf_image){ 0 };
	if (b->len < sizeof(Elf32_Ehdr) || blob_read(b, 0, eh, MIN(b->len, sizeof(eh)), e) ||
	    memcmp(eh, ELFMAG, SELFMAG))
		return -ENOEXEC;
	elf->is64 = eh[EI_CLASS] == ELFCLASS64;
	if ((!elf->is64 && eh[EI_CLASS] != ELFCLASS32) || eh[EI_DATA] != ELFDATA2LSB ||
	    (elf->is64 && b->len < sizeof(eh)))
		return err_set(e, EINVAL, "%s: a damaged ELF header", b->name);
	machine = get_le16(eh + offsetof(Elf64_Ehdr, e_machine));
	elf->is_x86 = machine == EM_X86_64 || machine == EM_386;
	elf->entry = elf->is64 ? get_le64(eh + offsetof(Elf64_Ehdr, e_entry))
			       : get_le32(eh + offsetof(Elf32_Ehdr, e_entry));
	r = read_phdrs(b, eh, elf->is64, &ph, &n, elf, e);
	if (!r)
		r = place_segments(b, ph, n, elf, e);
	for (unsigned i = 0; i < n && !r; i++)
		if (ph[i].type == PT_NOTE)
			r = find_pvh_note(b, &ph[i], elf, e);
	return r ? r : sections_end(b, eh, elf, e);
}

int elf_load(const struct blob *b, const struct elf_image *elf, u64 delta, struct ram *ram,
	     const struct boot_request *rq, struct err *e)
{
	struct phdr *ph cleanup_free = NULL;
	struct elf_image again = *elf;
	u8 eh[sizeof(Elf64_Ehdr)] = { 0 };
	unsigned n;
	int r = blob_read(b, 0, eh, elf->is64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr), e);

	if (!r)
		r = read_phdrs(b, eh, elf->is64, &ph, &n, &again, e);
	if (!r)		/* the file may have changed since elf_parse() */
		r = place_segments(b, ph, n, &again, e);
	if (r)
		return r;
	for (unsigned i = 0; i < n; i++) {
		const struct phdr *h = &ph[i];
		u64 pa;

		if (h->type != PT_LOAD || !h->memsz)
			continue;
		if (!add_ok(h->paddr, delta, &pa))
			return err_set(e, EINVAL, "%s: segment %u wraps around", b->name, i);
		r = boot_copy(ram, rq, b, h->off, pa, h->filesz, e);
		if (!r)
			r = boot_zero(ram, rq, pa + h->filesz, h->memsz - h->filesz, e);
		if (r)
			return r;
	}
	return 0;
}
