/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tiny.h - a lite machine with a guest of a few bytes, which counts, keeps a checksum of its counts,
 * scribbles over 32 KiB, and answers each byte on its serial port with the next. For the tests and
 * the fuzzer of state/. */
#ifndef PENTA_TESTS_TINY_H
#define PENTA_TESTS_TINY_H

#include "base/bytes.h"
#include "platform/lite/lite.h"
#include "state/state.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define TINY_ROM_LEN 4096u
#define TINY_RAM (2 * MiB)
#define TINY_COUNT 0x500u
#define TINY_SUM 0x504u
#define TINY_MUL 0x9e3779b1u

struct tiny {
	struct lite *l;
	struct machine *m;
	struct chardev *com1;
	struct lite_config cfg;
	pthread_t thread;
	bool started;
	u8 rom[TINY_ROM_LEN];
};

static inline void tiny_die(const char *what, const struct err *e)
{
	fprintf(stderr, "%s: %s\n", what, e ? e->msg : "");
	abort();
}

static inline void tiny_rom(u8 *rom)
{
	static const u8 code[] = {
		0x31, 0xc0,				/*	xor ax, ax */
		0x8e, 0xd8,				/*	mov ds, ax */
		0x66, 0xff, 0x06, 0x00, 0x05,		/* 1:	inc dword [count] */
		0x8b, 0x1e, 0x00, 0x05,			/*	mov bx, [count] */
		0x81, 0xe3, 0xff, 0x7f,			/*	and bx, 7fffh */
		0x66, 0xa1, 0x04, 0x05,			/*	mov eax, [sum] */
		0x66, 0x69, 0xc0, 0xb1, 0x79, 0x37, 0x9e, /*	imul eax, eax, 9e3779b1h */
		0x66, 0x03, 0x06, 0x00, 0x05,		/*	add eax, [count] */
		0x66, 0xa3, 0x04, 0x05,			/*	mov [sum], eax */
		0x88, 0x87, 0x00, 0x10,			/*	mov [bx + 1000h], al */
		0xba, 0xfd, 0x03,			/*	mov dx, 3fdh */
		0xec,					/*	in al, dx */
		0xa8, 0x01,				/*	test al, 1 */
		0x74, 0xd3,				/*	jz 1b */
		0xba, 0xf8, 0x03,			/*	mov dx, 3f8h */
		0xec,					/*	in al, dx */
		0xfe, 0xc0,				/*	inc al */
		0xee,					/*	out dx, al */
		0xeb, 0xca,				/*	jmp 1b */
	};
	static const u8 entry[] = { 0xe9, 0x0d, 0xf0 };	/* jmp f000h */

	memset(rom, 0, TINY_ROM_LEN);
	memcpy(rom, code, sizeof(code));
	memcpy(rom + TINY_ROM_LEN - 16, entry, sizeof(entry));
}

static inline int tiny_serial(void *ctx, unsigned n, struct loop *loop, struct chardev **be,
			      struct err *e)
{
	struct tiny *t = ctx;

	return n ? 0 : (chardev_mem_new(be, 4096, e) || !(t->com1 = *be));
}

/* @t->cfg may have been changed by the caller. Not loaded, not started. */
static inline int tiny_make(struct tiny *t, struct err *e)
{
	int r = lite_new(&t->l, &t->cfg, e);

	if (!r)
		t->m = lite_machine(t->l);
	return r;
}

static inline struct tiny *tiny_new(unsigned ncpus)
{
	struct tiny *t = calloc(1, sizeof(*t));

	tiny_rom(t->rom);
	t->cfg = (struct lite_config){
		.machine = { .ram_size = TINY_RAM, .ncpus = ncpus, .engine = &engine_soft,
			     .cpu_model = cpu_model_find("base") },
		.boot = { .kernel = BLOB_NONE, .initrd = BLOB_NONE,
			  .firmware = blob_of(t->rom, TINY_ROM_LEN, "tiny") },
		.open_serial = tiny_serial, .ctx = t,
	};
	return t;
}

static inline void *tiny_loop(void *arg)
{
	machine_run(arg);
	return NULL;
}

static inline void tiny_go(struct tiny *t)
{
	t->started = true;
	if (pthread_create(&t->thread, NULL, tiny_loop, t->m))
		abort();
}

static inline struct tiny *tiny_start(unsigned ncpus)
{
	struct tiny *t = tiny_new(ncpus);
	struct err e = { 0 };

	if (tiny_make(t, &e) || lite_load(t->l, &e) || machine_start(t->m, &e))
		tiny_die("tiny", &e);
	tiny_go(t);
	return t;
}

static inline void tiny_free(struct tiny *t)
{
	if (!t)
		return;
	if (t->started) {
		machine_quit(t->m);
		pthread_join(t->thread, NULL);
	}
	lite_free(t->l);
	free(t);
}

static inline void tiny_sleep_ms(unsigned ms)
{
	const struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };

	nanosleep(&ts, NULL);
}

/* Of a paused machine; of a running one, about. */
static inline u32 tiny_count(struct tiny *t)
{
	u8 b[4];

	if (!ram_read(t->m->ram, TINY_COUNT, b, 4))
		abort();
	return get_le32(b);
}

/* Is the checksum that of the count (or of the one before: between two instructions)? */
static inline bool tiny_right(struct tiny *t)
{
	u32 n = tiny_count(t), sum = 0, before = 0;
	u8 b[4];

	if (!ram_read(t->m->ram, TINY_SUM, b, 4))
		abort();
	for (u32 i = 1; i <= n; i++) {
		before = sum;
		sum = sum * TINY_MUL + i;
	}
	return get_le32(b) == sum || get_le32(b) == before;
}

/* Let it run until it has counted @n more; for half a minute at most: the host may be busy. */
static inline bool tiny_counts(struct tiny *t, u32 n)
{
	u32 now = 0, from = tiny_count(t);

	for (unsigned i = 0; i < 30000 && now < n; i++) {
		tiny_sleep_ms(1);
		now = tiny_count(t) - from;
	}
	return now >= n;
}

/* Does it answer @c by @c + 1? For half a minute at most, as above. */
static inline bool tiny_answers(struct tiny *t, u8 c)
{
	bool ok = false;

	machine_lock(t->m);
	chardev_mem_clear(t->com1);
	chardev_mem_input(t->com1, &c, 1, NULL);
	machine_unlock(t->m);
	for (unsigned i = 0; i < 30000 && !ok; i++) {
		const char *out;
		size_t n;

		tiny_sleep_ms(1);
		machine_lock(t->m);
		out = chardev_mem_output(t->com1, &n);
		ok = n == 1 && (u8)out[0] == (u8)(c + 1);
		machine_unlock(t->m);
	}
	return ok;
}

static inline int tiny_memfd(void)
{
	int fd = memfd_create("stream", MFD_CLOEXEC);

	if (fd < 0)
		abort();
	return fd;
}

/* Save a paused machine to a new memfd. */
static inline int tiny_save(struct tiny *t, bool live)
{
	const struct state_capture_options o = { .penta = "test", .name = "tiny", .config = "{}",
						 .live = live };
	struct state_image *img;
	struct err e = { 0 };
	int fd = tiny_memfd();

	if (state_capture(&img, t->m, &o, &e) || state_write(img, fd, true, NULL, NULL, &e))
		tiny_die("save", &e);
	state_image_free(img);
	return fd;
}

/* A machine from a stream, not started; NULL when it does not load. */
static inline struct tiny *tiny_load(int fd, unsigned ncpus, bool lazy, struct err *e)
{
	struct tiny *t = tiny_new(ncpus);
	struct state_stream *s;

	if (state_open(&s, fd, "stream", e)) {
		free(t);
		return NULL;
	}
	if (tiny_make(t, e))
		tiny_die("make", e);
	if (lite_restore(t->l, s, lazy, e)) {
		tiny_free(t);
		t = NULL;
	}
	state_close(s);
	return t;
}

static inline struct tiny *tiny_restore(int fd, unsigned ncpus, bool lazy, struct err *e)
{
	struct tiny *t = tiny_load(fd, ncpus, lazy, e);

	if (!t)
		return NULL;
	if (machine_start_restored(t->m, false, e))
		tiny_die("start", e);
	tiny_go(t);
	return t;
}

#endif
