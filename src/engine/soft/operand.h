/* SPDX-License-Identifier: GPL-2.0-or-later */
/* operand.h - small helpers on operands and the stack pointer's width. */
#ifndef PENTA_SOFT_OPERAND_H
#define PENTA_SOFT_OPERAND_H

#include "engine/soft/cpu.h"

/* @v cut to @size bytes. */
static inline u64 trunc_to(u64 v, unsigned size)
{
	return size == 8 ? v : size == 4 ? (u32)v : size == 2 ? (u16)v : (u8)v;
}
static inline u64 sext_from(u64 v, unsigned size)
{
	return size == 8 ? v : size == 4 ? (u64)(s32)v : size == 2 ? (u64)(s16)v : (u64)(s8)v;
}

/* An offset in the stack segment, cut to the stack's width (SS.B; 64 bits in 64-bit mode). */
static inline u64 stack_trunc(const struct cpu *c, u64 off)
{
	return trunc_to(off, c->stack_size);
}
/* Write as much of @reg (RSP, RBP) as the stack is wide. */
static inline void stack_set(struct cpu *c, unsigned reg, u64 off)
{
	if (c->stack_size == 2)
		c->r[reg] = (c->r[reg] & ~0xffffull) | (u16)off;
	else
		c->r[reg] = stack_trunc(c, off);
}

#endif
