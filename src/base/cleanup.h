/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cleanup.h - locals that free themselves, so that an early return is always right. */
#ifndef PENTA_BASE_CLEANUP_H
#define PENTA_BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_freep(void *p) { free(*(void **)p); }
static inline void cleanup_closep(int *fd) { if (*fd >= 0) close(*fd); }
#define cleanup_free __attribute__((cleanup(cleanup_freep)))
#define cleanup_close __attribute__((cleanup(cleanup_closep)))

#endif
