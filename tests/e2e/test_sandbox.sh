#!/usr/bin/env bash
# The sandbox of a running machine: every thread is in it and has no rights left; a call that is on no
# list ends the machine, for each class of threads (in a build with a planted one); each entry of the
# lists is used by something here. Prints TAP.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-./penta} B=build/${CONFIG:-release}
t=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$t"' EXIT
chmod 755 "$t"
n=0
ok() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; tail -n 8 "$t/err" 2>/dev/null | cut -c1-200 | sed 's/^/  /'; fi; }
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }
: > "$t/err"
k=$(tools/guest-kernel cloud 2>"$t/err") || { echo "1..1"; echo "ok 1 - the sandbox # SKIP $(tail -n 1 "$t/err")"; exit 0; }

cat > "$t/init" <<'I'
#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
echo READY
case $(cat /proc/cmdline) in
*do=wait*) while :; do sleep 1; done ;;
*do=much*) i=0; while [ $i -lt 1500 ]; do echo "line $i of the output that is longer than a pipe of 64 KiB is"; i=$((i + 1)); done ;;
*do=talk*) exec 0</dev/ttyS0; while read -r line; do case $line in quit*) break ;; esac; echo "GOT $line"; done
	# Input that waits for room, and then more output than a pipe holds.
	i=0; while [ $i -lt 3000 ]; do echo "line $i of the output that is longer than a pipe of 64 KiB is"; i=$((i + 1)); done ;;
esac
poweroff -f
I
tools/mkinitramfs "$t/initrd" "$t/init" || exit 1
args=(run --engine soft --kernel "$k" --initrd "$t/initrd" --memory 128M)
line="console=ttyS0 quiet cryptomgr.notests"
await() { # FILE PATTERN: for at most 60 s
	for _ in $(seq 600); do grep -qaE "$2" "$1" 2>/dev/null && return 0; sleep 0.1; done; return 1
}

# --- every thread is inside, before the guest runs ---
"$penta" "${args[@]}" --cpus 2 --append "$line do=wait" </dev/null >"$t/out" 2>"$t/err" & pid=$!
await "$t/out" READY; ok $? "a machine in its sandbox boots"
status() { sed -n "s/^$1:[[:space:]]*//p" /proc/$pid/task/*/status 2>/dev/null | sort -u; }
[ "$(status Seccomp)" = 2 ]; ok $? "all threads have a filter"
[ "$(status NoNewPrivs)" = 1 ]; ok $? "no thread can gain rights"
[ "$(status CapEff) $(status CapPrm) $(status CapInh) $(status CapAmb)" = "0000000000000000 0000000000000000 0000000000000000 0000000000000000" ]
ok $? "no thread has a capability"
if [ "$(id -u)" = 0 ]; then
	[ "$(status CapBnd)" = 0000000000000000 ]; ok $? "none can come back"
	read -r a b c d <<<"$(status Uid)"; [ "$a" != 0 ] && [ "$a$b$c" = "$b$c$d" ]; ok $? "started by root, it is root no more (uid $a)"
	[ -z "$(status Groups)" ]; ok $? "it is in no group"
	# Another user must not look into the guest, nor may the same user.
	! setpriv --reuid "$a" --regid "$a" --clear-groups head -c1 "/proc/$pid/mem" >/dev/null 2>&1; ok $? "its own user cannot trace it"
fi
grep -qE '^Max core file size +0 +0 ' "/proc/$pid/limits"; ok $? "it leaves no core"
kill "$pid"; wait "$pid" 2>/dev/null

"$penta" "${args[@]}" --sandbox off --append "$line" </dev/null >"$t/out" 2>"$t/err" & pid=$!
await "$t/out" READY; [ "$(status Seccomp)" = 0 ] || ! kill -0 $pid 2>/dev/null; ok $? "--sandbox off: no filter"
wait "$pid"; ok $? "--sandbox off: it boots and powers off"
if [ "$(id -u)" = 0 ]; then
	"$penta" "${args[@]}" --user nobody --append "$line do=wait" </dev/null >"$t/out" 2>"$t/err" & pid=$!
	await "$t/out" READY; [ "$(status Uid | tr -s '\t' ' ')" = "$(id -u nobody) $(id -u nobody) $(id -u nobody) $(id -u nobody)" ]; ok $? "--user nobody"
	kill "$pid"; wait "$pid" 2>/dev/null
fi

# --- a planted call ends the machine; not in the program that people get ---
! grep -qa PENTA_PLANTED "$penta"; ok $? "the program has no planted call"
flags=$(pkg-config --libs $(cat tools/pkgs)) || flags=
if gcc -D_GNU_SOURCE -std=gnu17 -O2 -pthread -Isrc -DPENTA_PLANTED_CALL -o "$t/planted" src/base/sandbox.c $B/src/manage/cli/main.o $B/libpenta.a $flags -lbz2 -lm 2>"$t/err"; then
	chmod 755 "$t/planted"
	for class in vcpu io control; do
		gdb=(); [ $class = control ] && gdb=(--gdb "unix:$t/gdb.$class")
		PENTA_PLANTED=$class timeout 60 "$t/planted" "${args[@]}" "${gdb[@]}" --append "$line do=wait" </dev/null >"$t/out" 2>"$t/err"; rc=$?
		[ $rc = 159 ] && grep -q "sandbox: a thread of class $class may not call execve" "$t/err" && ! grep -q "went through" "$t/out"
		ok $? "a planted call of class $class ends the machine (status $rc)"
	done
	timeout 60 "$t/planted" "${args[@]}" --append "$line" </dev/null >"$t/out" 2>"$t/err"; ok $? "... which otherwise runs"
else
	ok 1 "the build with a planted call"
fi

# --- each entry is used --- (SANDBOX_USES=1: a minute and more of machines under strace)
if [ "${SANDBOX_USES:-0}" != 1 ]; then
	skip "each entry of the lists is used" "set SANDBOX_USES=1"
elif ! command -v strace >/dev/null; then
	skip "each entry of the lists is used" "strace is not installed"
elif ! strace -o /dev/null true 2>/dev/null; then
	skip "each entry of the lists is used" "this host does not let us trace"
else
	mkdir "$t/st"
	strace="strace -ff -qq -s0"
	watch() { local name=$1; shift; $strace -o "$t/st/$name" "$@"; }
	# What a C program needs anywhere; and BUG(), which no guest can reach.
	watch unit $B/tests/base/test_sandbox </dev/null >/dev/null 2>&1
	. tests/e2e/sandbox_uses.sh
	cat "$t"/st/* | wc -l | sed 's/^/# system calls seen: /'
	# A thread's calls from the mark that sandbox_enter() makes: prctl(PR_CAPBSET_READ, 1000 + class).
	awk 'BEGIN { class_of["8"] = "vcpu"; class_of["9"] = "io"; class_of["a"] = "files"; class_of["b"] = "control" }
	     FNR == 1 { class = "" }
	     /^prctl\(PR_CAPBSET_READ, 0x3e[89ab] / { class = class_of[substr($0, 28, 1)]; next }
	     class && match($0, /^[a-z_0-9]+\(/) { print class, substr($0, 1, RLENGTH - 1) }' "$t"/st/* | sort -u > "$t/used"
	"$penta" doctor --sandbox | awk '{ print $1, $2 }' | sort -u > "$t/listed"
	for class in vcpu io files control; do
		max=$(case $class in vcpu) echo 25 ;; io | files) echo 40 ;; *) echo 50 ;; esac)
		[ "$(grep -c "^$class " "$t/listed")" -le "$max" ]; ok $? "class $class: $(grep -c "^$class " "$t/listed") calls, at most $max"
		comm -13 "$t/used" <(grep "^$class " "$t/listed") > "$t/err"
		[ ! -s "$t/err" ]; ok $? "class $class: each is used by a test$([ -s "$t/err" ] && printf ', but not: %s' "$(cut -d' ' -f2 "$t/err" | paste -sd' ')")"
	done
fi
echo "1..$n"
