/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devtest.h - what tests and fuzzers of chips share: a machine without an engine whose clock is
 * driven by hand, lines that count, and a stream of state fields. */
#ifndef PENTA_TESTS_DEV_DEVTEST_H
#define PENTA_TESTS_DEV_DEVTEST_H

#include "state/fields.h"
#include "vm/machine.h"
#include "vm/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define US 1000ull
#define MS 1000000ull
#define SEC 1000000000ull

static inline struct machine *dt_machine(unsigned ncpus)
{
	const struct machine_config cfg = { .ram_size = 16 * MiB, .ncpus = ncpus };
	struct err e = { 0 };
	struct machine *m;

	if (machine_new(&m, &cfg, &e) < 0) {
		fprintf(stderr, "machine_new: %s\n", e.msg);
		abort();
	}
	return m;
}

static inline u64 in(struct machine *m, unsigned port, unsigned len)
{
	return bus_read(m->ports, m->cpu[0], port, len);
}
static inline u8 inb(struct machine *m, unsigned port) { return in(m, port, 1); }
static inline void out(struct machine *m, unsigned port, u64 val, unsigned len)
{
	bus_write(m->ports, m->cpu[0], port, val, len);
}
static inline void outb(struct machine *m, unsigned port, u8 val) { out(m, port, val, 1); }

static inline u64 now(struct machine *m) { return clock_now(m->clock); }
static inline void pass(struct machine *m, u64 ns) { clock_advance(m->clock, now(m) + ns); }

/* Take a vCPU's requests: what a chip asked of it since the last look. */
static inline u32 take_requests(struct vcpu *v) { return atomic_exchange(&v->requests, 0); }

/* A wire's end that remembers. */
struct probe {
	int level;
	unsigned rises, falls;
};
static inline void probe_set(void *chip, unsigned n, int level)
{
	struct probe *p = (struct probe *)chip + n;

	if (level && !p->level)
		p->rises++;
	if (!level && p->level)
		p->falls++;
	p->level = level;
}
static inline struct irq_line probe_line(struct probe *p)
{
	return (struct irq_line){ probe_set, p, 0 };
}

/* --- a stream of fields, as a saved machine has --- */

struct stream {
	u8 *p;
	size_t n;
};

/* The elements of field @name (docs/state.md). */
static inline u8 *stream_field(struct stream *s, const char *name)
{
	u8 head[64] = { (u8)strlen(name) }, *at;

	memcpy(head + 1, name, strlen(name));
	at = memmem(s->p, s->n, head, strlen(name) + 1);
	if (!at)
		abort();
	return at + 1 + strlen(name) + 5;
}

static inline void dev_save(const struct device_class *c, void *dev, struct stream *s)
{
	struct err e = { 0 };

	if (c->pre_save)
		c->pre_save(dev);
	if (state_check(c->state, dev, c->name, &e)) {
		fprintf(stderr, "a running device breaks its declaration: %s\n", e.msg);
		abort();
	}
	struct buf b = { 0 };

	fields_save(c->state, dev, &b);
	if (b.failed)
		abort();
	s->p = b.p;
	s->n = b.len;
}

static inline int dev_load(const struct device_class *c, void *dev, struct stream *s,
			   struct err *e)
{
	int rc = fields_check(c->state, c->version, dev, s->p, s->n, c->name, e);

	if (!rc)
		rc = fields_load(c->state, dev, s->p, s->n, e);
	if (!rc && state_check(c->state, dev, c->name, e))
		abort();	/* what was checked is in range */
	if (!rc && c->post_load)
		rc = c->post_load(dev, e);
	return rc;
}

/* Save @from, load @to (another machine's, at the same time), and see that both are alike. */
static inline void dev_copy(const struct device_class *c, void *from, void *to)
{
	struct stream a = { 0 }, b = { 0 };
	struct err e = { 0 };

	dev_save(c, from, &a);
	if (dev_load(c, to, &a, &e)) {
		fprintf(stderr, "%s: what was saved does not load: %s\n", c->name, e.msg);
		abort();
	}
	dev_save(c, to, &b);
	if (a.n != b.n || (a.n && memcmp(a.p, b.p, a.n))) {
		fprintf(stderr, "%s: loaded state differs from what was saved\n", c->name);
		abort();
	}
	free(a.p);
	free(b.p);
}

#endif
