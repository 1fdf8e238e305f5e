/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fields.h - a table of fields (vm/state.h) to bytes and back. */
#ifndef PENTA_STATE_FIELDS_H
#define PENTA_STATE_FIELDS_H

#include "vm/state.h"

/* Bytes that grow. A failed allocation is remembered: looked at once, at the end. */
struct buf { u8 *p; size_t len, room; bool failed; };
void buf_put(struct buf *b, const void *p, size_t len);
void buf_free(struct buf *b);

/* Append the fields of @obj. Blobs are freed. */
void fields_save(const struct state_field *table, void *obj, struct buf *out);

/* Is [p, p+len) a list of @table's fields, each once, in range, none missing that version @version
 * of the table had? @obj is what they will be loaded into: nothing in it is changed. */
int fields_check(const struct state_field *table, unsigned version, const void *obj, const u8 *p,
		 size_t len, const char *path, struct err *e);
/* Put what fields_check() found good into @obj. Timers are set. */
int fields_load(const struct state_field *table, void *obj, const u8 *p, size_t len, struct err *e);

#endif
