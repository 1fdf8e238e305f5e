/* SPDX-License-Identifier: GPL-2.0-or-later */
/* intbench.c - integer work for guests and for the host: prints "name seconds checksum" a line.
 * "loop" executes a known number of instructions, so that instructions per second follow. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

/* 10 instructions a round: arithmetic, a load, a store, a shift, a branch. */
static uint64_t loop(uint64_t rounds)
{
	uint64_t sum = 0, cell = 1, t = 0;
	__asm__ volatile(
		"1:	addq $3, %[sum]\n"
		"	movq %[cell], %[t]\n"
		"	xorq %[sum], %[t]\n"
		"	shrq $3, %[t]\n"
		"	addq %[t], %[sum]\n"
		"	leaq 7(%[sum],%[t],2), %[t]\n"
		"	andq $0xffff, %[t]\n"
		"	movq %[t], %[cell]\n"
		"	subq $1, %[n]\n"
		"	jnz 1b\n"
		: [sum] "+r"(sum), [t] "+r"(t), [n] "+r"(rounds), [cell] "+m"(cell) : : "cc");
	return sum;
}

static uint32_t crc32_c(const uint8_t *p, size_t len)
{
	uint32_t c = ~0u;
	static uint32_t tab[256];
	if (!tab[1])
		for (unsigned i = 0; i < 256; i++) {
			uint32_t v = i;
			for (int k = 0; k < 8; k++)
				v = v & 1 ? v >> 1 ^ 0xedb88320u : v >> 1;
			tab[i] = v;
		}
	while (len--)
		c = tab[(c ^ *p++) & 255] ^ c >> 8;
	return ~c;
}

static int cmp(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

__attribute__((noinline, noclone, noipa)) static unsigned fib(unsigned n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

int main(int argc, char **argv)
{
	uint64_t scale = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	static uint32_t buf[200000];
	double t = now();
	uint64_t r = loop(10000000 * scale);
	printf("loop %.4f %llx\n", now() - t, (unsigned long long)r);
	for (unsigned i = 0; i < 200000; i++)
		buf[i] = i * 2654435761u;
	t = now();
	for (unsigned i = 0; i < 10 * scale; i++)
		r += crc32_c((uint8_t *)buf, sizeof(buf));
	printf("crc32 %.4f %llx\n", now() - t, (unsigned long long)r);
	t = now();
	for (unsigned i = 0; i < scale; i++) {
		for (unsigned k = 0; k < 200000; k++)
			buf[k] = k * 2654435761u + i;
		qsort(buf, 200000, 4, cmp);
		r += buf[777];
	}
	printf("sort %.4f %llx\n", now() - t, (unsigned long long)r);
	t = now();
	r += fib(32);
	printf("recursion %.4f %llx\n", now() - t, (unsigned long long)r);
	return 0;
}
