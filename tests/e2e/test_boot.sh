#!/usr/bin/env bash
# A stock Debian kernel on the lite machine: to its init with 1 and 4 vCPUs and power-off, by every
# way into the kernel, with and without KASLR, reset and booted again, the terminal's keys, serial
# ports elsewhere. Prints TAP.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-./penta}
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
trap '' PIPE
n=0
ok() {
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; return; fi
	echo "not ok $n - $2"
	for f in "$t/out" "$t/err"; do tail -n 12 "$f" | tr -d '\r' | cut -c1-160 | sed "s/^/  ${f##*/}: /"; done
}
k=$(tools/guest-kernel cloud 2>"$t/err") || { echo "1..1"; echo "ok 1 - boots # SKIP $(tail -n 1 "$t/err")"; exit 0; }

cat > "$t/init" <<'I'
#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
dmesg | grep -iE 'call trace|cut here|unable to|not responding|unstable|BUG:|spurious|lockup' | sed 's/^/BAD /'
echo "CLOCK $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
echo "TEXT $(awk '$3 == "_text" {print $1}' /proc/kallsyms)"
echo "CMDLINE $(cat /proc/cmdline)"
sci() { awk '$NF == "acpi" {s = 0; for (i = 2; $i ~ /^[0-9]+$/; i++) s += $i; print s}' /proc/interrupts; }
awk '$NF == "ttyS0" || $NF == "acpi" {print "IRQ", $1, $2, $NF}' /proc/interrupts
echo "MARK cpus=$(grep -c ^processor /proc/cpuinfo) mem=$(awk '/MemTotal/ {print $2}' /proc/meminfo)"
case $(cat /proc/cmdline) in
*do=reboot*) reboot -f ;;
*do=shell*) exec setsid sh -c 'exec sh -i </dev/ttyS0 >/dev/ttyS0 2>&1' ;;
*do=wait*) echo READY; while :; do sleep 1; done ;;
# The button's driver is a module that is not here: switch its event on by hand (PM1_EN, bit 8).
*do=button*) /outb 0x603 1; echo READY; while [ "$(sci)" = 0 ]; do usleep 50000; done; echo PRESSED; poweroff -f ;;
*do=com2*) echo "OVER COM2" > /dev/ttyS1; poweroff -f ;;
*) poweroff -f ;;
esac
I
cat > "$t/outb.c" <<'C'
#include <stdlib.h>
#include <sys/io.h>
int main(int n, char **a) { if (n != 3 || iopl(3)) return 1; outb(strtoul(a[2], 0, 0), strtoul(a[1], 0, 0)); return 0; }
C
gcc -static -o "$t/outb" "$t/outb.c" && tools/mkinitramfs "$t/initrd" "$t/init" "$t/outb=outb" || exit 1
args=(run --engine soft --kernel "$k" --initrd "$t/initrd" --memory 256M)
line="console=ttyS0 quiet cryptomgr.notests"
# boot APPEND ARGS...: in the foreground; text to $t/out without carriage returns
boot() {
	local append=$1; shift
	timeout -k 5 120 "$penta" "${args[@]}" --append "$line $append" "$@" </dev/null 2>"$t/err" >"$t/raw"
	rc=$?
	tr -d '\r' <"$t/raw" >"$t/out"
}
# start APPEND ARGS...: in the background, for at most 120 s; its pid is $pid
start() {
	local append=$1; shift
	: > "$t/out"
	timeout -k 5 120 "$penta" "${args[@]}" --append "$line $append" "$@" </dev/null 2>"$t/err" >"$t/out" & pid=$!
}
# await PATTERN TIMES: until the output has it so often, or the machine has gone
await() {
	while [ "$(grep -acE "$1" "$t/out")" -lt "$2" ]; do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	[ "$(grep -acE "$1" "$t/out")" -ge "$2" ]
}
text() { sed -n 's/^TEXT //p' "$t/out"; }

boot "a=b c"
[ $rc = 0 ] && grep -q "^MARK cpus=1 " "$t/out" && [ ! -s "$t/err" ]; ok $? "1 vCPU: to init and powered off, status 0"
! grep -q '^BAD' "$t/out"; ok $? "1 vCPU: the kernel complains of nothing"
grep -qE '^CLOCK (tsc|kvm-clock)$' "$t/out"; ok $? "the kernel trusts the clock"
grep -qE '^IRQ [0-9]+: [1-9][0-9]* ttyS0' "$t/out"; ok $? "the serial port interrupts"
grep -qE '^IRQ 9: [0-9]+ acpi' "$t/out"; ok $? "ACPI has its interrupt"
grep -qF "CMDLINE $line a=b c" "$t/out"; ok $? "the command line arrives whole"
mem=$(sed -n 's/.*mem=//p' "$t/out"); [ "${mem:-0}" -gt 200000 ] && [ "$mem" -lt 262144 ]; ok $? "the kernel found 256 MiB of memory"
first=$(text)
boot "" --cpus 4
[ $rc = 0 ] && grep -q "^MARK cpus=4 " "$t/out" && [ ! -s "$t/err" ]; ok $? "4 vCPUs: to init and powered off, status 0"
! grep -q '^BAD' "$t/out"; ok $? "4 vCPUs: the kernel complains of nothing"
[ -n "$first" ] && [ "$first" != "$(text)" ] && [ "$first" != ffffffff81000000 ]; ok $? "KASLR: its text moves from boot to boot ($first, $(text))"

# The ways in.
args=(run --engine soft --kernel "$k" --initrd "$t/initrd")
boot "nokaslr" --memory 5G --cpu v2
[ $rc = 0 ] && [ "$(text)" = ffffffff81000000 ]; ok $? "nokaslr: the kernel stays where it was linked"
[ "$(sed -n 's/.*mem=//p' "$t/out")" -gt 4800000 ]; ok $? "5 GiB: memory above 4 GiB is found"
boot "nokaslr" --boot bzimage64
[ $rc = 0 ] && grep -q '^MARK' "$t/out"; ok $? "--boot bzimage64: the kernel unpacks itself"
boot "" --boot bzimage32 --cpu base --memory 256
[ $rc = 0 ] && grep -q '^MARK' "$t/out"; ok $? "--boot bzimage32, the plainest CPU"

gcc -D_GNU_SOURCE -Isrc -o "$t/extract" tests/guests/extract-vmlinux.c "build/${CONFIG:-release}/libpenta.a" \
	-lzstd -llz4 -llzma -lz -lbz2 2>"$t/err" && "$t/extract" "$k" "$t/vmlinux" 2>"$t/err"; ok $? "the vmlinux in the bzImage comes out"
args=(run --engine soft --kernel "$t/vmlinux" --initrd "$t/initrd" --memory 256M)
boot "" --boot pvh
[ $rc = 0 ] && grep -q '^MARK' "$t/out" && [ "$(text)" = ffffffff81000000 ]; ok $? "vmlinux by its PVH entry"
boot "" --boot elf --cpus 2
[ $rc = 0 ] && grep -q '^MARK cpus=2' "$t/out"; ok $? "vmlinux by its 64-bit entry"

# Resets: each marker is a boot.
args=(run --engine soft --kernel "$k" --initrd "$t/initrd" --memory 256M)
start "do=reboot" --cpus 2
await '^MARK cpus=2' 2; ok $? "reset by ACPI's register: boots again, with both CPUs"
kill $pid; wait $pid
start "do=reboot reboot=triple" --on-crash reset
await '^MARK' 2; ok $? "reset by a triple fault: boots again"
kill $pid; wait $pid
# A kernel that has gone when the machine resets is an error, not a crash.
cp "$k" "$t/kernel"
args=(run --engine soft --initrd "$t/initrd" --memory 256M --kernel "$t/kernel")
start "do=reboot"
sleep 1; truncate -s 100000 "$t/kernel"
wait $pid; rc=$?
[ $rc = 3 ] && grep -q 'kernel became shorter' "$t/err"; ok $? "a kernel that shrank meanwhile: said at the reset, status 3"
args=(run --engine soft --kernel "$k" --initrd "$t/initrd" --memory 256M)

start "do=wait"
await READY 1; kill -TERM "$(pgrep -P $pid)"; wait $pid; [ $? = 143 ]; ok $? "SIGTERM: status 143"
timeout -k 5 120 "$penta" "${args[@]}" --append "$line" <&- >"$t/out" 2>"$t/err"; rc=$?
[ $rc = 0 ] && grep -aq '^MARK' "$t/out"; ok $? "standard input closed"
boot "do=com2" --serial none --serial "file:$t/com2"
[ $rc = 0 ] && [ ! -s "$t/out" ] && grep -aq 'OVER COM2' "$t/com2"; ok $? "--serial: COM1 to nobody, COM2 to a file"

# A terminal: keys, raw mode, and what it is like afterwards.
if command -v script >/dev/null; then
	# on_tty APPEND KEYS...: types each of KEYS, half a second apart, when the guest is ready
	on_tty() {
		local append=$1 i; shift
		cat > "$t/cmd" <<-C
		stty > "$t/before"
		"$penta" ${args[*]} --append "$line $append" 2>"$t/err"
		echo "STATUS \$?"; stty > "$t/after"
		C
		: > "$t/out"; rm -f "$t/keys"; mkfifo "$t/keys"
		timeout -k 5 120 script -qefc "sh $t/cmd" /dev/null <"$t/keys" > "$t/out" 2>&1 & pid=$!
		exec 7>"$t/keys"
		await 'READY|/ # ' 1
		# shellcheck disable=SC2059
		for i in "$@"; do sleep 0.5; printf "$i" >&7; done
		await '^STATUS' 1
		exec 7>&-; wait $pid
	}
	on_tty do=wait '\001h' '\001d' '\001x'
	grep -aq 'STATUS 4' "$t/out" && cmp -s "$t/before" "$t/after"; ok $? "Ctrl-A x leaves: status 4, the terminal as before"
	grep -q 'power button' "$t/err" && grep -qi 'rip' "$t/err"; ok $? "Ctrl-A h helps, Ctrl-A d prints registers"
	on_tty do=button '\001p'
	grep -aq PRESSED "$t/out" && grep -aq 'STATUS 0' "$t/out"; ok $? "Ctrl-A p presses the power button: the kernel's ACPI sees it"
	on_tty do=shell 'echo "typed:$((6*7)):"; poweroff -f\r'
	grep -aq 'typed:42:' "$t/out" && grep -aq 'STATUS 0' "$t/out" && cmp -s "$t/before" "$t/after"; ok $? "a shell on the terminal; power off, the terminal as before"
else
	n=$((n + 1)); echo "ok $n - keys on a terminal # SKIP script (bsdutils) is not installed"
fi

# The same on a socket: a peer comes, leaves; another comes, types.
if command -v python3 >/dev/null; then
	start "do=shell" --serial "unix:$t/sock"
	timeout 110 python3 - "$t/sock" >"$t/peer" 2>&1 <<-'P'
	import socket, sys, time
	def connect():
	    while True:
	        try:
	            s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(100); return s
	        except OSError: time.sleep(0.1)
	def until(s, word):
	    b = b""
	    while word not in b:
	        d = s.recv(4096)
	        if not d: break
	        b += d
	    return b
	s = connect(); until(s, b"# "); s.close()
	s = connect(); s.send(b"echo so:$((3*5)):\r"); print(until(s, b"so:15:").decode("latin1")); s.send(b"poweroff -f\r")
	until(s, b"never")
	P
	wait $pid; rc=$?
	[ $rc = 0 ] && grep -q 'so:15:' "$t/peer" && [ ! -e "$t/sock" ]; ok $? "--serial unix: peers come and go; the socket goes with the machine"
else
	n=$((n + 1)); echo "ok $n - --serial unix # SKIP python3 is not installed"
fi
echo "1..$n"
