; SPDX-License-Identifier: GPL-2.0-or-later
; sys32smp.asm - four processors: INIT and SIPI, IPIs, NMIs, locked operations on whole and split
; words, code and page tables that another processor changes.
; After: Intel SDM vol. 3, ch. 9.4 (start), 9.1 (locks), 9.1.3 (cross-modifying code), 4.10.5
; (shoot-down), 11.6 (IPIs). Prints TAP on COM1. Wants 4 CPUs.

%define BITS64 0
%include "tests/guests/sys.inc"
%define NCPU 4
%define NAP (NCPU - 1)
%define CODE 0x08
%define DATA 0x10
%define TRAMP 0x9000
%define APIC 0xfee00000
%define ICR APIC + 0x300
%define ICR_HIGH APIC + 0x310
%define ROUNDS 20000
%define WIN 0x400000
%define real_flag 0x8ffc

section .text align=4
bits 32
	dd 0x1badb002, 0, -(0x1badb002)
%include "tests/guests/sys32.inc"

; Run a function on all application processors at once (JOB) and wait for them (JOINED).
%macro JOB 1
	mov dword [done], 0
	mov dword [job], %1
	lock inc dword [turn]
%endmacro
%macro JOINED 0
	mov ecx, NAP
	mov edx, done
	call await
%endmacro

section .text
global _start
_start:
	cli
	mov esp, stacks + 4096
	mov eax, pd
	mov dword [eax], 0x83			; 4 MiB pages; a window of small ones; the APIC
	mov dword [eax + 4], pt + 3
	mov dword [eax + 4 * 0x3fb], 0xfec00093
	lgdt [gdtr]
	jmp CODE:.flat
.flat:	mov ax, DATA
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov edi, idt
	mov ecx, 256
.idt:	mov eax, unexpected
	cmp ecx, 256 - 2
	jne .n
	mov eax, nmi
.n:	cmp ecx, 256 - 0x40
	jne .i
	mov eax, ipi
.i:	mov [edi], ax
	mov word [edi + 2], CODE
	mov word [edi + 4], 0x8e00
	shr eax, 16
	mov [edi + 6], ax
	add edi, 8
	loop .idt
	call cpu_setup
	mov esi, tramp
	mov edi, TRAMP
	mov ecx, tramp_end - tramp
	rep movsb

	; ---- INIT, SIPI, SIPI ----
	call start_aps
	cmp dword [started], NAP
	CHECK "INIT and SIPI start every other processor once"
	mov eax, [ids]
	cmp eax, (1 << NCPU) - 2
	CHECK "each has its own APIC id"
	cmp dword [real_bad], 0
	CHECK "they begin in real mode at the page that the SIPI names"

	; ---- locked operations ----
	JOB job_locked
	call job_locked.work
	JOINED
	cmp dword [counter], ROUNDS * NCPU
	CHECK "LOCK INC counts exactly"
	cmp dword [counter + 4], ROUNDS * NCPU
	CHECK "LOCK XADD counts exactly"
	cmp dword [split], ROUNDS * NCPU
	CHECK "a locked word across two pages counts exactly"
	cmp dword [counter8], ROUNDS * NCPU
	CHECK "LOCK CMPXCHG8B counts exactly"
	cmp dword [counter8 + 4], ROUNDS * NCPU
	CHECK "in both halves"
	cmp dword [guarded], ROUNDS * NCPU
	CHECK "XCHG guards a critical section"
	cmp dword [own_bits], 0
	CHECK "LOCK BTS and BTR leave each other's bits alone"

	; ---- IPIs ----
	mov dword [ipis], 0
	JOB job_halt
	mov ecx, NAP
	mov edx, halting
	call await
	mov dword [ICR], 0xc4040		; all but self, vector 0x40
	JOINED
	cmp dword [ipis], NAP
	CHECK "an IPI to all others wakes them from HLT"
	mov dword [ipis], 0
	mov dword [halting], 0
	mov dword [nmis], 0
	JOB job_halt_cli
	mov ecx, NAP
	mov edx, halting
	call await
	mov dword [ICR], 0xc4400		; NMI, all but self
	JOINED
	cmp dword [nmis], NAP
	CHECK "an NMI wakes them from HLT with IF clear"
	mov dword [ICR_HIGH], 2 << 24
	mov dword [ipis], 0
	mov dword [ipi_ids], 0
	JOB job_wait_ipi
	mov dword [ICR], 0x4040			; one by its APIC id
	mov ecx, 1
	mov edx, ipis
	call await
	mov dword [go_on], 1
	JOINED
	cmp dword [ipi_ids], 1 << 2
	CHECK "an IPI to one APIC id reaches that one alone"
	cmp dword [ipis], 1
	CHECK "and once"

	; ---- code and page tables changed by another processor ----
	mov dword [bad], 0
	mov dword [phase], 0
	mov dword [go_on], 0
	JOB job_code
	mov ebx, 1
.patch:	mov [patched + 1], ebx			; MOV EAX, imm32
	mov dword [seen], 0
	mov [phase], ebx
	mov ecx, NAP
	mov edx, seen
	call await
	inc ebx
	cmp ebx, 200
	jb .patch
	mov dword [go_on], 1
	JOINED
	cmp dword [bad], 0
	CHECK "code that another processor wrote is what runs"
	mov dword [page_a], 0x1111
	mov dword [page_b], 0x2222
	mov dword [pt], page_a + 3
	mov dword [bad], 0
	mov dword [go_on], 0
	mov dword [phase], 0
	JOB job_page
	mov ebx, 100
.remap:	mov dword [seen], 0
	inc dword [phase]
	mov eax, page_a
	xor eax, page_b
	xor [pt], eax		; the others run INVLPG when they see the phase
	lock inc dword [phase]
	mov ecx, NAP
	mov edx, seen
	call await
	dec ebx
	jnz .remap
	mov dword [go_on], 1
	JOINED
	cmp dword [bad], 0
	CHECK "a page mapped anew is seen after INVLPG on each"

	; ---- again from the start ----
	mov dword [started], 0
	mov dword [ids], 0
	call start_aps
	cmp dword [started], NAP
	CHECK "INIT takes running processors back to waiting for a SIPI"
	mov dword [counter], 0
	JOB job_one
	JOINED
	cmp dword [counter], NAP
	CHECK "and they work again"

	call plan
	xor eax, eax
	cmp dword [failed], 0
	setnz al
	mov dx, EXIT_PORT
	out dx, eax
	cli
.end:	hlt
	jmp .end

; Wait until [EDX] is at least ECX; gives up after a long time. Keeps EBX.
await:	mov eax, 400000000
.w:	cmp [edx], ecx
	jae .done
	pause
	dec eax
	jnz .w
	MSG "  # gave up waiting"
	MSG 10
.done:	ret

start_aps:
	mov dword [ICR], 0xc4500		; INIT, all but self
	mov ecx, 200000
.w1:	pause
	loop .w1
	mov dword [ICR], 0xc4600 + (TRAMP >> 12)
	mov ecx, NAP
	mov edx, started
	call await
	mov dword [ICR], 0xc4600 + (TRAMP >> 12)	; the second SIPI finds them running
	mov ecx, 200000
.w2:	pause
	loop .w2
	ret

; What every processor does once it is in flat protected mode.
cpu_setup:
	lidt [idtr]
	mov eax, cr4
	or al, 0x10				; PSE
	mov cr4, eax
	mov eax, pd
	mov cr3, eax
	mov eax, cr0
	and eax, 0x9fffffff
	or eax, 0x80010000
	mov cr0, eax
	mov dword [APIC + 0xf0], 0x1ff
	mov dword [APIC + 0x80], 0
	ret

ap_main:
	mov ax, DATA
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov eax, 1
	cpuid
	shr ebx, 24
	mov eax, ebx
	shl eax, 12
	lea esp, [stacks + 4096 + eax]
	lock bts [ids], ebx
	call cpu_setup
	mov ebp, [turn]
	lock inc dword [started]
.next:	cmp [turn], ebp
	jne .go
	pause
	jmp .next
.go:	mov ebp, [turn]
	call [job]
	lock inc dword [done]
	jmp .next

job_one:
	lock inc dword [counter]
	ret

job_locked:
.work:	mov esi, ROUNDS
	mov eax, [APIC + 0x20]
	shr eax, 24
	mov edi, eax				; a bit of one's own
.l:	lock inc dword [counter]
	mov eax, 1
	lock xadd [counter + 4], eax
	lock inc dword [split]
	mov eax, [counter8]
	mov edx, [counter8 + 4]
.c8:	lea ebx, [eax + 1]
	lea ecx, [edx + 1]
	lock cmpxchg8b [counter8]
	jnz .c8
	mov eax, 1
.sp:	xchg [guard], eax
	test eax, eax
	jz .in
	pause
	jmp .sp
.in:	mov eax, [guarded]
	inc eax
	mov [guarded], eax
	mov dword [guard], 0
	lock bts [own_bits], edi
	lock btr [own_bits], edi
	dec esi
	jnz .l
	ret

job_halt:
	lock inc dword [halting]
	sti
	hlt
	cli
	ret
job_halt_cli:
	lock inc dword [halting]
.hlt:	hlt
	ret
job_wait_ipi:
	sti
.w:	pause
	cmp dword [go_on], 0
	je .w
	cli
	ret

job_code:
	xor ebx, ebx
.w:	cmp dword [go_on], 0
	jne .e
	pause
	cmp [phase], ebx
	je .w
	mov esi, [phase]
	xor eax, eax
	cpuid					; serializes
	call patched
	mov ebx, esi
	cmp eax, esi
	je .ok
	lock inc dword [bad]
.ok:	lock inc dword [seen]
	jmp .w
.e:	ret

; The phase is odd while the table changes.
job_page:
	mov esi, 0x1111
	xor ebx, ebx
	mov eax, [WIN]
.w:	cmp dword [go_on], 0
	jne .e
	pause
	mov edi, [phase]
	test edi, 1
	jnz .w
	cmp edi, ebx
	je .w
	mov ebx, edi
	invlpg [WIN]
	xor esi, 0x3333
	cmp [WIN], esi
	je .ok
	lock inc dword [bad]
.ok:	lock inc dword [seen]
	jmp .w
.e:	ret

align 64
patched:
	mov eax, 0
	ret
align 64

ipi:	push eax
	lock inc dword [ipis]
	mov eax, [APIC + 0x20]
	shr eax, 24
	lock bts [ipi_ids], eax
	mov dword [APIC + 0xb0], 0
	pop eax
	iret
; One that comes just before the HLT must not leave it waiting.
nmi:	lock inc dword [nmis]
	cmp dword [esp], job_halt_cli.hlt
	jne .r
	inc dword [esp]
.r:	iret
unexpected:
	MSG "Bail out! unexpected interrupt or fault"
	MSG 10
	mov eax, 2
	mov dx, EXIT_PORT
	out dx, eax
	cli
	hlt

; ---- where a SIPI begins: copied to TRAMP ----
bits 16
tramp:	cli
	xor ax, ax
	mov ds, ax
	mov ax, cs
	cmp ax, TRAMP >> 4
	jne .bad

	mov eax, cr0
	test al, 1
	jz .ok
.bad:	inc byte [real_flag]
.ok:	lgdt [tramp_gdtr - tramp + TRAMP]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp dword CODE:ap_enter
tramp_gdtr:
	dw gdt_end - gdt - 1
	dd gdt
tramp_end:
bits 32

ap_enter:
	mov ax, DATA
	mov ds, ax
	movzx eax, byte [real_flag]
	or [real_bad], eax
	jmp ap_main

section .data align=16
gdt:	dq 0
	dq 0x00cf9b000000ffff
	dq 0x00cf93000000ffff
gdt_end:
gdtr:	dw gdt_end - gdt - 1
	dd gdt
idtr:	dw 2047
	dd idt
align 64
turn:	dd 0
job:	dd 0
done:	dd 0
started: dd 0
ids:	dd 0
real_bad: dd 0
halting: dd 0
ipis:	dd 0
ipi_ids: dd 0
nmis:	dd 0
go_on:	dd 0
phase:	dd 0
seen:	dd 0
bad:	dd 0
counter: dd 0, 0
align 8
counter8: dq 0
guard:	dd 0
guarded: dd 0
own_bits: dd 0
section .bss align=4096
pd:	resb 4096
pt:	resb 4096
page_a:	resb 4096
page_b:	resb 4096
idt:	resb 2048
	resb 2048 - 2
split:	resb 4			; its second half is on the next page
alignb 4096
stacks:	resb 4096 * (NCPU + 1)
