#!/usr/bin/env bash
# Pause, save, restore, snapshots and forks at random moments of machines that compute, write disks (raw and
# qcow2: fsync, read back, compared), talk TCP through user NAT and are connected by vsock, with 1 and with 4
# vCPUs: nothing is ever wrong, all goes on, the guest's clock is right within 10 ms. Prints TAP.
# ROUNDS (default 2) rounds in all; 200 is the long run; SEED repeats one's moments; CPUS: with so many only.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-$PWD/penta} rounds=${ROUNDS:-2}
t=$(mktemp -d)
export PENTA_HOME=$t/home
trap 'for m in m f; do timeout 20 "$penta" stop --force $m >/dev/null 2>&1; done; rm -rf "$t"' EXIT
skip() { echo "1..1"; echo "ok 1 - rounds # SKIP $1"; exit 0; }
k=$(tools/guest-kernel cloud 2>"$t/err") || skip "$(tail -n 1 "$t/err")"
command -v qemu-img >/dev/null || skip "qemu-utils is not there"
${CC:-gcc} -O2 -static -D_GNU_SOURCE -o "$t/rounds" tests/guests/rounds.c 2>"$t/err" &&
	${CC:-gcc} -O2 -static -D_GNU_SOURCE -Isrc -o "$t/agent" guest/agent.c 2>"$t/err" || skip "no static program: $(tail -n 1 "$t/err")"
cat > "$t/init" <<'I'
#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in /lib/modules/*.ko; do insmod "$m"; done
ip link set lo up; ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
/agent &
for w in $(cat /proc/cmdline); do case $w in port=*) port=${w#*=} ;; esac; done
exec /rounds "$port" /dev/vda /dev/vdb
I
# shellcheck disable=SC2046
tools/mkinitramfs "$t/initrd" "$t/init" "$t/rounds=rounds" "$t/agent=agent" \
	$(tools/guest-modules cloud virtio_pci virtio_blk virtio_net vmw_vsock_virtio_transport) || exit 1
n=0
for cpus in ${CPUS:-1 4}; do
	python3 tests/e2e/rounds_host.py "$penta" "$k" "$t/initrd" "$t" $(((rounds + 1) / 2)) $cpus > "$t/out" 2>&1; r=$?
	n=$((n + 1))
	if [ $r = 0 ]; then echo "ok $n - $(((rounds + 1) / 2)) rounds, $cpus vCPUs"; else
		echo "not ok $n - $(((rounds + 1) / 2)) rounds, $cpus vCPUs"
		for m in "$PENTA_HOME"/machines/*; do tail -n 5 "$m/penta.log" "$m/console.log"; done | sed 's/^/  /'
	fi
	cat "$t/out"
	for m in m f; do timeout 20 "$penta" stop --force $m >/dev/null 2>&1; done
	rm -rf "$PENTA_HOME" "$t"/m.* "$t/state"
done
echo "1..$n"
