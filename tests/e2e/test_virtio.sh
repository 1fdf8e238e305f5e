#!/usr/bin/env bash
# virtio under stock Debian kernels: entropy by MSI-X and by INTx, a console and a named channel both
# ways, drivers unbound and bound again. The kernels find the devices by themselves, with no option.
# Prints TAP.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-./penta}
t=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$t"' EXIT
n=0
ok() {
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; return; fi
	echo "not ok $n - $2"
	for f in "$t/out" "$t/err" "$t/host"; do
		[ -f "$f" ] && tail -n 15 "$f" | tr -d '\r' | cut -c1-160 | sed "s/^/  ${f##*/}: /"
	done
}
k=$(tools/guest-kernel cloud 2>"$t/err") && mods=$(tools/guest-modules cloud virtio_pci virtio_rng virtio_console 2>"$t/err") ||
	{ echo "1..1"; echo "ok 1 - virtio # SKIP $(tail -n 1 "$t/err")"; exit 0; }

cat > "$t/init" <<'I'
#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in /lib/modules/*.ko; do insmod "$m" || echo "BAD insmod $m"; done
con=/sys/bus/virtio/drivers/virtio_console
bad() { dmesg | grep -vE "${1:-^$}" | grep -iE 'virtio.*(fail|error|timeout|broken|unexpected)|call trace' | sed 's/^/BAD /'; dmesg -c >/dev/null; }
read_rng() { dd if=/dev/hwrng bs=512 count=64 2>/dev/null | md5sum | cut -d' ' -f1; }
echo "RNG $(read_rng) $(read_rng) $(dd if=/dev/hwrng bs=512 count=64 2>/dev/null | wc -c)"
# Which number the device has is nobody's business.
rng=$(cd /sys/bus/virtio/drivers/virtio_rng && echo virtio*)
awk -v d="$rng" '$NF == d || $NF == d "-input" {print "IRQS", $2, $0}' /proc/interrupts
case $(cat /proc/cmdline) in *do=console*)
	ch=/dev/virtio-ports/org.penta.test
	for d in $con/virtio*; do
		i=0; while [ $i -lt 10 ]; do echo "${d##*/}" > $con/unbind; echo "${d##*/}" > $con/bind; i=$((i + 1)); done
	done
	# virtio_console's remove() marks its queues broken before it waits for the work that fills them: when that
	# work is on its way (right after a bind, on a busy host), it cannot, and says so. No harm, not ours.
	bad 'Error adding buffer to queue|Error allocating inbufs'
	for p in /sys/class/virtio-ports/*; do
		[ -f "$p/name" ] && { mkdir -p /dev/virtio-ports; ln -s "../${p##*/}" "/dev/virtio-ports/$(cat "$p/name")"; }
	done
	ls -l /dev/virtio-ports
	exec 3<> $ch
	read -r line <&3; echo "CHANNEL $line"; echo "reply to $line" >&3
	# A block both ways: what comes is sent back.
	head -c 3000000 <&3 > /tmp/block; cat /tmp/block >&3
	exec 3>&-
	exec 3<> $ch; read -r line <&3; echo "REOPENED $line"
	exec 4<> /dev/hvc0; stty -echo <&4
	echo "hello from hvc0" >&4; read -r line <&4; echo "HVC $line" ;;
esac
bad
poweroff -f
I
tools/mkinitramfs "$t/initrd" "$t/init" $mods || exit 1
args=(run --engine soft --kernel "$k" --initrd "$t/initrd" --memory 128M)
boot() {
	local append=$1; shift
	timeout -k 5 100 "$penta" "${args[@]}" --append "console=ttyS0 quiet $append" "$@" </dev/null 2>"$t/err" >"$t/raw"
	rc=$?
	tr -d '\r' <"$t/raw" >"$t/out"
}
good() { [ "$rc" = 0 ] && [ ! -s "$t/err" ] && ! grep -q '^BAD' "$t/out"; }
# shellcheck disable=SC2046	# three words
differ() { set -- $(sed -n 's/^RNG //p' "$t/out"); [ $# = 3 ] && [ "$1" != "$2" ] && [ "$3" = 32768 ]; }

boot ""
good; ok $? "entropy: the kernel has nothing to complain of"
differ; ok $? "entropy: 32 KiB, different each time"
grep -q '^IRQS [1-9].*PCI-MSI' "$t/out"; ok $? "entropy: by MSI-X"
boot "pci=nomsi"
good && differ && grep -q '^IRQS [1-9].*IO-APIC' "$t/out"; ok $? "entropy: by INTx"

cat > "$t/host.py" <<'P'
import os, socket, sys, threading, time
def connect(path):
    end = time.time() + 30
    while True:
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path); s.settimeout(60); return s
        except OSError:
            if time.time() > end: raise
            time.sleep(0.05)
def get(s, n):
    b = b''
    while len(b) < n:
        d = s.recv(n - len(b))
        if not d: break
        b += d
    return b
def line(s):
    b = b''
    while not b.endswith(b'\n'): b += s.recv(1)
    return b
ch, con = connect(sys.argv[1]), connect(sys.argv[2])
ch.sendall(b'ping\n')
print('REPLY', line(ch).decode().strip(), flush=True)
block = os.urandom(3000000)

threading.Thread(target=ch.sendall, args=(block,), daemon=True).start()
print('BLOCK', 'same' if get(ch, len(block)) == block else 'differs', flush=True)
time.sleep(0.3)
ch.sendall(b'after\n')
print('CONSOLE', line(con).decode().strip(), flush=True)
con.sendall(b'typed\n')
P
python3 "$t/host.py" "$t/ch.sock" "$t/con.sock" >"$t/host" 2>&1 &
boot "do=console" --console "unix:$t/con.sock" --console "unix:$t/ch.sock,name=org.penta.test"
wait
good; ok $? "console: driver unbound and bound 10 times, the kernel has nothing to complain of"
grep -q '^CHANNEL ping' "$t/out" && grep -q '^REPLY reply to ping' "$t/host"; ok $? "a named channel: a line there and back"
grep -q '^BLOCK same' "$t/host"; ok $? "a named channel: 3 MB there and back"
grep -q '^REOPENED after' "$t/out"; ok $? "a named channel: opened again"
grep -q '^CONSOLE hello from hvc0' "$t/host" && grep -q '^HVC typed' "$t/out"; ok $? "hvc0: both ways"
echo "1..$n"
