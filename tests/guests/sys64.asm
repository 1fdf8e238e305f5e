; SPDX-License-Identifier: GPL-2.0-or-later
; sys64.asm - long mode rules that user mode cannot reach, each with the answer of the manual.
; After: Intel SDM vol. 3 ch. 4-6, 17; AMD APM vol. 2 ch. 5, 8, 13. Prints TAP on COM1.
;
;	TRYTO .label			; from here to the label a fault is caught ...
;	  instruction(s)
; .label: EXPECT "name", vector, error [, cr2]	; ... and compared; vector -1: none may come
; A fault resumes at the label with the stack as at TRYTO.

%define BITS64 1
%include "tests/guests/sys.inc"

%define NONE -1
%define DE 0
%define DB 1
%define BP 3
%define UD 6
%define DF 8
%define TS 10
%define NP 11
%define SS_ 12
%define GP 13
%define PF 14
%define AC_ 17

%define CODE64 0x08
%define DATA 0x10
%define USER32 0x18		; 32-bit code, DPL 3
%define UDATA 0x20		; data, DPL 3
%define UCODE64 0x28
%define NPDATA 0x30		; data, not present
%define CODE16 0x38
%define TSS_SEL 0x40		; 16 bytes
%define RODATA 0x50		; data, read-only

%define WIN 0x40000000		; test window: PTEs in `pt`
%define NONCANON 0x0000900000000000

section .text align=4
bits 32
	dd 0x1badb002, 0, -(0x1badb002)
global _start
_start:
	cli
	mov esp, stack_top
	; Identity map 1 GiB with 2 MiB pages (supervisor), and a window of 4 KiB pages at 1 GiB.
	mov edi, pml4
	mov dword [edi], pdpt + 7
	mov edi, pdpt
	mov dword [edi], pd + 7
	mov dword [edi + 8], pd2 + 7
	mov dword [edi + 24], pd_apic + 3
	mov dword [pd2], pt + 7
	mov dword [pd_apic + 8 * 0x1f7], 0xfee0009b	; 2 MiB, uncached, for the APIC
	mov edi, pd
	mov eax, 0x83
	mov ecx, 512
.pd:	mov [edi], eax
	add edi, 8
	add eax, 0x200000
	loop .pd
	mov eax, cr4
	or eax, 0x6a0			; PAE, PGE, OSFXSR, OSXMMEXCPT
	mov cr4, eax
	mov eax, pml4
	mov cr3, eax
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x901			; LME, NXE, SCE
	wrmsr
	mov eax, cr0
	and eax, 0x9ffffff3
	or eax, 0x80010003		; PG, WP, MP, PE
	mov cr0, eax
	; The TSS descriptor's base.
	mov eax, tss
	mov [gdt + TSS_SEL + 2], ax
	shr eax, 16
	mov [gdt + TSS_SEL + 4], al
	mov [gdt + TSS_SEL + 7], ah
	lgdt [gdtr32]
	jmp CODE64:enter64

bits 64
default rel
; The code between TRYTO label and that label is watched.
%macro TRYTO 1
	mov qword [got_vec], -1
	mov qword [got_err], 0
	mov qword [got_cr2], 0
	mov [try_rsp], rsp
	lea rax, [%1]
	mov [try_done], rax
	xor eax, eax
%endmacro

%macro EXPECT 3-4 0
	mov qword [try_done], 0
	mov rdi, %2
	mov rsi, %3
	mov rdx, %4
	mov rcx, %%name
	call expect
	[section .rodata]
%%name:	db %1, 0
	__SECT__
%endmacro

; CHECK "name": ok when ZF is set.
%macro CHECK 1
	setz al
	mov rcx, %%name
	call check
	[section .rodata]
%%name:	db %1, 0
	__SECT__
%endmacro

; PTE n, value (low), high bits: sets the window's page n and forgets its translation.
%macro PTE 2-3 0
	mov rax, (%3 << 32) + %2
	mov [pt + 8 * %1], rax
	mov rax, WIN + 0x1000 * %1
	invlpg [rax]
%endmacro

enter64:
	mov ax, DATA
	mov ds, ax
	mov es, ax
	mov ss, ax
	xor eax, eax
	mov fs, ax
	mov gs, ax
	; IDT: 32 exceptions to their stubs, the rest to `irq`.
	lea rbx, [idt]
	lea rsi, [stubs]
	xor ecx, ecx
.idt:	mov rax, rsi
	cmp ecx, 32
	jb .set
	lea rax, [irq]
.set:	mov [rbx], ax
	mov word [rbx + 2], CODE64
	mov word [rbx + 4], 0x8e00
	shr rax, 16
	mov [rbx + 6], ax
	shr rax, 16
	mov [rbx + 8], eax
	add rbx, 16
	add rsi, 16
	inc ecx
	cmp ecx, 256
	jb .idt
	mov byte [idt + DF * 16 + 4], 1		; double and stack faults on IST1
	mov byte [idt + SS_ * 16 + 4], 1
	lidt [idtr64]
	mov rax, stack_top - 4096
	mov [tss + 4], rax			; RSP0
	mov rax, ist_top
	mov [tss + 36], rax			; IST1
	mov ax, TSS_SEL
	ltr ax

; ---- paging ----
	PTE 0, 0
	TRYTO .p1
	mov rax, [abs WIN]
.p1:	EXPECT "page fault: read of a page not present", PF, 0, WIN
	TRYTO .p2
	mov [abs WIN + 8], rax
.p2:	EXPECT "page fault: write to a page not present", PF, 2, WIN + 8
	PTE 1, frame + 1
	TRYTO .p3
	mov rbx, WIN + 0x1000
	mov [rbx], rax
.p3:	EXPECT "page fault: supervisor write to a read-only page, CR0.WP=1", PF, 3, WIN + 0x1000
	mov rax, cr0
	btr rax, 16
	mov cr0, rax
	TRYTO .p4
	mov rbx, WIN + 0x1000
	mov [rbx], rax
.p4:	EXPECT "supervisor may write a read-only page when CR0.WP=0", NONE, 0
	mov rax, cr0
	or rax, 0x10000
	mov cr0, rax
	mov rax, [pt + 8]
	and eax, 0x60
	cmp eax, 0x60
	CHECK "that write set A and D"
	PTE 2, frame + 3
	mov rbx, WIN + 0x2000
	mov rax, [rbx]
	mov rax, [pt + 16]
	and eax, 0x60
	cmp eax, 0x20
	CHECK "a read sets A and not D"
	mov [rbx], rax
	mov rax, [pt + 16]
	and eax, 0x60
	cmp eax, 0x60
	CHECK "a write sets D"
	PTE 2, frame + 3
	mov rbx, WIN + 0x2ffc
	TRYTO .p5
	mov [rbx], rax			; its second half lies in page 3: not present
.p5:	EXPECT "a store across pages faults for the second one", PF, 2, WIN + 0x3000
	mov rax, [pt + 16]
	and eax, 0x40
	cmp eax, 0x40
	mov dword [frame + 0xffc], 0x55aa55aa
	mov rbx, WIN + 0x2ffc
	TRYTO .p6
	mov qword [rbx], -1
.p6:	EXPECT "again", PF, 2, WIN + 0x3000
	cmp dword [frame + 0xffc], 0x55aa55aa
	CHECK "and nothing of it was stored"
	PTE 4, frame + 3, 0x80000000
	TRYTO .p7
	mov rbx, WIN + 0x4000
	call rbx
.p7:	EXPECT "page fault: fetch from a no-execute page", PF, 0x11, WIN + 0x4000
	PTE 5, frame + 3, 0x00080000	; bit 51: beyond the physical width of any model
	TRYTO .p8
	mov rax, [abs WIN + 0x5000]
.p8:	EXPECT "page fault: reserved bit, read: P=1", PF, 9, WIN + 0x5000
	TRYTO .p9
	mov [abs WIN + 0x5000], rax
.p9:	EXPECT "page fault: reserved bit, write: P=1", PF, 0xb, WIN + 0x5000

; ---- canonical addresses ----
	mov rbx, NONCANON
	TRYTO .c1
	mov rax, [rbx]
.c1:	EXPECT "load from a non-canonical address", GP, 0
	mov rbx, NONCANON
	TRYTO .c2
	mov rcx, rsp
	mov rsp, rbx
	push rax
.c2:	EXPECT "push to a non-canonical stack", SS_, 0
	mov rbp, NONCANON
	TRYTO .c3
	mov rax, [rbp]
.c3:	EXPECT "load through RBP non-canonical", SS_, 0
	mov rbx, NONCANON
	TRYTO .c4
	jmp rbx
.c4:	EXPECT "jump to a non-canonical address", GP, 0
	mov rbx, 0x00007ffffffffffc
	TRYTO .c5
	mov rax, [rbx]
.c5:	EXPECT "load that runs into the hole", GP, 0
	TRYTO .c6
	lgdt [bad_dtr]
.c6:	lgdt [gdtr32]		; for an engine that let it through
	EXPECT "LGDT with a non-canonical base", GP, 0
	TRYTO .c7
	lidt [bad_dtr]
.c7:	lidt [idtr64]
	EXPECT "LIDT with a non-canonical base", GP, 0
%macro BADMSR 2
	mov ecx, %1
	xor eax, eax
	mov edx, 0x00009000
	TRYTO %%d
	mov edx, 0x00009000
	wrmsr
%%d:	EXPECT {%2, " refuses a non-canonical address"}, GP, 0
%endmacro
	BADMSR 0xc0000082, "LSTAR"
	BADMSR 0xc0000083, "CSTAR"
	BADMSR 0xc0000100, "FS.base"
	BADMSR 0xc0000101, "GS.base"
	BADMSR 0xc0000102, "KERNEL_GS_BASE"
	BADMSR 0x175, "SYSENTER_ESP"
	BADMSR 0x176, "SYSENTER_EIP"
	mov ecx, 0x12345678
	TRYTO .m1
	rdmsr
.m1:	EXPECT "RDMSR of an absent MSR", GP, 0
	TRYTO .m2
	mov ecx, 0x12345678
	wrmsr
.m2:	EXPECT "WRMSR to an absent MSR", GP, 0

; ---- the IDT ----
	mov byte [idt + 0x80 * 16 + 5], 0x0e
	TRYTO .i1
	int 0x80
.i1:	EXPECT "INT n through a gate not present: error 8n+2", NP, 0x80 * 8 + 2
	mov byte [idt + UD * 16 + 5], 0x0e
	TRYTO .i2
	ud2
.i2:	EXPECT "fault through a gate not present: error 8n+3", NP, UD * 8 + 3
	mov byte [idt + UD * 16 + 5], 0x8e
	mov byte [idt + 0x81 * 16 + 5], 0x85	; a task gate does not exist in long mode
	TRYTO .i3
	int 0x81
.i3:	EXPECT "INT n through an entry that is no gate: error 8n+2", GP, 0x81 * 8 + 2
	mov word [idt + 0x82 * 16 + 2], DATA
	TRYTO .i4
	int 0x82
.i4:	EXPECT "gate to a data segment: error names the segment", GP, DATA
	mov word [idt + 0x83 * 16 + 2], 0
	TRYTO .i5
	int 0x83
.i5:	EXPECT "gate to a null segment: error 0", GP, 0
	lidt [idtr_short]
	TRYTO .i6
	int 0x90
.i6:	EXPECT "INT n beyond the IDT: error 8n+2", GP, 0x90 * 8 + 2
	lidt [idtr64]
	mov byte [idt + GP * 16 + 5], 0x0e	; #GP whose delivery faults: #NP after #GP = #DF
	TRYTO .i7
	mov rbx, NONCANON
	mov rax, [rbx]
.i7:	EXPECT "contributory fault in the delivery of a contributory fault: double fault", DF, 0
	mov byte [idt + GP * 16 + 5], 0x8e
	mov rax, [idt + 0x84 * 16 + 8]
	mov dword [idt + 0x84 * 16 + 8], 0x9000
	TRYTO .i8
	int 0x84
.i8:	EXPECT "gate with a non-canonical offset", GP, 0

; ---- segments ----
	xor eax, eax
	lldt ax
	TRYTO .s1
	mov ax, DATA + 1
	mov ss, ax
.s1:	EXPECT "MOV SS with RPL other than CPL", GP, DATA
	TRYTO .s2
	mov ax, UDATA
	mov ss, ax
.s2:	EXPECT "MOV SS with DPL other than CPL", GP, UDATA
	TRYTO .s3
	xor eax, eax
	mov ss, ax
.s3:	EXPECT "null SS at CPL 0 in 64-bit mode is allowed", NONE, 0
	mov ax, DATA
	mov ss, ax
	TRYTO .s4
	mov ax, RODATA
	mov ss, ax
.s4:	EXPECT "MOV SS with a read-only segment", GP, RODATA
	TRYTO .s5
	mov ax, NPDATA
	mov ds, ax
.s5:	EXPECT "MOV DS with a segment not present", NP, NPDATA
	TRYTO .s6
	mov ax, NPDATA
	mov ss, ax
.s6:	EXPECT "MOV SS with a segment not present", SS_, NPDATA
	TRYTO .s7
	mov ax, 0x1000
	mov ds, ax
.s7:	EXPECT "selector beyond the GDT", GP, 0x1000
	TRYTO .s8
	mov ax, 0x14
	mov ds, ax
.s8:	EXPECT "LDT selector without an LDT", GP, 0x14
	TRYTO .s9
	mov ax, DATA
	ltr ax
.s9:	EXPECT "LTR of a data segment", GP, DATA
	TRYTO .s10
	mov ax, TSS_SEL
	ltr ax
.s10:	EXPECT "LTR of a busy TSS", GP, TSS_SEL
	TRYTO .s11
	xor eax, eax
	ltr ax
.s11:	EXPECT "LTR of null", GP, 0
	TRYTO .s12
	jmp far dword [fp_data]
.s12:	EXPECT "far jump to a data segment", GP, DATA
	TRYTO .s13
	jmp far dword [fp_user]
.s13:	EXPECT "far jump to a code segment of another ring", GP, UCODE64

; ---- control registers ----
	TRYTO .k1
	mov rax, cr4
	and rax, ~0x20
	mov cr4, rax
.k1:	EXPECT "clearing CR4.PAE in long mode", GP, 0
	TRYTO .k2
	mov rax, cr0
	btr rax, 0
	mov cr0, rax
.k2:	EXPECT "clearing CR0.PE while paging", GP, 0
	TRYTO .k3
	mov rax, cr0
	bts rax, 29
	btr rax, 30
	mov cr0, rax
.k3:	EXPECT "CR0.NW without CD", GP, 0
	TRYTO .k4
	mov rax, cr0
	mov rbx, 1 << 40
	or rax, rbx
	mov cr0, rax
.k4:	EXPECT "CR0 bit 40", GP, 0
	TRYTO .k5
	mov rax, cr4
	mov rbx, 1 << 31
	or rax, rbx
	mov cr4, rax
.k5:	EXPECT "CR4 bit 31", GP, 0
	TRYTO .k6
	mov rax, 0x10
	mov cr8, rax
.k6:	EXPECT "CR8 bit 4", GP, 0
	TRYTO .k7
	mov ecx, 0xc0000080
	rdmsr
	and eax, ~0x100
	wrmsr
.k7:	EXPECT "clearing EFER.LME while paging", GP, 0
	TRYTO .k8
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x80000
	wrmsr
.k8:	EXPECT "a reserved bit of EFER", GP, 0

; ---- SMEP and SMAP, where the CPU has them ----
	mov eax, 7
	xor ecx, ecx
	cpuid
	mov [feat7], ebx
	test ebx, 1 << 7
	jz .nosmep
	PTE 6, frame2 + 7
	mov byte [frame2], 0xc3		; RET
	mov rax, cr4
	or rax, 1 << 20
	mov cr4, rax
	TRYTO .e1
	mov rbx, WIN + 0x6000
	call rbx
.e1:	EXPECT "SMEP: supervisor fetch from a user page", PF, 0x11, WIN + 0x6000
	mov rax, cr4
	and rax, ~(1 << 20)
	mov cr4, rax
	TRYTO .e2
	mov rbx, WIN + 0x6000
	call rbx
.e2:	EXPECT "and without SMEP it runs", NONE, 0
.nosmep:
	test dword [feat7], 1 << 20
	jz .nosmap
	PTE 6, frame2 + 7
	mov rax, cr4
	or rax, 1 << 21
	mov cr4, rax
	TRYTO .a1
	mov rbx, WIN + 0x6000
	mov al, [rbx]
.a1:	EXPECT "SMAP: supervisor read of a user page", PF, 1, WIN + 0x6000
	TRYTO .a2
	mov rbx, WIN + 0x6000
	mov [rbx + 8], al
.a2:	EXPECT "SMAP: supervisor write to a user page", PF, 3, WIN + 0x6008
	TRYTO .a3
	stac
	mov rbx, WIN + 0x6000
	mov al, [rbx]
	mov [rbx + 8], al
	clac
.a3:	EXPECT "SMAP: STAC opens the door", NONE, 0
	TRYTO .a4
	mov rbx, WIN + 0x6000
	mov al, [rbx]
.a4:	EXPECT "SMAP: CLAC closes it again", PF, 1, WIN + 0x6000
	mov rax, cr4
	and rax, ~(1 << 21)
	mov cr4, rax
.nosmap:

; ---- single step, shadows, debug registers ----
	mov qword [db_count], 0
	pushfq
	or dword [rsp], 0x100
	popfq				; TF is set: the trap comes after the next instruction
	nop
	nop
	pushfq
	and dword [rsp], ~0x100
	popfq
	; nop, nop, pushfq, and, popfq each trapped (TF was set when each began)
	cmp qword [db_count], 5
	CHECK "single step traps after each instruction that began with TF"
	mov rax, dr6
	test eax, 0x4000
	setnz al
	cmp al, 1
	CHECK "and DR6.BS says so"
	mov rax, 0xffff0ff0
	mov dr6, rax
	mov qword [db_count], 0
	mov bx, ss
	pushfq
	or dword [rsp], 0x100
	popfq
	mov ss, bx			; its trap is held off ...
	nop				; ... until after this one
	pushfq
	and dword [rsp], ~0x100
	popfq
	cmp qword [db_count], 4
	CHECK "MOV SS holds the single-step trap off for one instruction"
	lea rax, [.bp]
	mov dr0, rax
	mov eax, 0x401
	mov dr7, rax
	mov qword [db_count], 0
	mov qword [db_rip], 0
.bp:	nop
	lea rax, [.bp]
	cmp [db_rip], rax
	CHECK "instruction breakpoint: #DB before the instruction"
	cmp qword [db_count], 1
	CHECK "RF lets it go on"
	lea rax, [watched]
	mov dr1, rax
	mov eax, 0x00d00408		; DR1: write, 4 bytes, global
	mov dr7, rax
	mov qword [db_count], 0
	mov eax, [watched]
	cmp qword [db_count], 0
	CHECK "write watchpoint: a read does not hit"
	mov dword [watched], 7
.w1:	lea rax, [.w1]
	cmp [db_rip], rax
	CHECK "write watchpoint: trap after the store"
	mov rax, dr6
	and eax, 0xf
	cmp eax, 2
	CHECK "DR6 names DR1"
	mov eax, 0x2400			; GD
	mov dr7, rax
	TRYTO .g1
	mov rax, dr0
.g1:	EXPECT "DR7.GD: access to a debug register", DB, 0
	xor eax, eax
	mov dr7, rax
	mov rax, 0x100000000
	TRYTO .g2
	mov rax, 0x100000000
	mov dr7, rax
.g2:	EXPECT "upper half of DR7", GP, 0

; ---- alignment and odd operands ----
	TRYTO .o1
	movaps xmm0, [frame + 8]
.o1:	EXPECT "MOVAPS unaligned", GP, 0
	TRYTO .o2
	lock cmpxchg16b [frame + 8]
.o2:	EXPECT "CMPXCHG16B unaligned", GP, 0
	TRYTO .o3
	db 0xf0, 0x90			; LOCK NOP
.o3:	EXPECT "LOCK NOP", UD, 0
	TRYTO .o4
	times 14 db 0x66
	db 0x31, 0xc0			; 16 bytes
.o4:	EXPECT "an instruction of 16 bytes", GP, 0
	TRYTO .o5
	db 0x06				; PUSH ES
.o5:	EXPECT "PUSH ES in 64-bit mode", UD, 0

; ---- user mode ----
	PTE 8, ucode + 7
	PTE 9, frame2 + 7
	PTE 10, frame + 3
	PTE 11, ucode_ro + 5
%macro USER 4		; code offset label, name, vector, error
	TRYTO %%done
	push UDATA + 3
	push WIN + 0x9ff0
	push 2
	push UCODE64 + 3
	push WIN + 0x8000 + (%1 - ucode)
	iretq
%%done:	EXPECT %2, %3, %4
%endmacro
	mov word [tss + 102], 0xdfff
	USER u_read, "user read of a supervisor page", PF, 5
	USER u_write, "user write to a supervisor page", PF, 7
	USER u_ro, "user write to a read-only user page", PF, 7
	USER u_cli, "CLI at CPL 3", GP, 0
	USER u_hlt, "HLT at CPL 3", GP, 0
	USER u_cr, "MOV from CR0 at CPL 3", GP, 0
	USER u_out, "OUT outside the I/O bitmap's permission", GP, 0
	USER u_int, "INT through a gate of DPL 0", GP, 0x80 * 8 + 2
	mov word [tss + 102], 104
	mov byte [tss + 104 + 0x80 / 8], 0xfe
	USER u_out2, "OUT to a port that the bitmap allows, then UD2", UD, 0
	USER u_out16, "OUT of a word whose second port is closed", GP, 0
	mov rax, cr0
	or rax, 0x40000
	mov cr0, rax
	USER u_ac, "alignment check at CPL 3", AC_, 0
	USER u_push, "user stack in a page not present", PF, 6

; ---- SYSCALL and SYSRET ----
	mov ecx, 0xc0000081
	xor eax, eax
	mov edx, ((USER32 | 3) << 16) | CODE64
	wrmsr
	mov ecx, 0xc0000082
	lea rax, [sys_entry]
	mov rdx, rax
	shr rdx, 32
	wrmsr
	mov ecx, 0xc0000084
	mov eax, 0x47700
	xor edx, edx
	wrmsr
	mov qword [sys_seen], 0
	USER u_sys, "SYSCALL enters at LSTAR and SYSRET returns to CPL 3", UD, 0
	mov rax, [sys_seen]
	cmp rax, 1
	CHECK "SYSCALL: CPL 0, RCX is the return address"
	mov rax, [sys_flags]
	and eax, 0x47700
	CHECK "SYSCALL: SFMASK cleared its flags"

; ---- interrupts: local APIC timer, self-IPI, the STI shadow, TPR ----
	mov ecx, 0x1b
	rdmsr
	mov rbx, 0xfee00000
	mov dword [rbx + 0xf0], 0x1ff		; software enable, spurious 0xff
	mov dword [rbx + 0x80], 0
	mov qword [irqs], 0
	sti
	mov dword [rbx + 0x300], 0x40040	; self, fixed, vector 0x40
	mov ecx, 1000000
.wi:	cmp qword [irqs], 0
	jne .wid
	pause
	loop .wi
.wid:	cmp qword [irqs], 1
	CHECK "self-IPI arrives"
	cli
	mov qword [irqs], 0
	mov dword [rbx + 0x300], 0x40040
	mov ecx, 1000
.wj:	pause
	loop .wj
	cmp qword [irqs], 0
	CHECK "not while IF is clear"
	lea rdx, [.sh]
	sti
	nop					; in the shadow of STI
.sh:	nop
	cli
	cmp [irq_rip], rdx
	CHECK "it comes after the instruction that follows STI"
	mov qword [irqs], 0
	mov eax, 5
	mov cr8, rax
	mov dword [rbx + 0x300], 0x40040	; priority 4 < 5
	sti
	mov ecx, 1000
.wk:	pause
	loop .wk
	cmp qword [irqs], 0
	CHECK "CR8 holds lower priorities back"
	xor eax, eax
	mov cr8, rax
	nop
	cmp qword [irqs], 1
	CHECK "and lets them through again"
	mov qword [irqs], 0
	mov dword [rbx + 0x3e0], 0xb		; divide by 1
	mov dword [rbx + 0x320], 0x20041	; periodic, vector 0x41
	mov dword [rbx + 0x380], 100000
	mov edx, 200
.wl:	cmp qword [irqs], 3
	jae .wm
	hlt
	dec edx
	jnz .wl
.wm:	mov dword [rbx + 0x380], 0
	cli
	cmp qword [irqs], 3
	setae al
	cmp al, 1
	CHECK "the APIC timer ticks and wakes from HLT"

	call plan
	xor eax, eax
	mov ebx, [failed]
	cmp ebx, 0
	setnz al
	mov dx, EXIT_PORT
	out dx, eax
	cli
.end:	hlt
	jmp .end

; ---- user code, copied by address into the window's page 8 ----
align 4096
ucode:
u_read:	mov rbx, WIN + 0xa000
	mov rax, [rbx]
u_write: mov rbx, WIN + 0xa000
	mov [rbx], rax
u_ro:	mov rbx, WIN + 0xb000
	mov [rbx], rax
u_cli:	cli
u_hlt:	hlt
u_cr:	mov rax, cr0
u_out:	mov dx, 0x80
	out dx, al
u_int:	int 0x80
u_out2:	mov dx, 0x80
	out dx, al
	ud2
u_out16: mov dx, 0x80
	out dx, ax
u_ac:	pushfq
	or dword [rsp], 0x40000
	popfq
	mov rbx, WIN + 0x9001
	mov eax, [rbx]
u_push:	mov rsp, WIN + 0xd000
	push rax
u_sys:	mov rbx, 0x77
	syscall
	cmp rbx, 0x78
	jne u_push
	ud2
align 4096
ucode_ro:
	times 4096 db 0x90

sys_entry:
	lea rax, [u_sys - ucode + WIN + 0x8000]
	sub rcx, rax
	cmp rcx, 12			; mov rbx (10 bytes, or 5/7) + syscall
	setbe al
	movzx eax, al
	mov [sys_seen], rax
	lea rax, [u_sys - ucode + WIN + 0x8000]
	add rcx, rax
	pushfq				; still on the user's stack, which is mapped
	pop rax
	mov [sys_flags], rax
	inc rbx
	o64 sysret

; ---- exceptions ----
align 16
stubs:
%assign i 0
%rep 32
	align 16
%if i = 8 || (i >= 10 && i <= 14) || i = 17
	push byte i
	jmp near fault
%else
	push byte 0
	push byte i
	jmp near fault
%endif
%assign i i + 1
%endrep
	align 16

fault:	; [rsp]: vector, error, RIP, CS, RFLAGS, RSP, SS
	push rax
	mov rax, [rsp + 8]
	cmp eax, DB
	je .db
.take:	mov [got_vec], rax
	mov rax, [rsp + 16]
	mov [got_err], rax
	mov rax, cr2
	mov [got_cr2], rax
	mov rax, [rsp + 24]
	mov [got_rip], rax
	cmp qword [try_done], 0
	je .lost
	mov ax, DATA
	mov ss, ax
	mov rsp, [try_rsp]
	mov rax, cr0
	jmp [try_done]
.db:	cmp qword [try_done], 0
	jne .take
	inc qword [db_count]
	mov rax, [rsp + 24]
	mov [db_rip], rax
	mov rax, dr6
	test eax, 1
	jz .nr
	or dword [rsp + 40], 0x10000	; RF
	and eax, ~1
	mov dr6, rax
.nr:	pop rax
	add rsp, 16
	iretq
.lost:	MSG "Bail out! unexpected fault "
	mov rax, [got_vec]
	call hex
	mov rax, [got_err]
	call hex
	mov rax, [got_rip]
	call hex
	mov rax, [got_cr2]
	call hex
	mov eax, 2
	mov dx, EXIT_PORT
	out dx, eax
	cli
	hlt

irq:	inc qword [irqs]
	push rax
	mov rax, [rsp + 8]
	mov [irq_rip], rax
	mov rax, 0xfee000b0
	mov dword [rax], 0
	pop rax
	iretq

; expect: RDI vector, RSI error, RDX cr2, RCX name
expect:	cmp [got_vec], rdi
	jne .bad
	cmp [got_err], rsi
	jne .bad
	cmp edi, PF
	jne .good
	test rdx, rdx
	jz .good
	cmp [got_cr2], rdx
	jne .bad
.good:	mov al, 1
	call check
	ret
.bad:	xor al, al
	call check
	MSG "  # vector, error, CR2: "
	mov rax, [got_vec]
	call hex
	mov rax, [got_err]
	call hex
	mov rax, [got_cr2]
	call hex
	MSG 10
	ret

; check: AL good, RCX name. Keeps RBX.
check:	push rbx
	push rcx
	push rax
	inc dword [number]
	test al, al
	jnz .ok
	inc dword [failed]
	MSG "not "
.ok:	MSG "ok "
	mov eax, [number]
	call dec_
	MSG " - "
	pop rax
	pop rsi
	call puts
	MSG 10
	pop rbx
	ret

plan:	MSG "1.."
	mov eax, [number]
	call dec_
	MSG 10
	ret

puts:	push rax
	push rdx
.l:	lodsb
	test al, al
	jz .e
	call putc
	jmp .l
.e:	pop rdx
	pop rax
	ret
putc:	push rdx
	push rax
	mov dx, COM1 + 5
.w:	in al, dx
	test al, 0x20
	jz .w
	pop rax
	mov dx, COM1
	out dx, al
	pop rdx
	ret
dec_:	push rbx
	push rcx
	push rdx
	mov ebx, 10
	xor ecx, ecx
.d:	xor edx, edx
	div ebx
	push rdx
	inc ecx
	test eax, eax
	jnz .d
.p:	pop rax
	add al, '0'
	call putc
	loop .p
	pop rdx
	pop rcx
	pop rbx
	ret
hex:	push rcx
	push rbx
	mov rbx, rax
	mov ecx, 16
.h:	rol rbx, 4
	mov al, bl
	and al, 15
	add al, '0'
	cmp al, '9'
	jbe .x
	add al, 39
.x:	call putc
	loop .h
	mov al, ' '
	call putc
	pop rbx
	pop rcx
	ret

section .data align=16
gdt:	dq 0
	dq 0x00af9b000000ffff		; CODE64
	dq 0x00cf93000000ffff		; DATA
	dq 0x00cffb000000ffff		; USER32
	dq 0x00cff3000000ffff		; UDATA
	dq 0x00affb000000ffff		; UCODE64
	dq 0x00cf13000000ffff		; NPDATA
	dq 0x008f9b000000ffff		; CODE16
	dq 0x0000890000000000 + (tss_end - tss - 1)	; TSS; base set at start
	dq 0
	dq 0x00cf91000000ffff		; RODATA
gdt_end:
gdtr32:	dw gdt_end - gdt - 1
	dd gdt
	dd 0
idtr64:	dw 4095
	dq idt
idtr_short: dw 0x84 * 16 - 1
	dq idt
bad_dtr: dw 0xff
	dq NONCANON
fp_data: dd 0
	dw DATA
fp_user: dd 0
	dw UCODE64
align 8
got_vec: dq 0
got_err: dq 0
got_cr2: dq 0
got_rip: dq 0
try_rsp: dq 0
try_done: dq 0
db_count: dq 0
db_rip:	dq 0
irqs:	dq 0
irq_rip: dq 0
sys_seen: dq 0
sys_flags: dq 0
watched: dq 0
number:	dd 0
failed:	dd 0
feat7:	dd 0
section .bss align=4096
pml4:	resb 4096
pdpt:	resb 4096
pd:	resb 4096
pd2:	resb 4096
pd_apic: resb 4096
pt:	resb 4096
frame:	resb 4096
frame2:	resb 4096
idt:	resb 4096
tss:	resb 104 + 8192 + 1
tss_end:
alignb 16
	resb 4096
ist_top:
	resb 16384
stack_top:
