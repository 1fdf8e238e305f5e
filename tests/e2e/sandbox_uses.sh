# Sourced by test_sandbox.sh: machines under strace that together use what the sandbox allows. "watch NAME
# COMMAND..." traces; the rest of the variables are the caller's.

# Serial port on a pipe that is read late and whose reader goes away; input from a file.
{ echo hello; head -c 20000 /dev/zero | tr '\0' x; echo; echo quit; } > "$t/typed"
watch pipe "$penta" "${args[@]}" --cpus 2 --append "$line do=talk" <"$t/typed" 2>/dev/null | { sleep 6; head -c 30000; } >/dev/null
# ... which nobody reads: what is left when the guest has gone waits for a second.
mkfifo "$t/fifo"; exec 7<>"$t/fifo"
watch stuck "$penta" "${args[@]}" --append "$line do=much" </dev/null >"$t/fifo" 2>/dev/null; exec 7>&-
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

# All devices in one machine (tests/guests/all-init), with a name; asked by its control socket, kept,
# doubled, and continued. io_uring, then threads.
gcc -O1 -D_GNU_SOURCE -static -o "$t/vsockcheck" tests/guests/vsockcheck.c 2>/dev/null || return 1
tools/mkinitramfs "$t/initrd2" tests/guests/all-init "$t/vsockcheck=vsockcheck" build/gen/penta-agent=penta-agent $(tools/guest-modules cloud virtio_pci virtio_blk virtio_net virtio_balloon virtio_console virtio_rng virtiofs vmw_vsock_virtio_transport) || return 1
export PENTA_HOME=$t/home
cat > "$t/straced" <<S
#!/bin/sh
exec $strace -o "$t/st/m.\$\$" $(realpath "$penta") "\$@"
S
chmod +x "$t/straced"
mkdir -m 777 "$t/share"; echo "from host" > "$t/share/word"; chmod 666 "$t/share/word"
truncate -s 16M "$t/raw.img" && "$penta" image create "$t/q.qcow2" 64M >/dev/null 2>&1
chmod 666 "$t/raw.img" "$t/q.qcow2"
python3 tests/e2e/all_host.py "$t/ports" "$PENTA_HOME/machines/m/vsock.sock" >/dev/null 2>&1 & host=$!
for _ in $(seq 50); do [ -s "$t/ports" ] && break; sleep 0.1; done
read -r port fwd < "$t/ports"
all=(--kernel "$k" --initrd "$t/initrd2" --memory 128M --append "$line port=$port")
"$t/straced" create m "${all[@]}" --disk "$t/raw.img,format=raw,cache=writethrough" --disk "$t/q.qcow2" --net "user,forward=$fwd:22" --share "$t/share" --vsock 7 --console none --pcap "$t/pcap" >/dev/null 2>&1
says() { for _ in $(seq 600); do grep -qa "$2" "$PENTA_HOME/machines/$1/console.log" 2>/dev/null && return; sleep 0.1; done; echo "# $1 does not say $2" >&2; }
s() { timeout 100 "$t/straced" "$@" >/dev/null 2>>"$t/uses.err" & }	# strace ends with the machine that was started
p() { timeout 100 "$penta" "$@" >/dev/null 2>>"$t/uses.err"; }
running() { for _ in $(seq 300); do "$penta" ls 2>/dev/null | grep -qE "^$1 .*running" && return; sleep 0.1; done; echo "# $1 does not run" >&2; }
s start m; says m ALL-READY; wait $host
p pause m; p resume m; p inspect m
timeout 20 "$penta" run m echo hello </dev/null >/dev/null 2>>"$t/uses.err"	# the agent
p snapshot take m s1; s fork m f; running f; s fork f g; running g; p stop --force g; p stop --force f
s snapshot restore m s1; sleep 1; running m
p save m "$t/state"; s restore "$t/state"; running m; sleep 1
p reset m; p stop --force m
# Without io_uring: threads.
sed -i 's/strace -ff/strace -e inject=io_uring_setup:error=ENOSYS -ff/' "$t/straced"
"$t/straced" create n --kernel "$k" --initrd "$t/initrd" --memory 128M --append "$line do=wait" --disk "$t/raw.img,format=raw,cache=writethrough" --disk "$t/q.qcow2,cache=none" >/dev/null 2>&1
s start n; says n READY; p snapshot take n s1; s fork n f2; running f2; p save n "$t/state"; p stop --force f2
watch threads -e inject=io_uring_setup:error=ENOSYS timeout 100 "$penta" run "${all[@]/%port=$port/do=off}" --disk "$t/raw.img,cache=writethrough" --disk "$t/q.qcow2" </dev/null >"$t/out" 2>"$t/err" || cat "$t/err" >&2
gcc -O1 -D_GNU_SOURCE -static -pthread -o "$t/fscheck" tests/guests/fscheck.c 2>/dev/null &&
	tools/mkinitramfs "$t/initrd3" tests/guests/share-init "$t/fscheck=fscheck" $(tools/guest-modules cloud virtio_pci virtiofs) && {
	mkdir -m 777 "$t/f"
	watch share "$penta" run --kernel "$k" --initrd "$t/initrd3" --memory 256M --append "console=ttyS0 quiet do=check mode=mapped many=20" --share "$t/f,mapped" </dev/null >/dev/null 2>&1
	rm -rf "$t/f"; mkdir -m 777 "$t/f"
	watch share2 "$penta" run --kernel "$k" --initrd "$t/initrd3" --memory 256M --append "console=ttyS0 quiet do=check mode=user many=20" --share "$t/f" </dev/null >/dev/null 2>&1
}
