#!/usr/bin/env bash
# The extended state in a stock kernel on the soft engine: tests/guests/fpu.c (context switches,
# signals, SIMD and x87 exceptions, a computation) prints the same lines in the guest as on the host,
# with and without AVX and with more vCPUs than one. Prints TAP.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-./penta}
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
n=0
skip_all() { echo "1..1"; echo "ok 1 - the extended state in a guest is as on the host # SKIP $1"; exit 0; }
${CC:-gcc} -O2 -static -o "$t/fpu" tests/guests/fpu.c 2>"$t/err" || skip_all "no static C programs here: $(tail -1 "$t/err")"
k=$(tools/guest-kernel cloud 2>"$t/err") || skip_all "$(tail -1 "$t/err")"
"$t/fpu" > "$t/host" || { echo "1..1"; echo "not ok 1 - tests/guests/fpu.c runs on the host"; exit 1; }
cat > "$t/init" <<'INIT'
#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t devtmpfs dev /dev
echo PENTA-BEGIN
/fpu
echo PENTA-END
poweroff -f
INIT
tools/mkinitramfs "$t/initrd" "$t/init" "$t/fpu=fpu" || exit 1
run() { # cpu-model cpus
	local rc what="extended state in a guest as on the host: --cpu $1, $2 vCPU(s)"
	n=$((n + 1))
	timeout 120 "$penta" run --engine soft --kernel "$k" --initrd "$t/initrd" --append "console=ttyS0 quiet" \
		--memory 256M --cpu "$1" --cpus "$2" </dev/null >"$t/out" 2>"$t/err"; rc=$?
	tr -d '\r' < "$t/out" | sed -n '/PENTA-BEGIN/,/PENTA-END/p' | sed '1d;$d' > "$t/guest"
	if [ $rc -eq 0 ] && cmp -s "$t/host" "$t/guest"; then
		echo "ok $n - $what"
	else
		echo "not ok $n - $what (exit status $rc)"
		diff "$t/host" "$t/guest" | head -20 | sed 's/^/  /'; tail -5 "$t/err" | sed 's/^/  err: /'
	fi
}
run max 1
run max 3
run base 2
echo "1..$n"
