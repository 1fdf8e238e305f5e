// SPDX-License-Identifier: GPL-2.0-or-later
/* fscheck.c - what POSIX and Linux promise of a file system, checked from within a guest (or on the
 * host: the same checks must pass there). "fscheck DIR MODE" works in DIR and prints TAP; MODE says who
 * serves it: "real" (root on the host, owners are real), "mapped" (owners in attributes) or "user" (all
 * belongs to one user; chown is refused). Linked statically: it runs in an initramfs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static int count, failed;
static bool owners, mapped;		/* chown works; ... in attributes */

static void ok(bool good, const char *what, int line)
{
	int e = errno;

	printf("%sok %d - %s\n", good ? "" : "not ", ++count, what);
	if (!good)
		printf("  # line %d, errno %d (%s)\n", line, e, strerror(e));
	failed += !good;
}
#define OK(x) ok(x, #x, __LINE__)
#define FAILS(x, e) ok((errno = 0, (x) < 0 && errno == (e)), #x " fails: " #e, __LINE__)
#define ZERO(x) ok((x) == 0, #x, __LINE__)

static struct stat st(const char *p)
{
	struct stat s = { 0 };

	lstat(p, &s);
	return s;
}

static int put(const char *p, const char *text)
{
	int fd = open(p, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

static bool is(const char *p, const char *text)
{
	char b[256] = "";
	int fd = open(p, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, b, sizeof(b) - 1);

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(text) && !memcmp(b, text, (size_t)n);
}

static void names(void)
{
	char name[257];
	struct stat a, b;

	ZERO(put("a", "one"));
	FAILS(open("a", O_CREAT | O_EXCL | O_WRONLY, 0644), EEXIST);
	FAILS(open("none", O_RDONLY), ENOENT);
	FAILS(open("a/b", O_RDONLY), ENOTDIR);
	memset(name, 'n', 256);
	name[255] = '\0';
	ZERO(put(name, "long"));
	OK(is(name, "long"));
	ZERO(unlink(name));
	name[255] = 'n';
	name[256] = '\0';
	FAILS(open(name, O_CREAT | O_WRONLY, 0644), ENAMETOOLONG);
	ZERO(put("sp ace\xff\x80\n\\", "odd"));
	OK(is("sp ace\xff\x80\n\\", "odd"));
	ZERO(unlink("sp ace\xff\x80\n\\"));

	ZERO(mkdir("d", 0755));
	FAILS(mkdir("d", 0755), EEXIST);
	FAILS(rmdir("a"), ENOTDIR);
	FAILS(unlink("d"), EISDIR);
	ZERO(put("d/x", "x"));
	FAILS(rmdir("d"), ENOTEMPTY);
	OK(st("d").st_nlink >= 1 && S_ISDIR(st("d").st_mode));

	/* rename() */
	ZERO(rename("a", "b"));
	FAILS(open("a", O_RDONLY), ENOENT);
	OK(is("b", "one"));
	ZERO(put("c", "two"));
	ZERO(rename("c", "b"));
	OK(is("b", "two"));
	FAILS(rename("b", "d"), EISDIR);
	FAILS(rename("d", "b"), ENOTDIR);
	ZERO(mkdir("e", 0755));
	FAILS(rename("e", "d"), ENOTEMPTY);
	ZERO(rename("d", "e"));
	OK(is("e/x", "x"));
	FAILS(rename("e", "e/sub"), EINVAL);
	ZERO(rename("b", "e/b"));
	OK(is("e/b", "two"));
	ZERO(put("p", "p") || put("q", "q"));
	FAILS(renameat2(AT_FDCWD, "p", AT_FDCWD, "q", RENAME_NOREPLACE), EEXIST);
	ZERO(renameat2(AT_FDCWD, "p", AT_FDCWD, "q", RENAME_EXCHANGE));
	OK(is("p", "q") && is("q", "p"));
	ZERO(renameat2(AT_FDCWD, "p", AT_FDCWD, "r", RENAME_NOREPLACE));
	ZERO(renameat2(AT_FDCWD, "r", AT_FDCWD, "e", RENAME_EXCHANGE));
	OK(is("e", "q") && is("r/b", "two"));
	ZERO(renameat2(AT_FDCWD, "r", AT_FDCWD, "e", RENAME_EXCHANGE));

	/* link() */
	ZERO(link("q", "l"));
	a = st("q");
	b = st("l");
	OK(a.st_ino == b.st_ino && a.st_dev == b.st_dev && a.st_nlink == 2 && b.st_nlink == 2);
	ZERO(put("l", "both"));
	OK(is("q", "both"));
	FAILS(link("q", "l"), EEXIST);
	FAILS(link("e", "dirlink"), EPERM);
	ZERO(rename("q", "l"));		/* the same file: nothing happens */
	OK(st("q").st_nlink == 2);
	ZERO(unlink("q"));
	OK(is("l", "both") && st("l").st_nlink == 1);
	ZERO(unlink("l"));

	/* symlink() */
	ZERO(symlink("e/x", "s"));
	OK(S_ISLNK(st("s").st_mode) && st("s").st_size == 3);
	OK(is("s", "x"));
	OK(readlink("s", name, sizeof(name)) == 3 && !memcmp(name, "e/x", 3));
	FAILS(open("s", O_RDONLY | O_NOFOLLOW), ELOOP);
	ZERO(symlink("/etc/hostname-of-guest", "abs"));
	FAILS(open("abs", O_RDONLY), ENOENT);	/* leads through the guest's own root */
	ZERO(symlink("loop", "loop"));
	FAILS(open("loop", O_RDONLY), ELOOP);
	FAILS(readlink("e", name, sizeof(name)), EINVAL);
	ZERO(unlink("s") || unlink("abs") || unlink("loop"));
	FAILS(symlink("", "empty"), ENOENT);

	/* what is no file */
	ZERO(mkfifo("fifo", 0600));
	OK(S_ISFIFO(st("fifo").st_mode) && (st("fifo").st_mode & 07777) == 0600);
	OK(open("fifo", O_WRONLY | O_NONBLOCK) < 0 && errno == ENXIO);
	ZERO(mknod("sock", S_IFSOCK | 0644, 0));
	OK(S_ISSOCK(st("sock").st_mode));
	if (mapped) {
		ZERO(mknod("null", S_IFCHR | 0666, makedev(1, 3)));
		OK(S_ISCHR(st("null").st_mode) && st("null").st_rdev == makedev(1, 3));
		OK(open("null", O_WRONLY) >= 0);
		ZERO(unlink("null"));
	} else {
		FAILS(mknod("null", S_IFCHR | 0666, makedev(1, 3)), EPERM);
	}
	ZERO(unlink("fifo") || unlink("sock"));
	ZERO(unlink("e/x") || unlink("e/b") || rmdir("e"));
}

static void *writer(void *p)
{
	char name[32], text[64];
	long t = (long)(intptr_t)p, bad = 0;

	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "t%ld-%d", t, i % 7);
		snprintf(text, sizeof(text), "thread %ld round %d", t, i);
		if (put(name, text) || !is(name, text) || (i % 3 == 0 && unlink(name)))
			bad++;
	}
	return (void *)(intptr_t)bad;
}

static void data(void)
{
	static char buf[300000], in[300000];
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	pthread_t th[4];
	void *bad;
	char *p;
	int fd, fd2, status;

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (char)(i * 31 + i / 4096);
	fd = open("f", O_RDWR | O_CREAT | O_TRUNC, 0600);
	OK(fd >= 0);
	OK(write(fd, buf, sizeof(buf)) == sizeof(buf));
	OK(pread(fd, in, sizeof(in), 0) == sizeof(in) && !memcmp(in, buf, sizeof(in)));
	OK(st("f").st_size == sizeof(buf) && st("f").st_blocks > 0);
	OK(pwrite(fd, "hole", 4, 5000000) == 4);
	OK(st("f").st_size == 5000004);
	OK(pread(fd, in, 8, 1000000) == 8 && !memcmp(in, "\0\0\0\0\0\0\0", 8));
	OK(lseek(fd, 0, SEEK_DATA) == 0);
	OK(lseek(fd, 400000, SEEK_HOLE) >= 400000);
	ZERO(ftruncate(fd, 100));
	OK(st("f").st_size == 100);
	ZERO(ftruncate(fd, 200));
	OK(pread(fd, in, 200, 0) == 200 && !memcmp(in, buf, 100) && !in[100] && !in[199]);
	ZERO(truncate("f", 50));
	OK(st("f").st_size == 50);
	FAILS(truncate("f", -1), EINVAL);
	ZERO(fallocate(fd, 0, 0, 8192));
	OK(st("f").st_size == 8192);
	ZERO(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 65536));
	OK(st("f").st_size == 8192);
	ZERO(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	OK(pread(fd, in, 10, 0) == 10 && !in[0] && !in[9]);
	ZERO(fsync(fd));
	ZERO(fdatasync(fd));
	close(fd);
	sync();

	fd = open("ap", O_WRONLY | O_CREAT | O_APPEND, 0600);
	fd2 = open("ap", O_WRONLY | O_APPEND);
	OK(write(fd, "1", 1) == 1 && write(fd2, "2", 1) == 1 && write(fd, "3", 1) == 1);
	OK(is("ap", "123"));
	close(fd);
	close(fd2);
	FAILS(write(open("ap", O_RDONLY), "x", 1), EBADF);
	fd = open("ap", O_RDWR | O_TRUNC);
	OK(fd >= 0 && st("ap").st_size == 0);
	close(fd);

	/* a file that is gone goes on living */
	fd = open("gone", O_RDWR | O_CREAT, 0600);
	ZERO(unlink("gone"));
	OK(write(fd, "still", 5) == 5 && pread(fd, in, 5, 0) == 5 && !memcmp(in, "still", 5));
	struct stat s;
	ZERO(fstat(fd, &s));
	OK(s.st_nlink == 0 && s.st_size == 5);
	ZERO(fchmod(fd, 0640));
	ZERO(ftruncate(fd, 2));
	close(fd);
	fd = open("old", O_RDWR | O_CREAT, 0600);
	ZERO(put("new", "new"));
	ZERO(rename("new", "old"));
	OK(write(fd, "old", 3) == 3);
	OK(is("old", "new"));
	close(fd);
	fd = open(".", O_TMPFILE | O_RDWR, 0600);
	OK(fd >= 0 || errno == EOPNOTSUPP || errno == EISDIR);	/* kernels before 6.1 have it not */
	if (fd >= 0) {
		char path[64];

		OK(write(fd, "tmp", 3) == 3);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		ZERO(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
		OK(is("named", "tmp"));
		close(fd);
	}

	/* mmap */
	fd = open("m", O_RDWR | O_CREAT | O_TRUNC, 0600);
	ZERO(ftruncate(fd, 8192));
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	OK(p != MAP_FAILED);
	if (p != MAP_FAILED) {
		memcpy(p + 4000, "mapped", 6);
		ZERO(msync(p, 8192, MS_SYNC));
		OK(pread(fd, in, 6, 4000) == 6 && !memcmp(in, "mapped", 6));
		munmap(p, 8192);
	}

	/* locks: between the guest's processes */
	ZERO(fcntl(fd, F_SETLK, &fl));
	if (fork() == 0) {
		int f2 = open("m", O_RDWR);
		struct flock g = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

		_exit(fcntl(f2, F_SETLK, &g) < 0 && (errno == EAGAIN || errno == EACCES) ? 0 : 1);
	}
	wait(&status);
	OK(status == 0);
	fd2 = open("m", O_RDWR);
	ZERO(flock(fd, LOCK_EX));
	FAILS(flock(fd2, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	close(fd);
	ZERO(flock(fd2, LOCK_EX | LOCK_NB));
	close(fd2);

	for (long t = 0; t < 4; t++)
		pthread_create(&th[t], NULL, writer, (void *)(intptr_t)t);
	for (long t = 0; t < 4; t++) {
		pthread_join(th[t], &bad);
		OK(bad == NULL);
	}
}

static void attributes(void)
{
	struct timespec ts[2] = { { 1000000000, 123456789 }, { -5, 999999999 } };
	struct statvfs vfs;
	struct stat s;
	char b[70000];
	int fd, status;

	ZERO(put("a", "x"));
	ZERO(chmod("a", 0751));
	OK((st("a").st_mode & 07777) == 0751);
	ZERO(chmod("a", 0));
	OK((st("a").st_mode & 07777) == 0);
	ZERO(chmod("a", 0644));
	ZERO(mkdir("d", 01777));
	OK((st("d").st_mode & 01777) == (01777 & ~022));	/* our umask */
	ZERO(chmod("d", 01777));
	OK((st("d").st_mode & 07777) == 01777);
	umask(0);
	fd = open("u", O_CREAT | O_WRONLY, 0666);
	close(fd);
	OK((st("u").st_mode & 07777) == 0666);
	umask(022);
	/* A set-id bit lives in a mapped attribute, never on the host's file. */
	ZERO(chmod("a", 04755));
	OK((st("a").st_mode & 07777) == (mapped ? 04755 : 0755));

	ZERO(utimensat(AT_FDCWD, "a", ts, 0));
	s = st("a");
	OK(s.st_atim.tv_sec == 1000000000 && s.st_atim.tv_nsec == 123456789);
	OK(s.st_mtim.tv_sec == -5 && s.st_mtim.tv_nsec == 999999999);
	ZERO(utimensat(AT_FDCWD, "a", NULL, 0));
	OK(st("a").st_mtim.tv_sec > 1000000000);
	ts[0].tv_nsec = UTIME_OMIT;
	ts[1] = (struct timespec){ 7, 0 };
	ZERO(utimensat(AT_FDCWD, "a", ts, 0));
	OK(st("a").st_mtim.tv_sec == 7 && st("a").st_atim.tv_sec > 1000000000);
	ZERO(symlink("nowhere", "sl"));
	ZERO(utimensat(AT_FDCWD, "sl", ts, AT_SYMLINK_NOFOLLOW));
	OK(st("sl").st_mtim.tv_sec == 7);

	if (owners) {
		ZERO(chown("a", 1234, 5678));
		OK(st("a").st_uid == 1234 && st("a").st_gid == 5678);
		OK((st("a").st_mode & 04000) == 0);	/* chown takes the bit away */
		ZERO(chown("a", -1, 99));
		OK(st("a").st_uid == 1234 && st("a").st_gid == 99);
		if (!mapped) {
			ZERO(lchown("sl", 5, 6));
			OK(st("sl").st_uid == 5 && st("sl").st_gid == 6);
		}
		ZERO(chown("d", 1000, 1000) || chmod("d", 02777));
		ZERO(mkdir("open", 0777) || chmod("open", 0777));
		ZERO(chmod("a", 0600));
		if (fork() == 0) {	/* another user: permissions are the guest kernel's work */
			bool good = !setgid(1000) && !setuid(1001) && open("a", O_RDONLY) < 0 &&
				    errno == EACCES && !put("open/mine", "mine") &&
				    !put("d/group", "g") && chmod("a", 0777) < 0 && errno == EPERM &&
				    chown("open/mine", 0, 0) < 0 && errno == EPERM;
			_exit(good ? 0 : 1);
		}
		wait(&status);
		OK(status == 0);
		OK(st("open/mine").st_uid == 1001 && st("open/mine").st_gid == 1000);
		OK(st("d/group").st_uid == 1001 && st("d/group").st_gid == 1000);
	} else {
		FAILS(chown("a", 1234, 5678), EPERM);
	}

	ZERO(setxattr("a", "user.one", "1", 1, 0));
	FAILS(setxattr("a", "user.one", "1", 1, XATTR_CREATE), EEXIST);
	FAILS(setxattr("a", "user.two", "1", 1, XATTR_REPLACE), ENODATA);
	ZERO(setxattr("a", "user.two", "22", 2, XATTR_CREATE));
	OK(getxattr("a", "user.two", NULL, 0) == 2);
	OK(getxattr("a", "user.two", b, sizeof(b)) == 2 && !memcmp(b, "22", 2));
	FAILS(getxattr("a", "user.two", b, 1), ERANGE);
	OK(listxattr("a", b, sizeof(b)) == 18);		/* and nothing of penta's own */
	FAILS(getxattr("a", "user.penta.owner", b, sizeof(b)), EOPNOTSUPP);
	FAILS(setxattr("a", "user.penta.owner", "0", 1, 0), EOPNOTSUPP);
	FAILS(setxattr("a", "trusted.x", "0", 1, 0), EOPNOTSUPP);
	FAILS(setxattr("a", "security.capability", "0", 1, 0), EINVAL);	/* the guest kernel's check */
	ZERO(removexattr("a", "user.one"));
	FAILS(removexattr("a", "user.one"), ENODATA);
	ZERO(statvfs(".", &vfs));
	OK(vfs.f_blocks > 0 && vfs.f_namemax == 255);
}

static int cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A directory with many names: each is listed once, also while others come and go. */
static void listing(int many)
{
	char name[32], **seen = calloc((size_t)many * 2 + 16, sizeof(*seen));
	int n = 0, twice = 0, ours = 0, fd;
	struct dirent *e;
	struct stat s;
	DIR *d;

	ZERO(mkdir("big", 0755) || chdir("big"));
	for (int i = 0; i < many; i++) {
		snprintf(name, sizeof(name), "file-%05d", i);
		fd = open(name, O_CREAT | O_WRONLY, 0600);
		if (fd < 0)
			break;
		close(fd);
	}
	d = opendir(".");
	for (int i = 0; (e = readdir(d)) && n < many * 2; i++) {
		seen[n++] = strdup(e->d_name);
		if (i % 10 == 0) {	/* what is removed behind us and made ahead changes nothing for the rest */
			snprintf(name, sizeof(name), "new-%05d", i);
			fd = open(name, O_CREAT | O_WRONLY, 0600);
			close(fd);
			unlink(name);
		}
	}
	qsort(seen, (size_t)n, sizeof(*seen), cmp);
	for (int i = 0; i < n; i++) {
		ours += !strncmp(seen[i], "file-", 5);
		twice += i && !strcmp(seen[i], seen[i - 1]);
	}
	OK(ours == many);
	OK(twice == 0);
	rewinddir(d);
	for (n = 0; (e = readdir(d)); n++)
		if (e->d_name[0] != '.' && (lstat(e->d_name, &s) || !S_ISREG(s.st_mode)))
			twice++;
	OK(n == many + 2 && twice == 0);
	long at = -1;
	char *want = NULL;
	rewinddir(d);
	for (int i = 0; (e = readdir(d)); i++) {
		if (i == many / 2)
			at = telldir(d);
		if (i == many / 2 + 1)
			want = strdup(e->d_name);
	}
	seekdir(d, at);
	e = readdir(d);
	OK(e && want && !strcmp(e->d_name, want));
	closedir(d);
	for (int i = 0; i < many; i++) {
		snprintf(name, sizeof(name), "file-%05d", i);
		if (unlink(name))
			failed++;
	}
	ZERO(chdir("..") || rmdir("big"));
	free(seen);
}

int main(int argc, char **argv)
{
	int many = argc > 3 ? atoi(argv[3]) : 1000;

	if (argc < 3 || chdir(argv[1]))
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	umask(022);
	mapped = !strcmp(argv[2], "mapped");
	owners = mapped || !strcmp(argv[2], "real");
	ZERO(mkdir("names", 0755) || chdir("names"));
	names();
	ZERO(chdir("..") || mkdir("data", 0755) || chdir("data"));
	data();
	ZERO(chdir("..") || mkdir("attr", 0755) || chdir("attr"));
	attributes();
	ZERO(chdir(".."));
	listing(many);
	printf("1..%d\n", count);
	return failed != 0;
}
