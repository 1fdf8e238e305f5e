// SPDX-License-Identifier: GPL-2.0-or-later
/* apic_bus.c - what connects the local APICs: who is meant by a message's destination, IPIs,
 * message-signalled interrupts, EOI broadcasts, and where each APIC's registers show in memory.
 * After: Intel SDM vol. 3A (325462-079), 11.4.4, 11.6, 11.11, 11.12. */
#include "base/trace.h"
#include "dev/lapic_impl.h"
#include "vm/machine.h"

#include <stdlib.h>
#include <string.h>

DEFINE_TRACE(apic_ipi, "apic.ipi");
DEFINE_TRACE(apic_msi, "apic.msi");
DEFINE_TRACE(apic_nobody, "apic.nobody");

#define MSI_BASE	APIC_DEFAULT_BASE
#define MSI_LEN		0x100000u
#define APIC_PAGE_LEN	0x1000u

/* --- who is meant --- */

/* A message on the bus. Destinations of xAPICs, I/O APICs and MSIs have eight bits, of which FF is
 * a broadcast; those of x2APICs 32. */
struct bus_msg {
	struct apic_msg m;
	bool dest8;
};

static bool matches(const struct lapic *l, const struct bus_msg *b)
{
	u32 d = b->m.dest;

	if (b->dest8 ? d == 0xff : d == UINT32_MAX)
		return true;
	if (!b->m.logical)
		return d == (lapic_x2apic(l) ? l->v->apic_id : l->v->apic_id & 0xff);
	if (lapic_x2apic(l))
		return d >> 16 == l->ldr >> 16 && (d & l->ldr & 0xffff);
	if (d > 0xff)
		return false;
	if (l->dfr >> 28 == 0xf)			/* flat */
		return d & l->ldr >> 24;
	if (l->dfr >> 28 != 0)				/* neither flat nor cluster */
		return false;
	return (d >> 4 == 0xf || d >> 4 == l->ldr >> 28) && (d & l->ldr >> 24 & 0xf);
}

static bool accept(struct lapic *l, const struct apic_msg *m)
{
	if (m->mode == APIC_DM_FIXED || m->mode == APIC_DM_LOWPRI)
		return lapic_accept_fixed(l, m->vector, m->level);
	return lapic_accept_mode(l, m->mode, m->vector);
}

static unsigned deliver(struct apic_bus *b, const struct bus_msg *msg, const struct lapic *not)
{
	struct lapic *best = NULL;
	unsigned n = 0;

	for (unsigned i = 0; i < b->ncpus; i++) {
		/* Lowest priority begins behind the one served last: equals take turns. */
		unsigned k = msg->m.mode == APIC_DM_LOWPRI ? (b->next + i) % b->ncpus : i;
		struct lapic *l = b->cpu[k];

		if (!l || l == not || !lapic_hw_enabled(l) || !matches(l, msg))
			continue;
		if (msg->m.mode != APIC_DM_LOWPRI) {
			n += accept(l, &msg->m);
			continue;
		}
		if (!(l->svr & SVR_ENABLE))
			continue;
		if (!best || lapic_ppr(l) >> 4 < lapic_ppr(best) >> 4)
			best = l;
	}
	if (best) {
		b->next = (best->v->index + 1) % b->ncpus;
		n = accept(best, &msg->m);
	}
	if (!n)
		TRACE(apic_nobody, "dest=%#x logical=%d mode=%u vector=%#x", msg->m.dest,
		      msg->m.logical, msg->m.mode, msg->m.vector);
	return n;
}

unsigned apic_bus_deliver(struct apic_bus *b, const struct apic_msg *msg)
{
	struct bus_msg m = { *msg, true };

	return deliver(b, &m, NULL);
}

/* --- IPIs --- */

void apic_bus_send_ipi(struct lapic *from)
{
	struct apic_bus *b = from->bus;
	u32 lo = (u32)from->icr;
	bool x2 = lapic_x2apic(from);
	struct bus_msg msg = {
		.m = {
			.dest = x2 ? from->icr >> 32 : from->icr >> 56,
			.vector = (u8)lo,
			.mode = LVT_MODE(lo),
			.logical = lo & ICR_LOGICAL,
			/* IPIs are edge-triggered whatever the trigger bit says. */
		},
		.dest8 = !x2,
	};
	const struct lapic *not = NULL;

	TRACE(apic_ipi, "from=%u icr=%#llx", from->v->index, (unsigned long long)from->icr);
	switch (msg.m.mode) {
	case APIC_DM_FIXED: case APIC_DM_LOWPRI:
		if (msg.m.vector < 16) {
			lapic_ipi_error(from, ESR_SEND_ILLEGAL);
			return;
		}
		break;
	case APIC_DM_INIT:
		/* INIT level de-assert only set arbitration ids, on processors long gone. */
		if ((lo & ICR_LEVEL) && !(lo & ICR_ASSERT))
			return;
		break;
	case APIC_DM_SMI: case APIC_DM_NMI: case APIC_DM_STARTUP:
		break;
	default:
		return;					/* reserved; ExtINT is not for IPIs */
	}
	switch (ICR_SHORTHAND(lo)) {
	case 1:						/* self */
		accept(from, &msg.m);
		return;
	case 2: case 3:					/* all including / excluding self */
		msg.m.dest = x2 ? UINT32_MAX : 0xff;
		msg.m.logical = false;
		if (ICR_SHORTHAND(lo) == 3)
			not = from;
		break;
	}
	deliver(b, &msg, not);
}

unsigned apic_bus_send_to(struct lapic *from, u64 apic_id, u32 icr)
{
	struct apic_msg m = { .vector = (u8)icr, .mode = LVT_MODE(icr) };

	if (m.mode != APIC_DM_NMI && (m.mode != APIC_DM_FIXED || m.vector < 16))
		return 0;
	for (unsigned i = 0; i < from->bus->ncpus; i++) {
		struct lapic *l = from->bus->cpu[i];

		if (l && l->v->apic_id == apic_id && lapic_hw_enabled(l))
			return accept(l, &m);
	}
	return 0;
}

/* --- message-signalled interrupts --- */

/* SDM 11.11: the address says who, the data says what. */
static void msi_send(void *chip, u64 gpa, u32 data)
{
	struct apic_bus *b = chip;
	bool redirect = gpa >> 3 & 1;
	struct apic_msg m = {
		.dest = gpa >> 12 & 0xff,
		.logical = gpa >> 2 & 1,
		.vector = (u8)data,
		.mode = data >> 8 & 7,
		.level = data >> 15 & 1,
	};

	TRACE(apic_msi, "gpa=%#llx data=%#x", (unsigned long long)gpa, data);
	if (gpa >> 20 != MSI_BASE >> 20)
		return;
	if (m.level && !(data >> 14 & 1))
		return;					/* de-assertion of a level message */
	if (redirect && m.logical && m.mode == APIC_DM_FIXED)
		m.mode = APIC_DM_LOWPRI;
	apic_bus_deliver(b, &m);
}

/* --- the registers in memory --- */

/* Each vCPU decodes only its own APIC_BASE. The bus has one map for all, so a page that any of
 * them chose is mapped once, and answers those whose base it is; others find nothing there. */
struct apic_page {
	struct apic_page *next;
	struct apic_bus *bus;
	u64 gpa;
	unsigned users;
};

static struct lapic *page_lapic(struct apic_bus *b, struct vcpu *by, u64 page_gpa)
{
	struct lapic *l = by && by->m == b->m ? b->cpu[by->index] : NULL;

	if (!l || (l->base_msr & ~0xfffull) != page_gpa || !lapic_hw_enabled(l) || lapic_x2apic(l))
		return NULL;
	return l;
}

static u64 msi_page_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	struct lapic *l = off < APIC_PAGE_LEN ? page_lapic(dev, by, MSI_BASE) : NULL;

	return l ? lapic_mmio_read(l, off) : UINT32_MAX;
}

static void msi_page_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct lapic *l;

	if (!by) {					/* a device's DMA: a message */
		msi_send(dev, MSI_BASE + off, val);
		return;
	}
	l = off < APIC_PAGE_LEN ? page_lapic(dev, by, MSI_BASE) : NULL;
	if (l)
		lapic_mmio_write(l, off, val);
}

static const struct region_ops msi_page_ops = {
	.read = msi_page_read, .write = msi_page_write, .impl_min = 4, .impl_max = 4,
};

static u64 apic_page_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	struct apic_page *p = dev;
	struct lapic *l = page_lapic(p->bus, by, p->gpa);

	return l ? lapic_mmio_read(l, off) : UINT32_MAX;
}

static void apic_page_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct apic_page *p = dev;
	struct lapic *l = page_lapic(p->bus, by, p->gpa);

	if (l)
		lapic_mmio_write(l, off, val);
}

static const struct region_ops apic_page_ops = {
	.read = apic_page_read, .write = apic_page_write, .impl_min = 4, .impl_max = 4,
};

static struct apic_page **find_page(struct apic_bus *b, u64 gpa)
{
	struct apic_page **p = &b->pages;

	while (*p && (*p)->gpa != gpa)
		p = &(*p)->next;
	return p;
}

static void page_put(struct apic_bus *b, u64 gpa)
{
	struct apic_page **pp = find_page(b, gpa), *p = *pp;

	if (!p || --p->users)
		return;
	bus_unmap(b->m->mmio, p->gpa, APIC_PAGE_LEN, p);
	*pp = p->next;
	free(p);
}

static void page_get(struct apic_bus *b, u64 gpa)
{
	struct apic_page *p = *find_page(b, gpa);
	struct err e = { 0 };

	if (p) {
		p->users++;
		return;
	}
	p = calloc(1, sizeof(*p));
	if (!p) {
		log_limited(LOG_WARN, "no memory for an APIC page at %#llx",
			    (unsigned long long)gpa);
		return;
	}
	*p = (struct apic_page){ .next = b->pages, .bus = b, .gpa = gpa, .users = 1 };
	if (bus_map(b->m->mmio, gpa, APIC_PAGE_LEN, &apic_page_ops, p, "lapic-moved", 2, &e)) {
		log_limited(LOG_WARN, "a guest put its APIC at %#llx: %s",
			    (unsigned long long)gpa, e.msg);
		free(p);
		return;
	}
	b->pages = p;
}

void apic_bus_moved(struct apic_bus *b, struct lapic *l)
{
	u64 now = l->base_msr & ~0xfffull;

	if (now == MSI_BASE)
		now = 0;				/* always mapped */
	if (l->page_gpa == now)
		return;
	if (l->page_gpa)
		page_put(b, l->page_gpa);
	l->page_gpa = now;
	if (now)
		page_get(b, now);
}

/* --- lines --- */

static void lint_set(void *chip, unsigned pin, int level)
{
	struct apic_bus *b = chip;

	if (b->lint[pin] == !!level)
		return;
	b->lint[pin] = level;
	for (unsigned i = 0; i < b->ncpus; i++)
		if (b->cpu[i])
			lapic_lint_changed(b->cpu[i], pin, level);
}

struct irq_line apic_bus_lint0(struct apic_bus *b) { return (struct irq_line){ lint_set, b, 0 }; }
struct irq_line apic_bus_lint1(struct apic_bus *b) { return (struct irq_line){ lint_set, b, 1 }; }

void apic_bus_set_pic(struct apic_bus *b, int (*ack)(void *chip), void *chip)
{
	b->pic_ack = ack;
	b->pic = chip;
}

void apic_bus_on_eoi(struct apic_bus *b, void (*eoi)(void *chip, u8 vector), void *chip)
{
	b->eoi = eoi;
	b->eoi_chip = chip;
}

void apic_bus_eoi(struct apic_bus *b, u8 vector)
{
	if (b->eoi)
		b->eoi(b->eoi_chip, vector);
}

void apic_bus_virtual_wire(struct apic_bus *b)
{
	if (b->cpu[0])
		lapic_virtual_wire(b->cpu[0]);
}

/* --- life --- */

void apic_bus_attach(struct apic_bus *b, struct lapic *l)
{
	b->cpu[l->v->index] = l;
	b->refs++;
}

static void bus_put(struct apic_bus *b)
{
	if (--b->refs)
		return;
	free(b);
}

void apic_bus_detach(struct apic_bus *b, struct lapic *l)
{
	if (l->page_gpa)
		page_put(b, l->page_gpa);
	if (l->v->intc == l) {
		l->v->intc = NULL;
		l->v->intc_ops = NULL;
	}
	b->cpu[l->v->index] = NULL;
	bus_put(b);
}

static void apic_bus_free(void *dev)
{
	struct apic_bus *b = dev;

	if (!b)
		return;
	if (b->msi_page)
		bus_unmap(b->m->mmio, MSI_BASE, MSI_LEN, b);
	if (b->m->msi.chip == b)
		b->m->msi = (struct msi_sink){ 0 };
	bus_put(b);
}

static void apic_bus_reset(void *dev)
{
	((struct apic_bus *)dev)->next = 0;
}

static int apic_bus_new(struct apic_bus **out, struct machine *m, struct err *e)
{
	struct apic_bus *b = calloc(1, sizeof(*b));
	int rc;

	_Static_assert(ARRAY_SIZE(b->cpu) == MACHINE_CPUS_MAX, "one slot for each vCPU");
	if (!b)
		return err_set(e, ENOMEM, "no memory for the APIC bus");
	b->m = m;
	b->refs = 1;
	b->ncpus = m->ncpus;
	b->phys_bits = 40;
	b->has_x2apic = true;
	if (m->cpuid) {
		struct cpuid_dyn d = { 0 };

		b->has_x2apic = cpuid_has(m->cpuid, F_X2APIC);
		b->phys_bits = cpuid_query(m->cpuid, 0x80000008u, 0, &d).eax & 0xff;
	}
	if (b->phys_bits < 32 || b->phys_bits > 52)
		b->phys_bits = 36;
	rc = bus_map(m->mmio, MSI_BASE, MSI_LEN, &msi_page_ops, b, "lapic", 0, e);
	if (rc) {
		apic_bus_free(b);
		return rc;
	}
	b->msi_page = true;
	m->msi = (struct msi_sink){ msi_send, b };
	*out = b;
	return 0;
}

static const struct state_field apic_bus_state[] = {
	STATE_BOOL_ARRAY(struct apic_bus, lint),
	STATE_U32(struct apic_bus, next, 0, MACHINE_CPUS_MAX - 1),
	STATE_END
};

const struct device_class apic_bus_class = {
	.name = "apicbus",
	.version = 1,
	.state = apic_bus_state,
	.reset = apic_bus_reset,
	.free = apic_bus_free,
};

int apic_bus_add(struct machine *m, struct apic_bus **out, struct err *e)
{
	struct apic_bus *b = NULL;
	int rc = apic_bus_new(&b, m, e);

	if (rc)
		return rc;
	rc = machine_add_device(m, &apic_bus_class, b, "apicbus", e);
	if (rc)
		return rc;
	for (unsigned i = 0; i < m->ncpus; i++) {
		struct lapic *l;
		char path[16];

		rc = lapic_new(&l, b, m->cpu[i], e);
		if (rc)
			return rc;
		snprintf(path, sizeof(path), "lapic%u", i);
		rc = machine_add_device(m, &lapic_class, l, path, e);
		if (rc)
			return rc;
	}
	*out = b;
	return 0;
}
