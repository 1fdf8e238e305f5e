/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp_impl.h - what qmp.c and commands.c share. */
#ifndef PENTA_MANAGE_CONTROL_QMP_IMPL_H
#define PENTA_MANAGE_CONTROL_QMP_IMPL_H

#include "manage/control/qmp.h"
#include <pthread.h>
#include <stdatomic.h>

enum { CLIENTS = 16, IN_MAX = 1 << 20, OUT_MAX = 4 << 20, FDS_MAX = 64 };

struct qmp_client {
	int fd;
	bool eof;			/* nothing more will come */

	/* Input, and how far it was scanned: the serving thread's. */
	char *in;
	size_t in_len, in_room, scan;
	unsigned depth;
	bool in_string, escaped;

	/* Of the thread that executes the client's command, and there is only one. */
	int passed[FDS_MAX];
	unsigned npassed;
	struct { char *name; int fd; } named[FDS_MAX];
	unsigned nnamed;
	u64 progress_at;

	_Atomic bool gone;

	/* qmp.lock protects what is below. */
	bool negotiated;
	_Atomic bool dead;		/* written under it; the serving thread looks without */
	char *out;
	size_t out_len, out_off, out_room;
	const struct qmp_command *job;	/* slow, executed by the second thread, or waiting for it */
	json_t *job_args, *job_id;
};

/* Descriptors that all clients share: fdsets.c. */
struct qmp_fdsets {
	pthread_mutex_t lock;
	unsigned n;
	struct { s64 set; int fd; char *opaque; } fd[FDS_MAX];
};

struct qmp {
	struct vm *vm;
	int listen_fd, wake_fd;
	pthread_t server, worker;
	bool served, working;		/* the threads were started */
	_Atomic bool ending;

	struct qmp_fdsets fdsets;

	pthread_mutex_t lock;		/* protects what is below; taken last of all locks */
	pthread_cond_t cond;		/* a job is there, or the end */
	struct qmp_client *client[CLIENTS];
};

/* The oldest descriptor that came with a message and was not taken. */
int qmp_passed_fd(struct qmp_call *c, struct err *e);
/* Keep @fd, which is taken, under @name; another of that name is closed. */
int qmp_name_fd(struct qmp_call *c, const char *name, int fd, struct err *e);

/* "/dev/fdset/N"? Then a new descriptor, a copy of one in the set. */
bool qmp_fdset_named(const char *name);
int qmp_fdset_copy(struct qmp_fdsets *s, const char *name, struct err *e);
void qmp_fdsets_clear(struct qmp_fdsets *s);

#endif
