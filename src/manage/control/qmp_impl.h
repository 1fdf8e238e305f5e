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

struct qmp {
	struct vm *vm;
	int listen_fd, wake_fd;
	pthread_t server, worker;
	bool served, working;		/* the threads were started */
	_Atomic bool ending;

	pthread_mutex_t lock;		/* protects what is below; taken last of all locks */
	pthread_cond_t cond;		/* a job is there, or the end */
	struct qmp_client *client[CLIENTS];
};

/* The oldest descriptor that came with a message and was not taken. */
int qmp_passed_fd(struct qmp_call *c, struct err *e);
/* Keep @fd, which is taken, under @name; another of that name is closed. */
int qmp_name_fd(struct qmp_call *c, const char *name, int fd, struct err *e);

#endif
