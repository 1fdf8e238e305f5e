// SPDX-License-Identifier: GPL-2.0-or-later
/* snapshots.c - a machine's snapshots as files. See snapshots.h. */
#include "manage/machine/snapshots.h"
#include "base/cleanup.h"
#include "block/image.h"
#include "manage/machine/layers.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DIR_NAME "snapshots"

static char *path_of(const struct folder *f, const char *name, const char *end, struct err *e)
{
	char *p = NULL;

	if (asprintf(&p, "%s/" DIR_NAME "/%s%s", f->path, name, end) < 0) {
		err_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	return p;
}

char *snapshot_stream(const struct folder *f, const char *name, bool make, struct err *e)
{
	if (folder_name_check(name, e))
		return NULL;
	if (make && mkdirat(f->fd, DIR_NAME, 0700) && errno != EEXIST) {
		err_errno(e, "%s/" DIR_NAME, f->path);
		return NULL;
	}
	return path_of(f, name, ".state", e);
}

static int bad(const char *path, struct err *e)
{
	return err_set(e, EINVAL, "%s is no snapshot's description", path);
}

static int parse(struct snapshot *s, const char *path, const char *text, size_t len, struct err *e)
{
	json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL), *config;
	char *again = NULL;
	int r;

	config = json_object_get(j, "config");
	if (!json_is_object(config) || !json_is_integer(json_object_get(j, "time")) ||
	    !json_is_boolean(json_object_get(j, "memory"))) {
		json_decref(j);
		return bad(path, e);
	}
	s->time = (u64)json_integer_value(json_object_get(j, "time"));
	s->memory = json_is_true(json_object_get(j, "memory"));
	again = json_dumps(config, JSON_COMPACT);
	r = again ? vm_config_parse(&s->config, again, strlen(again), path, e)
		  : err_set(e, ENOMEM, "out of memory");
	free(again);
	json_decref(j);
	return r;
}

int snapshot_read(struct snapshot *s, const struct folder *f, const char *name, struct err *e)
{
	cleanup_free char *path = NULL, *stream = NULL, *text = NULL;
	cleanup_close int fd = -1;
	struct stat st;
	ssize_t n;
	int r;

	memset(s, 0, sizeof(*s));
	r = folder_name_check(name, e);
	if (r)
		return r;
	snprintf(s->name, sizeof(s->name), "%s", name);
	path = path_of(f, name, ".json", e);
	stream = path_of(f, name, ".state", e);
	text = malloc(VM_CONFIG_MAX);
	if (!path || !stream || !text)
		return err_set(e, ENOMEM, "out of memory");
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? err_set(e, ENOENT, "machine \"%s\" has no snapshot \"%s\"",
						 f->name, name)
				       : err_errno(e, "open %s", path);
	n = read(fd, text, VM_CONFIG_MAX);
	if (n < 0)
		return err_errno(e, "read %s", path);
	vm_config_init(&s->config);
	r = parse(s, path, text, (size_t)n, e);
	if (r)
		snapshot_free(s);
	else if (s->memory && !stat(stream, &st))
		s->size = (u64)st.st_size;
	return r;
}

void snapshot_free(struct snapshot *s)
{
	vm_config_free(&s->config);
	memset(s, 0, sizeof(*s));
}

static int fill(void *ctx, int fd, struct err *e)
{
	const char *text = ctx;
	size_t len = strlen(text);

	return write(fd, text, len) == (ssize_t)len ? 0 : err_errno(e, "write");
}

int snapshot_write(const struct snapshot *s, const struct folder *f, struct err *e)
{
	cleanup_free char *path = path_of(f, s->name, ".json", e), *text = NULL;
	json_t *config, *j;

	if (!path)
		return -ENOMEM;
	if (mkdirat(f->fd, DIR_NAME, 0700) && errno != EEXIST)
		return err_errno(e, "%s/" DIR_NAME, f->path);
	config = vm_config_json(&s->config);
	j = config ? json_pack("{s:s, s:I, s:b, s:o}", "name", s->name, "time", (json_int_t)s->time,
			       "memory", s->memory, "config", config) : NULL;
	text = j ? json_dumps(j, JSON_INDENT(1)) : NULL;
	json_decref(j);
	if (!text)
		return err_set(e, ENOMEM, "out of memory");
	return image_publish(path, false, fill, text, e);
}

int snapshot_remove(const struct folder *f, const char *name, struct err *e)
{
	cleanup_free char *path = path_of(f, name, ".json", e), *stream = path_of(f, name, ".state", e);

	if (!path || !stream)
		return -ENOMEM;
	if (unlink(path))
		return err_errno(e, "remove %s", path);
	unlink(stream);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int snapshot_list(const struct folder *f, char ***names, struct err *e)
{
	int fd = openat(f->fd, DIR_NAME, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char **list = calloc(1, sizeof(*list));
	struct dirent *d;
	size_t n = 0;
	DIR *dir;

	*names = list;
	if (!list)
		return err_set(e, ENOMEM, "out of memory");
	if (fd < 0)
		return errno == ENOENT ? 0 : err_errno(e, "%s/" DIR_NAME, f->path);
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return err_errno(e, "%s/" DIR_NAME, f->path);
	}
	while ((d = readdir(dir))) {
		char *dot = strrchr(d->d_name, '.'), **more;

		if (!dot || strcmp(dot, ".json") || d->d_name[0] == '.')
			continue;
		*dot = 0;
		if (folder_name_check(d->d_name, NULL))
			continue;
		more = realloc(list, (n + 2) * sizeof(*list));
		if (!more || !(more[n] = strdup(d->d_name)))
			break;
		*names = list = more;
		list[++n] = NULL;
	}
	closedir(dir);
	qsort(list, n, sizeof(*list), by_name);
	return 0;
}

int snapshots_each(const struct folder *f, int (*fn)(void *ctx, const char *name,
		   const struct vm_config *c, const char *dir), void *ctx)
{
	char **names = NULL;
	int r = snapshot_list(f, &names, NULL);

	for (char **n = names; !r && n && *n; n++) {
		struct snapshot s;

		r = snapshot_read(&s, f, *n, NULL);
		if (r)
			break;
		r = fn(ctx, *n, &s.config, f->path);
		snapshot_free(&s);
	}
	folder_list_free(names);
	return r;
}
