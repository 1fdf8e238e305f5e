/* SPDX-License-Identifier: GPL-2.0-or-later */
/* client.h - the other end of the control socket: how the CLI talks to a running machine. */
#ifndef PENTA_MANAGE_CONTROL_CLIENT_H
#define PENTA_MANAGE_CONTROL_CLIENT_H

#include "base/err.h"
#include "manage/machine/folder.h"
#include <jansson.h>

struct control;

/* Connect to the machine of folder @f, and agree on the protocol. -ECONNREFUSED: it does not run;
 * -ETIMEDOUT: its process does not answer within @timeout_ms. */
int control_open(struct control **out, const struct folder *f, int timeout_ms, struct err *e);
void control_close(struct control *c);			/* accepts NULL */

/* For long commands: called with what PENTA_PROGRESS events say. */
void control_on_progress(struct control *c, void (*fn)(void *ctx, u64 done, u64 total), void *ctx);
/* Execute a command. @args: an object, taken; NULL: none. *@ret (may be NULL): a new reference. The
 * machine's own error message comes back in @e. @timeout_ms < 0: however long it takes. -ECONNRESET:
 * the machine has ended meanwhile. */
int control_call(struct control *c, const char *cmd, json_t *args, int timeout_ms, json_t **ret,
		 struct err *e);
/* Pass @fd (borrowed); commands know it as @name. */
int control_pass_fd(struct control *c, const char *name, int fd, struct err *e);
/* Wait for event @name (NULL: any). *@out (may be NULL): a new reference. -ETIMEDOUT; -ECONNRESET: the
 * machine has ended. */
int control_wait(struct control *c, const char *name, int timeout_ms, json_t **out, struct err *e);

#endif
