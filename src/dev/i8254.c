// SPDX-License-Identifier: GPL-2.0-or-later
/* i8254.c - the PC's interval timer: three counters at 40-43, and port 61.
 * After: Intel 8254 data sheet (231164-005); IBM AT Technical Reference (6139362), port 61.
 *
 * Nothing ticks. A counter remembers at which tick (of machine time, 1.193182 MHz) its current
 * count was loaded; count, OUT and the next edge of OUT are computed from that when asked. A
 * count written while mode 2 or 3 runs waits in `next` until the cycle (half cycle) ends.
 * IRQ 0 is told of rising edges only: between two of them its line stays high, so that a guest
 * that is late finds its request still there.
 * Not modelled: counter 1's refresh is port 61's toggling bit, computed. */
#include "dev/i8254.h"

#include "base/trace.h"
#include "vm/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

DEFINE_TRACE(pit_write, "pit.write");
DEFINE_TRACE(pit_irq, "pit.irq");

#define PIT_BASE	0x40
#define PORT61		0x61
#define P61_GATE2	0x01
#define P61_SPEAKER	0x02
#define P61_RW		0x0f	/* bits 2 and 3: parity and channel check disabled */
#define P61_REFRESH	0x10
#define P61_OUT2	0x20
#define REFRESH_NS	15085	/* each refresh request toggles bit 4 */

#define CW_BCD		0x01
#define CW_MODE(v)	((v) >> 1 & 7)
#define CW_RW(v)	((v) >> 4 & 3)
#define CW_COUNTER(v)	((v) >> 6)
enum { RW_LATCH, RW_LSB, RW_MSB, RW_BOTH };
#define RB_NO_COUNT	0x20	/* read-back command: active low */
#define RB_NO_STATUS	0x10

/* IRQ 0 comes no faster than this; edges in between fall together. */
#define IRQ_MIN_NS	20000

struct counter {
	u8 mode;		/* 0-5 */
	u8 rw;			/* enum RW_ */
	bool bcd;
	bool gate;
	bool armed;		/* a count has been written since the control word */
	bool triggered;		/* modes 1, 5: the gate has risen; others: the count is loaded */
	bool paused;		/* modes 0, 4: gate low; `held` ticks have been counted */
	u32 count;		/* initial count, 1 .. 65536 (BCD: 10000) */
	u64 loaded_at;		/* tick at which count was loaded; may be the next one */
	u64 held;
	bool next_pending;	/* next takes over at next_at */
	u32 next;
	u64 next_at;
	bool write_msb, read_msb;	/* RW_BOTH: which byte is next */
	u8 write_lsb;
	bool count_latched, status_latched;
	u16 latch;
	u8 status;
};

struct i8254 {
	struct machine *m;
	struct irq_line irq0;
	bool irq0_on;
	bool mapped[2];
	struct counter c[3];
	u8 port61;
	struct vm_timer timer;	/* the next rising edge of OUT 0 */
};

/* --- ticks --- */

#define NS_PER_S 1000000000u

static u64 tick_now(const struct i8254 *p)
{
	return (u128)clock_now(p->m->clock) * I8254_HZ / NS_PER_S;
}

/* First ns at which tick_now() is @tick. */
static u64 ns_of_tick(u64 tick)
{
	u128 ns = ((u128)tick * NS_PER_S + I8254_HZ - 1) / I8254_HZ;

	return ns > UINT64_MAX - 1 ? UINT64_MAX - 1 : (u64)ns;
}

static u32 modulus(const struct counter *c) { return c->bcd ? 10000 : 65536; }

static u32 high_ticks(u32 count) { return (count + 1) / 2; }	/* mode 3 */

/* Let a waiting count take over when its time has come. */
static void settle(struct counter *c, u64 now)
{
	if (!c->next_pending || now < c->next_at)
		return;
	c->next_pending = false;
	/* In mode 3 it may come at the end of the high half: then the low half begins. */
	if (c->mode == 3 && (c->next_at - c->loaded_at) % c->count)
		c->loaded_at = c->next_at - high_ticks(c->next);
	else
		c->loaded_at = c->next_at;
	c->count = c->next;
}

static u64 elapsed(const struct counter *c, u64 now)
{
	if (c->paused)
		return c->held;
	return now > c->loaded_at ? now - c->loaded_at : 0;
}

/* OUT. Settled. */
static bool out(const struct counter *c, u64 now)
{
	u64 t = elapsed(c, now);

	switch (c->mode) {
	case 0: return c->armed && t >= c->count;
	case 1: return !c->triggered || t >= c->count;
	case 2: return !c->armed || !c->gate || t % c->count != c->count - 1;
	case 3: return !c->armed || !c->gate || t % c->count < high_ticks(c->count);
	default: return !c->armed || !c->triggered || t != c->count;	/* 4, 5: one tick low */
	}
}

static u16 to_bcd(u32 v)
{
	return v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10;
}

static u32 from_bcd(u16 v)
{
	return (v >> 12) * 1000 + (v >> 8 & 15) * 100 + (v >> 4 & 15) * 10 + (v & 15);
}

/* The counting element as a read shows it. Settled. */
static u16 counting(const struct counter *c, u64 now)
{
	u64 t = elapsed(c, now);
	u32 mod = modulus(c), v, half, high;

	switch (c->mode) {
	case 2:
		v = c->gate ? c->count - t % c->count : c->count;
		break;
	case 3:
		/* Counts by two. An odd count is loaded less one; the high half has one tick more,
		 * at the end of which it stands at 0. */
		t = c->gate ? t % c->count : 0;
		high = high_ticks(c->count);
		half = t < high ? t : t - high;
		v = (c->count & ~1u) - 2 * half;
		break;
	case 1: case 5:
		v = (c->count + mod - (c->triggered ? t % mod : 0)) % mod;
		break;
	default:
		v = (c->count + mod - t % mod) % mod;
		break;
	}
	v %= mod;
	return c->bcd ? to_bcd(v) : v;
}

static bool null_count(const struct counter *c, u64 now)
{
	if (!c->armed || c->next_pending)
		return true;
	if (c->mode == 1 || c->mode == 5)
		return !c->triggered;
	return !c->paused && now < c->loaded_at;
}

/* --- IRQ 0 --- */

/* The next tick after @now at which OUT rises, or UINT64_MAX. Settled. */
static u64 next_rise(const struct counter *c, u64 now)
{
	u64 t = elapsed(c, now), at;

	if (!c->armed || c->paused)
		return UINT64_MAX;
	switch (c->mode) {
	case 0:
		return t < c->count ? c->loaded_at + c->count : UINT64_MAX;
	case 1:
		return c->triggered && t < c->count ? c->loaded_at + c->count : UINT64_MAX;
	case 2: case 3:
		if (!c->gate)
			return UINT64_MAX;
		at = c->loaded_at + (now < c->loaded_at ? 1 : t / c->count + 1) * c->count;
		if (c->next_pending && c->next_at < at)		/* mode 3, half way */
			at = c->next_at + c->next - high_ticks(c->next);
		return at;
	default:
		return c->triggered && t <= c->count ? c->loaded_at + c->count + 1 : UINT64_MAX;
	}
}

static void arm(struct i8254 *p)
{
	u64 now = tick_now(p), rise;

	settle(&p->c[0], now);
	rise = p->irq0_on ? next_rise(&p->c[0], now) : UINT64_MAX;
	if (rise == UINT64_MAX) {
		vm_timer_del(&p->timer);
		return;
	}
	vm_timer_set(&p->timer, ns_of_tick(rise));
}

static void fire(void *ctx)
{
	struct i8254 *p = ctx;
	u64 earliest = clock_now(p->m->clock) + IRQ_MIN_NS;

	TRACE(pit_irq, "tick=%llu", (unsigned long long)tick_now(p));
	irq_set(p->irq0, 0);
	irq_set(p->irq0, 1);
	arm(p);
	if (vm_timer_armed(&p->timer) && p->timer.deadline_ns < earliest)
		vm_timer_set(&p->timer, earliest);
}

/* After something was written: OUT 0 may be elsewhere now. */
static void changed(struct i8254 *p, unsigned n)
{
	if (n != 0)
		return;
	settle(&p->c[0], tick_now(p));
	if (p->irq0_on)
		irq_set(p->irq0, out(&p->c[0], tick_now(p)));
	arm(p);
}

/* --- gate --- */

static void set_gate(struct counter *c, bool gate, u64 now)
{
	bool rose = gate && !c->gate;

	settle(c, now);
	if (gate == c->gate)
		return;
	switch (c->mode) {
	case 0: case 4:				/* low: counting stands */
		if (gate) {
			c->loaded_at = now - MIN(c->held, now);
			c->paused = false;
		} else {
			c->held = elapsed(c, now);
			c->paused = true;
		}
		break;
	case 1: case 5:				/* a rise starts it (again) */
		if (rose && c->armed) {
			if (c->next_pending) {
				c->count = c->next;
				c->next_pending = false;
			}
			c->triggered = true;
			c->loaded_at = now + 1;
		}
		break;
	default:				/* low: OUT high; a rise reloads */
		if (rose && c->armed) {
			if (c->next_pending) {
				c->count = c->next;
				c->next_pending = false;
			}
			c->loaded_at = now + 1;
		}
		break;
	}
	c->gate = gate;
}

/* --- writes --- */

static void load(struct counter *c, u16 raw, u64 now)
{
	u32 count = c->bcd ? from_bcd(raw) : raw;
	bool running = c->armed;

	if (count == 0)
		count = modulus(c);
	if (count > modulus(c))			/* digits above 9 */
		count %= modulus(c);
	if (count == 1 && (c->mode == 2 || c->mode == 3))
		count = 2;			/* illegal: the data sheet allows 2 and more */
	settle(c, now);
	c->armed = true;
	switch (c->mode) {
	case 0: case 4:				/* at the next tick */
		c->count = count;
		c->loaded_at = now + 1;
		c->held = 0;
		c->paused = !c->gate;
		c->triggered = true;
		break;
	case 1: case 5:				/* at the next trigger */
		if (c->triggered) {
			c->next = count;
			c->next_at = UINT64_MAX;
			c->next_pending = true;
		} else {
			c->count = count;
		}
		break;
	default:
		if (!running || !c->gate) {
			c->count = count;
			c->loaded_at = now + 1;
			c->next_pending = false;
			break;
		}
		u64 t = elapsed(c, now), cycle = t / c->count * c->count;

		c->next = count;
		c->next_at = c->loaded_at + cycle + c->count;
		if (c->mode == 3 && t - cycle < high_ticks(c->count))
			c->next_at = c->loaded_at + cycle + high_ticks(c->count);
		c->next_pending = true;
		break;
	}
}

static void write_counter(struct i8254 *p, unsigned n, u8 val)
{
	struct counter *c = &p->c[n];
	u64 now = tick_now(p);

	switch (c->rw) {
	case RW_LSB: load(c, val, now); break;
	case RW_MSB: load(c, val << 8, now); break;
	default:
		if (!c->write_msb) {
			c->write_lsb = val;
			c->write_msb = true;
			if (c->mode == 0 && c->armed) {	/* the first byte stops it, OUT low */
				settle(c, now);
				c->held = 0;
				c->paused = true;
			}
			break;
		}
		c->write_msb = false;
		load(c, val << 8 | c->write_lsb, now);
	}
	changed(p, n);
}

static void latch_count(struct counter *c, u64 now)
{
	if (c->count_latched)
		return;				/* a latched count stays until it is read */
	settle(c, now);
	c->latch = counting(c, now);
	c->count_latched = true;
	c->read_msb = c->rw == RW_MSB;
}

static void latch_status(struct counter *c, u64 now)
{
	if (c->status_latched)
		return;
	settle(c, now);
	c->status = out(c, now) << 7 | null_count(c, now) << 6 | c->rw << 4 | c->mode << 1 | c->bcd;
	c->status_latched = true;
}

static void write_control(struct i8254 *p, u8 val)
{
	unsigned n = CW_COUNTER(val);
	u64 now = tick_now(p);
	struct counter *c;

	if (n == 3) {				/* read-back */
		for (unsigned i = 0; i < 3; i++) {
			if (!(val >> (i + 1) & 1))
				continue;
			if (!(val & RB_NO_COUNT))
				latch_count(&p->c[i], now);
			if (!(val & RB_NO_STATUS))
				latch_status(&p->c[i], now);
		}
		return;
	}
	c = &p->c[n];
	if (CW_RW(val) == RW_LATCH) {
		latch_count(c, now);
		return;
	}
	bool gate = c->gate;

	*c = (struct counter){ .mode = CW_MODE(val), .rw = CW_RW(val), .bcd = val & CW_BCD,
			       .gate = gate, .count = c->count };
	if (c->mode > 5)
		c->mode -= 4;			/* bit 2 is ignored in modes 2 and 3 */
	if (c->count > modulus(c))
		c->count = modulus(c);
	if (c->count < 2)
		c->count = 2;
	c->loaded_at = now;
	changed(p, n);
}

static u8 read_counter(struct i8254 *p, unsigned n)
{
	struct counter *c = &p->c[n];
	bool msb;
	u16 v;

	if (c->status_latched) {		/* comes before a latched count */
		c->status_latched = false;
		return c->status;
	}
	if (c->count_latched) {
		v = c->latch;
	} else {
		u64 now = tick_now(p);

		settle(c, now);
		v = counting(c, now);
	}
	msb = c->rw == RW_MSB || (c->rw == RW_BOTH && c->read_msb);
	if (c->rw == RW_BOTH)
		c->read_msb = !c->read_msb;
	if (c->rw != RW_BOTH || msb)
		c->count_latched = false;
	return msb ? v >> 8 : v;
}

/* --- ports --- */

static u64 pit_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	return off == 3 ? 0xff : read_counter(dev, off);	/* the control register is write-only */
}

static void pit_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	TRACE(pit_write, "reg=%u val=%#x", (unsigned)off, (unsigned)val);
	if (off == 3)
		write_control(dev, val);
	else
		write_counter(dev, off, val);
}

static u64 port61_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	struct i8254 *p = dev;
	u64 now = tick_now(p);
	u8 v = p->port61;

	if (clock_now(p->m->clock) / REFRESH_NS & 1)
		v |= P61_REFRESH;
	settle(&p->c[2], now);
	if (out(&p->c[2], now))
		v |= P61_OUT2;
	return v;
}

static void port61_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct i8254 *p = dev;

	p->port61 = val & P61_RW;
	set_gate(&p->c[2], val & P61_GATE2, tick_now(p));
}

static const struct region_ops pit_ops = {
	.read = pit_read, .write = pit_write, .impl_min = 1, .impl_max = 1,
};
static const struct region_ops port61_ops = {
	.read = port61_read, .write = port61_write, .impl_min = 1, .impl_max = 1,
};

/* --- life and state --- */

void i8254_enable_irq0(struct i8254 *p, bool on)
{
	if (p->irq0_on == on)
		return;
	p->irq0_on = on;
	if (on)
		irq_set(p->irq0, out(&p->c[0], tick_now(p)));
	arm(p);
}

/* The data sheet says undefined; what software finds on PCs is mode 3, count 0, after firmware.
 * Without firmware nothing runs until it is programmed. */
static void i8254_reset(void *dev)
{
	struct i8254 *p = dev;

	for (unsigned i = 0; i < 3; i++)
		p->c[i] = (struct counter){ .mode = 3, .rw = RW_BOTH, .gate = i != 2, .count = 65536 };
	p->port61 = 0;
	p->irq0_on = true;
	vm_timer_del(&p->timer);
	irq_set(p->irq0, 0);
}

static void i8254_free(void *dev)
{
	struct i8254 *p = dev;

	if (!p)
		return;
	vm_timer_del(&p->timer);
	if (p->mapped[0])
		bus_unmap(p->m->ports, PIT_BASE, 4, p);
	if (p->mapped[1])
		bus_unmap(p->m->ports, PORT61, 1, p);
	free(p);
}

int i8254_new(struct i8254 **out_, struct machine *m, struct irq_line irq0, struct err *e)
{
	struct i8254 *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return err_set(e, ENOMEM, "no memory for the 8254");
	p->m = m;
	p->irq0 = irq0;
	vm_timer_init(&p->timer, m->clock, fire, p);
	rc = bus_map(m->ports, PIT_BASE, 4, &pit_ops, p, "pit", 0, e);
	if (rc)
		goto fail;
	p->mapped[0] = true;
	rc = bus_map(m->ports, PORT61, 1, &port61_ops, p, "port61", 0, e);
	if (rc)
		goto fail;
	p->mapped[1] = true;
	i8254_reset(p);
	*out_ = p;
	return 0;
fail:
	i8254_free(p);
	return rc;
}

static const struct state_field counter_state[] = {
	STATE_U8(struct counter, mode, 0, 5),
	STATE_U8(struct counter, rw, 1, 3),
	STATE_BOOL(struct counter, bcd),
	STATE_BOOL(struct counter, gate),
	STATE_BOOL(struct counter, armed),
	STATE_BOOL(struct counter, triggered),
	STATE_BOOL(struct counter, paused),
	STATE_U32(struct counter, count, 1, 65536),
	STATE_U64(struct counter, loaded_at),
	STATE_U64(struct counter, held),
	STATE_BOOL(struct counter, next_pending),
	STATE_U32(struct counter, next, 0, 65536),
	STATE_U64(struct counter, next_at),
	STATE_BOOL(struct counter, write_msb),
	STATE_BOOL(struct counter, read_msb),
	STATE_U8(struct counter, write_lsb, 0, 0xff),
	STATE_BOOL(struct counter, count_latched),
	STATE_BOOL(struct counter, status_latched),
	STATE_U16(struct counter, latch, 0, 0xffff),
	STATE_U8(struct counter, status, 0, 0xff),
	STATE_END
};

static const struct state_field i8254_state[] = {
	STATE_STRUCT_ARRAY(struct i8254, c, counter_state),
	STATE_BOOL(struct i8254, irq0_on),
	STATE_U8(struct i8254, port61, 0, P61_RW),
	STATE_TIMER(struct i8254, timer),
	STATE_END
};

static int i8254_post_load(void *dev, struct err *e)
{
	struct i8254 *p = dev;

	for (unsigned i = 0; i < 3; i++) {
		const struct counter *c = &p->c[i];
		bool divides = c->mode == 2 || c->mode == 3;

		if (c->count > modulus(c) || (divides && c->count < 2) ||
		    (c->next_pending && (c->next > modulus(c) || c->next < (divides ? 2 : 1))))
			return err_set(e, EINVAL, "8254 counter %u: count %u, next %u in mode %u", i,
				       c->count, c->next, c->mode);
	}
	return 0;
}

const struct device_class i8254_class = {
	.name = "i8254",
	.version = 1,
	.state = i8254_state,
	.reset = i8254_reset,
	.free = i8254_free,
	.post_load = i8254_post_load,
};
