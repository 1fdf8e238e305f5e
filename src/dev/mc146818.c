// SPDX-License-Identifier: GPL-2.0-or-later
/* mc146818.c - real-time clock and CMOS memory of an AT.
 * After: Motorola MC146818A data sheet (1984); Dallas DS12887 for the century; IBM AT Technical
 * Reference for the bytes from 0E on.
 *
 * The time is machine time plus an offset; it stands while the machine is paused, like every other
 * clock of the guest, but its battery does not: when the machine goes on, the offset has grown by what
 * went by outside. Nothing ticks: registers are computed when read; a timer is armed only
 * for the next interrupt that is enabled. The flags of register C that nobody waits for are
 * found out on reading, from what has gone by since it was last looked at.
 *
 * One second, as the guest sees it:
 *
 *	  ...time constant...        |<-- UIP = 1: 2228 us -->|
 *	--+--------------------------+------------------------+-- new time, UF, AF
 *
 * Not modelled: the 4.194304 and 1.048576 MHz time bases (register A's divider then holds the
 * clock in reset), square wave output, daylight saving. */
#include "dev/mc146818.h"

#include "base/trace.h"
#include "vm/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

DEFINE_TRACE(rtc_read, "rtc.read");
DEFINE_TRACE(rtc_write, "rtc.write");
DEFINE_TRACE(rtc_irq, "rtc.irq");

#define RTC_PORT	0x70
#define INDEX_NMI_OFF	0x80

enum rtc_reg {
	R_SEC, R_SEC_ALARM, R_MIN, R_MIN_ALARM, R_HOUR, R_HOUR_ALARM,
	R_DOW, R_DAY, R_MONTH, R_YEAR, R_A, R_B, R_C, R_D,
	R_CENTURY = 0x32,
};
#define A_UIP		0x80
#define A_DIV(a)	((a) >> 4 & 7)
#define A_DIV_32K	2		/* the only one that runs here */
#define A_RATE(a)	((a) & 15)
#define B_SET		0x80
#define B_PIE		0x40
#define B_AIE		0x20
#define B_UIE		0x10
#define B_BINARY	0x04
#define B_24H		0x02
#define C_IRQF		0x80
#define C_PF		0x40
#define C_AF		0x20
#define C_UF		0x10
#define D_VRT		0x80
#define ALARM_ANY	0xc0		/* both high bits set: matches any value */
#define HOUR_PM		0x80

/* CMOS bytes of an AT; pc-platform usage. */
#define CMOS_SUM_FIRST	0x10
#define CMOS_SUM_LAST	0x2d
#define CMOS_SUM	0x2e		/* high byte, then low */

#define NS_PER_S	1000000000ll
#define TIME_MAX_NS	(9100000000ll * NS_PER_S)	/* year 2258; 63 bits reach to 2262 */
#define UIP_NS		(244000 + 1984000)
#define DIVIDER_START_NS (NS_PER_S / 2)	/* first update after the divider leaves reset */

/* Lost periodic interrupts that are made good when the guest reads register C. */
#define BACKLOG_MAX	64
#define PERIODIC_MIN_NS	100000		/* the fastest rate of the chip is 122 us */

struct mc146818 {
	struct machine *m;
	struct irq_line irq;
	bool mapped;

	s64 offset_ns;		/* time of day (since 1970) = machine ns + this, while it runs */
	s64 wall_ns;		/* the clock's wall offset when it last went on */
	s64 held_ns;		/* time of day while held (SET, or divider in reset) */
	u8 index;
	u8 cmos[128];		/* alarms, A, B, C and all from 0E on; time bytes while SET */
	u8 dow_shift;		/* day of week as set minus as computed, modulo 7 */
	u64 seen_ns;		/* machine time up to which flags are accounted for */
	u32 backlog;
	struct vm_timer timer;
};

static u64 now_ns(const struct mc146818 *r) { return clock_now(r->m->clock); }

static bool divider_runs(const struct mc146818 *r) { return A_DIV(r->cmos[R_A]) == A_DIV_32K; }
static bool runs(const struct mc146818 *r)
{
	return divider_runs(r) && !(r->cmos[R_B] & B_SET);
}

static s64 time_at(const struct mc146818 *r, u64 machine_ns)
{
	return runs(r) ? (s64)(machine_ns + (u64)r->offset_ns) : r->held_ns;
}

static s64 floor_div(s64 a, s64 b) { return a / b - (a % b < 0); }
static s64 floor_mod(s64 a, s64 b) { return a - floor_div(a, b) * b; }

/* --- number formats --- */

static u8 encode(const struct mc146818 *r, unsigned v)
{
	return r->cmos[R_B] & B_BINARY ? v : v / 10 % 10 << 4 | v % 10;
}

static unsigned decode(const struct mc146818 *r, u8 v)
{
	return r->cmos[R_B] & B_BINARY ? v : (v >> 4) * 10u + (v & 15);
}

static u8 encode_hour(const struct mc146818 *r, unsigned h)
{
	if (r->cmos[R_B] & B_24H)
		return encode(r, h);
	return encode(r, h % 12 ? h % 12 : 12) | (h >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct mc146818 *r, u8 v)
{
	if (r->cmos[R_B] & B_24H)
		return decode(r, v);
	return decode(r, v & ~HOUR_PM) % 12 + (v & HOUR_PM ? 12 : 0);
}

/* --- time registers --- */

static bool is_time_reg(unsigned i)
{
	return i == R_SEC || i == R_MIN || i == R_HOUR || (i >= R_DOW && i <= R_YEAR) ||
	       i == R_CENTURY;
}

/* Show @t (ns since 1970) in the time registers. */
static void fill_time(struct mc146818 *r, s64 t)
{
	time_t s = floor_div(t, NS_PER_S);
	struct tm tm;

	gmtime_r(&s, &tm);
	r->cmos[R_SEC] = encode(r, tm.tm_sec);
	r->cmos[R_MIN] = encode(r, tm.tm_min);
	r->cmos[R_HOUR] = encode_hour(r, tm.tm_hour);
	r->cmos[R_DOW] = encode(r, (tm.tm_wday + r->dow_shift) % 7 + 1);
	r->cmos[R_DAY] = encode(r, tm.tm_mday);
	r->cmos[R_MONTH] = encode(r, tm.tm_mon + 1);
	r->cmos[R_YEAR] = encode(r, (tm.tm_year + 1900) % 100);
	r->cmos[R_CENTURY] = encode(r, (tm.tm_year + 1900) / 100 % 100);
}

/* The time that the registers show, whole seconds as ns. Values out of range carry over, as the
 * sum of their parts; the chip would count on from them in its own way. */
static s64 registers_time(struct mc146818 *r)
{
	struct tm tm = {
		.tm_sec = decode(r, r->cmos[R_SEC]),
		.tm_min = decode(r, r->cmos[R_MIN]),
		.tm_hour = decode_hour(r, r->cmos[R_HOUR]),
		.tm_mday = decode(r, r->cmos[R_DAY]),
		.tm_mon = (int)decode(r, r->cmos[R_MONTH]) - 1,
		.tm_year = (int)(decode(r, r->cmos[R_CENTURY]) * 100 +
				 decode(r, r->cmos[R_YEAR])) - 1900,
	};
	unsigned dow = decode(r, r->cmos[R_DOW]);
	time_t s = timegm(&tm);

	r->dow_shift = (dow + 6 + 7 - tm.tm_wday) % 7;
	/* ns since 1970 in 63 bits reach to the year 2262: beyond, and before 1678, wrap round
	 * by 400 years, after which the calendar repeats. */
	while (s > 9000000000ll)
		s -= 400ll * 365 * 86400 + 97 * 86400ll;
	while (s < -9000000000ll)
		s += 400ll * 365 * 86400 + 97 * 86400ll;
	return s * NS_PER_S;
}

/* --- events: what happens when --- */

/* Nanoseconds of a period of the periodic interrupt, 0: off. */
static u64 period_ns(const struct mc146818 *r)
{
	unsigned rate = A_RATE(r->cmos[R_A]);

	if (!rate || !divider_runs(r))
		return 0;
	if (rate <= 2)
		rate += 7;
	/* 32768 Hz >> (rate - 1) */
	return (1000000000ull << (rate - 1)) / 32768;
}

/* Periods gone by; the divider's phase is machine time's. */
static u64 periods_until(const struct mc146818 *r, u64 machine_ns)
{
	u64 p = period_ns(r);

	return p ? machine_ns / p : 0;
}

static bool alarm_field(u8 alarm, u8 shown) { return alarm >= ALARM_ANY || alarm == shown; }

/* The first second after time @after (ns) that matches the alarm, in ns; INT64_MAX: none. */
static s64 next_alarm(const struct mc146818 *r, s64 after)
{
	s64 s = floor_div(after, NS_PER_S) + 1, end = s + 86400 + 3600;
	const u8 *c = r->cmos;

	while (s < end) {
		unsigned of_day = floor_mod(s, 86400);

		if (!alarm_field(c[R_HOUR_ALARM], encode_hour(r, of_day / 3600)))
			s += 3600 - of_day % 3600;
		else if (!alarm_field(c[R_MIN_ALARM], encode(r, of_day / 60 % 60)))
			s += 60 - of_day % 60;
		else if (!alarm_field(c[R_SEC_ALARM], encode(r, of_day % 60)))
			s++;
		else
			return s * NS_PER_S;
	}
	return INT64_MAX;
}

static void update_irq(struct mc146818 *r)
{
	u8 *c = &r->cmos[R_C];

	if (*c & r->cmos[R_B] & (C_PF | C_AF | C_UF))
		*c |= C_IRQF;
	else
		*c &= ~C_IRQF;
	irq_set(r->irq, !!(*c & C_IRQF));
}

/* Set the flags of all that happened up to now. */
static void account(struct mc146818 *r)
{
	u64 now = now_ns(r), n;
	s64 was = time_at(r, r->seen_ns), is = time_at(r, now);

	if (now <= r->seen_ns)
		return;
	n = periods_until(r, now) - periods_until(r, r->seen_ns);
	if (n) {
		u64 lost = r->cmos[R_C] & C_PF ? n : n - 1;

		r->cmos[R_C] |= C_PF;
		if (r->cmos[R_B] & B_PIE)
			r->backlog = MIN(r->backlog + lost, BACKLOG_MAX);
	}
	if (runs(r) && floor_div(is, NS_PER_S) != floor_div(was, NS_PER_S)) {
		r->cmos[R_C] |= C_UF;
		if (next_alarm(r, was) <= is)
			r->cmos[R_C] |= C_AF;
	}
	r->seen_ns = now;
	update_irq(r);
}

/* Arm the timer for the next event whose interrupt is enabled. Accounted. */
static void arm(struct mc146818 *r)
{
	u64 now = now_ns(r), due = UINT64_MAX, p = period_ns(r);
	u8 b = r->cmos[R_B];

	if ((b & B_PIE) && p)
		due = (now / p + 1) * p;
	if (runs(r) && (b & (B_UIE | B_AIE))) {
		s64 t = time_at(r, now), at = INT64_MAX;

		if ((b & B_UIE) && !(r->cmos[R_C] & C_UF))
			at = (floor_div(t, NS_PER_S) + 1) * NS_PER_S;
		if ((b & B_AIE) && !(r->cmos[R_C] & C_AF))
			at = MIN(at, next_alarm(r, t));
		if (at != INT64_MAX)
			due = MIN(due, now + (u64)(at - t));
	}
	if (due == UINT64_MAX)
		vm_timer_del(&r->timer);
	else
		vm_timer_set(&r->timer, due);
}

static void fire(void *ctx)
{
	struct mc146818 *r = ctx;

	account(r);
	TRACE(rtc_irq, "c=%#x backlog=%u", r->cmos[R_C], r->backlog);
	arm(r);
}

/* --- register accesses --- */

static u8 read_c(struct mc146818 *r)
{
	u8 v;

	account(r);
	v = r->cmos[R_C];
	r->cmos[R_C] = 0;
	update_irq(r);				/* low, then high again if a tick is owed */
	if (r->backlog && (r->cmos[R_B] & B_PIE)) {
		r->backlog--;
		r->cmos[R_C] = C_PF;
		update_irq(r);
	}
	arm(r);
	return v;
}

static u8 read_a(struct mc146818 *r)
{
	u8 v = r->cmos[R_A] & ~A_UIP;

	if (runs(r) && floor_mod(time_at(r, now_ns(r)), NS_PER_S) >= NS_PER_S - UIP_NS)
		v |= A_UIP;
	return v;
}

static u8 rtc_read_reg(struct mc146818 *r, unsigned i)
{
	switch (i) {
	case R_A: return read_a(r);
	case R_C: return read_c(r);
	case R_D: return D_VRT;
	default:
		if (is_time_reg(i) && !(r->cmos[R_B] & B_SET))
			fill_time(r, time_at(r, now_ns(r)));
		return r->cmos[i];
	}
}

/* A time register is written while the clock runs: the rest stays, fractions of a second too. */
static void write_time(struct mc146818 *r, unsigned i, u8 val)
{
	s64 t = time_at(r, now_ns(r)), fraction = floor_mod(t, NS_PER_S);

	if (r->cmos[R_B] & B_SET) {
		r->cmos[i] = val;
		return;
	}
	fill_time(r, t);
	r->cmos[i] = val;
	t = registers_time(r) + fraction;
	if (runs(r))
		r->offset_ns = (s64)((u64)t - now_ns(r));
	else
		r->held_ns = t;
}

/* The clock stops or goes on: @a and @b are what the registers become. */
static void write_ab(struct mc146818 *r, u8 a, u8 b)
{
	u64 now = now_ns(r);
	bool ran = runs(r), reset = !divider_runs(r);
	s64 t = time_at(r, now);

	if (!(r->cmos[R_B] & B_SET) && (b & B_SET)) {
		fill_time(r, t);		/* from here on they hold still */
		r->held_ns = t;
	} else if ((r->cmos[R_B] & B_SET) && !(b & B_SET)) {
		/* Fractions go on: SET stops updates, not the divider. */
		r->cmos[R_B] = (r->cmos[R_B] & ~(B_BINARY | B_24H)) | (b & (B_BINARY | B_24H));
		t = registers_time(r) + floor_mod((s64)(now + (u64)r->offset_ns), NS_PER_S);
		r->held_ns = t;
	} else if (ran) {
		r->held_ns = t;
	}
	r->cmos[R_A] = a & ~A_UIP;
	r->cmos[R_B] = b;
	if (b & B_SET)
		r->cmos[R_B] &= ~B_UIE;		/* data sheet: SET clears UIE */
	if (reset && divider_runs(r))		/* out of reset: half a second to the next update */
		r->held_ns = floor_div(r->held_ns, NS_PER_S) * NS_PER_S + NS_PER_S -
			     DIVIDER_START_NS;
	if (runs(r) && !ran)
		r->offset_ns = (s64)((u64)r->held_ns - now);
	if (!(r->cmos[R_B] & B_PIE))
		r->backlog = 0;
}

static void rtc_write_reg(struct mc146818 *r, unsigned i, u8 val)
{
	account(r);
	switch (i) {
	case R_A: write_ab(r, val, r->cmos[R_B]); break;
	case R_B: write_ab(r, r->cmos[R_A], val); break;
	case R_C: case R_D: return;		/* read-only */
	default:
		if (is_time_reg(i))
			write_time(r, i, val);
		else
			r->cmos[i] = val;
	}
	update_irq(r);
	arm(r);
}

static u64 rtc_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	struct mc146818 *r = dev;
	u8 v;

	if (off == 0)
		return 0xff;			/* the index is write-only */
	v = rtc_read_reg(r, r->index);
	TRACE(rtc_read, "reg=%#x val=%#x", r->index, v);
	return v;
}

static void rtc_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct mc146818 *r = dev;

	if (off == 0) {
		r->index = val & ~INDEX_NMI_OFF;
		return;
	}
	TRACE(rtc_write, "reg=%#x val=%#x", r->index, (unsigned)val);
	rtc_write_reg(r, r->index, val);
}

static const struct region_ops rtc_ops = {
	.read = rtc_read, .write = rtc_write, .impl_min = 1, .impl_max = 1,
};

/* --- CMOS as the platform fills it --- */

static void checksum(struct mc146818 *r)
{
	unsigned sum = 0;

	for (unsigned i = CMOS_SUM_FIRST; i <= CMOS_SUM_LAST; i++)
		sum += r->cmos[i];
	r->cmos[CMOS_SUM] = sum >> 8;
	r->cmos[CMOS_SUM + 1] = sum;
}

void mc146818_set_cmos(struct mc146818 *r, unsigned index, u8 val)
{
	BUG_ON(index <= R_D || index >= sizeof(r->cmos) || index == R_CENTURY);
	r->cmos[index] = val;
	if (index >= CMOS_SUM_FIRST && index <= CMOS_SUM_LAST)
		checksum(r);
}

u8 mc146818_get_cmos(struct mc146818 *r, unsigned index)
{
	BUG_ON(index >= sizeof(r->cmos));
	return r->cmos[index];
}

static void set16(struct mc146818 *r, unsigned index, u64 val)
{
	val = MIN(val, 0xffff);
	mc146818_set_cmos(r, index, val);
	mc146818_set_cmos(r, index + 1, val >> 8);
}

static void fill_cmos(struct mc146818 *r)
{
	u64 ram = r->m->cfg.ram_size, low = MIN(ram, RAM_LOW_MAX), high = ram - low;

	set16(r, 0x15, 640);				/* base memory, KiB */
	set16(r, 0x17, low > MiB ? (low - MiB) / KiB : 0);	/* extended, KiB */
	set16(r, 0x30, low > MiB ? (low - MiB) / KiB : 0);
	set16(r, 0x34, low > 16 * MiB ? (low - 16 * MiB) / (64 * KiB) : 0);
	high = MIN(high / (64 * KiB), 0xffffff);
	for (unsigned i = 0; i < 3; i++)
		mc146818_set_cmos(r, 0x5b + i, high >> (8 * i));
	mc146818_set_cmos(r, 0x5f, r->m->cfg.ncpus - 1);
}

/* --- life and state --- */

/* The chip keeps time, memory and the divider over a reset; RESET# clears the enables and flags. */
static void mc146818_reset(void *dev)
{
	struct mc146818 *r = dev;

	account(r);
	write_ab(r, r->cmos[R_A], r->cmos[R_B] & ~(B_PIE | B_AIE | B_UIE));
	r->cmos[R_C] = 0;
	r->backlog = 0;
	r->index = 0;
	update_irq(r);
	arm(r);
}

static void mc146818_free(void *dev)
{
	struct mc146818 *r = dev;

	if (!r)
		return;
	vm_timer_del(&r->timer);
	if (r->mapped)
		bus_unmap(r->m->ports, RTC_PORT, 2, r);
	free(r);
}

int mc146818_new(struct mc146818 **out, struct machine *m, struct irq_line irq8, struct err *e)
{
	struct mc146818 *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(e, ENOMEM, "no memory for the RTC");
	r->m = m;
	r->irq = irq8;
	vm_timer_init(&r->timer, m->clock, fire, r);
	rc = bus_map(m->ports, RTC_PORT, 2, &rtc_ops, r, "rtc", 0, e);
	if (rc) {
		mc146818_free(r);
		return rc;
	}
	r->mapped = true;
	r->cmos[R_A] = A_DIV_32K << 4 | 6;		/* 1024 Hz, as firmware leaves it */
	r->cmos[R_B] = B_24H;
	r->cmos[R_D] = D_VRT;
	r->offset_ns = r->wall_ns = clock_wall_offset(m->clock);
	r->seen_ns = now_ns(r);
	fill_cmos(r);
	mc146818_reset(r);
	*out = r;
	return 0;
}

static const struct state_field mc146818_state[] = {
	STATE_S64(struct mc146818, offset_ns),
	STATE_S64(struct mc146818, wall_ns),
	STATE_S64(struct mc146818, held_ns),
	STATE_U8(struct mc146818, index, 0, 0x7f),
	STATE_BYTES(struct mc146818, cmos),
	STATE_U8(struct mc146818, dow_shift, 0, 6),
	STATE_U64(struct mc146818, seen_ns),
	STATE_U32(struct mc146818, backlog, 0, BACKLOG_MAX),
	STATE_TIMER(struct mc146818, timer),
	STATE_END
};

static int mc146818_post_load(void *dev, struct err *e)
{
	struct mc146818 *r = dev;

	/* No guest reaches times this far off: see registers_time(). */
	if (r->offset_ns < -TIME_MAX_NS || r->offset_ns > TIME_MAX_NS ||
	    r->held_ns < -TIME_MAX_NS || r->held_ns > TIME_MAX_NS)
		return err_set(e, EINVAL, "RTC time is out of range");
	r->cmos[R_A] &= ~A_UIP;
	r->cmos[R_C] &= C_IRQF | C_PF | C_AF | C_UF;
	if (r->seen_ns > now_ns(r))
		r->seen_ns = now_ns(r);
	return 0;
}

/* The time that went by while the machine stood, or lay in a file. (And what the host's own clock was
 * corrected by meanwhile.) */
static void mc146818_resumed(void *dev, bool restored)
{
	struct mc146818 *r = dev;
	s64 wall = clock_wall_offset(r->m->clock), to;

	account(r);
	if (!__builtin_sub_overflow(wall, r->wall_ns, &to) &&
	    !__builtin_add_overflow(r->offset_ns, to, &to) &&
	    to >= -TIME_MAX_NS && to <= TIME_MAX_NS)
		r->offset_ns = to;
	r->wall_ns = wall;
	arm(r);
}

const struct device_class mc146818_class = {
	.name = "mc146818",
	.version = 1,
	.state = mc146818_state,
	.reset = mc146818_reset,
	.free = mc146818_free,
	.post_load = mc146818_post_load,
	.resumed = mc146818_resumed,
};
