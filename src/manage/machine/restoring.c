// SPDX-License-Identifier: GPL-2.0-or-later
/* restoring.c - a machine's process that begins with a state. See restoring.h. */
#include "manage/machine/restoring.h"
#include "base/cleanup.h"
#include "manage/machine/layers.h"
#include "state/state.h"
#include "vm/ram.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int make_absolute(char **path, void *ctx, struct err *e)
{
	char *p = layers_path(ctx, *path);

	if (!p)
		return err_set(e, ENOMEM, "out of memory");
	free(*path);
	*path = p;
	return 0;
}

char *restoring_config_text(const struct folder *f, const struct vm_config *c, struct err *e)
{
	struct vm_config abs = { 0 };
	json_t *config = NULL, *j;
	char *text = NULL;

	if (!vm_config_copy(&abs, c, e) && !vm_config_each_path(&abs, make_absolute, f->path, e)) {
		config = vm_config_json(&abs);
		j = config ? json_pack("{s:o, s:s}", "config", config, "folder", f->path) : NULL;
		text = j ? json_dumps(j, JSON_COMPACT) : NULL;
		json_decref(j);
		if (!text)
			err_set(e, ENOMEM, "out of memory");
	}
	vm_config_free(&abs);
	return text;
}

int restoring_config_read(const char *text, const char *name, struct vm_config *c, struct err *e)
{
	json_t *j = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
	json_t *config = json_object_get(j, "config");
	cleanup_free char *again = json_is_object(config) ? json_dumps(config, JSON_COMPACT) : NULL;

	json_decref(j);
	if (!again)
		return err_set(e, EINVAL, "%s does not say what machine it is of", name);
	return vm_config_parse(c, again, strlen(again), name, e);
}

int restoring_check_disks(const char *text, bool *known, struct err *e)
{
	json_t *j = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL, *d;
	json_t *disks = json_object_get(j, "disks");
	struct stat st;
	size_t i;
	int r = 0;

	*known = json_array_size(disks) > 0;
	json_array_foreach(disks, i, d) {
		const char *path = json_string_value(json_object_get(d, "path"));
		s64 mtime = json_integer_value(json_object_get(d, "mtime"));

		/* What is there now; whose it is and whether it may be opened is asked later. */
		if (!path)
			r = err_set(e, EINVAL, "the stream does not say which disks it is of");
		else if (stat(path, &st))
			r = err_errno(e, "disk %s", path);
		else if (st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec != mtime)
			r = err_set(e, EEXIST, "disk %s has been written since the machine was saved: it "
				    "is not what the machine's memory thinks; --force restores it all "
				    "the same", path);
		if (r)
			break;
	}
	json_decref(j);
	return r;
}

struct restoring { int fd; const char *name; const struct ram_from *from; };

static int restore(struct vm *vm, void *ctx, struct err *e)
{
	const struct restoring *g = ctx;
	struct state_stream *s;
	int r = g->from ? ram_begin_from(vm->m->ram, g->from, e) : 0;

	if (!r)
		r = state_open(&s, g->fd, g->name, e);
	if (r)
		return r;
	vm->hold = state_info(s)->paused;
	r = lite_restore(vm->lite, s, true, e);
	state_close(s);
	return r;
}

int restoring_start(struct folder *f, const struct vm_config *cfg, int fd, const char *name,
		    const struct ram_from *from, struct err *e)
{
	struct restoring g = { fd, name, from };

	const int keep[] = { fd, from ? from->base_fd : -1, from ? from->delta_fd : -1, -1 };

	return process_start(f, cfg, restore, &g, keep, e);
}
