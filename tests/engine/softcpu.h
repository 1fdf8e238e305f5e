/* SPDX-License-Identifier: GPL-2.0-or-later */
/* softcpu.h - a machine on the soft engine whose vCPU the test itself drives: no thread runs. */
#ifndef PENTA_TESTS_SOFTCPU_H
#define PENTA_TESTS_SOFTCPU_H

#include "unit.h"
#include "engine/soft/access.h"
#include "engine/soft/mmu.h"
#include "vm/cpuid.h"

struct softcpu {
	struct machine *m;
	struct cpu *c;
};

static inline void softcpu_open(struct softcpu *s, unsigned ncpus)
{
	struct machine_config cfg = { .ram_size = 64 * MiB, .ncpus = ncpus, .engine = &engine_soft,
				      .cpu_model = cpu_model_find("base") };
	struct err e = { 0 };

	if (machine_new(&s->m, &cfg, &e) < 0)
		fail_msg("%s", e.msg);
	s->c = cpu_of(s->m->cpu[0]);
	atomic_store(&s->c->outside, false);	/* the test's thread is the vCPU's */
}

static inline void softcpu_close(struct softcpu *s)
{
	atomic_store(&s->c->outside, true);
	machine_free(s->m);
}

/* Flat 64-bit, paged from @cr3. */
static inline void softcpu_long(struct cpu *c, u64 cr3)
{
	for (unsigned i = 0; i <= SEG_GS; i++) {
		c->seg[i].base = 0;
		c->seg[i].limit = UINT32_MAX;
		c->seg[i].attr = SEG_A_P | SEG_A_S | SEG_A_RW | SEG_A_ACCESSED | SEG_A_G;
	}
	c->seg[SEG_CS].attr |= SEG_A_CODE | SEG_A_L;
	c->cr0 = CR0_PE | CR0_WP | CR0_PG | CR0_ET;
	c->cr4 = CR4_PAE;
	c->efer = EFER_LME | EFER_LMA | EFER_NXE;
	c->cr3 = cr3;
	cpu_mode_changed(c);
	mmu_state_set(c);
}

static inline void softcpu_cpl(struct cpu *c, unsigned cpl)
{
	c->seg[SEG_SS].attr = (c->seg[SEG_SS].attr & ~SEG_A_DPL) | cpl << SEG_A_DPL_SHIFT;
	c->seg[SEG_CS].attr = (c->seg[SEG_CS].attr & ~SEG_A_DPL) | cpl << SEG_A_DPL_SHIFT;
	cpu_mode_changed(c);
}

/* The vector that an access raises, or -1. The error code is then in c->exc.error. Functions of
 * their own, because what a caller keeps in registers does not survive the long jump. */
#define CATCH(c, stmt) do { \
	if (sigsetjmp((c)->catch, 0)) \
		return (c)->exc.vector; \
	stmt; \
	return -1; } while (0)
#define RAISES static __attribute__((noinline, unused)) int

RAISES ld_raises(struct cpu *c, unsigned seg, u64 off, unsigned size)
{
	CATCH(c, mem_ld(c, seg, off, size));
}
RAISES st_raises(struct cpu *c, unsigned seg, u64 off, u64 val, unsigned size)
{
	CATCH(c, mem_st(c, seg, off, val, size));
}
RAISES rmw_raises(struct cpu *c, unsigned seg, u64 off, unsigned size)
{
	CATCH(c, mem_rmw(c, seg, off, size));
}
RAISES sys_ld_raises(struct cpu *c, u64 la, unsigned size)
{
	CATCH(c, lin_ld(c, la, size, AS_SYSTEM));
}
RAISES cr_raises(struct cpu *c, unsigned n, u64 val)
{
	CATCH(c, cpu_write_cr(c, n, val));
}

static inline void poke64(struct softcpu *s, u64 gpa, u64 val)
{
	assert_true(ram_write(s->m->ram, gpa, &val, 8));
}
static inline u64 peek64(struct softcpu *s, u64 gpa)
{
	u64 v;

	assert_true(ram_read(s->m->ram, gpa, &v, 8));
	return v;
}
static inline void poke32(struct softcpu *s, u64 gpa, u32 val)
{
	assert_true(ram_write(s->m->ram, gpa, &val, 4));
}
static inline u32 peek32(struct softcpu *s, u64 gpa)
{
	u32 v;

	assert_true(ram_read(s->m->ram, gpa, &v, 4));
	return v;
}

#endif
