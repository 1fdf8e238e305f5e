/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpu_state.c - the declaration of a vCPU's state and its values after power-on.
 * After: Intel SDM vol. 3, table 9-1 ("Following Power-up/Reset"); vol. 1, 13.4 (XSAVE area).
 * What the ranges cannot say (which bits of a control register the CPU model has) the engine
 * checks when the state is set. */
#include "vm/cpu_state.h"
#include "base/bytes.h"
#include <string.h>

static const struct state_field seg_fields[] = {
	STATE_U16(struct cpu_seg, sel, 0, 0xffff),
	STATE_U16(struct cpu_seg, attr, 0, 0xffff),
	STATE_U32(struct cpu_seg, limit, 0, UINT32_MAX),
	STATE_U64(struct cpu_seg, base),
	STATE_END
};

#define S struct cpu_state
const struct state_field cpu_state_fields[] = {
	STATE_U64_ARRAY(S, gpr),
	STATE_U64(S, rip),
	STATE_F_(S, rflags, ST_U64, 1, 8, 0, 0x3fffff, NULL),
	STATE_STRUCT_ARRAY(S, seg, seg_fields),
	STATE_U64(S, gdtr.base),
	STATE_U16(S, gdtr.limit, 0, 0xffff),
	STATE_U64(S, idtr.base),
	STATE_U16(S, idtr.limit, 0, 0xffff),
	STATE_F_(S, cr0, ST_U64, 1, 8, 0, UINT32_MAX, NULL),
	STATE_U64(S, cr2),
	STATE_U64(S, cr3),
	STATE_U64(S, cr4),
	STATE_F_(S, cr8, ST_U64, 1, 8, 0, 15, NULL),
	STATE_U64(S, xcr0),
	STATE_U64_ARRAY(S, dr),
	STATE_U64(S, efer),
	STATE_U64(S, star),
	STATE_U64(S, lstar),
	STATE_U64(S, cstar),
	STATE_U64(S, sfmask),
	STATE_U64(S, kernel_gs_base),
	STATE_U64(S, sysenter_cs),
	STATE_U64(S, sysenter_esp),
	STATE_U64(S, sysenter_eip),
	STATE_U64(S, pat),
	STATE_U64(S, misc_enable),
	STATE_U64(S, tsc_aux),
	STATE_U64(S, xss),
	STATE_U64(S, spec_ctrl),
	STATE_U64(S, mtrr_def),
	STATE_U64_ARRAY(S, mtrr_fixed),
	STATE_U64_ARRAY(S, mtrr_base),
	STATE_U64_ARRAY(S, mtrr_mask),
	STATE_U64(S, tsc_offset),
	STATE_U64(S, tsc_adjust),
	STATE_U64(S, kvm_system_time),
	STATE_U64(S, kvm_wall_clock),
	STATE_U64(S, kvm_steal_time),
	STATE_U64(S, kvm_poll_control),
	STATE_U64(S, kvm_async_pf),
	STATE_U64(S, smbase),
	STATE_U64(S, mcg_ctl),
	STATE_U64_ARRAY(S, mc),
	STATE_BYTES(S, xsave),
	STATE_U8(S, activity, CPU_RUNNING, CPU_WAIT_SIPI),
	STATE_BOOL(S, sti_shadow),
	STATE_BOOL(S, movss_shadow),
	STATE_BOOL(S, nmi_blocked),
	STATE_U8(S, nmi_pending, 0, 2),
	STATE_BOOL(S, pv_kicked),
	STATE_U32(S, db_pending, 0, 0xffff),
	STATE_BOOL(S, event_pending),
	STATE_BOOL(S, event_has_error),
	STATE_BOOL(S, event_soft),
	STATE_U8(S, event_vector, 0, 255),
	STATE_U32(S, event_error, 0, UINT32_MAX),
	STATE_END
};
#undef S

/* Offsets in the XSAVE area's legacy part. */
enum { XS_FCW = 0, XS_FTW = 4, XS_MXCSR = 24, XS_MXCSR_MASK = 28, XS_BV = 512 };

#define ATTR_CODE (SEG_A_P | SEG_A_S | SEG_A_CODE | SEG_A_RW | SEG_A_ACCESSED)
#define ATTR_DATA (SEG_A_P | SEG_A_S | SEG_A_RW | SEG_A_ACCESSED)
#define ATTR_LDT (SEG_A_P | 2)
#define ATTR_TSS_BUSY (SEG_A_P | 11)

void cpu_state_reset(struct cpu_state *s)
{
	memset(s, 0, sizeof(*s));
	s->rip = 0xfff0;
	s->rflags = FL_1;
	s->gpr[RDX] = 0x600;		/* family 6; the machine puts the model's signature here */
	for (unsigned i = 0; i < SEG_N; i++)
		s->seg[i] = (struct cpu_seg){ .attr = ATTR_DATA, .limit = 0xffff };
	s->seg[SEG_CS] = (struct cpu_seg){ 0xf000, ATTR_CODE, 0xffff, 0xffff0000u };
	s->seg[SEG_LDTR].attr = ATTR_LDT;
	s->seg[SEG_TR].attr = ATTR_TSS_BUSY;
	s->gdtr.limit = s->idtr.limit = 0xffff;
	s->cr0 = CR0_CD | CR0_NW | CR0_ET;
	s->dr[6] = 0xffff0ff0u;
	s->dr[7] = 0x400;
	s->xcr0 = 1;			/* x87 cannot be off */
	s->pat = 0x0007040600070406ull;
	s->misc_enable = 1;		/* fast strings */
	s->kvm_poll_control = 1;
	s->smbase = 0x30000;
	put_le16(s->xsave + XS_FCW, 0x40);
	s->xsave[XS_FTW] = 0xff;	/* all valid: +0.0 */
	put_le32(s->xsave + XS_MXCSR, 0x1f80);
	put_le32(s->xsave + XS_MXCSR_MASK, 0xffff);
	put_le64(s->xsave + XS_BV, 3);	/* x87 and SSE parts are not in their initial form */
	s->activity = CPU_RUNNING;
}
