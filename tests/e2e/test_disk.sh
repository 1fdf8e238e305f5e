#!/usr/bin/env bash
# Disks under a stock Debian kernel: a file system made, filled and read again, on raw and qcow2 and by
# io_uring and threads; what the host finds afterwards; discard gives room back; several queues; serial;
# read-only; a file that is too short; kill -9 of the machine: what was flushed is there.
# ROUNDS (default 3): kills. Prints TAP.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-./penta}
t=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$t"' EXIT
n=0
ok() {
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; return; fi
	echo "not ok $n - $2"
	for f in "$t/out" "$t/err"; do tail -n 15 "$f" | tr -d '\r' | cut -c1-160 | sed "s/^/  ${f##*/}: /"; done
}
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }
k=$(tools/guest-kernel cloud 2>"$t/err") || { echo "1..1"; echo "ok 1 - disks # SKIP $(tail -n 1 "$t/err")"; exit 0; }
export PATH=$PATH:/usr/sbin:/sbin

cat > "$t/init" <<'I'
#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in /lib/modules/*.ko; do insmod $m; done
mkdir -p /mnt
q=/sys/block/vda
echo "SERIAL $(cat $q/serial) QUEUES $(ls $q/mq | wc -l) RO $(cat $q/ro) CACHE $(cat $q/queue/write_cache)"
fill() { # the same bytes each time, and no two blocks alike
	i=0; while [ $i -lt $1 ]; do yes "line $i" | head -c 1048576; i=$((i + 1)); done
}
case $(cat /proc/cmdline) in
*do=fs*)
	mount -t ext4 /dev/vda /mnt || echo "BAD mount"
	fill 12 > /mnt/f; mkdir /mnt/d; i=0; while [ $i -lt 300 ]; do echo $i > /mnt/d/$i; i=$((i + 1)); done
	sync
	umount /mnt; echo 3 > /proc/sys/vm/drop_caches
	mount -t ext4 /dev/vda /mnt; echo "SUM $(md5sum < /mnt/f | cut -c1-32) FILES $(ls /mnt/d | wc -l)"; umount /mnt ;;
*do=trim*)
	mount -t ext4 /dev/vda /mnt; rm /mnt/f; sync; fstrim -v /mnt; umount /mnt
	blkdiscard -z -o 0 -l 1048576 /dev/vdb 2>&1; dd if=/dev/urandom of=/dev/vdb bs=1M seek=1 count=8 conv=fsync 2>/dev/null
	blkdiscard -o 1048576 -l 4194304 /dev/vdb && echo "DISCARDED" ;;
*do=ro*)
	dd if=/dev/zero of=/dev/vda bs=4096 count=1 2>&1 | grep -iE 'error|permitted|read-only' | sed 's/^/REFUSED /'
	echo "READ $(dd if=/dev/vda bs=1M count=4 2>/dev/null | md5sum | cut -c1-32)" ;;
*do=short*)
	dd if=/dev/vda bs=4096 count=1 skip=2000 of=/dev/null 2>&1 | grep -i error | sed 's/^/GOT /'
	echo "ALIVE $(dd if=/dev/vda bs=4096 count=1 2>/dev/null | wc -c)" ;;
*do=log*)	# numbered blocks, each flushed before it is told
	i=1; while :; do
		yes "$i" | head -c 65536 > /tmp/b; dd if=/tmp/b of=/dev/vda bs=65536 seek=$i conv=notrunc,fsync 2>/dev/null
		echo "FLUSHED $i"; i=$((i + 1)); done ;;
esac
dmesg | grep -iE 'i/o error|ext4-fs.*error|call trace|BUG:' | grep -v 'do=short' | sed 's/^/BAD /' | head -3
poweroff -f
I
# shellcheck disable=SC2046
tools/mkinitramfs "$t/initrd" "$t/init" $(tools/guest-modules cloud virtio_pci virtio_blk ext4) 2>"$t/err" ||
	{ echo "1..1"; echo "ok 1 - disks # SKIP $(tail -n 1 "$t/err")"; exit 0; }
boot() { # APPEND ARGS...
	local append=$1; shift
	timeout -k 5 100 "$penta" run --engine soft --kernel "$k" --initrd "$t/initrd" --memory 256M \
		--append "console=ttyS0 quiet cryptomgr.notests $append" "$@" </dev/null 2>"$t/err" >"$t/raw"
	rc=$?; tr -d '\r' <"$t/raw" >"$t/out"
}
want=$(for i in $(seq 0 11); do yes "line $i" | head -c 1048576; done | md5sum | cut -c1-32)
have() { command -v "$1" >/dev/null; }
fs() { mke2fs -q -F -t ext4 -O ^has_journal "$1" 2>>"$t/err"; }

if have mke2fs && have debugfs; then
	truncate -s 200M "$t/raw.img"; fs "$t/raw.img"
	boot do=fs --disk "$t/raw.img,format=raw,serial=number-one" --cpus 2
	grep -q "^SUM $want FILES 300" "$t/out" && ! grep -q '^BAD' "$t/out"; ok $? "raw: a file system is filled and read again"
	grep -q "^SERIAL number-one QUEUES 2 RO 0 CACHE write back" "$t/out"; ok $? "serial, a queue for each CPU, write cache"
	e2fsck -fn "$t/raw.img" >/dev/null 2>&1; ok $? "e2fsck on the host finds it clean"
	[ "$(debugfs -R 'cat /f' "$t/raw.img" 2>/dev/null | md5sum | cut -c1-32)" = "$want" ]; ok $? "the host reads the same bytes"

	before=$(stat -c %b "$t/raw.img")
	truncate -s 32M "$t/b.img"
	boot do=trim --disk "$t/raw.img,format=raw" --disk "$t/b.img,format=raw"
	after=$(stat -c %b "$t/raw.img")
	grep -q DISCARDED "$t/out" && [ $((before - after)) -gt 20000 ] && [ "$(stat -c %b "$t/b.img")" -lt 10000 ]
	ok $? "fstrim and blkdiscard give room back ($before -> $after blocks)"

	fs "$t/raw.img"; "$penta" image create --backing raw.img --backing-format raw "$t/top.qcow2" 2>"$t/err"; sum=$(md5sum < "$t/raw.img")
	boot do=fs --disk "$t/top.qcow2,format=qcow2" --cpus 2
	grep -q "^SUM $want FILES 300" "$t/out" && ! grep -q '^BAD' "$t/out"; ok $? "qcow2 over a backing file: the same"
	"$penta" image check "$t/top.qcow2" >"$t/out" 2>&1 && [ "$sum" = "$(md5sum < "$t/raw.img")" ]; ok $? "the image is sound, its backing file untouched"
	"$penta" image convert --format raw "$t/top.qcow2" "$t/flat.img" 2>"$t/err" && e2fsck -fn "$t/flat.img" >/dev/null 2>&1 &&
		[ "$(debugfs -R 'cat /f' "$t/flat.img" 2>/dev/null | md5sum | cut -c1-32)" = "$want" ]; ok $? "converted to raw, the host reads the same bytes"
	if have qemu-img; then
		qemu-img check -q "$t/top.qcow2" 2>"$t/err" && qemu-img compare -q "$t/top.qcow2" "$t/flat.img"; ok $? "qemu-img check and compare agree"
	else skip "qemu-img check and compare agree" "qemu-img is not installed"; fi
	for cache in none writethrough; do
		fs "$t/raw.img"
		boot do=fs --disk "$t/raw.img,format=raw,cache=$cache"
		grep -q "^SUM $want FILES 300" "$t/out" && e2fsck -fn "$t/raw.img" >/dev/null 2>&1; ok $? "cache=$cache"
	done
else skip "file systems" "mke2fs and debugfs (e2fsprogs) are not installed"; truncate -s 8M "$t/raw.img"; fi

sum=$(head -c 4194304 "$t/raw.img" | md5sum | cut -c1-32); whole=$(md5sum < "$t/raw.img"); chmod 444 "$t/raw.img"
boot do=ro --disk "$t/raw.img,format=raw,ro"
grep -q ' RO 1 ' "$t/out" && grep -q '^REFUSED' "$t/out" && grep -q "^READ $sum" "$t/out" && [ "$whole" = "$(md5sum < "$t/raw.img")" ]
ok $? "a read-only disk is read, and not written"
chmod 644 "$t/raw.img"

truncate -s 16M "$t/short.img"
mkfifo "$t/go"
(timeout -k 5 60 "$penta" run --engine soft --kernel "$k" --initrd "$t/initrd" --memory 256M --disk "$t/short.img,format=raw" \
	--append "console=ttyS0 quiet do=short" </dev/null 2>"$t/err" | tr -d '\r' > "$t/out") & pid=$!
sleep 0.7; truncate -s 4M "$t/short.img"; wait $pid
grep -qi '^GOT.*error' "$t/out" && grep -q '^ALIVE 4096' "$t/out"; ok $? "a file that became shorter: the guest gets an error, and goes on"

{ "$penta" image create --json "$t/j.qcow2" 8M && "$penta" image resize --json "$t/j.qcow2" +8M && "$penta" image convert --json --format raw "$t/j.qcow2" "$t/j.raw"; } 2>"$t/err" |
	tr -d ' \n' | grep -q '"format":"qcow2","size":8388608,.*"format":"qcow2","size":16777216,.*"format":"raw","size":16777216,'; ok $? "create, resize and convert tell programs what became"
"$penta" image create "$t/lock.qcow2" 16M 2>"$t/err"
"$penta" run --engine soft --kernel "$k" --initrd "$t/initrd" --memory 256M --disk "$t/lock.qcow2" --append "do=log" </dev/null >"$t/raw" 2>&1 & pid=$!
for i in $(seq 50); do "$penta" image info "$t/lock.qcow2" 2>/dev/null | grep -q 'in use' && break; sleep 0.1; done
"$penta" image resize "$t/lock.qcow2" 32M 2>"$t/err"; [ $? = 1 ] && grep -q 'in use by penta (pid' "$t/err"; ok $? "an image in use is refused, and its user named"
kill -9 $pid 2>/dev/null; wait $pid 2>/dev/null

bad=0 flushed=0
for round in $(seq "${ROUNDS:-3}"); do
	case $((round % 2)) in 0) img=$t/k.raw fmt=raw; rm -f "$img"; truncate -s 512M "$img" ;; *) img=$t/k.qcow2 fmt=qcow2; "$penta" image create --force "$img" 512M 2>>"$t/err" ;; esac
	"$penta" run --engine soft --kernel "$k" --initrd "$t/initrd" --memory 256M --disk "$img,format=$fmt" \
		--append "console=ttyS0 quiet do=log" </dev/null 2>>"$t/err" >"$t/raw" & pid=$!
	for i in $(seq 800); do [ "$(grep -ac FLUSHED "$t/raw")" -ge $((5 + round * 7 % 40)) ] && break; sleep 0.05; done
	kill -9 $pid; wait $pid 2>/dev/null
	last=$(tr -d '\r' <"$t/raw" | sed -n 's/^FLUSHED \([0-9]*\)$/\1/p' | tail -1)
	[ "${last:-0}" -gt 0 ] || { bad=1; break; }
	flushed=$((flushed + last))
	if [ $fmt = qcow2 ]; then
		"$penta" image check "$img" >"$t/out" 2>&1; [ $? = 0 ] || [ $? = 3 ] || bad=1
		"$penta" image convert --force --format raw "$img" "$t/k.flat" 2>>"$t/err" || bad=1
	else cp --sparse=always "$img" "$t/k.flat"; fi
	for i in $(seq "$last"); do
		dd if="$t/k.flat" bs=65536 skip="$i" count=1 2>/dev/null | cmp -s - <(yes "$i" | head -c 65536) || bad=1
	done
done
[ $bad = 0 ]; ok $? "killed ${ROUNDS:-3} times: all of $flushed flushed blocks are there"
echo "1..$n"
