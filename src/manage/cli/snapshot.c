// SPDX-License-Identifier: GPL-2.0-or-later
/* snapshot.c - `penta snapshot`: what a machine is at a moment, memory and disks, to come back to. */
#include "base/cleanup.h"
#include "block/image.h"
#include "manage/cli/machines.h"
#include "manage/cli/progress.h"
#include "manage/machine/layers.h"
#include "manage/machine/restoring.h"
#include "manage/machine/snapshots.h"
#include "state/state.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum opt { OPT_JSON, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_JSON] = OPTION_JSON,
};

static const char text[] =
	"  take NAME [SNAPSHOT]     keep what the machine is now; a running one hardly stops\n"
	"  ls NAME                  what there is\n"
	"  restore NAME SNAPSHOT    be that again; what the machine is now is lost\n"
	"  rm NAME SNAPSHOT         forget it\n"
	"\nA snapshot of a running machine has its memory, and runs on when it is restored. Disks are kept\n"
	"by leaving their files alone and writing into new ones on top of them.\n"
	"\nExamples:\n"
	"  penta snapshot take web before-upgrade\n"
	"  penta snapshot restore web before-upgrade\n";

/* --- take --- */

struct taking {
	struct control *c;		/* NULL: it does not run */
	struct folder f;
	struct vm_config config;
	struct snapshot snap;
	struct layers layers;
	char *text;
	struct progress p;
};

static void on_progress(void *ctx, u64 done, u64 total)
{
	struct progress *p = ctx;

	p->total = total;
	progress_update(p, done);
}

static int fill(void *ctx, int fd, struct err *e)
{
	struct taking *t = ctx;
	json_t *disks = json_array();
	int r = control_pass_fd(t->c, "stream", fd, e);

	for (unsigned i = 0; i < t->layers.n && !r; i++) {
		char device[16];

		snprintf(device, sizeof(device), "disk%u", t->layers.l[i].disk);
		json_array_append_new(disks, json_pack("{s:s, s:s, s:s}", "device", device, "fdname",
						       device, "path", t->layers.l[i].path));
		r = control_pass_fd(t->c, device, t->layers.l[i].fd, e);
	}
	progress_begin(&t->p, "saving memory", 0, true);
	control_on_progress(t->c, on_progress, &t->p);
	if (!r)
		r = control_call(t->c, "penta-snapshot", json_pack("{s:s, s:s, s:O}", "fdname",
				 "stream", "config", t->text, "disks", disks), -1, NULL, e);
	progress_end(&t->p);
	json_decref(disks);
	return r;
}

static int take_running(struct taking *t, struct err *e)
{
	cleanup_free char *path = snapshot_stream(&t->f, t->snap.name, true, e);

	t->text = restoring_config_text(&t->f, &t->snap.config, e);
	if (!path || !t->text)
		return -e->code;
	t->snap.memory = true;
	return image_publish(path, true, fill, t, e);
}

static int check_new(const struct folder *f, const char *name, struct err *e)
{
	struct snapshot s;
	int r = folder_name_check(name, e);

	if (!r && !snapshot_read(&s, f, name, NULL)) {
		snapshot_free(&s);
		r = err_set(e, EEXIST, "machine \"%s\" has a snapshot \"%s\" already", f->name, name);
	}
	return r;
}

static int take(const char *name, const char *snap, struct err *e)
{
	struct taking t = { .f = FOLDER_NONE, .layers = LAYERS_NONE };
	struct folder_status st;
	int r = cli_lock(&t.f, name, false, e);

	vm_config_init(&t.config);
	if (!r)
		r = check_new(&t.f, snap, e);
	if (!r) {
		folder_status(&t.f, &st);
		r = st.state == FOLDER_RUNNING ? cli_control(&t.c, name, e) : folder_run(&t.f, e);
	}
	if (!r)
		r = cli_merge_layers(&t.f, t.c, LAYERS_MANY, e);
	if (!r)
		r = folder_read_config(&t.f, &t.config, e);
	snprintf(t.snap.name, sizeof(t.snap.name), "%s", snap);
	t.snap.time = (u64)time(NULL);
	if (!r)
		r = vm_config_copy(&t.snap.config, &t.config, e);
	if (!r)
		r = layers_add(&t.layers, &t.f, &t.config, &t.snap.config, t.f.path, e);
	if (!r && t.layers.n) {
		r = folder_write_config(&t.f, &t.config, e);
		if (r)
			layers_undo(&t.layers, &t.f, &t.config);
	}
	if (!r && t.c)
		r = take_running(&t, e);
	if (!r)
		r = snapshot_write(&t.snap, &t.f, e);
	layers_free(&t.layers);
	control_close(t.c);
	free(t.text);
	vm_config_free(&t.config);
	snapshot_free(&t.snap);
	folder_close(&t.f);
	return r;
}

/* --- ls --- */

static int list(const char *name, bool json, struct err *e)
{
	struct folder f = FOLDER_NONE;
	char **names = NULL;
	json_t *out = json_array();
	int r = folder_open(&f, name, e);

	if (!r)
		r = snapshot_list(&f, &names, e);
	if (!r && !json && names[0])
		printf("%-24s %-20s %s\n", "SNAPSHOT", "TAKEN", "MEMORY");
	for (char **n = names; !r && *n; n++) {
		struct snapshot s;
		char when[32], size[16];
		struct tm tm;
		time_t t;

		r = snapshot_read(&s, &f, *n, e);
		if (r)
			break;
		t = (time_t)s.time;
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", localtime_r(&t, &tm));
		if (json)
			json_array_append_new(out, json_pack("{s:s, s:I, s:b, s:I}", "name", s.name,
				"time", (json_int_t)s.time, "memory", s.memory, "size",
				(json_int_t)s.size));
		else
			printf("%-24s %-20s %s\n", s.name, when,
			       s.memory ? cli_bytes(size, (double)s.size) : "-");
		snapshot_free(&s);
	}
	if (!r && json)
		cli_print_json(json_incref(out));
	json_decref(out);
	folder_list_free(names);
	folder_close(&f);
	return r;
}

/* --- restore --- */

/* The stream, checked to its last byte while what runs now still runs. */
static int open_stream(const struct folder *f, const char *snap, int *fd, struct err *e)
{
	cleanup_free char *path = snapshot_stream(f, snap, false, e);
	struct state_stream *s;
	int r;

	if (!path)
		return -e->code;
	*fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd < 0)
		return err_errno(e, "open %s", path);
	r = state_open(&s, *fd, path, e);
	if (r)
		return r;
	r = state_verify(s, NULL, NULL, e);
	state_close(s);
	return r;
}

static int restore(const char *name, const char *snap, struct err *e)
{
	struct folder f = FOLDER_NONE;
	struct vm_config c = { 0 };
	struct layers ls = LAYERS_NONE;
	struct folder_status st;
	struct snapshot s = { 0 };
	cleanup_close int fd = -1;
	int r = cli_lock(&f, name, false, e);

	if (!r)
		r = snapshot_read(&s, &f, snap, e);
	if (!r && s.memory)
		r = open_stream(&f, snap, &fd, e);
	if (!r)
		r = vm_config_copy(&c, &s.config, e);
	if (!r)
		r = layers_add(&ls, &f, &c, &s.config, f.path, e);
	if (!r) {
		folder_status(&f, &st);
		if (st.state == FOLDER_RUNNING)
			r = cli_kill(&f, e);
		if (!r)
			r = folder_run(&f, e);
		if (!r)
			r = folder_write_config(&f, &c, e);
		if (r)
			layers_undo(&ls, &f, &c);
	}
	layers_free(&ls);
	if (!r) {
		/* What is lost goes; later will do, too. */
		layers_sweep(&f);
		cli_merge_layers(&f, NULL, LAYERS_MANY, NULL);
		if (s.memory)
			r = restoring_start(&f, &c, fd, snap, NULL, e);
	}
	snapshot_free(&s);
	vm_config_free(&c);
	folder_close(&f);
	return r;
}

/* --- rm --- */

static int forget(const char *name, const char *snap, struct err *e)
{
	struct folder f = FOLDER_NONE;
	struct control *c = NULL;
	struct folder_status st;
	struct snapshot s;
	int r = cli_lock(&f, name, false, e);

	if (!r)
		r = snapshot_read(&s, &f, snap, e);
	if (!r) {
		snapshot_free(&s);
		folder_status(&f, &st);
		r = st.state == FOLDER_RUNNING ? cli_control(&c, name, e) : folder_run(&f, e);
	}
	if (!r)
		r = snapshot_remove(&f, snap, e);
	if (!r) {
		r = cli_merge_layers(&f, c, 0, e);
		if (r)
			err_context(e, "the snapshot is gone, its layers are not");
	}
	control_close(c);
	folder_close(&f);
	return r;
}

/* --- the verb --- */

static int run(const struct args *a, int npos, char **pos)
{
	bool json = args_get(a, OPT_JSON) != NULL;
	const char *what = npos ? pos[0] : "";
	char now[32];
	struct err e = { 0 };
	time_t t = time(NULL);
	struct tm tm;
	int r;

	strftime(now, sizeof(now), "%Y%m%d-%H%M%S", localtime_r(&t, &tm));
	if (!strcmp(what, "take") && (npos == 2 || npos == 3)) {
		const char *snap = npos == 3 ? pos[2] : now;

		r = take(pos[1], snap, &e);
		if (!r && json)
			cli_print_json(json_pack("{s:s, s:s}", "name", pos[1], "snapshot", snap));
		else if (!r && npos == 2)
			printf("%s\n", snap);
	} else if ((!strcmp(what, "ls") || !strcmp(what, "list")) && npos == 2) {
		r = list(pos[1], json, &e);
	} else if (!strcmp(what, "restore") && npos == 3) {
		r = restore(pos[1], pos[2], &e);
	} else if (!strcmp(what, "rm") && npos == 3) {
		r = forget(pos[1], pos[2], &e);
	} else {
		cli_error("snapshot: take NAME [SNAPSHOT], ls NAME, restore NAME SNAPSHOT or "
			  "rm NAME SNAPSHOT is needed");
		return EXIT_USAGE;
	}
	if (r)
		cli_error("%s", e.msg);
	return r ? EXIT_FAILED : EXIT_DONE;
}

const struct verb verb_snapshot = {
	.name = "snapshot", .summary = "keep what a machine is, and come back to it",
	.usage = "take|ls|restore|rm NAME [SNAPSHOT]",
	.options = options, .text = text, .positional = "@machine", .run = run,
};
