/* SPDX-License-Identifier: GPL-2.0-or-later */
/* state.h - a machine's whole state as a stream of bytes, and back: save, restore, snapshot, fork.
 * The stream's form is in docs/state.md; what a device's section holds, its own table says.
 *
 *	state_capture()		all but memory, of a paused machine, into the host's memory
 *	state_write()		that, and memory, to a descriptor (a file, a pipe, a socket)
 *	state_open()		read a stream's head: what machine it is of
 *	state_load()		into a machine that was made like the one saved, and not started
 *
 * Nothing of a stream is believed: each section has a checksum and each field a range, and all of it
 * is looked at before anything gets into the machine. */
#ifndef PENTA_STATE_STATE_H
#define PENTA_STATE_STATE_H

#include "vm/machine.h"

/* What a stream tells of itself. Strings are terminated. */
struct state_info {
	char penta[32];			/* version that saved it */
	s64 saved_ns;			/* CLOCK_REALTIME */
	char name[64];			/* the machine's; "" when it had none */
	char platform[16], engine[16], cpu_model[16];
	u32 board;			/* machine.board */
	u64 ram_size;
	u32 ncpus;
	bool paused;			/* it had been paused by its user: start it so */
	bool has_ram;			/* memory is in the stream; else it comes another way (fork) */
	const char *config;		/* JSON text, as given to state_capture(), or NULL; borrowed */
	u32 config_len;
};

struct state_image;
struct state_capture_options {
	const char *penta;		/* version */
	const char *name;		/* may be NULL */
	const char *config;		/* may be NULL */
	bool paused;			/* what state_info.paused will say */
	/* Live: memory is frozen (ram_freeze()), so that the machine can run on at once while
	 * state_write() writes what it was. Else it has to stay paused until then. */
	bool live;
};
/* Take the state of @m, which is paused; nothing may run in it, and the calling thread does not hold
 * its lock. Devices are told to finish what is in flight. -EAGAIN: a reset or power-off was asked
 * for and is not done yet. */
int state_capture(struct state_image **out, struct machine *m,
		  const struct state_capture_options *o, struct err *e);
/* Write it to @fd, front to back. @progress (may be NULL) is called now and then with bytes of memory
 * done and in all; not 0: give up with -ECANCELED. Any thread. The file is not synced. */
typedef int state_progress_fn(void *ctx, u64 done, u64 total);
int state_write(struct state_image *img, int fd, bool with_ram, state_progress_fn *progress,
		void *ctx, struct err *e);
/* For a fork, of a live image: descriptors (borrowed) of memory as it was then, for struct ram_from;
 * *@delta_fd may be -1. From now on nobody can change them. */
int state_image_memory(struct state_image *img, int *base_fd, int *delta_fd, struct err *e);
/* When it was live, memory that no fork needs goes back to be shared: pauses @m shortly. */
void state_image_free(struct state_image *img);	/* accepts NULL */

struct state_stream;
/* Read and check all but memory from @fd (borrowed; it must stay open until state_close()). */
int state_open(struct state_stream **out, int fd, const char *name, struct err *e);
const struct state_info *state_info(const struct state_stream *s);
/* Put it into @m, which is MACHINE_NEW, has all its devices, and was never started. @lazy: when @fd
 * can seek, memory comes in while the guest runs; what is damaged there stops the machine later.
 * On failure @m cannot be used any more. Start it by machine_start_restored(). */
int state_load(struct state_stream *s, struct machine *m, bool lazy, struct err *e);
/* Check everything, memory too, as state_load() would, without a machine. */
int state_verify(struct state_stream *s, state_progress_fn *progress, void *ctx, struct err *e);
/* After a lazy load the machine keeps what it needs: the stream may be closed, not @fd. */
void state_close(struct state_stream *s);	/* accepts NULL */

/* Until all of memory is there (lazy load). Any thread; no lock. -EBADMSG: damaged. */
int state_complete(struct machine *m, struct err *e);

#endif
