; SPDX-License-Identifier: GPL-2.0-or-later
; crash.asm - guests that end badly, one chosen by -DWHICH: a multiboot 1 image (entered in 32-bit
; protected mode, paging off, interrupts off). Each first says "UP" on COM1.
bits 32
section .text align=4
	dd 0x1badb002, 0, -(0x1badb002)		; multiboot header: no flags
global _start
_start:
	mov dx, 0x3f8
	mov al, 'U'
	out dx, al
	mov al, 'P'
	out dx, al
	mov al, 10
	out dx, al
%if WHICH == 0			; triple fault: no IDT at all
	lidt [empty]
	ud2
%elif WHICH == 1		; jump into nowhere: unmapped physical memory reads all ones (#UD), no IDT
	lidt [empty]
	mov eax, 0xc0000000
	jmp eax
%elif WHICH == 2		; never wakes: halted with interrupts off
	cli
	hlt
	jmp $
%elif WHICH == 3		; powers on and exits by the debug port with code 7 -> (7 << 1) | 1
	mov eax, 7
	mov dx, 0xf4
	out dx, eax
	jmp $
%elif WHICH == 4		; spins for ever with interrupts off
	cli
	jmp $
%endif
empty:	dw 0
	dd 0
