#!/usr/bin/env bash
# Boots and power-offs of a small guest in a row, none of which may hang: with 1, 2 and 4 vCPUs in
# turn. BOOTS says how many (default 6; 200 before a release). Prints TAP.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-./penta} boots=${BOOTS:-6}
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
echo 1..1
k=$(tools/guest-kernel cloud 2>"$t/err") || { echo "ok 1 - boots in a row # SKIP $(tail -n 1 "$t/err")"; exit 0; }
cat > "$t/init" <<'I'
#!/bin/sh
/bin/busybox mount -t proc proc /proc
echo "UP cpus=$(/bin/busybox grep -c ^processor /proc/cpuinfo)"
/bin/busybox poweroff -f
I
tools/mkinitramfs "$t/initrd" "$t/init" || exit 1
bad=0 slowest=0
for ((i = 1; i <= boots; i++)); do
	cpus=$((1 << (i % 3))) start=$(date +%s%N)
	timeout -k 5 60 "$penta" run --engine soft --kernel "$k" --initrd "$t/initrd" --memory 256M --cpus $cpus \
		--append "console=ttyS0 quiet cryptomgr.notests" </dev/null >"$t/out" 2>"$t/err"
	rc=$?
	ms=$((($(date +%s%N) - start) / 1000000))
	[ $ms -gt $slowest ] && slowest=$ms
	if [ $rc -ne 0 ] || ! grep -aq "UP cpus=$cpus" "$t/out" || [ -s "$t/err" ]; then
		bad=$((bad + 1))
		echo "  boot $i with $cpus vCPU(s): status $rc after $ms ms"
		tail -n 4 "$t/out" "$t/err" 2>/dev/null | tr -d '\r' | cut -c1-160 | sed 's/^/    /'
	fi
done
echo "# $boots boots, the slowest took $slowest ms"
if [ $bad = 0 ]; then echo "ok 1 - $boots boots and power-offs in a row"; else echo "not ok 1 - $bad of $boots boots went wrong"; fi
