/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2.c - in the making. */
#include "block/qcow2.h"
#include <errno.h>

int qcow2_new(struct block **out, struct loop *l, struct block *file, struct block *backing,
	      const char *path, const struct qcow2_options *o, struct err *e)
{
	return err_set(e, ENOTSUP, "%s: qcow2 cannot be opened yet", path);
}

void qcow2_detach(struct block *b)
{
}
