/* SPDX-License-Identifier: GPL-2.0-or-later */
/* embed.h - files that the program carries in itself, so that it finds them wherever it lies. */
#ifndef PENTA_MANAGE_IMAGE_EMBED_H
#define PENTA_MANAGE_IMAGE_EMBED_H

#include <stddef.h>

struct embedded { const void *data; size_t len; };
struct embedded embed_debian_sh(void);	/* debian.sh; a NUL follows */
struct embedded embed_agent(void);	/* guest/agent.c, built: a static x86-64 program */

#endif
