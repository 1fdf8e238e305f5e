// SPDX-License-Identifier: GPL-2.0-or-later
/* fork.c - `penta fork`: running copies of a running machine, which share its memory and its disks'
 * contents until they write. docs/state.md tells what a copy cannot share. */
#include "base/cleanup.h"
#include "manage/cli/machines.h"
#include "manage/machine/layers.h"
#include "manage/machine/restoring.h"
#include "vm/ram.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum opt { OPT_JSON, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_JSON] = OPTION_JSON,
};

static const char text[] =
	"NAME stands still for some milliseconds, and goes on; each NEW is a machine of its own that runs\n"
	"on from that moment. They share memory, and what is on the disks, until one of them writes.\n"
	"A copy has no host ports (`forward=`), no tap, and no serial port to a file or socket: there is\n"
	"one of each. In it the guest is the same to the last byte: its host name, its addresses, the\n"
	"network card's; and its random numbers, until it mixes in new ones.\n"
	"\nExamples:\n"
	"  penta fork web web-test\n"
	"  penta fork base job1 job2 job3\n";

struct forking {
	struct folder parent;
	struct control *c;
	struct vm_config config, before;	/* the parent's, after and before it got new layers */
	struct layers layers;
	int stream, base, delta;
};

/* --- the parent's side --- */

static int receive_memory(struct forking *k, int sock, struct err *e)
{
	union { char buf[CMSG_SPACE(2 * sizeof(int))]; struct cmsghdr align; } u;
	char what;
	struct iovec iov = { &what, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf,
			    .msg_controllen = sizeof(u.buf) };
	struct cmsghdr *h;
	int fd[2] = { -1, -1 };

	if (recvmsg(sock, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) != 1)
		return err_errno(e, "the machine's memory");
	h = CMSG_FIRSTHDR(&m);
	if (!h || h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS ||
	    (h->cmsg_len != CMSG_LEN(sizeof(int)) && h->cmsg_len != CMSG_LEN(2 * sizeof(int))))
		return err_set(e, EPROTO, "the machine did not pass its memory on");
	memcpy(fd, CMSG_DATA(h), h->cmsg_len - CMSG_LEN(0));
	k->base = fd[0];
	k->delta = fd[1];
	return 0;
}

static int ask(struct forking *k, struct err *e)
{
	cleanup_free char *config = restoring_config_text(&k->parent, &k->before, e);
	json_t *disks = json_array();
	int sock[2], r = config ? 0 : -ENOMEM;

	if (!r && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock))
		r = err_errno(e, "socketpair");
	if (r) {
		json_decref(disks);
		return r;
	}
	for (unsigned i = 0; i < k->layers.n && !r; i++) {
		const struct layer *l = &k->layers.l[i];
		char device[16];

		snprintf(device, sizeof(device), "disk%u", l->disk);
		json_array_append_new(disks, json_pack("{s:s, s:s, s:s}", "device", device, "fdname",
						       device, "path", l->path));
		r = control_pass_fd(k->c, device, l->fd, e);
	}
	k->stream = memfd_create("state", MFD_CLOEXEC);
	if (!r && k->stream < 0)
		r = err_errno(e, "memfd_create");
	if (!r)
		r = control_pass_fd(k->c, "stream", k->stream, e);
	if (!r)
		r = control_pass_fd(k->c, "memory", sock[1], e);
	close(sock[1]);
	if (!r)
		r = control_call(k->c, "penta-fork", json_pack("{s:s, s:s, s:s, s:O}", "fdname",
				 "stream", "socket", "memory", "config", config, "disks", disks),
				 -1, NULL, e);
	json_decref(disks);
	if (!r)
		r = receive_memory(k, sock[0], e);
	close(sock[0]);
	return r;
}

/* --- the copies --- */

/* Remove the keys of a network's description that name a port of the host. */
static bool drop_forwards(char *spec)
{
	bool dropped = false;

	for (char *at = strchr(spec, ','); at; ) {
		char *next = strchr(at + 1, ',');

		if (strncmp(at + 1, "forward=", 8)) {
			at = next;
			continue;
		}
		dropped = true;
		if (!next) {
			*at = 0;
			break;
		}
		memmove(at, next, strlen(next) + 1);
	}
	return dropped;
}

static int replace(char **s, const char *by, struct err *e)
{
	char *p = strdup(by);

	if (!p)
		return err_set(e, ENOMEM, "out of memory");
	free(*s);
	*s = p;
	return 0;
}

static bool on_host(const char *where)
{
	return !strncmp(where, "file:", 5) || !strncmp(where, "unix:", 5) || !strcmp(where, "pty");
}

static int absolute(char **path, void *ctx, struct err *e)
{
	char *p = layers_path(ctx, *path);

	if (!p)
		return err_set(e, ENOMEM, "out of memory");
	free(*path);
	*path = p;
	return 0;
}

/* What there is one of stays with the parent. */
static int child_config(struct forking *k, struct vm_config *c, struct err *e)
{
	char uuid[37];
	int r = vm_config_copy(c, &k->before, e);

	if (!r)
		r = vm_config_each_path(c, absolute, k->parent.path, e);
	cli_new_uuid(uuid);
	if (!r)
		r = replace(&c->uuid, uuid, e);
	for (unsigned i = 0; i < c->nnet && !r; i++) {
		if (!strncmp(c->net[i].spec, "user", 4))
			drop_forwards(c->net[i].spec);
		else if (strncmp(c->net[i].spec, "switch", 6))
			r = replace(&c->net[i].spec, "none", e);
	}
	for (unsigned i = 0; i < c->nserial && !r; i++)
		if (on_host(c->serial[i].where))
			r = replace(&c->serial[i].where, "none", e);
	for (unsigned i = 0; i < c->nconsole && !r; i++)
		if (on_host(c->console[i].where))
			r = replace(&c->console[i].where, "none", e);
	for (unsigned i = 0; i < c->npcap; i++)
		free(c->pcap[i].path);
	c->npcap = 0;
	c->autostart = false;
	return r;
}

static int fill(struct folder *f, struct vm_config *c, void *ctx, struct err *e)
{
	struct forking *k = ctx;
	struct layers ls;
	int r = layers_add(&ls, f, c, &k->before, k->parent.path, e);

	layers_free(&ls);
	return r;
}

static int make_child(struct forking *k, const char *name, json_t *out, struct err *e)
{
	const struct ram_from from = { k->base, k->delta };
	struct folder f = FOLDER_NONE;
	struct vm_config c = { 0 };
	int r = child_config(k, &c, e);

	if (!r)
		r = folder_create(&f, name, &c, fill, k, e);
	if (!r) {
		r = folder_run(&f, e);
		if (!r)
			r = restoring_start(&f, &c, k->stream, name, &from, e);
		if (r && !folder_change(&f, NULL) && !folder_run(&f, NULL))
			folder_remove(&f, NULL);
	}
	if (!r)
		json_array_append_new(out, json_string(name));
	folder_close(&f);
	vm_config_free(&c);
	return r;
}

/* --- the whole --- */

static int check_names(char **names, int n, struct err *e)
{
	for (int i = 0; i < n; i++) {
		struct folder f = FOLDER_NONE;
		int r = folder_name_check(names[i], e);

		if (r)
			return r;
		for (int k = 0; k < i; k++)
			if (!strcmp(names[i], names[k]))
				return err_set(e, EEXIST, "\"%s\" is there twice", names[i]);
		r = folder_open(&f, names[i], NULL);
		folder_close(&f);
		if (r != -ENOENT)
			return err_set(e, EEXIST, "there is a machine \"%s\" already", names[i]);
	}
	return 0;
}

static int fork_machine(const char *name, char **names, int n, json_t *out, struct err *e)
{
	struct forking k = { .parent = FOLDER_NONE, .layers = LAYERS_NONE, .stream = -1, .base = -1,
			     .delta = -1 };
	int r = check_names(names, n, e);

	vm_config_init(&k.config);
	if (!r)
		r = cli_lock(&k.parent, name, false, e);
	if (!r)
		r = cli_control(&k.c, name, e);
	if (!r)
		r = cli_merge_layers(&k.parent, k.c, LAYERS_MANY, e);
	if (!r)
		r = folder_read_config(&k.parent, &k.config, e);
	if (!r)
		r = vm_config_copy(&k.before, &k.config, e);
	if (!r)
		r = layers_add(&k.layers, &k.parent, &k.config, &k.before, k.parent.path, e);
	if (!r && k.layers.n) {
		r = folder_write_config(&k.parent, &k.config, e);
		if (r)
			layers_undo(&k.layers, &k.parent, &k.config);
	}
	if (!r)
		r = ask(&k, e);
	for (int i = 0; i < n && !r; i++)
		r = make_child(&k, names[i], out, e);
	for (unsigned i = 0; i < k.before.nnet && !r; i++)
		if (!strncmp(k.before.net[i].spec, "switch", 6)) {
			cli_error("warning: %s and its copies are on one switch with one and the same address; "
				  "give each copy's card another one in its guest (ip link set address)", name);
			break;
		}
	layers_free(&k.layers);
	control_close(k.c);
	cleanup_closep(&k.stream);
	cleanup_closep(&k.base);
	cleanup_closep(&k.delta);
	vm_config_free(&k.config);
	vm_config_free(&k.before);
	folder_close(&k.parent);
	return r;
}

static int run(const struct args *a, int npos, char **pos)
{
	json_t *out = json_array();
	struct err e = { 0 };
	int r;

	if (npos < 2) {
		cli_error("fork: a machine and new names are needed: penta fork NAME NEW...");
		json_decref(out);
		return EXIT_USAGE;
	}
	r = fork_machine(pos[0], pos + 1, npos - 1, out, &e);
	if (r)
		cli_error("%s", e.msg);
	if (args_get(a, OPT_JSON))
		cli_print_json(json_pack("{s:s, s:o}", "name", pos[0], "forks", out));
	else
		json_decref(out);
	return r ? EXIT_FAILED : EXIT_DONE;
}

const struct verb verb_fork = {
	.name = "fork", .summary = "make running copies of a running machine", .usage = "NAME NEW...",
	.options = options, .text = text, .positional = "@machine", .run = run,
};
