/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ram_impl.h - between ram.c and ram_state.c. */
#ifndef PENTA_VM_RAM_IMPL_H
#define PENTA_VM_RAM_IMPL_H

#include "vm/ram.h"
#include <pthread.h>
#include <stdatomic.h>

#define RAM_BLOCKS_MAX 16

struct ram {
	int fd;
	u64 size, file_len;
	u8 *base;			/* of all RAM; roms have mappings of their own */
	u8 *flags;			/* of all RAM */
	unsigned n;
	struct ram_block block[RAM_BLOCKS_MAX];
	ram_code_fn *code_fn;
	void *code_ctx;

	bool private;			/* mapped copy-on-write over fd, which is frozen */
	unsigned frozen;		/* ram_freeze() without its ram_thaw() yet */
	bool sealed;			/* others have fd */
	unsigned holes;			/* private: pieces that are mapped from elsewhere */
	/* Pages that come in late. lazy: some page may be absent. */
	_Atomic bool lazy;
	struct ram_source source;
	struct err lost;		/* fill_lock: the first failure */
	pthread_mutex_t fill_lock;	/* source.fill(); what makes pages present */
};

#endif
