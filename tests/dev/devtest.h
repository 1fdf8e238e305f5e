/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devtest.h - what tests and fuzzers of chips share: a machine without an engine whose clock is
 * driven by hand, lines that count, and a stream of state fields. */
#ifndef PENTA_TESTS_DEV_DEVTEST_H
#define PENTA_TESTS_DEV_DEVTEST_H

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

/* --- a stream of fields, as a saved machine will have --- */

struct stream {
	u8 *p;
	size_t n, at, room;
};

static inline void stream_put(struct stream *s, const void *p, size_t n)
{
	if (s->n + n > s->room) {
		s->room = (s->n + n) * 2;
		s->p = realloc(s->p, s->room);
	}
	memcpy(s->p + s->n, p, n);
	s->n += n;
}

static inline void stream_get(struct stream *s, void *p, size_t n)
{
	if (s->at + n > s->n)
		abort();
	memcpy(p, s->p + s->at, n);
	s->at += n;
}

static inline unsigned field_bytes(enum state_type t)
{
	switch (t) {
	case ST_U16: return 2;
	case ST_U32: return 4;
	case ST_U64: case ST_S64: return 8;
	default: return 1;
	}
}

static inline void state_save(const struct state_field *f, const void *obj, struct stream *s)
{
	for (; f->type != ST_END; f++)
		for (u32 i = 0; i < f->count; i++) {
			const u8 *p = (const u8 *)obj + f->offset + (size_t)i * f->stride;

			if (f->type == ST_STRUCT)
				state_save(f->sub, p, s);
			else if (f->type == ST_TIMER)
				stream_put(s, &((const struct vm_timer *)(const void *)p)->deadline_ns, 8);
			else
				stream_put(s, p, field_bytes(f->type));
		}
}

/* As a loader of saved machines does: a value is looked at before it gets into the object. */
static inline int state_load(const struct state_field *f, void *obj, struct stream *s)
{
	for (; f->type != ST_END; f++)
		for (u32 i = 0; i < f->count; i++) {
			u8 *p = (u8 *)obj + f->offset + (size_t)i * f->stride;
			u64 v = 0;

			if (f->type == ST_STRUCT) {
				if (state_load(f->sub, p, s))
					return -1;
				continue;
			}
			stream_get(s, &v, f->type == ST_TIMER ? 8 : field_bytes(f->type));
			if (f->type == ST_TIMER) {
				vm_timer_set((struct vm_timer *)(void *)p, v);
				continue;
			}
			if (f->type != ST_S64 && (v < f->min || v > f->max))
				return -1;
			memcpy(p, &v, field_bytes(f->type));
		}
	return 0;
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
	state_save(c->state, dev, s);
}

static inline int dev_load(const struct device_class *c, void *dev, struct stream *s,
			   struct err *e)
{
	int rc = state_load(c->state, dev, s);

	if (!rc)
		rc = state_check(c->state, dev, c->name, e);
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
