#!/usr/bin/env bash
# kill -9 of machines, and of the penta that works on them, at random moments: while the guest writes, and
# during save, snapshot, fork and clone. What was flushed is there, nothing half-made is visible as whole,
# the machine starts again. Prints TAP. ROUNDS (default 6) rounds; 300 is the long run; SEED repeats one.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-$PWD/penta} rounds=${ROUNDS:-6}
t=$(mktemp -d)
export PENTA_HOME=$t/home
trap 'for m in m f c; do timeout 20 "$penta" stop --force $m >/dev/null 2>&1; done; rm -rf "$t"' EXIT
skip() { echo "1..1"; echo "ok 1 - kill # SKIP $1"; exit 0; }
k=$(tools/guest-kernel cloud 2>"$t/err") || skip "$(tail -n 1 "$t/err")"
command -v qemu-img >/dev/null || skip "qemu-utils is not there"
${CC:-gcc} -O2 -static -D_GNU_SOURCE -o "$t/flushed" tests/guests/flushed.c 2>"$t/err" || skip "no static program: $(tail -n 1 "$t/err")"
cat > "$t/init" <<'I'
#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in /lib/modules/*.ko; do insmod "$m"; done
ip link set lo up; ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
for w in $(cat /proc/cmdline); do case $w in port=*) port=${w#*=} ;; esac; done
exec /flushed "$port" /dev/vda /dev/vdb
I
# shellcheck disable=SC2046
tools/mkinitramfs "$t/initrd" "$t/init" "$t/flushed=flushed" \
	$(tools/guest-modules cloud virtio_pci virtio_blk virtio_net) || exit 1
python3 tests/e2e/kill_host.py "$penta" "$k" "$t/initrd" "$t/flushed" "$t" "$rounds" > "$t/out" 2>&1; r=$?
if [ $r = 0 ]; then echo "ok 1 - kill -9, $rounds rounds"; else
	echo "not ok 1 - kill -9, $rounds rounds"
	tail -n 5 "$PENTA_HOME"/machines/m/penta.log "$PENTA_HOME"/machines/m/console.log | sed 's/^/  /'
fi
cat "$t/out"
echo "1..1"
