/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pci.c - configuration space, base address registers, INTx. See pci.h.
 * After: PCI Local Bus 3.0, 3.2.2.3.2 (mechanism 1), 6.1-6.2.
 *
 * A base address register may point anywhere while a guest sizes it with decoding on; so BARs lie
 * below all that the platform fixed (negative priorities, each its own), overlap without an error
 * and come forth again when what covered them has moved away. */
#include "vm/pci.h"
#include "base/bytes.h"
#include "base/trace.h"
#include "vm/machine.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

DEFINE_TRACE(pci_bar, "pci.bar");
DEFINE_TRACE(pci_config, "pci.config");

struct pci_bus {
	struct machine *m;
	struct pci_bus_opts o;
	u32 address;			/* CF8 */
	u16 asserted[PCI_PIRQS_MAX];	/* how many functions pull each line */
	struct pci_func *func[256];
};

#define CF8_ENABLE 0x80000000u
#define CF8_MASK 0x80fffffcu		/* bits 30-24 and 1-0 read 0 */
#define BAR_IO_FLAG 1u
#define BAR_MEM64_FLAG 4u
#define BAR_PREFETCH_FLAG 8u
#define ROM_ENABLE 1u
#define CMD_WRITABLE (PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER | PCI_CMD_PARITY | PCI_CMD_SERR | \
		      PCI_CMD_INTX_OFF)

struct machine *pci_machine(const struct pci_bus *b)
{
	return b->m;
}

/* --- base address registers --- */

static unsigned bar_off(unsigned i)
{
	return i == PCI_BAR_ROM_INDEX ? PCI_ROM : PCI_BAR0 + 4 * i;
}

void pci_bar_set(struct pci_func *f, unsigned i, enum pci_bar_type type, u64 size,
		 const struct region_ops *ops)
{
	unsigned off = bar_off(i);
	bool wide = type == PCI_BAR_MEM64 || type == PCI_BAR_MEM64_PREFETCH;
	u64 mask = ~(size - 1);
	u32 flags = 0;

	BUG_ON(i > PCI_BAR_ROM_INDEX || size & (size - 1) || size < 4);
	BUG_ON((type == PCI_BAR_ROM) != (i == PCI_BAR_ROM_INDEX) || (wide && i > 4));
	BUG_ON(type != PCI_BAR_IO && size < 16);
	if (type == PCI_BAR_IO)
		flags = BAR_IO_FLAG;
	else if (wide)
		flags = BAR_MEM64_FLAG | (type == PCI_BAR_MEM64_PREFETCH ? BAR_PREFETCH_FLAG : 0);
	f->bar[i] = (struct pci_bar){ .type = type, .size = size, .ops = ops, .dev = f->dev };
	put_le32(f->config + off, flags);
	put_le32(f->wmask + off, (u32)mask | (type == PCI_BAR_ROM ? ROM_ENABLE : 0));
	if (wide) {
		put_le32(f->config + off + 4, 0);
		put_le32(f->wmask + off + 4, (u32)(mask >> 32));
	}
}

/* Where BAR @i is to answer now; false: nowhere. */
static bool bar_wanted(const struct pci_func *f, unsigned i, u64 *at)
{
	const struct pci_bar *bar = &f->bar[i];
	u16 cmd = get_le16(f->config + PCI_COMMAND);
	u64 v;

	if (bar->type == PCI_BAR_NONE || !f->bus)
		return false;
	v = get_le32(f->config + bar_off(i));
	if (bar->type == PCI_BAR_MEM64 || bar->type == PCI_BAR_MEM64_PREFETCH)
		v |= (u64)get_le32(f->config + bar_off(i) + 4) << 32;
	if (bar->type == PCI_BAR_ROM && !(v & ROM_ENABLE))
		return false;
	if (!(cmd & (bar->type == PCI_BAR_IO ? PCI_CMD_IO : PCI_CMD_MEM)))
		return false;
	*at = v & ~(bar->size - 1);
	if (bar->type == PCI_BAR_IO)
		return *at != 0 && *at + bar->size - 1 <= 0xffff;
	return *at != 0;
}

static struct bus *bar_bus(const struct pci_func *f, unsigned i)
{
	return f->bar[i].type == PCI_BAR_IO ? f->bus->m->ports : f->bus->m->mmio;
}

static void bar_update(struct pci_func *f, unsigned i)
{
	struct pci_bar *bar = &f->bar[i];
	u64 at = 0;
	bool want = bar_wanted(f, i, &at);

	if (bar->mapped && (!want || at != bar->at)) {
		bus_unmap(bar_bus(f, i), bar->at, bar->size, bar->dev);
		bar->mapped = false;
	}
	if (want && !bar->mapped) {
		struct err e = { 0 };
		int prio = -1 - (f->devfn * 8 + (int)i);

		if (bus_map(bar_bus(f, i), at, bar->size, bar->ops, bar->dev, f->name, prio, &e) < 0)
			BUG(e.msg);	/* it fits, and nobody else has this priority */
		bar->mapped = true;
		bar->at = at;
	}
	TRACE(pci_bar, "%s bar%u %s at %#llx", f->name, i, bar->mapped ? "mapped" : "off",
	      (unsigned long long)at);
}

static void bars_update(struct pci_func *f)
{
	for (unsigned i = 0; i <= PCI_BAR_ROM_INDEX; i++)
		if (f->bar[i].type != PCI_BAR_NONE)
			bar_update(f, i);
}

/* --- INTx --- */

static void intx_update(struct pci_func *f)
{
	struct pci_bus *b = f->bus;
	u8 pin = f->config[PCI_INT_PIN];
	bool out = f->intx && !(get_le16(f->config + PCI_COMMAND) & PCI_CMD_INTX_OFF);
	unsigned n;

	if (!b || out == f->intx_out || pin < 1 || pin > 4)
		return;
	f->intx_out = out;
	n = (b->o.swizzle ? b->o.swizzle(f->devfn >> 3, pin) : (f->devfn >> 3) + pin - 1u) %
	    b->o.npirq;
	if (out ? b->asserted[n]++ == 0 : --b->asserted[n] == 0)
		irq_set(b->o.pirq[n], out);
}

void pci_set_intx(struct pci_func *f, bool level)
{
	f->intx = level;
	intx_update(f);
}

bool pci_is_master(const struct pci_func *f)
{
	return get_le16(f->config + PCI_COMMAND) & PCI_CMD_MASTER;
}

/* --- configuration accesses --- */

struct pci_func *pci_find(const struct pci_bus *b, u8 devfn)
{
	return b->func[devfn];
}

static u8 config_byte(const struct pci_func *f, unsigned off)
{
	u8 v = f->config[off];

	if (off == PCI_STATUS && f->intx)	/* the pin's state, whether or not it is let out */
		v |= PCI_STS_INTX;
	pci_msi_read(f, off, &v);
	return v;
}

u32 pci_config_read(struct pci_bus *b, unsigned bdf, unsigned off, unsigned len)
{
	const struct pci_func *f = bdf < 256 ? b->func[bdf] : NULL;
	u32 val = 0;

	if (f && f->config_reads && off < PCI_CONFIG_SIZE)
		f->config_reads(f->dev, off, len);
	for (unsigned i = 0; i < len; i++)
		val |= (u32)(f && off + i < PCI_CONFIG_SIZE ? config_byte(f, off + i) : 0xff)
		       << (8 * i);
	TRACE(pci_config, "read %02x:%02x.%x %02x len=%u val=%#x", bdf >> 8, bdf >> 3 & 31, bdf & 7,
	      off, len, val);
	return val;
}

static bool touches(unsigned off, unsigned len, unsigned first, unsigned n)
{
	return off < first + n && first < off + len;
}

void pci_config_write(struct pci_bus *b, unsigned bdf, unsigned off, u32 val, unsigned len)
{
	struct pci_func *f = bdf < 256 ? b->func[bdf] : NULL;

	TRACE(pci_config, "write %02x:%02x.%x %02x len=%u val=%#x", bdf >> 8, bdf >> 3 & 31,
	      bdf & 7, off, len, val);
	if (!f)
		return;
	for (unsigned i = 0; i < len && off + i < PCI_CONFIG_SIZE; i++) {
		u8 v = (u8)(val >> (8 * i)), *c = &f->config[off + i];

		*c = (u8)((*c & ~f->wmask[off + i]) | (v & f->wmask[off + i]));
		*c = (u8)(*c & ~(v & f->w1c[off + i]));
	}
	if (touches(off, len, PCI_COMMAND, 2) || touches(off, len, PCI_BAR0, 24) ||
	    touches(off, len, PCI_ROM, 4))
		bars_update(f);
	if (touches(off, len, PCI_COMMAND, 2))
		intx_update(f);
	pci_msi_written(f, off, len);
	if (f->config_written)
		f->config_written(f->dev, off, len);
}

/* CF8 is a register only for a dword; other accesses go past it (CF9 is the reset control). */
static u64 cf8_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	const struct pci_bus *b = dev;

	return b->address;
}

static void cf8_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct pci_bus *b = dev;

	b->address = (u32)val & CF8_MASK;
}

static u64 cfc_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	struct pci_bus *b = dev;

	if (!(b->address & CF8_ENABLE))
		return UINT64_MAX;
	return pci_config_read(b, (b->address >> 8) & 0xffff, (b->address & 0xfc) + (unsigned)off,
			       len);
}

static void cfc_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct pci_bus *b = dev;

	if (b->address & CF8_ENABLE)
		pci_config_write(b, (b->address >> 8) & 0xffff,
				 (b->address & 0xfc) + (unsigned)off, (u32)val, len);
}

static const struct region_ops cf8_ops = { .read = cf8_read, .write = cf8_write, .only_size = 4 };
static const struct region_ops cfc_ops = { .read = cfc_read, .write = cfc_write, .impl_max = 4 };

/* --- functions --- */

void pci_func_init(struct pci_func *f, const char *name, void *dev, const struct pci_ids *ids)
{
	memset(f, 0, sizeof(*f));
	f->name = name;
	f->dev = dev;
	f->cap_next = 0x40;
	put_le16(f->config + PCI_VENDOR, ids->vendor);
	put_le16(f->config + PCI_DEVICE, ids->device);
	f->config[PCI_REVISION] = ids->revision;
	f->config[PCI_CLASS] = (u8)ids->class;
	put_le16(f->config + PCI_CLASS + 1, (u16)(ids->class >> 8));
	put_le16(f->config + PCI_SUBVENDOR, ids->subvendor);
	put_le16(f->config + PCI_SUBDEVICE, ids->subdevice);
	f->config[PCI_INT_PIN] = ids->int_pin;
	put_le16(f->wmask + PCI_COMMAND, CMD_WRITABLE);
	f->wmask[PCI_CACHE_LINE] = f->wmask[PCI_LATENCY] = f->wmask[PCI_INT_LINE] = 0xff;
}

u8 pci_add_cap(struct pci_func *f, enum pci_cap_id id, unsigned len)
{
	u8 off = f->cap_next;

	BUG_ON(f->bus || off + len > PCI_CONFIG_SIZE);
	f->config[off] = (u8)id;
	f->config[off + 1] = f->config[PCI_CAP_PTR];
	f->config[PCI_CAP_PTR] = off;
	f->config[PCI_STATUS] |= PCI_STS_CAPS;
	f->cap_next = (u8)((off + len + 3) & ~3u);
	return off;
}

/* Function 0 tells whether there are others. */
static void mark_multi(struct pci_bus *b, u8 devfn)
{
	struct pci_func *f0 = b->func[devfn & ~7];
	bool multi = false;

	if (!f0)
		return;
	for (unsigned i = 1; i < 8; i++)
		multi |= b->func[(devfn & ~7) + i] != NULL;
	f0->config[PCI_HEADER_TYPE] &= (u8)~PCI_HEADER_MULTI;
	f0->config[PCI_HEADER_TYPE] |= multi ? PCI_HEADER_MULTI : 0;
	f0->init[PCI_HEADER_TYPE] = f0->config[PCI_HEADER_TYPE];
}

int pci_attach(struct pci_func *f, struct pci_bus *b, u8 devfn, struct err *e)
{
	if (b->func[devfn])
		return err_set(e, EEXIST, "PCI slot %02x.%x is taken by %s; %s needs another",
			       devfn >> 3, devfn & 7, b->func[devfn]->name, f->name);
	memcpy(f->init, f->config, sizeof(f->init));
	f->bus = b;
	f->devfn = devfn;
	b->func[devfn] = f;
	mark_multi(b, devfn);
	return 0;
}

void pci_detach(struct pci_func *f)
{
	struct pci_bus *b = f->bus;

	if (!b)
		return;
	pci_set_intx(f, false);
	put_le16(f->config + PCI_COMMAND, 0);
	bars_update(f);
	b->func[f->devfn] = NULL;
	f->bus = NULL;
	mark_multi(b, f->devfn);
}

void pci_func_reset(struct pci_func *f)
{
	pci_set_intx(f, false);
	memcpy(f->config, f->init, sizeof(f->config));
	f->msi_pending = 0;
	f->msix_pending = 0;
	memset(f->msix_table, 0, sizeof(f->msix_table));
	for (unsigned i = 0; i < f->msix_nvec; i++)
		f->msix_table[i].ctrl = PCI_MSIX_MASKED;
	bars_update(f);
	intx_update(f);
}

int pci_func_post_load(struct pci_func *f, struct err *e)
{
	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++) {
		u8 fixed = (u8)~(f->wmask[i] | f->w1c[i] | f->hwmask[i]);

		if ((f->config[i] ^ f->init[i]) & fixed)
			return err_set(e, EINVAL, "%s: PCI configuration byte %#x is %#x; "
				       "this device has %#x there", f->name, i, f->config[i],
				       f->init[i]);
	}
	bars_update(f);
	intx_update(f);
	return 0;
}

static const struct state_field msix_fields[] = {
	STATE_U32(struct pci_msix_entry, addr_lo, 0, UINT32_MAX),
	STATE_U32(struct pci_msix_entry, addr_hi, 0, UINT32_MAX),
	STATE_U32(struct pci_msix_entry, data, 0, UINT32_MAX),
	STATE_U32(struct pci_msix_entry, ctrl, 0, UINT32_MAX),
	STATE_END
};

const struct state_field pci_func_state[] = {
	STATE_BYTES(struct pci_func, config),
	STATE_BOOL(struct pci_func, intx),
	STATE_U32(struct pci_func, msi_pending, 0, UINT32_MAX),
	STATE_U64(struct pci_func, msix_pending),
	STATE_STRUCT_ARRAY(struct pci_func, msix_table, msix_fields),
	STATE_END
};

/* --- the bus as a device --- */

static void bus_reset(void *dev)
{
	struct pci_bus *b = dev;

	b->address = 0;
}

static void pci_bus_free(void *dev)
{
	struct pci_bus *b = dev;

	if (!b)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(b->func); i++)
		if (b->func[i])
			pci_detach(b->func[i]);
	bus_unmap(b->m->ports, 0xcf8, 4, b);
	bus_unmap(b->m->ports, 0xcfc, 4, b);
	free(b);
}

static const struct state_field pci_bus_state[] = {
	STATE_U32(struct pci_bus, address, 0, UINT32_MAX),
	STATE_END
};

const struct device_class pci_bus_class = {
	.name = "pci",
	.version = 1,
	.state = pci_bus_state,
	.reset = bus_reset,
	.free = pci_bus_free,
};

int pci_bus_new(struct pci_bus **out, struct machine *m, const struct pci_bus_opts *o,
		struct err *e)
{
	struct pci_bus *b = calloc(1, sizeof(*b));
	int r;

	BUG_ON(o->npirq < 1 || o->npirq > PCI_PIRQS_MAX);
	if (!b)
		return err_set(e, ENOMEM, "pci: out of memory");
	b->m = m;
	b->o = *o;
	r = bus_map(m->ports, 0xcf8, 4, &cf8_ops, b, "pci.address", 0, e);
	if (r == 0) {
		r = bus_map(m->ports, 0xcfc, 4, &cfc_ops, b, "pci.data", 0, e);
		if (r < 0)
			bus_unmap(m->ports, 0xcf8, 4, b);
	}
	if (r < 0) {
		free(b);
		return r;
	}
	*out = b;
	return 0;
}
