/* SPDX-License-Identifier: GPL-2.0-or-later */
/* state.h - the declaration of state: each device lists, once, the fields that outlive a
 * pause. Save, restore, migration, `penta inspect` and the fuzzers read that list.
 *
 *	static const struct state_field pit_state[] = {
 *		STATE_U16_ARRAY(struct pit, reload, 0, 0xffff),
 *		STATE_U8(struct pit, mode, 0, 5),
 *		STATE_END
 *	};
 *
 * Fields describe the chip, not our caches; pointers are never in a stream. Loading is
 * parsing hostile input: each field has a range, then the class's post_load checks the whole. */
#ifndef PENTA_VM_STATE_H
#define PENTA_VM_STATE_H

#include "base/err.h"
#include "base/types.h"

enum state_type {
	ST_END, ST_BOOL, ST_U8, ST_U16, ST_U32, ST_U64, ST_S64,
	ST_BYTES,	/* @count raw bytes */
	ST_STRUCT,	/* @count structs of @stride bytes, described by @sub */
	ST_TIMER,	/* struct vm_timer: its deadline in machine ns, or "not armed" */
	ST_STRUCTS,	/* a pointer to structs, as many as an `unsigned` at offset @count says: a constant
			 * of the instance, which a stream must match */
	ST_BLOB,	/* struct state_blob: bytes whose meaning post_load checks, at most @max of them */
};

/* Made by pre_save (malloc), freed after the save by who walks the table; on load the other way round:
 * allocated by the walker, used and freed by post_load (state_blob_free()). */
struct state_blob { u8 *p; u32 len; };

struct state_field {
	const char *name;
	enum state_type type;
	u16 since;			/* first version of the table that has the field */
	u32 offset, count, stride;	/* count >= 1; stride between elements, bytes */
	u64 min, max;			/* inclusive range on load (integers) */
	const struct state_field *sub;
};

#define STATE_F_(S, f, t, n, str, lo, hi, subt) \
	{ .name = #f, .type = t, .offset = offsetof(S, f), .count = n, .stride = str, \
	  .min = lo, .max = hi, .sub = subt }
#define STATE_ELEMS_(S, f) (sizeof(((S *)0)->f) / sizeof(((S *)0)->f[0]))
#define STATE_BOOL(S, f)		STATE_F_(S, f, ST_BOOL, 1, 1, 0, 1, NULL)
#define STATE_U8(S, f, lo, hi)		STATE_F_(S, f, ST_U8, 1, 1, lo, hi, NULL)
#define STATE_U16(S, f, lo, hi)		STATE_F_(S, f, ST_U16, 1, 2, lo, hi, NULL)
#define STATE_U32(S, f, lo, hi)		STATE_F_(S, f, ST_U32, 1, 4, lo, hi, NULL)
#define STATE_U64(S, f)			STATE_F_(S, f, ST_U64, 1, 8, 0, UINT64_MAX, NULL)
#define STATE_S64(S, f)			STATE_F_(S, f, ST_S64, 1, 8, 0, UINT64_MAX, NULL)
#define STATE_BOOL_ARRAY(S, f)		STATE_F_(S, f, ST_BOOL, STATE_ELEMS_(S, f), 1, 0, 1, NULL)
#define STATE_U8_ARRAY(S, f, lo, hi)	STATE_F_(S, f, ST_U8, STATE_ELEMS_(S, f), 1, lo, hi, NULL)
#define STATE_U16_ARRAY(S, f, lo, hi)	STATE_F_(S, f, ST_U16, STATE_ELEMS_(S, f), 2, lo, hi, NULL)
#define STATE_U32_ARRAY(S, f, lo, hi)	STATE_F_(S, f, ST_U32, STATE_ELEMS_(S, f), 4, lo, hi, NULL)
#define STATE_U64_ARRAY(S, f)		STATE_F_(S, f, ST_U64, STATE_ELEMS_(S, f), 8, 0, UINT64_MAX, NULL)
#define STATE_BYTES(S, f)		STATE_F_(S, f, ST_BYTES, sizeof(((S *)0)->f), 1, 0, 255, NULL)
#define STATE_TIMER(S, f)		STATE_F_(S, f, ST_TIMER, 1, sizeof(struct vm_timer), 0, 0, NULL)
#define STATE_STRUCT(S, f, subt)	STATE_F_(S, f, ST_STRUCT, 1, sizeof(((S *)0)->f), 0, 0, subt)
#define STATE_STRUCT_ARRAY(S, f, subt)	STATE_F_(S, f, ST_STRUCT, STATE_ELEMS_(S, f), \
						sizeof(((S *)0)->f[0]), 0, 0, subt)
#define STATE_STRUCTS(S, f, nf, subt)	{ .name = #f, .type = ST_STRUCTS, .offset = offsetof(S, f), \
	  .count = offsetof(S, nf), .stride = sizeof(*((S *)0)->f), .sub = subt }
#define STATE_BLOB(S, f, most)		STATE_F_(S, f, ST_BLOB, 1, 1, 0, most, NULL)
#define STATE_END { .type = ST_END }

/* Is every field of @obj inside its declared range? Names the first that is not. */
int state_check(const struct state_field *table, const void *obj, const char *path, struct err *e);
/* Is @v, for element @i of field @f (an integer or bool), inside the declared range? */
int state_check_value(const struct state_field *f, const char *path, u32 i, u64 v, struct err *e);
void state_blob_free(struct state_blob *b);

#endif
