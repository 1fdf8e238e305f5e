// SPDX-License-Identifier: GPL-2.0-or-later
/* balloon.c - the memory balloon: pages that the guest lends to the host, on request (inflate) or by
 * itself, when they lie free (free-page reporting).
 * After: Virtio 1.2, 5.5.
 *
 * Free-page hinting is offered and never begun: the standard numbers the reporting queue 4, but drivers
 * that leave queues out number it by what was agreed on; with hinting agreed on both are the same. A
 * driver that takes reporting without hinting gets it on queue 3 and 4.
 *
 * A page that was given back reads as zeros. That is what a guest expects that has put nothing into it;
 * one that poisons its free pages with another byte (PAGE_POISON, poison_val) would find its poison
 * gone and stop, so its reports are acknowledged and nothing is given back.
 *
 * The host keeps no list of lent pages: the guest takes one back by using it. */
#include "virtio/balloon.h"
#include "base/bytes.h"
#include "base/trace.h"
#include <errno.h>
#include <stdlib.h>

DEFINE_TRACE(balloon_pages, "balloon.pages");

enum balloon_queue { Q_INFLATE, Q_DEFLATE, Q_STATS, Q_HINT, Q_REPORT, Q_COUNT };	/* 5.5.2 */
enum balloon_feature {				/* 5.5.3, as bits */
	F_MUST_TELL_HOST = 1 << 0, F_STATS_VQ = 1 << 1, F_DEFLATE_ON_OOM = 1 << 2,
	F_FREE_PAGE_HINT = 1 << 3, F_PAGE_POISON = 1 << 4, F_REPORTING = 1 << 5,
};
enum balloon_config {				/* 5.5.4 */
	CFG_NUM_PAGES = 0,	/* R: what the host wants lent */
	CFG_ACTUAL = 4,		/* RW: what the guest has lent */
	CFG_HINT_CMD_ID = 8,	/* R: 0, stop hinting */
	CFG_POISON_VAL = 12,	/* RW */
	CFG_LEN = 16
};
#define BALLOON_SIZE_MIN (16 * MiB)	/* asked to live with less, a guest dies */
#define QUEUE_SIZE 128u
#define BATCH 64u			/* requests before others get the lock */
#define PFNS_MAX 8192u			/* of one request; Linux sends 256 */
#define STAT_LEN 10u			/* 5.5.6.3: le16 tag, le64 value */
#define STATS_MAX 64u

struct balloon {
	struct virtio v;
	u32 num_pages, actual, poison_val;
	u64 stat[BALLOON_NSTATS];
	u64 reported;
	bool telling;		/* tell() is posted: a guest that writes without end posts one */
	void (*changed)(void *ctx);
	void *ctx;
};

/* --- pages --- */

/* Page numbers in a request: neighbours go together. What is no RAM is not ours to give. */
static void inflate(struct balloon *b, struct ring_chain *c)
{
	u64 n = MIN(c->read_len / 4, (u64)PFNS_MAX), gpa = 0, len = 0;
	u8 pfn[4 * 256];

	for (u64 at = 0; at < n; at += 256) {
		u64 k = MIN(n - at, 256u);

		chain_read(c, 4 * at, pfn, 4 * k);
		for (u64 i = 0; i < k; i++) {
			u64 p = (u64)get_le32(pfn + 4 * i) << PAGE_SHIFT;

			if (!ram_view(b->v.m->ram, p, PAGE_SIZE))
				continue;
			if (len && p == gpa + len) {
				len += PAGE_SIZE;
			} else if (len && p + PAGE_SIZE == gpa) {	/* Linux goes down */
				gpa = p;
				len += PAGE_SIZE;
			} else {
				if (len)
					ram_discard(b->v.m->ram, gpa, len);
				gpa = p;
				len = PAGE_SIZE;
			}
		}
	}
	if (len && ram_discard(b->v.m->ram, gpa, len) < 0)
		log_limited(LOG_DEBUG, "balloon: page %#llx cannot be given back",
			    (unsigned long long)gpa);
	TRACE(balloon_pages, "inflate pages=%llu", (unsigned long long)n);
}

/* A report: the buffers themselves are the free pages (5.5.6.7). */
static void report(struct balloon *b, struct ring_chain *c)
{
	u64 sum = 0;

	if (virtio_has(&b->v, F_PAGE_POISON) && b->poison_val)
		return;
	for (unsigned i = c->nread; i < c->nread + c->nwrite; i++) {
		u64 from = (c->seg[i].gpa + PAGE_SIZE - 1) & PAGE_MASK;
		u64 to = (c->seg[i].gpa + c->seg[i].len) & PAGE_MASK;

		if (from < to && ram_discard(b->v.m->ram, from, to - from) == 0)
			sum += to - from;
	}
	b->reported += sum;
	TRACE(balloon_pages, "report bytes=%llu", (unsigned long long)sum);
}

static void read_stats(struct balloon *b, struct ring_chain *c)
{
	u8 s[STAT_LEN];

	for (unsigned i = 0; i < STATS_MAX; i++) {
		u16 tag;

		if (chain_read(c, i * STAT_LEN, s, sizeof(s)) < sizeof(s))
			break;
		tag = get_le16(s);
		if (tag < BALLOON_NSTATS)
			b->stat[tag] = get_le64(s + 2);
	}
}

static void balloon_kick(void *dev, unsigned q)
{
	struct balloon *b = dev;
	struct ring_chain *c;
	unsigned left = BATCH;

	if (q == Q_STATS) {
		/* The buffer stays with the driver's offer until new figures are wanted. */
		c = virtio_pop(&b->v, q);
		if (c) {
			read_stats(b, c);
			ring_unpop(c);
		}
		return;
	}
	while (left && (c = virtio_pop(&b->v, q))) {
		if (q == Q_INFLATE)
			inflate(b, c);
		else if (q == Q_REPORT || (q == Q_HINT && !virtio_has(&b->v, F_FREE_PAGE_HINT)))
			report(b, c);
		/* Q_DEFLATE: the guest uses the page, and the host gives it one. */
		ring_push(c, 0);
		left--;
	}
	virtio_notify(&b->v, q);
	if (!left)
		virtio_kick(&b->v, q);
}

/* --- configuration --- */

static void config_bytes(const struct balloon *b, u8 *c)
{
	put_le32(c + CFG_NUM_PAGES, b->num_pages);
	put_le32(c + CFG_ACTUAL, b->actual);
	put_le32(c + CFG_HINT_CMD_ID, 0);
	put_le32(c + CFG_POISON_VAL, b->poison_val);
}

static void balloon_config_read(void *dev, unsigned off, u8 *buf, unsigned len)
{
	u8 c[CFG_LEN];

	config_bytes(dev, c);
	memcpy(buf, c + off, len);
}

static void tell(void *ctx)
{
	struct balloon *b = ctx;

	b->telling = false;
	if (b->changed)
		b->changed(b->ctx);
}

static void balloon_config_write(void *dev, unsigned off, const u8 *buf, unsigned len)
{
	struct balloon *b = dev;
	u32 actual = b->actual, pages = (u32)MIN(ram_size(b->v.m->ram) >> PAGE_SHIFT,
						 (u64)UINT32_MAX);
	u8 c[CFG_LEN];

	config_bytes(b, c);
	memcpy(c + off, buf, len);
	b->actual = MIN(get_le32(c + CFG_ACTUAL), pages);
	b->poison_val = get_le32(c + CFG_POISON_VAL);
	if (b->actual != actual && !b->telling) {
		b->telling = true;
		loop_post(b->v.m->loop, tell, b);	/* this is a vCPU's thread */
	}
}

/* --- for the host --- */

u64 balloon_size(const struct balloon *b)
{
	return ram_size(b->v.m->ram) - ((u64)b->actual << PAGE_SHIFT);
}

u64 balloon_reported(const struct balloon *b)
{
	return b->reported;
}

bool balloon_running(const struct balloon *b)
{
	return virtio_running(&b->v);
}

int balloon_set_size(struct balloon *b, u64 bytes, struct err *e)
{
	u64 all = ram_size(b->v.m->ram), min = MIN(all, BALLOON_SIZE_MIN);

	if (bytes < min || bytes > all)
		return err_set(e, EINVAL, "balloon: %llu KiB; the guest can be left with %llu MiB to %llu",
			       (unsigned long long)(bytes / KiB), (unsigned long long)(min / MiB),
			       (unsigned long long)(all / MiB));
	b->num_pages = (u32)MIN((all - bytes) >> PAGE_SHIFT, (u64)UINT32_MAX);
	virtio_config_changed(&b->v);
	if (!balloon_running(b))
		return err_set(e, ENODEV, "balloon: the guest's driver is not there; it will be told "
			       "when it comes");
	return 0;
}

void balloon_on_change(struct balloon *b, void (*fn)(void *ctx), void *ctx)
{
	b->changed = fn;
	b->ctx = ctx;
}

void balloon_stats(struct balloon *b, u64 stat[BALLOON_NSTATS])
{
	struct ring_chain *c;

	memcpy(stat, b->stat, sizeof(b->stat));
	if (!virtio_running(&b->v) || !virtio_has(&b->v, F_STATS_VQ))
		return;
	c = virtio_pop(&b->v, Q_STATS);
	if (c) {
		ring_push(c, 0);
		virtio_notify(&b->v, Q_STATS);
	}
}

/* --- the device --- */

static void forget(struct balloon *b)
{
	u32 actual = b->actual;

	b->actual = b->poison_val = 0;
	for (unsigned i = 0; i < BALLOON_NSTATS; i++)
		b->stat[i] = BALLOON_STAT_NONE;
	if (actual)
		tell(b);
}

static void balloon_stop(void *dev, int q)
{
	if (q < 0)
		forget(dev);
}

static const struct virtio_class balloon_virtio_class = {
	.name = "virtio-balloon", .type = VIRTIO_BALLOON, .pci_class = 0x00ff00,
	.config_len = CFG_LEN, .config_read = balloon_config_read,
	.config_write = balloon_config_write, .stop = balloon_stop, .kick = balloon_kick,
};

static void balloon_reset(void *dev)
{
	struct balloon *b = dev;

	virtio_reset(&b->v);
	forget(b);
}

static void balloon_free(void *dev)
{
	struct balloon *b = dev;

	if (!b)
		return;
	virtio_fini(&b->v);
	free(b);
}

static int balloon_post_load(void *dev, struct err *e)
{
	struct balloon *b = dev;
	u64 pages = ram_size(b->v.m->ram) >> PAGE_SHIFT;

	if (b->actual > pages || b->num_pages > pages)
		return err_set(e, EINVAL, "balloon: %u pages lent and %u wanted, of %llu", b->actual,
			       b->num_pages, (unsigned long long)pages);
	return virtio_post_load(&b->v, e);
}

static const struct state_field balloon_state[] = {
	STATE_STRUCT(struct balloon, v, virtio_state),
	STATE_U32(struct balloon, num_pages, 0, UINT32_MAX),
	STATE_U32(struct balloon, actual, 0, UINT32_MAX),
	STATE_U32(struct balloon, poison_val, 0, UINT32_MAX),
	STATE_U64_ARRAY(struct balloon, stat),
	STATE_END
};

const struct device_class balloon_class = {
	.name = "virtio-balloon", .version = 1, .state = balloon_state, .reset = balloon_reset,
	.free = balloon_free, .post_load = balloon_post_load,
};

int balloon_new(struct balloon **out, struct machine *m, struct err *e)
{
	struct balloon *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return err_set(e, ENOMEM, "balloon: out of memory");
	r = virtio_init(&b->v, m, &balloon_virtio_class, b,
			F_MUST_TELL_HOST | F_STATS_VQ | F_DEFLATE_ON_OOM | F_FREE_PAGE_HINT |
			F_PAGE_POISON | F_REPORTING, Q_COUNT, QUEUE_SIZE, e);
	if (r < 0) {
		balloon_free(b);
		return r;
	}
	forget(b);
	*out = b;
	return 0;
}

struct virtio *balloon_virtio(struct balloon *b)
{
	return &b->v;
}
