/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rig.h - all chips on one machine, wired as on a PC, and random operations on them: what guests,
 * engines and the world outside do, most of it sensible, some of it not. For test_chips.c and
 * fuzz/fuzz_dev.c. */
#ifndef PENTA_TESTS_DEV_RIG_H
#define PENTA_TESTS_DEV_RIG_H

#include "devtest.h"
#include "dev/acpi_pm.h"
#include "dev/debug_port.h"
#include "dev/gsi.h"
#include "dev/i8254.h"
#include "dev/i8259.h"
#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "dev/mc146818.h"
#include "dev/ns16550.h"
#include "dev/pci_host.h"
#include "dev/reset.h"
#include "x86/regs.h"

#include <errno.h>

#define RIG_CPUS 3
#define RIG_DEVS 24
#define RIG_PV_PAGE 0x5000u

struct rig {
	struct machine *m;
	struct { const struct device_class *cls; void *dev; } d[RIG_DEVS];
	unsigned n;
	struct apic_bus *apics;
	struct gsi *gsi;
	struct acpi_pm *pm;
	struct irq_line shared[2];
	struct chardev *be[2];
	bool stuck[2];
};

static inline void rig_die(const char *what, const struct err *e)
{
	fprintf(stderr, "rig: %s: %s\n", what, e->msg);
	abort();
}

static inline void rig_add(struct rig *r, const struct device_class *c, void *dev)
{
	struct err e = { 0 };
	char path[32];

	snprintf(path, sizeof(path), "%s-%u", c->name, r->n);
	if (machine_add_device(r->m, c, dev, path, &e))
		rig_die(path, &e);
	r->d[r->n].cls = c;
	r->d[r->n++].dev = dev;
}

#define RIG_MAKE(call) do { if (call) rig_die(#call, &e); } while (0)

static inline struct rig *rig_new(void)
{
	const struct acpi_pm_config pm_cfg = { 0x600, 0xafe0, false };
	struct rig *r = calloc(1, sizeof(*r));
	struct err e = { 0 };
	struct pci_bus_opts po = { .npirq = 4 };
	struct i8259 *pic;
	struct ioapic *io;
	struct i8254 *pit;
	struct mc146818 *rtc;
	struct reset_ctl *rst;
	struct debug_exit *dx;
	struct debug_con *dc;
	struct ns16550 *u;
	struct pci_bus *pci;
	struct pci_host *host;

	r->m = dt_machine(RIG_CPUS);
	RIG_MAKE(apic_bus_add(r->m, &r->apics, &e));
	r->d[r->n].cls = &apic_bus_class;
	r->d[r->n++].dev = r->apics;
	for (unsigned i = 0; i < RIG_CPUS; i++) {
		r->d[r->n].cls = &lapic_class;
		r->d[r->n++].dev = r->m->cpu[i]->intc;
	}
	RIG_MAKE(i8259_new(&pic, r->m, apic_bus_lint0(r->apics), &e));
	rig_add(r, &i8259_class, pic);
	apic_bus_set_pic(r->apics, i8259_ack, pic);
	RIG_MAKE(ioapic_new(&io, r->m, r->apics, 4, &e));
	rig_add(r, &ioapic_class, io);
	RIG_MAKE(gsi_new(&r->gsi, pic, io, &e));
	rig_add(r, &gsi_class, r->gsi);
	for (unsigned i = 0; i < 2; i++)
		RIG_MAKE(gsi_share(r->gsi, 11, &r->shared[i], &e));
	RIG_MAKE(i8254_new(&pit, r->m, gsi_line(r->gsi, 0), &e));
	rig_add(r, &i8254_class, pit);
	RIG_MAKE(mc146818_new(&rtc, r->m, gsi_line(r->gsi, 8), &e));
	rig_add(r, &mc146818_class, rtc);
	RIG_MAKE(acpi_pm_new(&r->pm, r->m, &pm_cfg, gsi_line(r->gsi, 9), &e));
	rig_add(r, &acpi_pm_class, r->pm);
	RIG_MAKE(reset_ctl_new(&rst, r->m, true, &e));
	rig_add(r, &reset_ctl_class, rst);
	RIG_MAKE(debug_exit_new(&dx, r->m, DEBUG_EXIT_PORT, &e));
	rig_add(r, &debug_exit_class, dx);
	RIG_MAKE(debug_con_new(&dc, r->m, DEBUG_CON_PORT, NULL, &e));
	rig_add(r, &debug_con_class, dc);
	for (unsigned i = 0; i < 2; i++) {
		RIG_MAKE(chardev_mem_new(&r->be[i], 256, &e));
		RIG_MAKE(ns16550_new(&u, r->m, i ? 0x2f8 : 0x3f8, gsi_line(r->gsi, i ? 3 : 4),
				     r->be[i], &e));
		rig_add(r, &ns16550_class, u);
	}
	for (unsigned i = 0; i < 4; i++)
		po.pirq[i] = gsi_line(r->gsi, 16 + i);
	RIG_MAKE(pci_bus_new(&pci, r->m, &po, &e));
	rig_add(r, &pci_bus_class, pci);
	RIG_MAKE(pci_host_new(&host, pci, &e));
	rig_add(r, &pci_host_class, host);
	/* The RTC starts from the host's time: set it, so that a seed always does the same. */
	static const u8 rtc_set[][2] = { { 0x0b, 0x82 }, { 0x0a, 0x76 }, { 0x32, 0x20 }, { 9, 0x26 },
					 { 8, 0x11 }, { 7, 0x22 }, { 6, 1 }, { 4, 0x23 }, { 2, 0x59 },
					 { 0, 0x58 }, { 0x0b, 0x02 }, { 0x0a, 0x26 } };
	for (unsigned i = 0; i < ARRAY_SIZE(rtc_set); i++) {
		outb(r->m, 0x70, rtc_set[i][0]);
		outb(r->m, 0x71, rtc_set[i][1]);
	}
	return r;
}

static inline void rig_free(struct rig *r)
{
	machine_free(r->m);
	for (unsigned i = 0; i < 2; i++)
		chardev_free(r->be[i]);
	free(r);
}

/* Let @to be as @from is, by way of the saved state. */
static inline void rig_copy(struct rig *from, struct rig *to)
{
	u8 page[4096];

	if (now(to->m) != now(from->m))
		clock_set(to->m->clock, now(from->m));
	for (unsigned i = 0; i < RIG_CPUS; i++)
		to->m->cpu[i]->tsc_offset = from->m->cpu[i]->tsc_offset;
	for (unsigned i = 0; i < 2; i++) {
		chardev_mem_stall(to->be[i], from->stuck[i]);
		to->stuck[i] = from->stuck[i];
		if (to->be[i]->connected != from->be[i]->connected)
			chardev_event(to->be[i], from->be[i]->connected ? CHARDEV_OPENED : CHARDEV_CLOSED);
	}
	to->m->a20 = from->m->a20;
	/* As loading a machine does it: all fields of all chips first, then all post_loads. */
	struct err e = { 0 };
	for (unsigned i = 0; i < from->n; i++) {
		struct stream s = { 0 };

		dev_save(from->d[i].cls, from->d[i].dev, &s);
		if (fields_load(to->d[i].cls->state, to->d[i].dev, s.p, s.n, &e))
			rig_die(to->d[i].cls->name, &e);
		free(s.p);
	}
	for (unsigned i = 0; i < to->n; i++)
		if (to->d[i].cls->post_load && to->d[i].cls->post_load(to->d[i].dev, &e))
			rig_die("what was saved does not load", &e);
	for (unsigned i = 0; i < to->n; i++) {
		struct stream a = { 0 }, b = { 0 };

		dev_save(from->d[i].cls, from->d[i].dev, &a);
		dev_save(to->d[i].cls, to->d[i].dev, &b);
		for (size_t k = 0; k < a.n; k++)
			if (a.p[k] != b.p[k])
				fprintf(stderr, "byte %zu: %#x, loaded %#x\n", k, a.p[k], b.p[k]);
		if (a.n != b.n || (a.n && memcmp(a.p, b.p, a.n))) {
			err_set(&e, EINVAL, "loaded differs from saved");
			rig_die(from->d[i].cls->name, &e);
		}
		free(a.p);
		free(b.p);
	}
	if (!ram_read(from->m->ram, RIG_PV_PAGE, page, sizeof(page)) ||
	    !ram_write(to->m->ram, RIG_PV_PAGE, page, sizeof(page)))
		abort();
	for (unsigned i = 0; i < RIG_CPUS; i++) {
		take_requests(from->m->cpu[i]);
		take_requests(to->m->cpu[i]);
	}
	from->m->pending = to->m->pending = 0;
}

/* --- random operations --- */

enum rig_op_kind { OP_IN, OP_OUT, OP_LOAD, OP_STORE, OP_RDMSR, OP_WRMSR, OP_ACK, OP_TPR, OP_LINE,
		   OP_TIME, OP_TYPE, OP_BUTTON, OP_MSI, OP_TSC, OP_RARE, OP_KINDS };
struct rig_op {
	u8 kind, cpu, len;
	u64 at, val;
};

static inline u64 rig_rnd(u64 *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	return *s ^= *s << 17;
}

static inline u64 rig_value(u64 *s)
{
	u64 v = rig_rnd(s);

	switch (rig_rnd(s) % 8) {
	case 0: return 0;
	case 1: return v & 0xf;
	case 2: return UINT64_MAX;
	case 3: return 1ull << (v & 63);
	case 4: return v & 0xffffffff;
	case 5: return v;
	default: return v & 0xff;
	}
}

static const u16 rig_ports[] = {
	0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x41, 0x42, 0x43, 0x43, 0x61, 0x70, 0x71, 0x71,
	0x600, 0x601, 0x602, 0x603, 0x604, 0x608, 0x609, 0x60b, 0x63f, 0xafe0, 0xafe1, 0xafe2, 0xafe3,
	0xb2, 0xb3, 0x64, 0x92, 0xcf8, 0xcf9, 0xcfc, 0xcfe, 0xf4, 0xe9, 0x80, 0x60, 0x1234,
};

/* Lines that no chip of ours drives, and the two that share GSI 11. */
static const u8 rig_free_gsi[] = { 1, 5, 6, 7, 10, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25 };

static inline struct rig_op rig_random(u64 *s)
{
	static const u8 weight[OP_KINDS] = { 12, 20, 8, 12, 5, 8, 8, 2, 6, 10, 3, 1, 2, 1, 1 };
	static const u8 lens[] = { 1, 1, 1, 2, 4, 8 };
	struct rig_op op = { .cpu = rig_rnd(s) % RIG_CPUS, .val = rig_value(s) };
	unsigned w = rig_rnd(s) % 99, k = 0;

	while (w >= weight[k])
		w -= weight[k++];
	op.kind = k;
	switch (op.kind) {
	case OP_IN: case OP_OUT:
		w = rig_rnd(s) % (ARRAY_SIZE(rig_ports) + 16);
		op.at = w < ARRAY_SIZE(rig_ports) ? rig_ports[w] :
			(w & 1 ? 0x3f8 : 0x2f8) + (w - ARRAY_SIZE(rig_ports)) / 2;
		op.len = lens[rig_rnd(s) % 5];
		break;
	case OP_LOAD: case OP_STORE:
		op.len = lens[rig_rnd(s) % 6];
		if (rig_rnd(s) % 4)
			op.len = 4;
		switch (rig_rnd(s) % 8) {
		case 0: case 1: op.at = IOAPIC_BASE; break;
		case 2: case 3: op.at = IOAPIC_BASE + 0x10; break;
		case 4: op.at = 0xfed40000 + rig_rnd(s) % 0x40 * 16; break;
		case 5: op.at = 0xfee00000 + rig_rnd(s) % 0x1000; break;
		default: op.at = 0xfee00000 + rig_rnd(s) % 0x40 * 16; break;
		}
		/* Mostly things that an APIC is told: enabled, small vectors. */
		if (op.at == 0xfee000f0 && rig_rnd(s) % 4)
			op.val = 0x1ff;
		break;
	case OP_RDMSR: case OP_WRMSR:
		switch (rig_rnd(s) % 8) {
		case 0:
			op.at = MSR_APIC_BASE;
			op.val = (rig_rnd(s) % 4 ? 0xfee00000 : 0xfed40000) |
				 (rig_rnd(s) % 8 ? 0x800 : 0) | (rig_rnd(s) % 3 ? 0 : 0x400);
			break;
		case 1: op.at = MSR_TSC_DEADLINE; break;
		case 2:
			op.at = MSR_KVM_PV_EOI;
			op.val = rig_rnd(s) % 4 ? (RIG_PV_PAGE + 4 * op.cpu) | 1 : op.val;
			break;
		default: op.at = MSR_X2APIC + rig_rnd(s) % 0x44; break;
		}
		break;
	case OP_LINE: op.at = rig_free_gsi[rig_rnd(s) % ARRAY_SIZE(rig_free_gsi)]; break;
	case OP_TIME: op.val = rig_rnd(s) >> (30 + rig_rnd(s) % 34); break;
	case OP_TYPE: op.at = rig_rnd(s) % 2; op.len = rig_rnd(s) % 20; break;
	case OP_BUTTON: op.at = rig_rnd(s) % 18; break;
	case OP_MSI: op.at = 0xfee00000 | (rig_rnd(s) & 0xffffc); break;
	case OP_RARE: op.at = rig_rnd(s); break;
	}
	return op;
}

/* Do it; returns what there was to see. */
static inline u64 rig_do(struct rig *r, const struct rig_op *op)
{
	struct machine *m = r->m;
	struct vcpu *v = m->cpu[op->cpu];
	u8 text[20];
	u64 val = 0;
	size_t n;

	switch (op->kind) {
	case OP_IN: return bus_read(m->ports, v, op->at, op->len);
	case OP_OUT: bus_write(m->ports, v, op->at, op->val, op->len); return 0;
	case OP_LOAD: return bus_read(m->mmio, v, op->at, op->len);
	case OP_STORE: bus_write(m->mmio, v, op->at, op->val, op->len); return 0;
	case OP_RDMSR:
		n = v->intc_ops->rdmsr(v->intc, op->at, &val);
		return val ^ (u64)n << 32;
	case OP_WRMSR: return v->intc_ops->wrmsr(v->intc, op->at, op->val);
	case OP_ACK:
		val = v->intc_ops->pending(v->intc);
		return val ? (u64)v->intc_ops->ack(v->intc) : UINT64_MAX;
	case OP_TPR:
		v->intc_ops->set_tpr(v->intc, op->val & 15);
		return v->intc_ops->get_tpr(v->intc) | v->intc_ops->sipi_vector(v->intc) << 8;
	case OP_LINE:
		if (op->at < 24)
			irq_set(gsi_line(r->gsi, op->at), op->val & 1);
		else
			irq_set(r->shared[op->at - 24], op->val & 1);
		return 0;
	case OP_TIME: pass(m, op->val); return 0;
	case OP_TYPE:
		n = MIN(op->len, chardev_room(r->be[op->at]));
		memset(text, (int)op->val, sizeof(text));
		chardev_mem_input(r->be[op->at], text, n, NULL);
		return n;
	case OP_BUTTON:
		if (op->at < 16)
			acpi_pm_gpe(r->pm, op->at);
		else if (op->at == 16)
			acpi_pm_power_button(r->pm);
		else
			acpi_pm_sleep_button(r->pm);
		return 0;
	case OP_MSI: m->msi.send(m->msi.chip, op->at, (u32)op->val); return 0;
	case OP_TSC:
		v->tsc_offset = op->val;
		v->intc_ops->tsc_changed(v->intc);
		return 0;
	default:
		n = op->at >> 8 & 1;
		switch (op->at % 6) {
		case 0:
			r->stuck[n] = op->val & 1;
			chardev_mem_stall(r->be[n], r->stuck[n]);
			return 0;
		case 1: chardev_event(r->be[n], (enum chardev_event)(op->val % 3)); return 0;
		case 2: irq_set(apic_bus_lint1(r->apics), op->val & 1); return 0;
		case 3: v->intc_ops->init(v->intc); return 0;
		case 4: apic_bus_virtual_wire(r->apics); return 0;
		default:
			n = op->val % r->n;
			r->d[n].cls->reset(r->d[n].dev);
			return 0;
		}
	}
}

static inline u64 rig_requests(struct rig *r)
{
	u64 v = 0;

	for (unsigned i = 0; i < RIG_CPUS; i++)
		v = v << 16 | take_requests(r->m->cpu[i]);
	return v;
}

static inline void rig_print(const struct rig_op *op)
{
	static const char *const names[OP_KINDS] = {
		"in", "out", "load", "store", "rdmsr", "wrmsr", "ack", "tpr", "line", "time", "type",
		"button", "msi", "tsc", "rare",
	};

	fprintf(stderr, "%s cpu=%u at=%#llx len=%u val=%#llx\n", names[op->kind], op->cpu,
		(unsigned long long)op->at, op->len, (unsigned long long)op->val);
}

/* One round: @n operations on a fresh rig; a copy of it made by way of the saved state; then @n on
 * both, which must stay alike. Returns false when they do not (says where). */
static inline bool rig_round(u64 seed, unsigned n)
{
	struct rig *a = rig_new(), *b = rig_new();
	u64 s = seed;
	bool same = true;

	for (unsigned i = 0; i < n; i++) {
		struct rig_op op = rig_random(&s);

		rig_do(a, &op);
	}
	rig_copy(a, b);
	for (unsigned i = 0; same && i < n; i++) {
		struct rig_op op = rig_random(&s);
		u64 va = rig_do(a, &op), vb = rig_do(b, &op), ra = rig_requests(a), rb = rig_requests(b);

		if (va == vb && ra == rb)
			continue;
		fprintf(stderr, "seed %llu, operation %u: %#llx / %#llx here, %#llx / %#llx in the copy: ",
			(unsigned long long)seed, i, (unsigned long long)va, (unsigned long long)ra,
			(unsigned long long)vb, (unsigned long long)rb);
		rig_print(&op);
		same = false;
	}
	for (unsigned i = 0; same && i < a->n; i++) {
		struct stream sa = { 0 }, sb = { 0 };

		dev_save(a->d[i].cls, a->d[i].dev, &sa);
		dev_save(b->d[i].cls, b->d[i].dev, &sb);
		if (sa.n != sb.n || (sa.n && memcmp(sa.p, sb.p, sa.n))) {
			fprintf(stderr, "seed %llu: %s differs in the end\n", (unsigned long long)seed,
				a->d[i].cls->name);
			same = false;
		}
		free(sa.p);
		free(sb.p);
	}
	rig_free(a);
	rig_free(b);
	return same;
}

/* A saved state with bytes changed at random is refused, or is a state that can be lived with. */
static inline void rig_hostile_round(u64 seed, unsigned n)
{
	struct rig *a = rig_new();
	u64 s = seed;

	for (unsigned i = 0; i < n; i++) {
		struct rig_op op = rig_random(&s);

		rig_do(a, &op);
	}
	for (unsigned i = 0; i < a->n; i++) {
		struct stream st = { 0 };
		struct err e = { 0 };

		dev_save(a->d[i].cls, a->d[i].dev, &st);
		for (unsigned k = rig_rnd(&s) % 6; st.n && k; k--)
			st.p[rig_rnd(&s) % st.n] = rig_value(&s);
		if (dev_load(a->d[i].cls, a->d[i].dev, &st, &e))
			a->d[i].cls->reset(a->d[i].dev);	/* refused: nobody uses it */
		free(st.p);
	}
	for (unsigned i = 0; i < n; i++) {
		struct rig_op op = rig_random(&s);

		rig_do(a, &op);
	}
	rig_free(a);
}

#endif
