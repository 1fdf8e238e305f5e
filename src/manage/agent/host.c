/* SPDX-License-Identifier: GPL-2.0-or-later */
/* host.c - a machine's own connection to its guest's agent. See host.h.
 *
 * The clock. A guest that was paused or restored is behind by as long as it stood. The host asks for its
 * time a few times and believes the answer that came back fastest: it was read somewhere within that
 * round trip, so the middle is off by half of it at most. Then it says how much to add, which does not
 * depend on how long those words take; and looks once more. An offset within half the round trip may be none
 * at all: then nothing is set, and a busy guest is asked again later. */
#include "manage/agent/host.h"
#include "base/trace.h"
#include "manage/agent/session.h"
#include "virtio/vsock.h"
#include "vm/clock.h"
#include "vm/machine.h"
#include <errno.h>
#include <stdlib.h>
#include <time.h>

DEFINE_TRACE(agent_clock, "agent.clock");

#define MS 1000000ull			/* ns */
#define ASK_MAX 24u			/* questions a look, at most */
#define ASK_MIN 4u
#define GOOD_NS (2 * MS)		/* a round trip that needs no better one */
#define RIGHT_NS (1 * MS)		/* off by less is right */
#define LOOKS_MAX 4u			/* looks, settings in between */
#define SURE_NS (4 * MS)		/* half a round trip that says enough */
#define AGAIN_MS 500			/* a guest that is too busy to answer soon is asked again, */
#define AGAIN_MAX 60u			/* so often */

enum retry {				/* ms until the next try to connect */
	RETRY_CUT = 20,			/* the connection was there: a restore, a reboot */
	RETRY_NO_DRIVER = 100,		/* costs the guest nothing */
	RETRY_REFUSED = 250, RETRY_LATE = 5000, REFUSALS_EARLY = 240 /* after a minute */
};

struct agent_host {
	struct machine *m;
	struct vsock *v;
	struct vsock_conn *c;		/* NULL: none; opened or not */
	struct agent_session *s;	/* NULL until the connection is open */
	struct vm_timer timer;
	bool ready;			/* it greeted */
	unsigned refusals;
	u16 rows, cols;			/* 0: not known */

	/* The look at the clock; asked 0: none is going on. */
	unsigned asked, looks;
	u64 sent_real, sent_mono;	/* of the question under way, ns */
	u64 best_rtt;
	s64 best_off;
	unsigned agains;
	struct vm_timer again;
	bool known;
	s64 first_off;			/* of the last set of looks */
	u64 sure;
};

static u64 ns_of(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

static void retry(struct agent_host *a, unsigned ms)
{
	vm_timer_set(&a->timer, clock_now(a->m->clock) + ms * MS);
}

/* What the session wants to say, as far as the connection takes it. */
static void flush_out(struct agent_host *a)
{
	while (a->c && a->s) {
		size_t len;
		const u8 *p = agent_output(a->s, &len);
		ssize_t n = len ? vsock_send(a->c, p, len) : 0;

		if (n <= 0)		/* can_send() or closed() follows */
			return;
		agent_sent(a->s, (size_t)n);
	}
}

static void forget(struct agent_host *a)
{
	agent_session_free(a->s);
	a->s = NULL;
	a->c = NULL;
	a->ready = false;
	a->asked = 0;
}

/* --- the clock --- */

static void ask(struct agent_host *a)
{
	a->asked++;
	a->sent_real = ns_of(CLOCK_REALTIME);
	a->sent_mono = ns_of(CLOCK_MONOTONIC);
	agent_clock(a->s, a->sent_mono);
	flush_out(a);
}

static void look(struct agent_host *a)
{
	a->asked = 0;
	a->best_rtt = UINT64_MAX;
	ask(a);
}

static void on_clock(void *ctx, u64 token, u64 realtime_ns)
{
	struct agent_host *a = ctx;
	bool wrong;
	u64 rtt;

	/* An answer to nothing, or to a question from before a pause. */
	if (!a->asked || token != a->sent_mono)
		return;
	rtt = ns_of(CLOCK_MONOTONIC) - a->sent_mono;
	if (rtt < a->best_rtt) {
		a->best_rtt = rtt;
		a->best_off = (s64)(realtime_ns - (a->sent_real + rtt / 2));
	}
	if (a->asked < ASK_MIN || (a->asked < ASK_MAX && a->best_rtt > GOOD_NS)) {
		ask(a);
		return;
	}
	a->asked = 0;
	if (!a->looks++) {
		a->first_off = a->best_off;
		a->known = true;
	}
	a->sure = a->best_rtt / 2;
	TRACE(agent_clock, "off=%lld rtt=%llu looks=%u", (long long)a->best_off,
	      (unsigned long long)a->best_rtt, a->looks);
	/* Negating what a hostile guest says must not overflow. */
	wrong = a->best_off == INT64_MIN ||
		(u64)(a->best_off < 0 ? -a->best_off : a->best_off) > MAX(RIGHT_NS, a->sure);
	if (wrong && a->looks < LOOKS_MAX && a->best_off != INT64_MIN) {
		agent_adjust(a->s, -a->best_off);
		flush_out(a);
	} else if ((wrong || a->sure > SURE_NS) && a->agains++ < AGAIN_MAX) {
		vm_timer_set(&a->again, clock_now(a->m->clock) + AGAIN_MS * MS);
	}
}

static void on_done(void *ctx, unsigned type, int error)
{
	struct agent_host *a = ctx;

	if (type == AGENT_ADJUST && !error && !a->asked && a->looks && a->looks < LOOKS_MAX)
		look(a);
}

static void set_clock(struct agent_host *a)
{
	a->looks = a->agains = 0;
	look(a);
}

static void look_again(void *ctx)
{
	struct agent_host *a = ctx;

	if (!a->ready || a->asked)
		return;
	a->looks = 1;			/* what was off at first is known */
	look(a);
}

/* --- the session --- */

static void on_hello(void *ctx)
{
	struct agent_host *a = ctx;

	a->ready = true;
	a->refusals = 0;
	set_clock(a);
	if (a->rows)
		agent_size(a->s, a->rows, a->cols);
}

static const struct agent_events events = {
	.hello = on_hello, .clock = on_clock, .done = on_done,
};

/* --- the connection --- */

static void on_opened(void *ctx)
{
	struct agent_host *a = ctx;

	if (agent_session_new(&a->s, &events, a, NULL)) {
		vsock_close(a->c);
		forget(a);
		retry(a, RETRY_LATE);
		return;
	}
	flush_out(a);
}

static size_t on_recv(void *ctx, const u8 *buf, size_t len)
{
	struct agent_host *a = ctx;
	struct err e = { 0 };

	if (!a->s)
		return len;
	if (agent_recv(a->s, buf, len, &e)) {
		log_limited(LOG_WARN, "agent: %s", e.msg);
		vsock_close(a->c);
		forget(a);
		retry(a, RETRY_LATE);
		return len;
	}
	flush_out(a);
	return len;
}

static void on_can_send(void *ctx)
{
	flush_out(ctx);
}

static void on_eof(void *ctx)
{
	struct agent_host *a = ctx;

	vsock_close(a->c);
	forget(a);
	retry(a, RETRY_REFUSED);
}

static void on_closed(void *ctx, int err)
{
	struct agent_host *a = ctx;
	bool was = a->s != NULL;

	forget(a);
	if (was)
		retry(a, RETRY_CUT);
	else
		retry(a, ++a->refusals < REFUSALS_EARLY ? RETRY_REFUSED : RETRY_LATE);
}

static const struct vsock_handlers handlers = {
	.opened = on_opened, .recv = on_recv, .can_send = on_can_send, .eof = on_eof,
	.closed = on_closed,
};

static void try_connect(void *ctx)
{
	struct agent_host *a = ctx;

	if (a->c)
		return;
	if (vsock_connect(a->v, AGENT_PORT, &handlers, a, &a->c, NULL)) {
		a->c = NULL;
		retry(a, RETRY_NO_DRIVER);
	}
}

/* --- for others --- */

bool agent_host_ready(const struct agent_host *a)
{
	return a->ready;
}

void agent_host_size(struct agent_host *a, u16 rows, u16 cols)
{
	a->rows = rows;
	a->cols = cols;
	if (a->ready && rows) {
		agent_size(a->s, rows, cols);
		flush_out(a);
	}
}

int agent_host_power(struct agent_host *a, bool reboot, struct err *e)
{
	int r;

	if (!a->ready)
		return err_set(e, ENOTCONN, "no agent is there in the guest");
	r = agent_power(a->s, reboot ? AGENT_REBOOT : AGENT_POWEROFF);
	flush_out(a);
	return r ? err_set(e, -r, "the guest's agent does not listen") : 0;
}

bool agent_host_clock(const struct agent_host *a, s64 *off_ns, u64 *sure_ns)
{
	*off_ns = a->first_off;
	*sure_ns = a->sure;
	return a->known;
}

/* --- the device: it has no state, but hears of pauses --- */

static void on_reset(void *dev)
{
	struct agent_host *a = dev;

	a->refusals = 0;
	if (!a->c && !vm_timer_armed(&a->timer))
		retry(a, RETRY_NO_DRIVER);
}

static void on_resumed(void *dev, bool restored)
{
	struct agent_host *a = dev;

	if (a->ready)
		set_clock(a);
	else if (!a->c)
		retry(a, 0);
}

static void host_free(void *dev)
{
	struct agent_host *a = dev;

	if (!a)
		return;
	if (a->c)
		vsock_close(a->c);
	agent_session_free(a->s);
	vm_timer_del(&a->timer);
	vm_timer_del(&a->again);
	free(a);
}

static const struct state_field no_state[] = { STATE_END };

const struct device_class agent_host_class = {
	.name = "agent", .version = 1, .state = no_state, .reset = on_reset, .free = host_free,
	.resumed = on_resumed,
};

int agent_host_new(struct agent_host **out, struct machine *m, struct vsock *v, struct err *e)
{
	struct agent_host *a = calloc(1, sizeof(*a));

	if (!a)
		return err_set(e, ENOMEM, "out of memory");
	a->m = m;
	a->v = v;
	vm_timer_init(&a->timer, m->clock, try_connect, a);
	vm_timer_init(&a->again, m->clock, look_again, a);
	*out = a;
	return 0;
}
