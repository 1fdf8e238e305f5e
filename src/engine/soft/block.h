/* SPDX-License-Identifier: GPL-2.0-or-later */
/* block.h - decoded blocks, for run.c, block.c, exec_table.c and uop/.
 *
 * A block is a run of instructions of one page, turned into uops: { function, operands }. A uop's
 * function does its work and names the next uop: u + 1 inside the block, the first one of the next
 * block at the end, NULL to leave for the loop in run.c with c->rip right. Where the compiler turns
 * the call of the next function into a jump (NEXT), the loop below it never turns.
 *
 * A block belongs to one vCPU. Its key is where it was seen and how: RIP, linear address, host
 * address of the first byte (hence: the physical page), and the mode (cpu->mode_key). It lives as
 * long as the generation of its page's code stays what it was when the bytes were read. */
#ifndef PENTA_SOFT_BLOCK_H
#define PENTA_SOFT_BLOCK_H

#include "engine/soft/cpu.h"

typedef const struct uop *uop_fn(struct cpu *c, const struct uop *u);

struct uop {
	uop_fn *fn;
	union {
		u64 disp;		/* of the memory operand, RIP-relative ones made absolute */
		const struct insn *in;	/* generic uops */
		struct chain *chain;	/* branches */
	};
	union {
		u64 imm;
		exec_fn *exec;
		const struct stub *stub;	/* native.c */
		unsigned vector;
	};
	u8 dst, src, base;
	union {
		u8 index;
		u8 rest;		/* Jcc: instructions of the block that a jump leaves out */
	};
	u8 scale, seg;
	u16 off;			/* of the instruction in the block, bytes */
};

/* A link to a successor: good while the mapping and the successor's code are as they were. */
struct chain {
	u64 rip;
	struct block *b;
	u32 map_gen;			/* cpu->map_gen[global] when it was made */
	u32 global;			/* the successor's page is */
} __attribute__((aligned(16)));		/* as the arena: CALL's two are an array */

struct block {
	u64 rip, lin, mode_key;
	const u8 *hva;			/* of the first byte */
	const _Atomic u32 *gen;		/* of the page's code */
	u32 gen_seen;
	u16 ninsns, len;
	struct block *hash_next;
	/* An instruction that goes on in the next page is a block by itself; its first uop checks
	 * the second page. */
	const u8 *hva2;			/* first byte of the second page; NULL: none */
	const _Atomic u32 *gen2;
	u32 gen2_seen;
	u64 map_gen2;			/* both map_gen when the second page was last looked at */
	struct uop u[];			/* the last one only holds the length in off */
};

/* Guest pages that hold decoded code, engine-wide. */
struct code_page {
	_Atomic u32 gen;		/* changes when code in the page is written */
	_Atomic u32 epoch;		/* when it last became a code page */
	_Atomic u64 lines;		/* 64-byte lines from which something was decoded */
};

/* The soft engine of a machine (m->engine). */
#define SOFT_RAM_BLOCKS 64
struct soft {
	struct machine *m;
	_Atomic unsigned nblocks;	/* RAM blocks known, at most SOFT_RAM_BLOCKS */
	struct code_page *pages[SOFT_RAM_BLOCKS];	/* of each RAM block, mapped lazily */
	pthread_mutex_t code_lock;	/* which pages hold code; generations change under it */
	pthread_mutex_t split_lock;	/* mem_split_lock() */
	_Atomic u32 epoch;		/* counts pages that became code pages */
	struct cpu *_Atomic cpu[MACHINE_CPUS_MAX];
};

int code_init(struct cpu *c, struct err *e);
void code_free(struct cpu *c);			/* accepts half-made */
int block_engine_init(struct soft *s, struct err *e);
int block_engine_memory(struct soft *s);	/* RAM blocks were added; -ENOMEM */
void block_engine_free(struct soft *s);		/* accepts half-made */
void block_on_code_write(void *soft, u64 gpa, size_t len);	/* ram_on_code_write() */

/* Where a call will return to: the link behind it, so that RET needs no lookup. */
#define RAS_SIZE 16u

/* Enter and leave the state in which this vCPU may be about to store through a write tag; and say
 * that it is between instructions, so that tags taken away before are not in use any more. */
void code_inside(struct cpu *c);
void code_outside(struct cpu *c);
void code_sync(struct cpu *c);

/* The vCPU halts, at @ns of the host's monotonic clock. True: it has had so little to do that all
 * decoded code was dropped, and its memory is the host's again. Not within a block. */
bool code_rest(struct cpu *c, u64 ns);

/* The first uop of the block at c->rip, made when it is not there. NULL: cannot be cached now; the
 * instruction at c->rip is to be fetched and executed by itself. Faults as a fetch. */
const struct uop *code_enter(struct cpu *c);
/* Fetch and decode the instruction at c->rip, and set c->next_rip. Faults as the guest's would. */
void block_fetch_insn(struct cpu *c, struct insn *in);
/* After a branch to c->rip: its first uop, or NULL for the loop. */
const struct uop *code_next(struct cpu *c);
/* Is the second page of @b still what it was? May fault as a fetch. */
bool block_second_ok(struct cpu *c, struct block *b);
/* The same through a link, which is made when possible. */
const struct uop *code_link(struct cpu *c, struct chain *ch);

/* --- exec_table.c --- */
exec_fn *exec_find(const struct insn *in);
unsigned exec_gate(const struct cpu *c, const struct insn *in);
_Noreturn void exec_gate_raise(struct cpu *c, unsigned vector);

/* --- uop/: the functions of uops ---
 * Fill @u for @in, at u->off in @b; false: there is no fast form, use the generic one.
 * @last: nothing follows in its block. Jcc never ends one: not taken, it goes on. */
bool uop_fast(struct cpu *c, struct block *b, struct uop *u, const struct insn *in, bool last);
/* A CMP or TEST of registers followed by Jcc as one uop: the function, or NULL. */
uop_fn *uop_fused(const struct insn *in, const struct insn *jcc);
static inline bool insn_is_jcc(const struct insn *in)
{
	return in->op >= OP_JO && in->op <= OP_JNLE;
}
/* Does nothing that could be seen? */
static inline bool insn_is_nop(const struct insn *in)
{
	return in->op == OP_NOP || in->op == OP_ENDBR32 || in->op == OP_ENDBR64;
}
/* Memory that lives as long as the block that is being made. */
struct chain *code_chain(struct cpu *c, u64 rip);
/* Two of them, an array: to a call's target and to what follows the call. */
struct chain *block_chain2(struct cpu *c, u64 rip, u64 next_rip);
uop_fn uop_generic, uop_generic_end, uop_gate, uop_fall, uop_crossing;

/* struct cpu.mode_key: what code decoded for it rests on. The upper half is the limit of CS outside
 * of 64-bit mode. */
enum mode_bits {
	MODE_SIZE = 15,			/* 2, 4, 8: code size */
	MODE_CPL_SHIFT = 4,
	MODE_PE = 1 << 6, MODE_VM = 1 << 7,
	MODE_FLAT = 1 << 8,		/* DS ES SS CS with base 0, no limits */
	MODE_ALIGN = 1 << 9,		/* alignment checks are on: generic code only */
	MODE_STACK_SHIFT = 10,		/* 4 bits: stack_size */
	MODE_FS = 1 << 14, MODE_GS = 1 << 15,	/* no limit in the way there either */
	MODE_LONG = 1 << 16,
};

/* Go on with @u: a jump in optimised builds; sanitizers keep frames, so there the loop turns. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
#define UOP_LOOP 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UOP_LOOP 1
#endif
#endif
#ifdef UOP_LOOP
#define GOTO(c, u) return (u)
#elif defined(__clang__)
#define GOTO(c, u) __attribute__((musttail)) return (u)->fn(c, u)
#else
#define GOTO(c, u) return (u)->fn(c, u)
#endif
#define NEXT(c, u) GOTO(c, (u) + 1)

static inline u64 map_gen_both(const struct cpu *c)
{
	return (u64)c->map_gen[0] << 32 | c->map_gen[1];
}

static inline bool code_fresh(const struct block *b)
{
	return atomic_load_explicit(b->gen, memory_order_acquire) == b->gen_seen;
}

#endif
