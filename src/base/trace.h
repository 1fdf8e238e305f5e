/* SPDX-License-Identifier: GPL-2.0-or-later */
/* trace.h - trace points by name, and the log. A point that is off costs one branch.
 *
 *	DEFINE_TRACE(apic_eoi, "apic.eoi");
 *	...
 *	TRACE(apic_eoi, "vcpu=%u vector=%u", v->index, vec);
 *
 * Names are "area.event". `--trace 'apic.*,cpu.exception'` switches points on for the
 * whole process (it is a debugging switch, not machine state). */
#ifndef PENTA_BASE_TRACE_H
#define PENTA_BASE_TRACE_H

#include "base/err.h"
#include "base/types.h"
#include <stdio.h>

struct trace_point {
	const char *name;
	bool on;
};

/* The linker gathers all points in one section, so that they can be listed. */
#ifdef __clang__	/* gcc leaves variables with a section of their own alone */
#define TRACE_NO_ASAN __attribute__((no_sanitize("address")))
#else
#define TRACE_NO_ASAN
#endif
#define DEFINE_TRACE(id, nm) \
	static struct trace_point trace_##id = { .name = nm }; \
	static struct trace_point *trace_ref_##id TRACE_NO_ASAN \
		__attribute__((used, section("trace_points"))) = &trace_##id
#define TRACE_ON(id) unlikely(trace_##id.on)
#define TRACE(id, ...) do { if (TRACE_ON(id)) trace_emit(&trace_##id, __VA_ARGS__); } while (0)

void trace_emit(const struct trace_point *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Switch on what the comma-separated shell patterns name. -EINVAL when one matches nothing. */
int trace_enable(const char *patterns, struct err *e);
/* Where traces go; borrowed; default stderr. */
void trace_set_output(FILE *f);
void trace_list(FILE *f);

/* The log: one line each to stderr (or the machine's log), for things a user should know.
 * log_limited() prints at most ten lines a second from each place of call: use it for
 * whatever a guest can provoke. */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
void log_msg(enum log_level lvl, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_set_level(enum log_level lvl);
struct log_rate { u64 window_ns; u32 n; };
bool log_rate_ok(struct log_rate *r);
#define log_limited(lvl, ...) do { \
	static struct log_rate rate_; \
	if (log_rate_ok(&rate_)) log_msg(lvl, __VA_ARGS__); } while (0)

#endif
