/* SPDX-License-Identifier: GPL-2.0-or-later */
/* machines.h - what the verbs for named machines share. */
#ifndef PENTA_MANAGE_CLI_MACHINES_H
#define PENTA_MANAGE_CLI_MACHINES_H

#include "manage/cli/cli.h"
#include "manage/control/client.h"
#include "manage/machine/folder.h"
#include <jansson.h>

#define OPTION_JSON OPTION("json", NULL, NULL, "print the result as JSON, for programs")

enum { CONTROL_MS = 10000 };		/* how long a machine's process may take to answer */

/* For each name: @fn, which may add to @out ({"name": ...}). Errors are printed, and with @json told in
 * the JSON, too: an object for one name, else an array. Returns the exit status. */
typedef int each_fn(const char *name, const struct args *a, json_t *out, struct err *e);
int cli_each(const struct verb *v, const struct args *a, bool json, int npos, char **pos,
	     each_fn *fn);
/* Print and release. */
void cli_print_json(json_t *j);

/* The machine's folder with the change lock, and when @run the run lock, too. */
int cli_lock(struct folder *f, const char *name, bool run, struct err *e);
/* Put the options of @a into @c, the configuration of @f's machine; of a list, they replace all that
 * there was. */
int cli_change_config(const struct folder *f, struct vm_config *c, const struct verb *v,
		      const struct args *a, struct err *e);
/* Open the control socket of a running machine. */
int cli_control(struct control **c, const char *name, struct err *e);
/* Wait until its process has gone. -ETIMEDOUT. */
int cli_wait_gone(const struct folder *f, int timeout_ms, struct err *e);
/* End the machine's process, whatever it is doing: `quit`, and if that does not help SIGKILL. */
int cli_kill(const struct folder *f, struct err *e);

/* Say so when @c asks for more memory than this host has: a guest that uses it all would not fare well. */
void cli_warn_memory(const char *name, const struct vm_config *c);
/* layers_merge(), and the process at @c (NULL: there is none) gets what has changed. */
int cli_merge_layers(const struct folder *f, struct control *c, unsigned longer, struct err *e);

/* Words for people. "12.5 MiB", "3d 4h". */
const char *cli_bytes(char buf[16], double n);
const char *cli_duration(char buf[16], double seconds);
/* A new UUID, and a card's address that no other has by chance. */
void cli_new_uuid(char buf[37]);
void cli_new_mac(char buf[18]);

/* A machine whose disks are built on files of @f (linked clones), other than itself: its name, to be
 * freed; NULL: none. */
char *cli_dependent(const struct folder *f);

/* What a new machine is made of: what is in @c, the options of @a, given to @v, and for the rest what
 * `penta create` takes. */
int create_config(const struct verb *v, const struct args *a, struct vm_config *c, struct err *e);

#endif
