#!/usr/bin/env bash
# Networks, with Debian's kernel and driver in the guest: user NAT, a switch between two machines, a tap.
# Prints TAP.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-$PWD/penta}
d=$(mktemp -d) || exit 1
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; ip link del pentatest0 2>/dev/null; rm -rf "$d"' EXIT
n=0
ok() { n=$((n + 1)); echo "ok $n - $1"; }
not_ok() { n=$((n + 1)); echo "not ok $n - $1"; sed 's/^/# /' "${2:-/dev/null}" | tail -20; }
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }
is() { if [ -n "$2" ] && [ "$2" = "$3" ]; then ok "$1"; else echo "# $1: \"$2\", not \"$3\""; not_ok "$1" "${4:-/dev/null}"; fi; }
result() { sed -n "s/\r//; s/.*RESULT $2 //p" "$1" | head -1; }
# file pattern pid: until it is there, the process has gone, or half a minute has passed
wait_for() {
	for _ in $(seq 300); do
		grep -q "$2" "$1" 2>/dev/null && return 0
		kill -0 "$3" 2>/dev/null || break
		sleep 0.1
	done
	return 1
}

echo 1..14
kernel=$(tools/guest-kernel cloud) && mods=$(tools/guest-modules cloud virtio_pci virtio_net) || {
	for t in dhcp ping download upload refused forward taken capture switch-ping switch-data \
		switch-fragments tap-ping tap-download tap-upload; do skip "$t" "no guest kernel"; done; exit 0; }
# shellcheck disable=SC2086	# a list
tools/mkinitramfs "$d/initrd" tests/guests/net-init $mods || exit 1
boot() { # log cmdline options...
	local log=$1 cmd=$2; shift 2
	timeout 100 "$penta" run --memory 128M --kernel "$kernel" --initrd "$d/initrd"  \
		--append "console=ttyS0 quiet $cmd" "$@" </dev/null >"$log" 2>&1 &
	pids+=($!)
}

# Servers on the host: a file, and who takes an upload.
mkdir "$d/www"; head -c 3000000 /dev/urandom > "$d/www/data"
sum=$(md5sum < "$d/www/data" | cut -d' ' -f1)
cat > "$d/host.py" <<'P'
import sys, socket, hashlib, threading, http.server, functools, os
d, what = sys.argv[1], sys.argv[2]
os.chdir(d + "/www")
class H(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *a): pass
if what == "user":
    h = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
    u = socket.socket(); u.bind(("127.0.0.1", 0)); u.listen(1)
    f = socket.socket(); f.bind(("127.0.0.1", 0)); fp = f.getsockname()[1]; f.close()
    open(d + "/ports.tmp", "w").write("%d %d %d" % (h.server_port, u.getsockname()[1], fp))
    os.rename(d + "/ports.tmp", d + "/ports")
    def upload():
        c, _ = u.accept(); m = hashlib.md5()
        while True:
            b = c.recv(65536)
            if not b: break
            m.update(b)
        open(d + "/upload.tmp", "w").write(m.hexdigest() + "\n"); os.rename(d + "/upload.tmp", d + "/upload")
    threading.Thread(target=upload, daemon=True).start()
else:
    h = http.server.ThreadingHTTPServer((what, 8124), H)
h.serve_forever()
P
python3 "$d/host.py" "$d" user 2>"$d/host.err" & pids+=($!)
for _ in $(seq 100); do [ -e "$d/ports" ] && break; sleep 0.1; done
read -r http upload fwd < "$d/ports"

# --- the user network, and beside it two machines on a switch ---
export XDG_RUNTIME_DIR=$d/run; mkdir -m 700 "$d/run"
boot "$d/user" "job=user peer=$http addr=$upload" --net "user,forward=$fwd:22,hostname=guest1,pcap=$d/pcap"
user=$!
boot "$d/serve" "job=serve addr=10.9.0.1" --net switch=e2e
boot "$d/fetch" "job=fetch addr=10.9.0.2 peer=10.9.0.1" --net switch=e2e
fetch=$!
wait_for "$d/user" "RESULT ready" $user
is dhcp "$(result "$d/user" dhcp)" "10.0.2.15 10.0.2.2 10.0.2.3 guest1" "$d/user"
is ping "$(result "$d/user" ping)" ok "$d/user"
is download "$(result "$d/user" download)" "$sum" "$d/user"
wait_for "$d/upload" . $user
is upload "$(cat "$d/upload" 2>/dev/null)" "$(seq 200000 | md5sum | cut -d' ' -f1)" "$d/user"
is "a refused connection is refused" "$(result "$d/user" refused)" ok "$d/user"
timeout 5 "$penta" run --memory 128M --kernel "$kernel" --net "user,forward=$fwd:22" </dev/null >"$d/taken" 2>&1
if grep -q "port $fwd of 127.0.0.1 is taken" "$d/taken"; then ok "a port that is taken"; else not_ok "a port that is taken" "$d/taken"; fi
said=; for _ in $(seq 50); do
	said=$(timeout 3 python3 -c "import socket; s = socket.create_connection(('127.0.0.1', $fwd), 2)
s.settimeout(2); print(s.recv(100).decode().strip())" 2>/dev/null)
	[ -n "$said" ] && break; sleep 0.1
done
is "a forward from the host" "$said" hello "$d/user"
if command -v tcpdump >/dev/null; then
	is "tcpdump reads the capture" "$(tcpdump -nr "$d/pcap" "udp port 67 or udp port 68" 2>/dev/null | grep -c BOOTP)" 4 "$d/user"
else
	is "the capture begins as one" "$(od -An -tx4 -N4 "$d/pcap" | tr -d ' ')" a1b2c3d4
fi
wait $fetch 2>/dev/null
is "switch: ping" "$(result "$d/fetch" ping)" ok "$d/fetch"
is "switch: a file" "$(result "$d/fetch" data)" "$(result "$d/serve" sum)" "$d/fetch"
is "switch: fragments" "$(result "$d/fetch" fragments)" ok "$d/fetch"

# --- a tap, with two queues on two CPUs ---
if [ "$(id -u)" -ne 0 ] || ! command -v ip >/dev/null || ! [ -c /dev/net/tun ] ||
   ! ip tuntap add pentatest0 mode tap multi_queue 2>"$d/tun.err"; then
	for t in ping download upload; do skip "tap: $t" "needs root, ip(8) and /dev/net/tun"; done
	exit 0
fi
ip addr add 10.99.0.1/24 dev pentatest0; ip link set pentatest0 up
boot "$d/tap" "job=host addr=10.99.0.2 peer=10.99.0.1" --cpus 2 --net tap,ifname=pentatest0,queues=2
python3 "$d/host.py" "$d" 10.99.0.1 2>"$d/host2.err" & pids+=($!)
wait_for "$d/tap" "RESULT sum" "${pids[-2]}"
is "tap: ping, two queues" "$(result "$d/tap" ping) $(result "$d/tap" queues)" "ok 2" "$d/tap"
is "tap: download" "$(result "$d/tap" download)" "$sum" "$d/tap"
got=$(python3 -c "import urllib.request; print(urllib.request.urlopen('http://10.99.0.2/data', timeout=20).read().decode(), end='')" 2>"$d/up.err" | md5sum | cut -d' ' -f1)
is "tap: upload" "$got" "$(result "$d/tap" sum)" "$d/up.err"
