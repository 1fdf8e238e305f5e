#!/usr/bin/env bash
# A real gdb attaches, reads and writes registers and memory, sets break- and watchpoints, steps,
# interrupts, detaches; the guest goes on. Prints TAP.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-./penta}
for x in gdb nasm; do
	command -v $x >/dev/null || { echo "1..1"; echo "ok 1 - gdb attaches # SKIP $x is not installed"; exit 0; }
done
t=$(mktemp -d); pid=
trap '[ -n "$pid" ] && kill "$pid" 2>/dev/null; rm -rf "$t"' EXIT
nasm -f elf32 -o "$t/g.o" tests/guests/gdb.asm && ld -n -m elf_i386 -Ttext 0x100000 -e _start -o "$t/g.elf" "$t/g.o" 2>/dev/null || exit 1
at() { nm "$t/g.elf" | awk -v s="$1" '$3 == s { print "0x" $1 }'; }
count=$(at count) cell=$(at cell) done=$(at done) head=$(at loop_head)

"$penta" run --engine soft --memory 16M --cpus 2 --kernel "$t/g.elf" --gdb "unix:$t/gdb.sock" </dev/null >"$t/out" 2>"$t/err" & pid=$!
for _ in $(seq 50); do [ -S "$t/gdb.sock" ] && break; sleep 0.1; done
timeout 60 gdb -nx -batch -ex 'set confirm off' -ex 'set pagination off' -ex "target remote $t/gdb.sock" \
	-ex 'echo AT-START ' -ex 'p/x $cr0 & 1' -ex 'info threads' \
	-ex "hbreak *$count" -ex 'c' -ex 'echo AT-BREAK ' -ex 'p/x $rip' -ex 'c' -ex 'echo RCX ' -ex 'p $rcx' -ex 'delete' \
	-ex "watch *(int *)$cell" -ex 'c' -ex 'echo CELL ' -ex "p *(int *)$cell" -ex 'delete' \
	-ex "break *$head" -ex 'c' -ex 'stepi' -ex 'echo STEPPED ' -ex 'p/x $rip' -ex 'delete' \
	-ex 'set $rax = 0x1234' -ex 'echo RAX ' -ex 'p/x $rax' \
	-ex "set {int}$cell = 0x777" -ex 'echo MEM ' -ex "p/x *(int *)$cell" \
	-ex "rwatch *(int *)$done" -ex 'delete' -ex "x/2i $count" -ex 'set $xmm3.v4_int32[1] = 42' -ex 'echo XMM ' -ex 'p $xmm3.v4_int32[1]' \
	-ex 'detach' >"$t/gdb" 2>&1
n=0
ok() { n=$((n + 1)); if eval "$1"; then echo "ok $n - $2"; else echo "not ok $n - $2"; sed 's/^/  gdb: /' "$t/gdb"; tail -5 "$t/err" | sed 's/^/  err: /'; fi; }
hex() { printf '0x%x' "$(($1))"; }
ok 'grep -q "AT-START.*= 0x1" "$t/gdb"' "attaches before the first instruction and reads a control register"
ok '[ "$(grep -cE "Thread [12]" "$t/gdb")" -ge 2 ]' "vCPUs are threads"
ok 'grep -q "AT-BREAK.*= $(hex "$count")" "$t/gdb"' "hardware breakpoint stops before its instruction"
ok 'grep -q "RCX.*= 1" "$t/gdb"' "continues over a breakpoint to its next hit"
ok 'grep -q "CELL.*= 2" "$t/gdb"' "watchpoint stops at the write"
ok 'grep -q "STEPPED.*= $(hex "$count")" "$t/gdb"' "software breakpoint and single step into the call"
ok 'grep -q "RAX.*= 0x1234" "$t/gdb"' "writes a register"
ok 'grep -q "MEM.*= 0x777" "$t/gdb"' "writes memory"
ok 'grep -q "XMM.*= 42" "$t/gdb"' "writes a vector register"
sleep 0.5
timeout 30 gdb -nx -batch -ex "target remote $t/gdb.sock" -ex "p *(int *)$done" -ex 'kill' >"$t/gdb" 2>&1
ok 'kill -0 $pid 2>/dev/null || grep -q "1 = 1" "$t/gdb"' "the guest ran on after detach; a second session"
for _ in $(seq 50); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
ok '! kill -0 $pid 2>/dev/null' "kill ends the machine"
[ "$n" -gt 0 ] && ! kill -0 $pid 2>/dev/null && pid=
printf '$m0,ffffffffffffffffff#00$Z9,1,1#00\x03\x03$vCont;s:ffffffffffffffff#aa$}#00' > "$t/junk"
"$penta" run --engine soft --memory 16M --kernel "$t/g.elf" --gdb "unix:$t/g2.sock" </dev/null >"$t/out" 2>"$t/err" & pid=$!
for _ in $(seq 50); do [ -S "$t/g2.sock" ] && break; sleep 0.1; done
python3 - "$t/g2.sock" "$t/junk" <<'P'
import os, random, socket, sys
random.seed(7)
junk = open(sys.argv[2], "rb").read()
for i in range(200):
    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(0.02)
    body = bytes(random.choice(b"gGpPmMXZzHTcsvqQ?0123456789abcdef,:;=}*") for _ in range(random.randrange(60)))
    body = body.replace(b"k", b"")
    s.sendall(junk if i % 3 == 0 else b"$" + body + b"#%02x" % (sum(body) & 255) if i % 3 == 1 else os.urandom(300))
    try: s.recv(4096)
    except OSError: pass
    s.close()
P
ok 'kill -0 $pid 2>/dev/null' "200 sessions of junk leave the machine alive"
echo "1..$n"
