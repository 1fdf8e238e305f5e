/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fs.h - a shared folder as a virtio file system device. */
#ifndef PENTA_VIRTIO_FS_H
#define PENTA_VIRTIO_FS_H

#include "share/share.h"
#include "virtio/virtio.h"

#define VFS_TAG_MAX 36u

struct vfs;
extern const struct device_class vfs_class;
/* @o->dir_fd is taken, also after an error. @tag: 1 to 36 bytes, what the guest mounts. */
int vfs_new(struct vfs **out, struct machine *m, const char *tag, const struct share_opts *o,
	    struct err *e);
struct virtio *vfs_virtio(struct vfs *f);

#endif
