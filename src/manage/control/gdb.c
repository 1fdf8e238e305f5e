/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gdb.c - the debugger's side door: GDB's remote serial protocol.
 * After: GDB manual, appendix E. All-stop mode; threads are vCPUs, thread id = vCPU index + 1;
 * memory is linear memory of the selected vCPU, through its current page tables.
 * Not offered: non-stop mode, file I/O, tracepoints, writing segment selectors.
 *
 * One thread serves one debugger at a time. While the debugger is in charge the machine is paused;
 * a hit (on a vCPU's thread) or Ctrl-C (on ours) brings it back to that. */
#include "base/janitor.h"
#include "manage/control/gdb.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/trace.h"
#include "manage/control/gdb_regs.h"
#include "vm/machine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

DEFINE_TRACE(gdb_packet, "gdb.packet");

#define PACKET_MAX 0x4000	/* bytes of payload in either direction */

struct gdb {
	struct machine *m;
	int listen_fd, client_fd, wake_fd;
	char address[160];
	pthread_t thread;
	bool thread_started;
	_Atomic bool ending;
	int exit_status;

	/* Set by a vCPU's thread, taken by ours. */
	_Atomic int hit_cpu;		/* index, -1 none */

	/* The debugger's view; our thread only. */
	bool running, no_ack;
	unsigned cur;			/* vCPU of 'g', 'm', ... */
	unsigned last_stop;		/* vCPU that stopped last */
	struct debug_ctl ctl;		/* points, the same on every vCPU */
	char in[PACKET_MAX + 1];
	size_t in_len;
	char out[2 * PACKET_MAX + 8];
	size_t out_len;
};

/* --- sending --- */

static int send_all(struct gdb *g, const char *p, size_t len)
{
	while (len) {
		ssize_t k = send(g->client_fd, p, len, MSG_NOSIGNAL);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return -EPIPE;
		p += k;
		len -= (size_t)k;
	}
	return 0;
}

static void put(struct gdb *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(struct gdb *g, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int k = vsnprintf(g->out + g->out_len, PACKET_MAX - g->out_len, fmt, ap);
	va_end(ap);
	if (k > 0)
		g->out_len = MIN(g->out_len + (size_t)k, (size_t)PACKET_MAX - 1);
}

static void put_hex(struct gdb *g, const u8 *p, size_t len)
{
	while (len--)
		put(g, "%02x", *p++);
}

/* Frame what put() gathered and send it. */
static int reply(struct gdb *g)
{
	u8 sum = 0;
	TRACE(gdb_packet, "-> %.*s", (int)MIN(g->out_len, (size_t)200), g->out);
	for (size_t i = 0; i < g->out_len; i++)
		sum += (u8)g->out[i];
	char tail[4];
	snprintf(tail, sizeof(tail), "#%02x", sum);
	int rc = send_all(g, "$", 1);
	if (!rc)
		rc = send_all(g, g->out, g->out_len);
	if (!rc)
		rc = send_all(g, tail, 3);
	g->out_len = 0;
	return rc;
}

static int reply_str(struct gdb *g, const char *s)
{
	g->out_len = 0;
	put(g, "%s", s);
	return reply(g);
}

/* --- parsing --- */

static int hexval(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
	       c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A hexadecimal number at *p, which moves past it. False: no digit, or more than 64 bits. */
static bool get_num(const char **p, u64 *val)
{
	u64 v = 0;
	const char *s = *p;
	for (; hexval(*s) >= 0; s++) {
		if (v >> 60)
			return false;
		v = v << 4 | (u64)hexval(*s);
	}
	bool any = s != *p;
	*p = s;
	*val = v;
	return any;
}

static bool skip_char(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

static size_t get_hex(const char *s, u8 *buf, size_t max)
{
	size_t n = 0;
	while (n < max && hexval(s[0]) >= 0 && hexval(s[1]) >= 0) {
		buf[n++] = (u8)(hexval(s[0]) << 4 | hexval(s[1]));
		s += 2;
	}
	return n;
}

/* --- the machine --- */

static const struct engine_ops *ops(const struct gdb *g) { return g->m->cfg.engine; }

static int get_state(struct gdb *g, unsigned cpu, struct cpu_state *s)
{
	return ops(g)->get_state(g->m->cpu[cpu], s, NULL);
}

/* Linear memory of the current vCPU, page by page. Returns the bytes done before a hole. */
static size_t memory(struct gdb *g, u64 la, u8 *buf, size_t len, bool write)
{
	size_t done = 0;
	while (done < len) {
		u64 gpa;
		size_t n = MIN(len - done, (size_t)(PAGE_SIZE - (la & (PAGE_SIZE - 1))));
		if (ops(g)->translate(g->m->cpu[g->cur], la, &gpa))
			break;
		if (write ? !ram_write(g->m->ram, gpa, buf + done, n) : !ram_read(g->m->ram, gpa, buf + done, n))
			break;
		done += n;
		la += n;
	}
	return done;
}

static void apply_debug(struct gdb *g, int step_cpu)
{
	for (unsigned i = 0; i < g->m->ncpus; i++) {
		g->ctl.single_step = (int)i == step_cpu;
		ops(g)->set_debug(g->m->cpu[i], &g->ctl);
	}
}

/* On the vCPU's thread, outside the engine. It stays outside until the machine resumes. */
static void on_debug(struct vcpu *v, void *ctx)
{
	struct gdb *g = ctx;
	int none = -1;
	u64 one = 1;
	atomic_compare_exchange_strong(&g->hit_cpu, &none, (int)v->index);
	vcpu_request(v, VCPU_REQ_STOP);
	while (write(g->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static int stop_reply(struct gdb *g, int sig)
{
	struct vcpu *v = g->m->cpu[g->last_stop];
	struct debug_hit hit = ops(g)->debug_hit(v);
	g->out_len = 0;
	put(g, "T%02xthread:%x;", sig, g->last_stop + 1);
	if (sig == SIGTRAP && !hit.step && hit.type != DEBUG_EXEC)
		put(g, "%s:%llx;", hit.type == DEBUG_WRITE ? "watch" : hit.type == DEBUG_READ ? "rwatch" : "awatch",
		    (unsigned long long)hit.la);
	else if (sig == SIGTRAP && !hit.step)
		put(g, "hwbreak:;");
	return reply(g);
}

static void resume(struct gdb *g, int step_cpu)
{
	apply_debug(g, step_cpu);
	atomic_store(&g->hit_cpu, -1);
	g->running = true;
	machine_resume(g->m);
}

/* --- packets --- */

static int read_registers(struct gdb *g)
{
	struct cpu_state s;
	u8 b[GDB_REG_MAX_BYTES];
	if (get_state(g, g->cur, &s))
		return reply_str(g, "E01");
	for (unsigned i = 0; i < gdb_regs_count(); i++) {
		gdb_reg_get(&s, i, b);
		put_hex(g, b, gdb_reg_bytes(i));
	}
	return reply(g);
}

static int write_registers(struct gdb *g, const char *p)
{
	struct cpu_state s;
	u8 b[GDB_REG_MAX_BYTES];
	if (get_state(g, g->cur, &s))
		return reply_str(g, "E01");
	for (unsigned i = 0; i < gdb_regs_count(); i++) {
		unsigned n = gdb_reg_bytes(i);
		if (get_hex(p, b, n) != n)
			break;
		gdb_reg_set(&s, i, b);
		p += 2 * n;
	}
	return reply_str(g, ops(g)->set_state(g->m->cpu[g->cur], &s, NULL) ? "E02" : "OK");
}

static int one_register(struct gdb *g, const char *p, bool write)
{
	struct cpu_state s;
	u8 b[GDB_REG_MAX_BYTES];
	u64 n;
	if (!get_num(&p, &n) || n >= gdb_regs_count() || get_state(g, g->cur, &s))
		return reply_str(g, "E01");
	if (!write) {
		gdb_reg_get(&s, (unsigned)n, b);
		put_hex(g, b, gdb_reg_bytes((unsigned)n));
		return reply(g);
	}
	if (!skip_char(&p, '=') || get_hex(p, b, gdb_reg_bytes((unsigned)n)) != gdb_reg_bytes((unsigned)n) ||
	    gdb_reg_set(&s, (unsigned)n, b) || ops(g)->set_state(g->m->cpu[g->cur], &s, NULL))
		return reply_str(g, "E02");
	return reply_str(g, "OK");
}

static int read_memory(struct gdb *g, const char *p)
{
	u8 buf[PACKET_MAX / 2 - 8];
	u64 la, len;
	if (!get_num(&p, &la) || !skip_char(&p, ',') || !get_num(&p, &len))
		return reply_str(g, "E01");
	len = MIN(len, sizeof(buf));
	size_t n = memory(g, la, buf, len, false);
	if (!n && len)
		return reply_str(g, "E14");
	put_hex(g, buf, n);
	return reply(g);
}

/* M addr,len:hex or X addr,len:binary (@raw bytes of it, '}' escapes already undone). */
static int write_memory(struct gdb *g, const char *p, size_t rest, bool binary)
{
	u8 buf[PACKET_MAX];
	u64 la, len;
	const char *start = p;
	if (!get_num(&p, &la) || !skip_char(&p, ',') || !get_num(&p, &len) || !skip_char(&p, ':') ||
	    len > sizeof(buf))
		return reply_str(g, "E01");
	size_t have = rest - (size_t)(p - start);
	if (binary ? have < len : get_hex(p, buf, len) != len)
		return reply_str(g, "E01");
	if (binary)
		memcpy(buf, p, len);
	return reply_str(g, memory(g, la, buf, len, true) == len ? "OK" : "E14");
}

static int set_point(struct gdb *g, const char *p, bool insert)
{
	static const u8 type_of[] = { DEBUG_EXEC, DEBUG_EXEC, DEBUG_WRITE, DEBUG_READ, DEBUG_ACCESS };
	u64 z, la, len;
	if (!get_num(&p, &z) || !skip_char(&p, ',') || !get_num(&p, &la) || !skip_char(&p, ',') ||
	    !get_num(&p, &len))
		return reply_str(g, "E01");
	if (z >= ARRAY_SIZE(type_of))
		return reply_str(g, "");
	u8 type = type_of[z];
	if (type == DEBUG_EXEC)
		len = 1;
	if (len < 1 || len > 8)
		return reply_str(g, "E22");
	unsigned i;
	for (i = 0; i < g->ctl.npoints; i++) {
		const struct debug_point *d = &g->ctl.point[i];
		if (d->la == la && d->len == len && d->type == type)
			break;
	}
	if (insert && i == g->ctl.npoints) {
		if (i == DEBUG_POINTS_MAX)
			return reply_str(g, "E28");
		g->ctl.point[g->ctl.npoints++] = (struct debug_point){ .la = la, .len = (u8)len, .type = type };
	} else if (!insert && i < g->ctl.npoints) {
		g->ctl.point[i] = g->ctl.point[--g->ctl.npoints];
	}
	apply_debug(g, -1);
	return reply_str(g, "OK");
}

/* vCont;ACTION[:THREAD]...: all-stop, so only two things matter: does anything run, and which vCPU
 * steps. Signals (C, S) are delivered to no one: a machine has none. */
static int vcont(struct gdb *g, const char *p)
{
	int step = -1;
	bool any = false;
	while (skip_char(&p, ';')) {
		char a = *p ? *p++ : 0;
		u64 t = 0, sig;
		bool has_thread = false;
		if (a == 'C' || a == 'S')
			get_num(&p, &sig);
		if (skip_char(&p, ':')) {
			if (*p == '-')
				p += 2;
			else
				has_thread = get_num(&p, &t) && t >= 1 && t <= g->m->ncpus;
		}
		if (a != 'c' && a != 'C' && a != 's' && a != 'S')
			return reply_str(g, "E01");
		any = true;
		if ((a == 's' || a == 'S') && step < 0)
			step = has_thread ? (int)t - 1 : (int)g->cur;
	}
	if (!any)
		return reply_str(g, "E01");
	resume(g, step);
	return 0;
}

static int monitor(struct gdb *g, const char *hex)
{
	u8 cmd[64];
	size_t n = get_hex(hex, cmd, sizeof(cmd) - 1);
	const char *answer = "commands: reset, quit\n";
	cmd[n] = 0;
	if (!strcmp((char *)cmd, "reset")) {
		machine_lock(g->m);
		machine_request_reset(g->m);
		machine_unlock(g->m);
		answer = "reset when continued\n";
	} else if (!strcmp((char *)cmd, "quit")) {
		machine_quit(g->m);
		answer = "";
	}
	put_hex(g, (const u8 *)answer, strlen(answer));
	if (!g->out_len)
		put(g, "OK");
	return reply(g);
}

static bool starts(const char **p, const char *word)
{
	size_t n = strlen(word);
	if (strncmp(*p, word, n))
		return false;
	*p += n;
	return true;
}

static int query(struct gdb *g, const char *p)
{
	u64 a, b;
	if (starts(&p, "Supported"))
		put(g, "PacketSize=%x;qXfer:features:read+;vContSupported+;QStartNoAckMode+;hwbreak+",
		    PACKET_MAX - 16);
	else if (starts(&p, "Xfer:features:read:target.xml:")) {
		static const size_t chunk = PACKET_MAX - 64;
		char xml[12288];
		size_t len = MIN(gdb_target_xml(xml, sizeof(xml)), sizeof(xml));
		if (!get_num(&p, &a) || !skip_char(&p, ',') || !get_num(&p, &b))
			return reply_str(g, "E01");
		a = MIN(a, len);
		b = MIN(MIN(b, len - a), chunk);
		put(g, "%c%.*s", a + b == len ? 'l' : 'm', (int)b, xml + a);
	} else if (!strcmp(p, "fThreadInfo")) {
		put(g, "m");
		for (unsigned i = 0; i < g->m->ncpus; i++)
			put(g, "%s%x", i ? "," : "", i + 1);
	} else if (!strcmp(p, "sThreadInfo")) {
		put(g, "l");
	} else if (starts(&p, "ThreadExtraInfo,")) {
		static const char *const what[] = { "running", "halted", "shut down", "waits for SIPI" };
		struct cpu_state s;
		char text[64];
		if (!get_num(&p, &a) || a < 1 || a > g->m->ncpus || get_state(g, (unsigned)a - 1, &s))
			return reply_str(g, "E01");
		snprintf(text, sizeof(text), "vCPU %u [%s]", (unsigned)a - 1,
			 s.activity < ARRAY_SIZE(what) ? what[s.activity] : "?");
		put_hex(g, (const u8 *)text, strlen(text));
	} else if (!strcmp(p, "C")) {
		put(g, "QC%x", g->cur + 1);
	} else if (starts(&p, "Attached")) {
		put(g, "1");
	} else if (starts(&p, "Symbol")) {
		put(g, "OK");
	} else if (starts(&p, "Rcmd,")) {
		return monitor(g, p);
	}
	return reply(g);
}

static int set_thread(struct gdb *g, const char *p)
{
	u64 t = 0;
	char op = *p ? *p++ : 0;
	if (*p == '-')		/* all threads: what we do anyhow */
		return reply_str(g, "OK");
	if ((op != 'g' && op != 'c') || !get_num(&p, &t) || t > g->m->ncpus)
		return reply_str(g, "E22");
	if (op == 'g' && t)
		g->cur = (unsigned)t - 1;
	return reply_str(g, "OK");
}

/* Does one packet. 1: the debugger left; negative: the connection broke. */
static int packet(struct gdb *g, const char *p, size_t len)
{
	u64 v;
	TRACE(gdb_packet, "<- %.*s", (int)MIN(len, (size_t)200), p);
	g->out_len = 0;
	switch (*p) {
	case '?': return stop_reply(g, SIGTRAP);
	case 'g': return read_registers(g);
	case 'G': return write_registers(g, p + 1);
	case 'p': return one_register(g, p + 1, false);
	case 'P': return one_register(g, p + 1, true);
	case 'm': return read_memory(g, p + 1);
	case 'M': return write_memory(g, p + 1, len - 1, false);
	case 'X': return write_memory(g, p + 1, len - 1, true);
	case 'Z': return set_point(g, p + 1, true);
	case 'z': return set_point(g, p + 1, false);
	case 'H': return set_thread(g, p + 1);
	case 'T':
		p++;
		return reply_str(g, get_num(&p, &v) && v >= 1 && v <= g->m->ncpus ? "OK" : "E01");
	case 'c': case 's': {
		const char step = *p++;
		if (get_num(&p, &v)) {
			struct cpu_state s;
			if (get_state(g, g->cur, &s))
				return reply_str(g, "E01");
			s.rip = v;
			if (ops(g)->set_state(g->m->cpu[g->cur], &s, NULL))
				return reply_str(g, "E01");
		}
		resume(g, step == 's' ? (int)g->cur : -1);
		return 0;
	}
	case 'v':
		p++;
		if (starts(&p, "Cont?"))
			return reply_str(g, "vCont;c;C;s;S");
		if (starts(&p, "Cont"))
			return vcont(g, p);
		if (starts(&p, "Kill")) {
			reply_str(g, "OK");
			machine_quit(g->m);
			return 1;
		}
		return reply_str(g, "");
	case 'q': return query(g, p + 1);
	case 'Q':
		if (!strcmp(p, "QStartNoAckMode")) {
			int rc = reply_str(g, "OK");
			g->no_ack = true;
			return rc;
		}
		return reply_str(g, "");
	case 'D':
		reply_str(g, "OK");
		return 1;
	case 'k':
		machine_quit(g->m);
		return 1;
	default:
		return reply_str(g, "");
	}
}

/* --- the connection --- */

/* Take whole packets out of the input buffer. Returns as packet(). */
static int take_packets(struct gdb *g)
{
	int rc = 0;
	size_t at = 0;
	while (!rc && at < g->in_len) {
		char c = g->in[at];
		if (c == 0x03) {			/* Ctrl-C */
			at++;
			if (g->running) {
				machine_pause(g->m);
				g->running = false;
				g->last_stop = g->cur;
				rc = stop_reply(g, SIGINT);
			}
			continue;
		}
		if (c != '$' || g->running) {		/* acks, noise */
			at++;
			continue;
		}
		char *hash = memchr(g->in + at, '#', g->in_len - at);
		if (!hash || hash + 2 >= g->in + g->in_len) {
			if (at == 0 && g->in_len >= PACKET_MAX)
				rc = -EPROTO;		/* a packet that we said we do not take */
			break;
		}
		u8 sum = 0;
		char *body = g->in + at + 1, *w = body;
		for (char *r = body; r < hash; r++)
			sum += (u8)*r;
		bool good = g->no_ack || (hexval(hash[1]) << 4 | hexval(hash[2])) == sum;
		for (char *r = body; r < hash; r++)	/* undo '}' escapes in place */
			*w++ = *r == '}' && r + 1 < hash ? *++r ^ 0x20 : *r;
		at = (size_t)(hash + 3 - g->in);
		if (!g->no_ack)
			rc = send_all(g, good ? "+" : "-", 1);
		if (good && !rc) {
			char saved = *w;
			*w = 0;
			rc = packet(g, body, (size_t)(w - body));
			*w = saved;
		}
	}
	memmove(g->in, g->in + at, g->in_len - at);
	g->in_len -= at;
	return rc;
}

static void serve(struct gdb *g)
{
	int rc = 0;
	g->no_ack = false;
	g->in_len = g->out_len = 0;
	g->cur = g->last_stop = 0;
	g->ctl = (struct debug_ctl){ 0 };
	atomic_store(&g->hit_cpu, -1);
	machine_pause(g->m);
	g->running = false;
	while (rc == 0 && !atomic_load(&g->ending)) {
		struct pollfd p[2] = { { .fd = g->client_fd, .events = POLLIN }, { .fd = g->wake_fd, .events = POLLIN } };
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents) {
			u64 n;
			if (read(g->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
				break;
		}
		int cpu = atomic_load(&g->hit_cpu);
		if (g->running && cpu >= 0) {
			machine_pause(g->m);
			g->running = false;
			g->cur = g->last_stop = (unsigned)cpu;
			rc = stop_reply(g, SIGTRAP);
			continue;
		}
		if (p[0].revents) {
			ssize_t n = recv(g->client_fd, g->in + g->in_len, PACKET_MAX - g->in_len, 0);
			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				break;
			g->in_len += (size_t)n;
			rc = take_packets(g);
		}
	}
	if (atomic_load(&g->ending)) {
		g->out_len = 0;
		put(g, "W%02x", g->exit_status & 0xff);
		reply(g);
		return;
	}
	/* The debugger is gone: the guest goes on as if it had never been there. */
	if (g->running)
		machine_pause(g->m);
	g->ctl = (struct debug_ctl){ 0 };
	resume(g, -1);
	g->running = false;
}

static void *gdb_thread(void *arg)
{
	struct gdb *g = arg;
	sandbox_enter(g->m->cfg.sandbox, SANDBOX_CONTROL);
	while (!atomic_load(&g->ending)) {
		struct pollfd p[2] = { { .fd = g->listen_fd, .events = POLLIN }, { .fd = g->wake_fd, .events = POLLIN } };
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents) {
			u64 n;
			if (read(g->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
				break;
		}
		if (!(p[0].revents & POLLIN))
			continue;
		g->client_fd = accept4(g->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (g->client_fd < 0)
			continue;
		serve(g);
		close(g->client_fd);
		g->client_fd = -1;
	}
	return NULL;
}

/* --- making --- */

static int listen_unix(struct gdb *g, const char *path, struct janitor *j, struct err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(a.sun_path) || !*path)
		return err_set(e, EINVAL, "--gdb unix:%s: the path must have 1 to %zu characters", path,
			       sizeof(a.sun_path) - 1);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	g->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (g->listen_fd < 0 || bind(g->listen_fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return errno == EADDRINUSE ?
		       err_set(e, EADDRINUSE, "--gdb unix:%s: the path is there already; remove it "
			       "if nothing listens on it, or name another", path) :
		       err_errno(e, "--gdb unix:%s", path);
	snprintf(g->address, sizeof(g->address), "%s", path);
	return janitor_remove(j, path, e) ? err_context(e, "--gdb unix") : 0;
}

static int listen_tcp(struct gdb *g, const char *where, struct err *e)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t alen = sizeof(a);
	const char *port = where, *colon = strrchr(where, ':');
	char host[64] = "127.0.0.1", *end;
	if (colon) {
		snprintf(host, sizeof(host), "%.*s", (int)(colon - where), where);
		port = colon + 1;
		if (*host && inet_pton(AF_INET, host, &a.sin_addr) != 1)
			return err_set(e, EINVAL, "--gdb %s: \"%s\" is no IPv4 address; write PORT, ADDRESS:PORT or unix:PATH",
				       where, host);
	}
	unsigned long n = strtoul(port, &end, 10);
	if (!*port || *end || n > 65535)
		return err_set(e, EINVAL, "--gdb %s: \"%s\" is no port (0 to 65535); "
			       "write PORT, ADDRESS:PORT or unix:PATH",
			       where, port);
	a.sin_port = htons((u16)n);
	g->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (g->listen_fd < 0)
		return err_errno(e, "--gdb %s", where);
	int on = 1;
	setsockopt(g->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(g->listen_fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    getsockname(g->listen_fd, (struct sockaddr *)&a, &alen) < 0)
		return errno == EADDRINUSE ?
		       err_set(e, EADDRINUSE, "--gdb %s: somebody listens on this port already; "
			       "give another one (0 takes a free one)", where) :
		       err_errno(e, "--gdb %s", where);
	inet_ntop(AF_INET, &a.sin_addr, host, sizeof(host));
	snprintf(g->address, sizeof(g->address), "%s:%u", host, ntohs(a.sin_port));
	return 0;
}

int gdb_new(struct gdb **out, struct machine *m, const char *where, struct janitor *j,
	    struct err *e)
{
	struct gdb *g = calloc(1, sizeof(*g));
	if (!g)
		return err_set(e, ENOMEM, "--gdb: out of memory");
	g->m = m;
	g->listen_fd = g->client_fd = -1;
	g->hit_cpu = -1;
	g->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = g->wake_fd < 0 ? err_errno(e, "--gdb: eventfd") :
		 !strncmp(where, "unix:", 5) ? listen_unix(g, where + 5, j, e) : listen_tcp(g, where, e);
	if (!rc && listen(g->listen_fd, 1) < 0)
		rc = err_errno(e, "--gdb %s: listen", where);
	if (rc) {
		gdb_free(g, 0);
		return rc;
	}
	m->on_debug = on_debug;
	m->on_debug_ctx = g;
	*out = g;
	return 0;
}

int gdb_start(struct gdb *g, struct err *e)
{
	int rc = pthread_create(&g->thread, NULL, gdb_thread, g);
	if (rc)
		return err_set(e, rc, "--gdb: cannot start its thread: %s", strerror(rc));
	g->thread_started = true;
	return 0;
}

const char *gdb_address(const struct gdb *g) { return g->address; }

void gdb_free(struct gdb *g, int status)
{
	u64 one = 1;
	if (!g)
		return;
	g->exit_status = status;
	atomic_store(&g->ending, true);
	if (g->thread_started) {
		while (write(g->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
			;
		pthread_join(g->thread, NULL);
	}
	if (g->m->on_debug_ctx == g)
		g->m->on_debug = NULL;
	if (g->listen_fd >= 0)
		close(g->listen_fd);
	if (g->wake_fd >= 0)
		close(g->wake_fd);
	free(g);
}
