/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pci.c - the PCI transport of virtio: one function per device.
 * After: Virtio 1.2, 4.1. Modern only: no I/O BAR, device id 0x1040 + type, revision 1.
 *
 *	BAR 4, 16 KiB of memory registers	BAR 1: MSI-X table, one vector for each queue and
 *	0000  common configuration		       one for changes of the configuration
 *	1000  ISR status (cleared by reading)
 *	2000  the device's configuration
 *	3000  notification, 4 bytes a queue
 *
 * Five vendor capabilities tell the driver so; the fifth (4.1.4.9) is a window through which a guest
 * that cannot map BARs (a boot loader) reaches the same registers by configuration accesses. */
#include "virtio/pci.h"
#include "base/bytes.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VIRTIO_VENDOR 0x1af4
#define VIRTIO_DEVICE_BASE 0x1040
#define VIRTIO_SUBSYSTEM_BASE 0x40
#define NO_VECTOR 0xffff
#define MSIX_BAR 1
#define REGS_BAR 4
#define REGS_SIZE (16 * KiB)
#define NOTIFY_MULTIPLIER 4

enum { AT_COMMON = 0x0000, AT_ISR = 0x1000, AT_DEVICE = 0x2000, AT_NOTIFY = 0x3000, PART = 0x1000 };

enum cap_type { CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE, CAP_PCI };	/* 4.1.4 */
enum cap_off { CAP_LEN_OFF = 2, CAP_TYPE = 3, CAP_BAR = 4, CAP_OFFSET = 8, CAP_LENGTH = 12,
	       CAP_SIZE = 16, CAP_EXTRA = 16 };

enum isr { ISR_QUEUE = 1, ISR_CONFIG = 2 };	/* 4.1.4.5 */

enum common_reg {				/* 4.1.4.3 */
	R_DEVICE_FEATURE_SELECT = 0x00, R_DEVICE_FEATURE = 0x04, R_DRIVER_FEATURE_SELECT = 0x08,
	R_DRIVER_FEATURE = 0x0c, R_CONFIG_VECTOR = 0x10, R_NUM_QUEUES = 0x12, R_STATUS = 0x14,
	R_CONFIG_GENERATION = 0x15, R_QUEUE_SELECT = 0x16, R_QUEUE_SIZE = 0x18, R_QUEUE_VECTOR = 0x1a,
	R_QUEUE_ENABLE = 0x1c, R_QUEUE_NOTIFY_OFF = 0x1e, R_QUEUE_DESC = 0x20, R_QUEUE_DRIVER = 0x28,
	R_QUEUE_DEVICE = 0x30, R_QUEUE_NOTIFY_DATA = 0x38, R_QUEUE_RESET = 0x3a, R_COMMON_END = 0x3c,
};
static const struct { u8 off, len; } common_regs[] = {
	{ R_DEVICE_FEATURE_SELECT, 4 }, { R_DEVICE_FEATURE, 4 }, { R_DRIVER_FEATURE_SELECT, 4 },
	{ R_DRIVER_FEATURE, 4 }, { R_CONFIG_VECTOR, 2 }, { R_NUM_QUEUES, 2 }, { R_STATUS, 1 },
	{ R_CONFIG_GENERATION, 1 }, { R_QUEUE_SELECT, 2 }, { R_QUEUE_SIZE, 2 }, { R_QUEUE_VECTOR, 2 },
	{ R_QUEUE_ENABLE, 2 }, { R_QUEUE_NOTIFY_OFF, 2 }, { R_QUEUE_DESC, 8 }, { R_QUEUE_DRIVER, 8 },
	{ R_QUEUE_DEVICE, 8 }, { R_QUEUE_NOTIFY_DATA, 2 }, { R_QUEUE_RESET, 2 },
};

struct virtio_pci {
	struct pci_func pci;
	struct virtio *v;		/* borrowed */
	u32 device_feature_select, driver_feature_select;
	u16 queue_select, config_vector;
	u16 vector[VIRTIO_QUEUES_MAX];
	u8 isr;
	u8 window;			/* offset of the capability for access by configuration */
};

/* --- interrupts --- */

static void interrupt(struct virtio_pci *p, u16 vector, enum isr why)
{
	if (pci_msi_enabled(&p->pci)) {
		if (vector != NO_VECTOR)
			pci_msi_notify(&p->pci, vector);
		return;
	}
	p->isr |= (u8)why;
	pci_set_intx(&p->pci, true);
}

static void notify_queue(void *t, unsigned q)
{
	struct virtio_pci *p = t;

	interrupt(p, p->vector[q], ISR_QUEUE);
}

static void notify_config(void *t)
{
	struct virtio_pci *p = t;

	interrupt(p, p->config_vector, ISR_CONFIG);
}

static void regs_reset(void *t)
{
	struct virtio_pci *p = t;

	p->device_feature_select = p->driver_feature_select = 0;
	p->queue_select = 0;
	p->config_vector = NO_VECTOR;
	for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++)
		p->vector[q] = NO_VECTOR;
	p->isr = 0;
	pci_set_intx(&p->pci, false);
}

static const struct virtio_transport transport = {
	.notify_queue = notify_queue, .notify_config = notify_config, .reset = regs_reset,
};

/* --- common configuration --- */

static u64 common_get(const struct virtio_pci *p, enum common_reg reg)
{
	const struct virtio *v = p->v;
	unsigned q = p->queue_select;
	const struct ring *r = q < v->nqueues ? &v->queue[q] : NULL;

	switch (reg) {
	case R_DEVICE_FEATURE_SELECT: return p->device_feature_select;
	case R_DEVICE_FEATURE:
		return p->device_feature_select > 1 ? 0 : v->offered >> (32 * p->device_feature_select);
	case R_DRIVER_FEATURE_SELECT: return p->driver_feature_select;
	case R_DRIVER_FEATURE:
		return p->driver_feature_select > 1 ? 0 : v->features >> (32 * p->driver_feature_select);
	case R_CONFIG_VECTOR: return p->config_vector;
	case R_NUM_QUEUES: return v->nqueues;
	case R_STATUS: return v->status;
	case R_CONFIG_GENERATION: return v->config_gen;
	case R_QUEUE_SELECT: return q;
	default: break;
	}
	if (!r)				/* 4.1.4.3.1: size 0 says that there is no such queue */
		return reg == R_QUEUE_VECTOR ? NO_VECTOR : 0;
	switch (reg) {
	case R_QUEUE_SIZE: return r->size;
	case R_QUEUE_VECTOR: return p->vector[q];
	case R_QUEUE_ENABLE: return r->enabled && !(v->resetting & BIT(q));
	case R_QUEUE_NOTIFY_OFF: case R_QUEUE_NOTIFY_DATA: return q;
	case R_QUEUE_DESC: return r->desc_gpa;
	case R_QUEUE_DRIVER: return r->driver_gpa;
	case R_QUEUE_DEVICE: return r->device_gpa;
	case R_QUEUE_RESET: return v->resetting >> q & 1;
	default: return 0;
	}
}

/* A vector that there is not reads back as none: the driver then does with fewer. 4.1.5.1.2 */
static u16 checked_vector(const struct virtio_pci *p, u64 val)
{
	return val < p->pci.msix_nvec ? (u16)val : NO_VECTOR;
}

static void put_part(u64 *to, u64 val, unsigned at, unsigned len)
{
	u64 mask = len == 8 ? UINT64_MAX : (BIT(8 * len) - 1) << (8 * at);

	*to = (*to & ~mask) | (val << (8 * at) & mask);
}

/* @at: bytes into the register, not 0 only for the upper half of one of 64 bits. */
static void common_set(struct virtio_pci *p, enum common_reg reg, unsigned at, u64 val, unsigned len)
{
	struct virtio *v = p->v;
	unsigned q = p->queue_select;
	struct ring *r = q < v->nqueues ? &v->queue[q] : NULL;

	switch (reg) {
	case R_DEVICE_FEATURE_SELECT: p->device_feature_select = (u32)val; return;
	case R_DRIVER_FEATURE_SELECT: p->driver_feature_select = (u32)val; return;
	case R_DRIVER_FEATURE: virtio_set_features(v, p->driver_feature_select, (u32)val); return;
	case R_CONFIG_VECTOR: p->config_vector = checked_vector(p, val); return;
	case R_STATUS: virtio_set_status(v, (u8)val); return;
	case R_QUEUE_SELECT: p->queue_select = (u16)val; return;
	default: break;
	}
	if (!r)
		return;
	if (reg == R_QUEUE_VECTOR)
		p->vector[q] = checked_vector(p, val);
	else if (reg == R_QUEUE_RESET && val == 1)
		virtio_queue_reset(v, q);
	if (!virtio_queue_settable(v, q))
		return;
	switch (reg) {
	case R_QUEUE_SIZE:
		if (val >= 1 && val <= r->size_max)
			r->size = (u16)val;
		break;
	case R_QUEUE_ENABLE:
		if (val == 1)
			virtio_queue_enable(v, q);
		break;
	case R_QUEUE_DESC: put_part(&r->desc_gpa, val, at, len); break;
	case R_QUEUE_DRIVER: put_part(&r->driver_gpa, val, at, len); break;
	case R_QUEUE_DEVICE: put_part(&r->device_gpa, val, at, len); break;
	default: break;
	}
}

/* 4.1.3.1: each field is accessed by its own width, those of 64 bits also by halves. Reading parts
 * of a field harms nobody and is allowed. */
static u64 common_read(const struct virtio_pci *p, unsigned off, unsigned len)
{
	for (unsigned i = 0; i < ARRAY_SIZE(common_regs); i++) {
		unsigned at = off - common_regs[i].off;

		if (off >= common_regs[i].off && at + len <= common_regs[i].len)
			return common_get(p, common_regs[i].off) >> (8 * at);
	}
	return 0;
}

static void common_write(struct virtio_pci *p, unsigned off, u64 val, unsigned len)
{
	for (unsigned i = 0; i < ARRAY_SIZE(common_regs); i++) {
		unsigned at = off - common_regs[i].off, width = common_regs[i].len;

		if (off >= common_regs[i].off && at < width && at % len == 0 &&
		    (len == width || (len == 4 && width == 8)))
			common_set(p, common_regs[i].off, at, val, len);
	}
}

/* --- BAR 4 --- */

static u64 device_read(struct virtio *v, unsigned off, unsigned len)
{
	u8 buf[8] = { 0 };

	if (off < v->cls->config_len)
		v->cls->config_read(v->dev, off, buf, MIN(len, v->cls->config_len - off));
	return get_le64(buf);
}

static void device_write(struct virtio *v, unsigned off, u64 val, unsigned len)
{
	u8 buf[8];

	put_le64(buf, val);
	if (v->cls->config_write && off + len <= v->cls->config_len)
		v->cls->config_write(v->dev, off, buf, len);
}

static u64 isr_read(struct virtio_pci *p)
{
	u8 isr = p->isr;

	p->isr = 0;
	pci_set_intx(&p->pci, false);
	return isr;
}

static u64 regs_read(void *dev, struct vcpu *by, u64 at, unsigned len)
{
	struct virtio_pci *p = dev;
	unsigned off = at % PART;

	switch (at - off) {
	case AT_COMMON: return common_read(p, off, len);
	case AT_ISR: return off == 0 ? isr_read(p) : 0;
	case AT_DEVICE: return device_read(p->v, off, len);
	default: return 0;
	}
}

static void regs_write(void *dev, struct vcpu *by, u64 at, u64 val, unsigned len)
{
	struct virtio_pci *p = dev;
	unsigned off = at % PART;

	switch (at - off) {
	case AT_COMMON: common_write(p, off, val, len); break;
	case AT_DEVICE: device_write(p->v, off, val, len); break;
	case AT_NOTIFY: virtio_driver_kick(p->v, off / NOTIFY_MULTIPLIER); break;
	default: break;
	}
}

static const struct region_ops regs_ops = {
	.read = regs_read, .write = regs_write, .impl_min = 1, .impl_max = 8,
};

/* --- configuration space --- */

/* Where the window looks: an access of 1, 2 or 4 bytes to BAR 4, aligned. */
static bool window_at(const struct virtio_pci *p, u32 *off, u32 *len)
{
	const u8 *c = p->pci.config + p->window;

	*off = get_le32(c + CAP_OFFSET);
	*len = get_le32(c + CAP_LENGTH);
	return c[CAP_BAR] == REGS_BAR && (*len == 1 || *len == 2 || *len == 4) && *off % *len == 0 &&
	       *off <= REGS_SIZE - *len;
}

static bool in_window(const struct virtio_pci *p, unsigned off, unsigned len)
{
	unsigned data = p->window + CAP_EXTRA;

	return off < data + 4 && data < off + len;
}

static void config_reads(void *dev, unsigned off, unsigned len)
{
	struct virtio_pci *p = dev;
	u32 at, n;

	if (in_window(p, off, len) && window_at(p, &at, &n))
		put_le32(p->pci.config + p->window + CAP_EXTRA, (u32)regs_read(p, NULL, at, n));
}

static void config_written(void *dev, unsigned off, unsigned len)
{
	struct virtio_pci *p = dev;
	u32 at, n;

	if (off < PCI_COMMAND + 2 && off + len > PCI_COMMAND)
		virtio_set_dma(p->v, pci_is_master(&p->pci));
	if (in_window(p, off, len) && window_at(p, &at, &n)) {
		u64 val = get_le32(p->pci.config + p->window + CAP_EXTRA);

		regs_write(p, NULL, at, n == 4 ? val : val & (BIT(8 * n) - 1), n);
	}
}

static u8 add_cap(struct virtio_pci *p, enum cap_type type, u32 off, u32 len, unsigned extra)
{
	u8 c = pci_add_cap(&p->pci, PCI_CAP_VENDOR, CAP_SIZE + extra);
	u8 *b = p->pci.config + c;

	b[CAP_LEN_OFF] = (u8)(CAP_SIZE + extra);
	b[CAP_TYPE] = (u8)type;
	b[CAP_BAR] = REGS_BAR;
	put_le32(b + CAP_OFFSET, off);
	put_le32(b + CAP_LENGTH, len);
	return c;
}

static void add_caps(struct virtio_pci *p)
{
	u8 c;

	/* Added first is found last. */
	pci_add_msix(&p->pci, MIN(p->v->nqueues + 1, PCI_MSIX_MAX), MSIX_BAR);
	p->window = c = add_cap(p, CAP_PCI, 0, 0, 4);
	p->pci.wmask[c + CAP_BAR] = 0xff;
	memset(p->pci.wmask + c + CAP_OFFSET, 0xff, CAP_SIZE + 4 - CAP_OFFSET);
	p->pci.config[c + CAP_BAR] = 0;
	c = add_cap(p, CAP_NOTIFY, AT_NOTIFY, p->v->nqueues * NOTIFY_MULTIPLIER, 4);
	put_le32(p->pci.config + c + CAP_EXTRA, NOTIFY_MULTIPLIER);
	if (p->v->cls->config_len)
		add_cap(p, CAP_DEVICE, AT_DEVICE, p->v->cls->config_len, 0);
	add_cap(p, CAP_ISR, AT_ISR, 1, 0);
	add_cap(p, CAP_COMMON, AT_COMMON, R_COMMON_END, 0);
}

/* --- the device --- */

static void virtio_pci_reset(void *dev)
{
	struct virtio_pci *p = dev;

	regs_reset(p);
	pci_func_reset(&p->pci);
	virtio_set_dma(p->v, false);
}

static int virtio_pci_post_load(void *dev, struct err *e)
{
	struct virtio_pci *p = dev;
	u16 nvec = p->pci.msix_nvec;
	int r = pci_func_post_load(&p->pci, e);

	if (r)
		return r;
	for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++)
		if (p->vector[q] >= nvec && p->vector[q] != NO_VECTOR)
			return err_set(e, EINVAL, "queue %u has interrupt vector %u; there are %u",
				       q, p->vector[q], nvec);
	if (p->config_vector >= nvec && p->config_vector != NO_VECTOR)
		return err_set(e, EINVAL, "the configuration has interrupt vector %u; there are %u",
			       p->config_vector, nvec);
	virtio_set_dma(p->v, pci_is_master(&p->pci));
	return 0;
}

static void virtio_pci_resumed(void *dev, bool restored)
{
	struct virtio_pci *p = dev;

	virtio_resumed(p->v);
}

static void virtio_pci_free(void *dev)
{
	struct virtio_pci *p = dev;

	if (!p)
		return;
	pci_detach(&p->pci);
	p->v->tops = NULL;
	p->v->transport = NULL;
	free(p);
}

static const struct state_field virtio_pci_state[] = {
	STATE_STRUCT(struct virtio_pci, pci, pci_func_state),
	STATE_U32(struct virtio_pci, device_feature_select, 0, UINT32_MAX),
	STATE_U32(struct virtio_pci, driver_feature_select, 0, UINT32_MAX),
	STATE_U16(struct virtio_pci, queue_select, 0, UINT16_MAX),
	STATE_U16(struct virtio_pci, config_vector, 0, UINT16_MAX),
	STATE_U16_ARRAY(struct virtio_pci, vector, 0, UINT16_MAX),
	STATE_U8(struct virtio_pci, isr, 0, ISR_QUEUE | ISR_CONFIG),
	STATE_END
};

int virtio_pci_new(struct virtio_pci **out, struct virtio *v, struct pci_bus *bus, u8 devfn,
		   struct err *e)
{
	const struct pci_ids ids = {
		.vendor = VIRTIO_VENDOR, .device = (u16)(VIRTIO_DEVICE_BASE + v->cls->type),
		.subvendor = VIRTIO_VENDOR, .subdevice = (u16)(VIRTIO_SUBSYSTEM_BASE + v->cls->type),
		.class = v->cls->pci_class, .revision = 1, .int_pin = 1,
	};
	struct virtio_pci *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_set(e, ENOMEM, "%s: out of memory", v->cls->name);
	p->v = v;
	pci_func_init(&p->pci, v->cls->name, p, &ids);
	pci_bar_set(&p->pci, REGS_BAR, PCI_BAR_MEM32, REGS_SIZE, &regs_ops);
	add_caps(p);
	p->pci.config_written = config_written;
	p->pci.config_reads = config_reads;
	regs_reset(p);
	r = pci_attach(&p->pci, bus, devfn, e);
	if (r) {
		free(p);
		return r;
	}
	v->tops = &transport;
	v->transport = p;
	*out = p;
	return 0;
}

const struct device_class virtio_pci_class = {
	.name = "virtio-pci", .version = 1, .state = virtio_pci_state, .reset = virtio_pci_reset,
	.free = virtio_pci_free, .post_load = virtio_pci_post_load,
	.resumed = virtio_pci_resumed,
};
