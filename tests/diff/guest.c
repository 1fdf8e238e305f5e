/* SPDX-License-Identifier: GPL-2.0-or-later */
/* guest.c - runs cases in the soft engine, in a machine that looks to user mode as the native child
 * does: the same linear addresses, selectors, descriptors and control register bits.
 *
 * The kernel side is an IDT whose handlers write to a port; the port's device stops the vCPU. What
 * the exception pushed is then read from the kernel stack, so that delivery is tested, too. Between
 * cases registers are written into the interpreter's own struct: set_state() would flush what the
 * next case can use again. */
#include "diff.h"
#include "base/bytes.h"
#include "engine/soft/cpu.h"
#include "engine/soft/fallback.h"
#include "engine/soft/native.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define RAM_SIZE (8 * MiB)
#define PT_ROOT 0x10000u		/* page tables, one page each, from here */
#define WIN_GPA 0x100000u
#define CODE_GPA 0x120000u
#define KERNEL_GPA 0x200000u		/* a large page */
#define KERNEL_BASE 0xffffffff80000000ull
enum kernel_off { K_GDT = 0, K_LDT = 0x800, K_TSS = 0x900, K_IDT = 0x1000, K_STUBS = 0x4000,
		  K_STACK_TOP = 0x10000 };
#define STUB_SIZE 16
#define STOP_PORT 0xf0
#define GDT_TSS 0x40
#define GDT_LDT 0x50

enum pte { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 0x20, PTE_D = 0x40, PTE_PS = 0x80 };
#define PTE_NX BIT(63)

struct guest {
	struct machine *m;
	struct vcpu *v;
	struct cpu *c;
	u8 *win, *stack_top;
	const u8 *pool;
	struct cpu_seg segs[3][SEGS_N][6];
	u8 code[CODE_SIZE];
	u8 xs[CPU_XSAVE_SIZE];
	struct soft_fallback *steps;	/* the interpreter as other engines use it */
	struct cpu_state start, state;
	_Atomic u64 ncases;
	u64 seen;
};

static u64 stop_read(void *dev, struct vcpu *by, u64 off, unsigned len) { return 0; }
static void stop_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	vcpu_request(by, VCPU_REQ_STOP);
}
static const struct region_ops stop_ops = { .read = stop_read, .write = stop_write };

/* --- the machine's tables --- */

static void poke64(struct guest *g, u64 gpa, u64 v)
{
	BUG_ON(!ram_write(g->m->ram, gpa, &v, 8));
}

static void page_tables(struct guest *g)
{
	const u64 pml4 = PT_ROOT, pdpt = PT_ROOT + 0x1000, pd = PT_ROOT + 0x2000,
		  pt_win = PT_ROOT + 0x3000, pt_code = PT_ROOT + 0x4000,
		  kpdpt = PT_ROOT + 0x5000, kpd = PT_ROOT + 0x6000;
	const u64 all = PTE_P | PTE_W | PTE_U | PTE_A;

	poke64(g, pml4, pdpt | all);
	poke64(g, pdpt, pd | all);
	poke64(g, pd + (WIN_BASE >> 21) * 8, pt_win | all);
	poke64(g, pd + (CODE_BASE >> 21) * 8, pt_code | all);
	for (unsigned i = 0; i < 3; i++)
		poke64(g, pt_win + 8 * i, (WIN_GPA + i * 4096) | PTE_P | PTE_U | PTE_A | PTE_D |
		       (i < 2 ? PTE_W : 0) | PTE_NX);
	for (unsigned i = 0; i < CODE_SIZE / 4096; i++)
		poke64(g, pt_code + 8 * i, (CODE_GPA + i * 4096) | PTE_P | PTE_U | PTE_A);
	poke64(g, pml4 + 511 * 8, kpdpt | PTE_P | PTE_W | PTE_A);
	poke64(g, kpdpt + 510 * 8, kpd | PTE_P | PTE_W | PTE_A);
	poke64(g, kpd, KERNEL_GPA | PTE_P | PTE_W | PTE_A | PTE_D | PTE_PS);
}

static u64 descriptor(const struct cpu_seg *s)
{
	u64 limit = s->attr & SEG_A_G ? s->limit >> 12 : s->limit;

	return (limit & 0xffff) | (s->base & 0xffffff) << 16 | (u64)(s->attr & 0xf0ff) << 40 |
	       (limit >> 16 & 15) << 48 | (s->base >> 24 & 0xff) << 56;
}

static struct cpu_seg ldt_seg(unsigned i)
{
	const struct diff_desc *d = &diff_ldt[i];
	u16 attr = SEG_A_P | SEG_A_S | SEG_A_DPL | SEG_A_ACCESSED | (d->big ? SEG_A_DB : 0);

	if (d->code)
		attr |= SEG_A_CODE | SEG_A_RW;
	else
		attr |= (d->writable ? SEG_A_RW : 0) | (d->down ? SEG_A_EC : 0);
	return (struct cpu_seg){ LDT_SEL(i), attr, d->limit, d->base };
}

/* As Linux has them for user mode: SEL_CS64, SEL_CS32, SEL_DS. */
static struct cpu_seg seg_of(u16 sel)
{
	const u16 flat = SEG_A_P | SEG_A_S | SEG_A_DPL | SEG_A_ACCESSED | SEG_A_RW | SEG_A_G;

	if (sel & 4)
		return ldt_seg(sel >> 3);
	switch (sel) {
	case SEL_CS64:
		return (struct cpu_seg){ sel, flat | SEG_A_CODE | SEG_A_L, UINT32_MAX, 0 };
	case SEL_CS32:
		return (struct cpu_seg){ sel, flat | SEG_A_CODE | SEG_A_DB, UINT32_MAX, 0 };
	case SEL_DS:
		return (struct cpu_seg){ sel, flat | SEG_A_DB, UINT32_MAX, 0 };
	default:
		return (struct cpu_seg){ 0, SEG_A_UNUSABLE, 0, 0 };
	}
}

static void kernel_tables(struct guest *g)
{
	const struct cpu_seg k_cs = { 0x10, SEG_A_P | SEG_A_S | SEG_A_CODE | SEG_A_RW |
				      SEG_A_ACCESSED | SEG_A_L | SEG_A_G, UINT32_MAX, 0 };
	const u16 user[] = { SEL_CS32, SEL_DS, SEL_CS64 };
	const struct cpu_seg k_cs32 = { 0, SEG_A_P | SEG_A_S | SEG_A_CODE | SEG_A_RW |
					SEG_A_ACCESSED | SEG_A_DB | SEG_A_G, UINT32_MAX, 0 };
	const struct cpu_seg k_ds = { 0, SEG_A_P | SEG_A_S | SEG_A_RW | SEG_A_ACCESSED | SEG_A_DB |
				      SEG_A_G, UINT32_MAX, 0 };
	const struct cpu_seg cpunode = { 0, SEG_A_P | SEG_A_S | SEG_A_DPL | SEG_A_EC |
					 SEG_A_ACCESSED | SEG_A_DB, 0, 0 };
	const u64 k = KERNEL_GPA, tss = KERNEL_BASE + K_TSS, ldt = KERNEL_BASE + K_LDT;

	poke64(g, k + K_GDT + 0x08, descriptor(&k_cs32));
	poke64(g, k + K_GDT + 0x10, descriptor(&k_cs));
	poke64(g, k + K_GDT + 0x18, descriptor(&k_ds));
	poke64(g, k + K_GDT + 0x78, descriptor(&cpunode));
	for (unsigned i = 0; i < ARRAY_SIZE(user); i++) {
		struct cpu_seg s = seg_of(user[i]);

		poke64(g, k + K_GDT + (user[i] & ~7u), descriptor(&s));
	}
	poke64(g, k + K_GDT + GDT_TSS, descriptor(&(struct cpu_seg){ 0, SEG_A_P | 11, 103,
								     (u32)tss }));
	poke64(g, k + K_GDT + GDT_TSS + 8, tss >> 32);
	poke64(g, k + K_GDT + GDT_LDT, descriptor(&(struct cpu_seg){ 0, SEG_A_P | 2, LDT_N * 8 - 1,
								     (u32)ldt }));
	poke64(g, k + K_GDT + GDT_LDT + 8, ldt >> 32);
	for (unsigned i = 0; i < LDT_N; i++) {
		struct cpu_seg s = ldt_seg(i);

		poke64(g, k + K_LDT + 8 * i, descriptor(&s));
	}
	poke64(g, k + K_TSS + 4, KERNEL_BASE + K_STACK_TOP);
	poke64(g, k + K_TSS + 96, 104ull << 48);	/* no I/O bitmap: no port */
	for (unsigned i = 0; i < 256; i++) {
		u64 to = KERNEL_BASE + K_STUBS + i * STUB_SIZE;
		unsigned dpl = i == 3 || i == 4 ? 3 : 0;
		const u8 stub[] = { 0xe6, STOP_PORT, 0xeb, 0xfe };

		poke64(g, k + K_IDT + 16 * i, (to & 0xffff) | 0x10 << 16 |
		       (u64)(0x8e | dpl << 5) << 40 | (to >> 16 & 0xffff) << 48);
		poke64(g, k + K_IDT + 16 * i + 8, to >> 32);
		BUG_ON(!ram_write(g->m->ram, k + K_STUBS + i * STUB_SIZE, stub, sizeof(stub)));
	}
}

static int set_start(struct guest *g, struct err *e)
{
	struct cpu_state *s = malloc(sizeof(*s));
	int r;

	cpu_state_reset(s);
	s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	s->cr3 = PT_ROOT;
	s->cr4 = CR4_DE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	if (guest_offers(g, F_XSAVE)) {
		s->cr4 |= CR4_OSXSAVE;
		s->xcr0 = guest_offers(g, F_AVX) ? 7 : 3;
	}
	if (guest_offers(g, F_FSGSBASE))
		s->cr4 |= CR4_FSGSBASE;
	if (guest_offers(g, F_UMIP))
		s->cr4 |= CR4_UMIP;
	s->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	s->gdtr.base = KERNEL_BASE + K_GDT;
	s->gdtr.limit = 0x7f;
	s->idtr.base = KERNEL_BASE + K_IDT;
	s->idtr.limit = 0xfff;
	s->seg[SEG_TR] = (struct cpu_seg){ GDT_TSS, SEG_A_P | 11, 103, KERNEL_BASE + K_TSS };
	s->seg[SEG_LDTR] = (struct cpu_seg){ GDT_LDT, SEG_A_P | 2, LDT_N * 8 - 1,
					     KERNEL_BASE + K_LDT };
	for (unsigned i = 0; i < 6; i++)
		s->seg[i] = seg_of(i == SEG_CS ? SEL_CS64 : SEL_DS);
	g->start = *s;
	r = engine_soft.set_state(g->v, s, e);
	free(s);
	return r;
}

static void seg_table(struct guest *g)
{
	for (unsigned m = 0; m < 3; m++)
		for (unsigned i = 0; i < SEGS_N; i++) {
			const struct diff_segs *s = &diff_segs[m][i];
			const u16 sel[6] = { s->es, s->cs, s->ss, s->ds, s->fs, s->gs };

			for (unsigned k = 0; k < 6; k++)
				g->segs[m][i][k] = seg_of(sel[k]);
		}
}

/* --- watchdog: an interpreter that does not come back is a finding, not a hang --- */

static struct guest *watched;
static void on_alarm(int sig)
{
	struct guest *g = watched;
	u64 now = atomic_load(&g->ncases);

	if (g->seen == now)
		vcpu_request(g->v, VCPU_REQ_STOP);
	g->seen = now;
}

int guest_new(struct guest **out, const u8 *pool, struct err *e)
{
	struct machine_config cfg = { .ram_size = RAM_SIZE, .ncpus = 1, .engine = &engine_soft };
	/* LOOPs of tens of millions of rounds, which the host ends in time, need a second or two. */
	const struct itimerval it = { { 20, 0 }, { 20, 0 } };
	struct guest *g = calloc(1, sizeof(*g));
	int r;

	cfg.cpu_model = cpu_model_find("max");
	g->pool = pool;
	r = machine_new(&g->m, &cfg, e);
	if (r < 0)
		return r;
	g->v = g->m->cpu[0];
	g->c = cpu_of(g->v);
	r = bus_map(g->m->ports, STOP_PORT, 1, &stop_ops, g, "stop", 0, e);
	if (r < 0)
		return r;
	page_tables(g);
	kernel_tables(g);
	seg_table(g);
	g->win = ram_view(g->m->ram, WIN_GPA, WIN_ALL);
	g->stack_top = (u8 *)ram_view(g->m->ram, KERNEL_GPA, K_STACK_TOP) + K_STACK_TOP;
	guest_pool_changed(g);
	r = soft_fallback_new(&g->steps, g->v, e);
	if (r < 0)
		return r;
	r = set_start(g, e);
	watched = g;
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &it, NULL);
	*out = g;
	return r;
}

void guest_pool_changed(struct guest *g)
{
	memcpy(g->win + WIN_SIZE, g->pool, 4096);
}

void guest_free(struct guest *g)
{
	const struct itimerval none = { 0 };

	if (!g)
		return;
	setitimer(ITIMER_REAL, &none, NULL);
	soft_fallback_free(g->steps);
	machine_free(g->m);
	free(g);
}

bool guest_offers(const struct guest *g, enum x86_feature f) { return cpuid_has(g->m->cpuid, f); }
u64 guest_insns(const struct guest *g) { return g->c->stats.insns; }
void guest_dump(struct guest *g, FILE *f) { vcpu_dump(g->v, f); }

void guest_load_code(struct guest *g, const struct diff_case *c, unsigned n)
{
	memset(g->code, 0xcc, sizeof(g->code));
	for (unsigned i = 0; i < n; i++)
		memcpy(g->code + (c[i].at - CODE_BASE), c[i].code, c[i].code_len);
	BUG_ON(!ram_write(g->m->ram, CODE_GPA, g->code, sizeof(g->code)));
}

/* What the exception pushed (SDM vol. 3, 6.14.2): @rip is in its handler. */
static void collect_frame(struct guest *g, u64 rip, struct diff_result *r)
{
	bool has_error;

	r->vector = (u8)((rip - KERNEL_BASE - K_STUBS) / STUB_SIZE);
	has_error = r->vector == EXC_DF || (r->vector >= EXC_TS && r->vector <= EXC_PF) ||
		    r->vector == EXC_AC;
	r->status = DIFF_DONE;
	r->error = has_error ? get_le32(g->stack_top - 48) : 0;
	r->rip = get_le64(g->stack_top - 40);
	r->flags = get_le64(g->stack_top - 24);
	r->gpr[RSP] = get_le64(g->stack_top - 16);
	r->sel[SEG_CS] = get_le16(g->stack_top - 32);
	r->sel[SEG_SS] = get_le16(g->stack_top - 8);
}

static void collect_segs(const struct cpu_seg *seg, struct diff_result *r)
{
	for (unsigned i = 0; i < 6; i++)
		r->sel[i] = seg[i].sel;
	r->fs_base = seg[SEG_FS].base;
	r->gs_base = seg[SEG_GS].base;
}

static void collect(struct guest *g, struct diff_result *r)
{
	struct cpu *c = g->c;

	memcpy(r->gpr, c->r, sizeof(r->gpr));
	r->cr2 = c->cr2;
	collect_segs(c->seg, r);
	collect_frame(g, c->rip, r);
}

void guest_run(struct guest *g, const struct diff_case *k, struct diff_result *r)
{
	struct cpu *c = g->c;
	enum vcpu_exit x;

	diff_image(k, g->pool, g->win);
	memcpy(c->r, k->gpr, sizeof(k->gpr));
	memcpy(c->seg, g->segs[mode_index(k->mode)][k->segs], sizeof(struct cpu_seg) * 6);
	if (k->mode == 8) {
		c->seg[SEG_FS].base = k->fs_base;
		c->seg[SEG_GS].base = k->gs_base;
	}
	c->rip = k->at - c->seg[SEG_CS].base;
	memcpy(g->xs, k->xs, XS_SIZE);
	xsave_set(c, g->xs);
	c->rflags = FL_1 | FL_IF;
	cpu_set_rflags(c, k->flags);
	c->shadow = SHADOW_NONE;
	c->db_pending = 0;
	c->step_trap = false;
	c->delivering = -1;
	c->activity = CPU_RUNNING;
	c->dr[6] = 0xffff0ff0;
	cpu_mode_changed(c);
	atomic_fetch_add(&g->ncases, 1);
	x = engine_soft.run(g->v);
	atomic_fetch_and(&g->v->requests, ~(u32)VCPU_REQ_STOP);
	r->status = DIFF_LOST;
	if (x == VCPU_EXIT_STOP) {
		u64 off = c->rip - KERNEL_BASE - K_STUBS;

		r->status = DIFF_TIMEOUT;
		if (c->cpl == 0 && off < 256 * STUB_SIZE && off % STUB_SIZE == 2)
			collect(g, r);
	}
	xsave_get(c, g->xs);
	memcpy(r->xs, g->xs, XS_SIZE);
	memcpy(r->win, g->win, WIN_SIZE);
}

/* The same case, instruction by instruction from the neutral state and back. */
void guest_run_steps(struct guest *g, const struct diff_case *k, struct diff_result *r)
{
	struct cpu_state *s = &g->state;
	struct err e = { 0 };

	diff_image(k, g->pool, g->win);
	*s = g->start;
	memcpy(s->gpr, k->gpr, sizeof(s->gpr));
	memcpy(s->seg, g->segs[mode_index(k->mode)][k->segs], sizeof(struct cpu_seg) * 6);
	if (k->mode == 8) {
		s->seg[SEG_FS].base = k->fs_base;
		s->seg[SEG_GS].base = k->gs_base;
	}
	s->rip = k->at - s->seg[SEG_CS].base;
	s->rflags = k->flags;
	memcpy(s->xsave, k->xs, XS_SIZE);
	r->status = DIFF_TIMEOUT;
	for (unsigned i = 0; i < 1000; i++) {
		if (soft_fallback_step(g->steps, s, &e) < 0) {
			r->status = DIFF_LOST;
			break;
		}
		if (!(s->seg[SEG_CS].sel & 3)) {
			memcpy(r->gpr, s->gpr, sizeof(r->gpr));
			r->cr2 = s->cr2;
			collect_segs(s->seg, r);
			collect_frame(g, s->rip, r);
			break;
		}
	}
	memcpy(r->xs, s->xsave, XS_SIZE);
	memcpy(r->win, g->win, WIN_SIZE);
}
