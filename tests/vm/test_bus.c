/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Buses: regions that overlap, accesses that straddle, declared sizes, changes from callbacks. */
#include "unit.h"
#include "vm/bus.h"
#include <errno.h>

/* A device that logs how it was called and whose byte at off is tag + off. */
struct dev {
	u8 tag;
	unsigned n;
	struct { u64 off, val; unsigned len; bool write; } log[64];
	struct bus *unmap_from;
};

static u64 dev_read(void *p, struct vcpu *by, u64 off, unsigned len)
{
	struct dev *d = p;
	u64 v = 0;

	d->log[d->n++ % 64].len = len;
	d->log[(d->n - 1) % 64].off = off;
	for (unsigned i = 0; i < len; i++)
		v |= (u64)(u8)(d->tag + off + i) << (8 * i);
	return v | (len < 8 ? UINT64_MAX << (8 * len) : 0);	/* junk above: the bus cuts it off */
}

static void dev_write(void *p, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct dev *d = p;
	unsigned i = d->n++ % 64;

	d->log[i].off = off;
	d->log[i].val = val;
	d->log[i].len = len;
	d->log[i].write = true;
	if (d->unmap_from)
		bus_unmap(d->unmap_from, 0x100, 0x10, d);
}

static const struct region_ops any_ops = { .read = dev_read, .write = dev_write };
static const struct region_ops byte_ops = { .read = dev_read, .write = dev_write, .impl_max = 1 };
static const struct region_ops dword_ops = { .read = dev_read, .write = dev_write, .impl_min = 4,
					     .impl_max = 4 };
static const struct region_ops exact_ops = { .read = dev_read, .write = dev_write, .only_size = 4 };

static void unassigned(void **st)
{
	struct bus *b = bus_new("t", 0xffff);

	assert_int_equal(bus_read(b, NULL, 0x80, 1), 0xff);
	assert_int_equal(bus_read(b, NULL, 0x80, 2), 0xffff);
	assert_int_equal(bus_read(b, NULL, 0x80, 4), 0xffffffff);
	assert_true(bus_read(b, NULL, 0x80, 8) == UINT64_MAX);
	bus_write(b, NULL, 0x80, 1, 8);
	assert_int_equal(bus_read(b, NULL, 0xffff, 4), 0xffffffff);
	assert_int_equal(bus_read(b, NULL, UINT64_MAX, 4), 0xffffffff);
	bus_free(b);
}

static void mapping(void **st)
{
	struct bus *b = bus_new("t", 0xffff);
	struct dev d = { .tag = 1 };
	struct err e = { 0 };

	assert_int_equal(bus_map(b, 0x100, 0x10, &any_ops, &d, "d", 0, &e), 0);
	assert_int_equal(bus_map(b, 0x10f, 2, &any_ops, &d, "e", 0, &e), -EEXIST);
	assert_int_equal(bus_map(b, 0xfff0, 0x11, &any_ops, &d, "e", 0, &e), -EINVAL);
	assert_int_equal(bus_map(b, 0x10, 0, &any_ops, &d, "e", 0, &e), -EINVAL);
	assert_int_equal(bus_map(b, 0x10, UINT64_MAX, &any_ops, &d, "e", 0, &e), -EINVAL);
	assert_int_equal(bus_map(b, 0xfff0, 0x10, &any_ops, &d, "e", 0, &e), 0);
	assert_int_equal(bus_read(b, NULL, 0xffff, 1), 0x10);
	assert_int_equal(bus_read(b, NULL, 0xffff, 2), 0xff10);	/* beyond the end: nobody */
	assert_int_equal(bus_read(b, NULL, 0x100, 4), 0x04030201);
	bus_unmap(b, 0x100, 0x10, &d);
	assert_int_equal(bus_read(b, NULL, 0x100, 4), 0xffffffff);
	bus_free(b);

	b = bus_new("whole", UINT64_MAX);
	assert_int_equal(bus_map(b, 0x1000, UINT64_MAX - 0xfff, &any_ops, &d, "w", 0, &e), 0);
	assert_int_equal(bus_read(b, NULL, UINT64_MAX, 1), (u8)(1 + 0xff));
	assert_int_equal(bus_read(b, NULL, 0xfff, 2), 0x01ff);
	bus_free(b);
}

static void straddling(void **st)
{
	struct bus *b = bus_new("t", 0xffff);
	struct dev d = { .tag = 0x10 }, f = { .tag = 0x80 };
	struct err e = { 0 };

	bus_map(b, 0x100, 3, &any_ops, &d, "d", 0, &e);
	bus_map(b, 0x104, 4, &any_ops, &f, "f", 0, &e);
	/* 3 bytes of d in pieces of 2 and 1, a hole, then f */
	assert_true(bus_read(b, NULL, 0x100, 8) == 0x83828180ff121110);
	assert_int_equal(d.n, 2);
	assert_int_equal(d.log[0].len, 2);
	assert_int_equal(d.log[1].len, 1);
	assert_int_equal(f.log[0].len, 4);
	d.n = f.n = 0;
	bus_write(b, NULL, 0x102, 0x44332211, 4);
	assert_int_equal(d.n, 1);
	assert_int_equal(d.log[0].val, 0x11);
	assert_int_equal(f.n, 1);
	assert_int_equal(f.log[0].val, 0x4433);
	bus_free(b);
}

static void declared_sizes(void **st)
{
	struct bus *b = bus_new("t", 0xffff);
	struct dev d = { .tag = 0x20 }, w = { .tag = 0x40 };
	struct err e = { 0 };

	bus_map(b, 0x100, 0x10, &byte_ops, &d, "d", 0, &e);
	bus_map(b, 0x200, 0x10, &dword_ops, &w, "w", 0, &e);
	assert_int_equal(bus_read(b, NULL, 0x102, 4), 0x25242322);
	assert_int_equal(d.n, 4);
	d.n = 0;
	bus_write(b, NULL, 0x104, 0xaabb, 2);
	assert_int_equal(d.n, 2);
	assert_int_equal(d.log[0].off, 4);
	assert_int_equal(d.log[0].val, 0xbb);
	assert_int_equal(d.log[1].off, 5);
	assert_int_equal(d.log[1].val, 0xaa);
	/* narrower than the device takes: the aligned dword, shifted */
	assert_int_equal(bus_read(b, NULL, 0x206, 1), 0x46);
	assert_int_equal(w.n, 1);
	assert_int_equal(w.log[0].off, 4);
	assert_int_equal(w.log[0].len, 4);
	assert_int_equal(bus_read(b, NULL, 0x203, 2), 0x4443);
	w.n = 0;
	bus_write(b, NULL, 0x200, 1, 2);	/* dropped */
	assert_int_equal(w.n, 0);
	assert_true(bus_read(b, NULL, 0x200, 8) == 0x4746454443424140);
	assert_int_equal(w.n, 2);
	bus_free(b);
}

static void overlap(void **st)
{
	struct bus *b = bus_new("t", 0xffff);
	struct dev lo = { .tag = 0 }, hi = { .tag = 0x80 };
	struct err e = { 0 };

	bus_map(b, 0x100, 0x100, &any_ops, &lo, "lo", 0, &e);
	bus_map(b, 0x140, 0x10, &any_ops, &hi, "hi", 1, &e);
	assert_int_equal(bus_read(b, NULL, 0x13f, 1), 0x3f);
	assert_int_equal(bus_read(b, NULL, 0x140, 1), 0x80);
	assert_int_equal(bus_read(b, NULL, 0x14f, 1), 0x8f);
	assert_int_equal(bus_read(b, NULL, 0x150, 1), 0x50);	/* offsets from the region's base */
	assert_int_equal(bus_read(b, NULL, 0x13e, 4), 0x81803f3e);
	bus_unmap(b, 0x140, 0x10, &hi);
	assert_int_equal(bus_read(b, NULL, 0x140, 1), 0x40);
	bus_free(b);
}

static void only_size(void **st)
{
	struct bus *b = bus_new("t", 0xffff);
	struct dev x = { .tag = 0xa0 }, y = { .tag = 0x10 };
	struct err e = { 0 };

	assert_int_equal(bus_map(b, 0xcf8, 4, &exact_ops, &x, "cf8", 0, &e), 0);
	assert_int_equal(bus_map(b, 0xcf9, 1, &any_ops, &y, "cf9", 0, &e), 0);
	assert_int_equal(bus_read(b, NULL, 0xcf8, 4), 0xa3a2a1a0);
	assert_int_equal(bus_read(b, NULL, 0xcf9, 1), 0x10);
	assert_int_equal(bus_read(b, NULL, 0xcf8, 2), 0x10ff);
	assert_int_equal(bus_read(b, NULL, 0xcfb, 1), 0xff);
	x.n = 0;
	bus_write(b, NULL, 0xcfb, 1, 1);
	bus_write(b, NULL, 0xcf9, 6, 1);
	assert_int_equal(x.n, 0);
	bus_unmap(b, 0xcf8, 4, &x);
	assert_int_equal(bus_read(b, NULL, 0xcf8, 4), 0xffff10ff);
	bus_free(b);
}

static void change_in_callback(void **st)
{
	struct bus *b = bus_new("t", 0xffff);
	struct dev d = { .unmap_from = b };
	struct err e = { 0 };

	bus_map(b, 0x100, 0x10, &byte_ops, &d, "d", 0, &e);
	bus_map(b, 0x200, 0x10, &byte_ops, &d, "d2", 0, &e);
	bus_write(b, NULL, 0x200, 1, 1);
	assert_int_equal(d.n, 1);
	assert_int_equal(bus_read(b, NULL, 0x100, 1), 0xff);
	bus_free(b);
}

/* Many random regions against a byte map. */
static void against_model(void **st)
{
	enum { N = 40, SPACE = 512 };
	struct dev d[N];
	struct { u64 base, len; int prio; bool on; } r[N] = { 0 };

	srand(7);
	for (unsigned round = 0; round < 200; round++) {
		struct bus *b = bus_new("t", SPACE - 1);
		struct err e = { 0 };

		for (unsigned i = 0; i < N; i++) {
			d[i] = (struct dev){ .tag = (u8)(i * 37) };
			r[i].base = (u64)rand() % SPACE;
			r[i].len = 1 + (u64)rand() % 60;
			r[i].prio = (int)i;
			r[i].on = bus_map(b, r[i].base, r[i].len, &any_ops, &d[i], "d", r[i].prio,
					  &e) == 0;
			assert_true(r[i].on == (r[i].base + r[i].len <= SPACE));
		}
		for (unsigned i = 0; i < N; i += 3)
			if (r[i].on) {
				bus_unmap(b, r[i].base, r[i].len, &d[i]);
				r[i].on = false;
			}
		for (u64 a = 0; a < SPACE; a++) {
			unsigned len = 1u << (rand() % 4);
			u64 want = 0;

			for (unsigned k = 0; k < len; k++) {
				u8 v = 0xff;

				for (unsigned i = 0; i < N; i++)
					if (r[i].on && a + k - r[i].base < r[i].len)
						v = (u8)(d[i].tag + (a + k - r[i].base));
				want |= (u64)v << (8 * k);
			}
			assert_true(bus_read(b, NULL, a, len) == want);
		}
		bus_free(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unassigned), cmocka_unit_test(mapping), cmocka_unit_test(straddling),
		cmocka_unit_test(declared_sizes), cmocka_unit_test(overlap),
		cmocka_unit_test(only_size), cmocka_unit_test(change_in_callback),
		cmocka_unit_test(against_model),
	};

	return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
