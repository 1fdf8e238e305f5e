#!/usr/bin/env bash
# The command line: what is wrong with an option, a file or a size is told in one clear line, with
# the right exit status and no crash; help and completion are in step with the options. Prints TAP.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-./penta}
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
n=0
ok() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; head -5 "$t/err" | sed 's/^/  /'; fi; }

# refuse STATUS PATTERN ARGS...: ends with STATUS, one line on stderr that matches, nothing on stdout.
refuse() {
	local want=$1 pattern=$2 rc; shift 2
	timeout 20 "$penta" "$@" </dev/null >"$t/out" 2>"$t/err"; rc=$?
	[ $rc -eq "$want" ] && [ "$(wc -l < "$t/err")" -eq 1 ] && [ ! -s "$t/out" ] &&
		grep -q '^penta: ' "$t/err" && grep -qE -e "$pattern" "$t/err"
	local r=$?
	[ $r -eq 0 ] || echo "  status $rc, wanted $want and /$pattern/" >>"$t/err"
	local what="refused: penta ${*//$t/}"
	ok $r "${what:0:100}"
}

# Files to boot that are none.
head -c 65536 /dev/urandom > "$t/noise"
: > "$t/empty"
printf '\177ELF' > "$t/elf"
mkfifo "$t/fifo"
{ head -c 497 /dev/zero; printf '\003'; head -c 12 /dev/zero; printf '\125\252\353\152HdrS\017\002'; head -c 3000 /dev/zero; } > "$t/short"

refuse 2 'did you mean "run"' rum
refuse 2 'penta --help' frobnicate
refuse 2 'did you mean --kernel' run --kernl x
refuse 2 'did you mean --memory' run --mem 512M --kernel x
refuse 2 'no option --wibble' run --wibble
refuse 2 'needs a value' run --kernel
refuse 2 'takes no value' run --stats=3 --kernel x
refuse 2 'given twice' run --kernel a --kernel b
refuse 1 'no machine "vmlinuz"' run vmlinuz
refuse 2 'nothing to boot' run
refuse 2 'exclude each other' run --kernel a --firmware b
refuse 2 'go with --kernel' run --firmware b --append c
refuse 2 '2M to 1T' run --kernel x --memory 1M
refuse 2 '2M to 1T' run --kernel x --memory 10T
refuse 2 '2M to 1T' run --kernel x --memory 99999999999999999T
refuse 2 '2M to 1T' run --kernel x --memory 0
refuse 2 'a size is a number' run --kernel x --memory lots
refuse 2 'a size is a number' run --kernel x --memory -5M
refuse 2 'a size is a number' run --kernel x --memory 5X
refuse 2 'multiple of 4K' run --kernel x --memory 2049K --cpus 1
refuse 2 '1 to 64' run --kernel x --cpus 0
refuse 2 '1 to 64' run --kernel x --cpus 10000
refuse 2 '1 to 64' run --kernel x --cpus two
refuse 2 'auto soft kvm' run --kernel x --engine warp
refuse 2 'lite' run --kernel x --machine pdp11
refuse 2 'base, v2, v3, max' run --kernel x --cpu 6502
refuse 2 'exit reset pause' run --kernel x --on-crash cry
refuse 2 'auto direct' run --kernel x --boot camp
refuse 2 'terminal none pty' run --kernel x --serial carrier-pigeon
refuse 2 'at most 2' run --kernel x --serial none --serial none --serial none
refuse 2 'no trace point' run --kernel x --trace 'no.such*'
refuse 2 'trace-file' run --kernel x --trace-file "$t/no/such" --trace 'cpu.*'
refuse 1 'No such file' run --kernel "$t/absent"
refuse 1 'no kvm engine yet.*--engine soft' run --kernel x --engine kvm
refuse 1 'is a directory' run --kernel "$t"
refuse 1 'regular file' run --kernel "$t/fifo"
refuse 1 'is empty' run --kernel "$t/empty"
refuse 1 'regular file' run --kernel /dev/zero
refuse 1 'no kernel that I know' run --kernel "$t/noise"
refuse 1 'ELF' run --kernel "$t/elf"
refuse 1 'damaged header' run --kernel "$t/short"
refuse 1 '16 bytes to 16 MiB|bytes; a ROM' run --firmware "$t/elf"
refuse 1 'No such file' run --kernel "$t/noise" --initrd "$t/absent"

# A real kernel, if one is there: cut short, and with too little memory or too large an initrd.
if k=$(tools/guest-kernel cloud 2>"$t/err"); then
	head -c 1000000 "$k" > "$t/cut"
	head -c 20000 "$k" > "$t/cut2"
	truncate -s 600M "$t/bigrd"
	refuse 1 'truncated' run --kernel "$t/cut"
	refuse 1 'truncated' run --kernel "$t/cut2"
	refuse 1 '--memory' run --kernel "$k" --memory 32M
	refuse 1 'bigrd.*--memory' run --kernel "$k" --initrd "$t/bigrd" --memory 512M
	refuse 1 'at most 2047' run --kernel "$k" --append "$(head -c 3000 /dev/zero | tr '\0' a)"
	cp "$k" "$t/damaged"
	printf '\252\252\252\252' | dd of="$t/damaged" bs=1 seek=3000000 conv=notrunc 2>/dev/null
	refuse 1 'damaged' run --kernel "$t/damaged"
	(ulimit -f 1000; exec timeout 20 "$penta" run --kernel "$k" </dev/null >"$t/out" 2>"$t/err")
	[ $? -eq 1 ] && [ "$(wc -l < "$t/err")" -eq 1 ] && grep -q 'ulimit -f' "$t/err"
	ok $? "memory beyond the file size limit is refused"
	refuse 1 'is there already; remove' run --kernel "$k" --serial "unix:$t/empty"
	refuse 1 'is there already; remove' run --kernel "$k" --gdb "unix:$t/empty"
else
	n=$((n + 1)); echo "ok $n - a real kernel, damaged # SKIP $(tail -1 "$t/err")"
fi

# Help teaches all options, and costs nothing.
for v in run create start stop reset pause resume ls show set rm console logs rename clone autostart inspect doctor; do
	"$penta" $v --help >"$t/out" 2>"$t/err"; rc=$?
	[ $rc -eq 0 ] && [ ! -s "$t/err" ] && grep -q Examples "$t/out"; ok $? "penta $v --help"
	"$penta" help $v | cmp -s - "$t/out"; ok $? "penta help $v says the same"
done
"$penta" --help | grep -q doctor; ok $? "penta --help lists the verbs"
"$penta" >"$t/out" 2>"$t/err"; [ $? -eq 2 ] && grep -q Usage "$t/err"; ok $? "penta alone: help, status 2"
"$penta" --version | grep -qE '^penta [0-9]'; ok $? "penta --version"
"$penta" --help >/dev/full 2>"$t/err"; [ $? -eq 1 ]; ok $? "output that cannot be written is an error"

"$penta" completion | cmp -s - tools/completion.bash; ok $? "tools/completion.bash is what penta completion prints"
complete_words() { bash -c '. tools/completion.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _penta; echo "${COMPREPLY[*]}"' x "$@"; }
[ "$(complete_words penta do)" = doctor ]; ok $? "completion: verbs"
complete_words penta run --se | grep -q -- --serial; ok $? "completion: options"
[ "$(complete_words penta run --engine s)" = soft ]; ok $? "completion: values"
"$penta" run --help | grep -oE '^  --[a-z-]+' | tr -d ' ' | while read -r o; do
	grep -qF -- "fB${o//-/\\-}" man/penta.1 || echo "$o"
done > "$t/err"
[ ! -s "$t/err" ]; ok $? "the manual has every option of run"
"$penta" run --trace list >"$t/out" 2>"$t/err" && grep -q '^bus\.' "$t/out"; ok $? "--trace list"

# doctor: text, and JSON that parses.
"$penta" doctor >"$t/out" 2>"$t/err" && grep -q 'platform lite runs on engine soft' "$t/out"; ok $? "penta doctor"
XDG_CACHE_HOME=$t/cache "$penta" doctor >"$t/out" 2>"$t/err" && grep -qE '^  (ok|--|no)  kvm ' "$t/out"; ok $? "doctor has a verdict on kvm"
if [ -w /dev/kvm ] && ! grep -q 'does not run' "$t/out"; then
	[ -s "$t/cache/penta/kvm-probe" ] && echo "junk" > "$t/cache/penta/kvm-probe" &&
		XDG_CACHE_HOME=$t/cache "$penta" doctor 2>"$t/err" | grep -q ' kvm '; ok $? "the verdict is cached; a damaged cache is no verdict"
fi
if command -v python3 >/dev/null; then
	"$penta" doctor --json | python3 -c 'import json,sys; d=json.load(sys.stdin); assert d["findings"] and d["platforms"][0]["engine"]' 2>"$t/err"; ok $? "doctor --json is JSON"
else
	n=$((n + 1)); echo "ok $n - doctor --json is JSON # SKIP python3 is not installed"
fi
echo "1..$n"
