/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loop.h - an event loop over epoll: file descriptors, one deadline, posted calls.
 * One thread runs a loop; all callbacks run on it, with @lock (if any) held. */
#ifndef PENTA_BASE_LOOP_H
#define PENTA_BASE_LOOP_H

#include "base/err.h"
#include <pthread.h>

struct loop;
typedef void loop_fd_fn(void *ctx, u32 epoll_events);
typedef void loop_call_fn(void *ctx);

/* @lock: taken around every callback; borrowed; may be NULL. */
int loop_new(struct loop **out, pthread_mutex_t *lock, struct err *e);
void loop_free(struct loop *l);

/* Watch @fd (borrowed) for EPOLLIN/EPOLLOUT...; one watch an fd. From any thread. */
int loop_add_fd(struct loop *l, int fd, u32 events, loop_fd_fn *fn, void *ctx, struct err *e);
int loop_mod_fd(struct loop *l, int fd, u32 events);
void loop_del_fd(struct loop *l, int fd);

/* Run @fn once on the loop's thread. From any thread, also from signal-free contexts only. */
void loop_post(struct loop *l, loop_call_fn *fn, void *ctx);
/* Forget posts of @fn with @ctx. With @lock held: none of them runs any more. */
void loop_unpost(struct loop *l, loop_call_fn *fn, void *ctx);

/* Set the loop's one absolute deadline in CLOCK_MONOTONIC ns (UINT64_MAX: none) and what
 * runs then. vm/clock.c multiplexes all timers of a machine on it. From any thread. */
void loop_set_deadline(struct loop *l, u64 mono_ns);
void loop_on_deadline(struct loop *l, loop_call_fn *fn, void *ctx);

/* Run until loop_quit(). */
void loop_run(struct loop *l);
void loop_quit(struct loop *l);		/* from any thread */

#endif
