// SPDX-License-Identifier: GPL-2.0-or-later
/* client.c - see client.h. Replies come in lines, as our own server writes them. Events that come
 * while a reply is awaited are kept for control_wait(). */
#include "manage/control/client.h"
#include "base/cleanup.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 8 << 20, EVENTS_KEPT = 64, USUAL_MS = 10000 };

struct control {
	int fd;
	char *name;			/* of the machine, for messages */
	char *buf;
	size_t len, room;
	json_t *events;			/* an array */
	void (*progress)(void *ctx, u64 done, u64 total);
	void *ctx;
};

static u64 mono_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000 + (u64)ts.tv_nsec / 1000000;
}

/* --- lines --- */

static int wait_for(struct control *c, short events, u64 until, struct err *e)
{
	struct pollfd p = { .fd = c->fd, .events = events };
	u64 now = mono_ms();
	int n;

	n = poll(&p, 1, until == UINT64_MAX ? -1 : now >= until ? 0 : (int)(until - now));
	if (n < 0 && errno != EINTR)
		return err_errno(e, "machine \"%s\": control socket", c->name);
	return n ? 0 : err_set(e, ETIMEDOUT, "machine \"%s\" does not answer", c->name);
}

static int ended(struct control *c, struct err *e)
{
	return err_set(e, ECONNRESET, "machine \"%s\" has ended", c->name);
}

/* The next message; NULL with @e set. */
static json_t *receive(struct control *c, u64 until, struct err *e)
{
	for (;;) {
		char *nl = memchr(c->buf, '\n', c->len);
		ssize_t n;

		if (nl) {
			size_t len = (size_t)(nl - c->buf) + 1;
			json_t *j = json_loadb(c->buf, len, 0, NULL);

			memmove(c->buf, c->buf + len, c->len - len);
			c->len -= len;
			if (json_is_object(j))
				return j;
			json_decref(j);
			err_set(e, EPROTO, "machine \"%s\": its control socket does not speak "
				"our protocol", c->name);
			return NULL;
		}
		if (c->len == c->room) {
			char *more = c->room < LINE_MAX_BYTES ? realloc(c->buf, 2 * c->room) : NULL;

			if (!more) {
				err_set(e, EMSGSIZE, "machine \"%s\": a message of more than %d "
					"bytes", c->name, LINE_MAX_BYTES);
				return NULL;
			}
			c->buf = more;
			c->room *= 2;
		}
		if (wait_for(c, POLLIN, until, e))
			return NULL;
		n = recv(c->fd, c->buf + c->len, c->room - c->len, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0) {
			ended(c, e);
			return NULL;
		}
		c->len += (size_t)n;
	}
}

static int send_all(struct control *c, const char *p, size_t len, int fd, u64 until, struct err *e)
{
	while (len) {
		union { struct cmsghdr align; char buf[CMSG_SPACE(sizeof(int))]; } u;
		struct iovec iov = { .iov_base = (char *)(uintptr_t)p, .iov_len = len };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
		ssize_t n;

		if (fd >= 0) {
			struct cmsghdr *h;

			memset(&u, 0, sizeof(u));
			m.msg_control = u.buf;
			m.msg_controllen = sizeof(u.buf);
			h = CMSG_FIRSTHDR(&m);
			h->cmsg_level = SOL_SOCKET;
			h->cmsg_type = SCM_RIGHTS;
			h->cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(h), &fd, sizeof(fd));
		}
		n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			int r = wait_for(c, POLLOUT, until, e);

			if (r)
				return r;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return ended(c, e);
		fd = -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* --- messages --- */

static void got_event(struct control *c, json_t *j)
{
	const char *name = json_string_value(json_object_get(j, "event"));

	if (name && !strcmp(name, "PENTA_PROGRESS")) {
		json_t *d = json_object_get(j, "data");

		if (c->progress)
			c->progress(c->ctx, (u64)json_integer_value(json_object_get(d, "done")),
				    (u64)json_integer_value(json_object_get(d, "total")));
	} else if (json_array_size(c->events) < EVENTS_KEPT) {
		json_array_append(c->events, j);
	}
	json_decref(j);
}

static int call(struct control *c, const char *cmd, json_t *args, int fd, int timeout_ms,
		json_t **ret, struct err *e)
{
	u64 until = timeout_ms < 0 ? UINT64_MAX : mono_ms() + (u64)timeout_ms;
	json_auto_t *j = json_pack("{s:s, s:o*}", "execute", cmd, "arguments", args);
	cleanup_free char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	int r;

	if (!text)
		return err_set(e, EINVAL, "%s: an argument is no UTF-8 text", cmd);
	r = send_all(c, text, strlen(text), fd, until, e);
	while (!r) {
		json_auto_t *reply = receive(c, until, e);
		const json_t *err;

		if (!reply)
			return -e->code;
		if (json_object_get(reply, "event")) {
			got_event(c, json_incref(reply));
			continue;
		}
		err = json_object_get(reply, "error");
		if (err) {
			const char *desc = json_string_value(json_object_get(err, "desc"));

			return err_set(e, EIO, "machine \"%s\": %.400s", c->name,
				       desc ? desc : "an error without words");
		}
		if (ret)
			*ret = json_incref(json_object_get(reply, "return"));
		break;
	}
	return r;
}

int control_call(struct control *c, const char *cmd, json_t *args, int timeout_ms, json_t **ret,
		 struct err *e)
{
	return call(c, cmd, args, -1, timeout_ms, ret, e);
}

int control_pass_fd(struct control *c, const char *name, int fd, struct err *e)
{
	return call(c, "getfd", json_pack("{s:s}", "fdname", name), fd, USUAL_MS, NULL, e);
}

int control_wait(struct control *c, const char *name, int timeout_ms, json_t **out, struct err *e)
{
	u64 until = timeout_ms < 0 ? UINT64_MAX : mono_ms() + (u64)timeout_ms;

	for (;;) {
		size_t i;
		json_t *j;

		json_array_foreach(c->events, i, j) {
			const char *ev = json_string_value(json_object_get(j, "event"));

			if (name && ev && strcmp(ev, name))
				continue;
			if (out)
				*out = json_incref(j);
			json_array_remove(c->events, i);
			return 0;
		}
		j = receive(c, until, e);
		if (!j)
			return -e->code;
		got_event(c, j);
	}
}

void control_on_progress(struct control *c, void (*fn)(void *ctx, u64 done, u64 total), void *ctx)
{
	c->progress = fn;
	c->ctx = ctx;
}

/* --- life --- */

static int greet(struct control *c, int timeout_ms, struct err *e)
{
	json_auto_t *hello = receive(c, mono_ms() + (u64)timeout_ms, e);

	if (!hello)
		return -e->code;
	if (!json_object_get(hello, "QMP"))
		return err_set(e, EPROTO, "machine \"%s\": no greeting on its control socket",
			       c->name);
	return call(c, "qmp_capabilities", NULL, -1, timeout_ms, NULL, e);
}

int control_open(struct control **out, const struct folder *f, int timeout_ms, struct err *e)
{
	struct control *c = calloc(1, sizeof(*c));
	int r = 0;

	if (!c)
		return err_set(e, ENOMEM, "out of memory");
	c->fd = -1;
	c->room = 65536;
	c->buf = malloc(c->room);
	c->name = strdup(f->name);
	c->events = json_array();
	if (!c->buf || !c->name || !c->events)
		r = err_set(e, ENOMEM, "out of memory");
	if (!r) {
		c->fd = folder_connect(f, "control.sock", e);
		r = c->fd < 0 ? c->fd : greet(c, timeout_ms, e);
	}
	if (r) {
		control_close(c);
		return r;
	}
	*out = c;
	return 0;
}

void control_close(struct control *c)
{
	if (!c)
		return;
	cleanup_closep(&c->fd);
	json_decref(c->events);
	free(c->name);
	free(c->buf);
	free(c);
}
