# shellcheck shell=bash
# lib.sh - what the benches share; each sources it and runs alone, too.
# Each prints rows "| what | penta | QEMU TCG | ratio |"; bench/run puts its heading above all of them.
# ROUNDS (default 3): rounds, penta and QEMU by turns; a figure is the median. PENTA: the program.
set -eu
ROUNDS=${ROUNDS:-3} penta=${PENTA:-$PWD/penta}
t=$(mktemp -d); chmod 755 "$t"
export PENTA_HOME=$t/home
pids=()			# what to end, machines of ours with names besides
finish() {
	local m
	for m in "$PENTA_HOME"/machines/*; do
		[ ! -e "$m" ] || timeout 20 "$penta" stop --force "${m##*/}" >/dev/null 2>&1 || true
	done
	[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
	rm -rf "$t"
}
trap finish EXIT
die() { echo "bench: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null; }
# A bench that cannot run says so in its row, and is no failure.
skip() { head_row; printf '| %s | skipped: %s | | |\n' "$1" "$2"; exit 0; }

head_row() {
	[ -z "${BENCH_ROWS:-}" ] || return 0
	BENCH_ROWS=1
	printf '| %-48s | %12s | %12s | %6s |\n' what "penta soft" "QEMU TCG" ratio
	echo '| --- | ---: | ---: | ---: |'
}
row() { head_row; printf '| %-48s | %12s | %12s | %6s |\n' "$1" "$2" "${3:-}" "${4:-}"; }
median() { sort -g | awk '{ a[NR] = $1 } END { print NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (b > 0) printf "%.2f", a / b }'; }
engines() { echo penta; ! have qemu-system-x86_64 || echo qemu; }
# add KEY ENGINE VALUE; compare WHAT KEY FORMAT: the row of both medians
add() { [ -n "$3" ] || die "$2: no figure for $1"; echo "$3" >> "$t/fig.$1.$2"; }
compare() {
	local p q=
	p=$(median < "$t/fig.$2.penta"); [ ! -e "$t/fig.$2.qemu" ] || q=$(median < "$t/fig.$2.qemu")
	# shellcheck disable=SC2059	# the format is given
	row "$1" "$(printf "$3" "$p")" "$([ -z "$q" ] && echo "no QEMU" || printf "$3" "$q")" "$([ -z "$q" ] || ratio "$p" "$q")"
}

# only WHAT KEY FORMAT: the row of what QEMU does not have
# shellcheck disable=SC2059	# the format is given
only() { local f; f=$(median < "$t/fig.$2.penta"); printf -v f "$3" "$f"; row "$1" "$f"; }

# program NAME: build bench/guest/NAME.c for guests, into $t
program() { gcc -O2 -static -o "$t/$1" "bench/guest/$1.c"; }
# guest NAME MODULES FILE=PATH... <SCRIPT: the initramfs $t/NAME.img; the script is what its init does
guest() {
	local name=$1 mods=$2; shift 2
	{ echo '#!/bin/sh'; echo '/bin/busybox --install -s /bin; export PATH=/bin'
	  echo 'mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmpfs /tmp'
	  # shellcheck disable=SC2016	# for the guest
	  [ -z "$mods" ] || echo 'for m in /lib/modules/*.ko; do insmod $m; done'
	  cat; echo 'poweroff -f'; } > "$t/init.$name"
	# shellcheck disable=SC2046,SC2086	# lists
	tools/mkinitramfs "$t/$name.img" "$t/init.$name" "$@" $([ -z "$mods" ] || tools/guest-modules cloud $mods)
}
append="console=ttyS0 quiet cryptomgr.notests"
# command_of ENGINE IMAGE MEMORY ARGS...: sets cmd to what runs that guest on this terminal. $extra is more
# of the guest's command line.
command_of() {
	local e=$1 img=$2 mem=$3; shift 3
	case $e in
	penta) cmd=("$penta" run --engine soft --memory "$mem" --kernel "$kernel" --initrd "$t/$img.img"
		--append "$append ${extra:-}" "$@") ;;
	qemu) cmd=(qemu-system-x86_64 -accel tcg -m "$mem" -nodefaults -nographic -no-reboot -serial stdio
		-kernel "$kernel" -initrd "$t/$img.img" -append "$append ${extra:-}" "$@") ;;
	esac
}
# one ENGINE IMAGE MEMORY ARGS...: such a guest to its end. Its output, without CRs: $t/out; real, user
# and system seconds: $t/time.
one() {
	local TIMEFORMAT='%R %U %S'
	command_of "$@"
	{ time timeout -k 5 "${LIMIT:-200}" "${cmd[@]}" </dev/null >"$t/raw" 2>"$t/err" || true; } 2>"$t/time"
	tr -d '\r' <"$t/raw" >"$t/out"
}
# failed WHAT: the guest's last words
failed() { tail -n 5 "$t/out" "$t/err" >&2; die "$1"; }
# figure PATTERN: the third word of the line of $t/out that has it
figure() { sed -n "s/.*$1 \\([0-9.]*\\).*/\\1/p" "$t/out" | head -n 1; }

kernel=$(tools/guest-kernel cloud 2>/dev/null) || skip "${0##*/}" "no guest kernel"
