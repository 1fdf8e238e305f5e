#!/usr/bin/env bash
# Packed virtqueues under a stock Debian kernel: a disk is filled and read again, a file is fetched and
# another sent over the network, on two CPUs; the host sees the same bytes. Without `packed` the same
# kernel uses split ones. Prints TAP.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-$PWD/penta}
d=$(mktemp -d) || exit 1
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; rm -rf "$d"' EXIT
n=0
is() { n=$((n + 1)); if [ -n "$2" ] && [ "$2" = "$3" ]; then echo "ok $n - $1"; else echo "# \"$2\", not \"$3\""; echo "not ok $n - $1"; tail -n 20 "$d/log" | tr -d '\r' | sed 's/^/# /'; fi; }
result() { sed -n "s/\r//; s/.*RESULT $1 //p" "$d/log" | head -1; }
skip() { echo "1..1"; echo "ok 1 - packed rings # SKIP $1"; exit 0; }
kernel=$(tools/guest-kernel cloud 2>"$d/err") || skip "$(tail -n 1 "$d/err")"

cat > "$d/init" <<'I'
#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in /lib/modules/*.ko*; do insmod "$m"; done
for w in $(cat /proc/cmdline); do case $w in http=*) http=${w#*=} ;; upload=*) upload=${w#*=} ;; esac; done
say() { echo "RESULT $*"; }
packed() { cut -c35 "$1"; }	# VIRTIO_F_RING_PACKED, bit 34
say disk-packed "$(packed /sys/block/vda/device/features)"
say net-packed "$(packed /sys/class/net/eth0/device/features)"
ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0
# Two writers at once, and the network with them: each CPU has a queue.
(seq 1 200000 | dd of=/dev/vda bs=64k conv=notrunc 2>/dev/null) &
(seq 2000000 2200000 | dd of=/dev/vda bs=4k seek=1024 conv=notrunc 2>/dev/null) &
say download "$(wget -q -O - "http://10.0.2.2:$http/data" | md5sum | cut -d' ' -f1)"
(seq 50000; sleep 1) | nc -w 5 10.0.2.2 "$upload"
wait; sync; echo 3 > /proc/sys/vm/drop_caches
say read "$(dd if=/dev/vda bs=32k 2>/dev/null | md5sum | cut -d' ' -f1)"
dmesg | grep -iE 'i/o error|call trace|BUG:|virtio.*(error|bad|fail)|not a head' | sed 's/^/RESULT bad /' | head -3
poweroff -f
I
# shellcheck disable=SC2046
tools/mkinitramfs "$d/initrd" "$d/init" $(tools/guest-modules cloud virtio_pci virtio_blk virtio_net) 2>"$d/err" ||
	skip "$(tail -n 1 "$d/err")"
mkdir "$d/www"; head -c 1000000 /dev/urandom > "$d/www/data"
cat > "$d/host.py" <<'P'
import sys, socket, hashlib, threading, http.server, os
d = sys.argv[1]
os.chdir(d + "/www")
class H(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *a): pass
h = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
u = socket.socket(); u.bind(("127.0.0.1", 0)); u.listen(4)
open(d + "/ports.tmp", "w").write("%d %d" % (h.server_port, u.getsockname()[1]))
os.rename(d + "/ports.tmp", d + "/ports")
def upload():
    while True:
        c, _ = u.accept(); m = hashlib.md5()
        while True:
            b = c.recv(65536)
            if not b: break
            m.update(b)
        c.close()
        open(d + "/upload.tmp", "w").write(m.hexdigest() + "\n"); os.rename(d + "/upload.tmp", d + "/upload")
threading.Thread(target=upload, daemon=True).start()
h.serve_forever()
P
command -v python3 >/dev/null || skip "python3 is not installed"
python3 "$d/host.py" "$d" 2>"$d/err" & pids+=($!)
for _ in $(seq 100); do [ -e "$d/ports" ] && break; sleep 0.1; done
read -r http upload < "$d/ports"
boot() { # what to add to --disk and --net
	rm -f "$d/disk" "$d/upload"; truncate -s 8M "$d/disk"
	timeout 100 "$penta" run --memory 256M --cpus 2 --kernel "$kernel" --initrd "$d/initrd" \
		--disk "$d/disk,format=raw$1" --net "user$1" \
		--append "console=ttyS0 quiet http=$http upload=$upload" </dev/null >"$d/log" 2>&1
}
boot ,packed
is "the disk's rings are packed" "$(result disk-packed)" 1
is "the card's rings are packed" "$(result net-packed)" 1
is "a file comes over the network" "$(result download)" "$(md5sum < "$d/www/data" | cut -d' ' -f1)"
is "a file goes over the network" "$(cat "$d/upload" 2>/dev/null)" "$(seq 50000 | md5sum | cut -d' ' -f1)"
is "the guest reads from the disk what the host has" "$(result read)" "$(md5sum < "$d/disk" | cut -d' ' -f1)"
is "both writers' data is there" "$(head -c 1200000 "$d/disk" | md5sum)$(tail -c +4194305 "$d/disk" | head -c 1200000 | md5sum)" \
	"$(seq 1 200000 | head -c 1200000 | md5sum)$(seq 2000000 2200000 | head -c 1200000 | md5sum)"
is "nothing went wrong in the guest" "$(result bad)none" none
boot ""
is "without it they are split" "$(result disk-packed)$(result net-packed)" 00
is "and carry the same" "$(result read)" "$(md5sum < "$d/disk" | cut -d' ' -f1)"
echo "1..$n"
