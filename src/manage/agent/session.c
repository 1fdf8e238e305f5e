/* SPDX-License-Identifier: GPL-2.0-or-later */
/* session.c - frames to and from a guest's agent. See proto.h for the words, session.h for the use. */
#include "manage/agent/session.h"
#include "base/bytes.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OUT_MAX (AGENT_FRAME_MAX + 2 * AGENT_WINDOW)
/* The agent's longest frame is one of DATA. */
#define IN_MAX (AGENT_HEADER + AGENT_DATA_MAX)

struct agent_session {
	const struct agent_events *ev;
	void *ctx;
	bool hello, asked, started, ended;	/* asked: EXEC was sent; ended: EXIT or ERROR came */
	bool eof[3];			/* 0: we said it; 1, 2: the guest did */
	u32 credit[3];			/* 0: what we may send; 1, 2: what the guest may */
	u8 in[IN_MAX];
	size_t have;
	u8 *out;
	size_t out_len, out_cap;
};

/* --- out --- */

static int put(struct agent_session *s, enum agent_type type, unsigned stream, const void *data,
	       size_t len)
{
	size_t need = s->out_len + AGENT_HEADER + len;
	u8 *h;

	if (need > OUT_MAX)
		return -ENOBUFS;
	if (need > s->out_cap) {
		size_t cap = MIN(MAX(need, s->out_cap * 2), (size_t)OUT_MAX);
		u8 *p = realloc(s->out, cap);

		if (!p)
			return -ENOMEM;
		s->out = p;
		s->out_cap = cap;
	}
	h = s->out + s->out_len;
	h[0] = (u8)type;
	h[1] = (u8)stream;
	put_le16(h + 2, 0);
	put_le32(h + 4, (u32)len);
	if (len)
		memcpy(h + AGENT_HEADER, data, len);
	s->out_len = need;
	return 0;
}

static int put_u32(struct agent_session *s, enum agent_type type, unsigned stream, u32 v)
{
	u8 b[4];

	put_le32(b, v);
	return put(s, type, stream, b, sizeof(b));
}

static int put_u64(struct agent_session *s, enum agent_type type, u64 v)
{
	u8 b[8];

	put_le64(b, v);
	return put(s, type, 0, b, sizeof(b));
}

const u8 *agent_output(const struct agent_session *s, size_t *len)
{
	*len = s->out_len;
	return s->out;
}

void agent_sent(struct agent_session *s, size_t len)
{
	len = MIN(len, s->out_len);
	s->out_len -= len;
	if (s->out_len)
		memmove(s->out, s->out + len, s->out_len);
}

static bool put_string(u8 *b, size_t *at, const char *str)
{
	size_t len = strlen(str) + 1;

	if (len > AGENT_FRAME_MAX - *at)
		return false;
	memcpy(b + *at, str, len);
	*at += len;
	return true;
}

int agent_exec(struct agent_session *s, const struct agent_command *c, struct err *e)
{
	static char *const none[] = { NULL };
	char *const *env = c->env ? c->env : none;
	u8 *b = malloc(AGENT_FRAME_MAX);
	u32 nargs = 0, nenv = 0;
	size_t at = 16;
	bool fits;
	int r;

	if (!b)
		return err_set(e, ENOMEM, "out of memory");
	fits = put_string(b, &at, c->cwd ? c->cwd : "") &&
	       put_string(b, &at, c->user ? c->user : "");
	for (; fits && c->argv[nargs]; nargs++)
		fits = nargs < AGENT_ARGS_MAX && put_string(b, &at, c->argv[nargs]);
	for (; fits && env[nenv]; nenv++)
		fits = nenv < AGENT_ARGS_MAX && put_string(b, &at, env[nenv]);
	put_le32(b, c->tty ? AGENT_TTY : 0);
	put_le16(b + 4, c->rows);
	put_le16(b + 6, c->cols);
	put_le32(b + 8, nargs);
	put_le32(b + 12, nenv);
	r = fits ? put(s, AGENT_EXEC, 0, b, at) : -E2BIG;
	free(b);
	if (r == -E2BIG)
		return err_set(e, E2BIG, "the command has too many arguments: %u bytes in %u words "
			       "are possible", AGENT_FRAME_MAX, AGENT_ARGS_MAX);
	if (r)
		return err_set(e, -r, "%s", strerror(-r));
	s->asked = true;
	return 0;
}

size_t agent_stdin_room(const struct agent_session *s)
{
	return s->started && !s->eof[0] && !s->ended ? s->credit[0] : 0;
}

int agent_stdin(struct agent_session *s, const u8 *buf, size_t len)
{
	if (len > agent_stdin_room(s))
		return -ENOBUFS;
	while (len) {
		size_t n = MIN(len, (size_t)AGENT_DATA_MAX);
		int r = put(s, AGENT_DATA, 0, buf, n);

		if (r)
			return r;
		s->credit[0] -= (u32)n;
		buf += n;
		len -= n;
	}
	return 0;
}

int agent_stdin_eof(struct agent_session *s)
{
	if (s->eof[0])
		return 0;
	s->eof[0] = true;
	return put(s, AGENT_EOF, 0, NULL, 0);
}

int agent_consumed(struct agent_session *s, unsigned stream, u32 len)
{
	if (!len || stream < 1 || stream > 2 || len > AGENT_WINDOW - s->credit[stream])
		return 0;
	s->credit[stream] += len;
	return s->eof[stream] || s->ended ? 0 : put_u32(s, AGENT_CREDIT, stream, len);
}

int agent_signal(struct agent_session *s, u32 sig)
{
	return put_u32(s, AGENT_SIGNAL, 0, sig);
}

int agent_size(struct agent_session *s, u16 rows, u16 cols)
{
	u8 b[4];

	put_le16(b, rows);
	put_le16(b + 2, cols);
	return put(s, AGENT_SIZE, 0, b, sizeof(b));
}

int agent_clock(struct agent_session *s, u64 token)
{
	return put_u64(s, AGENT_CLOCK, token);
}

int agent_adjust(struct agent_session *s, s64 delta_ns)
{
	return put_u64(s, AGENT_ADJUST, (u64)delta_ns);
}

int agent_power(struct agent_session *s, enum agent_power how)
{
	return put_u32(s, AGENT_POWER, 0, how);
}

/* --- in --- */

static int broken(struct err *e, const char *what)
{
	return err_set(e, EPROTO, "the guest's agent does not speak its protocol: %s", what);
}

static int take_hello(struct agent_session *s, const u8 *b, size_t len, struct err *e)
{
	if (s->hello || len < 12 || memcmp(b, AGENT_MAGIC, 8) || !get_le32(b + 8))
		return broken(e, "no greeting");
	s->hello = true;
	if (s->ev->hello)
		s->ev->hello(s->ctx);
	return 0;
}

static int take_data(struct agent_session *s, unsigned stream, const u8 *b, size_t len,
		     struct err *e)
{
	if (!s->started || s->ended || stream < 1 || stream > 2 || s->eof[stream] ||
	    len > s->credit[stream])
		return broken(e, "data that nobody asked for");
	s->credit[stream] -= (u32)len;
	if (s->ev->data && len)
		s->ev->data(s->ctx, stream, b, len);
	return 0;
}

static int take_error(struct agent_session *s, const u8 *b, size_t len, struct err *e)
{
	char text[AGENT_TEXT_MAX + 1];
	size_t n;
	u32 code;

	if (!s->asked || s->ended || len < 4)
		return broken(e, "an error without a cause");
	s->ended = true;
	code = get_le32(b);
	n = MIN(len - 4, (size_t)AGENT_TEXT_MAX);
	for (size_t i = 0; i < n; i++)
		text[i] = b[4 + i] >= ' ' && b[4 + i] < 0x7f ? (char)b[4 + i] : '?';
	text[n] = '\0';
	if (s->ev->failed)
		s->ev->failed(s->ctx, code && code < 4096 ? (int)code : EIO, text);
	return 0;
}

static int take_exit(struct agent_session *s, const u8 *b, size_t len, struct err *e)
{
	u32 status, sig;

	if (!s->started || s->ended || len < 8)
		return broken(e, "an end without a beginning");
	s->ended = true;
	status = get_le32(b);
	sig = get_le32(b + 4);
	if (s->ev->exited)
		s->ev->exited(s->ctx, status > 255 ? 255 : status, sig > 127 ? 0 : sig);
	return 0;
}

static int take_frame(struct agent_session *s, unsigned type, unsigned stream, const u8 *b,
		      size_t len, struct err *e)
{
	if (!s->hello || type == AGENT_HELLO)
		return type == AGENT_HELLO ? take_hello(s, b, len, e) : broken(e, "no greeting");
	switch (type) {
	case AGENT_STARTED:
		if (!s->asked || s->started || s->ended || len < 4)
			return broken(e, "a start that nobody asked for");
		s->started = true;
		if (s->ev->started)
			s->ev->started(s->ctx, get_le32(b));
		if (s->ev->room)
			s->ev->room(s->ctx);
		return 0;
	case AGENT_DATA:
		return take_data(s, stream, b, len, e);
	case AGENT_EOF:
		if (!s->started || s->ended || stream < 1 || stream > 2 || s->eof[stream])
			return broken(e, "an end of no stream");
		s->eof[stream] = true;
		if (s->ev->eof)
			s->ev->eof(s->ctx, stream);
		return 0;
	case AGENT_CREDIT:
		if (len < 4 || stream || get_le32(b) > AGENT_WINDOW - s->credit[0])
			return broken(e, "too much credit");
		s->credit[0] += get_le32(b);
		if (s->ev->room)
			s->ev->room(s->ctx);
		return 0;
	case AGENT_EXIT:
		return take_exit(s, b, len, e);
	case AGENT_ERROR:
		return take_error(s, b, len, e);
	case AGENT_CLOCK:
		if (len < 16)
			return broken(e, "half a clock");
		if (s->ev->clock)
			s->ev->clock(s->ctx, get_le64(b), get_le64(b + 8));
		return 0;
	case AGENT_ADJUST:
	case AGENT_POWER:
		if (len < 4)
			return broken(e, "half an answer");
		if (s->ev->done)
			s->ev->done(s->ctx, type, get_le32(b) < 4096 ? (int)get_le32(b) : EIO);
		return 0;
	default:			/* of a later version */
		return 0;
	}
}

int agent_recv(struct agent_session *s, const u8 *buf, size_t len, struct err *e)
{
	while (len) {
		size_t want = AGENT_HEADER, n;
		int r;

		if (s->have >= AGENT_HEADER) {
			u32 body = get_le32(s->in + 4);

			if (body > AGENT_DATA_MAX)
				return broken(e, "a frame that is too long");
			want += body;
		}
		n = MIN(len, want - s->have);
		memcpy(s->in + s->have, buf, n);
		s->have += n;
		buf += n;
		len -= n;
		if (s->have < AGENT_HEADER || s->have < AGENT_HEADER + (u64)get_le32(s->in + 4))
			continue;
		s->have = 0;
		r = take_frame(s, s->in[0], s->in[1], s->in + AGENT_HEADER,
			       get_le32(s->in + 4), e);
		if (r)
			return r;
	}
	return 0;
}

int agent_session_new(struct agent_session **out, const struct agent_events *ev, void *ctx,
		      struct err *e)
{
	struct agent_session *s = calloc(1, sizeof(*s));
	u8 b[12];

	if (!s)
		return err_set(e, ENOMEM, "out of memory");
	s->ev = ev;
	s->ctx = ctx;
	for (unsigned i = 0; i < 3; i++)
		s->credit[i] = AGENT_WINDOW;
	memcpy(b, AGENT_MAGIC, 8);
	put_le32(b + 8, AGENT_VERSION);
	if (put(s, AGENT_HELLO, 0, b, sizeof(b))) {
		agent_session_free(s);
		return err_set(e, ENOMEM, "out of memory");
	}
	*out = s;
	return 0;
}

void agent_session_free(struct agent_session *s)
{
	if (!s)
		return;
	free(s->out);
	free(s);
}
