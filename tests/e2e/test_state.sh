#!/usr/bin/env bash
# Save and restore of a stock Debian kernel that computes all the while: at random moments, with 1 and 4
# vCPUs, pauses between; snapshots taken live and gone back to; forks, of which each answers; the clock
# afterwards; kill -9 while a state is saved. Prints TAP. ROUNDS (default 2) rounds; 200 for the long run.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-$PWD/penta}
rounds=${ROUNDS:-2}
t=$(mktemp -d)
export PENTA_HOME=$t/home
machines() { ls "$PENTA_HOME/machines" 2>/dev/null; }
trap 'for m in $(machines); do timeout 20 "$penta" stop --force "$m" >/dev/null 2>&1; done; rm -rf "$t"' EXIT
n=0
ok() {
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; return; fi
	echo "not ok $n - $2"
	tail -n 12 "$t/err" 2>/dev/null | sed 's/^/  err: /'
	for m in $(machines); do tail -n 5 "$PENTA_HOME/machines/$m/penta.log" | sed "s/^/  $m: /"; done
}
k=$(tools/guest-kernel cloud 2>"$t/err") || { echo "1..1"; echo "ok 1 - saves # SKIP $(tail -n 1 "$t/err")"; exit 0; }

# In the guest: a worker for each CPU whose checksums must all be the same, and a shell.
cat > "$t/init" <<'I'
#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
dd if=/dev/urandom of=/tmp/data bs=64k count=16 2>/dev/null
md5sum < /tmp/data > /tmp/want
work() {
	local i=0
	while :; do
		cp /tmp/data /tmp/copy.$1
		[ "$(md5sum < /tmp/copy.$1)" = "$(cat /tmp/want)" ] || echo "WRONG $1 after $i" >> /tmp/wrong
		i=$((i + 1)); echo $i > /tmp/done.$1
	done
}
for c in $(seq $(grep -c ^processor /proc/cpuinfo)); do work $c & done
echo READY
stty -echo < /dev/ttyS0
exec setsid sh -c 'PS1= exec sh </dev/ttyS0 >/dev/ttyS0 2>&1'
I
tools/mkinitramfs "$t/initrd" "$t/init" || exit 1

# ask MACHINE COMMAND: run it in the guest's shell, print what it says; fails after 20 s.
cat > "$t/ask.py" <<'P'
import os, socket, sys, time
os.chdir(os.environ["PENTA_HOME"] + "/machines/" + sys.argv[1])
s = socket.socket(socket.AF_UNIX)
s.connect("console.sock")
mark = "m%d" % time.monotonic_ns()
s.sendall(("echo %s'<'; %s; echo %s'>'\r" % (mark, sys.argv[2], mark)).encode())
end, got = time.monotonic() + float(os.environ.get("ASK_S", "20")), b""
while time.monotonic() < end:
    s.settimeout(max(0.01, end - time.monotonic()))
    try:
        d = s.recv(65536)
    except OSError:
        break
    if not d:
        break
    got += d
    a, b = got.find((mark + "<").encode()), got.find((mark + ">").encode())
    if a >= 0 and b > a:
        print(got[a + len(mark) + 1:b].decode(errors="replace").replace("\r", "").strip())
        sys.exit(0)
sys.exit("no answer: %r" % got[-300:])
P
ask() { timeout 30 python3 "$t/ask.py" "$@" 2>>"$t/err"; }
p() { timeout 60 "$penta" "$@" 2>>"$t/err"; }
# make NAME CPUS ARGS...
make() {
	local name=$1 cpus=$2; shift 2
	p create "$name" --kernel "$k" --initrd "$t/initrd" --memory 256M --cpus "$cpus" --serial console \
		--append "console=ttyS0 quiet cryptomgr.notests" "$@" && p start "$name" || return 1
	for _ in $(seq 300); do
		grep -q READY "$PENTA_HOME/machines/$name/console.log" && return 0
		sleep 0.2
	done
	return 1
}
# Nothing was computed wrong, and the workers go on.
right() {
	local a b
	[ "$(ask "$1" 'cat /tmp/wrong 2>/dev/null | wc -l')" = 0 ] || return 1
	a=$(ask "$1" 'cat /tmp/done.*' | tr '\n' ' ')
	for _ in $(seq 100); do
		sleep 0.1
		b=$(ask "$1" 'cat /tmp/done.*' | tr '\n' ' ')
		awk -v a="$a" -v b="$b" 'BEGIN { n = split(a, x); split(b, y); for (i = 1; i <= n; i++) if (y[i] <= x[i]) exit 1 }' && return 0
	done
	echo "stuck: $a -> $b" >> "$t/err"
	return 1
}
moment() { sleep "0.$((RANDOM % 10))$((RANDOM % 10))"; }

for cpus in 1 4; do
	make m $cpus; ok $? "a machine with $cpus vCPUs computes"
	bad=0
	for ((i = 0; i < rounds; i++)); do
		moment; p pause m && moment && p resume m || bad=1
		moment; p save m "$t/state" && p restore "$t/state" || bad=1
		moment; right m || { bad=1; break; }
	done
	ok $bad "saved and restored at $rounds random moments, $cpus vCPUs"
	before=$(ask m 'cat /tmp/done.1')
	p snapshot take m s1 && moment && ask m 'echo changed > /tmp/mark' >/dev/null &&
		p snapshot restore m s1 && right m
	r=$?
	[ $r = 0 ] && [ "$(ask m 'cat /tmp/mark 2>/dev/null | wc -l')" = 0 ] && [ "$(ask m 'cat /tmp/done.1')" -ge "$before" ]
	ok $? "a snapshot taken live, and gone back to, $cpus vCPUs"
	p fork m f1 f2 && right f1 && right f2 && right m && p fork f1 g1 && right g1 && right f1
	ok $? "forks, and a fork of a fork, compute on, $cpus vCPUs"
	for m in f1 f2 g1; do p stop --force $m && p rm --force $m >/dev/null 2>&1; done
	p stop --force m; rm -rf "$PENTA_HOME/machines"
done

# The clock of a guest that asks for it: KVM's clock, and the RTC, against the host's.
make m 1; p save m "$t/state"; sleep 2; p restore "$t/state"
# The RTC tells whole seconds; the guest reads it by hwclock.
rtc=$(ask m 'hwclock -r -u >/dev/null 2>&1; cat /sys/class/rtc/rtc0/since_epoch 2>/dev/null || echo none'); now=$(date +%s)
if [ "$rtc" = none ]; then echo "ok $((n += 1)) - the RTC after a restore # SKIP the kernel has no RTC driver"
else [ "$rtc" -ge $((now - 2)) ] && [ "$rtc" -le $((now + 1)) ]; ok $? "the RTC is right after a restore"; fi

# kill -9 of the machine while it is saved: no file, or a whole one; the machine starts again.
bad=0
for ((i = 0; i < rounds; i++)); do
	rm -f "$t/state"
	"$penta" save m "$t/state" >/dev/null 2>&1 & pid=$!
	sleep "0.0$((RANDOM % 10))"
	kill -9 "$(p ls --json | python3 -c 'import json, sys
print([m.get("pid", 0) for m in json.load(sys.stdin) if m["name"] == "m"][0])' 2>/dev/null)" 2>/dev/null
	wait $pid
	if [ -e "$t/state" ]; then p restore --info "$t/state" >/dev/null || bad=1; fi
	[ "$(ls -A "$t" | grep -c '^\.penta')" = 0 ] || bad=1
	for _ in $(seq 50); do p start m && break; sleep 0.1; done
	sleep 0.3
done
ok $bad "kill -9 while it is saved leaves no half file"
p stop --force m

# Cut short, or damaged: an error that says so.
make m2 1; p save m2 "$t/state"
head -c 100000 "$t/state" > "$t/cut"
! "$penta" restore "$t/cut" 2>"$t/out" && grep -q truncated "$t/out"; ok $? "a truncated file is an error"
p restore "$t/state"; p stop --force m2

# A disk that was written since is not the one that the memory knows.
p image create "$t/d.qcow2" 16M --format qcow2 && make m3 1 --disk "$t/d.qcow2" && p save m3 "$t/state3" &&
	p restore "$t/state3" && p save m3 "$t/state3"
python3 -c 'import os, sys; f = open(sys.argv[1], "r+b"); f.seek(0, 2); f.write(bytes(512))' "$t/d.qcow2"
! p restore "$t/state3" 2>/dev/null && ! p restore --name other "$t/state3" && grep -q 'd.qcow2 has been written' "$t/err" &&
	[ ! -e "$PENTA_HOME/machines/other" ] && p restore --force "$t/state3"
ok $? "a disk that was written since the machine was saved is refused, but by force"
p stop --force m3

# Snapshots that come and go leave no chain behind, stopped or running.
for run in 0 1; do
	bad=0
	[ $run = 0 ] || p start m3
	for i in $(seq 20); do p snapshot take m3 s$i && { [ $i -le 4 ] || p snapshot rm m3 s$((i - 4)); } || bad=1; done
	[ "$(ls "$PENTA_HOME"/machines/m3/*.qcow2 | wc -l)" -le 6 ] || bad=1
	for i in 17 18 19 20; do p snapshot rm m3 s$i || bad=1; done
	[ "$(ls "$PENTA_HOME"/machines/m3/*.qcow2 | wc -l)" -le 2 ] || bad=1
	if command -v qemu-img >/dev/null; then for f in "$PENTA_HOME"/machines/m3/*.qcow2; do [ $run = 1 ] || qemu-img check -q "$f" >/dev/null || bad=1; done; fi
	ok $bad "twenty snapshots come and go, $([ $run = 0 ] && echo stopped || echo running)"
done
p stop --force m3
echo "1..$n"
