// SPDX-License-Identifier: GPL-2.0-or-later
/* acpi_pm.c - ACPI fixed hardware: PM1 events and control, PM timer, GPE0 block, SMI command port.
 * After: ACPI 6.5, 4.8; SMI handshake values as in the FADT that goes with it (acpi_pm.h).
 *
 * There is no SMM behind port B2: the chip itself sets and clears SCI_EN, as firmware's handler
 * would. The PM timer is computed from machine time; its carry (bit 23 toggles every 2.34 s) is
 * found out on reading, and a timer is armed only while TMR_EN asks for the interrupt.
 * Not modelled: sleep states but S5 (SLP_EN with another type is logged and ignored), SMI. */
#include "dev/acpi_pm.h"

#include "base/trace.h"
#include "vm/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

DEFINE_TRACE(acpi_write, "acpi.write");
DEFINE_TRACE(acpi_sci, "acpi.sci");

/* PM1 status and enable bits. */
#define PM1_TMR		0x0001
#define PM1_BM		0x0010		/* status only */
#define PM1_GBL		0x0020
#define PM1_PWRBTN	0x0100
#define PM1_SLPBTN	0x0200
#define PM1_RTC		0x0400
#define PM1_WAK		0x8000		/* status only */
#define PM1_STS_BITS	(PM1_TMR | PM1_BM | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC | PM1_WAK)
#define PM1_EN_BITS	(PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC)
/* PM1 control. */
#define CNT_SCI_EN	0x0001		/* changed through SMI_CMD only */
#define CNT_BM_RLD	0x0002
#define CNT_GBL_RLS	0x0004		/* WO */
#define CNT_SLP_TYP(v)	((v) >> 10 & 7)
#define CNT_SLP_EN	0x2000		/* WO */
#define CNT_KEPT	(CNT_BM_RLD | 0x1c00)

#define SMI_LEN		2		/* B2 command, B3 status (scratch) */
#define TMR_MASK	0xffffffu
#define TMR_CARRY_SHIFT	23

struct acpi_pm {
	struct machine *m;
	struct acpi_pm_config cfg;
	struct irq_line sci;
	unsigned nmapped;

	u16 pm1_sts, pm1_en, pm1_cnt;
	u16 gpe_sts, gpe_en;
	u8 smi_cmd, smi_sts;
	u64 carries;			/* times that bit 23 had changed when last looked at */
	struct vm_timer timer;		/* the next carry, while TMR_EN is set */
};

/* --- PM timer --- */

#define NS_PER_S 1000000000u

static u64 pm_ticks(const struct acpi_pm *p)
{
	return (u128)clock_now(p->m->clock) * ACPI_PM_TIMER_HZ / NS_PER_S;
}

static void update_sci(struct acpi_pm *p)
{
	bool on = (p->pm1_cnt & CNT_SCI_EN) &&
		  ((p->pm1_sts & p->pm1_en & PM1_EN_BITS) || (p->gpe_sts & p->gpe_en));

	TRACE(acpi_sci, "level=%d pm1=%#x/%#x gpe=%#x/%#x", on, p->pm1_sts, p->pm1_en, p->gpe_sts,
	      p->gpe_en);
	irq_set(p->sci, on);
}

static void check_carry(struct acpi_pm *p)
{
	u64 n = pm_ticks(p) >> TMR_CARRY_SHIFT;

	if (n != p->carries) {
		p->carries = n;
		p->pm1_sts |= PM1_TMR;
	}
}

static void arm(struct acpi_pm *p)
{
	u128 next;

	if (!(p->pm1_en & PM1_TMR) || (p->pm1_sts & PM1_TMR)) {
		vm_timer_del(&p->timer);
		return;
	}
	next = (u128)((pm_ticks(p) >> TMR_CARRY_SHIFT) + 1) << TMR_CARRY_SHIFT;
	next = (next * NS_PER_S + ACPI_PM_TIMER_HZ - 1) / ACPI_PM_TIMER_HZ;
	vm_timer_set(&p->timer, next);
}

static void carry(void *ctx)
{
	struct acpi_pm *p = ctx;

	check_carry(p);
	update_sci(p);
	arm(p);
}

/* --- PM block, byte by byte: any access size will do --- */

static u8 block_read(struct acpi_pm *p, unsigned off)
{
	switch (off) {
	case 0: case 1:
		check_carry(p);
		return p->pm1_sts >> (8 * off);
	case 2: case 3: return p->pm1_en >> (8 * (off - 2));
	case 4: case 5: return p->pm1_cnt >> (8 * (off - 4));
	case 8: case 9: case 10: return (pm_ticks(p) & TMR_MASK) >> (8 * (off - 8));
	default: return 0;
	}
}

static u64 pm_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	struct acpi_pm *p = dev;
	u64 v = 0;

	if (off == ACPI_PM_TMR && len == 4)	/* hot */
		return pm_ticks(p) & TMR_MASK;
	for (unsigned i = 0; i < len; i++)
		v |= (u64)block_read(p, off + i) << (8 * i);
	return v;
}

static void write_cnt(struct acpi_pm *p, u16 val)
{
	p->pm1_cnt = (p->pm1_cnt & CNT_SCI_EN) | (val & CNT_KEPT);
	if (!(val & CNT_SLP_EN))
		return;
	if (CNT_SLP_TYP(val) == ACPI_S5_TYP)
		machine_request_poweroff(p->m);
	else
		log_limited(LOG_WARN, "the guest asked for sleep type %u, which this machine lacks",
			    CNT_SLP_TYP(val));
}

static void pm_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct acpi_pm *p = dev;

	TRACE(acpi_write, "off=%#x val=%#llx len=%u", (unsigned)off, (unsigned long long)val, len);
	for (unsigned i = 0; i < len; i++, off++, val >>= 8) {
		u8 b = val;

		switch (off) {
		case 0: case 1:
			check_carry(p);
			p->pm1_sts &= ~(b << (8 * off));	/* write 1 to clear */
			break;
		case 2:
			/* A carry before TMR_EN was set is still a status: it interrupts now. */
			check_carry(p);
			p->pm1_en = (p->pm1_en & 0xff00) | (b & PM1_EN_BITS);
			break;
		case 3:
			p->pm1_en = (p->pm1_en & 0xff) | (b << 8 & PM1_EN_BITS);
			break;
		case 4:
			write_cnt(p, (p->pm1_cnt & 0xff00) | b);
			break;
		case 5:
			write_cnt(p, (p->pm1_cnt & 0xff) | b << 8);
			break;
		}
	}
	update_sci(p);
	arm(p);
}

/* --- GPE0: two bytes of status, two of enables --- */

static u64 gpe_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	struct acpi_pm *p = dev;

	return ((u32)p->gpe_en << 16 | p->gpe_sts) >> (8 * off);
}

static void gpe_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct acpi_pm *p = dev;

	for (unsigned i = 0; i < len; i++, off++, val >>= 8) {
		u16 b = (u8)val;

		if (off < 2)
			p->gpe_sts &= ~(b << (8 * off));
		else if (off == 2)
			p->gpe_en = (p->gpe_en & 0xff00) | b;
		else
			p->gpe_en = (p->gpe_en & 0xff) | b << 8;
	}
	update_sci(p);
}

/* --- SMI command --- */

static u64 smi_read(void *dev, struct vcpu *by, u64 off, unsigned len)
{
	struct acpi_pm *p = dev;

	return off ? p->smi_sts : p->smi_cmd;
}

static void smi_write(void *dev, struct vcpu *by, u64 off, u64 val, unsigned len)
{
	struct acpi_pm *p = dev;

	if (off) {
		p->smi_sts = val;
		return;
	}
	p->smi_cmd = val;
	if (p->smi_cmd == ACPI_ENABLE)
		p->pm1_cnt |= CNT_SCI_EN;
	else if (p->smi_cmd == ACPI_DISABLE)
		p->pm1_cnt &= ~CNT_SCI_EN;
	update_sci(p);
}

static const struct region_ops pm_ops = {
	.read = pm_read, .write = pm_write, .impl_min = 1, .impl_max = 4,
};
static const struct region_ops gpe_ops = {
	.read = gpe_read, .write = gpe_write, .impl_min = 1, .impl_max = 4,
};
static const struct region_ops smi_ops = {
	.read = smi_read, .write = smi_write, .impl_min = 1, .impl_max = 1,
};

/* --- events from outside --- */

void acpi_pm_power_button(struct acpi_pm *p)
{
	p->pm1_sts |= PM1_PWRBTN;
	update_sci(p);
}

void acpi_pm_sleep_button(struct acpi_pm *p)
{
	p->pm1_sts |= PM1_SLPBTN;
	update_sci(p);
}

void acpi_pm_gpe(struct acpi_pm *p, unsigned bit)
{
	BUG_ON(bit > 15);
	p->gpe_sts |= 1 << bit;
	update_sci(p);
}

/* --- life and state --- */

static struct pm_region { u16 base; u16 len; const struct region_ops *ops; const char *name; }
region(const struct acpi_pm *p, unsigned i)
{
	switch (i) {
	case 0: return (struct pm_region){ p->cfg.pm_base, ACPI_PM_LEN, &pm_ops, "acpi-pm" };
	case 1: return (struct pm_region){ p->cfg.gpe_base, ACPI_GPE0_LEN, &gpe_ops, "acpi-gpe0" };
	default: return (struct pm_region){ ACPI_SMI_CMD, SMI_LEN, &smi_ops, "smi-cmd" };
	}
}

static void acpi_pm_reset(void *dev)
{
	struct acpi_pm *p = dev;

	p->pm1_sts = p->pm1_en = 0;
	p->pm1_cnt = p->cfg.acpi_mode ? CNT_SCI_EN : 0;
	p->gpe_sts = p->gpe_en = 0;
	p->smi_cmd = p->smi_sts = 0;
	p->carries = pm_ticks(p) >> TMR_CARRY_SHIFT;
	update_sci(p);
	arm(p);
}

static void acpi_pm_free(void *dev)
{
	struct acpi_pm *p = dev;

	if (!p)
		return;
	vm_timer_del(&p->timer);
	while (p->nmapped) {
		struct pm_region r = region(p, --p->nmapped);

		bus_unmap(p->m->ports, r.base, r.len, p);
	}
	free(p);
}

int acpi_pm_new(struct acpi_pm **out, struct machine *m, const struct acpi_pm_config *cfg,
		struct irq_line sci, struct err *e)
{
	struct acpi_pm *p = calloc(1, sizeof(*p));

	if (!p)
		return err_set(e, ENOMEM, "no memory for the ACPI registers");
	p->m = m;
	p->cfg = *cfg;
	p->sci = sci;
	vm_timer_init(&p->timer, m->clock, carry, p);
	for (; p->nmapped < 3; p->nmapped++) {
		struct pm_region r = region(p, p->nmapped);
		int rc = bus_map(m->ports, r.base, r.len, r.ops, p, r.name, 0, e);

		if (rc) {
			acpi_pm_free(p);
			return rc;
		}
	}
	acpi_pm_reset(p);
	*out = p;
	return 0;
}

static const struct state_field acpi_pm_state[] = {
	STATE_U16(struct acpi_pm, pm1_sts, 0, PM1_STS_BITS),
	STATE_U16(struct acpi_pm, pm1_en, 0, PM1_EN_BITS),
	STATE_U16(struct acpi_pm, pm1_cnt, 0, CNT_KEPT | CNT_SCI_EN),
	STATE_U16(struct acpi_pm, gpe_sts, 0, 0xffff),
	STATE_U16(struct acpi_pm, gpe_en, 0, 0xffff),
	STATE_U8(struct acpi_pm, smi_cmd, 0, 0xff),
	STATE_U8(struct acpi_pm, smi_sts, 0, 0xff),
	STATE_U64(struct acpi_pm, carries),
	STATE_TIMER(struct acpi_pm, timer),
	STATE_END
};

static int acpi_pm_post_load(void *dev, struct err *e)
{
	struct acpi_pm *p = dev;

	p->pm1_sts &= PM1_STS_BITS;
	p->pm1_en &= PM1_EN_BITS;
	p->pm1_cnt &= CNT_KEPT | CNT_SCI_EN;
	update_sci(p);
	return 0;
}

const struct device_class acpi_pm_class = {
	.name = "acpi_pm",
	.version = 1,
	.state = acpi_pm_state,
	.reset = acpi_pm_reset,
	.free = acpi_pm_free,
	.post_load = acpi_pm_post_load,
};
