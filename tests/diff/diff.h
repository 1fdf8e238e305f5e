/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diff.h - the differential test: the same user-mode code on the host's CPU and in the soft
 * engine's interpreter, from the same state, must end in the same state.
 *
 *	gen.c      makes cases from the instruction table; encode.c its encodings
 *	host.c     runs them on the host, in a child process, from signal handler to signal handler
 *	guest.c    runs them in the interpreter, in a machine with the same linear addresses
 *	compare.c  what may differ and what may not; printing
 *	test_diff.c  options, batches, shrinking, the report
 *
 * Linear addresses, in both worlds:
 *
 *	WIN_BASE         2 pages  read/write   set up anew for each case
 *	 + 2 pages       1 page   read only
 *	CODE_BASE        8 pages  execute/read one slot for each case of a batch
 *	(nothing before and behind each of the two; the kernels above)
 */
#ifndef PENTA_TESTS_DIFF_H
#define PENTA_TESTS_DIFF_H

#include "base/err.h"
#include "x86/insn.h"
#include <stdio.h>

#define WIN_BASE 0x10000000ull
#define WIN_SIZE 8192u
#define WIN_RO (WIN_BASE + WIN_SIZE)
#define WIN_ALL (WIN_SIZE + 4096u)
#define CODE_BASE 0x20000000ull
#define SLOT_SIZE 128u
#define BATCH 256u
#define CODE_SIZE (SLOT_SIZE * BATCH)
#define INSNS_MAX 12
#define POOL_SIZE (1u << 18)		/* memory images are pieces of one pool of bytes */
#define XS_SIZE 832u			/* XSAVE: legacy, header, upper halves of YMM */
#define XS_HEADER 512u
#define XS_YMM 576u
#define PATCH_MAX 6

/* Segment registers of 32- and 16-bit cases, and the LDT they name. In 64-bit code FS and GS have
 * bases, the rest is flat. */
enum diff_ldt {
	LDT_CODE16, LDT_CODE32, LDT_DATA16, LDT_DATA_WIN, LDT_DATA_RO, LDT_DATA_DOWN, LDT_DATA_SMALL,
	LDT_N
};
#define LDT_SEL(i) ((u16)((i) << 3 | 7))
#define SEL_CS64 0x33
#define SEL_CS32 0x23
#define SEL_DS 0x2b
struct diff_desc { u32 base, limit; bool code, big, writable, down; };
extern const struct diff_desc diff_ldt[LDT_N];
struct diff_segs { u16 cs, ss, ds, es, fs, gs; };
#define SEGS_N 6
extern const struct diff_segs diff_segs[3][SEGS_N];	/* by mode: 2, 4, 8 -> 0, 1, 2 */
static inline unsigned mode_index(unsigned mode) { return mode == 8 ? 2 : mode == 4 ? 1 : 0; }
u64 diff_seg_base(u16 sel);

struct diff_patch { u16 off; u8 len; u8 byte[8]; };

struct diff_insn {
	u16 row;			/* of insn_table; UINT16_MAX: none (an encoding that is #UD) */
	u8 off, len;			/* in code */
	u8 rel_off, rel_len;		/* displacement of a branch to be laid out; rel_len 0: none */
	s8 target;			/* index of the instruction it goes to; n: behind the last */
};

struct diff_case {
	u8 mode, segs;			/* 2, 4, 8; index in diff_segs */
	u8 n;				/* instructions */
	u8 code_len;			/* without the INT3 behind */
	bool edge;			/* at the end of the last code page; no INT3 */
	struct diff_insn insn[INSNS_MAX];
	u8 code[SLOT_SIZE];
	u64 at;				/* linear address of the code */
	u64 gpr[16];
	u32 flags;
	u64 fs_base, gs_base;		/* 64-bit code */
	u32 pool_off;			/* image of the window, a multiple of 64 */
	u8 npatch;
	struct diff_patch patch[PATCH_MAX];	/* over the image */
	_Alignas(64) u8 xs[XS_SIZE];
};

enum diff_status { DIFF_NONE, DIFF_DONE, DIFF_TIMEOUT, DIFF_SYSCALL, DIFF_LOST };
struct diff_result {
	u8 status;			/* enum diff_status */
	u8 vector;
	u32 error;
	u64 cr2;			/* page faults */
	u64 gpr[16], rip, flags, fs_base, gs_base;
	u16 sel[6];			/* enum seg */
	_Alignas(64) u8 xs[XS_SIZE];
	u8 win[WIN_SIZE];
};

/* --- gen.c --- */
struct gen;
#define DIFF_CLASS_UNDEFINED (-2)	/* bytes that are no instruction */
struct gen_opts {
	u64 seed;
	const char *op;			/* only this mnemonic; NULL: all */
	int cls;			/* only this class; -1: all; DIFF_CLASS_UNDEFINED */
	unsigned mode;			/* only this mode; 0: all */
	bool (*offered)(enum x86_feature f);	/* does the model have it? */
};
struct gen *gen_new(const struct gen_opts *o, struct err *e);
void gen_free(struct gen *g);
const u8 *gen_pool(const struct gen *g);
void gen_case(struct gen *g, struct diff_case *c, unsigned slot);
/* Put insn[] one behind the other again after some were taken out: offsets and branches. */
void gen_layout(struct diff_case *c);
bool gen_row_wanted(const struct gen *g, unsigned row);
bool gen_row_offered(const struct gen *g, unsigned row);

/* --- host.c   --- */
struct host;
int host_new(struct host **out, const u8 *pool, struct err *e);
void host_free(struct host *n);
bool host_has_ldt(void);	/* may code segments of 16 bits be made here? */
/* The cases of the next batch are written to [0, BATCH) of this array, then started. */
struct diff_case *host_cases(struct host *n, unsigned which);
const struct diff_result *host_results(const struct host *n, unsigned which);
void host_start(struct host *n, unsigned which, unsigned ncases);	/* which: 0 or 1 */
void host_wait(struct host *n, unsigned which);	/* until all have a result */

/* --- guest.c --- */
struct guest;
int guest_new(struct guest **out, const u8 *pool, struct err *e);
void guest_free(struct guest *g);
void guest_pool_changed(struct guest *g);
bool guest_offers(const struct guest *g, enum x86_feature f);
void guest_load_code(struct guest *g, const struct diff_case *c, unsigned n);
void guest_run(struct guest *g, const struct diff_case *c, struct diff_result *r);
void guest_run_steps(struct guest *g, const struct diff_case *c, struct diff_result *r);
void guest_dump(struct guest *g, FILE *f);
u64 guest_insns(const struct guest *g);

/* --- compare.c --- */
enum diff_verdict {
	DIFF_SAME, DIFF_DIFFERS, DIFF_SKIP,
	DIFF_UNDEFINED,		/* only undefined flags differ */
};
enum diff_verdict diff_compare(const struct diff_case *c, const struct diff_result *host,
			       const struct diff_result *ours);
void diff_print(FILE *f, const struct diff_case *c, const struct diff_result *host,
		const struct diff_result *ours, const u8 *pool);
void diff_image(const struct diff_case *c, const u8 *pool, u8 *win);

#endif
