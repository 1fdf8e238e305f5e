/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stub.c - generates the host code that runs one guest instruction (stub.h).
 * After: Intel SDM vol. 2, ch. 2 (instruction formats); System V AMD64 ABI (all vector registers
 * and RAX RCX RDX RSI RDI R8-R11 may be clobbered; x87 must be left empty).
 *
 * Vector registers keep their numbers: they are all free inside a stub. General registers do not:
 * the one that an instruction may name is rewritten to RAX. The memory operand becomes [RSI]. */
#include "engine/soft/stub.h"
#include "engine/soft/native.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

int codebuf_new(struct codebuf *b, size_t size, struct err *e)
{
	int fd = memfd_create("penta-stubs", MFD_CLOEXEC);

	*b = (struct codebuf){ .size = size };
	if (fd < 0)
		return err_errno(e, "memfd for native stubs");
	if (ftruncate(fd, (off_t)size) < 0) {
		close(fd);
		return err_errno(e, "native stubs: %zu bytes", size);
	}
	b->rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	b->rx = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	close(fd);
	if (b->rw == MAP_FAILED || b->rx == MAP_FAILED) {
		int rc = err_errno(e, "mapping native stubs");

		if (b->rw == MAP_FAILED)
			b->rw = NULL;
		if (b->rx == MAP_FAILED)
			b->rx = NULL;
		codebuf_free(b);
		return rc;
	}
	return 0;
}

void codebuf_free(struct codebuf *b)
{
	if (b->rw)
		munmap(b->rw, b->size);
	if (b->rx)
		munmap((void *)b->rx, b->size);
	*b = (struct codebuf){ 0 };
}

/* --- the instruction as the host is to run it --- */

/* The letter of operand @i in the table's "Vx,Hx,Wx,Ib": where the operand is encoded. */
static char opd_letter(const struct insn *in, unsigned i)
{
	const char *s = in->desc->operands;

	for (; s && *s && i; s++)
		if (*s == ',')
			i--;
	return s ? *s : 0;
}

static bool rex_bit(const struct insn *in, u8 bit)
{
	const u8 *op = in->bytes + in->modrm_off - 1;	/* the opcode */

	if (in->mode != 8)
		return false;
	if (!in->vex)
		return in->rex & bit;
	/* C5 RvvvvLpp opcode: R alone; C4 RXBmmmmm WvvvvLpp opcode. Inverted. */
	if (in->modrm_off >= 4 && op[-3] == 0xc4)
		return !(op[-2] & (bit == 4 ? 0x80 : bit == 2 ? 0x40 : 0x20));
	return bit == 4 && !(op[-1] & 0x80);
}

static bool encode(struct stub_plan *p, const struct insn *in, bool reg_is_gpr, bool rm_is_gpr,
		   bool rm_is_int, bool has_is4)
{
	static const u8 legacy_prefix[4] = { 0, 0x66, 0xf3, 0xf2 };
	u8 modrm = in->modrm, *o = p->insn;
	bool r = rex_bit(in, 4), b = rex_bit(in, 1);
	bool w = in->vex ? in->vex_w : in->mode == 8 && (in->rex & 8);

	if (!in->modrm_off)
		return false;
	if (reg_is_gpr) {
		modrm &= 0xc7;
		r = false;
	}
	if (rm_is_gpr) {
		modrm &= 0xf8;
		b = false;
	}
	if (in->has_mem) {
		modrm = (modrm & 0x38) | 6;	/* [rsi] */
		b = false;
	}
	if (in->mode != 8 && (reg_is_gpr || rm_is_gpr || rm_is_int || p->estr))
		w = false;		/* no 64-bit integers there, in registers or in memory */
	if (in->vex) {
		if (in->map < 1 || in->map > 3)
			return false;
		*o++ = 0xc4;
		*o++ = (u8)((r ? 0 : 0x80) | 0x40 | (b ? 0 : 0x20) | in->map);
		*o++ = (u8)((w ? 0x80 : 0) | (~in->vvvv & (in->mode == 8 ? 15 : 7)) << 3 |
			    (in->mode == 8 ? 0 : 0x40) | (in->vex_l ? 4 : 0) | in->pp);
	} else {
		if (in->pp)
			*o++ = legacy_prefix[in->pp & 3];
		if (w || r || b)
			*o++ = (u8)(0x40 | (w ? 8 : 0) | (r ? 4 : 0) | (b ? 1 : 0));
		if (in->map > 3)
			return false;
		if (in->map)
			*o++ = 0x0f;
		if (in->map >= 2)
			*o++ = in->map == 2 ? 0x38 : 0x3a;
	}
	*o++ = in->opcode;
	*o++ = modrm;
	if (in->imm_len > 2 || in->imm_len > in->len)
		return false;
	memcpy(o, in->bytes + in->len - in->imm_len, in->imm_len);
	if (has_is4 && in->mode != 8 && in->imm_len)
		o[0] &= 0x7f;
	o += in->imm_len;
	p->insn_len = (u8)(o - p->insn);
	return true;
}

bool stub_plan_insn(struct stub_plan *p, const struct insn *in)
{
	bool reg_is_gpr = false, rm_is_gpr = false, rm_is_int = false, has_is4 = false;

	p->vex = in->vex;
	for (unsigned i = 0; i < in->nopd; i++) {
		const struct operand *o = &in->opd[i];
		char l = opd_letter(in, i);

		/* A destination is loaded also when it is said to be only written: a legacy
		 * instruction may keep a part of it. A VEX one never does. */
		bool load = o->read || !in->vex;

		switch (o->kind) {
		case OPD_XMM: case OPD_YMM:
			if (o->reg > 15)
				return false;
			if (load)
				p->xmm_in |= (u16)BIT(o->reg);
			if (load && o->kind == OPD_YMM)
				p->ymm_in |= (u16)BIT(o->reg);
			if (o->write)
				p->xmm_out |= (u16)BIT(o->reg);
			has_is4 |= l == 'L';
			break;
		case OPD_MM:
			if (load)
				p->mm_in |= (u8)BIT(o->reg & 7);
			if (o->write)
				p->mm_out |= (u8)BIT(o->reg & 7);
			break;
		case OPD_GPR:
			if (o->reg > 15 || o->high8 || reg_is_gpr || rm_is_gpr)
				return false;
			if (l == 'G')
				reg_is_gpr = true;
			else if (l == 'B')
				return false;
			else
				rm_is_gpr = true;
			if (o->write)
				p->gpr_out = o->reg + 1;
			if (o->read || !o->write)
				p->gpr_in = o->reg + 1;
			break;
		case OPD_MEM:
			rm_is_int |= l == 'E';
			break;
		case OPD_IMM: case OPD_NONE:
			break;
		default:
			return false;
		}
	}
	p->mxcsr = in->desc->attr & A_MXCSR;
	p->cc_out = in->desc->fl_write & FL_OSZAPC;
	p->cc_in = in->desc->fl_read & FL_OSZAPC;

	/* What is not among the operands. */
	if (in->map == 3 && in->opcode >= 0x60 && in->opcode <= 0x63) {		/* PCMPxSTRx */
		p->estr = in->opcode < 0x62;
		if (in->opcode & 1)
			p->istr = true;
		else
			p->xmm_out |= 1;
	}
	if (!in->vex && in->map == 2 &&
	    (in->opcode == 0x10 || in->opcode == 0x14 || in->opcode == 0x15 || in->opcode == 0xcb))
		p->xmm_in |= 1;			/* PBLENDVB BLENDVPS BLENDVPD SHA256RNDS2 */
	return encode(p, in, reg_is_gpr, rm_is_gpr, rm_is_int, has_is4);
}

/* --- emission --- */

#define XS(off) ((u32)(offsetof(struct cpu, xsave) + (off)))

struct out { u8 *p; };

static void put(struct out *o, const void *bytes, unsigned n)
{
	memcpy(o->p, bytes, n);
	o->p += n;
}
#define PUT(o, ...) do { static const u8 b_[] = { __VA_ARGS__ }; put(o, b_, sizeof(b_)); } while (0)

static void put8(struct out *o, u8 v) { *o->p++ = v; }
static void put32(struct out *o, u32 v) { put(o, &v, 4); }

/* [rdi + disp32] with @reg in the ModRM byte's middle. */
static void rdi_disp(struct out *o, unsigned reg, u32 disp)
{
	put8(o, (u8)(0x80 | (reg & 7) << 3 | 7));
	put32(o, disp);
}

/* mov rax, [rdi + disp] and the other way. */
static void gpr_load(struct out *o, unsigned host, unsigned guest)
{
	PUT(o, 0x48, 0x8b);
	rdi_disp(o, host, (u32)(offsetof(struct cpu, r) + 8 * guest));
}
static void gpr_store(struct out *o, unsigned host, unsigned guest)
{
	PUT(o, 0x48, 0x89);
	rdi_disp(o, host, (u32)(offsetof(struct cpu, r) + 8 * guest));
}

/* MOVUPS/VMOVUPS between xmm @n and its place; then the upper half. */
static void xmm_move(struct out *o, unsigned n, bool vex, bool store)
{
	if (vex) {
		put8(o, 0xc5);
		put8(o, n & 8 ? 0x78 : 0xf8);
	} else {
		if (n & 8)
			put8(o, 0x44);
		put8(o, 0x0f);
	}
	put8(o, store ? 0x11 : 0x10);
	rdi_disp(o, n, XS(XSAVE_XMM + 16 * n));
}
static void ymm_upper_load(struct out *o, unsigned n)	/* vinsertf128 yn, yn, [rdi], 1 */
{
	put8(o, 0xc4);
	put8(o, n & 8 ? 0x63 : 0xe3);
	put8(o, (u8)(0x05 | (~n & 15) << 3));
	put8(o, 0x18);
	rdi_disp(o, n, XS(XSAVE_YMMH + 16 * n));
	put8(o, 1);
}
static void ymm_upper_store(struct out *o, unsigned n)	/* vextractf128 [rdi], yn, 1 */
{
	put8(o, 0xc4);
	put8(o, n & 8 ? 0x63 : 0xe3);
	PUT(o, 0x7d, 0x19);
	rdi_disp(o, n, XS(XSAVE_YMMH + 16 * n));
	put8(o, 1);
}

static void cc_load(struct out *o)	/* mov eax, [cc]; add al, 0x7f (OF = al); sahf */
{
	put8(o, 0x8b);
	rdi_disp(o, 0, offsetof(struct cpu, cc));
	PUT(o, 0x04, 0x7f, 0x9e);
}
static void cc_store(struct out *o)	/* mov eax, 0; lahf; seto al; mov [cc], eax */
{
	PUT(o, 0xb8, 0, 0, 0, 0, 0x9f, 0x0f, 0x90, 0xc0, 0x89);
	rdi_disp(o, 0, offsetof(struct cpu, cc));
}

/* fld and fstp tbyte [slot] */
static void st_move(struct out *o, unsigned slot, bool store)
{
	put8(o, 0xdb);
	rdi_disp(o, store ? 7 : 5, XS(XSAVE_ST + 16 * slot));
}

static void emit_st(struct out *o, const struct stub_plan *p)
{
	for (unsigned i = 0; i < 2; i++)
		if (p->st_load[i])
			st_move(o, p->st_load[i] - 1u, false);
	if (p->cc_in)
		cc_load(o);
	put(o, p->insn, p->insn_len);
	if (p->cc_out)
		cc_store(o);
	PUT(o, 0x0f, 0xb7, 0xc0, 0xdf, 0xe0);		/* movzx eax, ax; fnstsw ax */
	for (unsigned i = 0; i < 2; i++)
		if (p->st_store[i])
			st_move(o, p->st_store[i] - 1u, true);
	if (p->st_drop)
		PUT(o, 0xdd, 0xd8);			/* fstp st(0) */
	put8(o, 0xc3);
}

static void emit_loads(struct out *o, const struct stub_plan *p)
{
	for (unsigned i = 0; i < 16; i++) {
		if (p->xmm_in & BIT(i))
			xmm_move(o, i, p->vex, false);
		if (p->ymm_in & BIT(i))
			ymm_upper_load(o, i);
	}
	for (unsigned i = 0; i < 8; i++)
		if (p->mm_in & BIT(i)) {			/* movq mm, [rdi] */
			PUT(o, 0x0f, 0x6f);
			rdi_disp(o, i, XS(XSAVE_ST + 16 * i));
		}
	if (p->mxcsr) {						/* ldmxcsr */
		PUT(o, 0x0f, 0xae);
		rdi_disp(o, 2, XS(XSAVE_MXCSR));
	}
	if (p->cc_in)
		cc_load(o);
	if (p->gpr_in)
		gpr_load(o, RAX, p->gpr_in - 1);
	if (p->estr) {
		gpr_load(o, RAX, RAX);
		gpr_load(o, RDX, RDX);
	}
}

static void emit_stores(struct out *o, const struct stub_plan *p)
{
	if (p->gpr_out)
		gpr_store(o, RAX, p->gpr_out - 1);
	if (p->istr)
		gpr_store(o, RCX, RCX);
	if (p->cc_out)
		cc_store(o);
	if (p->mxcsr) {						/* stmxcsr */
		PUT(o, 0x0f, 0xae);
		rdi_disp(o, 3, XS(XSAVE_MXCSR));
	}
	for (unsigned i = 0; i < 16; i++)
		if (p->xmm_out & BIT(i)) {
			xmm_move(o, i, p->vex, true);
			if (p->vex)
				ymm_upper_store(o, i);
		}
	for (unsigned i = 0; i < 8; i++)
		if (p->mm_out & BIT(i)) {	/* movq [rdi], mm; mov word [rdi + 8], 0xffff */
			PUT(o, 0x0f, 0x7f);
			rdi_disp(o, i, XS(XSAVE_ST + 16 * i));
			PUT(o, 0x66, 0xc7);
			rdi_disp(o, 0, XS(XSAVE_ST + 16 * i + 8));
			PUT(o, 0xff, 0xff);
		}
}

stub_fn *stub_emit(struct codebuf *b, const struct stub_plan *p)
{
	struct out o = { b->rw + b->used };
	const u8 *entry = b->rx + b->used;
	stub_fn *fn;

	if (b->size - b->used < STUB_CODE_MAX)
		return NULL;
	if (p->st) {
		emit_st(&o, p);
	} else if (p->x87) {		/* fxrstor64; the instruction; fxsave64; fninit */
		PUT(&o, 0x48, 0x0f, 0xae);
		rdi_disp(&o, 1, XS(0));
		if (p->cc_in)
			cc_load(&o);
		put(&o, p->insn, p->insn_len);
		if (p->cc_out)
			cc_store(&o);
		PUT(&o, 0x48, 0x0f, 0xae);
		rdi_disp(&o, 0, XS(0));
		PUT(&o, 0xdb, 0xe3);
	} else {
		emit_loads(&o, p);
		put(&o, p->insn, p->insn_len);
		emit_stores(&o, p);
	}
	if (p->vex)
		PUT(&o, 0xc5, 0xf8, 0x77);			/* vzeroupper */
	if (p->mm_in | p->mm_out)
		PUT(&o, 0x0f, 0x77);				/* emms */
	if (!p->st)
		PUT(&o, 0x31, 0xc0, 0xc3);			/* xor eax, eax; ret */
	b->used = ((size_t)(o.p - b->rw) + 15) & ~15ull;
	BUG_ON((size_t)(o.p - b->rw) > b->size);
	memcpy(&fn, &entry, sizeof(fn));
	return fn;
}

/* --- SIMD floating-point exceptions --- */

static _Thread_local struct stub_trap *trap_armed;
static pthread_once_t trap_once = PTHREAD_ONCE_INIT;
static struct sigaction trap_chained;	/* who handled SIGFPE before; written once */

static void on_sigfpe(int sig, siginfo_t *si, void *ctx)
{
	struct stub_trap *t = trap_armed;
	ucontext_t *uc = ctx;
	const u8 *rip = (const u8 *)(uintptr_t)uc->uc_mcontext.gregs[REG_RIP];

	if (t && rip >= t->lo && rip < t->hi) {
		t->mxcsr = uc->uc_mcontext.fpregs->mxcsr;
		uc->uc_mcontext.fpregs->mxcsr = MXCSR_RESET;
		uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)t->landing;
		return;
	}
	if (trap_chained.sa_flags & SA_SIGINFO) {
		trap_chained.sa_sigaction(sig, si, ctx);
		return;
	}
	if (trap_chained.sa_handler != SIG_DFL && trap_chained.sa_handler != SIG_IGN) {
		trap_chained.sa_handler(sig);
		return;
	}
	/* Not a guest's: a bug in penta. The instruction runs again and kills the process. */
	signal(SIGFPE, SIG_DFL);
}

static void trap_init(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigfpe, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigemptyset(&sa.sa_mask);
	if (sigaction(SIGFPE, &sa, &trap_chained) < 0)
		BUG("sigaction(SIGFPE)");
}

void stub_trap_install(void)
{
	pthread_once(&trap_once, trap_init);
}

const u8 *stub_emit_landing(struct codebuf *b)
{
	struct out o = { b->rw + b->used };
	const u8 *entry = b->rx + b->used;

	PUT(&o, 0x0f, 0x77, 0xb8, 1, 0, 0, 0, 0xc3);	/* emms; mov eax, 1; ret */
	b->used = ((size_t)(o.p - b->rw) + 15) & ~15ull;
	return entry;
}

u32 stub_run_trapping(struct stub_trap *t, stub_fn *fn, struct cpu *c, void *mem)
{
	u32 rc;

	trap_armed = t;
	atomic_signal_fence(memory_order_seq_cst);
	rc = fn(c, mem);
	atomic_signal_fence(memory_order_seq_cst);
	trap_armed = NULL;
	return rc;
}
