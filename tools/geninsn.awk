# SPDX-License-Identifier: GPL-2.0-or-later
# geninsn.awk - from src/x86/insns.tab, whose head explains the columns:
#   OUT=ops	enum x86_op
#   OUT=table	insn_table[], and what the decoder finds its rows with (src/x86/encoding.h)
# Plain POSIX awk. Whatever it does not understand ends the build.

function fail(why) {
	print FILENAME ":" FNR ": " why ": " $0 > "/dev/stderr"
	failed = 1
	exit 1
}
function hex(s,	i, v) {
	v = 0
	for (i = 1; i <= length(s); i++)
		v = v * 16 + index("0123456789abcdef", substr(s, i, 1)) - 1
	return v
}
function pow2(n,	v) { for (v = 1; n > 0; n--) v *= 2; return v }
function trim(s) { sub(/^[ \t]+/, "", s); sub(/[ \t]+$/, "", s); return s }
# A condition of the row on the decoder's key: @width bits at @bit (enum key_bit) are @v.
function require(bit, width, v,	i) {
	for (i = 0; i < width; i++) {
		if (bit + i in kval)
			fail("contradicting words")
		kval[bit + i] = int(v / pow2(i)) % 2
	}
}
function prefixes(p66, pf3, pf2) {
	if (p66 >= 0) require(K_66, 1, p66)
	require(K_F3, 1, pf3)
	require(K_F2, 1, pf2)
}
function vexprefix(w,	part, n, i) {
	n = split(w, part, ".")
	map = 0
	for (i = 2; i <= n; i++) {
		w = part[i]
		if (w == "128" || w == "l0") require(K_L, 1, 0)
		else if (w == "256") require(K_L, 1, 1)
		else if (w == "lig" || w == "wig") continue
		else if (w == "np") prefixes(0, 0, 0)
		else if (w == "66") prefixes(1, 0, 0)
		else if (w == "f3") prefixes(0, 1, 0)
		else if (w == "f2") prefixes(0, 0, 1)
		else if (w == "w0") require(K_W, 1, 0)
		else if (w == "w1") require(K_W, 1, 1)
		else if (w == "0f") map = 4
		else if (w == "0f38") map = 5
		else if (w == "0f3a") map = 6
		else fail("what is " w)
	}
	if (!map) fail("VEX without a map")
}
function encoding(e,	tok, n, i, w, seen_op, x) {
	n = split(e, tok, " ")
	map = 0; opcode = -1; span = 1; modrm = 0; consumed = 0; vex = 0; lockrow = 0
	for (i = 1; i <= n; i++) {
		w = tok[i]
		if (w ~ /^vex\./) { vexprefix(w); vex = 1 }
		else if (w == "np") prefixes(0, 0, 0)
		else if (w == "nofx") prefixes(-1, 0, 0)
		else if (opcode < 0 && !vex && map == 0 && w == "66") { prefixes(1, 0, 0); consumed = 1 }
		else if (opcode < 0 && !vex && map == 0 && w == "f3") { require(K_F3, 1, 1); consumed = 2 }
		else if (opcode < 0 && !vex && map == 0 && w == "f2") { require(K_F2, 1, 1); consumed = 2 }
		else if (w == "lock") { require(K_LOCK, 1, 1); lockrow = 1 }
		else if (w == "w0") require(K_W, 1, 0)
		else if (w == "w1") require(K_W, 1, 1)
		else if (opcode >= 0 && w == "b0") require(K_B, 1, 0)
		else if (w == "/r") modrm = 1
		else if (w ~ /^\/[0-7]$/) { modrm = 1; require(K_REG, 3, substr(w, 2) + 0) }
		else if (opcode < 0 && !vex && map == 0 && w == "0f" && map == 0) map = 1
		else if (opcode < 0 && w == "38" && map == 1 && !vex) map = 2
		else if (opcode < 0 && w == "3a" && map == 1 && !vex) map = 3
		else if (w ~ /^[0-9a-f][0-9a-f](\+[ri])?$/) {
			x = hex(substr(w, 1, 2))
			if (opcode < 0) {
				opcode = x
				if (w ~ /\+r/) span = 8
			} else {
				modrm = 1
				require(K_MOD3, 1, 1)
				require(K_REG, 3, int(x / 8) % 8)
				if (w !~ /\+i/) require(K_RM, 3, x % 8)
			}
		} else fail("what is " w)
	}
	if (opcode < 0) fail("no opcode")
}
# One operand code to "{ AM_x, SZ_x, register, access }".
function operand(o, acc,	a, s, r) {
	r = 0
	if (o in fixed) return fixed[o] ", " acc " }"
	if (o ~ /^vm(32|64)[xy][dq]$/) {
		a = "VM" substr(o, 3, 2) toupper(substr(o, 5, 1))
		s = toupper(substr(o, 6))
		memonly = 1
	} else {
		a = substr(o, 1, 1)
		s = toupper(substr(o, 2))
		if (s == "") s = "0"
		if (!index("ABCDEGHIJLMNOPQRSUVWXYZ", a)) fail("what is operand " o)
		if (index("M", a)) memonly = 1
		if (index("NRU", a)) regonly = 1
		if (index("BH", a)) usesv = 1
		if (index("EGMRCDSPQNVWU", a) && !modrm) fail("operand " o " without ModRM")
	}
	return "{ AM_" a ", SZ_" s ", 0, " acc " }"
}
function flags(f,	tok, n, i, j, s, ch, und) {
	fr = fw = fu = ""
	n = split(f, tok, " ")
	for (i = 1; i <= n; i++) {
		s = tok[i]
		for (j = 1; j <= length(s); j++) {
			ch = substr(s, j, 1)
			if (ch == "<" || ch == "-") continue
			und = (ch ~ /[a-z]/)
			ch = toupper(ch)
			if (!(ch in flagname)) fail("what is flag " ch)
			if (s ~ /^</) fr = fr " | " flagname[ch]
			else if (und) fu = fu " | " flagname[ch]
			else fw = fw " | " flagname[ch]
		}
	}
	fr = fr == "" ? "0" : substr(fr, 4)
	fw = fw == "" ? "0" : substr(fw, 4)
	fu = fu == "" ? "0" : substr(fu, 4)
}

BEGIN {
	FS = "[ \t]*[|][ \t]*"
	# enum key_bit of encoding.h
	K_MOD3 = 0; K_REG = 1; K_RM = 4; K_W = 7; K_L = 8; K_64 = 9; K_B = 10
	K_66 = 11; K_F3 = 12; K_F2 = 13; K_LOCK = 14
	split("O FL_OF S FL_SF Z FL_ZF A FL_AF P FL_PF C FL_CF D FL_DF I FL_IF T FL_TF N FL_NT" \
	      " L FL_IOPL X FL_AC", t, " ")
	for (i = 1; i in t; i += 2) flagname[t[i]] = t[i + 1]
	fixed["AL"] = "{ AM_REG, SZ_B, RAX"; fixed["CL"] = "{ AM_REG, SZ_B, RCX"
	fixed["AX"] = "{ AM_REG, SZ_W, RAX"; fixed["DX"] = "{ AM_REG, SZ_W, RDX"
	fixed["rAX"] = "{ AM_REG, SZ_V, RAX"; fixed["eAX"] = "{ AM_REG, SZ_Z, RAX"
	fixed["1"] = "{ AM_ONE, SZ_B, 0"; fixed["XMM0"] = "{ AM_XMM0, SZ_DQ, 0"
	fixed["ST0"] = "{ AM_ST, SZ_T, 0"; fixed["STi"] = "{ AM_STI, SZ_T, 0"
	split("ES CS SS DS FS GS", t, " ")
	for (i = 1; i in t; i++) fixed[t[i]] = "{ AM_SEGREG, SZ_W, SEG_" t[i]
	nslot = 7 * 256; nrow = nops = 0
}
/^[ \t]*(#|$)/ { next }
/^\[/ {
	s = trim($0)
	s = substr(s, 2, length(s) - 2)
	nsec = split(s, sec, " ")
	class = "CL_" sec[1]
	feature = nsec < 2 || sec[2] == "-" ? "F_ALWAYS" : "F_" sec[2]
	next
}
NF < 2 { fail("too few columns") }
{
	name = trim($1)
	op = toupper(name)
	if (!(op in seen)) {
		seen[op] = 1
		ops[nops++] = op
	}
	if (OUT == "ops")
		next
	enc = trim($2); opds = trim($3)
	for (b in kval) delete kval[b]
	memonly = regonly = usesv = 0
	encoding(enc)

	feat = feature; attr = ""; mod3 = 0
	for (i = 0; i < 4; i++) access[i] = "ACC_R"
	access[0] = vex ? "ACC_W" : "ACC_RW"
	n = split(trim($4), tok, " ")
	for (i = 3; i <= nsec; i++) tok[++n] = sec[i]
	for (i = 1; i <= n; i++) {
		w = tok[i]
		if (w ~ /^F_/) feat = w
		else if (w ~ /^[RWXN][0-3]$/) {
			s = substr(w, 1, 1)
			access[substr(w, 2) + 0] = s == "R" ? "ACC_R" : s == "W" ? "ACC_W" : s == "X" ? "ACC_RW" : "0"
		} else if (w == "MOD3") mod3 = 1
		else {
			if (w == "NO64") require(K_64, 1, 0)
			if (w == "ONLY64") require(K_64, 1, 1)
			attr = attr " | A_" w
		}
	}
	attr = attr == "" ? "0" : substr(attr, 4)
	flags($5)

	nopd = split(opds, tok, ",")
	s = ""
	for (i = 1; i <= nopd; i++)
		s = s operand(tok[i], access[i - 1]) ", "
	if (memonly) require(K_MOD3, 1, 0)
	if (regonly && !mod3 && !(K_MOD3 in kval)) require(K_MOD3, 1, 1)
	mask = val = 0
	for (b in kval) {
		mask += pow2(b)
		val += kval[b] * pow2(b)
	}
	flg = (usesv ? "ENC_VVVV | " : "") (mod3 ? "ENC_MOD3 | " : "") (lockrow ? "ENC_LOCK | " : "") \
		(consumed == 1 ? "ENC_66 | " : "") (consumed == 2 ? "ENC_REP | " : "")
	encs[nrow] = sprintf("{ 0x%x, 0x%x, %s0, %d, { %s} },", mask, val, flg, nopd, s)
	display = name
	sub(/_.*/, "", display)
	rows[nrow] = sprintf("{ \"%s\", OP_%s, %s, %s, %s, %s, %s, %s, \"%s\", \"%s\" },",
		display, op, class, feat, attr, fr, fw, fu, enc, opds)
	for (i = 0; i < span; i++) {
		k = map * 256 + opcode + i
		cand[k] = cand[k] nrow " "
		if (modrm) needs[k] = 1
	}
	nrow++
}
END {
	if (failed) exit 1
	print "/* Generated from src/x86/insns.tab by tools/geninsn.awk. */"
	if (OUT == "ops") {
		print "enum x86_op {\n\tOP_INVALID,"
		for (i = 0; i < nops; i++)
			print "\tOP_" ops[i] ","
		print "\tOP_N\n};"
		exit
	}
	print "const struct insn_desc insn_table[] = {"
	for (i = 0; i < nrow; i++) print "\t" rows[i]
	print "};\nconst unsigned insn_table_size = " nrow ";\n"
	print "const struct insn_enc insn_encs[] = {"
	for (i = 0; i < nrow; i++) print "\t" encs[i]
	print "};\n\nconst u16 insn_cands[] = {"
	first = 0
	for (k = 0; k < nslot; k++) {
		n = split(cand[k], t, " ")
		if (!n) { slots[k] = "{ 0, 0, 0 }"; continue }
		# The same list as the slot before (+r)?
		if (k && cand[k] == cand[k - 1]) { slots[k] = slots[k - 1]; continue }
		s = "\t"
		for (i = 1; i <= n; i++) s = s t[i] ", "
		print s
		slots[k] = sprintf("{ %d, %d, %d }", first, n, needs[k])
		first += n
	}
	print "};\n\nconst struct insn_slot insn_slots[7][256] = {"
	for (k = 0; k < nslot; k++) {
		if (k % 256 == 0) print "\t{"
		print "\t\t" slots[k] ","
		if (k % 256 == 255) print "\t},"
	}
	print "};"
}
