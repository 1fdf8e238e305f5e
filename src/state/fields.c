/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fields.c - a table of fields to bytes and back. See fields.h; the form is in docs/state.md:
 *
 *	field:	name length (u8), name, type (u8), count (u32), elements
 *	struct:	each element is a length (u32) and a list of fields
 *
 * Names make streams outlive the order of a table, and tell what is wrong when something is. */
#include "state/fields.h"
#include "base/bytes.h"
#include "vm/clock.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELDS_MAX 256		/* of one table */

/* Types as they stand in a stream: never to be renumbered. */
enum wire {
	WIRE_BOOL = 1, WIRE_U8 = 2, WIRE_U16 = 3, WIRE_U32 = 4, WIRE_U64 = 5, WIRE_S64 = 6,
	WIRE_BYTES = 7, WIRE_STRUCT = 8, WIRE_TIMER = 9, WIRE_BLOB = 10,
};

static u8 wire_of(enum state_type t)
{
	switch (t) {
	case ST_BOOL: return WIRE_BOOL;
	case ST_U8: return WIRE_U8;
	case ST_U16: return WIRE_U16;
	case ST_U32: return WIRE_U32;
	case ST_U64: return WIRE_U64;
	case ST_S64: return WIRE_S64;
	case ST_BYTES: return WIRE_BYTES;
	case ST_STRUCT: case ST_STRUCTS: return WIRE_STRUCT;
	case ST_TIMER: return WIRE_TIMER;
	case ST_BLOB: return WIRE_BLOB;
	case ST_END: break;
	}
	BUG("a table's end has no form");
}

/* Bytes of one element; 0: it has a length of its own. */
static unsigned width(enum state_type t)
{
	switch (t) {
	case ST_BOOL: case ST_U8: case ST_BYTES: case ST_BLOB: return 1;
	case ST_U16: return 2;
	case ST_U32: return 4;
	case ST_U64: case ST_S64: case ST_TIMER: return 8;
	case ST_STRUCT: case ST_STRUCTS: case ST_END: break;
	}
	return 0;
}

/* --- bytes --- */

static bool buf_room(struct buf *b, size_t more)
{
	size_t room = b->room ? b->room : 256;
	u8 *p;

	if (b->failed)
		return false;
	while (room - b->len < more)
		room *= 2;
	if (room == b->room)
		return true;
	p = realloc(b->p, room);
	if (!p) {
		b->failed = true;
		return false;
	}
	b->p = p;
	b->room = room;
	return true;
}

void buf_put(struct buf *b, const void *p, size_t len)
{
	if (!len || !buf_room(b, len))
		return;
	memcpy(b->p + b->len, p, len);
	b->len += len;
}

void buf_free(struct buf *b)
{
	free(b->p);
	*b = (struct buf){ 0 };
}

static void put_u32(struct buf *b, u32 v)
{
	u8 raw[4];

	put_le32(raw, v);
	buf_put(b, raw, 4);
}

static void patch_u32(struct buf *b, size_t at, u32 v)
{
	if (!b->failed)
		put_le32(b->p + at, v);
}

/* Where the elements are, and how many. */
static u8 *elements(const struct state_field *f, const void *obj, u32 *n)
{
	u8 *p = (u8 *)(uintptr_t)obj + f->offset;
	unsigned len;

	*n = f->count;
	if (f->type != ST_STRUCTS)
		return p;
	memcpy(&len, (const u8 *)obj + f->count, sizeof(len));
	memcpy(&p, (const u8 *)obj + f->offset, sizeof(p));
	*n = len;
	return p;
}

/* --- save --- */

static void save_element(const struct state_field *f, u8 *p, struct buf *out)
{
	size_t at = out->len;

	switch (f->type) {
	case ST_STRUCT: case ST_STRUCTS:
		put_u32(out, 0);
		fields_save(f->sub, p, out);
		patch_u32(out, at, (u32)(out->len - at - 4));
		break;
	case ST_TIMER:
		buf_put(out, &((const struct vm_timer *)(const void *)p)->deadline_ns, 8);
		break;
	default:			/* x86-64 hosts: little-endian as the stream */
		buf_put(out, p, width(f->type));
	}
}

void fields_save(const struct state_field *table, void *obj, struct buf *out)
{
	for (const struct state_field *f = table; f->type != ST_END; f++) {
		u8 namelen = (u8)strlen(f->name), type = wire_of(f->type), *p;
		u32 n;

		buf_put(out, &namelen, 1);
		buf_put(out, f->name, namelen);
		buf_put(out, &type, 1);
		p = elements(f, obj, &n);
		if (f->type == ST_BLOB) {
			struct state_blob *b = (struct state_blob *)(void *)p;

			put_u32(out, b->len);
			buf_put(out, b->p, b->len);
			state_blob_free(b);
			continue;
		}
		put_u32(out, n);
		if (f->type == ST_BYTES) {
			buf_put(out, p, n);
			continue;
		}
		for (u32 i = 0; i < n; i++, p += f->stride)
			save_element(f, p, out);
	}
}

/* --- the list as it is read --- */

struct item {
	char name[256];
	u8 type;
	u32 count;
	const u8 *data;
};

static bool take(const u8 **p, size_t *len, void *out, size_t n)
{
	if (*len < n)
		return false;
	if (out)
		memcpy(out, *p, n);
	*p += n;
	*len -= n;
	return true;
}

/* The next field of a list. False: it does not fit. */
static bool next_item(const u8 **p, size_t *len, struct item *it)
{
	u8 namelen, raw[4];
	unsigned w = 0;

	if (!take(p, len, &namelen, 1) || !take(p, len, it->name, namelen) ||
	    !take(p, len, &it->type, 1) || !take(p, len, raw, 4))
		return false;
	it->name[namelen] = 0;
	if (strlen(it->name) != namelen)
		return false;
	it->count = get_le32(raw);
	it->data = *p;
	switch (it->type) {
	case WIRE_BOOL: case WIRE_U8: case WIRE_BYTES: case WIRE_BLOB: w = 1; break;
	case WIRE_U16: w = 2; break;
	case WIRE_U32: w = 4; break;
	case WIRE_U64: case WIRE_S64: case WIRE_TIMER: w = 8; break;
	case WIRE_STRUCT: break;
	default: return false;
	}
	if (w)
		return take(p, len, NULL, (size_t)it->count * w);
	for (u32 i = 0; i < it->count; i++) {
		if (!take(p, len, raw, 4) || !take(p, len, NULL, get_le32(raw)))
			return false;
	}
	return true;
}

static const struct state_field *find(const struct state_field *table, const char *name)
{
	for (const struct state_field *f = table; f->type != ST_END; f++)
		if (!strcmp(f->name, name))
			return f;
	return NULL;
}

static u64 number(const u8 *p, unsigned w)
{
	u64 v = 0;

	memcpy(&v, p, w);
	return v;
}

/* --- check --- */

static int check_item(const struct state_field *f, const struct item *it, unsigned version,
		      const void *obj, const char *path, struct err *e)
{
	const u8 *p = it->data, *sub;
	unsigned w = width(f->type);
	u32 n;
	int r = 0;

	if (it->type != wire_of(f->type))
		return err_set(e, EINVAL, "%s.%s is of type %u; this penta has %u there", path,
			       f->name, it->type, wire_of(f->type));
	if (f->type == ST_BLOB)
		return it->count <= f->max ? 0 :
		       err_set(e, EINVAL, "%s.%s has %u bytes; %llu are the most", path, f->name,
			       it->count, (unsigned long long)f->max);
	sub = elements(f, obj, &n);
	if (it->count != n)
		return err_set(e, EINVAL, "%s.%s has %u elements; this machine has %u there", path,
			       f->name, it->count, n);
	if (f->type == ST_BYTES || f->type == ST_TIMER)
		return 0;
	for (u32 i = 0; i < n && !r; i++) {
		char name[256];

		if (w) {
			r = state_check_value(f, path, i, number(p, w), e);
			p += w;
			continue;
		}
		snprintf(name, sizeof(name), n > 1 ? "%s.%s[%u]" : "%s.%s", path, f->name, i);
		r = fields_check(f->sub, version, sub, p + 4, get_le32(p), name, e);
		p += 4 + get_le32(p);
		sub += f->stride;
	}
	return r;
}

int fields_check(const struct state_field *table, unsigned version, const void *obj, const u8 *p,
		 size_t len, const char *path, struct err *e)
{
	bool seen[FIELDS_MAX] = { false };
	struct item it;

	while (len) {
		const struct state_field *f;
		int r;

		if (!next_item(&p, &len, &it))
			return err_set(e, EINVAL, "%s: a field does not fit into its section", path);
		f = find(table, it.name);
		if (!f)
			return err_set(e, EINVAL, "%s.%s: this penta knows no such field", path,
				       it.name);
		BUG_ON(f - table >= FIELDS_MAX);
		if (seen[f - table])
			return err_set(e, EINVAL, "%s.%s is there twice", path, it.name);
		seen[f - table] = true;
		r = check_item(f, &it, version, obj, path, e);
		if (r)
			return r;
	}
	for (const struct state_field *f = table; f->type != ST_END; f++)
		if (!seen[f - table] && f->since <= version)
			return err_set(e, EINVAL, "%s.%s is missing", path, f->name);
	return 0;
}

/* --- load --- */

static int load_blob(struct state_blob *b, const struct item *it, struct err *e)
{
	state_blob_free(b);
	b->p = malloc(it->count + 1);	/* never NULL, also for none */
	if (!b->p)
		return err_set(e, ENOMEM, "%s: out of memory", it->name);
	memcpy(b->p, it->data, it->count);
	b->len = it->count;
	return 0;
}

int fields_load(const struct state_field *table, void *obj, const u8 *p, size_t len, struct err *e)
{
	struct item it;

	while (len) {
		const struct state_field *f;
		const u8 *d;
		u8 *to;
		u32 n;
		int r = 0;

		if (!next_item(&p, &len, &it) || !(f = find(table, it.name)))
			BUG("a list of fields that was not checked");
		to = elements(f, obj, &n);
		d = it.data;
		if (f->type == ST_BLOB) {
			r = load_blob((struct state_blob *)(void *)to, &it, e);
		} else if (f->type == ST_BYTES) {
			memcpy(to, d, n);
		} else {
			for (u32 i = 0; i < n && !r; i++, to += f->stride) {
				if (!width(f->type)) {
					r = fields_load(f->sub, to, d + 4, get_le32(d), e);
					d += 4 + get_le32(d);
				} else if (f->type == ST_TIMER) {
					vm_timer_set((struct vm_timer *)(void *)to, get_le64(d));
					d += 8;
				} else {
					memcpy(to, d, width(f->type));
					d += width(f->type);
				}
			}
		}
		if (r)
			return r;
	}
	return 0;
}
