// SPDX-License-Identifier: GPL-2.0-or-later
/* fdsets.c - descriptors that several clients share: add-fd, remove-fd, query-fdsets. Where a command
 * takes the name of a descriptor, "/dev/fdset/N" means one of set N: a copy, so that it can be used again.
 * After: QEMU, qapi/misc.json (add-fd and its kin). As there, a set goes with the last client.
 *
 * Any thread that executes commands may be here: the table has a lock of its own. */
#include "base/cleanup.h"
#include "manage/control/qmp_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "/dev/fdset/"
enum { OPAQUE_MAX = 256 };

/* Removed entries leave no gap. */
static void drop(struct qmp_fdsets *s, unsigned i)
{
	close(s->fd[i].fd);
	free(s->fd[i].opaque);
	memmove(&s->fd[i], &s->fd[i + 1], (--s->n - i) * sizeof(s->fd[0]));
}

static bool has_set(const struct qmp_fdsets *s, s64 id)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->fd[i].set == id)
			return true;
	return false;
}

static int add(struct qmp_fdsets *s, int fd, s64 id, const char *opaque, json_t **ret, struct err *e)
{
	char *copy = opaque ? strdup(opaque) : NULL;

	if (s->n == ARRAY_SIZE(s->fd) || (opaque && !copy)) {
		free(copy);
		return err_set(e, EMFILE, "sets have at most %zu descriptors together",
			       ARRAY_SIZE(s->fd));
	}
	if (id < 0)
		for (id = 0; has_set(s, id); id++)
			;
	s->fd[s->n].set = id;
	s->fd[s->n].fd = fd;
	s->fd[s->n++].opaque = copy;
	*ret = json_pack("{s:I, s:i}", "fdset-id", (json_int_t)id, "fd", fd);
	return 0;
}

static int add_fd(struct qmp_call *c, json_t **ret, struct err *e)
{
	struct qmp_fdsets *s = &c->qmp->fdsets;
	const char *opaque = qmp_string(c, "opaque", NULL);
	bool chosen = json_object_get(c->args, "fdset-id");
	s64 id = qmp_integer(c, "fdset-id", -1);
	int fd, r;

	if (chosen && id < 0)
		return err_set(e, EINVAL, "fdset-id: a number from 0 on is needed");
	if (opaque && strlen(opaque) > OPAQUE_MAX)
		return err_set(e, EINVAL, "opaque: at most %d bytes", OPAQUE_MAX);
	fd = qmp_passed_fd(c, e);
	if (fd < 0)
		return fd;
	pthread_mutex_lock(&s->lock);
	r = add(s, fd, id, opaque, ret, e);
	pthread_mutex_unlock(&s->lock);
	if (r)
		close(fd);
	return r;
}

static int remove_fd(struct qmp_call *c, json_t **ret, struct err *e)
{
	struct qmp_fdsets *s = &c->qmp->fdsets;
	bool one = json_object_get(c->args, "fd");
	s64 id = qmp_integer(c, "fdset-id", -1), fd = qmp_integer(c, "fd", -1);
	unsigned n;

	pthread_mutex_lock(&s->lock);
	n = s->n;
	for (unsigned i = s->n; i-- > 0; )
		if (s->fd[i].set == id && (!one || s->fd[i].fd == fd))
			drop(s, i);
	n -= s->n;
	pthread_mutex_unlock(&s->lock);
	return n ? 0 : err_set(e, ENOENT, "no such descriptor; query-fdsets lists them");
}

/* The entry of set @id in @list, which is made when it is not there. */
static json_t *set_in(json_t *list, s64 id)
{
	json_t *set;
	size_t i;

	json_array_foreach(list, i, set)
		if (json_integer_value(json_object_get(set, "fdset-id")) == id)
			return set;
	set = json_pack("{s:I, s:[]}", "fdset-id", (json_int_t)id, "fds");
	json_array_append_new(list, set);
	return set;
}

static int query_fdsets(struct qmp_call *c, json_t **ret, struct err *e)
{
	struct qmp_fdsets *s = &c->qmp->fdsets;
	json_t *list = json_array();

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->n; i++)
		json_array_append_new(json_object_get(set_in(list, s->fd[i].set), "fds"),
				      json_pack("{s:i, s:s*}", "fd", s->fd[i].fd, "opaque",
						s->fd[i].opaque));
	pthread_mutex_unlock(&s->lock);
	*ret = list;
	return 0;
}

bool qmp_fdset_named(const char *name)
{
	return !strncmp(name, PREFIX, strlen(PREFIX));
}

int qmp_fdset_copy(struct qmp_fdsets *s, const char *name, struct err *e)
{
	const char *digits = name + strlen(PREFIX);
	size_t len = strlen(digits);
	int fd = -1, r = -ENOENT;
	s64 id;

	if (!len || len > 18 || strspn(digits, "0123456789") != len)
		return err_set(e, EINVAL, "%.80s: /dev/fdset/NUMBER is needed", name);
	id = strtoll(digits, NULL, 10);
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->n && r == -ENOENT; i++)
		if (s->fd[i].set == id) {
			fd = fcntl(s->fd[i].fd, F_DUPFD_CLOEXEC, 0);
			r = fd < 0 ? err_errno(e, "%s", name) : 0;
		}
	pthread_mutex_unlock(&s->lock);
	if (r == -ENOENT)
		return err_set(e, ENOENT, "%s: there is no such set; add-fd makes one", name);
	return r ? r : fd;
}

void qmp_fdsets_clear(struct qmp_fdsets *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->n)
		drop(s, s->n - 1);
	pthread_mutex_unlock(&s->lock);
}

static const struct qmp_arg add_args[] = { { "fdset-id", 'i', true }, { "opaque", 's', true }, { 0 } };
static const struct qmp_arg remove_args[] = { { "fdset-id", 'i', false }, { "fd", 'i', true }, { 0 } };

const struct qmp_command qmp_fdset_commands[] = {
	{ "add-fd", add_fd, add_args, false },
	{ "remove-fd", remove_fd, remove_args, false },
	{ "query-fdsets", query_fdsets, NULL, false },
	{ 0 }
};
