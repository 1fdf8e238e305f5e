#!/usr/bin/env bash
# Everything that a user without rights does with machines: as nobody (when root runs this) with a home of
# its own: run; create, start, console, save, restore, snapshot, fork, stop; disks, user network with a
# forwarded port, shared folder, sockets, balloon; each process in its sandbox. Prints TAP.
set -u
cd "$(dirname "$0")/../.."
t=$(mktemp -d)
n=0
ok() {
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; return; fi
	echo "not ok $n - $2"
	tail -n 6 "$t/err" "$t/out" "$t"/home/machines/*/penta.log 2>/dev/null | tr -d '\r' | cut -c1-160 | sed 's/^/  /'
}
skip() { echo "1..1"; echo "ok 1 - as nobody # SKIP $1"; rm -rf "$t"; exit 0; }
as=()
if [ "$(id -u)" = 0 ]; then
	command -v setpriv >/dev/null || skip "setpriv is not installed"
	as=(setpriv --reuid nobody --regid nogroup --clear-groups --inh-caps=-all)
fi
chmod 711 "$t"; cp "${PENTA:-./penta}" "$t/penta"
mkdir "$t/home" "$t/home/tmp" "$t/home/share"
user() { env -u PENTA_HOME -u XDG_RUNTIME_DIR -u XDG_DATA_HOME "${as[@]}" env HOME="$t/home" TMPDIR="$t/home/tmp" "$@"; }
p() { user timeout 60 "$t/penta" "$@" 2>>"$t/err"; }
# Where its machines are: that is for penta to say.
trap 'for m in m f r; do p stop --force $m >/dev/null 2>&1; done; kill $(jobs -p) 2>/dev/null; rm -rf "$t"' EXIT
: > "$t/err"; : > "$t/out"
${CC:-gcc} -O1 -D_GNU_SOURCE -static -o "$t/vsockcheck" tests/guests/vsockcheck.c 2>"$t/err" || skip "no static program: $(tail -1 "$t/err")"
k=$(tools/guest-kernel cloud 2>"$t/err") && mods=$(tools/guest-modules cloud virtio_pci virtio_blk virtio_net virtio_balloon virtio_console virtio_rng virtiofs vmw_vsock_virtio_transport 2>"$t/err") || skip "$(tail -n 1 "$t/err")"
# shellcheck disable=SC2086
tools/mkinitramfs "$t/initrd" tests/guests/all-init "$t/vsockcheck=vsockcheck" $mods || exit 1
cp "$k" "$t/kernel"; k=$t/kernel
echo "from host" > "$t/home/share/word"; truncate -s 8M "$t/home/raw.img"
chmod 644 "$t/kernel" "$t/initrd"; [ ${#as[@]} = 0 ] || chown -R nobody:nogroup "$t/home"
host() { rm -f "$t/ports"; python3 tests/e2e/all_host.py "$t/ports" "$1" >"$t/host" 2>&1 & host=$!; for _ in $(seq 100); do [ -s "$t/ports" ] && break; sleep 0.05; done; read -r port forward < "$t/ports"; }
all() { # FILE: has each device done its part?
	local w; for w in VSOCK RNG "DISK vda" "DISK vdb" SHARE NET FORWARD READY; do grep -qa "ALL-$w" "$1" || { echo "# $w: no" >> "$t/err"; return 1; }; done
	grep -q HOST-FORWARD "$t/host" && grep -q HOST-VSOCK "$t/host"
}

p image create "$t/home/q.qcow2" 16M >/dev/null; ok $? "an image is made"
what=(--memory 128M --cpus 2 --kernel "$k" --initrd "$t/initrd" --disk "$t/home/raw.img,format=raw" --disk "$t/home/q.qcow2" --share "$t/home/share" --vsock 7)
line="console=ttyS0 quiet cryptomgr.notests"
host "$t/vsock.sock"
( for _ in $(seq 600); do	# without a name, penta says where
	at=$(sed -n 's/.*vsock ports are at //p' "$t/err" | head -n 1)
	[ -n "$at" ] && ln -s "$at" "$t/vsock.sock" && break
	sleep 0.1
done ) &
(cd "$t/home" && user timeout 100 "$t/penta" run "${what[@]}" --net "user,forward=$forward:22" --append "$line port=$port do=off" </dev/null >"$t/out" 2>>"$t/err"); rc=$?
wait $host
[ $rc = 0 ] && all "$t/out"; ok $? "penta run: disks, network, forwarded port, folder, sockets, balloon"
[ "$(cat "$t/home/share/d/guest")" = "from guest" ] && [ -L "$t/vsock.sock" ] && [ ! -e "$t/vsock.sock" ]; ok $? "what the guest wrote is in the folder; no socket is left"
rm -rf "$t/home/share/d"

host "$t/home/vs"
p create m "${what[@]}" --net "user,forward=$forward:22" --append "$line port=$port" >/dev/null && p start m; ok $? "create, start"
dir=$(p show m --json | python3 -c 'import json, sys
j = json.load(sys.stdin); print(j.get("folder") or j.get("path") or "")' 2>>"$t/err")
[ -d "$dir" ] || dir=$(find "$t/home" -type d -path '*/machines/m' | head -1)
ln -s "$dir/vsock.sock" "$t/home/vs"
for _ in $(seq 600); do grep -qa ALL-READY "$dir/console.log" 2>/dev/null && break; sleep 0.1; done
wait $host; all "$dir/console.log"; ok $? "with a name: the same devices"
pid=$(p ls --json | python3 -c 'import json, sys
print([m.get("pid", 0) for m in json.load(sys.stdin) if m["name"] == "m"][0])')
status() { sed -n "s/^$1:[[:space:]]*//p" /proc/$pid/task/*/status 2>/dev/null | sort -u; }
[ "$(status Seccomp) $(status NoNewPrivs) $(status CapEff)" = "2 1 0000000000000000" ]; ok $? "each thread is in the sandbox"
[ ${#as[@]} = 0 ] || [ "$(status Uid | tr -s '\t' '\n' | sort -u)" = "$(id -u nobody)" ]; ok $? "as the user who started it"
counts() { # MACHINE: does it go on?
	local l=$(dirname "$dir")/$1/console.log a; a=$(grep -ac COUNT "$l")
	for _ in $(seq 200); do [ "$(grep -ac COUNT "$l")" -gt "$((a + 1))" ] && return 0; sleep 0.1; done
	echo "# $1 does not count on" >> "$t/err"; return 1
}
p pause m && p resume m && counts m; ok $? "pause, resume"
p snapshot take m s1 >/dev/null && counts m && p snapshot restore m s1 >/dev/null && counts m; ok $? "snapshot, taken and restored"
p fork m f >/dev/null && counts f && counts m; ok $? "fork"
p save m "$t/home/state" >/dev/null && p restore "$t/home/state" >/dev/null && counts m; ok $? "save, restore"
p stop --force f >/dev/null && p stop --force m >/dev/null; ok $? "stop"
for _ in $(seq 50); do [ -z "$(find "$t/home" -type s)" ] && break; sleep 0.1; done	# the janitor's work
[ -z "$(find "$t/home" -type s)" ]; ok $? "no socket is left"
p rm --force f >/dev/null && p rm --force m >/dev/null && [ ! -e "$dir" ]; ok $? "rm"
p doctor --sandbox >/dev/null; ok $? "penta doctor"
echo "1..$n"
