/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blk.h - the disk device. */
#ifndef PENTA_VIRTIO_BLK_H
#define PENTA_VIRTIO_BLK_H

#include "block/block.h"
#include "virtio/virtio.h"

#define VBLK_QUEUES_MAX 16
#define VBLK_SERIAL 20		/* bytes, not terminated */

struct vblk;
extern const struct device_class vblk_class;
/* @b is taken, also on failure. @serial may be NULL; what is longer than VBLK_SERIAL is cut. */
int vblk_new(struct vblk **out, struct machine *m, struct block *b, const char *serial,
	     unsigned queues, struct err *e);
struct virtio *vblk_virtio(struct vblk *d);

#endif
