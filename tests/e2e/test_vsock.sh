#!/usr/bin/env bash
# Sockets between host and guest (--vsock) with a stock kernel: both directions, 4 MiB each way with a
# half-close, twenty connections of which eight run at once, nobody there. Prints TAP.
set -u
cd "$(dirname "$0")/../.."
top=$PWD penta=${PENTA:-$PWD/penta}
t=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$t"' EXIT
n=0 bad=0
check() { n=$((n + 1)); if eval "$2"; then echo "ok $n - $1"; else bad=1; echo "not ok $n - $1"; tail -n 12 "$t/txt" "$t/host" "$t/err" | sed 's/^/  /'; fi; }
skip() { echo "1..1"; echo "ok 1 - vsock # SKIP $1"; exit 0; }

${CC:-gcc} -O1 -D_GNU_SOURCE -static -o "$t/vsockcheck" tests/guests/vsockcheck.c 2>"$t/err" || skip "no static program: $(tail -1 "$t/err")"
kernel=$(tools/guest-kernel "${KERNEL:-cloud}" 2>"$t/err") || skip "$(tail -1 "$t/err")"
# shellcheck disable=SC2046
tools/mkinitramfs "$t/initrd" tests/guests/vsock-init "$t/vsockcheck=vsockcheck" \
	$(tools/guest-modules "${KERNEL:-cloud}" virtio_pci vmw_vsock_virtio_transport) || skip "no initramfs"
cd "$t" || exit 1
mkfifo go; : > host; : > out
mkdir run; XDG_RUNTIME_DIR=$t/run timeout 100 "$penta" run --kernel "$kernel" --initrd initrd --append "console=ttyS0 quiet" --memory 256M \
	--vsock 7 --cpus 2 </dev/null > out 2> err & guest=$!
# The sockets are in a folder of their own, long before the guest has booted.
for _ in $(seq 100); do place=$(sed -n 's,^penta: .* are at \(.*\)/vsock.sock$,\1,p' err); [ -n "$place" ] && break; sleep 0.1; done
check "the folder is told, and nobody else's" "[ -S '$place/vsock.sock' ] && [ \"\$(stat -c %A '$place' | cut -c8-)\" = --- ]"
(cd "$place" && exec python3 "$top/tests/e2e/vsock_host.py") < go > host 2>&1 & host=$!
exec 9> go
for _ in $(seq 200); do grep -q HOST-READY host && break; sleep 0.1; done
for _ in $(seq 600); do grep -q PENTA-LISTENING out && break; kill -0 $guest 2>/dev/null || break; sleep 0.1; done
echo go >&9
wait $guest; rc=$?
kill $host 2>/dev/null; wait $host 2>/dev/null
tr -d '\r' < out > txt
check "the guest has the address that it was given" "grep -q 'PENTA-CID 7' txt"
check "nobody there: reset" "grep -q 'PENTA-REFUSED Connection reset' txt"
check "guest to host: 4 MiB each way, half-closed" "grep -q 'PENTA-CALL-STATUS 0' txt && grep -q 'HOST-SERVED 4194304 True' host"
check "host to guest: 20 connections echo" "grep -q 'HOST-ECHOED 20' host && grep -q 'PENTA-ECHO-STATUS 0' txt"
check "the guest powers off, and socket and folder are gone" "[ $rc -eq 0 ] && [ ! -e '$place' ]"
echo "1..$n"
exit $bad
