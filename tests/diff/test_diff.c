/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_diff.c - the differential test: options, batches, shrinking, the report. See diff.h.
 *
 * Without options: a fixed seed and as many cases as DIFF_CASES says (`make check`: 2 million), TAP
 * on stdout. What differs is shrunk to the fewest instructions and bytes and the plainest registers
 * that still differ. */
#include "diff.h"
#include "base/bytes.h"
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define DEFAULT_CASES 100000ull
#define DEFAULT_SEED 20240917ull
#define KEEP_MAX 48			/* differing cases kept for the report */
#define KEEP_EACH 2			/* ... of each instruction */
#define KEEP_UNDEFINED 40		/* ... of bytes that are none */
#define DROPPED_MAX_PERMILLE 10
#define STEP_EACH 50

struct test {
	struct gen *gen;
	struct host *host;
	struct guest *guest;
	u64 cases, seconds;
	unsigned show;

	u64 done, same, undefined, skipped, differs, sequences, stepped, bad_steps;
	u64 by_class[CL_N], bad_class[CL_N];
	u64 *ran;			/* by row: single cases the host did not answer with #UD */
	u32 *bad;			/* by row (last: an undefined encoding) */
	u32 *undef_row;
	u64 bad_sequences;
	struct diff_case *kept;
	unsigned nkept, kept_seq;
	struct diff_result *r;		/* the guest's */
};

static unsigned row_of(const struct diff_case *c)
{
	return c->insn[0].row == UINT16_MAX ? insn_table_size : c->insn[0].row;
}

static const char *op_name(unsigned row)
{
	return row == insn_table_size ? "(undefined)" : insn_table[row].name;
}

/* --- one case alone, for shrinking --- */

static enum diff_verdict try(struct test *t, const struct diff_case *c, struct diff_result *host)
{
	memcpy(&host_cases(t->host, 0)[0], c, sizeof(*c));
	host_start(t->host, 0, 1);
	host_wait(t->host, 0);
	*host = host_results(t->host, 0)[0];
	/* The child takes its batches in turn: an empty one, so that the next is 0 again. */
	host_start(t->host, 1, 0);
	host_wait(t->host, 1);
	if (host->status != DIFF_DONE)
		return DIFF_SKIP;
	guest_load_code(t->guest, c, 1);
	guest_run(t->guest, c, t->r);
	return diff_compare(c, host, t->r);
}

static bool still(struct test *t, struct diff_case *best, const struct diff_case *c)
{
	static struct diff_result host;

	if (try(t, c, &host) != DIFF_DIFFERS)
		return false;
	*best = *c;
	return true;
}

static void drop_insn(struct diff_case *c, unsigned i)
{
	for (unsigned k = 0; k < c->n; k++)
		if (c->insn[k].target > (int)i)
			c->insn[k].target--;
	memmove(&c->insn[i], &c->insn[i + 1], (c->n - i - 1u) * sizeof(c->insn[0]));
	c->n--;
	gen_layout(c);
}

/* Without byte @at of instruction @i: a prefix that does not matter. */
static bool drop_byte(struct diff_case *c, unsigned i, unsigned at)
{
	struct diff_insn *x = &c->insn[i];
	struct insn in;

	if (x->len < 2 || (x->rel_len && at >= x->rel_off))
		return false;
	memmove(c->code + x->off + at, c->code + x->off + at + 1, x->len - at - 1u);
	x->len--;
	if (x->rel_len)
		x->rel_off--;
	if (insn_decode(&in, c->code + x->off, x->len, c->mode) < 0 || in.len != x->len)
		return false;
	x->row = (u16)(in.desc - insn_table);
	gen_layout(c);
	return true;
}

static bool shrink_code(struct test *t, struct diff_case *best)
{
	struct diff_case c;

	for (unsigned i = 0; best->n > 1 && i < best->n; i++) {
		c = *best;
		drop_insn(&c, i);
		if (still(t, best, &c))
			return true;
	}
	for (unsigned i = 0; i < best->n; i++)
		for (unsigned k = 0; k + 1 < best->insn[i].len && best->insn[i].row != UINT16_MAX; k++) {
			c = *best;
			if (drop_byte(&c, i, k) && still(t, best, &c))
				return true;
		}
	return false;
}

static bool shrink_state(struct test *t, struct diff_case *best)
{
	struct diff_case c;
	bool any = false;

	for (unsigned i = 0; i < 16; i++) {
		static const u64 plain[] = { 0, 1, WIN_BASE + 1024 };

		if (best->gpr[i] == 0)
			continue;
		for (unsigned k = 0; k < ARRAY_SIZE(plain) && plain[k] != best->gpr[i]; k++) {
			c = *best;
			c.gpr[i] = plain[k];
			if (still(t, best, &c)) {
				any = true;
				break;
			}
		}
	}
	for (u32 b = 1; b <= FL_ID; b <<= 1) {
		if (!(best->flags & b) || b == FL_1 || b == FL_IF)
			continue;
		c = *best;
		c.flags &= ~b;
		any |= still(t, best, &c);
	}
	if (best->segs) {
		c = *best;
		c.segs = 0;
		any |= still(t, best, &c);
	}
	for (unsigned k = 0; k < 3; k++) {	/* plain control words; empty registers */
		c = *best;
		if (k == 0)
			put_le32(c.xs + 24, 0x1f80);
		else if (k == 1)
			put_le32(c.xs, 0x37f);
		else
			memset(c.xs + 32, 0, 128);
		if (memcmp(c.xs, best->xs, XS_SIZE) != 0)
			any |= still(t, best, &c);
	}
	for (unsigned i = 0; i < 16; i++) {
		c = *best;
		memset(c.xs + 160 + 16 * i, 0, 16);
		memset(c.xs + XS_YMM + 16 * i, 0, 16);
		if (memcmp(c.xs, best->xs, XS_SIZE) != 0)
			any |= still(t, best, &c);
	}
	return any;
}

static void explain(struct test *t, struct diff_case *c)
{
	static struct diff_result host;
	struct diff_case best;

	if (!still(t, &best, c)) {
		printf("# did not differ when run once more:\n");
		try(t, c, &host);
		diff_print(stdout, c, &host, t->r, gen_pool(t->gen));
		return;
	}
	for (unsigned round = 0; round < 60 && shrink_code(t, &best); round++)
		;
	for (unsigned round = 0; round < 4 && shrink_state(t, &best); round++)
		;
	for (unsigned round = 0; round < 60 && shrink_code(t, &best); round++)
		;
	try(t, &best, &host);
	diff_print(stdout, &best, &host, t->r, gen_pool(t->gen));
	fflush(stdout);
}

/* --- batches --- */

static void keep(struct test *t, const struct diff_case *c)
{
	unsigned each = row_of(c) == insn_table_size ? KEEP_UNDEFINED : KEEP_EACH;

	if (t->nkept == KEEP_MAX)
		return;
	if (c->n == 1 ? t->bad[row_of(c)] > each : t->kept_seq >= KEEP_MAX / 3)
		return;
	t->kept_seq += c->n > 1;
	t->kept[t->nkept++] = *c;
}

/* The neutral state has no room for the x87's segment selectors, which these store. */
static bool stores_x87_env(const struct diff_case *c)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->insn[i].row != UINT16_MAX && (insn_table[c->insn[i].row].op == OP_FNSTENV ||
						     insn_table[c->insn[i].row].op == OP_FNSAVE))
			return true;
	return false;
}

/* The interpreter itself must never fault: say in which case it did. */
static const struct diff_case *running;
static void on_crash(int sig)
{
	static const struct diff_result none;

	signal(sig, SIG_DFL);
	if (running) {
		printf("not ok - the interpreter died of signal %d in this case\n", sig);
		diff_print(stdout, running, &none, &none, NULL);
		fflush(stdout);
	}
	raise(sig);
}

/* One case in STEP_EACH also runs as other engines use the interpreter: through the neutral state,
 * one instruction at a time. */
static void step(struct test *t, const struct diff_case *c, const struct diff_result *host)
{
	enum diff_verdict v;

	guest_run_steps(t->guest, c, t->r);
	if (t->r->status == DIFF_TIMEOUT && c->n > 1)
		return;			/* a loop: that takes its time */
	if (stores_x87_env(c))
		return;
	v = diff_compare(c, host, t->r);
	t->stepped++;
	if (v != DIFF_DIFFERS || ++t->bad_steps > t->show)
		return;
	printf("# differs when executed one by one:\n");
	diff_print(stdout, c, host, t->r, gen_pool(t->gen));
}

static void account(struct test *t, const struct diff_case *c, const struct diff_result *host)
{
	unsigned row = row_of(c);
	unsigned cls = row == insn_table_size ? CL_MISC : insn_table[row].cls;
	enum diff_verdict v;

	running = c;
	if (host->status == DIFF_DONE)
		guest_run(t->guest, c, t->r);
	v = diff_compare(c, host, t->r);
	t->done++;
	t->by_class[cls]++;
	t->sequences += c->n > 1;
	if (v == DIFF_SKIP) {
		t->skipped++;
		return;
	}
	if (c->n == 1 && row < insn_table_size && host->vector != EXC_UD)
		t->ran[row]++;
	t->same += v == DIFF_SAME;
	if (v == DIFF_SAME && t->done % STEP_EACH == 0)
		step(t, c, host);
	if (v == DIFF_UNDEFINED) {
		t->undefined++;
		if (c->n == 1)
			t->undef_row[row]++;
	}
	if (v != DIFF_DIFFERS)
		return;
	t->differs++;
	if (c->n == 1) {
		t->bad[row]++;
		t->bad_class[cls]++;
	} else {
		t->bad_sequences++;
	}
	keep(t, c);
}

static void make_batch(struct test *t, unsigned which)
{
	for (unsigned i = 0; i < BATCH; i++)
		gen_case(t->gen, &host_cases(t->host, which)[i], i);
	host_start(t->host, which, BATCH);
}

static void run(struct test *t)
{
	time_t end = time(NULL) + (time_t)t->seconds;
	unsigned which = 0;

	make_batch(t, which);
	for (;;) {
		bool more = t->seconds ? time(NULL) < end : t->done + BATCH < t->cases;
		const struct diff_case *c = host_cases(t->host, which);

		if (more)
			make_batch(t, which ^ 1);
		host_wait(t->host, which);
		guest_load_code(t->guest, c, BATCH);
		for (unsigned i = 0; i < BATCH; i++)
			account(t, &c[i], &host_results(t->host, which)[i]);
		if (!more)
			break;
		which ^= 1;
	}
	if (which == 0) {	/* leave the child waiting for batch 0 */
		host_start(t->host, 1, 0);
		host_wait(t->host, 1);
	}
}

/* --- does the comparison see? --- */

/* One change of each kind to a result; 0 when there are no more. */
static bool spoil(struct diff_result *r, unsigned kind)
{
	switch (kind) {
	case 0: r->gpr[R15] ^= BIT(63); return true;
	case 1: r->rip++; return true;
	case 2: r->flags ^= FL_CF; return true;
	case 3: r->flags ^= FL_RF; return true;
	case 4: r->vector = EXC_UD; return true;
	case 5: r->error ^= PF_I; return true;
	case 6: r->cr2 ^= 1; return true;
	case 7: r->win[WIN_SIZE - 1] ^= 0x80; return true;
	case 8: r->xs[32 + 9] ^= 1; return true;		/* ST0's sign and exponent */
	case 9: r->xs[160] ^= 1; return true;			/* XMM0 */
	case 10: r->xs[XS_YMM + 255] ^= 1; return true;	/* YMM15, upper half */
	case 11: r->xs[0] ^= 1; return true;			/* FCW */
	case 12: r->xs[2] ^= 1; return true;			/* FSW */
	case 13: r->xs[4] ^= 1; return true;			/* FTW */
	case 14: r->xs[24] ^= 1; return true;			/* MXCSR */
	case 15: r->sel[SEG_DS] ^= 8; return true;
	case 16: r->fs_base ^= 1; return true;
	case 17: r->status = DIFF_TIMEOUT; return true;
	default: return false;
	}
}

static bool comparison_sees(struct test *t)
{
	static struct diff_result host;
	struct diff_case c = { .mode = 8, .n = 1, .code = { 0x48, 0x01, 0xd8 }, .code_len = 3,
			       .at = CODE_BASE, .flags = 0x202 };

	while (strcmp(insn_table[c.insn[0].row].name, "add") != 0)
		c.insn[0].row++;
	host = (struct diff_result){ .status = DIFF_DONE, .vector = EXC_PF, .error = PF_U,
				     .cr2 = CODE_BASE + 3, .rip = CODE_BASE + 3, .flags = 0x202 };
	put_le64(host.xs + XS_HEADER, 7);
	*t->r = host;
	if (diff_compare(&c, &host, t->r) != DIFF_SAME)
		return false;
	for (unsigned k = 0; *t->r = host, spoil(t->r, k); k++)
		if (diff_compare(&c, &host, t->r) != DIFF_DIFFERS) {
			printf("# change %u was not seen\n", k);
			return false;
		}
	return true;
}

/* --- the report --- */

static void print_rows(struct test *t)
{
	unsigned n = 0;

	for (unsigned i = 0; i <= insn_table_size; i++)
		if (t->bad[i])
			printf("# differs: %-12s %-26s %6u times\n", op_name(i),
			       i < insn_table_size ? insn_table[i].encoding : "", t->bad[i]);
	for (unsigned i = 0; i < insn_table_size; i++)
		if (t->undef_row[i] && n++ < 40)
			printf("# undefined flags differ: %s %s %u times\n", op_name(i),
			       insn_table[i].encoding, t->undef_row[i]);
}

static unsigned uncovered(struct test *t)
{
	unsigned n = 0;

	for (unsigned i = 0; i < insn_table_size; i++) {
		const struct insn_desc *d = &insn_table[i];

		if (!(d->attr & A_USER))
			continue;
		if (!gen_row_offered(t->gen, i))
			printf("# not offered by the CPU model here: %s %s\n", d->name, d->encoding);
		else if (gen_row_wanted(t->gen, i) && !t->ran[i]) {
			printf("# never ran: %s %s\n", d->name, d->encoding);
			n++;
		}
	}
	return n;
}

static int report(struct test *t, double secs, bool whole)
{
	unsigned n = 0, failed = 0;
	bool sees = comparison_sees(t);
	u64 dropped = t->done ? t->skipped * 1000 / t->done : 0;

	printf("# %llu cases in %.1f s (%.0f a second): %llu same, %llu differ in undefined flags "
	       "only, %llu not comparable, %llu differ; %llu were sequences\n",
	       (unsigned long long)t->done, secs, (double)t->done / secs,
	       (unsigned long long)t->same, (unsigned long long)t->undefined,
	       (unsigned long long)t->skipped, (unsigned long long)t->differs,
	       (unsigned long long)t->sequences);
	for (unsigned i = 0; i < t->nkept && i < t->show; i++)
		explain(t, &t->kept[i]);
	print_rows(t);
	for (unsigned k = 0; k < CL_N; k++) {
		if (!t->by_class[k])
			continue;
		failed += t->bad_class[k] != 0;
		printf("%s %u - %s: %llu cases as on the host\n", t->bad_class[k] ? "not ok" : "ok",
		       ++n, insn_class_name((enum insn_class)k), (unsigned long long)t->by_class[k]);
	}
	failed += !sees;
	printf("%s %u - a difference of each kind is seen\n", sees ? "ok" : "not ok", ++n);
	failed += t->bad_steps != 0;
	printf("%s %u - one by one through the neutral state: %llu cases as on the host\n",
	       t->bad_steps ? "not ok" : "ok", ++n, (unsigned long long)t->stepped);
	failed += t->bad_sequences != 0;
	printf("%s %u - sequences: %llu cases as on the host\n", t->bad_sequences ? "not ok" : "ok",
	       ++n, (unsigned long long)t->sequences);
	if (whole) {
		unsigned missing = uncovered(t);

		failed += missing != 0;
		printf("%s %u - every user-mode entry of the table ran\n", missing ? "not ok" : "ok",
		       ++n);
		failed += dropped > DROPPED_MAX_PERMILLE;
		printf("%s %u - at most %u in a thousand cases dropped (%llu)\n",
		       dropped > DROPPED_MAX_PERMILLE ? "not ok" : "ok", ++n, DROPPED_MAX_PERMILLE,
		       (unsigned long long)dropped);
	}
	printf("1..%u\n", n);
	return failed ? 1 : 0;
}

static struct guest *offering;
static bool offered(enum x86_feature f) { return guest_offers(offering, f); }

static void usage(void)
{
	fprintf(stderr, "test_diff [--cases N | --seconds N] [--seed N] [--op NAME] [--class NAME]\n"
		"          [--mode 16|32|64] [--show N]\n");
	exit(2);
}

static int class_of(const char *name)
{
	if (strcmp(name, "undefined") == 0)
		return DIFF_CLASS_UNDEFINED;
	for (unsigned k = 0; k < CL_N; k++)
		if (strcasecmp(name, insn_class_name((enum insn_class)k)) == 0)
			return (int)k;
	fprintf(stderr, "no class %s; there are:", name);
	for (unsigned k = 0; k < CL_N; k++)
		fprintf(stderr, " %s", insn_class_name((enum insn_class)k));
	fputs(" undefined\n", stderr);
	exit(2);
}

static void options(int argc, char **argv, struct test *t, struct gen_opts *o)
{
	static const struct option opts[] = {
		{ "cases", 1, NULL, 'n' }, { "seconds", 1, NULL, 't' }, { "seed", 1, NULL, 's' },
		{ "op", 1, NULL, 'o' }, { "class", 1, NULL, 'c' }, { "mode", 1, NULL, 'm' },
		{ "show", 1, NULL, 'w' }, { 0 },
	};

	for (int k; (k = getopt_long(argc, argv, "", opts, NULL)) >= 0; ) {
		switch (k) {
		case 'n': t->cases = strtoull(optarg, NULL, 0); break;
		case 't': t->seconds = strtoull(optarg, NULL, 0); break;
		case 's': o->seed = strtoull(optarg, NULL, 0); break;
		case 'o': o->op = optarg; break;
		case 'c': o->cls = class_of(optarg); break;
		case 'm': o->mode = (unsigned)atoi(optarg) / 8; break;
		case 'w': t->show = (unsigned)atoi(optarg); break;
		default: usage();
		}
	}
	if (optind != argc || (o->mode && o->mode != 2 && o->mode != 4 && o->mode != 8))
		usage();
}

int main(int argc, char **argv)
{
	struct test t = { .cases = DEFAULT_CASES, .show = 10 };
	struct gen_opts o = { .seed = DEFAULT_SEED, .cls = -1, .offered = offered };
	struct timespec a, b;
	struct err e = { 0 };
	u8 *pool;
	int rc;

	if (getenv("DIFF_CASES"))
		t.cases = strtoull(getenv("DIFF_CASES"), NULL, 0);
	options(argc, argv, &t, &o);
	/* The guest says what is offered, the generator fills the pool, both others use it. */
	pool = mmap(NULL, POOL_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pool == MAP_FAILED || guest_new(&t.guest, pool, &e) < 0)
		goto fail;
	offering = t.guest;
	if (!host_has_ldt()) {
		printf("# modify_ldt() makes no 16-bit segments here: 64-bit code alone is tested\n");
		o.mode = 8;
	}
	t.gen = gen_new(&o, &e);
	if (!t.gen)
		goto fail;
	memcpy(pool, gen_pool(t.gen), POOL_SIZE);
	guest_pool_changed(t.guest);
	if (host_new(&t.host, pool, &e) < 0)
		goto fail;
	t.ran = calloc(insn_table_size + 1, sizeof(*t.ran));
	t.bad = calloc(insn_table_size + 1, sizeof(*t.bad));
	t.undef_row = calloc(insn_table_size + 1, sizeof(*t.undef_row));
	t.kept = calloc(KEEP_MAX, sizeof(*t.kept));
	t.r = aligned_alloc(64, (sizeof(*t.r) + 63) & ~63ul);
	signal(SIGSEGV, on_crash);
	signal(SIGABRT, on_crash);
	clock_gettime(CLOCK_MONOTONIC, &a);
	run(&t);
	clock_gettime(CLOCK_MONOTONIC, &b);
	rc = report(&t, (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec),
		    !o.op && o.cls == -1 && (!o.mode || o.mode == 8) && t.done > 500000);
	host_free(t.host);
	guest_free(t.guest);
	gen_free(t.gen);
	free(t.ran);
	free(t.bad);
	free(t.undef_row);
	free(t.kept);
	free(t.r);
	munmap(pool, POOL_SIZE);
	return rc;
fail:
	printf("not ok 1 - %s\n1..1\n", e.msg);
	return 1;
}
