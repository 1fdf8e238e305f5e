; SPDX-License-Identifier: GPL-2.0-or-later
; sys32.asm - protected mode, virtual-8086 mode and the ways between the modes: gates, tasks, VME,
; paging with 32-bit and PAE entries, each rule with the answer of the manual.
; After: Intel SDM vol. 3 ch. 4-9, 17, 20. Prints TAP on COM1.
;
;	TRYTO .label			; from here to the label a fault is caught ...
;	  instruction(s)
; .label: EXPECT "name", vector, error [, cr2]	; ... and compared; vector -1: none may come
; A fault, from whatever level or mode, resumes at the label in flat 32-bit code at CPL 0 with the
; stack as at TRYTO.

%define BITS64 0
%include "tests/guests/sys.inc"
%include "tests/guests/sys32.inc"

%define NONE -1
%define DE 0
%define DB 1
%define BP 3
%define OF 4
%define UD 6
%define DF 8
%define TS 10
%define NP 11
%define SS_ 12
%define GP 13
%define PF 14

%define CODE 0x08
%define DATA 0x10
%define UCODE 0x1b
%define UDATA 0x23
%define CODE16 0x28		; base REAL
%define DATA16 0x30
%define TSS0 0x38
%define TSSB 0x40
%define TSS16 0x48
%define TSSDF 0x50
%define GATE 0x58
%define TGATE 0x60
%define CONF 0x68
%define RO 0x70
%define SMALL 0x78		; 4 KiB
%define DOWN 0x80		; all but the first 4 KiB, 32-bit
%define NPDATA 0x88
%define HCODE 0x90		; base: `near16`, so that handlers have small offsets
%define CODE64 0x98
%define XONLY 0xa0
%define TSSNP 0xa8

%define REAL 0x8000		; where the 16-bit code is copied to
%define V86SS 0x2000
%define MAPOFF 136		; I/O bitmap in TSS0; the redirection bitmap lies below it
%define WIN 0x400000		; test window: PTEs in `pt`

%define FL_TF 0x100
%define FL_IF 0x200
%define FL_NT 0x4000
%define FL_VM 0x20000
%define FL_VIF 0x80000
%define FL_VIP 0x100000

section .text align=4
bits 32
align 4
	dd 0x1badb002, 0, -(0x1badb002)

%macro TRYTO 1
	mov dword [got_vec], NONE
	mov dword [got_err], 0
	mov dword [try_esp], esp
	mov dword [try_done], %1
%endmacro

%macro EXPECT 3-4 0
	mov dword [try_done], 0
	mov edi, %2
	mov esi, %3
	mov edx, %4
	mov ecx, %%name
	call expect
	[section .rodata]
%%name:	db %1, 0
	__SECT__
%endmacro

; Run at CPL 3 from a label, with a stack of its own.
%macro USER 1
	push UDATA
	push user_top
	push dword [user_flags]
	push UCODE
	push %1
	iret
%endmacro

; Run 16-bit code of `real` in virtual-8086 mode with these EFLAGS.
%macro V86 2
	push 0x444
	push 0x333
	push 0x222
	push 0x111
	push V86SS
	push 0x100
	push FL_VM | 2 | %2
	push REAL >> 4
	push %1 - real
	iret
%endmacro

; GATE_AT table + offset, selector, offset label, access and count word
%macro GATE_AT 4
	mov eax, %3
	mov [%1], ax
	mov word [%1 + 2], %2
	mov word [%1 + 4], %4
	shr eax, 16
	mov [%1 + 6], ax
%endmacro

; DESC selector, base, limit 15:0, access, flags and limit 19:16
%macro DESC 5
	mov eax, %2
	mov word [gdt + %1], %3
	mov [gdt + %1 + 2], ax
	shr eax, 16
	mov [gdt + %1 + 4], al
	mov byte [gdt + %1 + 5], %4
	mov byte [gdt + %1 + 6], %5
	mov [gdt + %1 + 7], ah
%endmacro

global _start
_start:
	cli
	mov esp, stack_top
	DESC TSS0, tss0, MAPOFF + 8192, 0x89, 0
	DESC TSSB, tssb, 103, 0x89, 0
	DESC TSS16, tss16, 43, 0x81, 0
	DESC TSSDF, tssdf, 103, 0x89, 0
	DESC TSSNP, tssb, 103, 0x09, 0
	DESC HCODE, near16, 0xffff, 0x9b, 0xcf
	lgdt [gdtr]
	jmp CODE:.flat
.flat:	mov ax, DATA
	mov ds, ax
	mov es, ax
	mov ss, ax
	xor ax, ax
	mov fs, ax
	mov gs, ax
	mov esi, stubs
	mov edi, idt
	mov ecx, 256
.idt:	mov [edi], si
	mov word [edi + 2], CODE
	mov word [edi + 4], 0x8e00
	mov eax, esi
	shr eax, 16
	mov [edi + 6], ax
	add edi, 8
	cmp ecx, 225
	jb .same
	add esi, 16
.same:	loop .idt
	GATE_AT idt + DF * 8, TSSDF, 0, 0x8500	; double faults: a task of its own
	GATE_AT idt + BP * 8, CODE, count_int, 0xee00
	lidt [idtr]
	mov dword [tss0 + 4], ring0_top
	mov dword [tss0 + 8], DATA
	mov word [tss0 + 102], MAPOFF
	mov byte [tss0 + MAPOFF + 8192], 0xff
	mov ax, TSS0
	ltr ax
	mov esi, real
	mov edi, REAL
	mov ecx, real_end - real
	rep movsb
	mov dword [user_flags], 2

; ---- segments ----
	mov ax, RO
	mov es, ax
	TRYTO .s1
	mov [es:ring0_top], eax
.s1:	EXPECT "write through a read-only data segment", GP, 0
	TRYTO .s2
	mov [cs:watched], eax
.s2:	EXPECT "write through a code segment", GP, 0
	mov ax, XONLY
	TRYTO .s3
	mov es, ax
.s3:	EXPECT "ES from execute-only code", GP, XONLY
	mov ax, SMALL
	mov es, ax
	TRYTO .s4
	mov eax, [es:0xffc]
.s4:	EXPECT "the last bytes below the limit", NONE, 0
	TRYTO .s5
	mov [es:0xffd], eax
.s5:	EXPECT "a store across the limit", GP, 0
	mov ax, DOWN
	mov es, ax
	TRYTO .s6
	mov eax, [es:0x1000]
.s6:	EXPECT "expand-down: above the limit", NONE, 0
	TRYTO .s7
	mov eax, [es:0xfff]
.s7:	EXPECT "expand-down: at the limit", GP, 0
	mov ax, DATA
	mov es, ax
	TRYTO .s8
	mov ax, SMALL
	mov ss, ax
	mov ebp, 0x1000
	mov eax, [bp]
.s8:	EXPECT "beyond the stack's limit, and no stack for #SS: double fault", DF, 0
	TRYTO .s9
	mov ax, DATA + 1
	mov ss, ax
.s9:	EXPECT "MOV SS with RPL other than CPL", GP, DATA
	TRYTO .s10
	xor eax, eax
	mov ss, ax
.s10:	EXPECT "null SS", GP, 0
	TRYTO .s11
	xor eax, eax
	mov es, ax
	mov al, [es:0]
.s11:	EXPECT "access through a null ES", GP, 0
	mov ax, DATA
	mov es, ax

; ---- the IDT ----
	mov byte [idt + 0x80 * 8 + 5], 0x0e
	TRYTO .i1
	int 0x80
.i1:	EXPECT "INT n through a gate not present: error 8n+2", NP, 0x80 * 8 + 2
	mov byte [idt + UD * 8 + 5], 0x0e
	TRYTO .i2
	ud2
.i2:	EXPECT "fault through a gate not present: error 8n+3", NP, UD * 8 + 3
	mov byte [idt + UD * 8 + 5], 0x8e
	TRYTO .i3
	lidt [idtr_short]
	int 0x90
.i3:	lidt [idtr]
	EXPECT "INT n beyond the IDT: error 8n+2", GP, 0x90 * 8 + 2
	GATE_AT idt + 0x81 * 8, HCODE, 0x12340000 + (count16 - near16), 0x8600
	mov dword [ints], 0
	TRYTO .i4
	int 0x81
.i4:	EXPECT "a 16-bit gate's offset has 16 bits", NONE, 0
	cmp dword [ints], 1
	CHECK "its handler ran"
	mov eax, [try_esp]
	sub eax, 6
	cmp [int_esp], eax
	CHECK "on a frame of 16-bit items"
	GATE_AT idt + 0x82 * 8, DATA, 0, 0x8e00
	TRYTO .i5
	int 0x82
.i5:	EXPECT "gate to a data segment: error names the segment", GP, DATA
	GATE_AT idt + 0x83 * 8, UCODE, 0, 0x8e00
	TRYTO .i6
	int 0x83
.i6:	EXPECT "gate to an outer level", GP, UCODE & ~3
	GATE_AT idt + 0x84 * 8, CODE, count_int, 0x8e00
	TRYTO .i7
	USER u_int84
.i7:	EXPECT "INT n at CPL 3 through a gate of DPL 0", GP, 0x84 * 8 + 2
	mov dword [ints], 0
	TRYTO .i8
	USER u_int3
.i8:	EXPECT "INT3 at CPL 3 through a gate of DPL 3, then UD2", UD, 0
	cmp dword [ints], 1
	CHECK "its handler ran"
	cmp word [int_ss], UDATA
	CHECK "on the stack of the TSS, with the user's SS pushed"
	mov dword [tss0 + 8], 0
	TRYTO .i9
	USER u_int3
.i9:	mov dword [tss0 + 8], DATA
	; #TS needs the same stack: #DF, and that is a task
	EXPECT "no stack for CPL 0 in the TSS: double fault through a task gate", DF, 0
	mov byte [idt + GP * 8 + 5], 0x0e
	TRYTO .i10
	mov es, [bad_sel]
.i10:	mov byte [idt + GP * 8 + 5], 0x8e
	EXPECT "#NP in the delivery of #GP is a double fault", DF, 0
	str ax
	cmp ax, TSS0
	CHECK "the double fault's task has returned"

; ---- call gates ----
	GATE_AT gdt + GATE, CODE, gate_proc, 0xec02
	TRYTO .g1
	USER u_gate
.g1:	EXPECT "call gate of 32 bits from CPL 3 and back, then UD2", UD, 0
	cmp dword [gate_a], 0x11111111
	CHECK "its first parameter"
	cmp dword [gate_b], 0x22222222
	CHECK "its second parameter"
	cmp dword [gate_cs], CODE
	CHECK "the procedure ran at CPL 0"
	cmp dword [user_sp], user_top
	CHECK "RETF n dropped the parameters on both stacks"
	cmp word [user_ds], 0
	CHECK "a DS that CPL 3 may not see became null"
	GATE_AT gdt + GATE, CODE, gate_proc, 0x8c02
	TRYTO .g2
	USER u_gate
.g2:	EXPECT "call gate of DPL 0 from CPL 3", GP, GATE
	GATE_AT gdt + GATE, CODE, gate_proc, 0x6c02
	TRYTO .g3
	USER u_gate
.g3:	EXPECT "call gate not present", NP, GATE
	GATE_AT gdt + GATE, HCODE, 0x56780000 + (gate16_proc - near16), 0xe401
	TRYTO .g4
	USER u_gate16
.g4:	EXPECT "call gate of 16 bits: offset and frame of 16 bits", UD, 0
	cmp word [gate_a], 0x3333
	CHECK "its parameter"
	GATE_AT gdt + GATE, CODE, gate_proc, 0xec00
	TRYTO .g5
	USER u_jmpgate
.g5:	EXPECT "JMP through a gate to an inner level", GP, CODE
	TRYTO .g6
	USER u_conf
.g6:	EXPECT "far call to conforming code stays at CPL 3", GP, 0
	TRYTO .g7
	USER u_inner
.g7:	EXPECT "far jump to code of an inner level", GP, CODE
	TRYTO .g8
	push CODE
	push .g8
	push dword 0
	USER u_retin
.g8:	EXPECT "RETF to an inner level", GP, CODE

; ---- tasks ----
	mov dword [tssb + 32], task_b
	mov dword [tssb + 36], 2
	mov dword [tssb + 40], 0xabc
	mov dword [tssb + 56], taskb_top
	mov dword [tssb + 72], DATA
	mov dword [tssb + 76], CODE
	mov dword [tssb + 80], DATA
	mov dword [tssb + 84], DATA
	TRYTO .t1
	call TSSB:0
.t1:	EXPECT "CALL of a TSS and IRET back", NONE, 0
	cmp dword [task_eax], 0xabc
	CHECK "the task had its own registers"
	test dword [task_fl], FL_NT
	setnz al
	cmp al, 1
	CHECK "and NT set"
	cmp word [tssb], TSS0
	CHECK "and a link back"
	mov eax, cr0
	test al, 8
	setnz al
	cmp al, 1
	CHECK "CR0.TS is set"
	clts
	cmp byte [gdt + TSSB + 5], 0x89
	CHECK "the task that returned is not busy"
	cmp byte [gdt + TSS0 + 5], 0x8b
	CHECK "this one is"
	TRYTO .t2
	call TSSB:0
.t2:	EXPECT "it goes on where it left", NONE, 0
	cmp dword [task_eax], 0xdef
	CHECK "behind its IRET"
	TRYTO .t3
	call TSS0:0
.t3:	EXPECT "CALL of a busy TSS", GP, TSS0
	TRYTO .t4
	call TSSNP:0
.t4:	EXPECT "CALL of a TSS not present", NP, TSSNP
	mov word [gdt + TSSB], 102
	TRYTO .t5
	call TSSB:0
.t5:	EXPECT "a TSS too small", TS, TSSB
	mov word [gdt + TSSB], 103
	GATE_AT idt + 0x85 * 8, TSSB, 0, 0x8500
	mov dword [tssb + 32], task_b
	TRYTO .t6
	int 0x85
.t6:	EXPECT "INT n through a task gate and IRET back", NONE, 0
	GATE_AT idt + NP * 8, TSSB, 0, 0x8500
	mov dword [tssb + 32], task_err
	mov dword [tssb + 56], taskb_top
	mov ax, NPDATA
	TRYTO .t7
	mov es, ax
.t7:	EXPECT "a fault through a task gate comes back", NONE, 0
	GATE_AT idt + NP * 8, CODE, stubs + NP * 16, 0x8e00
	cmp dword [task_eax], NPDATA
	CHECK "with its error code on the new stack"
	mov dword [tss16 + 14], task_16 - near16
	mov word [tss16 + 16], 2
	mov word [tss16 + 26], 0
	mov word [tss16 + 34], DATA16
	mov word [tss16 + 36], HCODE
	mov word [tss16 + 38], DATA16
	mov word [tss16 + 40], DATA16
	mov word [tss16 + 26], 0x7f00
	mov word [0x7000], 0
	TRYTO .t8
	call TSS16:0
.t8:	EXPECT "a 16-bit TSS and back", NONE, 0
	cmp word [0x7000], 0x1616
	CHECK "its code ran"
	mov dword [tssb + 32], task_b
	mov word [tssb + 100], 1
	TRYTO .t9
	jmp TSSB:0
.t9:	mov word [tssb + 100], 0
	EXPECT "the T bit traps before the task's first instruction", DB, 0
	mov eax, dr6
	test eax, 0x8000
	setnz al
	cmp al, 1
	CHECK "with DR6.BT"
	str ax
	cmp ax, TSSB
	CHECK "in the new task"
	mov dword [tss0 + 32], .t10
	TRYTO .t10
	jmp TSS0:0
.t10:	EXPECT "JMP back to the first task", NONE, 0
	cmp byte [gdt + TSSB + 5], 0x89
	CHECK "frees the one left"
	mov eax, 0xffff0ff0
	mov dr6, eax
	mov word [tss0], DATA
	pushfd
	or dword [esp], FL_NT
	popfd
	TRYTO .t11
	iret
.t11:	pushfd
	and dword [esp], ~FL_NT
	popfd
	EXPECT "IRET with NT and a link that is no TSS", TS, DATA
	mov dword [tssb + 32], task_b
	mov dword [tssb + 84], XONLY
	TRYTO .t12
	jmp TSSB:0
.t12:	mov dword [tssb + 84], DATA
	EXPECT "the new task's DS is bad: #TS", TS, XONLY
	str ax
	cmp ax, TSSB
	CHECK "in the new task's context"
	mov dword [tss0 + 32], .t13
	jmp TSS0:0
.t13:

; ---- single step ----
	mov dword [db_count], 0
	GATE_AT idt + DB * 8, CODE, count_db, 0x8e00
	pushfd
	or dword [esp], FL_TF
	popfd
	int3				; its handler runs free; no trap behind it
	nop
	mov bx, ss
	mov ss, bx			; holds the trap off
	nop
	pushfd
	and dword [esp], ~FL_TF
	popfd
	; nop, mov bx, [mov ss +] nop, pushfd, and, popfd
	cmp dword [db_count], 6
	CHECK "single step: not behind INT n, not behind MOV SS"
	GATE_AT idt + DB * 8, CODE, stubs + DB * 16, 0x8e00

; ---- virtual-8086 mode ----
	TRYTO .v1
	V86 v_ud, 0x3000
.v1:	EXPECT "virtual-8086 code runs and faults out of it", UD, 0
	cmp dword [v86_gs], 0x444
	CHECK "its GS is on the stack of CPL 0"
	cmp dword [v86_esp], 0x100
	CHECK "and its SP"
	TRYTO .v2
	V86 v_int, 0
.v2:	EXPECT "INT n below IOPL 3", GP, 0
	TRYTO .v3
	V86 v_cli, 0
.v3:	EXPECT "CLI below IOPL 3", GP, 0
	TRYTO .v4
	V86 v_pushf, 0
.v4:	EXPECT "PUSHF below IOPL 3", GP, 0
	TRYTO .v5
	V86 v_cli, 0x3000
.v5:	EXPECT "CLI at IOPL 3, then UD2", UD, 0
	GATE_AT idt + 0x86 * 8, CODE, count_v86, 0xee00
	mov dword [ints], 0
	TRYTO .v6
	V86 v_int, 0x3000
.v6:	EXPECT "INT n at IOPL 3 to level 0 and back, then UD2", UD, 0
	cmp dword [ints], 1
	CHECK "through the IDT"
	GATE_AT idt + 0x86 * 8, CONF, count_v86, 0xee00
	TRYTO .v7
	V86 v_int, 0x3000
.v7:	EXPECT "a conforming handler is none for virtual-8086 mode", GP, CONF
	TRYTO .v8
	V86 v_out, 0x3000
.v8:	EXPECT "OUT: the bitmap counts at IOPL 3 too", UD, 0
	mov byte [tss0 + MAPOFF + 0x80 / 8], 1
	TRYTO .v9
	V86 v_out, 0x3000
.v9:	EXPECT "OUT to a port that the bitmap closes", GP, 0
	mov byte [tss0 + MAPOFF + 0x80 / 8], 0
	TRYTO .v10
	V86 v_lar, 0x3000
.v10:	EXPECT "LAR is undefined in virtual-8086 mode", UD, 0
	TRYTO .v11
	V86 v_limit, 0x3000
.v11:	EXPECT "a word at offset 0xffff", GP, 0
	TRYTO .v12
	V86 v_slimit, 0x3000
.v12:	EXPECT "and in the stack segment", SS_, 0
	mov eax, 1
	cpuid
	test dl, 2
	jz .novme
	mov eax, cr4
	or al, 1
	mov cr4, eax
	mov word [0x86 * 4], v_handler - real
	mov word [0x86 * 4 + 2], REAL >> 4
	mov dword [0x7000], 0
	TRYTO .m1
	V86 v_int, FL_VIF
.m1:	EXPECT "VME: INT n to the program's own handler, then UD2", UD, 0
	cmp word [0x7000], 0x3202
	CHECK "its flags: IF is VIF, IOPL reads 3"
	cmp word [0x7002], 0x3000
	CHECK "in the handler VIF is clear"
	cmp dword [v86_vif], FL_VIF
	CHECK "IRET set VIF again"
	mov byte [tss0 + MAPOFF - 32 + 0x86 / 8], 1 << (0x86 & 7)
	TRYTO .m2
	V86 v_int, 0
.m2:	EXPECT "VME: a vector that the bitmap keeps, below IOPL 3", GP, 0
	mov byte [tss0 + MAPOFF - 32 + 0x86 / 8], 0
	TRYTO .m3
	V86 v_cli, FL_VIF
.m3:	EXPECT "VME: CLI clears VIF", UD, 0
	cmp dword [v86_vif], 0
	CHECK "and only that"
	TRYTO .m4
	V86 v_sti, FL_VIP
.m4:	EXPECT "VME: STI with an interrupt pending", GP, 0
	TRYTO .m5
	V86 v_popf_tf, 0
.m5:	EXPECT "VME: POPF that sets TF", GP, 0
	TRYTO .m6
	V86 v_pushfd, 0
.m6:	EXPECT "VME: PUSHFD below IOPL 3", GP, 0
	mov eax, cr4
	and al, ~1
	mov cr4, eax
.novme:

; ---- real mode and back ----
	mov dword [real_back], .back
	jmp CODE16:(r_enter - real)
.back:	cmp dword [0x7010], 0x12345678
	CHECK "unreal mode: a limit of 4 GiB survives loads in real mode"
	cmp word [0x7014], 1
	CHECK "real mode: INT n through the vector table"
	cmp word [0x7016], 13
	CHECK "real mode: a word at offset 0xffff is #GP"
	cmp word [0x7018], 6
	CHECK "real mode: LAR is #UD"
	str ax
	cmp ax, TSS0
	CHECK "TR survived real mode"

; ---- 32-bit paging ----
	mov edi, pd
	mov dword [edi], 0x83		; 4 MiB, supervisor
	mov dword [edi + 4], pt + 7
	mov dword [edi + 8], 0x87	; 4 MiB of the same memory, for users
	mov eax, cr4
	or eax, 0x10			; PSE
	mov cr4, eax
	mov eax, pd
	mov cr3, eax
	mov eax, cr0
	or eax, 0x80010000		; PG, WP
	mov cr0, eax
	TRYTO .p1
	mov eax, [WIN]
.p1:	EXPECT "32-bit paging: not present", PF, 0, WIN
	mov dword [pt + 4], frame + 1
	TRYTO .p2
	mov [WIN + 0x1004], eax
.p2:	EXPECT "32-bit paging: read-only", PF, 3, WIN + 0x1004
	mov dword [pt + 8], frame + 3
	mov eax, [WIN + 0x2000]
	cmp dword [pt + 8], frame + 0x23
	CHECK "a read sets A alone"
	mov [WIN + 0x2000], eax
	cmp dword [pt + 8], frame + 0x63
	CHECK "a write sets D"
	TRYTO .p3
	mov eax, WIN + 0x2ffe
	mov [eax], ecx
.p3:	EXPECT "32-bit paging: a store across pages", PF, 2, WIN + 0x3000
	mov dword [pt + 16], frame + 7
	mov dword [user_flags], 2
	TRYTO .p4
	USER u_page
.p4:	EXPECT "32-bit paging: a fetch by CPL 3 from a supervisor page", PF, 5, u_page
	mov eax, [pd + 8]
	test al, 0x20
	mov eax, 0x800000 + 0x7000
	mov dword [eax], 0x5a5a5a5a
	cmp dword [0x7000], 0x5a5a5a5a
	CHECK "a page of 4 MiB"
	mov eax, [pd + 8]
	and eax, 0x60
	cmp eax, 0x60
	CHECK "A and D in its directory entry"
	mov dword [pd + 12], 0x200083	; bit 21 is reserved in a 4 MiB entry
	TRYTO .p5
	mov eax, [0xc00000]
.p5:	EXPECT "a reserved bit in a 4 MiB entry", PF, 9, 0xc00000
	; global pages survive CR3, others do not
	mov eax, cr4
	or eax, 0x80
	mov cr4, eax
	mov dword [pt + 20], 0x7103
	mov dword [pt + 24], 0x7003
	mov eax, [WIN + 0x5000]
	mov eax, [WIN + 0x6000]
	mov dword [pt + 20], 0
	mov dword [pt + 24], 0
	mov eax, cr3
	mov cr3, eax
	TRYTO .p6
	mov eax, [WIN + 0x6000]
.p6:	EXPECT "a CR3 load drops translations", PF, 0, WIN + 0x6000
	invlpg [WIN + 0x5000]
	TRYTO .p7
	mov eax, [WIN + 0x5000]
.p7:	EXPECT "INVLPG drops global ones", PF, 0, WIN + 0x5000
	mov eax, cr0
	and eax, ~0x80000000
	mov cr0, eax

; ---- PAE ----
	mov dword [pdpt], pdpae + 1
	mov dword [pdpae], 0x83
	mov dword [pdpae + 8], 0x200083
	mov dword [pdpae + 16], pt + 3
	mov edi, pt
	mov ecx, 1024
	xor eax, eax
	rep stosd
	mov eax, cr4
	or eax, 0x20
	mov cr4, eax
	mov eax, pdpt
	mov cr3, eax
	mov eax, cr0
	or eax, 0x80000000
	mov cr0, eax
	TRYTO .q1
	mov eax, [WIN + 0x1000]
.q1:	EXPECT "PAE: not present", PF, 0, WIN + 0x1000
	mov dword [pt + 16], frame + 3
	mov dword [pt + 20], 0x80000000
	TRYTO .q2
	mov eax, [WIN + 0x2000]
.q2:	EXPECT "PAE: bit 63 is reserved without EFER.NXE", PF, 9, WIN + 0x2000
	mov dword [pdpt + 8], pdpae + 0x67
	TRYTO .q3
	mov eax, pdpt
	mov cr3, eax
.q3:	mov dword [pdpt + 8], 0
	EXPECT "PAE: a reserved bit in a PDPTE faults at the CR3 load", GP, 0
	mov dword [pt + 24], frame + 3
	mov eax, [WIN + 0x3000]
	mov dword [pdpt], 0
	mov eax, [WIN + 0x3000]
	mov dword [pdpt], pdpae + 1
	mov al, 1
	test al, al
	setz al
	test al, al
	CHECK "PAE: PDPTEs are loaded with CR3, not walked"
	mov eax, 0x80000001
	cpuid
	test edx, 1 << 20
	jz .nonx
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x800
	wrmsr
	TRYTO .q4
	mov eax, [WIN + 0x2000]
.q4:	EXPECT "PAE: with NXE bit 63 is no reserved bit", NONE, 0
	mov dword [pt + 16], frame + 3
	mov dword [pt + 20], 0x80000000
	invlpg [WIN + 0x2000]
	TRYTO .q5
	mov eax, WIN + 0x2000
	call eax
.q5:	EXPECT "PAE: no execute", PF, 0x11, WIN + 0x2000
.nonx:
; ---- long mode and back ----
	mov eax, 0x80000001
	cpuid
	test edx, 1 << 29
	jz .nolm
	mov eax, cr0
	and eax, 0x7fffffff
	mov cr0, eax
	mov dword [pml4], pdpt + 3
	mov dword [pdpt], pdpae + 3
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x100
	wrmsr
	mov eax, pml4
	mov cr3, eax
	mov eax, cr0
	or eax, 0x80000000
	mov cr0, eax
	mov ecx, 0xc0000080
	rdmsr
	and eax, 0x500
	cmp eax, 0x500
	CHECK "paging with LME: LMA is set, in compatibility mode"
	jmp CODE64:.in64
bits 64
.in64:	mov rax, 0x123456789abcdef0
	shr rax, 32
	mov [lm_seen], eax
	mov ecx, .out
	mov [abs far_out], ecx
	jmp far dword [abs far_out]
bits 32
.out:	cmp dword [lm_seen], 0x12345678
	CHECK "64-bit code ran"
	mov eax, cr0
	and eax, 0x7fffffff
	mov cr0, eax
	mov ecx, 0xc0000080
	rdmsr
	test eax, 0x400
	CHECK "paging off: LMA is clear"
	mov ecx, 0xc0000080
	rdmsr
	and eax, ~0x100
	wrmsr
.nolm:	mov eax, cr0
	and eax, 0x7fffffff
	mov cr0, eax
	TRYTO .z1
	call TSSB:0
.z1:	EXPECT "and tasks switch again", NONE, 0

	call plan
	xor eax, eax
	cmp dword [failed], 0
	setnz al
	mov dx, EXIT_PORT
	out dx, eax
	cli
.end:	hlt
	jmp .end

; ---- user code: flat, in place ----
u_int84: int 0x84
u_int3:	int3
	ud2
u_gate:	push 0x22222222
	push 0x11111111
	call (GATE | 3):0
	mov [ss:user_sp], esp
	mov ax, ds
	mov [ss:user_ds], ax
	ud2
u_gate16:
	push word 0x3333
	call GATE:0
	ud2
u_jmpgate: jmp GATE:0
u_conf:	call CONF:u_hlt
u_hlt:	hlt
u_inner: jmp CODE:u_hlt
u_retin: mov esp, [ss:try_esp]
	sub esp, 8
	retf
u_page:	nop

gate_proc:
	mov ax, DATA
	mov ds, ax
	mov eax, [esp + 8]
	mov [gate_a], eax
	mov eax, [esp + 12]
	mov [gate_b], eax
	xor eax, eax
	mov ax, cs
	mov [gate_cs], eax
	retf 8

; Handlers that return.
count_int:
	inc dword [ss:ints]
	push eax
	mov ax, [esp + 20]
	mov [ss:int_ss], ax
	pop eax
	iret
count_v86:
	inc dword [ss:ints]
	iret
count_db:
	inc dword [db_count]
	iret

; Reached with small offsets through HCODE.
align 16
near16:
count16:
	inc dword [ss:ints]
	mov [ss:int_esp], esp
	mov esp, [ss:try_esp]
	push CODE
	push dword [ss:try_done]
	retf
gate16_proc:
	mov ax, [esp + 4]
	mov [ss:gate_a], ax
	ud2
task_16:
	mov word [ss:0x7000], 0x1616
	iret

task_b:	mov [task_eax], eax
	pushfd
	pop dword [task_fl]
	mov eax, 0xdef
	iret
	jmp task_b
task_err:
	pop dword [task_eax]
	mov eax, [tss0 + 32]
	mov eax, [try_done]
	mov [tss0 + 32], eax		; go on behind the faulting instruction
	iret
	jmp task_err

; The double fault's task: note it, let the old task go on at the label.
task_df:
	pop dword [got_err]
	mov dword [got_vec], DF
	mov eax, [try_done]
	test eax, eax
	jz fault.lost
	mov [tss0 + 32], eax
	mov eax, [try_esp]
	mov [tss0 + 56], eax
	mov dword [tss0 + 36], 2
	mov dword [tss0 + 72], DATA
	mov dword [tss0 + 76], CODE
	mov dword [tss0 + 80], DATA
	mov dword [tss0 + 84], DATA
	iret
	jmp task_df

; ---- 16-bit code, copied to REAL ----
bits 16
real:
v_ud:	ud2
v_int:	int 0x86
	ud2
v_cli:	cli
	ud2
v_sti:	sti
	ud2
v_pushf: pushf
	ud2
v_pushfd: pushfd
	ud2
v_popf_tf:
	push word 0x100
	popf
	ud2
v_out:	mov al, 0
	out 0x80, al
	ud2
v_lar:	lar ax, bx
	ud2
v_limit: mov ax, [0xffff]
	ud2
v_slimit: mov bp, 0xffff
	mov ax, [bp]
	ud2
v_handler:
	mov bp, sp
	xor ax, ax
	mov ds, ax
	mov ax, [bp + 4]
	mov [0x7000], ax
	pushf
	pop ax
	and ax, 0x3200
	mov [0x7002], ax
	iret

r_enter:
	mov ax, DATA		; 4 GiB limits
	mov es, ax
	mov ds, ax
	mov ax, DATA16
	mov ss, ax
	mov [ss:0x7020], esp
	mov eax, cr0
	and al, ~1
	mov cr0, eax
	jmp (REAL >> 4):(.real - real)
.real:	mov bp, ss
	xor ax, ax
	mov es, ax
	mov ss, ax
	mov ds, ax
	mov sp, 0x7e00
	lidt [cs:r_idtr - real]
	mov edi, r_big
	mov dword [es:edi], 0x12345678
	mov eax, [ds:edi]
	mov [0x7010], eax
	mov word [0x60 * 4], r_int - real
	mov word [0x60 * 4 + 2], REAL >> 4
	mov word [13 * 4], r_gp - real
	mov word [13 * 4 + 2], REAL >> 4
	mov word [6 * 4], r_ud - real
	mov word [6 * 4 + 2], REAL >> 4
	mov word [0x7014], 0
	int 0x60
	mov word [0x7016], 0
	mov ax, 1
	mov bx, 0xffff
	mov ax, [cs:bx]
.gp:	mov word [0x7018], 0
	db 0x0f, 0x02, 0xc3	; LAR AX, BX
.ud:	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp dword CODE:r_return
r_int:	inc word [0x7014]
	iret
r_gp:	mov bp, sp
	mov word [0x7016], 13
	mov word [bp], r_enter.gp - real
	iret
r_ud:	mov bp, sp
	mov word [0x7018], 6
	mov word [bp], r_enter.ud - real
	iret
r_idtr:	dw 0x3ff
	dd 0
real_end:
bits 32
r_return:
	mov ax, DATA
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov esp, [0x7020]
	lidt [idtr]
	jmp [real_back]

; ---- exceptions ----
align 16
stubs:
%assign i 0
%rep 33
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

; [esp]: vector, error, EIP, CS, EFLAGS, and from outside ESP, SS, from virtual-8086 ES DS FS GS.
fault:	mov ax, DATA
	mov ds, ax
	mov es, ax
	pop dword [got_vec]
	pop dword [got_err]
	mov eax, [esp]
	mov [got_eip], eax
	mov eax, [esp + 12]
	mov [v86_esp], eax
	mov eax, [esp + 32]
	mov [v86_gs], eax
	mov eax, [esp + 8]
	and eax, FL_VIF
	mov [v86_vif], eax
	mov eax, cr2
	mov [got_cr2], eax
	cmp dword [try_done], 0
	je .lost
	mov ax, DATA
	mov ss, ax
	mov esp, [try_esp]
	jmp [try_done]
.lost:	MSG "Bail out! unexpected fault "
	mov eax, [got_vec]
	call hex
	mov eax, [got_err]
	call hex
	mov eax, [got_eip]
	call hex
	mov eax, [got_cr2]
	call hex
	mov eax, 2
	mov dx, EXIT_PORT
	out dx, eax
	cli
	hlt

; expect: EDI vector, ESI error, EDX cr2, ECX name
expect:	cmp [got_vec], edi
	jne .bad
	cmp [got_err], esi
	jne .bad
	cmp edi, PF
	jne .good
	cmp [got_cr2], edx
	jne .bad
.good:	mov al, 1
	jmp check
.bad:	xor al, al
	call check
	MSG "  # vector, error, EIP, CR2: "
	mov eax, [got_vec]
	call hex
	mov eax, [got_err]
	call hex
	mov eax, [got_eip]
	call hex
	mov eax, [got_cr2]
	call hex
	MSG 10
	ret

section .data align=16
gdt:	dq 0
	dq 0x00cf9b000000ffff		; CODE
	dq 0x00cf93000000ffff		; DATA
	dq 0x00cffb000000ffff		; UCODE
	dq 0x00cff3000000ffff		; UDATA
	dq 0x00009b000000ffff + (REAL << 16)	; CODE16
	dq 0x000093000000ffff		; DATA16
	times 4 dq 0			; TSS0, TSSB, TSS16, TSSDF
	dq 0				; GATE
	dq 0				; TGATE
	dq 0x00cf9f000000ffff		; CONF
	dq 0x00cf91000000ffff		; RO
	dq 0x0040930000000fff		; SMALL
	dq 0x0040970000000fff		; DOWN
	dq 0x00cf13000000ffff		; NPDATA
	dq 0				; HCODE
	dq 0x00af9b000000ffff		; CODE64
	dq 0x00cf99000000ffff		; XONLY
	dq 0				; TSSNP
gdt_end:
gdtr:	dw gdt_end - gdt - 1
	dd gdt
idtr:	dw 2047
	dd idt
idtr_short: dw 0x84 * 8 - 1
	dd idt
bad_sel: dw 0x1000
align 4
far_out: dd 0
	dw CODE
align 4
tssdf:	times 7 dd 0
	dd 0				; CR3
	dd task_df, 2
	dd 0, 0, 0, 0, df_top, 0, 0, 0
	dd DATA, CODE, DATA, DATA, 0, 0
	dd 0, 104 << 16
got_vec: dd 0
got_err: dd 0
got_eip: dd 0
got_cr2: dd 0
try_esp: dd 0
try_done: dd 0
ints:	dd 0
int_ss:	dd 0
int_esp: dd 0
gate_a:	dd 0
gate_b:	dd 0
gate_cs: dd 0
user_sp: dd 0
user_ds: dd 0xffff
user_flags: dd 0
task_eax: dd 0
task_fl: dd 0
v86_gs:	dd 0
v86_esp: dd 0
v86_vif: dd 0
db_count: dd 0
lm_seen: dd 0
watched: dd 0
real_back: dd 0
section .bss align=4096
pml4:	resb 4096
pdpt:	resb 4096
pdpae:	resb 4096
pd:	resb 4096
pt:	resb 4096
frame:	resb 4096
r_big:	resb 4096
idt:	resb 2048
tss0:	resb MAPOFF + 8192 + 1
alignb 16
tssb:	resb 104
alignb 16
tss16:	resb 44
alignb 16
	resb 4096
ring0_top:
	resb 4096
taskb_top:
	resb 4096
df_top:
	resb 4096
user_top:
	resb 16384
stack_top:
