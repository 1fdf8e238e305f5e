// SPDX-License-Identifier: GPL-2.0-or-later
/* create.c - `penta create`: a machine with a name. */
#include "manage/cli/machines.h"
#include <errno.h>
#include <string.h>

enum opt { OPT_JSON, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_JSON] = OPTION_JSON,
};

static const char text[] =
	"What is not said is as of `penta run`, but for the serial port: `penta console` shows it.\n"
	"Paths are kept as absolute ones, or relative to the machine's folder if they lie in it.\n"
	"\nExamples:\n"
	"  penta create web --kernel vmlinuz --initrd initrd.img --append console=ttyS0 \\\n"
	"        --memory 1G --disk web.qcow2 --net user,forward=8080:80\n"
	"  penta start web && penta console web\n";

int create_config(const struct verb *v, const struct args *a, struct vm_config *c, struct err *e)
{
	const struct config_field *uuid = vm_config_find("uuid"), *mac = vm_config_find("net");
	char id[37];
	int r = args_config(a, v, c, e);

	for (const struct config_field *f = vm_config_fields; f->name && !r; f++)
		if (f->create && !args_has_config(a, v, f))
			r = vm_config_set(c, f, f->create, f->name, e);
	cli_new_uuid(id);
	if (!r)
		r = vm_config_set(c, uuid, id, "uuid", e);
	/* A card keeps its address from start to start. */
	for (unsigned i = 0; mac && i < c->nnet && !r; i++) {
		char addr[18];

		cli_new_mac(addr);
		if (!c->net[i].mac && strcmp(c->net[i].spec, "none") &&
		    !(c->net[i].mac = strdup(addr)))
			r = err_set(e, ENOMEM, "out of memory");
	}
	return r ? r : vm_config_check(c, e);
}

static int own_paths(struct folder *f, struct vm_config *c, void *ctx, struct err *e)
{
	return vm_config_each_path(c, folder_own_path, f, e);
}

static int create(const char *name, const struct args *a, json_t *out, struct err *e)
{
	struct folder f = FOLDER_NONE;
	struct vm_config c;
	int r;

	vm_config_init(&c);
	r = create_config(&verb_create, a, &c, e);
	if (!r)
		r = folder_create(&f, name, &c, own_paths, NULL, e);
	if (!r) {
		json_object_set_new(out, "path", json_string(f.path));
		json_object_set_new(out, "uuid", json_string(c.uuid));
	}
	folder_close(&f);
	vm_config_free(&c);
	return r;
}

static int run(const struct args *a, int npos, char **pos)
{
	return cli_each(&verb_create, a, args_get(a, OPT_JSON), npos, pos, create);
}

const struct verb verb_create = {
	.name = "create", .summary = "make a machine with a name",
	.usage = "NAME... --kernel FILE|--disk FILE [OPTION]...",
	.options = options, .text = text, .positional = "", .run = run, .config = true,
};
