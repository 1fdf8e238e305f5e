/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lock.c - one writer, or any number of readers, for each image file.
 *
 * Locks of open file descriptions (fcntl(2), F_OFD_SETLK): they end with the last descriptor
 * however a process ends, hold within one process too, and travel with a descriptor. The bytes are
 * those that QEMU's tools lock (one for each right that is used, from 100, and for each right that
 * is denied to others, from 200), so that qemu-img and penta keep out of each other's way:
 *
 *	a reader	reads: 100; denies writing: 201, resizing: 203	(shared locks)
 *	a writer	all of 100..103 and 200..203			(exclusive) */
#include "block/image.h"
#include "block/layer.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	USE = 100, DENY = 200,
	READ = 0, WRITE = 1, RESIZE = 3, RIGHTS = 4,
};

static int set(int fd, short type, off_t from, off_t len)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = len };

	return fcntl(fd, F_OFD_SETLK, &fl) < 0 ? -errno : 0;
}

/* Does somebody else hold a lock on one of these bytes that conflicts with @type? */
static bool held(int fd, short type, off_t from, off_t len)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = len };

	return !fcntl(fd, F_OFD_GETLK, &fl) && fl.l_type != F_UNLCK;
}

bool file_written(int fd)
{
	return held(fd, F_WRLCK, USE + WRITE, 1);
}

static int lock_shared(int fd)
{
	int r = set(fd, F_RDLCK, USE + READ, 1);

	if (!r)
		r = set(fd, F_RDLCK, DENY + WRITE, 1);
	if (!r)
		r = set(fd, F_RDLCK, DENY + RESIZE, 1);
	/* A writer of QEMU's says so by a shared lock on its right. */
	if (!r && (file_written(fd) || held(fd, F_WRLCK, USE + RESIZE, 1) ||
		   held(fd, F_WRLCK, DENY + READ, 1)))
		r = -EAGAIN;
	return r;
}

static int lock_exclusive(int fd)
{
	int r = set(fd, F_WRLCK, USE, RIGHTS);

	return r ? r : set(fd, F_WRLCK, DENY, RIGHTS);
}

static void unlock(int fd)
{
	set(fd, F_UNLCK, USE, RIGHTS);
	set(fd, F_UNLCK, DENY, RIGHTS);
}

int file_lock(int fd, bool exclusive, const char *path, struct err *e)
{
	int r = exclusive ? lock_exclusive(fd) : lock_shared(fd);
	char who[256];

	/* File systems without locks (some network ones) cannot keep anybody out. */
	if (!r || r == -ENOLCK || r == -EOPNOTSUPP || r == -EINVAL)
		return 0;
	unlock(fd);
	if (r != -EAGAIN && r != -EACCES)
		return err_set(e, -r, "%s: lock: %s", path, strerror(-r));
	image_holder(fd, who, sizeof(who));
	return err_set(e, EBUSY, "%s: in use by %s%s", path, *who ? who : "another program",
		       exclusive ? "" : ", which writes to it");
}

int file_lock_share(int fd, const char *path, struct err *e)
{
	int r = lock_shared(fd);

	if (!r)		/* what is left of the exclusive one */
		r = set(fd, F_UNLCK, USE + WRITE, RIGHTS - 1);
	if (!r)
		r = set(fd, F_UNLCK, DENY, 1);
	if (!r)
		r = set(fd, F_UNLCK, DENY + 2, 1);
	if (!r || r == -ENOLCK || r == -EOPNOTSUPP || r == -EINVAL)
		return 0;
	return err_set(e, -r, "%s: lock: %s", path, strerror(-r));
}

/* --- who --- */

/* "penta (pid 7: penta run web)" of a process. */
static void describe(const char *pid, char *buf, size_t len)
{
	char path[64], comm[32] = "", line[160];
	ssize_t n = -1;
	FILE *f;
	int fd;

	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	f = fopen(path, "re");
	if (f) {
		if (!fgets(comm, sizeof(comm), f))
			comm[0] = 0;
		comm[strcspn(comm, "\n")] = 0;
		fclose(f);
	}
	snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, line, sizeof(line) - 1);
		close(fd);
	}
	for (ssize_t i = 0; i < n; i++)
		if ((unsigned char)line[i] < ' ')
			line[i] = ' ';
	while (n > 0 && line[n - 1] == ' ')
		n--;
	if (n > 0)
		snprintf(buf, len, "%s (pid %.20s: %.*s)", comm, pid, (int)n, line);
	else
		snprintf(buf, len, "%s (pid %.20s)", comm, pid);
}

/* Locks of open files have no process id: look who has the file open for writing, or at all. */
void image_holder(int fd, char *buf, size_t len)
{
	struct stat st, other;
	DIR *proc, *fds;
	struct dirent *p, *d;
	char path[64], self[16];

	*buf = 0;
	snprintf(self, sizeof(self), "%d", (int)getpid());
	proc = fstat(fd, &st) < 0 ? NULL : opendir("/proc");
	while (proc && !*buf && (p = readdir(proc))) {
		if (p->d_name[0] < '1' || p->d_name[0] > '9' || !strcmp(p->d_name, self))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/fd", p->d_name);
		fds = opendir(path);
		while (fds && (d = readdir(fds)))
			if (!fstatat(dirfd(fds), d->d_name, &other, 0) &&
			    other.st_dev == st.st_dev && other.st_ino == st.st_ino) {
				describe(p->d_name, buf, len);
				break;
			}
		if (fds)
			closedir(fds);
	}
	if (proc)
		closedir(proc);
}
