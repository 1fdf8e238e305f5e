#!/usr/bin/env bash
# Named machines: their life from create to rm, two CLIs at once, a machine's process killed, odd names,
# a full disk, a folder that cannot be written, linked and full clones. Guests are ROM images of a few
# bytes, but for one test. ROUNDS (default 12): of the two tests that repeat. Prints TAP.
set -u
cd "$(dirname "$0")/../.."
penta=$(realpath "${PENTA:-./penta}")
t=$(mktemp -d)
export PENTA_HOME=$t/home
cleanup() {
	for l in "$PENTA_HOME"/machines/*/lock; do "$penta" rm --force "$(basename "$(dirname "$l")")"; done >/dev/null 2>&1
	umount "$t/small" 2>/dev/null
	rm -rf "$t"
}
trap cleanup EXIT
n=0
ok() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; tail -n 8 "$t/out" "$t/err" 2>/dev/null | sed 's/^/  /'; fi; }
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }
p() { timeout 60 "$penta" "$@" >"$t/out" 2>"$t/err" </dev/null; }
state() { "$penta" ls --json "$1" 2>/dev/null | sed -n 's/.*"status": "\(.*\)".*/\1/p'; }
says() { grep -qE -e "$1" "$t/out" "$t/err"; }

# A ROM of 64 KiB that writes "hi" to COM1 and halts with interrupts on: it stands still, and does not
# know the power button.
python3 - "$t/rom" <<'P' || exit 1
import sys
code = bytes([0xba,0xf8,0x03, 0xb0,ord('h'), 0xee, 0xb0,ord('i'), 0xee, 0xb0,10, 0xee, 0xfb, 0xf4, 0xeb,0xfd])
rom = bytearray(65536)
rom[0xf000:0xf000+len(code)] = code
rom[0xfff0:0xfff3] = bytes([0xe9, 0x0d, 0xf0])		# jmp F000
open(sys.argv[1], 'wb').write(rom)
P

# --- a life ---
p create a --firmware "$t/rom" --memory 16M --disk "$t/none.img"; p rm a
p create a --firmware "$t/rom" --memory 16M --json && says '"uuid"'; ok $? "create"
p create a --firmware "$t/rom"; [ $? -eq 1 ] && says 'already'; ok $? "a name is taken once"
p start a && [ "$(state a)" = running ]; ok $? "start"
p start a; [ $? -eq 1 ] && says 'is running \(process [0-9]+\)'; ok $? "a machine runs once"
p run a; [ $? -eq 1 ] && says 'runs already'; ok $? "also not in the foreground"
p ls && says '^a +running +1 +16 MiB +soft'; ok $? "ls: a table"
p pause a && [ "$(state a)" = paused ] && p resume a && [ "$(state a)" = running ]; ok $? "pause and resume"
p reset a --json && says '"status": "running"'; ok $? "reset"
for i in $(seq 50); do [ "$(tr -d '\r' < "$PENTA_HOME/machines/a/console.log" | grep -c hi)" -ge 2 ] && break; sleep 0.1; done
p logs a && [ "$(grep -c hi "$t/out")" -ge 2 ]; ok $? "logs: the console's text, before and after the reset"
p console a && says hi; ok $? "console: the last screenful"
p inspect a pit && python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); assert d["devices"]["pit"]["class"] == "i8254"' "$t/out"; ok $? "inspect: a device's fields"
p inspect a nosuch; [ $? -eq 1 ] && says 'no device'; ok $? "inspect: a device that is not there"
p set a --stop-timeout 1 --cpus 2 && says 'next start.*cpus' && p show a && says '^cpus +2'; ok $? "set: what can be at once, the rest at the next start"
p set a --memmory 5; [ $? -eq 2 ] && says 'did you mean --memory'; ok $? "set: an unknown option"
p set a --memory-target 8M; [ $? -eq 1 ] && says '8192 KiB; the guest can be left with 16 MiB'; ok $? "set: a balloon of nearly all is refused"
p set a --json; [ $? -eq 2 ] && says 'what is to be changed'; ok $? "set: nothing to change is an error"
p set a --unset firmware; [ $? -eq 1 ] && says 'nothing to boot' && p show a && says '^firmware'; ok $? "set: what makes no machine is refused, and changes nothing"
p rename a b; [ $? -eq 1 ] && says 'is running'; ok $? "rename: not while it runs"
p rm a; [ $? -eq 1 ] && says 'is running' && [ "$(state a)" = running ]; ok $? "rm: not while it runs"
s=$SECONDS; p stop a && says 'ended by force' && [ $((SECONDS - s)) -le 5 ] && [ "$(state a)" = off ]; ok $? "stop: by force after stop-timeout, for who knows no power button"
p stop a; ok $? "stop: a machine that is off is no error"
[ -z "$(find "$PENTA_HOME" -type s)" ]; ok $? "stop: no socket is left"
p show a && says '^last end +quit'; ok $? "show: how it ended"
p rename a b && [ "$(state b)" = off ] && ! p show a && says 'no machine "a"'; ok $? "rename"
p start b && p ls b && says '^b +running +2 '; ok $? "the next start has what set said"
p rm --force b && [ -z "$(ls -A "$PENTA_HOME/machines")" ]; ok $? "rm --force: nothing is left"
p create sv --firmware "$t/rom" --memory 16M && p start sv && p save sv "$t/sv" && [ "$(stat -c %a "$t/sv")" = 600 ] && p rm sv; ok $? "save: the state is its owner's alone"
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	mkdir -m 700 "$t/shut"; PENTA_HOME=$t/shut/no setpriv --reuid=65534 --clear-groups "$penta" create x --firmware /dev/null >"$t/out" 2>"$t/err"; says "Permission denied"; ok $? "a home that may not be made: says why"
fi
p create big --firmware "$t/rom" --memory 1T && p start big && says 'warning: big has 1 TiB of memory, and this host' && p rm -f big; ok $? "start: more memory than the host has is started, and said"
p start b; [ $? -eq 1 ] && says 'no machine "b"'; ok $? "start: a machine that is not there"

timeout 2 "$penta" run --firmware "$t/rom" --memory 16M --serial none --trace uart.write --trace-file "$t/trace" </dev/null >"$t/out" 2>"$t/err"
! says 'sandbox' && grep -q 'uart.write.*val=0x68' "$t/trace"; ok $? "--trace-file: written by processors in their sandbox"

# --- what is wrong is told in one line, by the start too ---
p create w --firmware "$t/absent" && ! p start w && says "absent.*No such file" && [ "$(wc -l < "$t/err")" = 1 ] && [ "$(state w)" = off ]; ok $? "start: says why not"
echo '{"version": 1, "memmory": "1G"}' > "$PENTA_HOME/machines/w/config.json"
p start w; [ $? -eq 1 ] && says 'config.json.*"memmory"; did you mean "memory"'; ok $? "config.json: an unknown key is named, and the nearest known"
[ "$(state w)" = broken ] && p ls w && says "^w +broken +- +- +- " && ! p show w && says "^status +broken" && p rm w; ok $? "ls and rm of a machine with a broken config.json"

# --- names ---
bad=0
for name in '' . .. -x 'a b' 'a/b' '../x' $'a\nb' $'a\tb' 'ä' "$(printf 'x%.0s' $(seq 65))" '$(id)' 'a;b' .hidden '*'; do
	p create --firmware "$t/rom" -- "$name"; r=$?
	[ $r -eq 1 ] && says 'is no name for a machine' && [ -z "$(ls -A "$PENTA_HOME/machines" 2>/dev/null)" ] || { bad=1; echo "  taken: '$name' ($r)"; }
done
for name in a 0 A.b_c-9 "$(printf 'y%.0s' $(seq 64))"; do p create --firmware "$t/rom" "$name" && p rm "$name" || bad=1; done
ok $bad "names: those that would be trouble are refused"
long=$t/$(printf 'd%.0s' $(seq 120))
mkdir "$long"
PENTA_HOME=$long p create l --firmware "$t/rom" --memory 16M && PENTA_HOME=$long p start l && PENTA_HOME=$long p console l && says hi
r=$?; PENTA_HOME=$long p rm -f l; ok $r "a folder's path that no socket's address has room for"

# --- two at once ---
rounds=${ROUNDS:-12} bad=0
for i in $(seq "$rounds"); do
	for k in 1 2 3; do "$penta" create two --firmware "$t/rom" --memory 16M >/dev/null 2>&1 && echo c; done > "$t/made" &
	"$penta" create two --firmware "$t/rom" --memory 16M >/dev/null 2>&1 && echo c > "$t/made2"
	wait
	[ "$(cat "$t/made" "$t/made2" 2>/dev/null | wc -l)" = 1 ] || bad=1
	rm -f "$t/made2"
	for k in 1 2 3 4; do "$penta" set two --cpus $((k % 4 + 1)) --memory ${k}0M >/dev/null 2>&1 || touch "$t/lost" & done
	wait
	for k in 1 2 3; do "$penta" start two >/dev/null 2>&1 && echo s & done > "$t/started"
	wait
	[ "$(wc -l < "$t/started")" = 1 ] || bad=1
	"$penta" stop -f two 2>/dev/null & "$penta" rm -f two 2>/dev/null & "$penta" set two --cpus 1 2>/dev/null & wait
	p rm -f two; [ -e "$PENTA_HOME/machines/two" ] && bad=1
done >/dev/null
[ $bad = 0 ] && [ ! -e "$t/lost" ] && [ -z "$(ls -A "$PENTA_HOME/machines")" ]; ok $? "two CLIs at once: $rounds rounds of create, set, start, stop, rm"

# --- a process that is killed leaves nothing in the way ---
p create k --firmware "$t/rom" --memory 16M
bad=0
for i in $(seq "$rounds"); do
	p start k || { bad=1; break; }
	kill -9 "$(p show --json k; sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$t/out")" || bad=1
	for w in $(seq 100); do [ "$(state k)" = died ] && break; sleep 0.02; done
	[ "$(state k)" = died ] || bad=1
done
ok $bad "kill -9 of the machine's process, then start: $rounds rounds"
p set k --memory 20M && p rename k k2 && p rm k2; ok $? "... and set, rename, rm"

# --- the host's side is full or closed ---
if mkdir "$t/small" && mount -t tmpfs -o size=64k tmpfs "$t/small" 2>/dev/null; then
	head -c 1M /dev/zero > "$t/small/fill" 2>/dev/null
	PENTA_HOME=$t/small p create f --firmware "$t/rom"; [ $? -eq 1 ] && says 'No space left' && ! ls "$t/small/machines" | grep -q .; ok $? "create: a full disk leaves nothing behind"
	rm "$t/small/fill"; PENTA_HOME=$t/small p create f --firmware "$t/rom"
	head -c 1M /dev/zero > "$t/small/fill" 2>/dev/null; before=$(cat "$t/small/machines/f/config.json")
	PENTA_HOME=$t/small p set f --memory 1G; [ $? -eq 1 ] && [ "$(cat "$t/small/machines/f/config.json")" = "$before" ]; ok $? "set: a full disk leaves config.json as it was"
	mount -o remount,ro "$t/small"
	PENTA_HOME=$t/small p ls && says '^f +off'; ok $? "ls: a read-only home"
	PENTA_HOME=$t/small p start f; [ $? -eq 1 ] && says 'Read-only file system'; ok $? "start: a read-only home is told"
	PENTA_HOME=$t/small p create g --firmware "$t/rom"; [ $? -eq 1 ] && says 'Read-only'; ok $? "create: a read-only home is told"
	umount "$t/small"
else
	skip "a full disk, a read-only home" "no tmpfs can be mounted here"
fi

# --- clones ---
if p image create "$t/disk.qcow2" 1M; then
	cp "$t/disk.qcow2" "$t/inside.qcow2"
	p create c --firmware "$t/rom" --memory 16M --disk "$t/disk.qcow2" --net user
	p clone c full && p show full && says '^disk +disk0.qcow2' && [ -s "$PENTA_HOME/machines/full/disk0.qcow2" ]; ok $? "clone: copies the disk"
	[ "$("$penta" show c | grep -E '^(uuid|net)')" != "$("$penta" show full | grep -E '^(uuid|net)')" ]; ok $? "clone: an identity of its own"
	p clone --linked full link && p start full link; ok $? "clone --linked: both run on what they share"
	p clone full again; [ $? -eq 1 ] && says 'is running'; ok $? "clone: not while it runs"
	p stop -f full link; p rm full; [ $? -eq 1 ] && says 'built on its disks'; ok $? "rm: not what a clone is built on"
	p rename full other; [ $? -eq 1 ] && says 'built on its disks'; ok $? "rename: neither"
	p rm link && p rm full c; ok $? "rm: the clone first"
else
	skip "clones" "no disk images"
fi

# --- autostart ---
p create s1 --firmware "$t/rom" --memory 16M; p create s2 --firmware "$t/rom" --memory 16M
p autostart on s1 && p autostart ls && [ "$(cat "$t/out")" = s1 ]; ok $? "autostart on, ls"
p autostart run && [ "$(state s1) $(state s2)" = "running off" ] && p autostart run; ok $? "autostart run: those marked, again is no error"
p autostart unit && says 'ExecStart="/.*penta" autostart run' && says "^Environment=\"PENTA_HOME=$PENTA_HOME\"$"; ok $? "autostart unit: knows where the machines are"
p set s1 --stop-timeout 0 && p autostart stop && [ "$(state s1)" = off ]; ok $? "autostart stop"
p rm s1 s2

# --- a guest that knows the power button ---
if k=$(tools/guest-kernel cloud 2>"$t/err") && [ -n "$k" ]; then
	cat > "$t/init" <<'I'
#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
case $(cat /proc/cmdline) in *do=off*) echo READY; poweroff -f ;; esac
exec setsid sh -c 'echo READY; exec sh -i </dev/ttyS0 >/dev/ttyS0 2>&1'
I
	tools/mkinitramfs "$t/rd" "$t/init"
	p create g --kernel "$k" --initrd "$t/rd" --append 'console=ttyS0 quiet cryptomgr.notests do=off' --memory 256M
	p run g && says READY && p show g && says '^last end +powered off'; ok $? "run NAME: in the foreground, to the guest's power-off"
	p set g --append 'console=ttyS0 quiet cryptomgr.notests' && p start g
	# A shell drops what was typed before it was ready: say it until it answers.
	log=$PENTA_HOME/machines/g/console.log
	(for i in $(seq 40); do echo 'echo two $((1+1))'; grep -q '^two 2' "$log" && break; sleep 0.5; done; echo 'poweroff -f') | timeout 60 "$penta" console g >"$t/out" 2>"$t/err"
	says 'two 2'; ok $? "console: types and sees"
	for i in $(seq 200); do [ "$(state g)" = off ] && break; sleep 0.1; done
	[ "$(state g)" = off ]; ok $? "a guest that powers off ends its process"
	p rm g
else
	skip "a guest with an init" "$(tail -n 1 "$t/err")"
fi
echo "1..$n"
