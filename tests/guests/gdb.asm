; SPDX-License-Identifier: GPL-2.0-or-later
; gdb.asm - something to debug: a multiboot 1 image that counts in memory for ever.
bits 32
section .text align=4
	dd 0x1badb002, 0, -(0x1badb002)
global _start, count, cell, loop_head
_start:
	mov esp, stack
	xor ecx, ecx
loop_head:
	call count
	cmp ecx, 5
	jne loop_head
	mov dword [done], 1
	jmp loop_head
count:
	inc ecx
	mov [cell], ecx
	mov eax, 0x11223344
	ret
section .bss
	resb 256
stack:
cell:	resd 1
done:	resd 1
