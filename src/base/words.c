// SPDX-License-Identifier: GPL-2.0-or-later
/* words.c - see words.h. */
#include "base/words.h"
#include "base/bytes.h"		// mul_ok
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- values --- */

int parse_size(const char *s, const char *what, u64 *bytes, struct err *e)
{
	static const char units[] = "KMGT";
	unsigned long long n;
	const char *u;
	char *end;
	u64 unit = MiB;

	errno = 0;
	n = strtoull(s, &end, 10);
	if (end == s || *s == '-' || *s == '+' || errno)
		return err_set(e, EINVAL, "%s %s: a size is a number and K, M, G or T: 512M", what,
			       s);
	if (*end) {
		u = strchr(units, *end & ~0x20);
		if (!u || !*u || (end[1] && strcasecmp(end + 1, "b") && strcasecmp(end + 1, "ib")))
			return err_set(e, EINVAL, "%s %s: a size is a number and K, M, G or T: "
				       "512M", what, s);
		unit = KiB << (10 * (u - units));
	}
	if (!mul_ok(n, unit, bytes))
		*bytes = UINT64_MAX;	/* the caller's limit says it better */
	return 0;
}

void size_print(char buf[24], u64 bytes)
{
	static const char units[] = "KMGT";
	unsigned u = 0;
	u64 n = bytes / KiB;

	while (n && n % KiB == 0 && u < 3) {
		n /= KiB;
		u++;
	}
	snprintf(buf, 24, "%llu%c", (unsigned long long)n, units[u]);
}

int parse_number(const char *s, const char *what, unsigned min, unsigned max, unsigned *out,
	       struct err *e)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(s, &end, 10);
	if (end == s || *end || *s == '-' || errno || n < min || n > max)
		return err_set(e, EINVAL, "%s %s: a number from %u to %u is needed", what, s, min,
			       max);
	*out = (unsigned)n;
	return 0;
}

int parse_choice(const char *s, const char *what, const char *words, struct err *e)
{
	size_t len = strlen(s);
	const char *p = words;

	for (int i = 0; *p; i++) {
		size_t n = strcspn(p, " ");

		if (n == len && !memcmp(p, s, n))
			return i;
		p += n;
		p += *p == ' ';
	}
	return err_set(e, EINVAL, "%s %s: one of these is needed: %s", what, s, words);
}

/* --- near misses --- */

#define WORD_MAX 40	/* what is longer is compared by its beginning */

/* Edit distance with neighbouring letters swapped counted once. */
static unsigned distance(const char *a, const char *b)
{
	unsigned d[WORD_MAX + 1][WORD_MAX + 1];
	size_t n = strnlen(a, WORD_MAX), m = strnlen(b, WORD_MAX);

	for (size_t i = 0; i <= n; i++)
		for (size_t j = 0; j <= m; j++) {
			unsigned best;

			if (!i || !j) {
				d[i][j] = (unsigned)(i + j);
				continue;
			}
			best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
			best = MIN(best, d[i - 1][j] + 1);
			best = MIN(best, d[i][j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN(best, d[i - 2][j - 2] + 1);
			d[i][j] = best;
		}
	return d[n][m];
}

const char *word_near(const char *word, const char *const *words)
{
	const char *best = NULL;
	unsigned best_d = 0;

	for (; *words; words++) {
		unsigned d = distance(word, *words);
		size_t len = strlen(word);

		/* What begins like it, as one would abbreviate. */
		if (len >= 2 && !strncmp(word, *words, len))
			d = 1;
		if (d <= 1 + len / 4 && (!best || d < best_d)) {
			best = *words;
			best_d = d;
		}
	}
	return best;
}
