/* SPDX-License-Identifier: GPL-2.0-or-later */
/* embed.c - the files of embed.h, put in by the assembler. The Makefile says what they depend on. */
#include "manage/image/embed.h"
#include "base/types.h"

#define EMBED(name, path)						\
	__asm__(".pushsection .rodata\n"				\
		".balign 16\n"						\
		"embed_" #name "_start: .incbin \"" path "\"\n"		\
		"embed_" #name "_end: .byte 0\n"			\
		".balign 8\n"						\
		"embed_" #name "_len: .quad embed_" #name "_end - embed_" #name "_start\n" \
		".popsection\n");					\
	extern const u8 embed_##name##_start[];				\
	extern const u64 embed_##name##_len

EMBED(sh, "src/manage/image/debian.sh");
EMBED(guest, GUEST_AGENT);

/* The assembler knows the lengths, the compiler does not: they are read where they are needed. */
struct embedded embed_debian_sh(void)
{
	return (struct embedded){ embed_sh_start, embed_sh_len };
}

struct embedded embed_agent(void)
{
	return (struct embedded){ embed_guest_start, embed_guest_len };
}
