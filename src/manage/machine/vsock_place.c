/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vsock_place.c - "vsock.sock" leads host programs to the guest's ports; the guest's connections to host
 * port P end at "vsock_P" beside it. Both lie in the machine's folder; a machine without a name gets a
 * folder in $XDG_RUNTIME_DIR, or else /tmp.
 *
 * A machine that root starts becomes another user, who may not enter a folder of root's: that user's
 * group, which nobody else has, gets the right to reach what is in it, and no more. */
#include "manage/machine/vsock_place.h"
#include "base/cleanup.h"
#include "base/janitor.h"
#include "base/privilege.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SOCK "vsock.sock"

static int make_folder(char **out, struct err *e)
{
	const char *run = getenv("XDG_RUNTIME_DIR");
	char *dir;

	if (asprintf(&dir, "%s/penta-XXXXXX", run && run[0] == '/' ? run : "/tmp") < 0)
		return err_set(e, ENOMEM, "out of memory");
	if (!mkdtemp(dir)) {
		int r = err_errno(e, "--vsock: a folder for its socket: %s", dir);

		free(dir);
		return r;
	}
	*out = dir;
	return 0;
}

/* The machine's user shall be able to connect to what others put into @dir. */
static int let_in(struct vm *vm, const char *dir, struct err *e)
{
	const struct privileges p = { .user = vm->cfg.user };
	struct privileges_target t = { .change = false };
	int r = vm->sandbox ? privileges_find(&t, &p, e) : 0;

	if (r || !t.change)
		return r;
	if (chown(dir, (uid_t)-1, t.gid))	/* EINVAL: no such id here, so it will be nobody's */
		return errno == EINVAL && t.fallback ? 0 : err_errno(e, "--vsock: %s", dir);
	return chmod(dir, 0710) ? err_errno(e, "--vsock: %s", dir) : 0;
}

static int listen_at(struct vm *vm, const char *path, int fd, struct err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(a.sun_path))
		return err_set(e, ENAMETOOLONG, "--vsock: %s: too long a path for a socket", path);
	strcpy(a.sun_path, path);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)))
		return err_errno(e, "--vsock: %s", path);
	if (chmod(path, 0600) || listen(fd, 8))
		return err_errno(e, "--vsock: %s", path);
	return janitor_remove(vm->janitor, path, e);
}

int vsock_place(struct vm *vm, int *listen_fd, int *dir_fd, struct err *e)
{
	cleanup_free char *dir = NULL, *path = NULL;
	int r = 0;

	*listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*listen_fd < 0)
		return err_errno(e, "--vsock");
	if (vm->name)		/* the folder is ours alone: what lies there was left behind */
		unlink(SOCK);
	else
		r = make_folder(&dir, e);
	if (!r && asprintf(&path, "%s%s" SOCK, dir ? dir : "", dir ? "/" : "") < 0)
		r = err_set(e, ENOMEM, "out of memory");
	if (!r)
		r = listen_at(vm, path, *listen_fd, e);
	if (!r && dir)
		r = janitor_remove(vm->janitor, dir, e);
	if (!r)
		r = let_in(vm, dir ? dir : ".", e);
	if (!r) {
		*dir_fd = open(dir ? dir : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (*dir_fd < 0)
			r = err_errno(e, "--vsock: %s", dir ? dir : "the machine's folder");
	}
	if (!r && dir)
		fprintf(stderr, "penta: the guest's vsock ports are at %s\n", path);
	return r;
}
