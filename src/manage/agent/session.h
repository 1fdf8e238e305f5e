/* SPDX-License-Identifier: GPL-2.0-or-later */
/* session.h - the host's side of one connection to a guest's agent: frames in and out, and who may
 * send how much. It knows no socket: bytes go in by agent_recv(), come out by agent_output().
 * What the guest says is hostile: it can end the session, and nothing else. */
#ifndef PENTA_MANAGE_AGENT_SESSION_H
#define PENTA_MANAGE_AGENT_SESSION_H

#include "base/err.h"
#include "base/types.h"
#include "manage/agent/proto.h"

#define AGENT_TEXT_MAX 200		/* of an error that the guest words; printable */

struct agent_session;

/* What the guest says. All may be NULL. Any call below is allowed from within, except free. */
struct agent_events {
	void (*hello)(void *ctx);		/* now it can be asked */
	void (*started)(void *ctx, u32 pid);
	/* @stream 1 or 2. It is the receiver's to say agent_consumed() when it has room again: never
	 * more than AGENT_WINDOW bytes are out. */
	void (*data)(void *ctx, unsigned stream, const u8 *buf, size_t len);
	void (*eof)(void *ctx, unsigned stream);
	void (*room)(void *ctx);		/* agent_stdin() takes more */
	void (*exited)(void *ctx, u32 status, u32 signal);	/* status 0..255, or 128 + signal */
	void (*failed)(void *ctx, int error, const char *text);	/* the command could not be started */
	void (*clock)(void *ctx, u64 token, u64 realtime_ns);
	void (*done)(void *ctx, unsigned type, int error);	/* AGENT_ADJUST, AGENT_POWER */
};

/* Says HELLO at once. */
int agent_session_new(struct agent_session **out, const struct agent_events *ev, void *ctx,
		      struct err *e);
void agent_session_free(struct agent_session *s);	/* accepts NULL */

/* Bytes from the guest. -EPROTO: it broke the rules; the session is over. */
int agent_recv(struct agent_session *s, const u8 *buf, size_t len, struct err *e);
/* What is to be sent; borrowed until the next call. */
const u8 *agent_output(const struct agent_session *s, size_t *len);
void agent_sent(struct agent_session *s, size_t len);

/* Ask. All return -ENOBUFS when too much is waiting to be sent, -ENOMEM. */
struct agent_command {
	const char *cwd, *user;		/* NULL: the agent's choice: root, and its home */
	char *const *argv, *const *env;	/* NULL-terminated; env may be NULL */
	bool tty;
	u16 rows, cols;
};
/* -E2BIG: more than AGENT_ARGS_MAX strings or AGENT_FRAME_MAX bytes. Once a session. */
int agent_exec(struct agent_session *s, const struct agent_command *c, struct err *e);
/* How many bytes agent_stdin() takes now. */
size_t agent_stdin_room(const struct agent_session *s);
int agent_stdin(struct agent_session *s, const u8 *buf, size_t len);
int agent_stdin_eof(struct agent_session *s);
int agent_consumed(struct agent_session *s, unsigned stream, u32 len);
int agent_signal(struct agent_session *s, u32 sig);
int agent_size(struct agent_session *s, u16 rows, u16 cols);
int agent_clock(struct agent_session *s, u64 token);
int agent_adjust(struct agent_session *s, s64 delta_ns);
int agent_power(struct agent_session *s, enum agent_power how);

#endif
