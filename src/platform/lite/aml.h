/* SPDX-License-Identifier: GPL-2.0-or-later */
/* aml.h - write ACPI Machine Language as one would write ASL:
 *
 *	aml_device(a, "COM1");
 *		aml_name_eisaid(a, "_HID", "PNP0501");
 *		aml_name_int(a, "_UID", 1);
 *		aml_crs(a);
 *			aml_res_io(a, 0x3f8, 8);
 *			aml_res_irq(a, 4);
 *		aml_end(a);
 *	aml_end(a);
 *
 * Whatever opens a scope is closed by aml_end(), which then writes the length. An overflow or a
 * lack of ends is found by aml_done(). After: ACPI 6.4, chapters 20 (encoding), 6.4 (resources). */
#ifndef PENTA_PLATFORM_LITE_AML_H
#define PENTA_PLATFORM_LITE_AML_H

#include "base/types.h"

#define AML_DEPTH_MAX 8

struct aml {
	u8 *buf;
	size_t len, max;
	bool overflow;
	unsigned depth;
	struct { size_t at; u8 kind; } open[AML_DEPTH_MAX];
};

void aml_init(struct aml *a, u8 *buf, size_t max);
/* The length written, or 0 when it did not fit or scopes are open. */
size_t aml_done(const struct aml *a);

void aml_scope(struct aml *a, const char *path);	/* "_SB_", 4 characters each part */
void aml_device(struct aml *a, const char *name);
void aml_end(struct aml *a);

void aml_name_int(struct aml *a, const char *name, u64 val);
void aml_name_string(struct aml *a, const char *name, const char *s);
void aml_name_eisaid(struct aml *a, const char *name, const char *id);
/* Name (name, Package (n) { ... }): elements follow, then aml_end(). */
void aml_name_package(struct aml *a, const char *name, u8 n);
void aml_package(struct aml *a, u8 n);			/* an element that is a package */
void aml_int(struct aml *a, u64 val);			/* an element */

/* Name (_CRS, ResourceTemplate () { ... }). */
void aml_crs(struct aml *a);
void aml_res_io(struct aml *a, u16 port, u8 len);
void aml_res_irq(struct aml *a, u8 irq);		/* edge, active high, exclusive: ISA */
void aml_res_memory32(struct aml *a, u32 base, u32 len);
void aml_res_bus_range(struct aml *a, u16 first, u16 last);
void aml_res_io_range(struct aml *a, u16 first, u16 last);	/* word, entire range */
void aml_res_memory_range(struct aml *a, u32 first, u32 last);	/* dword, not cacheable */

#endif
