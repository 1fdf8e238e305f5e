# Sourced by test_sandbox.sh: machines under strace that together use what the sandbox allows. "watch NAME
# COMMAND..." traces; the rest of the variables are the caller's.

# Serial port on a pipe that is read late and whose reader goes away; input from a file.
{ echo hello; head -c 20000 /dev/zero | tr '\0' x; echo; echo quit; } > "$t/typed"
watch pipe "$penta" "${args[@]}" --cpus 2 --append "$line do=talk" <"$t/typed" 2>/dev/null | { sleep 6; head -c 30000; } >/dev/null
# ... on a socket, with somebody at it who talks and goes; a debugger that stops and leaves.
watch sock "$penta" "${args[@]}" --serial "unix:$t/com1" --gdb "unix:$t/gdb" --append "$line do=talk" </dev/null >/dev/null 2>&1 & pid=$!
for _ in $(seq 100); do [ -S "$t/gdb" ] && break; sleep 0.1; done
python3 - "$t" <<'P'
import socket, sys, time
t = sys.argv[1]
def unix(p):
    s = socket.socket(socket.AF_UNIX); s.connect(p); s.settimeout(60); return s
g = unix(t + "/gdb")
def packet(p): g.sendall(b"$" + p + b"#%02x" % (sum(p) & 255))
packet(b"?"); time.sleep(.2); g.recv(4096); packet(b"D"); time.sleep(.2); g.close()
c = unix(t + "/com1"); got = b""
while b"READY" not in got: got += c.recv(4096)
c.sendall(b"a line\n" + b"y" * 3000 + b"\n"); time.sleep(.5); c.close()
c = unix(t + "/com1"); c.sendall(b"\nquit\n")
try:
    while c.recv(65536): pass
except OSError: pass
P
wait $pid
# ... on a terminal, with the keys that pause, dump and leave, and a stop by the shell.
{ sleep 3; printf '\001s'; sleep .3; printf '\001s\001d'; sleep .5; printf '\001x'; } |
	watch tty script -qec "$penta ${args[*]} --append '$line do=wait'" /dev/null >/dev/null 2>&1

# A machine with disks, a network, a folder: what a guest does with them.
cat > "$t/init2" <<'I'
#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in /lib/modules/*.ko; do insmod "$m"; done
for d in vda vdb; do
	[ -e /dev/$d ] || continue
	dd if=/dev/zero of=/dev/$d bs=64k count=32 conv=fsync; dd if=/dev/$d of=/dev/null bs=64k count=64
	blkdiscard -o 0 -l 1048576 /dev/$d; blkdiscard -z -o 1048576 -l 1048576 /dev/$d
done
if [ -e /sys/class/net/eth0 ]; then
	ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
	# shellcheck disable=SC2086
	set -- $(cat /proc/cmdline); for a; do case $a in port=*) port=${a#port=} ;; esac; done
	echo hello | nc -w 5 10.0.2.2 $port; echo x | nc -u -w 1 10.0.2.2 9; nc -w 2 10.0.2.2 1; ping -c 1 -W 1 10.0.2.2
	echo GUEST-LISTENS; echo from guest | nc -l -p 22 -w 10
fi
poweroff -f
I
tools/mkinitramfs "$t/initrd2" "$t/init2" $(tools/guest-modules cloud virtio_pci virtio_blk virtio_net virtio_balloon) || exit 1
truncate -s 16M "$t/raw.img" && "$penta" image create "$t/q.qcow2" 64M >/dev/null 2>&1
chmod 666 "$t/raw.img" "$t/q.qcow2"
python3 - "$t" <<'P' &
import socket, sys, time, os
t = sys.argv[1]
l = socket.socket(); l.bind(("127.0.0.1", 0)); l.listen(4)
f = socket.socket(); f.bind(("127.0.0.1", 0)); fwd = f.getsockname()[1]; f.close()
open(t + "/ports.tmp", "w").write("%d %d\n" % (l.getsockname()[1], fwd)); os.rename(t + "/ports.tmp", t + "/ports")
l.settimeout(60)
c, _ = l.accept(); c.settimeout(10); c.recv(100); c.sendall(b"answer\n"); c.close()
end = time.time() + 30
while time.time() < end:
    try:
        s = socket.create_connection(("127.0.0.1", fwd), 2); s.settimeout(5)
        if s.recv(100): break
    except OSError: pass
    time.sleep(.3)
P
for _ in $(seq 50); do [ -s "$t/ports" ] && break; sleep 0.1; done
read -r port fwd < "$t/ports"
args2=(run --engine soft --kernel "$k" --initrd "$t/initrd2" --memory 128M)
watch disks "$penta" "${args2[@]}" --disk "$t/raw.img" --disk "$t/q.qcow2" --net "user,forward=$fwd:22" --balloon on --pcap "$t/pcap" --append "$line port=$port" </dev/null >"$t/out" 2>"$t/err" || cat "$t/err" >&2
# The same without io_uring: threads.
watch threads -e inject=io_uring_setup:error=ENOSYS "$penta" "${args2[@]}" --disk "$t/raw.img,cache=writethrough" --disk "$t/q.qcow2" --append "$line" </dev/null >"$t/out" 2>"$t/err" || cat "$t/err" >&2

# A machine with a name, asked by its control socket; a shared folder.
export PENTA_HOME=$t/home
cat > "$t/straced" <<S
#!/bin/sh
exec strace -ff -qq -s0 -o "$t/st/m.\$\$" $PWD/${penta#./} "\$@"
S
case $penta in /*) sed -i "s|$PWD//|/|" "$t/straced" ;; esac
chmod +x "$t/straced"
"$t/straced" create m --kernel "$k" --initrd "$t/initrd" --memory 128M --append "$line do=wait" >/dev/null 2>&1
"$t/straced" start m >/dev/null 2>&1 & straced=$!	# strace ends with the machine
for _ in $(seq 100); do "$penta" ls 2>/dev/null | grep -q running && break; sleep 0.1; done
for v in "ls" "pause m" "resume m" "inspect m" "reset m"; do "$penta" $v >/dev/null 2>&1; done	# words
timeout 20 "$penta" stop --force m >/dev/null 2>&1
wait $straced
gcc -O1 -D_GNU_SOURCE -static -pthread -o "$t/fscheck" tests/guests/fscheck.c 2>/dev/null &&
	tools/mkinitramfs "$t/initrd3" tests/guests/share-init "$t/fscheck=fscheck" $(tools/guest-modules cloud virtio_pci virtiofs) && {
	mkdir -m 777 "$t/f"
	watch share "$penta" run --kernel "$k" --initrd "$t/initrd3" --memory 256M --append "console=ttyS0 quiet do=check mode=mapped many=20" --share "$t/f,mapped" </dev/null >/dev/null 2>&1
	rm -rf "$t/f"; mkdir -m 777 "$t/f"
	watch share2 "$penta" run --kernel "$k" --initrd "$t/initrd3" --memory 256M --append "console=ttyS0 quiet do=check mode=user many=20" --share "$t/f" </dev/null >/dev/null 2>&1
}
