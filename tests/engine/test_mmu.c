/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The page walker against an oracle that is written down here from the manuals' prose, for every
 * combination of entry bits, control bits, privilege and access; accessed and dirty bits; accesses
 * across pages; what survives in the TLB and what must not (INVLPG, CR3, PCID, INVPCID, CR4.PGE). */
#include "engine/softcpu.h"

#define PML4 0x10000ull
#define PDPT 0x11000ull
#define PD 0x12000ull
#define PT 0x13000ull
#define PT2 0x14000ull
#define PML4_B 0x18000ull	/* a second address space */
#define PDPT_B 0x19000ull
#define PD_B 0x1a000ull
#define PT_B 0x1b000ull
#define PAGE_A 0x200000ull
#define PAGE_B 0x201000ull
#define LARGE 0x400000ull

#define E_P 1ull
#define E_W 2ull
#define E_U 4ull
#define E_A 0x20ull
#define E_D 0x40ull
#define E_PS 0x80ull
#define E_G 0x100ull
#define E_NX BIT(63)
#define E_RSVD BIT(51)		/* beyond the 48 physical address bits of the models */
#define E_ALL (E_P | E_W | E_U)

enum access { USER_R, USER_W, USER_X, SUPER_R, SUPER_W, SUPER_X, IMPL_R, IMPL_W, ACCESSES };
static bool is_write(enum access a) { return a == USER_W || a == SUPER_W || a == IMPL_W; }
static bool is_fetch(enum access a) { return a == USER_X || a == SUPER_X; }
static bool is_user(enum access a) { return a <= USER_X; }

/* What the walk of up to four entries must do. @e: from the top; @reserved: per level, bits that must
 * be 0. -1: no fault; else the error code. */
struct ctl { bool wp, smep, smap, nxe, ac; };
static int oracle(const u64 *e, const u64 *reserved, unsigned n, enum access a, const struct ctl *k)
{
	bool user = true, writable = true, nx = false;
	int code = (is_write(a) ? 2 : 0) | (is_user(a) ? 4 : 0);
	unsigned i;

	if (is_fetch(a) && (k->nxe || k->smep))
		code |= 16;
	for (i = 0; i < n; i++) {
		if (!(e[i] & 1))
			return code;		/* not present: nothing else of it counts */
		if (e[i] & reserved[i])
			return code | 8 | 1;
		user = user && (e[i] & 4);
		writable = writable && (e[i] & 2);
		nx = nx || (k->nxe && (e[i] & E_NX));
	}
	code |= 1;
	if (is_fetch(a)) {
		if (nx)
			return code;
		if (is_user(a) ? !user : user && k->smep)
			return code;
		return -1;
	}
	if (is_user(a)) {
		if (!user || (is_write(a) && !writable))
			return code;
		return -1;
	}
	if (user && k->smap && !(k->ac && a < IMPL_R))
		return code;
	if (is_write(a) && !writable && k->wp)
		return code;
	return -1;
}

static void do_access(struct cpu *c, enum access a, u64 la)
{
	size_t n;
	u64 gpa;

	switch (a) {
	case USER_R: case SUPER_R: mem_ld(c, SEG_DS, la, 4); break;
	case USER_W: case SUPER_W: mem_st(c, SEG_DS, la, 0x12345678, 4); break;
	case USER_X: case SUPER_X: mmu_fetch(c, la, &gpa, &n); break;
	case IMPL_R: lin_ld(c, la, 4, AS_SYSTEM); break;
	default: lin_st(c, la, 1, 4, AS_SYSTEM);
	}
}

RAISES access_raises(struct cpu *c, enum access a, u64 la)
{
	CATCH(c, do_access(c, a, la));
}

/* One case: the fault (or none) and the bits set in the entries. */
static void check_case(struct softcpu *s, const u64 *gpa, const u64 *e, const u64 *reserved, unsigned n,
		       unsigned size, unsigned first_ad, enum access a, const struct ctl *k, u64 la)
{
	struct cpu *c = s->c;
	int want = oracle(e, reserved, n, a, k), vec, got;
	unsigned i;

	for (i = first_ad; i < n; i++) {
		if (size == 8)
			poke64(s, gpa[i], e[i]);
		else
			poke32(s, gpa[i], (u32)e[i]);
	}
	/* A user access under AC with CR0.AM off; implicit ones from CPL 3 as well as from 0. */
	softcpu_cpl(c, is_user(a) || (a >= IMPL_R && (e[n - 1] & E_W)) ? 3 : 0);
	tlb_flush_page(c, la);
	vec = access_raises(c, a, la);
	got = vec < 0 ? -1 : (int)c->exc.error;
	if (got != want || (vec >= 0 && vec != EXC_PF))
		fail_msg("leaf %llx (level %u of %u), access %d, wp %d smep %d smap %d nxe %d ac %d: "
			 "error code %d (vector %d), should be %d",
			 (unsigned long long)e[n - 1], n, 4, a, k->wp, k->smep, k->smap, k->nxe, k->ac,
			 got, vec, want);
	if (vec >= 0)
		assert_int_equal(c->cr2, la);
	for (i = first_ad; i < n; i++) {
		u64 now = size == 8 ? peek64(s, gpa[i]) : peek32(s, gpa[i]), should = e[i];

		if (want < 0)
			should |= E_A | (i == n - 1 && is_write(a) ? E_D : 0);
		if (now != should)
			fail_msg("entry %u is %llx after access %d, should be %llx", i,
				 (unsigned long long)now, a, (unsigned long long)should);
	}
}

static void set_ctl(struct cpu *c, const struct ctl *k)
{
	c->cr0 = (c->cr0 & ~(u64)CR0_WP) | (k->wp ? CR0_WP : 0);
	c->cr4 = (c->cr4 & ~(u64)(CR4_SMEP | CR4_SMAP)) | (k->smep ? CR4_SMEP : 0) |
		 (k->smap ? CR4_SMAP : 0);
	c->efer = (c->efer & ~(u64)EFER_NXE) | (k->nxe ? EFER_NXE : 0);
	c->rflags = (c->rflags & ~(u32)FL_AC) | (k->ac ? FL_AC : 0);
	cpu_mode_changed(c);
	tlb_flush_all(c);
}

static struct ctl ctl_of(unsigned i)
{
	return (struct ctl){ i & 1, i >> 1 & 1, i >> 2 & 1, i >> 3 & 1, i >> 4 & 1 };
}

/* Every mix of bits in a page directory entry and in what is below it. */
static void test_walk_long(void **state)
{
	struct softcpu s;
	u64 gpa[4] = { PML4, PDPT, PD, PT }, la = 0x1234;
	unsigned long cases = 0;

	softcpu_open(&s, 1);
	softcpu_long(s.c, PML4);
	gpa[3] = PT + 8;		/* la is in the second page */
	poke64(&s, PML4, PDPT | E_ALL | E_A);
	poke64(&s, PDPT, PD | E_ALL | E_A);
	for (unsigned ki = 0; ki < 32; ki++) {
		struct ctl k = ctl_of(ki);
		u64 nx_rsvd = k.nxe ? 0 : E_NX;

		set_ctl(s.c, &k);
		for (unsigned up = 0; up < 32; up++) {
			u64 pde = PT | (up & 7) | (up & 8 ? E_NX : 0) | (up & 16 ? E_RSVD : 0);

			for (unsigned leaf = 0; leaf < 32; leaf++) {
				u64 pte = PAGE_A | (leaf & 7) | (leaf & 8 ? E_NX : 0) |
					  (leaf & 16 ? E_RSVD : 0);
				u64 e[4] = { PDPT | E_ALL, PD | E_ALL, pde, pte };
				u64 r[4] = { E_RSVD | nx_rsvd, E_RSVD | nx_rsvd, E_RSVD | nx_rsvd,
					     E_RSVD | nx_rsvd };

				for (unsigned a = 0; a < ACCESSES; a++, cases++)
					check_case(&s, gpa, e, r, 4, 8, 2, a, &k, la);
			}
		}
	}
	print_message("# %lu walks of 4 levels\n", cases);
	softcpu_close(&s);
}

/* Rights and reserved bits at each upper level, and large pages with their own reserved bits. */
static void test_walk_levels(void **state)
{
	struct softcpu s;
	u64 gpa[4] = { PML4, PDPT, PD, PT };

	softcpu_open(&s, 1);
	softcpu_long(s.c, PML4);
	for (unsigned ki = 0; ki < 32; ki++) {
		struct ctl k = ctl_of(ki);
		u64 hi = E_RSVD | (k.nxe ? 0 : E_NX);

		set_ctl(s.c, &k);
		for (unsigned level = 0; level < 4; level++) {
			for (unsigned bits = 0; bits < 64; bits++) {
				u64 e[4] = { PDPT | E_ALL, PD | E_ALL, PT | E_ALL, PAGE_A | E_ALL };
				u64 r[4] = { hi | E_PS, hi, hi, hi };
				unsigned n = 4;

				e[level] = (e[level] & ~7ull) | (bits & 7) | (bits & 8 ? E_NX : 0) |
					   (bits & 16 ? E_RSVD : 0) | (bits & 32 ? E_PS : 0);
				if ((bits & 32) && (level == 1 || level == 2)) {
					n = level + 1;
					/* The table's address is a large page's reserved bits. */
					r[level] |= (level == 1 ? GiB : 2 * MiB) - 0x2000;
				}
				for (unsigned a = 0; a < ACCESSES; a++)
					check_case(&s, gpa, e, r, n, 8, 0, a, &k, 0x234);
				if (n < 4) {	/* and a well-formed large page */
					e[level] &= ~((level == 1 ? GiB : 2 * MiB) - 0x1000) | E_NX;
					for (unsigned a = 0; a < ACCESSES; a++)
						check_case(&s, gpa, e, r, n, 8, 0, a, &k, 0x234);
				}
			}
		}
	}
	softcpu_close(&s);
}

static void set_pae(struct cpu *c)
{
	softcpu_long(c, PML4);
	c->efer = EFER_NXE;
	c->seg[SEG_CS].attr = (c->seg[SEG_CS].attr & ~SEG_A_L) | SEG_A_DB;
	c->seg[SEG_SS].attr |= SEG_A_DB;
	cpu_mode_changed(c);
}

static void test_walk_pae(void **state)
{
	struct softcpu s;
	u64 gpa[2] = { PD, PT };

	softcpu_open(&s, 1);
	set_pae(s.c);
	poke64(&s, PDPT, PD | E_P);
	s.c->cr3 = PDPT;
	mmu_state_set(s.c);
	assert_int_equal(s.c->pdpte[0], PD | E_P);
	for (unsigned ki = 0; ki < 32; ki++) {
		struct ctl k = ctl_of(ki);

		set_ctl(s.c, &k);
		for (unsigned up = 0; up < 128; up++) {
			/* Bit 62 is reserved here, not in long mode. */
			u64 pde = PT | (up & 7) | (up & 8 ? E_NX : 0) | (up & 16 ? E_RSVD : 0) |
				  (up & 32 ? E_PS : 0) | (up & 64 ? BIT(62) : 0);

			for (unsigned leaf = 0; leaf < (up & 32 ? 1 : 16); leaf++) {
				u64 pte = PAGE_A | (leaf & 7) | (leaf & 8 ? E_NX : 0);
				u64 hi = E_RSVD | BIT(62) | (k.nxe ? 0 : E_NX);
				u64 e[2] = { pde, pte };
				u64 r[2] = { hi | (up & 32 ? 2 * MiB - 0x2000 : 0), hi };

				for (unsigned a = 0; a < ACCESSES; a++)
					check_case(&s, gpa, e, r, up & 32 ? 1 : 2, 8, 0, a, &k, 0x10);
			}
		}
	}
	/* Without the PDPTE: P=0. And reserved bits in it refuse the load. */
	s.c->pdpte[0] = 0;
	tlb_flush_all(s.c);
	softcpu_cpl(s.c, 0);
	assert_int_equal(ld_raises(s.c, SEG_DS, 0x10, 4), EXC_PF);
	assert_int_equal(s.c->exc.error, 0);
	static const u64 bad[] = { BIT(1), BIT(2), BIT(5), BIT(6), BIT(7), BIT(8), E_RSVD, E_NX, BIT(62) };
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		poke64(&s, PDPT + 16, PT | E_P | bad[i]);
		assert_int_equal(cr_raises(s.c, 3, PDPT), EXC_GP);
		poke64(&s, PDPT + 16, PT | bad[i]);
		assert_int_equal(cr_raises(s.c, 3, PDPT), -1);
	}
	softcpu_close(&s);
}

static void test_walk_32(void **state)
{
	struct softcpu s;
	u64 gpa[2] = { PD, PT };

	softcpu_open(&s, 1);
	set_pae(s.c);
	s.c->efer = 0;
	for (unsigned pse = 0; pse < 2; pse++) {
		s.c->cr4 = pse ? CR4_PSE : 0;
		s.c->cr3 = PD;
		mmu_state_set(s.c);
		for (unsigned ki = 0; ki < 32; ki++) {
			struct ctl k = ctl_of(ki & ~8u);	/* no NX */

			set_ctl(s.c, &k);
			for (unsigned up = 0; up < 32; up++) {
				bool large = pse && (up & 8);
				/* Bit 21: reserved in a 4 MiB page, part of a table's address. */
				u64 table = up & 16 ? PT + BIT(21) : PT;
				u64 pde = (large ? LARGE | (up & 16 ? BIT(21) : 0) : table) | (up & 7) |
					  (up & 8 ? E_PS : 0);

				gpa[1] = table;
				for (unsigned leaf = 0; leaf < (large ? 1 : 16); leaf++) {
					u64 e[2] = { pde, PAGE_A | (leaf & 7) | (leaf & 8 ? E_G : 0) };
					u64 r[2] = { large ? BIT(21) : 0, 0 };

					for (unsigned a = 0; a < ACCESSES; a++)
						check_case(&s, gpa, e, r, large ? 1 : 2, 4, 0, a, &k, 8);
				}
			}
		}
	}
	/* PSE-36: bits 20:13 are address bits 39:32, where there is no RAM: all ones. */
	s.c->cr4 = CR4_PSE;
	softcpu_cpl(s.c, 0);
	poke32(&s, PD, E_P | E_W | E_PS | 1 << 13);
	tlb_flush_all(s.c);
	assert_int_equal(mem_ld(s.c, SEG_DS, 0x10, 4), 0xffffffff);
	softcpu_close(&s);
}

/* Tables where there is no RAM read as all ones: reserved bits. */
static void test_tables_nowhere(void **state)
{
	struct softcpu s;

	softcpu_open(&s, 1);
	softcpu_long(s.c, 0x700000000ull);
	assert_int_equal(ld_raises(s.c, SEG_DS, 0x10, 4), EXC_PF);
	assert_int_equal(s.c->exc.error, PF_P | PF_RSVD);
	softcpu_close(&s);
}

/* Linear 0.. with two pages in PT, one large page at 2 MiB, everything user and writable. */
static void map_usual(struct softcpu *s)
{
	softcpu_open(s, 1);
	softcpu_long(s->c, PML4);
	poke64(s, PML4, PDPT | E_ALL);
	poke64(s, PDPT, PD | E_ALL);
	poke64(s, PD, PT | E_ALL);
	poke64(s, PD + 8, LARGE | E_ALL | E_PS);
	poke64(s, PT, PAGE_A | E_ALL);
	poke64(s, PT + 8, PAGE_B | E_ALL);
	poke64(s, PML4_B, PDPT_B | E_ALL);
	poke64(s, PDPT_B, PD_B | E_ALL);
	poke64(s, PD_B, PT_B | E_ALL);
	poke64(s, PT_B, PAGE_B | E_ALL);
}

static void test_crossing(void **state)
{
	struct softcpu s;
	struct cpu *c;

	map_usual(&s);
	c = s.c;
	for (unsigned size = 2; size <= 8; size *= 2) {
		for (unsigned before = 1; before < size; before++) {
			u64 la = 0x1000 - before, val = 0x1122334455667788ull;
			u64 mask = size == 8 ? ~0ull : BIT(size * 8) - 1;

			mem_st(c, SEG_DS, la, val, size);
			assert_int_equal(mem_ld(c, SEG_DS, la, size), val & mask);
			/* The second page refuses: not a byte of the first changes. */
			poke64(&s, PAGE_A + 0xff8, 0);
			poke64(&s, PT + 8, PAGE_B | E_P);
			tlb_flush_page(c, 0x1000);
			assert_int_equal(st_raises(c, SEG_DS, la, val, size), EXC_PF);
			assert_int_equal(c->cr2, 0x1000);
			assert_int_equal(c->exc.error, PF_P | PF_W);
			assert_int_equal(peek64(&s, PAGE_A + 0xff8), 0);
			poke64(&s, PT + 8, PAGE_B | E_ALL);
			tlb_flush_page(c, 0x1000);
			assert_null(mem_rmw(c, SEG_DS, la, size));
		}
	}
	/* The last byte before the canonical hole, and SS's own vector. */
	assert_int_equal(ld_raises(c, SEG_DS, 0x7ffffffffffdull, 4), EXC_GP);
	assert_int_equal(ld_raises(c, SEG_SS, 0x7ffffffffffdull, 4), EXC_SS);
	assert_int_equal(st_raises(c, SEG_SS, 0x800000000000ull, 0, 4), EXC_SS);
	assert_int_equal(c->exc.error, 0);
	softcpu_close(&s);
}

static void test_bytes_and_spans(void **state)
{
	struct softcpu s;
	struct cpu *c;
	u8 buf[4096], back[4096];
	size_t n = 5000;

	map_usual(&s);
	c = s.c;
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (u8)(i * 7);
	mem_st_bytes(c, SEG_DS, 0x123, buf, sizeof(buf));
	mem_ld_bytes(c, SEG_DS, 0x123, back, sizeof(back));
	assert_memory_equal(buf, back, sizeof(buf));
	assert_ptr_equal(lin_span(c, 0x123, true, &n), ram_view(s.m->ram, PAGE_A + 0x123, 1));
	assert_int_equal(n, 4096 - 0x123);
	/* A page with code is not written behind the blocks' back. */
	mmu_code_page(c, PAGE_A);
	n = 8;
	assert_null(lin_span(c, 0x123, true, &n));
	assert_non_null(lin_span(c, 0x123, false, &n));
	assert_int_equal(c->tlb[c->tlb_set][0].tag_w, TLB_INVALID);
	mem_st(c, SEG_DS, 0x200, 1, 4);
	assert_int_equal(c->tlb[c->tlb_set][0].tag_w, TLB_INVALID);
	softcpu_close(&s);
}

/* Nothing there: reads give ones, also partly; stores vanish; both are counted as I/O. */
static void test_unmapped(void **state)
{
	struct softcpu s;

	map_usual(&s);
	poke64(&s, PT, 0xf0000000ull | E_ALL);
	assert_int_equal(mem_ld(s.c, SEG_DS, 0x10, 8), ~0ull);
	poke64(&s, PAGE_B, 0x1111111111111111ull);
	assert_int_equal(mem_ld(s.c, SEG_DS, 0xffd, 8), 0x1111111111ffffffull);
	mem_st(s.c, SEG_DS, 0xffd, 0x2222222222222222ull, 8);
	assert_int_equal(peek64(&s, PAGE_B), 0x1111112222222222ull);
	assert_null(mem_rmw(s.c, SEG_DS, 0x10, 4));
	softcpu_close(&s);
}

static void test_a20(void **state)
{
	struct softcpu s;

	softcpu_open(&s, 1);
	softcpu_long(s.c, 0);
	s.c->cr0 = CR0_PE | CR0_ET;
	s.c->efer = 0;
	s.c->seg[SEG_CS].attr &= ~SEG_A_L;
	cpu_mode_changed(s.c);
	mmu_state_set(s.c);
	poke64(&s, 0x5000, 0xaaaa);
	poke64(&s, 0x105000, 0xbbbb);
	assert_int_equal(mem_ld(s.c, SEG_DS, 0x105000, 8), 0xbbbb);
	s.c->a20_mask = ~BIT(20);
	tlb_flush_all(s.c);
	assert_int_equal(mem_ld(s.c, SEG_DS, 0x105000, 8), 0xaaaa);
	softcpu_close(&s);
}

/* Two mappings of linear 0: which is seen tells what the TLB kept. */
static void test_invlpg(void **state)
{
	struct softcpu s;
	struct cpu *c;

	map_usual(&s);
	c = s.c;
	poke64(&s, PAGE_A, 'a');
	poke64(&s, PAGE_B, 'b');
	assert_int_equal(mem_ld(c, SEG_DS, 0, 8), 'a');
	poke64(&s, PT, PAGE_B | E_ALL);
	assert_int_equal(mem_ld(c, SEG_DS, 0, 8), 'a');	/* no INVLPG: still cached */
	tlb_flush_page(c, 0xfff);
	assert_int_equal(mem_ld(c, SEG_DS, 0, 8), 'b');
	/* Pieces of a large page all go, whichever address is named. */
	poke64(&s, LARGE + 0x3000, 'c');
	poke64(&s, LARGE + 0x5000, 'd');
	assert_int_equal(mem_ld(c, SEG_DS, 2 * MiB + 0x3000, 8), 'c');
	assert_int_equal(mem_ld(c, SEG_DS, 2 * MiB + 0x5000, 8), 'd');
	poke64(&s, PD + 8, (LARGE + 2 * MiB) | E_ALL | E_PS);
	tlb_flush_page(c, 2 * MiB + 0x1ff000);
	assert_int_equal(mem_ld(c, SEG_DS, 2 * MiB + 0x3000, 8), 0);
	assert_int_equal(mem_ld(c, SEG_DS, 2 * MiB + 0x5000, 8), 0);
	/* A wider right needs no INVLPG: a fault walks anew. */
	poke64(&s, PT, PAGE_A | E_P);
	tlb_flush_page(c, 0);
	mem_ld(c, SEG_DS, 0, 8);
	assert_int_equal(st_raises(c, SEG_DS, 0, 1, 8), EXC_PF);
	poke64(&s, PT, PAGE_A | E_ALL);
	assert_int_equal(st_raises(c, SEG_DS, 0, 1, 8), -1);
	softcpu_close(&s);
}

static void test_cr3_and_globals(void **state)
{
	struct softcpu s;
	struct cpu *c;

	map_usual(&s);
	c = s.c;
	cpu_write_cr(c, 4, c->cr4 | CR4_PGE);
	poke64(&s, PAGE_A, 'a');
	poke64(&s, PAGE_B, 'b');
	poke64(&s, PT, PAGE_A | E_ALL | E_G);
	assert_int_equal(mem_ld(c, SEG_DS, 0, 8), 'a');
	mem_ld(c, SEG_DS, 0x1000, 8);
	cpu_write_cr(c, 3, PML4_B);
	assert_int_equal(mem_ld(c, SEG_DS, 0, 8), 'a');	/* global: survives */
	assert_int_equal(ld_raises(c, SEG_DS, 0x1000, 8), EXC_PF);	/* not global: gone */
	tlb_flush_page(c, 0);					/* INVLPG drops globals */
	assert_int_equal(mem_ld(c, SEG_DS, 0, 8), 'b');
	cpu_write_cr(c, 3, PML4);
	mem_ld(c, SEG_DS, 0, 8);
	cpu_write_cr(c, 3, PML4_B);
	cpu_write_cr(c, 4, c->cr4 & ~(u64)CR4_PGE);		/* so does toggling PGE */
	assert_int_equal(mem_ld(c, SEG_DS, 0, 8), 'b');
	softcpu_close(&s);
}

static void invpcid(struct cpu *c, u64 type, u64 pcid, u64 la)
{
	switch (type) {
	case 0: tlb_flush_pcid_page(c, (unsigned)pcid, la); break;
	case 1: tlb_flush_pcid(c, (unsigned)pcid, false); break;
	case 2: tlb_flush_all(c); break;
	default: tlb_flush_all_pcids(c);
	}
}

#define NOFLUSH BIT(63)
static void test_pcid(void **state)
{
	struct softcpu s;
	struct cpu *c;

	map_usual(&s);
	c = s.c;
	poke64(&s, PAGE_A, 'a');
	poke64(&s, PAGE_B, 'b');
	assert_int_equal(cr_raises(c, 3, PML4 | NOFLUSH), EXC_GP);	/* PCIDE off */
	cpu_write_cr(c, 4, c->cr4 | CR4_PCIDE | CR4_PGE);
	for (unsigned type = 0; type < 4; type++) {
		poke64(&s, PT, PAGE_A | E_ALL);
		poke64(&s, PT + 8, PAGE_B | E_ALL | E_G);
		poke64(&s, PT_B, PAGE_B | E_ALL);
		poke64(&s, PT_B + 8, PAGE_A | E_ALL);
		tlb_flush_all(c);
		cpu_write_cr(c, 3, PML4 | 1);
		assert_int_equal(mem_ld(c, SEG_DS, 0, 8), 'a');
		assert_int_equal(mem_ld(c, SEG_DS, 0x1000, 8), 'b');
		cpu_write_cr(c, 3, PML4_B | 2);
		assert_int_equal(mem_ld(c, SEG_DS, 0, 8), 'b');
		/* Both are changed in memory; both stay as cached, in either space. */
		poke64(&s, PT, PAGE_B | E_ALL);
		poke64(&s, PT_B, PAGE_A | E_ALL);
		assert_int_equal(mem_ld(c, SEG_DS, 0, 8), 'b');
		cpu_write_cr(c, 3, PML4 | 1 | NOFLUSH);
		assert_int_equal(c->cr3, PML4 | 1);
		assert_int_equal(mem_ld(c, SEG_DS, 0, 8), 'a');
		/* Space 1 is dropped while 2 runs: 2 stays as it is but for types 2 and 3. */
		cpu_write_cr(c, 3, PML4_B | 2 | NOFLUSH);
		invpcid(c, type, 1, 0);
		assert_int_equal(mem_ld(c, SEG_DS, 0, 8), type >= 2 ? 'a' : 'b');
		/* Globals go with type 2 only. */
		assert_int_equal(mem_ld(c, SEG_DS, 0x1000, 8), type == 2 ? 'a' : 'b');
		cpu_write_cr(c, 3, PML4 | 1 | NOFLUSH);
		assert_int_equal(mem_ld(c, SEG_DS, 0, 8), 'b');
	}
	/* Without the bit a CR3 load drops its own PCID, and no other. */
	cpu_write_cr(c, 3, PML4 | 1);
	mem_ld(c, SEG_DS, 0, 8);
	poke64(&s, PT, PAGE_A | E_ALL);
	cpu_write_cr(c, 3, PML4_B | 2);
	cpu_write_cr(c, 3, PML4 | 1 | NOFLUSH);
	assert_int_equal(mem_ld(c, SEG_DS, 0, 8), 'b');
	cpu_write_cr(c, 3, PML4 | 1);
	assert_int_equal(mem_ld(c, SEG_DS, 0, 8), 'a');
	/* More address spaces than the second level has numbers for. */
	for (unsigned i = 0; i < 9000; i++) {
		cpu_write_cr(c, 3, (i & 1 ? PML4_B : PML4) | (i & 0xfff));
		assert_int_equal(mem_ld(c, SEG_DS, 0, 8), 'a');
	}
	softcpu_close(&s);
}

/* STAC and CLAC flush nothing and are obeyed at once. */
static void test_smap_toggles(void **state)
{
	struct softcpu s;
	struct cpu *c;
	struct ctl k = { .wp = true, .smap = true, .nxe = true };
	struct insn in = { .len = 3 };

	map_usual(&s);
	c = s.c;
	set_ctl(c, &k);
	for (unsigned i = 0; i < 10; i++) {
		exec_of(OP_STAC)(c, &in);
		assert_true(c->rflags & FL_AC);
		assert_int_equal(st_raises(c, SEG_DS, 0x18, i, 8), -1);
		/* The inline path is the one that AC opened. */
		assert_int_equal(tlb_at(c, 0x18)->tag_w, 0);
		/* Implicit accesses do not see AC. */
		assert_int_equal(sys_ld_raises(c, 0x18, 8), EXC_PF);
		exec_of(OP_CLAC)(c, &in);
		assert_int_equal(ld_raises(c, SEG_DS, 0x18, 8), EXC_PF);
		assert_int_equal(c->exc.error, PF_P);
	}
	softcpu_close(&s);
}

static void test_alignment(void **state)
{
	struct softcpu s;
	struct cpu *c;

	map_usual(&s);
	c = s.c;
	c->cr0 |= CR0_AM;
	c->rflags |= FL_AC;
	for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
		softcpu_cpl(c, cpl);
		for (unsigned size = 1; size <= 8; size *= 2) {
			for (unsigned off = 0; off < 8; off++) {
				int want = cpl == 3 && off % size ? EXC_AC : -1;

				assert_int_equal(ld_raises(c, SEG_DS, 0x40 + off, size), want);
				assert_int_equal(st_raises(c, SEG_DS, 0x40 + off, 0, size), want);
				assert_int_equal(rmw_raises(c, SEG_DS, 0x40 + off, size), want);
			}
		}
	}
	softcpu_close(&s);
}

/* Limits and types outside 64-bit mode. */
static void test_segments(void **state)
{
	struct softcpu s;
	struct cpu *c;

	softcpu_open(&s, 1);
	c = s.c;
	softcpu_long(c, 0);
	c->cr0 = CR0_PE | CR0_ET;
	c->efer = 0;
	c->seg[SEG_CS].attr &= ~SEG_A_L;
	for (unsigned kind = 0; kind < 6; kind++) {
		static const u16 attr[6] = {
			SEG_A_P | SEG_A_S,				/* read-only data */
			SEG_A_P | SEG_A_S | SEG_A_RW,
			SEG_A_P | SEG_A_S | SEG_A_EC | SEG_A_RW,	/* expand-down, 64 KiB */
			SEG_A_P | SEG_A_S | SEG_A_EC | SEG_A_RW | SEG_A_DB,
			SEG_A_P | SEG_A_S | SEG_A_CODE,			/* execute-only */
			SEG_A_P | SEG_A_S | SEG_A_CODE | SEG_A_RW,	/* readable code */
		};
		struct cpu_seg *d = &c->seg[SEG_DS];

		*d = (struct cpu_seg){ .attr = attr[kind], .limit = 0x2fff, .base = 0x100000 };
		cpu_mode_changed(c);
		for (unsigned size = 1; size <= 8; size *= 2) {
			for (u64 off = 0x2ff0; off < 0x3010; off++) {
				bool down = kind == 2 || kind == 3;
				bool in = down ? off > d->limit : off + size - 1 <= d->limit;
				bool can_read = in && kind != 4;
				bool can_write = in && kind >= 1 && kind <= 3;

				assert_int_equal(ld_raises(c, SEG_DS, off, size),
						 can_read ? -1 : EXC_GP);
				assert_int_equal(st_raises(c, SEG_DS, off, 0, size),
						 can_write ? -1 : EXC_GP);
			}
			/* An expand-down segment's other end. */
			if (kind == 2)
				for (u64 off = 0xfff0; off < 0x10010; off++)
					assert_int_equal(ld_raises(c, SEG_DS, off, size),
							 off + size - 1 <= 0xffff ? -1 : EXC_GP);
		}
	}
	c->seg[SEG_DS].attr = SEG_A_UNUSABLE;
	cpu_mode_changed(c);
	assert_int_equal(ld_raises(c, SEG_DS, 0, 1), EXC_GP);
	/* Real mode: 64 KiB, whatever the type. */
	c->cr0 = CR0_ET;
	c->seg[SEG_DS] = (struct cpu_seg){ .attr = SEG_A_P | SEG_A_S, .limit = 0xffff, .base = 0x1000 };
	c->seg[SEG_SS] = c->seg[SEG_DS];
	cpu_mode_changed(c);
	assert_int_equal(st_raises(c, SEG_DS, 0xfffe, 0, 2), -1);
	assert_int_equal(st_raises(c, SEG_DS, 0xffff, 0, 2), EXC_GP);
	assert_int_equal(ld_raises(c, SEG_SS, 0xffff, 2), EXC_SS);
	/* A limit of 4 GiB - 1 is one, too; but base plus offset wraps to linear 0. */
	c->seg[SEG_DS] = (struct cpu_seg){ .attr = SEG_A_P | SEG_A_S | SEG_A_RW, .limit = UINT32_MAX };
	cpu_mode_changed(c);
	assert_int_equal(ld_raises(c, SEG_DS, 0xfffffffe, 4), EXC_GP);
	c->seg[SEG_DS].base = 0xfffff000;
	cpu_mode_changed(c);
	poke32(&s, 0, 0x0b0a0908);
	assert_int_equal(mem_ld(c, SEG_DS, 0xffe, 4), 0x0908ffff);
	softcpu_close(&s);
}

/* Stores mark pages, reads and the walker's own bits do as they should. */
static void test_dirty(void **state)
{
	struct softcpu s;
	const struct ram_block *b;
	struct cpu *c;

	map_usual(&s);
	c = s.c;
	b = ram_find(s.m->ram, 0);
	memset(b->pageflags, 0, b->len / PAGE_SIZE);
	mem_ld(c, SEG_DS, 0, 8);
	assert_int_equal(b->pageflags[PAGE_A / PAGE_SIZE], 0);
	assert_int_equal(b->pageflags[PT / PAGE_SIZE], RAM_PAGE_DIRTY);	/* its A bit */
	mem_st(c, SEG_DS, 8, 1, 8);
	assert_int_equal(b->pageflags[PAGE_A / PAGE_SIZE], RAM_PAGE_DIRTY);
	softcpu_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk_long), cmocka_unit_test(test_walk_levels),
		cmocka_unit_test(test_walk_pae), cmocka_unit_test(test_walk_32),
		cmocka_unit_test(test_tables_nowhere), cmocka_unit_test(test_crossing),
		cmocka_unit_test(test_bytes_and_spans), cmocka_unit_test(test_unmapped),
		cmocka_unit_test(test_a20), cmocka_unit_test(test_invlpg),
		cmocka_unit_test(test_cr3_and_globals), cmocka_unit_test(test_pcid),
		cmocka_unit_test(test_smap_toggles), cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_segments), cmocka_unit_test(test_dirty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
