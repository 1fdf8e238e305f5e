/* SPDX-License-Identifier: GPL-2.0-or-later */
/* words.h - values that people write, on command lines and in files: sizes, numbers, one of several
 * words; and a guess at what was meant by one that is not known. */
#ifndef PENTA_BASE_WORDS_H
#define PENTA_BASE_WORDS_H

#include "base/err.h"

/* "512M", "2G", "65536K"; a bare number means MiB. @what names the value in errors: "--memory". */
int parse_size(const char *s, const char *what, u64 *bytes, struct err *e);
/* The shortest form that parse_size() reads as @bytes, a multiple of 1 KiB: "512M". */
void size_print(char buf[24], u64 bytes);
/* A number in @min..@max. */
int parse_number(const char *s, const char *what, unsigned min, unsigned max, unsigned *out,
		 struct err *e);
/* The index of @s in @words (space-separated), or an error that lists them. */
int parse_choice(const char *s, const char *what, const char *words, struct err *e);

/* The known word that @word was probably meant to be, or NULL. @words: NULL-terminated. */
const char *word_near(const char *word, const char *const *words);

#endif
