/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exec_table.c - which function executes which instruction: the tables of the exec_*.c files by
 * operation, and the conditions under which an instruction exists at all. */
#include "base/trace.h"
#include "engine/soft/block.h"
#include "engine/soft/native.h"	// exec_sse_table

static const struct exec_entry *const exec_tables[] = {
	exec_int_table, exec_stack_table, exec_branch_table, exec_string_table, exec_bit_table,
	exec_atomic_table,
	exec_seg_table, exec_sys_table, exec_simd_table, exec_sse_table, exec_ctl_table,
};

/* Filled once, before main(), and constant from then on. */
static exec_fn *exec_index[OP_N];

static __attribute__((constructor)) void exec_index_fill(void)
{
	for (size_t t = 0; t < ARRAY_SIZE(exec_tables); t++)
		for (const struct exec_entry *e = exec_tables[t]; e->fn; e++)
			exec_index[e->op] = e->fn;
}

exec_fn *exec_of(unsigned op)
{
	return op < OP_N ? exec_index[op] : NULL;
}

/* An instruction of the table that nobody executes: the guest sees #UD, the log its name. */
static void exec_unknown(struct cpu *c, const struct insn *in)
{
	char text[128];

	insn_format(in, c->rip, text, sizeof(text));
	log_limited(LOG_WARN, "soft: vCPU %u: no such instruction here: %s at %#llx", c->v->index,
		    text, (unsigned long long)c->rip);
	raise_ud(c);
}

exec_fn *exec_find(const struct insn *in)
{
	exec_fn *fn = exec_of(in->op);

	if (fn)
		return fn;
	return in->desc->attr & A_NATIVE ? native_exec : exec_unknown;
}

/* 0, or the exception that @in is in the present mode and on this CPU model whatever its operands.
 * #UD comes before #GP for privilege (SDM vol. 3, table 6-2). */
unsigned exec_gate(const struct cpu *c, const struct insn *in)
{
	const struct insn_desc *d = in->desc;

	/* LOCK MOV CR0 is CR8. */
	if (in->lock && in->op != OP_MOV_CR &&
	    (!(d->attr & A_LOCK) || in->opd[0].kind != OPD_MEM))
		return EXC_UD;
	if ((d->attr & A_NO64) && c->mode == 8)
		return EXC_UD;
	if ((d->attr & A_ONLY64) && c->mode != 8)
		return EXC_UD;
	if ((d->attr & A_PROT) && (!cpu_protected(c) || cpu_v86(c)))
		return EXC_UD;
	if (d->feature != F_ALWAYS && c->m->cpuid && !cpuid_has(c->m->cpuid, d->feature))
		return EXC_UD;
	if ((d->attr & A_CPL0) && c->cpl)
		return EXC_GP;
	return 0;
}

void exec_gate_raise(struct cpu *c, unsigned vector)
{
	if (vector == EXC_GP)
		raise_gp(c, 0);
	cpu_raise(c, vector);
}

void exec_insn(struct cpu *c, const struct insn *in)
{
	unsigned vector = exec_gate(c, in);

	if (unlikely(vector))
		exec_gate_raise(c, vector);
	exec_find(in)(c, in);
}
