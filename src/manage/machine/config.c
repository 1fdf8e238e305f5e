// SPDX-License-Identifier: GPL-2.0-or-later
/* config.c - a machine's configuration as text: options of a command line. See config.h;
 * config_json.c does the file. */
#include "manage/machine/config.h"
#include "base/cleanup.h"
#include "base/words.h"
#include "manage/machine/config_impl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *at(const void *base, const struct config_field *f)
{
	return (char *)(uintptr_t)base + f->offset;
}

unsigned *config_count(const void *base, const struct config_field *f)
{
	return (unsigned *)(void *)((char *)(uintptr_t)base + f->count);
}

void *config_element(const void *base, const struct config_field *f, unsigned i)
{
	return (char *)at(base, f) + (size_t)i * f->stride;
}

static bool is_string(const struct config_field *f)
{
	return f->type == FIELD_STRING || f->type == FIELD_PATH || f->type == FIELD_WHERE ||
	       f->type == FIELD_SPEC;
}

/* --- one field: default, freeing --- */

static void free_fields(void *base, const struct config_field *table);

static void set_default(void *base, const struct config_field *f)
{
	switch (f->type) {
	case FIELD_BOOL:
		*(bool *)at(base, f) = f->def;
		break;
	case FIELD_NUMBER:
	case FIELD_CHOICE:
	case FIELD_CID:
		*(unsigned *)at(base, f) = (unsigned)f->def;
		break;
	case FIELD_SIZE:
		*(u64 *)at(base, f) = f->def;
		break;
	case FIELD_STRING:
	case FIELD_PATH:
	case FIELD_WHERE:
	case FIELD_SPEC:
		free(*(char **)at(base, f));
		*(char **)at(base, f) = NULL;
		break;
	case FIELD_LIST:
		for (unsigned i = 0; i < *config_count(base, f); i++)
			free_fields(config_element(base, f, i), f->sub);
		*config_count(base, f) = 0;
	}
}

static void free_fields(void *base, const struct config_field *table)
{
	for (const struct config_field *f = table; f->name; f++)
		set_default(base, f);
}

void vm_config_init(struct vm_config *c)
{
	memset(c, 0, sizeof(*c));
	free_fields(c, vm_config_fields);
}

void vm_config_free(struct vm_config *c)
{
	free_fields(c, vm_config_fields);
}

void vm_config_unset(struct vm_config *c, const struct config_field *f)
{
	set_default(c, f);
}

const struct config_field *config_find(const struct config_field *table, const char *name,
				       size_t len)
{
	for (const struct config_field *f = table; f->name; f++)
		if (strlen(f->name) == len && !memcmp(f->name, name, len))
			return f;
	return NULL;
}

const struct config_field *vm_config_find(const char *name)
{
	return config_find(vm_config_fields, name, strlen(name));
}

/* --- from text --- */

static int set_string(char **p, const struct config_field *f, const char *val, const char *what,
		      struct err *e)
{
	char *copy;

	if (strlen(val) >= VM_STRING_MAX)
		return err_set(e, EINVAL, "%s: the value has more than %d bytes", what,
			       VM_STRING_MAX - 1);
	if (!val[0] && f->type != FIELD_STRING)
		return err_set(e, EINVAL, "%s: the value is empty", what);
	if (f->check && f->check(val, what, e))
		return -EINVAL;
	copy = strdup(val);
	if (!copy)
		return err_set(e, ENOMEM, "%s: out of memory", what);
	free(*p);
	*p = copy;
	return 0;
}

static int set_size(u64 *p, const struct config_field *f, const char *val, const char *what,
		    struct err *e)
{
	char lo[24], hi[24];
	u64 n;

	if (parse_size(val, what, &n, e))
		return -EINVAL;
	size_print(lo, f->min);
	size_print(hi, f->max);
	if (n < f->min || n > f->max)
		return err_set(e, EINVAL, "%s %s: a size of %s to %s is needed", what, val, lo, hi);
	if (n % 4096)
		return err_set(e, EINVAL, "%s %s: a multiple of 4K is needed", what, val);
	*p = n;
	return 0;
}

static int set_cid(unsigned *p, const char *val, const char *what, struct err *e)
{
	if (!strcmp(val, "auto"))
		*p = VM_CID_AUTO;
	else if (!strcmp(val, "off"))
		*p = 0;
	else
		return parse_number(val, what, 3, UINT32_MAX - 2, p, e);
	return 0;
}

int config_set_text(void *base, const struct config_field *f, const char *val, const char *what,
		    struct err *e)
{
	void *p = at(base, f);
	int n;

	switch (f->type) {
	case FIELD_BOOL:
		n = parse_choice(val, what, "off on", e);
		if (n >= 0)
			*(bool *)p = n;
		return n < 0 ? n : 0;
	case FIELD_NUMBER:
		return parse_number(val, what, (unsigned)f->min, (unsigned)f->max, p, e);
	case FIELD_SIZE:
		return set_size(p, f, val, what, e);
	case FIELD_CHOICE:
		n = parse_choice(val, what, f->values, e);
		if (n >= 0)
			*(unsigned *)p = (unsigned)n;
		return n < 0 ? n : 0;
	case FIELD_CID:
		return set_cid(p, val, what, e);
	case FIELD_STRING:
	case FIELD_PATH:
	case FIELD_WHERE:
	case FIELD_SPEC:
		return set_string(p, f, val, what, e);
	case FIELD_LIST:
		break;
	}
	BUG("a list is no text");
}

int config_unknown(const struct config_field *table, const char *key, size_t len, const char *what,
		   struct err *e)
{
	const char *names[64], *near;
	cleanup_free char *word = strndup(key, MIN(len, (size_t)80));
	unsigned n = 0;

	if (!word)
		return err_set(e, ENOMEM, "%s: out of memory", what);
	for (const struct config_field *f = table; f->name && n < ARRAY_SIZE(names) - 1; f++)
		names[n++] = f->name;
	names[n] = NULL;
	near = word_near(word, names);
	return near ? err_set(e, EINVAL, "%s: unknown key \"%s\"; did you mean \"%s\"?", what, word,
			      near) :
		      err_set(e, EINVAL, "%s: unknown key \"%s\"", what, word);
}

/* A list is longer than it may be? Else its new element, with the defaults. */
int config_append(void *base, const struct config_field *f, const char *what, void **elem,
		  struct err *e)
{
	unsigned n = *config_count(base, f);

	if (n >= f->max)
		return err_set(e, E2BIG, "%s: a machine has at most %llu of these", what,
			       (unsigned long long)f->max);
	*elem = config_element(base, f, n);
	memset(*elem, 0, f->stride);
	free_fields(*elem, f->sub);
	++*config_count(base, f);
	return 0;
}

void config_drop_last(void *base, const struct config_field *f)
{
	unsigned n = --*config_count(base, f);

	free_fields(config_element(base, f, n), f->sub);
}

/* The piece of @s up to a single comma; two commas stand for one, unless @raw. To be freed. */
static char *piece(const char **s, bool raw)
{
	char *out = malloc(strlen(*s) + 1);
	size_t n = 0;

	if (!out)
		return NULL;
	for (; **s; ++*s) {
		if (**s == ',') {
			if ((*s)[1] != ',')
				break;
			if (raw)
				out[n++] = ',';
			++*s;
		}
		out[n++] = **s;
	}
	*s += **s == ',';
	out[n] = '\0';
	return out;
}

static int add_to_spec(void *elem, const struct config_field *spec, const char *part,
		       const char *what, struct err *e)
{
	char **p = at(elem, spec);
	cleanup_free char *all = NULL;

	if (asprintf(&all, "%s,%s", *p ? *p : "", part) < 0) {
		all = NULL;
		return err_set(e, ENOMEM, "%s: out of memory", what);
	}
	return set_string(p, spec, all, what, e);
}

/* "KEY=VALUE", or "KEY" for a switch. */
static int set_part(void *elem, const struct config_field *sub, const char *part, const char *what,
		    struct err *e)
{
	size_t len = strcspn(part, "=");
	const struct config_field *f = config_find(sub, part, len);
	char name[96];

	if (!f || f == sub)
		return sub->type == FIELD_SPEC ? add_to_spec(elem, sub, part, what, e) :
						 config_unknown(sub + 1, part, len, what, e);
	snprintf(name, sizeof(name), "%s: %s", what, f->name);
	if (!part[len] && f->type != FIELD_BOOL)
		return err_set(e, EINVAL, "%s needs a value: %s=...", name, f->name);
	return config_set_text(elem, f, part[len] ? part + len + 1 : "on", name, e);
}

int config_set_element(void *elem, const struct config_field *sub, const char *val,
		       const char *what, struct err *e)
{
	bool raw = sub->type == FIELD_SPEC, first = true;

	if (!sub[1].name)
		return config_set_text(elem, sub, val, what, e);
	do {
		cleanup_free char *part = piece(&val, raw);
		int r;

		if (!part)
			return err_set(e, ENOMEM, "%s: out of memory", what);
		r = first ? config_set_text(elem, sub, part, what, e)
			  : set_part(elem, sub, part, what, e);
		if (r)
			return r;
		first = false;
	} while (*val);
	return 0;
}

int vm_config_set(struct vm_config *c, const struct config_field *f, const char *val,
		  const char *what, struct err *e)
{
	void *elem;
	int r;

	if (f->type != FIELD_LIST)
		return config_set_text(c, f, val, what, e);
	r = config_append(c, f, what, &elem, e);
	if (r)
		return r;
	r = config_set_element(elem, f->sub, val, what, e);
	if (r)
		config_drop_last(c, f);
	return r;
}

/* --- to text --- */

bool config_is_default(const void *base, const struct config_field *f)
{
	const void *p = at(base, f);

	if (is_string(f))
		return !*(char *const *)p;
	switch (f->type) {
	case FIELD_BOOL:
		return *(const bool *)p == !!f->def;
	case FIELD_SIZE:
		return *(const u64 *)p == f->def;
	case FIELD_LIST:
		return !*config_count(base, f);
	default:
		return *(const unsigned *)p == f->def;
	}
}

/* The @n-th of the space-separated @words. */
static char *choice_word(const char *words, unsigned n)
{
	for (; n && *words; n--)
		words += strcspn(words, " ") + 1;
	return strndup(words, strcspn(words, " "));
}

char *config_get_text(const void *base, const struct config_field *f)
{
	const void *p = at(base, f);
	char buf[24];

	if (is_string(f))
		return *(char *const *)p ? strdup(*(char *const *)p) : NULL;
	switch (f->type) {
	case FIELD_BOOL:
		return strdup(*(const bool *)p ? "on" : "off");
	case FIELD_SIZE:
		size_print(buf, *(const u64 *)p);
		return strdup(buf);
	case FIELD_CHOICE:
		return choice_word(f->values, *(const unsigned *)p);
	case FIELD_CID:
		if (*(const unsigned *)p == VM_CID_AUTO || !*(const unsigned *)p)
			return strdup(*(const unsigned *)p ? "auto" : "off");
		/* fallthrough */
	default:
		snprintf(buf, sizeof(buf), "%u", *(const unsigned *)p);
		return strdup(buf);
	}
}

static void put_escaped(FILE *f, const char *s, bool raw)
{
	for (; *s; s++) {
		if (*s == ',' && !raw)
			putc(',', f);
		putc(*s, f);
	}
}

/* An element as its option's text. */
static char *element_text(const void *elem, const struct config_field *sub)
{
	bool raw = sub->type == FIELD_SPEC || !sub[1].name;
	char *buf = NULL;
	size_t len;
	FILE *f = open_memstream(&buf, &len);

	if (!f)
		return NULL;
	for (const struct config_field *s = sub; s->name; s++) {
		cleanup_free char *text = NULL;

		if (config_is_default(elem, s))
			continue;
		text = config_get_text(elem, s);
		if (s != sub)
			fprintf(f, ",%s=", s->name);
		put_escaped(f, text ? text : "", raw && s == sub);
	}
	if (fclose(f)) {
		free(buf);
		return NULL;
	}
	return buf;
}

char *vm_config_get(const struct vm_config *c, const struct config_field *f, unsigned i)
{
	if (f->type != FIELD_LIST)
		return config_get_text(c, f);
	return i < *config_count(c, f) ? element_text(config_element(c, f, i), f->sub) : NULL;
}

bool vm_config_same(const struct vm_config *a, const struct vm_config *b,
		    const struct config_field *f)
{
	unsigned n = f->type == FIELD_LIST ? MAX(*config_count(a, f), *config_count(b, f)) : 1;

	for (unsigned i = 0; i < n; i++) {
		cleanup_free char *x = vm_config_get(a, f, i), *y = vm_config_get(b, f, i);

		if (!x != !y || (x && strcmp(x, y)))
			return false;
	}
	return true;
}

int vm_config_copy(struct vm_config *to, const struct vm_config *from, struct err *e)
{
	vm_config_init(to);
	for (const struct config_field *f = vm_config_fields; f->name; f++) {
		unsigned n = f->type == FIELD_LIST ? *config_count(from, f)
						   : !config_is_default(from, f);

		for (unsigned i = 0; i < n; i++) {
			cleanup_free char *text = vm_config_get(from, f, i);
			int r = text ? vm_config_set(to, f, text, f->name, e)
				     : err_set(e, ENOMEM, "%s: out of memory", f->name);

			if (r) {
				vm_config_free(to);
				return r;
			}
		}
	}
	return 0;
}

/* --- the whole --- */

static unsigned count_where(const struct vm_config *c, const char *where)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->nserial; i++)
		n += !strcmp(c->serial[i].where, where);
	for (unsigned i = 0; i < c->nconsole; i++)
		n += !strcmp(c->console[i].where, where);
	return n;
}

static int check_lists(const struct vm_config *c, struct err *e)
{
	if (count_where(c, "terminal") > 1)
		return err_set(e, EINVAL, "--serial, --console: only one port can be on the "
			       "terminal");
	if (count_where(c, "console") > 1)
		return err_set(e, EINVAL, "--serial, --console: `penta console` shows one port; "
			       "say \"console\" once");
	if (c->npcap > c->nnet)
		return err_set(e, EINVAL, "--pcap: there are %u network cards (--net) and %u files",
			       c->nnet, c->npcap);
	for (unsigned i = 0; i < c->nnet; i++)
		for (unsigned k = 0; k < i; k++)
			if (c->net[i].mac && c->net[k].mac &&
			    !strcasecmp(c->net[i].mac, c->net[k].mac))
				return err_set(e, EINVAL, "--net: two cards with the address %s",
					       c->net[i].mac);
	for (unsigned i = 0; i < c->nshare; i++)
		for (unsigned k = 0; k < i; k++)
			if (c->share[i].tag && c->share[k].tag &&
			    !strcmp(c->share[i].tag, c->share[k].tag))
				return err_set(e, EINVAL, "--share: two folders with the tag %s",
					       c->share[i].tag);
	return 0;
}

int vm_config_check(const struct vm_config *c, struct err *e)
{
	if (c->kernel && c->firmware)
		return err_set(e, EINVAL, "--kernel and --firmware exclude each other");
	if (!c->kernel && !c->firmware && !c->ndisk)
		return err_set(e, EINVAL, "nothing to boot; give --kernel FILE, or a --disk with a "
			       "kernel on it (`penta run --help` has examples)");
	if (c->firmware && (c->initrd || c->append || c->boot))
		return err_set(e, EINVAL, "--initrd, --append and --boot go with --kernel, not "
			       "with --firmware");
	return check_lists(c, e);
}

static int each_path(void *base, const struct config_field *table,
		     int (*fn)(char **path, void *ctx, struct err *e), void *ctx, struct err *e)
{
	int r = 0;

	for (const struct config_field *f = table; f->name && !r; f++) {
		char **p = at(base, f);

		if (f->type == FIELD_LIST)
			for (unsigned i = 0; i < *config_count(base, f) && !r; i++)
				r = each_path(config_element(base, f, i), f->sub, fn, ctx, e);
		else if (f->type == FIELD_PATH && *p)
			r = fn(p, ctx, e);
		else if (f->type == FIELD_WHERE && *p && strchr(*p, ':')) {
			size_t head = (size_t)(strchr(*p, ':') - *p) + 1;
			char *path = strdup(*p + head), *all = NULL;

			r = path ? fn(&path, ctx, e) : err_set(e, ENOMEM, "out of memory");
			if (!r && asprintf(&all, "%.*s%s", (int)head, *p, path) < 0)
				r = err_set(e, ENOMEM, "out of memory");
			if (!r) {
				free(*p);
				*p = all;
			}
			free(path);
		}
	}
	return r;
}

int vm_config_each_path(struct vm_config *c, int (*fn)(char **path, void *ctx, struct err *e),
			void *ctx, struct err *e)
{
	return each_path(c, vm_config_fields, fn, ctx, e);
}
