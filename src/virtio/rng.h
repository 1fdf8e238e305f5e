/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rng.h - the entropy device. */
#ifndef PENTA_VIRTIO_RNG_H
#define PENTA_VIRTIO_RNG_H

#include "virtio/virtio.h"

struct vrng;
extern const struct device_class vrng_class;
int vrng_new(struct vrng **out, struct machine *m, struct err *e);
struct virtio *vrng_virtio(struct vrng *d);

#endif
