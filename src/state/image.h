/* SPDX-License-Identifier: GPL-2.0-or-later */
/* image.h - between save.c, load.c and lazy.c: what machine a stream is of, and how its memory is cut. */
#ifndef PENTA_STATE_IMAGE_H
#define PENTA_STATE_IMAGE_H

#include "state/fields.h"
#include "state/state.h"
#include "state/stream.h"

#define SHAPE_FEATURE_WORDS 32	/* room for more than FW_N */
#define SHAPE_ROMS 15
#define CONFIG_MAX (1 * MiB)
#define DEVICE_MAX (64 * MiB)
#define DEVICES_MAX 1024u

/* SECTION_MACHINE. A machine that is to take the state must be of the same shape. */
struct shape {
	u8 penta[32], name[64], engine[16], cpu_model[16], platform[16];	/* zero-padded */
	u32 board;
	s64 saved_ns;		/* CLOCK_REALTIME */
	u64 ram_size;
	u32 ncpus;
	bool paused, has_ram, a20;
	u64 clock_ns, tsc_khz;
	u32 features[SHAPE_FEATURE_WORDS];
	u32 nroms;
	struct shape_rom { u64 gpa, len; u32 crc; } rom[SHAPE_ROMS];
};
#define SHAPE_VERSION 1
extern const struct state_field shape_fields[];
/* What @m is, but for what the caller of save says. */
void shape_of(struct shape *s, struct machine *m);

/* SECTION_VCPU. */
struct vcpu_saved {
	u32 apic_id, requests;
	struct cpu_state cpu;
};
#define VCPU_VERSION 1
#define VCPU_SAVED_REQUESTS (VCPU_REQ_NMI | VCPU_REQ_INIT | VCPU_REQ_SIPI | \
			     VCPU_REQ_SMI | VCPU_REQ_RESET | VCPU_REQ_NMI2)
extern const struct state_field vcpu_saved_fields[];

/* Memory: clusters of 16 pages, each packed by itself so that any can be had alone. What is zero is
 * in none. */
#define CLUSTER_PAGES 16u
#define CLUSTER_LEN (CLUSTER_PAGES * PAGE_SIZE)
#define RAM_VERSION 1

/* SECTION_INDEX: 24 bytes each, by ascending page. */
struct ram_entry {
	u64 page, at;		/* first page; offset of the section's header */
	u32 bits, stored;
};
#define ENTRY_LEN 24u
#define INDEX_VERSION 1

/* A RAM section's header: does it hold what it should? */
bool ram_section_ok(const struct section *s, u64 ram_size);
/* Lazy loading (lazy.c): take over @index (malloc()ed, also on failure) and @fd (duplicated). */
int lazy_begin(struct machine *m, int fd, const char *name, struct ram_entry *index, u64 n,
	       struct err *e);

#endif
