/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bare.h - a vCPU of the soft engine on a bare machine, with descriptor tables built in its RAM:
 * what the tests of segmentation, tasks, exceptions and debug registers drive directly.
 *
 * Unless a test asks for another mode the vCPU is in flat 32-bit protected mode at CPL 0. */
#ifndef PENTA_TESTS_BARE_H
#define PENTA_TESTS_BARE_H

#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <errno.h>

#include "base/bytes.h"
#include "engine/soft/cpu.h"

#define MAYBE static __attribute__((unused))

/* Where things lie in guest memory. */
enum { GDT = 0x1000, LDT = 0x2000, IDT = 0x3000, TSS = 0x5000, TSS2 = 0x6000, STACK0 = 0x9000,
       STACK1 = 0xa000, STACK3 = 0xb000, CODE = 0x10000, PML4 = 0x20000, IOMAP_OFF = 0x100 };

/* Selectors of the GDT that every test starts with. */
enum {
	S_CODE0 = 0x08, S_DATA0 = 0x10, S_CODE3 = 0x1b, S_DATA3 = 0x23, S_TSS = 0x28, S_TSS2 = 0x30,
	S_LDT = 0x38, S_CODE16 = 0x40, S_DATA16 = 0x48, S_CONF0 = 0x50, S_RO = 0x58, S_XONLY = 0x60,
	S_CODE1 = 0x68, S_DATA1 = 0x70, S_NP = 0x78, S_CODE64 = 0x80, S_CODE64_3 = 0x88 | 3,
	S_TSS64 = 0x90, /* 16 bytes */ S_LDT64 = 0xa0, /* 16 bytes */ S_SMALL = 0xb0, S_DOWN = 0xb8,
	S_GATE = 0xc0, /* 16 bytes, for the test's own */ S_FREE = 0xd0, GDT_END = 0x100,
};

/* Access bytes. */
enum { A_CODE0 = 0x9a, A_DATA0 = 0x92, A_CODE3 = 0xfa, A_DATA3 = 0xf2, A_CONF0 = 0x9e, A_RO0 = 0x90,
       A_XONLY0 = 0x98, A_CODE1 = 0xba, A_DATA1 = 0xb2, A_DATA0_NP = 0x12, A_TSS32 = 0x89,
       A_TSS16 = 0x81, A_LDT_ = 0x82, A_DOWN0 = 0x96 };
/* Flags nibble: G D L AVL. */
enum { F_32 = 0xc, F_16 = 0x0, F_64 = 0xa, F_BYTE32 = 0x4 };

struct bare {
	struct machine *m;
	struct cpu *c;
};

MAYBE void put32(struct bare *b, u64 gpa, u32 v) { u8 t[4]; put_le32(t, v); assert_true(ram_write(b->m->ram, gpa, t, 4)); }
MAYBE void put16(struct bare *b, u64 gpa, u16 v) { u8 t[2]; put_le16(t, v); assert_true(ram_write(b->m->ram, gpa, t, 2)); }
MAYBE void put64(struct bare *b, u64 gpa, u64 v) { u8 t[8]; put_le64(t, v); assert_true(ram_write(b->m->ram, gpa, t, 8)); }
MAYBE void put8(struct bare *b, u64 gpa, u8 v) { assert_true(ram_write(b->m->ram, gpa, &v, 1)); }
MAYBE u64 get(struct bare *b, u64 gpa, unsigned size)
{
	u8 t[8] = { 0 };

	assert_true(ram_read(b->m->ram, gpa, t, size));
	return get_le64(t);
}

MAYBE void set_desc(struct bare *b, u64 table, u16 sel, u32 base, u32 limit, u8 access, u8 flags)
{
	u64 at = table + (sel & ~7u);

	put32(b, at, (limit & 0xffff) | base << 16);
	put32(b, at + 4, (base >> 16 & 0xff) | (u32)access << 8 | (limit & 0xf0000) |
	      (u32)flags << 20 | (base & 0xff000000));
}

/* A call, interrupt, trap or task gate of 8 bytes. */
MAYBE void set_gate(struct bare *b, u64 at, u16 sel, u32 off, u8 access, u8 nparam)
{
	put32(b, at, (u32)sel << 16 | (off & 0xffff));
	put32(b, at + 4, (off & 0xffff0000) | (u32)access << 8 | nparam);
}

MAYBE void set_gate64(struct bare *b, u64 at, u16 sel, u64 off, u8 access, u8 ist)
{
	set_gate(b, at, sel, (u32)off, access, ist);
	put64(b, at + 8, off >> 32);
}

MAYBE void set_idt(struct bare *b, unsigned vec, u16 sel, u32 off, u8 access)
{
	set_gate(b, IDT + vec * 8, sel, off, access, 0);
}

MAYBE void set_idt64(struct bare *b, unsigned vec, u16 sel, u64 off, u8 access, u8 ist)
{
	set_gate64(b, IDT + vec * 16, sel, off, access, ist);
}

MAYBE void load_seg(struct cpu *c, unsigned seg, u16 sel, u32 base, u32 limit, u8 access, u8 flags)
{
	c->seg[seg] = (struct cpu_seg){ .sel = sel, .base = base, .limit = limit,
					.attr = access | 1 | flags << 12 };
}

/* Code and stack of privilege level @cpl (0, 1 or 3), 32-bit. */
MAYBE void go_cpl(struct bare *b, unsigned cpl)
{
	struct cpu *c = b->c;
	u8 dpl = cpl << 5;

	load_seg(c, SEG_CS, cpl == 3 ? S_CODE3 : cpl == 1 ? (S_CODE1 | 1) : S_CODE0, 0, 0xffffffff,
		 A_CODE0 | dpl, F_32);
	load_seg(c, SEG_SS, cpl == 3 ? S_DATA3 : cpl == 1 ? (S_DATA1 | 1) : S_DATA0, 0, 0xffffffff,
		 A_DATA0 | dpl, F_32);
	c->cpl = cpl;
	c->r[RSP] = cpl == 3 ? STACK3 : cpl == 1 ? STACK1 : STACK0;
	cpu_mode_changed(c);
}

/* 64-bit mode at @cpl 0 or 3, the first 16 MiB identity mapped by 2 MiB pages for all levels. */
MAYBE void go_long(struct bare *b, unsigned cpl)
{
	struct cpu *c = b->c;

	put64(b, PML4, (PML4 + 0x1000) | 7);
	put64(b, PML4 + 0x1000, (PML4 + 0x2000) | 7);
	for (unsigned i = 0; i < 8; i++)
		put64(b, PML4 + 0x2000 + 8 * i, (u64)i << 21 | 0x87);
	c->efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
	c->cr4 |= CR4_PAE;
	c->cr3 = PML4;
	c->cr0 |= CR0_PG | CR0_WP;
	load_seg(c, SEG_CS, cpl ? S_CODE64_3 : S_CODE64, 0, 0xffffffff, A_CODE0 | cpl << 5, F_64);
	load_seg(c, SEG_SS, cpl ? S_DATA3 : S_DATA0, 0, 0xffffffff, A_DATA0 | cpl << 5, F_32);
	load_seg(c, SEG_TR, S_TSS64, TSS, 0x2067, 0x8b, 0);
	c->cpl = cpl;
	c->r[RSP] = cpl ? STACK3 : STACK0;
	c->idtr.limit = 0xfff;
	tlb_flush_all(c);
	cpu_mode_changed(c);
}

MAYBE void go_real(struct bare *b)
{
	struct cpu *c = b->c;

	c->cr0 &= ~(u64)(CR0_PE | CR0_PG);
	for (unsigned i = 0; i < 6; i++)
		load_seg(c, i, 0, 0, 0xffff, 0x92, 0);
	c->idtr.base = 0;
	c->idtr.limit = 0x3ff;
	c->r[RSP] = 0x8000;
	cpu_mode_changed(c);
}

/* Virtual-8086 mode with @iopl: CS 0x1000, SS 0x900. */
MAYBE void go_v86(struct bare *b, unsigned iopl)
{
	struct cpu *c = b->c;

	cpu_set_rflags(c, FL_VM | FL_1 | iopl << FL_IOPL_SHIFT);
	for (unsigned i = 0; i < 6; i++)
		seg_load_real(c, i, i == SEG_CS ? CODE >> 4 : i == SEG_SS ? 0x900 : 0x100 * i);
	c->cpl = 3;
	c->r[RSP] = 0x100;
	c->rip = 0x20;
	cpu_mode_changed(c);
}

MAYBE int bare_setup(void **state)
{
	static const struct { u16 sel; u8 access, flags; u32 limit; } std[] = {
		{ S_CODE0, A_CODE0, F_32, 0xfffff }, { S_DATA0, A_DATA0, F_32, 0xfffff },
		{ S_CODE3, A_CODE3, F_32, 0xfffff }, { S_DATA3, A_DATA3, F_32, 0xfffff },
		{ S_CODE16, A_CODE0, F_16, 0xffff }, { S_DATA16, A_DATA0, F_16, 0xffff },
		{ S_CONF0, A_CONF0, F_32, 0xfffff }, { S_RO, A_RO0, F_32, 0xfffff },
		{ S_XONLY, A_XONLY0, F_32, 0xfffff }, { S_CODE1, A_CODE1, F_32, 0xfffff },
		{ S_DATA1, A_DATA1, F_32, 0xfffff }, { S_NP, A_DATA0_NP, F_32, 0xfffff },
		{ S_CODE64, A_CODE0, F_64, 0xfffff }, { S_CODE64_3, A_CODE3, F_64, 0xfffff },
		{ S_SMALL, A_DATA0, F_BYTE32, 0x0fff }, { S_DOWN, A_DOWN0, F_BYTE32, 0x0fff },
	};
	struct bare *b = test_calloc(1, sizeof(*b));
	const struct machine_config cfg = {
		.ram_size = 16 * MiB, .ncpus = 1, .engine = &engine_soft,
		.cpu_model = cpu_model_find("v2"),
	};
	struct err e = { 0 };
	struct cpu *c;

	if (machine_new(&b->m, &cfg, &e) < 0) {
		print_error("machine_new: %s\n", e.msg);
		return -1;
	}
	c = b->c = cpu_of(b->m->cpu[0]);
	for (unsigned i = 0; i < ARRAY_SIZE(std); i++)
		set_desc(b, GDT, std[i].sel, 0, std[i].limit, std[i].access, std[i].flags);
	set_desc(b, GDT, S_TSS, TSS, 0x2067, 0x8b, 0);
	set_desc(b, GDT, S_TSS2, TSS2, 0x67, A_TSS32, 0);
	set_desc(b, GDT, S_LDT, LDT, 0xff, A_LDT_, 0);
	set_desc(b, GDT, S_TSS64, TSS, 0x2067, A_TSS32, 0);
	put64(b, GDT + S_TSS64 + 8, 0);
	set_desc(b, GDT, S_LDT64, LDT, 0xff, A_LDT_, 0);
	put64(b, GDT + S_LDT64 + 8, 0);

	c->cr0 = CR0_PE | CR0_NE | CR0_ET | CR0_MP;
	c->gdtr.base = GDT;
	c->gdtr.limit = GDT_END - 1;
	c->idtr.base = IDT;
	c->idtr.limit = 0x7ff;
	cpu_set_rflags(c, FL_1);
	for (unsigned i = 0; i < 6; i++)
		load_seg(c, i, S_DATA0, 0, 0xffffffff, A_DATA0, F_32);
	load_seg(c, SEG_TR, S_TSS, TSS, 0x2067, 0x8b, 0);
	load_seg(c, SEG_LDTR, S_LDT, LDT, 0xff, A_LDT_, 0);
	put32(b, TSS + 4, STACK0);
	put32(b, TSS + 8, S_DATA0);
	put32(b, TSS + 12, STACK1);
	put32(b, TSS + 16, S_DATA1 | 1);
	put16(b, TSS + 0x66, IOMAP_OFF);
	c->rip = CODE;
	c->next_rip = CODE + 2;
	c->activity = CPU_RUNNING;
	c->delivering = -1;
	go_cpl(b, 0);
	*state = b;
	return 0;
}

MAYBE int bare_teardown(void **state)
{
	struct bare *b = *state;

	machine_free(b->m);
	test_free(b);
	return 0;
}

/* Run a statement; what it raises as FAULT(vector, error), or NO_FAULT. */
#define NO_FAULT (-1)
#define FAULT(vec, err) ((int)((vec) << 16 | (err)))
#define TRY(c_, stmt) __extension__({ \
	volatile int res_ = NO_FAULT; \
	if (sigsetjmp((c_)->catch, 0) == 0) { stmt; } \
	else res_ = FAULT((c_)->exc.vector, (c_)->exc.has_error ? (c_)->exc.error : 0); \
	res_; })

/* Decode and execute one instruction given as bytes at c->rip; then go on behind it. */
MAYBE int run_insn(struct cpu *c, const void *bytes, unsigned len)
{
	u8 buf[15] = { 0 };
	struct insn in;
	int res;

	memcpy(buf, bytes, len);
	res = insn_decode(&in, buf, 15, c->mode);
	if (res == -EILSEQ)
		return FAULT(EXC_UD, 0);
	assert_int_equal(res, 0);
	c->next_rip = c->rip + in.len;
	res = TRY(c, exec_insn(c, &in));
	if (res == NO_FAULT)
		c->rip = c->next_rip;
	return res;
}
#define RUN(c, ...) run_insn(c, (const u8[]){ __VA_ARGS__ }, sizeof((const u8[]){ __VA_ARGS__ }))

#define TEST(f) cmocka_unit_test_setup_teardown(f, bare_setup, bare_teardown)

#endif
