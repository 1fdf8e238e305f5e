// SPDX-License-Identifier: GPL-2.0-or-later
/* set.c - `penta set`: change what a machine is made of. */
#include "manage/cli/machines.h"
#include "base/cleanup.h"
#include <errno.h>
#include <string.h>

enum opt { OPT_UNSET, OPT_TARGET, OPT_JSON, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_UNSET] = OPTION("unset", "OPTION", NULL,
		"back to the default; of a list (disk, net...): none", .repeat = true),
	[OPT_TARGET] = OPTION("memory-target", "SIZE", NULL,
		"of a running machine: how much memory its guest shall\n"
		"keep; the balloon gives the rest to the host. Until it\n"
		"is changed, or the machine ends"),
	[OPT_JSON] = OPTION_JSON,
};

static const char text[] =
	"An option that may be given several times (disk, net...) replaces all that there were.\n"
	"While the machine runs, what can be changed is changed at once; the rest takes effect when\n"
	"it is started the next time, and is named.\n"
	"\nExamples:\n"
	"  penta set web --memory 2G --cpus 4\n"
	"  penta set web --disk root.qcow2 --disk data.img,serial=data\n"
	"  penta set web --unset initrd --unset share\n"
	"  penta set web --memory-target 300M      (while it runs; all of it again: --memory's size)\n";

/* Whom @c belongs to has fields changed as @a says. */
static int change(struct folder *f, struct vm_config *c, const struct args *a, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < a->n[OPT_UNSET] && !r; i++) {
		const char *name = a->val[OPT_UNSET][i];
		const struct config_field *k = vm_config_find(name);

		if (!k || !k->arg)
			r = err_set(e, EINVAL, "--unset %s: no such option; `penta set --help` "
				    "lists them", name);
		else
			vm_config_unset(c, k);
	}
	if (!r)
		r = cli_change_config(f, c, &verb_set, a, e);
	/* New cards get addresses that they keep. */
	for (unsigned i = 0; i < c->nnet && !r; i++) {
		char mac[18];

		cli_new_mac(mac);
		if (!c->net[i].mac && strcmp(c->net[i].spec, "none") &&
		    !(c->net[i].mac = strdup(mac)))
			r = err_set(e, ENOMEM, "out of memory");
	}
	return r ? r : vm_config_check(c, e);
}

/* Of a running machine: change at once what can be, and name the rest. */
static int apply(const struct folder *f, const struct vm_config *old, const struct vm_config *c,
		 json_t *later, struct err *e)
{
	struct control *ctl = NULL;
	int r = control_open(&ctl, f, CONTROL_MS, e);

	for (const struct config_field *k = vm_config_fields; k->name && !r; k++) {
		cleanup_free char *val = NULL;

		if (vm_config_same(old, c, k))
			continue;
		val = vm_config_get(c, k, 0);
		if (k->live && k->type != FIELD_LIST)
			r = control_call(ctl, "penta-set", json_pack("{s:s, s:s*}", "name", k->name,
					 "value", val), CONTROL_MS, NULL, e);
		else
			json_array_append_new(later, json_string(k->name));
	}
	control_close(ctl);
	return r;
}

/* The balloon, now. What it comes to is the guest's to say: `penta show`. */
static int lend(const struct folder *f, const char *target, struct err *e)
{
	struct control *ctl = NULL;
	u64 bytes = 0;
	int r = parse_size(target, "--memory-target", &bytes, e);

	if (!r)
		r = control_open(&ctl, f, CONTROL_MS, e);
	if (!r)
		r = control_call(ctl, "balloon", json_pack("{s:I}", "value", (json_int_t)bytes),
				 CONTROL_MS, NULL, e);
	control_close(ctl);
	return r;
}

static int set(const char *name, const struct args *a, json_t *out, struct err *e)
{
	struct vm_config c, old;
	struct folder_status s;
	json_t *later = json_array();
	struct folder f;
	int r = cli_lock(&f, name, false, e);

	if (r) {
		json_decref(later);
		return r;
	}
	vm_config_init(&c);
	vm_config_init(&old);
	r = folder_read_config(&f, &c, e);
	if (!r) {
		vm_config_free(&old);
		r = vm_config_copy(&old, &c, e);
	}
	folder_status(&f, &s);
	if (!r && args_get(a, OPT_TARGET) && s.state != FOLDER_RUNNING)
		r = err_set(e, EINVAL, "machine \"%s\" does not run: --memory is what it starts with, "
			    "--memory-target what its guest keeps while it runs", name);
	if (!r)
		r = change(&f, &c, a, e);
	if (!r)
		r = folder_write_config(&f, &c, e);
	if (!r && s.state == FOLDER_RUNNING)
		r = apply(&f, &old, &c, later, e);
	if (!r && args_get(a, OPT_TARGET))
		r = lend(&f, args_get(a, OPT_TARGET), e);
	if (!r && json_array_size(later) && !args_get(a, OPT_JSON)) {
		const json_t *k;
		size_t i;

		fprintf(stderr, "penta: %s runs; at its next start it gets the new", name);
		json_array_foreach(later, i, k)
			fprintf(stderr, "%s %s", i ? "," : "", json_string_value(k));
		fputc('\n', stderr);
	}
	json_object_set_new(out, "at-next-start", later);
	vm_config_free(&old);
	vm_config_free(&c);
	folder_close(&f);
	return r;
}

/* Any option but --json. */
static bool some_option(const struct args *a)
{
	for (unsigned i = 0; i < OPTIONS_MAX; i++)
		if (i != OPT_JSON && a->n[i])
			return true;
	return false;
}

static int run(const struct args *a, int npos, char **pos)
{
	if (npos && !some_option(a)) {
		cli_error("set: what is to be changed? `penta show %s` prints what there is", pos[0]);
		return EXIT_USAGE;
	}
	return cli_each(&verb_set, a, args_get(a, OPT_JSON), npos, pos, set);
}

const struct verb verb_set = {
	.name = "set", .summary = "change what machines are made of",
	.usage = "NAME... [OPTION]...",
	.options = options, .text = text, .positional = "@machine", .run = run, .config = true,
};
