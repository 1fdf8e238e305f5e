#!/usr/bin/env bash
# The system-level guests of tests/guests/sys*.asm on the soft engine: rules of paging, segments,
# gates, tasks, debug registers and interrupts. Each guest prints TAP itself; its lines are ours.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-./penta}
command -v nasm >/dev/null || { echo "1..1"; echo "ok 1 - system guests # SKIP nasm is not installed"; exit 0; }
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
n=0 bad=0
for src in tests/guests/sys*.asm; do
	g=$(basename "$src" .asm) fmt=elf64 emu=elf_x86_64 cpus=1
	case $g in sys32*) fmt=elf32 emu=elf_i386 ;; esac
	case $g in *smp) cpus=4 ;; esac
	nasm -f $fmt -o "$t/$g.o" "$src" && ld -n -m $emu -Ttext 0x100000 -e _start -o "$t/$g.64" "$t/$g.o" 2>/dev/null &&
		objcopy -O elf32-i386 "$t/$g.64" "$t/$g.elf" 2>/dev/null || { n=$((n + 1)); bad=1; echo "not ok $n - $g: assembles"; continue; }
	timeout 60 "$penta" run --engine soft --cpu max --cpus $cpus --memory 64M --kernel "$t/$g.elf" </dev/null >"$t/out" 2>"$t/err"; rc=$?
	tr -d '\r' < "$t/out" > "$t/txt"
	want=$(sed -n 's/^1\.\.\([0-9]*\)$/\1/p' "$t/txt") got=0
	while IFS= read -r l; do
		case $l in
		"ok "*) n=$((n + 1)) got=$((got + 1)); echo "ok $n - $g: ${l#ok * - }" ;;
		"not ok "*) n=$((n + 1)) got=$((got + 1)) bad=1; echo "not ok $n - $g: ${l#not ok * - }" ;;
		"  #"*) echo "$l" ;;
		esac
	done < "$t/txt"
	n=$((n + 1))
	if [ $rc -eq 1 ] && [ "${want:-x}" = "$got" ]; then echo "ok $n - $g ran to its end"
	else echo "not ok $n - $g ran to its end (exit status $rc, $got lines of ${want:-?})"; bad=1; tail -3 "$t/txt" | sed 's/^/  /'; tail -20 "$t/err" | sed 's/^/  /'; fi
done
echo "1..$n"
exit $bad
