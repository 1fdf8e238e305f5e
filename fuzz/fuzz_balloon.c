/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_balloon.c - the balloon under page numbers and reports of all kinds: pages that were not named keep
 * what is in them, pages that were named hold zeros, and nothing beside RAM matters. The reference is a
 * plain array. Options: fuzz.h. */
#include "fuzz.h"
#include "../tests/virtio/drive.h"
#include "base/trace.h"
#include "virtio/balloon.h"

enum { INFLATE, DEFLATE, STATS, HINT, REPORT };
#define RAM (16 * MiB)
#define FIRST (4 * MiB)			/* below lie rings and buffers */

static u64 rng_state;
static u64 rnd(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state;
}
static u64 below(u64 n) { return rnd() % n; }

static u8 want[(RAM - FIRST) / PAGE_SIZE];	/* the byte that each page is full of */

static void die(const char *what)
{
	fprintf(stderr, "fuzz_balloon: %s\n", what);
	abort();
}

static void named(u64 gpa)
{
	if (gpa % PAGE_SIZE == 0 && gpa >= FIRST && gpa < RAM)
		want[(gpa - FIRST) / PAGE_SIZE] = 0;
}

static void inflate(struct drive *d)
{
	u8 b[4 * 64];
	unsigned n = (unsigned)below(64) + 1;
	u32 p = (u32)((FIRST + below(RAM - FIRST)) >> PAGE_SHIFT);

	for (unsigned i = 0; i < n; i++) {
		p = below(6) == 0 ? (u32)((FIRST + below(RAM - FIRST)) >> PAGE_SHIFT) :
		    below(20) == 0 ? (u32)rnd() | 0x1000 : below(2) ? p - 1 : p + 1;
		if (p < FIRST >> PAGE_SHIFT)
			p = UINT32_MAX;
		put_le32(b + 4 * i, p);
		named((u64)p << PAGE_SHIFT);
	}
	drive_add(d, INFLATE, b, 4 * n, 0);
	drive_kick(d, INFLATE);
}

/* The pages are the buffer: put one there. */
static void report(struct drive *d, bool poisoned)
{
	u64 gpa = FIRST + below(RAM - FIRST), len = 1 + below(MIN(64 * KiB, RAM - gpa)), heap = d->heap;
	unsigned q = below(4) ? REPORT : HINT;

	d->heap = gpa;
	drive_add(d, q, NULL, 0, len);
	d->heap = heap;
	drive_kick(d, q);
	if (q == REPORT && !poisoned)
		for (u64 at = (gpa + PAGE_SIZE - 1) & PAGE_MASK; at + PAGE_SIZE <= gpa + len; at += PAGE_SIZE)
			named(at);
}

static void compare(struct machine *m)
{
	for (u64 i = 0; i < ARRAY_SIZE(want); i++) {
		const u8 *p = ram_view(m->ram, FIRST + i * PAGE_SIZE, PAGE_SIZE);

		for (unsigned k = 0; k < PAGE_SIZE; k += 64)
			if (p[k] != want[i])
				die(want[i] ? "a page that was not given away is lost" :
				    "a page that was given back holds something");
	}
}

static u64 round_of(u64 seed)
{
	struct machine *m = dt_machine(1);
	struct balloon *b;
	struct drive d;
	struct err e = { 0 };
	u8 junk[200], cfg[4];
	u64 stat[BALLOON_NSTATS];
	bool poisoned = false;

	rng_state = seed * 0x9e3779b97f4a7c15ull | 1;
	if (balloon_new(&b, m, &e) || machine_add_device(m, &balloon_class, b, "balloon", &e))
		die(e.msg);
	drive_attach(&d, m, balloon_virtio(b));
	drive_start(&d, UINT64_MAX & ~(VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED));
	for (u64 i = 0; i < ARRAY_SIZE(want); i++) {
		want[i] = (u8)(1 + below(255));
		memset(ram_view(m->ram, FIRST + i * PAGE_SIZE, PAGE_SIZE), want[i], PAGE_SIZE);
	}
	for (unsigned i = 0; i < 300; i++) {
		switch (below(8)) {
		case 0: case 1: case 2: inflate(&d); break;
		case 3: report(&d, poisoned); break;
		case 4:
			for (unsigned k = 0; k < sizeof(junk); k++)
				junk[k] = (u8)rnd();
			drive_add(&d, below(2) ? STATS : DEFLATE, junk, 1 + below(sizeof(junk)), 0);
			drive_kick(&d, below(2) ? STATS : DEFLATE);
			break;
		case 5:
			put_le32(cfg, below(2) ? 0 : (u32)rnd());
			machine_lock(m);
			if (below(2))
				d.v->cls->config_write(b, 4, cfg, 4);
			else {
				poisoned = get_le32(cfg) != 0;
				d.v->cls->config_write(b, 12, cfg, 4);
			}
			machine_unlock(m);
			break;
		case 6:
			machine_lock(m);
			balloon_stats(b, stat);
			balloon_set_size(b, rnd() % (20 * MiB), NULL);
			if (balloon_size(b) > RAM)
				die("more memory than there is");
			machine_unlock(m);
			break;
		default: {
			u64 k = below(ARRAY_SIZE(want));

			want[k] = (u8)(1 + below(255));		/* the guest uses the page again */
			memset(ram_view(m->ram, FIRST + k * PAGE_SIZE, PAGE_SIZE), want[k], PAGE_SIZE);
		}
		}
		for (unsigned q = 0; q < 5; q++)
			while (drive_get(&d, q, NULL, 0) >= 0)
				;
	}
	compare(m);
	machine_free(m);
	return 300;
}

int main(int argc, char **argv)
{
	struct fuzz f = fuzz_begin(argc, argv, "fuzz_balloon");
	u64 n = 0;

	log_set_level(LOG_ERROR);
	while (fuzz_more(&f, n))
		n = round_of(f.seed);
	return fuzz_end(&f);
}
