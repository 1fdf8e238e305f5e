/* SPDX-License-Identifier: GPL-2.0-or-later */
/* zzz_pending.c - stands in until the soft engine links; goes then. */
#include "vm/engine.h"

__attribute__((weak)) const struct engine_ops engine_soft = { .name = "soft" };
