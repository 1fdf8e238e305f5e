/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config_impl.h - what config.c and config_json.c share: fields by their table. @base: the struct
 * that the table describes, a machine's or an element's. */
#ifndef PENTA_MANAGE_MACHINE_CONFIG_IMPL_H
#define PENTA_MANAGE_MACHINE_CONFIG_IMPL_H

#include "manage/machine/config.h"

const struct config_field *config_find(const struct config_field *table, const char *name,
				       size_t len);
/* -EINVAL: "unknown key", with a guess. */
int config_unknown(const struct config_field *table, const char *key, size_t len, const char *what,
		   struct err *e);
bool config_is_default(const void *base, const struct config_field *f);
int config_set_text(void *base, const struct config_field *f, const char *val, const char *what,
		    struct err *e);
char *config_get_text(const void *base, const struct config_field *f);	/* to be freed */

/* Lists. */
unsigned *config_count(const void *base, const struct config_field *f);
void *config_element(const void *base, const struct config_field *f, unsigned i);
int config_append(void *base, const struct config_field *f, const char *what, void **elem,
		  struct err *e);
void config_drop_last(void *base, const struct config_field *f);
/* An element from its option's text. */
int config_set_element(void *elem, const struct config_field *sub, const char *val,
		       const char *what, struct err *e);

#endif
