/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_qcow2.c - hostile qcow2 images: a sound image in memory with words of its header and tables
 * changed, opened, read, written, discarded, resized, closed, and checked. No harm, no hang, no end
 * that is not told. See fuzz.h for how long. */
#include "fuzz.h"
#include "../tests/block/mem.h"
#include "base/bytes.h"
#include "base/trace.h"
#include "block/image.h"
#include "block/layer.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define ROOM (2 * MiB)		/* of the file in memory */
#define OPS 60

static u64 state;

static u64 rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static u64 odd(const struct qcow2_header *h)
{
	static const u64 v[] = { 0, 1, 2, 3, 9, 21, 22, 63, 64, 0xffff, 0xffffffff, INT64_MAX, UINT64_MAX,
				 1ull << 62, 1ull << 63, 1ull << 56, 0x10000, 0x30000 };
	u64 flags = (rnd() & 1 ? 1ull << 63 : 0) | (rnd() % 8 ? 0 : 1ull << 62) | (rnd() % 8 ? 0 : 1);

	if (rnd() & 1)
		return (rnd() % 40) << h->cluster_bits | flags;
	return rnd() % 3 ? v[rnd() % ARRAY_SIZE(v)] : rnd() >> rnd() % 64;
}

/* The file below: as long as it needs to be, up to what it has. */
static struct mem *file_new(const u8 *image, u64 len)
{
	struct mem *m = mem_new(NULL, ROOM);

	memcpy(m->data, image, len);
	m->b.info.end = len;
	m->b.info.size = 1ull << 62;
	return m;
}

struct io { struct block_req r; struct iovec iov; u8 *buf; bool busy; };

static void on_done(struct block_req *r, int ret)
{
	struct io *io = r->ctx;

	BUG_ON(!io->busy || ret > 0);
	io->busy = false;
}

static void use(struct block *b)
{
	static u8 buf[4][65536];
	struct io io[4] = { 0 };

	for (unsigned n = 0; n < OPS; n++) {
		struct io *p = &io[rnd() % 4];
		u64 size = MIN(b->info.size, rnd() % 4 ? 4 * MiB : UINT64_MAX);

		if (rnd() & 1)
			block_poll(b, true);
		if (p->busy)
			continue;
		p->buf = buf[p - io];
		p->r = (struct block_req){
			.op = (enum block_op)(rnd() % 5), .off = rnd() % (size / 512) * 512,
			.len = 512 + rnd() % 128 * 512, .fua = rnd() % 8 == 0, .unmap = rnd() & 1,
			.iov = &p->iov, .niov = 1, .done = on_done, .ctx = p,
		};
		if (p->r.len > 65536)
			p->r.len = 65536;
		if (p->r.off + p->r.len > b->info.size)
			p->r.len = 512;
		p->iov = (struct iovec){ p->buf, p->r.len };
		p->busy = true;
		block_submit(b, &p->r);
	}
	block_drain(b);
	for (unsigned i = 0; i < 4; i++)
		BUG_ON(io[i].busy);
	if (rnd() % 8 == 0 && !b->info.readonly)
		b->ops->resize(b, (b->info.size + rnd() % (8 * MiB)) & ~511ull, NULL);
}

/* A sound image with something in it, as bytes. Returns their number. */
static u64 seed_image(u8 *image, struct qcow2_header *h)
{
	static const unsigned bits[] = { 9, 10, 12, 16 };
	struct image_spec s = { .format = "qcow2", .size = 64 * KiB << rnd() % 7,
				.cluster_bits = bits[rnd() % 4], .version = 2 + (rnd() & 1) };
	struct qcow2_options o = { .discard = true };
	int fd = memfd_create("seed", MFD_CLOEXEC);
	struct err e = { 0 };
	struct block *b;
	struct mem *m;
	ssize_t n;

	if (fd < 0 || image_create_fd(fd, "seed", &s, &e))
		abort();
	n = pread(fd, image, ROOM, 0);
	close(fd);
	if (n <= 0)
		abort();
	m = file_new(image, (u64)n);
	if (qcow2_header_read(&m->b, "seed", h, &e) || qcow2_new(&b, NULL, &m->b, NULL, "seed", &o, &e))
		abort();
	for (unsigned i = 0; i < 6; i++) {
		u8 buf[4096];

		memset(buf, (int)i, sizeof(buf));
		block_rw(b, BLOCK_WRITE, rnd() % (s.size / 4096) * 4096, buf, sizeof(buf));
	}
	if (block_sync(b, &e))
		abort();
	memcpy(image, m->data, ROOM);
	block_free(b);
	return ROOM;
}

static void spoil(u8 *image, const struct qcow2_header *h)
{
	unsigned n = 1 + (unsigned)(rnd() % 6);

	while (n--) {
		u64 where = rnd() % 8;

		if (where == 0) {
			image[rnd() % 128] = (u8)odd(h);
		} else if (where == 1) {
			put_be64(image + rnd() % 14 * 8, odd(h));
		} else if (where < 4) {
			put_be64(image + h->l1_off + rnd() % MAX(h->l1_size, 1) * 8, odd(h));
		} else if (where == 4) {
			put_be64(image + h->rt_off + rnd() % 8 * 8, odd(h));
		} else if (where == 5) {		/* an L2 entry */
			u64 l2 = get_be64(image + h->l1_off) & 0x00fffffffffffe00ull;

			if (l2 < ROOM - 4096)
				put_be64(image + l2 + rnd() % 64 * 8, odd(h));
		} else {
			put_be64(image + rnd() % (ROOM / 4 - 8), odd(h));
		}
	}
}

static void one_round(u64 seed)
{
	static u8 image[ROOM];
	struct qcow2_header h;
	struct qcow2_options o;
	struct err e = { 0 };
	struct image_check c;
	struct block *b;
	struct mem *m;
	char path[64];
	u64 len;
	int fd;

	state = seed * 0x9e3779b97f4a7c15ull | 1;
	len = seed_image(image, &h);
	o = (struct qcow2_options){ .readonly = rnd() % 4 == 0, .discard = rnd() & 1 };
	spoil(image, &h);
	m = file_new(image, len);
	m->b.info.readonly = o.readonly;
	if (qcow2_new(&b, NULL, &m->b, NULL, "image", &o, &e)) {
		BUG_ON(!e.code || !e.msg[0]);
		block_free(&m->b);
	} else {
		use(b);
		memcpy(image, m->data, ROOM);
		block_free(b);
	}
	fd = memfd_create("check", MFD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fd < 0 || pwrite(fd, image, ROOM / 2, 0) != (ssize_t)(ROOM / 2))
		abort();
	image_check(path, rnd() & 1, &c, NULL, NULL, &e);
	close(fd);
}

int main(int argc, char **argv)
{
	struct fuzz f = fuzz_begin(argc, argv, "fuzz_qcow2");

	log_set_level((enum log_level)-1);
	for (u64 n = 0; fuzz_more(&f, n); n = 1 + OPS)
		one_round(f.seed);
	return fuzz_end(&f);
}
