/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_ring_model.c - every interleaving of a small driver with the real code of the rings, for
 * queues of 1 to 4 entries, both layouts, with and without event indices and indirect descriptors.
 *
 * The device's half is src/virtio/ring*.c itself, compiled here with its loads, stores and fence
 * going through a memory of ours, where a store waits in a buffer, as x86 lets it, until a fence or
 * until chance has it leave. At each load and fence the driver may do up to INJECT steps of its own:
 * make a buffer available, look whether to kick, take an interrupt, collect, arm it, look again.
 * States that were seen before are not visited again, so the search ends; it proves for these:
 *
 *  - no lost kick: never is a buffer available, the device idle, and nobody to wake it;
 *  - no lost interrupt: never is a used buffer there, the driver asleep, and nobody to wake it;
 *  - each buffer comes in order, ends once, with the length that the device told. */
#include "unit.h"

#include <stdio.h>
#include <time.h>

#define RING_MODEL
#include "../../src/virtio/ring.c"
#define look look_split
#define desc_off desc_off_split
#define DESC_GPA SPLIT_DESC_GPA
#define DESC_SIZE SPLIT_DESC_SIZE
#define DESC_FLAGS SPLIT_DESC_FLAGS
#include "../../src/virtio/ring_split.c"
#undef look
#undef desc_off
#undef DESC_GPA
#undef DESC_SIZE
#undef DESC_FLAGS
#include "../../src/virtio/ring_packed.c"

#define SIZE_MAX_ 4
#define TOKENS 8
#define INJECT 2
#define BUFFERED 6
enum { AT_DESC = 0, AT_DRIVER = 64, AT_DEVICE = 80, MEM = 120 };
#define BUF_GPA 0x10000u	/* token t: here + 256 t */
#define TABLE_GPA 0x8000u	/* ... its indirect tables: here + 64 t */

enum token { NOT_YET, SUBMITTED, POPPED, PUSHED, COLLECTED };
enum sub { SUB_IDLE, SUB_TO_CHECK };
enum comp { WAITING, COLLECTING, ARMED };

struct state {
	u8 mem[MEM];
	/* the device: of struct ring, and what it holds */
	u16 next_avail, next_used, seen_avail, inflight;
	u8 avail_wrap, used_wrap, deaf, active, unnotified, last_popped, unpops;
	u8 pushed, nheld;
	struct { u8 id, ndesc, tok; } held[SIZE_MAX_];
	u8 nbuf;
	struct { u8 off, len; u32 val; } buf[BUFFERED];
	/* the driver */
	u8 kick, irq, sub, comp;
	u16 d_avail, d_used, d_old;	/* d_old: d_avail when it last looked whether to kick */
	u8 d_awrap, d_uwrap, nfree, ntok, since;
	u8 tok[TOKENS];
	u8 id_tok[SIZE_MAX_], id_n[SIZE_MAX_];	/* id_n 0: free */
};

static struct config {
	u16 size;
	bool packed, event_idx, indirect, deaf;
	u8 ntok;
	u16 start;
} cfg;
static struct ring ring;
static struct state s;		/* the current one; ring's areas are s.mem */
static const char *failed;

static void fail_with(const char *why) { if (!failed) failed = why; }

/* --- choices: the run of one operation is repeated until all have been made --- */

static struct { u8 pick, of; } choice[128];
static unsigned nchoice, at_choice;
static unsigned injected, loads;
static bool in_op;

static unsigned choose(unsigned of)
{
	if (at_choice == nchoice) {
		if (nchoice == ARRAY_SIZE(choice))
			abort();
		choice[nchoice].pick = 0;
		choice[nchoice++].of = (u8)of;
	}
	return choice[at_choice++].pick;
}

static bool next_choices(void)
{
	while (nchoice && choice[nchoice - 1].pick + 1 == choice[nchoice - 1].of)
		nchoice--;
	if (!nchoice)
		return false;
	choice[nchoice - 1].pick++;
	return true;
}

/* --- memory, as the driver sees it --- */

static u16 m16(unsigned off) { return get_le16(s.mem + off); }
static u32 m32(unsigned off) { return get_le32(s.mem + off); }

static void flush_one(void)
{
	memcpy(s.mem + s.buf[0].off, &s.buf[0].val, s.buf[0].len);
	s.nbuf--;
	memmove(s.buf, s.buf + 1, s.nbuf * sizeof(s.buf[0]));
	memset(&s.buf[s.nbuf], 0, sizeof(s.buf[0]));
}

/* --- the driver's steps --- */

enum step { D_SUBMIT, D_CHECK, D_IRQ, D_POLL, D_COLLECT, D_ARM, D_RECHECK, D_STEPS };

static bool used_there(void)
{
	u16 flags;

	if (!cfg.packed)
		return m16(AT_DEVICE + 2) != s.d_used;
	flags = m16(AT_DESC + 16u * s.d_used + 14);
	return !!(flags & 0x80) == s.d_uwrap && !!(flags & 0x8000) == s.d_uwrap;
}

/* Every other buffer has two descriptors, where there is room for them. */
static unsigned ndesc(u8 tok)
{
	return cfg.size > 1 || cfg.indirect ? 1 + tok % 2 : 1;
}

static bool can(enum step a)
{
	switch (a) {
	case D_SUBMIT: return s.ntok < cfg.ntok && s.nfree >= (cfg.indirect ? 1 : ndesc(s.ntok));
	case D_CHECK: return s.sub == SUB_TO_CHECK;
	case D_IRQ: return s.comp == WAITING && s.irq;
	case D_POLL: return s.comp == WAITING && used_there();
	case D_COLLECT: return s.comp == COLLECTING && used_there();
	case D_ARM: return s.comp == COLLECTING && !used_there();
	default: return s.comp == ARMED;
	}
}

static void put_desc(unsigned slot, u64 gpa, u32 len, u16 a, u16 b)
{
	u8 *p = s.mem + AT_DESC + 16 * slot;

	put_le64(p, gpa);
	put_le32(p + 8, len);
	put_le16(p + 12, a);
	put_le16(p + 14, b);
}

static u8 free_id(u8 from)
{
	while (s.id_n[from])
		from++;
	return from;
}

static void submit(void)
{
	unsigned n = ndesc(s.ntok);
	u8 tok = s.ntok++, id = free_id(0), second = 0;
	unsigned slots = cfg.indirect ? 1 : n;
	u64 gpa = cfg.indirect ? TABLE_GPA + 64u * tok + (n > 1 ? 0 : 32) : BUF_GPA + 256u * tok;
	u32 len = cfg.indirect ? 16 * n : 16;
	u16 flags = cfg.indirect ? DESC_INDIRECT : n > 1 ? DESC_NEXT : 0;

	s.tok[tok] = SUBMITTED;
	s.id_tok[id] = tok;
	s.id_n[id] = (u8)slots;
	s.nfree = (u8)(s.nfree - slots);
	if (cfg.packed) {
		u16 bits = s.d_awrap ? 0x80 : 0x8000;

		for (unsigned i = 0; i < slots; i++) {
			put_desc(s.d_avail, gpa + 128 * i, len, id,
				 (u16)(bits | (i + 1 < slots ? DESC_NEXT : cfg.indirect ? DESC_INDIRECT :
					       i ? DESC_WRITE : 0)));
			if (++s.d_avail == cfg.size) {
				s.d_avail = 0;
				s.d_awrap = !s.d_awrap;
				bits = s.d_awrap ? 0x80 : 0x8000;
			}
		}
	} else {
		if (slots == 2) {	/* its second descriptor takes an id, too */
			second = free_id(0);
			s.id_n[second] = 1;
			s.id_tok[second] = 0xff;
			put_desc(second, gpa + 128, 16, DESC_WRITE, 0);
		}
		put_desc(id, gpa, len, flags, second);
		put_le16(s.mem + AT_DRIVER + 4 + 2 * (s.d_avail % cfg.size), id);
		put_le16(s.mem + AT_DRIVER + 2, ++s.d_avail);
	}
	s.since = (u8)(s.since + (cfg.packed ? slots : 1));
	s.sub = SUB_TO_CHECK;
}

/* 2.7.10, 2.8.10.2: does the device want to hear of what was made available since the last look? */
static void check_kick(void)
{
	bool kick;

	if (!cfg.packed && !cfg.event_idx) {
		kick = !(m16(AT_DEVICE) & 1);
	} else if (!cfg.packed) {
		kick = ring_passed(m16(AT_DEVICE + 4 + 8u * cfg.size), s.d_avail, (u16)(s.d_avail - s.since));
	} else {
		u32 v = m32(AT_DEVICE);
		u16 event = v & 0x7fff;

		if (v >> 16 != 2) {
			kick = v >> 16 != 1;
		} else {
			if (!!(v & 0x8000) != s.d_awrap)
				event = (u16)(event - cfg.size);
			kick = ring_passed(event, s.d_avail, (u16)(s.d_avail - s.since));
		}
	}
	s.since = 0;
	s.sub = SUB_IDLE;
	if (kick)
		s.kick = 1;
}

static void interrupts_off(void)
{
	if (cfg.packed)
		put_le16(s.mem + AT_DRIVER + 2, 1);
	else if (!cfg.event_idx)
		put_le16(s.mem + AT_DRIVER, 1);
}

static void interrupts_on(void)
{
	if (cfg.packed && cfg.event_idx)
		put_le32(s.mem + AT_DRIVER, 2u << 16 | (s.d_uwrap ? 0x8000u : 0) | s.d_used);
	else if (cfg.packed)
		put_le16(s.mem + AT_DRIVER + 2, 0);
	else if (cfg.event_idx)
		put_le16(s.mem + AT_DRIVER + 4 + 2 * cfg.size, s.d_used);
	else
		put_le16(s.mem + AT_DRIVER, 0);
}

static void collect(void)
{
	unsigned off = cfg.packed ? AT_DESC + 16u * s.d_used : AT_DEVICE + 4 + 8u * (s.d_used % cfg.size);
	u32 id = cfg.packed ? m16(off + 12) : m32(off);
	u32 len = cfg.packed ? m32(off + 8) : m32(off + 4);
	u8 tok;

	if (id >= cfg.size || !s.id_n[id] || s.id_tok[id] == 0xff) {
		fail_with("a buffer came back that was not out");
		return;
	}
	tok = s.id_tok[id];
	if (s.tok[tok] != PUSHED)
		fail_with("a buffer came back that the device had not done with");
	if (len != tok + 1u)
		fail_with("a buffer came back with another's length");
	s.tok[tok] = COLLECTED;
	/* What nobody will look at is wiped, so that states differ in what matters only. */
	if (!cfg.packed)
		memset(s.mem + off, 0, 8);
	for (unsigned i = 0, slot = s.d_used; cfg.packed && i < s.id_n[id]; i++) {
		memset(s.mem + AT_DESC + 16 * slot, 0, 14);
		slot = (slot + 1) % cfg.size;
	}
	s.nfree = (u8)(s.nfree + s.id_n[id]);
	if (cfg.packed) {
		s.d_used = (u16)(s.d_used + s.id_n[id]);
		if (s.d_used >= cfg.size) {
			s.d_used = (u16)(s.d_used - cfg.size);
			s.d_uwrap = !s.d_uwrap;
		}
	} else {
		if (s.id_n[id] == 2) {
			u8 second = s.mem[AT_DESC + 16 * id + 14];

			memset(s.mem + AT_DESC + 16 * second, 0, 16);
			s.id_n[second] = 0;
			s.id_tok[second] = 0;
		}
		memset(s.mem + AT_DESC + 16 * id, 0, 16);
		s.d_used++;
	}
	s.id_n[id] = 0;
	s.id_tok[id] = 0;
}

static void step(enum step a)
{
	switch (a) {
	case D_SUBMIT: submit(); break;
	case D_CHECK: check_kick(); break;
	case D_IRQ: s.irq = 0; s.comp = COLLECTING; interrupts_off(); break;
	case D_POLL: s.comp = COLLECTING; interrupts_off(); break;
	case D_COLLECT: collect(); break;
	case D_ARM: interrupts_on(); s.comp = ARMED; break;
	default:
		s.comp = used_there() ? COLLECTING : WAITING;
		if (s.comp == COLLECTING)
			interrupts_off();
	}
}

/* --- the device's accesses --- */

/* The driver meets the device's operation at its loads, and through stores that have left the buffer;
 * so its steps, and what leaves before each, are chosen at loads and fences. Before the first of an
 * operation they would be the same as before the operation. */
static void interleave(void)
{
	if (!in_op || loads++ == 0)
		return;
	while (!failed && injected < INJECT) {
		enum step can_do[D_STEPS];
		unsigned n = 0, pick = choose(s.nbuf + 2u);

		if (pick == 0)
			return;
		while (--pick)
			flush_one();
		for (enum step a = 0; a < D_STEPS; a++)
			if (can(a))
				can_do[n++] = a;
		if (n == 0)
			return;
		injected++;
		step(can_do[choose(n)]);
	}
}

static u32 load(const u8 *p, unsigned len)
{
	unsigned off = (unsigned)(p - s.mem);
	u8 all[MEM];
	u32 v = 0;

	interleave();
	memcpy(all, s.mem, MEM);
	for (unsigned i = 0; i < s.nbuf; i++)	/* our own stores are seen by us at once */
		memcpy(all + s.buf[i].off, &s.buf[i].val, s.buf[i].len);
	memcpy(&v, all + off, len);
	return v;
}

static void store(u8 *p, u32 v, unsigned len)
{
	if (s.nbuf == BUFFERED)
		flush_one();
	s.buf[s.nbuf].off = (u8)(p - s.mem);
	s.buf[s.nbuf].len = (u8)len;
	s.buf[s.nbuf++].val = v;
}

u16 ring_load16(const u8 *p) { return (u16)load(p, 2); }
u32 ring_load32(const u8 *p) { return load(p, 4); }
void ring_store16(u8 *p, u16 v) { store(p, v, 2); }
void ring_store32(u8 *p, u32 v) { store(p, v, 4); }
void ring_fence(void)
{
	if (loads)
		interleave();	/* what the driver does before our stores leave */
	while (s.nbuf)
		flush_one();
}

/* --- the device's operations --- */

enum op { O_KICK, O_POP, O_HAS, O_NOTIFY, O_UNPOP, O_DEAF, O_LISTEN, O_FLUSH, O_PUSH,
	  O_ALL = O_PUSH + SIZE_MAX_ };

static bool may(unsigned o)
{
	switch (o) {
	case O_KICK: return s.kick && !s.active;
	case O_POP: return s.active;
	case O_HAS: return s.active && !s.deaf;
	case O_NOTIFY: return s.unnotified;
	case O_UNPOP: return s.last_popped && s.unpops < 1;
	case O_DEAF: return cfg.deaf && s.active && !s.deaf && !s.unpops;
	case O_LISTEN: return s.active && s.deaf;
	case O_FLUSH: return s.nbuf > 0;
	default: return o - O_PUSH < s.nheld;
	}
}

static void ring_in(void)
{
	ring.next_avail = s.next_avail;
	ring.next_used = s.next_used;
	ring.seen_avail = s.seen_avail;
	ring.inflight = s.inflight;
	ring.avail_wrap = s.avail_wrap;
	ring.used_wrap = s.used_wrap;
	ring.deaf = s.deaf;
	ring.pushed = s.pushed;
}

static void ring_out(void)
{
	s.next_avail = ring.next_avail;
	s.next_used = ring.next_used;
	s.seen_avail = ring.seen_avail;
	s.inflight = ring.inflight;
	s.avail_wrap = ring.avail_wrap;
	s.used_wrap = ring.used_wrap;
	s.deaf = ring.deaf;
	s.pushed = (u8)ring.pushed;
	if (ring.broken)
		fail_with(ring.why);
}

static void popped(struct ring_chain *c)
{
	u8 tok = (u8)((c->seg[0].gpa - BUF_GPA) / 256);

	for (u8 t = 0; t < tok; t++)
		if (s.tok[t] == SUBMITTED)
			fail_with("a buffer was passed over");
	if (tok >= s.ntok || s.tok[tok] != SUBMITTED)
		fail_with("a buffer was popped that was not available");
	else
		s.tok[tok] = POPPED;
	if (!cfg.packed)
		memset(s.mem + AT_DRIVER + 4 + 2 * ((u16)(ring.next_avail - 1) % cfg.size), 0, 2);
	s.held[s.nheld].id = (u8)c->id;
	s.held[s.nheld].ndesc = (u8)c->ndesc;
	s.held[s.nheld++].tok = tok;
	s.last_popped = (u8)(tok + 1);
	chain_give(c);
}

/* The chain that was held as entry @i, as ring_pop() had made it. */
static struct ring_chain *unhold(unsigned i)
{
	struct ring_chain *c = chain_take(&ring);

	c->id = s.held[i].id;
	c->ndesc = s.held[i].ndesc;
	if (s.last_popped == s.held[i].tok + 1)
		s.last_popped = 0;
	s.nheld--;
	memmove(s.held + i, s.held + i + 1, (s.nheld - i) * sizeof(s.held[0]));
	memset(&s.held[s.nheld], 0, sizeof(s.held[0]));
	return c;
}

static void operate(unsigned o)
{
	struct ring_chain *c;
	unsigned i;
	int r;

	ring_in();
	switch (o) {
	case O_KICK: s.kick = 0; s.active = 1; break;
	case O_POP:
		r = ring_pop(&ring, &c);
		if (r < 0)
			fail_with(ring.why);
		else if (r == 1)
			popped(c);
		else if (!ring.deaf)
			s.active = 0;
		break;
	case O_HAS:
		if (!ring_has(&ring))
			s.active = 0;
		break;
	case O_NOTIFY:
		s.unnotified = 0;
		if (ring_wants_notify(&ring))
			s.irq = 1;
		break;
	case O_UNPOP:
		for (i = 0; s.held[i].tok + 1 != s.last_popped; )
			i++;
		s.tok[s.held[i].tok] = SUBMITTED;
		if (!cfg.packed)	/* popped() wiped it */
			put_le16(s.mem + AT_DRIVER + 4 + 2 * ((u16)(ring.next_avail - 1) % cfg.size),
				 s.held[i].id);
		ring_unpop(unhold(i));
		s.unpops++;
		s.active = 1;
		break;
	case O_DEAF: ring_listen(&ring, false); break;
	case O_LISTEN: ring_listen(&ring, true); break;
	case O_FLUSH: flush_one(); break;
	default:
		i = o - O_PUSH;
		r = s.held[i].tok + 1;
		s.tok[s.held[i].tok] = PUSHED;
		s.unnotified = 1;
		ring_push(unhold(i), (u32)r);
	}
	ring_out();
}

/* --- what must hold in every state --- */

static bool any(enum token t)
{
	for (unsigned i = 0; i < s.ntok; i++)
		if (s.tok[i] == t)
			return true;
	return false;
}

static void check(void)
{
	if (!s.active && !s.kick && s.nbuf == 0 && s.sub == SUB_IDLE && any(SUBMITTED))
		fail_with("a lost kick: a buffer is available, and both sides wait");
	if (s.comp == WAITING && !s.irq && s.nbuf == 0 && !s.unnotified && any(PUSHED))
		fail_with("a lost interrupt: a buffer is used, and both sides wait");
}

/* --- the search --- */

static struct { u64 (*key)[2]; size_t room, n; } seen;
static struct { struct state *p; size_t n, room; } todo;

static void hash(const struct state *x, u64 h[2])
{
	const u8 *p = (const u8 *)x;

	h[0] = 0x9e3779b97f4a7c15ull;
	h[1] = 0xc2b2ae3d27d4eb4full;
	for (size_t i = 0; i + 8 <= sizeof(*x); i += 8) {
		u64 w = get_le64(p + i);

		h[0] = (h[0] ^ w) * 0xff51afd7ed558ccdull;
		h[0] ^= h[0] >> 32;
		h[1] = (h[1] + w) * 0xc4ceb9fe1a85ec53ull;
		h[1] ^= h[1] >> 29;
	}
	h[0] |= 1;		/* 0: an empty place */
}
_Static_assert(sizeof(struct state) % 8 == 0, "hash() takes whole words");

static void seen_grow(void)
{
	u64 (*old)[2] = seen.key;
	size_t n = seen.room;

	seen.room = n ? 2 * n : 1 << 16;
	seen.key = calloc(seen.room, sizeof(*seen.key));
	if (!seen.key)
		abort();
	for (size_t i = 0; i < n; i++)
		if (old[i][0]) {
			size_t k = old[i][1] & (seen.room - 1);

			while (seen.key[k][0])
				k = (k + 1) & (seen.room - 1);
			memcpy(seen.key[k], old[i], sizeof(old[i]));
		}
	free(old);
}

static bool seen_before(const struct state *x)
{
	u64 h[2];
	size_t k;

	if (seen.n * 2 >= seen.room)
		seen_grow();
	hash(x, h);
	for (k = h[1] & (seen.room - 1); seen.key[k][0]; k = (k + 1) & (seen.room - 1))
		if (seen.key[k][0] == h[0] && seen.key[k][1] == h[1])
			return true;
	memcpy(seen.key[k], h, sizeof(h));
	seen.n++;
	return false;
}

static void visit(void)
{
	if (failed)
		return;
	check();
	if (failed || seen_before(&s))
		return;
	if (todo.n == todo.room) {
		todo.room = todo.room ? 2 * todo.room : 4096;
		todo.p = realloc(todo.p, todo.room * sizeof(s));
		if (!todo.p)
			abort();
	}
	todo.p[todo.n++] = s;
}

static void begin(void)
{
	ring_fini(&ring);
	failed = NULL;
	ring.size_max = 4;
	ring_reset(&ring);
	ring.size = cfg.size;
	ring.packed = cfg.packed;
	ring.event_idx = cfg.event_idx;
	ring.indirect = cfg.indirect;
	ring.enabled = true;
	ring.desc = s.mem + AT_DESC;
	ring.driver = s.mem + AT_DRIVER;
	ring.device = s.mem + AT_DEVICE;
	memset(&s, 0, sizeof(s));
	s.nfree = (u8)cfg.size;
	s.avail_wrap = s.used_wrap = s.d_awrap = s.d_uwrap = 1;
	s.next_avail = s.next_used = s.seen_avail = s.d_avail = s.d_used = cfg.start;
	if (!cfg.packed) {
		put_le16(s.mem + AT_DRIVER + 2, cfg.start);
		put_le16(s.mem + AT_DEVICE + 2, cfg.start);
		if (cfg.event_idx) {
			put_le16(s.mem + AT_DRIVER + 4 + 2 * cfg.size, cfg.start);
			put_le16(s.mem + AT_DEVICE + 4 + 8 * cfg.size, cfg.start);
		}
	}
	for (unsigned i = 0; cfg.packed && i < cfg.start; i++)	/* used in this lap already */
		put_le16(s.mem + AT_DESC + 16 * i + 14, 0x8080);
	if (cfg.packed && cfg.event_idx)
		interrupts_on();
	assert_true(cfg.ntok <= TOKENS);
}

static void search(void)
{
	static struct state from;

	begin();
	visit();
	while (todo.n && !failed) {
		from = todo.p[--todo.n];
		for (enum step a = 0; a < D_STEPS && !failed; a++) {
			s = from;
			if (can(a)) {
				step(a);
				visit();
			}
		}
		for (unsigned o = 0; o < O_ALL && !failed; o++) {
			s = from;
			if (!may(o))
				continue;
			nchoice = 0;
			do {
				s = from;
				at_choice = injected = loads = 0;
				in_op = true;
				operate(o);
				in_op = false;
				visit();
			} while (!failed && next_choices());
		}
	}
	todo.n = 0;
}

static void put_tables(struct ram *ram)
{
	/* One of two entries, and one of one. */
	for (u8 t = 0; t < TOKENS; t++)
		for (unsigned i = 0; i < 3; i++) {
			u8 d[16] = { 0 };

			put_le64(d, BUF_GPA + 256u * t + 128 * (i % 2));
			put_le32(d + 8, 16);
			if (cfg.packed) {
				put_le16(d + 14, i == 1 ? DESC_WRITE : 0);
			} else {
				put_le16(d + 12, i == 1 ? DESC_WRITE : i == 0 ? DESC_NEXT : 0);
				put_le16(d + 14, i == 0);
			}
			ram_write(ram, TABLE_GPA + 64u * t + 16 * i, d, 16);
		}
}

static void test_model(bool packed)
{
	const char *deep = getenv("RING_MODEL_TOKENS");	/* more buffers: longer */
	struct err e = { 0 };
	struct ram *ram;
	size_t total = 0;
	time_t began = time(NULL);

	assert_int_equal(ram_new(&ram, 1 * MiB, &e), 0);
	for (unsigned n = 0; n < 4 * 2 * 2 * 2; n++) {
		cfg = (struct config){ .size = (u16)(1 + n / 8), .packed = packed, .event_idx = n & 1,
				       .indirect = n & 2, .deaf = n & 4 };
		if (!packed && cfg.size & (cfg.size - 1))
			continue;
		/* So that indices and laps end on the way. */
		cfg.start = packed ? (u16)(cfg.size - 1) : 0xffff;
		cfg.ntok = cfg.size == 1 ? 4 : cfg.size == 2 && !cfg.deaf ? 3 :
			   cfg.size > 2 && !cfg.deaf && !cfg.indirect && !cfg.event_idx ? 3 : 2;
		if (deep)
			cfg.ntok = (u8)MIN(strtoul(deep, NULL, 0), TOKENS);
		memset(&ring, 0, sizeof(ring));
		ring.ram = ram;
		put_tables(ram);
		search();
		if (failed)
			fail_msg("%s queue of %u%s%s: %s (after %zu states)", packed ? "packed" : "split",
				 cfg.size, cfg.event_idx ? ", event index" : "",
				 cfg.indirect ? ", indirect" : "", failed, seen.n);
		if (deep)
			printf("size %u event %d indirect %d deaf %d: %zu states\n", cfg.size, cfg.event_idx,
			       cfg.indirect, cfg.deaf, seen.n);
		total += seen.n;
		free(seen.key);
		memset(&seen, 0, sizeof(seen));
	}
	ring_fini(&ring);
	ram_free(ram);
	free(todo.p);
	memset(&todo, 0, sizeof(todo));
	printf("    %s: %zu states, %ld s\n", packed ? "packed" : "split", total,
	       (long)(time(NULL) - began));
}

static void test_split(void **state) { test_model(false); }
static void test_packed(void **state) { test_model(true); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split), cmocka_unit_test(test_packed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
