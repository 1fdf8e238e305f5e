/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pci_msi.c - message-signalled interrupts: the capabilities MSI and MSI-X.
 * After: PCI Local Bus 3.0, 6.8.1 and 6.8.2. A message is a memory write by the function: it needs
 * the bus master bit. A masked vector's message is remembered and sent when it is unmasked. */
#include "vm/pci.h"
#include "base/bytes.h"
#include "base/trace.h"
#include "vm/machine.h"

DEFINE_TRACE(pci_msi, "pci.msi");

enum msi_reg {			/* offsets in the capability, 64-bit with masks */
	MSI_CTRL = 2, MSI_ADDR = 4, MSI_ADDR_HI = 8, MSI_DATA = 12, MSI_MASK = 16, MSI_PENDING = 20,
	MSI_LEN = 24,
};
enum { MSI_ENABLE = 1 << 0, MSI_64 = 1 << 7, MSI_MASKABLE = 1 << 8 };
#define MSI_CAPABLE_SHIFT 1	/* log2 of the vectors it has */
#define MSI_ENABLED_SHIFT 4	/* log2 of those the guest gave it */

enum msix_reg { MSIX_CTRL = 2, MSIX_TABLE = 4, MSIX_PBA = 8, MSIX_LEN = 12 };
enum { MSIX_FUNC_MASK = 1 << 14, MSIX_ENABLE = 1 << 15 };
#define MSIX_PBA_OFF 2048u
#define MSIX_BAR_SIZE 4096u

static void send(struct pci_func *f, u64 gpa, u32 data)
{
	struct msi_sink s = pci_machine(f->bus)->msi;

	TRACE(pci_msi, "%s to %#llx data=%#x", f->name, (unsigned long long)gpa, data);
	if (s.send && pci_is_master(f))
		s.send(s.chip, gpa, data);
}

/* --- MSI --- */

void pci_add_msi(struct pci_func *f, unsigned nvec)
{
	unsigned log = (unsigned)__builtin_ctz(nvec);
	u8 c;

	BUG_ON(nvec == 0 || nvec > 32 || nvec & (nvec - 1));
	c = f->msi = pci_add_cap(f, PCI_CAP_MSI, MSI_LEN);
	f->msi_nvec = (u8)nvec;
	put_le16(f->config + c + MSI_CTRL, (u16)(MSI_64 | MSI_MASKABLE | log << MSI_CAPABLE_SHIFT));
	put_le16(f->wmask + c + MSI_CTRL, MSI_ENABLE | 7 << MSI_ENABLED_SHIFT);
	put_le32(f->wmask + c + MSI_ADDR, ~3u);
	put_le32(f->wmask + c + MSI_ADDR_HI, ~0u);
	put_le16(f->wmask + c + MSI_DATA, 0xffff);
	put_le32(f->wmask + c + MSI_MASK, nvec == 32 ? ~0u : (1u << nvec) - 1);
}

static u16 msi_ctrl(const struct pci_func *f)
{
	return f->msi ? get_le16(f->config + f->msi + MSI_CTRL) : 0;
}

static void msi_send(struct pci_func *f, unsigned vec)
{
	const u8 *c = f->config + f->msi;
	unsigned log = msi_ctrl(f) >> MSI_ENABLED_SHIFT & 7;
	u32 low = (1u << MIN(log, (unsigned)__builtin_ctz(f->msi_nvec))) - 1;

	send(f, get_le32(c + MSI_ADDR) | (u64)get_le32(c + MSI_ADDR_HI) << 32,
	     (get_le16(c + MSI_DATA) & ~low) | (vec & low));
}

static void msi_flush(struct pci_func *f)
{
	u32 go = f->msi_pending & ~get_le32(f->config + f->msi + MSI_MASK);

	if (!(msi_ctrl(f) & MSI_ENABLE))
		return;
	f->msi_pending &= ~go;
	for (unsigned i = 0; i < f->msi_nvec; i++)
		if (go >> i & 1)
			msi_send(f, i);
}

/* --- MSI-X --- */

static u16 msix_ctrl(const struct pci_func *f)
{
	return f->msix ? get_le16(f->config + f->msix + MSIX_CTRL) : 0;
}

static void msix_send(struct pci_func *f, unsigned i)
{
	const struct pci_msix_entry *t = &f->msix_table[i];

	send(f, (t->addr_lo & ~3u) | (u64)t->addr_hi << 32, t->data);
}

static bool msix_masked(const struct pci_func *f, unsigned i)
{
	return (msix_ctrl(f) & MSIX_FUNC_MASK) || (f->msix_table[i].ctrl & PCI_MSIX_MASKED);
}

static void msix_flush(struct pci_func *f)
{
	if (!(msix_ctrl(f) & MSIX_ENABLE))
		return;
	for (unsigned i = 0; i < f->msix_nvec; i++) {
		if (!(f->msix_pending >> i & 1) || msix_masked(f, i))
			continue;
		f->msix_pending &= ~BIT(i);
		msix_send(f, i);
	}
}

/* The table's BAR carries the struct pci_func itself (see pci_add_msix). */
static u64 msix_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	const struct pci_func *f = dev;

	if (off < f->msix_nvec * 16u) {
		const struct pci_msix_entry *t = &f->msix_table[off / 16];

		switch (off % 16 / 4) {
		case 0: return t->addr_lo;
		case 1: return t->addr_hi;
		case 2: return t->data;
		default: return t->ctrl;
		}
	}
	if (off >= MSIX_PBA_OFF && off < MSIX_PBA_OFF + 8)
		return f->msix_pending >> (8 * (off - MSIX_PBA_OFF));
	return 0;
}

static void msix_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct pci_func *f = dev;
	struct pci_msix_entry *t = &f->msix_table[off / 16 % PCI_MSIX_MAX];

	if (off >= f->msix_nvec * 16u)
		return;
	switch (off % 16 / 4) {
	case 0: t->addr_lo = (u32)val; break;
	case 1: t->addr_hi = (u32)val; break;
	case 2: t->data = (u32)val; break;
	default: t->ctrl = (u32)val; break;
	}
	msix_flush(f);
}

static const struct region_ops msix_ops = { .read = msix_read, .write = msix_write, .impl_min = 4,
					    .impl_max = 4 };

void pci_add_msix(struct pci_func *f, unsigned nvec, unsigned bar)
{
	u8 c;

	BUG_ON(nvec == 0 || nvec > PCI_MSIX_MAX || f->msix);
	c = f->msix = pci_add_cap(f, PCI_CAP_MSIX, MSIX_LEN);
	f->msix_nvec = (u8)nvec;
	f->msix_bar = (u8)bar;
	put_le16(f->config + c + MSIX_CTRL, (u16)(nvec - 1));
	put_le16(f->wmask + c + MSIX_CTRL, MSIX_FUNC_MASK | MSIX_ENABLE);
	put_le32(f->config + c + MSIX_TABLE, 0 | bar);
	put_le32(f->config + c + MSIX_PBA, MSIX_PBA_OFF | bar);
	pci_bar_set(f, bar, PCI_BAR_MEM32, MSIX_BAR_SIZE, &msix_ops);
	f->bar[bar].dev = f;
	for (unsigned i = 0; i < nvec; i++)
		f->msix_table[i].ctrl = PCI_MSIX_MASKED;
}

/* --- both --- */

bool pci_msi_enabled(const struct pci_func *f)
{
	return (msix_ctrl(f) & MSIX_ENABLE) || (msi_ctrl(f) & MSI_ENABLE);
}

void pci_msi_notify(struct pci_func *f, unsigned vec)
{
	if (!f->bus)
		return;
	if (msix_ctrl(f) & MSIX_ENABLE) {
		if (vec >= f->msix_nvec)
			return;
		f->msix_pending |= BIT(vec);
		msix_flush(f);
	} else if (msi_ctrl(f) & MSI_ENABLE) {
		f->msi_pending |= 1u << (vec % f->msi_nvec);
		msi_flush(f);
	}
}

void pci_msi_written(struct pci_func *f, unsigned off, unsigned len)
{
	if (f->msi && off < f->msi + MSI_LEN + 0u && f->msi + 0u < off + len)
		msi_flush(f);
	if (f->msix && off < f->msix + MSIX_LEN + 0u && f->msix + 0u < off + len)
		msix_flush(f);
}

/* MSI's pending bits are not kept in config. */
void pci_msi_read(const struct pci_func *f, unsigned off, u8 *byte)
{
	unsigned at = f->msi + MSI_PENDING;

	if (f->msi && off >= at && off < at + 4)
		*byte = (u8)(f->msi_pending >> (8 * (off - at)));
}
