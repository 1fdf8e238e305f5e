// SPDX-License-Identifier: GPL-2.0-or-later
/* machines.c - see machines.h. */
#include "manage/cli/machines.h"
#include "base/cleanup.h"
#include "block/image.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* --- names and results --- */

void cli_print_json(json_t *j)
{
	if (!j || json_dumpf(j, stdout, JSON_INDENT(2)))
		cli_error("out of memory");
	putchar('\n');
	json_decref(j);
}

int cli_each(const struct verb *v, const struct args *a, bool json, int npos, char **pos,
	     each_fn *fn)
{
	json_t *all = json_array();
	int status = EXIT_DONE;

	if (!npos) {
		cli_error("%s: which machine? penta %s %s", v->name, v->name, v->usage);
		json_decref(all);
		return EXIT_USAGE;
	}
	for (int i = 0; i < npos; i++) {
		json_t *out = json_pack("{s:s?}", "name", pos[i]);
		struct err e = { 0 };

		if (fn(pos[i], a, out, &e)) {
			cli_error("%s", e.msg);
			json_object_set_new(out, "error", json_string(e.msg));
			status = EXIT_FAILED;
		}
		json_array_append_new(all, out ? out : json_null());
	}
	if (json)
		cli_print_json(json_incref(npos == 1 ? json_array_get(all, 0) : all));
	json_decref(all);
	return status;
}

/* --- machines --- */

int cli_lock(struct folder *f, const char *name, bool run, struct err *e)
{
	int r = folder_open(f, name, e);

	if (r)
		return r;
	r = folder_change(f, e);
	if (!r && run)
		r = folder_run(f, e);
	if (r)
		folder_close(f);
	return r;
}

/* Paths are made the folder's own before they are mixed with those that are. */
int cli_change_config(const struct folder *f, struct vm_config *c, const struct verb *v,
		      const struct args *a, struct err *e)
{
	struct vm_config given;
	int r;

	vm_config_init(&given);
	r = args_config(a, v, &given, e);
	if (!r)
		r = vm_config_each_path(&given, folder_own_path, (void *)(uintptr_t)f, e);
	for (const struct config_field *k = vm_config_fields; k->name && !r; k++) {
		if (!k->arg || !args_has_config(a, v, k))
			continue;
		vm_config_unset(c, k);
		for (unsigned i = 0; !r; i++) {
			cleanup_free char *val = vm_config_get(&given, k, i);

			if (!val || (i && k->type != FIELD_LIST))
				break;
			r = vm_config_set(c, k, val, k->name, e);
		}
	}
	vm_config_free(&given);
	return r;
}

int cli_control(struct control **c, const char *name, struct err *e)
{
	struct folder f;
	int r = folder_open(&f, name, e);

	if (r)
		return r;
	r = control_open(c, &f, CONTROL_MS, e);
	folder_close(&f);
	return r;
}

int cli_wait_gone(const struct folder *f, int timeout_ms, struct err *e)
{
	struct folder_status s;

	for (;;) {
		folder_status(f, &s);
		if (s.state != FOLDER_RUNNING)
			return 0;
		if (timeout_ms <= 0)
			return err_set(e, ETIMEDOUT, "machine \"%s\" still runs", f->name);
		usleep(5000);
		timeout_ms -= 5;
	}
}

int cli_kill(const struct folder *f, struct err *e)
{
	struct control *c = NULL;
	struct folder_status s;
	struct err ignored = { 0 };

	if (!control_open(&c, f, 2000, &ignored))
		control_call(c, "quit", NULL, 2000, NULL, &ignored);
	control_close(c);
	if (!cli_wait_gone(f, 5000, &ignored))
		return 0;
	folder_status(f, &s);
	if (s.state == FOLDER_RUNNING && s.pid > 1 && kill(s.pid, SIGKILL) && errno != ESRCH)
		return err_errno(e, "machine \"%s\": kill process %d", f->name, (int)s.pid);
	return cli_wait_gone(f, 10000, e);
}

/* Does the image @path, or what it is built on, lie in folder @dir? */
static bool built_on(const char *path, const char *dir)
{
	struct image_info *info = malloc(sizeof(*info));
	char *at = strdup(path);
	size_t len = strlen(dir);
	bool yes = false;

	for (unsigned depth = 0; info && at && depth < BLOCK_CHAIN_MAX && !yes; depth++) {
		char *real = realpath(at, NULL);

		yes = real && !strncmp(real, dir, len) && real[len] == '/';
		free(real);
		if (yes || image_info(at, info, NULL) || !info->backing_path[0])
			break;
		free(at);
		at = strdup(info->backing_path);
	}
	free(info);
	free(at);
	return yes;
}

char *cli_dependent(const struct folder *f)
{
	cleanup_free char *dir = realpath(f->path, NULL);
	char **names = NULL, *found = NULL;

	if (!dir || folder_list(&names, NULL))
		return NULL;
	for (char **n = names; *n && !found; n++) {
		struct vm_config c;
		struct folder o;

		if (!strcmp(*n, f->name) || folder_open(&o, *n, NULL))
			continue;
		vm_config_init(&c);
		if (!folder_read_config(&o, &c, NULL))
			for (unsigned i = 0; i < c.ndisk && !found; i++) {
				const char *p = c.disk[i].path;
				cleanup_free char *abs = NULL;

				if (p[0] != '/' && asprintf(&abs, "%s/%s", o.path, p) < 0)
					abs = NULL;
				if ((abs || p[0] == '/') && built_on(abs ? abs : p, dir))
					found = strdup(*n);
			}
		vm_config_free(&c);
		folder_close(&o);
	}
	folder_list_free(names);
	return found;
}

/* --- words --- */

void cli_warn_memory(const char *name, const struct vm_config *c)
{
	u64 host = (u64)sysconf(_SC_PHYS_PAGES) * (u64)sysconf(_SC_PAGESIZE);
	char has[16], wants[16];

	if (c->memory > host)
		cli_error("warning: %s has %s of memory, and this host %s: it can be killed when it "
			  "uses more", name, cli_bytes(wants, (double)c->memory),
			  cli_bytes(has, (double)host));
}

const char *cli_bytes(char buf[16], double n)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	unsigned u = 0;

	for (; n >= 1000 && u < ARRAY_SIZE(unit) - 1; u++)
		n /= 1024;
	snprintf(buf, 16, u && n < 100 && n != (double)(u64)n ? "%.1f %s" : "%.0f %s", n, unit[u]);
	return buf;
}

const char *cli_duration(char buf[16], double seconds)
{
	u64 s = seconds > 0 ? (u64)seconds : 0;

	if (s < 60)
		snprintf(buf, 16, "%us", (unsigned)s);
	else if (s < 3600)
		snprintf(buf, 16, "%um %us", (unsigned)(s / 60), (unsigned)(s % 60));
	else if (s < 86400)
		snprintf(buf, 16, "%uh %um", (unsigned)(s / 3600), (unsigned)(s / 60 % 60));
	else
		snprintf(buf, 16, "%ud %uh", (unsigned)(s / 86400 % 100000),
			 (unsigned)(s / 3600 % 24));
	return buf;
}

static void random_bytes(u8 *p, size_t len)
{
	if (getrandom(p, len, 0) != (ssize_t)len)
		BUG("getrandom");	/* up to 256 bytes never fail (getrandom(2)) */
}

void cli_new_uuid(char buf[37])
{
	u8 b[16];
	size_t n = 0;

	random_bytes(b, sizeof(b));
	b[6] = (u8)((b[6] & 0x0f) | 0x40);	/* RFC 9562, 5.4: version 4 */
	b[8] = (u8)((b[8] & 0x3f) | 0x80);
	for (unsigned i = 0; i < 16; i++)
		n += (size_t)snprintf(buf + n, 37 - n, i == 4 || i == 6 || i == 8 || i == 10 ?
				      "-%02x" : "%02x", b[i]);
}

void cli_new_mac(char buf[18])
{
	u8 b[3];

	random_bytes(b, sizeof(b));
	snprintf(buf, 18, "52:54:00:%02x:%02x:%02x", b[0], b[1], b[2]);
}
