#!/usr/bin/env bash
# Stock Debian kernels boot on the soft engine with 1 and 4 vCPUs, run tests/guests/workload.sh and
# print what the same script prints on the host. Kernels come from Debian packages through
# tools/guest-kernel; one that cannot be had (offline) is skipped by name. Prints TAP.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-./penta}
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
mkdir "$t/w"
W=$t/w DATA=/bin/busybox busybox sh tests/guests/workload.sh > "$t/host" 2>"$t/host.err"
n=0
# A host without a working busybox must not make the comparison empty.
if [ "$(wc -l < "$t/host")" -lt 11 ]; then echo "1..1"; echo "not ok 1 - the workload ran on the host"; exit 1; fi

run() { # kernel-name cpus
	n=$((n + 1))
	local k bb rc what="$1 kernel, $2 vCPU(s): workload as on the host"
	k=$(tools/guest-kernel "$1" 2>"$t/err") || { echo "ok $n - $what # SKIP $(tail -1 "$t/err")"; return; }
	bb=/bin/busybox
	if [ "$1" = i386-686-pae ]; then
		bb=$(tools/guest-kernel i386-busybox 2>"$t/err") || { echo "ok $n - $what # SKIP $(tail -1 "$t/err")"; return; }
	fi
	BUSYBOX=$bb tools/mkinitramfs "$t/initrd" tests/guests/workload-init tests/guests/workload.sh=workload.sh /bin/busybox=busybox-data || return
	timeout 400 "$penta" run --engine soft --kernel "$k" --initrd "$t/initrd" --append "console=ttyS0 quiet" \
		--memory 512M --cpus "$2" </dev/null >"$t/out" 2>"$t/err"; rc=$?
	tr -d '\r' < "$t/out" > "$t/txt"
	sed -n '/PENTA-WORK-BEGIN/,/PENTA-WORK-END/p' "$t/txt" | sed '1d;$d' > "$t/guest"
	sed -n '/PENTA-WORK-END/,/PENTA-DONE/p' "$t/txt" | sed '1d;$d' > "$t/complaints"
	echo "# $(grep -a PENTA-INIT-UP "$t/txt")"
	if [ $rc -eq 0 ] && cmp -s "$t/host" "$t/guest" && grep -qa PENTA-DONE "$t/txt" &&
	   grep -qa "PENTA-INIT-UP.* cpus=$2 " "$t/txt" && [ ! -s "$t/complaints" ]; then
		echo "ok $n - $what"
	else
		echo "not ok $n - $what (exit status $rc)"
		diff "$t/host" "$t/guest" | head -20 | sed 's/^/  /'
		sed 's/^/  kernel: /' "$t/complaints"
		tail -25 "$t/txt" | sed 's/^/  out: /'; tail -5 "$t/err" | sed 's/^/  err: /'
	fi
}
for k in ${KERNELS:-cloud generic trixie i386-686-pae}; do
	for cpus in ${CPUS:-1 4}; do run "$k" "$cpus"; done
done
echo "1..$n"
