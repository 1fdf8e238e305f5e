// SPDX-License-Identifier: GPL-2.0-or-later
/* fuzz_config.c - a machine's configuration from hostile text: config.json with bits turned, pieces
 * cut, doubled and exchanged, and options put together from words that mean something. What is taken
 * must print as what is read back the same; what is refused leaves one line.
 * Runs FUZZ_SECONDS (default 10) from the seed in argv[1] (default: the time). */
#include "fuzz.h"
#include "manage/machine/config.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static u64 rng;
static u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	return rng ^= rng << 17;
}

static const char seed_json[] =
	"{\"version\": 1, \"uuid\": \"5ff06974-2d4f-4a55-8f7f-40ac2c9b5371\", \"machine\": \"lite\","
	" \"engine\": \"auto\", \"memory\": \"512M\", \"cpus\": 2, \"cpu\": \"v2\", \"kernel\": \"k\","
	" \"append\": \"console=ttyS0 \\u00e4\\\\\\\"\", \"boot\": \"auto\", \"disk\": [{\"path\":"
	" \"a,b.img\", \"ro\": true, \"queues\": 4, \"cache\": \"none\", \"serial\": \"x\"},"
	" \"c.qcow2,format=qcow2\"], \"net\": [{\"spec\": \"user,forward=2222:22\", \"mac\":"
	" \"52:54:00:12:34:56\", \"mtu\": 9000}, \"none\"], \"pcap\": [\"f\"], \"serial\":"
	" [\"console\", \"file:x,y\"], \"console\": [\"unix:s\"], \"share\": [{\"dir\": \"d\","
	" \"tag\": \"t\"}], \"vsock\": 7, \"balloon\": true, \"on-crash\": \"pause\", \"sandbox\":"
	" false, \"autostart\": true, \"stop-timeout\": 5}";

static const char *const words[] = {
	"\"memory\"", "\"disk\"", "\"net\"", "\"path\"", "\"spec\"", "[", "]", "{", "}", ",", ":", "null",
	"true", "-1", "1e999", "18446744073709551616", "0.5", "\"\"", "\"\\u0000\"", "\"\\ud800\"", "\xff",
	"\"999999T\"", "\"version\": 2", "\"auto\"", "\"off\"", ",,", "=", "\"x,ro=on,ro=off\"", "[[[[[[[[",
};
static const char *const parts[] = {
	"a", "", ",", ",,", "=", "ro", "ro=on", "format=raw", "queues=64", "cache=none", "serial=s",
	"mac=52:54:00:00:00:01", "mtu=65521", "tag=t", "user", "forward=1:2", "file:", "unix:x", "console",
	"512M", "1T", "0", "4294967295", "auto", "off", "on", "5ff06974-2d4f-4a55-8f7f-40ac2c9b5371", "max",
	"\xc3\x28", "path=q", "spec=q", "discard=off",
};

static size_t damage(char *buf, size_t len, size_t room)
{
	for (unsigned n = (unsigned)(rnd() % 5); n; n--) {
		size_t at = len ? rnd() % len : 0, k = rnd() % 40;
		const char *w = words[rnd() % ARRAY_SIZE(words)];
		size_t wl = strlen(w);

		switch (rnd() % 5) {
		case 0:
			if (len)
				buf[at] ^= (char)(1u << rnd() % 8);
			break;
		case 1:			/* cut a piece out */
			k = MIN(k, len - at);
			memmove(buf + at, buf + at + k, len - at - k);
			len -= k;
			break;
		case 2:			/* double one */
			k = MIN(MIN(k, len - at), room - len);
			memmove(buf + at + k, buf + at, len - at);
			len += k;
			break;
		case 3:			/* put a word in */
			if (len + wl <= room) {
				memmove(buf + at + wl, buf + at, len - at);
				memcpy(buf + at, w, wl);
				len += wl;
			}
			break;
		default:
			if (rnd() % 8 == 0)
				len = at;
		}
	}
	return len;
}

static void fail(const char *why, const char *text)
{
	fprintf(stderr, "%s\n%s\n", why, text);
	abort();
}

/* What was taken prints, and reads back as the same. */
static void check(const struct vm_config *c)
{
	char *text = vm_config_print(c);
	struct vm_config d;
	struct err e = { 0 };

	if (!text)
		return;		/* an option was no UTF-8 */
	vm_config_init(&d);
	if (vm_config_parse(&d, text, strlen(text), "again", &e))
		fail(e.msg, text);
	for (const struct config_field *f = vm_config_fields; f->name; f++)
		if (!vm_config_same(c, &d, f))
			fail(f->name, text);
	vm_config_check(c, &e);
	vm_config_free(&d);
	free(text);
}

static void one_file(void)
{
	static char buf[8192];
	struct vm_config c;
	struct err e = { 0 };
	size_t len = sizeof(seed_json) - 1;

	memcpy(buf, seed_json, len);
	len = damage(buf, len, sizeof(buf));
	vm_config_init(&c);
	if (!vm_config_parse(&c, buf, len, "config.json", &e))
		check(&c);
	else if (!e.code || !e.msg[0] || strchr(e.msg, '\n'))
		fail("an error without a line", e.msg);
	vm_config_free(&c);
}

static void some_options(void)
{
	struct vm_config c;
	unsigned nfields = 0;

	while (vm_config_fields[nfields].name)
		nfields++;
	vm_config_init(&c);
	for (unsigned n = 1 + (unsigned)(rnd() % 6); n; n--) {
		const struct config_field *f = &vm_config_fields[rnd() % nfields];
		char val[512] = "";
		struct err e = { 0 };

		for (unsigned k = (unsigned)(rnd() % 5); k; k--) {
			const char *p = parts[rnd() % ARRAY_SIZE(parts)];

			if (strlen(val) + strlen(p) + 2 < sizeof(val)) {
				strcat(val, p);
				if (rnd() & 1)
					strcat(val, ",");
			}
		}
		if (vm_config_set(&c, f, val, "--x", &e) && (!e.code || !e.msg[0]))
			fail("an error without a line", val);
	}
	check(&c);
	vm_config_free(&c);
}

int main(int argc, char **argv)
{
	struct fuzz z = fuzz_begin(argc, argv, "fuzz_config");

	rng = (z.seed + 1) * 2 + 1;
	for (u64 last = 0; fuzz_more(&z, last); last = 100)
		for (unsigned i = 0; i < 50; i++) {
			one_file();
			some_options();
		}
	return fuzz_end(&z);
}
