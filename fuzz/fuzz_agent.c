/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_agent.c - a hostile guest's words to the host's side of its agent, the session and those who use
 * it: sensible frames in a sensible order, with fields set to nasty numbers, pieces cut, doubled, or
 * swapped, and handed over in pieces of any size. Whatever it says, nothing but the session ends, and
 * never more than the window is held.
 * How long, and from which seed: fuzz.h. */
#include "fuzz.h"
#include "base/bytes.h"
#include "manage/agent/session.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

static u64 rng;
static u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	return rng ^= rng << 17;
}

#define CHECK(c) do { \
	if (!(c)) { \
		fprintf(stderr, "fuzz_agent: %s failed\n", #c); \
		abort(); \
	} } while (0)

struct user {
	struct agent_session *s;
	size_t held[3];
	bool ended;
	unsigned hellos;
};

static void on_hello(void *ctx)
{
	static char *const argv[] = { "ls", "-l", NULL };
	struct agent_command c = { .argv = argv };
	struct user *u = ctx;

	CHECK(!u->hellos++);
	if (rnd() % 8)
		agent_exec(u->s, &c, NULL);
	agent_clock(u->s, rnd());
}

static void on_data(void *ctx, unsigned stream, const u8 *buf, size_t len)
{
	struct user *u = ctx;
	static volatile u8 sum;

	CHECK(stream == 1 || stream == 2);
	for (size_t i = 0; i < len; i++)
		sum = (u8)(sum + buf[i]);
	u->held[stream] += len;
	CHECK(u->held[stream] <= AGENT_WINDOW);
	if (rnd() & 1) {
		u32 n = (u32)(rnd() % (u->held[stream] + 1));

		agent_consumed(u->s, stream, n);
		u->held[stream] -= n;
	}
}

static void on_room(void *ctx)
{
	struct user *u = ctx;
	static const u8 zeros[AGENT_WINDOW];
	size_t room = agent_stdin_room(u->s);

	CHECK(room <= AGENT_WINDOW);
	if (rnd() & 1)
		agent_stdin(u->s, zeros, rnd() % (room + 1));
	else if (rnd() % 16 == 0)
		agent_stdin_eof(u->s);
}

static void on_exited(void *ctx, u32 status, u32 sig)
{
	struct user *u = ctx;

	CHECK(!u->ended && status <= 255 && sig <= 127);
	u->ended = true;
}

static void on_failed(void *ctx, int error, const char *text)
{
	struct user *u = ctx;

	CHECK(!u->ended && error > 0 && strlen(text) <= AGENT_TEXT_MAX);
	for (; *text; text++)
		CHECK(*text >= ' ' && *text < 0x7f);
	u->ended = true;
}

static const struct agent_events events = {
	.hello = on_hello, .data = on_data, .room = on_room, .exited = on_exited,
	.failed = on_failed,
};

#define SAID_MAX (256 * KiB)
static size_t frame(u8 *b, unsigned type, unsigned stream, size_t len)
{
	b[0] = (u8)type;
	b[1] = (u8)stream;
	put_le16(b + 2, 0);
	put_le32(b + 4, (u32)len);
	for (size_t i = 0; i < len; i++)
		b[8 + i] = (u8)rnd();
	return 8 + len;
}

static size_t conversation(u8 *b)
{
	size_t n = frame(b, AGENT_HELLO, 0, 12);

	memcpy(b + 8, AGENT_MAGIC, 8);
	put_le32(b + 16, 1);
	n += frame(b + n, AGENT_STARTED, 0, 4);
	for (unsigned i = (unsigned)(rnd() % 24); i; i--) {
		size_t at = n;

		switch (rnd() % 8) {
		case 0:
		case 1:
		case 2:
			n += frame(b + n, AGENT_DATA, 1 + rnd() % 2, rnd() % (rnd() & 3 ? 64 : 9000));
			break;
		case 3:
			n += frame(b + n, AGENT_CREDIT, 0, 4);
			put_le32(b + at + 8, (u32)(rnd() % 3 ? rnd() % 100 : rnd()));
			break;
		case 4:
			n += frame(b + n, AGENT_CLOCK, 0, 16);
			break;
		case 5:
			n += frame(b + n, rnd() & 1 ? AGENT_ADJUST : AGENT_POWER, 0, 4);
			break;
		case 6:
			n += frame(b + n, AGENT_EOF, 1 + rnd() % 2, 0);
			break;
		default:
			n += frame(b + n, (unsigned)(rnd() % 256), (unsigned)(rnd() % 4), rnd() % 40);
		}
	}
	return n + frame(b + n, rnd() % 4 ? AGENT_EXIT : AGENT_ERROR, 0, 8 + rnd() % 300);
}

static size_t damage(u8 *b, size_t n)
{
	static const u32 nasty[] = { 0, 1, 7, 8, 0x3fff, 0x4000, 0x4001, 0xffff, 0x10000, 0x10001,
				     0x1ffff, 0x20000, 0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff };

	for (unsigned k = (unsigned)(rnd() % 5); k; k--) {
		size_t at = rnd() % n, left = n - at;

		switch (rnd() % 4) {
		case 0:
			b[at] ^= (u8)(1u << rnd() % 8);
			break;
		case 1:
			if (left >= 4)
				put_le32(b + at, nasty[rnd() % ARRAY_SIZE(nasty)]);
			break;
		case 2:
			n = at + 1;
			break;
		default:
			memmove(b + at, b + rnd() % n, MIN(left / 2, (size_t)(rnd() % 64)));
		}
	}
	return n;
}

static void one(u8 *b)
{
	struct user u = { 0 };
	struct err e = { 0 };
	size_t n = damage(b, conversation(b)), at = 0;
	int r = 0;

	CHECK(agent_session_new(&u.s, &events, &u, NULL) == 0);
	while (at < n && !r) {
		size_t piece = MIN(n - at, (size_t)(1 + rnd() % (rnd() & 1 ? 16 : 40000))), out;

		r = agent_recv(u.s, b + at, piece, &e);
		at += piece;
		agent_output(u.s, &out);
		agent_sent(u.s, rnd() % (out + 1));
	}
	CHECK(r == 0 || (r == -EPROTO && e.msg[0] && !strchr(e.msg, '\n')));
	agent_session_free(u.s);
}

int main(int argc, char **argv)
{
	struct fuzz f = fuzz_begin(argc, argv, "fuzz_agent");
	u8 *b = malloc(SAID_MAX);

	CHECK(b);
	while (fuzz_more(&f, f.rounds != 0)) {
		rng = f.seed * 0x9e3779b97f4a7c15ull | 1;
		one(b);
	}
	free(b);
	return fuzz_end(&f);
}
