/* SPDX-License-Identifier: GPL-2.0-or-later */
/* build.c - a disk image with Debian in it: the disk and its partitions are made here, what is in the
 * root partition by image/debian.sh, which runs as a child.
 *
 *	1 MiB	p14: BIOS boot, where GRUB's second part will lie
 *	2 MiB	p15: EFI system partition, empty
 *	64 MiB	p1: root, ext4, up to the end, so that it can grow with the disk
 *
 * Nothing half-made is ever seen: everything is in a folder ".building-XXXXXX" beside the target, which
 * is renamed to it at the end; the folder goes in every case, and one that a killed build left goes
 * with the next. */
#include "manage/image/build.h"
#include "base/cleanup.h"
#include "block/gpt.h"
#include "manage/image/embed.h"
#include "manage/machine/folder.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define WORK_PREFIX ".building-"
#define LOG_TAIL 6			/* lines of the tools' output that an error shows */
#define KILL_AFTER 20			/* seconds that a child has to clean up */

enum layout { PART_BIOS = 14, PART_ESP = 15, PART_ROOT = 1, MIB_SECTORS = 2048, ROOT_MIB = 64 };

struct build {
	const struct image_build *opt;
	char *dir, *work, *disk, *agent, *log;	/* paths */
	char uuid[37];
	u64 root_off, root_len;

	pid_t child;
	int steps, sigfd;
	bool tty;
	unsigned percent;
	char text[160];			/* the step */
	char why[256];			/* "error ..." of the script */
	time_t start;
};

/* --- progress --- */

static void show(struct build *b, bool new_step)
{
	unsigned width = 24, full = b->percent * width / 100;
	int secs = (int)(time(NULL) - b->start);

	if (!b->tty) {
		if (new_step)
			fprintf(stderr, "penta: %3u%% %s\n", b->percent, b->text);
		return;
	}
	fprintf(stderr, "\r[%.*s%.*s] %3u%% %d:%02d %.60s\033[K", (int)full,
		"########################", (int)(width - full), "........................",
		b->percent, secs / 60, secs % 60, b->text);
}

static void show_end(struct build *b)
{
	if (b->tty)
		fprintf(stderr, "\r\033[K");
}

/* A line of the script. Package names and mirror addresses are in it: printable bytes only. */
static void take_line(struct build *b, char *line)
{
	char *end;

	for (char *p = line; *p; p++)
		if ((u8)*p < ' ' || *p == 0x7f)
			*p = '?';
	if (!strncmp(line, "error ", 6)) {
		snprintf(b->why, sizeof(b->why), "%.250s", line + 6);
	} else if (!strncmp(line, "step ", 5)) {
		b->percent = (unsigned)MIN(strtoul(line + 5, &end, 10), 100ul);
		snprintf(b->text, sizeof(b->text), "%.150s", *end == ' ' ? end + 1 : end);
		show(b, true);
	}
}

/* --- files --- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path) && errno != ENOENT ? -1 : 0;
}

static int open_up(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	if (type == FTW_D || type == FTW_DNR)
		chmod(path, 0700);
	return 0;
}

/* Never across a mount point, nor through a link. */
static void remove_tree(const char *path)
{
	nftw(path, open_up, 32, FTW_PHYS | FTW_MOUNT);
	nftw(path, remove_one, 32, FTW_PHYS | FTW_MOUNT | FTW_DEPTH);
}

/* What builds that were killed have left; nobody else builds here, the folder being locked. */
static void remove_stale(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *de;

	while (d && (de = readdir(d))) {
		cleanup_free char *path = NULL;

		if (!strncmp(de->d_name, WORK_PREFIX, strlen(WORK_PREFIX)) &&
		    asprintf(&path, "%s/%s", dir, de->d_name) > 0)
			remove_tree(path);
	}
	if (d)
		closedir(d);
}

static int lock_dir(struct build *b, struct err *e)
{
	int fd = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	if (fd < 0)
		return err_errno(e, "open %s", b->dir);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	fprintf(stderr, "penta: waiting for another build in %s\n", b->dir);
	do
		r = flock(fd, LOCK_EX);
	while (r < 0 && errno == EINTR);
	if (r < 0) {
		r = err_errno(e, "lock %s", b->dir);
		close(fd);
		return r;
	}
	return fd;
}

static int put_file(const char *path, const void *data, size_t len, mode_t mode, struct err *e)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	if (fd < 0)
		return err_errno(e, "create %s", path);
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno != EINTR)
			return err_errno(e, "write %s", path);
		if (n > 0) {
			data = (const u8 *)data + n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* --- the disk --- */

static int random_uuid(u8 u[16], struct err *e)
{
	if (getrandom(u, 16, 0) != 16)
		return err_errno(e, "getrandom");
	/* RFC 4122, 4.4. In GPT's byte order the version is in byte 7. */
	u[6] = (u8)((u[6] & 0x0f) | 0x40);
	u[7] = (u8)((u[7] & 0x0f) | 0x40);
	u[8] = (u8)((u[8] & 0x3f) | 0x80);
	return 0;
}

static int make_disk(struct build *b, struct err *e)
{
	const u64 nsect = b->opt->size / GPT_SECTOR;
	struct gpt_part p[] = {
		{ .number = PART_BIOS, .first = MIB_SECTORS, .last = 2 * MIB_SECTORS - 1,
		  .name = "BIOS boot" },
		{ .number = PART_ESP, .first = 2 * MIB_SECTORS,
		  .last = ROOT_MIB * MIB_SECTORS - 1, .name = "EFI system",
		  .attributes = GPT_NO_AUTO /* no file system yet */ },
		{ .number = PART_ROOT, .first = ROOT_MIB * MIB_SECTORS,
		  .last = nsect - MIB_SECTORS - 1, .name = "root" },
	};
	cleanup_close int fd = open(b->disk, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	u8 u[16];
	int r;

	if (fd < 0)
		return err_errno(e, "create %s", b->disk);
	if (ftruncate(fd, (off_t)b->opt->size))
		return err_errno(e, "%s: a size of %llu MiB", b->disk,
				 (unsigned long long)(b->opt->size / MiB));
	memcpy(p[0].type, gpt_type_bios, 16);
	memcpy(p[1].type, gpt_type_esp, 16);
	memcpy(p[2].type, gpt_type_linux_root, 16);
	r = random_uuid(u, e);
	for (size_t i = 0; i < ARRAY_SIZE(p) && !r; i++)
		r = random_uuid(p[i].uuid, e);
	if (!r)
		r = gpt_write(fd, nsect, u, p, ARRAY_SIZE(p), e);
	b->root_off = p[2].first * GPT_SECTOR;
	b->root_len = (p[2].last - p[2].first + 1) * GPT_SECTOR;
	if (!r)
		r = random_uuid(u, e);
	snprintf(b->uuid, sizeof(b->uuid), "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
		 "%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8],
		 u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
	return r;
}

/* --- the child --- */

static void set_env(const char *name, const char *val)
{
	setenv(name, val ? val : "", 1);
}

static void set_env_u64(const char *name, u64 val)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)val);
	setenv(name, text, 1);
}

/* In the child; the signals are blocked. */
static void run_script(struct build *b, int steps, int log, pid_t parent)
{
	const struct image_build *o = b->opt;
	char *script = (char *)embed_debian_sh().data;
	char *argv[] = { "bash", "-c", script, "penta-image-build", NULL };
	sigset_t none;
	int null = open("/dev/null", O_RDONLY);

	setpgid(0, 0);			/* Ctrl-C is for the parent, which tells us */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(1);
	set_env("RELEASE", o->release);
	set_env("HOSTNAME_", o->hostname);
	set_env("MIRROR", o->mirror);
	set_env("INCLUDE", o->include);
	set_env("MODE", o->mode);
	set_env("WORK", b->work);
	set_env("DISK", b->disk);
	set_env("AGENT", b->agent);
	set_env("UUID", b->uuid);
	set_env_u64("OFFSET", b->root_off);
	set_env_u64("LEN", b->root_len);
	/* Beyond fd 3 nothing is inherited: the rest is O_CLOEXEC. */
	if (null < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0 ||
	    dup2(steps, 3) < 0 || (steps == 3 && fcntl(3, F_SETFD, 0) < 0))
		_exit(126);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp("bash", argv);
	dprintf(3, "error bash is not there; install the package bash\n");
	_exit(127);
}

static int start_child(struct build *b, struct err *e)
{
	cleanup_close int log = open(b->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	pid_t parent = getpid();
	int p[2];

	if (log < 0)
		return err_errno(e, "create %s", b->log);
	if (pipe2(p, O_CLOEXEC))
		return err_errno(e, "pipe");
	b->child = fork();
	if (b->child == 0)
		run_script(b, p[1], b->opt->verbose ? 2 : log, parent);
	close(p[1]);
	b->steps = p[0];
	if (b->child < 0)
		return err_errno(e, "fork");
	setpgid(b->child, b->child);
	return 0;
}

/* The last lines of the tools' log that tell something. */
static void show_log(struct build *b)
{
	FILE *f = fopen(b->log, "re");
	char *tail[LOG_TAIL] = { NULL }, *line = NULL;
	size_t cap = 0;
	unsigned n = 0;
	ssize_t len;

	while (f && (len = getline(&line, &cap, f)) > 0) {
		/* mmdebstrap tells its hooks' whole text; what failed begins with a letter and colon. */
		if (strncmp(line, "E: ", 3) && strncmp(line, "Err:", 4) &&
		    strncmp(line, "dpkg: error", 11) && strncmp(line, "mke2fs:", 7) &&
		    strncmp(line, "tar:", 4) && !strstr(line, "Failed to fetch") &&
		    !strstr(line, "Could not resolve") && !strstr(line, "No space left"))
			continue;
		for (char *p = line; *p; p++)
			if (((u8)*p < ' ' && *p != '\n') || *p == 0x7f)
				*p = '?';
		free(tail[n % LOG_TAIL]);
		tail[n++ % LOG_TAIL] = strdup(line);
	}
	for (unsigned i = n > LOG_TAIL ? n - LOG_TAIL : 0; i < n; i++)
		if (tail[i % LOG_TAIL])
			fprintf(stderr, "  %.300s", tail[i % LOG_TAIL]);
	for (unsigned i = 0; i < LOG_TAIL; i++)
		free(tail[i]);
	free(line);
	if (f)
		fclose(f);
}

/* End the child and all that it started, and give them time to clean up. */
static void stop_child(struct build *b)
{
	struct timespec tick = { .tv_nsec = 50000000 };
	time_t end = time(NULL) + KILL_AFTER;

	if (b->child <= 0)
		return;
	kill(-b->child, SIGTERM);
	while (time(NULL) < end && waitpid(b->child, NULL, WNOHANG) == 0)
		nanosleep(&tick, NULL);
	/* mmdebstrap outlives its shell while it removes what it made. */
	while (time(NULL) < end && kill(-b->child, 0) == 0)
		nanosleep(&tick, NULL);
	kill(-b->child, SIGKILL);
	waitpid(b->child, NULL, 0);
	b->child = 0;
}

/* Until the child has ended, or a signal came (then -EINTR, and *@sig). */
static int wait_child(struct build *b, int *sig, struct err *e)
{
	struct pollfd pfd[2] = { { .fd = b->steps, .events = POLLIN },
				 { .fd = b->sigfd, .events = POLLIN } };
	char buf[512];
	size_t have = 0;
	int status;

	for (;;) {
		int r = poll(pfd, 2, 1000);
		char *nl;
		ssize_t n;

		if (r < 0 && errno != EINTR)
			return err_errno(e, "poll");
		if (b->tty)
			show(b, false);
		if (r > 0 && pfd[1].revents) {
			struct signalfd_siginfo si;

			if (read(b->sigfd, &si, sizeof(si)) == sizeof(si)) {
				*sig = (int)si.ssi_signo;
				show_end(b);
				fprintf(stderr, "penta: stopping, nothing is left behind\n");
				return err_set(e, EINTR, "interrupted");
			}
		}
		if (r <= 0 || !pfd[0].revents)
			continue;
		n = read(b->steps, buf + have, sizeof(buf) - 1 - have);
		if (n <= 0)
			break;
		have += (size_t)n;
		buf[have] = '\0';
		while ((nl = strchr(buf, '\n'))) {
			*nl = '\0';
			take_line(b, buf);
			have -= (size_t)(nl + 1 - buf);
			memmove(buf, nl + 1, have + 1);
		}
		if (have == sizeof(buf) - 1)
			have = 0;
	}
	show_end(b);
	while (waitpid(b->child, &status, 0) < 0)
		if (errno != EINTR)
			return err_errno(e, "wait for the build");
	b->child = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (!b->opt->verbose)
		show_log(b);
	return err_set(e, EIO, "%s%s", b->why[0] ? b->why : "the build failed",
		       b->opt->verbose ? "" : "; --verbose shows what the tools print");
}

/* --- the whole --- */

static int finish(struct build *b, const char *path, struct err *e)
{
	cleanup_close int fd = open(b->disk, O_RDWR | O_CLOEXEC);
	cleanup_close int dir = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd))
		return err_errno(e, "write %s", b->disk);
	if (renameat2(AT_FDCWD, b->disk, AT_FDCWD, path, b->opt->replace ? 0 : RENAME_NOREPLACE))
		return err_errno(e, "make %s", path);
	if (dir < 0 || fsync(dir))
		return err_errno(e, "sync %s", b->dir);
	return 0;
}

static int make_paths(struct build *b, const char *path, struct err *e)
{
	cleanup_free char *real = NULL;
	const char *slash = strrchr(path, '/');

	b->dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	real = b->dir ? realpath(b->dir, NULL) : NULL;
	if (!real)
		return err_errno(e, "%s", b->dir ? b->dir : path);
	free(b->dir);
	b->dir = real;
	real = NULL;
	if (asprintf(&b->work, "%s/%sXXXXXX", b->dir, WORK_PREFIX) < 0) {
		b->work = NULL;
		return err_set(e, ENOMEM, "out of memory");
	}
	return 0;
}

static int make_work(struct build *b, struct err *e)
{
	if (!mkdtemp(b->work)) {
		int r = err_errno(e, "make a folder in %s", b->dir);

		free(b->work);
		b->work = NULL;
		return r;
	}
	/* In user namespaces the tools are somebody else, who reads the agent here. */
	if (chmod(b->work, 0755))
		return err_errno(e, "%s", b->work);
	if (asprintf(&b->disk, "%s/disk.img", b->work) < 0 ||
	    asprintf(&b->agent, "%s/agent", b->work) < 0 ||
	    asprintf(&b->log, "%s/log", b->work) < 0)
		return err_set(e, ENOMEM, "out of memory");
	return 0;
}

static int build(struct build *b, const char *path, int *sig, struct err *e)
{
	struct embedded agent = embed_agent();
	cleanup_close int lock = -1;
	int r = make_paths(b, path, e);

	if (r)
		return r;
	lock = lock_dir(b, e);
	if (lock < 0)
		return lock;
	if (!b->opt->replace && access(path, F_OK) == 0)
		return err_set(e, EEXIST, "%s is there already; --force replaces it", path);
	remove_stale(b->dir);
	r = make_work(b, e);
	if (!r)
		r = make_disk(b, e);
	if (!r)
		r = put_file(b->agent, agent.data, agent.len, 0755, e);
	if (!r)
		r = start_child(b, e);
	if (!r)
		r = wait_child(b, sig, e);
	stop_child(b);
	return r ? r : finish(b, path, e);
}

char *image_default_path(const char *name, struct err *e)
{
	cleanup_free char *dir = NULL;
	char *path;

	if (folder_name_check(name, e))
		return NULL;
	dir = folder_home("images", true, e);
	if (!dir)
		return NULL;
	if (asprintf(&path, "%s/%s.img", dir, name) < 0) {
		err_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	return path;
}

int image_build(const char *path, const struct image_build *o, int *sig, struct err *e)
{
	struct build b = { .opt = o, .steps = -1, .sigfd = -1, .start = time(NULL),
			   .tty = isatty(2) && !o->verbose };
	sigset_t set, old;
	int r;

	*sig = 0;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, &old);
	b.sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	r = b.sigfd < 0 ? err_errno(e, "signalfd") : build(&b, path, sig, e);
	if (b.work)
		remove_tree(b.work);
	cleanup_closep(&b.steps);
	cleanup_closep(&b.sigfd);
	free(b.dir);
	free(b.work);
	free(b.disk);
	free(b.agent);
	free(b.log);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}
