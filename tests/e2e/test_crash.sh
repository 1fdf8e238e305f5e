#!/usr/bin/env bash
# Guests that triple-fault, jump into nowhere, or halt for ever end as --on-crash says, with a
# register dump; a guest that spins can be ended from outside. Prints TAP.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-./penta}
command -v nasm >/dev/null || { echo "1..0 # SKIP nasm is not installed"; echo "ok 1 - crash guests # SKIP nasm is not installed"; exit 0; }
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
n=0
for w in 0 1 2 3 4; do
	nasm -f elf32 -DWHICH=$w -o "$t/$w.o" tests/guests/crash.asm && ld -n -m elf_i386 -Ttext 0x100000 -e _start -o "$t/$w.elf" "$t/$w.o" || exit 1
done
ok() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; cat "$t/out" "$t/err" | tail -n 40 | sed 's/^/  /'; fi; }
run() { timeout -k 5 20 "$penta" run ${PENTA_RUN_OPTIONS:-} --engine soft --memory 16M "$@" </dev/null >"$t/out" 2>"$t/err"; rc=$?; }

run --kernel "$t/0.elf" --on-crash exit
[ $rc -ne 0 ] && [ $rc -lt 100 ] && grep -q UP "$t/out" && grep -qi 'triple fault' "$t/err" && grep -qi 'rip' "$t/err"; ok $? "triple fault: reported with registers, status not 0"
run --kernel "$t/1.elf" --on-crash exit
[ $rc -ne 0 ] && [ $rc -lt 100 ] && grep -q UP "$t/out" && grep -qi 'triple fault' "$t/err" && grep -qi 'rip' "$t/err"; ok $? "jump into nowhere: reported with registers, status not 0"
run --kernel "$t/2.elf" --on-crash exit
[ $rc -ne 0 ] && [ $rc -lt 100 ] && grep -q UP "$t/out" && grep -qi 'halted' "$t/err" && grep -qi 'rip' "$t/err"; ok $? "halted for ever with interrupts off: reported with registers"
run --kernel "$t/3.elf"
[ $rc -eq 15 ]; ok $? "debug exit port: the guest's code is the exit status"
(timeout -k 5 4 "$penta" run ${PENTA_RUN_OPTIONS:-} --engine soft --memory 16M --kernel "$t/0.elf" --on-crash reset </dev/null >"$t/out" 2>"$t/err"); rc=$?
[ $rc -eq 124 ] && [ "$(grep -c UP "$t/out")" -ge 3 ]; ok $? "on-crash reset: the guest starts again and again"
(timeout -k 5 3 "$penta" run ${PENTA_RUN_OPTIONS:-} --engine soft --memory 16M --kernel "$t/0.elf" --on-crash pause </dev/null >"$t/out" 2>"$t/err"); rc=$?
[ $rc -eq 124 ] && [ "$(grep -c UP "$t/out")" -eq 1 ] && grep -qi 'triple fault' "$t/err"; ok $? "on-crash pause: the guest stays as it fell"
(timeout -k 5 2 "$penta" run ${PENTA_RUN_OPTIONS:-} --engine soft --memory 16M --kernel "$t/4.elf" </dev/null >"$t/out" 2>"$t/err"); rc=$?
[ $rc -eq 124 ]; ok $? "a guest that spins with interrupts off ends on SIGTERM at once"
echo "1..$n"
