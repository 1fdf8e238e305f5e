# geninsn.awk - from src/x86/insns.tab: enum x86_op (OUT=ops) and the rows of insn_table (OUT=table).
BEGIN { FS = "[ \t]*\\|[ \t]*" }
/^[ \t]*(#|$)/ { next }
{
	op = toupper($1)
	if (!(op in seen)) {
		seen[op] = 1
		ops[nops++] = op
	}
}
END {
	if (OUT == "ops") {
		print "/* Generated from src/x86/insns.tab by tools/geninsn.awk. */"
		print "enum x86_op {\n\tOP_INVALID,"
		for (i = 0; i < nops; i++)
			print "\tOP_" ops[i] ","
		print "\tOP_N\n};"
	}
}
