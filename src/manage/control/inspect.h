/* SPDX-License-Identifier: GPL-2.0-or-later */
/* inspect.h - the state of a machine's devices and vCPUs as JSON, by the tables that save reads. */
#ifndef PENTA_MANAGE_CONTROL_INSPECT_H
#define PENTA_MANAGE_CONTROL_INSPECT_H

#include "base/err.h"
#include <jansson.h>

struct machine;

/* {"devices": {"pit": {"class": "i8254", "version": 1, "state": {...}}, ...}, "cpus": [...]}.
 * @path: of one device only, or "cpu0"; NULL: all. The machine stands still meanwhile. No lock held. */
int inspect(struct machine *m, const char *path, json_t **out, struct err *e);

#endif
