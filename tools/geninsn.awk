BEGIN { if (OUT == "ops") print "enum x86_op { OP_INVALID, OP_N };" }
