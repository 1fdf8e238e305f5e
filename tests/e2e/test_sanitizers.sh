#!/usr/bin/env bash
# A boot and power-off of the cloud kernel under ASan+UBSan, and with 4 vCPUs under TSan: no report,
# no leak. Prints TAP. Builds build/asan and build/tsan first.
set -u
cd "$(dirname "$0")/../.."
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
n=0
kernel=$(tools/guest-kernel cloud 2>"$t/err") || { echo "1..1"; echo "ok 1 - boots under sanitizers # SKIP $(tail -1 "$t/err")"; exit 0; }
cat > "$t/init" <<'I'
#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t devtmpfs dev /dev
echo "PENTA-INIT-UP cpus=$(grep -c ^processor /proc/cpuinfo)"
for i in 1 2 3 4; do ( /bin/busybox head -c 200000 /bin/busybox | md5sum ) & done; wait
poweroff -f
I
tools/mkinitramfs "$t/initrd" "$t/init" || exit 1
# Without the sandbox: the leak check at the end stops all threads by ptrace, which no machine may call.
boot() { # CONFIG CPUS
	n=$((n + 1))
	local what="$1: boot and power off with $2 vCPU(s), no report"
	if ! make -s -j"$(nproc)" CONFIG="$1" penta >"$t/build" 2>&1; then
		echo "not ok $n - $what"; tail -5 "$t/build" | sed 's/^/  /'; return
	fi
	ASAN_OPTIONS=detect_leaks=1:halt_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 TSAN_OPTIONS=halt_on_error=0:exitcode=66 \
		timeout 900 "build/$1/penta" run --sandbox off --engine soft --kernel "$kernel" --initrd "$t/initrd" --append "console=ttyS0 quiet cryptomgr.notests" \
		--memory 256M --cpus "$2" </dev/null >"$t/out" 2>"$t/err"; rc=$?
	if [ $rc -eq 0 ] && grep -qa "PENTA-INIT-UP cpus=$2" "$t/out" && ! grep -qaE 'Sanitizer|runtime error' "$t/err"; then
		echo "ok $n - $what"
	else
		echo "not ok $n - $what (exit status $rc)"; tail -5 "$t/out" | sed 's/^/  out: /'; grep '^SUMMARY' "$t/err" | sort | uniq -c; head -60 "$t/err" | sed 's/^/  err: /'
	fi
}
boot asan 1
# Bad input and bad guests, again under ASan and UBSan.
for script in test_cli test_crash; do
	n=$((n + 1))
	ASAN_OPTIONS=detect_leaks=1:halt_on_error=1 UBSAN_OPTIONS=halt_on_error=1 PENTA=$PWD/build/asan/penta PENTA_RUN_OPTIONS="--sandbox off" \
		timeout 280 "tests/e2e/$script.sh" >"$t/out" 2>"$t/err"
	if [ $? -eq 0 ] && ! grep -q '^not ok' "$t/out" && grep -q '^ok' "$t/out"; then echo "ok $n - asan: $script"
	else echo "not ok $n - asan: $script"; grep -A8 '^not ok' "$t/out" | head -40 | sed 's/^/  /'; head -20 "$t/err" | sed 's/^/  /'; fi
done
boot tsan 4
echo "1..$n"
