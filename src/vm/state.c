/* SPDX-License-Identifier: GPL-2.0-or-later */
/* state.c - checks a device's fields against its declaration. See state.h. */
#include "vm/state.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static u64 element(const struct state_field *f, const u8 *p)
{
	u64 v = 0;

	switch (f->type) {
	case ST_BOOL: case ST_U8: case ST_BYTES: return *p;
	case ST_U16: memcpy(&v, p, 2); return v;
	case ST_U32: memcpy(&v, p, 4); return v;
	case ST_U64: case ST_S64: memcpy(&v, p, 8); return v;
	case ST_END: case ST_STRUCT: case ST_STRUCTS: case ST_TIMER: case ST_BLOB: break;
	}
	BUG("state field type without a value");
}

static bool in_range(const struct state_field *f, u64 v)
{
	if (f->min == 0 && f->max == UINT64_MAX)
		return true;
	if (f->type == ST_S64)
		return (s64)v >= (s64)f->min && (s64)v <= (s64)f->max;
	return v >= f->min && v <= f->max;
}

static int out_of_range(const struct state_field *f, const char *path, u32 i, u64 v, struct err *e)
{
	char at[16] = "";

	if (f->count > 1)
		snprintf(at, sizeof(at), "[%u]", i);
	if (f->type == ST_S64)
		return err_set(e, EINVAL, "%s.%s%s is %" PRId64 "; allowed is %" PRId64 " to %" PRId64,
			       path, f->name, at, (s64)v, (s64)f->min, (s64)f->max);
	return err_set(e, EINVAL, "%s.%s%s is %#" PRIx64 "; allowed is %#" PRIx64 " to %#" PRIx64,
		       path, f->name, at, v, f->min, f->max);
}

int state_check_value(const struct state_field *f, const char *path, u32 i, u64 v, struct err *e)
{
	return in_range(f, v) ? 0 : out_of_range(f, path, i, v, e);
}

int state_check(const struct state_field *table, const void *obj, const char *path, struct err *e)
{
	for (const struct state_field *f = table; f->type != ST_END; f++) {
		const u8 *p = (const u8 *)obj + f->offset;

		u32 n = f->count;

		if (f->type == ST_TIMER || f->type == ST_BYTES || f->type == ST_BLOB)
			continue;	/* any deadline, any byte */
		if (f->type == ST_STRUCTS) {
			unsigned len;

			memcpy(&len, (const u8 *)obj + f->count, sizeof(len));
			memcpy(&p, (const u8 *)obj + f->offset, sizeof(p));
			n = len;
		}
		for (u32 i = 0; i < n; i++, p += f->stride) {
			if (f->type == ST_STRUCT || f->type == ST_STRUCTS) {
				char sub[256];
				int r;

				snprintf(sub, sizeof(sub), n > 1 ? "%s.%s[%u]" : "%s.%s",
					 path, f->name, i);
				r = state_check(f->sub, p, sub, e);
				if (r < 0)
					return r;
				continue;
			}
			u64 v = element(f, p);

			if (!in_range(f, v))
				return out_of_range(f, path, i, v, e);
		}
	}
	return 0;
}

void state_blob_free(struct state_blob *b)
{
	free(b->p);
	*b = (struct state_blob){ 0 };
}
