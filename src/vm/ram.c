/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ram.c - guest physical memory on one memfd. See ram.h.
 *
 *	file:  | RAM ........................................ | rom | rom |
 *	guest: | low (< 3 GiB) |  hole  | high (from 4 GiB) .. |  wherever each rom says
 *
 * The file is sealed against shrinking: whoever gets the descriptor (a vhost back end, a clone)
 * cannot take pages away under our feet. Nothing is touched until the guest does: neither RAM
 * nor page flags cost memory before. */
#include "vm/ram_impl.h"
#include "base/bytes.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM_MIN (1 * MiB)
#define RAM_MAX (1024 * GiB)
#define ROM_MAX (64 * MiB)

static u8 *map(int fd, u64 off, u64 len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		       (off_t)off);

	return p == MAP_FAILED ? NULL : p;
}

static u8 *map_flags(u64 npages)
{
	void *p = mmap(NULL, npages, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void add_block(struct ram *r, u64 gpa, u64 len, u64 file_off)
{
	r->block[r->n++] = (struct ram_block){
		.gpa = gpa, .len = len, .file_off = file_off, .hva = r->base + file_off,
		.pageflags = r->flags + (file_off >> PAGE_SHIFT),
	};
}

int ram_new(struct ram **out, u64 size, struct err *e)
{
	struct ram *r;

	if (size < RAM_MIN || size > RAM_MAX || size % PAGE_SIZE)
		return err_set(e, EINVAL, "memory of %llu bytes; it can be 1 MiB to 1 TiB, "
			       "in multiples of 4 KiB", (unsigned long long)size);
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_set(e, ENOMEM, "memory: out of memory");
	pthread_mutex_init(&r->fill_lock, NULL);
	r->size = r->file_len = size;
	r->fd = memfd_create("penta-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (r->fd < 0 || ftruncate(r->fd, (off_t)size) < 0 ||
	    fcntl(r->fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0 ||
	    !(r->base = map(r->fd, 0, size)) || !(r->flags = map_flags(size >> PAGE_SHIFT))) {
		bool limit = errno == ENOMEM || errno == EFBIG;
		int ret = err_errno(e, limit ? "memory of %llu MiB is more than `ulimit -v`, "
				    "`ulimit -f` or the host allow; raise them or take less" :
				    "memory of %llu MiB", (unsigned long long)(size / MiB));

		ram_free(r);
		return ret;
	}
	add_block(r, 0, MIN(size, RAM_LOW_MAX), 0);
	if (size > RAM_LOW_MAX)
		add_block(r, RAM_HIGH_BASE, size - RAM_LOW_MAX, RAM_LOW_MAX);
	*out = r;
	return 0;
}

void ram_free(struct ram *r)
{
	if (!r)
		return;
	if (r->source.free)
		r->source.free(r->source.ctx);
	pthread_mutex_destroy(&r->fill_lock);
	for (unsigned i = 0; i < r->n; i++) {
		if (r->block[i].readonly) {
			munmap(r->block[i].hva, r->block[i].len);
			munmap(r->block[i].pageflags, r->block[i].len >> PAGE_SHIFT);
		}
	}
	if (r->base)
		munmap(r->base, r->size);
	if (r->flags)
		munmap(r->flags, r->size >> PAGE_SHIFT);
	if (r->fd >= 0)
		close(r->fd);
	free(r);
}

u64 ram_size(const struct ram *r)
{
	return r->size;
}

int ram_fd(const struct ram *r)
{
	return r->fd;
}

int ram_add_rom(struct ram *r, u64 gpa, const void *data, size_t len, struct err *e)
{
	u64 room, end;
	u8 *hva, *flags;

	if (len == 0 || len > ROM_MAX || gpa % PAGE_SIZE)
		return err_set(e, EINVAL, "rom of %zu bytes at %#llx; it can be 1 byte to 64 MiB "
			       "at a page boundary", len, (unsigned long long)gpa);
	room = (len + PAGE_SIZE - 1) & PAGE_MASK;
	if (!add_ok(gpa, room, &end))
		return err_set(e, EINVAL, "rom at %#llx goes beyond the address space",
			       (unsigned long long)gpa);
	for (unsigned i = 0; i < r->n; i++)
		if (gpa < r->block[i].gpa + r->block[i].len && r->block[i].gpa < end)
			return err_set(e, EEXIST, "rom at %#llx overlaps memory at %#llx",
				       (unsigned long long)gpa,
				       (unsigned long long)r->block[i].gpa);
	if (r->n == RAM_BLOCKS_MAX)
		return err_set(e, ENOSPC, "more than %u pieces of memory", RAM_BLOCKS_MAX);
	/* A copy's file is its parent's: the rom is then in memory of its own. */
	if (!r->private && ftruncate(r->fd, (off_t)(r->file_len + room)) < 0)
		return err_errno(e, "rom of %zu bytes", len);
	hva = r->private ? map_flags(room) : map(r->fd, r->file_len, room);
	flags = map_flags(room >> PAGE_SHIFT);
	if (!hva || !flags) {
		int ret = err_errno(e, "rom of %zu bytes", len);

		if (hva)
			munmap(hva, room);
		if (flags)
			munmap(flags, room >> PAGE_SHIFT);
		return ret;
	}
	memcpy(hva, data, len);
	r->block[r->n++] = (struct ram_block){ .gpa = gpa, .len = room, .hva = hva,
		.pageflags = flags, .readonly = true, .file_off = r->file_len };
	r->file_len += room;
	return 0;
}

unsigned ram_nblocks(const struct ram *r)
{
	return r->n;
}

const struct ram_block *ram_block(const struct ram *r, unsigned i)
{
	return i < r->n ? &r->block[i] : NULL;
}

const struct ram_block *ram_find(const struct ram *r, u64 gpa)
{
	const struct ram_block *b = r->block;

	if (likely(gpa < b->len))	/* the first begins at 0 */
		return b;
	for (unsigned i = 1; i < r->n; i++)
		if (gpa - r->block[i].gpa < r->block[i].len)
			return &r->block[i];
	return NULL;
}

void *ram_view(const struct ram *r, u64 gpa, size_t len)
{
	const struct ram_block *b = ram_find(r, gpa);

	if (!b || len > b->len - (gpa - b->gpa))
		return NULL;
	if (unlikely(atomic_load_explicit(&r->lazy, memory_order_relaxed)) && len > 0 && !b->readonly) {
		u64 at = b->file_off + (gpa - b->gpa), first = at >> PAGE_SHIFT;

		if (!ram_fill(r, first, ((at + len - 1) >> PAGE_SHIFT) - first + 1))
			return NULL;
	}
	return b->hva + (gpa - b->gpa);
}

/* Is [gpa, gpa+len) memory (writable, when @write) from one end to the other, and there? */
static bool covered(const struct ram *r, u64 gpa, size_t len, bool write)
{
	while (len > 0) {
		const struct ram_block *b = ram_find(r, gpa);
		u64 n;

		if (!b || (write && b->readonly))
			return false;
		n = MIN((u64)len, b->len - (gpa - b->gpa));
		if (!ram_view(r, gpa, n))
			return false;
		gpa += n;
		len -= n;
		if (gpa == 0 && len > 0)	/* wrapped */
			return false;
	}
	return true;
}

bool ram_read(const struct ram *r, u64 gpa, void *buf, size_t len)
{
	const void *p = ram_view(r, gpa, len);
	u8 *out = buf;

	if (p) {
		guest_copy(buf, p, len);
		return true;
	}
	if (!covered(r, gpa, len, false))
		return false;
	while (len > 0) {
		const struct ram_block *b = ram_find(r, gpa);
		size_t n = MIN(len, b->len - (gpa - b->gpa));

		guest_copy(out, b->hva + (gpa - b->gpa), n);
		gpa += n;
		out += n;
		len -= n;
	}
	return true;
}

bool ram_write(struct ram *r, u64 gpa, const void *buf, size_t len)
{
	const u8 *in = buf;

	if (!covered(r, gpa, len, true))
		return false;
	while (len > 0) {
		const struct ram_block *b = ram_find(r, gpa);
		size_t n = MIN(len, b->len - (gpa - b->gpa));

		guest_copy(b->hva + (gpa - b->gpa), in, n);
		ram_wrote(r, gpa, n);
		gpa += n;
		in += n;
		len -= n;
	}
	return true;
}

void ram_wrote(struct ram *r, u64 gpa, size_t len)
{
	while (len > 0) {
		const struct ram_block *b = ram_find(r, gpa);
		size_t n = MIN(len, PAGE_SIZE - gpa % PAGE_SIZE);
		u8 *flag, old;

		if (!b)
			return;
		flag = &b->pageflags[(gpa - b->gpa) >> PAGE_SHIFT];
		old = __atomic_fetch_or(flag, RAM_PAGE_DIRTY, __ATOMIC_SEQ_CST);
		if ((old & RAM_PAGE_CODE) && r->code_fn)
			r->code_fn(r->code_ctx, gpa, n);
		gpa += n;
		len -= n;
	}
}

void ram_on_code_write(struct ram *r, ram_code_fn *fn, void *ctx)
{
	r->code_fn = fn;
	r->code_ctx = ctx;
}
