// SPDX-License-Identifier: GPL-2.0-or-later
/* logs.c - `penta logs`: what a machine has said. */
#include "manage/cli/machines.h"
#include "base/cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum opt { OPT_FOLLOW, OPT_PENTA, OPT_LINES, OPT_JSON, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_FOLLOW] = OPTION("follow", NULL, NULL, "go on with what comes, until Ctrl-C",
			      .letter = 'f'),
	[OPT_PENTA] = OPTION("penta", NULL, NULL,
		"what penta said about the machine, not its console"),
	[OPT_LINES] = OPTION("lines", "N", "10 100", "only the last N lines", .letter = 'n'),
	[OPT_JSON] = OPTION("json", NULL, NULL,
		"print the text as a JSON object, for programs"),
};

static const char text[] =
	"The console's log is the guest's own text, with whatever a terminal makes of it.\n"
	"\nExamples:\n"
	"  penta logs web\n"
	"  penta logs -f -n 20 web\n"
	"  penta logs --penta web\n";

/* Where the last @lines lines of the file begin. */
static off_t tail_start(int fd, off_t size, unsigned lines)
{
	char buf[4096];
	off_t at = size;

	while (at > 0) {
		size_t n = (size_t)MIN(at, (off_t)sizeof(buf));

		if (pread(fd, buf, n, at - (off_t)n) != (ssize_t)n)
			return 0;
		for (size_t i = n; i-- > 0;)
			if (buf[i] == '\n' && at - (off_t)n + (off_t)i + 1 < size && !lines--)
				return at - (off_t)n + (off_t)i + 1;
		at -= (off_t)n;
	}
	return 0;
}

static int copy_out(int fd, off_t *at)
{
	char buf[65536];
	ssize_t n;

	while ((n = pread(fd, buf, sizeof(buf), *at)) > 0) {
		if (fwrite(buf, 1, (size_t)n, stdout) != (size_t)n)
			return -1;
		*at += n;
	}
	return fflush(stdout) ? -1 : 0;
}

/* The machine's next start may put the log aside: then the new one is followed. */
static int follow(const struct folder *f, const char *file, int fd, off_t at, struct err *e)
{
	cleanup_close int in = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char events[4096];

	if (in < 0 || inotify_add_watch(in, f->path, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
		return err_errno(e, "follow %s/%s", f->path, file);
	for (;;) {
		struct pollfd p[] = { { .fd = in, .events = POLLIN },
				      { .fd = STDOUT_FILENO, .events = 0 } };
		struct stat now, open_one;

		if (copy_out(fd, &at))
			return err_set(e, EPIPE, "cannot write to standard output");
		if (!fstatat(f->fd, file, &now, 0) && !fstat(fd, &open_one) &&
		    now.st_ino != open_one.st_ino) {
			int other = openat(f->fd, file, O_RDONLY | O_CLOEXEC);

			if (other >= 0) {
				dup3(other, fd, O_CLOEXEC);
				close(other);
				at = 0;
				continue;
			}
		}
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return err_errno(e, "poll");
		if (p[1].revents & (POLLERR | POLLHUP))
			return 0;		/* nobody reads any more */
		while (read(in, events, sizeof(events)) > 0)
			;
	}
}

static int to_json(int fd, off_t at, json_t *out, struct err *e)
{
	char *buf = NULL;
	size_t len = 0;
	FILE *mem = open_memstream(&buf, &len);
	char part[65536];
	ssize_t n;

	while (mem && (n = pread(fd, part, sizeof(part), at)) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			u8 c = (u8)part[i];

			/* What is no ASCII comes as Latin-1 would say it: always valid UTF-8. */
			if (c >= 0x80)
				fprintf(mem, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
			else if (c)
				putc(c, mem);
		}
		at += n;
	}
	if (!mem || fclose(mem))
		return err_set(e, ENOMEM, "out of memory");
	json_object_set_new(out, "text", json_stringn(buf, len));
	free(buf);
	return 0;
}

static int logs(const char *name, const struct args *a, json_t *out, struct err *e)
{
	const char *file = args_get(a, OPT_PENTA) ? "penta.log" : "console.log";
	const char *lines = args_get(a, OPT_LINES);
	cleanup_close int fd = -1;
	unsigned n = 0;
	struct folder f;
	struct stat st;
	off_t at = 0;
	int r = folder_open(&f, name, e);

	if (r)
		return r;
	if (lines)
		r = parse_number(lines, "--lines", 0, 1000000000, &n, e);
	if (!r) {
		fd = openat(f.fd, file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0 && errno == ENOENT && !args_get(a, OPT_FOLLOW))
			r = err_set(e, ENOENT, "machine \"%s\" has said nothing yet", name);
		else if (fd < 0 && errno == ENOENT)
			fd = openat(f.fd, file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 && !r)
			r = err_errno(e, "open %s/%s", f.path, file);
	}
	if (!r && lines && !fstat(fd, &st))
		at = tail_start(fd, st.st_size, n);
	if (!r && args_get(a, OPT_JSON))
		r = to_json(fd, at, out, e);
	else if (!r && args_get(a, OPT_FOLLOW))
		r = follow(&f, file, fd, at, e);
	else if (!r && copy_out(fd, &at))
		r = err_set(e, EIO, "cannot write to standard output");
	folder_close(&f);
	return r;
}

static int run(const struct args *a, int npos, char **pos)
{
	if (npos > 1) {
		cli_error("logs: one machine at a time");
		return EXIT_USAGE;
	}
	return cli_each(&verb_logs, a, args_get(a, OPT_JSON), npos, pos, logs);
}

const struct verb verb_logs = {
	.name = "logs", .summary = "what a machine has said", .usage = "[-f] [-n N] [--penta] NAME",
	.options = options, .text = text, .positional = "@machine", .run = run,
};
