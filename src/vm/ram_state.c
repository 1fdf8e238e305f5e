/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ram_state.c - memory that comes in late, and memory that is frozen. See ram.h.
 *
 *	shared	fd is the memory			--freeze--> private	--thaw--> shared
 *	private	fd is what memory was once, and never changes; the mapping is copy-on-write over it, and
 *		RAM_PAGE_DIRTY marks what differs
 *
 * A fork's child maps the same fd privately; so a page that neither has written since is one page of
 * the host, in however many machines. */
#include "vm/ram_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A delta's run of at least so many pages is mapped; shorter ones are copied, lest the kernel's limit
 * of mappings (65530 a process) be reached. */
#define RUN_MAP_PAGES 64u
#define RUN_MAPS_MAX 4096u
/* Giving a private range back: zeros by a mapping of its own for ranges of so many pages. */
#define HOLE_PAGES 64u
#define HOLES_MAX 4096u

bool ram_is_private(const struct ram *r)
{
	return r->private;
}

u8 *ram_bytes(const struct ram *r)
{
	return r->base;
}

/* --- pages that come in late --- */

bool ram_page_is_absent(const struct ram *r, u64 page)
{
	return __atomic_load_n(&r->flags[page], __ATOMIC_ACQUIRE) & RAM_PAGE_ABSENT;
}

void ram_page_arrived(struct ram *r, u64 page)
{
	__atomic_fetch_and(&r->flags[page], (u8)~RAM_PAGE_ABSENT, __ATOMIC_SEQ_CST);
}

void ram_set_source(struct ram *r, const struct ram_source *s, const u8 *absent)
{
	BUG_ON(r->source.fill);
	r->source = *s;
	for (u64 i = 0; i < r->size >> PAGE_SHIFT; i++)
		if (absent[i])
			r->flags[i] |= RAM_PAGE_ABSENT;
	atomic_store(&r->lazy, true);
}

bool ram_fill(const struct ram *cr, u64 first, u64 npages)
{
	struct ram *r = (struct ram *)(uintptr_t)cr;	/* what is read does not change by it */

	for (u64 p = first; p < first + npages; p++) {
		int ret = 0;

		if (likely(!ram_page_is_absent(r, p)))
			continue;
		pthread_mutex_lock(&r->fill_lock);
		if (ram_page_is_absent(r, p))
			ret = r->lost.code ? -r->lost.code :
			      r->source.fill(r->source.ctx, p, &r->lost);
		pthread_mutex_unlock(&r->fill_lock);
		if (ret < 0)
			return false;
	}
	if (first == 0 && npages == r->size >> PAGE_SHIFT)
		atomic_store(&r->lazy, false);	/* nothing becomes absent again */
	return true;
}

bool ram_lost(const struct ram *cr, struct err *e)
{
	struct ram *r = (struct ram *)(uintptr_t)cr;
	bool lost;

	pthread_mutex_lock(&r->fill_lock);
	lost = r->lost.code;
	if (lost)
		*e = r->lost;
	pthread_mutex_unlock(&r->fill_lock);
	return lost;
}

/* --- which pages there are --- */

/* Mark in @used the pages of [0, size) for which @fd holds something. */
static int mark_data(int fd, u64 size, u8 *used, struct err *e)
{
	off_t at = 0, end;

	while ((u64)at < size) {
		at = lseek(fd, at, SEEK_DATA);
		if (at < 0 && errno == ENXIO)
			return 0;
		end = at < 0 ? -1 : lseek(fd, at, SEEK_HOLE);
		if (end < 0)
			return err_errno(e, "where memory is in use");
		end = (off_t)MIN((u64)end, size);
		for (u64 p = (u64)at >> PAGE_SHIFT; p < ((u64)end + PAGE_SIZE - 1) >> PAGE_SHIFT; p++)
			used[p] = 1;
		at = end;
	}
	return 0;
}

int ram_used_pages(const struct ram *r, u8 **used, struct err *e)
{
	u64 n = r->size >> PAGE_SHIFT;
	int ret;

	*used = calloc(1, n);
	if (!*used)
		return err_set(e, ENOMEM, "memory: out of memory");
	ret = mark_data(r->fd, r->size, *used, e);
	for (u64 i = 0; r->private && i < n; i++)
		(*used)[i] |= r->flags[i] & RAM_PAGE_DIRTY;
	if (ret) {
		free(*used);
		*used = NULL;
	}
	return ret;
}

/* --- freeze, thaw --- */

static int remap(struct ram *r, bool private, struct err *e)
{
	void *p = mmap(r->base, r->size, PROT_READ | PROT_WRITE,
		       (private ? MAP_PRIVATE : MAP_SHARED) | MAP_NORESERVE | MAP_FIXED, r->fd, 0);

	if (p == MAP_FAILED)
		return err_errno(e, "memory cannot be mapped anew");
	r->private = private;
	r->holes = 0;
	return 0;
}

static bool dirty(const struct ram *r, u64 page)
{
	return r->flags[page] & RAM_PAGE_DIRTY;
}

static int write_all(int fd, const u8 *p, u64 len, u64 off, struct err *e)
{
	while (len) {
		ssize_t n = pwrite(fd, p, MIN(len, 1 * GiB), (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_errno(e, "a copy of memory");
		p += n;
		off += (u64)n;
		len -= (u64)n;
	}
	return 0;
}

/* Write what differs from r->fd to @fd, at the same place. */
static int write_dirty(const struct ram *r, int fd, struct err *e)
{
	u64 n = r->size >> PAGE_SHIFT, i = 0, end;
	int ret = 0;

	while (i < n && !ret) {
		if (!dirty(r, i)) {
			i++;
			continue;
		}
		for (end = i; end < n && dirty(r, end); end++)
			;
		ret = write_all(fd, r->base + (i << PAGE_SHIFT), (end - i) << PAGE_SHIFT,
				i << PAGE_SHIFT, e);
		i = end;
	}
	return ret;
}

int ram_freeze(struct ram *r, int *delta_fd, struct err *e)
{
	int fd, ret;

	*delta_fd = -1;
	BUG_ON(atomic_load(&r->lazy));
	if (!r->private) {
		ret = remap(r, true, e);
		for (u64 i = 0; !ret && i < r->size >> PAGE_SHIFT; i++)
			r->flags[i] &= (u8)~RAM_PAGE_DIRTY;
		r->frozen += ret == 0;
		return ret;
	}
	fd = memfd_create("penta-delta", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return err_errno(e, "a copy of memory");
	ret = ftruncate(fd, (off_t)r->size) < 0 ? err_errno(e, "a copy of memory") :
	      write_dirty(r, fd, e);
	if (ret) {
		close(fd);
		return ret;
	}
	r->frozen++;
	*delta_fd = fd;
	return 0;
}

int ram_thaw(struct ram *r, struct err *e)
{
	int ret;

	BUG_ON(!r->frozen);
	if (--r->frozen || r->sealed)
		return 0;
	ret = write_dirty(r, r->fd, e);
	return ret ? ret : remap(r, false, e);
}

int ram_seal(struct ram *r, struct err *e)
{
	if (!r->sealed && fcntl(r->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) < 0)
		return err_errno(e, "memory cannot be sealed");
	r->sealed = true;
	return 0;
}

int ram_begin_from(struct ram *r, const struct ram_from *from, struct err *e)
{
	struct stat st;
	unsigned maps = 0;
	off_t at = 0, end;
	int seals = fcntl(from->base_fd, F_GET_SEALS), fd, ret;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || !(seals & F_SEAL_FUTURE_WRITE) ||
	    fstat(from->base_fd, &st) < 0 || (u64)st.st_size < r->size)
		return err_set(e, EINVAL, "the memory to begin with is none of a frozen machine");
	fd = fcntl(from->base_fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return err_errno(e, "the memory to begin with");
	close(r->fd);			/* roms that were in it are mapped, and stay */
	r->fd = fd;
	r->sealed = true;
	ret = remap(r, true, e);
	if (ret)
		return ret;
	if (from->delta_fd < 0)
		return 0;
	if (fstat(from->delta_fd, &st) < 0 || (u64)st.st_size != r->size)
		return err_set(e, EINVAL, "the changes to memory are none of a frozen machine");
	for (;; at = end) {
		u64 len, done = 0;

		at = lseek(from->delta_fd, at, SEEK_DATA);
		r->holes = maps;
		if (at < 0)
			return errno == ENXIO ? 0 : err_errno(e, "changes to memory");
		end = lseek(from->delta_fd, at, SEEK_HOLE);
		if (end < 0)
			return err_errno(e, "changes to memory");
		len = (u64)(end - at);
		memset(r->flags + ((u64)at >> PAGE_SHIFT), RAM_PAGE_DIRTY, len >> PAGE_SHIFT);
		if (len >= RUN_MAP_PAGES * PAGE_SIZE && maps < RUN_MAPS_MAX) {
			maps++;
			if (mmap(r->base + at, len, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, from->delta_fd,
				 at) == MAP_FAILED)
				return err_errno(e, "changes to memory");
			continue;
		}
		while (done < len) {
			ssize_t n = pread(from->delta_fd, r->base + at + done, len - done,
					  at + (off_t)done);

			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				return err_errno(e, "changes to memory");
			done += (u64)n;
		}
	}
}

/* --- giving memory back --- */

/* Zeros for a piece of private memory. Under it may lie what the frozen file holds; where that is
 * nothing, dropping the private pages is enough. */
static int discard_private(struct ram *r, u8 *hva, u64 file_off, u64 len)
{
	off_t data = lseek(r->fd, (off_t)file_off, SEEK_DATA);
	bool nothing = (data < 0 && errno == ENXIO) || (data >= 0 && (u64)data >= file_off + len);

	/* What was mapped over the file (a delta, an earlier hole) has it come back: then this will not do. */
	if (nothing && !r->holes && madvise(hva, len, MADV_DONTNEED) == 0)
		return 0;
	if (len >= HOLE_PAGES * PAGE_SIZE && r->holes < HOLES_MAX) {
		r->holes++;
		if (mmap(hva, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED)
			return 0;
		if (errno != ENOMEM)
			return -errno;
	}
	memset(hva, 0, len);
	return 0;
}

static bool all_ram(const struct ram *r, u64 gpa, u64 len)
{
	while (len > 0) {
		const struct ram_block *b = ram_find(r, gpa);
		u64 n;

		if (!b || b->readonly)
			return false;
		n = MIN(len, b->len - (gpa - b->gpa));
		gpa += n;
		len -= n;
		if (gpa == 0 && len > 0)	/* wrapped */
			return false;
	}
	return true;
}

int ram_discard(struct ram *r, u64 gpa, u64 len)
{
	int ret = 0;

	if ((gpa | len) % PAGE_SIZE || !all_ram(r, gpa, len))
		return -EINVAL;
	while (len > 0 && !ret) {
		const struct ram_block *b = ram_find(r, gpa);
		u64 n = MIN(len, b->len - (gpa - b->gpa)), off = b->file_off + (gpa - b->gpa);

		/* A page that has not come in need not come any more. */
		pthread_mutex_lock(&r->fill_lock);
		if (r->private)
			ret = discard_private(r, b->hva + (gpa - b->gpa), off, n);
		else if (madvise(b->hva + (gpa - b->gpa), n, MADV_REMOVE) < 0)
			ret = -errno;	/* a hole in the file, as fallocate() would punch it */
		for (u64 i = 0; !ret && i < n >> PAGE_SHIFT; i++)
			ram_page_arrived(r, (off >> PAGE_SHIFT) + i);
		pthread_mutex_unlock(&r->fill_lock);
		if (!ret)
			ram_wrote(r, gpa, n);
		gpa += n;
		len -= n;
	}
	return ret;
}
