/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hostcheck.c - look at the host: each check tries the thing where that is harmless, and reads
 * what the kernel says of it elsewhere. Nothing needs root, nothing is changed. */
#include "manage/cli/hostcheck.h"
#include "base/cleanup.h"
#include "base/sandbox.h"
#include "base/err.h"
#include "vm/cpuid.h"
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static struct finding *add(struct findings *fs, const char *id, enum finding_state st,
			   const char *mend, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

static struct finding *add(struct findings *fs, const char *id, enum finding_state st,
			   const char *mend, const char *fmt, ...)
{
	struct finding *f = &fs->f[fs->n < FINDINGS_MAX - 1 ? fs->n++ : fs->n];
	va_list ap;

	*f = (struct finding){ .id = id, .state = st, .mend = mend };
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	return f;
}

/* Append a word to a text, with a space before it unless it is the first. */
static void word(char *s, size_t size, const char *w)
{
	size_t n = strlen(s);

	snprintf(s + n, size - n, "%s%s", n ? " " : "", w);
}

/* The first line of a small file without its newline; false when there is none. */
static bool first_line(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	bool ok;

	buf[0] = 0;
	if (!f)
		return false;
	ok = fgets(buf, (int)size, f) != NULL;
	fclose(f);
	buf[strcspn(buf, "\n")] = 0;
	return ok;
}

/* The value of "name : value" or "name: value" in a file like /proc/cpuinfo. */
static bool proc_value(const char *path, const char *name, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	char line[512];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');

		if (!colon || strncmp(line, name, strlen(name)))
			continue;
		colon++;
		colon += strspn(colon, " \t");
		colon[strcspn(colon, "\n")] = 0;
		snprintf(buf, size, "%s", colon);
		found = true;
	}
	if (f)
		fclose(f);
	return found;
}

/* --- /dev/kvm --- */

/* One line: boot id, kind, error, rate, syscall. A file that does not parse, or that tells of
 * another boot, is no verdict. */
static bool cache_path(char *buf, size_t size, bool make)
{
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	char dir[256];

	if (xdg && *xdg == '/')
		snprintf(dir, sizeof(dir), "%s", xdg);
	else if (home && *home == '/')
		snprintf(dir, sizeof(dir), "%s/.cache", home);
	else
		return false;
	if (make)
		mkdir(dir, 0700);
	if ((size_t)snprintf(buf, size, "%s/penta", dir) >= size)
		return false;
	if (make)
		mkdir(buf, 0755);
	return (size_t)snprintf(buf, size, "%s/penta/kvm-probe", dir) < size;
}

static bool read_cache(struct kvm_probe *p, const char *boot_id)
{
	char path[300], line[256], id[64];
	unsigned kind, sys;
	unsigned long long rate;

	if (!cache_path(path, sizeof(path), false) || !first_line(path, line, sizeof(line)) ||
	    sscanf(line, "%63s %u %d %llu %u", id, &kind, &p->error, &rate, &sys) != 5 ||
	    strcmp(id, boot_id) || kind >= KVM_KINDS)
		return false;
	p->kind = (enum kvm_kind)kind;
	p->rate = rate;
	p->syscall_ok = sys;
	return true;
}

static void write_cache(const struct kvm_probe *p, const char *boot_id)
{
	char path[300], tmp[320];
	FILE *f;

	if (!cache_path(path, sizeof(path), true))
		return;
	snprintf(tmp, sizeof(tmp), "%s.%d", path, (int)getpid());
	f = fopen(tmp, "we");
	if (!f)
		return;
	fprintf(f, "%s %u %d %llu %u\n", boot_id, p->kind, p->error, (unsigned long long)p->rate,
		p->syscall_ok);
	if (fclose(f) || rename(tmp, path))
		unlink(tmp);
}

void host_kvm(struct kvm_probe *p, bool *cached)
{
	char id[64];
	bool have_id = first_line("/proc/sys/kernel/random/boot_id", id, sizeof(id));

	/* Only what was measured: whether the device may be opened can change any time. */
	*cached = !access("/dev/kvm", R_OK | W_OK) && have_id && read_cache(p, id);
	if (*cached)
		return;
	kvm_probe(p);
	if (have_id && (p->kind == KVM_EMULATED || p->kind == KVM_USABLE))
		write_cache(p, id);
}

static void check_kvm(struct findings *fs, const struct kvm_probe *p)
{
	switch (p->kind) {
	case KVM_ABSENT:
		add(fs, "kvm", FOUND_NO, NULL, "no /dev/kvm; machines run on the soft engine");
		break;
	case KVM_FORBIDDEN:
		add(fs, "kvm", FOUND_NO, "sudo adduser $USER kvm, then log in again",
		    "/dev/kvm is there, but you may not open it");
		break;
	case KVM_USABLE:
		add(fs, "kvm", FOUND_OK, NULL, "usable (%.1f G instructions/s in ring 0)",
		    (double)p->rate / 1e9);
		break;
	case KVM_EMULATED:
		add(fs, "kvm", FOUND_PARTLY, NULL, "present, but emulated by the host (%.1f M "
		    "instructions/s%s); using soft", (double)p->rate / 1e6,
		    p->syscall_ok ? "" : ", SYSCALL broken");
		break;
	default:
		add(fs, "kvm", FOUND_NO, NULL, "present, but a test guest does not run (%s)",
		    strerror(p->error));
	}
}

/* --- processor --- */

static void check_cpu(struct findings *fs)
{
	char name[128] = "unknown processor", models[64] = "", flags[64] = "";
	static const struct { const char *name; int leaf7; } interesting[] = {
		{ "avx", 0 }, { "avx2", 0 }, { "avx512f", 0 }, { "aes", 0 }, { "sha_ni", 0 },
	};
	char line[8192];
	FILE *f = fopen("/proc/cpuinfo", "re");

	proc_value("/proc/cpuinfo", "model name", name, sizeof(name));
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "flags", 5))
			continue;
		for (char *t = strtok(line, " \t\n"); t; t = strtok(NULL, " \t\n"))
			for (size_t i = 0; i < ARRAY_SIZE(interesting); i++)
				if (!strcmp(t, interesting[i].name))
					word(flags, sizeof(flags), t);
		break;
	}
	if (f)
		fclose(f);
	add(fs, "cpu", FOUND_OK, NULL, "%ld x %s (%s)", sysconf(_SC_NPROCESSORS_ONLN), name, flags);
	for (const char *const *m = (const char *const[]){ "base", "v2", "v3", "max", NULL }; *m;
	     m++) {
		struct cpuid_table *t = NULL;

		if (!cpuid_table_new(&t, cpu_model_find(*m), 1, 1000000, true, NULL))
			word(models, sizeof(models), *m);
		cpuid_table_free(t);
	}
	add(fs, "cpu-models", strstr(models, "v3") ? FOUND_OK : FOUND_PARTLY, NULL,
	    "--cpu models that fit: %s", models);
}

static void check_memory(struct findings *fs)
{
	char total[64] = "0", avail[64] = "0";
	unsigned long long t, a;

	proc_value("/proc/meminfo", "MemTotal", total, sizeof(total));
	proc_value("/proc/meminfo", "MemAvailable", avail, sizeof(avail));
	t = strtoull(total, NULL, 10) >> 10;
	a = strtoull(avail, NULL, 10) >> 10;
	add(fs, "memory", a >= 512 ? FOUND_OK : FOUND_PARTLY, NULL, "%llu MiB, %llu MiB available",
	    t, a);
}

/* --- what environments (ve) will want --- */

static void check_namespaces(struct findings *fs)
{
	static const char *const kinds[] = { "mnt", "pid", "net", "ipc", "uts", "user", "cgroup",
					     "time" };
	char have[64] = "", lack[64] = "", path[64];

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i]);
		if (access(path, F_OK))
			word(lack, sizeof(lack), kinds[i]);
		else
			word(have, sizeof(have), kinds[i]);
	}
	add(fs, "namespaces", *lack ? FOUND_PARTLY : FOUND_OK, NULL, "%s%s%s", have,
	    *lack ? "; not: " : "", lack);
}

/* Try it in a child: sysctls, AppArmor and seccomp all have a say, so only trying tells. */
static void check_userns(struct findings *fs)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0)
		_exit(unshare(CLONE_NEWUSER) ? errno : 0);
	if (pid > 0)
		waitpid(pid, &status, 0);
	if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		add(fs, "userns", FOUND_OK, NULL, "user namespaces can be made%s",
		    geteuid() ? " without root" : "");
	else
		add(fs, "userns", FOUND_NO,
		    "sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
		    "kernel.apparmor_restrict_unprivileged_userns",
		    "user namespaces cannot be made (%s)",
		    pid > 0 && WIFEXITED(status) ? strerror(WEXITSTATUS(status)) : "no child");
}

static void check_cgroups(struct findings *fs)
{
	char v1[160] = "", v2[160] = "", ctl[160], path[300];
	FILE *f = setmntent("/proc/self/mounts", "re");
	struct mntent *m;

	while (f && (m = getmntent(f))) {
		if (!strcmp(m->mnt_type, "cgroup")) {
			const char *base = strrchr(m->mnt_dir, '/');

			word(v1, sizeof(v1), base ? base + 1 : m->mnt_dir);
		} else if (!strcmp(m->mnt_type, "cgroup2") && !*v2) {
			snprintf(path, sizeof(path), "%s/cgroup.controllers", m->mnt_dir);
			first_line(path, ctl, sizeof(ctl));
			snprintf(v2, sizeof(v2), "%s", *ctl ? ctl : "no controllers");
		}
	}
	if (f)
		endmntent(f);
	if (!*v1 && !*v2)
		add(fs, "cgroups", FOUND_NO, NULL, "no cgroup file system is mounted");
	else
		add(fs, "cgroups", FOUND_OK, NULL, "%s%s%s%s%s", *v2 ? "v2: " : "", v2,
		    *v1 && *v2 ? "; " : "", *v1 ? "v1: " : "", v1);
}

static void check_tun(struct findings *fs)
{
	int fd cleanup_close = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		add(fs, "tun", FOUND_OK, NULL, "/dev/net/tun can be opened%s",
		    geteuid() ? " (making a tap still needs CAP_NET_ADMIN)" : "");
	else
		add(fs, "tun", FOUND_NO, NULL, "/dev/net/tun: %s", strerror(errno));
}

static void check_sandbox(struct findings *fs)
{
	struct err e = { 0 };

	if (sandbox_probe(&e) < 0)
		add(fs, "sandbox", FOUND_NO, "use a kernel with CONFIG_SECCOMP_FILTER, or --sandbox off",
		    "%s", e.msg);
	else
		add(fs, "sandbox", FOUND_OK, NULL, "machines run with %u (vcpu), %u (io), %u (files), "
		    "%u (control) system calls%s", sandbox_count(SANDBOX_VCPU),
		    sandbox_count(SANDBOX_IO), sandbox_count(SANDBOX_FILES),
		    sandbox_count(SANDBOX_CONTROL),
		    geteuid() ? "" : ", and without root's rights");
}

void host_check(struct findings *fs, const struct kvm_probe *kvm)
{
	struct utsname u;

	fs->n = 0;
	if (!uname(&u))
		add(fs, "host", FOUND_OK, NULL, "%s %s %s", u.sysname, u.release, u.machine);
	check_cpu(fs);
	check_memory(fs);
	check_kvm(fs, kvm);
	check_tun(fs);
	check_namespaces(fs);
	check_userns(fs);
	check_sandbox(fs);
	check_cgroups(fs);
}
