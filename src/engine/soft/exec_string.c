/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exec_string.c - MOVS, STOS, LODS, CMPS, SCAS, INS, OUTS and their repeat prefixes.
 * After: Intel SDM vol. 2, REP; vol. 1, 7.3.9; vol. 3, 6.6 (restart). On a fault in a repeated CMPS
 * or SCAS the flags are the last comparison's, as AMD has it (Intel restores them).
 *
 * Elements are taken in runs: as many as lie in one page of RAM at both ends, within segment limits
 * and without wrapping of the address size. A run is one host instruction or a tight loop; what is
 * no run (MMIO, elements across pages, pages with code or watchpoints, faults) goes one element at
 * a time through mem_ld() and mem_st(). After each run the registers say what has been done, so
 * that the next one may fault; and when the vCPU is wanted elsewhere (c->look) or single-stepped
 * the instruction is left with RIP at its beginning, to be resumed like an interrupted one. */
#include "engine/soft/access.h"
#include "engine/soft/alu.h"
#include "engine/soft/cpu.h"
#include "engine/soft/operand.h"

struct str {
	struct cpu *c;
	const struct insn *in;
	u64 n;			/* elements left */
	u64 next_rip;		/* of the following instruction */
	unsigned size;		/* of an element */
	bool back;		/* DF */
};

static inline u64 str_reg(const struct str *s, unsigned r)
{
	return trunc_to(s->c->r[r], s->in->adsize);
}

static inline void str_set(struct str *s, unsigned r, u64 v)
{
	u64 *p = &s->c->r[r];

	*p = s->in->adsize == 2 ? (*p & ~0xffffull) | (u16)v : trunc_to(v, s->in->adsize);
}

/* False: nothing to be done (a count of 0: registers stay as they are). */
static inline bool str_begin(struct str *s, struct cpu *c, const struct insn *in)
{
	s->c = c;
	s->in = in;
	s->size = in->opsize;
	s->next_rip = c->next_rip;
	s->back = c->rflags & FL_DF;
	s->n = in->rep ? str_reg(s, RCX) : 1;
	return s->n != 0;
}

static inline void str_move(struct str *s, unsigned r, size_t k)
{
	u64 by = k * s->size;

	str_set(s, r, s->c->r[r] + (s->back ? -by : by));
}

/* @k elements are done, the pointers moved. True: go on. */
static inline bool str_next(struct str *s, size_t k)
{
	struct cpu *c = s->c;

	if (!s->in->rep)
		return false;
	s->n -= k;
	str_set(s, RCX, s->n);
	if (!s->n)
		return false;
	if (unlikely(c->step_trap) ||
	    unlikely(atomic_load_explicit(&c->look, memory_order_relaxed))) {
		/* What comes between pushes RF: an instruction breakpoint here was taken. */
		c->next_rip = c->rip;
		c->rflags |= FL_RF;
		return false;
	}
	return true;
}

/* How many bytes from @off up lie below the segment's end. */
static u64 seg_room(const struct cpu *c, unsigned seg, u64 off)
{
	const struct cpu_seg *s = &c->seg[seg];
	u64 top = UINT32_MAX;

	if ((s->attr & (SEG_A_CODE | SEG_A_EC)) == SEG_A_EC)
		top = s->attr & SEG_A_DB ? UINT32_MAX : 0xffff;
	else
		top = s->limit;
	return top - off + 1;
}

/* At most @want elements from @seg:@off on, in the direction, that are host memory: their number;
 * @p: where the first one is. 0: take one element the slow way. May fault: as the first one. */
static size_t str_run(struct str *s, unsigned seg, u64 off, bool write, size_t want, u8 **p)
{
	struct cpu *c = s->c;
	unsigned size = s->size, at;
	size_t n, len = size;
	u64 la, room;

	if (want == 1)
		return 0;	/* mem_ld() and mem_st() are quicker */
	if (unlikely(c->step_trap))
		want = 1;
	if (!seg_fast(c, seg, off, &la))
		la = seg_linear(c, seg, off, size, write);
	at = la & ~PAGE_MASK;
	if (at + size > PAGE_SIZE)
		return 0;
	if (s->back) {
		n = at / size + 1;
		if (off / size + 1 < n)
			n = off / size + 1;
		if (!c->lma64 && (c->seg[seg].attr & (SEG_A_CODE | SEG_A_EC)) == SEG_A_EC)
			n = 1;
	} else {
		room = trunc_to(UINT64_MAX, s->in->adsize) - off;	/* less one: no overflow */
		n = PAGE_SIZE - at;
		if (room < n)
			n = room + 1;
		if (!c->lma64 && seg_room(c, seg, off) < n)
			n = seg_room(c, seg, off);
		n /= size;
	}
	if (n > want)
		n = want;
	if (!n)
		return 0;
	if (!s->back)
		len = n * size;
	*p = lin_span(c, la, write, &len);
	return *p && len >= size ? n : 0;
}

/* --- runs: @n elements, from low to high addresses --- */

guest_racy static inline void copy_up(u8 *to, const u8 *from, size_t bytes)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

#define STR_TYPES(CASE, size) \
	switch (size) { \
	case 1: CASE(u8) break; \
	case 2: CASE(gu16) break; \
	case 4: CASE(gu32) break; \
	default: CASE(gu64) break; \
	}

/* Element by element in the direction: for overlaps, where what was stored is loaded again. */
guest_racy static void copy_each(u8 *to, const u8 *from, size_t n, unsigned size, bool back)
{
	ptrdiff_t d = back ? -(ptrdiff_t)size : (ptrdiff_t)size;

#define COPY(t) for (; n; n--, to += d, from += d) *(volatile t *)to = *(const volatile t *)from;
	STR_TYPES(COPY, size)
#undef COPY
}

/* The host's REP MOVS and STOS take some time to start: not for a few elements. */
#define SHORT_RUN 8

static void copy_run(struct str *s, u8 *to, const u8 *from, size_t n)
{
	size_t bytes = n * s->size;

	if (n <= SHORT_RUN || s->back || (to > from && to < from + bytes))
		copy_each(to, from, n, s->size, s->back);
	else
		copy_up(to, from, bytes);
}

guest_racy static void fill_run(struct str *s, u8 *to, u64 v, size_t n)
{
	if (s->back)
		to -= (n - 1) * s->size;
	if (n <= SHORT_RUN) {
#define FILL(t) for (; n; n--, to += sizeof(t)) *(volatile t *)to = (t)v;
		STR_TYPES(FILL, s->size)
#undef FILL
		return;
	}
	switch (s->size) {
	case 1:
		__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(v) : "memory");
		break;
	case 2:
		__asm__ volatile("rep stosw" : "+D"(to), "+c"(n) : "a"(v) : "memory");
		break;
	case 4:
		__asm__ volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(v) : "memory");
		break;
	default:
		__asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(v) : "memory");
		break;
	}
}

/* Compare until a pair is (@until_equal) or is not equal: the number compared, the last pair. */
guest_racy static size_t scan_run(struct str *s, const u8 *a, const u8 *b, size_t n,
				  bool until_equal, u64 *va, u64 *vb)
{
	ptrdiff_t d = s->back ? -(ptrdiff_t)s->size : (ptrdiff_t)s->size;
	size_t k = 0;

#define SCAN(t) { \
	t x, y; \
	do { \
		x = *(const volatile t *)a; \
		y = *(const volatile t *)b; \
		a += d; \
		b += d; \
	} while (++k < n && (x == y) != until_equal); \
	*va = x; \
	*vb = y; \
}
	STR_TYPES(SCAN, s->size)
#undef SCAN
	return k;
}

/* The same with one value against each (SCAS). */
guest_racy static size_t find_run(struct str *s, u64 v, const u8 *b, size_t n, bool until_equal,
				  u64 *vb)
{
	ptrdiff_t d = s->back ? -(ptrdiff_t)s->size : (ptrdiff_t)s->size;
	size_t k = 0;

#define FIND(t) { \
	t x = (t)v, y; \
	do { \
		y = *(const volatile t *)b; \
		b += d; \
	} while (++k < n && (x == y) != until_equal); \
	*vb = y; \
}
	STR_TYPES(FIND, s->size)
#undef FIND
	return k;
}

/* --- instructions --- */

static void exec_movs(struct cpu *c, const struct insn *in)
{
	struct str s;
	size_t k;
	u8 *from, *to;

	if (!str_begin(&s, c, in))
		return;
	do {
		u64 si = str_reg(&s, RSI), di = str_reg(&s, RDI);

		k = str_run(&s, in->seg, si, false, s.n, &from);
		if (likely(k))
			k = str_run(&s, SEG_ES, di, true, k, &to);
		if (likely(k)) {
			copy_run(&s, to, from, k);
		} else {
			mem_st(c, SEG_ES, di, mem_ld(c, in->seg, si, s.size), s.size);
			k = 1;
		}
		str_move(&s, RSI, k);
		str_move(&s, RDI, k);
	} while (str_next(&s, k));
}

static void exec_stos(struct cpu *c, const struct insn *in)
{
	struct str s;
	size_t k;
	u8 *to;

	if (!str_begin(&s, c, in))
		return;
	do {
		u64 di = str_reg(&s, RDI);

		k = str_run(&s, SEG_ES, di, true, s.n, &to);
		if (likely(k)) {
			fill_run(&s, to, c->r[RAX], k);
		} else {
			mem_st(c, SEG_ES, di, trunc_to(c->r[RAX], s.size), s.size);
			k = 1;
		}
		str_move(&s, RDI, k);
	} while (str_next(&s, k));
}

static void exec_lods(struct cpu *c, const struct insn *in)
{
	struct operand acc = { .kind = OPD_GPR, .size = in->opsize, .reg = RAX };
	struct str s;
	size_t k;
	u8 *from;

	if (!str_begin(&s, c, in))
		return;
	do {
		u64 si = str_reg(&s, RSI), last = si;

		/* Of a run in RAM only the last load matters. */
		k = str_run(&s, in->seg, si, false, s.n, &from);
		if (k)
			last = si + (s.back ? -(u64)((k - 1) * s.size) : (k - 1) * s.size);
		else
			k = 1;
		gpr_write(c, &acc, mem_ld(c, in->seg, last, s.size));
		str_move(&s, RSI, k);
	} while (str_next(&s, k));
}

/* CMPS and SCAS: REPE goes on while equal, REPNE while not. */
static bool str_stop(const struct str *s, u64 a, u64 b)
{
	return s->in->rep && (s->in->rep == 0xf2) == (a == b);
}

static void exec_cmps(struct cpu *c, const struct insn *in)
{
	struct str s;
	u64 a = 0, b = 0;
	bool go;
	size_t k;
	u8 *p, *q;

	if (!str_begin(&s, c, in))
		return;
	do {
		u64 si = str_reg(&s, RSI), di = str_reg(&s, RDI);

		k = str_run(&s, in->seg, si, false, s.n, &p);
		if (k)
			k = str_run(&s, SEG_ES, di, false, k, &q);
		if (k) {
			k = scan_run(&s, p, q, k, in->rep == 0xf2, &a, &b);
		} else {
			a = mem_ld(c, in->seg, si, s.size);
			b = mem_ld(c, SEG_ES, di, s.size);
			k = 1;
		}
		str_move(&s, RSI, k);
		str_move(&s, RDI, k);
		alu_cmp(a, b, s.size, &c->cc);
		go = str_next(&s, k);
		if (str_stop(&s, a, b)) {
			c->next_rip = s.next_rip;
			c->rflags &= ~(u32)FL_RF;
			go = false;
		}
	} while (go);
}

static void exec_scas(struct cpu *c, const struct insn *in)
{
	struct str s;
	u64 a, b = 0;
	bool go;
	size_t k;
	u8 *q;

	if (!str_begin(&s, c, in))
		return;
	a = trunc_to(c->r[RAX], s.size);
	do {
		u64 di = str_reg(&s, RDI);

		k = str_run(&s, SEG_ES, di, false, s.n, &q);
		if (k) {
			k = find_run(&s, a, q, k, in->rep == 0xf2, &b);
		} else {
			b = mem_ld(c, SEG_ES, di, s.size);
			k = 1;
		}
		str_move(&s, RDI, k);
		alu_cmp(a, b, s.size, &c->cc);
		go = str_next(&s, k);
		if (str_stop(&s, a, b)) {
			c->next_rip = s.next_rip;
			c->rflags &= ~(u32)FL_RF;
			go = false;
		}
	} while (go);
}

/* The port is read only when the store is sure to succeed. */
static void exec_ins(struct cpu *c, const struct insn *in)
{
	u16 port = c->r[RDX];
	struct str s;

	if (!io_allowed(c, port, in->opsize))
		raise_gp(c, 0);
	if (!str_begin(&s, c, in))
		return;
	do {
		u64 di = str_reg(&s, RDI);

		mem_probe(c, SEG_ES, di, s.size, true);
		mem_st(c, SEG_ES, di, io_in(c, port, s.size), s.size);
		str_move(&s, RDI, 1);
	} while (str_next(&s, 1));
}

static void exec_outs(struct cpu *c, const struct insn *in)
{
	u16 port = c->r[RDX];
	struct str s;

	if (!io_allowed(c, port, in->opsize))
		raise_gp(c, 0);
	if (!str_begin(&s, c, in))
		return;
	do {
		io_out(c, port, mem_ld(c, in->seg, str_reg(&s, RSI), s.size), s.size);
		str_move(&s, RSI, 1);
	} while (str_next(&s, 1));
}

const struct exec_entry exec_string_table[] = {
	{ OP_MOVS, exec_movs }, { OP_STOS, exec_stos }, { OP_LODS, exec_lods },
	{ OP_CMPS, exec_cmps }, { OP_SCAS, exec_scas }, { OP_INS, exec_ins }, { OP_OUTS, exec_outs },
	{ 0, NULL }
};
