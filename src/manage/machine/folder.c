// SPDX-License-Identifier: GPL-2.0-or-later
/* folder.c - a machine's folder: places, names, its configuration, how it comes and goes. See
 * folder.h; folder_lock.c has the locks. */
#include "manage/machine/folder.h"
#include "base/cleanup.h"
#include "base/words.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LEFTOVER_AGE = 60, TREE_DEPTH = 64 };

/* --- places --- */

static char *join(const char *dir, const char *name)
{
	char *p;

	return asprintf(&p, "%s/%s", dir, name) < 0 ? NULL : p;
}

static char *absolute(const char *path)
{
	cleanup_free char *cwd = NULL;

	if (path[0] == '/')
		return strdup(path);
	cwd = getcwd(NULL, 0);
	while (path[0] == '.' && path[1] == '/')
		path += 2;
	return cwd ? join(cwd, path) : NULL;
}

/* Where all that penta keeps lies. */
static char *home(struct err *e)
{
	const char *penta = getenv("PENTA_HOME"), *xdg = getenv("XDG_DATA_HOME");
	const char *h = getenv("HOME");
	char *p = NULL;

	if (penta && penta[0])
		p = absolute(penta);
	else if (geteuid() == 0)
		p = strdup("/var/lib/penta");
	else if (xdg && xdg[0] == '/')
		p = join(xdg, "penta");
	else if (h && h[0] == '/')
		p = join(h, ".local/share/penta");
	else {
		err_set(e, ENOENT, "neither PENTA_HOME nor HOME is set: where are the machines?");
		return NULL;
	}
	if (!p)
		err_set(e, ENOMEM, "out of memory");
	return p;
}

/* mkdir -p */
static int make_dirs(char *path, struct err *e)
{
	for (char *s = path + 1; ; s++) {
		char c = *s;

		if (c && c != '/')
			continue;
		*s = '\0';
		if (mkdir(path, 0777) && errno != EEXIST) {
			int why = errno;	/* not access()'s, which says less */

			if (access(path, F_OK)) {
				errno = why;
				return err_errno(e, "make folder %s", path);
			}
		}
		*s = c;
		if (!c)
			return 0;
	}
}

char *folder_home(const char *sub, bool make, struct err *e)
{
	cleanup_free char *h = home(e);
	char *p = h ? join(h, sub) : NULL;

	if (h && !p)
		err_set(e, ENOMEM, "out of memory");
	if (p && make && make_dirs(p, e)) {
		free(p);
		return NULL;
	}
	return p;
}

char *folder_root(struct err *e)
{
	return folder_home("machines", false, e);
}

/* --- names --- */

int folder_name_check(const char *name, struct err *e)
{
	static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	size_t len = strlen(name);

	if (!len || len > FOLDER_NAME_MAX || !strchr(first, name[0]) ||
	    strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != len)
		return err_set(e, EINVAL, "\"%.80s\" is no name for a machine: it has 1 to %d of the "
			       "characters A-Z a-z 0-9 . _ - and begins with a letter or digit",
			       name, FOLDER_NAME_MAX);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strverscmp(*(const char *const *)a, *(const char *const *)b);
}

void folder_list_free(char **names)
{
	for (char **n = names; n && *n; n++)
		free(*n);
	free(names);
}

static bool is_machine(const char *root, const char *name)
{
	char path[4200];

	if (folder_name_check(name, NULL))
		return false;
	snprintf(path, sizeof(path), "%s/%s/config.json", root, name);
	return access(path, F_OK) == 0;
}

int folder_list(char ***names, struct err *e)
{
	cleanup_free char *root = folder_root(e);
	size_t n = 0, room = 16;
	struct dirent *d;
	DIR *dir;

	if (!root)
		return -e->code;
	*names = calloc(room, sizeof(**names));
	if (!*names)
		return err_set(e, ENOMEM, "out of memory");
	dir = opendir(root);
	if (!dir) {
		if (errno == ENOENT)
			return 0;
		folder_list_free(*names);
		return err_errno(e, "open %s", root);
	}
	while ((d = readdir(dir))) {
		if (!is_machine(root, d->d_name))
			continue;
		if (n + 2 > room) {
			char **more = realloc(*names, 2 * room * sizeof(*more));

			if (!more)
				break;
			memset(more + room, 0, room * sizeof(*more));
			*names = more;
			room *= 2;
		}
		(*names)[n] = strdup(d->d_name);
		if (!(*names)[n++])
			break;
	}
	closedir(dir);
	if (d) {
		folder_list_free(*names);
		return err_set(e, ENOMEM, "out of memory");
	}
	qsort(*names, n, sizeof(**names), by_name);
	return 0;
}

static int no_machine(const char *name, struct err *e)
{
	char **names = NULL;
	const char *near = NULL;

	if (!folder_list(&names, e))
		near = word_near(name, (const char *const *)names);
	if (near)
		err_set(e, ENOENT, "no machine \"%s\"; did you mean \"%s\"?", name, near);
	else
		err_set(e, ENOENT, "no machine \"%s\"; `penta ls` lists them, `penta create` makes "
			"one", name);
	folder_list_free(names);
	return -ENOENT;
}

int folder_open(struct folder *f, const char *name, struct err *e)
{
	cleanup_free char *root = folder_root(e);
	int r;

	*f = FOLDER_NONE;
	if (!root)
		return -e->code;
	r = folder_name_check(name, e);
	if (r)
		return r;
	f->name = strdup(name);
	f->path = join(root, name);
	if (!f->name || !f->path) {
		folder_close(f);
		return err_set(e, ENOMEM, "out of memory");
	}
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->fd < 0) {
		r = errno == ENOENT || errno == ENOTDIR ? no_machine(name, e)
							: err_errno(e, "open %s", f->path);
		folder_close(f);
		return r;
	}
	return 0;
}

void folder_close(struct folder *f)
{
	cleanup_closep(&f->lock_fd);
	cleanup_closep(&f->fd);
	free(f->name);
	free(f->path);
	*f = FOLDER_NONE;
}

/* --- config.json --- */

int folder_read_config(const struct folder *f, struct vm_config *c, struct err *e)
{
	cleanup_close int fd = openat(f->fd, "config.json", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	cleanup_free char *buf = malloc(VM_CONFIG_MAX + 1);
	cleanup_free char *name = join(f->path, "config.json");
	size_t n = 0;
	ssize_t k;

	if (!buf || !name)
		return err_set(e, ENOMEM, "out of memory");
	if (fd < 0)
		return err_errno(e, "open %s", name);
	while (n <= VM_CONFIG_MAX && (k = read(fd, buf + n, VM_CONFIG_MAX + 1 - n)) > 0)
		n += (size_t)k;
	if (n <= VM_CONFIG_MAX && k < 0)
		return err_errno(e, "read %s", name);
	return vm_config_parse(c, buf, n, name, e);
}

static int write_all(int fd, const char *p, size_t len)
{
	while (len) {
		ssize_t k = write(fd, p, len);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return -1;
		p += k;
		len -= (size_t)k;
	}
	return 0;
}

int folder_write_config(const struct folder *f, const struct vm_config *c, struct err *e)
{
	static const char tmp[] = ".config.json.new";
	cleanup_free char *text = vm_config_print(c);
	cleanup_close int fd = -1;

	if (!text)
		return err_set(e, EILSEQ, "%s/config.json: a value is no UTF-8 text, or there is "
			       "no memory left", f->path);
	fd = openat(f->fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write_all(fd, text, strlen(text)) || fsync(fd) ||
	    renameat(f->fd, tmp, f->fd, "config.json") || fsync(f->fd)) {
		int r = err_errno(e, "write %s/config.json", f->path);

		unlinkat(f->fd, tmp, 0);
		return r;
	}
	return 0;
}

int folder_own_path(char **path, void *ctx, struct err *e)
{
	const struct folder *f = ctx;
	size_t len = strlen(f->path);
	char *abs;

	/* A file that lies in the folder, and not here, is meant by its name alone. */
	if ((*path)[0] != '/' && access(*path, F_OK) && !faccessat(f->fd, *path, F_OK, 0))
		return 0;
	abs = absolute(*path);
	if (!abs)
		return err_set(e, ENOMEM, "out of memory");
	if (!strncmp(abs, f->path, len) && abs[len] == '/' && abs[len + 1])
		memmove(abs, abs + len + 1, strlen(abs + len + 1) + 1);
	free(*path);
	*path = abs;
	return 0;
}

/* --- coming and going --- */

static int remove_tree(int dirfd, const char *name, unsigned depth)
{
	int fd, r = 0;
	struct dirent *d;
	DIR *dir;

	if (!unlinkat(dirfd, name, 0))
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	dir = fd < 0 || !depth ? NULL : fdopendir(fd);
	if (!dir) {
		r = depth ? -errno : -ELOOP;
		cleanup_closep(&fd);
		return r;
	}
	while ((d = readdir(dir)))
		if (strcmp(d->d_name, ".") && strcmp(d->d_name, ".."))
			r = remove_tree(fd, d->d_name, depth - 1) ?: r;
	closedir(dir);
	if (unlinkat(dirfd, name, AT_REMOVEDIR))
		r = r ? r : -errno;
	return r;
}

/* What a create or rm that was interrupted has left. Young ones may still be at work: their locks are
 * taken a moment after they are made. */
static void sweep(const char *root)
{
	DIR *dir = opendir(root);
	struct dirent *d;

	while (dir && (d = readdir(dir))) {
		struct folder f = FOLDER_NONE;
		struct stat st;

		if (strncmp(d->d_name, ".new-", 5) && strncmp(d->d_name, ".gone-", 6))
			continue;
		if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
		    st.st_mtime + LEFTOVER_AGE > time(NULL))
			continue;
		f.path = join(root, d->d_name);
		f.fd = f.path ? open(f.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
		if (f.fd >= 0 && !folder_change(&f, NULL) && !folder_run(&f, NULL))
			remove_tree(dirfd(dir), d->d_name, TREE_DEPTH);
		folder_close(&f);
	}
	if (dir)
		closedir(dir);
}

static void random_name(char buf[32], const char *what)
{
	u64 n = 0;

	if (getrandom(&n, sizeof(n), 0) < 0)
		n = (u64)getpid() << 32 ^ (u64)time(NULL);
	snprintf(buf, 32, ".%s-%016llx", what, (unsigned long long)n);
}

/* Move the folder to @root/@to, where nothing is: a folder that is not empty is never replaced. */
static int move(struct folder *f, const char *to_path, struct err *e)
{
	char *path = strdup(to_path);

	if (!path)
		return err_set(e, ENOMEM, "out of memory");
	if (rename(f->path, path)) {
		int r = errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR ?
			err_set(e, EEXIST, "there is a machine \"%s\" already",
				strrchr(to_path, '/') + 1) :
			err_errno(e, "rename %s to %s", f->path, path);

		free(path);
		return r;
	}
	free(f->path);
	f->path = path;
	return 0;
}

int folder_create(struct folder *f, const char *name, struct vm_config *c,
		  int (*fill)(struct folder *f, struct vm_config *c, void *ctx, struct err *e),
		  void *ctx, struct err *e)
{
	cleanup_free char *root = NULL, *path = NULL;
	char tmp[32];
	int r;

	*f = FOLDER_NONE;
	r = folder_name_check(name, e);
	if (r)
		return r;
	root = folder_home("machines", true, e);
	if (!root)
		return -e->code;
	sweep(root);
	random_name(tmp, "new");
	f->name = strdup(name);
	f->path = join(root, tmp);
	path = join(root, name);
	if (!f->name || !f->path || !path)
		r = err_set(e, ENOMEM, "out of memory");
	else if (!access(path, F_OK))
		r = err_set(e, EEXIST, "there is a machine \"%s\" already", name);
	else if (mkdir(f->path, 0700))
		r = err_errno(e, "make folder %s", f->path);
	if (r) {
		folder_close(f);
		return r;
	}
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = f->fd < 0 ? err_errno(e, "open %s", f->path) : folder_change(f, e);
	if (!r && fill)
		r = fill(f, c, ctx, e);
	if (!r)
		r = folder_write_config(f, c, e);
	if (!r)
		r = move(f, path, e);
	if (r) {
		remove_tree(AT_FDCWD, f->path, TREE_DEPTH);
		folder_close(f);
	}
	return r;
}

int folder_remove(struct folder *f, struct err *e)
{
	cleanup_free char *root = folder_root(e), *gone = NULL;
	char tmp[32];
	int r;

	if (!root)
		return -e->code;
	random_name(tmp, "gone");
	gone = join(root, tmp);
	r = gone ? move(f, gone, e) : err_set(e, ENOMEM, "out of memory");
	if (!r) {
		r = remove_tree(AT_FDCWD, gone, TREE_DEPTH);
		if (r)
			r = err_set(e, -r, "remove %s: %s", gone, strerror(-r));
	}
	return r;
}

int folder_rename(struct folder *f, const char *to, struct err *e)
{
	cleanup_free char *root = folder_root(e), *path = NULL;
	char *name;
	int r;

	if (!root)
		return -e->code;
	r = folder_name_check(to, e);
	if (r)
		return r;
	path = join(root, to);
	name = strdup(to);
	r = path && name ? move(f, path, e) : err_set(e, ENOMEM, "out of memory");
	if (r) {
		free(name);
		return r;
	}
	free(f->name);
	f->name = name;
	return 0;
}
