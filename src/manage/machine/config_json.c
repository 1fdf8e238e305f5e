// SPDX-License-Identifier: GPL-2.0-or-later
/* config_json.c - config.json: reads and writes a machine's configuration by its table.
 *
 *	{
 *	    "version": 1,
 *	    "memory": "1G",
 *	    "disk": [{"path": "disk.qcow2", "serial": "root"}],
 *	    "serial": ["console"]
 *	}
 *
 * People edit it, so whatever is not understood is an error that names the key, and the known one
 * that is nearest. An element of a list may also be written as its option's text. */
#include "manage/machine/config.h"
#include "base/cleanup.h"
#include "manage/machine/config_impl.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_VERSION 1

/* --- reading --- */

/* Where in the file we are, for messages; what is too long is cut. */
__attribute__((format(printf, 2, 3)))
static void name_place(char buf[512], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, 512, fmt, ap);
	va_end(ap);
}

static const char *kind(const struct config_field *f)
{
	switch (f->type) {
	case FIELD_BOOL:
		return "true or false";
	case FIELD_NUMBER:
		return "a number";
	case FIELD_SIZE:
		return "a size: \"512M\"";
	case FIELD_CID:
		return "a number, \"auto\" or \"off\"";
	case FIELD_LIST:
		return "a list: [...]";
	default:
		return "a text: \"...\"";
	}
}

/* A JSON scalar as the text that the option would have; NULL: of the wrong kind. */
static const char *scalar_text(const json_t *j, const struct config_field *f, char buf[32])
{
	bool number = f->type == FIELD_NUMBER || f->type == FIELD_SIZE || f->type == FIELD_CID;
	bool string = f->type != FIELD_BOOL && f->type != FIELD_NUMBER;

	if (json_is_boolean(j) && f->type == FIELD_BOOL)
		return json_is_true(j) ? "on" : "off";
	if (json_is_integer(j) && number) {
		snprintf(buf, 32, "%lld", (long long)json_integer_value(j));
		return buf;
	}
	return json_is_string(j) && string ? json_string_value(j) : NULL;
}

static int read_scalar(void *base, const struct config_field *f, const json_t *j, const char *what,
		       struct err *e)
{
	char buf[32];
	const char *text = scalar_text(j, f, buf);

	if (!text)
		return err_set(e, EINVAL, "%s: %s is needed", what, kind(f));
	return config_set_text(base, f, text, what, e);
}

static int read_object(void *base, const struct config_field *table, const json_t *obj,
		       const char *what, struct err *e);

static int read_element(void *elem, const struct config_field *sub, const json_t *j,
			const char *what, struct err *e)
{
	int r;

	if (json_is_string(j))
		return config_set_element(elem, sub, json_string_value(j), what, e);
	if (!json_is_object(j))
		return err_set(e, EINVAL, "%s: an object or a text is needed", what);
	r = read_object(elem, sub, j, what, e);
	if (!r && config_is_default(elem, sub))
		r = err_set(e, EINVAL, "%s: \"%s\" is missing", what, sub->name);
	return r;
}

static int read_list(void *base, const struct config_field *f, const json_t *j, const char *what,
		     struct err *e)
{
	const json_t *v;
	size_t i;

	if (!json_is_array(j))
		return err_set(e, EINVAL, "%s: %s is needed", what, kind(f));
	json_array_foreach(j, i, v) {
		char name[512];
		void *elem;
		int r;

		name_place(name, "%s[%zu]", what, i);
		r = config_append(base, f, name, &elem, e);
		if (r)
			return r;
		r = read_element(elem, f->sub, v, name, e);
		if (r) {
			config_drop_last(base, f);
			return r;
		}
	}
	return 0;
}

static int read_object(void *base, const struct config_field *table, const json_t *obj,
		       const char *what, struct err *e)
{
	const char *key;
	json_t *v;

	/* The macro steps a const object, which jansson 2.13 has no iterator for. */
	json_object_foreach((json_t *)(uintptr_t)obj, key, v) {
		const struct config_field *f = config_find(table, key, strlen(key));
		char name[512];
		int r;

		if (!f)
			return config_unknown(table, key, strlen(key), what, e);
		name_place(name, "%s: %s", what, key);
		r = f->type == FIELD_LIST ? read_list(base, f, v, name, e)
					  : read_scalar(base, f, v, name, e);
		if (r)
			return r;
	}
	return 0;
}

static int read_version(json_t *obj, const char *name, struct err *e)
{
	const json_t *v = json_object_get(obj, "version");

	if (!json_is_integer(v) || json_integer_value(v) < 1)
		return err_set(e, EINVAL, "%s: no \"version\": %d; is this a machine's file?", name,
			       CONFIG_VERSION);
	if (json_integer_value(v) > CONFIG_VERSION)
		return err_set(e, EINVAL, "%s: written by a newer penta (version %lld; this one "
			       "reads %d)", name, (long long)json_integer_value(v), CONFIG_VERSION);
	json_object_del(obj, "version");
	return 0;
}

int vm_config_parse(struct vm_config *c, const char *text, size_t len, const char *name,
		    struct err *e)
{
	json_error_t je;
	json_auto_t *obj = NULL;
	int r;

	if (len > VM_CONFIG_MAX)
		return err_set(e, EFBIG, "%s: more than %d bytes", name, VM_CONFIG_MAX);
	obj = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	if (!obj)
		return err_set(e, EINVAL, "%s: line %d: %s", name, je.line, je.text);
	if (!json_is_object(obj))
		return err_set(e, EINVAL, "%s: an object is needed: {...}", name);
	r = read_version(obj, name, e);
	return r ? r : read_object(c, vm_config_fields, obj, name, e);
}

/* --- writing --- */

static json_t *write_scalar(const void *base, const struct config_field *f)
{
	cleanup_free char *text = config_get_text(base, f);

	if (!text)
		return NULL;
	if (f->type == FIELD_BOOL)
		return json_boolean(!strcmp(text, "on"));
	if (f->type == FIELD_NUMBER || (f->type == FIELD_CID && text[0] != 'a' && text[0] != 'o'))
		return json_integer(strtoll(text, NULL, 10));
	return json_string(text);
}

static json_t *write_object(const void *base, const struct config_field *table, bool all);

static json_t *write_list(const void *base, const struct config_field *f)
{
	json_t *list = json_array();

	for (unsigned i = 0; list && i < *config_count(base, f); i++) {
		const void *elem = config_element(base, f, i);
		json_t *v = f->sub[1].name ? write_object(elem, f->sub, false)
					   : write_scalar(elem, f->sub);

		if (!v || json_array_append_new(list, v)) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* @all: defaults, too, so that a machine does not change when a later version's do. */
static json_t *write_object(const void *base, const struct config_field *table, bool all)
{
	json_t *obj = json_object();

	for (const struct config_field *f = table; obj && f->name; f++) {
		bool none = config_is_default(base, f);
		json_t *v;

		if (none && (!all || f->type == FIELD_LIST || f->type == FIELD_STRING ||
			     f->type == FIELD_PATH))
			continue;
		v = f->type == FIELD_LIST ? write_list(base, f) : write_scalar(base, f);
		if (!v || json_object_set_new(obj, f->name, v)) {
			json_decref(obj);
			return NULL;
		}
	}
	return obj;
}

json_t *vm_config_json(const struct vm_config *c)
{
	json_t *all = json_object(), *obj = write_object(c, vm_config_fields, true);

	if (!all || !obj || json_object_set_new(all, "version", json_integer(CONFIG_VERSION)) ||
	    json_object_update(all, obj)) {
		json_decref(all);
		all = NULL;
	}
	json_decref(obj);
	return all;
}

char *vm_config_print(const struct vm_config *c)
{
	json_auto_t *obj = vm_config_json(c);
	char *text = obj ? json_dumps(obj, JSON_INDENT(4)) : NULL;

	if (text) {
		size_t len = strlen(text);
		char *more = realloc(text, len + 2);

		if (!more) {
			free(text);
			return NULL;
		}
		text = more;
		strcpy(text + len, "\n");
	}
	return text;
}
