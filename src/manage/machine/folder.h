/* SPDX-License-Identifier: GPL-2.0-or-later */
/* folder.h - machines that have a name are folders, which a person can read and copy:
 *
 *	NAME/config.json	what it is made of (config.h)
 *	     *.qcow2, ...	disks that belong to it
 *	     penta.log		what penta said while it ran      console.log	what the guest said
 *	     control.sock	the control socket		  console.sock	its console
 *	     vsock.sock		the guest's ports		  snapshots/	by name
 *	     lock		who runs it, who changes it
 *
 * They lie in $PENTA_HOME/machines; else, for root, /var/lib/penta/machines; else
 * $XDG_DATA_HOME/penta/machines (~/.local/share/penta/machines).
 *
 * Locks are of the open file (fcntl(2), F_OFD_SETLK) on two bytes of "lock": they end with the process
 * whatever happens to it, and asking for their state disturbs nobody.
 *	byte 0	the machine runs; held by its process
 *	byte 1	somebody changes the folder: start, set, rename, rm, clone; held for a short time
 * Whoever needs both takes "change" first. A folder is made, and goes, in one rename: names that begin
 * with a dot are half-made or half-gone ones, which the next create clears away. */
#ifndef PENTA_MANAGE_MACHINE_FOLDER_H
#define PENTA_MANAGE_MACHINE_FOLDER_H

#include "manage/machine/config.h"
#include <sys/types.h>

#define FOLDER_NAME_MAX 64

struct folder {
	char *name, *path;
	int fd;			/* of the directory */
	int lock_fd;		/* -1 until a lock was taken */
	bool changing, running;	/* the locks that we hold */
};
#define FOLDER_NONE ((struct folder){ .fd = -1, .lock_fd = -1 })

/* The folder of all machines; not made. To be freed. */
char *folder_root(struct err *e);
/* "home", beside it: images, keys... To be freed. @make: with all that is above it. */
char *folder_home(const char *sub, bool make, struct err *e);
int folder_name_check(const char *name, struct err *e);

/* The machine's folder. -ENOENT: "no machine NAME; did you mean...". */
int folder_open(struct folder *f, const char *name, struct err *e);
void folder_close(struct folder *f);		/* lets go of the locks; accepts FOLDER_NONE */

/* Take the change lock; waits some seconds for who has it. -EBUSY, and -ENOENT when the folder has
 * been renamed or removed meanwhile. Reads and writes of a machine's files belong between. */
int folder_change(struct folder *f, struct err *e);
void folder_change_done(struct folder *f);
/* Take the run lock, the change lock being held. -EBUSY: it runs. */
int folder_run(struct folder *f, struct err *e);
/* Leave both locks to the process that has inherited them: close our descriptor only. */
void folder_leave_locks(struct folder *f);

/* What is known without asking the machine. */
enum folder_state { FOLDER_OFF, FOLDER_RUNNING, FOLDER_DIED /* its process ended without saying how */ };
struct folder_status {
	enum folder_state state;
	pid_t pid;		/* while it runs */
	char ended[200];	/* how it ended last: "off", "crashed: ..."; "" unknown */
	u64 since;		/* seconds since 1970: started, or ended */
};
void folder_status(const struct folder *f, struct folder_status *s);
/* For the machine's process, which holds the run lock. @ended NULL: it runs, as this process. Only
 * writes to lock_fd: allowed in the sandbox. */
void folder_note(struct folder *f, const char *ended);

/* config.json. Paths in it are relative to the folder; so they come and go here. */
int folder_read_config(const struct folder *f, struct vm_config *c, struct err *e);
/* Atomically; the change lock is held. */
int folder_write_config(const struct folder *f, const struct vm_config *c, struct err *e);

/* Make a new folder with @c as its config; what else belongs into it is put there by @fill (may be
 * NULL) before it appears under its name. @f is open afterwards, with the change lock held. */
int folder_create(struct folder *f, const char *name, struct vm_config *c,
		  int (*fill)(struct folder *f, struct vm_config *c, void *ctx, struct err *e),
		  void *ctx, struct err *e);
/* Both locks held. */
int folder_remove(struct folder *f, struct err *e);
int folder_rename(struct folder *f, const char *to, struct err *e);

/* The names of all machines, sorted; NULL-terminated. To be freed by folder_list_free(). */
int folder_list(char ***names, struct err *e);
void folder_list_free(char **names);

/* A unix socket in the folder, whatever the length of its path. Connect: -ECONNREFUSED nobody listens.
 * Listen: removes a stale one; the run lock is held. */
int folder_connect(const struct folder *f, const char *sock, struct err *e);
int folder_listen(const struct folder *f, const char *sock, struct err *e);
/* The path that @path, given on a command line, has in config.json: inside the folder relative,
 * elsewhere absolute. For vm_config_each_path(); @ctx: struct folder. */
int folder_own_path(char **path, void *ctx, struct err *e);

#endif
