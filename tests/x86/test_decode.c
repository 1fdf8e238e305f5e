/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The decoder and its table against a second opinion, Zydis: length, mnemonic, operands (kind,
 * size, register, parts of addresses, immediates, access) and flags, over every opcode in every
 * mode and random bytes. Where the two differ on purpose stands below, with the reason. */
#include "unit.h"
#include "x86/encoding.h"
#include "x86/zydis_compare.h"
#include <sys/mman.h>
#include <time.h>

/* Extensions that penta offers on no CPU model. (Zydis' names, by their beginnings.) */
static const char *const not_offered[] = {
	"3DNOW", "AMD3DNOW", "FMA4", "XOP", "TBM", "LWP", "KNC", "AVX512", "AMX", "KEYLOCKER", "CET",
	"MOVDIR", "ENQCMD", "WAITPKG", "PT", "SGX", "SNP", "TDX", "UINTR", "HRESET", "PCONFIG", "PADLOCK",
	"TSX_LDTRK", "RDPRU", "MCOMMIT", "AMD_INVLPGB",
	"PREFETCH_NOP",		/* register forms of 0f 0d: #UD on AMD */
};

static const struct known {
	const char *what, *name;	/* name: of the row; NULL: all */
	const char *why;
} known[] = {
	{ "Zydis does not know it", "mov", "LOCK MOV CR0 is MOV CR8 on AMD" },
	{ "base", NULL, "under 67 with REX.B, Zydis takes SIB base 5 without displacement for R13" },
	{ "mnemonic", "feni", "named feni8087_nop there" },
	{ "mnemonic", "fdisi", "likewise" },
	{ "mnemonic", "fsetpm", "likewise" },
	{ "mnemonic", "retf", "ret there" },
	{ "mnemonic", "nop", "RDSSP without CET is a NOP" },
	{ "mnemonic", "wbnoinvd", "a mode switch there" },
	{ "mnemonic", "xchg", "F3 90 with REX.B exchanges R8: tried on silicon" },
	{ "mnemonic", "fxsave", "fxsave64 there" }, { "mnemonic", "fxrstor", "likewise" },
	{ "mnemonic", "xsave", "likewise" }, { "mnemonic", "xsavec", "likewise" },
	{ "mnemonic", "xsaveopt", "likewise" }, { "mnemonic", "xsaves", "likewise" },
	{ "mnemonic", "xrstor", "likewise" }, { "mnemonic", "xrstors", "likewise" },
	{ "operand count", "blendvps", "XMM0 is written down in the manual" },
	{ "operand count", "blendvpd", "likewise" }, { "operand count", "pblendvb", "likewise" },
	{ "operand count", "sha256rnds2", "likewise" },
	{ "operand count", "clzero", "rAX is implied" }, { "operand count", "invlpga", "likewise" },
	{ "operand count", "skinit", "likewise" }, { "operand count", "vmload", "likewise" },
	{ "operand count", "vmrun", "likewise" }, { "operand count", "vmsave", "likewise" },
	{ "operand count", "fcom", "ST(0) is hidden there" }, { "operand count", "fcomp", "likewise" },
	{ "operand count", "fucom", "likewise" }, { "operand count", "fxch", "likewise" },
	{ "operand count", "fucomp", "likewise" },
	{ "operand count", "nop", "reserved NOPs have one operand here" },
	{ "register", "nop", "likewise" }, { "access", "nop", "NOPs access nothing" },
	{ "segment", "jmp", "3E is no NOTRACK without CET" }, { "segment", "call", "likewise" },
	{ "segment", "lea", "LEA has a segment, and does not use it" },
	{ "size", "lss", "far offsets have 32 bits at most on AMD" }, { "size", "lfs", "likewise" },
	{ "size", "lgs", "likewise" }, { "size", "jmp", "likewise; and 66 FF /4 has 16 bits: tried" },
	{ "size", "call", "likewise" }, { "size", "jmpf", "likewise" }, { "size", "callf", "likewise" },
	{ "size", "lsl", "a selector has 16 bits" },
	{ "size", "movmskps", "4 bytes zero-extended or 8: the same" }, { "size", "movmskpd", "likewise" },
	{ "size", "movsxd", "r16, r/m16 after SDM vol. 2" },
	{ "size", "ud0", "UD accesses nothing" }, { "size", "ud1", "likewise" },
	{ "access", "ud0", "likewise" }, { "access", "ud1", "likewise" },
	{ "access", "bsf", "keeps the destination when the source is 0" }, { "access", "bsr", "likewise" },
	{ "access", "cmov", "keeps the destination when the condition is false" },
	{ "access", "fcmov", "likewise" }, { "access", "lar", "keeps it when the selector is bad" },
	{ "access", "cvtpi2ps", "keeps the upper part" }, { "access", "cvtsd2ss", "likewise" },
	{ "access", "cvtss2sd", "likewise" }, { "access", "movhlps", "likewise" },
	{ "access", "movlhps", "likewise" }, { "access", "movhps", "likewise" },
	{ "access", "movhpd", "likewise" }, { "access", "movlps", "likewise" },
	{ "access", "movlpd", "likewise" }, { "access", "movss", "likewise" },
	{ "access", "movsd", "likewise" }, { "access", "rcpss", "likewise" },
	{ "access", "rsqrtss", "likewise" }, { "access", "sqrtss", "likewise" },
	{ "access", "sqrtsd", "likewise" }, { "access", "roundss", "likewise" },
	{ "access", "roundsd", "likewise" }, { "access", "extrq", "likewise" },
	{ "access", "insertq", "likewise" },
	{ "access", "ffree", "tags the register empty" }, { "access", "ffreep", "likewise" },
	{ "access", "vmclear", "never executed" },
};

static bool is_known(const char *what, const struct insn *in, const ZydisDecodedInstruction *zi)
{
	if (!strcmp(what, "only Zydis knows it") || !strcmp(what, "mnemonic")) {
		const char *isa = ZydisISASetGetString(zi->meta.isa_set);

		for (unsigned i = 0; i < ARRAY_SIZE(not_offered); i++)
			if (!strncmp(isa, not_offered[i], strlen(not_offered[i])) && !in->desc)
				return true;
	}
	for (unsigned i = 0; in->desc && i < ARRAY_SIZE(known); i++) {
		const struct known *k = &known[i];

		if (strcmp(k->what, what))
			continue;
		if (!k->name || !strcmp(k->name, in->desc->name))
			return true;
		if (strstr(k->name, "cmov") && !strncmp(k->name, in->desc->name, strlen(k->name)))
			return true;
	}
	return false;
}

struct sweep {
	struct zydis z;
	u64 n, decoded, differ, known;
	u8 *seen;			/* by row */
	unsigned shown;
};

static u64 rng = 0x9e3779b97f4a7c15ull;
static u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	return rng ^= rng << 17;
}
static void rnd_fill(u8 *b)
{
	for (unsigned i = 0; i < 16; i += 8) {
		u64 v = rnd();

		memcpy(b + i, &v, 8);
	}
}

static void sweep_one(struct sweep *s, const u8 *b, unsigned mode)
{
	ZydisDecodedInstruction zi;
	struct insn in;
	const char *what = zydis_compare(&s->z, b, 15, mode, &in, &zi);
	char text[160];

	s->n++;
	if (in.desc) {
		s->decoded++;
		s->seen[in.desc - insn_table] = 1;
	}
	if (!what)
		return;
	if (is_known(what, &in, &zi)) {
		s->known++;
		return;
	}
	s->differ++;
	if (s->shown++ >= 20)
		return;
	insn_format(&in, 0, text, sizeof(text));
	fprintf(stderr, "mode %u:", mode);
	for (unsigned i = 0; i < 12; i++)
		fprintf(stderr, " %02x", b[i]);
	fprintf(stderr, ": %s: %s, Zydis: %s\n", what, text,
		zi.mnemonic ? ZydisMnemonicGetString(zi.mnemonic) : "(bad)");
}

static void sweep_begin(struct sweep *s)
{
	memset(s, 0, sizeof(*s));
	zydis_init(&s->z);
	s->seen = calloc(insn_table_size, 1);
	assert_non_null(s->seen);
}

static void sweep_end(struct sweep *s, const char *name)
{
	printf("# %s: %lu byte strings, %lu instructions, %lu known differences\n", name,
	       (unsigned long)s->n, (unsigned long)s->decoded, (unsigned long)s->known);
	free(s->seen);
	assert_int_equal(s->differ, 0);
}

static bool modrm_wanted(unsigned m)
{
	unsigned mod = m >> 6, rm = m & 7;

	return mod == 3 || (mod == 0 && (rm == 0 || rm == 4 || rm == 5)) || m == 0x44 || m == 0x86;
}

static void legacy_opcodes(struct sweep *s, unsigned mode)
{
	static const u8 pfx[] = { 0, 0x66, 0xf2, 0xf3, 0xf0 };
	u8 b[16];

	for (unsigned k = 0; k < 4 * 256 * ARRAY_SIZE(pfx) * 2; k++) {
		unsigned map = k & 3, op = (k >> 2) & 255, w = (k >> 10) & 1, p = k >> 11;

		if (w && mode != 8)
			continue;
		for (unsigned m = 0; m < 256; m++) {
			unsigned n = 0;

			if (!modrm_wanted(m))
				continue;
			rnd_fill(b);
			if (pfx[p])
				b[n++] = pfx[p];
			if (w)
				b[n++] = 0x48 | (b[15] & 7);
			if (map)
				b[n++] = 0x0f;
			if (map > 1)
				b[n++] = map == 2 ? 0x38 : 0x3a;
			b[n++] = op;
			b[n++] = m;
			sweep_one(s, b, mode);
		}
	}
}

static void vex_opcodes(struct sweep *s, unsigned mode)
{
	u8 b[16];

	for (unsigned k = 0; k < 3 * 256 * 16; k++) {
		unsigned wlpp = k & 15, op = (k >> 4) & 255, map = 1 + (k >> 12);

		for (unsigned m = 0; m < 256; m++) {
			unsigned vvvv;

			if (!modrm_wanted(m))
				continue;
			rnd_fill(b);
			vvvv = b[15] & 1 ? 15 : b[14] & 15;
			if (map == 1 && !(wlpp & 8) && b[15] & 2) {
				b[0] = 0xc5;
				b[1] = (mode == 8 ? b[13] & 0x80 : 0x80) | vvvv << 3 | (wlpp & 7);
				if (mode != 8)
					b[1] |= 0x40;
				b[2] = op;
				b[3] = m;
			} else {
				b[0] = 0xc4;
				b[1] = (mode == 8 ? b[13] & 0xe0 : 0xc0 | (b[13] & 0x20)) | map;
				b[2] = (wlpp & 8) << 4 | vvvv << 3 | (wlpp & 7);
				b[3] = op;
				b[4] = m;
			}
			sweep_one(s, b, mode);
		}
	}
}

static void test_all_opcodes(void **state)
{
	struct sweep s;
	unsigned missing = 0;

	sweep_begin(&s);
	for (unsigned mode = 2; mode <= 8; mode *= 2) {
		legacy_opcodes(&s, mode);
		vex_opcodes(&s, mode);
	}
	for (unsigned i = 0; i < insn_table_size; i++) {
		if (s.seen[i])
			continue;
		fprintf(stderr, "never decoded: %s %s\n", insn_table[i].name, insn_table[i].encoding);
		missing++;
	}
	sweep_end(&s, "all opcodes");
	assert_int_equal(missing, 0);
}

static void test_random(void **state)
{
	static const u8 pre[] = { 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0x48,
				  0x41, 0x4f, 0x40 };
	struct sweep s;
	u8 b[16];

	sweep_begin(&s);
	for (unsigned k = 0; k < 1500000; k++) {
		u64 r = rnd();
		unsigned n = 0, np = r & 3, mode = 2u << ((r >> 2) % 3);

		rnd_fill(b);
		r >>= 8;
		if (r & 3) {
			for (; np; np--, r >>= 4)
				b[n++] = pre[(r & 15) % ARRAY_SIZE(pre)];
			switch ((r >> 20) & 7) {
			case 0: case 1: b[n++] = 0x0f; break;
			case 2: b[n++] = 0x0f; b[n++] = 0x38; break;
			case 3: b[n++] = 0x0f; b[n++] = 0x3a; break;
			case 4: b[n++] = 0xc4; b[n] = (b[n] & 0xe0) | (1 + (r >> 24) % 3); break;
			default: break;
			}
		}
		sweep_one(&s, b, mode);
	}
	sweep_end(&s, "random");
}

/* Flags: by row, as Zydis lists them. */
static const struct { const char *name, *why; } flag_notes[] = {
	{ "shl", "a count of 0 keeps flags: they are read; OF of a count of 1 is defined" },
	{ "shr", "" }, { "sar", "" }, { "shld", "" }, { "shrd", "" }, { "rol", "" }, { "ror", "" },
	{ "rcl", "" }, { "rcr", "" },
	{ "sbb", "AF is defined" }, { "mov", "MOV CR and DR leave them undefined" },
	{ "int3", "IF is delivery's matter" }, { "int", "" }, { "into", "" }, { "int1", "" },
	{ "cmps", "ZF is not read" }, { "scas", "" }, { "rsm", "never executed" },
	{ "vptest", "all are written" }, { "vtestps", "" }, { "vtestpd", "" },
	{ "bextr", "CF and OF are cleared" },
	{ "vmcall", "VMX is not offered" }, { "vmlaunch", "" }, { "vmresume", "" }, { "vmxoff", "" },
	{ "vmptrld", "" }, { "vmptrst", "" }, { "vmxon", "" }, { "vmclear", "" },
};

static bool flags_noted(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(flag_notes); i++)
		if (!strcmp(flag_notes[i].name, name))
			return true;
	return false;
}

static void test_flags(void **state)
{
	const u32 mask = FL_OSZAPC | FL_DF | FL_IF;
	struct zydis z;
	unsigned bad = 0, checked = 0;
	u8 *seen = calloc(insn_table_size, 1), b[16];

	assert_non_null(seen);
	zydis_init(&z);
	for (unsigned k = 0; k < 4 * 256 * 256 * 4; k++) {
		static const u8 pfx[] = { 0, 0x66, 0xf2, 0xf3 };
		unsigned n = 0, map = k & 3;
		const ZydisAccessedFlags *f;
		ZydisDecodedInstruction zi;
		u32 rd, wr, un;
		struct insn in;

		memset(b, 0, sizeof(b));
		if (k >> 18)
			b[n++] = pfx[k >> 18];
		if (map == 3) {		/* VEX 0f 38 */
			static const u8 vex[] = { 0xc4, 0xe2, 0x78 };
			memcpy(b, vex, 3);
			b[2] |= k >> 18;
			n = 3;
		} else if (map) {
			b[n++] = 0x0f;
			if (map == 2)
				b[n++] = 0x38;
		}
		b[n++] = k >> 2;
		b[n] = k >> 10;
		if (zydis_compare(&z, b, 15, 8, &in, &zi) && zydis_compare(&z, b, 15, 4, &in, &zi))
			continue;
		if (!in.desc || seen[in.desc - insn_table])
			continue;
		seen[in.desc - insn_table] = 1;
		checked++;
		f = zi.cpu_flags;
		wr = f ? (f->modified | f->set_0 | f->set_1) & mask : 0;
		un = f ? f->undefined & mask : 0;
		rd = f ? f->tested & mask : 0;
		if ((wr == (in.desc->fl_write & mask) && un == (in.desc->fl_undef & mask) &&
		     rd == (in.desc->fl_read & mask)) || flags_noted(in.desc->name))
			continue;
		bad++;
		fprintf(stderr, "%s %s: written %x undefined %x read %x, Zydis %x %x %x\n", in.desc->name,
			in.desc->encoding, in.desc->fl_write, in.desc->fl_undef, in.desc->fl_read, wr, un, rd);
	}
	free(seen);
	assert_true(checked > 900);
	assert_int_equal(bad, 0);
}

/* Every beginning of an instruction is -EAGAIN, and no byte beyond is looked at: it would fault. */
static void test_truncated(void **state)
{
	u8 *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), b[16];
	unsigned done = 0;

	assert_ptr_not_equal(page, MAP_FAILED);
	assert_int_equal(mprotect(page + 4096, 4096, PROT_NONE), 0);
	while (done < 200000) {
		unsigned mode = 2u << (rnd() % 3);
		struct insn in, cut;

		rnd_fill(b);
		if (rnd() & 1)
			b[0] = 0x0f;
		if (insn_decode(&in, b, 15, mode))
			continue;
		done++;
		for (unsigned n = 0; n <= in.len; n++) {
			u8 *at = page + 4096 - n;

			memcpy(at, b, n);
			assert_int_equal(insn_decode(&cut, at, n, mode), n < in.len ? -EAGAIN : 0);
			assert_true(cut.len <= n);
		}
		assert_int_equal(cut.len, in.len);
		assert_ptr_equal(cut.desc, in.desc);
	}
	munmap(page, 8192);
}

static int dec(struct insn *in, unsigned mode, const char *hex)
{
	u8 b[16] = { 0 };
	unsigned n = 0;

	for (const char *p = hex; *p && n < 16; p += 2 + (p[2] == ' '))
		b[n++] = strtoul((char[]){ p[0], p[1], 0 }, NULL, 16);
	return insn_decode(in, b, n, mode);
}

static void test_rules(void **state)
{
	static const struct { unsigned mode; int r; const char *hex; } rules[] = {
		/* LOCK: only where allowed, only with memory. */
		{ 8, 0, "f0 01 03" }, { 8, -EILSEQ, "f0 01 c3" }, { 8, -EILSEQ, "f0 03 03" },
		{ 8, -EILSEQ, "f0 3b 03" }, { 8, -EILSEQ, "f0 39 03" }, { 8, -EILSEQ, "f0 90" },
		{ 8, 0, "f0 0f b1 0b" }, { 8, -EILSEQ, "f0 0f a3 0b" }, { 8, 0, "f0 87 03" },
		{ 8, 0, "f0 0f 20 c0" }, { 4, 0, "f0 0f 22 c0" }, { 8, -EILSEQ, "f0 0f 20 d0" },
		/* VEX after other prefixes. */
		{ 8, 0, "c5 f8 77" }, { 8, -EILSEQ, "66 c5 f8 77" }, { 8, -EILSEQ, "f3 c5 f8 77" },
		{ 8, -EILSEQ, "f0 c5 f8 77" }, { 8, -EILSEQ, "48 c5 f8 77" }, { 8, 0, "48 67 c5 f8 77" },
		{ 8, 0, "64 c5 f9 6f 00" },
		/* vvvv must be 1111 when there is no such operand; map, L, W. */
		{ 8, -EILSEQ, "c5 f0 77" }, { 8, -EILSEQ, "c4 e4 78 77" }, { 8, -EILSEQ, "c4 e2 7c f2 c0" },
		{ 8, -EILSEQ, "c4 e2 f9 18 00" },
		/* LES, LDS, BOUND are themselves outside 64-bit mode. */
		{ 4, 0, "c4 00" }, { 4, 0, "c5 00" }, { 4, 0, "62 00" }, { 8, -EILSEQ, "62 00" },
		{ 4, -EILSEQ, "62 c0" }, { 4, 0, "c5 f8 77" },
		/* Register or memory only. */
		{ 8, -EILSEQ, "8d c0" }, { 8, -EILSEQ, "0f c7 c8" }, { 8, -EILSEQ, "0f 01 d2" },
		/* Segment, control and debug registers. */
		{ 8, -EILSEQ, "8e c8" }, { 8, 0, "8c c8" }, { 8, -EILSEQ, "8c f0" }, { 8, -EILSEQ, "0f 20 c8" },
		{ 8, 0, "44 0f 20 c0" }, { 8, -EILSEQ, "44 0f 21 c0" }, { 8, 0, "0f 20 00" },
		/* Only here or only there. */
		{ 8, -EILSEQ, "27" }, { 4, 0, "27" }, { 4, -EILSEQ, "0f 01 f8" }, { 8, 0, "0f 01 f8" },
		{ 8, -EILSEQ, "82 c0 01" }, { 4, 0, "82 c0 01" }, { 8, -EILSEQ, "9a" },
		/* Gathers: distinct registers, VSIB, no 16-bit addresses. */
		{ 8, 0, "c4 e2 69 90 04 08" }, { 8, -EILSEQ, "c4 e2 79 90 04 08" },
		{ 8, -EILSEQ, "c4 e2 69 90 00" }, { 4, -EILSEQ, "67 c4 e2 69 90 04 08" },
		/* Fifteen bytes, not sixteen. */
		{ 8, 0, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 90" },
		{ 8, -E2BIG, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90" },
		{ 8, -E2BIG, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 0f 05" },
		{ 8, -EAGAIN, "66 66 66 66 66 66 66 66 66 66 66 66 66 66" },
		/* Mandatory prefixes: F2 and F3 go before 66, the later of them counts. */
		{ 8, -EILSEQ, "66 f2 0f 54 c0" }, { 8, 0, "66 0f 54 c0" }, { 8, -EILSEQ, "f3 0f 54 c0" },
	};
	struct insn in;

	for (unsigned i = 0; i < ARRAY_SIZE(rules); i++) {
		int r = dec(&in, rules[i].mode, rules[i].hex);

		if (r != rules[i].r)
			fail_msg("mode %u %s: %d, should be %d", rules[i].mode, rules[i].hex, r, rules[i].r);
	}
	dec(&in, 8, "f0 0f 20 c0");
	assert_int_equal(in.opd[1].reg, 8);
	assert_int_equal(in.desc->feature, F_CR8LEGACY);
	dec(&in, 8, "f3 66 0f 10 c1");
	assert_int_equal(in.op, OP_MOVSS);
	dec(&in, 8, "f2 f3 0f 10 c1");
	assert_int_equal(in.op, OP_MOVSS);
	assert_int_equal(in.rep, 0);
	dec(&in, 8, "f2 a4");
	assert_int_equal(in.rep, 0xf2);
	dec(&in, 8, "48 66 01 c0");	/* REX that is not last counts for nothing */
	assert_int_equal(in.opsize, 2);
	dec(&in, 8, "66 e9 00 00");
	assert_int_equal(in.opsize, 2);
	dec(&in, 8, "66 48 e9 00 00 00 00");
	assert_int_equal(in.opsize, 8);
}

static void test_format(void **state)
{
	static const struct { unsigned mode; const char *hex, *text; } t[] = {
		{ 8, "48 8b 44 8d f0", "mov rax, qword ptr [rbp+rcx*4-0x10]" },
		{ 8, "f3 48 a5", "rep movsq" }, { 8, "f2 ae", "repne scasb" },
		{ 8, "48 8b 05 10 00 00 00", "mov rax, qword ptr [rip+0x10] {0x1017}" },
		{ 8, "f0 48 0f b1 0b", "lock cmpxchg qword ptr [rbx], rcx" },
		{ 2, "26 8a 07", "mov al, byte ptr es:[bx]" }, { 2, "ea 34 12 00 f0", "jmp far 0xf000:0x1234" },
		{ 4, "e8 fb ff ff ff", "call 0x1000" }, { 8, "c4 e2 69 92 44 99 08",
		  "vgatherdps xmm0, dword ptr [rcx+xmm3*4+0x8], xmm2" },
		{ 8, "40 88 e0", "mov al, spl" }, { 8, "88 e0", "mov al, ah" }, { 4, "d8 c1", "fadd st(0), st(1)" },
		{ 8, "48 98", "cdqe" }, { 8, "66 99", "cwd" }, { 8, "67 e3 00", "jecxz 0x1003" },
		{ 8, "a1 88 77 66 55 44 33 22 11", "mov eax, dword ptr [0x1122334455667788]" },
	};
	struct insn in;
	char text[160], small[4];

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		dec(&in, t[i].mode, t[i].hex);
		assert_int_equal(insn_format(&in, 0x1000, text, sizeof(text)), strlen(t[i].text));
		assert_string_equal(text, t[i].text);
	}
	insn_format(&in, 0, small, sizeof(small));
	assert_string_equal(small, "mov");
	assert_int_equal(dec(&in, 8, "06"), -EILSEQ);
	insn_format(&in, 0, text, sizeof(text));
	assert_string_equal(text, "(bad) 06");
}

static void test_speed(void **state)
{
	static const u8 code[] = { 0x48, 0x8b, 0x44, 0x8d, 0xf0, 0x48, 0x01, 0xd8, 0x75, 0x02, 0x0f, 0xb6, 0x07,
		0x48, 0x83, 0xc7, 0x01, 0xc5, 0xf9, 0x6f, 0x06, 0xe8, 0, 0, 0, 0, 0x55, 0xc3, 0, 0, 0, 0, 0, 0, 0, 0 };
	struct timespec a, b;
	struct insn in;
	unsigned long n = 0;
	double s;

	clock_gettime(CLOCK_MONOTONIC, &a);
	for (unsigned k = 0; k < 200000; k++)
		for (unsigned at = 0; at < 28; at += in.len, n++)
			assert_int_equal(insn_decode(&in, code + at, 15, 8), 0);
	clock_gettime(CLOCK_MONOTONIC, &b);
	s = b.tv_sec - a.tv_sec + (b.tv_nsec - a.tv_nsec) / 1e9;
	printf("# decoder: %.0f million instructions a second\n", n / s / 1e6);
	assert_true(n / s > 1e6);	/* far below what it does: catches a linear search */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_opcodes),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_speed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
