// SPDX-License-Identifier: GPL-2.0-or-later
/* folder_lock.c - who runs a machine, who changes it, and its sockets. See folder.h. */
#include "manage/machine/folder.h"
#include "base/cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum lock_byte { LOCK_RUN, LOCK_CHANGE };
enum { CHANGE_WAIT_MS = 10000, POLL_MS = 10 };

/* --- locks --- */

static int open_lock(struct folder *f, struct err *e)
{
	if (f->lock_fd < 0)
		f->lock_fd = openat(f->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return f->lock_fd < 0 ? err_errno(e, "open %s/lock", f->path) : 0;
}

static int lock_byte(int fd, enum lock_byte byte, short type)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	return fcntl(fd, F_OFD_SETLK, &l) ? -errno : 0;
}

static bool is_locked(int fd, enum lock_byte byte)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	return !fcntl(fd, F_OFD_GETLK, &l) && l.l_type != F_UNLCK;
}

/* Does the path still lead to the folder that is open? */
static bool still_there(const struct folder *f)
{
	struct stat a, b;

	return !fstat(f->fd, &a) && !stat(f->path, &b) && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

int folder_change(struct folder *f, struct err *e)
{
	unsigned waited = 0;
	int r = open_lock(f, e);

	if (r)
		return r;
	while ((r = lock_byte(f->lock_fd, LOCK_CHANGE, F_WRLCK)) == -EAGAIN || r == -EACCES) {
		if (waited >= CHANGE_WAIT_MS || !e)
			return err_set(e, EBUSY, "machine \"%s\": another penta is changing it; "
				       "try again later", f->name);
		usleep(POLL_MS * 1000);
		waited += POLL_MS;
	}
	if (r)
		return err_set(e, -r, "lock %s: %s", f->path, strerror(-r));
	f->changing = true;
	if (still_there(f))
		return 0;
	folder_change_done(f);
	return err_set(e, ENOENT, "machine \"%s\" has just been renamed or removed", f->name);
}

void folder_change_done(struct folder *f)
{
	if (f->changing)
		lock_byte(f->lock_fd, LOCK_CHANGE, F_UNLCK);
	f->changing = false;
}

int folder_run(struct folder *f, struct err *e)
{
	int r = open_lock(f, e);
	struct folder_status s;

	if (r)
		return r;
	r = lock_byte(f->lock_fd, LOCK_RUN, F_WRLCK);
	if (!r) {
		f->running = true;
		return 0;
	}
	if (r != -EAGAIN && r != -EACCES)
		return err_set(e, -r, "lock %s: %s", f->path, strerror(-r));
	folder_status(f, &s);
	return s.pid ? err_set(e, EBUSY, "machine \"%s\" is running (process %d)", f->name,
			       (int)s.pid) :
		       err_set(e, EBUSY, "machine \"%s\" is running", f->name);
}

void folder_leave_locks(struct folder *f)
{
	cleanup_closep(&f->lock_fd);
	f->lock_fd = -1;
	f->changing = f->running = false;
}

/* --- the note in the lock file: "running PID SINCE" or "ended SINCE HOW" --- */

void folder_note(struct folder *f, const char *ended)
{
	long long now = (long long)time(NULL);
	char line[256];
	int n;

	if (ended)
		n = snprintf(line, sizeof(line), "ended %lld %.190s\n", now, ended);
	else
		n = snprintf(line, sizeof(line), "running %d %lld\n", (int)getpid(), now);
	/* What is left of a longer line does not matter: it ends at the first newline. Calls that the
	 * sandbox's I/O class has anyway. */
	if (lseek(f->lock_fd, 0, SEEK_SET) < 0 || write(f->lock_fd, line, (size_t)n) < 0)
		return;		/* a full disk: the lock alone says what matters */
}

void folder_status(const struct folder *f, struct folder_status *s)
{
	cleanup_close int fd = openat(f->fd, "lock", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	long long since = 0;
	char buf[256] = { 0 };
	bool locked;
	int pid = 0, at = 0;

	*s = (struct folder_status){ .state = FOLDER_OFF };
	if (fd < 0)
		return;
	locked = is_locked(fd, LOCK_RUN);
	if (pread(fd, buf, sizeof(buf) - 1, 0) < 0)
		buf[0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	if (sscanf(buf, "running %d %lld", &pid, &since) == 2) {
		s->state = locked ? FOLDER_RUNNING : FOLDER_DIED;
		s->pid = locked && pid > 0 ? pid : 0;
	} else {
		s->state = locked ? FOLDER_RUNNING : FOLDER_OFF;
		if (sscanf(buf, "ended %lld %n", &since, &at) == 1 && at && !locked)
			snprintf(s->ended, sizeof(s->ended), "%.190s", buf + at);
	}
	s->since = since > 0 ? (u64)since : 0;
}

/* --- sockets: a path of at most 107 bytes, so we go by the folder's descriptor --- */

static int sock_path(const struct folder *f, const char *sock, struct sockaddr_un *a,
		     struct err *e)
{
	int n;

	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(a->sun_path, sizeof(a->sun_path), "%s/%s", f->path, sock);
	if (n < (int)sizeof(a->sun_path))
		return 0;
	n = snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/%s", f->fd, sock);
	return n < (int)sizeof(a->sun_path) ? 0 : err_set(e, ENAMETOOLONG, "%s: too long", sock);
}

int folder_connect(const struct folder *f, const char *sock, struct err *e)
{
	struct sockaddr_un a;
	int fd, r = sock_path(f, sock, &a, e);

	if (r)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, "socket");
	if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return fd;
	if (errno == ENOENT || errno == ECONNREFUSED)
		r = err_set(e, ECONNREFUSED, "machine \"%s\" is not running", f->name);
	else
		r = err_errno(e, "connect to %s/%s", f->path, sock);
	close(fd);
	return r;
}

int folder_listen(const struct folder *f, const char *sock, struct err *e)
{
	struct sockaddr_un a;
	int fd, r = sock_path(f, sock, &a, e);

	if (r)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(e, "socket");
	unlinkat(f->fd, sock, 0);
	if (!bind(fd, (struct sockaddr *)&a, sizeof(a)) &&
	    !fchmodat(f->fd, sock, 0600, 0) && !listen(fd, 8))
		return fd;
	r = err_errno(e, "make socket %s/%s", f->path, sock);
	close(fd);
	return r;
}
