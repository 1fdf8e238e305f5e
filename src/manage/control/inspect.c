// SPDX-License-Identifier: GPL-2.0-or-later
/* inspect.c - see inspect.h. Numbers of 64 bits are written as "0x..." texts, since many readers of
 * JSON keep 53 bits only; bytes as hexadecimal text. */
#include "manage/control/inspect.h"
#include "vm/machine.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *walk(const struct state_field *table, const void *obj);

static json_t *hex(const u8 *p, size_t len)
{
	char *text = malloc(2 * len + 1);
	json_t *j;

	if (!text)
		return json_null();
	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", p[i]);
	text[2 * len] = '\0';
	j = json_string(text);
	free(text);
	return j;
}

static json_t *wide(u64 v)
{
	char buf[24];

	snprintf(buf, sizeof(buf), "%#llx", (unsigned long long)v);
	return json_string(buf);
}

static json_t *timer(const struct vm_timer *t)
{
	return vm_timer_armed(t) ? wide(t->deadline_ns) : json_null();
}

static json_t *element(const struct state_field *f, const u8 *p)
{
	u64 v = 0;

	switch (f->type) {
	case ST_BOOL:
		return json_boolean(*p);
	case ST_U8:
		return json_integer(*p);
	case ST_U16:
		memcpy(&v, p, 2);
		return json_integer((json_int_t)v);
	case ST_U32:
		memcpy(&v, p, 4);
		return json_integer((json_int_t)v);
	case ST_S64:
		memcpy(&v, p, 8);
		return json_integer((json_int_t)v);
	case ST_U64:
		memcpy(&v, p, 8);
		return wide(v);
	case ST_TIMER:
		return timer((const struct vm_timer *)(const void *)p);
	default:
		return walk(f->sub, p);
	}
}

static json_t *field(const struct state_field *f, const u8 *obj)
{
	const u8 *p = obj + f->offset;
	u32 n = f->count;
	bool list = n > 1;
	json_t *all;

	if (f->type == ST_BYTES)
		return hex(p, n);
	if (f->type == ST_BLOB) {
		const struct state_blob *b = (const void *)p;

		return b->p ? hex(b->p, b->len) : json_null();
	}
	if (f->type == ST_STRUCTS) {
		unsigned len;

		memcpy(&len, obj + f->count, sizeof(len));
		memcpy(&p, obj + f->offset, sizeof(p));
		n = p ? len : 0;
		list = true;
	}
	if (!list)
		return element(f, p);
	all = json_array();
	for (u32 i = 0; i < n; i++, p += f->stride)
		json_array_append_new(all, element(f, p));
	return all;
}

static json_t *walk(const struct state_field *table, const void *obj)
{
	json_t *j = json_object();

	for (const struct state_field *f = table; f && f->type != ST_END; f++)
		json_object_set_new(j, f->name, field(f, obj));
	return j;
}

/* pre_save made them for who walks the table. */
static void free_blobs(const struct state_field *table, void *obj)
{
	for (const struct state_field *f = table; f && f->type != ST_END; f++) {
		u8 *p = (u8 *)obj + f->offset;
		u32 n = f->count;

		if (f->type == ST_BLOB)
			state_blob_free((void *)p);
		if (f->type == ST_STRUCTS) {
			unsigned len;

			memcpy(&len, (u8 *)obj + f->count, sizeof(len));
			memcpy(&p, (u8 *)obj + f->offset, sizeof(p));
			n = p ? len : 0;
		}
		if (f->type == ST_STRUCT || f->type == ST_STRUCTS)
			for (u32 i = 0; i < n; i++)
				free_blobs(f->sub, p + (size_t)i * f->stride);
	}
}

struct collect {
	const char *path;
	json_t *devices;
};

static int put_device(void *ctx, const char *path, const struct device_class *cls, void *dev)
{
	struct collect *c = ctx;

	if (c->path && strcmp(c->path, path))
		return 0;
	if (cls->pre_save)
		cls->pre_save(dev);
	json_object_set_new(c->devices, path, json_pack("{s:s, s:i, s:o}", "class", cls->name,
		"version", cls->version, "state", walk(cls->state, dev)));
	free_blobs(cls->state, dev);
	return 0;
}

static int put_cpus(struct machine *m, const char *path, json_t *cpus, struct err *e)
{
	struct cpu_state *s = malloc(sizeof(*s));
	int r = s ? 0 : err_set(e, ENOMEM, "out of memory");

	for (unsigned i = 0; i < m->ncpus && !r; i++) {
		char name[16];

		snprintf(name, sizeof(name), "cpu%u", i);
		if (path && strcmp(path, name))
			continue;
		r = m->cfg.engine->get_state(m->cpu[i], s, e);
		if (!r)
			json_object_set_new(cpus, name, walk(cpu_state_fields, s));
	}
	free(s);
	return r;
}

int inspect(struct machine *m, const char *path, json_t **out, struct err *e)
{
	struct collect c = { .path = path, .devices = json_object() };
	json_t *cpus = json_object();
	int r;

	machine_hold(m);
	machine_each_device(m, put_device, &c);
	r = put_cpus(m, path, cpus, e);
	machine_release(m);
	if (!r && path && !json_object_size(c.devices) && !json_object_size(cpus))
		r = err_set(e, ENOENT, "the machine has no device \"%.80s\"", path);
	if (!r)
		*out = json_pack("{s:O, s:O}", "devices", c.devices, "cpus", cpus);
	json_decref(c.devices);
	json_decref(cpus);
	return r;
}
