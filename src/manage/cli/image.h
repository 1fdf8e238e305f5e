/* SPDX-License-Identifier: GPL-2.0-or-later */
/* image.h - the verbs behind `penta image`, each with options of its own. */
#ifndef PENTA_MANAGE_CLI_IMAGE_H
#define PENTA_MANAGE_CLI_IMAGE_H

#include "manage/cli/cli.h"

extern const struct verb verb_image_build, verb_image_create, verb_image_info, verb_image_check,
	verb_image_convert, verb_image_resize;

/* The end of a verb that made or changed the image @path: tells programs what it is now, if @json.
 * Returns the exit status. */
int image_done(const char *path, bool json);

#endif
