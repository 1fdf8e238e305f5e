/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fw_cfg.h - the firmware configuration device: what firmware and test guests ask the machine. */
#ifndef PENTA_DEV_FW_CFG_H
#define PENTA_DEV_FW_CFG_H

#include "vm/device.h"

enum fw_cfg_key {		/* QEMU's fw_cfg specification, "Firmware Configuration Items" */
	FW_CFG_SIGNATURE = 0x00, FW_CFG_ID = 0x01, FW_CFG_RAM_SIZE = 0x03, FW_CFG_NOGRAPHIC = 0x04,
	FW_CFG_NB_CPUS = 0x05, FW_CFG_NUMA = 0x0d, FW_CFG_BOOT_MENU = 0x0e, FW_CFG_MAX_CPUS = 0x0f,
	FW_CFG_FILE_DIR = 0x19, FW_CFG_FILE_FIRST = 0x20,
};

struct fw_cfg;
extern const struct device_class fw_cfg_class;
/* Ports 510-51B, with DMA. Starts with signature, id, RAM size and CPU counts of @m. */
int fw_cfg_new(struct fw_cfg **out, struct machine *m, struct err *e);
/* Add an item (before the machine starts); @data is copied. -EEXIST, -ENOSPC, -ENOMEM. */
int fw_cfg_add(struct fw_cfg *f, u16 key, const void *data, u32 len, struct err *e);
/* Add a named file (at most 55 characters), listed in the directory in order of addition. */
int fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, u32 len, struct err *e);

#endif
