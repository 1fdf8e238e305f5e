// SPDX-License-Identifier: GPL-2.0-or-later
/* qmp.c - the control socket: clients, messages, descriptors. See qmp.h; what commands do is in
 * commands.c and beside it.
 *
 * Everything of a client is the serving thread's, but for what the lock protects: its output, which
 * events from any thread are added to, and what a slow command on the second thread uses. A client
 * whose command runs there is not read meanwhile, so replies keep the order of their commands.
 *
 * Bounds: CLIENTS at once, a message of IN_MAX bytes, OUT_MAX bytes that a client has not read (who
 * reads more slowly than that is cut off), FDS_MAX descriptors. */
#include "manage/control/qmp.h"
#include "base/cleanup.h"
#include "base/trace.h"
#include "manage/control/qmp_impl.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

DEFINE_TRACE(qmp_in, "qmp.in");
DEFINE_TRACE(qmp_out, "qmp.out");

enum { FLUSH_MS = 1000, FULL_MS = 100 };

static void wake(struct qmp *q)
{
	u64 one = 1;

	while (write(q->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* --- output; lock held --- */

static void put_text(struct qmp_client *c, const char *text, size_t len)
{
	TRACE(qmp_out, "%.*s", (int)MIN(len, (size_t)400), text);
	if (c->dead)
		return;
	if (c->out_off) {
		memmove(c->out, c->out + c->out_off, c->out_len - c->out_off);
		c->out_len -= c->out_off;
		c->out_off = 0;
	}
	if (c->out_len + len + 2 > c->out_room) {
		size_t room = MAX(2 * c->out_room, c->out_len + len + 4096);
		char *more = room <= OUT_MAX ? realloc(c->out, room) : NULL;

		if (!more) {
			c->dead = true;
			return;
		}
		c->out = more;
		c->out_room = room;
	}
	memcpy(c->out + c->out_len, text, len);
	memcpy(c->out + c->out_len + len, "\r\n", 2);
	c->out_len += len + 2;
}

/* Takes @j. */
static void put_json(struct qmp_client *c, json_t *j)
{
	cleanup_free char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	if (text)
		put_text(c, text, strlen(text));
	else
		c->dead = true;		/* out of memory: half a conversation is none */
	json_decref(j);
}

static json_t *timestamp(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return json_pack("{s:I, s:I}", "seconds", (json_int_t)ts.tv_sec, "microseconds",
			 (json_int_t)(ts.tv_nsec / 1000));
}

/* Takes @data. */
static char *event_text(const char *name, json_t *data)
{
	json_auto_t *j = json_pack("{s:s, s:o*, s:o}", "event", name, "data", data, "timestamp",
				   timestamp());

	return j ? json_dumps(j, JSON_COMPACT) : NULL;
}

void qmp_event(struct qmp *q, const char *name, json_t *data)
{
	cleanup_free char *text = event_text(name, data);

	if (!text)
		return;
	pthread_mutex_lock(&q->lock);
	for (unsigned i = 0; i < CLIENTS; i++)
		if (q->client[i] && q->client[i]->negotiated)
			put_text(q->client[i], text, strlen(text));
	pthread_mutex_unlock(&q->lock);
	wake(q);
}

void qmp_progress(struct qmp_call *c, u64 done, u64 total)
{
	struct qmp_client *cl = c->client;
	struct timespec ts;
	u64 now;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (u64)ts.tv_sec * 10 + (u64)ts.tv_nsec / 100000000;
	if (!cl || cl->progress_at == now)	/* ten a second are enough */
		return;
	cl->progress_at = now;
	cleanup_free char *text = event_text("PENTA_PROGRESS",
		json_pack("{s:s, s:I, s:I}", "command", c->command->name, "done", (json_int_t)done,
			  "total", (json_int_t)total));

	pthread_mutex_lock(&c->qmp->lock);
	if (text)
		put_text(cl, text, strlen(text));
	pthread_mutex_unlock(&c->qmp->lock);
	wake(c->qmp);
}

bool qmp_cancelled(const struct qmp_call *c)
{
	return atomic_load(&c->qmp->ending) || (c->client && atomic_load(&c->client->gone));
}

/* --- clients --- */

static void client_free(struct qmp_client *c)
{
	for (unsigned i = 0; i < c->npassed; i++)
		close(c->passed[i]);
	for (unsigned i = 0; i < c->nnamed; i++) {
		close(c->named[i].fd);
		free(c->named[i].name);
	}
	cleanup_closep(&c->fd);
	free(c->in);
	free(c->out);
	free(c);
}

static json_t *greeting(void)
{
	return json_pack("{s:{s:{s:{s:i,s:i,s:i}, s:s}, s:[]}}", "QMP", "version", "qemu",
			 "major", 0, "minor", 1, "micro", 0, "package", "penta 0.1",
			 "capabilities");
}

static void accept_client(struct qmp *q)
{
	int fd = accept4(q->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct qmp_client *c;
	unsigned i;

	if (fd < 0) {
		/* Nobody can be let in, who stays in front of the door: no reason to spin. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			poll(NULL, 0, FULL_MS);
		return;
	}
	for (i = 0; i < CLIENTS && q->client[i]; i++)
		;
	c = i < CLIENTS ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		static const char busy[] = "{\"error\": {\"class\": \"GenericError\", \"desc\": "
			"\"too many clients on this control socket\"}}\r\n";

		send(fd, busy, sizeof(busy) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		close(fd);
		return;
	}
	c->fd = fd;
	pthread_mutex_lock(&q->lock);
	q->client[i] = c;
	put_json(c, greeting());
	pthread_mutex_unlock(&q->lock);
}

/* --- descriptors that come with messages --- */

static void keep_fds(struct qmp_client *c, struct msghdr *m)
{
	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(fd));
			if (c->npassed < FDS_MAX)
				c->passed[c->npassed++] = fd;
			else
				close(fd);
		}
	}
}

int qmp_passed_fd(struct qmp_call *c, struct err *e)
{
	struct qmp_client *cl = c->client;
	int fd;

	if (!cl->npassed)
		return err_set(e, EINVAL, "no descriptor came with this message (SCM_RIGHTS)");
	fd = cl->passed[0];
	memmove(cl->passed, cl->passed + 1, --cl->npassed * sizeof(int));
	return fd;
}

int qmp_name_fd(struct qmp_call *c, const char *name, int fd, struct err *e)
{
	struct qmp_client *cl = c->client;
	char *copy;

	for (unsigned i = 0; i < cl->nnamed; i++)
		if (!strcmp(cl->named[i].name, name)) {
			close(cl->named[i].fd);
			cl->named[i].fd = fd;
			return 0;
		}
	copy = cl->nnamed < FDS_MAX ? strdup(name) : NULL;
	if (!copy) {
		close(fd);
		return err_set(e, EMFILE, "at most %d descriptors are kept", FDS_MAX);
	}
	cl->named[cl->nnamed].name = copy;
	cl->named[cl->nnamed++].fd = fd;
	return 0;
}

int qmp_take_fd(struct qmp_call *c, const char *name, struct err *e)
{
	struct qmp_client *cl = c->client;

	if (qmp_fdset_named(name))
		return qmp_fdset_copy(&c->qmp->fdsets, name, e);
	for (unsigned i = 0; i < cl->nnamed; i++)
		if (!strcmp(cl->named[i].name, name)) {
			int fd = cl->named[i].fd;

			free(cl->named[i].name);
			cl->named[i] = cl->named[--cl->nnamed];
			return fd;
		}
	return err_set(e, ENOENT, "no descriptor is named \"%s\"; getfd names one", name);
}

/* --- executing --- */

static json_t *error_reply(const char *class, const char *desc)
{
	json_t *text = json_stringn_nocheck(desc, strlen(desc));

	/* A message may quote what was no UTF-8. */
	if (!text || json_dumpb(text, NULL, 0, JSON_ENCODE_ANY) == 0) {
		json_decref(text);
		text = json_string("the command failed (its message is no UTF-8)");
	}
	return json_pack("{s:{s:s, s:o}}", "error", "class", class, "desc", text);
}

/* Takes @ret and @id. Lock held. */
static void reply(struct qmp_client *c, int r, json_t *ret, json_t *id, const char *class,
		  const struct err *e)
{
	json_t *j = r ? error_reply(class ? class : "GenericError", e->msg)
		      : json_pack("{s:o}", "return", ret ? ret : json_object());

	if (r)
		json_decref(ret);
	if (j && id)
		json_object_set_new(j, "id", id);
	else
		json_decref(id);
	put_json(c, j);
}

static int execute(struct qmp *q, struct qmp_client *c, const struct qmp_command *cmd,
		   json_t *args, json_t **ret, struct err *e)
{
	struct qmp_call call = { .qmp = q, .vm = q->vm, .client = c, .args = args,
				 .command = cmd };
	int r = cmd->run(&call, ret, e);

	if (r && !e->code)
		err_set(e, r < 0 ? -r : EIO, "%s failed: %s", cmd->name, strerror(r < 0 ? -r : EIO));
	return r;
}

/* The second thread. */
static void *job_thread(void *arg)
{
	struct qmp *q = arg;

	sandbox_enter(q->vm->sandbox, SANDBOX_CONTROL);
	pthread_mutex_lock(&q->lock);
	for (;;) {
		struct qmp_client *c = NULL;
		struct err e = { 0 };
		json_t *ret = NULL;
		int r;

		for (unsigned i = 0; i < CLIENTS && !c; i++)
			if (q->client[i] && q->client[i]->job)
				c = q->client[i];
		if (!c && atomic_load(&q->ending))
			break;
		if (!c) {
			pthread_cond_wait(&q->cond, &q->lock);
			continue;
		}
		pthread_mutex_unlock(&q->lock);
		r = execute(q, c, c->job, c->job_args, &ret, &e);
		pthread_mutex_lock(&q->lock);
		reply(c, r, ret, c->job_id, NULL, &e);
		json_decref(c->job_args);
		c->job = NULL;
		c->job_args = c->job_id = NULL;
		wake(q);
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

static bool type_is(const json_t *v, char type)
{
	switch (type) {
	case 's':
		return json_is_string(v);
	case 'i':
		return json_is_integer(v);
	case 'b':
		return json_is_boolean(v);
	case 'a':
		return json_is_array(v);
	case 'o':
		return json_is_object(v);
	default:
		return true;
	}
}

static int check_args(const struct qmp_command *cmd, json_t *args, struct err *e)
{
	static const struct qmp_arg none[] = { { 0 } };
	const struct qmp_arg *table = cmd->args ? cmd->args : none;
	const char *key;
	json_t *v;

	json_object_foreach(args, key, v) {
		const struct qmp_arg *a = table;

		while (a->name && strcmp(a->name, key))
			a++;
		if (!a->name)
			return err_set(e, EINVAL, "Parameter '%.80s' is unexpected", key);
		if (!type_is(v, a->type))
			return err_set(e, EINVAL, "Invalid parameter type for '%s', expected: %s",
				       key, a->type == 's' ? "string" : a->type == 'i' ? "integer" :
				       a->type == 'b' ? "boolean" : a->type == 'a' ? "array" :
				       "object");
	}
	for (const struct qmp_arg *a = table; a->name; a++)
		if (!a->optional && !json_object_get(args, a->name))
			return err_set(e, EINVAL, "Parameter '%s' is missing", a->name);
	return 0;
}

/* One message. @j stays the caller's. */
static void handle(struct qmp *q, struct qmp_client *c, json_t *j)
{
	json_t *exec = json_object_get(j, "execute"), *args = json_object_get(j, "arguments");
	json_t *id = json_incref(json_object_get(j, "id")), *ret = NULL;
	const struct qmp_command *cmd = NULL;
	const char *class = NULL, *key;
	struct err e = { 0 };
	json_t *v;
	int r = 0;

	json_object_foreach(j, key, v)
		if (strcmp(key, "execute") && strcmp(key, "arguments") && strcmp(key, "id") && !r)
			r = err_set(&e, EINVAL, "QMP input member '%.80s' is unexpected", key);
	if (!r && !json_is_string(exec))
		r = err_set(&e, EINVAL, "QMP input lacks member 'execute', a string");
	if (!r && args && !json_is_object(args))
		r = err_set(&e, EINVAL, "QMP input member 'arguments' must be an object");
	if (!r) {
		const char *name = json_string_value(exec);
		bool first = !strcmp(name, "qmp_capabilities");

		cmd = qmp_find(name);
		if (!cmd || (!c->negotiated && !first)) {
			class = "CommandNotFound";
			r = c->negotiated ?
			    err_set(&e, ENOENT, "The command %.80s has not been found", name) :
			    err_set(&e, EPERM, "Expecting capabilities negotiation with "
				    "'qmp_capabilities'");
		} else if (c->negotiated && first) {
			class = "CommandNotFound";
			r = err_set(&e, EALREADY, "Capabilities negotiation is already complete, "
				    "command ignored");
		}
	}
	args = args ? json_incref(args) : json_object();
	if (!r)
		r = check_args(cmd, args, &e);
	if (!r && cmd->slow) {
		pthread_mutex_lock(&q->lock);
		c->job = cmd;
		c->job_args = args;
		c->job_id = id;
		pthread_cond_signal(&q->cond);
		pthread_mutex_unlock(&q->lock);
		return;
	}
	if (!r)
		r = execute(q, c, cmd, args, &ret, &e);
	pthread_mutex_lock(&q->lock);
	if (!r && cmd && !strcmp(cmd->name, "qmp_capabilities"))
		c->negotiated = true;
	reply(c, r, ret, id, class, &e);
	pthread_mutex_unlock(&q->lock);
	json_decref(args);
}

/* --- input: objects in a row, with or without white space between --- */

static void bad_input(struct qmp *q, struct qmp_client *c, const char *why)
{
	pthread_mutex_lock(&q->lock);
	put_json(c, json_pack("{s:{s:s, s:s}}", "error", "class", "GenericError", "desc", why));
	pthread_mutex_unlock(&q->lock);
}

/* The length of the first whole object in the input; 0: not there yet; -EPROTO: at c->scan is
 * something that begins none. Goes over each byte once. */
static ssize_t frame(struct qmp_client *c)
{
	for (; c->scan < c->in_len; c->scan++) {
		char ch = c->in[c->scan];

		if (c->in_string) {
			if (c->escaped)
				c->escaped = false;
			else if (ch == '\\')
				c->escaped = true;
			else if (ch == '"')
				c->in_string = false;
		} else if (!c->depth && ch != '{' && !strchr(" \t\r\n", ch)) {
			return -EPROTO;
		} else if (ch == '"') {
			c->in_string = true;
		} else if (ch == '{' || ch == '[') {
			c->depth++;
		} else if ((ch == '}' || ch == ']') && !--c->depth) {
			return (ssize_t)++c->scan;
		}
	}
	return 0;
}

static void drop_input(struct qmp_client *c, size_t n)
{
	memmove(c->in, c->in + n, c->in_len - n);
	c->in_len -= n;
	c->scan = 0;
	c->depth = 0;
	c->in_string = c->escaped = false;
}

/* A slow command of this client is under way. */
static bool is_busy(struct qmp *q, struct qmp_client *c)
{
	bool busy;

	pthread_mutex_lock(&q->lock);
	busy = c->job != NULL;
	pthread_mutex_unlock(&q->lock);
	return busy;
}

static void parse(struct qmp *q, struct qmp_client *c)
{
	while (!c->dead && !is_busy(q, c)) {
		ssize_t n = frame(c);
		json_error_t je;
		json_t *j;

		if (n == 0)
			break;
		if (n < 0) {	/* what follows on the line is lost */
			char *nl = memchr(c->in + c->scan, '\n', c->in_len - c->scan);

			bad_input(q, c, "Invalid JSON syntax: an object is expected");
			drop_input(c, nl ? (size_t)(nl - c->in) + 1 : c->in_len);
			continue;
		}
		TRACE(qmp_in, "%.*s", (int)MIN(n, 400), c->in);
		j = json_loadb(c->in, (size_t)n, JSON_REJECT_DUPLICATES, &je);
		drop_input(c, (size_t)n);
		if (j)
			handle(q, c, j);
		else
			bad_input(q, c, "Invalid JSON syntax");
		json_decref(j);
	}
	if (c->in_len >= IN_MAX) {
		bad_input(q, c, "a message has at most 1 MiB");
		c->eof = true;
	}
}

static void read_client(struct qmp *q, struct qmp_client *c)
{
	union { struct cmsghdr align; char buf[CMSG_SPACE(FDS_MAX * sizeof(int))]; } u;
	struct iovec iov;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf,
			    .msg_controllen = sizeof(u.buf) };
	ssize_t n;

	if (c->in_len == c->in_room) {
		size_t room = MIN(MAX(2 * c->in_room, (size_t)4096), (size_t)IN_MAX);
		char *more = realloc(c->in, room);

		if (!more) {
			c->eof = true;
			return;
		}
		c->in = more;
		c->in_room = room;
	}
	iov = (struct iovec){ c->in + c->in_len, c->in_room - c->in_len };
	n = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		keep_fds(c, &m);
	if (n <= 0) {
		c->eof = true;
		return;
	}
	c->in_len += (size_t)n;
	parse(q, c);
}

static void write_client(struct qmp *q, struct qmp_client *c)
{
	pthread_mutex_lock(&q->lock);
	while (c->out_off < c->out_len && !c->dead) {
		ssize_t n = send(c->fd, c->out + c->out_off, c->out_len - c->out_off,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0)
			c->out_off += (size_t)n;
		else if (n < 0 && errno == EAGAIN)
			break;
		else if (n == 0 || errno != EINTR)
			c->dead = true;
	}
	pthread_mutex_unlock(&q->lock);
}

/* --- the serving thread --- */

static void cut(struct qmp *q, struct qmp_client *c)
{
	pthread_mutex_lock(&q->lock);
	c->dead = true;
	pthread_mutex_unlock(&q->lock);
}

static void reap(struct qmp *q)
{
	bool last = false;

	pthread_mutex_lock(&q->lock);
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct qmp_client *c = q->client[i];

		if (!c || !(c->dead || (c->eof && c->out_off == c->out_len)))
			continue;
		atomic_store(&c->gone, c->dead);
		if (c->job)
			continue;	/* the second thread has it */
		q->client[i] = NULL;
		client_free(c);
		last = true;
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		last &= !q->client[i];
	pthread_mutex_unlock(&q->lock);
	if (last)
		qmp_fdsets_clear(&q->fdsets);
}

static void serve_once(struct qmp *q, int timeout_ms)
{
	struct pollfd p[CLIENTS + 2] = { { .fd = q->wake_fd, .events = POLLIN },
					 { .fd = q->listen_fd, .events = POLLIN } };
	struct qmp_client *at[CLIENTS + 2] = { NULL };
	unsigned n = 2;
	u64 count;

	pthread_mutex_lock(&q->lock);
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct qmp_client *c = q->client[i];

		if (!c)
			continue;
		at[n] = c;
		p[n] = (struct pollfd){ .fd = c->dead ? -1 : c->fd };
		if (!c->job && !c->eof)
			p[n].events |= POLLIN;
		if (c->out_off < c->out_len)
			p[n].events |= POLLOUT;
		n++;
	}
	pthread_mutex_unlock(&q->lock);
	if (poll(p, n, timeout_ms) <= 0)
		return;
	if (p[0].revents && read(q->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	for (unsigned i = 2; i < n; i++) {
		struct qmp_client *c = at[i];

		if (c->in_len && !c->eof && !is_busy(q, c))
			parse(q, c);		/* what waited behind a slow command */
		if (p[i].revents & POLLIN)
			read_client(q, c);
		else if (p[i].revents & (POLLERR | POLLHUP))
			cut(q, c);
		write_client(q, c);
	}
	reap(q);		/* who left before another came makes room for it */
	if (p[1].revents & POLLIN)
		accept_client(q);
}

static bool output_waits(struct qmp *q)
{
	bool some = false;

	pthread_mutex_lock(&q->lock);
	for (unsigned i = 0; i < CLIENTS; i++)
		some |= q->client[i] && !q->client[i]->dead &&
			q->client[i]->out_off < q->client[i]->out_len;
	pthread_mutex_unlock(&q->lock);
	return some;
}

static void *serve_thread(void *arg)
{
	struct qmp *q = arg;

	sandbox_enter(q->vm->sandbox, SANDBOX_CONTROL);
	while (!atomic_load(&q->ending))
		serve_once(q, -1);
	for (unsigned i = 0; i < FLUSH_MS / 10 && output_waits(q); i++)
		serve_once(q, 10);
	return NULL;
}

/* --- life --- */

int qmp_new(struct qmp **out, struct vm *vm, int listen_fd, struct err *e)
{
	struct qmp *q = calloc(1, sizeof(*q));
	int r;

	if (!q) {
		close(listen_fd);
		return err_set(e, ENOMEM, "control socket: out of memory");
	}
	q->vm = vm;
	q->listen_fd = listen_fd;
	pthread_mutex_init(&q->lock, NULL);
	pthread_mutex_init(&q->fdsets.lock, NULL);
	pthread_cond_init(&q->cond, NULL);
	q->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->wake_fd < 0) {
		r = err_errno(e, "control socket");
		qmp_free(q);
		return r;
	}
	*out = q;
	return 0;
}

int qmp_start(struct qmp *q, struct err *e)
{
	int r = pthread_create(&q->server, NULL, serve_thread, q);

	q->served = !r;
	if (!r) {
		r = pthread_create(&q->worker, NULL, job_thread, q);
		q->working = !r;
	}
	return r ? err_set(e, r, "control socket: a thread: %s", strerror(r)) : 0;
}

void qmp_free(struct qmp *q)
{
	if (!q)
		return;
	atomic_store(&q->ending, true);
	pthread_mutex_lock(&q->lock);
	pthread_cond_signal(&q->cond);
	pthread_mutex_unlock(&q->lock);
	if (q->working)
		pthread_join(q->worker, NULL);
	if (q->served) {
		wake(q);
		pthread_join(q->server, NULL);
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		if (q->client[i])
			client_free(q->client[i]);
	qmp_fdsets_clear(&q->fdsets);
	pthread_mutex_destroy(&q->fdsets.lock);
	cleanup_closep(&q->wake_fd);
	cleanup_closep(&q->listen_fd);
	pthread_cond_destroy(&q->cond);
	pthread_mutex_destroy(&q->lock);
	free(q);
}
