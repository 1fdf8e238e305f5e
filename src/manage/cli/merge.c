// SPDX-License-Identifier: GPL-2.0-or-later
/* merge.c - layers that only another one needs go into that one, also under a machine that runs. */
#include "manage/cli/machines.h"
#include "manage/machine/layers.h"

static int tell(const struct folder *f, struct control *c, unsigned disk, const char *path, struct err *e)
{
	struct block_file files[BLOCK_CHAIN_MAX];
	char device[16], fdname[40];
	json_t *list = json_array();
	unsigned n;
	int r = layers_open_below(path, files, &n, e);

	snprintf(device, sizeof(device), "disk%u", disk);
	for (unsigned i = 0; i < n && !r; i++) {
		snprintf(fdname, sizeof(fdname), "%s-%u", device, i);
		json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "fdname", fdname, "path",
						      files[i].path, "format", files[i].format));
		r = control_pass_fd(c, fdname, files[i].fd, e);
	}
	if (!r)
		r = control_call(c, "penta-rebase", json_pack("{s:s, s:O}", "device", device, "files",
				 list), -1, NULL, e);
	layers_close_below(files, &n);
	json_decref(list);
	return r;
}

int cli_merge_layers(const struct folder *f, struct control *c, unsigned longer, struct err *e)
{
	struct vm_config config;
	u64 moved;
	int r = layers_merge(f, longer, c != NULL, &moved, e);

	if (r || !c || !moved)
		return r;
	vm_config_init(&config);
	r = folder_read_config(f, &config, e);
	for (unsigned i = 0; i < config.ndisk && !r; i++) {
		char *path = moved >> i & 1 ? layers_path(f->path, config.disk[i].path) : NULL;

		if (path)
			r = tell(f, c, i, path, e);
		free(path);
	}
	vm_config_free(&config);
	return r;
}
