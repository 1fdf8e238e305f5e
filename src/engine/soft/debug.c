/* SPDX-License-Identifier: GPL-2.0-or-later */
/* debug.c - debug registers, breakpoints, single step; and the host debugger's points, which the
 * guest cannot see.
 * After: Intel SDM vol. 3, ch. 17.2-17.3 (DR0-DR7, priorities in table 6-2); AMD APM vol. 2, 13.1.
 * Not modelled: RTM debugging and bus lock detection (their DR6 bits read 1, DR7.RTM is 0).
 *
 * While nothing is armed c->dbg_armed is 0 and nobody calls in here. */
#include "engine/soft/seg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DR6_FIXED	0xffff0ff0ull	/* bits that read 1 */
#define DR6_WRITABLE	0xe00full
#define DR7_FIXED	0x400ull
#define DR7_WRITABLE	0xffff23ffull	/* not 10-12, 14, 15 */
#define DR7_GD		0x2000ull

enum dr7_rw { RW_EXEC, RW_WRITE, RW_IO, RW_ACCESS };

struct debug_state {
	struct debug_ctl ctl;
	struct debug_hit hit;
	bool hit_pending;	/* a host watchpoint was hit by the current instruction */
	bool skip;		/* resuming from an exec point at skip_la: not again at once */
	u64 skip_la;
};

int debug_init(struct cpu *c)
{
	c->debug = calloc(1, sizeof(*c->debug));
	return c->debug ? 0 : -ENOMEM;
}

void debug_free(struct cpu *c)
{
	free(c->debug);
	c->debug = NULL;
}

static unsigned dr_rw(const struct cpu *c, unsigned i) { return c->dr[7] >> (16 + 4 * i) & 3; }
static bool dr_enabled(const struct cpu *c, unsigned i) { return c->dr[7] >> 2 * i & 3; }
static unsigned dr_len(const struct cpu *c, unsigned i)
{
	static const u8 len[] = { 1, 2, 8, 4 };

	return len[c->dr[7] >> (18 + 4 * i) & 3];
}

/* Data breakpoints ignore the address bits below their length. */
static u64 dr_start(const struct cpu *c, unsigned i)
{
	return c->dr[i] & ~(u64)(dr_len(c, i) - 1);
}

static bool overlaps(u64 a, u64 alen, u64 b, u64 blen)
{
	return a - b < blen || b - a < alen;
}

/* Work out what is armed; forget fast paths and blocks that rest on the old points. */
void debug_rearm(struct cpu *c)
{
	u8 armed = 0, was = c->dbg_armed;

	for (unsigned i = 0; i < 4; i++) {
		if (!dr_enabled(c, i))
			continue;
		switch (dr_rw(c, i)) {
		case RW_EXEC: armed |= DBG_EXEC; break;
		case RW_IO: armed |= c->cr4 & CR4_DE ? DBG_IO : 0; break;
		default: armed |= DBG_DATA; break;
		}
	}
	if (c->debug) {
		const struct debug_ctl *d = &c->debug->ctl;

		for (unsigned i = 0; i < d->npoints; i++)
			armed |= d->point[i].type == DEBUG_EXEC ? DBG_EXEC : DBG_DATA;
		if (d->single_step)
			armed |= DBG_STEP;
	}
	c->dbg_armed = armed;
	if ((armed | was) & DBG_EXEC && c->blocks)
		block_flush_all(c);
	if ((armed | was) & DBG_DATA)
		tlb_flush_all(c);
	if (armed != was)
		cpu_look(c);
}

int debug_set_ctl(struct cpu *c, const struct debug_ctl *d)
{
	bool keep = false;

	if (d->npoints > DEBUG_POINTS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < d->npoints; i++)
		if (!d->point[i].len || d->point[i].len > 8 || d->point[i].type > DEBUG_ACCESS)
			return -EINVAL;
	c->debug->ctl = *d;
	for (unsigned i = 0; i < d->npoints; i++)
		keep |= d->point[i].type == DEBUG_EXEC && d->point[i].la == c->debug->skip_la;
	c->debug->skip &= keep;
	c->debug->hit_pending = false;
	debug_rearm(c);
	return 0;
}

struct debug_hit debug_get_hit(const struct cpu *c)
{
	return c->debug->hit;
}

/* --- instruction breakpoints --- */

static bool host_exec_at(const struct cpu *c, u64 la)
{
	const struct debug_ctl *d = &c->debug->ctl;

	for (unsigned i = 0; i < d->npoints; i++)
		if (d->point[i].type == DEBUG_EXEC && d->point[i].la == la)
			return true;
	return false;
}

/* DR6 bits of the enabled instruction breakpoints at @la; as silicon does, a register that
 * matches is reported also when another one enabled it. 0 when no enabled one matches. */
static u64 guest_exec_at(const struct cpu *c, u64 la)
{
	u64 bits = 0;
	bool on = false;

	for (unsigned i = 0; i < 4; i++) {
		if (dr_rw(c, i) != RW_EXEC || c->dr[i] != la)
			continue;
		bits |= BIT(i);
		on |= dr_enabled(c, i);
	}
	return on ? bits : 0;
}

bool debug_exec_at(const struct cpu *c, u64 la)
{
	return guest_exec_at(c, la) || (c->debug && host_exec_at(c, la));
}

bool debug_entry(struct cpu *c)
{
	u64 la = c->lma64 ? c->rip : (u32)(c->seg[SEG_CS].base + c->rip), bits;
	struct debug_state *s = c->debug;

	if (s && s->skip && s->skip_la == la) {
		s->skip = false;
	} else if (s && host_exec_at(c, la)) {
		s->hit = (struct debug_hit){ .la = la, .type = DEBUG_EXEC };
		s->skip = true;
		s->skip_la = la;
		return true;
	} else if (s) {
		s->skip = false;
	}
	if (c->rflags & FL_RF)
		return false;
	bits = guest_exec_at(c, la);
	if (bits) {
		c->dr[6] = (c->dr[6] & ~0xfull) | bits;
		cpu_raise(c, EXC_DB);
	}
	return false;
}

/* --- data and I/O breakpoints: traps --- */

bool debug_watch_page(const struct cpu *c, u64 la)
{
	const struct debug_ctl *d = c->debug ? &c->debug->ctl : NULL;

	la &= PAGE_MASK;
	for (unsigned i = 0; i < 4; i++)
		if (dr_enabled(c, i) && (dr_rw(c, i) & RW_WRITE) &&
		    overlaps(la, PAGE_SIZE, dr_start(c, i), dr_len(c, i)))
			return true;
	for (unsigned i = 0; d && i < d->npoints; i++)
		if (d->point[i].type != DEBUG_EXEC &&
		    overlaps(la, PAGE_SIZE, d->point[i].la, d->point[i].len))
			return true;
	return false;
}

static bool host_type_hit(u8 type, bool write)
{
	return type == DEBUG_ACCESS || type == (write ? DEBUG_WRITE : DEBUG_READ);
}

void debug_watch(struct cpu *c, u64 la, unsigned len, bool write)
{
	struct debug_state *s = c->debug;
	u64 bits = 0;
	bool on = false;

	for (unsigned i = 0; i < 4; i++) {
		unsigned rw = dr_rw(c, i);

		if ((rw != RW_ACCESS && (rw != RW_WRITE || !write)) ||
		    !overlaps(la, len, dr_start(c, i), dr_len(c, i)))
			continue;
		bits |= BIT(i);
		on |= dr_enabled(c, i);
	}
	if (on) {
		c->db_pending |= bits;
		cpu_look(c);
	}
	for (unsigned i = 0; s && i < s->ctl.npoints; i++) {
		const struct debug_point *p = &s->ctl.point[i];

		if (p->type == DEBUG_EXEC || !host_type_hit(p->type, write) ||
		    !overlaps(la, len, p->la, p->len))
			continue;
		s->hit = (struct debug_hit){ .la = p->la, .type = p->type };
		s->hit_pending = true;
		cpu_look(c);
		break;
	}
}

void debug_watch_io(struct cpu *c, u16 port, unsigned size)
{
	u64 bits = 0;
	bool on = false;

	if (!(c->cr4 & CR4_DE))
		return;
	for (unsigned i = 0; i < 4; i++) {
		if (dr_rw(c, i) != RW_IO || !overlaps(port, size, dr_start(c, i), dr_len(c, i)))
			continue;
		bits |= BIT(i);
		on |= dr_enabled(c, i);
	}
	if (on) {
		c->db_pending |= bits;
		cpu_look(c);
	}
}

/* --- after an instruction --- */

bool debug_after(struct cpu *c)
{
	struct debug_state *s = c->debug;
	u64 bits = c->db_pending;
	bool stop = false;

	if (bits) {
		c->db_pending = 0;
		/* B0-B3 are set anew by each data breakpoint, the others only ever set. */
		if (bits & 0xf)
			c->dr[6] &= ~0xfull;
		c->dr[6] |= bits;
		deliver(c, EXC_DB, INT_EXC, false, 0);
	}
	if (s && s->hit_pending) {
		s->hit_pending = false;
		stop = true;
	} else if (s && s->ctl.single_step) {
		u64 la = c->lma64 ? c->rip : (u32)(c->seg[SEG_CS].base + c->rip);

		s->hit = (struct debug_hit){ .step = true, .la = la };
		stop = true;
	}
	return stop;
}

/* --- MOV from and to DRn (the caller has checked CPL) --- */

static unsigned dr_number(struct cpu *c, unsigned n)
{
	if (n >= 8)
		raise_ud(c);
	if (n == 4 || n == 5) {
		if (c->cr4 & CR4_DE)
			raise_ud(c);
		n += 2;
	}
	if (c->dr[7] & DR7_GD) {
		/* A fault: the handler's IRET comes back to this instruction. GD is off then. */
		c->dr[6] |= DR6_BD;
		c->rflags |= FL_RF;
		cpu_raise(c, EXC_DB);
	}
	return n;
}

u64 debug_read_dr(struct cpu *c, unsigned n)
{
	n = dr_number(c, n);
	if (n == 6)
		return (c->dr[6] & DR6_WRITABLE) | DR6_FIXED;
	if (n == 7)
		return (c->dr[7] & DR7_WRITABLE) | DR7_FIXED;
	return c->dr[n];
}

void debug_write_dr(struct cpu *c, unsigned n, u64 val)
{
	n = dr_number(c, n);
	if (n < 4) {
		c->dr[n] = val;
	} else if (val >> 32) {
		raise_gp(c, 0);
	} else if (n == 6) {
		c->dr[6] = (val & DR6_WRITABLE) | DR6_FIXED;
	} else {
		c->dr[7] = (val & DR7_WRITABLE) | DR7_FIXED;
	}
	if (n != 6)
		debug_rearm(c);
}
