/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bus.c - regions of an address space and the way an access takes to them. See bus.h.
 *
 * Regions may overlap when their priorities differ. What an access needs is flat: whenever
 * regions change, the address space is cut into spans that do not overlap, sorted, each with the
 * region that wins there. A lookup tries the span of the last hit, then searches by halves. All
 * under the machine lock; a device's callback may map and unmap (PCI does), so nothing of the
 * table is held across a call. */
#include "vm/bus.h"
#include "base/bytes.h"
#include "base/trace.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

DEFINE_TRACE(bus_unassigned, "bus.unassigned");
DEFINE_TRACE(bus_io, "bus.access");

struct region {
	u64 base, last;			/* inclusive */
	const struct region_ops *ops;
	void *dev;
	char *name;
	int prio;
};

struct span {
	u64 base, last;
	unsigned region;		/* index */
};

struct bus {
	const char *name;
	u64 limit;
	struct region *region;
	unsigned nregion;
	struct span *span;
	unsigned nspan;
	unsigned hint;			/* span of the last hit */
	unsigned nexact;		/* regions with ops->only_size: not in spans */
};

struct bus *bus_new(const char *name, u64 limit)
{
	struct bus *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->name = name;
	b->limit = limit;
	return b;
}

void bus_free(struct bus *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < b->nregion; i++)
		free(b->region[i].name);
	free(b->region);
	free(b->span);
	free(b);
}

static int by_u64(const void *pa, const void *pb)
{
	u64 a = *(const u64 *)pa, b = *(const u64 *)pb;

	return a < b ? -1 : a > b;
}

/* The region that answers at @addr, or -1. */
static int winner(const struct bus *b, u64 addr)
{
	int best = -1;

	for (unsigned i = 0; i < b->nregion; i++) {
		const struct region *r = &b->region[i];

		if (addr >= r->base && addr <= r->last && !r->ops->only_size &&
		    (best < 0 || r->prio > b->region[best].prio))
			best = (int)i;
	}
	return best;
}

/* Cut the address space anew, at each region's base and behind its last byte. Regions come and go
 * rarely and are few: n * n is fine. */
static void flatten(struct bus *b)
{
	unsigned n = 0, k = 0;
	u64 *cut = malloc((2 * b->nregion + 1) * sizeof(*cut));
	struct span *span = malloc((2 * b->nregion + 1) * sizeof(*span));

	BUG_ON(!cut || !span);
	for (unsigned i = 0; i < b->nregion; i++) {
		cut[n++] = b->region[i].base;
		if (b->region[i].last != UINT64_MAX)
			cut[n++] = b->region[i].last + 1;
	}
	qsort(cut, n, sizeof(*cut), by_u64);
	for (unsigned i = 0; i < n; i++) {
		u64 last = i + 1 < n ? cut[i + 1] - 1 : UINT64_MAX;
		int w;

		if (i + 1 < n && cut[i + 1] == cut[i])
			continue;
		w = winner(b, cut[i]);
		if (w < 0)
			continue;
		if (k && span[k - 1].region == (unsigned)w && span[k - 1].last + 1 == cut[i])
			span[k - 1].last = last;
		else
			span[k++] = (struct span){ cut[i], last, (unsigned)w };
	}
	free(cut);
	free(b->span);
	b->span = span;
	b->nspan = k;
	b->hint = 0;
}

int bus_map(struct bus *b, u64 base, u64 len, const struct region_ops *ops, void *dev,
	    const char *name, int prio, struct err *e)
{
	struct region *r;
	u64 last;

	if (len == 0 || !add_ok(base, len - 1, &last) || last > b->limit)
		return err_set(e, EINVAL, "%s: region %s at %#llx, length %#llx, does not fit",
			       b->name, name, (unsigned long long)base, (unsigned long long)len);
	for (unsigned i = 0; i < b->nregion; i++) {
		r = &b->region[i];
		if (r->prio == prio && base <= r->last && r->base <= last &&
		    !r->ops->only_size == !ops->only_size)
			return err_set(e, EEXIST, "%s: region %s at %#llx overlaps %s at %#llx",
				       b->name, name, (unsigned long long)base, r->name,
				       (unsigned long long)r->base);
	}
	r = realloc(b->region, (b->nregion + 1) * sizeof(*r));
	if (!r)
		return err_set(e, ENOMEM, "%s: out of memory", b->name);
	b->region = r;
	r[b->nregion] = (struct region){ .base = base, .last = last, .ops = ops, .dev = dev,
		.name = strdup(name), .prio = prio };
	BUG_ON(!r[b->nregion].name);
	b->nregion++;
	b->nexact += ops->only_size != 0;
	flatten(b);
	return 0;
}

void bus_unmap(struct bus *b, u64 base, u64 len, void *dev)
{
	for (unsigned i = 0; i < b->nregion; i++) {
		struct region *r = &b->region[i];

		if (r->base != base || r->last != base + (len - 1) || r->dev != dev)
			continue;
		free(r->name);
		b->nexact -= r->ops->only_size != 0;
		memmove(r, r + 1, (b->nregion - i - 1) * sizeof(*r));
		b->nregion--;
		flatten(b);
		return;
	}
	BUG("bus_unmap of a region that is not mapped");
}

/* The span that holds @addr, or NULL. *@n: how many bytes from @addr on are alike (in the span, or
 * unassigned), at most what it was. */
static const struct span *find(struct bus *b, u64 addr, unsigned *n)
{
	unsigned lo = 0, hi = b->nspan;
	const struct span *s;

	if (b->hint < b->nspan) {
		s = &b->span[b->hint];
		if (addr >= s->base && addr <= s->last && s->last - addr >= *n - 1)
			return s;
	}
	while (lo < hi) {		/* the first span that ends at or after addr */
		unsigned mid = lo + (hi - lo) / 2;

		if (b->span[mid].last < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == b->nspan)
		return NULL;
	s = &b->span[lo];
	if (addr < s->base) {
		*n = (unsigned)MIN((u64)*n, s->base - addr);
		return NULL;
	}
	b->hint = lo;
	if (s->last - addr < *n - 1)
		*n = (unsigned)(s->last - addr + 1);
	return s;
}

static u64 cut_to(u64 val, unsigned len)
{
	return len >= 8 ? val : val & (BIT(8 * len) - 1);
}

/* The largest power of two that is not above @n: devices get no access of three bytes. */
static unsigned pow2_floor(unsigned n)
{
	return n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
}

static const char *reg_name(const struct region *r, u64 off)
{
	unsigned step = r->ops->impl_min ? r->ops->impl_min : 1;

	if (!r->ops->reg_names || !r->ops->reg_names[off / step])
		return "";
	return r->ops->reg_names[off / step];
}

/* One call of a device's reader with a size it takes, which begins at @off. */
static u64 read_wide(const struct region *r, struct vcpu *by, u64 off, unsigned len)
{
	unsigned min = r->ops->impl_min ? r->ops->impl_min : 1, skip;
	u64 v;

	if (len >= min)
		return cut_to(r->ops->read(r->dev, by, off, len), len);
	skip = (unsigned)(off & (min - 1));
	v = cut_to(r->ops->read(r->dev, by, off - skip, min), min) >> (8 * skip);
	if (skip + len > min)		/* it straddles two of the device's registers */
		v |= r->ops->read(r->dev, by, off - skip + min, min) << (8 * (min - skip));
	return cut_to(v, len);
}

/* Wholly inside the span of region @i; @len is a power of two. */
static u64 region_read(struct bus *b, unsigned i, struct vcpu *by, u64 addr, unsigned len)
{
	struct region r = b->region[i];		/* the callback may change the table */
	unsigned max = r.ops->impl_max ? r.ops->impl_max : 8, step = MIN(len, max);
	u64 val = 0;

	if (TRACE_ON(bus_io))
		TRACE(bus_io, "%s read %#llx %s.%s len=%u", b->name, (unsigned long long)addr,
		      r.name, reg_name(&r, addr - r.base), len);
	if (!r.ops->read)
		return cut_to(UINT64_MAX, len);
	for (unsigned at = 0; at < len; at += step)
		val |= read_wide(&r, by, addr - r.base + at, step) << (8 * at);
	return val;
}

static void region_write(struct bus *b, unsigned i, struct vcpu *by, u64 addr, u64 val,
			 unsigned len)
{
	struct region r = b->region[i];
	unsigned min = r.ops->impl_min ? r.ops->impl_min : 1;
	unsigned max = r.ops->impl_max ? r.ops->impl_max : 8, step = MIN(len, max);

	if (TRACE_ON(bus_io))
		TRACE(bus_io, "%s write %#llx %s.%s len=%u val=%#llx", b->name,
		      (unsigned long long)addr, r.name, reg_name(&r, addr - r.base), len,
		      (unsigned long long)val);
	if (!r.ops->write || len < min)
		return;
	for (unsigned at = 0; at < len; at += step)
		r.ops->write(r.dev, by, addr - r.base + at, cut_to(val >> (8 * at), step), step);
}

/* The region with only_size that takes just this access, or -1. */
static int exact(const struct bus *b, u64 addr, unsigned len)
{
	for (unsigned i = 0; i < b->nregion; i++)
		if (b->region[i].ops->only_size == len && b->region[i].base == addr)
			return (int)i;
	return -1;
}

u64 bus_read(struct bus *b, struct vcpu *by, u64 addr, unsigned len)
{
	u64 val = 0;
	int x = b->nexact ? exact(b, addr, len) : -1;

	if (x >= 0)
		return region_read(b, (unsigned)x, by, addr, len);
	for (unsigned at = 0, n; at < len; at += n) {
		const struct span *s;

		n = len - at;
		if (addr + at < addr || addr + at > b->limit)	/* beyond the end: nobody */
			return val | cut_to(UINT64_MAX, n) << (8 * at);
		s = find(b, addr + at, &n);
		n = pow2_floor(n);
		if (s) {
			val |= region_read(b, s->region, by, addr + at, n) << (8 * at);
		} else {
			TRACE(bus_unassigned, "%s read %#llx len=%u", b->name,
			      (unsigned long long)(addr + at), n);
			val |= cut_to(UINT64_MAX, n) << (8 * at);
		}
	}
	return val;
}

void bus_write(struct bus *b, struct vcpu *by, u64 addr, u64 val, unsigned len)
{
	int x = b->nexact ? exact(b, addr, len) : -1;

	if (x >= 0) {
		region_write(b, (unsigned)x, by, addr, val, len);
		return;
	}
	for (unsigned at = 0, n; at < len; at += n) {
		const struct span *s;

		n = len - at;
		if (addr + at < addr || addr + at > b->limit)
			return;
		s = find(b, addr + at, &n);
		n = pow2_floor(n);
		if (s)
			region_write(b, s->region, by, addr + at, cut_to(val >> (8 * at), n), n);
		else
			TRACE(bus_unassigned, "%s write %#llx len=%u val=%#llx", b->name,
			      (unsigned long long)(addr + at), n,
			      (unsigned long long)cut_to(val >> (8 * at), n));
	}
}
