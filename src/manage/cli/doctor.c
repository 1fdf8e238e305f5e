/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doctor.c - `penta doctor`: what this host offers, and which engine each platform gets. */
#include "base/sandbox.h"
#include "manage/cli/cli.h"
#include "manage/cli/hostcheck.h"
#include <unistd.h>

enum opt { OPT_JSON, OPT_FRESH, OPT_SANDBOX, OPT_N };

static const struct option options[OPT_N + 1] = {
	[OPT_JSON] = OPTION("json", NULL, NULL, "the same for programs"),
	[OPT_SANDBOX] = OPTION("sandbox", NULL, NULL,
		"only list what each class of threads may ask of the\n"
		"kernel, for which parts of a machine, and why"),
	[OPT_FRESH] = OPTION("fresh", NULL, NULL,
		"test /dev/kvm anew (its verdict is kept until the host\nreboots)"),
};

static const char text[] =
	"Examples:\n"
	"  penta doctor\n"
	"  penta doctor --json | jq -r '.findings[] | select(.id == \"kvm\") | .text'\n"
	"\nExit status: 0, also when something is missing: no finding keeps machines from\n"
	"running.\n";

/* Platforms, and the engine that `--engine auto` takes for each. */
struct choice { const char *platform, *engine; char why[128]; };

static void choose(struct choice *c, const struct kvm_probe *kvm)
{
	*c = (struct choice){ .platform = "lite", .engine = "soft" };
	snprintf(c->why, sizeof(c->why), "%s", kvm->kind == KVM_USABLE ?
		 "this version has no kvm engine yet" :
		 kvm->kind == KVM_EMULATED ? "the host only emulates what is behind /dev/kvm" :
		 "it needs nothing from the host");
}

static void put_string(const char *s)
{
	putchar('"');
	for (; *s; s++)
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			printf("\\u%04x", *s);
		else
			putchar(*s);
	putchar('"');
}

static void print_json(const struct findings *fs, const struct kvm_probe *kvm,
		       const struct choice *c)
{
	static const char *const states[] = { "ok", "partly", "no" };
	static const char *const kinds[] = { "absent", "forbidden", "unfit", "emulated", "usable" };

	printf("{\"version\": \"" PENTA_VERSION "\",\n \"kvm\": {\"kind\": \"%s\", \"rate\": %llu, "
	       "\"syscall_ok\": %s},\n \"findings\": [", kinds[kvm->kind],
	       (unsigned long long)kvm->rate, kvm->syscall_ok ? "true" : "false");
	for (unsigned i = 0; i < fs->n; i++) {
		printf("%s\n  {\"id\": \"%s\", \"state\": \"%s\", \"text\": ", i ? "," : "",
		       fs->f[i].id, states[fs->f[i].state]);
		put_string(fs->f[i].text);
		if (fs->f[i].mend) {
			fputs(", \"mend\": ", stdout);
			put_string(fs->f[i].mend);
		}
		putchar('}');
	}
	printf("],\n \"platforms\": [{\"name\": \"%s\", \"engine\": \"%s\", \"why\": ", c->platform,
	       c->engine);
	put_string(c->why);
	puts("}]}");
}

static void print_text(const struct findings *fs, const struct choice *c)
{
	static const char *const marks[] = { "ok", "--", "no" };

	for (unsigned i = 0; i < fs->n; i++) {
		const struct finding *f = &fs->f[i];

		printf("  %s  %-11s %s\n", marks[f->state], f->id, f->text);
		if (f->mend)
			printf("%18s try: %s\n", "", f->mend);
	}
	printf("\n  platform %s runs on engine %s: %s\n", c->platform, c->engine, c->why);
}

static int run(const struct args *a, int npos, char **pos)
{
	struct kvm_probe kvm;
	struct findings fs;
	struct choice c;
	bool cached;

	if (args_get(a, OPT_SANDBOX)) {
		sandbox_list(stdout);
		return EXIT_DONE;
	}
	if (args_get(a, OPT_FRESH))
		kvm_probe(&kvm);
	else
		host_kvm(&kvm, &cached);
	host_check(&fs, &kvm);
	choose(&c, &kvm);
	if (args_get(a, OPT_JSON))
		print_json(&fs, &kvm, &c);
	else
		print_text(&fs, &c);
	return EXIT_DONE;
}

const struct verb verb_doctor = {
	.name = "doctor", .summary = "what this host offers to machines, and why",
	.usage = "[--json] [--fresh]", .options = options, .text = text, .run = run,
};
