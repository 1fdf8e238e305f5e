/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp.h - the control socket of a running machine: JSON, shaped like QEMU's QMP, so that its clients
 * work for the common commands. docs/control.md has the protocol.
 * After: QEMU, docs/interop/qmp-spec.
 *
 * One thread (sandbox class CONTROL) serves all clients; commands that take long run on a second one,
 * one at a time, while the first goes on. A file's commands are one table:
 *
 *	static int blk_resize(struct qmp_call *c, json_t **ret, struct err *e) { ... }
 *	static const struct qmp_arg resize_args[] = { { "device", 's' }, { "size", 'i' }, { 0 } };
 *	const struct qmp_command qmp_block_commands[] = {
 *		{ "block_resize", blk_resize, resize_args }, { 0 } };
 *
 * and one line in commands.c. */
#ifndef PENTA_MANAGE_CONTROL_QMP_H
#define PENTA_MANAGE_CONTROL_QMP_H

#include "base/err.h"
#include "manage/machine/assemble.h"
#include <jansson.h>

struct qmp;
struct qmp_client;

/* One command being executed. */
struct qmp_call {
	struct qmp *qmp;
	struct vm *vm;
	struct qmp_client *client;	/* for qmp_take_fd() */
	json_t *args;			/* an object, checked against the command's table; borrowed */
	const struct qmp_command *command;
};

struct qmp_arg {
	const char *name;
	char type;		/* 's'tring, 'i'nteger, 'b'oolean, 'a'rray, 'o'bject, '?' any */
	bool optional;
};
struct qmp_command {
	const char *name;	/* NULL ends a table. penta's own: "penta-xxx" */
	/* No lock is held. *@ret: what "return" shows, a new reference; NULL stands for {}. */
	int (*run)(struct qmp_call *c, json_t **ret, struct err *e);
	const struct qmp_arg *args;	/* NULL: none */
	bool slow;		/* runs on the second thread: saving, copying */
};

/* Arguments; those that are absent: @def. */
const char *qmp_string(const struct qmp_call *c, const char *name, const char *def);
s64 qmp_integer(const struct qmp_call *c, const char *name, s64 def);
bool qmp_bool(const struct qmp_call *c, const char *name, bool def);
/* Take the descriptor that the client named by "getfd", or a copy of one in the set "/dev/fdset/N".
 * Yours to close. */
int qmp_take_fd(struct qmp_call *c, const char *name, struct err *e);
/* Tell the client that asked how far a slow command is: event PENTA_PROGRESS. Any thread; cheap. */
void qmp_progress(struct qmp_call *c, u64 done, u64 total);
/* True when nobody waits any more: the client has gone, or the machine ends. */
bool qmp_cancelled(const struct qmp_call *c);

/* Tell all clients. @data: an object, taken; may be NULL. Any thread, any lock held. */
void qmp_event(struct qmp *q, const char *name, json_t *data);

/* @listen_fd: taken, also on failure. Opens all it needs; starts nothing. */
int qmp_new(struct qmp **out, struct vm *vm, int listen_fd, struct err *e);
/* Begin to serve; the machine has been started (it may be paused). The threads enter the sandbox. */
int qmp_start(struct qmp *q, struct err *e);
/* Event SHUTDOWN to all, what is queued is sent, then the threads end. Accepts NULL. */
void qmp_free(struct qmp *q);

/* commands.c: all tables, NULL-terminated. */
extern const struct qmp_command *const qmp_commands[];
extern const struct qmp_command qmp_state_commands[];	/* state_commands.c */
extern const struct qmp_command qmp_fdset_commands[];	/* fdsets.c */
extern const struct qmp_command qmp_agent_commands[];	/* agent_commands.c */
const struct qmp_command *qmp_find(const char *name);

#endif
